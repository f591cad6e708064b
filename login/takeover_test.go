package login_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_E1_NOAuth: a tenant whose administrator types the victim's address gets an account of its own or a refusal, never the victim's.
func TestSec_E1_NOAuth(t *testing.T) {
	t.Parallel()
	for _, trust := range []connectors.Trust{connectors.TrustReported, connectors.TrustVerified} {
		for _, policy := range []string{login.LinkNever, login.LinkProve, login.LinkVerified} {
			a := newUpstream("azure")
			s := newSiteOn(t, store.SQLite, open(a, func(u *login.Upstream) { u.Link = policy }))
			victim := person("t1/oid", "ana@example.com")
			victim.Issuer = "https://login.example/t1/v2.0"
			ana := s.browser("192.0.2.1").through(a, victim).arrived()
			// Same address, even the same object id, in a tenant of the attacker's; the operator's connector does not trust that tenant.
			evil := person("t1/oid", "ana@example.com")
			evil.Issuer, evil.EmailTrust = "https://login.example/evil/v2.0", trust
			b := s.browser("198.51.100.1")
			p := b.through(a, evil)
			reached := strings.HasSuffix(p.away, ana)
			if trust == connectors.TrustVerified && policy == login.LinkVerified {
				// Both sides vouched for and the operator's switch: that is what the switch says. The connector is what keeps the tenant
				// from being vouched for.
				if !reached {
					t.Error("link: verified does not join")
				}
				continue
			}
			if reached || len(s.links(ana)) != 1 {
				t.Errorf("%s, %s: the attacker has the victim's account", trust, policy)
			}
		}
	}
}

// TestSec_E3_NoSilentLink: whatever an upstream says of an address, no policy but link: verified links without a proof, and that one only
// what is vouched for.
func TestSec_E3_NoSilentLink(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"ana@example.com", "ANA@Example.COM", " ana@example.com ", "ana+x@example.com", "аna@example.com", "ana@exаmple.com", "ana@example.com@evil.example", "ana", ""} {
		for _, trust := range []connectors.Trust{connectors.TrustNone, connectors.TrustReported, connectors.TrustVerified, connectors.TrustAuthoritative, "true", "1", ""} {
			for _, policy := range []string{login.LinkProve, login.LinkVerified} {
				g := newUpstream("google")
				s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Link = policy }))
				ana := s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
				who := person("g1", address)
				who.EmailTrust = trust
				p := s.browser("192.0.2.1").through(g, who)
				same := strings.EqualFold(strings.TrimSpace(address), "ana@example.com")
				proven := trust == connectors.TrustVerified || trust == connectors.TrustAuthoritative
				switch linked := len(s.links(ana.ID)) != 0; {
				case linked != (same && proven && policy == login.LinkVerified):
					t.Errorf("%q, %q, %s: linked %v", address, trust, policy, linked)
				case p.status >= 500:
					t.Errorf("%q, %q, %s: %d", address, trust, policy, p.status)
				case !linked && strings.HasSuffix(p.away, ana.ID):
					t.Errorf("%q, %q, %s: signed in", address, trust, policy)
				}
			}
		}
	}
}

// TestSec_E4_LinkRows: a link never changes its owner: connecting an upstream's account that is somebody's is refused and does not say
// whose it is.
func TestSec_E4_LinkRows(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	ana := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
	eve := s.user("eve@example.com")
	b := s.browser("198.51.100.1")
	b.get("/login").signIn("eve@example.com", goodPassword)
	p := b.get(g.allow(t, b.link("google"), person("g1", "ana@example.com")))
	if p.code() != "identity_taken" || strings.Contains(p.text(), ana) {
		t.Fatalf("%d %s: %s", p.status, p.code(), p.text())
	}
	// Ids of others in the forms are ids of nothing.
	theirs := s.links(ana)[0].ID
	token := b.get("/account/connections").formTo("/account/connections/google/link", "").values
	b.send(http.MethodPost, "/account/connections/"+theirs+"/unlink", token, nil)
	if l := s.links(ana); len(l) != 1 || l[0].UserID != ana || len(s.links(eve.ID)) != 0 {
		t.Errorf("%+v", l)
	}
	if s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived() != ana {
		t.Error("ana cannot come back")
	}
}

