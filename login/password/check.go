package password

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// minBits is what an attacker must be made to guess, as a power of two: 10^8 tries is a fortnight at one hash of ours per core
// and 10 ms, and far beyond what sign-in lets anybody try.
const minBits = 26.6

// Check says what is wrong with a new password, as a translation key ("password.too_short", …), "" = fine. own: the person's names and
// addresses. There are no rules about kinds of characters (SP 800-63B §3.1.1.2) unless the operator wants some.
func (h *Hasher) Check(ctx context.Context, pw string, own ...string) (key string, args map[string]any) {
	switch n := utf8.RuneCountInString(norm.NFKC.String(pw)); {
	case len(pw) > MaxBytes:
		return "password.too_long", map[string]any{"Max": MaxBytes}
	case n < h.c.MinLength:
		return "password.too_short", map[string]any{"Min": h.c.MinLength}
	}
	if h.words.bits(pw, nil) < minBits {
		return "password.too_common", nil
	}
	if h.words.bits(pw, append(parts(h.c.Context), parts(own)...)) < minBits {
		return "password.too_personal", nil
	}
	if key, least := h.composition(pw); key != "" {
		return key, map[string]any{"Min": least}
	}
	if h.c.Breached == nil {
		return "", nil
	}
	known, err := h.c.Breached(ctx, pw)
	switch {
	case err == nil && known:
		return "password.breached", nil
	case err != nil && h.c.Trouble != nil: // somebody else's server must not keep people from a password
		h.c.Trouble(ctx, err)
	}
	return "", nil
}

// composition says which kind of character there is too little of, "" = none.
func (h *Hasher) composition(pw string) (key string, least int) {
	var lower, upper, digits, other int
	for _, r := range norm.NFKC.String(pw) {
		switch {
		case unicode.IsLower(r):
			lower++
		case unicode.IsUpper(r):
			upper++
		case unicode.IsDigit(r):
			digits++
		default:
			other++
		}
	}
	for _, k := range []struct {
		key       string
		has, want int
	}{
		{"password.needs_lower", lower, h.c.Lowercase}, {"password.needs_upper", upper, h.c.Uppercase},
		{"password.needs_digits", digits, h.c.Digits}, {"password.needs_other", other, h.c.Punctuation},
	} {
		if k.has < k.want {
			return k.key, k.want
		}
	}
	return "", 0
}

// parts are the words in names and addresses, each whole and split at what is neither letter nor digit.
func parts(names []string) []string {
	var words []string
	for _, name := range names {
		name = strings.ToLower(norm.NFKC.String(name))
		split := strings.FieldsFunc(name, func(r rune) bool { return !isWordRune(r) })
		words = append(words, split...)
		if len(split) > 1 {
			words = append(words, strings.Join(split, ""))
		}
	}
	return words
}
