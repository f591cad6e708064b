package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/templates"
)

const basePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; form-action 'self'"

// C6 and C7: what every response says to browsers, whatever became of the request.
func TestSec_C6_Headers(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /page", Public, f.show)
	f.Page("GET /moved", Public, func(w http.ResponseWriter, r *http.Request) error { return SeeOther(w, r, "/page") })
	f.Page("GET /broken", Public, func(http.ResponseWriter, *http.Request) error { panic("x") })
	f.Page("POST /page", Public, okay)
	f.API("GET /api", okay)
	f.API("GET /api/broken", func(http.ResponseWriter, *http.Request) error { panic("x") })
	page := map[string]string{
		"Content-Security-Policy": basePolicy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000",
		"Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), otp-credentials=(self), camera=(), microphone=(), geolocation=()",
	}
	api := map[string]string{
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000",
	}
	for _, tc := range []struct {
		method, path, host string
		status             int
		want               map[string]string
	}{
		{"GET", "/page", "", 200, page}, {"HEAD", "/page", "", 200, page}, {"GET", "/moved", "", 303, page}, {"GET", "/broken", "", 500, page},
		{"POST", "/page", "", 403, page}, {"GET", "/nowhere", "", 404, page}, {"PUT", "/page", "", 405, page}, {"GET", "/page", "evil.example", 421, page},
		{"GET", "//page", "", 404, page}, {"GET", "/api", "", 200, api}, {"GET", "/api/broken", "", 500, api}, {"GET", "/api/nowhere", "", 404, api},
	} {
		head := []string{}
		if tc.host != "" {
			head = []string{"Host", tc.host}
		}
		w := f.do(t, tc.method, tc.path, "", head...)
		if w.Code != tc.status {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.path, w.Code, tc.status)
		}
		for name, want := range tc.want {
			if got := w.Header().Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s %s: %s = %q, want %q", tc.method, tc.path, name, got, want)
			}
		}
	}
	plain := newFake(t, func(c *Config) { c.HSTS = false })
	if h := plain.do(t, "GET", "/x", "").Header().Get("Strict-Transport-Security"); h != "" {
		t.Errorf("HSTS without https: %s", h)
	}
}

// One response's headers are not another's.
func TestHeadersAreNotShared(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /odd", Public, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Add("Cache-Control", "private")
		w.Header().Set("Referrer-Policy", "no-referrer")
		FormAction(w, "https://app.example/cb")
		return okay(w, r)
	})
	f.Page("GET /page", Public, f.show)
	f.do(t, "GET", "/odd", "")
	h := f.do(t, "GET", "/page", "").Header()
	if h.Get("Referrer-Policy") != "same-origin" || len(h["Cache-Control"]) != 1 || h.Get("Content-Security-Policy") != basePolicy {
		t.Errorf("header %v", h)
	}
}

func TestSec_C7_PolicySources(t *testing.T) {
	t.Parallel()
	for u, want := range map[string]string{
		"https://app.example/cb":                    " https://app.example",
		"https://APP.example:443/cb":                " https://app.example",
		"https://app.example:8443/cb?x=1":           " https://app.example:8443",
		"http://localhost:3000/cb":                  " http://localhost:3000",
		"http://127.0.0.1:51004/cb":                 " http://127.0.0.1:51004",
		"http://[::1]:51004/cb":                     " http:",
		"com.example.app:/cb":                       " com.example.app:",
		"com.example.app://cb/x;y":                  " com.example.app:",
		"https://app.example;script-src 'x'/cb":     "",
		"https://app.example,evil/cb":               "",
		"https://app.example'/cb":                   "",
		"https://*.example/cb":                      "",
		"https://*/cb":                              "",
		"https://user:pw@app.example/cb":            "",
		"https://app.example:80;/cb":                "",
		"https://app..example/cb":                   "",
		"https://ex\u00e4mple.com/cb":               "",
		"https:///cb":                               "",
		"https:app.example":                         "",
		"javascript:alert(1)":                       "",
		"JavaScript:alert(1)":                       "",
		"data:text/html,x":                          "",
		"blob:https://app.example/1":                "",
		"/relative":                                 "",
		"":                                          "",
		"https://app.example\r\nX-Evil: 1/cb":       "",
		"com.example;x:/cb":                         "",
		"https://[::1;script-src]/cb":               "",
		"https://[fe80::1%25eth0;script-src 'x']/c": "",
	} {
		f := newFake(t, nil)
		f.Page("GET /page", Public, func(w http.ResponseWriter, r *http.Request) error {
			FormAction(w, u)
			return f.Render(w, r, 422, &templates.LoginPage{Base: f.Base(w, r)})
		})
		if got := f.do(t, "GET", "/page", "").Header().Get("Content-Security-Policy"); got != basePolicy+want {
			t.Errorf("%q: policy ends %q, want %q", u, strings.TrimPrefix(got, basePolicy), want)
		}
	}
	for u, want := range map[string]string{
		"https://cdn.example/logo.png": " https://cdn.example", "http://cdn.example/logo.png": "", "https://cdn.example;x/logo.png": "", "data:image/png,x": "",
		"https://[2001:db8::1]/l.png": "",
	} {
		f := newFake(t, nil)
		f.Page("GET /page", Public, func(w http.ResponseWriter, r *http.Request) error { ImageOrigin(w, u); return okay(w, r) })
		got := f.do(t, "GET", "/page", "").Header().Get("Content-Security-Policy")
		if want := strings.Replace(basePolicy, "img-src 'self' data:", "img-src 'self' data:"+want, 1); got != want {
			t.Errorf("%q: policy %q", u, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://a.example/x": "https://a.example", "http://A.example:80": "http://a.example", "https://a.example:80": "https://a.example:80",
		"http://[::1]:8080/": "http://[::1]:8080", "ftp://a.example": "", "mailto:a@b": "", "https://a.example:99999x": "",
	} {
		u, err := url.Parse(in)
		if err != nil {
			u = nil
		}
		if got := Origin(u); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
