package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestRaceFactors: what proves a second factor does it once, in one process and in two; the last factor and the limit hold against many at once.
func TestRaceFactors(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			s := stores[0]
			for round := range 10 {
				u := user(t, s)
				hour := store.At(s.Now().Add(time.Hour))
				add := func(st *store.Store, id string, first bool) error {
					return st.AddFactor(ctx, &store.Credential{ID: fmt.Sprint(round, id), UserID: u.ID, Kind: store.CredTOTP, Secret: "sealed"}, first)
				}
				results := together(8, func(i int) error { return add(stores[i%2], fmt.Sprint(i), true) })
				equal(t, countOK(t, results, store.ErrConflict), 1, "AddFactor, the first")
				f, err := s.Factors(ctx, u.ID)
				must(t, err)
				id := f.List[0].ID
				results = together(8, func(i int) error { return stores[i%2].UseTOTP(ctx, id, 7) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseTOTP")
				is(t, s.UseTOTP(ctx, id, 6), store.ErrUsed, "an older step")
				must(t, s.UseTOTP(ctx, id, 8))

				must(t, s.SetRecoveryCodes(ctx, u.ID, []string{"a", "b"}))
				results = together(8, func(i int) error { return stores[i%2].UseRecoveryCode(ctx, u.ID, "a") })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseRecoveryCode")
				other := user(t, s)
				is(t, s.UseRecoveryCode(ctx, other.ID, "b"), store.ErrUsed, "another person's code")

				p := &store.Pending{IDHash: fmt.Sprint("p", round), Kind: store.PendingTOTP, UserID: u.ID, ExpiresAt: hour}
				seeds := make([]string, 8)
				results = together(8, func(i int) error {
					row := *p
					row.Request = fmt.Sprint(i)
					kept, err := stores[i%2].KeepPending(ctx, &row)
					if err == nil {
						seeds[i] = kept.Request
					}
					return err
				})
				equal(t, countOK(t, results), 8, "KeepPending")
				for _, seed := range seeds {
					equal(t, seed, seeds[0], "seed")
				}
				results = together(8, func(i int) error { return stores[i%2].TakePending(ctx, store.PendingTOTP, p.IDHash) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "TakePending")

				results = together(16, func(i int) error { return add(stores[i%2], fmt.Sprint("more", i), false) })
				equal(t, countOK(t, results, store.ErrTooMany), store.MaxFactors-1, "AddFactor up to the limit")
				f, err = s.Factors(ctx, u.ID)
				must(t, err)
				results = together(len(f.List), func(i int) error { return stores[i%2].RemoveFactor(ctx, u.ID, f.List[i].ID, true) })
				equal(t, countOK(t, results, store.ErrLastFactor), store.MaxFactors-1, "RemoveFactor but for the last")

				n := &store.Session{ID: fmt.Sprint("n", round), UserID: u.ID, AMR: []string{"pwd"}, ACR: "1", IdleMS: 1e6, ExpiresAt: hour}
				must(t, s.CreateSession(ctx, n))
				results = together(8, func(i int) error {
					_, err := stores[i%2].RaiseSession(ctx, n, store.NextSession{ID: fmt.Sprint("n", round, "-", i)}, []string{"pwd", "otp", "mfa"}, "2")
					return err
				})
				equal(t, countOK(t, results, store.ErrUsed), 1, "RaiseSession")
			}
			for _, s := range stores {
				whole(t, s)
			}
		})
	}
}

// TestResetFactors is R67: a permission of its own, a reason, an entry in the log, and the end of every session.
func TestResetFactors(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u, helper, admin := user(t, s), user(t, s), user(t, s, "admin")
		must(t, s.AddFactor(ctx, &store.Credential{ID: "one", UserID: u.ID, Kind: store.CredTOTP, Secret: "sealed"}, true))
		must(t, s.SetRecoveryCodes(ctx, u.ID, []string{"a"}))
		must(t, s.CreateSession(ctx, &store.Session{ID: "n", UserID: u.ID, IdleMS: 1e6, ExpiresAt: store.At(c.Now().Add(time.Hour))}))
		_, err := s.ResetFactors(ctx, helper.ID, u.ID, "lost")
		is(t, err, store.ErrForbidden, "without the permission")
		for _, reason := range []string{"", "two\nlines"} {
			_, err = s.ResetFactors(ctx, admin.ID, u.ID, reason)
			is(t, err, store.ErrInvalid, "reason")
		}
		_, err = s.ResetFactors(ctx, helper.ID, admin.ID, "lost")
		is(t, err, store.ErrForbidden, "somebody who holds more")
		n, err := s.ResetFactors(ctx, admin.ID, u.ID, "lost the phone")
		must(t, err)
		equal(t, n, 1, "factors")
		f, err := s.Factors(ctx, u.ID)
		must(t, err)
		equal(t, len(f.List)+len(f.Codes), 0, "left")
		list, err := s.SessionsOf(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 0, "sessions")
		_, err = s.ResetFactors(ctx, admin.ID, u.ID, "again")
		is(t, err, store.ErrNotFound, "nothing left")
	})
}
