package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// ByPermission is Session.ActingBy and Grant.ActingBy of somebody who acts by the permission act_as. Otherwise it is the id of an Authority.
const ByPermission = "permission"

// actAs is the action of whoever acts by the permission.
const actAs = "users.act_as"

// SetActionRules says what the operator requires for actions beside permissions (R100): whoever acts by the permission is held to it at every request.
func (s *Store) SetActionRules(r privilege.Rules) { s.rules.Store(&r) }

func (s *Store) actionRules() privilege.Rules {
	if r := s.rules.Load(); r != nil {
		return *r
	}
	return privilege.Rules{}
}

// MayActNow says whether actor may act for person now, by an authority (its id) or by ByPermission, and at a client ("" = before there is one). It
// is the one check: at the start, on every request of a session that acts, at every read of a token that came of it (R103). ErrForbidden says no.
// until is when it is over by itself; not set = nobody knows.
//
// Never upward: nobody acts for a person with a permission they lack, nor for one who may write while they themselves may only read. By the
// permission, nobody asked the person, so they may hold no privilege the actor lacks either (R96), and the actor may do the action users.act_as.
func (s *Store) MayActNow(ctx context.Context, actor, person *Live, by, clientID string) (until Time, err error) {
	no := func(format string, a ...any) (Time, error) {
		return Time{}, forbidden(fmt.Errorf("acting for another: "+format, a...))
	}
	now := At(s.now(ctx))
	switch {
	case actor.User.ID == person.User.ID:
		return no("for oneself")
	case !actor.User.Active(now.Time) || !person.User.Active(now.Time):
		return no("one of the two is not active")
	}
	m, err := s.Model(ctx)
	if err != nil {
		return Time{}, err
	}
	held, theirs := m.rightful(actor, now), m.Effective(person, now)
	if by == ByPermission {
		switch d := s.actionRules().Can(privilege.Asker{Effective: held, Powers: m.Powers, ReadOnly: m.ReadOnly(&actor.User)}, actAs); {
		case !d.OK():
			return no("%w: %s", privilege.ErrNoPower, d.Reason())
		case privilege.Lacks(held, theirs) != "":
			return no("%w: %s", privilege.ErrProtected, privilege.Lacks(held, theirs))
		}
	} else {
		a, err := one[Authority](ctx, s, "authority", authorityByID, by)
		if errors.Is(err, ErrNotFound) {
			return no("no authority")
		}
		if err != nil {
			return Time{}, err
		}
		switch {
		case a.Grantor != person.User.ID || a.Grantee != actor.User.ID:
			return no("the authority is between others")
		case a.over(now.Time) != nil:
			return no("%w", a.over(now.Time))
		case clientID != "" && a.ClientID != "" && a.ClientID != clientID:
			return no("the authority is for another application")
		}
		until = a.Until
	}
	if p := m.Powers.Lacks(held, theirs); p != "" {
		return no("%w: %s", privilege.ErrProtected, p)
	}
	if m.ReadOnly(&actor.User) && !m.ReadOnly(&person.User) {
		return no("%w: may write", privilege.ErrProtected)
	}
	return until, nil
}

// rightful is Effective, and nothing for somebody of an unknown type (R89).
func (m *Model) rightful(l *Live, now Time) []string {
	if m.Type(l.User.UserType) == nil {
		return nil
	}
	return m.Effective(l, now)
}

// MayActFor says whether an administrator may act for a person by the permission act_as: nil, or ErrForbidden, also for a person there is not.
// It decides whether a button is shown; StartActing asks again.
func (s *Store) MayActFor(ctx context.Context, actorID, userID string) error {
	actor, person, err := s.both(ctx, actorID, userID)
	if err == nil {
		_, err = s.MayActNow(ctx, actor, person, ByPermission, "")
	}
	return err
}

