package suite

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/notify/notifytest"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

const newPassword = "purple giraffe umbrella 99"

// withWays is withMail with registration and codes by mail switched on.
func withWays(t *testing.T, o testidp.Options) (*testidp.IDP, *notifytest.Server) {
	t.Helper()
	idp, post := withMail(t, o)
	return idp.Restart(func(c *config.Config) { c.Login.Registration, c.Login.EmailCode.Enabled = "open", true }), post
}

// mailTo waits for the mail number n to an address, from 1.
func mailTo(t *testing.T, post *notifytest.Server, to string, n int) notifytest.Mail {
	t.Helper()
	var list []notifytest.Mail
	testidp.Within(t, waitLong, fmt.Sprintf("mail %d to %s", n, to), func() bool {
		list = slices.DeleteFunc(post.Mails(), func(m notifytest.Mail) bool { return m.To != to })
		return len(list) >= n
	})
	return list[n-1]
}

// linkIn is the link of ours in a mail.
func linkIn(t *testing.T, idp *testidp.IDP, m notifytest.Mail) string {
	t.Helper()
	link := regexp.MustCompile(regexp.QuoteMeta(idp.Issuer) + `/\S+`).FindString(m.Text)
	if link == "" {
		t.Fatalf("no link in %s", m.Text)
	}
	return link
}

// TestStory_Register: somebody new comes from an application, proves an address with a code from a real mail, and is back at the application.
func TestStory_Register(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withWays(t, testidp.Options{Engine: engine})
		wiki := idp.RP(store.ClientMetadata{Name: "Wiki", FirstParty: true})
		b := idp.Browser()
		at := wiki.Start()
		page := b.Click(b.Get(at.URL), "login-register").Want(200, "register-title")
		page = b.Submit(page, "register-submit", map[string]string{"register-given-name": "Ada", "register-email": "ada@example.com", "register-password": newPassword}).Want(200, "code-title")
		code := sixDigits.FindString(mailTo(t, post, "ada@example.com", 1).Text)
		tokens := wiki.Finish(at, b.Submit(page, "code-submit", map[string]string{"code-input": code}).URL)
		if _, who := wiki.UserInfo(tokens.AccessToken); who["email"] != "ada@example.com" || who["email_verified"] != true || who["given_name"] != "Ada" {
			t.Errorf("%v", who)
		}
		if amr := fmt.Sprint(tokens.Claims["amr"]); amr != "[pwd]" {
			t.Error(amr)
		}
		// They come again with what they chose, and nobody can register their address anew.
		again, b2 := wiki.Start(), idp.Browser()
		wiki.Finish(again, b2.SignIn(b2.Get(again.URL), testidp.Person{Email: "ada@example.com", Password: newPassword}).URL)
		b3 := idp.Browser()
		page = b3.Submit(b3.Get(idp.Issuer+"/register"), "register-submit", map[string]string{"register-email": "ADA@example.com", "register-password": newPassword}).Want(200, "code-title")
		if m := mailTo(t, post, "ada@example.com", 2); sixDigits.MatchString(m.Text) {
			t.Errorf("%s", m.Text)
		}
		b3.Submit(page, "code-submit", map[string]string{"code-input": code}).Want(422, "code-title")
	})
}

// TestStory_Forgot: a link from a real mail sets a password; every token and session ends; the flow goes on where it was.
func TestStory_Forgot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withWays(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Username: "ada"})
		wiki := idp.RP(store.ClientMetadata{Name: "Wiki", FirstParty: true, Scope: "openid email offline_access", GrantTypes: []string{"authorization_code", "refresh_token"}})
		old := idp.Browser()
		at := wiki.Start("scope", "openid email offline_access", "prompt", "consent")
		page := old.SignIn(old.Get(at.URL), ada)
		if page.Has("consent-accept") {
			page = old.Consent(page)
		}
		tokens := wiki.Finish(at, page.URL)
		if tokens.RefreshToken == "" {
			t.Fatal("no refresh token")
		}

		b := idp.Browser()
		at = wiki.Start()
		page = b.Click(b.Get(at.URL), "login-forgot").Want(200, "forgot-title")
		b.Submit(page, "forgot-submit", map[string]string{"forgot-identifier": "ada"}).Want(200, "forgot-sent-title")
		link := linkIn(t, idp, mailTo(t, post, "ada@example.com", 1))
		for range 2 { // a program that looks at mail, in another browser
			idp.Browser().Get(link).Want(200, "reset-title")
		}
		page = b.Submit(b.Get(link).Want(200, "reset-title"), "reset-submit", map[string]string{"reset-password": newPassword}).Want(200, "login-done")
		ada.Password = newPassword
		wiki.Finish(at, b.SignIn(page, ada).URL)

		if _, err := wiki.Refresh(tokens); err == nil {
			t.Error("a refresh token survived")
		}
		if p := old.Get(idp.Issuer + "/account"); p.Has("account-title") {
			t.Error("a session survived")
		}
		if m := mailTo(t, post, "ada@example.com", 2); !strings.Contains(m.Subject, "password was changed") {
			t.Error(m.Subject)
		}
		idp.Browser().Get(link).Want(410, "error-page")
	})
}

