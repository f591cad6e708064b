package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
)

func (a *app) auditCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "The log of changes"}
	return group(cmd, a.auditVerify())
}

func (a *app) auditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove that no entry was changed, removed or put in another place", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			n, broken, err := c.Store.VerifyAudit(ctx)
			if err != nil {
				return err
			}
			if a.json {
				if err := a.printJSON(map[string]any{"entries": n, "whole": broken == 0, "first_broken": broken}); err != nil {
					return err
				}
			}
			if broken != 0 {
				return fmt.Errorf("the audit log is broken at entry %d: it, or the one before it, was changed, removed or put in another place", broken)
			}
			if !a.json {
				a.printf("The audit log is whole: %d entries.\n", n)
			}
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
