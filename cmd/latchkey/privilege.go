package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) privilegeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "privilege", Short: "Privileges, user types and permissions"}
	return group(cmd, a.privilegeList(), a.privilegeShow(), a.privilegeHolders(), a.privilegeAdd(), a.privilegeDescribe(), a.privilegeInclude(),
		a.privilegeExclude(), a.privilegeRemove(), a.privilegePermissions(), a.privilegeTypes(), a.privilegeOverview(),
		a.privilegeRequests(), a.privilegeDecide())
}

func (a *app) privilegeList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the privileges", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			list, err := c.Privileges(ctx)
			if err != nil {
				return err
			}
			t := a.table("NAME", "LABEL", "SOURCE", "GIVEN TO", "INCLUDES")
			for _, p := range list {
				t.row(p, p.Name, p.Label, p.Source, strconv.FormatInt(p.Holders, 10), strings.Join(p.Includes, " "))
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) privilegeShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one privilege: what it brings, what refers to it, who has it", Args: args("NAME"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			p, err := c.Privilege(ctx, args[0])
			if err != nil {
				return a.privilegeError(err, args[0])
			}
			if a.json {
				return a.printJSON(p)
			}
			rest := slices.DeleteFunc(slices.Clone(p.Closure), func(n string) bool { return n == p.Name || slices.Contains(p.Includes, n) })
			inherited := slices.DeleteFunc(slices.Clone(p.Permissions), func(n string) bool { return slices.Contains(p.Own, n) })
			delegations := ""
			if p.Delegations > 0 {
				delegations = strconv.Itoa(p.Delegations)
			}
			a.pairs("Name", p.Name, "Label", p.Label, "Description", p.Description, "Source", p.Source, "Client", p.ClientID, "May be asked for", yes(p.Requestable),
				"Includes", strings.Join(p.Includes, " "), "and with those", strings.Join(rest, " "), "Included by", strings.Join(p.IncludedBy, " "),
				"Permissions", strings.Join(p.Own, " "), "and by what it includes", strings.Join(inherited, " "),
				"User types", strings.Join(p.UserTypes, " "), "Required by clients", strings.Join(p.Required, " "), "Named as visible by clients", strings.Join(p.Visible, " "),
				"Rules of delegation", delegations,
				"Given to", people(p.Holders), "Held in effect by", people(p.InEffect))
			for _, lang := range slices.Sorted(maps.Keys(p.Texts)) {
				a.printf("  %-8s %s\n", lang, printable(strings.Trim(p.Texts[lang].Label+": "+p.Texts[lang].Description, ": ")))
			}
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// yes is "yes", or "" for what need not be said.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func people(n int64) string {
	if n == 1 {
		return "1 person"
	}
	return fmt.Sprintf("%d people", n)
}

// holderView is what holders prints with --json.
type holderView struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	State    string   `json:"state"`
	By       []string `json:"by,omitempty"`        // what was given: the privilege itself, or what includes it
	UserType string   `json:"user_type,omitempty"` // whose privilege is it, or includes it
}

