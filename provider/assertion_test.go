package provider_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// machine is a client that acts for itself and proves itself by method.
func machine(method string) store.ClientMetadata {
	return store.ClientMetadata{TokenEndpointAuth: method, GrantTypes: []string{"client_credentials"}}
}

var machineForm = url.Values{"grant_type": {"client_credentials"}}

// TestOIDCC_ClientAssertions are the plans with private_key_jwt and client_secret_jwt: every algorithm, at every endpoint that authenticates clients,
// through a whole sign-in.
func TestOIDCC_ClientAssertions(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	b := idp.Browser()
	for alg, key := range map[string]any{"RS256": rsaKey(), "PS256": rsaKey(), "ES256": ecKey(), "EdDSA": edKey(), "HS256": nil} {
		m := refreshing(store.ClientMetadata{TokenEndpointAuth: "private_key_jwt", JWKS: published("r", rsaKey(), "e", ecKey(), "d", edKey())})
		if alg == "HS256" {
			m.TokenEndpointAuth, m.JWKS = "client_secret_jwt", nil
		}
		rp := idp.RP(m)
		if alg == "HS256" {
			key = []byte(rp.Secret)
		}
		asserting(idp, rp, key, object{"alg": alg}) // no kid: every key that fits is tried
		a := rp.Start("scope", "openid offline_access")
		r := rp.Redeem(run(t, b, a, ada).Get("code"), a.Verifier)
		if r.Status != 200 {
			t.Errorf("%s: %s", alg, r.Body)
			continue
		}
		if r := rp.Introspect(r.String("access_token")); r.JSON["active"] != true {
			t.Errorf("%s: introspection: %s", alg, r.Body)
		}
		again := rp.Token(refreshForm(r.String("refresh_token")))
		if again.Status != 200 {
			t.Errorf("%s: refresh: %s", alg, again.Body)
		}
		if r := rp.Revoke(again.String("access_token")); r.Status != 200 {
			t.Errorf("%s: revocation: %s", alg, r.Body)
		}
		if r := rp.Introspect(again.String("access_token")); r.JSON["active"] != false {
			t.Errorf("%s: lives after its revocation: %s", alg, r.Body)
		}
	}
	for name, list := range map[string]string{"token_endpoint_auth_methods_supported": "private_key_jwt client_secret_jwt client_secret_basic client_secret_post none",
		"introspection_endpoint_auth_methods_supported":            "private_key_jwt client_secret_jwt",
		"revocation_endpoint_auth_methods_supported":               "private_key_jwt client_secret_jwt none",
		"token_endpoint_auth_signing_alg_values_supported":         "RS256 ES256 PS256 EdDSA HS256",
		"introspection_endpoint_auth_signing_alg_values_supported": "RS256 HS256",
		"revocation_endpoint_auth_signing_alg_values_supported":    "RS256 HS256"} {
		said := fmt.Sprint(idp.RP(store.ClientMetadata{}).Metadata()[name])
		for _, v := range strings.Fields(list) {
			if !strings.Contains(said, v) {
				t.Errorf("discovery: %s: %s", name, said)
			}
		}
	}
}

// TestOIDCC_EnsureClientAssertionWithIssAudSucceeds: the issuer is an audience, the token endpoint too, alone or among others.
func TestOIDCC_EnsureClientAssertionWithIssAudSucceeds(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	m := machine("private_key_jwt")
	m.JWKS = published("k", ecKey())
	rp := idp.RP(m)
	for _, aud := range []any{idp.Issuer, idp.Issuer + "/oauth2/token", []string{idp.Issuer}, []string{"https://other.example", idp.Issuer + "/oauth2/token"}} {
		for _, more := range []url.Values{{}, {"client_id": {rp.ID}}} {
			form := url.Values{"grant_type": {"client_credentials"}}
			for k, v := range more {
				form[k] = v
			}
			assert(form, mint(ecKey(), object{"alg": "ES256", "kid": "k", "typ": "JWT"}, with(claimsOf(idp, rp.ID), "aud", aud)))
			rp.Assert, rp.AuthMethod = func(url.Values) {}, "an assertion"
			if r := rp.Token(form); r.Status != 200 {
				t.Errorf("aud %v: %s", aud, r.Body)
			}
		}
	}
}

