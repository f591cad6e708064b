package templates

import "strconv"

// AccountPrivilegesPage is /account/privileges: what a person may do and why, and asking for more. Its forms: POST /account/privileges/request (privilege,
// reason) and POST /account/privileges/withdraw (id).
type AccountPrivilegesPage struct {
	Base
	FormErrors
	Notice     string // key of what went wrong, "" = nothing
	Privileges []PrivilegeLine
	ReadOnly   bool            // they may ask for nothing, and take nothing back
	Available  []AskLine       // what may be asked for
	Chosen     *ChosenLine     // of these, nil = none yet
	Reason     string          // as typed
	MaxReason  int             // characters
	Open       []RequestedLine // oldest last
	Over       []RequestedLine
}

func (*AccountPrivilegesPage) file() string { return "account_privileges.html" }

// Input is the form's one field.
func (p *AccountPrivilegesPage) Input() Input {
	return p.input(Input{ID: "request-reason", Name: "reason", Type: "text", Value: p.Reason, Label: p.T("asking.reason"),
		Hint: p.T("asking.reason_hint", "Most", strconv.Itoa(p.MaxReason)), Optional: true, Focus: !p.Failed(), Most: p.MaxReason}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *AccountPrivilegesPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, []Input{p.Input()})
}

// NoticeText is Notice in the page's language.
func (p *AccountPrivilegesPage) NoticeText() string { return p.args(p.Notice, nil) }

// AskLine is a privilege that may be asked for.
type AskLine struct{ Name, Label, Description, URL string }

// ChosenLine is the privilege that somebody is about to ask for.
type ChosenLine struct {
	AskLine
	WhyNot   []string // sentences: what stands in the way
	Grantors string   // who could give it: names, "" = nobody in particular
}

// RequestedLine is a request.
type RequestedLine struct {
	ID, Label, Name string
	Reason, Note    string
	Asked, Ends     string // times; Ends of an open one, and of what was given until then
	Decided, State  string // when and what became of it: a time, and a text
	Good            bool
}
