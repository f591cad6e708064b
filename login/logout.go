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
	next := l.UpstreamSignOut(r.Context(), current)
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		if err := l.sessions.End(w, r.WithContext(ctx), "logout"); err != nil {
			return err
		}
		return l.record(ctx, "sign_out", current.UserID, "", nil)
	})
	if err != nil {
		return wrap("sign-out", err)
	}
	if next == "" {
		return web.SeeOther(w, r, signedOutPath)
	}
	// The form that was sent may not end at another site (pages.md trap 1), so a page leads there.
	w.Header().Set("Refresh", "0; url="+next)
	page := &templates.GoPage{Base: l.mux.Base(w, r), Provider: l.label(current.Connector), URL: next, SignOut: true}
	page.User = nil // they just left
	return l.mux.Render(w, r, http.StatusOK, page)
}

// signedOut is GET /logged-out.
func (l *Login) signedOut(w http.ResponseWriter, r *http.Request) error {
	return l.mux.Render(w, r, http.StatusOK, &templates.LoggedOutPage{Base: l.mux.Base(w, r)})
}
