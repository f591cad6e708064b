package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Deletion says that the owner of an account asked for its end: it is erased at DueAt unless they signed in after AskedAt.
type Deletion struct {
	UserID  string `db:"user_id"`
	AskedAt Time   `db:"asked_at"`
	DueAt   Time   `db:"due_at"`
}

const (
	putDeletion = `INSERT INTO deletions (user_id, asked_at, due_at) VALUES (?, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET asked_at = excluded.asked_at, due_at = excluded.due_at`
	deletionOf   = `SELECT d.user_id, d.asked_at, d.due_at FROM deletions d JOIN users u ON u.id = d.user_id WHERE d.user_id = ? AND (u.last_login_at IS NULL OR u.last_login_at <= d.asked_at)`
	deletionsDue = `SELECT user_id, asked_at, due_at FROM deletions WHERE due_at <= ? ORDER BY due_at LIMIT ?`
	// It changes nothing and waits for a sign-in that is about to commit.
	holdAccount    = `UPDATE users SET version = version WHERE id = ? AND deleted_at IS NULL`
	deleteDeletion = `DELETE FROM deletions WHERE user_id = ?`
)

// AskDeletion ends an account at its owner's word: at once nothing of it can be used, as every session, half-finished sign-in and grant is over; after grace
// EraseDue takes the rest. Signing in before that takes it back. grace 0 erases at once. ErrLastAdmin when nobody could administer afterwards; audited.
func (s *Store) AskDeletion(ctx context.Context, userID string, grace time.Duration) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if _, err := s.livePerson(ctx, userID); err != nil {
			return err
		}
		if err := s.mayLeave(ctx, userID); err != nil {
			return err
		}
		now := At(s.now(ctx))
		if err := s.Audit(ctx, userID, "user.ask_deletion", "user:"+userID, map[string]string{"grace": grace.String()}); err != nil {
			return err
		}
		if grace <= 0 {
			return s.EraseUser(ctx, "system", userID)
		}
		if _, err := s.exec(ctx, putDeletion, userID, now, At(now.Add(grace))); err != nil {
			return err
		}
		if err := s.endAuthoritiesOf(ctx, userID, userID); err != nil {
			return err
		}
		return s.endAccess(ctx, userID, "", "deletion asked")
	})
}

// mayLeave, in a Tx, refuses the last who could administer: the erasure would be refused when it is due, and nobody would be told.
func (s *Store) mayLeave(ctx context.Context, userID string) error {
	if err := s.lock(ctx, gate); err != nil {
		return err
	}
	n, err := s.admins(ctx)
	if err != nil || n == 0 {
		return err
	}
	left, err := s.adminsBut(ctx, userID)
	if err == nil && left == 0 {
		err = fmt.Errorf("store: %w", ErrLastAdmin)
	}
	return err
}

// DeletionOf is when an account is erased by its owner's wish; ErrNotFound when it is not, or when they signed in since.
func (s *Store) DeletionOf(ctx context.Context, userID string) (*Deletion, error) {
	return one[Deletion](ctx, s, "deletion", deletionOf, userID)
}

// EraseDue erases up to n accounts whose time has come, and forgets the wish of those who signed in meanwhile, or who became the last administrator.
func (s *Store) EraseDue(ctx context.Context, n int) (erased []string, err error) {
	list, err := many[Deletion](ctx, s, deletionsDue, At(s.now(ctx)), n)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		gone := false
		err := s.Tx(ctx, func(ctx context.Context) error {
			gone = false
			if err := s.lock(ctx, gate); err != nil { // in the order of EraseUser; and whoever signs in now is seen or comes too late
				return err
			}
			if _, err := s.exec(ctx, holdAccount, d.UserID); err != nil {
				return err
			}
			now, err := s.DeletionOf(ctx, d.UserID)
			if errors.Is(err, ErrNotFound) || err == nil && !now.DueAt.Equal(d.DueAt.Time) {
				if err == nil { // asked again meanwhile
					return nil
				}
				_, err = s.exec(ctx, deleteDeletion, d.UserID)
				return err
			}
			if err != nil {
				return err
			}
			gone = true
			return s.EraseUser(ctx, "system", d.UserID)
		})
		switch {
		case errors.Is(err, ErrLastAdmin), errors.Is(err, ErrNotFound):
			if _, err := s.exec(ctx, deleteDeletion, d.UserID); err != nil {
				return erased, err
			}
		case err != nil:
			return erased, err
		case gone:
			erased = append(erased, d.UserID)
		}
	}
	return erased, nil
}
