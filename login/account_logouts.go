package login

import (
	"context"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// How far back, and how many, a person's page speaks of sign-outs that applications were told of.
const (
	logoutsShown = 24 * time.Hour
	logoutsMost  = 200
)

// logouts says which applications confirmed a person's sign-outs of the last day; nil = none was told anything. Each counts once, by the newest: who
// missed an older one heard of the person since.
func (l *Login) logouts(ctx context.Context, userID string) (*templates.Logouts, error) {
	list, err := l.store.LogoutsOf(ctx, userID, logoutsMost)
	if err != nil {
		return nil, err
	}
	var seen []string
	var out templates.Logouts
	for i := range list {
		m := &list[i]
		if l.now().Sub(m.CreatedAt.Time) > logoutsShown || slices.Contains(seen, m.Recipient) {
			continue
		}
		seen = append(seen, m.Recipient)
		app, err := l.app(ctx, m.Recipient)
		if err != nil {
			return nil, err
		}
		switch m.LogoutState() {
		case store.LogoutConfirmed:
			out.Confirmed++
		case store.LogoutWaiting:
			out.Waiting = append(out.Waiting, app.Name)
		default:
			out.Missed = append(out.Missed, app.Name)
		}
	}
	if len(seen) == 0 {
		return nil, nil
	}
	return &out, nil
}
