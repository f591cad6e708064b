package relying

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
)

// visit is what is known about the person behind one request.
type visit struct {
	by              any    // the Client or API that found out
	info            *Info  // nil: nobody is signed in
	token           *Token // of an API request
	access          string // access token to call APIs with
	err             error  // it cannot be known now; info is nil
	anonymousIsUser bool
}

type visitKey struct{}

// visitOf returns what by found out about the request, if it looked already.
func visitOf(ctx context.Context, by any) (*visit, bool) {
	v, ok := ctx.Value(visitKey{}).(*visit)
	return v, ok && v.by == by
}

// Refusal says why somebody was turned away who is known. Config.NoAccess gets it by [RefusalOf].
type Refusal struct {
	Needs    string // the rule that is not met, for people: "trainer or admin", "a and (b or c)"
	ReadOnly bool   // the account changes nothing, and the request would
}

type refusalKey struct{}

// RefusalOf returns why Config.NoAccess is called.
func RefusalOf(ctx context.Context) (Refusal, bool) {
	r, ok := ctx.Value(refusalKey{}).(Refusal)
	return r, ok
}

// gate is what a Client and an API have in common: a way to find out who is there, and a way to say no.
type gate interface {
	// admit answers the request itself unless somebody may be asked what they hold.
	admit(w http.ResponseWriter, r *http.Request) (*http.Request, bool)
	refuse(w http.ResponseWriter, r *http.Request, why Refusal)
	logger() *slog.Logger
}

// rule is one question about whoever was admitted. It returns the first thing that is missing, for the log.
type rule struct {
	needs    string
	missing  func(r *http.Request) (string, bool)
	readOnly bool
}

// guard lets those through to next who pass. What it decided is logged at the level debug, one line a request.
func guard(g gate, next http.Handler, q rule) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, ok := g.admit(w, r)
		if !ok {
			return
		}
		missing, refused := q.missing(r)
		if l := g.logger(); l.Enabled(r.Context(), slog.LevelDebug) {
			who, _ := UserInfo(r.Context())
			l.DebugContext(r.Context(), "relying: screened", "method", r.Method, "pattern", r.Pattern, "sub", who.Subject, "user_type", who.UserType,
				"privileges", who.Privileges, "needs", q.needs, "missing", missing, "allowed", !refused)
		}
		if refused {
			g.refuse(w, r, Refusal{Needs: q.needs, ReadOnly: q.readOnly})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func ruleLogin() rule {
	return rule{missing: func(*http.Request) (string, bool) { return "", false }}
}

func ruleAny(names []string) rule {
	names = slices.Clone(names)
	needs := strings.Join(names, " or ")
	if len(names) == 0 {
		needs = "nobody"
	}
	return rule{needs: needs, missing: func(r *http.Request) (string, bool) {
		return needs, !UserHasPrivilege(r.Context(), names...)
	}}
}

func ruleAll(names []string) rule {
	names = slices.Clone(names)
	needs := strings.Join(names, " and ")
	if len(names) == 0 {
		needs = "nobody"
	}
	return rule{needs: needs, missing: func(r *http.Request) (string, bool) {
		i := slices.IndexFunc(names, func(n string) bool { return !UserHasPrivilege(r.Context(), n) })
		if i < 0 {
			return needs, len(names) == 0
		}
		return names[i], true
	}}
}

func ruleMeets(q Requirement) rule {
	return rule{needs: q.String(), missing: func(r *http.Request) (string, bool) {
		return q.unmet(holds(r.Context())), !UserMeets(r.Context(), q)
	}}
}

func ruleWrite() rule {
	return rule{needs: "an account that may change things", readOnly: true, missing: func(r *http.Request) (string, bool) {
		return "writing", !safe(r.Method) && !UserMayWrite(r.Context())
	}}
}

// safe methods change nothing (RFC 9110 §9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Screen finds out, on every request, who is there, so that next can ask with [UserLoggedIn], [UserInfo] and the others. It turns
// nobody away: that is what RequireLogin and its siblings inside it are for. Wrap the whole application in it once.
func (c *Client) Screen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, c.screened(r))
	})
}

