package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// FactorKinds are the kinds of credentials that a sign-in can ask for after its first proof. Recovery codes are none of them: they stand in for
// one, and nobody has them without.
var FactorKinds = []string{CredPasskey, CredTOTP, CredSMS}

// kindIn is the condition that a credential is of one of these kinds, which are this package's own words.
func kindIn(kinds ...string) string { return "kind IN ('" + strings.Join(kinds, "', '") + "')" }

// MaxFactors is how many second factors a person can have.
const MaxFactors = 10

// Factors are a person's second factors and recovery codes, as one read gave them.
type Factors struct {
	List  []Credential // of FactorKinds, oldest first
	Codes []Credential // recovery codes, used ones too
}

// CodesLeft is how many recovery codes were not used.
func (f *Factors) CodesLeft() (n int) {
	for _, c := range f.Codes {
		if c.LastUsedAt.IsZero() {
			n++
		}
	}
	return n
}

var factorsOf = `SELECT ` + credentialColumns + ` FROM credentials WHERE user_id = ? AND ` + kindIn(append([]string{CredRecovery}, FactorKinds...)...)

// Factors reads them; a person without any has empty lists.
func (s *Store) Factors(ctx context.Context, userID string) (*Factors, error) {
	rows, err := many[Credential](ctx, s, factorsOf, userID)
	if err != nil {
		return nil, err
	}
	f := &Factors{}
	for _, c := range rows {
		if c.Kind == CredRecovery {
			f.Codes = append(f.Codes, c)
		} else {
			f.List = append(f.List, c)
		}
	}
	slices.SortFunc(f.List, func(a, b Credential) int {
		if c := a.CreatedAt.Compare(b.CreatedAt.Time); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return f, nil
}

var factorKindsOf = `SELECT DISTINCT kind FROM credentials WHERE user_id = ? AND ` + kindIn(FactorKinds...)

// FactorKindsOf says of which kinds a person has second factors, in the order of FactorKinds; none = there is none.
func (s *Store) FactorKindsOf(ctx context.Context, userID string) ([]string, error) {
	return s.factorKinds(ctx, factorKindsOf, userID)
}

func (s *Store) factorKinds(ctx context.Context, query, userID string) ([]string, error) {
	rows, err := many[struct {
		Kind string `db:"kind"`
	}](ctx, s, query, userID)
	var kinds []string
	for _, r := range rows {
		kinds = append(kinds, r.Kind)
	}
	slices.SortFunc(kinds, func(a, b string) int { return slices.Index(FactorKinds, a) - slices.Index(FactorKinds, b) })
	return kinds, err
}

var askingKindsOf = factorKindsOf + ` AND NOT ` + passkeyFree

// AskingKindsOf is FactorKindsOf without passkeys that stood alone from the start: such a passkey is one more way in, and asks nothing of the others. Whoever
// adds one to sign in faster can still come in by what they had, where the passkey is not.
func (s *Store) AskingKindsOf(ctx context.Context, userID string) ([]string, error) {
	return s.factorKinds(ctx, askingKindsOf, userID)
}

// HasFactor says whether a person has a second factor.
func (s *Store) HasFactor(ctx context.Context, userID string) (bool, error) {
	kinds, err := s.FactorKindsOf(ctx, userID)
	return len(kinds) > 0, err
}

// holdFactors lets the changes of one person's factors queue up: each counts what is left after the one before.
func (s *Store) holdFactors(ctx context.Context, userID string) error {
	n, err := s.exec(ctx, lockUser, At(s.now(ctx)), userID)
	return changed(n, err, errNotFound("user"))
}

var insertCredential = insertInto("credentials", credentialColumns)

// ErrTooMany says that a person has MaxFactors.
var ErrTooMany = errors.New("store: too many second factors")

// AddFactor adds a second factor to the person's own account: c.Kind is one of FactorKinds, c.ID the caller's, who sealed the secret for it. first says
// that none was shown: then it is ErrConflict when there is one that asks (AskingKindsOf), as whoever has the password alone could add theirs. Audited.
func (s *Store) AddFactor(ctx context.Context, c *Credential, first bool) error {
	if !slices.Contains(FactorKinds, c.Kind) || c.ID == "" || c.Secret == "" {
		return errors.New("store: no second factor")
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.holdFactors(ctx, c.UserID); err != nil {
			return err
		}
		f, err := s.Factors(ctx, c.UserID)
		if err != nil {
			return err
		}
		asking, err := s.AskingKindsOf(ctx, c.UserID)
		if err != nil {
			return err
		}
		switch {
		case first && len(asking) > 0:
			return fmt.Errorf("store: there is a second factor: %w", ErrConflict)
		case len(f.List) >= MaxFactors:
			return ErrTooMany
		}
		row := *c
		row.CreatedAt = At(s.now(ctx))
		row.UpdatedAt = row.CreatedAt
		if _, err := s.named(ctx, insertCredential, &row); err != nil {
			return err
		}
		return s.Audit(ctx, c.UserID, "user.add_factor", "user:"+c.UserID, map[string]string{"kind": c.Kind})
	})
}

const useTOTP = `UPDATE credentials SET counter = ?, last_used_at = ? WHERE id = ? AND kind = 'totp' AND counter < ?`

// UseTOTP spends a time step of an authenticator app: of many calls for one step one gets nil. ErrUsed for that step and every one before it
// (security.md F9), and when the factor is gone.
func (s *Store) UseTOTP(ctx context.Context, id string, step int64) error {
	n, err := s.exec(ctx, useTOTP, step, At(s.now(ctx)), id, step)
	return changed(n, err, fmt.Errorf("store: time step: %w", ErrUsed))
}

const noteFactor = `UPDATE credentials SET last_used_at = ? WHERE id = ? AND user_id = ? AND kind = 'sms'`

// NoteSMS notes that a code sent to a person's second factor came back; ErrUsed when the factor is gone meanwhile.
func (s *Store) NoteSMS(ctx context.Context, userID, id string) error {
	n, err := s.exec(ctx, noteFactor, At(s.now(ctx)), id, userID)
	return changed(n, err, fmt.Errorf("store: second factor: %w", ErrUsed))
}

var renameFactor = `UPDATE credentials SET label = ?, updated_at = ? WHERE id = ? AND user_id = ? AND ` + kindIn(FactorKinds...)

// RenameFactor gives a person's factor another name; ErrNotFound when it is not theirs.
func (s *Store) RenameFactor(ctx context.Context, userID, id, label string) error {
	n, err := s.exec(ctx, renameFactor, label, At(s.now(ctx)), id, userID)
	return changed(n, err, errNotFound("second factor"))
}

// ErrLastFactor says that somebody must keep a second factor.
var ErrLastFactor = errors.New("store: the last second factor")

var (
	deleteFactor    = `DELETE FROM credentials WHERE id = ? AND user_id = ? AND ` + kindIn(FactorKinds...)
	deleteFactorsOf = `DELETE FROM credentials WHERE user_id = ? AND ` + kindIn(append([]string{CredRecovery}, FactorKinds...)...)
)

const (
	deleteCodesOf    = `DELETE FROM credentials WHERE user_id = ? AND kind = 'recovery'`
	deletePendingFor = `DELETE FROM pending WHERE user_id = ? AND user_id <> '' AND kind = ?`
)

// RemoveFactor takes a factor from the person's own account; with the last one the recovery codes go, and with keepOne the last one stays:
// ErrLastFactor. ErrNotFound when it is not theirs, ErrLastAdmin when nobody could administer without it. Audited.
func (s *Store) RemoveFactor(ctx context.Context, userID, id string, keepOne bool) error {
	remove := func(ctx context.Context) error {
		if err := s.holdFactors(ctx, userID); err != nil {
			return err
		}
		n, err := s.exec(ctx, deleteFactor, id, userID)
		if err := changed(n, err, errNotFound("second factor")); err != nil {
			return err
		}
		has, err := s.HasFactor(ctx, userID)
		if err != nil {
			return err
		}
		if !has {
			if keepOne {
				return ErrLastFactor
			}
			if _, err := s.exec(ctx, deleteCodesOf, userID); err != nil {
				return err
			}
		}
		return s.Audit(ctx, userID, "user.remove_factor", "user:"+userID, nil)
	}
	return s.Tx(ctx, func(ctx context.Context) error { return s.keepingAdmin(ctx, remove) })
}

// SetRecoveryCodes replaces a person's recovery codes by those with these hashes: the old ones, used or not, are worth nothing from then on. Audited.
func (s *Store) SetRecoveryCodes(ctx context.Context, userID string, hashes []string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.holdFactors(ctx, userID); err != nil {
			return err
		}
		if _, err := s.exec(ctx, deleteCodesOf, userID); err != nil {
			return err
		}
		now := At(s.now(ctx))
		for _, h := range hashes {
			c := Credential{ID: newID(), UserID: userID, Kind: CredRecovery, Secret: h, CreatedAt: now, UpdatedAt: now}
			if _, err := s.named(ctx, insertCredential, &c); err != nil {
				return err
			}
		}
		return s.Audit(ctx, userID, "user.set_recovery_codes", "user:"+userID, map[string]int{"codes": len(hashes)})
	})
}

