package login

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// asks says whether people who come for c must have an address: c requires one, and a code can be mailed to prove it.
func (l *Login) asks(c *store.Client) bool { return l.codeKey != nil && c.Metadata.RequireEmail }

// Owes is the page where u, who is signed in, must go before c gets an answer: provider.Config.Owes. It is "" for none, and expects the
// parameter flow.
func (l *Login) Owes(c *store.Client, u *store.User) string {
	if u.Email == "" && l.asks(c) {
		return completePath
	}
	return ""
}

// lack is a request to the pages where somebody gives an address and proves it. Either their identity came from an upstream and waits, or
// they are signed in and their account has no address.
type lack struct {
	p       *pending
	handle  string           // "" = signed in, and nothing was sent yet
	row     *store.Attempt   // nil with it
	a       *arrival         // nil = signed in
	current *session.Session // nil = not yet
}

// lacking finds who the page is for. Somebody who owes nothing (any more) goes on.
func (l *Login) lacking(then func(http.ResponseWriter, *http.Request, *lack) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := l.pending(r)
		if err != nil {
			return l.deadEnd(r, err)
		}
		q := &lack{p: p, handle: r.URL.Query().Get("join")}
		if q.handle != "" {
			if q.row, err = l.attempt(r, p, q.handle, store.AttemptComplete, store.AttemptAddress); err != nil {
				return err
			}
			if q.row.Purpose == store.AttemptComplete {
				if q.a, err = l.waiting(q.row, p); err != nil {
					return err
				}
				return then(w, r, q)
			}
		}
		current, ok := session.Current(r.Context())
		switch {
		case p == nil, q.row != nil && (!ok || current.UserID != q.row.UserID): // security.md C5: for one person only
			return l.attemptOver(p, nil)
		case !ok:
			return web.SeeOther(w, r, chooseURL(p))
		case l.Owes(p.client, &current.Live.User) == "":
			return l.goOn(w, r, current, p)
		}
		if q.row == nil {
			// An address may one day recover the account, so a session that was left open does not choose it (security.md C5).
			switch ok, err := l.isRecent(r.Context(), current); {
			case err != nil:
				return wrap("recent sign-in", err)
			case !ok:
				return web.SeeOther(w, r, chooseURL(p))
			}
		}
		q.current = current
		return then(w, r, q)
	}
}

