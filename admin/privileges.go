package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	pageSize   = 50  // lines of a list
	maxNames   = 300 // names in a list to choose from; with more of them people type
	maxLabel   = 100 // characters
	maxDescr   = 500 // characters
	maxPeople  = 50  // holders on a privilege's page
	searchSize = 254 // characters of a search: the longest e-mail address
)

// fillIn puts the request's own path values into a place.
func fillIn(place string, r *http.Request) string {
	for _, name := range []string{"name", "id"} {
		place = strings.ReplaceAll(place, "{"+name+"}", url.PathEscape(r.PathValue(name)))
	}
	return place
}

// query is a search term of a GET form, cut to a sensible length. What no database takes for text becomes something that nothing is called, so that
// the page says so.
func query(r *http.Request, name string) string { return searchable(r.URL.Query().Get(name)) }

func searchable(q string) string {
	q = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(strings.TrimSpace(q), string(utf8.RuneError)))
	if utf8.RuneCountInString(q) > searchSize {
		return string([]rune(q)[:searchSize])
	}
	return q
}

// privileges is GET /admin/privileges.
func (a *Admin) privileges(w http.ResponseWriter, r *http.Request) error {
	base, err := a.base(w, r, "privileges")
	if err != nil {
		return err
	}
	p := &templates.PrivilegesPage{Admin: base, Query: query(r, "q")}
	if p.Edit, err = a.guard.Can(r.Context(), "privileges.edit"); err != nil {
		return err
	}
	rows, err := a.store.Privileges(r.Context())
	if err != nil {
		return err
	}
	counts, err := a.store.HolderCounts(r.Context())
	if err != nil {
		return err
	}
	after, want := query(r, "after"), strings.ToLower(p.Query)
	for _, row := range rows {
		label, description := row.In(base.Lang)
		if want != "" && !strings.Contains(row.Name, want) && !strings.Contains(strings.ToLower(label), want) {
			continue
		}
		if p.Total++; row.Name <= after {
			continue
		}
		if len(p.List) == pageSize {
			p.More = "/admin/privileges?" + url.Values{"q": {p.Query}, "after": {p.List[pageSize-1].Name}}.Encode()
			break
		}
		p.List = append(p.List, templates.PrivilegeRow{PrivilegeName: templates.PrivilegeName{Name: row.Name, Label: label}, Description: description,
			Source: row.Source, Includes: row.Includes, Holders: counts[row.Name]})
	}
	return a.mux.Render(w, r, http.StatusOK, p)
}

// names are the privileges to choose from, where there are not too many to.
func (a *Admin) names(ctx context.Context) ([]string, error) {
	g, err := a.store.Definitions(ctx)
	if err != nil {
		return nil, err
	}
	list := plain(g.Names())
	if len(list) > maxNames {
		return nil, nil
	}
	return list, nil
}

// newPrivilege is GET /admin/new-privilege.
func (a *Admin) newPrivilege(w http.ResponseWriter, r *http.Request) error {
	return a.renderNew(w, r, http.StatusOK, &templates.NewPrivilegePage{})
}

func (a *Admin) renderNew(w http.ResponseWriter, r *http.Request, status int, p *templates.NewPrivilegePage) (err error) {
	if p.Admin, err = a.base(w, r, "privileges"); err != nil {
		return err
	}
	if p.Names, err = a.names(r.Context()); err != nil {
		return err
	}
	return a.mux.Render(w, r, status, p)
}

