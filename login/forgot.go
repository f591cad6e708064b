package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// resetLife is how long a link to set a password is good (security.md F15).
const resetLife = 30 * time.Minute

// forgets says whether there is a way to a new password for somebody who forgot theirs: there are passwords, and mail.
func (l *Login) forgets() bool { return !l.noPassword && l.codeKey != nil }

// showForgot is GET /login/forgot.
func (l *Login) showForgot(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !l.admits(p, methodPassword) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	return l.mux.Render(w, r, http.StatusOK, l.forgotPage(w, r, p))
}

func (l *Login) forgotPage(w http.ResponseWriter, r *http.Request, p *pending) *templates.ForgotPage {
	web.UILocales(w, p.param("ui_locales"))
	return &templates.ForgotPage{Base: l.mux.Base(w, r), Action: pathWith(forgotPath, p, nil), CancelURL: chooseURL(p)}
}

// forgot is POST /login/forgot. The page, and the work for it, are the same for everybody: only the mailbox tells whether there is an account, and
// what kind (security.md F8).
func (l *Login) forgot(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !l.admits(p, methodPassword) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	said := strings.TrimSpace(r.PostFormValue("identifier"))
	again := func(status int, e templates.FormErrors) error {
		page := l.forgotPage(w, r, p)
		page.FormErrors, page.Identifier = e, said
		return l.mux.Render(w, r, status, page)
	}
	if said == "" || len(said) > maxIdentifier {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"identifier": "login.identifier_required"}})
	}
	u, err := l.store.UserByLogin(ctx, said)
	if errors.Is(err, store.ErrNotFound) {
		u = &store.User{} // nobody, who gets no mail
	} else if err != nil {
		return wrap("forgotten password", err)
	}
	wait, err := l.limiter.Message(ctx, throttle.Attempt{Account: forgotAccount(u, said), IP: web.ClientIP(ctx)})
	switch {
	case err != nil:
		return wrap("forgotten password", err)
	case wait > 0:
		retryAfter(w, wait)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	if err := l.mailReset(ctx, u, p, l.mux.Base(w, r).Lang); err != nil {
		return wrap("forgotten password", err)
	}
	return web.SeeOther(w, r, pathWith(forgotSentPath, p, nil))
}

// forgotAccount is what mails are counted by: the mailbox they go to, whichever name of its owner was typed, as codes count too.
func forgotAccount(u *store.User, said string) string {
	switch {
	case u.Email != "":
		return "mail:" + mailbox(u.Email)
	case strings.Contains(said, "@"):
		return "mail:" + mailbox(said)
	}
	return "forgot:" + norm.NFC.String(strings.ToLower(norm.NFC.String(said)))
}

// mailReset writes a link and the mail that brings it: for somebody who has a password. An account that is opened in other ways gets none by mail,
// and its owner is told so; who has no account, or one that is shut, is told nothing. The rows are the same in each case.
func (l *Login) mailReset(ctx context.Context, u *store.User, p *pending, lang string) error {
	has, err := l.hasPassword(ctx, u)
	if err != nil {
		return err
	}
	token, to, now := newSecret(), u.Email, l.now()
	var mail templates.Mail = templates.ForgotMail{Path: resetPath(token, p), Minutes: int(resetLife.Minutes())}
	owner := u.ID
	switch {
	case u.ID == "" || !u.Active(now):
		to, owner = "", "nobody:"+hashOf(token) // which is no id
	case !has:
		mail, owner = templates.NoPasswordMail{SignInPath: signInPath}, "nobody:"+hashOf(token)
	}
	if u.Locale != "" {
		lang = u.Locale
	}
	end := now.Add(resetLife)
	message, err := l.letter(to, lang, mail, end)
	if err != nil {
		return err
	}
	data, err := json.Marshal(reset{Email: u.Email})
	if err != nil {
		return err
	}
	return l.store.Tx(ctx, func(ctx context.Context) error {
		err := l.store.CreateOneTime(ctx, &store.OneTime{
			Hash: hashOf(token), Purpose: store.PurposeReset, UserID: owner, Data: string(data), CreatedAt: store.At(now), ExpiresAt: store.At(end),
		})
		if err != nil {
			return err
		}
		if err := l.store.Enqueue(ctx, message); err != nil {
			return err
		}
		return l.record(ctx, "reset_asked", u.ID, p.clientID(), nil)
	})
}

