package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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
	Source      string  `db:"source"` // built-in, config (read-only elsewhere) or admin
	Texts       Labels  `db:"texts"`
	Requestable bool    `db:"requestable"` // people may ask for it (AskPrivilege)
	Includes    Strings `db:"-"`           // names of the privileges it includes now
}

// Label is what a privilege is called and said to be in a language.
type Label struct {
	Label       string `json:"label,omitempty"`
	Description string `json:"description,omitempty"`
}

// Labels are translations by language tag.
type Labels map[string]Label

// Value implements driver.Valuer.
func (l Labels) Value() (driver.Value, error) {
	if len(l) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(map[string]Label(l))
	return string(b), err
}

// Scan implements sql.Scanner.
func (l *Labels) Scan(v any) error { return scanJSON(v, (*map[string]Label)(l)) }

// In is the privilege's label and description in a language, or as they are where nobody translated them.
func (p *Privilege) In(lang string) (label, description string) {
	t := p.Texts[lang]
	return cmp.Or(t.Label, p.Label), cmp.Or(t.Description, p.Description)
}

// Where a privilege is declared.
const (
	PrivilegeBuiltIn = "built-in"
	PrivilegeConfig  = "config"
	PrivilegeAdmin   = "admin"
)

const privilegeColumns = "name, label, description, built_in, client_id, created_at, updated_at, deleted_at, source, texts, requestable"

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
	list, err := s.allPrivileges(ctx)
	return slices.DeleteFunc(list, func(p Privilege) bool { _, node := privilege.TypeOf(p.Name); return node }), err
}

