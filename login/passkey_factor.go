package login

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/login/passkey"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	passkeyFactorPath = factorPath + "/passkey"
	passkeyEnrolPath  = enrolPath + "/passkey"
)

// partialBinder binds a challenge to a half-finished sign-in.
func partialBinder(p *session.Partial) string { return hashOf("partial\x00" + p.ID) }

// passkeyOwed is the half-finished sign-in of this browser that owes a factor, and those of the person's passkeys that add to it: after one that can be
// copied, those that cannot. The error is for people.
func (l *Login) passkeyOwed(r *http.Request) (*session.Partial, *store.User, *pending, []passkey.Key, error) {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return nil, nil, p, nil, err
	}
	keys, err := l.passkeysAfter(r.Context(), user.ID, partial.AMR)
	switch {
	case err != nil:
		return nil, nil, p, nil, wrap("second factor", err)
	case len(keys) == 0:
		return nil, nil, p, nil, unavailable(cancelFactor(r, partial, p))
	}
	return partial, user, p, keys, nil
}

// passkeysAfter are those of a person's passkeys that add something to what was proven.
func (l *Login) passkeysAfter(ctx context.Context, userID string, amr []string) ([]passkey.Key, error) {
	if l.passkeys == nil || slices.Contains(amr, "hwk") {
		return nil, nil
	}
	soft := slices.Contains(amr, "swk")
	return l.keysOf(ctx, userID, func(d store.PasskeyData) bool { return !soft || !d.Syncs })
}

// mostPasskey is the acr that a person reaches with the passkeys they have; "" = they have none.
func (l *Login) mostPasskey(ctx context.Context, userID string) (string, error) {
	keys, err := l.passkeysAfter(ctx, userID, nil)
	switch {
	case err != nil || len(keys) == 0:
		return "", err
	case slices.ContainsFunc(keys, func(k passkey.Key) bool { return !k.Syncs }):
		return "phrh", nil
	}
	return "phr", nil
}

