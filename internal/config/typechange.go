package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// TypeChange is how a user type in force differs from the defaults (R90).
type TypeChange struct {
	Kind  string   // added, replaced or hidden
	Value string   // of the type
	Name  string   // for tokens
	Lines []string // what it is, or what is different
}

// TypeChanges compares the user types in force with the defaults, in the order of their values. What is written out and is as the default is, is no
// change.
func (c *Config) TypeChanges() (list []TypeChange) {
	if len(c.UserTypes) == 0 {
		return nil
	}
	find := func(types []privilege.UserType, value string) *privilege.UserType {
		i := slices.IndexFunc(types, func(t privilege.UserType) bool { return t.Value == value })
		if i < 0 {
			return nil
		}
		return &types[i]
	}
	defaults, now := privilege.DefaultTypes(), c.Types()
	values := map[string]bool{}
	for _, t := range append(slices.Clone(defaults), now...) {
		values[t.Value] = true
	}
	for _, v := range slices.Sorted(maps.Keys(values)) {
		was, is := find(defaults, v), find(now, v)
		switch {
		case is == nil:
			list = append(list, TypeChange{"hidden", v, was.Name(), nil})
		case was == nil:
			list = append(list, TypeChange{"added", v, is.Name(), differences(privilege.UserType{}, *is)})
		default:
			if lines := differences(*was, *is); len(lines) > 0 {
				list = append(list, TypeChange{"replaced", v, is.Name(), lines})
			}
		}
	}
	return list
}

// differences are the fields of b that are not as in a, by their keys in the file.
func differences(a, b privilege.UserType) (lines []string) {
	texts := func(m map[string]string) (out []string) {
		for _, lang := range slices.Sorted(maps.Keys(m)) {
			out = append(out, lang+": "+m[lang])
		}
		return out
	}
	fresh := reflect.DeepEqual(a, privilege.UserType{})
	for _, f := range []struct{ key, was, is string }{
		{"names", strings.Join(a.Names, " "), strings.Join(b.Names, " ")},
		{"text", a.Text, b.Text},
		{"texts", strings.Join(texts(a.Texts), ", "), strings.Join(texts(b.Texts), ", ")},
		{"privilege", a.Privilege, b.Privilege},
		{"readonly", fmt.Sprint(a.ReadOnly), fmt.Sprint(b.ReadOnly)},
		{"hidden_languages", strings.Join(a.HiddenLanguages, " "), strings.Join(b.HiddenLanguages, " ")},
		{"mask_notifications", strings.Join(a.Mask, " "), strings.Join(b.Mask, " ")},
	} {
		none := func(s string) string {
			if s == "" {
				return "none"
			}
			return s
		}
		switch {
		case f.was == f.is:
		case fresh:
			lines = append(lines, f.key+": "+f.is)
		default:
			lines = append(lines, f.key+": "+none(f.is)+", by default "+none(f.was))
		}
	}
	return lines
}
