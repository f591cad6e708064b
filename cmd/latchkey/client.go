package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) clientCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "client", Short: "Applications that delegate their login"}
	return group(cmd, a.clientAdd(), a.clientList(), a.clientShow(), a.clientRotate(), a.clientRemove(), a.clientSwitch("disable", true), a.clientSwitch("enable", false))
}

func (a *app) clientAdd() *cobra.Command {
	var id, metadata, jwks string
	var m store.ClientMetadata
	var public, native, noPKCE bool
	cmd := &cobra.Command{
		Use: "add --name NAME --redirect-uri URI", Short: "Register an application; shows its secret once",
		Long: `Register an application. The secret is shown once and kept as a hash only (sealed for client_secret_jwt); "latchkey client rotate-secret" makes another.

A web application on a server:      latchkey client add --name Wiki --redirect-uri https://wiki.example.com/callback
An app without a secret:            latchkey client add --name App --public --redirect-uri https://app.example.com/
An app on the person's own device:  latchkey client add --name CLI --public --native --redirect-uri http://127.0.0.1/
A service that acts for itself:     latchkey client add --name Robot --grant-type client_credentials
One that signs with its own key:    latchkey client add --name Bank --auth-method private_key_jwt --jwks keys.json --redirect-uri https://bank.example.com/cb`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if metadata != "" {
				if err := a.readMetadata(metadata, &m); err != nil {
					return err
				}
			}
			if jwks != "" {
				var err error
				if m.JWKS, err = a.readJWKS(jwks); err != nil {
					return err
				}
			}
			if m.Name == "" {
				return usagef("give it a name with --name: people read it when they are asked for consent")
			}
			if public {
				m.TokenEndpointAuth = "none"
			}
			if native {
				m.ApplicationType = "native"
			}
			if noPKCE {
				m.RequirePKCE = new(bool)
			}
			cl, secret, err := c.NewClient(ctx, actor, id, m)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(clientJSON(cl, secret))
			}
			a.printf("Registered %s.\n\n", m.Name)
			a.pairs("Client ID", cl.ID, "Client secret", secret, "Issuer", c.Issuer())
			switch {
			case cl.SecretSealed != "":
				a.printf("\nThe secret will not be shown again. It is kept sealed under the master key, as client_secret_jwt needs it.\n")
			case secret != "":
				a.printf("\nThe secret is not kept anywhere and will not be shown again.\n")
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&id, "id", "", "client id (default: a random one)")
	f.StringVar(&m.Name, "name", "", "name that people see")
	f.StringArrayVar(&m.RedirectURIs, "redirect-uri", nil, "where the browser may return, compared exactly; may be repeated")
	f.StringArrayVar(&m.PostLogoutRedirectURIs, "post-logout-redirect-uri", nil, "where the browser may return after sign-out; may be repeated")
	f.StringVar(&m.BackChannelLogoutURI, "backchannel-logout-uri", "", "told of ended sessions, from server to server")
	f.BoolVar(&m.BackChannelLogoutSession, "backchannel-logout-session-required", false, "it knows sessions by their sid only")
	f.StringVar(&m.FrontChannelLogoutURI, "frontchannel-logout-uri", "", "loaded by the browser of a person who signs out")
	f.BoolVar(&m.FrontChannelLogoutSession, "frontchannel-logout-session-required", false, "it needs iss and sid there; they are sent anyway")
	f.StringSliceVar(&m.GrantTypes, "grant-type", nil, "authorization_code (default), refresh_token, client_credentials; may be repeated")
	f.StringVar(&m.Scope, "scope", "", `scopes it may ask for, in one argument (default "openid profile email")`)
	f.StringVar(&m.TokenEndpointAuth, "auth-method", "", "client_secret_basic (default), client_secret_post, client_secret_jwt, private_key_jwt or none")
	f.StringVar(&m.JWKSURI, "jwks-uri", "", "https address of its public keys, for private_key_jwt and signed requests")
	f.StringVar(&jwks, "jwks", "", "file with its public keys as a JWKS instead; - reads standard input")
	f.StringVar(&m.ClientURI, "client-uri", "", "its home page")
	f.StringVar(&m.LogoURI, "logo-uri", "", "its logo")
	f.StringVar(&m.IDTokenAlg, "id-token-alg", "", "signature of its ID tokens: RS256 (default), ES256, EdDSA, PS256")
	f.StringSliceVar(&m.Resources, "resource", nil, "audience it serves as an API; may be repeated")
	f.StringVar(&metadata, "metadata", "", "file with any further settings as JSON, by the names of the configuration file; - reads standard input")
	f.BoolVar(&public, "public", false, "it cannot keep a secret: an app in the browser or on a device")
	f.BoolVar(&native, "native", false, "it runs on the person's own device: loopback ports may differ")
	f.BoolVar(&m.FirstParty, "first-party", false, "it is yours: people are not asked for consent")
	f.BoolVar(&m.RequireEmail, "require-email", false, "people without an address are asked for one and prove it by mail, where the server sends mail")
	f.StringVar(&m.RequireACR, "require-acr", "", "how well people must show who they are: 2 (two factors), phr (a passkey), phrh (one in hardware); default: as their account demands")
	f.BoolVar(&m.AllowActAs, "allow-act-as", false, "it takes people who act for others, and reads the claim act")
	f.BoolVar(&noPKCE, "no-pkce", false, "old software that cannot do PKCE; only with a secret")
	a.jsonFlag(cmd)
	return cmd
}

