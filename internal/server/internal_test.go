package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/store"
)

// TestReadinessAsksOncePerSecond: however many probes, the database is asked once a second (security.md I7).
func TestReadinessAsksOncePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, broken := 0, false
		r := &readiness{now: time.Now, ping: func(context.Context) error {
			asked++
			if broken {
				return errors.New("gone")
			}
			return nil
		}}
		for range 100 {
			if err := r.check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		broken = true
		time.Sleep(999 * time.Millisecond)
		if err := r.check(t.Context()); err != nil {
			t.Error("the answer should still be the old one")
		}
		time.Sleep(time.Millisecond)
		if err := r.check(t.Context()); err == nil {
			t.Error("red after a second")
		}
		broken = false
		time.Sleep(time.Second)
		if err := r.check(t.Context()); err != nil {
			t.Error("green again after another")
		}
		r.draining.Store(true)
		if err := r.check(t.Context()); !errors.Is(err, errDraining) {
			t.Error("draining is red at once")
		}
	})
}

// TestDrainTellsWhoWatches: a proxy that asks is told before the listener closes; where nobody asks, nobody is waited for.
func TestDrainTellsWhoWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		took := func(before func(*readiness), during func(*readiness)) time.Duration {
			r := &readiness{now: time.Now, ping: func(context.Context) error { return nil }}
			before(r)
			done := make(chan struct{})
			at := time.Now()
			go func() { r.drain(t.Context()); close(done) }()
			during(r)
			<-done
			return time.Since(at)
		}
		ask := func(r *readiness) { _ = r.check(context.Background()) }
		every := func(d time.Duration) func(*readiness) { return func(r *readiness) { ask(r); time.Sleep(d); ask(r) } }
		nothing := func(*readiness) {}
		for _, c := range []struct {
			name           string
			before, during func(*readiness)
			want           time.Duration
		}{
			{"nobody watches", nothing, nothing, 0},
			{"somebody looked once", ask, nothing, 0},
			{"somebody watched, long ago", func(r *readiness) { every(time.Second)(r); time.Sleep(time.Minute) }, nothing, 0},
			{"told at its next question", every(2 * time.Second), func(r *readiness) { time.Sleep(2 * time.Second); ask(r) }, 3 * time.Second},
			{"does not ask again", every(2 * time.Second), nothing, 4 * time.Second},
			{"asks rarely", every(25 * time.Second), nothing, tellTime},
			{"asks all the time", every(time.Millisecond), nothing, time.Second},
		} {
			if d := took(c.before, c.during); d < c.want || d > c.want+100*time.Millisecond {
				t.Errorf("%s: waited %v, want %v", c.name, d, c.want)
			}
		}
	})
}

// TestReadinessOwnDeadline: a prober that hangs up, or a database that hangs, spoils nobody else's answer for long.
func TestReadinessOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &readiness{now: time.Now, ping: func(ctx context.Context) error { return ctx.Err() }}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.check(gone); err != nil {
			t.Errorf("the prober hung up: %v", err)
		}
		hung := &readiness{now: time.Now, ping: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		at := time.Now()
		if err := hung.check(t.Context()); err == nil || time.Since(at) > 2*time.Second {
			t.Errorf("a database that hangs: %v after %v, want red within 2 s", err, time.Since(at))
		}
	})
}

// TestMergedFollowsDiff: what config calls applied is what a reload takes over, and nothing else.
func TestMergedFollowsDiff(t *testing.T) {
	t.Parallel()
	a, b := config.Default(), config.Default()
	b.Log.Level, b.Log.Format = "debug", "json"
	b.HTTP.TLS = config.TLS{CertFile: "c", KeyFile: "k"}
	b.HTTP.Listen = "127.0.0.1:1"
	b.Privileges = map[string]config.Privilege{"editor": {}}
	b.Clients = []config.Client{{ID: "wiki"}}
	applied, restart := config.Diff(a, b)
	if len(applied) != 5 || len(restart) != 2 {
		t.Errorf("applied %v, restart %v", applied, restart)
	}
	m := merged(a, b)
	if now, _ := config.Diff(a, m); !slices.Equal(now, applied) {
		t.Errorf("a reload takes over %v, config says %v", now, applied)
	}
	if applied, still := config.Diff(m, b); len(applied) != 0 || !slices.Equal(still, restart) {
		t.Errorf("after a reload: %v %v", applied, still)
	}
}

