package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
	"github.com/latchkey-idp/latchkey/templates"
)

const idleDay = 24 * time.Hour

// idleSite is a database with a clock, and the rule of a year with a month's warning.
type idleSite struct {
	*testing.T
	store *store.Store
	set   *templates.Set
	url   string
	ms    *atomic.Int64
	run   idleRun
	n     int
}

func eachIdle(t *testing.T, f func(s *idleSite)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(newIdleSite(t, engine, storetest.URL(t, engine)))
		})
	}
}

func newIdleSite(t *testing.T, engine, url string) *idleSite {
	t.Helper()
	s := &idleSite{T: t, url: url, ms: new(atomic.Int64)}
	s.ms.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	s.store = storetest.OpenWith(t, engine, store.Config{URL: url, Now: s.now})
	var err error
	s.set, err = templates.New(templates.Options{AppName: "Latchkey", Issuer: "https://login.example.com"})
	s.must(err)
	s.run = idleRun{policy: idlePolicy{removeAfter: 365 * idleDay, warnBefore: 30 * idleDay, privileges: []string{"customer"}},
		store: s.store, templates: s.set, log: slog.New(slog.DiscardHandler), now: s.now, actor: "system", most: 100}
	return s
}

func (s *idleSite) now() time.Time { return time.UnixMilli(s.ms.Load()).UTC() }

func (s *idleSite) wait(d time.Duration) { s.ms.Add(d.Milliseconds()) }

func (s *idleSite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// user has a proven address.
func (s *idleSite) user(privileges ...string) *store.User {
	s.Helper()
	s.n++
	u := &store.User{Email: fmt.Sprintf("u%d@example.com", s.n), EmailVerifiedAt: store.At(s.now()), GivenName: "U"}
	s.must(s.store.CreateUser(s.Context(), u))
	for _, p := range privileges {
		s.must(s.store.Assign(s.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: p}))
	}
	return u
}

// go runs once and says what became of everybody by id: "warn", "wait was warned", "keep holds trainer"; a star means that it was done now.
func (s *idleSite) goes() map[string]string {
	s.Helper()
	out := map[string]string{}
	s.must(s.run.each(s.Context(), func(a IdleAccount) error {
		out[a.User.ID] = strings.TrimSpace(string(a.Step) + " " + a.Why)
		if a.Done {
			out[a.User.ID] += "*"
		}
		return nil
	}))
	return out
}

func (s *idleSite) want(u *store.User, want string) {
	s.Helper()
	if got := s.goes()[u.ID]; got != want {
		s.Errorf("%s: %q, want %q", s.now().Format(time.DateOnly), got, want)
	}
}

func (s *idleSite) mails() []store.Message {
	s.Helper()
	list, err := s.store.Messages(s.Context(), 1000)
	s.must(err)
	return list
}

// deliver sends what waits.
func (s *idleSite) deliver() {
	s.Helper()
	for _, m := range s.mails() {
		if m.SentAt.IsZero() && m.FailedAt.IsZero() {
			s.must(s.store.MessageSent(s.Context(), m.ID))
		}
	}
}

func (s *idleSite) erased(u *store.User) bool {
	s.Helper()
	l, err := s.store.User(s.Context(), u.ID)
	s.must(err)
	return !l.DeletedAt.IsZero()
}

