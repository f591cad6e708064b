package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
)

const (
	goodKey    = "3vpaWgFcmQmXkKZQ0mWzbKcZ9n1UuUuZzXnqJH1QG5E="
	otherKey   = "9f1c0b7e2a4d86531e0f7c9ab2d3485666778899aabbccddeeff00112a3b4c5d"
	goodSecret = "k2Jw8Qm4Zr1Xv7Tn0Lp5Hs9Dc3Fb6Gy2Ee4"
)

func exampleEnv(name string) (string, bool) {
	v, ok := map[string]string{"LATCHKEY_MASTER_KEY": goodKey, "CRM_CLIENT_SECRET": goodSecret, "GOOGLE_CLIENT_SECRET": goodSecret,
		"AZURE_CLIENT_SECRET": goodSecret, "FACEBOOK_CLIENT_SECRET": goodSecret, "TWITTER_CLIENT_SECRET": goodSecret,
		"KEYCLOAK_CLIENT_SECRET": goodSecret, "GITHUB_CLIENT_SECRET": goodSecret, "MAIL_PASSWORD": goodSecret, "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}[name]
	return v, ok
}

const example = "../../config.example.yaml"

func TestExample_Loads(t *testing.T) {
	t.Parallel()
	c, warnings, err := Load(example, exampleEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("warning: %s", w)
	}
	if c.Issuer != "https://login.example.com" || len(c.Clients) != 2 || c.Clients[0].Secret.Reveal() != goodSecret || len(c.MasterKeys()) != 1 {
		t.Errorf("read wrongly: %+v", c)
	}
	if _, _, err := Load(example, func(string) (string, bool) { return "", false }); err == nil || !strings.Contains(err.Error(), "the environment variable LATCHKEY_MASTER_KEY is not set") {
		t.Errorf("without variables: %v", err)
	}
}

// exampleKeys are the keys of the example by path, the ones that stand in a comment too (#key:), each with the comment above it.
// The items of a list or of a map with free names count as one, shown as [] and *.
func exampleKeys(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	hidden := regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`)
	lines := strings.Split(hidden.ReplaceAllString(string(text), "$1$2"), "\n")
	root, bad := parse([]byte(strings.Join(lines, "\n")))
	if bad != nil {
		t.Fatal(bad)
	}
	above := func(line int) string {
		var out []string
		for i := line - 2; i >= 0; i-- {
			l := strings.TrimSpace(lines[i])
			l = strings.TrimPrefix(l, "- ")
			c, ok := strings.CutPrefix(l, "# ")
			if !ok {
				break
			}
			out = append(out, c)
		}
		slices.Reverse(out)
		return strings.Join(out, " ")
	}
	keys := map[string]string{}
	var walk func(n ast.Node, path string)
	walk = func(n ast.Node, path string) {
		if s, ok := n.(*ast.SequenceNode); ok {
			for _, v := range s.Values {
				walk(v, path+"[]")
			}
			return
		}
		es, _ := entries(n)
		for _, e := range es {
			key := e.key
			if path == "privileges" || path == "privileges.*.texts" || path == "actions" {
				key = "*"
			}
			p := join(path, key)
			if comment := above(e.at.line); keys[p] == "" {
				keys[p] = comment
			}
			if p != "login.phone.spend.prices" && p != "connectors[].params" && p != "permissions" && p != "user_types[].texts" { // names of the operator's choice
				walk(e.value, p)
			}
		}
	}
	walk(root, "")
	return keys
}

// fieldsOf lists the paths of all keys of a block, with the value a file starts from.
func fieldsOf(v reflect.Value, path string, out map[string]reflect.Value) {
	keys, fields := keysOf(v.Type())
	for _, k := range keys {
		f, p := v.Field(fields[k]), join(path, k)
		out[p] = f
		switch f.Interface().(type) {
		case []Client:
			fieldsOf(reflect.ValueOf(clientDefaults()), p+"[]", out)
		case []Connector:
			fieldsOf(reflect.ValueOf(connectorDefaults()), p+"[]", out)
		case []UserType:
			fieldsOf(reflect.ValueOf(UserType{}), p+"[]", out)
		case []Twilio:
			fieldsOf(reflect.ValueOf(Twilio{}), p+"[]", out)
		case []Delegation:
			fieldsOf(reflect.ValueOf(Delegation{}), p+"[]", out)
		case []ClaimRule:
			fieldsOf(reflect.ValueOf(ClaimRule{}), p+"[]", out)
		case map[string]Text:
			fieldsOf(reflect.ValueOf(Text{}), p+".*", out)
		case map[string]ActionRule:
			fieldsOf(reflect.ValueOf(ActionRule{}), p+".*", out)
		case map[string]Privilege:
			fieldsOf(reflect.ValueOf(Privilege{}), p+".*", out)
		default:
			if isBlock(f.Type()) {
				fieldsOf(f, p, out)
			}
		}
	}
}

func TestExample_IsCompleteAndStatesDefaults(t *testing.T) {
	t.Parallel()
	fields := map[string]reflect.Value{}
	fieldsOf(reflect.ValueOf(defaults()).Elem(), "", fields)
	keys := exampleKeys(t)
	stated := regexp.MustCompile(`\((required|default: ([^()]*))\)$`)
	checked := 0
	for p, v := range fields {
		comment, there := keys[p]
		if !there {
			t.Errorf("config.example.yaml lacks %s", p)
			continue
		}
		if isBlock(v.Type()) {
			continue
		}
		m := stated.FindStringSubmatch(comment)
		if m == nil {
			t.Errorf("the comment of %s does not end in (default: …) or (required): %q", p, comment)
			continue
		}
		checked++
		want := "none"
		switch x := v.Interface().(type) {
		case []string:
			if len(x) > 0 {
				want = "[" + strings.Join(x, ", ") + "]"
			}
		case string:
			if x != "" {
				want = x
			}
		default:
			if !v.IsZero() || v.Kind() == reflect.Bool || v.Kind() == reflect.Int || v.Kind() == reflect.Int64 {
				want = strings.Trim(scalar(x), `"`)
			}
		}
		if m[1] == "required" {
			if want != "none" {
				t.Errorf("%s is said to be required, and has the default %s", p, want)
			}
		} else if m[2] != want {
			t.Errorf("%s: the comment says (default: %s), it is %s", p, m[2], want)
		}
	}
	if checked < 70 {
		t.Errorf("only %d defaults were compared", checked)
	}
	for p := range keys {
		if _, ok := fields[p]; !ok && p != "privileges.*" && p != "privileges.*.texts.*" && p != "actions.*" {
			t.Errorf("config.example.yaml has %s, which is no key", p)
		}
	}
}

// TestReference: the doc comments of the fields are the reference, so every key has one.
func TestReference_EveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"config.go", "client.go", "connector.go", "mail.go", "phone.go", "rights.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, l := range lines {
			if strings.Contains(l, "`yaml:\"") && !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "//") && !strings.Contains(lines[i-1], "_uri\"`") {
				t.Errorf("%s:%d has no comment: %s", file, i+1, strings.TrimSpace(l))
			}
		}
	}
}
