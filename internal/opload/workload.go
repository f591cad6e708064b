//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// workload is one kind of operation. setup runs once per virtual user before
// the clock starts and returns the operation to repeat; after, when set, is
// checked when the clock has stopped.
type workload struct {
	name  string
	setup func(s *Session, d time.Duration) (op func() error, after func() error, err error)
}

// errDone ends a worker before its time: it has nothing left to do.
var errDone = errors.New("done")

var workloads = []workload{
	{"discovery", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		return document(s, s.t.Discovery, func(b []byte) error { _, err := s.t.parseMetadata(b); return err }), nil, nil
	}},
	{"jwks", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		return document(s, s.meta.JWKS, func(b []byte) error { _, err := parseKeys(b); return err }), nil, nil
	}},
	{"cc", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		last := ""
		return func() error {
			tok, err := s.machineToken()
			if err == nil && tok.Access == last {
				err = errors.New("the same token twice")
			} else if err == nil {
				last = tok.Access
			}
			return err
		}, nil, nil
	}},
	{"code", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		_, err := s.authorize(s.t.Client.Scope) // logs in and consents
		return func() error { _, err := s.authorize(s.t.Client.Scope); return err }, nil, err
	}},
	{"refresh", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		tok, err := s.authorize(s.t.OfflineScope)
		if err != nil {
			return nil, nil, err
		}
		if tok.Refresh == "" {
			return nil, nil, errors.New("no refresh token")
		}
		return func() error {
			next, err := s.token(&s.t.Client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.Refresh}})
			switch {
			case err != nil:
				return err
			case next.Refresh == "" || next.Refresh == tok.Refresh:
				return errors.New("the refresh token was not rotated")
			case next.Access == tok.Access:
				return errors.New("the same access token twice")
			}
			tok = next
			return nil
		}, nil, nil
	}},
	{"introspect", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		var tok *tokens
		var err error
		if s.t.Introspect == "machine" {
			tok, err = s.machineToken()
		} else {
			tok, err = s.authorize(s.t.Client.Scope)
		}
		if err != nil {
			return nil, nil, err
		}
		return func() error { return s.introspect(tok.Access, true) }, nil, nil
	}},
	{"userinfo", func(s *Session, _ time.Duration) (func() error, func() error, error) {
		tok, err := s.authorize(s.t.Client.Scope)
		if err != nil {
			return nil, nil, err
		}
		return func() error {
			res, err := s.get(s.meta.Userinfo, "Authorization", "Bearer "+tok.Access)
			if err != nil {
				return err
			}
			var who struct{ Sub string }
			if err := json.Unmarshal(res.body, &who); err != nil || res.status != 200 || who.Sub != s.subject {
				return fmt.Errorf("userinfo: status %d, want subject %q: %.200s", res.status, s.subject, res.body)
			}
			return nil
		}, nil, nil
	}},
	{"revoke", revokeSetup},
}

// document repeats a GET of a document that is parsed whenever it changes.
func document(s *Session, u string, check func([]byte) error) func() error {
	var seen []byte
	return func() error {
		res, err := s.get(u)
		if err != nil {
			return err
		}
		if res.status != 200 {
			return fmt.Errorf("GET %s: status %d: %.200s", u, res.status, res.body)
		}
		if bytes.Equal(res.body, seen) {
			return nil
		}
		seen = res.body
		return check(seen)
	}
}

