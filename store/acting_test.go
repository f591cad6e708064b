package store_test

import (
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

// offer makes an authority that waits for whoever has the link.
func offer(t testing.TB, s *store.Store, grantor *store.User, link string) *store.Authority {
	t.Helper()
	a := &store.Authority{LinkHash: link, LinkUntil: store.At(s.Now().Add(time.Hour)), Until: store.At(s.Now().Add(24 * time.Hour)), Reason: "holidays"}
	must(t, s.OfferAuthority(t.Context(), grantor.ID, a))
	return a
}

// given is an authority that grantee took.
func given(t testing.TB, s *store.Store, grantor, grantee *store.User) *store.Authority {
	t.Helper()
	link := grantor.ID + grantee.ID + fmt.Sprint(time.Now().UnixNano())
	offer(t, s, grantor, link)
	a, err := s.TakeAuthority(t.Context(), grantee.ID, link)
	must(t, err)
	return a
}

func live(t testing.TB, s *store.Store, u *store.User) *store.Live {
	t.Helper()
	l, err := s.Live(t.Context(), u.ID)
	must(t, err)
	return l
}

func mayAct(t testing.TB, s *store.Store, actor, person *store.User, by string) error {
	t.Helper()
	_, err := s.MayActNow(t.Context(), live(t, s, actor), live(t, s, person), by, "")
	return err
}

func actions(t testing.TB, s *store.Store, target string) (list []string) {
	t.Helper()
	entries, err := s.AuditEntries(t.Context(), 0, 10_000)
	must(t, err)
	for _, e := range entries {
		if e.Target == target && strings.HasPrefix(e.Action, "a") {
			list = append(list, e.Action)
		}
	}
	return list
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		ada, bob, eve := user(t, s), user(t, s), user(t, s)
		a := offer(t, s, ada, "l1")
		// Only in one's own name, and in order.
		for name, bad := range map[string]*store.Authority{
			"no link": {LinkUntil: c.In(time.Hour), Until: c.In(time.Hour)}, "over": {LinkHash: "x", LinkUntil: c.In(time.Hour), Until: c.In(-time.Second)},
			"too long": {LinkHash: "x", LinkUntil: c.In(time.Hour), Until: c.In(store.MaxAuthorityLife + time.Second)},
			"a client": {LinkHash: "x", LinkUntil: c.In(time.Hour), Until: c.In(time.Hour), ClientID: "nobody"},
			"a novel":  {LinkHash: "x", LinkUntil: c.In(time.Hour), Until: c.In(time.Hour), Reason: strings.Repeat("x", 201)},
		} {
			if err := s.OfferAuthority(ctx, ada.ID, bad); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		is(t, s.OfferAuthority(ctx, "cli", &store.Authority{LinkHash: "x", LinkUntil: c.In(time.Hour), Until: c.In(time.Hour)}), store.ErrForbidden, "the operator gives one")
		// The link.
		_, err := s.TakeAuthority(ctx, ada.ID, "l1")
		is(t, err, store.ErrForbidden, "one's own")
		_, err = s.TakeAuthority(ctx, bob.ID, "l2")
		is(t, err, store.ErrNotFound, "unknown")
		taken, err := s.TakeAuthority(ctx, bob.ID, "l1")
		must(t, err)
		equal(t, taken.Grantee, bob.ID, "grantee")
		_, err = s.TakeAuthority(ctx, eve.ID, "l1")
		is(t, err, store.ErrUsed, "twice")
		offer(t, s, ada, "l3")
		c.Add(time.Hour)
		_, err = s.TakeAuthority(ctx, bob.ID, "l3")
		is(t, err, store.ErrExpired, "late")
		// Who sees it.
		list, err := s.AuthoritiesGiven(ctx, ada.ID)
		must(t, err)
		equal(t, len(list), 1, "given")
		list, err = s.AuthoritiesTaken(ctx, bob.ID)
		must(t, err)
		equal(t, len(list), 1, "taken")
		must(t, mayAct(t, s, bob, ada, a.ID))
		is(t, mayAct(t, s, eve, ada, a.ID), store.ErrForbidden, "another's authority")
		is(t, mayAct(t, s, ada, bob, a.ID), store.ErrForbidden, "the other way round")
		is(t, mayAct(t, s, bob, ada, store.ByPermission), store.ErrForbidden, "without the permission")
		// Who ends it.
		is(t, s.EndAuthority(ctx, eve.ID, a.ID), store.ErrNotFound, "a stranger ends it")
		must(t, s.EndAuthority(ctx, ada.ID, a.ID))
		is(t, s.EndAuthority(ctx, ada.ID, a.ID), store.ErrNotFound, "twice")
		is(t, mayAct(t, s, bob, ada, a.ID), store.ErrForbidden, "after the end")
		b := given(t, s, ada, bob)
		must(t, s.EndAuthority(ctx, bob.ID, b.ID))
		b = given(t, s, ada, bob)
		// An administrator ends it on the page of one of the two, unless one of them holds more.
		b = given(t, s, ada, bob)
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff"}))
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"staff": {"edit_sessions"}, "trainer": {"access_user_info"}}))
		desk, root, powerless := user(t, s, "staff"), admin(t, s), user(t, s, "trainer")
		is(t, s.EndAuthority(ctx, root.ID, b.ID), store.ErrNotFound, "an administrator, as if it were theirs")
		is(t, s.EndAuthorityOf(ctx, root.ID, eve.ID, b.ID), store.ErrNotFound, "on a page of somebody else")
		is(t, s.EndAuthorityOf(ctx, root.ID, "", b.ID), store.ErrNotFound, "on the page of nobody")
		is(t, s.EndAuthorityOf(ctx, root.ID, ada.ID, "x"), store.ErrNotFound, "unknown")
		is(t, s.EndAuthorityOf(ctx, powerless.ID, ada.ID, b.ID), privilege.ErrNoPower, "without the permission")
		must(t, s.EndAuthorityOf(ctx, desk.ID, ada.ID, b.ID))
		is(t, s.EndAuthorityOf(ctx, desk.ID, bob.ID, b.ID), store.ErrNotFound, "twice")
		b = given(t, s, ada, bob)
		must(t, s.EndAuthorityOf(ctx, desk.ID, bob.ID, b.ID))
		for _, b := range []*store.Authority{given(t, s, ada, root), given(t, s, root, ada)} {
			is(t, s.EndAuthorityOf(ctx, desk.ID, ada.ID, b.ID), privilege.ErrProtected, "with somebody who holds more")
			must(t, s.EndAuthorityOf(ctx, ada.ID, root.ID, b.ID)) // one's own
		}
		waiting := offer(t, s, ada, "waiting")
		must(t, s.EndAuthorityOf(ctx, desk.ID, ada.ID, waiting.ID))
		b = given(t, s, ada, bob)
		c.Add(24 * time.Hour)
		is(t, mayAct(t, s, bob, ada, b.ID), store.ErrForbidden, "after its time")
		// Erased people leave none behind.
		b = given(t, s, ada, bob)
		must(t, s.EraseUser(ctx, "cli", ada.ID))
		list, err = s.AuthoritiesTaken(ctx, bob.ID)
		must(t, err)
		equal(t, len(list), 0, "of an erased person")
		whole(t, s)
	})
}

