package server

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestSec_R13_TwoRuns: any number of processes warn and remove everybody once.
func TestSec_R13_TwoRuns(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		const people, runs = 12, 4
		for range people {
			s.user()
		}
		s.wait(400 * idleDay)
		storm := func(step IdleStep) {
			s.Helper()
			var done atomic.Int64
			var wg sync.WaitGroup
			for range runs {
				run := s.run
				wg.Go(func() {
					err := run.each(s.Context(), func(a IdleAccount) error {
						if a.Done && a.Step == step {
							done.Add(1)
						}
						return nil
					})
					if err != nil {
						s.Error(err)
					}
				})
			}
			wg.Wait()
			if done.Load() != people {
				s.Errorf("%s: done %d times for %d people", step, done.Load(), people)
			}
		}
		storm(IdleWarn)
		if got := len(s.mails()); got != people {
			s.Errorf("%d mails for %d people", got, people)
		}
		s.deliver()
		s.wait(31 * idleDay)
		storm(IdleRemove)
		log, err := s.store.AuditEntries(s.Context(), 0, 10_000)
		s.must(err)
		n := 0
		for _, e := range log {
			if e.Action == "user.erase" {
				n++
			}
		}
		if n != people {
			s.Errorf("%d erasures in the audit log", n)
		}
	})
}

// TestSec_R13_SignInMeanwhile: somebody who signs in while the run has them in hand keeps the account, also where the sign-in has not
// committed yet.
func TestSec_R13_SignInMeanwhile(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newIdleSite(t, engine, storetest.URL(t, engine))
			u := s.user()
			s.wait(400 * idleDay)
			s.want(u, "warn*")
			s.deliver()
			s.wait(31 * idleDay)
			use, err := s.store.Use(t.Context(), u.ID)
			s.must(err)
			l, err := s.store.Live(t.Context(), u.ID)
			s.must(err)
			m, err := s.store.Model(t.Context())
			s.must(err)
			if step, _, _ := s.run.policy.decide(use, l, m, s.now()); step != IdleRemove {
				t.Fatal(step)
			}
			signedIn, removed := make(chan struct{}), make(chan bool)
			go func() {
				<-signedIn
				erased, err := s.run.remove(context.Background(), u.ID)
				if err != nil {
					t.Error(err)
				}
				removed <- erased
			}()
			s.must(s.store.Tx(t.Context(), func(ctx context.Context) error {
				if err := s.store.TouchLogin(ctx, u.ID, s.now()); err != nil {
					return err
				}
				close(signedIn)
				time.Sleep(100 * time.Millisecond) // the other one is at the row by now
				return nil
			}))
			if <-removed || s.erased(u) {
				t.Error("removed")
			}
		})
	}
}