// both reads the two people; one that is missing is ErrForbidden.
func (s *Store) both(ctx context.Context, actorID, userID string) (actor, person *Live, err error) {
	if actor, err = s.Live(ctx, actorID); err == nil {
		person, err = s.Live(ctx, userID)
	}
	if errors.Is(err, ErrNotFound) {
		err = forbidden(errors.New("acting for another: no such person"))
	}
	return actor, person, err
}

// Act says for whom somebody wants to act, and on what grounds: Authority, or UserID and Reason.
type Act struct {
	Authority string // its id; "" = by the permission
	UserID    string
	Reason    string
}

// NextSession is a session's next id, and what is known of the request that wants it.
type NextSession struct{ ID, SecretHash, IP string }

// StartActing puts in the place of a session one that acts for another person: a new id (security.md C1), the same person, sid, sign-in and end. Of
// two calls for one session one does it; the other is ErrUsed. ErrForbidden is MayActNow's, and for a session that acts already; ErrInvalid is
// about the reason, which the permission cannot do without. Audited, naming both.
func (s *Store) StartActing(ctx context.Context, current *Session, next NextSession, act Act) (*Session, *Live, error) {
	var made *Session
	var person *Live
	err := s.Tx(ctx, func(ctx context.Context) error {
		if current.ActingFor != "" {
			return forbidden(errors.New("acting for another: already"))
		}
		by, userID := act.Authority, act.UserID
		if by != "" {
			a, err := one[Authority](ctx, s, "authority", authorityByID, by)
			if errors.Is(err, ErrNotFound) {
				return forbidden(errors.New("acting for another: no authority"))
			}
			if err != nil {
				return err
			}
			userID = a.Grantor
		} else {
			by = ByPermission
		}
		actor, other, err := s.both(ctx, current.UserID, userID)
		if err != nil {
			return err
		}
		if _, err := s.MayActNow(ctx, actor, other, by, ""); err != nil {
			return err
		}
		if by == ByPermission && strings.TrimSpace(act.Reason) == "" || !validReason(act.Reason) {
			return invalid("reason", "missing, too long, or no line of text")
		}
		person = other
		to := *current
		to.ActingFor, to.ActingBy = userID, by
		if made, err = s.moveSession(ctx, current, &to, next); err != nil {
			return err
		}
		if err := s.Audit(ctx, current.UserID, "act_as.start", "user:"+userID, map[string]string{"by": by, "reason": act.Reason}); err != nil {
			return err
		}
		return s.recordActing(ctx, "act_as.start", made, next.IP, "")
	})
	if err != nil {
		return nil, nil, err
	}
	return made, person, nil
}

// StopActing puts in the place of a session that acts one that is the person's own again, with a new id; what it was given for the other dies. A
// session that does not act, or not any more, is ErrUsed.
func (s *Store) StopActing(ctx context.Context, current *Session, next NextSession) (*Session, error) {
	var made *Session
	err := s.Tx(ctx, func(ctx context.Context) (err error) {
		if current.ActingFor == "" {
			return fmt.Errorf("store: session: acts for nobody: %w", ErrUsed)
		}
		to := *current
		to.ActingFor, to.ActingBy = "", ""
		if made, err = s.moveSession(ctx, current, &to, next); err != nil {
			return err
		}
		return s.actingEnded(ctx, current, current.UserID, "stopped", next.IP)
	})
	return made, err
}

const (
	moveUpstream = `UPDATE upstream_sessions SET session_id = ? WHERE session_id = ?`
	dropMoved    = `DELETE FROM sessions WHERE id = ? AND acting_for = ? AND acting_by = ?`
	endActing    = `UPDATE sessions SET acting_for = '', acting_by = '' WHERE id = ? AND acting_for = ? AND acting_by = ?`
)

