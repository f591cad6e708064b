package delivery_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/delivery"
	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/internal/notify/notifytest"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// post is an outbox with a mail server behind it.
type post struct {
	t      *testing.T
	store  *store.Store
	server *notifytest.Server
	log    buffer

	mu     sync.Mutex
	counts map[string]int
}

// buffer takes the log of several workers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func each(t *testing.T, o notifytest.Options, f func(t *testing.T, p *post)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := &post{t: t, store: storetest.Open(t, engine), server: notifytest.Start(t, o), counts: map[string]int{}}
			f(t, p)
			for _, secret := range []string{"@example.com", "123456", "hunter2"} { // addresses, codes, passwords
				if strings.Contains(p.log.String(), secret) {
					t.Errorf("the log has %s:\n%s", secret, &p.log)
				}
			}
		})
	}
}

// work runs a worker on st until the returned function is called.
func (p *post) work(st *store.Store, change ...func(*notify.Config, *delivery.Config)) (stop func()) {
	p.t.Helper()
	n := notify.Config{Host: p.server.Host, Port: p.server.Port, TLS: notify.STARTTLS, From: "login@idp.example", Domain: "idp.example", RootCAs: p.server.Roots, Timeout: 5 * time.Second}
	c := delivery.Config{Store: st, Retry: 20 * time.Millisecond, Poll: 20 * time.Millisecond, Timeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	c.Observe = func(result string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counts[result]++
	}
	for _, f := range change {
		f(&n, &c)
	}
	mailer, err := notify.New(n)
	if err != nil {
		p.t.Fatal(err)
	}
	if c.Send == nil {
		c.Send = mailer.Send
	}
	w, err := delivery.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	p.t.Cleanup(stop)
	return stop
}

func (p *post) count(result string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[result]
}

func (p *post) put(id string, life time.Duration) {
	p.t.Helper()
	err := p.store.Enqueue(p.t.Context(), &store.Message{ID: id, Kind: "mail", Recipient: id + "@example.com", Subject: "Code", Text: "It is 123456.", HTML: "<p>123456",
		DedupeKey: "key " + id, ExpiresAt: store.At(p.store.Now().Add(life))})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *post) row(id string) store.Message {
	p.t.Helper()
	list, err := p.store.Messages(p.t.Context(), 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range list {
		if m.ID == id {
			return m
		}
	}
	p.t.Fatalf("no message %s", id)
	return store.Message{}
}

// until waits for what workers do.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestDelivers: what is put in is sent at once and once, and its texts are gone.
func TestDelivers(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{}, func(t *testing.T, p *post) {
		p.put("before", time.Hour)
		p.work(p.store, func(_ *notify.Config, c *delivery.Config) { c.Poll = time.Hour }) // the bell alone wakes it
		until(t, "what was there", func() bool { return !p.row("before").SentAt.IsZero() })
		p.put("after", time.Hour)
		p.put("after", time.Hour) // the same dedupe key
		until(t, "two mails", func() bool {
			return p.count(delivery.Sent) == 2 && !p.row("after").SentAt.IsZero() && !p.row("before").SentAt.IsZero()
		})
		for _, m := range p.server.Mails() {
			if !m.TLS || m.Text != "It is 123456.\n" && m.Text != "It is 123456." || m.Header.Get("Message-Id") == "" {
				t.Errorf("%+v", m)
			}
		}
		for _, id := range []string{"before", "after"} {
			if m := p.row(id); m.Text+m.HTML != "" || m.Subject != "Code" || m.Recipient != id+"@example.com" {
				t.Errorf("%+v", m)
			}
		}
		if n := len(p.server.Mails()); n != 2 {
			t.Errorf("%d mails", n)
		}
	})
}

// TestSec_J9_Outage: the server is down, then up: every mail once, and the stale one never.
func TestSec_J9_Outage(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{}, func(t *testing.T, p *post) {
		p.server.Down()
		p.work(p.store)
		for i := range 10 {
			p.put(fmt.Sprint("m", i), time.Hour)
		}
		p.put("stale", 300*time.Millisecond)
		until(t, "some failures", func() bool { return p.count(delivery.Retry) > 20 })
		until(t, "the stale one is given up", func() bool { return !p.row("stale").FailedAt.IsZero() })
		if m := p.row("stale"); m.Text+m.HTML != "" || !strings.HasPrefix(m.LastError, "expired; connect: ") {
			t.Errorf("%+v", m)
		}
		p.server.Up()
		until(t, "ten mails", func() bool { return p.count(delivery.Sent) == 10 })
		time.Sleep(100 * time.Millisecond)
		seen := map[string]int{}
		for _, m := range p.server.Mails() {
			seen[m.To]++
		}
		if len(seen) != 10 || len(p.server.Mails()) != 10 || seen["stale@example.com"] != 0 {
			t.Errorf("%v", seen)
		}
		if p.count(delivery.Expired) != 1 {
			t.Errorf("%d expired", p.count(delivery.Expired))
		}
	})
}

