package login_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestLinkingMatrix is the table of the linking policy through the front door: four connectors, each with every trust it can have in an
// address, against an account here that has the same address, proven or not, that was there before or came after; under every linking
// policy.
func TestLinkingMatrix(t *testing.T) {
	t.Parallel()
	const address = "ana@example.com"
	for _, name := range []string{"google", "azure", "facebook", "twitter"} {
		for _, trust := range []connectors.Trust{connectors.TrustAuthoritative, connectors.TrustVerified, connectors.TrustReported, connectors.TrustNone} {
			for _, local := range []string{"none", "unproven", "proven"} {
				for _, order := range []string{"local first", "upstream first"} {
					for _, policy := range []string{login.LinkNever, login.LinkProve, login.LinkVerified} {
						t.Run(fmt.Sprint(name, "/", trust, "/", local, "/", order, "/", policy), func(t *testing.T) {
							t.Parallel()
							matrix(t, name, trust, local, order, policy, address)
						})
					}
				}
			}
		}
	}
}

func matrix(t *testing.T, name string, trust connectors.Trust, local, order, policy, address string) {
	u := newUpstream(name)
	s := newSiteOn(t, store.SQLite, open(u, func(up *login.Upstream) { up.Link = policy }))
	who := person("subject-1", address)
	if who.EmailTrust = trust; trust == connectors.TrustNone {
		who.Email = ""
	}
	b := s.browser("192.0.2.1")
	var mine *store.User
	account := func() error {
		mine = &store.User{Email: address}
		if local == "proven" {
			mine.EmailVerifiedAt = store.At(s.now())
		}
		if err := s.store.CreateUser(t.Context(), mine); err != nil {
			return err
		}
		return s.store.SetPassword(t.Context(), "cli", mine.ID, goodHash(), false, "")
	}
	proven := trust == connectors.TrustVerified || trust == connectors.TrustAuthoritative

	if order == "upstream first" {
		id := b.through(u, who).arrived()
		if has := s.read(id).Email; (has == address) != proven {
			t.Fatalf("the new account has the address %q", has)
		}
		if local != "none" {
			err := account()
			if proven {
				if err == nil {
					t.Fatal("two accounts have one proven address")
				}
			} else {
				must(t, err) // nobody squats an address with a word nobody vouches for
			}
		}
		if again := s.browser("192.0.2.2").through(u, who).arrived(); again != id {
			t.Fatalf("came back as %s, not as %s", again, id)
		}
		return
	}

	if local != "none" {
		must(t, account())
	}
	p := b.through(u, who)
	switch {
	case local == "none" || !proven: // nothing stands in the way, or nothing that counts
		id := p.arrived()
		if local != "none" && (id == mine.ID || s.read(id).Email != "") {
			t.Fatalf("an address nobody vouches for led to %s with %q", id, s.read(id).Email)
		}
	case local == "proven" && policy == login.LinkVerified:
		if p.arrived() != mine.ID {
			t.Fatal("not joined")
		}
		if l := s.links(mine.ID); len(l) != 1 || l[0].Evidence[0] != "both_verified" {
			t.Fatalf("%+v", l)
		}
	case policy == login.LinkNever && local == "proven":
		p.refused("account_exists")
		if len(s.links(mine.ID)) != 0 || s.users() != 1 {
			t.Fatal("linked, or registered")
		}
	case policy == login.LinkNever: // the holder never proved it
		if id := p.arrived(); id == mine.ID || s.read(id).Email != address || s.read(mine.ID).Email != "" {
			t.Fatalf("%s has %q, the holder %q", id, s.read(id).Email, s.read(mine.ID).Email)
		}
	default:
		p.expect("/login/link", http.StatusOK)
		if strings.Contains(p.text(), mine.ID) || len(s.arrivals()) != 0 || b.cookie(sessionCookie) != "" {
			t.Fatal("somebody is signed in before the proof")
		}
		claim := p.byID("link-claim") != nil
		if claim != (local == "unproven") {
			t.Fatalf("may claim: %v", claim)
		}
		wrong := p.form("link-form").set("login-identifier", address).set("login-password", "not the password").submit()
		wrong.expect("/login/link", http.StatusUnprocessableEntity)
		if len(s.links(mine.ID)) != 0 {
			t.Fatal("linked without a proof")
		}
		end := wrong.form("link-form").set("login-identifier", address).set("login-password", goodPassword).submit()
		if end.arrived() != mine.ID {
			t.Fatal("proven, but somebody else")
		}
		if l := s.links(mine.ID); len(l) != 1 || l[0].Evidence[0] != "proof:password" {
			t.Fatalf("%+v", l)
		}
		if s.read(mine.ID).EmailVerifiedAt.IsZero() {
			t.Error("the address is proven on both sides and does not count as verified")
		}
		// From now on the upstream opens it.
		if s.browser("192.0.2.9").through(u, who).arrived() != mine.ID {
			t.Fatal("the link does not open the account")
		}
	}
	if want := 1; local != "none" && s.users() > want+1 {
		t.Errorf("%d users", s.users())
	}
}

