package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/jmoiron/sqlx/reflectx"
)

// runner is where statements go: the readers, the writer's connection, a pool or a transaction.
type runner interface {
	exec(ctx context.Context, query string, args []any) (sql.Result, error)
	query(ctx context.Context, query string, args []any) (*sql.Rows, error)
}

// tx is one transaction; it travels in the context, the only dependency that does.
type tx struct {
	on     runner
	caller context.Context // of the call that opened it: once that is done, no further statement is sent
	now    time.Time
	audit  []AuditEntry // appended to the chain just before the commit, so that its head is locked for a moment only
	after  []func()     // run after the commit
	undo   []func()     // run when it failed, before another try
}

type txKey struct{ *Store }

func (s *Store) inTx(ctx context.Context) *tx {
	t, _ := ctx.Value(txKey{s}).(*tx)
	return t
}

// now is the instant of the transaction in ctx, else the clock's.
func (s *Store) now(ctx context.Context) time.Time {
	if t := s.inTx(ctx); t != nil {
		return t.now
	}
	return s.Now()
}

// Tx runs fn in one transaction, joining the one in ctx. On SQLite fn runs on the writer and shares a commit with other callers (its own
// savepoint): keep it short, do no I/O in it, and use only the ctx it is given. On PostgreSQL fn may run more than once, when the
// database resolved a deadlock, and a statement that failed spoils the rest of the transaction: return its error.
//
// An error of fn undoes everything fn did, and is returned as it is. A joined Tx is undone only together with the outer one.
func (s *Store) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	if s.inTx(ctx) != nil {
		return fn(ctx)
	}
	s.count(ctx, &s.transactions)
	var t *tx
	body := func(inner context.Context, on runner) error {
		t.rollback()
		t = &tx{on: on, caller: ctx, now: s.Now()}
		if s.engine == Postgres {
			t.caller = inner // ends with the transaction's own patience, too
		}
		inner = context.WithValue(inner, txKey{s}, t)
		if err := fn(inner); err != nil {
			return err
		}
		return s.flushAudit(inner, t)
	}
	var err error
	if s.writer != nil {
		err = s.writer.do(ctx, true, func(on runner) error { return body(context.WithoutCancel(ctx), on) })
	} else {
		err = s.postgresTx(ctx, body)
	}
	if err != nil {
		t.rollback()
		return err
	}
	for _, f := range t.after {
		f()
	}
	return nil
}

// rollback gives the callers' structs back what they held before.
func (t *tx) rollback() {
	if t == nil {
		return
	}
	for _, f := range slices.Backward(t.undo) {
		f()
	}
	t.undo = nil
}

// fill sets what a method tells its caller about a row. In a Tx it is undone when the transaction fails, so that the caller's struct says
// what the database says, and another try starts from the same values.
func fill[T any](ctx context.Context, s *Store, p *T, v T) {
	if t := s.inTx(ctx); t != nil {
		old := *p
		t.undo = append(t.undo, func() { *p = old })
	}
	*p = v
}

// onCommit runs f after the transaction in ctx commits, at once when there is none.
func (s *Store) onCommit(ctx context.Context, f func()) {
	if t := s.inTx(ctx); t != nil {
		t.after = append(t.after, f)
		return
	}
	f()
}

