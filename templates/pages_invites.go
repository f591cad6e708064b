package templates

import (
	"html/template"
	"strings"
)

// InvitePage is /invite/{token}: somebody was invited, and goes on with a form to Action.
type InvitePage struct {
	Base
	Action       string
	Who, Message string // who invites, "" = the service; and what they say
	Email        string // who was invited, "" = whoever has the link
	Until        string
	SignedIn     *Person // who has an account already
	SignOutURL   string
}

func (*InvitePage) file() string { return "invite.html" }

// InvitedPage is /invite: the ways to make the account of an invitation. Its form: to Action with given_name, family_name, password.
type InvitedPage struct {
	Base
	FormErrors
	Action, Email         string
	GivenName, FamilyName string
	MinLength             int
	Form                  bool   // the account can be made here
	NoPassword            bool   // and without one
	RegisterURL           string // where the address is still to be proven, "" = not here
	Methods               []Method
}

func (*InvitedPage) file() string { return "invited.html" }

// Inputs are the form's fields in order.
func (p *InvitedPage) Inputs() []Input {
	list := []Input{
		p.input(Input{ID: "invited-given_name", Name: "given_name", Type: "text", Value: p.GivenName, Label: p.T("field.given_name"), Optional: true, Autocomplete: "given-name", Focus: !p.Failed()}, &p.FormErrors),
		p.input(Input{ID: "invited-family_name", Name: "family_name", Type: "text", Value: p.FamilyName, Label: p.T("field.family_name"), Optional: true, Autocomplete: "family-name"}, &p.FormErrors),
	}
	if !p.NoPassword {
		list = append(list, newPassword(&p.Base, &p.FormErrors, "invited-password", p.MinLength, false))
	}
	return list
}

