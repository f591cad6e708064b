package login

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// An invitation is opened from its link, in one browser, and goes on there for an hour without it: whatever way somebody new comes in that browser, the
// account that is made is the invitation's. Its address, where it names one, was proven by the link, which went there and nowhere else.

const (
	invitedPath  = "/invite"
	acceptedPath = "/invite/accepted"
)

func (l *Login) mountInvites(mux *web.Mux) {
	mux.Page("GET "+invites.Path+"{token}", web.Public, l.showInvite) // guarded by the link
	mux.Page("POST "+invites.Path+"{token}", web.Public, l.openInvite)
	mux.Page("GET "+invitedPath, web.Public, l.showInvited) // guarded by the invitation that is open in this browser
	mux.Page("POST "+invitedPath, web.Public, l.acceptByForm)
	mux.Page("GET "+acceptedPath, web.SignedIn, l.accepted)
}

// invited is the invitation that is open in a browser.
type invited struct {
	*store.Invite
	admin bool // it makes an administrator: not every way in may (R41)
}

// invite finds the invitation that is open in the browser of a request, nil = none.
func (l *Login) invite(r *http.Request) (*invited, error) {
	i, err := l.store.InviteIn(r.Context(), l.sessions.FlowBinding(r))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("invitation", err)
	}
	m, err := l.store.Model(r.Context())
	if err != nil {
		return nil, wrap("invitation", err)
	}
	brings := slices.DeleteFunc(slices.Clone(i.Privileges), func(n string) bool { return !m.Graph.Has(n) })
	if m.Type(i.UserType) != nil {
		brings = append(brings, privilege.TypeNode(i.UserType))
	}
	return &invited{i, m.Powers.Administers(m.Graph.Closure(brings...))}, nil
}

// names says whether the invitation is for one address.
func (i *invited) names() bool { return i != nil && i.Email != "" }

// takes says whether an address that was proven elsewhere is the one that was invited.
func (i *invited) takes(email string) bool { return !i.names() || sameAddress(i.Email, email) }

// policyFor is a method's policy for somebody with an invitation, nil = without one: it opens what waits for one, and stands for the approval. What is closed
// stays so (R137).
func policyFor(policy string, i *invited) string {
	if i != nil && (policy == RegistrationInvite || policy == RegistrationApproval) {
		return RegistrationOpen
	}
	return policy
}

// makesAnew says whether a policy makes accounts.
func makesAnew(policy string) bool {
	return policy == RegistrationOpen || policy == RegistrationApproval
}

// newUser makes the account of somebody new: of their invitation, if there is one.
func (l *Login) newUser(ctx context.Context, i *invited, u *store.User) error {
	if i == nil {
		return l.store.CreateUser(ctx, u)
	}
	if i.names() && u.Email == "" {
		u.Email, u.EmailVerifiedAt = i.Email, store.At(l.now())
	}
	_, err := l.invites.Accept(ctx, i.ID, i.BrowserHash, u)
	if errors.Is(err, store.ErrNotFound) { // over meanwhile
		return inviteOver(nil)
	}
	return err
}

// registrationWord is the policy under which an account was made, for the log.
func registrationWord(policy string, i *invited) string {
	if i != nil {
		return RegistrationInvite
	}
	return policy
}

// inviteOver is the page for an invitation that is not good any more, or never was: the same for every reason, so that it tells nothing.
func inviteOver(err error) error {
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("invitation", err)
	}
	return &web.Error{Status: http.StatusGone, Key: "error.invite_over", Code: "invite_over", Err: err, RestartURL: signInPath}
}

// showInvite is GET /invite/{token}. It changes nothing: mail scanners follow links too.
func (l *Login) showInvite(w http.ResponseWriter, r *http.Request) error {
	return l.renderInvite(w, r, http.StatusOK)
}

