package provider

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// Config of a Provider. Zero durations are the defaults named beside them.
type Config struct {
	Issuer   string // exact iss of everything; no trailing slash
	Store    *store.Store
	Mux      *web.Mux
	Sessions *session.Manager
	Keys     *KeySet
	Logger   *slog.Logger
	Now      func() time.Time
	// Login says where a browser that must sign in is sent; handle is the flow's.
	Login func(ctx context.Context, handle string, f store.Flow) (string, error)
	// Owes is the page where a person who is signed in must go before the client gets an answer, "" for none; the page gets the parameter
	// flow, and calls Continue. nil = nobody owes anything.
	Owes func(c *store.Client, u *store.User) (page string)
	// LeastACR is what a person must reach at sign-in whatever the application asks, MostACR what more of them can reach by a second factor, on the page
	// /mfa, or /mfa/passkey where two factors are not enough, which gets the parameter flow and calls Continue. FirstOwed is for Preview: what a sign-in that begins leads to at least. nil = "1".
	LeastACR, MostACR, FirstOwed func(ctx context.Context, u *store.Live) (string, error)
	// ConnectorEnabled answers for the login method a grant came through; nil = all are.
	ConnectorEnabled func(id string) bool
	// Debug says of an action whether its checks are logged, for clients that have the flag too (R104); nil = none are.
	Debug func(action string) bool
	// UpstreamSignOut is asked before a session ends. What it returns, unless nil, answers the request after that: it leads on through the sign-out
	// of the upstream the session came from, and then to the application's address, and loads frames on the way (FrontChannel). nil = no session came from an upstream.
	UpstreamSignOut func(ctx context.Context, s *session.Session, then string) func(w http.ResponseWriter, r *http.Request, frames []string) error
	// Outbound reaches the addresses that clients name; nil = web.Outbound(true), which reaches public ones only. Tests put their own in its place.
	Outbound *http.Client
	// Observe counts: issued tokens by grant type, refusals by error code. nil = not counted.
	Observe func(kind, detail string)

	CodeLife        time.Duration // 60 s, also the maximum (RFC 6749 §4.1.2, FAPI 2)
	AccessLife      time.Duration // 10 min, also the maximum (security.md B4)
	IDTokenLife     time.Duration // 10 min
	RefreshIdle     time.Duration // 30 days
	RefreshAbsolute time.Duration // 180 days
	RefreshGrace    time.Duration // 30 s; negative = none
	FlowLife        time.Duration // 10 min
	ConsentLife     time.Duration // 365 days
}

// Provider serves the protocol endpoints.
type Provider struct {
	c         Config
	fosite    *fosite.Fosite
	discovery []byte
	seen      *verified
	views     sync.Map // client id -> *Client of the row last seen
	origins   atomic.Pointer[map[string]bool]

	keySources keySources // jwks_uris of clients
}

// New checks the configuration and builds the handler lists by hand: a grant type that is not here does not exist (security.md B13).
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(c.Issuer, "/") {
		return nil, errors.New("provider: the issuer must be an absolute URL without query, fragment or trailing slash")
	}
	if c.Store == nil || c.Mux == nil || c.Sessions == nil || c.Keys == nil || c.Login == nil {
		return nil, errors.New("provider: incomplete configuration")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.CodeLife, time.Minute)
	def(&c.AccessLife, 10*time.Minute)
	def(&c.IDTokenLife, 10*time.Minute)
	def(&c.RefreshIdle, 30*24*time.Hour)
	def(&c.RefreshAbsolute, 180*24*time.Hour)
	def(&c.RefreshGrace, 30*time.Second)
	def(&c.FlowLife, 10*time.Minute)
	def(&c.ConsentLife, 365*24*time.Hour)
	if c.CodeLife > time.Minute || c.AccessLife > 10*time.Minute {
		return nil, errors.New("provider: codes live 60 s and access tokens 10 min at most")
	}
	c.RefreshGrace = max(c.RefreshGrace, 0)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ConnectorEnabled == nil {
		c.ConnectorEnabled = func(string) bool { return true }
	}
	if c.Owes == nil {
		c.Owes = func(*store.Client, *store.User) string { return "" }
	}
	for _, f := range []*func(context.Context, *store.Live) (string, error){&c.LeastACR, &c.MostACR, &c.FirstOwed} {
		if *f == nil {
			*f = func(context.Context, *store.Live) (string, error) { return "1", nil }
		}
	}
	if c.Observe == nil {
		c.Observe = func(string, string) {}
	}
	if c.Outbound == nil {
		c.Outbound = web.Outbound(true)
	}
	p := &Provider{c: c, seen: newVerified(4096, 65536), keySources: keySources{http: c.Outbound, now: c.Now}}
	p.fosite = p.engine()
	if p.discovery, err = p.buildDiscovery(); err != nil {
		return nil, err
	}
	c.Store.OnChange(func() {
		p.origins.Store(nil)
		p.views.Clear()
	})
	return p, nil
}

