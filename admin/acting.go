package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mountActing is the part of Mount about acting for others. Whoever begins to act posts to login's own route.
func (a *Admin) mountActing() {
	a.mux.Page("POST /admin/users/{id}/end-authority", web.Needs("users.authorities"), a.confirmed("/admin/users/{id}", a.endAuthority))
}

// acting is what a person's page shows of acting for others: whether the reader may act for them, and the authorities they gave and took.
func (a *Admin) acting(ctx context.Context, b *templates.Base, u *store.User) (p templates.UserActing, err error) {
	if p.May, err = a.guard.Can(ctx, "users.act_as"); err != nil {
		return p, err
	}
	if p.May {
		// The permission says whether somebody acts, the store for whom. It is asked again when they do.
		err := a.store.MayActFor(ctx, actor(ctx).ID, u.ID)
		if err != nil && !errors.Is(err, store.ErrForbidden) {
			return p, err
		}
		p.May = err == nil
	}
	if p.End, err = a.guard.Can(ctx, "users.authorities"); err != nil {
		return p, err
	}
	given, err := a.store.AuthoritiesGiven(ctx, u.ID)
	if err != nil {
		return p, err
	}
	taken, err := a.store.AuthoritiesTaken(ctx, u.ID)
	if err != nil {
		return p, err
	}
	for i := range given {
		line, err := a.authorityLine(ctx, b, &given[i], given[i].Grantee)
		if err != nil {
			return p, err
		}
		p.Given = append(p.Given, line)
	}
	for i := range taken {
		line, err := a.authorityLine(ctx, b, &taken[i], taken[i].Grantor)
		if err != nil {
			return p, err
		}
		line.Taken = true
		p.Taken = append(p.Taken, line)
	}
	return p, nil
}

// authorityLine is an authority in words; other is whom the person of the page has it with, "" = nobody yet.
func (a *Admin) authorityLine(ctx context.Context, b *templates.Base, g *store.Authority, other string) (templates.UserAuthority, error) {
	zone := actor(ctx).Location()
	when := func(t store.Time) string { return b.When(t.In(zone)) }
	line := templates.UserAuthority{AuthorityLine: templates.AuthorityLine{ID: g.ID, Reason: g.Reason, Until: when(g.Until)}, PersonID: other}
	if g.ClientID != "" {
		line.App = g.ClientID
		c, err := a.store.CachedClient(ctx, g.ClientID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return line, err
		}
		if err == nil && c.Metadata.Name != "" {
			line.App = c.Metadata.Name
		}
	}
	if other == "" {
		line.Since, line.LinkUntil = when(g.CreatedAt), when(g.LinkUntil)
		return line, nil
	}
	person, err := a.store.User(ctx, other)
	if err != nil {
		return line, err
	}
	line.Person, line.Since = nameOf(person), when(g.TakenAt)
	return line, nil
}

// endAuthority is POST /admin/users/{id}/end-authority. Nothing is shown before: it only takes away, and whoever gave it may give it again.
func (a *Admin) endAuthority(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	again := func(status int, e templates.FormErrors) error {
		return a.renderUser(w, r, status, func(p *templates.UserPage) { p.FormErrors = e })
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	err = a.store.EndAuthorityOf(ctx, actor(ctx).ID, u.ID, r.PostFormValue("authority"))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return again(http.StatusConflict, templates.FormErrors{Form: "admin.error_authority"})
	case err != nil:
		return a.refused(err, again)
	}
	return web.SeeOther(w, r, "/admin/users/"+u.ID+"?done=authority")
}
