package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("POST /b", SignedIn, okay)
	f.Page("GET /b", Public, okay)
	f.API("POST /a", okay, CORS{Any: true})
	f.Page("POST /oauth2/authorize", Public, okay, CrossSitePOST)
	got := fmt.Sprint(f.Routes())
	want := "[{POST /a api none [cors]} {GET /b page public []} {POST /b page signed_in []} {POST /oauth2/authorize page public [cross_site_post]}]"
	if got != want {
		t.Errorf("routes\n got %s\nwant %s", got, want)
	}
}

func TestPatternsMustNameTheirMethod(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	for _, pattern := range []string{"/x", "GET", "OPTIONS /x", "GET id.example.com/x", ""} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", pattern)
				}
			}()
			f.Page(pattern, Public, okay)
		}()
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	set, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	good := Config{Issuer: issuer, Templates: set, CSRFKey: make([]byte, 32)}
	if _, err := NewMux(good); err != nil {
		t.Fatal(err)
	}
	for name, break_ := range map[string]func(*Config){
		"issuer":    func(c *Config) { c.Issuer = "id.example.com" },
		"scheme":    func(c *Config) { c.Issuer = "ftp://id.example.com" },
		"templates": func(c *Config) { c.Templates = nil },
		"key":       func(c *Config) { c.CSRFKey = c.CSRFKey[:31] },
		"sign-in":   func(c *Config) { c.SignedIn = func(context.Context) bool { return false } },
	} {
		c := good
		break_(&c)
		if _, err := NewMux(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whoever acts for another finds every route shut but those that say otherwise, whatever its rule; before the body is read, before an action is asked.
func TestActingRule(t *testing.T) {
	t.Parallel()
	asked := 0
	f := newFake(t, func(c *Config) {
		c.Acting = func(ctx context.Context) bool { return ctx.Value(whoKey{}) == "eve" }
		c.Allow = func(context.Context, string) error { asked++; return nil }
	})
	f.Page("GET /open", Public, okay, WhileActing)
	f.Page("GET /public", Public, okay)
	f.Page("GET /own", SignedIn, okay)
	f.Page("POST /own", SignedIn, okay)
	f.Page("GET /admin", Needs("users.view"), okay)
	if got := fmt.Sprint(f.Routes()); !strings.Contains(got, "{GET /open page public [while_acting]}") {
		t.Error(got)
	}
	for _, c := range []struct {
		method, path, who string
		status            int
	}{
		{"GET", "/open", "eve", 200}, {"GET", "/public", "eve", 403}, {"GET", "/own", "eve", 403}, {"POST", "/own", "eve", 403}, {"GET", "/admin", "eve", 403},
		{"HEAD", "/own", "eve", 403}, {"GET", "/public", "", 200}, {"GET", "/own", "", 303}, {"GET", "/own", "ada", 200}, {"GET", "/admin", "ada", 200},
	} {
		var headers []string
		if c.who != "" {
			headers = []string{"Cookie", "who=" + c.who}
		}
		w := f.do(t, c.method, c.path, "", headers...)
		if w.Code != c.status || c.who == "eve" && c.status == 403 && c.method == "GET" && !strings.Contains(w.Body.String(), `data-error="acting"`) {
			t.Errorf("%s %s as %q: %d, want %d", c.method, c.path, c.who, w.Code, c.status)
		}
	}
	if asked != 1 {
		t.Errorf("an action was asked %d times", asked)
	}
}

// A route that needs an action asks for it at every request: after the session, before the body and the handler.
func TestNeedsRule(t *testing.T) {
	t.Parallel()
	var asked []string
	f := newFake(t, func(c *Config) {
		c.Allow = func(ctx context.Context, action string) error {
			asked = append(asked, fmt.Sprint(ctx.Value(whoKey{}), " ", action))
			if ctx.Value(whoKey{}) == "ada" {
				return nil
			}
			return &Error{Status: http.StatusForbidden}
		}
	})
	f.Page("GET /admin", Needs("users.view"), okay)
	f.Page("POST /admin", Needs("users.edit"), okay)
	if got := fmt.Sprint(f.Routes()); got != "[{GET /admin page needs users.view []} {POST /admin page needs users.edit []}]" {
		t.Error(got)
	}
	for _, c := range []struct {
		method, who string
		status      int
	}{{"GET", "", 303}, {"POST", "", 303}, {"GET", "eve", 403}, {"POST", "eve", 403}, {"GET", "ada", 200}, {"HEAD", "eve", 403}} {
		var headers []string
		if c.who != "" {
			headers = []string{"Cookie", "who=" + c.who}
		}
		if w := f.do(t, c.method, "/admin", "", headers...); w.Code != c.status {
			t.Errorf("%s as %q: %d, want %d", c.method, c.who, w.Code, c.status)
		}
	}
	if got := strings.Join(asked, ", "); got != "eve users.view, eve users.edit, ada users.view, eve users.view" {
		t.Errorf("asked: %s", got)
	}
	for name, add := range map[string]func(){
		"no Allow":     func() { newFake(t, nil).Page("GET /x", Needs("users.view"), okay) },
		"no such rule": func() { f.Page("GET /x", Rule("everybody"), okay) },
		"no action":    func() { f.Page("GET /x", Needs(""), okay) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", name)
				}
			}()
			add()
		}()
	}
}