// showPasskeyFactor is GET /mfa/passkey. An application that asks for more than two factors leads here with a session, too: then it is to be raised.
func (l *Login) showPasskeyFactor(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, _, err := l.passkeyOwed(r)
	if err != nil {
		current, signedIn := session.Current(r.Context())
		if !isBadRequest(err) || !signedIn || p == nil { // without a flow nobody asks for more
			return err
		}
		keys, err := l.passkeysAfter(r.Context(), current.UserID, current.AMR)
		switch {
		case err != nil:
			return wrap("second factor", err)
		case len(keys) == 0: // shown already, in another tab
			return l.goOn(w, r, current, p)
		}
		if partial, err = l.sessions.StartStepUp(w, r, current, owesFactor, p.hash()); err != nil {
			return wrap("step-up", err)
		}
		user = &current.Live.User
	}
	page, err := l.passkeyFactorPage(w, r, partial, user, p)
	if err != nil {
		return wrap("second factor", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) passkeyFactorPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending) (*templates.PasskeyPage, error) {
	app := p.dress(w) // this may be the last step before the client
	f, err := l.store.Factors(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	page := &templates.PasskeyPage{Base: l.mux.Base(w, r), Action: owedURL(r, passkeyFactorPath, p), Options: owedURL(r, passkeyFactorPath+"/options", p), App: app,
		Second: true, CancelURL: cancelFactor(r, partial, p)}
	other, recovery := l.otherWays(r, partial, p, f)
	if page.BackURL = other; other == "" {
		page.BackURL = recovery
	}
	return page, nil
}

// askPasskeyFactor is POST /mfa/passkey/options. It names the person's passkeys: whoever reads it has proven to be them by another way already.
func (l *Login) askPasskeyFactor(w http.ResponseWriter, r *http.Request) error {
	partial, user, _, keys, err := l.passkeyOwed(r)
	if err != nil {
		return err
	}
	options, challenge, err := l.passkeys.Party.Ask(keys)
	if err != nil {
		return wrap("second factor", err)
	}
	return l.challenged(w, r, challengeFactor, user.ID, partialBinder(partial), options, challenge)
}

// enterPasskeyFactor is POST /mfa/passkey. There is nothing to guess, so the hourly limit of guesses, which somebody else may have used up, is not asked;
// the tries of this sign-in bound the work.
func (l *Login) enterPasskeyFactor(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, _, err := l.passkeyOwed(r)
	if err != nil {
		return err
	}
	page, err := l.passkeyFactorPage(w, r, partial, user, p)
	if err != nil {
		return wrap("second factor", err)
	}
	again := func(key string) error {
		page.FormErrors = templates.FormErrors{Form: key}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	failed := func(key string) error {
		if err := l.record(r.Context(), "factor_failed", user.ID, p.clientID(), map[string]any{"factor": store.CredPasskey}); err != nil {
			return wrap("second factor", err)
		}
		return again(key)
	}
	if err := l.sessions.Try(r, partial); err != nil {
		return startOver(p, err)
	}
	a, err := l.passkeyAnswer(r, challengeFactor, user.ID, partialBinder(partial))
	switch {
	case errors.Is(err, errOldChallenge):
		return again("passkeys.error_old")
	case err != nil:
		return wrap("second factor", err)
	case a == nil:
		return again("passkeys.error_failed")
	}
	c, err := l.store.Passkey(r.Context(), passkeyRow(a.ID))
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && c.UserID != user.ID: // removed meanwhile, or somebody else's
		return failed("passkeys.error_failed")
	case err != nil:
		return wrap("second factor", err)
	}
	shown, key, err := l.checkPasskey(r.Context(), a, c, false)
	switch {
	case err != nil:
		return wrap("second factor", err)
	case key != "":
		return failed(key)
	}
	made, err := l.settleOwed(w, r, partial, user, p, shown.amr(), func(ctx context.Context) error {
		if err := l.usePasskey(ctx, shown); err != nil {
			return err
		}
		return l.limiter.FactorShown(ctx, user.ID)
	})
	var spent *spentError
	switch {
	case errors.As(err, &spent) && errors.Is(err, store.ErrUsed):
		return failed("passkeys.error_failed")
	case err != nil:
		return startOver(p, err)
	case made == nil:
		return nil
	}
	return l.goOn(w, r, made, p)
}

// enrolOwed is the half-finished sign-in of this browser that owes a second factor, which may be a passkey. The error is for people.
func (l *Login) enrolOwed(r *http.Request) (*session.Partial, *store.User, *pending, error) {
	partial, user, p, err := l.owed(r, owesEnrolment)
	if err == nil && !l.addable(store.CredPasskey, partial.AMR) {
		err = unavailable(chooseURL(p))
	}
	return partial, user, p, err
}

// showPasskeyEnrolment is GET /mfa/enrol/passkey.
func (l *Login) showPasskeyEnrolment(w http.ResponseWriter, r *http.Request) error {
	partial, _, p, err := l.enrolOwed(r)
	if err != nil {
		return err
	}
	page, err := l.passkeyEnrolPage(w, r, partial, p)
	if err != nil {
		return wrap("enrolment", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) passkeyEnrolPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, p *pending) (*templates.PasskeyOfferPage, error) {
	needsCode, err := l.partialNeedsCode(r.Context(), partial)
	if err != nil {
		return nil, err
	}
	app := p.dress(w)
	page := &templates.PasskeyOfferPage{Base: l.mux.Base(w, r), Required: true, NeedsCode: needsCode, Action: owedURL(r, passkeyEnrolPath, p), Options: owedURL(r, passkeyEnrolPath+"/options", p),
		App: app, CancelURL: chooseURL(p)}
	switch {
	case l.addable(store.CredTOTP, partial.AMR):
		page.OtherURL = owedURL(r, enrolPath, p)
	case l.addable(store.CredSMS, partial.AMR):
		page.OtherURL = owedURL(r, enrolSMSPath, p)
	}
	return page, nil
}

// askPasskeyEnrolment is POST /mfa/enrol/passkey/options.
func (l *Login) askPasskeyEnrolment(w http.ResponseWriter, r *http.Request) error {
	partial, user, _, err := l.enrolOwed(r)
	if err != nil {
		return err
	}
	return l.askNewPasskey(w, r, user, partialBinder(partial))
}

// enrolPasskey is POST /mfa/enrol/passkey. The answer shows the recovery codes, once, and leads on from there.
func (l *Login) enrolPasskey(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.enrolOwed(r)
	if err != nil {
		return err
	}
	page, err := l.passkeyEnrolPage(w, r, partial, p)
	if err != nil {
		return wrap("enrolment", err)
	}
	page.Name = strings.TrimSpace(r.PostFormValue("name"))
	again := func(e templates.FormErrors) error {
		page.FormErrors = e
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	if !factorName(page.Name) {
		return again(templates.FormErrors{Fields: map[string]string{"name": "mfa.error_name"}})
	}
	if err := l.sessions.Try(r, partial); err != nil {
		return startOver(p, err)
	}
	enrolment, key, err := l.readEnrolmentCode(r, user.ID, page.NeedsCode)
	switch {
	case err != nil:
		return wrap("enrolment", err)
	case key != "":
		return again(templates.FormErrors{Fields: map[string]string{"enrolment_code": key}})
	}
	c, amr, key, err := l.newPasskey(r, user, partialBinder(partial), page.Name)
	switch {
	case err != nil:
		return wrap("enrolment", err)
	case key != "":
		return again(templates.FormErrors{Form: key})
	}
	var codes []string
	made, err := l.settleOwed(w, r, partial, user, p, amr, func(ctx context.Context) (err error) {
		if err := l.spendEnrolmentCode(ctx, enrolment); err != nil {
			return err
		}
		codes, err = l.addFactor(ctx, c, true)
		return err
	})
	return l.enrolled(w, r, p, made, codes, err)
}
