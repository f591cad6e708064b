package store

import (
	"context"
	"errors"
	"time"
)

// dryRunTime bounds a dry run. On SQLite it holds the one writer, on PostgreSQL it may hold locks that real changes wait for; once the time is over
// it may send no further statement.
const dryRunTime = 2 * time.Second

var (
	errDryRun = errors.New("store: the end of a dry run")
	errNested = errors.New("store: a dry run within a transaction would undo what is not its own")
)

// DryRun runs fn in a transaction that is always undone: the real code, on real data, and nothing of it stays. What fn is told is told from within,
// so copy it out by value: structs that the store filled in get back what they held before. Like Tx, fn may run more than once.
//
// Nothing else notices: no audit entry is appended, no cache is dropped or filled, no worker is told of a message (all of that waits for a commit), and
// other callers see none of it. Keep fn as short as a sign-in, with no I/O: it is bounded to two seconds.
func (s *Store) DryRun(ctx context.Context, fn func(ctx context.Context) error) error {
	if s.inTx(ctx) != nil {
		return errNested
	}
	ctx, cancel := context.WithTimeout(ctx, dryRunTime)
	defer cancel()
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := fn(ctx); err != nil {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		return nil
	}
	return err
}
