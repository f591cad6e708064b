package provider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

func jwks(t testing.TB, idp *testidp.IDP) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	status, body := idp.Get("/oauth2/jwks")
	if status != 200 {
		t.Fatalf("JWKS: %d", status)
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || k.KeyID == "" || k.Use != "sig" || k.Algorithm == "" {
			t.Errorf("key %q: public %v use %q alg %q", k.KeyID, k.IsPublic(), k.Use, k.Algorithm)
		}
	}
	return set
}

// TestRFC9068_AccessTokens checks the profile with an independent verifier: header, required claims, ten minutes.
func TestRFC9068_AccessTokens(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{Privileges: []string{"user"}})
	b := idp.Browser()
	rp := idp.RP(refreshing(store.ClientMetadata{Resources: []string{"https://api.example"}}))
	machine := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "read write", Resources: []string{"https://api.example"}})
	set := tokens(t, b, rp, ada)
	m := machine.Token(url.Values{"grant_type": {"client_credentials"}})
	if m.Status != 200 || m.String("scope") != "read write" || m.String("refresh_token") != "" || m.String("id_token") != "" {
		t.Fatalf("client_credentials: %s", m.Body)
	}
	keys := jwks(t, idp)
	for name, c := range map[string]struct{ tok, sub, client string }{
		"person":  {set.AccessToken, ada.ID, rp.ID},
		"machine": {m.String("access_token"), machine.ID, machine.ID},
	} {
		jws, err := jose.ParseSignedCompact(c.tok, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h := jws.Signatures[0].Protected
		if h.ExtraHeaders[jose.HeaderType] != "at+jwt" {
			t.Errorf("%s: typ %v", name, h.ExtraHeaders[jose.HeaderType])
		}
		ks := keys.Key(h.KeyID)
		if len(ks) != 1 {
			t.Fatalf("%s: kid %q in the JWKS %d times", name, h.KeyID, len(ks))
		}
		if _, err := jws.Verify(ks[0].Key); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, got := jwtClaims(t, c.tok)
		if got["iss"] != idp.Issuer || got["sub"] != c.sub || got["client_id"] != c.client || got["jti"] == "" || got["exp"].(float64)-got["iat"].(float64) != 600 {
			t.Errorf("%s: %v", name, got)
		}
		if aud := got["aud"].([]any); aud[0] != "https://api.example" {
			t.Errorf("%s: aud %v", name, aud)
		}
		for _, never := range []string{"email", "name", "nonce"} {
			if got[never] != nil {
				t.Errorf("%s carries %s", name, never)
			}
		}
	}
	_, got := jwtClaims(t, set.AccessToken)
	if p, _ := json.Marshal(got["privileges"]); string(p) != `["user"]` || got["auth_time"] == nil || got["acr"] != "1" || got["sid"] == nil {
		t.Errorf("the person's: %v", got)
	}
}

func TestAlgorithmsByClient(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	for _, alg := range []string{"", "RS256", "ES256", "EdDSA", "PS256"} {
		rp := idp.RP(store.ClientMetadata{IDTokenAlg: alg, AccessTokenAlg: alg})
		set := tokens(t, b, rp, ada) // go-oidc verifies signature and at_hash, except for the algorithms it must be told of
		h, c := jwtClaims(t, set.RawID)
		ah, _ := jwtClaims(t, set.AccessToken)
		want, wantAccess := alg, alg
		if alg == "" {
			want, wantAccess = "RS256", "ES256"
		}
		if h["alg"] != want || ah["alg"] != wantAccess || h["typ"] != "JWT" {
			t.Errorf("%q: ID token %v, access token %v", alg, h, ah)
		}
		if c["at_hash"] == nil {
			t.Errorf("%q: no at_hash", alg)
		}
		if s, _ := rp.UserInfo(set.AccessToken); s != 200 {
			t.Errorf("%q: userinfo %d", alg, s)
		}
	}
}

