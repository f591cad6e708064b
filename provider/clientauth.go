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
)

// Client authentication methods (RFC 7591 §2, token_endpoint_auth_method).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authNone  = "none"
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
	id, secret, raw, method, err := credentials(r, form)
	if err != nil {
		return nil, err
	}
	web.LogAttrs(ctx, slog.String("client", id))
	c, err := p.client(ctx, id)
	if errors.Is(err, errNoClient) {
		secretMatches(dummyHash, secret, raw) // equal work for ids that do not exist
		return nil, errBadClient
	}
	if err != nil {
		return nil, err
	}
	want := c.Metadata.TokenEndpointAuth
	if want == "" {
		want = authBasic
	}
	if method != want {
		// Old libraries probe basic and post in turn; but a client registered for one is held to it.
		return nil, errBadClient.WithDebugf("client registered %s, used %s", want, method)
	}
	if method == authNone {
		return c, nil
	}
	ok := secretMatches(c.SecretHash, secret, raw)
	if !c.PrevUntil.IsZero() && p.c.Now().Before(c.PrevUntil.Time) {
		ok = secretMatches(c.PrevSecretHash, secret, raw) || ok
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

// credentials finds the one method a request uses (RFC 6749 §2.3: never more than one).
func credentials(r *http.Request, form url.Values) (id, secret, raw, method string, err error) {
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return "", "", "", "", errBadClient
	}
	auth := r.Header.Values("Authorization")
	if len(auth) > 1 {
		return "", "", "", "", fosite.ErrInvalidRequest.WithHint("More than one Authorization header.")
	}
	if len(auth) == 1 {
		scheme, rest, _ := strings.Cut(auth[0], " ")
		if !strings.EqualFold(scheme, "Basic") {
			return "", "", "", "", errBadClient
		}
		if form.Has("client_secret") {
			return "", "", "", "", fosite.ErrInvalidRequest.WithHint("The client authenticated twice: use either the Authorization header or the body.")
		}
		id, secret, raw, ok := basic(rest)
		if !ok || id == "" {
			return "", "", "", "", errBadClient
		}
		// RFC 6749 §3.2.1: client_id in the body is allowed beside Basic, another one is not.
		if b := form.Get("client_id"); b != "" && b != id {
			return "", "", "", "", fosite.ErrInvalidRequest.WithHint("The body names another client than the Authorization header.")
		}
		return id, secret, raw, authBasic, nil
	}
	id = form.Get("client_id")
	if id == "" {
		return "", "", "", "", errBadClient
	}
	if form.Has("client_secret") {
		return id, form.Get("client_secret"), form.Get("client_secret"), authPost, nil
	}
	return id, "", "", authNone, nil
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
