package suite

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_F12_RecycledNumber: after half a year without a proof a number opens its account with the password too; whoever has the number now may
// get an account of their own, and the one before loses it and hears of it.
func TestSec_F12_RecycledNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: func(c *config.Config) { phoneOn(c, func(p *config.Phone) { p.Registration = "open" }) }})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		ask := func() (*testidp.Browser, *testidp.Page) {
			time.Sleep(time.Minute)
			b := idp.Browser()
			page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
			return b, enter(b, page, demoCode(t, idp))
		}
		idp.Sleep(179 * 24 * time.Hour)
		_, page := ask()
		page.Want(200, "account-title") // which proves it anew
		idp.Sleep(181 * 24 * time.Hour)
		b, page := ask()
		page.Want(200, "phone-proof-title")
		b.Get(idp.Issuer+"/account").Want(200, "login-title") // half is not whole (C10)
		page = b.Submit(page, "phone-proof-submit", map[string]string{"phone-password": "wrong wrong wrong"}).Want(422, "phone-proof-title")
		b.Submit(page, "phone-proof-submit", map[string]string{"phone-password": ada.Password}).Want(200, "account-title")
		list, err := idp.Store.SessionsOf(context.Background(), ada.ID)
		if err != nil || !slices.ContainsFunc(list, func(s store.Session) bool { return s.ACR == "2" && slices.Equal(s.AMR, []string{"sms", "pwd"}) }) {
			t.Errorf("%+v %v", list, err)
		}
		_, page = ask()
		page.Want(200, "account-title") // proven again

		idp.Sleep(181 * 24 * time.Hour)
		b, page = ask()
		page = b.Submit(page, "phone-new", nil).Want(200, "account-title")
		u := mustUser(t, idp, adaNumber)
		if u.ID == ada.ID || u.Email != "" {
			t.Errorf("%+v", u)
		}
		before, err := idp.Store.User(context.Background(), ada.ID)
		if err != nil || before.Phone != "" || !before.PhoneVerifiedAt.IsZero() {
			t.Errorf("%+v %v", before, err)
		}
		if !slices.ContainsFunc(idp.Outbox(), func(m store.Message) bool {
			return m.Kind == "mail" && m.Recipient == "ada@example.com" && strings.Contains(m.Text, "somebody who has it now")
		}) {
			t.Error("the owner before heard nothing")
		}
	})
}

// TestSec_F12_SecondProofs: beside an old number the password will do, or a second factor, or a recovery code, or a code to the address that was proven; the
// pages say nothing of the address, and whoever has power over others does not get in by number and mail.
func TestSec_F12_SecondProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: func(c *config.Config) { phoneOn(c) }})
		person := func(email, number string, more ...string) testidp.Person {
			return idp.User(testidp.Person{Email: email, Phone: number, Privileges: more})
		}
		ada, bob := person("ada@example.com", adaNumber), person("bob@example.com", bobNumber)
		person("root@example.com", "+4915123456701", "admin")
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), bob).Want(200, "account-title")
		key, codes, _ := addApp(t, b, b.Get(idp.Issuer+"/account/security/totp"))
		var page *testidp.Page
		ask := func(number, want string) {
			t.Helper()
			time.Sleep(time.Minute)
			b = idp.Browser()
			page = dial(b, b.Get(idp.Issuer+"/login"), number).Want(200, "phone-code-title")
			page = enter(b, page, demoCode(t, idp)).Want(200, want)
		}
		opened := func(who testidp.Person, amr string) {
			t.Helper()
			page.Want(200, "account-title")
			list, err := idp.Store.SessionsOf(context.Background(), who.ID)
			if err != nil || !slices.ContainsFunc(list, func(s store.Session) bool { return strings.Join(s.AMR, " ") == amr && s.ACR == "2" }) {
				t.Errorf("no session with %s: %+v %v", amr, list, err)
			}
		}
		idp.Sleep(181 * 24 * time.Hour)
		ask(adaNumber, "phone-proof-title")
		if page.Has("phone-proof-factor") || page.Has("phone-proof-recovery") || !page.Has("phone-password") {
			t.Error("a way that is none, or none where there is one")
		}
		page = b.Submit(page, "phone-proof-mail", nil).Want(200, "code-title")
		if strings.Contains(page.Body, "ada@") || page.Has("code-change") {
			t.Error("the page says the address")
		}
		eve := idp.Browser() // somebody else's browser
		eve.Get(page.URL.String()).Want(400, "error-page")
		newest := regexp.MustCompile(`(?m)^ *([0-9]{6}) *$`)
		code := ""
		for _, m := range idp.Outbox() {
			if m.Kind == "mail" && m.Recipient == "ada@example.com" {
				if hit := newest.FindStringSubmatch(m.Text); hit != nil {
					code = hit[1]
					break
				}
			}
		}
		b.Submit(page, "code-submit", map[string]string{"code-input": "000000"}).Want(422, "code-input-error")
		done := b.Submit(page, "code-submit", map[string]string{"code-input": code})
		if got := b.Submit(page, "code-submit", map[string]string{"code-input": code}); got.Status < 400 {
			t.Errorf("used again: %v", got)
		}
		page = done
		opened(ada, "sms email")
		ask(adaNumber, "account-title") // proven again

		ask(bobNumber, "phone-proof-title")
		page = b.Click(page, "phone-proof-factor").Want(200, "mfa-title")
		page = b.Submit(page, "mfa-submit", map[string]string{"mfa-code": appCode(t, key, 0)})
		opened(bob, "sms otp mfa")
		ask(bobNumber, "mfa-title") // its proof is fresh, and the app guards the account
		idp.Sleep(181 * 24 * time.Hour)
		ask(bobNumber, "phone-proof-title")
		page = b.Submit(b.Click(page, "phone-proof-recovery"), "mfa-recovery-submit", map[string]string{"mfa-recovery-code": codes[0]})
		opened(bob, "sms otp mfa")
		ask(bobNumber, "mfa-title")

		ask("+4915123456701", "phone-proof-title")
		if page.Has("phone-proof-mail") {
			t.Error("an administrator by number and mail")
		}
	})
}

