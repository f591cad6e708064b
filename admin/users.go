package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// user is GET /admin/users/{id}.
func (a *Admin) user(w http.ResponseWriter, r *http.Request) error {
	return a.renderUser(w, r, http.StatusOK, nil)
}

func (a *Admin) renderUser(w http.ResponseWriter, r *http.Request, status int, change func(*templates.UserPage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "users")
	if err != nil {
		return err
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	p := &templates.UserPage{Admin: base, ID: u.ID, Name: nameOf(u), Email: u.Email, Username: u.Username, Phone: u.Phone, Type: u.UserType,
		Self: u.ID == actor(ctx).ID, Inactive: !u.Active(a.store.Clock())}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	if t := m.Type(u.UserType); t != nil {
		p.TypeText, p.ReadOnly = t.In(base.Lang), t.ReadOnly
	}
	for i := range m.Types {
		if t := &m.Types[i]; !slices.Contains(t.Names, privilege.TypeAnonymous) {
			p.Types = append(p.Types, templates.Choice{Value: t.Value, Label: t.In(base.Lang), Current: t.Value == u.UserType})
		}
	}
	held, err := explain.Of(ctx, a.store, u.ID, time.Time{})
	if err != nil {
		return err
	}
	words, err := a.words(ctx, &base.Base)
	if err != nil {
		return err
	}
	if p.Edit, err = a.guard.Can(ctx, "users.privileges"); err != nil {
		return err
	}
	if p.ResetFactors, err = a.guard.Can(ctx, "users.reset_factors"); err != nil {
		return err
	}
	if p.ResetFactors = p.ResetFactors && !p.Self; p.ResetFactors {
		if p.HasFactor, err = a.store.HasFactor(ctx, u.ID); err != nil {
			return err
		}
	}
	if p.Explain, err = a.guard.Can(ctx, "explain.view"); err != nil {
		return err
	}
	given := map[string]bool{}
	assignments, err := a.store.Assignments(ctx, u.ID)
	if err != nil {
		return err
	}
	now := a.store.Clock()
	var givers []string
	for _, g := range assignments {
		if g.EndedAt.IsZero() {
			givers = append(givers, g.GivenBy)
		}
	}
	if err := words.meet(givers); err != nil {
		return err
	}
	for _, g := range assignments {
		if !g.EndedAt.IsZero() || g.Source == store.SourceConnector || g.Source == store.SourceType {
			continue
		}
		given[g.Privilege] = true
		if over := !g.Until.IsZero() && !now.Before(g.Until.Time); over || now.Before(g.From.Time) {
			line := templates.HeldLine{PrivilegeName: words.name(g.Privilege), Take: p.Edit && !p.Self && !over}
			text, err := words.Source(explain.SourceOf(g))
			if err != nil {
				return err
			}
			line.Why = []string{words.lapsed(text, g.From.Time, g.Until.Time)}
			p.Coming = append(p.Coming, line)
		}
	}
	if p.Held, err = words.held(held.Lines); err != nil {
		return err
	}
	for i := range p.Held {
		p.Held[i].Take = p.Edit && !p.Self && given[p.Held[i].Name]
	}
	for _, perm := range m.Powers.Of(held.Effective) {
		p.Permissions = append(p.Permissions, base.Permission(string(perm)))
	}
	if p.ActAs, err = a.acting(ctx, &base.Base, u); err != nil {
		return err
	}
	if p.Edit && !p.Self {
		if p.Names, err = a.names(ctx); err != nil {
			return err
		}
	}
	if change != nil {
		change(p)
	}
	return a.mux.Render(w, r, status, p)
}

// person is an account that is not erased.
func (a *Admin) person(ctx context.Context, id string) (*store.User, error) {
	if searchable(id) != id {
		return nil, store.ErrNotFound // no database takes it for text
	}
	u, err := a.store.User(ctx, id)
	if err == nil && !u.DeletedAt.IsZero() {
		return nil, store.ErrNotFound
	}
	return u, err
}

// give is POST /admin/users/{id}/give.
func (a *Admin) give(w http.ResponseWriter, r *http.Request) error {
	ctx, by := r.Context(), actor(r.Context())
	name, reason, until := strings.TrimSpace(r.PostFormValue("privilege")), strings.TrimSpace(r.PostFormValue("reason")), strings.TrimSpace(r.PostFormValue("until"))
	again := func(status int, e templates.FormErrors) error {
		return a.renderUser(w, r, status, func(p *templates.UserPage) {
			p.FormErrors, p.Privilege, p.Reason, p.Until = e, name, reason, until
		})
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	fields := map[string]string{}
	switch {
	case name == "":
		fields["privilege"] = "admin.error_required"
	case a.unknown(ctx, []string{name}) != "":
		fields["privilege"] = "admin.error_privilege"
	}
	unfit(fields, "reason", reason, maxDescr)
	given := store.Assignment{UserID: u.ID, Privilege: name, Reason: reason}
	if until != "" {
		var ok bool
		if given.Until, ok = a.endOf(until, by); !ok {
			fields["until"] = "admin.error_date"
		}
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	base := a.mux.Base(w, r)
	err = a.onPerson(w, r, u, review{
		page: templates.ReviewPage{What: "give", Privilege: name,
			Hidden: []templates.Pair{{Name: "privilege", Value: name}, {Name: "reason", Value: reason}, {Name: "until", Value: until}}},
		done: "given",
	}, func(ctx context.Context) error {
		next := given // a transaction may run twice
		return a.store.Assign(ctx, by.ID, &next)
	})
	var field *store.FieldError
	switch {
	case errors.As(err, &field) && field.Field == "until":
		end, eerr := a.heldUntil(ctx, by.ID, name)
		if eerr != nil {
			return eerr
		}
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"until": "admin.error_until"},
			Args: map[string]any{"Date": base.When(end.In(by.Location()))}})
	case errors.Is(err, store.ErrConflict) && field == nil:
		return again(http.StatusConflict, templates.FormErrors{Fields: map[string]string{"privilege": "admin.error_held"}})
	}
	return a.refused(err, again)
}