// TestIdle_WarnThenRemove is R13: a day past the warning's time warns, once; the removal comes a year after the last use and a month after the
// mail, and is in the audit log.
func TestIdle_WarnThenRemove(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		u, boss := s.user("customer"), s.user("admin")
		s.must(s.store.SetPassword(s.Context(), "cli", boss.ID, "x", false, ""))
		s.must(s.store.TouchLogin(s.Context(), u.ID, s.now()))
		s.wait(334 * idleDay)
		s.want(u, "")
		s.wait(2 * idleDay) // a day past
		s.want(u, "warn*")
		s.want(u, "wait "+idleUnsent)
		list := s.mails()
		if len(list) != 1 || list[0].Recipient != u.Email || !strings.Contains(list[0].Text, "2 January 2030") || !strings.Contains(list[0].Text, "3 January 2031") ||
			!strings.Contains(list[0].Text, "https://login.example.com/login") {
			s.Fatalf("%+v", list)
		}
		s.wait(time.Hour)
		s.deliver()
		s.want(u, "wait "+idleWarned)
		s.wait(8 * idleDay) // the outbox has forgotten the mail by then
		_, err := s.store.Purge(s.Context())
		s.must(err)
		if len(s.mails()) != 0 {
			s.Error("the mail is still there")
		}
		s.want(u, "wait "+idleWarned)
		s.wait(22*idleDay - time.Minute)
		s.want(u, "wait "+idleWarned)
		if s.erased(u) {
			s.Fatal("removed too early")
		}
		s.wait(time.Minute)
		s.want(u, "remove*")
		if !s.erased(u) || s.goes()[u.ID] != "" {
			s.Error("not removed")
		}
		s.wait(100 * 365 * idleDay)
		s.want(boss, "keep "+idleAdministers)
		if s.erased(boss) || len(s.mails()) != 0 {
			s.Error("an administrator")
		}
		log, err := s.store.AuditEntries(s.Context(), 0, 1000)
		s.must(err)
		var said []string
		for _, e := range log {
			if e.Target == "user:"+u.ID && e.Actor == "system" && strings.HasPrefix(e.Action, "user.") {
				said = append(said, e.Action)
			}
		}
		if !slices.Contains(said, "user.idle") || !slices.Contains(said, "user.erase") {
			s.Errorf("audit: %v", said)
		}
		if n, broken, err := s.store.VerifyAudit(s.Context()); err != nil || broken != 0 {
			s.Error(n, broken, err)
		}
		s.must(s.store.CreateUser(s.Context(), &store.User{Email: u.Email}))
	})
}

// TestIdle_Kept: who holds more than the list says, could not be warned, or cannot sign in anyway is never removed, and hears nothing.
func TestIdle_Kept(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		ctx := s.Context()
		s.must(s.store.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "vip", Label: "VIP", Includes: store.Strings{"customer"}}))
		s.must(s.store.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "desk", Label: "Desk"}))
		s.must(s.store.SetPowers(ctx, "cli", map[string][]string{"desk": {"reset_user_mfa"}}))
		boss := s.user("admin")
		s.must(s.store.SetPassword(ctx, "cli", boss.ID, "x", false, ""))
		later, over := s.user(), s.user()
		s.must(s.store.Assign(ctx, "cli", &store.Assignment{UserID: later.ID, Privilege: "trainer", From: store.At(s.now().Add(5 * 365 * idleDay))}))
		s.must(s.store.Assign(ctx, "cli", &store.Assignment{UserID: over.ID, Privilege: "trainer", Until: store.At(s.now().Add(idleDay))}))
		typed := s.user()
		s.must(s.store.SetUserType(ctx, "cli", typed.ID, "900"))
		off := s.user()
		s.must(s.store.DisableUser(ctx, "cli", off.ID, ""))
		none, unproven, ended := s.user(), s.user(), s.user()
		none.Email, none.Username = "", "none"
		unproven.EmailVerifiedAt = store.Time{}
		ended.ValidUntil = store.At(s.now().Add(idleDay))
		for _, u := range []*store.User{none, unproven, ended} {
			s.must(s.store.UpdateUser(ctx, u))
		}
		odd := s.user()
		s.odd(odd)
		want := map[*store.User]string{odd: "keep " + idleType, boss: "keep " + idleAdministers, typed: "keep " + idleAdministers, s.user("desk"): "keep " + idleAdministers,
			s.user("trainer"): "keep holds trainer", s.user("vip"): "keep holds vip", s.user("developer", "customer"): "keep holds developer",
			later: "keep holds trainer", off: "", none: "keep " + idleNoAddress, unproven: "keep " + idleNoAddress, ended: "keep " + idleInactive,
			over: "warn*", s.user(): "warn*", s.user("customer"): "warn*"}
		s.wait(400 * idleDay)
		got := s.goes()
		for u, w := range want {
			if got[u.ID] != w {
				s.Errorf("%s: %q, want %q", u.Email, got[u.ID], w)
			}
		}
		s.deliver()
		s.wait(40 * idleDay)
		s.goes()
		for u, w := range want {
			if s.erased(u) != (w == "warn*") {
				s.Errorf("%s (%s): removed %v", u.Email, w, s.erased(u))
			}
		}
	})
}

