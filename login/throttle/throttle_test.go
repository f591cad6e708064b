package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// clock is a time that tests move. The store adds how far it is off the database's, once, so steps stay as long.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.at.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.at.Add(d.Milliseconds()) }

func limiter(t testing.TB, s *store.Store) *Limiter {
	t.Helper()
	l, err := New(Config{Store: s, Key: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func each(t *testing.T, f func(t *testing.T, l *Limiter, c *clock, s *store.Store)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := storetest.OpenWith(t, engine, store.Config{Now: c.now})
			f(t, limiter(t, s), c, s)
		})
	}
}

func at(account, ip, device string) Attempt {
	return Attempt{Account: account, IP: netip.MustParseAddr(ip), Device: device}
}

func check(t testing.TB, l *Limiter, a Attempt) time.Duration {
	t.Helper()
	wait, err := l.Check(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func fail(t testing.TB, l *Limiter, a Attempt) {
	t.Helper()
	if wait := check(t, l, a); wait != 0 {
		t.Fatalf("a wait of %v", wait)
	}
	if err := l.Failed(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

func succeed(t testing.TB, l *Limiter, a Attempt) {
	t.Helper()
	if err := l.Succeeded(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

// lock is the usual one.
const lock = 15 * time.Minute

var usual = limits{5, 10, lock}

// The numbers, as a table.
func TestDelays(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		delay func(int64) time.Duration
		want  map[int64]time.Duration
	}{
		{"lane", usual.lane, map[int64]time.Duration{0: 0, 4: 0, 5: time.Second, 6: 2 * time.Second, 9: 16 * time.Second, 10: lock, 1 << 40: lock}},
		{"account", usual.account, map[int64]time.Duration{0: 0, 9: 0, 10: time.Second, 100: lock, 101: lock, 1 << 40: lock}},
		{"strict lane", limits{1, 2, time.Minute}.lane, map[int64]time.Duration{0: 0, 1: time.Second, 2: time.Minute}},
		{"lenient lane", limits{50, 100, time.Minute}.lane, map[int64]time.Duration{49: 0, 50: time.Second, 60: time.Minute, 99: time.Minute}},
		{"network", usual.network, map[int64]time.Duration{0: 0, 99: 0, 100: time.Second, 200: lock}},
	} {
		for n, want := range tc.want {
			if got := tc.delay(n); got != want {
				t.Errorf("%s after %d: %v, want %v", tc.name, n, got, want)
			}
		}
		for n, last := int64(0), time.Duration(0); n < 300; n++ {
			d := tc.delay(n)
			if d < last || d > lock {
				t.Errorf("%s after %d: %v after %v", tc.name, n, d, last)
			}
			last = d
		}
	}
}

// F5: delays from the fifth failure on, a soft lock from the tenth, and it ends.
func TestSec_F5_OneAfterTheOther(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		a := at("u1", "203.0.113.7", "")
		for range 5 {
			fail(t, l, a)
		}
		for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second} {
			for range 3 { // asking does not make it longer
				if got := check(t, l, a); got != want {
					t.Fatalf("wait %v, want %v", got, want)
				}
			}
			c.forward(want - time.Millisecond)
			if check(t, l, a) == 0 {
				t.Fatal("let through early")
			}
			c.forward(time.Millisecond)
			fail(t, l, a)
		}
		if got := check(t, l, a); got != lock {
			t.Fatalf("after ten: %v", got)
		}
		// The same network, written differently; another account; another network.
		if check(t, l, at("u1", "203.0.113.200", "")) == 0 || check(t, l, at("u1", "::ffff:203.0.113.9", "")) == 0 {
			t.Error("a neighbour's address evades the lock")
		}
		if check(t, l, at("u2", "203.0.113.7", "")) != 0 || check(t, l, at("u1", "198.51.100.7", "")) > time.Second {
			t.Error("the lock reaches further than account and network; elsewhere the account is only slowed")
		}
		c.forward(lock)
		fail(t, l, a) // one try for each lock
		if check(t, l, a) != lock {
			t.Error("a second try after the lock")
		}
		c.forward(lock)
		if check(t, l, a) != 0 {
			t.Fatal("the lock did not end")
		}
		succeed(t, l, a)
		for range 5 {
			fail(t, l, a)
		}
	})
}

func TestIPv6Networks(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]string{
		"2001:db8:1:2ff:3::4": "2001:db8:1:200::/56", "2001:db8:1:300::1": "2001:db8:1:300::/56", "203.0.113.9": "203.0.113.0/24", "::ffff:203.0.113.9": "203.0.113.0/24", "fe80::1%eth0": "fe80::/56",
	} {
		if got := network(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if network(netip.Addr{}) != "none" {
		t.Error("no address is no network")
	}
}

// F5: 8 times 50 guesses side by side, all at one account: exactly as many are checked as may be, on one limiter or two.
func TestSec_F5_ParallelGuesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, s *store.Store) {
		second := limiter(t, s) // as another process would have
		guess := func(attempt func(set, i int) Attempt) int64 {
			var checked atomic.Int64
			var all sync.WaitGroup
			for set := range 8 {
				all.Go(func() {
					for i := range 50 {
						which := l
						if i%2 == 1 {
							which = second
						}
						a := attempt(set, i)
						wait, err := which.Check(t.Context(), a)
						if err == nil && wait == 0 {
							checked.Add(1)
							err = which.Failed(t.Context(), a)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			return checked.Load()
		}
		if n := guess(func(int, int) Attempt { return at("u1", "203.0.113.7", "") }); n != 5 {
			t.Errorf("from one network: %d checked, want 5", n)
		}
		// From 400 networks: the account's own counter.
		if n := guess(func(set, i int) Attempt { return at("u2", fmt.Sprintf("10.%d.%d.1", set, i), "") }); n != 10 {
			t.Errorf("from everywhere: %d checked, want 10", n)
		}
		// Again and again: at most one for each time a delay has passed.
		total := int64(0)
		for range 10 {
			c.forward(lock)
			total += guess(func(set, i int) Attempt { return at("u2", fmt.Sprintf("10.%d.%d.1", set, i), "") })
		}
		if total > 10 {
			t.Errorf("%d checked in 10 rounds", total)
		}
	})
}

// F6: an attacker floods from everywhere; the owner's own devices keep their lane, and a stranger's device gets none.
func TestSec_F6_KnownDevice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		owner := at("boss", "203.0.113.7", "device-of-the-boss")
		fail(t, l, owner)
		if check(t, l, owner) != 0 {
			t.Fatal("a second try")
		}
		succeed(t, l, owner)
		for i := range 200 {
			a := at("boss", fmt.Sprintf("10.0.%d.1", i), "device-of-the-attacker")
			if wait, err := l.Check(t.Context(), a); err != nil {
				t.Fatal(err)
			} else if wait == 0 {
				_ = l.Failed(t.Context(), a)
			}
		}
		for range 12 { // and from the owner's network
			a := at("boss", "203.0.113.8", "")
			if wait, err := l.Check(t.Context(), a); err != nil {
				t.Fatal(err)
			} else if wait == 0 {
				_ = l.Failed(t.Context(), a)
			}
		}
		if check(t, l, at("boss", "192.0.2.1", "")) == 0 || check(t, l, at("boss", "192.0.2.1", "device-of-the-attacker")) == 0 {
			t.Error("the flood is not slowed down")
		}
		if wait := check(t, l, owner); wait != 0 {
			t.Errorf("the owner must wait %v", wait)
		}
		if wait := check(t, l, at("boss", "198.51.100.1", owner.Device)); wait != 0 {
			t.Errorf("the owner must wait %v elsewhere", wait)
		}
		succeed(t, l, owner)
		if check(t, l, at("boss", "192.0.2.1", "")) == 0 {
			t.Error("the owner's sign-in gave the attacker new tries")
		}
		// The device is the owner's for this account only, and its lane is as narrow as any.
		if check(t, l, at("boss", "192.0.2.1", "device-of-the-boss-not")) == 0 {
			t.Error("any device will do")
		}
		for range 5 {
			fail(t, l, owner)
		}
		if check(t, l, owner) == 0 {
			t.Error("a known device may guess for ever")
		}
		c.forward(deviceLife + time.Hour)
		for range 5 {
			fail(t, l, at("boss", "203.0.113.7", ""))
		}
		if check(t, l, owner) == 0 {
			t.Error("a device is known for ever")
		}
	})
}

// Many accounts from one network.
func TestSec_F5_Stuffing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		for i := range 100 {
			fail(t, l, at(fmt.Sprint("u", i), "203.0.113.7", ""))
		}
		if check(t, l, at("fresh", "203.0.113.77", "")) == 0 {
			t.Error("stuffing goes on")
		}
		if check(t, l, at("fresh", "203.0.114.1", "")) != 0 {
			t.Error("another network is slowed down")
		}
		c.forward(time.Hour)
		if check(t, l, at("fresh", "203.0.113.77", "")) != 0 {
			t.Error("the network is not forgotten")
		}
	})
}

