package login_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestForgot: a link by mail, single use by POST, ends sessions, signs nobody in, and the person is told (R25, R69).
func TestForgot(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com", s.proven)
		other := s.signedInAs(u, "192.0.2.2")
		b := s.browser("192.0.2.1")
		p := b.get("/test/start")
		p = b.get(attr(p.byID("login-forgot"), "href"))
		p.form("forgot-form").set("forgot-identifier", "ANA@example.com").submit().expect("/login/forgot/sent", http.StatusOK)
		m := s.newestMail("ana@example.com")
		if m.Subject != "Latchkey - Choose a new password" || m.ExpiresAt.Sub(s.now()).Round(time.Second) != 30*time.Minute {
			t.Errorf("%+v", m)
		}
		link := s.linkFor("ana@example.com")
		p = b.get(link)
		if p.status != http.StatusOK || p.header.Get("Referrer-Policy") == "" || p.byID("client-logo") != nil || strings.Contains(p.header.Get("Content-Security-Policy"), "cdn.example") {
			t.Errorf("%d %v", p.status, p.header)
		}
		p.form("reset-form").set("reset-password", "short").submit().expect(p.url.Path, http.StatusUnprocessableEntity)
		s.sleep(time.Second)
		done := p.form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK)
		if b.cookie(sessionCookie) != "" || done.byID("login-done") == nil {
			t.Error("a link signed somebody in, or the page says nothing")
		}
		if other.get("/account").url.Path != "/login" {
			t.Error("a session survived")
		}
		if m := s.newestMail("ana@example.com"); m.Subject != "Latchkey - Your password was changed" {
			t.Error(m.Subject)
		}
		// The flow goes on, in the browser it belongs to.
		if q := done.signIn("ana@example.com", otherPassword); !strings.HasSuffix(q.away, "code=for-"+u.ID) {
			t.Errorf("at %s%s", q.url, q.away)
		}
		if q := p.form("reset-form").set("reset-password", goodPassword).submit(); !refused(q, http.StatusGone, "link_used") {
			t.Errorf("used twice: %d %s", q.status, q.code())
		}
	})
}

// TestSec_F15_ScannerGET: whatever opens the link without a POST changes nothing.
func TestSec_F15_ScannerGET(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	mine := s.signedInAs(u, "192.0.2.2")
	s.browser("192.0.2.1").forget("ana@example.com")
	link := s.linkFor("ana@example.com")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
		if p := s.browser("198.51.100.9").send(method, link, nil, nil); p.status != http.StatusOK {
			t.Errorf("%s: %d", method, p.status)
		}
	}
	if mine.get("/account").url.Path != "/account" {
		t.Error("a GET ended a session")
	}
	// A scanner that posts has no form token, and without the form's field nothing is used up.
	if p := s.browser("198.51.100.9").send(http.MethodPost, link, url.Values{"password": {otherPassword}}, nil); p.status != http.StatusForbidden {
		t.Errorf("POST: %d", p.status)
	}
	s.browser("192.0.2.3").get(link).form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK) // another browser than the one that asked
}

// TestSec_C10_ResetKeepsTheFactor: a new password by a link changes nothing about the second factor, which the next sign-in asks for (R25, R69).
func TestSec_C10_ResetKeepsTheFactor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	p := b.get("/account/security/totp")
	app := p.app()
	codes := p.enterFactor(app.at(0)).codes()
	s.sleep(time.Minute)
	other := s.browser("192.0.2.2")
	other.forget("ana@example.com")
	other.get(s.linkFor("ana@example.com")).form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK)
	if other.cookie(sessionCookie) != "" || b.get("/account").url.Path != "/login" {
		t.Error("the link signed somebody in, or left somebody signed in")
	}
	f, err := s.store.Factors(t.Context(), u.ID)
	if err != nil || len(f.List) != 1 || f.CodesLeft() != len(codes) {
		t.Errorf("%+v %v", f, err)
	}
	p = other.get("/login").signIn("ana@example.com", otherPassword).expect("/mfa", http.StatusOK)
	other.get("/account").expect("/login", http.StatusOK)
	p.enterFactor(app.at(0)).expect("/account", http.StatusOK)
}

