package suite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// helped adds people who look after accounts in part: desk has every permission about them, and no more than that.
func helped(c *config.Config) {
	administered(c)
	c.Privileges["desk"] = config.Privilege{Label: "Desk"}
	c.Privileges["maker"] = config.Privilege{Label: "Maker"}
	c.Permissions["desk"] = []string{"access_user_info", "edit_user_info", "edit_user_active_status", "edit_user_password", "access_sessions", "edit_sessions", "delete_user", "view_audit"}
	c.Permissions["maker"] = []string{"access_user_info", "create_user"}
}

// TestStory_Account: the life of an account on pages: made with a link, edited, signed out, closed, opened, deleted; what applications have of it ends.
func TestStory_Account(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: helped})
		boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Privileges: []string{"admin"}})
		b := desk(idp, boss)

		page := b.Click(b.Get(idp.Issuer+"/admin/users").Want(200, "user-new"), "user-new").Want(200, "person-new-form")
		page = b.Submit(page, "person-create", nil).Want(422, "person-email-error")
		page = b.Submit(page, "person-create", map[string]string{"person-email": "ada@example.com", "person-given_name": "Ada", "person-privileges": "staff, nothing"}).Want(422, "person-privileges-error")
		page = b.Submit(page, "person-create", map[string]string{"person-privileges": "staff"}).Want(200, "person-new-link")
		u, err := idp.Store.UserByLogin(ctx, "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		link := between(page.Text("person-new-link")+" ", idp.Issuer, " ")
		if link == "" || page.Has("admin-done") == false {
			t.Fatalf("no link: %s", page.Text("person-new-link"))
		}
		again := b.Get(idp.Issuer+"/admin/new-user").Want(200, "person-new-form")
		b.Submit(again, "person-create", map[string]string{"person-email": "ADA@example.com"}).Want(422, "person-email-error") // R5

		// Before the link there is no way in; with it there is, and what was handed over proves no address.
		a := idp.Browser()
		a.SignIn(a.Get(idp.Issuer+"/login"), testidp.Person{ID: u.ID, Email: "ada@example.com", Password: "whatever it may be"}).Want(422, "login-error")
		form := a.Get(idp.Issuer+link).Want(200, "reset-form")
		ada := testidp.Person{ID: u.ID, Email: "ada@example.com", Password: "nine yellow kites at dawn"}
		a.Submit(form, "reset-submit", map[string]string{"reset-password": ada.Password})
		if p := a.Get(idp.Issuer + link); p.Status != http.StatusGone {
			t.Errorf("the link again: %s", p)
		}
		token := signedInAt(t, idp, a, ada)
		token.says("user", "helper", "staff", "user")
		if u, err = idp.Store.User(ctx, u.ID); err != nil || !u.EmailVerifiedAt.IsZero() {
			t.Errorf("a link that was handed over proved the address: %v", err)
		}

		// The profile: two administrators save, and the second is told (R127).
		account := idp.Issuer + "/admin/users/" + u.ID + "/account"
		first := b.Get(account).Want(200, "person-form")
		second := b.Get(account)
		page = b.Submit(first, "person-save", map[string]string{"person-family_name": "Lovelace", "person-country": "gb", "person-locale": "de_CH", "person-zoneinfo": "Europe/London"}).Want(200, "admin-done")
		page = b.Submit(second, "person-save", map[string]string{"person-family_name": "Byron"}).Want(409, "person-family_name-hint")
		if text := page.Text("main"); !strings.Contains(text, "Bea Boss changed this account") || !strings.Contains(text, "Lovelace") || page.Attr("person-family_name", "value") != "Byron" {
			t.Errorf("the second is told: %s", text)
		}
		page = b.Submit(page, "person-save", nil).Want(200, "admin-done") // having seen what differs
		for field, value := range map[string]string{"country": "ZZ", "locale": "x-", "zoneinfo": "../etc/passwd", "email": "no address", "username": "with@at", "given_name": strings.Repeat("x", 101)} {
			page = b.Submit(b.Get(account), "person-save", map[string]string{"person-" + field: value}).Want(422, "person-"+field+"-error")
		}
		if u, err = idp.Store.User(ctx, u.ID); err != nil || u.FamilyName != "Byron" || u.Profile.Address.Country != "" && u.Profile.Address.Country != "GB" {
			t.Errorf("saved: %+v, %v", u, err)
		}

		// Signed out everywhere; a session of somebody else is none of theirs.
		page = b.Get(account).Want(200, "person-sessions")
		sessions, err := idp.Store.SessionsOf(ctx, boss.ID)
		if err != nil {
			t.Fatal(err)
		}
		send(t, idp, b, "/admin/users/"+u.ID+"/end-session", "session", sessions[0].ID).Want(409, "error-summary")
		page = b.Submit(page, "person-end-access", nil).Want(200, "admin-done")
		if _, err := token.rp.Refresh(token.tokens); err == nil {
			t.Error("a refresh token outlived the end of all access")
		}
		if p := a.Get(idp.Issuer + "/account"); p.Has("account-title") {
			t.Error("a session outlived the end of all access")
		}
		token = signedInAt(t, idp, a, ada)
		page = send(t, idp, b, "/admin/users/"+u.ID+"/revoke", "client_id", token.rp.ID).Want(200, "admin-done")
		if _, err := token.rp.Refresh(token.tokens); err == nil {
			t.Error("a refresh token outlived the application's access")
		}

		// Closed and opened (R10).
		token = signedInAt(t, idp, idp.Browser(), ada)
		page = b.Submit(page, "person-disable", map[string]string{"person-reason": "<left>"}).Want(200, "enable-form")
		if !strings.Contains(page.Text("person-status"), "<left>") {
			t.Errorf("why: %s", page.Text("person-status"))
		}
		if _, err := token.rp.Refresh(token.tokens); err == nil {
			t.Error("a refresh token outlived its account")
		}
		page = b.Submit(page, "person-enable", nil).Want(200, "disable-form")
		if _, err := token.rp.Refresh(token.tokens); err == nil {
			t.Error("a refresh token came to life again")
		}
		if text := page.Text("person-history"); !strings.Contains(text, "user: disable") || !strings.Contains(text, "Bea Boss") || strings.Contains(text, "Lovelace") {
			t.Errorf("history: %s", text)
		}

		// Deleted: what was typed must fit, and the address is free (R11).
		page = b.Submit(page, "person-erase-go", map[string]string{"person-confirm": "yes"}).Want(422, "person-confirm-error")
		b.Submit(page, "person-erase-go", map[string]string{"person-confirm": "ada@example.com"}).Want(200, "admin-done")
		if p := b.Get(account); p.Status != http.StatusNotFound {
			t.Errorf("what was deleted: %s", p)
		}
		page = b.Submit(b.Get(idp.Issuer+"/admin/new-user"), "person-create", map[string]string{"person-email": "ada@example.com"}).Want(200, "person-new-link")
		if next, err := idp.Store.UserByLogin(ctx, "ada@example.com"); err != nil || next.ID == u.ID {
			t.Errorf("the next with the address: %v, %v", next, err)
		}
	})
}

