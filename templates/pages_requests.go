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

// RequestsPage is /admin/privilege-requests. Its forms: POST /admin/privilege-requests/{id} with decision (approve or refuse), note, until and after.
type RequestsPage struct {
	Admin
	FormErrors        // of the form of Wrong, or of none that is there any more
	Wrong      string // id of the request whose form came back
	List       []RequestLine
	After      string // the page this is, "" = the first
	More       string // the next page, "" = none
	Decide     bool   // the reader may
	Users      bool   // the reader may see people's pages
}

func (*RequestsPage) file() string { return "admin_requests.html" }

// RequestLine is somebody's request.
type RequestLine struct {
	PrivilegeName
	ID                    string
	Person                PersonLine
	Gains                 []string // what comes with it and the person does not hold yet
	Reason                string
	Asked, Ends           string
	Decision, Note, Until string // as chosen and typed
}

// Inputs are the fields of a request's form.
func (p *RequestsPage) Inputs(l RequestLine) []Input {
	var e FormErrors
	if l.ID == p.Wrong {
		e = p.FormErrors
	}
	return []Input{
		p.input(Input{ID: "note-" + l.ID, Name: "note", Type: "text", Value: l.Note, Label: p.T("asking.queue_note"), Hint: p.T("asking.queue_note_hint"), Optional: true}, &e),
		p.input(Input{ID: "until-" + l.ID, Name: "until", Type: "date", Value: l.Until, Label: p.T("admin.give_until"), Hint: p.T("admin.give_until_hint"), Optional: true}, &e),
	}
}

// Missing says that nothing was chosen in a request's form, "" where that is not so.
func (p *RequestsPage) Missing(l RequestLine) string {
	if key := p.Fields["decision"]; key != "" && l.ID == p.Wrong {
		return p.args(key, p.Args)
	}
	return ""
}

// Shown says whether a request's form is open.
func (p *RequestsPage) Shown(l RequestLine) bool { return l.ID == p.Wrong }

// Summary of what is wrong.
func (p *RequestsPage) Summary() Summary {
	var inputs []Input
	for _, l := range p.List {
		if l.ID == p.Wrong {
			inputs = append([]Input{{ID: "approve-" + l.ID, Name: "decision", Error: p.Missing(l)}}, p.Inputs(l)...)
		}
	}
	return p.summary("error-summary", &p.FormErrors, inputs)
}
