package config

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// canary is a secret that must turn up nowhere.
const canary = "c4n4ry-s3cr3t-0123456789-abcdefgh"

func canaryEnv(name string) (string, bool) {
	if name == "KEY" {
		return otherKey, true
	}
	return canary, true
}

func TestSecret_PrintsNowhere(t *testing.T) {
	t.Parallel()
	s := NewSecret(canary)
	d := NewDSN("postgres://latchkey:" + canary + "@db/latchkey?sslpassword=" + canary + "&sslmode=require")
	type inner struct {
		s Secret
		d DSN
	}
	for _, v := range []any{s, &s, d, &d, []Secret{s}, map[string]Secret{"k": s}, struct{ S Secret }{s}, inner{s, d}, &inner{s, d}, []any{inner{s, d}}, errors.Join(fmt.Errorf("%v", s))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s", "%p", "%w"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, canary) || strings.Contains(got, hex.EncodeToString([]byte(canary))) {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, slog.Any("w", v))
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []string{log.String(), string(j), string(y)} {
			if strings.Contains(got, canary) {
				t.Errorf("%T: %s", v, got)
			}
		}
	}
	if got := fmt.Sprintf("%v %#v %s", s, s, &s); got != "REDACTED REDACTED REDACTED" {
		t.Error(got)
	}
	if j, _ := json.Marshal(struct{ A, B Secret }{s, Secret{}}); string(j) != `{"A":"REDACTED","B":""}` {
		t.Error(string(j))
	}
	if y, _ := yaml.Marshal(map[string]any{"a": s}); string(y) != "a: REDACTED\n" {
		t.Error(string(y))
	}
	if s.Reveal() != canary || s.IsZero() || !(Secret{}).IsZero() || (Secret{}).Reveal() != "" || !NewSecret("").IsZero() || fmt.Sprint(Secret{}) != "" {
		t.Error("Reveal or IsZero")
	}
}

func TestDSN_String(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                    "",
		"sqlite:./latchkey.db":                "sqlite:./latchkey.db",
		"sqlite:a.db?key=hunter2":             "REDACTED",
		"postgres://u:hunter2@h/d":            "postgres://u:REDACTED@h/d",
		"postgresql://u@h/d":                  "postgresql://u@h/d",
		"postgres://h/d?a=1&Password=hunter2": "postgres://h/d?Password=REDACTED&a=1",
		"host=h password=hunter2":             "REDACTED",
		"postgres:hunter2":                    "REDACTED",
		"mysql://u:hunter2@h/d":               "REDACTED",
		"postgres://u:hun%zzter2@h":           "REDACTED",
		"postgres://u:hunter2 x@h/d":          "REDACTED",
	} {
		if got := NewDSN(in).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if p, ok := NewDSN("sqlite:/a/b.db").SQLite(); p != "/a/b.db" || !ok {
		t.Error(p, ok)
	}
	if _, ok := NewDSN("postgres://h/d").SQLite(); ok {
		t.Error("postgres is SQLite")
	}
}

// TestConfig_PrintsNoSecret: however a whole configuration is printed.
func TestConfig_PrintsNoSecret(t *testing.T) {
	t.Parallel()
	c, _, err := read("", []byte(dev+"database: {url: \"postgres://u:${P}@h/d\"}\nsecrets: {master_keys: [\"${KEY}\"]}\nclients:\n  - client_id: a\n    client_secret: ${S}\n    redirect_uris: [https://a.example/]\n"), canaryEnv)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Print(&out, c); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{c, *c, c.Clients, c.Secrets, c.Database} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	out.Write(y)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", c)
	for _, secret := range []string{canary, otherKey} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is printed", secret)
		}
	}
	if c.Clients[0].Secret.Reveal() != canary {
		t.Error("the test proves nothing")
	}
}
