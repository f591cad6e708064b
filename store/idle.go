package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Use is when somebody last used their account, as far as it is known, and what became of the newest warning that it will be removed.
//
// Nothing is written on a token's path for this: a refresh notes its time in the statement it makes anyway, a session is noted as seen every
// few minutes, and both leave what they knew in last_uses when they go.
type Use struct {
	UserID      string `db:"id"`
	CreatedAt   Time   `db:"created_at"`
	LastLoginAt Time   `db:"last_login_at"`
	SessionAt   Time   `db:"session_at"` // a session was seen
	TokenAt     Time   `db:"token_at"`   // an application got a token, at a sign-in or with a refresh token
	KeptAt      Time   `db:"kept_at"`    // the same of sessions and grants that are gone

	WarnedAt  Time   `db:"warned_at"`
	WarnedKey string `db:"warned_key"` // User.EmailKey of whom the warning went to
	DueAt     Time   `db:"due_at"`     // what it says
	SentAt    Time   `db:"warning_sent_at"`
	Waits     bool   `db:"warning_waits"` // in the outbox
}

// Last is the newest of all times: the account was not used since.
func (u *Use) Last() Time {
	last := u.CreatedAt
	for _, t := range []Time{u.LastLoginAt, u.SessionAt, u.TokenAt, u.KeptAt} {
		if t.After(last.Time) {
			last = t
		}
	}
	return last
}

// Warned says whether the newest warning is about this time without use, and went to the address that the person has.
func (u *Use) Warned(emailKey string) bool {
	return !u.WarnedAt.IsZero() && u.WarnedAt.After(u.Last().Time) && u.WarnedKey == emailKey
}

const (
	useColumns = `SELECT u.id, u.created_at, u.last_login_at, (SELECT MAX(n.last_seen_at) FROM sessions n WHERE n.user_id = u.id) AS session_at,
  (SELECT MAX(COALESCE(g.rt_used_at, g.rt_rotated_at, g.created_at)) FROM grants g WHERE g.user_id = u.id) AS token_at,
  v.used_at AS kept_at, w.warned_at, COALESCE(w.email_key, '') AS warned_key, w.due_at, COALESCE(w.sent_at, m.sent_at) AS warning_sent_at,
  (m.id IS NOT NULL AND m.sent_at IS NULL AND m.failed_at IS NULL) AS warning_waits
FROM users u LEFT JOIN last_uses v ON v.user_id = u.id LEFT JOIN idle_warnings w ON w.user_id = u.id LEFT JOIN outbox m ON m.id = w.message_id
`
	useOf = useColumns + `WHERE u.id = ?`
	// The two conditions on users are what lets the partial index serve.
	unusedSince = useColumns + `WHERE u.deleted_at IS NULL AND u.disabled_at IS NULL AND COALESCE(u.last_login_at, u.created_at) <= ?
  AND (COALESCE(u.last_login_at, u.created_at), u.id) > (?, ?) ORDER BY COALESCE(u.last_login_at, u.created_at), u.id LIMIT ?`
)

// Use of one account.
func (s *Store) Use(ctx context.Context, userID string) (*Use, error) {
	return one[Use](ctx, s, "user", useOf, userID)
}

// UnusedSince returns up to n accounts, not disabled, that nobody signed in to since at, the longest ago first. after is the last of the page
// before, nil for the first. They may have been used in other ways: Last says it.
func (s *Store) UnusedSince(ctx context.Context, at time.Time, after *Use, n int) ([]Use, error) {
	from, id := int64(-1<<62), ""
	if after != nil {
		id, from = after.UserID, after.CreatedAt.UnixMilli()
		if !after.LastLoginAt.IsZero() {
			from = after.LastLoginAt.UnixMilli()
		}
	}
	return many[Use](ctx, s, unusedSince, At(at), from, id, n)
}