// TestSec_F15_StaleLinks: too late, replaced, for an account that is shut, or whose address changed.
func TestSec_F15_StaleLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	b := s.browser("192.0.2.1")
	ask := func() string {
		t.Helper()
		s.sleep(time.Second)
		b.forget("ana@example.com").expect("/login/forgot/sent", http.StatusOK)
		return s.linkFor("ana@example.com")
	}
	first, second := ask(), ask()
	if p := b.get(first); !refused(p, http.StatusNotFound, "link_unknown") {
		t.Errorf("replaced: %d %s", p.status, p.code())
	}
	form := b.get(second).form("reset-form").set("reset-password", otherPassword)
	s.sleep(30 * time.Minute)
	if p := b.get(second); !refused(p, http.StatusGone, "link_expired") || p.byID("error-restart") == nil {
		t.Errorf("late: %d %s", p.status, p.code())
	}
	if p := form.submit(); !refused(p, http.StatusGone, "link_expired") {
		t.Errorf("late: %d %s", p.status, p.code())
	}
	third := ask()
	form = b.get(third).form("reset-form").set("reset-password", otherPassword)
	must(t, s.store.DisableUser(t.Context(), "cli", u.ID, "test"))
	if p := form.submit(); !refused(p, http.StatusGone, "link_used") {
		t.Errorf("disabled: %d %s", p.status, p.code())
	}
	must(t, s.store.EnableUser(t.Context(), "cli", u.ID))
	if p := b.get("/login/reset/" + strings.Repeat("A", 43)); !refused(p, http.StatusNotFound, "link_unknown") {
		t.Errorf("made up: %d %s", p.status, p.code())
	}
}

// TestSec_F15_SwappedPurpose: a token of one kind is nothing for another (R140).
func TestSec_F15_SwappedPurpose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", s.proven)
	end := store.At(s.now().Add(time.Hour))
	for purpose, token := range map[string]string{"setup": "one", store.PurposeReset: "two", "email_undo": "three"} {
		must(t, s.store.CreateOneTime(t.Context(), &store.OneTime{Hash: hash(token), Purpose: purpose, UserID: u.ID, Data: `{"email":"ana@example.com"}`, ExpiresAt: end}))
	}
	b := s.browser("192.0.2.1")
	for path, own := range map[string]string{"/setup/": "one", "/login/reset/": "two", "/login/undo/": "three"} {
		for _, token := range []string{"one", "two", "three"} {
			if p := b.get(path + token); (p.status == http.StatusOK) != (token == own) {
				t.Errorf("%s%s: %d", path, token, p.status)
			}
		}
	}
	// Nor is a handle of one page good on another.
	s.with(func(c *login.Config) { c.EmailCode, c.Registration = true, login.RegistrationOpen })
	p := b.get("/register").form("register-form").set("register-email", "new@example.com").set("register-password", otherPassword).submit().expect("/register/code", http.StatusOK)
	for _, path := range []string{"/login/code/enter?", "/account/email/code?", "/login/complete/code?"} {
		if q := b.get(path + p.url.RawQuery); q.status == http.StatusOK && q.url.Path != "/login" {
			t.Errorf("%s: %d at %s", path, q.status, q.url)
		}
	}
}

// TestSec_F15_HostHeader: the link in a mail is the issuer's, whatever a request names.
func TestSec_F15_HostHeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com", s.proven)
	for i, change := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "evil.example") },
		func(r *http.Request) { r.Header.Set("Forwarded", `host="evil.example";proto=https`) },
		func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
		func(r *http.Request) { r.Header.Set("X-Original-Host", "evil.example") },
		func(r *http.Request) { r.Header.Set("X-Forwarded-Server", "evil.example") },
	} {
		b := s.browser(fmt.Sprintf("192.0.%d.1", i+10))
		f := b.get("/login/forgot").form("forgot-form").set("forgot-identifier", "ana@example.com")
		b.send(http.MethodPost, f.action, f.values, change)
		s.sleep(time.Hour)
	}
	all := s.mails("ana@example.com")
	if len(all) < 5 {
		t.Fatalf("%d mails", len(all))
	}
	for _, m := range all {
		if !ourLink.MatchString(m.Text) || strings.Contains(m.Text+m.HTML, "evil") || strings.Contains(m.Text, "https://") {
			t.Errorf("%s", m.Text)
		}
	}
}

// TestSec_F15_OneOfManyPosts: of the same form, sent many times at once, one sets a password.
func TestSec_F15_OneOfManyPosts(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.user("ana@example.com", s.proven)
		s.browser("192.0.2.1").forget("ana@example.com")
		link := s.linkFor("ana@example.com")
		var forms []*form
		for i := range 8 {
			forms = append(forms, s.browser("192.0.2.1").get(link).form("reset-form").set("reset-password", fmt.Sprintf("%s %d", otherPassword, i)))
		}
		if won := race(forms, func(p *page) bool { return p.url.Path == "/login" }); won != 1 {
			t.Errorf("%d", won)
		}
		if n := len(s.mails("ana@example.com")); n != 2 {
			t.Errorf("%d mails", n)
		}
	})
}

// race sends all forms at once and counts the answers that won.
func race(forms []*form, won func(*page) bool) (n int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, f := range forms {
		wg.Go(func() {
			p := f.submit()
			mu.Lock()
			defer mu.Unlock()
			if won(p) {
				n++
			}
		})
	}
	wg.Wait()
	return n
}

