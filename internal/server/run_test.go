package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	if code, _ := r.get(t, r.management, "/readyz"); code != http.StatusOK {
		t.Fatalf("readyz before: %d", code)
	}
	type answer struct {
		code int
		body string
	}
	got := make(chan answer, 1)
	go func() {
		code, body := r.get(t, r.public, "/test/slow")
		got <- answer{code, body}
	}()
	<-arrived
	r.stop()
	eventually(t, "readyz is off while it drains", func() bool {
		code, body := r.get(t, r.management, "/readyz")
		return code == http.StatusServiceUnavailable && body == "draining\n"
	})
	if code, _ := r.get(t, r.management, "/healthz"); code != http.StatusOK {
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

// TestSec_I7_Management: what is for operators is on its own listener only, and a web page in their browser cannot ask it.
func TestSec_I7_Management(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
		if code, _ := r.get(t, r.public, path); code != http.StatusNotFound {
			t.Errorf("%s on the public listener: %d, want 404", path, code)
		}
	}
	if _, body := r.get(t, r.public, "/.well-known/openid-configuration"); !strings.Contains(body, `"issuer"`) {
		t.Errorf("discovery: %s", body)
	}
	_, metrics := r.get(t, r.management, "/metrics")
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
	if code, _ := r.get(t, r.management, "/debug/pprof/goroutine"); code != http.StatusOK {
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
	if code, body := r.get(t, r.management, "/readyz"); code != http.StatusOK {
		t.Fatalf("readyz: %d %s", code, body)
	}
	if err := r.Store().Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz is red without a database", func() bool {
		code, body := r.get(t, r.management, "/readyz")
		return code == http.StatusServiceUnavailable && body == "the database does not answer\n"
	})
	if code, _ := r.get(t, r.management, "/healthz"); code != http.StatusOK {
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

// TestSec_I6_TLSVersions asks the live listener.
func TestSec_I6_TLSVersions(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Issuer = "https://localhost:8443"
	dir := t.TempDir()
	c.HTTP.TLS = config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeCertificate(t, c.HTTP.TLS, 1)
	r := start(t, c, server.Options{Load: func() (*config.Config, error) { return c, nil }})
	dial := func(cfg *tls.Config) (tls.ConnectionState, error) {
		cfg.InsecureSkipVerify = true
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", r.public, cfg)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	if st, err := dial(&tls.Config{NextProtos: []string{"h2"}}); err != nil || st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "h2" {
		t.Errorf("a modern client: %x %q, %v", st.Version, st.NegotiatedProtocol, err)
	}
	if st, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12}); err != nil || st.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v", err)
	}
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, err := dial(&tls.Config{MinVersion: v, MaxVersion: v}); err == nil {
			t.Errorf("%s was spoken", tls.VersionName(v))
		}
	}
	// TLS 1.2 without forward secrecy or with CBC.
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA} {
		if _, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}); err == nil {
			t.Errorf("%s was spoken", tls.CipherSuiteName(suite))
		}
	}
	req, err := http.NewRequest(http.MethodGet, "https://"+r.public+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "localhost:8443"
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !strings.Contains(resp.Header.Get("Strict-Transport-Security"), "max-age=") {
		t.Error("no HSTS over TLS")
	}

	// A renewed certificate needs no restart; a broken one changes nothing.
	serial := func() int64 {
		st, err := dial(&tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return st.PeerCertificates[0].SerialNumber.Int64()
	}
	writeCertificate(t, c.HTTP.TLS, 2)
	if err := r.Reload(t.Context()); err != nil || serial() != 2 {
		t.Errorf("reload: %v, serial %d, want 2", err, serial())
	}
	if err := os.WriteFile(c.HTTP.TLS.CertFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err == nil || serial() != 2 {
		t.Errorf("a broken certificate: %v, serial %d", err, serial())
	}
}

func writeCertificate(t *testing.T, to config.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{to.CertFile: {Type: "CERTIFICATE", Bytes: der}, to.KeyFile: {Type: "PRIVATE KEY", Bytes: priv}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSec_I3_SlowClients: who sends slowly is cut off, who sends too much is refused, and others are served meanwhile.
func TestSec_I3_SlowClients(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	const n = 200
	cut := make(chan time.Duration, n)
	begin := time.Now()
	for range n {
		c, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = c.SetReadDeadline(begin.Add(12 * time.Second))
			// An answer (408) or the end of the connection; a deadline of ours means that the server waited on.
			_, err := io.Copy(io.Discard, c)
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				cut <- -1
				return
			}
			cut <- time.Since(begin)
		}()
	}
	for range 20 {
		at := time.Now()
		if code, _ := r.get(t, r.public, "/oauth2/jwks"); code != http.StatusOK || time.Since(at) > time.Second {
			t.Errorf("beside %d slow connections: %d after %v", n, code, time.Since(at))
		}
	}
	for range n {
		if d := <-cut; d < 0 || d < 4*time.Second {
			t.Fatalf("a slow connection was cut after %v, want about 5 s", d)
		}
	}
}

// TestSec_I3_HeaderSize: 32 KiB of header and no more.
func TestSec_I3_HeaderSize(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	for size, want := range map[int]int{24 << 10: http.StatusOK, 33 << 10: http.StatusRequestHeaderFieldsTooLarge, 1 << 20: http.StatusRequestHeaderFieldsTooLarge} {
		c, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var b bytes.Buffer
		b.WriteString("GET /oauth2/jwks HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nX-Large: ")
		b.WriteString(strings.Repeat("x", size))
		b.WriteString("\r\n\r\n")
		go func() { _, _ = c.Write(b.Bytes()) }() // the server may hang up in the middle
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		} else if _ = resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
		}
		_ = c.Close()
	}
}

// TestSec_I3_MaxConnections: the bound holds, and a place that becomes free is used.
func TestSec_I3_MaxConnections(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Limits.MaxConnections = 2
	r := start(t, c, server.Options{})
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	answered := make(chan int, 1)
	go func() {
		code, _ := r.get(t, r.public, "/oauth2/jwks")
		answered <- code
	}()
	select {
	case code := <-answered:
		t.Fatalf("a third connection was served: %d", code)
	case <-time.After(300 * time.Millisecond):
	}
	_ = held[0].Close()
	if code := <-answered; code != http.StatusOK {
		t.Errorf("after one was free: %d", code)
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
