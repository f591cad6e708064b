package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// openSQLite opens the writer, which makes the file when it is missing, and the readers.
func (s *Store) openSQLite(ctx context.Context, path string) error {
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return errors.New("SQLite needs a file: sqlite:PATH")
	}
	// The database and, with its mode, the WAL beside it are nobody else's to read. Only a missing file is opened here: closing a file
	// drops every lock this process holds on it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	switch {
	case err == nil:
		if err := f.Close(); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	s.sqlite = sqliteDSN(path, "synchronous(FULL)", "cache_size(-16384)")
	if s.writer, err = newWriter(ctx, s.sqlite); err != nil {
		return err
	}
	n := s.conf.Readers
	if n <= 0 {
		n = 4
	}
	if s.pool, err = sqlitePool(sqliteDSN(path, "query_only(1)", "cache_size(-4096)"), n); err != nil {
		return errors.Join(err, s.writer.close())
	}
	s.places = make(chan struct{}, n)
	return nil
}

// sqliteDSN is a file: URI, so that ? # and % may stand in a path.
func sqliteDSN(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)"}, pragmas...)}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + q.Encode()
}

func sqlitePool(dsn string, n int) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// readers sends a SELECT to the pool, prepared once per connection.
type readers struct{ s *Store }

func (r readers) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return r.s.pool.ExecContext(ctx, query, args...)
}

func (r readers) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	if st, ok := r.s.prepared.Load(query); ok {
		return st.(*sql.Stmt).QueryContext(ctx, args...)
	}
	if r.s.nPrep.Add(1) > maxPrepared {
		return r.s.pool.QueryContext(ctx, query, args...)
	}
	st, err := r.s.pool.PrepareContext(ctx, query)
	if err != nil {
		r.s.nPrep.Add(-1)
		return nil, err
	}
	if old, dup := r.s.prepared.LoadOrStore(query, st); dup {
		r.s.nPrep.Add(-1)
		if err := st.Close(); err != nil {
			return nil, err
		}
		st = old.(*sql.Stmt)
	}
	return st.QueryContext(ctx, args...)
}

// CheckIntegrity looks for a damaged file (SQLite's quick_check), at start and by hand; PostgreSQL checks its pages itself. A check that
// does not end within limit is no error: a large file takes longer than a start may.
func (s *Store) CheckIntegrity(ctx context.Context, limit time.Duration) error {
	if s.engine != SQLite {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A connection of its own, that a deadline may interrupt.
	db, err := sqlitePool(s.sqlite, 1)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer db.Close()
	var problem string
	err = db.QueryRowContext(limited, "PRAGMA quick_check(1)").Scan(&problem)
	var lite *sqlite.Error
	switch {
	case ctx.Err() != nil:
		return mapErr(ctx.Err())
	case limited.Err() != nil:
		s.log.WarnContext(ctx, "integrity check of the database not finished in time", "limit", limit)
		return nil
	case errors.As(err, &lite) && (lite.Code()&0xff == lib.SQLITE_CORRUPT || lite.Code()&0xff == lib.SQLITE_NOTADB):
		return fmt.Errorf("store: the database file is damaged: %w", err)
	case err != nil:
		return mapErr(err)
	case problem != "ok":
		return fmt.Errorf("store: the database file is damaged: %s", problem)
	}
	return nil
}
