package login

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// completing finds the identity that waits for what its upstream did not say.
func (l *Login) completing(r *http.Request) (handle string, a *arrival, err error) {
	p, err := l.pending(r)
	if err != nil {
		return "", nil, l.deadEnd(r, err)
	}
	handle = r.URL.Query().Get("join")
	row, a, err := l.waits(r, p, handle, store.AttemptComplete)
	if err != nil {
		return "", nil, err
	}
	a.use = func(ctx context.Context) error {
		_, err := l.store.UseAttempt(ctx, row.StateHash, row.BrowserHash)
		return err
	}
	return handle, a, nil
}

// showComplete is GET /login/complete.
func (l *Login) showComplete(w http.ResponseWriter, r *http.Request) error {
	handle, a, err := l.completing(r)
	if err != nil {
		return err
	}
	page := l.completePage(w, r, handle, a)
	page.Email = a.id.Email // an address the upstream does not vouch for is still a good guess
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) completePage(w http.ResponseWriter, r *http.Request, handle string, a *arrival) *templates.CompletePage {
	app := a.p.dress(w)
	return &templates.CompletePage{
		Base: l.mux.Base(w, r), Action: pathWith(completePath, a.p, query{"join": handle}), App: app, Provider: a.up.Label,
		AskName: nameless(a), CancelURL: chooseURL(a.p),
	}
}

// nameless says whether the upstream gave no name that could be told apart.
func nameless(a *arrival) bool {
	given, family := names(&a.id)
	return given == "" && family == ""
}

// complete is POST /login/complete.
func (l *Login) complete(w http.ResponseWriter, r *http.Request) error {
	handle, a, err := l.completing(r)
	if err != nil {
		return err
	}
	in := setupInput{
		givenName: strings.TrimSpace(r.PostFormValue("given_name")), familyName: strings.TrimSpace(r.PostFormValue("family_name")),
		email: strings.TrimSpace(r.PostFormValue("email")),
	}
	again := func(status int, e templates.FormErrors) error {
		page := l.completePage(w, r, handle, a)
		page.FormErrors, page.Email, page.GivenName, page.FamilyName = e, in.email, in.givenName, in.familyName
		return l.mux.Render(w, r, status, page)
	}
	fields := in.check()
	if len(fields) == 0 && mailDomain(in.email) == "" {
		fields["email"] = "profile.error_email"
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	// The answer tells whether an address is somebody's, so questions are counted like tries of a password (security.md F8).
	try := throttle.Attempt{Account: "complete:" + l.sessions.FlowBinding(r), IP: web.ClientIP(r.Context())}
	wait, err := l.limiter.Check(r.Context(), try)
	if err != nil {
		return wrap("completion", err)
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return again(http.StatusTooManyRequests, templates.FormErrors{Form: "error.too_many"})
	}
	a.completed, a.email = true, in.email
	if nameless(a) {
		a.given, a.family = in.givenName, in.familyName
	}
	s, err := l.settle(w, r, a)
	switch {
	case err != nil:
		return l.linkFailed(a.p, err)
	case s.taken:
		if err := l.limiter.Failed(r.Context(), try); err != nil {
			return wrap("completion", err)
		}
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"email": "complete.error_email"}})
	case s.page != nil:
		return s.page
	case s.owes:
		return web.SeeOther(w, r, withFlow(newPasswordPath, a.p.id()))
	case s.made == nil: // the world changed: the callback's other ways are open again
		return l.attemptOver(a.p, nil)
	}
	return l.goOn(w, r, s.made, a.p)
}

// recent is how old a sign-in may be that changes how somebody signs in (security.md C5).
const recent = 5 * time.Minute
