package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// askable defines privileges as definePrivileges does, and lets people ask for them.
func askable(t testing.TB, s *store.Store, text string) {
	t.Helper()
	definePrivileges(t, s, text)
	for _, part := range strings.Split(text, ";") {
		name, _, _ := strings.Cut(part, ":")
		must(t, s.SetRequestable(t.Context(), "cli", strings.TrimSpace(name), true))
	}
}

func asks(t testing.TB, s *store.Store, u *store.User, name string) string {
	t.Helper()
	r, err := s.AskPrivilege(t.Context(), u.ID, name, "because")
	must(t, err)
	return r.ID
}

func ids(list []store.PrivilegeRequest) string {
	var out []string
	for _, r := range list {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

// TestAskPrivilege: who may ask for what, once.
func TestAskPrivilege(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		askable(t, s, "helper; staff: helper; crm-all")
		definePrivileges(t, s, "secret; chief: admin")
		must(t, s.SetRequestable(ctx, "cli", "developer", true)) // a built-in one may be asked for, where the operator says so
		for _, name := range []string{"admin", "cron", "chief"} {
			is(t, s.SetRequestable(ctx, "cli", name, true), store.ErrInvalid, name)
		}
		is(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "boss", Includes: store.Strings{"admin"}, Requestable: true}), store.ErrInvalid, "a new one that brings admin")
		is(t, s.SetRequestable(ctx, "cli", "nothing", true), store.ErrNotFound, "unknown")
		is(t, s.SetRequestable(ctx, "cli", "type/100", true), store.ErrNotFound, "a type")
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), privilege.UserType{Value: "600", Names: []string{"reader"}, Text: "Reader", ReadOnly: true})))
		u, staff, reader, off := user(t, s), user(t, s, "staff"), user(t, s), user(t, s)
		is(t, s.SetRequestable(ctx, u.ID, "secret", true), store.ErrForbidden, "by somebody")
		must(t, s.SetUserType(ctx, "cli", reader.ID, "600"))
		must(t, s.DisableUser(ctx, "cli", off.ID, ""))
		for _, r := range []struct {
			what, user, name, reason string
			want                     error
		}{
			{"unknown", u.ID, "nothing", "", store.ErrNotFound},
			{"not to be asked for", u.ID, "secret", "", store.ErrNotFound},
			{"admin", u.ID, "admin", "", store.ErrNotFound},
			{"cron", u.ID, "cron", "", store.ErrNotFound},
			{"a user type", u.ID, "type/900", "", store.ErrNotFound},
			{"held", staff.ID, "staff", "", store.ErrHeld},
			{"held through another", staff.ID, "helper", "", store.ErrHeld},
			{"read-only", reader.ID, "staff", "", store.ErrForbidden},
			{"disabled", off.ID, "staff", "", store.ErrForbidden},
			{"nobody", "nobody", "staff", "", store.ErrNotFound},
			{"too long", u.ID, "staff", strings.Repeat("ä", 501), store.ErrInvalid},
		} {
			_, err := s.AskPrivilege(ctx, r.user, r.name, r.reason)
			is(t, err, r.want, r.what)
		}
		// What may not be asked for answers as what does not exist.
		_, unknown := s.AskPrivilege(ctx, u.ID, "nothing", "")
		_, closed := s.AskPrivilege(ctx, u.ID, "secret", "")
		equal(t, closed.Error(), unknown.Error(), "the two answers")

		names := func(list []store.Privilege) string {
			var out []string
			for _, p := range list {
				out = append(out, p.Name)
			}
			return strings.Join(out, " ")
		}
		may := func(who *store.User) string {
			t.Helper()
			list, err := s.MayAskFor(ctx, who.ID)
			must(t, err)
			return names(list)
		}
		equal(t, may(u), "crm-all developer helper staff", "may ask for")
		equal(t, may(staff), "crm-all developer", "may ask for, who holds some")
		equal(t, may(reader), "", "may ask for, read-only")

		r, err := s.AskPrivilege(ctx, u.ID, "staff", "  "+strings.Repeat("ä", 500)+"\n")
		must(t, err)
		equal(t, r.Reason, strings.Repeat("ä", 500), "reason")
		_, err = s.AskPrivilege(ctx, u.ID, "staff", "again")
		is(t, err, store.ErrAsked, "twice")
		is(t, err, store.ErrConflict, "twice")
		equal(t, may(u), "crm-all developer helper", "may ask for, with one open")
		got, err := s.PrivilegeRequest(ctx, r.ID)
		must(t, err)
		equal(t, *got, *r, "as stored")
		equal(t, got.ExpiresAt, c.In(30*24*time.Hour), "runs out")

		// It runs out by the clock, and then there may be another.
		c.Add(30*24*time.Hour - time.Millisecond)
		equal(t, got.State(c.Now()), "", "a moment before its end")
		c.Add(time.Millisecond)
		equal(t, got.State(c.Now()), store.RequestExpired, "at its end")
		_, err = s.DecideRequest(ctx, "cli", r.ID, store.Decision{Approve: true})
		is(t, err, store.ErrExpired, "approved too late")
		is(t, s.WithdrawRequest(ctx, u.ID, r.ID), store.ErrExpired, "withdrawn too late")
		equal(t, may(u), "crm-all developer helper staff", "may ask for again")
		again := asks(t, s, u, "staff")
		list, err := s.RequestsOf(ctx, u.ID, 10)
		must(t, err)
		equal(t, ids(list), again+" "+r.ID, "of the person")
		equal(t, list[1].Decision, store.RequestExpired, "the one before")
		equal(t, list[1].DecidedAt, list[1].ExpiresAt, "ended when it ran out")
		equal(t, effective(t, s, u.ID), "user", "nothing was given")
		whole(t, s)
	})
}

