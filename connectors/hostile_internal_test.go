package connectors

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestSec_D1_LyingDiscovery: a discovery document leads nobody into this machine or its network, unless the operator's own address for it is
// there; what the operator sets is taken as it stands.
func TestSec_D1_LyingDiscovery(t *testing.T) {
	t.Parallel()
	bad := []string{
		"http://127.0.0.1:6060/debug", "http://localhost/x", "http://x.localhost:1/", "http://[::1]/x", "https://127.0.0.1/x", "https://localhost:8443/x",
		"https://LOCALHOST./x", "https://10.0.0.5/x", "https://192.168.1.1/x", "https://169.254.169.254/latest", "https://[fd00::1]/x", "https://[fe80::1%25eth0]/x",
		"https://[::ffff:127.0.0.1]/x", "https://0.0.0.0/x", "https://[::]/x", "https://127.1/x", "https://2130706433/x", "https://0x7f000001/x", "https://0177.0.0.1/x",
		"https://:8443/x", "https://user@id.example/x", "https://id.example/x#y", "ftp://id.example/x", "//id.example/x", "/x", "javascript:alert(1)",
	}
	document := func(name, address string) claims {
		c := claims{"issuer": "https://id.example", "authorization_endpoint": "https://id.example/a", "token_endpoint": "https://id.example/t", "jwks_uri": "https://keys.example/k"}
		c[name] = address
		return c
	}
	from := func(at, issuer string, doc claims, over Endpoints) error {
		_, err := readMetadata(doc, at, over, exactly(issuer))
		return err
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
		for _, address := range bad {
			if err := from("https://id.example/.well-known/openid-configuration", "https://id.example", document(name, address), Endpoints{}); KindOf(err) != Upstream || err == nil {
				t.Errorf("%s at %s: %v", name, address, err)
			}
		}
		for _, address := range []string{"https://other.example/x", "https://id.example:8443/x?p=1", "https://8.8.8.8/x", "https://[2606:4700::1111]/x", "https://1.example/x"} {
			if err := from("https://id.example/.well-known/openid-configuration", "https://id.example", document(name, address), Endpoints{}); err != nil {
				t.Errorf("%s at %s: %v", name, address, err)
			}
		}
		doc := document(name, "http://127.0.0.1:7/x")
		for _, at := range []string{"http://127.0.0.1:9/d", "https://localhost/d", "https://10.1.2.3/d"} { // the operator's own network
			if err := from(at, "https://id.example", doc, Endpoints{}); err != nil {
				t.Errorf("%s from %s: %v", name, at, err)
			}
		}
	}
	doc := document("token_endpoint", "http://127.0.0.1:6060/debug")
	if err := from("https://id.example/d", "https://id.example", doc, Endpoints{Token: "http://127.0.0.1:7/t"}); err != nil {
		t.Errorf("the operator's own: %v", err)
	}
}

