package templates

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// CodeSMS brings a code to a telephone. Its last line lets browsers offer the code on this host only (WICG, origin-bound one-time codes).
type CodeSMS struct {
	Code    string
	Minutes int
	Host    string // of the issuer
}

// SMS writes m in the language nearest to lang, in one segment: each more is paid for, and may come alone. The name of the service gives way.
func (s *Set) SMS(lang string, m CodeSMS) string {
	machine := "\n\n@" + m.Host + " #" + m.Code
	return s.segment(lang, "sms.code", map[string]any{"Code": m.Code, "Minutes": m.Minutes}, machine)
}

// NumberRemoved tells a telephone that an account has another number now. It holds nothing that could be used.
func (s *Set) NumberRemoved(lang string) string {
	return s.segment(lang, "sms.number_removed", map[string]any{}, "")
}

// segment is a text in one segment: with the name of the service as long as fits, and without the machine's line where a host is too long.
func (s *Set) segment(lang, key string, args map[string]any, machine string) string {
	for _, end := range []string{machine, ""} {
		name := []rune(s.options.AppName)
		args["App"] = ""
		if gsm(s.Text(lang, key, args)) {
			name = []rune(plainName(s.options.AppName)) // one letter beyond GSM-7 would more than halve the room
		}
		for n := len(name); n > 0; n-- {
			args["App"] = strings.TrimSpace(string(name[:n]))
			if text := s.Text(lang, key, args) + end; Segments(text) == 1 {
				return text
			}
		}
	}
	return s.Text(lang, key, args)
}

// plainName is a name in the letters of GSM-7: accents it lacks are left out, and so is what is no letter there.
func plainName(name string) string {
	var b strings.Builder
	for _, r := range norm.NFC.String(name) {
		if gsm(string(r)) {
			b.WriteRune(r)
			continue
		}
		for _, base := range norm.NFD.String(string(r)) {
			if !unicode.Is(unicode.Mn, base) && gsm(string(base)) {
				b.WriteRune(base)
			}
		}
	}
	if strings.TrimSpace(b.String()) == "" {
		return "Login"
	}
	return strings.TrimSpace(b.String())
}

// Alphabet of GSM-7 (3GPP TS 23.038 §6.2.1), and of its extension, where each counts two.
const (
	gsmBasic    = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€"
)

func gsm(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(gsmBasic+gsmExtended, r) })
}

// Segments is how many messages a text is paid as: 160 characters of GSM-7, else 70 of UTF-16; in parts 153 and 67.
func Segments(text string) int {
	n, whole, part := 0, 160, 153
	if gsm(text) {
		n = utf8.RuneCountInString(text)
		for _, r := range text {
			if strings.ContainsRune(gsmExtended, r) {
				n++
			}
		}
	} else {
		whole, part = 70, 67
		for _, r := range text {
			n += utf16.RuneLen(r)
		}
	}
	if n <= whole {
		return 1
	}
	return (n + part - 1) / part
}

// PhoneMail tells the owner of an account that its number changed. It names no number.
type PhoneMail struct {
	Change      string // set, removed or lost
	AccountPath string // a path of ours
}

func (m PhoneMail) write(p *mailPage) {
	p.subject("mail.phone_subject")
	p.text("mail.phone_"+m.Change, "App", p.AppName)
	p.text("mail.phone_check")
	p.link(m.AccountPath)
}
