package suite

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// withSMSFactors lets people add numbers, which a test may write to as often as it likes.
func withSMSFactors(c *config.Config) {
	phoneOn(c, func(p *config.Phone) {
		p.ResendAfter, p.Limits.NumberHour, p.Limits.NumberDay = time.Millisecond, 20, 100
	})
	c.MFA.AllowSMS = true
}

// addNumber makes a number a second factor: on its page, and on that of the code, which newest brings.
func addNumber(t *testing.T, b *testidp.Browser, p *testidp.Page, number string, newest func() string) (codes []string, next *testidp.Page) {
	t.Helper()
	p = b.Submit(p.Want(200, "mfa-number-title"), "mfa-number-submit", map[string]string{"phone-number": number, "mfa-name": "Work"}).Want(200, "phone-code-title")
	p = enter(b, p, newest()).Want(200, "mfa-codes-title")
	return strings.Fields(p.Text("mfa-codes")), b.Click(p, "mfa-codes-next")
}

// TestStory_SMSFactor: an administrator chooses messages for the second step that is required, is asked for it from then on, and tokens say so. The page
// is for who has the password alone, so it does not say the number; recovery codes stand in; with an app beside it there is a choice (R61, R63, R64).
func TestStory_SMSFactor(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Config: func(c *config.Config) {
			withSMSFactors(c)
			c.MFA.RequiredFor = []string{"developer"}
		}})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Privileges: []string{"developer"}})
		rp := idp.RP(store.ClientMetadata{FirstParty: true})
		sent := 0
		newest := func() string {
			sent++
			return codeIn(t, received(t, fake, adaNumber, sent).Body)
		}
		b := idp.Browser()
		at := rp.Start()
		p := b.Click(b.SignIn(b.Get(at.URL), ada).Want(200, "mfa-enrol-title"), "mfa-use-sms")
		b.Submit(p, "mfa-number-submit", map[string]string{"phone-number": "123", "mfa-name": strings.Repeat("x", 51)}).Want(422, "phone-number-error").Want(422, "mfa-name-error")
		codes, end := addNumber(t, b, p, adaNumber, newest)
		if tokens := rp.Finish(at, end.URL); tokens.Claims["acr"] != "2" || amrOf(tokens) != "pwd sms mfa" || len(codes) != 10 {
			t.Errorf("%v", tokens.Claims)
		}

		again := idp.Browser()
		at = rp.Start()
		p = again.SignIn(again.Get(at.URL), ada).Want(200, "mfa-sms-title")
		if strings.Contains(p.Body, "4915") || strings.Contains(p.Body, "23456789") || !strings.Contains(p.Body, "•••• 89 (Work)") {
			t.Errorf("%s", p.Body)
		}
		p = sendFirst(again, p).Want(200, "phone-code-title")
		if strings.Contains(p.Body, "23456789") || p.Has("phone-change") {
			t.Error("the number, or another one, is within reach")
		}
		code := newest()
		// Bound to the browser and to the half-finished sign-in (security.md F13).
		eve := idp.Browser()
		eve.SignIn(eve.Get(idp.Issuer+"/login"), ada).Want(200, "mfa-sms-title")
		eve.Get(p.URL.String()).Want(400, "error-page")
		if got := enter(again, p, "000000").Want(422, "phone-code-title"); !strings.Contains(got.Body, "4 tries left") {
			t.Errorf("%s", got.Text("error-summary"))
		}
		if tokens := rp.Finish(at, enter(again, p, code).URL); tokens.Claims["acr"] != "2" || amrOf(tokens) != "pwd sms mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		if got := enter(again, p, code); got.Status != 400 {
			t.Errorf("used again: %v", got)
		}

		third := idp.Browser()
		at = rp.Start()
		if tokens := rp.Finish(at, withRecovery(third, third.SignIn(third.Get(at.URL), ada), codes[0]).URL); amrOf(tokens) != "pwd otp mfa" {
			t.Errorf("%v", tokens.Claims)
		}

		// An app beside it: it is asked for first, and the other is a choice. Then the number can go, and the app stays.
		p = third.Click(third.Get(idp.Issuer+"/account/security").Want(200, "security-title"), "security-add-app")
		key := p.Want(200, "mfa-enrol-title").Text("mfa-key")
		p = third.Submit(p, "mfa-submit", map[string]string{"mfa-code": appCode(t, key, 0)}).Want(200, "security-title")
		if !strings.Contains(p.Body, "1512 3456789") { // the owner sees it
			t.Error("the owner does not see the number")
		}
		fourth := idp.Browser()
		p = fourth.SignIn(fourth.Get(idp.Issuer+"/login"), ada).Want(200, "mfa-title")
		p = fourth.Click(p, "mfa-other").Want(200, "mfa-ways-title")
		if !p.Has("mfa-way-totp") || !p.Has("mfa-way-recovery") {
			t.Error("a way is missing")
		}
		fourth.Click(p, "mfa-way-sms").Want(200, "mfa-sms-title")
		p = fourth.Click(p, "mfa-way-totp").Want(200, "mfa-title")
		fourth.Submit(p, "mfa-submit", map[string]string{"mfa-code": appCode(t, key, 1)}).Want(200, "account-title")
	})
}

