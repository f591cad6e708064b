package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
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

// TestSec_G2_ImpactOfUser: whoever holds nothing counts as user, so an edit of user is about them, and a deletion may make them so.
func TestSec_G2_ImpactOfUser(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		definePrivileges(t, s, "extra; base; only")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), privilege.UserType{Value: "200", Names: []string{"guest"}, Text: "Guest"})))
		bare := func(names ...string) *store.User {
			u := user(t, s, names...)
			must(t, s.SetUserType(ctx, "cli", u.ID, "200"))
			return u
		}
		impact := func(e store.Edit, want string) {
			t.Helper()
			got, err := s.Impact(ctx, e)
			must(t, err)
			equal(t, got.String(), want, e.Privilege)
		}
		user(t, s) // of the type that brings user
		user(t, s, "extra")
		ofUser, ofBase := store.Edit{Privilege: "user", Includes: []string{"extra"}}, store.Edit{Privilege: "base", Includes: []string{"extra"}}
		impact(ofUser, "1 person gains extra")
		for range 3 {
			bare()
		}
		bare("trainer")
		bare("extra")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: bare().ID, Privilege: "extra", From: c.In(time.Hour)}))
		must(t, s.EraseUser(ctx, "cli", bare().ID))
		impact(ofUser, "5 people gain extra") // the one of the type, and four who hold nothing today
		impact(ofBase, "nobody gains or loses anything")
		must(t, s.SetIncludes(ctx, "cli", "user", []string{"base"}))
		impact(ofBase, "5 people gain extra") // what user includes is edited
		must(t, s.SetIncludes(ctx, "cli", "user", nil))

		bare("only")
		bare("only", "trainer")
		bare("only", "user")
		impact(store.Edit{Privilege: "only", Delete: true}, "1 person gains user; 3 people lose only")
		must(t, s.SetIncludes(ctx, "cli", "user", []string{"base"}))
		impact(store.Edit{Privilege: "only", Delete: true}, "1 person gains base, user; 3 people lose only")
		whole(t, s)
	})
}

// TestSec_G2_UserIsEverybodys: whoever holds nothing counts as user, and the gate asks about them as about any other holder.
func TestSec_G2_UserIsEverybodys(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		definePrivileges(t, s, "desk; extra; base; other")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), privilege.UserType{Value: "200", Names: []string{"guest"}, Text: "Guest"})))
		must(t, s.SetIncludes(ctx, "cli", "user", []string{"base", "other"}))
		lead, guest := editor(t, s, "extra", "base"), user(t, s)
		must(t, s.SetUserType(ctx, "cli", lead.ID, "200"))
		must(t, s.SetUserType(ctx, "cli", guest.ID, "200"))
		is(t, s.SetIncludes(ctx, lead.ID, "base", []string{"extra"}), privilege.ErrProtected, "given to who holds other, by being a user")
		equal(t, effective(t, s, guest.ID), "base other user", "after that")
		whole(t, s)
	})
}

// TestImpact_Many: an edit that moves more privileges than a word has bits is counted the same: who keeps what, who loses it later, and who loses
// nothing.
func TestImpact_Many(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		big, rest := store.Privilege{Name: "big"}, store.Privilege{Name: "rest"}
		for i := range 150 {
			p := store.Privilege{Name: fmt.Sprintf("m%03d", i)}
			must(t, s.CreatePrivilege(ctx, "cli", &p))
			big.Includes = append(big.Includes, p.Name)
			if i != 99 {
				rest.Includes = append(rest.Includes, p.Name)
			}
		}
		must(t, s.CreatePrivilege(ctx, "cli", &big))
		must(t, s.CreatePrivilege(ctx, "cli", &rest))
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "above", Includes: []string{"big", "trainer"}}))
		impact := func(want string, gained, lost int) {
			t.Helper()
			got, err := s.Impact(ctx, store.Edit{Privilege: "big", Includes: []string{"trainer", "m000"}})
			must(t, err)
			if n := fmt.Sprintf("%d: gain %d, lose %d", got.People, got.Gain, got.Lose); n != want || len(got.Gained) != gained || len(got.Lost) != lost {
				t.Errorf("%s of %d and %d, want %s of %d and %d", n, len(got.Gained), len(got.Lost), want, gained, lost)
			}
		}
		impact("0: gain 0, lose 0", 0, 0)
		user(t, s, "above", "rest") // of it all m099 alone is lost, and trainer is there
		impact("1: gain 0, lose 1", 0, 1)
		user(t, s, "above", "rest", "m099") // nothing
		impact("1: gain 0, lose 1", 0, 1)
		user(t, s, "m001", "rest") // never had it
		impact("1: gain 0, lose 1", 0, 1)
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: user(t, s).ID, Privilege: "big", From: c.In(time.Hour)})) // later
		impact("2: gain 1, lose 2", 1, 149)
		user(t, s, "big", "trainer")
		impact("3: gain 1, lose 3", 1, 149)
	})
}

// TestEachHolder: in parts of whatever size everybody comes once, with all they hold.
func TestEachHolder(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		want := map[string]string{}
		for i := range 7 {
			u := user(t, s, "customer")
			want[u.ID] = "customer type/100"
			if i%2 == 0 {
				must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "trainer", From: c.In(time.Hour)}))
				want[u.ID] = ">trainer customer type/100"
			}
			must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "advocate", Until: c.In(time.Minute)}))
			user(t, s, "developer")
		}
		c.Add(2 * time.Minute)
		for _, n := range []int{1, 2, 3, 6, 7, 8, 100} {
			for _, names := range [][]string{nil, {"customer", "trainer"}} {
				got, last := map[string]string{}, ""
				must(t, s.EachHolder(ctx, []string{"customer", "trainer"}, names, n, func(id, held string) error {
					if id <= last {
						t.Errorf("%d: %s after %s", n, id, last)
					}
					last = id
					list := strings.Fields(held)
					slices.Sort(list)
					got[id] = strings.Join(list, " ")
					if names != nil {
						got[id] += " type/100"
					}
					return nil
				}))
				if !maps.Equal(got, want) {
					t.Errorf("%d at once, of %v: %v, want %v", n, names, got, want)
				}
			}
		}
		all := 0
		must(t, s.EachHolder(ctx, []string{"type/100"}, nil, 5, func(string, string) error { all++; return nil }))
		equal(t, all, 14, "everybody")
		is(t, s.EachHolder(ctx, []string{"customer"}, nil, 5, func(string, string) error { return errStop }), errStop, "stopped")
		must(t, s.EachHolder(ctx, nil, nil, 5, func(string, string) error { return errStop }))
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
