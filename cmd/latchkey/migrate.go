package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) migrateCmd() *cobra.Command {
	var status bool
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the database to this program's version",
		Long: `Bring the database to this program's version, under a lock, so that any number of processes may try at once.
latchkey serve does the same when it starts. Back the database up first.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			c, err := server.OpenForMigration(ctx, cfg, a.errOut)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			have, want, err := c.Store.SchemaVersion(ctx)
			if err != nil {
				return err
			}
			if have > want {
				return fmt.Errorf("%w: it has version %d and this program knows %d", store.ErrSchemaNewer, have, want)
			}
			if status {
				if a.json {
					return a.printJSON(map[string]any{"engine": c.Store.Engine(), "have": have, "want": want})
				}
				if have == want {
					a.printf("The database (%s) has version %d: nothing to do.\n", c.Store.Engine(), have)
				} else {
					a.printf("The database (%s) has version %d and this program needs %d: run latchkey migrate.\n", c.Store.Engine(), have, want)
				}
				return nil
			}
			if err := c.Store.Migrate(ctx); err != nil {
				return err
			}
			if have == want {
				a.printf("The database (%s) has version %d already; there was nothing to do.\n", c.Store.Engine(), have)
				return nil
			}
			a.printf("The database (%s) went from version %d to %d.\n", c.Store.Engine(), have, want)
			return nil
		},
	}
	cmd.Flags().BoolVar(&status, "status", false, "only say which version there is and which is needed")
	a.jsonFlag(cmd)
	return cmd
}
