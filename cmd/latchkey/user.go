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

// actor is who the audit log names for what is done here. Whoever can run this command can read the database and the master key.
const actor = "cli"

func (a *app) userCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "People's accounts"}
	return group(cmd, a.userCreate(), a.userList(), a.userShow(), a.userPasswd(), a.userDisable(), a.userEnable(), a.userResetFactors(), a.userEnrolmentCode(), a.userGrant(), a.userRevoke(), a.userSetType(), a.userUnlink(), a.userAuthorities(), a.userEndAuthority(), a.userErase(), a.userIdle(), a.userLogouts(), a.userPhone(), a.userSetupLink())
}

func (a *app) userCreate() *cobra.Command {
	var u store.User
	var pw passwordFlags
	var grants []string
	var userType string
	var verified bool
	cmd := &cobra.Command{
		Use: "create --email ADDRESS | --username NAME", Short: "Create an account",
		Long: `Create an account. The password is asked for at the terminal, or read from standard input with --password-stdin.
With --no-password the account has none until "latchkey user passwd" gives it one. With --password-hash, what is read is the hash that another
program kept; it is made anew, as this server does it, when its owner signs in for the first time.`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if u.Email == "" && u.Username == "" {
				return usagef("an account needs --email or --username")
			}
			if verified && u.Email != "" {
				u.EmailVerifiedAt = store.At(c.Now())
			}
			u.MustChange = pw.mustChange
			phc, err := a.newPassword(ctx, c, pw, u.Email, u.Username, u.GivenName, u.FamilyName)
			if err != nil {
				return err
			}
			var kind *store.UserType
			if userType != "" {
				if kind, err = findType(ctx, c, userType); err != nil {
					return err
				}
			}
			err = c.Store.Tx(ctx, func(ctx context.Context) error {
				if err := c.Store.CreatePerson(ctx, actor, &u); err != nil {
					return err
				}
				if phc != "" {
					if err := c.Store.SetPassword(ctx, actor, u.ID, phc, pw.mustChange, ""); err != nil {
						return err
					}
				}
				if kind != nil {
					if err := c.Store.SetUserType(ctx, actor, u.ID, kind.Value); err != nil {
						return err
					}
				}
				for _, p := range grants {
					as := store.Assignment{UserID: u.ID, Privilege: p, GivenBy: actor, Reason: "given when the account was created"}
					if err := c.Store.Assign(ctx, actor, &as); err != nil {
						return a.assignError(err, p)
					}
				}
				return nil
			})
			if err != nil {
				return fieldProblem(err)
			}
			if a.json {
				m, err := c.Store.Model(ctx)
				if err != nil {
					return err
				}
				if kind != nil {
					u.UserType = kind.Value
				}
				return a.printJSON(userView(&u, nil, m, c.Now()))
			}
			a.printf("Created %s (%s).\n", u.Name(), u.ID)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&u.Email, "email", "", "e-mail address")
	f.StringVar(&u.Username, "username", "", "name to sign in with")
	f.StringVar(&u.GivenName, "given-name", "", "given name")
	f.StringVar(&u.FamilyName, "family-name", "", "family name")
	f.StringVar(&u.Locale, "locale", "", "language, such as en or de-CH")
	f.BoolVar(&verified, "email-verified", false, "you know that the address is theirs")
	f.StringVar(&userType, "type", "", "user type, by value or name (default: the one named user)")
	f.StringSliceVar(&grants, "grant", nil, "privilege to give at once; may be repeated")
	pw.add(cmd)
	f.BoolVar(&pw.none, "no-password", false, "create the account without a password")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) userList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the accounts", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			m, err := c.Store.Model(ctx)
			if err != nil {
				return err
			}
			t := a.table("ID", "NAME", "E-MAIL", "USERNAME", "TYPE", "STATE", "LAST SIGN-IN")
			now := c.Now()
			for after := ""; ; {
				page, err := c.Store.Users(ctx, after, 500)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				after = page[len(page)-1].ID
				for i := range page {
					v := userView(&page[i], nil, m, now)
					t.row(v, v.ID, v.Name, v.Email, v.Username, v.UserType+" "+v.TypeName, v.State, orDash(v.LastLogin))
				}
			}
			return t.print()
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) userShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show USER", Short: "Show one account and what it may do", Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			as, err := c.Store.Assignments(ctx, u.ID)
			if err != nil {
				return err
			}
			links, err := c.Store.IdentitiesOf(ctx, u.ID)
			if err != nil {
				return err
			}
			m, err := c.Store.Model(ctx)
			if err != nil {
				return err
			}
			v := userView(u, as, m, c.Now())
			v.Identities = identityViews(links, c.Connectors())
			use, err := c.Store.Use(ctx, u.ID)
			if err != nil {
				return err
			}
			v.LastUse = rfc3339(use.Last().Time)
			if a.json {
				return a.printJSON(v)
			}
			a.pairs("ID", v.ID, "Name", v.Name, "E-mail", v.Email, "Username", v.Username, "Type", typeText(v), "State", v.State,
				"Created", v.Created, "Last sign-in", orDash(v.LastLogin), "Last use", v.LastUse)
			for _, p := range v.Privileges {
				a.printf("  %-16s %s on %s%s%s\n", p.Privilege, p.source(), p.Created, from(p.From), until(p.Until))
			}
			a.printIdentities(v.Identities)
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) userPasswd() *cobra.Command {
	var pw passwordFlags
	cmd := &cobra.Command{
		Use: "passwd USER", Short: "Give an account a new password; ends its sessions", Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			phc, err := a.newPassword(ctx, c, pw, u.Email, u.Username, u.GivenName, u.FamilyName)
			if err != nil {
				return err
			}
			if err := c.SetPassword(ctx, actor, u, phc, pw.mustChange); err != nil {
				return err
			}
			a.printf("%s has a new password; every session of theirs has ended.\n", u.Name())
			return nil
		}),
	}
	pw.add(cmd)
	return cmd
}

