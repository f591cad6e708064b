package sampleapp_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/sampleapp"
)

// The application works, as far as it can, while its provider is down. What it does with one is in internal/testidp/suite.
func TestPagesWithoutProvider(t *testing.T) {
	t.Parallel()
	const issuer = "http://localhost:1" // nobody listens there
	h, err := sampleapp.New(sampleapp.Config{Issuer: issuer, ClientID: "x", ClientSecret: "y", BaseURL: "http://localhost:8081", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/", 200, `id="home-sign-in" class="button" href="/login?return=%2Fyou"`},
		{"GET", "/about", 200, `id="about-title"`},
		{"GET", "/signed-out", 200, `id="signed-out"`},
		{"GET", "/members?a=b", 403, `id="sorry-sign-in" class="button" href="/login?return=%2Fmembers%3Fa%3Db"`},
		{"GET", "/you", 403, `id="sorry"`},
		{"GET", "/admin", 403, `id="sorry"`},
		{"GET", "/me", 200, `{"logged_in":false}`},
		{"GET", "/login", 503, `data-code="unavailable"`},
		{"GET", "/callback?state=x&code=y", 400, `data-code="expired"`},
		{"GET", "/nothing", 404, `id="not-found"`},
		{"GET", "/logout", 404, `id="not-found"`},
	} {
		w := get(c.method, c.path)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d, want %d with %s:\n%s", c.method, c.path, w.Code, c.status, c.want, w.Body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self';") ||
			!strings.Contains(csp, "form-action 'self' "+issuer+";") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", c.path, csp)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", c.path)
		}
	}
	path := regexp.MustCompile(`/static/[0-9a-f]+/app\.css`).FindString(get("GET", "/").Body.String())
	if w := get("GET", path); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("the stylesheet %q: %d %v", path, w.Code, w.Header())
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]sampleapp.Config{
		"no issuer":   {ClientID: "x", BaseURL: "http://localhost:1"},
		"no base":     {Issuer: "http://localhost:1", ClientID: "x"},
		"no client":   {Issuer: "http://localhost:1", BaseURL: "http://localhost:2"},
		"http issuer": {Issuer: "http://id.example", ClientID: "x", BaseURL: "http://localhost:2"},
	} {
		if h, err := sampleapp.New(c); err == nil || h != http.Handler(nil) {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := sampleapp.RedirectURL("http://localhost:8081/"); got != "http://localhost:8081/callback" {
		t.Error(got)
	}
	if got := sampleapp.PostLogoutURL("http://localhost:8081"); got != "http://localhost:8081/signed-out" {
		t.Error(got)
	}
}
