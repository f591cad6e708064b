package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFile    = 4 << 20 // bytes of a configuration
	maxNesting = 100     // brackets open at once: the parser recurses, and a stack that is full ends the process
)

// place is where something stands in the file.
type place struct{ line, column int }

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

// parse reads YAML into nodes. Its errors speak of places and never quote the file, which is full of secrets.
func parse(text []byte) (root ast.Node, bad *Problem) {
	if len(text) > maxFile {
		return nil, &Problem{Text: fmt.Sprintf("is larger than %d MiB", maxFile>>20)}
	}
	if !utf8.Valid(text) {
		at := 0
		for at < len(text) {
			r, n := utf8.DecodeRune(text[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return nil, &Problem{Line: 1 + bytes.Count(text[:at], []byte("\n")), Text: "is not UTF-8 here"}
	}
	if line := tooDeep(text); line > 0 {
		return nil, &Problem{Line: line, Text: fmt.Sprintf("more than %d brackets or levels within each other", maxNesting)}
	}
	defer func() {
		if recover() != nil { // a fault of the parser is the file's problem, not the end of a running server
			root, bad = nil, &Problem{Text: "is not YAML that can be read"}
		}
	}()
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey()) // we report them ourselves, all of them
	if err != nil {
		p := &Problem{Text: "is not YAML that can be read"}
		var y yaml.Error
		if errors.As(err, &y) {
			at := placeOf(y.GetToken())
			p.Line, p.Column = at.line, at.column
			if m := y.GetMessage(); !strings.ContainsAny(m, "\"\n") { // those with quotes quote the file
				p.Text = "is not valid YAML: " + m
			}
			if lines := bytes.SplitN(text, []byte("\n"), at.line+1); at.line > 0 && at.line <= len(lines) && bytes.Contains(lines[at.line-1], []byte("${")) {
				p.Text += "; within [ ] and { }, ${NAME} needs quotes"
			}
		}
		return nil, p
	}
	bodies := 0
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if bodies++; bodies == 1 {
			root = d.Body
			continue
		}
		at := placeOf(d.Body.GetToken())
		return nil, &Problem{Line: at.line, Column: at.column, Text: "a second document starts here; there is one for each file"}
	}
	return root, nil
}

// tooDeep returns the line where too many levels are open: flow brackets, or dashes and indentation of blocks. It counts
// brackets within texts too, where so many make no sense either.
func tooDeep(text []byte) (line int) {
	open, line := 0, 1
	for l := range bytes.Lines(text) {
		if trimmed := bytes.TrimLeft(l, " "); len(l)-len(trimmed) > 4*maxNesting || bytes.Count(trimmed, []byte("- ")) > maxNesting || bytes.Count(trimmed, []byte("? ")) > maxNesting {
			if len(trimmed) > 0 && trimmed[0] != '#' {
				return line
			}
		}
		for _, c := range l {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			}
			if open > maxNesting {
				return line
			}
		}
		line++
	}
	return 0
}

// entry is a key of a map with its value.
type entry struct {
	key   string
	at    place
	value ast.Node
}

// kindOf says in words what a node is.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not read here: write the value out"
	case *ast.TagNode:
		return "a tag (!), which is not read here"
	}
	return "a text"
}

// entries returns the keys of a map in their order; ok is false where n is no map.
func entries(n ast.Node) (out []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	for _, v := range values {
		e := entry{at: placeOf(v.Key.GetToken()), value: v.Value}
		switch k := v.Key.(type) {
		case *ast.StringNode:
			e.key = k.Value
		case *ast.MappingKeyNode:
			e.key = "?"
		default:
			e.key = v.Key.GetToken().Value
		}
		out = append(out, e)
	}
	return out, true
}

// textOf returns what a scalar says as it is written, and whether it is a text: quoted, a block, or plain and nothing else.
func textOf(n ast.Node) (text string, isText, isScalar bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true, true
	case *ast.LiteralNode:
		if n.Value == nil {
			return "", true, true
		}
		return n.Value.Value, true, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, false, true
	}
	return "", false, false
}

// runsOn says whether a plain text goes on in the next line. That is what a forgotten space after a colon looks like to YAML,
// which would take two settings for one text.
func runsOn(n ast.Node) bool {
	s, ok := n.(*ast.StringNode)
	return ok && s.Token != nil && s.Token.Type == token.StringType && strings.Contains(strings.TrimSpace(s.Token.Origin), "\n")
}

// nearest returns the known word that differs from word by the fewest typing errors, if those are few.
func nearest(word string, known []string) (string, bool) {
	if len(word) > 60 {
		return "", false
	}
	best, distance := "", 1+max(1, min(3, len(word)/3))
	for _, k := range known {
		if d := typingErrors(strings.ToLower(word), k); d < distance {
			best, distance = k, d
		}
	}
	return best, best != ""
}

// typingErrors counts letters left out, put in, replaced or swapped with their neighbour (optimal string alignment).
func typingErrors(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			replaced := rows[i-1][j-1]
			if x[i-1] != y[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

// oneOf is "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
