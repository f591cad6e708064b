package connectors_test

import (
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSignIn: the good path of each connector, and what it sends.
func TestSignIn(t *testing.T) {
	t.Parallel()
	want := map[string]connectors.Identity{
		"oidc": {Subject: "ana", Email: "ana@example.com", EmailTrust: connectors.TrustVerified, Name: "Ana Flores", GivenName: "Ana", FamilyName: "Flores",
			Username: "ana", PictureURL: "https://id.example/ana.png", Locale: "es-MX", SID: "sid-ana"},
		"google": {Subject: "104729000000000000017", Email: "ada@gmail.com", EmailTrust: connectors.TrustAuthoritative, Name: "Ada L", GivenName: "Ada", FamilyName: "L",
			PictureURL: "https://lh3.googleusercontent.com/a/ada", Locale: "en"},
		"azure": {Issuer: connectortest.TenantA, Subject: "a0000000-0000-4000-8000-00000000000a", Email: "ada@work.example", EmailTrust: connectors.TrustVerified,
			Name: "Ada Work", Username: "ada@work.example"},
	}
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			got, err := signIn(t.Context(), c, up, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			w := want[name]
			w.Connector = "it"
			if w.Issuer == "" {
				w.Issuer = got.Claims["iss"].(string)
			}
			for _, secret := range []string{"nonce", "at_hash", "jti", "access_token", "id_token", "_claim_sources", "rh", "uti"} {
				if _, ok := got.Claims[secret]; ok {
					t.Errorf("claims hold %s", secret)
				}
			}
			if got.Claims["sub"] == "" {
				t.Error("claims hold no sub")
			}
			claims := got.Claims
			got.Claims = nil
			if !same(got, w) {
				t.Errorf("got  %+v\nwant %+v\nclaims %v", got, w, claims)
			}

			q := up.Requests("authorize")[0].Form
			for _, p := range []string{"state", "nonce", "code_challenge"} {
				if len(q.Get(p)) < 26 {
					t.Errorf("%s is %q", p, q.Get(p))
				}
			}
			if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("scope") != "openid profile email" {
				t.Errorf("authorization request: %v", q)
			}
			tokens := up.Requests("token")
			if len(tokens) != 1 || tokens[0].Form.Get("code_verifier") == "" {
				t.Errorf("%d token requests: %v", len(tokens), tokens)
			}
			// What is known is not asked again.
			if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
				t.Fatal(err)
			}
			// Azure asks two issuers: common for its addresses, the tenant for its keys.
			if n := len(up.Requests("discovery")); n > 2 || name != "azure" && n != 1 {
				t.Errorf("%d discoveries", n)
			}
			if n := len(up.Requests("keys")); n != 1 {
				t.Errorf("keys were fetched %d times", n)
			}
		})
	}
}

func same(a, b connectors.Identity) bool {
	return a.Connector == b.Connector && a.Issuer == b.Issuer && a.Subject == b.Subject && a.Email == b.Email && a.EmailTrust == b.EmailTrust &&
		a.Name == b.Name && a.GivenName == b.GivenName && a.FamilyName == b.FamilyName && a.Username == b.Username && a.PictureURL == b.PictureURL &&
		a.Locale == b.Locale && a.SID == b.SID && a.IDToken == b.IDToken && a.AccessToken == b.AccessToken
}

// TestSignInEndsOtherwise: a person cancels, the provider has trouble of its own.
func TestSignInEndsOtherwise(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			_, err := signIn(t.Context(), c, up, connectortest.Cancel)
			wantKind(t, err, connectors.Denied)
			_, err = signIn(t.Context(), c, up, connectortest.Failure)
			wantKind(t, err, connectors.Upstream)
			if e := err.(*connectors.Error); e.Code != "server_error" || e.Detail != "Something; went wrong." {
				t.Errorf("%q %q", e.Code, e.Detail)
			}
			if n := len(up.Requests("token")); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// TestSec_E10_BadIDTokens: every deviation of an ID Token is refused, by each connector; the same person comes in before and after.
func TestSec_E10_BadIDTokens(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := connectortest.Forgeries()
			if e, ok := up.fake.(*connectortest.Entra); ok {
				list = append(list, e.Forgeries()...)
			}
			if len(list) < 25 {
				t.Fatalf("only %d forgeries", len(list))
			}
			// Each is tried on a connector that knows the keys: nothing may pass because nothing could be fetched.
			for _, f := range list {
				c := up.make(nil)
				up.Forge(nil)
				if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
					t.Fatalf("a good token before %q: %v", f.Name, err)
				}
				up.Forge(f.Change)
				id, err := signIn(t.Context(), c, up, connectortest.Continue)
				if err == nil {
					t.Errorf("%s: accepted as %+v", f.Name, id)
				} else if connectors.KindOf(err) != connectors.Invalid {
					t.Errorf("%s: %v", f.Name, err)
				}
			}
		})
	}
}
