//go:build linux

package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed targets/latchkey.json targets/latchkey.yaml targets/null.json
var targets embed.FS

// compareCommand runs the workloads against the null provider and a fresh Latchkey by turns and prints a table of medians. Both are
// started here, on loopback, and stopped again; Latchkey keeps its data in a folder of its own that is removed.
func compareCommand(bin, which, conc string, d time.Duration, alg, out string, repeat int) error {
	dir, err := os.MkdirTemp("", "opload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if bin == "" {
		bin = filepath.Join(dir, "latchkey")
		build := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/latchkey-idp/latchkey/cmd/latchkey")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building latchkey: %w", err)
		}
	}
	for _, name := range []string{"latchkey.json", "latchkey.yaml", "null.json"} {
		b, err := targets.ReadFile("targets/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill(string(b), dir, alg)), 0o600); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	levels, err := parseLevels(conc)
	if err != nil {
		return err
	}
	for vu := range slices.Max(levels) { // an account for each virtual user: sign-ins of one account at once are slowed down
		cmd := exec.Command(bin, "user", "create", "--email", fmt.Sprintf("opload%d@example.com", vu), "--email-verified", "--password-stdin",
			"--config", filepath.Join(dir, "latchkey.yaml"))
		cmd.Stdin = strings.NewReader(password + "\n")
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("latchkey user create: %w: %s", err, said)
		}
	}
	var systems []*system
	for _, s := range []struct {
		name string
		argv []string
	}{
		{"null", []string{self, "null", "-alg", alg}},
		{"latchkey", []string{bin, "serve", "--config", filepath.Join(dir, "latchkey.yaml")}},
	} {
		sys, stop, err := startSystem(s.name, filepath.Join(dir, s.name+".json"), s.argv, slices.Max(levels))
		if err != nil {
			return err
		}
		defer stop()
		systems = append(systems, sys)
	}
	all := map[string][]*result{} // by workload, level and system
	for range repeat {
		for _, w := range selectedNames(which) {
			for _, n := range levels {
				for _, s := range systems {
					rs, err := s.run(w, n, d)
					if err != nil {
						return fmt.Errorf("%s: %w", s.name, err)
					}
					for _, r := range rs {
						printResult(r)
						if err := appendJSON(out, r); err != nil {
							return err
						}
						key := fmt.Sprintf("%s\n%d\n%s", w, n, s.name)
						all[key] = append(all[key], r)
					}
				}
			}
		}
	}
	fmt.Printf("\nID tokens %s, %s a run, median of %d\n\n", alg, d, repeat)
	fmt.Println("| workload | users | null op/s | latchkey op/s | of null | latchkey CPU us/op | p50 ms | p99 ms | memory MiB |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	failed := 0
	for _, w := range selectedNames(which) {
		for _, n := range levels {
			null, ours := all[fmt.Sprintf("%s\n%d\nnull", w, n)], all[fmt.Sprintf("%s\n%d\nlatchkey", w, n)]
			if len(ours) == 0 {
				continue
			}
			for _, r := range slices.Concat(null, ours) {
				failed += r.Errors
			}
			base, rate := median(null, rateOf), median(ours, rateOf)
			fmt.Printf("| %s | %d | %.0f | %.0f | %.0f %% | %.0f | %.2f | %.2f | %.0f |\n", w, n, base, rate, 100*rate/max(base, 1),
				median(ours, func(r *result) float64 { return float64(r.Usage[0].CPU.Microseconds()) / float64(max(r.Ops, 1)) }),
				median(ours, func(r *result) float64 { return ms(r.P50) }), median(ours, func(r *result) float64 { return ms(r.P99) }),
				median(ours, func(r *result) float64 { return float64(r.Usage[0].SteadyRSS) / (1 << 20) }))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d operations failed", failed)
	}
	return nil
}

// password of the accounts, as targets/latchkey.json has it.
const password = "correct horse battery staple"

// fill puts the folder and the algorithm of this run into a target's file.
func fill(text, dir, alg string) string {
	return strings.NewReplacer("DIR", dir, "ALG", alg, "null-rs256", "null "+alg).Replace(text)
}

func rateOf(r *result) float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

func median(rs []*result, of func(*result) float64) float64 {
	var vs []float64
	for _, r := range rs {
		vs = append(vs, of(r))
	}
	if len(vs) == 0 {
		return 0
	}
	slices.SortFunc(vs, cmp.Compare[float64])
	return vs[len(vs)/2]
}

// system is a provider this command started, with its virtual users.
type system struct {
	name     string
	target   *Target
	pid      int
	sessions []*Session
}

// run measures one workload, nothing when the target cannot run it.
func (s *system) run(workload string, conc int, d time.Duration) ([]*result, error) {
	list, err := selected(s.target, workload)
	if err != nil {
		return nil, err
	}
	var rs []*result
	for _, w := range list {
		rs = append(rs, run(w, s.sessions[:conc], d, map[string]int{s.name: s.pid}))
	}
	return rs, nil
}

// startSystem starts a provider, waits until its discovery document is there, and makes its virtual users.
func startSystem(name, target string, argv []string, users int) (*system, func(), error) {
	t, err := loadTarget(target)
	if err != nil {
		return nil, nil, err
	}
	if res, err := newSession(t, nil, nil, newTransport(t, 1), 0).get(t.Discovery); err == nil && res.status == http.StatusOK {
		return nil, nil, fmt.Errorf("%s: something already answers at %s", name, t.Issuer)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, nil, err
	}
	gone := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended does not matter: it was told to
		close(gone)
	}()
	stop := func() { cancel(); <-gone }
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if res, err := newSession(t, nil, nil, newTransport(t, 1), 0).get(t.Discovery); err == nil && res.status == http.StatusOK {
			t, session, err := connect(target, users)
			if err != nil {
				stop()
				return nil, nil, err
			}
			sys := &system{name: name, target: t, pid: cmd.Process.Pid}
			for vu := range users {
				sys.sessions = append(sys.sessions, session(vu))
			}
			return sys, stop, nil
		}
		select {
		case <-gone:
			cancel()
			return nil, nil, fmt.Errorf("%s ended before it was ready", name)
		default:
		}
	}
	stop()
	return nil, nil, errors.New(name + ": no discovery document within 30 s")
}

// selectedNames are the workloads named in which, all for "".
func selectedNames(which string) (names []string) {
	if which != "" {
		return strings.Split(which, ",")
	}
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}
