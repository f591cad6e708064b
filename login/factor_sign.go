package login

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// showFactor is GET /mfa: the second factor of a half-finished sign-in, or of a session that an application or a page asks more of. Whoever has shown
// enough goes on; whoever has nothing to show adds it first.
func (l *Login) showFactor(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		current, signedIn := session.Current(r.Context())
		if !isBadRequest(err) || !signedIn || p == nil && r.URL.Query().Get("flow") != "" { // the last: it is the flow that is over
			return err
		}
		if partial, err = l.stepUp(w, r, current, p); err != nil || partial == nil {
			return err
		}
		user = &current.Live.User
	}
	page, f, err := l.factorPage(w, r, partial, user, p)
	if err != nil {
		return wrap("second factor", err)
	}
	switch ways := l.factorWays(r, partial, p, f); {
	case len(ways) > 0 && ways[0].Kind != store.CredRecovery && ways[0].URL != page.Action: // another kind
		return web.SeeOther(w, r, ways[0].URL)
	case len(ways) > 0 && ways[0].Kind != store.CredRecovery:
	case slices.Contains(owesProof, partial.Owes):
		return web.SeeOther(w, r, owedURL(r, phoneProofPath, p))
	default: // numbers, and no messages any more; or passkeys, and none are taken any more
		return l.onlyRecovery(w, r, user, p)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// onlyRecovery leads somebody to their recovery codes whose factors cannot be shown here, as far as there are any left.
func (l *Login) onlyRecovery(w http.ResponseWriter, r *http.Request, u *store.User, p *pending) error {
	f, err := l.store.Factors(r.Context(), u.ID)
	if err != nil {
		return wrap("second factor", err)
	}
	if f.CodesLeft() == 0 {
		return unavailable(chooseURL(p))
	}
	return web.SeeOther(w, r, owedURL(r, recoveryPath, p))
}

// owedFactor returns the partial sign-in that a second factor settles: one that owes it, or that owes another proof beside a number (phoneproof.go).
func (l *Login) owedFactor(r *http.Request) (*session.Partial, *store.User, *pending, error) {
	return l.owed(r, append([]string{owesFactor}, owesProof...)...)
}

// stepUp begins to raise a session. partial is nil when the answer was sent: there is nothing to show, or it must be added first.
func (l *Login) stepUp(w http.ResponseWriter, r *http.Request, current *session.Session, p *pending) (partial *session.Partial, err error) {
	if current.ACR != "1" {
		return nil, l.goOn(w, r, current, p)
	}
	owes, err := l.stepUpOwes(r.Context(), current)
	switch {
	case err != nil:
		return nil, wrap("second factor", err)
	case owes == "":
		return nil, unavailable(accountPath)
	case owes == owesEnrolment:
		// Whoever finds a session left open must not choose its second factor (security.md F18).
		if ok, err := l.signedInAnew(r.Context(), current); err != nil {
			return nil, wrap("recent sign-in", err)
		} else if !ok && p != nil {
			return nil, web.SeeOther(w, r, chooseURL(p))
		} else if !ok {
			return nil, web.SeeOther(w, r, reauthURL)
		}
	}
	if partial, err = l.sessions.StartStepUp(w, r, current, owes, p.hash()); err != nil {
		return nil, wrap("step-up", err)
	}
	if owes == owesEnrolment {
		return nil, toOwed(w, r, owes, p)
	}
	return partial, nil
}

// unavailable is for people who are asked for a second factor and can neither show nor add one.
func unavailable(next string) error {
	return &web.Error{Status: http.StatusForbidden, Key: "error.factor_unavailable", Code: "factor_unavailable", RestartURL: next}
}

// isBadRequest says whether err is a page about something that is over or never was.
func isBadRequest(err error) bool {
	var e *web.Error
	return errors.As(err, &e) && e.Status == http.StatusBadRequest
}

// stepUpOwes is what a session of one factor is to show: a factor that there is, or one that may be added; "" = neither.
func (l *Login) stepUpOwes(ctx context.Context, s *session.Session) (string, error) {
	kinds, err := l.store.FactorKindsOf(ctx, s.UserID)
	switch {
	case err != nil:
		return "", err
	case len(l.kindsAfter(kinds, s.AMR)) > 0:
		return owesFactor, nil
	case len(kinds) > 0: // what they have is what they came in with
		return "", nil
	}
	may, err := l.mayAddFactor(ctx, s.Live)
	if err != nil || !may || !slices.ContainsFunc(store.FactorKinds, func(kind string) bool { return l.addable(kind, s.AMR) }) {
		return "", err
	}
	return owesEnrolment, nil
}

func (l *Login) factorPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending) (*templates.FactorPage, *store.Factors, error) {
	app := p.dress(w) // this may be the last step before the client
	f, err := l.store.Factors(r.Context(), u.ID)
	if err != nil {
		return nil, nil, err
	}
	page := &templates.FactorPage{Base: l.mux.Base(w, r), Action: owedURL(r, factorPath, p), App: app, CancelURL: cancelFactor(r, partial, p)}
	page.OtherURL, page.RecoveryURL = l.otherWays(r, partial, p, f)
	return page, f, nil
}

