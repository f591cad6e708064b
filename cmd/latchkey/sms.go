package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

func (a *app) smsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "sms", Short: "Text messages: stop them, start them, see where they go"}
	return group(cmd, a.smsStop(), a.smsStart(), a.smsStatus())
}

func (a *app) smsStop() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "stop [--reason TEXT]", Short: "Send no more text messages, from this moment on and in every process",
		Long: `Stop text messages at once, in every process on this database and until latchkey sms start. What waits is given up. People are told that no
message can be sent, and sign in another way.`,
		Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if len(reason) > 200 {
				return usagef("--reason is longer than 200 bytes")
			}
			if err := c.Store.SetSwitch(ctx, actor, store.SwitchSMS, false, reason); err != nil {
				return err
			}
			a.printf("Text messages are stopped. latchkey sms start sends them again.\n")
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read the status and the audit log")
	return cmd
}

func (a *app) smsStart() *cobra.Command {
	return &cobra.Command{
		Use: "start", Short: "Send text messages again", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			if err := c.Store.SetSwitch(ctx, actor, store.SwitchSMS, true, ""); err != nil {
				return err
			}
			a.printf("Text messages are sent again.\n")
			return nil
		}),
	}
}

// smsJSON is what status prints with --json; it changes only by additions.
type smsJSON struct {
	Enabled   bool             `json:"enabled"`
	Stopped   bool             `json:"stopped"`
	StoppedAt string           `json:"stopped_at,omitempty"`
	StoppedBy string           `json:"stopped_by,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Spent     string           `json:"spent"`
	PerDay    string           `json:"per_day"`
	Currency  string           `json:"currency"`
	Until     string           `json:"until,omitempty"`
	Countries map[string]int64 `json:"countries"`
	Paused    []string         `json:"paused"`
}

func (a *app) smsStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "What was sent where today, what it cost, and what is paused", Args: args(),
		RunE: a.console(func(ctx context.Context, c *server.Console, _ []string) error {
			s, err := c.SMSStatus(ctx)
			if err != nil {
				return err
			}
			v := smsJSON{Enabled: s.Enabled, Stopped: !s.Switch.OffAt.IsZero(), StoppedAt: rfc3339(s.Switch.OffAt.Time), StoppedBy: s.Switch.OffBy, Reason: s.Switch.Reason,
				Spent: server.Sum(s.Spent), PerDay: server.Sum(s.PerDay), Currency: s.Price, Until: rfc3339(s.Until.Time), Countries: map[string]int64{}, Paused: s.Paused}
			var where []string
			for _, b := range s.Countries {
				country := b.Key[strings.LastIndexByte(b.Key, ':')+1:]
				v.Countries[country] = b.N
				where = append(where, fmt.Sprintf("%s %d", country, b.N))
			}
			if v.Paused == nil {
				v.Paused = []string{}
			}
			if a.json {
				return a.printJSON(v)
			}
			switch {
			case v.Stopped:
				a.printf("Stopped since %s by %s.\n", v.StoppedAt, v.StoppedBy)
				if v.Reason != "" {
					a.printf("Reason: %s\n", v.Reason)
				}
			case !v.Enabled:
				a.printf("Off: login.phone.enabled is false.\n")
			default:
				a.printf("On.\n")
			}
			a.printf("Estimated cost of the day: %s of %s %s\n", v.Spent, v.PerDay, v.Currency)
			if len(where) > 0 {
				a.printf("Messages by country: %s\n", strings.Join(where, ", "))
			}
			for _, p := range v.Paused {
				a.printf("Paused: %s…\n", p)
			}
			return nil
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
