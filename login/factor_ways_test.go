package login_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_C10_EveryWayAsksForTheFactor: each way to sign in ends at the second factor, and the half-finished sign-in opens nothing.
func TestSec_C10_EveryWayAsksForTheFactor(t *testing.T) {
	t.Parallel()
	g, a, x := newUpstream("google"), newUpstream("azure"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.KeepIDToken = true }), open(a), open(x))
	ana := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
	must(t, s.store.SetPassword(t.Context(), "cli", ana, goodHash(), false, ""))
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	p := b.get("/account/security/totp")
	app := p.app()
	p.enterFactor(app.at(0)).codes()

	halfDone := func(name string, p *page) *page {
		t.Helper()
		s.sleep(time.Minute)
		p.expect("/mfa", http.StatusOK)
		if p.b.cookie(sessionCookie) != "" && !strings.HasPrefix(name, "again") {
			t.Fatalf("%s: there is a session", name)
		}
		if strings.HasPrefix(name, "again") {
			return p
		}
		for _, path := range []string{"/account", "/account/security", "/account/security/totp", "/account/connections", "/account/privileges"} {
			p.b.get(path).expect("/login", http.StatusOK)
		}
		for _, path := range []string{"/mfa/enrol", "/login/new-password"} { // what it does not owe
			if got := p.b.get(path + "?" + p.url.RawQuery); got.status != http.StatusBadRequest {
				t.Errorf("%s: %s: %d", name, path, got.status)
			}
		}
		return p
	}
	done := func(name string, p *page, amr string) {
		t.Helper()
		if id := halfDone(name, p).enterFactor(app.at(0)).arrived(); id != ana {
			t.Errorf("%s: %s", name, id)
		}
		list := s.sessionsOf(&store.User{ID: ana})
		if last := list[len(list)-1]; strings.Join(last.AMR, " ") != amr || last.ACR != "2" {
			t.Errorf("%s: %v %s", name, last.AMR, last.ACR)
		}
	}
	done("password", s.browser("192.0.2.2").get("/test/start").signIn("ana@example.com", goodPassword), "pwd otp mfa")
	done("connector", s.browser("192.0.2.2").through(g, person("g1", "ana@example.com")), "fed otp mfa")
	list := s.sessionsOf(&store.User{ID: ana})
	side, err := s.store.UpstreamSession(t.Context(), list[len(list)-1].ID)
	must(t, err)
	if side.Connector != "google" || side.Subject != "g1" {
		t.Errorf("the upstream's side is lost: %+v", side)
	}

	// An identity that waits is linked when the account is proven with all that guards it, and not before.
	p = s.browser("192.0.2.3").through(a, person("a1", "ana@example.com")).expect("/login/link", http.StatusOK)
	p = p.form("link-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword).submit()
	halfDone("link by password", p)
	if len(s.links(ana)) != 1 {
		t.Fatal("linked by the password alone")
	}
	done("link by password", p, "pwd otp mfa")
	if links := s.links(ana); len(links) != 2 || links[1].Evidence[0] != "proof:password" {
		t.Fatalf("%+v", links)
	}
	done("the link", s.browser("192.0.2.3").through(a, person("a1", "ana@example.com")), "fed otp mfa")
	p = s.browser("192.0.2.4").through(x, person("x1", "ana@example.com")).expect("/login/link", http.StatusOK)
	q := s.browser("192.0.2.4")
	q.jar = p.b.jar
	p = q.get(g.allow(t, q.get(attr(p.byID("link-with-google"), "href")).away, person("g1", "ana@example.com")))
	halfDone("link by another upstream", p)
	if len(s.links(ana)) != 2 {
		t.Fatal("linked by the upstream alone")
	}
	done("link by another upstream", p, "fed otp mfa")
	if len(s.links(ana)) != 3 {
		t.Error("not linked")
	}

	// A new password: the factor comes first, or whoever has the old one could choose it.
	must(t, s.store.SetPassword(t.Context(), "cli", ana, goodHash(), true, ""))
	p = halfDone("password that must change", s.browser("192.0.2.5").get("/test/start").signIn("ana@example.com", goodPassword))
	p = p.enterFactor(app.at(0)).expect("/login/new-password", http.StatusOK)
	if p.b.cookie(sessionCookie) != "" {
		t.Error("a session before the new password")
	}
	if fillNewPassword(p, newPassword).submit().arrived() != ana {
		t.Error("not ana")
	}

	// Confirming who is signed in.
	s.sleep(time.Minute)
	p = p.b.get("/login?reauth=1&choose=1").signIn("ana@example.com", newPassword)
	halfDone("again", p).enterFactor(app.at(0)).expect("/account/connections", http.StatusOK)
	s.sleep(time.Hour)
	p = p.b.get("/login?reauth=1&choose=1")
	p = p.b.get(g.allow(t, p.b.get(attr(p.byID("login-with-google"), "href")).away, person("g1", "ana@example.com")))
	halfDone("again through google", p).enterFactor(app.at(0)).expect("/account/connections", http.StatusOK)

	// An upstream that is believed in it asks for it itself.
	s.restart(open(g, func(u *login.Upstream) { u.TrustMFA = true }))
	who := person("g1", "ana@example.com")
	halfDone("trusted, one factor", s.browser("192.0.2.6").through(g, who))
	who.AMR = []string{"mfa"}
	if s.browser("192.0.2.6").through(g, who).arrived() != ana {
		t.Error("asked twice")
	}
}