func TestSignedInRule(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /account", SignedIn, okay)
	f.Page("POST /account", SignedIn, okay)
	for _, method := range []string{"GET", "POST"} {
		w := f.do(t, method, "/account", "")
		wantStatus(t, w, http.StatusSeeOther)
		if w.Header().Get("Location") != "/login" || strings.Contains(w.Body.String(), "reached") {
			t.Errorf("%s went to %q: %s", method, w.Header().Get("Location"), w.Body)
		}
	}
	wantStatus(t, f.do(t, "GET", "/account", "", "Cookie", "who=ann"), 200)
}

func TestErrorsAreTranslatedOnce(t *testing.T) {
	t.Parallel()
	secret := "sqlite: no such table: users"
	unavailable := fmt.Errorf("store: grant: %w", store.ErrUnavailable)
	for name, tc := range map[string]struct {
		err    error
		status int
		code   string
		retry  string
	}{
		"unknown":         {errors.New(secret), 500, "server_error", ""},
		"unavailable":     {unavailable, 503, "temporarily_unavailable", "2"},
		"wrapped as 400":  {&Error{Status: 400, Key: "error.flow_expired", Err: unavailable}, 503, "temporarily_unavailable", "2"},
		"wrapped as 401":  {fmt.Errorf("login: %w", &Error{Status: 401, Err: unavailable}), 503, "temporarily_unavailable", "2"},
		"own 503":         {&Error{Status: 503, Key: "error.busy", Err: unavailable, Retry: 5 * time.Second}, 503, "temporarily_unavailable", "5"},
		"deadline":        {fmt.Errorf("read: %w", context.DeadlineExceeded), 503, "temporarily_unavailable", "2"},
		"for people":      {&Error{Status: 400, Key: "error.flow_expired", Code: "flow_expired", Err: errors.New(secret)}, 400, "flow_expired", ""},
		"wrapped":         {fmt.Errorf("login: %w", &Error{Status: 409, Code: "conflict"}), 409, "conflict", ""},
		"no status":       {&Error{}, 500, "server_error", ""},
		"retry rounds up": {&Error{Status: 429, Retry: 1500 * time.Millisecond}, 429, "too_many_requests", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, nil)
			fails := func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Location", "https://evil.example")
				w.Header().Set("Content-Length", "3")
				return tc.err
			}
			f.Page("GET /page", Public, fails)
			f.API("GET /api", fails)

			w := f.do(t, "GET", "/page", "")
			wantStatus(t, w, tc.status)
			ref := w.Header().Get("X-Request-Id")
			for _, want := range []string{`data-error="` + tc.code + `"`, `id="error-page"`, ref} {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("page lacks %s", want)
				}
			}
			if h := w.Header(); h.Get("Location") != "" || h.Get("Retry-After") != tc.retry || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
				t.Errorf("page header %v", h)
			}
			if strings.Contains(w.Body.String(), "sqlite") || strings.Contains(w.Body.String(), "database unavailable") {
				t.Error("the page shows the cause")
			}
			if !strings.Contains(f.logged(), ref) {
				t.Error("the access line lacks the reference")
			}

			w = f.do(t, "GET", "/api", "")
			wantStatus(t, w, tc.status)
			var body map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["error"] != tc.code || body["reference"] != w.Header().Get("X-Request-Id") || len(body) != 2 {
				t.Errorf("JSON %s: %v", w.Body, err)
			}
			if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Retry-After") != tc.retry || h.Get("Cache-Control") != "no-store" {
				t.Errorf("JSON header %v", h)
			}
		})
	}
}