// screened returns r with its visit. One that is there already is kept, so a request costs one look.
func (c *Client) screened(r *http.Request) *http.Request {
	if _, ok := visitOf(r.Context(), c); ok {
		return r
	}
	v := &visit{by: c, anonymousIsUser: c.cfg.AnonymousIsUser}
	s, err := c.current(r.Context(), c.sessionID(r))
	switch {
	case err != nil:
		c.cfg.Logger.WarnContext(r.Context(), "relying: not known who is there", "err", err)
		v.err = err
	case s != nil:
		v.access = s.Access
		v.info, v.err = readInfo(s)
	}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

// RequireLogin lets only signed-in people through to next; Config.SignedOut answers the others. It screens by itself where Screen
// is not around it.
func (c *Client) RequireLogin(next http.Handler) http.Handler { return guard(c, next, ruleLogin()) }

// RequirePrivilege lets only signed-in people through who hold any of the privileges; Config.NoAccess answers those who hold none,
// without sending them to sign in again. Without a name nobody passes.
func (c *Client) RequirePrivilege(anyOf ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return guard(c, next, ruleAny(anyOf)) }
}

// RequireAll is RequirePrivilege for people who hold every one of the privileges.
func (c *Client) RequireAll(allOf ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return guard(c, next, ruleAll(allOf)) }
}

// Require is RequirePrivilege for a rule of both kinds, [a, [b, c]]. One that is open lets everybody through, signed in or not.
func (c *Client) Require(r Requirement) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if r.Open() {
			return c.Screen(next)
		}
		return guard(c, next, ruleMeets(r))
	}
}

// RequireWrite is RequireLogin for what changes something. People whose user type is read-only (claim readonly) come through with GET,
// HEAD and OPTIONS; with any other method Config.NoAccess answers them, and whoever the provider did not speak of privileges for. Put it
// around the routes that write and not around a whole application: signing out is a POST that everybody may send.
func (c *Client) RequireWrite(next http.Handler) http.Handler { return guard(c, next, ruleWrite()) }

func (c *Client) logger() *slog.Logger { return c.cfg.Logger }

func (c *Client) refuse(w http.ResponseWriter, r *http.Request, why Refusal) {
	c.cfg.NoAccess.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), refusalKey{}, why)))
}

// admit answers the request itself unless somebody is signed in.
func (c *Client) admit(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	r = c.screened(r)
	v, _ := visitOf(r.Context(), c)
	// What follows depends on who asks: neither a shared cache nor the back button may show it to the next person.
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case v.err != nil:
		c.fail(w, r, v.err)
		return r, false
	case v.info != nil:
		return r, true
	case c.cfg.SignedOut != nil:
		c.cfg.SignedOut.ServeHTTP(w, r)
	case navigation(r):
		c.start(w, r, r.URL.RequestURI())
	default:
		w.Header().Set("WWW-Authenticate", "Cookie") // RFC 9110 §15.5.2 wants a challenge; browsers ignore this one
		http.Error(w, "Sign in first.", http.StatusUnauthorized)
	}
	return r, false
}

// ReturnTo is where a sign-in that answers r should come back to: the address of a page that was opened, and "/" for anything that was
// sent. An action in an address is run after the sign-in and its screening, or not at all; a form is never sent again. Use it in
// Config.SignedOut:
//
//	link := "/login?" + url.Values{"return": {relying.ReturnTo(r)}}.Encode()
func ReturnTo(r *http.Request) string {
	if !navigation(r) {
		return "/"
	}
	return r.URL.RequestURI()
}

// navigation says whether a person opens a page: only then a detour over the provider makes sense. A form that was sent is not
// repeated after it.
func navigation(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && (mode == "" || mode == "navigate")
}

var plain = template.Must(template.New("plain").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<main><h1>{{.Title}}</h1><p>{{.Text}}</p><p><a href="/">Go to the start page</a></p></main></html>
`))

func plainPage(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	plain.Execute(w, struct{ Title, Text string }{title, text}) // an error here is a lost connection
}

func noAccessPage(w http.ResponseWriter, r *http.Request) {
	if why, _ := RefusalOf(r.Context()); why.ReadOnly {
		plainPage(w, http.StatusForbidden, "No access", "You are signed in, but your account may look and not change anything. Ask whoever runs this site.")
		return
	}
	plainPage(w, http.StatusForbidden, "No access", "You are signed in, but your account may not use this page. Ask whoever runs this site.")
}

func failedPage(w http.ResponseWriter, _ *http.Request, e *Error) {
	switch e.Code {
	case CodeDenied:
		plainPage(w, e.Status, "Not signed in", "The sign-in was cancelled, or your account may not use this application.")
	case CodeExpired:
		plainPage(w, e.Status, "Please sign in again", "This sign-in took too long, or the page was loaded a second time.")
	case CodeUnavailable:
		plainPage(w, e.Status, "Sign-in is not available", "The sign-in service cannot be reached right now. Please try again in a moment.")
	default:
		plainPage(w, e.Status, "Not signed in", "The sign-in could not be completed. Please try again.")
	}
}
