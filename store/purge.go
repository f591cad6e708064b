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
	used             string // when the row's user used it last, which outlives it (last_uses); "" = it says nothing
}

func (p purge) query() string {
	q := fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT ?)", p.table, p.key, p.over)
	if p.used != "" {
		q += " RETURNING user_id, " + p.used
	}
	return q
}

func purges(now time.Time, c Config) []purge {
	return []purge{
		{"grants", "id", "expires_at <= ?", now, "COALESCE(rt_used_at, rt_rotated_at, created_at)"},
		{"flows", "id_hash", "expires_at <= ?", now.Add(-keepFlows), ""},
		{"attempts", "state_hash", "expires_at <= ?", now.Add(-keepFlows), ""},
		{"sessions", "id", "expires_at <= ?", now, "last_seen_at"},
		{"sessions", "id", "last_seen_at + idle_ms <= ?", now, "last_seen_at"},
		{"partials", "id", "expires_at <= ?", now, ""},
		{"pending", "id_hash", "expires_at <= ?", now, ""},
		{"markers", "key", "expires_at <= ?", now, ""},
		{"one_time", "hash", "expires_at <= ?", now.Add(-keepOneTime), ""},
		{"authorities", "id", "grantee = '' AND link_until <= ?", now.Add(-keepOneTime), ""}, // links nobody took
		{"throttles", "key", "expires_at <= ?", now, ""},
		{"budgets", "key", "expires_at <= ?", now, ""},
		{"outbox", "id", "COALESCE(sent_at, expires_at) <= ?", now.Add(-c.KeepMessages), ""},
		{"events", "id", "at <= ?", now.Add(-c.KeepEvents), ""},
		{"privilege_requests", "id", "decided_at <= ?", now.Add(-c.KeepEvents), ""},
		{"privilege_requests", "id", "decided_at IS NULL AND expires_at <= ?", now.Add(-c.KeepEvents), ""},
	}
}

// purgeSome deletes one batch, and keeps what it knew of people's last use.
func (s *Store) purgeSome(ctx context.Context, p purge) (n int64, err error) {
	if p.used == "" {
		return s.exec(ctx, p.query(), At(p.at), purgeBatch)
	}
	err = s.Tx(ctx, func(ctx context.Context) error {
		uses := map[string]Time{}
		_, err := s.write(ctx, p.query(), []any{At(p.at), purgeBatch}, func(r *sql.Rows) error {
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
			return err
		}
		return s.keepUses(ctx, uses)
	})
	if err != nil {
		n = 0
	}
	return n, err
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
