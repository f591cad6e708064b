package suite

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/hotp"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// appCode is what an authenticator app shows, some steps from now.
func appCode(t testing.TB, key string, steps int64) string {
	t.Helper()
	code, err := hotp.GenerateCode(strings.ReplaceAll(key, " ", ""), uint64(time.Now().Unix()/30+steps))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// addApp confirms the app on the page, and returns its key, the recovery codes and the page behind them.
func addApp(t testing.TB, b *testidp.Browser, p *testidp.Page) (key string, codes []string, next *testidp.Page) {
	t.Helper()
	key = p.Want(200, "mfa-enrol-title").Text("mfa-key")
	p = b.Submit(p, "mfa-submit", map[string]string{"mfa-code": appCode(t, key, 0)}).Want(200, "mfa-codes-title")
	return key, strings.Fields(p.Text("mfa-codes")), b.Click(p, "mfa-codes-next")
}

// withRecovery uses a recovery code on the page of the second factor.
func withRecovery(b *testidp.Browser, p *testidp.Page, code string) *testidp.Page {
	return b.Submit(b.Click(p, "mfa-use-recovery"), "mfa-recovery-submit", map[string]string{"mfa-recovery-code": code})
}

func amrOf(tokens *testidp.Tokens) string {
	var all []string
	list, _ := tokens.Claims["amr"].([]any)
	for _, v := range list {
		all = append(all, v.(string))
	}
	return strings.Join(all, " ")
}

// TestStory_RequiredSecondFactor is R64: an administrator adds a factor before the application hears anything, and is asked for it from then on.
func TestStory_RequiredSecondFactor(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: func(c *config.Config) { c.MFA.Administrators = config.MFARequired }})
		ada, bob := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{})
		rp := idp.RP(store.ClientMetadata{FirstParty: true})
		b := idp.Browser()
		at := rp.Start()
		if tokens := rp.Finish(at, b.SignIn(b.Get(at.URL), bob).URL); tokens.Claims["acr"] != "1" || amrOf(tokens) != "pwd" {
			t.Errorf("bob: %v", tokens.Claims)
		}
		b = idp.Browser()
		at = rp.Start()
		p := b.SignIn(b.Get(at.URL), ada)
		silent := rp.Start("prompt", "none")
		if code := rp.Error(silent, b.Get(silent.URL).URL); code != "login_required" {
			t.Errorf("half done: %s", code)
		}
		_, codes, end := addApp(t, b, p)
		tokens := rp.Finish(at, end.URL)
		if tokens.Claims["acr"] != "2" || amrOf(tokens) != "pwd otp mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		again := idp.Browser()
		at = rp.Start()
		p = again.SignIn(again.Get(at.URL), ada).Want(200, "mfa-title")
		if tokens := rp.Finish(at, withRecovery(again, p, codes[0]).URL); tokens.Claims["acr"] != "2" || amrOf(tokens) != "pwd otp mfa" {
			t.Errorf("%v", tokens.Claims)
		}
	})
}

