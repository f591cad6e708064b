package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// UpstreamSession is the upstream's side of a session that came through a connector.
type UpstreamSession struct {
	SessionID string `db:"session_id"`
	Connector string `db:"connector"`
	Issuer    string `db:"issuer"`
	Subject   string `db:"subject"`
	SID       string `db:"upstream_sid"` // the upstream's name for its session; "" = not said
	Sealed    string `db:"sealed"`       // its ID token under the master key, for connectors that keep it; "" = none
	Anew      bool   `db:"anew"`         // the person was asked to sign in there, and not let through by a session they had
}

const upstreamColumns = "session_id, connector, issuer, subject, upstream_sid, sealed, anew"

var createUpstreamSession = insertInto("upstream_sessions", upstreamColumns)

// CreateUpstreamSession belongs into the Tx that makes the session; it goes with it.
func (s *Store) CreateUpstreamSession(ctx context.Context, u *UpstreamSession) error {
	_, err := s.named(ctx, createUpstreamSession, u)
	return err
}

const upstreamSession = `SELECT ` + upstreamColumns + ` FROM upstream_sessions WHERE session_id = ?`

// UpstreamSession returns it; ErrNotFound for a session that came through no connector.
func (s *Store) UpstreamSession(ctx context.Context, sessionID string) (*UpstreamSession, error) {
	return one[UpstreamSession](ctx, s, "upstream session", upstreamSession, sessionID)
}

const (
	upstreamsBySID     = `SELECT ` + upstreamColumns + ` FROM upstream_sessions WHERE connector = ? AND upstream_sid = ? AND upstream_sid <> ''`
	upstreamsBySubject = `SELECT ` + upstreamColumns + ` FROM upstream_sessions WHERE connector = ? AND subject = ?`
)

// EndUpstreamSessions ends the sessions that came through a connector, and their grants that are not offline: those of one upstream
// session, or, with sid "", all of one subject. With both, both must fit; of a session whose sid nobody knows, the subject. ended is how many.
func (s *Store) EndUpstreamSessions(ctx context.Context, connector, subject, sid, reason string) (ended int, err error) {
	if subject == "" && sid == "" {
		return 0, errors.New("store: upstream sessions: neither subject nor sid")
	}
	err = s.Tx(ctx, func(ctx context.Context) error {
		query, arg := upstreamsBySubject, subject
		if subject == "" {
			query, arg = upstreamsBySID, sid
		}
		list, err := many[UpstreamSession](ctx, s, query, connector, arg)
		if err != nil {
			return err
		}
		ended = 0
		for _, u := range list {
			if sid != "" && u.SID != "" && u.SID != sid {
				continue
			}
			if err := s.EndSession(ctx, u.SessionID, reason); err != nil {
				return err
			}
			ended++
		}
		return nil
	})
	return ended, err
}

