package store_test

import (
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// TestImpact: people are counted once, by what changes for them now or when what they were given begins; who holds it anyway is not.
func TestImpact(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "helper"}))
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff", Includes: []string{"helper"}}))
		give := func(u *store.User, name string, from, until store.Time) {
			t.Helper()
			must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: name, From: from, Until: until}))
		}
		user(t, s, "helper")
		user(t, s, "staff", "helper")
		user(t, s, "helper", "trainer")                                      // holds it anyway
		give(user(t, s, "helper"), "trainer", c.In(time.Hour), store.Time{}) // and will: gains it an hour earlier
		give(user(t, s), "helper", c.In(time.Hour), store.Time{})            // gains it in an hour
		give(user(t, s), "helper", store.Time{}, c.In(time.Hour))            // for an hour
		gone := user(t, s)
		give(gone, "helper", store.Time{}, c.In(time.Minute))
		c.Add(2 * time.Minute)
		must(t, s.CreateClient(ctx, "cli", &store.Client{ID: "crm", Metadata: store.ClientMetadata{Name: "CRM"}}))
		must(t, s.CreateClient(ctx, "cli", &store.Client{ID: "shop", Metadata: store.ClientMetadata{Name: "Shop", VisiblePrivileges: []string{"customer"}}}))

		for _, c := range []struct {
			e    store.Edit
			want string
		}{
			{store.Edit{Privilege: "helper", Includes: []string{"trainer"}}, "5 people gain trainer; 1 client affected"},
			{store.Edit{Privilege: "helper", Delete: true}, "6 people lose helper; 1 client affected"},
			{store.Edit{Privilege: "staff"}, "nobody gains or loses anything"}, // who was given both keeps it
			{store.Edit{Privilege: "nobodys", Includes: []string{"helper"}}, "nobody gains or loses anything"},
		} {
			got, err := s.Impact(ctx, c.e)
			must(t, err)
			equal(t, got.String(), c.want, c.e.Privilege)
		}
		user(t, s, "staff")
		got, err := s.Impact(ctx, store.Edit{Privilege: "staff"})
		must(t, err)
		equal(t, got.String(), "1 person loses helper; 1 client affected", "staff")
	})
}

// TestHolderCounts: who was given a privilege, and who holds it.
func TestHolderCounts(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff", Includes: []string{"trainer"}}))
		user(t, s, "staff")
		both := user(t, s, "staff", "trainer")
		_, err := s.SyncUpstreamPrivileges(ctx, both.ID, "google", []string{"trainer"}) // twice is once
		must(t, err)
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: user(t, s).ID, Privilege: "trainer", From: c.In(time.Hour)}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: user(t, s).ID, Privilege: "trainer", Until: c.In(time.Minute)}))
		c.Add(2 * time.Minute)
		counts, err := s.HolderCounts(ctx)
		must(t, err)
		equal(t, counts["staff"], 2, "staff")
		equal(t, counts["trainer"], 1, "trainer")
		equal(t, counts["type/100"], 4, "of the type")
		equal(t, counts["customer"], 0, "customer")
		for name, want := range map[string]int64{"staff": 2, "trainer": 2, "user": 4, "customer": 0} {
			n, err := s.CountHolders(ctx, name)
			must(t, err)
			equal(t, n, want, name+" in effect")
		}
		_, err = s.CountHolders(ctx, "nonsense")
		is(t, err, store.ErrNotFound, "unknown")
	})
}
