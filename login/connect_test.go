package login_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// together runs f n times at once.
func together[T any](n int, f func(int) T) []T {
	results := make([]T, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return results
}

// TestSec_C5_LoginCSRFThroughAnUpstream: a callback is good once, in the browser that began it, within ten minutes, with its own state.
func TestSec_C5_LoginCSRFThroughAnUpstream(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	attacker := person("evil", "evil@example.com")

	t.Log("the attacker's callback in the victim's browser")
	theirs := g.allow(t, s.browser("198.51.100.1").depart(g), attacker)
	victim := s.browser("192.0.2.1")
	victim.get(theirs).refused("sign_in_expired") // no cookie at all
	victim.depart(g)
	victim.get(theirs).refused("sign_in_expired") // a cookie, and an attempt of its own

	t.Log("missing, empty, doubled, foreign and unknown state")
	own := g.allow(t, victim.depart(g), person("ana", "ana@example.com"))
	code := mustURL(t, own).Query().Get("code")
	state := mustURL(t, own).Query().Get("state")
	for _, q := range []string{"code=" + code, "code=" + code + "&state=", "code=" + code + "&state=" + state + "&state=" + state, "code=" + code + "&state=" + state + "x", "code=" + code + "&state=" + strings.Repeat("a", 43)} {
		victim.get("/callback/google?" + q).refused("sign_in_expired")
	}
	if g.count() != 0 || s.users() != 0 {
		t.Fatalf("%d exchanges, %d users", g.count(), s.users())
	}

	t.Log("replay")
	victim.get(own).arrived()
	sessionBefore := victim.cookie(sessionCookie)
	if p := victim.get(own); p.code() != "flow_finished" && p.code() != "sign_in_expired" {
		t.Errorf("replayed: %d %s", p.status, p.code())
	}
	if g.count() != 1 || victim.cookie(sessionCookie) != sessionBefore {
		t.Errorf("%d exchanges", g.count())
	}

	t.Log("too late")
	late := s.browser("192.0.2.2")
	away := late.get(attr(late.get("/login").byID("login-with-google"), "href")).away
	s.sleep(10 * time.Minute)
	late.get(g.allow(t, away, attacker)).refused("sign_in_expired")
	if g.count() != 1 {
		t.Errorf("%d exchanges", g.count())
	}

	t.Log("looking at a link uses nothing up")
	curious := s.browser("192.0.2.3")
	back := g.allow(t, curious.get(attr(curious.get("/login").byID("login-with-google"), "href")).away, attacker)
	if p := curious.send(http.MethodHead, back, nil, nil); p.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %d", p.status)
	}
	curious.get(back).expect("/account", http.StatusOK)
}

// TestSec_C5_LinkCSRF: an attacker's callback connects nothing to the victim's account, nor the other way round.
func TestSec_C5_LinkCSRF(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	u, e := s.user("ana@example.com"), s.user("eve@example.com")
	eve := s.browser("198.51.100.1")
	eve.get("/login").signIn("eve@example.com", goodPassword)
	evil := g.allow(t, eve.link("google"), person("evil", "evil@example.com"))
	victim := s.browser("192.0.2.1")
	victim.get("/login").signIn("ana@example.com", goodPassword)
	if p := victim.get(evil); p.code() != "sign_in_expired" {
		t.Fatalf("%d at %s", p.status, p.url.Path)
	}
	// In the attacker's own browser, once another person is signed in there.
	eve.get("/logout").form("logout-form").submit()
	eve.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	if p := eve.get(evil); p.code() != "sign_in_expired" {
		t.Fatalf("%d at %s", p.status, p.url.Path)
	}
	// A confirmation page of one person is nothing for the next one in the same browser.
	eve.get("/logout").form("logout-form").submit()
	eve.get("/login").signIn("eve@example.com", goodPassword)
	confirm := eve.get(g.allow(t, eve.link("google"), person("evil", "evil@example.com"))).expect("/login/link", http.StatusOK)
	for _, name := range []string{"eve@example.com", "evil@example.com"} { // both names are on it
		if !strings.Contains(confirm.text(), name) {
			t.Errorf("the page does not name %s: %s", name, confirm.text())
		}
	}
	eve.get("/logout").form("logout-form").submit()
	eve.get("/login?choose=1").signIn("ana@example.com", goodPassword)
	if p := confirm.form("link-form").submit(); p.code() != "sign_in_expired" {
		t.Fatalf("%d at %s", p.status, p.url.Path)
	}
	if len(s.links(u.ID))+len(s.links(e.ID)) != 0 {
		t.Error("something was linked")
	}
}

