package storetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
)

// addresses are those of the stores that OpenWith opened.
var addresses sync.Map

// Contents are what every table of a store that Open or OpenWith opened holds: see ContentsOf.
func Contents(t testing.TB, s *store.Store) map[string]string {
	t.Helper()
	address, ok := addresses.Load(s)
	if !ok {
		t.Fatal("storetest: not a store of this package")
	}
	return ContentsOf(t, address.(string))
}

// ContentsOf are the number of rows and a hash of them for every table of a database, whatever its name: two that are equal were not written between.
// The snapshot of the definitions is left out: it says nothing that other tables do not say, and upkeep may write it at any time. It reads past the store, in a connection of its own.
func ContentsOf(t testing.TB, address string) map[string]string {
	t.Helper()
	driver, tables := "pgx", `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, tables = "sqlite", `SELECT name FROM sqlite_master WHERE type = 'table'`
		address = "file:" + filepath.ToSlash(strings.TrimPrefix(path, "//")) + "?mode=ro&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	out := map[string]string{}
	for _, name := range texts(t, db, tables) {
		if name == "definition_snapshot" {
			continue
		}
		rows := texts(t, db, `SELECT * FROM "`+name+`"`)
		slices.Sort(rows)
		sum := sha256.Sum256([]byte(strings.Join(rows, "\n")))
		out[name] = fmt.Sprintf("%d rows, %s", len(rows), hex.EncodeToString(sum[:8]))
	}
	if len(out) < 10 {
		t.Fatalf("storetest: %d tables", len(out))
	}
	return out
}

// texts is a line for each row.
func texts(t testing.TB, db *sql.DB, query string) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		line := make([]string, len(values))
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			line[i] = fmt.Sprint(v)
		}
		lines = append(lines, strings.Join(line, "\x1f"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