// TestSec_F12_AdministratorBySMSAlone: who has power over others needs more than a number, and cannot be left for a new account.
func TestSec_F12_AdministratorBySMSAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Demo: true, Config: func(c *config.Config) { phoneOn(c, func(p *config.Phone) { p.Registration = "open" }) }})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber, Privileges: []string{"admin"}})
		b := idp.Browser()
		page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		page = enter(b, page, demoCode(t, idp)).Want(200, "phone-proof-title")
		if page.Has("phone-new") {
			t.Error("an administrator's number can be taken")
		}
		b.Get(idp.Issuer+"/admin").Want(200, "login-title")
		b.Submit(page, "phone-proof-submit", map[string]string{"phone-password": ada.Password}).Want(200, "admin-title")
	})
}

// TestStory_AccountPhone: a number is put on an account with a code, takes part in signing in after a while, is changed with a notice to everybody, and
// is removed unless it is the last way in.
func TestStory_AccountPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: func(c *config.Config) { phoneOn(c) }})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		bob := idp.User(testidp.Person{Email: "bob@example.com", Phone: bobNumber})
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		page := b.Get(idp.Issuer+"/account/phone").Want(200, "phone-title")
		page = b.Submit(page, "phone-submit", map[string]string{"phone-number": "0151 23456789"}).Want(200, "phone-code-title")
		page = enter(b, page, demoCode(t, idp)).Want(200, "phone-title")
		if page.Text("phone-current") != "+49 1512 3456789" || mustUser(t, idp, adaNumber).ID != ada.ID {
			t.Errorf("%s", page.Text("phone-current"))
		}
		mailed := func(to, words string) {
			t.Helper()
			if !slices.ContainsFunc(idp.Outbox(), func(m store.Message) bool { return m.Recipient == to && strings.Contains(m.Text, words) }) {
				t.Errorf("no message to %s: %s", to, words)
			}
		}
		mailed("ada@example.com", "A new phone number")
		// Cool-down: neither alone, nor another.
		time.Sleep(time.Minute)
		other := idp.Browser()
		code := dial(other, other.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		enter(other, code, demoCode(t, idp)).Want(200, "phone-proof-title")
		b.Submit(page, "phone-submit", map[string]string{"phone-number": bobNumber}).Want(422, "phone-number-error")
		// An old sign-in does not change it.
		time.Sleep(25 * time.Hour)
		b = idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		time.Sleep(10 * time.Minute)
		b.Get(idp.Issuer+"/account/phone").Want(200, "phone-old")
		b = idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		// Bob's number, proven by Ada, is Ada's.
		page = b.Submit(b.Get(idp.Issuer+"/account/phone"), "phone-submit", map[string]string{"phone-number": bobNumber}).Want(200, "phone-code-title")
		enter(b, page, demoCode(t, idp)).Want(200, "phone-title")
		if u := mustUser(t, idp, bobNumber); u.ID != ada.ID {
			t.Error("not hers")
		}
		mailed("bob@example.com", "somebody who has it now")
		mailed(adaNumber, "another phone number now")
		if u, err := idp.Store.User(context.Background(), bob.ID); err != nil || u.Phone != "" {
			t.Errorf("%+v %v", u, err)
		}
		time.Sleep(time.Minute)
		b.Submit(b.Get(idp.Issuer+"/account/phone"), "phone-remove", nil).Want(200, "phone-title")
		if u, err := idp.Store.User(context.Background(), ada.ID); err != nil || u.Phone != "" {
			t.Errorf("%+v %v", u, err)
		}
		mailed("ada@example.com", "was removed")
	})
}

// TestStory_PhoneOnly: the last way in stays, and approval is waited for.
func TestStory_PhoneOnly(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Config: func(c *config.Config) {
		phoneOn(c, func(p *config.Phone) { p.Registration, p.ResendAfter = "approval", time.Second })
	}})
	b := idp.Browser()
	page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
	if shown := idp.Browser().Get(idp.Issuer + "/dev/outbox"); !strings.Contains(shown.Body, adaNumber[1:]) || !strings.Contains(shown.Body, "#"+demoCode(t, idp)) {
		t.Error("not in the demonstration's outbox")
	}
	enter(b, page, demoCode(t, idp)).Want(403, "error-page")
	u := mustUser(t, idp, adaNumber)
	if err := idp.Store.EnableUser(context.Background(), "cli", u.ID); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	page = dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
	enter(b, page, demoCode(t, idp)).Want(200, "account-title")
	page = b.Get(idp.Issuer+"/account/phone").Want(200, "phone-last")
	if page.Has("phone-remove") {
		t.Error("the last way in can be removed")
	}
}
