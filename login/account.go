package login

import (
	"cmp"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// account is GET /account: who the person is, what they may do, where they are signed in, which applications they let in. While somebody acts, the
// person is the one represented.
func (l *Login) account(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath) // the rule of the route sees to it; this keeps the handler safe without it
	}
	u := &current.Person().User
	page := &templates.AccountPage{
		Base: l.mux.Base(w, r), Email: u.Email, EmailVerified: !u.EmailVerifiedAt.IsZero(), Username: u.Username, Phone: u.Phone,
	}
	model, err := l.store.Model(r.Context())
	if err != nil {
		return wrap("account", err)
	}
	if t := model.Type(u.UserType); t != nil {
		page.UserType, page.ReadOnly = t.In(page.Lang), t.ReadOnly
	}
	page.LastLogin = when(&page.Base, u, u.LastLoginAt)
	labels, err := l.store.LabelsIn(r.Context(), page.Lang)
	if err != nil {
		return wrap("privileges of an account", err)
	}
	for _, name := range model.Effective(current.Person(), store.At(l.now())) {
		page.Privileges = append(page.Privileges, templates.PrivilegeLine{Name: name, Label: cmp.Or(labels[name], name)})
	}
	if page.Apps, err = l.appLines(r.Context(), &page.Base, u); err != nil {
		return wrap("applications of an account", err)
	}
	if current.Acting() { // nothing there can be changed, and where the other is signed in concerns nobody else
		return l.mux.Render(w, r, http.StatusOK, page)
	}
	if page.Sessions, err = l.sessionLines(r.Context(), &page.Base, current); err != nil {
		return wrap("sessions of an account", err)
	}
	if page.Logouts, err = l.logouts(r.Context(), current.UserID); err != nil {
		return wrap("sign-outs of an account", err)
	}
	if l.admin != nil {
		if page.Admin, err = l.admin(r.Context()); err != nil {
			return wrap("account", err)
		}
	}
	page.Done = doneText(r, donePassword, doneEmail)
	if !l.noPassword {
		page.PasswordURL = passwordPath
	}
	if l.codeKey != nil {
		page.EmailURL = emailPath
	}
	if may, err := l.hasSecurity(r.Context(), current.Live); err != nil {
		return wrap("second factors of an account", err)
	} else if may {
		page.SecurityURL = securityPath
	}
	if l.passkeys != nil {
		page.PasskeysURL = passkeysPath
	}
	page.ExportURL = exportPath
	if l.leaving.Allowed {
		page.LeaveURL = leavePath
	}
	if len(l.upstreams) > 0 {
		page.ConnectionsURL = connectionsPath
	}
	if l.dials() {
		page.PhoneURL = accountPhonePath
	}
	if acting, err := l.store.ActingMatters(r.Context(), u.ID); err != nil {
		return wrap("authorities of an account", err)
	} else if acting {
		page.AuthoritiesURL = authoritiesPath
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// when writes a time in the page's language and the person's own time zone, "" for never.
func when(b *templates.Base, u *store.User, t store.Time) string {
	if t.IsZero() {
		return ""
	}
	return b.When(t.In(u.Location()))
}
