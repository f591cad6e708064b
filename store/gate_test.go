package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestSevenPrivileges is R71, and that migrating again adds nothing.
func TestSevenPrivileges(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		must(t, s.Migrate(t.Context()))
		list, err := s.Privileges(t.Context())
		must(t, err)
		var names []string
		for _, p := range list {
			names = append(names, p.Name)
			if !p.BuiltIn || p.Label == "" || p.Description == "" || len(p.Includes) != 0 {
				t.Errorf("%+v", p)
			}
		}
		if want := []string{"admin", "advocate", "cron", "customer", "developer", "trainer", "user"}; !slices.Equal(names, want) {
			t.Errorf("%v, want %v", names, want)
		}
	})
}

func TestAssignGate(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss, dev, u := admin(t, s), user(t, s, "user", "developer"), user(t, s)
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "lead", Includes: store.Strings{"developer", "trainer"}}))
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "chief", Includes: store.Strings{"lead", "admin"}}))
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges"}, "trainer": {"edit_user_privileges"}}))
		lead := user(t, s, "lead")
		gone := user(t, s, "developer")
		must(t, s.DisableUser(ctx, "cli", gone.ID, ""))
		over := user(t, s, "user")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: over.ID, Privilege: "developer", Until: c.In(time.Second)}))
		c.Add(time.Second)
		give := func(actor, to, priv string) error {
			return s.Assign(ctx, actor, &store.Assignment{UserID: to, Privilege: priv})
		}
		for _, r := range []struct {
			what            string
			actor, to, priv string
			want            error
		}{
			{"what one does not hold", dev.ID, u.ID, "admin", store.ErrForbidden},
			{"what one does not hold, included", dev.ID, u.ID, "lead", store.ErrForbidden},
			{"admin hidden in another", boss.ID, boss.ID, "chief", store.ErrForbidden},
			{"to oneself", boss.ID, boss.ID, "developer", store.ErrForbidden},
			{"cron, by an administrator", boss.ID, u.ID, "cron", store.ErrForbidden},
			{"cron, by the operator", "cli", u.ID, "cron", store.ErrForbidden},
			{"by a disabled person", gone.ID, u.ID, "developer", store.ErrForbidden},
			{"by somebody whose own is over", over.ID, u.ID, "developer", store.ErrForbidden},
			{"by nobody", "nobody", u.ID, "developer", store.ErrForbidden},
			{"by \"\"", "", u.ID, "developer", store.ErrForbidden},
			{"unknown privilege", "cli", u.ID, "king", store.ErrNotFound},
			{"unknown user", "cli", "nobody", "user", store.ErrNotFound},
			{"held already", "cli", dev.ID, "developer", store.ErrConflict},
		} {
			is(t, give(r.actor, r.to, r.priv), r.want, r.what)
		}
		list, err := s.Assignments(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 1, "assignments after refusals: the type")

		must(t, give(lead.ID, u.ID, "trainer")) // held through what lead includes
		is(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "user", Until: c.In(-time.Second)}), store.ErrInvalid, "over already")
		a := &store.Assignment{UserID: u.ID, Privilege: "user", Reason: "new", From: c.In(time.Hour), Until: c.In(2 * time.Hour)}
		must(t, s.Assign(ctx, "setup", a))
		list, err = s.Assignments(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 3, "assignments")
		i := slices.IndexFunc(list, func(x store.Assignment) bool { return x.ID == a.ID })
		equal(t, list[i], *a, "read back")
		equal(t, a.GivenBy, "setup", "given by")

		// One whose time is over does not stand in the way of another, and stays as history.
		must(t, give("cli", over.ID, "developer"))
		list, err = s.Assignments(ctx, over.ID)
		must(t, err)
		equal(t, len(list), 4, "with history")
		whole(t, s)
	})
}

// TestUnassign is R76's and R12's refusals.
func TestUnassign(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		boss, u := admin(t, s), user(t, s, "user", "trainer", "developer")
		is(t, s.Unassign(ctx, "cli", u.ID, "customer"), store.ErrNotFound, "not held")
		is(t, s.Unassign(ctx, "cli", u.ID, "king"), store.ErrNotFound, "unknown")
		is(t, s.Unassign(ctx, boss.ID, boss.ID, "admin"), store.ErrForbidden, "one's own")
		is(t, s.Unassign(ctx, u.ID, boss.ID, "admin"), store.ErrForbidden, "what one does not hold")
		is(t, s.Unassign(ctx, "cli", boss.ID, "admin"), store.ErrLastAdmin, "the last administrator")
		must(t, s.Unassign(ctx, boss.ID, u.ID, "trainer"))
		must(t, s.Unassign(ctx, "cli", u.ID, "developer"))
		must(t, s.Unassign(ctx, "cli", u.ID, "user"))
		var bound *store.BoundError
		if err := s.Unassign(ctx, "cli", u.ID, "user"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what comes with the type alone: %v", err)
		}
		_, err := s.SyncUpstreamPrivileges(ctx, u.ID, "google", []string{"trainer"})
		must(t, err)
		if err := s.Unassign(ctx, "cli", u.ID, "trainer"); !errors.As(err, &bound) || bound.Ref != "google" {
			t.Errorf("what a connector's rules give: %v", err)
		}
		_, err = s.SyncUpstreamPrivileges(ctx, u.ID, "google", nil)
		must(t, err)
		list, err := s.Assignments(ctx, u.ID)
		must(t, err)
		ended := 0
		for _, a := range list {
			if !a.EndedAt.IsZero() && a.Source == store.SourcePerson {
				ended++
				if a.EndedBy != boss.ID && a.EndedBy != "cli" {
					t.Errorf("ended by %q", a.EndedBy)
				}
			}
		}
		equal(t, ended, 3, "ended")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "trainer"})) // again
		admin(t, s)
		must(t, s.Unassign(ctx, "cli", boss.ID, "admin"))
		whole(t, s)
	})
}

