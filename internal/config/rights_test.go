package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// rights is a file with user types, permissions and delegations, every key of theirs in use.
const rights = dev + `
privileges:
  helper: {label: Helper, texts: {de: {label: Helfer, description: "- a: b $${c}"}}}
  staff: {label: Staff, includes: [helper]}
user_types:
  - {value: "950", names: [root, admin], text: "Root: all", privilege: admin}
  - value: "300"
    names: [helpdesk, "on"]
    text: "#1 desk"
    texts: {de: Kundendienst, fr: "true"}
    privilege: staff
    readonly: true
    hidden_languages: [fr, "no"]
    mask_notifications: [privilege_request, privilege_decision]
  - {value: "900", hide: true}
  - {value: "100", names: [user], text: Member, privilege: user}
  - {value: "000", names: [anonymous], text: Anonymous, readonly: true}
permissions:
  staff: [access_user_info, edit_user_privileges]
  trainer: []
  advocate: [delete_user, edit_sessions, access_sessions]
delegations:
  - {holder: staff, confer: [helper, trainer], people: [customer, [trainer, developer]]}
  - {holder: advocate, confer: [helper]}
`

// TestUserTypes_OfTheFile: what the file says is put over the defaults, in the order of the values (R83, R84, R90).
func TestUserTypes_OfTheFile(t *testing.T) {
	t.Parallel()
	if c := mustRead(t, dev); c.Types() != nil || c.TypeChanges() != nil {
		t.Errorf("without any: %v", c.Types())
	}
	var values []string
	for _, u := range mustRead(t, rights).Types() {
		values = append(values, u.Value+" "+u.Name())
	}
	if got := strings.Join(values, ", "); got != "000 anonymous, 100 user, 300 helpdesk, 950 root" {
		t.Errorf("types are %s", got)
	}
	want := privilege.UserType{Value: "300", Names: []string{"helpdesk", "on"}, Text: "#1 desk", Texts: map[string]string{"de": "Kundendienst", "fr": "true"},
		Privilege: "staff", ReadOnly: true, HiddenLanguages: []string{"fr", "no"}, Mask: []string{"privilege_request", "privilege_decision"}}
	if got := mustRead(t, rights).Types()[2]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	// An overlay adds one, and the rest stays.
	c := mustRead(t, dev+"user_types: [{value: \"500\", names: [connector], text: Connector}]\n")
	if got := c.Types(); len(got) != 4 || !reflect.DeepEqual(append(got[:2:2], got[3]), privilege.DefaultTypes()) || got[2].Name() != "connector" {
		t.Errorf("overlay: %+v", got)
	}
}

// TestTypeChanges is what config check shows (R90).
func TestTypeChanges(t *testing.T) {
	t.Parallel()
	var got []string
	for _, c := range mustRead(t, rights).TypeChanges() {
		got = append(got, fmt.Sprintf("%s %s %s: %s", c.Kind, c.Value, c.Name, strings.Join(c.Lines, "; ")))
	}
	want := []string{
		"replaced 100 user: text: Member, by default User",
		"added 300 helpdesk: names: helpdesk on; text: #1 desk; texts: de: Kundendienst, fr: true; privilege: staff; readonly: true; hidden_languages: fr no; mask_notifications: privilege_request privilege_decision",
		"hidden 900 admin: ",
		"added 950 root: names: root admin; text: Root: all; privilege: admin",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRights_PrintAndDiff: what is printed is read again as the same; a change of any of it is applied by a reload.
func TestRights_PrintAndDiff(t *testing.T) {
	t.Parallel()
	c := mustRead(t, rights)
	again(t, c)
	back := mustRead(t, refill(printed(t, c)))
	for what, pair := range map[string][2]any{
		"user_types": {c.UserTypes, back.UserTypes}, "permissions": {c.Permissions, back.Permissions}, "types": {c.Types(), back.Types()},
		"privileges": {c.Privileges, back.Privileges},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: was %+v, is %+v", what, pair[0], pair[1])
		}
	}
	if a, b := fmt.Sprint(c.Delegations), fmt.Sprint(back.Delegations); a != b {
		t.Errorf("delegations: were %s, are %s", a, b)
	}
	for old, change := range map[string]string{"text: Member": "text: Person", "[delete_user, edit_sessions,": "[edit_sessions,", "confer: [helper]": "confer: [trainer]"} {
		if strings.Count(rights, old) != 1 {
			t.Fatalf("%q is there %d times", old, strings.Count(rights, old))
		}
		applied, restart := Diff(c, mustRead(t, strings.Replace(rights, old, change, 1)))
		if len(applied) != 1 || len(restart) > 0 {
			t.Errorf("%s: applied %v, restart %v", change, applied, restart)
		}
	}
}

// TestPermissions_Ignored: names of old directives that mean nothing here are taken with a warning each (R93).
func TestPermissions_Ignored(t *testing.T) {
	t.Parallel()
	c, warnings, err := read("", []byte(dev+"permissions:\n  trainer: [demo_interviews, create_user]\n  customer: ["+strings.Join(privilege.Ignored, ", ")+"]\n"), testEnv)
	if err != nil || len(c.Permissions) != 2 {
		t.Fatalf("%v %v", c, err)
	}
	if len(warnings) != len(privilege.Ignored) {
		t.Errorf("%d warnings, want one for each of %d names: %v", len(warnings), len(privilege.Ignored), warnings)
	}
	for _, name := range privilege.Ignored {
		if !strings.Contains(fmt.Sprint(warnings), "line 2: permissions: "+name+" means nothing in Latchkey and is ignored") {
			t.Errorf("no warning of %s: %v", name, warnings)
		}
	}
}
