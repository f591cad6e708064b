package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
)

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			a.printf("latchkey %s (%s, %s/%s)\n", server.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
