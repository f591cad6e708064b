package web

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/templates"
)

const issuer = "https://id.example.com"

// pages are parsed once for all tests.
var pages = sync.OnceValues(func() (*templates.Set, error) { return templates.New(templates.Options{Preferences: "/preferences"}) })

// fake is a mux with a make-believe session: the cookie "who" names the person, the cookie "browser" binds forms before there is one.
type fake struct {
	*Mux
	log *bytes.Buffer
	mu  sync.Mutex
}

// Write implements io.Writer for the log.
func (f *fake) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

func (f *fake) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

type whoKey struct{}

func newFake(t testing.TB, change func(*Config)) *fake {
	t.Helper()
	set, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{log: new(bytes.Buffer)}
	cookie := func(r *http.Request, name string) string {
		c, err := r.Cookie(name)
		if err != nil {
			return ""
		}
		return c.Value
	}
	c := Config{
		Issuer: issuer, Templates: set, CSRFKey: bytes.Repeat([]byte{7}, 32), HSTS: true,
		Logger: slog.New(slog.NewJSONHandler(f, nil)),
		Session: func(ctx context.Context, r *http.Request) (context.Context, error) {
			if who := cookie(r, "who"); who != "" {
				return context.WithValue(ctx, whoKey{}, who), nil
			}
			return ctx, nil
		},
		SignedIn: func(ctx context.Context) bool { return ctx.Value(whoKey{}) != nil },
		SignIn:   func(w http.ResponseWriter, r *http.Request) error { return SeeOther(w, r, "/login") },
		Binding: func(r *http.Request) string {
			if who, ok := r.Context().Value(whoKey{}).(string); ok {
				return "who:" + who
			}
			if b := cookie(r, "browser"); b != "" {
				return "browser:" + b
			}
			return ""
		},
		Bind: func(w http.ResponseWriter, _ *http.Request) string {
			http.SetCookie(w, &http.Cookie{Name: "browser", Value: "b1"})
			return "browser:b1"
		},
		Person: func(ctx context.Context) (*templates.Person, string, []string) {
			if who, ok := ctx.Value(whoKey{}).(string); ok {
				return &templates.Person{Name: who, Email: who + "@example.com"}, "", nil
			}
			return nil, "", nil
		},
	}
	if change != nil {
		change(&c)
	}
	m, err := NewMux(c)
	if err != nil {
		t.Fatal(err)
	}
	f.Mux = m
	return f
}

// show is a page with a form on it.
func (f *fake) show(w http.ResponseWriter, r *http.Request) error {
	return f.Render(w, r, http.StatusOK, &templates.LoginPage{Base: f.Base(w, r), Action: "/form"})
}

func okay(w http.ResponseWriter, _ *http.Request) error {
	_, err := io.WriteString(w, "reached")
	return err
}

// do sends a request; head is name, value, name, value.
func (f *fake) do(t testing.TB, method, target, body string, head ...string) *httptest.ResponseRecorder {
	t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, b)
	r.Host = "id.example.com"
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(head); i += 2 {
		if head[i] == "Host" {
			r.Host = head[i+1]
			continue
		}
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

var tokenField = regexp.MustCompile(`name="form_token" value="([^"]+)"`)

// tokenOf loads a page and returns the token on it and the browser cookie it set.
func (f *fake) tokenOf(t testing.TB, path string, head ...string) string {
	t.Helper()
	w := f.do(t, "GET", path, "", head...)
	m := tokenField.FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("no form token on %s: %d %s", path, w.Code, w.Body)
	}
	return m[1]
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func wantStatus(t testing.TB, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d; body %.300s", w.Code, status, w.Body)
	}
}

func mustPrefix(t testing.TB, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
