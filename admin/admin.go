// Package admin is what administrators see and do in a browser: people and what they may do, privileges, and why.
//
//	route ─▶ Guard.Authorize (permission, requirement, read-only) ─▶ handler ─▶ rights.Desk ─▶ the store's gate, in the transaction that writes
//
// It owns the pages under /admin and the Guard that every one of them is behind. A change that touches people is shown with what it does before it is
// made, and made only if it still does that; it asks for a recent sign-in. It refuses to decide who may confer what (that is the store's gate), and
// works without scripts.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Config of the pages. All fields are required.
type Config struct {
	Store *store.Store
	Mux   *web.Mux
	Guard *Guard
	Desk  *rights.Desk
	// Requests is where requests for privileges are decided.
	Requests *requests.Desk
	// Invites is where people are invited.
	Invites *invites.Desk
	// Confirmed says whether the person of a request showed who they are a moment ago; when not it answers, and leads back to place later.
	Confirmed func(w http.ResponseWriter, r *http.Request, place string) (bool, error)
	// Preview computes what a sign-in would lead to: ErrNoUser, ErrNoClient.
	Preview func(ctx context.Context, userID, clientID string, scope []string) (*Preview, error)
	// PreviewClaims computes what a sign-in through a connector would lead to, if it says this of the person. A *FieldError is theirs who asked.
	PreviewClaims func(ctx context.Context, c Claims) (*Arrival, error)
	// Connectors are the ids of those that people can sign in through.
	Connectors func() []string
	// PastToken explains an access token of any age: ErrNotToken, ErrTokenGone.
	PastToken func(ctx context.Context, token string) (*PastToken, error)
	// ResetFactors takes a person's second factors, and tells them; its errors are the store's of that name.
	ResetFactors func(ctx context.Context, actor, userID, reason string) error
	// Account is what the pages about accounts ask of the sign-in pages.
	Account Account
	// Facts are what the program knows of itself, at that moment.
	Facts func() Facts
	// Label is what people call a connector.
	Label  func(connector string) string
	Logger *slog.Logger
}

// Admin is the pages of administration.
type Admin struct {
	c     Config
	store *store.Store
	mux   *web.Mux
	guard *Guard
	desk  *rights.Desk
}

// New checks the configuration.
func New(c Config) (*Admin, error) {
	if c.Store == nil || c.Mux == nil || c.Guard == nil || c.Desk == nil || c.Requests == nil || c.Invites == nil || c.Confirmed == nil || c.Preview == nil || c.PreviewClaims == nil ||
		c.Connectors == nil || c.PastToken == nil || c.Label == nil || c.ResetFactors == nil || c.Account.Edit == nil || c.Account.Link == nil || c.Account.Device == nil ||
		c.Facts == nil || c.Account.Mails == nil || c.Account.Passwords == nil || c.Logger == nil {
		return nil, errors.New("admin: a field of Config is missing")
	}
	return &Admin{c: c, store: c.Store, mux: c.Mux, guard: c.Guard, desk: c.Desk}, nil
}