// Forms on the error page work for whoever is signed in; nobody gets a cookie from one.
func TestErrorPageKnowsThePerson(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /page", Public, func(http.ResponseWriter, *http.Request) error { return errors.New("x") })
	f.Page("POST /preferences", Public, okay)
	token := f.tokenOf(t, "/page", "Cookie", "who=ann")
	wantStatus(t, f.do(t, "POST", "/preferences", form("form_token", token), "Cookie", "who=ann"), 200)
	if w := f.do(t, "GET", "/page", ""); len(w.Result().Cookies()) != 0 || tokenField.MatchString(w.Body.String()) {
		t.Error("an error page set a cookie")
	}
}

func TestDatabaseTroubleIsNeverAnonymous(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *Config) {
		c.Session = func(ctx context.Context, _ *http.Request) (context.Context, error) {
			return ctx, fmt.Errorf("session: %w", store.ErrUnavailable)
		}
	})
	f.Page("GET /public", Public, okay)
	f.Page("GET /account", SignedIn, okay)
	for _, path := range []string{"/public", "/account"} {
		if w := f.do(t, "GET", path, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestNotFoundAndMethods(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /login", Public, okay)
	f.Page("POST /login", Public, okay)
	f.API("POST /oauth2/token", okay)

	w := f.do(t, "GET", "/nowhere", "")
	wantStatus(t, w, 404)
	if !strings.Contains(w.Body.String(), `data-error="not_found"`) || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("404 is not our page: %s", w.Body)
	}
	w = f.do(t, "DELETE", "/login", "")
	wantStatus(t, w, 405)
	if w.Header().Get("Allow") != "GET, HEAD, POST" || !strings.Contains(w.Body.String(), `data-error="method_not_allowed"`) {
		t.Errorf("405: Allow %q, %s", w.Header().Get("Allow"), w.Body)
	}
	for accept, json := range map[string]bool{"": true, "application/json": true, "text/html,*/*": false} {
		w = f.do(t, "GET", "/oauth2/token", "", "Accept", accept)
		wantStatus(t, w, 405)
		if got := w.Header().Get("Content-Type") == "application/json"; got != json || w.Header().Get("Allow") != "POST" {
			t.Errorf("Accept %q: %v, Allow %q", accept, w.Header()["Content-Type"], w.Header().Get("Allow"))
		}
	}
	wantStatus(t, f.do(t, "HEAD", "/login", ""), 200)
	if w := f.do(t, "OPTIONS", "/login", ""); w.Code != 405 {
		t.Errorf("OPTIONS of a page: %d", w.Code)
	}
}

func TestTrailingSlashAndConnect(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /login", Public, okay)
	wantStatus(t, f.do(t, "GET", "/login/", ""), 404)
	r := httptest.NewRequest("GET", "/login", nil)
	r.Method, r.Host = "CONNECT", "id.example.com"
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	wantStatus(t, w, 404)
}

func TestPanics(t *testing.T) {
	t.Parallel()
	panics := 0
	f := newFake(t, func(c *Config) { c.Panicked = func() { panics++ } })
	f.Page("GET /page", Public, func(http.ResponseWriter, *http.Request) error { panic("kaboom") })
	f.API("GET /api", func(http.ResponseWriter, *http.Request) error { panic(errors.New("kaboom")) })
	f.Page("GET /late", Public, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half a page"))
		panic("kaboom")
	})
	w := f.do(t, "GET", "/page", "")
	wantStatus(t, w, 500)
	if !strings.Contains(w.Body.String(), `data-error="server_error"`) || strings.Contains(w.Body.String(), "kaboom") {
		t.Errorf("page: %s", w.Body)
	}
	wantStatus(t, f.do(t, "GET", "/api", ""), 500)
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("a half-written page passed for a whole one")
			}
		}()
		f.do(t, "GET", "/late", "")
	}()
	if panics != 3 || strings.Count(f.logged(), `"msg":"handler panicked"`) != 3 || !strings.Contains(f.logged(), "mux_test.go") {
		t.Errorf("%d panics counted; log %s", panics, f.logged())
	}
}

