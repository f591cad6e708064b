package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// asFlag lets a command make its change as somebody: with what they may do and in their name, instead of as the operator, whom nothing binds.
func (a *app) asFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.as, "as", "", "make the change as this person: no more than they may do, and in their name")
}

// consoleAs is console for a command with --as. by is who makes the change.
func (a *app) consoleAs(do func(ctx context.Context, c *server.Console, by string, args []string) error) func(*cobra.Command, []string) error {
	return a.console(func(ctx context.Context, c *server.Console, args []string) error {
		by := actor
		if a.as != "" {
			u, err := findUser(ctx, c, a.as)
			if err != nil {
				return err
			}
			by = u.ID
		}
		err := do(ctx, c, by, args)
		if why := a.refused(err); why != nil {
			return why
		}
		return err
	})
}

// refused says why the person under --as may not do it, nil when that is not what an error says.
func (a *app) refused(err error) error {
	if a.as == "" {
		return nil
	}
	why := map[string]string{
		"self":      "nobody changes what they may do themselves",
		"protected": "somebody this touches holds more than they do",
		"not_yours": "they do not hold all of it themselves",
		"outside":   "the rules of delegation do not let them",
		"temporary": "they hold it only for a while themselves",
		"power":     "they may not make such changes",
	}[rights.Refusal(err)]
	if why == "" {
		return nil
	}
	return fmt.Errorf("not as %s: %s", a.as, why)
}
