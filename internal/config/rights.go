package config

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// UserType is an entry of the short list from which each person has one.
type UserType struct {
	// Value is what is stored, so choose it once: 1 to 20 of a-z 0-9 _ -.
	Value string `yaml:"value"`
	// Names are for code, the first is the claim user_type: a small letter and at most 49 of a-z 0-9 _ -.
	Names []string `yaml:"names"`
	// Text is what people read.
	Text string `yaml:"text"`
	// Texts are its translations by language.
	Texts map[string]string `yaml:"texts"`
	// Privilege is the one that comes with it; empty = none.
	Privilege string `yaml:"privilege"`
	// ReadOnly sees what it may see and changes nothing.
	ReadOnly bool `yaml:"readonly"`
	// HiddenLanguages are left out of its pickers.
	HiddenLanguages []string `yaml:"hidden_languages"`
	// Mask are kinds of mail it does not get: privilege_request (somebody asks for what this person could give), privilege_decision (what became of
	// one's own request). Codes, and notices about the safety of an account or of who acts for them, always come.
	Mask []string `yaml:"mask_notifications"`
	// Hide takes the type of this value out of the list, which one of the defaults or of the main file is; nothing else may stand beside it then.
	Hide bool `yaml:"hide"`
}

// Delegation narrows what holders of a privilege may pass on.
type Delegation struct {
	// Holder is whoever holds this privilege and has the permission edit_user_privileges.
	Holder string `yaml:"holder"`
	// Confer are the privileges they may pass on, with what those include.
	Confer []string `yaml:"confer"`
	// People are those they may pass them on to: [a, [b, c]] means a and (b or c); [] = everybody who holds no more than they.
	People []any `yaml:"people"`
}

// ActionRule is what a section or an action of the administrators' pages requires.
type ActionRule struct {
	// Requires is who may: [a, [b, c]] means a and (b or c). That of a section holds for all its actions.
	Requires []any `yaml:"requires"`
	// DebugPermissions logs every check of it, for the questions of debug_permissions; in development only.
	DebugPermissions bool `yaml:"debug_permissions"`
}

// Types is the list of user types in force: the three defaults, with those of the file added, in the place of one with the same value, or hidden.
// Without any of the file it is nil: the defaults.
func (c *Config) Types() []privilege.UserType {
	if len(c.UserTypes) == 0 {
		return nil
	}
	list := privilege.DefaultTypes()
	for _, t := range c.UserTypes {
		i := slices.IndexFunc(list, func(o privilege.UserType) bool { return o.Value == t.Value })
		switch {
		case t.Hide && i >= 0:
			list = slices.Delete(list, i, i+1)
		case t.Hide:
		case i >= 0:
			list[i] = t.plain()
		default:
			list = append(list, t.plain())
		}
	}
	slices.SortStableFunc(list, func(a, b privilege.UserType) int {
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	return list
}

func (t *UserType) plain() privilege.UserType {
	return privilege.UserType{Value: t.Value, Names: t.Names, Text: t.Text, Texts: t.Texts, Privilege: t.Privilege, ReadOnly: t.ReadOnly,
		HiddenLanguages: t.HiddenLanguages, Mask: t.Mask}
}

func (r *reader) checkRights(known map[string]bool) {
	exists := func(p, name string) bool {
		if known[name] {
			return true
		}
		if near, ok := nearest(name, slices.Sorted(maps.Keys(known))); ok {
			r.problem(p, "unknown privilege %s; did you mean %s?", r.show(p, name), near)
		} else {
			r.problem(p, "unknown privilege %s", r.show(p, name))
		}
		return false
	}
	r.checkTypes(known)
	powers, ignored, err := privilege.NewPowers(r.cfg.Permissions, func(n string) bool { return known[n] })
	for _, err := range unjoin(err) {
		var p *privilege.PowerError
		if !errors.As(err, &p) {
			r.problem("permissions", "%v", err)
			continue
		}
		path := join("permissions", keyText(p.Privilege))
		text := p.Text
		if p.Index >= 0 {
			name := r.cfg.Permissions[p.Privilege][p.Index]
			if near, ok := nearest(name, permissionNames()); ok && near != name {
				text += "; did you mean " + near + "?"
			}
			path = item(path, p.Index)
		}
		r.problem(path, "%s", text)
	}
	r.checkIdle(exists, powers)
	r.checkMFA(exists)
	r.checkInvites(exists)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(ignored))) {
		r.warn("permissions", "%s means nothing in Latchkey and is ignored", name)
	}
	r.checkActions(known)
	for i, d := range r.cfg.Delegations {
		path := item("delegations", i)
		if d.Holder == "" {
			r.problem(join(path, "holder"), "is missing")
		} else {
			exists(join(path, "holder"), d.Holder)
		}
		if len(d.Confer) == 0 {
			r.problem(join(path, "confer"), "is missing; a rule that lets nobody pass on anything is no rule")
		}
		r.list(join(path, "confer"), d.Confer, func(p, n string) { exists(p, n) })
		at := join(path, "people")
		_, err := privilege.ParseRequirement(d.People, func(n string) bool { return known[n] })
		for _, err := range unjoin(err) {
			r.problem(at, "%v", err)
		}
	}
}

