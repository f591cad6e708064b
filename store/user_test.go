package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func TestUserRoundTrip(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		u := &store.User{Username: "Ada", Email: " Ada@Example.org", EmailVerifiedAt: c.In(0), Phone: "+491701234567", GivenName: "Ada", FamilyName: "Lovelace",
			Locale: "en-GB", Zoneinfo: "Europe/London", Profile: store.Profile{Nickname: "A", Address: store.Address{Country: "GB"}}, UserType: "staff",
			MustChange: true, ValidFrom: c.In(-time.Hour), ValidUntil: c.In(time.Hour)}
		must(t, s.CreateUser(t.Context(), u))
		got, err := s.User(t.Context(), u.ID)
		must(t, err)
		equal(t, *got, *u, "read back")
		equal(t, got.EmailKey, "ada@example.org", "e-mail key")
		equal(t, got.UsernameKey, "ada", "username key")
		equal(t, got.Version, 1, "version")
		equal(t, got.CreatedAt, c.In(0), "created")
		_, err = s.User(t.Context(), "nobody")
		is(t, err, store.ErrNotFound, "unknown id")
	})
}

// TestEmailIsMatchedByEquality is R5: without regard to case, and never as a pattern.
func TestEmailIsMatchedByEquality(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		bob := &store.User{Username: "Bob", Email: "bob@x.org", Phone: "+491701234567"}
		must(t, s.CreateUser(ctx, bob))
		for _, in := range []string{"bob@x.org", "Bob@X.org", " bob@x.ORG ", "bob", "BOB", "+49 170 1234567", "+491701234567"} {
			u, err := s.UserByLogin(ctx, in)
			if err != nil || u.ID != bob.ID {
				t.Errorf("UserByLogin(%q): %v, %v", in, u, err)
			}
		}
		for _, in := range []string{"b_b@x.org", "%@x.org", "%", "b_b", "", " ", "@", "bob@", "bob@x", "01701234567", "+49", "' OR '1'='1", "bob\x00"} {
			_, err := s.UserByLogin(ctx, in)
			is(t, err, store.ErrNotFound, "UserByLogin "+in)
		}
		for _, c := range []struct {
			u     store.User
			field string
			err   error
		}{
			{store.User{Email: "Bob@X.org"}, "email", store.ErrConflict},
			{store.User{Username: "BOB"}, "username", store.ErrConflict},
			{store.User{Phone: "+491701234567"}, "phone", store.ErrConflict},
			{store.User{Username: "x@y"}, "username", store.ErrInvalid},
			{store.User{Username: "12345"}, "username", store.ErrInvalid},
			{store.User{Email: "nobody"}, "email", store.ErrInvalid},
			{store.User{Phone: "0170"}, "phone", store.ErrInvalid},
		} {
			err := s.CreateUser(ctx, &c.u)
			is(t, err, c.err, "create with "+c.field)
			var f *store.FieldError
			if !errors.As(err, &f) || f.Field != c.field {
				t.Errorf("the error names %v, want %s", f, c.field)
			}
		}
		// Accounts without any of the three do not collide.
		must(t, s.CreateUser(ctx, &store.User{}))
		must(t, s.CreateUser(ctx, &store.User{}))
	})
}

func TestUpdateUserIsOptimistic(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s)
		stale := *u
		c.Add(time.Minute)
		u.GivenName, u.Email = "New", "new@x.org"
		must(t, s.UpdateUser(ctx, u))
		equal(t, u.Version, 2, "version")
		got, err := s.User(ctx, u.ID)
		must(t, err)
		equal(t, *got, *u, "read back")
		equal(t, got.UpdatedAt, c.In(0), "updated")
		stale.GivenName = "Old"
		is(t, s.UpdateUser(ctx, &stale), store.ErrConflict, "stale version")
		equal(t, stale.Version, 1, "version after a refusal")

		// The state of the account is not reachable this way.
		u.DisabledAt = c.In(0)
		must(t, s.UpdateUser(ctx, u))
		got, err = s.User(ctx, u.ID)
		must(t, err)
		equal(t, got.DisabledAt, store.Time{}, "disabled through UpdateUser")

		must(t, s.TouchLogin(ctx, u.ID, c.Now()))
		got, err = s.User(ctx, u.ID)
		must(t, err)
		equal(t, got.LastLoginAt, c.In(0), "last login")
		equal(t, got.Version, u.Version, "a sign-in is no edit: version")
	})
}

func TestUsersPagesByKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		want := map[string]bool{}
		for range 7 {
			want[user(t, s).ID] = true
		}
		after, pages := "", 0
		for {
			page, err := s.Users(t.Context(), after, 3)
			must(t, err)
			if len(page) == 0 {
				break
			}
			pages++
			for _, u := range page {
				if !want[u.ID] || u.ID <= after {
					t.Errorf("%s came twice or out of order", u.ID)
				}
				delete(want, u.ID)
				after = u.ID
			}
		}
		equal(t, len(want), 0, "missing")
		equal(t, pages, 3, "pages")
	})
}

// TestLiveIsOneStatement: user and assignments, whatever their number, and history left out.
func TestLiveIsOneStatement(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s, "user", "trainer", "customer")
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "developer", From: c.In(time.Hour), Until: c.In(2 * time.Hour)}))
		must(t, s.Unassign(ctx, "cli", u.ID, "customer"))
		before := s.Counts()
		l, err := s.Live(ctx, u.ID)
		must(t, err)
		equal(t, s.Counts().Reads-before.Reads, 1, "reads")
		equal(t, l.User, *u, "user")
		got := map[string]store.Holding{}
		for _, h := range l.Holdings {
			got[h.Privilege] = h
		}
		equal(t, len(got), 4, "holdings, the type among them")
		equal(t, got["developer"], store.Holding{Privilege: "developer", From: c.In(time.Hour), Until: c.In(2 * time.Hour)}, "timed holding")
		equal(t, got["user"], store.Holding{Privilege: "user"}, "untimed holding")

		bare := user(t, s)
		l, err = s.Live(ctx, bare.ID)
		must(t, err)
		equal(t, fmt.Sprint(l.Holdings[0].Privilege, len(l.Holdings)), "type/1001", "who was given nothing has the newcomers' type")
		_, err = s.Live(ctx, "nobody")
		is(t, err, store.ErrNotFound, "unknown")
	})
}

// TestDisableEndsEverything is R10, and B3's first line.
func TestDisableEndsEverything(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss, u := admin(t, s), user(t, s, "user")
		n := &store.Session{UserID: u.ID, IdleMS: 1e6, ExpiresAt: c.In(time.Hour)}
		must(t, s.CreateSession(ctx, n))
		p := &store.Partial{UserID: u.ID, ExpiresAt: c.In(time.Hour)}
		must(t, s.CreatePartial(ctx, p))
		g := newGrant(s, u.ID)
		_, err := s.CreateGrant(ctx, g)
		must(t, err)

		must(t, s.DisableUser(ctx, boss.ID, u.ID, "left"))
		l, err := s.Live(ctx, u.ID)
		must(t, err)
		if l.User.Active(c.Now()) || l.User.DisabledReason != "left" {
			t.Errorf("still active: %+v", l.User)
		}
		_, _, err = s.LiveSession(ctx, n.ID)
		is(t, err, store.ErrNotFound, "session")
		_, _, err = s.Partial(ctx, p.ID)
		is(t, err, store.ErrNotFound, "partial")
		got, err := s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, got.RevokeReason, "user disabled", "grant revoked")

		must(t, s.DisableUser(ctx, boss.ID, u.ID, "again"))
		must(t, s.EnableUser(ctx, boss.ID, u.ID))
		l, err = s.Live(ctx, u.ID)
		must(t, err)
		if !l.User.Active(c.Now()) || l.User.DisabledReason != "" {
			t.Errorf("not active: %+v", l.User)
		}
		got, err = s.Grant(ctx, g.ID)
		must(t, err)
		if got.RevokedAt.IsZero() {
			t.Error("enabling revived a grant")
		}

		is(t, s.DisableUser(ctx, boss.ID, boss.ID, "me"), store.ErrForbidden, "oneself")
		is(t, s.DisableUser(ctx, "cli", boss.ID, "only one"), store.ErrLastAdmin, "the last administrator")
		is(t, s.DisableUser(ctx, u.ID, boss.ID, "up"), store.ErrForbidden, "somebody who holds more")
		is(t, s.DisableUser(ctx, "cli", "nobody", ""), store.ErrNotFound, "unknown")
		is(t, s.DisableUser(ctx, "nobody", u.ID, ""), store.ErrForbidden, "by somebody unknown")
		l, err = s.Live(ctx, boss.ID)
		must(t, err)
		if !l.User.Active(c.Now()) {
			t.Error("a refused change was written")
		}
		whole(t, s)
	})
}

