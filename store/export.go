package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// export is what a table has about a person that they may take with them.
type export struct {
	table, columns string
	where          string // with a ? for each time the id is given
	secret         string // columns that stay: hashes, seals, and what would let somebody in
}

// exports are all tables that say something about a person. A test compares them with the schema: a new column is either here or a secret.
var exports = []export{
	{"users", userColumns, "id = ?", ""},
	{"credentials", "id, kind, label, created_at, updated_at, last_used_at", "user_id = ?", "user_id, secret, data, counter"},
	{"identities", "id, connector, issuer, subject, email, email_trust, evidence, created_at, last_used_at, quarantined_at", "user_id = ?", "user_id, token_sealed"},
	{"assignments", "id, privilege, given_by, reason, valid_from, valid_until, created_at, ended_at, ended_by, source, source_ref", "user_id = ?", "user_id"},
	{"privilege_requests", "id, privilege, reason, created_at, expires_at, decided_at, decided_by, decision, note, valid_until", "user_id = ?", "user_id"},
	{"invites", "id, email, user_type, privileges, message, client_id, locale, state, needs, life_ms, created_at, approved_at, sent_at, sends, opened_at, expires_at, ended_at, withheld",
		"user_id = ? AND user_id <> ''", "email_key, token_hash, browser_hash, message_id, user_id, created_by, approved_by, second_by, ended_by, note"},
	{"consents", "client_id, scope, granted_at, expires_at", "user_id = ?", "user_id, claims_digest, client_digest"},
	{"grants", "id, client_id, connector, scope, audience, offline, rt_used_at, rt_rotated_at, rt_expires_at, created_at, expires_at, revoked_at, revoke_reason, actor_id, acting_by", "user_id = ?", "user_id, sid, facts, rt_gen"},
	{"sessions", "connector, amr, acr, auth_time, created_at, last_seen_at, idle_ms, expires_at, ip, user_agent, acting_for, acting_by", "user_id = ?", "id, secret_hash, sid, user_id"},
	{"upstream_sessions", "connector, issuer, subject", "session_id IN (SELECT id FROM sessions WHERE user_id = ?)", "session_id, upstream_sid, sealed, anew"},
	{"authorities", "id, grantor, grantee, client_id, reason, link_until, valid_until, created_at, taken_at, ended_at, ended_by", "grantor = ? OR grantee = ?", "link_hash"},
	{"one_time", "purpose, created_at, expires_at, used_at", "user_id = ? AND user_id <> ''", "hash, user_id, data"},
	{"phone_proofs", "phone, changed_at, proven_at", "user_id = ?", "user_id"},
	{"last_uses", "used_at", "user_id = ?", "user_id"},
	{"idle_warnings", "warned_at, due_at, sent_at", "user_id = ?", "user_id, email_key, message_id"},
	{"deletions", "asked_at, due_at", "user_id = ?", "user_id"},
	{"outbox", "kind, recipient, subject, created_at, sent_at, failed_at, status", "about = ? AND about <> '' OR recipient <> '' AND recipient IN (SELECT email FROM users WHERE id = ? UNION ALL SELECT phone FROM users WHERE id = ?)",
		"id, about, text, html, dedupe_key, expires_at, next_at, leased_until, attempts, last_error, error_code"},
	{"events", "at, kind, client_id, ip, data", "user_id = ? AND user_id <> ''", "id, user_id"},
	{"audit", "seq, at, action, diff", "target = 'user:' || ?", "actor, target, prev, hash"}, // who did it is another person
}

// unexported are the other tables, each with why nothing of it is exported.
var unexported = map[string]string{
	"attempts": "lives for minutes, sealed", "mail_codes": "lives for minutes, sealed", "partials": "lives for minutes", "flows": "lives for minutes", "pending": "lives for minutes; of a request to delete data, its owner has the code",
	"user_words": "made of the names",
	"privileges": "no person", "privilege_includes": "no person", "user_types": "no person", "powers": "no person", "delegations": "no person", "clients": "no person", "signing_keys": "no person",
	"definitions": "no person", "definition_snapshot": "no person", "audit_head": "no person", "counters": "no person", "leases": "no person", "switches": "no person", "markers": "hashes that end by themselves",
	"throttles": "hashes that end by themselves", "budgets": "hashes that end by themselves",
}

// mostExported is how many rows of a table are exported, the ones of events apart all that there are in practice.
const mostExported = 20_000

// Export is what the database has about a person, by table: rows of columns, times in RFC 3339. Secrets, and what would let somebody in, are left out.
func (s *Store) Export(ctx context.Context, userID string) (map[string][]map[string]any, error) {
	out := map[string][]map[string]any{}
	for _, e := range exports {
		columns := strings.Split(e.columns, ", ")
		args := make([]any, strings.Count(e.where, "?"))
		for i := range args {
			args[i] = userID
		}
		rows := []map[string]any{}
		err := s.read(ctx, e.query(), append(args, mostExported), func(r *sql.Rows) error {
			rows = rows[:0]
			for r.Next() {
				values, into := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					into[i] = &values[i]
				}
				if err := r.Scan(into...); err != nil {
					return err
				}
				row := map[string]any{}
				for i, name := range columns {
					if v := exportValue(name, values[i]); v != nil && v != "" {
						row[name] = v
					}
				}
				rows = append(rows, row)
			}
			return r.Err()
		})
		if err != nil {
			return nil, err
		}
		out[e.table] = rows
	}
	if len(out["users"]) == 0 {
		return nil, errNotFound("user")
	}
	return out, nil
}

func (e *export) query() string {
	return "SELECT " + e.columns + " FROM " + e.table + " WHERE " + e.where + " LIMIT ?"
}

// exportTimes are the columns of instants that do not end in _at.
var exportTimes = []string{"at", "valid_from", "valid_until", "link_until", "auth_time"}

// exportValue is a value as people read it: instants as such, and JSON as what it says.
func exportValue(column string, v any) any {
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	if n, ok := v.(int64); ok && (strings.HasSuffix(column, "_at") || slices.Contains(exportTimes, column)) {
		return time.UnixMilli(n).UTC().Format(time.RFC3339)
	}
	if text, ok := v.(string); ok && (strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")) {
		var inner any
		if err := json.Unmarshal([]byte(text), &inner); err == nil {
			return inner
		}
	}
	return v
}

// exportPlan says which column of a table is in neither list, nil = none: for the test that compares them with the schema.
func exportPlan(table string, columns []string) error {
	i := slices.IndexFunc(exports, func(e export) bool { return e.table == table })
	if i < 0 {
		if unexported[table] == "" {
			return errors.New(table + " is neither exported nor is there a reason why not")
		}
		return nil
	}
	listed := slices.Concat(strings.Split(exports[i].columns, ", "), strings.Split(exports[i].secret, ", "))
	for _, c := range columns {
		if !slices.Contains(listed, c) {
			return errors.New(table + "." + c + " is neither exported nor a secret")
		}
	}
	return nil
}
