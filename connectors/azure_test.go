package connectors_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_E2_IssuerTemplate: the issuer of common is a pattern; a token is good only if its issuer is the one of its own tenant, that tenant
// is allowed, and the key is published for it.
func TestSec_E2_IssuerTemplate(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	ada, bob, cy := connectortest.As("a0000000-0000-4000-8000-00000000000a"), connectortest.As("b0000000-0000-4000-8000-00000000000b"), connectortest.As("00000000-0000-0000-1111-22223333444c")
	const a, b, consumers = connectortest.TenantA, connectortest.TenantB, connectortest.Consumers
	for _, row := range []struct {
		tenant  string
		allowed []string
		in      map[connectortest.Button]string // who comes in, and the tenant they are of
	}{
		{"common", []string{a}, map[connectortest.Button]string{ada: a}},
		{"common", []string{a, b}, map[connectortest.Button]string{ada: a, bob: b}},
		{"common", []string{"*"}, map[connectortest.Button]string{ada: a, bob: b}},
		{"common", []string{"*", "consumers"}, map[connectortest.Button]string{ada: a, bob: b, cy: consumers}},
		{"common", []string{"consumers"}, map[connectortest.Button]string{cy: consumers}},
		{"organizations", []string{"*"}, map[connectortest.Button]string{ada: a, bob: b}},
		{"organizations", []string{strings.ToUpper(b)}, map[connectortest.Button]string{bob: b}},
		{a, nil, map[connectortest.Button]string{ada: a, bob: a}}, // a guest is of the tenant that invited
		{"work.example", nil, map[connectortest.Button]string{ada: a, bob: a}},
		{b, nil, map[connectortest.Button]string{bob: b}},
		{"consumers", nil, map[connectortest.Button]string{cy: consumers}},
		{consumers, nil, map[connectortest.Button]string{cy: consumers}},
	} {
		cfg := azureConfig(e)
		cfg.Tenant, cfg.AllowedTenants = row.tenant, row.allowed
		c := must[*connectors.Azure](t)(connectors.NewAzure(cfg))
		for _, who := range []connectortest.Button{ada, bob, cy} {
			id, err := signIn(t.Context(), c, e, who)
			want, in := row.in[who]
			switch {
			case in && err != nil:
				t.Errorf("%s %v: %s: %v", row.tenant, row.allowed, who, err)
			case in && (id.Issuer != want || id.Subject == "" || id.Subject == id.Claims["sub"]):
				t.Errorf("%s %v: %s is %s/%s", row.tenant, row.allowed, who, id.Issuer, id.Subject)
			case !in && err == nil:
				t.Errorf("%s %v: %s came in as %s/%s", row.tenant, row.allowed, who, id.Issuer, id.Subject)
			}
		}
	}

	t.Log("keys that are published for one issuer only")
	c := must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e)))
	for issuer, ok := range map[string]bool{
		"": true, e.Authority + "/" + a + "/v2.0": true, e.Authority + "/{tenantid}/v2.0": true,
		e.Authority + "/" + b + "/v2.0": false, e.Authority + "/" + consumers + "/v2.0": false, "https://login.microsoftonline.com/{tenantid}/v2.0": false,
	} {
		sign, err := e.AddKey(issuer)
		if err != nil {
			t.Fatal(err)
		}
		e.Forge(sign)
		c = must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e)))
		if _, err := signIn(t.Context(), c, e, ada); (err == nil) != ok {
			t.Errorf("key of %q: %v", issuer, err)
		}
	}
}

// TestSec_E2_TenantOnlyAfterTheList: for a tenant that is no GUID or not allowed, nothing is fetched.
func TestSec_E2_TenantOnlyAfterTheList(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	c := must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e)))
	if _, err := c.AuthURL(t.Context(), attempt()); err != nil {
		t.Fatal(err)
	}
	e.Forget()
	for _, tid := range []any{connectortest.TenantB, connectortest.Consumers, "cccccccc-0000-4000-8000-000000000003", "common", "../../evil", "", nil, 7, "aaaaaaaa-0000-4000-8000-000000000001/../" + connectortest.TenantB} {
		e.Forge(func(tok *connectortest.Token) { tok.Claims["tid"] = tid })
		if id, err := signIn(t.Context(), c, e, connectortest.Continue); err == nil {
			t.Errorf("%v: came in as %+v", tid, id)
		}
	}
	if n := len(e.Requests("discovery", "keys")); n != 0 {
		t.Errorf("%d requests for the documents of tenants that are not allowed", n)
	}
}

