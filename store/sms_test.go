package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func reserve(s *store.Store, list ...store.Budget) (over *store.Budget, err error) {
	undo := errors.New("undo")
	err = s.Tx(context.Background(), func(ctx context.Context) (err error) {
		if over, err = s.Reserve(ctx, list); err == nil && over != nil {
			err = undo
		}
		return err
	})
	if errors.Is(err, undo) {
		err = nil
	}
	return over, err
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		want := func(name, over string, list ...store.Budget) {
			t.Helper()
			got, err := reserve(s, list...)
			must(t, err)
			if key := ""; got != nil {
				if key = got.Key; key != over {
					t.Errorf("%s: over %s, want %q", name, key, over)
				}
			} else if over != "" {
				t.Errorf("%s: not over", name)
			}
		}
		if _, err := s.Reserve(ctx, nil); err == nil {
			t.Error("outside a transaction")
		}
		two := store.Budget{Key: "two", Window: time.Hour, Max: 2}
		sum := store.Budget{Key: "sum", Window: 24 * time.Hour, MaxSpent: 250, Cost: 100}
		want("first", "", two, sum)
		want("second", "", two, sum)
		want("third", "sum", store.Budget{Key: "x", Window: time.Hour}, sum)
		want("third", "two", two)
		list, err := s.Budgets(ctx, "two", "sum", "x")
		must(t, err)
		if len(list) != 2 || list[0].Spent != 200 || list[1].N != 2 { // x was rolled back with the refusal
			t.Errorf("%+v", list)
		}
		free := sum
		free.Free, free.Cost = true, 50
		want("free, and it would fit", "", free)
		free.Cost = 51
		want("free, and it would not", "sum", free)
		dear := store.Budget{Key: "dear", Window: time.Hour, MaxSpent: 10, Cost: 11}
		want("dearer than all", "dear", dear)
		c.Add(time.Hour)
		want("after the window", "", two)
		list, err = s.Budgets(ctx, "two")
		must(t, err)
		equal(t, list[0].N, 1, "n")

		// The brake: from the third on one in two must come back.
		brake := store.Budget{Key: "p:1", Window: time.Hour, Floor: 3, Share: 2}
		for range 3 {
			want("before", "", brake)
		}
		want("none came back", "p:1", brake)
		must(t, s.CameBack(ctx, "p:1", "unknown"))
		want("one of three", "p:1", brake)
		must(t, s.CameBack(ctx, "p:1"))
		want("two of three", "", brake)
		list, err = s.BudgetsUnder(ctx, "p:")
		must(t, err)
		if len(list) != 1 || list[0].N != 4 || list[0].Good != 2 {
			t.Errorf("%+v", list)
		}
		c.Add(48 * time.Hour)
		_, err = s.Purge(ctx)
		must(t, err)
		list, err = s.BudgetsUnder(ctx, "")
		must(t, err)
		equal(t, len(list), 0, "left")
	})
}

// TestRaceBudgets: of sixteen who want the last places at once, on two processes, as many get one as there are.
func TestRaceBudgets(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			stores := processes(t, engine, 2)
			refused := errors.New("over")
			for round := range 5 {
				day := store.Budget{Key: fmt.Sprintf("day %d", round), Window: time.Hour, MaxSpent: 500, Cost: 100}
				results := together(16, func(i int) error {
					own := store.Budget{Key: fmt.Sprintf("own %d %d", round, i%4), Window: time.Hour, Max: 2}
					over, err := reserve(stores[i%2], own, day)
					if err == nil && over != nil {
						err = refused
					}
					return err
				})
				equal(t, countOK(t, results, refused), 5, "places")
				list, err := stores[0].Budgets(t.Context(), day.Key)
				must(t, err)
				equal(t, list[0].Spent, 500, "spent")
			}
		})
	}
}

func TestSwitch(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		on, err := s.Switch(ctx, store.SwitchSMS)
		must(t, err)
		if !on.OffAt.IsZero() {
			t.Errorf("%+v", on)
		}
		must(t, s.SetSwitch(ctx, "cli", store.SwitchSMS, false, "an attack"))
		off, err := s.Switch(ctx, store.SwitchSMS)
		must(t, err)
		if off.OffAt != c.In(0) || off.OffBy != "cli" || off.Reason != "an attack" {
			t.Errorf("%+v", off)
		}
		must(t, s.SetSwitch(ctx, "cli", store.SwitchSMS, true, ""))
		if on, err = s.Switch(ctx, store.SwitchSMS); err != nil || !on.OffAt.IsZero() || on.Reason != "" {
			t.Errorf("%+v %v", on, err)
		}
		is(t, s.SetSwitch(ctx, "cli", "other", false, ""), store.ErrNotFound, "no such switch")
		_, broken, err := s.VerifyAudit(ctx)
		must(t, err)
		equal(t, broken, 0, "the chain")
	})
}

