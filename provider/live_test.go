package provider_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_B3_EveryReadIsLive: what ends a grant is felt at once by every read of its tokens, in this process and in another on the same
// database. The matrix of causes and readers.
func TestSec_B3_EveryReadIsLive(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		endpoints := []*testidp.IDP{idp}
		if engine == "postgres" {
			endpoints = append(endpoints, testidp.StartProcess(t, testidp.Options{URL: idp.URL}).IDP)
		}
		ctx := context.Background()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			end    func(rp *testidp.RP, who testidp.Person, b *testidp.Browser)
			client int // what the token endpoint says: 400 invalid_grant, or 401 when the client itself is gone
		}{
			"disable user": {func(_ *testidp.RP, who testidp.Person, _ *testidp.Browser) {
				must(idp.Store.DisableUser(ctx, "cli", who.ID, "test"))
			}, 400},
			"revoke consent": {func(rp *testidp.RP, who testidp.Person, _ *testidp.Browser) {
				must(idp.Store.RevokeConsent(ctx, "cli", who.ID, rp.ID))
			}, 400},
			"disable client": {func(rp *testidp.RP, _ testidp.Person, _ *testidp.Browser) {
				must(idp.Store.SetClientDisabled(ctx, "cli", rp.ID, true))
			}, 401},
			"password reset": {func(_ *testidp.RP, who testidp.Person, _ *testidp.Browser) {
				phc, err := idp.Server.Passwords().Hash(ctx, "another long password")
				must(err)
				must(idp.Store.SetPassword(ctx, "cli", who.ID, phc, false, ""))
			}, 400},
			"sign-out everywhere": {func(_ *testidp.RP, who testidp.Person, _ *testidp.Browser) {
				must(idp.Store.EndSessionsOf(ctx, who.ID, "", "everywhere", true))
			}, 400},
			"validity over": {func(_ *testidp.RP, who testidp.Person, _ *testidp.Browser) {
				u, err := idp.Store.User(ctx, who.ID)
				must(err)
				u.ValidUntil = store.At(time.Now().Add(-time.Second))
				must(idp.Store.UpdateUser(ctx, u))
			}, 400},
		} {
			who := idp.User(testidp.Person{})
			b := idp.Browser()
			m := refreshing(store.ClientMetadata{RedirectURIs: []string{"https://rp.example/callback"}})
			rp := idp.RP(m)
			set := tokens(t, b, rp, who)
			pending, a := code(t, b, rp, who)
			if s, _ := rp.UserInfo(set.AccessToken); s != 200 {
				t.Fatalf("%s: userinfo before: %d", name, s)
			}
			c.end(rp, who, b)
			if c.client == 401 {
				time.Sleep(1200 * time.Millisecond) // other processes notice a client's change within a second
			}
			watcher := idp.RP(store.ClientMetadata{Introspect: "any"})
			for n, e := range endpoints {
				r := e.RPOf(rp.ID, rp.Secret, m)
				if s, _ := r.UserInfo(set.AccessToken); s != http.StatusUnauthorized {
					t.Errorf("%s: userinfo at process %d: %d", name, n+1, s)
				}
				w := e.RPOf(watcher.ID, watcher.Secret, m)
				if got := w.Introspect(set.AccessToken); got.Status != 200 || got.JSON["active"] != false {
					t.Errorf("%s: introspection at process %d: %s", name, n+1, got.Body)
				}
				code := "invalid_grant"
				if c.client == 401 {
					code = "invalid_client"
				}
				wantError(t, r.Token(refreshForm(set.RefreshToken)), c.client, code)
				wantError(t, r.Redeem(pending, a.Verifier), c.client, code)
			}
		}
	})
}

// TestSec_B4_PrivilegesAreThoseOfNow: taking a privilege away shows at userinfo, introspection and refresh at once.
func TestSec_B4_PrivilegesAreThoseOfNow(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{Privileges: []string{"user", "trainer"}})
	for _, format := range []string{"jwt", "opaque"} {
		idp.Grant(ada, "developer")
		rp := idp.RP(refreshing(store.ClientMetadata{AccessTokenFormat: format}))
		set := tokens(t, idp.Browser(), rp, ada)
		list := func(m map[string]any) (out string) {
			for _, v := range m["privileges"].([]any) {
				out += v.(string) + " "
			}
			return out
		}
		if got := list(set.Claims); got != "developer trainer user " {
			t.Errorf("ID token: %s", got)
		}
		idp.Revoke(ada, "developer")
		_, info := rp.UserInfo(set.AccessToken)
		next, err := rp.Refresh(set)
		if err != nil {
			t.Fatal(err)
		}
		for where, m := range map[string]map[string]any{"userinfo": info, "introspection": rp.Introspect(set.AccessToken).JSON, "refreshed ID token": next.Claims} {
			if got := list(m); got != "trainer user " {
				t.Errorf("%s, %s: %s", format, where, got)
			}
		}
	}
}