// Mount is the table of contents: every page with the action it needs.
func (a *Admin) Mount() {
	a.mux.Page("GET /admin", web.SignedIn, a.home) // whoever may see any of the others

	a.mux.Page("GET /admin/privileges", web.Needs("privileges.view"), a.privileges)
	a.mux.Page("GET /admin/rights", web.Needs("privileges.view"), a.rights)
	a.mux.Page("GET /admin/new-privilege", web.Needs("privileges.edit"), a.newPrivilege)
	a.mux.Page("POST /admin/privileges", web.Needs("privileges.edit"), a.confirmed("/admin/new-privilege", a.createPrivilege))
	a.mux.Page("GET /admin/privileges/{name}", web.Needs("privileges.view"), a.privilege)
	for what, h := range map[string]web.Handler{"describe": a.describe, "include": a.include, "exclude": a.exclude, "delete": a.deletePrivilege} {
		a.mux.Page("POST /admin/privileges/{name}/"+what, web.Needs("privileges.edit"), a.confirmed("/admin/privileges/{name}", h))
	}

	a.mountPeople()
	a.mountInvites()
	a.mux.Page("GET /admin/users/{id}", web.Needs("users.view"), a.user)
	for what, h := range map[string]web.Handler{"give": a.give, "take": a.take, "type": a.setType} {
		a.mux.Page("POST /admin/users/{id}/"+what, web.Needs("users.privileges"), a.confirmed("/admin/users/{id}", h))
	}

	a.mountActing()
	a.mux.Page("POST /admin/users/{id}/reset-factors", web.Needs("users.reset_factors"), a.confirmed("/admin/users/{id}", a.resetFactors))

	a.mux.Page("GET "+requests.QueuePath, web.Needs("requests.view"), a.requests)
	a.mux.Page("POST "+requests.QueuePath+"/{id}", web.Needs("requests.decide"), a.confirmed(requests.QueuePath, a.decide))

	a.mux.Page("GET /admin/explain", web.Needs("explain.view"), a.explain)
	a.mux.Page("POST /admin/explain", web.Needs("explain.view"), a.explainToken)
	a.mux.Page("GET /admin/preview", web.Needs("explain.view"), a.preview)
	a.mux.Page("POST /admin/preview", web.Needs("explain.view"), a.previewClaims, web.LongForm)
}

// confirmed lets a change through after a recent sign-in only. place is the page that its form is on.
func (a *Admin) confirmed(place string, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if ok, err := a.c.Confirmed(w, r, fillIn(place, r)); err != nil || !ok {
			return err
		}
		return h(w, r)
	}
}

// actor is who makes a change: the person of the request, whom the route's rule let in.
func actor(ctx context.Context) *store.User {
	s, ok := session.Current(ctx)
	if !ok || s.Acting() {
		return &store.User{} // nobody, whom the gate refuses
	}
	return &s.Live.User
}

// sections are those of the menu, in its order, with the page each begins at.
var sections = []struct{ key, url, action string }{
	{"users", "/admin/users", "users.view"},
	{"invites", invites.ListPath, "invites.view"},
	{"requests", requests.QueuePath, "requests.view"},
	{"privileges", "/admin/privileges", "privileges.view"},
	{"explain", "/admin/explain", "explain.view"},
}

// base is what the pages of a section share.
func (a *Admin) base(w http.ResponseWriter, r *http.Request, section string) (templates.Admin, error) {
	p := templates.Admin{Base: a.mux.Base(w, r)}
	for _, s := range sections {
		ok, err := a.guard.Can(r.Context(), s.action)
		if err != nil {
			return p, err
		}
		if ok {
			waiting := 0
			if s.key == "requests" {
				if waiting, err = a.store.CountOpenRequests(r.Context(), actor(r.Context()).ID, mostWaiting); err != nil {
					return p, err
				}
			}
			if s.key == "invites" {
				if waiting, err = a.store.CountInvites(r.Context(), actor(r.Context()).ID, mostWaiting); err != nil {
					return p, err
				}
			}
			p.Sections = append(p.Sections, templates.AdminSection{Key: s.key, URL: s.url, Current: s.key == section, Waiting: waiting})
		}
	}
	switch done := r.URL.Query().Get("done"); {
	case doneTexts[done]:
		p.Done = "admin.done_" + done
	case peopleDone[done]:
		p.Done = "people.done_" + done
	}
	return p, nil
}

// doneTexts are what a page may say of what was done before it.
var doneTexts = map[string]bool{"created": true, "changed": true, "deleted": true, "saved": true, "given": true, "taken": true, "type": true, "approved": true, "refused": true, "authority": true, "factors": true,
	"sent": true, "revoked": true, "declined": true, "half": true}

var peopleDone = map[string]bool{"edited": true, "disabled": true, "enabled": true, "mailed": true, "ended": true, "erased": true, "added": true}

// review is a change on its way: first shown, then made.
type review struct {
	page   templates.ReviewPage
	done   string // of doneTexts
	to     string // the page to land on
	always bool   // shown even if it touches nobody
	// apply makes the change if agree, told what it does, says so; else rights.ErrUnweighed, with what it does.
	apply func(ctx context.Context, agree func(store.Impact) bool) (store.Impact, error)
}

