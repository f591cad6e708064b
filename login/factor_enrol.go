package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	seedLife      = 10 * time.Minute // until the seed that was shown is confirmed
	sealedPending = "pending.request."
	maxFactorName = 50 // characters
)

// seedRow is where the seed waits that a session or half-finished sign-in was shown. It stays the same when the page is loaded again.
func seedRow(binder string) string { return hashOf("totp\x00" + binder) }

// seed is what the page shows, made when it is shown first. It is kept sealed and by the server: what comes back from the browser is a code alone.
func (l *Login) seed(ctx context.Context, binder, userID string) (string, error) {
	id := seedRow(binder)
	row, err := l.store.KeepPending(ctx, &store.Pending{
		IDHash: id, Kind: store.PendingTOTP, UserID: userID, Request: l.seal([]byte(newSeed()), sealedPending+id), ExpiresAt: store.At(l.now().Add(seedLife)),
	})
	if err != nil {
		return "", err
	}
	plain, err := l.open(row.Request, sealedPending+id)
	if err != nil || row.UserID != userID {
		return "", fmt.Errorf("login: seed that waits: %w", errors.Join(err, store.ErrNotFound))
	}
	return string(plain), nil
}

// enrolInput is what the form may bring, and nothing else (security.md G7).
type enrolInput struct{ code, name string }

func readEnrolment(r *http.Request) enrolInput {
	return enrolInput{typedDigits(r.PostFormValue("code")), strings.TrimSpace(r.PostFormValue("name"))}
}

// fields says what is wrong with it before the code is looked at.
func (in enrolInput) fields() map[string]string {
	fields := map[string]string{}
	if !allDigits(in.code) || len(in.code) != totpDigits {
		fields["code"] = "mfa.error_form"
	}
	if !factorName(in.name) {
		fields["name"] = "mfa.error_name"
	}
	return fields
}

// factorName: one line of text; none is fine.
func factorName(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxFactorName && !strings.ContainsFunc(s, unicode.IsControl)
}

// fillEnrolment puts the picture and the key on a page.
func (l *Login) fillEnrolment(ctx context.Context, page *templates.EnrolPage, binder string, u *store.User) (seed string, err error) {
	if seed, err = l.seed(ctx, binder, u.ID); err != nil {
		return "", err
	}
	page.Key, page.URL = groups(seed), totpURL(seed, l.factors.AppName, loginName(u))
	page.QR, page.QRSide, err = qrPath(page.URL)
	return seed, err
}

// addTOTP makes a factor of the seed that was confirmed by the code of a step. It joins the transaction.
// first is store.AddFactor's. Its errors for people: store.ErrUsed when the seed was taken by the same form sent twice, store.ErrConflict, ErrTooMany.
func (l *Login) addTOTP(ctx context.Context, binder, userID, seed, name string, step int64, first bool) (codes []string, err error) {
	if err := l.store.TakePending(ctx, store.PendingTOTP, seedRow(binder)); err != nil {
		return nil, err
	}
	c := &store.Credential{ID: strings.ToLower(rand.Text()), UserID: userID, Kind: store.CredTOTP, Label: name, Counter: step}
	c.Secret = l.seal([]byte(seed), sealedFactor+c.ID)
	return l.addFactor(ctx, c, first)
}

// addFactor adds a factor of any kind, with the first one a set of recovery codes, and tells the person. first and the errors are store.AddFactor's.
func (l *Login) addFactor(ctx context.Context, c *store.Credential, first bool) (codes []string, err error) {
	userID := c.UserID
	before, err := l.store.Factors(ctx, userID)
	if err != nil {
		return nil, err
	}
	if err := l.store.AddFactor(ctx, c, first); err != nil {
		return nil, err
	}
	if needed, err := l.needsRecovery(ctx, c, before); err != nil {
		return nil, err
	} else if needed {
		shown, hashes := newRecoveryCodes(userID)
		if err := l.store.SetRecoveryCodes(ctx, userID, hashes); err != nil {
			return nil, err
		}
		codes = shown
	}
	what := templates.FactorAdded
	if c.Kind == store.CredPasskey {
		what = templates.FactorPasskeyAdded
	}
	return codes, l.factorNotice(ctx, userID, templates.FactorMail{What: what})
}

// needsRecovery says whether recovery codes come with a factor that was added to those before: with the first that a sign-in can fail without.
func (l *Login) needsRecovery(ctx context.Context, c *store.Credential, before *store.Factors) (bool, error) {
	if len(before.Codes) > 0 {
		return false, nil
	}
	if c.Kind != store.CredPasskey {
		return true, nil
	}
	if d, err := c.Passkey(); err != nil || !d.Free {
		return err == nil, err
	}
	live, err := l.store.Live(ctx, c.UserID)
	if err != nil {
		return false, err
	}
	return l.mustHaveFactor(ctx, live)
}