// TestSec_J7_TwoProcesses: two workers with pools of their own on one database send each mail once.
func TestSec_J7_TwoProcesses(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, engine)
			p := &post{t: t, store: storetest.OpenWith(t, engine, store.Config{URL: url}), server: notifytest.Start(t, notifytest.Options{}), counts: map[string]int{}}
			p.work(p.store)
			p.work(storetest.OpenWith(t, engine, store.Config{URL: url}))
			for i := range 60 {
				p.put(fmt.Sprint("m", i), time.Hour)
			}
			until(t, "60 mails", func() bool { return p.count(delivery.Sent) >= 60 })
			time.Sleep(200 * time.Millisecond)
			seen := map[string]bool{}
			for _, m := range p.server.Mails() {
				seen[m.To] = true
			}
			if len(seen) != 60 || len(p.server.Mails()) != 60 {
				t.Errorf("%d mails to %d people", len(p.server.Mails()), len(seen))
			}
		})
	}
}

// TestRefusals: 5xx ends a mail with its reason, 4xx does not.
func TestRefusals(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{}, func(t *testing.T, p *post) {
		var grey atomic.Int64
		p.server.Reject(func(command, to string) error {
			switch {
			case command == "RCPT" && strings.HasPrefix(to, "gone"):
				return notifytest.Refusal(550, [3]int{5, 1, 1}, "no such user gone@example.com")
			case command == "RCPT" && strings.HasPrefix(to, "grey") && grey.Add(1) < 4:
				return notifytest.Refusal(451, [3]int{4, 7, 1}, "grey@example.com must wait")
			}
			return nil
		})
		p.work(p.store)
		p.put("gone", time.Hour)
		p.put("grey", time.Hour)
		until(t, "both ends", func() bool { return !p.row("gone").FailedAt.IsZero() && !p.row("grey").SentAt.IsZero() })
		gone, sent := p.row("gone"), p.row("grey")
		if gone.Attempts != 1 || gone.Text+gone.HTML != "" || gone.LastError != `RCPT: 550 "5.1.1 no such user gone@example.com"` || !gone.SentAt.IsZero() {
			t.Errorf("%+v", gone)
		}
		if sent.Attempts != 4 || sent.LastError != "" {
			t.Errorf("%+v", sent)
		}
		if p.count(delivery.Refused) != 1 || p.count(delivery.Retry) != 3 || p.count(delivery.Sent) != 1 {
			t.Errorf("%v", p.counts)
		}
		if !strings.Contains(p.log.String(), "550 5.1.1") {
			t.Errorf("the log does not say why: %s", &p.log)
		}
	})
}

// TestWrongPassword: the operator's mistake ends no mail.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{User: "u", Password: "hunter2"}, func(t *testing.T, p *post) {
		stop := p.work(p.store, func(n *notify.Config, _ *delivery.Config) { n.User, n.Password = "u", "hunter3" })
		p.put("m", time.Hour)
		until(t, "a few failures", func() bool { return p.count(delivery.Retry) > 2 })
		stop()
		if m := p.row("m"); !m.FailedAt.IsZero() || !strings.Contains(m.LastError, "535") {
			t.Errorf("%+v", m)
		}
		p.work(p.store, func(n *notify.Config, _ *delivery.Config) { n.User, n.Password = "u", "hunter2" })
		until(t, "sent", func() bool { return !p.row("m").SentAt.IsZero() })
	})
}