// TestStatementsPerRequest holds the budget of docs/performance.md: what each request costs the database.
func TestStatementsPerRequest(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		opts := testidp.Options{Engine: engine}
		opts.Server.NoBackground = true
		idp := testidp.Start(t, opts)
		ada := idp.User(testidp.Person{Privileges: []string{"user", "trainer"}})
		b := idp.Browser()
		rp := idp.RP(refreshing(store.ClientMetadata{RefreshRotation: "always"}))
		machine := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api"})
		set := tokens(t, b, rp, ada)
		machine.Token(map[string][]string{"grant_type": {"client_credentials"}})

		count := func(name string, reads, writes int64, f func()) {
			t.Helper()
			before := idp.Store.Counts()
			f()
			after := idp.Store.Counts()
			r, w := after.Reads-before.Reads, after.Writes-before.Writes
			t.Logf("%s: %d reads, %d writes", name, r, w)
			if r > reads || w != writes {
				t.Errorf("%s: %d reads and %d writes, budget %d and %d", name, r, w, reads, writes)
			}
			if engine == "postgres" && after.Transactions != before.Transactions {
				t.Errorf("%s: %d transactions", name, after.Transactions-before.Transactions)
			}
		}
		a := rp.Start()
		var c string
		count("authorize, session and known consent", 3, 0, func() { c = rp.Code(a, b.Get(a.URL).URL) })
		count("code exchange", 1, 1, func() {
			if r := rp.Redeem(c, a.Verifier); r.Status != 200 {
				t.Error(r.Body)
			}
		})
		count("refresh", 3, 1, func() {
			if _, err := rp.Refresh(set); err != nil {
				t.Error(err)
			}
		})
		// What a person holds costs a token request nothing that who holds nothing does not cost.
		bare := tokens(t, idp.Browser(), rp, idp.User(testidp.Person{}))
		count("refresh of who holds nothing", 3, 1, func() {
			if _, err := rp.Refresh(bare); err != nil {
				t.Error(err)
			}
		})
		count("client_credentials", 0, 0, func() {
			if r := machine.Token(map[string][]string{"grant_type": {"client_credentials"}}); r.Status != 200 {
				t.Error(r.Body)
			}
		})
		count("introspection", 2, 0, func() { rp.Introspect(set.AccessToken) })
		count("userinfo", 2, 0, func() { rp.UserInfo(set.AccessToken) })
		count("jwks", 0, 0, func() { idp.Get("/oauth2/jwks") })
		count("discovery", 0, 0, func() { idp.Get("/.well-known/openid-configuration") })
		count("a forged refresh token", 0, 0, func() { rp.Token(refreshForm("rt_" + set.RefreshToken[3:70] + "AAA")) })
		count("a forged code", 0, 0, func() { rp.Redeem("ac_"+set.RefreshToken[3:], a.Verifier) })
		count("a forged access token", 0, 0, func() { rp.UserInfo("at_" + set.RefreshToken[3:]) })
	})
}

// TestReauthenticationKeepsOtherApplications: signing in again for one application does not take away what the others were given; a
// sign-out after it does; and a sign-in as somebody else ends the old person's session for all.
func TestReauthenticationKeepsOtherApplications(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada, eve := idp.User(testidp.Person{}), idp.User(testidp.Person{})
		wiki, bank := idp.RP(store.ClientMetadata{Name: "Wiki"}), idp.RP(store.ClientMetadata{Name: "Bank"})
		b := idp.Browser()
		first := tokens(t, b, wiki, ada)
		cookie := b.Cookie("__Host-latchkey")
		a := bank.Start("prompt", "login")
		second := bank.Finish(a, through(t, b, a, ada).URL)
		if b.Cookie("__Host-latchkey") == cookie {
			t.Error("the session id did not change at the sign-in (security.md C1)")
		}
		if first.Claims["sid"] != second.Claims["sid"] {
			t.Error("the same person's sign-in changed the sid")
		}
		if s, _ := wiki.UserInfo(first.AccessToken); s != http.StatusOK {
			t.Errorf("signing in again at one application took the other's tokens: %d", s)
		}
		a = bank.Start("prompt", "login")
		other := bank.Finish(a, through(t, b, a, eve).URL)
		if other.Claims["sid"] == second.Claims["sid"] {
			t.Error("two people share a sid")
		}
		for what, tok := range map[string]struct {
			rp  *testidp.RP
			tok string
		}{"wiki": {wiki, first.AccessToken}, "bank": {bank, second.AccessToken}} {
			if s, _ := tok.rp.UserInfo(tok.tok); s != http.StatusUnauthorized {
				t.Errorf("%s: the person before still counts: %d", what, s)
			}
		}
		b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
		if s, _ := bank.UserInfo(other.AccessToken); s != http.StatusUnauthorized {
			t.Errorf("after the sign-out: %d", s)
		}
	})
}
