package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// definePrivileges reads "a: b c; b; c" and defines it, lowest first.
func definePrivileges(t testing.TB, s *store.Store, text string) {
	t.Helper()
	parts := strings.Split(text, ";")
	for _, part := range parts {
		name, _, _ := strings.Cut(part, ":")
		must(t, s.CreatePrivilege(t.Context(), "cli", &store.Privilege{Name: strings.TrimSpace(name), Label: name}))
	}
	for _, part := range parts {
		name, includes, _ := strings.Cut(part, ":")
		must(t, s.SetIncludes(t.Context(), "cli", strings.TrimSpace(name), strings.Fields(includes)))
	}
}

func effective(t testing.TB, s *store.Store, id string) string {
	t.Helper()
	l, err := s.Live(t.Context(), id)
	must(t, err)
	m, err := s.Model(t.Context())
	must(t, err)
	return strings.Join(m.Effective(l, store.At(s.Now())), " ")
}

// TestSec_G2_IndirectPaths: whatever a lesser administrator edits, nobody ends up with what he could not have given them, and he not with more
// than he had.
func TestSec_G2_IndirectPaths(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		boss := admin(t, s)
		definePrivileges(t, s, "helper; staff: helper; lead: staff; chief: admin; label")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges", "access_privileges", "edit_privileges", "edit_user_active_status",
			"edit_user_password", "delete_user", "access_sessions", "edit_sessions"}}))
		lead, other := user(t, s, "lead"), user(t, s, "lead")
		worker, plain, chief := user(t, s, "staff"), user(t, s), user(t, s, "chief")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
			privilege.UserType{Value: "500", Names: []string{"desk"}, Text: "Desk", Privilege: "staff"},
			privilege.UserType{Value: "600", Names: []string{"reader"}, Text: "Reader", Privilege: "lead", ReadOnly: true})))
		give := func(to *store.User, name string) error {
			return s.Assign(ctx, lead.ID, &store.Assignment{UserID: to.ID, Privilege: name})
		}
		for what, err := range map[string]error{
			"gives admin within another":            give(plain, "chief"),
			"gives a label he lacks":                give(plain, "label"),
			"gives to himself":                      give(lead, "helper"),
			"gives to who holds more":               give(chief, "helper"),
			"includes admin in what he holds":       s.SetIncludes(ctx, lead.ID, "lead", []string{"staff", "admin"}),
			"includes chief in what others hold":    s.SetIncludes(ctx, lead.ID, "helper", []string{"chief"}),
			"includes a label in what he holds":     s.SetIncludes(ctx, lead.ID, "staff", []string{"helper", "label"}),
			"takes from what he holds himself":      s.SetIncludes(ctx, lead.ID, "lead", nil),
			"edits what includes admin":             s.SetIncludes(ctx, lead.ID, "chief", nil),
			"edits what he does not hold":           s.SetIncludes(ctx, lead.ID, "label", []string{"helper"}),
			"makes one that includes admin":         s.CreatePrivilege(ctx, lead.ID, &store.Privilege{Name: "mine", Includes: store.Strings{"admin"}}),
			"gives the administrators' type":        s.SetUserType(ctx, lead.ID, plain.ID, "900"),
			"gives himself a type":                  s.SetUserType(ctx, lead.ID, lead.ID, "500"),
			"takes a type from who holds more":      s.SetUserType(ctx, lead.ID, chief.ID, "500"),
			"edits types":                           s.SetUserTypes(ctx, lead.ID, nil),
			"edits permissions":                     s.SetPowers(ctx, lead.ID, map[string][]string{"helper": {"create_user"}}),
			"edits rules of delegation":             s.SetDelegations(ctx, lead.ID, nil),
			"deletes what he holds":                 second(s.DeletePrivilege(ctx, lead.ID, "staff")),
			"deletes what he does not":              second(s.DeletePrivilege(ctx, lead.ID, "label")),
			"sets the password of who holds more":   s.SetPassword(ctx, lead.ID, chief.ID, "x", false, ""),
			"disables who holds more":               s.DisableUser(ctx, lead.ID, chief.ID, ""),
			"erases who holds more":                 s.EraseUser(ctx, lead.ID, chief.ID),
			"gives without the permission":          s.Assign(ctx, worker.ID, &store.Assignment{UserID: plain.ID, Privilege: "helper"}),
			"an administrator lifts himself":        s.Assign(ctx, boss.ID, &store.Assignment{UserID: boss.ID, Privilege: "label"}),
			"an administrator's privilege gains":    give(boss, "helper"),
			"describes without the permission":      s.DescribePrivilege(ctx, worker.ID, "helper", "x", "", nil, ""),
			"makes one without the permission":      s.CreatePrivilege(ctx, worker.ID, &store.Privilege{Name: "mine"}),
			"disables without the permission":       s.DisableUser(ctx, worker.ID, plain.ID, ""),
			"gives the node of a type":              give(plain, "type/500"),
			"sets what the node of a type includes": s.SetIncludes(ctx, boss.ID, "type/500", []string{"admin"}),
		} {
			if !errors.Is(err, store.ErrForbidden) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for id, want := range map[string]string{lead.ID: "helper lead staff user", chief.ID: "admin chief user", plain.ID: "user", worker.ID: "helper staff user", boss.ID: "admin user"} {
			equal(t, effective(t, s, id), want, "after all that")
		}
		// What he may.
		must(t, give(plain, "staff"))
		must(t, s.SetUserType(ctx, lead.ID, worker.ID, "500"))
		must(t, s.DisableUser(ctx, lead.ID, plain.ID, ""))
		// Somebody read-only holds the same and changes nothing (R85).
		must(t, s.SetUserType(ctx, "cli", other.ID, "600"))
		is(t, s.Assign(ctx, other.ID, &store.Assignment{UserID: worker.ID, Privilege: "lead"}), store.ErrForbidden, "read-only")
		// An administrator edits what he does not hold, and what reaches himself only with another's help.
		must(t, s.SetIncludes(ctx, boss.ID, "label", []string{"helper"}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: boss.ID, Privilege: "label"}))
		is(t, s.SetIncludes(ctx, boss.ID, "label", []string{"helper", "staff"}), store.ErrForbidden, "an administrator's own privileges")
		whole(t, s)
	})
}

