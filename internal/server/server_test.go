package server_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

func newServer(t *testing.T, c *config.Config, o server.Options) *server.Server {
	t.Helper()
	o.Logger = discard
	s, err := server.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestRoutesGolden is the whole surface of the public listener, each route with its guard. A change of it shows in review.
func TestRoutesGolden(t *testing.T) {
	t.Parallel()
	table := func(o server.Options) string {
		var b strings.Builder
		c := testConfig(t)
		c.Mail = config.Mail{Host: "localhost", TLS: config.MailNone, From: "login@example.com"} // some routes need it
		withPhone(c)
		for _, r := range newServer(t, c, o).Mux().Routes() {
			line := fmt.Sprintf("%-48s %-5s %-10s %s", r.Pattern, r.Kind, r.Rule, strings.Join(r.Options, " "))
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		return b.String()
	}
	got := table(server.Options{})
	const golden = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the routes changed; if that is meant, run the test with -update.\ngot:\n%s\nwant:\n%s", got, want)
	}
	// The demonstration has one route more, and it is nowhere else.
	extra := table(server.Options{Demo: true})
	for _, line := range strings.Split(extra, "\n") {
		if !strings.Contains(got, line) && !strings.HasPrefix(line, "GET /dev/outbox ") {
			t.Errorf("the demonstration adds %s", line)
		}
	}
	if strings.Contains(got, "/dev/") || !strings.Contains(extra, "GET /dev/outbox ") {
		t.Error("/dev/outbox belongs to the demonstration and to nothing else")
	}
}

// TestOutbox shows what would have been sent, as text.
func TestOutbox(t *testing.T) {
	t.Parallel()
	s := newServer(t, testConfig(t), server.Options{Demo: true})
	m := &store.Message{Kind: "mail", Recipient: "ada@example.com", Subject: "Hello <Ada>", Text: "Your code is 123456", CreatedAt: store.At(s.Store().Now()), ExpiresAt: store.At(s.Store().Now().Add(time.Hour))}
	if err := s.Store().Enqueue(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://localhost:8080/dev/outbox", nil)
	s.Handler().ServeHTTP(w, r)
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "Hello &lt;Ada&gt;") || !strings.Contains(body, "123456") {
		t.Errorf("%d %s", w.Code, body)
	}
}

// TestStatic: assets are cached for ever under their hash, without a cookie.
func TestStatic(t *testing.T) {
	t.Parallel()
	s := newServer(t, testConfig(t), server.Options{})
	page := httptest.NewRecorder()
	s.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "http://localhost:8080/login", nil))
	_, rest, ok := strings.Cut(page.Body.String(), `href="/static/`)
	path, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("the sign-in page has no stylesheet: %s", page.Body)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:8080/static/"+path, nil))
	if cc := w.Header().Get("Cache-Control"); w.Code != http.StatusOK || !strings.Contains(cc, "immutable") || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%s: %d, Cache-Control %q", path, w.Code, cc)
	}
}

// TestTwoServersStartAtOnce: any number of processes may start on an empty database with the same file.
func TestTwoServersStartAtOnce(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Clients = []config.Client{fileClient("wiki", "https://wiki.example.com/callback")}
	c.Privileges = map[string]config.Privilege{"editor": {Includes: []string{"reader"}}, "reader": {}}
	const n = 4
	servers := make([]*server.Server, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { servers[i], errs[i] = server.New(c, server.Options{Logger: discard}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	active := map[string]int{}
	rows, err := servers[0].Store().SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range rows {
		active[k.Alg]++
	}
	for alg, n := range active {
		if n != 1 {
			t.Errorf("%d keys for %s, want one (security.md B10)", n, alg)
		}
	}
	entries, err := servers[1].Store().AuditEntries(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, e := range entries {
		if e.Target == "client:wiki" {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d audit entries for the client of the file, want one", made)
	}
	for _, s := range servers {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSec_J12_Damaged: nothing is served from a database file that is damaged.
func TestSec_J12_Damaged(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	path, _ := c.Database.URL.SQLite()
	s, err := server.New(c, server.Options{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := s.Store().CreateUser(t.Context(), &store.User{Username: fmt.Sprintf("user%d", i), Email: fmt.Sprintf("user%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	damaged := 0
	for at := page; at+page <= len(whole); at += len(whole) / page / 12 * page {
		b := bytes.Clone(whole)
		for i := range 600 {
			b[at+i] ^= 0xff
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := server.New(c, server.Options{Logger: discard})
		if err == nil {
			// Harmless: a page without content.
			if users, err := s.Store().Users(t.Context(), "", 1000); err != nil || len(users) != 200 {
				t.Errorf("page %d: started, and has %d users, %v", at/page, len(users), err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		damaged++
	}
	if damaged == 0 {
		t.Error("no damage was noticed")
	}
}

// TestDemoClient: its secret is made once and kept; the registration follows the application's address.
func TestDemoClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, testConfig(t), server.Options{Demo: true})
	dir := t.TempDir()
	register := func(base string) server.DemoClient {
		t.Helper()
		d := server.DemoClient{Name: "Sample", BaseURL: base, RedirectURI: base + "/callback", PostLogoutRedirectURI: base + "/"}
		if err := s.EnsureDemoClient(t.Context(), dir, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := register("http://localhost:8081"), register("http://localhost:9081")
	if one.Secret == "" || one.Secret != two.Secret || one.ID != two.ID {
		t.Errorf("the secret changed: %v %v", one, two)
	}
	c, err := s.Store().Client(t.Context(), two.ID)
	if err != nil || len(c.Metadata.RedirectURIs) != 1 || c.Metadata.RedirectURIs[0] != "http://localhost:9081/callback" {
		t.Errorf("%+v, %v", c, err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "sample-app.secret")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v %v", fi.Mode(), err)
	}
	if strings.Contains(fmt.Sprint(c), one.Secret) {
		t.Error("the database has the secret itself")
	}
}

// TestConfigClientClash: a client of the file that was also registered by hand is a mistake that is named, not overwritten.
func TestConfigClientClash(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	s := newServer(t, c, server.Options{})
	if err := s.Store().CreateClient(t.Context(), "cli", &store.Client{ID: "wiki", Source: server.SourceAdmin}); err != nil {
		t.Fatal(err)
	}
	next := *c
	next.Clients = []config.Client{fileClient("wiki", "https://wiki.example.com/callback")}
	_, err := server.New(&next, server.Options{Logger: discard})
	if bad := (*config.Error)(nil); !errors.As(err, &bad) || !strings.Contains(err.Error(), "clients[0]: wiki: was also registered in the database") {
		t.Errorf("New: %v", err)
	}
}

// TestSetupLinkOnce: the link is offered until there was an administrator, and never again by the server (security.md G5).
func TestSetupLinkOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t, testConfig(t), server.Options{})
	if link, err := s.SetupLink(t.Context()); err != nil || !strings.HasPrefix(link, "http://localhost:8080/setup/") {
		t.Fatalf("%s, %v", link, err)
	}
	ctx := context.Background()
	u := &store.User{Username: "ada"}
	if err := s.Store().CreateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	if err := s.Store().Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "admin", GivenBy: "cli"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetupLink(ctx); !errors.Is(err, server.ErrSetupDone) {
		t.Errorf("a second first administrator: %v", err)
	}
}
