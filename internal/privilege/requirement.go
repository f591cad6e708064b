package privilege

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Requirement is [a, [b, c]] = a AND (b OR c); empty = everybody. The zero Requirement is empty. Immutable.
type Requirement struct {
	all [][]string // every group must have a member that is held
}

// ParseRequirement reads the YAML/JSON shape; only [] and lists of names or non-empty flat lists of names pass (R80). A nil
// list is a requirement nobody made, and empty. known says which privileges exist; it may be nil, then only the form of names is
// checked. The error names every problem with its place, counted from 0: "[1][0]: …".
func ParseRequirement(v []any, known func(string) bool) (Requirement, error) {
	var (
		r        Requirement
		problems []error
	)
	name := func(v any, place string) string {
		s, ok := v.(string)
		switch {
		case !ok:
			problems = append(problems, fmt.Errorf("%s: want the name of a privilege, not %s", place, kind(v)))
		case ValidName(s) != nil:
			problems = append(problems, fmt.Errorf("%s: %s", place, strings.TrimPrefix(ValidName(s).Error(), "privilege: ")))
		case known != nil && !known(s):
			problems = append(problems, fmt.Errorf("%s: unknown privilege %s", place, show(s)))
		}
		return s
	}
	if len(v) > 0 {
		r.all = make([][]string, 0, len(v))
	}
	for i, member := range v {
		place := fmt.Sprintf("[%d]", i)
		var alternatives []any
		switch m := member.(type) {
		case []any:
			alternatives = m
		case []string:
			for _, s := range m {
				alternatives = append(alternatives, s)
			}
		default:
			r.all = append(r.all, []string{name(member, place)})
			continue
		}
		if len(alternatives) == 0 {
			problems = append(problems, fmt.Errorf("%s: an empty list of alternatives, which nobody can meet", place))
			continue
		}
		group := make([]string, len(alternatives))
		for j, a := range alternatives {
			group[j] = name(a, fmt.Sprintf("[%d][%d]", i, j))
		}
		r.all = append(r.all, group)
	}
	if len(problems) > 0 {
		return Requirement{}, errors.Join(problems...)
	}
	return r, nil
}

// ParseRequirementJSON is ParseRequirement for JSON text. null is refused: whoever writes it may have meant nobody.
func ParseRequirementJSON(text []byte, known func(string) bool) (Requirement, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&v); err != nil {
		return Requirement{}, fmt.Errorf("privilege: requirement: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Requirement{}, errors.New("privilege: requirement: text after its end")
	}
	list, ok := v.([]any)
	if !ok {
		return Requirement{}, fmt.Errorf("privilege: requirement: want a list, not %s", kind(v))
	}
	return ParseRequirement(list, known)
}

// Empty says whether everybody passes.
func (r Requirement) Empty() bool { return len(r.all) == 0 }

// Met evaluates over an effective closure (sorted). No wildcard: admin counts for nothing but admin (R81).
func (r Requirement) Met(effective []string) bool {
	for _, group := range r.all {
		if !HasAny(effective, group...) {
			return false
		}
	}
	return true
}

// Unmet returns the groups of which the sorted effective closure holds no member, in their order; nil when it is met. The slices are the
// caller's.
func (r Requirement) Unmet(effective []string) (groups [][]string) {
	for _, group := range r.all {
		if !HasAny(effective, group...) {
			groups = append(groups, slices.Clone(group))
		}
	}
	return groups
}

// Names returns the privileges it speaks of, sorted, each once.
func (r Requirement) Names() []string {
	var out []string
	for _, group := range r.all {
		out = append(out, group...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// String prints it for people: "a and (b or c)"; "everybody" if it is empty.
func (r Requirement) String() string {
	if r.Empty() {
		return "everybody"
	}
	parts := make([]string, len(r.all))
	for i, group := range r.all {
		parts[i] = strings.Join(group, " or ")
		if len(group) > 1 && len(r.all) > 1 {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, " and ")
}

// kind says in words what a value is that is not what was wanted.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case []any, []string:
		return "a list within a list of alternatives"
	case map[string]any, map[any]any:
		return "a map"
	}
	return "a number"
}