// TestSec_B7_ClientAssertionsRefused: whatever is wrong with an assertion, the answer is one and the same, and a good one afterwards works.
func TestSec_B7_ClientAssertionsRefused(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	m := machine("private_key_jwt")
	m.JWKS = published("r", rsaKey(), "e", ecKey())
	rp, other := idp.RP(m), idp.RP(func() store.ClientMetadata {
		o := machine("private_key_jwt")
		o.JWKS = published("d", edKey())
		return o
	}())
	pinned := machine("private_key_jwt")
	pinned.JWKS, pinned.TokenEndpointAuthAlg = m.JWKS, "ES256"
	only := idp.RP(pinned)
	shared, basic := idp.RP(machine("client_secret_jwt")), idp.RP(machine(""))
	now := idp.Now()
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	pub := must1(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	es := object{"alg": "ES256", "kid": "e"}
	claims := func(pairs ...any) object { return with(claimsOf(idp, rp.ID), pairs...) }
	good := mint(ecKey(), es, claims())
	parts := strings.Split(good, ".")
	b64 := func(s string) string { return strings.TrimRight(encode(s), "=") }
	attacker := object{"alg": "EdDSA", "kid": "e", "jwk": object{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}
	for name, jwt := range map[string]string{
		"alg none":               mint(nil, object{"alg": "none"}, claims()),
		"alg nOnE":               mint(nil, object{"alg": "nOnE"}, claims()),
		"no alg":                 mint(nil, object{"kid": "e"}, claims()),
		"no signature":           parts[0] + "." + parts[1] + ".",
		"RS256 key as secret":    mint(asPEM, object{"alg": "HS256", "kid": "r"}, claims()),
		"RS256 key, DER":         mint(pub, object{"alg": "HS256", "kid": "r"}, claims()),
		"key of another alg":     mint(rsaKey(), object{"alg": "RS256", "kid": "e"}, claims()),
		"ES256 with r=s=0":       parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
		"kid that is a path":     mint(ecKey(), with(es, "kid", "../../etc/passwd"), claims()),
		"kid that is SQL":        mint(ecKey(), with(es, "kid", "e' OR '1'='1"), claims()),
		"kid no text":            mint(ecKey(), with(es, "kid", 1), claims()),
		"jwk in the header":      mint(edKey(), attacker, claims()),
		"jku in the header":      mint(ecKey(), with(es, "jku", "https://evil.example/keys"), claims()),
		"x5u in the header":      mint(ecKey(), with(es, "x5u", "https://evil.example/cert"), claims()),
		"crit in the header":     mint(ecKey(), with(es, "crit", []string{"exp"}), claims()),
		"unencoded payload":      mint(ecKey(), with(es, "b64", false), claims()),
		"another type":           mint(ecKey(), with(es, "typ", "at+jwt"), claims()),
		"another client's key":   mint(edKey(), object{"alg": "EdDSA", "kid": "d"}, claims()),
		"another client's name":  mint(ecKey(), es, claims("iss", other.ID, "sub", other.ID)),
		"iss is not sub":         mint(ecKey(), es, claims("iss", other.ID)),
		"no iss":                 mint(ecKey(), es, claims("iss", nil)),
		"no sub":                 mint(ecKey(), es, claims("sub", nil)),
		"expired":                mint(ecKey(), es, claims("exp", in(-5*time.Minute))),
		"no exp":                 mint(ecKey(), es, claims("exp", nil)),
		"exp is text":            mint(ecKey(), es, claims("exp", "tomorrow")),
		"exp far away":           mint(ecKey(), es, claims("exp", in(time.Hour))),
		"exp at the end of time": mint(ecKey(), es, claims("exp", 1e300)),
		"nbf to come":            mint(ecKey(), es, claims("nbf", in(61*time.Second))),
		"iat to come":            mint(ecKey(), es, claims("iat", in(61*time.Second))),
		"no jti":                 mint(ecKey(), es, claims("jti", nil)),
		"jti a number":           mint(ecKey(), es, claims("jti", 7)),
		"no aud":                 mint(ecKey(), es, claims("aud", nil)),
		"wrong aud":              mint(ecKey(), es, claims("aud", "https://other.example")),
		"aud almost":             mint(ecKey(), es, claims("aud", idp.Issuer+"/")),
		"aud not all text":       mint(ecKey(), es, claims("aud", []any{idp.Issuer, 1})),
		"sub twice":              mint(ecKey(), es, fmt.Sprintf(`{"iss":%q,"sub":%q,"sub":%q,"aud":%q,"jti":"x","exp":%d}`, rp.ID, rp.ID, rp.ID, idp.Issuer, in(time.Minute))),
		"alg twice":              mint(ecKey(), `{"alg":"none","alg":"ES256"}`, claims()),
		"something behind":       good + ".x",
		"changed claims":         parts[0] + "." + b64(strings.Replace(string(must1(decode(parts[1]))), `"jti":"`, `"jti":"0`, 1)) + "." + parts[2],
		"JSON serialisation":     fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"a megabyte":             good + strings.Repeat("A", 20_000),
		"padded":                 good + "==",
		"line break":             parts[0] + ".\n" + parts[1] + "." + parts[2],
		"not pinned alg":         mint(rsaKey(), object{"alg": "RS256", "kid": "r"}, claimsOf(idp, only.ID)),
		"secret's method, RS256": mint(rsaKey(), object{"alg": "RS256", "kid": "r"}, claimsOf(idp, shared.ID)),
		"secret's method, hash":  mint([]byte(provider.HashSecret(shared.Secret)), object{"alg": "HS256"}, claimsOf(idp, shared.ID)),
		"registered for Basic":   mint([]byte(basic.Secret), object{"alg": "HS256"}, claimsOf(idp, basic.ID)),
		"nobody":                 mint(ecKey(), es, claimsOf(idp, "nobody")),
		"empty":                  "",
	} {
		form := url.Values{"grant_type": {"client_credentials"}}
		assert(form, jwt)
		r := rp.PostAs(form)
		wantError(t, r, 401, "invalid_client")
		if r.String("error_description") != "Client authentication failed." || strings.Contains(r.Body, "access_token") {
			t.Errorf("%s: %s", name, r.Body)
		}
	}
	if r := asserting(idp, rp, ecKey(), es).Token(machineForm); r.Status != 200 {
		t.Errorf("a good one: %s", r.Body)
	}
	if r := asserting(idp, only, ecKey(), es).Token(machineForm); r.Status != 200 {
		t.Errorf("the pinned algorithm: %s", r.Body)
	}
	if r := asserting(idp, shared, []byte(shared.Secret), object{"alg": "HS256"}).Token(machineForm); r.Status != 200 {
		t.Errorf("client_secret_jwt: %s", r.Body)
	}
	// The other methods are not for clients that sign, and one request has one method.
	asBasic, asPost, asNobody := *shared, *shared, *rp
	asBasic.Assert, asBasic.AuthMethod = nil, "client_secret_basic"
	asPost.Assert, asPost.AuthMethod = nil, "client_secret_post"
	asNobody.Assert, asNobody.AuthMethod = nil, "none"
	for name, c := range map[string]testidp.RP{"Basic": asBasic, "post": asPost, "none": asNobody} {
		if r := c.Token(machineForm); r.Status != 401 {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	twice := *shared
	twice.AuthMethod = "client_secret_basic"
	wantError(t, twice.Token(machineForm), 400, "invalid_request")
	twice.AuthMethod = "client_secret_post"
	wantError(t, twice.Token(machineForm), 400, "invalid_request")
}

// TestSec_A10_AssertionsCountOnce: of eight requests with one assertion exactly one is served; on PostgreSQL by two processes. Another client's equal
// jti is none of its business.
func TestSec_A10_AssertionsCountOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		m := machine("private_key_jwt")
		m.JWKS, m.RedirectURIs = published("k", ecKey()), []string{"https://rp.example/callback"}
		rp, other := idp.RP(m), idp.RP(m)
		audiences, endpoints := []string{idp.Issuer}, []*testidp.RP{rp}
		if engine == "postgres" {
			second := testidp.StartProcess(t, testidp.Options{URL: idp.URL})
			audiences = append(audiences, second.Issuer)
			endpoints = append(endpoints, second.RPOf(rp.ID, "", m))
		}
		for n := range 5 {
			jti := fmt.Sprint("the same ", n)
			form := url.Values{"grant_type": {"client_credentials"}}
			assert(form, mint(ecKey(), object{"alg": "ES256", "kid": "k"}, with(claimsOf(idp, rp.ID), "aud", audiences, "jti", jti)))
			var mu sync.Mutex
			got := map[string]int{}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					r := endpoints[i%len(endpoints)].PostAs(form)
					mu.Lock()
					got[fmt.Sprint(r.Status, r.ErrorCode())]++
					mu.Unlock()
				})
			}
			wg.Wait()
			if got["200"] != 1 || got["401invalid_client"] != 7 {
				t.Fatalf("eight times one assertion: %v", got)
			}
			theirs := url.Values{"grant_type": {"client_credentials"}}
			assert(theirs, mint(ecKey(), object{"alg": "ES256", "kid": "k"}, with(claimsOf(idp, other.ID), "jti", jti)))
			if r := other.PostAs(theirs); r.Status != 200 {
				t.Fatalf("another client with the same jti: %s", r.Body)
			}
		}
	})
}

