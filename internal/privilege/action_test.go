package privilege

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func mustRequire(t testing.TB, v ...any) Requirement {
	t.Helper()
	r, err := ParseRequirement(v, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestActions(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range Actions() {
		if seen[a.Name] || !slices.Contains(Sections(), a.Section) || len(a.Needs) == 0 {
			t.Errorf("%+v", a)
		}
		seen[a.Name] = true
		for _, p := range a.Needs {
			if _, err := ParsePermission(string(p)); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		}
	}
	for _, s := range Sections() {
		if !slices.ContainsFunc(Actions(), func(a Action) bool { return a.Section == s }) {
			t.Errorf("nothing can be done in section %s", s)
		}
	}
}

func TestCanAndAuthorize(t *testing.T) {
	t.Parallel()
	powers, _, err := NewPowers(map[string][]string{"lead": {"access_privileges", "edit_privileges"}, "looker": {"access_privileges"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := NewRules(map[string]Requirement{"privileges": mustRequire(t, "staff"), "privileges.edit": mustRequire(t, []any{"board", "chair"})})
	if err != nil {
		t.Fatal(err)
	}
	veto := errors.New("not this one")
	for _, c := range []struct {
		name, action, holds, want string
		readOnly                  bool
		object                    error
	}{
		{"view: permission and section", "privileges.view", "looker staff", "", false, nil},
		{"view: no permission", "privileges.view", "staff", "access_privileges", false, nil},
		{"view: not in the section", "privileges.view", "looker", "staff", false, nil},
		{"view: read-only may look", "privileges.view", "looker staff", "", true, nil},
		{"edit: all of it", "privileges.edit", "board lead staff", "", false, nil},
		{"edit: the other alternative", "privileges.edit", "chair lead staff", "", false, nil},
		{"edit: the first that is missing", "privileges.edit", "board looker staff", "edit_privileges", false, nil},
		{"edit: the action's own", "privileges.edit", "lead staff", "board or chair", false, nil},
		{"edit: the section's comes first", "privileges.edit", "lead", "staff", false, nil},
		{"edit: read-only", "privileges.edit", "board lead staff", "read-only", true, nil},
		{"edit: the object", "privileges.edit", "board lead staff", "not this one", false, veto},
		// admin is a wildcard for permissions, never for requirements (R73, R81).
		{"admin without the requirement", "privileges.view", "admin", "staff", false, nil},
		{"admin with it", "privileges.view", "admin staff", "", false, nil},
		{"authorities: who may only look", "users.authorities", "looker", "access_user_info", false, nil},
		{"nobody", "users.view", "", "access_user_info", false, nil},
	} {
		who := Asker{Effective: strings.Fields(c.holds), Powers: powers, ReadOnly: c.readOnly}
		asked := false
		d := rules.Authorize(who, c.action, func() error { asked = true; return c.object })
		if d.Reason() != c.want || d.OK() != (c.want == "") {
			t.Errorf("%s: %s, want %q", c.name, d.String(), c.want)
		}
		// What could not be seen is refused before the object hears of it.
		if can := rules.Can(who, c.action); asked != can.OK() {
			t.Errorf("%s: the object was asked: %v", c.name, asked)
		}
	}
	if d := (Rules{}).Can(Asker{Effective: []string{"admin"}}, "users.view"); !d.OK() {
		t.Error("without rules permissions decide alone: " + d.String())
	}
	if _, err := NewRules(map[string]Requirement{"users": {}, "users.veiw": {}, "nothing": {}}); err == nil || !strings.Contains(err.Error(), "users.veiw") || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("names nobody has: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an action that does not exist was answered")
		}
	}()
	rules.Can(Asker{}, "users.veiw")
}

// TestNothingRunsThatCannotBeSeen is R101's check, over random people, rules and actions.
func TestNothingRunsThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 101))
	names := []string{"admin", "advocate", "board", "chair", "lead", "staff"}
	some := func(list []string) (out []string) {
		for _, n := range list {
			if r.IntN(2) == 0 {
				out = append(out, n)
			}
		}
		return out
	}
	var perms []string
	for _, p := range Permissions() {
		perms = append(perms, string(p.Name))
	}
	for range 3000 {
		powers, _, err := NewPowers(map[string][]string{"lead": append(some(perms), "access_privileges", "access_sessions", "edit_sessions")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		by := map[string]Requirement{}
		for _, a := range Actions() {
			for _, name := range []string{a.Section, a.Name} {
				if r.IntN(3) == 0 {
					by[name] = mustRequire(t, names[r.IntN(len(names))], []any{names[r.IntN(len(names))], names[r.IntN(len(names))]})
				}
			}
		}
		rules, err := NewRules(by)
		if err != nil {
			t.Fatal(err)
		}
		who := Asker{Effective: some(names), Powers: powers, ReadOnly: r.IntN(3) == 0}
		for _, a := range Actions() {
			var object error
			if r.IntN(2) == 0 {
				object = errors.New("no")
			}
			can, run := rules.Can(who, a.Name), rules.Authorize(who, a.Name, func() error { return object })
			if run.OK() && !can.OK() || can.OK() && object == nil && !run.OK() {
				t.Fatalf("%v: %s, but %s", who, can.String(), run.String())
			}
			if can.OK() != (may(powers, who, a) && by[a.Section].Met(who.Effective) && by[a.Name].Met(who.Effective) && !(a.Writes && who.ReadOnly)) {
				t.Fatalf("%v: %s", who, can.String())
			}
		}
	}
}

func may(p Powers, who Asker, a Action) bool {
	for _, want := range a.Needs {
		if !p.May(who.Effective, want) {
			return false
		}
	}
	return true
}
