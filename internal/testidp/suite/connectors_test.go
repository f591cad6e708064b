package suite

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// wiki is an application that asks for everything.
func wiki(change ...func(*store.ClientMetadata)) store.ClientMetadata {
	m := store.ClientMetadata{Name: "Wiki", Scope: "openid profile email privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"},
		FirstParty: true, PostLogoutRedirectURIs: []string{"https://rp.example/bye"}}
	for _, c := range change {
		c(&m)
	}
	return m
}

// only is an application that takes some ways in.
func only(ids ...string) func(*store.ClientMetadata) {
	return func(m *store.ClientMetadata) { m.Connectors = ids }
}

// newcomer is somebody at a fake, as Latchkey is to see them: with a claim that a rule gives the privilege trainer for, and a day later without.
type newcomer struct {
	id       string // of the connector
	engines  []string
	person   string // at the fake
	rule     config.ClaimRule
	email    string // "" = none that is proven
	name     string
	today    func(f *testidp.Fakes)
	tomorrow func(f *testidp.Fakes)
}

var newcomers = []newcomer{
	{
		id: "google", person: "104729000000000000018", rule: config.ClaimRule{Claim: "hd", Match: "example.com"}, email: "grace@example.com", name: "Grace H",
		tomorrow: func(f *testidp.Fakes) {
			f.Google.SetPeople(connectortest.Person{ID: "104729000000000000018", Email: "grace@example.com", Verified: true}) // and no name, as Google may
		},
	},
	{
		id: "azure", engines: []string{"postgres"}, person: adaOfA.ID, rule: config.ClaimRule{Claim: "groups", Match: "staff"}, email: "ada@work.example", name: "Ada Work",
		today: func(f *testidp.Fakes) {
			in := adaOfA
			in.Groups = []string{"readers", "staff"}
			f.Azure.SetPeople(in)
		},
		tomorrow: func(f *testidp.Fakes) { f.Azure.SetPeople(adaOfA) },
	},
	{
		id: "facebook", person: "ada", rule: config.ClaimRule{Claim: "last_name", Match: "L"}, name: "Ada L",
		tomorrow: func(f *testidp.Fakes) { f.Facebook.SetPeople(connectortest.Person{ID: "ada", GivenName: "Ada"}) },
	},
	{
		id: "twitter", engines: []string{"postgres"}, person: "7700000000000000021", rule: config.ClaimRule{Claim: "verified", Match: "true"}, email: "ada@example.com", name: "Ada L",
		today: func(f *testidp.Fakes) {
			f.Twitter.SetPeople(connectortest.Person{ID: "7700000000000000021", Name: "Ada L", Username: "ada_l", Email: "ada@example.com", Claims: map[string]any{"verified": true}})
		},
		tomorrow: func(f *testidp.Fakes) { // a new username, no address any more
			f.Twitter.SetPeople(connectortest.Person{ID: "7700000000000000021", Name: "Ada L", Username: "ada_2"})
		},
	},
	{
		id: "oidc", engines: []string{"sqlite", "postgres"}, person: "ana", rule: config.ClaimRule{Claim: "realm_access.roles", Match: "editor"}, email: "ana@example.com", name: "Ana Flores",
		today: func(f *testidp.Fakes) {
			f.OIDC.SetPeople(connectortest.Person{ID: "ana", Email: "ana@example.com", Verified: true, Name: "Ana Flores", GivenName: "Ana", FamilyName: "Flores",
				Claims: map[string]any{"realm_access": map[string]any{"roles": []string{"reader", "editor"}}}})
		},
		tomorrow: func(f *testidp.Fakes) {
			f.OIDC.SetPeople(connectortest.Person{ID: "ana", Claims: map[string]any{"name": nil, "email": ""}})
		},
	},
	{
		id: "oauth2", engines: []string{"postgres"}, person: "583231", rule: config.ClaimRule{Claim: "site_admin", Match: "true"}, email: "ada@example.com", name: "Ada L",
		today: func(f *testidp.Fakes) {
			f.OAuth2.SetPeople(connectortest.Person{ID: "583231", Name: "Ada L", Username: "ada", Claims: map[string]any{"site_admin": true}})
		},
		tomorrow: func(f *testidp.Fakes) {
			f.OAuth2.SetPeople(connectortest.Person{ID: "583231", Username: "renamed"})
			f.OAuth2.SetEmails("583231", []any{})
		},
	},
}