// TestStory_EmailCode: a sign-in with a code from a real mail, and what the application learns of it.
func TestStory_EmailCode(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withWays(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		wiki := idp.RP(store.ClientMetadata{Name: "Wiki", FirstParty: true})
		b := idp.Browser()
		at := wiki.Start("max_age", "3600")
		page := b.Click(b.Get(at.URL), "login-code").Want(200, "email-code-title")
		page = b.Submit(page, "email-code-submit", map[string]string{"email-code-email": "ada@example.com"}).Want(200, "code-title")
		code := sixDigits.FindString(mailTo(t, post, "ada@example.com", 1).Text)
		tokens := wiki.Finish(at, b.Submit(page, "code-submit", map[string]string{"code-input": code}).URL)
		if fmt.Sprintf("%v %v %v", tokens.Claims["amr"], tokens.Claims["acr"], tokens.Claims["sub"]) != "[email] 1 "+ada.ID {
			t.Errorf("%v", tokens.Claims)
		}
		// Switched off, what came by it is over.
		idp = idp.Restart(func(c *config.Config) { c.Login.EmailCode.Enabled = false })
		if status, _ := wiki.UserInfo(tokens.AccessToken); status != http.StatusUnauthorized {
			t.Errorf("the token: %d", status)
		}
		b.Get(idp.Issuer+"/account").Want(200, "login-title")
	})
}

// TestStory_ChangeEmail: proven by a real mail, told to the old address, and applications learn of it.
func TestStory_ChangeEmail(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withMail(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		wiki := idp.RP(store.ClientMetadata{FirstParty: true})
		b := idp.Browser()
		at := wiki.Start()
		tokens := wiki.Finish(at, b.SignIn(b.Get(at.URL), ada).URL)
		page := b.Click(b.Get(idp.Issuer+"/account"), "account-email-open").Want(200, "email-title")
		page = b.Submit(page, "email-submit", map[string]string{"email-new": "countess@example.org"}).Want(200, "code-title")
		code := sixDigits.FindString(mailTo(t, post, "countess@example.org", 1).Text)
		b.Submit(page, "code-submit", map[string]string{"code-input": code}).Want(200, "account-done")
		if _, who := wiki.UserInfo(tokens.AccessToken); who["email"] != "countess@example.org" {
			t.Errorf("%v", who)
		}
		undo := linkIn(t, idp, mailTo(t, post, "ada@example.com", 1))
		owner := idp.Browser()
		page = owner.Submit(owner.Get(undo).Want(200, "undo-title"), "undo-submit", nil).Want(200, "reset-title")
		page = owner.Submit(page, "reset-submit", map[string]string{"reset-password": newPassword}).Want(200, "login-done")
		ada.Password = newPassword
		owner.SignIn(page, ada).Want(200, "account-title")
		if status, _ := wiki.UserInfo(tokens.AccessToken); status == http.StatusOK {
			t.Error("the token of whoever changed it lives on")
		}
	})
}

