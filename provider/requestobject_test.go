package provider_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// signing is a client that signs its requests with alg; more may change it.
func signing(idp *testidp.IDP, alg string, more ...func(*store.ClientMetadata)) *testidp.RP {
	off := false
	m := store.ClientMetadata{RequirePKCE: &off, Scope: "openid profile email", JWKS: published("r", rsaKey(), "e", ecKey(), "d", edKey()), RequestObjectAlg: alg,
		RedirectURIs: []string{"https://rp.example/callback", "https://rp.example/other"}, Resources: []string{"https://api.example", "https://b.example"}}
	for _, f := range more {
		f(&m)
	}
	return idp.RP(m)
}

// objectOf are the claims of a request object that asks for what a plain request would.
func objectOf(idp *testidp.IDP, rp *testidp.RP, pairs ...any) object {
	return with(object{"iss": rp.ID, "aud": idp.Issuer, "client_id": rp.ID, "response_type": "code", "scope": "openid", "redirect_uri": rp.RedirectURI,
		"state": rand.Text(), "nonce": rand.Text(), "exp": idp.Now().Add(5 * time.Minute).Unix()}, pairs...)
}

// asking is the address of a request with an object; more are plain parameters beside it in pairs.
func asking(idp *testidp.IDP, rp *testidp.RP, param, value string, more ...string) string {
	q := url.Values{"client_id": {rp.ID}, "response_type": {"code"}, "scope": {"openid"}, param: {value}}
	for i := 0; i < len(more); i += 2 {
		if q.Set(more[i], more[i+1]); more[i+1] == "" {
			q.Del(more[i])
		}
	}
	return idp.Issuer + "/oauth2/authorize?" + q.Encode()
}

// TestOIDCC_RequestURISignedRS256 is request-uri-signed-rs256, and the same by value with every algorithm.
func TestOIDCC_RequestURISignedRS256(t *testing.T) {
	t.Parallel()
	var web site
	idp := testidp.Start(t, testidp.Options{Server: withSite(&web)})
	ada := full(idp)
	b := idp.Browser()
	const at = "https://rp.example/requesturi/abc"
	for alg, key := range map[string]any{"RS256": rsaKey(), "PS256": rsaKey(), "ES256": ecKey(), "EdDSA": edKey()} {
		rp := signing(idp, alg, func(m *store.ClientMetadata) {
			// The suite registers an address with a fragment that is no hash of anything (OIDC Core §6.2 lets it be one).
			m.RequestURIs = []string{at + "#4e4tNKUO9TX7ytMmUJxpLSVvO3BBQF2_BgPM1qTDDLU"}
		})
		for _, how := range []string{"request", "request_uri"} {
			o := objectOf(idp, rp, "exp", nil) // the suite sends none
			value := mint(key, object{"alg": alg}, o)
			if how == "request_uri" {
				web.put(at, value+"\n")
				value = at + "#4e4tNKUO9TX7ytMmUJxpLSVvO3BBQF2_BgPM1qTDDLU"
			}
			a := testidp.Attempt{URL: asking(idp, rp, how, value), State: o["state"].(string), Nonce: o["nonce"].(string)}
			r, _ := redeem(t, rp, a, run(t, b, a, ada))
			if r.Status != 200 {
				t.Errorf("%s %s: %s", alg, how, r.Body)
			}
		}
	}
}

// TestOIDCC_UnsignedRequestObjects: the modules with unsigned objects are skipped, because none is not announced; and would be refused.
func TestOIDCC_UnsignedRequestObjects(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	plain, rp := certified(idp, ""), signing(idp, "RS256")
	m := rp.Metadata()
	if m["request_parameter_supported"] != true || m["request_uri_parameter_supported"] != true || m["require_request_uri_registration"] != true {
		t.Errorf("%v", m)
	}
	for _, c := range []struct {
		rp         *testidp.RP
		param, val string
		want       string
	}{
		{plain, "request", mint(nil, object{"alg": "none"}, objectOf(idp, plain)), "request_not_supported"},
		{plain, "request_uri", "https://rp.example/r", "request_uri_not_supported"},
		{rp, "request", mint(nil, object{"alg": "none"}, objectOf(idp, rp)), "invalid_request_object"},
		{rp, "request_uri", "https://rp.example/r", "request_uri_not_supported"}, // none is registered
	} {
		q := idp.Browser().Get(asking(idp, c.rp, c.param, c.val, "redirect_uri", c.rp.RedirectURI, "state", "s")).URL.Query()
		if q.Get("error") != c.want || q.Get("state") != "s" {
			t.Errorf("%s: %v", c.want, q)
		}
	}
}

