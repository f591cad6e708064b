// Command latchkey is the identity provider: the server, its demonstration, and the shell's way to what its pages do.
//
// Every subcommand has a file of its own. The commands that look after data open the same database as the server, so they work
// while it runs and while it is stopped; each change is written to the audit log as done by "cli".
//
// It refuses to take secrets as arguments, where other users of the machine would see them: passwords come from a terminal or from
// standard input. Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong,
// 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/config"
)

func main() {
	// The first signal ends ctx, and the second the process. Both are taken from one channel: were the second left to the default
	// behaviour, one that comes before that is restored would be swallowed.
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		if s, ok := (<-signals).(syscall.Signal); ok {
			os.Exit(128 + int(s)) // as shells count
		}
	}()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if errors.Is(err, context.Canceled) {
		err = exitError{130, errors.New("interrupted")} // 128 + SIGINT, as shells count
	}
	if err != nil && !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "latchkey: "+err.Error())
	}
	os.Exit(exitCode(err))
}

// run is the whole program without the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	a := &app{in: stdin, out: stdout, errOut: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// app is what the subcommands share.
type app struct {
	in          io.Reader
	out, errOut io.Writer

	configFile string // --config
	dir        string // --dir
	json       bool   // --json
	as         string // --as: who makes a change, "" = the operator
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey",
		Short: "A self-hosted OpenID Connect provider that says what its users may do",
		Long: `Latchkey signs people in to your applications (OAuth 2.0, OpenID Connect) and tells those what each person may do.

Try it:        latchkey demo
Run it:        latchkey serve --config latchkey.yaml`,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; %s --help lists the options", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&a.configFile, "config", "", "configuration file (without it: development settings)")
	root.PersistentFlags().StringVar(&a.dir, "dir", "", "work on the data of latchkey demo in this directory")
	group(root, a.serveCmd(), a.demoCmd(), a.migrateCmd(), a.userCmd(), a.clientCmd(), a.privilegeCmd(), a.inviteCmd(), a.connectorCmd(), a.keyCmd(), a.configCmd(), a.explainCmd(), a.auditCmd(), a.smsCmd(), a.versionCmd())
	return root
}

// group gives parent its subcommands; parent alone, or with a word it does not know, is a mistake that says what there is.
func group(parent *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	parent.AddCommand(subs...)
	parent.Args = cobra.ArbitraryArgs
	parent.SuggestionsMinimumDistance = 2
	parent.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			_ = cmd.Help()
			return exitError{2, errTold}
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("there is no command %q; did you mean %s?", cmd.CommandPath()+" "+args[0], strings.Join(near, " or "))
		}
		return usagef("there is no command %q; %s --help lists what there is", cmd.CommandPath()+" "+args[0], cmd.CommandPath())
	}
	return parent
}

// args checks positional arguments: one name per argument, the last may end in "..." for at least one.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		if len(got) == len(names) || many && len(got) > len(names) {
			return nil
		}
		if len(names) == 0 {
			return usagef("%s takes no arguments", cmd.CommandPath())
		}
		return usagef("%s needs: %s", cmd.CommandPath(), strings.Join(names, " "))
	}
}

// exitError carries the process's exit code.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// errTold: the person has been told already.
var errTold = errors.New("told")

func usagef(format string, a ...any) error { return exitError{2, fmt.Errorf(format, a...)} }

func exitCode(err error) int {
	var e exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	case errors.As(err, new(*config.Error)):
		return 2
	}
	return 1
}
