// Package explain says why somebody may do something, why not, and who else may: now, or at a moment in the past.
//
//	assignments ─┐
//	definitions ─┴─▶ privilege.Explain ─▶ Line{privilege, Why{path, source}}   person, administrator, latchkey explain
//
// It owns the questions, the shape of the answers, and how they become sentences (Words), whose texts it is given. It computes nothing of its own: what is held is
// the engine's answer, so that an explanation and a token cannot disagree. It refuses to guess about a time before the database.
package explain

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// Default is the Source.Kind of what everybody counts as who holds nothing else (R7).
const Default = "default"

// Source is the assignment that an answer rests on.
type Source struct {
	ID      string    `json:"id,omitempty"`
	Kind    string    `json:"kind"`          // store.SourcePerson ..., or Default
	Ref     string    `json:"ref,omitempty"` // connector, user type, invite, request
	GivenBy string    `json:"given_by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
}

// SourceOf is what an answer says of an assignment.
func SourceOf(a store.Assignment) Source {
	return Source{ID: a.ID, Kind: a.Source, Ref: a.SourceRef, GivenBy: a.GivenBy, Reason: a.Reason, Since: a.CreatedAt.Time, From: a.From.Time, Until: a.Until.Time}
}

// Why is one way in which a privilege is held. Path starts with what was assigned and ends with the privilege.
type Why struct {
	Path   []string `json:"path"`
	Source Source   `json:"source"`
}

// Line is a privilege that is held, with every way in which it is.
type Line struct {
	Privilege string `json:"privilege"`
	Why       []Why  `json:"why"`
}

// Person is what somebody holds, and why.
type Person struct {
	UserID    string    `json:"user"`
	At        time.Time `json:"at"`
	Effective []string  `json:"effective"`
	Lines     []Line    `json:"privileges"`

	graph   *privilege.Graph
	sources []privilege.Source
	rows    []store.Assignment
}

// Of explains what a person holds at a moment; the zero time is now.
func Of(ctx context.Context, st *store.Store, userID string, at time.Time) (*Person, error) {
	p := &Person{UserID: userID, At: at}
	var err error
	if at.IsZero() {
		p.At = st.Clock()
		if p.graph, err = st.Definitions(ctx); err != nil {
			return nil, err
		}
	} else if p.graph, err = st.GraphAt(ctx, at); err != nil {
		return nil, err
	}
	if p.rows, err = st.AssignmentsAt(ctx, userID, p.At); err != nil {
		return nil, err
	}
	holdings := make([]privilege.Holding, len(p.rows))
	for i, a := range p.rows {
		holdings[i] = privilege.Holding{Privilege: a.Privilege, From: a.From.Time, Until: a.Until.Time}
		p.sources = append(p.sources, privilege.Source{Holding: holdings[i], ID: a.ID})
	}
	p.Effective = p.graph.Effective(holdings, p.At)
	for _, name := range p.Effective {
		p.Lines = append(p.Lines, Line{name, p.why(p.graph.Explain(p.sources, p.At, name))})
	}
	return p, nil
}

func (p *Person) why(ds []privilege.Derivation) (list []Why) {
	for _, d := range ds {
		if d.Default {
			list = append(list, Why{d.Path, Source{Kind: Default}})
			continue
		}
		i := slices.IndexFunc(p.rows, func(a store.Assignment) bool { return a.ID == d.Source.ID })
		list = append(list, Why{d.Path, SourceOf(p.rows[i])})
	}
	return list
}

// Line is what is said of one privilege; ok is false when it is not held.
func (p *Person) Line(name string) (Line, bool) {
	i := slices.IndexFunc(p.Lines, func(l Line) bool { return l.Privilege == name })
	if i < 0 {
		return Line{}, false
	}
	return p.Lines[i], true
}

// WhyNot is what stands between somebody and a privilege.
type WhyNot struct {
	Privilege string   `json:"privilege"`
	Defined   bool     `json:"defined"`
	Lapsed    []Why    `json:"lapsed,omitempty"`   // what would bring it and is not in force: over, or not begun
	Through   []string `json:"through,omitempty"`  // what could be given instead of it: whatever includes it, nearest first
	Grantors  []string `json:"grantors,omitempty"` // ids of people who could give it to this person, some of them
}

// maxGrantors is how many are named: enough to know whom to ask.
const maxGrantors = 5

// Not explains why a person does not hold a privilege, and who could change that. The question is about now.
func (p *Person) Not(ctx context.Context, st *store.Store, name string) (*WhyNot, error) {
	w := &WhyNot{Privilege: name, Defined: p.graph.Has(name)}
	if !w.Defined {
		return w, nil
	}
	w.Lapsed = p.why(p.graph.Lapsed(p.sources, p.At, name))
	for _, n := range p.graph.Above(name) {
		if _, node := privilege.TypeOf(n); n != name && !node {
			w.Through = append(w.Through, n)
		}
	}
	slices.SortStableFunc(w.Through, func(a, b string) int { return len(p.graph.Path(a, name)) - len(p.graph.Path(b, name)) })
	var err error
	w.Grantors, err = st.Grantors(ctx, p.UserID, name, maxGrantors)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return w, err
}
