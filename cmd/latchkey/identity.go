package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// identityJSON is a way into an account through a connector, with what the link rests on.
type identityJSON struct {
	ID         string   `json:"id"`
	Connector  string   `json:"connector"`
	Issuer     string   `json:"issuer"`
	Subject    string   `json:"subject"`
	Email      string   `json:"email,omitempty"` // as the provider says
	EmailTrust string   `json:"email_trust"`
	Evidence   []string `json:"evidence"`
	State      string   `json:"state"` // open, quarantined (it opens nothing), off (its connector is not in the configuration)
	Created    string   `json:"created_at"`
	LastUsed   string   `json:"last_used_at,omitempty"`
}

func identityViews(links []store.Identity, connectors []string) (list []identityJSON) {
	on := map[string]bool{}
	for _, id := range connectors {
		on[id] = true
	}
	for _, l := range links {
		v := identityJSON{l.ID, l.Connector, l.Issuer, l.Subject, l.Email, l.EmailTrust, l.Evidence, "open", rfc3339(l.CreatedAt.Time), rfc3339(l.LastUsedAt.Time)}
		switch {
		case !l.QuarantinedAt.IsZero():
			v.State = "quarantined"
		case !on[l.Connector]:
			v.State = "off"
		}
		list = append(list, v)
	}
	return list
}

func (a *app) printIdentities(list []identityJSON) {
	for _, v := range list {
		email := ""
		if v.Email != "" {
			email = fmt.Sprintf(" as %s (%s)", v.Email, v.EmailTrust)
		}
		a.printf("  %-16s %s%s, since %s, because of %s, %s; link %s\n", v.Connector, v.Subject, email, v.Created, strings.Join(v.Evidence, " "), v.State, v.ID)
	}
}

func (a *app) userUnlink() *cobra.Command {
	return &cobra.Command{
		Use: "unlink USER LINK", Short: "Take a provider's account away from somebody's; ends what came through it",
		Long: `Take a provider's account away from somebody's. "latchkey user show USER" lists the links with their ids. The last way in stays: give the
account a password first, or disable it.`,
		Args: args("USER", "LINK"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			gone, err := c.Store.UnlinkIdentity(ctx, actor, u.ID, args[1], "", c.WaysIn())
			switch {
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("%s has no link %q; latchkey user show lists them", u.Name(), args[1])
			case errors.Is(err, store.ErrLastWayIn):
				return fmt.Errorf("it is the last way in that %s has; give the account a password first, or disable it", u.Name())
			case err != nil:
				return err
			}
			a.printf("%s can no longer sign in with %s at %s.\n", u.Name(), gone.Subject, gone.Connector)
			return nil
		}),
	}
}

func (a *app) userErase() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use: "erase USER --yes", Short: "Delete everything personal of an account for good; its id stays taken",
		Long: `Delete everything personal of an account for good: profile, address, password, connections, consents and privileges; its sessions and tokens end.
What stays is its id, so that nobody else ever gets it, and what the audit log says. Address and username are free again. A provider's request to
delete somebody's data that waits for this is done with it.`,
		Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			if !sure {
				return usagef("this cannot be undone; say --yes to erase %s (%s)", u.Name(), u.ID)
			}
			switch err := c.Store.EraseUser(ctx, actor, u.ID); {
			case errors.Is(err, store.ErrLastAdmin):
				return fmt.Errorf("%s is the last administrator who can sign in; make another one first", u.Name())
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("%s is erased already", u.ID)
			case err != nil:
				return err
			}
			a.printf("%s is erased.\n", u.ID)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "it cannot be undone, and you mean it")
	return cmd
}