func (l *Login) renderInvite(w http.ResponseWriter, r *http.Request, status int) error {
	i, err := l.store.InviteByToken(r.Context(), invites.HashOf(r.PathValue("token")))
	if err != nil {
		return inviteOver(err)
	}
	page := &templates.InvitePage{Base: l.mux.Base(w, r), Action: invites.Path + r.PathValue("token"), Email: i.Email, Message: i.Message, SignOutURL: "/logout"}
	page.Until = page.When(i.ExpiresAt.UTC())
	if page.Who, err = l.inviter(r.Context(), i); err != nil {
		return wrap("invitation", err)
	}
	if current, ok := session.Current(r.Context()); ok {
		page.SignedIn = &templates.Person{Name: current.Live.User.Name(), Email: current.Live.User.Email}
	}
	return l.mux.Render(w, r, status, page)
}

// inviter is the name of who invites, "" = the operator.
func (l *Login) inviter(ctx context.Context, i *store.Invite) (string, error) {
	u, err := l.store.User(ctx, i.CreatedBy)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return u.Name(), nil
}

// openInvite is POST /invite/{token}: the invitation goes on in this browser.
func (l *Login) openInvite(w http.ResponseWriter, r *http.Request) error {
	if _, ok := session.Current(r.Context()); ok { // it is for a new account, and they have one
		return l.renderInvite(w, r, http.StatusConflict)
	}
	l.sessions.FlowCookie(w, r)
	if _, err := l.store.OpenInvite(r.Context(), invites.HashOf(r.PathValue("token")), l.sessions.FlowBinding(r)); err != nil {
		return inviteOver(err)
	}
	l.sessions.KeepPlace(w, acceptedPath)
	return web.SeeOther(w, r, invitedPath) // whose address holds no token
}

// openedInvite is the invitation of this browser, for somebody who is not signed in.
func (l *Login) openedInvite(r *http.Request) (*invited, error) {
	i, err := l.invite(r)
	if err == nil && i == nil {
		err = inviteOver(nil)
	}
	return i, err
}

// showInvited is GET /invite: the ways to make the account.
func (l *Login) showInvited(w http.ResponseWriter, r *http.Request) error {
	if _, ok := session.Current(r.Context()); ok {
		return web.SeeOther(w, r, accountPath)
	}
	i, err := l.openedInvite(r)
	if err != nil {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, l.invitedPage(w, r, i))
}

func (l *Login) invitedPage(w http.ResponseWriter, r *http.Request, i *invited) *templates.InvitedPage {
	page := &templates.InvitedPage{Base: l.mux.Base(w, r), Action: invitedPath, Email: i.Email, MinLength: l.passwords.MinLength(), NoPassword: l.registerMethod(nil) != methodPassword}
	if own := l.registerMethod(nil) != "" && l.registration != RegistrationClosed; own && i.names() {
		page.Form = true
	} else if own && l.registers(nil, i) == RegistrationOpen {
		page.RegisterURL = registerPath
	}
	for _, m := range l.methods(nil, nil) {
		if up := l.upstream(m.ID); policyFor(up.Registration, i) != RegistrationClosed && (!i.admin || up.AllowAdmins || up.TrustMFA) {
			page.Methods = append(page.Methods, m)
		}
	}
	if l.phone != nil && makesAnew(l.phoneRegistration(nil, i)) {
		page.Methods = l.phoneMethod(&page.Base, nil, nil, page.Methods)
	}
	return page
}

