package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
)

func (a *app) connectorCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "connector", Short: "Upstream providers that people sign in through"}
	return group(cmd, a.connectorList(), a.connectorTest())
}

// connectorView is what list prints with --json.
type connectorView struct {
	ID           string `json:"id"`
	Type         string `json:"type"`
	Label        string `json:"label"`
	Enabled      bool   `json:"enabled"`
	Registration string `json:"registration"`
	Link         string `json:"link"`
	Callback     string `json:"callback"`
}

func connectorViewOf(issuer string, c *config.Connector) connectorView {
	label, _ := c.Display()
	return connectorView{ID: c.ID, Type: c.Kind(), Label: label, Enabled: c.Enabled, Registration: c.Registration, Link: c.Link, Callback: issuer + "/callback/" + c.ID}
}

func (a *app) connectorList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the connectors of the configuration, with the callback to register at each provider", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			t := a.table("ID", "TYPE", "LABEL", "STATE", "NEW PEOPLE", "CALLBACK")
			for i := range cfg.Connectors {
				v := connectorViewOf(cfg.Issuer, &cfg.Connectors[i])
				state := "on"
				if !v.Enabled {
					state = "off"
				}
				t.row(v, v.ID, v.Type, v.Label, state, v.Registration, v.Callback)
			}
			return t.print()
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// findingView is a line of a test with --json.
type findingView struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

func (a *app) connectorTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test CONNECTOR", Short: "Try a connector as far as that goes without a person",
		Long: `Ask the provider for its discovery document and keys, and try the client credentials with a code that nobody made.
Whether the callback is registered and the consent page is right only a person can see: sign in once.`,
		Args: args("CONNECTOR"),
		RunE: func(cmd *cobra.Command, names []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			findings, err := server.TestConnector(cmd.Context(), cfg, names[0])
			if errors.Is(err, server.ErrNoConnector) {
				var ids []string
				for _, c := range cfg.Connectors {
					ids = append(ids, c.ID)
				}
				return fmt.Errorf("there is no connector %q in the configuration; it has: %s", names[0], orElse(strings.Join(ids, ", "), "none"))
			}
			if err != nil {
				return err
			}
			bad := 0
			t := a.table("", "WHAT", "FINDING")
			for _, f := range findings {
				mark := "ok"
				if !f.OK {
					mark = "BAD"
					bad++
				}
				t.row(findingView{f.What, f.OK, f.Text}, mark, f.What, f.Text)
			}
			if err := t.print(); err != nil {
				return err
			}
			if bad > 0 {
				return exitError{1, errTold}
			}
			if !a.json {
				a.printf("\nRegister this callback at the provider, then sign in once: %s/callback/%s\n", cfg.Issuer, names[0])
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
