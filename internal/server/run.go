package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// drainTime is how long requests that were accepted may take after the process was asked to stop (security.md J10).
const drainTime = 20 * time.Second

// Addresses are where a running server listens.
type Addresses struct {
	Public     string // host:port of the public listener
	Management string // host:port of the management listener; "" = off
}

// Run serves until ctx ends, then drains: readiness goes off first, whoever watches it is told, requests under way are finished, all
// within 20 seconds, and Run answers nil.
// It closes the database at its end, so a Server runs once.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()

	l, err := listen(ctx, "the public listener (http.listen)", s.cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	public := limited(l, s.cfg.Limits.MaxConnections)
	defer public.Close() // a second close, after Shutdown's, is harmless
	var admin net.Listener
	if s.cfg.HTTP.Management.Listen != "" {
		if admin, err = listen(ctx, "the management listener (http.management)", s.cfg.HTTP.Management.Listen); err != nil {
			return err
		}
		defer admin.Close()
	}

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var background sync.WaitGroup
	if !s.opts.NoBackground {
		s.background(work, &background)
	}

	pub, adm := httpServer(s.Handler(), s.log), httpServer(s.Management(), s.log)
	pub.ConnState = public.state
	adm.WriteTimeout = 0 // a CPU profile or a trace takes as long as its reader asks for
	failed := make(chan error, 2)
	serve := func(what string, run func() error) {
		go func() {
			if err := run(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("the %s listener stopped: %w", what, err)
			}
		}()
	}
	if s.certs != nil {
		pub.TLSConfig = s.certs.config()
		serve("public", func() error { return pub.ServeTLS(public, "", "") })
	} else {
		serve("public", func() error { return pub.Serve(public) })
	}
	at := Addresses{Public: public.Addr().String()}
	if admin != nil {
		at.Management = admin.Addr().String()
		serve("management", func() error { return adm.Serve(admin) })
	}
	s.log.InfoContext(ctx, "serving", "issuer", s.issuer, "listen", at.Public, "management", at.Management, "tls", s.certs != nil,
		"database", s.store.Engine(), "version", Version())
	if s.opts.Ready != nil {
		s.opts.Ready(at)
	}

	for ctx.Err() == nil && err == nil { // err: a listener is gone
		select {
		case <-ctx.Done():
		case err = <-failed:
		case sig := <-s.opts.Reload:
			s.log.InfoContext(ctx, "asked to reload the configuration", "signal", signalName(sig))
			_ = s.Reload(work) // told in the log, problem by problem; the settings in use stay
		}
	}

	started := s.now()
	drain := s.opts.DrainTime
	if drain == 0 {
		drain = drainTime
	}
	s.log.InfoContext(work, "stopping: readiness is off, requests under way are finished", "at_most", drain)
	end, cancel := context.WithTimeout(work, drain)
	defer cancel()
	if err == nil {
		s.ready.drain(end)
	}
	if serr := pub.Shutdown(end); serr != nil {
		// The rest had their time; cutting them off is the promise, not a failure.
		s.log.WarnContext(work, "requests were cut off after the drain time", "after", drain)
		_ = pub.Close()
	}
	stopWork()
	background.Wait()
	_ = adm.Close() // last, so that probes see "draining" until the end
	s.log.InfoContext(work, "stopped", "took", s.now().Sub(started).Round(time.Millisecond))
	return err
}

// background starts the loops that need no request. Each ends with ctx; a panic in one is logged and the loop goes on, because
// a server without its purge still signs people in.
func (s *Server) background(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { s.store.Watch(ctx) })
	if s.delivery != nil {
		wg.Go(func() { s.delivery.Run(ctx) })
	}
	wg.Go(func() { s.logouts.Run(ctx) })
	every := func(d time.Duration, what string, f func(context.Context) error) {
		wg.Go(func() {
			t := time.NewTicker(d)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					s.once(ctx, what, f)
				}
			}
		})
	}
	wg.Go(func() {
		s.once(ctx, "connectors that are gone", func(ctx context.Context) error {
			n, err := s.store.EndForeignConnectors(ctx, s.login.WaysIn(), "connector removed")
			if n > 0 {
				s.log.InfoContext(ctx, "ended what came by connectors that are not configured any more", "grants", n)
			}
			return err
		})
	})
	every(time.Minute, "purge", func(ctx context.Context) error {
		n, err := s.store.Purge(ctx)
		s.metrics.purged.Add(float64(max(n, 0)))
		return err
	})
	every(time.Minute, "accounts whose owners asked for their end", func(ctx context.Context) error {
		gone, err := s.store.EraseDue(ctx, idlePerRun)
		for _, id := range gone {
			s.log.InfoContext(ctx, "erased an account as its owner asked", "user", id)
		}
		return err
	})
	if newIdlePolicy(s.cfg).on() {
		every(idleEvery, "accounts that nobody uses", s.idle)
	}
	// Another process, or latchkey key, changed keys: noticed within a second. The half minute is for changes of the clock alone.
	changed := make(chan struct{}, 1)
	s.store.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default: // told already
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				s.once(ctx, "key reload", s.keys.Reload)
			}
		}
	})
	every(30*time.Second, "key reload", s.keys.Reload)
	every(5*time.Minute, "key maintenance", s.keys.Maintain)
}

func (s *Server) once(ctx context.Context, what string, f func(context.Context) error) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.ErrorContext(ctx, "panic in the background", "loop", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	if err := f(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "background work failed, it will be tried again", "loop", what, "err", err)
	}
}

func signalName(sig os.Signal) string {
	if sig == nil {
		return ""
	}
	return sig.String()
}
