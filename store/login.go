package store

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Lengths of what people sign in with.
const (
	maxUsername = 64  // characters
	maxEmail    = 254 // bytes, RFC 5321 §4.5.3.1.3 less the angle brackets
)

// domains reads domain names as a resolver would (UTS 46), and refuses empty and overlong labels.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.Transitional(false), idna.VerifyDNSLength(true))

// emailKey is what e-mail addresses are compared by (R5): trimmed, Unicode NFC, lower case, the domain as IDNA ASCII. "" for "".
// EmailKey is what an address is compared by, and the error why it cannot be anybody's.
func EmailKey(s string) (string, error) {
	key, err := emailKey(s)
	if err == nil && key == "" {
		err = invalid("email", "empty")
	}
	return key, err
}

func emailKey(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", nil
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
		return "", invalid("email", "blank, control or invisible characters")
	}
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 || strings.Contains(s[:at], "@") {
		return "", invalid("email", "not local@domain")
	}
	domain, err := domains.ToASCII(norm.NFC.String(s[at+1:]))
	if err != nil || strings.HasSuffix(domain, ".") {
		return "", invalid("email", "no domain name behind the @")
	}
	// Nor may a letter that no mail server takes for an ASCII one become one (İ, the Kelvin sign): it is somebody else's mailbox.
	if strings.ContainsFunc(s[:at], func(r rune) bool { return r >= utf8.RuneSelf && lower(string(r))[0] < utf8.RuneSelf }) {
		return "", invalid("email", "a letter that looks like another")
	}
	key := lower(s[:at]) + "@" + domain
	if len(key) > maxEmail {
		return "", invalid("email", "too long")
	}
	return key, nil
}

// usernameKey is what usernames are compared by: NFC, lower case. "" for "".
func usernameKey(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	letters := false
	for _, r := range s {
		switch {
		case r == '@':
			return "", invalid("username", "an @ makes it an e-mail address")
		case !unicode.IsGraphic(r) || unicode.IsSpace(r) && r != ' ' || r == utf8.RuneError:
			return "", invalid("username", "control or invisible characters")
		case unicode.IsLetter(r):
			letters = true
		}
	}
	switch {
	case s != strings.TrimSpace(s):
		return "", invalid("username", "blank at an end")
	case !letters:
		return "", invalid("username", "without a letter it could be a phone number")
	case utf8.RuneCountInString(s) > maxUsername:
		return "", invalid("username", "too long")
	}
	return lower(s), nil
}

// lower composes before, so that every letter has its lower case, and after, as lower-casing may take apart.
func lower(s string) string { return norm.NFC.String(strings.ToLower(norm.NFC.String(s))) }

// looksLikePhone: digits and what people write between them.
func looksLikePhone(s string) bool {
	digits := 0
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '+' && i == 0, strings.ContainsRune(" -./()", r):
		default:
			return false
		}
	}
	return digits > 0
}

// phoneKey takes out what people write between the digits; "" when no E.164 number is left.
func phoneKey(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -./()", r) {
			return -1
		}
		return r
	}, s)
	if !isE164(s) {
		return ""
	}
	return s
}

// isE164: a plus, a country code that does not start with 0, 7 to 15 digits in all.
func isE164(s string) bool {
	if len(s) < 8 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
