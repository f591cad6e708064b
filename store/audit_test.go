package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// behind opens the database past the store, as somebody with the file or the password would.
func behind(t testing.TB, engine, url string) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", url
	if engine == store.SQLite {
		driver, dsn = "sqlite", strings.TrimPrefix(url, "sqlite:")+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, st := range statements {
		if _, err := db.ExecContext(t.Context(), st); err != nil {
			t.Fatalf("%s: %v", st, err)
		}
	}
}

// TestAuditIsTheChangesTransaction: no change without its entry, no entry without its change (architecture.md, decision 10).
func TestAuditIsTheChangesTransaction(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		u := &store.User{Username: "ada"}
		is(t, s.Tx(ctx, func(ctx context.Context) error {
			must(t, s.CreateUser(ctx, u))
			must(t, s.Audit(ctx, "cli", "user.create", "user:"+u.ID, nil))
			return errStop
		}), errStop, "undone")
		list, err := s.AuditEntries(ctx, 0, 10)
		must(t, err)
		equal(t, len(list), 0, "entries")
		must(t, s.Tx(ctx, func(ctx context.Context) error {
			must(t, s.CreateUser(ctx, u))
			return s.Audit(ctx, "cli", "user.create", "user:"+u.ID, map[string]string{"a": "<b>"})
		}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "user"}))
		list, err = s.AuditEntries(ctx, 0, 10)
		must(t, err)
		equal(t, len(list), 2, "entries")
		equal(t, list[0].Action+list[1].Action, "user.createuser.assign", "actions")
		equal(t, list[1].Prev, list[0].Hash, "chained")
		list, err = s.AuditEntries(ctx, 1, 10)
		must(t, err)
		equal(t, len(list), 1, "entries after the first")
		if s.Audit(ctx, "", "x", "y", nil) == nil || s.Audit(ctx, "cli", "x", "y", func() {}) == nil {
			t.Error("an entry without actor, or that is no JSON, was taken")
		}
		n, broken, err := s.VerifyAudit(ctx)
		must(t, err)
		equal(t, fmt.Sprint(n, broken), "2 0", "verified")
	})
}

// TestSec_H4_AuditTampering edits, deletes, reorders, adds and cuts off rows: the first bad number is named.
func TestSec_H4_AuditTampering(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		for _, c := range []struct {
			name   string
			do     []string
			broken int64
		}{
			{"nothing", nil, 0},
			{"actor", []string{`UPDATE audit SET actor = 'eve' WHERE seq = 4`}, 4},
			{"time", []string{`UPDATE audit SET at = at + 1 WHERE seq = 4`}, 4},
			{"diff", []string{`UPDATE audit SET diff = '{"n":5}' WHERE seq = 4`}, 4},
			{"hash", []string{`UPDATE audit SET hash = 'x' WHERE seq = 4`}, 4},
			{"deleted", []string{`DELETE FROM audit WHERE seq = 4`}, 4},
			{"first deleted", []string{`DELETE FROM audit WHERE seq = 1`}, 1},
			{"all deleted", []string{`DELETE FROM audit`}, 1},
			{"cut off", []string{`DELETE FROM audit WHERE seq > 6`}, 7},
			{"cut off, with the head's number", []string{`DELETE FROM audit WHERE seq > 6`, `UPDATE audit_head SET seq = 6`}, 6},
			{"reordered", []string{`UPDATE audit SET seq = 100 WHERE seq = 4`, `UPDATE audit SET seq = 4 WHERE seq = 5`, `UPDATE audit SET seq = 5 WHERE seq = 100`}, 4},
			{"deleted and closed up", []string{`DELETE FROM audit WHERE seq = 4`, `UPDATE audit SET seq = seq - 1 WHERE seq = 5`, `UPDATE audit SET seq = seq - 1 WHERE seq = 6`}, 4},
			{"one too many", []string{`INSERT INTO audit (seq, at, actor, action, target, diff, prev, hash) VALUES (9, 1, 'cli', 'x', '', '{}', '', '')`}, 9},
			{"no head", []string{`DELETE FROM audit_head`}, 1},
		} {
			t.Run(engine+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				url := storetest.URL(t, engine)
				s := storetest.OpenWith(t, engine, store.Config{URL: url})
				for i := range 8 {
					must(t, s.Audit(t.Context(), "cli", "test", "n", map[string]int{"n": i}))
				}
				db := behind(t, engine, url)
				for _, st := range []string{`UPDATE audit SET actor = 'eve' WHERE seq = 1`, `DELETE FROM audit WHERE seq = 8`} {
					if _, err := db.Exec(st); err == nil || !strings.Contains(err.Error(), "append-only") {
						t.Errorf("%s: %v", st, err)
					}
				}
				if engine == store.SQLite {
					run(t, db, `DROP TRIGGER audit_no_update`, `DROP TRIGGER audit_no_delete`)
				} else {
					run(t, db, `DROP TRIGGER audit_no_change ON audit`)
				}
				run(t, db, c.do...)
				_, broken, err := s.VerifyAudit(t.Context())
				must(t, err)
				equal(t, broken, c.broken, "broken")
			})
		}
	}
}
