package relying

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Revocations remembers what a provider said by back-channel logout, for as long as a session could still come up that it means.
// Keys and ids are hashes. It must be safe for concurrent use.
type Revocations interface {
	// Revoke ends the sessions under key that began at or before the moment at. It may be forgotten after expires. A later moment
	// replaces an earlier one, never the reverse.
	Revoke(ctx context.Context, key string, at, expires time.Time) error
	// Revoked returns the latest moment under any of the keys; the zero time when there is none.
	Revoked(ctx context.Context, keys ...string) (time.Time, error)
	// Once reports whether id is given for the first time before its expires. Of several calls at once exactly one gets true.
	Once(ctx context.Context, id string, expires time.Time) (bool, error)
}

// memoryRevocations is the Revocations of one process. It is bounded: rather than forget a sign-out, it ends every session that began
// before the newest one it had to give up.
type memoryRevocations struct {
	now func() time.Time
	max int

	mu    sync.Mutex
	until map[string]revoked
	ids   map[string]time.Time
	floor time.Time // all sessions that began at or before it are over
	swept time.Time
}

type revoked struct{ at, expires time.Time }

// maxRevocations are some 20 MB.
const maxRevocations = 100_000

func newMemoryRevocations(now func() time.Time) *memoryRevocations {
	return &memoryRevocations{now: now, max: maxRevocations, until: map[string]revoked{}, ids: map[string]time.Time{}, swept: now()}
}

func (m *memoryRevocations) Revoke(_ context.Context, key string, at, expires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	old, there := m.until[key]
	if !there && len(m.until) >= m.max {
		for _, r := range m.until {
			// One that lies ahead must not end what has yet to begin.
			if at := earlier(r.at, m.now()); at.After(m.floor) {
				m.floor = at
			}
		}
		clear(m.until)
	}
	m.until[key] = revoked{later(at, old.at), later(expires, old.expires)}
	return nil
}

func (m *memoryRevocations) Revoked(_ context.Context, keys ...string) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.floor
	for _, k := range keys {
		at = later(at, m.until[k].at) // one that expired means no session that is left
	}
	return at, nil
}

func (m *memoryRevocations) Once(_ context.Context, id string, expires time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	if until, there := m.ids[id]; there && m.now().Before(until) {
		return false, nil
	}
	if len(m.ids) >= m.max {
		clear(m.ids) // a replay ends what has ended: see endSessions
	}
	m.ids[id] = expires
	return true, nil
}

// sweep drops what is over, once a minute.
func (m *memoryRevocations) sweep() {
	now := m.now()
	if now.Sub(m.swept) < time.Minute {
		return
	}
	m.swept = now
	for k, r := range m.until {
		if !now.Before(r.expires) {
			delete(m.until, k)
		}
	}
	for id, until := range m.ids {
		if !now.Before(until) {
			delete(m.ids, id)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// revocationKey tells the sessions of one application at one provider apart from all others, should they share a store.
func (c *Client) revocationKey(kind, value string) string {
	h := sha256.New()
	for _, s := range []string{"latchkey/relying", kind, c.cfg.Issuer, c.cfg.ClientID, value} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ended says whether the provider has told us that this session is over.
func (c *Client) ended(ctx context.Context, s *session) (bool, error) {
	keys := []string{c.revocationKey("sub", s.Subject)}
	if s.SID != "" {
		keys = append(keys, c.revocationKey("sid", s.SID))
	}
	at, err := c.cfg.Revocations.Revoked(ctx, keys...)
	if err != nil {
		return false, unavailable(fmt.Errorf("revocations: %w", err))
	}
	return !at.IsZero() && !s.Began.After(at), nil
}
