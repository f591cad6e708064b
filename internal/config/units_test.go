package config

import (
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "10m": 10 * time.Minute, "12h": 12 * time.Hour, "90d": 90 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "1d1s": 86401 * time.Second, "250ms": 250 * time.Millisecond, "1m250ms": 60250 * time.Millisecond,
		"106751d": 106751 * 24 * time.Hour,
	} {
		got, ok := parseDuration(in)
		if !ok || got != want {
			t.Errorf("%s: %v, %v", in, got, ok)
		}
		if text := formatDuration(want); in != "0s" && text != in && in != "1d12h" {
			t.Errorf("%v is written %s, want %s", want, text, in)
		}
	}
	for _, in := range []string{"", "s", "1", "1 d", " 1d", "-1d", "+1d", "1.5h", "1h1d", "1s1s", "1D", "1y", "1w", "106752d", "99999999999999999999s", "1d ", "١s", "1µs", "1ns"} {
		if got, ok := parseDuration(in); ok {
			t.Errorf("%q is %v", in, got)
		}
	}
	for in, want := range map[string]Bytes{"0": 0, "1": 1, "64KiB": 65536, "64 KiB": 65536, "1MiB": 1 << 20, "2GiB": 2 << 30} {
		got, ok := parseBytes(in)
		if !ok || got != want {
			t.Errorf("%s: %v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1kb", "1KB", "1.5MiB", "9007199254740993GiB", "0x10", "01"} {
		if got, ok := parseBytes(in); ok {
			t.Errorf("%q is %v", in, got)
		}
	}
	for b, want := range map[Bytes]string{0: "0", 1500: "1500", 1 << 20: "1MiB", 65536: "64KiB", 3 << 30: "3GiB"} {
		if b.String() != want {
			t.Errorf("%d: %s", b, b)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"listen", "tls", "trusted_proxies", "management", "allowed_hosts"}
	for in, want := range map[string]string{"lisen": "listen", "lsiten": "listen", "LISTEN": "listen", "tsl": "tls", "trusted_proxy": "trusted_proxies", "managment": "management",
		"zebra": "", "": "", "x": "", strings.Repeat("listen", 100): ""} {
		if got, _ := nearest(in, known); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