const (
	revokeForeign = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE revoked_at IS NULL AND connector <> '' AND connector NOT IN (?`
	endForeign    = `DELETE FROM sessions WHERE connector NOT IN (?`
)

// EndForeignConnectors ends every session and grant that came by a way in that is none of ways. They are refused at every use anyway, for as long as
// it is gone; so they stay dead should it come back (security.md E11). n is how many grants.
func (s *Store) EndForeignConnectors(ctx context.Context, ways []string, reason string) (n int64, err error) {
	if len(ways) == 0 {
		return 0, errors.New("store: no way in at all")
	}
	more, names := strings.Repeat(", ?", len(ways)-1)+")", make([]any, len(ways))
	for i, w := range ways {
		names[i] = w
	}
	err = s.Tx(ctx, func(ctx context.Context) error {
		if n, err = s.exec(ctx, revokeForeign+more, append([]any{At(s.now(ctx)), reason}, names...)...); err != nil {
			return err
		}
		return s.endSessions(ctx, reason, endForeign+more, names...)
	})
	return n, err
}

// ConnectorActor is who gives what a connector's claim rules give: store.Assignment.GivenBy and the actor in the audit log.
func ConnectorActor(connector string) string { return "connector:" + connector }

// SyncUpstreamPrivileges makes what a connector's rules gave a person exactly names: what is missing is given, what is too much ends, in
// one Tx and through the gate, as the operator who wrote the rules. It touches nothing that somebody else gave: what a rule gives is a source of
// its own, also beside another. A name nobody defined, cron, and the end of the last administrator are left out, not refused: refused names them,
// and the sign-in goes on. Without a difference it is one read.
func (s *Store) SyncUpstreamPrivileges(ctx context.Context, userID, connector string, names []string) (refused []string, err error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	giver := ConnectorActor(connector)
	err = s.Tx(ctx, func(ctx context.Context) error {
		refused = nil
		add, end, err := s.upstreamDiff(ctx, userID, connector, names)
		if err != nil || len(add)+len(end) == 0 {
			return err
		}
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if add, end, err = s.upstreamDiff(ctx, userID, connector, names); err != nil { // as it is under the lock
			return err
		}
		for _, a := range end {
			if err := s.endUpstream(ctx, giver, a); errors.Is(err, ErrLastAdmin) {
				refused = append(refused, a.Privilege)
			} else if err != nil {
				return err
			}
		}
		if len(add) == 0 {
			return nil
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		l, err := s.livePerson(ctx, userID)
		if err != nil {
			return err
		}
		for _, name := range add {
			if _, node := privilege.TypeOf(name); node || !m.Graph.Has(name) {
				refused = append(refused, name)
				continue
			}
			after := append(l.holdings(), privilege.Holding{Privilege: name})
			if err := s.allow(ctx, m, "system", privilege.EditUserPrivilege, l, after, m.Graph.Closure(name)); errors.Is(err, ErrForbidden) {
				refused = append(refused, name)
				continue
			} else if err != nil {
				return err
			}
			a := Assignment{UserID: userID, Privilege: name, GivenBy: giver, Source: SourceConnector, SourceRef: connector}
			if err := s.give(ctx, m, &a); err != nil {
				return err
			}
			if err := s.Audit(ctx, giver, "user.assign", "user:"+userID, map[string]any{"privilege": name}); err != nil {
				return err
			}
		}
		return nil
	})
	return refused, err
}

// upstreamDiff compares what a connector's rules gave with what they give now.
func (s *Store) upstreamDiff(ctx context.Context, userID, connector string, names []string) (add []string, end []Assignment, err error) {
	held, err := many[Assignment](ctx, s, assignmentsHeld, userID)
	if err != nil {
		return nil, nil, err
	}
	held = slices.DeleteFunc(held, func(a Assignment) bool { return a.Source != SourceConnector || a.SourceRef != connector })
	for _, a := range held {
		if !slices.Contains(names, a.Privilege) {
			end = append(end, a)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(held, func(a Assignment) bool { return a.Privilege == name }) {
			add = append(add, name)
		}
	}
	return add, end, nil
}

const reopenAssignment = `UPDATE assignments SET ended_at = NULL, ended_by = '' WHERE id = ?`

// endUpstream ends one, or leaves it and answers ErrLastAdmin. The gate's lock is held.
func (s *Store) endUpstream(ctx context.Context, giver string, a Assignment) error {
	before, err := s.admins(ctx)
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, endAssignment, At(s.now(ctx)), giver, a.ID)
	if err != nil || n == 0 {
		return err
	}
	after, err := s.admins(ctx)
	if err != nil {
		return err
	}
	if before > 0 && after == 0 {
		if _, err := s.exec(ctx, reopenAssignment, a.ID); err != nil {
			return err
		}
		return ErrLastAdmin
	}
	return s.Audit(ctx, giver, "user.unassign", "user:"+a.UserID, map[string]string{"privilege": a.Privilege})
}