// createPrivilege is POST /admin/privileges. Nobody holds what is new, so there is nothing to weigh.
func (a *Admin) createPrivilege(w http.ResponseWriter, r *http.Request) error {
	p := &templates.NewPrivilegePage{Name: strings.TrimSpace(r.PostFormValue("name")), Text: strings.TrimSpace(r.PostFormValue("label")),
		Description: strings.TrimSpace(r.PostFormValue("description")), Includes: strings.TrimSpace(r.PostFormValue("includes"))}
	again := func(status int, e templates.FormErrors) error {
		p.FormErrors = e
		return a.renderNew(w, r, status, p)
	}
	fields := map[string]string{}
	switch {
	case p.Name == "":
		fields["name"] = "admin.error_required"
	case privilege.ValidName(p.Name) != nil:
		fields["name"] = "admin.error_name"
	}
	unfit(fields, "label", p.Text, maxLabel)
	unfit(fields, "description", p.Description, maxDescr)
	client, _, role := privilege.ClientRole(p.Name)
	if role && len(fields) == 0 {
		switch _, err := a.store.Client(r.Context(), client); {
		case errors.Is(err, store.ErrNotFound):
			fields["name"] = "admin.error_name_client"
		case err != nil:
			return err
		}
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	includes := strings.FieldsFunc(p.Includes, func(c rune) bool { return c == ' ' || c == ',' })
	err := a.store.CreatePrivilege(r.Context(), actor(r.Context()).ID, &store.Privilege{Name: p.Name, Label: p.Text, Description: p.Description, ClientID: client0(client, role), Includes: includes})
	if errors.Is(err, store.ErrNotFound) {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"includes": "admin.error_privileges"},
			Args: map[string]any{"Name": a.unknown(r.Context(), includes)}})
	}
	if status, e, ok := refusal(err); err != nil && ok {
		return again(status, e)
	}
	if err != nil {
		return err
	}
	return web.SeeOther(w, r, "/admin/privileges/"+url.PathEscape(p.Name)+"?done=created")
}

func client0(client string, role bool) string {
	if role {
		return client
	}
	return ""
}

// unknown is the first of names that there is not.
func (a *Admin) unknown(ctx context.Context, names []string) string {
	g, err := a.store.Definitions(ctx)
	if err != nil {
		return ""
	}
	for _, n := range names {
		if _, node := privilege.TypeOf(n); node || !g.Has(n) {
			return n
		}
	}
	return ""
}

// unfit says what is wrong with a text that is to be kept: one line of characters that people can read, and not too many.
func unfit(fields map[string]string, name, value string, most int) {
	switch {
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		fields[name] = "admin.error_characters"
	case utf8.RuneCountInString(value) > most:
		fields[name] = "admin.error_long"
	}
}

// labelled gives names the labels people read.
func labelled(labels map[string]string, names []string) (out []templates.PrivilegeName) {
	for _, n := range plain(names) {
		out = append(out, templates.PrivilegeName{Name: n, Label: labels[n]})
	}
	return out
}

// privilege is GET /admin/privileges/{name}.
func (a *Admin) privilege(w http.ResponseWriter, r *http.Request) error {
	return a.renderPrivilege(w, r, http.StatusOK, nil)
}

// renderPrivilege shows a privilege; change may set what was typed and what is wrong with it.
func (a *Admin) renderPrivilege(w http.ResponseWriter, r *http.Request, status int, change func(*templates.PrivilegePage)) error {
	ctx, name := r.Context(), r.PathValue("name")
	base, err := a.base(w, r, "privileges")
	if err != nil {
		return err
	}
	d, err := a.desk.Privilege(ctx, name)
	if err != nil {
		return notFound(err)
	}
	row := store.Privilege{Label: d.Label, Description: d.Description, Texts: d.Texts}
	label, description := row.In(base.Lang)
	p := &templates.PrivilegePage{Admin: base, PrivilegeName: templates.PrivilegeName{Name: name, Label: label}, Description: description, Source: d.Source,
		Client: d.ClientID, Permissions: d.Permissions, UserTypes: d.UserTypes, Required: d.Required, Visible: d.Visible, Delegations: d.Delegations,
		Assigned: d.Holders, InEffect: d.InEffect, Blocking: d.Blocking, Requestable: d.Requestable, Declared: a.desk.Declared(name, d.Source)}
	labels, err := a.store.LabelsIn(ctx, base.Lang)
	if err != nil {
		return err
	}
	p.Includes, p.Closure, p.IncludedBy = labelled(labels, d.Includes), labelled(labels, without(d.Closure, name)), labelled(labels, d.IncludedBy)
	if p.Edit, err = a.guard.Can(ctx, "privileges.edit"); err != nil {
		return err
	}
	p.Edit = p.Edit && !p.Declared
	p.Delete = p.Edit && d.CanDelete()
	if ok, err := a.guard.Can(ctx, "users.view"); err != nil {
		return err
	} else if ok { // who holds it is about people
		after := query(r, "after")
		people, more, err := a.desk.Holders(ctx, name, after, maxPeople)
		if err != nil {
			return err
		}
		if p.Further = after != ""; more {
			p.MorePeople = "/admin/privileges/" + url.PathEscape(name) + "?" + url.Values{"after": {people[len(people)-1].User.ID}}.Encode() + "#privilege-people"
		}
		for _, h := range people {
			by := plain(h.By)
			if h.Type != "" {
				by = append(by, base.T("admin.type_title")+" "+h.Type)
			}
			p.People = append(p.People, templates.PersonLine{ID: h.User.ID, Name: nameOf(&h.User), Detail: strings.Join(by, ", ")})
		}
	}
	if p.Edit {
		p.PrivilegeName.Label, p.Description = d.Label, d.Description // what is edited is the original, not its translation
		for _, l := range base.AllLanguages() {
			if l.Value != "en" {
				t := d.Texts[l.Value]
				p.Translations = append(p.Translations, templates.Translation{Lang: l.Value, Language: l.Label, Label: t.Label, Description: t.Description})
			}
		}
		if p.Names, err = a.names(ctx); err != nil {
			return err
		}
	}
	if change != nil {
		change(p)
	}
	return a.mux.Render(w, r, status, p)
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == name })
}

