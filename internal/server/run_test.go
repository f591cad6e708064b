package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// slow adds a route whose answer waits for release; arrived says that a request is in it.
func slow(arrived chan<- struct{}, release <-chan struct{}) func(*server.Server) {
	return func(s *server.Server) {
		s.Mux().API("GET /test/slow", func(w http.ResponseWriter, _ *http.Request) error {
			arrived <- struct{}{}
			<-release
			_, err := io.WriteString(w, "done")
			return err
		})
	}
}

// TestSec_J10_Drain: asked to stop, the server turns readiness off, takes no new requests, finishes the ones it has, and ends well.
func TestSec_J10_Drain(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	r := start(t, testConfig(t), server.Options{}, slow(arrived, release))
	if code, _ := r.get(r.management, "/readyz"); code != http.StatusOK {
		t.Fatalf("readyz before: %d", code)
	}
	type answer struct {
		code int
		body string
	}
	got := make(chan answer, 1)
	go func() {
		code, body := r.get(r.public, "/test/slow")
		got <- answer{code, body}
	}()
	<-arrived
	r.stop()
	eventually(t, "readyz is off while it drains", func() bool {
		code, body := r.get(r.management, "/readyz")
		return code == http.StatusServiceUnavailable && body == "draining\n"
	})
	if code, _ := r.get(r.management, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz while it drains: %d, want 200: the process is well", code)
	}
	eventually(t, "no new connection is taken", func() bool {
		c, err := net.DialTimeout("tcp", r.public, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case err := <-r.done:
		t.Fatalf("Run ended with a request under way: %v", err)
	default:
	}
	close(release)
	if a := <-got; a.code != http.StatusOK || a.body != "done" {
		t.Errorf("the request under way got %d %q", a.code, a.body)
	}
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestSec_J10_DrainEnds: a request that does not end is cut off, and the process still ends well.
func TestSec_J10_DrainEnds(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	r := start(t, testConfig(t), server.Options{DrainTime: 200 * time.Millisecond}, slow(arrived, release))
	go r.get(r.public, "/test/slow")
	<-arrived
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a request that does not end holds the process up")
	}
	if !r.log.has("cut off") {
		t.Error("nothing is said about the request that was cut off")
	}
}

// TestSec_I7_Management: what is for operators is on its own listener only, and a web page in their browser cannot ask it.
func TestSec_I7_Management(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
		if code, _ := r.get(r.public, path); code != http.StatusNotFound {
			t.Errorf("%s on the public listener: %d, want 404", path, code)
		}
	}
	if _, body := r.get(r.public, "/.well-known/openid-configuration"); !strings.Contains(body, `"issuer"`) {
		t.Errorf("discovery: %s", body)
	}
	_, metrics := r.get(r.management, "/metrics")
	for _, want := range []string{
		`latchkey_http_requests_total{method="GET",pattern="GET /.well-known/openid-configuration",status="200"} 1`,
		`latchkey_http_requests_total{method="GET",pattern="none",status="404"} 6`, // whatever path was asked for
		`latchkey_store_statements_total{kind="read"}`, `latchkey_panics_total 0`, `latchkey_build_info{version=`,
		`latchkey_password_slots`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if code, _ := r.get(r.management, "/debug/pprof/goroutine"); code != http.StatusOK {
		t.Errorf("pprof: %d", code)
	}
	for name, set := range map[string]func(*http.Request){
		"across sites": func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") },
		"with Origin":  func(q *http.Request) { q.Header.Set("Origin", "https://evil.example") },
		"rebound name": func(q *http.Request) { q.Host = "evil.example" },
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.management+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		set(req)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", name, resp.StatusCode)
		}
	}
}

// TestSec_J5_Readiness: readiness follows the database.
func TestSec_J5_Readiness(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{NoBackground: true})
	if code, body := r.get(r.management, "/readyz"); code != http.StatusOK {
		t.Fatalf("readyz: %d %s", code, body)
	}
	if err := r.Store().Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz is red without a database", func() bool {
		code, body := r.get(r.management, "/readyz")
		return code == http.StatusServiceUnavailable && body == "the database does not answer\n"
	})
	if code, _ := r.get(r.management, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
}

