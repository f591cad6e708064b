package login_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestConnections_LinkAndUnlink is the whole story of a second way in, with the evidence a person can read (R39, R58).
func TestConnections_LinkAndUnlink(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	b := s.browser("192.0.2.1")
	ana := b.through(g, person("g1", "ana@example.com")).arrived()

	t.Log("the only way in stays")
	p := b.get("/account/connections").expect("/account/connections", http.StatusOK)
	if p.byID("connect-twitter") == nil || !strings.Contains(p.text(), "Your account was made with it.") || !strings.Contains(p.text(), "only way to sign in") {
		t.Fatal(p.text())
	}
	token := p.formTo("/account/connections/twitter/link", "").values
	unlink := func(i int) *page {
		return b.send(http.MethodPost, "/account/connections/"+s.links(ana)[i].ID+"/unlink", token, nil)
	}
	if p := unlink(0); p.status != http.StatusConflict || p.byID("connections-notice") == nil || len(s.links(ana)) != 1 {
		t.Fatalf("%d: %s", p.status, p.text())
	}

	t.Log("connect, with a word in between")
	s.sleep(time.Second)
	away := b.link("twitter")
	p = b.get(x.allow(t, away, person("x1", ""))).expect("/login/link", http.StatusOK)
	if len(s.links(ana)) != 1 {
		t.Fatal("connected before the person said so")
	}
	p = p.form("link-form").submit().expect("/account/connections", http.StatusOK)
	links := s.links(ana)
	if len(links) != 2 || links[1].Evidence[0] != "account_page" || !strings.Contains(p.text(), "You connected it here.") {
		t.Fatalf("%+v: %s", links, p.text())
	}
	if s.browser("192.0.2.2").through(x, person("x1", "")).arrived() != ana {
		t.Fatal("one person, two subs")
	}
	t.Log("twice is once, and cancelling is nothing")
	b.get(x.allow(t, b.link("twitter"), person("x1", ""))).expect("/account/connections", http.StatusOK)
	p = b.get(x.allow(t, b.link("twitter"), person("x2", ""))).expect("/login/link", http.StatusOK)
	b.get(attr(p.byID("link-cancel"), "href")).expect("/account/connections", http.StatusOK)
	if len(s.links(ana)) != 2 {
		t.Error("a third link")
	}

	t.Log("disconnect: what came through it ends")
	other := s.browser("192.0.2.3")
	other.through(x, person("x1", "")).arrived()
	unlink(1).expect("/account/connections", http.StatusOK)
	if len(s.links(ana)) != 1 {
		t.Fatal("still linked")
	}
	other.get("/account").expect("/login", http.StatusOK)
	b.get("/account").expect("/account", http.StatusOK)
}

// TestConnections_Recent: five minutes after a sign-in the ways in change only after another one, by the person's own method.
func TestConnections_Recent(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	s.user("bea@example.com")
	ana, bea := s.browser("192.0.2.1"), s.browser("192.0.2.2")
	id := ana.through(g, person("g1", "ana@example.com")).arrived()
	bea.get("/login").signIn("bea@example.com", goodPassword)
	forms := map[*browser]*form{}
	for _, b := range []*browser{ana, bea} {
		forms[b] = b.get("/account/connections").formTo("/account/connections/twitter/link", "")
	}
	s.sleep(5*time.Minute + time.Second)
	for _, b := range []*browser{ana, bea} {
		forms[b].submit().expect("/login", http.StatusOK)
		b.send(http.MethodPost, "/account/connections/"+s.links(id)[0].ID+"/unlink", forms[b].values, nil).expect("/login", http.StatusOK)
		if p := b.get("/account/connections"); p.byID("connect-twitter") != nil || p.byID("connections-reauth") == nil {
			t.Errorf("the page offers what it refuses: %s", p.text())
		}
	}
	p := bea.get(attr(bea.get("/account/connections").byID("connections-reauth"), "href")).expect("/login", http.StatusOK)
	p.signIn("bea@example.com", goodPassword).expect("/account/connections", http.StatusOK)
	bea.link("twitter")

	p = ana.get(attr(ana.get("/account/connections").byID("connections-reauth"), "href")).expect("/login", http.StatusOK)
	away := ana.get(attr(p.byID("login-with-google"), "href")).away
	if !strings.Contains(away, "prompt=login") {
		t.Errorf("the upstream is not asked to ask: %s", away)
	}
	if p := ana.get(g.allow(t, away, person("other", "other@example.com"))); p.code() != "link_other" || s.users() != 2 {
		t.Fatalf("confirmed by somebody else: %s, %d users", p.code(), s.users())
	}
	s.browser("192.0.2.9").through(g, person("eve", "eve@example.com")).arrived() // nor by a known person
	away = ana.get(attr(p.byID("login-with-google"), "href")).away
	before := ana.cookie(sessionCookie)
	if p := ana.get(g.allow(t, away, person("eve", "eve@example.com"))); p.code() != "link_other" || ana.cookie(sessionCookie) != before {
		t.Fatalf("confirmed by another person: %s", p.code())
	}
	away = ana.get(attr(p.byID("login-with-google"), "href")).away
	stale := person("g1", "ana@example.com")
	stale.AuthTime = s.now().Add(-time.Hour)
	if p := ana.get(g.allow(t, away, stale)); p.code() != "upstream_not_fresh" {
		t.Fatalf("confirmed by an old sign-in: %s", p.code())
	}
	away = ana.get(attr(p.byID("login-with-google"), "href")).away
	ana.get(g.allow(t, away, person("g1", "ana@example.com"))).expect("/account/connections", http.StatusOK)
	ana.link("twitter")
}

