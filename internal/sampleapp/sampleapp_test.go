package sampleapp_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
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
		{"GET", "/lessons", 403, `id="sorry"`},
		{"GET", "/greeting", 403, `id="sorry"`},
		{"GET", "/interview", 403, `id="sorry"`},
		{"GET", "/bell", 403, `id="sorry"`},
		{"GET", "/actions/ring?x=1", 403, `href="/login?return=%2Factions%2Fring%3Fx%3D1"`},
		{"POST", "/bell", 403, `href="/login?return=%2F"`}, // a form is not sent again
		{"GET", "/api", 403, `id="sorry-exit" class="button quiet" href="http://localhost:8081/"`},
		{"GET", "/api/me", 401, `"error":"invalid_token"`},
		{"GET", "/api/lessons", 401, `"error":"invalid_token"`},
		{"GET", "/api/now/lessons", 401, `"error":"invalid_token"`},
		{"GET", "/backchannel-logout", 404, `id="not-found"`},
		{"POST", "/backchannel-logout", 400, `"error":"invalid_request"`},
		{"GET", "/notes", 200, `id="notes-sign-in" class="button quiet" href="/login?return=%2Fnotes"`},
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
		"no secret":   {Issuer: "http://localhost:1", ClientID: "x", BaseURL: "http://localhost:2"},
		"script exit": {Issuer: "http://localhost:1", ClientID: "x", ClientSecret: "y", BaseURL: "http://localhost:2", ExitURL: "javascript:alert(1)"},
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

// R2: what a visitor writes belongs to their browser, and other sites write nothing.
func TestVisitorsNotes(t *testing.T) {
	t.Parallel()
	h, err := sampleapp.New(sampleapp.Config{Issuer: "http://localhost:1", ClientID: "x", ClientSecret: "y", BaseURL: "http://localhost:8081", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, note, site string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/notes", strings.NewReader(url.Values{"note": {note}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		for _, k := range cookies {
			r.AddCookie(k)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := do("POST", "<b>one</b>", "same-origin")
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Fatalf("%d, cookies %v", w.Code, w.Result().Cookies())
	}
	mine := w.Result().Cookies()[0]
	if !mine.HttpOnly || mine.SameSite != http.SameSiteLaxMode || mine.MaxAge != 0 || len(mine.Value) < 26 {
		t.Errorf("%+v", mine)
	}
	if w := do("POST", "two", "same-origin", mine); w.Code != 303 || len(w.Result().Cookies()) > 0 {
		t.Errorf("the second one: %d %v", w.Code, w.Result().Cookies())
	}
	if w := do("POST", "stolen", "cross-site", mine); w.Code != 403 {
		t.Errorf("another site's form: %d", w.Code)
	}
	for _, bad := range []string{"", "   ", strings.Repeat("x", 501), "\xff"} {
		do("POST", bad, "same-origin", mine)
	}
	body := do("GET", "", "none", mine).Body.String()
	if strings.Count(body, "<li><bdi>") != 2 || !strings.Contains(body, "<bdi>&lt;b&gt;one&lt;/b&gt;</bdi>") || strings.Contains(body, "stolen") {
		t.Errorf("%s", body)
	}
	if body := do("GET", "", "none").Body.String(); strings.Contains(body, "two") {
		t.Error("another browser reads them")
	}
	for range 30 {
		do("POST", "more", "same-origin", mine)
	}
	if n := strings.Count(do("GET", "", "none", mine).Body.String(), "<li><bdi>"); n != 20 {
		t.Errorf("%d notes kept", n)
	}
}
