package login

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// accountPhone is GET /account/phone: the number somebody can sign in with, and the form for another.
func (l *Login) accountPhone(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.accountPhonePage(w, r, current)
	if err != nil {
		return wrap("number of an account", err)
	}
	switch r.URL.Query().Get("done") {
	case "saved":
		page.Notice = "phone.saved"
	case "removed":
		page.Notice = "phone.removed"
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) accountPhonePage(w http.ResponseWriter, r *http.Request, current *session.Session) (*templates.PhonePage, error) {
	ctx, u := r.Context(), &current.Live.User
	page := &templates.PhonePage{Base: l.mux.Base(w, r), Action: accountPhonePath, Account: true, CancelURL: accountPath}
	l.fillCountries(page)
	recent, err := l.isRecent(ctx, current)
	if err != nil {
		return nil, err
	}
	if !recent {
		l.sessions.KeepPlace(w, accountPhonePath)
		page.ReauthURL = reauthURL
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	page.AdminNote = model.Administers(current.Live, store.At(l.now()))
	if u.Phone == "" {
		return page, nil
	}
	proven, err := l.store.PhoneProof(ctx, u)
	if err != nil {
		return nil, err
	}
	page.Current, page.Proven = phone.Pretty(u.Phone), when(&page.Base, u, proven.ProvenAt)
	ways, err := l.store.WaysIn(ctx, u.ID, slices.DeleteFunc(l.WaysIn(), func(way string) bool { return way == store.WayPhone }))
	if err != nil {
		return nil, err
	}
	if page.LastWay = ways == 0; !page.LastWay {
		page.RemoveURL = accountPhonePath + "/remove"
	}
	return page, nil
}

// askAccountNumber is POST /account/phone: a code goes to the number, whoever has it now.
func (l *Login) askAccountNumber(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	// Whoever finds a session left open does not choose who may sign in later (security.md C11).
	if ok, err := l.Confirmed(w, r, accountPhonePath); err != nil || !ok {
		return err
	}
	raw, country, n, key := l.readNumber(r)
	again := func(status int, e templates.FormErrors) error {
		page, err := l.accountPhonePage(w, r, current)
		if err != nil {
			return wrap("number of an account", err)
		}
		page.FormErrors, page.Number = e, raw
		if country != "" {
			page.Country = country
		}
		return l.mux.Render(w, r, status, page)
	}
	if key == "" {
		var err error
		if key, err = l.mayChangeNumber(r.Context(), &current.Live.User, n.E164); err != nil {
			return wrap("number of an account", err)
		}
	}
	if key != "" {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"number": key}})
	}
	d := &dialling{use: toHave, said: dialled{Number: n.E164, Region: n.Region}, current: current}
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

// mayChangeNumber says why a person cannot have another number now, "" = they can. The one they have may always be proven anew.
func (l *Login) mayChangeNumber(ctx context.Context, u *store.User, number string) (key string, err error) {
	if u.Phone == number {
		return "", nil
	}
	proven, err := l.store.PhoneProof(ctx, u)
	if err != nil {
		return "", err
	}
	if u.Phone != "" && !proven.ChangedAt.IsZero() && l.now().Sub(proven.ChangedAt.Time) < l.phone.Cooldown {
		return "phone.error_cooldown", nil
	}
	return "", nil
}

// errCooldown: the number was changed in another tab meanwhile.
var errCooldown = errors.New("login: the number was changed a short while ago")

