package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Edit is a change of the definitions, on paper: what Radius weighs and what SetIncludes and DeletePrivilege do.
type Edit struct {
	Privilege string   // which; a new one is created
	Includes  []string // all that it includes afterwards
	Delete    bool
}

// apply returns the definitions after an edit.
func (e Edit) apply(list []Privilege) ([]Privilege, error) {
	out := slices.Clone(list)
	i := slices.IndexFunc(out, func(p Privilege) bool { return p.Name == e.Privilege })
	switch {
	case i < 0 && e.Delete:
		return nil, fmt.Errorf("store: privilege: %w", ErrNotFound)
	case i < 0:
		return append(out, Privilege{Name: e.Privilege, Includes: e.Includes}), nil
	case !e.Delete:
		out[i].Includes = e.Includes
		return out, nil
	}
	out = slices.Delete(out, i, i+1)
	for i := range out {
		if slices.Contains(out[i].Includes, e.Privilege) {
			out[i].Includes = slices.DeleteFunc(slices.Clone(out[i].Includes), func(n string) bool { return n == e.Privilege })
		}
	}
	return out, nil
}

// Impact is what an edit would do, before anybody saves it.
type Impact struct {
	privilege.Radius
	Clients []string // ids of those that would see a difference
}

// String is one line for a person: "37 people gain staff; 3 clients affected".
func (i Impact) String() string {
	s := i.Radius.String()
	switch n := len(i.Clients); n {
	case 0:
		return s
	case 1:
		return s + "; 1 client affected"
	default:
		return fmt.Sprintf("%s; %d clients affected", s, n)
	}
}

// Impact weighs an edit: how many people would gain or lose what, now or when what they were given begins, and which clients would hear of
// it. It writes nothing. ErrInvalid and ErrNotFound as the edit itself.
func (s *Store) Impact(ctx context.Context, e Edit) (Impact, error) {
	var out Impact
	list, err := s.allPrivileges(ctx)
	if err != nil {
		return out, err
	}
	before, err := privilege.NewGraph(defs(list))
	if err != nil {
		return out, err
	}
	next, err := e.apply(list)
	if err != nil {
		return out, err
	}
	after, err := privilege.NewGraph(defs(next))
	if err != nil {
		return out, invalid("includes", err.Error())
	}
	// Only these can be gained or lost, and only what leads to one of them has a say in that.
	d := privilege.Effect{Before: before.Closure(e.Privilege), After: after.Closure(e.Privilege)}
	gained, lost := d.Diff()
	moved := append(gained, lost...)
	if len(moved) == 0 {
		return out, nil
	}
	touched := e.touched(list, before, after)
	none := e.nothing(list, touched)
	if e.Delete { // whoever held nothing else counts as user then
		moved = union(moved, union(before.Closure(userPrivilege), after.Closure(userPrivilege)))
	}
	if err := s.weigh(ctx, before, after, touched, moved, none, &out); err != nil {
		return out, err
	}
	out.Clients, err = s.ClientsSeeing(ctx, union(out.Gained, out.Lost))
	return out, err
}

// touched is what leads to the privilege before or after the edit. With user it is also the types that bring nothing: whoever has only that counts as user.
func (e Edit) touched(list []Privilege, before, after *privilege.Graph) []string {
	touched := union(before.Above(e.Privilege), after.Above(e.Privilege))
	if slices.Contains(touched, userPrivilege) {
		touched = union(touched, emptyTypes(list))
	}
	return touched
}

// emptyTypes are the nodes of user types that bring nothing.
func emptyTypes(list []Privilege) (nodes []string) {
	for _, p := range list {
		if _, node := privilege.TypeOf(p.Name); node && len(p.Includes) == 0 {
			nodes = append(nodes, p.Name)
		}
	}
	return nodes
}

// nothing is what brings no privilege, before and after an edit: whoever has only that counts as user.
type nothing struct{ before, after []string }

// nothing is nil where it makes no difference, so that nobody has to be asked for all they hold.
func (e Edit) nothing(list []Privilege, touched []string) *nothing {
	if !e.Delete && !slices.Contains(touched, userPrivilege) {
		return nil
	}
	n := &nothing{before: emptyTypes(list)}
	if n.after = n.before; e.Delete {
		n.after = append(slices.Clip(n.before), e.Privilege)
		for _, p := range list { // types in use keep a privilege from being deleted, but it can be weighed
			if _, node := privilege.TypeOf(p.Name); node && slices.Equal(p.Includes, []string{e.Privilege}) {
				n.after = append(n.after, p.Name)
			}
		}
	}
	return n
}