// TestSec_J10_Stop: a worker that is stopped finishes what it can within its grace, and gives the rest back at once.
func TestSec_J10_Stop(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{}, func(t *testing.T, p *post) {
		under := func(grace time.Duration) func() {
			return p.work(p.store, func(_ *notify.Config, c *delivery.Config) { c.Grace = grace })
		}
		p.server.Stall(400 * time.Millisecond)
		stop := under(10 * time.Second)
		p.put("finished", time.Hour)
		until(t, "under way", func() bool { return p.server.Tries() == 1 })
		stop()
		if m := p.row("finished"); m.SentAt.IsZero() {
			t.Errorf("%+v", m)
		}
		p.server.Stall(5 * time.Second)
		stop = under(50 * time.Millisecond)
		p.put("cut", time.Hour)
		until(t, "under way", func() bool { return p.server.Tries() == 2 })
		began := time.Now()
		stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("stopped after %s", took)
		}
		if m := p.row("cut"); !m.SentAt.IsZero() || !m.LeasedUntil.IsZero() || m.NextAt.After(p.store.Now()) {
			t.Errorf("not given back: %+v", m)
		}
	})
}

// TestPanic: one delivery that panics stops neither its sender nor the others.
func TestPanic(t *testing.T) {
	t.Parallel()
	each(t, notifytest.Options{}, func(t *testing.T, p *post) {
		p.work(p.store, func(_ *notify.Config, c *delivery.Config) {
			c.Senders = 1
			c.Send = func(_ context.Context, m notify.Mail) error {
				if m.ID == "bad" {
					panic("bad")
				}
				return nil
			}
		})
		p.put("bad", time.Hour)
		until(t, "the panic", func() bool { return strings.Contains(p.log.String(), "panic") })
		p.put("good", time.Hour)
		until(t, "sent", func() bool { return !p.row("good").SentAt.IsZero() })
	})
}

// TestLogouts: what an application is told goes to each once over two processes, is tried again when it fails, and again when its sender died.
func TestLogouts(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, engine)
			p := &post{t: t, store: storetest.OpenWith(t, engine, store.Config{URL: url}), server: notifytest.Start(t, notifytest.Options{}), counts: map[string]int{}}
			put := func(client string) {
				t.Helper()
				if err := p.store.Enqueue(t.Context(), &store.Message{Kind: store.KindLogout, Recipient: client, About: "u", Text: "{}", ExpiresAt: store.At(p.store.Now().Add(time.Hour))}); err != nil {
					t.Fatal(err)
				}
			}
			put("orphan")
			if l, err := p.store.LeaseMessages(t.Context(), 1, 50*time.Millisecond, store.KindLogout); err != nil || len(l) != 1 { // its sender dies
				t.Fatal(l, err)
			}
			var mu sync.Mutex
			tries, taken := map[string]int{}, map[string]int{}
			logout := func(_ *notify.Config, c *delivery.Config) {
				c.Logout = func(_ context.Context, m store.Message) error {
					mu.Lock()
					defer mu.Unlock()
					if tries[m.Recipient]++; tries[m.Recipient] == 1 {
						return &notify.Error{Stage: "logout", Code: 503, Words: "down"}
					}
					taken[m.Recipient]++
					return nil
				}
			}
			p.put("ann", time.Hour)
			p.work(p.store, logout)
			p.work(storetest.OpenWith(t, engine, store.Config{URL: url}), logout)
			for i := range 20 {
				put(fmt.Sprint("c", i))
			}
			until(t, "21 applications told", func() bool { return p.count(delivery.Sent) >= 21 })
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			for client, n := range taken {
				if n != 1 || tries[client] != 2 {
					t.Errorf("%s was told %d times in %d tries", client, n, tries[client])
				}
			}
			list, err := p.store.LogoutsOf(t.Context(), "u", 100)
			if err != nil || len(list) != 21 || list[0].SentAt.IsZero() {
				t.Errorf("%d, %v", len(list), err)
			}
			if all, err := p.store.Messages(t.Context(), 100); err != nil || len(all) != 1 {
				t.Errorf("messages to people: %+v %v", all, err)
			}
		})
	}
}
