package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// logoutJSON is what logouts prints with --json; it changes only by additions.
type logoutJSON struct {
	ClientID string `json:"client_id"`
	Ended    string `json:"ended_at"`
	State    string `json:"state"` // confirmed waiting given_up
	At       string `json:"at,omitempty"`
	Tries    int64  `json:"tries"`
	Why      string `json:"why,omitempty"`
}

func (a *app) userLogouts() *cobra.Command {
	cmd := &cobra.Command{
		Use: "logouts USER", Short: "Show which applications confirmed that somebody signed out", Args: args("USER"),
		Long: "Show which applications were told of somebody's ended sign-ins by back-channel logout, newest first, and whether they took it.",
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			list, err := c.Store.LogoutsOf(ctx, u.ID, 100)
			if err != nil {
				return err
			}
			t, confirmed := a.table("CLIENT ID", "ENDED", "STATE", "AT", "TRIES", "WHY"), 0
			for i := range list {
				m := &list[i]
				v := logoutJSON{ClientID: m.Recipient, Ended: rfc3339(m.CreatedAt.Time), State: m.LogoutState(), Tries: m.Attempts, Why: m.LastError}
				switch v.State {
				case store.LogoutConfirmed:
					confirmed++
					v.At = rfc3339(m.SentAt.Time)
				case store.LogoutGivenUp:
					v.At = rfc3339(m.FailedAt.Time)
				default:
					v.At = rfc3339(m.NextAt.Time)
				}
				t.row(v, v.ClientID, v.Ended, v.State, v.At, strconv.FormatInt(v.Tries, 10), v.Why)
			}
			if err := t.print(); err != nil || a.json {
				return err
			}
			a.printf("%d of %d applications confirmed.\n", confirmed, len(list))
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