func (a *app) userDisable() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "disable USER", Short: "Lock an account out: its sessions and tokens end at once", Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.Store.DisableUser(ctx, actor, u.ID, reason); errors.Is(err, store.ErrLastAdmin) {
				return fmt.Errorf("%s is the last administrator who can sign in; make another one first", u.Name())
			} else if err != nil {
				return err
			}
			a.printf("%s can no longer sign in.\n", u.Name())
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func (a *app) userEnable() *cobra.Command {
	return &cobra.Command{
		Use: "enable USER", Short: "Let a disabled account sign in again", Args: args("USER"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.Store.EnableUser(ctx, actor, u.ID); err != nil {
				return err
			}
			a.printf("%s can sign in again.\n", u.Name())
			return nil
		}),
	}
}

func (a *app) userGrant() *cobra.Command {
	var reason, from, to string
	cmd := &cobra.Command{
		Use: "grant USER PRIVILEGE...", Short: "Give privileges", Args: args("USER", "PRIVILEGE..."),
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			u, err := findUser(ctx, c, args[0])
			if err != nil {
				return err
			}
			start, err := parseTime("--from", from)
			if err != nil {
				return err
			}
			end, err := parseTime("--until", to)
			if err != nil {
				return err
			}
			err = c.Store.Tx(ctx, func(ctx context.Context) error {
				for _, p := range args[1:] {
					as := store.Assignment{UserID: u.ID, Privilege: p, GivenBy: by, Reason: reason, From: start, Until: end}
					if err := c.Store.Assign(ctx, by, &as); err != nil {
						return a.assignError(err, p)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			a.printf("%s now holds %s.\n", u.Name(), strings.Join(args[1:], ", "))
			return nil
		}),
	}
	a.asFlag(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().StringVar(&from, "from", "", "in force from then on (2026-01-31 or RFC 3339; UTC)")
	cmd.Flags().StringVar(&to, "until", "", "in force until then (2026-01-31 or RFC 3339; UTC)")
	return cmd
}

func (a *app) userSetupLink() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup-link", Short: "Make a new one-time link through which an administrator is created", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			link, expires, err := c.SetupLink(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"url": link, "expires_at": rfc3339(expires)})
			}
			a.printf("Open this link to create an administrator. It works once, until %s; earlier links no longer work.\n\n  %s\n",
				expires.UTC().Format("2006-01-02 15:04 MST"), link)
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// findUser takes an id, e-mail address, username or phone number. A username that looks like somebody else's id is no trick:
// what fits two accounts is refused.
func findUser(ctx context.Context, c *server.Console, who string) (*store.User, error) {
	byID, err := c.Store.User(ctx, who)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	byLogin, err := c.Store.UserByLogin(ctx, who)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	switch {
	case byID == nil && byLogin == nil:
		return nil, fmt.Errorf("nobody has the id, e-mail address, username or phone number %q", who)
	case byID == nil:
		return byLogin, nil
	case byLogin == nil || byLogin.ID == byID.ID:
		return byID, nil
	}
	return nil, fmt.Errorf("%q is the id of one account and the name of another; use the id or address of the one you mean", who)
}

// fieldProblem says in plain words what the database refused about a value.
func fieldProblem(err error) error {
	var f *store.FieldError
	if !errors.As(err, &f) {
		return err
	}
	name := map[string]string{"email": "e-mail address", "phone": "phone number"}[f.Field]
	if name == "" {
		name = f.Field
	}
	if errors.Is(f.Err, store.ErrConflict) {
		return fmt.Errorf("another account has this %s", name)
	}
	return fmt.Errorf("this %s cannot be used: %s", name, f.Why)
}

func (a *app) assignError(err error, priv string) error {
	switch why := a.refused(err); {
	case why != nil:
		return why
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no privilege %q", priv)
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%s is held already", priv)
	case errors.Is(err, store.ErrForbidden):
		return fmt.Errorf("%s cannot be given to a person", priv)
	}
	return err
}

// userJSON is what list and show print with --json; it changes only by additions.
type userJSON struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Email      string           `json:"email"`
	Verified   bool             `json:"email_verified"`
	Username   string           `json:"username"`
	UserType   string           `json:"user_type"`      // its value
	TypeName   string           `json:"user_type_name"` // as tokens say; "" = a type that is not there (no rights)
	ReadOnly   bool             `json:"readonly"`
	State      string           `json:"state"` // active disabled awaiting_approval deleted not_yet ended
	MustChange bool             `json:"must_change_password"`
	Created    string           `json:"created_at"`
	LastLogin  string           `json:"last_login_at,omitempty"`
	LastUse    string           `json:"last_use_at,omitempty"` // of show only: a sign-in, a session, a token, or else the creation
	Privileges []assignmentJSON `json:"privileges,omitempty"`
	Identities []identityJSON   `json:"identities,omitempty"` // of show only
}

type assignmentJSON struct {
	Privilege string `json:"privilege"`
	Source    string `json:"source"`               // person, connector, type, invite, request, import
	SourceRef string `json:"source_ref,omitempty"` // the connector, the type's value
	GivenBy   string `json:"given_by"`
	Reason    string `json:"reason,omitempty"`
	Created   string `json:"created_at"`
	From      string `json:"from,omitempty"`
	Until     string `json:"until,omitempty"`
}

func userView(u *store.User, as []store.Assignment, m *store.Model, now time.Time) userJSON {
	v := userJSON{ID: u.ID, Name: u.Name(), Email: u.Email, Verified: !u.EmailVerifiedAt.IsZero(), Username: u.Username, State: "active",
		UserType: u.UserType, ReadOnly: m.ReadOnly(u), MustChange: u.MustChange, Created: rfc3339(u.CreatedAt.Time), LastLogin: rfc3339(u.LastLoginAt.Time)}
	if t := m.Type(u.UserType); t != nil {
		v.TypeName = t.Name()
	}
	switch {
	case !u.DeletedAt.IsZero():
		v.State = "deleted"
	case !u.DisabledAt.IsZero() && u.DisabledReason == server.AwaitingApproval:
		v.State = "awaiting_approval"
	case !u.DisabledAt.IsZero():
		v.State = "disabled"
	case !u.ValidFrom.IsZero() && now.Before(u.ValidFrom.Time):
		v.State = "not_yet"
	case !u.Active(now):
		v.State = "ended"
	}
	for _, a := range as {
		if !a.EndedAt.IsZero() {
			continue
		}
		name := a.Privilege
		if a.Source == store.SourceType { // assigned is the type; what people want to know is what it brings
			t := m.Type(a.SourceRef)
			if t == nil || t.Privilege == "" {
				continue
			}
			name = t.Privilege
		}
		v.Privileges = append(v.Privileges, assignmentJSON{name, a.Source, a.SourceRef, a.GivenBy, a.Reason, rfc3339(a.CreatedAt.Time), rfc3339(a.From.Time), rfc3339(a.Until.Time)})
	}
	slices.SortStableFunc(v.Privileges, func(x, y assignmentJSON) int { return strings.Compare(x.Privilege, y.Privilege) })
	return v
}

// source says where an assignment comes from.
func (a *assignmentJSON) source() string {
	switch a.Source {
	case store.SourceConnector:
		return "by the rules of the connector " + a.SourceRef
	case store.SourceType:
		return "with the user type " + a.SourceRef
	case store.SourceInvite, store.SourceRequest, store.SourceImport:
		return "given by " + a.GivenBy + " through an " + a.Source
	}
	return "given by " + a.GivenBy
}