// TestAssertionTimes: small differences between clocks are forgiven; a jti is spent for as long as its assertion could be used.
func TestAssertionTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		m := machine("private_key_jwt")
		m.JWKS = published("k", ecKey())
		rp := idp.RP(m)
		send := func(pairs ...any) int {
			form := url.Values{"grant_type": {"client_credentials"}}
			assert(form, mint(ecKey(), object{"alg": "ES256"}, with(claimsOf(idp, rp.ID), pairs...)))
			return rp.PostAs(form).Status
		}
		in := func(d time.Duration) int64 { return idp.Now().Add(d).Unix() }
		for _, c := range []struct {
			pairs []any
			want  int
		}{
			{[]any{"nbf", in(8 * time.Second)}, 200}, // fapi2: nbf-8-seconds-in-the-future-is-accepted
			{[]any{"iat", in(10 * time.Second)}, 200},
			{[]any{"nbf", in(70 * time.Second)}, 401},
			{[]any{"exp", in(-10 * time.Second)}, 200},
			{[]any{"exp", in(-40 * time.Second)}, 401},
			{[]any{"exp", in(10 * time.Minute)}, 200},
			{[]any{"exp", in(11 * time.Minute)}, 401},
			{[]any{"iat", float64(in(0)) + 0.5}, 200}, // NumericDate may have a fraction
		} {
			if got := send(c.pairs...); got != c.want {
				t.Errorf("%v: %d", c.pairs, got)
			}
		}
		form := url.Values{"grant_type": {"client_credentials"}}
		assert(form, mint(ecKey(), object{"alg": "ES256"}, with(claimsOf(idp, rp.ID), "exp", in(5*time.Minute))))
		for n, wait := range []time.Duration{0, time.Second, 5 * time.Minute, 28 * time.Second} {
			time.Sleep(wait)
			if n == 2 {
				_, err := idp.Store.Purge(t.Context())
				if err != nil {
					t.Fatal(err)
				}
			}
			if r := rp.PostAs(form); (r.Status == 200) != (n == 0) {
				t.Errorf("use %d: %s", n+1, r.Body)
			}
		}
	})
}

