package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// migrationFiles are numbered SQL files that both engines run, and in a folder per engine the few statements that only one understands.
//
//go:embed migrations
var migrationFiles embed.FS

// Migrate applies what is missing under a lock; ErrSchemaNewer when the database is ahead. It also seeds the seven privileges. Any number
// of processes may call it at once: one works, the others wait and go on.
func (s *Store) Migrate(ctx context.Context) error {
	p, db, err := s.migrations()
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	defer db.Close()
	have, want, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("store: the database has version %d, this program knows up to %d: %w", have, want, ErrSchemaNewer)
	}
	if have < want {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("store: migrate: %w", mapErr(err))
		}
	}
	if err := s.seed(ctx); err != nil {
		return err
	}
	return s.fillWords(ctx)
}

// MigrateDown undoes migrations down to version; 0 leaves an empty database. It loses data, and only tests and an operator who goes back
// to the previous release want it.
func (s *Store) MigrateDown(ctx context.Context, version int64) error {
	p, db, err := s.migrations()
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	defer db.Close()
	if _, err := p.DownTo(ctx, version); err != nil {
		return fmt.Errorf("store: migrate: %w", mapErr(err))
	}
	return nil
}

const schemaVersion = `SELECT MAX(version_id) FROM goose_db_version WHERE is_applied`

// SchemaVersion returns what the database has and what this program knows.
func (s *Store) SchemaVersion(ctx context.Context) (have, want int64, err error) {
	known, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return 0, 0, fmt.Errorf("store: %w", err)
	}
	for _, name := range known {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, 0, fmt.Errorf("store: %w", err)
		}
		want = max(want, v)
	}
	for v := range ownMigrations {
		want = max(want, v)
	}
	var v sql.NullInt64
	v, _, err = value[sql.NullInt64](ctx, s, schemaVersion)
	var pg *pgconn.PgError
	var lite *sqlite.Error
	switch {
	case errors.As(err, &pg) && pg.Code == "42P01", errors.As(err, &lite) && strings.Contains(lite.Error(), "no such table"):
		return 0, want, nil
	case err != nil:
		return 0, want, err
	}
	return v.Int64, want, nil
}

// ownMigrations are those with triggers and collations, which each engine writes differently: the names of their files, in a folder per engine.
var ownMigrations = map[int64]string{2: "00002_audit_guard", 10: "00010_definitions", 20: "00020_sorted_by_bytes"}

// migrations makes goose's provider on a pool of its own, to be closed by the caller.
func (s *Store) migrations() (*goose.Provider, *sql.DB, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, nil, err
	}
	var db *sql.DB
	var locker lock.SessionLocker
	dialect := goose.DialectSQLite3
	if s.engine == SQLite {
		c, err := sqlite.NewConnector(s.sqlite)
		if err != nil {
			return nil, nil, err
		}
		db, locker = sql.OpenDB(savepoints{c}), sqliteLock{}
	} else {
		dialect = goose.DialectPostgres
		c, err := postgresConfig(s.conf.URL)
		if err != nil {
			return nil, nil, err
		}
		// An index on a large table takes longer than a request may.
		c.RuntimeParams["statement_timeout"], c.RuntimeParams["lock_timeout"] = "0", "60000"
		c.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
		db = stdlib.OpenDB(*c)
		if locker, err = lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600)); err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
	}
	var own []*goose.Migration
	for v, name := range ownMigrations {
		up, down, err := s.ownMigration(files, name)
		if err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
		own = append(own, goose.NewGoMigration(v, &goose.GoFunc{RunTx: up}, &goose.GoFunc{RunTx: down}))
	}
	p, err := goose.NewProvider(dialect, db, files, goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.log),
		goose.WithGoMigrations(own...))
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return p, db, nil
}

