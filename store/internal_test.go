package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

var update = flag.Bool("update", false, "rewrite golden files")

// columnsOf lists what each table's column constant must agree with.
func columnsOf() map[string]struct {
	columns string
	row     any
} {
	type entry = struct {
		columns string
		row     any
	}
	return map[string]entry{
		"users":        {userColumns, &User{}},
		"credentials":  {credentialColumns, &Credential{}},
		"identities":   {identityColumns, &Identity{}},
		"privileges":   {privilegeColumns, &Privilege{}},
		"assignments":  {assignmentColumns, &Assignment{}},
		"clients":      {clientColumns, &Client{}},
		"grants":       {grantColumns, &Grant{}},
		"consents":     {consentColumns, &Consent{}},
		"flows":        {flowColumns, &Flow{}},
		"sessions":     {sessionColumns, &Session{}},
		"partials":     {partialColumns, &Partial{}},
		"pending":      {pendingColumns, &Pending{}},
		"throttles":    {throttleColumns, &Throttle{}},
		"one_time":     {oneTimeColumns, &OneTime{}},
		"signing_keys": {keyColumns, &SigningKey{}},
		"outbox":       {messageColumns, &Message{}},
		"audit":        {auditColumns, &AuditEntry{}},
		"events":       {eventColumns, &Event{}},
		"attempts":     {attemptColumns, &Attempt{}},
		"mail_codes":   {mailCodeColumns, &MailCode{}},
		"user_types":   {userTypeColumns, &UserType{}},
		"budgets":      {budgetColumns, &Budget{}},
		"phone_proofs": {phoneProofColumns, &PhoneProof{}},
		"invites":      {inviteColumns, &Invite{}},
		"switches":     {switchColumns, &Switch{}},

		"privilege_requests": {requestColumns, &PrivilegeRequest{}},
		"authorities":        {authorityColumns, &Authority{}},

		"upstream_sessions": {upstreamColumns, &UpstreamSession{}},
	}
}

// TestColumnsMatchTags compares the column lists with the db tags, in order, and with the pointers of types that scan by hand.
func TestColumnsMatchTags(t *testing.T) {
	t.Parallel()
	for table, e := range columnsOf() {
		v := reflect.ValueOf(e.row).Elem()
		var tags []string
		var pointers []any
		for i := range v.NumField() {
			if tag := v.Type().Field(i).Tag.Get("db"); tag != "-" {
				tags = append(tags, tag)
				pointers = append(pointers, v.Field(i).Addr().Interface())
			}
		}
		if got := strings.Join(tags, ", "); got != e.columns {
			t.Errorf("%s: the columns are\n%s\nthe tags\n%s", table, e.columns, got)
		}
		if r, ok := e.row.(row); ok && !slices.Equal(r.fields(), pointers) {
			t.Errorf("%s: fields() is not in the order of the struct", table)
		}
	}
}

// TestColumnsMatchSchema compares the column lists with the tables of both engines' one schema.
func TestColumnsMatchSchema(t *testing.T) {
	t.Parallel()
	var text []byte
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		part, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	for table, e := range columnsOf() {
		_, def, ok := strings.Cut(string(text), "CREATE TABLE "+table+" (\n")
		if !ok {
			t.Errorf("no table %s", table)
			continue
		}
		def, _, _ = strings.Cut(def, "\n);")
		var columns []string
		for line := range strings.Lines(def) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "PRIMARY" {
				columns = append(columns, name)
			}
		}
		for rest := string(text); ; {
			var added string
			if _, added, ok = strings.Cut(rest, "ALTER TABLE "+table+" ADD COLUMN "); !ok {
				break
			}
			name, _, _ := strings.Cut(added, " ")
			columns, rest = append(columns, name), added
		}
		if got := strings.Join(columns, ", "); got != e.columns {
			t.Errorf("%s: the schema has\n%s\nthe code\n%s", table, got, e.columns)
		}
	}
}

