package templates

import (
	"encoding/base64"
	"html/template"
	"strings"
	"time"
)

// FactorPage is /mfa: the code of an authenticator app. Its field: code, to Action.
type FactorPage struct {
	Base
	FormErrors
	Action      string
	App         *App   // who sent the person here, nil = nobody
	OtherURL    string // of the choice between second factors; "" = there is none
	RecoveryURL string // of the page for a recovery code; "" = there are none left, or they are among the choice
	CancelURL   string // a path of ours
}

func (*FactorPage) file() string { return "factor.html" }

// Inputs are the form's fields in order.
func (p *FactorPage) Inputs() []Input { return []Input{p.code("mfa.field", "mfa.hint")} }

func (p *FactorPage) code(label, hint string) Input {
	return p.input(Input{ID: "mfa-code", Name: "code", Type: "text", Label: p.T(label), Hint: p.T(hint), Autocomplete: "one-time-code", Mode: "numeric", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *FactorPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// RecoveryPage is /mfa/recovery: a recovery code in the place of a factor. Its field: code, to Action.
type RecoveryPage struct {
	Base
	FormErrors
	Action  string
	App     *App
	BackURL string // of the page before, a path of ours
}

func (*RecoveryPage) file() string { return "factor_recovery.html" }

// Inputs are the form's fields in order.
func (p *RecoveryPage) Inputs() []Input {
	return []Input{p.input(Input{ID: "mfa-recovery-code", Name: "code", Type: "text", Label: p.T("mfa.recovery_field"), Hint: p.T("mfa.recovery_hint"), Autocomplete: "off", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors)}
}

// Summary of what is wrong.
func (p *RecoveryPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// EnrolPage shows the seed of an authenticator app and asks for a first code: /mfa/enrol and /account/security/totp. Its fields: code, name.
type EnrolPage struct {
	Base
	FormErrors
	Action     string
	App        *App
	Required   bool   // a sign-in waits for it
	NeedsCode  bool   // and an enrolment code: the field enrolment_code
	URL        string // what the picture says
	QR         string // the path of the picture, in units of one module
	QRSide     int    // modules to a side
	Key        string // in groups, for who types it
	Name       string
	PasskeyURL string // where a passkey is made instead; "" = nowhere
	SMSURL     string // where a number is added instead; "" = nowhere
	CancelURL  string // a path of ours
}

func (*EnrolPage) file() string { return "factor_enrol.html" }

// Link opens the app on the device that shows the page. Only what we make is one.
func (p *EnrolPage) Link() template.URL {
	if !strings.HasPrefix(p.URL, "otpauth://totp/") {
		return ""
	}
	return template.URL(p.URL)
}

// Inputs are the form's fields in order.
func (p *EnrolPage) Inputs() []Input {
	return append(enrolmentInput(&p.Base, &p.FormErrors, p.NeedsCode),
		p.input(Input{ID: "mfa-code", Name: "code", Type: "text", Label: p.T("mfa.field"), Hint: p.T("mfa.enrol_hint"), Autocomplete: "one-time-code", Mode: "numeric", Keys: "go", Plain: true}, &p.FormErrors),
		p.input(Input{ID: "mfa-name", Name: "name", Type: "text", Value: p.Name, Label: p.T("mfa.name"), Hint: p.T("mfa.name_hint"), Autocomplete: "off", Optional: true}, &p.FormErrors),
	)
}

// enrolmentInput is the field of an enrolment code, where one is needed.
func enrolmentInput(b *Base, e *FormErrors, needed bool) []Input {
	if !needed {
		return nil
	}
	return []Input{b.input(Input{ID: "mfa-enrolment-code", Name: "enrolment_code", Type: "text", Label: b.T("mfa.enrolment_code"), Hint: b.T("mfa.enrolment_code_hint"), Autocomplete: "off", Plain: true}, e)}
}

// Summary of what is wrong.
func (p *EnrolPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// CodesPage shows a set of recovery codes, once.
type CodesPage struct {
	Base
	Codes   []string
	Service string // how the file names this service
	NextURL string // a path of ours
}

func (*CodesPage) file() string { return "factor_codes.html" }

// File is the set as a file to keep, in the link itself: it is on no server and needs no script.
func (p *CodesPage) File() template.URL {
	var b strings.Builder
	b.WriteString(p.T("mfa.codes_file", "Service", p.Service) + "\n\n")
	for _, c := range p.Codes {
		b.WriteString(c + "\n")
	}
	return template.URL("data:text/plain;charset=utf-8;base64," + base64.StdEncoding.EncodeToString([]byte(b.String())))
}

// SecurityPage is /account/security: the second factors of an account. Its forms: POST /account/security/{id}/rename (name), /account/security/{id}/remove
// and /account/security/recovery-codes.
type SecurityPage struct {
	Base
	FormErrors
	Recent      bool // the person showed a moment ago who they are, so they may change it
	ReauthURL   string
	Factors     []FactorLine
	MayAddApp   bool
	MayAddSMS   bool
	Required    bool // one must stay
	CodesLeft   int
	PasskeysURL string // where passkeys are added; "" = there are none
}

func (*SecurityPage) file() string { return "security.html" }

// Summary of what is wrong.
func (p *SecurityPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, nil) }

// FactorLine is a second factor.
type FactorLine struct {
	ID, Kind, Name  string // Name "" = the person gave none
	Number          string // of a telephone, "" = it is none
	Since, LastUsed string // as Base.When prints them
	Kept            bool   // the last one, and one is required
}

// Label is what a person reads for a factor.
func (p *SecurityPage) Label(f FactorLine) string {
	if f.Name != "" {
		return f.Name
	}
	return p.KindText(f)
}

// KindText says what kind of factor it is.
func (p *SecurityPage) KindText(f FactorLine) string { return p.T("security.kind_" + f.Kind) }

// NameInput is the field for another name.
func (p *SecurityPage) NameInput(f FactorLine) Input {
	return p.input(Input{ID: "name-" + f.ID, Name: "name", Type: "text", Value: f.Name, Label: p.T("mfa.name"), Autocomplete: "off", Optional: true}, &p.FormErrors)
}

// What a FactorMail tells about.
const (
	FactorAdded          = "added"
	FactorRemoved        = "removed"
	FactorCodes          = "codes"     // a new set of recovery codes
	FactorCodeUsed       = "code_used" // one was used to sign in
	FactorPasskeyAdded   = "passkey_added"
	FactorPasskeyRemoved = "passkey_removed"
	FactorCopied         = "copied" // a passkey was refused, because there may be two of it
	FactorReset          = "reset"  // an administrator took them all away
)

// FactorMail tells somebody that what guards their account changed.
type FactorMail struct {
	What string
	Left int // recovery codes, with FactorCodeUsed
	At   time.Time
	Path string // where they are managed, a path of ours
}

func (m FactorMail) write(p *mailPage) {
	p.subject("mail.factor_" + m.What + "_subject")
	p.text("mail.factor_"+m.What, "App", p.AppName, "When", p.loc.when(m.At))
	if m.What == FactorCodeUsed {
		p.text("mail.factor_left", "Count", m.Left)
	}
	p.text("mail.factor_not_you")
	p.link(m.Path)
}