// odd gives a person a user type that is not there, as only somebody in the database can.
func (s *idleSite) odd(u *store.User) {
	s.Helper()
	driver, dsn := "sqlite", strings.TrimPrefix(s.url, "sqlite:")+"?_pragma=busy_timeout(5000)"
	if s.store.Engine() == store.Postgres {
		driver, dsn = "pgx", s.url
	}
	db, err := sql.Open(driver, dsn)
	s.must(err)
	defer db.Close()
	r, err := db.ExecContext(s.Context(), `UPDATE users SET user_type = 'gone' WHERE id = '`+u.ID+`'`)
	s.must(err)
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		s.Fatal(n, err)
	}
}

// TestIdle_UseClears: whatever is use after the warning keeps the account, and the next time without use is warned of anew. Also where the
// session or the grant that knew of it is gone since.
func TestIdle_UseClears(t *testing.T) {
	t.Parallel()
	grant := func(s *idleSite, u *store.User) *store.Grant {
		g := &store.Grant{ID: "g" + u.ID, ClientID: "c", UserID: u.ID, Offline: true, RTGen: 1, Facts: "{}",
			RTExpiresAt: store.At(s.now().Add(500 * idleDay)), ExpiresAt: store.At(s.now().Add(500 * idleDay))}
		if _, err := s.store.CreateGrant(s.Context(), g); err != nil {
			s.Fatal(err)
		}
		return g
	}
	session := func(s *idleSite, u *store.User) *store.Session {
		n := &store.Session{ID: "n" + u.ID, UserID: u.ID, IdleMS: (500 * idleDay).Milliseconds(), ExpiresAt: store.At(s.now().Add(500 * idleDay))}
		s.must(s.store.CreateSession(s.Context(), n))
		return n
	}
	for name, c := range map[string]struct {
		before func(*idleSite, *store.User)
		use    func(*idleSite, *store.User)
	}{
		"a sign-in":   {nil, func(s *idleSite, u *store.User) { s.must(s.store.TouchLogin(s.Context(), u.ID, s.now())) }},
		"a new token": {nil, func(s *idleSite, u *store.User) { grant(s, u) }},
		"a refresh that rotates": {func(s *idleSite, u *store.User) { grant(s, u) }, func(s *idleSite, u *store.User) {
			if ok, err := s.store.RotateGrant(s.Context(), "g"+u.ID, 1, s.now(), s.now().Add(500*idleDay)); err != nil || !ok {
				s.Fatal(ok, err)
			}
		}},
		"a refresh that does not": {func(s *idleSite, u *store.User) { grant(s, u) }, func(s *idleSite, u *store.User) {
			if ok, err := s.store.ExtendGrant(s.Context(), "g"+u.ID, 1, s.now().Add(500*idleDay)); err != nil || !ok {
				s.Fatal(ok, err)
			}
		}},
		"a session seen": {func(s *idleSite, u *store.User) { session(s, u) }, func(s *idleSite, u *store.User) {
			s.must(s.store.TouchSession(s.Context(), "n"+u.ID, s.now()))
		}},
		"a session seen, signed out": {func(s *idleSite, u *store.User) { session(s, u) }, func(s *idleSite, u *store.User) {
			s.must(s.store.TouchSession(s.Context(), "n"+u.ID, s.now()))
			s.must(s.store.EndSession(s.Context(), "n"+u.ID, "signed out"))
		}},
		"a session seen, ended everywhere": {func(s *idleSite, u *store.User) { session(s, u) }, func(s *idleSite, u *store.User) {
			s.must(s.store.TouchSession(s.Context(), "n"+u.ID, s.now()))
			s.must(s.store.EndSessionsOf(s.Context(), u.ID, "", "signed out everywhere", true))
		}},
		"a session seen, its way in gone": {func(s *idleSite, u *store.User) { session(s, u) }, func(s *idleSite, u *store.User) {
			s.must(s.store.TouchSession(s.Context(), "n"+u.ID, s.now()))
			if _, err := s.store.EndForeignConnectors(s.Context(), []string{"password"}, "gone"); err != nil {
				s.Fatal(err)
			}
		}},
		"a refresh, then revoked": {func(s *idleSite, u *store.User) { grant(s, u) }, func(s *idleSite, u *store.User) {
			if ok, err := s.store.RotateGrant(s.Context(), "g"+u.ID, 1, s.now(), s.now().Add(500*idleDay)); err != nil || !ok {
				s.Fatal(ok, err)
			}
			if ok, err := s.store.RevokeGrant(s.Context(), "g"+u.ID, "revoked by the application"); err != nil || !ok {
				s.Fatal(ok, err)
			}
		}},
		"a session that is over": {nil, func(s *idleSite, u *store.User) {
			s.must(s.store.CreateSession(s.Context(), &store.Session{ID: "n" + u.ID, UserID: u.ID, IdleMS: 1, ExpiresAt: store.At(s.now().Add(1))}))
			s.wait(time.Second)
			s.purged(1)
		}},
		"a grant that is over": {nil, func(s *idleSite, u *store.User) {
			g := grant(s, u)
			g.ID, g.ExpiresAt = "h"+u.ID, store.At(s.now().Add(time.Second))
			if _, err := s.store.CreateGrant(s.Context(), g); err != nil {
				s.Fatal(err)
			}
			if ok, err := s.store.RevokeGrant(s.Context(), "g"+u.ID, "x"); err != nil || !ok {
				s.Fatal(ok, err)
			}
			s.wait(2 * time.Second)
			s.purged(1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachIdle(t, func(s *idleSite) {
				u := s.user()
				if c.before != nil {
					c.before(s, u)
				}
				s.wait(340 * idleDay)
				s.want(u, "warn*")
				s.deliver()
				s.wait(10 * idleDay)
				c.use(s, u)
				s.wait(40 * idleDay)
				s.want(u, "")
				if s.erased(u) {
					s.Fatal("removed")
				}
				s.wait(300 * idleDay)
				s.want(u, "warn*")
				s.deliver()
				s.wait(20 * idleDay)
				s.want(u, "wait "+idleWarned)
				s.wait(11 * idleDay)
				s.want(u, "remove*")
			})
		})
	}
}

// purged purges, and wants at least so many rows gone.
func (s *idleSite) purged(least int64) {
	s.Helper()
	n, err := s.store.Purge(s.Context())
	if err != nil || n < least {
		s.Fatal(n, err)
	}
}

// TestIdle_NoRemovalWithoutAWarning: a mail that was refused, or never left, is no warning; nor is one to an address that is another by now.
func TestIdle_NoRemovalWithoutAWarning(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		refused, stuck, moved := s.user(), s.user(), s.user()
		s.wait(1000 * idleDay)
		s.goes()
		for _, m := range s.mails() {
			switch m.Recipient {
			case refused.Email:
				s.must(s.store.MessageRefused(s.Context(), m.ID, "no such mailbox", 0))
			case moved.Email:
				s.must(s.store.MessageSent(s.Context(), m.ID))
			}
		}
		moved.Email = "other@example.com"
		s.must(s.store.UpdateUser(s.Context(), moved))
		s.want(refused, "wait "+idleUndelivered)
		s.want(stuck, "wait "+idleUnsent)
		if got := len(s.mails()); got != 4 {
			s.Errorf("%d mails; the new address is warned too", got)
		}
		s.wait(29 * idleDay)
		if _, err := s.store.ExpireMessages(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.want(stuck, "wait "+idleUndelivered)
		s.wait(2 * idleDay)
		got := s.goes()
		if got[refused.ID] != "warn*" || got[stuck.ID] != "warn*" || s.erased(moved) {
			s.Errorf("a month later: %v, %v", got, s.erased(moved))
		}
		// A warning gives its month from when it was sent, however late that was.
		s.wait(2 * idleDay)
		s.deliver()
		s.wait(29 * idleDay)
		s.want(stuck, "wait "+idleWarned)
		s.wait(idleDay)
		s.want(stuck, "remove*")
	})
}