// TestSec_R60_SMSAfterSMS: after a sign-in by phone another message is no second factor, whatever number it goes to; the password is one, or the app.
func TestSec_R60_SMSAfterSMS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: func(c *config.Config) {
			withSMSFactors(c)
			c.MFA.RequiredFor = []string{"developer"}
			c.MFA.AllowApp, c.Passkeys.Enabled = false, false
		}})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		idp.User(testidp.Person{Email: "dev@example.com", Phone: bobNumber, Privileges: []string{"developer"}})
		newest := func() string { return demoCode(t, idp) }
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		addNumber(t, b, b.Get(idp.Issuer+"/account/security/sms"), "+4915123456700", newest)
		byPhone := func(number string) (*testidp.Browser, *testidp.Page) {
			time.Sleep(time.Minute)
			b := idp.Browser()
			page := dial(b, b.Get(idp.Issuer+"/login"), number).Want(200, "phone-code-title")
			return b, enter(b, page, newest())
		}
		b, page := byPhone(adaNumber)
		page.Want(200, "phone-proof-title")
		for _, path := range []string{"/account", "/mfa/sms", "/mfa/ways", "/mfa"} {
			if got := b.Get(idp.Issuer + path); strings.Contains(got.Body, "send-") || got.Has("account-title") {
				t.Errorf("%s: %v", path, got)
			}
		}
		b.Submit(page, "phone-proof-submit", map[string]string{"phone-password": ada.Password}).Want(200, "account-title")
		list, err := idp.Store.SessionsOf(context.Background(), ada.ID)
		if err != nil || len(list) != 2 || list[0].ACR != "2" || list[1].ACR != "2" {
			t.Errorf("%+v %v", list, err)
		}
		// Whoever must have a factor, and came by phone, is not let add a number for it.
		b, page = byPhone(bobNumber)
		page.Want(403, "error-page")
		b.Get(idp.Issuer+"/mfa/enrol/sms").Want(403, "error-page")
		// And a session that rests on a number alone does not make it a factor.
		plain := idp.User(testidp.Person{Email: "eve@example.com", Phone: "+4915123456701"})
		b, page = byPhone("+4915123456701")
		page.Want(200, "account-title")
		b.Get(idp.Issuer+"/account/security/sms").Want(403, "error-page")
		if kinds, err := idp.Store.FactorKindsOf(context.Background(), plain.ID); err != nil || len(kinds) != 0 {
			t.Errorf("%v %v", kinds, err)
		}
	})
}

// TestSec_F10_SMSFactorBruteForce: tries at a number and at the other factors are counted together: ten an hour, whatever the kind, and five of a sign-in.
func TestSec_F10_SMSFactorBruteForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: withSMSFactors})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		addNumber(t, b, b.Get(idp.Issuer+"/account/security/sms"), adaNumber, func() string { return demoCode(t, idp) })
		looked := 0
		for range 4 {
			time.Sleep(time.Minute)
			b := idp.Browser()
			b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "mfa-sms-title")
			var p *testidp.Page
			for range 3 {
				p = b.Get(idp.Issuer + "/mfa/recovery")
				if p.Status != 200 {
					break
				}
				if got := b.Submit(p, "mfa-recovery-submit", map[string]string{"mfa-recovery-code": "aaaa-aaaa-aaaa-aaaa"}); got.Status == 422 {
					looked++
				}
			}
			p = b.Get(idp.Issuer + "/mfa/sms")
			if p.Status != 200 {
				continue
			}
			p = sendFirst(b, p)
			for range 4 {
				if got := enter(b, p, "000000"); got.Status == 422 {
					looked++
				} else if got.Status != 429 && got.Status != 400 {
					t.Errorf("%v", got)
				}
			}
		}
		if looked != 10 {
			t.Errorf("%d guesses were looked at", looked)
		}
	})
}