// TestSourceColumnsHaveAHome lists every column of the account tables that R3 names and where its content lives here.
func TestSourceColumnsHaveAHome(t *testing.T) {
	t.Parallel()
	const none = "none: "
	homes := map[string]string{
		"user.id":                           "users.id",
		"user.social_id":                    "identities.subject",
		"user.nickname":                     "users.username",
		"user.email":                        "users.email",
		"user.confirmed_at":                 "users.email_verified_at",
		"user.active":                       "users.disabled_at",
		"user.first_name":                   "users.given_name",
		"user.last_name":                    "users.family_name",
		"user.country":                      "users.profile: address.country",
		"user.subdivisionfirst":             "users.profile: address.region",
		"user.subdivisionsecond":            "users.profile: address.locality",
		"user.subdivisionthird":             "users.profile: address.formatted",
		"user.organization":                 "users.profile: organization",
		"user.timezone":                     "users.zoneinfo",
		"user.language":                     "users.locale",
		"user.password":                     none + "an unused legacy column",
		"user.otp_secret":                   "credentials.secret",
		"user.pypi_username":                none + "becomes a configured profile field (R154)",
		"user.pypi_password":                none + "becomes a configured profile field (R154)",
		"user.modified_at":                  "users.updated_at",
		"user.last_login":                   "users.last_login_at",
		"user_auth.user_id":                 "credentials.user_id",
		"user_auth.password":                "credentials.secret",
		"user_auth.reset_password_token":    "one_time.hash",
		"role.name":                         "privileges.name",
		"role.description":                  "privileges.description",
		"user_roles.user_id":                "assignments.user_id",
		"user_roles.role_id":                "assignments.privilege",
		"user_invite.email":                 "one_time.data",
		"user_invite.role_id":               "one_time.data",
		"user_invite.invited_by_user_id":    "one_time.user_id",
		"user_invite.token":                 "one_time.hash",
		"user_invite.id, user_auth.id, ...": none + "surrogate keys",
	}
	tables := columnsOf()
	for from, home := range homes {
		if strings.HasPrefix(home, none) {
			continue
		}
		home, _, _ = strings.Cut(home, ":")
		table, column, _ := strings.Cut(home, ".")
		if !slices.Contains(strings.Split(tables[table].columns, ", "), column) {
			t.Errorf("%s: there is no %s", from, home)
		}
	}
}

// TestMigrationsAreNotEdited: a migration that was released never changes; a new one gets a new number.
func TestMigrationsAreNotEdited(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	err := fs.WalkDir(migrationFiles, "migrations", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(migrationFiles, path)
		sum := sha256.Sum256(b)
		fmt.Fprintf(&got, "%s  %s\n", hex.EncodeToString(sum[:]), path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "migrations.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the migrations are\n%sthe golden file has\n%s", got.String(), want)
	}
}

func TestMapErr(t *testing.T) {
	t.Parallel()
	pg := func(code string) error {
		return fmt.Errorf("exec: %w", &pgconn.PgError{Code: code, ConstraintName: "users_email"})
	}
	for _, c := range []struct {
		err   error
		want  error
		field string
	}{
		{pg("23505"), ErrConflict, "email"},
		{fmt.Errorf("x: %w", &pgconn.PgError{Code: "23505", ConstraintName: "clients_pkey"}), ErrConflict, ""},
		{pg("23503"), ErrNotFound, ""},
		{pg("57014"), ErrUnavailable, ""},
		{pg("55P03"), ErrUnavailable, ""},
		{pg("53300"), ErrUnavailable, ""},
		{pg("57P01"), ErrUnavailable, ""},
		{pg("57P03"), ErrUnavailable, ""},
		{pg("08006"), ErrUnavailable, ""},
		{pg("40001"), ErrUnavailable, ""},
		{pg("25P03"), ErrUnavailable, ""},
		{pg("42601"), nil, ""},
		{pg(""), nil, ""},
		{context.DeadlineExceeded, ErrUnavailable, ""},
		{context.Canceled, nil, ""},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, ErrUnavailable, ""},
		{sql.ErrConnDone, ErrUnavailable, ""},
		{errors.New("anything"), nil, ""},
	} {
		got := mapErr(c.err)
		for _, s := range []error{ErrConflict, ErrNotFound, ErrUnavailable} {
			if errors.Is(got, s) != (s == c.want) {
				t.Errorf("mapErr(%v) = %v", c.err, got)
			}
		}
		var f *FieldError
		if errors.As(got, &f); f != nil && f.Field != c.field || f == nil && c.field != "" {
			t.Errorf("mapErr(%v): field %v, want %q", c.err, f, c.field)
		}
		if c.field == "" && !errors.Is(got, c.err) {
			t.Errorf("mapErr(%v) hides its cause", c.err)
		}
	}
	if mapErr(nil) != nil {
		t.Error("mapErr(nil) is an error")
	}
}

func TestEmailKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"  ", ""},
		{" Bob@X.org ", "bob@x.org"},
		{"bob@x.org", "bob@x.org"},
		{"bob+tag@x.org", "bob+tag@x.org"},
		{"b_b@x.org", "b_b@x.org"},
		{"Käthe@Bücher.example", "käthe@xn--bcher-kva.example"},
		{"Ka\u0308the@bu\u0308cher.example", "käthe@xn--bcher-kva.example"},
		{"x@localhost", "x@localhost"},
		{"%@x.org", "%@x.org"},
		{"bob", "!"},
		{"@x.org", "!"},
		{"bob@", "!"},
		{"a@b@x.org", "!"},
		{"bob@x..org", "!"},
		{"bob@.org", "!"},
		{"bob@x.org.", "!"},
		{"bob@x .org", "!"},
		{"bo b@x.org", "!"},
		{"bob\u200b@x.org", "!"},
		{"bob\x00@x.org", "!"},
		{"bob@[192.0.2.1]", "!"},
		{"bob\xff@x.org", "!"},
		{strings.Repeat("a", 260) + "@x.org", "!"},
	} {
		got, err := emailKey(c.in)
		if (err != nil) != (c.want == "!") || err == nil && got != c.want {
			t.Errorf("emailKey(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("emailKey(%q): %v", c.in, err)
		}
	}
}

func TestUsernameKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"Bob", "bob"},
		{"BOB", "bob"},
		{"Ka\u0308the", "käthe"},
		{"İstanbul", "istanbul"},
		{"r2d2", "r2d2"},
		{"Bob Smith", "bob smith"},
		{"bob@x.org", "!"},
		{"12345678", "!"},
		{"+49 170 1234567", "!"},
		{"007", "!"},
		{"---", "!"},
		{" bob", "!"},
		{"bob ", "!"},
		{"bo\u200bb", "!"},
		{"bo\u00a0b", "!"},
		{"bo\nb", "!"},
		{"b\xffb", "!"},
		{strings.Repeat("a", 65), "!"},
		{strings.Repeat("ä", 64), strings.Repeat("ä", 64)},
	} {
		got, err := usernameKey(c.in)
		if (err != nil) != (c.want == "!") || err == nil && got != c.want {
			t.Errorf("usernameKey(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestPhoneKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+491701234567": "+491701234567", "+49 (170) 123-45.67": "+491701234567", "+1/2345678": "+12345678",
		"0170 1234567": "", "+0170123456": "", "+49": "", "+4917012345678901234": "", "bob": "",
	} {
		if got := phoneKey(in); got != want {
			t.Errorf("phoneKey(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzKeys: a key is stable, and what one kind of identifier accepts no other does.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"Bob@X.org", "bob", "+49 170 1234567", "İ", "a\u0308@bu\u0308cher.de", "%@x.org", "\xff@x", "1@1", "K@k.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, eerr := emailKey(s)
		u, uerr := usernameKey(s)
		p := phoneKey(s)
		if eerr == nil && e != "" {
			if again, err := emailKey(e); err != nil || again != e {
				t.Errorf("emailKey(%q) = %q, and of that %q, %v", s, e, again, err)
			}
			if uerr == nil || p != "" {
				t.Errorf("%q is an e-mail address and something else", s)
			}
		}
		if uerr == nil && u != "" {
			if again, err := usernameKey(u); err != nil || again != u {
				t.Errorf("usernameKey(%q) = %q, and of that %q, %v", s, u, again, err)
			}
			if p != "" || looksLikePhone(s) {
				t.Errorf("%q is a username and a phone number", s)
			}
		}
	})
}

func TestAuditSumSeesEveryField(t *testing.T) {
	t.Parallel()
	base := AuditEntry{Seq: 7, Actor: "a", Action: "b", Target: "c", Diff: "d", Prev: "e"}
	seen := map[string]string{base.sum(): "base"}
	for name, change := range map[string]func(e *AuditEntry){
		"seq": func(e *AuditEntry) { e.Seq++ }, "at": func(e *AuditEntry) { e.At = Time{e.At.Add(1e6)} }, "actor": func(e *AuditEntry) { e.Actor = "x" },
		"action": func(e *AuditEntry) { e.Action = "x" }, "target": func(e *AuditEntry) { e.Target = "x" }, "diff": func(e *AuditEntry) { e.Diff = "x" },
		"prev": func(e *AuditEntry) { e.Prev = "x" }, "shifted": func(e *AuditEntry) { e.Actor, e.Action = "ab", "" },
	} {
		e := base
		change(&e)
		if other, dup := seen[e.sum()]; dup {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[e.sum()] = name
	}
}
