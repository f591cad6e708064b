package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestPasskeys: what is kept of one, whose it is, what it counts for, and that everything that takes factors takes it.
func TestPasskeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		ada, bob, admin := user(t, s), user(t, s), user(t, s, "admin")
		ways := func(u *store.User, want int) {
			t.Helper()
			n, err := s.WaysIn(ctx, u.ID, []string{store.WayPasskey})
			must(t, err)
			equal(t, n, want, "ways in")
		}
		add := func(u *store.User, id string, d store.PasskeyData) error {
			return s.AddFactor(ctx, &store.Credential{ID: id, UserID: u.ID, Kind: store.CredPasskey, Secret: "sealed", Data: d.Text()}, false)
		}
		must(t, add(ada, "key", store.PasskeyData{Syncs: true}))
		ways(ada, 0) // a second factor only
		is(t, add(bob, "key", store.PasskeyData{}), store.ErrConflict, "somebody else's credential id")
		is(t, add(ada, "key", store.PasskeyData{}), store.ErrConflict, "twice")
		kinds, err := s.FactorKindsOf(ctx, ada.ID)
		must(t, err)
		equal(t, fmt.Sprint(kinds), "[passkey]", "kinds")

		is(t, s.UsePasskey(ctx, bob.ID, "key", 1, store.PasskeyData{}), store.ErrUsed, "somebody else")
		must(t, s.UsePasskey(ctx, ada.ID, "key", 0, store.PasskeyData{Syncs: true, Synced: true}))
		must(t, s.UsePasskey(ctx, ada.ID, "key", 0, store.PasskeyData{Syncs: true, Synced: true}))
		must(t, s.UsePasskey(ctx, ada.ID, "key", 1<<32-1, store.PasskeyData{Alone: true, Syncs: true}))
		for _, count := range []uint32{0, 7, 1<<32 - 1} {
			is(t, s.UsePasskey(ctx, ada.ID, "key", count, store.PasskeyData{}), store.ErrUsed, fmt.Sprint("a count that goes back to ", count))
		}
		c, err := s.Passkey(ctx, "key")
		must(t, err)
		d, err := c.Passkey()
		must(t, err)
		equal(t, d, store.PasskeyData{Alone: true, Syncs: true}, "data")
		equal(t, c.Counter, int64(1<<32-1), "count")
		ways(ada, 1)
		must(t, add(ada, "second", store.PasskeyData{Alone: true}))
		ways(ada, 2)
		ways(bob, 0)
		_, err = s.Passkey(ctx, "none")
		is(t, err, store.ErrNotFound, "no such passkey")

		must(t, s.RemoveFactor(ctx, ada.ID, "second", false))
		n, err := s.ResetFactors(ctx, admin.ID, ada.ID, "lost")
		must(t, err)
		equal(t, n, 1, "taken by an administrator")
		_, err = s.Passkey(ctx, "key")
		is(t, err, store.ErrNotFound, "after the reset")
		whole(t, s)
	})
}

// TestRacePasskey: one challenge, one count and one credential id are good once, in one process and in two.
func TestRacePasskey(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			s := stores[0]
			for round := range 5 {
				people := []*store.User{user(t, s), user(t, s)}
				id := fmt.Sprint("key", round)
				results := together(8, func(i int) error {
					return stores[i%2].AddFactor(ctx, &store.Credential{ID: id, UserID: people[i/4].ID, Kind: store.CredPasskey, Secret: "sealed", Data: "{}"}, false)
				})
				equal(t, countOK(t, results, store.ErrConflict), 1, "AddFactor with one credential id")
				c, err := s.Passkey(ctx, id)
				must(t, err)
				results = together(8, func(i int) error { return stores[i%2].UsePasskey(ctx, c.UserID, id, 7, store.PasskeyData{}) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UsePasskey")

				a := &store.Attempt{StateHash: fmt.Sprint("h", round), Purpose: store.AttemptPasskey, BrowserHash: "b", ExpiresAt: store.At(s.Now().Add(time.Minute))}
				must(t, s.CreateAttempt(ctx, a))
				_, err = s.UseAttempt(ctx, a.StateHash, "other")
				is(t, err, store.ErrNotFound, "another browser")
				results = together(8, func(i int) error { _, err := stores[i%2].UseAttempt(ctx, a.StateHash, "b"); return err })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseAttempt")
			}
		})
	}
}
