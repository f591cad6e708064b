package admin

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mountPeople is the part of Mount about lists of people, and about accounts.
func (a *Admin) mountPeople() {
	a.mux.Page("GET /admin/users", web.Needs("users.view"), a.users)
	a.mux.Page("POST /admin/users/export", web.Needs("users.export"), a.confirmed("/admin/users", a.exportUsers))
	a.mux.Page("GET /admin/new-user", web.Needs("users.create"), a.newUser)
	a.mux.Page("POST /admin/users", web.Needs("users.create"), a.confirmed("/admin/new-user", a.createUser))
	a.mux.Page("GET /admin/users/{id}/account", web.Needs("users.view"), a.account)
	for _, c := range []struct {
		what, action string
		do           web.Handler
	}{
		{"edit", "users.edit", a.editProfile}, {"disable", "users.status", a.disable}, {"enable", "users.status", a.enable}, {"link", "users.password", a.link}, {"erase", "users.delete", a.erase},
		{"end-session", "users.end_sessions", a.endSession}, {"end-access", "users.end_sessions", a.endAccess}, {"revoke", "users.end_sessions", a.revoke},
	} {
		a.mux.Page("POST /admin/users/{id}/"+c.what, web.Needs(c.action), a.confirmed("/admin/users/{id}/account", c.do))
	}
}

// filterOf reads what a list is narrowed by; values that no choice has are none.
func filterOf(get func(string) string) (f templates.PeopleFilter, q store.PeopleQuery) {
	value := func(name string) string { return searchable(get(name)) }
	f = templates.PeopleFilter{Query: value("q"), State: value("state"), Type: value("type"), Way: value("way"), Factor: value("factor"), Privilege: value("privilege")}
	if !slices.Contains([]string{store.StateActive, store.StateDisabled, store.StateWaiting, store.StateNew}, f.State) {
		f.State = ""
	}
	if f.Factor != store.FactorYes && f.Factor != store.FactorNo {
		f.Factor = ""
	}
	return f, store.PeopleQuery{Text: f.Query, Privilege: f.Privilege, Type: f.Type, Way: f.Way, State: f.State, Factor: f.Factor}
}

