package connectors_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

func describe(t testing.TB, c connectors.Connector, document any) (connectors.Identity, error) {
	t.Helper()
	b, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return c.(connectors.Describer).Describe(b)
}

// TestDescribe_EqualsIdentify: what a sign-in learned, pasted as a document, is the same identity but for the sign-in's own marks.
func TestDescribe_EqualsIdentify(t *testing.T) {
	t.Parallel()
	for name, u := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := u.make(nil)
			real, err := signIn(context.Background(), c, u.fake, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			got, err := describe(t, c, real.Claims)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, real) {
				t.Errorf("described %+v\nidentified %+v", got, real)
			}
			// Claims with an issuer of somebody else's are of another provider.
			claims := map[string]any{}
			for k, v := range real.Claims {
				claims[k] = v
			}
			claims["iss"] = "https://evil.example"
			if _, err := describe(t, c, claims); connectors.KindOf(err) != connectors.Invalid {
				t.Errorf("another issuer: %v", err)
			}
			claims = map[string]any{"sub": 12, "tid": connectortest.TenantA}
			if _, err := describe(t, c, claims); connectors.KindOf(err) != connectors.Invalid {
				t.Errorf("a number as sub: %v", err)
			}
		})
	}
}

func TestDescribe_Rules(t *testing.T) {
	t.Parallel()
	oidc := must[*connectors.OIDC](t)(connectors.NewOIDC(connectors.OIDCConfig{Name: "it", Issuer: "https://id.example", ClientID: "x", ClientSecret: "y"}))
	google := must[*connectors.Google](t)(connectors.NewGoogle(connectors.GoogleConfig{ClientID: "x", ClientSecret: "y", HostedDomains: []string{"example.com"}}))
	azure := must[*connectors.Azure](t)(connectors.NewAzure(connectors.AzureConfig{ClientID: "x", ClientSecret: "y", Tenant: "organizations",
		AllowedTenants: []string{connectortest.TenantA}}))
	byDomain := must[*connectors.Azure](t)(connectors.NewAzure(connectors.AzureConfig{ClientID: "x", ClientSecret: "y", Tenant: "example.com"}))
	facebook := must[*connectors.Facebook](t)(connectors.NewFacebook(connectors.FacebookConfig{ClientID: "42", ClientSecret: "y"}))
	twitter := must[*connectors.Twitter](t)(connectors.NewTwitter(connectors.TwitterConfig{ClientID: "x", ClientSecret: "y"}))
	hub := must[*connectors.OAuth2](t)(connectors.NewOAuth2(connectors.OAuth2Config{Name: "hub", AuthorizeURL: "https://hub.example/a", TokenURL: "https://hub.example/t",
		UserInfoURL: "https://hub.example/u", ClientID: "x", ClientSecret: "y", ClientAuth: "basic", SubjectField: "id", Emails: connectors.EmailList{URL: "https://hub.example/e"}}))
	type is = map[string]any
	oid := "a0000000-0000-4000-8000-00000000000a"
	for name, c := range map[string]struct {
		connector connectors.Connector
		document  any
		subject   string
		email     string
		trust     connectors.Trust
		kind      connectors.Kind // of the error
	}{
		"oidc, flat":                      {oidc, is{"sub": "ana", "email": "ana@example.com", "email_verified": true}, "ana", "ana@example.com", connectors.TrustVerified, 0},
		"oidc, apart":                     {oidc, is{"id_token": is{"sub": "ana"}, "userinfo": is{"sub": "ana", "email": "ana@example.com", "email_verified": nil}}, "ana", "ana@example.com", connectors.TrustReported, 0},
		"oidc, somebody else's userinfo":  {oidc, is{"id_token": is{"sub": "ana"}, "userinfo": is{"sub": "eve"}}, "", "", "", connectors.Invalid},
		"oidc, a claim called id_token":   {oidc, is{"sub": "ana", "id_token": is{"sub": "eve"}}, "ana", "", connectors.TrustNone, 0},
		"oidc, nobody":                    {oidc, is{"email": "ana@example.com"}, "", "", "", connectors.Invalid},
		"google, our domain":              {google, is{"sub": "1", "hd": "example.com", "email": "a@example.com", "email_verified": true}, "1", "a@example.com", connectors.TrustAuthoritative, 0},
		"google, another domain":          {google, is{"sub": "1", "hd": "example.org"}, "", "", "", connectors.NotAllowed},
		"google, no userinfo":             {google, is{"id_token": is{"sub": "1", "hd": "example.com"}, "userinfo": is{"sub": "1", "email": "a@example.com"}}, "1", "", connectors.TrustNone, 0},
		"azure":                           {azure, is{"sub": "p", "oid": oid, "tid": connectortest.TenantA, "email": "a@work.example", "xms_edov": "1"}, oid, "a@work.example", connectors.TrustVerified, 0},
		"azure, another tenant":           {azure, is{"sub": "p", "oid": oid, "tid": oid}, "", "", "", connectors.NotAllowed},
		"azure, no tenant":                {azure, is{"sub": "p", "oid": oid}, "", "", "", connectors.Invalid},
		"azure, a domain":                 {byDomain, is{"sub": "p", "oid": oid, "tid": oid, "email": "a@work.example"}, oid, "a@work.example", connectors.TrustReported, 0},
		"azure, a domain, consumers":      {byDomain, is{"sub": "p", "oid": oid, "tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}, "", "", "", connectors.NotAllowed},
		"facebook":                        {facebook, is{"id": "12", "name": "Ada L", "email": "ada@example.com"}, "12", "ada@example.com", connectors.TrustReported, 0},
		"facebook, nobody":                {facebook, is{"sub": "12"}, "", "", "", connectors.Upstream},
		"x":                               {twitter, is{"data": is{"id": "77", "confirmed_email": "ada@example.com"}}, "77", "ada@example.com", connectors.TrustVerified, 0},
		"x, suspended":                    {twitter, is{"errors": []any{is{"type": "https://api.x.com/problems/resource-not-found"}}}, "", "", "", connectors.Denied},
		"hub, addresses elsewhere":        {hub, is{"id": 5, "email": "ada@example.com"}, "5", "", connectors.TrustNone, 0},
		"hub, and told":                   {hub, is{"userinfo": is{"id": 5}, "emails": []any{is{"email": "ada@example.com", "primary": true, "verified": true}}}, "5", "ada@example.com", connectors.TrustVerified, 0},
		"hub, a list that is none":        {hub, is{"userinfo": is{"id": 5}, "emails": "ada@example.com"}, "", "", "", connectors.Upstream},
		"hub, a profile with such a name": {hub, is{"id": 5, "emails": []any{}, "userinfo": is{"id": 6}}, "5", "", connectors.TrustNone, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := describe(t, c.connector, c.document)
			if c.kind != 0 {
				if _, ours := errors.AsType[*connectors.Error](err); !ours || connectors.KindOf(err) != c.kind {
					t.Fatalf("%v, want %v", err, c.kind)
				}
				return
			}
			if err != nil || id.Subject != c.subject || id.Email != c.email || id.EmailTrust != c.trust || id.Connector != c.connector.Name() || id.Issuer == "" {
				t.Errorf("%v %+v", err, id)
			}
		})
	}
}

// TestDescribe_BadDocuments: what cannot be read is told by what is wrong with it and where.
func TestDescribe_BadDocuments(t *testing.T) {
	t.Parallel()
	oidc := must[*connectors.OIDC](t)(connectors.NewOIDC(connectors.OIDCConfig{Name: "it", Issuer: "https://id.example", ClientID: "x", ClientSecret: "y"}))
	nested := func(n int) string { return `{"sub":"ana","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	long := func(n int) string { return `{"sub":"` + strings.Repeat("a", n-len(`{"sub":""}`)) + `"}` }
	for document, want := range map[string]connectors.DocumentError{
		``: {Problem: connectors.DocumentEmpty}, " \n": {Problem: connectors.DocumentEmpty},
		`{"sub":`:                               {Problem: connectors.DocumentNoJSON, At: 7},
		`{'sub':"x"}`:                           {Problem: connectors.DocumentNoJSON, At: 2},
		`{"sub":"x"} {}`:                        {Problem: connectors.DocumentNoJSON, At: 12},
		`eyJhbGciOiJub25lIn0.e30.`:              {Problem: connectors.DocumentNoJSON, At: 1},
		`null`:                                  {Problem: connectors.DocumentNoObject},
		`["sub"]`:                               {Problem: connectors.DocumentNoObject},
		`{"sub":"x","a":{"b":1,"b":2}}`:         {Problem: connectors.DocumentRepeated, Name: "b"},
		`{"id_token":"eyJhbGciOiJub25lIn0"}`:    {Problem: connectors.DocumentToken, Name: "id_token"},
		`{"id_token":{"sub":"x"},"userinfo":1}`: {Problem: connectors.DocumentNoPart, Name: "userinfo"},
		nested(32):                              {Problem: connectors.DocumentTooDeep},
		strings.Repeat("[", 65000):              {Problem: connectors.DocumentTooDeep},
		long(64<<10 + 1):                        {Problem: connectors.DocumentTooLong},
	} {
		_, err := oidc.Describe([]byte(document))
		got, ok := errors.AsType[*connectors.DocumentError](err)
		if !ok || *got != want {
			t.Errorf("%.60s: %v, want %v", document, err, &want)
		}
	}
	if _, err := oidc.Describe([]byte(nested(31))); err != nil {
		t.Errorf("32 levels: %v", err)
	}
	if _, err := oidc.Describe([]byte(`{"sub":"ana","x":"` + strings.Repeat(`[\"{`, 100) + `"}`)); err != nil {
		t.Errorf("brackets in a text: %v", err)
	}
	if _, err := oidc.Describe([]byte(long(64 << 10))); err == nil || connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("64 KiB are read, and no key of anybody's: %v", err)
	}
}

// FuzzDescribe: whatever is pasted is an identity with a key, or an error of ours.
func FuzzDescribe(f *testing.F) {
	list := []connectors.Connector{
		must[*connectors.OIDC](f)(connectors.NewOIDC(connectors.OIDCConfig{Name: "it", Issuer: "https://id.example", ClientID: "x", ClientSecret: "y"})),
		must[*connectors.Google](f)(connectors.NewGoogle(connectors.GoogleConfig{ClientID: "x", ClientSecret: "y"})),
		must[*connectors.Azure](f)(connectors.NewAzure(connectors.AzureConfig{ClientID: "x", ClientSecret: "y", Tenant: "common", AllowedTenants: []string{"*"}})),
		must[*connectors.Facebook](f)(connectors.NewFacebook(connectors.FacebookConfig{ClientID: "42", ClientSecret: "y"})),
		must[*connectors.Twitter](f)(connectors.NewTwitter(connectors.TwitterConfig{ClientID: "x", ClientSecret: "y"})),
		must[*connectors.OAuth2](f)(connectors.NewOAuth2(connectors.OAuth2Config{Name: "hub", AuthorizeURL: "https://hub.example/a", TokenURL: "https://hub.example/t",
			UserInfoURL: "https://hub.example/u", ClientID: "x", Emails: connectors.EmailList{URL: "https://hub.example/e", List: "a.b"}})),
	}
	for _, seed := range []string{`{"sub":"ana","email":"ana@example.com","email_verified":true,"amr":["mfa"],"auth_time":1}`, `{"id_token":{"sub":"x"},"userinfo":{"sub":"x","email":"a@b.c"}}`,
		`{"sub":"p","oid":"a0000000-0000-4000-8000-00000000000a","tid":"a0000000-0000-4000-8000-00000000000a","_claim_names":{"groups":"x"}}`,
		`{"id":"12","picture":{"data":{"url":"https://x.example/p","is_silhouette":true}}}`, `{"data":{"id":"7"},"errors":[{"field":"confirmed_email"}]}`,
		`{"userinfo":{"sub":5},"emails":{"a":{"b":[{"email":"a@b.c","primary":1}]}}}`, `{"sub":{"a":[null]},"iss":{}}`, `{"":"\ud800","a":1e999}`, `[[[[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		for _, c := range list {
			id, err := c.(connectors.Describer).Describe(document)
			_, unread := errors.AsType[*connectors.DocumentError](err)
			_, refused := errors.AsType[*connectors.Error](err)
			switch {
			case err != nil && !unread && !refused:
				t.Errorf("%s: %v", c.Name(), err)
			case err == nil && (id.Subject == "" || len(id.Subject) > 255 || id.Issuer == "" || id.IDToken+id.AccessToken != ""):
				t.Errorf("%s: %+v", c.Name(), id)
			case err != nil && strings.ContainsAny(err.Error(), "\n\r"):
				t.Errorf("%s: lines in %q", c.Name(), err)
			}
		}
	})
}
