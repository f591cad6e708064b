package suite

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// clock runs with real time until it is moved.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// goTalk are bits of error texts of Go programs, which nobody who signs in should have to read.
var goTalk = []string{
	"connectors:", "login:", "web:", "dial tcp", "127.0.0.1", "EOF", "json", "invalid character", "gzip", "context deadline", "oauth2", "http:", "goroutine",
	"net/", "Error 4", "Internal Server Error", "cannot unmarshal", "connection reset", "%!",
}

// forPeople checks that a page explains a failure of an upstream to a person: what happened, what to do, and no talk of programs.
func forPeople(t *testing.T, what string, b *testidp.Browser, p *testidp.Page) {
	t.Helper()
	if p.Status >= 500 && p.Status != http.StatusBadGateway && p.Status != http.StatusServiceUnavailable || p.Status < 400 {
		t.Errorf("%s: %s", what, p)
	}
	if !p.Has("error-page") {
		t.Errorf("%s: no page for people but %.300s", what, p.Body)
		return
	}
	if p.Status == http.StatusServiceUnavailable && p.Header.Get("Retry-After") == "" {
		t.Errorf("%s: 503 without Retry-After", what)
	}
	text := p.Text("error-page")
	for _, s := range goTalk {
		if strings.Contains(text, s) {
			t.Errorf("%s: people read %q in %q", what, s, text)
		}
	}
	if !p.Has("error-restart") || !p.Has("error-reference") {
		t.Errorf("%s: no way on, or no reference: %s", what, text)
	}
	if b.Cookie("__Host-latchkey") != "" {
		t.Errorf("%s: there is a session", what)
	}
}

// TestSec_J8_UpstreamDown: an upstream that is down at our start, and one that goes down at noon, costs its own button and nothing else.
// When it is back it works, in the very flow that failed, and nobody restarted anything.
func TestSec_J8_UpstreamDown(t *testing.T) {
	t.Parallel()
	var c clock
	fakes := testidp.NewFakes(t, "google", "oidc")
	idp := testidp.Start(t, testidp.Options{Fakes: fakes, Server: server.Options{Now: c.now}, Config: func(*config.Config) {
		fakes.Google.Fail(connectortest.Refuse) // before there is a server
	}})
	fakes.Google.Clock(c.now)
	fakes.OIDC.Clock(c.now)
	ready := func(when string) {
		t.Helper()
		if status, body := idp.Management("/readyz"); status != http.StatusOK {
			t.Errorf("%s: /readyz says %d %s", when, status, body)
		}
	}
	ready("at the start")
	ada := idp.User(testidp.Person{})
	rp := idp.RP(wiki())
	b := idp.Browser()
	login := rp.Start()
	page := b.Click(b.Get(login.URL), "login-with-google")
	forPeople(t, "discovery is down", b, page)
	if got := page.Attr("error-page", "data-error"); got != "upstream_unavailable" || page.Status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", page.Status, got)
	}
	if text := page.Text("error-description"); !strings.Contains(text, "Google") {
		t.Errorf("the page does not say who is down: %s", text)
	}
	choose := b.Click(page, "error-restart").Want(200, "login-title")
	if !strings.Contains(choose.Text("login-with-google"), "Not answering") || strings.Contains(choose.Text("login-with-oidc"), "Not answering") {
		t.Errorf("the buttons say %q and %q", choose.Text("login-with-google"), choose.Text("login-with-oidc"))
	}
	ready("while it is down")
	t.Log("other ways in work, in the same flow and in others")
	other := idp.Browser()
	second := rp.Start()
	rp.Finish(second, other.SignIn(other.Get(second.URL), ada).URL)
	third := idp.Browser()
	fourth := rp.Start()
	rp.Finish(fourth, third.Through(third.Get(fourth.URL), "oidc", "ana").URL)

	t.Log("it is back")
	fakes.Google.Fail("")
	c.move(6 * time.Second)
	b.Click(page, "error-retry").Element("continue")
	page = b.Press(b.Click(choose, "login-with-google"), connectortest.As(""))
	rp.Finish(login, page.URL)
	if page := idp.Browser().Get(rp.Start().URL); strings.Contains(page.Text("login-with-google"), "Not answering") {
		t.Errorf("the button still says %q", page.Text("login-with-google"))
	}

	t.Log("at noon: people are at the upstream when its token endpoint goes down")
	fakes.Google.AfterConsent(func() { fakes.Google.Fail(connectortest.Refuse, "token") })
	b = idp.Browser()
	login = rp.Start()
	page = b.Through(b.Get(login.URL), "google", "")
	forPeople(t, "the token endpoint is down", b, page)
	ready("at noon")
	fakes.Google.AfterConsent(nil)
	fakes.Google.Fail("", "token")
	page = b.Press(b.Click(page, "error-retry"), connectortest.As(""))
	rp.Finish(login, page.URL)

	t.Log("what was discovered serves while discovery is down")
	fakes.Google.Fail(connectortest.Refuse, "discovery", "keys")
	c.move(3 * time.Hour)
	b = idp.Browser()
	login = rp.Start()
	rp.Code(login, b.Through(b.Get(login.URL), "google", "").URL)
	ready("in the end")
}

