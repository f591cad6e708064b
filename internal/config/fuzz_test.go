package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// FuzzLoad: no file ends the process, no error shows what a variable holds, and what is accepted can be printed and read again.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{dev, prod, "", "a: [", "app_name: ${X}\n", "clients: [{client_id: ${S}}]", "issuer: \"http://u:${X}@h\"\n", "- - -", "? a", "a: &b *b", "<<: x"} {
		f.Add([]byte(s))
	}
	text, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	bad, err := os.ReadFile("testdata/bad.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(bad), "\n-- ") {
		if name, body, ok := strings.Cut(part, " --\n"); ok && strings.HasSuffix(name, ".yaml") {
			f.Add([]byte(body + "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, warnings, err := read("", text, canaryEnv)
		said := fmt.Sprint(warnings, err)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
		} else {
			said += printed(t, c)
			if !bytes.Contains(text, []byte("_file")) {
				again(t, c)
			}
		}
		for _, secret := range []string{canary, otherKey} {
			if strings.Contains(said, secret) && !bytes.Contains(text, []byte(secret)) {
				// A variable in a text that is no secret is printed with the configuration: that is what it is for.
				if err != nil || strings.Contains(fmt.Sprint(warnings), secret) {
					t.Fatalf("a variable's value is shown: %s", said)
				}
			}
		}
	})
}
