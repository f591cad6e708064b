package login

import (
	"context"
	"errors"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// privilegeLines lists what a person may do now, each with why: the assignment it comes from and the privileges in between.
func (l *Login) privilegeLines(ctx context.Context, b *templates.Base, u *store.User) ([]templates.PrivilegeLine, error) {
	graph, err := l.store.Definitions(ctx)
	if err != nil {
		return nil, err
	}
	assignments, err := l.store.Assignments(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	labels, err := l.labels(ctx, b.Lang)
	if err != nil {
		return nil, err
	}
	givers := map[string]string{u.ID: u.Name()}
	var holdings []privilege.Holding
	var sources []privilege.Source
	for _, a := range assignments {
		if !a.EndedAt.IsZero() {
			continue
		}
		h := privilege.Holding{Privilege: a.Privilege, From: a.From.Time, Until: a.Until.Time}
		text, err := l.sourceText(ctx, b, u, a, givers, labels)
		if err != nil {
			return nil, err
		}
		holdings = append(holdings, h)
		sources = append(sources, privilege.Source{Holding: h, ID: a.ID, Text: text})
	}
	var lines []templates.PrivilegeLine
	for _, name := range graph.Effective(holdings, l.now()) {
		lines = append(lines, templates.PrivilegeLine{
			Name: name, Label: labelOf(labels, name), Why: whyText(b, labels, graph.Explain(sources, l.now(), name)),
		})
	}
	return lines, nil
}

// labels are the names of privileges and user types for people, in their language.
func (l *Login) labels(ctx context.Context, lang string) (map[string]string, error) {
	all, err := l.store.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	labels := make(map[string]string, len(all))
	for _, p := range all {
		labels[p.Name], _ = p.In(lang)
	}
	m, err := l.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	for i := range m.Types {
		labels[privilege.TypeNode(m.Types[i].Value)] = m.Types[i].In(lang)
	}
	return labels, nil
}

func labelOf(labels map[string]string, name string) string {
	if label := labels[name]; label != "" {
		return label
	}
	return name
}

// sourceText tells who gave an assignment, when, until when and what for, in whole sentences. givers remembers names.
func (l *Login) sourceText(ctx context.Context, b *templates.Base, u *store.User, a store.Assignment, givers, labels map[string]string) (string, error) {
	if a.Source == store.SourceType {
		return b.T("account.why_type", "Type", labelOf(labels, a.Privilege)), nil
	}
	giver, known := givers[a.GivenBy]
	if !known {
		switch a.GivenBy {
		case "cli", "setup", "system":
			giver = b.T("account.giver_" + a.GivenBy)
		default:
			if connector, ok := strings.CutPrefix(a.GivenBy, store.ConnectorActor("")); ok {
				giver = b.T("account.giver_connector", "Provider", l.Label(connector))
				break
			}
			switch by, err := l.store.User(ctx, a.GivenBy); {
			case err == nil && by.Name() != "":
				giver = by.Name()
			case err == nil || errors.Is(err, store.ErrNotFound):
				giver = b.T("account.giver_unknown")
			default:
				return "", err
			}
		}
		givers[a.GivenBy] = giver
	}
	parts := []string{b.T("account.why_given", "Giver", giver, "Date", when(b, u, a.CreatedAt))}
	if !a.Until.IsZero() {
		parts = append(parts, b.T("account.why_until", "Date", when(b, u, a.Until)))
	}
	if a.Reason != "" {
		parts = append(parts, b.T("account.why_reason", "Reason", a.Reason))
	}
	return strings.Join(parts, " "), nil
}

// whyText puts the derivations of one privilege into words.
func whyText(b *templates.Base, labels map[string]string, ds []privilege.Derivation) string {
	var parts []string
	for _, d := range ds {
		text := d.Source.Text
		if d.Default {
			text = b.T("account.why_default")
		}
		if !d.Direct() {
			var path []string
			for _, name := range d.Path {
				if _, node := privilege.TypeOf(name); !node { // the sentence after it names the type
					path = append(path, labelOf(labels, name))
				}
			}
			if len(path) < 2 {
				parts = append(parts, text)
				continue
			}
			text = b.T("account.why_through", "Path", strings.Join(path, " → ")) + " " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}
