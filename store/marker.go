package store

import (
	"context"
	"time"
)

// An expired marker that the janitor left is as good as none, so the insert takes it over.
const mark = `INSERT INTO markers (key, expires_at) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE markers.expires_at <= ?`

// Mark records key until then, once; false = it was there (used jti, revoked grant-less token). key is hashed by the caller.
func (s *Store) Mark(ctx context.Context, key string, until time.Time) (first bool, err error) {
	n, err := s.exec(ctx, mark, key, At(until), At(s.now(ctx)))
	return n == 1, err
}

const marked = `SELECT 1 FROM markers WHERE key = ? AND expires_at > ?`

// Marked says whether key is recorded.
func (s *Store) Marked(ctx context.Context, key string) (bool, error) {
	_, ok, err := value[int64](ctx, s, marked, key, At(s.now(ctx)))
	return ok, err
}