// readMetadata reads settings strictly: a name that is not known is an error, not a wish unheard.
func (a *app) readMetadata(path string, m *store.ClientMetadata) error {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usagef("--metadata: %v", err)
		}
		defer f.Close()
		in = f
	}
	dec := json.NewDecoder(io.LimitReader(in, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return usagef("--metadata: %s is not the JSON of a client: %s", path, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// readJWKS reads a client's key set; what is in it is judged with the rest of the registration.
func (a *app) readJWKS(path string) (json.RawMessage, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usagef("--jwks: %v", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil, usagef("--jwks: %v", err)
	}
	if !json.Valid(b) {
		return nil, usagef("--jwks: %s is not JSON", path)
	}
	return b, nil
}

func (a *app) clientList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the applications", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			t := a.table("CLIENT ID", "NAME", "SOURCE", "STATE", "REDIRECT URIS")
			for after := ""; ; {
				page, err := c.Store.Clients(ctx, after, 500)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					return t.print()
				}
				after = page[len(page)-1].ID
				for i := range page {
					v := clientJSON(&page[i], "")
					t.row(v, v.ID, v.Name, v.Source, v.State, strings.Join(v.RedirectURIs, " "))
				}
			}
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) clientShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show CLIENT", Short: "Show one application", Args: args("CLIENT"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			cl, err := findClient(ctx, c, args[0])
			if err != nil {
				return err
			}
			v := clientJSON(cl, "")
			if a.json {
				return a.printJSON(v)
			}
			a.pairs("Client ID", v.ID, "Name", v.Name, "Source", v.Source, "State", v.State, "Secrets", v.Secrets,
				"Authenticates by", orElse(v.TokenEndpointAuth, "client_secret_basic"), "Its keys", keysOf(cl),
				"Redirect URIs", strings.Join(v.RedirectURIs, " "), "After sign-out", strings.Join(v.PostLogoutRedirectURIs, " "),
				"Back-channel logout", v.BackChannelLogoutURI, "Front-channel logout", v.FrontChannelLogoutURI,
				"Grant types", orElse(strings.Join(v.GrantTypes, " "), "authorization_code"), "Scope", orElse(v.Scope, "openid profile email"),
				"Requires acr", v.RequireACR, "Created", v.Created)
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// keysOf says where a client's public keys are, "" = it has none.
func keysOf(c *store.Client) string {
	if len(c.Metadata.JWKS) == 0 {
		return c.Metadata.JWKSURI
	}
	ids, err := server.ClientKeyIDs(c)
	if err != nil {
		return err.Error()
	}
	for i := range ids {
		ids[i] = orElse(ids[i], "one without an id")
	}
	return strings.Join(ids, ", ")
}

func (a *app) clientRotate() *cobra.Command {
	var keep time.Duration
	cmd := &cobra.Command{
		Use: "rotate-secret CLIENT", Short: "Make a new secret; the old one works on for a while", Args: args("CLIENT"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			cl, err := editable(ctx, c, args[0])
			if err != nil {
				return err
			}
			if !server.UsesSecret(cl) {
				return fmt.Errorf("%s has no secret: it authenticates by %s", cl.ID, cl.Metadata.TokenEndpointAuth)
			}
			if keep < 0 {
				return usagef("--keep cannot be negative")
			}
			secret, err := c.RotateSecret(ctx, actor, cl, keep)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"client_id": cl.ID, "client_secret": secret, "old_secret_until": rfc3339(c.Now().Add(keep))})
			}
			a.pairs("Client ID", cl.ID, "Client secret", secret)
			if keep > 0 {
				a.printf("\nThe secret before it works for another %s. This one will not be shown again.\n", keep)
			} else {
				a.printf("\nThe secret before it no longer works. This one will not be shown again.\n")
			}
			return nil
		}),
	}
	cmd.Flags().DurationVar(&keep, "keep", 24*time.Hour, "how long the old secret works on; 0s ends it at once")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) clientRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove CLIENT", Short: "Remove an application with its tokens and consents", Args: args("CLIENT"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			cl, err := editable(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.Store.RemoveClient(ctx, actor, cl.ID); err != nil {
				return err
			}
			a.printf("%s is removed; its tokens no longer work.\n", cl.ID)
			return nil
		}),
	}
}