// TestOIDCC_RefreshTokenRPKeyRotation: keys behind a jwks_uri are found 60 seconds after they changed, whatever was asked in between, and unknown kids
// make no more than one request a minute of us (security.md B8).
func TestOIDCC_RefreshTokenRPKeyRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var web site
		idp := testidp.StartBubble(t, testidp.Options{Server: withSite(&web)})
		const at = "https://rp.example/jwks"
		web.put(at, published("one", ecKey()))
		m := machine("private_key_jwt")
		m.JWKSURI = at
		rp := idp.RP(m)
		status := func(key any, alg, kid string) int {
			return asserting(idp, rp, key, object{"alg": alg, "kid": kid}).Token(machineForm).Status
		}
		for range 3 {
			if s := status(ecKey(), "ES256", "one"); s != 200 {
				t.Fatalf("the first key: %d", s)
			}
		}
		if n := web.count(at); n != 1 {
			t.Errorf("fetched %d times", n)
		}
		if s := status(edKey(), "ES256", "one"); s != 401 || web.count(at) != 1 {
			t.Errorf("a bad signature under a known kid: %d, fetched %d times", s, web.count(at))
		}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				form := url.Values{"grant_type": {"client_credentials"}}
				assert(form, mint(edKey(), object{"alg": "EdDSA", "kid": fmt.Sprint("forged", i)}, claimsOf(idp, rp.ID)))
				if r := rp.PostAs(form); r.Status != 401 {
					t.Errorf("forged: %d", r.Status)
				}
			})
		}
		wg.Wait()
		if n := web.count(at); n != 2 {
			t.Errorf("after 300 forged kids fetched %d times", n)
		}
		web.put(at, published("two", edKey()))
		time.Sleep(60 * time.Second)
		if s := status(edKey(), "EdDSA", "two"); s != 200 {
			t.Errorf("the new key after 60 s: %d", s)
		}
		if s := status(ecKey(), "ES256", "one"); s != 401 {
			t.Errorf("the old key: %d", s)
		}
		// While the client's server is down its keys serve for a day, and nobody waits for it.
		web.put(at, "gone")
		time.Sleep(2 * time.Hour)
		before := web.count(at)
		for range 10 {
			if s := status(edKey(), "EdDSA", "two"); s != 200 {
				t.Errorf("while the source is down: %d", s)
			}
		}
		if n := web.count(at) - before; n != 1 {
			t.Errorf("a source that is down was asked %d times", n)
		}
		time.Sleep(23 * time.Hour)
		if s := status(edKey(), "EdDSA", "two"); s != 401 {
			t.Errorf("keys of yesterday: %d", s)
		}
	})
}

