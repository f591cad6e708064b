package templates

import "time"

// LeavePage is /account/delete: the end of one's own account. Its forms: POST Action with confirm, POST ExportURL.
type LeavePage struct {
	Base
	FormErrors
	Action, CancelURL, ExportURL string
	ConfirmText, Confirm         string // what is to be typed, and what was
	Days                         int    // it can be taken back
	AtOnce                       bool   // or not at all
	Due                          string // it was done: when the account goes
}

func (*LeavePage) file() string { return "leave.html" }

// Input is the field that confirms it.
func (p *LeavePage) Input() Input {
	return p.input(Input{ID: "leave-confirm", Name: "confirm", Type: "text", Value: p.Confirm, Label: p.T("people.erase_confirm", "Text", p.ConfirmText), Plain: true, Autocomplete: "off"}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *LeavePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, []Input{p.Input()})
}

// LeavingMail tells somebody that their account goes, as they asked, and how to take that back.
type LeavingMail struct {
	Due        time.Time
	SignInPath string // a path of ours
}

func (m LeavingMail) write(p *mailPage) {
	p.subject("mail.leaving_subject")
	p.text("mail.leaving_intro", "App", p.AppName, "Due", p.loc.when(m.Due))
	p.text("mail.leaving_undo")
	p.link(m.SignInPath)
}