func TestPhone(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		const one, two = "+4915123456789", "+4915123456780"
		ada, bob := user(t, s), user(t, s)
		proof := func(u *store.User) *store.PhoneProof {
			t.Helper()
			fresh, err := s.User(ctx, u.ID)
			must(t, err)
			p, err := s.PhoneProof(ctx, fresh)
			must(t, err)
			return p
		}
		before, from, err := s.SetPhone(ctx, ada.ID, ada.ID, one)
		must(t, err)
		if p := proof(ada); before != "" || from != "" || p.ChangedAt != c.In(0) || p.ProvenAt != c.In(0) {
			t.Errorf("%q %q %+v", before, from, p)
		}
		c.Add(time.Hour)
		must(t, s.ProvePhone(ctx, ada.ID, one))
		if p := proof(ada); p.ChangedAt != c.In(-time.Hour) || p.ProvenAt != c.In(0) {
			t.Errorf("%+v", p)
		}
		is(t, s.ProvePhone(ctx, ada.ID, two), store.ErrConflict, "not hers")
		is(t, s.ProvePhone(ctx, bob.ID, ""), store.ErrConflict, "no number")
		half := func(u *store.User, id, connector string) {
			t.Helper()
			must(t, s.CreatePartial(ctx, &store.Partial{ID: id, UserID: u.ID, Connector: connector, Owes: "x", ExpiresAt: c.In(time.Minute)}))
		}
		half(ada, "phone", store.WayPhone)
		half(ada, "other", "password")
		before, from, err = s.SetPhone(ctx, bob.ID, bob.ID, one)
		must(t, err)
		if _, _, err := s.Partial(ctx, "phone"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a sign-in with the number before can be finished: %v", err)
		}
		if _, _, err := s.Partial(ctx, "other"); err != nil {
			t.Error(err)
		}
		if u, err := s.User(ctx, ada.ID); err != nil || from != ada.ID || u.Phone != "" || !u.PhoneVerifiedAt.IsZero() {
			t.Errorf("%q %q %+v %v", before, from, u, err)
		}
		c.Add(time.Hour)
		if before, _, err = s.SetPhone(ctx, bob.ID, bob.ID, one); err != nil || before != one || proof(bob).ChangedAt != c.In(-time.Hour) {
			t.Errorf("the same again: %q %v %+v", before, err, proof(bob))
		}
		if before, _, err = s.SetPhone(ctx, bob.ID, bob.ID, two); err != nil || before != one || proof(bob).ChangedAt != c.In(0) {
			t.Errorf("another: %q %v %+v", before, err, proof(bob))
		}
		must(t, s.Enqueue(ctx, &store.Message{Kind: store.KindSMS, Recipient: two, Text: "code", ExpiresAt: c.In(time.Hour)}))
		must(t, s.EraseUser(ctx, "cli", bob.ID))
		list, err := s.Messages(ctx, 9)
		must(t, err)
		equal(t, len(list), 0, "messages of somebody erased")
		is(t, func() error { _, err := s.UserByPhone(ctx, two); return err }(), store.ErrNotFound, "erased")
		if _, _, err := s.SetPhone(ctx, ada.ID, ada.ID, "0151"); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%v", err)
		}
		if before, _, err := s.SetPhone(ctx, ada.ID, ada.ID, ""); err != nil || before != "" {
			t.Errorf("%q %v", before, err)
		}
	})
}

// TestSMSInOutbox: it is leased once, again only after it is known not to be sent, never after its time, and a mail's worker does not see it.
func TestSMSInOutbox(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		leased := func(kinds ...string) int {
			t.Helper()
			list, err := s.LeaseMessages(ctx, 9, time.Second, kinds...)
			must(t, err)
			return len(list)
		}
		must(t, s.Enqueue(ctx, &store.Message{ID: "m", Kind: store.KindSMS, Recipient: "+4915123456789", Text: "code", ExpiresAt: c.In(3 * time.Minute)}))
		equal(t, leased(store.KindMail), 0, "by a mail's worker")
		equal(t, leased(store.KindSMS, store.KindVerify), 1, "first")
		must(t, s.MessageFailed(ctx, "m", "503", c.Now()))
		equal(t, leased(store.KindSMS), 1, "after a failure")
		c.Add(time.Minute)
		equal(t, leased(store.KindSMS), 0, "after its sender died")
		c.Add(2 * time.Minute)
		n, err := s.ExpireMessages(ctx)
		must(t, err)
		equal(t, n, 1, "expired")
		first, err := s.MessageStatus(ctx, "m", "delivered", 0)
		must(t, err)
		equal(t, first, true, "first word")
		first, err = s.MessageStatus(ctx, "m", "failed", 30003)
		must(t, err)
		equal(t, first, false, "second word")
		m, err := s.Message(ctx, "m")
		must(t, err)
		if m.Status != "delivered" || m.Text != "" || m.ErrorCode != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestResendCode(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		attempt(t, s, c, "a")
		first := &store.MailCode{AttemptHash: "a", CodeHash: "one", Sends: 1, SentAt: c.In(0), ExpiresAt: c.In(3 * time.Minute), MessageID: "m1"}
		must(t, s.PutMailCode(ctx, first))
		must(t, s.TryMailCode(ctx, first, 5))
		second := *first
		second.CodeHash, second.Sends, second.PrevUntil, second.MessageID = "two", 2, c.In(time.Minute), "m2"
		must(t, s.ResendCode(ctx, &second))
		is(t, s.ResendCode(ctx, &second), store.ErrConflict, "the same again")
		got, err := s.MailCode(ctx, "a")
		must(t, err)
		if got.Tries != 1 || got.PrevHash != "one" || got.CodeHash != "two" || got.ExpiresAt != first.ExpiresAt || got.MessageID != "m2" {
			t.Errorf("%+v", got)
		}
		c.Add(3 * time.Minute)
		third := *got
		third.Sends, third.SentAt = 3, c.In(0)
		is(t, s.ResendCode(ctx, &third), store.ErrConflict, "after its time")
	})
}
