package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
)

func (a *app) serveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the server",
		Long: `Run the server until SIGTERM or Ctrl-C; requests under way are finished first, and a second signal ends it at once.
SIGHUP reads the configuration again: a file with mistakes is refused and the settings in use stay.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, warnings, err := a.loadWarned()
			if err != nil {
				return err
			}
			a.warn(warnings)
			// The live heap is small and requests make much garbage: collecting half as often saves a tenth of the CPU for some MiB under load.
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(200)
			}
			// From here on SIGHUP never ends the process; one that comes before the server runs waits in the channel.
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			var srv *server.Server
			srv, err = server.New(cfg, server.Options{LogTo: a.errOut, Reload: reload, Load: a.load,
				Ready: func(server.Addresses) {
					a.firstAdministrator(cmd.Context(), srv)
					debug.FreeOSMemory() // what only the start needed: 2 MiB of 36
				}})
			if err != nil {
				return err
			}
			return srv.Run(cmd.Context())
		},
	}
}

// firstAdministrator tells the operator how to get in: with the one-time link itself at the first start of all (R8), later with the
// command that makes a new one, so that restarts do not fill logs with links.
func (a *app) firstAdministrator(ctx context.Context, srv *server.Server) {
	if !srv.FirstStart() {
		if done, err := srv.Store().SetupDone(ctx); err == nil && !done {
			srv.Logger().WarnContext(ctx, "there is no administrator yet; latchkey user setup-link makes a link for the first one")
		}
		return
	}
	link, err := srv.SetupLink(ctx)
	switch {
	case errors.Is(err, server.ErrSetupDone):
	case err != nil:
		srv.Logger().ErrorContext(ctx, "no set-up link could be made; try latchkey user setup-link", "err", err)
	default:
		a.printf("\nWelcome to Latchkey. Create the first administrator with this link. It works once, within 24 hours:\n\n  %s\n\n", link)
	}
}
