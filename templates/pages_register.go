package templates

// PasswordPage is /account/password: another password, or the first. Its field: password.
type PasswordPage struct {
	Base
	FormErrors
	Action     string
	Identifier string // for password managers
	MinLength  int
	First      bool // there is none yet
	CancelURL  string
}

func (*PasswordPage) file() string { return "account_password.html" }

// Inputs are the form's fields in order.
func (p *PasswordPage) Inputs() []Input {
	return []Input{newPassword(&p.Base, &p.FormErrors, "password-new", p.MinLength, !p.Failed())}
}

// newPassword is the field for one.
func newPassword(b *Base, e *FormErrors, id string, least int, focus bool) Input {
	return b.input(Input{ID: id, Name: "password", Type: "password", Label: b.T("field.new_password"), Hint: b.T("password.hint", "Count", least), Autocomplete: "new-password", Keys: "go", Focus: focus}, e)
}

// Summary of what is wrong.
func (p *PasswordPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// EmailPage is /account/email: another address. Its field: email.
type EmailPage struct {
	Base
	FormErrors
	Action    string
	Current   string // "" = none
	Verified  bool
	Email     string
	CancelURL string
}

func (*EmailPage) file() string { return "account_email.html" }

// Inputs are the form's fields in order.
func (p *EmailPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "email-new", Name: "email", Type: "email", Value: p.Email, Label: p.T("account_email.field"), Autocomplete: "email", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *EmailPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// UndoPage is /login/undo/{token}: a change of address is taken back.
type UndoPage struct {
	Base
	Action string
	Email  string // that the account gets back
}

func (*UndoPage) file() string { return "undo.html" }

// ForgotPage is /login/forgot. Its field: identifier.
type ForgotPage struct {
	Base
	FormErrors
	Action     string
	Identifier string
	CancelURL  string
}

func (*ForgotPage) file() string { return "forgot.html" }

// Inputs are the form's fields in order.
func (p *ForgotPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "forgot-identifier", Name: "identifier", Type: "text", Value: p.Identifier, Label: p.T("login.identifier"), Autocomplete: "username", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *ForgotPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// ForgotSentPage says the same whether a mail is on its way or not.
type ForgotSentPage struct {
	Base
	Minutes             int // the link is good for
	AgainURL, SignInURL string
}

func (*ForgotSentPage) file() string { return "forgot_sent.html" }

// ResetPage is /login/reset/{token}. Its field: password.
type ResetPage struct {
	Base
	FormErrors
	Action     string
	Identifier string // for password managers
	MinLength  int
}

func (*ResetPage) file() string { return "reset.html" }

// Inputs are the form's fields in order.
func (p *ResetPage) Inputs() []Input {
	return []Input{newPassword(&p.Base, &p.FormErrors, "reset-password", p.MinLength, !p.Failed())}
}

// Summary of what is wrong.
func (p *ResetPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, p.Inputs()) }

// RegisterPage is /register. Its fields: given_name, family_name, email, password.
type RegisterPage struct {
	Base
	FormErrors
	Action                       string
	App                          *App
	GivenName, FamilyName, Email string
	MinLength                    int
	NoPassword                   bool // people sign in with a code by mail
	SignInURL                    string
}

func (*RegisterPage) file() string { return "register.html" }

// Inputs are the form's fields in order.
func (p *RegisterPage) Inputs() []Input {
	list := []Input{
		p.input(Input{ID: "register-given-name", Name: "given_name", Type: "text", Value: p.GivenName, Label: p.T("field.given_name"), Autocomplete: "given-name", Keys: "next", Optional: true}, &p.FormErrors),
		p.input(Input{ID: "register-family-name", Name: "family_name", Type: "text", Value: p.FamilyName, Label: p.T("field.family_name"), Autocomplete: "family-name", Keys: "next", Optional: true}, &p.FormErrors),
		p.input(Input{ID: "register-email", Name: "email", Type: "email", Value: p.Email, Label: p.T("field.email"), Hint: p.T("register.email_hint"), Autocomplete: "email", Keys: "next", Plain: true}, &p.FormErrors),
	}
	if p.NoPassword {
		return list
	}
	return append(list,
		p.input(Input{ID: "register-password", Name: "password", Type: "password", Label: p.T("field.password"), Hint: p.T("password.hint", "Count", p.MinLength), Autocomplete: "new-password", Keys: "go"}, &p.FormErrors))
}

// Summary of what is wrong.
func (p *RegisterPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// EmailCodePage is /login/code: where a code to sign in with goes. Its field: email.
type EmailCodePage struct {
	Base
	FormErrors
	Action    string
	App       *App
	Email     string
	CancelURL string
}

func (*EmailCodePage) file() string { return "email_code.html" }

// Inputs are the form's fields in order.
func (p *EmailCodePage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "email-code-email", Name: "email", Type: "email", Value: p.Email, Label: p.T("field.email"), Autocomplete: "username", Keys: "go", Plain: true, Focus: !p.Failed()}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *EmailCodePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}
