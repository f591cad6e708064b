package privilege

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Def is one privilege as the engine sees it.
type Def struct {
	Name     string   // ^[a-z][a-z0-9_-]{0,49}$, client:role, or a TypeNode
	Includes []string // direct
	BuiltIn  bool
}

// Graph is a checked, immutable set of definitions: no cycle, depth at most 64, every include known. Safe for concurrent use.
// The zero Graph knows no privilege.
//
// Privileges are numbered in the order of their names and every closure is a row of bits, so that the union of closures is an
// OR and reading the bits from low to high gives names in order: the token path sorts nothing.
//
// The rows of a large graph are made when a few closures have been asked for: right after a change somebody waits for the first, which is
// found faster by walking.
type Graph struct {
	names []string // sorted
	index map[string]int32
	edges [][]int32 // direct includes, sorted
	words int       // per row
	shown []uint64  // all but the nodes of user types

	order  []int32                  // every privilege after all it includes
	walked atomic.Int32             // closures that were found by walking
	fill   sync.Once                // of rows
	rows   atomic.Pointer[[]uint64] // closure of i, itself counted, at rows[i*words:]; nil = not yet
}

const (
	smallGraph = 256 // privileges whose rows are made at once: it takes microseconds
	mostWalks  = 32
)

// Holding is a privilege held from..until (zero = open); until is the first instant it is not held any more.
type Holding struct {
	Privilege   string
	From, Until time.Time
}

func (h Holding) inForce(now time.Time) bool {
	return !now.Before(h.From) && (h.Until.IsZero() || now.Before(h.Until))
}

// DefError is one problem of a set of definitions.
type DefError struct {
	Name    string // of the privilege it is about
	Include string // the include it is about; "" = the privilege itself, or a chain that starts there
	Text    string
}

// Error is the text after the package's name.
func (e *DefError) Error() string { return "privilege: " + e.Text }

// NewGraph checks and closes the definitions; the error joins a *DefError for every problem (errors.Join), a cycle with all its
// members. Besides form, doubles, unknown includes, cycles and depth it refuses two includes that would make rights appear
// where nobody granted them: cron inside anything, as no person may hold it, and a client's role within admin's reach, as admin
// stops at Latchkey's own permissions (R81). What a privilege includes twice counts once.
func NewGraph(defs []Def) (*Graph, error) {
	names, edges := make([]string, len(defs)), 0
	for i, d := range defs {
		names[i] = d.Name
		edges += len(d.Includes)
	}
	b := build(names, edges)
	for _, d := range defs {
		i := b.index[d.Name]
		for _, inc := range d.Includes {
			b.include(i, inc)
		}
	}
	return b.finish()
}

// ReadGraph is NewGraph of texts, for whom a Def for each privilege is too dear: the names, and the parents and the children of all includes in the
// same order, with one space between two. Includes whose parent is not among the names are left out: a privilege that was deleted took what it
// included with it.
func ReadGraph(names, parents, children string) (*Graph, error) {
	edges := words(parents)
	if words(children) != edges {
		return nil, errors.New("privilege: not as many parents as children")
	}
	list := make([]string, 0, words(names))
	for name := range strings.FieldsSeq(names) {
		list = append(list, name)
	}
	b := build(list, edges)
	last, of, known := "", int32(0), false // includes of one parent mostly come together
	for range edges {
		var parent, child string
		if n := len(last); n > 0 && len(parents) > n && parents[n] == ' ' && parents[:n] == last {
			parents = parents[n+1:]
		} else {
			parent, parents, _ = strings.Cut(parents, " ")
			last = parent
			of, known = b.index[parent]
		}
		child, children, _ = strings.Cut(children, " ")
		if known {
			b.include(of, child)
		}
	}
	return b.finish()
}

func words(text string) int {
	if text == "" {
		return 0
	}
	return strings.Count(text, " ") + 1
}

// builder is a Graph that is being made: build, include for every edge, finish.
type builder struct {
	*Graph
	pairs    []edge
	problems []error
}

type edge struct{ parent, child int32 }

func (b *builder) refuse(name, include, format string, a ...any) {
	b.problems = append(b.problems, &DefError{name, include, fmt.Sprintf(format, a...)})
}

// build numbers the names, which it may sort in place.
func build(names []string, edges int) *builder {
	b := &builder{
		Graph: &Graph{
			names: names,
			index: make(map[string]int32, len(names)),
			words: (len(names) + 63) / 64,
		},
		pairs: make([]edge, 0, edges),
	}
	for _, n := range names {
		if value, ok := TypeOf(n); ok && validTypeValue(value) {
		} else if err := ValidName(n); err != nil {
			b.refuse(n, "", "%s", strings.TrimPrefix(err.Error(), "privilege: "))
		}
	}
	b.names = inOrder(names)
	b.shown = make([]uint64, b.words)
	for i, n := range b.names {
		if _, hidden := TypeOf(n); !hidden {
			b.shown[i/64] |= 1 << (i % 64)
		}
		if i > 0 && n == b.names[i-1] {
			b.refuse(n, "", "%s is defined twice", show(n))
			continue
		}
		b.index[n] = int32(i)
	}
	return b
}

