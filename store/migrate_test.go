package store_test

import (
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func TestMigrateUpAndDown(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			url := storetest.URL(t, engine)
			s, err := store.Open(ctx, store.Config{URL: url})
			must(t, err)
			defer s.Close()
			version := func(want int64) {
				t.Helper()
				have, know, err := s.SchemaVersion(ctx)
				must(t, err)
				equal(t, have, want, "version")
				equal(t, know, 20, "known version")
			}
			version(0)
			if _, err := s.User(ctx, "x"); err == nil {
				t.Error("an empty database answered")
			}
			must(t, s.Migrate(ctx))
			version(20)
			user(t, s, "user")
			// Somebody from before user types has the newcomers' one afterwards.
			old := user(t, s, "trainer")
			must(t, s.MigrateDown(ctx, 4))
			version(4)
			must(t, s.Migrate(ctx))
			l, err := s.Live(ctx, old.ID)
			must(t, err)
			equal(t, l.User.UserType, "100", "type")
			m, err := s.Model(ctx)
			must(t, err)
			equal(t, strings.Join(m.Effective(l, store.At(s.Now())), " "), "trainer user", "holds")
			must(t, s.MigrateDown(ctx, 4))
			version(4)
			must(t, s.MigrateDown(ctx, 3))
			version(3)
			must(t, s.MigrateDown(ctx, 2))
			version(2)
			must(t, s.MigrateDown(ctx, 1))
			version(1)
			run(t, behind(t, engine, url), `DELETE FROM audit`) // the guard is gone
			must(t, s.MigrateDown(ctx, 0))
			version(0)
			db := behind(t, engine, url)
			query := `SELECT COUNT(*) FROM sqlite_master WHERE name NOT LIKE '%goose%' AND name NOT LIKE 'sqlite_%'`
			if engine == store.Postgres {
				query = `SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '%goose%'`
			}
			var n int
			must(t, db.QueryRow(query).Scan(&n))
			equal(t, n, 0, "tables and indexes left")
			must(t, s.Migrate(ctx))
			user(t, s, "user")
		})
	}
}

// TestNewerSchemaIsRefused: an old program on a new database would lose what it does not know.
func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			run(t, behind(t, engine, url), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`)
			is(t, s.Migrate(t.Context()), store.ErrSchemaNewer, "migrate")
			have, want, err := s.SchemaVersion(t.Context())
			must(t, err)
			if have != 99 || want != 20 {
				t.Errorf("version %d, %d", have, want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "latchkey.db", "mysql://x", "sqlite:", "sqlite::memory:", "sqlite:" + t.TempDir(), "sqlite:/nonexistent/dir/x.db",
		"postgres://127.0.0.1:1/none", "postgres://%zz"} {
		if s, err := store.Open(t.Context(), store.Config{URL: url}); err == nil {
			t.Errorf("%q opened", url)
			s.Close()
		}
	}
}