func (a *app) clientSwitch(verb string, disabled bool) *cobra.Command {
	short, done := "Let a disabled application in again", "may ask for sign-ins and tokens again"
	if disabled {
		short, done = "Lock an application out, keeping its registration", "gets no more sign-ins, and its tokens no longer work"
	}
	return &cobra.Command{
		Use: verb + " CLIENT", Short: short, Args: args("CLIENT"),
		RunE: a.console(func(ctx context.Context, c *server.Console, args []string) error {
			cl, err := editable(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.Store.SetClientDisabled(ctx, actor, cl.ID, disabled); err != nil {
				return err
			}
			a.printf("%s %s.\n", cl.ID, done)
			return nil
		}),
	}
}

func findClient(ctx context.Context, c *server.Console, id string) (*store.Client, error) {
	cl, err := c.Store.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("there is no client %q", id)
	}
	return cl, err
}

// editable refuses clients whose truth is the configuration file: the next start would undo the change.
func editable(ctx context.Context, c *server.Console, id string) (*store.Client, error) {
	cl, err := findClient(ctx, c, id)
	if err == nil && cl.Source == server.SourceConfig {
		return nil, fmt.Errorf("%s comes from the configuration file; change it there and reload the server", id)
	}
	return cl, err
}

// clientView is what list, show and add print with --json: the registration in RFC 7591's words, and what Latchkey knows besides.
type clientView struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"` // at its making only
	store.ClientMetadata
	Source  string `json:"source"`
	State   string `json:"state"`             // active or disabled
	Secrets string `json:"secrets,omitempty"` // none, one, or until when the second lives
	Created string `json:"created_at"`
	Updated string `json:"updated_at"`
}

func clientJSON(c *store.Client, secret string) clientView {
	v := clientView{ID: c.ID, Secret: secret, ClientMetadata: c.Metadata, Source: c.Source, State: "active", Secrets: "one",
		Created: rfc3339(c.CreatedAt.Time), Updated: rfc3339(c.UpdatedAt.Time)}
	if !c.DisabledAt.IsZero() {
		v.State = "disabled"
	}
	switch {
	case c.SecretHash == "":
		v.Secrets = "none"
	case c.PrevSecretHash != "" && !c.PrevUntil.IsZero():
		v.Secrets = "two, the older until " + rfc3339(c.PrevUntil.Time)
	}
	return v
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
