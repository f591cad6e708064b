package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mostWaiting is where the menu stops counting.
const mostWaiting = 99

// requests is GET /admin/privilege-requests: who asks for what the reader could give, oldest first. Others are neither shown nor counted.
func (a *Admin) requests(w http.ResponseWriter, r *http.Request) error {
	return a.renderRequests(w, r, http.StatusOK, nil)
}

func (a *Admin) renderRequests(w http.ResponseWriter, r *http.Request, status int, change func(*templates.RequestsPage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "requests")
	if err != nil {
		return err
	}
	p := &templates.RequestsPage{Admin: base, After: searchable(r.FormValue("after"))} // of the form that came back, too
	if p.Decide, err = a.guard.Can(ctx, "requests.decide"); err != nil {
		return err
	}
	if p.Users, err = a.guard.Can(ctx, "users.view"); err != nil {
		return err
	}
	list, more, err := a.store.OpenRequests(ctx, actor(ctx).ID, p.After, pageSize)
	if err != nil {
		return err
	}
	if more {
		p.More = requests.QueuePath + "?" + url.Values{"after": {list[len(list)-1].ID}}.Encode()
	}
	words, err := a.words(ctx, &p.Base)
	if err != nil {
		return err
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		q := &list[i]
		l, err := a.store.Live(ctx, q.UserID)
		if err != nil {
			return err
		}
		person := templates.PersonLine{ID: l.User.ID, Name: l.User.ID}
		if p.Users {
			person = a.personLine(&p.Base, m, &l.User)
		} else if n := l.User.Name(); n != "" && n != l.User.Email { // addresses are for those who may see people's data
			person.Name = n
		}
		line := templates.RequestLine{PrivilegeName: words.name(q.Privilege), ID: q.ID, Person: person, Reason: q.Reason,
			Asked: words.when(q.CreatedAt.Time), Ends: words.when(q.ExpiresAt.Time)}
		held := m.Effective(l, store.At(a.store.Clock()))
		for _, n := range m.Graph.Closure(q.Privilege) {
			if n != q.Privilege && !privilege.HasAny(held, n) {
				line.Gains = append(line.Gains, words.Label(n))
			}
		}
		p.List = append(p.List, line)
	}
	if change != nil {
		change(p)
	}
	return a.mux.Render(w, r, status, p)
}

// decide is POST /admin/privilege-requests/{id}. What it does to the person stands on the page that its form is on.
func (a *Admin) decide(w http.ResponseWriter, r *http.Request) error {
	ctx, by, id := r.Context(), actor(r.Context()), r.PathValue("id")
	decision, note, until := r.PostFormValue("decision"), strings.TrimSpace(r.PostFormValue("note")), strings.TrimSpace(r.PostFormValue("until"))
	again := func(status int, e templates.FormErrors) error {
		return a.renderRequests(w, r, status, func(p *templates.RequestsPage) {
			p.FormErrors = e
			if i := slices.IndexFunc(p.List, func(l templates.RequestLine) bool { return l.ID == id }); i >= 0 {
				p.Wrong, p.List[i].Decision, p.List[i].Note, p.List[i].Until = id, decision, note, until
			}
		})
	}
	what, done := store.Decision{Note: note}, "refused"
	switch decision {
	case "refuse":
	case "approve":
		what.Approve, done = true, "approved"
		if until == "" {
			break
		}
		var ok bool
		if what.Until, ok = a.endOf(until, by); !ok {
			return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"until": "admin.error_date"}})
		}
	default:
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"decision": "asking.queue_choose"}})
	}
	_, err := a.c.Requests.Decide(ctx, by.ID, id, what)
	var field *store.FieldError
	switch {
	case err == nil:
		return web.SeeOther(w, r, requests.QueuePath+"?done="+done)
	case errors.Is(err, store.ErrNotFound):
		return &web.Error{Status: http.StatusNotFound, Err: err, RestartURL: requests.QueuePath}
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
		return again(http.StatusConflict, templates.FormErrors{Form: "asking.error_over"})
	case errors.As(err, &field) && field.Field == "note":
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"note": "admin.error_long"}})
	case errors.As(err, &field) && field.Field == "until":
		q, err := a.store.PrivilegeRequest(ctx, id)
		if err != nil {
			return err
		}
		end, err := a.heldUntil(ctx, by.ID, q.Privilege)
		if err != nil {
			return err
		}
		base := a.mux.Base(w, r)
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"until": "admin.error_until"},
			Args: map[string]any{"Date": base.When(end.In(by.Location()))}})
	}
	return a.refused(err, again)
}