// inOrder sorts names. It moves numbers instead of strings, which the garbage collector would have to hear of at each move.
func inOrder(names []string) []string {
	if slices.IsSorted(names) {
		return names
	}
	type key struct {
		start uint64 // the first eight bytes
		at    int32
	}
	keys := make([]key, len(names))
	for i, n := range names {
		var first [8]byte
		copy(first[:], n)
		keys[i] = key{binary.BigEndian.Uint64(first[:]), int32(i)}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(a.start, b.start); c != 0 {
			return c
		}
		return strings.Compare(names[a.at], names[b.at])
	})
	out := make([]string, len(names))
	for i, k := range keys {
		out[i] = names[k.at]
	}
	return out
}

func (b *builder) include(parent int32, child string) {
	j, ok := b.index[child]
	name := b.names[parent]
	switch {
	case !ok:
		b.refuse(name, child, "%s includes %s, which is not defined", show(name), show(child))
	case child == Cron && name != Cron:
		b.refuse(name, child, "%s includes cron, which is for machines: it cannot be included", show(name))
	case strings.HasPrefix(child, typePrefix):
		b.refuse(name, child, "%s includes a user type, which is for people and not for privileges", show(name))
	default:
		b.pairs = append(b.pairs, edge{parent, j})
	}
}

// finish checks what only the whole graph can show.
func (b *builder) finish() (*Graph, error) {
	g := b.Graph
	counts := make([]int32, len(g.names))
	for _, p := range b.pairs {
		counts[p.parent]++
	}
	all := make([]int32, len(b.pairs)) // one piece for all
	g.edges = make([][]int32, len(g.names))
	for i, n := range counts {
		g.edges[i], all = all[:0:n], all[n:]
	}
	for _, p := range b.pairs {
		g.edges[p.parent] = append(g.edges[p.parent], p.child)
	}
	for i, e := range g.edges {
		slices.Sort(e)
		if c := slices.Compact(e); len(c) != len(e) {
			g.edges[i] = c
		}
	}
	g.order = g.sorted(b.refuse)
	if len(b.problems) > 0 {
		return nil, errors.Join(b.problems...)
	}
	if len(g.names) <= smallGraph {
		g.all()
	}
	if i, ok := g.index[Admin]; ok {
		for _, n := range g.list(g.row(i)) {
			if _, _, role := ClientRole(n); role {
				b.refuse(Admin, "", "%s: a client's role is granted to people one by one, never through admin", strings.Join(g.path(i, g.index[n]), " includes "))
			}
		}
	}
	if len(b.problems) > 0 {
		return nil, errors.Join(b.problems...)
	}
	return g, nil
}

// Includes returns what a privilege or a user type's node includes directly, sorted; none if it is not defined. The slice is the caller's.
func (g *Graph) Includes(name string) []string {
	i, ok := g.index[name]
	if !ok {
		return nil
	}
	var out []string
	for _, j := range g.edges[i] {
		out = append(out, g.names[j])
	}
	return out
}

// sorted lists every privilege after all it includes, without recursion, as the definitions may be anything. It refuses the
// cycles, of which it names a dozen at most, and the chains that are too deep, of which it names the lowest offenders.
func (g *Graph) sorted(refuse func(name, include, format string, a ...any)) []int32 {
	const (
		fresh = iota
		open  // on the current path
		done
	)
	type frame struct{ node, next int32 }
	state := make([]uint8, len(g.names))
	depth := make([]int32, len(g.names))
	order := make([]int32, 0, len(g.names))
	cycles := 0
	var path []frame
	for root := range g.names {
		if state[root] != fresh {
			continue
		}
		state[root] = open
		path = append(path[:0], frame{node: int32(root)})
		for len(path) > 0 {
			top := &path[len(path)-1]
			i := top.node
			if int(top.next) < len(g.edges[i]) {
				j := g.edges[i][top.next]
				top.next++
				switch state[j] {
				case fresh:
					state[j] = open
					path = append(path, frame{node: j})
				case open:
					if cycles++; cycles <= 12 {
						at := slices.IndexFunc(path, func(f frame) bool { return f.node == j })
						var members []string
						for _, f := range path[at:] {
							members = append(members, g.names[f.node])
						}
						members = append(members, g.names[j])
						refuse(members[0], "", "a cycle: %s", strings.Join(members, " includes "))
					}
				}
				continue
			}
			depth[i] = 1
			for _, j := range g.edges[i] {
				depth[i] = max(depth[i], depth[j]+1)
			}
			if depth[i] == maxDepth+1 {
				refuse(g.names[i], "", "%s is the top of a chain of more than %d includes", show(g.names[i]), maxDepth-1)
			}
			state[i] = done
			order = append(order, i)
			path = path[:len(path)-1]
		}
	}
	return order
}

