package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// nothing is a ResponseWriter that costs nothing.
type nothing struct{ h http.Header }

func (n *nothing) Header() http.Header         { return n.h }
func (n *nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n *nothing) WriteHeader(int)             {}

// discard formats like JSON logging in production and throws it away.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkPage is what a page route costs around its handler: routing, headers, access line. The handler does nothing, as on the
// fast path of the authorization endpoint, whose answer is a redirect.
func BenchmarkPage(b *testing.B) {
	for _, name := range []string{"anonymous", "signed in"} {
		b.Run(name, func(b *testing.B) {
			f := newFake(b, func(c *Config) {
				c.Logger = slog.New(slog.NewJSONHandler(discard{}, nil))
				c.Observe = func(string, string, int, time.Duration) {}
			})
			f.Page("GET /oauth2/authorize", Public, func(w http.ResponseWriter, r *http.Request) error { return SeeOther(w, r, "https://app.example/cb") })
			r := httptest.NewRequest("GET", "/oauth2/authorize?client_id=app&response_type=code", nil)
			r.Host = "id.example.com"
			if name != "anonymous" {
				r.Header.Set("Cookie", "who=ann")
			}
			bench(b, f, r)
		})
	}
}

func BenchmarkAPI(b *testing.B) {
	f := newFake(b, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(discard{}, nil)) })
	f.API("GET /oauth2/jwks", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(200); return nil }, CORS{Any: true})
	r := httptest.NewRequest("GET", "/oauth2/jwks", nil)
	r.Host = "id.example.com"
	bench(b, f, r)
}

func bench(b *testing.B, h http.Handler, r *http.Request) {
	b.ReportAllocs()
	w := &nothing{}
	for b.Loop() {
		w.h = make(http.Header, 16)
		h.ServeHTTP(w, r)
	}
}

// The budget of a page route is under 40 allocations without a session; it is kept here because allocations are the stable half.
func TestPageOverhead(t *testing.T) {
	f := newFake(t, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(discard{}, nil)) })
	f.Page("GET /oauth2/authorize", Public, func(w http.ResponseWriter, r *http.Request) error { return SeeOther(w, r, "https://app.example/cb") })
	r := httptest.NewRequest("GET", "/oauth2/authorize?client_id=app", nil)
	r.Host = "id.example.com"
	n := testing.AllocsPerRun(200, func() { f.ServeHTTP(&nothing{h: make(http.Header, 16)}, r) })
	if n > 25 {
		t.Errorf("%.0f allocations", n)
	}
}
