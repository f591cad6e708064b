// Package rights is what operators see and change of privileges, user types and permissions, at the command line and in a browser alike.
//
// It owns the questions they ask (what is there, who holds it, what would a change do) and the two refusals that the database cannot make: what the
// configuration file declares is changed there, and what it names stays, as the next start would undo the one and fail at the other. Who may change
// what is the store's gate, in the transaction that writes. It has no words for people but of what stands in a way.
package rights

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// Desk is where they do it.
type Desk struct {
	Store *store.Store
	File  func() *config.Config // the configuration in force
}

// Privilege is a privilege as operators see it.
type Privilege struct {
	Name        string       `json:"name"`
	Label       string       `json:"label"`
	Description string       `json:"description"`
	Texts       store.Labels `json:"texts,omitempty"`
	Source      string       `json:"source"` // built-in, config or admin
	BuiltIn     bool         `json:"-"`
	ClientID    string       `json:"client_id,omitempty"`
	Includes    []string     `json:"includes"`
	Holders     int64        `json:"holders"` // people who were given it themselves, and hold it now
	Requestable bool         `json:"requestable"`
}

// PrivilegeDetail is all there is to say about one.
type PrivilegeDetail struct {
	Privilege
	Closure     []string `json:"closure"`               // all it brings, itself counted
	InEffect    int64    `json:"holders_in_effect"`     // and those who hold what includes it
	IncludedBy  []string `json:"included_by,omitempty"` // directly
	Permissions []string `json:"permissions,omitempty"` // all it brings
	Own         []string `json:"own_permissions,omitempty"`
	UserTypes   []string `json:"user_types,omitempty"` // whose privilege it is
	Required    []string `json:"required_by,omitempty"`
	Visible     []string `json:"visible_to,omitempty"` // clients that list it by name
	Delegations int      `json:"delegations,omitempty"`
	Blocking    string   `json:"blocks_removal,omitempty"`
}

// CanDelete says whether it may be deleted at all, by anybody.
func (p *PrivilegeDetail) CanDelete() bool {
	row := store.Privilege{Name: p.Name, Source: p.Source, BuiltIn: p.BuiltIn}
	return row.CanDelete() == nil
}

func privilegeOf(p store.Privilege, counts map[string]int64) Privilege {
	in := p.Includes
	if in == nil {
		in = []string{}
	}
	return Privilege{p.Name, p.Label, p.Description, p.Texts, p.Source, p.BuiltIn, p.ClientID, in, counts[p.Name], p.Requestable}
}

// Privileges lists all, in the order of their names.
func (d *Desk) Privileges(ctx context.Context) ([]Privilege, error) {
	rows, err := d.Store.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := d.Store.HolderCounts(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Privilege, len(rows))
	for i, p := range rows {
		out[i] = privilegeOf(p, counts)
	}
	return out, nil
}

// privilege finds the row; store.ErrNotFound.
func (d *Desk) privilege(ctx context.Context, name string) (*store.Privilege, error) {
	rows, err := d.Store.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rows, func(p store.Privilege) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("rights: privilege %q: %w", name, store.ErrNotFound)
	}
	return &rows[i], nil
}