// engine sets up fosite: stock handlers over our storage and strategies. The order matters: the code handler sees the code before PKCE
// judges it, and ID tokens come after the access token they hash.
func (p *Provider) engine() *fosite.Fosite {
	base := &fosite.Config{
		AuthorizeCodeLifespan:    p.c.CodeLife,
		AccessTokenLifespan:      p.c.AccessLife,
		IDTokenLifespan:          p.c.IDTokenLife,
		RefreshTokenLifespan:     p.c.RefreshIdle,
		IDTokenIssuer:            p.c.Issuer,
		AccessTokenIssuer:        p.c.Issuer,
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.ExactAudienceMatchingStrategy,
		// Registration decides what may be redirected to (web.CheckRedirectForm), once.
		RedirectSecureChecker:        func(context.Context, *url.URL) bool { return true },
		ClientAuthenticationStrategy: p.authenticate,
		ClientSecretsHasher:          noHasher{},
		JWKSFetcherStrategy:          noFetcher{}, // set, because the default is made lazily without a lock
		OmitRedirectScopeParam:       true,
	}
	cfg := &engineConfig{base}
	st := &storage{p}
	tok := &tokens{p}
	ids := &openid.IDTokenHandleHelper{IDTokenStrategy: &idTokens{p}}
	code := &oauth2.AuthorizeExplicitGrantHandler{AccessTokenStrategy: tok, RefreshTokenStrategy: tok, AuthorizeCodeStrategy: tok,
		CoreStorage: st, TokenRevocationStorage: st, Config: cfg}
	pk := &pkce.Handler{AuthorizeCodeStrategy: tok, Storage: st, Config: cfg}
	oidcCode := &openid.OpenIDConnectExplicitHandler{OpenIDConnectRequestStorage: st, Config: cfg, IDTokenHandleHelper: ids,
		OpenIDConnectRequestValidator: openid.NewOpenIDConnectRequestValidator(nil, cfg)}
	base.AuthorizeEndpointHandlers = fosite.AuthorizeEndpointHandlers{code, oidcCode, pk}
	base.TokenEndpointHandlers = fosite.TokenEndpointHandlers{
		code,
		&oauth2.RefreshTokenGrantHandler{AccessTokenStrategy: tok, RefreshTokenStrategy: tok, TokenRevocationStorage: st, Config: cfg},
		&oauth2.ClientCredentialsGrantHandler{HandleHelper: &oauth2.HandleHelper{AccessTokenStrategy: tok, AccessTokenStorage: st, Config: cfg}, Config: cfg},
		oidcCode,
		&openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: ids, Config: cfg},
		pk,
	}
	return fosite.NewOAuth2Provider(st, cfg)
}

// grantTypes this build serves; the token endpoint refuses every other as unsupported (fosite would say invalid_request).
var grantTypes = []string{"authorization_code", "refresh_token", "client_credentials"}

// engineConfig answers per request where fosite asks per server: the context carries the client.
type engineConfig struct{ *fosite.Config }

// GetEnforcePKCE implements fosite.EnforcePKCEProvider, per client.
func (*engineConfig) GetEnforcePKCE(ctx context.Context) bool {
	if req := requestFrom(ctx); req != nil {
		return req.client.requiresPKCE()
	}
	if ar, ok := ctx.Value(fosite.AccessRequestContextKey).(fosite.AccessRequester); ok {
		if c, ok := ar.GetClient().(*Client); ok {
			return c.requiresPKCE()
		}
	}
	return true
}

// GetRefreshTokenScopes implements fosite.RefreshTokenScopesProvider: whether a refresh token is due was decided with the consent and
// lies in the grant; nil means "no scope needed", the other answer is a scope nobody can have.
func (*engineConfig) GetRefreshTokenScopes(ctx context.Context) []string {
	if f := flowFrom(ctx); f != nil && f.refreshDue() {
		return nil
	}
	return []string{"\x00"}
}

// noHasher and noFetcher stand where fosite's own client authentication would look; ours never calls them.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return errBadClient }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, errBadClient }

type noFetcher struct{ fosite.JWKSFetcherStrategy }

// Mount is the table of contents.
func (p *Provider) Mount(m *web.Mux) {
	anyone := web.CORS{Any: true}
	registered := web.CORS{Allowed: p.corsAllowed}

	m.API("GET /.well-known/openid-configuration", p.serveDiscovery, anyone)
	m.API("GET /.well-known/oauth-authorization-server", p.serveDiscovery, anyone)
	m.API("GET /oauth2/jwks", p.serveJWKS, anyone)

	m.Page("GET /oauth2/authorize", web.Public, p.authorize, web.WhileActing)
	m.Page("POST /oauth2/authorize", web.Public, p.authorizePost, web.CrossSitePOST, web.WhileActing)
	m.Page("GET /consent", web.Public, p.consentPage)
	m.Page("POST /consent", web.Public, p.consentDecision)
	m.Page("GET /oauth2/logout", web.Public, p.logout, web.WhileActing)
	m.Page("POST /oauth2/logout", web.Public, p.logoutPost, web.CrossSitePOST, web.WhileActing)
	m.Page("POST /oauth2/logout/confirm", web.Public, p.logoutConfirm, web.WhileActing)

	m.API("POST /oauth2/token", p.token, registered)
	m.API("GET /oauth2/userinfo", p.userinfo, registered)
	m.API("POST /oauth2/userinfo", p.userinfo, registered)
	m.API("POST /oauth2/introspect", p.introspect)
	m.API("POST /oauth2/revoke", p.revoke, registered)
}

// corsAllowed says whether any client registered this origin (security.md B14). The answer cannot depend on the client: a preflight
// does not name one.
func (p *Provider) corsAllowed(ctx context.Context, origin string) bool {
	set := p.origins.Load()
	if set == nil {
		m := map[string]bool{}
		for after := ""; ; {
			page, err := p.c.Store.Clients(ctx, after, 200)
			if err != nil {
				p.c.Logger.ErrorContext(ctx, "origins not read", "err", err)
				return false
			}
			for _, c := range page {
				if c.DisabledAt.IsZero() {
					for _, o := range c.Metadata.AllowedCORSOrigins {
						m[o] = true
					}
				}
			}
			if len(page) < 200 {
				break
			}
			after = page[len(page)-1].ID
		}
		set = &m
		p.origins.Store(set)
	}
	return (*set)[origin]
}
