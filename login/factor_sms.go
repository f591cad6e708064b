package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// A telephone number as a second factor (R61). Codes are sent, limited, tried and spent as at a sign-in by phone (phonecode.go); the number need not be the
// account's, and opens no account.
const (
	smsPath      = factorPath + "/sms"
	enrolSMSPath = enrolPath + "/sms"
	addSMSPath   = securityPath + "/sms"
)

// amrSMS is what such a factor adds to a sign-in (RFC 8176 §2).
var amrSMS = []string{"sms", "mfa"}

func (l *Login) mountSMSFactors(mux *web.Mux) {
	mux.Page("GET "+smsPath, web.Public, l.showSMS) // guarded by the partial sign-in, like the next
	mux.Page("POST "+smsPath, web.Public, l.sendSMS)
	mux.Page("GET "+toShow.code(), web.Public, l.dialling(toShow, l.showPhoneCode))
	mux.Page("POST "+toShow.code(), web.Public, l.dialling(toShow, l.enterPhoneCode))
	mux.Page("POST "+toShow.resend(), web.Public, l.dialling(toShow, l.resendPhoneCode))
	mux.Page("GET "+enrolSMSPath, web.Public, l.showEnrolNumber)
	mux.Page("POST "+enrolSMSPath, web.Public, l.askEnrolNumber)
	mux.Page("GET "+toEnrol.code(), web.Public, l.dialling(toEnrol, l.showPhoneCode))
	mux.Page("POST "+toEnrol.code(), web.Public, l.dialling(toEnrol, l.enterPhoneCode))
	mux.Page("POST "+toEnrol.resend(), web.Public, l.dialling(toEnrol, l.resendPhoneCode))

	mux.Page("GET "+addSMSPath, web.SignedIn, l.withRecent(l.showAddNumber))
	mux.Page("POST "+addSMSPath, web.SignedIn, l.withRecent(l.askAddNumber))
	mux.Page("GET "+toAdd.code(), web.SignedIn, l.recently(l.dialling(toAdd, l.showPhoneCode)))
	mux.Page("POST "+toAdd.code(), web.SignedIn, l.recently(l.dialling(toAdd, l.enterPhoneCode)))
	mux.Page("POST "+toAdd.resend(), web.SignedIn, l.recently(l.dialling(toAdd, l.resendPhoneCode)))
}

// recently is withRecent for a handler that finds the session itself.
func (l *Login) recently(then web.Handler) web.Handler {
	return l.withRecent(func(w http.ResponseWriter, r *http.Request, _ *session.Session) error { return then(w, r) })
}

// numberOf opens the number of a second factor.
func (l *Login) numberOf(c *store.Credential) (string, error) {
	plain, err := l.open(c.Secret, sealedFactor+c.ID)
	if err != nil {
		return "", fmt.Errorf("login: second factor %s: %w", c.ID, err)
	}
	return string(plain), nil
}

// hiddenNumber is a number that its owner knows again, and nobody else learns.
func hiddenNumber(number string) string { return "•••• " + number[max(0, len(number)-2):] }

