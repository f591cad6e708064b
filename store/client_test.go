package store_test

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func client(t testing.TB, s *store.Store) *store.Client {
	t.Helper()
	c := &store.Client{Source: "admin", SecretHash: "one", Metadata: store.ClientMetadata{Name: "App", RedirectURIs: []string{"https://app.example/cb"}}}
	must(t, s.CreateClient(t.Context(), "cli", c))
	return c
}

func TestClient(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		a := client(t, s)
		got, err := s.Client(ctx, a.ID)
		must(t, err)
		if !reflect.DeepEqual(got, a) {
			t.Errorf("read back\n%+v\n%+v", got, a)
		}
		is(t, s.CreateClient(ctx, "cli", &store.Client{ID: a.ID}), store.ErrConflict, "same id")

		stale := *a
		a.Metadata.Name = "Better"
		must(t, s.UpdateClient(ctx, "cli", a))
		equal(t, a.Version, 2, "version")
		is(t, s.UpdateClient(ctx, "cli", &stale), store.ErrConflict, "stale version")
		equal(t, stale.Version, 1, "version after a refusal")

		must(t, s.RotateClientSecret(ctx, "cli", a.ID, store.ClientSecret{Hash: "two", Sealed: "s2"}, time.Hour))
		got, err = s.Client(ctx, a.ID)
		must(t, err)
		equal(t, got.SecretHash+got.PrevSecretHash, "twoone", "secrets")
		equal(t, got.SecretSealed, "s2", "sealed secret")
		equal(t, got.PrevUntil, c.In(time.Hour), "old secret until")
		must(t, s.RotateClientSecret(ctx, "cli", a.ID, store.ClientSecret{Hash: "three"}, 0))
		got, err = s.Client(ctx, a.ID)
		must(t, err)
		equal(t, got.SecretHash+got.PrevSecretHash, "three", "secrets")
		is(t, s.RotateClientSecret(ctx, "cli", "none", store.ClientSecret{Hash: "x"}, 0), store.ErrNotFound, "unknown")

		must(t, s.SetClientDisabled(ctx, "cli", a.ID, true))
		got, err = s.Client(ctx, a.ID)
		must(t, err)
		equal(t, got.DisabledAt, c.In(0), "disabled")
		must(t, s.SetClientDisabled(ctx, "cli", a.ID, false))
		is(t, s.SetClientDisabled(ctx, "cli", "none", true), store.ErrNotFound, "unknown")

		b := client(t, s)
		list, err := s.Clients(ctx, "", 10)
		must(t, err)
		equal(t, len(list), 2, "clients")
		list, err = s.Clients(ctx, min(a.ID, b.ID), 10)
		must(t, err)
		equal(t, len(list), 1, "clients after the first")
		whole(t, s)
	})
}

func TestRemoveClient(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		a, u := client(t, s), user(t, s, "user")
		must(t, s.SaveConsent(ctx, &store.Consent{UserID: u.ID, ClientID: a.ID, Scope: store.Strings{"openid"}}))
		g := newGrant(s, u.ID)
		g.ClientID = a.ID
		_, err := s.CreateGrant(ctx, g)
		must(t, err)
		must(t, s.CreateFlow(ctx, &store.Flow{IDHash: "f", ClientID: a.ID, ExpiresAt: c.In(time.Hour)}))
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "p", Kind: "par", ClientID: a.ID, ExpiresAt: c.In(time.Hour)}))
		role := a.ID[:8] + ":editor"
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "x" + role, ClientID: a.ID}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "x" + role}))

		must(t, s.RemoveClient(ctx, "cli", a.ID))
		_, err = s.Client(ctx, a.ID)
		is(t, err, store.ErrNotFound, "client")
		_, err = s.Consent(ctx, u.ID, a.ID)
		is(t, err, store.ErrNotFound, "consent")
		_, err = s.Flow(ctx, "f")
		is(t, err, store.ErrNotFound, "flow")
		_, err = s.Pending(ctx, "par", "p")
		is(t, err, store.ErrNotFound, "pending")
		got, err := s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, got.RevokeReason, "client removed", "grant")
		l, err := s.Live(ctx, u.ID)
		must(t, err)
		equal(t, len(l.Holdings), 2, "holdings, the type among them")
		d, err := s.Definitions(ctx)
		must(t, err)
		equal(t, d.Has("x"+role), false, "role defined")
		is(t, s.RemoveClient(ctx, "cli", a.ID), store.ErrNotFound, "again")
		whole(t, s)
	})
}