// TestStory_StepUp: acr_values, an essential acr, max_age and a client's own rule ask more of a session, what is out of reach is refused, and tokens tell
// the truth of it (security.md C11, A15).
func TestStory_StepUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: func(c *config.Config) { c.MFA.AllowedFor = []string{"developer", "trainer"} }})
		ada, eve := idp.User(testidp.Person{Privileges: []string{"developer"}}), idp.User(testidp.Person{})
		rp := idp.RP(store.ClientMetadata{FirstParty: true})
		strict := idp.RP(store.ClientMetadata{FirstParty: true, RequireACR: "2", RedirectURIs: []string{"https://strict.example/callback"}})
		b, old := idp.Browser(), idp.Browser()
		at := rp.Start()
		first := rp.Finish(at, b.SignIn(b.Get(at.URL), ada).URL)
		at = rp.Start()
		rp.Finish(at, old.SignIn(old.Get(at.URL), ada).URL)

		refused := func(b *testidp.Browser, rp *testidp.RP, want string, more ...string) {
			t.Helper()
			at := rp.Start(more...)
			if code := rp.Error(at, b.Get(at.URL).URL); code != want {
				t.Errorf("%v: %s, want %s", more, code, want)
			}
		}
		essential := func(v string) string { return `{"id_token":{"acr":{"essential":true,"values":["` + v + `"]}}}` }
		refused(b, rp, "interaction_required", "prompt", "none", "acr_values", "2")
		refused(b, rp, "interaction_required", "prompt", "none", "claims", essential("2"))
		refused(b, strict, "interaction_required", "prompt", "none")
		refused(b, rp, "unmet_authentication_requirements", "acr_values", "phr")
		refused(b, rp, "unmet_authentication_requirements", "prompt", "none", "claims", essential("phr"))
		refused(b, rp, "unmet_authentication_requirements", "claims", essential("gold"))
		at = rp.Start("acr_values", "gold") // a wish that nobody here can grant
		if tokens := rp.Finish(at, b.Get(at.URL).URL); tokens.Claims["acr"] != "1" {
			t.Errorf("%v", tokens.Claims)
		}

		// Enrol on the way. Whoever signed in a moment ago shows the factor only, and signed in when they did.
		at = rp.Start("acr_values", "phr 2")
		_, codes, end := addApp(t, b, b.Get(at.URL))
		tokens := rp.Finish(at, end.URL)
		if tokens.Claims["acr"] != "2" || amrOf(tokens) != "pwd otp mfa" || tokens.Claims["auth_time"] != first.Claims["auth_time"] || tokens.Claims["sid"] != first.Claims["sid"] {
			t.Errorf("%v after %v", tokens.Claims, first.Claims)
		}
		for asked, want := range map[string]string{"": "2", "1": "1", "2": "2", "2 1": "2", "gold": "2"} {
			at = rp.Start("prompt", "none", "acr_values", asked)
			if tokens := rp.Finish(at, b.Get(at.URL).URL); tokens.Claims["acr"] != want {
				t.Errorf("acr_values %q: %v", asked, tokens.Claims["acr"])
			}
		}

		// The session that never showed it is good for who asks no more, and is not let down to by who does.
		at = rp.Start("prompt", "none")
		if tokens := rp.Finish(at, old.Get(at.URL).URL); tokens.Claims["acr"] != "1" || amrOf(tokens) != "pwd" {
			t.Errorf("%v", tokens.Claims)
		}
		refused(old, strict, "interaction_required", "prompt", "none")
		at = strict.Start()
		p := old.Get(at.URL).Want(200, "mfa-title")
		for _, path := range []string{"/oauth2/authorize?" + strings.SplitN(at.URL, "?", 2)[1], "/mfa?" + p.URL.RawQuery} { // no way around it
			old.Get(idp.Issuer+path).Want(200, "mfa-title")
		}
		if tokens := strict.Finish(at, withRecovery(old, old.Get(p.URL.String()), codes[0]).URL); tokens.Claims["acr"] != "2" {
			t.Errorf("%v", tokens.Claims)
		}

		// max_age asks for all of it again.
		time.Sleep(1100 * time.Millisecond) // auth_time has seconds
		at = rp.Start("max_age", "0")
		p = b.SignIn(b.Get(at.URL).Want(200, "login-title"), ada).Want(200, "mfa-title")
		if late := rp.Finish(at, withRecovery(b, p, codes[1]).URL); late.Claims["acr"] != "2" || late.Claims["auth_time"].(float64) <= first.Claims["auth_time"].(float64) {
			t.Errorf("%v", late.Claims)
		}

		// Somebody who may not have one cannot come in where it is demanded.
		other := idp.Browser()
		at = strict.Start()
		if code := strict.Error(at, other.SignIn(other.Get(at.URL), eve).URL); code != "unmet_authentication_requirements" {
			t.Errorf("eve: %s", code)
		}

		// What a preview says is what happens.
		for who, want := range map[string]string{ada.ID: "second_factor", eve.ID: ""} {
			p, err := idp.Server.Provider().Preview(context.Background(), provider.PreviewRequest{UserID: who, ClientID: rp.ID})
			if err != nil || p.Owes != want || (p.IDToken["acr"] == "2") != (want != "") {
				t.Errorf("preview: %+v %v", p, err)
			}
		}
		if p, err := idp.Server.Provider().Preview(context.Background(), provider.PreviewRequest{UserID: eve.ID, ClientID: strict.ID}); err != nil || p.Refused != "unmet_authentication_requirements" {
			t.Errorf("preview: %+v %v", p, err)
		}
	})
}

