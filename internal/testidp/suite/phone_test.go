package suite

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
	"github.com/latchkey-idp/latchkey/login/throttle"
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

// TestSec_F11_SMSPump: five thousand hostile requests over a thousand adjacent numbers and all over the country cost what the budget allows, and an
// honest person is served meanwhile, and afterwards by the part that newcomers cannot use up.
func TestSec_F11_SMSPump(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Config: func(c *config.Config) {
			c.Log.Level = "warn"
		}}, func(p *config.Phone) {
			p.Registration = "open"
			p.Limits = config.PhoneLimits{NumberHour: 3, NumberDay: 10, PrefixDay: 50, PrefixUnanswered: 10, AddressHour: 10_000, ClientHour: 100_000, CountryDay: 1000}
			p.Spend = config.PhoneSpend{Currency: "EUR", Price: "0.10", PerDay: "4", AlarmPercent: 80, NewcomersPercent: 50} // forty messages, twenty for newcomers
		})
		ada := idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		b := idp.Browser()
		page := b.Click(b.Get(idp.Issuer+"/login"), "login-with-phone").Want(200, "phone-title")
		form := page.Form("phone-form")
		hostile := func(number string) testidp.Response {
			values := url.Values{}
			for k, v := range form.Values {
				values[k] = v
			}
			values.Set("number", number)
			values.Set("country", "DE")
			req, err := http.NewRequest(http.MethodPost, idp.Issuer+"/login/phone", strings.NewReader(values.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
			req.AddCookie(&http.Cookie{Name: "__Host-latchkey-flow", Value: b.Cookie("__Host-latchkey-flow")})
			res, _ := try(idp.HTTP(), req)
			return res
		}
		attack := func(n int, number func(i int) string) {
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := w; i < n; i += 4 {
						if res := hostile(number(i)); res.Status != http.StatusSeeOther && res.Status != http.StatusTooManyRequests &&
							res.Status != http.StatusServiceUnavailable { // which is the attacker's to bear
							t.Errorf("%d", res.Status)
						}
					}
				})
			}
			wg.Wait()
		}
		carol := idp.User(testidp.Person{Email: "carol@example.com", Phone: "+4916012349999"})
		attack(4000, func(i int) string { return fmt.Sprintf("+491601234%04d", i%1000) })
		time.Sleep(300 * time.Millisecond)
		if n := len(fake.Messages()); n > 10 {
			t.Errorf("%d messages to numbers side by side, want at most 10", n)
		}
		attack(1000, func(i int) string { return fmt.Sprintf("+49170%03d%04d", i, (i*7919)%10000) })
		time.Sleep(500 * time.Millisecond)
		if n := len(fake.Messages()); n > 20 {
			t.Errorf("%d messages to strangers, want at most the newcomers' 20", n)
		}
		for _, who := range []testidp.Person{ada, carol} { // one far from the attack, one in its midst
			honest := idp.Browser()
			page = dial(honest, honest.Get(idp.Issuer+"/login"), who.Phone).Want(200, "phone-code-title")
			enter(honest, page, codeIn(t, received(t, fake, who.Phone, 1).Body)).Want(200, "account-title")
		}
		spent, err := idp.Store.Budgets(context.Background(), throttle.KeyDay)
		if err != nil || len(spent) != 1 || spent[0].Spent > 2_200_000 || spent[0].Spent != int64(len(fake.Messages()))*100_000 {
			t.Errorf("%+v %v, %d messages", spent, err, len(fake.Messages()))
		}
	})
}

// TestSec_F6_PhoneOwnerKeepsTheirLane: whoever asks for somebody's number elsewhere does not keep them from a code, in a browser that knows it.
func TestSec_F6_PhoneOwnerKeepsTheirLane(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.ResendAfter = time.Millisecond })
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		ada := idp.Browser()
		page := dial(ada, ada.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		enter(ada, page, codeIn(t, received(t, fake, adaNumber, 1).Body)).Want(200, "account-title")
		ada.Submit(ada.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
		eve := idp.Browser()
		for range 2 {
			dial(eve, eve.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		}
		dial(eve, eve.Get(idp.Issuer+"/login"), adaNumber).Want(429, "error-summary")
		page = dial(ada, ada.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		enter(ada, page, codeIn(t, received(t, fake, adaNumber, 4).Body)).Want(200, "account-title")
	})
}

// TestSec_F11_HardStop: beyond the day's sum nothing is sent, the alarm comes before, and other ways in are untouched.
func TestSec_F11_HardStop(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) {
			p.Spend = config.PhoneSpend{Currency: "EUR", Price: "0.50", Prices: map[string]string{"DE": "0.25"}, PerDay: "1", AlarmPercent: 75, NewcomersPercent: 0}
		})
		var people []testidp.Person
		for i := range 6 {
			people = append(people, idp.User(testidp.Person{Email: fmt.Sprintf("p%d@example.com", i), Phone: fmt.Sprintf("+49151%d2345678", i)}))
		}
		for i, p := range people {
			b := idp.Browser()
			page := dial(b, b.Get(idp.Issuer+"/login"), p.Phone)
			if i < 4 {
				page.Want(200, "phone-code-title")
				received(t, fake, p.Phone, 1)
			} else if page.Want(429, "error-summary"); !strings.Contains(page.Body, "can’t be sent right now") {
				t.Errorf("%s", page.Text("error-summary"))
			}
		}
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), people[5]).Want(200, "account-title")
		if n := len(fake.Messages()); n != 4 {
			t.Errorf("%d messages, want 4", n)
		}
		if _, text := idp.Management("/metrics"); !strings.Contains(text, "latchkey_sms_spent 1\n") || !strings.Contains(text, `latchkey_sms_total{result="accepted"} 4`) {
			t.Errorf("%s", between(text, "latchkey_sms", "\n\n"))
		}
	})
}

