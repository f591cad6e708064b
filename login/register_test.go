package login_test

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

const otherPassword = "purple giraffe umbrella 99"

// newestMail to an address.
func (s *site) newestMail(to string) store.Message {
	s.t.Helper()
	list := s.mails(to)
	if len(list) == 0 {
		s.t.Fatalf("no mail to %s", to)
	}
	return list[0]
}

var ourLink = regexp.MustCompile(regexp.QuoteMeta(issuer) + `(/\S+)`)

// proven is a change for user: the address was proven.
func (s *site) proven(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) }

// signedInAs is a browser of somebody who has just signed in.
func (s *site) signedInAs(u *store.User, addr string) *browser {
	s.t.Helper()
	b := s.browser(addr)
	b.get("/login").signIn(u.Email, goodPassword).expect("/account", http.StatusOK)
	return b
}

// codeOf is the value of the error page.
func refused(p *page, status int, code string) bool { return p.status == status && p.code() == code }

var random20 = regexp.MustCompile(`(join|flow)=[A-Za-z0-9_-]+|value="[A-Za-z0-9_.-]{20,}"`)

// TestRegister: an account and a session once the address is proven, and the flow goes on; by the operator's policy and the client's.
func TestRegister(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.with(func(c *login.Config) { c.Registration, c.Domains = login.RegistrationOpen, []string{"example.com"} })
		b := s.browser("192.0.2.1")
		p := b.get(attr(b.get("/test/start").byID("login-register"), "href"))
		set := func(p *page, email, pw string) *page {
			return p.form("register-form").set("register-given-name", "Ana").set("register-family-name", "Lee").set("register-email", email).set("register-password", pw).submit()
		}
		for _, bad := range [][2]string{{"", otherPassword}, {"ana", otherPassword}, {"ana@example.net", otherPassword}, {"ana@sub.example.com", otherPassword}, {"ana@example.com", ""},
			{"ana@example.com", "short"}, {"ana@example.com", "password12345"}, {"ana@example.com", "ana lee ana lee"}} {
			set(p, bad[0], bad[1]).expect("/register", http.StatusUnprocessableEntity)
		}
		code := set(p, "Ana@example.com", otherPassword).expect("/register/code", http.StatusOK)
		if s.users() != 0 || b.cookie(sessionCookie) != "" {
			t.Fatal("something was made before the proof")
		}
		if q := s.browser("192.0.2.2").get(code.url.RequestURI()); q.status != http.StatusBadRequest { // another browser
			t.Errorf("%d", q.status)
		}
		id := code.enterCode(s.codeFor("Ana@example.com")).arrived()
		u := s.read(id)
		if u.Email != "Ana@example.com" || u.EmailVerifiedAt.IsZero() || u.GivenName != "Ana" || u.FamilyName != "Lee" || s.users() != 1 {
			t.Errorf("%+v", u)
		}
		s.browser("192.0.2.3").get("/login").signIn("ana@example.com", otherPassword).expect("/account", http.StatusOK)
		if q := code.enterCode(s.codeFor("Ana@example.com")); q.status == http.StatusOK {
			t.Error("used twice")
		}
	})
}

// TestSec_F17_OwnRegistrationPolicy: whatever way is tried, the policy decides where accounts are made.
func TestSec_F17_OwnRegistrationPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.Registration = login.RegistrationOpen })
	b := s.browser("192.0.2.1")
	waiting := b.get("/register").form("register-form").set("register-email", "new@example.com").set("register-password", otherPassword).submit().expect("/register/code", http.StatusOK)
	form := b.get("/register").form("register-form").set("register-email", "two@example.com").set("register-password", otherPassword)
	for policy, code := range map[string]string{"": "registration_invite", login.RegistrationInvite: "registration_invite", login.RegistrationClosed: "register_closed"} {
		s.with(func(c *login.Config) { c.Registration = policy })
		if p := b.get("/register"); !refused(p, http.StatusForbidden, code) {
			t.Errorf("%s: GET %d %s", policy, p.status, p.code())
		}
		if p := form.submit(); !refused(p, http.StatusForbidden, code) {
			t.Errorf("%s: POST %d %s", policy, p.status, p.code())
		}
		if b.get("/login").byID("login-register") != nil {
			t.Errorf("%s: a link", policy)
		}
	}
	if p := waiting.enterCode(s.codeFor("new@example.com")); !refused(p, http.StatusForbidden, "register_closed") && !refused(p, http.StatusForbidden, "registration_invite") {
		t.Errorf("a code from before: %d %s", p.status, p.code())
	}
	if s.users() != 0 {
		t.Fatalf("%d accounts", s.users())
	}
	// The client may be stricter, and approval makes an account that is shut.
	s.with(func(c *login.Config) { c.Registration = login.RegistrationOpen })
	s.client(func(m *store.ClientMetadata) { m.Registration = login.RegistrationClosed })
	if b.get("/test/start").byID("login-register") != nil {
		t.Error("the client's policy does not count")
	}
	s.client(func(m *store.ClientMetadata) { m.Registration = login.RegistrationApproval })
	p := b.get(attr(b.get("/test/start").byID("login-register"), "href")).form("register-form").set("register-email", "wait@example.com").set("register-password", otherPassword).submit()
	if p = p.enterCode(s.codeFor("wait@example.com")); !refused(p, http.StatusForbidden, "awaiting_approval") || b.cookie(sessionCookie) != "" {
		t.Errorf("%d %s", p.status, p.code())
	}
	u, err := s.store.UserByLogin(t.Context(), "wait@example.com")
	must(t, err)
	if p := b.get("/login").signIn("wait@example.com", otherPassword); p.status != 422 {
		t.Errorf("%d", p.status)
	}
	must(t, s.store.EnableUser(t.Context(), "cli", u.ID))
	b.get("/login").signIn("wait@example.com", otherPassword).expect("/account", http.StatusOK)
	// Where the client takes no password, nobody gets one for it.
	s.client(func(m *store.ClientMetadata) { m.Registration, m.Connectors = "", []string{"google"} })
	if p := b.get("/test/start"); p.byID("login-register") != nil || p.byID("login-form") != nil || p.byID("login-forgot") != nil {
		t.Error("ways that the client does not take")
	}
}

