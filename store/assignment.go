package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	Source    string `db:"source"`     // person, connector, type, invite, request, import: one privilege may come from several
	SourceRef string `db:"source_ref"` // the connector, the type's value, the invite, the request
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

const assignmentColumns = "id, user_id, privilege, given_by, reason, valid_from, valid_until, created_at, ended_at, ended_by, source, source_ref"

// Sources of assignments. What SourceConnector and SourceType gave goes with its cause and not otherwise.
const (
	SourcePerson    = "person" // an administrator, or the operator
	SourceConnector = "connector"
	SourceType      = "type"
	SourceInvite    = "invite"
	SourceRequest   = "request"
	SourceImport    = "import"
)

// The privileges that the store itself must know.
const (
	adminPrivilege = privilege.Admin
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

// actor is who changes something, in the engine's words. Somebody inactive or read-only may do nothing (R85).
func (s *Store) actor(ctx context.Context, m *Model, id string, want privilege.Permission) (privilege.Actor, error) {
	a, u, err := s.reader(ctx, m, id, want)
	if err == nil && !a.Operator && m.ReadOnly(u) {
		return privilege.Actor{}, fmt.Errorf("store: actor may change nothing: %w", ErrForbidden)
	}
	return a, err
}

// reader is actor for a question: somebody read-only sees what they could do if they were not. The user is nil for the operator.
func (s *Store) reader(ctx context.Context, m *Model, id string, want privilege.Permission) (privilege.Actor, *User, error) {
	if operator(id) {
		return privilege.Actor{Operator: true}, nil, nil
	}
	l, err := s.Live(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return privilege.Actor{}, nil, fmt.Errorf("store: actor: %w", ErrForbidden)
	}
	if err != nil {
		return privilege.Actor{}, nil, err
	}
	now := s.now(ctx)
	if !l.User.Active(now) {
		return privilege.Actor{}, nil, fmt.Errorf("store: actor is not active: %w", ErrForbidden)
	}
	holds := m.Graph.Effective(l.holdings(), now)
	return privilege.Actor{Effective: holds, MayPass: m.Powers.May(holds, want), Delegations: m.Delegations}, &l.User, nil
}

func (l *Live) holdings() []privilege.Holding {
	hs := make([]privilege.Holding, len(l.Holdings))
	for i, h := range l.Holdings {
		hs[i] = privilege.Holding{Privilege: h.Privilege, From: h.From.Time, Until: h.Until.Time}
	}
	return hs
}

// allow is the gate for a change of what one person holds (security.md G1, G2): after are their holdings then, moved is what is given or
// taken whatever they hold besides. It is power over them even if that is nothing.
func (s *Store) allow(ctx context.Context, m *Model, actorID string, want privilege.Permission, l *Live, after []privilege.Holding, moved []string) error {
	a, err := s.actor(ctx, m, actorID, want)
	if err != nil {
		return err
	}
	now := s.now(ctx)
	return forbidden(m.Graph.Allowed(a, privilege.Effect{
		Self: actorID == l.User.ID, Before: m.Graph.Effective(l.holdings(), now), After: m.Graph.Effective(after, now), Moved: moved, Power: true,
	}))
}

func forbidden(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrForbidden, err)
}

// mayManage refuses an actor without the permission, and one who lacks something the person holds or will hold: disabling an account or setting its
// password is power over it (R96), and a password is still known when a right begins.
func (s *Store) mayManage(ctx context.Context, actorID, userID string, want privilege.Permission) error {
	l, err := s.Live(ctx, userID)
	if err != nil {
		return err
	}
	m, err := s.model(ctx)
	if err != nil {
		return err
	}
	a, err := s.actor(ctx, m, actorID, want)
	switch {
	case err != nil:
		return err
	case a.Operator:
		return nil
	case !a.MayPass:
		return forbidden(fmt.Errorf("%w: %s", privilege.ErrNoPower, want))
	}
	now := At(s.now(ctx))
	var ever []string
	for _, name := range l.pattern(now) {
		ever = append(ever, unmarked(name))
	}
	if n := privilege.Lacks(a.Effective, union(m.Effective(l, now), m.Graph.Closure(ever...))); n != "" {
		return forbidden(fmt.Errorf("%w: %s", privilege.ErrProtected, n))
	}
	return nil
}

// livePerson is Live for somebody who is not erased.
func (s *Store) livePerson(ctx context.Context, userID string) (*Live, error) {
	l, err := s.Live(ctx, userID)
	if err == nil && !l.User.DeletedAt.IsZero() {
		err = errNotFound("user")
	}
	return l, err
}

