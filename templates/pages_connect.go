package templates

import "html/template"

// Method is another way to sign in: a provider. What its button says and how it looks follows the provider's own rules, by Icon.
type Method struct {
	ID    string // of the connector; the link's id is login-with-ID
	Label string // what people call the provider, and nothing else: "Google", "Sunrise staff"
	Hint  string // a second line in the page's language: "Work or school account"; "" = none
	URL   string // a path of ours
	Icon  string // google, facebook, x, microsoft, openid, phone; any other is a key
	Down  bool   // it did not answer lately: the button says so, and still works
}

// Look is the mark beside the provider's name.
func (m Method) Look() string { return look(m.Icon) }

func look(icon string) string {
	switch icon {
	case "google", "facebook", "x", "microsoft", "openid", "phone":
		return icon
	}
	return "key"
}

// Button is a Method ready to print.
type Button struct {
	Method
	Element string // its id
	Text    []Run
	State   string // what is wrong with the provider, "" = nothing
}

// Brand is the class of the button's colours. Facebook asks for its mark in its colours, and leaves the button to us.
func (b Button) Brand() string {
	switch b.Icon {
	case "google", "x", "microsoft":
		return b.Icon
	}
	return "plain"
}

// Buttons are those on the page, and those under "More options".
type Buttons struct {
	First, More []Button
	MoreText    string
}

// first is how many buttons a page shows at once.
const first = 4

// buttons makes the methods into buttons, in their order, with ids that begin with prefix.
func (b *Base) buttons(prefix string, methods []Method) Buttons {
	all := Buttons{MoreText: b.T("login.more")}
	for i, m := range methods {
		key := "login.with"
		if m.Icon == "facebook" { // its rules know "Continue with" and "Log in with" only
			key = "login.continue_with"
		}
		button := Button{Method: m, Element: prefix + m.ID, Text: b.Rich(key, "Provider", m.Label)}
		if m.Down {
			button.State = b.T("login.down")
		}
		if i < first {
			all.First = append(all.First, button)
		} else {
			all.More = append(all.More, button)
		}
	}
	return all
}

// LinkPage is /login/link: somebody came from a provider, and an account of theirs may exist already. Without Confirm the person proves
// that account: fields identifier and password, or another provider's button. A second form with decision=claim says that it is not
// theirs. With Confirm they are signed in, the page names both accounts, and a form with decision=connect
// connects them.
type LinkPage struct {
	Base
	FormErrors
	Action     string
	App        *App
	Provider   string  // "Google"
	Icon       string  // of the provider, as in Method
	Account    string  // how the provider calls the person; shown with Confirm only
	Confirm    *Person // whose account here it will belong to; nil = that must be proven first
	Identifier string
	Methods    []Method
	NoPassword bool // other ways only
	MayClaim   bool
	CancelURL  string // a path of ours
}

func (*LinkPage) file() string { return "link.html" }

// Inputs are the form's fields in order.
func (p *LinkPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "login-identifier", Name: "identifier", Type: "text", Value: p.Identifier, Label: p.T("login.identifier"), Autocomplete: "username webauthn", Keys: "next", Plain: true, Focus: !p.Failed()}, &p.FormErrors),
		p.input(Input{ID: "login-password", Name: "password", Type: "password", Label: p.T("field.password"), Autocomplete: "current-password", Keys: "go"}, &p.FormErrors),
	}
}

// Look is the provider's mark.
func (p *LinkPage) Look() string { return look(p.Icon) }

// Buttons are the other ways to prove the account.
func (p *LinkPage) Buttons() Buttons { return p.buttons("link-with-", p.Methods) }

// Summary of what is wrong.
func (p *LinkPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// CompletePage is /login/complete: what the provider did not say. Its fields: email, unless NoEmail, and with AskName given_name and
// family_name. Without Provider the person is signed in, and the application is what needs the address.
type CompletePage struct {
	Base
	FormErrors
	Action                       string
	App                          *App
	Provider                     string
	AskName, NoEmail             bool
	Reported                     bool // the provider named an address that it does not vouch for
	Email, GivenName, FamilyName string
	CancelURL                    string // a path of ours, "" = none
}

func (*CompletePage) file() string { return "complete.html" }

// Lead is the key of the sentence about what is missing.
func (p *CompletePage) Lead() string {
	switch {
	case p.NoEmail:
		return "complete.lead_name"
	case p.Provider == "":
		return "complete.lead_client"
	case p.Reported:
		return "complete.lead_reported"
	}
	return "complete.lead"
}

// Client is what the sentence calls the application.
func (p *CompletePage) Client() string {
	if p.App == nil {
		return ""
	}
	return p.App.Name
}

// Inputs are the form's fields in order.
func (p *CompletePage) Inputs() []Input {
	var inputs []Input
	if !p.NoEmail {
		inputs = append(inputs,
			p.input(Input{ID: "complete-email", Name: "email", Type: "email", Value: p.Email, Label: p.T("field.email"), Autocomplete: "email", Plain: true, Focus: !p.Failed()}, &p.FormErrors))
	}
	if p.AskName {
		inputs = append(inputs,
			p.input(Input{ID: "complete-given-name", Name: "given_name", Type: "text", Value: p.GivenName, Label: p.T("field.given_name"), Autocomplete: "given-name", Optional: true, Focus: p.NoEmail && !p.Failed()}, &p.FormErrors),
			p.input(Input{ID: "complete-family-name", Name: "family_name", Type: "text", Value: p.FamilyName, Label: p.T("field.family_name"), Autocomplete: "family-name", Optional: true}, &p.FormErrors))
	}
	return inputs
}

// Summary of what is wrong.
func (p *CompletePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// ConnectionsPage is /account/connections. Its forms: POST URL of an available method, POST /account/connections/{id}/unlink.
type ConnectionsPage struct {
	Base
	Notice      string // key of what went wrong, "" = nothing
	Connections []ConnectionLine
	Available   []Method // URL is where a form is posted to
	Recent      bool     // signed in a moment ago; else the person goes to ReauthURL first
	ReauthURL   string
}

func (*ConnectionsPage) file() string { return "connections.html" }

// NoticeText is Notice in the page's language.
func (p *ConnectionsPage) NoticeText() string { return p.args(p.Notice, nil) }

// ConnectionLine is a provider's account that opens this one.
type ConnectionLine struct {
	ID, Provider, Icon string
	Account            string // the address the provider gave, "" = none
	Evidence           string // why it is connected, in words
	Since, LastUsed    string
	Closed             bool // it opens nothing now
	LastWay            bool // the only way in: it cannot be taken away
}

// Look is the provider's mark.
func (c ConnectionLine) Look() string { return look(c.Icon) }

// GoPage leads to a provider, where a form of ours may not: the browser goes on by itself, or by the link.
type GoPage struct {
	Base
	Provider string
	URL      string
	SignOut  bool     // signed out here, and now there
	Frames   []string // applications that hear of it first
}

func (*GoPage) file() string { return "go.html" }

// Link is URL where it may be one.
func (p *GoPage) Link() template.URL { return template.URL(webLink(p.URL)) }

// DeletionPage is /privacy/deletion/{code}: what became of a wish to have data deleted that a provider passed on.
type DeletionPage struct {
	Base
	Code, Provider, At string
	Done               bool // else it was received, and people see to the rest
}

func (*DeletionPage) file() string { return "deletion.html" }

// State for machines: done or pending.
func (p *DeletionPage) State() string {
	if p.Done {
		return "done"
	}
	return "pending"
}