func TestConsent(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		a, u := client(t, s), user(t, s)
		_, err := s.Consent(ctx, u.ID, a.ID)
		is(t, err, store.ErrNotFound, "none")
		must(t, s.SaveConsent(ctx, &store.Consent{UserID: u.ID, ClientID: a.ID, Scope: store.Strings{"openid"}, ExpiresAt: c.In(time.Hour)}))
		must(t, s.SaveConsent(ctx, &store.Consent{UserID: u.ID, ClientID: a.ID, Scope: store.Strings{"openid", "email"}, ExpiresAt: c.In(time.Hour), ClaimsDigest: "d"}))
		got, err := s.Consent(ctx, u.ID, a.ID)
		must(t, err)
		if !reflect.DeepEqual(got.Scope, store.Strings{"openid", "email"}) || got.ClaimsDigest != "d" || got.GrantedAt != c.In(0) {
			t.Errorf("%+v", got)
		}
		is(t, s.SaveConsent(ctx, &store.Consent{UserID: u.ID, ClientID: "none"}), store.ErrNotFound, "of an unknown client")
		g := newGrant(s, u.ID)
		g.ClientID = a.ID
		_, err = s.CreateGrant(ctx, g)
		must(t, err)
		must(t, s.RevokeConsent(ctx, u.ID, u.ID, a.ID))
		_, err = s.Consent(ctx, u.ID, a.ID)
		is(t, err, store.ErrNotFound, "revoked")
		gr, err := s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, gr.RevokedAt, c.In(0), "grant revoked")
		must(t, s.SaveConsent(ctx, &store.Consent{UserID: u.ID, ClientID: a.ID, ExpiresAt: c.In(time.Hour)}))
		c.Add(time.Hour)
		_, err = s.Consent(ctx, u.ID, a.ID)
		is(t, err, store.ErrNotFound, "over")
		whole(t, s)
	})
}

// TestCachedClient: no statement after the first, misses too, and this process's changes are seen at once.
func TestCachedClient(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a := client(t, s)
		calls := 0
		s.OnChange(func() { calls++ })
		read := func(want int64) *store.Client {
			t.Helper()
			before := s.Counts().Reads
			c, err := s.CachedClient(ctx, a.ID)
			must(t, err)
			equal(t, s.Counts().Reads-before, want, "reads")
			return c
		}
		read(1)
		read(0)
		must(t, s.SetClientDisabled(ctx, "cli", a.ID, true))
		equal(t, calls, 1, "callbacks")
		if read(1).DisabledAt.IsZero() {
			t.Error("the change is not seen")
		}
		before := s.Counts().Reads
		for range 3 {
			_, err := s.CachedClient(ctx, "new")
			is(t, err, store.ErrNotFound, "a miss")
		}
		equal(t, s.Counts().Reads-before, 1, "reads of a miss")
		must(t, s.CreateClient(ctx, "cli", &store.Client{ID: "new"}))
		_, err := s.CachedClient(ctx, "new")
		must(t, err)

		// What a transaction reads is not kept: it may be undone.
		is(t, s.Tx(ctx, func(ctx context.Context) error {
			must(t, s.SetClientDisabled(ctx, "cli", "new", true))
			c, err := s.CachedClient(ctx, "new")
			must(t, err)
			equal(t, c.DisabledAt.IsZero(), false, "disabled inside")
			return errStop
		}), errStop, "undone")
		c, err := s.CachedClient(ctx, "new")
		must(t, err)
		equal(t, c.DisabledAt.IsZero(), true, "enabled outside")
		equal(t, calls, 2, "callbacks")
	})
}

// TestCacheIsBounded: ids that strangers choose do not fill the memory.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	a := client(t, s)
	_, err := s.CachedClient(t.Context(), a.ID)
	must(t, err)
	for range 5000 {
		_, err := s.CachedClient(t.Context(), id())
		is(t, err, store.ErrNotFound, "unknown")
	}
	before := s.Counts().Reads
	_, err = s.CachedClient(t.Context(), a.ID)
	must(t, err)
	equal(t, s.Counts().Reads-before, 0, "reads: strangers' ids pushed a client out")
}

// TestCacheKeepsNothingStale: a reader who is slow must not put back what a change has just dropped.
func TestCacheKeepsNothingStale(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	ctx := t.Context()
	a := client(t, s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := s.CachedClient(ctx, a.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 60 {
		must(t, s.SetClientDisabled(ctx, "cli", a.ID, i%2 == 0))
		for range 3 {
			got, err := s.CachedClient(ctx, a.ID)
			must(t, err)
			if got.DisabledAt.IsZero() == (i%2 == 0) {
				t.Fatalf("change %d is not seen", i)
			}
			time.Sleep(50 * time.Microsecond) // the slow reader's chance
		}
	}
	stop.Store(true)
	wg.Wait()
}