func TestOpaqueAccessTokens(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(refreshing(store.ClientMetadata{AccessTokenFormat: "opaque"}))
	set := tokens(t, idp.Browser(), rp, ada)
	if !strings.HasPrefix(set.AccessToken, "at_") || strings.Contains(set.AccessToken, ".") {
		t.Fatalf("not opaque: %q", set.AccessToken)
	}
	if s, c := rp.UserInfo(set.AccessToken); s != 200 || c["sub"] != ada.ID {
		t.Errorf("userinfo %d %v", s, c)
	}
	if r := rp.Introspect(set.AccessToken); r.JSON["active"] != true || r.JSON["exp"].(float64)-r.JSON["iat"].(float64) != 600 {
		t.Errorf("introspection %s", r.Body)
	}
}

// TestSec_B7_AlgorithmConfusion: nothing but our own access tokens, whole and of their kind, is one.
func TestSec_B7_AlgorithmConfusion(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(refreshing(store.ClientMetadata{}))
	set := tokens(t, idp.Browser(), rp, ada)
	keys := jwks(t, idp)
	head, claims := jwtClaims(t, set.AccessToken)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var pub jose.JSONWebKey
	for _, k := range keys.Keys {
		if k.Algorithm == "RS256" {
			pub = k
		}
	}
	pubJSON, err := json.Marshal(pub)
	if err != nil {
		t.Fatal(err)
	}
	b64 := func(s string) string { return strings.TrimRight(encode(s), "=") }
	unsigned := func(h string) string { return b64(h) + "." + b64(string(payload)) + "." }
	hs := func(key []byte, kid string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", kid))
		if err != nil {
			t.Fatal(err)
		}
		j, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		out, err := j.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	kid := head["kid"].(string)
	parts := strings.Split(set.AccessToken, ".")
	bad := map[string]string{
		"none": unsigned(`{"alg":"none","typ":"at+jwt","kid":"` + kid + `"}`), "None": unsigned(`{"alg":"None","typ":"at+jwt","kid":"` + kid + `"}`), "nOnE": unsigned(`{"alg":"nOnE","typ":"at+jwt"}`),
		"HS256 with our public JWK": hs(pubJSON, pub.KeyID), "another kid": b64(`{"alg":"ES256","typ":"at+jwt","kid":"../../etc/passwd"}`) + "." + parts[1] + "." + parts[2],
		"SQL in the kid": b64(`{"alg":"ES256","typ":"at+jwt","kid":"' OR 1=1 --"}`) + "." + parts[1] + "." + parts[2], "RS256 under an ES256 kid": b64(`{"alg":"RS256","typ":"at+jwt","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"r=s=0": parts[0] + "." + parts[1] + "." + b64(strings.Repeat("\x00", 64)), "no signature": parts[0] + "." + parts[1] + ".", "two signatures": set.AccessToken + "." + parts[2],
		"embedded jwk": b64(`{"alg":"RS256","typ":"at+jwt","jwk":`+string(pubJSON)+`}`) + "." + parts[1] + "." + parts[2], "crit": b64(`{"alg":"ES256","typ":"at+jwt","kid":"`+kid+`","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2],
		"JSON serialisation": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "an ID token": set.RawID, "a refresh token": set.RefreshToken,
		"dots": strings.Repeat(".", 1<<20), "a megabyte": strings.Repeat("A", 1<<20), "nothing": "x", "line break": set.AccessToken + "%0a",
	}
	for name, tok := range bad {
		if len(tok) > 7000 { // a header cannot carry it; introspection can be asked in a body
			if r := rp.Introspect(tok[:60000]); r.Status != 200 || r.JSON["active"] != false {
				t.Errorf("%s: introspection %d %s", name, r.Status, r.Body)
			}
			continue
		}
		if s, _ := rp.UserInfo(tok); s != http.StatusUnauthorized {
			t.Errorf("%s: userinfo %d", name, s)
		}
		if name == "a refresh token" {
			continue // its own client may ask about it
		}
		if r := rp.Introspect(tok); r.Status != 200 || r.JSON["active"] != false {
			t.Errorf("%s: introspection %d %s", name, r.Status, r.Body)
		}
	}
}

// TestSec_B10_KeysRotateWithoutAFailure: token and hint of key n are good while n+1 signs, until their time is over; the JWKS has the
// next key a day before.
func TestSec_B10_KeysRotateWithoutAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ctx := context.Background()
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		rp := idp.RP(refreshing(store.ClientMetadata{}))
		kids := func() (out []string) {
			for _, k := range jwks(t, idp).Keys {
				out = append(out, k.KeyID)
			}
			slices.Sort(out)
			return out
		}
		before := kids()
		set := tokens(t, b, rp, ada)
		h1, _ := jwtClaims(t, set.RawID)

		if _, err := idp.Server.Keys().Rotate(ctx, "cli", "", false); err != nil {
			t.Fatal(err)
		}
		if got := kids(); len(got) != 2*len(before) {
			t.Errorf("the next keys are not published at once: %v", got)
		}
		mid := tokens(t, b, rp, ada)
		if h, _ := jwtClaims(t, mid.RawID); h["kid"] != h1["kid"] {
			t.Error("the next key signs before its day is over")
		}
		time.Sleep(24*time.Hour + time.Second)
		b = idp.Browser()
		after := tokens(t, b, rp, ada)
		h2, _ := jwtClaims(t, after.RawID)
		if h2["kid"] == h1["kid"] {
			t.Error("the next key does not sign after a day")
		}
		// Refresh tokens and hints of the old keys go on.
		if _, err := rp.Refresh(set); err != nil {
			t.Errorf("refresh across a rotation: %v", err)
		}
		a := rp.Start("prompt", "none", "id_token_hint", set.RawID)
		rp.Code(a, b.Get(a.URL).URL)

		// The scheduled rotation: nobody calls anything but the maintenance loop.
		for range 200 {
			time.Sleep(24 * time.Hour)
			if err := idp.Server.Keys().Maintain(ctx); err != nil {
				t.Fatal(err)
			}
		}
		late := tokens(t, idp.Browser(), rp, ada)
		if h, _ := jwtClaims(t, late.RawID); h["kid"] == h2["kid"] {
			t.Error("no scheduled rotation in 200 days")
		}
		if n := len(kids()); n > 3*len(before) {
			t.Errorf("%d keys in the JWKS", n)
		}

		// A key that leaked is retired: what it signed is void at once.
		if s, _ := rp.UserInfo(late.AccessToken); s != 200 { // seen before, so that a remembered signature is put to the test too
			t.Fatalf("before retiring: %d", s)
		}
		h3, _ := jwtClaims(t, late.AccessToken)
		if err := idp.Server.Keys().Retire(ctx, "cli", h3["kid"].(string)); err != nil {
			t.Fatal(err)
		}
		if s, _ := rp.UserInfo(late.AccessToken); s != 401 {
			t.Errorf("a token of a retired key: %d", s)
		}
		if slices.Contains(kids(), h3["kid"].(string)) {
			t.Error("a retired key is published")
		}
		if s, _ := rp.UserInfo(tokens(t, idp.Browser(), rp, ada).AccessToken); s != 200 {
			t.Errorf("no successor after retiring: %d", s)
		}
	})
}

// TestSec_B10_OneKeyPerAlgorithm: two processes on an empty database end with one key each.
func TestSec_B10_OneKeyPerAlgorithm(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		rows, err := idp.Store.SigningKeys(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, r := range rows {
			seen[r.Alg]++
			if strings.Contains(r.PrivateSealed, "PRIVATE") || len(r.PrivateSealed) < 40 {
				t.Errorf("key %s is not sealed", r.KID)
			}
		}
		for alg, n := range seen {
			if n != 1 {
				t.Errorf("%d keys for %s", n, alg)
			}
		}
	})
}
