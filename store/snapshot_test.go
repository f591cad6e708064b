package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// said is a graph as text.
func said(g *privilege.Graph) string {
	var out []string
	for _, n := range append(g.Names(), privilege.TypeNode("100"), privilege.TypeNode("500")) {
		if g.Has(n) {
			out = append(out, n+"="+strings.Join(g.Includes(n), "+"))
		}
	}
	return strings.Join(out, " ")
}

// agree says that whoever asks gets what is in the tables, with the snapshot as it is and with a new one.
func agree(t *testing.T, s *store.Store, what string) {
	t.Helper()
	ctx := t.Context()
	past, err := s.GraphPast(ctx)
	must(t, err)
	for _, when := range []string{"before a new snapshot", "after it"} {
		g, err := s.GraphNow(ctx)
		must(t, err)
		equal(t, said(g), said(past), what+", "+when)
		must(t, s.KeepSnapshot(ctx))
	}
	g, err := s.Snapshot(ctx)
	must(t, err)
	if g == nil {
		t.Fatalf("%s: no snapshot was stored", what)
	}
	equal(t, said(g), said(past), what+", the snapshot")
}

// TestSnapshot_EveryPath: whoever changes a definition, by whichever door, the snapshot of before is taken no more.
func TestSnapshot_EveryPath(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			db := behind(t, engine, url)
			agree(t, s, "a new database")
			create := func(names ...string) func(context.Context) error {
				return func(ctx context.Context) error {
					return s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: names[0], Includes: names[1:], ClientID: clientOf(names[0])})
				}
			}
			include := func(name string, children ...string) func(context.Context) error {
				return func(ctx context.Context) error { return s.SetIncludes(ctx, "cli", name, children) }
			}
			types := func(privilegeOf string) func(context.Context) error {
				return func(ctx context.Context) error {
					return s.SetUserTypes(ctx, "cli", append(privilege.DefaultTypes(),
						privilege.UserType{Value: "500", Names: []string{"member"}, Text: "Member", Privilege: privilegeOf}))
				}
			}
			sql := func(text string) func(context.Context) error {
				return func(ctx context.Context) error { _, err := db.ExecContext(ctx, text); return err }
			}
			c := client(t, s)
			role := c.ID + ":editor"
			// What is the same afterwards leaves the snapshot where it is.
			for _, step := range []struct {
				name string
				do   func(context.Context) error
				same bool
			}{
				{"create", create("base"), false},
				{"create with an include", create("staff", "base"), false},
				{"describe", func(ctx context.Context) error {
					return s.DescribePrivilege(ctx, "cli", "staff", "Staff", "", nil, "")
				}, true},
				{"requestable", func(ctx context.Context) error { return s.SetRequestable(ctx, "cli", "staff", true) }, true},
				{"include", include("staff", "base", "trainer"), false},
				{"exclude", include("staff", "trainer"), false},
				{"a user type", types("staff"), false},
				{"a user type of something else", types("base"), false},
				{"a user type of nothing", types(""), false},
				{"a client's role", create(role, "base"), false},
				{"the client's removal", func(ctx context.Context) error { return s.RemoveClient(ctx, "cli", c.ID) }, false},
				{"delete", func(ctx context.Context) error { _, err := s.DeletePrivilege(ctx, "cli", "base"); return err }, false},
				{"several in one transaction", func(ctx context.Context) error {
					return s.Tx(ctx, func(ctx context.Context) error {
						for i := range 3 {
							if err := create(fmt.Sprint("tx", i), "staff")(ctx); err != nil {
								return err
							}
							within, err := s.GraphNow(ctx)
							if err != nil || !within.Has(fmt.Sprint("tx", i)) {
								t.Errorf("not seen within: %v", err)
							}
							if err := s.KeepSnapshot(ctx); err == nil {
								t.Error("a snapshot within a transaction")
							}
						}
						return nil
					})
				}, false},
				{"a transaction that failed", func(ctx context.Context) error {
					is(t, s.Tx(ctx, func(ctx context.Context) error { must(t, create("never")(ctx)); return errStop }), errStop, "undone")
					return nil
				}, true},
				{"a dry run", func(ctx context.Context) error { return s.DryRun(ctx, create("never")) }, true},
				{"an insert by hand", sql(`INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('hand', '', '', FALSE, '', 0, 0)`), false},
				{"an include by hand", sql(`INSERT INTO privilege_includes (id, parent, child, started_at, started_by, ended_by) VALUES ('h', 'staff', 'hand', 0, 'cli', '')`), false},
				{"another child by hand", sql(`UPDATE privilege_includes SET child = 'customer' WHERE id = 'h'`), false},
				{"an end by hand", sql(`UPDATE privilege_includes SET ended_at = 1 WHERE id = 'h'`), false},
				{"a label by hand", sql(`UPDATE privileges SET label = 'Hand', updated_at = 5`), true},
				{"who ended it by hand", sql(`UPDATE privilege_includes SET ended_by = 'x'`), true},
				{"back by hand", sql(`UPDATE privilege_includes SET ended_at = NULL WHERE id = 'h'`), false},
				{"an include deleted by hand", sql(`DELETE FROM privilege_includes WHERE id = 'h'`), false},
				{"a deletion by hand", sql(`UPDATE privileges SET deleted_at = 1 WHERE name = 'hand'`), false},
				{"a revival by hand", sql(`UPDATE privileges SET deleted_at = NULL WHERE name = 'hand'`), false},
				{"a row deleted by hand", sql(`DELETE FROM privileges WHERE name = 'hand'`), false},
				{"all includes by hand", sql(`DELETE FROM privilege_includes`), false},
			} {
				before, err := s.GraphPast(ctx)
				must(t, err)
				must(t, step.do(ctx))
				after, err := s.GraphPast(ctx)
				must(t, err)
				equal(t, said(after) == said(before), step.same, step.name+": the definitions stay")
				g, err := s.Snapshot(ctx)
				must(t, err)
				equal(t, g != nil, step.same, step.name+": the snapshot stays")
				agree(t, s, step.name)
			}
			whole(t, s)
		})
	}
}

