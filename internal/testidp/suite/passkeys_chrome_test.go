package suite

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// authenticator gives the window one that verifies its user and syncs, and notes what pages ask of it.
func (c *chrome) authenticator() (id webauthn.AuthenticatorID) {
	c.t.Helper()
	c.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		made, err := cdp.Call(ctx, tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Ctap2version: "ctap2_1", Transport: "internal", HasResidentKey: true, HasUserVerification: true, IsUserVerified: true,
			AutomaticPresenceSimulation: true, DefaultBackupEligibility: true, DefaultBackupState: true,
		}})
		if err != nil {
			return err
		}
		id = made.AuthenticatorID
		_, err = cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
			const note = (what) => sessionStorage.setItem("asked", (sessionStorage.getItem("asked") ?? "") + what + " ");
			const get = navigator.credentials.get.bind(navigator.credentials);
			navigator.credentials.get = (o) => {
				note(o.mediation ?? "modal");
				o.signal?.addEventListener("abort", () => note("aborted"));
				return get(o);
			};
		}`})
		return err
	}))
	return id
}

// touched lets the authenticator answer, or wait for a person who never comes.
func (c *chrome) touched(id webauthn.AuthenticatorID, on bool) {
	c.t.Helper()
	c.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{AuthenticatorID: id, Enabled: on})
		return err
	}))
}

// until waits for something to become true on the page.
func (c *chrome) until(what string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](what)); err != nil {
		c.t.Fatalf("%s: %v\n%s", what, err, c.describe())
	}
}

// TestChrome_Passkeys: the ceremonies in a real browser: the offer, autofill, the button that ends it, the second factor, what a person reads who closed
// the prompt, and that all of it is out of sight without script.
func TestChrome_Passkeys(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true, Config: func(c *config.Config) { trainersShowTwo(c); c.Passkeys.Offer = true }})
	ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
	c := newChrome(t, true)
	key := c.authenticator()
	password := func(next string) {
		t.Helper()
		c.fill("login-identifier", ada.Email)
		c.fill("login-password", ada.Password)
		c.click("login-submit", next)
	}
	signOut := func() {
		t.Helper()
		c.open(idp.Issuer+"/logout", "logout-confirm")
		c.do(clickID("logout-confirm"), chromedp.WaitVisible(chromedp.ID("logout-done")))
	}
	asked := func() string {
		t.Helper()
		s, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](`{ const s = sessionStorage.getItem("asked") ?? ""; sessionStorage.removeItem("asked"); s }`))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(s)
	}

	c.open(idp.Issuer+"/login", "login-with-passkey")
	password("offer-title")
	c.look("passkey-offer")
	c.click("passkey-create", "account-title")
	idp.Grant(ada, "trainer")
	c.open(idp.Issuer+"/account/security", "security-codes-renew")
	c.click("security-codes-renew", "mfa-codes-title")
	c.open(idp.Issuer+"/account/passkeys", "passkeys-add")
	c.look("passkeys")
	c.do(clickID("passkeys-add"))
	c.until(`document.getElementById("passkeys-add-said").textContent.includes("has a passkey")`)

	// Autofill, then the button, which ends it first: a browser has one request at a time.
	signOut()
	c.touched(key, false)
	asked()
	c.open(idp.Issuer+"/login", "login-with-passkey")
	c.look("login-with-passkey")
	c.touched(key, true)
	asked()
	c.do(chromedp.Navigate(idp.Issuer + "/login"))
	c.want("account-title")
	if got := asked(); got != "conditional" {
		t.Errorf("autofill: %q", got)
	}
	signOut()
	c.touched(key, false)
	asked()
	c.open(idp.Issuer+"/login", "login-with-passkey")
	c.until(`sessionStorage.getItem("asked") === "conditional "`)
	c.touched(key, true)
	c.click("login-with-passkey", "account-title")
	if got := asked(); got != "conditional aborted modal" {
		t.Errorf("the button: %q", got)
	}

	// After the password.
	signOut()
	c.touched(key, false)
	c.open(idp.Issuer+"/login", "login-with-passkey")
	password("passkey-use")
	c.look("mfa-passkey")
	c.touched(key, true)
	c.click("passkey-use", "account-title")

	// A prompt that fails leaves the page as it was, and says so.
	signOut()
	c.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: key})
		return err
	}))
	c.open(idp.Issuer+"/login", "login-with-passkey")
	c.do(clickID("login-with-passkey"))
	c.until(`document.getElementById("login-with-passkey-said").textContent.includes("closed or timed out")`)
	c.look("login-passkey-closed")

	// Without script.
	c = newChrome(t, false)
	c.open(idp.Issuer+"/login", "login-title")
	if c.text("main"); strings.Contains(c.text("main"), "passkey") {
		t.Errorf("%q", c.text("main"))
	}
	password("passkey-missing")
	c.click("passkey-other", "mfa-recovery-title")
}