// F7: attempts are never free: a store that does not count refuses, and a transaction that is rolled back took nothing with it.
func TestSec_F7_FailClosed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, _ *clock, s *store.Store) {
		a := at("u1", "203.0.113.7", "d")
		if err := s.Tx(t.Context(), func(ctx context.Context) error {
			_, err := l.Check(ctx, a)
			return err
		}); err == nil {
			t.Error("a try was counted in a transaction that may be rolled back")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Check(ctx, a); err == nil {
			t.Error("not counted, and let through")
		}
		if err := l.Failed(ctx, a); err == nil {
			t.Error("not counted, and no error")
		}
		// The crash after Check: the try stays counted.
		for range 5 {
			if check(t, l, a) != 0 {
				t.Fatal("wait")
			}
		}
		if check(t, l, a) == 0 {
			t.Error("tries that were never reported are free")
		}
	})
}

func TestSec_F7_Unavailable(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := limiter(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Check(t.Context(), at("u1", "203.0.113.7", "")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a database: %v", err)
	}
}

// H1: what is kept names nobody.
func TestCountersNameNobody(t *testing.T) {
	t.Parallel()
	l := &Limiter{key: []byte("0123456789abcdef0123456789abcdef")}
	other := &Limiter{key: []byte("0123456789abcdef0123456789abcdeg")}
	a := at("alice@example.com", "203.0.113.7", "dev")
	k := l.keys(a)
	seen := map[string]bool{}
	for _, key := range []string{k.pair, k.account, k.network, k.device, k.known} {
		if seen[key] || len(key) != 64 || strings.Contains(key, "alice") {
			t.Errorf("key %s", key)
		}
		seen[key] = true
	}
	if k == other.keys(a) {
		t.Error("the keys do not depend on the secret")
	}
	if l.mac("pair", "a", "bc") == l.mac("pair", "ab", "c") || l.mac("pair", "a", "b") == l.mac("pair", "a\x00b") {
		t.Error("two attempts share a counter")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Key: make([]byte, 32)}); err == nil {
		t.Error("no store")
	}
	if _, err := New(Config{Store: new(store.Store), Key: make([]byte, 31)}); err == nil {
		t.Error("short key")
	}
}

