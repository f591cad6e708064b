package web

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// A3 and A4: what may be registered at all.
func TestSec_A3_RedirectForm(t *testing.T) {
	t.Parallel()
	web := []string{
		"https://app.example/cb", "https://app.example", "https://app.example/", "https://app.example:8443/cb", "https://app.example/cb?tenant=1&x=y",
		"https://app.example/a/b/c", "https://xn--exmple-cua.com/cb", "https://app.example/%C3%A4", "https://192.0.2.7/cb", "https://[2001:db8::7]/cb",
		"http://localhost/cb", "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://127.0.0.1:8080/cb", "http://[::1]/cb", "http://[::1]:9/cb", "https://a_b.example/cb",
		"https://app.example/cb;x", "https://app.example/cb/@me", "https://app.example/...", "https://app.example/?",
	}
	native := []string{"com.example.app:/cb", "com.example.app://cb", "com.example.app:/cb?x=1", "com.example.app://host/path"}
	for _, u := range web {
		for _, n := range []bool{true, false} {
			if err := CheckRedirectForm(u, n); err != nil {
				t.Errorf("%s (native %v): %v", u, n, err)
			}
		}
	}
	for _, u := range native {
		if err := CheckRedirectForm(u, true); err != nil {
			t.Errorf("%s: %v", u, err)
		}
		if CheckRedirectForm(u, false) == nil {
			t.Errorf("%s: accepted for a web client", u)
		}
	}
	for _, u := range []string{
		"", " ", "app.example/cb", "/cb", "//app.example/cb", "https://", "https:///cb", "https:app.example/cb", "https:/app.example/cb", "http://app.example/cb", "http://10.0.0.1/cb",
		"https://app.example/cb#x", "https://app.example/cb#", "https://user@app.example/cb", "https://user:pw@app.example/cb", "https://@app.example/cb", "https://good.example@evil.example/cb",
		"https://good.example%40evil.example/cb", "https://good.example\\@evil.example/cb", "https://app.example\\cb", "https://*.example/cb", "https://app.example/*", "https://app.example/cb?*",
		"https://app.example/../cb", "https://app.example/a/../cb", "https://app.example/./cb", "https://app.example/cb/..", "https://app.example/cb/.", "https://app.example/%2e%2e/cb",
		"https://app.example/.%2E/cb", "https://app.example/%2e/cb", "https://app.example/a%2fb", "https://app.example/a%2Fb", "https://app.example/a%5cb", "https://app.example/%00", "https://app.example/%0d%0a",
		"https://app.example/%7f", "https://app.example/%zz", "https://app.example/%", "https://app.example/c b", "https://app.example/\tcb", "https://app.example/cb\n", "https://app.example\r\n/cb", "\thttps://app.example/cb",
		"https://app.example/\u00e4", "https://ex\u00e4mple.com/cb", "https://\u0430pp.example/cb", "https://app\u3002example/cb", "https://app.example/\u202ecb", "https://app.example\x00/cb",
		"HTTPS://app.example/cb", "https://APP.example/cb", "https://app.example:/cb", "https://app.example:0/cb", "https://app.example:080/cb", "https://app.example:99999x/cb", "https://app.example:-1/cb",
		"https://.example/cb", "https://app..example/cb", "https://app.example./cb", "https://app,example/cb", "https://app;example/cb", "https://app'example/cb", "https://app\"example/cb", "https://app.example/<x>",
		"https://app.example/`", "https://app.example/{x}", "https://app.example/|", "https://app.example/^",
		"https://2130706433/cb", "https://0x7f.1/cb", "https://0x7f000001/cb", "https://127.1/cb", "https://0177.0.0.1/cb", "https://192.168.1/cb", "https://1.2.3.4.5/cb", "https://256.1.1.1/cb",
		"https://[::1%25eth0]/cb", "https://[fe80::1%25x]/cb", "https://[::ffff:127.0.0.1]/cb", "https://[2001:db8:0:0:0:0:0:7]/cb", "https://[2001:DB8::7]/cb", "https://[::1/cb", "https://::1/cb",
		"http://localhost.evil.example/cb", "http://localhost@evil.example/cb", "http://127.0.0.1.evil.example/cb", "http://user:pw@127.0.0.1:5/cb", "http://0.0.0.0/cb", "http://[::]/cb", "http://127.0.0.1.:80/cb",
		"javascript:alert(1)", "JAVASCRIPT:alert(1)", "java\tscript:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "file:///etc/passwd", "intent://x#Intent;end", "intent://x", "vbscript:x", "blob:https://app.example/1",
		"about:blank", "ftp://app.example/cb", "ws://app.example/cb", "view-source:https://app.example", "urn:ietf:wg:oauth:2.0:oob", "mailto:a@b.example", "myapp:/cb", "myapp://cb", "com.example.app:cb", "com.example.app:", "a.:/cb", ".a:/cb",
		"https://app.example/" + strings.Repeat("a", 2048),
	} {
		for _, n := range []bool{true, false} {
			if CheckRedirectForm(u, n) == nil {
				t.Errorf("%.80q (native %v): accepted", u, n)
			}
		}
	}
}

func FuzzCheckRedirectForm(f *testing.F) {
	for _, s := range []string{
		"https://app.example/cb", "http://localhost:3000/cb?x=1", "com.example.app:/cb", "https://good@evil/cb", "http://127.0.0.1:5/cb", "https://[::1]/x", "javascript:alert(1)",
		"https://app.example/%2e%2e/x", "https://a.example\\@b.example/", "https://a.example/#", "https://0x7f.1/", "com.example.app://x:y/z",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, native bool) {
		if CheckRedirectForm(s, native) != nil {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.String() != s || u.User != nil || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(s, "#\\*@"[:3]) {
			t.Fatalf("accepted %q", s)
		}
		for i := range len(s) {
			if s[i] <= ' ' || s[i] >= 0x7f {
				t.Fatalf("accepted %q", s)
			}
		}
		switch u.Scheme {
		case "https":
			if Origin(u) == "" {
				t.Fatalf("accepted %q, which has no origin", s)
			}
		case "http":
			a, err := netip.ParseAddr(u.Hostname())
			if u.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
				t.Fatalf("accepted http to %q", s)
			}
		default:
			if !native || !strings.Contains(u.Scheme, ".") {
				t.Fatalf("accepted %q, native %v", s, native)
			}
		}
		if src := formSource(s); src == "" || strings.ContainsAny(src, " ;,'\"\r\n") {
			t.Fatalf("%q makes the source %q", s, src)
		}
	})
}
