package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func TestAttempt(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		make := func(hash string) {
			must(t, s.CreateAttempt(ctx, &store.Attempt{StateHash: hash, Connector: "google", Purpose: store.AttemptLogin, BrowserHash: "mine", Sealed: "x", ExpiresAt: c.In(10 * time.Minute)}))
		}
		make("a")
		is(t, s.CreateAttempt(ctx, &store.Attempt{StateHash: "a", ExpiresAt: c.In(time.Minute)}), store.ErrConflict, "the same state twice")
		for _, browser := range []string{"another", ""} {
			_, err := s.UseAttempt(ctx, "a", browser)
			is(t, err, store.ErrNotFound, "browser "+browser)
		}
		_, err := s.UseAttempt(ctx, "b", "mine")
		is(t, err, store.ErrNotFound, "unknown state")
		got, err := s.Attempt(ctx, "a", "mine")
		must(t, err)
		equal(t, got.Connector+got.Purpose+got.Sealed, "googleloginx", "row")
		got, err = s.UseAttempt(ctx, "a", "mine")
		must(t, err)
		equal(t, got.UsedAt.IsZero(), false, "used")
		got, err = s.UseAttempt(ctx, "a", "mine")
		is(t, err, store.ErrUsed, "again")
		equal(t, got != nil, true, "the row beside the error")
		_, err = s.Attempt(ctx, "a", "mine")
		is(t, err, store.ErrUsed, "read after use")
		make("late")
		c.Add(10 * time.Minute)
		got, err = s.UseAttempt(ctx, "late", "mine")
		is(t, err, store.ErrExpired, "late")
		equal(t, got != nil, true, "the row beside the error")
		c.Add(2 * time.Hour)
		_, err = s.Purge(ctx)
		must(t, err)
		_, err = s.Attempt(ctx, "late", "mine")
		is(t, err, store.ErrNotFound, "purged")
	})
}

func TestRaceAttempt(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, stores := t.Context(), processes(t, engine, 2)
			for round := range 20 {
				id := fmt.Sprint(round)
				must(t, stores[0].CreateAttempt(ctx, &store.Attempt{StateHash: id, BrowserHash: "b", ExpiresAt: store.At(stores[0].Now().Add(time.Hour))}))
				results := together(8, func(i int) error { _, err := stores[i%2].UseAttempt(ctx, id, "b"); return err })
				equal(t, countOK(t, results, store.ErrUsed), 1, "UseAttempt")
			}
		})
	}
}

func linked(t testing.TB, s *store.Store, u *store.User, connector, subject string) *store.Identity {
	t.Helper()
	i := &store.Identity{UserID: u.ID, Connector: connector, Issuer: "i", Subject: subject, Email: "Ana@Example.com", EmailTrust: "verified", Evidence: []string{"test"}}
	must(t, s.CreateIdentity(t.Context(), "cli", i))
	return i
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	eachClock(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		u := user(t, s)
		i := linked(t, s, u, "google", "1")
		is(t, s.CreateIdentity(ctx, "cli", &store.Identity{UserID: user(t, s).ID, Connector: "google", Issuer: "i", Subject: "1"}), store.ErrConflict, "linked twice")
		for email, want := range map[string]int{"ana@example.com": 1, "ANA@EXAMPLE.COM": 1, "ana@example.org": 0, "": 0} {
			list, err := s.IdentitiesByEmail(ctx, "google", "i", email)
			must(t, err)
			equal(t, len(list), want, email)
		}
		list, err := s.IdentitiesBySubject(ctx, "google", "1")
		must(t, err)
		equal(t, len(list), 1, "by subject")

		must(t, s.TouchIdentity(ctx, i.ID, "new@example.com", "reported"))
		got, err := s.Identity(ctx, "google", "i", "1")
		must(t, err)
		equal(t, got.Email+got.EmailTrust, "new@example.comreported", "what the upstream says")
		must(t, s.TouchIdentity(ctx, i.ID, "", "none"))
		got, err = s.Identity(ctx, "google", "i", "1")
		must(t, err)
		equal(t, got.Email+got.EmailTrust, "new@example.comreported", "a missing claim")
		equal(t, got.LastUsedAt.IsZero(), false, "last used")
		is(t, s.TouchIdentity(ctx, "nobody", "", ""), store.ErrNotFound, "touch nothing")
	})
}