// TestOIDCC_EnsureRequestObjectWithRedirectURI: what is within counts over what is beside it.
func TestOIDCC_EnsureRequestObjectWithRedirectURI(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	b := idp.Browser()
	rp := signing(idp, "ES256", func(m *store.ClientMetadata) { m.FirstParty = true })
	es := object{"alg": "ES256", "kid": "e"}
	send := func(o object, typ string, more ...string) url.Values {
		t.Helper()
		p := through(t, b, testidp.Attempt{URL: asking(idp, rp, "request", mint(ecKey(), with(es, "typ", typ), o), more...)}, ada)
		q := p.URL.Query()
		q.Set("at", p.URL.Path)
		return q
	}
	// Address, state and nonce of the object win; a claims request and resources come as JSON.
	o := objectOf(idp, rp, "redirect_uri", "https://rp.example/other", "claims", object{"id_token": object{"email": object{"essential": true}}},
		"resource", []string{"https://api.example", "https://b.example"}, "max_age", 10000, "ui_locales", "de", "unknown", object{"a": 1})
	q := send(o, "JWT", "redirect_uri", rp.RedirectURI, "state", "outside", "nonce", "outside", "max_age", "0")
	if q.Get("at") != "/other" || q.Get("state") != o["state"] {
		t.Fatalf("%v", q)
	}
	other := *rp
	other.RedirectURI = "https://rp.example/other"
	r := other.Redeem(q.Get("code"), "")
	_, id := jwtClaims(t, r.String("id_token"))
	_, access := jwtClaims(t, r.String("access_token"))
	if id["nonce"] != o["nonce"] || id["email"] != ada.Email || fmt.Sprint(access["aud"]) != "[https://api.example https://b.example "+idp.Issuer+"]" {
		t.Errorf("%v %v", id, access)
	}
	// What only stands beside it is added, but not to an RFC 9101 request, which stands alone.
	beside := objectOf(idp, rp, "nonce", nil, "state", nil, "max_age", "10000")
	if q := send(beside, "jwt", "state", "outside", "prompt", "none"); q.Get("code") == "" || q.Get("state") != "outside" {
		t.Errorf("%v", q)
	}
	alone := "oauth-authz-req+jwt"
	if q := send(beside, alone, "state", "outside", "response_type", "", "scope", "", "max_age", "0", "prompt", "login"); q.Get("code") == "" || q.Has("state") {
		t.Errorf("%v", q)
	}
	if q := send(objectOf(idp, rp, "response_type", nil), alone); q.Get("error") != "invalid_request" {
		t.Errorf("an RFC 9101 request without response_type: %v", q)
	}
}

