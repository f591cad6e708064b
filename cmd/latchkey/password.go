package main

import (
	"bufio"
	"context"
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

// passwordFlags say where a password comes from. There is no --password: an argument is visible to the whole machine.
type passwordFlags struct {
	stdin, hash, mustChange, none bool
}

func (p *passwordFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&p.hash, "password-hash", false, "standard input holds the hash that another program kept: argon2id, bcrypt or Django's pbkdf2_sha256")
	cmd.Flags().BoolVar(&p.mustChange, "must-change", false, "ask for a new password at the next sign-in")
}

// newPassword reads, checks and hashes a password; own are the person's names and addresses, which it must not consist of.
func (a *app) newPassword(ctx context.Context, c *server.Console, p passwordFlags, own ...string) (phc string, err error) {
	if p.none {
		if p.stdin || p.hash {
			return "", usagef("--no-password contradicts --password-stdin and --password-hash")
		}
		return "", nil
	}
	if p.hash {
		if phc, err = a.readPassword(ctx, true); err != nil {
			return "", err
		}
		return phc, c.CheckHash(ctx, phc) // nobody knows the password, so no rule can be applied to it
	}
	pw, err := a.readPassword(ctx, p.stdin)
	if err != nil {
		return "", err
	}
	return c.HashPassword(ctx, pw, own...)
}

// maxPassword bounds what is read; the password rules have their own, smaller bound.
const maxPassword = 4096

func (a *app) readPassword(ctx context.Context, stdin bool) (string, error) {
	if stdin {
		b, err := io.ReadAll(io.LimitReader(a.in, maxPassword))
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		pw := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if pw == "" {
			return "", errors.New("standard input holds no password")
		}
		if strings.ContainsAny(pw, "\n\r") {
			return "", errors.New("standard input holds more than one line")
		}
		return pw, nil
	}
	tty, ok := a.in.(*os.File)
	if !ok || !isTerminal(tty) {
		return "", usagef("there is no terminal to ask for the password; use --password-stdin")
	}
	lines := bufio.NewReader(tty) // one reader for both answers, so that typing ahead loses nothing
	var answers [2]string
	err := withoutEcho(ctx, tty, func() error {
		for i, prompt := range []string{"New password: ", "Once more: "} {
			fmt.Fprint(a.errOut, prompt)
			line, err := lines.ReadString('\n')
			fmt.Fprintln(a.errOut)
			if err != nil {
				return fmt.Errorf("read the password: %w", err)
			}
			answers[i] = strings.TrimRight(line, "\r\n")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if answers[0] != answers[1] {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return answers[0], nil
}

// parseTime reads a date or an RFC 3339 instant.
func parseTime(flag, s string) (store.Time, error) {
	if s == "" {
		return store.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return store.At(t.UTC()), nil
		}
	}
	return store.Time{}, usagef("%s is %q; write a date as 2026-01-31, or an instant as 2026-01-31T18:00:00Z", flag, s)
}
