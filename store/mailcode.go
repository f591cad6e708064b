package store

import (
	"context"
	"errors"
	"fmt"
)

// MailCode is the code in a mail that proves an address, or in an SMS that proves a number, for the one attempt that waits for it. It is bound to the attempt's browser and
// flow by being its row. Another mail replaces the code; the number of mails stays.
type MailCode struct {
	AttemptHash string `db:"attempt_hash"` // Attempt.StateHash
	Sealed      string `db:"sealed"`       // under the master key: the address and what else was typed
	CodeHash    string `db:"code_hash"`    // keyed; of what no code is where the address cannot be proven
	Tries       int64  `db:"tries"`        // of this code
	Sends       int64  `db:"sends"`        // of this attempt
	SentAt      Time   `db:"sent_at"`
	ExpiresAt   Time   `db:"expires_at"`
	UsedAt      Time   `db:"used_at"`
	PrevHash    string `db:"prev_hash"`  // of the code before, where a text may come late
	PrevUntil   Time   `db:"prev_until"` // it is taken until then
	MessageID   string `db:"message_id"` // of the newest SMS; "" = a mail
}

const mailCodeColumns = "attempt_hash, sealed, code_hash, tries, sends, sent_at, expires_at, used_at, prev_hash, prev_until, message_id"

const mailCode = `SELECT ` + mailCodeColumns + ` FROM mail_codes WHERE attempt_hash = ?`

// MailCode returns the code of an attempt, also one that is spent or over; ErrNotFound before the first mail.
func (s *Store) MailCode(ctx context.Context, attemptHash string) (*MailCode, error) {
	return one[MailCode](ctx, s, "code", mailCode, attemptHash)
}

var insertMailCode = insertInto("mail_codes", mailCodeColumns) + ` ON CONFLICT DO NOTHING`

const replaceMailCode = `UPDATE mail_codes SET sealed = :sealed, code_hash = :code_hash, tries = 0, sends = :sends, sent_at = :sent_at,
  expires_at = :expires_at WHERE attempt_hash = :attempt_hash AND sends + 1 = :sends AND used_at IS NULL`

// PutMailCode writes a code with fresh tries in the place of the one before, which had one mail less: c.Sends counts from 1. ErrConflict
// when another request of the attempt was quicker.
func (s *Store) PutMailCode(ctx context.Context, c *MailCode) error {
	if c.Tries != 0 || !c.UsedAt.IsZero() {
		return errors.New("store: a new code has been tried")
	}
	query := replaceMailCode
	if c.Sends == 1 {
		query = insertMailCode
	}
	n, err := s.named(ctx, query, c)
	return changed(n, err, fmt.Errorf("store: code: another was made: %w", ErrConflict))
}

const resendCode = `UPDATE mail_codes SET prev_hash = code_hash, prev_until = :prev_until, code_hash = :code_hash, sends = :sends, sent_at = :sent_at,
  message_id = :message_id WHERE attempt_hash = :attempt_hash AND sends + 1 = :sends AND used_at IS NULL AND expires_at > :sent_at`

// ResendCode puts another code in the place of one that went out by SMS. Neither its time nor its tries begin anew (security.md F13), and the code
// before is good until c.PrevUntil. ErrConflict when another request was quicker, or there is nothing to send anew.
func (s *Store) ResendCode(ctx context.Context, c *MailCode) error {
	n, err := s.named(ctx, resendCode, c)
	return changed(n, err, fmt.Errorf("store: code: another was made: %w", ErrConflict))
}

const tryMailCode = `UPDATE mail_codes SET tries = tries + 1 WHERE attempt_hash = ? AND code_hash = ? AND tries < ? AND used_at IS NULL AND expires_at > ?`

// TryMailCode pays for one guess at this very code, before it is compared; ErrExpired when max are spent, its time is over, or another
// took its place. Inside a Tx it is refused, as a rollback would make guesses free (security.md F7).
func (s *Store) TryMailCode(ctx context.Context, c *MailCode, max int64) error {
	if s.inTx(ctx) != nil {
		return errors.New("store: tries are not counted inside a transaction")
	}
	n, err := s.exec(ctx, tryMailCode, c.AttemptHash, c.CodeHash, max, At(s.now(ctx)))
	return changed(n, err, fmt.Errorf("store: code: %w", ErrExpired))
}

const useMailCode = `UPDATE mail_codes SET used_at = ? WHERE attempt_hash = ? AND code_hash = ? AND used_at IS NULL AND expires_at > ?`

// UseMailCode uses this very code up: of many calls one gets nil, and ErrUsed the others. It belongs into the Tx of what it proves.
func (s *Store) UseMailCode(ctx context.Context, c *MailCode) error {
	now := At(s.now(ctx))
	n, err := s.exec(ctx, useMailCode, now, c.AttemptHash, c.CodeHash, now)
	return changed(n, err, fmt.Errorf("store: code: %w", ErrUsed))
}
