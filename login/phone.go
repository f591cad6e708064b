package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Phone is sign-in with a code by SMS, and second factors that are numbers (factor_sms.go):
//
//	GET /login/phone ──POST──▶ number ─▶ limits ─▶ attempt, code, outbox ──▶ /login/phone/code ──POST──▶ whose number (phoneIn)?
//	                                                                                   ├─ somebody's: a session
//	                                                                                   ├─ not by a number alone: /login/phone/proof ──POST──▶ a session
//	                                                                                   └─ nobody's: an account, if the policy makes one
//
// Up to the code's page everything is the same for every number that can take a message (security.md F8).
type Phone struct {
	NoSignIn     bool     // messages are for second factors alone
	Registration string   // of somebody whose number nobody has; "" = invite
	Country      string   // whose numbers are read without a code; "" = none
	Countries    []string // that messages go to
	Digits       int      // of a code
	Life         time.Duration
	ProveAgain   time.Duration // after a proof so old a number opens its account with another proof only
	Cooldown     time.Duration // the same so long after the person put it there, and no other change
	Limits       throttle.Texts
	Key          []byte // hashes codes: 32 bytes
	Twilio       Texter // nil = messages stay in the outbox, as in the demonstration
	// Alarm hears of each message after the day's spending rang an alarm, and of each that a limit of the day held back: what happened, one of
	// templates.TextsAlarm and its likes; nil = nobody listens.
	Alarm func(ctx context.Context, event string)
	// Delivered hears how the delivery of a message ended; nil = nobody listens.
	Delivered func(status string)
}

// Texter is what sign-in asks of whoever sends messages: *twilio.Client.
type Texter interface {
	// Serves says whether messages go to a country, and whether codes are made and checked by the other side there.
	Serves(country string) (ok, verify bool)
	CheckVerify(ctx context.Context, to, country, code string) (right bool, err error)
	Notice(address string, form url.Values, signature string) bool
}

const (
	methodPhone      = store.WayPhone // store.Session.Connector of this method
	phonePath        = "/login/phone"
	phoneProofPath   = phonePath + "/proof"
	phoneNewPath     = phonePath + "/new"
	accountPhonePath = "/account/phone"
	twilioStatusPath = "/hooks/twilio/status"
)

var amrPhone = []string{"sms"} // RFC 8176 §2

func (c *Phone) check() error {
	switch {
	case len(c.Countries) == 0 || slices.Contains(c.Countries, ""):
		return errors.New("login: Phone needs Countries")
	case c.Digits < 6 || c.Digits > 8 || c.Life <= 0 || c.ProveAgain <= 0 || c.Limits.Price == nil || len(c.Key) < 32:
		return errors.New("login: Phone needs Digits, Life, ProveAgain, Limits and a Key of 32 bytes")
	}
	return nil
}

// dials says whether people can sign in by phone.
func (l *Login) dials() bool { return l.phone != nil && !l.phone.NoSignIn }

func (l *Login) mountPhone(mux *web.Mux) {
	l.mountSMSFactors(mux)
	if l.phone.Twilio != nil { // from Twilio's servers: the signature is all there is
		mux.API("POST "+twilioStatusPath, l.twilioStatus)
	}
	if !l.dials() {
		return
	}
	mux.Page("GET "+phonePath, web.Public, l.showPhone)
	mux.Page("POST "+phonePath, web.Public, l.askNumber)
	mux.Page("GET "+toSignIn.code(), web.Public, l.dialling(toSignIn, l.showPhoneCode)) // guarded by the number that waits in this browser, like the next
	mux.Page("POST "+toSignIn.code(), web.Public, l.dialling(toSignIn, l.enterPhoneCode))
	mux.Page("POST "+toSignIn.resend(), web.Public, l.dialling(toSignIn, l.resendPhoneCode))
	l.mountPhoneProof(mux)

	mux.Page("GET "+accountPhonePath, web.SignedIn, l.accountPhone)
	mux.Page("POST "+accountPhonePath, web.SignedIn, l.askAccountNumber)
	mux.Page("GET "+toHave.code(), web.SignedIn, l.dialling(toHave, l.showPhoneCode))
	mux.Page("POST "+toHave.code(), web.SignedIn, l.dialling(toHave, l.enterPhoneCode))
	mux.Page("POST "+toHave.resend(), web.SignedIn, l.dialling(toHave, l.resendPhoneCode))
	mux.Page("POST "+accountPhonePath+"/remove", web.SignedIn, l.removePhone)
}