var adaOfA = connectortest.EntraPerson{Tenant: connectortest.TenantA, Person: connectortest.Person{ID: "a0000000-0000-4000-8000-00000000000a", Name: "Ada Work",
	Email: "ada@work.example", Username: "ada@work.example", Claims: map[string]any{"xms_edov": true}}}

// TestThroughEveryConnector: from an application's request through Latchkey and the upstream to tokens, twice. It is the same person, the
// claims are right and nothing that is known goes blank, the tokens say how the person came, and privileges follow the upstream's claims.
func TestThroughEveryConnector(t *testing.T) {
	t.Parallel()
	for _, n := range newcomers {
		engines := n.engines
		if engines == nil {
			engines = []string{"sqlite"}
		}
		for _, engine := range engines {
			t.Run(n.id+" "+engine, func(t *testing.T) {
				t.Parallel()
				n.comeTwice(t, engine)
			})
		}
	}
}

func (n newcomer) comeTwice(t *testing.T, engine string) {
	n.rule.Privilege = "trainer"
	idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, n.id), Config: func(c *config.Config) {
		testidp.Connector(c, n.id).Privileges = []config.ClaimRule{n.rule}
	}})
	if n.today != nil {
		n.today(idp.Fakes)
	}
	rp := idp.RP(wiki())
	in := func(b *testidp.Browser) *testidp.Tokens {
		login := rp.Start()
		page := b.Through(b.Get(login.URL).Want(200, "login-title"), n.id, n.person)
		if page.URL.Fragment != "" {
			t.Errorf("the application is sent the fragment %q", page.URL.Fragment)
		}
		return rp.Finish(login, page.URL)
	}
	check := func(what string, tokens *testidp.Tokens, privileges ...string) {
		t.Helper()
		_, info := rp.UserInfo(tokens.AccessToken)
		for where, c := range map[string]map[string]any{"ID token": tokens.Claims, "userinfo": info} {
			for claim, v := range c {
				if v == nil || v == "" {
					t.Errorf("%s: %s of the %s is %v", what, claim, where, v)
				}
			}
		}
		email, _ := info["email"].(string)
		verified, _ := info["email_verified"].(bool)
		if info["sub"] != tokens.IDToken.Subject || email != n.email || verified != (n.email != "") || info["name"] != n.name {
			t.Errorf("%s: userinfo %v", what, info)
		}
		if got := stringList(tokens.Claims["amr"]); !slices.Equal(got, []string{"fed"}) || tokens.Claims["login_method"] != n.id {
			t.Errorf("%s: amr %v, login_method %v", what, got, tokens.Claims["login_method"])
		}
		if got := stringList(info["privileges"]); !slices.Equal(got, privileges) {
			t.Errorf("%s: privileges %v, want %v", what, got, privileges)
		}
	}
	b := idp.Browser()
	one := in(b)
	check("the first time", one, "trainer", "user")

	n.tomorrow(idp.Fakes)
	two := in(idp.Browser())
	if two.IDToken.Subject != one.IDToken.Subject {
		t.Error("the second time it is somebody else")
	}
	check("the second time", two, "user") // what the newcomers' user type brings
	// What came first is up to date as well.
	if refreshed, err := rp.Refresh(one); err != nil {
		t.Error(err)
	} else {
		check("the first time's tokens, refreshed", refreshed, "user")
	}

	// The account says by what it can be entered.
	page := b.Get(idp.Issuer+"/account/connections").Want(200, "connections-title")
	if !strings.Contains(page.Text("connections-linked"), label(idp.Config, n.id)) {
		t.Errorf("the account page: %s", page.Text("connections-linked"))
	}
}

func label(c *config.Config, id string) string {
	s, _ := testidp.Connector(c, id).Display()
	return s
}

