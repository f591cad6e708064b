package suite

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	adaNumber = "+4915123456789"
	bobNumber = "+4915123456780"
)

// phoneOn turns sign-in by phone on, with limits that no test meets by chance: they all come from one address.
func phoneOn(c *config.Config, change ...func(*config.Phone)) {
	p := &c.Login.Phone
	p.Enabled, p.Country, p.AllowedCountries = true, "DE", []string{"DE", "US"}
	p.Limits.AddressHour, p.Limits.PrefixDay, p.Limits.PrefixUnanswered = 10_000, 10_000, 1000
	for _, f := range change {
		f(p)
	}
}

// withPhone turns it on where nothing is sent: in the demonstration.
func withPhone(c *config.Config) {
	phoneOn(c)
	c.Twilio = []config.Twilio{{Name: "default", AccountSID: twiliotest.AccountSID, AuthToken: config.NewSecret(twiliotest.AuthToken), From: twiliotest.From, StatusNotices: true}}
}

// withSMS is a server that sends through a fake of Twilio.
func withSMS(t *testing.T, o testidp.Options, change ...func(*config.Phone)) (*testidp.IDP, *twiliotest.Server) {
	t.Helper()
	fake, err := twiliotest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	before := o.Config
	o.Config = func(c *config.Config) {
		phoneOn(c, change...)
		c.Twilio = []config.Twilio{{Name: "default", AccountSID: twiliotest.AccountSID, AuthToken: config.NewSecret(twiliotest.AuthToken), From: twiliotest.From,
			StatusNotices: true, BaseURL: fake.URL}}
		if before != nil {
			before(c)
		}
	}
	idp := testidp.Start(t, o)
	fake.Client = idp.HTTP()
	return idp, fake
}

var lastCode = regexp.MustCompile(`(?m)^@(\S+) #(\d{6,8})$`)

// received waits for the nth message to a number.
func received(t *testing.T, fake *twiliotest.Server, number string, nth int) twiliotest.Message {
	t.Helper()
	testidp.Within(t, waitLong, "a text message", func() bool { return len(fake.To(number)) >= nth })
	return fake.To(number)[nth-1]
}

func codeIn(t *testing.T, text string) string {
	t.Helper()
	m := lastCode.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no code in %q", text)
	}
	return m[2]
}

// dial gives a number on the sign-in page and asks for the code.
func dial(b *testidp.Browser, page *testidp.Page, number string) *testidp.Page {
	page = b.Click(page, "login-with-phone").Want(200, "phone-title")
	return b.Submit(page, "phone-submit", map[string]string{"phone-number": number})
}

func enter(b *testidp.Browser, page *testidp.Page, code string) *testidp.Page {
	return b.Submit(page, "phone-code-submit", map[string]string{"phone-code": code})
}

// TestStory_Phone: somebody new gets an account by a code, with a number and no address in its claims; the second time it is the same account.
func TestStory_Phone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.Registration, p.ResendAfter = "open", time.Second })
		rp := idp.RP(store.ClientMetadata{Name: "Wiki", FirstParty: true, Scope: "openid email phone"})
		b := idp.Browser()
		at := rp.Start("scope", "openid email phone")
		page := dial(b, b.Get(at.URL), "0151 2345 6789").Want(200, "phone-code-title")
		m := received(t, fake, adaNumber, 1)
		code := codeIn(t, m.Body)
		if m.From != twiliotest.From || m.User != twiliotest.AccountSID || m.ValidityPeriod < 100 || m.ValidityPeriod > 180 || templates.Segments(m.Body) != 1 ||
			!strings.HasSuffix(m.Body, "\n\n@localhost #"+code) || !strings.Contains(m.Body, "Latchkey") || !strings.Contains(m.Body, "3 minutes") {
			t.Errorf("%+v", m)
		}
		if strings.Contains(page.Body, code) || strings.Contains(page.URL.String(), "4915") {
			t.Error("the page or its address says too much")
		}
		before := b.Cookie("__Host-latchkey")
		tokens := rp.Finish(at, enter(b, page, code).URL)
		if _, who := rp.UserInfo(tokens.AccessToken); who["phone_number"] != adaNumber || who["phone_number_verified"] != true || who["email"] != nil {
			t.Errorf("%v", who)
		}
		if amr := stringList(tokens.Claims["amr"]); !slices.Equal(amr, []string{"sms"}) || tokens.Claims["acr"] != "1" {
			t.Errorf("amr %v acr %v", amr, tokens.Claims["acr"])
		}
		if now := b.Cookie("__Host-latchkey"); now == "" || now == before {
			t.Error("no new session")
		}
		// R47: used is used.
		if got := enter(idp.Browser(), page, code); got.Status < 400 {
			t.Errorf("used again: %v", got)
		}
		testidp.Within(t, waitLong, "the row", func() bool { return !idp.Outbox()[0].SentAt.IsZero() })
		if row := idp.Outbox()[0]; row.Text != "" || row.Kind != "sms" {
			t.Errorf("%+v", row)
		}

		again, other := rp.Start(), idp.Browser()
		time.Sleep(time.Until(m.At.Add(1100 * time.Millisecond)))
		page = dial(other, other.Get(again.URL), "+49 (151) 23456789").Want(200, "phone-code-title")
		code = codeIn(t, received(t, fake, adaNumber, 2).Body)
		page = enter(other, page, "000000").Want(422, "phone-code-title")
		if !strings.Contains(page.Body, "4 tries left") {
			t.Errorf("%s", page.Text("phone-code-error"))
		}
		if next := rp.Finish(again, enter(other, page, code).URL); next.IDToken.Subject != tokens.IDToken.Subject {
			t.Error("another account")
		}
	})
}