// TestIdle_PromiseKept: when the operator shortens the warning, who was warned before goes not before the time in their mail.
func TestIdle_PromiseKept(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		u := s.user()
		s.wait(400 * idleDay)
		s.want(u, "warn*")
		s.deliver()
		s.run.policy.warnBefore = 7 * idleDay
		s.wait(29 * idleDay)
		s.want(u, "wait "+idleWarned)
		s.wait(idleDay)
		s.want(u, "remove*")
	})
}

// TestIdle_DryRun writes nothing and says the same as the run that follows; a run does no more than its share.
func TestIdle_DryRun(t *testing.T) {
	t.Parallel()
	eachIdle(t, func(s *idleSite) {
		for range 5 {
			s.user()
		}
		s.wait(400 * idleDay)
		s.run.most, s.run.dry = 3, true
		before := s.store.Counts()
		dry := s.goes()
		if after := s.store.Counts(); after.Writes != before.Writes || after.Transactions != before.Transactions || len(s.mails()) != 0 {
			s.Errorf("written: %+v, %+v", before, after)
		}
		s.run.dry = false
		real := s.goes()
		count := func(m map[string]string, what string) (n int) {
			for _, v := range m {
				if v == what {
					n++
				}
			}
			return n
		}
		if count(dry, "warn") != 3 || count(dry, "warn "+idleNextRun) != 2 || count(real, "warn*") != 3 || count(real, "warn "+idleNextRun) != 2 || len(s.mails()) != 3 {
			s.Errorf("%v\n%v", dry, real)
		}
		s.goes()
		s.deliver()
		s.wait(31 * idleDay)
		for _, want := range []int{3, 2, 0} {
			if got := count(s.goes(), "remove*"); got != want {
				s.Errorf("removed %d, want %d", got, want)
			}
		}
	})
}

