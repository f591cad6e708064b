package privilege

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// UserType is an entry of the short list that an administrator assigns from: one privilege, and how Latchkey treats its people (R83, R84).
type UserType struct {
	Value     string   // what is stored: ^[a-z0-9][a-z0-9_-]{0,19}$
	Names     []string // for code, the first is the claim user_type; ^[a-z][a-z0-9_]{0,49}$
	Text      string   // what people read
	Texts     map[string]string
	Privilege string // "" = none beyond what everybody has
	ReadOnly  bool   // sees what it may see and changes nothing

	HiddenLanguages []string // left out of pickers
	Mask            []string // kinds of mail it does not get, of Notices
}

// Name is the claim user_type.
func (t UserType) Name() string {
	if len(t.Names) == 0 {
		return t.Value
	}
	return t.Names[0]
}

// Kinds of mail that a type may be spared (R87).
const (
	NoticeRequest  = "privilege_request"  // somebody asks for a privilege that this person could give
	NoticeDecision = "privilege_decision" // what became of one's own request
)

// Notices lists them. Mail that the safety of an account rests on (a code, somebody else's use of an address, somebody who acts for the person) is not
// among them.
var Notices = []string{NoticeRequest, NoticeDecision}

// Types that every installation has, by name.
const (
	TypeAnonymous = "anonymous" // who is not signed in
	TypeUser      = "user"      // what new people are
	TypeAdmin     = "admin"
)

// DefaultTypes are the three of a fresh database.
func DefaultTypes() []UserType {
	return []UserType{
		{Value: "000", Names: []string{TypeAnonymous}, Text: "Anonymous", ReadOnly: true},
		{Value: "100", Names: []string{TypeUser}, Text: "User", Privilege: User},
		{Value: "900", Names: []string{TypeAdmin}, Text: "Administrator", Privilege: Admin},
	}
}

// TypeError is one problem of a list of types.
type TypeError struct {
	Index int
	Value string
	Text  string
}

func (e *TypeError) Error() string { return "privilege: user type " + show(e.Value) + ": " + e.Text }

// CheckTypes says what is wrong with a list of types: doubles, forms, privileges nobody defined, and the three names that Latchkey itself
// refers to. The error joins a *TypeError for every problem. known says which privileges exist.
func CheckTypes(types []UserType, known func(string) bool) error {
	var problems []error
	values, names := map[string]bool{}, map[string]string{}
	for i, t := range types {
		bad := func(format string, a ...any) {
			problems = append(problems, &TypeError{i, t.Value, fmt.Sprintf(format, a...)})
		}
		switch {
		case !validTypeValue(t.Value):
			bad("a value is 1 to 20 of a-z 0-9 _ -, with a letter or digit first")
		case values[t.Value]:
			bad("the value is taken")
		}
		values[t.Value] = true
		if len(t.Names) == 0 {
			bad("has no name")
		}
		for _, n := range t.Names {
			switch other, taken := names[n]; {
			case !validSlug(n):
				bad("%s is not a name; use a letter, then at most %d of a-z 0-9 _ -", show(n), maxName-1)
			case taken:
				bad("the name %s is taken by %s", n, show(other))
			}
			names[n] = t.Value
		}
		if strings.TrimSpace(t.Text) == "" {
			bad("has no text")
		}
		switch _, _, role := ClientRole(t.Privilege); {
		case t.Privilege == "":
		case t.Privilege == Cron:
			bad("cron is for machines, not for a person")
		case role:
			bad("%s is a client's role, which is given to people one by one", show(t.Privilege))
		case known != nil && !known(t.Privilege):
			bad("unknown privilege %s", show(t.Privilege))
		}
	}
	for _, n := range []string{TypeAnonymous, TypeUser, TypeAdmin} {
		if _, ok := names[n]; !ok {
			problems = append(problems, &TypeError{-1, n, "is missing: a type of this name has to be there"})
		}
	}
	if i := slices.IndexFunc(types, func(t UserType) bool { return slices.Contains(t.Names, TypeAnonymous) }); i >= 0 {
		if p := types[i].Privilege; p != "" {
			problems = append(problems, &TypeError{i, types[i].Value, "whoever is not signed in holds no privilege"})
		}
	}
	return errors.Join(problems...)
}

func validTypeValue(s string) bool {
	if s == "" || len(s) > 20 || s[0] == '_' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !lowerOrDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// typePrefix can stand in no name of a privilege or client.
const typePrefix = "type/"

// TypeNode is the place of a type in a Graph: it includes the type's privilege, and people are assigned to it, so that history, explanation
// and delegation know one mechanism. It is in no closure that leaves the engine.
func TypeNode(value string) string { return typePrefix + value }

// TypeOf is the value of a type's node; ok is false for a privilege.
func TypeOf(node string) (value string, ok bool) { return strings.CutPrefix(node, typePrefix) }
