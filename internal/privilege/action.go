package privilege

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Action is something a person does on Latchkey's own pages and API. Each belongs to a section, whose requirement holds for it too.
type Action struct {
	Name    string       // section.what
	Needs   []Permission // all of them
	Writes  bool         // changes something: never for somebody whose type is read-only (R85)
	Section string
}

// Sections of the administrators' pages, in the order of their menu.
func Sections() []string { return []string{"users", "invites", "requests", "privileges", "explain"} }

// Actions lists all, in the order of Sections.
func Actions() []Action {
	list := []Action{
		{Name: "users.view", Needs: []Permission{AccessUserInfo}},
		{Name: "users.export", Needs: []Permission{AccessUserInfo}, Writes: true}, // it is audited
		{Name: "users.create", Needs: []Permission{AccessUserInfo, CreateUser}, Writes: true},
		{Name: "users.edit", Needs: []Permission{AccessUserInfo, EditUserInfo}, Writes: true},
		{Name: "users.status", Needs: []Permission{AccessUserInfo, EditUserStatus}, Writes: true},
		{Name: "users.password", Needs: []Permission{AccessUserInfo, EditUserPassword}, Writes: true},
		{Name: "users.delete", Needs: []Permission{AccessUserInfo, DeleteUser}, Writes: true},
		{Name: "users.sessions", Needs: []Permission{AccessUserInfo, AccessSessions}},
		{Name: "users.end_sessions", Needs: []Permission{AccessUserInfo, EditSessions}, Writes: true},
		{Name: "users.history", Needs: []Permission{AccessUserInfo, ViewAudit}},
		{Name: "users.privileges", Needs: []Permission{AccessUserInfo, EditUserPrivilege}, Writes: true},
		{Name: "users.reset_factors", Needs: []Permission{AccessUserInfo, ResetUserMFA}, Writes: true},
		{Name: "users.act_as", Needs: []Permission{AccessUserInfo, ActAs}, Writes: true},
		{Name: "users.authorities", Needs: []Permission{AccessUserInfo, EditSessions}, Writes: true},
		{Name: "invites.view", Needs: []Permission{InviteUser}},
		{Name: "invites.create", Needs: []Permission{InviteUser}, Writes: true},
		{Name: "invites.decide", Needs: []Permission{CreateUser}, Writes: true},
		{Name: "requests.view", Needs: []Permission{EditUserPrivilege}},
		{Name: "requests.decide", Needs: []Permission{EditUserPrivilege}, Writes: true},
		{Name: "privileges.view", Needs: []Permission{AccessPrivileges}},
		{Name: "privileges.edit", Needs: []Permission{AccessPrivileges, EditPrivileges}, Writes: true},
		{Name: "explain.view", Needs: []Permission{AccessUserInfo, AccessPrivileges}},
	}
	for i := range list {
		list[i].Section, _, _ = strings.Cut(list[i].Name, ".")
	}
	return list
}

func actionNamed(name string) (Action, bool) {
	list := Actions()
	i := slices.IndexFunc(list, func(a Action) bool { return a.Name == name })
	if i < 0 {
		return Action{}, false
	}
	return list[i], true
}

// Rules are what operators require beside permissions: for a section, for an action, or both (R100). The zero Rules require nothing. Immutable.
type Rules struct {
	by map[string]Requirement
}

// NewRules takes requirements by the name of a section or an action. The error joins one *RuleError for each name that is neither.
func NewRules(by map[string]Requirement) (Rules, error) {
	names := Sections()
	for _, a := range Actions() {
		names = append(names, a.Name)
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if !slices.Contains(names, name) {
			problems = append(problems, &RuleError{name})
		}
	}
	if err := errors.Join(problems...); err != nil {
		return Rules{}, err
	}
	return Rules{maps.Clone(by)}, nil
}

// RuleError says that there is no such section or action.
type RuleError struct{ Name string }

func (e *RuleError) Error() string {
	return "privilege: there is no section and no action " + show(e.Name)
}

// Asker is who wants to do something.
type Asker struct {
	Effective []string // sorted closure
	Powers    Powers
	ReadOnly  bool
}

// Decision is the answer to Can or Authorize, with the first thing that stood in the way.
type Decision struct {
	Action   Action
	Requires Requirement // of its section and its own, as one
	Missing  Permission  // the first permission that is not there
	Unmet    []string    // the first group of Requires of which the asker holds no member
	ReadOnly bool        // the asker may change nothing
	Object   error       // what the object said
}

// OK says whether it may be done.
func (d *Decision) OK() bool {
	return d.Missing == "" && len(d.Unmet) == 0 && !d.ReadOnly && d.Object == nil
}

// Reason is the first thing that is missing, for a log: "" when nothing is.
func (d *Decision) Reason() string {
	switch {
	case d.Missing != "":
		return string(d.Missing)
	case len(d.Unmet) > 0:
		return strings.Join(d.Unmet, " or ")
	case d.ReadOnly:
		return "read-only"
	case d.Object != nil:
		return d.Object.Error()
	}
	return ""
}

// Can is the question of menus and sections: whether it makes sense to show this to somebody. It is never the last word: whoever does it is
// asked again by Authorize (R101). It panics on an action that does not exist, which is a mistake of ours.
func (r Rules) Can(who Asker, action string) Decision {
	a, ok := actionNamed(action)
	if !ok {
		panic("privilege: there is no action " + show(action))
	}
	d := Decision{Action: a}
	d.Requires.all = slices.Concat(r.by[a.Section].all, r.by[a.Name].all)
	for _, p := range a.Needs {
		if !who.Powers.May(who.Effective, p) {
			d.Missing = p
			return d
		}
	}
	if unmet := d.Requires.Unmet(who.Effective); len(unmet) > 0 {
		d.Unmet = unmet[0]
		return d
	}
	d.ReadOnly = a.Writes && who.ReadOnly
	return d
}

// Authorize is the question of handlers: it asks Can first, so that nothing is done which could not be seen, and then the object, which never
// hears of somebody whom Can refused. object may be nil.
func (r Rules) Authorize(who Asker, action string, object func() error) Decision {
	d := r.Can(who, action)
	if d.OK() && object != nil {
		d.Object = object()
	}
	return d
}

// String is for a log.
func (d *Decision) String() string {
	if d.OK() {
		return d.Action.Name + ": yes"
	}
	return fmt.Sprintf("%s: no, for want of %s", d.Action.Name, d.Reason())
}
