package login

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// access is what one application may do for a person.
type access struct {
	scope []string
	since store.Time
}

// access finds the applications a person let in: those with a living grant and those whose consent is remembered.
func (l *Login) access(ctx context.Context, userID string) (map[string]access, error) {
	grants, err := l.store.GrantsOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	consents, err := l.store.ConsentsOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	apps := map[string]access{}
	add := func(id string, scope []string, since store.Time) {
		a := apps[id]
		for _, s := range scope {
			if !slices.Contains(a.scope, s) {
				a.scope = append(a.scope, s)
			}
		}
		if a.since.IsZero() || since.Before(a.since.Time) {
			a.since = since
		}
		apps[id] = a
	}
	for _, g := range grants {
		add(g.ClientID, g.Scope, g.CreatedAt)
	}
	for _, c := range consents {
		add(c.ClientID, c.Scope, c.GrantedAt)
	}
	return apps, nil
}

// appLines puts them on the page, by name.
func (l *Login) appLines(ctx context.Context, b *templates.Base, u *store.User) ([]templates.AppLine, error) {
	apps, err := l.access(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	lines := make([]templates.AppLine, 0, len(apps))
	for id, a := range apps {
		app, err := l.app(ctx, id)
		if err != nil {
			return nil, err
		}
		slices.Sort(a.scope)
		lines = append(lines, templates.AppLine{ClientID: id, Name: app.Name, Since: when(b, u, a.since), Scopes: a.scope})
	}
	slices.SortFunc(lines, func(a, b templates.AppLine) int {
		if c := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(a.ClientID, b.ClientID)
	})
	return lines, nil
}

// app names a client for people; one that was removed keeps its id as the name.
func (l *Login) app(ctx context.Context, id string) (*templates.App, error) {
	c, err := l.store.CachedClient(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return &templates.App{Name: id}, nil
	} else if err != nil {
		return nil, err
	}
	return appOf(c), nil
}

// clientsOf are the clients of the grants that fit, each once, in order.
func clientsOf(grants []store.Grant, fits func(store.Grant) bool) []string {
	var ids []string
	for _, g := range grants {
		if fits(g) && !slices.Contains(ids, g.ClientID) {
			ids = append(ids, g.ClientID)
		}
	}
	slices.Sort(ids)
	return ids
}

// removeApp is POST /account/apps/remove: the consent is forgotten and every token of the application dies with its grants.
func (l *Login) removeApp(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	id := r.PostFormValue("client_id")
	lines, err := l.access(r.Context(), current.UserID)
	if err != nil {
		return wrap("applications of an account", err)
	}
	if _, has := lines[id]; has { // else it was removed in another tab, or never was there: nothing to write in the audit log
		if err := l.store.RevokeConsent(r.Context(), current.UserID, current.UserID, id); err != nil {
			return wrap("removal of an application", err)
		}
	}
	return web.SeeOther(w, r, accountPath)
}
