package login

import (
	"encoding/base32"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestRFC6238_Vectors: RFC 6238 Appendix B, SHA-1, of which six digits are kept (RFC 4226 §5.3).
func TestRFC6238_Vectors(t *testing.T) {
	t.Parallel()
	seed := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
	for at, code := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		for drift, want := range map[int64]bool{-29: true, 0: true, 30: true, 61: false, 90: false} {
			step, ok, err := matchTOTP(seed, code[2:], time.Unix(at+drift, 0))
			if err != nil || ok != want || ok && step != at/30 {
				t.Errorf("%s at %d%+d s: step %d, %t, %v", code, at, drift, step, ok, err)
			}
		}
	}
	if _, _, err := matchTOTP("no base32!", "123456", time.Now()); err == nil {
		t.Error("a broken seed is no error")
	}
}

func TestTypedDigits(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"123456": "123456", " 123 456 ": "123456", "123-456": "123456", "１２３４５６": "123456", "٠١٢٣٤٥": "012345", "۶۷۸۹۰۱": "678901", "12345x": "12345x", "": "",
	} {
		if got := typedDigits(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTOTPURL(t *testing.T) {
	t.Parallel()
	got := totpURL("GEZDGNBV", "Sunrise: Notes", "ada+x@example.com")
	u, err := url.Parse(got)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Sunrise  Notes:ada+x@example.com" || u.Query().Get("issuer") != "Sunrise  Notes" ||
		u.Query().Get("secret") != "GEZDGNBV" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("%s: %v", got, err)
	}
	path, side, err := qrPath(got)
	if err != nil || side < 29 || !strings.HasPrefix(path, "M4 4h7v1h-7z") { // the corner's bar of seven
		t.Errorf("%d %.40s %v", side, path, err)
	}
}

// TestSec_F14_CodeForm: a set is ten different codes of 80 bits; what is kept is bound to the person.
func TestSec_F14_CodeForm(t *testing.T) {
	t.Parallel()
	shown, hashes := newRecoveryCodes("ada")
	seen := map[string]bool{}
	for i, s := range shown {
		code, ok := typedRecovery(strings.ToUpper(strings.ReplaceAll(s, "-", " ")))
		if !ok || len(code) != 16 || recoveryHash("ada", code) != hashes[i] || recoveryHash("eve", code) == hashes[i] || seen[code] {
			t.Errorf("%s", s)
		}
		seen[code] = true
	}
	if len(shown) != 10 || len(hashes) != 10 {
		t.Errorf("%d codes", len(shown))
	}
	for _, bad := range []string{"", "aaaa", "aaaa-bbbb-cccc-ddd1", "aaaa-bbbb-cccc-dddd-eeee"} {
		if _, ok := typedRecovery(bad); ok {
			t.Errorf("%q is taken for one", bad)
		}
	}
}
