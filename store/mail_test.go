package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// TestOutbox_Endings: a message ends once, and its texts end with it; what was for it stays to be read.
func TestOutbox_Endings(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		rung := 0
		s.OnEnqueue(func() { rung++ })
		due := func(want bool) {
			t.Helper()
			got, err := s.MessagesDue(ctx)
			must(t, err)
			equal(t, got, want, "due")
		}
		due(false)
		put := func(id string, life time.Duration) {
			t.Helper()
			must(t, s.Enqueue(ctx, &store.Message{ID: id, Kind: "mail", Recipient: "a@x.org", Subject: "S", Text: "code 123456", HTML: "<p>123456", ExpiresAt: c.In(life)}))
		}
		for _, id := range []string{"sent", "refused", "failed"} {
			put(id, time.Hour)
		}
		equal(t, rung, 3, "told of")
		is(t, s.Tx(ctx, func(ctx2 context.Context) error {
			must(t, s.Enqueue(ctx2, &store.Message{Kind: "mail", ExpiresAt: c.In(time.Hour)}))
			return errStop
		}), errStop, "rolled back")
		equal(t, rung, 3, "told of what is not there")
		due(true)
		list, err := s.LeaseMessages(ctx, 9, time.Minute, store.KindMail)
		must(t, err)
		equal(t, len(list), 3, "leased")
		due(false)
		must(t, s.MessageSent(ctx, "sent"))
		must(t, s.MessageRefused(ctx, "refused", "550 5.1.1", 0))
		must(t, s.MessageFailed(ctx, "failed", "no route", c.Now()))
		for _, end := range []error{s.MessageSent(ctx, "refused"), s.MessageRefused(ctx, "sent", "x", 0), s.MessageRefused(ctx, "refused", "x", 0),
			s.MessageFailed(ctx, "refused", "x", c.Now()), s.MessageFailed(ctx, "sent", "x", c.Now())} {
			is(t, end, store.ErrNotFound, "an end after the end")
		}
		n, err := s.ExpireMessages(ctx)
		must(t, err)
		equal(t, n, 0, "expired")
		c.Add(time.Hour)
		due(true)
		list, err = s.LeaseMessages(ctx, 9, time.Minute, store.KindMail)
		must(t, err)
		equal(t, len(list), 0, "leased after its time")
		n, err = s.ExpireMessages(ctx)
		must(t, err)
		equal(t, n, 1, "expired")
		due(false)
		list, err = s.Messages(ctx, 9)
		must(t, err)
		for _, m := range list {
			if m.Text+m.HTML != "" || m.Recipient != "a@x.org" || m.Subject != "S" || m.SentAt.IsZero() == m.FailedAt.IsZero() {
				t.Errorf("%+v", m)
			}
			want := map[string]string{"refused": "550 5.1.1", "failed": "expired; no route"}[m.ID]
			equal(t, m.LastError, want, m.ID)
		}
		c.Add(8 * 24 * time.Hour)
		_, err = s.Purge(ctx)
		must(t, err)
		list, err = s.Messages(ctx, 9)
		must(t, err)
		equal(t, len(list), 0, "left")
	})
}

// attempt that waits for an address.
func attempt(t *testing.T, s *store.Store, c *clock, hash string) {
	t.Helper()
	must(t, s.CreateAttempt(t.Context(), &store.Attempt{StateHash: hash, Purpose: store.AttemptAddress, BrowserHash: "b", ExpiresAt: c.In(10 * time.Minute)}))
}

func TestMailCode(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		_, err := s.MailCode(ctx, "a")
		is(t, err, store.ErrNotFound, "before")
		attempt(t, s, c, "a")
		code := func(hash string, sends int64) *store.MailCode {
			return &store.MailCode{AttemptHash: "a", Sealed: "s", CodeHash: hash, Sends: sends, SentAt: store.At(c.Now()), ExpiresAt: c.In(10 * time.Minute)}
		}
		first := code("one", 1)
		must(t, s.PutMailCode(ctx, first))
		is(t, s.PutMailCode(ctx, code("other", 1)), store.ErrConflict, "a second first")
		is(t, s.PutMailCode(ctx, code("other", 3)), store.ErrConflict, "one left out")
		for range 5 {
			must(t, s.TryMailCode(ctx, first, 5))
		}
		is(t, s.TryMailCode(ctx, first, 5), store.ErrExpired, "a sixth try")
		second := code("two", 2)
		must(t, s.PutMailCode(ctx, second))
		is(t, s.TryMailCode(ctx, first, 5), store.ErrExpired, "the code before")
		is(t, s.UseMailCode(ctx, first), store.ErrUsed, "the code before")
		must(t, s.TryMailCode(ctx, second, 5))
		if err := s.Tx(ctx, func(ctx context.Context) error { return s.TryMailCode(ctx, second, 5) }); err == nil {
			t.Error("a try inside a transaction, which a rollback would give back")
		}
		c.Add(10 * time.Minute)
		is(t, s.TryMailCode(ctx, second, 5), store.ErrExpired, "late")
		is(t, s.UseMailCode(ctx, second), store.ErrUsed, "late")
		third := code("three", 3)
		must(t, s.PutMailCode(ctx, third))
		must(t, s.UseMailCode(ctx, third))
		is(t, s.UseMailCode(ctx, third), store.ErrUsed, "twice")
		is(t, s.TryMailCode(ctx, third, 5), store.ErrExpired, "after use")
		is(t, s.PutMailCode(ctx, code("four", 4)), store.ErrConflict, "another after use")
		c.Add(2 * time.Hour)
		_, err = s.Purge(ctx)
		must(t, err)
		_, err = s.MailCode(ctx, "a")
		is(t, err, store.ErrNotFound, "after its attempt")
	})
}

// TestRaceMailCode: eight guesses at once are five, and eight uses at once are one.
func TestRaceMailCode(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			end := store.At(stores[0].Now().Add(time.Hour))
			for round := range 10 {
				c := &store.MailCode{AttemptHash: fmt.Sprint(round), CodeHash: "h", Sends: 1, SentAt: end, ExpiresAt: end}
				must(t, stores[0].CreateAttempt(ctx, &store.Attempt{StateHash: c.AttemptHash, BrowserHash: "b", ExpiresAt: end}))
				results := together(8, func(i int) error { return stores[i%2].PutMailCode(ctx, c) })
				equal(t, countOK(t, results, store.ErrConflict), 1, "PutMailCode")
				results = together(8, func(i int) error { return stores[i%2].TryMailCode(ctx, c, 5) })
				equal(t, countOK(t, results, store.ErrExpired), 5, "TryMailCode")
				results = together(8, func(i int) error { return stores[i%2].UseMailCode(ctx, c) })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseMailCode")
			}
		})
	}
}

// TestErase_Mail: what was mailed to somebody goes with them.
func TestErase_Mail(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s, "user")
		u.Email = "ana@x.org"
		must(t, s.UpdateUser(ctx, u))
		for _, to := range []string{"ana@x.org", "bob@x.org"} {
			must(t, s.Enqueue(ctx, &store.Message{Kind: "mail", Recipient: to, ExpiresAt: c.In(time.Hour)}))
		}
		must(t, s.EraseUser(ctx, "cli", u.ID))
		list, err := s.Messages(ctx, 9)
		must(t, err)
		if len(list) != 1 || strings.Contains(list[0].Recipient, "ana") {
			t.Errorf("%+v", list)
		}
	})
}
