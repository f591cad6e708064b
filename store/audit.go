package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// AuditEntry is one change by an operator or owner. Hash chains it to the one before.
type AuditEntry struct {
	Seq    int64  `db:"seq"`
	At     Time   `db:"at"`
	Actor  string `db:"actor"`  // user id, "cli", "setup", "system"
	Action string `db:"action"` // user.create, client.rotate_secret …
	Target string `db:"target"` // kind:id
	Diff   string `db:"diff"`   // JSON, no secrets
	Prev   string `db:"prev"`
	Hash   string `db:"hash"` // SHA-256 over prev and every field
}

const auditColumns = "seq, at, actor, action, target, diff, prev, hash"

func (e *AuditEntry) fields() []any {
	return []any{&e.Seq, &e.At, &e.Actor, &e.Action, &e.Target, &e.Diff, &e.Prev, &e.Hash}
}

// sum is the entry's hash: over the hash before and every field, each with its length, so that no two entries have the same text.
func (e *AuditEntry) sum() string {
	h := sha256.New()
	for _, f := range []string{"latchkey audit 1", e.Prev, strconv.FormatInt(e.Seq, 10), strconv.FormatInt(e.At.UnixMilli(), 10), e.Actor, e.Action, e.Target, e.Diff} {
		h.Write([]byte(strconv.Itoa(len(f)) + ":" + f)) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Audit records a change: actor ("cli", "setup", "system" or a user id), action ("user.create"), target ("user:ID") and what differs, as
// JSON without secrets. It joins the Tx in ctx, where it is written just before the commit, and opens one otherwise.
func (s *Store) Audit(ctx context.Context, actor, action, target string, diff any) error {
	text := []byte("{}")
	if diff != nil {
		var err error
		if text, err = json.Marshal(diff); err != nil {
			return fmt.Errorf("store: audit %s: %w", action, err)
		}
	}
	if actor == "" || action == "" {
		return errors.New("store: audit: neither actor nor action may be empty")
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		t := s.inTx(ctx)
		t.audit = append(t.audit, AuditEntry{At: At(t.now), Actor: actor, Action: action, Target: target, Diff: string(text)})
		return nil
	})
}

const (
	auditAdvance = `UPDATE audit_head SET seq = seq + ? WHERE id = 1 RETURNING seq, hash`
	auditSetHead = `UPDATE audit_head SET hash = ? WHERE id = 1`
)

var insertAudit = `INSERT INTO audit (` + auditColumns + `) VALUES (` + marks(auditColumns) + `)`

// flushAudit appends the transaction's entries to the chain. Its first statement locks the head, so that entries of parallel
// transactions queue up; it comes last, so that nothing is waited for meanwhile.
func (s *Store) flushAudit(ctx context.Context, t *tx) error {
	if len(t.audit) == 0 {
		return nil
	}
	var head auditHead
	_, err := s.write(ctx, auditAdvance, []any{len(t.audit)}, head.scan)
	if err != nil {
		return err
	}
	if !head.ok {
		return errors.New("store: audit: the head of the chain is missing")
	}
	hash := head.hash
	for i := range t.audit {
		e := &t.audit[i]
		e.Seq, e.Prev = head.seq-int64(len(t.audit)-1-i), hash
		e.Hash = e.sum()
		if _, err := s.exec(ctx, insertAudit, e.fields()...); err != nil {
			return err
		}
		hash = e.Hash
	}
	_, err = s.exec(ctx, auditSetHead, hash)
	return err
}

type auditHead struct {
	seq  int64
	hash string
	ok   bool
}

func (h *auditHead) scan(r *sql.Rows) error {
	if !r.Next() {
		return r.Err()
	}
	h.ok = true
	return r.Scan(&h.seq, &h.hash)
}

const auditEntries = `SELECT ` + auditColumns + ` FROM audit WHERE seq > ? ORDER BY seq LIMIT ?`

// AuditEntries returns up to n entries with numbers above after, in order.
func (s *Store) AuditEntries(ctx context.Context, after int64, n int) ([]AuditEntry, error) {
	return many[AuditEntry](ctx, s, auditEntries, after, n)
}

const (
	auditHeadNow = `SELECT seq, hash FROM audit_head WHERE id = 1`
	auditBeyond  = `SELECT a.seq FROM audit a, audit_head h WHERE h.id = 1 AND a.seq > h.seq ORDER BY a.seq LIMIT 1`
)

// VerifyAudit walks the chain; broken is the seq of the first entry that does not fit, 0 when whole. An entry may be missing (deleted or
// cut off the end), changed, out of order, or one too many. Entries appended meanwhile are left for the next time.
func (s *Store) VerifyAudit(ctx context.Context) (entries int64, broken int64, err error) {
	var head auditHead
	if err := s.read(ctx, auditHeadNow, nil, head.scan); err != nil {
		return 0, 0, err
	}
	if !head.ok {
		return 0, 1, nil // without its head nothing of the chain can be trusted
	}
	prev := ""
	for entries < head.seq {
		page, err := s.AuditEntries(ctx, entries, int(min(1000, head.seq-entries)))
		if err != nil {
			return entries, 0, err
		}
		for i := range page {
			e := &page[i]
			if e.Seq != entries+1 || e.Prev != prev || e.sum() != e.Hash {
				return entries, entries + 1, nil
			}
			entries, prev = e.Seq, e.Hash
		}
		if len(page) == 0 {
			return entries, entries + 1, nil
		}
	}
	if prev != head.hash {
		return entries, max(entries, 1), nil
	}
	beyond, ok, err := value[int64](ctx, s, auditBeyond)
	if err != nil || !ok {
		return entries, 0, err
	}
	return entries, beyond, nil
}