// TestSec_F11_Switch: an operator stops messages for all processes at once, also those that wait.
func TestSec_F11_Switch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.ResendAfter = time.Millisecond })
		ctx := context.Background()
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		down := true
		fake.Fail(func(string, int) *twiliotest.Fault {
			if down {
				return &twiliotest.Fault{Status: 503}
			}
			return nil
		})
		b := idp.Browser()
		dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		testidp.Within(t, waitLong, "a failed try", func() bool { return fake.Calls() > 0 })
		if err := idp.Store.SetSwitch(ctx, "cli", store.SwitchSMS, false, "an attack"); err != nil {
			t.Fatal(err)
		}
		if got := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(429, "error-summary"); !strings.Contains(got.Body, "can’t be sent right now") {
			t.Errorf("%s", got.Text("error-summary"))
		}
		testidp.Within(t, waitLong, "what waits to be given up", func() bool { return !idp.Outbox()[0].FailedAt.IsZero() })
		if err := idp.Store.SetSwitch(ctx, "cli", store.SwitchSMS, true, ""); err != nil {
			t.Fatal(err)
		}
		idp = idp.Restart(nil) // and a restart changes nothing
		down = false
		b = idp.Browser()
		dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		received(t, fake, adaNumber, 1)
		if n := len(fake.Messages()); n != 1 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestSec_J9_TwilioTrouble: what may have gone out is not sent again, what did not is, and nothing goes out after its time.
func TestSec_J9_TwilioTrouble(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.Registration, p.ResendAfter = "open", time.Millisecond })
		ask := func(number string) (*testidp.Browser, *testidp.Page) {
			b := idp.Browser()
			return b, dial(b, b.Get(idp.Issuer+"/login"), number).Want(200, "phone-code-title")
		}
		fake.Fail(func(string, int) *twiliotest.Fault { return &twiliotest.Fault{Hang: true} })
		first, at := ask(adaNumber)
		testidp.Within(t, waitLong, "the end of the message", func() bool { return !idp.Outbox()[0].FailedAt.IsZero() })
		if got := first.Get(at.URL.String()); !strings.Contains(got.Text("phone-code-notice"), "right now") {
			t.Errorf("%q", got.Text("phone-code-notice"))
		}
		tries := 0
		fake.Fail(func(to string, _ int) *twiliotest.Fault {
			if tries++; tries == 1 {
				return &twiliotest.Fault{Status: 429, Code: 20429, RetryAfter: 1}
			}
			return nil
		})
		b, page := ask(bobNumber)
		enter(b, page, codeIn(t, received(t, fake, bobNumber, 1).Body)).Want(200, "account-title")
		if len(fake.To(adaNumber)) != 1 || len(fake.To(bobNumber)) != 1 {
			t.Errorf("%d and %d messages", len(fake.To(adaNumber)), len(fake.To(bobNumber)))
		}
		// Twilio's reasons are told where everybody gets a message, and no log has the code or the number.
		fake.Fail(func(string, int) *twiliotest.Fault { return &twiliotest.Fault{Status: 400, Code: 21610} })
		b, page = ask("+4915123456782")
		testidp.Within(t, waitLong, "the refusal", func() bool { return !idp.Outbox()[0].FailedAt.IsZero() })
		if m := idp.Outbox()[0]; m.ErrorCode != 21610 || m.Text != "" {
			t.Errorf("%+v", m)
		}
		if got := b.Get(page.URL.String()); !strings.Contains(got.Text("phone-code-notice"), "START") {
			t.Errorf("%q", got.Text("phone-code-notice"))
		}
	})
}