// faulty are the endpoints that answer between a person's return and the session, by connector.
var faulty = map[string][]string{
	"google": {"token"}, "azure": {"token"}, "facebook": {"token", "debug", "userinfo"}, "twitter": {"token", "userinfo"}, "oidc": {"token", "userinfo"},
	"oauth2": {"token", "userinfo", "emails"},
}

// TestSec_J8_UpstreamTalksRubbish: every way to fail at every endpoint gives a page for people and no session, and the next sign-in works.
func TestSec_J8_UpstreamTalksRubbish(t *testing.T) {
	t.Parallel()
	quick := []connectortest.Fault{connectortest.Refuse, connectortest.Error500, connectortest.HTML, connectortest.Truncated, connectortest.Endless, connectortest.Bomb,
		connectortest.RedirectLoop, connectortest.WrongType, connectortest.Empty}
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, testidp.Upstreams...)})
	fail := map[string]func(connectortest.Fault, ...string){
		"google": idp.Fakes.Google.Fail, "azure": idp.Fakes.Azure.Fail, "facebook": idp.Fakes.Facebook.Fail, "twitter": idp.Fakes.Twitter.Fail, "oidc": idp.Fakes.OIDC.Fail,
		"oauth2": idp.Fakes.OAuth2.Fail,
	}
	// At X somebody has the same address, and this is not about linking.
	idp.Fakes.OAuth2.SetEmails("583231", []any{map[string]any{"email": "ada@hub.example", "primary": true, "verified": true}})
	for _, id := range testidp.Upstreams {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, endpoint := range faulty[id] {
				for _, fault := range quick {
					b := idp.Browser()
					fail[id](fault, endpoint)
					page := b.Through(b.Get(idp.Issuer+"/login"), id, "")
					what := id + ", " + endpoint + ": " + string(fault)
					if id == "oauth2" && endpoint == "emails" && page.Status == http.StatusOK {
						// The list of addresses is a nicety: without it there is no address, and the person is who they are.
						if b.Cookie("__Host-latchkey") == "" {
							t.Errorf("%s: %s", what, page)
						}
					} else {
						forPeople(t, what, b, page)
					}
					fail[id]("", endpoint)
					b = idp.Browser()
					if page := b.Through(b.Get(idp.Issuer+"/login"), id, ""); !page.Has("account-title") {
						t.Fatalf("after %s: %s\n%.500s", what, page, page.Body)
					}
				}
			}
		})
	}
}

// TestSec_J8_UpstreamStalls: nobody waits for an upstream for ever, and meanwhile others come in.
func TestSec_J8_UpstreamStalls(t *testing.T) {
	t.Parallel()
	for _, fault := range []connectortest.Fault{connectortest.Stall, connectortest.Drip} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "oidc", "oauth2")})
			idp.Fakes.OIDC.Fail(fault, "token")
			ada := idp.User(testidp.Person{})
			slow := idp.Browser()
			at := slow.Click(slow.Get(idp.Issuer+"/login"), "login-with-oidc")
			done := make(chan *testidp.Page, 1)
			began := time.Now()
			go func() { done <- slow.Press(at, connectortest.As("ana")) }()
			var p *testidp.Page
			for others := 0; p == nil; {
				select {
				case p = <-done:
					if others < 2 {
						t.Errorf("%d others came in meanwhile", others)
					}
				default:
					b := idp.Browser()
					b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
					b = idp.Browser()
					b.Through(b.Get(idp.Issuer+"/login"), "oauth2", "583231").Want(200, "account-title")
					if others += 2; others >= 10 {
						p = <-done
					}
				}
			}
			forPeople(t, string(fault), slow, p)
			if d := time.Since(began); d > 15*time.Second {
				t.Errorf("answered after %v", d)
			}
		})
	}
}