// TestSec_E5_PreHijacking plays the five kinds of Sudhodanan and Paverd: an attacker prepares an account with the victim's address, the
// victim comes through an upstream, and the attacker is out.
func TestSec_E5_PreHijacking(t *testing.T) {
	t.Parallel()
	const address = "ana@example.com"
	type scene struct {
		s      *site
		g, f   *upstream
		evil   *browser // the attacker's, signed in to the prepared account
		holder *store.User
	}
	prepare := func(t *testing.T, registration string) *scene {
		g, f := newUpstream("google"), newUpstream("facebook")
		s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Registration = registration }), open(f))
		c := &scene{s: s, g: g, f: f, evil: s.browser("198.51.100.1"), holder: s.user(address)}
		c.evil.get("/login").signIn(address, goodPassword).expect("/account", http.StatusOK)
		return c
	}
	// arrives is the victim: she does not know the account, says so, and has one of her own.
	arrives := func(c *scene) string {
		c.s.t.Helper()
		b := c.s.browser("192.0.2.1")
		p := b.through(c.g, person("victim", address)).expect("/login/link", http.StatusOK)
		id := p.form("link-claim-form").submit().arrived()
		if id == c.holder.ID || c.s.read(id).Email != address || c.s.read(id).EmailVerifiedAt.IsZero() {
			c.s.t.Fatalf("the victim is in %s: %+v", id, c.s.read(id))
		}
		return id
	}
	out := func(c *scene) {
		c.s.t.Helper()
		c.evil.get("/account").expect("/login", http.StatusOK)
		c.s.browser("198.51.100.9").get("/login").signIn(address, goodPassword).expect("/login", http.StatusUnprocessableEntity)
		if l := c.s.read(c.holder.ID); l.Email != "" {
			c.s.t.Errorf("the squatter still has %q", l.Email)
		}
	}
	t.Run("classic-federated merge", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationOpen)
		victim := arrives(c)
		out(c)
		if len(c.s.links(victim)) != 1 || len(c.s.links(c.holder.ID)) != 0 {
			t.Error("the link is not the victim's alone")
		}
	})
	t.Run("unexpired session", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationOpen)
		other := c.s.browser("198.51.100.2")
		other.get("/login").signIn(address, goodPassword).expect("/account", http.StatusOK)
		arrives(c)
		out(c)
		other.get("/account").expect("/login", http.StatusOK)
	})
	t.Run("trojan identifier", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationOpen)
		c.evil.get(c.f.allow(t, c.evil.link("facebook"), reported("trojan", address))).form("link-form").submit().expect("/account/connections", http.StatusOK)
		if len(c.s.links(c.holder.ID)) != 1 {
			t.Fatal("the trojan is not in place")
		}
		victim := arrives(c)
		out(c)
		c.s.browser("198.51.100.3").through(c.f, reported("trojan", address)).refused("identity_refused")
		if len(c.s.links(victim)) != 1 {
			t.Errorf("%+v", c.s.links(victim))
		}
	})
	t.Run("unexpired e-mail change", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationOpen)
		hour := store.At(c.s.now().Add(time.Hour))
		must(t, c.s.store.CreateOneTime(t.Context(), &store.OneTime{Hash: "change", Purpose: "email", UserID: c.holder.ID, ExpiresAt: hour}))
		arrives(c)
		out(c)
		if _, err := c.s.store.OneTime(t.Context(), "email", "change"); err == nil {
			t.Error("the pending change is alive")
		}
	})
	t.Run("non-verifying upstream", func(t *testing.T) {
		t.Parallel()
		g, f := newUpstream("google"), newUpstream("facebook")
		s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Link = login.LinkVerified }), open(f))
		evil := s.browser("198.51.100.1").through(f, reported("evil", address)).arrived()
		victim := s.browser("192.0.2.1").through(g, person("victim", address)).arrived()
		if victim == evil || s.read(victim).Email != address || s.read(evil).Email != "" {
			t.Fatalf("victim %+v, attacker %+v", s.read(victim), s.read(evil))
		}
		if s.browser("198.51.100.1").through(f, reported("evil", address)).arrived() != evil {
			t.Error("the attacker moved")
		}
		// The other way round: she was first, and his word is worth nothing against her.
		if s.browser("198.51.100.2").through(f, reported("evil2", address)).arrived() == victim {
			t.Error("the attacker is in the victim's account")
		}
	})
	t.Run("with closed registration nobody loses an address", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationClosed)
		b := c.s.browser("192.0.2.1")
		p := b.through(c.g, person("victim", address)).expect("/login/link", http.StatusOK)
		if p.byID("link-claim") != nil {
			t.Error("the page offers a new account")
		}
		f := p.form("link-form")
		f.values.Set("decision", "claim") // as a form of one's own
		f.submit().refused("account_exists")
		c.evil.get("/account").expect("/account", http.StatusOK)
		if c.s.users() != 1 || c.s.read(c.holder.ID).Email != address {
			t.Error("something changed")
		}
	})
	t.Run("somebody the operator knows is no squatter", func(t *testing.T) {
		t.Parallel()
		c := prepare(t, login.RegistrationOpen)
		must(t, c.s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: c.holder.ID, Privilege: "developer"}))
		p := c.s.browser("192.0.2.1").through(c.g, person("victim", address)).expect("/login/link", http.StatusOK)
		if p.byID("link-claim") != nil {
			t.Error("the page offers to take the address away")
		}
		f := p.form("link-form")
		f.values.Set("decision", "claim")
		f.submit().refused("account_exists")
		c.evil.get("/account").expect("/account", http.StatusOK)
	})
}

