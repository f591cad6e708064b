package provider

import (
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
)

func clientWith(native bool, uris ...string) *Client {
	kind := "web"
	if native {
		kind = "native"
	}
	return newClient(&store.Client{ID: "app", Metadata: store.ClientMetadata{RedirectURIs: uris, ApplicationType: kind}})
}

// mutations of a registered URI: none may match.
func mutations(u string) []string {
	p, err := url.Parse(u)
	if err != nil {
		panic(err)
	}
	host, path := p.Host, p.Path
	out := []string{"", " " + u, u + " ", u + "/", u + "//", u + "?", u + "?x=1", u + "#", u + "#x", u + "&", u + "%20", u + "%00", u + "\x00", u + "\t",
		u + "\n", u + "\r\n", u + "\\", u + ";", u + "/.", u + "/..", u + "/../cb", u + "%2f", u + "%2e%2e", strings.ToUpper(u), strings.ToUpper(u[:8]) + u[8:],
		strings.Replace(u, "https", "http", 1), strings.Replace(u, "https", "HTTPS", 1), strings.Replace(u, "https:", "https:/", 1), strings.Replace(u, "//", "///", 1),
		strings.Replace(u, "//", "/", 1), strings.Replace(u, "//", "", 1), strings.Replace(u, "//", `\\`, 1), strings.Replace(u, "//", `/\`, 1), strings.TrimSuffix(u, "b"), u[1:], u + u,
		"//" + host + path, host + path, "javascript:" + u, "javascript://" + host + "/%0aalert(1)", "data:text/html," + u, "view-source:" + u, "ftp://" + host + path, "ws://" + host + path}
	for _, h := range []string{"evil.example", "good@" + host, host + "@evil.example", host + ":443@evil.example", host + "%40evil.example", host + ".evil.example", "evil." + host, host + ".",
		host + ":443", host + ":80", host + ":0443", host + ":", host + "%2eevil.example", host + "%00.evil.example", host + `\.evil.example`, host + `\@evil.example`, "xn--" + host, "[" + host + "]", "127.0.0.1",
		"[::1]", "localhost", "0", "①.example", "ａpp.example", "app%2eexample", "app.example,evil.example", "app.example;evil.example", "app.example#evil.example", "app.example?evil.example", "app.example/evil.example",
		"evil.example/app.example", "evil.example#app.example", "evil.example?app.example", "evil.example;app.example", "user:pw@app.example", "app。example", "app\texample", "app.exa\nmple", "APP.EXAMPLE", "App.example"} {
		out = append(out, "https://"+h+path)
	}
	for _, q := range []string{"/CB", "/cb/", "/cb/x", "/cb;x", "/cb.", "/cb..", "/./cb", "//cb", "/x/../cb", "/%63b", "/c%62", "/cb%2f", "/cb%3f", "/cb%23", "/cb%5c", "/cb%09", "/cb%0a", "/cb%0d%0a", "/cb*", "/*", "/", "",
		"/cb%252f", "/cb/%2e%2e/x", "/cb/%2e", "/.%2e/cb", `/\cb`, "/cb?code=1", "/cb?redirect_uri=https://evil.example", "/cb#code=1", "/cb%00", "/cb\u200b", "/ｃb", "/cb\u202e", "/cb@evil.example", "/cb:80", "/cb,", "/cb'", `/cb"`, "/cb<", "/cb>", "/cb`", "/cb|", "/cb^", "/cb{}", "/cb[]", "/cb~", "/cb!", "/cb$", "/cb(", "/cb+", "/cb=", "/cb:", "/cb-", "/cb_", "/cb%", "/cb%u002f", "/cb%c0%af", "/cb%ff", "/cb\xff", "/cb\u00a0", "/cb\ufeff", "/Cb", "/cB", "/cb?", "/cb??", "/cb?#"} {
		out = append(out, "https://"+host+q)
	}
	return out
}

func TestSec_A3_RedirectURIComparedByteForByte(t *testing.T) {
	t.Parallel()
	const good = "https://app.example/cb"
	ms := mutations(good)
	if len(ms) < 150 {
		t.Fatalf("only %d mutations", len(ms))
	}
	for _, native := range []bool{false, true} {
		c := clientWith(native, good)
		if !matchRedirect(good, c) {
			t.Fatal("the registered URI does not match itself")
		}
		for _, m := range ms {
			if matchRedirect(m, c) {
				t.Errorf("native=%v: %q matched %q", native, m, good)
			}
		}
	}
}

func TestSec_A4_LoopbackPortFloatsForNativeClientsOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reg, sent   string
		native, web bool
	}{
		{"http://127.0.0.1/cb", "http://127.0.0.1/cb", true, true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true, false},
		{"http://127.0.0.1:8000/cb", "http://127.0.0.1:49152/cb", true, false},
		{"http://localhost/cb", "http://localhost:5/cb", true, false},
		{"http://[::1]/cb", "http://[::1]:5/cb", true, false},
		{"http://127.0.0.1/cb", "http://localhost:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://user:pw@127.0.0.1:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://@127.0.0.1:5/cb", false, false},
		{"https://127.0.0.1/cb", "http://127.0.0.1:5/cb", false, false},
		{"http://127.0.0.1/cb", "https://127.0.0.1:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:5/cb2", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:5/cb?x=1", false, false},
		{"http://127.0.0.1/cb?x=1", "http://127.0.0.1:5/cb?x=1", true, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:5/cb#x", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:05/cb", false, false},
		{"http://127.0.0.1/cb", "HTTP://127.0.0.1:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:5/../cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1.evil.example:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:5.evil.example/cb", false, false},
		{"http://127.0.0.1/cb", "http://evil.example:5/cb", false, false},
		{"http://127.0.0.1/cb", "http://0x7f000001:5/cb", false, false},
		{"http://[::1]/cb", "http://[0:0:0:0:0:0:0:1]:5/cb", false, false},
		{"http://[::1]/cb", "http://[::1%25lo]:5/cb", false, false},
		{"com.example.app:/cb", "com.example.app:/cb", true, true},
		{"com.example.app:/cb", "com.example.app:/cb/", false, false},
	} {
		if got := matchRedirect(c.sent, clientWith(true, c.reg)); got != c.native {
			t.Errorf("native: registered %q, sent %q: %v", c.reg, c.sent, got)
		}
		if got := matchRedirect(c.sent, clientWith(false, c.reg)); got != c.web {
			t.Errorf("web: registered %q, sent %q: %v", c.reg, c.sent, got)
		}
	}
}

// FuzzRedirectMatch: a match means equal bytes, or a loopback port that differs.
func FuzzRedirectMatch(f *testing.F) {
	for _, m := range mutations("https://app.example/cb")[:60] {
		f.Add("https://app.example/cb", m)
	}
	f.Add("http://127.0.0.1/cb", "http://127.0.0.1:9/cb")
	f.Add("http://[::1]/cb", "http://[::1]:9/cb")
	f.Add("http://localhost:1/cb", "http://localhost:2/cb")
	f.Fuzz(func(t *testing.T, reg, sent string) {
		if !matchRedirect(sent, clientWith(true, reg)) || sent == reg {
			return
		}
		a, err1 := url.Parse(reg)
		b, err2 := url.Parse(sent)
		if err1 != nil || err2 != nil {
			t.Fatalf("matched what does not parse: %q %q", reg, sent)
		}
		if a.Port() == b.Port() {
			t.Fatalf("matched with equal ports but other bytes: %q %q", reg, sent)
		}
		for _, u := range []*url.URL{a, b} {
			if h := u.Hostname(); u.User != nil || u.Scheme != "http" || h != "127.0.0.1" && h != "::1" && h != "localhost" {
				t.Fatalf("not loopback: %q", u)
			}
		}
		a.Host, b.Host = a.Hostname(), b.Hostname()
		if *a != *b {
			t.Fatalf("more than the port differs: %q %q", reg, sent)
		}
	})
}