// revokeSetup mints tokens for as long as the run will last, because a token
// can be revoked only once. Afterwards the first one must be inactive.
func revokeSetup(s *Session, d time.Duration) (func() error, func() error, error) {
	const max = 20000
	var pool []string
	c := s.t.Machine
	for end := time.Now().Add(d); time.Now().Before(end) && len(pool) < max; {
		var tok *tokens
		var err error
		if s.t.Revoke == "refresh" {
			c = &s.t.Client
			if tok, err = s.authorize(s.t.OfflineScope); err == nil {
				pool = append(pool, tok.Refresh)
			}
		} else if tok, err = s.machineToken(); err == nil {
			pool = append(pool, tok.Access)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	first := pool[0]
	op := func() error {
		if len(pool) == 0 {
			return errDone
		}
		form := url.Values{"token": {pool[0]}}
		pool = pool[1:]
		res, err := s.post(s.meta.Revocation, c, form)
		if err == nil && res.status != 200 {
			err = fmt.Errorf("revoke: status %d: %.200s", res.status, res.body)
		}
		return err
	}
	after := func() error {
		if s.meta.Introspection == "" {
			return nil
		}
		return s.introspect(first, false)
	}
	return op, after, nil
}

func (s *Session) machineToken() (*tokens, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s.t.Machine.Scope != "" {
		form.Set("scope", s.t.Machine.Scope)
	}
	return s.token(s.t.Machine, form)
}

func (s *Session) introspect(token string, active bool) error {
	res, err := s.post(s.meta.Introspection, s.t.Introspector, url.Values{"token": {token}})
	if err != nil {
		return err
	}
	var state struct{ Active *bool }
	if err := json.Unmarshal(res.body, &state); err != nil || res.status != 200 || state.Active == nil || *state.Active != active {
		return fmt.Errorf("introspect: status %d, want active %t: %.200s", res.status, active, res.body)
	}
	return nil
}

// result is one measured run.
type result struct {
	Target   string        `json:"target"`
	Workload string        `json:"workload"`
	Conc     int           `json:"concurrency"`
	Active   int           `json:"active"` // virtual users that could be set up
	Elapsed  time.Duration `json:"elapsed_ns"`
	Ops      int           `json:"ops"`
	Errors   int           `json:"errors"`
	Samples  []string      `json:"error_samples,omitempty"`
	P50      time.Duration `json:"p50_ns"`
	P95      time.Duration `json:"p95_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	SelfCPU  time.Duration `json:"generator_cpu_ns"`
	Usage    []usage       `json:"usage"`
	OtherCPU time.Duration `json:"other_cpu_ns"` // used by processes that are neither watched nor the generator
	Steal    time.Duration `json:"steal_ns"`     // taken by the hypervisor
	Load     string        `json:"loadavg_before"`
	Start    time.Time     `json:"start"`
}

// run drives a workload with one goroutine per session for d and measures it.
// Latencies are of successful operations only.
func run(w workload, sessions []*Session, d time.Duration, pids map[string]int) *result {
	r := &result{Target: sessions[0].t.Name, Workload: w.name, Conc: len(sessions), Load: loadavg(), Start: time.Now()}
	var mu sync.Mutex
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		r.Errors++
		if len(r.Samples) < 3 {
			r.Samples = append(r.Samples, err.Error())
		}
	}
	type worker struct {
		op, after func() error
		latency   []time.Duration
	}
	workers := make([]worker, len(sessions))
	each := func(f func(i int, w *worker)) {
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() { f(i, &workers[i]) })
		}
		wg.Wait()
	}
	var active atomic.Int64
	each(func(i int, k *worker) {
		for try := range 10 {
			var err error
			if k.op, k.after, err = w.setup(sessions[i], d); err == nil {
				active.Add(1)
				return
			}
			k.op = nil
			fail(fmt.Errorf("setup: %w", err))
			time.Sleep(time.Duration(try*20) * time.Millisecond)
		}
	})
	r.Active = int(active.Load())
	var stops []func() usage
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		stops = append(stops, watch(name, pids[name]))
	}
	busy, steal := hostCPU()
	self, start, stop := selfCPU(), time.Now(), atomic.Bool{}
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	each(func(_ int, k *worker) {
		for failed := 0; k.op != nil && !stop.Load() && failed < 20; {
			t0 := time.Now()
			switch err := k.op(); err {
			case nil:
				k.latency = append(k.latency, time.Since(t0))
			case errDone:
				return
			default:
				fail(err)
				failed++
			}
		}
	})
	r.Elapsed, r.SelfCPU = time.Since(start), selfCPU()-self
	timer.Stop()
	busyEnd, stealEnd := hostCPU()
	r.OtherCPU, r.Steal = busyEnd-busy-r.SelfCPU, stealEnd-steal
	for _, s := range stops {
		u := s()
		r.OtherCPU -= u.CPU
		r.Usage = append(r.Usage, u)
	}
	var all []time.Duration
	for _, k := range workers {
		all = append(all, k.latency...)
		if k.op != nil && k.after != nil {
			if err := k.after(); err != nil {
				fail(fmt.Errorf("after: %w", err))
			}
		}
	}
	slices.Sort(all)
	if r.Ops = len(all); r.Ops > 0 {
		at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
		r.P50, r.P95, r.P99, r.Max = at(.50), at(.95), at(.99), at(1)
	}
	return r
}
