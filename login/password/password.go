// Package password hashes and verifies passwords, and says which new ones are too easy.
//
// It owns the parameters of argon2id, the format hashes are kept in (PHC strings), the imported formats that are still verified, and
// the bounded pool that keeps hashing from eating the machine. It refuses parameters below OWASP's floor, passwords over 1024 bytes
// and work beyond the pool. It knows no users and no database, and imports nothing of ours.
//
//	password ─NFKC─▶ HMAC(pepper), if any ─▶ argon2id(salt) ─▶ $argon2id$v=19$m=19456,t=2,p=1[,keyid=ID]$salt$hash
package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Config of a Hasher; zero values are the defaults.
type Config struct {
	MemoryKiB, Time, Threads uint32            // argon2id; default 19456, 2, 1; below OWASP's floor New refuses
	Slots                    int               // hashes at once; default GOMAXPROCS
	Pepper                   []byte            // HMAC-SHA-256 key of at least 16 bytes, applied before hashing; nil = none
	PepperID                 string            // names Pepper in the hashes made with it: 1 to 32 letters, digits, . or -
	OldPeppers               map[string][]byte // by id: still verified, then hashed anew
	MinLength                int               // characters; default 12, floor 8
	Context                  []string          // words of the site that a password must not consist of

	// At least so many characters of each kind in a new password; 0 = none is asked for (SP 800-63B-4 §3.1.1.2 wants it so).
	Lowercase, Uppercase, Digits, Punctuation int
	// Breached says whether a new password is known from a breach (Range.Known); nil = nobody is asked. On an error the password is taken, and
	// Trouble, if any, hears of it.
	Breached func(ctx context.Context, pw string) (bool, error)
	Trouble  func(ctx context.Context, err error)
}

// MaxBytes is the longest password that is accepted. Nothing is ever cut.
const MaxBytes = 1024

const (
	saltBytes = 16
	keyBytes  = 32
	queueTime = 2 * time.Second
	// queueMost is how many callers wait for one slot: no more than it could serve in queueTime on a fast machine. Whoever comes after them would wait
	// for nothing, and is told at once.
	queueMost = 64
)

// ErrBusy: every slot stayed taken for two seconds, or too many wait already. 503 with Retry-After.
var ErrBusy = errors.New("password: too many sign-ins at once")

// Hasher hashes and verifies behind a pool of Slots; a caller waits at most 2 s, and not where too many wait, then ErrBusy.
type Hasher struct {
	c       Config
	want    params
	peppers map[string][]byte
	slots   chan struct{}
	waiting atomic.Int64
	dummy   phc
	words   *guesser
}

// New checks the configuration.
func New(c Config) (*Hasher, error) {
	if c.MemoryKiB == 0 && c.Time == 0 {
		c.MemoryKiB, c.Time = 19456, 2
	}
	if c.Threads == 0 {
		c.Threads = 1
	}
	if c.Slots == 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.MinLength == 0 {
		c.MinLength = 12
	}
	want := params{memory: c.MemoryKiB, time: c.Time, threads: c.Threads}
	switch {
	case !want.enough():
		return nil, fmt.Errorf("password: argon2id with %d KiB and %d passes is below OWASP's floor (19456 and 2, 47104 and 1, 12288 and 3, 9216 and 4, 7168 and 5)", c.MemoryKiB, c.Time)
	case !want.bearable():
		return nil, fmt.Errorf("password: argon2id with %d KiB, %d passes and %d threads is too much; at most %d, %d and %d", c.MemoryKiB, c.Time, c.Threads, maxMemory, maxTime, maxThreads)
	case c.Slots < 1:
		return nil, errors.New("password: Slots must be at least 1")
	case c.MinLength < 8:
		return nil, errors.New("password: MinLength must be at least 8")
	}
	peppers := map[string][]byte{}
	for id, key := range c.OldPeppers {
		peppers[id] = key
	}
	if len(c.Pepper) > 0 {
		peppers[c.PepperID] = c.Pepper
		want.keyID = c.PepperID
	}
	for id, key := range peppers {
		if !isKeyID(id) || len(key) < 16 {
			return nil, fmt.Errorf("password: pepper %q needs an id of 1 to 32 letters, digits, . or - and a key of at least 16 bytes", id)
		}
	}
	h := &Hasher{c: c, want: want, peppers: peppers, slots: make(chan struct{}, c.Slots), words: &guesser{}}
	// What is verified when there is no hash. The key is no hash of anything, so nothing matches it.
	h.dummy = phc{params: want, salt: random(saltBytes), key: random(keyBytes)}
	return h, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

// MinLength is how many characters a new password needs, for the hint beside the field.
func (h *Hasher) MinLength() int { return h.c.MinLength }

// Hash makes a PHC string with a new salt. Call Check first: Hash refuses only what it cannot take.
func (h *Hasher) Hash(ctx context.Context, pw string) (string, error) {
	if !fits(pw) {
		return "", errors.New("password: must have 1 to 1024 bytes")
	}
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	p := phc{params: h.want, salt: random(saltBytes)}
	p.key = p.derive(h.c.Pepper, pw, keyBytes)
	return p.String(), nil
}

// Verify: phc "" verifies against a dummy, with the same work, and is never ok. stale = ok, and should be hashed anew.
// The error says that nobody knows: ErrBusy, or a hash that cannot be read.
func (h *Hasher) Verify(ctx context.Context, phc, pw string) (ok, stale bool, err error) {
	if !fits(pw) {
		return false, false, nil // for everybody alike, before anything differs
	}
	if err := h.enter(ctx); err != nil {
		return false, false, err
	}
	defer h.leave()
	if verify := imported(phc); verify != nil {
		ok, err = verify(phc, pw)
		return ok, ok, err
	}
	p, pepper := h.dummy, h.c.Pepper
	if phc != "" {
		if p, err = parsePHC(phc); err != nil {
			return false, false, err
		}
		if pepper = h.peppers[p.keyID]; p.keyID != "" && pepper == nil {
			return false, false, fmt.Errorf("password: the pepper %q of this hash is not configured", p.keyID)
		}
		if p.keyID == "" {
			pepper = nil
		}
	}
	ok = subtle.ConstantTimeCompare(p.derive(pepper, pw, uint32(len(p.key))), p.key) == 1 && phc != ""
	return ok, ok && (p.params != h.want || len(p.salt) < saltBytes || len(p.key) < keyBytes), nil
}

// fits says whether pw is something that is hashed at all.
func fits(pw string) bool { return pw != "" && len(pw) <= MaxBytes }

// derive does the work. NFKC makes what looks the same the same, whichever keyboard typed it (SP 800-63B §3.1.1.2).
func (p *phc) derive(pepper []byte, pw string, n uint32) []byte {
	in := norm.NFKC.Bytes([]byte(pw))
	if pepper != nil {
		mac := hmac.New(sha256.New, pepper)
		mac.Write(in)
		in = mac.Sum(nil)
	}
	return argon2.IDKey(in, p.salt, p.time, p.memory, uint8(p.threads), n)
}

// enter takes a slot. Memory is bounded by slots: nobody hashes without one (security.md F3).
func (h *Hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(queueMost*cap(h.slots)) {
		return ErrBusy
	}
	t := time.NewTimer(queueTime)
	defer t.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-t.C:
		return ErrBusy
	case <-ctx.Done():
		return fmt.Errorf("password: %w", ctx.Err())
	}
}

func (h *Hasher) leave() { <-h.slots }

// InUse returns how many hashes are being made now, and how many may be at once: a gauge for metrics.
func (h *Hasher) InUse() (busy, slots int) { return len(h.slots), cap(h.slots) }
