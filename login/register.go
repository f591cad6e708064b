package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const actorRegister = "system" // nobody: the person does not exist yet

// registers is the policy for somebody who makes an account here themselves, on behalf of p. Without mail nobody could prove an address, so
// nobody is new.
func (l *Login) registers(p *pending, i *invited) string {
	if l.codeKey == nil || l.registerMethod(p) == "" {
		return RegistrationClosed
	}
	return policyFor(stricter(l.registration, p), i)
}

// registerMethod is how somebody who registers signs in from then on: with a password where there are some, "" = in no way.
func (l *Login) registerMethod(p *pending) string {
	for _, m := range []string{methodPassword, methodEmailCode} {
		if l.admits(p, m) {
			return m
		}
	}
	return ""
}

// mayRegister refuses by the policy, with a page.
func (l *Login) mayRegister(p *pending, i *invited) error {
	key := ""
	switch l.registers(p, i) {
	case RegistrationOpen, RegistrationApproval:
		return nil
	case RegistrationInvite:
		key = "error.registration_invite"
	default:
		key = "error.register_closed"
	}
	return &web.Error{Status: http.StatusForbidden, Key: key, Code: strings.TrimPrefix(key, "error."), RestartURL: chooseURL(p)}
}

// domainTaken says whether the operator takes people with this address.
func (l *Login) domainTaken(email string) bool {
	domain := mailDomain(email)
	return len(l.domains) == 0 || slices.ContainsFunc(l.domains, func(d string) bool { return mailDomain("x@"+d) == domain && domain != "" })
}

// showRegister is GET /register.
func (l *Login) showRegister(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	i, err := l.invite(r)
	if err != nil {
		return err
	}
	if err := l.mayRegister(p, i); err != nil {
		return err
	}
	page := l.registerPage(w, r, p)
	if i.names() {
		page.Email = i.Email
	}
	if hint := cut(p.param("login_hint"), maxIdentifier); strings.Contains(hint, "@") {
		page.Email = hint
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) registerPage(w http.ResponseWriter, r *http.Request, p *pending) *templates.RegisterPage {
	return &templates.RegisterPage{
		App: p.dress(w), Base: l.mux.Base(w, r), Action: pathWith(registerPath, p, nil), SignInURL: chooseURL(p), MinLength: l.passwords.MinLength(),
		NoPassword: l.registerMethod(p) != methodPassword,
	}
}

// signUp is POST /register: a code goes to the address. Nothing is made before it comes back, and whether the address is somebody's is told to
// nobody but its owner (security.md E5, F8).
func (l *Login) signUp(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	i, err := l.invite(r)
	if err != nil {
		return err
	}
	if err := l.mayRegister(p, i); err != nil {
		return err
	}
	in := setupInput{
		givenName: strings.TrimSpace(r.PostFormValue("given_name")), familyName: strings.TrimSpace(r.PostFormValue("family_name")),
		email: strings.TrimSpace(r.PostFormValue("email")), password: r.PostFormValue("password"),
	}
	var args map[string]any
	again := func(status int, e templates.FormErrors) error {
		page := l.registerPage(w, r, p)
		page.FormErrors, page.Email, page.GivenName, page.FamilyName = e, in.email, in.givenName, in.familyName
		return l.mux.Render(w, r, status, page)
	}
	fields := in.check()
	if key := wrongAddress(in.email); key != "" {
		fields["email"] = key
	} else if !i.takes(in.email) && !makesAnew(l.registers(p, nil)) {
		fields["email"] = "invite.error_address"
	} else if !l.domainTaken(in.email) && !(i.names() && i.takes(in.email)) {
		fields["email"] = "register.error_domain"
	}
	withPassword := l.registerMethod(p) == methodPassword
	switch {
	case withPassword && in.password == "":
		fields["password"] = "login.password_required"
	case withPassword && len(fields) == 0:
		// What follows costs a hash, and perhaps a question to somebody else's server.
		wait, err := l.limiter.Check(ctx, throttle.Attempt{Account: "register:" + mailbox(in.email), IP: web.ClientIP(ctx)})
		if err != nil {
			return wrap("registration", err)
		}
		if wait > 0 {
			retryAfter(w, wait)
			return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
		}
		var key string
		if key, args = l.passwords.Check(ctx, in.password, in.email, in.givenName, in.familyName); key != "" {
			fields["password"] = key
		}
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Args: args, Fields: fields})
	}
	said := typed{Email: in.email, Given: in.givenName, Family: in.familyName}
	if withPassword {
		if said.PHC, err = l.passwords.Hash(ctx, in.password); errors.Is(err, password.ErrBusy) {
			return busy(err)
		} else if err != nil {
			return wrap("registration", err)
		}
	}
	return l.mailFirst(w, r, p, store.Attempt{Purpose: store.AttemptRegister}, l.registerCoded, said, again)
}

