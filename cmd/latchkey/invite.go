package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) inviteCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "invite", Short: "Invitations to make an account"}
	return group(cmd, a.inviteCreate(), a.inviteList(), a.inviteRevoke())
}

func (a *app) inviteCreate() *cobra.Command {
	var n server.NewInvites
	var days int
	cmd := &cobra.Command{
		Use: "create [ADDRESS ...]", Short: "Invite people by mail, or make a link to hand over",
		Long: `Invite people: each address gets a mail with a link that makes one account. Without an address the link is printed, to be handed over; it is
shown now and never again. What the operator sends needs nobody's approval; with --as it is approved as on the page.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			if n.Emails = args; len(args) > 100 {
				return usagef("at most 100 addresses at once")
			}
			if days < 0 || days > 30 {
				return usagef("--days must be 1 to 30")
			}
			n.Life = time.Duration(days) * 24 * time.Hour
			if n.Type != "" {
				kind, err := findType(ctx, c, n.Type)
				if err != nil {
					return err
				}
				if n.Type = kind.Value; slices.Contains(kind.Names, "user") {
					n.Type = ""
				}
			}
			list, err := c.Invite(ctx, by, n)
			if err != nil {
				return inviteError(err)
			}
			failed := 0
			for i := range list {
				if list[i].Error != "" {
					failed++
				}
			}
			if a.json {
				if err := a.printJSON(list); err != nil {
					return err
				}
			} else {
				for _, r := range list {
					switch {
					case r.Error != "":
						a.printf("%s: nothing was sent: %s\n", r.Email, strings.TrimPrefix(r.Error, "store: "))
					case r.Link != "":
						a.printf("Invited (%s). Whoever has this link can make one account until %s:\n%s\n", r.ID, rfc3339(r.ExpiresAt), r.Link)
					case r.State == store.InviteProposed:
						a.printf("%s: waits for approval (%s).\n", orDash(r.Email), r.ID)
					default:
						a.printf("%s: the mail is on its way (%s).\n", r.Email, r.ID)
					}
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d were not invited", failed, len(list))
			}
			return nil
		}),
	}
	a.asFlag(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&n.Privileges, "privilege", nil, "what the account is to hold; may be repeated")
	f.StringVar(&n.Type, "type", "", "user type, by value or name (default: the one named user)")
	f.StringVar(&n.Message, "message", "", "a line or two in the mail and on the page")
	f.StringVar(&n.Client, "client", "", "id of the application where the person goes on")
	f.StringVar(&n.Locale, "locale", "", "language of the mail, such as en or de")
	f.IntVar(&days, "days", 0, "how long the link is good (default: invites.lifetime)")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) inviteList() *cobra.Command {
	var limit int
	var after string
	cmd := &cobra.Command{
		Use: "list", Short: "List invitations, newest first", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			list, more, err := c.Invites(ctx, actor, after, limit)
			if err != nil {
				return err
			}
			t := a.table("ID", "E-MAIL", "STATE", "BRINGS", "BY", "MADE", "EXPIRES")
			for _, i := range list {
				t.row(i, i.ID, orDash(i.Email), i.State, orDash(strings.Join(i.Privileges, " ")), i.By, rfc3339(i.CreatedAt), rfc3339(i.ExpiresAt))
			}
			if err := t.print(); err != nil {
				return err
			}
			if more {
				fmt.Fprintf(a.errOut, "latchkey: note: there are more; --after %s shows them\n", list[len(list)-1].ID)
			}
			return nil
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many invitations at most")
	cmd.Flags().StringVar(&after, "after", "", "the id after which to go on")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) inviteRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Take an invitation back: its link is dead", Args: args("ID"),
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			i, err := c.Store.RevokeInvite(ctx, by, args[0])
			if err != nil {
				return inviteError(err)
			}
			a.printf("Taken back: %s.\n", i.ID)
			return nil
		}),
	}
	a.asFlag(cmd)
	return cmd
}

// inviteError says in plain words why nobody was invited.
func inviteError(err error) error {
	var field *store.FieldError
	switch {
	case errors.Is(err, server.ErrNoMail):
		return errors.New("no mail is sent here; without an address you get a link to hand over")
	case errors.Is(err, store.ErrNotFound):
		return errors.New("there is no such invitation; latchkey invite list shows them")
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
		return errors.New("that invitation is over already")
	case errors.Is(err, server.ErrCron):
		return errors.New("cron is for programs; nobody can be invited to it")
	case errors.As(err, &field):
		return fmt.Errorf("--%s: %s", strings.TrimSuffix(field.Field, "s"), field.Why)
	}
	return err
}