// TestSec_C10_HalfDoneIsBound: to its browser, its flow, five minutes and its person's account.
func TestSec_C10_HalfDoneIsBound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u, app, codes := s.enrolled("ana@example.com")
	p := s.ask("ana@example.com", "192.0.2.1")
	other := s.browser("192.0.2.2")
	other.get("/mfa").expect("/mfa", http.StatusBadRequest)
	p.b.get("/mfa?flow="+p.b.get("/test/start").url.Query().Get("flow")).expect("/mfa", http.StatusBadRequest) // of another tab
	s.sleep(5 * time.Minute)
	p.enterFactor(app.at(0)).expect("/mfa", http.StatusBadRequest)
	p = s.ask("ana@example.com", "192.0.2.1")
	must(t, s.store.DisableUser(t.Context(), "cli", u.ID, "test"))
	p.enterFactor(app.at(0)).expect("/mfa", http.StatusBadRequest)
	must(t, s.store.EnableUser(t.Context(), "cli", u.ID))

	// The session of another person in the browser is not raised, and ends.
	bea := s.user("bea@example.com")
	b := s.browser("192.0.2.3")
	b.get("/login").signIn("bea@example.com", goodPassword).expect("/account", http.StatusOK)
	planted := b.cookie(sessionCookie)
	b.get("/login?reauth=1").signIn("ana@example.com", goodPassword).expect("/mfa", http.StatusOK).enterRecovery(codes[0])
	if list := s.sessionsOf(bea); len(list) != 0 || b.cookie(sessionCookie) == planted { // security.md C1
		t.Errorf("bea's session: %+v", list)
	}
}

// TestSec_C1_FactorMakesANewSession: a session that is raised has another id and secret, the old cookie is worth nothing, and the moment of the sign-in
// stays.
func TestSec_C1_FactorMakesANewSession(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u := s.user("ana@example.com")
		b := s.browser("192.0.2.1")
		b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
		before := s.sessionsOf(u)[0]
		old := b.cookie(sessionCookie)
		s.sleep(time.Minute)
		p := b.get("/account/security/totp")
		p.enterFactor(p.app().at(0)).codes()
		after := s.sessionsOf(u)
		if len(after) != 1 || after[0].ID == before.ID || after[0].SID != before.SID || after[0].ACR != "2" || !after[0].AuthTime.Equal(before.AuthTime.Time) ||
			!after[0].ExpiresAt.Equal(before.ExpiresAt.Time) || b.cookie(sessionCookie) == old {
			t.Errorf("%+v after %+v", after, before)
		}
		s.browser("192.0.2.9").send(http.MethodGet, "/account", nil, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: sessionCookie, Value: old}) }).expect("/login", http.StatusOK)
	})
}

