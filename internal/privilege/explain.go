package privilege

import (
	"slices"
	"time"
)

// Source is a holding together with what a person should read about where it comes from; Explain hands it back untouched.
type Source struct {
	Holding
	ID   string // of the assignment, for a link
	Text string // "given by Ana on 3 May"
}

// Derivation says why somebody holds a privilege: Path starts with what was assigned and ends with the privilege asked for, each
// member including the next. Default marks the privilege that everybody counts as who holds no other (R7): Source is empty then.
type Derivation struct {
	Source  Source
	Default bool
	Path    []string
}

// Direct says whether the privilege itself was assigned.
func (d Derivation) Direct() bool { return len(d.Path) == 1 }

// Explain returns why somebody with these assignments holds target at now: one derivation for every assignment in force that
// leads there, by the shortest way, in the order of holdings. None means that target is not held, and then Effective does not
// list it either.
func (g *Graph) Explain(holdings []Source, now time.Time, target string) []Derivation {
	var out []Derivation
	t, defined := g.index[target]
	some := false
	for _, h := range holdings {
		i, ok := g.index[h.Privilege]
		if !ok || !h.inForce(now) {
			continue
		}
		some = some || g.any(g.row(i))
		if defined && g.reaches(i, t) {
			out = append(out, Derivation{Source: h, Path: g.path(i, t)})
		}
	}
	if some {
		return out
	}
	u, ok := g.index[User]
	switch {
	case !ok && target == User:
		out = append(out, Derivation{Default: true, Path: []string{User}})
	case ok && defined && g.reaches(u, t):
		out = append(out, Derivation{Default: true, Path: g.path(u, t)})
	}
	return out
}

func (g *Graph) reaches(from, to int32) bool { return g.row(from)[to/64]&(1<<(to%64)) != 0 }

// path is the shortest chain of includes between two privileges of which the first reaches the second; among equals the one
// whose names come first. Each step looks only at includes that lead there, level by level.
func (g *Graph) path(from, to int32) []string {
	before := map[int32]int32{from: from}
	level := []int32{from}
	for len(level) > 0 {
		if _, found := before[to]; found {
			break
		}
		var next []int32
		for _, i := range level {
			for _, j := range g.edges[i] {
				if _, seen := before[j]; !seen && g.reaches(j, to) {
					before[j] = i
					next = append(next, j)
				}
			}
		}
		level = next
	}
	var out []string
	for i := to; ; i = before[i] {
		out = append(out, g.names[i])
		if i == from {
			break
		}
	}
	slices.Reverse(out)
	return out
}

// Lapsed returns the derivations that assignments not in force at now would have: what ended, and what begins later.
func (g *Graph) Lapsed(holdings []Source, now time.Time, target string) []Derivation {
	t, defined := g.index[target]
	if !defined {
		return nil
	}
	var out []Derivation
	for _, h := range holdings {
		if i, ok := g.index[h.Privilege]; ok && !h.inForce(now) && g.reaches(i, t) {
			out = append(out, Derivation{Source: h, Path: g.path(i, t)})
		}
	}
	return out
}

// Path is the shortest chain of includes from one privilege or user type's node to another, both named; nil when there is none.
func (g *Graph) Path(from, to string) []string {
	i, ok := g.index[from]
	j, also := g.index[to]
	if !ok || !also || !g.reaches(i, j) {
		return nil
	}
	return g.path(i, j)
}