// all says whether names bring nothing.
func all(names, nothing []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(nothing, n) })
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// ClientsSeeing are the ids of the clients whose tokens or doors depend on one of names.
func (s *Store) ClientsSeeing(ctx context.Context, names []string) (ids []string, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	for after := ""; ; {
		page, err := s.Clients(ctx, after, 500)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return ids, nil
		}
		after = page[len(page)-1].ID
		for _, c := range page {
			if c.DisabledAt.IsZero() && slices.ContainsFunc(names, c.Metadata.seesAs(c.ID)) {
				ids = append(ids, c.ID)
			}
		}
	}
}

// seesAs says of a privilege whether a client is told about it, or asks for it at its door.
func (m *ClientMetadata) seesAs(id string) func(string) bool {
	var asked []string
	if r, err := privilege.ParseRequirement(m.RequiredPrivileges, nil); err == nil {
		asked = r.Names()
	}
	return func(name string) bool {
		if owner, _, role := privilege.ClientRole(name); role {
			return owner == id
		}
		return len(m.VisiblePrivileges) == 0 || slices.Contains(m.VisiblePrivileges, name) || slices.Contains(asked, name)
	}
}

// manyNames is where a list of names is no longer worth sending.
const manyNames = 500

// Marks before a name in a pattern; no name holds one.
const (
	later  = ">" // begins later
	ending = "<" // in force, but not for good
)

func unmarked(name string) string { return strings.TrimLeft(name, later+ending) }

// stages are the names of a pattern: those held now, and those held when all has begun. left is what may be left of them at other times: what lasts, alone
// and with each of those that do not; nil where all of it is held now and for good.
func stages(pattern []string) (whole, left [][]string) {
	var now, all, lasting, timed []string
	for _, marked := range pattern {
		name := unmarked(marked)
		all = append(all, name)
		if !strings.HasPrefix(marked, later) {
			now = append(now, name)
		}
		if name == marked {
			lasting = append(lasting, name)
		} else {
			timed = append(timed, name)
		}
	}
	if len(timed) == 0 {
		return [][]string{all}, nil
	}
	left = append(left, lasting)
	for _, name := range timed {
		left = append(left, append(slices.Clip(lasting), name))
	}
	return [][]string{now, all}, left
}

// pattern is what a person holds and will hold, as eachHolder gives it.
func (l *Live) pattern(now Time) (names []string) {
	for _, h := range l.Holdings {
		switch {
		case !h.Until.IsZero() && !h.Until.After(now.Time):
		case h.From.After(now.Time):
			names = append(names, later+h.Privilege)
		case !h.Until.IsZero():
			names = append(names, ending+h.Privilege)
		default:
			names = append(names, h.Privilege)
		}
	}
	return inPattern(names)
}

// inPattern brings what somebody holds in order. From two sources it is held once, and what is in force and lasts comes first.
func inPattern(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(unmarked(a), unmarked(b)), len(a)-len(b), strings.Compare(a, b))
	})
	return slices.CompactFunc(names, func(a, b string) bool { return unmarked(a) == unmarked(b) })
}

