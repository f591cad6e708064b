package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
)

// idleJSON is what idle prints with --json; it changes only by additions.
type idleJSON struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	LastLogin string `json:"last_login_at,omitempty"`
	LastUse   string `json:"last_use_at"`
	Warned    string `json:"warned_at,omitempty"`
	Step      string `json:"step"`          // keep warn wait remove
	Why       string `json:"why,omitempty"` // of keep and wait
	Due       string `json:"due_at,omitempty"`
	Done      bool   `json:"done"` // by this run
}

func (a *app) userIdle() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "idle [--dry-run]", Short: "Warn and remove people whose accounts nobody uses, and say why others stay",
		Long: `Go through the accounts that nobody used for as long as accounts.idle of the configuration says, and do what the server does every hour: warn
people by mail, and remove those who were warned in time, at most 500 of each. Removal cannot be undone. The mail leaves through the server.
With --dry-run nothing is written.`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			list, err := c.Idle(ctx, actor, dry)
			if errors.Is(err, server.ErrIdleOff) {
				return err
			}
			t := a.table("ID", "NAME", "E-MAIL", "LAST USE", "STEP", "WHY", "DUE")
			warned, removed := 0, 0
			for _, i := range list {
				v := idleJSON{i.User.ID, i.User.Name(), i.User.Email, rfc3339(i.Use.LastLoginAt.Time), rfc3339(i.Use.Last().Time), rfc3339(i.Use.WarnedAt.Time),
					string(i.Step), i.Why, rfc3339(i.Due), i.Done}
				t.row(v, v.ID, v.Name, v.Email, v.LastUse, v.Step, v.Why, v.Due)
				switch {
				case i.Step == server.IdleWarn && (i.Done || dry && !i.Pending):
					warned++
				case i.Step == server.IdleRemove && (i.Done || dry && !i.Pending):
					removed++
				}
			}
			if perr := t.print(); perr != nil || err != nil { // what was done is told, also when the rest failed
				return errors.Join(err, perr)
			}
			if !a.json {
				if dry {
					a.printf("%d would be warned, %d removed. Nothing was written.\n", warned, removed)
				} else {
					a.printf("%d warned, %d removed.\n", warned, removed)
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	a.jsonFlag(cmd)
	return cmd
}