// hasPassword asks for the password of nobody too.
func (l *Login) hasPassword(ctx context.Context, u *store.User) (bool, error) {
	_, err := l.store.Password(ctx, u.ID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// reset is store.OneTime.Data of a link to set a password: the address it went to, or the person's when it was handed over instead, which proves nothing
// about the address. By is which administrator made it.
type reset struct {
	Email string `json:"email"`
	Shown bool   `json:"shown,omitempty"`
	By    string `json:"by,omitempty"`
}

func resetPath(token string, p *pending) string { return pathWith(resetPrefix+token, p, nil) }

// resetLink makes a link to set a password for somebody who has just proven the address of an account that has one; "" where there is none to set.
func (l *Login) resetLink(ctx context.Context, u *store.User, p *pending) (string, error) {
	has, err := l.hasPassword(ctx, u)
	if err != nil || !has || l.noPassword || !u.Active(l.now()) {
		return "", err
	}
	token, now := newSecret(), l.now()
	data, err := json.Marshal(reset{Email: u.Email})
	if err != nil {
		return "", err
	}
	return resetPath(token, p), l.store.CreateOneTime(ctx, &store.OneTime{
		Hash: hashOf(token), Purpose: store.PurposeReset, UserID: u.ID, Data: string(data), CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(resetLife)),
	})
}

// forgotSent is GET /login/forgot/sent.
func (l *Login) forgotSent(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	web.UILocales(w, p.param("ui_locales"))
	return l.mux.Render(w, r, http.StatusOK, &templates.ForgotSentPage{
		Base: l.mux.Base(w, r), Minutes: int(resetLife.Minutes()), AgainURL: pathWith(forgotPath, p, nil), SignInURL: chooseURL(p),
	})
}

// resetting finds whose password a link sets, and how it came to them. The address must still be the one that the link went to.
func (l *Login) resetting(ctx context.Context, hash string) (u *store.User, data reset, err error) {
	link, err := l.store.OneTime(ctx, store.PurposeReset, hash)
	if err != nil {
		return nil, data, err
	}
	if err := json.Unmarshal([]byte(link.Data), &data); err != nil {
		return nil, data, err
	}
	if u, err = l.store.User(ctx, link.UserID); err != nil {
		return nil, data, err
	}
	if !u.Active(l.now()) || u.Email != data.Email && !sameAddress(u.Email, data.Email) || u.Email == "" && !data.Shown {
		return nil, data, store.ErrUsed
	}
	return u, data, l.stillGiven(ctx, u, &data)
}

// stillGiven ends a link that was handed over when its maker may not give one any more (security.md G2): they know it, too.
func (l *Login) stillGiven(ctx context.Context, u *store.User, data *reset) error {
	if !data.Shown {
		return nil
	}
	err := l.store.LinkHolds(ctx, data.By, u.ID)
	if errors.Is(err, store.ErrForbidden) {
		err = store.ErrUsed
	}
	return err
}

// linkRestart is where whoever has a link that is over begins again.
func (l *Login) linkRestart() string {
	if l.forgets() {
		return forgotPath
	}
	return signInPath
}

// flowIfMine is the flow a link from a mail came out of, if this is the browser it belongs to: in any other the link is as good without it.
func (l *Login) flowIfMine(r *http.Request) *pending {
	p, err := l.pending(r)
	if err != nil {
		return nil
	}
	return p
}

func (l *Login) resetPage(w http.ResponseWriter, r *http.Request, u *store.User, p *pending) *templates.ResetPage {
	web.UILocales(w, p.param("ui_locales"))
	return &templates.ResetPage{Base: l.mux.Base(w, r), Action: resetPath(r.PathValue("token"), p), Identifier: loginName(u), MinLength: l.passwords.MinLength()}
}

// showReset is GET /login/reset/{token}: the form, while the link is alive. It consumes nothing, so the programs that look at mail do no harm, and it
// loads nothing from elsewhere, which would learn the address.
func (l *Login) showReset(w http.ResponseWriter, r *http.Request) error {
	u, _, err := l.resetting(r.Context(), hashOf(r.PathValue("token")))
	if err != nil {
		return linkError(err, l.linkRestart())
	}
	return l.mux.Render(w, r, http.StatusOK, l.resetPage(w, r, u, l.flowIfMine(r)))
}

// reset is POST /login/reset/{token}. It proves that the mailbox is theirs and nothing else, so it signs nobody in: they do, with the new password
// and whatever else their account asks for (R69), and the flow goes on from there.
func (l *Login) reset(w http.ResponseWriter, r *http.Request) error {
	ctx, hash := r.Context(), hashOf(r.PathValue("token"))
	u, link, err := l.resetting(ctx, hash)
	if err != nil {
		return linkError(err, l.linkRestart())
	}
	p := l.flowIfMine(r)
	wrong := func(key string, args map[string]any) error {
		page := l.resetPage(w, r, u, p)
		page.FormErrors = templates.FormErrors{Args: args, Fields: map[string]string{"password": key}}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	chosen := r.PostFormValue("password")
	if chosen == "" {
		return wrong("login.password_required", nil)
	}
	if key, args := l.passwords.Check(ctx, chosen, ownWords(u)...); key != "" {
		return wrong(key, args)
	}
	phc, err := l.passwords.Hash(ctx, chosen)
	if errors.Is(err, password.ErrBusy) {
		return busy(err)
	} else if err != nil {
		return wrap("new password", err)
	}
	lang := l.mux.Base(w, r).Lang
	err = l.store.Tx(ctx, func(ctx context.Context) error {
		// Of many posts at once one gets past this. The account is looked at again, as it is now.
		if err := l.store.UseOneTime(ctx, store.PurposeReset, hash); err != nil {
			return err
		}
		if link.Shown { // whoever handed it over knows it too; it is no proof of the mailbox
			if err := l.stillGiven(ctx, u, &link); err != nil {
				return err
			}
			err = l.store.SetPassword(ctx, u.ID, u.ID, phc, false, "")
		} else {
			err = l.store.RecoverAccount(ctx, u.ID, u.Email, phc)
		}
		if err != nil {
			return err
		}
		return l.passwordChanged(ctx, u, lang, "reset")
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return linkError(store.ErrUsed, l.linkRestart())
	case err != nil:
		return linkError(err, l.linkRestart())
	}
	// Whoever was slowed down by somebody's guesses, or their own, may sign in now (R26).
	if err := l.limiter.Succeeded(ctx, throttle.Attempt{Account: u.ID, IP: web.ClientIP(ctx)}); err != nil {
		return wrap("new password", err)
	}
	return web.SeeOther(w, r, pathWith(signInPath, p, query{"done": doneReset, "choose": "1"}))
}