// TestSec_F8_RegisterTellsNothing: a known address gets the same page, and its owner a mail that opens nothing.
func TestSec_F8_RegisterTellsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.Registration = login.RegistrationOpen })
	s.user("known@example.com", s.proven)
	s.user("raw@example.com")
	s.user("off@example.com", s.proven, func(u *store.User) { u.DisabledAt = store.At(s.now()) })
	want := ""
	for i, email := range []string{"known@example.com", "raw@example.com", "off@example.com", "new@example.com"} {
		before := s.rows()
		p := s.browser(fmt.Sprintf("192.0.%d.1", i+2)).get("/register").form("register-form").set("register-email", email).set("register-password", otherPassword).submit().expect("/register/code", http.StatusOK)
		if got := masked(p, email); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%s:\n%s\n%s", email, got, want)
		}
		if s.rows()-before != 1 || len(s.mails(email)) != 1 {
			t.Errorf("%s: %d rows", email, s.rows()-before)
		}
		if known := i < 3; known == sixDigits.MatchString(s.newestMail(email).Text) {
			t.Errorf("%s: %s", email, s.newestMail(email).Text)
		}
		if i < 3 {
			p.enterCode("123456").expect("/register/code", http.StatusUnprocessableEntity)
		}
	}
	if s.users() != 3 {
		t.Errorf("%d accounts", s.users())
	}
}

// TestRegister_OnceOfMany: the same code, sent many times at once, makes one account; and of two browsers with one address one gets it.
func TestRegister_OnceOfMany(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.with(func(c *login.Config) { c.Registration = login.RegistrationOpen })
		ask := func(addr string) *form {
			p := s.browser(addr).get("/register").form("register-form").set("register-email", "ana@example.com").set("register-password", otherPassword).submit().expect("/register/code", http.StatusOK)
			s.sleep(time.Second)
			return p.form("code-form").set("code-input", s.newCodeFor("ana@example.com"))
		}
		one, two := ask("192.0.2.1"), ask("192.0.2.2")
		forms := []*form{one, one, one, two, two, two}
		if won := race(forms, func(p *page) bool { return p.url.Path == "/account" }); won != 1 {
			t.Errorf("%d", won)
		}
		if s.users() != 1 {
			t.Errorf("%d accounts", s.users())
		}
	})
}

// TestSwitches: a way that is switched off refuses, whatever is sent, and what came by it is over (security.md E11).
func TestSwitches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode = true })
	u := s.user("ana@example.com", s.proven)
	owes := s.user("owes@example.com", s.proven, func(u *store.User) { u.MustChange = true })
	b := s.signedInAs(u, "192.0.2.1")
	form := s.browser("192.0.2.2").get("/login").form("login-form").set("login-identifier", u.Email).set("login-password", goodPassword)
	s.browser("192.0.2.3").forget(u.Email)
	link := s.linkFor(u.Email)
	s.with(func(c *login.Config) { c.EmailCode, c.NoPassword = true, true })
	if p := b.get("/account"); p.url.Path != "/login" || p.byID("login-form") != nil || p.byID("login-code") == nil {
		t.Errorf("at %s", p.url)
	}
	if p := form.submit(); p.status != http.StatusUnprocessableEntity || p.b.cookie(sessionCookie) != "" {
		t.Errorf("%d at %s", p.status, p.url)
	}
	for _, path := range []string{link, "/login/forgot", "/account/password", "/.well-known/change-password"} {
		if p := b.get(path); p.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	if p := b.get("/setup/x"); !refused(p, http.StatusForbidden, "setup_no_password") {
		t.Errorf("set-up: %d", p.status)
	}
	s.browser("192.0.2.4").byMail(owes.Email).expect("/account", http.StatusOK) // there is no password to change
	coded := s.browser("192.0.2.5")
	coded.byMail(u.Email).expect("/account", http.StatusOK)
	s.with(nil)
	if p := coded.get("/account"); p.url.Path != "/login" || p.byID("login-code") != nil || p.byID("login-form") == nil {
		t.Errorf("at %s", p.url)
	}
	if p := coded.get("/login/code"); p.status != http.StatusNotFound {
		t.Errorf("%d", p.status)
	}
}
