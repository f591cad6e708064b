// Package privilege is the pure engine of Latchkey's privilege model: what a set of assignments amounts to (closure), whether
// that is enough (requirement), who may pass it on (delegation), and why somebody holds something (explanation).
//
//	assignments in force ──Effective──▶ sorted closure ──Met────────▶ may this person in?
//	        │                                  └────────CanAssign──▶ may this person confer it?
//	        └──────────────Explain──▶ assignment → privilege → included privilege
//
// It owns the rules and nothing else: it reads no database, no clock and no configuration, and imports nothing of ours. It
// refuses definitions that cannot be trusted (cycles, unknown includes, chains that are too deep, cron inside something that a
// person may hold), because a graph that is half right would hand out rights silently.
package privilege

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Names with a meaning of their own. Every other privilege is data: applications decide what it stands for.
const (
	// User is what somebody counts as who holds nothing else (R7).
	User = "user"
	// Admin is a wildcard for Latchkey's own permissions, and for nothing else (R73, R81).
	Admin = "admin"
	// Cron is for machines. No person ever holds it, and no privilege may include it.
	Cron = "cron"
)

const (
	maxName   = 50  // bytes of a privilege's name, and of the role in client:role
	maxClient = 128 // bytes of a client_id
	maxDepth  = 64  // privileges on the longest chain of includes, both ends counted
)

// Errors of CanAssign; branch on them with errors.Is.
var (
	// ErrUnknown says that the privilege is not defined.
	ErrUnknown = errors.New("privilege: unknown privilege")
	// ErrCron says that the privilege is, or includes, the one for machines.
	ErrCron = errors.New("privilege: cron is for machines, not for a person")
	// ErrNotHeld says that the actor lacks the privilege or something it includes.
	ErrNotHeld = errors.New("privilege: nobody confers what they do not hold")
)

// BuiltIns are the seven privileges of a fresh database (R71) with label and description, in the order of that list.
func BuiltIns() []struct{ Name, Label, Description string } {
	return []struct{ Name, Label, Description string }{
		{User, "User", "Has an account and nothing beyond it. Everybody who holds no other privilege counts as this."},
		{Admin, "Administrator", "May do everything in Latchkey. Gives no role inside an application: those are granted one by one."},
		{Cron, "Scheduled task", "For machines that run tasks. Never given to a person."},
		{"customer", "Customer", "A label for applications, such as “has paid”. Gives no power in Latchkey."},
		{"developer", "Developer", "Registers and manages applications and reads logs."},
		{"advocate", "Advocate", "Sees people's accounts and helps them."},
		{"trainer", "Trainer", "A label for applications. Gives no power in Latchkey."},
	}
}

// ValidName checks the form of a name: ^[a-z][a-z0-9_-]{0,49}$ for a privilege, client:role for a client's own, where role has
// that form too and client is a client_id: at most 128 of A-Z a-z 0-9 . _ - with a letter or digit first. The words anonymous and
// authenticated are refused: they describe a visitor, and applications would mistake them for a fact about one.
func ValidName(name string) error {
	if client, role, ok := strings.Cut(name, ":"); ok {
		if !validClient(client) || !validSlug(role) {
			return fmt.Errorf("privilege: %s is not the name of a client's role; write client:role, the client's id in A-Z a-z 0-9 . _ - and the role in a-z 0-9 _ -, at most %d characters", show(name), maxName)
		}
		return nil
	}
	if !validSlug(name) {
		return fmt.Errorf("privilege: %s is not a name; use a letter, then at most %d of a-z 0-9 _ -", show(name), maxName-1)
	}
	if name == "anonymous" || name == "authenticated" {
		return fmt.Errorf("privilege: %s is a reserved word", show(name))
	}
	return nil
}

// ClientRole splits the name of a client's own role into the client's id and the role. ok is false for a general privilege.
func ClientRole(name string) (client, role string, ok bool) { return strings.Cut(name, ":") }

// HasAny says whether the sorted effective closure holds at least one of names; false without names.
func HasAny(effective []string, names ...string) bool {
	for _, n := range names {
		if holds(effective, n) {
			return true
		}
	}
	return false
}

// HasAll says whether the sorted effective closure holds every one of names; true without names.
func HasAll(effective []string, names ...string) bool {
	for _, n := range names {
		if !holds(effective, n) {
			return false
		}
	}
	return true
}

// OfPerson is a sorted effective closure without cron, which belongs to machines: a person never carries it, whatever the rows say (R14).
// What it is given stays as it is.
func OfPerson(effective []string) []string {
	if i, ok := slices.BinarySearch(effective, Cron); ok {
		return slices.Delete(slices.Clone(effective), i, i+1)
	}
	return effective
}

func holds(effective []string, name string) bool {
	_, ok := slices.BinarySearch(effective, name)
	return ok
}

func validSlug(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !lowerOrDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func validClient(s string) bool {
	if s == "" || len(s) > maxClient || !letterOrDigit(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letterOrDigit(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func lowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func letterOrDigit(c byte) bool { return lowerOrDigit(c) || 'A' <= c && c <= 'Z' }

// show quotes what somebody wrote for an error text; it is cut, because it may be anything.
func show(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q (cut)", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
