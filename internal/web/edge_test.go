package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// I1: the host is ours or the answer is 421, and nothing a client sends becomes part of an address.
func TestSec_I1_ForgedHosts(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *Config) { c.AllowedHosts = []string{"localhost:8080", "Alias.example.com"} })
	f.Page("GET /page", Public, f.show)
	for _, host := range []string{"id.example.com", "ID.example.com", "id.example.com:443", "localhost:8080", "alias.example.com", "alias.example.com:443"} {
		if w := f.do(t, "GET", "/page", "", "Host", host); w.Code != 200 {
			t.Errorf("%s: %d", host, w.Code)
		}
	}
	for _, host := range []string{
		"evil.example", "id.example.com.evil.example", "evil.example:443", "id.example.com:80", "id.example.com:8443", "id.example.com.",
		"id.example.com:443@evil.example", "id.example.com,evil.example", "id.example.com evil.example", "", "localhost", "127.0.0.1", "[::1]", "id.example.com\t",
	} {
		w := f.do(t, "GET", "/page", "", "Host", host)
		if w.Code != http.StatusMisdirectedRequest || host != "" && len(host) > 5 && strings.Contains(w.Body.String(), "evil.example") {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
	for _, h := range []string{"X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "X-Original-Url", "X-Rewrite-Url", "Forwarded", "X-HTTP-Host-Override"} {
		w := f.do(t, "GET", "/page", "", h, "evil.example")
		if w.Code != 200 || strings.Contains(w.Body.String(), "evil.example") {
			t.Errorf("%s changed the answer: %d", h, w.Code)
		}
	}
}

// I2: whose address counts.
func TestSec_I2_ClientAddress(t *testing.T) {
	t.Parallel()
	const proxy, stranger = "10.0.0.1:4711", "203.0.113.9:4711"
	for name, tc := range map[string]struct {
		peer string
		xff  []string
		want string
	}{
		"no proxy":                       {stranger, nil, "203.0.113.9"},
		"header from a stranger":         {stranger, []string{"198.51.100.7"}, "203.0.113.9"},
		"through the proxy":              {proxy, []string{"198.51.100.7"}, "198.51.100.7"},
		"with a forged hop before":       {proxy, []string{"1.2.3.4, 198.51.100.7"}, "198.51.100.7"},
		"forged hop says it is a proxy":  {proxy, []string{"1.2.3.4, 10.0.0.9, 198.51.100.7"}, "198.51.100.7"},
		"two proxies":                    {proxy, []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		"forged before two proxies":      {proxy, []string{"1.2.3.4,198.51.100.7,10.0.0.2"}, "198.51.100.7"},
		"two header lines":               {proxy, []string{"1.2.3.4", "198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		"answer on the first line":       {proxy, []string{"198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		"all hops are proxies":           {proxy, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"no header":                      {proxy, nil, "10.0.0.1"},
		"empty header":                   {proxy, []string{""}, "10.0.0.1"},
		"rubbish":                        {proxy, []string{"unknown"}, "10.0.0.1"},
		"rubbish at the end":             {proxy, []string{"198.51.100.7, _hidden"}, "10.0.0.1"},
		"rubbish behind a proxy of ours": {proxy, []string{"198.51.100.7, unknown, 10.0.0.2"}, "10.0.0.1"},
		"rubbish before, never reached":  {proxy, []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		"trailing comma":                 {proxy, []string{"198.51.100.7,"}, "10.0.0.1"},
		"with port":                      {proxy, []string{"198.51.100.7:1234"}, "198.51.100.7"},
		"IPv6":                           {proxy, []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv6 in brackets":               {proxy, []string{"[2001:db8::7]"}, "2001:db8::7"},
		"IPv6 with port":                 {proxy, []string{"[2001:db8::7]:443"}, "2001:db8::7"},
		"IPv6 with zone":                 {proxy, []string{"fe80::1%eth0"}, "10.0.0.1"},
		"IPv4 in IPv6":                   {proxy, []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"peer IPv4 in IPv6":              {"[::ffff:10.0.0.1]:4711", []string{"198.51.100.7"}, "198.51.100.7"},
		"octal":                          {proxy, []string{"0127.0.0.1"}, "10.0.0.1"},
		"a decimal number":               {proxy, []string{"3325256711"}, "10.0.0.1"},
		"unspecified":                    {proxy, []string{"0.0.0.0"}, "10.0.0.1"},
		"script":                         {proxy, []string{"<script>alert(1)</script>"}, "10.0.0.1"},
		"log injection":                  {proxy, []string{"1.2.3.4\r\nx"}, "10.0.0.1"},
		"very long":                      {proxy, []string{strings.Repeat("9", 30000)}, "10.0.0.1"},
		"ten thousand proxies":           {proxy, []string{"198.51.100.7" + strings.Repeat(",10.0.0.2", 10000)}, "198.51.100.7"},
		"peer without address":           {"@", []string{"198.51.100.7"}, "invalid IP"},
		"loopback claimed by a stranger": {stranger, []string{"127.0.0.1"}, "203.0.113.9"},
	} {
		m := &Mux{c: Config{TrustedProxies: []netip.Prefix{mustPrefix(t, "10.0.0.0/24")}}}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		if tc.xff != nil {
			r.Header["X-Forwarded-For"] = tc.xff
		}
		if got, _ := m.client(r); got.String() != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestSecureBehindProxy(t *testing.T) {
	t.Parallel()
	m := &Mux{c: Config{TrustedProxies: []netip.Prefix{mustPrefix(t, "10.0.0.0/24")}}}
	for _, tc := range []struct {
		peer, proto string
		want        bool
	}{
		{"10.0.0.1:1", "https", true}, {"10.0.0.1:1", "HTTPS", true}, {"10.0.0.1:1", "http", false}, {"10.0.0.1:1", "http, https", true},
		{"10.0.0.1:1", "https, http", false}, {"10.0.0.1:1", "", false}, {"9.9.9.9:1", "https", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		if tc.proto != "" {
			r.Header.Set("X-Forwarded-Proto", tc.proto)
		}
		if _, got := m.client(r); got != tc.want {
			t.Errorf("%s %q: %v", tc.peer, tc.proto, got)
		}
	}
}

// The address reaches handlers and the log.
func TestClientIPInContext(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	f.API("GET /ip", func(w http.ResponseWriter, r *http.Request) error {
		_, err := fmt.Fprint(w, ClientIP(r.Context()), Secure(r.Context()), RequestID(r.Context()) == w.Header().Get("X-Request-Id"))
		return err
	})
	w := f.do(t, "GET", "/ip", "", "X-Forwarded-For", "198.51.100.7", "X-Forwarded-Proto", "https")
	if w.Body.String() != "198.51.100.7 true true" || !strings.Contains(f.logged(), `"ip":"198.51.100.7"`) {
		t.Errorf("%s; log %s", w.Body, f.logged())
	}
	if ClientIP(t.Context()).IsValid() || RequestID(t.Context()) != "" || Secure(t.Context()) {
		t.Error("outside of a request there is something")
	}
	LogAttrs(t.Context()) // no request: no effect, no panic
}

// I3: sizes.
func TestSec_I3_Sizes(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("POST /page", Public, okay, CrossSitePOST)
	f.API("POST /api", func(w http.ResponseWriter, r *http.Request) error {
		var v any
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			return err
		}
		return okay(w, r)
	})
	f.API("GET /api", okay)
	many := func(n int) string { return strings.Repeat("a=b&", n-1) + "a=b" }
	keys := make([]string, 0, 202)
	for i := range 101 {
		keys = append(keys, fmt.Sprint("k", i), "v")
	}
	unknownLength := func(r *http.Request) { r.ContentLength = -1 }
	for name, tc := range map[string]struct {
		path, contentType, body string
		change                  func(*http.Request)
		status                  int
	}{
		"64 KiB":                {"/page", "", "a=" + strings.Repeat("x", 64<<10-2), nil, 200},
		"64 KiB and 1":          {"/page", "", "a=" + strings.Repeat("x", 64<<10-1), nil, 413},
		"64 KiB and 1, chunked": {"/page", "", "a=" + strings.Repeat("x", 64<<10-1), unknownLength, 413},
		"10 MB":                 {"/page", "", strings.Repeat("x", 10<<20), nil, 413},
		"10 MB, chunked":        {"/page", "", strings.Repeat("x", 10<<20), unknownLength, 413},
		"10 MB of JSON":         {"/api", "application/json", `"` + strings.Repeat("x", 10<<20) + `"`, unknownLength, 413},
		"JSON":                  {"/api", "application/json", `"x"`, nil, 200},
		"100 keys":              {"/page", "", form(keys[:200]...), nil, 200},
		"101 keys":              {"/page", "", form(keys...), nil, 400},
		"100 of one key":        {"/page", "", many(100), nil, 200},
		"101 of one key":        {"/page", "", many(101), nil, 400},
		"101 keys in the query": {"/page?" + many(101), "", "a=b", nil, 400},
		"bad escape":            {"/page", "", "a=%zz", nil, 400},
		"bad escape, API":       {"/api", "", "a=%zz", nil, 400},
		"semicolon":             {"/page", "", "a=b;c=d", nil, 400},
	} {
		r := httptest.NewRequest("POST", tc.path, strings.NewReader(tc.body))
		r.Host = "id.example.com"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if tc.contentType != "" {
			r.Header.Set("Content-Type", tc.contentType)
		}
		if tc.change != nil {
			tc.change(r)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != tc.status {
			t.Errorf("%s: %d, want %d", name, w.Code, tc.status)
		}
		if strings.Contains(w.Body.String(), "%zz") || strings.Contains(f.logged(), "%zz") {
			t.Errorf("%s: what was sent is repeated", name)
		}
	}
}

// I5: an odd spelling of a guarded path never gets past its guard.
func TestSec_I5_Paths(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /account", SignedIn, okay)
	f.Page("GET /account/apps", SignedIn, okay)
	f.Page("GET /open/{name}", Public, okay)
	for _, raw := range []string{
		"//account", "/./account", "/x/../account", "/account/.", "/account/..", "/account//apps", "/%61ccount", "/account;x", "/account/;/apps", "/account%2fapps",
		"/account%2Fapps", "/account%5capps", `/account\apps`, "/account%00", "/account%0a", "/account/", "/Account", "/account%20", "/open/..%2faccount", "/open/%2e%2e/account",
		"/open/..;/account", "/%2e/account", "/.%2e/account", "/account/%2e", "/open/%2e%2e%2faccount", "/account?x=/../", "/%2561ccount", "/account%09", "/account.", "/account/..;/",
	} {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			continue // net/http refuses it as well
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, r.RequestURI, r.Host = u, raw, "id.example.com"
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code == 200 || w.Code >= 300 && w.Code < 400 && w.Header().Get("Location") != "/login" {
			t.Errorf("%s: %d to %q", raw, w.Code, w.Header().Get("Location"))
		}
	}
	for _, raw := range []string{"*", "http://evil.example/account"} {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			u = &url.URL{Path: raw}
		}
		r := httptest.NewRequest("OPTIONS", "/", nil)
		r.URL, r.RequestURI, r.Host = u, raw, "id.example.com"
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code < 400 {
			t.Errorf("%s: %d", raw, w.Code)
		}
	}
}

// H2 and H3: one line per request, with the route and never what the client wrote into path, query, header or body.
func TestSec_H2_AccessLine(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /setup/{token}", Public, okay)
	f.Page("POST /form", Public, okay)
	const secret = "s3cr3t"
	f.do(t, "GET", "/setup/"+secret+"?code="+secret, "", "Cookie", "c="+secret, "Authorization", "Bearer "+secret, "User-Agent", secret, "Referer", "/"+secret)
	f.do(t, "GET", "/"+secret, "")
	f.do(t, "POST", "/form", "password="+secret)
	f.do(t, "POST", "/form", "password=%zz"+secret)
	f.do(t, "GET", "/setup/x%0d%0alevel=ERROR", "")
	log := f.logged()
	if strings.Contains(log, secret) {
		t.Errorf("the log holds a secret: %s", log)
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines: %s", len(lines), log)
	}
	var line struct {
		Msg, Method, Pattern, IP, Ref string
		Status                        int
		Took                          time.Duration
	}
	for _, l := range lines {
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || line.Msg != "request" || line.Pattern != "GET /setup/{token}" || line.Status != 200 ||
		line.IP != "192.0.2.1" || len(line.Ref) != 16 || line.Took <= 0 {
		t.Errorf("line %+v: %v", line, err)
	}
}

func FuzzClientIP(f *testing.F) {
	for _, s := range []string{"198.51.100.7", "1.2.3.4, 10.0.0.2", "unknown", "[::1]:443,", "fe80::1%eth0", "::ffff:10.0.0.1", ",,,", "10.0.0.1:x"} {
		f.Add(s)
	}
	m := &Mux{c: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, xff string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header["X-Forwarded-For"] = []string{xff}
		ip, _ := m.client(r)
		if !ip.IsValid() || ip.Zone() != "" || ip.Is4In6() {
			t.Fatalf("%q gave %v", xff, ip)
		}
		r.RemoteAddr = "203.0.113.9:1"
		if ip, _ := m.client(r); ip.String() != "203.0.113.9" {
			t.Fatalf("%q moved a stranger to %v", xff, ip)
		}
		// Whatever a client writes first, the hop our proxy saw is the answer.
		r.RemoteAddr = "10.0.0.1:1"
		r.Header["X-Forwarded-For"] = []string{xff + ", 203.0.113.9"}
		if ip, _ := m.client(r); ip.String() != "203.0.113.9" {
			t.Fatalf("%q hid the client as %v", xff, ip)
		}
	})
}