// TestDecideRequest: approved it gives, until its end; refused and withdrawn it does not; whatever became of it stays so.
func TestDecideRequest(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		boss, u, other := admin(t, s), user(t, s), user(t, s)
		askable(t, s, "helper; staff: helper; label")
		yes, no, back := asks(t, s, u, "staff"), asks(t, s, u, "label"), asks(t, s, other, "label")

		_, err := s.DecideRequest(ctx, boss.ID, yes, store.Decision{Approve: true, Until: c.In(-time.Second)})
		is(t, err, store.ErrInvalid, "until yesterday")
		_, err = s.DecideRequest(ctx, boss.ID, yes, store.Decision{Approve: true, Note: strings.Repeat("x", 501)})
		is(t, err, store.ErrInvalid, "a note too long")
		_, err = s.DecideRequest(ctx, boss.ID, "nothing", store.Decision{})
		is(t, err, store.ErrNotFound, "unknown")
		for _, odd := range []string{"", "a\x00b", "\xff", strings.Repeat("A", 26), yes + "a"} {
			is(t, second(s.DecideRequest(ctx, boss.ID, odd, store.Decision{})), store.ErrNotFound, "an odd id")
			is(t, s.WithdrawRequest(ctx, u.ID, odd), store.ErrNotFound, "an odd id")
			is(t, second(s.AskPrivilege(ctx, u.ID, odd, "")), store.ErrNotFound, "an odd name")
			list, more, err := s.OpenRequests(ctx, "cli", cmp.Or(odd, "-"), 10)
			if err != nil || more || len(list) > 0 {
				t.Errorf("after an odd id: %v %v %v", list, more, err)
			}
		}
		is(t, second(s.AskPrivilege(ctx, u.ID, "helper", "a\x00b")), store.ErrInvalid, "a reason with NUL")
		is(t, second(s.AskPrivilege(ctx, u.ID, "helper", "\xff")), store.ErrInvalid, "a reason that is no text")
		r, err := s.PrivilegeRequest(ctx, yes)
		must(t, err)
		equal(t, r.Decision, "", "after what was refused")

		r, err = s.DecideRequest(ctx, boss.ID, yes, store.Decision{Approve: true, Note: "for the fair", Until: c.In(time.Hour)})
		must(t, err)
		got, err := s.PrivilegeRequest(ctx, yes)
		must(t, err)
		equal(t, *got, *r, "as stored")
		equal(t, got.DecidedBy, boss.ID, "decided by")
		equal(t, effective(t, s, u.ID), "helper staff user", "approved")
		list, err := s.Assignments(ctx, u.ID)
		must(t, err)
		i := slices.IndexFunc(list, func(a store.Assignment) bool { return a.Source == store.SourceRequest })
		if a := list[i]; a.SourceRef != yes || a.GivenBy != boss.ID || a.Until != c.In(time.Hour) || a.Reason != "for the fair" {
			t.Errorf("%+v", a)
		}
		r, err = s.DecideRequest(ctx, boss.ID, no, store.Decision{Note: "no", Until: c.In(time.Hour)})
		must(t, err)
		equal(t, r.Decision+r.Note, "refusedno", "refused")
		equal(t, r.Until.IsZero(), true, "a refusal has no end")
		is(t, s.WithdrawRequest(ctx, u.ID, back), store.ErrNotFound, "somebody else's")
		must(t, s.WithdrawRequest(ctx, other.ID, back))
		equal(t, effective(t, s, u.ID), "helper staff user", "after the refusal")
		for _, id := range []string{yes, no, back} {
			for _, d := range []store.Decision{{}, {Approve: true}} {
				_, err := s.DecideRequest(ctx, boss.ID, id, d)
				is(t, err, store.ErrUsed, "decided again")
			}
		}
		is(t, s.WithdrawRequest(ctx, u.ID, yes), store.ErrUsed, "withdrawn when approved")
		is(t, s.WithdrawRequest(ctx, other.ID, back), store.ErrUsed, "withdrawn twice")
		c.Add(time.Hour)
		equal(t, effective(t, s, u.ID), "user", "after its end")
		asks(t, s, u, "staff")
		whole(t, s)
	})
}

