package config

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{"KEY": goodKey, "SECRET": goodSecret, "EMPTY": ""}[name]
	return v, ok
}

// TestSec_J14_BadConfigurations: every refusal with its exact text, every problem of a file at once.
func TestSec_J14_BadConfigurations(t *testing.T) {
	t.Parallel()
	const golden = "testdata/bad.txtar"
	a, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for i := 0; i+1 < len(a.Files); i += 2 {
		in, want := a.Files[i], &a.Files[i+1]
		name := strings.TrimSuffix(in.Name, ".yaml")
		if want.Name != name+".want" {
			t.Fatalf("after %s comes %s", in.Name, want.Name)
		}
		cases++
		_, _, err := read("", in.Data, testEnv)
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("%s is accepted: %v", name, err)
			continue
		}
		var got strings.Builder
		for _, p := range bad.Problems {
			got.WriteString(p.String() + "\n")
			if p.Line == 0 && p.Path != "" && len(in.Data) > 0 && !strings.Contains(p.Text, "is missing") {
				t.Errorf("%s: no line: %s", name, p)
			}
		}
		for _, secret := range []string{"hunter2", goodKey, goodSecret, "correct horse", "1234567890123456"} {
			if strings.Contains(got.String(), secret) {
				t.Errorf("%s: a secret is shown: %s", name, got.String())
			}
		}
		if *update {
			want.Data = []byte(got.String())
		} else if got.String() != string(want.Data) {
			t.Errorf("%s:\n got: %s\nwant: %s", name, got.String(), want.Data)
		}
	}
	if cases < 60 {
		t.Errorf("%d configurations, want at least 60", cases)
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
