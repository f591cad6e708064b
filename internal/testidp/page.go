package testidp

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Form is a form of a page with the values it would send as it stands.
type Form struct {
	t      testing.TB
	node   *html.Node
	Method string
	Action string
	Values url.Values
}

// Has says whether the page has an element with this id.
func (p *Page) Has(id string) bool { return p.find(id) != nil }

// Element returns the element with this id, failing the test if there is none.
func (p *Page) Element(id string) *html.Node {
	p.t.Helper()
	n := p.find(id)
	if n == nil {
		p.t.Fatalf("%s has no #%s:\n%.2000s", p, id, p.Body)
	}
	return n
}

// Text returns what a person reads in the element with this id, white space folded.
func (p *Page) Text(id string) string {
	p.t.Helper()
	return text(p.Element(id))
}

// Attr returns an attribute of the element with this id.
func (p *Page) Attr(id, name string) string {
	p.t.Helper()
	return attr(p.Element(id), name)
}

// Form returns the form with this id, or the one around the element with it.
func (p *Page) Form(id string) *Form {
	p.t.Helper()
	return p.FormOf(id)
}

// Want fails the test unless the page has this status and an element with this id.
func (p *Page) Want(status int, id string) *Page {
	p.t.Helper()
	if p.Status != status {
		p.t.Fatalf("%s: want status %d:\n%.2000s", p, status, p.Body)
	}
	p.Element(id)
	return p
}

func (p *Page) find(id string) (found *html.Node) {
	if p.doc == nil {
		return nil
	}
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && attr(n, "id") == id {
			return n
		}
	}
	return nil
}

// rawKey is a text that should have been translated.
var rawKey = regexp.MustCompile(`^(account|acting|app|code|complete|connections|consent|deletion|error|form|go|home|layout|link|login|logout|mfa|new_password|outbox|passkeys|password|privilege|profile|scope|security|setup)(\.[a-z_]+)+$`)

// check holds every page against what all pages promise: ids occur once, there is no inline script or style, and people read texts
// and not the keys of texts.
func (p *Page) check() {
	p.t.Helper()
	seen := map[string]bool{}
	for n := range p.doc.Descendants() {
		if n.Type == html.TextNode && rawKey.MatchString(strings.TrimSpace(n.Data)) {
			p.t.Errorf("%s: people read %q", p, n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" {
			if seen[id] {
				p.t.Errorf("%s: id %s occurs twice", p, id)
			}
			seen[id] = true
		}
		if n.Data == "style" || n.Data == "script" && attr(n, "src") == "" {
			p.t.Errorf("%s: inline <%s>", p, n.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				p.t.Errorf("%s: <%s %s=…>", p, n.Data, a.Key)
			}
		}
	}
}

func (p *Page) FormOf(id string) *Form {
	p.t.Helper()
	n := p.Element(id)
	button := n
	for n != nil && !(n.Type == html.ElementNode && n.Data == "form") {
		n = n.Parent
	}
	if n == nil {
		p.t.Fatalf("%s: #%s is in no form", p, id)
	}
	f := &Form{t: p.t, node: n, Method: strings.ToUpper(attr(n, "method")), Action: attr(n, "action"), Values: url.Values{}}
	if f.Method == "" {
		f.Method = http.MethodGet
	}
	if f.Action == "" {
		f.Action = p.URL.String()
	}
	for e := range n.Descendants() {
		name := attr(e, "name")
		if e.Type != html.ElementNode || name == "" || has(e, "disabled") {
			continue
		}
		switch e.Data {
		case "input":
			switch attr(e, "type") {
			case "submit", "button", "image", "reset":
			case "checkbox", "radio":
				if has(e, "checked") {
					f.Values.Add(name, onValue(e))
				}
			default:
				f.Values.Add(name, attr(e, "value"))
			}
		case "textarea":
			f.Values.Add(name, text(e))
		case "select":
			f.Values.Add(name, selected(e))
		}
	}
	if name := attr(button, "name"); name != "" && (button.Data == "button" || attr(button, "type") == "submit") {
		f.Values.Set(name, attr(button, "value"))
	}
	return f
}

// fill sets a field by its element's id as a person would: "on" and "" tick and untick a box.
func (f *Form) fill(id, value string) {
	f.t.Helper()
	for e := range f.node.Descendants() {
		if e.Type != html.ElementNode || attr(e, "id") != id {
			continue
		}
		kind, name := attr(e, "type"), attr(e, "name")
		switch {
		case e.Data != "input" && e.Data != "textarea" && e.Data != "select", name == "":
			f.t.Fatalf("#%s is no field", id)
		case kind == "hidden" || has(e, "disabled") || has(e, "readonly"):
			f.t.Fatalf("a person cannot fill #%s", id)
		case kind == "checkbox" && value == "":
			f.Values.Del(name)
		case kind == "checkbox" || kind == "radio":
			f.Values.Set(name, onValue(e))
		default:
			f.Values.Set(name, value)
		}
		return
	}
	f.t.Fatalf("the form has no field #%s", id)
}

func onValue(e *html.Node) string {
	if has(e, "value") {
		return attr(e, "value")
	}
	return "on"
}

// selected is the value of a select's chosen option: the marked one, else the first.
func selected(sel *html.Node) string {
	first := (*html.Node)(nil)
	for o := range sel.Descendants() {
		if o.Type != html.ElementNode || o.Data != "option" {
			continue
		}
		if first == nil {
			first = o
		}
		if has(o, "selected") {
			first = o
			break
		}
	}
	switch {
	case first == nil:
		return ""
	case has(first, "value"):
		return attr(first, "value")
	}
	return text(first)
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
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
