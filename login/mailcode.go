package login

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	codeLife  = 5 * time.Minute // of a code by mail (security.md F10); less where the attempt or the flow ends sooner
	codeTries = 5               // of one code (security.md F10)
	codeSends = 5               // mails of one attempt
	codeWait  = time.Minute     // until the next mail to the same address
)

// typed is the sealed part of a code's row: what the person said.
type typed struct {
	Email  string `json:"e"`
	Given  string `json:"g,omitempty"`
	Family string `json:"f,omitempty"`
	PHC    string `json:"p,omitempty"` // of the password they chose
}

const sealedCode = "mail_codes.sealed." // and the attempt's hash

func (l *Login) codeHash(attempt, code string) string {
	return hashCode(l.codeKey, "mail", attempt, code)
}

// sending is what became of the wish for a mail; the zero value is one that was sent.
type sending struct {
	noMore    bool          // mails of this attempt
	early     time.Duration // the last one to this address is so young; nothing was sent
	throttled time.Duration // the address or the network had too many
}

// coded is a request to the page of a code that was mailed: what waits for it, where its pages are, and what its proof leads to.
type coded struct {
	row *store.Attempt // nil = nothing was asked for yet
	p   *pending
	// Addresses of its pages; no cancel = "".
	code, resend, change, cancel string
	// opens: the code opens the account that has the address. Otherwise it proves an address that nobody else has.
	opens  bool
	hidden bool   // whoever enters the code may not know the address
	own    string // the account that may have the address and prove it all the same, "" = none
	proven func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error
}

// mailCode mails a code to the address, or to its owner the word that somebody typed it. Both ways ask the database and the limits the same,
// write the same rows and end at the same page: only the mailbox tells them apart (security.md F8).
func (l *Login) mailCode(w http.ResponseWriter, r *http.Request, c *coded, said typed) (sending, error) {
	ctx := r.Context()
	old, before, err := l.mailedCode(ctx, c.row)
	if err != nil {
		return sending{}, err
	}
	if old != nil {
		switch wait := old.SentAt.Add(codeWait).Sub(l.now()); {
		case sameAddress(before.Email, said.Email) && wait > 0:
			return sending{early: wait}, nil
		case old.Sends >= codeSends:
			return sending{noMore: true}, nil
		}
	}
	wait, err := l.limiter.Message(ctx, throttle.Attempt{Account: "mail:" + mailbox(said.Email), IP: web.ClientIP(ctx)})
	if err != nil || wait > 0 {
		return sending{throttled: wait}, err
	}
	return sending{}, l.sendCode(w, r, c, old, said)
}

// sendCode is mailCode for a mail that was found to be in order; old is the code before it, nil for none.
func (l *Login) sendCode(w http.ResponseWriter, r *http.Request, c *coded, old *store.MailCode, said typed) error {
	ctx, now := r.Context(), l.now()
	row := &store.MailCode{AttemptHash: c.row.StateHash, Sends: 1, SentAt: store.At(now), ExpiresAt: c.codeEnd(now)}
	if old != nil {
		row.Sends = old.Sends + 1
	}
	plain, err := json.Marshal(said)
	if err != nil {
		return err
	}
	row.Sealed = l.seal(plain, sealedCode+row.AttemptHash)
	web.UILocales(w, c.p.param("ui_locales"))
	holder, err := l.store.UserByLogin(ctx, said.Email)
	if errors.Is(err, store.ErrNotFound) {
		holder = &store.User{}
	} else if err != nil {
		return err
	}
	code := randomDigits(6)
	row.CodeHash = l.codeHash(row.AttemptHash, code)
	dead := l.codeHash(row.AttemptHash, newSecret()) // of what nobody can type
	to := said.Email
	var mail templates.Mail = templates.CodeMail{Code: code, Minutes: minutes(row.ExpiresAt.Sub(now)), SignIn: c.opens}
	switch {
	case c.opens && !l.opensByMail(holder):
		row.CodeHash, to = dead, ""
	case c.opens:
		to = holder.Email
	case holder.ID != "" && holder.ID != c.own:
		row.CodeHash, to, mail = dead, holder.Email, templates.TakenMail{AccountPath: l.waysPath()}
	}
	message, err := l.letter(to, cmp.Or(holder.Locale, l.mux.Base(w, r).Lang), mail, row.ExpiresAt.Time)
	if err != nil {
		return err
	}
	message.DedupeKey = fmt.Sprintf("code:%s:%d", row.AttemptHash, row.Sends)
	err = l.store.Tx(ctx, func(ctx context.Context) error {
		if err := l.store.PutMailCode(ctx, row); err != nil {
			return err
		}
		if err := l.store.Enqueue(ctx, message); err != nil {
			return err
		}
		return l.record(ctx, "email_asked", holder.ID, c.p.clientID(), map[string]any{"mails": row.Sends})
	})
	if errors.Is(err, store.ErrConflict) {
		return nil // another tab asked for the same at the same time, and its mail is on its way
	}
	return err
}

