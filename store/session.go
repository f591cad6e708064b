package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Session is a complete sign-in. A half-finished one is a Partial and lives in another table.
type Session struct {
	ID         string  `db:"id"`          // public half of the cookie; another one at every sign-in
	SecretHash string  `db:"secret_hash"` // SHA-256 of the secret half
	SID        string  `db:"sid"`         // what grants and applications know it by: stays when the same person signs in again, as the id does not
	UserID     string  `db:"user_id"`
	Connector  string  `db:"connector"` // "password", an upstream's id …
	AMR        Strings `db:"amr"`
	ACR        string  `db:"acr"`
	AuthTime   Time    `db:"auth_time"`
	CreatedAt  Time    `db:"created_at"`
	LastSeenAt Time    `db:"last_seen_at"`
	IdleMS     int64   `db:"idle_ms"`    // ends when unseen for so long
	ExpiresAt  Time    `db:"expires_at"` // absolute end
	IP         string  `db:"ip"`
	UserAgent  string  `db:"user_agent"`
	ActingFor  string  `db:"acting_for"` // whom the person acts for; "" = nobody, they are themselves
	ActingBy   string  `db:"acting_by"`  // the Authority's id, or ByPermission
}

const sessionColumns = "id, secret_hash, sid, user_id, connector, amr, acr, auth_time, created_at, last_seen_at, idle_ms, expires_at, ip, user_agent, acting_for, acting_by"

func (n *Session) fields() []any {
	return []any{&n.ID, &n.SecretHash, &n.SID, &n.UserID, &n.Connector, &n.AMR, &n.ACR, &n.AuthTime, &n.CreatedAt, &n.LastSeenAt, &n.IdleMS, &n.ExpiresAt, &n.IP, &n.UserAgent,
		&n.ActingFor, &n.ActingBy}
}

var createSession = `INSERT INTO sessions (` + sessionColumns + `) VALUES (` + marks(sessionColumns) + `)`

// CreateSession stores a complete sign-in. ID, SID, CreatedAt, AuthTime and LastSeenAt are filled when not set.
func (s *Store) CreateSession(ctx context.Context, n *Session) error {
	if n.ID == "" {
		n.ID = newID()
	}
	if n.SID == "" {
		n.SID = n.ID
	}
	now := At(s.now(ctx))
	for _, t := range []*Time{&n.CreatedAt, &n.AuthTime, &n.LastSeenAt} {
		if t.IsZero() {
			*t = now
		}
	}
	_, err := s.exec(ctx, createSession, n.fields()...)
	return err
}

const replacedSession = `SELECT sid, user_id FROM sessions WHERE id = ?`

// ReplaceSession stores a complete sign-in in the place of the session this browser had (oldID, "" = none), in one Tx. The same person
// goes on under the same sid, so what applications were given in it lives on; of anybody else the old session ends.
func (s *Store) ReplaceSession(ctx context.Context, oldID string, n *Session) error {
	if oldID == "" {
		return s.CreateSession(ctx, n)
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		n.SID = ""
		same := false
		err := s.read(ctx, replacedSession, []any{oldID}, func(r *sql.Rows) error {
			for r.Next() {
				var sid, user string
				if err := r.Scan(&sid, &user); err != nil {
					return err
				}
				if same = user == n.UserID; same {
					n.SID = sid
				}
			}
			return r.Err()
		})
		if err != nil {
			return err
		}
		if same {
			if _, err := s.dropSessions(ctx, "replaced", deleteSession, oldID); err != nil {
				return err
			}
		} else if err := s.EndSession(ctx, oldID, "replaced"); err != nil {
			return err
		}
		return s.CreateSession(ctx, n)
	})
}

const liveSessionWhere = ` AND n.expires_at > ? AND n.last_seen_at + n.idle_ms > ?`

var liveSessions = prefixed("n", sessionColumns) + `, ` + prefixed("u", userColumns) + `, a.privilege, a.valid_from, a.valid_until
FROM sessions n JOIN users u ON u.id = n.user_id LEFT JOIN assignments a ON a.user_id = u.id AND a.ended_at IS NULL
WHERE `

var (
	liveSession = `SELECT ` + liveSessions + `n.id = ?` + liveSessionWhere
	liveSID     = `SELECT EXISTS (SELECT 1 FROM consents c WHERE c.user_id = ? AND c.client_id = ?), ` + liveSessions + `n.sid = ?` + liveSessionWhere
)

