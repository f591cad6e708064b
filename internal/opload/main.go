//go:build linux

// Opload measures an OpenID provider on this machine: throughput, latency and
// the CPU and memory the provider's processes use for it.
//
//	opload run   -target T.json [-w cc,code] [-c 1,16,64] [-d 10s] [-pid server=123,db=45] [-o results.jsonl]
//	opload check -target T.json [-w code]          one traced operation of each workload
//	opload cold  -target T.json [-n 5] [-size PATH] -- command [args]
//	opload null  [-addr 127.0.0.1:9099] [-alg RS256]   the reference provider: no storage, no logic
//	opload compare [-w code,refresh] [-c 16] [-d 10s] [-n 3] [-alg RS256] [-latchkey PATH]
//	                                                   the null provider and a fresh Latchkey by turns, as a table
//
// It connects to loopback addresses only, and every run is bounded in time. README.md has the rest.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fatal(errors.New("usage: opload run|check|cold|null|compare [flags]"))
	}
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var (
		target  = f.String("target", "", "target `file`")
		which   = f.String("w", "", "workloads, comma-separated (default: all)")
		conc    = f.String("c", "1,16,64", "concurrency levels")
		d       = f.Duration("d", 10*time.Second, "duration of each run")
		pids    = f.String("pid", "", "processes to watch, as name=pid,name=pid")
		out     = f.String("o", "", "append results to this `file` as JSON lines")
		repeat  = f.Int("n", 1, "number of repetitions")
		size    = f.String("size", "", "cold: installed `path` whose size to report")
		addr    = f.String("addr", "127.0.0.1:9099", "null: listen address")
		alg     = f.String("alg", "RS256", "null, compare: RS256, ES256 or EdDSA")
		bin     = f.String("latchkey", "", "compare: the latchkey `binary` (default: built from this module)")
		profile = f.Bool("pprof", false, "null: serve /debug/pprof/")
	)
	f.Parse(os.Args[2:])
	var err error
	switch os.Args[1] {
	case "run":
		err = runCommand(*target, *which, *conc, *d, *pids, *out, *repeat)
	case "check":
		err = checkCommand(*target, *which)
	case "cold":
		err = coldCommand(*target, *repeat, *size, *out, f.Args())
	case "null":
		err = serveNull(*addr, *alg, *profile)
	case "compare":
		err = compareCommand(*bin, *which, *conc, *d, *alg, *out, *repeat)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "opload:", err)
	os.Exit(1)
}

// connect loads a target and the documents it publishes.
func connect(path string, conns int) (*Target, func(vu int) *Session, error) {
	t, err := loadTarget(path)
	if err != nil {
		return nil, nil, err
	}
	rt := newTransport(t, conns)
	s := newSession(t, nil, nil, rt, 0)
	res, err := s.get(t.Discovery)
	if err != nil {
		return nil, nil, err
	}
	meta, err := t.parseMetadata(res.body)
	if err != nil {
		return nil, nil, err
	}
	if res, err = s.get(meta.JWKS); err != nil {
		return nil, nil, err
	}
	keys, err := parseKeys(res.body)
	return t, func(vu int) *Session { return newSession(t, meta, keys, rt, vu) }, err
}

// selected returns the workloads named in which that the target supports.
func selected(t *Target, which string) (list []workload, err error) {
	if which == "" {
		for _, w := range workloads {
			if t.Skip[w.name] == "" {
				list = append(list, w)
			}
		}
		return list, nil
	}
	for name := range strings.SplitSeq(which, ",") {
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown workload %q", name)
		}
		if t.Skip[name] == "" {
			list = append(list, workloads[i])
		}
	}
	return list, nil
}

