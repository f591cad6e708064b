package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// readiness says whether this process should get requests: not while it drains, and not while its database does not answer.
type readiness struct {
	ping     func(context.Context) error
	now      func() time.Time
	draining atomic.Bool
	told     atomic.Bool // somebody has heard that it drains

	probes sync.Mutex
	probed [2]time.Time // the two latest questions, newest first

	mu    sync.Mutex // one question at a time; the others share its answer
	asked time.Time
	err   error
}

const (
	// A proxy that asked for readiness twice within watchedFor is taken to send requests here, and to ask again.
	watchedFor = 30 * time.Second
	// It is waited for twice as long as between its questions, at least a second and at most tellTime; then toldMargin for others
	// like it, and for requests already on their way.
	tellTime   = 10 * time.Second
	toldMargin = time.Second
)

// note remembers a question.
func (r *readiness) note() {
	r.probes.Lock()
	defer r.probes.Unlock()
	r.probed[1], r.probed[0] = r.probed[0], r.now()
}

// watched says how long whoever watches readiness is waited for; 0 = nobody does.
func (r *readiness) watched() time.Duration {
	r.probes.Lock()
	defer r.probes.Unlock()
	now := r.now()
	if r.probed[1].IsZero() || now.Sub(r.probed[1]) > watchedFor {
		return 0
	}
	return min(max(2*r.probed[0].Sub(r.probed[1]), time.Second), tellTime)
}

// drain turns readiness off and waits until whoever watches it knows, or ctx ends; until then requests are served as always. Closing
// the listener and idle connections at once would break what a proxy is sending at that moment. Where nobody watches, nothing
// is waited for.
func (r *readiness) drain(ctx context.Context) {
	r.draining.Store(true)
	patience := r.watched()
	if patience == 0 {
		return
	}
	until, heard := r.now().Add(patience), false
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for r.now().Before(until) {
		if !heard && r.told.Load() {
			until, heard = r.now().Add(toldMargin), true
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// readyCache is how long one answer of the database serves everybody (security.md I7): a probe cannot be made a load.
const readyCache = time.Second

var errDraining = errors.New("draining: this process is about to stop")

// check answers nil when ready.
func (r *readiness) check(ctx context.Context) error {
	r.note()
	if r.draining.Load() {
		r.told.Store(true)
		return errDraining
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.asked.IsZero() || now.Sub(r.asked) >= readyCache || now.Before(r.asked) {
		// The question is the server's, not the prober's: one that hangs up must not turn the others' answer red.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 1500*time.Millisecond)
		r.err = r.ping(ctx)
		cancel()
		r.asked = r.now()
	}
	return r.err
}

// management is the handler of the listener for operators: no TLS, no sessions, on loopback unless the configuration says
// otherwise. Nothing here is on the public listener.
// m is nil where metrics are switched off.
func management(ready *readiness, m *metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		switch err := ready.check(r.Context()); {
		case err == nil:
			plain(w, http.StatusOK, "ready")
		case errors.Is(err, errDraining):
			plain(w, http.StatusServiceUnavailable, "draining")
		default:
			plain(w, http.StatusServiceUnavailable, "the database does not answer")
		}
	})
	if m != nil {
		mux.Handle("GET /metrics", m.handler())
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return notForWebPages(mux)
}

// notForWebPages refuses what a hostile page in an operator's browser could send here: requests across sites carry Origin or
// Sec-Fetch-Site, and one through a rebound name (DNS rebinding) carries that name as Host while the connection is loopback.
func notForWebPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin" || rebound(r) {
			plain(w, http.StatusForbidden, "not for web pages")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// rebound says whether a request that came over loopback names a host that is not this machine's.
func rebound(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !isLoopback(local.String()) {
		return false
	}
	return !isLoopback(r.Host)
}

// isLoopback says whether addr, host or host:port, is a loopback literal or localhost.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the peer is gone: nobody to tell
}