// showSMS is GET /mfa/sms: the numbers that a code can go to. Nothing is sent before the person asks for it: each message is paid for.
func (l *Login) showSMS(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	page, err := l.smsPage(w, r, partial, user, p)
	switch {
	case err != nil:
		return wrap("second factor", err)
	case len(page.Numbers) == 0:
		return web.SeeOther(w, r, owedURL(r, factorPath, p))
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) smsPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending) (*templates.SMSFactorPage, error) {
	page := &templates.SMSFactorPage{App: p.dress(w), Base: l.mux.Base(w, r), Action: owedURL(r, smsPath, p), CancelURL: cancelFactor(r, partial, p)}
	f, err := l.store.Factors(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	page.OtherURL, page.RecoveryURL = l.otherWays(r, partial, p, f)
	for i := range f.List {
		c := &f.List[i]
		if c.Kind != store.CredSMS || !l.kindOf(store.CredSMS).after(partial.AMR) {
			continue
		}
		number, err := l.numberOf(c)
		if err != nil {
			return nil, err
		}
		page.Numbers = append(page.Numbers, templates.SMSFactor{ID: c.ID, Name: c.Label, Number: hiddenNumber(number)})
	}
	return page, nil
}

// sendSMS is POST /mfa/sms: a code to one of the person's numbers.
func (l *Login) sendSMS(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedFactor(r)
	if err != nil {
		return err
	}
	f, err := l.store.Factors(r.Context(), user.ID)
	if err != nil {
		return wrap("second factor", err)
	}
	i := indexFactor(f.List, store.CredSMS, r.PostFormValue("factor"))
	if i < 0 || !l.kindOf(store.CredSMS).after(partial.AMR) { // gone in another tab, or never theirs: the page shows what is
		return web.SeeOther(w, r, owedURL(r, smsPath, p))
	}
	number, err := l.numberOf(&f.List[i])
	if err != nil {
		return wrap("second factor", err)
	}
	again := func(status int, key string, args map[string]any) error {
		page, err := l.smsPage(w, r, partial, user, p)
		if err != nil {
			return wrap("second factor", err)
		}
		page.FormErrors = templates.FormErrors{Form: key, Args: args}
		return l.mux.Render(w, r, status, page)
	}
	region := phone.Region(number)
	if !l.texts(region) {
		return again(http.StatusUnprocessableEntity, "phone.error_country", nil)
	}
	d := &dialling{use: toShow, p: p, partial: partial, user: user, reauth: p == nil && reauth(r),
		said: dialled{Number: number, Region: region, Partial: partial.ID, Factor: f.List[i].ID}}
	t, err := l.text(w, r, d)
	switch {
	case err != nil:
		return wrap("text message", err)
	case t.key != "":
		t.retryAfter(w)
		return again(http.StatusTooManyRequests, t.key, t.args)
	}
	return web.SeeOther(w, r, d.path(d.use.code()))
}

func indexFactor(list []store.Credential, kind, id string) int {
	for i := range list {
		if list[i].Kind == kind && list[i].ID == id {
			return i
		}
	}
	return -1
}

// showedNumber goes on with the sign-in that waited for the code.
func (l *Login) showedNumber(w http.ResponseWriter, r *http.Request, d *dialling) error {
	made, err := l.settleOwed(w, r, d.partial, d.user, d.p, amrSMS, func(ctx context.Context) error {
		if err := l.usePhoneCode(ctx, d); err != nil {
			return &spentError{err}
		}
		if err := l.store.NoteSMS(ctx, d.user.ID, d.said.Factor); err != nil {
			return &spentError{err}
		}
		return l.limiter.FactorShown(ctx, d.user.ID)
	})
	var spent *spentError
	switch {
	case errors.As(err, &spent) && errors.Is(err, store.ErrUsed): // by the same form, sent twice; or the factor is gone
		return l.attemptOver(d.p, spent.error)
	case err != nil:
		return startOver(d.p, err)
	case made == nil:
		return nil
	}
	return l.goOn(w, r, made, d.p)
}

// addSMS makes a factor of the number whose code came back. It joins the transaction; its errors are addFactor's, and store.ErrUsed.
func (l *Login) addSMS(ctx context.Context, d *dialling, first bool) (codes []string, err error) {
	if err := l.usePhoneCode(ctx, d); err != nil {
		return nil, err
	}
	if err := l.spendEnrolmentCode(ctx, d.said.Enrol); err != nil {
		return nil, err
	}
	c := &store.Credential{ID: strings.ToLower(rand.Text()), UserID: d.person(), Kind: store.CredSMS, Label: d.said.Name}
	c.Secret = l.seal([]byte(d.said.Number), sealedFactor+c.ID)
	return l.addFactor(ctx, c, first)
}

// numberPage asks for a number that is to become a second factor.
func (l *Login) numberPage(w http.ResponseWriter, r *http.Request, p *pending, action, cancel string) *templates.FactorNumberPage {
	page := &templates.FactorNumberPage{PhonePage: templates.PhonePage{App: p.dress(w), Base: l.mux.Base(w, r), Action: action, CancelURL: cancel}}
	l.fillCountries(&page.PhonePage)
	return page
}

// askFactorNumber reads the form of page and sends a code for what d says beside.
func (l *Login) askFactorNumber(w http.ResponseWriter, r *http.Request, page *templates.FactorNumberPage, d *dialling) error {
	raw, country, n, key := l.readNumber(r)
	d.said.Number, d.said.Region, d.said.Name = n.E164, n.Region, strings.TrimSpace(r.PostFormValue("name"))
	again := func(status int, e templates.FormErrors) error {
		page.FormErrors, page.Number, page.Name = e, raw, d.said.Name
		if country != "" {
			page.Country = country
		}
		return l.mux.Render(w, r, status, page)
	}
	fields := map[string]string{}
	if key != "" {
		fields["number"] = key
	}
	if !factorName(d.said.Name) {
		fields["name"] = "mfa.error_name"
	}
	var err error
	if d.said.Enrol, key, err = l.readEnrolmentCode(r, d.person(), page.NeedsCode); err != nil {
		return wrap("enrolment", err)
	} else if key != "" {
		fields["enrolment_code"] = key
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	t, err := l.text(w, r, d)
	switch {
	case err != nil:
		return wrap("text message", err)
	case t.key != "":
		t.retryAfter(w)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: t.key, Args: t.args})
	}
	return web.SeeOther(w, r, d.path(d.use.code()))
}

