package connectortest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"strings"
)

// Token is a JWT before it is signed. A forgery changes what it likes.
type Token struct {
	Header, Claims map[string]any
	Payload        []byte                      // signed instead of Claims, nil = those
	Key            any                         // the private key, or the bytes of a MAC's
	Finish         func(compact string) string // has the last word, nil = none
	Other          any                         // a private key that is not published
}

// Compact signs t with the algorithm that its header names.
func (t *Token) Compact() (string, error) {
	head, err := json.Marshal(t.Header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(t.Claims)
	if err != nil {
		return "", err
	}
	if t.Payload != nil {
		body = t.Payload
	}
	signed := encode64(head) + "." + encode64(body)
	alg, _ := t.Header["alg"].(string)
	sig, err := sign(alg, t.Key, signed)
	if err != nil {
		return "", err
	}
	out := signed + "." + encode64(sig)
	if t.Finish != nil {
		out = t.Finish(out)
	}
	return out, nil
}

func decode64(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func sign(alg string, key any, signed string) ([]byte, error) {
	if strings.EqualFold(alg, "none") {
		return nil, nil
	}
	newHash, id := sha256.New, crypto.SHA256
	switch {
	case strings.HasSuffix(alg, "384"):
		newHash, id = sha512.New384, crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		newHash, id = sha512.New, crypto.SHA512
	}
	sum := digest(newHash(), signed)
	switch k := key.(type) {
	case []byte:
		m := hmac.New(newHash, k)
		m.Write([]byte(signed))
		return m.Sum(nil), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, k, id, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, k, id, sum)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			return nil, err
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(signed)), nil
	}
	return nil, fmt.Errorf("connectortest: no way to sign with %s and %T", alg, key)
}

func digest(h hash.Hash, s string) []byte {
	h.Write([]byte(s))
	return h.Sum(nil)
}

// halfHash is at_hash and its like (OpenID Connect Core §3.1.3.6).
func halfHash(alg, token string) string {
	newHash := sha256.New
	switch {
	case strings.HasSuffix(alg, "384"):
		newHash = sha512.New384
	case strings.HasSuffix(alg, "512"), alg == "EdDSA":
		newHash = sha512.New
	}
	sum := digest(newHash(), token)
	return encode64(sum[:len(sum)/2])
}

// newKey makes a private key for an algorithm.
func newKey(alg string) (any, error) {
	switch {
	case alg == "EdDSA":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case alg == "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("connectortest: no keys for %q", alg)
}

// signingKey is a key of a fake and what its JWKS says about it.
type signingKey struct {
	alg, kid string
	private  any
	extra    map[string]any // further members of the JWK
}

func newSigningKey(alg string) (*signingKey, error) {
	k, err := newKey(alg)
	if err != nil {
		return nil, err
	}
	return &signingKey{alg: alg, kid: strings.ToLower(rand.Text()[:16]), private: k}, nil
}

// jwk is the public half (RFC 7517, RFC 7518 §6, RFC 8037 §2).
func (k *signingKey) jwk() map[string]any {
	m := publicJWK(k.private)
	m["kid"], m["use"], m["alg"] = k.kid, "sig", k.alg
	for name, v := range k.extra {
		m[name] = v
	}
	return m
}

func publicJWK(private any) map[string]any {
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return map[string]any{"kty": "RSA", "n": encode64(k.N.Bytes()), "e": encode64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return map[string]any{}
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "x": encode64(point[1:33]), "y": encode64(point[33:])}
	case ed25519.PrivateKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode64(k.Public().(ed25519.PublicKey))}
	}
	return map[string]any{}
}

// publicPEM is what an attacker takes for the secret of HS256.
func publicPEM(private any) []byte {
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