// Summary of what is wrong.
func (p *InvitedPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// InviteAcceptedPage is /invite/accepted: the account is there.
type InviteAcceptedPage struct {
	Base
	App, AppURL string // where the person was invited to, "" = nowhere in particular
	AccountURL  string
	Withheld    bool // not all that the invitation was to bring was given
	Who         string
}

func (*InviteAcceptedPage) file() string { return "invite_accepted.html" }

// AppLink is AppURL where it may be a link.
func (p *InviteAcceptedPage) AppLink() template.URL { return anyLink(p.AppURL) }

// InviteLine is an invitation of a list.
type InviteLine struct {
	ID, Email string // no Email = a link to hand over
	State     string
	By        string // who made it
	Type      string // the user type it gives, "" = that of newcomers
	Brings    []string
	Message   string
	Note      string // why it was declined
	When      string // it was made
	Until     string // it is open until, "" = it is over
	Mail      string // what became of its newest mail: waiting, sent, failed; "" = none
	Half      bool   // one of two approved it
	Withheld  []string
	Person    string // id of whose account it became, where the reader may see them
	Decide, Send, Revoke,
	Again bool // Send makes another link
}

// InviteResult is what became of an address.
type InviteResult struct {
	Email, State string // sent, waiting, or why nothing was made: known, invited, limit, address
	Link         string // to hand over; it is shown now and never again
}

// InvitesPage is /admin/invites. Its forms: POST .../{id}/decide (decision, note), .../{id}/send, .../{id}/revoke.
type InvitesPage struct {
	Admin
	FormErrors
	List    []InviteLine
	More    string // the next page, "" = none
	New     bool   // the reader may invite
	Results []InviteResult
	Wrong   string // id of the invitation whose form came back
}

func (*InvitesPage) file() string { return "admin_invites.html" }

// StateText names a state.
func (p *InvitesPage) StateText(l InviteLine) string {
	if l.Half {
		return p.T("invite.state_half")
	}
	return p.T("invite.state_" + l.State)
}

// MailText says what became of a mail, "" = nothing to say.
func (p *InvitesPage) MailText(l InviteLine) string {
	if l.Mail == "" || l.Mail == "sent" {
		return ""
	}
	return p.T("invite.mail_" + l.Mail)
}

// ResultText says what became of an address.
func (p *InvitesPage) ResultText(r InviteResult) string { return p.T("invite.result_" + r.State) }

// NoteField is the field of a decision.
func (p *InvitesPage) NoteField(l InviteLine) Input {
	var e FormErrors
	if l.ID == p.Wrong {
		e = p.FormErrors
	}
	return p.input(Input{ID: "note-" + l.ID, Name: "note", Type: "text", Label: p.T("asking.queue_note"), Hint: p.T("asking.queue_note_hint"), Optional: true}, &e)
}

// Summary of what is wrong.
func (p *InvitesPage) Summary() Summary {
	var inputs []Input
	for _, l := range p.List {
		if l.ID == p.Wrong {
			inputs = append(inputs, p.NoteField(l))
		}
	}
	return p.summary("error-summary", &p.FormErrors, inputs)
}

// NewInvitePage is /admin/new-invite. Its form: POST /admin/invites with the fields of Inputs, emails, type, client, days.
type NewInvitePage struct {
	Admin
	FormErrors
	Emails, Privileges, Message string
	Type, Client, Days          string
	Types, Clients              []Choice
	Names                       []string // privileges to choose from
	MayMail                     bool     // mail is sent here
}

func (*NewInvitePage) file() string { return "admin_invite_new.html" }

// Addresses is the long field.
func (p *NewInvitePage) Addresses() Input {
	return p.input(Input{ID: "invite-emails", Name: "emails", Value: p.Emails, Label: p.T("invite.emails"), Hint: p.T("invite.emails_hint"), Plain: true, Optional: true, Most: 30000, Focus: !p.Failed()}, &p.FormErrors)
}

// Words is the message.
func (p *NewInvitePage) Words() Input {
	return p.input(Input{ID: "invite-message", Name: "message", Value: p.Message, Label: p.T("invite.message"), Hint: p.T("invite.message_hint"), Optional: true, Most: 500}, &p.FormErrors)
}

// Held is the field for privileges.
func (p *NewInvitePage) Held() Input {
	return p.input(Input{ID: "invite-privileges", Name: "privileges", Type: "text", Value: p.Privileges, Label: p.T("admin.section_privileges"), Hint: p.T("people.privileges_hint"), Plain: true, Optional: true}, &p.FormErrors)
}

// Selects are the fields to choose from.
func (p *NewInvitePage) Selects() []Select {
	var days []Choice
	for _, d := range []string{"1", "3", "7", "14", "30"} {
		days = append(days, Choice{Value: d, Label: p.T("invite.days_" + d)})
	}
	list := []Select{p.choose(Input{ID: "invite-type", Name: "type", Value: p.Type, Label: p.T("field.user_type")}, &p.FormErrors, p.Types)}
	if len(p.Clients) > 0 {
		list = append(list, p.choose(Input{ID: "invite-client", Name: "client", Value: p.Client, Label: p.T("invite.client")}, &p.FormErrors, append([]Choice{{Label: p.T("invite.client_none")}}, p.Clients...)))
	}
	return append(list, p.choose(Input{ID: "invite-days", Name: "days", Value: p.Days, Label: p.T("invite.days")}, &p.FormErrors, days))
}

// Summary of what is wrong.
func (p *NewInvitePage) Summary() Summary {
	inputs := []Input{p.Addresses(), p.Held(), p.Words()}
	for _, s := range p.Selects() {
		inputs = append(inputs, s.Input)
	}
	return p.summary("error-summary", &p.FormErrors, inputs)
}

// Joined is a list in one line.
func (l InviteLine) Joined(list []string) string { return strings.Join(list, ", ") }

// Buttons are the other ways.
func (p *InvitedPage) Buttons() Buttons { return p.buttons("invited-with-", p.Methods) }
