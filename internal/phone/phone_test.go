package phone_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/phone"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, region, want, country string
		err                        error
	}{
		{"202-943-0949", "US", "+12029430949", "US", nil}, // R44
		{"(202) 943 0949", "US", "+12029430949", "US", nil},
		{"+1 202 943 0949", "DE", "+12029430949", "US", nil},
		{"0151 23456789", "DE", "+4915123456789", "DE", nil},
		{" 0049 151/23456789 ", "DE", "+4915123456789", "DE", nil},
		{"+49 151 23456789", "", "+4915123456789", "DE", nil},
		{"tel:+4915123456789", "", "+4915123456789", "DE", nil},
		{"٠١٥١٢٣٤٥٦٧٨٩", "DE", "+4915123456789", "DE", nil},
		{"０１５１２３４５６７８９", "DE", "+4915123456789", "DE", nil},
		{"+15005550006", "US", "+15005550006", "US", nil}, // Twilio's own, of type PERSONAL_NUMBER
		{"0400 123 456", "AU", "+61400123456", "AU", nil},
		{"0151 23456789", "", "", "", phone.ErrInvalid}, // of which country?
		{"", "US", "", "", phone.ErrInvalid},
		{"911", "US", "", "", phone.ErrInvalid},
		{"12345", "US", "", "", phone.ErrInvalid},
		{"202-943-0949 ext. 5", "US", "", "", phone.ErrInvalid},
		{"202-943-0949x5", "US", "", "", phone.ErrInvalid},
		{"202-943-0949;ext=5", "US", "", "", phone.ErrInvalid},
		{"1-800-FLOWERS", "US", "", "", phone.ErrInvalid},
		{"whatsapp:+12029430949", "US", "", "", phone.ErrInvalid}, // R44: no second identity for the same number
		{"+12029430949@example.com", "US", "", "", phone.ErrInvalid},
		{"+12029430949\x00", "US", "", "", phone.ErrInvalid},
		{"\xff+12029430949", "US", "", "", phone.ErrInvalid},
		{strings.Repeat("2", 65), "US", "", "", phone.ErrInvalid},
		{"+870 773 111632", "US", "", "", phone.ErrInvalid}, // a satellite: no country
		{"+1 900 234 5678", "US", "", "", phone.ErrNoText},  // premium rate
		{"+1 800 234 5678", "US", "", "", phone.ErrNoText},  // toll free
		{"+49 30 901820", "DE", "", "", phone.ErrNoText},    // a landline
		{"+44 20 7946 0018", "GB", "", "", phone.ErrNoText},
	} {
		n, err := phone.Parse(c.raw, c.region)
		if !errors.Is(err, c.err) || n.E164 != c.want || n.Region != c.country {
			t.Errorf("%q in %s: %+v %v, want %s %v", c.raw, c.region, n, err, c.want, c.err)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	if got := phone.Masked("+447700900982"); got != "+44 •••• ••82" {
		t.Error(got)
	}
	if got := phone.Prefix("+447700900982"); got != "+44770090" {
		t.Error(got)
	}
	if got := phone.Pretty("+4915123456789"); got != "+49 1512 3456789" {
		t.Error(got)
	}
	if phone.Region("+4915123456789") != "DE" || phone.Region("x") != "" || phone.Code("DE") != "+49" || phone.Code("XX") != "" {
		t.Error("region or code")
	}
	if !phone.Known("DE") || phone.Known("de") || phone.Known("ZZ") || phone.Known("001") || len(phone.Regions()) < 200 {
		t.Error("regions")
	}
}

// FuzzParse: whatever is typed, what comes out is E.164 of a country, and the same again when it is read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"202-943-0949", "+49 151 23456789", "0049151", "tel:+1", "٠١٥١", "+", "++49", "1-800-FLOWERS", "\x00", "+49;ext=1", "(((", "+49151234567890123456"} {
		f.Add(s, "US")
		f.Add(s, "DE")
	}
	f.Fuzz(func(t *testing.T, raw, region string) {
		n, err := phone.Parse(raw, region)
		if err != nil {
			if n != (phone.Number{}) {
				t.Fatalf("%q: %+v beside %v", raw, n, err)
			}
			return
		}
		again, err := phone.Parse(n.E164, "")
		if err != nil || again != n {
			t.Fatalf("%q: %+v, again %+v %v", raw, n, again, err)
		}
		if !utf8.ValidString(n.E164) || phone.Region(n.E164) != n.Region || !strings.HasPrefix(n.E164, phone.Prefix(n.E164)) {
			t.Fatalf("%q: %+v", raw, n)
		}
	})
}
