package login_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

const notAnswering = "Not answering right now"

// TestUpstreamDown_MarksOneButton: an upstream that does not answer marks its own button for a minute and nothing else, whether it fails
// before or after the person's consent. One that says no answers.
func TestUpstreamDown_MarksOneButton(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	b := s.browser("192.0.2.1")
	marked := func() (list []string) {
		p := b.get("/login")
		for _, name := range []string{"google", "twitter"} {
			link := p.byID("login-with-" + name)
			if link == nil {
				t.Fatalf("no button for %s", name)
			}
			for n := range link.Descendants() {
				if n.Type == html.TextNode && strings.Contains(n.Data, notAnswering) {
					list = append(list, name)
				}
			}
		}
		return list
	}
	if m := marked(); len(m) > 0 {
		t.Fatalf("marked at first: %v", m)
	}
	down := &connectors.Error{Kind: connectors.Upstream}
	for _, when := range []string{"before", "after"} {
		back := g.allow(t, b.depart(g), person("g1", "ana@example.com"))
		g.breaks(down)
		if when == "before" {
			b.get("/login/start/google").refused("upstream_unavailable")
		} else {
			b.get(back).refused("upstream_unavailable")
		}
		g.breaks(nil)
		if m := marked(); !slices.Equal(m, []string{"google"}) {
			t.Errorf("%s consent: marked %v", when, m)
		}
		s.sleep(time.Minute)
		if m := marked(); len(m) > 0 {
			t.Errorf("%s consent, a minute later: %v", when, m)
		}
	}
	g.breaks(down)
	b.get("/login/start/google")
	g.breaks(&connectors.Error{Kind: connectors.Misconfigured})
	b.get("/login/start/google")
	if m := marked(); len(m) > 0 {
		t.Errorf("marked although it answers: %v", m)
	}
	// The mark stops nobody.
	g.breaks(down)
	b.get("/login/start/google")
	g.breaks(nil)
	s.browser("192.0.2.2").through(g, person("g1", "ana@example.com")).arrived()
	if m := marked(); len(m) > 0 {
		t.Errorf("marked after it worked: %v", m)
	}
}

// TestRequestNamesConnector: an application may say which of its ways in it means (R53), and no other than it takes.
func TestRequestNamesConnector(t *testing.T) {
	t.Parallel()
	g, x := newUpstream("google"), newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(g), open(x))
	b := s.browser("192.0.2.1")
	for query, host := range map[string]string{"connector=twitter": "twitter.example", "connector=google": "google.example", "connector=nobody": "", "": ""} {
		p := b.get("/test/start?" + query)
		if host == "" && p.byID("login-form") == nil || host != "" && !strings.HasPrefix(p.away, "https://"+host+"/") {
			t.Errorf("%q: at %s%s", query, p.url.Path, p.away)
		}
	}
	s.client(func(m *store.ClientMetadata) {
		m.Connectors, m.DefaultConnector = []string{"google", "password"}, "google"
	})
	if p := b.get("/test/start?connector=twitter"); !strings.HasPrefix(p.away, "https://google.example/") {
		t.Errorf("one the client does not take: at %s%s", p.url.Path, p.away)
	}
}

type fragmented struct{ *upstream }

func (fragmented) LeavesFragment() bool { return true }

// TestCallbackFragment: what an upstream left behind the # goes no further than the callback. The other side of it, a browser, is
// with the suite.
func TestCallbackFragment(t *testing.T) {
	t.Parallel()
	f := newUpstream("facebook")
	s := newSiteOn(t, store.SQLite, login.Upstream{Connector: fragmented{f}, Registration: login.RegistrationOpen})
	b := s.browser("192.0.2.1")
	back := f.allow(t, b.depart(f), person("f1", "ana@example.com"))
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, issuer+back, nil))
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, back+"&") || !strings.HasSuffix(to, "#") || f.count() != 0 {
		t.Fatalf("%d to %q", w.Code, to)
	}
	b.get(back).arrived()
	// Nothing loops, whatever a stranger appends.
	for _, path := range []string{"/callback/facebook?fragment=none", "/callback/facebook?&fragment=none", back + "&fragment=none&fragment=none"} {
		if p := b.get(path); p.status != http.StatusBadRequest {
			t.Errorf("%s: at %s%s with %d", path, p.url.Path, p.away, p.status)
		}
	}
}
