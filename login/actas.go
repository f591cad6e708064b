package login

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Acting for another person (R103): an authority is a link that the one hands to the other, so that no page here ever looks an account up by its
// address, or says whether there is one.
const (
	authoritiesPath = "/account/authorities"
	offerPrefix     = "/authority/" // and the link's token
	actPath         = "/account/act"
	stopActingPath  = "/account/act/stop"
	personPrefix    = "/admin/users/" // and an id: where administrators begin to act for somebody

	offerLife = 24 * time.Hour // of a link that nobody took
)

// authorityDays are the lives to choose from; the first is what the form proposes.
var authorityDays = []int{7, 1, 30, 90, 365}

func (l *Login) mountActing(mux *web.Mux) {
	mux.Page("GET "+authoritiesPath, web.SignedIn, l.authorities)
	mux.Page("POST "+authoritiesPath, web.SignedIn, l.offerAuthority)
	mux.Page("POST "+authoritiesPath+"/end", web.SignedIn, l.endAuthority)
	mux.Page("GET "+offerPrefix+"{token}", web.SignedIn, l.showOffer)
	mux.Page("POST "+offerPrefix+"{token}", web.SignedIn, l.takeOffer)
	mux.Page("POST "+actPath, web.SignedIn, l.act)
	mux.Page("POST "+stopActingPath, web.SignedIn, l.stopActing, web.WhileActing)
}