// nameOf is what a list calls somebody; an account without any name is called by its id.
func nameOf(u *store.User) string {
	if n := u.Name(); n != "" {
		return n
	}
	return u.ID
}

// describe is POST /admin/privileges/{name}/describe.
func (a *Admin) describe(w http.ResponseWriter, r *http.Request) error {
	name, fields := r.PathValue("name"), map[string]string{}
	value := func(field string, most int) string {
		v := strings.TrimSpace(r.PostFormValue(field))
		unfit(fields, field, v, most)
		return v
	}
	label, description, texts := value("label", maxLabel), value("description", maxDescr), store.Labels{}
	base := a.mux.Base(w, r)
	for _, l := range base.AllLanguages() {
		if t := (store.Label{Label: value("label_"+l.Value, maxLabel), Description: value("description_"+l.Value, maxDescr)}); t != (store.Label{}) && l.Value != "en" {
			texts[l.Value] = t
		}
	}
	again := func(status int, e templates.FormErrors) error {
		return a.renderPrivilege(w, r, status, func(p *templates.PrivilegePage) {
			p.FormErrors, p.PrivilegeName.Label, p.Description, p.Requestable = e, label, description, r.PostFormValue("requestable") != ""
			for i, t := range p.Translations {
				p.Translations[i].Label, p.Translations[i].Description = texts[t.Lang].Label, texts[t.Lang].Description
			}
		})
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields})
	}
	err := a.desk.Describe(r.Context(), actor(r.Context()).ID, name, func(p *store.Privilege) error {
		for lang, t := range p.Texts { // in languages that no page is in
			if _, ours := texts[lang]; !ours && !slices.ContainsFunc(base.AllLanguages(), func(l templates.Choice) bool { return l.Value == lang }) {
				texts[lang] = t
			}
		}
		p.Label, p.Description, p.Texts, p.Requestable = label, description, texts, r.PostFormValue("requestable") != ""
		return nil
	})
	return a.after(w, r, err, again, "/admin/privileges/"+url.PathEscape(name), "saved")
}

// after answers a change that was made, refused, or failed.
func (a *Admin) after(w http.ResponseWriter, r *http.Request, err error, again func(int, templates.FormErrors) error, to, done string) error {
	if err == nil {
		return web.SeeOther(w, r, to+"?done="+done)
	}
	if errors.Is(err, store.ErrNotFound) {
		return notFound(err)
	}
	if status, e, ok := refusal(err); ok {
		return again(status, e)
	}
	return err
}

// include is POST /admin/privileges/{name}/include; exclude takes one out again.
func (a *Admin) include(w http.ResponseWriter, r *http.Request) error { return a.edit(w, r, true) }

// exclude is POST /admin/privileges/{name}/exclude.
func (a *Admin) exclude(w http.ResponseWriter, r *http.Request) error { return a.edit(w, r, false) }

