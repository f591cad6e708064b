package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// explained is what explain prints with --json.
type explained struct {
	*explain.Person
	Not     *explain.WhyNot `json:"why_not,omitempty"`
	Preview *server.Preview `json:"preview,omitempty"`
	Past    *server.Past    `json:"token,omitempty"`
}

func (a *app) explainCmd() *cobra.Command {
	var user, client, scope, privilege, token, at, connector, claims string
	var disowned bool
	cmd := &cobra.Command{
		Use:   "explain --user USER [--client CLIENT] | --connector CONNECTOR --claims FILE [--client CLIENT] | --token TOKEN",
		Short: "Say what somebody may do and why, or why not, and what a client's tokens say",
		Long: `Say what somebody may do and why, or why not.

Everything they hold, and why:           latchkey explain --user ada@example.com
One privilege, or why not:               latchkey explain --user ada@example.com --privilege editor
What a client's tokens would say now:    latchkey explain --user ada@example.com --client crm
What it was at a moment:                 latchkey explain --user ada@example.com --at 2026-03-01T12:00:00Z
What a past access token rested on:      latchkey explain --token eyJhbGciOi... (or its jti)
What a sign-in would lead to:            latchkey explain --connector google --claims claims.json --client crm

The last takes what a provider says of a person, as JSON: the claims of an ID token, {"id_token": {...}, "userinfo": {...}},
or the profile of a provider without ID tokens. It goes the whole way and takes everything back.

Nothing is written and no token is made: the claims come from the code that issues them.`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if connector != "" || claims != "" {
				if user != "" || token != "" || privilege != "" || at != "" || scope != "" || connector == "" || claims == "" {
					return usagef("--connector and --claims go together, with --client, --not-mine and --json")
				}
				return a.explainClaims(ctx, c, connector, claims, client, disowned)
			}
			if disowned {
				return usagef("--not-mine goes with --connector and --claims")
			}
			if (user == "") == (token == "") {
				return usagef("name somebody with --user, or a token with --token")
			}
			if token != "" {
				return a.explainToken(ctx, c, token)
			}
			u, err := findUser(ctx, c, user)
			if err != nil {
				return err
			}
			var when time.Time
			if at != "" {
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					return usagef("--at is %q; write it as 2026-03-01T12:00:00Z", at)
				}
				if client != "" {
					return usagef("--client is about now; it does not go with --at")
				}
			}
			p, err := c.Explain(ctx, u.ID, when)
			if err != nil {
				return err
			}
			out := explained{Person: p}
			if privilege != "" {
				if _, held := p.Line(privilege); !held && at == "" {
					if out.Not, err = p.Not(ctx, c.Store, privilege); err != nil {
						return err
					}
				}
			}
			if client != "" {
				r := server.PreviewRequest{UserID: u.ID, ClientID: client}
				if scope != "" {
					r.Scope = strings.Fields(scope)
				}
				switch out.Preview, err = c.Preview(ctx, r); {
				case errors.Is(err, server.ErrNoClient):
					return fmt.Errorf("there is no client %q, or it is disabled", client)
				case errors.Is(err, server.ErrNoUser):
					return fmt.Errorf("%s cannot sign in: the account is not active", u.Name())
				case err != nil:
					return err
				}
			}
			if a.json {
				return a.printJSON(out)
			}
			a.printPerson(ctx, c, u.Name(), p, privilege)
			if out.Not != nil {
				a.printNot(ctx, c, u.Name(), out.Not)
			}
			if out.Preview != nil {
				return a.printPreview(client, out.Preview)
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "a person, by id, e-mail address, username or phone number")
	f.StringVar(&client, "client", "", "an application: what its tokens would say")
	f.StringVar(&scope, "scope", "", "the scopes it would ask for, in one argument (default: all it may)")
	f.StringVar(&privilege, "privilege", "", "only this one; if it is not held, why not and who could give it")
	f.StringVar(&token, "token", "", "an access token of ours, or its jti")
	f.StringVar(&at, "at", "", "as it was then (RFC 3339)")
	f.StringVar(&connector, "connector", "", "a way in: what a sign-in with --claims would lead to")
	f.StringVar(&claims, "claims", "", "a file with what the provider says of the person, - for standard input")
	f.BoolVar(&disowned, "not-mine", false, "with --claims: the person says that the account with the address is not theirs")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printPerson(ctx context.Context, c *server.Console, name string, p *explain.Person, only string) {
	a.printf("%s holds, as of %s:\n", name, rfc3339(p.At))
	for _, l := range p.Lines {
		if only != "" && l.Privilege != only {
			continue
		}
		for i, w := range l.Why {
			head := l.Privilege
			if i > 0 {
				head = ""
			}
			a.printf("  %-20s %s\n", head, whyText(ctx, c, w))
		}
	}
}

// whyText is one derivation in a line.
func whyText(ctx context.Context, c *server.Console, w explain.Why) string {
	var b strings.Builder
	if len(w.Path) > 1 {
		path := w.Path
		if strings.HasPrefix(path[0], "type/") {
			path = path[1:]
		}
		if len(path) > 1 {
			b.WriteString(strings.Join(path, " > ") + ": ")
		}
	}
	s := w.Source
	switch s.Kind {
	case explain.Default:
		b.WriteString("everybody has it who was given nothing")
		return b.String()
	case store.SourceType:
		b.WriteString("comes with the user type " + s.Ref)
	case store.SourceConnector:
		b.WriteString("by the rules of the connector " + s.Ref)
	default:
		b.WriteString("given by " + giverName(ctx, c, s.GivenBy))
	}
	b.WriteString(" on " + rfc3339(s.Since))
	if !s.From.IsZero() {
		b.WriteString(", from " + rfc3339(s.From))
	}
	if !s.Until.IsZero() {
		b.WriteString(", until " + rfc3339(s.Until))
	}
	if s.Reason != "" {
		b.WriteString(fmt.Sprintf(" (%s)", s.Reason))
	}
	return b.String()
}

func giverName(ctx context.Context, c *server.Console, id string) string {
	if u, err := c.Store.User(ctx, id); err == nil && u.Name() != "" {
		return u.Name()
	}
	return id
}

func (a *app) printNot(ctx context.Context, c *server.Console, name string, w *explain.WhyNot) {
	if !w.Defined {
		a.printf("\nThere is no privilege %s.\n", w.Privilege)
		return
	}
	a.printf("\n%s does not hold %s.\n", name, w.Privilege)
	for _, l := range w.Lapsed {
		a.printf("  Not in force: %s\n", whyText(ctx, c, l))
	}
	if len(w.Through) > 0 {
		a.printf("  It also comes with: %s\n", strings.Join(w.Through, ", "))
	}
	var names []string
	for _, id := range w.Grantors {
		names = append(names, giverName(ctx, c, id))
	}
	a.printf("  Could be given by: %s\n", orElse(strings.Join(names, ", "), "nobody but whoever runs the server"))
}

func (a *app) printPreview(client string, p *server.Preview) error {
	if p.Required != "everybody" {
		a.printf("\n%s requires: %s\n", client, p.Required)
	}
	if len(p.Connectors) > 0 {
		a.printf("\n%s takes these ways in: %s\n", client, strings.Join(p.Connectors, ", "))
	}
	if strings.HasPrefix(p.Owes, "second_factor") {
		a.printf("\nThe person would show a second factor first, or add one.\n")
	}
	switch {
	case p.Step == "login":
		a.printf("\n%s does not take this way in, and would have the person sign in again.\n", client)
		return nil
	case p.Step == "owes":
		a.printf("\nThe person would be asked for an e-mail address first.\n")
		return nil
	case p.Refused != "":
		a.printf("\n%s would hear %s: %s\n", client, p.Refused, p.Reason)
		for _, g := range p.Unmet {
			a.printf("  missing: %s\n", strings.Join(g, " or "))
		}
		return nil
	case p.Step == "consent" && len(p.NewScopes) > 0 && len(p.NewScopes) < len(p.Scope):
		a.printf("\nConsent would be asked for first; new are %s. Then, with the scopes %s:\n", strings.Join(p.NewScopes, " "), strings.Join(p.Scope, " "))
	case p.Step == "consent":
		a.printf("\nConsent would be asked for first. Then, with the scopes %s:\n", strings.Join(p.Scope, " "))
	case p.Consent == server.ConsentRemembered:
		a.printf("\nConsent is remembered. With the scopes %s:\n", strings.Join(p.Scope, " "))
	default:
		a.printf("\nWith the scopes %s:\n", strings.Join(p.Scope, " "))
	}
	for _, part := range []struct {
		name   string
		claims map[string]any
	}{{"ID token", p.IDToken}, {"access token", p.AccessToken}, {"userinfo", p.UserInfo}, {"introspection", p.Introspection}} {
		if part.claims == nil {
			continue
		}
		b, err := json.MarshalIndent(part.claims, "  ", "  ")
		if err != nil {
			return err
		}
		a.printf("\n%s\n  %s\n", part.name, b)
	}
	return nil
}

func (a *app) explainToken(ctx context.Context, c *server.Console, token string) error {
	past, err := c.ExplainToken(ctx, token)
	switch {
	case errors.Is(err, server.ErrNotToken):
		return usagef("%v", err)
	case errors.Is(err, server.ErrGrantGone):
		return fmt.Errorf("it was made at %s; %w", rfc3339(past.At), server.ErrGrantGone)
	case err != nil:
		return err
	}
	if a.json {
		return a.printJSON(explained{Person: past.Person, Past: past})
	}
	a.pairs("Made at", rfc3339(past.At), "Client", past.ClientID, "Scope", strings.Join(past.Scope, " "), "Grant", past.Grant)
	if past.Person == nil {
		a.printf("\nIt was the client's own: no person stands behind it.\n")
		return nil
	}
	a.printf("\n")
	a.printPerson(ctx, c, giverName(ctx, c, past.UserID), past.Person, "")
	return nil
}
