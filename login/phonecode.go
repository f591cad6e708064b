package login

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/twilio"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	phoneOverlap = time.Minute      // a text may come after the one that was asked for later
	verifyLife   = 10 * time.Minute // of a code that Twilio made
)

// texted is what became of the wish for a message; the zero value is one that is on its way, or looks like it.
type texted struct {
	key  string
	args map[string]any
	wait time.Duration
}

func (t texted) retryAfter(w http.ResponseWriter) {
	if t.wait > 0 {
		retryAfter(w, t.wait)
	}
}

// errNoText undoes what was counted for a message that is not sent.
var errNoText = errors.New("login: no message")

// text sends a code to the number of d: the first one of its attempt, or another. Whether the number can sign in or not, it asks the database and
// the limits the same and writes the same rows; only the outbox tells them apart (security.md F8). Everything is one transaction: what is counted
// is sent.
func (l *Login) text(w http.ResponseWriter, r *http.Request, d *dialling) (texted, error) {
	if d.handle == "" {
		l.sessions.FlowCookie(w, r)
	}
	web.UILocales(w, d.p.param("ui_locales"))
	lang, browser, ip := l.mux.Base(w, r).Lang, l.sessions.FlowBinding(r), web.ClientIP(r.Context())
	code := randomDigits(l.phone.Digits)
	var out texted
	alarm := ""
	var made *dialling
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		next := *d
		made, alarm = &next, ""
		switch s, err := l.store.Switch(ctx, store.SwitchSMS); {
		case err != nil:
			return err
		case !s.OffAt.IsZero():
			out = texted{key: "phone.error_unavailable"}
			return errNoText
		}
		holder, err := l.reaches(ctx, &next)
		if err != nil {
			return err
		}
		a, err := l.limiter.Allow(ctx, l.phone.Limits, throttle.Text{
			Number: d.said.Number, Prefix: phone.Prefix(d.said.Number), Country: d.said.Region, Client: d.p.clientID(), IP: ip, Device: browser,
			Nobody: next.hidden.Nobody, Empty: next.hidden.Empty,
		})
		if err != nil {
			return err
		}
		alarm = alarmOf(a)
		if a.Limit != "" {
			out = l.limited(a)
			return errNoText
		}
		if d.use != toSignIn && a.Empty { // whoever is known may know: it says nothing about anybody's account
			out = texted{key: map[string]string{"prefix": "phone.error_paused", "share": "phone.error_unavailable"}[a.Why]}
			return errNoText
		}
		return l.enqueueCode(ctx, &next, browser, lang, code, a.Empty, holder)
	})
	if alarm != "" && l.phone.Alarm != nil {
		l.phone.Alarm(r.Context(), alarm)
	}
	switch {
	case errors.Is(err, errNoText):
		return out, nil
	case errors.Is(err, store.ErrConflict) && d.handle != "":
		return texted{}, nil // another tab asked for the same at the same time, and its message is on its way
	case err != nil:
		return texted{}, err
	}
	*d = *made
	return texted{}, nil
}

// alarmOf is what an answer of the limits tells the operator, "" = nothing.
func alarmOf(a throttle.Allowance) string {
	switch {
	case a.Limit == "money":
		return templates.TextsStopped
	case a.Why != "":
		return templates.TextsPaused
	case a.Alarm:
		return templates.TextsAlarm
	}
	return ""
}

// reaches says whose number it is, and decides before the first message whether any will be sent: to people who may come in, to somebody new where
// that makes an account, and to whoever is known.
func (l *Login) reaches(ctx context.Context, d *dialling) (holder string, err error) {
	u, err := l.store.UserByPhone(ctx, d.said.Number)
	switch {
	case err == nil:
		holder = u.ID
	case !errors.Is(err, store.ErrNotFound):
		return "", err
	}
	if d.handle == "" {
		d.hidden.Nobody = d.use != toShow && (d.use != toSignIn || u == nil)
		d.hidden.Empty = d.use == toSignIn && (u == nil && !l.phoneMakes(d.p, d.invite) || u != nil && !u.Active(l.now()))
		if l.phone.Twilio != nil {
			_, d.hidden.Verify = l.phone.Twilio.Serves(d.said.Region)
		}
	}
	if d.partial != nil {
		holder = d.partial.UserID
	}
	return holder, nil
}

