package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
)

const redacted = "REDACTED"

// Secret is a text that prints as REDACTED (as nothing where it is empty) whatever it is printed with: fmt with any verb, slog,
// JSON, YAML. Only Reveal gives it away. The zero Secret is empty.
type Secret struct {
	// A pointer, because fmt calls no method on an unexported field and would print its text: so it prints an address.
	text *string
}

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text itself. Whoever calls it answers for where it goes.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero says whether it is empty.
func (s Secret) IsZero() bool { return s.text == nil }

// String returns REDACTED, or "" where the secret is empty.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return redacted
}

// GoString is String: also %#v says nothing.
func (s Secret) GoString() string { return s.String() }

// Format is String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) } // fmt.State never fails

// LogValue is String for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String for encoding/json and whatever else asks.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML is String for YAML.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// DSN is a database URL. It prints without its password, in the same ways as a Secret; Reveal gives it whole.
type DSN struct{ secret Secret }

// NewDSN makes a DSN of a URL.
func NewDSN(url string) DSN { return DSN{NewSecret(url)} }

// Reveal returns the URL with its password.
func (d DSN) Reveal() string { return d.secret.Reveal() }

// IsZero says whether it is empty.
func (d DSN) IsZero() bool { return d.secret.IsZero() }

// String returns the URL with REDACTED for a password. What is no URL of ours is REDACTED altogether, as it may be anything.
func (d DSN) String() string {
	text := d.secret.Reveal()
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok && !strings.Contains(path, "?") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" {
		return d.secret.String()
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), redacted)
	}
	q := u.Query()
	for key := range q {
		if strings.Contains(strings.ToLower(key), "pass") {
			q.Set(key, redacted)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// GoString is String: also %#v shows no password.
func (d DSN) GoString() string { return d.String() }

// Format is String for every verb.
func (d DSN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) } // fmt.State never fails

// LogValue is String for log/slog.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText is String for encoding/json and whatever else asks.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalYAML is String for YAML.
func (d DSN) MarshalYAML() (any, error) { return d.String(), nil }

// SQLite returns the path of an SQLite database; ok is false for another engine.
func (d DSN) SQLite() (path string, ok bool) {
	path, ok = strings.CutPrefix(d.secret.Reveal(), "sqlite:")
	path, _, _ = strings.Cut(path, "?")
	return path, ok
}
