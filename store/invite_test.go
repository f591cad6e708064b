package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// inviters sets up who invites: a desk that may propose, a lead who may make accounts and give what they hold, and what there is to give.
func inviters(t *testing.T, s *store.Store) (desk, lead *store.User) {
	t.Helper()
	definePrivileges(t, s, "helper; staff: helper; label; front; lead: staff front")
	must(t, s.SetPowers(t.Context(), "cli", map[string][]string{"front": {"invite_user"}, "lead": {"create_user", "edit_user_privileges"}}))
	return user(t, s, "front"), user(t, s, "lead")
}

func propose(t *testing.T, s *store.Store, by *store.User, names ...string) *store.Invite {
	t.Helper()
	i := &store.Invite{Email: id() + "@example.com", Privileges: names}
	must(t, s.ProposeInvite(t.Context(), by.ID, i, false))
	return i
}

// inviteTo brings an invitation to a state; its token's and browser's hashes are its id.
func inviteTo(t *testing.T, s *store.Store, c *clock, desk, lead *store.User, state string) *store.Invite {
	t.Helper()
	ctx := t.Context()
	i := propose(t, s, desk, "staff")
	switch state {
	case store.InviteProposed:
		return i
	case store.InviteDeclined:
		must(t, second(s.DeclineInvite(ctx, lead.ID, i.ID, "no")))
		return i
	case store.InviteRevoked:
		must(t, second(s.RevokeInvite(ctx, desk.ID, i.ID)))
		return i
	}
	must(t, second(s.ApproveInvite(ctx, lead.ID, i.ID)))
	if state == store.InviteApproved {
		return i
	}
	must(t, second(s.SendInvite(ctx, desk.ID, i.ID, i.ID, "mail")))
	if state == store.InviteExpired {
		c.Add(store.InviteLife)
	}
	if state == store.InviteSent || state == store.InviteExpired {
		return i
	}
	must(t, second(s.OpenInvite(ctx, i.ID, i.ID)))
	if state == store.InviteAccepted {
		must(t, second(s.AcceptInvite(ctx, i.ID, i.ID, &store.User{Email: i.Email})))
	}
	return i
}

var inviteStates = []string{store.InviteProposed, store.InviteApproved, store.InviteSent, store.InviteOpened, store.InviteAccepted, store.InviteDeclined, store.InviteExpired,
	store.InviteRevoked}

// inviteEdges are all steps there are.
const inviteEdges = `proposed>approved proposed>declined proposed>expired proposed>revoked approved>sent approved>expired approved>revoked
sent>sent sent>opened sent>expired sent>revoked opened>opened opened>sent opened>accepted opened>expired opened>revoked`

// TestInviteStates tries every step from every state: those of the machine are made, all others refused, and what was refused changes nothing.
func TestInviteStates(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		desk, lead := inviters(t, s)
		steps := map[string]func(i *store.Invite) error{
			store.InviteApproved: func(i *store.Invite) error { return second(s.ApproveInvite(ctx, lead.ID, i.ID)) },
			store.InviteDeclined: func(i *store.Invite) error { return second(s.DeclineInvite(ctx, lead.ID, i.ID, "")) },
			store.InviteSent:     func(i *store.Invite) error { return second(s.SendInvite(ctx, lead.ID, i.ID, "again"+i.ID, "")) },
			store.InviteOpened:   func(i *store.Invite) error { return second(s.OpenInvite(ctx, i.ID, "other"+i.ID)) },
			store.InviteAccepted: func(i *store.Invite) error {
				return second(s.AcceptInvite(ctx, i.ID, i.ID, &store.User{Username: "u" + id()}))
			},
			store.InviteRevoked: func(i *store.Invite) error { return second(s.RevokeInvite(ctx, lead.ID, i.ID)) },
		}
		edges := strings.Fields(inviteEdges)
		for _, from := range inviteStates {
			for _, to := range inviteStates {
				legal := slices.Contains(edges, from+">"+to)
				equal(t, store.InviteMay(from, to), legal, from+">"+to)
				if from != store.InviteProposed && to == store.InviteProposed || to == store.InviteExpired || steps[to] == nil {
					continue
				}
				i := inviteTo(t, s, c, desk, lead, from)
				before, err := s.Invite(ctx, i.ID)
				must(t, err)
				equal(t, before.StateAt(c.Now()), from, "brought to")
				err = steps[to](i)
				after, gotErr := s.Invite(ctx, i.ID)
				must(t, gotErr)
				switch {
				case legal:
					must(t, err)
					equal(t, after.State, to, from+">"+to)
				case !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrExpired) && !errors.Is(err, store.ErrNotFound):
					t.Errorf("%s>%s: %v", from, to, err)
				case fmt.Sprint(*after) != fmt.Sprint(*before):
					t.Errorf("%s>%s changed\n%+v\n%+v", from, to, *before, *after)
				}
			}
		}
		whole(t, s)
	})
}

