package store

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestExport_EveryTable: every table and column of the schema is exported, a secret, or left out for a reason that is written down; and no secret is
// in an export.
func TestExport_EveryTable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Open(ctx, Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	tables := map[string][]string{}
	err = s.read(ctx, `SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'goose%'`, nil, func(r *sql.Rows) error {
		for r.Next() {
			var table, column string
			if err := r.Scan(&table, &column); err != nil {
				return err
			}
			tables[table] = append(tables[table], column)
		}
		return r.Err()
	})
	if err != nil || len(tables) < 30 {
		t.Fatal(len(tables), err)
	}
	for table, columns := range tables {
		if err := exportPlan(table, columns); err != nil {
			t.Error(err)
		}
	}
	for _, e := range exports {
		if tables[e.table] == nil {
			t.Errorf("there is no table %s any more", e.table)
		}
	}
	u := User{GivenName: "Ada", Email: "ada@example.com", Profile: Profile{Organization: "Engines"}}
	other := User{GivenName: "Eve", Email: "eve@example.com"}
	for _, p := range []*User{&u, &other} {
		if err := s.CreateUser(ctx, p); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{s.SetPassword(ctx, "cli", p.ID, "THE-HASH-"+p.GivenName, false, ""), s.CreateIdentity(ctx, "cli", &Identity{UserID: p.ID, Connector: "google", Subject: p.GivenName, TokenSealed: "THE-TOKEN"}),
			s.CreateSession(ctx, &Session{UserID: p.ID, SecretHash: "THE-SECRET", IP: "192.0.2.1", IdleMS: 1, ExpiresAt: At(s.Now())}), s.Record(ctx, &Event{Kind: "sign_in", UserID: p.ID, Data: `{"method":"password"}`}),
			s.Assign(ctx, "cli", &Assignment{UserID: p.ID, Privilege: "trainer", Reason: "For the fair"}), s.Enqueue(ctx, &Message{Kind: KindMail, Recipient: p.Email, Subject: "Hello", Text: "THE-CODE", ExpiresAt: At(s.Now())})} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	data, err := s.Export(ctx, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"ada@example.com", "Engines", "trainer", "For the fair", "192.0.2.1", "sign_in", "Hello", "user.set_password", `"google"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the export: %s", want, text)
		}
	}
	for _, secret := range []string{"THE-HASH", "THE-TOKEN", "THE-SECRET", "THE-CODE", "Eve", other.ID} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the export", secret)
		}
	}
}
