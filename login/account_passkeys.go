package login

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	passkeysPath     = "/account/passkeys"
	passkeyOfferPath = "/login/offer-passkey"

	notNow = 30 * 24 * time.Hour // until a passkey is suggested again
)

func (l *Login) mountAccountPasskeys(mux *web.Mux) {
	mux.Page("GET "+passkeysPath, web.SignedIn, l.accountPasskeys)
	mux.Page("POST "+passkeysPath, web.SignedIn, l.recentAt(passkeysPath, l.addPasskey))
	mux.Page("POST "+passkeysPath+"/options", web.SignedIn, l.recentAt(passkeysPath, l.askAddPasskey))
	mux.Page("POST "+passkeysPath+"/{id}/rename", web.SignedIn, l.recentAt(passkeysPath, l.renamePasskey))
	mux.Page("POST "+passkeysPath+"/{id}/remove", web.SignedIn, l.recentAt(passkeysPath, l.removePasskey))
	mux.Page("GET "+passkeyOfferPath, web.SignedIn, l.showPasskeyOffer)
	mux.Page("POST "+passkeyOfferPath, web.SignedIn, l.recentAt(passkeysPath, l.takePasskeyOffer))
	mux.Page("POST "+passkeyOfferPath+"/later", web.SignedIn, l.passkeyLater)
}

// sessionBinder binds a challenge to a session.
func sessionBinder(s *session.Session) string { return hashOf("session\x00" + s.ID) }

// accountPasskeys is GET /account/passkeys.
func (l *Login) accountPasskeys(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.passkeysPage(w, r, current)
	if err != nil {
		return wrap("passkeys", err)
	}
	if !page.Recent {
		l.sessions.KeepPlace(w, passkeysPath)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) passkeysPage(w http.ResponseWriter, r *http.Request, current *session.Session) (*templates.PasskeysPage, error) {
	ctx, u := r.Context(), &current.Live.User
	page := &templates.PasskeysPage{Base: l.mux.Base(w, r), ReauthURL: reauthURL, Action: passkeysPath, Options: passkeysPath + "/options"}
	f, err := l.store.Factors(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if page.Recent, err = l.isRecent(ctx, current); err != nil {
		return nil, err
	}
	if page.MayAdd, err = l.mayAddPasskey(ctx, current.Live); err != nil {
		return nil, err
	}
	page.MayAdd = page.MayAdd && len(f.List) < store.MaxFactors
	if page.NeedsCode, err = l.sessionNeedsCode(ctx, current); err != nil {
		return nil, err
	}
	must, err := l.mustHaveFactor(ctx, current.Live)
	if err != nil {
		return nil, err
	}
	ways, err := l.store.WaysIn(ctx, u.ID, l.WaysIn())
	if err != nil {
		return nil, err
	}
	for i := range f.List {
		c := &f.List[i]
		if c.Kind != store.CredPasskey {
			continue
		}
		d, err := c.Passkey()
		if err != nil {
			return nil, err
		}
		line := templates.PasskeyLine{ID: c.ID, Name: c.Label, Since: when(&page.Base, u, c.CreatedAt), LastUsed: when(&page.Base, u, c.LastUsedAt), Place: "device", Second: !d.Alone}
		switch {
		case d.Syncs && d.Synced:
			line.Place = "synced"
		case d.Syncs:
			line.Place = "syncs"
		}
		switch {
		case must && len(f.List) == 1:
			line.Kept = "security.kept"
		case d.Alone && ways == 1:
			line.Kept = "passkeys.kept_way"
		}
		page.Passkeys = append(page.Passkeys, line)
	}
	return page, nil
}

// passkeysFailed shows the page again with what went wrong.
func (l *Login) passkeysFailed(w http.ResponseWriter, r *http.Request, current *session.Session, status int, e templates.FormErrors) error {
	page, err := l.passkeysPage(w, r, current)
	if err != nil {
		return wrap("passkeys", err)
	}
	page.FormErrors, page.Name = e, strings.TrimSpace(r.PostFormValue("name"))
	return l.mux.Render(w, r, status, page)
}

// mayAddPasskey says whether a person may add one: it is a second factor too.
func (l *Login) mayAddPasskey(ctx context.Context, u *store.Live) (bool, error) {
	if !l.factors.adds(store.CredPasskey) {
		return false, nil
	}
	return l.mayAddFactor(ctx, u)
}

// askAddPasskey is POST /account/passkeys/options, of the page and of the offer after a sign-in.
func (l *Login) askAddPasskey(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	if may, err := l.mayAddPasskey(r.Context(), current.Live); err != nil {
		return wrap("passkey", err)
	} else if !may {
		return unavailable(accountPath)
	}
	return l.askNewPasskey(w, r, &current.Live.User, sessionBinder(current))
}

// addPasskey is POST /account/passkeys.
func (l *Login) addPasskey(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	return l.addedPasskey(w, r, current, passkeysPath, func(status int, e templates.FormErrors) error { return l.passkeysFailed(w, r, current, status, e) })
}

// addedPasskey adds the passkey that the browser made, and goes on to next.
func (l *Login) addedPasskey(w http.ResponseWriter, r *http.Request, current *session.Session, next string, again func(int, templates.FormErrors) error) error {
	if may, err := l.mayAddPasskey(r.Context(), current.Live); err != nil {
		return wrap("passkey", err)
	} else if !may {
		return unavailable(accountPath)
	}
	name := strings.TrimSpace(r.PostFormValue("name"))
	if !factorName(name) {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"name": "mfa.error_name"}})
	}
	needed, err := l.sessionNeedsCode(r.Context(), current)
	if err != nil {
		return wrap("passkey", err)
	}
	enrolment, key, err := l.readEnrolmentCode(r, current.UserID, needed)
	switch {
	case err != nil:
		return wrap("passkey", err)
	case key != "":
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"enrolment_code": key}})
	}
	c, amr, key, err := l.newPasskey(r, &current.Live.User, sessionBinder(current), name)
	switch {
	case err != nil:
		return wrap("passkey", err)
	case key != "":
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Form: key})
	}
	return l.addToAccount(w, r, current, next, amr, func(ctx context.Context, first bool) ([]string, error) {
		if err := l.spendEnrolmentCode(ctx, enrolment); err != nil {
			return nil, err
		}
		return l.addFactor(ctx, c, first)
	})
}

