// Package throttle slows down the guessing of passwords and codes.
//
// It owns the numbers and the counters: how many tries an account stands, from where, and how long to wait for the next. It refuses
// before a password is hashed, and counts a try before it is made, in a statement that commits on its own: guesses that run side by
// side cannot pass together, and no rollback makes one free. It never locks for good, and never locks an owner out from a device they
// signed in with before.
//
//	Check ─▶ known device? ─┬─ yes: its own lane ───────────────────▶ wait, or count and go
//	                        └─ no:  (account, network), account, network ▶ wait, or count and go
//	then Failed or Succeeded
package throttle

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// Config of a Limiter.
type Config struct {
	Store *store.Store
	Key   []byte           // 32 bytes: account names and addresses are kept as HMACs only
	Now   func() time.Time // nil = the store's clock, which all processes share (security.md J6)

	// One account from one network: the failure from which on each further try waits longer, and the one from which on tries are refused
	// for LockFor. What an account stands from everywhere, and a network for all accounts, follows from them. Zero: 5, 10, 15 minutes.
	DelayAfter, LockAfter int
	LockFor               time.Duration
}

// Limiter decides whether a try may be made.
type Limiter struct {
	store  *store.Store
	key    []byte
	now    func() time.Time
	limits limits
}

// Attempt is one try.
type Attempt struct {
	// Account is the user's id, whichever name was typed; for a name nobody has, a canonical form of it with a prefix that no id has.
	Account string
	IP      netip.Addr
	Device  string // what tells this browser from others (session.Manager.FlowBinding); "" = unknown
}

// New checks the configuration.
func New(c Config) (*Limiter, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("throttle: Store is required")
	case len(c.Key) < 32:
		return nil, errors.New("throttle: Key needs 32 bytes")
	}
	if c.Now == nil {
		c.Now = c.Store.Clock
	}
	n := limits{int64(cmp.Or(c.DelayAfter, 5)), int64(cmp.Or(c.LockAfter, 10)), cmp.Or(c.LockFor, 15*time.Minute)}
	if n.delayAfter < 1 || n.lockAfter <= n.delayAfter || n.lockAfter > 100 || n.lock < time.Minute {
		return nil, errors.New("throttle: the numbers do not rise")
	}
	return &Limiter{store: c.Store, key: c.Key, now: c.Now, limits: n}, nil
}

// How long a device is known after a sign-in from it.
const deviceLife = 180 * 24 * time.Hour

// Check says whether this try may be made. wait > 0: not now, and not for so long; nothing may be hashed. wait 0: the try is counted,
// and whoever asked makes it and reports Failed or Succeeded. An error refuses too: attempts are never free (security.md F7).
func (l *Limiter) Check(ctx context.Context, a Attempt) (wait time.Duration, err error) {
	k := l.keys(a)
	known := false
	if a.Device != "" {
		if known, err = l.store.Marked(ctx, k.known); err != nil {
			return 0, fmt.Errorf("throttle: %w", err)
		}
	}
	return l.take(ctx, l.limits.rules(k, known))
}

// Message says whether a message may go to a.Account, an address or a number, for somebody at a.IP. As with Check, wait 0 means that it is
// counted; nothing gives it back, as what it costs is being sent.
func (l *Limiter) Message(ctx context.Context, a Attempt) (wait time.Duration, err error) {
	return l.take(ctx, []rule{
		{l.mac("message-to", a.Account), 24 * time.Hour, true, messageTo},
		{l.mac("message-from", network(a.IP)), time.Hour, true, messageFrom},
	})
}

// Challenge says whether somebody at ip may be given one more challenge for a passkey, each of which is a row until it is over. As with Message, wait 0
// means that it is counted.
func (l *Limiter) Challenge(ctx context.Context, ip netip.Addr) (wait time.Duration, err error) {
	return l.take(ctx, []rule{{l.mac("challenge", network(ip)), challengeWindow, true, challenges}})
}

// Ask says whether a person may ask for one more privilege. As with Message, wait 0 means that it is counted.
func (l *Limiter) Ask(ctx context.Context, userID string) (wait time.Duration, err error) {
	return l.take(ctx, []rule{{l.mac("ask", userID), askWindow, true, asked}})
}

// Factor says whether somebody may try one of a person's second factors. As with Check, wait 0 means that the try is counted; FactorShown gives it back.
func (l *Limiter) Factor(ctx context.Context, userID string) (wait time.Duration, err error) {
	return l.take(ctx, []rule{{l.mac("factor", userID), factorWindow, true, factorTries}})
}

// FactorShown forgets the tries at a person's second factors: one was right.
func (l *Limiter) FactorShown(ctx context.Context, userID string) error {
	if err := l.store.ClearThrottle(ctx, l.mac("factor", userID)); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}

// take asks every counter, and counts.
func (l *Limiter) take(ctx context.Context, rules []rule) (wait time.Duration, err error) {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.key
	}
	counters, err := l.store.Throttles(ctx, names...)
	if err != nil {
		return 0, fmt.Errorf("throttle: %w", err)
	}
	if wait = decide(rules, counters, l.now()); wait > 0 {
		return wait, nil // not counted: asking again does not make it longer
	}
	for _, r := range rules {
		if !r.reserve {
			continue
		}
		n, err := l.store.CountFailure(ctx, r.key, r.window)
		if err != nil {
			return 0, fmt.Errorf("throttle: %w", err)
		}
		// Others took a number since the counters were read: then theirs is the last try, and it was made just now.
		if n-1 != counters[r.key].N {
			if wait = max(wait, r.delay(n-1)); wait > 0 {
				return wait, nil
			}
		}
	}
	return 0, nil
}

// Failed notes that the try was wrong. It is called before anything is answered; on an error nothing may be answered but 503.
func (l *Limiter) Failed(ctx context.Context, a Attempt) error {
	for _, r := range l.limits.rules(l.keys(a), false) {
		if r.reserve {
			continue // counted already
		}
		if _, err := l.store.CountFailure(ctx, r.key, r.window); err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
	}
	return nil
}

// Succeeded gives the try back, with the ones before it, and remembers the device.
func (l *Limiter) Succeeded(ctx context.Context, a Attempt) error {
	k := l.keys(a)
	clear := []string{k.pair, k.account}
	if a.Device != "" {
		first, err := l.store.Mark(ctx, k.known, l.now().Add(deviceLife))
		if err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
		if clear = append(clear, k.device); !first {
			// The device was known, so the tries from elsewhere were somebody else's and stay counted.
			clear = []string{k.pair, k.device}
		}
	}
	if err := l.store.ClearThrottle(ctx, clear...); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}

// keys of the counters of one attempt.
type keys struct{ pair, account, network, device, known string }

func (l *Limiter) keys(a Attempt) keys {
	net := network(a.IP)
	return keys{
		pair: l.mac("pair", a.Account, net), account: l.mac("account", a.Account), network: l.mac("network", net),
		device: l.mac("device", a.Account, a.Device), known: l.mac("known", a.Account, a.Device),
	}
}

func (l *Limiter) mac(parts ...string) string {
	h := hmac.New(sha256.New, l.key)
	for _, p := range parts { // each with its length: names are a stranger's choice
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// network is what one customer of a provider usually holds: /24 of IPv4, /56 of IPv6 (security.md F5).
func network(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	bits := 24
	if ip.Is6() {
		bits = 56
	}
	p, err := ip.Prefix(bits)
	if err != nil || !ip.IsValid() {
		return "none"
	}
	return p.String()
}
