package store

import (
	"context"
	"fmt"
)

// Flow is one pending sign-in of one browser tab.
type Flow struct {
	IDHash      string `db:"id_hash"` // SHA-256 of the handle in the URL
	ClientID    string `db:"client_id"`
	Form        string `db:"form"`         // the resolved authorization request, url-encoded: trusted, what the browser sends back is not
	BrowserHash string `db:"browser_hash"` // SHA-256 of the flow cookie
	UserID      string `db:"user_id"`      // who consented or is half signed in; "" = nobody yet
	Consent     string `db:"consent"`      // JSON of what was allowed in this flow; "" = not asked
	StartedAt   Time   `db:"started_at"`
	ExpiresAt   Time   `db:"expires_at"`
	FinishedAt  Time   `db:"finished_at"` // a code was issued: single use
}

const flowColumns = "id_hash, client_id, form, browser_hash, user_id, consent, started_at, expires_at, finished_at"

func (f *Flow) fields() []any {
	return []any{&f.IDHash, &f.ClientID, &f.Form, &f.BrowserHash, &f.UserID, &f.Consent, &f.StartedAt, &f.ExpiresAt, &f.FinishedAt}
}

var createFlow = `INSERT INTO flows (` + flowColumns + `) VALUES (` + marks(flowColumns) + `)`

// CreateFlow stores a pending sign-in. StartedAt is filled when not set.
func (s *Store) CreateFlow(ctx context.Context, f *Flow) error {
	if f.StartedAt.IsZero() {
		f.StartedAt = At(s.now(ctx))
	}
	_, err := s.exec(ctx, createFlow, f.fields()...)
	return err
}

const flowByID = `SELECT ` + flowColumns + ` FROM flows WHERE id_hash = ?`

// Flow returns a flow that can go on; else ErrNotFound, or beside the flow ErrExpired, or ErrUsed when it is finished.
func (s *Store) Flow(ctx context.Context, idHash string) (*Flow, error) {
	f, err := one[Flow](ctx, s, "flow", flowByID, idHash)
	switch {
	case err != nil:
		return nil, err
	case !f.FinishedAt.IsZero():
		return f, fmt.Errorf("store: flow: %w", ErrUsed)
	case !s.now(ctx).Before(f.ExpiresAt.Time):
		return f, fmt.Errorf("store: flow: %w", ErrExpired)
	}
	return f, nil
}

const (
	updateFlow = `UPDATE flows SET user_id = ?, consent = ? WHERE id_hash = ? AND finished_at IS NULL AND expires_at > ?`
	finishFlow = `UPDATE flows SET finished_at = ? WHERE id_hash = ? AND finished_at IS NULL AND expires_at > ?`
)

// UpdateFlow notes who it is about and what was allowed, unless the flow is finished or over.
func (s *Store) UpdateFlow(ctx context.Context, idHash, userID, consent string) error {
	n, err := s.exec(ctx, updateFlow, userID, consent, idHash, At(s.now(ctx)))
	return s.flowState(ctx, idHash, n, err)
}

// FinishFlow ends it, once: whoever gets nil may issue the code. ErrUsed when finished before.
func (s *Store) FinishFlow(ctx context.Context, idHash string) error {
	now := At(s.now(ctx))
	n, err := s.exec(ctx, finishFlow, now, idHash, now)
	return s.flowState(ctx, idHash, n, err)
}

// flowState says why a flow was not changed.
func (s *Store) flowState(ctx context.Context, idHash string, n int64, err error) error {
	if err != nil || n == 1 {
		return err
	}
	if _, err := s.Flow(ctx, idHash); err != nil {
		return err
	}
	return fmt.Errorf("store: flow: %w", ErrUsed)
}
