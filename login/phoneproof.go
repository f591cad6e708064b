package login

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// The second proof of a sign-in by phone (security.md F12): the password, a second factor or a recovery code (/mfa), or a code by mail.
const (
	phoneProofMailPath   = phoneProofPath + "/mail"
	phoneProofCodePath   = phoneProofPath + "/code"
	phoneProofResendPath = phoneProofPath + "/resend"
)

func (l *Login) mountPhoneProof(mux *web.Mux) {
	mux.Page("GET "+phoneProofPath, web.Public, l.showPhoneProof) // guarded by the partial sign-in, like the next
	mux.Page("POST "+phoneProofPath, web.Public, l.provePhone)
	mux.Page("POST "+phoneNewPath, web.Public, l.newPhoneAccount)
	if l.codeKey == nil {
		return
	}
	mux.Page("POST "+phoneProofMailPath, web.Public, l.mailProof)
	mux.Page("GET "+phoneProofCodePath, web.Public, l.proving(l.showCode))
	mux.Page("POST "+phoneProofCodePath, web.Public, l.proving(l.enterCode))
	mux.Page("POST "+phoneProofResendPath, web.Public, l.proving(l.resendCode))
}

// provesByMail says whether a code by mail is a second proof: not of who has power over others, whose telephone may well read their mail too.
func (l *Login) provesByMail(partial *session.Partial, u *store.User) bool {
	return l.codeKey != nil && partial.Owes != owesProofAdmin && l.opensByMail(u)
}

// owedProof returns the partial sign-in of this browser that owes a password beside its number.
func (l *Login) owedProof(r *http.Request) (*session.Partial, *store.User, *pending, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, nil, nil, l.deadEnd(r, err)
	}
	partial, user, err := l.sessions.CurrentPartial(r)
	if err != nil {
		return nil, nil, nil, startOver(p, err)
	}
	if !slices.Contains(owesProof, partial.Owes) || partial.FlowHash != p.hash() || user.Phone == "" {
		return nil, nil, nil, startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired"})
	}
	return partial, user, p, nil
}

func (l *Login) phoneProofPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending) (*templates.PhoneProofPage, error) {
	more := query{"reauth": r.URL.Query().Get("reauth")}
	page := &templates.PhoneProofPage{
		App: p.dress(w), Base: l.mux.Base(w, r), Number: phone.Pretty(u.Phone),
		Why: map[string]string{owesProofOld: "phone.why_old", owesProofNew: "phone.why_new", owesProofAdmin: "phone.why_admin", owesProofFactor: "phone.why_factor"}[partial.Owes], OtherURL: chooseURL(p),
	}
	f, err := l.store.Factors(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	for _, way := range l.factorWays(r, partial, p, f) {
		if way.Kind == store.CredRecovery {
			page.RecoveryURL = way.URL
		} else {
			page.FactorURL = owedURL(r, factorPath, p)
		}
	}
	if l.provesByMail(partial, u) {
		page.MailURL = pathWith(phoneProofMailPath, p, more)
	}
	if has, err := l.hasPassword(r.Context(), u); err != nil {
		return nil, err
	} else if has && !l.noPassword {
		page.Action = pathWith(phoneProofPath, p, more)
	}
	may, err := l.mayLeaveNumber(r.Context(), partial, p)
	if err != nil {
		return nil, err
	}
	if may {
		page.NewURL = pathWith(phoneNewPath, p, more)
	}
	return page, nil
}

// mayLeaveNumber says whether the person may say that the number is theirs and the account is not: it passed to them, and they get an account of
// their own. Nobody's account that somebody gave more than everybody has is left so: then people must talk.
func (l *Login) mayLeaveNumber(ctx context.Context, partial *session.Partial, p *pending) (bool, error) {
	if partial.Owes != owesProofOld || !l.phoneMakes(p, nil) {
		return false, nil
	}
	live, err := l.store.Live(ctx, partial.UserID)
	if err != nil {
		return false, err
	}
	model, err := l.store.Model(ctx)
	return err == nil && !model.Privileged(live), err
}

// showPhoneProof is GET /login/phone/proof.
func (l *Login) showPhoneProof(w http.ResponseWriter, r *http.Request) error {
	partial, u, p, err := l.owedProof(r)
	if err != nil {
		return err
	}
	page, err := l.phoneProofPage(w, r, partial, u, p)
	if err != nil {
		return wrap("second proof", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// provePhone is POST /login/phone/proof: the password of the account, which is slowed down like any other.
func (l *Login) provePhone(w http.ResponseWriter, r *http.Request) error {
	partial, u, p, err := l.owedProof(r)
	if err != nil {
		return err
	}
	if l.noPassword {
		return web.SeeOther(w, r, owedURL(r, phoneProofPath, p))
	}
	again := func(status int, e templates.FormErrors) error { return l.proofAgain(w, r, partial, u, p, status, e) }
	in := credentials{identifier: u.Phone, password: r.PostFormValue("password")}
	if in.password == "" {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"password": "login.password_required"}})
	}
	if err := l.sessions.Try(r, partial); err != nil {
		return startOver(p, err)
	}
	attempt, user, wait, err := l.checkPassword(r, in, p)
	if err != nil {
		return passwordTrouble(err)
	}
	if user != nil && user.ID != u.ID { // the number changed hands meanwhile
		user = nil
	}
	if status, e := passwordRefused(w, user, wait); status != 0 {
		return again(status, e)
	}
	return l.provenPhone(w, r, partial, u, p, amrPassword, func(ctx context.Context) error { return l.limiter.Succeeded(ctx, attempt) })
}

// proofAgain shows the page again with what went wrong.
func (l *Login) proofAgain(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending, status int, e templates.FormErrors) error {
	page, err := l.phoneProofPage(w, r, partial, u, p)
	if err != nil {
		return wrap("second proof", err)
	}
	page.FormErrors = e
	return l.mux.Render(w, r, status, page)
}

// provenPhone goes on with a sign-in whose second proof was right.
func (l *Login) provenPhone(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending, amr []string, use func(context.Context) error) error {
	made, err := l.settleOwed(w, r, partial, u, p, amr, use)
	switch {
	case errors.Is(err, store.ErrUsed):
		return startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err})
	case err != nil:
		return startOver(p, err)
	case made == nil:
		return nil
	}
	return l.goOn(w, r, made, p)
}