const (
	// It changes nothing and waits for whoever is changing the row: a sign-in that is about to commit is seen by what is read next.
	holdUser   = `UPDATE users SET version = version WHERE id = ? AND deleted_at IS NULL AND disabled_at IS NULL`
	putWarning = `INSERT INTO idle_warnings (user_id, email_key, message_id, warned_at, due_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET email_key = excluded.email_key, message_id = excluded.message_id, warned_at = excluded.warned_at,
  due_at = excluded.due_at, sent_at = NULL`
	noteSent      = `UPDATE idle_warnings SET sent_at = ? WHERE user_id = ? AND sent_at IS NULL`
	deleteWarning = `DELETE FROM idle_warnings WHERE user_id = ?`
)

// held runs do with the account as it is now, while nobody else can sign in to it or decide the same. An account that is gone or disabled
// meanwhile is no error and not done.
func (s *Store) held(ctx context.Context, userID string, do func(context.Context, *Use, *Live, *Model) error) error {
	err := s.Tx(ctx, func(ctx context.Context) error {
		// In the order of EraseUser, so that two processes never wait for each other.
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		n, err := s.exec(ctx, holdUser, userID)
		if err := changed(n, err, errNotFound("user")); err != nil {
			return err
		}
		u, err := s.Use(ctx, userID)
		if err != nil {
			return err
		}
		l, err := s.Live(ctx, userID)
		if err != nil {
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		return do(ctx, u, l, m)
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// WarnIdle puts the warning that write makes into the outbox and remembers it, in one Tx. write is asked with what is true at that moment,
// and answers nil when there is nothing to warn of any more; so two processes never warn twice.
func (s *Store) WarnIdle(ctx context.Context, userID string, write func(*Use, *Live, *Model) (*Message, Time, error)) (warned bool, err error) {
	err = s.held(ctx, userID, func(ctx context.Context, u *Use, l *Live, m *Model) error {
		warned = false
		mail, due, err := write(u, l, m)
		if err != nil || mail == nil {
			return err
		}
		mail.ID = newID()
		if _, err := s.exec(ctx, putWarning, userID, l.User.EmailKey, mail.ID, At(s.now(ctx)), due); err != nil {
			return err
		}
		if err := s.Enqueue(ctx, mail); err != nil {
			return err
		}
		if err := s.Record(ctx, &Event{Kind: "idle_warned", UserID: userID, Data: fmt.Sprintf(`{"due":%q}`, due.UTC().Format(time.RFC3339))}); err != nil {
			return err
		}
		warned = true
		return nil
	})
	return warned && err == nil, err
}

// NoteWarningSent keeps when a warning was sent: the outbox forgets it after a few days.
func (s *Store) NoteWarningSent(ctx context.Context, u *Use) error {
	_, err := s.exec(ctx, noteSent, u.SentAt, u.UserID)
	return err
}

// EraseIdle is EraseUser for an account that may go because nobody uses it, if still says so of what is true at that moment. The audit log has
// why beside the erasure.
func (s *Store) EraseIdle(ctx context.Context, actor, userID string, still func(*Use, *Live, *Model) bool) (erased bool, err error) {
	err = s.held(ctx, userID, func(ctx context.Context, u *Use, l *Live, m *Model) error {
		if erased = still(u, l, m); !erased {
			return nil
		}
		diff := map[string]any{"last_use": u.Last().UTC().Format(time.RFC3339), "warned": u.WarnedAt.UTC().Format(time.RFC3339)}
		if err := s.Audit(ctx, actor, "user.idle", "user:"+userID, diff); err != nil {
			return err
		}
		return s.EraseUser(ctx, actor, userID)
	})
	return erased && err == nil, err
}

// keepUses writes down when people last used what is about to be forgotten.
func (s *Store) keepUses(ctx context.Context, uses map[string]Time) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(uses)), purgeBatch) { // a statement takes only so many values
		args := make([]any, 0, 2*len(ids))
		for _, id := range ids {
			args = append(args, id, uses[id])
		}
		query := `INSERT INTO last_uses (user_id, used_at) VALUES (?, ?)` + strings.Repeat(`, (?, ?)`, len(ids)-1) +
			` ON CONFLICT (user_id) DO UPDATE SET used_at = excluded.used_at WHERE last_uses.used_at < excluded.used_at`
		if _, err := s.exec(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}