func (a *Admin) edit(w http.ResponseWriter, r *http.Request, add bool) error {
	ctx, name, other := r.Context(), r.PathValue("name"), strings.TrimSpace(r.PostFormValue("include"))
	again := func(status int, e templates.FormErrors) error {
		return a.renderPrivilege(w, r, status, func(p *templates.PrivilegePage) {
			if p.FormErrors = e; add {
				p.Include = other
			}
		})
	}
	d, err := a.desk.Privilege(ctx, name)
	if err != nil {
		return notFound(err)
	}
	next := without(d.Includes, other)
	if add {
		if other == "" {
			return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"include": "admin.error_required"}})
		}
		if a.unknown(ctx, []string{other}) != "" {
			return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"include": "admin.error_privilege"}})
		}
		next = append(next, other)
	}
	e := store.Edit{Privilege: name, Includes: next}
	what := "exclude"
	if add {
		what = "include"
	}
	return a.seeOr(w, r, "privileges", review{
		page: templates.ReviewPage{What: what, Privilege: name, Other: other,
			CancelURL: "/admin/privileges/" + url.PathEscape(name), Hidden: []templates.Pair{{Name: "include", Value: other}}},
		done: "changed", to: "/admin/privileges/" + url.PathEscape(name),
		apply: a.weighed(r, e),
	}, again)
}

// weighed makes an edit of definitions a review: weighed outside of a transaction first, since that may take seconds, and again inside when somebody
// agreed to it.
func (a *Admin) weighed(r *http.Request, e store.Edit) func(context.Context, func(store.Impact) bool) (store.Impact, error) {
	return func(ctx context.Context, agree func(store.Impact) bool) (store.Impact, error) {
		by := actor(ctx).ID
		impact, err := a.desk.Weigh(ctx, by, e)
		if err != nil {
			return impact, err
		}
		if !agree(impact) {
			return impact, rights.ErrUnweighed
		}
		return a.desk.Apply(ctx, by, e, agree)
	}
}

// seeOr is see, with refusals shown on the page the form is on.
func (a *Admin) seeOr(w http.ResponseWriter, r *http.Request, section string, v review, again func(int, templates.FormErrors) error) error {
	err := a.see(w, r, section, v)
	if status, e, ok := refusal(err); err != nil && ok {
		return again(status, e)
	}
	return notFound(err)
}

// deletePrivilege is POST /admin/privileges/{name}/delete. It always asks.
func (a *Admin) deletePrivilege(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	again := func(status int, e templates.FormErrors) error {
		return a.renderPrivilege(w, r, status, func(p *templates.PrivilegePage) { p.FormErrors = e })
	}
	return a.seeOr(w, r, "privileges", review{
		page: templates.ReviewPage{What: "delete", Privilege: name, Danger: true,
			CancelURL: "/admin/privileges/" + url.PathEscape(name)},
		done: "deleted", to: "/admin/privileges", always: true,
		apply: a.weighed(r, store.Edit{Privilege: name, Delete: true}),
	}, again)
}

// rights is GET /admin/rights: the overviews (R91).
func (a *Admin) rights(w http.ResponseWriter, r *http.Request) error {
	base, err := a.base(w, r, "privileges")
	if err != nil {
		return err
	}
	p := &templates.RightsPage{Admin: base}
	types, err := a.desk.UserTypes(r.Context())
	if err != nil {
		return err
	}
	m, err := a.store.Model(r.Context())
	if err != nil {
		return err
	}
	for _, t := range types {
		row := templates.TypeRow{Value: t.Value, Text: t.Text, Source: t.Source, Privilege: t.Privilege, ReadOnly: t.ReadOnly, Hidden: t.HiddenLanguages, People: t.People}
		if own := m.Type(t.Value); own != nil {
			row.Text, row.Name = own.In(base.Lang), own.Name()
		}
		p.UserTypes = append(p.UserTypes, row)
	}
	o, err := a.desk.Overview(r.Context())
	if err != nil {
		return err
	}
	texts := map[string]string{}
	for _, perm := range privilege.Permissions() {
		texts[string(perm.Name)] = base.Permission(string(perm.Name))
	}
	p.Types, p.Permissions = matrix(o.Types, nil), matrix(o.Permissions, texts)
	return a.mux.Render(w, r, http.StatusOK, p)
}

// matrix leaves out rows and columns without any mark: with a thousand privileges most have none.
func matrix(t rights.Table, texts map[string]string) templates.Matrix {
	m := templates.Matrix{Columns: t.Columns}
	for _, row := range t.Rows {
		if len(t.Marks[row]) == 0 && texts == nil {
			continue
		}
		line := templates.MatrixRow{Name: row, Text: texts[row]}
		for _, c := range t.Columns {
			line.Marks = append(line.Marks, t.Marks[row][c])
		}
		m.Rows = append(m.Rows, line)
	}
	return m
}
