package login_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_E6_AddressMovedAtTheUpstream: somebody's address changed at the upstream, where it was then given to a newcomer. The account
// here still has it, and the upstream vouches for it; the newcomer is not let in.
func TestSec_E6_AddressMovedAtTheUpstream(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{login.LinkNever, login.LinkProve, login.LinkVerified, login.LinkAuthoritative} {
		g := newUpstream("google")
		s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Link = policy }))
		vouched := func(subject, email string) connectors.Identity {
			who := person(subject, email)
			who.EmailTrust = connectors.TrustAuthoritative
			return who
		}
		ana := s.browser("192.0.2.1").through(g, vouched("ana", "ana@corp.example")).arrived()
		if s.browser("192.0.2.1").through(g, vouched("ana", "ana.lee@corp.example")).arrived() != ana {
			t.Fatal("ana is somebody else")
		}
		p := s.browser("198.51.100.1").through(g, vouched("another-ana", "ana@corp.example"))
		if strings.HasSuffix(p.away, ana) || len(s.links(ana)) != 1 {
			t.Errorf("%s: the newcomer is in ana's account", policy)
		}
		if p.byID("link-claim") != nil {
			t.Errorf("%s: the page offers to take the address away", policy)
		}
	}
}

// TestSec_E3_LookAlikes: letters that become ASCII ones when they are made small are no spelling of them.
func TestSec_E3_LookAlikes(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"m\u0130ke@example.com", "mi\u212ae@example.com", "mike\u200b@example.com", "mike@example.com\u200b", "m\u00adike@example.com", "mike@example\u3002com", "mike@xn--a.example", "mike@-.example"} {
		for _, policy := range []string{login.LinkProve, login.LinkVerified} {
			g := newUpstream("google")
			s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Link = policy }))
			mike := s.user("mike@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
			p := s.browser("192.0.2.1").through(g, person("g1", address))
			switch same := strings.ContainsRune(address, '\u3002'); { // a full stop to every resolver (UTS 46)
			case p.status >= 500:
				t.Errorf("%+q, %s: %d", address, policy, p.status)
			case !same && (len(s.links(mike.ID)) != 0 || p.url.Path == "/login/link"):
				t.Errorf("%+q, %s: taken for mike", address, policy)
			}
		}
	}
}

// TestSec_E4_UnlinkEndsWhatCameByIt: of two links through one connector one goes, with its sessions and what its claims gave.
func TestSec_E4_UnlinkEndsWhatCameByIt(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) {
		u.Rules = []login.ClaimRule{{Claim: "role", Match: "staff", Privilege: "developer"}}
	}))
	ana := s.browser("192.0.2.1")
	id := ana.through(g, person("ana", "ana@example.com")).arrived()
	s.sleep(time.Second)
	evil := person("evil", "evil@example.com")
	evil.Claims = map[string]any{"role": "staff"}
	ana.get(g.allow(t, ana.link("google"), evil)).form("link-form").submit().expect("/account/connections", http.StatusOK)
	eve, cafe := s.browser("198.51.100.1"), s.browser("192.0.2.2")
	if eve.through(g, evil).arrived() != id || cafe.through(g, person("ana", "ana@example.com")).arrived() != id {
		t.Fatal("the links are not in place")
	}
	token := ana.get("/account/connections").formTo("/account/connections/google/link", "").values
	ana.send(http.MethodPost, "/account/connections/"+s.links(id)[1].ID+"/unlink", token, nil).expect("/account/connections", http.StatusOK)
	if l := s.links(id); len(l) != 1 || l[0].Subject != "ana" {
		t.Fatalf("%+v", l)
	}
	eve.get("/account").expect("/login", http.StatusOK)
	cafe.get("/account").expect("/account", http.StatusOK)
	l, err := s.store.Live(t.Context(), id)
	must(t, err)
	if len(l.Holdings) != 1 { // the type
		t.Errorf("still holds %+v", l.Holdings)
	}
}

