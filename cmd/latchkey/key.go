package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
)

func (a *app) keyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Keys that sign and seal tokens"}
	return group(cmd, a.keyList(), a.keyRotate(), a.keyRetire(), a.keyReseal())
}

func (a *app) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the keys and what each does now", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			keys, err := c.Keys(ctx)
			if err != nil {
				return err
			}
			t := a.table("KEY ID", "ALGORITHM", "STATE", "SIGNS FROM", "UNTIL", "VERIFIES UNTIL", "MASTER KEY")
			for _, k := range keys.List() {
				v := keyView{k.KID, k.Alg, server.KeyState(k, c.Now()), rfc3339(k.PublishAt.Time), rfc3339(k.ActiveAt.Time), rfc3339(k.RetireAt.Time), rfc3339(k.DeleteAt.Time), k.MasterKID}
				t.row(v, v.KID, v.Alg, v.State, v.ActiveAt, v.RetireAt, v.DeleteAt, v.MasterKID)
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

type keyView struct {
	KID       string `json:"kid"`
	Alg       string `json:"alg"`
	State     string `json:"state"` // planned next active retired
	PublishAt string `json:"publish_at"`
	ActiveAt  string `json:"active_at"`
	RetireAt  string `json:"retire_at"`
	DeleteAt  string `json:"delete_at"`
	MasterKID string `json:"master_kid"`
}

func (a *app) keyRotate() *cobra.Command {
	var alg string
	var now bool
	cmd := &cobra.Command{
		Use: "rotate", Short: "Make the next keys; they sign once every client can know them",
		Long: `Make the next key of every algorithm, or of one with --alg. It is published at once and signs a day later, so that applications
which keep the published keys for a while never meet an unknown one. The keys before verify until their last token has ended.

--now makes the new keys sign at once. Use it when a key has leaked, together with "latchkey key retire".`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			keys, err := c.Keys(ctx)
			if err != nil {
				return err
			}
			kids, err := keys.Rotate(ctx, actor, alg, now)
			if errors.Is(err, server.ErrNextKeyWaits) {
				return errors.New("the next keys are published already and sign in less than a day; latchkey key list shows when. In an emergency use --now")
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"kids": kids})
			}
			when := "They are published now and sign in a day."
			if now {
				when = "They sign from now on. Running servers follow within seconds."
			}
			a.printf("Made %d new keys: %s. %s\n", len(kids), strings.Join(kids, ", "), when)
			return nil
		}),
	}
	cmd.Flags().StringVar(&alg, "alg", "", "only this algorithm: RS256, ES256, EdDSA, PS256")
	cmd.Flags().BoolVar(&now, "now", false, "let them sign at once: for emergencies")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) keyRetire() *cobra.Command {
	return &cobra.Command{
		Use: "retire KEY", Short: "Take a leaked key out of use at once: what it signed is no longer accepted", Args: args("KEY"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			keys, err := c.Keys(ctx)
			if err != nil {
				return err
			}
			err = keys.Retire(ctx, actor, args[0])
			if errors.Is(err, server.ErrNoSuchKey) {
				return fmt.Errorf("there is no key %q; latchkey key list shows them", args[0])
			}
			if err != nil {
				return err
			}
			a.printf("%s neither signs nor verifies any more. Running servers follow within seconds.\n", args[0])
			return nil
		}),
	}
}

func (a *app) keyReseal() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reseal", Short: "Seal what the database holds under the newest master key",
		Long: `Seal what the database holds under the newest master key. To change the master key:

  1. put the new key in front of the old one in secrets, and restart every server, one after the other;
  2. run latchkey key reseal;
  3. take the old key out once the command says that no password needs it: passwords move over as their owners sign in.`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			keys, err := c.Keys(ctx)
			if err != nil {
				return err
			}
			n, err := keys.Reseal(ctx, actor)
			if err != nil {
				return err
			}
			old, err := c.OldPeppers(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"sealed": n, "passwords_under_older_keys": old})
			}
			a.printf("Sealed %d keys and secrets anew under the newest master key.\n", n)
			if old > 0 {
				a.printf("%d passwords still need an older master key, until their owners sign in: keep it configured.\n", old)
			} else {
				a.printf("No password needs an older master key: it can be taken out.\n")
			}
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
