package connectors

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// signingAlgorithms are those that an upstream may use at all. Symmetric ones are not among them: with HS256 a client secret becomes a
// signing key, and a published key passes for a secret.
var signingAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// publicKey is a key of a JWKS. Entra writes beside its keys for whose tokens they are good.
type publicKey struct {
	jose.JSONWebKey
	issuer string
}

// keySet is an upstream's published keys (RFC 7517). An unknown key makes us fetch them again, at most once a minute (security.md B8);
// while the upstream is down they serve for a day.
type keySet struct {
	cached[[]publicKey]
}

func newKeySet(c *registered, address func(context.Context) (string, error)) *keySet {
	s := &keySet{}
	s.now = c.now
	s.load = func(ctx context.Context) ([]publicKey, error) {
		at, err := address(ctx)
		if err != nil {
			return nil, err
		}
		doc, err := getJSON(ctx, c.http, at, "")
		if err != nil {
			return nil, err
		}
		return readKeys(doc)
	}
	return s
}

// readKeys takes the public signing keys out of a JWKS and leaves out what it cannot use (RFC 7517 §5).
func readKeys(doc claims) ([]publicKey, error) {
	list, _ := doc["keys"].([]any)
	if len(list) > 100 {
		return nil, fail(Upstream, "the key set has %d keys", len(list))
	}
	var keys []publicKey
	for _, entry := range list {
		member, ok := entry.(map[string]any)
		if !ok || member["kty"] == "oct" {
			continue
		}
		raw, err := json.Marshal(member)
		if err != nil {
			continue
		}
		if ops, there := member["key_ops"].([]any); there && !slices.Contains(ops, any("verify")) {
			continue // RFC 7517 §4.3
		}
		if _, there := member["issuer"]; there && claims(member).exact("issuer") == "" {
			continue // good for somebody's tokens, and nobody can tell whose
		}
		k := publicKey{issuer: claims(member).exact("issuer")}
		if err := k.UnmarshalJSON(raw); err != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if r, ok := k.Key.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			continue // RFC 7518 §3.3
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fail(Upstream, "the key set has no key that can be used")
	}
	return keys, nil
}

// signature verifies one JWT with a keySet. go-oidc calls it after it compared the algorithm with the allow-list; what kept the keys away
// is left in trouble, because go-oidc flattens errors to text.
type signature struct {
	keys       *keySet
	algs       []string
	keyIssuers []string // what a key that names an issuer may name
	trouble    error
}

// VerifySignature is oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	algs := make([]jose.SignatureAlgorithm, len(s.algs))
	for i, a := range s.algs {
		algs[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSigned(jwt, algs)
	if err != nil {
		return nil, err
	}
	if len(jws.Signatures) != 1 {
		return nil, errors.New("not exactly one signature")
	}
	for _, keys := range []func(context.Context) ([]publicKey, error){s.keys.get, s.keys.renew} {
		list, err := keys(ctx)
		if err != nil {
			s.trouble = err
			return nil, err
		}
		if payload, ok := s.with(list, jws); ok {
			return payload, nil
		}
	}
	return nil, errors.New("no published key made this signature")
}

func (s *signature) with(list []publicKey, jws *jose.JSONWebSignature) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for i := range list {
		k := &list[i]
		if header.KeyID != "" && k.KeyID != header.KeyID || k.Algorithm != "" && k.Algorithm != header.Algorithm ||
			k.issuer != "" && !slices.Contains(s.keyIssuers, k.issuer) {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// checkJOSE looks at a JWT before anything parses it whole (security.md B7, B9): its size, three parts, a header whose algorithm is on
// the list, whose type fits, and which brings no key of its own.
func checkJOSE(raw string, algs, types []string) error {
	if len(raw) > 16<<10 {
		return fmt.Errorf("a JWT of %d bytes", len(raw))
	}
	if strings.Count(raw, ".") != 2 {
		return errors.New("not a signed JWT in compact form")
	}
	var b []byte
	for i, part := range strings.Split(raw, ".") {
		decoded, err := decode64(part)
		if err != nil {
			return errors.New("not base64url")
		}
		if i == 0 {
			b = decoded
		}
	}
	h, err := readClaims(b)
	if err != nil {
		return fmt.Errorf("the header is %w", err)
	}
	if !slices.Contains(algs, h.exact("alg")) {
		return fmt.Errorf("signed with %q, which is not allowed", clean(h.exact("alg")))
	}
	if !slices.Contains(types, strings.ToLower(h.exact("typ"))) {
		return fmt.Errorf("of type %q", clean(h.exact("typ")))
	}
	for _, k := range []string{"crit", "jku", "jwk", "x5u", "b64", "zip", "enc"} {
		if _, ok := h[k]; ok {
			return fmt.Errorf("the header has %s", k)
		}
	}
	return nil
}

// unverified reads the claims of a JWT before its signature is checked: only to choose whose keys must have made it.
func unverified(raw string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWT")
	}
	b, err := decode64(parts[1])
	if err != nil {
		return nil, errors.New("the payload is not base64url")
	}
	return readClaims(b)
}

// verifierFor checks header, signature, issuer, audience and expiry with go-oidc, whose issuer check always stays on: with several
// spellings of an issuer the token chooses among those allowed.
func verifierFor(issuer, clientID string, sig *signature, now func() time.Time) *oidc.IDTokenVerifier {
	return oidc.NewVerifier(issuer, sig, &oidc.Config{ClientID: clientID, SupportedSigningAlgs: sig.algs, Now: now})
}
