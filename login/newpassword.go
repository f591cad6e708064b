package login

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const owesNewPassword = "new_password" // store.Partial.Owes

// owed returns the partial sign-in of this browser that owes a new password, and the flow it belongs to. A flow of another tab
// does not fit: each tab has its own handle (security.md A23). The error is for people, and leads to where a sign-in begins.
func (l *Login) owed(r *http.Request) (*session.Partial, *store.User, *pending, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, nil, nil, l.deadEnd(r, err)
	}
	partial, user, err := l.sessions.CurrentPartial(r)
	if err != nil {
		return nil, nil, nil, startOver(p, err)
	}
	if l.noPassword || partial.Owes != owesNewPassword || partial.FlowHash != p.hash() || !l.ConnectorEnabled(partial.Connector) { // security.md E11
		return nil, nil, nil, startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired"})
	}
	return partial, user, p, nil
}

// startOver leads a page about a partial sign-in that is over, used up or never begun back into the flow.
func startOver(p *pending, err error) error {
	var e *web.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return wrap("partial sign-in", err)
	}
	page := *e
	page.RestartURL = SignInURL(p.id())
	return &page
}

// showNewPassword is GET /login/new-password.
func (l *Login) showNewPassword(w http.ResponseWriter, r *http.Request) error {
	_, user, p, err := l.owed(r)
	if err != nil {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, l.newPasswordPage(w, r, user, p))
}

func (l *Login) newPasswordPage(w http.ResponseWriter, r *http.Request, u *store.User, p *pending) *templates.NewPasswordPage {
	p.dress(w) // saving may be the last step before the client
	return &templates.NewPasswordPage{
		Base: l.mux.Base(w, r), Action: withFlow(newPasswordPath, p.id()), Identifier: loginName(u), MinLength: l.passwords.MinLength(),
	}
}

// setNewPassword is POST /login/new-password.
func (l *Login) setNewPassword(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	partial, user, p, err := l.owed(r)
	if err != nil {
		return err
	}
	again := func(key string, args map[string]any) error {
		page := l.newPasswordPage(w, r, user, p)
		page.FormErrors = templates.FormErrors{Args: args, Fields: map[string]string{"password": key}}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	chosen := r.PostFormValue("password")
	if key, args := l.passwords.Check(ctx, chosen, ownWords(user)...); key != "" {
		return again(key, args)
	}
	// From here on a try costs two hashes.
	if err := l.sessions.Try(r, partial); err != nil {
		return startOver(p, err)
	}
	phc, same, err := l.hashAnother(ctx, user, chosen)
	switch {
	case errors.Is(err, password.ErrBusy):
		return busy(err)
	case err != nil:
		return wrap("new password", err)
	case same:
		return again("new_password.error_same", nil)
	}
	lang := l.mux.Base(w, r).Lang
	made, err := l.begin(r, user.ID, p, func(r *http.Request) (*session.Session, error) {
		// The password changes and the partial sign-in is used up together, or neither is. Sessions and grants made with the old
		// password end here (R9, security.md C2); the partial sign-in is spared for the next line.
		if err := l.store.SetPassword(r.Context(), user.ID, user.ID, phc, false, partial.ID); err != nil {
			return nil, err
		}
		if err := l.passwordChanged(r.Context(), user, lang, "owed"); err != nil {
			return nil, err
		}
		made, err := l.sessions.Complete(w, r, partial, amrPassword)
		if err != nil {
			return nil, err
		}
		return made, l.keepSide(r.Context(), made)
	})
	if err != nil {
		return startOver(p, err) // used up: the same form, sent twice at once
	}
	return l.goOn(w, r, made, p)
}

// hashAnother hashes a chosen password, unless it is the one the person must leave.
func (l *Login) hashAnother(ctx context.Context, u *store.User, chosen string) (phc string, same bool, err error) {
	old, err := l.store.Password(ctx, u.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", false, err
	}
	if err == nil {
		if same, _, err = l.passwords.Verify(ctx, old.Secret, chosen); err != nil || same {
			return "", same, err
		}
	}
	phc, err = l.passwords.Hash(ctx, chosen)
	return phc, false, err
}

// ownWords are what a person's password must not consist of.
func ownWords(u *store.User) []string {
	return []string{u.Email, u.Username, u.Phone, u.GivenName, u.FamilyName}
}

// keepSide keeps the upstream's side of a session that owed a password on the way: its link is the one that was used last. The upstream's
// name for its own session is not known any more.
func (l *Login) keepSide(ctx context.Context, made *session.Session) error {
	links, err := l.store.IdentitiesOf(ctx, made.UserID)
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(n store.Identity) bool { return n.Connector != made.Connector || !n.QuarantinedAt.IsZero() })
	if len(links) == 0 {
		return nil // a password
	}
	last := slices.MaxFunc(links, func(a, b store.Identity) int { return a.LastUsedAt.Compare(b.LastUsedAt.Time) })
	return l.store.CreateUpstreamSession(ctx, &store.UpstreamSession{SessionID: made.ID, Connector: last.Connector, Issuer: last.Issuer, Subject: last.Subject})
}
