package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// TestLRU: bounded, and nothing outlives its time.
func TestLRU(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := newLRU[int](3, time.Hour, func() time.Time { return now })
	made := 0
	get := func(k string) int { return l.get(k, func() int { made++; return made }) }
	a := get("a")
	get("b")
	get("c")
	if get("a") != a || made != 3 {
		t.Error("made again")
	}
	get("d") // b is the least recently used
	if get("a") != a || l.len() != 3 {
		t.Errorf("a is gone, or %d entries", l.len())
	}
	if before := made; get("b") == 2 || made != before+1 {
		t.Error("b was kept")
	}
	now = now.Add(time.Hour)
	if get("a") == a {
		t.Error("a outlived its hour")
	}
	for i := range 10_000 {
		get(fmt.Sprint(i))
	}
	if l.len() != 3 {
		t.Errorf("%d entries", l.len())
	}
}

// TestCachedPanic: a parser that panics costs one answer.
func TestCachedPanic(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	broken := true
	c := &cached[int]{now: func() time.Time { return now }, load: func(context.Context) (int, error) {
		if broken {
			panic("parser")
		}
		return 7, nil
	}}
	if _, err := c.get(t.Context()); KindOf(err) != Upstream {
		t.Error(err)
	}
	broken = false
	now = now.Add(pauseAfter)
	if v, err := c.get(t.Context()); v != 7 || err != nil {
		t.Error(v, err)
	}
}

