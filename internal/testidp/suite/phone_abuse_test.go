package suite

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/notify/notifytest"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
)

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
		post := notifytest.Start(t, notifytest.Options{NoTLS: true, User: "latchkey", Password: "hunter2"})
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Config: func(c *config.Config) {
			c.Mail = config.Mail{Host: post.Host, Port: post.Port, TLS: config.MailNone, User: "latchkey", Password: config.NewSecret("hunter2"), From: "login@idp.example", Timeout: c.Mail.Timeout}
		}}, func(p *config.Phone) {
			p.Spend = config.PhoneSpend{Currency: "EUR", Price: "0.50", Prices: map[string]string{"DE": "0.25"}, PerDay: "1", AlarmPercent: 75, NewcomersPercent: 0}
		})
		idp.User(testidp.Person{Email: "root@example.com", Privileges: []string{"admin"}})
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
		// Two people were refused, and one message was beyond the alarm: the administrator hears of each event once.
		testidp.Within(t, waitLong, "two mails", func() bool { return len(post.Mails()) == 2 })
		told := map[string]int{}
		for _, m := range post.Mails() {
			if m.To != "root@example.com" || !strings.Contains(m.Text, "1 EUR") || strings.Contains(m.Text, "49151") {
				t.Errorf("%+v", m)
			}
			told[m.Subject]++
		}
		if told["Latchkey - Text messages cost much today"] != 1 || told["Latchkey - Text messages stopped"] != 1 {
			t.Errorf("%v", told)
		}
	})
}

// TestRace_TextAlarm: of eight processes that meet the day's end at once, one tells of it.
func TestRace_TextAlarm(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		spend := func(p *config.Phone) {
			p.Spend = config.PhoneSpend{Currency: "EUR", Price: "1", PerDay: "1", AlarmPercent: 100, NewcomersPercent: 0}
		}
		mail := func(c *config.Config) {
			c.Mail = config.Mail{Host: "127.0.0.1", Port: 1, TLS: config.MailNone, From: "login@idp.example", Timeout: c.Mail.Timeout}
		}
		idp, _ := withSMS(t, testidp.Options{Engine: engine, Config: mail}, spend)
		other, _ := withSMS(t, testidp.Options{URL: idp.URL, Config: mail}, spend)
		idp.User(testidp.Person{Email: "root@example.com", Privileges: []string{"admin"}})
		for i := range 9 {
			idp.User(testidp.Person{Email: fmt.Sprintf("p%d@example.com", i), Phone: fmt.Sprintf("+49151%d2345678", i)})
		}
		b := idp.Browser()
		dial(b, b.Get(idp.Issuer+"/login"), "+4915182345678").Want(200, "phone-code-title")
		var wg sync.WaitGroup
		for i := range 8 {
			at := []*testidp.IDP{idp, other}[i%2]
			b := at.Browser()
			page := b.Click(b.Get(at.Issuer+"/login"), "login-with-phone")
			wg.Go(func() {
				b.Submit(page, "phone-submit", map[string]string{"phone-number": fmt.Sprintf("+49151%d2345678", i)})
			})
		}
		wg.Wait()
		told := map[string]int{}
		for _, m := range idp.Outbox() {
			if m.Kind == store.KindMail {
				told[m.Recipient+" "+m.Subject]++
			}
		}
		if len(told) != 2 || told["root@example.com Latchkey - Text messages stopped"] != 1 || told["root@example.com Latchkey - Text messages cost much today"] != 1 {
			t.Errorf("%v", told)
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
