package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) userPhone() *cobra.Command {
	var confirm, remove bool
	cmd := &cobra.Command{
		Use: "phone USER [NUMBER]", Short: "Set the number somebody signs in with, confirm it anew, or take it away",
		Long: `With NUMBER, in the form +4915123456789, set the number of a person: they are signed in by the first code that is sent to it.
With --confirm take your own word that the number is still theirs: for people who have no other way in, after login.phone.prove_again_after.
With --remove take it away.`,
		Args: func(_ *cobra.Command, list []string) error {
			want := 2
			if confirm || remove {
				want = 1
			}
			if len(list) != want || confirm && remove {
				return usagef("latchkey user phone needs USER and one of NUMBER, --confirm and --remove")
			}
			return nil
		},
		RunE: a.console(func(ctx context.Context, c *server.Console, list []string) error {
			u, err := findUser(ctx, c, list[0])
			if err != nil {
				return err
			}
			switch {
			case remove:
				if _, _, err := c.Store.SetPhone(ctx, actor, u.ID, ""); err != nil {
					return err
				}
				a.printf("%s has no number any more.\n", u.ID)
			case confirm:
				err := c.Store.Tx(ctx, func(ctx context.Context) error {
					if err := c.Store.ProvePhone(ctx, u.ID, u.Phone); err != nil {
						return err
					}
					return c.Store.Audit(ctx, actor, "user.confirm_phone", "user:"+u.ID, nil)
				})
				if errors.Is(err, store.ErrConflict) {
					return fmt.Errorf("%s has no number", list[0])
				}
				if err != nil {
					return err
				}
				a.printf("The number of %s counts as confirmed today.\n", u.ID)
			default:
				err := c.Store.Tx(ctx, func(ctx context.Context) error {
					if u.Phone != "" { // with what hangs on it
						if _, _, err := c.Store.SetPhone(ctx, actor, u.ID, ""); err != nil {
							return err
						}
						if u, err = c.Store.User(ctx, u.ID); err != nil {
							return err
						}
					}
					u.Phone, u.PhoneVerifiedAt = list[1], store.Time{}
					if err := c.Store.UpdateUser(ctx, u); err != nil {
						return err
					}
					return c.Store.Audit(ctx, actor, "user.set_phone", "user:"+u.ID, nil)
				})
				if err != nil {
					return fieldProblem(err)
				}
				a.printf("%s has the number %s, and confirms it with the first code.\n", u.ID, u.Phone)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "the number is still theirs")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the number away")
	return cmd
}
