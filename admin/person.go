package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// historySize is how many entries of the audit log a page shows.
const historySize = 25

// account is GET /admin/users/{id}/account.
func (a *Admin) account(w http.ResponseWriter, r *http.Request) error {
	return a.renderAccount(w, r, http.StatusOK, nil)
}

func (a *Admin) renderAccount(w http.ResponseWriter, r *http.Request, status int, change func(*templates.PersonPage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "users")
	if err != nil {
		return err
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	zone := actor(ctx).Location()
	when := func(t store.Time) string {
		if t.IsZero() {
			return ""
		}
		return base.When(t.In(zone))
	}
	e := store.PersonEditOf(u)
	p := &templates.PersonPage{Admin: base, ID: u.ID, Name: nameOf(u), Self: u.ID == actor(ctx).ID, Version: u.Version,
		GivenName: e.GivenName, FamilyName: e.FamilyName, Email: e.Email, Username: e.Username, Locale: e.Locale, Zoneinfo: e.Zoneinfo, Organization: e.Organization, Country: e.Country,
		EmailVerified: !u.EmailVerifiedAt.IsZero(), Phone: u.Phone, Created: when(u.CreatedAt), LastLogin: when(u.LastLoginAt),
		Disabled: when(u.DisabledAt), Waiting: !u.DisabledAt.IsZero() && u.DisabledReason == store.DisabledWaiting, Active: u.Active(a.store.Clock()), ConfirmText: confirmText(u)}
	if !p.Waiting {
		p.DisabledReason = u.DisabledReason
	}
	for action, may := range map[string]*bool{"users.edit": &p.Edit, "users.status": &p.Status, "users.password": &p.Link, "users.delete": &p.Erase,
		"users.sessions": &p.SeeSessions, "users.end_sessions": &p.EndSessions, "users.history": &p.SeeHistory} {
		if *may, err = a.guard.Can(ctx, action); err != nil {
			return err
		}
	}
	if p.Self { // its owner has pages of their own, and shows there who they are
		p.Edit, p.Status, p.Link, p.Erase, p.EndSessions = false, false, false, false, false
	}
	p.Link = p.Link && a.c.Account.Passwords()
	p.MailLink = a.c.Account.Mails() && u.Email != ""
	if err := a.fillAccount(ctx, p, u, when); err != nil {
		return err
	}
	if p.SeeHistory {
		if err := a.fillHistory(r, p, when); err != nil {
			return err
		}
	}
	if change != nil {
		change(p)
	}
	return a.mux.Render(w, r, status, p)
}

// confirmText is what has to be typed before an account is deleted: what tells it from all others.
func confirmText(u *store.User) string {
	for _, s := range []string{u.Email, u.Username, u.Phone} {
		if s != "" {
			return s
		}
	}
	return u.ID
}

// fillAccount is how the person comes in, and where they are.
func (a *Admin) fillAccount(ctx context.Context, p *templates.PersonPage, u *store.User, when func(store.Time) string) error {
	switch _, err := a.store.Password(ctx, u.ID); {
	case err == nil:
		p.Password = true
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	factors, err := a.store.Factors(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, f := range factors.List {
		name := f.Label
		if name == "" {
			name = f.Kind
		}
		p.Factors = append(p.Factors, name)
	}
	links, err := a.store.IdentitiesOf(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, l := range links {
		p.Identities = append(p.Identities, templates.IdentityLine{Provider: a.c.Label(l.Connector), Subject: l.Subject, Issuer: l.Issuer, Email: l.Email, Trust: l.EmailTrust,
			Evidence: l.Evidence, Since: when(l.CreatedAt), LastUsed: when(l.LastUsedAt), Quarantined: !l.QuarantinedAt.IsZero()})
	}
	switch d, err := a.store.DeletionOf(ctx, u.ID); {
	case err == nil:
		p.Leaving = when(d.DueAt)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if !p.SeeSessions {
		return nil
	}
	sessions, err := a.store.SessionsOf(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(sessions) {
		p.Sessions = append(p.Sessions, templates.SessionLine{ID: s.ID, Device: a.c.Account.Device(&p.Base, s.UserAgent), IP: s.IP, Since: when(s.CreatedAt), LastSeen: when(s.LastSeenAt)})
	}
	return a.fillApps(ctx, p, u, when)
}

// fillApps are the applications with a grant that lives or a consent that is remembered.
func (a *Admin) fillApps(ctx context.Context, p *templates.PersonPage, u *store.User, when func(store.Time) string) error {
	grants, err := a.store.GrantsOf(ctx, u.ID)
	if err != nil {
		return err
	}
	consents, err := a.store.ConsentsOf(ctx, u.ID)
	if err != nil {
		return err
	}
	add := func(client string, scope []string, since store.Time) error {
		i := slices.IndexFunc(p.Apps, func(l templates.AppLine) bool { return l.ClientID == client })
		if i < 0 {
			line := templates.AppLine{ClientID: client, Name: client, Since: when(since)}
			c, err := a.store.CachedClient(ctx, client)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err == nil && c.Metadata.Name != "" {
				line.Name = c.Metadata.Name
			}
			i, p.Apps = len(p.Apps), append(p.Apps, line)
		}
		for _, s := range scope {
			if !slices.Contains(p.Apps[i].Scopes, s) {
				p.Apps[i].Scopes = append(p.Apps[i].Scopes, s)
			}
		}
		return nil
	}
	for _, g := range grants {
		if err := add(g.ClientID, g.Scope, g.CreatedAt); err != nil {
			return err
		}
	}
	for _, c := range consents {
		if err := add(c.ClientID, c.Scope, c.GrantedAt); err != nil {
			return err
		}
	}
	return nil
}

// fillHistory is what the audit log has about the person, the newest first.
func (a *Admin) fillHistory(r *http.Request, p *templates.PersonPage, when func(store.Time) string) error {
	ctx := r.Context()
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64) // what is no number is the beginning
	list, err := a.store.AuditAbout(ctx, "user:"+p.ID, before, historySize+1)
	if err != nil {
		return err
	}
	if len(list) > historySize {
		list = list[:historySize]
		p.MoreHistory = p.URL() + "/account?before=" + strconv.FormatInt(list[historySize-1].Seq, 10) + "#person-history"
	}
	words, err := a.words(ctx, &p.Base)
	if err != nil {
		return err
	}
	var people []string
	for _, e := range list {
		people = append(people, e.Actor)
	}
	if err := words.meet(people); err != nil {
		return err
	}
	for _, e := range list {
		line := templates.HistoryLine{When: when(e.At), Action: actionText(e.Action), Who: e.Actor}
		if name := words.Names[e.Actor]; name != "" && explain.IsPerson(e.Actor) {
			line.Who = name
		}
		line.Detail = detailText(e.Diff)
		p.History = append(p.History, line)
	}
	return nil
}

// detailText is what an entry says beside its action, in one line: "fields: email, username". What was not set is left out.
func detailText(diff string) string {
	var m map[string]any
	if err := json.Unmarshal([]byte(diff), &m); err != nil {
		return diff
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		text := fmt.Sprint(m[key])
		if list, ok := m[key].([]any); ok {
			var some []string
			for _, v := range list {
				some = append(some, fmt.Sprint(v))
			}
			text = strings.Join(some, ", ")
		}
		if text != "" && text != "<nil>" && !strings.HasPrefix(text, "0001-01-01T") {
			parts = append(parts, strings.ReplaceAll(key, "_", " ")+": "+text)
		}
	}
	return strings.Join(parts, " · ")
}

// actionText is an action of the audit log as people read it: "user: reset factors".
func actionText(action string) string {
	return strings.ReplaceAll(strings.Replace(action, ".", ": ", 1), "_", " ")
}

// accountDone leads back to the account's page.
func accountDone(w http.ResponseWriter, r *http.Request, id, done string) error {
	return web.SeeOther(w, r, "/admin/users/"+id+"/account?done="+done)
}

// onAccount runs a change of somebody's account and shows on its page why it was refused.
func (a *Admin) onAccount(w http.ResponseWriter, r *http.Request, done string, change func(ctx context.Context, by, id string) error) error {
	ctx := r.Context()
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	err = change(ctx, actor(ctx).ID, u.ID)
	if err == nil {
		return accountDone(w, r, u.ID, done)
	}
	return a.accountRefused(w, r, err, nil)
}

func (a *Admin) accountRefused(w http.ResponseWriter, r *http.Request, err error, change func(*templates.PersonPage)) error {
	return a.refused(err, func(status int, e templates.FormErrors) error {
		return a.renderAccount(w, r, status, func(p *templates.PersonPage) {
			p.FormErrors = e
			if change != nil {
				change(p)
			}
		})
	})
}

// profileFrom reads the fields of a profile, and says which cannot be.
func profileFrom(r *http.Request) (e store.PersonEdit, fields map[string]string) {
	fields = map[string]string{}
	value := func(name string, most int) string {
		v := strings.TrimSpace(r.PostFormValue(name))
		unfit(fields, name, v, most)
		return v
	}
	e = store.PersonEdit{GivenName: value("given_name", 100), FamilyName: value("family_name", 100), Email: value("email", searchSize), Username: value("username", 64),
		Locale: value("locale", 35), Zoneinfo: value("zoneinfo", 64), Organization: value("organization", 255), Country: strings.ToUpper(value("country", 2))}
	if e.Locale != "" {
		tag, ok := languageTag(e.Locale)
		if !ok {
			fields["locale"] = "people.error_unfit"
		}
		e.Locale = tag
	}
	if e.Zoneinfo != "" {
		if _, err := time.LoadLocation(e.Zoneinfo); err != nil || e.Zoneinfo == "Local" {
			fields["zoneinfo"] = "people.error_unfit"
		}
	}
	if e.Country != "" && !isCountry(e.Country) {
		fields["country"] = "people.error_unfit"
	}
	return e, fields
}

// editProfile is POST /admin/users/{id}/edit. It takes the fields of the form and nothing else that may stand in it (security.md G7).
func (a *Admin) editProfile(w http.ResponseWriter, r *http.Request) error {
	ctx, by := r.Context(), actor(r.Context())
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	e, fields := profileFrom(r)
	typed := func(p *templates.PersonPage) {
		p.GivenName, p.FamilyName, p.Email, p.Username = e.GivenName, e.FamilyName, e.Email, e.Username
		p.Locale, p.Zoneinfo, p.Organization, p.Country = e.Locale, e.Zoneinfo, e.Organization, e.Country
	}
	again := func(status int, errs templates.FormErrors, more func(*templates.PersonPage)) error {
		return a.renderAccount(w, r, status, func(p *templates.PersonPage) {
			if more != nil {
				more(p)
			}
			typed(p)
			p.FormErrors = errs
		})
	}
	version, verr := strconv.ParseInt(r.PostFormValue("version"), 10, 64)
	if verr != nil { // a form that says nothing
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Form: "people.error_unfit"}, func(p *templates.PersonPage) { e = store.PersonEditOf(u) })
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields}, nil)
	}
	err = a.c.Account.Edit(ctx, by.ID, u.ID, version, e)
	var field *store.FieldError
	switch {
	case err == nil:
		return accountDone(w, r, u.ID, "edited")
	case errors.As(err, &field):
		return again(http.StatusUnprocessableEntity, fieldTaken(field), nil)
	case errors.Is(err, store.ErrConflict):
		who, werr := a.lastEditor(ctx, u.ID)
		if werr != nil {
			return werr
		}
		return again(http.StatusConflict, templates.FormErrors{Form: "people.error_moved", Args: map[string]any{"Who": who}}, func(p *templates.PersonPage) {
			if who == "" {
				p.Args = map[string]any{"Who": p.T("people.somebody")}
			}
			p.Now = differing(e, store.PersonEdit{GivenName: p.GivenName, FamilyName: p.FamilyName, Email: p.Email, Username: p.Username, Locale: p.Locale, Zoneinfo: p.Zoneinfo,
				Organization: p.Organization, Country: p.Country})
		})
	}
	return a.accountRefused(w, r, err, typed)
}

// fieldTaken says what is wrong with a value that the database refused.
func fieldTaken(e *store.FieldError) templates.FormErrors {
	key := "people.error_unfit"
	if errors.Is(e.Err, store.ErrConflict) {
		key = "people.error_taken"
	}
	return templates.FormErrors{Fields: map[string]string{e.Field: key}}
}

// lastEditor names who changed an account last, "" = somebody who is not known.
func (a *Admin) lastEditor(ctx context.Context, id string) (string, error) {
	list, err := a.store.AuditAbout(ctx, "user:"+id, 0, 1)
	if err != nil || len(list) == 0 || !explain.IsPerson(list[0].Actor) {
		return "", err
	}
	people, err := a.store.UsersByID(ctx, []string{list[0].Actor})
	if err != nil || len(people) == 0 || !people[0].DeletedAt.IsZero() {
		return "", err
	}
	return nameOf(&people[0]), nil
}

// differing are the fields of which the row says something else than was typed.
func differing(typed, now store.PersonEdit) map[string]string {
	out := map[string]string{}
	for _, f := range []struct{ name, typed, now string }{{"given_name", typed.GivenName, now.GivenName}, {"family_name", typed.FamilyName, now.FamilyName}, {"email", typed.Email, now.Email},
		{"username", typed.Username, now.Username}, {"locale", typed.Locale, now.Locale}, {"zoneinfo", typed.Zoneinfo, now.Zoneinfo}, {"organization", typed.Organization, now.Organization},
		{"country", typed.Country, now.Country}} {
		if f.typed != f.now {
			out[f.name] = f.now
		}
	}
	return out
}

// disable is POST /admin/users/{id}/disable (R10): nobody signs in any more, and every session and token ends.
func (a *Admin) disable(w http.ResponseWriter, r *http.Request) error {
	reason, fields := strings.TrimSpace(r.PostFormValue("reason")), map[string]string{}
	if unfit(fields, "reason", reason, maxDescr); len(fields) > 0 {
		return a.renderAccount(w, r, http.StatusUnprocessableEntity, func(p *templates.PersonPage) { p.FormErrors, p.Reason = templates.FormErrors{Fields: fields}, reason })
	}
	if reason == store.DisabledWaiting || reason == "erased" {
		reason = "“" + reason + "”" // it means something else to the program
	}
	return a.onAccount(w, r, "disabled", func(ctx context.Context, by, id string) error { return a.store.DisableUser(ctx, by, id, reason) })
}

// enable is POST /admin/users/{id}/enable; it is also how somebody who waits is let in.
func (a *Admin) enable(w http.ResponseWriter, r *http.Request) error {
	return a.onAccount(w, r, "enabled", func(ctx context.Context, by, id string) error {
		if by == id {
			return rightsSelf
		}
		return a.store.EnableUser(ctx, by, id)
	})
}

// endAccess is POST /admin/users/{id}/end-access.
func (a *Admin) endAccess(w http.ResponseWriter, r *http.Request) error {
	return a.onAccount(w, r, "ended", a.store.EndAccessOf)
}

// endSession is POST /admin/users/{id}/end-session.
func (a *Admin) endSession(w http.ResponseWriter, r *http.Request) error {
	session := searchable(r.PostFormValue("session"))
	err := a.onAccount(w, r, "ended", func(ctx context.Context, by, id string) error { return a.store.EndSessionOf(ctx, by, id, session) })
	return a.orGone(w, r, err)
}

// revoke is POST /admin/users/{id}/revoke: an application's access to the account.
func (a *Admin) revoke(w http.ResponseWriter, r *http.Request) error {
	client := searchable(r.PostFormValue("client_id"))
	return a.onAccount(w, r, "ended", func(ctx context.Context, by, id string) error { return a.store.RevokeClientOf(ctx, by, id, client) })
}

// orGone shows the page again where what was to end is not there any more; the person is, or they would not have come so far.
func (a *Admin) orGone(w http.ResponseWriter, r *http.Request, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return a.renderAccount(w, r, http.StatusConflict, func(p *templates.PersonPage) { p.FormErrors = templates.FormErrors{Form: "people.error_gone"} })
}

// link is POST /admin/users/{id}/link: a link to set a password, mailed, or shown on the page that answers and never again.
func (a *Admin) link(w http.ResponseWriter, r *http.Request) error {
	ctx, mail := r.Context(), r.PostFormValue("mail") != ""
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	link, until, err := a.c.Account.Link(ctx, actor(ctx).ID, u.ID, mail)
	switch {
	case errors.Is(err, ErrNoAddress):
		return a.renderAccount(w, r, http.StatusUnprocessableEntity, func(p *templates.PersonPage) { p.FormErrors = templates.FormErrors{Form: "people.error_address"} })
	case err != nil:
		return a.accountRefused(w, r, err, nil)
	case mail:
		return accountDone(w, r, u.ID, "mailed")
	}
	return a.renderAccount(w, r, http.StatusOK, func(p *templates.PersonPage) {
		p.NewLink, p.NewLinkUntil = link, p.When(until.In(actor(ctx).Location()))
	})
}

// erase is POST /admin/users/{id}/erase: for good, so what tells the account from all others has to be typed.
func (a *Admin) erase(w http.ResponseWriter, r *http.Request) error {
	ctx, typed := r.Context(), strings.TrimSpace(r.PostFormValue("confirm"))
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	if !strings.EqualFold(typed, confirmText(u)) {
		return a.renderAccount(w, r, http.StatusUnprocessableEntity, func(p *templates.PersonPage) {
			p.FormErrors, p.Confirm = templates.FormErrors{Fields: map[string]string{"confirm": "people.error_confirm"}}, typed
		})
	}
	if err := a.store.EraseUser(ctx, actor(ctx).ID, u.ID); err != nil {
		return a.accountRefused(w, r, err, nil)
	}
	return web.SeeOther(w, r, "/admin/users?done=erased")
}
