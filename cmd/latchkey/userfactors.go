package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) userResetFactors() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "reset-factors USER --reason TEXT", Short: "Take the second factors of somebody who lost them",
		Long: `Remove all second factors and recovery codes of a person, and end their sessions and tokens. They are told by mail, which leaves through the server.
Where a second factor is required they add one at their next sign-in: make sure that it is them who ask.`,
		Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			n, err := c.ResetFactors(ctx, actor, u.ID, reason)
			var field *store.FieldError
			switch {
			case errors.As(err, &field):
				return errors.New("--reason must say why, in one line of at most 200 characters")
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("%s has no second factor", u.Name())
			case errors.Is(err, store.ErrLastAdmin):
				return fmt.Errorf("%s is the last administrator and signs in with a passkey; give them a password first (latchkey user passwd)", u.Name())
			case err != nil:
				return err
			}
			a.printf("%s has no second factor any more (%d removed), and is signed out everywhere.\n", u.Name(), n)
			if ways, err := c.Store.WaysIn(ctx, u.ID, c.WaysIn()); err != nil {
				return err
			} else if ways == 0 {
				a.printf("They have no way to sign in now: give them a password (latchkey user passwd).\n")
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log (required)")
	return cmd
}

func (a *app) userEnrolmentCode() *cobra.Command {
	return &cobra.Command{
		Use: "enrolment-code USER", Short: "Make the code with which an administrator adds a first second factor",
		Long: `Make a code that is good for a day and once. Where mfa.administrator_code is required, somebody with power over other people's accounts is asked for it
when they add their first second factor. Give it to them in a way that others do not read: not by mail.`,
		Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			code, until, err := c.EnrolmentCode(ctx, actor, u.ID)
			if err != nil {
				return err
			}
			a.pairs("Enrolment code", code, "Good until", rfc3339(until))
			return nil
		}),
	}
}
