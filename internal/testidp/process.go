package testidp

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// Process is the real binary as a process of its own, for tests of what only a process can do: be killed. Its IDP has no Server.
type Process struct {
	*IDP
	bin, config string
	cmd         *exec.Cmd
	log         *bytes.Buffer
	ready       string
}

// binary is the program, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "testidp-bin-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "latchkey")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/latchkey-idp/latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building latchkey: %w: %s", err, out)
	}
	return bin, nil
})

// StartProcess starts `latchkey serve` on a fresh database of the engine, or on o.URL.
func StartProcess(t testing.TB, o Options) *Process {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if o.URL == "" {
		o.URL = freshDatabase(t, o.Engine)
	}
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := baseConfig(o.URL)
	cfg.Issuer = fmt.Sprintf("http://localhost:%d", port)
	text := fmt.Sprintf(`issuer: %s
environment: development
http:
  listen: 127.0.0.1:%d
  management: {listen: "127.0.0.1:%d"}
database:
  url: %q
secrets:
  master_keys: [%q]
log: {level: warn}
`, cfg.Issuer, port, ready, o.URL, masterKey())
	p := &Process{bin: bin, config: filepath.Join(dir, "latchkey.yaml"), ready: fmt.Sprintf("http://127.0.0.1:%d/readyz", ready)}
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.IDP = newIDP(t, cfg, nil, o.URL)
	p.Transport = transport()
	t.Cleanup(p.Kill)
	p.Start()
	// A second connection to the same database, for what a test wants to see and to prepare.
	if p.Store, err = store.Open(context.Background(), store.Config{URL: o.URL, Logger: logger(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Store.Close() })
	return p
}

// Start runs the program again after Kill and waits until it is ready.
func (p *Process) Start() {
	p.t.Helper()
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(p.bin, "serve", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for range 200 {
		if res, err := http.Get(p.ready); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.Kill()
	p.t.Fatalf("latchkey serve is not ready:\n%s", p.log)
}

// Kill ends the process without a chance to tidy up (SIGKILL).
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	_ = p.cmd.Wait()         // "signal: killed" is what was asked for
	p.cmd = nil
	p.Transport.(*http.Transport).CloseIdleConnections()
}

// People makes accounts with the default password, hashed as the server would.
func (p *Process) People(n int) []Person {
	p.t.Helper()
	srv, err := server.New(p.Config, server.Options{Logger: logger(p.t)})
	p.must(err)
	ctx := context.Background()
	phc, err := srv.Passwords().Hash(ctx, DefaultPassword)
	p.must(err)
	p.must(srv.Close())
	out := make([]Person, n)
	for i := range out {
		u := store.User{Email: fmt.Sprintf("p%d@example.com", i)}
		p.must(p.Store.CreateUser(ctx, &u))
		p.must(p.Store.SetPassword(ctx, "cli", u.ID, phc, false, ""))
		out[i] = Person{ID: u.ID, Email: u.Email, Password: DefaultPassword}
	}
	return out
}
