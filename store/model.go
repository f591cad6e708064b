package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Model is everything that decides what people may do, but for who they are. It is shared: READ ONLY.
type Model struct {
	Graph       *privilege.Graph // privileges, and a node for each user type
	Types       []UserType       // in the operator's order
	Powers      privilege.Powers
	Delegations []privilege.Delegation
}

// Type finds a user type by its value, nil for none.
func (m *Model) Type(value string) *UserType {
	i := slices.IndexFunc(m.Types, func(t UserType) bool { return t.Value == value })
	if i < 0 {
		return nil
	}
	return &m.Types[i]
}

// TypeNamed finds a user type by one of its names, nil for none.
func (m *Model) TypeNamed(name string) *UserType {
	i := slices.IndexFunc(m.Types, func(t UserType) bool { return slices.Contains(t.Names, name) })
	if i < 0 {
		return nil
	}
	return &m.Types[i]
}

// Newcomers is the type that new people have, nil for none: the one named user.
func (m *Model) Newcomers() *UserType { return m.TypeNamed(privilege.TypeUser) }

// Effective is the sorted closure of what a person holds now.
func (m *Model) Effective(l *Live, now Time) []string {
	return m.Graph.Effective(l.holdings(), now.Time)
}

// HeldUntil is until when a person may pass privileges on: as long as they hold all of them with all they bring, or admin, whose holders confer
// everything. The zero time is no end; held is false for who does not hold them now.
func (m *Model) HeldUntil(l *Live, now Time, given ...string) (end time.Time, held bool) {
	names := m.Graph.Closure(given...)
	if slices.Contains(m.Effective(l, now), adminPrivilege) {
		names = []string{adminPrivilege}
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == userPrivilege })
	return m.Graph.HeldUntil(l.holdings(), now.Time, names...)
}

// May says whether a person has a permission now.
func (m *Model) May(l *Live, now Time, want privilege.Permission) bool {
	return l.User.Active(now.Time) && m.Powers.May(m.Effective(l, now), want)
}

// Administers says whether a person has power over others now (privilege.Powers.Administers), whether or not the account is open.
func (m *Model) Administers(l *Live, now Time) bool { return m.Powers.Administers(m.Effective(l, now)) }

// Privileged says whether somebody gave this person more than what everybody has who is new, now or at some time to come.
func (m *Model) Privileged(l *Live) bool {
	common := []string{userPrivilege}
	if t := m.Newcomers(); t != nil {
		common = append(common, privilege.TypeNode(t.Value))
	}
	common = m.Graph.Closure(common...)
	for _, h := range l.Holdings {
		for _, n := range m.Graph.Closure(h.Privilege) {
			if _, found := slices.BinarySearch(common, n); !found {
				return true
			}
		}
	}
	return false
}

// Beyond is the first privilege that a person holds, now or at some time to come, beside user and what names bring; "" = none.
func (m *Model) Beyond(l *Live, now Time, names ...string) string {
	var held []string
	for _, h := range l.Holdings {
		if h.Until.IsZero() || h.Until.After(now.Time) {
			held = append(held, h.Privilege)
		}
	}
	within := m.Graph.Closure(append([]string{userPrivilege}, names...)...)
	for _, n := range m.Graph.Closure(held...) {
		if _, found := slices.BinarySearch(within, n); !found {
			return n
		}
	}
	return ""
}

// ReadOnly says whether a person may change nothing: their type says so. An unknown type means no rights.
func (m *Model) ReadOnly(u *User) bool {
	t := m.Type(u.UserType)
	return t == nil || t.ReadOnly
}

// Spared says whether mail of a kind (privilege.Notices) is kept from a person: their type masks it (R87).
func (m *Model) Spared(u *User, kind string) bool {
	t := m.Type(u.UserType)
	return t != nil && slices.Contains(t.Mask, kind)
}