func (a *app) privilegeHolders() *cobra.Command {
	var limit int
	var after string
	cmd := &cobra.Command{
		Use: "holders NAME", Short: "List who has a privilege now, inherited included", Args: args("NAME"),
		Long: `List who has a privilege now: who was given it, and who was given something that includes it.
The list is in the order of ids, a page at a time: --after the last id shows the next one.`,
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			list, more, err := c.Holders(ctx, args[0], after, limit)
			if err != nil {
				return a.privilegeError(err, args[0])
			}
			m, err := c.Store.Model(ctx)
			if err != nil {
				return err
			}
			t := a.table("ID", "NAME", "E-MAIL", "STATE", "BY")
			for _, h := range list {
				u := userView(&h.User, nil, m, c.Now())
				v := holderView{u.ID, u.Name, u.Email, u.State, h.By, h.Type}
				by := slices.Clone(h.By)
				if h.Type != "" {
					by = append(by, "user type "+h.Type)
				}
				t.row(v, v.ID, v.Name, v.Email, v.State, strings.Join(by, ", "))
			}
			if err := t.print(); err != nil {
				return err
			}
			if more {
				fmt.Fprintf(a.errOut, "latchkey: note: there are more; --after %s shows them\n", list[len(list)-1].User.ID)
			}
			return nil
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many people at most")
	cmd.Flags().StringVar(&after, "after", "", "the id after which to go on")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) privilegePermissions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "permissions", Short: "List what Latchkey lets people do, and which privileges bring it", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			list, err := c.Permissions(ctx)
			if err != nil {
				return err
			}
			t := a.table("PERMISSION", "WHAT IT ALLOWS", "PRIVILEGES")
			for _, p := range list {
				text := p.Text
				if len(p.Implies) > 0 {
					text += " Brings " + strings.Join(p.Implies, ", ") + "."
				}
				if len(p.Needs) > 0 {
					text += " Needs " + strings.Join(p.Needs, ", ") + "."
				}
				by := strings.Join(p.Privileges, " ")
				if len(p.Through) > 0 {
					by += " (and " + strings.Join(p.Through, " ") + ")"
				}
				t.row(p, p.Name, text, by)
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) privilegeTypes() *cobra.Command {
	cmd := &cobra.Command{
		Use: "types", Short: "List the user types", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			list, err := c.UserTypes(ctx)
			if err != nil {
				return err
			}
			t := a.table("VALUE", "NAMES", "TEXT", "PRIVILEGE", "MAY CHANGE", "SOURCE", "PEOPLE")
			for _, u := range list {
				change := "yes"
				if u.ReadOnly {
					change = "no"
				}
				t.row(u, u.Value, strings.Join(u.Names, " "), u.Text, u.Privilege, change, u.Source, strconv.FormatInt(u.People, 10))
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) privilegeOverview() *cobra.Command {
	cmd := &cobra.Command{
		Use: "overview", Short: "Show what each user type brings, and what each privilege lets people do", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			o, err := c.Overview(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(o)
			}
			a.printf("Privileges by user type: ✓ is the type's, + comes with it\n\n")
			a.ticks("PRIVILEGE", &o.Types)
			a.printf("\nPermissions by privilege: ✓ is the privilege's, + comes with what it includes; admin has them all\n\n")
			a.ticks("PERMISSION", &o.Permissions)
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// ticks prints a table of marks. What stands in a column is short, so spaces at the ends of lines are all there is to trim.
func (a *app) ticks(head string, t *rights.Table) {
	var rows [][]string
	rows = append(rows, append([]string{head}, t.Columns...))
	for _, r := range t.Rows {
		cells := []string{r}
		for _, c := range t.Columns {
			cells = append(cells, map[string]string{rights.MarkItself: "✓", rights.MarkThrough: "+"}[t.Marks[r][c]])
		}
		rows = append(rows, cells)
	}
	for _, line := range aligned(rows) {
		a.printf("%s\n", line)
	}
}

// privilegeError says in plain words what stands in the way of a change of a privilege.
func (a *app) privilegeError(err error, name string) error {
	var used *rights.InUse
	var stored *store.InUse
	var field *store.FieldError
	switch why := a.refused(err); {
	case err == nil:
		return nil
	case why != nil:
		return why
	case errors.As(err, &used):
		return fmt.Errorf("%s is in use, and what it is used for must not change its meaning by the way; first change these: %s", name, used.Text)
	case errors.As(err, &stored):
		return fmt.Errorf("%s is in use, and what it is used for must not change its meaning by the way; first change these: %s", name, stored.Blocking())
	case errors.Is(err, rights.ErrInFile):
		return fmt.Errorf("%s is declared in the configuration file; change it there and reload the server", name)
	case errors.Is(err, store.ErrLastAdmin):
		return errors.New("nobody could administer Latchkey afterwards; make another administrator first")
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no privilege %q; latchkey privilege list shows what there is", name)
	case errors.As(err, &field) && field.Field == "name" && errors.Is(err, store.ErrConflict):
		return fmt.Errorf("the name %q is taken, or belonged to a privilege that was removed less than 90 days ago: applications may still mean that one", name)
	case errors.As(err, &field) && errors.Is(err, store.ErrInvalid):
		return errors.New(strings.TrimPrefix(field.Why, "privilege: "))
	case errors.Is(err, store.ErrForbidden):
		return fmt.Errorf("%s is built in and stays", name)
	}
	return err
}
