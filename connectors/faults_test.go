package connectors_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_J8_UpstreamFaults: whatever an upstream does instead of answering is its trouble, told as such and in time.
func TestSec_J8_UpstreamFaults(t *testing.T) {
	t.Parallel()
	faults := []connectortest.Fault{
		connectortest.Refuse, connectortest.Stall, connectortest.Error500, connectortest.HTML, connectortest.Truncated, connectortest.Endless,
		connectortest.Drip, connectortest.Bomb, connectortest.RedirectLoop, connectortest.WrongType, connectortest.Empty,
	}
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints := []string{"discovery", "keys", "token"}
			if name == "oidc" {
				endpoints = append(endpoints, "userinfo")
			}
			for _, endpoint := range endpoints {
				for _, fault := range faults {
					up.Fail("")
					up.Fail(fault, endpoint)
					c := up.make(quick())
					began := time.Now()
					_, err := signIn(t.Context(), c, up, connectortest.Continue)
					took := time.Since(began)
					if err == nil || connectors.KindOf(err) != connectors.Upstream {
						t.Errorf("%s at %s: %v", fault, endpoint, err)
					}
					if took > 3*time.Second {
						t.Errorf("%s at %s took %v", fault, endpoint, took)
					}
					if fault == connectortest.RedirectLoop {
						if n := len(up.Requests(endpoint)); n != 1 {
							t.Errorf("%d requests to a redirect at %s", n, endpoint)
						}
					}
					up.Forget()
				}
			}
			up.Fail("")
			if _, err := signIn(t.Context(), up.make(nil), up, connectortest.Continue); err != nil {
				t.Errorf("mended: %v", err)
			}
		})
	}
}

// TestDownAtStart: a connector is made while its upstream is down, which costs one request every few seconds, and works when it is back.
func TestDownAtStart(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	f.Fail(connectortest.Refuse)
	var cl clock
	cfg := oidcConfig(f)
	cfg.Now = cl.now
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
	f.Clock(cl.now)
	for range 20 {
		_, err := c.AuthURL(t.Context(), attempt())
		wantKind(t, err, connectors.Upstream)
	}
	// The HTTP client itself may try an idempotent request on a broken connection once more.
	if n := len(f.Requests("discovery")); n > 2 {
		t.Errorf("%d requests to a server that is down", n)
	}
	f.Fail("")
	cl.advance(6 * time.Second)
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Fatal(err)
	}

	t.Log("down at noon: what is known serves for a day")
	f.Fail(connectortest.Error500, "discovery", "keys")
	cl.advance(20 * time.Hour)
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Fatal(err)
	}
	cl.advance(5 * time.Hour)
	_, err := signIn(t.Context(), c, f, connectortest.Continue)
	wantKind(t, err, connectors.Upstream)
	f.Fail("")
	cl.advance(6 * time.Second)
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Fatal(err)
	}

	t.Log("a clock that is set back makes nothing last longer, nor stop")
	cl.advance(-48 * time.Hour)
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Fatal(err)
	}
}

// TestOneDiscoveryForAll: many people at once cost one request.
func TestOneDiscoveryForAll(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	f.Delay(50 * time.Millisecond)
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	var wg sync.WaitGroup
	var bad atomic.Int32
	for range 50 {
		wg.Go(func() {
			if _, err := c.AuthURL(t.Context(), attempt()); err != nil {
				bad.Add(1)
			}
		})
	}
	wg.Wait()
	if n := len(f.Requests("discovery")); n != 1 || bad.Load() != 0 {
		t.Errorf("%d discoveries, %d failures", n, bad.Load())
	}
}

// TestKeysRotatedMidLogin: the key changes between the page and the token; a copy that is too old is fetched again, once.
func TestKeysRotatedMidLogin(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
				t.Fatal(err)
			}
			up.AfterConsent(func() {
				if err := up.RotateKeys(); err != nil {
					t.Error(err)
				}
			})
			if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
				t.Fatal(err)
			}
			if n := len(up.Requests("keys")); n != 2 {
				t.Errorf("keys were fetched %d times", n)
			}
		})
	}
}

// TestSec_B8_KeyRefetch: tokens with unknown keys make us fetch at most twice, the first time included; and once more a minute later.
func TestSec_B8_KeyRefetch(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{Alg: "ES256"})
	var cl clock
	cfg := oidcConfig(f)
	cfg.Now = cl.now
	f.Clock(cl.now)
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
	forged := func(n int) string {
		return must[string](t)(f.LogoutToken("ana", "", func(tok *connectortest.Token) {
			tok.Header["kid"] = time.Duration(n).String()
			tok.Key = tok.Other
		}))
	}
	var wg sync.WaitGroup
	for i := range 1000 {
		raw := forged(i)
		wg.Go(func() {
			_, _, err := c.LoggedOut(t.Context(), raw)
			if connectors.KindOf(err) != connectors.Invalid {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if n := len(f.Requests("keys")); n > 2 {
		t.Errorf("keys were fetched %d times", n)
	}
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Errorf("others: %v", err)
	}
	cl.advance(61 * time.Second)
	c.LoggedOut(t.Context(), forged(1)) //nolint:errcheck // only the requests count
	c.LoggedOut(t.Context(), forged(2)) //nolint:errcheck // only the requests count
	if n := len(f.Requests("keys")); n > 3 {
		t.Errorf("keys were fetched %d times", n)
	}

	t.Log("a key source that stalls or never ends costs its time once, and then nothing while it is left alone")
	for _, fault := range []connectortest.Fault{connectortest.Stall, connectortest.Endless} {
		cfg.HTTP = quick()
		c := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
		f.Fail("")
		f.Fail(fault, "keys")
		began := time.Now()
		for i := range 100 {
			_, _, err := c.LoggedOut(t.Context(), forged(i))
			wantKind(t, err, connectors.Upstream)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", fault, took)
		}
	}
}

// TestClockSkew: a minute is forgiven, more is not.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			for skew, ok := range map[time.Duration]bool{0: true, 50 * time.Second: true, -9 * time.Minute: true, 2 * time.Minute: false, -11 * time.Minute: false, 24 * time.Hour: false} {
				up.Skew(skew)
				_, err := signIn(t.Context(), c, up, connectortest.Continue)
				if ok && err != nil {
					t.Errorf("%v: %v", skew, err)
				} else if !ok && connectors.KindOf(err) != connectors.Invalid {
					t.Errorf("%v: accepted or %v", skew, err)
				}
			}
		})
	}
}

