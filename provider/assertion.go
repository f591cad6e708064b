package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// assertionType is the one kind of client assertion (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLife is how far ahead the expiry of a client assertion may lie: it is made for one request, and its jti is remembered until then.
const assertionLife = 10 * time.Minute

var (
	assertionAlgs = SigningAlgs // of private_key_jwt
	secretAlgs    = []string{algHS256}
	assertionTyps = []string{"", "jwt", "client-authentication+jwt"}
)

// AssertionAlgs are what an authentication method may sign with; none for methods without a signature.
func AssertionAlgs(method string) []string {
	switch method {
	case authPrivateKey:
		return assertionAlgs
	case authSecretJWT:
		return secretAlgs
	}
	return nil
}

// assertedClient is whom an assertion speaks of, before anything of it is proven; "" when it cannot be read.
func assertedClient(raw string) string {
	t, err := readJWT(raw, append(slices.Clone(assertionAlgs), secretAlgs...), assertionTyps)
	if err != nil {
		return ""
	}
	return t.claims.text("sub")
}

// checkAssertion verifies a client assertion (RFC 7523 §3, OIDC Core §9) of a client that registered this method. The algorithm is the
// registration's to allow: one class for each method, one algorithm where it names one. The jti is spent last, so that only the client's own
// assertions take up room.
func (p *Provider) checkAssertion(ctx context.Context, c *Client, raw string) error {
	algs := AssertionAlgs(c.authMethod())
	if own := c.Metadata.TokenEndpointAuthAlg; own != "" {
		if !slices.Contains(algs, own) {
			return errors.New("the registered algorithm is none of the method")
		}
		algs = []string{own}
	}
	t, err := readJWT(raw, algs, assertionTyps)
	if err != nil {
		return err
	}
	now := p.c.Now()
	exp, _, hasExp := t.claims.date("exp")
	aud, audOK := t.claims.audience()
	jti := t.claims.text("jti")
	switch {
	case t.claims.text("iss") != c.ID || t.claims.text("sub") != c.ID:
		return errors.New("iss and sub are not both the client")
	case !audOK || !slices.Contains(aud, p.c.Issuer) && !slices.Contains(aud, p.c.Issuer+"/oauth2/token"):
		return errors.New("made for another audience")
	case !hasExp:
		return errors.New("without exp")
	case jti == "" || len(jti) > 512:
		return errors.New("without jti, or with one that is too long")
	}
	if err := t.claims.inTime(now, assertionLife); err != nil {
		return err
	}
	if c.authMethod() == authSecretJWT {
		err = p.verifyBySecret(c, t, now)
	} else {
		err = p.verifyByClient(ctx, c, t)
	}
	if err != nil {
		return err
	}
	first, err := p.c.Store.Mark(ctx, HashSecret("assertion\x00"+c.ID+"\x00"+jti), exp.Add(clientSkew))
	if err != nil {
		return err
	}
	if !first {
		return errors.New("jti was used before")
	}
	return nil
}

// errSecretSealed: a secret does not open under the master keys that are configured.
var errSecretSealed = errors.New("provider: sealed secret")

// verifyBySecret checks an HMAC under the client's secret, or the one before it while that lives (OIDC Core §10.1: its UTF-8 octets).
func (p *Provider) verifyBySecret(c *Client, t *clientJWT, now time.Time) error {
	sealed := []string{c.SecretSealed}
	if !c.PrevUntil.IsZero() && now.Before(c.PrevUntil.Time) {
		sealed = append(sealed, c.PrevSecretSealed)
	}
	for _, s := range sealed {
		if s == "" {
			continue
		}
		secret, err := p.c.Keys.c.Master.OpenClientSecret(c.ID, s)
		if err != nil {
			return fmt.Errorf("%w: client %s: %w", errSecretSealed, c.ID, err)
		}
		if t.verify([]byte(secret)) {
			return nil
		}
	}
	return errors.New("not signed with the secret")
}

// ClientSecret is how a secret is kept for a client of this method: its hash for all, and for client_secret_jwt, where both sides compute with
// the secret itself, sealed under the master key and bound to the client's row.
func (m MasterKeys) ClientSecret(id, method, secret string) store.ClientSecret {
	s := store.ClientSecret{Hash: HashSecret(secret)}
	if method == authSecretJWT {
		s.Sealed = m.Seal([]byte(secret), clientSecretAAD(id))
	}
	return s
}

// OpenClientSecret is the secret that ClientSecret sealed.
func (m MasterKeys) OpenClientSecret(id, sealed string) (string, error) {
	b, err := m.Open(sealed, clientSecretAAD(id))
	return string(b), err
}

func clientSecretAAD(id string) string { return "clients.secret_sealed." + id }

// UsesSecret says whether clients of this authentication method have a secret; "" is the default method.
func UsesSecret(method string) bool { return method != authNone && method != authPrivateKey }
