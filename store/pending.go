package store

import (
	"context"
	"fmt"
)

// Pending is a request that waits: pushed authorization requests, device codes.
type Pending struct {
	IDHash       string `db:"id_hash"`
	Kind         string `db:"kind"`
	UserCodeHash string `db:"user_code_hash"` // unique where not ""
	ClientID     string `db:"client_id"`
	Request      string `db:"request"`
	UserID       string `db:"user_id"`
	Facts        string `db:"facts"`
	State        string `db:"state"`
	IntervalS    int64  `db:"interval_s"`
	PolledAt     Time   `db:"polled_at"`
	ExpiresAt    Time   `db:"expires_at"`
}

const pendingColumns = "id_hash, kind, user_code_hash, client_id, request, user_id, facts, state, interval_s, polled_at, expires_at"

var createPending = insertInto("pending", pendingColumns)

// CreatePending stores a request that waits; ErrConflict when a live user code is the same.
func (s *Store) CreatePending(ctx context.Context, p *Pending) error {
	_, err := s.named(ctx, createPending, p)
	return err
}

const pendingByID = `SELECT ` + pendingColumns + ` FROM pending WHERE id_hash = ? AND kind = ? AND expires_at > ?`

// Pending returns a request of that kind that still waits; else ErrNotFound.
func (s *Store) Pending(ctx context.Context, kind, idHash string) (*Pending, error) {
	return one[Pending](ctx, s, "pending request", pendingByID, idHash, kind, At(s.now(ctx)))
}

var keepPending = insertInto("pending", pendingColumns) + ` ON CONFLICT (id_hash) DO UPDATE SET kind = excluded.kind, request = excluded.request,
  user_id = excluded.user_id, expires_at = excluded.expires_at WHERE pending.expires_at <= :polled_at`

// KeepPending stores a request unless one of its id waits already, and returns the one that does: of two at once both get the same.
func (s *Store) KeepPending(ctx context.Context, p *Pending) (*Pending, error) {
	now := At(s.now(ctx))
	row := *p
	row.PolledAt = now // of nobody yet; it is what tells an old row here
	if _, err := s.named(ctx, keepPending, &row); err != nil {
		return nil, err
	}
	return s.Pending(ctx, p.Kind, p.IDHash)
}

const takePending = `DELETE FROM pending WHERE id_hash = ? AND kind = ? AND expires_at > ?`

// TakePending uses a request up: of many calls one gets nil, and ErrUsed the others.
func (s *Store) TakePending(ctx context.Context, kind, idHash string) error {
	n, err := s.exec(ctx, takePending, idHash, kind, At(s.now(ctx)))
	return changed(n, err, fmt.Errorf("store: pending request: %w", ErrUsed))
}