// TestSec_G12_OwnRequest: nobody decides their own request, whatever they hold; and nobody takes back another's.
func TestSec_G12_OwnRequest(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		askable(t, s, "label; staff")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"staff": {"edit_user_privileges"}}))
		for _, u := range []*store.User{admin(t, s), user(t, s, "staff"), user(t, s)} {
			id := asks(t, s, u, "label")
			for _, d := range []store.Decision{{}, {Approve: true}} {
				_, err := s.DecideRequest(ctx, u.ID, id, d)
				is(t, err, store.ErrForbidden, "one's own")
			}
			r, err := s.PrivilegeRequest(ctx, id)
			must(t, err)
			equal(t, r.Decision, "", "afterwards")
			list, _, err := s.OpenRequests(ctx, u.ID, "", 10)
			must(t, err)
			if strings.Contains(ids(list), id) {
				t.Error("one's own is offered to be decided")
			}
			if strings.Contains(effective(t, s, u.ID), "label") {
				t.Error("holds it")
			}
		}
	})
}

// TestSec_G1_ApproveMoreThanHeld: a delegate decides no request for what they lack, of whom they may not touch, without the permission or against a rule of
// delegation; refusing needs the same. Nothing is written, and nothing of it is shown or counted (G13).
func TestSec_G1_ApproveMoreThanHeld(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		askable(t, s, "helper; staff: helper; label; advocate2")
		definePrivileges(t, s, "lead: staff")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges"}}))
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
			privilege.UserType{Value: "600", Names: []string{"reader"}, Text: "Reader", Privilege: "lead", ReadOnly: true})))
		boss, lead, worker, reader := admin(t, s), user(t, s, "lead"), user(t, s, "staff"), user(t, s)
		must(t, s.SetUserType(ctx, "cli", reader.ID, "600"))
		gone := user(t, s, "lead")
		must(t, s.DisableUser(ctx, "cli", gone.ID, ""))
		plain, more := user(t, s), user(t, s, "developer")
		lacked, protected, open := asks(t, s, plain, "label"), asks(t, s, more, "helper"), asks(t, s, plain, "staff")

		before, err := s.AuditEntries(ctx, 0, 1000)
		must(t, err)
		for what, r := range map[string]struct{ actor, id string }{
			"what they lack":            {lead.ID, lacked},
			"of who holds more":         {lead.ID, protected},
			"without the permission":    {worker.ID, open},
			"read-only":                 {reader.ID, open},
			"disabled":                  {gone.ID, open},
			"nobody":                    {"nobody", open},
			"somebody without anything": {plain.ID, protected},
		} {
			for _, d := range []store.Decision{{}, {Approve: true}} {
				_, err := s.DecideRequest(ctx, r.actor, r.id, d)
				is(t, err, store.ErrForbidden, what)
			}
		}
		after, err := s.AuditEntries(ctx, 0, 1000)
		must(t, err)
		equal(t, len(after), len(before), "audit entries of what was refused")
		for who, want := range map[*store.User]string{plain: "user", more: "developer user"} {
			equal(t, effective(t, s, who.ID), want, "after all that")
		}
		seen := func(actor string) string {
			t.Helper()
			list, _, err := s.OpenRequests(ctx, actor, "", 10)
			must(t, err)
			n, err := s.CountOpenRequests(ctx, actor, 99)
			must(t, err)
			equal(t, n, len(list), "counted")
			return ids(list)
		}
		equal(t, seen(lead.ID), open, "the delegate sees")
		equal(t, len(strings.Fields(seen(boss.ID))), 3, "an administrator sees")
		equal(t, len(strings.Fields(seen("cli"))), 3, "the operator sees")
		equal(t, seen(reader.ID), open, "somebody read-only sees") // and decides nothing
		for _, u := range []*store.User{worker, gone, plain} {
			equal(t, seen(u.ID), "", "somebody else sees")
		}
		// A rule of delegation narrows what may be decided.
		must(t, s.SetDelegations(ctx, "cli", []store.DelegationRule{{Holder: "lead", Confer: []string{"helper"}}}))
		_, err = s.DecideRequest(ctx, lead.ID, open, store.Decision{Approve: true})
		is(t, err, store.ErrForbidden, "outside of what was delegated")
		equal(t, seen(lead.ID), "", "the delegate sees no more")
		must(t, s.SetDelegations(ctx, "cli", nil))
		// Nobody gives for longer than they hold.
		soon := store.At(s.Now().Add(time.Hour))
		short := user(t, s)
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: short.ID, Privilege: "lead", Until: soon}))
		_, err = s.DecideRequest(ctx, short.ID, open, store.Decision{Approve: true})
		is(t, err, store.ErrInvalid, "for good, by somebody who holds it for an hour")
		_, err = s.DecideRequest(ctx, lead.ID, open, store.Decision{Approve: true})
		must(t, err)
		equal(t, effective(t, s, plain.ID), "helper staff user", "in the end")
		whole(t, s)
	})
}