// TestSec_H7_Erase: what is personal is gone from every table, the id stays taken, and a provider's request to delete is done.
func TestSec_H7_Erase(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss := admin(t, s)
		u := &store.User{Email: "ana@example.com", EmailVerifiedAt: c.In(0), Username: "ana", Phone: "+442079460018", GivenName: "Ana", FamilyName: "Lee", Locale: "en",
			Profile: store.Profile{Nickname: "A", Picture: "https://example.com/a.png"}}
		must(t, s.CreateUser(ctx, u))
		must(t, s.DisableUser(ctx, boss.ID, u.ID, "Ana Lee is away"))
		must(t, s.EnableUser(ctx, boss.ID, u.ID))
		must(t, s.Assign(ctx, boss.ID, &store.Assignment{UserID: u.ID, Privilege: "trainer", Reason: "Ana Lee asked"}))
		offer(t, s, u, "link")
		must(t, s.SetPassword(ctx, "cli", u.ID, "hash", false, ""))
		linked(t, s, u, "google", "1")
		must(t, s.CreateSession(ctx, &store.Session{UserID: u.ID, IdleMS: 1e6, ExpiresAt: c.In(time.Hour)}))
		g := newGrant(s, u.ID)
		_, err := s.CreateGrant(ctx, g)
		must(t, err)
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "d", Kind: "deletion", Request: "{}", UserID: u.ID, State: "received", ExpiresAt: c.In(time.Hour)}))
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "e", Kind: "device", Request: "{}", UserID: u.ID, ExpiresAt: c.In(time.Hour)}))

		must(t, s.Record(ctx, &store.Event{Kind: "identity_conflict", UserID: u.ID, IP: "192.0.2.7", Data: `{"subject":"Ana"}`}))
		is(t, s.EraseUser(ctx, u.ID, u.ID), store.ErrForbidden, "oneself")
		is(t, s.EraseUser(ctx, u.ID, boss.ID), store.ErrForbidden, "somebody who holds more")
		is(t, s.EraseUser(ctx, "cli", boss.ID), store.ErrLastAdmin, "the last administrator")
		is(t, s.EraseUser(ctx, "cli", "nobody"), store.ErrNotFound, "unknown")
		must(t, s.EraseUser(ctx, boss.ID, u.ID))
		is(t, s.EraseUser(ctx, boss.ID, u.ID), store.ErrNotFound, "again")

		l, err := s.Live(ctx, u.ID)
		must(t, err)
		if l.User.Active(c.Now()) || l.User.DeletedAt.IsZero() || len(l.Holdings) != 0 {
			t.Errorf("%+v", l)
		}
		bare := l.User
		bare.CreatedAt, bare.UpdatedAt, bare.DeletedAt, bare.DisabledAt, bare.Version, bare.UserType = store.Time{}, store.Time{}, store.Time{}, store.Time{}, 0, ""
		if bare != (store.User{ID: u.ID, DisabledReason: "erased"}) {
			t.Errorf("left: %+v", bare)
		}
		history, err := s.Assignments(ctx, u.ID)
		must(t, err)
		for _, a := range history {
			equal(t, a.Reason, "", "why they were given something")
		}
		events, err := s.EventsOf(ctx, u.ID, 10)
		must(t, err)
		for _, e := range events {
			equal(t, e.IP+e.Data, "{}", "what an event says of them")
		}
		entries, err := s.AuditEntries(ctx, 0, 10_000)
		must(t, err)
		for _, e := range entries {
			if strings.Contains(e.Diff, "Ana") || strings.Contains(e.Diff, "holidays") {
				t.Errorf("in the audit log for good: %+v", e)
			}
		}
		links, err := s.IdentitiesOf(ctx, u.ID)
		must(t, err)
		sessions, err := s.SessionsOf(ctx, u.ID)
		must(t, err)
		equal(t, len(links)+len(sessions), 0, "links and sessions")
		_, err = s.Password(ctx, u.ID)
		is(t, err, store.ErrNotFound, "password")
		got, err := s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, got.RevokeReason, "user erased", "grant")
		d, err := s.Pending(ctx, "deletion", "d")
		must(t, err)
		equal(t, d.State+d.UserID, "done", "the provider's request")
		_, err = s.Pending(ctx, "device", "e")
		is(t, err, store.ErrNotFound, "another request")

		is(t, s.EnableUser(ctx, "cli", u.ID), nil, "enabling does nothing")
		is(t, s.CreateUser(ctx, &store.User{ID: u.ID}), store.ErrConflict, "the id stays taken")
		must(t, s.CreateUser(ctx, &store.User{Email: "ana@example.com", Username: "ana", Phone: "+442079460018"})) // and nothing else
		linked(t, s, user(t, s), "google", "1")
		whole(t, s)
	})
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss, u := admin(t, s), user(t, s, "user")
		_, err := s.Password(ctx, u.ID)
		is(t, err, store.ErrNotFound, "no password yet")
		must(t, s.SetPassword(ctx, "cli", u.ID, "one", true, ""))
		first, err := s.Password(ctx, u.ID)
		must(t, err)
		equal(t, first.Secret, "one", "secret")
		got, err := s.User(ctx, u.ID)
		must(t, err)
		equal(t, got.MustChange, true, "must change")

		var ids, grants []string
		for range 2 {
			n := &store.Session{UserID: u.ID, IdleMS: 1e6, ExpiresAt: c.In(time.Hour)}
			must(t, s.CreateSession(ctx, n))
			g := newGrant(s, u.ID)
			g.SID = n.ID
			_, err := s.CreateGrant(ctx, g)
			must(t, err)
			ids, grants = append(ids, n.ID), append(grants, g.ID)
		}
		loose := newGrant(s, u.ID)
		loose.SID = ""
		_, err = s.CreateGrant(ctx, loose)
		must(t, err)
		must(t, s.SetPassword(ctx, u.ID, u.ID, "two", false, ids[0]))
		second, err := s.Password(ctx, u.ID)
		must(t, err)
		equal(t, second.Secret, "two", "secret")
		equal(t, second.ID, first.ID, "id")
		for i, id := range ids {
			_, _, err := s.LiveSession(ctx, id)
			g, gerr := s.Grant(ctx, grants[i])
			must(t, gerr)
			equal(t, err == nil, i == 0, "session kept")
			equal(t, g.RevokedAt.IsZero(), i == 0, "grant kept")
		}
		g, err := s.Grant(ctx, loose.ID)
		must(t, err)
		equal(t, g.RevokedAt.IsZero(), false, "grant without session kept")
		must(t, s.SetPassword(ctx, u.ID, u.ID, "two", false, ""))
		_, _, err = s.LiveSession(ctx, ids[0])
		is(t, err, store.ErrNotFound, "every session ends")

		must(t, s.RehashPassword(ctx, second.ID, "stale", "lost"))
		must(t, s.RehashPassword(ctx, second.ID, "two", "three"))
		must(t, s.RehashPassword(ctx, second.ID, "two", "lost"))
		third, err := s.Password(ctx, u.ID)
		must(t, err)
		equal(t, third.Secret, "three", "rehashed")

		is(t, s.SetPassword(ctx, u.ID, boss.ID, "x", false, ""), store.ErrForbidden, "of somebody who holds more")
		is(t, s.SetPassword(ctx, "cli", "nobody", "x", false, ""), store.ErrNotFound, "unknown")
		must(t, s.SetPassword(ctx, boss.ID, u.ID, "x", true, ""))
		whole(t, s)
	})
}