// TestSec_G1_ActAsNeverUpward: nobody acts for somebody who may do more within Latchkey; by the permission, for nobody who holds more at all.
func TestSec_G1_ActAsNeverUpward(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "helpdesk"}))
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "clerk"}))
		must(t, s.SetPowers(ctx, "cli", map[string][]string{"helpdesk": {"act_as", "access_user_info"}}))
		plain, clerk, desk, root := user(t, s), user(t, s, "clerk"), user(t, s, "helpdesk"), admin(t, s)
		advocate, auditor := user(t, s, "advocate"), user(t, s)
		must(t, s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(), privilege.UserType{Value: "500", Names: []string{"auditor"}, Text: "Auditor", ReadOnly: true})))
		must(t, s.SetUserType(ctx, "cli", auditor.ID, "500"))
		for _, c := range []struct {
			name          string
			actor, person *store.User
			byAuthority   bool
			byPermission  bool
		}{
			{"an equal", plain, clerk, true, false},
			{"an administrator", plain, root, false, false},
			{"one with a permission", plain, advocate, false, false},
			{"helpdesk for anybody", desk, plain, true, true},
			{"helpdesk for one with a privilege they lack", desk, clerk, true, false},
			{"helpdesk for one with a permission they lack", desk, advocate, false, false},
			{"helpdesk for an administrator", desk, root, false, false},
			{"an administrator for anybody", root, advocate, true, true},
			{"one who may only read, for one who may write", auditor, plain, false, false},
			{"for one who may only read", desk, auditor, false, true}, // who can give no authority
		} {
			err := s.MayActFor(ctx, c.actor.ID, c.person.ID)
			if ok := err == nil; ok != c.byPermission || !ok && !errors.Is(err, store.ErrForbidden) {
				t.Errorf("by permission, %s: %v", c.name, err)
			}
			if c.person == auditor {
				a := &store.Authority{LinkHash: "x", LinkUntil: store.At(s.Now().Add(time.Hour)), Until: store.At(s.Now().Add(time.Hour))}
				is(t, s.OfferAuthority(ctx, auditor.ID, a), store.ErrForbidden, "an authority of one who may only read")
				continue
			}
			err = mayAct(t, s, c.actor, c.person, given(t, s, c.person, c.actor).ID)
			if ok := err == nil; ok != c.byAuthority || !ok && !errors.Is(err, store.ErrForbidden) {
				t.Errorf("by authority, %s: %v", c.name, err)
			}
		}
		// What the operator requires of the action is asked too, and counts at once.
		must(t, s.MayActFor(ctx, root.ID, clerk.ID))
		need, err := privilege.ParseRequirement([]any{"helpdesk"}, nil)
		must(t, err)
		rules, err := privilege.NewRules(map[string]privilege.Requirement{"users.act_as": need})
		must(t, err)
		s.SetActionRules(rules)
		is(t, s.MayActFor(ctx, root.ID, clerk.ID), store.ErrForbidden, "without what the action requires")
		must(t, s.MayActFor(ctx, desk.ID, plain.ID))
		s.SetActionRules(privilege.Rules{})
		is(t, s.MayActFor(ctx, root.ID, root.ID), store.ErrForbidden, "oneself")
		is(t, s.MayActFor(ctx, root.ID, "nobody"), store.ErrForbidden, "nobody")
		must(t, s.DisableUser(ctx, "cli", plain.ID, "test"))
		is(t, s.MayActFor(ctx, root.ID, plain.ID), store.ErrForbidden, "somebody disabled")
		// A privilege gained meanwhile counts at once.
		a := given(t, s, clerk, desk)
		must(t, mayAct(t, s, desk, clerk, a.ID))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: clerk.ID, Privilege: "advocate"}))
		is(t, mayAct(t, s, desk, clerk, a.ID), store.ErrForbidden, "they rose")
		must(t, s.Unassign(ctx, "cli", clerk.ID, "advocate"))
		must(t, mayAct(t, s, desk, clerk, a.ID))
		must(t, s.DisableUser(ctx, "cli", desk.ID, "test"))
		is(t, mayAct(t, s, desk, clerk, a.ID), store.ErrForbidden, "the actor is disabled")
	})
}