// lifeForms are the forms of an account's page with what they need to do something.
var lifeForms = map[string][]string{"edit": {"given_name", "Eve", "version", "1"}, "disable": nil, "enable": nil, "link": nil, "erase": {"confirm", "CONFIRM"}, "end-access": nil, "revoke": {"client_id", "x"}}

// TestSec_G6_ProtectedAccounts: whoever has every permission about accounts and no more does nothing to those of people who hold more, nor to their own;
// and nothing is written in trying.
func TestSec_G6_ProtectedAccounts(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: helped})
	boss := idp.User(testidp.Person{Email: "boss@example.com", Privileges: []string{"admin"}})
	idp.User(testidp.Person{Privileges: []string{"admin"}})
	staff := idp.User(testidp.Person{Email: "staff@example.com", Privileges: []string{"staff"}})
	helper := idp.User(testidp.Person{Email: "desk@example.com", Privileges: []string{"desk"}})
	ada := idp.User(testidp.Person{Email: "ada@example.com"})
	b := desk(idp, helper)
	before := entries(t, idp)
	for _, who := range []testidp.Person{boss, staff, helper} {
		for what, values := range lifeForms {
			values = append([]string{}, values...)
			for i := range values {
				values[i] = strings.ReplaceAll(values[i], "CONFIRM", who.Email)
				if values[i] == "1" {
					u, err := idp.Store.User(context.Background(), who.ID)
					if err != nil {
						t.Fatal(err)
					}
					values[i] = strconv.FormatInt(u.Version, 10)
				}
			}
			page := send(t, idp, b, "/admin/users/"+who.ID+"/"+what, values...)
			if page.Status != http.StatusForbidden || !page.Has("error-summary") {
				t.Errorf("%s of %s: %s", what, who.Email, page)
			}
		}
	}
	if n := entries(t, idp) - before; n != 0 {
		t.Errorf("refusals wrote %d entries", n)
	}
	// And to who holds less they do.
	for _, what := range []string{"disable", "enable", "end-access"} {
		send(t, idp, b, "/admin/users/"+ada.ID+"/"+what).Want(200, "admin-done")
	}
	send(t, idp, b, "/admin/users/"+ada.ID+"/link").Want(200, "person-new-link")
	// Whoever may only make accounts gives a link to one that nobody used, and to no other.
	m := desk(idp, idp.User(testidp.Person{Privileges: []string{"maker"}}))
	page := m.Submit(m.Get(idp.Issuer+"/admin/new-user").Want(200, "person-new-form"), "person-create", map[string]string{"person-username": "fresh"}).Want(200, "person-new-link")
	if page.Has("person-form") || page.Has("disable-form") || page.Has("erase-form") {
		t.Error("whoever may only make accounts is offered more")
	}
	if code := refusedWith(send(t, idp, m, "/admin/users/"+ada.ID+"/link")); code != "not_permitted" {
		t.Errorf("a link to another's account: %q", code)
	}
}

