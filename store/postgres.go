package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// statementPatience is a little more than the server's own statement_timeout, for a server that does not answer at all.
	statementPatience = 4 * time.Second
	// txPatience bounds a whole transaction, its BEGIN and COMMIT too.
	txPatience = 10 * time.Second
	// maxTries bounds the runs of a transaction that PostgreSQL undid because of a deadlock or a serialisation failure.
	maxTries = 4
)

// postgresConfig parses the address and sets the limits of security.md J5, unless the address sets its own.
func postgresConfig(url string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	for name, v := range map[string]string{
		"statement_timeout":                   "3000",
		"lock_timeout":                        "1500", // above deadlock_timeout (1 s), so that a deadlock is told from a lock held long, and retried
		"idle_in_transaction_session_timeout": "5000",
		"application_name":                    "latchkey",
		"default_transaction_isolation":       "read committed",
	} {
		if c.RuntimeParams[name] == "" {
			c.RuntimeParams[name] = v
		}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 2 * time.Second
	}
	return c, nil
}

func (s *Store) openPostgres(ctx context.Context, url string) error {
	c, err := postgresConfig(url)
	if err != nil {
		return err
	}
	n := s.conf.Readers
	if n <= 0 {
		n = 16
	}
	s.pool = stdlib.OpenDB(*c)
	s.pool.SetMaxOpenConns(n)
	s.pool.SetMaxIdleConns(n)
	s.pool.SetConnMaxLifetime(30 * time.Minute) // so that a failover or a new password is noticed by every connection in time
	s.pool.SetConnMaxIdleTime(5 * time.Minute)
	s.places = make(chan struct{}, n)
	if err := s.pool.PingContext(ctx); err != nil {
		return errors.Join(mapErr(err), s.pool.Close())
	}
	return nil
}

// queryer is what *sql.DB and *sql.Tx share.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// dbRunner sends to PostgreSQL; pgx keeps prepared statements per connection.
type dbRunner struct {
	s *Store
	q queryer
}

func (r dbRunner) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return r.q.ExecContext(ctx, r.s.rebind(query), args...)
}

func (r dbRunner) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return r.q.QueryContext(ctx, r.s.rebind(query), args...)
}

// postgresTx runs body in a transaction, and again when the database says that it undid it by itself (security.md J4): 40001 and 40P01
// only. Anything else, an unknown outcome of COMMIT above all, is the caller's to know.
func (s *Store) postgresTx(ctx context.Context, body func(context.Context, runner) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for try := 1; ; try++ {
		err := s.postgresTxOnce(ctx, body)
		if err == nil || try == maxTries || !retryable(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(1+rand.IntN(10*try)) * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Store) postgresTxOnce(ctx context.Context, body func(context.Context, runner) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, txPatience)
	defer cancel()
	t, err := s.pool.BeginTx(ctx, nil)
	if err != nil {
		return mapErr(err)
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// Also when body panics. A rollback that fails leaves nothing: the connection goes with it.
		if rerr := t.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) && err == nil {
			err = mapErr(rerr)
		}
	}()
	if err := body(ctx, dbRunner{s, t}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) || errors.Is(err, context.Canceled) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return mapErr(err)
	}
	committed = true
	return nil
}
