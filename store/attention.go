package store

import (
	"context"
	"time"
)

// Attention is what there is to look after, as far as the database knows. Counts end at MostCounted.
type Attention struct {
	Waiting   int64 // accounts that wait for approval
	Leaving   int64 // accounts that go as their owners asked
	Admins    int64 // people who could administer now
	Failed    int64 // messages given up since yesterday
	Late      int64 // messages that should have been sent minutes ago
	Undeliver int64 // SMS of which the carrier says since yesterday that they did not arrive
}

// MostCounted bounds each count: "1000 or more" is all there is to know.
const MostCounted = 1000

// mostLookedThrough is how many of a day's newest messages are looked through.
const mostLookedThrough = 5000

const (
	countWaiting = `SELECT COUNT(*) FROM (SELECT 1 FROM users WHERE disabled_at IS NOT NULL AND deleted_at IS NULL AND disabled_reason = 'awaiting approval' AND id > '' LIMIT ?) AS counted`
	countLeaving = `SELECT COUNT(*) FROM (SELECT 1 FROM deletions d JOIN users u ON u.id = d.user_id WHERE d.due_at > ? AND (u.last_login_at IS NULL OR u.last_login_at <= d.asked_at) LIMIT ?) AS counted`
	// Messages to nobody are given up when they are made; nothing failed there.
	countFailed    = `SELECT COUNT(*) FROM (SELECT failed_at, recipient FROM outbox WHERE created_at > ? ORDER BY created_at DESC LIMIT ?) AS newest WHERE failed_at IS NOT NULL AND recipient <> ''`
	countLate      = `SELECT COUNT(*) FROM (SELECT 1 FROM outbox WHERE sent_at IS NULL AND failed_at IS NULL AND next_at <= ? AND created_at <= ? LIMIT ?) AS counted`
	countUndeliver = `SELECT COUNT(*) FROM (SELECT kind, status FROM outbox WHERE created_at > ? ORDER BY created_at DESC LIMIT ?) AS newest WHERE kind = 'sms' AND status IN ('failed', 'undelivered')`
)

// lateAfter is when a message that waits is late: the first tries of a mail server that is busy take less.
const lateAfter = 10 * time.Minute

// Attention counts.
func (s *Store) Attention(ctx context.Context) (*Attention, error) {
	now := s.now(ctx)
	day, late, a := At(now.Add(-24*time.Hour)), At(now.Add(-lateAfter)), new(Attention)
	for _, c := range []struct {
		into  *int64
		query string
		args  []any
	}{
		{&a.Waiting, countWaiting, []any{MostCounted}}, {&a.Leaving, countLeaving, []any{At(now), MostCounted}}, {&a.Failed, countFailed, []any{day, mostLookedThrough}},
		{&a.Late, countLate, []any{At(now), late, MostCounted}}, {&a.Undeliver, countUndeliver, []any{day, mostLookedThrough}},
	} {
		var err error
		if *c.into, _, err = value[int64](ctx, s, c.query, c.args...); err != nil {
			return nil, err
		}
	}
	var err error
	a.Admins, err = s.admins(ctx)
	return a, err
}