// mailProof is POST /login/phone/proof/mail: a code goes to the address of the account. Its pages don't say the address, which may be that of whoever
// had the number before.
func (l *Login) mailProof(w http.ResponseWriter, r *http.Request) error {
	partial, u, p, err := l.owedProof(r)
	if err != nil {
		return err
	}
	if !l.provesByMail(partial, u) {
		return web.SeeOther(w, r, owedURL(r, phoneProofPath, p))
	}
	of := func(r *http.Request, p *pending, handle string, row *store.Attempt) *coded {
		return l.proofCoded(r, partial, u, p, handle, row)
	}
	return l.mailFirst(w, r, p, store.Attempt{Purpose: store.AttemptProof, UserID: u.ID}, of, typed{Email: u.Email},
		func(status int, e templates.FormErrors) error { return l.proofAgain(w, r, partial, u, p, status, e) })
}

// proving finds the code page of a second proof, in this browser and flow, for whose number it is.
func (l *Login) proving(then func(http.ResponseWriter, *http.Request, *coded) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		partial, u, p, err := l.owedProof(r)
		if err != nil {
			return err
		}
		handle := r.URL.Query().Get("join")
		row, err := l.attempt(r, p, handle, store.AttemptProof)
		if err != nil {
			return err
		}
		if row.UserID != u.ID || !l.provesByMail(partial, u) {
			return l.attemptOver(p, nil)
		}
		return then(w, r, l.proofCoded(r, partial, u, p, handle, row))
	}
}

func (l *Login) proofCoded(r *http.Request, partial *session.Partial, u *store.User, p *pending, handle string, row *store.Attempt) *coded {
	at := func(path string) string { return pathWith(path, p, keepReauth(r, query{"join": handle})) }
	c := &coded{row: row, p: p, opens: true, hidden: true, code: at(phoneProofCodePath), resend: at(phoneProofResendPath),
		change: owedURL(r, phoneProofPath, p), cancel: owedURL(r, phoneProofPath, p)}
	c.proven = func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error {
		if !sameAddress(said.Email, u.Email) { // it was changed meanwhile
			return l.attemptOver(p, nil)
		}
		return l.provenPhone(w, r, partial, u, p, amrEmail, func(ctx context.Context) error { return l.useCode(ctx, c, code) })
	}
	return c
}