// mask takes out what differs between two answers to the same question.
func mask(body string) string {
	return regexp.MustCompile(`(form_token" value="|join=|flow=)[A-Za-z0-9_.-]+`).ReplaceAllString(body, "$1")
}

// TestSec_F8_PhoneEnumeration: known, unknown and disabled numbers get the same answers, and only who may come in gets a message.
func TestSec_F8_PhoneEnumeration(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine})
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		bob := idp.User(testidp.Person{Email: "bob@example.com", Phone: bobNumber})
		if err := idp.Store.DisableUser(context.Background(), "cli", bob.ID, "gone"); err != nil {
			t.Fatal(err)
		}
		kinds := []string{adaNumber, bobNumber, "+4915123456781"}
		var pages [3][3]string
		var headers [3]string
		for i, number := range kinds {
			b := idp.Browser()
			page := dial(b, b.Get(idp.Issuer+"/login"), number).Want(200, "phone-code-title")
			shown := regexp.MustCompile(`49 1512 345678\d`)
			clean := func(p *testidp.Page) string { return shown.ReplaceAllString(mask(p.Body), "N") }
			pages[i][0] = clean(page)
			headers[i] = fmt.Sprint(len(b.Log), b.Last().Status)
			pages[i][1] = clean(enter(b, page, "000000").Want(422, "phone-code-title"))
			pages[i][2] = clean(b.Submit(page, "phone-resend", nil).Want(429, "phone-code-title"))
			pages[i][2] = regexp.MustCompile(`in \d+ second`).ReplaceAllString(pages[i][2], "in N second")
		}
		for i := range kinds[1:] {
			for k := range pages[0] {
				if pages[i+1][k] != pages[0][k] {
					t.Errorf("%s, page %d differs:\n%s\n---\n%s", kinds[i+1], k, pages[i+1][k], pages[0][k])
				}
			}
			if headers[i+1] != headers[0] {
				t.Errorf("%s: %s, want %s", kinds[i+1], headers[i+1], headers[0])
			}
		}
		received(t, fake, adaNumber, 1)
		time.Sleep(200 * time.Millisecond)
		if n := len(fake.Messages()); n != 1 {
			t.Errorf("%d messages", n)
		}
		if users, err := idp.Store.Users(context.Background(), "", 10); err != nil || len(users) != 2 {
			t.Errorf("%d accounts, %v", len(users), err) // F17: nobody was made
		}
	})
}

