package config

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Print writes the effective values as a file that Load reads again, with REDACTED in the place of every secret. A secret that came
// from a file is shown as its *_file key. Of clients and privileges only what is not empty is shown.
func Print(w io.Writer, c *Config) error {
	p := &printer{}
	p.block(reflect.ValueOf(c).Elem(), "", reflect.Value{})
	_, err := io.WriteString(w, p.b.String())
	return err
}

type printer struct {
	b       strings.Builder
	without func(key string) bool // nil = nothing is left out
}

// companions are the keys that a filled *_file key stands for.
var companions = map[string]string{"url": "url_file", "master_keys": "master_keys_file", "client_secret": "client_secret_file", "password": "password_file",
	"auth_token": "auth_token_file", "api_key_secret": "api_key_secret_file"}

// block writes the keys of v. Given what it would be without any key, what is empty here and there is left out.
func (p *printer) block(v reflect.Value, indent string, bare reflect.Value) {
	keys, fields := keysOf(v.Type())
	for _, key := range keys {
		f := v.Field(fields[key])
		if i, ok := fields[companions[key]]; ok && v.Field(i).String() != "" {
			continue
		}
		if p.without != nil && p.without(key) {
			continue
		}
		if bare.IsValid() && f.IsZero() && bare.Field(fields[key]).IsZero() && f.Kind() != reflect.Bool {
			continue
		}
		p.b.WriteString(indent + key + ":")
		p.value(f, indent)
	}
}

// value writes what stands after the colon, with the line's end.
func (p *printer) value(v reflect.Value, indent string) {
	switch x := v.Interface().(type) {
	case []Client:
		p.items(len(x), func(i int) { p.item(v.Index(i), indent, reflect.ValueOf(clientDefaults()), nil) })
	case []Connector:
		p.items(len(x), func(i int) {
			p.item(v.Index(i), indent, reflect.ValueOf(connectorDefaults()), func(key string) bool { return !x[i].has(key) })
		})
	case []UserType:
		p.items(len(x), func(i int) { p.item(v.Index(i), indent, reflect.ValueOf(UserType{}), nil) })
	case []Twilio:
		p.items(len(x), func(i int) { p.item(v.Index(i), indent, reflect.ValueOf(Twilio{}), nil) })
	case []Delegation:
		p.items(len(x), func(i int) { p.item(v.Index(i), indent, reflect.ValueOf(Delegation{}), nil) })
	case map[string][]string:
		if len(x) == 0 {
			p.b.WriteString(" {}\n")
			return
		}
		p.b.WriteString("\n")
		for _, name := range slices.Sorted(maps.Keys(x)) {
			p.b.WriteString(indent + "  " + quote(name) + ": [")
			for i, s := range x[name] {
				if i > 0 {
					p.b.WriteString(", ")
				}
				p.b.WriteString(quote(s))
			}
			p.b.WriteString("]\n")
		}
	case map[string]Text:
		if len(x) == 0 {
			p.b.WriteString(" {}\n")
			return
		}
		p.b.WriteString("\n")
		for _, name := range slices.Sorted(maps.Keys(x)) {
			p.b.WriteString(indent + "  " + quote(name) + ":\n")
			p.block(reflect.ValueOf(x[name]), indent+"    ", reflect.Value{})
		}
	case []ClaimRule:
		p.items(len(x), func(i int) { p.item(v.Index(i), indent, reflect.ValueOf(ClaimRule{}), nil) })
	case map[string]string:
		if len(x) == 0 {
			p.b.WriteString(" {}\n")
			return
		}
		p.b.WriteString("\n")
		for _, name := range slices.Sorted(maps.Keys(x)) {
			p.b.WriteString(indent + "  " + quote(name) + ": " + quote(x[name]) + "\n")
		}
	case []string:
		p.items(len(x), func(i int) { p.b.WriteString(indent + "  - " + quote(x[i]) + "\n") })
	case []Secret:
		p.items(len(x), func(i int) { p.b.WriteString(indent + "  - " + quote(x[i].String()) + "\n") })
	case []netip.Prefix:
		p.items(len(x), func(i int) { p.b.WriteString(indent + "  - " + quote(x[i].String()) + "\n") })
	case []any:
		p.b.WriteString(" " + flow(x) + "\n")
	case map[string]Privilege:
		blocks(p, indent, x)
	case map[string]ActionRule:
		blocks(p, indent, x)
	default:
		if isBlock(v.Type()) {
			p.b.WriteString("\n")
			p.block(v, indent+"  ", reflect.Value{})
			return
		}
		p.b.WriteString(" " + scalar(x) + "\n")
	}
}

// blocks writes a map of blocks by the operator's names, of each what is not empty.
func blocks[T any](p *printer, indent string, x map[string]T) {
	if len(x) == 0 {
		p.b.WriteString(" {}\n")
		return
	}
	p.b.WriteString("\n")
	for _, name := range slices.Sorted(maps.Keys(x)) {
		var in printer
		in.block(reflect.ValueOf(x[name]), indent+"    ", reflect.ValueOf(new(T)).Elem())
		p.b.WriteString(indent + "  " + quote(name) + ":")
		if in.b.Len() == 0 {
			p.b.WriteString(" {}")
		}
		p.b.WriteString("\n" + in.b.String())
	}
}

// item writes a block of a list. Its first key stands beside its dash.
func (p *printer) item(v reflect.Value, indent string, bare reflect.Value, without func(string) bool) {
	in := printer{without: without}
	in.block(v, indent+"    ", bare)
	p.b.WriteString(indent + "  - " + strings.TrimPrefix(in.b.String(), indent+"    "))
}

func (p *printer) items(n int, each func(int)) {
	if n == 0 {
		p.b.WriteString(" []\n")
		return
	}
	p.b.WriteString("\n")
	for i := range n {
		each(i)
	}
}

func scalar(v any) string {
	switch x := v.(type) {
	case string:
		return quote(x)
	case time.Duration:
		return formatDuration(x)
	case *int64:
		return strconv.FormatInt(*x, 10)
	case Bytes:
		return x.String()
	case fmt.Stringer: // Secret and DSN
		return quote(x.String())
	}
	return fmt.Sprint(v) // bool and int
}

// flow is a requirement in one line.
func flow(list []any) string {
	parts := make([]string, len(list))
	for i, v := range list {
		switch x := v.(type) {
		case []any:
			parts[i] = flow(x)
		case string:
			parts[i] = quote(x)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// quote is s as YAML reads it back: plain where nothing can be mistaken, else in double quotes. A literal ${ keeps its $.
func quote(s string) string {
	s = strings.ReplaceAll(s, "${", "$${")
	plain := s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789/._-: ") == "" &&
		(s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z') && !strings.HasSuffix(s, " ") && !strings.Contains(s+" ", ": ")
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteRune('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c < ' ' || c == 0x7f || c == 0x85 || c == 0xfeff || c == 0x2028 || c == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
