package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// reader turns nodes into a Config and remembers where everything stood, so that what is found wrong later, by a rule, has its
// line too.
type reader struct {
	env func(string) (string, bool)
	cfg *Config

	places  map[string]place  // of every key and list item that is in the file, by path
	written map[string]string // the text in the file of values that a variable changed: errors show this, never the value
	spoilt  map[string]bool   // paths whose value could not be read; the rules do not judge them again

	inline bool // a secret stands in the file itself

	problems []Problem
	warnings []Warning
}

func newReader(c *Config, env func(string) (string, bool)) *reader {
	return &reader{env: env, cfg: c, places: map[string]place{}, written: map[string]string{}, spoilt: map[string]bool{}}
}

// spoil is a problem of reading: the value at path is of no use.
func (r *reader) spoil(path string, at place, format string, a ...any) {
	r.spoilt[path] = true
	r.problems = append(r.problems, Problem{at.line, at.column, path, fmt.Sprintf(format, a...)})
}

// problem is one that a rule found.
func (r *reader) problem(path, format string, a ...any) {
	if r.spoilt[""] {
		return
	}
	for p := path; p != ""; p = parent(p) {
		if r.spoilt[p] {
			return
		}
	}
	at := r.at(path)
	r.problems = append(r.problems, Problem{at.line, at.column, path, fmt.Sprintf(format, a...)})
}

func (r *reader) warn(path, format string, a ...any) {
	at := r.at(path)
	r.warnings = append(r.warnings, Warning{at.line, at.column, path, fmt.Sprintf(format, a...)})
}

// at is the place of path, or of what it would stand in.
func (r *reader) at(path string) place {
	for ; path != ""; path = parent(path) {
		if at, ok := r.places[path]; ok {
			return at
		}
	}
	return place{}
}

// parent of a.b[0] is a.b, of a.b is a, of a is "".
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// show quotes the value at path for an error: as written in the file, where a variable changed it, cut, and without what may be a
// password within an address.
func (r *reader) show(path, value string) string {
	if w, ok := r.written[path]; ok {
		value = w
	}
	return show(value)
}

func show(s string) string {
	if i := strings.Index(s, "://"); i >= 0 {
		if j := strings.LastIndexByte(s, '@'); j > i {
			s = s[:i+3] + "…" + s[j:]
		}
	}
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}

// decode fills v from n. at is where the key or list item stands.
func (r *reader) decode(n ast.Node, v reflect.Value, path string, at place) {
	if path != "" {
		r.places[path] = at
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.spoil(path, at, "is %s", kindOf(n))
		return
	case nil, *ast.NullNode:
		r.empty(v, path, at)
		return
	}
	switch v.Interface().(type) {
	case Secret, DSN, Bytes, time.Duration, netip.Prefix:
		r.scalar(n, v, path, at)
		return
	case []any:
		if _, ok := n.(*ast.SequenceNode); !ok {
			r.spoil(path, at, "want a list, such as [a, [b, c]] for a and (b or c), not %s", kindOf(n))
			return
		}
		list, _ := r.loose(n, path, at).([]any)
		v.Set(reflect.ValueOf(list))
		normal(v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.block(n, v, path, at)
	case reflect.Map:
		r.named(n, v, path, at)
	case reflect.Slice:
		s, ok := n.(*ast.SequenceNode)
		if !ok {
			r.spoil(path, at, "want a list, not %s", kindOf(n))
			return
		}
		list := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
		for i, e := range s.Values {
			switch x := list.Index(i).Addr().Interface().(type) {
			case *Client:
				*x = clientDefaults()
			case *Connector:
				*x = connectorDefaults()
			}
			r.decode(e, list.Index(i), item(path, i), startOf(e, at))
		}
		v.Set(list)
		normal(v)
	default:
		r.scalar(n, v, path, at)
	}
}

// normal makes an empty list or map nil: two ways to say nothing would look like a change.
func normal(list reflect.Value) {
	if list.Len() == 0 {
		list.SetZero()
	}
}

// startOf is where a list item stands. A block map's own token is its first colon, which is on the right line.
func startOf(n ast.Node, otherwise place) place {
	if es, ok := entries(n); ok && len(es) > 0 {
		return es[0].at
	}
	if n == nil || n.GetToken() == nil {
		return otherwise
	}
	return placeOf(n.GetToken())
}

// empty judges a key without a value. A block may be empty, as its keys may all be comments; anywhere else nobody knows what
// was meant, and to guess could open what should be closed.
func (r *reader) empty(v reflect.Value, path string, at place) {
	switch {
	case v.Kind() == reflect.Struct && isBlock(v.Type()) && !strings.HasSuffix(path, "]"):
	case strings.HasSuffix(path, "]"):
		r.spoil(path, at, "has no value")
	case v.Kind() == reflect.Slice:
		r.spoil(path, at, "has no value; write [] for an empty list")
	case v.Kind() == reflect.Map:
		r.spoil(path, at, "has no value; leave the key out")
	default:
		r.spoil(path, at, "has no value; leave the key out to have the default")
	}
}

// isBlock says whether t is a struct of keys, as opposed to a Secret or a network.
func isBlock(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("yaml") != ""
}

// keysOf returns the keys of a block in the order of its fields.
func keysOf(t reflect.Type) (keys []string, fields map[string]int) {
	fields = map[string]int{}
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			keys = append(keys, key)
			fields[key] = i
		}
	}
	return keys, fields
}

