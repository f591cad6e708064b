package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	purgeBatch = 500
	purgePause = 10 * time.Millisecond // between batches: SQLite has one writer, and requests wait for it
	purgeLease = time.Minute
)

// What an expired row is still good for, before it goes: to say "used" or "expired" instead of "unknown".
const (
	keepFlows   = time.Hour
	keepOneTime = 7 * 24 * time.Hour
)

const (
	takeLease    = `UPDATE leases SET owner = ?, until = ? WHERE name = 'purge' AND (until <= ? OR owner = ?)`
	releaseLease = `UPDATE leases SET owner = '', until = 0 WHERE name = 'purge' AND owner = ?`
)

// purge is one table's expired rows.
type purge struct {
	table, key, over string
	at               time.Time
}

func (p purge) query() string {
	return fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT ?)", p.table, p.key, p.over)
}

func purges(now time.Time, c Config) []purge {
	return []purge{
		{"grants", "id", "expires_at <= ?", now},
		{"flows", "id_hash", "expires_at <= ?", now.Add(-keepFlows)},
		{"attempts", "state_hash", "expires_at <= ?", now.Add(-keepFlows)},
		{"sessions", "id", "expires_at <= ?", now},
		{"sessions", "id", "last_seen_at + idle_ms <= ?", now},
		{"partials", "id", "expires_at <= ?", now},
		{"pending", "id_hash", "expires_at <= ?", now},
		{"markers", "key", "expires_at <= ?", now},
		{"one_time", "hash", "expires_at <= ?", now.Add(-keepOneTime)},
		{"authorities", "id", "grantee = '' AND link_until <= ?", now.Add(-keepOneTime)}, // links nobody took
		{"throttles", "key", "expires_at <= ?", now},
		{"budgets", "key", "expires_at <= ?", now},
		{"outbox", "id", "COALESCE(sent_at, expires_at) <= ?", now.Add(-c.KeepMessages)},
		{"events", "id", "at <= ?", now.Add(-c.KeepEvents)},
		{"privilege_requests", "id", "decided_at <= ?", now.Add(-c.KeepEvents)},
		{"invites", "id", "ended_at <= ?", now.Add(-c.KeepEvents)},
		{"invites", "id", "ended_at IS NULL AND expires_at <= ?", now.Add(-c.KeepEvents)},
		{"privilege_requests", "id", "decided_at IS NULL AND expires_at <= ?", now.Add(-c.KeepEvents)},
	}
}

// purgeSome deletes one batch. What sessions and grants know of people's last use outlives them.
func (s *Store) purgeSome(ctx context.Context, p purge) (n int64, err error) {
	args := []any{At(p.at), purgeBatch}
	err = s.Tx(ctx, func(ctx context.Context) error {
		switch p.table {
		case "sessions":
			var gone []Session // nobody signed out: no application is told
			gone, err = s.dropSessions(ctx, "expired", p.query(), args...)
			n = int64(len(gone))
		case "grants":
			n, err = s.dropGrants(ctx, p.query(), args...)
		default:
			n, err = s.exec(ctx, p.query(), args...)
		}
		return err
	})
	if err != nil {
		n = 0
	}
	return n, err
}

// dropGrants runs a DELETE of grants, in a Tx, and keeps when their people used them last.
func (s *Store) dropGrants(ctx context.Context, query string, args ...any) (n int64, err error) {
	uses := map[string]Time{}
	_, err = s.write(ctx, query+` RETURNING user_id, COALESCE(rt_used_at, rt_rotated_at, created_at)`, args, func(r *sql.Rows) error {
		n = 0
		clear(uses)
		var id string
		var at Time
		for r.Next() {
			if err := r.Scan(&id, &at); err != nil {
				return err
			}
			n++
			if id != "" && at.After(uses[id].Time) {
				uses[id] = at
			}
		}
		return r.Err()
	})
	if err != nil {
		return n, err
	}
	return n, s.keepUses(ctx, uses)
}

// Purge deletes what has expired, in batches, if this process gets the lease; one process at a time does. It may be called at any time,
// and nothing depends on it: expiry stands in every query. Ended assignments, includes and the audit log are history and stay.
func (s *Store) Purge(ctx context.Context) (deleted int64, err error) {
	ctx = context.WithValue(ctx, upkeepKey{}, true)
	owner := newID()
	lease := func() (bool, error) {
		now := s.Now()
		n, err := s.exec(ctx, takeLease, owner, At(now.Add(purgeLease)), At(now), owner)
		return n == 1, err
	}
	if mine, err := lease(); err != nil || !mine {
		return 0, err
	}
	for _, p := range purges(s.Now(), s.conf) {
		for {
			n, err := s.purgeSome(ctx, p)
			deleted += n
			if err != nil {
				return deleted, err
			}
			if n < purgeBatch {
				break
			}
			select {
			case <-time.After(purgePause):
			case <-ctx.Done():
				return deleted, mapErr(ctx.Err())
			}
			if mine, err := lease(); err != nil || !mine {
				return deleted, err
			}
		}
	}
	_, err = s.exec(ctx, releaseLease, owner)
	return deleted, err
}
