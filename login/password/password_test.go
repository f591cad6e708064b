package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cheap is the least New accepts, so that tests hash quickly.
func cheap(t testing.TB, change func(*Config)) *Hasher {
	t.Helper()
	c := Config{MemoryKiB: 7168, Time: 5}
	if change != nil {
		change(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t testing.TB, h *Hasher, phc, pw string) (ok, stale bool) {
	t.Helper()
	ok, stale, err := h.Verify(t.Context(), phc, pw)
	if err != nil {
		t.Fatal(err)
	}
	return ok, stale
}

// F1: hashes made elsewhere with the same parameters are ours too. The argon2id line is from the reference implementation's test.c,
// the bcrypt ones from Openwall's crypt_blowfish.
func TestSec_F1_GoldenVectors(t *testing.T) {
	t.Parallel()
	h := cheap(t, func(c *Config) { c.OldPeppers = map[string][]byte{"k1": []byte("0123456789abcdef0123456789abcdef")} })
	for _, tc := range []struct{ phc, pw string }{
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"},
		{goldenPeppered, "correct horse battery staple"},
		// By Python's hashlib, in the form of Django's PBKDF2PasswordHasher (R186).
		{"pbkdf2_sha256$1000$seasalt$JgZryXe2Ga8ysg6XbzkLpTdyPQrHqsinbL9BnnhgX4A=", "lètmein"},
		{"pbkdf2_sha256$600000$Zq1uC8aO0wbK$7R6GilyiHbUexnbqTjXOxbFT+yz1IWozyzmL+9l2JJE=", "correct horse battery staple"},
	} {
		ok, stale := verify(t, h, tc.phc, tc.pw)
		if !ok || !stale {
			t.Errorf("%s: ok %v, stale %v", tc.phc, ok, stale)
		}
		if ok, stale := verify(t, h, tc.phc, tc.pw+"x"); ok || stale {
			t.Errorf("%s: a wrong password is ok %v, stale %v", tc.phc, ok, stale)
		}
	}
}

// goldenPeppered was made by this package with pepper k1 of the test above. It guards the order of normalisation, HMAC and hash: were
// it to change, every stored password would stop working.
const goldenPeppered = "$argon2id$v=19$m=7168,t=5,p=1,keyid=k1$AAECAwQFBgcICQoLDA0ODw$6sbYAKtsOpLiH53nDnBgr7jV0VFmw4HBmC95XluX468"

func TestSec_F1_NothingIsCut(t *testing.T) {
	t.Parallel()
	h := cheap(t, nil)
	long := strings.Repeat("a", 72)
	for _, tc := range []struct{ pw, other string }{
		{long + "b", long + "c"}, // byte 73
		{long + "\x00b", long + "\x00c"},
		{strings.Repeat("x", MaxBytes-1) + "y", strings.Repeat("x", MaxBytes-1) + "z"},
		{"password", "password "},
		{" password", "password"},
		{"Password", "password"},
	} {
		phc, err := h.Hash(t.Context(), tc.pw)
		if err != nil {
			t.Fatal(err)
		}
		if ok, stale := verify(t, h, phc, tc.pw); !ok || stale {
			t.Errorf("%.20q…: ok %v, stale %v", tc.pw, ok, stale)
		}
		if ok, _ := verify(t, h, phc, tc.other); ok {
			t.Errorf("%.20q… passes for %.20q…", tc.other, tc.pw)
		}
	}
	for _, pw := range []string{"", strings.Repeat("x", MaxBytes+1)} {
		if _, err := h.Hash(t.Context(), pw); err == nil {
			t.Errorf("%d bytes were hashed", len(pw))
		}
		if ok, _ := verify(t, h, "", pw); ok {
			t.Errorf("%d bytes verify", len(pw))
		}
	}
}

func TestSec_F1_Normalisation(t *testing.T) {
	t.Parallel()
	h := cheap(t, nil)
	phc, err := h.Hash(t.Context(), "caf\u00e9 \ufb01sh \u2460")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := verify(t, h, phc, "cafe\u0301 fish 1"); !ok {
		t.Error("what looks the same differs")
	}
}

func TestSec_F1_Floor(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{
		{MemoryKiB: 19456, Time: 1}, {MemoryKiB: 19455, Time: 2}, {MemoryKiB: 47103, Time: 1}, {MemoryKiB: 12287, Time: 3}, {MemoryKiB: 9215, Time: 4}, {MemoryKiB: 7167, Time: 5}, {MemoryKiB: 7167, Time: 20},
		{MemoryKiB: 19456}, {Time: 3}, {MemoryKiB: 8, Time: 20}, {MemoryKiB: 1 << 20, Time: 2}, {MemoryKiB: 19456, Time: 200}, {Threads: 17}, {Slots: -1}, {MinLength: 7},
		{Pepper: []byte("short"), PepperID: "k1"}, {Pepper: make([]byte, 32)}, {Pepper: make([]byte, 32), PepperID: "a$b"}, {OldPeppers: map[string][]byte{"": make([]byte, 32)}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for _, c := range []Config{{}, {MemoryKiB: 19456, Time: 2}, {MemoryKiB: 47104, Time: 1}, {MemoryKiB: 12288, Time: 3}, {MemoryKiB: 9216, Time: 4}, {MemoryKiB: 7168, Time: 5}, {MemoryKiB: 65536, Time: 3, Threads: 4}, {MinLength: 8}} {
		if _, err := New(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPepper(t *testing.T) {
	t.Parallel()
	pepper := func(id string, old map[string][]byte) *Hasher {
		return cheap(t, func(c *Config) {
			c.OldPeppers = old
			if id != "" {
				c.Pepper, c.PepperID = []byte(strings.Repeat(id, 16)), id
			}
		})
	}
	none, first := pepper("", nil), pepper("k1", nil)
	second := pepper("k2", map[string][]byte{"k1": []byte(strings.Repeat("k1", 16))})
	phc, err := first.Hash(t.Context(), "secret")
	if err != nil || !strings.Contains(phc, ",keyid=k1$") {
		t.Fatalf("%s: %v", phc, err)
	}
	plain, err := none.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		h     *Hasher
		phc   string
		stale bool
	}{
		"the same": {first, phc, false}, "a newer": {second, phc, true}, "one now": {first, plain, true}, "none": {none, plain, false},
	} {
		if ok, stale := verify(t, tc.h, tc.phc, "secret"); !ok || stale != tc.stale {
			t.Errorf("%s: ok %v, stale %v", name, ok, stale)
		}
	}
	if ok, _, err := none.Verify(t.Context(), phc, "secret"); ok || err == nil {
		t.Errorf("a pepper that is not configured: ok %v, %v", ok, err)
	}
	// A hash whose keyid was struck out in the database is another hash.
	if ok, _ := verify(t, first, strings.Replace(phc, ",keyid=k1", "", 1), "secret"); ok {
		t.Error("the pepper can be struck out")
	}
}

// F2: what is stale, and that a wrong password never is.
func TestSec_F2_Stale(t *testing.T) {
	t.Parallel()
	weak, strong := cheap(t, nil), cheap(t, func(c *Config) { c.MemoryKiB, c.Time = 9216, 4 })
	phc, err := weak.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	if ok, stale := verify(t, strong, phc, "secret"); !ok || !stale {
		t.Errorf("older parameters: ok %v, stale %v", ok, stale)
	}
	if ok, stale := verify(t, strong, phc, "wrong"); ok || stale {
		t.Errorf("a failure: ok %v, stale %v", ok, stale)
	}
	if ok, stale := verify(t, weak, phc, "secret"); !ok || stale {
		t.Errorf("the same parameters: ok %v, stale %v", ok, stale)
	}
}

func TestSaltsDiffer(t *testing.T) {
	t.Parallel()
	h := cheap(t, nil)
	a, _ := h.Hash(t.Context(), "secret")
	b, _ := h.Hash(t.Context(), "secret")
	if a == b || a == "" {
		t.Errorf("%s and %s", a, b)
	}
	p, err := parsePHC(a)
	if err != nil || len(p.salt) != 16 || len(p.key) != 32 {
		t.Errorf("salt %d, key %d: %v", len(p.salt), len(p.key), err)
	}
}

func TestBrokenHashes(t *testing.T) {
	t.Parallel()
	h := cheap(t, nil)
	for _, phc := range []string{
		"x", "$", "$argon2id$", "$argon2i$v=19$m=7168,t=5,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw", "$2a$", "$2a$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2a$05$short", "$argon2id$v=19$m=4194304,t=5,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw", "plain text password", "$pbkdf2-sha256$1$x$y",
	} {
		ok, stale, err := h.Verify(t.Context(), phc, "x")
		if ok || stale || err == nil || strings.Contains(err.Error(), phc) && len(phc) > 1 {
			t.Errorf("%q: ok %v, %v", phc, ok, err)
		}
	}
}

// F8: without a hash the work is the same and the answer no. Not parallel: it compares times, of runs that take turns.
func TestSec_F8_DummyHash(t *testing.T) {
	h := cheap(t, nil)
	phc, err := h.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	with, without := time.Hour, time.Hour
	for range 12 {
		for stored, best := range map[string]*time.Duration{phc: &with, "": &without} {
			start := time.Now()
			if ok, _ := verify(t, h, stored, "wrong"); ok {
				t.Error("ok")
			}
			*best = min(*best, time.Since(start))
		}
	}
	if ratio := float64(with) / float64(without); ratio < 0.6 || ratio > 1.7 {
		t.Errorf("%v with a hash, %v without", with, without)
	}
}

// F3: no more work at once than slots, two seconds in the queue, then busy.
func TestSec_F3_QueueTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := cheap(t, func(c *Config) { c.Slots = 1 })
		h.slots <- struct{}{} // a hash that takes for ever
		var busy, atOnce atomic.Int64
		start := time.Now()
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				_, err := h.Hash(t.Context(), "secret")
				switch waited := time.Since(start); {
				case errors.Is(err, ErrBusy) && waited == queueTime:
					busy.Add(1)
				case errors.Is(err, ErrBusy) && waited == 0:
					atOnce.Add(1)
				}
			})
		}
		all.Wait()
		if busy.Load() != queueMost || atOnce.Load() != 500-queueMost {
			t.Errorf("of 500, %d were told after two seconds and %d at once", busy.Load(), atOnce.Load())
		}
		// Whoever hangs up stops waiting, and is not told that the server is busy.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := h.Verify(ctx, "", "secret"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBusy) {
			t.Errorf("hung up: %v", err)
		}
		<-h.slots
		if _, err := h.Hash(t.Context(), "secret"); err != nil {
			t.Errorf("after the jam: %v", err)
		}
	})
}

func TestSec_F3_MemoryIsBounded(t *testing.T) {
	h := cheap(t, func(c *Config) { c.MemoryKiB, c.Time, c.Slots = 19456, 2, 2 })
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() { _, _, _ = h.Verify(t.Context(), "", "secret") }) // some are told to come back
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	most, inUse := uint64(0), 0
	for {
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
		busy, _ := h.InUse()
		inUse = max(inUse, busy)
		select {
		case <-done:
			if grown := int64(most) - int64(before.HeapInuse); grown > 256<<20 {
				t.Errorf("%d MiB more", grown>>20)
			}
			if inUse > 2 {
				t.Errorf("%d at once", inUse)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	for _, s := range []string{
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", goldenPeppered, "$argon2id$v=19$m=07168,t=5,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw",
		"$argon2id$v=19$m=7168,t=5,p=1,keyid=$$", "$argon2id$v=19$m=10,t=1,p=1$00000000000$0000000000000\r0000000000", "$2a$05$x", "$$$$$", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Fatalf("%q is read as %q", s, p.String())
		}
		if !p.bearable() || len(p.salt) < 8 || len(p.key) < 16 {
			t.Fatalf("%q was accepted", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = h.Verify(b.Context(), "", "secret")
	}
}
