package suite

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/sampleapp"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// demo is what `latchkey demo` runs: the provider in development over http, the sample application beside it, and a setup link.
type demo struct {
	*testidp.IDP
	app, setup string
}

// newDemo starts it, with the fakes of these upstreams.
func newDemo(t *testing.T, upstreams ...string) *demo {
	t.Helper()
	return newDemoWith(t, nil, upstreams...)
}

// newDemoWith is newDemo with a configuration of the test's own.
func newDemoWith(t *testing.T, tweak func(*config.Config), upstreams ...string) *demo {
	t.Helper()
	o := testidp.Options{Plain: true, Demo: true, Config: tweak}
	if len(upstreams) > 0 {
		o.Fakes = testidp.NewFakes(t, upstreams...)
	}
	idp := testidp.Start(t, o)
	ctx := context.Background()
	var handler atomic.Pointer[http.Handler]
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(app.Close)
	d := &demo{IDP: idp, app: strings.Replace(app.URL, "127.0.0.1", "localhost", 1)}
	client := server.DemoClient{Name: "Sample application", BaseURL: d.app, RedirectURI: sampleapp.RedirectURL(d.app), PostLogoutRedirectURI: sampleapp.PostLogoutURL(d.app),
		BackChannelLogoutURI: sampleapp.BackChannelLogoutURL(d.app)}
	if err := idp.Server.EnsureDemoClient(ctx, t.TempDir(), &client); err != nil {
		t.Fatal(err)
	}
	h, err := sampleapp.New(sampleapp.Config{Issuer: idp.Issuer, ClientID: client.ID, ClientSecret: client.Secret, BaseURL: d.app,
		Recheck: time.Nanosecond, ExitURL: d.app + "/about", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(&h)
	if d.setup, err = idp.Server.SetupLink(ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

const password = "rote Katzen tanzen leise im Regen"

// The first minute of a newcomer: set up the first administrator, open the sample application, sign in, consent, see the claims.
// Every page on the way is held against WCAG 2.2 AA.
func TestDemoInChromium(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	c := newChrome(t, true)

	c.open(d.setup, "setup-title")
	c.look("setup")
	c.fill("setup-email", "ada@example.com")
	c.fill("setup-given-name", "Ada")
	c.fill("setup-family-name", "Lovelace")
	c.fill("setup-password", "short")
	c.click("setup-submit", "error-summary")
	c.look("setup-error")
	c.fill("setup-password", password)
	c.click("setup-submit", "account-title")
	c.look("account")

	c.open(d.app+"/", "home-sign-in")
	c.look("sample-home")
	c.open(d.app+"/members", "sorry")
	c.look("sample-sorry")
	c.click("sorry-sign-in", "consent-title") // signed in at the provider since the set-up
	c.look("consent")
	c.click("consent-accept", "members-title")
	c.look("sample-members")
	c.click("who", "you-title")
	c.look("sample-claims")
	if got := strings.Fields(c.text("privileges")); !slices.Contains(got, "admin") {
		t.Errorf("the application sees the privileges %q", got)
	}
	for id, want := range map[string]string{"id-token-claims": "login_method", "userinfo-claims": "ada@example.com"} {
		if got := c.text(id); !strings.Contains(got, want) || !strings.Contains(got, "privileges") {
			t.Errorf("#%s says %q", id, got)
		}
	}
	c.open(d.app+"/admin", "admin-title")
	c.look("sample-admin")

	// Signed out there and here; the next sign-in asks for the password.
	c.leave("signed-out")
	c.look("sample-signed-out")
	c.open(d.Issuer+"/", "home-sign-in")
	c.look("home")
	c.open(d.app+"/login?return=/you", "login-title")
	c.look("login")
	c.fill("login-identifier", "ada@example.com")
	c.fill("login-password", "wrong")
	c.click("login-submit", "login-error")
	c.look("login-error")
	c.fill("login-identifier", "ada@example.com")
	c.fill("login-password", password)
	c.click("login-submit", "you-title")
	c.open(d.Issuer+"/dev/outbox", "outbox-title")
	c.look("outbox")
}

// The same without any script: nothing is lost.
func TestDemoWithoutScript(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	c := newChrome(t, false)
	c.open(d.setup, "setup-title")
	c.fill("setup-email", "ada@example.com")
	c.fill("setup-password", password)
	c.click("setup-submit", "account-title")
	c.open(d.app+"/", "home-sign-in")
	c.click("home-sign-in", "consent-title")
	c.click("consent-deny", "failed")
	c.open(d.app+"/", "home-sign-in")
	c.click("home-sign-in", "consent-title")
	c.click("consent-accept", "you-title")
	c.leave("signed-out")
	c.click("sign-in", "login-title")
	c.fill("login-identifier", "ada@example.com")
	c.fill("login-password", password)
	c.click("login-submit", "you-title")
}

// The same by the harness's browser, which is quick, and looks at what an eye does not see.
func TestDemoStory(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	b := d.Browser(d.app)
	b.Get(d.setup).Want(200, "setup-title")
	other := d.User(testidp.Person{GivenName: "<b>Bob</b>", Email: "bob@example.com"})

	page := b.Get(d.app+"/members").Want(403, "sorry")
	b.Click(page, "sorry-exit").Want(200, "about-title")
	page = b.Get(d.app + "/members")
	page = b.Click(page, "sorry-sign-in").Want(200, "login-title")
	page = b.SignIn(page, other).Want(200, "consent-title")
	page = b.Consent(page).Want(200, "members-title")
	if got := page.URL.String(); got != d.app+"/members" {
		t.Errorf("came back to %s", got)
	}
	if got := page.Text("who"); got != "<b>Bob</b>" {
		t.Errorf("the name reads %q", got)
	}
	b.Get(d.app+"/admin").Want(403, "no-access") // R116: no loop
	if page = b.Get(d.app + "/me"); !strings.Contains(page.Body, `"logged_in":true`) || !strings.Contains(page.Body, `"privileges":["user"]`) {
		t.Errorf("/me says %s", page.Body)
	}
	// R114: signed out in one tab, screened in the other.
	stale := b.Get(d.app+"/you").Want(200, "you-title")
	page = b.Submit(b.Get(d.app+"/"), "sign-out", nil)
	if page.Has("logout-confirm") {
		page = b.Submit(page, "logout-confirm", nil)
	}
	if page.Has("who") {
		t.Error("still signed in after the sign-out")
	}
	b.Click(stale, "who").Want(403, "sorry")
	if page = b.Get(d.app + "/me"); strings.TrimSpace(page.Body) != `{"logged_in":false}` {
		t.Errorf("/me says %s", page.Body)
	}
	// Another site's form signs nobody out.
	page = b.Click(b.Get(d.app+"/members"), "sorry-sign-in").Want(200, "login-title")
	b.SignIn(page, other).Want(200, "members-title")
	b.CrossSitePost(d.app+"/logout", url.Values{}).Want(403, "failed")
	b.Get(d.app+"/members").Want(200, "members-title")

	for _, e := range b.Log {
		if csp := e.Header.Get("Content-Security-Policy"); strings.HasPrefix(e.Header.Get("Content-Type"), "text/html") && (!strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe")) {
			t.Errorf("%s: policy %q", e.URL, csp)
		}
	}
}