// read runs a SELECT and hands its rows to scan. The rows are closed for it.
func (s *Store) read(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	s.count(ctx, &s.reads)
	if t := s.inTx(ctx); t != nil {
		if err := t.caller.Err(); err != nil {
			return mapErr(err)
		}
		ctx, cancel := s.patient(ctx)
		defer cancel()
		return mapErr(queryOn(ctx, t.on, query, args, scan))
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.engine == SQLite {
		// A read takes microseconds and no lock of ours; watching ctx would cost two goroutines.
		return mapErr(queryOn(context.WithoutCancel(ctx), readers{s}, query, args, scan))
	}
	ctx, cancel := s.patient(ctx)
	defer cancel()
	return mapErr(queryOn(ctx, dbRunner{s, s.pool}, query, args, scan))
}

// write runs a statement that changes rows, alone or in the transaction in ctx. With scan it returns rows (RETURNING); without, n is the
// number of rows changed.
func (s *Store) write(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (n int64, err error) {
	s.count(ctx, &s.writes)
	once := func(ctx context.Context, on runner) error {
		if scan != nil {
			return queryOn(ctx, on, query, args, scan)
		}
		r, err := on.exec(ctx, query, args)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	}
	if t := s.inTx(ctx); t != nil {
		if err := t.caller.Err(); err != nil {
			return 0, mapErr(err)
		}
		ctx, cancel := s.patient(ctx)
		defer cancel()
		err := once(ctx, t.on)
		return n, mapErr(err)
	}
	if s.writer != nil {
		err = s.writer.do(ctx, false, func(on runner) error { return once(context.WithoutCancel(ctx), on) })
		return n, mapErr(err)
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	ctx, cancel := s.patient(ctx)
	defer cancel()
	err = once(ctx, dbRunner{s, s.pool})
	if retryable(err) { // the database says that it did not happen (security.md J4)
		err = once(ctx, dbRunner{s, s.pool})
	}
	return n, mapErr(err)
}

// patient bounds a statement sent to PostgreSQL; SQLite's are bounded by its wait for a lock.
func (s *Store) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.engine == SQLite {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, statementPatience)
}

// exec is write without rows.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return s.write(ctx, query, args, nil)
}

// changed turns "no row changed" into err.
func changed(n int64, err, none error) error {
	if err == nil && n == 0 {
		return none
	}
	return err
}

func queryOn(ctx context.Context, on runner, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := on.query(ctx, query, args)
	if err != nil {
		return err
	}
	err = scan(rows)
	if err == nil {
		// A RETURNING statement has done its work only when it was read to its end.
		for rows.Next() {
		}
		err = rows.Err()
	}
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	return err
}

// row is a type that lists pointers to its fields in the order of its columns: what is read on every request is scanned without
// reflection.
type row interface{ fields() []any }

// mapper finds the field of a column by its db tag.
var mapper = reflectx.NewMapperFunc("db", strings.ToLower)

func scanRow(r *sqlx.Rows, into any) error {
	if f, ok := into.(row); ok {
		return r.Scan(f.fields()...)
	}
	return r.StructScan(into)
}

// one reads one row; ErrNotFound, with what, when there is none.
func one[T any](ctx context.Context, s *Store, what, query string, args ...any) (*T, error) {
	var v *T
	err := s.read(ctx, query, args, func(r *sql.Rows) error {
		if !r.Next() {
			return r.Err()
		}
		v = new(T)
		return scanRow(&sqlx.Rows{Rows: r, Mapper: mapper}, v)
	})
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fmt.Errorf("store: %s: %w", what, ErrNotFound)
	}
	return v, nil
}

// many reads all rows.
func many[T any](ctx context.Context, s *Store, query string, args ...any) ([]T, error) {
	var list []T
	err := s.read(ctx, query, args, collect(&list))
	return list, err
}

func collect[T any](list *[]T) func(*sql.Rows) error {
	return func(r *sql.Rows) error {
		*list = nil
		rows := &sqlx.Rows{Rows: r, Mapper: mapper}
		for r.Next() {
			var v T
			if err := scanRow(rows, &v); err != nil {
				return err
			}
			*list = append(*list, v)
		}
		return r.Err()
	}
}

// value reads one column of one row; ok is false when there is none.
func value[T any](ctx context.Context, s *Store, query string, args ...any) (v T, ok bool, err error) {
	err = s.read(ctx, query, args, single(&v, &ok))
	return v, ok, err
}

func single[T any](v *T, ok *bool) func(*sql.Rows) error {
	return func(r *sql.Rows) error {
		*ok = false
		if !r.Next() {
			return r.Err()
		}
		*ok = true
		return r.Scan(v)
	}
}

// insertInto makes an INSERT with a named parameter per column.
func insertInto(table, columns string) string {
	return "INSERT INTO " + table + " (" + columns + ") VALUES (:" + strings.ReplaceAll(columns, ", ", ", :") + ")"
}

// marks is "?, ?, ?" for a list of columns.
func marks(columns string) string {
	return "?" + strings.Repeat(", ?", strings.Count(columns, ","))
}

// prefixed is the columns with a table alias before each.
func prefixed(alias, columns string) string {
	return alias + "." + strings.ReplaceAll(columns, ", ", ", "+alias+".")
}

// named runs an INSERT or UPDATE with named parameters taken from v's db tags.
func (s *Store) named(ctx context.Context, query string, v any) (int64, error) {
	q, args, err := sqlx.Named(query, v)
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	return s.write(ctx, q, args, nil)
}

// enter waits for a connection, a second at most: load is shed before it queues up (security.md J5).
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return mapErr(err)
	}
	select {
	case s.places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case s.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return mapErr(ctx.Err())
	case <-timer.C:
		return fmt.Errorf("store: no connection free within a second: %w", ErrUnavailable)
	}
}

func (s *Store) leave() { <-s.places }
