package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// testConfig is the development configuration with its data in a directory of the test's own and ports that are free.
func testConfig(t *testing.T) *config.Config {
	t.Helper()
	c := config.Default()
	c.Database.URL = config.NewDSN("sqlite:" + filepath.Join(t.TempDir(), "latchkey.db"))
	c.HTTP.Listen = "127.0.0.1:0"
	c.HTTP.Management.Listen = "127.0.0.1:0"
	return c
}

// withPhone turns sign-in by phone on, which brings routes of its own.
func withPhone(c *config.Config) {
	c.Login.Phone.Enabled, c.Login.Phone.Country = true, "DE"
	c.Twilio = []config.Twilio{{Name: "default", AccountSID: "AC0123456789abcdef0123456789abcdef", AuthToken: config.NewSecret("0123456789abcdef0123456789abcdef"),
		From: "+15005550006", StatusNotices: true}}
}

// running is a server under test.
type running struct {
	*server.Server
	public, management string
	log                *buffer
	stop               func()     // begins the drain
	done               chan error // what Run answered
}

// start runs a server until the test ends.
func start(t *testing.T, c *config.Config, o server.Options, before ...func(*server.Server)) *running {
	t.Helper()
	r := &running{log: new(buffer), done: make(chan error, 1)}
	if o.LogTo == nil {
		o.LogTo = io.MultiWriter(r.log, testWriter{t})
	}
	ready := make(chan server.Addresses, 1)
	o.Ready = func(a server.Addresses) { ready <- a }
	var err error
	if r.Server, err = server.New(c, o); err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(r.Server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case a := <-ready:
		r.public, r.management = a.Public, a.Management
	case err := <-r.done:
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("not ready within 10 s")
	}
	return r
}

// get asks addr for path as the issuer's host. Status 0 is a request that failed, with the reason as its body.
func (r *running) get(addr, path string) (status int, body string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	if addr == r.public {
		req.Host = "localhost:8080"
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// eventually waits for a condition, at most 5 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

// buffer is a bytes.Buffer for several goroutines.
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

func (b *buffer) has(s string) bool { return strings.Contains(b.String(), s) }

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

var discard = slog.New(slog.DiscardHandler)
