package relying

import (
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Requirement is a rule over privileges: a list whose every member must hold, where a member that is a list holds if any of it does.
// [a, [b, c]] is a AND (b OR c). The empty list admits everybody, signed in or not; it must be written, for the zero Requirement admits
// nobody. It reads itself from JSON.
type Requirement struct{ rule *privilege.Requirement }

// NewRequirement makes a requirement of its members: names, and non-empty lists of names ([]string). Anything else is an error.
func NewRequirement(members ...any) (Requirement, error) {
	r, err := privilege.ParseRequirement(members, nil)
	if err != nil {
		return Requirement{}, err
	}
	return Requirement{&r}, nil
}

// MustRequirement is NewRequirement for rules that are written in the program. It panics where that returns an error.
func MustRequirement(members ...any) Requirement {
	r, err := NewRequirement(members...)
	if err != nil {
		panic("relying: requirement: " + err.Error())
	}
	return r
}

// UnmarshalJSON reads ["a", ["b", "c"]]. Null is refused: whoever writes it may have meant nobody.
func (r *Requirement) UnmarshalJSON(text []byte) error {
	parsed, err := privilege.ParseRequirementJSON(text, nil)
	if err != nil {
		return err
	}
	r.rule = &parsed
	return nil
}

// Met says whether somebody who holds these privileges meets it. There is no wildcard.
func (r Requirement) Met(privileges []string) bool {
	return r.rule != nil && (r.rule.Empty() || r.rule.Met(sorted(privileges)))
}

// Open says whether it admits everybody.
func (r Requirement) Open() bool { return r.rule != nil && r.rule.Empty() }

// String is "a and (b or c)", "everybody" or "nobody".
func (r Requirement) String() string {
	if r.rule == nil {
		return "nobody"
	}
	return r.rule.String()
}

// unmet is the first member that fails, for the log: "b or c".
func (r Requirement) unmet(privileges []string) string {
	if r.rule == nil {
		return "nobody"
	}
	groups := r.rule.Unmet(sorted(privileges))
	if len(groups) == 0 {
		return ""
	}
	return strings.Join(groups[0], " or ")
}

// sorted is what the engine wants to be given.
func sorted(privileges []string) []string {
	if slices.IsSorted(privileges) {
		return privileges
	}
	privileges = slices.Clone(privileges)
	slices.Sort(privileges)
	return privileges
}