func clientOf(name string) string {
	id, _, role := strings.Cut(name, ":")
	if !role {
		return ""
	}
	return id
}

// TestSnapshot_Savepoint: a raise that was undone with a savepoint is made again by the next change of the same transaction.
func TestSnapshot_Savepoint(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			agree(t, s, "before")
			tx, err := behind(t, engine, url).BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			insert := func(name string) string {
				return `INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('` + name + `', '', '', FALSE, '', 0, 0)`
			}
			for _, q := range []string{`SAVEPOINT a`, insert("undone"), `ROLLBACK TO a`, insert("stays")} {
				_, err := tx.ExecContext(t.Context(), q)
				must(t, err)
			}
			must(t, tx.Commit())
			g, err := s.GraphNow(t.Context())
			must(t, err)
			equal(t, g.Has("stays"), true, "the change after the savepoint is seen")
			agree(t, s, "after")
		})
	}
}

// TestSnapshot_Postgres: what only PostgreSQL can do to the triggers.
func TestSnapshot_Postgres(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.OpenWith(t, store.Postgres, store.Config{URL: url})
	db := behind(t, store.Postgres, url)
	db.SetMaxOpenConns(1) // settings are those of a connection
	insert := func(name string) string {
		return `INSERT INTO public.privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('` + name + `', '', '', FALSE, '', 0, 0)`
	}
	for _, q := range []string{`SET search_path = ''`, `SET session_replication_role = replica`, `SELECT set_config('latchkey.definitions', txid_current() || ' public', FALSE)`} {
		run(t, db, q)
		for _, name := range []string{"one", "two"} {
			agree(t, s, "before "+q)
			run(t, db, insert(name))
			g, err := s.GraphNow(t.Context())
			must(t, err)
			equal(t, g.Has(name), true, q+", "+name)
		}
		run(t, db, `DELETE FROM public.privileges WHERE name IN ('one', 'two')`)
	}
	agree(t, s, "before truncating")
	run(t, db, `TRUNCATE public.privilege_includes`)
	g, err := s.Snapshot(t.Context())
	must(t, err)
	equal(t, g, nil, "the snapshot after truncating")

	// Ten thousand changes in one transaction are one raise.
	generation := func() (n int64) {
		must(t, db.QueryRow(`SELECT generation FROM public.definitions`).Scan(&n))
		return n
	}
	before := generation()
	run(t, db, `DO $$ BEGIN FOR i IN 1..10000 LOOP INSERT INTO public.privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('n' || i, '', '', FALSE, '', 0, 0); END LOOP; END $$`)
	equal(t, generation()-before, 1, "raised by")
	agree(t, s, "after many")
}

