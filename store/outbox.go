package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Message is a mail or SMS in the outbox.
type Message struct {
	ID          string `db:"id"`
	Kind        string `db:"kind"` // mail or sms
	Recipient   string `db:"recipient"`
	Subject     string `db:"subject"`
	Text        string `db:"text"`
	HTML        string `db:"html"`
	DedupeKey   string `db:"dedupe_key"` // unique where not ""
	CreatedAt   Time   `db:"created_at"`
	ExpiresAt   Time   `db:"expires_at"` // never sent later
	NextAt      Time   `db:"next_at"`
	LeasedUntil Time   `db:"leased_until"`
	Attempts    int64  `db:"attempts"`
	SentAt      Time   `db:"sent_at"`
	LastError   string `db:"last_error"`
}

const messageColumns = "id, kind, recipient, subject, text, html, dedupe_key, created_at, expires_at, next_at, leased_until, attempts, sent_at, last_error"

var enqueue = insertInto("outbox", messageColumns) + ` ON CONFLICT DO NOTHING`

// Enqueue puts a message in the outbox, in the Tx of what it tells about. Same dedupe key: no second row, no error. ID, CreatedAt and
// NextAt are filled when not set.
func (s *Store) Enqueue(ctx context.Context, m *Message) error {
	if m.ID == "" {
		m.ID = newID()
	}
	now := At(s.now(ctx))
	for _, t := range []*Time{&m.CreatedAt, &m.NextAt} {
		if t.IsZero() {
			*t = now
		}
	}
	_, err := s.named(ctx, enqueue, m)
	return err
}

// The conditions stand twice: PostgreSQL looks at a row again when another process had it, and then at the outer ones only.
const leaseMessages = `UPDATE outbox SET leased_until = ?, attempts = attempts + 1
WHERE id IN (SELECT id FROM outbox WHERE sent_at IS NULL AND next_at <= ? AND expires_at > ? AND (leased_until IS NULL OR leased_until <= ?)
    ORDER BY next_at, id LIMIT ?)
  AND sent_at IS NULL AND next_at <= ? AND (leased_until IS NULL OR leased_until <= ?)
RETURNING ` + messageColumns

// LeaseMessages takes up to n due messages for this process: nobody else gets them until lease has passed.
func (s *Store) LeaseMessages(ctx context.Context, n int, lease time.Duration) ([]Message, error) {
	at := s.now(ctx)
	now := At(at)
	var list []Message
	_, err := s.write(ctx, leaseMessages, []any{At(at.Add(lease)), now, now, now, n, now, now}, collect(&list))
	slices.SortFunc(list, func(a, b Message) int { return cmp.Or(a.NextAt.Compare(b.NextAt.Time), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

const (
	messageSent   = `UPDATE outbox SET sent_at = ?, leased_until = NULL, last_error = '' WHERE id = ? AND sent_at IS NULL`
	messageFailed = `UPDATE outbox SET last_error = ?, next_at = ?, leased_until = NULL WHERE id = ? AND sent_at IS NULL`
)

// MessageSent ends a message.
func (s *Store) MessageSent(ctx context.Context, id string) error {
	n, err := s.exec(ctx, messageSent, At(s.now(ctx)), id)
	return changed(n, err, fmt.Errorf("store: message: %w", ErrNotFound))
}

// MessageFailed gives a message back until retryAt.
func (s *Store) MessageFailed(ctx context.Context, id, why string, retryAt time.Time) error {
	n, err := s.exec(ctx, messageFailed, why, At(retryAt), id)
	return changed(n, err, fmt.Errorf("store: message: %w", ErrNotFound))
}

const messages = `SELECT ` + messageColumns + ` FROM outbox ORDER BY created_at DESC, id DESC LIMIT ?`

// Messages returns the n newest, sent or not.
func (s *Store) Messages(ctx context.Context, n int) ([]Message, error) {
	return many[Message](ctx, s, messages, n)
}