func (r *reader) checkActions(known map[string]bool) {
	names := privilege.Sections()
	for _, a := range privilege.Actions() {
		names = append(names, a.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Actions)) {
		path := join("actions", keyText(name))
		if !slices.Contains(names, name) {
			if near, ok := nearest(name, names); ok {
				r.problem(path, "there is no section and no action %s; did you mean %s?", r.show(path, name), near)
			} else {
				r.problem(path, "there is no section and no action %s; the sections are %s", r.show(path, name), strings.Join(privilege.Sections(), ", "))
			}
		}
		_, err := privilege.ParseRequirement(r.cfg.Actions[name].Requires, func(n string) bool { return known[n] })
		for _, err := range unjoin(err) {
			r.problem(join(path, "requires"), "%v", err)
		}
	}
}

// debugActions are the questions whose answers can be logged.
var debugActions = []string{"sign_in", "refresh", "view", "run"}

// checkDebug: what tells a log who may do what is for one's own machine (R105).
func (r *reader) checkDebug() {
	const only = "is for development: it writes into the log who holds what (environment: development)"
	r.list("debug_permissions", r.cfg.DebugPermissions, func(p, a string) { r.choice(p, a, debugActions...) })
	if len(r.cfg.DebugPermissions) > 0 && r.production() {
		r.problem("debug_permissions", only)
	}
	for i, c := range r.cfg.Clients {
		if c.DebugPermissions && r.production() {
			r.problem(join(item("clients", i), "debug_permissions"), only)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Actions)) {
		if r.cfg.Actions[name].DebugPermissions && r.production() {
			r.problem(join(join("actions", keyText(name)), "debug_permissions"), only)
		}
	}
}

func permissionNames() (names []string) {
	for _, p := range privilege.Permissions() {
		names = append(names, string(p.Name))
	}
	return names
}

func (r *reader) checkTypes(known map[string]bool) {
	at := map[string]int{}
	for i, t := range r.cfg.UserTypes {
		path := item("user_types", i)
		if j, twice := at[t.Value]; twice && t.Value != "" {
			r.problem(join(path, "value"), "%s is taken by user_types[%d]", r.show(join(path, "value"), t.Value), j)
		}
		at[t.Value] = i
		r.list(join(path, "mask_notifications"), t.Mask, func(p, m string) { r.choice(p, m, privilege.Notices...) })
		if !t.Hide {
			continue
		}
		if len(t.Names)+len(t.Texts)+len(t.HiddenLanguages)+len(t.Mask) > 0 || t.Text != "" || t.Privilege != "" || t.ReadOnly {
			r.problem(path, "hides a type and describes one; want one of the two")
		}
		if !slices.ContainsFunc(privilege.DefaultTypes(), func(d privilege.UserType) bool { return d.Value == t.Value }) {
			r.problem(join(path, "hide"), "hides nothing: there is no type %s to hide", r.show(join(path, "value"), t.Value))
		}
	}
	if len(r.cfg.UserTypes) == 0 {
		return
	}
	err := privilege.CheckTypes(r.cfg.Types(), func(n string) bool { return known[n] })
	for _, err := range unjoin(err) {
		var e *privilege.TypeError
		if !errors.As(err, &e) {
			r.problem("user_types", "%v", err)
			continue
		}
		path := "user_types"
		if i, ok := at[e.Value]; ok {
			path = item("user_types", i)
		}
		r.problem(path, "%s", e.Error()[len("privilege: "):])
	}
}
