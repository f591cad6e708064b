package templates

// CodePage asks for the code that was mailed to prove an address. Its forms: code, to Action; and without a field to ResendURL. What it says
// is the same whether the mail holds a code or not.
type CodePage struct {
	Base
	FormErrors
	Action, ResendURL string
	App               *App
	Address           string // "" = whoever enters the code may not know it
	SignIn            bool   // the code opens an account, if there is one
	NoMore            bool   // mails of this attempt
	ChangeURL         string // of the page before; "" = there is no other address
	CancelURL         string // a path of ours, "" = none
}

func (*CodePage) file() string { return "code.html" }

// Inputs are the form's fields in order.
func (p *CodePage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "code-input", Name: "code", Type: "text", Label: p.T("code.field"), Hint: p.T("code.hint"), Autocomplete: "one-time-code", Mode: "numeric", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *CodePage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }
