package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// benchPeople is how many people the fixture of BenchmarkRights has: LATCHKEY_BENCH_PEOPLE, or enough for a laptop.
func benchPeople() int {
	if n, err := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_PEOPLE")); err == nil && n > 0 {
		return n
	}
	return 100_000
}

// benchDir is where fixtures are kept between runs: LATCHKEY_BENCH_DIR, or this user's folder for what can be made again.
func benchDir(b *testing.B) string {
	b.Helper()
	if dir := os.Getenv("LATCHKEY_BENCH_DIR"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 { // whose folders nobody else may enter, and PostgreSQL does not run as root
		return "/var/tmp/latchkey-bench"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(dir, "latchkey-bench")
}

// rightsFixture is the name of the database with these parameters. Whoever changes what fillRights makes raises the number.
func rightsFixture(people int) string { return fmt.Sprintf("rights_v1_%d", people) }

// keptRights returns a database of 10,000 privileges with five parents each and people with ten assignments each, and makes it first if it is
// not there. Made is made whole: it gets its name at the end.
func keptRights(b *testing.B, engine string, people int) (address string) {
	b.Helper()
	return kept(b, engine, rightsFixture(people), func(address string) { fillRights(b, engine, address, people) })
}

// kept returns the database of a name, which fill fills when it is not there yet.
func kept(b *testing.B, engine, name string, fill func(address string)) (address string) {
	b.Helper()
	dir := benchDir(b)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if engine == store.SQLite {
		path := filepath.Join(dir, name+".db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			for _, end := range []string{"", "-wal", "-shm", "-journal"} { // of a run that was stopped
				if err := os.Remove(path + ".new" + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
					b.Fatal(err)
				}
			}
			fill("sqlite:" + path + ".new")
			if err := os.Rename(path+".new", path); err != nil {
				b.Fatal(err)
			}
		}
		return "sqlite:" + path
	}
	base := storetest.Kept(b, filepath.Join(dir, "postgres"))
	db := behind(b, engine, base)
	var there bool
	if err := db.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(base)
	if err != nil {
		b.Fatal(err)
	}
	of := func(name string) string { u.Path = "/" + name; return u.String() }
	if !there {
		run(b, db, "DROP DATABASE IF EXISTS "+name+"_new WITH (FORCE)")
		run(b, db, "CREATE DATABASE "+name+"_new")
		fill(of(name + "_new"))
		run(b, db, "ALTER DATABASE "+name+"_new RENAME TO "+name)
	}
	return of(name)
}

// fillRights makes the fixture: in one transaction, without the indexes and the checks of references, which come afterwards.
func fillRights(b *testing.B, engine, address string, people int) {
	b.Helper()
	start := time.Now()
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{URL: address})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(s.Migrate(ctx), s.Close()); err != nil {
		b.Fatal(err)
	}
	driver, dsn, indexes := "pgx", address, `SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('users', 'assignments') AND indexname NOT LIKE '%\_pkey'`
	series := func(n int) string { return fmt.Sprintf(`FROM generate_series(0, %d) AS c (n)`, n-1) }
	with := func(int) string { return "" }
	before, after := []string{`SET session_replication_role = replica`, `SET maintenance_work_mem = '512MB'`}, []string{`VACUUM ANALYZE`}
	if engine == store.SQLite {
		driver, dsn = "sqlite", strings.TrimPrefix(address, "sqlite:")+"?_pragma=synchronous(OFF)&_pragma=cache_size(-400000)&_pragma=temp_store(2)"
		indexes = `SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('users', 'assignments') AND sql IS NOT NULL`
		with = func(n int) string {
			return fmt.Sprintf(`WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < %d) `, n-1)
		}
		series = func(int) string { return `FROM c` }
		before, after = nil, nil
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var drop, create []string
	rows, err := db.Query(indexes)
	if err != nil {
		b.Fatal(err)
	}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			b.Fatal(err)
		}
		drop, create = append(drop, "DROP INDEX "+name), append(create, text)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		b.Fatal(err)
	}
	who := func(n string) string { return `'u' || SUBSTR(CAST(1000000000 + ` + n + ` AS TEXT), 2)` }
	n := 10 * people
	statements := append(append(before, `BEGIN`), drop...)
	statements = append(statements,
		`INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) `+with(10_000)+
			`SELECT 'p' || n, 'P', '', FALSE, '', 0, 0 `+series(10_000),
		// Levels of 500: each includes five of the next.
		`INSERT INTO privilege_includes (id, parent, child, started_at, started_by, ended_by) `+with(47_500)+
			`SELECT 'i' || n, 'p' || (n / 5), 'p' || ((n / 5 / 500 + 1) * 500 + (n / 5 * 7 + n % 5 * 31) % 500), 0, 'cli', '' `+series(47_500),
		`INSERT INTO users (id, username, username_key, email, email_key, phone, given_name, family_name, locale, zoneinfo, profile, user_type,
			must_change_password, disabled_reason, created_at, updated_at, version) `+with(people)+
			`SELECT `+who("n")+`, '', '', '', '', '', '', '', '', '', '{}', '100', FALSE, '', 0, 0, 1 `+series(people),
		// A tenth of all people hold p0, which nothing includes, and nobody else does. One person's rows lie apart, as they do where they came one by one.
		`INSERT INTO assignments (id, user_id, privilege, given_by, reason, created_at, ended_by, source, source_ref) `+with(n)+fmt.Sprintf(
			`SELECT 'a' || SUBSTR(CAST(1000000000 + n AS TEXT), 2), %s, 'p' || (CASE WHEN n >= %d THEN 1 + (n %% %d * 7 + n / %d * 1013) %% 9999 WHEN n %% 10 = 0 THEN 0 ELSE 1 + (n * 7) %% 9999 END),
			'cli', '', 0, '', 'person', '' `, who(fmt.Sprintf("n %% %d", people)), people, people, people)+series(n),
		`UPDATE counters SET n = n + 1 WHERE name = 'changes'`)
	statements = append(append(append(statements, create...), `COMMIT`), after...)
	for _, q := range statements {
		run(b, db, q)
	}
	b.Logf("%s: %d people and %d assignments made in %v", engine, people, n, time.Since(start).Round(time.Second))
}