// An error after the first byte cuts the connection, too.
func TestErrorAfterHeader(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.API("GET /api", func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte(`{"half":`))
		return errors.New("broken")
	})
	srv := httptest.NewServer(f)
	defer srv.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api", nil)
	r.Host = "id.example.com"
	res, err := srv.Client().Do(r)
	if err == nil {
		var v any
		if json.NewDecoder(res.Body).Decode(&v) == nil {
			t.Error("decoded")
		}
		_ = res.Body.Close()
	}
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /slow", Public, func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return fmt.Errorf("read: %w", r.Context().Err())
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("GET", "/slow", nil).WithContext(ctx)
	r.Host = "id.example.com"
	f.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(f.logged(), `"status":499`) || strings.Contains(f.logged(), `"level":"ERROR"`) {
		t.Errorf("log %s", f.logged())
	}
}

func TestAPIHasNoCookies(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.API("GET /api", func(w http.ResponseWriter, r *http.Request) error {
		if len(r.Cookies()) > 0 {
			t.Error("an API handler saw cookies")
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.WriteHeader(200)
		return nil
	})
	w := f.do(t, "GET", "/api", "", "Cookie", "who=ann")
	if len(w.Result().Cookies()) != 0 {
		t.Error("an API route set a cookie")
	}
	if w.Header().Get("Cache-Control") != "public, max-age=60" {
		t.Error("a document that may be kept cannot say so")
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	allowed := CORS{Allowed: func(_ context.Context, origin string) bool { return origin == "https://app.example" }}
	f.API("GET /any", okay, CORS{Any: true})
	f.API("GET /some", okay, allowed)
	f.API("POST /some", okay, allowed)
	f.API("POST /none", okay)
	for _, tc := range []struct{ method, path, origin, want, methods string }{
		{"GET", "/any", "https://x.example", "*", ""},
		{"GET", "/any", "", "*", ""},
		{"GET", "/some", "https://app.example", "https://app.example", ""},
		{"GET", "/some", "https://evil.example", "", ""},
		{"GET", "/some", "null", "", ""},
		{"POST", "/none", "https://app.example", "", ""},
		{"OPTIONS", "/some", "https://app.example", "https://app.example", "GET, POST"},
		{"OPTIONS", "/some", "https://evil.example", "", ""},
		{"OPTIONS", "/any", "https://x.example", "*", "GET"},
	} {
		w := f.do(t, tc.method, tc.path, "", "Origin", tc.origin)
		h := w.Header()
		if h.Get("Access-Control-Allow-Origin") != tc.want || h.Get("Access-Control-Allow-Methods") != tc.methods || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s from %q: %v", tc.method, tc.path, tc.origin, h)
		}
		if strings.HasPrefix(tc.path, "/some") && !slices.Contains(h.Values("Vary"), "Origin") {
			t.Errorf("%s %s: no Vary", tc.method, tc.path)
		}
		if tc.method == "OPTIONS" && w.Code != 204 {
			t.Errorf("preflight answered %d", w.Code)
		}
	}
	wantStatus(t, f.do(t, "OPTIONS", "/none", "", "Origin", "https://app.example"), 405)
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var seen []string
	f := newFake(t, func(c *Config) {
		c.Observe = func(pattern, method string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprintf("%s|%s|%d", pattern, method, status))
		}
	})
	f.Page("GET /setup/{token}", Public, okay)
	f.do(t, "GET", "/setup/abc", "")
	f.do(t, "GET", "/x/y", "")
	f.do(t, "GET", "/setup/abc", "", "Host", "evil.example")
	if want := []string{"GET /setup/{token}|GET|200", "|GET|404", "|GET|421"}; !slices.Equal(seen, want) {
		t.Errorf("observed %q, want %q", seen, want)
	}
}

func TestHandlerThatWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /page", Public, func(http.ResponseWriter, *http.Request) error { return nil })
	w := f.do(t, "GET", "/page", "")
	wantStatus(t, w, 200)
	if w.Header().Get("Content-Security-Policy") == "" {
		t.Error("no policy")
	}
}

// Handlers find their response through a writer somebody wrapped.
func TestWrappedWriter(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /page", Public, func(w http.ResponseWriter, r *http.Request) error {
		FormAction(wrapped{w}, "https://app.example/cb")
		return f.Render(w, r, 200, &templates.HomePage{Base: f.Base(w, r)})
	})
	if p := f.do(t, "GET", "/page", "").Header().Get("Content-Security-Policy"); !strings.HasSuffix(p, "form-action 'self' https://app.example") {
		t.Errorf("policy %s", p)
	}
	FormAction(httptest.NewRecorder(), "https://app.example/cb") // no response of ours: no effect, no panic
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }
