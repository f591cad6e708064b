package notify_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/internal/notify/notifytest"
)

func mailer(t *testing.T, s *notifytest.Server, change ...func(*notify.Config)) *notify.Mailer {
	t.Helper()
	c := notify.Config{Host: s.Host, Port: s.Port, TLS: notify.STARTTLS, From: "login@idp.example", FromName: "Müller & Söhne", Domain: "idp.example", RootCAs: s.Roots, Timeout: 5 * time.Second}
	for _, f := range change {
		f(&c)
	}
	m, err := notify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var hello = notify.Mail{ID: "abc", To: "ana@example.com", Subject: "Grüße", Text: "Ein Text: 123456\n.\n-- \nX\n", HTML: "<p>Ein Text</p>"}

func failed(t *testing.T, err error) *notify.Error {
	t.Helper()
	var e *notify.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	for _, secret := range []string{"ana@example.com", "hunter2", "123456"} {
		if strings.Contains(e.Error(), secret) {
			t.Errorf("the error says %s: %s", secret, e)
		}
	}
	return e
}

// TestSend: each mode, and what arrives.
func TestSend(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server notifytest.Options
		change func(*notify.Config)
		tls    bool
	}{
		"starttls":               {notifytest.Options{}, func(*notify.Config) {}, true},
		"implicit":               {notifytest.Options{Implicit: true}, func(c *notify.Config) { c.TLS = notify.Implicit }, true},
		"none":                   {notifytest.Options{NoTLS: true}, func(c *notify.Config) { c.TLS = notify.None }, false},
		"starttls with password": {notifytest.Options{User: "u", Password: "hunter2"}, func(c *notify.Config) { c.User, c.Password = "u", "hunter2" }, true},
		"implicit with password": {notifytest.Options{Implicit: true, User: "u", Password: "hunter2"}, func(c *notify.Config) { c.TLS, c.User, c.Password = notify.Implicit, "u", "hunter2" }, true},
		"none with password":     {notifytest.Options{NoTLS: true, User: "u", Password: "hunter2"}, func(c *notify.Config) { c.TLS, c.User, c.Password = notify.None, "u", "hunter2" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := notifytest.Start(t, test.server)
			m := mailer(t, s, test.change)
			for range 2 { // a second one over a connection of its own
				if err := m.Send(t.Context(), hello); err != nil {
					t.Fatal(err)
				}
			}
			got := s.Mails()
			if len(got) != 2 {
				t.Fatalf("%d mails", len(got))
			}
			g := got[0]
			if g.From != "login@idp.example" || g.To != "ana@example.com" || g.TLS != test.tls || g.User != test.server.User {
				t.Errorf("%+v", g)
			}
			if g.Subject != "Grüße" || g.Text != hello.Text || g.HTML != hello.HTML {
				t.Errorf("%q %q %q", g.Subject, g.Text, g.HTML)
			}
			for k, want := range map[string]string{"Message-Id": "<abc@idp.example>", "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "User-Agent": "", "X-Mailer": ""} {
				if v := g.Header.Get(k); v != want {
					t.Errorf("%s: %q", k, v)
				}
			}
			from, err := g.Header.AddressList("From")
			if err != nil || from[0].Name != "Müller & Söhne" || from[0].Address != "login@idp.example" {
				t.Errorf("%v %v", from, err)
			}
			if d, err := g.Header.Date(); err != nil || time.Since(d).Abs() > time.Hour {
				t.Errorf("Date: %v %v", d, err)
			}
		})
	}
}

// TestSec_HeaderInjection: what a stranger typed stays within its header (CWE-93), and an address is one address.
func TestSec_HeaderInjection(t *testing.T) {
	t.Parallel()
	s := notifytest.Start(t, notifytest.Options{})
	m := mailer(t, s, func(c *notify.Config) { c.FromName = "X\r\nBcc: evil@example.com" })
	if err := m.Send(t.Context(), notify.Mail{ID: "a\r\nX-Evil: 1", To: "ana@example.com", Subject: "Hi\r\nBcc: evil@example.com\r\n\r\nbody", Text: "t"}); err != nil {
		t.Fatal(err)
	}
	g := s.Mails()[0]
	for _, k := range []string{"Bcc", "X-Evil"} {
		if g.Header.Get(k) != "" {
			t.Errorf("%s: %q\n%s", k, g.Header.Get(k), g.Raw)
		}
	}
	if g.Subject != "Hi Bcc: evil@example.com body" || strings.TrimSpace(g.Text) != "t" {
		t.Errorf("%q %q", g.Subject, g.Text)
	}
	for _, to := range []string{"", "ana", "ana@example.com, eve@example.com", "Ana <ana@example.com>", "ana@example.com\r\nRCPT TO:<eve@example.com>", "<ana@example.com>", " ana@example.com", "ana@exa mple.com", "ana@-.example"} {
		e := failed(t, m.Send(t.Context(), notify.Mail{To: to, Subject: "s", Text: "t"}))
		if !e.Permanent || e.Stage != "address" {
			t.Errorf("%q: %+v", to, e)
		}
	}
	if len(s.Mails()) != 1 {
		t.Errorf("%d mails", len(s.Mails()))
	}
	if err := m.Send(t.Context(), notify.Mail{To: "ana@bücher.example", Subject: "s", Text: "t"}); err != nil || s.Mails()[1].To != "ana@xn--bcher-kva.example" {
		t.Errorf("%v %+v", err, s.Mails())
	}
}

