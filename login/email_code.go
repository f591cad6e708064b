package login

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const methodEmailCode = store.WayEmailCode // store.Session.Connector and store.Grant.Connector of this method

var amrEmail = []string{"email"} // not registered with IANA; session.ACR counts it as one factor

// opensByMail says whether a code by mail opens an account: it may be used, and its address was proven before. An address that an administrator
// typed is nobody's word, and must not hand the account to who happens to have the mailbox.
func (l *Login) opensByMail(u *store.User) bool {
	return u.ID != "" && u.Active(l.now()) && u.Email != "" && !u.EmailVerifiedAt.IsZero()
}

// keepReauth keeps in the addresses of a sign-in's pages that it only confirms who is signed in.
func keepReauth(r *http.Request, more query) query {
	if reauth(r) {
		more["reauth"] = "1"
	}
	return more
}

// showEmailCode is GET /login/code.
func (l *Login) showEmailCode(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !l.admits(p, methodEmailCode) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	page := l.emailCodePage(w, r, p)
	if hint := cut(p.param("login_hint"), maxIdentifier); strings.Contains(hint, "@") {
		page.Email = hint
	}
	if current, ok := session.Current(r.Context()); ok && page.Email == "" {
		page.Email = current.Live.User.Email
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) emailCodePage(w http.ResponseWriter, r *http.Request, p *pending) *templates.EmailCodePage {
	return &templates.EmailCodePage{
		App: p.dress(w), Base: l.mux.Base(w, r), Action: pathWith(emailCodeStartPath, p, keepReauth(r, query{})), CancelURL: pathWith(signInPath, p, keepReauth(r, query{"choose": "1"})),
	}
}

// askEmailCode is POST /login/code: a code goes to the address, if it is that of an account.
func (l *Login) askEmailCode(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !l.admits(p, methodEmailCode) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	said := typed{Email: strings.TrimSpace(r.PostFormValue("email"))}
	wrong := func(status int, e templates.FormErrors) error {
		page := l.emailCodePage(w, r, p)
		page.FormErrors, page.Email = e, said.Email
		return l.mux.Render(w, r, status, page)
	}
	if key := wrongAddress(said.Email); key != "" {
		return wrong(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"email": key}})
	}
	return l.mailFirst(w, r, p, store.Attempt{Purpose: store.AttemptCode}, l.signInCoded, said, wrong)
}

func (l *Login) signInCoded(r *http.Request, p *pending, handle string, row *store.Attempt) *coded {
	at := func(path string) string { return pathWith(path, p, keepReauth(r, query{"join": handle})) }
	c := &coded{row: row, p: p, opens: true, code: at(emailCodeEnterPath), resend: at(emailCodeResendPath),
		change: pathWith(emailCodeStartPath, p, keepReauth(r, query{})), cancel: pathWith(signInPath, p, keepReauth(r, query{"choose": "1"}))}
	c.proven = func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error {
		return l.enterByCode(w, r, c, code, said)
	}
	return c
}

// mailing finds the sign-in, or the registration, that a code page is about, in this browser and flow.
func (l *Login) mailing(purpose, method string, of func(r *http.Request, p *pending, handle string, row *store.Attempt) *coded, then func(http.ResponseWriter, *http.Request, *coded) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := l.pending(r)
		if err != nil {
			return l.deadEnd(r, err)
		}
		handle := r.URL.Query().Get("join")
		row, err := l.attempt(r, p, handle, purpose)
		if err != nil {
			return err
		}
		if method != "" && !l.admits(p, method) { // the application changed its mind
			return l.attemptOver(p, nil)
		}
		return then(w, r, of(r, p, handle, row))
	}
}

// enterByCode signs in whose address it is. The account is looked at again: the address may be somebody else's by now.
func (l *Login) enterByCode(w http.ResponseWriter, r *http.Request, c *coded, code *store.MailCode, said typed) error {
	u, err := l.store.UserByLogin(r.Context(), said.Email)
	if err != nil || !l.opensByMail(u) {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return wrap("sign-in", err)
		}
		return l.attemptOver(c.p, nil)
	}
	proof := session.Proof{UserID: u.ID, Connector: methodEmailCode, AMR: amrEmail}
	err = l.passed(w, r, u, proof, c.p, func(ctx context.Context) error { return l.useCode(ctx, c, code) })
	return l.linkFailed(c.p, err)
}

// passed goes on with somebody whose proof was right: into a session, or to what they owe first (owing). use runs in the transaction of the session, or of
// the half-finished sign-in, for what may count once.
func (l *Login) passed(w http.ResponseWriter, r *http.Request, u *store.User, proof session.Proof, p *pending, use func(context.Context) error) error {
	owes, err := l.owing(r.Context(), u, proof.AMR, "")
	if err != nil {
		return wrap("sign-in", err)
	}
	if owes != "" {
		err := l.store.Tx(r.Context(), func(ctx context.Context) error {
			if err := use(ctx); err != nil {
				return err
			}
			return l.owe(w, r.WithContext(ctx), proof, owes, p, carried{})
		})
		if err != nil {
			return wrap("start of a partial sign-in", err)
		}
		return toOwed(w, r, owes, p)
	}
	made, err := l.begin(r, u.ID, p, func(r *http.Request) (*session.Session, error) {
		if err := use(r.Context()); err != nil {
			return nil, err
		}
		return l.sessions.Start(w, r, proof)
	})
	if err != nil {
		return wrap("start of a session", err)
	}
	return l.goOn(w, r, made, p)
}

// owesPassword: a forced change (R9), where there are passwords.
func (l *Login) owesPassword(u *store.User) bool { return u.MustChange && !l.noPassword }
