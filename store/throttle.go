package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Throttle is one counter of failed attempts.
type Throttle struct {
	Key       string `db:"key"`
	N         int64  `db:"n"`
	LastAt    Time   `db:"last_at"`
	ExpiresAt Time   `db:"expires_at"` // forgotten when idle until then
}

const throttleColumns = "key, n, last_at, expires_at"

const countFailure = `INSERT INTO throttles (` + throttleColumns + `) VALUES (?, 1, ?, ?) ON CONFLICT (key) DO UPDATE SET
  n = CASE WHEN throttles.expires_at <= excluded.last_at THEN 1 ELSE throttles.n + 1 END, last_at = excluded.last_at, expires_at = excluded.expires_at
RETURNING n`

// CountFailure adds one to the counter under key and returns the number since it was last idle for window. It is one statement that
// commits on its own: inside a Tx it is refused, as a rollback would make attempts free (security.md F7).
func (s *Store) CountFailure(ctx context.Context, key string, window time.Duration) (n int64, err error) {
	if s.inTx(ctx) != nil {
		return 0, errors.New("store: failures are not counted inside a transaction")
	}
	now := s.now(ctx)
	var ok bool
	_, err = s.write(ctx, countFailure, []any{key, At(now), At(now.Add(window))}, single(&n, &ok))
	return n, err
}

const throttles = `SELECT ` + throttleColumns + ` FROM throttles WHERE key IN (?) AND expires_at > ?`

// Throttles reads counters: how many and when last, for each key that exists and was not idle for its window.
func (s *Store) Throttles(ctx context.Context, keys ...string) (map[string]Throttle, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	q, args, err := sqlx.In(throttles, keys, At(s.now(ctx)))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	list, err := many[Throttle](ctx, s, q, args...)
	if err != nil {
		return nil, err
	}
	m := make(map[string]Throttle, len(list))
	for _, t := range list {
		m[t.Key] = t
	}
	return m, nil
}

// ClearThrottle forgets counters, after a success.
func (s *Store) ClearThrottle(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	q, args, err := sqlx.In(`DELETE FROM throttles WHERE key IN (?)`, keys)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = s.exec(ctx, q, args...)
	return err
}
