//go:build linux || darwin || freebsd || netbsd || openbsd

package main

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal says whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// withoutEcho runs read while the terminal does not show what is typed. When ctx ends (Ctrl-C), it returns at once with the echo back
// on and leaves read waiting: the process is about to end.
func withoutEcho(ctx context.Context, f *os.File, read func() error) error {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return err
	}
	defer func() { _ = unix.IoctlSetTermios(fd, setTermios, old) }() // the terminal is gone: nothing to restore
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
