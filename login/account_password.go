package login

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// changePassword is where programs that keep passwords look for the page (W3C, A Well-Known URL for Changing Passwords).
func (l *Login) changePassword(w http.ResponseWriter, r *http.Request) error {
	return web.SeeOther(w, r, passwordPath)
}

// showPassword is GET /account/password. Who left a session open must not lose the account by it, so it asks who it is first (security.md C11).
func (l *Login) showPassword(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, passwordPath); err != nil || !ok {
		return err
	}
	current, _ := session.Current(r.Context())
	page, err := l.passwordPage(w, r, &current.Live.User)
	if err != nil {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) passwordPage(w http.ResponseWriter, r *http.Request, u *store.User) (*templates.PasswordPage, error) {
	page := &templates.PasswordPage{Base: l.mux.Base(w, r), Action: passwordPath, Identifier: loginName(u), MinLength: l.passwords.MinLength(), CancelURL: accountPath}
	_, err := l.store.Password(r.Context(), u.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, wrap("password of an account", err)
	}
	page.First = err != nil
	return page, nil
}

// setPassword is POST /account/password. This session goes on, all others and every grant end, and the person is told by mail (R23).
func (l *Login) setPassword(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, passwordPath); err != nil || !ok {
		return err
	}
	ctx := r.Context()
	current, _ := session.Current(ctx)
	u := &current.Live.User
	again := func(status int, e templates.FormErrors) error {
		page, err := l.passwordPage(w, r, u)
		if err != nil {
			return err
		}
		page.FormErrors = e
		return l.mux.Render(w, r, status, page)
	}
	wrong := func(key string, args map[string]any) error {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Args: args, Fields: map[string]string{"password": key}})
	}
	chosen := r.PostFormValue("password")
	if chosen == "" {
		return wrong("login.password_required", nil)
	}
	// What follows costs two hashes, and perhaps a question to somebody else's server.
	try := throttle.Attempt{Account: "change:" + u.ID, IP: web.ClientIP(ctx)}
	if wait, err := l.limiter.Check(ctx, try); err != nil {
		return wrap("new password", err)
	} else if wait > 0 {
		retryAfter(w, wait)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	if key, args := l.passwords.Check(ctx, chosen, ownWords(u)...); key != "" {
		return wrong(key, args)
	}
	phc, same, err := l.hashAnother(ctx, u, chosen)
	switch {
	case errors.Is(err, password.ErrBusy):
		return busy(err)
	case err != nil:
		return wrap("new password", err)
	case same:
		return wrong("new_password.error_same", nil)
	}
	lang := l.mux.Base(w, r).Lang
	err = l.store.Tx(ctx, func(ctx context.Context) error {
		if err := l.store.SetPassword(ctx, u.ID, u.ID, phc, false, current.ID); err != nil {
			return err
		}
		return l.passwordChanged(ctx, u, lang, "account_page")
	})
	if err != nil {
		return wrap("new password", err)
	}
	if err := l.limiter.Succeeded(ctx, try); err != nil {
		return wrap("new password", err)
	}
	return web.SeeOther(w, r, donePath(donePassword))
}

// passwordChanged tells the person and keeps the event, in the transaction of the change.
func (l *Login) passwordChanged(ctx context.Context, u *store.User, lang, how string) error {
	if err := l.notice(ctx, u, u.Email, lang, passwordNotice(u, l.now(), l.forgets())); err != nil {
		return err
	}
	return l.record(ctx, "password_changed", u.ID, "", map[string]any{"method": how})
}

func passwordNotice(u *store.User, now time.Time, forgets bool) templates.PasswordChangedMail {
	mail := templates.PasswordChangedMail{At: now.In(u.Location())}
	if forgets {
		mail.ForgotPath = forgotPath
	}
	return mail
}

// PasswordNotice is the mail that tells a person of a change of their password which the command line made. forgets: they may ask for a new one by mail.
func PasswordNotice(set *templates.Set, u *store.User, now time.Time, forgets bool) (*store.Message, error) {
	text, err := set.Mail(u.Locale, passwordNotice(u, now, forgets))
	if err != nil {
		return nil, err
	}
	return &store.Message{Kind: "mail", Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: store.At(now.Add(noticeLife))}, nil
}

// What a page says was done, in its address: one of these words and nothing else is ever printed.
const (
	donePassword = "password"
	doneEmail    = "email"
	doneReset    = "reset"
	doneUndone   = "address"
)

func donePath(what string) string { return pathWith(accountPath, nil, query{"done": what}) }

// doneText is the key of the text for what this request's page says was done, "" for nothing.
func doneText(r *http.Request, known ...string) string {
	said := r.URL.Query().Get("done")
	for _, k := range known {
		if said == k {
			return "addr.done_" + k
		}
	}
	return ""
}

// undoLife is how long who had an address before can take a change of it back (security.md F16).
const undoLife = 7 * 24 * time.Hour
