package privilege

import (
	"slices"
	"strings"
	"testing"
)

func TestPowers_BuiltIn(t *testing.T) {
	t.Parallel()
	p, ignored, err := NewPowers(nil, nil)
	if err != nil || len(ignored) > 0 {
		t.Fatal(err, ignored)
	}
	for _, i := range Permissions() {
		if i.Text == "" {
			t.Errorf("%s says nothing", i.Name)
		}
		// R73: a permission that is new is the administrator's without another change.
		if !p.May([]string{Admin}, i.Name) || !(Powers{}).May([]string{Admin}, i.Name) {
			t.Errorf("admin lacks %s", i.Name)
		}
		if p.May([]string{Cron, "customer", "trainer", User}, i.Name) {
			t.Errorf("a label brings %s", i.Name)
		}
	}
	if got := p.Of([]string{"advocate", "developer"}); !slices.Equal(got, []Permission{AccessSessions, AccessUserInfo, ManageClients, ViewAudit}) {
		t.Errorf("%v", got)
	}
	if n := len(p.Of([]string{Admin})); n != len(Permissions()) {
		t.Errorf("admin has %d", n)
	}
	if p.May([]string{"anonymous"}, AccessUserInfo) || len(AnonymousSafe) > 0 {
		t.Error("anonymous may something")
	}
}

// TestPowers_Lacks: what stands between a person and who would act for them.
func TestPowers_Lacks(t *testing.T) {
	t.Parallel()
	all := []string{}
	for _, i := range Permissions() {
		all = append(all, string(i.Name))
	}
	p, _, err := NewPowers(map[string][]string{"everything": all, "desk": {"create_user"}, "guests": {"invite_user"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		actor, person string
		lacks         bool
	}{
		{"user", "user", false}, {"user", "trainer", false}, {"user", "desk", true}, {"desk", "desk", false}, {"desk", "guests", false}, {"guests", "desk", true},
		{"everything", "desk", false}, {"everything", "admin", true}, {"admin", "everything", false}, {"admin", "admin", false}, {"", "", false},
	} {
		if got := p.Lacks([]string{c.actor}, []string{c.person}); (got != "") != c.lacks {
			t.Errorf("%s for %s: %q", c.actor, c.person, got)
		}
	}
}

// TestPowers_Directive: R93, R94, R98.
func TestPowers_Directive(t *testing.T) {
	t.Parallel()
	known := func(n string) bool { return n == "staff" || n == "lead" || n == "advocate" || n == "customer" }
	p, ignored, err := NewPowers(map[string][]string{
		"staff": {"create_user", "read_packages", "create_user"}, "lead": {"delete_user", "access_sessions", "edit_sessions"}, "advocate": {"reset_user_mfa"}, "anonymous": {},
	}, known)
	if err != nil || !slices.Equal(ignored, []string{"read_packages"}) {
		t.Fatal(err, ignored)
	}
	if got := p.Of([]string{"staff"}); !slices.Equal(got, []Permission{CreateUser, InviteUser}) {
		t.Errorf("staff: %v", got)
	}
	if got := p.Of([]string{"advocate"}); !slices.Equal(got, []Permission{AccessSessions, AccessUserInfo, ResetUserMFA}) {
		t.Errorf("advocate: %v", got)
	}
	if by := p.From([]string{"admin", "advocate", "staff"}, InviteUser); !slices.Equal(by, []string{"admin", "staff"}) {
		t.Errorf("from %v", by)
	}
	if _, ok := p.Table()["anonymous"]; ok {
		t.Error("an empty list is in the table")
	}
	for directive, want := range map[string]string{
		"admin: create_user":        "the permissions of admin are fixed",
		"developer: view_audit":     "the permissions of developer are fixed",
		"cron: view_audit":          "the permissions of cron are fixed",
		"user: view_audit":          "the permissions of user are fixed",
		"anonymous: create_user":    "create_user cannot be given to whoever is not signed in",
		"nobody: create_user":       `unknown privilege "nobody"`,
		"staff: creat_user":         `unknown permission "creat_user"`,
		"staff: Create_user":        `unknown permission "Create_user"`,
		"staff: delete_user":        "delete_user needs access_sessions too",
		"customer: edit_privileges": "edit_privileges needs access_privileges too",
		"crm:editor: create_user":   "client's role",
	} {
		i := strings.LastIndex(directive, ": ")
		name, list := directive[:i], directive[i+2:]
		_, _, err := NewPowers(map[string][]string{name: strings.Fields(list)}, func(n string) bool { return known(n) || n == "crm:editor" })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", directive, err)
		}
	}
	if p, err := ParsePermission("act_as"); err != nil || p != ActAs {
		t.Error(err)
	}
	if _, err := ParsePermission("read_packages"); err == nil {
		t.Error("an ignored name is a permission")
	}
}

func TestUserTypes(t *testing.T) {
	t.Parallel()
	known := func(n string) bool { return n == Admin || n == User || n == "staff" || n == "crm:editor" }
	if err := CheckTypes(DefaultTypes(), known); err != nil {
		t.Fatal(err)
	}
	with := func(more ...UserType) []UserType { return append(DefaultTypes(), more...) }
	good := UserType{Value: "500", Names: []string{"connector", "bridge"}, Text: "Connector", Privilege: "staff"}
	if err := CheckTypes(with(good), known); err != nil {
		t.Error(err)
	}
	for want, types := range map[string][]UserType{
		"the value is taken":                          with(UserType{Value: "900", Names: []string{"x"}, Text: "X"}),
		`the name user is taken by "100"`:             with(UserType{Value: "500", Names: []string{"user"}, Text: "X"}),
		"a value is 1 to 20":                          with(UserType{Value: "50 0", Names: []string{"x"}, Text: "X"}),
		"has no name":                                 with(UserType{Value: "500", Text: "X"}),
		"has no text":                                 with(UserType{Value: "500", Names: []string{"x"}, Text: " "}),
		`"Connector" is not a name`:                   with(UserType{Value: "500", Names: []string{"Connector"}, Text: "X"}),
		"cron is for machines":                        with(UserType{Value: "500", Names: []string{"x"}, Text: "X", Privilege: Cron}),
		"client's role":                               with(UserType{Value: "500", Names: []string{"x"}, Text: "X", Privilege: "crm:editor"}),
		`unknown privilege "boss"`:                    with(UserType{Value: "500", Names: []string{"x"}, Text: "X", Privilege: "boss"}),
		`"anonymous": is missing`:                     DefaultTypes()[1:],
		`"admin": is missing`:                         DefaultTypes()[:2],
		"whoever is not signed in holds no privilege": {{Value: "000", Names: []string{TypeAnonymous}, Text: "A", Privilege: User}, DefaultTypes()[1], DefaultTypes()[2]},
	} {
		if err := CheckTypes(types, known); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

// TestTypeNodes: a type is a way to hold a privilege and is in no closure, no list and no include.
func TestTypeNodes(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), Def{Name: "staff", Includes: []string{"customer"}}, Def{Name: TypeNode("500"), Includes: []string{"staff"}},
		Def{Name: TypeNode("000")})...)
	hs := []Holding{{Privilege: TypeNode("500")}}
	if got := g.Effective(hs, at(0)); !slices.Equal(got, []string{"customer", "staff"}) {
		t.Errorf("effective %v", got)
	}
	bare := Holding{Privilege: TypeNode("000")}
	if got := g.Effective([]Holding{bare}, at(0)); !slices.Equal(got, []string{User}) { // R7: nobody is without any
		t.Errorf("whose type brings nothing holds %v", got)
	}
	if ds := g.Explain([]Source{{Holding: bare}}, at(0), User); len(ds) != 1 || !ds[0].Default {
		t.Errorf("why: %+v", ds)
	}
	if ds := g.Explain([]Source{{Holding: bare}, {Holding: Holding{Privilege: "customer"}}}, at(0), User); len(ds) != 0 {
		t.Errorf("a customer: %+v", ds)
	}
	if slices.Contains(g.Names(), TypeNode("500")) || !g.Has(TypeNode("500")) {
		t.Error("names")
	}
	if ds := g.Explain([]Source{{Holding: hs[0]}}, at(0), "customer"); len(ds) != 1 || !slices.Equal(ds[0].Path, []string{"type/500", "staff", "customer"}) {
		t.Errorf("%+v", ds)
	}
	if err := g.CanAssign([]string{"customer", "staff"}, TypeNode("500")); err != nil {
		t.Error(err)
	}
	if err := g.CanAssign([]string{"customer"}, TypeNode("500")); err == nil {
		t.Error("a type confers what the actor lacks")
	}
	if got := g.Above("customer"); !slices.Equal(got, []string{"customer", "staff", "type/500"}) {
		t.Errorf("above: %v", got)
	}
	for _, defs := range [][]Def{
		append(builtIns(), Def{Name: "a", Includes: []string{TypeNode("500")}}, Def{Name: TypeNode("500")}),
		append(builtIns(), Def{Name: "type/A"}), append(builtIns(), Def{Name: "type/"}), append(builtIns(), Def{Name: "other/500"}),
	} {
		if _, err := NewGraph(defs); err == nil {
			t.Errorf("accepted: %v", defs[len(defs)-1])
		}
	}
	if ValidName(TypeNode("500")) == nil {
		t.Error("a type's node is a name for a privilege")
	}
}