// TestUnlink: a person keeps a way in, and what came through a link ends with it.
func TestUnlink(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		both := []string{"password", "google", "x"}
		u, other := user(t, s, "user"), user(t, s)
		g, x := linked(t, s, u, "google", "1"), linked(t, s, u, "x", "2")
		ways := func(want int, connectors ...string) {
			t.Helper()
			n, err := s.WaysIn(ctx, u.ID, connectors)
			must(t, err)
			equal(t, n, want, "ways in")
		}
		ways(2, both...)
		ways(1, "x")
		_, err := s.UnlinkIdentity(ctx, other.ID, other.ID, g.ID, "", both)
		is(t, err, store.ErrNotFound, "another person's link")
		_, err = s.UnlinkIdentity(ctx, u.ID, u.ID, x.ID, "", []string{"password", "x"}) // google is not configured: it opens nothing
		is(t, err, store.ErrLastWayIn, "the last one that opens anything")
		ways(2, both...)
		lone := user(t, s)
		old := linked(t, s, lone, "gone", "3")
		_, err = s.UnlinkIdentity(ctx, "cli", lone.ID, old.ID, "", both)
		is(t, err, store.ErrLastWayIn, "a connector that may come back")

		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff", Label: "Staff"}))
		refused, err := s.SyncUpstreamPrivileges(ctx, u.ID, "google", []string{"staff"})
		must(t, err)
		equal(t, len(refused), 0, "refused")
		for _, id := range []string{"mine", "second", "password"} {
			n := &store.Session{ID: id, UserID: u.ID, Connector: "google", IdleMS: 3600_000, ExpiresAt: store.At(s.Now().Add(time.Hour))}
			if id == "password" {
				n.Connector = id
			}
			must(t, s.CreateSession(ctx, n))
		}
		gone, err := s.UnlinkIdentity(ctx, u.ID, u.ID, g.ID, "mine", both)
		must(t, err)
		equal(t, gone.Connector, "google", "gone")
		sessions, err := s.SessionsOf(ctx, u.ID)
		must(t, err)
		var left []string
		for _, n := range sessions {
			left = append(left, n.ID)
		}
		slices.Sort(left)
		equal(t, fmt.Sprint(left), "[mine password]", "sessions left")
		l, err := s.Live(ctx, u.ID)
		must(t, err)
		equal(t, len(l.Holdings), 2, "holdings left, the type among them")
		_, err = s.UnlinkIdentity(ctx, u.ID, u.ID, x.ID, "", both)
		is(t, err, store.ErrLastWayIn, "the last one")
		must(t, s.SetPassword(ctx, "cli", u.ID, "$argon2id$", false, ""))
		_, err = s.UnlinkIdentity(ctx, u.ID, u.ID, x.ID, "", both)
		must(t, err)
		whole(t, s)
	})
}

// TestRaceUnlink: two tabs cannot take both ways in away.
func TestRaceUnlink(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, stores := t.Context(), processes(t, engine, 2)
			s := stores[0]
			for round := range 10 {
				u := user(t, s)
				links := []*store.Identity{linked(t, s, u, "google", fmt.Sprint(round)), linked(t, s, u, "x", fmt.Sprint(round))}
				results := together(2, func(i int) error {
					_, err := stores[i].UnlinkIdentity(ctx, u.ID, u.ID, links[i].ID, "", []string{"password", "google", "x"})
					return err
				})
				equal(t, countOK(t, results, store.ErrLastWayIn), 1, "unlinked")
			}
			whole(t, s)
		})
	}
}

func TestForgetIdentity(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		u := user(t, s)
		a, b := linked(t, s, u, "facebook", "1"), linked(t, s, u, "facebook", "2")
		n, err := s.ForgetIdentity(t.Context(), "connector:facebook", u.ID, a.ID, []string{"password", "facebook"})
		must(t, err)
		equal(t, n, 1, "ways left")
		n, err = s.ForgetIdentity(t.Context(), "connector:facebook", u.ID, b.ID, []string{"password", "facebook"})
		must(t, err)
		equal(t, n, 0, "ways left")
	})
}

