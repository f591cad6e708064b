package templates

import "html/template"

// AuthoritiesPage is /account/authorities: who may act for the person, and for whom they may. Its forms: to itself with reason, client_id and
// days; POST /account/authorities/end (id); POST /account/act (authority).
type AuthoritiesPage struct {
	Base
	FormErrors
	Recent       bool // signed in a moment ago; else the person goes to ReauthURL before they give one
	ReadOnly     bool // they may give none
	ReauthURL    string
	Link         string // the one just made; it is shown now and never again
	Reason       string
	Clients      []Choice // that take people who act; none = authorities are of no use
	Lives        []Choice // in days
	Given, Taken []AuthorityLine
}

func (*AuthoritiesPage) file() string { return "authorities.html" }

// MayGive says whether there is a form.
func (p *AuthoritiesPage) MayGive() bool { return p.Recent && !p.ReadOnly && len(p.Clients) > 0 }

// Inputs are the form's typed fields.
func (p *AuthoritiesPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "authority-reason", Name: "reason", Type: "text", Value: p.Reason, Label: p.T("acting.reason"), Hint: p.T("acting.reason_hint"), Autocomplete: "off", Optional: true}, &p.FormErrors),
	}
}

// Wrong is the text of what is wrong with a chosen field, "" = nothing.
func (p *AuthoritiesPage) Wrong(name string) string {
	if key := p.Fields[name]; key != "" {
		return p.args(key, p.Args)
	}
	return ""
}

// Summary of what is wrong.
func (p *AuthoritiesPage) Summary() Summary {
	inputs := p.Inputs()
	for _, i := range []Input{{ID: "authority-client", Name: "client_id"}, {ID: "authority-days", Name: "days"}} {
		i.Error = p.Wrong(i.Name)
		inputs = append(inputs, i)
	}
	return p.summary("error-summary", &p.FormErrors, inputs)
}

// AuthorityLine is an authority, in words.
type AuthorityLine struct {
	ID        string
	Person    string // the other one; "" = nobody took the link yet
	App       string // for this application alone; "" = for all that take it
	Reason    string
	Until     string
	LinkUntil string // the link may be taken until then
}

// AuthorityPage is /authority/{token}: somebody was handed an authority, and takes it with a form to Action.
type AuthorityPage struct {
	Base
	Action    string
	Line      AuthorityLine
	Own       bool   // it is the person's own, for somebody else to take
	CancelURL string // a path of ours
}

func (*AuthorityPage) file() string { return "authority.html" }

// ActingPage says that an application cannot be used while acting, and why. A form to Action goes on as oneself.
type ActingPage struct {
	Base
	App       App
	Key       string // of the reason; its text may use App and Name
	Action    string
	ReturnURL string // back to the application with access_denied, "" = not offered
}

func (*ActingPage) file() string { return "acting.html" }

// Represented is the name of whom they act for.
func (p *ActingPage) Represented() string {
	if p.User == nil {
		return ""
	}
	return p.User.Display()
}

// Return is ReturnURL where it may be a link.
func (p *ActingPage) Return() template.URL { return anyLink(p.ReturnURL) }
