package privilege

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Permission is what Latchkey itself lets somebody do. It never leaves Latchkey: applications see privileges.
type Permission string

// The permissions. Names of R93 are kept; those about interviews, the playground and packages have no meaning here (Ignored).
const (
	AccessUserInfo    Permission = "access_user_info"
	AccessUserAPIInfo Permission = "access_user_api_info"
	CreateUser        Permission = "create_user"
	InviteUser        Permission = "invite_user"
	EditUserInfo      Permission = "edit_user_info"
	EditUserAPIInfo   Permission = "edit_user_api_info"
	EditUserStatus    Permission = "edit_user_active_status"
	DeleteUser        Permission = "delete_user"
	EditUserPassword  Permission = "edit_user_password"
	ResetUserMFA      Permission = "reset_user_mfa"
	AccessPrivileges  Permission = "access_privileges"
	EditPrivileges    Permission = "edit_privileges"
	EditUserPrivilege Permission = "edit_user_privileges"
	AccessSessions    Permission = "access_sessions"
	EditSessions      Permission = "edit_sessions"
	LogUserIn         Permission = "log_user_in"
	ManageClients     Permission = "manage_clients"
	ViewAudit         Permission = "view_audit"
	ActAs             Permission = "act_as"
)

// PermissionInfo is a permission with what it allows.
type PermissionInfo struct {
	Name    Permission
	Text    string
	Implies []Permission // which come with it
	Needs   []Permission // without which it allows nothing
}

// Permissions lists all, in the order of an overview.
func Permissions() []PermissionInfo {
	return []PermissionInfo{
		{AccessUserInfo, "See people's accounts.", nil, nil},
		{AccessUserAPIInfo, "See people's API keys.", nil, nil},
		{CreateUser, "Create accounts.", []Permission{InviteUser}, nil},
		{InviteUser, "Invite people.", nil, nil},
		{EditUserInfo, "Change people's profiles.", nil, nil},
		{EditUserAPIInfo, "Change and revoke people's API keys.", nil, nil},
		{EditUserStatus, "Disable and enable accounts.", nil, nil},
		{DeleteUser, "Delete accounts.", nil, []Permission{AccessSessions, EditSessions}},
		{EditUserPassword, "Give people new passwords.", nil, nil},
		{ResetUserMFA, "Remove people's second factors.", nil, nil},
		{AccessPrivileges, "See privileges, user types and permissions.", nil, nil},
		{EditPrivileges, "Add, change and delete privileges.", nil, []Permission{AccessPrivileges}},
		{EditUserPrivilege, "Give and take privileges, of those they hold.", nil, nil},
		{AccessSessions, "See people's sessions.", nil, nil},
		{EditSessions, "End people's sessions.", nil, nil},
		{LogUserIn, "Make one-time sign-in links for people.", nil, nil},
		{ManageClients, "Register and change applications.", nil, nil},
		{ViewAudit, "Read the audit log.", nil, nil},
		{ActAs, "Act for another person.", nil, nil},
	}
}

// Ignored are names of R93 that have no meaning in Latchkey: they are taken, with a warning, so that an old directive still loads.
var Ignored = []string{"demo_interviews", "interview_data", "template_parse", "playground_control", "manage_packages", "read_packages"}

// Powers says which permissions each privilege brings. The zero Powers are those of admin alone. Immutable, safe for concurrent use.
type Powers struct {
	by map[string][]Permission // sorted, with what they imply
}

// builtInPowers are those nobody has to configure (R71, R95). admin holds every permission, also those that come with a later version (R73).
var builtInPowers = map[string][]Permission{
	"developer": {ManageClients, ViewAudit},
	"advocate":  {AccessUserInfo, AccessSessions},
}

// fixedPowers are the privileges whose permissions a directive cannot change (R94).
var fixedPowers = []string{Admin, "developer", Cron, User}

// AnonymousSafe are the permissions that somebody who is not signed in may be given: none of today's (R98).
var AnonymousSafe []Permission

// PowerError is one problem of a permissions directive.
type PowerError struct {
	Privilege string
	Index     int // in its list; -1 = the privilege itself
	Text      string
}

func (e *PowerError) Error() string { return "privilege: permissions: " + e.Privilege + ": " + e.Text }