// sink keeps a log.
type sink struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestSec_R46_NothingInTheLog: neither codes nor numbers, whatever goes wrong and at the loudest level.
func TestSec_R46_NothingInTheLog(t *testing.T) {
	t.Parallel()
	kept := new(sink)
	idp, fake := withSMS(t, testidp.Options{Server: server.Options{Logger: slog.New(slog.NewTextHandler(kept, &slog.HandlerOptions{Level: slog.LevelDebug}))}},
		func(p *config.Phone) {
			p.Registration, p.ResendAfter, p.Spend.PerDay, p.Spend.AlarmPercent, p.Spend.NewcomersPercent = "open", time.Millisecond, "1", 10, 100
		})
	var codes []string
	for i, fault := range []*twiliotest.Fault{nil, {Status: 400, Code: 21211}, {Status: 503}, {Hang: true}, {Status: 401, Code: 20003}} {
		fake.Fail(func(string, int) *twiliotest.Fault { return fault })
		number := fmt.Sprintf("+49151%d3456789", i)
		b := idp.Browser()
		page := dial(b, b.Get(idp.Issuer+"/login"), number).Want(200, "phone-code-title")
		enter(b, page, "987654").Want(422, "phone-code-title")
		if fault == nil {
			code := codeIn(t, received(t, fake, number, 1).Body)
			codes = append(codes, code)
			enter(b, page, code).Want(200, "account-title")
			continue
		}
		testidp.Within(t, waitLong, "its end", func() bool { m := idp.Outbox()[0]; return !m.FailedAt.IsZero() || m.LastError != "" })
	}
	text := kept.String()
	for _, word := range append(codes, "+49151", "49151", "987654", twiliotest.AuthToken, "code by") {
		if strings.Contains(text, word) {
			t.Errorf("the log has %s: %s", word, regexp.MustCompile(`.*`+regexp.QuoteMeta(word)+`.*`).FindString(text))
		}
	}
	for _, word := range []string{"only the operator can repair", "nearly used up", "message given up"} {
		if !strings.Contains(text, word) {
			t.Errorf("the log lacks: %s", word)
		}
	}
}

// TestSec_R51_StatusNotices: what Twilio signs is believed once, and nothing else.
func TestSec_R51_StatusNotices(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine}, func(p *config.Phone) { p.Registration = "open" })
		b := idp.Browser()
		page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		m := received(t, fake, adaNumber, 1)
		notify := func(status string, code int, token string, want int) {
			t.Helper()
			if got, err := fake.Notify(m, status, code, token); err != nil || got != want {
				t.Errorf("%s: %d %v, want %d", status, got, err, want)
			}
		}
		notify("delivered", 0, "not the token", 400)
		notify("sent", 0, twiliotest.AuthToken, 204)
		if got := idp.Outbox()[0].Status; got != "" {
			t.Errorf("%q", got)
		}
		notify("undelivered", 30006, twiliotest.AuthToken, 204)
		notify("delivered", 0, twiliotest.AuthToken, 204) // too late: the first word stays
		if got := idp.Outbox()[0]; got.Status != "undelivered" || got.ErrorCode != 30006 {
			t.Errorf("%+v", got)
		}
		if got := b.Get(page.URL.String()); !strings.Contains(got.Text("phone-code-notice"), "can’t receive") {
			t.Errorf("%q", got.Text("phone-code-notice"))
		}
		if _, text := idp.Management("/metrics"); !strings.Contains(text, `latchkey_sms_total{result="undelivered"} 1`) {
			t.Error("not counted")
		}
	})
}

// TestStory_PhoneVerify: with a Verify service the code is Twilio's; known and unknown numbers still look alike.
func TestStory_PhoneVerify(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Config: func(c *config.Config) {
			c.Twilio[0].From, c.Twilio[0].VerifyServiceSID, c.Twilio[0].StatusNotices = "", twiliotest.VerifySID, false
		}}, func(p *config.Phone) { p.ResendAfter = time.Millisecond })
		idp.User(testidp.Person{Email: "ada@example.com", Phone: adaNumber})
		b := idp.Browser()
		page := dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		m := received(t, fake, adaNumber, 1)
		if m.Locale != "en" || m.Code == "" {
			t.Errorf("%+v", m)
		}
		page = enter(b, page, "000000").Want(422, "phone-code-title")
		stranger := idp.Browser()
		other := dial(stranger, stranger.Get(idp.Issuer+"/login"), bobNumber).Want(200, "phone-code-title")
		other = enter(stranger, other, "000000").Want(422, "phone-code-title")
		if a, z := page.Text("phone-code-error"), other.Text("phone-code-error"); a != z {
			t.Errorf("%q and %q", a, z)
		}
		if len(fake.To(bobNumber)) != 0 {
			t.Error("a message to nobody")
		}
		enter(b, page, m.Code).Want(200, "account-title")
		// Twilio's own end of a code.
		b = idp.Browser()
		page = dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title")
		m = received(t, fake, adaNumber, 2)
		fake.ExpireVerifications()
		if got := enter(b, page, m.Code).Want(422, "phone-code-title"); !strings.Contains(got.Body, "any more") {
			t.Errorf("%s", got.Text("phone-code-error"))
		}
	})
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