// numberUse is what the code sent to a number is for.
type numberUse struct {
	purpose string // of the attempt
	base    string // path of the page that asks for the code to be sent; those of the code are below it
}

var (
	toSignIn = &numberUse{store.AttemptPhone, phonePath}
	toHave   = &numberUse{store.AttemptNumber, accountPhonePath} // the number becomes that of who is signed in
	toShow   = &numberUse{store.AttemptFactor, smsPath}          // it is a second factor, and a sign-in waits for it
	toEnrol  = &numberUse{store.AttemptEnrol, enrolSMSPath}      // it becomes one, and a sign-in waits for it
	toAdd    = &numberUse{store.AttemptEnrol, addSMSPath}        // it becomes one of who is signed in
)

func (u *numberUse) code() string   { return u.base + "/code" }
func (u *numberUse) resend() string { return u.base + "/resend" }

// dialled is the sealed part of a number's attempt.
type dialled struct {
	Number   string `json:"n"`
	Region   string `json:"r"`
	Remember bool   `json:"k,omitempty"`
	Partial  string `json:"p,omitempty"` // id of the half-finished sign-in that it is for
	Factor   string `json:"f,omitempty"` // id of the credential that it is
	Name     string `json:"l,omitempty"` // that it is to have
	Enrol    string `json:"e,omitempty"` // hash of the code that lets it in
}

// hidden is the sealed part of its code: what nobody but the code's check may know.
type hidden struct {
	Empty  bool `json:"e,omitempty"` // nothing was sent, and no code is right
	Verify bool `json:"v,omitempty"` // the code is Twilio's
	Nobody bool `json:"n,omitempty"` // it was asked for a number that nobody had, or for an account that has another
}

const sealedPhone = "mail_codes.phone." // and the attempt's hash

// dialling is a number that waits for its code.
type dialling struct {
	use     *numberUse
	p       *pending
	said    dialled
	current *session.Session // whose account gets the number; nil = a sign-in
	invite  *invited         // that is open in this browser
	partial *session.Partial // that waits for a second factor, nil = none
	user    *store.User      // whose that is
	reauth  bool             // it only confirms who is signed in

	handle string // "" = nothing was sent yet
	row    *store.Attempt
	code   *store.MailCode
	hidden hidden
}

// path is one of the pages with what finds this number again.
func (d *dialling) path(path string) string {
	more := query{"join": d.handle}
	if d.reauth {
		more["reauth"] = "1"
	}
	return pathWith(path, d.p, more)
}

// anew is the same wish without what came of it.
func (d *dialling) anew() *dialling {
	return &dialling{use: d.use, p: d.p, said: d.said, current: d.current, invite: d.invite, partial: d.partial, user: d.user, reauth: d.reauth}
}

// person is whose account it is about, "" = whoever has the number.
func (d *dialling) person() string {
	switch {
	case d.current != nil:
		return d.current.UserID
	case d.partial != nil:
		return d.partial.UserID
	}
	return ""
}

// texts says whether messages go to a country.
func (l *Login) texts(region string) bool {
	if !slices.Contains(l.phone.Countries, region) {
		return false
	}
	if l.phone.Twilio == nil {
		return true
	}
	ok, _ := l.phone.Twilio.Serves(region)
	return ok
}

// dialling finds the number that waits under the request's handle, in this browser and tab, for this use and, but at a sign-in, for this person.
func (l *Login) dialling(use *numberUse, then func(http.ResponseWriter, *http.Request, *dialling) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := l.pending(r)
		if err != nil {
			return l.deadEnd(r, err)
		}
		d := &dialling{use: use, p: p, handle: r.URL.Query().Get("join"), reauth: p == nil && reauth(r)}
		if d.invite, err = l.invite(r); err != nil {
			return err
		}
		switch use {
		case toHave, toAdd:
			d.current, _ = session.Current(r.Context())
		case toShow, toEnrol:
			owes := map[*numberUse]string{toShow: owesFactor, toEnrol: owesEnrolment}[use]
			if d.partial, d.user, _, err = l.owed(r, owes); err != nil {
				return err
			}
		}
		if d.row, err = l.attempt(r, p, d.handle, use.purpose); err != nil {
			return err
		}
		if err := l.unseal(d.row, &d.said); err != nil {
			return err
		}
		if d.row.UserID != d.person() || use != toSignIn && d.person() == "" || d.partial != nil && d.said.Partial != d.partial.ID || d.partial == nil && d.said.Partial != "" {
			return l.attemptOver(p, nil)
		}
		if d.code, err = l.store.MailCode(r.Context(), d.row.StateHash); err != nil {
			return l.attemptOver(p, err)
		}
		if err := l.openHidden(d.code, &d.hidden); err != nil {
			return err
		}
		return then(w, r, d)
	}
}

