package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// together runs f n times at once and returns the results.
func together[T any](n int, f func(i int) T) []T {
	results := make([]T, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return results
}

// patient asks again while the answer is that the database is busy: of many who wait for one lock on a slow machine some wait longer than the store does, and
// nothing of theirs was done.
func patient(f func() error) (err error) {
	for range 20 {
		if err = f(); !errors.Is(err, store.ErrUnavailable) {
			break
		}
	}
	return err
}

func countOK(t testing.TB, results []error, refused ...error) (n int) {
	t.Helper()
	for _, err := range results {
		if err == nil {
			n++
			continue
		}
		if !slices.ContainsFunc(refused, func(r error) bool { return errors.Is(err, r) }) {
			t.Errorf("refused with %v", err)
		}
	}
	return n
}

var errNot = errors.New("not this call")

func did(ok bool, err error) error {
	if err == nil && !ok {
		return errNot
	}
	return err
}

// processes opens n stores on one database, as processes would.
func processes(t testing.TB, engine string, n int) []*store.Store {
	t.Helper()
	url := storetest.URL(t, engine)
	var list []*store.Store
	for range n {
		list = append(list, storetest.OpenWith(t, engine, store.Config{URL: url}))
	}
	return list
}

// TestRaceSingleUse: whatever may happen once happens once, in one process and in two.
func TestRaceSingleUse(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			s := stores[0]
			u := user(t, s)
			hour := func() store.Time { return store.At(s.Now().Add(time.Hour)) }
			for round := range 20 {
				id := fmt.Sprint(round)
				g := newGrant(s, "u")
				g.ID = id
				results := together(8, func(i int) error {
					mine := *g
					mine.Facts = fmt.Sprint(i)
					return did(stores[i%2].CreateGrant(ctx, &mine))
				})
				equal(t, countOK(t, results, errNot), 1, "CreateGrant")
				results = together(8, func(i int) error {
					return did(stores[i%2].RotateGrant(ctx, id, 1, s.Now(), s.Now().Add(time.Hour)))
				})
				equal(t, countOK(t, results, errNot), 1, "RotateGrant")
				results = together(8, func(i int) error { return did(stores[i%2].RevokeGrant(ctx, id, "x")) })
				equal(t, countOK(t, results, errNot), 1, "RevokeGrant")
				results = together(8, func(i int) error { return did(stores[i%2].Mark(ctx, id, hour().Time)) })
				equal(t, countOK(t, results, errNot), 1, "Mark")

				must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: id, Purpose: "setup", ExpiresAt: hour()}))
				results = together(8, func(i int) error { return stores[i%2].UseOneTime(ctx, "setup", id) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseOneTime")

				must(t, s.CreatePartial(ctx, &store.Partial{ID: id, UserID: u.ID, ExpiresAt: hour()}))
				results = together(8, func(i int) error { return stores[i%2].TryPartial(ctx, id, 5) })
				equal(t, countOK(t, results, store.ErrExpired), 5, "TryPartial")
				results = together(8, func(i int) error { return stores[i%2].EndPartial(ctx, id) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "EndPartial")

				must(t, s.CreateFlow(ctx, &store.Flow{IDHash: id, ExpiresAt: hour()}))
				results = together(8, func(i int) error { return stores[i%2].FinishFlow(ctx, id) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "FinishFlow")

				results = together(8, func(i int) error {
					return stores[i%2].CreateUser(ctx, &store.User{Email: fmt.Sprintf("Bob%d@x.org", round)})
				})
				equal(t, countOK(t, results, store.ErrConflict), 1, "CreateUser")
				results = together(8, func(i int) error {
					return stores[i%2].CreateIdentity(ctx, "cli", &store.Identity{UserID: u.ID, Connector: "c", Issuer: "i", Subject: id})
				})
				equal(t, countOK(t, results, store.ErrConflict), 1, "CreateIdentity")
			}
			for _, s := range stores {
				whole(t, s)
			}
		})
	}
}

// TestRaceCounter is F5: parallel guesses are counted exactly.
func TestRaceCounter(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			seen := together(100, func(i int) int64 {
				n, err := stores[i%2].CountFailure(t.Context(), "k", time.Hour)
				if err != nil {
					t.Error(err)
				}
				return n
			})
			slices.Sort(seen)
			for i, n := range seen {
				if n != int64(i+1) {
					t.Fatalf("counted %v", seen)
				}
			}
		})
	}
}