// TestAzureGroups: too many groups are not "no groups".
func TestAzureGroups(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	var groups []string
	for i := range 201 {
		groups = append(groups, fmt.Sprintf("cccccccc-0000-4000-8000-%012d", i))
	}
	plain := must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e)))
	cfg := azureConfig(e)
	cfg.MapGroups = true
	mapping := must[*connectors.Azure](t)(connectors.NewAzure(cfg))
	person := connectortest.EntraPerson{Person: connectortest.Person{ID: "a0000000-0000-4000-8000-00000000000a"}, Tenant: connectortest.TenantA}
	for _, row := range []struct {
		groups []string
		claims map[string]any
		over   bool
	}{
		{groups[:200], nil, false}, {groups, nil, true}, {nil, nil, false},
		{nil, map[string]any{"hasgroups": true}, true}, {nil, map[string]any{"hasgroups": "true"}, true}, {nil, map[string]any{"hasgroups": false}, false},
	} {
		p := person
		p.Groups, p.Claims = row.groups, row.claims
		e.SetPeople(p)
		id, err := signIn(t.Context(), mapping, e, connectortest.Continue)
		if !row.over {
			if err != nil || len(row.groups) > 0 && len(id.Claims["groups"].([]any)) != len(row.groups) {
				t.Errorf("%d groups, %v: %v", len(row.groups), row.claims, err)
			}
		} else {
			wantKind(t, err, connectors.Misconfigured)
		}
		if _, err := signIn(t.Context(), plain, e, connectortest.Continue); err != nil {
			t.Errorf("without rules, %d groups, %v: %v", len(row.groups), row.claims, err)
		}
	}
}

// TestAzureRequest: prompts, hints and the way back.
func TestAzureRequest(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	many := must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e)))
	cfg := azureConfig(e)
	cfg.Tenant, cfg.AllowedTenants = connectortest.TenantA, nil
	one := must[*connectors.Azure](t)(connectors.NewAzure(cfg))
	zero := time.Duration(0)
	for _, row := range []struct {
		c                             *connectors.Azure
		a                             connectors.Attempt
		prompt, loginHint, domainHint string
	}{
		{many, connectors.Attempt{}, "select_account", "", ""},
		{one, connectors.Attempt{}, "", "", ""},
		{many, connectors.Attempt{LoginHint: "ada@work.example"}, "", "ada@work.example", ""},
		{many, connectors.Attempt{LoginHint: "ada@work.example", Prompt: "select_account"}, "select_account", "", ""},
		{many, connectors.Attempt{LoginHint: "ada@work.example", Prompt: "login"}, "login", "ada@work.example", ""},
		{many, connectors.Attempt{MaxAge: &zero}, "login", "", ""},
		{one, connectors.Attempt{DomainHint: "work.example"}, "", "", "work.example"},
		{one, connectors.Attempt{Prompt: "none"}, "none", "", ""},
	} {
		a := attempt()
		a.LoginHint, a.DomainHint, a.Prompt, a.MaxAge = row.a.LoginHint, row.a.DomainHint, row.a.Prompt, row.a.MaxAge
		q := query(t, must[string](t)(row.c.AuthURL(t.Context(), a)))
		if q.Get("prompt") != row.prompt || q.Get("login_hint") != row.loginHint || q.Get("domain_hint") != row.domainHint || q.Get("response_mode") != "query" {
			t.Errorf("%+v: %v", row.a, q)
		}
	}
	a := attempt()
	a.Prompt = "none"
	_, err := signInAs(t.Context(), one, e, a, connectortest.Continue)
	wantKind(t, err, connectors.Denied)
}