// enqueueCode writes attempt, code and message. empty = nothing is sent, and no code will be right.
func (l *Login) enqueueCode(ctx context.Context, d *dialling, browser, lang, code string, empty bool, holder string) error {
	now := l.now()
	first := d.handle == ""
	if first {
		d.handle, d.hidden.Empty = newSecret(), empty
		a := store.Attempt{Connector: methodPhone, Purpose: d.use.purpose, FlowHash: d.p.hash(), UserID: d.person()}
		if err := l.begun(ctx, d.handle, browser, a, d.said); err != nil {
			return err
		}
		plain, err := json.Marshal(d.hidden)
		if err != nil {
			return err
		}
		hash := hashOf(d.handle)
		d.code = &store.MailCode{AttemptHash: hash, Sealed: l.seal(plain, sealedPhone+hash), ExpiresAt: l.phoneCodeEnd(d, now)}
	} else {
		again := *d.code
		d.code = &again
	}
	c := d.code
	c.Sends, c.SentAt, c.PrevUntil = c.Sends+1, store.At(now), store.At(now.Add(phoneOverlap))
	c.CodeHash = l.phoneCodeHash(c.AttemptHash, code)
	if empty || d.hidden.Verify {
		c.CodeHash = l.phoneCodeHash(c.AttemptHash, newSecret()) // which nobody can type
	}
	m := &store.Message{Kind: store.KindSMS, Recipient: d.said.Number, DedupeKey: fmt.Sprintf("sms:%s:%d", c.AttemptHash, c.Sends), ExpiresAt: c.ExpiresAt}
	switch {
	case empty:
		m.Recipient, m.FailedAt = "", store.At(now)
	case d.hidden.Verify:
		m.Kind, m.Text = store.KindVerify, lang
	default:
		m.Text = l.templates.SMS(lang, templates.CodeSMS{Code: code, Minutes: minutes(c.ExpiresAt.Sub(now)), Host: l.host()})
	}
	if err := l.store.Enqueue(ctx, m); err != nil {
		return err
	}
	c.MessageID = m.ID
	put := l.store.ResendCode
	if first {
		c.PrevUntil = store.Time{}
		put = l.store.PutMailCode
	}
	if err := put(ctx, c); err != nil {
		return err
	}
	return l.record(ctx, "sms_asked", holder, d.p.clientID(), map[string]any{"country": d.said.Region, "messages": c.Sends})
}

// phoneCodeEnd is when a code of this moment ends: nothing goes on after its attempt and its flow.
func (l *Login) phoneCodeEnd(d *dialling, now time.Time) store.Time {
	end := now.Add(min(l.phone.Life, attemptLife))
	if d.hidden.Verify {
		end = now.Add(min(verifyLife, attemptLife))
	}
	return endOfCode(end, d.p)
}