func readUser(t testing.TB, s *store.Store, id string) *store.User {
	t.Helper()
	u, err := s.User(t.Context(), id)
	must(t, err)
	return u
}

func second[T any](_ T, err error) error { return err }

// TestDelegationLasts: nobody confers for longer than they hold it.
func TestDelegationLasts(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		definePrivileges(t, s, "helper; lead: helper")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges"}}))
		temp, u := user(t, s), user(t, s)
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: temp.ID, Privilege: "lead", Until: c.In(time.Hour)}))
		give := func(until store.Time) error {
			return s.Assign(ctx, temp.ID, &store.Assignment{UserID: u.ID, Privilege: "helper", Until: until})
		}
		is(t, give(store.Time{}), store.ErrInvalid, "for good")
		is(t, give(c.In(2*time.Hour)), store.ErrInvalid, "for longer")
		must(t, give(c.In(time.Hour)))
		// Deputies by rule: what and to whom.
		must(t, s.SetDelegations(ctx, "cli", []store.DelegationRule{{Holder: "lead", Confer: []string{"helper"}, People: []any{"trainer"}}}))
		d, v, w := user(t, s, "lead"), user(t, s), user(t, s, "trainer")
		is(t, s.Assign(ctx, d.ID, &store.Assignment{UserID: v.ID, Privilege: "helper"}), store.ErrForbidden, "not one of those people")
		is(t, s.Assign(ctx, d.ID, &store.Assignment{UserID: w.ID, Privilege: "helper"}), store.ErrForbidden, "one who holds more")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: d.ID, Privilege: "trainer"}))
		must(t, s.Assign(ctx, d.ID, &store.Assignment{UserID: w.ID, Privilege: "helper"}))
		is(t, s.Assign(ctx, d.ID, &store.Assignment{UserID: w.ID, Privilege: "lead"}), store.ErrForbidden, "what was not delegated")
		// The same once more writes nothing.
		before := s.Counts()
		must(t, s.SetDelegations(ctx, "cli", []store.DelegationRule{{Holder: "lead", Confer: []string{"helper"}, People: []any{"trainer"}}}))
		entries, err := s.AuditEntries(ctx, 0, 1000)
		must(t, err)
		n := 0
		for _, e := range entries {
			if e.Action == "delegations.set" {
				n++
			}
		}
		equal(t, n, 1, "audited once")
		_ = before
		must(t, s.SetDelegations(ctx, "cli", nil))
		must(t, s.Unassign(ctx, "cli", w.ID, "helper"))
		must(t, s.Assign(ctx, d.ID, &store.Assignment{UserID: w.ID, Privilege: "lead"}))
	})
}