// adminCount and adminWays count who could administer now: holders of admin, directly or through what includes it, who are active, have a way to
// sign in and are of a type that may change something.
const adminCount = `WITH RECURSIVE adm (name) AS (
  SELECT name FROM privileges WHERE name = 'admin'
  UNION SELECT i.parent FROM privilege_includes i JOIN adm ON i.child = adm.name WHERE i.ended_at IS NULL
)
SELECT COUNT(*) FROM users u WHERE u.id IN (
    SELECT a.user_id FROM assignments a WHERE a.privilege IN (SELECT name FROM adm) AND a.ended_at IS NULL
      AND (a.valid_from IS NULL OR a.valid_from <= ?) AND (a.valid_until IS NULL OR a.valid_until > ?))
  AND u.disabled_at IS NULL AND u.deleted_at IS NULL AND (u.valid_from IS NULL OR u.valid_from <= ?) AND (u.valid_until IS NULL OR u.valid_until > ?)
  AND EXISTS (SELECT 1 FROM user_types t WHERE t.value = u.user_type AND t.deleted_at IS NULL AND NOT t.read_only)
  AND `

// adminWays is the condition that somebody can sign in by one of ways, and its arguments. A number opens no administrator's account alone.
func adminWays(ways []string) (query string, args []any) {
	links := ""
	query = "(1 = 0"
	for _, way := range ways {
		switch way {
		case CredPassword:
			query += " OR EXISTS (SELECT 1 FROM credentials c WHERE c.user_id = u.id AND c.kind = 'password')"
		case WayEmailCode:
			query += " OR u.email <> '' AND u.email_verified_at IS NOT NULL"
		case WayPhone:
			query += " OR u.phone <> '' AND EXISTS (SELECT 1 FROM credentials c WHERE c.user_id = u.id AND c.kind IN ('totp', 'passkey'))"
		case WayPasskey:
			query += " OR EXISTS (SELECT 1 FROM credentials c WHERE c.user_id = u.id AND " + passkeyAlone + ")"
		default:
			links += ", ?"
			args = append(args, way)
		}
	}
	if len(args) > 0 {
		query += " OR EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id AND i.quarantined_at IS NULL AND i.connector IN (" + links[2:] + "))"
	}
	return query + ")", args
}

// admins counts them, by the ways to sign in that are switched on (Config.AdminWays).
func (s *Store) admins(ctx context.Context) (int64, error) { return s.adminsBut(ctx, "") }

// adminsBut counts them without somebody.
func (s *Store) adminsBut(ctx context.Context, userID string) (int64, error) {
	ways := s.conf.AdminWays
	if len(ways) == 0 {
		ways = []string{CredPassword}
	}
	now := At(s.now(ctx))
	where, args := adminWays(ways)
	n, _, err := value[int64](ctx, s, adminCount+where+` AND u.id <> ?`, append(append([]any{now, now, now, now}, args...), userID)...)
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
// anybody else needs the permission to pass privileges on, holds what they confer for as long as they confer it, and confers to no one who holds
// more. cron is refused for people (R14). Audited in the same Tx. It fills ID, GivenBy, Source and CreatedAt. ErrForbidden, ErrNotFound,
// ErrConflict (already held from this source), ErrInvalid.
func (s *Store) Assign(ctx context.Context, actor string, a *Assignment) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		if !a.Until.IsZero() && (!a.Until.After(now.Time) || !a.Until.After(a.From.Time)) {
			return invalid("until", "over before it begins")
		}
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		if _, node := privilege.TypeOf(a.Privilege); node || !m.Graph.Has(a.Privilege) {
			return fmt.Errorf("store: privilege %q: %w", a.Privilege, ErrNotFound)
		}
		l, err := s.livePerson(ctx, a.UserID)
		if err != nil {
			return err
		}
		moved := m.Graph.Closure(a.Privilege)
		after := append(l.holdings(), privilege.Holding{Privilege: a.Privilege})
		if err := s.allow(ctx, m, actor, privilege.EditUserPrivilege, l, after, moved); err != nil {
			return err
		}
		if err := s.allowUntil(ctx, m, actor, a.Privilege, a.Until); err != nil {
			return err
		}
		given := *a
		given.GivenBy, given.Source = actor, cmp.Or(a.Source, SourcePerson)
		if err := s.give(ctx, m, &given); err != nil {
			return err
		}
		fill(ctx, s, a, given)
		return s.Audit(ctx, actor, "user.assign", "user:"+a.UserID, map[string]any{"privilege": a.Privilege, "from": a.From, "until": a.Until, "assignment": a.ID})
	})
}

// allowUntil refuses to confer for longer than the actor holds it.
func (s *Store) allowUntil(ctx context.Context, m *Model, actorID, name string, until Time) error {
	if operator(actorID) {
		return nil
	}
	l, err := s.Live(ctx, actorID)
	if err != nil {
		return err
	}
	end, held := m.HeldUntil(l, At(s.now(ctx)), name)
	if !held {
		return forbidden(privilege.ErrNotHeld)
	}
	if !end.IsZero() && (until.IsZero() || until.After(end)) {
		return invalid("until", "longer than the giver's own: until "+end.UTC().Format(time.RFC3339))
	}
	return nil
}

