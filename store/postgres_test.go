package store_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestSec_J5_PoolEmpty: whoever finds no connection within a second is told so, and service goes on by itself.
func TestSec_J5_PoolEmpty(t *testing.T) {
	t.Parallel()
	s := storetest.OpenWith(t, store.Postgres, store.Config{Readers: 1})
	ctx := t.Context()
	u := user(t, s)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Tx(ctx, func(context.Context) error { close(entered); <-release; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-entered
	start := time.Now()
	_, err := s.User(ctx, u.ID)
	is(t, err, store.ErrUnavailable, "read")
	if d := time.Since(start); d < 900*time.Millisecond || d > 5*time.Second {
		t.Errorf("answered after %s", d)
	}
	hurry, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = s.User(hurry, u.ID)
	is(t, err, context.DeadlineExceeded, "read by somebody in a hurry")
	close(release)
	wg.Wait()
	_, err = s.User(ctx, u.ID)
	must(t, err)
}

// TestSec_J5_LockHeld: a table that somebody locked costs a second, not a queue without end, and is never a wrong answer.
func TestSec_J5_LockHeld(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.OpenWith(t, store.Postgres, store.Config{URL: url})
	ctx := t.Context()
	u := user(t, s)
	db := behind(t, store.Postgres, url)
	tx, err := db.BeginTx(ctx, nil)
	must(t, err)
	_, err = tx.ExecContext(ctx, `LOCK TABLE users IN ACCESS EXCLUSIVE MODE`)
	must(t, err)
	start := time.Now()
	results := together(8, func(i int) error {
		switch i % 3 {
		case 0:
			_, err := s.User(ctx, u.ID)
			return err
		case 1:
			return s.TouchLogin(ctx, u.ID, s.Now())
		}
		return s.DisableUser(ctx, "cli", u.ID, "x")
	})
	equal(t, countOK(t, results, store.ErrUnavailable), 0, "statements that waited for the lock")
	if d := time.Since(start); d > 6*time.Second {
		t.Errorf("answered after %s", d)
	}
	_, err = s.Marked(ctx, "x") // another table
	must(t, err)
	must(t, tx.Rollback())
	got, err := s.User(ctx, u.ID)
	must(t, err)
	equal(t, got.DisabledAt, store.Time{}, "a refused change")
}

// TestSec_J4_ConnectionsCut: the server ends our connections while callers are at work. They get an answer or ErrUnavailable, and what was
// acknowledged is there.
func TestSec_J4_ConnectionsCut(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.OpenWith(t, store.Postgres, store.Config{URL: url})
	ctx := t.Context()
	u := user(t, s)
	db := behind(t, store.Postgres, url)
	var stop atomic.Bool
	var mu sync.Mutex
	var granted []string
	var failed int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				g := newGrant(s, u.ID)
				created, err := s.CreateGrant(ctx, g)
				if err == nil {
					_, _, err = s.LiveGrant(ctx, g.ID)
					mu.Lock()
					granted = append(granted, g.ID)
					mu.Unlock()
				}
				if err == nil {
					err = s.Audit(ctx, "cli", "test", "x", nil)
				}
				switch {
				case errors.Is(err, store.ErrUnavailable):
					mu.Lock()
					failed++
					mu.Unlock()
				case err != nil:
					t.Errorf("a wrong reason: %v", err)
				case !created:
					t.Error("a grant of nobody's is said to exist")
				}
			}
		})
	}
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		run(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	}
	stop.Store(true)
	wg.Wait()
	if failed == 0 || len(granted) == 0 {
		t.Errorf("%d failed, %d granted: nothing was tested", failed, len(granted))
	}
	for _, id := range granted {
		if _, err := s.Grant(ctx, id); err != nil {
			t.Errorf("an acknowledged grant: %v", err)
		}
	}
	whole(t, s)
}

