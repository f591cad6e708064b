package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

func tokenFor(uri string) func(context.Context, store.Message) (string, string, error) {
	return func(context.Context, store.Message) (string, string, error) { return "a.b.c", uri, nil }
}

// TestBackChannelAnswers: what an application answers decides whether it is told again.
func TestBackChannelAnswers(t *testing.T) {
	t.Parallel()
	client := logoutClient(&config.Config{Environment: config.Development})
	for status, want := range map[int]string{200: "", 204: "", 400: "never", 501: "never", 302: "later", 404: "later", 405: "later", 500: "later", 503: "later"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		err := sendLogout(t.Context(), client, tokenFor(srv.URL), store.Message{})
		var e *notify.Error
		got := ""
		switch {
		case errors.As(err, &e) && e.Permanent:
			got = "never"
		case errors.As(err, &e):
			if got = "later"; e.After != 7*time.Second {
				t.Errorf("%d: after %v", status, e.After)
			}
		}
		if got != want || err != nil && strings.Contains(err.Error(), srv.URL) {
			t.Errorf("%d: %q (%v), want %q", status, got, err, want)
		}
		srv.Close()
		if err := sendLogout(t.Context(), client, tokenFor(srv.URL), store.Message{}); !errors.As(err, &e) || e.Permanent || strings.Contains(e.Words, srv.URL) {
			t.Errorf("nobody there: %v", err)
		}
	}
	gone := func(context.Context, store.Message) (string, string, error) {
		return "", "", provider.ErrLogoutUnwanted
	}
	var e *notify.Error
	if err := sendLogout(t.Context(), client, gone, store.Message{}); !errors.As(err, &e) || !e.Permanent {
		t.Errorf("an application that is gone: %v", err)
	}
}

// D1: an application's address cannot make us call what only we can reach, unless the operator says so; and nobody's answer sends a token elsewhere.
func TestSec_D1_BackChannelInnerAddresses(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inner.Close()
	secure := httptest.NewTLSServer(inner.Config.Handler)
	defer secure.Close()
	refuses := logoutClient(&config.Config{Environment: config.Production})
	for _, uri := range []string{inner.URL, secure.URL, "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/", "https://169.254.169.254/latest", "https://localhost/", "http://8.8.8.8/",
		"https://8.8.8.8:22/", "https://user@8.8.8.8/", "file:///etc/passwd"} {
		var e *notify.Error
		if err := sendLogout(t.Context(), refuses, tokenFor(uri), store.Message{}); !errors.As(err, &e) || !e.Permanent {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("inner addresses were called %d times", n)
	}
	for _, c := range []*config.Config{{Environment: config.Development}, {Environment: config.Production, Logout: config.Logout{InnerAddresses: true}}} {
		client := logoutClient(c)
		if err := sendLogout(t.Context(), client, tokenFor(inner.URL), store.Message{}); err != nil {
			t.Errorf("allowed, and yet %v", err)
		}
		moved := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect)) // 307 would carry the form on
		before := hits.Load()
		if err := sendLogout(t.Context(), client, tokenFor(moved.URL), store.Message{}); err == nil || hits.Load() != before {
			t.Errorf("a redirect was followed: %v", err)
		}
		moved.Close()
	}
}

// TestFrontChannelRegistration: Front-Channel Logout 1.0 §2, and what Back-Channel Logout 1.0 §2.2 says of addresses.
func TestFrontChannelRegistration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m  store.ClientMetadata
		ok bool
	}{
		{store.ClientMetadata{FrontChannelLogoutURI: "https://app.example/out?x=1", FrontChannelLogoutSession: true}, true},
		{store.ClientMetadata{BackChannelLogoutURI: "https://inner.example:9443/out", BackChannelLogoutSession: true}, true}, // anywhere
		{store.ClientMetadata{FrontChannelLogoutURI: "https://other.example/out"}, false},
		{store.ClientMetadata{FrontChannelLogoutURI: "http://app.example/out"}, false},
		{store.ClientMetadata{FrontChannelLogoutURI: "https://app.example:8443/out"}, false},
		{store.ClientMetadata{FrontChannelLogoutURI: "javascript:alert(1)"}, false},
		{store.ClientMetadata{FrontChannelLogoutURI: "https://app.example/out#x"}, false},
		{store.ClientMetadata{BackChannelLogoutURI: "https://app.example/out#x"}, false},
		{store.ClientMetadata{BackChannelLogoutURI: "ftp://app.example/out"}, false},
		{store.ClientMetadata{BackChannelLogoutURI: "https://user@app.example/out"}, false},
		{store.ClientMetadata{BackChannelLogoutSession: true}, false},
		{store.ClientMetadata{FrontChannelLogoutSession: true}, false},
	} {
		c.m.Name, c.m.RedirectURIs = "App", []string{"https://app.example/callback"}
		if err := CheckClient("app", c.m, nil); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
}