const useRecoveryCode = `UPDATE credentials SET last_used_at = ? WHERE user_id = ? AND kind = 'recovery' AND secret = ? AND last_used_at IS NULL`

// UseRecoveryCode spends a person's code: of many calls one gets nil. ErrUsed for a code that is spent, replaced, somebody else's or none.
func (s *Store) UseRecoveryCode(ctx context.Context, userID, hash string) error {
	n, err := s.exec(ctx, useRecoveryCode, At(s.now(ctx)), userID, hash)
	return changed(n, err, fmt.Errorf("store: recovery code: %w", ErrUsed))
}

// ResetFactors takes every second factor and recovery code from a person who lost them, and ends their sessions, half-finished sign-ins and grants:
// whoever has the password alone is asked to enrol anew where a factor is required. The actor needs reset_user_mfa, and holds what the person holds.
// It returns how many factors there were; ErrNotFound when there were none, ErrLastAdmin when nobody could administer without them. reason is one line.
// Audited.
func (s *Store) ResetFactors(ctx context.Context, actor, userID, reason string) (n int, err error) {
	if reason == "" || !validReason(reason) {
		return 0, invalid("reason", "missing, too long, or no line of text")
	}
	reset := func(ctx context.Context) error {
		if err := s.mayManage(ctx, actor, userID, privilege.ResetUserMFA); err != nil {
			return err
		}
		if err := s.holdFactors(ctx, userID); err != nil {
			return err
		}
		f, err := s.Factors(ctx, userID)
		if err != nil {
			return err
		}
		if n = len(f.List); n == 0 {
			return errNotFound("second factor")
		}
		if _, err := s.exec(ctx, deleteFactorsOf, userID); err != nil {
			return err
		}
		if err := s.DropPending(ctx, userID, PendingTOTP); err != nil {
			return err
		}
		if err := s.endAccess(ctx, userID, "", "second factors reset"); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.reset_factors", "user:"+userID, map[string]any{"reason": reason, "factors": n})
	}
	err = s.Tx(ctx, func(ctx context.Context) error { return s.keepingAdmin(ctx, reset) })
	return n, err
}

// PendingTOTP is Pending.Kind of the seed of an authenticator app that was shown and not confirmed yet.
const PendingTOTP = "totp"

// DropPending forgets what waits of a kind for a person.
func (s *Store) DropPending(ctx context.Context, userID, kind string) error {
	_, err := s.exec(ctx, deletePendingFor, userID, kind)
	return err
}

// RaiseSession puts in the place of a session one in which more was proven: a new id (security.md C1), the same person, sid, moment of the sign-in and
// end. Of two calls for one session one does it; the other is ErrUsed. Its grants live on.
func (s *Store) RaiseSession(ctx context.Context, current *Session, next NextSession, amr []string, acr string) (*Session, error) {
	var made *Session
	err := s.Tx(ctx, func(ctx context.Context) (err error) {
		to := *current
		to.AMR, to.ACR = amr, acr
		made, err = s.moveSession(ctx, current, &to, next)
		return err
	})
	return made, err
}
