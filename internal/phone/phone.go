// Package phone reads telephone numbers as people write them.
//
//	"0151 2345 6789" and DE ──▶ libphonenumber ──▶ +4915123456789, DE ──▶ can it take a text message?
//
// It owns what a number is: one with every digit, in E.164. It refuses what cannot receive an SMS or costs the caller more than a message
// (premium and shared-cost numbers, toll-free ones, pagers), and numbers with an extension. It knows nothing of accounts.
package phone

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// Errors of Parse.
var (
	ErrInvalid = errors.New("phone: no valid number")
	ErrNoText  = errors.New("phone: a number that takes no text messages")
)

// Number is a valid number that may take text messages.
type Number struct {
	E164   string // +4915123456789
	Region string // ISO 3166-1 alpha-2: DE
}

const maxInput = 64 // bytes; the longest number with everything people write between its digits has fewer

// Parse reads a number as somebody in region writes it: national, or with + or 00 and the country's code.
func Parse(raw, region string) (Number, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" || len(raw) > maxInput || !utf8.ValidString(raw) {
		return Number{}, ErrInvalid
	}
	// libphonenumber would turn letters into digits, as on old keypads, and stop reading at others: both would be another number than
	// the one that was meant. A tel: link is one people copy.
	raw = strings.TrimPrefix(raw, "tel:")
	if strings.ContainsFunc(raw, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(";@#*=&?", r)
	}) {
		return Number{}, ErrInvalid
	}
	if !Known(region) {
		region = "ZZ" // only with a country code
	}
	n, err := phonenumbers.Parse(raw, region)
	if err != nil || n.GetExtension() != "" || !phonenumbers.IsValidNumber(n) {
		return Number{}, ErrInvalid
	}
	out := Number{E164: phonenumbers.Format(n, phonenumbers.E164), Region: phonenumbers.GetRegionCodeForNumber(n)}
	if !e164(out.E164) || len(out.Region) != 2 || out.Region == "ZZ" { // 001 stands for numbers of no country, satellites among them
		return Number{}, ErrInvalid
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE, phonenumbers.PERSONAL_NUMBER, phonenumbers.VOIP:
		return out, nil
	}
	return Number{}, ErrNoText
}

// Region is the country of an E.164 number, "" for none.
func Region(e164 string) string {
	n, err := phonenumbers.Parse(e164, "ZZ")
	if err != nil {
		return ""
	}
	if r := phonenumbers.GetRegionCodeForNumber(n); len(r) == 2 && r != "ZZ" {
		return r
	}
	return ""
}

// Prefix is what the ten thousand numbers around an E.164 number have in common: who sends to runs of numbers sends to one of these.
func Prefix(e164 string) string { return e164[:max(len(e164)-4, min(len(e164), 3))] }

// Masked is an E.164 number as a page may show it to somebody who need not know it: +49 •••• ••89.
func Masked(e164 string) string {
	n, err := phonenumbers.Parse(e164, "ZZ")
	if err != nil || len(e164) < 6 {
		return "••••"
	}
	return Code(phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode()))) + " •••• ••" + e164[len(e164)-2:]
}

// Pretty is an E.164 number with the spaces of its country.
func Pretty(e164 string) string {
	n, err := phonenumbers.Parse(e164, "ZZ")
	if err != nil {
		return e164
	}
	return phonenumbers.Format(n, phonenumbers.INTERNATIONAL)
}

// Code is a country's calling code: +49.
func Code(region string) string {
	c := phonenumbers.GetCountryCodeForRegion(region)
	if c == 0 {
		return ""
	}
	digits := ""
	for ; c > 0; c /= 10 {
		digits = string(rune('0'+c%10)) + digits
	}
	return "+" + digits
}

// Known says whether there are numbers in a country, by its ISO 3166-1 alpha-2 code in capitals.
func Known(region string) bool { return len(region) == 2 && phonenumbers.GetSupportedRegions()[region] }

// Regions are all countries with numbers.
func Regions() []string {
	var list []string
	for r := range phonenumbers.GetSupportedRegions() {
		if len(r) == 2 && r != "ZZ" {
			list = append(list, r)
		}
	}
	slices.Sort(list)
	return list
}

// e164: a plus, a country code that does not start with 0, 7 to 15 digits in all.
func e164(s string) bool {
	return len(s) >= 8 && len(s) <= 16 && s[0] == '+' && s[1] != '0' && strings.Trim(s[1:], "0123456789") == ""
}
