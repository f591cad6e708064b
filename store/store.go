// Package store is the database: users, credentials, privileges, clients, grants, sessions and everything else that must outlive a
// process. It owns the schema, the SQL and the rules that only the database can referee: what is unique, what may happen once, who may
// confer which privilege, and that a change and its audit entry are one transaction.
//
// One schema and one query text serve two engines.
//
//	              ┌ reads ──▶ several connections ───────────────┐
//	SQLite  ──────┤                                              ├──▶ latchkey.db (WAL, synchronous=FULL)
//	              └ writes ─▶ one goroutine, one connection:     │
//	                          BEGIN, the waiting writes, COMMIT ─┘
//
//	PostgreSQL ──── reads and writes ──▶ a pool, autocommit; Tx is an ordinary transaction
//
// It refuses: queries that depend on the database's clock (every instant is a parameter), secrets in the clear (callers hash or seal them
// first), changes by an actor who does not hold what he confers, and a schema newer than it knows.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config says how to open a database.
type Config struct {
	// URL is "sqlite:PATH" or "postgres://…".
	URL    string
	Logger *slog.Logger
	// Now is the clock; nil = time.Now. A Tx fixes one instant.
	Now       func() time.Time
	KeepClock bool // Now is the truth and PostgreSQL's clock is not asked: for tests that set the time
	// Readers is how many connections read at once; on PostgreSQL the size of the whole pool. 0 = 4 on SQLite, 16 on PostgreSQL.
	Readers int
	// KeepEvents is how long events stay, and requests for privileges that are over; 0 = 90 days. Purge deletes older ones.
	KeepEvents time.Duration
	// AdminWays are the ways to sign in that open the account of somebody with power over others, as of WaysIn; none = CredPassword. Who has none of
	// them administers nothing, and so does not count as an administrator who is left.
	AdminWays []string
	// KeepMessages is how long sent and expired messages stay; 0 = 7 days.
	KeepMessages time.Duration
}

// Counts are statements sent since the store was opened.
type Counts struct {
	Reads  int64 // SELECT
	Writes int64 // INSERT, UPDATE, DELETE, with or without RETURNING
	// Transactions are calls of Tx that were not part of another, by callers or by methods that need several statements. A single
	// statement is none, although SQLite's writer commits it together with others.
	Transactions int64
	Commits      int64 // commits of SQLite's writer; below Writes when callers shared them
	Upkeep       int64 // statements of Watch and Purge, in no other number
}

// Store is the database. It is safe for concurrent use.
type Store struct {
	engine string
	log    *slog.Logger
	conf   Config

	ownClock func() time.Time
	offset   atomic.Int64 // nanoseconds to add to it (clock.go)

	pool   *sql.DB       // SQLite: the readers; PostgreSQL: everything
	places chan struct{} // one per connection of pool, so that waiting for one can be bounded
	writer *writer       // SQLite only
	sqlite string        // SQLite only: the data source name of the writer

	prepared sync.Map // SQLite only: query → *sql.Stmt on pool
	nPrep    atomic.Int64
	bound    sync.Map // PostgreSQL only: query with ? → query with $1

	reads, writes, transactions, upkeep atomic.Int64

	cache    cache
	unkept   chan struct{} // the snapshot of the definitions may be missing (snapshot.go)
	enqueued bell
	rules    atomic.Pointer[privilege.Rules] // what actions require (acting.go)
}

// Open connects; it does not migrate and it does not refuse an empty schema.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{log: c.Logger, ownClock: c.Now, conf: c, unkept: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.ownClock == nil {
		s.ownClock = time.Now
	}
	if s.conf.KeepEvents <= 0 {
		s.conf.KeepEvents = 90 * 24 * time.Hour
	}
	if s.conf.KeepMessages <= 0 {
		s.conf.KeepMessages = 7 * 24 * time.Hour
	}
	var err error
	switch scheme, rest, _ := strings.Cut(c.URL, ":"); scheme {
	case "sqlite":
		s.engine = SQLite
		err = s.openSQLite(ctx, rest)
	case "postgres", "postgresql":
		s.engine = Postgres
		err = s.openPostgres(ctx, c.URL)
	default:
		err = errors.New(`the address starts with neither "sqlite:" nor "postgres://"`)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	if err := s.measureClock(context.WithValue(ctx, upkeepKey{}, true)); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open: %w", err), s.Close())
	}
	return s, nil
}

// Close ends every connection and goroutine of the store; statements that wait get ErrUnavailable.
func (s *Store) Close() error {
	var err error
	if s.writer != nil {
		err = s.writer.close()
	}
	return errors.Join(err, s.pool.Close())
}

// Engine is SQLite or Postgres.
func (s *Store) Engine() string { return s.engine }

// Counts returns the statements so far.
func (s *Store) Counts() Counts {
	c := Counts{Reads: s.reads.Load(), Writes: s.writes.Load(), Transactions: s.transactions.Load(), Upkeep: s.upkeep.Load()}
	if s.writer != nil {
		c.Commits = s.writer.commits.Load()
	}
	return c
}

// Now is the store's clock, cut to the millisecond the database keeps.
func (s *Store) Now() time.Time { return s.Clock().Truncate(time.Millisecond) }

// Ping reads one row; ErrUnavailable when that fails or takes over a second.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, upkeepKey{}, true), time.Second)
	defer cancel()
	_, err := s.changeCounter(ctx)
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// upkeepKey marks the context of statements that count as upkeep.
type upkeepKey struct{}

func (s *Store) count(ctx context.Context, kind *atomic.Int64) {
	if ctx.Value(upkeepKey{}) != nil {
		kind = &s.upkeep
	}
	kind.Add(1)
}

// rebind turns ? into the engine's placeholders.
func (s *Store) rebind(query string) string {
	if s.engine == SQLite {
		return query
	}
	if q, ok := s.bound.Load(query); ok {
		return q.(string)
	}
	q := sqlx.Rebind(sqlx.DOLLAR, query)
	if s.nPrep.Add(1) <= maxPrepared {
		s.bound.Store(query, q)
	}
	return q
}

// maxPrepared bounds the cached statements: query texts are constants but for the length of an IN list.
const maxPrepared = 400