// TestSec_D1_KeysOfInnerAddresses: a jwks_uri leads to public addresses only; a listener on this machine hears nothing.
func TestSec_D1_KeysOfInnerAddresses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:8443")
	if err != nil { // taken: any port shows the same, refused one check earlier
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	heard := make(chan string, 100)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ConnState: func(c net.Conn, _ http.ConnState) { heard <- c.LocalAddr().String() }}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	idp := testidp.Start(t, testidp.Options{})
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"} {
		if host == "169.254.169.254" || host == "10.0.0.1" {
			port = "443"
		}
		for _, scheme := range []string{"https", "http"} {
			m := machine("private_key_jwt")
			m.JWKSURI = scheme + "://" + host + ":" + port + "/jwks"
			rp := idp.RP(m)
			r := asserting(idp, rp, ecKey(), object{"alg": "ES256"}).Token(machineForm)
			wantError(t, r, 401, "invalid_client")
			if strings.Contains(r.Body, host) || strings.Contains(r.Body, "public") {
				t.Errorf("the answer tells about the network: %s", r.Body)
			}
		}
	}
	select {
	case at := <-heard:
		t.Errorf("somebody connected to %s", at)
	default:
	}
}

// TestSec_F1_SecretsOfAssertionsAreSealed: the database holds no secret in clear, a sealed one is good in its own row only, and clients of other methods have
// none. A rotation keeps both for a while.
func TestSec_F1_SecretsOfAssertionsAreSealed(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp, other, basic := idp.RP(machine("client_secret_jwt")), idp.RP(machine("client_secret_jwt")), idp.RP(machine(""))
	row := func(id string) *store.Client { return must1(idp.Store.Client(t.Context(), id)) }
	if s := row(rp.ID).SecretSealed; s == "" || strings.Contains(s, rp.Secret) || row(basic.ID).SecretSealed != "" {
		t.Errorf("sealed %q, of a client of Basic %q", s, row(basic.ID).SecretSealed)
	}
	hs := object{"alg": "HS256"}
	first := []byte(rp.Secret)
	next := testidp.ClientSecret(rp.ID, "client_secret_jwt", strings.Repeat("n", 43))
	if err := idp.Store.RotateClientSecret(t.Context(), "cli", rp.ID, next, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{"old": first, "new": []byte(strings.Repeat("n", 43))} {
		if r := asserting(idp, rp, key, hs).Token(machineForm); r.Status != 200 {
			t.Errorf("the %s secret: %s", name, r.Body)
		}
	}
	if err := idp.Store.RotateClientSecret(t.Context(), "cli", rp.ID, next, 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, asserting(idp, rp, first, hs).Token(machineForm), 401, "invalid_client")
	// Moved to another row it does not open, which is our trouble and never a wrong secret of the client's.
	stolen := store.ClientSecret{Hash: provider.HashSecret(other.Secret), Sealed: row(rp.ID).SecretSealed}
	if err := idp.Store.RotateClientSecret(t.Context(), "cli", other.ID, stolen, 0); err != nil {
		t.Fatal(err)
	}
	if r := asserting(idp, other, []byte(strings.Repeat("n", 43)), hs).Token(machineForm); r.Status != 500 || r.ErrorCode() != "server_error" {
		t.Errorf("a secret moved to another row: %d %s", r.Status, r.Body)
	}
}

// TestClientsOfTheFileThatSign: a file's secret is sealed when it is needed, stays as it is while nothing changes, and goes when it is needed no more.
func TestClientsOfTheFileThatSign(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 43)
	client := config.Client{ID: "robot", Secret: config.NewSecret(secret), TokenEndpointAuth: "client_secret_jwt", GrantTypes: []string{"client_credentials"}, RequirePKCE: true}
	keyed := config.Client{ID: "signer", JWKS: string(published("k", ecKey())), TokenEndpointAuth: "private_key_jwt", GrantTypes: []string{"client_credentials"}, RequirePKCE: true}
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.Clients = append(c.Clients, client, keyed) }})
	m := store.ClientMetadata{RedirectURIs: []string{""}}
	robot, signer := idp.RPOf("robot", secret, m), idp.RPOf("signer", "", m)
	robot.AuthMethod, signer.AuthMethod = "", ""
	works := func(when string) {
		t.Helper()
		if r := asserting(idp, robot, []byte(secret), object{"alg": "HS256"}).Token(machineForm); r.Status != 200 {
			t.Errorf("%s: by secret: %s", when, r.Body)
		}
		if r := asserting(idp, signer, ecKey(), object{"alg": "ES256"}).Token(machineForm); r.Status != 200 {
			t.Errorf("%s: by key: %s", when, r.Body)
		}
	}
	works("at first")
	version := func() int64 { return must1(idp.Store.Client(t.Context(), "robot")).Version }
	before := version()
	idp = idp.Restart(nil)
	works("after a restart")
	if v := version(); v != before {
		t.Errorf("a start without a change wrote the client: version %d, was %d", v, before)
	}
	if n := must1(idp.Server.Keys().Reseal(t.Context(), "cli")); n != 0 {
		t.Errorf("sealed anew under the same key: %d", n)
	}
	idp = idp.Restart(func(c *config.Config) { c.Clients[len(c.Clients)-2].TokenEndpointAuth = "client_secret_basic" })
	if s := must1(idp.Store.Client(t.Context(), "robot")).SecretSealed; s != "" {
		t.Errorf("a secret is kept that nobody needs: %q", s)
	}
}

