package relying

import (
	"context"
	"html/template"
	"net/http"
)

// visit is what is known about the person behind one request.
type visit struct {
	client *Client
	info   *Info // nil: nobody is signed in
	err    error // it cannot be known now; info is nil
}

type visitKey struct{}

// Screen finds out, on every request, who is there, so that next can ask with [UserLoggedIn], [UserInfo] and the others. It turns
// nobody away: that is what RequireLogin and RequirePrivilege inside it are for. Wrap the whole application in it once.
func (c *Client) Screen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, c.screened(r))
	})
}

// screened returns r with its visit. One that is there already is kept, so a request costs one look.
func (c *Client) screened(r *http.Request) *http.Request {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok && v.client == c {
		return r
	}
	v := &visit{client: c}
	s, err := c.current(r.Context(), c.sessionID(r))
	switch {
	case err != nil:
		c.cfg.Logger.WarnContext(r.Context(), "relying: not known who is there", "err", err)
		v.err = err
	case s != nil:
		v.info, v.err = readInfo(s)
	}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

// RequireLogin lets only signed-in people through to next; Config.SignedOut answers the others. It screens by itself where Screen
// is not around it.
func (c *Client) RequireLogin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r, ok := c.admit(w, r); ok {
			next.ServeHTTP(w, r)
		}
	})
}

// RequirePrivilege lets only signed-in people through who hold any of the privileges; Config.NoAccess answers those who hold none,
// without sending them to sign in again. Without a name nobody passes.
func (c *Client) RequirePrivilege(anyOf ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, ok := c.admit(w, r)
			if !ok {
				return
			}
			if !UserHasPrivilege(r.Context(), anyOf...) {
				c.cfg.NoAccess.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// admit answers the request itself unless somebody is signed in.
func (c *Client) admit(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	r = c.screened(r)
	v := r.Context().Value(visitKey{}).(*visit)
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

func noAccessPage(w http.ResponseWriter, _ *http.Request) {
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