// TestIdentityKey is R4: two connectors of one kind may return the same subject.
func TestIdentityKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a, b := user(t, s), user(t, s)
		must(t, s.CreateIdentity(ctx, a.ID, &store.Identity{UserID: a.ID, Connector: "google", Issuer: "i", Subject: "1", Evidence: store.Strings{"signed in"}}))
		must(t, s.CreateIdentity(ctx, b.ID, &store.Identity{UserID: b.ID, Connector: "google2", Issuer: "i", Subject: "1"}))
		must(t, s.CreateIdentity(ctx, b.ID, &store.Identity{UserID: b.ID, Connector: "google", Issuer: "j", Subject: "1"}))
		is(t, s.CreateIdentity(ctx, b.ID, &store.Identity{UserID: b.ID, Connector: "google", Issuer: "i", Subject: "1"}), store.ErrConflict, "linked already")
		is(t, s.CreateIdentity(ctx, "cli", &store.Identity{UserID: "nobody", Connector: "google", Issuer: "i", Subject: "2"}), store.ErrNotFound, "no such user")
		got, err := s.Identity(ctx, "google", "i", "1")
		must(t, err)
		equal(t, got.UserID, a.ID, "user")
		equal(t, len(got.Evidence), 1, "evidence")
		_, err = s.Identity(ctx, "google", "i", "3")
		is(t, err, store.ErrNotFound, "unknown")
		list, err := s.IdentitiesOf(ctx, b.ID)
		must(t, err)
		equal(t, len(list), 2, "identities")
	})
}

