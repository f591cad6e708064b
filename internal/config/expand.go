package config

import "strings"

// expand replaces every ${NAME} by the variable of that name, and $${ by a literal ${. What a variable holds is not expanded
// again. A variable that is not set is a problem: an empty value in its place could open what should be closed.
func (r *reader) expand(text, path string, at place) (string, bool) {
	if !strings.Contains(text, "${") {
		return text, true
	}
	var b strings.Builder
	ok := true
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), ok
		}
		if literal, cut := strings.CutSuffix(before, "$"); cut {
			b.WriteString(literal + "${")
			text = after
			continue
		}
		b.WriteString(before)
		name, rest, closed := strings.Cut(after, "}")
		if !closed || !isVariable(name) {
			r.spoil(path, at, "${ needs the name of a variable and a }; a literal one is written $${")
			return "", false
		}
		value, set := r.env(name)
		if !set {
			r.spoil(path, at, "the environment variable %s is not set", name)
			ok = false
		}
		b.WriteString(value)
		text = rest
	}
}

func isVariable(name string) bool {
	if name == "" || len(name) > 100 || '0' <= name[0] && name[0] <= '9' {
		return false
	}
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