// TestConnectorFormsNeedATokenAndTheSameSite walks the routes that connectors bring.
func TestConnectorFormsNeedATokenAndTheSameSite(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	id := b.through(g, person("g1", "ana@example.com")).arrived()
	must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), false, ""))
	b.get("/login").signIn("ana@example.com", goodPassword)
	seen := 0
	for _, route := range s.mux.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		if method != http.MethodPost || route.Kind == "api" || !strings.Contains(path, "{connector}") && !strings.Contains(path, "{id}") && path != "/login/link" && !strings.HasPrefix(path, "/login/complete") {
			continue
		}
		seen++
		if path == "/callback/{connector}" {
			if strings.Join(route.Options, "") != "cross_site_post" {
				t.Errorf("%s: %v", route.Pattern, route.Options)
			}
			continue
		}
		path = strings.NewReplacer("{connector}", "google", "{id}", s.links(id)[0].ID).Replace(path)
		if p := b.send(http.MethodPost, path, nil, nil); p.status != http.StatusForbidden {
			t.Errorf("POST %s without a token: %d", path, p.status)
		}
		if p := b.send(http.MethodPost, path, nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); p.status != http.StatusForbidden {
			t.Errorf("POST %s from another site: %d", path, p.status)
		}
		if len(route.Options) != 0 {
			t.Errorf("%s is exempt", route.Pattern)
		}
	}
	if seen != 9 {
		t.Errorf("%d routes", seen)
	}
	if len(s.links(id)) != 1 {
		t.Error("unlinked")
	}
}

