package login

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// reauthURL is where somebody confirms who they are before the way they sign in changes.
var reauthURL = pathWith(signInPath, nil, query{"reauth": "1", "choose": "1"})

// connections is GET /account/connections: which upstreams open this account, since when and why, and which more could.
func (l *Login) connections(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.connectionsPage(w, r, current)
	if err != nil {
		return wrap("connections of an account", err)
	}
	if !page.Recent {
		l.sessions.KeepPlace(w, connectionsPath)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) connectionsPage(w http.ResponseWriter, r *http.Request, current *session.Session) (*templates.ConnectionsPage, error) {
	u := &current.Live.User
	page := &templates.ConnectionsPage{Base: l.mux.Base(w, r), ReauthURL: reauthURL}
	var err error
	if page.Recent, err = l.isRecent(r.Context(), current); err != nil {
		return nil, err
	}
	links, err := l.store.IdentitiesOf(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	ways, err := l.store.WaysIn(r.Context(), u.ID, l.WaysIn())
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		up := l.upstream(link.Connector)
		opens := up != nil && link.QuarantinedAt.IsZero()
		line := templates.ConnectionLine{
			ID: link.ID, Provider: l.Label(link.Connector), Account: link.Email, Since: when(&page.Base, u, link.CreatedAt),
			LastUsed: when(&page.Base, u, link.LastUsedAt), Closed: !opens, LastWay: opens && ways == 1, Evidence: l.evidenceText(&page.Base, link),
		}
		if up != nil {
			line.Icon = up.Icon
		}
		page.Connections = append(page.Connections, line)
	}
	for _, up := range l.upstreams {
		page.Available = append(page.Available, templates.Method{
			ID: up.Name(), Label: up.Label, Icon: up.Icon, URL: connectionsPath + "/" + up.Name() + "/link",
		})
	}
	return page, nil
}

// evidenceText says in words what a link rests on.
func (l *Login) evidenceText(b *templates.Base, link store.Identity) string {
	var parts []string
	for _, e := range link.Evidence {
		method, proof := strings.CutPrefix(e, evidenceProof)
		switch {
		case proof && method == methodPassword:
			parts = append(parts, b.T("connections.evidence_password"))
		case proof:
			parts = append(parts, b.T("connections.evidence_proof", "Provider", l.Label(method)))
		case slices.Contains([]string{evidenceNew, evidenceBoth, evidenceMail, evidenceAccount}, e):
			parts = append(parts, b.T("connections.evidence_"+e))
		}
	}
	return strings.Join(parts, " ")
}

// isRecent says whether somebody showed who they are a moment ago, with all that guards their account.
func (l *Login) isRecent(ctx context.Context, s *session.Session) (bool, error) {
	if ok, err := l.signedInAnew(ctx, s); err != nil || !ok {
		return false, err
	}
	return l.shown(ctx, s)
}

// signedInAnew says whether somebody signed in a moment ago. That an upstream let them through because they were signed in there shows no
// more than that the browser is theirs, which is not enough to change how they sign in (security.md C5, C11).
func (l *Login) signedInAnew(ctx context.Context, s *session.Session) (bool, error) {
	if l.now().Sub(s.AuthTime.Time) > recent {
		return false, nil
	}
	if l.upstream(s.Connector) == nil {
		return true, nil
	}
	side, err := l.store.UpstreamSession(ctx, s.ID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && side.Anew, err
}

// Confirmed says whether the person of this request showed who they are a moment ago, which a change of what people may do or how they sign in asks
// for. When not, the answer was sent: to the sign-in page, and from there back to place.
func (l *Login) Confirmed(w http.ResponseWriter, r *http.Request, place string) (bool, error) {
	s, ok := session.Current(r.Context())
	if !ok {
		return false, web.SeeOther(w, r, signInPath)
	}
	ok, err := l.isRecent(r.Context(), s)
	if err != nil {
		return false, wrap("recent sign-in", err)
	}
	if !ok {
		l.sessions.KeepPlace(w, place)
		return false, web.SeeOther(w, r, reauthURL)
	}
	return true, nil
}

// linkConnection is POST /account/connections/{connector}/link: off to the upstream, to come back with a second way in. The answer is a
// page that leads there: a form of ours may not end at another site (pages.md trap 1).
func (l *Login) linkConnection(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if ok, err := l.Confirmed(w, r, connectionsPath); err != nil || !ok {
		return err
	}
	up, err := l.wanted(r, nil)
	if err != nil {
		return err
	}
	to, err := l.depart(w, r, up, nil, store.Attempt{Purpose: store.AttemptLink, UserID: current.UserID}, journey{})
	if err != nil {
		return err
	}
	w.Header().Set("Refresh", "0; url="+to)
	return l.mux.Render(w, r, http.StatusOK, &templates.GoPage{Base: l.mux.Base(w, r), Provider: up.Label, URL: to})
}

// unlinkConnection is POST /account/connections/{id}/unlink. The last way in stays.
func (l *Login) unlinkConnection(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if ok, err := l.Confirmed(w, r, connectionsPath); err != nil || !ok {
		return err
	}
	var gone *store.Identity
	err := l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		gone, err = l.store.UnlinkIdentity(ctx, current.UserID, current.UserID, r.PathValue("id"), current.ID, l.WaysIn())
		if err != nil {
			return err
		}
		return l.record(ctx, "unlink", current.UserID, "", map[string]any{"connector": gone.Connector})
	})
	switch {
	case errors.Is(err, store.ErrLastWayIn):
		page, err := l.connectionsPage(w, r, current)
		if err != nil {
			return wrap("connections of an account", err)
		}
		page.Notice = "connections.error_last"
		return l.mux.Render(w, r, http.StatusConflict, page)
	case errors.Is(err, store.ErrNotFound): // gone in another tab, or never theirs: the page shows what is
	case err != nil:
		return wrap("unlink", err)
	default:
		l.giveBack(r.Context(), gone)
	}
	return web.SeeOther(w, r, connectionsPath)
}

// sealedToken and a link's id are the place of its access token.
const sealedToken = "identities.token."

// keepToken seals the access token of a connector that gives it back later (security.md E13).
func (l *Login) keepToken(ctx context.Context, a *arrival, link *store.Identity) error {
	if !a.up.Revoke || a.id.AccessToken == "" {
		return nil
	}
	return l.store.KeepIdentityToken(ctx, link.ID, l.seal([]byte(a.id.AccessToken), sealedToken+link.ID))
}

// giveBack tells the upstream that its access token is of no use any more. The link is gone already, whatever it answers: a token may
// have run out, or the upstream may be down.
func (l *Login) giveBack(ctx context.Context, link *store.Identity) {
	up := l.upstream(link.Connector)
	if up == nil || link.TokenSealed == "" {
		return
	}
	revoker, ok := up.Connector.(connectors.Revoker)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTime)
	defer cancel()
	token, err := l.open(link.TokenSealed, sealedToken+link.ID)
	if err == nil {
		err = revoker.Revoke(ctx, string(token))
	}
	if err != nil {
		l.log.WarnContext(ctx, "the upstream did not take its access token back", "connector", up.Name(), "error", err)
	}
}

// revokeTime is how long a person waits for the upstream at most.
const revokeTime = 3 * time.Second
