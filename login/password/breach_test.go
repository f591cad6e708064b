package password

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBreached: the server asked learns five digits, padding is no find, and without an answer the password is taken (security.md F4).
func TestBreached(t *testing.T) {
	t.Parallel()
	const stolen = "correct horse battery staple" // SHA-1 ABF7AAD6438836DBE526AA231ABDE2D0EEF74D42
	var asked string
	answer := func(w http.ResponseWriter) {}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Add-Padding"))
		answer(w)
	}))
	t.Cleanup(srv.Close)
	var trouble error
	h := cheap(t, func(c *Config) {
		c.Breached = Range{URL: srv.URL + "/range/", Client: srv.Client()}.Known
		c.Trouble = func(_ context.Context, err error) { trouble = err }
	})
	lines := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprint(w, text) }
	}
	for name, tc := range map[string]struct {
		answer  func(http.ResponseWriter)
		key     string
		trouble bool
	}{
		"found":       {lines("0018A45C4D1DEF81644B54AB7F969B88D65:3\r\nAD6438836DBE526AA231ABDE2D0EEF74D42:210\r\n"), "password.breached", false},
		"small":       {lines("ad6438836dbe526aa231abde2d0eef74d42:1"), "password.breached", false},
		"padding":     {lines("AD6438836DBE526AA231ABDE2D0EEF74D42:0\r\n"), "", false},
		"another":     {lines("0018A45C4D1DEF81644B54AB7F969B88D65:3\r\n"), "", false},
		"rubbish":     {lines("<html>AD6438836DBE526AA231ABDE2D0EEF74D42"), "", false},
		"nothing":     {lines(""), "", false},
		"an error":    {func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, "", true},
		"a long line": {lines(strings.Repeat("x", 70_000)), "", true},
	} {
		answer, trouble = tc.answer, nil
		if key, _ := h.Check(t.Context(), stolen); key != tc.key || (trouble != nil) != tc.trouble {
			t.Errorf("%s: %q, %v", name, key, trouble)
		}
		if asked != "GET /range/ABF7A true" {
			t.Errorf("asked %q", asked)
		}
	}
	asked = ""
	if key, _ := h.Check(t.Context(), "password1234"); key != "password.too_common" || asked != "" {
		t.Errorf("%q, asked %q: what is refused anyway is asked of nobody", key, asked)
	}
	// A server that does not answer holds nobody up for long.
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	answer, trouble = func(http.ResponseWriter) { <-stall }, nil
	start := time.Now()
	if key, _ := h.Check(t.Context(), stolen); key != "" || !errors.Is(trouble, context.DeadlineExceeded) || time.Since(start) > breachTime+5*time.Second {
		t.Errorf("%q, %v after %v", key, trouble, time.Since(start))
	}
	if strings.Contains(trouble.Error(), "horse") {
		t.Error("the password is in an error")
	}
}

// TestComposition: no kinds of characters are asked for unless the operator wants some (R24).
func TestComposition(t *testing.T) {
	t.Parallel()
	plain := cheap(t, nil)
	strict := cheap(t, func(c *Config) { c.Lowercase, c.Uppercase, c.Digits, c.Punctuation = 1, 2, 3, 1 })
	for pw, want := range map[string]string{
		"purple giraffe umbrella":      "password.needs_upper",
		"PURPLE GIRAFFE UMBRELLA":      "password.needs_lower",
		"Purple Giraffe umbrella 12":   "password.needs_digits",
		"PurpleGiraffeUmbrella739":     "password.needs_other",
		"Purple Giraffe umbrella 739":  "",
		"Ärger Über grüne Giraffe ١٢٣": "",
	} {
		if key, args := strict.Check(t.Context(), pw); key != want || want != "" && args["Min"] == nil {
			t.Errorf("%s: %q %v, want %q", pw, key, args, want)
		}
		if key, _ := plain.Check(t.Context(), pw); key != "" {
			t.Errorf("%s: %q without rules", pw, key)
		}
	}
}

// TestImportable: what an account may be given from elsewhere is what can be verified in bearable time.
func TestImportable(t *testing.T) {
	t.Parallel()
	h := cheap(t, nil)
	const django = "$seasalt$JgZryXe2Ga8ysg6XbzkLpTdyPQrHqsinbL9BnnhgX4A="
	for hash, ok := range map[string]bool{
		"pbkdf2_sha256$1000" + django:                                                            true,
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                           true,
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": true,
		"":                               false,
		"!":                              false, // Django's mark of no password
		"password":                       false,
		"pbkdf2_sha256$0" + django:       false,
		"pbkdf2_sha256$01000" + django:   false,
		"pbkdf2_sha256$-1" + django:      false,
		"pbkdf2_sha256$9999999" + django: false,
		"pbkdf2_sha256$1000$$JgZryXe2Ga8ysg6XbzkLpTdyPQrHqsinbL9BnnhgX4A=": false,
		"pbkdf2_sha256$1000$seasalt$JgZryXe2":                              false,
		"pbkdf2_sha1$1000" + django:                                        false,
		"pbkdf2_sha256$1000" + django + "$":                                false,
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":     false,
		"$2b$05$CCCC": false,
		"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAp": false,
		goldenPeppered: false, // under a pepper that is not ours
	} {
		if err := h.Importable(t.Context(), hash); (err == nil) != ok {
			t.Errorf("%q: %v", hash, err)
		} else if err != nil && hash != "" && len(hash) > 10 && strings.Contains(err.Error(), hash) {
			t.Errorf("the hash is in the error: %v", err)
		}
	}
}
