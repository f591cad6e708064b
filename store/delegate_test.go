package store_test

import (
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// editor makes somebody who may edit privileges and what people hold, and who holds names besides.
func editor(t *testing.T, s *store.Store, names ...string) *store.User {
	t.Helper()
	must(t, s.SetPowers(t.Context(), "cli", map[string][]string{"desk": {"access_privileges", "edit_privileges", "edit_user_privileges", "edit_user_password"}}))
	return user(t, s, append([]string{"desk"}, names...)...)
}

func until(t *testing.T, s *store.Store, u *store.User, name string, end store.Time) {
	t.Helper()
	must(t, s.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: name, Until: end}))
}

// TestSec_G1_ForAWhileStaysForAWhile: what somebody holds until Friday becomes theirs, or anybody's, for good by no edit of what privileges include.
func TestSec_G1_ForAWhileStaysForAWhile(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		admin(t, s)
		definePrivileges(t, s, "desk; staff; payroll; archive; helper: archive; rest: archive")
		friday := c.In(time.Hour)
		boss := user(t, s, "staff")
		until(t, s, boss, "admin", friday)
		lead := editor(t, s, "helper", "archive")
		until(t, s, lead, "payroll", friday)
		other := user(t, s, "helper")
		for what, err := range map[string]error{
			"admin, in what they hold for good":        s.SetIncludes(ctx, boss.ID, "staff", []string{"admin"}),
			"admin, in what another holds":             s.SetIncludes(ctx, boss.ID, "helper", []string{"archive", "admin"}),
			"admin, in a new one":                      s.CreatePrivilege(ctx, boss.ID, &store.Privilege{Name: "mine", Includes: store.Strings{"admin"}}),
			"a privilege, in what they hold for good":  s.SetIncludes(ctx, lead.ID, "desk", []string{"payroll"}),
			"a privilege, in what another holds":       s.SetIncludes(ctx, lead.ID, "helper", []string{"archive", "payroll"}),
			"on paper":                                 s.MayEdit(ctx, lead.ID, store.Edit{Privilege: "helper", Includes: []string{"archive", "payroll"}}),
			"what they hold anyway, until it is over":  s.SetIncludes(ctx, lead.ID, "payroll", []string{"archive"}),
			"a right that comes later, made to be now": s.SetIncludes(ctx, boss.ID, "rest", []string{"admin"}),
		} {
			switch what {
			case "what they hold anyway, until it is over":
				must(t, err) // archive is theirs for good: nothing moves at any time
			default:
				is(t, err, store.ErrForbidden, what)
			}
		}
		c.Add(2 * time.Hour)
		equal(t, effective(t, s, boss.ID), "staff user", "after Friday")
		equal(t, effective(t, s, lead.ID), "archive desk helper user", "after Friday")
		equal(t, effective(t, s, other.ID), "archive helper user", "another, after Friday")
		whole(t, s)
	})
}

// TestSec_G1_NobodyLiftsThemselvesLater: an edit that moves nothing today may still be one of the actor's own rights, or of somebody's who holds more.
func TestSec_G1_NobodyLiftsThemselvesLater(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss := admin(t, s)
		definePrivileges(t, s, "desk; short; long; soon; extra")
		// Held for good by the administrator, as administrator; until Friday of itself.
		until(t, s, boss, "extra", c.In(time.Hour))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: boss.ID, Privilege: "long"}))
		is(t, s.SetIncludes(ctx, boss.ID, "long", []string{"extra"}), privilege.ErrSelf, "theirs for good after Friday")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: boss.ID, Privilege: "soon", From: c.In(time.Hour)}))
		is(t, s.SetIncludes(ctx, boss.ID, "soon", []string{"short"}), privilege.ErrSelf, "theirs from Friday on")

		lead, peer, strong := editor(t, s, "short", "long"), user(t, s, "long"), user(t, s, "long", "trainer")
		until(t, s, peer, "short", c.In(time.Hour))
		until(t, s, strong, "short", c.In(time.Hour))
		is(t, s.SetIncludes(ctx, lead.ID, "long", []string{"short"}), privilege.ErrProtected, "for good to who holds more, and nothing moves today")
		must(t, s.Unassign(ctx, "cli", lead.ID, "long"))
		must(t, s.Unassign(ctx, "cli", lead.ID, "short"))
		is(t, s.SetIncludes(ctx, lead.ID, "long", []string{"short"}), privilege.ErrNotHeld, "what one does not hold")
		whole(t, s)
	})
}

