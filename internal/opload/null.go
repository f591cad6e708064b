//go:build linux

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	_ "net/http/pprof"
	"net/url"
	"strings"
	"time"
)

// null is a provider without storage or policy: it answers every request of
// the workloads with a valid response and remembers nothing. It shows what
// HTTP, JSON and one signature cost, and tests the generator. It is not secure.
type null struct {
	issuer, alg string
	sign        func(signed []byte) []byte
	jwk         map[string]string
}

func newNull(issuer, alg string) (*null, error) {
	n := &null{issuer: issuer, alg: alg}
	b64 := base64.RawURLEncoding.EncodeToString
	switch alg {
	case "RS256":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		n.jwk = map[string]string{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
		n.sign = func(b []byte) []byte {
			sum := sha256.Sum256(b)
			sig, _ := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
			return sig
		}
	case "ES256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		n.jwk = map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
		n.sign = func(b []byte) []byte {
			sum := sha256.Sum256(b)
			r, s, _ := ecdsa.Sign(rand.Reader, key, sum[:])
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "EdDSA":
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		n.jwk = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}
		n.sign = func(b []byte) []byte { return ed25519.Sign(key, b) }
	default:
		return nil, fmt.Errorf("unknown algorithm %q", alg)
	}
	n.jwk["kid"], n.jwk["alg"], n.jwk["use"] = "null", alg, "sig"
	return n, nil
}

func (n *null) handler() http.Handler {
	mux := http.NewServeMux()
	static := func(v any) http.HandlerFunc {
		body, _ := json.Marshal(v)
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(body)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", static(map[string]any{
		"issuer": n.issuer, "jwks_uri": n.issuer + "/jwks", "authorization_endpoint": n.issuer + "/authorize",
		"token_endpoint": n.issuer + "/token", "userinfo_endpoint": n.issuer + "/userinfo",
		"introspection_endpoint": n.issuer + "/introspect", "revocation_endpoint": n.issuer + "/revoke",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{n.alg},
	}))
	mux.HandleFunc("GET /jwks", static(map[string]any{"keys": []any{n.jwk}}))
	mux.HandleFunc("GET /userinfo", static(map[string]any{"sub": "user", "email": "user@example.com"}))
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		active := !strings.HasPrefix(r.FormValue("token"), "m.") // machine tokens are used only to be revoked
		static(map[string]any{"active": active})(w, r)
	})
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) { r.ParseForm() })
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		back := url.Values{"state": {q.Get("state")}, "code": {q.Get("client_id") + "~" + q.Get("nonce")}}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		res := map[string]any{"access_token": "u." + random(), "token_type": "Bearer", "expires_in": 3600}
		switch r.FormValue("grant_type") {
		case "client_credentials":
			res["access_token"] = "m." + random()
		case "refresh_token":
			res["refresh_token"] = random()
			res["id_token"] = n.idToken("", "")
		default:
			client, nonce, _ := strings.Cut(r.FormValue("code"), "~")
			res["refresh_token"] = random()
			res["id_token"] = n.idToken(client, nonce)
		}
		static(res)(w, r)
	})
	return mux
}

func (n *null) idToken(client, nonce string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	head, _ := json.Marshal(map[string]string{"alg": n.alg, "kid": "null", "typ": "JWT"})
	now := time.Now().Unix()
	body, _ := json.Marshal(map[string]any{"iss": n.issuer, "sub": "user", "aud": client, "nonce": nonce, "iat": now, "exp": now + 3600})
	signed := b64(head) + "." + b64(body)
	return signed + "." + b64(n.sign([]byte(signed)))
}

func serveNull(addr, alg string, profile bool) error {
	n, err := newNull("http://"+addr, alg)
	if err != nil {
		return err
	}
	if profile {
		http.DefaultServeMux.Handle("/", n.handler())
		return http.ListenAndServe(addr, nil)
	}
	return http.ListenAndServe(addr, n.handler())
}
