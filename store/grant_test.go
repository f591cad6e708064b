package store_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

func TestGrant(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s, "user", "trainer")
		g := newGrant(s, u.ID)
		before := s.Counts()
		created, err := s.CreateGrant(ctx, g)
		must(t, err)
		equal(t, created, true, "created")
		again := *g
		again.Facts = "{}"
		created, err = s.CreateGrant(ctx, &again)
		must(t, err)
		equal(t, created, false, "created twice")
		got, l, err := s.LiveGrant(ctx, g.ID)
		must(t, err)
		after := s.Counts()
		equal(t, after.Writes-before.Writes, 2, "writes")
		equal(t, after.Reads-before.Reads, 1, "reads")
		equal(t, after.Transactions-before.Transactions, 0, "transactions")
		if !reflect.DeepEqual(got, g) {
			t.Errorf("read back\n%+v\n%+v", got, g)
		}
		equal(t, l.User.ID, u.ID, "user")
		equal(t, len(l.Holdings), 3, "holdings, the type among them")
		plain, err := s.Grant(ctx, g.ID)
		must(t, err)
		if !reflect.DeepEqual(plain, g) {
			t.Errorf("read back\n%+v\n%+v", plain, g)
		}

		machine := newGrant(s, "")
		_, err = s.CreateGrant(ctx, machine)
		must(t, err)
		got, l, err = s.LiveGrant(ctx, machine.ID)
		must(t, err)
		equal(t, got.ID+l.User.ID, machine.ID, "grant without a user")
		equal(t, len(l.Holdings), 0, "holdings of nobody")
		_, _, err = s.LiveGrant(ctx, "none")
		is(t, err, store.ErrNotFound, "unknown")
		_, err = s.Grant(ctx, "none")
		is(t, err, store.ErrNotFound, "unknown")
	})
}

func TestGrantRotation(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		g := newGrant(s, "u")
		_, err := s.CreateGrant(ctx, g)
		must(t, err)
		rotate := func(gen int64, want bool, what string) {
			t.Helper()
			ok, err := s.RotateGrant(ctx, g.ID, gen, c.Now(), c.Now().Add(time.Hour))
			must(t, err)
			equal(t, ok, want, what)
		}
		rotate(2, false, "a future generation")
		rotate(1, true, "the current generation")
		rotate(1, false, "the one before")
		got, err := s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, got.RTGen, 2, "generation")
		equal(t, got.RTRotatedAt, c.In(0), "rotated at")
		c.Add(30 * time.Minute)
		ok, err := s.ExtendGrant(ctx, g.ID, 2, c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, true, "extended")
		ok, err = s.ExtendGrant(ctx, g.ID, 1, c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, false, "extended by an old generation")
		c.Add(time.Hour)
		rotate(2, false, "when idle too long")

		over := newGrant(s, "u")
		over.ExpiresAt = c.In(time.Minute)
		_, err = s.CreateGrant(ctx, over)
		must(t, err)
		c.Add(time.Minute)
		ok, err = s.RotateGrant(ctx, over.ID, 1, c.Now(), c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, false, "after the absolute end")

		h := newGrant(s, "u")
		_, err = s.CreateGrant(ctx, h)
		must(t, err)
		for i := range 2 {
			revoked, err := s.RevokeGrant(ctx, h.ID, "reason")
			must(t, err)
			equal(t, revoked, i == 0, "revoked")
		}
		ok, err = s.RotateGrant(ctx, h.ID, 1, c.Now(), c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, false, "when revoked")
		ok, err = s.ExtendGrant(ctx, h.ID, 1, c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, false, "extended when revoked")

		none := newGrant(s, "u")
		none.RTExpiresAt = store.Time{}
		_, err = s.CreateGrant(ctx, none)
		must(t, err)
		ok, err = s.RotateGrant(ctx, none.ID, 1, c.Now(), c.Now().Add(time.Hour))
		must(t, err)
		equal(t, ok, false, "without a refresh token")
		list, err := s.GrantsOf(ctx, "u")
		must(t, err)
		equal(t, len(list), 2, "live grants")
	})
}

func TestFlow(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		f := &store.Flow{IDHash: "f", ClientID: "c", Form: "scope=openid", BrowserHash: "b", ExpiresAt: c.In(10 * time.Minute)}
		must(t, s.CreateFlow(ctx, f))
		is(t, s.CreateFlow(ctx, f), store.ErrConflict, "same handle")
		must(t, s.UpdateFlow(ctx, "f", "u", "{}"))
		got, err := s.Flow(ctx, "f")
		must(t, err)
		f.UserID, f.Consent = "u", "{}"
		equal(t, *got, *f, "read back")
		must(t, s.FinishFlow(ctx, "f"))
		is(t, s.FinishFlow(ctx, "f"), store.ErrUsed, "finished twice")
		is(t, s.UpdateFlow(ctx, "f", "v", ""), store.ErrUsed, "changed when finished")
		_, err = s.Flow(ctx, "f")
		is(t, err, store.ErrUsed, "read when finished")
		is(t, s.FinishFlow(ctx, "none"), store.ErrNotFound, "unknown")
		f.IDHash, f.ExpiresAt = "g", c.In(time.Minute)
		must(t, s.CreateFlow(ctx, f))
		c.Add(time.Minute)
		_, err = s.Flow(ctx, "g")
		is(t, err, store.ErrExpired, "read when expired")
		is(t, s.FinishFlow(ctx, "g"), store.ErrExpired, "finished when expired")
		is(t, s.UpdateFlow(ctx, "g", "", ""), store.ErrExpired, "changed when expired")
	})
}