// TestSec_A14_RequestObjectsRefused: whatever is wrong, nobody is sent anywhere that the object alone names, and no code is issued.
func TestSec_A14_RequestObjectsRefused(t *testing.T) {
	t.Parallel()
	var web site
	idp := testidp.Start(t, testidp.Options{Server: withSite(&web)})
	ada := full(idp)
	b := idp.Browser()
	const at = "https://rp.example/r"
	rp := signing(idp, "ES256", func(m *store.ClientMetadata) { m.RequestURIs = []string{at, "https://rp.example/gone"} })
	stranger := signing(idp, "EdDSA", func(m *store.ClientMetadata) { m.JWKS = published("s", edKey()) })
	es := object{"alg": "ES256", "kid": "e"}
	through(t, b, testidp.Attempt{URL: asking(idp, rp, "request", mint(ecKey(), es, objectOf(idp, rp)))}, ada) // signed in and agreed: any code would come at once
	in := func(d time.Duration) int64 { return idp.Now().Add(d).Unix() }
	o := func(pairs ...any) object { return objectOf(idp, rp, pairs...) }
	good := mint(ecKey(), es, o())
	parts := strings.Split(good, ".")
	secret := []byte(rp.Secret)
	for name, jwt := range map[string]string{
		"none":                   mint(nil, object{"alg": "none"}, o()),
		"None":                   mint(nil, object{"alg": "None"}, o()),
		"no signature":           parts[0] + "." + parts[1] + ".",
		"another alg":            mint(rsaKey(), object{"alg": "RS256", "kid": "r"}, o()),
		"HS256 with the secret":  mint(secret, object{"alg": "HS256"}, o()),
		"HS256 with the JWKS":    mint([]byte(published("e", ecKey())), object{"alg": "HS256", "kid": "e"}, o()),
		"another client's key":   mint(edKey(), object{"alg": "ES256", "kid": "e"}, o()),
		"unknown kid":            mint(ecKey(), with(es, "kid", "zz"), o()),
		"jwk":                    mint(ecKey(), with(es, "jwk", object{"kty": "EC"}), o()),
		"jku":                    mint(ecKey(), with(es, "jku", "https://evil.example"), o()),
		"x5u":                    mint(ecKey(), with(es, "x5u", "https://evil.example"), o()),
		"crit":                   mint(ecKey(), with(es, "crit", []string{"x"}), o()),
		"an access token's typ":  mint(ecKey(), with(es, "typ", "at+jwt"), o()),
		"no iss":                 mint(ecKey(), es, o("iss", nil)),
		"foreign iss":            mint(ecKey(), es, o("iss", stranger.ID)),
		"no aud":                 mint(ecKey(), es, o("aud", nil)),
		"foreign aud":            mint(ecKey(), es, o("aud", "https://other.example")),
		"expired":                mint(ecKey(), es, o("exp", in(-time.Minute))),
		"exp in two hours":       mint(ecKey(), es, o("exp", in(2*time.Hour))),
		"exp no number":          mint(ecKey(), es, o("exp", "later")),
		"nbf to come":            mint(ecKey(), es, o("nbf", in(time.Hour))),
		"an assertion":           mint(ecKey(), es, claimsOf(idp, rp.ID)),
		"foreign client_id":      mint(ecKey(), es, o("client_id", stranger.ID)),
		"client_id a list":       mint(ecKey(), es, o("client_id", []string{rp.ID})),
		"other response_type":    mint(ecKey(), es, o("response_type", "token")),
		"request within":         mint(ecKey(), es, o("request", good)),
		"request_uri within":     mint(ecKey(), es, o("request_uri", at)),
		"max_age a fraction":     mint(ecKey(), es, o("max_age", 0.5)),
		"max_age true":           mint(ecKey(), es, o("max_age", true)),
		"max_age null":           mint(ecKey(), es, `{"max_age":null,`+string(must1(decode(strings.Split(mint(ecKey(), es, o()), ".")[1])))[1:]),
		"prompt a list":          mint(ecKey(), es, o("prompt", []string{"login"})),
		"scope twice":            mint(ecKey(), es, `{"scope":"openid",`+string(must1(decode(strings.Split(mint(ecKey(), es, o()), ".")[1])))[1:]),
		"JSON serialisation":     fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"encrypted":              parts[0] + ".a.b.c." + parts[2],
		"a JSON object unsigned": string(must1(decode(parts[1]))),
		"long":                   good + strings.Repeat("A", 7000),
		"empty":                  "",
	} {
		p := b.Get(asking(idp, rp, "request", jwt, "redirect_uri", rp.RedirectURI, "state", "s"))
		if q := p.URL.Query(); q.Get("error") != "invalid_request_object" || q.Get("state") != "s" || q.Has("code") {
			t.Errorf("%s: %s", name, p)
		}
		// Without a registered address beside it there is nobody to tell: a page.
		for _, uri := range []string{"", "https://evil.example/"} {
			if p := b.Get(asking(idp, rp, "request", jwt, "redirect_uri", uri)); p.Status != 400 || !p.Has("error-page") || p.Text("error-code") != "invalid_request_object" {
				t.Errorf("%s, redirect_uri %q: %s", name, uri, p)
			}
		}
	}
	// An object that is good says things that are not.
	for want, jwt := range map[string]string{
		"invalid_scope":              mint(ecKey(), es, o("scope", "openid admin")),
		"invalid_target":             mint(ecKey(), es, o("resource", []string{"https://c.example"})),
		"registration_not_supported": mint(ecKey(), es, o("registration", object{})),
		"invalid_request":            mint(ecKey(), es, o("max_age", -1)),
	} {
		if q := b.Get(asking(idp, rp, "request", jwt)).URL.Query(); q.Get("error") != want {
			t.Errorf("%s: %v", want, q)
		}
	}
	if p := b.Get(asking(idp, rp, "request", mint(ecKey(), es, o("redirect_uri", "https://evil.example/")), "redirect_uri", rp.RedirectURI)); !p.Has("error-page") {
		t.Errorf("an address that only the object names: %s", p)
	}

	// By reference: only what is registered is fetched, and trouble on the way is told without a word about the network.
	web.put("https://rp.example/other", good)
	for _, uri := range []string{"https://rp.example/other", at + "?x", at + "#x", "http://rp.example/r", "https://127.0.0.1/r", "https://rp.example/gone", "urn:x", "file:///etc/passwd"} {
		q := b.Get(asking(idp, rp, "request_uri", uri, "redirect_uri", rp.RedirectURI)).URL.Query()
		if q.Get("error") != "invalid_request_uri" || strings.Contains(q.Get("error_description"), "404") {
			t.Errorf("%s: %v", uri, q)
		}
	}
	if n := web.count("https://rp.example/other"); n != 0 {
		t.Errorf("an address that is not registered was fetched %d times", n)
	}
	web.put(at, "<html>")
	if q := b.Get(asking(idp, rp, "request_uri", at, "redirect_uri", rp.RedirectURI)).URL.Query(); q.Get("error") != "invalid_request_object" {
		t.Errorf("%v", q)
	}
	for _, more := range [][]string{{"request_uri", at}, {"request", good}} {
		u := asking(idp, rp, "request", good, "redirect_uri", rp.RedirectURI) + "&" + url.Values{more[0]: {more[1]}}.Encode()
		if q := b.Get(u).URL.Query(); q.Get("error") != "invalid_request" {
			t.Errorf("two objects: %v", q)
		}
	}
	if q := b.Get(asking(idp, rp, "request", good)).URL.Query(); q.Get("code") == "" {
		t.Errorf("a good one: %v", q)
	}
}

