package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const actorSetup = "setup" // the operator, as the assignment gate and the audit log know the set-up page

// setupInput is what the form may bring, and nothing else (security.md G7).
type setupInput struct {
	givenName, familyName, email, username, password string
}

// showSetup is GET /setup/{token}: the form, while the link is alive. It consumes nothing, so a mail scanner or a reload does no
// harm.
func (l *Login) showSetup(w http.ResponseWriter, r *http.Request) error {
	if l.noPassword {
		return errSetupNoPassword()
	}
	if err := l.setupAlive(r.Context(), hashOf(r.PathValue("token"))); err != nil {
		return setupError(err)
	}
	return l.mux.Render(w, r, http.StatusOK, l.setupPage(w, r, setupInput{}))
}

func (l *Login) setupPage(w http.ResponseWriter, r *http.Request, in setupInput) *templates.SetupPage {
	return &templates.SetupPage{
		Base: l.mux.Base(w, r), Action: setupPrefix + r.PathValue("token"), MinLength: l.passwords.MinLength(),
		GivenName: in.givenName, FamilyName: in.familyName, Email: in.email, Username: in.username,
	}
}

// setupAlive answers nil while the link may create an administrator.
func (l *Login) setupAlive(ctx context.Context, hash string) error {
	link, err := l.store.OneTime(ctx, purposeSetup, hash)
	if err != nil {
		return err
	}
	var data setupLink
	if err := json.Unmarshal([]byte(link.Data), &data); err != nil {
		return err
	}
	if data.Reissued {
		return nil
	}
	done, err := l.store.SetupDone(ctx)
	if err == nil && done {
		return ErrSetupDone
	}
	return err
}