// BenchmarkRights measures what the privilege model costs with 10,000 privileges of five parents each and ten assignments per person: a person's
// closure (warm; cold, as a new process finds it or another's change leaves it; the same before anybody stored a snapshot of the definitions; and with the opening
// of the store), what the gate and the definitions cost, and what an edit would do that touches a tenth of all
// people, or all. The database is kept for the next run, see benchDir.
func BenchmarkRights(b *testing.B) {
	people := benchPeople()
	for _, engine := range storetest.Engines() {
		b.Run(engine, func(b *testing.B) {
			address := keptRights(b, engine, people)
			s := storetest.OpenWith(b, engine, store.Config{URL: address})
			ctx := b.Context()
			if err := s.KeepSnapshot(ctx); err != nil {
				b.Fatal(err)
			}
			read := func(s *store.Store, i int) {
				m, err := s.Model(ctx)
				if err != nil {
					b.Fatal(err)
				}
				l, err := s.Live(ctx, fmt.Sprintf("u%09d", i*7919%people))
				if err != nil {
					b.Fatal(err)
				}
				if n := len(m.Effective(l, store.At(s.Now()))); n < 100 {
					b.Fatal("the closure is too small to prove anything: ", n)
				}
			}
			b.Run("warm", func(b *testing.B) {
				for i := range 100 {
					read(s, i)
				}
				before := s.Counts()
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; b.Loop(); i++ {
					read(s, i)
				}
				b.ReportMetric(float64(s.Counts().Reads-before.Reads)/float64(b.N), "reads/op")
			})
			b.Run("cold", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					s.Forget()
					read(s, i)
				}
			})
			b.Run("unkept", func(b *testing.B) {
				run(b, behind(b, engine, address), `UPDATE definition_snapshot SET generation = 0`)
				for i := 0; b.Loop(); i++ {
					s.Forget()
					read(s, i)
				}
				if err := s.KeepSnapshot(ctx); err != nil {
					b.Fatal(err)
				}
			})
			b.Run("start", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					fresh, err := store.Open(ctx, store.Config{URL: address})
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					read(fresh, i)
					b.StopTimer()
					fresh.Close()
					b.StartTimer()
				}
			})
			b.Run("gate", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if err := s.DryRun(ctx, func(ctx context.Context) error {
						return s.Assign(ctx, "cli", &store.Assignment{UserID: fmt.Sprintf("u%09d", i*7919%people), Privilege: "trainer"})
					}); err != nil {
						b.Fatal(err)
					}
				}
			})
			db := behind(b, engine, address)
			b.Run("define", func(b *testing.B) { // 10,000 privileges in one transaction
				for b.Loop() {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						b.Fatal(err)
					}
					for i := range 10_000 {
						q := fmt.Sprintf(`INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('q%d', '', '', FALSE, '', 0, 0)`, i)
						if _, err := tx.ExecContext(ctx, q); err != nil {
							b.Fatal(err)
						}
					}
					if err := tx.Rollback(); err != nil {
						b.Fatal(err)
					}
				}
			})
			impact := func(name string, want int) {
				b.Run(fmt.Sprintf("impact/%d", want), func(b *testing.B) {
					for b.Loop() {
						i, err := s.Impact(ctx, store.Edit{Privilege: name, Includes: []string{"trainer"}})
						if err != nil || i.Gain != want {
							b.Fatal(i, err)
						}
					}
				})
			}
			impact("p0", people/10)
			impact("p9500", people)
		})
	}
}
