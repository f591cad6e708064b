package connectors_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestConfigurations: mistakes are found when a connector is made, without the network.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	type oc = connectors.OIDCConfig
	good := oc{Name: "it", Issuer: "https://id.example", ClientID: "c", ClientSecret: "s"}
	for what, change := range map[string]func(*oc){
		"name":           func(c *oc) { c.Name = "It" },
		"no name":        func(c *oc) { c.Name = "" },
		"long name":      func(c *oc) { c.Name = strings.Repeat("a", 33) },
		"no issuer":      func(c *oc) { c.Issuer = "" },
		"http issuer":    func(c *oc) { c.Issuer = "http://id.example" },
		"loopback-like":  func(c *oc) { c.Issuer = "http://127.0.0.1.evil.example" },
		"fragment":       func(c *oc) { c.Issuer = "https://id.example#x" },
		"user":           func(c *oc) { c.Issuer = "https://u:p@id.example" },
		"relative":       func(c *oc) { c.Issuer = "id.example" },
		"endpoint":       func(c *oc) { c.Endpoints.Token = "http://id.example/token" },
		"endpoint 2":     func(c *oc) { c.Endpoints.EndSession = "javascript:x" },
		"client":         func(c *oc) { c.ClientID = "" },
		"way":            func(c *oc) { c.ClientAuth = "auto" },
		"no secret":      func(c *oc) { c.ClientAuth, c.ClientSecret = connectors.AuthPost, "" },
		"secret in vain": func(c *oc) { c.ClientAuth = connectors.AuthNone },
		"key in vain":    func(c *oc) { c.ClientAuth, c.ClientKey = connectors.AuthPost, &connectors.ClientKey{} },
		"no key":         func(c *oc) { c.ClientAuth, c.ClientSecret = connectors.AuthKey, "" },
		"HS256":          func(c *oc) { c.Algorithms = []string{"HS256"} },
		"none":           func(c *oc) { c.Algorithms = []string{"RS256", "none"} },
		"no algorithm":   func(c *oc) { c.Algorithms = []string{} },
		"state":          func(c *oc) { c.AuthParams = map[string]string{"state": "x"} },
		"redirect":       func(c *oc) { c.AuthParams = map[string]string{"redirect_uri": "x"} },
		"public, no PKCE": func(c *oc) {
			c.ClientSecret, c.NoPKCE = "", true
		},
	} {
		cfg := good
		change(&cfg)
		if _, err := connectors.NewOIDC(cfg); err == nil {
			t.Errorf("oidc: %s was accepted", what)
		}
	}
	if _, err := connectors.NewOIDC(good); err != nil {
		t.Error(err)
	}

	type gc = connectors.GoogleConfig
	for what, change := range map[string]func(*gc){
		"domain":           func(c *gc) { c.HostedDomains = []string{"exämple.com"} },
		"domain with @":    func(c *gc) { c.HostedDomains = []string{"@example.com"} },
		"domain wild":      func(c *gc) { c.HostedDomains = []string{"*"} },
		"domain empty":     func(c *gc) { c.HostedDomains = []string{"example.com", ""} },
		"no secret":        func(c *gc) { c.ClientSecret = "" },
		"public":           func(c *gc) { c.ClientSecret, c.ClientAuth = "", connectors.AuthNone },
		"domain with more": func(c *gc) { c.HostedDomains = []string{"example.com,evil.example"} },
	} {
		cfg := gc{ClientID: "c", ClientSecret: "s"}
		change(&cfg)
		if _, err := connectors.NewGoogle(cfg); err == nil {
			t.Errorf("google: %s was accepted", what)
		}
	}
	if g, err := connectors.NewGoogle(gc{ClientID: "c", ClientSecret: "s"}); err != nil || g.Name() != "google" || len(g.Warnings()) != 0 {
		t.Errorf("%v", err)
	}

	type ac = connectors.AzureConfig
	const a = connectortest.TenantA
	for what, change := range map[string]func(*ac){
		"no tenant":                  func(c *ac) { c.Tenant = "" },
		"tenant":                     func(c *ac) { c.Tenant = "../" + a },
		"tenant with a slash":        func(c *ac) { c.Tenant = "work.example/x" },
		"common without list":        func(c *ac) { c.Tenant = "common" },
		"organizations without list": func(c *ac) { c.Tenant = "organizations" },
		"list with one tenant":       func(c *ac) { c.AllowedTenants = []string{a} },
		"list of domains":            func(c *ac) { c.Tenant, c.AllowedTenants = "common", []string{"work.example"} },
		"personal in organizations":  func(c *ac) { c.Tenant, c.AllowedTenants = "organizations", []string{"consumers"} },
		"trust in many":              func(c *ac) { c.Tenant, c.AllowedTenants, c.TrustTenantEmail = "common", []string{a}, true },
		"trust in personal accounts": func(c *ac) { c.Tenant, c.TrustTenantEmail = "consumers", true },
		"issuer of many":             func(c *ac) { c.Tenant, c.AllowedTenants, c.Issuer = "common", []string{a}, "https://x.example" },
		"issuer":                     func(c *ac) { c.Issuer = "x" },
		"authority":                  func(c *ac) { c.Authority = "http://login.example" },
		"no secret":                  func(c *ac) { c.ClientSecret = "" },
		"public":                     func(c *ac) { c.ClientSecret, c.ClientAuth = "", connectors.AuthNone },
		"name":                       func(c *ac) { c.Name = "a/b" },
	} {
		cfg := ac{Tenant: a, ClientID: "c", ClientSecret: "s"}
		change(&cfg)
		if _, err := connectors.NewAzure(cfg); err == nil {
			t.Errorf("azure: %s was accepted", what)
		}
	}
	if z, err := connectors.NewAzure(ac{Tenant: a, ClientID: "c", ClientSecret: "s"}); err != nil || z.Name() != "azure" || len(z.Warnings()) != 0 {
		t.Errorf("%v", err)
	}
	if z, err := connectors.NewAzure(ac{Tenant: "common", AllowedTenants: []string{"*"}, ClientID: "c", ClientSecret: "s"}); err != nil || len(z.Warnings()) != 1 {
		t.Errorf("%v", err)
	}
}