// see runs a review: without agreement it shows what the change does; with it, it makes the change if it still does that (R-blast radius is what was
// agreed to, not what a form said).
func (a *Admin) see(w http.ResponseWriter, r *http.Request, section string, v review) error {
	agreed := r.PostFormValue("agreed")
	impact, err := v.apply(r.Context(), func(i store.Impact) bool {
		if i.People == 0 && !v.always {
			return true
		}
		return agreed != "" && agreed == fingerprint(i)
	})
	if !errors.Is(err, rights.ErrUnweighed) {
		if err != nil {
			return err
		}
		return web.SeeOther(w, r, v.to+"?done="+v.done)
	}
	base, err := a.base(w, r, section)
	if err != nil {
		return err
	}
	p := v.page
	p.Admin = base
	p.Gain, p.Lose, p.Gained, p.Lost, p.Clients = impact.Gain, impact.Lose, plain(impact.Gained), plain(impact.Lost), impact.Clients
	p.Moved, p.Action = agreed != "", r.URL.Path
	p.Hidden = append(p.Hidden, templates.Pair{Name: "agreed", Value: fingerprint(impact)})
	status := http.StatusOK
	if p.Moved {
		status = http.StatusConflict
	}
	return a.mux.Render(w, r, status, &p)
}

// fingerprint is what somebody agrees to: who many gain and lose what, and which applications see it.
func fingerprint(i store.Impact) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %q %q %q", i.People, i.Gain, i.Lose, i.Gained, i.Lost, i.Clients))
	return hex.EncodeToString(sum[:16])
}

// plain leaves out the nodes of user types, which are no privileges to people.
func plain(names []string) (out []string) {
	for _, n := range names {
		if _, node := privilege.TypeOf(n); !node {
			out = append(out, n)
		}
	}
	return out
}

// refusal says in a person's words why a change is not made; ok is false for an error that is none of theirs.
func refusal(err error) (status int, e templates.FormErrors, ok bool) {
	var used *rights.InUse
	var stored *store.InUse
	var bound *store.BoundError
	var field *store.FieldError
	say := func(status int, key string, args ...any) (int, templates.FormErrors, bool) {
		e := templates.FormErrors{Form: "admin.error_" + key}
		if len(args) == 2 {
			e.Args = map[string]any{args[0].(string): args[1]}
		}
		return status, e, true
	}
	switch {
	case errors.Is(err, store.ErrLastAdmin):
		return say(http.StatusConflict, "last_admin")
	case errors.Is(err, store.ErrBuiltIn):
		return say(http.StatusConflict, "built_in")
	case errors.Is(err, rights.ErrInFile):
		return say(http.StatusConflict, "in_file")
	case errors.As(err, &used):
		return say(http.StatusConflict, "in_use", "What", used.Text)
	case errors.As(err, &stored):
		return say(http.StatusConflict, "in_use", "What", stored.Blocking())
	case errors.As(err, &bound):
		return say(http.StatusConflict, "bound")
	case errors.Is(err, rights.ErrNoType):
		return say(http.StatusUnprocessableEntity, "type")
	case errors.As(err, &field):
		return fieldRefusal(field)
	}
	if why := rights.Refusal(err); why != "" {
		return say(http.StatusForbidden, why)
	}
	return 0, templates.FormErrors{}, false
}

func fieldRefusal(e *store.FieldError) (int, templates.FormErrors, bool) {
	key, field := "", e.Field
	switch {
	case e.Field == "name" && errors.Is(e.Err, store.ErrConflict):
		key = "admin.error_name_taken"
	case e.Field == "name":
		key = "admin.error_name"
	case e.Field == "includes":
		return http.StatusUnprocessableEntity, templates.FormErrors{Form: "admin.error_cycle"}, true
	case e.Field == "requestable":
		return http.StatusUnprocessableEntity, templates.FormErrors{Form: "admin.error_requestable"}, true
	case e.Field == "until":
		key = "admin.error_until"
	default:
		return 0, templates.FormErrors{}, false
	}
	return http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{field: key}}, true
}

// notFound is the page for an object that is not there.
func notFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &web.Error{Status: http.StatusNotFound, Err: err, RestartURL: "/admin"}
	}
	return err
}