// TestCodes: a code is good once, for the attempt it was made for.
func TestCodes(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			a := attempt()
			callback, err := depart(t.Context(), c, up, a, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			other := attempt()
			_, err = c.Identify(t.Context(), other, callback) // another's verifier: this burns the code
			wantKind(t, err, connectors.Invalid)
			_, err = c.Identify(t.Context(), a, callback)
			wantKind(t, err, connectors.Invalid)

			a = attempt()
			if callback, err = depart(t.Context(), c, up, a, connectortest.Continue); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Identify(t.Context(), a, callback); err != nil {
				t.Fatal(err)
			}
			_, err = c.Identify(t.Context(), a, callback)
			wantKind(t, err, connectors.Invalid)
			if e := err.(*connectors.Error); e.Code != "invalid_grant" || e.Detail == "" {
				t.Errorf("code %q, detail %q", e.Code, e.Detail)
			}
			before := len(up.Requests("token"))
			if before != 4 {
				t.Errorf("%d token requests for 4 calls: a code is sent once", before)
			}
			for _, bad := range []map[string][]string{{}, {"code": {""}}, {"code": {"a", "b"}}, {"code": {string(make([]byte, 9<<10))}}, {"error": {"access_denied", "x"}},
				{"code": callback["code"], "iss": {"a", "b"}}} {
				_, err := c.Identify(t.Context(), attempt(), bad)
				wantKind(t, err, connectors.Invalid)
			}
			if n := len(up.Requests("token")); n != before {
				t.Errorf("%d token requests for callbacks without a code", n-before)
			}
		})
	}
}

// TestWrongCredentials: the operator's mistake is told as such, and the secret stays out of the words for the log.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	cfg := oidcConfig(f)
	cfg.ClientSecret = "not-the-secret-at-all"
	_, err := signIn(t.Context(), must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), f, connectortest.Continue)
	wantKind(t, err, connectors.Misconfigured)
	cfg = oidcConfig(f)
	cfg.ClientAuth = connectors.AuthPost // the fake takes basic
	_, err = signIn(t.Context(), must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), f, connectortest.Continue)
	wantKind(t, err, connectors.Misconfigured)
	if n := len(f.Requests("token")); n != 2 {
		t.Errorf("%d token requests for 2 sign-ins", n)
	}

	for _, mistake := range []func(*connectortest.OIDC) map[string]any{
		func(*connectortest.OIDC) map[string]any { return map[string]any{"issuer": "https://other.example"} },
		func(f *connectortest.OIDC) map[string]any { return map[string]any{"issuer": f.Issuer + "/"} },
	} {
		g := startOIDC(t, connectortest.OIDCOptions{})
		g.Metadata(mistake(g))
		_, err = must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(g))).AuthURL(t.Context(), attempt())
		wantKind(t, err, connectors.Misconfigured)
	}
	for _, bad := range []map[string]any{
		{"authorization_endpoint": connectortest.Absent}, {"token_endpoint": "http://evil.example/token"}, {"jwks_uri": "file:///etc/passwd"},
		{"authorization_endpoint": "javascript:alert(1)"}, {"issuer": connectortest.Absent}, {"token_endpoint": 7},
	} {
		g := startOIDC(t, connectortest.OIDCOptions{})
		g.Metadata(bad)
		_, err = must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(g))).AuthURL(t.Context(), attempt())
		wantKind(t, err, connectors.Upstream)
	}
	cfg = oidcConfig(f)
	cfg.Issuer = f.Issuer + "/nowhere"
	_, err = must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)).AuthURL(t.Context(), attempt())
	wantKind(t, err, connectors.Misconfigured)
}

// TestHTTPClient: a client that follows redirects is taught not to, and keeps no cookies.
func TestHTTPClient(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	f.Fail(connectortest.RedirectLoop, "token")
	cfg := oidcConfig(f)
	given := &http.Client{Timeout: time.Hour}
	cfg.HTTP = given
	_, err := signIn(t.Context(), must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), f, connectortest.Continue)
	wantKind(t, err, connectors.Upstream)
	if n := len(f.Requests("token")); n != 1 {
		t.Errorf("the token endpoint was asked %d times", n)
	}
	if given.Timeout != time.Hour || given.CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
}
