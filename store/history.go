package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

const (
	privilegesAt  = `SELECT ` + privilegeColumns + ` FROM privileges WHERE created_at <= ? AND (deleted_at IS NULL OR deleted_at > ?) ORDER BY name`
	includesAt    = `SELECT parent, child FROM privilege_includes WHERE started_at <= ? AND (ended_at IS NULL OR ended_at > ?) ORDER BY parent, child`
	assignmentsAt = `SELECT ` + assignmentColumns + ` FROM assignments WHERE user_id = ? AND created_at <= ? AND (ended_at IS NULL OR ended_at > ?) ORDER BY created_at, id`
)

// GraphAt is the graph of privileges and user types as it was at a moment. What was there is never overwritten: definitions and what
// includes what have a beginning and an end.
func (s *Store) GraphAt(ctx context.Context, at time.Time) (*privilege.Graph, error) {
	t := At(at)
	list, err := many[Privilege](ctx, s, privilegesAt, t, t)
	if err != nil {
		return nil, err
	}
	includes, err := many[include](ctx, s, includesAt, t, t)
	if err != nil {
		return nil, err
	}
	pos := make(map[string]int, len(list))
	for i, p := range list {
		pos[p.Name] = i
	}
	for _, in := range includes {
		if i, ok := pos[in.Parent]; ok {
			if _, ok := pos[in.Child]; ok {
				list[i].Includes = append(list[i].Includes, in.Child)
			}
		}
	}
	g, err := privilege.NewGraph(defs(list))
	if err != nil {
		return nil, fmt.Errorf("store: privileges as of %s: %w", at.UTC().Format(time.RFC3339), err)
	}
	return g, nil
}

// AssignmentsAt are those a person had at a moment, also what had begun not yet or was over: whether each was in force is the engine's
// question.
func (s *Store) AssignmentsAt(ctx context.Context, userID string, at time.Time) ([]Assignment, error) {
	return many[Assignment](ctx, s, assignmentsAt, userID, At(at), At(at))
}

const heldBy = `SELECT user_id, privilege FROM assignments WHERE ended_at IS NULL AND (valid_from IS NULL OR valid_from <= ?)
  AND (valid_until IS NULL OR valid_until > ?) AND user_id > ? AND privilege IN (`

// Holder is somebody who holds a privilege, and by which assignment.
type Holder struct {
	UserID string `db:"user_id"`
	By     string `db:"privilege"` // what was assigned: the privilege, one that includes it, or a user type's node
}

// Holders are the people who hold a privilege now, what includes it counted, in the order of their ids: up to n assignments above the user after. Whoever
// holds nothing at all and counts as user (R7) is not among them.
func (s *Store) Holders(ctx context.Context, name, after string, n int) ([]Holder, error) {
	g, err := s.Definitions(ctx)
	if err != nil {
		return nil, err
	}
	above := g.Above(name)
	if len(above) == 0 {
		return nil, fmt.Errorf("store: privilege %q: %w", name, ErrNotFound)
	}
	now := At(s.now(ctx))
	args := []any{now, now, after}
	query := heldBy
	for i, p := range above {
		if i > 0 {
			query += ", "
		}
		query += "?"
		args = append(args, p)
	}
	return many[Holder](ctx, s, query+`) ORDER BY user_id, privilege LIMIT ?`, append(args, n)...)
}

const givenTo = `SELECT user_id, privilege FROM assignments WHERE ended_at IS NULL AND (valid_from IS NULL OR valid_from <= ?)
  AND (valid_until IS NULL OR valid_until > ?) AND user_id IN (`

// GivenTo are the privileges in force that people were given, sorted, by the id of the person: not what these include. The nodes of user types are
// among them.
func (s *Store) GivenTo(ctx context.Context, ids []string) (map[string][]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	now := At(s.now(ctx))
	args := []any{now, now}
	for _, id := range ids {
		args = append(args, id)
	}
	rows, err := many[Holder](ctx, s, givenTo+`?`+strings.Repeat(`, ?`, len(ids)-1)+`) ORDER BY user_id, privilege`, args...)
	given := make(map[string][]string, len(ids))
	for _, h := range rows {
		if own := given[h.UserID]; len(own) == 0 || own[len(own)-1] != h.By {
			given[h.UserID] = append(own, h.By)
		}
	}
	return given, err
}

// Grantors are some of the people who could give a privilege to a person now, through the gate: at most n ids. Whoever runs the server always can.
func (s *Store) Grantors(ctx context.Context, userID, name string, n int) (ids []string, err error) {
	m, err := s.Model(ctx)
	if err != nil {
		return nil, err
	}
	l, err := s.livePerson(ctx, userID)
	if err != nil {
		return nil, err
	}
	if !m.Graph.Has(name) {
		return nil, errNotFound("privilege")
	}
	now := s.now(ctx)
	moved := m.Graph.Closure(name)
	e := privilege.Effect{Before: m.Graph.Effective(l.holdings(), now), Moved: moved}
	e.After = m.Graph.Effective(append(l.holdings(), privilege.Holding{Privilege: name}), now)
	seen := map[string]bool{userID: true}
	// Whoever could give it holds it, or administers.
	for _, held := range []string{name, adminPrivilege} {
		for after := ""; len(ids) < n; {
			page, err := s.Holders(ctx, held, after, 200)
			if err != nil {
				return nil, err
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].UserID
			for _, h := range page {
				if seen[h.UserID] || len(ids) == n {
					continue
				}
				seen[h.UserID] = true
				a, err := s.actor(ctx, m, h.UserID, privilege.EditUserPrivilege)
				if err == nil && m.Graph.Allowed(a, e) == nil {
					ids = append(ids, h.UserID)
				}
			}
			if len(page) < 200 {
				break
			}
		}
	}
	return ids, nil
}