// all makes the rows, once.
func (g *Graph) all() []uint64 {
	g.fill.Do(func() {
		rows := make([]uint64, len(g.names)*g.words)
		for _, i := range g.order {
			row := g.rowOf(rows, i)
			row[i/64] |= 1 << (i % 64)
			for _, j := range g.edges[i] {
				if row[j/64]&(1<<(j%64)) == 0 { // else an earlier include brought j and all it includes
					for w, bitsOf := range g.rowOf(rows, j) {
						row[w] |= bitsOf
					}
				}
			}
		}
		g.rows.Store(&rows)
	})
	return *g.rows.Load()
}

func (g *Graph) rowOf(rows []uint64, i int32) []uint64 {
	return rows[int(i)*g.words : (int(i)+1)*g.words]
}

// row is the closure of i. It is READ ONLY.
func (g *Graph) row(i int32) []uint64 {
	if rows := g.rows.Load(); rows != nil {
		return g.rowOf(*rows, i)
	}
	row := make([]uint64, g.words)
	g.spread(row, i)
	return row
}

// spread adds the closure of i to sum, which is a union of closures: where it has a bit, it has all that follows.
func (g *Graph) spread(sum []uint64, i int32) {
	rows := g.rows.Load()
	if rows == nil && g.walked.Add(1) > mostWalks {
		all := g.all()
		rows = &all
	}
	if rows != nil {
		for w, bitsOf := range g.rowOf(*rows, i) {
			sum[w] |= bitsOf
		}
		return
	}
	next := []int32{i}
	for len(next) > 0 {
		i := next[len(next)-1]
		next = next[:len(next)-1]
		if sum[i/64]&(1<<(i%64)) == 0 {
			sum[i/64] |= 1 << (i % 64)
			next = append(next, g.edges[i]...)
		}
	}
}

// list reads a row of bits as names, in order.
func (g *Graph) list(row []uint64) []string {
	n := 0
	for at, w := range row {
		n += bits.OnesCount64(w & g.shown[at])
	}
	out := make([]string, 0, n)
	for at, w := range row {
		for w &= g.shown[at]; w != 0; w &= w - 1 {
			out = append(out, g.names[at*64+bits.TrailingZeros64(w)])
		}
	}
	return out
}

// Has says whether name is defined.
func (g *Graph) Has(name string) bool { _, ok := g.index[name]; return ok }

// Names returns every defined privilege, sorted; the slice is the caller's.
func (g *Graph) Names() []string {
	return slices.DeleteFunc(slices.Clone(g.names), func(n string) bool { return strings.HasPrefix(n, typePrefix) })
}

// Above returns what reaches one of names: the names themselves, and whatever includes them, user types' nodes too. Sorted.
func (g *Graph) Above(names ...string) []string {
	var few [4]uint64
	want := g.scratch(&few)
	for _, n := range names {
		if i, ok := g.index[n]; ok {
			want[i/64] |= 1 << (i % 64)
		}
	}
	var out []string
	rows := g.all()
	for i, n := range g.names {
		for at, w := range g.rowOf(rows, int32(i)) {
			if w&want[at] != 0 {
				out = append(out, n)
				break
			}
		}
	}
	return out
}

// Reach says of every name, user types' nodes too, which of some privileges are in its closure: a row of bits, each in its place in of. A name that
// leads to none of them is left out.
func (g *Graph) Reach(of []string) map[string][]uint64 {
	var few [4]uint64
	want := g.scratch(&few)
	place := make([]int, len(g.names))
	for k, n := range of {
		if i, ok := g.index[n]; ok {
			want[i/64] |= 1 << (i % 64)
			place[i] = k
		}
	}
	words := (len(of) + 63) / 64
	out := map[string][]uint64{}
	rows := g.all()
	for i, n := range g.names {
		var reached []uint64
		for at, w := range g.rowOf(rows, int32(i)) {
			for w &= want[at]; w != 0; w &= w - 1 {
				if reached == nil {
					reached = make([]uint64, words)
				}
				k := place[at*64+bits.TrailingZeros64(w)]
				reached[k/64] |= 1 << (k % 64)
			}
		}
		if reached != nil {
			out[n] = reached
		}
	}
	return out
}

