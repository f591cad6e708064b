package login_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
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

// proven is a change for user: the address was proven.
func (s *site) proven(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) }

// signedInAs is a browser of somebody who has just signed in.
func (s *site) signedInAs(u *store.User, addr string) *browser {
	s.t.Helper()
	b := s.browser(addr)
	b.get("/login").signIn(u.Email, goodPassword).expect("/account", http.StatusOK)
	return b
}

// forget asks for a link.
func (b *browser) forget(identifier string) *page {
	b.t.Helper()
	b.site.sleep(time.Second) // so that mails have an order
	return b.get("/login/forgot").form("forgot-form").set("forgot-identifier", identifier).submit()
}

// codeOf is the value of the error page.
func refused(p *page, status int, code string) bool { return p.status == status && p.code() == code }

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

// byMail signs in with a code.
func (b *browser) byMail(email string) *page {
	b.t.Helper()
	b.site.sleep(time.Second) // so that mails have an order
	p := b.get("/login/code").form("email-code-form").set("email-code-email", email).submit().expect("/login/code/enter", http.StatusOK)
	return p.enterCode(b.site.newCodeFor(email))
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

var random20 = regexp.MustCompile(`(join|flow)=[A-Za-z0-9_-]+|value="[A-Za-z0-9_.-]{20,}"`)

// masked is an answer without what differs from one to the next by chance.
func masked(p *page, email string) string {
	header := p.header.Clone()
	for _, h := range []string{"X-Request-Id", "Content-Security-Policy", "Set-Cookie", "Content-Length", "Server-Timing"} {
		header.Del(h)
	}
	body := strings.NewReplacer(email, "*", url.QueryEscape(email), "*").Replace(p.body)
	return random20.ReplaceAllString(fmt.Sprint(p.status, p.url.Path, header, body), "*")
}

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
