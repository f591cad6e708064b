package admin

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// words puts explanations into the reader's language.
type words struct {
	explain.Words
	a      *Admin
	ctx    context.Context // of the page
	b      *templates.Base
	reader *store.User
}

func (a *Admin) words(ctx context.Context, b *templates.Base) (*words, error) {
	labels, err := a.store.LabelsIn(ctx, b.Lang)
	if err != nil {
		return nil, err
	}
	w := &words{a: a, ctx: ctx, b: b, reader: actor(ctx)}
	w.Words = explain.Words{Text: b.T, When: w.when, Labels: labels, Connector: a.c.Label, Names: map[string]string{}, Person: func(id string) (string, error) {
		err := w.meet([]string{id})
		return w.Names[id], err
	}}
	return w, nil
}

func (w *words) when(t time.Time) string { return w.b.When(t.In(w.reader.Location())) }

func (w *words) name(name string) templates.PrivilegeName {
	return templates.PrivilegeName{Name: name, Label: w.Labels[name]}
}

// meet reads at once who gave what is to be explained, where they are not known yet.
func (w *words) meet(givers []string) error {
	var people []string
	for _, by := range givers {
		if _, known := w.Names[by]; !known && explain.IsPerson(by) {
			w.Names[by] = ""
			people = append(people, by)
		}
	}
	if len(people) == 0 {
		return nil
	}
	list, err := w.a.store.UsersByID(w.ctx, people)
	for i := range list {
		if u := &list[i]; u.DeletedAt.IsZero() {
			w.Names[u.ID] = nameOf(u)
		}
	}
	return err
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
			text, err := w.Why(y)
			if err != nil {
				return nil, err
			}
			h.Why = append(h.Why, text)
		}
		out = append(out, h)
	}
	return out, nil
}