// TestResealMovesClientSecrets to the new master key, both of a client in rotation.
func TestResealMovesClientSecrets(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(machine("client_secret_jwt"))
	if err := idp.Store.RotateClientSecret(t.Context(), "cli", rp.ID, testidp.ClientSecret(rp.ID, "client_secret_jwt", strings.Repeat("n", 43)), time.Hour); err != nil {
		t.Fatal(err)
	}
	fresh := []byte(strings.Repeat("k", 32))
	both := must1(provider.NewMasterKeys(fresh, testidp.MasterKey()))
	keys := must1(provider.NewKeySet(provider.KeyConfig{Store: idp.Store, Master: both}))
	if err := keys.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := len(must1(idp.Store.SigningKeys(t.Context())))
	if n := must1(keys.Reseal(t.Context(), "cli")); n != rows+1 {
		t.Errorf("sealed %d anew, want %d", n, rows+1)
	}
	c, only := must1(idp.Store.Client(t.Context(), rp.ID)), must1(provider.NewMasterKeys(fresh))
	if s, err := only.OpenClientSecret(rp.ID, c.SecretSealed); err != nil || s != strings.Repeat("n", 43) {
		t.Errorf("%q %v", s, err)
	}
	if s, err := only.OpenClientSecret(rp.ID, c.PrevSecretSealed); err != nil || s != rp.Secret {
		t.Errorf("%q %v", s, err)
	}
}
