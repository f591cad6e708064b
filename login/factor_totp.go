package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp/hotp"
)

// What every authenticator app knows (R61): SHA-1, six digits, steps of thirty seconds.
const (
	totpDigits = 6
	totpStep   = 30 // seconds (RFC 6238 §4.1)
	totpDrift  = 1  // steps a clock may be off, either way (RFC 6238 §5.2)
	totpSeed   = 20 // bytes: the length of the hash (RFC 4226 §4, R6)
)

// newSeed is a fresh secret for an authenticator app, in base32.
func newSeed() string {
	var b [totpSeed]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return base32.StdEncoding.EncodeToString(b[:])
}

// matchTOTP finds the time step whose code this is, within the drift around now. Every step is compared, so that time tells nothing. Whether the step
// may still be used is the database's question.
func matchTOTP(seed, code string, now time.Time) (step int64, ok bool, err error) {
	at := now.Unix() / totpStep
	for s := at - totpDrift; s <= at+totpDrift; s++ {
		want, err := hotp.GenerateCode(seed, uint64(s))
		if err != nil {
			return 0, false, fmt.Errorf("login: seed of an authenticator app: %w", err)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok, nil
}

// totpURL is what the picture says: the key URI that authenticator apps read. account is who it is for.
func totpURL(seed, service, account string) string {
	service = strings.ReplaceAll(service, ":", " ") // which parts the two
	label := url.PathEscape(service)
	if account != "" {
		label += ":" + url.PathEscape(strings.ReplaceAll(account, ":", " "))
	}
	// Some apps read a plus sign as itself, so spaces are %20.
	q := strings.ReplaceAll(url.Values{"secret": {seed}, "issuer": {service}}.Encode(), "+", "%20")
	return "otpauth://totp/" + label + "?" + q
}

// qrPath draws text as a QR code: the path of an SVG whose units are modules, and how many there are to a side with the quiet zone.
func qrPath(text string) (path string, side int, err error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", 0, fmt.Errorf("login: QR code: %w", err)
	}
	const quiet = 4 // ISO/IEC 18004 §6.3.8
	n := code.Bounds().Dx()
	var b strings.Builder
	for y := range n {
		for x := 0; x < n; x++ {
			from := x
			for x < n {
				if r, _, _, _ := code.At(x, y).RGBA(); r != 0 {
					break
				}
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
			}
		}
	}
	return b.String(), n + 2*quiet, nil
}

// groups writes a key for people who type it: in fours.
func groups(s string) string {
	var parts []string
	for len(s) > 4 {
		parts, s = append(parts, s[:4]), s[4:]
	}
	return strings.Join(append(parts, s), " ")
}

// typedDigits is a code as it was meant: without spaces and hyphens, in whatever digits a keyboard has (pages.md §4). What is no code stays, and is wrong.
func typedDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.Is(unicode.Nd, r) {
			return r
		}
		// Decimal digits stand in runs of ten, from zero on.
		for zero := r; ; zero-- {
			if r-zero == 9 || !unicode.Is(unicode.Nd, zero-1) {
				return '0' + (r-zero)%10
			}
		}
	}, typedCode(s))
}
