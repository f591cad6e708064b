package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal; the test types into master, the program reads from tty.
func terminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return master, tty
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}

// TestPasswordIsNotShown: the echo is off while a password is typed, and on again whatever happened.
func TestPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	_, tty := terminal(t)
	if !isTerminal(tty) {
		t.Fatal("not taken for a terminal")
	}
	failed := errors.New("failed")
	for _, want := range []error{nil, failed} {
		err := withoutEcho(t.Context(), tty, func() error {
			if echoes(t, tty) {
				t.Error("the password is shown")
			}
			return want
		})
		if !errors.Is(err, want) || !echoes(t, tty) {
			t.Errorf("%v, want %v; echo is on: %v", err, want, echoes(t, tty))
		}
	}
	// Ctrl-C while it waits.
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	err := withoutEcho(ctx, tty, func() error { cancel(); <-never; return nil })
	if !errors.Is(err, context.Canceled) || !echoes(t, tty) {
		t.Errorf("%v; echo is on: %v", err, echoes(t, tty))
	}
}
