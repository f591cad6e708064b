package login

import (
	"context"
	"errors"
	"net/http"

	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// showNewPassword is GET /login/new-password.
func (l *Login) showNewPassword(w http.ResponseWriter, r *http.Request) error {
	_, user, p, err := l.owed(r, owesNewPassword)
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
	partial, user, p, err := l.owed(r, owesNewPassword)
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
	made, err := l.settleOwed(w, r, partial, user, p, amrPassword, func(ctx context.Context) error {
		// The password changes and the partial sign-in is used up together, or neither is. Sessions and grants made with the old
		// password end here (R9, security.md C2); the partial sign-in is spared for the next line.
		if err := l.store.SetPassword(ctx, user.ID, user.ID, phc, false, partial.ID); err != nil {
			return err
		}
		return l.passwordChanged(ctx, user, lang, "owed")
	})
	switch {
	case err != nil:
		return startOver(p, err) // used up: the same form, sent twice at once
	case made == nil:
		return nil
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