// acceptByForm is POST /invite: the account gets the address that was invited, a name and, where there are passwords, one.
func (l *Login) acceptByForm(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if _, ok := session.Current(ctx); ok {
		return web.SeeOther(w, r, accountPath)
	}
	i, err := l.openedInvite(r)
	if err != nil {
		return err
	}
	page := l.invitedPage(w, r, i)
	if !page.Form {
		return &web.Error{Status: http.StatusForbidden, Key: "error.register_closed", Code: "register_closed", RestartURL: invitedPath}
	}
	in := setupInput{givenName: strings.TrimSpace(r.PostFormValue("given_name")), familyName: strings.TrimSpace(r.PostFormValue("family_name")), email: i.Email, password: r.PostFormValue("password")}
	again := func(status int, e templates.FormErrors) error {
		page.FormErrors, page.GivenName, page.FamilyName = e, in.givenName, in.familyName
		return l.mux.Render(w, r, status, page)
	}
	fields, args := in.check(), map[string]any(nil)
	delete(fields, "email") // it was looked at when it was invited
	phc := ""
	if !page.NoPassword {
		key := ""
		if key, args = l.passwords.Check(ctx, in.password, in.email, in.givenName, in.familyName); key != "" {
			fields["password"] = key
		}
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Args: args, Fields: fields})
	}
	proof := session.Proof{Connector: methodEmailCode, AMR: amrEmail}
	if !page.NoPassword {
		proof.Connector, proof.AMR = methodPassword, amrPassword
		if phc, err = l.passwords.Hash(ctx, in.password); errors.Is(err, password.ErrBusy) {
			return busy(err)
		} else if err != nil {
			return wrap("invitation", err)
		}
	}
	var made *session.Session
	owes := ""
	err = l.store.Tx(ctx, func(ctx context.Context) error {
		made = nil
		u := &store.User{Email: i.Email, EmailVerifiedAt: store.At(l.now()), GivenName: in.givenName, FamilyName: in.familyName, Locale: locale(page.Lang)}
		if err := l.newUser(ctx, i, u); err != nil {
			return err
		}
		if err := l.store.Audit(ctx, actorRegister, "user.create", "user:"+u.ID, map[string]string{"registration": RegistrationInvite, "evidence": evidenceMail}); err != nil {
			return err
		}
		if phc != "" {
			if err := l.store.SetPassword(ctx, u.ID, u.ID, phc, false, ""); err != nil {
				return err
			}
		}
		if err := l.record(ctx, "registered", u.ID, "", map[string]any{"policy": RegistrationInvite}); err != nil {
			return err
		}
		proof.UserID = u.ID
		if owes, err = l.owing(ctx, u, proof.AMR, ""); err != nil {
			return err
		}
		if owes != "" {
			return l.owe(w, r.WithContext(ctx), proof, owes, nil, carried{SetUp: owes == owesEnrolment})
		}
		made, err = l.begin(r.WithContext(ctx), u.ID, nil, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
		return err
	})
	switch {
	case errors.Is(err, store.ErrConflict): // meanwhile; whoever has the link reads the mailbox, and may know
		return again(http.StatusConflict, templates.FormErrors{Form: "invite.error_taken"})
	case err != nil:
		return inviteOver(err)
	case owes != "":
		return toOwed(w, r, owes, nil)
	}
	return l.goOn(w, r, made, nil)
}

// accepted is GET /invite/accepted: where somebody lands whose account is new, with the way to the application they were invited to.
func (l *Login) accepted(w http.ResponseWriter, r *http.Request) error {
	current, _ := session.Current(r.Context())
	i, err := l.store.InviteOf(r.Context(), current.UserID)
	if errors.Is(err, store.ErrNotFound) {
		return web.SeeOther(w, r, accountPath)
	}
	if err != nil {
		return wrap("invitation", err)
	}
	page := &templates.InviteAcceptedPage{Base: l.mux.Base(w, r), AccountURL: accountPath, Withheld: len(i.Withheld) > 0}
	if page.Who, err = l.inviter(r.Context(), i); err != nil {
		return wrap("invitation", err)
	}
	if i.ClientID == "" {
		return l.mux.Render(w, r, http.StatusOK, page)
	}
	c, err := l.store.CachedClient(r.Context(), i.ClientID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("invitation", err)
	}
	if err == nil && c.DisabledAt.IsZero() {
		app := appOf(c)
		page.App, page.AppURL = app.Name, app.HomeURL
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}