// TestSec_A14_MaxAgeWithin: a number within a request object asks for a fresh sign-in, as the parameter does.
func TestSec_A14_MaxAgeWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := full(idp)
		b := idp.Browser()
		rp := signing(idp, "ES256")
		get := func(pairs ...any) *testidp.Page {
			return b.Get(asking(idp, rp, "request", mint(ecKey(), object{"alg": "ES256"}, objectOf(idp, rp, pairs...))))
		}
		through(t, b, testidp.Attempt{URL: asking(idp, rp, "request", mint(ecKey(), object{"alg": "ES256"}, objectOf(idp, rp)))}, ada)
		time.Sleep(3 * time.Second)
		for _, age := range []any{0, 1, "0"} {
			get("max_age", age).Want(http.StatusOK, "login-title")
		}
		get("prompt", "login").Want(http.StatusOK, "login-title")
		if p := get("max_age", 10); p.Status != 0 || !p.URL.Query().Has("code") {
			t.Errorf("max_age 10 after 3 s: %s", p)
		}
	})
}

// TestSec_A14_OneAnswerForOneObject: a request object with a jti brings one code. Reloading the page on the way, and another browser's start, do no harm.
func TestSec_A14_OneAnswerForOneObject(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	rp := signing(idp, "ES256")
	at := asking(idp, rp, "request", mint(ecKey(), object{"alg": "ES256"}, objectOf(idp, rp, "jti", "one")))
	b, other := idp.Browser(), idp.Browser()
	b.Get(at).Want(200, "login-title")
	other.Get(at).Want(200, "login-title")
	p := through(t, b, testidp.Attempt{URL: at}, ada) // with the stored request: the marker comes along
	if !p.URL.Query().Has("code") {
		t.Fatal(p)
	}
	for name, who := range map[string]*testidp.Browser{"again": b, "another browser": other} {
		if q := through(t, who, testidp.Attempt{URL: at}, ada).URL.Query(); q.Get("error") != "invalid_request_object" || q.Has("code") {
			t.Errorf("%s: %v", name, q)
		}
	}
}