// TestSnapshot_Damaged: what is not whole, or of another release, is not taken, and made again.
func TestSnapshot_Damaged(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			db := behind(t, engine, url)
			must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff", Includes: store.Strings{"trainer"}}))
			agree(t, s, "before")
			var body []byte
			must(t, db.QueryRow(`SELECT body FROM definition_snapshot`).Scan(&body))
			mark := "$1"
			if engine == store.SQLite {
				mark = "?"
			}
			for name, bad := range map[string][]byte{
				"empty":           {},
				"cut":             body[:len(body)-1],
				"a bit":           append(slices.Clone(body[:len(body)-1]), body[len(body)-1]^1),
				"another version": append([]byte{99}, body[1:]...),
				"a text":          []byte("hello"),
			} {
				_, err := db.ExecContext(ctx, `UPDATE definition_snapshot SET body = `+mark, bad)
				must(t, err)
				g, err := s.Snapshot(ctx)
				must(t, err)
				equal(t, g, nil, name+": taken")
				agree(t, s, name)
			}
			// Nobody needs it: without the rows of the snapshot, or of the generation, all goes on, slower.
			for _, table := range []string{"definition_snapshot", "definitions"} {
				run(t, db, `DELETE FROM `+table)
				must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "without_" + table[:11], Includes: store.Strings{"staff"}}))
				must(t, s.KeepSnapshot(ctx))
				past, err := s.GraphPast(ctx)
				must(t, err)
				g, err := s.GraphNow(ctx)
				must(t, err)
				equal(t, said(g), said(past), "without "+table)
			}
		})
	}
}

// TestSnapshot_KeptByWatch: it is there at the start, soon after a change, and again after a change by hand as soon as somebody asks; nobody else writes it.
func TestSnapshot_KeptByWatch(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			for range 3 {
				_, err := s.GraphNow(ctx)
				must(t, err)
			}
			g, err := s.Snapshot(ctx)
			must(t, err)
			equal(t, g, nil, "stored by a read")
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { s.Watch(ctx) })
			soon := func(what string) {
				t.Helper()
				for range 500 {
					g, err := s.Snapshot(ctx)
					must(t, err)
					if g != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Fatal("no snapshot " + what)
			}
			soon("at the start")
			before := s.Counts()
			must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "staff"}))
			after := s.Counts()
			soon("after a change")
			equal(t, s.Counts().Writes-before.Writes, after.Writes-before.Writes, "writes of others than upkeep after the change")
			db := behind(t, engine, url)
			run(t, db, `UPDATE privileges SET deleted_at = 1 WHERE name = 'staff'`)
			g, err = s.GraphNow(ctx)
			must(t, err)
			equal(t, g.Has("staff"), false, "deleted by hand")
			soon("after a change by hand")
			// A command that is gone before anybody could ask it.
			other := storetest.OpenWith(t, engine, store.Config{URL: url})
			must(t, other.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "more"}))
			soon("after a command")
		})
	}
}

// TestSnapshot_ReadOnly: a database that takes no writes is read all the same, and says why there is no snapshot.
func TestSnapshot_ReadOnly(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.OpenWith(t, store.Postgres, store.Config{URL: url})
	must(t, s.CreatePrivilege(t.Context(), "cli", &store.Privilege{Name: "staff"}))
	standby, err := store.Open(t.Context(), store.Config{URL: url + "&default_transaction_read_only=on"})
	must(t, err)
	defer standby.Close()
	if err := standby.KeepSnapshot(t.Context()); err == nil {
		t.Fatal("the database is not read-only")
	}
	m, err := standby.Model(t.Context())
	must(t, err)
	equal(t, m.Graph.Has("staff"), true, "staff")
	agree(t, s, "by another process")
	g, err := standby.Snapshot(t.Context())
	must(t, err)
	equal(t, g != nil, true, "the other's snapshot is taken")
}

