package login_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// byMail signs in with a code.
func (b *browser) byMail(email string) *page {
	b.t.Helper()
	b.site.sleep(time.Second) // so that mails have an order
	p := b.get("/login/code").form("email-code-form").set("email-code-email", email).submit().expect("/login/code/enter", http.StatusOK)
	return p.enterCode(b.site.newCodeFor(email))
}

// newCodeFor is the code in the newest mail by its time.
func (s *site) newCodeFor(to string) string {
	s.t.Helper()
	return sixDigits.FindString(s.newestMail(to).Text)
}

// TestEmailCode: a sign-in with a code by mail; the flow goes on; it counts as one factor.
func TestEmailCode(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.with(func(c *login.Config) { c.EmailCode = true })
		u := s.user("ana@example.com", s.proven)
		b := s.browser("192.0.2.1")
		p := b.get(attr(b.get("/test/start").byID("login-code"), "href"))
		p = p.form("email-code-form").set("email-code-email", "ANA@example.com").submit().expect("/login/code/enter", http.StatusOK)
		m := s.newestMail("ana@example.com")
		if m.Subject != "Latchkey - Your code to sign in" {
			t.Error(m.Subject)
		}
		code := s.codeFor("ana@example.com")
		p.enterCode(wrongFor(code)).expect("/login/code/enter", http.StatusUnprocessableEntity)
		if q := s.browser("192.0.2.9").get(p.url.RequestURI()); q.status != http.StatusBadRequest {
			t.Errorf("another browser: %d", q.status)
		}
		if id := p.enterCode(code).arrived(); id != u.ID {
			t.Errorf("%s", id)
		}
		sessions, err := s.store.SessionsOf(t.Context(), u.ID)
		must(t, err)
		if len(sessions) != 1 || sessions[0].Connector != "email_code" || strings.Join(sessions[0].AMR, " ") != "email" || sessions[0].ACR != "1" {
			t.Errorf("%+v", sessions)
		}
		if q := p.enterCode(code); q.status == http.StatusOK {
			t.Error("used twice")
		}
		// To confirm who is signed in, and back to the page that asked.
		s.sleep(10 * time.Minute)
		q := b.get("/account/email").expect("/login", http.StatusOK)
		q = b.get(attr(q.byID("login-code"), "href")).form("email-code-form").submit().expect("/login/code/enter", http.StatusOK)
		q.enterCode(s.newCodeFor("ana@example.com")).expect("/account/email", http.StatusOK)
	})
}

// TestEmailCode_OnceOfMany: the same code at once opens one session.
func TestEmailCode_OnceOfMany(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.with(func(c *login.Config) { c.EmailCode = true })
		u := s.user("ana@example.com", s.proven)
		b := s.browser("192.0.2.1")
		p := b.get("/login/code").form("email-code-form").set("email-code-email", "ana@example.com").submit()
		f := p.form("code-form").set("code-input", s.codeFor("ana@example.com"))
		if won := race([]*form{f, f, f, f}, func(p *page) bool { return p.url.Path == "/account" }); won < 1 {
			t.Errorf("%d", won)
		}
		sessions, err := s.store.SessionsOf(t.Context(), u.ID)
		must(t, err)
		if len(sessions) != 1 {
			t.Errorf("%d sessions", len(sessions))
		}
	})
}

// TestSec_F8_EmailCodeTellsNothing: unknown, shut and unproven addresses get the same pages and no mail, and no code opens anything.
func TestSec_F8_EmailCodeTellsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode = true })
	s.user("known@example.com", s.proven)
	s.user("raw@example.com")
	s.user("off@example.com", s.proven, func(u *store.User) { u.DisabledAt = store.At(s.now()) })
	want := ""
	for email, mails := range map[string]int{"known@example.com": 1, "raw@example.com": 0, "off@example.com": 0, "nobody@example.com": 0} {
		before := s.rows()
		p := s.browser("192.0.2.1").get("/login/code").form("email-code-form").set("email-code-email", email).submit().expect("/login/code/enter", http.StatusOK)
		wrong := p.enterCode("nocode").expect("/login/code/enter", http.StatusUnprocessableEntity)
		if got := masked(p, email) + masked(wrong, email); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%s:\n%s\n%s", email, got, want)
		}
		if len(s.mails(email)) != mails || s.rows()-before != 1 {
			t.Errorf("%s: %d mails, %d rows", email, len(s.mails(email)), s.rows()-before)
		}
	}
}

// TestSec_F10_EmailCodeBruteForce: many sign-ins at once for one account check ten codes, however many are guessed.
func TestSec_F10_EmailCodeBruteForce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode = true })
	s.user("ana@example.com", s.proven)
	var forms []*form
	for i := range 5 { // as many mails as one address gets at once
		p := s.browser(fmt.Sprintf("192.0.2.%d", i+1)).get("/login/code").form("email-code-form").set("email-code-email", "ana@example.com").submit().expect("/login/code/enter", http.StatusOK)
		for j := range 40 {
			forms = append(forms, p.form("code-form").set("code-input", fmt.Sprintf("%06d", j)))
		}
	}
	checked := race(forms, func(p *page) bool {
		return p.status == http.StatusUnprocessableEntity && strings.Contains(p.text(), "That isn’t the code")
	})
	if checked > 10 {
		t.Errorf("%d codes were checked", checked)
	}
}

// TestEmailCode_Registration: where there are no passwords, somebody new is asked for none.
func TestEmailCode_Registration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode, c.NoPassword, c.Registration = true, true, login.RegistrationOpen })
	b := s.browser("192.0.2.1")
	p := b.get(attr(b.get("/test/start").byID("login-register"), "href"))
	if p.byID("register-password") != nil {
		t.Error("asked for a password")
	}
	id := p.form("register-form").set("register-email", "ana@example.com").submit().enterCode(s.codeFor("ana@example.com")).arrived()
	if _, err := s.store.Password(t.Context(), id); err == nil {
		t.Error("a password from nowhere")
	}
	s.browser("192.0.2.2").byMail("ana@example.com").expect("/account", http.StatusOK)
}

// TestEmailCode_MustChange: a password that must be changed is changed first, whatever opened the account (R9).
func TestEmailCode_MustChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode = true })
	s.user("ana@example.com", s.proven, func(u *store.User) { u.MustChange = true })
	b := s.browser("192.0.2.1")
	p := b.byMail("ana@example.com").expect("/login/new-password", http.StatusOK)
	if b.cookie(sessionCookie) != "" {
		t.Error("a session before the change")
	}
	s.sleep(time.Second)
	p.form("new-password-form").set("new-password-password", otherPassword).submit().expect("/account", http.StatusOK)
	if m := s.newestMail("ana@example.com"); m.Subject != "Latchkey - Your password was changed" {
		t.Error(m.Subject)
	}
}
