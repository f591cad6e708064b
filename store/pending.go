package store

import "context"

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
