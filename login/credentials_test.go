package login_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestChangePassword: on the account page, by somebody who has just signed in; other devices and grants end, and the person is told (R23).
func TestChangePassword(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com", s.proven)
		b, other := s.signedInAs(u, "192.0.2.1"), s.signedInAs(u, "192.0.2.2")
		must(t, s.store.CreateOneTime(t.Context(), &store.OneTime{Hash: hash("x"), Purpose: store.PurposeReset, UserID: u.ID, Data: `{"email":"ana@example.com"}`, ExpiresAt: store.At(s.now().Add(time.Hour))}))
		p := b.get("/.well-known/change-password").expect("/account/password", http.StatusOK)
		for pw, status := range map[string]int{"": 422, "short": 422, "ana example ana": 422, "password1234": 422, goodPassword: 422} {
			if q := p.form("password-form").set("password-new", pw).submit(); q.status != status {
				t.Errorf("%q: %d", pw, q.status)
			}
		}
		if len(s.mails("ana@example.com")) != 0 || other.get("/account").url.Path != "/account" {
			t.Fatal("a refused password changed something")
		}
		s.sleep(time.Minute) // tries cost a wait by now
		p = p.form("password-form").set("password-new", otherPassword).submit().expect("/account", http.StatusOK)
		if p.byID("account-done") == nil {
			t.Error("the page says nothing")
		}
		if other.get("/account").url.Path != "/login" || b.get("/account").url.Path != "/account" {
			t.Error("the wrong sessions ended")
		}
		if m := s.newestMail("ana@example.com"); m.Subject != "Latchkey - Your password was changed" || !strings.Contains(m.Text, issuer+"/login/forgot\n") {
			t.Errorf("%+v", m)
		}
		if q := s.browser("192.0.2.3").get("/login/reset/x"); !refused(q, http.StatusGone, "link_used") { // security.md F15
			t.Errorf("a link from before: %d %s", q.status, q.code())
		}
		if q := s.browser("192.0.2.3").get("/login").signIn("ana@example.com", goodPassword); q.status != 422 {
			t.Errorf("the old password: %d", q.status)
		}
		s.browser("192.0.2.3").get("/login").signIn("ana@example.com", otherPassword).expect("/account", http.StatusOK)
	})
}

// TestSec_C11_CredentialsNeedARecentSignIn: a session left open gives nobody the account.
func TestSec_C11_CredentialsNeedARecentSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	b := s.signedInAs(u, "192.0.2.1")
	password, email := b.get("/account/password").form("password-form"), b.get("/account/email").form("email-form")
	s.sleep(11 * time.Minute)
	for _, path := range []string{"/account/password", "/account/email"} {
		if p := b.get(path); p.url.Path != "/login" || p.url.Query().Get("reauth") == "" {
			t.Errorf("%s: at %s", path, p.url)
		}
	}
	if p := password.set("password-new", otherPassword).submit(); p.url.Path != "/login" {
		t.Errorf("at %s", p.url)
	}
	if p := email.set("email-new", "eve@example.com").submit(); p.url.Path != "/login" || len(s.mails("eve@example.com")) != 0 {
		t.Errorf("at %s", p.url)
	}
	// And back to the page.
	b.get("/account/password").signIn("ana@example.com", goodPassword).expect("/account/password", http.StatusOK)
}

// TestFirstPassword: an account that is opened by mail or upstream gets a password on its page, and not by a link in a mail.
func TestFirstPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode = true })
	u := &store.User{Email: "ana@example.com", EmailVerifiedAt: store.At(s.now())}
	must(t, s.store.CreateUser(t.Context(), u))
	b := s.browser("192.0.2.1")
	b.forget("ana@example.com").expect("/login/forgot/sent", http.StatusOK)
	if m := s.newestMail("ana@example.com"); strings.Contains(m.Text, "/login/reset/") || !strings.Contains(m.Text, issuer+"/login\n") {
		t.Errorf("%s", m.Text)
	}
	b.byMail("ana@example.com").expect("/account", http.StatusOK)
	p := b.get("/account/password")
	if !strings.Contains(p.text(), "Set a password") {
		t.Error(p.text())
	}
	p.form("password-form").set("password-new", otherPassword).submit().expect("/account", http.StatusOK)
	s.browser("192.0.2.2").get("/login").signIn("ana@example.com", otherPassword).expect("/account", http.StatusOK)
}