// TestOpenRequests_Pages: every one that an actor may decide is on one page, in the order of time, whatever lies between.
func TestOpenRequests_Pages(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		askable(t, s, "helper; label")
		definePrivileges(t, s, "lead: helper")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges"}}))
		lead := user(t, s, "lead")
		var want []string
		for i := range 7 {
			u := user(t, s)
			want = append(want, asks(t, s, u, "helper"))
			asks(t, s, u, "label")
			if i%2 == 0 {
				c.Add(time.Second)
			}
		}
		var got []string
		after := ""
		for range 10 {
			list, more, err := s.OpenRequests(ctx, lead.ID, after, 3)
			must(t, err)
			for _, r := range list {
				got, after = append(got, r.ID), r.ID
			}
			// The last one shown is decided meanwhile: the next page begins after it all the same.
			_, err = s.DecideRequest(ctx, lead.ID, after, store.Decision{})
			must(t, err)
			if !more {
				break
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		c.Add(store.RequestLife)
		n, err := s.CountOpenRequests(ctx, "cli", 99)
		must(t, err)
		equal(t, n, 0, "when all have run out")
	})
}

// TestSec_CountOfRequestsIsBounded: strangers who ask for much do not make every page of an administrator slow, who may decide nothing of it.
func TestSec_CountOfRequestsIsBounded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		askable(t, s, "helper")
		definePrivileges(t, s, "lead: helper")
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"lead": {"edit_user_privileges"}}))
		must(t, s.SetDelegations(ctx, "cli", []store.DelegationRule{{Holder: "lead", Confer: []string{"helper"}, People: []any{"customer"}}}))
		lead := user(t, s, "lead")
		for range 220 {
			asks(t, s, user(t, s), "helper") // none of them is a customer
		}
		before := s.Counts().Reads
		n, err := s.CountOpenRequests(ctx, lead.ID, 99)
		must(t, err)
		equal(t, n, 0, "requests")
		if reads := s.Counts().Reads - before; reads > 210 {
			t.Errorf("%d reads for a number in a menu", reads)
		}
	})
}