// TestSec_J9_AddressesWhileMailIsDown: the mail server is down: pages say the same, other ways in work, and what was asked for comes once, when it is up.
func TestSec_J9_AddressesWhileMailIsDown(t *testing.T) {
	t.Parallel()
	idp, post := withWays(t, testidp.Options{})
	ada := idp.User(testidp.Person{Email: "ada@example.com"})
	post.Down()
	b := idp.Browser()
	b.Submit(b.Get(idp.Issuer+"/login/forgot"), "forgot-submit", map[string]string{"forgot-identifier": "ada@example.com"}).Want(200, "forgot-sent-title")
	page := b.Submit(b.Get(idp.Issuer+"/login/code"), "email-code-submit", map[string]string{"email-code-email": "ada@example.com"}).Want(200, "code-title")
	other := idp.Browser()
	other.SignIn(other.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
	time.Sleep(500 * time.Millisecond)
	post.Up()
	one, two := mailTo(t, post, "ada@example.com", 1), mailTo(t, post, "ada@example.com", 2)
	if one.Header.Get("Message-Id") == two.Header.Get("Message-Id") {
		t.Error("one mail twice")
	}
	code := sixDigits.FindString(one.Text + two.Text)
	b.Submit(page, "code-submit", map[string]string{"code-input": code}).Want(200, "account-title")
	time.Sleep(time.Second)
	if n := len(post.Mails()); n != 2 {
		t.Errorf("%d mails", n)
	}
}

// TestSec_J9_NothingStaleIsSent: what can be used for half an hour is not sent after it.
func TestSec_J9_NothingStaleIsSent(t *testing.T) {
	t.Parallel()
	idp, post := withWays(t, testidp.Options{})
	idp.User(testidp.Person{Email: "ada@example.com"})
	post.Down()
	b := idp.Browser()
	b.Submit(b.Get(idp.Issuer+"/login/forgot"), "forgot-submit", map[string]string{"forgot-identifier": "ada@example.com"}).Want(200, "forgot-sent-title")
	b.Submit(b.Get(idp.Issuer+"/login/code"), "email-code-submit", map[string]string{"email-code-email": "ada@example.com"}).Want(200, "code-title")
	for _, m := range idp.Outbox() {
		if left := m.ExpiresAt.Sub(m.CreatedAt.Time); left > 30*time.Minute || strings.Contains(m.Subject, "code") && left > 10*time.Minute {
			t.Errorf("%s is sent for %v", m.Subject, left)
		}
	}
}

// TestRegisterInChromium: the pages of passwords and addresses in a real browser, with and without scripts.
func TestRegisterInChromium(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>app</title><h1 id="done">%t</h1>`, r.FormValue("code") != "")
	}))
	t.Cleanup(app.Close)
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp, post := withWays(t, testidp.Options{Plain: true})
			wiki := idp.RP(store.ClientMetadata{Name: "Wiki", FirstParty: true, RedirectURIs: []string{app.URL + "/callback"}})
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			c.open(wiki.Start().URL, "login-title")
			look("login-all")
			c.click("login-register", "register-title")
			look("register")
			c.fill("register-email", "ada")
			c.fill("register-password", "short")
			c.click("register-submit", "error-summary")
			look("register-wrong")
			c.fill("register-email", "ada@example.com")
			c.fill("register-password", newPassword)
			c.click("register-submit", "code-title")
			c.fill("code-input", sixDigits.FindString(mailTo(t, post, "ada@example.com", 1).Text))
			c.click("code-submit", "done")

			c.open(idp.Issuer+"/account", "account-title")
			look("account-addresses")
			c.click("account-password-open", "password-title")
			look("account-password")
			c.fill("password-new", newPassword+" 2")
			c.click("password-submit", "account-done")
			look("account-done")
			c.click("account-email-open", "email-title")
			look("account-email")
			c.fill("email-new", "ada@example.org")
			c.click("email-submit", "code-title")
			c.fill("code-input", sixDigits.FindString(mailTo(t, post, "ada@example.org", 1).Text))
			c.click("code-submit", "account-done")
			c.click("sign-out", "logout-done")

			c.open(wiki.Start().URL, "login-title")
			c.click("login-forgot", "forgot-title")
			look("forgot")
			c.fill("forgot-identifier", "ada@example.org")
			c.click("forgot-submit", "forgot-sent-title")
			look("forgot-sent")
			c.open(linkIn(t, idp, mailTo(t, post, "ada@example.org", 2)), "reset-title")
			look("reset")
			c.fill("reset-password", newPassword+" 3")
			c.click("reset-submit", "login-done")
			look("reset-done")
			c.fill("login-identifier", "ada@example.org")
			c.fill("login-password", newPassword+" 3")
			c.click("login-submit", "done")

			c.open(linkIn(t, idp, mailTo(t, post, "ada@example.com", 3)), "undo-title")
			look("undo")
			c.open(idp.Issuer+"/account", "account-title")
			c.click("sign-out", "logout-done")
			c.open(wiki.Start().URL, "login-title")
			c.click("login-code", "email-code-title")
			look("email-code")
			c.fill("email-code-email", "ada@example.org")
			c.click("email-code-submit", "code-title")
			look("email-code-enter")
			c.fill("code-input", sixDigits.FindString(mailTo(t, post, "ada@example.org", 4).Text))
			c.click("code-submit", "done")
		})
	}
}