// TestTest: what the operator's test finds.
func TestTest(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		c := up.make(quick())
		list := c.(connectors.Tester).Test(t.Context())
		for _, f := range list {
			if !f.OK {
				t.Errorf("%s: %s: %s", name, f.What, f.Text)
			}
		}
		for _, what := range []string{"discovery", "keys", "client credentials"} {
			if !slices.ContainsFunc(list, func(f connectors.Finding) bool { return f.What == what }) {
				t.Errorf("%s: nothing about %s", name, what)
			}
		}
		if n := len(up.Requests("token")); n != 1 {
			t.Errorf("%s: %d trial exchanges", name, n)
		}
	}

	bad := func(what string, list []connectors.Finding, secret string) {
		t.Helper()
		if !slices.ContainsFunc(list, func(f connectors.Finding) bool { return f.What == what && !f.OK }) {
			t.Errorf("%s was not found: %+v", what, list)
		}
		for _, f := range list {
			if strings.Contains(f.Text, secret) || strings.ContainsAny(f.Text, "\r\n") {
				t.Errorf("%q", f.Text)
			}
		}
	}
	f := startOIDC(t, connectortest.OIDCOptions{Alg: "ES256"})
	cfg := oidcConfig(f)
	cfg.ClientSecret, cfg.Algorithms, cfg.ClientAuth = "not-the-secret-at-all", []string{"RS256"}, connectors.AuthPost
	f.Metadata(map[string]any{"code_challenge_methods_supported": []string{"plain"}, "scopes_supported": []string{"openid"}})
	list := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)).Test(t.Context())
	for _, what := range []string{"algorithms", "PKCE", "client authentication", "scopes", "client credentials"} {
		bad(what, list, cfg.ClientSecret)
	}
	e := startEntra(t, "")
	zcfg := azureConfig(e)
	zcfg.ClientSecret = "not-the-secret-at-all"
	bad("client credentials", must[*connectors.Azure](t)(connectors.NewAzure(zcfg)).Test(t.Context()), zcfg.ClientSecret)

	f.Fail(connectortest.HTML, "keys")
	bad("keys", must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f))).Test(t.Context()), application.Secret)
	f.Fail(connectortest.Refuse)
	bad("discovery", must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f))).Test(t.Context()), application.Secret)
}
