package connectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What Google's ID Tokens say. The old spelling is none of an issuer (OpenID Connect Core §2 wants https), but tokens still have it.
const (
	googleIssuer    = "https://accounts.google.com"
	googleIssuerOld = "accounts.google.com"
)

// GoogleConfig describes sign-in with Google.
type GoogleConfig struct {
	Name                   string // "" = google
	ClientID, ClientSecret string
	ClientAuth             string // AuthPost or AuthBasic; "" = post

	// HostedDomains are the Google Workspace domains whose people may come in, as Google writes them (ASCII); empty = everybody. Consumer
	// accounts belong to no domain.
	HostedDomains []string

	Scopes []string // nil = openid profile email
	Prompt string   // select_account, consent; "" = none

	Issuer string       // for tests; "" = Google
	HTTP   *http.Client // nil = a safe default
	Now    func() time.Time
}

// Google is the connector to Google accounts. Its key is sub, which Google never gives to anybody else; an address can pass to another
// person with its domain.
type Google struct {
	oidc    *OIDC
	domains []string
}

// NewGoogle checks the configuration. It does not reach the network.
func NewGoogle(cfg GoogleConfig) (*Google, error) {
	name := cmp.Or(cfg.Name, "google")
	bad := func(err error) error { return fmt.Errorf("connectors: %s: %w", name, err) }
	if cfg.ClientAuth == AuthNone {
		return nil, bad(errors.New("a client secret is needed"))
	}
	o, err := newOIDC(OIDCConfig{
		Name: name, Issuer: cmp.Or(cfg.Issuer, googleIssuer), ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret,
		ClientAuth: cmp.Or(cfg.ClientAuth, AuthPost), Algorithms: []string{"RS256"}, Scopes: cfg.Scopes, Prompt: cfg.Prompt,
		// The ID Token has all we ask for.
		NoUserInfo: true, HTTP: cfg.HTTP, Now: cfg.Now,
	})
	if err != nil {
		return nil, bad(err)
	}
	o.accepted = append(o.accepted, googleIssuerOld)
	g := &Google{oidc: o}
	for _, d := range cfg.HostedDomains {
		d = strings.ToLower(d)
		if !domainForm.MatchString(d) {
			return nil, bad(fmt.Errorf("hosted domain %q is no domain in ASCII", d))
		}
		g.domains = append(g.domains, d)
	}
	return g, nil
}

// Name is the connector's id.
func (g *Google) Name() string { return g.oidc.Name() }

// Warnings are what an operator should be told about this configuration.
func (g *Google) Warnings() []string { return g.oidc.Warnings() }

// AuthURL is where the browser goes. Google knows neither prompt=login nor max_age.
func (g *Google) AuthURL(ctx context.Context, a Attempt) (string, error) {
	p := url.Values{}
	prompt := cmp.Or(a.Prompt, g.oidc.cfg.Prompt)
	if prompt == "login" {
		prompt = "select_account"
	}
	set(p, "prompt", prompt)
	set(p, "login_hint", a.LoginHint)
	// Only a hint for Google's page: the rule is checked in the token.
	switch {
	case len(g.domains) == 1:
		p.Set("hd", g.domains[0])
	case a.DomainHint != "" && (len(g.domains) == 0 || slices.Contains(g.domains, strings.ToLower(a.DomainHint))):
		p.Set("hd", a.DomainHint)
	case len(g.domains) > 1:
		p.Set("hd", "*")
	}
	return g.oidc.authURL(ctx, a, p)
}

// Identify redeems a callback.
func (g *Google) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	_, c, err := g.oidc.identify(ctx, a, callback)
	if err != nil {
		return Identity{}, err
	}
	return g.identity(c)
}

// identity maps verified claims.
func (g *Google) identity(c claims) (Identity, error) {
	id, err := identityOf(c, g.oidc.cfg.Claims)
	if err != nil {
		return Identity{}, err
	}
	id.Connector, id.Issuer = g.Name(), g.oidc.issuer // one issuer, however the token spells it
	if id.Subject, err = c.subject("sub"); err != nil {
		return Identity{}, fail(Invalid, "the ID Token: %w", err)
	}
	hd := strings.ToLower(c.exact("hd")) // exactly: not even trimmed
	if len(g.domains) > 0 && !slices.Contains(g.domains, hd) {
		return Identity{}, fail(NotAllowed, "the hosted domain is %q", clean(hd))
	}
	id.EmailTrust = googleTrust(id.Email, c.yes("email_verified", false), hd)
	return id, nil
}

// googleTrust follows Google's own rule for where it is authoritative: its mailboxes, and the domains it hosts. Any other address it
// checked once, and the owner may have changed since.
func googleTrust(email string, verified bool, hostedDomain string) Trust {
	switch {
	case email == "":
		return TrustNone
	case !verified:
		return TrustReported
	case domainOf(email) == "gmail.com", hostedDomain != "":
		return TrustAuthoritative
	}
	return TrustVerified
}
