package login

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	methodPassword = "password" // store.Session.Connector and store.Grant.Connector of this method
	maxIdentifier  = 320        // bytes: 64 of local part, @, 255 of domain (RFC 5321 §4.5.3.1)
)

var amrPassword = []string{"pwd"} // RFC 8176 §2

// showSignIn is GET /login. With a flow it always asks: the provider sent the browser here because it wants a sign-in, and
// whether one was needed is the provider's decision alone.
func (l *Login) showSignIn(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	current, signedIn := session.Current(r.Context())
	if p == nil && signedIn && !reauth(r) {
		return web.SeeOther(w, r, accountPath)
	}
	// Not after an error or by choice, and not just after a sign-out, which would sign in again (R53).
	if up := l.automatic(p); up != nil && r.URL.Query().Get("choose") == "" && !l.sessions.SignedOut(r) {
		return web.SeeOther(w, r, startURL(up, p, nil))
	}
	page := l.signInPage(w, r, p)
	page.Identifier = cut(p.param("login_hint"), maxIdentifier)
	if signedIn && page.Identifier == "" {
		page.Identifier = loginName(&current.Live.User)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) signInPage(w http.ResponseWriter, r *http.Request, p *pending) *templates.LoginPage {
	_, signedIn := session.Current(r.Context())
	app := p.dress(w)
	more := query{}
	if p == nil && reauth(r) {
		more["reauth"] = "1"
	}
	page := &templates.LoginPage{
		Base: l.mux.Base(w, r), Action: pathWith(signInPath, p, more), App: app, Reauth: signedIn,
		NoPassword: !l.admits(p, methodPassword), Done: doneText(r, doneReset, doneUndone),
	}
	page.Methods = l.phoneMethod(&page.Base, p, more, l.methods(p, more))
	if l.admits(p, methodEmailCode) {
		page.CodeURL = pathWith(emailCodeStartPath, p, more)
	}
	if l.admits(p, methodPasskey) {
		page.PasskeyURL, page.PasskeyOptions = pathWith(passkeyPath, p, more), pathWith(passkeyOptionsPath, p, nil)
	}
	if !page.NoPassword && l.forgets() {
		page.ForgotURL = pathWith(forgotPath, p, nil)
	}
	if !signedIn && makesAnew(l.registers(p, nil)) {
		page.RegisterURL = pathWith(registerPath, p, nil)
	}
	return page
}

// signIn is POST /login.
func (l *Login) signIn(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	in := credentials{
		identifier: strings.TrimSpace(r.PostFormValue("identifier")),
		password:   r.PostFormValue("password"),
		remember:   r.PostFormValue("remember") != "",
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.signInPage(w, r, p)
		page.FormErrors, page.Identifier, page.Remember = e, in.identifier, in.remember
		return l.mux.Render(w, r, status, page)
	}
	if !l.admits(p, methodPassword) { // the page has no such form
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Form: "login.error_wrong"})
	}
	if missing := in.missing(); len(missing) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: missing})
	}

	attempt, user, wait, err := l.checkPassword(r, in, p)
	if err != nil {
		return passwordTrouble(err)
	}
	if status, e := passwordRefused(w, user, wait); status != 0 {
		return again(status, e)
	}

	proof := session.Proof{UserID: user.ID, Connector: methodPassword, AMR: amrPassword, Remember: in.remember}
	return l.passed(w, r, user, proof, p, func(ctx context.Context) error { return l.limiter.Succeeded(ctx, attempt) })
}

// passwordTrouble is the answer when a password could not be checked at all.
func passwordTrouble(err error) error {
	if errors.Is(err, password.ErrBusy) {
		return busy(err)
	}
	return wrap("sign-in", err)
}