// TestSec_NoTLSNoMail: no mail and no password without the encryption that was asked for, and none to who cannot prove the name.
func TestSec_NoTLSNoMail(t *testing.T) {
	t.Parallel()
	plain := notifytest.Start(t, notifytest.Options{NoTLS: true, User: "u", Password: "hunter2"})
	with := func(c *notify.Config) { c.User, c.Password = "u", "hunter2" }
	failed(t, mailer(t, plain, with).Send(t.Context(), hello)) // the server offers no STARTTLS
	failed(t, mailer(t, plain, with, func(c *notify.Config) { c.TLS = notify.Implicit }).Send(t.Context(), hello))
	offers := notifytest.Start(t, notifytest.Options{})
	stranger := func(c *notify.Config) { c.RootCAs = x509.NewCertPool() }
	e := failed(t, mailer(t, offers, stranger).Send(t.Context(), hello))
	if e.Permanent || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("%v", e)
	}
	if plain.Tries()+offers.Tries() != 0 {
		t.Error("MAIL was said")
	}
}

// TestFailures: what is worth another try, and what is not.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := notifytest.Start(t, notifytest.Options{User: "u", Password: "hunter2"})
	with := func(c *notify.Config) { c.User, c.Password = "u", "hunter2" }
	for name, test := range map[string]struct {
		command   string
		code      int
		enhanced  [3]int
		permanent bool
	}{
		"no such person":   {"RCPT", 550, [3]int{5, 1, 1}, true},
		"grey list":        {"RCPT", 451, [3]int{4, 7, 1}, false},
		"sender refused":   {"MAIL", 553, [3]int{5, 7, 1}, true},
		"full":             {"MAIL", 452, [3]int{4, 3, 1}, false},
		"spam":             {"DATA", 554, [3]int{5, 7, 1}, true},
		"later":            {"DATA", 421, [3]int{4, 3, 2}, false},
		"log in once more": {"MAIL", 530, [3]int{5, 7, 0}, false},
	} {
		s.Reject(func(command, _ string) error {
			if command == test.command {
				return notifytest.Refusal(test.code, test.enhanced, "not <ana@example.com>, says hunter2")
			}
			return nil
		})
		e := failed(t, mailer(t, s, with).Send(t.Context(), hello))
		if e.Stage != test.command || e.Code != test.code || e.Permanent != test.permanent || e.Enhanced == "" || !strings.Contains(e.Words, "ana@example.com") {
			t.Errorf("%s: %+v", name, e)
		}
	}
	s.Reject(nil)
	wrong := failed(t, mailer(t, s, func(c *notify.Config) { c.User, c.Password = "u", "wrong" }).Send(t.Context(), hello))
	if wrong.Permanent || wrong.Stage != "connect" || wrong.Code != 535 {
		t.Errorf("wrong password: %+v", wrong)
	}
	none := failed(t, mailer(t, s).Send(t.Context(), hello))
	if none.Permanent || none.Code != 530 {
		t.Errorf("no password: %+v", none)
	}
	s.Down()
	if e := failed(t, mailer(t, s).Send(t.Context(), hello)); e.Permanent || e.Stage != "connect" || e.Code != 0 {
		t.Errorf("down: %+v", e)
	}
	if len(s.Mails()) != 0 {
		t.Errorf("%d mails", len(s.Mails()))
	}
}

// TestContext: a server that says nothing holds nobody for longer than the timeout, or than the caller waits.
func TestContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := notifytest.Start(t, notifytest.Options{})
	s.Stall(3 * time.Second)
	for name, m := range map[string]*notify.Mailer{
		"silent":  mailer(t, s, func(c *notify.Config) { c.Port = silent.Addr().(*net.TCPAddr).Port; c.Timeout = 200 * time.Millisecond }),
		"stalled": mailer(t, s, func(c *notify.Config) { c.Timeout = 300 * time.Millisecond }),
	} {
		began := time.Now()
		if e := failed(t, m.Send(t.Context(), hello)); e.Permanent || time.Since(began) > 2*time.Second {
			t.Errorf("%s: %v after %s", name, e, time.Since(began))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	if e := failed(t, mailer(t, s).Send(ctx, hello)); e.Permanent || time.Since(began) > 2*time.Second {
		t.Errorf("cancelled: %v after %s", e, time.Since(began))
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := notify.Config{Host: "h", Port: 25, TLS: notify.STARTTLS, From: "a@b.example", Domain: "d"}
	if _, err := notify.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*notify.Config){
		"host": func(c *notify.Config) { c.Host = "" }, "port": func(c *notify.Config) { c.Port = 0 }, "tls": func(c *notify.Config) { c.TLS = "" },
		"from": func(c *notify.Config) { c.From = "X <a@b.example>" }, "domain": func(c *notify.Config) { c.Domain = "" },
		"user": func(c *notify.Config) { c.User = "u" }, "password": func(c *notify.Config) { c.Password = "p" },
	} {
		c := good
		change(&c)
		if _, err := notify.New(c); err == nil {
			t.Errorf("%s", name)
		}
	}
}