// TestSec_F8_ForgotTellsNothing: known, unknown, shut and without a password: the same pages and the same rows; the mailbox alone tells.
func TestSec_F8_ForgotTellsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("known@example.com", s.proven)
	s.user("raw@example.com")
	s.user("off@example.com", s.proven, func(u *store.User) { u.DisabledAt = store.At(s.now()) })
	must(t, s.store.CreateUser(t.Context(), &store.User{Email: "up@example.com", EmailVerifiedAt: store.At(s.now())}))
	want := ""
	for email, mails := range map[string]int{"known@example.com": 1, "raw@example.com": 1, "off@example.com": 0, "up@example.com": 1, "nobody@example.com": 0} {
		before := s.rows()
		p := s.browser("192.0.2.1").forget(email).expect("/login/forgot/sent", http.StatusOK)
		if got := masked(p, email); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%s:\n%s\n%s", email, got, want)
		}
		if n := len(s.mails(email)); n != mails {
			t.Errorf("%s: %d mails", email, n)
		}
		if d := s.rows() - before; d != 1 {
			t.Errorf("%s: %d rows of mail", email, d)
		}
		if strings.Contains(p.body, email) {
			t.Errorf("%s is on the page", email)
		}
	}
}

// rows of the outbox, also those that are nobody's.
func (s *site) rows() int {
	all, err := s.store.Messages(s.t.Context(), 1000)
	must(s.t, err)
	return len(all)
}

// TestSec_E5_RecoveryOfAnUnprovenAddress: what somebody left in an account whose address was not theirs opens nothing once its owner came.
func TestSec_E5_RecoveryOfAnUnprovenAddress(t *testing.T) {
	t.Parallel()
	x := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(x))
	u := s.user("ana@example.com") // nobody proved it
	must(t, s.store.CreateIdentity(t.Context(), "cli", &store.Identity{UserID: u.ID, Connector: "google", Issuer: "https://upstream.example", Subject: "eve"}))
	eve := s.signedInAs(u, "192.0.2.66")
	s.browser("192.0.2.1").forget("ana@example.com")
	s.browser("192.0.2.1").get(s.linkFor("ana@example.com")).form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK)
	if eve.get("/account").url.Path != "/login" {
		t.Error("the session lives on")
	}
	if s.read(u.ID).EmailVerifiedAt.IsZero() {
		t.Error("the mailbox was proven, and does not count")
	}
	for _, l := range s.links(u.ID) {
		if l.QuarantinedAt.IsZero() {
			t.Errorf("%+v", l)
		}
	}
}

// TestForgot_Unlocks: somebody whom guesses at their password locked out gets in by a reset (R26, security.md F6).
func TestForgot_Unlocks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com", s.proven)
	b := s.browser("192.0.2.1")
	for range 12 {
		b.get("/login").signIn("ana@example.com", "wrong wrong wrong")
	}
	if p := b.get("/login").signIn("ana@example.com", goodPassword); p.status != http.StatusTooManyRequests {
		t.Fatalf("%d", p.status)
	}
	b.forget("ana@example.com").expect("/login/forgot/sent", http.StatusOK)
	p := b.get(s.linkFor("ana@example.com")).form("reset-form").set("reset-password", otherPassword).submit().expect("/login", http.StatusOK)
	p.signIn("ana@example.com", otherPassword).expect("/account", http.StatusOK)
}

// TestForgot_NoMail: where no mail is sent there are no such pages, and no links to them.
func TestForgot_NoMail(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.keys[4] = nil
	s.restart()
	b := s.signedInAs(s.user("ana@example.com"), "192.0.2.1")
	for _, path := range []string{"/login/forgot", "/login/reset/x", "/login/undo/x", "/account/email", "/register", "/login/code"} {
		if p := b.get(path); p.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	if p := b.get("/account"); p.byID("account-email-open") != nil || p.byID("account-password-open") == nil {
		t.Error("links")
	}
	b.get("/account/password").form("password-form").set("password-new", otherPassword).submit().expect("/account", http.StatusOK)
}

// forget asks for a link.
func (b *browser) forget(identifier string) *page {
	b.t.Helper()
	b.site.sleep(time.Second) // so that mails have an order
	return b.get("/login/forgot").form("forgot-form").set("forgot-identifier", identifier).submit()
}

// linkFor is the path of the link in the newest mail to an address.
func (s *site) linkFor(to string) string {
	s.t.Helper()
	m := s.newestMail(to)
	link := ourLink.FindStringSubmatch(m.Text)
	if link == nil || !strings.Contains(m.HTML, `href="`+strings.ReplaceAll(link[0], "&", "&amp;")+`"`) {
		s.t.Fatalf("no link: %s", m.Text)
	}
	return link[1]
}