// TestReload: a file with mistakes is refused as a whole and the old settings stand; a good one is applied, without a restart.
func TestReload(t *testing.T) {
	t.Parallel()
	base := testConfig(t)
	base.Clients = []config.Client{fileClient("wiki", "https://wiki.example.com/callback"), fileClient("shop", "https://shop.example.com/callback")}
	next := make(chan func() (*config.Config, error), 1)
	hup := make(chan os.Signal, 1)
	r := start(t, base, server.Options{Reload: hup, Load: func() (*config.Config, error) { return (<-next)() }})
	ctx := context.Background()
	reload := func(load func() (*config.Config, error)) {
		next <- load
		hup <- syscall.SIGHUP
	}

	reload(func() (*config.Config, error) {
		return nil, &config.Error{File: "latchkey.yaml", Problems: []config.Problem{{Line: 3, Path: "isuer", Text: "unknown key"}, {Line: 9, Path: "log.level", Text: "not a level"}}}
	})
	eventually(t, "every problem is logged", func() bool { return r.log.has("line 3: isuer") && r.log.has("line 9: log.level") })

	// Wrong in a way that only the database can tell: nothing of it is applied.
	reload(func() (*config.Config, error) {
		c := *base
		bad := fileClient("mail", "https://mail.example.com/callback")
		bad.RequiredPrivileges = []any{"no-such-privilege"}
		c.Clients = []config.Client{fileClient("new", "https://new.example.com/callback"), bad}
		c.Log.Level = "error"
		return &c, nil
	})
	eventually(t, "the problem names the client", func() bool { return r.log.has("no-such-privilege") })
	if _, err := r.Store().Client(ctx, "new"); err == nil {
		t.Error("half of a refused configuration was applied")
	}
	if c, err := r.Store().Client(ctx, "shop"); err != nil || !c.DisabledAt.IsZero() {
		t.Errorf("a refused configuration disabled a client: %v", err)
	}

	reload(func() (*config.Config, error) {
		c := *base
		c.Privileges = map[string]config.Privilege{"editor": {Label: "Editor", Includes: []string{"reader"}}, "reader": {}}
		changed := fileClient("wiki", "https://wiki.example.com/other")
		changed.RequiredPrivileges = []any{"editor"}
		c.Clients = []config.Client{changed, fileClient("mail", "https://mail.example.com/callback")}
		c.HTTP.Listen = "127.0.0.1:1"
		c.Sessions.Idle = time.Hour
		return &c, nil
	})
	eventually(t, "what waits for a restart is named", func() bool { return r.log.has("http.listen sessions.idle") })
	wiki, err := r.Store().Client(ctx, "wiki")
	if err != nil || wiki.Source != server.SourceConfig || wiki.Metadata.RedirectURIs[0] != "https://wiki.example.com/other" {
		t.Errorf("wiki: %+v, %v", wiki, err)
	}
	if _, err := r.Store().Client(ctx, "mail"); err != nil {
		t.Errorf("mail: %v", err)
	}
	shop, err := r.Store().Client(ctx, "shop")
	if err != nil || shop.DisabledAt.IsZero() {
		t.Errorf("a client that left the file must be disabled and kept: %+v, %v", shop, err)
	}
	g, err := r.Store().Definitions(ctx)
	if err != nil || !g.Has("reader") || len(g.Closure("editor")) != 2 {
		t.Errorf("privileges of the file: %v %v", g, err)
	}

	// Back again: the same file once more changes nothing, and the client that returns is enabled.
	entries := func() int {
		list, err := r.Store().AuditEntries(ctx, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	reload(func() (*config.Config, error) { return base, nil })
	eventually(t, "shop is back", func() bool {
		c, err := r.Store().Client(ctx, "shop")
		return err == nil && c.DisabledAt.IsZero()
	})
	before := entries()
	reload(func() (*config.Config, error) { return base, nil })
	eventually(t, "reloaded again", func() bool { return strings.Count(r.log.String(), "configuration reloaded") >= 3 })
	if after := entries(); after != before {
		t.Errorf("an unchanged file wrote %d audit entries", after-before)
	}
}

func fileClient(id, redirect string) config.Client {
	return config.Client{ID: id, Secret: config.NewSecret("0123456789012345678901234567890123456789"), Name: id, RedirectURIs: []string{redirect},
		GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, Scope: "openid", TokenEndpointAuth: "client_secret_basic",
		ApplicationType: "web", IDTokenAlg: "RS256", AccessTokenAlg: "ES256", AccessTokenFormat: "jwt", RefreshRotation: "auto",
		RefreshTokens: "offline", RequirePKCE: true, Introspect: "own", PrivilegesClaim: "privileges"}
}

// TestSec_J10_RollingRestart: two servers on one database behind a small proxy are restarted one after the other, under traffic. The
// proxy does what proxies do: it asks for readiness, and tries the other server where a connection is refused. Nobody notices.
func TestSec_J10_RollingRestart(t *testing.T) {
	t.Parallel()
	base := testConfig(t)
	client := fileClient("robot", "https://robot.example.com/")
	client.GrantTypes, client.Scope = []string{"client_credentials"}, "things"
	base.Clients = []config.Client{client}
	var mu sync.Mutex
	var backends []*running
	launch := func() *running {
		r := start(t, base, server.Options{LogTo: io.Discard})
		mu.Lock()
		backends = append(backends, r)
		mu.Unlock()
		return r
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	ask := func(make func(addr string) *http.Request) error {
		var last error
		for range 20 {
			mu.Lock()
			list := slices.Clone(backends)
			mu.Unlock()
			for _, b := range list {
				if code, _ := b.get(b.management, "/readyz"); code != http.StatusOK {
					continue
				}
				resp, err := transport.RoundTrip(make(b.public))
				if err != nil {
					last = err
					if errors.Is(err, syscall.ECONNREFUSED) {
						continue
					}
					return err
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil {
					return err
				}
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s: %s", resp.Status, body)
				}
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("no server is ready: %w", last)
	}
	old := []*running{launch(), launch()}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				err := ask(func(addr string) *http.Request {
					req, _ := http.NewRequest(http.MethodGet, "http://"+addr+"/oauth2/jwks", nil)
					if i%2 == 1 {
						req, _ = http.NewRequest(http.MethodPost, "http://"+addr+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
						req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
						req.SetBasicAuth("robot", "0123456789012345678901234567890123456789")
					}
					req.Host = "localhost:8080"
					return req
				})
				if err != nil {
					t.Errorf("a request failed: %v", err)
				}
				done.Add(1)
			}
		})
	}
	for _, b := range old {
		time.Sleep(300 * time.Millisecond)
		b.stop()
		if err := <-b.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		launch()
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	wg.Wait()
	if done.Load() < 50 {
		t.Errorf("only %d requests: this proves nothing", done.Load())
	}
}

// TestRunRefusesTakenPort: the error says what to change.
func TestRunRefusesTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := testConfig(t)
	c.HTTP.Listen = l.Addr().String()
	s, err := server.New(c, server.Options{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.listen") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v", err)
	}
}
