package admin

import (
	"context"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Facts are what the program knows of itself beside the database.
type Facts struct {
	HTTPS, Production, Mail bool
	SMS                     bool     // texts can be sent, as far as the configuration says
	Down                    []string // connectors that did not answer a moment ago, by what people call them
}

// home is GET /admin: what waits, and whether the service is set up as one that people rely on should be. Only what was measured stands there. Whoever has
// no page of administration is told so.
func (a *Admin) home(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	base, err := a.base(w, r, "")
	if err != nil {
		return err
	}
	if len(base.Sections) == 0 {
		return &web.Error{Status: http.StatusForbidden, Key: "error.not_permitted", Code: "not_permitted", RestartURL: "/account"}
	}
	p := &templates.AdminPage{Admin: base}
	status, err := a.guard.Can(ctx, "users.status")
	if err != nil {
		return err
	}
	system, err := a.guard.Can(ctx, "users.history") // whoever reads the audit log hears of the service, too
	if err != nil {
		return err
	}
	if status || system {
		n, err := a.store.Attention(ctx)
		if err != nil {
			return err
		}
		if status {
			attendPeople(p, n)
		}
		if system {
			if err := a.attendSystem(ctx, p, n); err != nil {
				return err
			}
		}
	}
	return a.mux.Render(w, r, http.StatusOK, p)
}

func attendPeople(p *templates.AdminPage, n *store.Attention) {
	if n.Waiting > 0 {
		p.Attend("waiting", "warn", "/admin/users?state=waiting", "Count", int(n.Waiting))
	}
	if n.Leaving > 0 {
		p.Attend("leaving", "note", "", "Count", int(n.Leaving))
	}
}

func (a *Admin) attendSystem(ctx context.Context, p *templates.AdminPage, n *store.Attention) error {
	f := a.c.Facts()
	if n.Failed > 0 {
		p.Attend("failed", "bad", "", "Count", int(n.Failed))
	}
	if n.Late > 0 {
		p.Attend("late", "bad", "", "Count", int(n.Late))
	}
	if n.Undeliver > 0 {
		p.Attend("undelivered", "warn", "", "Count", int(n.Undeliver))
	}
	for _, c := range f.Down {
		p.Attend("down", "warn", "", "Provider", c)
	}
	if f.SMS {
		s, err := a.store.Switch(ctx, store.SwitchSMS)
		if err != nil {
			return err
		}
		if !s.OffAt.IsZero() {
			p.Attend("sms_off", "bad", "", "When", p.When(s.OffAt.In(actor(ctx).Location())))
		}
	}
	keys, err := a.store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ActiveAt.After(a.store.Clock()) {
			p.Attend("key", "note", "", "Alg", k.Alg, "When", p.When(k.ActiveAt.In(actor(ctx).Location())))
		}
	}
	p.Harden("https", f.HTTPS)
	p.Harden("production", f.Production)
	p.Harden("mail", f.Mail)
	p.Harden("admins", n.Admins > 1)
	return nil
}
