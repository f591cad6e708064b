package login_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

const newPassword = "a different staple for horses 9"

func fillNewPassword(p *page, pw string) *form {
	p.b.t.Helper()
	return p.form("new-password-form").set("new-password-password", pw)
}

// A flagged person cannot get to an application before the password is changed (R9).
func TestNewPassword_ForcedChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", func(u *store.User) { u.MustChange = true })
	b := s.browser("192.0.2.1")
	p := b.get("/test/start").signIn("ana@example.com", goodPassword).expect("/login/new-password", http.StatusOK)
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.example") {
		t.Errorf("the form cannot end at the application: %s", csp)
	}
	if len(s.arrivals()) != 0 || b.cookie(sessionCookie) != "" {
		t.Fatal("the flow went on, or there is a session, before the change")
	}
	for name, pw := range map[string]string{"too short": "short", "the old one": goodPassword, "own address": "ana@example.com", "empty": ""} {
		again := fillNewPassword(p, pw).submit().expect("/login/new-password", http.StatusUnprocessableEntity)
		if attr(again.byID("new-password-password"), "aria-invalid") != "true" {
			t.Errorf("%s: the field is not marked: %s", name, again.text())
		}
	}
	end := fillNewPassword(p, newPassword).submit()
	if !strings.HasSuffix(end.away, "code=for-"+u.ID) {
		t.Fatalf("ended at %s%s with %d: %s", end.url, end.away, end.status, end.text())
	}
	b.get("/account").expect("/account", http.StatusOK)
	fillNewPassword(p, newPassword+"x").submit().expect("/login/new-password", http.StatusBadRequest) // its flow is finished

	other := s.browser("192.0.2.2")
	other.get("/login").signIn("ana@example.com", goodPassword).expect("/login", http.StatusUnprocessableEntity)
	other.get("/login").signIn("ana@example.com", newPassword).expect("/account", http.StatusOK)
}

func TestNewPassword_OnceAtATime(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com", func(u *store.User) { u.MustChange = true })
		b := s.browser("192.0.2.1")
		p := b.get("/login").signIn("ana@example.com", goodPassword).expect("/login/new-password", http.StatusOK)
		const n = 4
		pages := make([]*page, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { pages[i] = fillNewPassword(p, newPassword+string(rune('a'+i))).submit() })
		}
		wg.Wait()
		for _, p := range pages {
			if p.status >= 500 {
				t.Errorf("%d at %s", p.status, p.url.Path)
			}
		}
		sessions, err := s.store.SessionsOf(t.Context(), u.ID)
		must(t, err)
		if len(sessions) != 1 {
			t.Errorf("%d sessions came of one partial sign-in", len(sessions))
		}
	})
}

// A half-finished sign-in opens no page that wants a session, and expires.
func TestSec_C10_PartialIsNoSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com", func(u *store.User) { u.MustChange = true })
	b := s.browser("192.0.2.1")
	p := b.get("/login").signIn("ana@example.com", goodPassword).expect("/login/new-password", http.StatusOK)
	for _, path := range []string{"/account", "/login"} {
		b.get(path).expect("/login", http.StatusOK)
	}
	b.get("/logout").expect("/logged-out", http.StatusOK)
	// Not for a flow of another tab either.
	b.get("/login/new-password?flow="+b.get("/test/start").url.Query().Get("flow")).expect("/login/new-password", http.StatusBadRequest)
	if n := len(s.arrivals()); n != 0 {
		t.Errorf("%d flows came to an end", n)
	}
	s.browser("192.0.2.1").get("/login/new-password").expect("/login/new-password", http.StatusBadRequest)
	s.sleep(6 * time.Minute)
	late := fillNewPassword(p, newPassword).submit().expect("/login/new-password", http.StatusBadRequest)
	if n := late.byID("error-restart"); n == nil || attr(n, "href") != "/login" {
		t.Errorf("no way to start again: %s", late.text())
	}
	s.browser("192.0.2.1").get("/login").signIn("ana@example.com", newPassword).expect("/login", http.StatusUnprocessableEntity)
}

