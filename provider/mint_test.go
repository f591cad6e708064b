package provider_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// Keys of applications under test, made once: an RSA key takes a second on a busy machine.
var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must1(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must1(k, err) })
)

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// published is the JWKS of private keys under the kids of their places: kid, key, kid, key.
func published(kidsAndKeys ...any) json.RawMessage {
	var set jose.JSONWebKeySet
	for i := 0; i < len(kidsAndKeys); i += 2 {
		set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: kidsAndKeys[i].(string), Use: "sig", Key: kidsAndKeys[i+1].(crypto.Signer).Public()})
	}
	return must1(json.Marshal(set))
}

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

type object = map[string]any

// mint signs whatever header and claims say, right or wrong. A string stands for raw JSON.
func mint(key any, header, claims any) string {
	part := func(v any) string {
		b, isText := v.(string)
		if !isText {
			b = string(must1(json.Marshal(v)))
		}
		return base64.RawURLEncoding.EncodeToString([]byte(b))
	}
	in := part(header) + "." + part(claims)
	alg := ""
	if h, ok := header.(object); ok {
		alg, _ = h["alg"].(string)
	}
	sum := sha256.Sum256([]byte(in))
	var sig []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if alg == "PS256" {
			sig = must1(rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		} else {
			sig = must1(rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:]))
		}
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		must1(0, err)
		sig = make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(in))
	case []byte:
		m := hmac.New(sha256.New, k)
		m.Write([]byte(in))
		sig = m.Sum(nil)
	case nil: // alg none
	default:
		panic(fmt.Sprintf("mint: %T", key))
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// with is m with some members replaced; nil takes one out.
func with(m object, pairs ...any) object {
	out := maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
			continue
		}
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

// claimsOf are those of a good client assertion.
func claimsOf(idp *testidp.IDP, id string) object {
	now := idp.Now()
	return object{"iss": id, "sub": id, "aud": idp.Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

// asserting makes a relying party prove itself by assertions signed with key.
func asserting(idp *testidp.IDP, rp *testidp.RP, key any, header object) *testidp.RP {
	rp.Assert = func(form url.Values) { assert(form, mint(key, header, claimsOf(idp, rp.ID))) }
	return rp
}

// assert puts an assertion into a form.
func assert(form url.Values, jwt string) {
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", jwt)
}

// site is what lies at the addresses that applications name; it counts who asked. It needs no sockets, so bubbles have it too.
type site struct {
	mu    sync.Mutex
	at    map[string]string // address without fragment -> answer
	asked map[string]int
}

func (s *site) put(address string, body any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at, s.asked = map[string]string{}, map[string]int{}
	}
	switch b := body.(type) {
	case string:
		s.at[address] = b
	case json.RawMessage:
		s.at[address] = string(b)
	}
}

func (s *site) count(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[address]
}

// RoundTrip implements http.RoundTripper.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := r.URL.String()
	s.asked[at]++
	w := httptest.NewRecorder()
	if body, ok := s.at[at]; ok {
		_, _ = w.WriteString(body)
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
	return w.Result(), nil
}

func withSite(s *site) server.Options { return server.Options{Outbound: s.client()} }

func (s *site) client() *http.Client { return &http.Client{Transport: s} }