// TestDryRun_StoresNoSnapshot is what storetest.Contents leaves out.
func TestDryRun_StoresNoSnapshot(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := storetest.URL(t, engine)
			s := storetest.OpenWith(t, engine, store.Config{URL: url})
			db := behind(t, engine, url)
			kept := func() (text string) {
				var of int64
				var body []byte
				must(t, db.QueryRow(`SELECT generation, body FROM definition_snapshot`).Scan(&of, &body))
				return fmt.Sprint(of, body)
			}
			before := kept()
			must(t, s.DryRun(t.Context(), func(ctx context.Context) error {
				if _, err := s.Model(ctx); err != nil {
					return err
				}
				if err := s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "dry"}); err != nil {
					return err
				}
				_, err := s.Model(ctx)
				return err
			}))
			equal(t, kept(), before, "kept")
		})
	}
}

// TestSnapshot_Race: processes store snapshots while others edit, through the gate, by hand and in transactions that fail. Nobody is told of
// definitions older than what was committed before they asked, nor of any that were never committed.
func TestSnapshot_Race(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			url := storetest.URL(t, engine)
			stores := []*store.Store{storetest.OpenWith(t, engine, store.Config{URL: url}), storetest.OpenWith(t, engine, store.Config{URL: url})}
			db := behind(t, engine, url)
			const writers, edits = 3, 25
			var committed [writers]atomic.Int64 // how many of each writer's privileges are there for certain
			var begun [writers]atomic.Int64
			name := func(w, i int) string { return fmt.Sprintf("w%dn%d", w, i) }
			var writing, reading sync.WaitGroup
			over := make(chan struct{})
			for w := range writers {
				writing.Go(func() {
					for i := range edits {
						begun[w].Add(1)
						s := stores[w%2]
						var err error
						switch w {
						case 0:
							err = s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: name(w, i), Includes: store.Strings{"trainer"}})
						case 1:
							_ = s.Tx(ctx, func(ctx context.Context) error {
								if err := s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: fmt.Sprint("never", i)}); err != nil {
									return err
								}
								return errStop
							})
							err = s.Tx(ctx, func(ctx context.Context) error {
								if err := s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: name(w, i)}); err != nil {
									return err
								}
								return s.SetIncludes(ctx, "cli", name(w, i), []string{"customer"})
							})
						case 2:
							_, err = db.ExecContext(ctx, `INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at) VALUES ('`+name(w, i)+`', '', '', FALSE, '', 0, 0)`)
						}
						if err != nil {
							t.Errorf("writer %d: %v", w, err)
							return
						}
						committed[w].Add(1)
					}
				})
			}
			reads, taken := atomic.Int64{}, atomic.Int64{}
			for r := range 4 {
				reading.Go(func() {
					s := stores[r%2]
					for {
						select {
						case <-over:
							return
						default:
						}
						if r < 2 {
							if err := s.KeepSnapshot(ctx); err != nil {
								t.Error(err)
								return
							}
						}
						var least, most [writers]int64
						for w := range writers {
							least[w] = committed[w].Load()
						}
						g, err := s.Snapshot(ctx)
						if err == nil && g == nil {
							g, err = s.GraphNow(ctx)
						} else if err == nil {
							taken.Add(1)
						}
						if err != nil {
							t.Error(err)
							return
						}
						for w := range writers {
							most[w] = begun[w].Load()
						}
						reads.Add(1)
						for _, n := range g.Names() {
							if strings.HasPrefix(n, "never") {
								t.Errorf("%s was undone, and seen", n)
							}
						}
						for w := range writers {
							n := int64(0)
							for g.Has(name(w, int(n))) {
								n++
							}
							if n < least[w] || n > most[w] {
								t.Errorf("%d of writer %d, of whom %d were committed before and %d begun", n, w, least[w], most[w])
							}
						}
					}
				})
			}
			writing.Wait()
			close(over)
			reading.Wait()
			agree(t, stores[0], "at the end")
			agree(t, stores[1], "at the end")
			g, err := stores[0].GraphNow(ctx)
			must(t, err)
			equal(t, len(g.Names()), 7+writers*edits, "privileges")
			if taken.Load() == 0 {
				t.Errorf("of %d reads none took a snapshot: the test proves nothing", reads.Load())
			}
			whole(t, stores[0])
		})
	}
}

// TestSnapshot_Contents: storing one writes to no other table.
func TestSnapshot_Contents(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		before := storetest.Contents(t, s)
		must(t, s.KeepSnapshot(t.Context()))
		if !maps.Equal(before, storetest.Contents(t, s)) {
			t.Error("a snapshot changed another table")
		}
	})
}