// TestSec_C11_EnrolNeedsARecentSignIn: a session that was left open does not choose the second factor of its person.
func TestSec_C11_EnrolNeedsARecentSignIn(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.MFA.Administrators = config.MFARequired }})
	carol := idp.User(testidp.Person{})
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), carol).Want(200, "account-title")
	idp.Grant(carol, "admin")
	// Administration is shut to a session from before the policy asked more of it, and nothing else is changed by it (security.md C10).
	p := b.Get(idp.Issuer+"/admin/users").Want(http.StatusForbidden, "error-page")
	if p.Text("error-code") != "factor_needed" {
		t.Errorf("%s", p.Text("error-code"))
	}
	b.Get(idp.Issuer+"/account").Want(200, "account-title")
	_, _, end := addApp(t, b, b.Click(p, "error-restart"))
	end.Want(200, "account-title")
	b.Get(idp.Issuer+"/admin/users").Want(200, "users-title")
}

// TestStory_ResetFactors is R67: an administrator takes the factors of somebody who lost them, with a reason; the person is told and signed out, and adds
// one at the next sign-in where one is required.
func TestStory_ResetFactors(t *testing.T) {
	t.Parallel()
	idp, post := withMail(t, testidp.Options{})
	ada, bob := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Email: "bob@example.com"})
	their, b := idp.Browser(), idp.Browser()
	their.SignIn(their.Get(idp.Issuer+"/login"), bob)
	_, _, p := addApp(t, their, their.Get(idp.Issuer+"/account/security/totp"))
	p.Want(200, "security-title")
	b.SignIn(b.Get(idp.Issuer+"/login"), ada)
	page := idp.Issuer + "/admin/users/" + bob.ID
	b.Get(page+"/reset-factors").Want(http.StatusMethodNotAllowed, "error-page")
	p = b.Submit(b.Get(page), "reset-factors", map[string]string{"reset-reason": ""}).Want(http.StatusUnprocessableEntity, "reset-reason-error")
	if has, err := idp.Store.HasFactor(context.Background(), bob.ID); err != nil || !has {
		t.Fatal("reset without a reason")
	}
	p = b.Submit(p, "reset-factors", map[string]string{"reset-reason": "Lost the phone, called back"}).Want(200, "admin-done")
	if has, err := idp.Store.HasFactor(context.Background(), bob.ID); err != nil || has || p.Has("reset-factors") {
		t.Error("not reset")
	}
	their.Get(idp.Issuer+"/account").Want(200, "login-title") // signed out
	testidp.Within(t, waitLong, "two mails", func() bool { return len(post.Mails()) == 2 })
	var subjects []string
	for _, m := range post.Mails() {
		subjects = append(subjects, m.To+" "+m.Subject)
	}
	if !slices.Contains(subjects, "bob@example.com MyDocassemble - Your second step was taken away") || !slices.Contains(subjects, "bob@example.com MyDocassemble - A second step was added") {
		t.Errorf("%v", subjects)
	}
	their.SignIn(their.Get(idp.Issuer+"/login"), bob).Want(200, "account-title")
	if own := b.Get(idp.Issuer + "/admin/users/" + ada.ID); own.Has("user-factors") {
		t.Error("one's own can be reset")
	}
	// At the command line too.
	_, _, _ = addApp(t, their, their.Get(idp.Issuer+"/account/security/totp"))
	console, err := server.OpenConsole(context.Background(), idp.Config, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if n, err := console.ResetFactors(context.Background(), "cli", bob.ID, "again"); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	testidp.Within(t, waitLong, "the mails", func() bool { return len(post.Mails()) == 4 })
}