// TestInviteGives: accepted it makes one account with what it brings, from its cause; the link before, its browser before, and a second use are nothing.
func TestInviteGives(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		desk, lead := inviters(t, s)
		i := inviteTo(t, s, c, desk, lead, store.InviteOpened)
		is(t, second(s.AcceptInvite(ctx, i.ID, "elsewhere", &store.User{})), store.ErrNotFound, "in another browser")
		must(t, second(s.OpenInvite(ctx, i.ID, "two")))
		is(t, second(s.InviteIn(ctx, i.ID)), store.ErrNotFound, "in the browser before")
		c.Add(time.Hour)
		is(t, second(s.InviteIn(ctx, "two")), store.ErrNotFound, "an hour later")
		must(t, second(s.OpenInvite(ctx, i.ID, "two")))
		must(t, second(s.SendInvite(ctx, desk.ID, i.ID, "new"+i.ID, "")))
		is(t, second(s.InviteByToken(ctx, i.ID)), store.ErrNotFound, "the link before")
		is(t, second(s.InviteIn(ctx, "two")), store.ErrNotFound, "where the link before was open")
		must(t, second(s.OpenInvite(ctx, "new"+i.ID, "two")))
		u := store.User{Email: i.Email}
		got, err := s.AcceptInvite(ctx, i.ID, "two", &u)
		must(t, err)
		equal(t, got.UserID+got.State, u.ID+store.InviteAccepted, "accepted")
		equal(t, effective(t, s, u.ID), "helper staff user", "holds")
		list, err := s.Assignments(ctx, u.ID)
		must(t, err)
		a := list[slices.IndexFunc(list, func(a store.Assignment) bool { return a.Privilege == "staff" })]
		equal(t, a.Source+a.SourceRef+a.GivenBy, store.SourceInvite+i.ID+lead.ID, "given")
		is(t, second(s.AcceptInvite(ctx, i.ID, "two", &store.User{})), store.ErrNotFound, "twice")
		// By the second, and not by who tidies up.
		late := inviteTo(t, s, c, desk, lead, store.InviteSent)
		c.Add(store.InviteLife - time.Millisecond)
		must(t, second(s.InviteByToken(ctx, late.ID)))
		c.Add(time.Millisecond)
		is(t, second(s.InviteByToken(ctx, late.ID)), store.ErrNotFound, "expired")
		is(t, second(s.OpenInvite(ctx, late.ID, "x")), store.ErrNotFound, "expired")
		// Another may be sent to the same address then, and not while one is open.
		again := store.Invite{Email: strings.ToUpper(late.Email)}
		must(t, s.ProposeInvite(ctx, desk.ID, &again, false))
		is(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{Email: late.Email}, false), store.ErrConflict, "invited")
		is(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{Email: i.Email}, false), store.ErrConflict, "has an account")
		for field, odd := range map[string]store.Invite{"email": {Email: "x\x00@example.com"}, "type": {UserType: "\xff"}, "privileges": {Privileges: []string{"type:100"}}, "client": {ClientID: "a\x00"},
			"message": {Message: "\x1b[31m"}, "days": {LifeMS: 1}} {
			var wrong *store.FieldError
			if err := s.ProposeInvite(ctx, desk.ID, &odd, false); !errors.As(err, &wrong) || wrong.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		for _, odd := range []string{"", "\x00", strings.Repeat("a", 26)} {
			is(t, second(s.ApproveInvite(ctx, lead.ID, odd)), store.ErrNotFound, "an odd id")
			is(t, second(s.InviteByToken(ctx, "x")), store.ErrNotFound, "an odd token")
		}
		// Erased, nothing of the person stays in it; and what is over goes with the events of its time.
		must(t, s.EraseUser(ctx, "cli", u.ID))
		got, err = s.Invite(ctx, i.ID)
		must(t, err)
		equal(t, got.Email+got.EmailKey+got.Message, "", "of somebody erased")
		c.Add(90 * 24 * time.Hour)
		must(t, second(s.Purge(ctx)))
		is(t, second(s.Invite(ctx, i.ID)), store.ErrNotFound, "after 90 days")
		whole(t, s)
	})
}

