//go:build linux

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// start serves a null provider, with its responses rewritten by mangle, and
// returns a session factory for it.
func start(t *testing.T, alg string, mangle func(path, body string) string) func(vu int) *Session {
	t.Helper()
	n, err := newNull("", alg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	n.issuer = srv.URL
	h := n.handler()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		w.Write([]byte(mangle(r.URL.Path, rec.Body.String())))
	})
	path := t.TempDir() + "/target.json"
	os.WriteFile(path, []byte(`{"issuer":"`+srv.URL+`","client":{"id":"app","secret":"s","redirect_uri":"http://127.0.0.1:1/cb","scope":"openid"}}`), 0o600)
	_, session, err := connect(path, 4)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func same(_, body string) string { return body }

func TestWorkloadsAgainstNull(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		session := start(t, alg, same)
		for _, w := range workloads {
			r := run(w, []*Session{session(0), session(1)}, 100*time.Millisecond, map[string]int{"self": os.Getpid()})
			if r.Ops == 0 || r.Errors > 0 {
				t.Errorf("%s %s: %d ops, %d errors: %v", alg, w.name, r.Ops, r.Errors, r.Samples)
			}
			if r.P50 > r.P95 || r.P95 > r.P99 || r.P99 > r.Max || r.Usage[0].PeakRSS == 0 {
				t.Errorf("%s %s: implausible result %+v", alg, w.name, r)
			}
		}
	}
}

func TestBadAnswersAreErrors(t *testing.T) {
	for _, c := range []struct{ workload, path, old, new, want string }{
		{"discovery", "/.well-known/openid-configuration", `"issuer":"http`, `"issuer":"ftp`, "issuer"},
		{"cc", "/token", "Bearer", "MAC", "no bearer token"},
		{"code", "/token", `"id_token":"`, `"id_token":"x`, "id_token"},
		{"code", "/token", `"id_token":"`, `"id_toke":"`, "not a signed JWT"},
		{"refresh", "/token", `"refresh_token":"`, `"refresh_token":"","x":"`, "no refresh token"},
		{"introspect", "/introspect", "true", "false", "want active true"},
		{"userinfo", "/userinfo", `"sub":"user"`, `"sub":"other"`, "want subject"},
		{"revoke", "/introspect", "false", "true", "want active false"},
	} {
		broken := false // connecting must still work
		session := start(t, "ES256", func(path, body string) string {
			if broken && path == c.path {
				return strings.Replace(body, c.old, c.new, 1)
			}
			return body
		})
		broken = true
		list, err := selected(&Target{}, c.workload)
		if err != nil {
			t.Fatal(err)
		}
		r := run(list[0], []*Session{session(0)}, 20*time.Millisecond, nil)
		if r.Errors == 0 || !strings.Contains(strings.Join(r.Samples, " "), c.want) {
			t.Errorf("%s with %s: errors %v, want one about %q", c.workload, c.new, r.Samples, c.want)
		}
	}
}

func TestWrongNonce(t *testing.T) {
	c := claims{Issuer: "i", Audience: audience{"app"}, Subject: "s", Nonce: "a", Expiry: float64(time.Now().Unix() + 60)}
	if err := c.check("i", "app", "a"); err != nil {
		t.Error(err)
	}
	if c.check("i", "app", "b") == nil || c.check("i", "other", "a") == nil || c.check("j", "app", "a") == nil {
		t.Error("wrong claims accepted")
	}
	c.Expiry = float64(time.Now().Unix() - 1)
	if c.check("i", "app", "a") == nil {
		t.Error("expired token accepted")
	}
}

func TestPagesAndVia(t *testing.T) {
	var got []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`<input name="csrf" value="a&amp;b">`))
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.FormValue("csrf"), r.FormValue("user"), r.Host, r.Header.Get("X-Forwarded-Proto"))
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "1", Secure: true})
		http.Redirect(w, r, "/done", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /done", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("sid"); err == nil {
			http.Redirect(w, r, "http://127.0.0.1:1/cb?code=1", http.StatusFound)
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	tg := &Target{
		Via:    map[string]string{"https://op.test": srv.URL},
		Client: Client{RedirectURI: "http://127.0.0.1:1/cb"},
		Pages: []Page{{Match: `/login\?c=(?P<c>\w+)`, Steps: []Step{
			{URL: "{url}", Extract: map[string]string{"csrf": `name="csrf" value="([^"]*)"`}},
			{Method: "POST", URL: "https://op.test/login", Form: map[string]string{"csrf": "{csrf}", "user": "u{vu}-{c}"}},
		}}},
	}
	if err := tg.init(); err != nil {
		t.Fatal(err)
	}
	s := newSession(tg, nil, nil, newTransport(tg, 1), 7)
	u, err := s.follow("https://op.test/login?c=abc")
	if err != nil || u.Query().Get("code") != "1" {
		t.Fatalf("got %v, %v", u, err)
	}
	if want := "a&b u7-abc op.test https"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.get("http://192.0.2.1/"); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("a foreign address was not refused: %v", err)
	}
}
