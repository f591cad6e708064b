package provider_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// engines runs f on both databases.
func engines(t *testing.T, f func(t *testing.T, engine string)) {
	for _, e := range []string{"sqlite", "postgres"} {
		t.Run(e, func(t *testing.T) {
			t.Parallel()
			f(t, e)
		})
	}
}

// refreshing is the registration of a client that gets refresh tokens.
func refreshing(m store.ClientMetadata) store.ClientMetadata {
	m.GrantTypes = []string{"authorization_code", "refresh_token"}
	if m.Scope == "" {
		m.Scope = "openid profile email privileges offline_access"
	}
	return m
}

// public makes it a client without a secret.
func public(m store.ClientMetadata) store.ClientMetadata {
	m.TokenEndpointAuth = "none"
	return m
}

// through walks a browser from the request to the answer: signs in and agrees wherever it is asked.
func through(t testing.TB, b *testidp.Browser, a testidp.Attempt, who testidp.Person) *testidp.Page {
	t.Helper()
	p := b.Get(a.URL)
	for range 4 {
		switch {
		case p.Status == 0:
			return p
		case p.Has("login-form"):
			p = b.SignIn(p, who)
		case p.Has("consent-accept"):
			p = b.Consent(p)
		default:
			t.Fatalf("stuck at %s: %s", p, firstLine(p))
		}
	}
	return p
}

func firstLine(p *testidp.Page) string {
	if p.Has("error-code") {
		return p.Text("error-code") + ": " + p.Text("error-description")
	}
	return p.Header.Get("Content-Type")
}

// code gets one for who.
func code(t testing.TB, b *testidp.Browser, rp *testidp.RP, who testidp.Person, more ...string) (string, testidp.Attempt) {
	t.Helper()
	a := rp.Start(more...)
	return rp.Code(a, through(t, b, a, who).URL), a
}

// tokens gets a full set for who.
func tokens(t testing.TB, b *testidp.Browser, rp *testidp.RP, who testidp.Person, more ...string) *testidp.Tokens {
	t.Helper()
	a := rp.Start(more...)
	return rp.Finish(a, through(t, b, a, who).URL)
}

func refreshForm(tok string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok}}
}

// jwtClaims reads the claims of a JWT without verifying it.
func jwtClaims(t testing.TB, tok string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(tok, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", tok)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// gid is the grant an access token hangs on.
func gid(t testing.TB, accessToken string) string {
	t.Helper()
	_, c := jwtClaims(t, accessToken)
	id, _ := c["gid"].(string)
	if id == "" {
		t.Fatal("access token without grant")
	}
	return id
}

func wantError(t testing.TB, r testidp.Response, status int, code string) {
	t.Helper()
	if r.Status != status || r.ErrorCode() != code {
		t.Errorf("got %d %s, want %d %s", r.Status, r.Body, status, code)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
	}
	if r.Status == http.StatusUnauthorized && r.Header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate (RFC 6749 §5.2)")
	}
}

func encode(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }
