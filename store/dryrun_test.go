package store_test

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestDryRun_LeavesNothing: whatever ran in it, every table holds what it held, nobody was told, and no cache learned of it.
func TestDryRun_LeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		boss := admin(t, s)
		before, told := storetest.Contents(t, s), atomic.Int64{}
		s.OnEnqueue(func() { told.Add(1) })
		s.OnChange(func() { told.Add(1) })
		u := &store.User{Username: "grace"}
		change := func(ctx context.Context) error {
			if err := s.CreateUser(ctx, u); err != nil {
				return err
			}
			if u.ID == "" {
				t.Error("not filled in within")
			}
			if err := s.CreateIdentity(ctx, "connector:google", &store.Identity{UserID: u.ID, Connector: "google", Issuer: "i", Subject: "s", EmailTrust: "none"}); err != nil {
				return err
			}
			if _, err := s.SyncUpstreamPrivileges(ctx, u.ID, "google", []string{"trainer"}); err != nil {
				return err
			}
			if err := s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "dry"}); err != nil {
				return err
			}
			if err := s.CreateClient(ctx, "cli", &store.Client{ID: "dry", Source: "admin"}); err != nil {
				return err
			}
			if m, err := s.Model(ctx); err != nil || !m.Graph.Has("dry") {
				t.Errorf("not seen within: %v", err)
			}
			if _, err := s.CachedClient(ctx, "dry"); err != nil {
				t.Errorf("not seen within: %v", err)
			}
			if err := s.Enqueue(ctx, &store.Message{Kind: "mail", Recipient: "a@example.com", ExpiresAt: store.At(s.Now().Add(1e12))}); err != nil {
				return err
			}
			return s.DisableUser(ctx, "cli", u.ID, "dry")
		}
		must(t, s.DryRun(ctx, change))
		if after := storetest.Contents(t, s); !maps.Equal(before, after) {
			t.Errorf("before %v\nafter  %v", before, after)
		}
		if m, err := s.Model(ctx); err != nil || m.Graph.Has("dry") {
			t.Errorf("the model knows: %v", err)
		}
		_, err := s.CachedClient(ctx, "dry")
		is(t, err, store.ErrNotFound, "a client of the dry run")
		equal(t, told.Load(), 0, "told")
		equal(t, u.CreatedAt.IsZero(), true, "the caller's struct as it was")

		is(t, s.DryRun(ctx, func(context.Context) error { return errStop }), errStop, "its own error")
		if err := s.Tx(ctx, func(ctx context.Context) error { return s.DryRun(ctx, change) }); err == nil {
			t.Error("a dry run within a transaction")
		}
		// What is called afterwards is real, also in the same breath.
		must(t, s.DisableUser(ctx, boss.ID, user(t, s, "user").ID, "left"))
		must(t, s.Tx(ctx, change))
		if told.Load() == 0 || maps.Equal(before, storetest.Contents(t, s)) {
			t.Error("the same code, for real, left nothing: the test proves nothing")
		}
		whole(t, s)
	})
}

// TestDryRun_Race: dry runs among real changes undo nothing but themselves, and the chain of the audit log stays whole.
func TestDryRun_Race(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var wg sync.WaitGroup
		for range 3 { // few: each of them waits for the others, and a dry run has two seconds
			wg.Go(func() {
				for range 5 {
					u := &store.User{Username: "dry" + id()}
					if err := s.DryRun(t.Context(), func(ctx context.Context) error {
						if err := s.CreateUser(ctx, u); err != nil {
							return err
						}
						return s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "trainer"})
					}); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for range 5 {
					u := &store.User{Username: "real" + id()}
					if err := s.CreateUser(t.Context(), u); err != nil {
						t.Error(err)
					}
					if err := s.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "trainer"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		list, err := s.Users(t.Context(), "", 1000)
		must(t, err)
		equal(t, len(list), 15, "users")
		for _, u := range list {
			held, err := s.Assignments(t.Context(), u.ID)
			must(t, err)
			if len(held) == 0 {
				t.Errorf("%s lost what it was given", u.Username)
			}
		}
		whole(t, s)
	})
}