func (s *site) grant(u *store.User, sid string, offline bool) string {
	s.t.Helper()
	g := &store.Grant{
		ID: strings.ToLower(randomText()), ClientID: "app", UserID: u.ID, SID: sid, Connector: "password", Scope: store.Strings{"openid", "email"},
		Facts: "{}", Offline: offline, RTGen: 1, CreatedAt: store.At(s.now()), ExpiresAt: store.At(s.now().Add(24 * time.Hour)),
	}
	_, err := s.store.CreateGrant(s.t.Context(), g)
	must(s.t, err)
	return g.ID
}

func (s *site) revoked(id string) bool {
	s.t.Helper()
	g, err := s.store.Grant(s.t.Context(), id)
	must(s.t, err)
	return !g.RevokedAt.IsZero()
}

func (s *site) onlySession(u *store.User) store.Session {
	s.t.Helper()
	all, err := s.store.SessionsOf(s.t.Context(), u.ID)
	must(s.t, err)
	if len(all) != 1 {
		s.t.Fatalf("%d sessions, want 1", len(all))
	}
	return all[0]
}

func TestSec_C9_SignOut(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com")
		b := s.browser("192.0.2.1")
		b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
		sid := s.onlySession(u).ID
		bound, standalone := s.grant(u, sid, false), s.grant(u, sid, true)

		p := b.get("/logout").expect("/logout", http.StatusOK)
		s.onlySession(u) // a GET ends nothing
		if !strings.Contains(p.text(), "Sample app") {
			t.Errorf("the page does not name the applications signed in: %s", p.text())
		}
		old := b.cookie(sessionCookie)
		done := p.form("logout-form").submit().expect("/logged-out", http.StatusOK)
		if done.byID("logout-done") == nil {
			t.Error("no #logout-done")
		}
		if all, err := s.store.SessionsOf(t.Context(), u.ID); err != nil || len(all) != 0 {
			t.Errorf("%d sessions, %v; want none", len(all), err)
		}
		if !s.revoked(bound) || s.revoked(standalone) {
			t.Errorf("revoked: bound %v, offline %v; want true, false", s.revoked(bound), s.revoked(standalone))
		}
		if b.cookie(sessionCookie) != "" {
			t.Error("the cookie is still there")
		}
		b.plant(sessionCookie, old)
		b.get("/account").expect("/login", http.StatusOK)
		s.browser("192.0.2.1").get("/logout").expect("/logged-out", http.StatusOK)
	})
}

func TestAccount_Shows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", func(u *store.User) { u.GivenName, u.FamilyName = "Ana", "<b>Lima</b>" })
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{
		UserID: u.ID, Privilege: "developer", GivenBy: "cli", Reason: "builds the shop", Until: store.At(s.now().Add(48 * time.Hour)),
	}))
	must(t, s.store.CreatePrivilege(t.Context(), "cli", &store.Privilege{Name: "shop_lead", Label: "Shop lead", Includes: store.Strings{"trainer"}}))
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "shop_lead", GivenBy: "cli"}))
	phone := s.browser("198.51.100.7")
	phone.agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
	phone.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword)
	s.grant(u, "", true)
	must(t, s.store.SaveConsent(t.Context(), &store.Consent{UserID: u.ID, ClientID: "app", Scope: store.Strings{"openid"}, GrantedAt: store.At(s.now()), ExpiresAt: store.At(s.now().Add(time.Hour))}))
	why := b.get("/account/privileges").expect("/account/privileges", http.StatusOK)
	for _, want := range []string{"Given by the operator on", "It ends on", "Reason: builds the shop", "Included: Shop lead → Trainer.", "Comes with the user type User."} {
		if !strings.Contains(why.text(), want) {
			t.Errorf("the page of privileges lacks %q: %s", want, why.text())
		}
	}
	p := b.get("/account").expect("/account", http.StatusOK)
	for _, want := range []string{"Ana <b>Lima</b>", "ana@example.com", "Shop lead", "Trainer", "Firefox on Linux", "Safari on iPhone", "198.51.100.7", "Sample app"} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("the page lacks %q: %s", want, p.text())
		}
	}
	if key := regexp.MustCompile(`\b(account|device|error|login|field)\.[a-z_]+`).FindString(p.text()); key != "" {
		t.Errorf("a text is missing: %s", key)
	}
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self'") || strings.Contains(csp, "example") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
}