// addressOf is the list with a filter.
func addressOf(f *templates.PeopleFilter, more ...string) string {
	q := url.Values{}
	for _, p := range f.Fields() {
		q.Set(p.Name, p.Value)
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(q) == 0 {
		return "/admin/users"
	}
	return "/admin/users?" + q.Encode()
}

// users is GET /admin/users.
func (a *Admin) users(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	base, err := a.base(w, r, "users")
	if err != nil {
		return err
	}
	p := &templates.UsersPage{Admin: base}
	var q store.PeopleQuery
	p.PeopleFilter, q = filterOf(r.URL.Query().Get)
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	for i := range m.Types {
		if t := &m.Types[i]; !slices.Contains(t.Names, privilege.TypeAnonymous) {
			p.Types = append(p.Types, templates.Choice{Value: t.Value, Label: t.In(base.Lang)})
		}
	}
	p.Ways = a.ways(&base.Base)
	list, next, err := a.store.People(ctx, q, r.URL.Query().Get("after"), pageSize)
	if err != nil {
		return err
	}
	if next != "" {
		p.More, p.Short = addressOf(&p.PeopleFilter, "after", next), len(list) < pageSize
	}
	labels, err := a.store.LabelsIn(ctx, base.Lang)
	if err != nil {
		return err
	}
	for i := range list {
		line := a.personLine(&base.Base, m, &list[i].User)
		line.Marks = labelled(labels, list[i].Given)
		line.Detail = a.detail(&base.Base, actor(ctx).Location(), line.Detail, &list[i])
		p.People = append(p.People, line)
	}
	p.Chips = a.chips(&base.Base, p)
	if p.Names, err = a.names(ctx); err != nil {
		return err
	}
	for action, may := range map[string]*bool{"users.create": &p.Create, "users.export": &p.Export} {
		if *may, err = a.guard.Can(ctx, action); err != nil {
			return err
		}
	}
	return a.mux.Render(w, r, http.StatusOK, p)
}

// ways are those that a list can be narrowed by.
func (a *Admin) ways(b *templates.Base) []templates.Choice {
	out := []templates.Choice{{Value: store.CredPassword, Label: b.T("people.way_password")}, {Value: store.WayPasskey, Label: b.T("people.way_passkey")}, {Value: store.WayPhone, Label: b.T("people.way_phone")}}
	for _, id := range a.c.Connectors() {
		if id != store.CredPassword && id != store.WayPasskey && id != store.WayPhone {
			out = append(out, templates.Choice{Value: id, Label: a.c.Label(id)})
		}
	}
	return out
}

// detail is what a list says of somebody beside name and privileges.
func (a *Admin) detail(b *templates.Base, zone *time.Location, before string, p *store.Person) string {
	var parts []string
	if before != "" {
		parts = append(parts, before)
	}
	var ways []string
	for _, w := range p.Ways {
		ways = append(ways, a.wayText(b, w))
	}
	if len(ways) > 0 {
		parts = append(parts, strings.Join(ways, ", "))
	}
	if p.Factor {
		parts = append(parts, b.T("people.with_factor"))
	}
	if p.LastLoginAt.IsZero() {
		parts = append(parts, b.T("people.state_new"))
	} else {
		parts = append(parts, b.T("people.last_login", "When", b.When(p.LastLoginAt.In(zone))))
	}
	return strings.Join(parts, " · ")
}

func (a *Admin) wayText(b *templates.Base, way string) string {
	switch way {
	case store.CredPassword, store.WayPasskey, store.WayPhone:
		return b.T("people.way_" + way)
	}
	return a.c.Label(way)
}

// chips are the filters that are set, each with the list without it.
func (a *Admin) chips(b *templates.Base, p *templates.UsersPage) (out []templates.Chip) {
	label := func(list []templates.Choice, value string) string {
		for _, c := range list {
			if c.Value == value {
				return c.Label
			}
		}
		return value
	}
	add := func(value, text string, without templates.PeopleFilter) {
		if value != "" {
			out = append(out, templates.Chip{Text: text, URL: addressOf(&without)})
		}
	}
	without := func(clear func(*templates.PeopleFilter)) templates.PeopleFilter {
		f := p.PeopleFilter
		clear(&f)
		return f
	}
	add(p.State, b.T("people.state_"+p.State), without(func(f *templates.PeopleFilter) { f.State = "" }))
	add(p.Type, label(p.Types, p.Type), without(func(f *templates.PeopleFilter) { f.Type = "" }))
	add(p.Way, label(p.Ways, p.Way), without(func(f *templates.PeopleFilter) { f.Way = "" }))
	add(p.Factor, b.T("people.factor_"+p.Factor), without(func(f *templates.PeopleFilter) { f.Factor = "" }))
	add(p.Privilege, p.Privilege, without(func(f *templates.PeopleFilter) { f.Privilege = "" }))
	return out
}

const (
	exportPage  = 500
	exportSlack = 30 * time.Second // for each page: a long list takes longer than an answer may
)

// exportUsers is POST /admin/users/export: the list, with its filter, for a spreadsheet. Who took which list away is in the audit log.
func (a *Admin) exportUsers(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, q := filterOf(r.PostFormValue)
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	// Of the search it keeps that there was one: what was typed may be somebody's address, and the log outlives accounts.
	diff := map[string]any{"state": f.State, "type": f.Type, "way": f.Way, "factor": f.Factor, "privilege": f.Privilege, "search": f.Query != ""}
	if err := a.store.Audit(ctx, actor(ctx).ID, "user.export", "users:", diff); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="accounts.csv"`)
	out, deadline := csv.NewWriter(w), http.NewResponseController(w)
	out.UseCRLF = true
	if err := out.Write([]string{"id", "given_name", "family_name", "email", "email_verified", "username", "phone", "user_type", "state", "privileges", "ways_in", "second_factor", "created_at", "last_login_at"}); err != nil {
		return nil // the browser went away
	}
	for after := ""; ; {
		list, next, err := a.store.People(ctx, q, after, exportPage)
		if err != nil { // the answer has begun: the list says that it is not whole
			a.c.Logger.ErrorContext(ctx, "export of people", "ref", web.RequestID(ctx), "error", err)
			_ = out.Write([]string{"INCOMPLETE"})
			out.Flush()
			return nil
		}
		_ = deadline.SetWriteDeadline(time.Now().Add(exportSlack)) // where there is none to set, the server's own holds
		for i := range list {
			p := &list[i]
			row := []string{p.ID, p.GivenName, p.FamilyName, p.Email, yes(!p.EmailVerifiedAt.IsZero()), p.Username, p.Phone, typeName(m, p.UserType), a.stateOf(&p.User),
				strings.Join(p.HeldNow(), " "), strings.Join(p.Ways, " "), yes(p.Factor), stamp(p.CreatedAt), stamp(p.LastLoginAt)}
			for c := range row {
				row[c] = harmless(row[c])
			}
			if err := out.Write(row); err != nil {
				return nil
			}
		}
		if out.Flush(); out.Error() != nil || next == "" {
			return nil
		}
		after = next
	}
}

// harmless keeps a cell from being a formula to the program that opens it (security.md: CSV injection): what begins like one, whatever blank stands
// before it, begins with an apostrophe.
func harmless(cell string) string {
	rest := strings.TrimLeftFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
	first, _ := firstRune(rest)
	if rest != cell && (strings.HasPrefix(cell, "\t") || strings.HasPrefix(cell, "\r") || strings.HasPrefix(cell, "\n")) || strings.ContainsRune("=+-@＝＋－＠|%", first) && first != 0 {
		return "'" + cell
	}
	return cell
}

func firstRune(s string) (rune, bool) {
	for _, r := range s {
		return r, true
	}
	return 0, false
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func stamp(t store.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func typeName(m *store.Model, value string) string {
	if t := m.Type(value); t != nil {
		return t.Name()
	}
	return value
}

// stateOf is the state of an account in one word, as the command line has it.
func (a *Admin) stateOf(u *store.User) string {
	switch now := a.store.Clock(); {
	case !u.DisabledAt.IsZero() && u.DisabledReason == store.DisabledWaiting:
		return "awaiting_approval"
	case !u.DisabledAt.IsZero():
		return "disabled"
	case !u.ValidFrom.IsZero() && now.Before(u.ValidFrom.Time):
		return "not_yet"
	case !u.Active(now):
		return "ended"
	}
	return "active"
}

// personLine is somebody in a list: name, what they sign in by, type and state.
func (a *Admin) personLine(b *templates.Base, m *store.Model, u *store.User) templates.PersonLine {
	line := templates.PersonLine{ID: u.ID, Name: nameOf(u)}
	for _, s := range []string{u.Email, u.Username, u.Phone} {
		if s != "" && s != line.Name {
			line.Second = s
			break
		}
	}
	var detail []string
	if t := m.Type(u.UserType); t != nil {
		detail = append(detail, t.In(b.Lang))
	}
	if !u.Active(a.store.Clock()) {
		detail = append(detail, b.T("admin.inactive"))
	}
	line.Detail = strings.Join(detail, " · ")
	return line
}