// Privilege is one in full. store.ErrNotFound.
func (d *Desk) Privilege(ctx context.Context, name string) (*PrivilegeDetail, error) {
	p, err := d.privilege(ctx, name)
	if err != nil {
		return nil, err
	}
	counts, err := d.Store.HolderCounts(ctx)
	if err != nil {
		return nil, err
	}
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	dep, err := d.Store.Dependants(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &PrivilegeDetail{Privilege: privilegeOf(*p, counts), Closure: m.Graph.Closure(name), IncludedBy: dep.Includes,
		UserTypes: dep.Types, Required: dep.Required, Visible: dep.Visible, Delegations: dep.Delegations, Blocking: d.blocking(name, dep)}
	if out.InEffect, err = d.Store.CountHolders(ctx, name); err != nil {
		return nil, err
	}
	for _, perm := range m.Powers.Of(out.Closure) {
		out.Permissions = append(out.Permissions, string(perm))
	}
	for _, perm := range m.Powers.Of([]string{name}) {
		out.Own = append(out.Own, string(perm))
	}
	return out, nil
}

// blocking says in one line what has to change before a privilege can go: what the database knows, and what the file says.
func (d *Desk) blocking(name string, dep store.Dependants) string {
	parts := []string{}
	if s := dep.Blocking(); s != "" {
		parts = append(parts, s)
	}
	if places := namedInFile(d.File(), name); len(places) > 0 {
		parts = append(parts, "the configuration names it: "+strings.Join(places, ", "))
	}
	return strings.Join(parts, "; ")
}

// namedInFile are the keys of the configuration that name a privilege which the next start could not find: the database does not know of them, or
// would lose what they say.
func namedInFile(cfg *config.Config, name string) (places []string) {
	for _, n := range slices.Sorted(maps.Keys(cfg.Privileges)) {
		if slices.Contains(cfg.Privileges[n].Includes, name) {
			places = append(places, "privileges."+n+".includes")
		}
	}
	for _, n := range slices.Sorted(maps.Keys(cfg.Actions)) {
		if r, err := privilege.ParseRequirement(cfg.Actions[n].Requires, nil); err == nil && slices.Contains(r.Names(), name) {
			places = append(places, "actions."+n+".requires")
		}
	}
	if slices.Contains(cfg.MFA.AllowedFor, name) {
		places = append(places, "mfa.allowed_for")
	}
	if slices.Contains(cfg.MFA.RequiredFor, name) {
		places = append(places, "mfa.required_for")
	}
	if slices.Contains(cfg.Invites.TwoApprovals, name) {
		places = append(places, "invites.two_approvals")
	}
	for _, k := range cfg.Connectors {
		if slices.ContainsFunc(k.Privileges, func(r config.ClaimRule) bool { return r.Privilege == name }) {
			places = append(places, "connectors."+k.ID+".privileges")
		}
	}
	return places
}

// ErrInFile says that the configuration declares a privilege, so that it is changed there.
var ErrInFile = errors.New("the configuration declares it")

// InUse says what keeps a privilege from being removed.
type InUse struct{ Text string }

func (e *InUse) Error() string { return "the privilege is in use: " + e.Text }

// Weigh says what an edit by actor would do, and whether it is allowed at all; it writes nothing. Whoever may not make it hears no number (security.md
// G13). store.ErrNotFound, store.ErrForbidden also for what is built in and stays, ErrInFile, *InUse, store.ErrInvalid for a cycle.
func (d *Desk) Weigh(ctx context.Context, actor string, e store.Edit) (store.Impact, error) {
	if err := d.possible(ctx, e); err != nil {
		return store.Impact{}, err
	}
	if err := d.Store.MayEdit(ctx, actor, e); err != nil {
		return store.Impact{}, err
	}
	return d.Store.Impact(ctx, e)
}

// possible refuses an edit that no one could make here.
func (d *Desk) possible(ctx context.Context, e store.Edit) error {
	p, err := d.privilege(ctx, e.Privilege)
	if err != nil {
		return err
	}
	if err := d.declared(p); err != nil || !e.Delete {
		return err
	}
	if err := p.CanDelete(); err != nil {
		return err
	}
	dep, err := d.Store.Dependants(ctx, e.Privilege)
	if err != nil {
		return err
	}
	if s := d.blocking(e.Privilege, dep); s != "" {
		return &InUse{s}
	}
	return nil
}

// Declared says whether a privilege is changed in the configuration file and nowhere else.
func (d *Desk) Declared(name, source string) bool {
	_, ok := d.File().Privileges[name]
	return ok || source == store.PrivilegeConfig
}

// declared refuses what the next start would undo. A built-in one may stand in the file too.
func (d *Desk) declared(p *store.Privilege) error {
	if d.Declared(p.Name, p.Source) {
		return ErrInFile
	}
	return nil
}

// ErrUnweighed says that a change was not made, because it is another one than was agreed to: something happened meanwhile.
var ErrUnweighed = errors.New("this would change what people hold, by something that happened a moment ago; look again")

// Apply makes an edit if agree, told what it does at that moment, says so; else it is ErrUnweighed, and nothing is written. agree nil agrees to all.
func (d *Desk) Apply(ctx context.Context, actor string, e store.Edit, agree func(store.Impact) bool) (impact store.Impact, err error) {
	err = d.Store.Tx(ctx, func(ctx context.Context) error {
		if err := d.possible(ctx, e); err != nil {
			return err
		}
		if agree != nil {
			if impact, err = d.Store.Impact(ctx, e); err != nil {
				return err
			}
			if !agree(impact) {
				return ErrUnweighed
			}
		}
		if e.Delete {
			_, err := d.Store.DeletePrivilege(ctx, actor, e.Privilege)
			return err
		}
		return d.Store.SetIncludes(ctx, actor, e.Privilege, e.Includes)
	})
	return impact, err
}

// OnPerson makes a change of what one person holds if agree, told what it does, says so; else it is ErrUnweighed and nothing is written. The gate has its
// say first: whoever may not make the change hears nothing of what it would do.
func (d *Desk) OnPerson(ctx context.Context, userID string, change func(ctx context.Context) error, agree func(store.Impact) bool) (impact store.Impact, err error) {
	err = d.Store.Tx(ctx, func(ctx context.Context) error {
		impact = store.Impact{}
		before, err := d.effective(ctx, userID)
		if err != nil {
			return err
		}
		if err := change(ctx); err != nil {
			return err
		}
		after, err := d.effective(ctx, userID)
		if err != nil {
			return err
		}
		impact.Add(privilege.Effect{Before: before, After: after}, 1)
		if impact.Clients, err = d.Store.ClientsSeeing(ctx, slices.Concat(impact.Gained, impact.Lost)); err != nil {
			return err
		}
		if !agree(impact) {
			return ErrUnweighed
		}
		return nil
	})
	return impact, err
}

func (d *Desk) effective(ctx context.Context, userID string) ([]string, error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	l, err := d.Store.Live(ctx, userID)
	if err != nil {
		return nil, err
	}
	return m.Effective(l, store.At(d.Store.Clock())), nil
}

// Describe changes label, description, translations and whether people may ask for it by change, which gets the row as it is.
func (d *Desk) Describe(ctx context.Context, actor, name string, change func(p *store.Privilege) error) error {
	return d.Store.Tx(ctx, func(ctx context.Context) error {
		p, err := d.privilege(ctx, name)
		if err != nil {
			return err
		}
		if err := d.declared(p); err != nil {
			return err
		}
		if err := change(p); err != nil {
			return err
		}
		if err := d.Store.DescribePrivilege(ctx, actor, name, p.Label, p.Description, p.Texts, ""); err != nil {
			return err
		}
		return d.Store.SetRequestable(ctx, actor, name, p.Requestable)
	})
}

// Holder is somebody who holds a privilege, and by what.
type Holder struct {
	User store.User
	By   []string // what was given that brings it: the privilege itself, or one that includes it
	Type string   // the value of the user type that brings it, "" = none
}

// Holders lists up to n people who hold a privilege now, what includes it counted, in the order of their ids, from the one after after. more says that
// there are others. store.ErrNotFound.
func (d *Desk) Holders(ctx context.Context, name, after string, n int) (list []Holder, more bool, err error) {
	if _, err := d.privilege(ctx, name); err != nil {
		return nil, false, err
	}
	const page = 500
	for {
		rows, err := d.Store.Holders(ctx, name, after, page)
		if err != nil {
			return nil, false, err
		}
		full := len(rows) == page
		if full { // what the last one holds may go on on the next page
			last := rows[page-1].UserID
			if cut := slices.IndexFunc(rows, func(h store.Holder) bool { return h.UserID == last }); cut > 0 {
				rows = rows[:cut]
			}
		}
		for _, h := range rows {
			if h.UserID != after {
				if len(list) == n {
					return list, true, d.names(ctx, list)
				}
				list = append(list, Holder{User: store.User{ID: h.UserID}})
				after = h.UserID
			}
			who := &list[len(list)-1]
			if value, node := privilege.TypeOf(h.By); node {
				who.Type = value
			} else {
				who.By = append(who.By, h.By)
			}
		}
		if !full {
			return list, false, d.names(ctx, list)
		}
	}
}

// names fills in who the people of a list are.
func (d *Desk) names(ctx context.Context, list []Holder) error {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].User.ID
	}
	people, err := d.Store.UsersByID(ctx, ids)
	for i := range list {
		if j, ok := slices.BinarySearchFunc(people, list[i].User.ID, func(u store.User, id string) int { return strings.Compare(u.ID, id) }); ok {
			list[i].User = people[j]
		}
	}
	return err
}