// LiveSession reads session, user and assignments in one statement; ErrNotFound unless the session is alive at now. Whether the user is
// active is the caller's question.
func (s *Store) LiveSession(ctx context.Context, id string) (*Session, *Live, error) {
	return s.liveSession(ctx, liveSession, []any{id})
}

// LiveSID is LiveSession by the sid; in the same statement it says whether a person's consent to the client is remembered: the one of whom a
// token will speak, who need not be the session's own.
func (s *Store) LiveSID(ctx context.Context, sid, userID, clientID string) (_ *Session, _ *Live, consented bool, err error) {
	n, l, err := s.liveSession(ctx, liveSID, []any{userID, clientID, sid}, &consented)
	return n, l, consented, err
}

// liveSession reads what query selects: extra columns, the session's, the user's, an assignment's.
func (s *Store) liveSession(ctx context.Context, query string, args []any, extra ...any) (*Session, *Live, error) {
	var both struct {
		n Session
		l Live
	}
	now := At(s.now(ctx))
	err := s.read(ctx, query, append(args, now, now), func(r *sql.Rows) error {
		return scanLive(r, append(append(append(make([]any, 0, 48), extra...), both.n.fields()...), both.l.User.fields()...), &both.l)
	})
	if err != nil {
		return nil, nil, err
	}
	if both.n.ID == "" {
		return nil, nil, fmt.Errorf("store: session: %w", ErrNotFound)
	}
	return &both.n, &both.l, nil
}

const touchSession = `UPDATE sessions SET last_seen_at = ? WHERE id = ? AND last_seen_at < ?`

// TouchSession notes that it was used; never backwards.
func (s *Store) TouchSession(ctx context.Context, id string, at time.Time) error {
	_, err := s.exec(ctx, touchSession, At(at), id, At(at))
	return err
}

const (
	deleteSession       = `DELETE FROM sessions WHERE id = ?`
	revokeSessionGrants = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE sid = (SELECT sid FROM sessions WHERE id = ?) AND offline = FALSE AND revoked_at IS NULL`
)

// EndSession deletes it and revokes its grants that are not offline, in one Tx. Unknown ids are no error.
func (s *Store) EndSession(ctx context.Context, id, reason string) error {
	if id == "" {
		return nil
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		if _, err := s.exec(ctx, revokeSessionGrants, At(s.now(ctx)), reason, id); err != nil {
			return err
		}
		return s.endSessions(ctx, reason, deleteSession, id)
	})
}

const (
	deleteSessionsOf   = `DELETE FROM sessions WHERE user_id = ? AND id <> ?`
	revokeGrantsOf     = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE user_id = ? AND sid <> COALESCE((SELECT sid FROM sessions WHERE id = ?), '-') AND revoked_at IS NULL`
	revokeOnlineGrants = revokeGrantsOf + ` AND offline = FALSE`
)

// EndSessionsOf ends every session of a user but except ("" = every one) and revokes the grants that came from others, in one Tx: those
// that are not offline, with offlineToo all. What a session was given for another person goes with it.
func (s *Store) EndSessionsOf(ctx context.Context, userID, except, reason string, offlineToo bool) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if offlineToo {
			if err := s.tellOrphans(ctx, userID); err != nil {
				return err
			}
		}
		if err := s.endSessions(ctx, reason, deleteSessionsOf, userID, except); err != nil {
			return err
		}
		revoke := revokeOnlineGrants
		if offlineToo {
			revoke = revokeGrantsOf
		}
		for _, q := range []string{revoke, revokeActedOf} {
			if _, err := s.exec(ctx, q, At(s.now(ctx)), reason, userID, except); err != nil {
				return err
			}
		}
		return nil
	})
}

const sessionsOf = `SELECT ` + sessionColumns + ` FROM sessions WHERE user_id = ? AND expires_at > ? AND last_seen_at + idle_ms > ? ORDER BY created_at, id`

// SessionsOf returns a user's live sessions, oldest first.
func (s *Store) SessionsOf(ctx context.Context, userID string) ([]Session, error) {
	now := At(s.now(ctx))
	return many[Session](ctx, s, sessionsOf, userID, now, now)
}
