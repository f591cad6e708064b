package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Privilege is a named role in tokens. Includes are kept beside it with their own history.
type Privilege struct {
	Name        string  `db:"name"`
	Label       string  `db:"label"`
	Description string  `db:"description"`
	BuiltIn     bool    `db:"built_in"`
	ClientID    string  `db:"client_id"` // owner of a client:role, else ""
	CreatedAt   Time    `db:"created_at"`
	UpdatedAt   Time    `db:"updated_at"`
	DeletedAt   Time    `db:"deleted_at"`
	Includes    Strings `db:"-"` // names of the privileges it includes now
}

const privilegeColumns = "name, label, description, built_in, client_id, created_at, updated_at, deleted_at"

const (
	privilegesAll  = `SELECT ` + privilegeColumns + ` FROM privileges ORDER BY name`
	privilegesLive = `SELECT ` + privilegeColumns + ` FROM privileges WHERE deleted_at IS NULL ORDER BY name`
	includesLive   = `SELECT parent, child FROM privilege_includes WHERE ended_at IS NULL ORDER BY parent, child`
)

type include struct {
	Parent string `db:"parent"`
	Child  string `db:"child"`
}

// Privileges returns all not deleted, with their includes.
func (s *Store) Privileges(ctx context.Context) ([]Privilege, error) {
	list, err := many[Privilege](ctx, s, privilegesLive)
	if err != nil {
		return nil, err
	}
	includes, err := many[include](ctx, s, includesLive)
	if err != nil {
		return nil, err
	}
	at := make(map[string]int, len(list))
	for i, p := range list {
		at[p.Name] = i
	}
	for _, in := range includes {
		if i, ok := at[in.Parent]; ok {
			list[i].Includes = append(list[i].Includes, in.Child)
		}
	}
	return list, nil
}

// graph reads the definitions, past the cache: the gate decides on what its transaction sees.
func (s *Store) graph(ctx context.Context) (*privilege.Graph, error) {
	list, err := s.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	g, err := privilege.NewGraph(defs(list))
	if err != nil {
		// Missing or unreadable definitions fail closed.
		return nil, fmt.Errorf("store: privileges: %w", err)
	}
	return g, nil
}

func defs(list []Privilege) []privilege.Def {
	d := make([]privilege.Def, len(list))
	for i, p := range list {
		d[i] = privilege.Def{Name: p.Name, Includes: p.Includes, BuiltIn: p.BuiltIn}
	}
	return d
}

var insertPrivilege = insertInto("privileges", privilegeColumns)

// CreatePrivilege adds one, with its includes. A name that exists, or rests after a deletion, is ErrConflict; an unfit one ErrInvalid.
func (s *Store) CreatePrivilege(ctx context.Context, actor string, p *Privilege) error {
	if err := privilege.ValidName(p.Name); err != nil {
		return invalid("name", err.Error())
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		next := *p
		next.CreatedAt, next.UpdatedAt, next.DeletedAt = now, now, Time{}
		fill(ctx, s, p, next)
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if _, err := s.named(ctx, insertPrivilege, p); err != nil {
			if errors.Is(err, ErrConflict) {
				return &FieldError{Field: "name", Err: ErrConflict}
			}
			return err
		}
		if err := s.Audit(ctx, actor, "privilege.create", "privilege:"+p.Name, map[string]string{"label": p.Label, "client_id": p.ClientID}); err != nil {
			return err
		}
		if len(p.Includes) == 0 {
			return s.changed(ctx)
		}
		return s.SetIncludes(ctx, actor, p.Name, p.Includes)
	})
}

const describePrivilege = `UPDATE privileges SET label = ?, description = ?, updated_at = ? WHERE name = ? AND deleted_at IS NULL`

// DescribePrivilege changes what a privilege is called and said to be; the name in tokens never changes.
func (s *Store) DescribePrivilege(ctx context.Context, actor, name, label, description string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, describePrivilege, label, description, At(s.now(ctx)), name)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("store: privilege %s: %w", name, ErrNotFound)
		}
		if err := s.Audit(ctx, actor, "privilege.describe", "privilege:"+name, map[string]string{"label": label, "description": description}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const (
	endInclude    = `UPDATE privilege_includes SET ended_at = ?, ended_by = ? WHERE parent = ? AND child = ? AND ended_at IS NULL`
	insertInclude = `INSERT INTO privilege_includes (id, parent, child, started_at, started_by, ended_by) VALUES (?, ?, ?, ?, ?, '')`
)

// SetIncludes replaces what a privilege includes. It refuses cycles and a depth above 64 (ErrInvalid), unknown names (ErrNotFound), cron
// (R14), and whatever the actor may not confer: to include a privilege is to give it to every holder (security.md G2).
// One transaction at a time does this, so two that would make a cycle together cannot (G3).
func (s *Store) SetIncludes(ctx context.Context, actor, name string, includes []string) error {
	includes = slices.Compact(slices.Sorted(slices.Values(includes)))
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			list, err := s.Privileges(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(p Privilege) bool { return p.Name == name })
			if i < 0 {
				return fmt.Errorf("store: privilege: %w", ErrNotFound)
			}
			before := list[i].Includes
			added := without(includes, before)
			if err := s.mayConfer(ctx, actor, "", append([]string{name}, added...)...); err != nil {
				return err
			}
			list[i].Includes = includes
			if _, err := privilege.NewGraph(defs(list)); err != nil {
				return invalid("includes", err.Error())
			}
			now := At(s.now(ctx))
			removed := without(before, includes)
			for _, child := range removed {
				if _, err := s.exec(ctx, endInclude, now, actor, name, child); err != nil {
					return err
				}
			}
			for _, child := range added {
				if _, err := s.exec(ctx, insertInclude, newID(), name, child, now, actor); err != nil {
					return err
				}
			}
			if len(added)+len(removed) == 0 {
				return s.changed(ctx)
			}
			if err := s.Audit(ctx, actor, "privilege.set_includes", "privilege:"+name, map[string][]string{"added": added, "removed": removed}); err != nil {
				return err
			}
			return s.changed(ctx)
		})
	})
}

// without is what list has and other has not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(v string) bool { return slices.Contains(other, v) })
}
