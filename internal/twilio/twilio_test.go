package twilio_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/twilio"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
)

const to = "+4915123456789"

// both are a fake and a client of it.
func both(t *testing.T, change ...func(*twilio.Account)) (*twiliotest.Server, *twilio.Client) {
	t.Helper()
	fake, err := twiliotest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	a := twilio.Account{Name: "default", SID: twiliotest.AccountSID, AuthToken: twiliotest.AuthToken, From: twiliotest.From, BaseURL: fake.URL}
	for _, f := range change {
		f(&a)
	}
	c, err := twilio.New(twilio.Config{Accounts: []twilio.Account{a}, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return fake, c
}

func message() twilio.SMS {
	return twilio.SMS{ID: "m1", To: to, Country: "DE", Body: "Your code is 123456", ValidFor: 3 * time.Minute}
}

func TestSend(t *testing.T) {
	t.Setenv("TWILIO_EDGE", "ashburn") // nothing comes from the environment
	t.Setenv("TWILIO_REGION", "us1")
	for name, c := range map[string]struct {
		change          func(*twilio.Account)
		host, user      string
		from, service   string
		callback, refus string
	}{
		"token":   {func(*twilio.Account) {}, "api.twilio.com", twiliotest.AccountSID, twiliotest.From, "", "", ""},
		"key":     {func(a *twilio.Account) { a.KeySID, a.KeySecret = twiliotest.KeySID, twiliotest.KeySecret }, "api.twilio.com", twiliotest.KeySID, twiliotest.From, "", "", ""},
		"service": {func(a *twilio.Account) { a.From, a.MessagingService = "", twiliotest.ServiceSID }, "api.twilio.com", twiliotest.AccountSID, "", twiliotest.ServiceSID, "", ""},
		"edge":    {func(a *twilio.Account) { a.Edge, a.Region = "dublin", "ie1" }, "api.dublin.ie1.twilio.com", twiliotest.AccountSID, twiliotest.From, "", "", ""},
		"notices": {func(a *twilio.Account) { a.StatusURL = "https://idp.example/hooks/twilio/status" }, "api.twilio.com", twiliotest.AccountSID, twiliotest.From, "", "https://idp.example/hooks/twilio/status?message=m1", ""},
	} {
		fake, client := both(t, c.change)
		if err := client.Send(t.Context(), message()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m := fake.Messages()[0]
		if m.Host != c.host || m.User != c.user || m.From != c.from || m.Service != c.service || m.To != to || m.Body != message().Body || m.ValidityPeriod != 180 || m.StatusCallback != c.callback {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// TestSend_Failures: what is tried again, what never is, and what nobody knows. No error's text holds the number or the body.
func TestSend_Failures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault    twiliotest.Fault
		fate     twilio.Fate
		code     int
		after    time.Duration
		operator bool
	}{
		"bad number":     {twiliotest.Fault{Status: 400, Code: 21211}, twilio.Refused, 21211, 0, false},
		"landline":       {twiliotest.Fault{Status: 400, Code: 21614}, twilio.Refused, 21614, 0, false},
		"stopped":        {twiliotest.Fault{Status: 400, Code: 21610}, twilio.Refused, 21610, 0, false},
		"country":        {twiliotest.Fault{Status: 403, Code: 60605}, twilio.Refused, 60605, 0, false},
		"trial":          {twiliotest.Fault{Status: 400, Code: 21608}, twilio.Refused, 21608, 0, true},
		"no route":       {twiliotest.Fault{Status: 400, Code: 21612}, twilio.Refused, 21612, 0, true},
		"too many":       {twiliotest.Fault{Status: 429, Code: 20429, RetryAfter: 7}, twilio.NotSent, 20429, 7 * time.Second, false},
		"too many sends": {twiliotest.Fault{Status: 429, Code: 60203}, twilio.Refused, 60203, time.Second, false},
		"too many, HTML": {twiliotest.Fault{Status: 429}, twilio.NotSent, 0, time.Second, false},
		"down":           {twiliotest.Fault{Status: 503}, twilio.NotSent, 0, 0, false},
		"trouble":        {twiliotest.Fault{Status: 500, Code: 20500}, twilio.Unclear, 20500, 0, false},
		"bad gateway":    {twiliotest.Fault{Status: 502}, twilio.Unclear, 0, 0, false},
		"cut off":        {twiliotest.Fault{Hang: true}, twilio.Unclear, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake, client := both(t)
			fake.Fail(func(string, int) *twiliotest.Fault { return &c.fault })
			var e *twilio.Error
			if err := client.Send(t.Context(), message()); !errors.As(err, &e) || e.Fate != c.fate || e.Code != c.code || e.After != c.after || e.Operator() != c.operator {
				t.Fatalf("%#v", err)
			}
			if strings.Contains(e.Error(), "123456") || strings.Contains(e.Error(), "4915") {
				t.Errorf("says too much: %v", e)
			}
			if n := fake.Calls(); n != 1 {
				t.Errorf("%d calls for one message", n)
			}
		})
	}
}

func TestSend_NotReached(t *testing.T) {
	t.Parallel()
	fake, client := both(t)
	fake.Close()
	var e *twilio.Error
	err := client.Send(t.Context(), message())
	for range 20 { // somebody else may have got the port meanwhile, and hangs up
		if errors.As(err, &e) && e.Fate == twilio.NotSent {
			break
		}
		time.Sleep(100 * time.Millisecond)
		err = client.Send(t.Context(), message())
	}
	if !errors.As(err, &e) || e.Fate != twilio.NotSent {
		t.Errorf("a closed port: %#v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Send(ctx, message()); !errors.As(err, &e) || e.Fate != twilio.NotSent {
		t.Errorf("over before it began: %#v", err)
	}
	_, wrong := both(t, func(a *twilio.Account) { a.AuthToken = strings.Repeat("x", 32) })
	if err := wrong.Send(t.Context(), message()); !errors.As(err, &e) || e.Code != 20003 || e.Fate != twilio.Refused || !e.Operator() {
		t.Errorf("a wrong token: %#v", err)
	}
	_, strange := both(t, func(a *twilio.Account) { a.AuthToken = "not alphanumeric!" })
	if err := strange.Send(t.Context(), message()); !errors.As(err, &e) || e.Fate != twilio.Refused || !e.Operator() {
		t.Errorf("a token twilio-go refuses: %#v", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	fake, client := both(t, func(a *twilio.Account) {
		a.From, a.VerifyService, a.Edge, a.Region = "", twiliotest.VerifySID, "sydney", "au1"
	})
	if ok, v := client.Serves("DE"); !ok || !v {
		t.Fatal("no Verify")
	}
	check := func(code string, right bool, want error) {
		t.Helper()
		got, err := client.CheckVerify(t.Context(), to, "DE", code)
		if got != right || !errors.Is(err, want) {
			t.Errorf("%s: %v %v", code, got, err)
		}
	}
	var none *twilio.Error
	if err := client.Send(t.Context(), message()); !errors.As(err, &none) || none.Fate != twilio.Refused {
		t.Errorf("a text without a sender: %v", err)
	}
	check("123456", false, twilio.ErrGone)
	start := func() string {
		t.Helper()
		if err := client.StartVerify(t.Context(), to, "DE", "de"); err != nil {
			t.Fatal(err)
		}
		list := fake.To(to)
		m := list[len(list)-1]
		if m.Host != "verify.sydney.au1.twilio.com" || m.Locale != "de" {
			t.Errorf("%+v", m)
		}
		return m.Code
	}
	code := start()
	check("wrong1", false, nil)
	check(code, true, nil)
	check(code, false, twilio.ErrGone)
	start()
	for range 5 {
		check("wrong1", false, nil)
	}
	check("wrong1", false, twilio.ErrTries)
	for range 4 {
		start()
	}
	var e *twilio.Error
	if err := client.StartVerify(t.Context(), to, "DE", "de"); !errors.As(err, &e) || e.Code != 60203 || e.Fate != twilio.Refused || e.After != 10*time.Minute {
		t.Errorf("a sixth: %#v", err)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	fake, _ := both(t)
	account := func(name string, countries ...string) twilio.Account {
		return twilio.Account{Name: name, SID: twiliotest.AccountSID, AuthToken: twiliotest.AuthToken, From: twiliotest.From, BaseURL: fake.URL, Edge: name, Countries: countries}
	}
	http := &http.Client{Transport: &http.Transport{}}
	c, err := twilio.New(twilio.Config{HTTP: http, Accounts: []twilio.Account{account("other"), account("us", "US", "CA"), account("default")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []struct{ country, host string }{{"US", "api.us.us1.twilio.com"}, {"CA", "api.us.us1.twilio.com"}, {"DE", "api.default.us1.twilio.com"}} {
		m := message()
		m.Country = n.country
		if err := c.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if list := fake.Messages(); list[len(list)-1].Host != n.host {
			t.Errorf("%s: %s", n.country, list[len(list)-1].Host)
		}
	}
	if c, err = twilio.New(twilio.Config{HTTP: http, Accounts: []twilio.Account{account("us", "US")}}); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Serves("DE"); ok {
		t.Error("an account of another country serves")
	}
	var e *twilio.Error
	if err := c.Send(t.Context(), message()); !errors.As(err, &e) || e.Fate != twilio.Refused {
		t.Errorf("%v", err)
	}
}

// TestSec_R51_StatusSignature: only what Twilio signed, for the address it was given, counts.
func TestSec_R51_StatusSignature(t *testing.T) {
	t.Parallel()
	const at = "https://idp.example/hooks/twilio/status?message=m1"
	_, c := both(t, func(a *twilio.Account) { a.StatusURL = "https://idp.example/hooks/twilio/status" })
	form := func() url.Values {
		return url.Values{"AccountSid": {twiliotest.AccountSID}, "MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "NewOne": {"x"}}
	}
	good := twiliotest.Sign(at, form(), twiliotest.AuthToken)
	if !c.Notice(at, form(), good) {
		t.Error("Twilio's own is refused")
	}
	twice, changed, other := form(), form(), form()
	twice.Add("MessageStatus", "failed")
	changed.Set("MessageStatus", "failed")
	other.Set("AccountSid", strings.Replace(twiliotest.AccountSID, "0", "1", 1))
	for name, n := range map[string]struct {
		at   string
		form url.Values
		sig  string
	}{
		"none": {at, form(), ""}, "rubbish": {at, form(), "rubbish"}, "another token": {at, form(), twiliotest.Sign(at, form(), "other")},
		"another address": {strings.Replace(at, "m1", "m2", 1), form(), good}, "changed": {at, changed, good}, "twice": {at, twice, good},
		"another account": {at, other, twiliotest.Sign(at, other, twiliotest.AuthToken)}, "key secret": {at, form(), twiliotest.Sign(at, form(), twiliotest.KeySecret)},
	} {
		if c.Notice(n.at, n.form, n.sig) {
			t.Errorf("%s: taken", name)
		}
	}
	if _, c := both(t); c.Notice(at, form(), good) {
		t.Error("taken where no notices were asked for")
	}
}