// owedEnrolment is the half-finished sign-in that owes a second factor, and may add a number.
func (l *Login) owedEnrolment(r *http.Request) (*session.Partial, *store.User, *pending, error) {
	partial, user, p, err := l.owed(r, owesEnrolment)
	if err == nil && !l.addable(store.CredSMS, partial.AMR) {
		err = unavailable(chooseURL(p))
	}
	return partial, user, p, err
}

// showEnrolNumber is GET /mfa/enrol/sms.
func (l *Login) showEnrolNumber(w http.ResponseWriter, r *http.Request) error {
	partial, _, p, err := l.owedEnrolment(r)
	if err != nil {
		return err
	}
	page, err := l.enrolNumberPage(w, r, partial, p)
	if err != nil {
		return wrap("enrolment", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) enrolNumberPage(w http.ResponseWriter, r *http.Request, partial *session.Partial, p *pending) (page *templates.FactorNumberPage, err error) {
	page = l.numberPage(w, r, p, owedURL(r, enrolSMSPath, p), chooseURL(p))
	page.Required = true
	if page.NeedsCode, err = l.partialNeedsCode(r.Context(), partial); err != nil {
		return nil, err
	}
	if l.addable(store.CredTOTP, partial.AMR) {
		page.AppURL = owedURL(r, enrolPath, p)
	}
	return page, nil
}

// askEnrolNumber is POST /mfa/enrol/sms.
func (l *Login) askEnrolNumber(w http.ResponseWriter, r *http.Request) error {
	partial, user, p, err := l.owedEnrolment(r)
	if err != nil {
		return err
	}
	if err := l.sessions.Try(r, partial); err != nil { // each try is a message
		return startOver(p, err)
	}
	page, err := l.enrolNumberPage(w, r, partial, p)
	if err != nil {
		return wrap("enrolment", err)
	}
	return l.askFactorNumber(w, r, page, &dialling{use: toEnrol, p: p, partial: partial, user: user,
		reauth: p == nil && reauth(r), said: dialled{Partial: partial.ID}})
}

// enrolledNumber goes on with the sign-in that owed a second factor.
func (l *Login) enrolledNumber(w http.ResponseWriter, r *http.Request, d *dialling) error {
	var codes []string
	made, err := l.settleOwed(w, r, d.partial, d.user, d.p, amrSMS, func(ctx context.Context) (err error) {
		codes, err = l.addSMS(ctx, d, true)
		return err
	})
	return l.enrolled(w, r, d.p, made, codes, err)
}

// showAddNumber is GET /account/security/sms.
func (l *Login) showAddNumber(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	if err := l.mayAdd(r.Context(), current, store.CredSMS); err != nil {
		return err
	}
	page, err := l.addNumberPage(w, r, current)
	if err != nil {
		return wrap("enrolment", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) addNumberPage(w http.ResponseWriter, r *http.Request, current *session.Session) (page *templates.FactorNumberPage, err error) {
	page = l.numberPage(w, r, nil, addSMSPath, securityPath)
	page.NeedsCode, err = l.sessionNeedsCode(r.Context(), current)
	return page, err
}

// askAddNumber is POST /account/security/sms.
func (l *Login) askAddNumber(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	if err := l.mayAdd(r.Context(), current, store.CredSMS); err != nil {
		return err
	}
	page, err := l.addNumberPage(w, r, current)
	if err != nil {
		return wrap("enrolment", err)
	}
	return l.askFactorNumber(w, r, page, &dialling{use: toAdd, current: current})
}

// addedNumber puts the number whose code was right on the account.
func (l *Login) addedNumber(w http.ResponseWriter, r *http.Request, d *dialling) error {
	if err := l.mayAdd(r.Context(), d.current, store.CredSMS); err != nil {
		return err
	}
	return l.addToAccount(w, r, d.current, securityPath, amrSMS, func(ctx context.Context, first bool) ([]string, error) { return l.addSMS(ctx, d, first) })
}
