package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/config"
)

// load reads the configuration the flags name: a file, the demonstration's data, or the development settings.
func (a *app) load() (*config.Config, error) {
	c, _, err := a.loadWarned()
	return c, err
}

func (a *app) loadWarned() (*config.Config, []config.Warning, error) {
	switch {
	case a.configFile != "" && a.dir != "":
		return nil, nil, usagef("--config and --dir contradict each other: --dir is for the data of latchkey demo")
	case a.dir != "":
		c, err := demoConfig(a.dir)
		return c, nil, err
	}
	return config.Load(a.configFile, os.LookupEnv)
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration file"}
	return group(cmd, a.configCheck(), a.configPrint())
}

func (a *app) configCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Say everything that is wrong with the configuration", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			c, warnings, err := a.loadWarned()
			if err != nil {
				return err
			}
			a.warn(warnings)
			a.printf("%s is in order.\n", orElse(c.File(), "The configuration"))
			a.typeChanges(c)
			return nil
		},
	}
}

// typeChanges says how the user types differ from the defaults: each person has one of them.
func (a *app) typeChanges(c *config.Config) {
	list := c.TypeChanges()
	if len(list) == 0 {
		return
	}
	a.printf("\nUser types, compared with the defaults:\n")
	for _, t := range list {
		a.printf("  %-8s  %s %s\n", t.Kind, t.Value, t.Name)
		for _, l := range t.Lines {
			a.printf("            %s\n", printable(l))
		}
	}
}

func (a *app) configPrint() *cobra.Command {
	return &cobra.Command{
		Use: "print", Short: "Print every value in force, secrets hidden", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			c, warnings, err := a.loadWarned()
			if err != nil {
				return err
			}
			a.warn(warnings)
			return config.Print(a.out, c)
		},
	}
}

func (a *app) warn(warnings []config.Warning) {
	for _, w := range warnings {
		fmt.Fprintln(a.errOut, "latchkey: note: "+w.String())
	}
}
