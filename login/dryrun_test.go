package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// Describe takes an identity as it is.
func (u *upstream) Describe(document []byte) (id connectors.Identity, err error) {
	if json.Unmarshal(document, &id) != nil {
		return id, &connectors.DocumentError{Problem: connectors.DocumentNoJSON, At: 1}
	}
	if id.Subject == "of another tenant" {
		return id, &connectors.Error{Kind: connectors.NotAllowed, Detail: "the tenant"}
	}
	return id, nil
}

// dry is a dry run that must leave every table as it was.
func (s *site) dry(req login.DryRunRequest, who connectors.Identity, then func(context.Context, *login.DryRun) error) *login.DryRun {
	s.t.Helper()
	if then == nil {
		then = func(context.Context, *login.DryRun) error { return nil }
	}
	var err error
	req.Claims, err = json.Marshal(who)
	must(s.t, err)
	before := storetest.Contents(s.t, s.store)
	d, err := s.login.DryRun(s.t.Context(), req, then)
	must(s.t, err)
	if after := storetest.Contents(s.t, s.store); !maps.Equal(before, after) {
		s.t.Errorf("something was written:\nbefore %v\nafter  %v", before, after)
	}
	return d
}

// TestDryRun_EqualsTheSignIn: for every decision there is, a dry run writes nothing and says where the sign-in right after it goes.
func TestDryRun_EqualsTheSignIn(t *testing.T) {
	t.Parallel()
	const address = "ana@example.com"
	ana := person("g1", address)
	linked := func(change ...func(t *testing.T, s *site, u *store.User)) func(*testing.T, *site) string {
		return func(t *testing.T, s *site) string {
			u := s.user("here@example.com", func(u *store.User) { u.GivenName = "Here" })
			must(t, s.store.CreateIdentity(t.Context(), "cli", &store.Identity{UserID: u.ID, Connector: "google", Issuer: ana.Issuer, Subject: "g1", EmailTrust: "none"}))
			for _, c := range change {
				c(t, s, u)
			}
			return u.ID
		}
	}
	holder := func(verified bool, change ...func(t *testing.T, s *site, u *store.User)) func(*testing.T, *site) string {
		return func(t *testing.T, s *site) string {
			u := s.user(address, func(u *store.User) {
				if verified {
					u.EmailVerifiedAt = store.At(s.now())
				}
			})
			for _, c := range change {
				c(t, s, u)
			}
			return u.ID
		}
	}
	grant := func(name string) func(*testing.T, *site, *store.User) {
		return func(t *testing.T, s *site, u *store.User) {
			must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: name}))
		}
	}
	disable := func(reason string) func(*testing.T, *site, *store.User) {
		return func(t *testing.T, s *site, u *store.User) {
			must(t, s.store.DisableUser(t.Context(), "cli", u.ID, reason))
		}
	}
	link := func(policy string) func(*login.Upstream) { return func(u *login.Upstream) { u.Link = policy } }
	registration := func(policy string) func(*login.Upstream) {
		return func(u *login.Upstream) { u.Registration = policy }
	}
	rule := func(name string) func(*login.Upstream) {
		return func(u *login.Upstream) {
			u.Rules = append(u.Rules, login.ClaimRule{Claim: "hd", Match: "example.com", Privilege: name})
		}
	}
	claiming := ana
	claiming.Claims = map[string]any{"hd": "example.com"}
	mustChange := func(t *testing.T, s *site, u *store.User) {
		must(t, s.store.SetPassword(t.Context(), "cli", u.ID, goodHash(), true, ""))
	}
	noProof := func(d *login.DryRun) bool { return d.Proof == "" && d.Evidence == nil && d.Holder != "" }
	required := func(m *store.ClientMetadata) { m.RequireEmail = true }
	cases := map[string]struct {
		prepare  func(*testing.T, *site) string // and returns an account
		up       func(*login.Upstream)
		client   func(*store.ClientMetadata)
		who      connectors.Identity
		disowned bool
		decision string
		real     string // the page where the sign-in leads: arrived, its path, or the code of a refusal; "" = not walked
		more     func(*login.DryRun) bool
	}{
		"known": {prepare: linked(), decision: login.DryEnter, real: "arrived", more: func(d *login.DryRun) bool {
			return !d.New && d.Evidence == nil && d.ACR == "1" && slices.Equal(d.AMR, []string{"fed"}) && slices.Equal(d.Filled, []login.DryFilled{{"nickname", "ana"}})
		}},
		"known, must change": {prepare: linked(mustChange), decision: login.DryEnter, real: "/login/new-password", more: func(d *login.DryRun) bool {
			return slices.Equal(d.Owes, []string{"new_password"}) && slices.Equal(d.AMR, []string{"fed", "pwd"})
		}},
		"quarantined": {prepare: linked(func(t *testing.T, s *site, u *store.User) {
			must(t, s.store.QuarantineHolder(t.Context(), "cli", u.ID, u.Email))
		}), decision: login.DryRefuse, real: "identity_refused"},
		"awaits":       {prepare: linked(disable(login.AwaitingApproval)), decision: login.DryRefuse, real: "awaiting_approval"},
		"disabled":     {prepare: linked(disable("left")), decision: login.DryRefuse, real: "account_disabled"},
		"admin":        {prepare: linked(grant("admin")), decision: login.DryRefuse, real: "admin_connector"},
		"new":          {decision: login.DryCreate, real: "arrived", more: func(d *login.DryRun) bool { return d.New && slices.Equal(d.Evidence, []string{"new_account"}) }},
		"new, closed":  {up: registration(login.RegistrationClosed), decision: login.DryRefuse, real: "registration_closed"},
		"new, invited": {up: registration(login.RegistrationInvite), decision: login.DryRefuse, real: "registration_invite"},
		"new, domain": {up: func(u *login.Upstream) { u.Domains = []string{"example.org"} }, decision: login.DryRefuse, real: "registration_domain",
			more: func(d *login.DryRun) bool { return !d.Policy.DomainFits }},
		"new, the client is stricter": {client: func(m *store.ClientMetadata) { m.Registration = login.RegistrationClosed }, decision: login.DryRefuse, real: "registration_closed",
			more: func(d *login.DryRun) bool { return d.Policy.Registration == login.RegistrationClosed }},
		"new, approval": {up: registration(login.RegistrationApproval), decision: login.DryAwait, real: "awaiting_approval", more: func(d *login.DryRun) bool { return d.New && d.ACR == "1" }},
		"new, no address": {who: connectors.Identity{Issuer: "https://upstream.example", Subject: "g1"}, client: required, decision: login.DryAddress, real: "/login/complete",
			more: func(d *login.DryRun) bool { return d.AMR == nil && d.UserID == "" }},
		"held by somebody without a password": {prepare: func(t *testing.T, s *site) string {
			u := &store.User{Email: address, EmailVerifiedAt: store.At(s.now())}
			must(t, s.store.CreateUser(t.Context(), u))
			return u.ID
		}, decision: login.DryProve, real: "/login/link", more: noProof},
		"held by who must change":    {prepare: holder(true, mustChange), decision: login.DryProve, real: "/login/link", more: noProof},
		"held, and no password here": {prepare: holder(true), client: func(m *store.ClientMetadata) { m.Connectors = []string{"google", "azure"} }, decision: login.DryProve, real: "", more: noProof},
		"reported":                   {who: reported("g1", address), prepare: holder(true), decision: login.DryCreate, real: "arrived"},
		"held, prove": {prepare: holder(true), decision: login.DryProve, real: "/login/link", more: func(d *login.DryRun) bool {
			return d.Holder == d.UserID && !d.MayClaim && slices.Equal(d.Evidence, []string{"proof:password"}) && slices.Equal(d.AMR, []string{"pwd"})
		}},
		"held unproven, prove":     {prepare: holder(false), decision: login.DryProve, real: "/login/link", more: func(d *login.DryRun) bool { return d.MayClaim }},
		"held unproven, disowned":  {prepare: holder(false), disowned: true, decision: login.DryClaim, real: "/login/link", more: func(d *login.DryRun) bool { return d.New && d.Alert }},
		"held, disowned":           {prepare: holder(true), disowned: true, decision: login.DryRefuse, real: "/login/link", more: func(d *login.DryRun) bool { return d.Alert }},
		"held, verified":           {prepare: holder(true), up: link(login.LinkVerified), decision: login.DryJoin, real: "arrived", more: func(d *login.DryRun) bool { return slices.Equal(d.Evidence, []string{"both_verified"}) }},
		"held, authoritative":      {prepare: holder(true), up: link(login.LinkAuthoritative), decision: login.DryProve, real: "/login/link"},
		"held, never":              {prepare: holder(true), up: link(login.LinkNever), decision: login.DryRefuse, real: "account_exists"},
		"held unproven, never":     {prepare: holder(false), up: link(login.LinkNever), decision: login.DryClaim, real: "arrived"},
		"held privileged, never":   {prepare: holder(false, grant("trainer")), up: link(login.LinkNever), decision: login.DryRefuse, real: "account_exists"},
		"held by a disabled one":   {prepare: holder(true, disable("left")), decision: login.DryRefuse, real: "account_exists"},
		"held by an administrator": {prepare: holder(true, grant("admin")), decision: login.DryRefuse, real: "account_exists"},
		"reissued": {prepare: func(t *testing.T, s *site) string {
			u := s.user("here@example.com")
			must(t, s.store.CreateIdentity(t.Context(), "cli", &store.Identity{UserID: u.ID, Connector: "google", Issuer: ana.Issuer, Subject: "g0", Email: address, EmailTrust: "verified"}))
			return u.ID
		}, decision: login.DryRefuse, real: "account_exists", more: func(d *login.DryRun) bool { return d.Alert }},
		"rules": {who: claiming, up: func(u *login.Upstream) { rule("trainer")(u); rule("admin")(u); rule("nonsense")(u) }, decision: login.DryCreate, real: "arrived", more: func(d *login.DryRun) bool {
			return slices.Equal(d.Rules.Matched, []string{"trainer", "admin", "nonsense"}) && slices.Equal(d.Rules.Given, []string{"trainer"}) &&
				slices.Equal(d.Rules.Admin, []string{"admin"}) && slices.Equal(d.Rules.Refused, []string{"nonsense"})
		}},
		"rules that fit no more": {up: rule("trainer"), prepare: linked(func(t *testing.T, s *site, u *store.User) {
			_, err := s.store.SyncUpstreamPrivileges(t.Context(), u.ID, "google", []string{"trainer"})
			must(t, err)
		}), decision: login.DryEnter, real: "arrived", more: func(d *login.DryRun) bool { return slices.Equal(d.Rules.Ended, []string{"trainer"}) }},
		"an administrator by claims that are gone": {prepare: func(t *testing.T, s *site) string {
			s.user("boss@example.com", func(*store.User) {}) // somebody else stays administrator
			boss, err := s.store.UserByLogin(t.Context(), "boss@example.com")
			must(t, err)
			grant("admin")(t, s, boss)
			return linked(func(t *testing.T, s *site, u *store.User) {
				_, err := s.store.SyncUpstreamPrivileges(t.Context(), u.ID, "google", []string{"admin"})
				must(t, err)
			})(t, s)
		}, decision: login.DryEnter, real: "arrived", more: func(d *login.DryRun) bool { return slices.Equal(d.Rules.Ended, []string{"admin"}) }},
		"not for this client": {client: func(m *store.ClientMetadata) { m.Connectors = []string{"password"} }, decision: login.DryRefuse, real: "unknown_connector"},
		"of another tenant":   {who: person("of another tenant", ""), decision: login.DryRefuse, real: "", more: func(d *login.DryRun) bool { return d.Code == "upstream_not_allowed" && d.Detail != "" }},
	}
	for name, c := range cases {
		for _, engine := range storetest.Engines() {
			t.Run(name+"/"+engine, func(t *testing.T) {
				t.Parallel()
				c := c // each engine fills in its own
				g := newUpstream("google")
				up := open(g)
				if c.up != nil {
					c.up(&up)
				}
				if c.who.Subject == "" {
					c.who = ana
				}
				s := newSiteOn(t, engine, up)
				account := ""
				if c.prepare != nil {
					account = c.prepare(t, s)
				}
				if c.client != nil {
					s.client(c.client)
				}
				sessions := 0
				d := s.dry(login.DryRunRequest{Connector: "google", ClientID: "app", Disowned: c.disowned}, c.who, func(ctx context.Context, d *login.DryRun) error {
					sessions++ // the account is there, and active
					live, err := s.store.Live(ctx, d.UserID)
					if err == nil && !live.User.Active(s.now()) {
						err = errors.New("not active")
					}
					return err
				})
				if d.Decision != c.decision || c.more != nil && !c.more(d) {
					t.Fatalf("%+v", d)
				}
				signsIn := !slices.Contains([]string{login.DryRefuse, login.DryAddress}, d.Decision) && (d.Decision != login.DryProve || d.Proof != "")
				if (sessions == 1) != signsIn || signsIn != (d.ACR != "") {
					t.Errorf("%d times there was a session: %+v", sessions, d)
				}
				if d.Decision == login.DryRefuse && c.real != "/login/link" && c.real != "" && d.Code != c.real || d.Decision != login.DryRefuse && d.Code != "" {
					t.Errorf("the code is %q", d.Code)
				}
				if (d.Decision == login.DryEnter || d.Decision == login.DryJoin) && d.UserID != account {
					t.Errorf("signed in to %s, not %s", d.UserID, account)
				}
				if c.real == "unknown_connector" || c.real == "" {
					return // there is no button, or nobody is asked for one
				}
				p := s.browser("192.0.2.1").through(g, c.who)
				switch {
				case c.real == "arrived":
					if id := p.arrived(); !d.New && id != d.UserID {
						t.Errorf("arrived as %s, not %s", id, d.UserID)
					} else if u := s.read(id); d.New {
						for _, f := range d.Filled {
							if got := map[string]string{"given_name": u.GivenName, "family_name": u.FamilyName, "nickname": u.Profile.Nickname, "email": u.Email,
								"email_verified": fmt.Sprint(!u.EmailVerifiedAt.IsZero())}[f.Field]; got != f.Value {
								t.Errorf("%s is %q, not %q", f.Field, got, f.Value)
							}
						}
					}
				case c.real[0] == '/':
					p.expect(c.real, http.StatusOK)
					if d.Proof != "" {
						end := p.form("link-form").set("login-identifier", address).set("login-password", goodPassword).submit()
						if id := end.arrived(); id != d.UserID || !slices.Equal(s.links(id)[0].Evidence, d.Evidence) {
							t.Errorf("after the proof: %s, %+v", id, s.links(id))
						}
					}
				default:
					p.refused(c.real)
				}
			})
		}
	}
}