// TestSec_F8_PhoneSameStatements: known, unknown and disabled numbers cost the database the same, so that the time says nothing either.
func TestSec_F8_PhoneSameStatements(t *testing.T) {
	for _, registration := range []string{"invite", "open"} {
		synctest.Test(t, func(t *testing.T) {
			idp := testidp.StartBubble(t, testidp.Options{Demo: true, Config: func(c *config.Config) { phoneOn(c, func(p *config.Phone) { p.Registration = registration }) }})
			idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
			bob := idp.User(testidp.Person{Email: "bob@example.com", Phone: bobNumber})
			if err := idp.Store.DisableUser(context.Background(), "cli", bob.ID, "gone"); err != nil {
				t.Fatal(err)
			}
			var costs []string
			for _, number := range []string{"+4915123456782", adaNumber, bobNumber, "+4915123456781"} { // the first one fills the caches
				b := idp.Browser()
				page := b.Get(idp.Issuer + "/login/phone")
				before := idp.Store.Counts()
				page = b.Submit(page, "phone-submit", map[string]string{"phone-number": number}).Want(200, "phone-code-title")
				asked := idp.Store.Counts()
				enter(b, page, "000000").Want(422, "phone-code-title")
				tried := idp.Store.Counts()
				time.Sleep(time.Minute)
				b.Submit(page, "phone-resend", nil).Want(200, "phone-code-title")
				again := idp.Store.Counts()
				minus := func(a, z store.Counts) string {
					return fmt.Sprint(a.Reads-z.Reads, " ", a.Writes-z.Writes, " ", a.Transactions-z.Transactions, "; ")
				}
				costs = append(costs, minus(asked, before)+minus(tried, asked)+minus(again, tried))
			}
			for _, c := range costs[2:] {
				if c != costs[1] {
					t.Errorf("%s: reads, writes and transactions: %q", registration, costs)
				}
			}
		})
	}
}

// TestPhone_Numbers: what is wrong with a number is said, and depends on nothing else.
func TestPhone_Numbers(t *testing.T) {
	t.Parallel()
	idp, fake := withSMS(t, testidp.Options{})
	b := idp.Browser()
	page := b.Click(b.Get(idp.Issuer+"/login"), "login-with-phone").Want(200, "phone-title")
	for number, want := range map[string]string{
		"": "with all its digits", "123": "with all its digits", "0151 2345 6789 ext 1": "with all its digits", "whatsapp:" + adaNumber: "with all its digits",
		"+49 30 901820": "receive text messages", "+1 900 234 5678": "receive text messages", "+33 6 12 34 56 78": "numbers in this country",
	} {
		got := b.Submit(page, "phone-submit", map[string]string{"phone-number": number}).Want(422, "error-summary")
		if !strings.Contains(got.Body, want) || strings.Contains(got.Body, "phone:") {
			t.Errorf("%q: %s", number, got.Text("error-summary"))
		}
	}
	// R44: the country is the one that was chosen.
	b.Submit(page, "phone-submit", map[string]string{"phone-country": "US", "phone-number": "202-943-0949"}).Want(200, "phone-code-title")
	if n := len(fake.Messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestSec_F13_PhoneCodeIsBound: a code works in the browser and flow that asked for it, and nowhere else; after a new one, the one before works for
// a minute, and tries do not begin anew.
func TestSec_F13_PhoneCodeIsBound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.ResendAfter = time.Millisecond })
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		a, eve := idp.Browser(), idp.Browser()
		mine := dial(a, a.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		first := codeIn(t, received(t, fake, adaNumber, 1).Body)
		theirs := dial(eve, eve.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		second := codeIn(t, received(t, fake, adaNumber, 2).Body)
		enter(eve, theirs, first).Want(422, "phone-code-title")
		// The same page in another browser is a page of nobody.
		if got := eve.Get(mine.URL.String()); got.Status != http.StatusBadRequest || got.Has("phone-code") {
			t.Errorf("another browser sees the page: %v", got)
		}
		for range 2 {
			enter(a, mine, second).Want(422, "phone-code-title")
		}
		mine = a.Submit(mine, "phone-resend", nil).Want(200, "phone-code-title")
		received(t, fake, adaNumber, 3)
		if got := enter(a, mine, "000000").Want(422, "phone-code-title"); !strings.Contains(got.Body, "2 tries left") {
			t.Errorf("tries began anew: %s", got.Text("phone-code-error"))
		}
		enter(a, mine, first).Want(200, "account-title") // it came late
		a.Get(mine.URL.String()).Want(400, "error-page")
	})
}

