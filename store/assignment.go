package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Assignment: a user holds a privilege, given by somebody, from..until, with a reason. Ended ones stay as history.
type Assignment struct {
	ID        string `db:"id"`
	UserID    string `db:"user_id"`
	Privilege string `db:"privilege"`
	GivenBy   string `db:"given_by"` // user id, or "cli", "setup", "system", or "connector:ID" (ConnectorActor)
	Reason    string `db:"reason"`
	From      Time   `db:"valid_from"`
	Until     Time   `db:"valid_until"`
	CreatedAt Time   `db:"created_at"`
	EndedAt   Time   `db:"ended_at"` // taken away
	EndedBy   string `db:"ended_by"`
}

// Holding is what a live read carries of an assignment: enough to compute claims.
type Holding struct {
	Privilege   string
	From, Until Time
}

// Live is a user and the assignments not taken away, read in ONE statement. Whether each is in force now is the
// privilege engine's question (from..until).
type Live struct {
	User     User
	Holdings []Holding
}

const assignmentColumns = "id, user_id, privilege, given_by, reason, valid_from, valid_until, created_at, ended_at, ended_by"

// The privileges that the store itself must know.
const (
	adminPrivilege = "admin"
	cronPrivilege  = "cron"
	userPrivilege  = privilege.User
)

// operator says whether the actor is no person but whoever runs the server: such an actor holds everything.
func operator(actor string) bool { return actor == "cli" || actor == "setup" || actor == "system" }

// Rows of counters that serve as locks: transactions that must not run side by side raise the same one first.
const (
	gate = "gate" // who holds, confers and includes what
	keys = "keys" // signing keys
)

const lockCounter = `UPDATE counters SET n = n + 1 WHERE name = ?`

func (s *Store) lock(ctx context.Context, name string) error {
	n, err := s.exec(ctx, lockCounter, name)
	return changed(n, err, errors.New("store: counters: no row "+name))
}

// effective is what an active person holds now, with everything included. Somebody inactive may do nothing.
func (s *Store) effective(ctx context.Context, g *privilege.Graph, userID string) ([]string, error) {
	l, err := s.Live(ctx, userID)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("store: actor: %w", ErrForbidden)
	}
	if err != nil {
		return nil, err
	}
	now := s.now(ctx)
	if !l.User.Active(now) {
		return nil, fmt.Errorf("store: actor is not active: %w", ErrForbidden)
	}
	return g.Effective(l.holdings(), now), nil
}

func (l *Live) holdings() []privilege.Holding {
	hs := make([]privilege.Holding, len(l.Holdings))
	for i, h := range l.Holdings {
		hs[i] = privilege.Holding{Privilege: h.Privilege, From: h.From.Time, Until: h.Until.Time}
	}
	return hs
}

// mayConfer is the gate (security.md G1): the operator may confer everything but cron (R14); a person what he holds, over the effective
// closure, and never to himself (R97). target "" = everybody who holds something.
func (s *Store) mayConfer(ctx context.Context, actor, target string, names ...string) error {
	g, err := s.graph(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !g.Has(name) {
			return fmt.Errorf("store: privilege %q: %w", name, ErrNotFound)
		}
		if name == cronPrivilege || slices.Contains(g.Closure(name), cronPrivilege) {
			return fmt.Errorf("store: cron is for machines: %w", ErrForbidden)
		}
	}
	if operator(actor) {
		return nil
	}
	if actor == target {
		return fmt.Errorf("store: to or from oneself: %w", ErrForbidden)
	}
	holds, err := s.effective(ctx, g, actor)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := g.CanAssign(holds, name); err != nil {
			return fmt.Errorf("%w: %w", ErrForbidden, err)
		}
	}
	return nil
}

// mayManage refuses an actor who does not hold what the user holds: disabling an account or setting its password is power over it (R96).
func (s *Store) mayManage(ctx context.Context, actor, userID string) error {
	l, err := s.Live(ctx, userID)
	if err != nil {
		return err
	}
	if operator(actor) {
		return nil
	}
	var names []string
	for _, h := range l.Holdings {
		names = append(names, h.Privilege)
	}
	return s.mayConfer(ctx, actor, "", names...)
}

// adminCount counts who could administer now: holders of admin, directly or through what includes it, who are active and have a password.
const adminCount = `WITH RECURSIVE adm (name) AS (
  SELECT name FROM privileges WHERE name = 'admin'
  UNION SELECT i.parent FROM privilege_includes i JOIN adm ON i.child = adm.name WHERE i.ended_at IS NULL
)
SELECT COUNT(*) FROM users u WHERE u.id IN (
    SELECT a.user_id FROM assignments a WHERE a.privilege IN (SELECT name FROM adm) AND a.ended_at IS NULL
      AND (a.valid_from IS NULL OR a.valid_from <= ?) AND (a.valid_until IS NULL OR a.valid_until > ?))
  AND u.disabled_at IS NULL AND u.deleted_at IS NULL AND (u.valid_from IS NULL OR u.valid_from <= ?) AND (u.valid_until IS NULL OR u.valid_until > ?)
  AND EXISTS (SELECT 1 FROM credentials c WHERE c.user_id = u.id AND c.kind = 'password')`