// TestFactor_NumbersWithoutMessages: where no messages are sent any more, who has but a number uses a recovery code, and is told when there is none left.
func TestFactor_NumbersWithoutMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u, app, codes := s.enrolled("ana@example.com")
	f, err := s.store.Factors(t.Context(), u.ID)
	must(t, err)
	must(t, s.store.AddFactor(t.Context(), &store.Credential{ID: "number", UserID: u.ID, Kind: store.CredSMS, Secret: "sealed"}, false))
	s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(0)).expect("/account", http.StatusOK) // the app is one still
	must(t, s.store.RemoveFactor(t.Context(), u.ID, f.List[0].ID, true))
	p := s.browser("192.0.2.2").get("/login").signIn("ana@example.com", goodPassword).expect("/mfa/recovery", http.StatusOK)
	p.form("mfa-recovery-form").set("mfa-recovery-code", codes[0]).submit().expect("/account", http.StatusOK)
	must(t, s.store.SetRecoveryCodes(t.Context(), u.ID, nil))
	s.browser("192.0.2.3").get("/login").signIn("ana@example.com", goodPassword).refused("factor_unavailable")
}

// TestSetup_FactorBeforeTheFirstSession: where administrators must have a factor, the first one adds it before anything else (settled detail 8).
func TestSetup_FactorBeforeTheFirstSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.factors.Administrators, s.factors.AdministratorCode = true, true
	s.restart()
	b := s.browser("192.0.2.1")
	p := fillSetup(b.get(s.setupLink(login.NewSetupLink)), "root@example.com").submit().expect("/mfa/enrol", http.StatusOK)
	if b.cookie(sessionCookie) != "" {
		t.Fatal("a session before the factor")
	}
	shown := p.enterFactor(p.app().at(0))
	if len(shown.codes()) != 10 {
		t.Error("no codes")
	}
	b.get(attr(shown.byID("mfa-codes-next"), "href")).expect("/account", http.StatusOK)
}

// TestSec_C10_MailAsksForTheFactor: neither a code by mail nor a link that resets the password is a way around the factor (security.md F15, R69), and
// somebody new adds one before their first session where it is required.
func TestSec_C10_MailAsksForTheFactor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u, app, codes := s.enrolled("ana@example.com")
	u = s.read(u.ID)
	s.proven(u)
	must(t, s.store.UpdateUser(t.Context(), u))
	s.with(func(c *login.Config) {
		c.EmailCode, c.Registration, c.Factors.RequiredFor = true, login.RegistrationOpen, []string{"user"}
	})
	p := s.browser("192.0.2.1").byMail("ana@example.com").expect("/mfa", http.StatusOK)
	p.b.get("/account").expect("/login", http.StatusOK)
	p.enterFactor(app.at(0)).expect("/account", http.StatusOK)

	b := s.browser("192.0.2.2")
	b.forget("ana@example.com")
	b.get(s.linkFor("ana@example.com")).form("reset-form").set("reset-password", newPassword).submit()
	if b.cookie(sessionCookie) != "" {
		t.Fatal("a link signed in")
	}
	b.get("/account").expect("/login", http.StatusOK)
	p = b.get("/login").signIn("ana@example.com", newPassword).expect("/mfa", http.StatusOK)
	p.enterRecovery(codes[0]).expect("/account", http.StatusOK)

	fresh := s.browser("192.0.2.3")
	p = fresh.get("/register").form("register-form").set("register-email", "eva@example.com").set("register-password", newPassword).submit().expect("/register/code", http.StatusOK)
	p = p.enterCode(s.codeFor("eva@example.com")).expect("/mfa/enrol", http.StatusOK)
	if fresh.cookie(sessionCookie) != "" {
		t.Error("a session before the factor")
	}
	p.enterFactor(p.app().at(0)).codes()
}