// allowForGood refuses to confer names, and what they bring, if the actor holds them only for a while: what privileges include and what a user type
// brings has no end.
func (s *Store) allowForGood(ctx context.Context, m *Model, actorID string, names ...string) error {
	if operator(actorID) || !slices.ContainsFunc(names, func(n string) bool { return n != userPrivilege }) {
		return nil
	}
	l, err := s.Live(ctx, actorID)
	if err != nil {
		return err
	}
	switch end, held := m.HeldUntil(l, At(s.now(ctx)), names...); {
	case !held:
		return forbidden(privilege.ErrNotHeld)
	case !end.IsZero():
		return forbidden(fmt.Errorf("%w: until %s", privilege.ErrTemporary, end.UTC().Format(time.RFC3339)))
	}
	return nil
}

// give writes what the gate let through. The gate's lock is held.
func (s *Store) give(ctx context.Context, m *Model, a *Assignment) error {
	now := At(s.now(ctx))
	if _, err := s.exec(ctx, endOverdue, a.UserID, a.Privilege, now); err != nil {
		return err
	}
	a.ID, a.CreatedAt, a.EndedAt, a.EndedBy = newID(), now, Time{}, ""
	if _, err := s.named(ctx, insertAssignment, a); err != nil {
		return err
	}
	if slices.Contains(m.Graph.Closure(a.Privilege), adminPrivilege) {
		return s.lock(ctx, adminsEver)
	}
	return nil
}

const (
	assignmentsHeld = `SELECT ` + assignmentColumns + ` FROM assignments WHERE user_id = ? AND ended_at IS NULL ORDER BY created_at, id`
	endAssignment   = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL`
)

// bound says whether an assignment goes with its cause alone.
func (a *Assignment) bound() bool { return a.Source == SourceConnector || a.Source == SourceType }

// BoundError says that a privilege cannot be taken away by itself: a connector's rules or the user type give it.
type BoundError struct{ Source, Ref string }

func (e *BoundError) Error() string {
	return fmt.Sprintf("store: the privilege comes from the %s %s, and goes with it", e.Source, e.Ref)
}

// Unwrap is ErrConflict.
func (e *BoundError) Unwrap() error { return ErrConflict }

// Unassign takes a privilege away, through the same gate, from whichever people gave it. ErrNotFound when it is not held, *BoundError when it
// comes from a connector's rules or the user type alone, ErrLastAdmin when nobody could administer afterwards, ErrForbidden for one's own (R12). Whoever
// has nothing left counts as user (R7, R76).
func (s *Store) Unassign(ctx context.Context, actor, userID, priv string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			m, err := s.model(ctx)
			if err != nil {
				return err
			}
			if !m.Graph.Has(priv) {
				return fmt.Errorf("store: privilege %q: %w", priv, ErrNotFound)
			}
			l, err := s.livePerson(ctx, userID)
			if err != nil {
				return err
			}
			list, err := many[Assignment](ctx, s, assignmentsHeld, userID)
			if err != nil {
				return err
			}
			var take []Assignment
			var keep []privilege.Holding
			var cause error = fmt.Errorf("store: assignment: %w", ErrNotFound)
			now := At(s.now(ctx))
			for _, a := range list {
				if a.Privilege == priv && !a.bound() {
					take = append(take, a)
					continue
				}
				if a.Privilege == priv {
					cause = &BoundError{a.Source, a.SourceRef}
				}
				keep = append(keep, a.holding())
			}
			if err := s.allow(ctx, m, actor, privilege.EditUserPrivilege, l, keep, m.Graph.Closure(priv)); err != nil {
				return err
			}
			if len(take) == 0 {
				return cause
			}
			for _, a := range take {
				n, err := s.exec(ctx, endAssignment, now, actor, a.ID)
				if err := changed(n, err, fmt.Errorf("store: assignment: %w", ErrNotFound)); err != nil {
					return err
				}
			}
			return s.Audit(ctx, actor, "user.unassign", "user:"+userID, map[string]string{"privilege": priv})
		})
	})
}

func (a *Assignment) holding() privilege.Holding {
	return privilege.Holding{Privilege: a.Privilege, From: a.From.Time, Until: a.Until.Time}
}

const assignments = `SELECT ` + assignmentColumns + ` FROM assignments WHERE user_id = ? ORDER BY created_at, id`

// Assignments returns all that a user holds or held, oldest first.
func (s *Store) Assignments(ctx context.Context, userID string) ([]Assignment, error) {
	return many[Assignment](ctx, s, assignments, userID)
}