// TestSec_E11_NoticeReachesEverySession: also one that owed a new password on the way.
func TestSec_E11_NoticeReachesEverySession(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"deauthorize", "backchannel"} {
		f := newUpstream("facebook")
		up := open(f)
		up.Connector = able{f}
		s := newSiteOn(t, store.SQLite, up)
		b := s.browser("192.0.2.1")
		id := b.through(f, person("f1", "ana@example.com")).arrived()
		must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), true, ""))
		p := b.through(f, person("f1", "ana@example.com")).expect("/login/new-password", http.StatusOK)
		if fillNewPassword(p, "another good passphrase 9").submit().arrived() != id {
			t.Fatal("not ana")
		}
		b.get("/account").expect("/account", http.StatusOK)
		if w := s.post("/callback/facebook/"+path, url.Values{"signed_request": {"signed:f1"}, "logout_token": {"signed:f1/sid-at-the-upstream"}}); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
		b.get("/account").expect("/login", http.StatusOK)
	}
}

// TestSec_E11_RemovedWhileAPasswordIsOwed: a connector that is gone meanwhile gives nobody a password.
func TestSec_E11_RemovedWhileAPasswordIsOwed(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	b := s.browser("192.0.2.1")
	id := b.through(g, person("g1", "ana@example.com")).arrived()
	must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), true, ""))
	p := b.through(g, person("g1", "ana@example.com")).expect("/login/new-password", http.StatusOK)
	s.restart(open(x))
	if q := fillNewPassword(p, "another good passphrase 9").submit(); q.code() != "sign_in_expired" {
		t.Errorf("%d %s%s", q.status, q.url.Path, q.away)
	}
	if !s.read(id).MustChange {
		t.Error("the password is theirs")
	}
}

// TestSec_E5_OlderLinksHideNoProof: however many people reported an address before, who proved it is found.
func TestSec_E5_OlderLinksHideNoProof(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	for i := range 21 {
		s.browser("198.51.100.1").through(g, reported(string(rune('a'+i)), "ana@lapsed.example")).arrived()
		s.sleep(time.Second)
	}
	s.browser("192.0.2.1").through(g, person("old-sub", "ana@lapsed.example")).arrived()
	s.browser("192.0.2.2").through(g, person("new-sub", "ana@lapsed.example")).refused("account_exists")
}

// TestSec_Notices_Replayed: a signed notice works once. Who comes back after it is not put out by it again, and no row is added.
func TestSec_Notices_Replayed(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"deauthorize", "data-deletion"} {
		f := newUpstream("facebook")
		up := open(f)
		up.Connector = able{f}
		s := newSiteOn(t, store.SQLite, up)
		b := s.browser("192.0.2.1")
		id := b.through(f, person("f1", "")).arrived()
		must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), false, ""))
		notice := url.Values{"signed_request": {"signed:f1"}}
		first := s.post("/callback/facebook/"+path, notice)
		back := b.through(f, person("f1", "")).arrived()
		again := s.post("/callback/facebook/"+path, notice)
		if first.Code != http.StatusOK || again.Code != first.Code || again.Body.String() != first.Body.String() {
			t.Errorf("%s: %d %s, then %d %s", path, first.Code, first.Body, again.Code, again.Body)
		}
		b.get("/account").expect("/account", http.StatusOK)
		if len(s.links(back)) != 1 || !s.read(back).DisabledAt.IsZero() {
			t.Errorf("%s: the replay took the link away", path)
		}
	}
}