// moveSession gives a session another id. Its upstream's side goes along. The DELETE decides between two at once.
func (s *Store) moveSession(ctx context.Context, from, to *Session, next NextSession) (*Session, error) {
	to.ID, to.SecretHash, to.LastSeenAt = next.ID, next.SecretHash, At(s.now(ctx))
	if err := s.CreateSession(ctx, to); err != nil {
		return nil, err
	}
	if _, err := s.exec(ctx, moveUpstream, to.ID, from.ID); err != nil {
		return nil, err
	}
	n, err := s.exec(ctx, dropMoved, from.ID, from.ActingFor, from.ActingBy)
	return to, changed(n, err, fmt.Errorf("store: session: changed at the same moment: %w", ErrUsed))
}

// LapseActing makes a session the person's own again because they may not act for the other any more. The id stays: there is no answer to set a
// cookie on, and nothing is gained. It may be called by several requests at once; one does it.
func (s *Store) LapseActing(ctx context.Context, current *Session, ip string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, endActing, current.ID, current.ActingFor, current.ActingBy)
		if err != nil || n == 0 {
			return err
		}
		return s.actingEnded(ctx, current, "system", "no longer allowed", ip)
	})
}

const (
	revokeActed    = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE sid = ? AND actor_id <> '' AND revoked_at IS NULL`
	revokeActedOf  = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE actor_id = ? AND actor_id <> '' AND sid <> COALESCE((SELECT sid FROM sessions WHERE id = ?), '-') AND revoked_at IS NULL`
	revokeGrantsBy = `UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE acting_by = ? AND acting_by <> '' AND revoked_at IS NULL`
)

// actingEnded writes down that a session acts no more, and ends what it was given for the other. ip "" = no request did it.
func (s *Store) actingEnded(ctx context.Context, was *Session, actor, why, ip string) error {
	if _, err := s.exec(ctx, revokeActed, At(s.now(ctx)), "acting ended", was.SID); err != nil {
		return err
	}
	diff := map[string]string{"actor": was.UserID, "by": was.ActingBy, "why": why}
	if err := s.Audit(ctx, actor, "act_as.end", "user:"+was.ActingFor, diff); err != nil {
		return err
	}
	return s.recordActing(ctx, "act_as.end", was, ip, why)
}

// recordActing keeps an event for each of the two; both name both.
func (s *Store) recordActing(ctx context.Context, kind string, n *Session, ip, why string) error {
	data := map[string]string{"actor": n.UserID, "for": n.ActingFor, "by": n.ActingBy}
	if why != "" {
		data["why"] = why
	}
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	for _, id := range []string{n.UserID, n.ActingFor} {
		if err := s.Record(ctx, &Event{Kind: kind, UserID: id, IP: ip, Data: string(b)}); err != nil {
			return err
		}
	}
	return nil
}

// dropSessions runs a DELETE of sessions, in a Tx, and says how many went. It keeps when their people used them last, and writes down the end of those
// that acted. The query ends at its condition.
func (s *Store) dropSessions(ctx context.Context, reason, query string, args ...any) (gone []Session, err error) {
	uses := map[string]Time{}
	_, err = s.write(ctx, query+` RETURNING user_id, sid, acting_for, acting_by, last_seen_at`, args, func(r *sql.Rows) error {
		gone = gone[:0]
		clear(uses)
		for r.Next() {
			var was Session
			if err := r.Scan(&was.UserID, &was.SID, &was.ActingFor, &was.ActingBy, &was.LastSeenAt); err != nil {
				return err
			}
			if was.LastSeenAt.After(uses[was.UserID].Time) {
				uses[was.UserID] = was.LastSeenAt
			}
			gone = append(gone, was)
		}
		return r.Err()
	})
	if err != nil {
		return nil, err
	}
	if err := s.keepUses(ctx, uses); err != nil {
		return nil, err
	}
	for i := range gone {
		if gone[i].ActingFor == "" {
			continue
		}
		if err := s.actingEnded(ctx, &gone[i], "system", reason, ""); err != nil {
			return nil, err
		}
	}
	return gone, nil
}