// Permission is something Latchkey lets people do, and what brings it.
type Permission struct {
	Name       string   `json:"name"`
	Text       string   `json:"text"`
	Implies    []string `json:"implies,omitempty"` // which come with it
	Needs      []string `json:"needs,omitempty"`   // without which it allows nothing
	Privileges []string `json:"privileges"`        // that bring it by themselves
	Through    []string `json:"through,omitempty"` // that include one of those
}

// Permissions lists all, in the order of an overview.
func (d *Desk) Permissions(ctx context.Context) ([]Permission, error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	plain := func(list []privilege.Permission) (out []string) {
		for _, p := range list {
			out = append(out, string(p))
		}
		return out
	}
	var out []Permission
	for _, i := range privilege.Permissions() {
		p := Permission{Name: string(i.Name), Text: i.Text, Implies: plain(i.Implies), Needs: plain(i.Needs)}
		for _, name := range m.Graph.Names() {
			switch {
			case m.Powers.May([]string{name}, i.Name):
				p.Privileges = append(p.Privileges, name)
			case m.Powers.May(m.Graph.Closure(name), i.Name):
				p.Through = append(p.Through, name)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// UserType is an entry of the short list, as the command line shows it.
type UserType struct {
	Value           string      `json:"value"`
	Names           []string    `json:"names"`
	Text            string      `json:"text"`
	Texts           store.Texts `json:"texts,omitempty"`
	Privilege       string      `json:"privilege"`
	ReadOnly        bool        `json:"readonly"`
	HiddenLanguages []string    `json:"hidden_languages,omitempty"`
	Mask            []string    `json:"mask_notifications,omitempty"`
	Source          string      `json:"source"` // default or config
	People          int64       `json:"people"`
}

// UserTypes lists them, in the operator's order.
func (d *Desk) UserTypes(ctx context.Context) ([]UserType, error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := d.Store.HolderCounts(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]UserType, len(m.Types))
	for i, t := range m.Types {
		out[i] = UserType{t.Value, t.Names, t.Text, t.Texts, t.Privilege, t.ReadOnly, t.HiddenLanguages, t.Mask, t.Source, counts[privilege.TypeNode(t.Value)]}
	}
	return out, nil
}

// ErrNoType says that no user type of this value or name can be given to somebody.
var ErrNoType = errors.New("there is no such user type")

// FindType takes a value or a name. What fits two types is refused, and so is that of people who are not signed in.
func (d *Desk) FindType(ctx context.Context, which string) (*store.UserType, error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	t, named := m.Type(which), m.TypeNamed(which)
	switch {
	case t != nil && named != nil && t.Value != named.Value:
		return nil, fmt.Errorf("%q is the value of one type and a name of another; use another name of the one you mean", which)
	case t == nil:
		t = named
	}
	if t == nil || slices.Contains(t.Names, privilege.TypeAnonymous) {
		return nil, ErrNoType
	}
	return t, nil
}

// Mark of a cell of an Overview.
const (
	MarkNone    = ""
	MarkItself  = "itself"  // the type's own privilege; a permission of the privilege's own
	MarkThrough = "through" // by what that includes
)

// Table is one of an overview's: a mark for each row and column.
type Table struct {
	Rows    []string                     `json:"rows"`
	Columns []string                     `json:"columns"`
	Marks   map[string]map[string]string `json:"marks"` // row, column; what has none is left out
}

func (t *Table) mark(row, column, mark string) {
	if mark == MarkNone {
		return
	}
	if t.Marks[row] == nil {
		t.Marks[row] = map[string]string{}
	}
	t.Marks[row][column] = mark
}

// Overview is what user types bring, and what privileges let people do (R91).
type Overview struct {
	Types       Table `json:"privileges_by_user_type"`
	Permissions Table `json:"permissions_by_privilege"` // of the privileges that bring any
}

// Overview of what is in force.
func (d *Desk) Overview(ctx context.Context) (*Overview, error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	names := m.Graph.Names()
	out := &Overview{Types: Table{Rows: names, Marks: map[string]map[string]string{}}, Permissions: Table{Columns: []string{}, Marks: map[string]map[string]string{}}}
	for _, t := range m.Types {
		column := t.Value + " " + t.Name()
		out.Types.Columns = append(out.Types.Columns, column)
		for _, n := range m.Graph.Closure(privilege.TypeNode(t.Value)) {
			mark := MarkThrough
			if n == t.Privilege {
				mark = MarkItself
			}
			out.Types.mark(n, column, mark)
		}
	}
	perms, err := d.Permissions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range perms {
		out.Permissions.Rows = append(out.Permissions.Rows, p.Name)
		for _, n := range p.Privileges {
			out.Permissions.mark(p.Name, n, MarkItself)
		}
		for _, n := range p.Through {
			out.Permissions.mark(p.Name, n, MarkThrough)
		}
	}
	for _, n := range names {
		if len(m.Powers.Of(m.Graph.Closure(n))) > 0 {
			out.Permissions.Columns = append(out.Permissions.Columns, n)
		}
	}
	return out, nil
}
