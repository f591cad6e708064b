package suite

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
)

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

// TestSec_R46_NothingInTheLog: neither codes nor numbers, whatever goes wrong and at the loudest level.
func TestSec_R46_NothingInTheLog(t *testing.T) {
	t.Parallel()
	kept := new(syncBuffer)
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