// TestSec_J4_DeadlockIsRetried: PostgreSQL undoes one of two transactions that wait for each other; it is run again, and both callers
// get what they came for, once.
func TestSec_J4_DeadlockIsRetried(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.Postgres)
	ctx := t.Context()
	a, b := user(t, s), user(t, s)
	var met sync.WaitGroup
	met.Add(2)
	var runs atomic.Int64
	results := together(2, func(i int) error {
		first, second := a, b
		if i == 1 {
			first, second = b, a
		}
		once := sync.OnceFunc(func() { met.Done(); met.Wait() })
		return s.Tx(ctx, func(ctx context.Context) error {
			runs.Add(1)
			if err := s.TouchLogin(ctx, first.ID, s.Now()); err != nil {
				return err
			}
			once()
			if err := s.TouchLogin(ctx, second.ID, s.Now()); err != nil {
				return err
			}
			return s.Audit(ctx, "cli", "test", "x", nil)
		})
	})
	equal(t, countOK(t, results), 2, "transactions")
	equal(t, runs.Load(), 3, "runs")
	list, err := s.AuditEntries(ctx, 0, 10)
	must(t, err)
	equal(t, len(list), 2, "audit entries")
	whole(t, s)
}

// frozen is a road to the database that a test can close: connections stay open and say nothing, as with a machine that hangs.
type frozen struct {
	net.Listener
	mu sync.RWMutex // held for writing while frozen
}

func freezable(t testing.TB, address string) (*frozen, string) {
	t.Helper()
	c, err := pgx.ParseConfig(address)
	must(t, err)
	network, to := pgconn.NetworkAddress(c.Host, c.Port)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &frozen{Listener: l}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				f.mu.RLock() // while it hangs, new connections get no answer either
				f.mu.RUnlock()
				out, err := net.Dial(network, to)
				if err != nil {
					t.Error(err)
					return
				}
				wg.Go(func() { f.copy(in, out) })
				f.copy(out, in)
			})
		}
	})
	u, err := url.Parse(address)
	must(t, err)
	u.Host, u.RawQuery = l.Addr().String(), "sslmode=disable"
	return f, u.String()
}

func (f *frozen) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 8192)
	for {
		n, err := from.Read(b)
		f.mu.RLock()
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				err = werr
			}
		}
		f.mu.RUnlock()
		if err != nil {
			return
		}
	}
}

// TestSec_J5_Hung: a database that says nothing, in the middle of whatever, is ErrUnavailable in a few seconds, and service resumes by
// itself.
func TestSec_J5_Hung(t *testing.T) {
	t.Parallel()
	road, address := freezable(t, storetest.URL(t, store.Postgres))
	s := storetest.OpenWith(t, store.Postgres, store.Config{URL: address})
	ctx := t.Context()
	u := user(t, s)
	var inside, hung sync.WaitGroup
	inside.Add(2)
	hung.Add(1)
	var wg sync.WaitGroup
	for i := range 2 { // one hangs at a statement, the other at COMMIT
		wg.Go(func() {
			once := sync.OnceFunc(inside.Done)
			err := s.Tx(ctx, func(ctx context.Context) error {
				_, err := s.Mark(ctx, id(), s.Now().Add(time.Hour))
				once()
				hung.Wait()
				if err == nil && i == 0 {
					_, err = s.Marked(ctx, "x")
				}
				return err
			})
			is(t, err, store.ErrUnavailable, "a transaction under way")
		})
	}
	inside.Wait()
	road.mu.Lock()
	start := time.Now()
	hung.Done()
	results := together(12, func(i int) error {
		switch i % 4 {
		case 0:
			_, err := s.Live(ctx, u.ID)
			return err
		case 1:
			_, err := s.CreateGrant(ctx, newGrant(s, u.ID))
			return err
		case 2:
			return s.DisableUser(ctx, "cli", u.ID, "x")
		}
		began := time.Now()
		err := s.Ping(ctx)
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("readiness took %s", d)
		}
		return err
	})
	equal(t, countOK(t, results, store.ErrUnavailable), 0, "answers of a database that hangs")
	wg.Wait()
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("answered after %s", d)
	}
	road.mu.Unlock()
	var err error
	for range 50 {
		if err = s.Ping(ctx); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(t, err)
	got, err := s.User(ctx, u.ID)
	must(t, err)
	equal(t, got.DisabledAt, store.Time{}, "a refused change")
}