func (s *Store) ownMigration(files fs.FS, name string) (up, down func(context.Context, *sql.Tx) error, err error) {
	run := func(end string) (func(context.Context, *sql.Tx) error, error) {
		text, err := fs.ReadFile(files, s.engine+"/"+name+end)
		return func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, string(text))
			return err
		}, err
	}
	up, err = run(".up.sql")
	if err != nil {
		return nil, nil, err
	}
	down, err = run(".down.sql")
	return up, down, err
}

// sqliteLock holds SQLite's one write lock for the whole run: other processes wait for it, and it dies with its holder.
type sqliteLock struct{}

// SessionLock implements goose's SessionLocker.
func (sqliteLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		if err == nil || !isBusy(err) || ctx.Err() != nil {
			return err
		}
	}
}

// SessionUnlock implements goose's SessionLocker. A migration that failed has undone itself; those before it stay.
func (sqliteLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}

// savepoints makes goose's transaction per migration a savepoint of the one that sqliteLock holds.
type savepoints struct{ driver.Connector }

func (c savepoints) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := inner.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("store: the SQLite driver's connection is a %T", inner), inner.Close())
	}
	return savepointConn{conn}, nil
}

type sqliteConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

type savepointConn struct{ sqliteConn }

// BeginTx implements driver.ConnBeginTx.
func (c savepointConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if _, err := c.ExecContext(ctx, "SAVEPOINT migration", nil); err != nil {
		return nil, err
	}
	return savepointTx(c), nil
}

type savepointTx struct{ sqliteConn }

// Commit implements driver.Tx.
func (t savepointTx) Commit() error {
	_, err := t.ExecContext(context.Background(), "RELEASE migration", nil)
	return err
}

// Rollback implements driver.Tx.
func (t savepointTx) Rollback() error {
	_, err := t.ExecContext(context.Background(), "ROLLBACK TO migration; RELEASE migration", nil)
	return err
}

const seedPrivilege = `INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at, source)
VALUES (?, ?, ?, ?, '', ?, ?, 'built-in') ON CONFLICT (name) DO NOTHING`

// seed makes the seven privileges of R71. One that an administrator deleted keeps its row and stays deleted.
func (s *Store) seed(ctx context.Context) error {
	have, err := many[Privilege](ctx, s, privilegesAll)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(privilege.BuiltIns(), func(b builtIn) bool {
		return slices.ContainsFunc(have, func(p Privilege) bool { return p.Name == b.Name })
	})
	types, _, err := value[int64](ctx, s, countTypes)
	if err != nil {
		return err
	}
	if len(missing) == 0 && types > 0 {
		return nil
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		for _, b := range missing {
			if _, err := s.exec(ctx, seedPrivilege, b.Name, b.Label, b.Description, true, now, now); err != nil {
				return err
			}
		}
		if types > 0 {
			return s.changed(ctx)
		}
		// Of processes that start together on an empty database one makes the types.
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if n, _, err := value[int64](ctx, s, countTypes); err != nil || n > 0 {
			return err
		}
		if err := s.writeTypes(ctx, "system", nil, privilege.DefaultTypes(), sourceDefault, false); err != nil {
			return err
		}
		return s.typeEverybody(ctx)
	})
}

const (
	countTypes = `SELECT COUNT(*) FROM user_types`
	// Whoever was there before user types has the newcomers' one. The ids are of another form than all others, so they meet none.
	typeUntyped = `INSERT INTO assignments (id, user_id, privilege, given_by, source, source_ref, reason, created_at, ended_by)
SELECT id || '.type', id, ?, 'system', 'type', ?, '', created_at, '' FROM users WHERE user_type = '' AND deleted_at IS NULL`
	nameUntyped = `UPDATE users SET user_type = ? WHERE user_type = ''`
)

func (s *Store) typeEverybody(ctx context.Context) error {
	value, err := s.newcomersType(ctx)
	if err != nil {
		return err
	}
	if _, err := s.exec(ctx, typeUntyped, privilege.TypeNode(value), value); err != nil {
		return err
	}
	_, err = s.exec(ctx, nameUntyped, value)
	return err
}

type builtIn = struct{ Name, Label, Description string }