// passwordRefused says what to tell somebody whom checkPassword did not let pass; 0 = they passed.
func passwordRefused(w http.ResponseWriter, user *store.User, wait time.Duration) (status int, e templates.FormErrors) {
	switch {
	case wait > 0:
		retryAfter(w, wait)
		text, args := "login.error_locked", map[string]any{"Minutes": int(math.Ceil(wait.Minutes()))}
		if wait <= time.Minute {
			text, args = "login.error_locked_seconds", map[string]any{"Seconds": int(math.Ceil(wait.Seconds()))}
		}
		return http.StatusTooManyRequests, templates.FormErrors{Form: text, Args: args}
	case user == nil:
		// One answer for unknown, wrong, without a password, disabled, deleted and not yet valid (security.md F8).
		return http.StatusUnprocessableEntity, templates.FormErrors{Form: "login.error_wrong"}
	}
	return 0, templates.FormErrors{}
}

type credentials struct {
	identifier, password string
	remember             bool
}

func (c credentials) missing() map[string]string {
	fields := map[string]string{}
	if c.identifier == "" {
		fields["identifier"] = "login.identifier_required"
	}
	if c.password == "" {
		fields["password"] = "login.password_required"
	}
	return fields
}

// checkPassword returns the user who may enter, or nil, or how long this browser must wait before the next try. Whatever the
// outcome it asks the database the same questions and hashes once, so that neither text nor time tells accounts apart.
func (l *Login) checkPassword(r *http.Request, in credentials, p *pending) (a throttle.Attempt, u *store.User, wait time.Duration, err error) {
	ctx := r.Context()
	name := in.identifier
	if len(name) > maxIdentifier {
		name = "" // nobody's: what is left of it must not become somebody's
	}
	user, err := l.store.UserByLogin(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		user = &store.User{} // the id of nobody: it has no password
	} else if err != nil {
		return a, nil, 0, err
	}
	// Counters belong to the account, whichever of its names was typed; unknown names have counters too (security.md F5).
	a = throttle.Attempt{Account: user.ID, IP: web.ClientIP(ctx), Device: l.sessions.FlowBinding(r)}
	if a.Account == "" {
		a.Account = "unknown:" + norm.NFC.String(strings.ToLower(norm.NFC.String(in.identifier)))
	}
	// The try is counted and committed before it is made (security.md F7).
	if wait, err = l.limiter.Check(ctx, a); err != nil || wait > 0 {
		return a, nil, wait, err
	}
	credential, err := l.store.Password(ctx, user.ID)
	if errors.Is(err, store.ErrNotFound) {
		credential = &store.Credential{}
	} else if err != nil {
		return a, nil, 0, err
	}
	ok, stale, err := l.passwords.Verify(ctx, credential.Secret, in.password)
	switch {
	case errors.Is(err, password.ErrBusy), ctx.Err() != nil:
		return a, nil, 0, err
	case err != nil: // a hash nobody can read: for the operator to repair, and a failure like any other for the person
		l.log.ErrorContext(ctx, "password not verified", "user", user.ID, "error", err)
		ok = false
	}
	if !ok || !user.Active(l.now()) {
		if err := l.limiter.Failed(ctx, a); err != nil {
			return a, nil, 0, err
		}
		return a, nil, 0, l.record(ctx, "sign_in_failed", user.ID, p.clientID(), map[string]any{"method": methodPassword})
	}
	if stale {
		l.rehash(ctx, credential, in.password)
	}
	return a, user, 0, nil
}

// rehash raises the parameters of a hash after a success. Nothing depends on it: it is tried again at the next sign-in.
func (l *Login) rehash(ctx context.Context, c *store.Credential, pw string) {
	phc, err := l.passwords.Hash(ctx, pw)
	if err == nil {
		err = l.store.RehashPassword(ctx, c.ID, c.Secret, phc)
	}
	if err != nil {
		l.log.WarnContext(ctx, "password not hashed anew", "user", c.UserID, "error", err)
	}
}

// busy says that the hashing pool is full: the person may try again in a moment (security.md F3).
func busy(err error) error {
	return &web.Error{Status: http.StatusServiceUnavailable, Key: "error.busy", Code: "too_busy", Err: err, Retry: 5 * time.Second}
}

// loginName is what a person would type to sign in.
func loginName(u *store.User) string {
	for _, s := range []string{u.Email, u.Username, u.Phone} {
		if s != "" {
			return s
		}
	}
	return ""
}

// cut shortens s to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
