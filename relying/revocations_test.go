package relying

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestMemoryRevocations(t *testing.T) {
	t.Parallel()
	now := time.Unix(10_000, 0)
	m := newMemoryRevocations(func() time.Time { return now })
	m.max = 3
	ctx := context.Background()
	revoke := func(key string, at time.Time, life time.Duration) { m.Revoke(ctx, key, at, now.Add(life)) }
	is := func(what string, want time.Time, keys ...string) {
		t.Helper()
		if got, err := m.Revoked(ctx, keys...); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	is("nothing", time.Time{}, "a", "b")
	revoke("a", now, time.Hour)
	revoke("a", now.Add(-time.Minute), time.Minute) // older news change nothing
	revoke("b", now.Add(-2*time.Minute), time.Minute)
	is("the latest of two", now, "b", "a")
	is("one", now.Add(-2*time.Minute), "b", "c")

	// What is over is forgotten, and not before.
	now = now.Add(2 * time.Minute)
	revoke("c", now, time.Hour)
	if len(m.until) != 2 {
		t.Errorf("%d kept, want a and c", len(m.until))
	}
	is("older than its last word", time.Unix(10_000, 0), "a")

	// Full: it forgets nobody's sign-out, it signs out everybody who came before. One that lies ahead ends nothing that has yet to begin.
	revoke("d", now.Add(10*time.Minute), time.Hour)
	revoke("e", now.Add(-time.Hour), time.Hour)
	if len(m.until) != 1 {
		t.Errorf("%d kept after it was full", len(m.until))
	}
	is("anybody", now, "z")
	is("e", now, "e")

	// Ids: once, until they expire.
	once := func(id string, want bool) {
		t.Helper()
		if got, err := m.Once(ctx, id, now.Add(time.Minute)); err != nil || got != want {
			t.Errorf("%s: %t", id, got)
		}
	}
	once("x", true)
	once("x", false)
	now = now.Add(59 * time.Second)
	once("x", false)
	now = now.Add(time.Second)
	once("x", true)
	for i := range 10 {
		once(fmt.Sprint(i), true)
	}
	if len(m.ids) > m.max {
		t.Errorf("%d ids kept", len(m.ids))
	}
}

// Many at once: each id counts once, and no sign-out is lost.
func TestMemoryRevocationsTogether(t *testing.T) {
	t.Parallel()
	m := newMemoryRevocations(time.Now)
	m.max = 50
	ctx := context.Background()
	at, until := time.Now(), time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	var first atomic.Int32
	for n := range 16 {
		wg.Go(func() {
			for i := range 40 {
				key := fmt.Sprint("key-", n*40+i)
				m.Revoke(ctx, key, at, until)
				if got, _ := m.Revoked(ctx, key); got.Before(at) {
					t.Errorf("%s was lost: %v", key, got)
				}
				if ok, _ := m.Once(ctx, fmt.Sprint("id-", i), until); ok {
					first.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if first.Load() != 40 {
		t.Errorf("%d of 40 ids counted", first.Load())
	}
}

// What is kept of one application tells nothing, and means nothing to another.
func TestRevocationKeys(t *testing.T) {
	t.Parallel()
	one := &Client{cfg: Config{Issuer: "https://a", ClientID: "b"}}
	seen := map[string]string{}
	for name, key := range map[string]string{
		"sub": one.revocationKey("sub", "x"), "sid": one.revocationKey("sid", "x"), "other": one.revocationKey("sub", "y"),
		"client": (&Client{cfg: Config{Issuer: "https://a", ClientID: "c"}}).revocationKey("sub", "x"),
		"issuer": (&Client{cfg: Config{Issuer: "https://ab", ClientID: ""}}).revocationKey("sub", "x"),
	} {
		if was, ok := seen[key]; ok {
			t.Errorf("%s and %s share a key", name, was)
		}
		if seen[key] = name; len(key) != 64 || strings.Contains(key, "x") {
			t.Errorf("%s: %s", name, key)
		}
	}
}

func TestKeysLife(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": time.Hour, "no-store": time.Hour, "public, max-age=300": 5 * time.Minute, "Max-Age=600": 10 * time.Minute, "max-age=0": time.Minute,
		"max-age=86400": time.Hour, "max-age=-5": time.Minute, "max-age=x": time.Hour, "s-maxage=5": time.Hour, "max-age=99999999999999999999": time.Hour,
	} {
		if got := keysLife(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	const good = `{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"%s}`
	key := func(more string) string { return fmt.Sprintf(good, more) }
	for body, want := range map[string]int{
		`{"keys":[` + key("") + `]}`:                                                                                 1,
		`{"keys":[` + key(`,"use":"enc"`) + `,` + key(`,"use":"sig"`) + `]}`:                                         1,
		`{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new"},{},7,` + key("") + `]}`:                                 1,
		`{"keys":[` + key(`,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"`) + `]}`:                               -1, // a private key is no key of ours
		`{"keys":[{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbg","e":"AQAB"}]}`: -1, // 384 bits
		`{"keys":[]}`: -1, `{}`: -1, `[]`: -1, ``: -1, `{"keys":{}}`: -1,
		`{"keys":[` + strings.Repeat(key("")+",", 100) + key("") + `]}`: -1,
	} {
		keys, err := parseKeys([]byte(body))
		if (err == nil) != (want > 0) || err == nil && len(keys) != want {
			t.Errorf("%.60s: %d keys, %v", body, len(keys), err)
		}
	}
}

// Claims of logout tokens: whatever they hold, what is accepted names somebody, an id and two times.
func FuzzLogoutClaims(f *testing.F) {
	const event = `"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`
	for _, s := range []string{`{` + event + `,"sub":"a","jti":"b","iat":1,"exp":2}`, `{` + event + `,"sid":"a","jti":"b","iat":1.5,"exp":1e9}`,
		`{"events":null}`, `{` + event + `,"nonce":null,"sid":"a","jti":"b","iat":1,"exp":2}`, `{` + event + `,"sub":"","sid":"a","jti":"b","iat":1,"exp":2}`, `{` + event + `,"nonce":null}`, `{"events":{"x":{}},"sub":1}`, `{` + event + `,"sub":"","iat":-1}`, `{` + event + `,"iat":1e300,"sub":"a","jti":"b","exp":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var claims map[string]json.RawMessage
		if json.Unmarshal([]byte(s), &claims) != nil {
			return
		}
		c, err := parseLogoutClaims(claims)
		if err != nil {
			return
		}
		if _, ok := claims["nonce"]; ok || c.id == "" || c.subject == "" && c.sid == "" || c.issued.Unix() < 0 || c.expires.Unix() > 1<<40 || !strings.Contains(string(claims["events"]), "logout") {
			t.Fatalf("%s became %+v", s, c)
		}
	})
}

// The header Authorization: what comes out is a token by its grammar, or nothing.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer abc", "bearer  a.b.c", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ä", "Bearer a\x00", " Bearer a", "BEARER a=="} {
		f.Add(s, "")
	}
	f.Add("", "access_token=x")
	f.Add("Bearer a", "%61ccess_token=x")
	f.Fuzz(func(t *testing.T, header, query string) {
		r, err := http.NewRequest(http.MethodGet, "https://api.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = query
		r.Header["Authorization"] = []string{header}
		token, err := bearer(r)
		if err != nil && token != "" {
			t.Fatal("a token and an error")
		}
		if token == "" {
			return
		}
		if r.URL.Query().Has("access_token") {
			t.Fatalf("%q: a token in the address", query)
		}
		if !strings.EqualFold(header[:7], "Bearer ") || len(token) > maxToken || strings.ContainsAny(token, " \t\r\n\x00\",;") || !strings.HasSuffix(header, token) {
			t.Fatalf("%q became %q", header, token)
		}
	})
}

// Claims of access tokens and answers of an introspection: what gets in was made for this API, is somebody's, and is not over.
func FuzzAccessClaims(f *testing.F) {
	for _, s := range []string{
		`{"active":true,"iss":"https://id.example","sub":"a","aud":"https://api.example","client_id":"c","exp":2000000000,"scope":"x y","privileges":["b","a"]}`,
		`{"active":true,"sub":"c","aud":["x","https://api.example"],"client_id":"c"}`, `{"active":false}`, `{"active":true,"cnf":{}}`, `{"aud":{}}`, `null`,
		`{"active":true,"sub":"a","aud":"https://api.example","client_id":"c","privileges":"admin"}`, `{"active":true,"exp":"1"}`,
	} {
		f.Add([]byte(s))
	}
	now := time.Unix(1_900_000_000, 0)
	a, err := NewAPI(APIConfig{Issuer: "https://id.example", Audience: "https://api.example", Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, info, err := a.readAnswer(body)
		if err != nil {
			if token != nil || info != nil {
				t.Fatal("something and an error")
			}
			return
		}
		if token.Subject == "" || token.ClientID == "" || !token.Expires.IsZero() && !now.Before(token.Expires) || !strings.Contains(string(body), "api.example") && !strings.Contains(string(body), `\u`) {
			t.Fatalf("%s became %+v", body, token)
		}
		if token.Machine() != (info == nil) || info != nil && info.Subject != token.Subject {
			t.Fatalf("%s: %+v is %+v", body, token, info)
		}
	})
}

// A signature under no key, under one of several without key ids, and under a key of another kind.
func TestTry(t *testing.T) {
	t.Parallel()
	sign := func(kid string) (*jose.JSONWebSignature, jose.JSONWebKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		opts := &jose.SignerOptions{}
		if kid != "" {
			opts.WithHeader("kid", kid)
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, opts)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if jws, err = jose.ParseSignedCompact(text, asymmetric); err != nil {
			t.Fatal(err)
		}
		return jws, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Algorithm: "ES256"}
	}
	bare, bareKey := sign("")
	named, namedKey := sign("n")
	_, otherKey := sign("n")
	wrongAlg := namedKey
	wrongAlg.Algorithm = "ES384"
	for name, c := range map[string]struct {
		jws      *jose.JSONWebSignature
		keys     []jose.JSONWebKey
		ok, know bool
	}{
		"no key":           {named, nil, false, false},
		"its key":          {named, []jose.JSONWebKey{bareKey, namedKey}, true, true},
		"two of one name":  {named, []jose.JSONWebKey{otherKey, namedKey}, true, true},
		"another's":        {named, []jose.JSONWebKey{otherKey}, false, true},
		"other algorithm":  {named, []jose.JSONWebKey{wrongAlg}, false, false},
		"no name":          {bare, []jose.JSONWebKey{namedKey, bareKey}, true, true},
		"no name, unknown": {bare, []jose.JSONWebKey{namedKey}, false, false},
	} {
		payload, known := try(c.keys, c.jws)
		if (payload != nil) != c.ok || known != c.know {
			t.Errorf("%s: %q, known %t", name, payload, known)
		}
	}
}