func TestDryRun_Mistakes(t *testing.T) {
	t.Parallel()
	s := newSiteOn(t, store.SQLite, open(newUpstream("google")))
	none := func(context.Context, *login.DryRun) error { return nil }
	for _, c := range []struct {
		req  login.DryRunRequest
		want error
	}{
		{login.DryRunRequest{Connector: "gogle", Claims: []byte("{}")}, login.ErrDryConnector},
		{login.DryRunRequest{Connector: "google", ClientID: "nothing", Claims: []byte(`{"Subject":"x"}`)}, login.ErrDryClient},
	} {
		if _, err := s.login.DryRun(t.Context(), c.req, none); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
	_, err := s.login.DryRun(t.Context(), login.DryRunRequest{Connector: "google", Claims: []byte("{")}, none)
	if _, ok := errors.AsType[*connectors.DocumentError](err); !ok {
		t.Error(err)
	}
	if d := s.dry(login.DryRunRequest{Connector: "google"}, connectors.Identity{Issuer: "x"}, nil); d.Code != "upstream_invalid" {
		t.Errorf("without a subject: %+v", d)
	}
	c, err := s.store.Client(t.Context(), "app")
	must(t, err)
	must(t, s.store.SetClientDisabled(t.Context(), "cli", c.ID, true))
	if _, err := s.login.DryRun(t.Context(), login.DryRunRequest{Connector: "google", ClientID: "app", Claims: []byte(`{"Subject":"x"}`)}, none); !errors.Is(err, login.ErrDryClient) {
		t.Errorf("a disabled client: %v", err)
	}
}

// TestSec_C2_DryRunLeavesTheCallersSession: whoever looks is signed in, and stays so: the session of the dry run is not theirs.
func TestSec_C2_DryRunLeavesTheCallersSession(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	boss := s.browser("192.0.2.1").through(g, person("boss", "boss@example.com")).arrived()
	rows, err := s.store.SessionsOf(t.Context(), boss)
	must(t, err)
	ctx := session.With(t.Context(), &session.Session{Session: rows[0]})
	claims, err := json.Marshal(person("g1", "ana@example.com"))
	must(t, err)
	seen := false
	_, err = s.login.DryRun(ctx, login.DryRunRequest{Connector: "google", Claims: claims}, func(ctx context.Context, d *login.DryRun) error {
		seen = true
		if _, ok := session.Current(ctx); ok {
			t.Error("the caller's session is there")
		}
		if list, err := s.store.SessionsOf(ctx, boss); err != nil || len(list) != 1 {
			t.Errorf("within, the caller has %d sessions: %v", len(list), err)
		}
		return nil
	})
	must(t, err)
	if !seen {
		t.Error("never there")
	}
}

// TestDryRun_Race: dry runs of the very people who sign in meanwhile disturb nobody, and say something each time.
func TestDryRun_Race(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, engine string) {
		g := newUpstream("google")
		s := newSiteOn(t, engine, open(g, func(u *login.Upstream) {
			u.Rules = []login.ClaimRule{{Claim: "hd", Match: "*", Privilege: "trainer"}}
		}))
		const people, rounds = 4, 3
		var wg sync.WaitGroup
		ids := make([][rounds]string, people)
		for i := range people {
			who := person(fmt.Sprint("g", i), fmt.Sprintf("p%d@example.com", i))
			who.Claims = map[string]any{"hd": "example.com"}
			claims, err := json.Marshal(who)
			must(t, err)
			wg.Go(func() {
				for n := range rounds {
					p := s.browser(fmt.Sprintf("192.0.2.%d", i)).through(g, who)
					if _, id, ok := strings.Cut(p.away, "code=for-"); ok {
						ids[i][n] = id
					} else {
						t.Errorf("%d at %s: %s", p.status, p.url.Path, p.text())
					}
				}
			})
			for range 2 {
				wg.Go(func() {
					for range rounds {
						var d *login.DryRun
						var err error
						for range 20 { // it has two seconds, with the wait for the others: on a busy machine it may have to be asked again
							d, err = s.login.DryRun(t.Context(), login.DryRunRequest{Connector: "google", ClientID: "app", Claims: claims}, func(context.Context, *login.DryRun) error { return nil })
							if !errors.Is(err, store.ErrUnavailable) {
								break
							}
						}
						if err != nil || d.Decision != login.DryCreate && d.Decision != login.DryEnter {
							t.Errorf("%v %+v", err, d)
						}
					}
				})
			}
		}
		wg.Wait()
		if n := s.users(); n != people {
			t.Errorf("%d users", n)
		}
		for i, all := range ids {
			for _, id := range all {
				if id == "" || id != all[0] {
					t.Errorf("%d came as %v", i, all)
				}
			}
			if len(s.links(all[0])) != 1 {
				t.Errorf("%d links", len(s.links(all[0])))
			}
		}
		if n, broken, err := s.store.VerifyAudit(t.Context()); err != nil || broken != 0 || n == 0 {
			t.Errorf("audit: %d, broken at %d: %v", n, broken, err)
		}
	})
}

func eachEngine(t *testing.T, f func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(t, engine)
		})
	}
}