// endOf is the end of a day to come that somebody typed, where they are: that day counts.
func (a *Admin) endOf(day string, by *store.User) (store.Time, bool) {
	t, err := time.ParseInLocation(time.DateOnly, day, by.Location())
	end := t.AddDate(0, 0, 1)
	return store.At(end), err == nil && end.After(a.store.Clock()) && t.Year() < lastYear
}

// lastYear is the last that dates are written in (RFC 3339).
const lastYear = 9999

// heldUntil is how long the giver holds it, or may give it, themselves.
func (a *Admin) heldUntil(ctx context.Context, id, name string) (time.Time, error) {
	m, err := a.store.Model(ctx)
	if err != nil {
		return time.Time{}, err
	}
	l, err := a.store.Live(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	end, _ := m.HeldUntil(l, store.At(a.store.Clock()), name)
	return end, nil
}

// refused shows on the form's page why the gate did not let a change through.
func (a *Admin) refused(err error, again func(int, templates.FormErrors) error) error {
	if status, e, ok := refusal(err); err != nil && ok {
		return again(status, e)
	}
	return notFound(err)
}

// onPerson is see for a change of what one person holds.
func (a *Admin) onPerson(w http.ResponseWriter, r *http.Request, u *store.User, v review, change func(context.Context) error) error {
	v.page.Person, v.page.CancelURL, v.to = nameOf(u), "/admin/users/"+u.ID, "/admin/users/"+u.ID
	v.apply = func(ctx context.Context, agree func(store.Impact) bool) (store.Impact, error) {
		return a.desk.OnPerson(ctx, u.ID, change, agree)
	}
	return a.see(w, r, "users", v)
}

// take is POST /admin/users/{id}/take.
func (a *Admin) take(w http.ResponseWriter, r *http.Request) error {
	ctx, by, name := r.Context(), actor(r.Context()), strings.TrimSpace(r.PostFormValue("privilege"))
	again := func(status int, e templates.FormErrors) error {
		return a.renderUser(w, r, status, func(p *templates.UserPage) { p.FormErrors = e })
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	err = a.onPerson(w, r, u, review{
		page: templates.ReviewPage{What: "take", Privilege: name, Danger: true,
			Hidden: []templates.Pair{{Name: "privilege", Value: name}}},
		done: "taken",
	}, func(ctx context.Context) error { return a.store.Unassign(ctx, by.ID, u.ID, name) })
	if errors.Is(err, store.ErrNotFound) {
		return again(http.StatusConflict, templates.FormErrors{Form: "admin.error_not_given"})
	}
	return a.refused(err, again)
}

// setType is POST /admin/users/{id}/type.
func (a *Admin) setType(w http.ResponseWriter, r *http.Request) error {
	ctx, by := r.Context(), actor(r.Context())
	again := func(status int, e templates.FormErrors) error {
		return a.renderUser(w, r, status, func(p *templates.UserPage) { p.FormErrors = e })
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	t := m.Type(r.PostFormValue("type")) // by its value, which may be the name of another
	if t == nil || slices.Contains(t.Names, privilege.TypeAnonymous) {
		return a.refused(rights.ErrNoType, again)
	}
	base := a.mux.Base(w, r)
	err = a.onPerson(w, r, u, review{
		page: templates.ReviewPage{What: "type", Other: t.In(base.Lang),
			Hidden: []templates.Pair{{Name: "type", Value: t.Value}}},
		done: "type",
	}, func(ctx context.Context) error { return a.store.SetUserType(ctx, by.ID, u.ID, t.Value) })
	return a.refused(err, again)
}