// cancelFactor is where somebody goes who shows no second factor.
func cancelFactor(r *http.Request, partial *session.Partial, p *pending) string {
	switch {
	case slices.Contains(owesProof, partial.Owes):
		return owedURL(r, phoneProofPath, p)
	case partial.SessionID != "" && p == nil:
		return accountPath
	}
	return chooseURL(p)
}

// factorWays are the ways in which a person can show a second factor, recovery codes last.
func (l *Login) factorWays(r *http.Request, partial *session.Partial, p *pending, f *store.Factors) (list []templates.FactorWay) {
	var kinds []string
	for i := range f.List {
		kinds = append(kinds, f.List[i].Kind)
	}
	for _, k := range l.kindsAfter(kinds, partial.AMR) {
		list = append(list, templates.FactorWay{Kind: k.kind, URL: owedURL(r, k.path, p)})
	}
	if f.CodesLeft() > 0 {
		list = append(list, templates.FactorWay{Kind: store.CredRecovery, URL: owedURL(r, recoveryPath, p)})
	}
	return list
}

// otherWays are the links of a factor's page: to the choice, where there is one between factors, else to the recovery codes, where any are left.
func (l *Login) otherWays(r *http.Request, partial *session.Partial, p *pending, f *store.Factors) (other, recovery string) {
	ways := l.factorWays(r, partial, p, f)
	codes := len(ways) > 0 && ways[len(ways)-1].Kind == store.CredRecovery
	switch {
	case codes && len(ways) == 2:
		return "", ways[1].URL
	case len(ways) > 1:
		return owedURL(r, waysPath, p), ""
	}
	return "", ""
}

// showWays is GET /mfa/ways: the choice between the second factors that a person has.
func (l *Login) showWays(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	f, err := l.store.Factors(r.Context(), user.ID)
	if err != nil {
		return wrap("second factor", err)
	}
	app := p.dress(w)
	return l.mux.Render(w, r, http.StatusOK, &templates.FactorWaysPage{Base: l.mux.Base(w, r), App: app, Ways: l.factorWays(r, partial, p, f), CancelURL: cancelFactor(r, partial, p)})
}

// tryFactor pays for one try at a person's factors, before anything is compared (security.md F7, F10): from the five of this sign-in, and from the ten an
// hour that all of them have together. wait > 0: not now.
func (l *Login) tryFactor(r *http.Request, partial *session.Partial) (wait time.Duration, err error) {
	if wait, err = l.limiter.Factor(r.Context(), partial.UserID); err != nil || wait > 0 {
		return wait, err
	}
	return 0, l.sessions.Try(r, partial)
}

// enterFactor is POST /mfa: the code of an authenticator app.
func (l *Login) enterFactor(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	page, factors, err := l.factorPage(w, r, partial, user, p)
	if err != nil {
		return wrap("second factor", err)
	}
	again := func(status int, e templates.FormErrors) error {
		page.FormErrors = e
		return l.mux.Render(w, r, status, page)
	}
	code := typedDigits(r.PostFormValue("code"))
	if !allDigits(code) || len(code) != totpDigits {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"code": "mfa.error_form"}})
	}
	wait, err := l.tryFactor(r, partial)
	switch {
	case err != nil:
		return startOver(p, err)
	case wait > 0:
		return again(http.StatusTooManyRequests, factorWait(w, wait))
	}
	var used bool // a right code, but spent
	for i := range factors.List {
		c := &factors.List[i]
		step, right, err := l.checkTOTP(c, code)
		if err != nil {
			return wrap("second factor", err)
		}
		if !right {
			continue
		}
		made, err := l.settleOwed(w, r, partial, user, p, amrFactor, func(ctx context.Context) error {
			if err := l.store.UseTOTP(ctx, c.ID, step); err != nil {
				return &spentError{err}
			}
			return l.limiter.FactorShown(ctx, user.ID)
		})
		var spent *spentError
		switch {
		case errors.As(err, &spent) && errors.Is(err, store.ErrUsed):
			used = true
			continue
		case err != nil:
			return startOver(p, err)
		case made == nil:
			return nil
		}
		return l.goOn(w, r, made, p)
	}
	return l.factorWrong(r, partial, p, user, store.CredTOTP, used, again)
}