// TestSec_C5_EveryHandleHasOnePurpose: a state is nothing for a page where an identity waits, nor the other way round, nor one page's handle
// for another page. Nobody gets in, and nothing is linked.
func TestSec_C5_EveryHandleHasOnePurpose(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	s.requireEmail()
	ana := s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
	state := func(away string) string { return mustURL(t, away).Query().Get("state") }
	handle := func(p *page, path string) (string, string) {
		p.expect(path, http.StatusOK)
		return p.url.Query().Get("join"), p.url.Query().Get("flow")
	}
	signedIn := func() *browser {
		b := s.browser("192.0.2.1")
		b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
		return b
	}
	for purpose, begin := range map[string]func() (b *browser, handle, flow string){
		store.AttemptLogin: func() (*browser, string, string) {
			b := s.browser("192.0.2.1")
			p := b.get("/test/start")
			return b, state(b.get(attr(p.byID("login-with-google"), "href")).away), p.url.Query().Get("flow")
		},
		store.AttemptLink: func() (*browser, string, string) { b := signedIn(); return b, state(b.link("google")), "" },
		store.AttemptReauth: func() (*browser, string, string) {
			b := signedIn()
			return b, state(b.get("/login/start/google?reauth=1").away), ""
		},
		store.AttemptJoin: func() (*browser, string, string) {
			b := s.browser("192.0.2.1")
			h, flow := handle(b.through(g, person("g1", "ana@example.com")), "/login/link")
			return b, h, flow
		},
		store.AttemptConfirm: func() (*browser, string, string) {
			b := signedIn()
			h, flow := handle(b.get(g.allow(t, b.link("google"), person("g1", "ana@example.com"))), "/login/link")
			return b, h, flow
		},
		store.AttemptComplete: func() (*browser, string, string) {
			b := s.browser("192.0.2.1")
			h, flow := handle(b.through(g, person("g2", "")), "/login/complete")
			return b, h, flow
		},
	} {
		for _, path := range []string{"/callback/google?code=x&state=", "/callback/twitter?code=x&state=", "/login/link?join=", "/login/complete?join=", "/login/complete/code?join=", "/login/start/twitter?join="} {
			own := map[string]string{store.AttemptJoin: "/login/link?join= /login/start/twitter?join=", store.AttemptConfirm: "/login/link?join=", store.AttemptComplete: "/login/complete?join= /login/complete/code?join=",
				store.AttemptLogin: "/callback/google?code=x&state=", store.AttemptLink: "/callback/google?code=x&state=", store.AttemptReauth: "/callback/google?code=x&state="}
			if strings.Contains(own[purpose], path) {
				continue
			}
			b, h, flow := begin()
			before := b.cookie(sessionCookie)
			if p := b.get(path + h + "&flow=" + flow); p.code() != "sign_in_expired" || b.cookie(sessionCookie) != before {
				t.Errorf("%s at %s: %d %q at %s%s", purpose, path, p.status, p.code(), p.url.Path, p.away)
			}
			if other := s.browser("192.0.2.1"); other.get(path+h+"&flow=").code() != "sign_in_expired" {
				t.Errorf("%s at %s: good in another browser", purpose, path)
			}
		}
	}
	if len(s.links(ana.ID)) != 0 || s.users() != 1 {
		t.Errorf("%+v, %d users", s.links(ana.ID), s.users())
	}
}

// TestSec_C10_HalfDoneThroughAnUpstream: whoever came through an upstream and is not there yet opens no page that wants a session.
func TestSec_C10_HalfDoneThroughAnUpstream(t *testing.T) {
	t.Parallel()
	for name, half := range map[string]func(s *site, b *browser, g *upstream){
		"owes a password": func(s *site, b *browser, g *upstream) {
			id := s.browser("192.0.2.9").through(g, person("g1", "bea@example.com")).arrived()
			must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), true, ""))
			b.through(g, person("g1", "bea@example.com")).expect("/login/new-password", http.StatusOK)
		},
		"owes a proof": func(s *site, b *browser, g *upstream) {
			b.through(g, person("g2", "ana@example.com")).expect("/login/link", http.StatusOK)
		},
		"owes an address": func(s *site, b *browser, g *upstream) {
			s.requireEmail()
			b.through(g, person("g3", "")).expect("/login/complete", http.StatusOK)
		},
		"at the upstream": func(_ *site, b *browser, g *upstream) { b.depart(g) },
	} {
		g := newUpstream("google")
		s := newSiteOn(t, store.SQLite, open(g))
		ana := s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
		b := s.browser("192.0.2.1")
		half(s, b, g)
		done := len(s.arrivals())
		for _, route := range s.mux.Routes() {
			method, path, _ := strings.Cut(route.Pattern, " ")
			if !strings.HasPrefix(path, "/account") {
				continue
			}
			path = strings.NewReplacer("{connector}", "google", "{id}", "x").Replace(path)
			var form url.Values
			if method == http.MethodPost {
				form = b.get("/login").form("login-form").values
			}
			if p := b.send(method, path, form, nil); p.url.Path != "/login" && p.status != http.StatusForbidden {
				t.Errorf("%s: %s: %d at %s", name, route.Pattern, p.status, p.url.Path)
			}
		}
		if len(s.arrivals()) != done || len(s.links(ana.ID)) != 0 {
			t.Errorf("%s: something came to an end", name)
		}
	}
}