// TestSec_A14_SignedRequestsOnly: a client that wants it takes no plain request, whatever stands within it.
func TestSec_A14_SignedRequestsOnly(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	b := idp.Browser()
	rp := signing(idp, "ES256", func(m *store.ClientMetadata) { m.RequireRequestObject = true })
	for _, more := range [][]string{nil, {"latchkey:stored", "1"}} {
		if q := b.Get(rp.Start(more...).URL).URL.Query(); q.Get("error") != "invalid_request" {
			t.Errorf("%v", q)
		}
	}
	at := asking(idp, rp, "request", mint(ecKey(), object{"alg": "ES256"}, objectOf(idp, rp)))
	if q := through(t, b, testidp.Attempt{URL: at}, ada).URL.Query(); !q.Has("code") {
		t.Errorf("%v", q)
	}
}

// TestOIDCC_UserinfoRS256: userinfo-rs256, and the other algorithms. The answer names issuer and client, is signed with a published key, and is neither an
// ID token hint nor an access token.
func TestOIDCC_UserinfoRS256(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	b := idp.Browser()
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		rp := idp.RP(store.ClientMetadata{UserinfoAlg: alg, FirstParty: true})
		set := tokens(t, b, rp, ada)
		r := bearing(t, idp, set.AccessToken)
		if r.Status != 200 || r.Header.Get("Content-Type") != "application/jwt" || r.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v %s", alg, r.Status, r.Header, r.Body)
		}
		jws := must1(jose.ParseSignedCompact(r.Body, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}))
		published := jwks(t, idp)
		key := published.Key(jws.Signatures[0].Protected.KeyID)
		if len(key) != 1 {
			t.Fatalf("%s: kid %q", alg, jws.Signatures[0].Protected.KeyID)
		}
		var c object
		must1(0, json.Unmarshal(must1(jws.Verify(key[0].Key)), &c))
		if c["iss"] != idp.Issuer || c["aud"] != rp.ID || c["sub"] != set.IDToken.Subject || c["email"] != ada.Email {
			t.Errorf("%s: %v", alg, c)
		}
		if q := b.Get(rp.Start("prompt", "none", "id_token_hint", r.Body).URL).URL.Query(); q.Get("error") != "invalid_request" {
			t.Errorf("%s: as a hint: %v", alg, q)
		}
		if r := bearing(t, idp, r.Body); r.Status != 401 {
			t.Errorf("%s: as an access token: %d", alg, r.Status)
		}
	}
	// What is refused stays JSON.
	if r := bearing(t, idp, "x"); r.Status != 401 || r.JSON["error"] != "invalid_token" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// bearing asks userinfo with a token.
func bearing(t *testing.T, idp *testidp.IDP, token string) testidp.Response {
	t.Helper()
	req := must1(http.NewRequest(http.MethodGet, idp.Issuer+"/oauth2/userinfo", nil))
	req.Header.Set("Authorization", "Bearer "+token)
	return send(t, idp, req)
}

// TestSec_A14_OneObjectAtOnce: of six browsers that come with one request object in the same moment, one gets a code.
func TestSec_A14_OneObjectAtOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := full(idp)
		rp := signing(idp, "ES256", func(m *store.ClientMetadata) { m.FirstParty = true })
		ask := func(pairs ...any) testidp.Attempt {
			return testidp.Attempt{URL: asking(idp, rp, "request", mint(ecKey(), object{"alg": "ES256"}, objectOf(idp, rp, pairs...)))}
		}
		browsers := make([]*testidp.Browser, 6)
		for i := range browsers {
			browsers[i] = idp.Browser()
			through(t, browsers[i], ask(), ada)
		}
		for n := range 3 {
			a := ask("jti", fmt.Sprint("once ", n))
			var mu sync.Mutex
			got := map[string]int{}
			var wg sync.WaitGroup
			for _, b := range browsers {
				wg.Go(func() {
					q := b.Get(a.URL).URL.Query()
					mu.Lock()
					defer mu.Unlock()
					if got[q.Get("error")]++; q.Has("code") {
						got["code"]++
					}
				})
			}
			wg.Wait()
			if got["code"] != 1 || got["invalid_request_object"] != 5 {
				t.Fatalf("six at once: %v", got)
			}
		}
	})
}