// Closure returns the sorted closure of names; unknown names confer nothing. The slice is the caller's.
func (g *Graph) Closure(names ...string) []string {
	var few [4]uint64
	sum := g.scratch(&few)
	for _, n := range names {
		g.add(sum, n)
	}
	return g.list(sum)
}

// Effective returns the sorted closure of what is in force at now; a person without any holds "user" (R7), also one whose user type brings nothing, and
// what is not defined (any more) counts as nothing. The slice is the caller's.
func (g *Graph) Effective(hs []Holding, now time.Time) []string {
	var few [4]uint64
	sum := g.scratch(&few)
	for i := range hs {
		if hs[i].inForce(now) {
			g.add(sum, hs[i].Privilege)
		}
	}
	if !g.any(sum) && !g.add(sum, User) {
		return []string{User}
	}
	return g.list(sum)
}

// any says whether a privilege is in a row: the node of a user type is none.
func (g *Graph) any(row []uint64) bool {
	for at, w := range row {
		if w&g.shown[at] != 0 {
			return true
		}
	}
	return false
}

// CanAsk says whether a privilege is one that people may be let ask for: cron is for machines, and who administers is chosen, so nothing
// that brings admin is asked for.
func (g *Graph) CanAsk(name string) bool {
	if _, node := TypeOf(name); node || !g.Has(name) {
		return false
	}
	return !HasAny(g.Closure(name), Cron, Admin)
}

// scratch is a row of zeroes: few, which costs no allocation, where the privileges fit.
func (g *Graph) scratch(few *[4]uint64) []uint64 {
	if g.words <= len(few) {
		return few[:g.words]
	}
	return make([]uint64, g.words)
}

func (g *Graph) add(sum []uint64, name string) bool {
	i, ok := g.index[name]
	if ok {
		g.spread(sum, i)
	}
	return ok
}

// CanAssign is the pure gate: may somebody with this sorted effective closure confer priv on a person? nil = yes; else an error
// that is ErrUnknown, ErrCron or ErrNotHeld. The actor must hold the privilege and everything it includes; a holder of admin may
// confer all but cron, a client's role too, though admin itself holds none of those (R81). That the actor may pass privileges on
// at all is a permission, and asked elsewhere.
func (g *Graph) CanAssign(actorEffective []string, priv string) error {
	i, ok := g.index[priv]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknown, show(priv))
	}
	row := g.row(i)
	// NewGraph lets nothing include cron; the closure is asked all the same, for the gate must not lean on another check.
	if c, ok := g.index[Cron]; ok && row[c/64]&(1<<(c%64)) != 0 {
		return ErrCron
	}
	if holds(actorEffective, Admin) {
		return nil
	}
	// The whole closure: the caller's may stem from an older graph, in which priv included less.
	for at, w := range row {
		for w &= g.shown[at]; w != 0; w &= w - 1 {
			if n := g.names[at*64+bits.TrailingZeros64(w)]; !holds(actorEffective, n) {
				if n == priv {
					return fmt.Errorf("%w: %s", ErrNotHeld, priv)
				}
				return fmt.Errorf("%w: %s includes %s", ErrNotHeld, priv, n)
			}
		}
	}
	return nil
}

// NextEnd is the first instant after now at which what is in force amounts to less, because something ends; zero when nothing does. What a
// token says is true until then.
func (g *Graph) NextEnd(hs []Holding, now time.Time) time.Time {
	var end time.Time
	full := g.Effective(hs, now)
	for _, h := range hs {
		if h.Until.IsZero() || !h.inForce(now) || !end.IsZero() && !h.Until.Before(end) {
			continue
		}
		// What is in force now and lasts longer may bring the same.
		rest := slices.DeleteFunc(slices.Clone(hs), func(o Holding) bool {
			return !o.inForce(now) || !o.Until.IsZero() && !o.Until.After(h.Until)
		})
		if len(missing(full, g.Effective(rest, now))) > 0 {
			end = h.Until
		}
	}
	return end
}

// HeldUntil is how long somebody holds all of names by what is in force now; the zero time is without an end, and ok is false when one of
// them is not held.
func (g *Graph) HeldUntil(hs []Holding, now time.Time, names ...string) (until time.Time, ok bool) {
	for _, n := range names {
		t, defined := g.index[n]
		var longest time.Time
		held, open := false, false
		for _, h := range hs {
			i, known := g.index[h.Privilege]
			if !defined || !known || !h.inForce(now) || !g.reaches(i, t) {
				continue
			}
			held, open = true, open || h.Until.IsZero()
			if h.Until.After(longest) {
				longest = h.Until
			}
		}
		switch {
		case !held:
			return time.Time{}, false
		case !open && (until.IsZero() || longest.Before(until)):
			until = longest
		}
	}
	return until, true
}