// host is what a browser must be on for a code to be offered.
func (l *Login) host() string {
	u, err := url.Parse(l.issuer)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// limited puts a limit into words.
func (l *Login) limited(a throttle.Allowance) texted {
	seconds, mins := int(math.Ceil(a.Wait.Seconds())), int(math.Ceil(a.Wait.Minutes()))
	switch {
	case a.Limit == "number" && a.Wait <= l.phone.Limits.Gap:
		return texted{"phone.error_wait", map[string]any{"Seconds": seconds}, a.Wait}
	case a.Limit == "number", a.Limit == "address", a.Limit == "client":
		return texted{"phone.error_too_many", map[string]any{"Minutes": mins}, a.Wait}
	}
	return texted{"phone.error_unavailable", nil, a.Wait}
}

func (l *Login) phoneCodeHash(attempt, code string) string {
	return hashCode(l.phone.Key, "sms", attempt, code)
}

func (l *Login) phoneCodePage(w http.ResponseWriter, r *http.Request, d *dialling) (*templates.PhoneCodePage, error) {
	app := d.p.dress(w)
	page := &templates.PhoneCodePage{
		Base: l.mux.Base(w, r), Action: d.path(d.use.code()), ResendURL: d.path(d.use.resend()), App: app, Number: phone.Pretty(d.said.Number),
		Digits: l.phone.Digits, Minutes: minutes(d.code.ExpiresAt.Sub(d.code.SentAt.Time)), Known: d.use != toSignIn,
	}
	switch d.use {
	case toSignIn:
		page.ChangeURL = pathWith(phonePath, d.p, query{"reauth": r.URL.Query().Get("reauth")})
		page.CancelURL, page.CancelText = pathWith(signInPath, d.p, query{"choose": "1", "reauth": r.URL.Query().Get("reauth")}), "phone.other"
	case toHave:
		page.ChangeURL, page.CancelURL, page.CancelText = accountPhonePath, accountPath, "phone.back"
	case toAdd:
		page.ChangeURL, page.CancelURL, page.CancelText = addSMSPath, securityPath, "link.cancel"
	case toEnrol:
		page.ChangeURL, page.CancelURL, page.CancelText = owedURL(r, enrolSMSPath, d.p), chooseURL(d.p), "link.cancel"
	case toShow: // whoever has the password alone does not learn the number
		page.Number, page.CancelURL, page.CancelText = hiddenNumber(d.said.Number), owedURL(r, waysPath, d.p), "mfa.other_way"
	}
	if d.hidden.Verify {
		page.Digits = 6
	}
	// What became of the message says that there was one. So it is told only where a message goes to everybody.
	if d.use == toSignIn && !l.phoneMakes(d.p, d.invite) {
		return page, nil
	}
	m, err := l.store.Message(r.Context(), d.code.MessageID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, err
	case m.Recipient == "":
	case m.Status == "undelivered", m.Status == "failed", !m.FailedAt.IsZero() && m.ErrorCode != 0:
		page.Notice = undelivered(m.ErrorCode)
	case !m.FailedAt.IsZero(): // it ran out, was stopped, or nobody knows
		page.Notice = "phone.error_unavailable"
	}
	return page, nil
}

// undelivered says why a message did not arrive, as far as its person can do something about it. What Twilio's numbers mean may change, so
// nothing else hangs on them.
func undelivered(code int64) string {
	switch code {
	case 21614, 60205, 30006:
		return "phone.failed_landline"
	case 21610:
		return "phone.failed_opted_out"
	case 21408, 60605:
		return "phone.error_country"
	case 21211, 60200, 21217:
		return "phone.error_number"
	case 60238, 60410, 30450, 30007:
		return "phone.failed_blocked"
	case 20003, 21212, 21606, 21608, 21612, 21611, 575001, 60203, 60207, 60212, 20429:
		return "phone.error_unavailable"
	}
	return "phone.failed"
}

// showPhoneCode is the page of a code, whatever it is for.
func (l *Login) showPhoneCode(w http.ResponseWriter, r *http.Request, d *dialling) error {
	page, err := l.phoneCodePage(w, r, d)
	if err != nil {
		return wrap("code", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// resendPhoneCode sends another message. While a code can still be tried, another one takes its place and nothing else; after that it is a
// new attempt, which the limits count like any other.
func (l *Login) resendPhoneCode(w http.ResponseWriter, r *http.Request, d *dialling) error {
	if !d.code.UsedAt.IsZero() {
		return l.attemptOver(d.p, nil)
	}
	next := d
	if d.code.Tries >= codeTries || !l.now().Before(d.code.ExpiresAt.Time) {
		next = d.anew()
	}
	t, err := l.text(w, r, next)
	if err != nil {
		return wrap("text message", err)
	}
	if t.key == "" {
		return web.SeeOther(w, r, next.path(next.use.code()))
	}
	t.retryAfter(w)
	page, err := l.phoneCodePage(w, r, d)
	if err != nil {
		return wrap("code", err)
	}
	page.FormErrors = templates.FormErrors{Form: t.key, Args: t.args}
	return l.mux.Render(w, r, http.StatusTooManyRequests, page)
}

// enterPhoneCode takes a code, and goes on with what it is for.
func (l *Login) enterPhoneCode(w http.ResponseWriter, r *http.Request, d *dialling) error {
	ctx := r.Context()
	again := func(status int, e templates.FormErrors) error {
		page, err := l.phoneCodePage(w, r, d)
		if err != nil {
			return wrap("code", err)
		}
		page.FormErrors = e
		return l.mux.Render(w, r, status, page)
	}
	wrong := func(key string, args map[string]any) error {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"code": key}, Args: args})
	}
	code := typedCode(r.PostFormValue("code"))
	if code == "" {
		return wrong("phone.error_required", nil)
	}
	if d.use == toShow {
		wait, err := l.tryFactor(r, d.partial)
		switch {
		case err != nil:
			return startOver(d.p, err)
		case wait > 0:
			return again(http.StatusTooManyRequests, factorWait(w, wait))
		}
	}
	// Each code has its tries, and the number has them over all codes, browsers and processes (security.md F10); both are paid before the comparison.
	try := throttle.CodeTry(d.said.Number, web.ClientIP(ctx), l.sessions.FlowBinding(r))
	wait, err := l.limiter.Check(ctx, try)
	switch {
	case err != nil:
		return wrap("code", err)
	case wait > 0:
		retryAfter(w, wait)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	if err := l.store.TryMailCode(ctx, d.code, codeTries); errors.Is(err, store.ErrExpired) {
		return wrong("phone.error_over", nil)
	} else if err != nil {
		return wrap("code", err)
	}
	right, over, err := l.phoneCodeRight(ctx, d, code)
	switch {
	case err != nil:
		var e *twilio.Error
		if errors.As(err, &e) {
			l.log.WarnContext(ctx, "a code could not be checked", "error", e)
			return again(http.StatusServiceUnavailable, templates.FormErrors{Form: "phone.error_unavailable"})
		}
		return wrap("code", err)
	case !right:
		if err := l.limiter.Failed(ctx, try); err != nil {
			return wrap("code", err)
		}
		if d.use == toShow {
			if err := l.record(ctx, "factor_failed", d.partial.UserID, d.p.clientID(), map[string]any{"factor": store.CredSMS}); err != nil {
				return wrap("code", err)
			}
		}
		if left := codeTries - int(d.code.Tries) - 1; left > 0 && !over {
			return wrong("phone.error_wrong", map[string]any{"Count": left})
		}
		return wrong("phone.error_over", nil)
	}
	if err := l.limiter.Succeeded(ctx, try); err != nil {
		return wrap("code", err)
	}
	switch d.use {
	case toHave:
		return l.takeNumber(w, r, d)
	case toShow:
		return l.showedNumber(w, r, d)
	case toEnrol:
		return l.enrolledNumber(w, r, d)
	case toAdd:
		return l.addedNumber(w, r, d)
	}
	return l.phoneIn(w, r, d)
}

// phoneCodeRight compares, or asks Twilio. It asks for an empty one too, and forgets the answer, so that the time does not tell (security.md F8).
func (l *Login) phoneCodeRight(ctx context.Context, d *dialling, code string) (right, over bool, err error) {
	if d.hidden.Verify {
		if l.phone.Twilio == nil || len(code) < 4 || len(code) > 10 {
			return false, false, nil
		}
		right, err = l.phone.Twilio.CheckVerify(ctx, d.said.Number, d.said.Region, code)
		switch {
		case d.hidden.Empty:
			return false, false, nil
		case errors.Is(err, twilio.ErrGone), errors.Is(err, twilio.ErrTries):
			return false, true, nil
		}
		return right, false, err
	}
	hash := []byte(l.phoneCodeHash(d.code.AttemptHash, code))
	now := hmac.Equal(hash, []byte(d.code.CodeHash))
	before := hmac.Equal(hash, []byte(d.code.PrevHash)) && l.now().Before(d.code.PrevUntil.Time)
	return (now || before) && !d.hidden.Empty, false, nil
}

// twilioStatus is POST /hooks/twilio/status: how the delivery of a message ended. What is not signed changes nothing; what is known already, or says
// nothing new, is taken and forgotten.
func (l *Login) twilioStatus(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil || !l.phone.Twilio.Notice(l.issuer+r.URL.RequestURI(), r.PostForm, r.Header.Get("X-Twilio-Signature")) {
		return &web.Error{Status: http.StatusBadRequest, Err: errors.New("login: a notice that Twilio did not sign")}
	}
	switch status := r.PostForm.Get("MessageStatus"); status {
	case "delivered", "undelivered", "failed":
		code, err := strconv.ParseInt(r.PostForm.Get("ErrorCode"), 10, 32)
		if err != nil {
			code = 0 // there is none on most
		}
		first, err := l.store.MessageStatus(r.Context(), r.URL.Query().Get("message"), status, code)
		if err != nil {
			return wrap("notice about a message", err)
		}
		if first && l.phone.Delivered != nil {
			l.phone.Delivered(status)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
