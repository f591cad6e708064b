package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// console makes the RunE of a command that works with the database.
func (a *app) console(do func(ctx context.Context, c *server.Console, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		c, err := server.OpenConsole(cmd.Context(), cfg, a.errOut)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		err = do(cmd.Context(), c, args)
		if errors.Is(err, store.ErrConflict) {
			return errors.New("somebody else changed this at the same moment; look again, and repeat it if need be")
		}
		return err
	}
}
