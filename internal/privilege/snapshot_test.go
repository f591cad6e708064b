package privilege

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// sameGraph says how two graphs differ, "" for not at all.
func sameGraph(a, b *Graph) string {
	switch {
	case !slices.Equal(a.names, b.names):
		return fmt.Sprintf("names %v, %v", a.names, b.names)
	case !maps.Equal(a.index, b.index):
		return fmt.Sprintf("index %v, %v", a.index, b.index)
	case !slices.EqualFunc(a.edges, b.edges, slices.Equal):
		return fmt.Sprintf("includes %v, %v", a.edges, b.edges)
	case !slices.Equal(a.order, b.order):
		return fmt.Sprintf("order %v, %v", a.order, b.order)
	case !slices.Equal(a.shown, b.shown) || a.words != b.words:
		return fmt.Sprintf("shown %v, %v", a.shown, b.shown)
	}
	return ""
}

// randomDefs has chains, user types, clients' roles and, now and then, more names than are closed at once.
func randomDefs(r *rand.Rand) []Def {
	n := r.IntN(30)
	if r.IntN(20) == 0 {
		n = smallGraph + r.IntN(300)
	}
	defs := make([]Def, n)
	for i := range defs {
		defs[i].Name = fmt.Sprintf("%s%d", []string{"a", "long-name-number-", "x:y", "Client.9:y", "type/"}[r.IntN(5)], i)
		if _, node := TypeOf(defs[i].Name); node && i > 0 {
			defs[i].Includes = []string{defs[0].Name}
			continue
		}
		for range r.IntN(6) {
			if j := r.IntN(i + 1); j < i {
				if _, node := TypeOf(defs[j].Name); !node {
					defs[i].Includes = append(defs[i].Includes, defs[j].Name)
				}
			}
		}
	}
	if n > 0 {
		defs[0] = Def{Name: "base"}
	}
	r.Shuffle(n, func(i, j int) { defs[i], defs[j] = defs[j], defs[i] })
	return defs
}

// TestSnapshot_SameGraph: a graph comes back as it was, with the same closures.
func TestSnapshot_SameGraph(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 27))
	large, taken := 0, 0
	for range 2000 {
		defs := randomDefs(r)
		for i := range defs { // base lost its name in randomDefs where others include it by the one before
			defs[i].Includes = slices.DeleteFunc(defs[i].Includes, func(n string) bool {
				return !slices.ContainsFunc(defs, func(d Def) bool { return d.Name == n })
			})
		}
		want, err := NewGraph(defs)
		if err != nil {
			continue // too deep
		}
		taken++
		if len(defs) > smallGraph {
			large++
		}
		got, err := FromSnapshot(want.Snapshot())
		if err != nil {
			t.Fatalf("%v: %v", defs, err)
		}
		if d := sameGraph(got, want); d != "" {
			t.Fatalf("%v: %s", defs, d)
		}
		for i, d := range defs {
			if i == 50 {
				break
			}
			if g, w := got.Closure(d.Name), want.Closure(d.Name); !slices.Equal(g, w) {
				t.Fatalf("%v: %s is %v, not %v", defs, d.Name, g, w)
			}
		}
	}
	if taken < 1500 || large < 50 {
		t.Error("too few: ", taken, large)
	}
}

// sealed puts the head before a payload, so that a test gets past the checksum.
func sealed(payload []byte) []byte {
	out := append([]byte{snapshotVersion, 0, 0, 0, 0}, payload...)
	binary.BigEndian.PutUint32(out[1:], crc32.Checksum(payload, castagnoli))
	return out
}