func runCommand(target, which, conc string, d time.Duration, pids, out string, repeat int) error {
	watched := map[string]int{}
	for item := range strings.SplitSeq(pids, ",") {
		if name, pid, ok := strings.Cut(item, "="); ok {
			watched[name], _ = strconv.Atoi(pid)
			if _, _, err := procStat(watched[name]); err != nil {
				return err
			}
		}
	}
	levels, err := parseLevels(conc)
	if err != nil {
		return err
	}
	t, session, err := connect(target, slices.Max(levels))
	if err != nil {
		return err
	}
	list, err := selected(t, which)
	if err != nil {
		return err
	}
	sessions := make([]*Session, slices.Max(levels))
	for i := range sessions {
		sessions[i] = session(i)
	}
	for range repeat {
		for _, w := range list {
			for _, n := range levels {
				r := run(w, sessions[:n], d, watched)
				printResult(r)
				if err := appendJSON(out, r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// parseLevels reads numbers of virtual users.
func parseLevels(conc string) (levels []int, err error) {
	for item := range strings.SplitSeq(conc, ",") {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 || n > 1024 {
			return nil, fmt.Errorf("bad concurrency %q", item)
		}
		levels = append(levels, n)
	}
	return levels, nil
}

func printResult(r *result) {
	fmt.Printf("%-16s %-10s c=%-3d %8.1f op/s  p50 %7.2f  p95 %7.2f  p99 %7.2f  max %7.2f ms  errors %d/%d",
		r.Target, r.Workload, r.Conc, float64(r.Ops)/r.Elapsed.Seconds(), ms(r.P50), ms(r.P95), ms(r.P99), ms(r.Max), r.Errors, r.Ops+r.Errors)
	perOp := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(r.Ops, 1)) }
	for _, u := range r.Usage {
		fmt.Printf("  %s: %.0f us/op, rss %d MiB (peak %d)", u.Name, perOp(u.CPU), u.SteadyRSS>>20, u.PeakRSS>>20)
	}
	fmt.Printf("  generator: %.0f us/op  others: %.0f%% of a core\n", perOp(r.SelfCPU), 100*r.OtherCPU.Seconds()/r.Elapsed.Seconds())
	if r.Active < r.Conc {
		fmt.Printf("    only %d of %d virtual users could be set up\n", r.Active, r.Conc)
	}
	for _, e := range r.Samples {
		fmt.Println("    error:", e)
	}
}

// checkCommand runs every workload once with the HTTP exchanges on stderr.
func checkCommand(target, which string) error {
	t, session, err := connect(target, 1)
	if err != nil {
		return err
	}
	list, err := selected(t, which)
	if err != nil {
		return err
	}
	failed := 0
	for i, w := range list {
		s := session(i)
		s.trace = true
		fmt.Fprintf(os.Stderr, "--- %s\n", w.name)
		op, after, err := w.setup(s, time.Millisecond)
		if err == nil {
			err = op()
		}
		if err == nil && after != nil {
			err = after()
		}
		if err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", w.name, err)
			continue
		}
		fmt.Printf("ok   %s\n", w.name)
	}
	for name, why := range t.Skip {
		fmt.Printf("skip %s: %s\n", name, why)
	}
	if failed > 0 {
		return fmt.Errorf("%d workloads failed", failed)
	}
	return nil
}

// coldCommand starts the command, waits for the discovery document, measures
// the idle memory 5 s after the start, and stops the command again.
func coldCommand(target string, n int, sizePath, out string, argv []string) error {
	t, err := loadTarget(target)
	if err != nil {
		return err
	}
	if len(argv) == 0 {
		return errors.New("cold: no command")
	}
	type cold struct {
		Target  string        `json:"target"`
		Ready   time.Duration `json:"ready_ns"`
		IdleRSS int64         `json:"idle_rss"`
		CPU     time.Duration `json:"cpu_ns"` // used in the first 5 s
		Size    int64         `json:"size"`
	}
	for range n {
		c := cold{Target: t.Name, Size: diskSize(sizePath)}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			return err
		}
		s := newSession(t, nil, nil, newTransport(t, 1), 0)
		for c.Ready == 0 && time.Since(start) < 60*time.Second {
			if res, err := s.get(t.Discovery); err == nil && res.status == http.StatusOK {
				c.Ready = time.Since(start)
			} else {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Until(start.Add(5 * time.Second)))
		c.IdleRSS, c.CPU = treeRSS(cmd.Process.Pid), treeCPU(cmd.Process.Pid)
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		kill.Stop()
		if c.Ready == 0 {
			return errors.New("cold: no discovery document within 60 s")
		}
		fmt.Printf("%-16s ready %.0f ms, idle RSS %.1f MiB, CPU %.0f ms, size %.1f MiB\n",
			c.Target, ms(c.Ready), float64(c.IdleRSS)/(1<<20), ms(c.CPU), float64(c.Size)/(1<<20))
		if err := appendJSON(out, c); err != nil {
			return err
		}
	}
	return nil
}

func diskSize(path string) (sum int64) {
	filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

func appendJSON(path string, v any) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(v)
}

func loadavg() string {
	raw, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(raw))
	return strings.Join(f[:min(3, len(f))], " ")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
