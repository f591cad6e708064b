package templates

import (
	"errors"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// pages lists every page; New compares it with the files.
func pages() []Page {
	return []Page{
		&HomePage{}, &SetupPage{}, &LoginPage{}, &NewPasswordPage{}, &ConsentPage{}, &LogoutPage{}, &LoggedOutPage{},
		&ErrorPage{}, &AccountPage{}, &FormPostPage{}, &OutboxPage{},
		&LinkPage{}, &CompletePage{}, &CodePage{}, &ConnectionsPage{}, &GoPage{}, &DeletionPage{},
		&AccountPrivilegesPage{}, &RequestsPage{},
		&AdminPage{}, &PrivilegesPage{}, &NewPrivilegePage{}, &PrivilegePage{}, &ReviewPage{}, &RightsPage{}, &UsersPage{}, &UserPage{}, &ExplainPage{}, &PreviewPage{},
		&PasswordPage{}, &EmailPage{}, &UndoPage{}, &ForgotPage{}, &ForgotSentPage{}, &ResetPage{}, &RegisterPage{}, &EmailCodePage{},
		&AuthoritiesPage{}, &AuthorityPage{}, &ActingPage{},
		&PhonePage{}, &PhoneCodePage{}, &PhoneProofPage{},
		&FactorPage{}, &RecoveryPage{}, &EnrolPage{}, &CodesPage{}, &SecurityPage{},
		&SMSFactorPage{}, &FactorNumberPage{}, &FactorWaysPage{},
		&PasskeyPage{}, &PasskeysPage{}, &PasskeyOfferPage{},
		&PersonPage{}, &NewPersonPage{}, &LeavePage{},
		&InvitePage{}, &InvitedPage{}, &InviteAcceptedPage{}, &InvitesPage{}, &NewInvitePage{},
	}
}

// SetupPage is /setup/{token}: the first administrator. Its fields: given_name, family_name, email, username, password.
type SetupPage struct {
	Base
	FormErrors
	Action                                 string
	GivenName, FamilyName, Email, Username string
	MinLength                              int
}

func (*SetupPage) file() string { return "setup.html" }

// Inputs are the form's fields in order.
func (p *SetupPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "setup-given-name", Name: "given_name", Type: "text", Value: p.GivenName, Label: p.T("field.given_name"), Autocomplete: "given-name", Optional: true}, &p.FormErrors),
		p.input(Input{ID: "setup-family-name", Name: "family_name", Type: "text", Value: p.FamilyName, Label: p.T("field.family_name"), Autocomplete: "family-name", Optional: true}, &p.FormErrors),
		p.input(Input{ID: "setup-email", Name: "email", Type: "email", Value: p.Email, Label: p.T("field.email"), Hint: p.T("setup.email_hint"), Autocomplete: "email", Plain: true}, &p.FormErrors),
		p.input(Input{ID: "setup-username", Name: "username", Type: "text", Value: p.Username, Label: p.T("field.username"), Hint: p.T("setup.username_hint"), Autocomplete: "username", Plain: true, Optional: true}, &p.FormErrors),
		p.input(Input{ID: "setup-password", Name: "password", Type: "password", Label: p.T("field.password"), Hint: p.T("password.hint", "Count", p.MinLength), Autocomplete: "new-password", Keys: "go"}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *SetupPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// LoginPage is /login with identifier and password on one page. Its fields: identifier, password, remember ("1").
type LoginPage struct {
	Base
	FormErrors
	Action     string
	App        *App // who sent the person here, nil = nobody: a sign-in to this service itself
	Identifier string
	Remember   bool
	Methods    []Method
	Reauth     bool // the person is signed in and must prove it again
	NoPassword bool // the application or the operator takes other ways in only: there are buttons and no form
	// Pages of ours, "" = no such link: a code by mail, a forgotten password, a new account.
	CodeURL, ForgotURL, RegisterURL string
	PasskeyURL, PasskeyOptions      string // where a passkey goes, and what is asked for; "" = there is no such way
	Done                            string // the key of what was done a moment ago, "" = nothing
}

// DoneText says what was done.
func (p *LoginPage) DoneText() string { return p.args(p.Done, nil) }

func (*LoginPage) file() string { return "login.html" }

// Inputs are the form's fields in order.
func (p *LoginPage) Inputs() []Input {
	focus := !p.Failed() // the summary takes it then
	return []Input{
		p.input(Input{ID: "login-identifier", Name: "identifier", Type: "text", Value: p.Identifier, Label: p.T("login.identifier"), Autocomplete: "username webauthn", Keys: "next", Plain: true, Focus: focus && p.Identifier == ""}, &p.FormErrors),
		p.input(Input{ID: "login-password", Name: "password", Type: "password", Label: p.T("field.password"), Autocomplete: "current-password", Keys: "go", Focus: focus && p.Identifier != ""}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *LoginPage) Summary() Summary { return p.summary("login-error", &p.FormErrors, p.Inputs()) }

// Passkey is the button for a passkey, and what autofill sends.
func (p *LoginPage) Passkey() PasskeyForm {
	return p.passkey(PasskeyForm{ID: "login-with-passkey", Autofill: true, Plain: !p.NoPassword, Action: p.PasskeyURL, Options: p.PasskeyOptions, Label: p.T("passkeys.sign_in")})
}

// Buttons are the other ways in.
func (p *LoginPage) Buttons() Buttons { return p.buttons("login-with-", p.Methods) }

// NewPasswordPage is /login/new-password: a sign-in that owes a new password. Its field: password.
type NewPasswordPage struct {
	Base
	FormErrors
	Action     string
	Identifier string // for password managers
	MinLength  int
}

func (*NewPasswordPage) file() string { return "new_password.html" }

// Inputs are the form's fields in order.
func (p *NewPasswordPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "new-password-password", Name: "password", Type: "password", Label: p.T("field.new_password"), Hint: p.T("password.hint", "Count", p.MinLength), Autocomplete: "new-password", Keys: "go", Focus: !p.Failed()}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *NewPasswordPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// Scope is one thing an application asks for.
type Scope struct {
	Name     string // as in the request
	Label    string // plain words; "" = the catalogue's for a scope it knows, else the name
	Detail   string // the real values: the e-mail address, the name
	Optional bool   // the person may leave it out: a checkbox named scope
	New      bool   // not asked for before; these come first
}

// ConsentPage is /consent. Accept and deny are two forms to Action, with a hidden field decision: accept or deny. Accept carries a
// field scope for every scope allowed.
type ConsentPage struct {
	Base
	App        App
	Action     string
	Scopes     []Scope
	Unverified bool
	SwitchURL  string // "not you?", "" = not offered
}

func (*ConsentPage) file() string { return "consent.html" }

// Ordered puts what is new first.
func (p *ConsentPage) Ordered() []Scope {
	out := slices.Clone(p.Scopes)
	slices.SortStableFunc(out, func(a, b Scope) int {
		switch {
		case a.New == b.New:
			return 0
		case a.New:
			return -1
		}
		return 1
	})
	return out
}

// LogoutPage asks whether to sign out.
type LogoutPage struct {
	Base
	Action  string
	App     *App              // who sent the person here, nil = nobody
	Apps    []App             // signed in to through this session
	Hidden  map[string]string // further fields of the form
	StayURL string            // where "stay" leads: a path of ours
}

func (*LogoutPage) file() string { return "logout.html" }

// Pair is a hidden field.
type Pair struct{ Name, Value string }

// HiddenFields in the order of their names.
func (p *LogoutPage) HiddenFields() []Pair {
	var out []Pair
	for _, name := range slices.Sorted(maps.Keys(p.Hidden)) {
		out = append(out, Pair{name, p.Hidden[name]})
	}
	return out
}

// Stay is StayURL without its query: a form sent by GET replaces that by its fields.
func (p *LogoutPage) Stay() string {
	u, err := url.Parse(p.StayURL)
	if err != nil || !local(p.StayURL) {
		return "/"
	}
	u.RawQuery = ""
	return u.String()
}

// StayFields is the query of StayURL.
func (p *LogoutPage) StayFields() []Pair {
	u, err := url.Parse(p.StayURL)
	if err != nil || !local(p.StayURL) {
		return nil
	}
	var out []Pair
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, v := range query[name] {
			out = append(out, Pair{name, v})
		}
	}
	return out
}

// LoggedOutPage says that it is done.
type LoggedOutPage struct {
	Base
	App     *App
	BackURL string // registered, of App
	Next    string // where the browser goes on to when the frames are there; "" = it stays
	Frames  []string
}

func (*LoggedOutPage) file() string { return "logged_out.html" }

// Link is BackURL where it may be one.
func (p *LoggedOutPage) Link() template.URL { return anyLink(p.BackURL) }

// NextLink is Next where it may be one.
func (p *LoggedOutPage) NextLink() template.URL { return anyLink(p.Next) }

// ErrorPage is every dead end.
type ErrorPage struct {
	Base
	Status     int
	Code       string         // for machines: #error-code and data-error
	Key        string         // of the explanation; an unknown one is explained by the status
	Args       map[string]any // of the explanation
	RetryURL   string         // the same once more at a provider; "" = no such link
	RestartURL string         // another way, or from the beginning; "" = no such link
	ReturnURL  string
	ReturnName string
}

func (*ErrorPage) file() string { return "error.html" }

// Explanation in this page's language. A key nobody wrote a text for must not reach a person.
func (p *ErrorPage) Explanation() string {
	if p.loc == nil {
		return p.Key
	}
	if p.loc.has(p.Key) {
		return p.loc.text(p.Key, p.Args)
	}
	return p.loc.text(p.byStatus(), nil)
}

func (p *ErrorPage) byStatus() string {
	switch p.Status {
	case 403:
		return "error.forbidden"
	case 404:
		return "error.not_found"
	case 405:
		return "error.method"
	case 413:
		return "error.too_large"
	case 429:
		return "error.too_many"
	case 503:
		return "error.unavailable"
	}
	if p.Status >= 500 {
		return "error.internal"
	}
	return "error.bad_request"
}

// Heading by kind of trouble.
func (p *ErrorPage) Heading() string {
	switch p.Key {
	case "error.upstream_denied":
		return p.T("error.title_cancelled")
	case "error.awaiting_approval":
		return p.T("error.title_waiting")
	}
	if p.aboutProvider() && p.Status == 403 {
		return p.T("error.title") // a sign-in that was refused, and no place that is shut
	}
	switch p.Status {
	case 404:
		return p.T("error.title_not_found")
	case 403:
		return p.T("error.title_forbidden")
	case 429, 503:
		return p.T("error.title_later")
	}
	return p.T("error.title")
}

// aboutProvider says whether the explanation is about signing in through a provider.
func (p *ErrorPage) aboutProvider() bool {
	_, ok := p.Args["Provider"]
	return ok
}

// RestartText says where Restart leads: after trouble with a provider our sign-in page is another way in.
func (p *ErrorPage) RestartText() string {
	path, _, _ := strings.Cut(p.RestartURL, "?")
	switch {
	case p.aboutProvider() && path == "/login":
		return p.T("error.other_way")
	case strings.HasPrefix(path, "/account"):
		return p.T("error.return")
	}
	return p.T("error.restart")
}

// Retry, Restart and Return are the addresses where they may be links.
func (p *ErrorPage) Retry() template.URL   { return anyLink(p.RetryURL) }
func (p *ErrorPage) Restart() template.URL { return anyLink(p.RestartURL) }
func (p *ErrorPage) Return() template.URL  { return anyLink(p.ReturnURL) }

// AccountPage is /account. Its forms: POST /account/sessions/end (id), /account/sessions/end-others, /account/apps/remove (client_id).
type AccountPage struct {
	Base
	Email         string
	EmailVerified bool
	Username      string
	Phone         string
	UserType      string
	ReadOnly      bool   // they may see and change nothing, but for their own sign-in
	Admin         bool   // they have pages of administration
	LastLogin     string // as Base.When prints it
	Privileges    []PrivilegeLine
	Sessions      []SessionLine
	Logouts       *Logouts // nil = no application was told of a sign-out lately
	Apps          []AppLine
	// PasswordURL and EmailURL are where they are changed; "" = nowhere.
	PasswordURL, EmailURL string
	Done                  string // the key of what was done a moment ago, "" = nothing
	// ConnectionsURL is the page of connected providers; "" = there are none to connect, and no such section.
	ConnectionsURL string
	// SecurityURL is the page of second factors; "" = there are none and may be none.
	SecurityURL string
	PasskeysURL string // "" = there are no passkeys
	// AuthoritiesURL is the page of authorities; "" = acting for others is no matter here.
	AuthoritiesURL      string
	PhoneURL            string // where the number is, "" = nowhere
	ExportURL, LeaveURL string // what there is about the person as a file, and the end of the account; "" = none
}

func (*AccountPage) file() string { return "account.html" }

// DoneText says what was done.
func (p *AccountPage) DoneText() string { return p.args(p.Done, nil) }

// Others says whether there is any session but this one.
func (p *AccountPage) Others() bool {
	return slices.ContainsFunc(p.Sessions, func(s SessionLine) bool { return !s.Current })
}

// PrivilegeLine is a privilege and why the person holds it, both in the page's language.
type PrivilegeLine struct{ Name, Label, Why string }

// SessionLine is a browser the person is signed in with.
type SessionLine struct {
	ID, Device, IP, Since, LastSeen string
	Current                         bool
}

// AppLine is an application the person gave access.
type AppLine struct {
	ClientID, Name, Since string
	Scopes                []string // in words
}

// FormPostPage carries an authorization response to the client: OAuth 2.0 Form Post Response Mode.
type FormPostPage struct {
	Base
	Action string // the redirect URI: http or https
	Fields []struct{ Name, Value string }
}

func (*FormPostPage) file() string { return "form_post.html" }

// check refuses what html/template would turn into an address of ours: the response must reach the client or nobody.
func (p *FormPostPage) check() error {
	if p.Action != "" && webLink(p.Action) == "" {
		return errors.New("form_post goes to http and https addresses only")
	}
	return nil
}

// OutboxPage is /dev/outbox: mail and SMS the demo would have sent, newest first.
type OutboxPage struct {
	Base
	Messages []OutboxMessage
}

func (*OutboxPage) file() string { return "outbox.html" }

// OutboxMessage is one of them.
type OutboxMessage struct{ Kind, To, Subject, Text, At, Status string }

// HomePage is /.
type HomePage struct {
	Base
	SignInURL string
}

func (*HomePage) file() string { return "home.html" }