// mailFirst begins an attempt, mails its first code and leads to the page that asks for it, of which of knows the rest. again shows the page before.
func (l *Login) mailFirst(w http.ResponseWriter, r *http.Request, p *pending, a store.Attempt, of func(*http.Request, *pending, string, *store.Attempt) *coded, said typed, again func(int, templates.FormErrors) error) error {
	handle, row, err := l.beginCode(w, r, p, a)
	if err != nil {
		return err
	}
	c := of(r, p, handle, row)
	sent, err := l.mailCode(w, r, c, said)
	switch {
	case err != nil:
		return wrap("mail with a code", err)
	case sent.throttled > 0:
		retryAfter(w, sent.throttled)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	return web.SeeOther(w, r, c.code)
}

// beginCode keeps an attempt whose codes go by mail, for this browser and flow.
func (l *Login) beginCode(w http.ResponseWriter, r *http.Request, p *pending, a store.Attempt) (handle string, row *store.Attempt, err error) {
	handle, a.FlowHash = newSecret(), p.hash()
	l.sessions.FlowCookie(w, r)
	browser := l.sessions.FlowBinding(r)
	if err = l.begun(r.Context(), handle, browser, a, struct{}{}); err == nil {
		row, err = l.store.Attempt(r.Context(), hashOf(handle), browser)
	}
	return handle, row, wrap("an attempt", err)
}

// waysPath is where an account's ways to sign in are connected.
func (l *Login) waysPath() string {
	if len(l.upstreams) > 0 {
		return connectionsPath
	}
	return accountPath
}

// codeEnd is when a code of this moment ends: nothing goes on after its attempt and its flow.
func (c *coded) codeEnd(now time.Time) store.Time {
	end := now.Add(codeLife)
	if c.row.ExpiresAt.Before(end) {
		end = c.row.ExpiresAt.Time
	}
	return endOfCode(end, c.p)
}

// useCode uses a code up with what waited for it, in the transaction of what it proves.
func (l *Login) useCode(ctx context.Context, c *coded, code *store.MailCode) error {
	if err := l.store.UseMailCode(ctx, code); err != nil {
		return err
	}
	_, err := l.store.UseAttempt(ctx, c.row.StateHash, c.row.BrowserHash)
	return err
}

// mailedCode returns the code of the newest mail and what was typed for it, nil before the first.
func (l *Login) mailedCode(ctx context.Context, attempt *store.Attempt) (*store.MailCode, typed, error) {
	var said typed
	if attempt == nil {
		return nil, said, nil
	}
	row, err := l.store.MailCode(ctx, attempt.StateHash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, said, nil
	case err != nil:
		return nil, said, err
	}
	plain, err := l.open(row.Sealed, sealedCode+row.AttemptHash)
	if err != nil {
		return nil, said, fmt.Errorf("login: code: %w", err)
	}
	return row, said, json.Unmarshal(plain, &said)
}

func sameAddress(a, b string) bool {
	x, err := store.EmailKey(a)
	y, err2 := store.EmailKey(b)
	return err == nil && err2 == nil && x == y
}

// mailbox is what limits count by: an address without what its owner may vary after a plus sign.
func mailbox(email string) string {
	key, err := store.EmailKey(email)
	if err != nil {
		return email
	}
	at := strings.LastIndexByte(key, '@')
	local, _, _ := strings.Cut(key[:at], "+")
	return local + key[at:]
}

func (l *Login) codePage(w http.ResponseWriter, r *http.Request, c *coded, row *store.MailCode, said typed) *templates.CodePage {
	app := c.p.dress(w)
	page := &templates.CodePage{
		Base: l.mux.Base(w, r), Action: c.code, ResendURL: c.resend, App: app, Address: said.Email, SignIn: c.opens,
		NoMore: row.Sends >= codeSends, ChangeURL: c.change, CancelURL: c.cancel,
	}
	if c.hidden {
		page.Address, page.ChangeURL = "", ""
	}
	return page
}

// showCode is the page that asks for the code.
func (l *Login) showCode(w http.ResponseWriter, r *http.Request, c *coded) error {
	row, said, err := l.mailedCode(r.Context(), c.row)
	switch {
	case err != nil:
		return wrap("code", err)
	case row == nil:
		return web.SeeOther(w, r, c.change)
	}
	return l.mux.Render(w, r, http.StatusOK, l.codePage(w, r, c, row, said))
}

// resendCode mails another code, and the one before is dead.
func (l *Login) resendCode(w http.ResponseWriter, r *http.Request, c *coded) error {
	row, said, err := l.mailedCode(r.Context(), c.row)
	switch {
	case err != nil:
		return wrap("code", err)
	case row == nil:
		return web.SeeOther(w, r, c.change)
	}
	sent, err := l.mailCode(w, r, c, said)
	again := func(wait time.Duration, e templates.FormErrors) error {
		if wait > 0 {
			retryAfter(w, wait)
		}
		page := l.codePage(w, r, c, row, said)
		page.FormErrors = e
		return l.mux.Render(w, r, http.StatusTooManyRequests, page)
	}
	switch {
	case err != nil:
		return wrap("mail with a code", err)
	case sent.early > 0:
		return again(sent.early, templates.FormErrors{Form: "code.error_wait", Args: map[string]any{"Seconds": int(math.Ceil(sent.early.Seconds()))}})
	case sent.throttled > 0:
		return again(sent.throttled, templates.FormErrors{Form: "error.too_many"})
	case sent.noMore:
		return again(0, templates.FormErrors{Form: "code.no_more"})
	}
	return web.SeeOther(w, r, c.code)
}

// enterCode takes the code.
func (l *Login) enterCode(w http.ResponseWriter, r *http.Request, c *coded) error {
	ctx := r.Context()
	row, said, err := l.mailedCode(ctx, c.row)
	switch {
	case err != nil:
		return wrap("code", err)
	case row == nil:
		return web.SeeOther(w, r, c.change)
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.codePage(w, r, c, row, said)
		page.FormErrors = e
		return l.mux.Render(w, r, status, page)
	}
	wrong := func(key string) error {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"code": key}})
	}
	code := typedCode(r.PostFormValue("code"))
	if code == "" {
		return wrong("code.error_required")
	}
	// Each code has its tries, and the address has them over all codes and attempts (security.md F10); both are paid before the comparison.
	try := throttle.Attempt{Account: "code:" + mailbox(said.Email), IP: web.ClientIP(ctx)}
	wait, err := l.limiter.Check(ctx, try)
	switch {
	case err != nil:
		return wrap("code", err)
	case wait > 0:
		retryAfter(w, wait)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	if err := l.store.TryMailCode(ctx, row, codeTries); errors.Is(err, store.ErrExpired) {
		return wrong("code.error_over")
	} else if err != nil {
		return wrap("code", err)
	}
	if !hmac.Equal([]byte(l.codeHash(row.AttemptHash, code)), []byte(row.CodeHash)) {
		if err := l.limiter.Failed(ctx, try); err != nil {
			return wrap("code", err)
		}
		return wrong("code.error_wrong")
	}
	if err := l.limiter.Succeeded(ctx, try); err != nil {
		return wrap("code", err)
	}
	return c.proven(w, r, row, said)
}

// typedCode takes out what people and mail programs put between the digits. What is no code at all stays, and is wrong.
func typedCode(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '\u00a0' || r == '\t' {
			return -1
		}
		return r
	}, cut(strings.TrimSpace(s), 64))
}
