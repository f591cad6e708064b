package store

import (
	"context"
	"errors"
	"fmt"
)

// ChangeEmail gives an account an address that its person has just proven, in one audited transaction. Links to set a password, which went to
// the address before, are over. before is the account as it was. A FieldError says that the address is somebody else's; ErrConflict without one, that
// the account was changed at the same time. Neither address is in the audit log, which outlives the account.
func (s *Store) ChangeEmail(ctx context.Context, actor, userID, email string) (before *User, err error) {
	err = s.Tx(ctx, func(ctx context.Context) error {
		u, err := s.User(ctx, userID)
		if err != nil {
			return err
		}
		before = new(User)
		*before = *u
		switch holder, err := s.UserByLogin(ctx, email); {
		case err == nil && holder.ID != userID:
			return &FieldError{Field: "email", Err: ErrConflict}
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		}
		u.Email, u.EmailVerifiedAt = email, At(s.now(ctx))
		if err := s.UpdateUser(ctx, u); err != nil {
			return err
		}
		if err := s.UseOneTimesOf(ctx, PurposeReset, userID); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.change_email", "user:"+userID, map[string]string{"evidence": "mail"})
	})
	return before, err
}

// EndAccess ends every session, half-finished sign-in and grant of a person.
func (s *Store) EndAccess(ctx context.Context, userID, reason string) error {
	return s.Tx(ctx, func(ctx context.Context) error { return s.endAccess(ctx, userID, "", reason) })
}

const proveEmail = `UPDATE users SET email_verified_at = ?, updated_at = ?, version = version + 1
WHERE id = ? AND email_key = ? AND email_key <> '' AND email_verified_at IS NULL AND deleted_at IS NULL`

// RecoverAccount sets the password of somebody who has proven that the account's address is theirs. Every session and grant ends. An account
// whose address nobody had proven before may have been somebody else's until now: what they left in it opens nothing any more (security.md
// E5): links to upstreams are quarantined, authorities end. ErrConflict when the account has another address by now.
func (s *Store) RecoverAccount(ctx context.Context, userID, email, phc string) error {
	key, err := emailKey(email)
	if err != nil {
		return err
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		u, err := s.User(ctx, userID)
		switch {
		case err != nil:
			return err
		case u.EmailKey != key || key == "":
			return fmt.Errorf("store: recover: another address: %w", ErrConflict)
		}
		if u.EmailVerifiedAt.IsZero() {
			now := At(s.now(ctx))
			n, err := s.exec(ctx, proveEmail, now, now, userID, key)
			if err := changed(n, err, fmt.Errorf("store: recover: %w", ErrConflict)); err != nil {
				return err
			}
			links, err := s.IdentitiesOf(ctx, userID)
			if err != nil {
				return err
			}
			if _, err := s.exec(ctx, quarantineIdentities, now, userID); err != nil {
				return err
			}
			for i := range links {
				if err := s.endLink(ctx, &links[i], false, "", "account recovered"); err != nil {
					return err
				}
			}
			if err := s.endAuthoritiesOf(ctx, userID, userID); err != nil {
				return err
			}
			if _, err := s.exec(ctx, deleteAttemptsOf, userID); err != nil {
				return err
			}
		}
		return s.SetPassword(ctx, userID, userID, phc, false, "")
	})
}
