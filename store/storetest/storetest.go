// Package storetest opens real databases for tests: SQLite in a temporary directory, and PostgreSQL.
//
// PostgreSQL is the one under LATCHKEY_TEST_POSTGRES (an address whose user may create databases), or else a throw-away server that the
// package starts once per test process, where initdb is on PATH or under /usr/lib/postgresql. It ends with the process, even a killed
// one. Without either the test fails: nothing is skipped.
package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
)

// Engines are the databases that every test of the store runs on.
func Engines() []string { return []string{store.SQLite, store.Postgres} }

// Each runs f on a fresh, migrated store of every engine, in parallel.
func Each(t *testing.T, f func(t *testing.T, s *store.Store)) {
	t.Helper()
	for _, engine := range Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(t, Open(t, engine))
		})
	}
}

// Open returns a fresh, migrated store that closes with the test.
func Open(t testing.TB, engine string) *store.Store {
	t.Helper()
	return OpenWith(t, engine, store.Config{})
}

// OpenWith is Open with a configuration, whose URL is filled in when empty.
func OpenWith(t testing.TB, engine string, c store.Config) *store.Store {
	t.Helper()
	if c.URL == "" {
		c.URL = Migrated(t, engine)
	}
	c.KeepClock = c.Now != nil
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	addresses.Store(s, c.URL)
	t.Cleanup(func() {
		addresses.Delete(s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// URL returns the address of a fresh, empty database that is gone after the test.
func URL(t testing.TB, engine string) string {
	t.Helper()
	if engine == store.Postgres {
		return postgres.create(t, "")
	}
	return "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")
}

// Migrated returns the address of a fresh, migrated database that is gone after the test.
func Migrated(t testing.TB, engine string) string {
	t.Helper()
	if engine == store.Postgres {
		return postgres.migrated(t)
	}
	return migratedFile(t)
}

// template is a migrated SQLite database. Migrations are what most tests would spend most of their time on, with the race detector above all.
var template = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "latchkey-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "latchkey.db")
	s, err := store.Open(context.Background(), store.Config{URL: "sqlite:" + file})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Migrate(context.Background()), s.Close()); err != nil {
		return nil, err
	}
	if wal, err := os.Stat(file + "-wal"); err == nil && wal.Size() > 0 {
		return nil, errors.New("storetest: the template is not all in one file")
	}
	return os.ReadFile(file)
})

// migratedFile returns the address of a copy of the template.
func migratedFile(t testing.TB) string {
	t.Helper()
	content, err := template()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "latchkey.db")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + file
}
