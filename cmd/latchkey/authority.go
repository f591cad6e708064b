package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// authorityJSON is who may act for whom.
type authorityJSON struct {
	ID      string `json:"id"`
	Grantor string `json:"grantor"`             // whom somebody acts for
	Grantee string `json:"grantee,omitempty"`   // who acts; "" = nobody took the link yet
	Client  string `json:"client_id,omitempty"` // for this application alone
	Reason  string `json:"reason,omitempty"`
	Until   string `json:"until"`
}

func (a *app) userAuthorities() *cobra.Command {
	cmd := &cobra.Command{
		Use: "authorities USER", Short: "List who may act for somebody, and for whom they may", Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			given, err := c.Store.AuthoritiesGiven(ctx, u.ID)
			if err != nil {
				return err
			}
			taken, err := c.Store.AuthoritiesTaken(ctx, u.ID)
			if err != nil {
				return err
			}
			t := a.table("ID", "FOR", "ACTS", "CLIENT", "UNTIL", "REASON")
			for _, g := range append(given, taken...) {
				v := authorityJSON{g.ID, g.Grantor, g.Grantee, g.ClientID, g.Reason, rfc3339(g.Until.Time)}
				t.row(v, v.ID, v.Grantor, v.Grantee, v.Client, v.Until, v.Reason)
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) userEndAuthority() *cobra.Command {
	return &cobra.Command{
		Use: "end-authority ID", Short: "End that somebody may act for another; ends what came of it", Args: args("ID"),
		Long: `End that somebody may act for another. "latchkey user authorities USER" lists the authorities with their ids. Whoever acts by it is themselves
again at their next request, and the tokens are dead at once.`,
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			err := c.Store.EndAuthority(ctx, actor, args[0])
			if errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("there is no authority %q, or it has ended; latchkey user authorities USER lists them", args[0])
			}
			if err != nil {
				return err
			}
			a.printf("Ended.\n")
			return nil
		}),
	}
}
