package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) privilegeRequests() *cobra.Command {
	var limit int
	var after string
	cmd := &cobra.Command{
		Use: "requests", Short: "List who asks for a privilege, oldest first", Args: args(),
		Long: `List the open requests for privileges, oldest first. What people may ask for is "requestable" in the configuration file, or
"latchkey privilege describe NAME --requestable". The list is a page at a time: --after the last id shows the next one.`,
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			list, more, err := c.Requests(ctx, actor, after, limit)
			if err != nil {
				return err
			}
			t := a.table("ID", "PRIVILEGE", "NAME", "E-MAIL", "ASKED", "ENDS", "REASON")
			for _, r := range list {
				t.row(r, r.ID, r.Privilege, orDash(r.Name), orDash(r.Email), rfc3339(r.CreatedAt), rfc3339(r.ExpiresAt), orDash(r.Reason))
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
	cmd.Flags().IntVar(&limit, "limit", 100, "how many requests at most")
	cmd.Flags().StringVar(&after, "after", "", "the id after which to go on")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) privilegeDecide() *cobra.Command {
	var approve, refuse bool
	var note, end string
	cmd := &cobra.Command{
		Use: "decide ID", Short: "Approve or refuse a request for a privilege", Args: args("ID"),
		Long: `Approve or refuse a request for a privilege, by the id that "latchkey privilege requests" shows. The person reads the note, and hears of the
decision by mail where mail is set up.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			if approve == refuse {
				return usagef("say one of --approve and --refuse")
			}
			if refuse && end != "" {
				return usagef("--until is for --approve")
			}
			until, err := parseTime("--until", end)
			if err != nil {
				return err
			}
			r, err := c.DecideRequest(ctx, by, args[0], store.Decision{Approve: approve, Note: note, Until: until})
			if err != nil {
				return requestError(err, args[0])
			}
			if approve {
				a.printf("Approved: %s holds %s%s.\n", r.UserID, r.Privilege, untilText(r.Until))
			} else {
				a.printf("Refused: %s does not get %s.\n", r.UserID, r.Privilege)
			}
			return nil
		}),
	}
	a.asFlag(cmd)
	f := cmd.Flags()
	f.BoolVar(&approve, "approve", false, "give the privilege")
	f.BoolVar(&refuse, "refuse", false, "do not give it")
	f.StringVar(&note, "note", "", "what the person reads about it")
	f.StringVar(&end, "until", "", "when what is given ends, as 2026-12-31 or 2026-12-31T18:00:00Z")
	return cmd
}

func untilText(t store.Time) string { return until(rfc3339(t.Time)) }

// requestError says in plain words why a request was not decided.
func requestError(err error, id string) error {
	var field *store.FieldError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no request %q; latchkey privilege requests shows the open ones", id)
	case errors.Is(err, store.ErrUsed):
		return errors.New("the request was decided, taken back or closed already")
	case errors.Is(err, store.ErrExpired):
		return errors.New("the request ran out; the person may ask again")
	case errors.As(err, &field) && field.Field == "note":
		return fmt.Errorf("the note has more than %d characters", store.MaxRequestText)
	case errors.As(err, &field) && field.Field == "until":
		return errors.New("--until: " + field.Why)
	}
	return err
}
