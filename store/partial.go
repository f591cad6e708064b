package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Partial is a sign-in that still owes something (a new password, a second factor). Five minutes, five tries.
type Partial struct {
	ID         string  `db:"id"`
	SecretHash string  `db:"secret_hash"`
	UserID     string  `db:"user_id"`
	Connector  string  `db:"connector"`
	AMR        Strings `db:"amr"`
	Owes       string  `db:"owes"` // what comes next, in login's words
	FlowHash   string  `db:"flow_hash"`
	Remember   bool    `db:"remember"`
	Tries      int64   `db:"tries"`
	CreatedAt  Time    `db:"created_at"`
	ExpiresAt  Time    `db:"expires_at"`
	SessionID  string  `db:"session_id"` // the complete session that a second factor is to raise; "" = it becomes a new one
	Data       string  `db:"data"`       // sealed: what the sign-in needs to go on
}

const partialColumns = "id, secret_hash, user_id, connector, amr, owes, flow_hash, remember, tries, created_at, expires_at, session_id, data"

func (p *Partial) fields() []any {
	return []any{&p.ID, &p.SecretHash, &p.UserID, &p.Connector, &p.AMR, &p.Owes, &p.FlowHash, &p.Remember, &p.Tries, &p.CreatedAt, &p.ExpiresAt, &p.SessionID, &p.Data}
}

var createPartial = `INSERT INTO partials (` + partialColumns + `) VALUES (` + marks(partialColumns) + `)`

// CreatePartial stores a half-finished sign-in. ID and CreatedAt are filled when not set.
func (s *Store) CreatePartial(ctx context.Context, p *Partial) error {
	if p.ID == "" {
		p.ID = newID()
	}
	if p.CreatedAt.IsZero() {
		p.CreatedAt = At(s.now(ctx))
	}
	_, err := s.exec(ctx, createPartial, p.fields()...)
	return err
}

var partialByID = `SELECT ` + prefixed("p", partialColumns) + `, ` + prefixed("u", userColumns) + `
FROM partials p JOIN users u ON u.id = p.user_id WHERE p.id = ? AND p.expires_at > ?`

// Partial reads it and its user in one statement; ErrNotFound unless it is alive.
func (s *Store) Partial(ctx context.Context, id string) (*Partial, *User, error) {
	var p Partial
	var u User
	err := s.read(ctx, partialByID, []any{id, At(s.now(ctx))}, func(r *sql.Rows) error {
		if !r.Next() {
			return r.Err()
		}
		return r.Scan(append(p.fields(), u.fields()...)...)
	})
	if err != nil {
		return nil, nil, err
	}
	if p.ID == "" {
		return nil, nil, fmt.Errorf("store: half-finished sign-in: %w", ErrNotFound)
	}
	return &p, &u, nil
}

const tryPartial = `UPDATE partials SET tries = tries + 1 WHERE id = ? AND tries < ? AND expires_at > ?`

// TryPartial pays for one attempt; ErrExpired when max are spent or its time is over.
func (s *Store) TryPartial(ctx context.Context, id string, max int64) error {
	n, err := s.exec(ctx, tryPartial, id, max, At(s.now(ctx)))
	return changed(n, err, fmt.Errorf("store: half-finished sign-in: %w", ErrExpired))
}

const endPartial = `DELETE FROM partials WHERE id = ? AND expires_at > ?`

// EndPartial uses it up: whoever gets nil may make the session. ErrUsed when it is gone.
func (s *Store) EndPartial(ctx context.Context, id string) error {
	n, err := s.exec(ctx, endPartial, id, At(s.now(ctx)))
	return changed(n, err, fmt.Errorf("store: half-finished sign-in: %w", ErrUsed))
}