// allPrivileges are Privileges and the nodes of user types.
func (s *Store) allPrivileges(ctx context.Context) ([]Privilege, error) {
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

func defs(list []Privilege) []privilege.Def {
	d := make([]privilege.Def, len(list))
	for i, p := range list {
		d[i] = privilege.Def{Name: p.Name, Includes: p.Includes, BuiltIn: p.BuiltIn}
	}
	return d
}

var insertPrivilege = insertInto("privileges", privilegeColumns)

// nameRests is how long a deleted privilege's name is nobody's: tokens and applications may still speak of the old one (security.md G4).
const nameRests = 90 * 24 * time.Hour

const revivePrivilege = `UPDATE privileges SET label = ?, description = ?, client_id = ?, created_at = ?, updated_at = ?, source = ?, texts = ?, requestable = ?, deleted_at = NULL
WHERE name = ? AND deleted_at IS NOT NULL AND deleted_at <= ? AND NOT built_in`

// mayDefine asks for the permission to define privileges. names are those that are there and get other words: whoever gives privileges goes by their
// labels, so they and all they include must be the actor's own.
func (s *Store) mayDefine(ctx context.Context, actorID string, names ...string) error {
	m, err := s.model(ctx)
	if err != nil {
		return err
	}
	a, err := s.actor(ctx, m, actorID, privilege.EditPrivileges)
	if err != nil || a.Operator {
		return err
	}
	if !a.MayPass || !m.Powers.May(a.Effective, privilege.AccessPrivileges) {
		return forbidden(fmt.Errorf("%w: %s", privilege.ErrNoPower, privilege.EditPrivileges))
	}
	if n := privilege.Lacks(a.Effective, m.Graph.Closure(names...)); n != "" {
		return forbidden(fmt.Errorf("%w: %s", privilege.ErrNotHeld, n))
	}
	return nil
}

// CreatePrivilege adds one, with its includes. A name that exists, or rests after a deletion, is ErrConflict; an unfit one ErrInvalid.
func (s *Store) CreatePrivilege(ctx context.Context, actor string, p *Privilege) error {
	if err := privilege.ValidName(p.Name); err != nil {
		return invalid("name", err.Error())
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		next := *p
		next.CreatedAt, next.UpdatedAt, next.DeletedAt, next.Source = now, now, Time{}, cmp.Or(p.Source, PrivilegeAdmin)
		fill(ctx, s, p, next)
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if err := s.mayDefine(ctx, actor); err != nil {
			return err
		}
		// A name that rested long enough begins anew, with none of what it was.
		revived, err := s.exec(ctx, revivePrivilege, next.Label, next.Description, next.ClientID, now, now, next.Source, next.Texts, next.Requestable, next.Name, At(now.Add(-nameRests)))
		if err == nil && revived == 0 {
			_, err = s.named(ctx, insertPrivilege, p)
		}
		if err != nil {
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
		if err := s.SetIncludes(ctx, actor, p.Name, p.Includes); err != nil || !p.Requestable {
			return err
		}
		m, err := s.model(ctx)
		if err == nil && !m.Graph.CanAsk(p.Name) {
			err = errNoRequest
		}
		return err
	})
}

const (
	describePrivilege = `UPDATE privileges SET label = ?, description = ?, texts = ?, source = ?, updated_at = ? WHERE name = ? AND deleted_at IS NULL`
	privilegeNamed    = `SELECT ` + privilegeColumns + ` FROM privileges WHERE name = ? AND deleted_at IS NULL`
)

// DescribePrivilege changes what a privilege is called and said to be, and its translations; the name in tokens never changes. source ""
// leaves where it is declared. ErrNotFound, ErrForbidden also for one that the actor does not hold with all it includes.
func (s *Store) DescribePrivilege(ctx context.Context, actor, name, label, description string, texts Labels, source string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.mayDefine(ctx, actor, name); err != nil {
			return err
		}
		p, err := one[Privilege](ctx, s, "privilege", privilegeNamed, name)
		if err != nil {
			return err
		}
		if _, node := privilege.TypeOf(name); node {
			return errNotFound("privilege")
		}
		if err := p.editable(actor); err != nil {
			return err
		}
		if _, err := s.exec(ctx, describePrivilege, label, description, texts, cmp.Or(source, p.Source), At(s.now(ctx)), name); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "privilege.describe", "privilege:"+name, map[string]any{"label": label, "description": description, "texts": texts}); err != nil {
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
// (R14), and whatever the actor may not do to each holder: to include a privilege is to give it to all of them (security.md G2).
// One transaction at a time does this, so two that would make a cycle together cannot (G3).
func (s *Store) SetIncludes(ctx context.Context, actor, name string, includes []string) error {
	includes = slices.Compact(slices.Sorted(slices.Values(includes)))
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			list, err := s.allPrivileges(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(p Privilege) bool { return p.Name == name })
			if _, node := privilege.TypeOf(name); i < 0 || node {
				return fmt.Errorf("store: privilege: %w", ErrNotFound)
			}
			if err := list[i].editable(actor); err != nil {
				return err
			}
			before := list[i].Includes
			added, removed := without(includes, before), without(before, includes)
			m, err := s.model(ctx)
			if err != nil {
				return err
			}
			for _, child := range added {
				if !m.Graph.Has(child) {
					return fmt.Errorf("store: privilege %q: %w", child, ErrNotFound)
				}
				if child == privilege.Cron {
					return forbidden(privilege.ErrCron)
				}
			}
			if _, err := s.allowEdit(ctx, m, actor, list, Edit{Privilege: name, Includes: includes}); err != nil {
				return err
			}
			now := At(s.now(ctx))
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

// LabelsIn is what privileges, and the nodes of user types, are called in a language.
func (s *Store) LabelsIn(ctx context.Context, lang string) (map[string]string, error) {
	rows, err := s.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	labels := make(map[string]string, len(rows))
	for _, p := range rows {
		labels[p.Name], _ = p.In(lang)
	}
	m, err := s.Model(ctx)
	if err != nil {
		return nil, err
	}
	for i := range m.Types {
		labels[privilege.TypeNode(m.Types[i].Value)] = m.Types[i].In(lang)
	}
	return labels, nil
}