// TestSec_C8_ConnectorRoutes: no parameter of these routes is an address to go to; only the upstream's, and ours.
func TestSec_C8_ConnectorRoutes(t *testing.T) {
	t.Parallel()
	f := newUpstream("facebook")
	up := open(f, func(u *login.Upstream) { u.Logout = true })
	up.Connector = able{f}
	s := newSiteOn(t, store.SQLite, up)
	b := s.browser("192.0.2.1")
	b.through(f, person("f1", "ana@example.com")).arrived()
	for _, evil := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/%09/evil.example", "javascript:alert(1)//evil.example", "data:text/html,evil.example", "https://localhost:8080@evil.example", "\r\nLocation: https://evil.example", strings.Repeat("evil.example", 700)} {
		for _, name := range []string{"state", "join", "reauth", "choose", "code", "redirect_uri", "next", "post_logout_redirect_uri", "target_link_uri", "iss", "error_uri"} {
			for _, path := range []string{"/login", "/login/start/facebook", "/login/start/" + url.PathEscape(evil), "/callback/facebook", "/callback/" + url.PathEscape(evil), "/login/link", "/login/complete", "/logged-out", "/logout", "/account/connections", "/privacy/deletion/" + url.PathEscape(evil)} {
				p := b.get(path + "?" + url.Values{name: {evil}}.Encode())
				if p.away != "" && mustURL(t, p.away).Host != "facebook.example" || strings.Contains(p.away, "evil.example") || strings.Contains(p.header.Get("Refresh"), "evil") || p.status >= 500 {
					t.Errorf("%s?%s=%.40q: %d, leads to %q", path, name, evil, p.status, p.away)
				}
				if link := p.find(func(n *htmlNode) bool {
					return strings.Contains(attr(n, "href")+attr(n, "action")+attr(n, "src")+attr(n, "content"), "evil.example")
				}); link != nil {
					t.Errorf("%s?%s=%.40q: a link of the page leads there", path, name, evil)
				}
			}
		}
	}
	if len(b.get("/account/connections").expect("/account/connections", http.StatusOK).body) == 0 {
		t.Error("signed out on the way")
	}
}

// TestSec_C12_HeadersOnTheWay: what a browser gets on the way to an upstream and back is kept by no cache, says nothing to others, and its
// cookies are ours alone.
func TestSec_C12_HeadersOnTheWay(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	check := func(path string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, issuer+path, nil)
		r.RemoteAddr = b.addr + ":40000"
		for _, c := range b.jar.Cookies(r.URL) {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		s.mux.ServeHTTP(w, r)
		answer := w.Result()
		b.jar.SetCookies(r.URL, answer.Cookies())
		if h := answer.Header; h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%.40s: %v", path, h)
		}
		for _, c := range answer.Cookies() {
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "latchkey") {
				t.Errorf("%.40s: %v", path, c)
			}
		}
		return answer
	}
	away := check("/login/start/google").Header.Get("Location")
	back := g.allow(t, away, person("g1", "ana@example.com"))
	check("/callback/google?state=x")
	if to := check(back).Header.Get("Location"); to != "/account" {
		t.Errorf("at %q", to)
	}
	check(back) // used
	s.user("bea@example.com")
	to := check(g.allow(t, check("/login/start/google").Header.Get("Location"), person("g2", "bea@example.com"))).Header.Get("Location")
	check(to)
	check("/account/connections")
}

