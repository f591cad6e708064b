//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package main

import (
	"context"
	"errors"
	"os"
)

// Without a way to switch the echo off there is no prompt: --password-stdin remains.
func isTerminal(*os.File) bool { return false }

func withoutEcho(context.Context, *os.File, func() error) error { return errors.ErrUnsupported }