// TestMessage: to one address and from one network only so many, whoever asks; waiting gives the next one; nothing is given back.
// TestAsk: ten, then none until a day has passed, and nobody else waits for it; of many at once no more than ten.
func TestAsk(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		ask := func(who string) time.Duration {
			t.Helper()
			wait, err := l.Ask(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		for i := range 10 {
			if wait := ask("ada"); wait != 0 {
				t.Errorf("request %d waits %s", i+1, wait)
			}
			c.forward(time.Minute)
		}
		if wait := ask("ada"); wait != 24*time.Hour-time.Minute {
			t.Errorf("the eleventh waits %s", wait)
		}
		c.forward(24*time.Hour - time.Minute - time.Millisecond)
		if wait := ask("ada"); wait != time.Millisecond {
			t.Errorf("a moment before: %s", wait)
		}
		if ask("bob") != 0 {
			t.Error("somebody else waits")
		}
		c.forward(time.Millisecond)
		if ask("ada") != 0 {
			t.Error("waits after a day")
		}
		var free atomic.Int64
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if wait, err := l.Ask(t.Context(), "eve"); err == nil && wait == 0 {
					free.Add(1)
				}
			})
		}
		wg.Wait()
		if n := free.Load(); n > 10 || n == 0 {
			t.Errorf("%d of 30 at once", n)
		}
	})
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		ask := func(ip string) time.Duration {
			t.Helper()
			wait, err := l.Challenge(t.Context(), netip.MustParseAddr(ip))
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		for i := range 300 {
			if wait := ask("192.0.2.1"); wait != 0 {
				t.Fatalf("challenge %d waits %s", i+1, wait)
			}
		}
		if wait := ask("192.0.2.9"); wait != time.Second {
			t.Errorf("the next of the network waits %s", wait)
		}
		if ask("198.51.100.1") != 0 {
			t.Error("another network waits")
		}
		c.forward(time.Second)
		if first, second := ask("192.0.2.1"), ask("192.0.2.1"); first != 0 || second != time.Second {
			t.Errorf("a second later: %s, %s", first, second)
		}
		c.forward(time.Minute)
		if first, second := ask("192.0.2.1"), ask("192.0.2.1"); first != 0 || second != 0 {
			t.Errorf("after a quiet minute: %s, %s", first, second)
		}
	})
}

func TestMessage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *Limiter, c *clock, _ *store.Store) {
		send := func(to, ip string) time.Duration {
			t.Helper()
			wait, err := l.Message(t.Context(), at(to, ip, ""))
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		for i := range 5 {
			if wait := send("a", fmt.Sprintf("10.0.%d.1", i)); wait != 0 {
				t.Errorf("mail %d waits %s", i+1, wait)
			}
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			want *= time.Minute
			if wait := send("a", "10.1.0.1"); wait != want {
				t.Errorf("waits %s, want %s", wait, want)
			}
			c.forward(want - time.Millisecond)
			if wait := send("a", "10.1.0.1"); wait != time.Millisecond {
				t.Errorf("a moment before: %s", wait)
			}
			c.forward(time.Millisecond)
			if wait := send("a", "10.1.0.1"); wait != 0 {
				t.Errorf("after its time: %s", wait)
			}
		}
		if send("b", "10.1.0.1") != 0 {
			t.Error("another address waits")
		}
		if err := l.Succeeded(t.Context(), at("a", "10.1.0.1", "")); err != nil {
			t.Fatal(err)
		}
		if send("a", "10.1.0.1") == 0 {
			t.Error("a success gave mails back")
		}
		for i := range 50 {
			if wait := send(fmt.Sprint("n", i), "10.2.0.1"); wait != 0 {
				t.Fatalf("mail %d of a network waits %s", i+1, wait)
			}
		}
		if send("n50", "10.2.0.99") == 0 || send("n50", "10.3.0.1") != 0 {
			t.Error("the network's limit is not the network's")
		}
	})
}