// TestSec_G1_ATypeLasts: who holds something for a while gives no type that brings it for good.
func TestSec_G1_ATypeLasts(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		admin(t, s)
		definePrivileges(t, s, "desk; staff; payroll")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
			privilege.UserType{Value: "500", Names: []string{"office"}, Text: "Office", Privilege: "payroll"},
			privilege.UserType{Value: "510", Names: []string{"floor"}, Text: "Floor", Privilege: "staff"},
			privilege.UserType{Value: "200", Names: []string{"guest"}, Text: "Guest"})))
		boss, lead := user(t, s), editor(t, s, "staff")
		until(t, s, boss, "admin", c.In(time.Hour))
		until(t, s, lead, "payroll", c.In(time.Hour))
		friend := user(t, s)
		is(t, s.SetUserType(ctx, boss.ID, friend.ID, "900"), privilege.ErrTemporary, "the administrators' type")
		is(t, s.SetUserType(ctx, lead.ID, friend.ID, "500"), privilege.ErrTemporary, "a type that brings it")
		must(t, s.SetUserType(ctx, lead.ID, friend.ID, "510"))
		must(t, s.SetUserType(ctx, lead.ID, friend.ID, "200"))
		must(t, s.SetUserType(ctx, boss.ID, friend.ID, "100"))
		c.Add(2 * time.Hour)
		equal(t, effective(t, s, friend.ID), "user", "after Friday")
		whole(t, s)
	})
}

// TestSec_G2_ATypeThatBringsNothing: a user type is power over the person whatever it brings, as it says who may change nothing.
func TestSec_G2_ATypeThatBringsNothing(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		admin(t, s)
		boss := admin(t, s)
		definePrivileges(t, s, "desk")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
			privilege.UserType{Value: "200", Names: []string{"guest"}, Text: "Guest"},
			privilege.UserType{Value: "210", Names: []string{"partner"}, Text: "Partner"},
			privilege.UserType{Value: "220", Names: []string{"looker"}, Text: "Looker", ReadOnly: true})))
		lead, plain, friend, reader := editor(t, s), user(t, s), user(t, s), editor(t, s)
		for _, u := range []*store.User{boss, lead, plain, friend} {
			must(t, s.SetUserType(ctx, "cli", u.ID, "200"))
		}
		must(t, s.SetUserType(ctx, "cli", reader.ID, "220"))
		is(t, s.SetUserType(ctx, plain.ID, plain.ID, "210"), store.ErrForbidden, "one's own")
		is(t, s.SetUserType(ctx, boss.ID, boss.ID, "210"), privilege.ErrSelf, "an administrator's own")
		is(t, s.SetUserType(ctx, plain.ID, friend.ID, "220"), privilege.ErrNoPower, "without the permission")
		is(t, s.SetUserType(ctx, reader.ID, reader.ID, "210"), store.ErrForbidden, "out of read-only")
		is(t, s.SetUserType(ctx, lead.ID, boss.ID, "220"), privilege.ErrProtected, "an administrator made read-only")
		is(t, s.SetUserType(ctx, lead.ID, boss.ID, "210"), privilege.ErrProtected, "an administrator's")
		must(t, s.SetUserType(ctx, lead.ID, friend.ID, "220"))
		must(t, s.SetUserType(ctx, lead.ID, friend.ID, "210"))
		must(t, s.SetUserType(ctx, boss.ID, lead.ID, "220"))
		whole(t, s)
	})
}