// TestImpactAndDelete: what a change would do is told before it is done, and is what it then does (R75, security.md G4).
func TestImpactAndDelete(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss := admin(t, s)
		definePrivileges(t, s, "helper; staff: helper; editor; crm-only")
		for _, cl := range []*store.Client{
			{ID: "all"}, {ID: "few", Metadata: store.ClientMetadata{VisiblePrivileges: []string{"staff"}}},
			{ID: "door", Metadata: store.ClientMetadata{VisiblePrivileges: []string{"crm-only"}, RequiredPrivileges: []any{"editor"}}},
		} {
			must(t, s.CreateClient(ctx, "cli", cl))
		}
		for range 3 {
			user(t, s, "staff")
		}
		has := user(t, s, "staff", "editor")
		impact := func(e store.Edit) string {
			t.Helper()
			before := s.Counts().Writes
			i, err := s.Impact(ctx, e)
			must(t, err)
			equal(t, s.Counts().Writes, before, "writes")
			return i.String()
		}
		equal(t, impact(store.Edit{Privilege: "staff", Includes: []string{"helper", "editor"}}), "3 people gain editor; 2 clients affected", "an include more")
		equal(t, impact(store.Edit{Privilege: "staff"}), "4 people lose helper; 1 client affected", "an include less")
		equal(t, impact(store.Edit{Privilege: "staff", Includes: []string{"helper"}}), "nobody gains or loses anything", "nothing")
		equal(t, impact(store.Edit{Privilege: "fresh", Includes: []string{"helper"}}), "nobody gains or loses anything", "a new one")
		if got := impact(store.Edit{Privilege: "staff", Delete: true}); got != "4 people lose helper, staff; 2 clients affected" {
			t.Errorf("deleting: %s", got)
		}
		_, err := s.Impact(ctx, store.Edit{Privilege: "helper", Includes: []string{"staff"}})
		is(t, err, store.ErrInvalid, "a cycle")

		for _, name := range []string{"user", "admin", "developer", "advocate", "cron", "trainer"} {
			is(t, second(s.DeletePrivilege(ctx, "cli", name)), store.ErrForbidden, name)
		}
		is(t, second(s.DeletePrivilege(ctx, "cli", "nobody")), store.ErrNotFound, "unknown")
		is(t, second(s.DeletePrivilege(ctx, "cli", "type/100")), store.ErrNotFound, "the node of a type")
		var inUse *store.InUse
		if err := second(s.DeletePrivilege(ctx, "cli", "editor")); !errors.As(err, &inUse) || !slices.Equal(inUse.Required, []string{"door"}) {
			t.Errorf("a door: %v", err)
		}
		is(t, second(s.DeletePrivilege(ctx, "cli", "crm-only")), store.ErrConflict, "a visible list")
		must(t, s.CreatePrivilege(ctx, "system", &store.Privilege{Name: "declared", Source: store.PrivilegeConfig}))
		is(t, second(s.DeletePrivilege(ctx, boss.ID, "declared")), store.ErrForbidden, "declared in the file")
		is(t, s.DescribePrivilege(ctx, boss.ID, "declared", "x", "", nil, ""), store.ErrForbidden, "declared in the file")
		is(t, s.SetIncludes(ctx, boss.ID, "declared", []string{"helper"}), store.ErrForbidden, "declared in the file")
		must(t, second(s.DeletePrivilege(ctx, boss.ID, "customer")))
		must(t, s.UpdateClient(ctx, "cli", clientWithout(t, s, "few")))
		i, err := s.DeletePrivilege(ctx, boss.ID, "staff")
		must(t, err)
		equal(t, i.People, 4, "people")
		equal(t, effective(t, s, has.ID), "editor user", "after the deletion")
		// The name rests, then is anybody's, with nothing of what it was.
		is(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff"}), store.ErrConflict, "a name that rests")
		c.Add(91 * 24 * time.Hour)
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff", Label: "New"}))
		g, err := s.Definitions(ctx)
		must(t, err)
		equal(t, strings.Join(g.Closure("staff"), " "), "staff", "the new one")
		equal(t, effective(t, s, has.ID), "editor user", "nobody holds the new one")
		whole(t, s)
	})
}

