package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Account is what the pages about accounts ask of the sign-in pages.
type Account struct {
	// Edit changes a profile, and tells the address before of another.
	Edit func(ctx context.Context, actor, userID string, version int64, p store.PersonEdit) error
	// Link makes a link to set a password; mailed it is not returned: ErrNoAddress where there is none.
	Link func(ctx context.Context, actor, userID string, mail bool) (link string, until time.Time, err error)
	// Device names what a session was made with.
	Device func(b *templates.Base, userAgent string) string
	// Mails says whether mail is sent here, Passwords whether there are any.
	Mails, Passwords func() bool
}

// ErrNoAddress says that there is no address to mail a link to.
var ErrNoAddress = errors.New("admin: no address")

// rightsSelf is the refusal of a change of one's own account.
var rightsSelf = errors.Join(store.ErrForbidden, privilege.ErrSelf)

// languageTag is a BCP 47 tag in its normal spelling.
func languageTag(s string) (string, bool) {
	tag, err := language.Parse(s)
	if err != nil || tag == language.Und {
		return s, false
	}
	return tag.String(), true
}

// isCountry says whether two letters are a country of ISO 3166-1.
func isCountry(s string) bool {
	r, err := language.ParseRegion(s)
	return err == nil && len(s) == 2 && r.IsCountry() && r.String() == s
}

// newUser is GET /admin/new-user.
func (a *Admin) newUser(w http.ResponseWriter, r *http.Request) error {
	return a.renderNewUser(w, r, http.StatusOK, func(p *templates.NewPersonPage) { p.Mail = p.MayMail })
}

func (a *Admin) renderNewUser(w http.ResponseWriter, r *http.Request, status int, change func(*templates.NewPersonPage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "users")
	if err != nil {
		return err
	}
	p := &templates.NewPersonPage{Admin: base, MayLink: a.c.Account.Passwords()}
	p.MayMail = p.MayLink && a.c.Account.Mails()
	if p.Give, err = a.guard.Can(ctx, "users.privileges"); err != nil {
		return err
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	for i := range m.Types {
		t := &m.Types[i]
		if slices.Contains(t.Names, privilege.TypeAnonymous) {
			continue
		}
		p.Types = append(p.Types, templates.Choice{Value: t.Value, Label: t.In(base.Lang)})
	}
	if t := m.Newcomers(); t != nil {
		p.Type = t.Value
	}
	if p.Give {
		if p.Names, err = a.names(ctx); err != nil {
			return err
		}
	}
	change(p)
	return a.mux.Render(w, r, status, p)
}

// createUser is POST /admin/users: the account with its type and privileges, each through the gate, or nothing of it.
func (a *Admin) createUser(w http.ResponseWriter, r *http.Request) error {
	ctx, by := r.Context(), actor(r.Context())
	e, fields := profileFrom(r)
	mail, kind, given := r.PostFormValue("mail") != "", r.PostFormValue("type"), strings.Fields(strings.ReplaceAll(r.PostFormValue("privileges"), ",", " "))
	again := func(status int, errs templates.FormErrors) error {
		return a.renderNewUser(w, r, status, func(p *templates.NewPersonPage) {
			p.FormErrors, p.Mail, p.Privileges = errs, mail, strings.Join(given, " ")
			p.GivenName, p.FamilyName, p.Email, p.Username = e.GivenName, e.FamilyName, e.Email, e.Username
			if kind != "" {
				p.Type = kind
			}
		})
	}
	if e.Email == "" && e.Username == "" {
		fields["email"] = "people.error_name_needed"
	}
	give, err := a.guard.Can(ctx, "users.privileges")
	if err != nil {
		return err
	}
	if !give {
		given, kind = nil, ""
	}
	args := map[string]any{}
	if n := a.unknown(ctx, given); n != "" {
		fields["privileges"], args["Name"] = "admin.error_privileges", n
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	if t := m.Type(kind); kind != "" && (t == nil || slices.Contains(t.Names, privilege.TypeAnonymous)) {
		fields["type"] = "admin.error_type"
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields, Args: args})
	}
	mail = mail && e.Email != "" && a.c.Account.Mails()
	var u store.User
	var link string
	var until time.Time
	err = a.store.Tx(ctx, func(ctx context.Context) error {
		u = store.User{GivenName: e.GivenName, FamilyName: e.FamilyName, Email: e.Email, Username: e.Username}
		if err := a.store.CreatePerson(ctx, by.ID, &u); err != nil {
			return err
		}
		if a.c.Account.Passwords() { // while the account is like any new one: whoever may not give such a link to who holds more may have made it all the same
			if link, until, err = a.c.Account.Link(ctx, by.ID, u.ID, mail); err != nil {
				return err
			}
		}
		if kind != "" && kind != u.UserType {
			if err := a.store.SetUserType(ctx, by.ID, u.ID, kind); err != nil {
				return err
			}
		}
		for _, name := range given {
			if err := a.store.Assign(ctx, by.ID, &store.Assignment{UserID: u.ID, Privilege: name}); err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	})
	var field *store.FieldError
	switch {
	case errors.As(err, &field) && (field.Field == "email" || field.Field == "username"):
		return again(http.StatusUnprocessableEntity, fieldTaken(field))
	case err != nil:
		return a.refused(err, again)
	case link == "":
		return accountDone(w, r, u.ID, "added")
	}
	r.SetPathValue("id", u.ID)
	return a.renderAccount(w, r, http.StatusOK, func(p *templates.PersonPage) {
		p.NewLink, p.NewLinkUntil, p.Done = link, p.When(until.In(by.Location())), "people.done_added"
	})
}