func TestSnapshot_Refused(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), parse("lead: staff helper; staff: helper; helper; crm:editor")...)...)
	body := g.Snapshot()
	if _, err := FromSnapshot(body); err != nil {
		t.Fatal(err)
	}
	for i := range body {
		for bit := range 8 {
			bad := slices.Clone(body)
			bad[i] ^= 1 << bit
			if _, err := FromSnapshot(bad); err == nil {
				t.Errorf("bit %d of byte %d turned over, and taken", bit, i)
			}
		}
		if _, err := FromSnapshot(body[:i]); err == nil {
			t.Errorf("taken when cut after %d", i)
		}
		if _, err := FromSnapshot(sealed(body[min(i, 5):i])); i > 4 && err == nil {
			t.Errorf("taken when cut after %d, with a checksum", i)
		}
	}
	for name, payload := range map[string][]byte{
		"nothing":                 {},
		"more names than bytes":   {200, 200, 3, 0},
		"a number without an end": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"an empty name":           {1, 0, 0, 0, 0},
		"not sorted":              {2, 0, 1, 1, 'b', 'a', 0, 0, 0, 1},
		"twice":                   {2, 0, 1, 1, 'a', 'a', 0, 0, 0, 1},
		"includes nobody":         {2, 1, 1, 1, 'a', 'b', 1, 2, 0, 0, 1},
		"includes itself":         {1, 1, 1, 'a', 1, 0, 0},
		"a cycle":                 {2, 2, 1, 1, 'a', 'b', 1, 1, 1, 0, 0, 1},
		"in the wrong order":      {2, 1, 1, 1, 'a', 'b', 1, 1, 0, 0, 1},
		"one of them twice":       {2, 0, 1, 1, 'a', 'b', 0, 0, 0, 0},
		"an include left over":    {1, 1, 1, 'a', 0, 0},
		"a byte left over":        {1, 0, 1, 'a', 0, 0, 0},
	} {
		if _, err := FromSnapshot(sealed(payload)); err == nil {
			t.Error("taken: " + name)
		}
	}
	if _, err := FromSnapshot(sealed([]byte{2, 1, 1, 1, 'a', 'b', 1, 1, 0, 1, 0})); err != nil {
		t.Error("a whole one was refused, the rest proves nothing: ", err)
	}
	// The longest chain that there may be, and one more.
	for n, ok := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		payload := []byte{byte(n), byte(n - 1)}
		for range n {
			payload = append(payload, 1)
		}
		for i := range n {
			payload = append(payload, byte('0'+i))
		}
		for i := range n - 1 {
			payload = append(payload, 1, byte(i+1))
		}
		payload = append(payload, 0)
		for i := range n {
			payload = append(payload, byte(n-1-i))
		}
		if _, err := FromSnapshot(sealed(payload)); (err == nil) != ok {
			t.Errorf("a chain of %d: %v", n, err)
		}
	}
}

// FuzzFromSnapshot: whatever is in the database, it is a graph or an error, and a graph is the same when it goes round again.
func FuzzFromSnapshot(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		if g, err := NewGraph(randomDefs(r)); err == nil && len(g.names) < 100 {
			f.Add(g.Snapshot()[5:])
		}
	}
	f.Add([]byte{2, 2, 1, 1, 'a', 'b', 1, 1, 1, 0, 0, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if g, err := FromSnapshot(payload); err == nil && len(g.names) > len(payload) {
			t.Fatal("more names than bytes")
		}
		g, err := FromSnapshot(sealed(payload))
		if err != nil {
			return
		}
		for _, n := range g.names[:min(5, len(g.names))] {
			g.Closure(n)
		}
		if len(g.names) < 1000 {
			g.all()
		}
		again, err := FromSnapshot(g.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if d := sameGraph(g, again); d != "" {
			t.Fatal(d)
		}
	})
}

// BenchmarkFromSnapshot is ten thousand privileges that include five others each.
func BenchmarkFromSnapshot(b *testing.B) {
	var defs []Def
	for i := range 10_000 {
		d := Def{Name: fmt.Sprintf("p%d", i)}
		if i < 9_500 {
			for k := range 5 {
				d.Includes = append(d.Includes, fmt.Sprintf("p%d", (i/500+1)*500+(i*7+k*31)%500))
			}
		}
		defs = append(defs, d)
	}
	g, err := NewGraph(defs)
	if err != nil {
		b.Fatal(err)
	}
	body := g.Snapshot()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromSnapshot(body); err != nil {
			b.Fatal(err)
		}
	}
}
