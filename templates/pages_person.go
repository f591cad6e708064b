package templates

// PersonPage is /admin/users/{id}/account: an account and its life. Its forms post to .../edit (version and the fields of Inputs), .../disable (reason),
// .../enable, .../link (mail), .../erase (confirm), .../end-session (session), .../end-access, .../revoke (client_id).
type PersonPage struct {
	Admin
	FormErrors
	ID, Name string
	Self     bool
	// What the reader may do here.
	Edit, Status, Link, Erase, EndSessions, SeeSessions, SeeHistory bool

	Version                                                  int64
	GivenName, FamilyName, Email, Username, Locale, Zoneinfo string // as typed
	Organization, Country                                    string
	Now                                                      map[string]string // what fields say now where somebody else changed them meanwhile
	EmailVerified                                            bool
	Phone, Created, LastLogin                                string
	Disabled, DisabledReason, Leaving                        string // when, why; until when they may take back their wish to leave
	Waiting                                                  bool   // for approval
	Active, Password, MailLink                               bool   // MailLink: a link can be mailed
	Reason, Confirm                                          string // as typed
	ConfirmText                                              string // what is to be typed
	NewLink, NewLinkUntil                                    string // a link that was just made, shown this once
	Identities                                               []IdentityLine
	Factors                                                  []string
	Sessions                                                 []SessionLine
	Apps                                                     []AppLine
	History                                                  []HistoryLine
	MoreHistory                                              string
}

func (*PersonPage) file() string { return "admin_person.html" }

// URL of the page, and of its forms.
func (p *PersonPage) URL() string { return "/admin/users/" + p.ID }

// IdentityLine is a link to a provider, with how it was proven.
type IdentityLine struct {
	Provider, Subject, Issuer, Email, Trust string
	Evidence                                []string
	Since, LastUsed                         string
	Quarantined                             bool
}

// HistoryLine is an entry of the audit log.
type HistoryLine struct {
	When, Who, Action, Detail string
}

// Inputs are the fields of the profile.
func (p *PersonPage) Inputs() []Input {
	in := func(name, label, value string, plain bool) Input {
		i := Input{ID: "person-" + name, Name: name, Type: "text", Value: value, Label: p.T(label), Plain: plain, Optional: true, Autocomplete: "off"}
		if now, changed := p.Now[name]; changed {
			i.Hint = p.T("people.now", "Value", now)
			if now == "" {
				i.Hint = p.T("people.now_empty")
			}
		}
		return p.input(i, &p.FormErrors)
	}
	return []Input{
		in("given_name", "field.given_name", p.GivenName, false), in("family_name", "field.family_name", p.FamilyName, false),
		in("email", "field.email", p.Email, true), in("username", "field.username", p.Username, true), in("organization", "people.organization", p.Organization, false),
		in("country", "people.country", p.Country, true), in("locale", "people.locale", p.Locale, true), in("zoneinfo", "people.zoneinfo", p.Zoneinfo, true),
	}
}

// ReasonInput says why an account is closed.
func (p *PersonPage) ReasonInput() Input {
	return p.input(Input{ID: "person-reason", Name: "reason", Type: "text", Value: p.Reason, Label: p.T("admin.give_reason"), Hint: p.T("people.reason_hint"), Optional: true}, &p.FormErrors)
}

// ConfirmInput is what has to be typed before an account goes.
func (p *PersonPage) ConfirmInput() Input {
	return p.input(Input{ID: "person-confirm", Name: "confirm", Type: "text", Value: p.Confirm, Label: p.T("people.erase_confirm", "Text", p.ConfirmText), Plain: true, Autocomplete: "off"}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *PersonPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, append(p.Inputs(), p.ReasonInput(), p.ConfirmInput()))
}

// NewPersonPage is /admin/new-user. Its form: POST /admin/users with the fields of Inputs, type, mail ("1").
type NewPersonPage struct {
	Admin
	FormErrors
	GivenName, FamilyName, Email, Username, Privileges, Type string
	Types                                                    []Choice
	Names                                                    []string
	Give                                                     bool // the reader may give privileges
	MayMail                                                  bool // links can be mailed here
	MayLink                                                  bool // there are passwords to set
	Mail                                                     bool
}

func (*NewPersonPage) file() string { return "admin_person_new.html" }

// Inputs are the form's fields in order.
func (p *NewPersonPage) Inputs() []Input {
	list := []Input{
		p.input(Input{ID: "person-given_name", Name: "given_name", Type: "text", Value: p.GivenName, Label: p.T("field.given_name"), Optional: true, Autocomplete: "off", Focus: !p.Failed()}, &p.FormErrors),
		p.input(Input{ID: "person-family_name", Name: "family_name", Type: "text", Value: p.FamilyName, Label: p.T("field.family_name"), Optional: true, Autocomplete: "off"}, &p.FormErrors),
		p.input(Input{ID: "person-email", Name: "email", Type: "email", Value: p.Email, Label: p.T("field.email"), Hint: p.T("people.email_hint"), Plain: true, Optional: true, Autocomplete: "off"}, &p.FormErrors),
		p.input(Input{ID: "person-username", Name: "username", Type: "text", Value: p.Username, Label: p.T("field.username"), Plain: true, Optional: true, Autocomplete: "off"}, &p.FormErrors),
	}
	if p.Give {
		list = append(list, p.input(Input{ID: "person-privileges", Name: "privileges", Type: "text", Value: p.Privileges, Label: p.T("admin.section_privileges"), Hint: p.T("people.privileges_hint"), Plain: true, Optional: true}, &p.FormErrors))
	}
	return list
}

// TypeSelect is the field for the user type.
func (p *NewPersonPage) TypeSelect() Select {
	return p.choose(Input{ID: "person-type", Name: "type", Value: p.Type, Label: p.T("field.user_type")}, &p.FormErrors, p.Types)
}

// Summary of what is wrong.
func (p *NewPersonPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, append(p.Inputs(), p.TypeSelect().Input))
}
