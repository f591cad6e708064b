package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func TestTx(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		mark := func(ctx context.Context, key string) {
			t.Helper()
			_, err := s.Mark(ctx, key, s.Now().Add(time.Hour))
			must(t, err)
		}
		marked := func(key string, want bool) {
			t.Helper()
			got, err := s.Marked(ctx, key)
			must(t, err)
			equal(t, got, want, "marked "+key)
		}
		before := s.Counts()
		must(t, s.Tx(ctx, func(ctx context.Context) error {
			mark(ctx, "a")
			got, err := s.Marked(ctx, "a") // sees its own writes
			must(t, err)
			equal(t, got, true, "marked inside")
			return s.Tx(ctx, func(ctx context.Context) error { mark(ctx, "b"); return nil })
		}))
		c := s.Counts()
		equal(t, c.Transactions-before.Transactions, 1, "transactions: the inner one joins")
		equal(t, c.Writes-before.Writes, 2, "writes")
		marked("a", true)
		marked("b", true)

		is(t, s.Tx(ctx, func(ctx context.Context) error { mark(ctx, "c"); return errStop }), errStop, "its own error")
		marked("c", false)
		is(t, s.Tx(ctx, func(ctx context.Context) error {
			mark(ctx, "d")
			return s.Tx(ctx, func(ctx context.Context) error { mark(ctx, "e"); return errStop })
		}), errStop, "the inner error")
		marked("d", false)
		marked("e", false)

		func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "boom") {
					t.Errorf("recovered %v", v)
				}
			}()
			err := s.Tx(ctx, func(ctx context.Context) error { mark(ctx, "f"); panic("boom") })
			t.Errorf("the panic became %v", err)
		}()
		marked("f", false)

		// A caller who has gone away gets no further statement through.
		gone, cancel := context.WithCancel(ctx)
		err := s.Tx(gone, func(ctx context.Context) error {
			mark(ctx, "g")
			cancel()
			_, err := s.Mark(ctx, "h", s.Now().Add(time.Hour))
			return err
		})
		is(t, err, context.Canceled, "cancelled")
		marked("g", false)
		_, err = s.Mark(gone, "i", s.Now())
		is(t, err, context.Canceled, "write when cancelled")
		_, err = s.Marked(gone, "i")
		is(t, err, context.Canceled, "read when cancelled")
		is(t, s.Tx(gone, func(context.Context) error { t.Error("ran"); return nil }), context.Canceled, "Tx when cancelled")
		late, stop := context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer stop()
		_, err = s.Marked(late, "i")
		is(t, err, context.DeadlineExceeded, "read when late")
		is(t, err, store.ErrUnavailable, "read when late")

		// What the caller's struct says is what the database says.
		u := user(t, s)
		is(t, s.Tx(ctx, func(ctx context.Context) error {
			must(t, s.UpdateUser(ctx, u))
			equal(t, u.Version, 2, "version inside")
			return errStop
		}), errStop, "undone")
		equal(t, u.Version, 1, "version outside")
		must(t, s.UpdateUser(ctx, u))
	})
}

// TestTxFixesOneInstant: what one transaction writes happened at one time.
func TestTxFixesOneInstant(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		must(t, s.Tx(t.Context(), func(ctx context.Context) error {
			a, b := &store.User{}, &store.User{}
			must(t, s.CreateUser(ctx, a))
			c.Add(time.Second)
			must(t, s.CreateUser(ctx, b))
			equal(t, b.CreatedAt, a.CreatedAt, "created")
			return nil
		}))
	})
}