// TestSec_E6_ReissuedAddress: who gets somebody's old address at the same upstream gets no access, and administrators hear of it.
func TestSec_E6_ReissuedAddress(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{login.LinkNever, login.LinkProve, login.LinkVerified} {
		g := newUpstream("google")
		s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Link = policy }))
		ana := s.browser("192.0.2.1").through(g, person("old-sub", "ana@lapsed.example")).arrived()
		s.browser("198.51.100.1").through(g, person("new-sub", "Ana@lapsed.example")).refused("account_exists")
		if len(s.links(ana)) != 1 || s.users() != 1 {
			t.Errorf("%s: something was made", policy)
		}
		events, err := s.store.EventsOf(t.Context(), ana, 10)
		must(t, err)
		found := false
		for _, e := range events {
			found = found || e.Kind == "identity_conflict" && strings.Contains(e.Data, "new-sub")
		}
		if !found {
			t.Errorf("%s: no event: %+v", policy, events)
		}
	}
}

// TestSec_F17_RegistrationPolicy: every path on which an upstream's people arrive obeys the policy of connector and client.
func TestSec_F17_RegistrationPolicy(t *testing.T) {
	t.Parallel()
	all := []string{login.RegistrationOpen, login.RegistrationApproval, login.RegistrationInvite, login.RegistrationClosed, ""}
	for _, connector := range all {
		for _, client := range append(all, "nonsense") {
			for _, trust := range []connectors.Trust{connectors.TrustVerified, connectors.TrustReported, connectors.TrustNone} {
				name := fmt.Sprint(connector, "/", client, "/", trust)
				g := newUpstream("google")
				s := newSiteOn(t, store.SQLite, open(g, func(u *login.Upstream) { u.Registration = connector }))
				s.client(func(m *store.ClientMetadata) { m.Registration, m.RequireEmail = client, true })
				who := person("g1", "ana@example.com")
				if who.EmailTrust = trust; trust == connectors.TrustNone {
					who.Email = ""
				}
				b := s.browser("192.0.2.1")
				p := b.through(g, who, "scope=openid+email")
				if p.url.Path == "/login/complete" {
					p = p.giveAddress("typed@example.com").enterCode(s.codeFor("typed@example.com"))
				}
				open := connector == login.RegistrationOpen && (client == login.RegistrationOpen || client == "")
				await := !open && (connector == login.RegistrationApproval || connector == login.RegistrationOpen) && (client == login.RegistrationApproval || client == login.RegistrationOpen || client == "")
				switch {
				case open:
					p.arrived()
				case await:
					p.refused("awaiting_approval")
					list, err := s.store.Users(t.Context(), "", 2)
					must(t, err)
					if len(list) != 1 || list[0].DisabledReason != login.AwaitingApproval || list[0].DisabledAt.IsZero() {
						t.Fatalf("%s: %+v", name, list)
					}
					b.through(g, who).refused("awaiting_approval") // asking again does not help
					must(t, s.store.EnableUser(t.Context(), "cli", list[0].ID))
					if b.through(g, who).arrived() != list[0].ID {
						t.Errorf("%s: approved, and not in", name)
					}
				default:
					if code := p.refused(p.code()).code(); !strings.HasPrefix(code, "registration_") {
						t.Errorf("%s: %s", name, code)
					}
					if s.users() != 0 {
						t.Errorf("%s: %d users", name, s.users())
					}
				}
			}
		}
	}
}

// TestDomainRules: only for new people, by whole domains of proven addresses (R43).
func TestDomainRules(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	before := s.browser("192.0.2.1").through(g, person("old", "old@elsewhere.example")).arrived()
	s.restart(open(g, func(u *login.Upstream) { u.Domains = []string{"abc.org"} }))
	for i, c := range []struct {
		who connectors.Identity
		ok  bool
	}{
		{person("1", "x@abc.org"), true}, {person("2", "x@ABC.org"), false /* the same address */}, {person("3", "y@notabc.org"), false}, {person("4", "y@sub.abc.org"), false},
		{reported("5", "z@abc.org"), false}, {connectors.Identity{Issuer: "i", Subject: "6"}, false}, {person("7", "y@evil@abc.org"), false},
	} {
		p := s.browser("192.0.2.2").through(g, c.who)
		if ok := p.away != ""; ok != c.ok {
			t.Errorf("%d: %v, %s", i, ok, p.code())
		}
	}
	if s.browser("192.0.2.3").through(g, person("old", "old@elsewhere.example")).arrived() != before {
		t.Error("who was here before is out")
	}
}

