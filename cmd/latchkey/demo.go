package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/sampleapp"
	"github.com/latchkey-idp/latchkey/internal/server"
)

const (
	demoDir        = "latchkey-demo"
	demoListen     = "127.0.0.1:8080"
	demoAppListen  = "127.0.0.1:8081"
	demoManagement = "127.0.0.1:8082"
)

func (a *app) demoCmd() *cobra.Command {
	var listen, appListen, management string
	var verbose, withFakes bool
	var fakesPort int
	cmd := &cobra.Command{
		Use: "demo", Short: "Try it: the server and a sample application on this machine",
		Long: `Run the server with a sample application beside it, on this machine only and without any configuration.
Data and keys are kept in ./latchkey-demo (--dir); nothing of it has to be thrown away later:

  latchkey user list --dir latchkey-demo
  latchkey serve --dir latchkey-demo

With --fakes people can also sign in with Google, Microsoft, Facebook and X: stand-ins on this machine that speak as the real ones do and
ask for no password.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.configFile != "" {
				return usagef("latchkey demo needs no configuration file; latchkey serve takes one")
			}
			if a.dir == "" {
				a.dir = demoDir
			}
			appURL, err := loopbackURL("--app-listen", appListen)
			if err != nil {
				return err
			}
			p, err := loadPorts(a.dir)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("listen") {
				p.Listen = listen
			}
			if cmd.Flags().Changed("management") {
				p.Management = management
			}
			if _, err := loopbackURL("--listen", p.Listen); err != nil {
				return err
			}
			if p.Management != "" {
				if _, err := loopbackURL("--management", p.Management); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(a.dir, 0o700); err != nil {
				return err
			}
			if err := p.save(a.dir); err != nil {
				return err
			}
			cfg, err := demoConfig(a.dir)
			if err != nil {
				return err
			}
			if !verbose {
				cfg.Log.Level = "warn"
			}
			// Messages stay in the outbox, so they cost nothing: anybody may come in, and have a number for the second step.
			phone := &cfg.Login.Phone
			phone.Enabled, phone.Registration, phone.Country, cfg.MFA.AllowSMS = true, "open", "US", true
			phone.AllowedCountries = []string{"US", "CA", "GB", "IE", "DE", "AT", "CH", "FR", "ES", "IT", "NL", "PL"}
			var f *fakes
			if withFakes {
				if f, err = startFakes(cfg.Issuer, fakesPort); err != nil {
					return err
				}
				defer f.close()
				cfg.Connectors = f.connectors
			}
			return a.demo(cmd.Context(), cfg, appListen, appURL, f)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", demoListen, "where the server listens; remembered")
	cmd.Flags().StringVar(&appListen, "app-listen", demoAppListen, "where the sample application listens")
	cmd.Flags().StringVar(&management, "management", demoManagement, `where health and metrics are served; "" = nowhere; remembered`)
	cmd.Flags().BoolVar(&withFakes, "fakes", false, "with stand-ins of Google, Microsoft, Facebook and X to sign in through")
	cmd.Flags().IntVar(&fakesPort, "fakes-port", demoFakesPort, "the first of the ten ports of --fakes")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log every request")
	return cmd
}

// demo runs both until ctx ends; f may be nil.
func (a *app) demo(ctx context.Context, cfg *config.Config, appListen, appURL string, f *fakes) (err error) {
	app := server.DemoClient{Name: "Sample application", BaseURL: appURL, RedirectURI: sampleapp.RedirectURL(appURL), PostLogoutRedirectURI: sampleapp.PostLogoutURL(appURL),
		BackChannelLogoutURI: sampleapp.BackChannelLogoutURL(appURL)}
	var srv *server.Server
	srv, err = server.New(cfg, server.Options{LogTo: a.errOut, Demo: true,
		Ready: func(server.Addresses) { a.welcome(ctx, srv, cfg.Issuer, appURL, f) }})
	if err != nil {
		return err
	}
	if err := srv.EnsureDemoClient(ctx, a.dir, &app); err != nil {
		return errors.Join(err, srv.Close())
	}
	h, err := sampleapp.New(sampleapp.Config{Issuer: cfg.Issuer, ClientID: app.ID, ClientSecret: app.Secret, BaseURL: appURL, Logger: srv.Logger()})
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	l, err := net.Listen("tcp", appListen)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot listen on %s for the sample application (--app-listen): %w", appListen, err), srv.Close())
	}
	sample := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 60 * time.Second, ErrorLog: slog.NewLogLogger(srv.Logger().Handler(), slog.LevelDebug)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := sample.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("the sample application stopped: %w", err))
		}
	}()
	err = srv.Run(ctx)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; --listen, --app-listen and --management choose other ports", err)
	}
	err = errors.Join(err, sample.Close())
	<-stopped
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}

// welcome says where to go.
func (a *app) welcome(ctx context.Context, srv *server.Server, issuer, appURL string, f *fakes) {
	link, err := srv.SetupLink(ctx)
	a.printf("\nLatchkey is running, with a sample application that leaves its sign-in to it.\n\n")
	switch {
	case err == nil:
		a.printf("  1. Make yourself the administrator (this link works once):\n     %s\n\n  2. Open the sample application and sign in:\n     %s\n\n", link, appURL)
	case errors.Is(err, server.ErrSetupDone):
		a.printf("  Open the sample application and sign in:\n     %s\n\n", appURL)
	default:
		a.printf("  The link for the first administrator could not be made: %s\n\n", err)
	}
	if f != nil {
		a.printf("  Google, Microsoft, Facebook and X are stand-ins on this machine: on their pages, choose who you are.\n  Facebook's apps page:      %s\n\n", f.settings)
	}
	a.printf("  Your account:              %s/account\n  Mail and SMS, not sent:    %s/dev/outbox\n  Data and keys:             %s\n\nOnly this machine can reach it. Ctrl-C ends it; the data stays.\n",
		issuer, issuer, a.dir)
}

// demoPorts are where the demonstration listens, kept beside its data so that the other commands know its issuer.
type demoPorts struct {
	Listen     string `json:"listen"`
	Management string `json:"management"` // "" = nowhere
}

const portsFile = "listen.json"

func (p demoPorts) save(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, portsFile), append(b, '\n'), 0o600)
}

// loadPorts returns what the last latchkey demo in dir used; the usual ones where there was none.
func loadPorts(dir string) (demoPorts, error) {
	p := demoPorts{demoListen, demoManagement}
	b, err := os.ReadFile(filepath.Join(dir, portsFile))
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Join(dir, portsFile), err)
	}
	return p, nil
}

// demoConfig is the development configuration with its data in dir, as the last latchkey demo there left it.
func demoConfig(dir string) (*config.Config, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, usagef("there is no data of latchkey demo in %s", dir)
	}
	p, err := loadPorts(dir)
	if err != nil {
		return nil, err
	}
	issuer, err := loopbackURL("--listen", p.Listen)
	if err != nil {
		return nil, err
	}
	c := config.Default()
	c.Issuer = issuer
	c.HTTP.Listen, c.HTTP.Management.Listen = p.Listen, p.Management
	c.Database.URL = config.NewDSN("sqlite:" + filepath.Join(dir, "latchkey.db"))
	return c, nil
}

// loopbackURL is the address of a browser on this machine for a listener that only this machine can reach. It names localhost:
// passkeys do not work on an address.
func loopbackURL(flag, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usagef("%s is %q; write it as 127.0.0.1:8080", flag, listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", usagef("%s is %q; the demonstration is for this machine only, so it listens on 127.0.0.1", flag, listen)
	}
	return "http://localhost:" + port, nil
}