// Nobody ends another person's session by its id, and cannot tell whether it exists.
func TestSec_G6_ForeignSessionsAndApps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ana, bob := s.user("ana@example.com"), s.user("bob@example.com")
	victim, attacker := s.browser("192.0.2.1"), s.browser("192.0.2.66")
	victim.get("/login").signIn("ana@example.com", goodPassword)
	attacker.get("/login").signIn("bob@example.com", goodPassword)
	grant := s.grant(ana, s.onlySession(ana).ID, true)

	token := attacker.get("/logout").form("logout-form")
	for action, field := range map[string]map[string]string{
		"/account/sessions/end": {"id": s.onlySession(ana).ID},
		"/account/apps/remove":  {"client_id": "app"},
	} {
		f := &form{p: token.p, action: action, values: token.values}
		for k, v := range field {
			f.values.Set(k, v)
		}
		f.submit().expect("/account", http.StatusOK)
	}
	victim.get("/account").expect("/account", http.StatusOK)
	if s.revoked(grant) {
		t.Error("another person's grant was revoked")
	}
	if s.onlySession(bob).UserID != bob.ID {
		t.Error("the attacker lost the session")
	}
}

func TestAccount_EndSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com")
	var bs []*browser
	for range 4 {
		b := s.browser("192.0.2.1")
		b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
		bs = append(bs, b)
	}
	here := bs[0]
	all, err := s.store.SessionsOf(t.Context(), u.ID)
	must(t, err)
	p := here.get("/account")
	i := slices.IndexFunc(all, func(x store.Session) bool { return strings.Contains(p.body, `value="`+x.ID) })
	if i < 0 {
		t.Fatalf("no session to end on the page: %s", p.text())
	}
	other := all[i]
	offline := s.grant(u, other.ID, true)
	p = p.formTo("/account/sessions/end", other.ID).submit().expect("/account", http.StatusOK)
	if left, err := s.store.SessionsOf(t.Context(), u.ID); err != nil || len(left) != 3 {
		t.Errorf("%d sessions, %v; want 3", len(left), err)
	}
	if s.revoked(offline) {
		t.Error("ending one session revoked an offline grant")
	}
	p.formTo("/account/sessions/end-others", "").submit().expect("/account", http.StatusOK)
	s.onlySession(u)
	if !s.revoked(offline) {
		t.Error("signing out everywhere else left an offline grant")
	}
	for _, b := range bs[1:] {
		b.get("/account").expect("/login", http.StatusOK)
	}
}

func TestAccount_RemoveApp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword)
	grant := s.grant(u, "", true)
	must(t, s.store.SaveConsent(t.Context(), &store.Consent{UserID: u.ID, ClientID: "app", Scope: store.Strings{"openid"}, GrantedAt: store.At(s.now()), ExpiresAt: store.At(s.now().Add(time.Hour))}))
	p := b.get("/account").formTo("/account/apps/remove", "app").submit().expect("/account", http.StatusOK)
	if !s.revoked(grant) {
		t.Error("the grant still lives")
	}
	if _, err := s.store.Consent(t.Context(), u.ID, "app"); err == nil {
		t.Error("the consent is still remembered")
	}
	if strings.Contains(p.text(), "Sample app") {
		t.Error("the application is still listed")
	}
}

func TestHome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.browser("192.0.2.1").get("/").expect("/", http.StatusOK)
	if p.find(func(n *htmlNode) bool { return n.Data == "a" && attr(n, "href") == login.SignInURL("") }) == nil {
		t.Errorf("no way to sign in: %s", p.text())
	}
}
