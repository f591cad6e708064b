package store_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

func TestMarker(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		for i := range 3 {
			first, err := s.Mark(ctx, "k", c.Now().Add(time.Minute))
			must(t, err)
			equal(t, first, i == 0, "first")
		}
		m, err := s.Marked(ctx, "k")
		must(t, err)
		equal(t, m, true, "marked")
		c.Add(time.Minute)
		m, err = s.Marked(ctx, "k")
		must(t, err)
		equal(t, m, false, "marked when over")
		first, err := s.Mark(ctx, "k", c.Now().Add(time.Minute))
		must(t, err)
		equal(t, first, true, "first again, though the janitor left it")
	})
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		for want := int64(1); want <= 3; want++ {
			n, err := s.CountFailure(ctx, "a", time.Minute)
			must(t, err)
			equal(t, n, want, "count")
			c.Add(59 * time.Second)
		}
		m, err := s.Throttles(ctx, "a", "b")
		must(t, err)
		equal(t, len(m), 1, "counters")
		equal(t, m["a"].N, 3, "count")
		c.Add(time.Second)
		m, err = s.Throttles(ctx, "a")
		must(t, err)
		equal(t, len(m), 0, "counters when idle")
		n, err := s.CountFailure(ctx, "a", time.Minute)
		must(t, err)
		equal(t, n, 1, "count from the start")
		_, err = s.CountFailure(ctx, "b", time.Minute)
		must(t, err)
		must(t, s.ClearThrottle(ctx, "a", "none"))
		m, err = s.Throttles(ctx, "a", "b")
		must(t, err)
		equal(t, len(m), 1, "counters after clearing")

		// security.md F7: what may be rolled back does not count.
		err = s.Tx(ctx, func(ctx context.Context) error {
			_, err := s.CountFailure(ctx, "a", time.Minute)
			return err
		})
		if err == nil {
			t.Error("counted inside a transaction")
		}
		must(t, s.ClearThrottle(ctx))
		m, err = s.Throttles(ctx)
		must(t, err)
		equal(t, len(m), 0, "no keys")
	})
}

func TestPending(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		p := &store.Pending{IDHash: "p", Kind: "device", UserCodeHash: "code", ClientID: "c", Request: "scope=openid", IntervalS: 5, ExpiresAt: c.In(time.Minute)}
		must(t, s.CreatePending(ctx, p))
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "q", Kind: "par", ExpiresAt: c.In(time.Minute)}))
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "r", Kind: "par", ExpiresAt: c.In(time.Minute)}))
		is(t, s.CreatePending(ctx, &store.Pending{IDHash: "s", Kind: "device", UserCodeHash: "code", ExpiresAt: c.In(time.Minute)}), store.ErrConflict, "same user code")
		got, err := s.Pending(ctx, "device", "p")
		must(t, err)
		equal(t, *got, *p, "read back")
		_, err = s.Pending(ctx, "par", "p")
		is(t, err, store.ErrNotFound, "of another kind")
		c.Add(time.Minute)
		_, err = s.Pending(ctx, "device", "p")
		is(t, err, store.ErrNotFound, "when over")
	})
}

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		changes := 0
		s.OnChange(func() { changes++ })
		key := func(kid string, active time.Duration) *store.SigningKey {
			return &store.SigningKey{KID: kid, Alg: "ES256", PrivateSealed: "s" + kid, MasterKID: "m1", PublishAt: c.In(0), ActiveAt: c.In(active),
				RetireAt: c.In(active + 90*time.Hour), DeleteAt: c.In(active + 100*time.Hour)}
		}
		create := func(k *store.SigningKey, want bool) {
			t.Helper()
			created, err := s.CreateKey(ctx, k)
			must(t, err)
			equal(t, created, want, "created "+k.KID)
		}
		create(key("a", 0), true)
		create(key("b", 0), false)
		create(key("b", -time.Hour), false)
		other := key("rs", 0)
		other.Alg = "RS256"
		create(other, true)
		create(key("c", 90*time.Hour), true) // the successor that begins where the first ends
		create(key("d", 90*time.Hour), false)
		equal(t, changes, 3, "changes")

		is(t, s.ReplaceKeys(ctx, "cli", key("e", 24*time.Hour), c.Now().Add(24*time.Hour), c.Now().Add(30*time.Hour)), store.ErrConflict, "a successor waits")
		must(t, s.ReplaceKeys(ctx, "cli", key("f", 0), c.Now(), c.Now().Add(time.Hour)))
		list, err := s.SigningKeys(ctx)
		must(t, err)
		for _, k := range list {
			if k.Alg == "ES256" && k.KID != "f" && k.RetireAt != c.In(0) {
				t.Errorf("%s retires at %s", k.KID, k.RetireAt)
			}
		}
		equal(t, len(list), 4, "keys")
		c.Add(time.Hour)
		list, err = s.SigningKeys(ctx)
		must(t, err)
		equal(t, len(list), 2, "keys not deleted by time")
		must(t, s.ReplaceKeys(ctx, "cli", key("g", 24*time.Hour), c.Now().Add(24*time.Hour), c.Now().Add(30*time.Hour)))
		is(t, s.ReplaceKeys(ctx, "cli", key("h", 24*time.Hour), c.Now().Add(24*time.Hour), c.Now().Add(30*time.Hour)), store.ErrConflict, "rotated twice")

		n, err := s.ResealKeys(ctx, "cli", func(k store.SigningKey) (string, string, error) { return k.PrivateSealed + "!", "m2", nil })
		must(t, err)
		equal(t, n, 5, "resealed")
		_, err = s.ResealKeys(ctx, "cli", func(k store.SigningKey) (string, string, error) {
			if k.KID == "g" {
				return "", "", errStop
			}
			return "x", "m3", nil
		})
		is(t, err, errStop, "resealing fails")
		list, err = s.SigningKeys(ctx)
		must(t, err)
		for _, k := range list {
			equal(t, k.PrivateSealed+k.MasterKID, "s"+k.KID+"!m2", "sealed")
		}
		must(t, s.RetireKey(ctx, "cli", "f", c.Now(), c.Now()))
		is(t, s.RetireKey(ctx, "cli", "none", c.Now(), c.Now()), store.ErrNotFound, "unknown")
		whole(t, s)
	})
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		for i := range 3 {
			must(t, s.Enqueue(ctx, &store.Message{ID: fmt.Sprint(i), Kind: "mail", Recipient: "a@x.org", Text: "t", DedupeKey: "k" + fmt.Sprint(i), ExpiresAt: c.In(time.Hour)}))
			c.Add(time.Second)
		}
		must(t, s.Enqueue(ctx, &store.Message{Kind: "mail", DedupeKey: "k1", ExpiresAt: c.In(time.Hour)}))
		list, err := s.Messages(ctx, 10)
		must(t, err)
		equal(t, len(list), 3, "messages")
		equal(t, list[0].ID, "2", "newest first")
		lease := func(want ...string) {
			t.Helper()
			list, err := s.LeaseMessages(ctx, 2, time.Minute, store.KindMail)
			must(t, err)
			var got []string
			for _, m := range list {
				got = append(got, m.ID)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("leased %v, want %v", got, want)
			}
		}
		lease("0", "1")
		lease("2")
		lease()
		must(t, s.MessageSent(ctx, "0"))
		is(t, s.MessageSent(ctx, "0"), store.ErrNotFound, "sent twice")
		must(t, s.MessageFailed(ctx, "1", "no route", c.Now().Add(30*time.Second)))
		lease()
		c.Add(30 * time.Second)
		lease("1")
		c.Add(time.Minute) // the leases are over: whoever held them died
		lease("2", "1")
		list, err = s.Messages(ctx, 3)
		must(t, err)
		equal(t, list[1].Attempts, 3, "attempts")
		equal(t, list[1].LastError, "no route", "last error")
		c.Add(time.Hour)
		lease()
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		for range 3 {
			must(t, s.Record(ctx, &store.Event{Kind: "sign-in", UserID: "u", IP: "192.0.2.1"}))
			c.Add(time.Second)
		}
		must(t, s.Record(ctx, &store.Event{Kind: "failure", Data: `{"why":"x"}`}))
		list, err := s.EventsOf(ctx, "u", 2)
		must(t, err)
		equal(t, len(list), 2, "events")
		equal(t, list[0].At, c.In(-time.Second), "newest first")
		equal(t, list[0].Data, "{}", "data")
	})
}

