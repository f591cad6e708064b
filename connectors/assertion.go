package connectors

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// AuthKey authenticates by a signed assertion instead of a secret: private_key_jwt, RFC 7523 §2.2.
const AuthKey = "key"

// ClientKey is the key that AuthKey signs with.
type ClientKey struct {
	Private     crypto.PrivateKey // *rsa.PrivateKey of at least 2048 bits, or *ecdsa.PrivateKey on P-256
	ID          string            // the key's id as registered, "" = none
	Certificate *x509.Certificate // what Entra knows the key by, nil = none
}

// algorithm is RS256 or ES256, which everybody knows; PS256 where a certificate says that this is Entra.
func (k *ClientKey) algorithm() (jose.SignatureAlgorithm, error) {
	switch p := k.Private.(type) {
	case *rsa.PrivateKey:
		if p.N.BitLen() < 2048 {
			return "", errors.New("the client's key has fewer than 2048 bits")
		}
		if k.Certificate != nil {
			return jose.PS256, nil
		}
		return jose.RS256, nil
	case *ecdsa.PrivateKey:
		if p.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
	}
	return "", fmt.Errorf("the client's key, a %T, is neither RSA nor on P-256", k.Private)
}

// assert adds a fresh client assertion for the token endpoint to form.
func (r *registered) assert(form url.Values, endpoint string) error {
	alg, err := r.key.algorithm()
	if err != nil {
		return err
	}
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if c := r.key.Certificate; c != nil {
		sum := sha256.Sum256(c.Raw)
		opts = opts.WithHeader("x5t#S256", encode64(sum[:]))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: r.key.Private, KeyID: r.key.ID}}, opts)
	if err != nil {
		return err
	}
	now := r.now()
	body, err := json.Marshal(map[string]any{
		"iss": r.id, "sub": r.id, "aud": endpoint, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
	})
	if err != nil {
		return err
	}
	jws, err := signer.Sign(body)
	if err != nil {
		return err
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return err
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", compact)
	return nil
}
