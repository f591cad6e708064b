package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// Message is a mail, an SMS or a word to an application in the outbox. It waits until it is sent or will never be: then its texts, which may hold a code, are gone, and
// the rest stays until Purge to say what became of it.
type Message struct {
	ID          string `db:"id"`
	Kind        string `db:"kind"` // KindMail, KindSMS, KindVerify or KindLogout
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
	FailedAt    Time   `db:"failed_at"`  // when it was given up
	Status      string `db:"status"`     // of an SMS, the carrier's last word: delivered, undelivered, failed; "" = none yet
	ErrorCode   int64  `db:"error_code"` // the other side's number for why it was refused or not delivered; 0 = none
	About       string `db:"about"`      // whom a logout is about: a user's id
}

// Kinds of messages.
const (
	KindMail   = "mail"
	KindSMS    = "sms"    // Text goes to a telephone
	KindVerify = "verify" // a code that Twilio Verify makes and sends; Text is the language it speaks
	KindLogout = "logout" // tells a client that a session ended; Text is a Logout
)

const messageColumns = "id, kind, recipient, subject, text, html, dedupe_key, created_at, expires_at, next_at, leased_until, attempts, sent_at, last_error, failed_at, status, error_code, about"

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
	if err == nil {
		s.onCommit(ctx, s.enqueued.ring)
	}
	return err
}

// bell tells this process's workers of a message as soon as it is there.
type bell struct {
	mu   sync.Mutex
	hear []func()
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.hear {
		f()
	}
}

// OnEnqueue has f called after each message of this process is committed. f must not block.
func (s *Store) OnEnqueue(f func()) {
	s.enqueued.mu.Lock()
	defer s.enqueued.mu.Unlock()
	s.enqueued.hear = append(s.enqueued.hear, f)
}

const messagesDue = `SELECT EXISTS (SELECT 1 FROM outbox WHERE sent_at IS NULL AND failed_at IS NULL AND next_at <= ?
  AND (leased_until IS NULL OR leased_until <= ?))`

// MessagesDue says whether there is anything to lease or to give up. It is a read: asking often costs a database little.
func (s *Store) MessagesDue(ctx context.Context) (bool, error) {
	now := At(s.now(ctx))
	due, _, err := value[bool](ctx, s, messagesDue, now, now)
	return due, err
}

// The conditions stand twice: PostgreSQL looks at a row again when another process had it, and then at the outer ones only.
const leaseMessages = `UPDATE outbox SET leased_until = ?, attempts = attempts + 1
WHERE id IN (SELECT id FROM outbox WHERE kind IN (?) AND sent_at IS NULL AND failed_at IS NULL AND next_at <= ? AND expires_at > ?
    AND (leased_until IS NULL OR kind IN ('mail', 'logout') AND leased_until <= ?) ORDER BY next_at, id LIMIT ?)
  AND sent_at IS NULL AND failed_at IS NULL AND next_at <= ? AND (leased_until IS NULL OR kind IN ('mail', 'logout') AND leased_until <= ?)
RETURNING ` + messageColumns

// LeaseMessages takes up to n due messages of these kinds for this process: nobody else gets them until lease has passed. An SMS is leased once,
// and again only after MessageFailed: of one whose sender died nobody knows whether it went out, and a second one costs money and unsettles people.
func (s *Store) LeaseMessages(ctx context.Context, n int, lease time.Duration, kinds ...string) ([]Message, error) {
	at := s.now(ctx)
	now := At(at)
	var list []Message
	query, args, err := sqlx.In(leaseMessages, At(at.Add(lease)), kinds, now, now, now, n, now, now)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	_, err = s.write(ctx, query, args, collect(&list))
	slices.SortFunc(list, func(a, b Message) int { return cmp.Or(a.NextAt.Compare(b.NextAt.Time), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

const (
	messageSent = `UPDATE outbox SET sent_at = ?, text = '', html = '', leased_until = NULL, last_error = ''
WHERE id = ? AND sent_at IS NULL AND failed_at IS NULL`
	messageFailed  = `UPDATE outbox SET last_error = ?, next_at = ?, leased_until = NULL WHERE id = ? AND sent_at IS NULL AND failed_at IS NULL`
	messageRefused = `UPDATE outbox SET failed_at = ?, text = '', html = '', leased_until = NULL, last_error = ?, error_code = ?
WHERE id = ? AND sent_at IS NULL AND failed_at IS NULL`
	expireMessages = `UPDATE outbox SET failed_at = ?, text = '', html = '', leased_until = NULL,
  last_error = CASE WHEN last_error = '' THEN 'expired' ELSE 'expired; ' || last_error END
WHERE sent_at IS NULL AND failed_at IS NULL AND next_at <= ? AND expires_at <= ? AND (leased_until IS NULL OR leased_until <= ?)`
)

// MessageSent ends a message and forgets its texts.
func (s *Store) MessageSent(ctx context.Context, id string) error {
	n, err := s.exec(ctx, messageSent, At(s.now(ctx)), id)
	return changed(n, err, fmt.Errorf("store: message: %w", ErrNotFound))
}

// MessageFailed gives a message back until retryAt.
func (s *Store) MessageFailed(ctx context.Context, id, why string, retryAt time.Time) error {
	n, err := s.exec(ctx, messageFailed, why, At(retryAt), id)
	return changed(n, err, fmt.Errorf("store: message: %w", ErrNotFound))
}

// MessageRefused gives a message up for the reason why, and forgets its texts. code is the other side's number for it, 0 = none.
func (s *Store) MessageRefused(ctx context.Context, id, why string, code int) error {
	n, err := s.exec(ctx, messageRefused, At(s.now(ctx)), why, code, id)
	return changed(n, err, fmt.Errorf("store: message: %w", ErrNotFound))
}

// ExpireMessages gives up what nobody may send any more, and forgets its texts. n is how many.
func (s *Store) ExpireMessages(ctx context.Context) (n int64, err error) {
	now := At(s.now(ctx))
	return s.exec(ctx, expireMessages, now, now, now, now)
}

const messageByID = `SELECT ` + messageColumns + ` FROM outbox WHERE id = ?`

// Message returns one, whatever became of it; ErrNotFound.
func (s *Store) Message(ctx context.Context, id string) (*Message, error) {
	return one[Message](ctx, s, "message", messageByID, id)
}

const messageStatus = `UPDATE outbox SET status = ?, error_code = ? WHERE id = ? AND kind = 'sms' AND status = ''`

// MessageStatus notes how the delivery of an SMS ended. The first word stays: notices come in any order. first = it is this one.
func (s *Store) MessageStatus(ctx context.Context, id, status string, code int64) (first bool, err error) {
	n, err := s.exec(ctx, messageStatus, status, code, id)
	return n == 1, err
}

const messages = `SELECT ` + messageColumns + ` FROM outbox WHERE kind <> 'logout' ORDER BY created_at DESC, id DESC LIMIT ?`

// Messages returns the n newest to people, whatever became of them.
func (s *Store) Messages(ctx context.Context, n int) ([]Message, error) {
	return many[Message](ctx, s, messages, n)
}