// takeNumber puts the number whose code was right on the account of who is signed in, and tells everybody who should know: the number before, the
// address, and the account that had it until now (security.md F12).
func (l *Login) takeNumber(w http.ResponseWriter, r *http.Request, d *dialling) error {
	id, lang := d.current.UserID, l.mux.Base(w, r).Lang
	once := func(ctx context.Context) error {
		if err := l.usePhoneCode(ctx, d); err != nil {
			return err
		}
		u, err := l.store.User(ctx, id)
		if err != nil {
			return err
		}
		if key, err := l.mayChangeNumber(ctx, u, d.said.Number); err != nil {
			return err
		} else if key != "" {
			return errCooldown
		}
		before, from, err := l.store.SetPhone(ctx, id, id, d.said.Number)
		if err != nil {
			return err
		}
		if from != "" {
			other, err := l.store.User(ctx, from)
			if err != nil {
				return err
			}
			if err := l.phoneLost(ctx, other); err != nil {
				return err
			}
		}
		if before == d.said.Number {
			return l.record(ctx, "phone_proven", id, "", map[string]any{})
		}
		return l.phoneChanged(ctx, u, before, "set", lang, d.current.ID)
	}
	var err error
	for try := 0; ; try++ {
		if err = l.store.Tx(r.Context(), once); !errors.Is(err, store.ErrConflict) || try == 3 {
			break
		}
	}
	switch {
	case errors.Is(err, errCooldown):
		return web.SeeOther(w, r, accountPhonePath)
	case err != nil:
		return l.linkFailed(nil, err)
	}
	return web.SeeOther(w, r, accountPhonePath+"?done=saved")
}

// phoneChanged ends what came in by the number before, and tells the number and the address.
func (l *Login) phoneChanged(ctx context.Context, u *store.User, before, change, lang, keep string) error {
	if err := l.endPhoneSessions(ctx, u.ID, keep, "the number changed"); err != nil {
		return err
	}
	if err := l.mailPhone(ctx, u, change); err != nil {
		return err
	}
	if before != "" {
		if err := l.noticeNumber(ctx, before, lang); err != nil {
			return err
		}
	}
	return l.record(ctx, "phone_"+change, u.ID, "", map[string]any{})
}

// noticeNumber tells a number that it is no longer the account's. It costs like any message, and what the limits have no room for is left out: the
// change does not hang on it.
func (l *Login) noticeNumber(ctx context.Context, number, lang string) error {
	region := phone.Region(number)
	if s, err := l.store.Switch(ctx, store.SwitchSMS); err != nil || !s.OffAt.IsZero() {
		return err
	}
	if l.phone.Twilio != nil {
		if ok, _ := l.phone.Twilio.Serves(region); !ok {
			return nil
		}
	}
	return l.enqueueNotice(ctx, number, region, l.templates.NumberRemoved(lang))
}

func (l *Login) enqueueNotice(ctx context.Context, number, region, text string) error {
	a, err := l.limiter.Allow(ctx, l.phone.Limits, throttle.Text{Number: "notice:" + number, Prefix: phone.Prefix(number), Country: region, IP: web.ClientIP(ctx)})
	if err != nil || a.Limit != "" {
		return err
	}
	return l.store.Enqueue(ctx, &store.Message{Kind: store.KindSMS, Recipient: number, Text: text, ExpiresAt: store.At(l.now().Add(noticeLife))})
}

// removePhone is POST /account/phone/remove. The last way in stays.
func (l *Login) removePhone(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if ok, err := l.Confirmed(w, r, accountPhonePath); err != nil || !ok {
		return err
	}
	lang := l.mux.Base(w, r).Lang
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		before, _, err := l.store.SetPhone(ctx, current.UserID, current.UserID, "")
		if err != nil || before == "" {
			return err
		}
		// The row above is locked: of two who take two ways in away, the second sees what the first left.
		ways, err := l.store.WaysIn(ctx, current.UserID, l.WaysIn())
		if err != nil {
			return err
		}
		if ways == 0 {
			return store.ErrLastWayIn
		}
		return l.phoneChanged(ctx, &current.Live.User, before, "removed", lang, current.ID)
	})
	switch {
	case errors.Is(err, store.ErrLastWayIn):
		page, err := l.accountPhonePage(w, r, current)
		if err != nil {
			return wrap("number of an account", err)
		}
		page.Notice = "phone.last_way"
		return l.mux.Render(w, r, http.StatusConflict, page)
	case err != nil:
		return wrap("number of an account", err)
	}
	return web.SeeOther(w, r, accountPhonePath+"?done=removed")
}
