package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Grant is what a user allowed a client: one row, the root of all its tokens. There is no row per token.
type Grant struct {
	ID           string  `db:"id"` // 16 random bytes, 26 characters of lower-case base32 without padding
	ClientID     string  `db:"client_id"`
	UserID       string  `db:"user_id"`
	SID          string  `db:"sid"`       // the session it came from
	Connector    string  `db:"connector"` // the login method it came through: "password", an upstream's id
	Scope        Strings `db:"scope"`
	Audience     Strings `db:"audience"`
	Facts        string  `db:"facts"`   // JSON of provider.Session; the store does not read it
	Offline      bool    `db:"offline"` // outlives the session (offline_access)
	RTGen        int64   `db:"rt_gen"`  // current refresh generation, from 1
	RTRotatedAt  Time    `db:"rt_rotated_at"`
	RTExpiresAt  Time    `db:"rt_expires_at"` // idle end of refresh; not set = no refresh token
	CreatedAt    Time    `db:"created_at"`
	ExpiresAt    Time    `db:"expires_at"` // absolute end of everything; the purge goes by it
	RevokedAt    Time    `db:"revoked_at"`
	RevokeReason string  `db:"revoke_reason"`
	ActorID      string  `db:"actor_id"`   // who really signed in, acting for UserID; "" = UserID themselves
	ActingBy     string  `db:"acting_by"`  // as Session.ActingBy
	RTUsedAt     Time    `db:"rt_used_at"` // last refresh, whether or not it rotated
}

const grantColumns = "id, client_id, user_id, sid, connector, scope, audience, facts, offline, rt_gen, rt_rotated_at, rt_expires_at, " +
	"created_at, expires_at, revoked_at, revoke_reason, actor_id, acting_by, rt_used_at"

func (g *Grant) fields() []any {
	return []any{&g.ID, &g.ClientID, &g.UserID, &g.SID, &g.Connector, &g.Scope, &g.Audience, &g.Facts, &g.Offline, &g.RTGen, &g.RTRotatedAt, &g.RTExpiresAt,
		&g.CreatedAt, &g.ExpiresAt, &g.RevokedAt, &g.RevokeReason, &g.ActorID, &g.ActingBy, &g.RTUsedAt}
}

var createGrant = `INSERT INTO grants (` + grantColumns + `) VALUES (` + marks(grantColumns) + `) ON CONFLICT (id) DO NOTHING`

// CreateGrant inserts a grant; created is false when the id exists, which is a code used twice.
func (s *Store) CreateGrant(ctx context.Context, g *Grant) (created bool, err error) {
	if g.CreatedAt.IsZero() {
		g.CreatedAt = At(s.now(ctx))
	}
	n, err := s.exec(ctx, createGrant, g.fields()...)
	return n == 1, err
}

const grantByID = `SELECT ` + grantColumns + ` FROM grants WHERE id = ?`

// Grant returns the row, also a revoked or expired one until it is purged.
func (s *Store) Grant(ctx context.Context, id string) (*Grant, error) {
	return one[Grant](ctx, s, "grant", grantByID, id)
}

var liveGrant = `SELECT ` + prefixed("g", grantColumns) + `, ` + maybeUser() + `, a.privilege, a.valid_from, a.valid_until
FROM grants g LEFT JOIN users u ON u.id = g.user_id LEFT JOIN assignments a ON a.user_id = u.id AND a.ended_at IS NULL WHERE g.id = ?`

// maybeUser is the columns of users with a value even where the join found nobody.
func maybeUser() string {
	columns := strings.Split(userColumns, ", ")
	for i, c := range columns {
		switch {
		case strings.HasSuffix(c, "_at"), c == "valid_from", c == "valid_until":
			columns[i] = "u." + c
		case c == "must_change_password":
			columns[i] = "COALESCE(u." + c + ", FALSE)"
		case c == "version":
			columns[i] = "COALESCE(u." + c + ", 0)"
		default:
			columns[i] = "COALESCE(u." + c + ", '')"
		}
	}
	return strings.Join(columns, ", ")
}

// LiveGrant reads grant, user and assignments in one statement. Live.User.ID is "" when the grant has no user. Whether grant and user are
// alive is the caller's question: a dead grant that is used again says something.
func (s *Store) LiveGrant(ctx context.Context, id string) (*Grant, *Live, error) {
	var both struct {
		g Grant
		l Live
	}
	err := s.read(ctx, liveGrant, []any{id}, func(r *sql.Rows) error {
		return scanLive(r, append(append(make([]any, 0, 48), both.g.fields()...), both.l.User.fields()...), &both.l)
	})
	if err != nil {
		return nil, nil, err
	}
	if both.g.ID == "" {
		return nil, nil, fmt.Errorf("store: grant: %w", ErrNotFound)
	}
	return &both.g, &both.l, nil
}

const rotateGrant = `UPDATE grants SET rt_gen = rt_gen + 1, rt_rotated_at = ?, rt_used_at = ?, rt_expires_at = ?
WHERE id = ? AND rt_gen = ? AND revoked_at IS NULL AND rt_expires_at > ? AND expires_at > ?`

// RotateGrant moves rt_gen from gen to gen+1 unless the grant is revoked or over at now; ok = this call did it.
func (s *Store) RotateGrant(ctx context.Context, id string, gen int64, now, rtExpires time.Time) (ok bool, err error) {
	at := At(now)
	n, err := s.exec(ctx, rotateGrant, at, at, At(rtExpires), id, gen, at, at)
	return n == 1, err
}

const extendGrant = `UPDATE grants SET rt_used_at = ?, rt_expires_at = ?
WHERE id = ? AND rt_gen = ? AND revoked_at IS NULL AND rt_expires_at > ? AND expires_at > ?`

// ExtendGrant moves the idle end of a client that does not rotate, unless the grant is revoked or over.
func (s *Store) ExtendGrant(ctx context.Context, id string, gen int64, rtExpires time.Time) (ok bool, err error) {
	now := At(s.now(ctx))
	n, err := s.exec(ctx, extendGrant, now, At(rtExpires), id, gen, now, now)
	return n == 1, err
}

const revokeGrant = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE id = ? AND revoked_at IS NULL`

// RevokeGrant ends a grant and every token from it, once; revoked = this call did it.
func (s *Store) RevokeGrant(ctx context.Context, id, reason string) (revoked bool, err error) {
	n, err := s.exec(ctx, revokeGrant, At(s.now(ctx)), reason, id)
	return n == 1, err
}

const grantsOf = `SELECT ` + grantColumns + ` FROM grants WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ? ORDER BY created_at, id`

// GrantsOf returns what a user allowed, not revoked and not over, oldest first.
func (s *Store) GrantsOf(ctx context.Context, userID string) ([]Grant, error) {
	return many[Grant](ctx, s, grantsOf, userID, At(s.now(ctx)))
}