// TestAdmins: who administers comes in through a connector only if the operator allows it (R41).
func TestAdmins(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	ana := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: ana, Privilege: "admin"}))
	mfa := person("g1", "ana@example.com")
	mfa.AMR = []string{"mfa"}
	for name, c := range map[string]struct {
		change func(*login.Upstream)
		who    connectors.Identity
		in     bool
	}{
		"not allowed":           {func(*login.Upstream) {}, person("g1", ""), false},
		"allowed":               {func(u *login.Upstream) { u.AllowAdmins = true }, person("g1", ""), true},
		"two factors, believed": {func(u *login.Upstream) { u.TrustMFA = true }, mfa, true},
		"believed, but one":     {func(u *login.Upstream) { u.TrustMFA = true }, person("g1", ""), false},
		"two, not believed":     {func(*login.Upstream) {}, mfa, false},
	} {
		s.restart(open(g, c.change))
		p := s.browser("192.0.2.2").through(g, c.who)
		if in := p.away != ""; in != c.in || !in && p.code() != "admin_connector" {
			t.Errorf("%s: %v %s", name, in, p.code())
		}
	}
	// Nor does an administrator's account get such a link.
	s.restart(open(g))
	boss := s.user("boss@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: boss.ID, Privilege: "admin"}))
	s.browser("192.0.2.3").through(g, person("g9", "boss@example.com")).refused("account_exists")
	b := s.browser("192.0.2.4")
	b.get("/login").signIn("boss@example.com", goodPassword)
	if p := b.get(g.allow(t, b.link("google"), person("g9", "boss@example.com"))); p.code() != "admin_connector" {
		t.Errorf("linked by hand: %d %s", p.status, p.code())
	}
	if len(s.links(boss.ID)) != 0 {
		t.Error("linked")
	}
}

// TestSec_R41_ByPermission: whoever may change other people's passwords is worth as much to a thief as an administrator, whatever the privilege
// is called.
func TestSec_R41_ByPermission(t *testing.T) {
	t.Parallel()
	for _, permission := range []string{"act_as", "log_user_in", "edit_user_password", "reset_user_mfa", "edit_user_info"} {
		g := newUpstream("google")
		s := newSiteOn(t, store.SQLite, open(g))
		must(t, s.store.CreatePrivilege(t.Context(), "cli", &store.Privilege{Name: "helpdesk", Label: "Help desk"}))
		must(t, s.store.CreatePrivilege(t.Context(), "cli", &store.Privilege{Name: "nights", Label: "Night shift", Includes: store.Strings{"helpdesk"}}))
		must(t, s.store.SetPowers(t.Context(), "cli", map[string][]string{"helpdesk": {permission}}))
		ana := s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
		must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: ana, Privilege: "nights"}))
		s.browser("192.0.2.2").through(g, person("g1", "")).refused("admin_connector")

		// A rule gives none of it either, and nobody connects such an account.
		rules := []login.ClaimRule{{Claim: "hd", Match: "*", Privilege: "nights"}, {Claim: "hd", Match: "*", Privilege: "developer"}}
		s.restart(open(g, func(u *login.Upstream) { u.Rules = rules }))
		eve := person("g2", "eve@example.com")
		eve.Claims = map[string]any{"hd": "example.com"}
		id := s.browser("192.0.2.3").through(g, eve).arrived()
		l, err := s.store.Live(t.Context(), id)
		must(t, err)
		if slices.ContainsFunc(l.Holdings, func(h store.Holding) bool { return h.Privilege == "nights" }) {
			t.Errorf("%s: given by a rule", permission)
		}
		if !slices.ContainsFunc(l.Holdings, func(h store.Holding) bool { return h.Privilege == "developer" }) {
			t.Errorf("%s: what brings no power over others is not given", permission)
		}
		boss := s.user("boss@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
		must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: boss.ID, Privilege: "nights"}))
		s.browser("192.0.2.4").through(g, person("g9", "boss@example.com")).refused("account_exists")
		b := s.browser("192.0.2.5")
		b.get("/login").signIn("boss@example.com", goodPassword)
		if p := b.get(g.allow(t, b.link("google"), person("g9", "boss@example.com"))); p.code() != "admin_connector" {
			t.Errorf("%s: linked by hand: %d %s", permission, p.status, p.code())
		}
		s.restart(open(g, func(u *login.Upstream) { u.AllowAdmins = true }))
		s.browser("192.0.2.6").through(g, person("g1", "")).arrived()
	}
}