func clientWithout(t testing.TB, s *store.Store, id string) *store.Client {
	t.Helper()
	c, err := s.Client(t.Context(), id)
	must(t, err)
	c.Metadata.VisiblePrivileges = nil
	return c
}

// TestUserTypes: R83 to R90.
func TestUserTypes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		m, err := s.Model(ctx)
		must(t, err)
		var table []string
		for _, ty := range m.Types {
			table = append(table, fmt.Sprintf("%s %s %q %s %v", ty.Value, ty.Name(), ty.Text, ty.Privilege, ty.ReadOnly))
		}
		equal(t, strings.Join(table, "; "), `000 anonymous "Anonymous"  true; 100 user "User" user false; 900 admin "Administrator" admin false`, "defaults")
		boss, u := admin(t, s), user(t, s)
		equal(t, u.UserType, "100", "a newcomer")
		definePrivileges(t, s, "staff")
		desk := privilege.UserType{Value: "300", Names: []string{"desk", "counter"}, Text: "Desk", Texts: map[string]string{"de": "Schalter"}, Privilege: "staff",
			HiddenLanguages: []string{"fr"}, Mask: []string{"digest"}}
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), desk)))
		before := s.Counts().Writes
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), desk)))
		if w := s.Counts().Writes - before; w > 1 { // the gate's lock
			t.Errorf("%d writes without a difference", w)
		}
		is(t, s.SetUserType(ctx, "cli", u.ID, "777"), store.ErrNotFound, "no such type")
		is(t, s.SetUserType(ctx, "cli", u.ID, "000"), store.ErrNotFound, "a person is not anonymous")
		must(t, s.SetUserType(ctx, boss.ID, u.ID, "300"))
		equal(t, effective(t, s, u.ID), "staff", "one type at a time")
		// A type in use cannot vanish (R90), and its people change with it.
		var inUse *store.TypeInUse
		if err := s.SetUserTypes(ctx, "cli", nil); !errors.As(err, &inUse) || inUse.People != 1 {
			t.Errorf("a type in use: %v", err)
		}
		desk.Privilege = "trainer"
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), desk)))
		equal(t, effective(t, s, u.ID), "trainer", "the type's new privilege")
		must(t, s.SetUserType(ctx, "cli", u.ID, "100"))
		must(t, s.SetUserTypes(ctx, "cli", nil))
		m, err = s.Model(ctx)
		must(t, err)
		equal(t, len(m.Types), 3, "types")
		is(t, s.SetUserTypes(ctx, "cli", privilege.DefaultTypes()[1:]), store.ErrInvalid, "without anonymous")
		// Not even by a type may nobody administer.
		must(t, s.SetUserType(ctx, "cli", u.ID, "900"))
		must(t, s.SetPassword(ctx, "cli", u.ID, "$argon2id$", false, ""))
		must(t, s.Unassign(ctx, "cli", boss.ID, "admin"))
		is(t, s.SetUserType(ctx, "cli", u.ID, "100"), store.ErrLastAdmin, "the last administrator's type")
		types := privilege.DefaultTypes()
		types[2].Privilege = "staff"
		is(t, s.SetUserTypes(ctx, "cli", types), store.ErrLastAdmin, "what the last administrator's type brings")
		equal(t, effective(t, s, u.ID), "admin", "after all that")
		whole(t, s)
	})
}

