package password

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// minBits is what an attacker must be made to guess, as a power of two: 10^8 tries is a fortnight at one hash of ours per core
// and 10 ms, and far beyond what sign-in lets anybody try.
const minBits = 26.6

// Check says what is wrong with a new password, as a translation key ("password.too_short", …), "" = fine. own: the person's names and
// addresses. There are no rules about kinds of characters (SP 800-63B §3.1.1.2).
func (h *Hasher) Check(pw string, own ...string) (key string, args map[string]any) {
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
	return "", nil
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