func newSession(t testing.TB, s *store.Store, u *store.User, id string) *store.Session {
	t.Helper()
	n := &store.Session{ID: id, UserID: u.ID, Connector: "password", IdleMS: time.Hour.Milliseconds(), ExpiresAt: store.At(s.Now().Add(time.Hour))}
	must(t, s.CreateSession(t.Context(), n))
	return n
}

func actingGrant(t testing.TB, s *store.Store, n *store.Session, id string) {
	t.Helper()
	g := newGrant(s, n.ActingFor)
	g.ID, g.SID, g.ActorID, g.ActingBy = id, n.SID, n.UserID, n.ActingBy
	_, err := s.CreateGrant(t.Context(), g)
	must(t, err)
}

func dead(t testing.TB, s *store.Store, id string) bool {
	t.Helper()
	g, err := s.Grant(t.Context(), id)
	must(t, err)
	return !g.RevokedAt.IsZero()
}

// TestActing_SessionsAndGrants: starting and ending makes new ids, and whatever ends the acting ends what came of it, and is written down.
func TestActing_SessionsAndGrants(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, watch *clock) {
		ctx := t.Context()
		own := func(id string) { // oneself, in the same session
			g := newGrant(s, "x")
			g.ID = id
			_, err := s.CreateGrant(ctx, g)
			must(t, err)
		}
		own("own")
		for i, c := range []struct {
			why string
			end func(n *store.Session, a *store.Authority) error
		}{
			{"stopped", func(n *store.Session, _ *store.Authority) error {
				back, err := s.StopActing(ctx, n, store.NextSession{ID: "back" + n.ID})
				if err == nil && (back.ActingFor != "" || back.ID == n.ID || back.SID != n.SID || back.UserID != n.UserID || !back.ExpiresAt.Equal(n.ExpiresAt.Time)) {
					err = fmt.Errorf("back as %+v", back)
				}
				return err
			}},
			{"lapsed", func(n *store.Session, _ *store.Authority) error {
				return errors.Join(s.LapseActing(ctx, n, ""), s.LapseActing(ctx, n, ""))
			}},
			{"signed out", func(n *store.Session, _ *store.Authority) error { return s.EndSession(ctx, n.ID, "logout") }},
			{"signed out everywhere", func(n *store.Session, _ *store.Authority) error {
				return s.EndSessionsOf(ctx, n.UserID, "", "test", false)
			}},
			{"disabled", func(n *store.Session, _ *store.Authority) error { return s.DisableUser(ctx, "cli", n.UserID, "test") }},
			{"somebody else signs in", func(n *store.Session, _ *store.Authority) error {
				return s.ReplaceSession(ctx, n.ID, &store.Session{ID: "r" + n.ID, UserID: user(t, s).ID, ExpiresAt: n.ExpiresAt})
			}},
			{"nobody used it", func(n *store.Session, _ *store.Authority) error {
				watch.Add(61 * time.Minute)
				_, err := s.Purge(ctx)
				return err
			}},
			{"the same person signs in", func(n *store.Session, _ *store.Authority) error {
				return s.ReplaceSession(ctx, n.ID, &store.Session{ID: "r" + n.ID, UserID: n.UserID, ExpiresAt: n.ExpiresAt})
			}},
		} {
			ada, bob := user(t, s), user(t, s)
			a := given(t, s, ada, bob)
			old := newSession(t, s, bob, fmt.Sprint("s", i))
			must(t, s.CreateUpstreamSession(ctx, &store.UpstreamSession{SessionID: old.ID, Connector: "google", Subject: "x"}))
			n, person, err := s.StartActing(ctx, old, store.NextSession{ID: fmt.Sprint("n", i), SecretHash: "h"}, store.Act{Authority: a.ID})
			must(t, err)
			if n.ID == old.ID || n.SID != old.SID || n.UserID != bob.ID || n.ActingFor != ada.ID || person.User.ID != ada.ID || !n.AuthTime.Equal(old.AuthTime.Time) {
				t.Fatalf("%+v", n)
			}
			_, _, err = s.LiveSession(ctx, old.ID)
			is(t, err, store.ErrNotFound, "the old id")
			_, err = s.UpstreamSession(ctx, n.ID)
			must(t, err)
			_, _, err = s.StartActing(ctx, n, store.NextSession{ID: "again"}, store.Act{Authority: a.ID})
			is(t, err, store.ErrForbidden, "acting while acting")
			actingGrant(t, s, n, fmt.Sprint("g", i))
			must(t, c.end(n, a))
			if !dead(t, s, fmt.Sprint("g", i)) {
				t.Errorf("%s: the grant lives", c.why)
			}
			want := []string{"authority.take", "act_as.start", "act_as.end"}
			if got := actions(t, s, "user:"+ada.ID); !slices.Equal(got, want) {
				t.Errorf("%s: audit %v", c.why, got)
			}
			if c.why == "stopped" || c.why == "lapsed" {
				for _, u := range []*store.User{ada, bob} {
					events, err := s.EventsOf(ctx, u.ID, 10)
					must(t, err)
					if len(events) != 2 || !strings.Contains(events[0].Data, ada.ID) || !strings.Contains(events[0].Data, bob.ID) {
						t.Errorf("%s: events %+v", c.why, events)
					}
				}
			}
		}
		if dead(t, s, "own") {
			t.Error("a grant of nobody who acts was ended")
		}
		// The end of the authority ends the grants too; the session falls back at its next request.
		ada, bob := user(t, s), user(t, s)
		a := given(t, s, ada, bob)
		n, _, err := s.StartActing(ctx, newSession(t, s, bob, "t"), store.NextSession{ID: "t2"}, store.Act{Authority: a.ID})
		must(t, err)
		actingGrant(t, s, n, "gt")
		must(t, s.EndAuthority(ctx, ada.ID, a.ID))
		if !dead(t, s, "gt") {
			t.Error("the authority ended and the grant lives")
		}
		// A session that nobody used for long is gone; what came of it goes with the next that ends the person's access.
		actingGrant(t, s, &store.Session{SID: "gone", UserID: bob.ID, ActingFor: ada.ID, ActingBy: a.ID}, "late")
		must(t, s.EndSessionsOf(ctx, bob.ID, "", "test", false))
		if !dead(t, s, "late") {
			t.Error("a grant of an actor outlives their access")
		}
		// An administrator says why.
		root := admin(t, s)
		in := newSession(t, s, root, "root")
		_, _, err = s.StartActing(ctx, in, store.NextSession{ID: "r1"}, store.Act{UserID: ada.ID, Reason: " "})
		is(t, err, store.ErrInvalid, "no reason")
		n, _, err = s.StartActing(ctx, in, store.NextSession{ID: "r1"}, store.Act{UserID: ada.ID, Reason: "she asked by phone"})
		must(t, err)
		equal(t, n.ActingBy, store.ByPermission, "by")
		whole(t, s)
	})
}

