package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) userSetType() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-type USER TYPE", Short: "Give an account another user type, by value or name", Args: args("USER", "TYPE"),
		Long: `Give an account another user type, by value or name. Everybody has one; "latchkey privilege types" lists them. What the type before it brought goes,
what was given besides stays.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			t, err := findType(ctx, c, args[1])
			if err != nil {
				return err
			}
			if u.UserType == t.Value {
				a.printf("%s is of type %s already.\n", u.Name(), typeName(t))
				return nil
			}
			switch err := c.Store.SetUserType(ctx, by, u.ID, t.Value); {
			case errors.Is(err, store.ErrLastAdmin):
				return lastAdmin(u)
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("%s is erased", u.ID)
			case err != nil:
				return err
			}
			a.printf("%s is now of type %s.\n", u.Name(), typeName(t))
			return nil
		}),
	}
	a.asFlag(cmd)
	return cmd
}

func lastAdmin(u *store.User) error {
	return fmt.Errorf("%s is the last administrator who can sign in; make another one first", u.Name())
}

func findType(ctx context.Context, c *server.Console, which string) (*store.UserType, error) {
	t, err := c.FindType(ctx, which)
	if errors.Is(err, rights.ErrNoType) {
		return nil, fmt.Errorf("there is no user type %q that a person can have; latchkey privilege types shows what there is", which)
	}
	return t, err
}

func typeName(t *store.UserType) string { return fmt.Sprintf("%s %s (%s)", t.Value, t.Name(), t.Text) }

func typeText(v userJSON) string {
	switch {
	case v.TypeName == "":
		return v.UserType + " (not defined any more: no rights)"
	case v.ReadOnly:
		return v.UserType + " " + v.TypeName + ", changes nothing"
	}
	return v.UserType + " " + v.TypeName
}

func (a *app) userRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke USER PRIVILEGE...", Short: "Take privileges away", Args: args("USER", "PRIVILEGE..."),
		Long: `Take away privileges that people gave. What a connector's rules give goes with what the provider says of the person, what a user type brings with the
type, and what another privilege includes with that one.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			err = c.Store.Tx(ctx, func(ctx context.Context) error {
				for _, p := range args[1:] {
					var bound *store.BoundError
					switch err := c.Store.Unassign(ctx, by, u.ID, p); {
					case errors.Is(err, store.ErrLastAdmin):
						return lastAdmin(u)
					case errors.As(err, &bound), errors.Is(err, store.ErrNotFound):
						return heldOtherwise(ctx, c, u, p)
					case err != nil:
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			held, err := c.Explain(ctx, u.ID, time.Time{})
			if err != nil {
				return err
			}
			var gone []string
			for _, p := range args[1:] {
				if l, still := held.Line(p); still {
					a.printf("%s was taken away, but %s still holds it:\n", p, u.Name())
					for _, w := range l.Why {
						a.printf("  %s\n", whyText(ctx, c, w))
					}
					continue
				}
				gone = append(gone, p)
			}
			if len(gone) > 0 {
				a.printf("%s no longer holds %s.\n", u.Name(), strings.Join(gone, ", "))
			}
			return nil
		}),
	}
	a.asFlag(cmd)
	return cmd
}

// heldOtherwise says why a privilege cannot be taken away by itself: nobody gave it, but something else brings it; or it is not held at all.
func heldOtherwise(ctx context.Context, c *server.Console, u *store.User, name string) error {
	p, err := c.Explain(ctx, u.ID, time.Time{})
	if err != nil {
		return err
	}
	l, held := p.Line(name)
	if !held {
		return fmt.Errorf("%s does not hold %s", u.Name(), name)
	}
	var lines []string
	for _, w := range l.Why {
		lines = append(lines, "  "+whyText(ctx, c, w)+"; "+wayOut(u, w))
	}
	return fmt.Errorf("nobody gave %s to %s, so it cannot be taken away by itself:\n%s", name, u.Name(), strings.Join(lines, "\n"))
}

// wayOut is what ends one way of holding a privilege.
func wayOut(u *store.User, w explain.Why) string {
	switch w.Source.Kind {
	case "default":
		return "it goes when something else is given"
	case store.SourceType:
		return "it goes with the type: latchkey user set-type " + u.ID + " TYPE"
	case store.SourceConnector:
		return "it goes when the provider no longer says what the rule asks for, or with the rule in the configuration (connectors, " + w.Source.Ref + ", privileges)"
	}
	return fmt.Sprintf("it goes with %s: latchkey user revoke %s %s", w.Path[0], u.ID, w.Path[0])
}
