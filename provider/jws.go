package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Algorithms. The first four sign what clients verify; the last two never leave this process.
const (
	algRS256   = "RS256"
	algES256   = "ES256"
	algEdDSA   = "EdDSA"
	algPS256   = "PS256"
	algSeal    = "A256GCM" // codes and opaque access tokens
	algRefresh = "HS256"   // refresh tokens
	algHS256   = "HS256"   // what clients with client_secret_jwt sign their assertions with
)

// SigningAlgs are what a client may register for its tokens.
var SigningAlgs = []string{algRS256, algES256, algEdDSA, algPS256}

var joseAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA, jose.PS256}

// generate makes key material for alg, as it is sealed: PKCS #8, or 32 bytes for the symmetric ones.
func generate(alg string) ([]byte, error) {
	var key any
	var err error
	switch alg {
	case algRS256, algPS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case algES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algEdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case algSeal, algRefresh:
		b := make([]byte, 32)
		rand.Read(b) // never fails since Go 1.24
		return b, nil
	default:
		return nil, fmt.Errorf("provider: no algorithm %q", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("provider: generate %s key: %w", alg, err)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// signer signs JWTs with one private key, held as crypto.Signer so that a KMS or HSM needs no other path.
type signer struct {
	kid, alg string
	key      crypto.Signer
	headers  map[string]string // typ -> encoded protected header with its dot
}

// Types of JWT we sign; each has its header prepared.
const (
	typJWT    = "JWT"
	typAccess = "at+jwt"     // RFC 9068 §2.1
	typLogout = "logout+jwt" // Back-Channel Logout 1.0 §2.4
)

func newSigner(kid, alg string, pkcs8 []byte) (*signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("provider: key %s: %w", kid, err)
	}
	cs, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("provider: key %s cannot sign", kid)
	}
	s := &signer{kid: kid, alg: alg, key: cs, headers: map[string]string{}}
	for _, typ := range []string{typJWT, typAccess, typLogout} {
		h, err := json.Marshal(struct {
			Alg string `json:"alg"`
			KID string `json:"kid"`
			Typ string `json:"typ"`
		}{alg, kid, typ})
		if err != nil {
			return nil, err
		}
		s.headers[typ] = b64.EncodeToString(h) + "."
	}
	return s, nil
}

// sign returns the compact JWS (RFC 7515 §3.1) of payload.
func (s *signer) sign(typ string, payload []byte) (string, error) {
	head := s.headers[typ]
	buf := make([]byte, 0, len(head)+b64.EncodedLen(len(payload))+1+b64.EncodedLen(256))
	buf = append(buf, head...)
	buf = b64.AppendEncode(buf, payload)
	var sig []byte
	var err error
	switch s.alg {
	case algEdDSA: // RFC 8037 §3.1: the message itself is signed
		sig, err = s.key.Sign(rand.Reader, buf, crypto.Hash(0))
	case algRS256:
		d := sha256.Sum256(buf)
		sig, err = s.key.Sign(rand.Reader, d[:], crypto.SHA256)
	case algPS256:
		d := sha256.Sum256(buf)
		sig, err = s.key.Sign(rand.Reader, d[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case algES256:
		d := sha256.Sum256(buf)
		if sig, err = s.key.Sign(rand.Reader, d[:], crypto.SHA256); err == nil {
			sig, err = rawECDSA(sig)
		}
	default:
		err = fmt.Errorf("no algorithm %q", s.alg)
	}
	if err != nil {
		return "", fmt.Errorf("provider: sign with %s: %w", s.kid, err)
	}
	buf = append(buf, '.')
	buf = b64.AppendEncode(buf, sig)
	return string(buf), nil
}

// rawECDSA turns the ASN.1 signature of crypto.Signer into R||S of 64 bytes (RFC 7518 §3.4).
func rawECDSA(der []byte) ([]byte, error) {
	var r, s big.Int
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) {
		return nil, fmt.Errorf("malformed ECDSA signature")
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// thumbprint is the key id: the first 16 characters of the RFC 7638 thumbprint.
func thumbprint(pub crypto.PublicKey) (string, error) {
	t, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return b64.EncodeToString(t)[:16], nil
}