// TestRace_ActAs: of two who take a link one gets it; of two starts of one session one happens; of two ends of acting one is written down.
func TestRace_ActAs(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			stores := processes(t, engine, 2)
			s := stores[0]
			ada := user(t, s)
			for round := range 10 {
				people := []*store.User{user(t, s), user(t, s), user(t, s), user(t, s)}
				link := fmt.Sprint("link", round)
				a := offer(t, s, ada, link)
				equal(t, countOK(t, together(4, func(i int) error {
					_, err := stores[i%2].TakeAuthority(ctx, people[i].ID, link)
					return err
				}), store.ErrUsed), 1, "took the link")
				taken, err := s.AuthoritiesGiven(ctx, ada.ID)
				must(t, err)
				bob := people[slices.IndexFunc(people, func(u *store.User) bool { return u.ID == taken[len(taken)-1].Grantee })]
				n := newSession(t, s, bob, fmt.Sprint("s", round))
				equal(t, countOK(t, together(4, func(i int) error {
					_, _, err := stores[i%2].StartActing(ctx, n, store.NextSession{ID: fmt.Sprint("n", round, i)}, store.Act{Authority: a.ID})
					return err
				}), store.ErrUsed), 1, "started")
				sessions, err := s.SessionsOf(ctx, bob.ID)
				must(t, err)
				equal(t, len(sessions), 1, "sessions")
				before := len(actions(t, s, "user:"+ada.ID))
				equal(t, countOK(t, together(4, func(i int) error { return stores[i%2].LapseActing(ctx, &sessions[0], "") })), 4, "lapsed")
				equal(t, len(actions(t, s, "user:"+ada.ID)), before+1, "ends written down")
				must(t, s.EndAuthority(ctx, ada.ID, a.ID))
			}
		})
	}
}
