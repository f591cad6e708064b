package templates

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

// Country is where a number may be from.
type Country struct {
	Region string // ISO 3166-1: DE
	Code   string // +49
	Name   string // in the page's language; Countries fills it
}

// PhonePage asks for a telephone number: /login/phone, and /account/phone with the number that the account has. Its fields: country, number and, at
// a sign-in, remember ("1"). A second form without fields goes to RemoveURL.
type PhonePage struct {
	Base
	FormErrors
	Action    string
	App       *App
	Countries []Country
	Country   string
	Number    string // as it was typed
	Remember  bool
	CancelURL string // a path of ours

	Account         bool   // of who is signed in
	Current, Proven string // the number they have and when it was proven; "" = none
	RemoveURL       string // "" = it cannot go: there is none, or it is the last way in
	LastWay         bool
	ReauthURL       string // they must show who they are first; then there is no form
	Notice          string // a key, "" = none
	AdminNote       bool   // they have power over others, and need more than a number to sign in
}

func (*PhonePage) file() string { return "phone.html" }

// Inputs are the form's fields in order, after the country.
func (p *PhonePage) Inputs() []Input {
	return []Input{p.input(Input{ID: "phone-number", Name: "number", Type: "tel", Value: p.Number, Label: p.T("phone.number"), Hint: p.T("phone.number_hint"),
		Autocomplete: "tel", Keys: "send", Plain: true, Focus: !p.Failed() && !p.Account}, &p.FormErrors)}
}

// Choices are the countries by their names in the page's language.
func (p *PhonePage) Choices() []Choice {
	names := display.Regions(language.Make(p.Lang))
	var out []Choice
	for _, c := range p.Countries {
		name := ""
		if r, err := language.ParseRegion(c.Region); err == nil && names != nil {
			name = names.Name(r)
		}
		out = append(out, Choice{Value: c.Region, Label: strings.TrimSpace(cmp.Or(name, c.Region) + " (\u2066" + c.Code + "\u2069)"), Current: c.Region == p.Country})
	}
	slices.SortStableFunc(out, func(a, b Choice) int { return strings.Compare(a.Label, b.Label) })
	return out
}

// Only is the one country there is, "" where people choose.
func (p *PhonePage) Only() string {
	if len(p.Countries) == 1 {
		return p.Countries[0].Region
	}
	return ""
}

// Summary of what is wrong.
func (p *PhonePage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// PhoneCodePage asks for the code that was sent to a telephone. Its forms: code, to Action; and without a field to ResendURL. What it says is the same
// whether the number can sign in or not.
type PhoneCodePage struct {
	Base
	FormErrors
	Action, ResendURL string
	App               *App
	Number            string // for people to read
	Digits, Minutes   int
	Known             bool   // the number is that of who is asked, or becomes it: so there is a message
	Notice            string // a key: what became of the message, "" = nothing is known
	ChangeURL         string // of the page before; "" = there is no other number
	CancelURL         string // a path of ours
	CancelText        string // key of what it says
}

func (*PhoneCodePage) file() string { return "phone_code.html" }

// Inputs are the form's fields in order.
func (p *PhoneCodePage) Inputs() []Input {
	return []Input{p.input(Input{ID: "phone-code", Name: "code", Type: "text", Label: p.T("phone.code"), Hint: p.T("phone.code_hint", "Count", p.Digits),
		Autocomplete: "one-time-code", Mode: "numeric", Keys: "go", Plain: true, OTP: true, Focus: !p.Failed()}, &p.FormErrors)}
}

// Summary of what is wrong.
func (p *PhoneCodePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// PhoneProofPage asks for a second proof where a number alone does not open an account. Its forms: password, to Action; and without a field to MailURL and
// NewURL.
type PhoneProofPage struct {
	Base
	FormErrors
	Action      string // "" = there is no password
	FactorURL   string // of the page for a second factor; "" = there is none
	RecoveryURL string // of the page for a recovery code; "" = there are none left
	MailURL     string // mails a code; "" = it would prove nothing
	App         *App
	Number      string
	Why         string // key of the sentence that says why
	NewURL      string // says that the account is not theirs, and makes one; "" = not offered
	OtherURL    string // the other ways in
}

func (*PhoneProofPage) file() string { return "phone_proof.html" }

// Inputs are the form's fields in order.
func (p *PhoneProofPage) Inputs() []Input {
	return []Input{p.input(Input{ID: "phone-password", Name: "password", Type: "password", Label: p.T("field.password"), Autocomplete: "current-password", Keys: "go", Focus: !p.Failed()}, &p.FormErrors)}
}

// Summary of what is wrong.
func (p *PhoneProofPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}