// TestChangeEmail: the new address is proven first, the old one hears of it and can take it back, once (security.md F16).
func TestChangeEmail(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com", s.proven)
		b := s.signedInAs(u, "192.0.2.1")
		s.browser("192.0.2.9").forget("ana@example.com")
		resetOld := s.linkFor("ana@example.com")
		p := b.get("/account/email").expect("/account/email", http.StatusOK)
		for _, bad := range []string{"", "ana", "ana@example.com", "a@b@example.com"} {
			p.form("email-form").set("email-new", bad).submit().expect("/account/email", http.StatusUnprocessableEntity)
		}
		p = p.form("email-form").set("email-new", "eve@example.net").submit().expect("/account/email/code", http.StatusOK)
		code := s.codeFor("eve@example.net")
		p.enterCode(wrongFor(code)).expect("/account/email/code", http.StatusUnprocessableEntity)
		if s.read(u.ID).Email != "ana@example.com" {
			t.Fatal("changed before the proof")
		}
		// Another person's session in the same browser, and another browser, are no good (security.md C5).
		if q := s.signedInAs(s.user("bob@example.com"), "192.0.2.5").get(p.url.RequestURI()); !refused(q, http.StatusBadRequest, "sign_in_expired") {
			t.Errorf("another browser: %d", q.status)
		}
		s.sleep(time.Second)
		done := p.enterCode(code).expect("/account", http.StatusOK)
		if now := s.read(u.ID); now.Email != "eve@example.net" || now.EmailVerifiedAt.IsZero() || done.byID("account-done") == nil {
			t.Errorf("%+v", now)
		}
		if q := p.enterCode(code); q.status == http.StatusOK {
			t.Error("used twice")
		}
		if q := b.get(resetOld); !refused(q, http.StatusGone, "link_used") {
			t.Errorf("a link that went to the old address: %d %s", q.status, q.code())
		}
		m := s.newestMail("ana@example.com")
		if m.Subject != "Latchkey - Your e-mail address was changed" || strings.Contains(m.Text, "eve@") {
			t.Errorf("%s\n%s", m.Subject, m.Text)
		}
		undo := s.linkFor("ana@example.com")

		// Whoever did it cannot kill the link with a second change.
		s.sleep(time.Minute)
		p = b.get("/account/email").form("email-form").set("email-new", "eve2@example.net").submit().expect("/account/email/code", http.StatusOK)
		s.sleep(time.Second)
		p.enterCode(s.codeFor("eve2@example.net")).expect("/account", http.StatusOK)
		if strings.Contains(s.newestMail("eve@example.net").Text, "/login/undo/") {
			t.Error("a link to take it back to an address that took its place")
		}
		owner := s.browser("192.0.2.7")
		for range 3 { // a program that looks at mail
			owner.get(undo).expect(strings.SplitN(undo, "?", 2)[0], http.StatusOK)
		}
		q := owner.get(undo).form("undo-form").submit()
		if !strings.HasPrefix(q.url.Path, "/login/reset/") || q.status != http.StatusOK {
			t.Fatalf("at %s with %d", q.url, q.status)
		}
		if now := s.read(u.ID); now.Email != "ana@example.com" || now.EmailVerifiedAt.IsZero() {
			t.Errorf("%+v", now)
		}
		if b.get("/account").url.Path != "/login" {
			t.Error("whoever changed it is still signed in")
		}
		q.form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK).signIn("ana@example.com", otherPassword).expect("/account", http.StatusOK)
		if q := owner.get(undo); !refused(q, http.StatusGone, "link_used") {
			t.Errorf("used twice: %d %s", q.status, q.code())
		}
	})
}

// TestSec_F8_ChangeEmailTellsNothing: the address of somebody else gets the same pages, and its owner a word.
func TestSec_F8_ChangeEmailTellsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	s.user("bob@example.com", s.proven)
	b := s.signedInAs(u, "192.0.2.1")
	var pages [2]string
	for i, email := range []string{"bob@example.com", "new@example.com"} {
		p := b.get("/account/email").form("email-form").set("email-new", email).submit().expect("/account/email/code", http.StatusOK)
		pages[i] = masked(p, email)
		p.enterCode("123456").expect("/account/email/code", http.StatusUnprocessableEntity)
	}
	if pages[0] != pages[1] {
		t.Errorf("%s\n%s", pages[0], pages[1])
	}
	if m := s.newestMail("bob@example.com"); sixDigits.MatchString(m.Text) || !strings.Contains(m.Subject, "Somebody entered") {
		t.Errorf("%s", m.Text)
	}
}

// masked is an answer without what differs from one to the next by chance.
func masked(p *page, email string) string {
	header := p.header.Clone()
	for _, h := range []string{"X-Request-Id", "Content-Security-Policy", "Set-Cookie", "Content-Length", "Server-Timing"} {
		header.Del(h)
	}
	body := strings.NewReplacer(email, "*", url.QueryEscape(email), "*").Replace(p.body)
	return random20.ReplaceAllString(fmt.Sprint(p.status, p.url.Path, header, body), "*")
}