func (s *Store) admins(ctx context.Context) (int64, error) {
	now := At(s.now(ctx))
	n, _, err := value[int64](ctx, s, adminCount, now, now, now, now)
	return n, err
}

// keepingAdmin runs a change, inside a Tx, that might take the last administrator away, and refuses it if it does (R12, security.md G5).
// Such changes run one after the other.
func (s *Store) keepingAdmin(ctx context.Context, change func(context.Context) error) error {
	if err := s.lock(ctx, gate); err != nil {
		return err
	}
	before, err := s.admins(ctx)
	if err != nil {
		return err
	}
	if err := change(ctx); err != nil {
		return err
	}
	after, err := s.admins(ctx)
	if err != nil {
		return err
	}
	if before > 0 && after == 0 {
		return fmt.Errorf("store: %w", ErrLastAdmin)
	}
	if before == 0 && after > 0 {
		return s.lock(ctx, adminsEver)
	}
	return nil
}

// adminsEver is the counter that keeps the web set-up shut.
const adminsEver = "admins"

const endOverdue = `UPDATE assignments SET ended_at = valid_until, ended_by = 'system'
WHERE user_id = ? AND privilege = ? AND ended_at IS NULL AND valid_until <= ?`

var insertAssignment = insertInto("assignments", assignmentColumns)

// Assign gives a privilege, through the gate (architecture.md, settled detail 1): actor "cli", "setup" and "system" are the operator;
// anybody else must hold what they confer. cron is refused for people (R14). Audited in the same Tx. It fills ID, GivenBy and CreatedAt.
// ErrForbidden, ErrNotFound, ErrConflict (already held).
func (s *Store) Assign(ctx context.Context, actor string, a *Assignment) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		if !a.Until.IsZero() && (!a.Until.After(now.Time) || !a.Until.After(a.From.Time)) {
			return invalid("until", "over before it begins")
		}
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if err := s.mayConfer(ctx, actor, a.UserID, a.Privilege); err != nil {
			return err
		}
		u, err := s.User(ctx, a.UserID)
		if err != nil {
			return err
		}
		if !u.DeletedAt.IsZero() {
			return fmt.Errorf("store: user: %w", ErrNotFound)
		}
		if _, err := s.exec(ctx, endOverdue, a.UserID, a.Privilege, now); err != nil {
			return err
		}
		given := *a
		given.ID, given.GivenBy, given.CreatedAt, given.EndedAt, given.EndedBy = newID(), actor, now, Time{}, ""
		if _, err := s.named(ctx, insertAssignment, &given); err != nil {
			return err
		}
		fill(ctx, s, a, given)
		g, err := s.graph(ctx)
		if err != nil {
			return err
		}
		if slices.Contains(g.Closure(a.Privilege), adminPrivilege) {
			if err := s.lock(ctx, adminsEver); err != nil {
				return err
			}
		}
		return s.Audit(ctx, actor, "user.assign", "user:"+a.UserID, map[string]any{"privilege": a.Privilege, "from": a.From, "until": a.Until, "reason": a.Reason})
	})
}

const (
	assignmentHeld = `SELECT ` + assignmentColumns + ` FROM assignments WHERE user_id = ? AND privilege = ? AND ended_at IS NULL`
	othersHeld     = `SELECT COUNT(*) FROM assignments WHERE user_id = ? AND id <> ? AND ended_at IS NULL
  AND (valid_from IS NULL OR valid_from <= ?) AND (valid_until IS NULL OR valid_until > ?)`
	endAssignment = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL`
)

// Unassign takes a privilege away, through the same gate. ErrNotFound when it is not held, ErrLastAdmin when nobody could administer
// afterwards, ErrLastPrivilege for the only one a person holds (R76), ErrForbidden for one's own (R12).
func (s *Store) Unassign(ctx context.Context, actor, userID, priv string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			if err := s.mayConfer(ctx, actor, userID, priv); err != nil {
				return err
			}
			a, err := one[Assignment](ctx, s, "assignment", assignmentHeld, userID, priv)
			if err != nil {
				return err
			}
			now := At(s.now(ctx))
			others, _, err := value[int64](ctx, s, othersHeld, userID, a.ID, now, now)
			if err != nil {
				return err
			}
			if others == 0 {
				return fmt.Errorf("store: %w", ErrLastPrivilege)
			}
			n, err := s.exec(ctx, endAssignment, now, actor, a.ID)
			if err := changed(n, err, fmt.Errorf("store: assignment: %w", ErrNotFound)); err != nil {
				return err
			}
			return s.Audit(ctx, actor, "user.unassign", "user:"+userID, map[string]string{"privilege": priv})
		})
	})
}

const assignments = `SELECT ` + assignmentColumns + ` FROM assignments WHERE user_id = ? ORDER BY created_at, id`

// Assignments returns all that a user holds or held, oldest first.
func (s *Store) Assignments(ctx context.Context, userID string) ([]Assignment, error) {
	return many[Assignment](ctx, s, assignments, userID)
}
