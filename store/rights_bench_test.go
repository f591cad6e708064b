package store_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

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

// BenchmarkRights measures what the privilege model costs with 10,000 privileges of five parents each and ten assignments per person: a person's
// closure with the definitions in memory and without, and what an edit that touches everybody would do.
func BenchmarkRights(b *testing.B) {
	people := benchPeople()
	for _, engine := range storetest.Engines() {
		b.Run(engine, func(b *testing.B) {
			url := storetest.URL(b, engine)
			s := storetest.OpenWith(b, engine, store.Config{URL: url})
			db := behind(b, engine, url)
			run := func(query string, args ...any) {
				b.Helper()
				if _, err := db.Exec(query, args...); err != nil {
					b.Fatal(err)
				}
			}
			series := func(n int) string {
				return fmt.Sprintf(`WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < %d) `, n-1)
			}
			run(`INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) ` + series(10_000) +
				`SELECT 'p' || n, 'P', '', FALSE, '', 0, 0 FROM c`)
			// Levels of 500: each includes five of the next.
			run(`INSERT INTO privilege_includes (id, parent, child, started_at, started_by, ended_by) ` + series(47_500) +
				`SELECT 'i' || n, 'p' || (n / 5), 'p' || ((n / 5 / 500 + 1) * 500 + (n / 5 * 7 + n % 5 * 31) % 500), 0, 'cli', '' FROM c`)
			run(`INSERT INTO users (id, username, username_key, email, email_key, phone, given_name, family_name, locale, zoneinfo, profile, user_type,
				must_change_password, disabled_reason, created_at, updated_at, version) ` + series(people) +
				`SELECT 'u' || n, '', '', '', '', '', '', '', '', '', '{}', '100', FALSE, '', 0, 0, 1 FROM c`)
			run(`INSERT INTO assignments (id, user_id, privilege, given_by, reason, created_at, ended_by, source, source_ref) ` + series(10*people) +
				`SELECT 'a' || n, 'u' || (n / 10), 'p' || (CASE n % 10 WHEN 0 THEN 9000 ELSE (n * 13) % 10000 END), 'cli', '', 0, '', 'person', '' || n FROM c`)
			run(`UPDATE counters SET n = n + 1 WHERE name = 'changes'`)
			if engine == store.Postgres {
				run(`ANALYZE`)
			}
			ctx := b.Context()
			read := func(s *store.Store, user string) int {
				m, err := s.Model(ctx)
				if err != nil {
					b.Fatal(err)
				}
				l, err := s.Live(ctx, user)
				if err != nil {
					b.Fatal(err)
				}
				return len(m.Effective(l, store.At(s.Now())))
			}
			b.Run("warm", func(b *testing.B) {
				read(s, "u0")
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; b.Loop(); i++ {
					if n := read(s, fmt.Sprint("u", i%people)); n < 100 {
						b.Fatal("the closure is too small to prove anything: ", n)
					}
				}
			})
			b.Run("cold", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					fresh, err := store.Open(ctx, store.Config{URL: url})
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					read(fresh, fmt.Sprint("u", i%people))
					b.StopTimer()
					fresh.Close()
					b.StartTimer()
				}
			})
			b.Run(fmt.Sprintf("impact/%d", people), func(b *testing.B) {
				for b.Loop() {
					i, err := s.Impact(ctx, store.Edit{Privilege: "p9000", Includes: []string{"trainer"}})
					if err != nil || i.Gain != people {
						b.Fatal(i, err)
					}
				}
			})
		})
	}
}
