package store

import (
	"context"
	"errors"
	"fmt"
)

// UserByPhone finds the account with an E.164 number; ErrNotFound.
func (s *Store) UserByPhone(ctx context.Context, phone string) (*User, error) {
	return one[User](ctx, s, "user", userByPhone, phone)
}

// PhoneProof is what is known of a person's number beside that they have it.
type PhoneProof struct {
	UserID    string `db:"user_id"`
	Phone     string `db:"phone"`
	ChangedAt Time   `db:"changed_at"` // when the person put it in the place of another, or of none; not set = the account was made with it
	ProvenAt  Time   `db:"proven_at"`  // when a code sent to it last came back
}

const (
	phoneProofColumns = "user_id, phone, changed_at, proven_at"
	phoneProof        = `SELECT ` + phoneProofColumns + ` FROM phone_proofs WHERE user_id = ?`
)

// PhoneProof says when the number of u was set and last proven. What was never asked for by this program counts from when it was verified.
func (s *Store) PhoneProof(ctx context.Context, u *User) (*PhoneProof, error) {
	p, err := one[PhoneProof](ctx, s, "proof of a number", phoneProof, u.ID)
	if errors.Is(err, ErrNotFound) || err == nil && p.Phone != u.Phone {
		return &PhoneProof{UserID: u.ID, Phone: u.Phone, ProvenAt: u.PhoneVerifiedAt}, nil
	}
	return p, err
}

const (
	verifyPhone = `UPDATE users SET phone_verified_at = COALESCE(phone_verified_at, ?) WHERE id = ? AND phone = ? AND phone <> '' AND deleted_at IS NULL`
	putProof    = `INSERT INTO phone_proofs (` + phoneProofColumns + `) VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET
  changed_at = CASE WHEN excluded.changed_at IS NOT NULL THEN excluded.changed_at WHEN phone_proofs.phone = excluded.phone THEN phone_proofs.changed_at END,
  phone = excluded.phone, proven_at = excluded.proven_at`
	setPhone         = `UPDATE users SET phone = ?, phone_verified_at = ?, updated_at = ?, version = version + 1 WHERE id = ? AND deleted_at IS NULL`
	deletePhoneProof = `DELETE FROM phone_proofs WHERE user_id = ?`
)

// ProvePhone notes that a code sent to the number of a person's account came back just now. ErrConflict when the number is not theirs any more.
func (s *Store) ProvePhone(ctx context.Context, userID, phone string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		n, err := s.exec(ctx, verifyPhone, now, userID, phone)
		if err := changed(n, err, fmt.Errorf("store: number of %s: %w", userID, ErrConflict)); err != nil {
			return err
		}
		_, err = s.exec(ctx, putProof, userID, phone, Time{}, now)
		return err
	})
}

// SetPhone gives a person's account a number that was just proven, or takes it away with "". Another account that had it loses it: a number
// is one person's, and this one has it now (security.md F12). before is the number the account had, from the id of the account that lost the
// new one, "" = nobody. Half-finished sign-ins by the number before are over. Audited on both.
func (s *Store) SetPhone(ctx context.Context, actor, userID, phone string) (before, from string, err error) {
	if phone != "" && !isE164(phone) {
		return "", "", invalid("phone", "not E.164")
	}
	err = s.Tx(ctx, func(ctx context.Context) error {
		before, from = "", ""
		u, err := s.User(ctx, userID)
		if err != nil {
			return err
		}
		now := At(s.now(ctx))
		before = u.Phone
		if phone != "" {
			other, err := s.UserByPhone(ctx, phone)
			switch {
			case err == nil && other.ID != userID:
				from = other.ID
				if err := s.dropPhone(ctx, from); err != nil {
					return err
				}
				if err := s.Audit(ctx, actor, "user.phone_lost", "user:"+from, nil); err != nil {
					return err
				}
			case err != nil && !errors.Is(err, ErrNotFound):
				return err
			}
		} else if err := s.dropPhone(ctx, userID); err != nil {
			return err
		}
		if phone != "" {
			n, err := s.exec(ctx, setPhone, phone, now, now, userID)
			if err := changed(n, err, errNotFound("user")); err != nil {
				return err
			}
			if _, err := s.exec(ctx, endPartialsBy, userID, WayPhone); err != nil {
				return err
			}
			changedAt := now
			if before == phone {
				changedAt = Time{}
			}
			if _, err := s.exec(ctx, putProof, userID, phone, changedAt, now); err != nil {
				return err
			}
		}
		action := "user.set_phone"
		if phone == "" {
			action = "user.remove_phone"
		}
		return s.Audit(ctx, actor, action, "user:"+userID, nil) // numbers stay out of the log, which is never erased
	})
	return before, from, err
}

func (s *Store) dropPhone(ctx context.Context, userID string) error {
	n, err := s.exec(ctx, setPhone, "", Time{}, At(s.now(ctx)), userID)
	if err := changed(n, err, errNotFound("user")); err != nil {
		return err
	}
	// A half-finished sign-in rests on the number that was; it must not be finished with another.
	if _, err := s.exec(ctx, endPartialsBy, userID, WayPhone); err != nil {
		return err
	}
	_, err = s.exec(ctx, deletePhoneProof, userID)
	return err
}