// sendFirst asks for a code to the first number of the page.
func sendFirst(b *testidp.Browser, p *testidp.Page) *testidp.Page {
	for n := range p.Want(200, "mfa-sms-title").Element("mfa-sms-title").Parent.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "id" && strings.HasPrefix(a.Val, "send-") {
				return b.Submit(p, a.Val, nil)
			}
		}
	}
	return p
}

// TestRace_SMSFactorCode: of eight who enter the right code of a second step at once, on two processes, one is signed in.
func TestRace_SMSFactorCode(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Config: withSMSFactors})
		other, _ := withSMS(t, testidp.Options{URL: idp.URL, Config: withSMSFactors})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		addNumber(t, b, b.Get(idp.Issuer+"/account/security/sms"), adaNumber, func() string { return codeIn(t, received(t, fake, adaNumber, 1).Body) })
		b = idp.Browser()
		page := sendFirst(b, b.SignIn(b.Get(idp.Issuer+"/login"), ada)).Want(200, "phone-code-title")
		form := page.Form("phone-code-form")
		form.Values.Set("code", codeIn(t, received(t, fake, adaNumber, 2).Body))
		in := sentTogether(t, []*testidp.IDP{idp, other}, b, page.URL.RequestURI(), form.Values.Encode(), "__Host-latchkey")
		list, err := idp.Store.SessionsOf(context.Background(), ada.ID)
		if err != nil || in != 1 || len(list) != 2 {
			t.Errorf("%d answers, %d sessions, %v", in, len(list), err)
		}
	})
}

// sentTogether sends one form eight times at once with the browser's cookies, to each server in turn, and says how many answers set a cookie.
func sentTogether(t *testing.T, to []*testidp.IDP, b *testidp.Browser, path, body, cookie string) (set int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range 8 {
		idp := to[n%len(to)]
		wg.Go(func() {
			req, err := http.NewRequest(http.MethodPost, idp.Issuer+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
			for _, name := range b.Cookies() {
				req.AddCookie(&http.Cookie{Name: name, Value: b.Cookie(name)})
			}
			res, ok := try(idp.HTTP(), req)
			if !ok {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range res.Header["Set-Cookie"] {
				if strings.HasPrefix(c, cookie+"=") && !strings.Contains(c, "Max-Age=0") {
					set++
				}
			}
			if res.Status >= 500 {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
	}
	wg.Wait()
	return set
}

// TestSec_F13_SMSFactorIsBound: a code belongs to the half-finished sign-in it was sent for, not to the next one in the same browser, nor to an enrolment; and
// one that was sent is worth nothing once its factor is gone.
func TestSec_F13_SMSFactorIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: withSMSFactors})
		ada := idp.User(testidp.Person{Email: "ada@example.com"})
		owner := idp.Browser()
		owner.SignIn(owner.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		addNumber(t, owner, owner.Get(idp.Issuer+"/account/security/sms"), adaNumber, func() string { return demoCode(t, idp) })
		b := idp.Browser()
		signIn := func() *testidp.Page {
			time.Sleep(time.Minute)
			return sendFirst(b, b.SignIn(b.Get(idp.Issuer+"/login"), ada)).Want(200, "phone-code-title")
		}
		first := signIn()
		code := demoCode(t, idp)
		second := signIn()
		if got := enter(b, first, code); got.Status != 400 {
			t.Errorf("the sign-in before: %v", got)
		}
		for _, path := range []string{"/login/phone/code", "/account/phone/code", "/account/security/sms/code", "/mfa/enrol/sms/code"} {
			if got := b.Get(idp.Issuer + path + "?" + second.URL.RawQuery); got.Has("phone-code") {
				t.Errorf("%s takes it", path)
			}
		}
		code = demoCode(t, idp)
		f, err := idp.Store.Factors(context.Background(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := idp.Store.RemoveFactor(context.Background(), ada.ID, f.List[0].ID, false); err != nil {
			t.Fatal(err)
		}
		if got := enter(b, second, code); got.Status != 400 {
			t.Errorf("a factor that is gone: %v", got)
		}
		b.Get(idp.Issuer+"/account").Want(200, "login-title")
	})
}
