//go:build linux

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// keySet holds the provider's public keys by key id.
type keySet map[string]crypto.PublicKey

type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expiry   float64  `json:"exp"`
	Nonce    string   `json:"nonce"`
}

type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

func (c *claims) check(issuer, client, nonce string) error {
	switch {
	case c.Issuer != issuer:
		return fmt.Errorf("wrong issuer %q", c.Issuer)
	case !slices.Contains(c.Audience, client):
		return fmt.Errorf("wrong audience %q", c.Audience)
	case c.Nonce != nonce:
		return fmt.Errorf("wrong nonce %q", c.Nonce)
	case c.Subject == "":
		return errors.New("no subject")
	case time.Unix(int64(c.Expiry), 0).Before(time.Now()):
		return errors.New("expired")
	}
	return nil
}

func parseKeys(doc []byte) (keySet, error) {
	var set struct {
		Keys []struct {
			Kid, Kty, Crv, N, E, X, Y string
		}
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	keys := keySet{}
	for _, k := range set.Keys {
		switch {
		case k.Kty == "RSA":
			keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(unb64(k.N)), E: int(new(big.Int).SetBytes(unb64(k.E)).Int64())}
		case k.Crv == "P-256":
			point := slices.Concat([]byte{4}, unb64(k.X), unb64(k.Y))
			pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			if err != nil {
				return nil, fmt.Errorf("jwks: key %q: %w", k.Kid, err)
			}
			keys[k.Kid] = pub
		case k.Crv == "Ed25519":
			keys[k.Kid] = ed25519.PublicKey(unb64(k.X))
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("jwks: no usable key")
	}
	return keys, nil
}

// verify checks the signature of an RS256, ES256 or Ed25519 JWT.
func (ks keySet) verify(token string) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("not a signed JWT: %.40q", token)
	}
	var head struct{ Alg, Kid string }
	if err := json.Unmarshal(unb64(parts[0]), &head); err != nil {
		return nil, err
	}
	key, signed, sig := ks[head.Kid], []byte(parts[0]+"."+parts[1]), unb64(parts[2])
	sum := sha256.Sum256(signed)
	ok := false
	switch pub := key.(type) {
	case *rsa.PublicKey:
		ok = head.Alg == "RS256" && rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		ok = head.Alg == "ES256" && len(sig) == 64 &&
			ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case ed25519.PublicKey:
		ok = (head.Alg == "EdDSA" || head.Alg == "Ed25519") && ed25519.Verify(pub, signed, sig)
	}
	if !ok {
		return nil, fmt.Errorf("bad %s signature by key %q", head.Alg, head.Kid)
	}
	c := new(claims)
	return c, json.Unmarshal(unb64(parts[1]), c)
}

func unb64(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return b
}
