package suite

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// press presses a button by its value, as on a fake's page, and waits for the element with the id next.
func (c *chrome) press(value, next string) {
	c.t.Helper()
	c.do(chromedp.Click(chromedp.CSS(`button[value="` + value + `"]`)))
	c.want(next)
	c.calm("after " + value)
}

// location is the address in the address bar.
func (c *chrome) location() string {
	c.t.Helper()
	s, err := chromedp.Run(c.ctx, chromedp.Location())
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestConnectorsInChromium: from the sample application through each big provider and back, in a real browser, and out again.
func TestConnectorsInChromium(t *testing.T) {
	t.Parallel()
	d := newDemo(t, "google", "azure", "facebook", "twitter")
	for _, p := range []struct{ id, person, name string }{
		{"google", "104729000000000000018", "Grace H"}, {"azure", adaOfA.ID, "Ada Work"}, {"facebook", "alan", "Alan T"}, {"twitter", "12", "alan_t"}, // of whose three words nobody can tell which is which (R40)
	} {
		t.Run(p.id, func(t *testing.T) {
			t.Parallel()
			c := newChrome(t, true)
			c.open(d.app+"/members", "sorry")
			c.click("sorry-sign-in", "login-title")
			c.click("login-with-"+p.id, "continue")
			c.press("continue:"+p.person, "consent-title")
			if at := c.location(); strings.Contains(at, "#") {
				t.Errorf("the upstream left its mark in %s", at)
			}
			c.click("consent-accept", "members-title")
			if at := c.location(); at != d.app+"/members" {
				t.Errorf("the journey ends at %s", at)
			}
			c.click("who", "you-title")
			if got := c.text("id-token-claims"); !strings.Contains(got, `"fed"`) || !strings.Contains(got, p.id) || !strings.Contains(c.text("userinfo-claims"), p.name) {
				t.Errorf("the application sees %s and %s", got, c.text("userinfo-claims"))
			}
			c.leave("signed-out")
			if n := len(d.Fakes.Azure.Requests("logout")); p.id == "azure" && n != 1 {
				t.Errorf("%d sign-outs at Microsoft", n)
			}
			// After a sign-out nobody is signed in by themselves.
			c.click("sign-in", "login-title")
		})
	}
}

// TestConnectorsWithoutScript: the same without any script, with the pages between: linking an account, the account's connections.
func TestConnectorsWithoutScript(t *testing.T) {
	t.Parallel()
	d := newDemo(t, "google", "azure", "facebook", "twitter")
	ada := d.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
	c := newChrome(t, false)
	c.open(d.app+"/", "home-sign-in")
	c.click("home-sign-in", "login-title")
	c.click("login-with-facebook", "continue")
	c.press("cancel", "error-page")
	c.click("error-restart", "login-title")
	c.click("login-with-twitter", "continue")
	c.press("continue:7700000000000000021", "link-title") // ada@example.com
	c.fill("login-identifier", ada.Email)
	c.fill("login-password", ada.Password)
	c.click("link-submit", "consent-title")
	c.click("consent-accept", "you-title")
	if got := c.text("userinfo-claims"); !strings.Contains(got, "Ada Lovelace") {
		t.Errorf("the application sees %s", got)
	}
	c.open(d.Issuer+"/account/connections", "connect-azure")
	c.click("connect-azure", "continue") // through a page that leads on by itself
	c.press("continue:"+adaOfA.ID, "link-there")
	if got := c.text("link-there") + c.text("link-here"); !strings.Contains(got, "ada@work.example") || !strings.Contains(got, "ada@example.com") {
		t.Errorf("the page names %s", got)
	}
	c.click("link-submit", "connections-linked")
	if got := c.text("connections-linked"); !strings.Contains(got, "Microsoft") || !strings.Contains(got, "X") {
		t.Errorf("connected: %s", got)
	}
	// Out through Microsoft, whose session this is not: so here only. In by Microsoft and out: there as well.
	c.open(d.app+"/", "sign-out")
	c.leave("signed-out")
	c.click("sign-in", "login-title")
	c.click("login-with-azure", "continue")
	c.press("continue:"+adaOfA.ID, "you-title")
	c.leave("signed-out")
	if n := len(d.Fakes.Azure.Requests("logout")); n != 1 {
		t.Errorf("%d sign-outs at Microsoft", n)
	}
}

// TestConnectorPagesLook: every page that connectors bring, in light and dark, on a telephone and on a desk, in English and in German.
func TestConnectorPagesLook(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "de"} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			d := newDemo(t, testidp.Upstreams...)
			f := d.Fakes
			ada := d.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
			c := newChrome(t, true)
			client, err := d.Store.Client(t.Context(), "sample-app")
			if err != nil {
				t.Fatal(err)
			}
			client.Metadata.RequireEmail = true
			if err := d.Store.UpdateClient(t.Context(), "cli", client); err != nil {
				t.Fatal(err)
			}
			look := func(name string) { c.t.Helper(); c.look(lang + "-" + name) }
			c.open(d.app+"/", "home-sign-in")
			c.click("home-sign-in", "login-title")
			if lang == "de" {
				c.do(chromedp.Click(chromedp.CSS(`button[lang="de"]`)))
				c.want("login-title")
			}
			look("login")

			t.Log("nothing is known of them: the upstream errors")
			f.Google.Fail(connectortest.Error500, "token")
			c.click("login-with-google", "continue")
			c.click("continue", "error-page")
			look("upstream-down")
			c.click("error-restart", "login-title")
			look("login-down")
			f.Google.Fail("", "token")
			c.click("login-with-facebook", "continue")
			c.click("cancel", "error-page")
			look("upstream-cancelled")
			c.click("error-retry", "continue")
			c.click("continue", "complete-title")
			look("complete")
			c.fill("complete-email", "ada@home.example")
			c.click("complete-submit", "code-title")
			c.click("code-cancel", "login-title")

			t.Log("linking")
			c.click("login-with-twitter", "continue")
			c.press("continue:7700000000000000021", "link-title")
			look("link")
			c.fill("login-identifier", ada.Email)
			c.fill("login-password", "not it at all")
			c.click("link-submit", "error-summary")
			c.fill("login-identifier", ada.Email)
			c.fill("login-password", ada.Password)
			c.click("link-submit", "consent-title")

			t.Log("the account's connections")
			c.open(d.Issuer+"/account/connections", "connections-title")
			look("connections")
			// The page that leads on by itself stays where it is when nothing comes of that.
			f.Facebook.Answer("authorize", http.StatusNoContent, "")
			c.click("connect-facebook", "go-title")
			look("go")
			f.Facebook.Answer("authorize", 0, "")
			c.click("go-link", "continue")
			c.press("continue:grace", "link-there")
			look("link-confirm")
			c.click("link-submit", "connections-linked")
			look("connections-two")
		})
	}
}