// TestSec_C3_PostedCallback: a cross-site POST only turns itself into a GET.
func TestSec_C3_PostedCallback(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	back := mustURL(t, g.allow(t, b.depart(g), person("g1", "ana@example.com")))
	crossSite := func(r *http.Request) {
		if r.Method == http.MethodPost {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://google.example")
			r.Header.Del("Cookie")
		}
	}
	b.send(http.MethodPost, back.Path, back.Query(), crossSite).arrived()
	for name, form := range map[string]url.Values{"empty": {}, "huge": {"code": {strings.Repeat("x", 9000)}}} {
		if p := b.send(http.MethodPost, back.Path, form, crossSite); p.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, p.status)
		}
	}
	if p := b.send(http.MethodPost, back.Path+"?state=x", back.Query(), crossSite); p.status != http.StatusBadRequest {
		t.Errorf("parameters in both places: %d", p.status)
	}
	if g.count() != 1 {
		t.Errorf("%d exchanges", g.count())
	}
}

// TestSec_E9_MixUp: a callback with another connector's state reaches no token endpoint.
func TestSec_E9_MixUp(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	b := s.browser("192.0.2.1")
	ofGoogle := mustURL(t, g.allow(t, b.depart(g), person("g1", "ana@example.com")))
	ofX := mustURL(t, x.allow(t, b.depart(x), person("x1", "ana@example.com")))
	b.get("/callback/twitter?" + ofGoogle.RawQuery).refused("sign_in_expired")
	b.get("/callback/google?" + ofX.RawQuery).refused("sign_in_expired")
	if g.count()+x.count() != 0 || s.users() != 0 {
		t.Errorf("%d and %d exchanges, %d users", g.count(), x.count(), s.users())
	}
	// The attempts are used up: an attack that was noticed is over.
	b.get(ofGoogle.String()).refused("sign_in_expired")
}

// TestSec_E11_RemovedConnector: between redirect and callback, and for the sessions that came through it.
func TestSec_E11_RemovedConnector(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	in, out := s.browser("192.0.2.1"), s.browser("192.0.2.2")
	in.through(g, person("g1", "ana@example.com")).arrived()
	back := g.allow(t, out.depart(g), person("g1", "ana@example.com"))
	s.restart(open(x))
	out.get(back).refused("unknown_connector")
	out.get("/login/start/google").refused("unknown_connector")
	in.get("/account").expect("/login", http.StatusOK)
	if s.login.ConnectorEnabled("google") || !s.login.ConnectorEnabled("twitter") || !s.login.ConnectorEnabled("password") {
		t.Error("ConnectorEnabled")
	}
	if g.count() != 1 {
		t.Errorf("%d exchanges", g.count())
	}
}

// TestRace_OneCallback: one callback eight times at once is one exchange and one session.
func TestRace_OneCallback(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			g := newUpstream("google")
			s := newSiteOn(t, engine, open(g))
			b := s.browser("192.0.2.1")
			back := g.allow(t, b.depart(g), person("g1", "ana@example.com"))
			pages := together(8, func(int) *page { return b.get(back) })
			done := 0
			for _, p := range pages {
				if p.away != "" {
					done++
				} else if p.status >= 500 {
					t.Errorf("%d: %s", p.status, p.text())
				}
			}
			list, err := s.store.Users(t.Context(), "", 10)
			must(t, err)
			if done != 1 || g.count() != 1 || len(list) != 1 {
				t.Fatalf("%d arrived, %d exchanges, %d users", done, g.count(), len(list))
			}
			sessions, err := s.store.SessionsOf(t.Context(), list[0].ID)
			must(t, err)
			if len(sessions) != 1 {
				t.Errorf("%d sessions", len(sessions))
			}
		})
	}
}

// TestRace_NewPersonInTwoTabs: eight callbacks of one new person make one account.
func TestRace_NewPersonInTwoTabs(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			g := newUpstream("google")
			s := newSiteOn(t, engine, open(g))
			backs := make([]string, 8)
			tabs := make([]*browser, 8)
			for i := range backs {
				tabs[i] = s.browser("192.0.2.1")
				backs[i] = g.allow(t, tabs[i].depart(g), person("g1", "ana@example.com"))
			}
			for i, p := range together(8, func(i int) *page { return tabs[i].get(backs[i]) }) {
				if p.away == "" {
					t.Errorf("tab %d: %d %s: %s", i, p.status, p.code(), p.text())
				}
			}
			if s.users() != 1 {
				t.Errorf("%d users", s.users())
			}
		})
	}
}