// TestRaceKeys is B10: two processes on an empty database end with one key per algorithm.
func TestRaceKeys(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			for round := range 20 {
				alg := fmt.Sprint("A", round)
				now := stores[0].Now()
				results := together(8, func(i int) error {
					at := now.Add(time.Duration(i%3) * time.Millisecond) // their clocks differ
					return did(stores[i%2].CreateKey(t.Context(), &store.SigningKey{KID: id(), Alg: alg, ActiveAt: store.At(at), PublishAt: store.At(at),
						RetireAt: store.At(at.Add(time.Hour)), DeleteAt: store.At(at.Add(2 * time.Hour))}))
				})
				equal(t, countOK(t, results, errNot), 1, "CreateKey")
			}
			whole(t, stores[0])
		})
	}
}

// TestRaceOutbox: no message is leased twice.
func TestRaceOutbox(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			for range 100 {
				must(t, stores[0].Enqueue(t.Context(), &store.Message{Kind: "mail", ExpiresAt: store.At(stores[0].Now().Add(time.Hour))}))
			}
			var mu sync.Mutex
			got := map[string]int{}
			together(8, func(i int) error {
				for range 50 {
					list, err := stores[i%2].LeaseMessages(t.Context(), 5, time.Hour, store.KindMail)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					for _, m := range list {
						got[m.ID]++
					}
					mu.Unlock()
				}
				return nil
			})
			equal(t, len(got), 100, "leased")
			for id, n := range got {
				if n != 1 {
					t.Errorf("%s leased %d times", id, n)
				}
			}
		})
	}
}

// TestSec_G3_CyclesInParallel: A>B and B>A at once, never both.
func TestSec_G3_CyclesInParallel(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			for round := range 25 {
				names := []string{fmt.Sprint("a", round), fmt.Sprint("b", round)}
				for _, n := range names {
					must(t, stores[0].CreatePrivilege(ctx, "cli", &store.Privilege{Name: n}))
				}
				results := together(2, func(i int) error { return stores[i].SetIncludes(ctx, "cli", names[i], []string{names[1-i]}) })
				equal(t, countOK(t, results, store.ErrInvalid), 1, "SetIncludes")
				if _, err := stores[0].Definitions(ctx); err != nil {
					t.Fatal(err)
				}
			}
			whole(t, stores[0])
		})
	}
}

// TestSec_G5_AdminsDemoteEachOther: at least one remains.
func TestSec_G5_AdminsDemoteEachOther(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			a := []*store.User{admin(t, stores[0]), admin(t, stores[0])}
			for round := range 25 {
				results := together(2, func(i int) error {
					if round%2 == 0 {
						return stores[i].Unassign(ctx, a[i].ID, a[1-i].ID, "admin")
					}
					return stores[i].DisableUser(ctx, a[i].ID, a[1-i].ID, "coup")
				})
				// The second finds himself demoted or disabled, or the last one.
				equal(t, countOK(t, results, store.ErrForbidden, store.ErrLastAdmin), 1, "demotions")
				has, err := stores[0].HasAdmin(ctx)
				must(t, err)
				equal(t, has, true, "an administrator")
				loser := a[0]
				if results[0] == nil {
					loser = a[1]
				}
				if round%2 == 0 {
					must(t, stores[0].Assign(ctx, "cli", &store.Assignment{UserID: loser.ID, Privilege: "admin"}))
				} else {
					must(t, stores[0].EnableUser(ctx, "cli", loser.ID))
				}
			}
			whole(t, stores[0])
		})
	}
}

// TestRaceAudit: entries of parallel transactions of two processes make one chain.
func TestRaceAudit(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			results := together(16, func(i int) error {
				for range 10 {
					err := patient(func() error {
						return stores[i%2].Tx(t.Context(), func(ctx context.Context) error {
							for range 2 {
								if err := stores[i%2].Audit(ctx, "cli", "test", fmt.Sprint(i), nil); err != nil {
									return err
								}
							}
							return nil
						})
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
			equal(t, countOK(t, results), 16, "transactions")
			n, broken, err := stores[0].VerifyAudit(t.Context())
			must(t, err)
			equal(t, fmt.Sprint(n, broken), "320 0", "chain")
		})
	}
}

// TestRaceMigrate is J7: five processes on an empty database all come up.
func TestRaceMigrate(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			for range 3 {
				url := storetest.URL(t, engine)
				results := together(5, func(int) error {
					s, err := store.Open(t.Context(), store.Config{URL: url})
					if err != nil {
						return err
					}
					return errors.Join(s.Migrate(t.Context()), s.Close())
				})
				equal(t, countOK(t, results), 5, "stores")
				s := storetest.OpenWith(t, engine, store.Config{URL: url})
				list, err := s.Privileges(t.Context())
				must(t, err)
				equal(t, len(list), 7, "privileges")
				db := behind(t, engine, url)
				var n int
				must(t, db.QueryRow(`SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0`).Scan(&n))
				equal(t, n, 17, "migrations applied")
			}
		})
	}
}