func (l *Login) registerCoded(_ *http.Request, p *pending, handle string, row *store.Attempt) *coded {
	at := func(path string) string { return pathWith(path, p, query{"join": handle}) }
	c := &coded{row: row, p: p, code: at(registerCodePath), resend: at(registerResendPath), change: pathWith(registerPath, p, nil), cancel: chooseURL(p)}
	c.proven = func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error {
		return l.registered(w, r, c, code, said)
	}
	return c
}

// registered makes the account and signs its person in: they have just shown all that it asks for.
func (l *Login) registered(w http.ResponseWriter, r *http.Request, c *coded, code *store.MailCode, said typed) error {
	var made *session.Session
	waits, owes := false, ""
	lang := l.mux.Base(w, r).Lang
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		made = nil
		if err := l.useCode(ctx, c, code); err != nil {
			return err
		}
		u, byInvite, err := l.newAccount(r.WithContext(ctx), c.p, said, lang)
		if err != nil {
			return err
		}
		if waits = !u.Active(l.now()); waits {
			return l.record(ctx, "registered", u.ID, c.p.clientID(), map[string]any{"policy": RegistrationApproval})
		}
		if err := l.record(ctx, "registered", u.ID, c.p.clientID(), map[string]any{"policy": RegistrationOpen}); err != nil {
			return err
		}
		proof := session.Proof{UserID: u.ID, Connector: methodPassword, AMR: amrPassword}
		if said.PHC == "" {
			proof.Connector, proof.AMR = methodEmailCode, amrEmail
		}
		if owes, err = l.owing(ctx, u, proof.AMR, ""); err != nil {
			return err
		}
		if owes != "" {
			return l.owe(w, r.WithContext(ctx), proof, owes, c.p, carried{SetUp: byInvite && owes == owesEnrolment})
		}
		made, err = l.begin(r.WithContext(ctx), u.ID, c.p, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
		return err
	})
	var taken *store.FieldError
	switch {
	case errors.As(err, &taken) && errors.Is(err, store.ErrConflict): // meanwhile; whoever reads the mailbox may know
		page := l.registerPage(w, r, c.p)
		page.FormErrors = templates.FormErrors{Fields: map[string]string{"email": "complete.error_email"}}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	case err != nil:
		return l.linkFailed(c.p, err)
	case waits:
		return &web.Error{Status: http.StatusForbidden, Key: "error.awaiting_approval", Code: "awaiting_approval", RestartURL: chooseURL(c.p)}
	}
	if owes != "" {
		return toOwed(w, r, owes, c.p)
	}
	return l.goOn(w, r, made, c.p)
}

// newAccount makes the account of somebody who proved their address, and looks at the policy itself: no caller can forget it (security.md F17).
func (l *Login) newAccount(r *http.Request, p *pending, said typed, lang string) (u *store.User, byInvite bool, err error) {
	ctx := r.Context()
	i, err := l.invite(r)
	if err != nil {
		return nil, false, err
	}
	if !i.takes(said.Email) {
		i = nil // it is another address's
	}
	if err := l.mayRegister(p, i); err != nil {
		return nil, false, err
	}
	if !l.domainTaken(said.Email) && !i.names() || (said.PHC != "") != (l.registerMethod(p) == methodPassword) {
		return nil, false, fmt.Errorf("login: registration: %w", store.ErrExpired) // the operator changed the rules meanwhile
	}
	policy := l.registers(p, i)
	u = &store.User{Email: said.Email, EmailVerifiedAt: store.At(l.now()), GivenName: said.Given, FamilyName: said.Family, Locale: locale(lang)}
	if policy == RegistrationApproval {
		u.DisabledAt, u.DisabledReason = store.At(l.now()), AwaitingApproval
	}
	if err := l.newUser(ctx, i, u); err != nil {
		return nil, false, err
	}
	if err := l.store.Audit(ctx, actorRegister, "user.create", "user:"+u.ID, map[string]string{"registration": registrationWord(policy, i), "evidence": evidenceMail}); err != nil {
		return nil, false, err
	}
	if said.PHC == "" {
		return u, i != nil, nil
	}
	return u, i != nil, l.store.SetPassword(ctx, u.ID, u.ID, said.PHC, false, "")
}