// TestSec_G1_CreateConfersNoMore: an account is made with nothing that its maker does not hold, and else not at all.
func TestSec_G1_CreateConfersNoMore(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		helped(c)
		c.Permissions["chief"] = append(c.Permissions["chief"], "create_user")
	}})
	idp.User(testidp.Person{Privileges: []string{"admin"}})
	chief, maker := desk(idp, idp.User(testidp.Person{Privileges: []string{"chief"}})), desk(idp, idp.User(testidp.Person{Privileges: []string{"maker"}}))
	for n, give := range []string{"admin", "staff", "chief admin", "lead"} {
		name := fmt.Sprint("new", n)
		send(t, idp, chief, "/admin/users", "username", name, "privileges", give).Want(403, "error-summary")
		if _, err := idp.Store.UserByLogin(context.Background(), name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: the account is there: %v", give, err)
		}
	}
	send(t, idp, chief, "/admin/users", "username", "typed", "type", "860").Want(403, "error-summary") // a type that brings admin
	send(t, idp, chief, "/admin/users", "username", "fine", "privileges", "chief").Want(200, "person-new-link")
	// Without the permission to give, what the form says of privileges and types is not read.
	send(t, idp, maker, "/admin/users", "username", "made", "privileges", "admin", "type", "860", "id", "x", "is_admin", "1", "user_type", "860").Want(200, "person-new-link")
	u, err := idp.Store.UserByLogin(context.Background(), "made")
	if err != nil || u.UserType != "100" || u.ID == "x" {
		t.Fatalf("%+v, %v", u, err)
	}
	if list, err := idp.Store.GivenTo(context.Background(), []string{u.ID}); err != nil || len(list[u.ID]) != 1 {
		t.Errorf("holds %v, %v", list, err)
	}
}

// TestSec_G7_MassAssignment: a form with forty fields more changes what the page has fields for, and nothing else.
func TestSec_G7_MassAssignment(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: helped})
	b := desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
	ada := idp.User(testidp.Person{Email: "ada@example.com", GivenName: "Ada"})
	was, err := idp.Store.User(ctx, ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	values := []string{"version", strconv.FormatInt(was.Version, 10), "given_name", "Augusta", "email", was.Email, "username", was.Username}
	for _, name := range []string{"id", "user_id", "ID", "email_verified_at", "email_verified", "EmailVerifiedAt", "email_key", "phone", "phone_verified_at", "user_type", "type", "privilege", "privileges", "is_admin", "admin",
		"must_change_password", "valid_from", "valid_until", "disabled_at", "disabled_reason", "deleted_at", "last_login_at", "created_at", "updated_at", "Version", "profile", "picture", "nickname", "website", "birthdate",
		"password", "secret", "credentials", "sessions", "connector", "owner", "first_party", "source", "reason", "until"} {
		values = append(values, name, "900")
	}
	send(t, idp, b, "/admin/users/"+ada.ID+"/edit", values...).Want(200, "admin-done")
	now, err := idp.Store.User(ctx, ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := *was
	want.GivenName, want.Version, want.UpdatedAt = "Augusta", was.Version+1, now.UpdatedAt
	if *now != want {
		t.Errorf("the row is %+v, want %+v", *now, want)
	}
	if list, err := idp.Store.Assignments(ctx, ada.ID); err != nil || len(list) != 1 {
		t.Errorf("holds %v, %v", list, err)
	}
}

// TestSec_G2_AnotherAddressIsNotProven: an administrator's word is no proof of a mailbox, and whoever has the one before is told.
func TestSec_G2_AnotherAddressIsNotProven(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Demo: true, Config: helped})
	b := desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
	ada := idp.User(testidp.Person{Email: "ada@example.com"})
	page := b.Get(idp.Issuer+"/admin/users/"+ada.ID+"/account").Want(200, "person-form")
	b.Submit(page, "person-save", map[string]string{"person-email": "other@example.com"}).Want(200, "admin-done")
	if u, err := idp.Store.User(ctx, ada.ID); err != nil || u.Email != "other@example.com" || !u.EmailVerifiedAt.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	if got := mailsTo(idp)["ada@example.com"]; len(got) != 1 {
		t.Errorf("mails to the address before: %q", got)
	}
	// A link that was mailed proves the address that it went to, and only while that is still the account's.
	page = b.Get(idp.Issuer+"/admin/users/"+ada.ID+"/account").Want(200, "person-link-mail")
	b.Submit(page, "person-link-mail", nil).Want(200, "admin-done")
	var link string
	for _, m := range idp.Outbox() {
		if m.Recipient == "other@example.com" {
			link = between(m.Text, idp.Issuer, "\n")
		}
	}
	a := idp.Browser()
	a.Submit(a.Get(idp.Issuer+link).Want(200, "reset-form"), "reset-submit", map[string]string{"reset-password": "nine yellow kites at dawn"})
	if u, err := idp.Store.User(ctx, ada.ID); err != nil || u.EmailVerifiedAt.IsZero() {
		t.Errorf("the link proved nothing: %v", err)
	}
}

