package admin

import (
	"context"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// words puts explanations into the reader's language.
type words struct {
	a      *Admin
	ctx    context.Context // of the page
	b      *templates.Base
	reader *store.User
	labels map[string]string
	givers map[string]string
}

func (a *Admin) words(ctx context.Context, b *templates.Base) (*words, error) {
	labels, err := a.labels(ctx, b.Lang)
	if err != nil {
		return nil, err
	}
	return &words{a: a, ctx: ctx, b: b, reader: actor(ctx), labels: labels, givers: map[string]string{}}, nil
}

func (w *words) when(t time.Time) string { return w.b.When(t.In(w.reader.Location())) }

func (w *words) name(name string) templates.PrivilegeName {
	return templates.PrivilegeName{Name: name, Label: w.labels[name]}
}

func (w *words) label(name string) string {
	if l := w.labels[name]; l != "" {
		return l
	}
	return name
}

// meet reads at once who gave what is to be explained, where they are not known yet.
func (w *words) meet(givers []string) error {
	var people []string
	for _, by := range givers {
		if _, known := w.givers[by]; known {
			continue
		}
		connector, rule := strings.CutPrefix(by, store.ConnectorActor(""))
		switch {
		case by == "cli" || by == "setup" || by == "system":
			w.givers[by] = w.b.T("account.giver_" + by)
		case rule:
			w.givers[by] = w.b.T("account.giver_connector", "Provider", w.a.c.Label(connector))
		default:
			w.givers[by] = w.b.T("account.giver_unknown")
			people = append(people, by)
		}
	}
	if len(people) == 0 {
		return nil
	}
	list, err := w.a.store.UsersByID(w.ctx, people)
	for i := range list {
		if u := &list[i]; u.DeletedAt.IsZero() {
			w.givers[u.ID] = nameOf(u)
		}
	}
	return err
}

// giver is who gave something.
func (w *words) giver(by string) (string, error) {
	err := w.meet([]string{by})
	return w.givers[by], err
}

// source says where something comes from, in whole sentences.
func (w *words) source(s explain.Source) (string, error) {
	switch s.Kind {
	case "default":
		return w.b.T("account.why_default"), nil
	case store.SourceType:
		return w.b.T("account.why_type", "Type", w.label(privilege.TypeNode(s.Ref))), nil
	}
	giver, err := w.giver(s.GivenBy)
	if err != nil {
		return "", err
	}
	parts := []string{w.b.T("account.why_given", "Giver", giver, "Date", w.when(s.Since))}
	if !s.Until.IsZero() {
		parts = append(parts, w.b.T("account.why_until", "Date", w.when(s.Until)))
	}
	if s.Reason != "" {
		parts = append(parts, w.b.T("account.why_reason", "Reason", s.Reason))
	}
	return strings.Join(parts, " "), nil
}

// why is one way in which something is held.
func (w *words) why(y explain.Why) (string, error) {
	text, err := w.source(y.Source)
	if err != nil {
		return "", err
	}
	var path []string
	for _, n := range y.Path {
		if _, node := privilege.TypeOf(n); !node {
			path = append(path, w.label(n))
		}
	}
	if len(path) > 1 {
		text = w.b.T("account.why_through", "Path", strings.Join(path, " → ")) + " " + text
	}
	return text, nil
}

// lapsed says of a source that is not in force whether it is over or to come.
func (w *words) lapsed(text string, from, until time.Time) string {
	if now := w.a.store.Clock(); !until.IsZero() && !now.Before(until) {
		return w.b.T("admin.lapsed_over", "Source", text)
	}
	return w.b.T("admin.lapsed_coming", "Source", text, "Date", w.when(from))
}

// held is a list of what is held, with why.
func (w *words) held(lines []explain.Line) (out []templates.HeldLine, err error) {
	var givers []string
	for _, l := range lines {
		for _, y := range l.Why {
			if y.Source.GivenBy != "" {
				givers = append(givers, y.Source.GivenBy)
			}
		}
	}
	if err := w.meet(givers); err != nil {
		return nil, err
	}
	for _, l := range lines {
		if _, node := privilege.TypeOf(l.Privilege); node {
			continue
		}
		h := templates.HeldLine{PrivilegeName: w.name(l.Privilege)}
		for _, y := range l.Why {
			text, err := w.why(y)
			if err != nil {
				return nil, err
			}
			h.Why = append(h.Why, text)
		}
		out = append(out, h)
	}
	return out, nil
}