// TestWriterGroups: callers who wait share a commit, and one caller's failure is his own.
func TestWriterGroups(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	ctx := t.Context()
	taken := user(t, s)
	before := s.Counts()
	release := make(chan struct{})
	var wg sync.WaitGroup
	entered := make(chan struct{})
	wg.Go(func() { // holds the writer until everybody else waits
		must(t, s.Tx(ctx, func(context.Context) error { close(entered); <-release; return nil }))
	})
	<-entered
	dropped, drop := context.WithCancel(ctx)
	ran := make(chan string, 100)
	results := make(chan error, 100)
	for i := range 40 {
		wg.Go(func() {
			switch i % 5 {
			case 0: // a single statement
				_, err := s.Mark(ctx, fmt.Sprint("m", i), s.Now().Add(time.Hour))
				results <- err
			case 1: // a single statement that fails
				if err := s.CreateUser(ctx, &store.User{Username: taken.Username}); !errors.Is(err, store.ErrConflict) {
					t.Errorf("taken: %v", err)
				}
			case 2: // a transaction that fails after its first statement
				err := s.Tx(ctx, func(ctx context.Context) error {
					if _, err := s.Mark(ctx, fmt.Sprint("undone", i), s.Now().Add(time.Hour)); err != nil {
						return err
					}
					return s.CreateUser(ctx, &store.User{Username: taken.Username})
				})
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("taken in a Tx: %v", err)
				}
			case 3: // a transaction that panics
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				_ = s.Tx(ctx, func(ctx context.Context) error { // it panics
					_, _ = s.Mark(ctx, fmt.Sprint("panicked", i), s.Now().Add(time.Hour)) // before that
					panic("boom")
				})
			case 4: // a caller who gives up before his turn
				err := s.Tx(dropped, func(context.Context) error { ran <- "dropped"; return nil })
				if !errors.Is(err, context.Canceled) {
					t.Errorf("dropped: %v", err)
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	drop()
	time.Sleep(50 * time.Millisecond)
	close(release)
	wg.Wait()
	close(results)
	for err := range results {
		must(t, err)
	}
	equal(t, len(ran), 0, "dropped callers that ran")
	if n := s.Counts().Commits - before.Commits; n > 3 {
		t.Errorf("%d commits for callers who waited together", n)
	}
	for i := range 40 {
		for _, k := range []string{"m", "undone", "panicked"} {
			got, err := s.Marked(ctx, fmt.Sprint(k, i))
			must(t, err)
			equal(t, got, k == "m" && i%5 == 0, fmt.Sprint("marked ", k, i))
		}
	}
}

// TestWriterSurvivesGoexit: t.FailNow in a transaction must not take the writer with it.
func TestWriterSurvivesGoexit(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	ctx := t.Context()
	err := s.Tx(ctx, func(ctx context.Context) error {
		_, err := s.Mark(ctx, "lost", s.Now().Add(time.Hour))
		must(t, err)
		runtime.Goexit()
		return nil
	})
	is(t, err, store.ErrUnavailable, "Goexit")
	got, err := s.Marked(ctx, "lost")
	must(t, err)
	equal(t, got, false, "marked")
	_, err = s.Mark(ctx, "kept", s.Now().Add(time.Hour))
	must(t, err)
}

// TestSec_J1_BusyDatabase: somebody else holds the write lock. Short holds are waited for, a long one is ErrUnavailable for everybody
// who waits, reads go on, and service resumes by itself.
func TestSec_J1_BusyDatabase(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.SQLite)
	s := storetest.OpenWith(t, store.SQLite, store.Config{URL: url})
	ctx := t.Context()
	u := user(t, s)
	db := behind(t, store.SQLite, url)
	hold := func(until <-chan time.Time) (released chan struct{}) {
		t.Helper()
		conn, err := db.Conn(ctx)
		must(t, err)
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
		must(t, err)
		released = make(chan struct{})
		go func() {
			<-until
			if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
				t.Error(err)
			}
			conn.Close()
			close(released)
		}()
		return released
	}
	write := func(i int) error {
		_, err := s.Mark(ctx, id(), s.Now().Add(time.Hour))
		return err
	}
	done := hold(time.After(300 * time.Millisecond))
	equal(t, countOK(t, together(8, write)), 8, "writes during a short hold")
	<-done
	answered := make(chan time.Time)
	done = hold(answered) // as long as it takes: a busy machine answers late
	start := time.Now()
	go func() {
		if _, err := s.Live(ctx, u.ID); err != nil {
			t.Errorf("read: %v", err)
		}
	}()
	equal(t, countOK(t, together(8, write), store.ErrUnavailable), 0, "writes during a long hold")
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("answered after %s", d)
	}
	close(answered)
	<-done
	must(t, write(0))
}

// TestSec_J2_DiskFull: reads go on, writes are ErrUnavailable, nothing is half-written, and it ends when there is room again.
func TestSec_J2_DiskFull(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	ctx := t.Context()
	u := user(t, s, "user")
	must(t, store.LimitPages(s, 10))
	var failed int
	for range 400 {
		err := s.Tx(ctx, func(ctx context.Context) error {
			for range 2 {
				if _, err := s.CreateGrant(ctx, newGrant(s, u.ID)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			failed++
			is(t, err, store.ErrUnavailable, "write")
		}
	}
	if failed == 0 {
		t.Fatal("the database was never full")
	}
	list, err := s.GrantsOf(ctx, u.ID)
	must(t, err)
	equal(t, len(list), 2*(400-failed), "grants: two per success")
	// The same for callers who share a commit: who got an error has no row, who got none has.
	must(t, store.LimitPages(s, 1<<20))
	other := user(t, s)
	must(t, store.LimitPages(s, 10))
	results := together(400, func(int) error { return did(s.CreateGrant(ctx, newGrant(s, other.ID))) })
	n := countOK(t, results, store.ErrUnavailable)
	if n == len(results) {
		t.Fatal("the database was never full")
	}
	list, err = s.GrantsOf(ctx, other.ID)
	must(t, err)
	equal(t, len(list), n, "grants: one per success")
	must(t, store.LimitPages(s, 1<<30))
	_, err = s.CreateGrant(ctx, newGrant(s, u.ID))
	must(t, err)
	whole(t, s)
}

// TestWriterWaitsForNobody: an idle writer commits a single write at once.
func TestWriterWaitsForNobody(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	best := time.Hour
	for range 20 {
		start := time.Now()
		_, err := s.Mark(t.Context(), id(), s.Now().Add(time.Hour))
		must(t, err)
		best = min(best, time.Since(start))
	}
	if best > 50*time.Millisecond {
		t.Errorf("the fastest of 20 writes took %s", best)
	}
}

// TestInBubble: the store works inside a synctest bubble on SQLite: time moves, nothing blocks it, and Close ends every goroutine (the
// bubble does not end before).
func TestInBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Open(t, store.SQLite)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		u := user(t, s, "user")
		n := &store.Session{UserID: u.ID, IdleMS: time.Hour.Milliseconds(), ExpiresAt: store.At(s.Now().Add(24 * time.Hour))}
		must(t, s.CreateSession(ctx, n))
		go s.Watch(ctx)
		synctest.Wait()
		results := together(32, func(i int) error {
			_, err := s.CreateGrant(ctx, newGrant(s, u.ID))
			return err
		})
		equal(t, countOK(t, results), 32, "grants")
		time.Sleep(59 * time.Minute)
		_, _, err := s.LiveSession(ctx, n.ID)
		must(t, err)
		time.Sleep(time.Minute)
		_, _, err = s.LiveSession(ctx, n.ID)
		is(t, err, store.ErrNotFound, "an idle hour later")
		time.Sleep(24 * time.Hour)
		deleted, err := s.Purge(ctx)
		must(t, err)
		equal(t, deleted, 33, "deleted")
		whole(t, s)
	})
}

func TestCloseEndsWaiting(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Config{URL: storetest.URL(t, store.SQLite)})
	must(t, err)
	must(t, s.Migrate(t.Context()))
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		must(t, s.Tx(t.Context(), func(context.Context) error { close(entered); <-release; return nil }))
	})
	<-entered
	wg.Go(func() {
		for range 50 {
			if _, err := s.Mark(t.Context(), id(), s.Now().Add(time.Hour)); err != nil {
				is(t, err, store.ErrUnavailable, "write while closing")
			}
		}
	})
	go func() { time.Sleep(50 * time.Millisecond); close(release) }()
	must(t, s.Close())
	wg.Wait()
	_, err = s.Mark(t.Context(), "x", s.Now())
	is(t, err, store.ErrUnavailable, "write when closed")
	_, err = s.Marked(t.Context(), "x")
	is(t, err, store.ErrUnavailable, "read when closed")
	is(t, s.Ping(t.Context()), store.ErrUnavailable, "ping when closed")
	must(t, s.Close())
}

