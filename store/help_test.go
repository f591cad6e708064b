package store_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// clock is a time that tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) Now() time.Time                { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *clock) Add(d time.Duration)           { c.ms.Add(d.Milliseconds()) }
func (c *clock) In(d time.Duration) store.Time { return store.At(c.Now().Add(d)) }

// eachClock is storetest.Each with a clock of the test's own.
func eachClock(t *testing.T, f func(t *testing.T, s *store.Store, c *clock)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			f(t, storetest.OpenWith(t, engine, store.Config{Now: c.Now}), c)
		})
	}
}

func is(t testing.TB, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, got, want T, what string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// user makes an active account that holds privileges, given by the operator.
func user(t testing.TB, s *store.Store, privileges ...string) *store.User {
	t.Helper()
	u := &store.User{Username: "u" + id()}
	must(t, s.CreateUser(t.Context(), u))
	for _, p := range privileges {
		must(t, s.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: p}))
	}
	return u
}

// admin makes an administrator who can sign in.
func admin(t testing.TB, s *store.Store) *store.User {
	t.Helper()
	u := user(t, s, "user", "admin")
	must(t, s.SetPassword(t.Context(), "cli", u.ID, "$argon2id$", false, ""))
	return u
}

func whole(t testing.TB, s *store.Store) {
	t.Helper()
	n, broken, err := s.VerifyAudit(t.Context())
	must(t, err)
	if n == 0 || broken != 0 {
		t.Errorf("audit: %d entries, broken at %d", n, broken)
	}
}

var errStop = errors.New("stop")