// TestChrome_Factors: the pages of second factors in a real browser, as they look.
func TestChrome_Factors(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true, Demo: true, Config: withSMSFactors})
	ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
	c := newChrome(t, true)
	signIn := func(next string) {
		c.open(idp.Issuer+"/login", "login-title")
		c.fill("login-identifier", ada.Email)
		c.fill("login-password", ada.Password)
		c.click("login-submit", next)
	}
	signIn("account-title")
	c.open(idp.Issuer+"/account/security", "security-title")
	c.look("security-empty")
	c.click("security-add-app", "mfa-enrol-title")
	c.look("mfa-enrol")
	key := c.text("mfa-key")
	c.fill("mfa-code", "12")
	c.click("mfa-submit", "error-summary")
	c.look("mfa-enrol-wrong")
	c.fill("mfa-code", appCode(t, key, 0))
	c.fill("mfa-name", "Phone")
	c.click("mfa-submit", "mfa-codes-title")
	c.look("mfa-codes")
	c.click("mfa-codes-next", "security-title")
	c.click("security-add-sms", "mfa-number-title")
	c.look("mfa-number")
	c.fill("phone-number", "12")
	c.click("mfa-number-submit", "error-summary")
	c.look("mfa-number-wrong")
	c.fill("phone-number", adaNumber)
	c.click("mfa-number-submit", "phone-code-title")
	c.look("mfa-number-code")
	c.fill("phone-code", demoCode(t, idp))
	c.click("phone-code-submit", "security-title")
	c.look("security")
	c.open(idp.Issuer+"/logout", "logout-confirm")
	c.do(clickID("logout-confirm"), chromedp.WaitVisible(chromedp.ID("logout-done")))
	signIn("mfa-title")
	c.look("mfa")
	c.fill("mfa-code", "000000")
	c.click("mfa-submit", "error-summary")
	c.look("mfa-wrong")
	c.click("mfa-other", "mfa-ways-title")
	c.look("mfa-ways")
	c.click("mfa-way-sms", "mfa-sms-title")
	c.look("mfa-sms")
	c.click("mfa-other", "mfa-ways-title")
	c.click("mfa-way-recovery", "mfa-recovery-title")
	c.look("mfa-recovery")
	c.click("mfa-back", "mfa-title")
	c.fill("mfa-code", appCode(t, key, 1))
	c.click("mfa-submit", "account-title")
	c.look("account-with-security")
}

// TestSec_C10_PhoneAsksForTheFactor: a number asks for the app too, and with the password it is no way around it (security.md F12).
func TestSec_C10_PhoneAsksForTheFactor(t *testing.T) {
	t.Parallel()
	for _, privileges := range [][]string{nil, {"admin"}} { // who administers owes the password beside the number, and the app beside both
		idp := testidp.Start(t, testidp.Options{Demo: true, Config: func(c *config.Config) { phoneOn(c) }})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber, Privileges: privileges})
		b, other := idp.Browser(), idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		_, codes, _ := addApp(t, b, b.Get(idp.Issuer+"/account/security/totp"))
		p := dial(other, other.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		p = enter(other, p, demoCode(t, idp))
		if privileges != nil {
			p = other.Submit(p.Want(200, "phone-proof-title"), "phone-proof-submit", map[string]string{"phone-password": ada.Password})
		}
		p.Want(200, "mfa-title")
		other.Get(idp.Issuer+"/account").Want(200, "login-title")
		withRecovery(other, p, codes[0]).Want(200, "account-title")
	}
}