// TestPerClient: which ways in an application takes, where it sends people by itself, and no loop after an error or a sign-out (R53).
func TestPerClient(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	s.user("ana@example.com")
	restrict := func(def string, list ...string) {
		s.client(func(m *store.ClientMetadata) { m.Connectors, m.DefaultConnector = list, def })
	}
	b := s.browser("192.0.2.1")

	restrict("", "google", "password")
	p := b.get("/test/start").expect("/login", http.StatusOK)
	if p.byID("login-with-google") == nil || p.byID("login-with-twitter") != nil || p.byID("login-form") == nil {
		t.Error(p.text())
	}
	flow := p.url.Query().Get("flow")
	b.get("/login/start/twitter?flow=" + flow).refused("unknown_connector")

	restrict("", "google", "twitter")
	p = b.get("/test/start").expect("/login", http.StatusOK)
	if p.byID("login-form") != nil {
		t.Error("offers a password that is not taken")
	}
	f := b.get("/login").form("login-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword)
	f.action = p.url.RequestURI()
	f.submit().expect("/login", http.StatusUnprocessableEntity)
	if b.cookie(sessionCookie) != "" {
		t.Fatal("signed in with a password for an application that does not take it")
	}

	restrict("", "google") // exactly one way in
	start := b.get("/test/start?login_hint=ana")
	if !strings.HasPrefix(start.away, "https://google.example/") || !strings.Contains(start.away, "login_hint=ana") {
		t.Fatalf("at %s%s", start.url.Path, start.away)
	}
	state := mustURL(t, start.away).Query().Get("state")
	p = b.get("/callback/google?error=access_denied&state=" + state).refused("upstream_denied")
	b.get(attr(p.byID("error-restart"), "href")).expect("/login", http.StatusOK) // asks now
	b.get(g.allow(t, b.get("/test/start").away, person("g1", "g@example.com"))).arrived()
	b.get("/logout").form("logout-form").submit().expect("/logged-out", http.StatusOK)
	b.get("/test/start").expect("/login", http.StatusOK) // not straight back in
	s.sleep(time.Minute)
	b.through(g, person("g1", "g@example.com")).arrived()

	restrict("twitter") // a default
	c := s.browser("192.0.2.2")
	if away := c.get("/test/start").away; !strings.HasPrefix(away, "https://twitter.example/") {
		t.Errorf("at %q", away)
	}
	restrict("gone")
	c.get("/test/start").expect("/login", http.StatusOK)
	restrict("twitter", "google", "password") // a default it does not take
	c.get("/test/start").expect("/login", http.StatusOK)

	// An application that changed its mind between redirect and callback.
	restrict("")
	back := x.allow(t, c.depart(x), person("x1", ""))
	restrict("", "google")
	c.get(back).refused("unknown_connector")
	if x.count() != 0 {
		t.Error("the code was redeemed")
	}
}

// TestClaimRules: an upstream's claims give and take privileges at each sign-in, as their own source (and never more than the operator may).
func TestClaimRules(t *testing.T) {
	t.Parallel()
	k := newUpstream("keycloak")
	rules := []login.ClaimRule{{Claim: "realm_access.roles", Match: "staff", Privilege: "developer"}, {Claim: "realm_access.roles", Match: "root", Privilege: "admin"}, {Claim: "realm_access.roles", Match: "job", Privilege: "cron"}}
	s := newSiteOn(t, store.SQLite, open(k, func(u *login.Upstream) { u.Rules = rules }))
	who := person("k1", "ana@example.com")
	b := s.browser("192.0.2.1")
	id := ""
	as := func(want string, roles ...any) {
		t.Helper()
		who.Claims = map[string]any{"realm_access": map[string]any{"roles": roles}}
		id = b.through(k, who).arrived()
		list, err := s.store.Assignments(t.Context(), id)
		must(t, err)
		var names []string
		for _, a := range list {
			if a.EndedAt.IsZero() && a.Source != store.SourceType {
				names = append(names, a.Privilege)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%v: holds %q, want %q", roles, got, want)
		}
	}
	as("")
	as("developer", "staff", "other")
	if text := b.get("/account/privileges").text(); !strings.Contains(text, "rules for Keycloak") {
		t.Errorf("the page of privileges does not say why: %s", text)
	}
	as("developer", "staff", "root", "job") // not through a connector that may not, and cron is for machines
	as("", "other")
	s.restart(open(k, func(u *login.Upstream) { u.Rules, u.AllowAdmins = rules, true }))
	as("admin", "root")
	as("")
}

// TestMFA: what an upstream says about factors counts only where the operator believes it (R60).
func TestMFA(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	who := person("g1", "ana@example.com")
	who.AMR, who.ACR = []string{"pwd", "otp", "mfa", "<script>", "otp"}, "phr"
	check := func(amr, acr string) {
		t.Helper()
		id := s.browser("192.0.2.1").through(g, who).arrived()
		list, err := s.store.SessionsOf(t.Context(), id)
		must(t, err)
		last := list[len(list)-1]
		if strings.Join(last.AMR, " ") != amr || last.ACR != acr {
			t.Errorf("%v %s, want %s %s", last.AMR, last.ACR, amr, acr)
		}
		must(t, s.store.EndSessionsOf(t.Context(), id, "", "test", true))
	}
	check("fed", "1")
	s.restart(open(g, func(u *login.Upstream) { u.TrustMFA = true }))
	check("fed pwd otp mfa", "2")
	who.AMR = nil
	check("fed mfa", "2")
	who.ACR = "urn:of-their-own"
	check("fed", "1")
}

// TestSec_C11_SilentUpstream: an upstream that lets somebody through because they are signed in there shows whose browser it is, which is not
// enough to change how they sign in. Asked to ask, or saying when it did, it is.
func TestSec_C11_SilentUpstream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		silent bool
		ago    time.Duration // when the person signed in there, as the upstream says
		recent bool
	}{"says nothing": {true, 0, false}, "says just now": {false, time.Minute, true}, "says yesterday": {false, 24 * time.Hour, false}} {
		g, x := newUpstream("google"), newUpstream("twitter")
		g.silent = c.silent
		s := newSiteOn(t, store.SQLite, open(g), open(x))
		b := s.browser("192.0.2.1")
		who := person("g1", "ana@example.com")
		if !c.silent {
			who.AuthTime = s.now().Add(-c.ago)
		}
		b.through(g, who).arrived()
		p := b.get("/account/connections").expect("/account/connections", http.StatusOK)
		if (p.byID("connections-reauth") == nil) != c.recent {
			t.Errorf("%s: %s", name, p.text())
		}
		if c.recent {
			continue
		}
		p = b.get(attr(p.byID("connections-reauth"), "href"))
		away := b.get(attr(p.byID("login-with-google"), "href")).away
		if q := mustURL(t, away).Query(); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
			t.Errorf("%s: not asked to ask: %s", name, away)
		}
		who.AuthTime = time.Time{}
		p = b.get(g.allow(t, away, who)).expect("/account/connections", http.StatusOK)
		if p.byID("connections-reauth") != nil || b.link("twitter") == "" {
			t.Errorf("%s: still not recent", name)
		}
	}
}