// showEnrolment is GET /mfa/enrol: a person who must have a second factor adds one before the sign-in is complete (R64).
func (l *Login) showEnrolment(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owed(r, owesEnrolment)
	if err != nil {
		return err
	}
	if !l.addable(store.CredTOTP, partial.AMR) {
		if l.addable(store.CredPasskey, partial.AMR) {
			return web.SeeOther(w, r, owedURL(r, passkeyEnrolPath, p))
		}
		if l.addable(store.CredSMS, partial.AMR) {
			return web.SeeOther(w, r, owedURL(r, enrolSMSPath, p))
		}
		return unavailable(chooseURL(p))
	}
	page := l.enrolPage(w, r, partial, p)
	if page.NeedsCode, err = l.partialNeedsCode(r.Context(), partial); err != nil {
		return wrap("enrolment", err)
	}
	if _, err := l.fillEnrolment(r.Context(), page, partial.ID, user); err != nil {
		return wrap("enrolment", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) enrolPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, p *pending) *templates.EnrolPage {
	app := p.dress(w)
	page := &templates.EnrolPage{Base: l.mux.Base(w, r), Action: owedURL(r, enrolPath, p), App: app, Required: true, CancelURL: chooseURL(p)}
	if l.addable(store.CredSMS, partial.AMR) {
		page.SMSURL = owedURL(r, enrolSMSPath, p)
	}
	if l.addable(store.CredPasskey, partial.AMR) {
		page.PasskeyURL = owedURL(r, passkeyEnrolPath, p)
	}
	return page
}

// enrol is POST /mfa/enrol. The answer shows the recovery codes, once, and leads on from there.
func (l *Login) enrol(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owed(r, owesEnrolment)
	if err != nil {
		return err
	}
	if !l.addable(store.CredTOTP, partial.AMR) {
		return unavailable(chooseURL(p))
	}
	page := l.enrolPage(w, r, partial, p)
	if page.NeedsCode, err = l.partialNeedsCode(r.Context(), partial); err != nil {
		return wrap("enrolment", err)
	}
	seed, err := l.fillEnrolment(r.Context(), page, partial.ID, user)
	if err != nil {
		return wrap("enrolment", err)
	}
	in := readEnrolment(r)
	again := func(status int, e templates.FormErrors) error {
		page.FormErrors, page.Name = e, in.name
		return l.mux.Render(w, r, status, page)
	}
	if fields := in.fields(); len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	// The seed is on the page, so there is nothing to guess; the tries bound the work.
	if err := l.sessions.Try(r, partial); err != nil {
		return startOver(p, err)
	}
	enrolment, key, err := l.readEnrolmentCode(r, user.ID, page.NeedsCode)
	if err != nil {
		return wrap("enrolment", err)
	}
	step, right, err := matchTOTP(seed, in.code, l.now())
	switch {
	case err != nil:
		return wrap("enrolment", err)
	case key != "":
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"enrolment_code": key}})
	case !right:
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"code": "mfa.error_enrol"}})
	}
	var codes []string
	made, err := l.settleOwed(w, r, partial, user, p, amrFactor, func(ctx context.Context) (err error) {
		if err := l.spendEnrolmentCode(ctx, enrolment); err != nil {
			return err
		}
		codes, err = l.addTOTP(ctx, partial.ID, user.ID, seed, in.name, step, true)
		return err
	})
	return l.enrolled(w, r, p, made, codes, err)
}

// enrolled answers a person who added the second factor that their sign-in owed; err is what came of it.
func (l *Login) enrolled(w http.ResponseWriter, r *http.Request, p *pending, made *session.Session, codes []string, err error) error {
	switch {
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrConflict): // sent twice, or one was added meanwhile, which the next sign-in asks for
		return startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err})
	case err != nil:
		return startOver(p, err)
	case made == nil:
		return nil
	}
	// The page of second factors sends on whoever has shown one.
	return l.mux.Render(w, r, http.StatusOK, l.codesPage(w, r, codes, owedURL(r, factorPath, p)))
}

// codesPage shows a set of recovery codes. It is the only answer that ever holds them.
func (l *Login) codesPage(w http.ResponseWriter, r *http.Request, codes []string, next string) *templates.CodesPage {
	return &templates.CodesPage{Base: l.mux.Base(w, r), Codes: codes, NextURL: next, Service: l.factors.AppName}
}