// TestIdle_Off: without remove_after nothing is ever looked for.
func TestIdle_Off(t *testing.T) {
	t.Parallel()
	c := config.Default()
	if newIdlePolicy(c).on() {
		t.Error("on by default")
	}
	if _, err := (&Console{cfg: c}).Idle(t.Context(), "cli", true); !errors.Is(err, ErrIdleOff) {
		t.Error(err)
	}
}

// TestIdle_Loop: a running server does it by itself, once somebody asked for it.
func TestIdle_Loop(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := config.Default()
			c.Database.URL = config.NewDSN("sqlite:" + filepath.Join(t.TempDir(), "latchkey.db"))
			if on {
				c.Accounts.Idle.RemoveAfter, c.Accounts.Idle.WarnBefore = 4*time.Hour, 2*time.Hour
			}
			s, err := New(c, Options{Demo: true, Logger: slog.New(slog.DiscardHandler)}) // whose mail stays
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			u := &store.User{Email: "ana@example.com", EmailVerifiedAt: store.At(s.now())}
			if err := s.store.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			var loops sync.WaitGroup
			s.background(ctx, &loops)
			time.Sleep(3*time.Hour + time.Minute)
			list, err := s.store.Messages(t.Context(), 9)
			if err != nil || (len(list) == 1) != on {
				t.Errorf("on %v: %d mails, %v", on, len(list), err)
			}
			for _, m := range list {
				if err := s.store.MessageSent(t.Context(), m.ID); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(3 * time.Hour)
			got, err := s.store.User(t.Context(), u.ID)
			if err != nil || got.DeletedAt.IsZero() == on {
				t.Errorf("on %v: %+v %v", on, got, err)
			}
			stop()
			loops.Wait()
		})
	}
}