// TestSQLiteFile: the file and its WAL are the owner's alone, any path works, and what was committed is there after opening again.
func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c#d%20é")
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "x?y.db")
	s := storetest.OpenWith(t, store.SQLite, store.Config{URL: "sqlite:" + path})
	u := user(t, s, "user")
	for _, f := range []string{path, path + "-wal", path + "-shm"} {
		st, err := os.Stat(f)
		must(t, err)
		equal(t, st.Mode().Perm(), 0o600, "mode of "+f)
	}
	must(t, s.CheckIntegrity(t.Context(), time.Second))
	must(t, s.Close())
	again := storetest.OpenWith(t, store.SQLite, store.Config{URL: "sqlite:" + path})
	_, err := again.User(t.Context(), u.ID)
	must(t, err)
}

// TestSec_J12_Corruption: a damaged file is found at start.
func TestSec_J12_Corruption(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	s := storetest.OpenWith(t, store.SQLite, store.Config{URL: "sqlite:" + path})
	for range 200 {
		user(t, s, "user")
	}
	must(t, s.Close())
	b, err := os.ReadFile(path)
	must(t, err)
	for i := len(b) * 3 / 4; i < len(b); i += 512 {
		b[i] ^= 0xff
	}
	must(t, os.WriteFile(path, b, 0o600))
	s, err = store.Open(t.Context(), store.Config{URL: "sqlite:" + path})
	must(t, err)
	defer s.Close()
	if err := s.CheckIntegrity(t.Context(), 10*time.Second); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("integrity: %v", err)
	}
}

// TestWatch: another process's change is seen within the second, and its callbacks run.
func TestWatch(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := client(t, stores[0])
			called := make(chan struct{}, 10)
			stores[1].OnChange(func() { called <- struct{}{} })
			watched := make(chan struct{})
			go func() { stores[1].Watch(ctx); close(watched) }()
			<-called // the first look at the counter
			_, err := stores[1].CachedClient(ctx, c.ID)
			must(t, err)
			_, err = stores[1].Definitions(ctx)
			must(t, err)
			must(t, stores[0].SetClientDisabled(ctx, "cli", c.ID, true))
			must(t, stores[0].CreatePrivilege(ctx, "cli", &store.Privilege{Name: "fresh"}))
			select {
			case <-called:
			case <-time.After(10 * time.Second):
				t.Fatal("no callback")
			}
			got, err := stores[1].CachedClient(ctx, c.ID)
			must(t, err)
			equal(t, got.DisabledAt.IsZero(), false, "disabled")
			g, err := stores[1].Definitions(ctx)
			must(t, err)
			equal(t, g.Has("fresh"), true, "the new privilege")
			cancel()
			<-watched
		})
	}
}