// TestSec_G5_TheLastAdministratorCanSignIn: where passwords are off, an administrator who has nothing but one is none, so the last one with another way
// stays; what is one is the configuration's word.
func TestSec_G5_TheLastAdministratorCanSignIn(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := storetest.OpenWith(t, engine, store.Config{AdminWays: []string{store.WayEmailCode, store.WayPhone, store.WayPasskey, "entra"}})
			admin(t, s) // with a password
			last := func(u *store.User, way string) {
				t.Helper()
				is(t, s.DisableUser(ctx, "cli", u.ID, ""), store.ErrLastAdmin, way)
			}
			has := func(want bool) {
				t.Helper()
				got, err := s.HasAdmin(ctx)
				must(t, err)
				equal(t, got, want, "an administrator")
			}
			has(false)
			linked, google := user(t, s, "admin"), user(t, s, "admin")
			must(t, s.CreateIdentity(ctx, "cli", &store.Identity{UserID: linked.ID, Connector: "entra", Issuer: "i", Subject: "s"}))
			must(t, s.CreateIdentity(ctx, "cli", &store.Identity{UserID: google.ID, Connector: "google", Issuer: "i", Subject: "s"}))
			has(true)
			last(linked, "by a connector that lets administrators in")
			phone := &store.User{Phone: "+4915123456789"}
			must(t, s.CreateUser(ctx, phone))
			must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: phone.ID, Privilege: "admin"}))
			last(linked, "beside one with a number alone")
			must(t, s.AddFactor(ctx, &store.Credential{ID: id(), UserID: phone.ID, Kind: store.CredTOTP, Secret: "sealed"}, true))
			must(t, s.DisableUser(ctx, "cli", linked.ID, ""))
			last(phone, "by number and app")
			mail := &store.User{Email: "ada@example.com", EmailVerifiedAt: store.At(s.Now())}
			must(t, s.CreateUser(ctx, mail))
			must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: mail.ID, Privilege: "admin"}))
			must(t, s.DisableUser(ctx, "cli", phone.ID, ""))
			last(mail, "by a proven address")
			key, touch := user(t, s, "admin"), user(t, s, "admin")
			add := func(u *store.User, keyID string, d store.PasskeyData) {
				t.Helper()
				must(t, s.AddFactor(ctx, &store.Credential{ID: keyID, UserID: u.ID, Kind: store.CredPasskey, Secret: "sealed", Data: d.Text()}, true))
			}
			add(touch, id(), store.PasskeyData{Syncs: true})
			last(mail, "beside a passkey that is a second factor only")
			add(key, "alone", store.PasskeyData{Alone: true, Syncs: true})
			must(t, s.DisableUser(ctx, "cli", mail.ID, ""))
			last(key, "by a passkey")
			is(t, s.RemoveFactor(ctx, key.ID, "alone", false), store.ErrLastAdmin, "removed by themselves")
			_, err := s.ResetFactors(ctx, "cli", key.ID, "lost")
			is(t, err, store.ErrLastAdmin, "reset")
		})
	}
}

// TestSec_G5_TheLastAdministratorCanChangeSomething: who is read-only administers nothing, so the last one who is not stays so, whoever changes what.
func TestSec_G5_TheLastAdministratorCanChangeSomething(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		types := append(privilege.DefaultTypes(),
			privilege.UserType{Value: "220", Names: []string{"looker"}, Text: "Looker", Privilege: "user", ReadOnly: true},
			privilege.UserType{Value: "230", Names: []string{"keeper"}, Text: "Keeper", Privilege: "admin"})
		must(t, s.SetUserTypes(ctx, "cli", types))
		a, b := admin(t, s), admin(t, s)
		must(t, s.SetUserType(ctx, a.ID, b.ID, "220"))
		is(t, s.DisableUser(ctx, "cli", a.ID, ""), store.ErrLastAdmin, "the one who is not read-only, disabled")
		is(t, s.Unassign(ctx, "cli", a.ID, "admin"), store.ErrLastAdmin, "demoted")
		is(t, s.EraseUser(ctx, "cli", a.ID), store.ErrLastAdmin, "erased")
		is(t, s.SetUserType(ctx, "cli", a.ID, "220"), store.ErrLastAdmin, "made read-only")
		must(t, s.SetUserType(ctx, "cli", a.ID, "230"))
		// The file, at a start or a reload.
		types[4].ReadOnly = true
		is(t, s.SetUserTypes(ctx, "system", types), store.ErrLastAdmin, "their type made read-only")
		m, err := s.Model(ctx)
		must(t, err)
		equal(t, m.Type("230").ReadOnly, false, "the type after that")
		types[3].ReadOnly = false
		must(t, s.SetUserTypes(ctx, "system", types)) // b may change something again, so a need not
		is(t, s.DisableUser(ctx, "cli", b.ID, ""), store.ErrLastAdmin, "now the other")
		has, err := s.HasAdmin(ctx)
		must(t, err)
		equal(t, has, true, "an administrator")
		whole(t, s)
	})
}