func TestOneTime(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: "h1", Purpose: "setup", ExpiresAt: c.In(time.Hour), Data: "d"}))
		must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: "other", Purpose: "recover", ExpiresAt: c.In(time.Hour)}))
		must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: "h2", Purpose: "setup", ExpiresAt: c.In(time.Hour), Data: "e"}))
		_, err := s.OneTime(ctx, "setup", "h1")
		is(t, err, store.ErrNotFound, "replaced")
		_, err = s.OneTime(ctx, "recover", "h2")
		is(t, err, store.ErrNotFound, "of another purpose")
		is(t, s.UseOneTime(ctx, "recover", "h2"), store.ErrNotFound, "use for another purpose")
		o, err := s.OneTime(ctx, "setup", "h2")
		must(t, err)
		equal(t, o.Data, "e", "data")
		must(t, s.UseOneTime(ctx, "setup", "h2"))
		is(t, s.UseOneTime(ctx, "setup", "h2"), store.ErrUsed, "second use")
		_, err = s.OneTime(ctx, "setup", "h2")
		is(t, err, store.ErrUsed, "used")
		must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: "h3", Purpose: "setup", ExpiresAt: c.In(time.Hour)}))
		c.Add(time.Hour)
		_, err = s.OneTime(ctx, "setup", "h3")
		is(t, err, store.ErrExpired, "expired")
		is(t, s.UseOneTime(ctx, "setup", "h3"), store.ErrExpired, "use when expired")
	})
}

// Several people at once: each once, in the order of ids, whoever is not there left out.
func TestUsersByID(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var ids []string
		for i := range 3 {
			u := store.User{Username: fmt.Sprintf("person-%d", i)}
			if err := s.CreateUser(t.Context(), &u); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, u.ID)
		}
		many := []string{ids[2], "nobody", ids[0], ids[2]}
		for i := range 1200 {
			many = append(many, fmt.Sprint(i))
		}
		list, err := s.UsersByID(t.Context(), many)
		if err != nil || len(list) != 2 {
			t.Fatalf("%d people: %v", len(list), err)
		}
		if got := []string{list[0].ID, list[1].ID}; !slices.IsSorted(got) || !slices.Contains(got, ids[0]) || !slices.Contains(got, ids[2]) {
			t.Errorf("%v, want %s and %s in order", got, ids[0], ids[2])
		}
		if list, err := s.UsersByID(t.Context(), nil); err != nil || list != nil {
			t.Errorf("nobody: %v %v", list, err)
		}
	})
}