// TestSec_G8_InviteByWhoLostTheRight: an invitation is worth what its approver could still give when it is accepted, and nothing once one of its people is shut out.
func TestSec_G8_InviteByWhoLostTheRight(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		desk, lead := inviters(t, s)
		boss := user(t, s, "admin")
		lost, gone, gone2 := inviteTo(t, s, c, desk, lead, store.InviteOpened), inviteTo(t, s, c, desk, boss, store.InviteOpened), inviteTo(t, s, c, user(t, s, "front"), boss, store.InviteOpened)
		must(t, s.Unassign(ctx, "cli", lead.ID, "lead"))
		u := store.User{Email: lost.Email}
		got, err := s.AcceptInvite(ctx, lost.ID, lost.ID, &u)
		must(t, err)
		equal(t, strings.Join(got.Withheld, " "), "staff", "withheld")
		equal(t, effective(t, s, u.ID), "user", "holds")
		must(t, s.DisableUser(ctx, "cli", desk.ID, ""))
		is(t, second(s.AcceptInvite(ctx, gone.ID, gone.ID, &store.User{Email: gone.Email})), store.ErrNotFound, "its maker was disabled")
		must(t, s.EnableUser(ctx, "cli", desk.ID))
		is(t, second(s.InviteByToken(ctx, gone.ID)), store.ErrNotFound, "its maker was disabled for a while")
		b, err := s.User(ctx, boss.ID)
		must(t, err)
		b.ValidUntil = c.In(time.Minute)
		must(t, s.UpdateUser(ctx, b))
		c.Add(time.Minute)
		is(t, second(s.AcceptInvite(ctx, gone2.ID, gone2.ID, &store.User{})), store.ErrNotFound, "its approver's time is over")
	})
}

// TestSec_G1_InviteMoreThanHeld: only who could give it all approves, declines or ends somebody else's; nobody approves their own; nobody sees what is not theirs; and two are two.
func TestSec_G1_InviteMoreThanHeld(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		desk, lead := inviters(t, s)
		boss, boss2, stranger, other := user(t, s, "admin"), user(t, s, "admin"), user(t, s), user(t, s, "front")
		is(t, s.ProposeInvite(ctx, stranger.ID, &store.Invite{}, false), store.ErrForbidden, "by anybody")
		is(t, s.ProposeInvite(ctx, boss.ID, &store.Invite{Privileges: []string{"cron"}}, false), store.ErrForbidden, "for a program")
		equal(t, propose(t, s, lead, "staff").State, store.InviteApproved, "what they could give")
		more := propose(t, s, lead, "label")
		equal(t, more.State, store.InviteProposed, "what they lack")
		typed := &store.Invite{UserType: "900"}
		must(t, s.ProposeInvite(ctx, lead.ID, typed, false))
		equal(t, typed.State, store.InviteProposed, "a type that brings what they lack")
		own := propose(t, s, desk, "staff")
		for _, by := range []*store.User{desk, other, stranger, lead} {
			for what, do := range map[string]func(id string) error{
				"approve": func(id string) error { return second(s.ApproveInvite(ctx, by.ID, id)) },
				"decline": func(id string) error { return second(s.DeclineInvite(ctx, by.ID, id, "")) },
				"revoke":  func(id string) error { return second(s.RevokeInvite(ctx, by.ID, id)) },
				"send":    func(id string) error { return second(s.SendInvite(ctx, by.ID, id, "t", "")) },
			} {
				id := more.ID
				switch {
				case by == lead && (what == "revoke" || what == "send"):
					continue
				case by == desk && (what == "approve" || what == "decline"):
					id = own.ID
				}
				if err := do(id); !errors.Is(err, store.ErrForbidden) && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s by %s: %v", what, by.ID, err)
				}
			}
			n, err := s.CountInvites(ctx, by.ID, 99)
			must(t, err)
			want := 0
			if by == lead {
				want = 1 // own
			}
			equal(t, n, want, "to decide")
		}
		list, _, err := s.Invites(ctx, other.ID, "", 10)
		must(t, err)
		equal(t, len(list), 0, "of others")
		list, isMore, err := s.Invites(ctx, desk.ID, "", 1)
		must(t, err)
		equal(t, list[0].ID, own.ID, "their own")
		equal(t, isMore, false, "more")
		list, isMore, err = s.Invites(ctx, boss.ID, "", 3)
		must(t, err)
		equal(t, fmt.Sprint(len(list), isMore), "3 true", "all")
		rest, _, err := s.Invites(ctx, boss.ID, list[2].ID, 3)
		must(t, err)
		equal(t, len(rest), 1, "the rest")

		two := &store.Invite{Privileges: []string{"staff"}}
		must(t, s.ProposeInvite(ctx, boss.ID, two, true))
		is(t, second(s.ApproveInvite(ctx, boss.ID, two.ID)), store.ErrForbidden, "one's own")
		got, err := s.ApproveInvite(ctx, lead.ID, two.ID)
		must(t, err)
		equal(t, got.State, store.InviteProposed, "after the first")
		is(t, second(s.ApproveInvite(ctx, lead.ID, two.ID)), store.ErrConflict, "the same again")
		is(t, second(s.SendInvite(ctx, boss.ID, two.ID, "t", "")), store.ErrUsed, "sent before the second")
		got, err = s.ApproveInvite(ctx, boss2.ID, two.ID)
		must(t, err)
		equal(t, got.State+got.ApprovedBy+got.SecondBy, store.InviteApproved+lead.ID+boss2.ID, "after the second")
		must(t, second(s.SendInvite(ctx, boss.ID, two.ID, two.ID, "")))
		must(t, second(s.OpenInvite(ctx, two.ID, "b")))
		must(t, s.Unassign(ctx, "cli", boss2.ID, "admin"))
		u := store.User{}
		must(t, second(s.AcceptInvite(ctx, two.ID, "b", &u)))
		equal(t, effective(t, s, u.ID), "user", "when the second lost the right")
	})
}

