package connectors_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// redirectURI is where the fakes send browsers: nobody listens there, tests read it off the redirect.
const redirectURI = "https://login.example/callback/it"

var application = connectortest.Client{
	ID: "latchkey-client", Secret: "s3cret:/with+odd%signs&more", RedirectURIs: []string{redirectURI}, PostLogoutRedirectURIs: []string{"https://login.example/bye"},
}

// fake is what all fakes can do.
type fake interface {
	Visit(address string, press connectortest.Button) (*url.URL, error)
	Fail(f connectortest.Fault, endpoints ...string)
	Skew(d time.Duration)
	Forge(change func(*connectortest.Token))
	Requests(endpoints ...string) []connectortest.Request
	Forget()
	RotateKeys() error
	AfterConsent(f func())
	Close()
}

// upstream is a fake and what makes connectors to it.
type upstream struct {
	fake
	make func(http *http.Client) connectors.Connector
}

// quick gives a connector little patience, so that tests of stalls are quick.
func quick() *http.Client {
	return &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{}}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func startOIDC(t testing.TB, opt connectortest.OIDCOptions) *connectortest.OIDC {
	f := must[*connectortest.OIDC](t)(connectortest.NewOIDC(application, opt))
	t.Cleanup(f.Close)
	return f
}

func startGoogle(t testing.TB) *connectortest.Google {
	f := must[*connectortest.Google](t)(connectortest.NewGoogle(application))
	t.Cleanup(f.Close)
	return f
}

func startEntra(t testing.TB, audience string) *connectortest.Entra {
	f := must[*connectortest.Entra](t)(connectortest.NewEntra(application, audience))
	t.Cleanup(f.Close)
	return f
}

func oidcConfig(f *connectortest.OIDC) connectors.OIDCConfig {
	return connectors.OIDCConfig{Name: "it", Issuer: f.Issuer, ClientID: application.ID, ClientSecret: application.Secret}
}

func googleConfig(f *connectortest.Google) connectors.GoogleConfig {
	return connectors.GoogleConfig{Name: "it", Issuer: f.Issuer, ClientID: application.ID, ClientSecret: application.Secret}
}

func azureConfig(f *connectortest.Entra) connectors.AzureConfig {
	return connectors.AzureConfig{
		Name: "it", Authority: f.Authority, ClientID: application.ID, ClientSecret: application.Secret, Tenant: "common",
		AllowedTenants: []string{connectortest.TenantA},
	}
}

// upstreams are one of each kind, with everything as usual.
func upstreams(t *testing.T) map[string]upstream {
	o, g, e := startOIDC(t, connectortest.OIDCOptions{}), startGoogle(t), startEntra(t, "")
	return map[string]upstream{
		"oidc": {o, func(h *http.Client) connectors.Connector {
			cfg := oidcConfig(o)
			cfg.HTTP = h
			return must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
		}},
		"google": {g, func(h *http.Client) connectors.Connector {
			cfg := googleConfig(g)
			cfg.HTTP = h
			return must[*connectors.Google](t)(connectors.NewGoogle(cfg))
		}},
		"azure": {e, func(h *http.Client) connectors.Connector {
			cfg := azureConfig(e)
			cfg.HTTP = h
			return must[*connectors.Azure](t)(connectors.NewAzure(cfg))
		}},
	}
}

func attempt() connectors.Attempt {
	return connectors.Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), RedirectURI: redirectURI}
}

// signIn goes the whole way: to the fake, a button there, and back.
func signIn(ctx context.Context, c connectors.Connector, f fake, press connectortest.Button) (connectors.Identity, error) {
	return signInAs(ctx, c, f, attempt(), press)
}

func signInAs(ctx context.Context, c connectors.Connector, f fake, a connectors.Attempt, press connectortest.Button) (connectors.Identity, error) {
	callback, err := depart(ctx, c, f, a, press)
	if err != nil {
		return connectors.Identity{}, err
	}
	return c.Identify(ctx, a, callback)
}

// depart goes as far as the callback.
func depart(ctx context.Context, c connectors.Connector, f fake, a connectors.Attempt, press connectortest.Button) (url.Values, error) {
	to, err := c.AuthURL(ctx, a)
	if err != nil {
		return nil, err
	}
	back, err := f.Visit(to, press)
	if err != nil {
		return nil, err
	}
	q := back.Query()
	if got := q.Get("state"); got != a.State {
		return nil, &connectors.Error{Kind: connectors.Invalid, Detail: "state " + got}
	}
	return q, nil
}

// wantKind fails unless err is an *Error of that kind.
func wantKind(t *testing.T, err error, want connectors.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want %v", want)
	}
	if e, ok := err.(*connectors.Error); !ok || e.Kind != want {
		t.Fatalf("%T %v, want %v", err, err, want)
	}
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}