// TestSec_E5_QuarantineHolder: who never proved an address loses it and every way to come back to it.
func TestSec_E5_QuarantineHolder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		squatter := &store.User{Email: "Ana@example.com"}
		must(t, s.CreateUser(ctx, squatter))
		must(t, s.SetPassword(ctx, "cli", squatter.ID, "$argon2id$", false, ""))
		trojan := linked(t, s, squatter, "facebook", "evil")
		hour := store.At(s.Now().Add(time.Hour))
		must(t, s.CreateSession(ctx, &store.Session{ID: "unexpired", UserID: squatter.ID, IdleMS: 3600_000, ExpiresAt: hour}))
		must(t, s.CreatePartial(ctx, &store.Partial{ID: "half", UserID: squatter.ID, ExpiresAt: hour}))
		must(t, s.CreateOneTime(ctx, &store.OneTime{Hash: "change", Purpose: "email", UserID: squatter.ID, ExpiresAt: hour}))
		must(t, s.CreatePending(ctx, &store.Pending{IDHash: "device", Kind: "device", UserID: squatter.ID, ExpiresAt: hour}))
		must(t, s.CreateAttempt(ctx, &store.Attempt{StateHash: "link", UserID: squatter.ID, BrowserHash: "b", ExpiresAt: hour}))
		g := newGrant(s, squatter.ID)
		_, err := s.CreateGrant(ctx, g)
		must(t, err)

		is(t, s.QuarantineHolder(ctx, "connector:google", squatter.ID, "other@example.com"), store.ErrConflict, "an address it has not")
		must(t, s.QuarantineHolder(ctx, "connector:google", squatter.ID, "ana@EXAMPLE.com"))
		u, err := s.User(ctx, squatter.ID)
		must(t, err)
		equal(t, u.Email+u.EmailKey, "", "address")
		_, err = s.Password(ctx, squatter.ID)
		is(t, err, store.ErrNotFound, "password")
		i, err := s.Identity(ctx, "facebook", "i", "evil")
		must(t, err)
		equal(t, i.QuarantinedAt.IsZero(), false, "link quarantined")
		is(t, s.TouchIdentity(ctx, trojan.ID, "", ""), store.ErrNotFound, "sign-in through the link")
		sessions, err := s.SessionsOf(ctx, squatter.ID)
		must(t, err)
		equal(t, len(sessions), 0, "sessions")
		_, _, err = s.Partial(ctx, "half")
		is(t, err, store.ErrNotFound, "half-finished sign-in")
		_, err = s.OneTime(ctx, "email", "change")
		is(t, err, store.ErrNotFound, "pending change of the address")
		_, err = s.Pending(ctx, "device", "device")
		is(t, err, store.ErrNotFound, "pending request")
		_, err = s.Attempt(ctx, "link", "b")
		is(t, err, store.ErrNotFound, "attempt to link")
		g, err = s.Grant(ctx, g.ID)
		must(t, err)
		equal(t, g.RevokedAt.IsZero(), false, "grant revoked")
		must(t, s.CreateUser(ctx, &store.User{Email: "ana@example.com"})) // the address is free
		n, err := s.WaysIn(ctx, squatter.ID, []string{"password", "facebook"})
		must(t, err)
		equal(t, n, 0, "ways in")
		_, err = s.UnlinkIdentity(ctx, "cli", squatter.ID, i.ID, "", []string{"password", "facebook"})
		must(t, err) // it opens nothing, for good
		whole(t, s)

		proven := &store.User{Email: "bea@example.com", EmailVerifiedAt: store.At(s.Now())}
		must(t, s.CreateUser(ctx, proven))
		is(t, s.QuarantineHolder(ctx, "connector:google", proven.ID, "bea@example.com"), store.ErrConflict, "who proved it")
		known := &store.User{Email: "cy@example.com"}
		must(t, s.CreateUser(ctx, known))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: known.ID, Privilege: "admin"}))
		is(t, s.QuarantineHolder(ctx, "connector:google", known.ID, "cy@example.com"), store.ErrForbidden, "who was given a privilege")
	})
}