// TestSec_G2_WordsOfWhatOneHolds: who gives privileges goes by what they are called, so nobody renames, or lets people ask for, what they do not hold.
func TestSec_G2_WordsOfWhatOneHolds(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss := admin(t, s)
		definePrivileges(t, s, "desk; payroll; staff: payroll; helper")
		lead := editor(t, s, "helper")
		label := func(name string) string {
			list, err := s.Privileges(ctx)
			must(t, err)
			for _, p := range list {
				if p.Name == name {
					return p.Label
				}
			}
			return ""
		}
		for _, name := range []string{"payroll", "staff", "admin", "cron", "trainer"} {
			before := label(name)
			is(t, s.DescribePrivilege(ctx, lead.ID, name, "Newsletter", "", nil, ""), privilege.ErrNotHeld, "renames "+name)
			is(t, s.SetRequestable(ctx, lead.ID, name, true), privilege.ErrNotHeld, "lets ask for "+name)
			equal(t, label(name), before, name)
		}
		is(t, s.DescribePrivilege(ctx, lead.ID, "nobodys", "x", "", nil, ""), store.ErrNotFound, "what there is not")
		must(t, s.DescribePrivilege(ctx, lead.ID, "helper", "Help", "", nil, ""))
		must(t, s.SetRequestable(ctx, lead.ID, "helper", true))
		must(t, s.DescribePrivilege(ctx, boss.ID, "cron", "Machines", "", nil, ""))
		must(t, s.DescribePrivilege(ctx, "cli", "payroll", "Pay", "", nil, ""))
		// What includes something they lack is not theirs either.
		until(t, s, lead, "staff", c.In(time.Hour))
		must(t, s.DescribePrivilege(ctx, lead.ID, "staff", "Staff", "", nil, ""))
		c.Add(2 * time.Hour)
		is(t, s.DescribePrivilege(ctx, lead.ID, "staff", "Newsletter", "", nil, ""), privilege.ErrNotHeld, "after it is over")
		whole(t, s)
	})
}

// TestSec_G2_WhoWillHoldMore: a password set today is known when the person's rights begin.
func TestSec_G2_WhoWillHoldMore(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		admin(t, s)
		definePrivileges(t, s, "desk")
		lead, next, past := editor(t, s), user(t, s), user(t, s)
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: next.ID, Privilege: "admin", From: c.In(time.Hour)}))
		until(t, s, past, "admin", c.In(time.Minute))
		is(t, s.SetPassword(ctx, lead.ID, next.ID, "x", false, ""), privilege.ErrProtected, "of an administrator to be")
		is(t, s.SetPassword(ctx, lead.ID, past.ID, "x", false, ""), privilege.ErrProtected, "of an administrator")
		c.Add(2 * time.Minute)
		must(t, s.SetPassword(ctx, lead.ID, past.ID, "x", false, ""))
		is(t, s.SetPassword(ctx, lead.ID, next.ID, "x", false, ""), privilege.ErrProtected, "of an administrator to be")
		whole(t, s)
	})
}
