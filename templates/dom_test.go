package templates

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// dom is a parsed page.
type dom struct{ elements []*html.Node }

func parse(t testing.TB, page []byte) dom {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var d dom
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			d.elements = append(d.elements, n)
		}
	}
	return d
}

func (d dom) all(tag string) []*html.Node {
	var out []*html.Node
	for _, n := range d.elements {
		if n.Data == tag {
			out = append(out, n)
		}
	}
	return out
}

func (d dom) id(id string) *html.Node {
	i := slices.IndexFunc(d.elements, func(n *html.Node) bool { return attr(n, "id") == id })
	if i < 0 {
		return nil
	}
	return d.elements[i]
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// inside finds the elements of a kind below n.
func inside(n *html.Node, tag string) []*html.Node {
	var out []*html.Node
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.Data == tag {
			out = append(out, c)
		}
	}
	return out
}
