package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// Questions of which each check can be logged (R104).
const (
	QuestionView = "view" // whether to show something: menus, sections, buttons
	QuestionRun  = "run"  // whether to do it
)

// Rules are what a Guard goes by beside permissions.
type Rules struct {
	Requires privilege.Rules
	// Debug says whether each check of an action is logged for a question; nil = none is. The names and privileges of people stand in those
	// lines, by id: never in production (R105).
	Debug func(action, question string) bool
}

// Guard answers what the person of a request may do on Latchkey's own pages, from what they hold at that moment.
type Guard struct {
	store *store.Store
	log   *slog.Logger
	rules atomic.Pointer[Rules]
}

// NewGuard is a Guard that goes by permissions alone until Set.
func NewGuard(st *store.Store, log *slog.Logger) *Guard {
	g := &Guard{store: st, log: log}
	g.rules.Store(&Rules{})
	return g
}

// Set puts other rules in force, for every request from now on.
func (g *Guard) Set(r Rules) { g.rules.Store(&r) }

// asker is the person of a request. Nobody, and somebody who acts for another, is an Asker who may do nothing.
func (g *Guard) asker(ctx context.Context) (who privilege.Asker, u *store.User, err error) {
	s, ok := session.Current(ctx)
	if !ok || s.Acting() {
		return who, &store.User{}, nil
	}
	m, err := g.store.Model(ctx)
	if err != nil {
		return who, nil, err
	}
	u = &s.Live.User
	return privilege.Asker{Effective: m.Effective(s.Live, store.At(g.store.Clock())), Powers: m.Powers, ReadOnly: m.ReadOnly(u)}, u, nil
}

// Can says whether to show an action to the person of this request. It is not the last word: see Authorize.
func (g *Guard) Can(ctx context.Context, action string) (bool, error) {
	who, u, err := g.asker(ctx)
	if err != nil {
		return false, err
	}
	rules := g.rules.Load()
	d := rules.Requires.Can(who, action)
	g.debug(ctx, rules, QuestionView, who, u, &d)
	return d.OK(), nil
}

// Authorize is nil when the person of this request may do an action, and an error for them when not. Every route asks it (web.Needs), whatever
// was shown; what an action does to somebody or something is the store's question, in the transaction that does it.
func (g *Guard) Authorize(ctx context.Context, action string) error {
	who, u, err := g.asker(ctx)
	if err != nil {
		return err
	}
	rules := g.rules.Load()
	d := rules.Requires.Authorize(who, action, nil)
	g.debug(ctx, rules, QuestionRun, who, u, &d)
	if d.OK() {
		return nil
	}
	e := &web.Error{Status: http.StatusForbidden, Key: "error.not_permitted", Code: "not_permitted", Err: errors.New("admin: " + d.String()), RestartURL: "/account"}
	if d.ReadOnly {
		e.Key, e.Code = "error.read_only", "read_only"
	}
	return e
}

// Any says whether there is any page of administration for the person of this request.
func (g *Guard) Any(ctx context.Context) (bool, error) {
	who, _, err := g.asker(ctx)
	if err != nil {
		return false, err
	}
	rules := g.rules.Load()
	return slices.ContainsFunc(privilege.Actions(), func(a privilege.Action) bool {
		d := rules.Requires.Can(who, a.Name)
		return !a.Writes && d.OK()
	}), nil
}

func (g *Guard) debug(ctx context.Context, rules *Rules, question string, who privilege.Asker, u *store.User, d *privilege.Decision) {
	if rules.Debug == nil || !rules.Debug(d.Action.Name, question) {
		return
	}
	g.log.InfoContext(ctx, "permission check", "question", question, "action", d.Action.Name, "ref", web.RequestID(ctx), "user", u.ID, "user_type", u.UserType,
		"privileges", who.Effective, "needs", d.Action.Needs, "requires", d.Requires.String(), "unmet", d.Reason(), "granted", d.OK())
}