// NewPowers reads a permissions directive: privilege → names of permissions. known says which privileges exist. The error joins a *PowerError
// for every problem; ignored names those of Ignored that it holds.
func NewPowers(directive map[string][]string, known func(string) bool) (p Powers, ignored []string, err error) {
	var problems []error
	p.by = map[string][]Permission{}
	for name, list := range builtInPowers {
		p.by[name] = expand(list)
	}
	names := map[string]bool{}
	for _, i := range Permissions() {
		names[string(i.Name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(directive)) {
		bad := func(i int, format string, a ...any) {
			problems = append(problems, &PowerError{name, i, fmt.Sprintf(format, a...)})
		}
		switch {
		case slices.Contains(fixedPowers, name):
			bad(-1, "the permissions of %s are fixed", name)
			continue
		case name == "anonymous": // R98
		case known != nil && !known(name):
			bad(-1, "unknown privilege %s", show(name))
			continue
		}
		if _, _, role := ClientRole(name); role {
			bad(-1, "%s is a client's role, which means nothing in Latchkey", show(name))
			continue
		}
		list := slices.Clone(p.by[name])
		for i, s := range directive[name] {
			switch {
			case slices.Contains(Ignored, s):
				ignored = append(ignored, s)
			case !names[s]:
				bad(i, "unknown permission %s", show(s))
			case name == "anonymous" && !slices.Contains(AnonymousSafe, Permission(s)):
				bad(i, "%s cannot be given to whoever is not signed in", s)
			default:
				list = append(list, Permission(s))
			}
		}
		p.by[name] = expand(list)
	}
	for _, name := range slices.Sorted(maps.Keys(p.by)) {
		for _, i := range Permissions() {
			for _, need := range i.Needs {
				if slices.Contains(p.by[name], i.Name) && !slices.Contains(p.by[name], need) {
					problems = append(problems, &PowerError{name, -1, fmt.Sprintf("%s needs %s too", i.Name, need)})
				}
			}
		}
	}
	if len(problems) > 0 {
		return Powers{}, ignored, errors.Join(problems...)
	}
	return p, ignored, nil
}

// expand adds what a list implies, and sorts it.
func expand(list []Permission) []Permission {
	out := slices.Clone(list)
	for _, i := range Permissions() {
		if slices.Contains(list, i.Name) {
			out = append(out, i.Implies...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// May says whether somebody with this sorted effective closure has a permission.
func (p Powers) May(effective []string, want Permission) bool {
	if holds(effective, Admin) {
		return true
	}
	for _, name := range effective {
		if slices.Contains(p.by[name], want) {
			return true
		}
	}
	return false
}

// Of returns the permissions of somebody with this sorted effective closure, sorted.
func (p Powers) Of(effective []string) []Permission {
	var out []Permission
	if holds(effective, Admin) {
		for _, i := range Permissions() {
			out = append(out, i.Name)
		}
		slices.Sort(out)
		return out
	}
	for _, name := range effective {
		out = append(out, p.by[name]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Lacks is the first permission of a person that an actor does not have, "" when there is none. admin is more than the permissions there are
// today, so it is lacked by whoever has them one by one. Both are sorted effective closures.
func (p Powers) Lacks(actor, person []string) Permission {
	if holds(actor, Admin) {
		return ""
	}
	theirs, own := p.Of(person), p.Of(actor)
	if holds(person, Admin) {
		return theirs[0]
	}
	for _, one := range theirs {
		if !slices.Contains(own, one) {
			return one
		}
	}
	return ""
}

// powerOverOthers are the permissions through which whoever gets hold of an account gets others' accounts too: act_as and log_user_in are
// somebody else's sign-in; a password, a second factor and an address (edit_user_info, R97) are the way to one. Those to give privileges are
// not among them: nobody confers more than they hold.
var powerOverOthers = []Permission{ActAs, LogUserIn, EditUserPassword, ResetUserMFA, EditUserInfo}

// Administers says whether somebody with this sorted effective closure has power over other people's accounts: the rule for whom a second
// factor is due (R41), who never comes in by a provider that is not trusted with that, and whose account is never removed by a machine (R13).
// It asks for permissions and not for the name of a privilege, so an operator's own helpdesk counts too.
func (p Powers) Administers(effective []string) bool {
	return slices.ContainsFunc(powerOverOthers, func(want Permission) bool { return p.May(effective, want) })
}

// Table is the directive as it is in force: privilege → permissions, for an overview and for storing. admin is not in it.
func (p Powers) Table() map[string][]Permission {
	out := map[string][]Permission{}
	for name, list := range p.by {
		if len(list) > 0 {
			out[name] = slices.Clone(list)
		}
	}
	return out
}

// From returns why somebody has a permission: those of the sorted effective closure that bring it.
func (p Powers) From(effective []string, want Permission) (by []string) {
	for _, name := range effective {
		if name == Admin || slices.Contains(p.by[name], want) {
			by = append(by, name)
		}
	}
	return by
}

// Bringing returns the privileges that bring a permission by themselves, sorted; whoever has it holds one of them, or what includes one.
func (p Powers) Bringing(want Permission) []string {
	names := []string{Admin}
	for name, list := range p.by {
		if name != Admin && slices.Contains(list, want) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ParsePermission reads a name; the error names the nearest thing wrong with it.
func ParsePermission(s string) (Permission, error) {
	for _, i := range Permissions() {
		if string(i.Name) == s {
			return i.Name, nil
		}
	}
	return "", fmt.Errorf("privilege: unknown permission %s", show(strings.TrimSpace(s)))
}