func (r *reader) block(n ast.Node, v reflect.Value, path string, at place) {
	es, ok := entries(n)
	if !ok {
		r.spoil(path, at, "want a map of keys, not %s", kindOf(n))
		return
	}
	keys, fields := keysOf(v.Type())
	seen := map[string]int{}
	for _, e := range es {
		i, known := fields[e.key]
		if !known {
			r.unknown(e, keys, path)
			continue
		}
		if first := seen[e.key]; first > 0 {
			r.spoil(join(path, e.key), e.at, "is given twice; the first is in line %d", first)
			continue
		}
		seen[e.key] = e.at.line
		r.decode(e.value, v.Field(i), join(path, e.key), e.at)
	}
}

func (r *reader) unknown(e entry, keys []string, path string) {
	text := "unknown key"
	switch {
	case e.key == "<<":
		text = "merging maps (<<) is not read here: write the keys out"
	default:
		if near, ok := nearest(e.key, keys); ok {
			text += "; did you mean " + near + "?"
		} else if elsewhere := findKey(reflect.TypeFor[Config](), "", e.key); elsewhere != "" {
			text += "; did you mean " + elsewhere + "?"
		} else {
			text += "; known here: " + strings.Join(keys, ", ")
		}
	}
	r.problems = append(r.problems, Problem{e.at.line, e.at.column, join(path, keyText(e.key)), text})
}

// keyText is an unknown key as a path can hold it.
func keyText(key string) string {
	if len(key) <= 60 && key != "" && strings.Trim(strings.ToLower(key), "abcdefghijklmnopqrstuvwxyz0123456789_-:") == "" {
		return key
	}
	return show(key)
}

// findKey returns the path of the first block that knows key: it may only stand in the wrong one.
func findKey(t reflect.Type, path, key string) string {
	keys, fields := keysOf(t)
	for _, k := range keys {
		if k == key && path != "" {
			return join(path, k)
		}
	}
	for _, k := range keys {
		f := t.Field(fields[k]).Type
		at := join(path, k)
		if f.Kind() == reflect.Slice {
			f, at = f.Elem(), at+"[]"
		}
		if isBlock(f) {
			if found := findKey(f, at, key); found != "" {
				return found
			}
		}
	}
	return ""
}

// named is a map whose keys the operator chooses.
func (r *reader) named(n ast.Node, v reflect.Value, path string, at place) {
	es, ok := entries(n)
	if !ok {
		r.spoil(path, at, "want a map of names, not %s", kindOf(n))
		return
	}
	out := reflect.MakeMap(v.Type())
	seen := map[string]int{}
	for _, e := range es {
		p := join(path, keyText(e.key))
		if first := seen[e.key]; first > 0 {
			r.spoil(p, e.at, "is given twice; the first is in line %d", first)
			continue
		}
		seen[e.key] = e.at.line
		elem := reflect.New(v.Type().Elem()).Elem()
		r.decode(e.value, elem, p, e.at)
		out.SetMapIndex(reflect.ValueOf(e.key), elem)
	}
	v.Set(out)
	normal(v)
}

// loose reads a list of anything, for the privilege engine to judge.
func (r *reader) loose(n ast.Node, path string, at place) any {
	r.places[path] = at
	if s, ok := n.(*ast.SequenceNode); ok {
		out := make([]any, len(s.Values))
		for i, e := range s.Values {
			out[i] = r.loose(e, item(path, i), startOf(e, at))
		}
		return out
	}
	text, isText, isScalar := textOf(n)
	switch {
	case isText:
		return text
	case !isScalar && n != nil && n.Type() != ast.NullType:
		return map[string]any{}
	case n != nil && n.Type() == ast.BoolType:
		return true
	case isScalar:
		return 0
	}
	return nil
}