// TestRequestsEndWithTheirCause: a disabled or erased person's, and those for what is deleted; and what is over goes with the events of its time.
func TestRequestsEndWithTheirCause(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		askable(t, s, "helper; label")
		admin(t, s)
		off, erased, u := user(t, s), user(t, s), user(t, s)
		a, b, d, left := asks(t, s, off, "helper"), asks(t, s, erased, "helper"), asks(t, s, u, "label"), asks(t, s, u, "helper")
		must(t, s.DisableUser(ctx, "cli", off.ID, ""))
		must(t, s.EraseUser(ctx, "cli", erased.ID))
		must(t, second(s.DeletePrivilege(ctx, "cli", "label")))
		must(t, s.EnableUser(ctx, "cli", off.ID))
		for _, id := range []string{a, b, d} {
			r, err := s.PrivilegeRequest(ctx, id)
			must(t, err)
			equal(t, r.Decision+" "+r.DecidedBy, "closed cli", "closed")
			_, err = s.DecideRequest(ctx, "cli", id, store.Decision{Approve: true})
			if !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("approved afterwards: %v", err)
			}
		}
		r, err := s.PrivilegeRequest(ctx, b)
		must(t, err)
		equal(t, r.Reason, "", "an erased person's reason")
		list, _, err := s.OpenRequests(ctx, "cli", "", 10)
		must(t, err)
		equal(t, ids(list), left, "open")

		c.Add(90*24*time.Hour - time.Millisecond)
		must(t, second(s.Purge(ctx)))
		must(t, second(s.PrivilegeRequest(ctx, a)))
		c.Add(time.Millisecond)
		must(t, second(s.Purge(ctx)))
		is(t, second(s.PrivilegeRequest(ctx, a)), store.ErrNotFound, "closed, after 90 days")
		must(t, second(s.PrivilegeRequest(ctx, left)))
		c.Add(store.RequestLife)
		must(t, second(s.Purge(ctx)))
		is(t, second(s.PrivilegeRequest(ctx, left)), store.ErrNotFound, "run out, after 90 days more")

		// The name of a deleted privilege begins anew with nothing of what it was.
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "label"}))
		is(t, second(s.AskPrivilege(ctx, u.ID, "label", "")), store.ErrNotFound, "asked for by its old name")
	})
}

// TestRaceRequests: one request of several at once, one decision, one assignment, in one process and in two.
func TestRaceRequests(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			s := stores[0]
			askable(t, s, "helper")
			bosses := []*store.User{admin(t, s), admin(t, s)}
			for round := range 10 {
				u := user(t, s)
				results := together(8, func(i int) error {
					return second(stores[i%2].AskPrivilege(ctx, u.ID, "helper", fmt.Sprint(i)))
				})
				equal(t, countOK(t, results, store.ErrAsked), 1, "asked")
				list, err := s.RequestsOf(ctx, u.ID, 10)
				must(t, err)
				equal(t, len(list), 1, "requests")
				id := list[0].ID

				results = together(8, func(i int) error {
					switch {
					case round%2 == 0: // approve against approve
						return second(stores[i%2].DecideRequest(ctx, bosses[i%2].ID, id, store.Decision{Approve: true}))
					case i%3 == 0:
						return stores[i%2].WithdrawRequest(ctx, u.ID, id)
					case i%3 == 1:
						return second(stores[i%2].DecideRequest(ctx, bosses[i%2].ID, id, store.Decision{}))
					}
					return second(stores[i%2].DecideRequest(ctx, bosses[i%2].ID, id, store.Decision{Approve: true}))
				})
				equal(t, countOK(t, results, store.ErrUsed), 1, "decided")
				r, err := s.PrivilegeRequest(ctx, id)
				must(t, err)
				given := 0
				rows, err := s.Assignments(ctx, u.ID)
				must(t, err)
				for _, a := range rows {
					if a.Source == store.SourceRequest {
						given++
					}
				}
				want := 0
				if r.Decision == store.RequestApproved {
					want = 1
				}
				equal(t, given, want, "given when it was "+r.Decision)
			}

			// An account that is shut at the same moment keeps no request.
			for range 10 {
				u := user(t, s)
				together(2, func(i int) error {
					if i == 0 {
						return s.DisableUser(context.WithoutCancel(ctx), "cli", u.ID, "")
					}
					return second(stores[1].AskPrivilege(ctx, u.ID, "helper", ""))
				})
				list, err := s.RequestsOf(ctx, u.ID, 10)
				must(t, err)
				for _, r := range list {
					equal(t, r.Decision, store.RequestClosed, "of a disabled person")
				}
			}
			for _, s := range stores {
				whole(t, s)
			}
		})
	}
}