// renamePasskey is POST /account/passkeys/{id}/rename. One that is gone, or not theirs, is answered in the same way (security.md G6).
func (l *Login) renamePasskey(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	name := strings.TrimSpace(r.PostFormValue("name"))
	if !factorName(name) {
		return l.passkeysFailed(w, r, current, http.StatusUnprocessableEntity, templates.FormErrors{Form: "mfa.error_name"})
	}
	err := l.store.RenameFactor(r.Context(), current.UserID, r.PathValue("id"), name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("name of a passkey", err)
	}
	return web.SeeOther(w, r, passkeysPath)
}

// removePasskey is POST /account/passkeys/{id}/remove.
func (l *Login) removePasskey(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	err := l.dropFactor(r.Context(), current, r.PathValue("id"))
	switch key := keptKey(err); {
	case key != "":
		return l.passkeysFailed(w, r, current, http.StatusConflict, templates.FormErrors{Form: key})
	case err != nil:
		return wrap("end of a passkey", err)
	}
	return web.SeeOther(w, r, passkeysPath)
}

// dropFactor takes a factor from the person of a session, and tells them. store.ErrLastFactor: they must have one; store.ErrLastWayIn: it is a passkey, and
// they could not sign in without it; store.ErrLastAdmin. One that is gone, or never was theirs, is no error.
func (l *Login) dropFactor(ctx context.Context, current *session.Session, id string) error {
	must, err := l.mustHaveFactor(ctx, current.Live)
	if err != nil {
		return err
	}
	err = l.store.Tx(ctx, func(ctx context.Context) error {
		f, err := l.store.Factors(ctx, current.UserID)
		if err != nil {
			return err
		}
		what, alone := templates.FactorRemoved, false
		if i := slices.IndexFunc(f.List, func(c store.Credential) bool { return c.ID == id }); i >= 0 && f.List[i].Kind == store.CredPasskey {
			d, err := f.List[i].Passkey()
			if err != nil {
				return err
			}
			what, alone = templates.FactorPasskeyRemoved, d.Alone
		}
		if err := l.store.RemoveFactor(ctx, current.UserID, id, must); err != nil {
			return err
		}
		if alone && slices.Contains(l.WaysIn(), store.WayPasskey) { // the row of the person is locked: of two who take ways in, the second sees what the first left
			if ways, err := l.store.WaysIn(ctx, current.UserID, l.WaysIn()); err != nil {
				return err
			} else if ways == 0 {
				return store.ErrLastWayIn
			}
		}
		return l.factorNotice(ctx, current.UserID, templates.FactorMail{What: what})
	})
	if errors.Is(err, store.ErrNotFound) { // gone in another tab, or never theirs: the page shows what is
		return nil
	}
	return err
}