// setup is POST /setup/{token}.
func (l *Login) setup(w http.ResponseWriter, r *http.Request) error {
	ctx, hash := r.Context(), hashOf(r.PathValue("token"))
	if l.noPassword {
		return errSetupNoPassword()
	}
	if err := l.setupAlive(ctx, hash); err != nil {
		return setupError(err)
	}
	in := setupInput{
		givenName:  strings.TrimSpace(r.PostFormValue("given_name")),
		familyName: strings.TrimSpace(r.PostFormValue("family_name")),
		email:      strings.TrimSpace(r.PostFormValue("email")),
		username:   strings.TrimSpace(r.PostFormValue("username")),
		password:   r.PostFormValue("password"),
	}
	again := func(e templates.FormErrors) error {
		page := l.setupPage(w, r, in)
		page.FormErrors = e
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	fields := in.check()
	key, args := l.passwords.Check(ctx, in.password, in.email, in.username, in.givenName, in.familyName)
	if key != "" {
		fields["password"] = key
	}
	if len(fields) > 0 {
		return again(templates.FormErrors{Args: args, Fields: fields})
	}

	// Hashing takes a core for tens of milliseconds, and the database has one writer: never in the transaction.
	phc, err := l.passwords.Hash(ctx, in.password)
	if errors.Is(err, password.ErrBusy) {
		return busy(err)
	} else if err != nil {
		return wrap("set-up", err)
	}
	user := &store.User{GivenName: in.givenName, FamilyName: in.familyName, Email: in.email, Username: in.username}
	err = l.store.Tx(ctx, func(ctx context.Context) error { return l.createAdministrator(ctx, hash, user, phc) })
	var field *store.FieldError
	switch {
	case errors.As(err, &field) && errors.Is(err, store.ErrInvalid):
		return again(templates.FormErrors{Fields: map[string]string{field.Field: "profile.error_" + field.Field}})
	case errors.Is(err, store.ErrConflict):
		return again(templates.FormErrors{Form: "setup.error_taken"})
	case err != nil:
		return setupError(err)
	}

	proof := session.Proof{UserID: user.ID, Connector: methodPassword, AMR: amrPassword}
	owes, err := l.owing(ctx, user, proof.AMR, "")
	if err != nil {
		return wrap("sign-in after set-up", err)
	}
	if owes != "" { // a second factor, before anything else (settled detail 8)
		if err := l.owe(w, r, proof, owes, nil, carried{SetUp: owes == owesEnrolment}); err != nil {
			return wrap("start of a partial sign-in", err)
		}
		return toOwed(w, r, owes, nil)
	}
	made, err := l.begin(r, user.ID, nil, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
	if err != nil {
		return wrap("sign-in after set-up", err)
	}
	return l.goOn(w, r, made, nil)
}

// createAdministrator uses the link and makes the administrator, or does neither. The link is taken first: of many posts at once
// one gets past it. The address counts as unverified, nobody has proved it.
func (l *Login) createAdministrator(ctx context.Context, hash string, u *store.User, phc string) error {
	if err := l.setupAlive(ctx, hash); err != nil {
		return err
	}
	if err := l.store.UseOneTime(ctx, purposeSetup, hash); err != nil {
		return err
	}
	if err := l.store.CreateUser(ctx, u); err != nil {
		return err
	}
	if err := l.store.Audit(ctx, actorSetup, "user.create", "user:"+u.ID, nil); err != nil {
		return err
	}
	if err := l.store.SetPassword(ctx, actorSetup, u.ID, phc, false, ""); err != nil {
		return err
	}
	return l.store.Assign(ctx, actorSetup, &store.Assignment{UserID: u.ID, Privilege: "admin", GivenBy: actorSetup, Reason: "set-up link"})
}

// errSetupNoPassword: the page makes an administrator with a password, and nobody could sign in with it.
func errSetupNoPassword() error {
	return &web.Error{Status: http.StatusForbidden, Key: "error.setup_no_password", Code: "setup_no_password"}
}

// setupError says on a page what became of a link.
func setupError(err error) error {
	page := func(status int, key, code string) error {
		return &web.Error{Status: status, Key: key, Code: code, Err: err}
	}
	switch {
	case errors.Is(err, ErrSetupDone):
		return page(http.StatusGone, "error.setup_done", "setup_done")
	case errors.Is(err, store.ErrUsed):
		return page(http.StatusGone, "error.setup_used", "setup_used")
	case errors.Is(err, store.ErrExpired):
		return page(http.StatusGone, "error.setup_expired", "setup_expired")
	case errors.Is(err, store.ErrNotFound):
		return page(http.StatusNotFound, "error.setup_unknown", "setup_unknown")
	}
	return wrap("set-up", err)
}

// usernameForm: 2 to 64 letters, marks, digits and . _ -, a letter or digit first. A username is no e-mail address and no phone number: each
// of the three names a person at sign-in, and none may pose as another. (A regular expression of all letters costs a megabyte.)
func usernameForm(s string) bool {
	if n := utf8.RuneCountInString(s); n < 2 || n > 64 || !utf8.ValidString(s) {
		return false
	}
	for i, r := range s {
		alnum := unicode.IsLetter(r) || unicode.Is(unicode.Nd, r)
		if !alnum && (i == 0 || !unicode.IsMark(r) && r != '.' && r != '_' && r != '-') {
			return false
		}
	}
	return true
}

func (in setupInput) check() map[string]string {
	fields := map[string]string{}
	for field, name := range map[string]string{"given_name": in.givenName, "family_name": in.familyName} {
		if utf8.RuneCountInString(name) > 100 || strings.ContainsFunc(name, unicode.IsControl) {
			fields[field] = "profile.error_name"
		}
	}
	switch {
	case in.email == "":
		fields["email"] = "profile.error_email_required"
	case !validEmail(in.email):
		fields["email"] = "profile.error_email"
	}
	if in.username != "" && (!usernameForm(in.username) || allDigits(in.username)) {
		fields["username"] = "profile.error_username"
	}
	return fields
}

// validEmail takes what net/mail reads as a bare address with a dotted or local domain.
func validEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= maxIdentifier-66 && !strings.ContainsFunc(s, unicode.IsControl)
}

func allDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