// TestCachedGivesUp: who no longer waits holds nobody up, and the fetch goes on for the others.
func TestCachedGivesUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := &cached[int]{now: time.Now, load: func(ctx context.Context) (int, error) {
		select {
		case <-release:
			return 7, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.get(gone)
	if !errors.Is(err, context.Canceled) || KindOf(err) != Upstream {
		t.Error(err)
	}
	close(release)
	if v, err := c.get(t.Context()); v != 7 || err != nil {
		t.Error(v, err)
	}
}

// TestSec_B9_Bombs: what is too long or of the wrong form is refused before anything parses it.
func TestSec_B9_Bombs(t *testing.T) {
	t.Parallel()
	jwe := "eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJwMmMiOjIxNDc0ODM2NDgsInAycyI6IkFBQUEiLCJlbmMiOiJBMTI4R0NNIn0.AAAA.AAAA.AAAA.AAAA"
	for what, raw := range map[string]string{
		"10 MB of dots": strings.Repeat(".", 10<<20), "JWE": jwe, "PBES2 as JWS": jwe[:strings.IndexByte(jwe, '.')] + ".AAAA.AAAA",
		"zip": encode64([]byte(`{"alg":"RS256","zip":"DEF"}`)) + ".AAAA.AAAA", "10 MB": strings.Repeat("A", 10<<20) + ".A.A", "empty": "", "dots": "..",
		"deep header": encode64([]byte(strings.Repeat(`{"a":`, 3000))) + ".AAAA.AAAA", "header list": encode64([]byte(`["RS256"]`)) + ".AAAA.AAAA",
	} {
		began := time.Now()
		if checkJOSE(raw, signingAlgorithms, []string{""}) == nil {
			t.Errorf("%s was accepted", what)
		}
		if took := time.Since(began); took > 500*time.Millisecond { // a loaded machine; the work is microseconds
			t.Errorf("%s took %v", what, took)
		}
	}
}

// TestReadKeys: what cannot be used is left out, and a set of nothing else is the upstream's trouble.
func TestReadKeys(t *testing.T) {
	t.Parallel()
	const ec = `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	for set, want := range map[string]int{
		`{"keys":[{` + ec + `,"kid":"1"}]}`: 1,
		`{"keys":[{` + ec + `,"kid":"1","use":"sig","alg":"ES256","issuer":"x"},{"kty":"future"},7,null,"x",{}]}`: 1,
		`{"keys":[{` + ec + `,"use":"enc"}]}`:                                       0,
		`{"keys":[{"kty":"oct","k":"AAAA"}]}`:                                       0,
		`{"keys":[{` + ec + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`: 0, // a private key, published: no
		`{"keys":[{"kty":"RSA","n":"sXchTcR2","e":"AQAB"}]}`:                        0, // too short
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`:                   0,
		`{"keys":{}}`: 0, `{}`: 0, `{"keys":[` + strings.Repeat(`{},`, 200) + `{}]}`: 0,
	} {
		doc, err := readClaims([]byte(set))
		if err != nil {
			t.Fatal(err)
		}
		keys, err := readKeys(doc)
		if len(keys) != want || want == 0 && KindOf(err) != Upstream {
			t.Errorf("%.60s: %d keys, %v", set, len(keys), err)
		}
	}
}

// TestClean: one line, bounded, without secrets.
func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"AADSTS1: no\r\nTrace ID: 7\r\n": "AADSTS1: no; Trace ID: 7", "code topsecretcode is bad": "code [secret] is bad", "a\x1b[31mb\x00": "a [31mb ", "\xff": "\ufffd",
		strings.Repeat("é", 400): strings.Repeat("é", 250),
	} {
		if got := clean(in, "topsecretcode", "", "short"); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// FuzzClaims: whatever is decoded, what comes out is clean.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"sub":"1","email":"a@b.c","email_verified":"true","iat":1e3,"a":{"b":{"c":[1,"x"]}},"a.b":null}`, `{"sub":18446744073709551616,"email":"x@y@z"}`,
		`{"email":["a@b.c"],"name":"\u0000","given_name":"\ud800","_claim_names":{"groups":"src1"},"hasgroups":"1"}`, `[]`, `null`, `{`, `{"iat":1e400}`, `{"":{"":{"":1}}}`,
	} {
		f.Add([]byte(s), "a.b.c")
	}
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		c, err := readClaims(b)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatal("invalid JSON was decoded")
		}
		c.at(path)
		c.list(path)
		c.yes(path, true)
		if at, ok := c.time(path); ok && at.Before(time.Unix(0, 0)) {
			t.Errorf("time %v", at)
		}
		if s, err := c.subject(path); err == nil && (s == "" || len(s) > 255 || strings.ContainsFunc(s, unicode.IsControl)) {
			t.Errorf("subject %q", s)
		}
		if s := c.text(path); !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 1000 {
			t.Errorf("text %q", s)
		}
		if s := c.address(path); s != "" && (strings.Count(s, "@") != 1 || strings.ContainsAny(s, " \r\n\t<>\"") || domainOf(s) == "" || strings.HasPrefix(s, "@")) {
			t.Errorf("address %q", s)
		}
		c.groupsOverage()
		c.guest("x")
		id, err := identityOf(merge(c, c, ClaimNames{}.withDefaults()), ClaimNames{}.withDefaults())
		if err != nil {
			return
		}
		for _, k := range notFacts {
			if _, ok := id.Claims[k]; ok {
				t.Errorf("claims hold %s", k)
			}
		}
		if _, err := json.Marshal(id.Claims); err != nil {
			t.Error(err)
		}
	})
}

// FuzzJWT: nothing that is not signed with the one key passes.
func FuzzJWT(f *testing.F) {
	for _, s := range []string{"eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "{}", strings.Repeat("A", 100) + ".e30.e30"} {
		f.Add(s)
	}
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	var key publicKey
	key.JSONWebKey = jose.JSONWebKey{}
	if err := key.UnmarshalJSON([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`)); err != nil {
		f.Fatal(err)
	}
	keys := &keySet{}
	keys.now, keys.load = now, func(context.Context) ([]publicKey, error) { return []publicKey{key}, nil }
	f.Fuzz(func(t *testing.T, raw string) {
		e := &expected{issuers: []string{"https://id.example"}, clientID: "c", nonce: "n", algs: signingAlgorithms, now: now}
		if c, err := checkIDToken(t.Context(), raw, keys, e); err == nil || KindOf(err) != Invalid {
			t.Errorf("%v %v", c, err)
		}
		if _, _, err := checkLogoutToken(t.Context(), raw, keys, e); err == nil || KindOf(err) != Invalid {
			t.Errorf("%v", err)
		}
	})
}

// FuzzAddress has an oracle: an address that passes splits at its one @ into two parts that hold nothing special.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b.c", "a@evil@corp", `"a@b"@c`, "a (c)@b.c", "Ana <a@b.c>", "a@b.c,d@e.f", "a@[1.2.3.4]", "ä@ö", "a@b\u202e.c", "=?utf-8?q?a?=@b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !plainAddress(s) {
			return
		}
		local, domain, ok := strings.Cut(s, "@")
		if !ok || local == "" || domain == "" || strings.ContainsAny(s, "\"'()<>,;:\\[] \t\r\n") && !strings.Contains(local, "'") || strings.Contains(domain, "@") || len(s) > 254 {
			t.Errorf("%q", s)
		}
	})
}
