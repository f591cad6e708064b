package templates

// SMSFactorPage is /mfa/sms: to which number the code of the second step goes. A form per number: factor, to Action.
type SMSFactorPage struct {
	Base
	FormErrors
	Action      string
	App         *App
	Numbers     []SMSFactor
	OtherURL    string // of the choice between second factors; "" = there is none
	RecoveryURL string // as in FactorPage
	CancelURL   string // a path of ours
}

// SMSFactor is a number that codes go to.
type SMSFactor struct {
	ID, Name string // Name "" = the person gave none
	Number   string // as little of it as its owner needs
}

func (*SMSFactorPage) file() string { return "factor_sms.html" }

// Summary of what is wrong.
func (p *SMSFactorPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, nil) }

// FactorNumberPage asks for a number that is to be a second factor: /mfa/enrol/sms and /account/security/sms. Its fields: country, number, name.
type FactorNumberPage struct {
	PhonePage
	Required  bool   // a sign-in waits for it
	NeedsCode bool   // and an enrolment code: the field enrolment_code
	Name      string // as it was typed
	AppURL    string // where an authenticator app is added instead; "" = nowhere
}

func (*FactorNumberPage) file() string { return "factor_number.html" }

// Inputs are the form's fields in order, after the country.
func (p *FactorNumberPage) Inputs() []Input {
	return append(append(enrolmentInput(&p.Base, &p.FormErrors, p.NeedsCode), p.PhonePage.Inputs()...), p.input(Input{ID: "mfa-name", Name: "name", Type: "text", Value: p.Name, Label: p.T("mfa.name"), Hint: p.T("mfa.name_hint"), Autocomplete: "off", Optional: true}, &p.FormErrors))
}

// Summary of what is wrong.
func (p *FactorNumberPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// FactorWaysPage is /mfa/ways: the choice between the second factors that a person has.
type FactorWaysPage struct {
	Base
	App       *App
	Ways      []FactorWay
	CancelURL string // a path of ours
}

// FactorWay is a kind of second factor and the page where it is shown.
type FactorWay struct{ Kind, URL string }

func (*FactorWaysPage) file() string { return "factor_ways.html" }

// Label is what a person reads for a way.
func (p *FactorWaysPage) Label(w FactorWay) string { return p.T("mfa.way_" + w.Kind) }