// TestSec_F10_PhoneBruteForce: of a thousand guesses over several codes of a number at most ten are looked at.
func TestSec_F10_PhoneBruteForce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.ResendAfter = time.Millisecond })
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		var mu sync.Mutex
		looked := 0
		var wg sync.WaitGroup
		for n := range 3 { // number_hour
			b := idp.Browser()
			page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
			received(t, fake, adaNumber, n+1)
			form := page.Form("phone-code-form")
			form.Values.Set("code", "000000")
			cookies := []*http.Cookie{{Name: "__Host-latchkey-flow", Value: b.Cookie("__Host-latchkey-flow")}}
			for range 4 {
				wg.Go(func() {
					for range 84 {
						req, err := http.NewRequest(http.MethodPost, page.URL.String(), strings.NewReader(form.Values.Encode()))
						if err != nil {
							t.Error(err)
							return
						}
						req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
						for _, c := range cookies {
							req.AddCookie(c)
						}
						res, ok := try(idp.HTTP(), req)
						if !ok {
							continue
						}
						mu.Lock()
						if strings.Contains(res.Body, "newest message") || res.Status < 400 {
							looked++
						}
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		if looked == 0 || looked > 10 {
			t.Errorf("%d guesses were looked at", looked)
		}
		// R45: the fourth message in the hour is refused.
		b := idp.Browser()
		if got := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(429, "error-summary"); !strings.Contains(got.Body, "Too many messages") || b.Last().Header.Get("Retry-After") == "" {
			t.Errorf("%s", got.Text("error-summary"))
		}
	})
}

// TestRace_PhoneCodeOnTwoProcesses: of eight who enter the right code at once, on two processes, one is signed in.
func TestRace_PhoneCodeOnTwoProcesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine})
		other, _ := withSMS(t, testidp.Options{URL: idp.URL})
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		b := idp.Browser()
		page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		code := codeIn(t, received(t, fake, adaNumber, 1).Body)
		form := page.Form("phone-code-form")
		form.Values.Set("code", code)
		var mu sync.Mutex
		in := 0
		var wg sync.WaitGroup
		for n := range 8 {
			to := []*testidp.IDP{idp, other}[n%2]
			wg.Go(func() {
				req, err := http.NewRequest(http.MethodPost, to.Issuer+page.URL.RequestURI(), strings.NewReader(form.Values.Encode()))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {to.Issuer}}
				req.AddCookie(&http.Cookie{Name: "__Host-latchkey-flow", Value: b.Cookie("__Host-latchkey-flow")})
				res, ok := try(to.HTTP(), req)
				if !ok {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for _, c := range res.Header["Set-Cookie"] {
					if strings.HasPrefix(c, "__Host-latchkey=") && !strings.Contains(c, "Max-Age=0") {
						in++
					}
				}
				if res.Status >= 500 {
					t.Errorf("%d %s", res.Status, res.Body)
				}
			})
		}
		wg.Wait()
		if in != 1 {
			t.Errorf("%d sessions from one code", in)
		}
		list, err := idp.Store.SessionsOf(context.Background(), mustUser(t, idp, adaNumber).ID)
		if err != nil || len(list) != 1 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
	})
}

func mustUser(t *testing.T, idp *testidp.IDP, number string) *store.User {
	t.Helper()
	u, err := idp.Store.UserByPhone(context.Background(), number)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// demoCode is the newest code in the outbox of a demonstration, which sends nothing.
func demoCode(t *testing.T, idp *testidp.IDP) string {
	t.Helper()
	for _, m := range idp.Outbox() {
		if m.Kind == "sms" && lastCode.MatchString(m.Text) {
			return codeIn(t, m.Text)
		}
	}
	t.Fatal("no code in the outbox")
	return ""
}

// TestPhoneInChromium: the pages in a real browser, with and without scripts.
func TestPhoneInChromium(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp, fake := withSMS(t, testidp.Options{Plain: true}, func(p *config.Phone) { p.Registration = "open" })
			ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber, Privileges: []string{"admin"}})
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			c.open(idp.Issuer+"/login", "login-title")
			look("phone-login")
			c.click("login-with-phone", "phone-title")
			look("phone")
			c.fill("phone-number", "12")
			c.click("phone-submit", "error-summary")
			look("phone-wrong")
			c.fill("phone-number", adaNumber)
			c.click("phone-submit", "phone-code-title")
			look("phone-code")
			c.fill("phone-code", "12")
			c.click("phone-code-submit", "error-summary")
			look("phone-code-wrong")
			c.fill("phone-code", codeIn(t, received(t, fake, adaNumber, 1).Body))
			c.click("phone-code-submit", "phone-proof-title")
			look("phone-proof")
			c.fill("phone-password", ada.Password)
			c.click("phone-proof-submit", "account-title")
			look("phone-account")
			c.open(idp.Issuer+"/account/phone", "phone-current")
			look("account-phone")
		})
	}
}