// TestSec_G1_ModelInTheDatabase: the engine's model test once more through the store, on both databases: random edits by random people; nobody ever
// holds what nobody who may pass it on could have given them.
func TestSec_G1_ModelInTheDatabase(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		r := rand.New(rand.NewPCG(11, 12))
		definePrivileges(t, s, "p0; p1; p2: p0; p3: p1 p2; p4: p3; p5; p6: p5 p4; p7: admin; p8; p9: p8")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
			privilege.UserType{Value: "200", Names: []string{"guest"}, Text: "Guest"},
			privilege.UserType{Value: "220", Names: []string{"looker"}, Text: "Looker", ReadOnly: true},
			privilege.UserType{Value: "800", Names: []string{"eight"}, Text: "Eight", Privilege: "p8"})))
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"p4": {"edit_user_privileges", "access_privileges", "edit_privileges"}, "p5": {"edit_user_privileges"}}))
		names := []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "admin", "trainer"}
		people := []*store.User{user(t, s, "p4"), user(t, s, "p5"), user(t, s, "p6"), user(t, s, "p3"), user(t, s), user(t, s, "trainer")}
		never := []string{"admin", "p7", "trainer"} // nobody with the permission holds one of these
		forAWhile := []string{"p8", "p9"}           // two who may give them hold these until an hour is over, and nobody does longer
		for _, p := range people[:3:3] {
			must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: p.ID, Privilege: "p9", Until: c.In(time.Hour)}))
		}
		done := 0
		for range 300 {
			actor, who, name := people[r.IntN(len(people))], people[r.IntN(len(people))], names[r.IntN(len(names))]
			var err error
			switch r.IntN(5) {
			case 0, 1:
				err = s.Assign(ctx, actor.ID, &store.Assignment{UserID: who.ID, Privilege: name, Until: []store.Time{{}, c.In(30 * time.Minute)}[r.IntN(2)]})
			case 2:
				err = s.Unassign(ctx, actor.ID, who.ID, name)
			case 3:
				err = s.SetIncludes(ctx, actor.ID, name, []string{names[r.IntN(len(names))]})
			case 4:
				// The oracle: another's, by who may change something and give rights, and holds all that the person does.
				mine, by := strings.Fields(effective(t, s, actor.ID)), readUser(t, s, actor.ID)
				may := actor != who && by.UserType != "220" && (slices.Contains(mine, "p4") || slices.Contains(mine, "p5"))
				for _, n := range strings.Fields(effective(t, s, who.ID)) {
					may = may && (n == "user" || slices.Contains(mine, n))
				}
				if err = s.SetUserType(ctx, actor.ID, who.ID, []string{"100", "200", "220", "800", "900"}[r.IntN(5)]); err == nil && !may {
					t.Errorf("%v set the type of %s", mine, effective(t, s, who.ID))
				}
			}
			if err == nil {
				done++
				continue
			}
			for _, known := range []error{store.ErrForbidden, store.ErrConflict, store.ErrNotFound, store.ErrInvalid, store.ErrLastAdmin} {
				if errors.Is(err, known) {
					err = nil
					break
				}
			}
			must(t, err)
		}
		for range 2 {
			for i, p := range people {
				held := strings.Fields(effective(t, s, p.ID))
				for _, n := range never {
					if slices.Contains(held, n) && !(n == "trainer" && i == 5) {
						t.Errorf("person %d holds %s", i, n)
					}
				}
			}
			c.Add(2 * time.Hour) // once more, when all that was held for a while is over
			never = append(never, forAWhile...)
		}
		if done < 10 {
			t.Errorf("only %d edits went through", done)
		}
		whole(t, s)
	})
}
