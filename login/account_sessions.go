package login

import (
	"context"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// sessionLines are the devices a person is signed in on, this one first, then by when they were last seen.
func (l *Login) sessionLines(ctx context.Context, b *templates.Base, current *session.Session) ([]templates.SessionLine, error) {
	all, err := l.store.SessionsOf(ctx, current.UserID)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(x, y store.Session) int {
		switch {
		case x.ID == current.ID:
			return -1
		case y.ID == current.ID:
			return 1
		}
		return y.LastSeenAt.Compare(x.LastSeenAt.Time)
	})
	lines := make([]templates.SessionLine, 0, len(all))
	for _, s := range all {
		lines = append(lines, templates.SessionLine{
			ID: s.ID, Device: deviceText(b, s.UserAgent), IP: s.IP, Current: s.ID == current.ID,
			Since: when(b, &current.Live.User, s.CreatedAt), LastSeen: when(b, &current.Live.User, s.LastSeenAt),
		})
	}
	return lines, nil
}

// deviceText names a device for people: "Firefox on Linux", or the half that is known.
func deviceText(b *templates.Base, userAgent string) string {
	switch browser, system := device(userAgent); {
	case browser != "" && system != "":
		return b.T("device.browser_on_system", "Browser", browser, "System", system)
	case browser != "":
		return browser
	case system != "":
		return system
	}
	return b.T("device.unknown")
}

// endSession is POST /account/sessions/end: one of the person's own sessions, by the id in the form.
func (l *Login) endSession(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	id := r.PostFormValue("id")
	if id == current.ID {
		return l.signOut(w, r)
	}
	// Only what the query for one's own sessions returns can be ended: another person's id looks like one that is gone
	// (security.md G6). A session never changes its owner, so nothing can slip in between.
	own, err := l.store.SessionsOf(r.Context(), current.UserID)
	if err != nil {
		return wrap("sessions of an account", err)
	}
	if slices.ContainsFunc(own, func(s store.Session) bool { return s.ID == id }) {
		if err := l.store.EndSession(r.Context(), id, "ended by owner"); err != nil {
			return wrap("end of a session", err)
		}
	}
	return web.SeeOther(w, r, accountPath)
}

// endOtherSessions is POST /account/sessions/end-others: sign out everywhere else. It ends the refresh tokens of every
// application too, those that outlive a session included (architecture.md, settled detail 3).
func (l *Login) endOtherSessions(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if err := l.store.EndSessionsOf(r.Context(), current.UserID, current.ID, "ended by owner", true); err != nil {
		return wrap("end of sessions", err)
	}
	return web.SeeOther(w, r, accountPath)
}
