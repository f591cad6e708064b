package suite

import (
	"fmt"
	"github.com/chromedp/chromedp"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/notify/notifytest"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// withMail is a server that sends mail, and the server that takes it.
func withMail(t *testing.T, o testidp.Options) (*testidp.IDP, *notifytest.Server) {
	t.Helper()
	post := notifytest.Start(t, notifytest.Options{NoTLS: true, User: "latchkey", Password: "hunter2"})
	more := o.Config
	o.Config = func(c *config.Config) {
		if more != nil {
			more(c)
		}
		c.AppName = "MyDocassemble"
		c.Mail = config.Mail{Host: post.Host, Port: post.Port, TLS: config.MailNone, User: "latchkey", Password: config.NewSecret("hunter2"), From: "login@idp.example", Timeout: c.Mail.Timeout}
	}
	return testidp.Start(t, o), post
}

var sixDigits = regexp.MustCompile(`\b\d{6}\b`)

// TestStory_RequireEmail: an application that requires an address gets none without interaction, and a proven one after a code from a real
// mail; another application never asks.
func TestStory_RequireEmail(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withMail(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{Username: "ada"})
		wiki := idp.RP(store.ClientMetadata{Name: "Wiki", RequireEmail: true, FirstParty: true})
		files := idp.RP(store.ClientMetadata{Name: "Files", FirstParty: true, RedirectURIs: []string{"https://files.example/callback"}})
		b := idp.Browser()

		at := files.Start()
		if tokens := files.Finish(at, b.SignIn(b.Get(at.URL), ada).URL); tokens.Claims["email"] != nil {
			t.Errorf("%v", tokens.Claims)
		}
		silent := wiki.Start("prompt", "none")
		if code := wiki.Error(silent, b.Get(silent.URL).URL); code != "interaction_required" {
			t.Errorf("prompt=none: %s", code)
		}

		at = wiki.Start()
		page := b.Get(at.URL).Want(200, "complete-title")
		page = b.Submit(page, "complete-submit", map[string]string{"complete-email": "ada@example.com"}).Want(200, "code-title")
		testidp.Within(t, waitLong, "a mail", func() bool { return len(post.Mails()) == 1 })
		mail := post.Mails()[0]
		code := sixDigits.FindString(mail.Text)
		host, _, _ := strings.Cut(strings.TrimPrefix(idp.Issuer, "https://"), ":")
		if mail.To != "ada@example.com" || mail.User != "latchkey" || code == "" || mail.Subject != "MyDocassemble - Confirm your e-mail address" ||
			!strings.HasSuffix(strings.TrimSpace(mail.Text), "\n-- MyDocassemble") || !strings.HasSuffix(mail.Header.Get("Message-Id"), "@"+host+">") ||
			mail.Header.Get("From") != `"MyDocassemble" <login@idp.example>` {
			t.Errorf("%+v", mail)
		}
		page = b.Submit(page, "code-submit", map[string]string{"code-input": "nocode"}).Want(422, "code-title")
		tokens := wiki.Finish(at, b.Submit(page, "code-submit", map[string]string{"code-input": code}).URL)
		if _, who := wiki.UserInfo(tokens.AccessToken); who["email"] != "ada@example.com" || who["email_verified"] != true {
			t.Errorf("%v", who)
		}
		again := wiki.Start("prompt", "none")
		wiki.Finish(again, b.Get(again.URL).URL)

		// Nothing of the code is left, and the mail is counted.
		testidp.Within(t, waitLong, "the row", func() bool { return !idp.Outbox()[0].SentAt.IsZero() })
		if m := idp.Outbox()[0]; m.Text+m.HTML != "" || m.Recipient != "ada@example.com" {
			t.Errorf("%+v", m)
		}
		if _, text := idp.Management("/metrics"); !strings.Contains(text, `latchkey_messages_total{result="sent"} 1`) {
			t.Error("not counted")
		}
	})
}

// TestStory_AddressOfSomebody: the owner hears of it and keeps everything; whoever typed it sees the same page.
func TestStory_AddressOfSomebody(t *testing.T) {
	t.Parallel()
	idp, post := withMail(t, testidp.Options{})
	idp.User(testidp.Person{Email: "ada@example.com"})
	eve := idp.User(testidp.Person{Username: "eve"})
	wiki := idp.RP(store.ClientMetadata{RequireEmail: true, FirstParty: true})
	b := idp.Browser()
	page := b.SignIn(b.Get(wiki.Start().URL), eve).Want(200, "complete-title")
	page = b.Submit(page, "complete-submit", map[string]string{"complete-email": "ada@example.com"}).Want(200, "code-title")
	testidp.Within(t, waitLong, "a mail", func() bool { return len(post.Mails()) == 1 })
	mail := post.Mails()[0]
	if sixDigits.MatchString(mail.Text+mail.HTML) || !strings.Contains(mail.Text, idp.Issuer+"/account\n") {
		t.Errorf("%s", mail.Text)
	}
	b.Submit(page, "code-submit", map[string]string{"code-input": "123456"}).Want(422, "code-title")
}

// TestMailCodeInChromium: the pages of an address in a real browser, with and without scripts.
func TestMailCodeInChromium(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>app</title><h1 id="done">%t</h1>`, r.FormValue("code") != "")
	}))
	t.Cleanup(app.Close)
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp, post := withMail(t, testidp.Options{Plain: true})
			ada := idp.User(testidp.Person{Username: "ada"})
			wiki := idp.RP(store.ClientMetadata{Name: "Wiki", RequireEmail: true, FirstParty: true, RedirectURIs: []string{app.URL + "/callback"}})
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			c.open(wiki.Start().URL, "login-title")
			c.fill("login-identifier", ada.Username)
			c.fill("login-password", testidp.DefaultPassword)
			c.click("login-submit", "complete-title")
			look("complete")
			c.fill("complete-email", "ada")
			c.click("complete-submit", "error-summary")
			c.fill("complete-email", "ada@example.com")
			c.click("complete-submit", "code-title")
			look("code")
			c.fill("code-input", "12")
			c.click("code-submit", "error-summary")
			look("code-wrong")
			where, err := chromedp.Run(c.ctx, chromedp.Location())
			if err != nil {
				t.Fatal(err)
			}
			c.open(where, "code-title") // without the error, so that the next one is seen to come
			c.click("code-resend", "error-summary")
			look("code-early")
			c.click("code-change", "complete-title")
			c.fill("complete-email", "ada2@example.com")
			c.click("complete-submit", "code-title")
			testidp.Within(t, waitLong, "two mails", func() bool { return len(post.Mails()) == 2 })
			c.fill("code-input", sixDigits.FindString(post.Mails()[1].Text))
			c.click("code-submit", "done")
		})
	}
}