// TestSec_E11_StricterMeanwhile: what counts is the configuration of the moment, whatever it was when the person left.
func TestSec_E11_StricterMeanwhile(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.AllowAdmins = true }))
	s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
	root := s.browser("192.0.2.9").through(g, person("root", "root@example.com")).arrived()
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: root, Privilege: "admin"}))
	a, b, c, d := s.browser("192.0.2.1"), s.browser("192.0.2.2"), s.browser("192.0.2.3"), s.browser("192.0.2.4")
	newcomer := g.allow(t, a.depart(g), person("new", "new@example.com"))
	admin := g.allow(t, b.depart(g), person("root", "root@example.com"))
	prove := c.through(g, person("ana", "ana@example.com")).expect("/login/link", http.StatusOK)
	d.get("/login").signIn("ana@example.com", goodPassword)
	confirm := d.get(g.allow(t, d.link("google"), person("x", ""))).expect("/login/link", http.StatusOK)
	ana := s.users()

	s.restart(open(g, func(u *login.Upstream) { u.Registration, u.Link = login.RegistrationClosed, login.LinkNever }))
	a.get(newcomer).refused("registration_closed")
	b.get(admin).refused("admin_connector")
	prove.form("link-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword).submit().refused("sign_in_expired")
	s.restart()
	confirm.form("link-form").submit()
	if s.users() != ana || s.identities("google") != 1 {
		t.Errorf("%d users, %d links", s.users(), s.identities("google"))
	}
}

// identities counts the links through a connector.
func (s *site) identities(connector string) (n int) {
	s.t.Helper()
	list, err := s.store.Users(s.t.Context(), "", 100)
	must(s.t, err)
	for _, u := range list {
		for _, l := range s.links(u.ID) {
			if l.Connector == connector {
				n++
			}
		}
	}
	return n
}

// TestSec_G4_ClaimsGiveTheDisabledNothing: an upstream's claims change nothing for somebody who may not come in, and it tells them no more.
func TestSec_G4_ClaimsGiveTheDisabledNothing(t *testing.T) {
	t.Parallel()
	k := newUpstream("keycloak")
	s := newSiteOn(t, store.SQLite, open(k, func(u *login.Upstream) {
		u.Rules = []login.ClaimRule{{Claim: "role", Match: "*", Privilege: "developer"}}
	}))
	id := s.browser("192.0.2.1").through(k, person("k1", "ana@example.com")).arrived()
	must(t, s.store.DisableUser(t.Context(), "cli", id, "test"))
	who := person("k1", "other@example.com")
	who.Claims = map[string]any{"role": "staff"}
	s.browser("192.0.2.1").through(k, who).refused("account_disabled")
	l, err := s.store.Live(t.Context(), id)
	must(t, err)
	if len(l.Holdings) != 1 || s.links(id)[0].Email != "ana@example.com" {
		t.Errorf("%+v, %+v", l.Holdings, s.links(id))
	}
}

// TestSec_F5_LinkPageLeavesATrace: a password that is right for another account is seen in that account's events, and counted.
func TestSec_F5_LinkPageLeavesATrace(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
	eve := s.user("eve@example.com")
	p := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).expect("/login/link", http.StatusOK)
	p.form("link-form").set("login-identifier", "eve@example.com").set("login-password", goodPassword).submit().expect("/login/link", http.StatusUnprocessableEntity)
	events, err := s.store.EventsOf(t.Context(), eve.ID, 10)
	must(t, err)
	if len(events) != 1 || events[0].Kind != "sign_in_failed" {
		t.Errorf("%+v", events)
	}
}

