package provider_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// fill multiplies what one person has in the database (account, privilege, consent, grant) until there are rows of each: one statement per
// table, run by the database itself, with ids in no order, as random ones are.
func fill(t testing.TB, idp *testidp.IDP, who testidp.Person, rows int) {
	t.Helper()
	driver, address := "sqlite", strings.TrimPrefix(idp.URL, "sqlite:")
	if !strings.HasPrefix(idp.URL, "sqlite:") {
		driver, address = "pgx", idp.URL
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	do := func(statement string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(ctx, statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	columns := func(table string) []string {
		r, err := conn.QueryContext(ctx, "SELECT * FROM "+table+" LIMIT 0")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		list, err := r.Columns()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	// An odd factor modulo 2^32 meets every number once: unique, and in no order.
	const random = "CAST((n * 2654435761) % 4294967296 AS TEXT)"
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	multiply := func(table, where string, set map[string]string) {
		t.Helper()
		cols := columns(table)
		values := make([]string, len(cols))
		for i, c := range cols {
			values[i] = "x." + c
			if v, ok := set[c]; ok {
				values[i] = v
			}
		}
		do(fmt.Sprintf(`WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < %d)
INSERT INTO %s (%s) SELECT %s FROM seq, (SELECT * FROM %s WHERE %s LIMIT 1) AS x`, rows, table, strings.Join(cols, ", "), strings.Join(values, ", "), table, where))
	}
	id := quote(who.ID)
	if driver == "sqlite" {
		do("PRAGMA busy_timeout = 60000")
		do("PRAGMA synchronous = OFF")
	} else {
		do("SET statement_timeout = 0")
	}
	user := "'fill' || " + random
	multiply("users", "id = "+id, map[string]string{"id": user, "email": user + " || '@example.org'", "email_key": user + " || '@example.org'"})
	multiply("assignments", "user_id = "+id, map[string]string{"id": user, "user_id": user})
	multiply("consents", "user_id = "+id, map[string]string{"user_id": user})
	multiply("grants", "user_id = "+id, map[string]string{"id": user, "user_id": user, "sid": user})
	if driver == "pgx" {
		do("ANALYZE") // as autovacuum would
	}
	// Latchkey never runs ANALYZE on SQLite, on purpose: every query here goes by a key, and with statistics (STAT4) SQLite compiles a
	// statement anew whenever a parameter changes, which costs 60 us each time.
}