// TestAzureErrors: what Microsoft says goes to the log as one line.
func TestAzureErrors(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	cfg := azureConfig(e)
	cfg.ClientSecret = "not-the-secret-at-all"
	_, err := signIn(t.Context(), must[*connectors.Azure](t)(connectors.NewAzure(cfg)), e, connectortest.Continue)
	wantKind(t, err, connectors.Misconfigured)
	ce := err.(*connectors.Error)
	if ce.Code != "invalid_client" || !strings.HasPrefix(ce.Detail, "AADSTS7000215: ") || !strings.Contains(ce.Detail, "; Trace ID: ") || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%q", err)
	}
	cfg = azureConfig(e)
	cfg.Tenant, cfg.AllowedTenants = "cccccccc-0000-4000-8000-000000000003", nil
	if _, err := must[*connectors.Azure](t)(connectors.NewAzure(cfg)).AuthURL(t.Context(), attempt()); err == nil {
		t.Error("a tenant that does not exist")
	}
}

// TestAzureEndSession: sign-out names the account by the optional claim login_hint.
func TestAzureEndSession(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	cfg := azureConfig(e)
	cfg.KeepIDToken = true
	c := must[*connectors.Azure](t)(connectors.NewAzure(cfg))
	e.Forge(func(tok *connectortest.Token) { tok.Claims["login_hint"] = "O.CiQ&x=1" })
	id, err := signIn(t.Context(), c, e, connectortest.Continue)
	if err != nil || id.IDToken == "" {
		t.Fatalf("%v, token %q", err, id.IDToken)
	}
	to := must[string](t)(c.EndSessionURL(t.Context(), id.IDToken, "https://login.example/bye", "s1"))
	if q := query(t, to); !strings.HasPrefix(to, e.Authority+"/common/oauth2/v2.0/logout?") || q.Get("logout_hint") != "O.CiQ&x=1" ||
		q.Get("post_logout_redirect_uri") != "https://login.example/bye" || q.Get("state") != "s1" || q.Has("id_token_hint") {
		t.Errorf("%s", to)
	}
	for _, token := range []string{"", "rubbish", "a.b.c", "a.e30.c"} {
		if to, err := c.EndSessionURL(t.Context(), token, "https://login.example/bye", ""); err != nil || query(t, to).Has("logout_hint") {
			t.Errorf("%q: %s %v", token, to, err)
		}
	}
}

// TestClientAssertion: a key instead of a secret, with Entra's certificate and without.
func TestClientAssertion(t *testing.T) {
	t.Parallel()
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "latchkey"}}, &x509.Certificate{}, &rsaKey.PublicKey, rsaKey))
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(der))

	withKey := application
	withKey.Secret, withKey.Key = "", rsaKey.Public()
	e := must[*connectortest.Entra](t)(connectortest.NewEntra(withKey, ""))
	t.Cleanup(e.Close)
	cfg := azureConfig(e)
	cfg.ClientSecret, cfg.ClientKey = "", &connectors.ClientKey{Private: rsaKey, Certificate: cert}
	if _, err := signIn(t.Context(), must[*connectors.Azure](t)(connectors.NewAzure(cfg)), e, connectortest.Continue); err != nil {
		t.Error(err)
	}
	if f := e.Requests("token")[0].Form; f.Has("client_secret") || !f.Has("client_assertion") {
		t.Errorf("%v", f)
	}
	cfg.ClientKey = &connectors.ClientKey{Private: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))}
	_, err := signIn(t.Context(), must[*connectors.Azure](t)(connectors.NewAzure(cfg)), e, connectortest.Continue)
	wantKind(t, err, connectors.Misconfigured)

	withKey.Key = ecKey.Public()
	f := must[*connectortest.OIDC](t)(connectortest.NewOIDC(withKey, connectortest.OIDCOptions{Auth: []string{"private_key_jwt"}, Alg: "EdDSA"}))
	t.Cleanup(f.Close)
	ocfg := oidcConfig(f)
	ocfg.ClientSecret, ocfg.ClientKey = "", &connectors.ClientKey{Private: ecKey, ID: "k1"}
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(ocfg))
	for range 2 { // an assertion is good once: each request has its own
		if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []*connectors.ClientKey{{}, {Private: "secret"}, {Private: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))},
		{Private: must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))}} {
		ocfg.ClientKey = bad
		if _, err := connectors.NewOIDC(ocfg); err == nil {
			t.Errorf("%T was accepted", bad.Private)
		}
	}
}