// TestConnectorConsent: who came through an upstream is asked for consent as everybody is, and the whole chain of redirects is allowed by
// the policies of the pages it starts on.
func TestConnectorConsent(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "oidc")})
	rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.FirstParty = false }))
	b := idp.Browser()
	login := rp.Start()
	page := b.Through(b.Get(login.URL), "oidc", "ana").Want(200, "consent-title")
	if got := page.Text("consent-client-name"); got != "Wiki" {
		t.Errorf("the consent page names %q", got)
	}
	rp.Finish(login, b.Consent(page).URL)
	// A session is a session: the second application needs no upstream.
	idp.Fakes.OIDC.Forget()
	again := rp.Start()
	rp.Finish(again, b.Get(again.URL).URL)
	if n := len(idp.Fakes.OIDC.Requests()); n != 0 {
		t.Errorf("%d requests to the upstream for somebody who is signed in", n)
	}
	// Refused: the application hears it, and the session stays.
	other := idp.RP(wiki(func(m *store.ClientMetadata) { m.FirstParty = false; m.Name = "Shop" }))
	login = other.Start()
	if code := other.Error(login, b.Deny(b.Get(login.URL).Want(200, "consent-title")).URL); code != "access_denied" {
		t.Errorf("refused consent: %s", code)
	}
}

// sessions counts the live sessions of a person.
func sessions(t *testing.T, idp *testidp.IDP, user string) int {
	t.Helper()
	list, err := idp.Store.SessionsOf(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestAddressIsAskedForAndProven: an application that requires an address gets a proven one also of somebody whose upstream vouches for none,
// and only that person's own mailbox opens the door.
func TestAddressIsAskedForAndProven(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Fakes: testidp.NewFakes(t, "facebook", "twitter")})
	rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.RequireEmail = true }))
	b := idp.Browser()
	login := rp.Start()
	page := b.Through(b.Get(login.URL), "facebook", "ada").Want(200, "complete-title")
	if got := page.Attr("complete-email", "value"); got != "ada@example.com" {
		t.Errorf("the page suggests %q", got)
	}
	if text := page.Text("main"); !strings.Contains(text, "Facebook didn’t confirm") {
		t.Errorf("the page says %s", text)
	}
	page = b.Submit(page, "complete-submit", map[string]string{"complete-email": "ada@"}).Want(http.StatusUnprocessableEntity, "error-summary")
	page = b.Submit(page, "complete-submit", map[string]string{"complete-email": "ada@home.example"}).Want(200, "code-title")
	if b.Cookie("__Host-latchkey") != "" {
		t.Error("signed in before the address is proven")
	}
	page = b.Submit(page, "code-submit", map[string]string{"code-input": "000000"}).Want(http.StatusUnprocessableEntity, "error-summary")
	tokens := rp.Finish(login, b.Submit(page, "code-submit", map[string]string{"code-input": mailedCode(t, idp, "ada@home.example")}).URL)
	if _, info := rp.UserInfo(tokens.AccessToken); info["email"] != "ada@home.example" || info["email_verified"] != true || info["name"] != "Ada L" {
		t.Errorf("userinfo %v", info)
	}
	b = idp.Browser()
	login = rp.Start()
	if again := rp.Finish(login, b.Through(b.Get(login.URL), "facebook", "ada").URL); again.IDToken.Subject != tokens.IDToken.Subject {
		t.Error("the second time it is somebody else, or asked again")
	}
	// Somebody else's address: its owner is told, and the other gets no code.
	b = idp.Browser()
	page = b.Through(b.Get(rp.Start().URL), "twitter", "7700000000000000022").Want(200, "complete-title")
	if text := page.Text("main"); !strings.Contains(text, "X didn’t share") {
		t.Errorf("the page says %s", text)
	}
	before := len(idp.Outbox())
	b.Submit(page, "complete-submit", map[string]string{"complete-email": "ada@home.example"}).Want(200, "code-title") // as for any other
	if mails := idp.Outbox(); len(mails) != before+1 || mails[0].Recipient != "ada@home.example" || sixDigits.MatchString(mails[0].Text) {
		t.Errorf("%d mails, the newest to %s: %s", len(mails)-before, mails[0].Recipient, mails[0].Text)
	}
}

// mailedCode is the code in the newest mail, which must be to an address.
func mailedCode(t *testing.T, idp *testidp.IDP, to string) string {
	t.Helper()
	mails := idp.Outbox()
	if len(mails) == 0 || mails[0].Recipient != to || !sixDigits.MatchString(mails[0].Text) {
		t.Fatalf("no code was mailed to %s: %+v", to, mails)
	}
	return sixDigits.FindString(mails[0].Text)
}