// TestUpstreamErrors: a text by kind; the upstream's words are not on the page; the way back asks and sends nobody on by itself.
func TestUpstreamErrors(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	for kind, want := range map[connectors.Kind]struct {
		code   string
		status int
	}{
		connectors.Denied:        {"upstream_denied", http.StatusForbidden},
		connectors.Upstream:      {"upstream_unavailable", http.StatusServiceUnavailable},
		connectors.Invalid:       {"upstream_invalid", http.StatusBadRequest},
		connectors.Misconfigured: {"upstream_misconfigured", http.StatusBadGateway},
		connectors.NotAllowed:    {"upstream_not_allowed", http.StatusForbidden},
		0:                        {"upstream_unavailable", http.StatusServiceUnavailable},
	} {
		failure := error(&connectors.Error{Kind: kind, Code: "code-of-theirs", Detail: "detail-of-theirs"})
		if kind == 0 {
			failure = errors.New("detail-of-theirs")
		}
		b := s.browser("192.0.2.1")
		back := g.allow(t, b.depart(g), person("g1", "ana@example.com"))
		g.breaks(failure)
		for _, p := range []*page{b.get(back), b.get("/login/start/google")} {
			p.refused(want.code)
			if p.status != want.status || strings.Contains(p.body, "of-theirs") || !strings.Contains(p.text(), "Google") && kind != connectors.Invalid {
				t.Errorf("%s: %d %s", kind, p.status, p.text())
			}
			if p.byID("error-reference") == nil {
				t.Errorf("%s: no reference", kind)
			}
			if href := attr(p.byID("error-restart"), "href"); !strings.Contains(href, "choose=1") {
				t.Errorf("%s: leads to %q", kind, href)
			}
		}
		g.breaks(nil)
	}
	// The error parameter of a person who cancelled.
	b := s.browser("192.0.2.1")
	q := mustURL(t, b.depart(g)).Query()
	p := b.get("/callback/google?error=access_denied&error_description=AADSTS65004&state=" + q.Get("state")).refused("upstream_denied")
	if strings.Contains(p.text(), "AADSTS") || g.count() != 0 {
		t.Error(p.text())
	}
	b.get(attr(p.byID("error-restart"), "href")).expect("/login", http.StatusOK).signIn("nobody@example.com", "x") // the flow goes on
	if s.users() != 0 {
		t.Errorf("%d users", s.users())
	}
}

// TestHints: what the application asked for reaches the upstream (R57).
func TestHints(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g), open(newUpstream("azure"), func(u *login.Upstream) { u.TrustMFA = true }))
	for query, want := range map[string]url.Values{
		"login_hint=ana%40example.com&domain_hint=example.com": {"login_hint": {"ana@example.com"}, "domain_hint": {"example.com"}},
		"prompt=login":                    {"prompt": {"login"}, "max_age": {"0"}},
		"prompt=consent":                  {"prompt": {""}},
		"prompt=select_account+consent":   {"prompt": {"select_account"}},
		"max_age=300":                     {"max_age": {"300"}},
		"max_age=0":                       {"prompt": {"login"}, "max_age": {"0"}},
		"acr_values=phr":                  {"acr_values": {""}},
		"prompt=select_account&max_age=5": {"prompt": {"select_account"}, "max_age": {"5"}},
	} {
		got := mustURL(t, s.browser("192.0.2.1").depart(g, query)).Query()
		for k, v := range want {
			if got.Get(k) != v[0] {
				t.Errorf("%s: %s=%q, want %q", query, k, got.Get(k), v[0])
			}
		}
	}
	b := s.browser("192.0.2.1")
	p := b.get("/test/start?acr_values=phr")
	if away := b.get(attr(p.byID("login-with-azure"), "href")).away; mustURL(t, away).Query().Get("acr_values") != "phr" {
		t.Errorf("acr_values with trust_mfa: %s", away)
	}
	// An upstream that did not ask anew although it should have.
	old := person("g1", "ana@example.com")
	old.AuthTime = s.now().Add(-time.Hour)
	s.browser("192.0.2.2").through(g, old, "max_age=300").refused("upstream_not_fresh")
	old.AuthTime = s.now().Add(-time.Minute)
	s.browser("192.0.2.3").through(g, old, "max_age=300").arrived()
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	must(t, err)
	return u
}

// TestMustChange: who owes a new password owes it whichever way they come (R9, security.md C10).
func TestMustChange(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	id := b.through(g, person("g1", "ana@example.com")).arrived()
	must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), true, ""))
	c := s.browser("192.0.2.2")
	p := c.through(g, person("g1", "ana@example.com")).expect("/login/new-password", http.StatusOK)
	c.get("/account").expect("/login", http.StatusOK)
	if fillNewPassword(p, newPassword).submit().arrived() != id {
		t.Error("somebody else")
	}
}
