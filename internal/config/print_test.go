package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func printed(t testing.TB, c *Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := Print(&out, c); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPrint_Golden(t *testing.T) {
	t.Parallel()
	golden(t, "print-default.golden", printed(t, Default()))
	c, _, err := Load(example, exampleEnv)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "print-example.golden", printed(t, c))
}

// refill puts good secrets where Print hid some.
func refill(text string) string {
	n := 0
	var out strings.Builder
	for l := range strings.Lines(text) {
		if strings.HasSuffix(l, " REDACTED\n") {
			n++
			sum := sha256.Sum256(fmt.Append(nil, n))
			l = strings.Replace(l, "REDACTED", `"`+hex.EncodeToString(sum[:])+`"`, 1)
		}
		out.WriteString(l)
	}
	return out.String()
}

// again reads what Print wrote, and demands that nothing changed.
func again(t testing.TB, c *Config) {
	t.Helper()
	text := printed(t, c)
	back, _, err := read("", []byte(refill(text)), canaryEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if second := printed(t, back); second != text {
		t.Fatalf("was:\n%s\nis:\n%s", text, second)
	}
	a, b := *c, *back
	a.file, b.file = "", ""
	applied, restart := Diff(&a, &b)
	for _, k := range append(applied, restart...) {
		if k != "secrets.master_keys" && k != "database.url" && k != "clients" && k != "connectors" && k != "twilio" && k != "mail.password" {
			t.Fatalf("%s changed:\n%s", k, text)
		}
	}
}

func TestPrint_LoadsAgain(t *testing.T) {
	t.Parallel()
	again(t, Default())
	c, _, err := Load(example, exampleEnv)
	if err != nil {
		t.Fatal(err)
	}
	again(t, c)
	again(t, mustRead(t, dev+`
app_name: "\"quoted\" \\ $${X} é: #x"
privileges: {"on": {description: "- a: b $${c}"}, x: {label: "true", includes: ["on"]}}
clients:
  - client_id: "123"
    client_name: " null"
    token_endpoint_auth_method: none
    redirect_uris: ["https://a.example/?x=y&z=%20"]
    required_privileges: ["on", [x, user]]
http: {allowed_hosts: ["1.2.3.4:5"], trusted_proxies: ["::1"]}
`))
}