// TestAdministers: R41 and R13 ask what somebody may do to others, not what their privilege is called.
func TestAdministers(t *testing.T) {
	t.Parallel()
	directive := map[string][]string{"auditor": {"view_audit", "access_user_info"}, "greeter": {"create_user"}, "delegate": {"access_privileges", "edit_privileges", "edit_user_privileges"}, "machines": {"manage_clients"},
		"cleaner": {"edit_user_active_status", "access_sessions", "edit_sessions", "delete_user"}}
	for _, p := range powerOverOthers {
		directive["has-"+string(p)] = []string{string(p), "access_privileges"}
	}
	powers, _, err := NewPowers(directive, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range directive {
		if got, want := powers.Administers([]string{name, "zebra"}), strings.HasPrefix(name, "has-"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, want := range map[string]bool{Admin: true, "developer": false, "advocate": false, User: false, "customer": false} {
		if got := powers.Administers([]string{name}); got != want {
			t.Errorf("%s: %v", name, got)
		}
		if got := (Powers{}).Administers([]string{name}); got != (name == Admin) {
			t.Errorf("%s without definitions: %v", name, got)
		}
	}
	if powers.Administers(nil) {
		t.Error("nobody administers")
	}
}

// TestOfPerson: cron goes, and the caller's list stays.
func TestOfPerson(t *testing.T) {
	t.Parallel()
	list := []string{"admin", Cron, "user"}
	if got := OfPerson(list); !slices.Equal(got, []string{"admin", "user"}) || !slices.Equal(list, []string{"admin", Cron, "user"}) {
		t.Errorf("%v of %v", got, list)
	}
	if got := OfPerson([]string{"user"}); !slices.Equal(got, []string{"user"}) {
		t.Error(got)
	}
}