// patterns groups everybody who holds something of touched by what they hold, also what begins later. each hears of a group once: a person's id if the
// group is one person, the pattern for stages, and how many people.
func (s *Store) patterns(ctx context.Context, touched []string, each func(one string, names []string, people int) error) error {
	type group struct {
		one   string
		names []string
		n     int
	}
	groups := map[string]*group{}
	err := s.eachHolder(ctx, touched, nil, atOnce, func(user, held string) error {
		names := inPattern(strings.Split(held, " "))
		key := strings.Join(names, " ")
		g := groups[key]
		if g == nil {
			g = &group{names: names}
			groups[key] = g
		}
		g.n++
		if g.one = user; g.n > 1 {
			g.one = ""
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := each(g.one, g.names, g.n); err != nil {
			return err
		}
	}
	return nil
}

// allowEdit is the gate for a change of definitions (security.md G2): to each person it touches it must do what the actor could have done to
// them one by one, and what it moves must be the actor's to give even where nobody holds it yet.
func (s *Store) allowEdit(ctx context.Context, m *Model, actorID string, list []Privilege, e Edit) (*privilege.Graph, error) {
	next, err := e.apply(list)
	if err != nil {
		return nil, err
	}
	after, err := privilege.NewGraph(defs(next))
	if err != nil {
		return nil, invalid("includes", err.Error())
	}
	a, err := s.actor(ctx, m, actorID, privilege.EditPrivileges)
	if err != nil || a.Operator {
		return after, err
	}
	if !m.Powers.May(a.Effective, privilege.AccessPrivileges) {
		return nil, forbidden(privilege.ErrNoPower)
	}
	d := privilege.Effect{Before: m.Graph.Closure(e.Privilege), After: after.Closure(e.Privilege)}
	moved := union(d.Before, d.After)
	nobody := []string{userPrivilege}
	if err := m.Graph.Allowed(a, privilege.Effect{Before: nobody, After: nobody, Moved: moved}); err != nil {
		return nil, forbidden(err)
	}
	// What an include brings has no end, whoever gets it.
	if gained, _ := d.Diff(); len(gained) > 0 {
		if err := s.allowForGood(ctx, m, actorID, gained...); err != nil {
			return nil, err
		}
	}
	now := s.now(ctx)
	at := func(self bool, names []string) privilege.Effect {
		hs := make([]privilege.Holding, len(names))
		for i, name := range names {
			hs[i].Privilege = name
		}
		return privilege.Effect{Self: self, Before: m.Graph.Effective(hs, now), After: after.Effective(hs, now)}
	}
	// Who holds something until Friday may be given it for good, and nothing moves before: what they hold is compared as it will be, too.
	effect := func(self bool, pattern []string) error {
		whole, left := stages(pattern)
		var moved []string
		for _, names := range left {
			gained, lost := at(self, names).Diff()
			moved = union(moved, union(gained, lost))
		}
		for _, names := range whole {
			e := at(self, names)
			e.Moved = moved
			if err := m.Graph.Allowed(a, e); err != nil {
				return forbidden(err)
			}
		}
		return nil
	}
	l, err := s.Live(ctx, actorID)
	if err != nil {
		return nil, err
	}
	if err := effect(true, l.pattern(At(now))); err != nil {
		return nil, err
	}
	err = s.patterns(ctx, e.touched(list, m.Graph, after), func(one string, names []string, n int) error {
		if one == actorID {
			return nil // asked already
		}
		return effect(false, names)
	})
	return after, err
}

// MayEdit asks the gate about an edit without making it: nil = the actor may. ErrForbidden, ErrInvalid for a cycle, ErrNotFound.
func (s *Store) MayEdit(ctx context.Context, actor string, e Edit) error {
	list, err := s.allPrivileges(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(p Privilege) bool { return p.Name == e.Privilege })
	if i >= 0 && e.Delete {
		if err := list[i].CanDelete(); err != nil {
			return err
		}
	}
	m, err := s.model(ctx)
	if err != nil {
		return err
	}
	_, err = s.allowEdit(ctx, m, actor, list, e)
	return err
}

// CanDelete says whether a privilege may be deleted at all: six of the seven stay (R75), and what the configuration declares goes there.
func (p *Privilege) CanDelete() error {
	switch {
	case p.BuiltIn && p.Name != "customer":
		return fmt.Errorf("store: privilege %s is %w", p.Name, ErrBuiltIn)
	case p.Source == PrivilegeConfig:
		return fmt.Errorf("store: privilege %s is declared in the configuration: %w", p.Name, ErrForbidden)
	}
	return nil
}

// Dependants is what refers to a privilege.
type Dependants struct {
	People      int64    // who were given it, themselves
	Includes    []string // privileges that include it
	Required    []string // clients that ask for it at their door
	Visible     []string // clients that are told about it by name
	Types       []string // user types whose privilege it is
	Powers      []string // permissions it brings
	Delegations int      // rules that name it
}

// Blocking says in one line what has to change before the privilege can go, "" when nothing has to: doors and definitions must not change their
// meaning by the way.
func (d Dependants) Blocking() string {
	var parts []string
	add := func(what string, list []string) {
		if len(list) > 0 {
			parts = append(parts, what+" "+strings.Join(list, ", "))
		}
	}
	add("clients that require it:", d.Required)
	add("clients that list it as visible:", d.Visible)
	add("user types:", d.Types)
	add("permissions it brings:", d.Powers)
	if d.Delegations > 0 {
		parts = append(parts, fmt.Sprintf("rules of delegation: %d", d.Delegations))
	}
	return strings.Join(parts, "; ")
}

const holdersOf = `SELECT COUNT(DISTINCT user_id) FROM assignments WHERE privilege = ? AND ended_at IS NULL`

// Dependants counts what refers to a privilege.
func (s *Store) Dependants(ctx context.Context, name string) (d Dependants, err error) {
	if d.People, _, err = value[int64](ctx, s, holdersOf, name); err != nil {
		return d, err
	}
	list, err := s.allPrivileges(ctx)
	if err != nil {
		return d, err
	}
	for _, p := range list {
		if !slices.Contains(p.Includes, name) {
			continue
		}
		if value, node := privilege.TypeOf(p.Name); node {
			d.Types = append(d.Types, value)
		} else {
			d.Includes = append(d.Includes, p.Name)
		}
	}
	powers, err := many[power](ctx, s, powersLive)
	if err != nil {
		return d, err
	}
	for _, p := range powers {
		if p.Privilege == name {
			d.Powers = append(d.Powers, p.Permission)
		}
	}
	rules, err := many[delegation](ctx, s, delegationsLive)
	if err != nil {
		return d, err
	}
	for _, r := range rules {
		people, err := privilege.ParseRequirementJSON([]byte(r.People), nil)
		if err != nil {
			return d, err
		}
		if r.Holder == name || slices.Contains(r.Confer, name) || slices.Contains(people.Names(), name) {
			d.Delegations++
		}
	}
	for after := ""; ; {
		page, err := s.Clients(ctx, after, 500)
		if err != nil {
			return d, err
		}
		if len(page) == 0 {
			return d, nil
		}
		after = page[len(page)-1].ID
		for _, c := range page {
			if r, err := privilege.ParseRequirement(c.Metadata.RequiredPrivileges, nil); err == nil && slices.Contains(r.Names(), name) {
				d.Required = append(d.Required, c.ID)
			}
			if slices.Contains(c.Metadata.VisiblePrivileges, name) {
				d.Visible = append(d.Visible, c.ID)
			}
		}
	}
}

// InUse says what keeps a privilege from being deleted.
type InUse struct{ Dependants }

func (e *InUse) Error() string { return "store: the privilege is in use: " + e.Blocking() }

// Unwrap is ErrConflict.
func (e *InUse) Unwrap() error { return ErrConflict }

const (
	endAssignmentsOf = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE privilege = ? AND ended_at IS NULL`
	endIncludesOf    = `UPDATE privilege_includes SET ended_at = ?, ended_by = ? WHERE parent = ? AND ended_at IS NULL`
	endIncludedIn    = `UPDATE privilege_includes SET ended_at = ?, ended_by = ? WHERE child = ? AND ended_at IS NULL`
	deletePrivilege  = `UPDATE privileges SET deleted_at = ?, updated_at = ? WHERE name = ? AND deleted_at IS NULL`
)

// DeletePrivilege takes a privilege away for good: from everybody who holds it and from all that include it, in one audited transaction through the gate.
// Its name rests for 90 days. ErrNotFound; ErrForbidden for the protected ones (R75) and what the actor could not take from each holder; *InUse
// while doors or definitions refer to it; ErrLastAdmin.
func (s *Store) DeletePrivilege(ctx context.Context, actor, name string) (Impact, error) {
	var impact Impact
	err := s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			list, err := s.allPrivileges(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(p Privilege) bool { return p.Name == name })
			if _, node := privilege.TypeOf(name); i < 0 || node {
				return fmt.Errorf("store: privilege: %w", ErrNotFound)
			}
			if err := list[i].CanDelete(); err != nil {
				return err
			}
			m, err := s.model(ctx)
			if err != nil {
				return err
			}
			e := Edit{Privilege: name, Delete: true}
			if _, err := s.allowEdit(ctx, m, actor, list, e); err != nil {
				return err
			}
			d, err := s.Dependants(ctx, name)
			if err != nil {
				return err
			}
			if d.Blocking() != "" {
				return &InUse{d}
			}
			if impact, err = s.Impact(ctx, e); err != nil {
				return err
			}
			now := At(s.now(ctx))
			for _, st := range []struct {
				query string
				args  []any
			}{
				{endAssignmentsOf, []any{now, actor, name}},
				{endIncludesOf, []any{now, actor, name}},
				{endIncludedIn, []any{now, actor, name}},
				{deletePrivilege, []any{now, now, name}},
				{closeRequestsFor, []any{now, actor, name}},
			} {
				if _, err := s.exec(ctx, st.query, st.args...); err != nil {
					return err
				}
			}
			if err := s.Audit(ctx, actor, "privilege.delete", "privilege:"+name, map[string]any{"people": d.People, "included_in": d.Includes, "effect": impact.String()}); err != nil {
				return err
			}
			return s.changed(ctx)
		})
	})
	return impact, err
}

var errProtectedSource = errors.New("declared in the configuration")

// editable refuses a person's change of what the configuration declares: the next start would undo it.
func (p *Privilege) editable(actor string) error {
	if p.Source == PrivilegeConfig && actor != "system" {
		return fmt.Errorf("store: privilege %s is %w: %w", p.Name, errProtectedSource, ErrForbidden)
	}
	return nil
}