// TestDevelopmentMasterKey: made once beside the database, by however many processes; never made anew beside old data.
func TestDevelopmentMasterKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := config.Default()
	db := filepath.Join(dir, "latchkey.db")
	c.Database.URL = config.NewDSN("sqlite:" + db)
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			m, err := masterKeys(c)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = m.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("processes ended with different keys: %v", ids)
		}
	}
	path := filepath.Join(dir, "latchkey.key")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("latchkey.key: %v, %v", fi, err)
	}
	if err := os.WriteFile(db, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := masterKeys(c); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a new key beside old data: %v", err)
	}
	for _, text := range []string{"", "short", "bm90IDMyIGJ5dGVz"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := masterKeys(c); err == nil {
			t.Errorf("the key %q was taken", text)
		}
	}
	c.Environment = config.Production
	if _, err := masterKeys(c); err == nil || !strings.Contains(err.Error(), "secrets.master_keys") {
		t.Errorf("production without a key: %v", err)
	}
}

func TestCheckClient(t *testing.T) {
	t.Parallel()
	known := func(p string) bool { return p == "admin" || p == "developer" }
	no, minus := false, int64(-1)
	const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // of RFC 8037 appendix A
	jwk := func(more string) string { return `{"keys":[{"kty":"OKP","crv":"Ed25519",` + more + `}]}` }
	good := store.ClientMetadata{RedirectURIs: []string{"https://app.example.com/callback"}}
	with := func(f func(*store.ClientMetadata)) store.ClientMetadata { m := good; f(&m); return m }
	for _, c := range []struct {
		name, id string
		m        store.ClientMetadata
		want     string // part of the problem; "" = none
	}{
		{"plain", "app", good, ""},
		{"empty id", "", good, "client_id"},
		{"id with a space", "my app", good, "client_id"},
		{"id with a colon", "my:app", good, "client_id"},
		{"machine", "app", store.ClientMetadata{GrantTypes: []string{"client_credentials"}}, ""},
		{"no redirect", "app", store.ClientMetadata{}, "redirect_uris is empty"},
		{"grant type", "app", with(func(m *store.ClientMetadata) { m.GrantTypes = []string{"authorization_code", "password"} }), `grant_types is "password"`},
		{"refresh alone", "app", store.ClientMetadata{GrantTypes: []string{"refresh_token"}}, "of no use"},
		{"implicit", "app", with(func(m *store.ClientMetadata) { m.ResponseTypes = []string{"token"} }), "response_types"},
		{"acr", "app", with(func(m *store.ClientMetadata) { m.RequireACR = "gold" }), "require_acr"},
		{"registration", "app", with(func(m *store.ClientMetadata) { m.Registration = "anybody" }), "registration"},
		{"fragment", "app", with(func(m *store.ClientMetadata) { m.RedirectURIs = []string{"https://app.example.com/#x"} }), "redirect_uris"},
		{"script", "app", with(func(m *store.ClientMetadata) { m.RedirectURIs = []string{"javascript:alert(1)"} }), "redirect_uris"},
		{"sign-out", "app", with(func(m *store.ClientMetadata) { m.PostLogoutRedirectURIs = []string{"http://app.example.com/"} }), "post_logout_redirect_uris"},
		{"public", "app", with(func(m *store.ClientMetadata) { m.TokenEndpointAuth = "none" }), ""},
		{"public machine", "app", with(func(m *store.ClientMetadata) {
			m.TokenEndpointAuth, m.GrantTypes = "none", []string{"client_credentials"}
		}), "public client cannot use client_credentials"},
		{"public without PKCE", "app", with(func(m *store.ClientMetadata) { m.TokenEndpointAuth, m.RequirePKCE = "none", &no }), "PKCE"},
		{"confidential without PKCE", "app", with(func(m *store.ClientMetadata) { m.RequirePKCE = &no }), ""},
		{"public, no rotation", "app", with(func(m *store.ClientMetadata) { m.TokenEndpointAuth, m.RefreshRotation = "none", "never" }), "must rotate"},
		{"alg none", "app", with(func(m *store.ClientMetadata) { m.IDTokenAlg = "none" }), "id_token_signed_response_alg"},
		{"userinfo", "app", with(func(m *store.ClientMetadata) { m.UserinfoAlg = "PS256" }), ""},
		{"userinfo none", "app", with(func(m *store.ClientMetadata) { m.UserinfoAlg = "none" }), "userinfo_signed_response_alg"},
		{"alg HS256", "app", with(func(m *store.ClientMetadata) { m.AccessTokenAlg = "HS256" }), "access_token_signed_response_alg"},
		{"logo", "app", with(func(m *store.ClientMetadata) { m.LogoURI = "data:image/png;base64,x" }), "logo_uri"},
		{"origin", "app", with(func(m *store.ClientMetadata) { m.AllowedCORSOrigins = []string{"https://app.example.com"} }), ""},
		{"origin with a path", "app", with(func(m *store.ClientMetadata) { m.AllowedCORSOrigins = []string{"https://app.example.com/x"} }), "allowed_cors_origins"},
		{"origin *", "app", with(func(m *store.ClientMetadata) { m.AllowedCORSOrigins = []string{"*"} }), "allowed_cors_origins"},
		{"scope", "app", with(func(m *store.ClientMetadata) { m.Scope = `openid bad"scope` }), "scope"},
		{"ttl", "app", with(func(m *store.ClientMetadata) { m.AccessTokenTTL = -1 }), "access_token_ttl"},
		{"max age", "app", with(func(m *store.ClientMetadata) { m.DefaultMaxAge = &minus }), "default_max_age"},
		{"claim", "app", with(func(m *store.ClientMetadata) { m.PrivilegesClaim = "realm_access.roles" }), ""},
		{"claim with holes", "app", with(func(m *store.ClientMetadata) { m.PrivilegesClaim = "a..b" }), "privileges_claim"},
		{"requirement", "app", with(func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"admin", []any{"developer", "admin"}} }), ""},
		{"unknown requirement", "app", with(func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"nobody"} }), "required_privileges"},
		{"key in the file", "app", with(func(m *store.ClientMetadata) {
			m.TokenEndpointAuth, m.JWKS = "private_key_jwt", json.RawMessage(jwk(`"x":"`+x+`"`))
		}), ""},
		{"key behind an address", "app", with(func(m *store.ClientMetadata) {
			m.TokenEndpointAuth, m.JWKSURI, m.TokenEndpointAuthAlg = "private_key_jwt", "https://app.example.com:8443/jwks", "EdDSA"
		}), ""},
		{"no key", "app", with(func(m *store.ClientMetadata) { m.TokenEndpointAuth = "private_key_jwt" }), "needs jwks or jwks_uri"},
		{"two places for keys", "app", with(func(m *store.ClientMetadata) {
			m.JWKS, m.JWKSURI = json.RawMessage(jwk(`"x":"`+x+`"`)), "https://app.example.com/jwks"
		}), "both given"},
		{"private key", "app", with(func(m *store.ClientMetadata) { m.JWKS = json.RawMessage(jwk(`"x":"` + x + `","d":"` + x + `"`)) }), "private"},
		{"shared key", "app", with(func(m *store.ClientMetadata) { m.JWKS = json.RawMessage(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) }), "private or secret"},
		{"key twice", "app", with(func(m *store.ClientMetadata) { m.JWKS = json.RawMessage(jwk(`"x":"` + x + `","x":"` + x + `"`)) }), "twice"},
		{"no list of keys", "app", with(func(m *store.ClientMetadata) { m.JWKS = json.RawMessage(`{}`) }), "no list"},
		{"no usable key", "app", with(func(m *store.ClientMetadata) { m.JWKS = json.RawMessage(jwk(`"x":"` + x + `","use":"enc"`)) }), "no key for"},
		{"keys over http", "app", with(func(m *store.ClientMetadata) { m.JWKSURI = "http://app.example.com/jwks" }), "jwks_uri"},
		{"keys with a password", "app", with(func(m *store.ClientMetadata) { m.JWKSURI = "https://a:b@app.example.com/jwks" }), "jwks_uri"},
		{"keys on a strange port", "app", with(func(m *store.ClientMetadata) { m.JWKSURI = "https://app.example.com:22/" }), "jwks_uri"},
		{"HS256 with a key", "app", with(func(m *store.ClientMetadata) {
			m.TokenEndpointAuth, m.JWKSURI, m.TokenEndpointAuthAlg = "private_key_jwt", "https://app.example.com/jwks", "HS256"
		}), "token_endpoint_auth_signing_alg"},
		{"RS256 with a secret", "app", with(func(m *store.ClientMetadata) {
			m.TokenEndpointAuth, m.TokenEndpointAuthAlg = "client_secret_jwt", "RS256"
		}), "token_endpoint_auth_signing_alg"},
		{"algorithm of no use", "app", with(func(m *store.ClientMetadata) { m.TokenEndpointAuthAlg = "RS256" }), "no use"},
		{"signed requests", "app", with(func(m *store.ClientMetadata) {
			m.JWKSURI, m.RequestObjectAlg, m.RequestURIs, m.RequireRequestObject = "https://app.example.com/jwks", "ES256", []string{"https://app.example.com/r#x"}, true
		}), ""},
		{"unsigned requests", "app", with(func(m *store.ClientMetadata) { m.JWKSURI, m.RequestObjectAlg = "https://app.example.com/jwks", "none" }), "request_object_signing_alg"},
		{"requests without a key", "app", with(func(m *store.ClientMetadata) { m.RequestObjectAlg = "ES256" }), "with which key"},
		{"requests over http", "app", with(func(m *store.ClientMetadata) {
			m.JWKSURI, m.RequestObjectAlg, m.RequestURIs = "https://app.example.com/jwks", "ES256", []string{"http://app.example.com/r"}
		}), "request_uris"},
		{"addresses of requests alone", "app", with(func(m *store.ClientMetadata) { m.RequestURIs = []string{"https://app.example.com/r"} }), "request_uris is of no use"},
		{"must sign, and cannot", "app", with(func(m *store.ClientMetadata) { m.RequireRequestObject = true }), "needs request_object_signing_alg"},
		{"unknown visible", "app", with(func(m *store.ClientMetadata) { m.VisiblePrivileges = []string{"nobody"} }), "visible_privileges"},
	} {
		err := CheckClient(c.id, c.m, known)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// Everything at once.
	err := CheckClient("my app", store.ClientMetadata{Scope: `"`, IDTokenAlg: "none"}, known)
	if n := len(strings.Split(err.Error(), "\n")); n != 4 {
		t.Errorf("%d problems, want 4: %v", n, err)
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"localhost": true, "localhost:80": true, "127.0.0.1:9000": true, "127.8.8.8": true, "[::1]:80": true, "[::1]": true, "[::ffff:127.0.0.1]:80": true,
		"evil.example": false, "evil.example:80": false, "10.0.0.1:80": false, "localhost.evil.example": false, "": false, "127.0.0.1.evil.example": false,
	} {
		if got := isLoopback(addr); got != want {
			t.Errorf("isLoopback(%q) = %v", addr, got)
		}
	}
}

func TestLogFormatAndLevel(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	lv := new(slog.LevelVar)
	log := newLogger(&b, "json", lv)
	log.Debug("unseen")
	lv.Set(slog.LevelDebug)
	log.Debug("seen\nforged=\"line\"")
	if s := b.String(); strings.Contains(s, "unseen") || strings.Count(s, "\n") != 1 || !strings.Contains(s, `seen\nforged`) {
		t.Errorf("%q", s) // one line per record, whatever it holds (security.md H3)
	}
}