func TestIncludes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for _, n := range []string{"a", "b", "c"} {
			must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: n, Label: n}))
		}
		is(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "a"}), store.ErrConflict, "again")
		is(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "Admin"}), store.ErrInvalid, "R74: Admin")
		is(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "x y"}), store.ErrInvalid, "a blank")
		must(t, s.SetIncludes(ctx, "cli", "a", []string{"b", "b"}))
		must(t, s.SetIncludes(ctx, "cli", "b", []string{"c"}))
		is(t, s.SetIncludes(ctx, "cli", "c", []string{"a"}), store.ErrInvalid, "a cycle")
		is(t, s.SetIncludes(ctx, "cli", "c", []string{"c"}), store.ErrInvalid, "itself")
		is(t, s.SetIncludes(ctx, "cli", "c", []string{"king"}), store.ErrNotFound, "unknown")
		is(t, s.SetIncludes(ctx, "cli", "king", nil), store.ErrNotFound, "of an unknown")
		is(t, s.SetIncludes(ctx, "cli", "c", []string{"cron"}), store.ErrForbidden, "cron")
		g, err := s.Definitions(ctx)
		must(t, err)
		if got := g.Closure("a"); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("closure %v", got)
		}
		must(t, s.SetIncludes(ctx, "cli", "a", []string{"c"}))
		g, err = s.Definitions(ctx)
		must(t, err)
		if got := g.Closure("a"); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("closure after the change %v", got)
		}

		// Including is conferring (security.md G2).
		u := user(t, s, "a")
		is(t, s.SetIncludes(ctx, u.ID, "a", []string{"c", "admin"}), store.ErrForbidden, "admin by somebody who is none")
		is(t, s.SetIncludes(ctx, u.ID, "b", []string{"c"}), store.ErrForbidden, "of what one does not hold")

		// Administration through an include counts, and its end too.
		boss := user(t, s, "user", "b")
		must(t, s.SetPassword(ctx, "cli", boss.ID, "x", false, ""))
		done, err := s.SetupDone(ctx)
		must(t, err)
		equal(t, done, false, "set-up before")
		must(t, s.SetIncludes(ctx, "cli", "b", []string{"admin"}))
		has, err := s.HasAdmin(ctx)
		must(t, err)
		equal(t, has, true, "administrator through an include")
		done, err = s.SetupDone(ctx)
		must(t, err)
		equal(t, done, true, "set-up after")
		is(t, s.SetIncludes(ctx, "cli", "b", nil), store.ErrLastAdmin, "the last administrator's include")
		whole(t, s)
	})
}

// TestSetupStaysShut is G5: nothing that happens to the administrators opens the web set-up again.
func TestSetupStaysShut(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		check := func(has, done bool, when string) {
			t.Helper()
			h, err := s.HasAdmin(ctx)
			must(t, err)
			d, err := s.SetupDone(ctx)
			must(t, err)
			equal(t, h, has, "HasAdmin "+when)
			equal(t, d, done, "SetupDone "+when)
		}
		check(false, false, "at first")
		u := user(t, s, "user")
		must(t, s.Assign(ctx, "setup", &store.Assignment{UserID: u.ID, Privilege: "admin", Until: c.In(time.Hour)}))
		check(false, true, "without a password")
		must(t, s.SetPassword(ctx, "setup", u.ID, "x", false, ""))
		check(true, true, "with a password")
		c.Add(time.Hour)
		check(false, true, "when the assignment is over")
	})
}

// TestValidityKeepsAnAdmin: the dates of an account are another way to lose the last administrator.
func TestValidityKeepsAnAdmin(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		boss := admin(t, s)
		boss, err := s.User(t.Context(), boss.ID)
		must(t, err)
		boss.ValidUntil = c.In(-time.Hour)
		is(t, s.UpdateUser(t.Context(), boss), store.ErrLastAdmin, "ended account")
		boss.ValidUntil = c.In(time.Hour)
		must(t, s.UpdateUser(t.Context(), boss))
	})
}
