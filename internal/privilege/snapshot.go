package privilege

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
)

// snapshotVersion is the first byte of a snapshot. Whoever changes what is in one, or what NewGraph refuses, raises it: a snapshot was checked by the
// program that made it.
const snapshotVersion = 1

var (
	errSnapshot = errors.New("privilege: not a snapshot of a graph")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// Snapshot is the graph as bytes, for FromSnapshot:
//
//	version (1 byte), checksum of what follows (4)
//	number of names, number of includes
//	the length of each name, then all names as one text
//	for each name: how many it includes, then their numbers, each as the distance to the one before
//	the names in an order in which each comes after all it includes
//
// Numbers are unsigned varints.
func (g *Graph) Snapshot() []byte {
	edges, text := 0, 0
	for i, n := range g.names {
		edges += len(g.edges[i])
		text += len(n)
	}
	out := make([]byte, 5, 32+text+5*len(g.names)+2*edges)
	out[0] = snapshotVersion
	out = binary.AppendUvarint(out, uint64(len(g.names)))
	out = binary.AppendUvarint(out, uint64(edges))
	for _, n := range g.names {
		out = binary.AppendUvarint(out, uint64(len(n)))
	}
	for _, n := range g.names {
		out = append(out, n...)
	}
	for _, e := range g.edges {
		out = binary.AppendUvarint(out, uint64(len(e)))
		last := int32(-1)
		for _, j := range e {
			out = binary.AppendUvarint(out, uint64(j-last-1))
			last = j
		}
	}
	for _, i := range g.order {
		out = binary.AppendUvarint(out, uint64(i))
	}
	binary.BigEndian.PutUint32(out[1:], crc32.Checksum(out[5:], castagnoli))
	return out
}

// FromSnapshot is the graph that a snapshot was made of. What is damaged, or of another version, is an error, and so is whatever could not be a graph:
// names that are not sorted, numbers of none, an include that comes after what includes it, which a cycle always has. The rules of NewGraph about
// single names and includes are not asked again.
func FromSnapshot(body []byte) (*Graph, error) {
	if len(body) < 5 || body[0] != snapshotVersion || binary.BigEndian.Uint32(body[1:]) != crc32.Checksum(body[5:], castagnoli) {
		return nil, errSnapshot
	}
	r := numbers{rest: body[5:]}
	n, edges := r.next(len(body)), r.next(len(body)) // each takes a byte at least
	lengths := make([]int, n)
	total := 0
	for i := range lengths {
		lengths[i] = r.next(len(body))
		total += lengths[i]
	}
	if r.bad || total > len(r.rest) {
		return nil, errSnapshot
	}
	text := string(r.rest[:total]) // one piece for all
	r.rest = r.rest[total:]
	g := &Graph{
		names: make([]string, n),
		index: make(map[string]int32, n),
		edges: make([][]int32, n),
		words: (n + 63) / 64,
		order: make([]int32, n),
	}
	g.shown = make([]uint64, g.words)
	for i, length := range lengths {
		name := text[:length]
		text = text[length:]
		if name == "" || i > 0 && name <= g.names[i-1] {
			return nil, errSnapshot
		}
		g.names[i] = name
		g.index[name] = int32(i)
		if !strings.HasPrefix(name, typePrefix) {
			g.shown[i/64] |= 1 << (i % 64)
		}
	}
	all := make([]int32, edges)
	for i := range g.edges {
		k := r.next(len(all) + 1)
		if r.bad {
			return nil, errSnapshot
		}
		e := all[:k:k]
		all = all[k:]
		least := 0
		for at := range e {
			j := least + r.next(n-least)
			e[at] = int32(j)
			least = j + 1
		}
		g.edges[i] = e
	}
	depth := make([]int8, n) // 0 = not come yet
	for at := range g.order {
		i := r.next(n)
		if r.bad || depth[i] != 0 {
			return nil, errSnapshot
		}
		d := int8(1)
		for _, j := range g.edges[i] {
			if depth[j] == 0 || depth[j] == maxDepth {
				return nil, errSnapshot
			}
			d = max(d, depth[j]+1)
		}
		depth[i] = d
		g.order[at] = int32(i)
	}
	if r.bad || len(all) > 0 || len(r.rest) > 0 {
		return nil, errSnapshot
	}
	if n <= smallGraph {
		g.all()
	}
	return g, nil
}

// numbers reads varints. Once one is bad, all that follow are 0.
type numbers struct {
	rest []byte
	bad  bool
}

// next is a number below limit.
func (r *numbers) next(limit int) int {
	v, n := uint64(0), 1
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v = uint64(r.rest[0])
	} else {
		v, n = binary.Uvarint(r.rest)
	}
	if r.bad || n <= 0 || limit <= 0 || v >= uint64(limit) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}