func TestSession(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s, "user", "trainer")
		start := func() *store.Session {
			n := &store.Session{SecretHash: "h", UserID: u.ID, Connector: "password", AMR: store.Strings{"pwd"}, ACR: "1", IdleMS: time.Hour.Milliseconds(),
				ExpiresAt: c.In(90 * time.Minute), IP: "192.0.2.1", UserAgent: "x"}
			must(t, s.CreateSession(ctx, n))
			return n
		}
		n := start()
		before := s.Counts().Reads
		got, l, err := s.LiveSession(ctx, n.ID)
		must(t, err)
		equal(t, s.Counts().Reads-before, 1, "reads")
		if !reflect.DeepEqual(got, n) {
			t.Errorf("read back\n%+v\n%+v", got, n)
		}
		equal(t, l.User.ID, u.ID, "user")
		equal(t, len(l.Holdings), 3, "holdings, the type among them")

		c.Add(59 * time.Minute)
		must(t, s.TouchSession(ctx, n.ID, c.Now()))
		must(t, s.TouchSession(ctx, n.ID, c.Now().Add(-time.Hour))) // late
		c.Add(30 * time.Minute)
		_, _, err = s.LiveSession(ctx, n.ID)
		must(t, err)
		c.Add(time.Minute)
		_, _, err = s.LiveSession(ctx, n.ID)
		is(t, err, store.ErrNotFound, "after the absolute end")
		idle := start()
		c.Add(time.Hour)
		_, _, err = s.LiveSession(ctx, idle.ID)
		is(t, err, store.ErrNotFound, "when idle too long")

		a, b, d := start(), start(), start()
		var grants []*store.Grant
		for _, g := range []store.Grant{{SID: a.ID}, {SID: a.ID, Offline: true}, {SID: b.ID}, {SID: d.ID, Offline: true}, {Offline: true}} {
			x := newGrant(s, u.ID)
			x.SID, x.Offline = g.SID, g.Offline
			_, err := s.CreateGrant(ctx, x)
			must(t, err)
			grants = append(grants, x)
		}
		revoked := func(what string, want ...bool) {
			t.Helper()
			for i, g := range grants {
				got, err := s.Grant(ctx, g.ID)
				must(t, err)
				if got.RevokedAt.IsZero() == want[i] {
					t.Errorf("%s: grant %d revoked: %v", what, i, !want[i])
				}
			}
		}
		must(t, s.EndSession(ctx, a.ID, "sign-out"))
		must(t, s.EndSession(ctx, a.ID, "sign-out"))
		must(t, s.EndSession(ctx, "", "sign-out"))
		revoked("one session", true, false, false, false, false)
		list, err := s.SessionsOf(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 2, "sessions")
		must(t, s.EndSessionsOf(ctx, u.ID, d.ID, "others", false))
		revoked("the others", true, false, true, false, false)
		_, _, err = s.LiveSession(ctx, d.ID)
		must(t, err)
		must(t, s.EndSessionsOf(ctx, u.ID, "", "everywhere", true))
		revoked("everywhere", true, true, true, true, true)
		list, err = s.SessionsOf(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 0, "sessions")
	})
}

func TestPartial(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s)
		p := &store.Partial{SecretHash: "h", UserID: u.ID, Connector: "password", AMR: store.Strings{"pwd"}, Owes: "new_password", FlowHash: "f", Remember: true,
			ExpiresAt: c.In(5 * time.Minute)}
		must(t, s.CreatePartial(ctx, p))
		got, gu, err := s.Partial(ctx, p.ID)
		must(t, err)
		if !reflect.DeepEqual(got, p) {
			t.Errorf("read back\n%+v\n%+v", got, p)
		}
		equal(t, gu.ID, u.ID, "user")
		for range 5 {
			must(t, s.TryPartial(ctx, p.ID, 5))
		}
		is(t, s.TryPartial(ctx, p.ID, 5), store.ErrExpired, "sixth try")
		_, _, err = s.LiveSession(ctx, p.ID)
		is(t, err, store.ErrNotFound, "as a session")
		must(t, s.EndPartial(ctx, p.ID))
		is(t, s.EndPartial(ctx, p.ID), store.ErrUsed, "ended twice")
		p.ID = ""
		must(t, s.CreatePartial(ctx, p))
		c.Add(5 * time.Minute)
		_, _, err = s.Partial(ctx, p.ID)
		is(t, err, store.ErrNotFound, "when over")
		is(t, s.TryPartial(ctx, p.ID, 5), store.ErrExpired, "try when over")
		is(t, s.EndPartial(ctx, p.ID), store.ErrUsed, "end when over")
	})
}