// TestSec_G2_LinkOutlivesNoPower: a link to set a password that was handed over is known to who made it. It is over when its person was given more than
// the maker holds, and when the maker left, also under a form that was open already; one made by somebody who still may works on.
func TestSec_G2_LinkOutlivesNoPower(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: helped})
	idp.User(testidp.Person{Privileges: []string{"admin"}})
	maker := idp.User(testidp.Person{Privileges: []string{"desk"}})
	b := desk(idp, maker)
	chosen := map[string]string{"reset-password": "nine yellow kites at dawn"}
	open := func(who testidp.Person) (a *testidp.Browser, link string, form *testidp.Page) {
		t.Helper()
		if err := idp.Store.TouchLogin(ctx, who.ID, idp.Store.Now()); err != nil {
			t.Fatal(err)
		}
		link = between(send(t, idp, b, "/admin/users/"+who.ID+"/link").Want(200, "person-new-link").Text("person-new-link")+" ", idp.Issuer, " ")
		a = idp.Browser()
		return a, link, a.Get(idp.Issuer+link).Want(200, "reset-form")
	}
	over := func(why string, a *testidp.Browser, link string, form *testidp.Page) {
		t.Helper()
		for _, page := range []*testidp.Page{a.Submit(form, "reset-submit", chosen), a.Get(idp.Issuer + link)} {
			if page.Status != http.StatusGone {
				t.Errorf("%s: %s", why, page)
			}
		}
	}
	ada, bob, cy := idp.User(testidp.Person{Email: "ada@example.com"}), idp.User(testidp.Person{Email: "bob@example.com"}), idp.User(testidp.Person{Email: "cy@example.com"})
	a, link, form := open(ada)
	if err := idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: ada.ID, Privilege: "admin"}); err != nil {
		t.Fatal(err)
	}
	over("who is an administrator by now", a, link, form)
	a, _, form = open(bob)
	if page := a.Submit(form, "reset-submit", chosen); page.Status != http.StatusOK {
		t.Errorf("a good link: %s", page)
	}
	a, link, form = open(cy)
	if err := idp.Store.DisableUser(ctx, "cli", maker.ID, ""); err != nil {
		t.Fatal(err)
	}
	over("its maker left", a, link, form)
}

// TestSec_G5_LastAdministratorByLife: two administrators close or delete each other's account at once, many times: one stays.
func TestSec_G5_LastAdministratorByLife(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		var before []testidp.Person
		for n := range 12 {
			one, two := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Privileges: []string{"admin"}})
			for _, p := range before { // so that these two are alone
				if err := idp.Store.EraseUser(ctx, "cli", p.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
			}
			before = []testidp.Person{one, two}
			do := func(by, who testidp.Person) error {
				switch n % 3 {
				case 0:
					return idp.Store.DisableUser(ctx, by.ID, who.ID, "")
				case 1:
					return idp.Store.EraseUser(ctx, by.ID, who.ID)
				}
				return idp.Store.AskDeletion(ctx, who.ID, 0)
			}
			var wg sync.WaitGroup
			for _, pair := range [][2]testidp.Person{{one, two}, {two, one}} {
				wg.Add(1)
				go func() { defer wg.Done(); _ = do(pair[0], pair[1]) }() // one of them is refused
			}
			wg.Wait()
			if has, err := idp.Store.HasAdmin(ctx); err != nil || !has {
				t.Fatalf("round %d: nobody can administer: %v", n, err)
			}
		}
	})
}
