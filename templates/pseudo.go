package templates

import (
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// The made-up languages of Options.Pseudo show what is not in the catalogue, what breaks when texts grow, and what does not
// follow the direction of writing.
var (
	accentedTag = language.MustParse("en-XA")
	arabicTag   = language.MustParse("ar-XB")
)

// disguise changes the words of a message and leaves its placeholders alone.
func disguise(m *i18n.Message, change func(string) string) *i18n.Message {
	other := outside(m.Other, change)
	d := &i18n.Message{ID: m.ID, Other: other}
	if m.One != "" { // a plural: every form any language asks for
		one := outside(m.One, change)
		d.Zero, d.One, d.Two, d.Few, d.Many = other, one, other, other, other
	}
	return d
}

// outside applies change to what is not inside {{ }}.
func outside(s string, change func(string) string) string {
	var b strings.Builder
	for s != "" {
		words, rest, found := strings.Cut(s, "{{")
		b.WriteString(change(words))
		if !found {
			break
		}
		action, after, _ := strings.Cut(rest, "}}")
		b.WriteString("{{" + action + "}}")
		s = after
	}
	return b.String()
}

var accents = strings.NewReplacer("a", "á", "b", "ƀ", "c", "ç", "d", "ð", "e", "é", "g", "ĝ", "h", "ĥ", "i", "î", "l", "ļ", "n", "ñ", "o", "ô",
	"r", "ŕ", "s", "š", "t", "ţ", "u", "û", "w", "ŵ", "y", "ý", "A", "Å", "C", "Ç", "E", "É", "I", "Î", "N", "Ñ", "O", "Ö", "S", "Š", "T", "Ţ", "U", "Û", "Y", "Ý")

func accented(s string) string {
	if strings.TrimSpace(s) == "" {
		return s
	}
	return "[" + accents.Replace(s) + strings.Repeat("~", 1+len(s)*2/5) + "]"
}

var arabicLetters = []rune("ابثدعفغهيجكلمنوبقرستوفزخيظ")

// arabic puts an Arabic letter for every Latin one, so that browsers really write from right to left.
func arabic(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return arabicLetters[r-'a']
		case r >= 'A' && r <= 'Z':
			return arabicLetters[r-'A']
		}
		return r
	}, s)
}
