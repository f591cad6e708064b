package store

import (
	"context"
	"errors"
	"fmt"
)

// OneTime is a single-use link: only its hash is kept.
type OneTime struct {
	Hash      string `db:"hash"`
	Purpose   string `db:"purpose"` // "setup", PurposeReset …; a token of one purpose is nothing for another (R140)
	UserID    string `db:"user_id"`
	Data      string `db:"data"`
	CreatedAt Time   `db:"created_at"`
	ExpiresAt Time   `db:"expires_at"`
	UsedAt    Time   `db:"used_at"`
}

const oneTimeColumns = "hash, purpose, user_id, data, created_at, expires_at, used_at"

var createOneTime = insertInto("one_time", oneTimeColumns) + ` ON CONFLICT (purpose, user_id) WHERE used_at IS NULL
DO UPDATE SET hash = excluded.hash, data = excluded.data, created_at = excluded.created_at, expires_at = excluded.expires_at`

// CreateOneTime makes a link; an unused one of the same purpose and user is dead from then on.
func (s *Store) CreateOneTime(ctx context.Context, o *OneTime) error {
	if o.CreatedAt.IsZero() {
		o.CreatedAt = At(s.now(ctx))
	}
	_, err := s.named(ctx, createOneTime, o)
	return err
}

const oneTime = `SELECT ` + oneTimeColumns + ` FROM one_time WHERE hash = ? AND purpose = ?`

// OneTime returns a link that can still be used; else ErrNotFound, ErrExpired or ErrUsed.
func (s *Store) OneTime(ctx context.Context, purpose, hash string) (*OneTime, error) {
	o, err := one[OneTime](ctx, s, "one-time link", oneTime, hash, purpose)
	switch {
	case err != nil:
		return nil, err
	case !o.UsedAt.IsZero():
		return nil, fmt.Errorf("store: one-time link: %w", ErrUsed)
	case !s.now(ctx).Before(o.ExpiresAt.Time):
		return nil, fmt.Errorf("store: one-time link: %w", ErrExpired)
	}
	return o, nil
}

const useOneTime = `UPDATE one_time SET used_at = ? WHERE hash = ? AND purpose = ? AND used_at IS NULL AND expires_at > ?`

// UseOneTime uses a link up; ErrNotFound, ErrExpired or ErrUsed when this call did not.
func (s *Store) UseOneTime(ctx context.Context, purpose, hash string) error {
	now := At(s.now(ctx))
	n, err := s.exec(ctx, useOneTime, now, hash, purpose, now)
	if err != nil || n == 1 {
		return err
	}
	if _, err := s.OneTime(ctx, purpose, hash); err != nil {
		return err
	}
	return fmt.Errorf("store: one-time link: %w", ErrUsed)
}

// PurposeReset is OneTime.Purpose of a link that sets a password: every change of the password ends it.
const PurposeReset = "password_reset"

const useOneTimesOf = `UPDATE one_time SET used_at = ? WHERE user_id = ? AND user_id <> '' AND purpose = ? AND used_at IS NULL`

// UseOneTimesOf uses up what links of a purpose a person has: what they were made for is over.
func (s *Store) UseOneTimesOf(ctx context.Context, purpose, userID string) error {
	_, err := s.exec(ctx, useOneTimesOf, At(s.now(ctx)), userID, purpose)
	return err
}

const liveOneTimes = `SELECT COUNT(*) FROM one_time WHERE user_id = ? AND purpose = ? AND used_at IS NULL AND expires_at > ?`

// HasOneTime says whether a person has a link of a purpose that can still be used.
func (s *Store) HasOneTime(ctx context.Context, purpose, userID string) (bool, error) {
	n, _, err := value[int64](ctx, s, liveOneTimes, userID, purpose, At(s.now(ctx)))
	return n > 0, err
}

// HasAdmin says whether somebody could administer now: an active holder of admin with a way to sign in (Config.AdminWays), who is not read-only.
func (s *Store) HasAdmin(ctx context.Context) (bool, error) {
	n, err := s.admins(ctx)
	return n > 0, err
}

const setupDone = `SELECT n FROM counters WHERE name = 'admins'`

// SetupDone says whether somebody was ever administrator: then the web set-up stays shut, whatever became of him (security.md G5).
func (s *Store) SetupDone(ctx context.Context) (bool, error) {
	n, ok, err := value[int64](ctx, s, setupDone)
	if err == nil && !ok {
		err = errors.New("store: counters: no row")
	}
	return n > 0, err
}
