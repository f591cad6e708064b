//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// The target file fits Latchkey's pages: every workload runs, with sign-in and consent on the way.
func TestLatchkeyTarget(t *testing.T) {
	t.Parallel()
	raw, err := targets.ReadFile("targets/latchkey.json")
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := targets.ReadFile("targets/latchkey.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "latchkey.yaml")
	if err := os.WriteFile(file, []byte(fill(string(yaml), dir, "ES256")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	idp := testidp.Start(t, testidp.Options{Plain: true, Config: func(cfg *config.Config) { cfg.Clients = c.Clients }})
	const users = 2
	for vu := range users {
		idp.User(testidp.Person{Email: fmt.Sprintf("opload%d@example.com", vu), Password: password})
	}
	var target map[string]any
	if err := json.Unmarshal(raw, &target); err != nil {
		t.Fatal(err)
	}
	target["issuer"] = idp.Issuer
	if raw, err = json.Marshal(target); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "target.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_, session, err := connect(path, users)
	if err != nil {
		t.Fatal(err)
	}
	sessions := []*Session{session(0), session(1)}
	for _, w := range workloads {
		if r := run(w, sessions, 100*time.Millisecond, nil); r.Ops == 0 || r.Errors > 0 {
			t.Errorf("%s: %d ops, %d errors: %q", w.name, r.Ops, r.Errors, r.Samples)
		}
	}
}
