package explain

import (
	"cmp"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// Words puts answers into whole sentences of a reader's language. All fields are required.
type Words struct {
	Text      func(key string, args ...any) string // the catalogue's text in that language
	When      func(t time.Time) string             // in the reader's time zone
	Labels    map[string]string                    // what privileges and user types are called (store.LabelsIn)
	Connector func(id string) string               // what people call a connector
	// Names are people by id, as far as they are known: nobody is looked up twice. A name of "" is somebody who has none to show to this reader.
	Names map[string]string
	// Person looks somebody up who is not in Names; "" for who is not there any more, or has no name to show to this reader.
	Person func(id string) (string, error)
}

// Label is what a privilege or the node of a user type is called.
func (w *Words) Label(name string) string { return cmp.Or(w.Labels[name], name) }

// IsPerson says whether what stands as the giver of something is the id of a person: else it is the operator, the set-up, or a connector's rule.
func IsPerson(givenBy string) bool {
	switch givenBy {
	case "", "cli", "setup", "system":
		return false
	}
	return !strings.HasPrefix(givenBy, store.ConnectorActor(""))
}

func (w *Words) giver(by string) (string, error) {
	if !IsPerson(by) {
		if connector, ok := strings.CutPrefix(by, store.ConnectorActor("")); ok {
			return w.Text("account.giver_connector", "Provider", w.Connector(connector)), nil
		}
		return w.Text("account.giver_" + cmp.Or(by, "unknown")), nil
	}
	name, known := w.Names[by]
	if !known {
		var err error
		if name, err = w.Person(by); err != nil {
			return "", err
		}
		w.Names[by] = name
	}
	if name == "" {
		return w.Text("account.giver_unknown"), nil
	}
	return name, nil
}

// Source says where something comes from: who gave it, when, until when and what for.
func (w *Words) Source(s Source) (string, error) {
	switch s.Kind {
	case Default:
		return w.Text("account.why_default"), nil
	case store.SourceType:
		return w.Text("account.why_type", "Type", w.Label(privilege.TypeNode(s.Ref))), nil
	}
	giver, err := w.giver(s.GivenBy)
	if err != nil {
		return "", err
	}
	parts := []string{w.Text("account.why_given", "Giver", giver, "Date", w.When(s.Since))}
	if !s.Until.IsZero() {
		parts = append(parts, w.Text("account.why_until", "Date", w.When(s.Until)))
	}
	if s.Reason != "" {
		parts = append(parts, w.Text("account.why_reason", "Reason", s.Reason))
	}
	return strings.Join(parts, " "), nil
}

// Why is one way in which something is held: the path, where there is one, and the source.
func (w *Words) Why(y Why) (string, error) {
	text, err := w.Source(y.Source)
	if err != nil {
		return "", err
	}
	var path []string
	for _, n := range y.Path {
		if _, node := privilege.TypeOf(n); !node { // the sentence of the source names the type
			path = append(path, w.Label(n))
		}
	}
	if len(path) > 1 {
		text = w.Text("account.why_through", "Path", strings.Join(path, " → ")) + " " + text
	}
	return text, nil
}