// showComplete is GET /login/complete.
func (l *Login) showComplete(w http.ResponseWriter, r *http.Request, q *lack) error {
	page := l.completePage(w, r, q)
	if q.a != nil {
		page.Email = q.a.id.Email // an address the upstream does not vouch for is still a good guess
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) completePage(w http.ResponseWriter, r *http.Request, q *lack) *templates.CompletePage {
	app := q.p.dress(w)
	page := &templates.CompletePage{Base: l.mux.Base(w, r), Action: q.path(completePath), App: app}
	if q.a != nil {
		page.Provider, page.AskName, page.CancelURL = q.a.up.Label, nameless(q.a), chooseURL(q.p)
		page.Reported = q.a.id.Email != ""
	}
	return page
}

// path is one of the pages with what finds this lack again.
func (q *lack) path(path string) string { return pathWith(path, q.p, query{"join": q.handle}) }

// coding is lacking for the pages of the code.
func (l *Login) coding(then func(http.ResponseWriter, *http.Request, *coded) error) web.Handler {
	return l.lacking(func(w http.ResponseWriter, r *http.Request, q *lack) error { return then(w, r, l.codedOf(q)) })
}

func (l *Login) codedOf(q *lack) *coded {
	c := &coded{row: q.row, p: q.p, code: q.path(codePath), resend: q.path(resendPath), change: q.path(completePath)}
	if q.a != nil {
		c.cancel = chooseURL(q.p)
	}
	c.proven = func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error {
		return l.proven(w, r, q, c, code, said)
	}
	return c
}

// nameless says whether the upstream gave no name that could be told apart.
func nameless(a *arrival) bool {
	given, family := names(&a.id)
	return given == "" && family == ""
}

// complete is POST /login/complete: a mail goes to the address. Whether it is somebody's is told to nobody but its owner (security.md F8).
func (l *Login) complete(w http.ResponseWriter, r *http.Request, q *lack) error {
	in := setupInput{
		givenName: strings.TrimSpace(r.PostFormValue("given_name")), familyName: strings.TrimSpace(r.PostFormValue("family_name")),
		email: strings.TrimSpace(r.PostFormValue("email")),
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.completePage(w, r, q)
		page.FormErrors, page.Email, page.GivenName, page.FamilyName = e, in.email, in.givenName, in.familyName
		return l.mux.Render(w, r, status, page)
	}
	fields := in.check()
	if _, err := store.EmailKey(in.email); len(fields) == 0 && (err != nil || mailDomain(in.email) == "") {
		fields["email"] = "profile.error_email"
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	said := typed{Email: in.email}
	if q.a != nil && nameless(q.a) {
		said.Given, said.Family = in.givenName, in.familyName
	}
	if q.row == nil {
		if err := l.beginAddress(w, r, q); err != nil {
			return err
		}
	}
	sent, err := l.mailCode(w, r, l.codedOf(q), said)
	switch {
	case err != nil:
		return wrap("mail with a code", err)
	case sent.noMore:
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "code.no_more"})
	case sent.throttled > 0:
		retryAfter(w, sent.throttled)
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	return web.SeeOther(w, r, q.path(codePath)) // also when the same mail went out a moment ago
}

// beginAddress makes the attempt of somebody who is signed in.
func (l *Login) beginAddress(w http.ResponseWriter, r *http.Request, q *lack) (err error) {
	q.handle = newSecret()
	l.sessions.FlowCookie(w, r)
	err = l.begun(r.Context(), q.handle, l.sessions.FlowBinding(r),
		store.Attempt{Purpose: store.AttemptAddress, FlowHash: q.p.hash(), UserID: q.current.UserID}, struct{}{})
	if err != nil {
		return wrap("an attempt", err)
	}
	q.row, err = l.store.Attempt(r.Context(), hashOf(q.handle), l.sessions.FlowBinding(r))
	return wrap("an attempt", err)
}

func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// proven goes on with an address whose code was right.
func (l *Login) proven(w http.ResponseWriter, r *http.Request, q *lack, c *coded, code *store.MailCode, said typed) error {
	use := func(ctx context.Context) error { return l.useCode(ctx, c, code) }
	taken := func() error { // meanwhile; whoever reads the mailbox may know
		page := l.completePage(w, r, q)
		page.FormErrors = templates.FormErrors{Fields: map[string]string{"email": "complete.error_email"}}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	if q.a == nil {
		u, free, err := l.takeAddress(r.Context(), q, said.Email, use)
		switch {
		case err != nil:
			return l.linkFailed(q.p, err)
		case !free:
			return taken()
		}
		now := *q.current
		live := *now.Live
		live.User, now.Live = *u, &live // as the rest of this request sees them
		return l.goOn(w, r, &now, q.p)
	}
	a := q.a
	a.completed, a.email, a.given, a.family, a.use = true, said.Email, said.Given, said.Family, use
	s, err := l.settle(w, r, a)
	switch {
	case err != nil:
		return l.linkFailed(a.p, err)
	case s.taken:
		return taken()
	case s.page != nil:
		return s.page
	case s.owes != "":
		return toOwed(w, r, s.owes, a.p)
	case s.made == nil: // the world changed: the callback's other ways are open again
		return l.attemptOver(a.p, nil)
	}
	return l.goOn(w, r, s.made, a.p)
}

// takeAddress gives a proven address to the account of who is signed in, unless that has one by now, or it became somebody's.
func (l *Login) takeAddress(ctx context.Context, q *lack, email string, use func(context.Context) error) (u *store.User, free bool, err error) {
	once := func(ctx context.Context) error {
		var err error
		if u, err = l.store.User(ctx, q.row.UserID); err != nil {
			return err
		}
		if free = u.Email != ""; free {
			return use(ctx)
		}
		switch _, err := l.store.UserByLogin(ctx, email); {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		free = true
		if err := use(ctx); err != nil {
			return err
		}
		u.Email, u.EmailVerifiedAt = email, store.At(l.now())
		if err := l.store.UpdateUser(ctx, u); err != nil {
			return err
		}
		if err := l.store.Audit(ctx, u.ID, "user.add_email", "user:"+u.ID, map[string]string{"evidence": evidenceMail}); err != nil {
			return err
		}
		return l.record(ctx, "email_proven", u.ID, q.p.clientID(), map[string]any{"method": evidenceMail})
	}
	for try := 0; ; try++ {
		err = l.store.Tx(ctx, once)
		if !errors.Is(err, store.ErrConflict) || try == 3 {
			return u, free, err
		}
	}
}

// recent is how old a sign-in may be that changes how somebody signs in (security.md C5).
const recent = 5 * time.Minute
