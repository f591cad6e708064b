package provider

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzClientAssertion: whatever comes as an assertion, reading it neither panics nor lets pass what must not, and without a key nothing verifies.
func FuzzClientAssertion(f *testing.F) {
	enc := base64.RawURLEncoding.EncodeToString
	for _, s := range []string{`{"alg":"RS256"}.{"sub":"app","iss":"app","exp":1}.x`, `{"alg":"none"}.{}.`, `{"alg":"ES256","jwk":{"kty":"EC"}}.{"aud":["a",1]}.y`,
		`{"alg":"HS256","kid":"../../x","typ":"application/jwt"}.{"exp":1e400}.z`, `{"alg":"EdDSA","crit":["b64"],"b64":false}.{"a":{"b":1,"b":2}}.`} {
		p := strings.Split(s, ".")
		f.Add(enc([]byte(p[0])), enc([]byte(p[1])), enc([]byte(p[2])))
	}
	keys, err := ClientKeys([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, claims, signature string) {
		jwt, err := readJWT(header+"."+claims+"."+signature, append([]string{algHS256}, assertionAlgs...), assertionTyps)
		if err != nil {
			return
		}
		if _, ok := signedWith(keys, jwt); ok {
			t.Errorf("a signature out of nothing: %s", jwt.raw)
		}
		raw, _ := b64.DecodeString(header)
		h, err := readObject(raw)
		if err != nil || h.text("alg") == "none" || h["jwk"] != nil || h["jku"] != nil || h["x5u"] != nil || h["crit"] != nil {
			t.Errorf("header %q", raw)
		}
		_, _ = jwt.claims.audience()
		_ = jwt.claims.inTime(time.Unix(1_800_000_000, 0), assertionLife)
	})
}

func TestObjectsThatAreSignedAreReadStrictly(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		`{}`: true, `{"a":{"b":1},"c":{"b":2}}`: true, `{"a":[{"b":1},{"b":2}]}`: true, ` {"a":1} `: true, `{"A":1,"a":2}`: true, `{"a":"a","b":"a"}`: true,
		`{"a":1,"a":2}`: false, `{"a":{"b":1,"b":1}}`: false, `{"a":[{"b":1,"b":2}]}`: false, `{"a":1,"\u0061":2}`: false,
		`null`: false, `[]`: false, `"x"`: false, `{} {}`: false, `{}x`: false, `{"a":1`: false, ``: false, "{\"a\":\"\xff\"}": false,
	} {
		if _, err := readObject([]byte(raw)); (err == nil) != ok {
			t.Errorf("%s: %v", raw, err)
		}
	}
	o, err := readObject([]byte(`{"n":9007199254740993,"f":1.5,"s":"1","neg":-1,"big":1e300,"null":null}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]bool{"n": {true, false}, "f": {true, true}, "s": {true, false}, "neg": {true, false}, "big": {true, false}, "null": {true, false}, "none": {false, false}} {
		if _, there, ok := o.date(name); there != want[0] || ok != want[1] {
			t.Errorf("%s: there %v, a time %v", name, there, ok)
		}
	}
}

// A key serves the algorithm of its type and no other: a published key is never a shared secret.
func TestSec_B7_KeysFitTheirAlgorithm(t *testing.T) {
	t.Parallel()
	keys, err := ClientKeys([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
		{"kty":"EC","crv":"P-384","x":"WRfeWfPAMZAEEDKVlmnL0u9b3ev6SjMTaeVSpl4wXhkxPSvvoEmTdjWpsHvU2xZl","y":"U0Ps7ntd82ghTFMZR-tXIDV1lqNyvNVEpjECx6unvNmCfpJZ4-5Tha9j1zqMy1-J"},
		{"kty":"unknown"}, 7, {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","key_ops":["sign"]},
		{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"RS256"}]}`))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, alg := range []string{algRS256, algPS256, algES256, algHS256, "none", ""} {
		if keyFits(alg, keys[0].Key) {
			t.Errorf("an Ed25519 key passes for %q", alg)
		}
	}
	if !keyFits(algEdDSA, keys[0].Key) || keyFits(algRS256, []byte(strings.Repeat("k", 32))) || keyFits(algHS256, []byte("short")) || keyFits(algHS256, nil) {
		t.Error("keys and algorithms")
	}
}

// FuzzRequestObject: what becomes of a request object is parameters that a browser could have sent, each of its type; client and response type are
// never changed by it.
func FuzzRequestObject(f *testing.F) {
	for _, s := range []string{`{"max_age":0,"claims":{"id_token":{"acr":null}},"resource":["https://a.example"]}`, `{"client_id":"other"}`, `{"response_type":"token"}`,
		`{"request":"x"}`, `{"max_age":1e3}`, `{"max_age":99999999999999999999}`, `{"latchkey:stored":"1","latchkey:marker":"x","state":"s"}`, `{"scope":null}`, `{"resource":[[]]}`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, claims string, alone bool) {
		o, err := readObject([]byte(claims))
		if err != nil {
			return
		}
		jwt := &clientJWT{claims: o}
		if alone {
			jwt.typ = typRequestObject
		}
		form, err := requestParameters(jwt, url.Values{"client_id": {"app"}, "response_type": {"code"}, "request": {"x"}, "state": {"outside"}})
		if err != nil {
			return
		}
		if form.Get("client_id") != "app" || form.Has("request") || form.Has("request_uri") || form.Has(storedParam) || form.Has(markerParam) || form.Has(hintParam) {
			t.Errorf("%s: %v", claims, form)
		}
		if rt := form.Get("response_type"); rt != "code" && !(alone && rt == "") && o["response_type"] != rt {
			t.Errorf("%s: %v", claims, form)
		}
		if s := form.Get("state"); s != "outside" && o["state"] != s && !(alone && s == "") {
			t.Errorf("%s: %v", claims, form)
		}
		for k, v := range form {
			if len(v) != 1 && k != "resource" {
				t.Errorf("%s: %s %v", claims, k, v)
			}
		}
		if _, err := strconv.ParseInt(form.Get("max_age"), 10, 64); form.Has("max_age") && err != nil {
			if _, isText := o["max_age"].(string); !isText {
				t.Errorf("%s: max_age %q", claims, form.Get("max_age"))
			}
		}
	})
}
