package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// fillPeople makes people with names, addresses, links and factors: of many the same, of few something rare.
func fillPeople(b *testing.B, engine, address string, people int) {
	b.Helper()
	s, err := store.Open(b.Context(), store.Config{URL: address})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(s.Migrate(b.Context()), s.Close()); err != nil {
		b.Fatal(err)
	}
	with, series := "", fmt.Sprintf("FROM generate_series(0, %d) AS c (n)", people-1)
	if engine == store.SQLite {
		with, series = fmt.Sprintf("WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < %d) ", people-1), "FROM c"
	}
	// Ids that do not come in the order of names.
	id := `'u' || SUBSTR(CAST(1000000000 + (CAST(n AS BIGINT) * 7919) % 1000003 AS TEXT), 2) || CAST(n AS TEXT)`
	db := behind(b, engine, address)
	defer db.Close() // it is about to be renamed
	for _, q := range []string{
		`INSERT INTO users (id, username, username_key, email, email_key, phone, given_name, family_name, locale, zoneinfo, profile, user_type, must_change_password,
			disabled_at, disabled_reason, last_login_at, created_at, updated_at, version) ` + with + `SELECT ` + id + `, '', '', 'a' || n || '@example.com', 'a' || n || '@example.com', '',
			'Ada', 'Number' || n, '', '', '{}', CASE WHEN n % 1000 = 0 THEN '900' ELSE '100' END, FALSE, CASE WHEN n % 5000 = 0 THEN 1 END, '', 1, 0, 0, 1 ` + series,
		`INSERT INTO user_words (user_id, word) ` + with + `SELECT ` + id + `, 'ada' ` + series,
		`INSERT INTO user_words (user_id, word) ` + with + `SELECT ` + id + `, 'number' || n ` + series,
		`INSERT INTO assignments (id, user_id, privilege, given_by, reason, created_at, ended_by, source, source_ref) ` + with + `SELECT 'a' || n, ` + id + `,
			CASE WHEN n % 3000 = 0 THEN 'trainer' ELSE 'customer' END, 'cli', '', 0, '', 'person', '' ` + series,
		`INSERT INTO identities (id, user_id, connector, issuer, subject, email, email_trust, evidence, created_at) ` + with + `SELECT 'i' || n, ` + id + `,
			CASE WHEN n % 4000 = 0 THEN 'rare' ELSE 'google' END, '', n, '', '', '[]', 0 ` + series,
		`INSERT INTO credentials (id, user_id, kind, label, secret, data, counter, created_at, updated_at) ` + with + `SELECT 'c' || n, ` + id + `, CASE WHEN n % 2000 = 0 THEN 'totp' ELSE 'password' END,
			'', 'x' || n, '', 0, 0, 0 ` + series,
	} {
		if engine == store.Postgres {
			q = strings.ReplaceAll(q, "SELECT 'i' || n, "+id+",\n			CASE WHEN n % 4000 = 0 THEN 'rare' ELSE 'google' END, '', n,", "SELECT 'i' || n, "+id+",\n			CASE WHEN n % 4000 = 0 THEN 'rare' ELSE 'google' END, '', CAST(n AS TEXT),")
		}
		run(b, db, q)
	}
	if engine == store.Postgres {
		run(b, db, "VACUUM ANALYZE")
	}
}

// BenchmarkPeople measures a page of the list of people: of everybody, of what many and few have, of a search, of one that fits nobody, and far behind the
// first. None may take 100 ms with a million (LATCHKEY_BENCH_PEOPLE).
func BenchmarkPeople(b *testing.B) {
	people := benchPeople()
	for _, engine := range storetest.Engines() {
		b.Run(engine, func(b *testing.B) {
			address := kept(b, engine, fmt.Sprintf("people_v1_%d", people), func(address string) { fillPeople(b, engine, address, people) })
			s := storetest.OpenWith(b, engine, store.Config{URL: address})
			for name, q := range map[string]store.PeopleQuery{
				"all": {}, "disabled": {State: store.StateDisabled}, "new": {State: store.StateNew}, "waiting": {State: store.StateWaiting}, "active": {State: store.StateActive},
				"type": {Type: "900"}, "many-of-type": {Type: "100"}, "privilege": {Privilege: "trainer"}, "many-hold": {Privilege: "customer"}, "user": {Privilege: "user"},
				"way": {Way: "google"}, "rare-way": {Way: "rare"}, "factor": {Factor: store.FactorYes}, "no-factor": {Factor: store.FactorNo},
				"email": {Text: "a77"}, "name": {Text: "ada"}, "names": {Text: "ada number77"}, "nobody": {Text: "nobody"},
				"search-and-rare": {Text: "ada", Way: "rare"}, "nothing-fits": {Way: "google", Privilege: "trainer", Factor: store.FactorYes, State: store.StateNew}, "slow": {Factor: store.FactorNo, State: store.StateActive, Type: "100", Way: store.WayPhone},
			} {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						if _, _, err := s.People(b.Context(), q, "", 50); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
