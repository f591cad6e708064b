package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// Client authentication methods (RFC 7591 §2, token_endpoint_auth_method).
const (
	authBasic      = "client_secret_basic"
	authPost       = "client_secret_post"
	authSecretJWT  = "client_secret_jwt"
	authPrivateKey = "private_key_jwt"
	authNone       = "none"
)

// HashSecret is how a client's secret is kept. SHA-256 is right for 256 random bits; a slow hash would only let strangers burn our CPU.
func HashSecret(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// errBadClient is the one answer to every failed authentication; nobody learns which clients exist.
var errBadClient = fosite.ErrInvalidClient.WithHint("Client authentication failed.")

// authenticate is fosite's ClientAuthenticationStrategy: exactly one method per request, and the one the client registered.
func (p *Provider) authenticate(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	c, err := p.authenticateClient(ctx, r, form)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Provider) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (*Client, error) {
	cr, err := readCredentials(r, form)
	if err != nil {
		return nil, err
	}
	web.LogAttrs(ctx, slog.String("client", cr.id))
	c, err := p.client(ctx, cr.id)
	if errors.Is(err, errNoClient) {
		secretMatches(dummyHash, cr.secret, cr.raw) // equal work for ids that do not exist
		return nil, errBadClient
	}
	if err != nil {
		return nil, err
	}
	want := c.authMethod()
	used := cr.method
	if cr.assertion != "" && len(AssertionAlgs(want)) > 0 {
		used = want // which of the two an assertion is depends on what was registered, never on what it says of itself
	}
	if used != want {
		// Old libraries probe basic and post in turn; but a client registered for one is held to it.
		return nil, errBadClient.WithDebugf("client registered %s, used %s", want, used)
	}
	switch want {
	case authNone:
		return c, nil
	case authSecretJWT, authPrivateKey:
		if err := p.checkAssertion(ctx, c, cr.assertion); err != nil {
			if errors.Is(err, store.ErrUnavailable) || errors.Is(err, errSecretSealed) { // trouble of ours
				return nil, err
			}
			return nil, errBadClient.WithDebugf("client assertion: %v", err)
		}
		return c, nil
	}
	ok := secretMatches(c.SecretHash, cr.secret, cr.raw)
	if !c.PrevUntil.IsZero() && p.c.Now().Before(c.PrevUntil.Time) {
		ok = secretMatches(c.PrevSecretHash, cr.secret, cr.raw) || ok
	}
	if !ok {
		return nil, errBadClient
	}
	return c, nil
}

const dummyHash = "0000000000000000000000000000000000000000000000000000000000000000"

// secretMatches takes the secret as RFC 6749 §2.3.1 spells it, or as it came: many libraries do not form-encode it inside Basic, and then
// "+" is a plus.
func secretMatches(hash, secret, raw string) bool {
	a := subtle.ConstantTimeCompare([]byte(HashSecret(secret)), []byte(hash))
	b := 0
	if raw != secret {
		b = subtle.ConstantTimeCompare([]byte(HashSecret(raw)), []byte(hash))
	}
	return hash != "" && a|b == 1
}

// credentials are what a request brings to prove its client.
type credentials struct {
	id, secret, raw string // raw: the secret as it came, not decoded
	assertion       string
	method          string
}

// anAssertion stands where a method does until the client's registration says which of the two it is.
const anAssertion = "an assertion"

// readCredentials finds the one method a request uses (RFC 6749 §2.3: never more than one).
func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	none := credentials{}
	auth := r.Header.Values("Authorization")
	if len(auth) > 1 {
		return none, fosite.ErrInvalidRequest.WithHint("More than one Authorization header.")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return readAssertion(auth, form)
	}
	if len(auth) == 1 {
		scheme, rest, _ := strings.Cut(auth[0], " ")
		if !strings.EqualFold(scheme, "Basic") {
			return none, errBadClient
		}
		if form.Has("client_secret") {
			return none, fosite.ErrInvalidRequest.WithHint("The client authenticated twice: use either the Authorization header or the body.")
		}
		id, secret, raw, ok := basic(rest)
		if !ok || id == "" {
			return none, errBadClient
		}
		// RFC 6749 §3.2.1: client_id in the body is allowed beside Basic, another one is not.
		if b := form.Get("client_id"); b != "" && b != id {
			return none, fosite.ErrInvalidRequest.WithHint("The body names another client than the Authorization header.")
		}
		return credentials{id: id, secret: secret, raw: raw, method: authBasic}, nil
	}
	id := form.Get("client_id")
	if id == "" {
		return none, errBadClient
	}
	if form.Has("client_secret") {
		return credentials{id: id, secret: form.Get("client_secret"), raw: form.Get("client_secret"), method: authPost}, nil
	}
	return credentials{id: id, method: authNone}, nil
}

// readAssertion is readCredentials for a request with a client assertion: client_id may be left out, but never be another's (RFC 7521 §4.2).
func readAssertion(auth []string, form url.Values) (credentials, error) {
	if len(auth) > 0 || form.Has("client_secret") {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("The client authenticated twice: an assertion comes alone.")
	}
	if form.Get("client_assertion_type") != assertionType {
		return credentials{}, errBadClient.WithDebug("client_assertion_type is not that of a JWT")
	}
	c := credentials{assertion: form.Get("client_assertion"), method: anAssertion}
	if c.id = assertedClient(c.assertion); c.id == "" {
		return credentials{}, errBadClient.WithDebug("the client assertion cannot be read, or names no client")
	}
	if b := form.Get("client_id"); b != "" && b != c.id {
		return credentials{}, fosite.ErrInvalidRequest.WithHint("The body names another client than the assertion.")
	}
	return c, nil
}

// basic decodes RFC 6749 §2.3.1: both halves are form-encoded inside Basic; libraries that forget it are met where decoding fails.
func basic(b string) (id, secret, raw string, ok bool) {
	both, err := base64.StdEncoding.DecodeString(strings.TrimSpace(b))
	if err != nil {
		return "", "", "", false
	}
	id, raw, ok = strings.Cut(string(both), ":")
	if !ok {
		return "", "", "", false
	}
	secret = raw
	if d, err := url.QueryUnescape(id); err == nil {
		id = d
	}
	if d, err := url.QueryUnescape(secret); err == nil {
		secret = d
	}
	return id, secret, raw, true
}