// Reaches says whether mail of a kind goes to a person: to an address that is theirs for certain, unless they are spared it.
func (m *Model) Reaches(u *User, kind string, now time.Time) bool {
	return u.Email != "" && !u.EmailVerifiedAt.IsZero() && u.Active(now) && !m.Spared(u, kind)
}

const (
	powersLive      = `SELECT privilege, permission FROM powers WHERE ended_at IS NULL ORDER BY privilege, permission`
	delegationsLive = `SELECT holder, confer, people FROM delegations WHERE ended_at IS NULL ORDER BY id`
)

type power struct {
	Privilege  string `db:"privilege"`
	Permission string `db:"permission"`
}

type delegation struct {
	Holder string  `db:"holder"`
	Confer Strings `db:"confer"`
	People string  `db:"people"` // a requirement as JSON
}

// Model is what is in force, from memory. It is stale for at most a second after a change by another process, while Watch runs; in a Tx it is
// what the transaction sees.
func (s *Store) Model(ctx context.Context) (*Model, error) {
	if s.inTx(ctx) != nil {
		return s.model(ctx)
	}
	c := &s.cache
	c.mu.RLock()
	m, round := c.model, c.round
	c.mu.RUnlock()
	if m != nil {
		return m, nil
	}
	m, err := s.model(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round == round {
		c.model = m
	}
	return m, nil
}

// Definitions is the graph of Model.
func (s *Store) Definitions(ctx context.Context) (*privilege.Graph, error) {
	m, err := s.Model(ctx)
	if err != nil {
		return nil, err
	}
	return m.Graph, nil
}

// model reads what is in force, past the cache: the gate decides on what its transaction sees. Missing or unreadable definitions fail
// closed (R89).
func (s *Store) model(ctx context.Context) (*Model, error) {
	m := &Model{}
	var err error
	if m.Graph, err = s.graph(ctx); err != nil {
		return nil, err
	}
	if m.Types, err = s.userTypes(ctx, m.Graph); err != nil {
		return nil, err
	}
	rows, err := many[power](ctx, s, powersLive)
	if err != nil {
		return nil, err
	}
	directive := map[string][]string{}
	for _, r := range rows {
		directive[r.Privilege] = append(directive[r.Privilege], r.Permission)
	}
	if m.Powers, _, err = privilege.NewPowers(directive, nil); err != nil {
		return nil, fmt.Errorf("store: permissions: %w", err)
	}
	rules, err := many[delegation](ctx, s, delegationsLive)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		people, err := privilege.ParseRequirementJSON([]byte(r.People), nil)
		if err != nil {
			return nil, fmt.Errorf("store: delegations: %w", err)
		}
		m.Delegations = append(m.Delegations, privilege.Delegation{Holder: r.Holder, Confer: r.Confer, People: people})
	}
	return m, nil
}

const (
	endPower      = `UPDATE powers SET ended_at = ?, ended_by = ? WHERE privilege = ? AND permission = ? AND ended_at IS NULL`
	insertPower   = `INSERT INTO powers (id, privilege, permission, started_at, started_by, ended_by) VALUES (?, ?, ?, ?, ?, '')`
	endDelegation = `UPDATE delegations SET ended_at = ?, ended_by = ? WHERE holder = ? AND confer = ? AND people = ? AND ended_at IS NULL`
	addDelegation = `INSERT INTO delegations (id, holder, confer, people, started_at, started_by, ended_by) VALUES (?, ?, ?, ?, ?, ?, '')`
)

