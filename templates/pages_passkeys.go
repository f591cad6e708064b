package templates

// PasskeyForm is a form that the script fills with a passkey: it asks Options what to ask the browser, and sends the answer to Action. It is hidden
// without script, and in browsers that have no passkeys. Its fields: credential; remember ("1") at a sign-in; name, and enrolment_code where it is needed, where one is made.
type PasskeyForm struct {
	ID       string // of the button; the form's is ID-form
	Create   bool   // a new one
	Autofill bool   // the browser offers passkeys in the field of the name, too
	Plain    bool   // the button is not the page's first
	Action   string
	Options  string
	Token    string
	Label    string
	Inputs   []Input
	Gone     string // id of a credential that nobody has here; its keeper is told
	RPID     string // with Gone
	// Texts of the live region.
	Closed, Known, Broken string
}

func (b *Base) passkey(f PasskeyForm) PasskeyForm {
	f.Token, f.Closed, f.Known, f.Broken = b.FormToken, b.T("passkeys.error_closed"), b.T("passkeys.error_known"), b.T("passkeys.error_failed")
	return f
}

// PasskeyPage is /login/passkey and /mfa/passkey: a passkey to sign in with, or as the second factor.
type PasskeyPage struct {
	Base
	FormErrors
	Action, Options string
	App             *App
	Second          bool   // after another way to sign in
	BackURL         string // of other ways; a path of ours
	CancelURL       string // "" = none
	Gone, RPID      string // PasskeyForm's
}

func (*PasskeyPage) file() string { return "passkey.html" }

// Passkey is the form.
func (p *PasskeyPage) Passkey() PasskeyForm {
	return p.passkey(PasskeyForm{ID: "passkey-use", Action: p.Action, Options: p.Options, Label: p.T("passkeys.use"), Gone: p.Gone, RPID: p.RPID})
}

// Summary of what is wrong.
func (p *PasskeyPage) Summary() Summary { return p.summary("error-summary", &p.FormErrors, nil) }

// PasskeysPage is /account/passkeys. Its forms: a new one to /account/passkeys, POST /account/passkeys/{id}/rename (name) and /account/passkeys/{id}/remove.
type PasskeysPage struct {
	Base
	FormErrors
	Recent    bool // the person showed a moment ago who they are, so they may change something
	ReauthURL string
	Passkeys  []PasskeyLine
	MayAdd    bool
	Name      string // as typed
	NeedsCode bool   // an enrolment code: the field enrolment_code
	Action    string
	Options   string
}

// PasskeyLine is a passkey.
type PasskeyLine struct {
	ID, Name        string // Name "" = the person gave none
	Since, LastUsed string // as Base.When prints them
	Place           string // where it is: synced, syncs (it can be on several devices, and is on one) or device
	Second          bool   // a second factor only
	Kept            string // why it cannot be removed, the key of a text; "" = it can
}

func (*PasskeysPage) file() string { return "passkeys.html" }

// Passkey is the form for a new one.
func (p *PasskeysPage) Passkey() PasskeyForm {
	return p.passkey(PasskeyForm{ID: "passkeys-add", Create: true, Action: p.Action, Options: p.Options, Label: p.T("passkeys.add"), Inputs: p.newInputs(p.Name, p.NeedsCode, &p.FormErrors)})
}

// newInputs are the fields of the form for a new one.
func (b *Base) newInputs(name string, needsCode bool, e *FormErrors) []Input {
	return append(enrolmentInput(b, e, needsCode),
		b.input(Input{ID: "passkey-name", Name: "name", Type: "text", Value: name, Label: b.T("mfa.name"), Hint: b.T("passkeys.name_hint"), Autocomplete: "off", Optional: true}, e))
}

// Summary of what is wrong.
func (p *PasskeysPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.newInputs("", p.NeedsCode, &p.FormErrors))
}

// Label is what a person reads for a passkey.
func (p *PasskeysPage) Label(l PasskeyLine) string {
	if l.Name != "" {
		return l.Name
	}
	return p.T("security.kind_passkey")
}

// PlaceText says where a passkey is.
func (p *PasskeysPage) PlaceText(l PasskeyLine) string { return p.T("passkeys.place_" + l.Place) }

// KeptText says why it cannot be removed.
func (p *PasskeysPage) KeptText(l PasskeyLine) string { return p.T(l.Kept) }

// NameInput is the field for another name.
func (p *PasskeysPage) NameInput(l PasskeyLine) Input {
	return p.input(Input{ID: "name-" + l.ID, Name: "name", Type: "text", Value: l.Name, Label: p.T("mfa.name"), Autocomplete: "off", Optional: true}, &FormErrors{})
}

// PasskeyOfferPage is /login/offer-passkey, after a sign-in with a password, and /mfa/enrol/passkey, before one is complete. Its forms: a new passkey to
// Action, and without a field to LaterURL.
type PasskeyOfferPage struct {
	Base
	FormErrors
	Action, Options     string
	App                 *App
	Required            bool   // a sign-in waits for it
	NeedsCode           bool   // an enrolment code: the field enrolment_code
	LaterURL            string // "" = it cannot be put off
	OtherURL, CancelURL string // of another kind of factor, and of the sign-in; "" = no such link
	Name                string
}

func (*PasskeyOfferPage) file() string { return "passkey_offer.html" }

// Passkey is the form for a new one.
func (p *PasskeyOfferPage) Passkey() PasskeyForm {
	return p.passkey(PasskeyForm{ID: "passkey-create", Create: true, Action: p.Action, Options: p.Options, Label: p.T("passkeys.create"), Inputs: p.newInputs(p.Name, p.NeedsCode, &p.FormErrors)})
}

// Summary of what is wrong.
func (p *PasskeyOfferPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.newInputs("", p.NeedsCode, &p.FormErrors))
}