func TestSyncUpstreamPrivileges(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for _, name := range []string{"staff", "editor", "lead"} {
			must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: name, Label: name}))
		}
		u := user(t, s, "editor") // by hand
		sync := func(connector string, names ...string) []string {
			t.Helper()
			refused, err := s.SyncUpstreamPrivileges(ctx, u.ID, connector, names)
			must(t, err)
			return refused
		}
		holds := func(want string) {
			t.Helper()
			list, err := s.Assignments(ctx, u.ID)
			must(t, err)
			var have []string
			for _, a := range list {
				if a.EndedAt.IsZero() && a.Source != store.SourceType {
					have = append(have, a.Privilege+" by "+a.GivenBy)
				}
			}
			slices.Sort(have)
			equal(t, fmt.Sprint(have), want, "holds")
		}
		sync("google", "staff", "editor", "staff")
		holds("[editor by cli editor by connector:google staff by connector:google]") // each source for itself
		before := s.Counts()
		sync("google", "staff", "editor")
		if after := s.Counts(); after.Writes != before.Writes {
			t.Errorf("%d writes without a difference", after.Writes-before.Writes)
		}
		sync("azure", "staff", "lead")
		holds("[editor by cli editor by connector:google lead by connector:azure staff by connector:azure staff by connector:google]")
		sync("google")
		holds("[editor by cli lead by connector:azure staff by connector:azure]")
		sync("azure", "staff")
		holds("[editor by cli staff by connector:azure]")
		equal(t, fmt.Sprint(sync("azure", "cron", "nobody-defined-it", "staff")), "[cron nobody-defined-it]", "refused")
		holds("[editor by cli staff by connector:azure]")

		// The last administrator stays, the others go.
		sync("azure", "admin")
		must(t, s.SetPassword(ctx, "cli", u.ID, "$argon2id$", false, ""))
		equal(t, fmt.Sprint(sync("azure")), "[admin]", "refused")
		holds("[admin by connector:azure editor by cli]")
		admin(t, s)
		equal(t, len(sync("azure")), 0, "refused")
		holds("[editor by cli]")
		whole(t, s)
	})
}

// TestSec_E11_ForeignConnectors: what came by a way in that is gone stays dead when the way is there again.
func TestSec_E11_ForeignConnectors(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := user(t, s)
		grants, sessions := map[string]string{}, map[string]string{}
		for _, way := range []string{"password", "google", "gone", ""} {
			g := newGrant(s, u.ID)
			g.Connector, g.SID = way, "sid-"+way
			_, err := s.CreateGrant(ctx, g)
			must(t, err)
			grants[way] = g.ID
			if way != "" {
				n := &store.Session{UserID: u.ID, Connector: way, IdleMS: 3600_000, ExpiresAt: store.At(s.Now().Add(time.Hour))}
				must(t, s.CreateSession(ctx, n))
				sessions[way] = n.ID
			}
		}
		n, err := s.EndForeignConnectors(ctx, []string{"password", "google"}, "connector removed")
		must(t, err)
		equal(t, n, int64(1), "grants")
		for way, id := range grants {
			g, err := s.Grant(ctx, id)
			must(t, err)
			equal(t, g.RevokedAt.IsZero(), way != "gone", "grant by "+way)
		}
		for way, id := range sessions {
			_, _, err := s.LiveSession(ctx, id)
			equal(t, err == nil, way != "gone", "session by "+way)
		}
		n, err = s.EndForeignConnectors(ctx, []string{"password", "google"}, "connector removed")
		must(t, err)
		equal(t, n, int64(0), "again")
		if _, err := s.EndForeignConnectors(ctx, nil, ""); err == nil {
			t.Error("without any way in everything would end")
		}
	})
}

func TestUpstreamSessions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := user(t, s)
		make := func(id, connector, subject, sid string) {
			t.Helper()
			must(t, s.Tx(ctx, func(ctx context.Context) error {
				if err := s.CreateSession(ctx, &store.Session{ID: id, UserID: u.ID, Connector: connector, IdleMS: 3600_000, ExpiresAt: store.At(s.Now().Add(time.Hour))}); err != nil {
					return err
				}
				return s.CreateUpstreamSession(ctx, &store.UpstreamSession{SessionID: id, Connector: connector, Subject: subject, SID: sid, Sealed: "x"})
			}))
		}
		make("a", "k", "1", "s1")
		make("b", "k", "1", "s2")
		make("c", "k", "2", "s3")
		make("d", "other", "1", "s1")
		end := func(want int, connector, subject, sid string) {
			t.Helper()
			n, err := s.EndUpstreamSessions(ctx, connector, subject, sid, "test")
			must(t, err)
			equal(t, n, want, "ended")
		}
		end(0, "k", "2", "s1") // both must fit
		end(1, "k", "", "s1")
		end(1, "k", "1", "")
		end(0, "k", "1", "")
		_, err := s.UpstreamSession(ctx, "a")
		is(t, err, store.ErrNotFound, "it goes with its session")
		got, err := s.UpstreamSession(ctx, "d")
		must(t, err)
		equal(t, got.SID, "s1", "the other connector's stays")
		if _, err := s.EndUpstreamSessions(ctx, "k", "", "", "test"); err == nil {
			t.Error("everybody's sessions ended")
		}
	})
}
