package provider

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"github.com/latchkey-idp/latchkey/store"
)

// Defaults of a client's registration, one place for all who ask (RFC 7591 §2).
var (
	defaultGrantTypes = []string{"authorization_code"}
	defaultScope      = "openid profile email"
)

// Client is fosite's view of a store.Client; read only, shared between requests.
type Client struct {
	*store.Client
	redirects []string // registered, plus the loopback variant this request proved to match
	scopes    fosite.Arguments
	grants    fosite.Arguments
	keys      []jose.JSONWebKey // of the registration itself; nil = it has none
}

var (
	_ fosite.Client                         = (*Client)(nil)
	_ fosite.ResponseModeClient             = (*Client)(nil)
	_ fosite.ClientWithCustomTokenLifespans = (*Client)(nil)
)

func newClient(c *store.Client) *Client {
	scope := c.Metadata.Scope
	if scope == "" {
		scope = defaultScope
	}
	grants := c.Metadata.GrantTypes
	if len(grants) == 0 {
		grants = defaultGrantTypes
	}
	return &Client{Client: c, redirects: c.Metadata.RedirectURIs, scopes: strings.Fields(scope), grants: grants, keys: inlineKeys(c)}
}

// GetID implements fosite.Client.
func (c *Client) GetID() string { return c.ID }

// GetHashedSecret implements fosite.Client: clientauth.go compares secrets, fosite never does.
func (c *Client) GetHashedSecret() []byte { return nil }

// GetRedirectURIs implements fosite.Client.
func (c *Client) GetRedirectURIs() []string { return c.redirects }

// GetGrantTypes implements fosite.Client.
func (c *Client) GetGrantTypes() fosite.Arguments { return c.grants }

// GetResponseTypes implements fosite.Client.
func (c *Client) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }

// GetResponseModes implements fosite.ResponseModeClient.
func (c *Client) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery, fosite.ResponseModeFragment, fosite.ResponseModeFormPost}
}

// GetScopes implements fosite.Client.
func (c *Client) GetScopes() fosite.Arguments { return c.scopes }

// IsPublic implements fosite.Client.
func (c *Client) IsPublic() bool { return c.Metadata.TokenEndpointAuth == authNone }

// GetAudience implements fosite.Client: what it may name in `resource`.
func (c *Client) GetAudience() fosite.Arguments { return c.Metadata.Resources }

// GetEffectiveLifespan implements fosite.ClientWithCustomTokenLifespans.
func (c *Client) GetEffectiveLifespan(_ fosite.GrantType, tt fosite.TokenType, fallback time.Duration) time.Duration {
	if own := time.Duration(c.Metadata.AccessTokenTTL) * time.Second; tt == fosite.AccessToken && own > 0 {
		return min(own, fallback)
	}
	return fallback
}

// requiresPKCE: every client, unless an operator waived it for a confidential one (security.md A1).
func (c *Client) requiresPKCE() bool {
	return c.IsPublic() || c.Metadata.RequirePKCE == nil || *c.Metadata.RequirePKCE
}

// rotates: public clients on every use, confidential ones keep their token unless told otherwise; public ones are never told not to.
func (c *Client) rotates() bool {
	switch c.Metadata.RefreshRotation {
	case "always":
		return true
	case "never":
		return c.IsPublic()
	}
	return c.IsPublic()
}

// authMethod is how it proves itself.
func (c *Client) authMethod() string { return orDefault(c.Metadata.TokenEndpointAuth, authBasic) }

func (c *Client) native() bool { return c.Metadata.ApplicationType == "native" }

func (c *Client) name() string {
	if c.Metadata.Name != "" {
		return c.Metadata.Name
	}
	return c.ID
}

func (c *Client) idTokenAlg() string     { return orDefault(c.Metadata.IDTokenAlg, algRS256) }
func (c *Client) accessTokenAlg() string { return orDefault(c.Metadata.AccessTokenAlg, algES256) }

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// audience of its tokens when no resource was asked for (RFC 9068 §3).
func (c *Client) audience(issuer string) []string {
	if len(c.Metadata.Resources) > 0 {
		return c.Metadata.Resources[:1]
	}
	return []string{issuer}
}

// hasScope compares exactly; fosite's Arguments.Has ignores case and is not for decisions.
func (c *Client) hasScope(s string) bool { return slices.Contains(c.scopes, s) }

// errNoClient: no such client, or a disabled one. Nobody learns which.
var errNoClient = errors.New("provider: no such client")

// client reads one from memory; disabled is as good as absent.
func (p *Provider) client(ctx context.Context, id string) (*Client, error) {
	if id == "" || len(id) > 255 {
		return nil, errNoClient
	}
	row, err := p.c.Store.CachedClient(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoClient
	}
	if err != nil {
		return nil, err
	}
	if !row.DisabledAt.IsZero() {
		return nil, errNoClient
	}
	// The row is shared and never changes; a changed client is another row.
	if v, ok := p.views.Load(id); ok && v.(*Client).Client == row {
		return v.(*Client), nil
	}
	c := newClient(row)
	p.views.Store(id, c)
	return c, nil
}