// keptKey says to a person why dropFactor left what is there, "" = another error, or none.
func keptKey(err error) string {
	switch {
	case errors.Is(err, store.ErrLastFactor):
		return "security.error_last"
	case errors.Is(err, store.ErrLastWayIn):
		return "passkeys.error_last_way"
	case errors.Is(err, store.ErrLastAdmin):
		return "passkeys.error_last_admin"
	}
	return ""
}

// laterMark is the marker of somebody who said "not now".
func laterMark(userID string) string {
	return hashOf("passkey later\x00" + userID)
}

// offersPasskey says whether to suggest a passkey to somebody who came in with a password a moment ago, from a browser whose script said that it can make
// one (the field passkeys).
func (l *Login) offersPasskey(r *http.Request, made *session.Session) (bool, error) {
	if l.passkeys == nil || !l.passkeys.Offer || made.Connector != methodPassword || reauth(r) || r.Method != http.MethodPost || r.PostFormValue("passkeys") != "1" {
		return false, nil
	}
	if has, err := l.hasPasskey(r.Context(), made.UserID); err != nil || has {
		return false, err
	}
	if needed, err := l.sessionNeedsCode(r.Context(), made); err != nil || needed { // who needs one does not have it at hand
		return false, err
	}
	if later, err := l.store.Marked(r.Context(), laterMark(made.UserID)); err != nil || later {
		return false, err
	}
	return l.mayAddPasskey(r.Context(), made.Live)
}

// showPasskeyOffer is GET /login/offer-passkey. Whoever comes back to it later goes on.
func (l *Login) showPasskeyOffer(w http.ResponseWriter, r *http.Request) error {
	p, current, err := l.offered(r)
	if err != nil {
		return err
	}
	recent, err := l.isRecent(r.Context(), current)
	if err != nil {
		return wrap("passkey", err)
	}
	may, err := l.mayAddPasskey(r.Context(), current.Live)
	if err != nil {
		return wrap("passkey", err)
	}
	if has, err := l.hasPasskey(r.Context(), current.UserID); err != nil {
		return wrap("passkey", err)
	} else if has || !recent || !may {
		return l.goOn(w, r, current, p)
	}
	page, err := l.passkeyOfferPage(w, r, p, current)
	if err != nil {
		return wrap("passkey", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// offered is the flow and the session of the offer. The error is for people.
func (l *Login) offered(r *http.Request) (*pending, *session.Session, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, nil, l.deadEnd(r, err)
	}
	current, ok := session.Current(r.Context())
	if !ok {
		return nil, nil, startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired"})
	}
	return p, current, nil
}

func (l *Login) passkeyOfferPage(w http.ResponseWriter, r *http.Request, p *pending, current *session.Session) (*templates.PasskeyOfferPage, error) {
	needsCode, err := l.sessionNeedsCode(r.Context(), current)
	app := p.dress(w) // "not now" may be the last step before the client
	return &templates.PasskeyOfferPage{Base: l.mux.Base(w, r), NeedsCode: needsCode, Action: pathWith(passkeyOfferPath, p, nil), Options: passkeysPath + "/options",
		LaterURL: pathWith(passkeyOfferPath+"/later", p, nil), App: app}, err
}

// takePasskeyOffer is POST /login/offer-passkey.
func (l *Login) takePasskeyOffer(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	// The page of second factors sends on whoever has shown one.
	return l.addedPasskey(w, r, current, owedURL(r, factorPath, p), func(status int, e templates.FormErrors) error {
		page, err := l.passkeyOfferPage(w, r, p, current)
		if err != nil {
			return wrap("passkey", err)
		}
		page.FormErrors, page.Name = e, strings.TrimSpace(r.PostFormValue("name"))
		return l.mux.Render(w, r, status, page)
	})
}

// passkeyLater is POST /login/offer-passkey/later.
func (l *Login) passkeyLater(w http.ResponseWriter, r *http.Request) error {
	p, current, err := l.offered(r)
	if err != nil {
		return err
	}
	if _, err := l.store.Mark(r.Context(), laterMark(current.UserID), l.now().Add(notNow)); err != nil {
		return wrap("passkey", err)
	}
	return l.goOn(w, r, current, p)
}
