package login

import (
	"context"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// showSignOut is GET /logout: it asks, and does nothing (security.md C4, C9).
func (l *Login) showSignOut(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signedOutPath)
	}
	grants, err := l.store.GrantsOf(r.Context(), current.UserID)
	if err != nil {
		return wrap("applications of a session", err)
	}
	if current.Acting() { // what they were given for the other ends as well
		acted, err := l.store.GrantsOf(r.Context(), current.ActingFor)
		if err != nil {
			return wrap("applications of a session", err)
		}
		grants = append(grants, acted...)
	}
	page := &templates.LogoutPage{Base: l.mux.Base(w, r), Action: "/logout", StayURL: accountPath}
	for _, id := range clientsOf(grants, func(g store.Grant) bool { return g.SID == current.SID }) {
		app, err := l.app(r.Context(), id)
		if err != nil {
			return err
		}
		page.Apps = append(page.Apps, *app)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// signOut is POST /logout. Somebody without a session is signed out already.
func (l *Login) signOut(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signedOutPath)
	}
	frames, err := l.frontChannel(r.Context(), current.SID)
	if err != nil {
		return wrap("applications of a session", err)
	}
	upstream := l.UpstreamSignOut(r.Context(), current, "")
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		if err := l.sessions.End(w, r.WithContext(ctx), "logout"); err != nil {
			return err
		}
		return l.record(ctx, "sign_out", current.UserID, "", nil)
	})
	if err != nil {
		return wrap("sign-out", err)
	}
	if upstream != nil {
		return upstream(w, r, frames)
	}
	if len(frames) > 0 {
		web.LoadThenGo(w, frames, "")
		base := l.mux.Base(w, r)
		base.User = nil // they just left
		return l.mux.Render(w, r, http.StatusOK, &templates.LoggedOutPage{Base: base, Frames: frames})
	}
	return web.SeeOther(w, r, signedOutPath)
}

// signedOut is GET /logged-out. From an upstream's sign-out it goes on to the application that asked for it.
func (l *Login) signedOut(w http.ResponseWriter, r *http.Request) error {
	if then := l.afterUpstream(r.URL.Query().Get("state")); then != "" {
		return web.SeeOther(w, r, then)
	}
	return l.mux.Render(w, r, http.StatusOK, &templates.LoggedOutPage{Base: l.mux.Base(w, r)})
}