// TestPurge deletes what is over, in batches, and nothing else; history stays.
func TestPurge(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s, "user", "trainer")
		must(t, s.Unassign(ctx, "cli", u.ID, "trainer"))
		make := func(tag string, life time.Duration) {
			t.Helper()
			end := c.In(life)
			g := newGrant(s, u.ID)
			g.ID, g.ExpiresAt = tag, end
			_, err := s.CreateGrant(ctx, g)
			must(t, err)
			must(t, s.CreateFlow(ctx, &store.Flow{IDHash: tag, ExpiresAt: end}))
			must(t, s.CreateSession(ctx, &store.Session{ID: tag, UserID: u.ID, IdleMS: 1e15, ExpiresAt: end}))
			must(t, s.CreateSession(ctx, &store.Session{ID: tag + "idle", UserID: u.ID, IdleMS: life.Milliseconds(), ExpiresAt: c.In(10000 * time.Hour)}))
			must(t, s.CreatePartial(ctx, &store.Partial{ID: tag, UserID: u.ID, ExpiresAt: end}))
			must(t, s.CreatePending(ctx, &store.Pending{IDHash: tag, Kind: "par", ExpiresAt: end}))
			_, err = s.Mark(ctx, tag, end.Time)
			must(t, err)
			must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: tag, Purpose: "setup", UserID: tag, ExpiresAt: end}))
			_, err = s.CountFailure(ctx, tag, life)
			must(t, err)
			must(t, s.Enqueue(ctx, &store.Message{ID: tag, Kind: "mail", ExpiresAt: end}))
			must(t, s.Record(ctx, &store.Event{ID: tag, UserID: u.ID}))
		}
		make("old", time.Hour)
		for i := range 1200 { // more than two batches
			_, err := s.Mark(ctx, fmt.Sprint(i), c.Now().Add(time.Hour))
			must(t, err)
		}
		c.Add(91 * 24 * time.Hour)
		make("new", time.Hour)
		n, err := s.Purge(ctx)
		must(t, err)
		equal(t, n, 1200+11, "deleted")
		n, err = s.Purge(ctx)
		must(t, err)
		equal(t, n, 0, "deleted again")
		_, err = s.Grant(ctx, "new")
		must(t, err)
		_, err = s.Flow(ctx, "new")
		must(t, err)
		for _, id := range []string{"new", "newidle"} {
			_, _, err = s.LiveSession(ctx, id)
			must(t, err)
		}
		list, err := s.Assignments(ctx, u.ID)
		must(t, err)
		equal(t, len(list), 3, "assignments, ended ones and the type too")
		whole(t, s)
		if c := s.Counts(); c.Upkeep == 0 {
			t.Errorf("purge is not counted as upkeep: %+v", c)
		}
	})
}