// SetPowers makes the permissions of privileges exactly those of a directive that privilege.NewPowers takes, keeping what was in force
// before as history. The operator only: to give a privilege a permission is to give it to every holder. Audited; nothing is written where
// nothing changed.
func (s *Store) SetPowers(ctx context.Context, actor string, directive map[string][]string) error {
	if !operator(actor) {
		return fmt.Errorf("store: permissions: %w", ErrForbidden)
	}
	var want []power
	for name, list := range directive {
		for _, p := range list {
			if !slices.Contains(privilege.Ignored, p) {
				want = append(want, power{name, p})
			}
		}
	}
	slices.SortFunc(want, comparePowers)
	want = slices.Compact(want)
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		have, err := many[power](ctx, s, powersLive)
		if err != nil {
			return err
		}
		slices.SortFunc(have, comparePowers)
		if slices.Equal(have, want) {
			return nil
		}
		if _, _, err := privilege.NewPowers(directive, nil); err != nil {
			return invalid("permissions", err.Error())
		}
		now := At(s.now(ctx))
		var added, removed []string
		for _, p := range have {
			if slices.Contains(want, p) {
				continue
			}
			removed = append(removed, p.Privilege+" "+p.Permission)
			if _, err := s.exec(ctx, endPower, now, actor, p.Privilege, p.Permission); err != nil {
				return err
			}
		}
		for _, p := range want {
			if slices.Contains(have, p) {
				continue
			}
			added = append(added, p.Privilege+" "+p.Permission)
			if _, err := s.exec(ctx, insertPower, newID(), p.Privilege, p.Permission, now, actor); err != nil {
				return err
			}
		}
		if err := s.Audit(ctx, actor, "permissions.set", "permissions", map[string][]string{"added": added, "removed": removed}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

func comparePowers(a, b power) int {
	if a.Privilege != b.Privilege {
		if a.Privilege < b.Privilege {
			return -1
		}
		return 1
	}
	switch {
	case a.Permission < b.Permission:
		return -1
	case a.Permission > b.Permission:
		return 1
	}
	return 0
}

// DelegationRule is a privilege.Delegation as an operator writes it.
type DelegationRule struct {
	Holder string
	Confer []string
	People []any // a requirement
}

// SetDelegations makes the rules of delegation exactly these. The operator only. Audited; nothing is written where nothing changed.
func (s *Store) SetDelegations(ctx context.Context, actor string, rules []DelegationRule) error {
	if !operator(actor) {
		return fmt.Errorf("store: delegations: %w", ErrForbidden)
	}
	type row struct{ holder, confer, people string }
	var want []row
	for _, r := range rules {
		if _, err := privilege.ParseRequirement(r.People, nil); err != nil {
			return invalid("delegations", err.Error())
		}
		people := r.People
		if people == nil {
			people = []any{}
		}
		p, err := json.Marshal(people)
		if err != nil {
			return invalid("delegations", err.Error())
		}
		c, err := json.Marshal(slices.Sorted(slices.Values(r.Confer)))
		if err != nil {
			return invalid("delegations", err.Error())
		}
		if next := (row{r.Holder, string(c), string(p)}); !slices.Contains(want, next) {
			want = append(want, next)
		}
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		list, err := many[delegation](ctx, s, delegationsLive)
		if err != nil {
			return err
		}
		var have []row
		for _, d := range list {
			c, err := json.Marshal([]string(d.Confer))
			if err != nil {
				return err
			}
			have = append(have, row{d.Holder, string(c), d.People})
		}
		now := At(s.now(ctx))
		var added, removed []string
		for _, r := range have {
			if slices.Contains(want, r) {
				continue
			}
			removed = append(removed, fmt.Sprint(r))
			if _, err := s.exec(ctx, endDelegation, now, actor, r.holder, r.confer, r.people); err != nil {
				return err
			}
		}
		for _, r := range want {
			if slices.Contains(have, r) {
				continue
			}
			added = append(added, fmt.Sprint(r))
			if _, err := s.exec(ctx, addDelegation, newID(), r.holder, r.confer, r.people, now, actor); err != nil {
				return err
			}
		}
		if len(added)+len(removed) == 0 {
			return nil
		}
		if err := s.Audit(ctx, actor, "delegations.set", "delegations", map[string][]string{"added": added, "removed": removed}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}