// TestJoin_ThroughAnotherUpstream: the existing account has no password, so another upstream proves it.
func TestJoin_ThroughAnotherUpstream(t *testing.T) {
	t.Parallel()
	g, a := newUpstream("google"), newUpstream("azure")
	s := newSiteOn(t, store.SQLite, open(g), open(a))
	ana := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
	s.sleep(time.Second)
	bea := s.browser("192.0.2.2").through(g, person("g2", "bea@example.com")).arrived()

	b := s.browser("192.0.2.3")
	p := b.through(a, person("a1", "ana@example.com")).expect("/login/link", http.StatusOK)
	if p.byID("link-with-azure") != nil || p.byID("link-claim") != nil {
		t.Error("offers azure itself, or to take a proven address away")
	}
	away := b.get(attr(p.byID("link-with-google"), "href")).away
	if !strings.Contains(away, "prompt=login") || !strings.Contains(away, "max_age=0") {
		t.Errorf("the proof may be an old one: %s", away)
	}
	// Somebody else's account does not do, and the identity still waits.
	b.get(g.allow(t, away, person("g2", "bea@example.com"))).refused("link_other")
	if len(s.links(bea)) != 1 || len(s.links(ana)) != 1 {
		t.Fatal("linked to whoever came")
	}
	away = b.get(attr(p.byID("link-with-google"), "href")).away
	if b.get(g.allow(t, away, person("g1", "ana@example.com"))).arrived() != ana {
		t.Fatal("not ana")
	}
	links := s.links(ana)
	if len(links) != 2 || links[1].Connector != "azure" || links[1].Evidence[0] != "proof:google" {
		t.Fatalf("%+v", links)
	}
	if s.browser("192.0.2.4").through(a, person("a1", "ana@example.com")).arrived() != ana {
		t.Error("azure does not open the account")
	}
}

// TestJoin_OnlyOnce: the same form sent eight times at once links once and signs in once.
func TestJoin_OnlyOnce(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			g := newUpstream("google")
			s := newSiteOn(t, engine, open(g))
			u := s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
			p := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).expect("/login/link", http.StatusOK)
			pages := together(4, func(int) *page {
				return p.form("link-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword).submit()
			})
			for _, p := range pages {
				if p.status >= 500 {
					t.Errorf("%d at %s: %s", p.status, p.url.Path, p.text())
				}
			}
			sessions, err := s.store.SessionsOf(t.Context(), u.ID)
			must(t, err)
			if len(s.links(u.ID)) != 1 || len(sessions) != 1 {
				t.Errorf("%d links, %d sessions", len(s.links(u.ID)), len(sessions))
			}
		})
	}
}

// TestJoin_OnlyTheAccountInQuestion: another account's proof does not do, nor that of an account which lost the address meanwhile; and a
// handle is good on its own page, in its own flow.
func TestJoin_OnlyTheAccountInQuestion(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	verified := func(u *store.User) { u.EmailVerifiedAt, u.Username = store.At(s.now()), "ana" }
	ana, eve := s.user("ana@example.com", verified), s.user("eve@example.com")
	b := s.browser("192.0.2.1")
	p := b.through(g, person("g1", "ana@example.com")).expect("/login/link", http.StatusOK)
	prove := func(name string) *page {
		return p.form("link-form").set("login-identifier", name).set("login-password", goodPassword).submit()
	}
	if q := prove("eve@example.com").expect("/login/link", http.StatusUnprocessableEntity); !strings.Contains(q.text(), "another account") {
		t.Error(q.text())
	}
	handle, flow := p.url.Query().Get("join"), p.url.Query().Get("flow")
	other := b.get("/test/start").url.Query().Get("flow")
	for _, path := range []string{"/login/complete?join=" + handle + "&flow=" + flow, "/login/link?join=" + handle + "&flow=" + other, "/login/link?join=" + handle, "/login/link?join=x&flow=" + flow,
		"/login/start/google?join=" + handle, "/callback/google?code=x&state=" + handle} {
		if q := b.get(path); q.code() != "sign_in_expired" {
			t.Errorf("%s: %d %q%s", path, q.status, q.code(), q.away)
		}
	}
	if g.count() != 1 {
		t.Errorf("%d exchanges", g.count())
	}

	p = b.through(g, person("g1", "ana@example.com")).expect("/login/link", http.StatusOK)
	moved := s.read(ana.ID)
	moved.Email, moved.EmailVerifiedAt = "", store.Time{}
	must(t, s.store.UpdateUser(t.Context(), moved))
	taken := s.read(eve.ID)
	taken.Email, taken.EmailVerifiedAt = "ana@example.com", store.At(s.now())
	must(t, s.store.UpdateUser(t.Context(), taken))
	prove("ana").refused("sign_in_expired")
	if len(s.links(ana.ID))+len(s.links(eve.ID)) != 0 {
		t.Error("linked")
	}
}