// TestSec_InviteFlood: nobody floods a mailbox, or many, by inviting.
func TestSec_InviteFlood(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		desk, lead := inviters(t, s)
		i := propose(t, s, lead)
		for n := range store.MaxInviteMails {
			must(t, second(s.SendInvite(ctx, lead.ID, i.ID, fmt.Sprint("t", n), "m")))
		}
		is(t, second(s.SendInvite(ctx, lead.ID, i.ID, "t", "m")), store.ErrInviteLimit, "again and again")
		must(t, second(s.RevokeInvite(ctx, lead.ID, i.ID)))
		is(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{Email: i.Email}, false), store.ErrInviteLimit, "anew, by another")
		for range store.MaxInvitesADay {
			must(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{}, false))
		}
		is(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{}, false), store.ErrInviteLimit, "many")
		c.Add(24 * time.Hour)
		must(t, s.ProposeInvite(ctx, desk.ID, &store.Invite{Email: i.Email}, false))
	})
}

// TestRaceInvites: of two acceptances one makes an account; accepted and revoked exclude each other; and two approvals are one.
func TestRaceInvites(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stores := processes(t, engine, 2)
			s := stores[0]
			desk, lead := inviters(t, s)
			boss := user(t, s, "admin")
			for round := range 4 {
				i := propose(t, s, desk, "staff")
				results := together(8, func(n int) error {
					return patient(func() error { return second(stores[n%2].ApproveInvite(ctx, []string{lead.ID, boss.ID}[n%2], i.ID)) })
				})
				equal(t, countOK(t, results, store.ErrUsed), 1, "approved")
				must(t, second(s.SendInvite(ctx, lead.ID, i.ID, i.ID, "")))
				must(t, second(s.OpenInvite(ctx, i.ID, "b")))
				users := make([]store.User, 8)
				results = together(8, func(n int) error {
					if round%2 == 1 && n%2 == 1 {
						return patient(func() error { return second(stores[n%2].RevokeInvite(context.WithoutCancel(ctx), boss.ID, i.ID)) })
					}
					return patient(func() error { return second(stores[n%2].AcceptInvite(ctx, i.ID, "b", &users[n])) })
				})
				equal(t, countOK(t, results, store.ErrUsed, store.ErrNotFound), 1, "accepted or revoked")
				got, err := s.Invite(ctx, i.ID)
				must(t, err)
				made := 0
				for n := range users {
					if results[n] == nil && users[n].ID != "" {
						made++
						equal(t, got.UserID, users[n].ID, "whose")
					}
				}
				want := 0
				if got.State == store.InviteAccepted {
					want = 1
				}
				equal(t, made, want, "accounts when it is "+got.State)
			}
			for _, s := range stores {
				whole(t, s)
			}
		})
	}
}
