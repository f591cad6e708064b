package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Budget is a counter of messages within a window that begins with the first one, as Reserve asks and Budgets tells.
type Budget struct {
	Key       string `db:"key"`
	N         int64  `db:"n"`
	Spent     int64  `db:"spent"` // in millionths of the operator's currency
	Good      int64  `db:"good"`  // messages of which the code came back
	ExpiresAt Time   `db:"expires_at"`

	// What Reserve goes by.
	Window   time.Duration `db:"-"`
	Max      int64         `db:"-"` // messages; 0 = any number
	MaxSpent int64         `db:"-"` // 0 = any sum
	Cost     int64         `db:"-"` // must fit below MaxSpent
	Free     bool          `db:"-"` // it must fit and is not counted: for what only looks like a message
	Floor    int64         `db:"-"` // from so many messages on, one in Share must have come back; 0 = no such rule
	Share    int64         `db:"-"`
}

const budgetColumns = "key, n, spent, good, expires_at"

// The condition decides under the row's lock: of two that want the last place one gets it.
const reserve = `INSERT INTO budgets (` + budgetColumns + `) VALUES (?, ?, ?, 0, ?) ON CONFLICT (key) DO UPDATE SET
  n = CASE WHEN budgets.expires_at <= ? THEN excluded.n ELSE budgets.n + excluded.n END,
  spent = CASE WHEN budgets.expires_at <= ? THEN excluded.spent ELSE budgets.spent + excluded.spent END,
  good = CASE WHEN budgets.expires_at <= ? THEN 0 ELSE budgets.good END,
  expires_at = CASE WHEN budgets.expires_at <= ? THEN excluded.expires_at ELSE budgets.expires_at END
WHERE budgets.expires_at <= ? OR (budgets.n < ? AND budgets.spent <= ? AND (budgets.n < ? OR budgets.good * ? >= budgets.n))
RETURNING n, spent`

// Reserve takes a place for one message in every budget of list, and fills N and Spent as they are then. over is the first that has none,
// nil when all had, and until when its window ends: then the caller rolls back, and nothing was taken. It belongs into the Tx that
// enqueues the message, so that whatever is counted is sent and the other way round. Rows are locked in the order of their keys.
func (s *Store) Reserve(ctx context.Context, list []Budget) (over *Budget, err error) {
	if s.inTx(ctx) == nil {
		return nil, errors.New("store: budgets are reserved inside a transaction")
	}
	order := make([]*Budget, len(list))
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortFunc(order, func(a, b *Budget) int { return strings.Compare(a.Key, b.Key) })
	at := s.now(ctx)
	now := At(at)
	for _, b := range order {
		var n, spent int64 = 1, b.Cost
		if b.Free {
			n, spent = 0, 0
		}
		most, sum, floor := int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64)
		if b.Max > 0 {
			most = b.Max
		}
		if b.MaxSpent > 0 {
			sum = b.MaxSpent - b.Cost
		}
		if b.Floor > 0 {
			floor = b.Floor
		}
		taken := false
		if sum >= 0 {
			args := []any{b.Key, n, spent, At(at.Add(b.Window)), now, now, now, now, now, most, sum, floor, max(b.Share, 1)}
			_, err := s.write(ctx, reserve, args, func(r *sql.Rows) error {
				if taken = r.Next(); !taken {
					return r.Err()
				}
				return r.Scan(&b.N, &b.Spent)
			})
			if err != nil {
				return nil, err
			}
		}
		if !taken {
			b.ExpiresAt = At(at.Add(b.Window))
			if there, err := s.Budgets(ctx, b.Key); err != nil {
				return nil, err
			} else if len(there) == 1 {
				b.ExpiresAt = there[0].ExpiresAt
			}
			return b, nil
		}
	}
	return nil, nil
}

const cameBack = `UPDATE budgets SET good = good + 1 WHERE key IN (?) AND expires_at > ?`

// CameBack notes that the code of a message was entered.
func (s *Store) CameBack(ctx context.Context, keys ...string) error {
	q, args, err := sqlx.In(cameBack, keys, At(s.now(ctx)))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = s.exec(ctx, q, args...)
	return err
}

const (
	budgets       = `SELECT ` + budgetColumns + ` FROM budgets WHERE key IN (?) AND expires_at > ? ORDER BY key`
	budgetsPrefix = `SELECT ` + budgetColumns + ` FROM budgets WHERE key >= ? AND key < ? AND expires_at > ? ORDER BY key LIMIT 1000`
)

// Budgets are the counters under keys whose windows are not over.
func (s *Store) Budgets(ctx context.Context, keys ...string) ([]Budget, error) {
	q, args, err := sqlx.In(budgets, keys, At(s.now(ctx)))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return many[Budget](ctx, s, q, args...)
}

// BudgetsUnder are up to a thousand of them whose keys begin with prefix.
func (s *Store) BudgetsUnder(ctx context.Context, prefix string) ([]Budget, error) {
	return many[Budget](ctx, s, budgetsPrefix, prefix, prefix+last, At(s.now(ctx)))
}

// Switch is something an operator can stop for all processes at once.
type Switch struct {
	Name   string `db:"name"`
	OffAt  Time   `db:"off_at"` // not set = it is on
	OffBy  string `db:"off_by"`
	Reason string `db:"reason"`
}

// SwitchSMS stops text messages.
const SwitchSMS = "sms"

const switchColumns = "name, off_at, off_by, reason"

const switchByName = `SELECT ` + switchColumns + ` FROM switches WHERE name = ?`

// Switch reads one, from the database each time.
func (s *Store) Switch(ctx context.Context, name string) (*Switch, error) {
	return one[Switch](ctx, s, "switch", switchByName, name)
}

const setSwitch = `UPDATE switches SET off_at = ?, off_by = ?, reason = ? WHERE name = ?`

// SetSwitch turns one on or off. Audited.
func (s *Store) SetSwitch(ctx context.Context, actor, name string, on bool, reason string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		at, by, action := At(s.now(ctx)), actor, name+".stop"
		if on {
			at, by, reason, action = Time{}, "", "", name+".start"
		}
		n, err := s.exec(ctx, setSwitch, at, by, reason, name)
		if err := changed(n, err, errNotFound("switch")); err != nil {
			return err
		}
		return s.Audit(ctx, actor, action, "switch:"+name, map[string]string{"reason": reason})
	})
}