// TestSec_G4_AdministratorByAClaim: who became administrator by a claim is none any more once it is gone, also when the sign-in that says so
// could not open an administrator's account. While it is there, a sign-in with one factor opens nothing and changes nothing.
func TestSec_G4_AdministratorByAClaim(t *testing.T) {
	t.Parallel()
	k := newUpstream("keycloak")
	rules := []login.ClaimRule{{Claim: "role", Match: "root", Privilege: "admin"}, {Claim: "role", Match: "root", Privilege: "developer"}}
	trusted := func(u *login.Upstream) { u.Rules, u.TrustMFA = rules, true }
	s := newSiteOn(t, store.SQLite, open(k, trusted))
	who := func(role string, amr ...string) connectors.Identity {
		id := person("k1", "ana@example.com")
		id.Claims, id.AMR = map[string]any{"role": role}, amr
		return id
	}
	id := ""
	holds := func(want string) {
		t.Helper()
		l, err := s.store.Live(t.Context(), id)
		must(t, err)
		var names []string
		for _, h := range l.Holdings {
			if !strings.HasPrefix(h.Privilege, "type/") {
				names = append(names, h.Privilege)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("holds %q, want %q", got, want)
		}
	}
	id = s.browser("192.0.2.1").through(k, who("root")).arrived() // one factor: no administrator
	holds("developer")
	s.browser("192.0.2.1").through(k, who("root", "mfa")).arrived()
	holds("admin developer")
	s.browser("192.0.2.1").through(k, who("root")).refused("admin_connector")
	holds("admin developer")
	if s.browser("192.0.2.1").through(k, who("none")).arrived() != id {
		t.Error("somebody else")
	}
	holds("")
	s.browser("192.0.2.1").through(k, who("root", "mfa")).arrived()
	holds("admin developer")
	s.restart(open(k, func(u *login.Upstream) { u.Rules = rules })) // which makes no administrators
	s.browser("192.0.2.1").through(k, who("root", "mfa")).arrived()
	holds("developer")

	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: id, Privilege: "admin"}))
	s.browser("192.0.2.1").through(k, who("none")).refused("admin_connector") // what somebody gave, no claim takes
	holds("admin")
}

// TestSec_C1_NewSessionThroughAnUpstream: a planted session is nobody's after the sign-in, and the one before dies.
func TestSec_C1_NewSessionThroughAnUpstream(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	s.user("eve@example.com")
	eve := s.browser("198.51.100.1")
	eve.get("/login").signIn("eve@example.com", goodPassword)
	victim := s.browser("192.0.2.1")
	victim.plant(sessionCookie, eve.cookie(sessionCookie))
	for range 2 {
		before := victim.cookie(sessionCookie)
		victim.through(g, person("g1", "ana@example.com")).arrived()
		if victim.cookie(sessionCookie) == before {
			t.Fatal("the same session")
		}
		thief := s.browser("198.51.100.2")
		thief.plant(sessionCookie, before)
		thief.get("/account").expect("/login", http.StatusOK)
	}
	eve.get("/account").expect("/login", http.StatusOK)
}

// TestRace_OneDataDeletion: one request eight times at once is one request.
func TestRace_OneDataDeletion(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f := newUpstream("facebook")
			up := open(f)
			up.Connector = able{f}
			s := newSiteOn(t, engine, up)
			id := s.browser("192.0.2.1").through(f, person("f1", "")).arrived()
			answers := together(8, func(int) string {
				w := s.post("/callback/facebook/data-deletion", url.Values{"signed_request": {"signed:f1"}})
				return fmt.Sprint(w.Code, w.Body)
			})
			for _, a := range answers {
				if a != answers[0] || !strings.HasPrefix(a, "200") {
					t.Errorf("%s, %s", answers[0], a)
				}
			}
			events, err := s.store.EventsOf(t.Context(), id, 20)
			must(t, err)
			n := 0
			for _, e := range events {
				if e.Kind == "deletion_requested" {
					n++
				}
			}
			if n != 1 || len(s.links(id)) != 0 || s.read(id).DisabledReason != "deletion requested at the upstream" {
				t.Errorf("%d events, %+v", n, s.links(id))
			}
		})
	}
}