// spentError tells a code that was spent from a sign-in that was.
type spentError struct{ error }

func (e *spentError) Unwrap() error { return e.error }

// checkTOTP compares a code with an authenticator app's.
func (l *Login) checkTOTP(c *store.Credential, code string) (step int64, right bool, err error) {
	if c.Kind != store.CredTOTP {
		return 0, false, nil
	}
	seed, err := l.open(c.Secret, sealedFactor+c.ID)
	if err != nil {
		return 0, false, fmt.Errorf("login: second factor %s: %w", c.ID, err)
	}
	return matchTOTP(string(seed), code, l.now())
}

// sealedFactor and a credential's id are the place of its secret.
const sealedFactor = "credentials.secret."

// factorWrong notes a wrong try and says how many are left.
func (l *Login) factorWrong(r *http.Request, partial *session.Partial, p *pending, u *store.User, kind string, used bool, again func(int, templates.FormErrors) error) error {
	if err := l.record(r.Context(), "factor_failed", u.ID, p.clientID(), map[string]any{"factor": kind}); err != nil {
		return wrap("second factor", err)
	}
	e := templates.FormErrors{Fields: map[string]string{"code": "mfa.error_wrong"}, Args: map[string]any{"Count": partial.TriesLeft()}}
	if used {
		e.Fields["code"] = "mfa.error_used"
	}
	return again(http.StatusUnprocessableEntity, e)
}

func factorWait(w http.ResponseWriter, wait time.Duration) templates.FormErrors {
	retryAfter(w, wait)
	return templates.FormErrors{Form: "mfa.error_wait", Args: map[string]any{"Minutes": int(math.Ceil(wait.Minutes()))}}
}

// showRecovery is GET /mfa/recovery.
func (l *Login) showRecovery(w http.ResponseWriter, r *http.Request) error {
	_, _, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, l.recoveryPage(w, r, p))
}

func (l *Login) recoveryPage(w http.ResponseWriter, r *http.Request, p *pending) *templates.RecoveryPage {
	app := p.dress(w)
	return &templates.RecoveryPage{Base: l.mux.Base(w, r), Action: owedURL(r, recoveryPath, p), App: app, BackURL: owedURL(r, factorPath, p)}
}

// enterRecovery is POST /mfa/recovery: a recovery code in the place of a factor.
func (l *Login) enterRecovery(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.recoveryPage(w, r, p)
		page.FormErrors = e
		return l.mux.Render(w, r, status, page)
	}
	code, ok := typedRecovery(r.PostFormValue("code"))
	if !ok {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"code": "mfa.error_recovery_form"}})
	}
	wait, err := l.tryFactor(r, partial)
	switch {
	case err != nil:
		return startOver(p, err)
	case wait > 0:
		return again(http.StatusTooManyRequests, factorWait(w, wait))
	}
	made, err := l.settleOwed(w, r, partial, user, p, amrFactor, func(ctx context.Context) error {
		if err := l.store.UseRecoveryCode(ctx, user.ID, recoveryHash(user.ID, code)); err != nil {
			return &spentError{err}
		}
		if err := l.limiter.FactorShown(ctx, user.ID); err != nil {
			return err
		}
		f, err := l.store.Factors(ctx, user.ID)
		if err != nil {
			return err
		}
		if err := l.record(ctx, "recovery_code_used", user.ID, p.clientID(), map[string]any{"left": f.CodesLeft()}); err != nil {
			return err
		}
		return l.factorNotice(ctx, user.ID, templates.FactorMail{What: templates.FactorCodeUsed, Left: f.CodesLeft()})
	})
	var spent *spentError
	switch {
	case errors.As(err, &spent) && errors.Is(err, store.ErrUsed):
		return l.factorWrong(r, partial, p, user, store.CredRecovery, false, again)
	case err != nil:
		return startOver(p, err)
	case made == nil:
		return nil
	}
	return l.goOn(w, r, made, p)
}