// showPhone is GET /login/phone.
func (l *Login) showPhone(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !p.admits(methodPhone) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	page := l.phonePage(w, r, p)
	if n, err := phone.Parse(p.param("login_hint"), l.phone.Country); err == nil && slices.Contains(l.phone.Countries, n.Region) {
		page.Number, page.Country = phone.Pretty(n.E164), n.Region
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) phonePage(w http.ResponseWriter, r *http.Request, p *pending) *templates.PhonePage {
	more := query{}
	if p == nil && reauth(r) {
		more["reauth"] = "1"
	}
	page := &templates.PhonePage{App: p.dress(w), Base: l.mux.Base(w, r), Action: pathWith(phonePath, p, more), CancelURL: pathWith(signInPath, p, query{"choose": "1", "reauth": more["reauth"]})}
	l.fillCountries(page)
	return page
}

func (l *Login) fillCountries(page *templates.PhonePage) {
	for _, c := range l.phone.Countries {
		page.Countries = append(page.Countries, templates.Country{Region: c, Code: phone.Code(c)})
	}
	if page.Country = l.phone.Country; !slices.Contains(l.phone.Countries, page.Country) {
		page.Country = l.phone.Countries[0]
	}
}

// readNumber reads the form's number. key says what is wrong with it, and depends on nothing but the number.
func (l *Login) readNumber(r *http.Request) (raw, country string, n phone.Number, key string) {
	raw, country = r.PostFormValue("number"), r.PostFormValue("country")
	if !slices.Contains(l.phone.Countries, country) {
		country = l.phone.Country
	}
	n, err := phone.Parse(raw, country)
	switch {
	case errors.Is(err, phone.ErrNoText):
		key = "phone.error_no_text"
	case err != nil:
		key = "phone.error_number"
	case !l.texts(n.Region):
		key = "phone.error_country"
	}
	return cut(raw, 64), country, n, key
}

// askNumber is POST /login/phone.
func (l *Login) askNumber(w http.ResponseWriter, r *http.Request) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	if !p.admits(methodPhone) {
		return web.SeeOther(w, r, chooseURL(p))
	}
	raw, country, n, key := l.readNumber(r)
	d := &dialling{use: toSignIn, p: p, said: dialled{Number: n.E164, Region: n.Region, Remember: r.PostFormValue("remember") != ""}, reauth: p == nil && reauth(r)}
	if d.invite, err = l.invite(r); err != nil {
		return err
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.phonePage(w, r, p)
		page.FormErrors, page.Number, page.Remember = e, raw, d.said.Remember
		if country != "" {
			page.Country = country
		}
		return l.mux.Render(w, r, status, page)
	}
	if key != "" {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"number": key}})
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

// phoneRegistration is the policy for somebody whose number nobody has.
func (l *Login) phoneRegistration(p *pending, i *invited) string {
	if i != nil && i.admin { // nobody's number alone opens such an account (security.md F12)
		i = nil
	}
	return policyFor(stricter(l.phone.Registration, p), i)
}

// phoneMakes says whether that policy makes an account.
func (l *Login) phoneMakes(p *pending, i *invited) bool {
	return makesAnew(l.phoneRegistration(p, i))
}

// openHidden reads the sealed part of a code.
func (l *Login) openHidden(c *store.MailCode, h *hidden) error {
	plain, err := l.open(c.Sealed, sealedPhone+c.AttemptHash)
	if err != nil {
		return fmt.Errorf("login: code: %w", err)
	}
	return unmarshal(plain, h)
}