// authorities is GET /account/authorities: who may act for the person, and for whom they may.
func (l *Login) authorities(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.authoritiesPage(w, r, current)
	if err != nil {
		return wrap("authorities", err)
	}
	if !page.Recent {
		l.sessions.KeepPlace(w, authoritiesPath)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) authoritiesPage(w http.ResponseWriter, r *http.Request, current *session.Session) (*templates.AuthoritiesPage, error) {
	ctx, u := r.Context(), &current.Live.User
	page := &templates.AuthoritiesPage{Base: l.mux.Base(w, r), ReauthURL: reauthURL}
	var err error
	if page.Recent, err = l.isRecent(ctx, current); err != nil {
		return nil, err
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	page.ReadOnly = model.ReadOnly(u)
	clients, err := l.store.ActingClients(ctx)
	if err != nil {
		return nil, err
	}
	for i := range clients {
		page.Clients = append(page.Clients, templates.Choice{Value: clients[i].ID, Label: appOf(&clients[i]).Name})
	}
	for _, days := range authorityDays {
		page.Lives = append(page.Lives, templates.Choice{Value: strconv.Itoa(days), Label: page.T("acting.days", "Count", days), Current: days == authorityDays[0]})
	}
	given, err := l.store.AuthoritiesGiven(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	taken, err := l.store.AuthoritiesTaken(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range given {
		line, err := l.authorityLine(ctx, &page.Base, u, &a, a.Grantee)
		if err != nil {
			return nil, err
		}
		page.Given = append(page.Given, line)
	}
	for _, a := range taken {
		line, err := l.authorityLine(ctx, &page.Base, u, &a, a.Grantor)
		if err != nil {
			return nil, err
		}
		page.Taken = append(page.Taken, line)
	}
	return page, nil
}

// authorityLine is an authority in words; other is whom the reader has it with, "" = nobody yet.
func (l *Login) authorityLine(ctx context.Context, b *templates.Base, u *store.User, a *store.Authority, other string) (templates.AuthorityLine, error) {
	line := templates.AuthorityLine{ID: a.ID, Reason: a.Reason, Until: when(b, u, a.Until)}
	if a.ClientID != "" {
		app, err := l.app(ctx, a.ClientID)
		if err != nil {
			return line, err
		}
		line.App = app.Name
	}
	if other == "" {
		line.LinkUntil = when(b, u, a.LinkUntil)
		return line, nil
	}
	person, err := l.store.User(ctx, other)
	if err != nil {
		return line, err
	}
	line.Person = person.Name()
	return line, nil
}

// offerInput is what the form may bring, and nothing else (security.md G7).
type offerInput struct {
	client, reason string
	days           int
}

func readOffer(r *http.Request) (in offerInput, fields map[string]string) {
	in = offerInput{client: r.PostFormValue("client_id"), reason: strings.TrimSpace(r.PostFormValue("reason"))}
	days, err := strconv.Atoi(r.PostFormValue("days"))
	if in.days = days; err != nil || !slices.Contains(authorityDays, days) {
		fields = map[string]string{"days": "acting.error_days"}
	}
	return in, fields
}

// offerAuthority is POST /account/authorities: the answer shows the link, once.
func (l *Login) offerAuthority(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if ok, err := l.Confirmed(w, r, authoritiesPath); err != nil || !ok {
		return err
	}
	in, fields := readOffer(r)
	token, problem := newSecret(), ""
	if len(fields) == 0 {
		now := l.now()
		a := &store.Authority{ClientID: in.client, Reason: in.reason, LinkHash: hashOf(token),
			LinkUntil: store.At(now.Add(offerLife)), Until: store.At(now.AddDate(0, 0, in.days))}
		err := l.store.OfferAuthority(r.Context(), current.UserID, a)
		var bad *store.FieldError
		switch {
		case errors.As(err, &bad) && bad.Field == "authorities":
			problem = "acting.error_many"
		case errors.As(err, &bad) && bad.Field == "client_id":
			fields = map[string]string{"client_id": "acting.error_client"}
		case errors.As(err, &bad) && bad.Field == "reason":
			fields = map[string]string{"reason": "acting.error_reason"}
		case errors.Is(err, store.ErrForbidden):
			return &web.Error{Status: http.StatusForbidden, Err: err}
		case err != nil:
			return wrap("offer of an authority", err)
		}
	}
	page, err := l.authoritiesPage(w, r, current)
	if err != nil {
		return wrap("authorities", err)
	}
	if page.Form, page.Fields = problem, fields; page.Failed() {
		page.Reason = in.reason
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	// The issuer is configuration: a Host header never gets into a link (security.md F15).
	page.Link = l.issuer + offerPrefix + token
	return l.mux.Render(w, r, http.StatusOK, page)
}

// endAuthority is POST /account/authorities/end. One that is gone, or not theirs, is answered in the same way (security.md G6).
func (l *Login) endAuthority(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	err := l.store.EndAuthority(r.Context(), current.UserID, r.PostFormValue("id"))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("end of an authority", err)
	}
	return web.SeeOther(w, r, authoritiesPath)
}

// showOffer is GET /authority/{token}: who offers what. It takes nothing, so a mail scanner or a reload does no harm.
func (l *Login) showOffer(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	token := r.PathValue("token")
	a, err := l.store.OfferedAuthority(r.Context(), hashOf(token))
	if err != nil {
		return offerError(err)
	}
	page := &templates.AuthorityPage{Base: l.mux.Base(w, r), Action: offerPrefix + url.PathEscape(token), CancelURL: accountPath}
	line, err := l.authorityLine(r.Context(), &page.Base, &current.Live.User, a, a.Grantor)
	if err != nil {
		return wrap("offer of an authority", err)
	}
	page.Line, page.Own = line, a.Grantor == current.UserID
	return l.mux.Render(w, r, http.StatusOK, page)
}

// takeOffer is POST /authority/{token}.
func (l *Login) takeOffer(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		a, err := l.store.TakeAuthority(ctx, current.UserID, hashOf(r.PathValue("token")))
		if err != nil {
			return err
		}
		return l.tellTaken(ctx, a, &current.Live.User)
	})
	if err != nil {
		return offerError(err)
	}
	return web.SeeOther(w, r, authoritiesPath)
}

// offerError says on a page what became of a link; of one that is over, whoever opened it learns nothing more.
func offerError(err error) error {
	page := func(status int, key, code string) error {
		return &web.Error{Status: status, Key: key, Code: code, Err: err}
	}
	switch {
	case errors.Is(err, store.ErrUsed):
		return page(http.StatusGone, "error.authority_used", "authority_used")
	case errors.Is(err, store.ErrExpired):
		return page(http.StatusGone, "error.authority_expired", "authority_expired")
	case errors.Is(err, store.ErrNotFound):
		return page(http.StatusNotFound, "error.authority_unknown", "authority_unknown")
	case errors.Is(err, store.ErrForbidden):
		return page(http.StatusForbidden, "", "")
	}
	return wrap("authority", err)
}

// act is POST /account/act: the person begins to act, by one of their authorities, or, an administrator, for anybody (user, reason). Whether they
// may is one answer, whatever the reason.
func (l *Login) act(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	want, from := store.Act{Authority: r.PostFormValue("authority")}, accountPath
	var then func(context.Context, *session.Session) error
	if want.Authority == "" {
		want.UserID, want.Reason = r.PostFormValue("user"), strings.TrimSpace(r.PostFormValue("reason"))
		from = personPrefix + url.PathEscape(want.UserID)
		// A power over others wants a recent sign-in (security.md C11).
		if ok, err := l.Confirmed(w, r, from); err != nil || !ok {
			return err
		}
		if err := l.allowActAs(r.Context()); err != nil {
			return err
		}
		then = func(ctx context.Context, made *session.Session) error { return l.tellActedFor(ctx, made, want.Reason) }
	}
	_, err := l.sessions.Act(w, r, current, want, then)
	switch {
	case errors.Is(err, store.ErrForbidden):
		return refuseActing(err)
	case errors.Is(err, store.ErrInvalid):
		return &web.Error{Status: http.StatusUnprocessableEntity, Key: "error.act_reason", Err: err, RestartURL: from}
	case errors.Is(err, store.ErrUsed):
		return &web.Error{Status: http.StatusConflict, Key: "error.act_twice", Code: "conflict", Err: err, RestartURL: accountPath}
	case err != nil:
		return wrap("acting", err)
	}
	return web.SeeOther(w, r, accountPath)
}

// allowActAs asks whether the person of this request may act for others by the permission at all. Whom, the store says.
func (l *Login) allowActAs(ctx context.Context) error {
	if l.mayActAs == nil {
		return nil
	}
	err := l.mayActAs(ctx)
	var refused *web.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return refuseActing(err)
	}
	return wrap("acting", err)
}

func refuseActing(err error) error {
	return &web.Error{Status: http.StatusForbidden, Key: "error.act_refused", Err: err}
}

// stopActing is POST /account/act/stop: back to oneself, and on with the flow there may be.
func (l *Login) stopActing(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	p, err := l.pending(r)
	if err != nil {
		p = nil // the flow is over; the person goes back to themselves all the same
	}
	if current.Acting() {
		made, err := l.sessions.StopActing(w, r, current)
		if errors.Is(err, store.ErrUsed) {
			return &web.Error{Status: http.StatusConflict, Key: "error.act_twice", Code: "conflict", Err: err, RestartURL: accountPath}
		} else if err != nil {
			return wrap("end of acting", err)
		}
		current = made
	}
	if p == nil {
		return web.SeeOther(w, r, accountPath)
	}
	return l.done(w, r.WithContext(session.With(r.Context(), current)), p.handle)
}