// TestSec_E10_OneReading: JSON that can be read in two ways is not read at all (RFC 8259 §4, RFC 7519 §4).
func TestSec_E10_OneReading(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		`{"sub":"ana","sub":"admin"}`, `{"email_verified":false,"a":1,"email_verified":true}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1},{"c":1,"c":1}]}`,
		`{"sub":"ana","\u0073ub":"admin"}`, `{"a":null,"a":1}`, `{"":1,"":2}`,
	} {
		if c, err := readClaims([]byte(s)); err == nil {
			t.Errorf("%s was read as %v", s, c)
		}
	}
	for _, s := range []string{`{"sub":"a","Sub":"b","a":{"sub":"c"},"l":[{"sub":1},{"sub":2},"sub","sub"]}`, `{"sub":"sub"}`, `{}`, `{"a":"b","b":"a"}`, `{"a":[[],{}],"b":{}}`} {
		if _, err := readClaims([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestSec_E4_Keys: two people never get one key, however odd the bytes of what names them.
func TestSec_E4_Keys(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"{\"sub\":\"a\xff\"}", "{\"sub\":\"a\xfe\"}", `{"sub":"a\ud800"}`, `{"sub":"a\udfff"}`, `{"sub":"a\u0000"}`, `{"sub":"\u0085"}`, `{"sub":""}`, `{"sub":true}`, `{"sub":["a"]}`,
		`{"sub":1.5}`, `{"sub":1e3}`, `{"sub":-1}`, `{"sub":{}}`, `{"sub":null}`, `{"SUB":"a"}`, `{"sub":"` + strings.Repeat("é", 128) + `"}`,
	} {
		c, err := readClaims([]byte(s))
		if err != nil {
			continue
		}
		if k, err := c.subject("sub"); err == nil {
			t.Errorf("%q gave the key %q", s, k)
		}
	}
	for s, want := range map[string]string{
		`{"sub":" a "}`: " a ", `{"sub":"A"}`: "A", `{"sub":18446744073709551617}`: "18446744073709551617", `{"sub":90071992547409931}`: "90071992547409931", `{"sub":"007"}`: "007",
	} {
		c, err := readClaims([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		if k, err := c.subject("sub"); err != nil || k != want {
			t.Errorf("%s gave %q, %v", s, k, err)
		}
	}
	for _, s := range []string{"{\"email\":\"a\xff@example.com\"}", `{"email":"a\ud800@example.com"}`} {
		if c, err := readClaims([]byte(s)); err == nil && c.address("email") != "" {
			t.Errorf("%q is an address", s)
		}
	}
}

// TestSec_B7_OneSpelling: a JWT has one spelling, so that one that was seen before is known again (RFC 7515 §2).
func TestSec_B7_OneSpelling(t *testing.T) {
	t.Parallel()
	head, body, sig := encode64([]byte(`{"alg":"RS256"}`)), encode64([]byte(`{"a":1}`)), encode64([]byte("sig1"))
	check := func(raw string) error { return checkJOSE(raw, signingAlgorithms, []string{""}) }
	if err := check(head + "." + body + "." + sig); err != nil {
		t.Fatal(err)
	}
	if sig[len(sig)-1] != 'Q' {
		t.Fatal(sig)
	}
	for _, raw := range []string{
		head + "." + body + "." + sig + "\n", head + "." + body + "." + sig[:2] + "\r\n" + sig[2:], head + "\n." + body + "." + sig, head + "." + body[:1] + "\n" + body[1:] + "." + sig,
		head + "." + body + "." + sig[:len(sig)-1] + "R", head + "." + body + "." + sig + "==", head + "." + body + "." + sig + " ", head + "." + body + ".+/+/",
		head + "." + body[:len(body)-1] + string(body[len(body)-1]+1) + "." + sig,
	} {
		if check(raw) == nil {
			t.Errorf("%q was accepted", raw)
		}
	}
}

// TestSec_B8_HugeKeys: a key that takes minutes to try is none.
func TestSec_B8_HugeKeys(t *testing.T) {
	t.Parallel()
	for bits, want := range map[uint]int{2040: 0, 2048: 1, 4096: 1, 4104: 0, 1 << 20: 0, 5_000_000: 0} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		n.SetBit(n, 0, 1)
		keys, err := readKeys(claims{"keys": []any{map[string]any{"kty": "RSA", "e": "AQAB", "n": encode64(n.Bytes())}}})
		if len(keys) != want {
			t.Errorf("%d bits: %d keys, %v", bits, len(keys), err)
		}
	}
	const ec = `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	for member, want := range map[string]int{
		`"key_ops":["verify"]`: 1, `"key_ops":["sign","verify"]`: 1, `"key_ops":["encrypt"]`: 0, `"key_ops":[]`: 0, `"use":"enc"`: 0, `"use":7`: 0,
		`"issuer":"https://id.example"`: 1, `"issuer":["https://id.example"]`: 0, `"issuer":7`: 0, // who it is good for cannot be read
	} {
		doc, err := readClaims([]byte(`{"keys":[{` + ec + `,` + member + `}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if keys, _ := readKeys(doc); len(keys) != want {
			t.Errorf("%s: %d keys", member, len(keys))
		}
	}
}

// TestSec_J8_StaleWhileStalled: an upstream that stalls costs no sign-in more than moments while a copy is at hand, and the new one is taken
// when it is back.
func TestSec_J8_StaleWhileStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stalls atomic.Bool
		var version, loads atomic.Int32
		version.Store(1)
		c := &cached[int32]{now: time.Now, load: func(ctx context.Context) (int32, error) {
			loads.Add(1)
			if stalls.Load() {
				<-ctx.Done()
				return 0, fail(Upstream, "stalled: %w", ctx.Err())
			}
			return version.Load(), nil
		}}
		ask := func(want int32, within time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
			defer cancel()
			began := time.Now()
			v, err := c.get(ctx)
			if v != want || err != nil {
				t.Fatalf("%d, %v", v, err)
			}
			if took := time.Since(began); took > within {
				t.Errorf("took %v", took)
			}
		}
		ask(1, 0)
		stalls.Store(true)
		version.Store(2)
		time.Sleep(freshFor)
		ask(1, 3*time.Second) // nobody knows yet that it stalls
		time.Sleep(30 * time.Second)
		before := loads.Load()
		for range 60 {
			ask(1, 0) // now it is known
			time.Sleep(time.Second)
		}
		if n := loads.Load() - before; n > 6 {
			t.Errorf("%d fetches in a minute", n)
		}
		stalls.Store(false)
		time.Sleep(30 * time.Second)
		ask(1, 0)
		synctest.Wait()
		ask(2, 0)
		stalls.Store(true)
		time.Sleep(staleFor)
		ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
		defer cancel()
		if _, err := c.get(ctx); KindOf(err) != Upstream {
			t.Errorf("after a day: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait() // and no goroutine of the fetches is left when the bubble ends
	})
}

// TestSec_B8_KeysOutOfReach: a signature of an unknown key is no forgery while the keys cannot be fetched: it may be a new key's.
func TestSec_B8_KeysOutOfReach(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var down error
	var key publicKey
	if err := key.UnmarshalJSON([]byte(`{"kty":"EC","crv":"P-256","kid":"old","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`)); err != nil {
		t.Fatal(err)
	}
	keys := &keySet{}
	keys.now, keys.load = func() time.Time { return now }, func(context.Context) ([]publicKey, error) { return []publicKey{key}, down }
	body, err := json.Marshal(map[string]any{"iss": "https://id.example", "aud": "c", "exp": now.Unix() + 60, "iat": now.Unix(), "sub": "ana", "nonce": "n"})
	if err != nil {
		t.Fatal(err)
	}
	raw := encode64([]byte(`{"alg":"ES256","kid":"new"}`)) + "." + encode64(body) + "." + encode64(make([]byte, 64))
	e := &expected{issuers: []string{"https://id.example"}, clientID: "c", nonce: "n", algs: signingAlgorithms, now: keys.now}
	check := func(want Kind) {
		t.Helper()
		if _, err := checkIDToken(t.Context(), raw, keys, e); KindOf(err) != want {
			t.Errorf("%v", err)
		}
	}
	check(Invalid)
	now = now.Add(2 * time.Minute)
	down = fail(Upstream, "down")
	check(Upstream)
	check(Upstream) // it is not asked again so soon, and nothing else is known
	down = nil
	now = now.Add(2 * time.Minute)
	check(Invalid)
}

// TestSec_B7_SharedKid: a key of the same kid that did not make the signature, or is good for others' tokens, is passed over.
func TestSec_B7_SharedKid(t *testing.T) {
	t.Parallel()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	right, other := newKey(), newKey()
	public := func(k *ecdsa.PrivateKey, issuer string) publicKey {
		return publicKey{JSONWebKey: jose.JSONWebKey{Key: &k.PublicKey, KeyID: "1"}, issuer: issuer}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: right, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	const a, b = "https://a.example", "https://b.example"
	rsaLike := publicKey{JSONWebKey: jose.JSONWebKey{Key: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, KeyID: "1"}}
	for what, row := range map[string]struct {
		keys []publicKey
		ok   bool
	}{
		"after another":            {[]publicKey{public(other, ""), rsaLike, public(right, "")}, true},
		"its issuer":               {[]publicKey{public(other, a), public(right, a)}, true},
		"another issuer's":         {[]publicKey{public(right, b)}, false},
		"another issuer's, twice":  {[]publicKey{public(other, a), public(right, b)}, false},
		"another key only":         {[]publicKey{public(other, "")}, false},
		"another kid":              {[]publicKey{{JSONWebKey: jose.JSONWebKey{Key: &right.PublicKey, KeyID: "2"}}}, false},
		"without a kid":            {[]publicKey{{JSONWebKey: jose.JSONWebKey{Key: &right.PublicKey}}}, false},
		"for another algorithm":    {[]publicKey{{JSONWebKey: jose.JSONWebKey{Key: &right.PublicKey, KeyID: "1", Algorithm: "RS256"}}}, false},
		"for this algorithm alone": {[]publicKey{{JSONWebKey: jose.JSONWebKey{Key: &right.PublicKey, KeyID: "1", Algorithm: "ES256"}}}, true},
	} {
		keys := &keySet{}
		keys.now, keys.load = time.Now, func(context.Context) ([]publicKey, error) { return row.keys, nil }
		s := &signature{keys: keys, algs: signingAlgorithms, keyIssuers: []string{a}}
		if _, err := s.VerifySignature(t.Context(), raw); (err == nil) != row.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSec_E13_QuotingErrors: what an error quotes of an answer holds nothing that was sent, and is one short line.
func TestSec_E13_QuotingErrors(t *testing.T) {
	t.Parallel()
	const token, code, secret = "EAAB-the-token-itself", "the-code-itself", "s3cret:/with+odd%signs"
	cause := errors.New("cause")
	req, err := http.NewRequest(http.MethodPost, "https://graph.example/debug?input_token="+token, strings.NewReader("code="+code+"&client_secret=s3cret%3A%2Fwith%2Bodd%25signs"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer bearer-"+token)
	broken := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.Join(errors.New("malformed MIME header line: x\r\n\x1b[31m input_token="+token+" code="+code+" "+secret+" s3cret%3A%2Fwith%2Bodd%25signs "+strings.Repeat("y", 64<<10)), cause)
	})}
	_, _, _, err = fetch(t.Context(), broken, req)
	if KindOf(err) != Upstream || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	text := err.Error()
	for _, s := range []string{token, code, secret, "s3cret%3A", "\r", "\n", "\x1b", "input_token=E"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is in %.300q", s, text)
		}
	}
	if len(text) > 1000 {
		t.Errorf("%d bytes", len(text))
	}
	got := clean("you sent s3cret%3A%2Fwith%2Bodd%25signs and "+secret, secret)
	if got != "you sent [secret] and [secret]" {
		t.Errorf("%q", got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
