package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// claims are a JSON object of an upstream, read by exact name (a Go struct would also take "EMAIL" for "email"). Numbers stay json.Number.
// Members that are null are left out: null says nothing.
type claims map[string]any

// readClaims decodes one JSON object, the whole of b.
func readClaims(b []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var c claims
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	if c == nil {
		return nil, errors.New("null instead of a JSON object")
	}
	if name, twice := repeated(b); twice {
		return nil, fmt.Errorf("%q comes twice", clean(name))
	}
	for k, v := range c {
		if v == nil {
			delete(c, k)
		}
	}
	return c, nil
}

// repeated finds a name that comes twice in one object of b, which is valid JSON. Which of the two counts is anybody's guess (RFC 8259 §4),
// and an upstream that sets what people typed beside its own claims must not let them overrule those.
func repeated(b []byte) (name string, twice bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var names []map[string]bool // of the objects and lists that are open, nil for lists
	key := false                // a name comes next
	for {
		t, err := d.Token()
		if err != nil {
			return "", false
		}
		switch t {
		case json.Delim('{'):
			names, key = append(names, map[string]bool{}), true
			continue
		case json.Delim('['):
			names, key = append(names, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			names = names[:len(names)-1]
		default:
			if key {
				name, _ = t.(string)
				if names[len(names)-1][name] {
					return name, true
				}
				names[len(names)-1][name], key = true, false
				continue
			}
		}
		key = len(names) > 0 && names[len(names)-1] != nil // a value ended
	}
}

// at follows a dotted path into objects; a claim whose very name holds dots is found first.
func (c claims) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := c[path[:i]].(map[string]any); ok {
			if v := claims(inner).at(path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// exact is a string claim as it stands, "" when it is absent or no string.
func (c claims) exact(path string) string {
	s, _ := c.at(path).(string)
	return s
}

// text is a string claim for people to read: trimmed, one line, at most 1,000 bytes, else "".
func (c claims) text(path string) string {
	s := strings.TrimSpace(c.exact(path))
	if len(s) > 1000 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// list is a claim of strings; one string is a list of one, and members that are no strings are left out.
func (c claims) list(path string) []string {
	switch v := c.at(path).(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, m := range v {
			if s, ok := m.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// time is a NumericDate (RFC 7519 §2): seconds, possibly with a fraction. ok is false when it is absent or none.
func (c claims) time(path string) (t time.Time, ok bool) {
	n, isNumber := c.at(path).(json.Number)
	if !isNumber {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// yes is a boolean claim. Some upstreams spell it "true", "1" or 1; lenient takes those too, and nothing else.
func (c claims) yes(path string, lenient bool) bool {
	switch v := c.at(path).(type) {
	case bool:
		return v
	case string:
		return lenient && (v == "true" || v == "1")
	case json.Number:
		return lenient && v.String() == "1"
	}
	return false
}

// subject is a claim that may be somebody's key: 1 to 255 bytes without control characters, or a whole number.
func (c claims) subject(path string) (string, error) {
	var s string
	switch v := c.at(path).(type) {
	case string:
		s = v
	case json.Number:
		if s = v.String(); strings.Trim(s, "0123456789") != "" {
			return "", fmt.Errorf("%s is no whole number", path)
		}
	default:
		return "", fmt.Errorf("%s is missing", path)
	}
	if !isKey(s, 255) { // OpenID Connect Core §2
		return "", fmt.Errorf("%s is empty, too long or holds control characters", path)
	}
	return s, nil
}

// isKey says whether s may be looked up. What was no text became U+FFFD when it was decoded, and two such would be one.
func isKey(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) })
}

// address is an e-mail claim, "" unless it is one plain address.
func (c claims) address(path string) string {
	s := strings.TrimSpace(c.exact(path))
	if !plainAddress(s) {
		return ""
	}
	return s
}

// plainAddress says whether s is one address and nothing else: exactly one @, no name, comment or quotes (`a@evil@corp`, security.md E12).
func plainAddress(s string) bool {
	if len(s) > 254 || strings.Count(s, "@") != 1 || strings.ContainsAny(s, "\"<>()[],;:\\ ") ||
		!utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return false
	}
	_, domain, _ := strings.Cut(s, "@")
	if strings.ContainsFunc(domain, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && r != '.' && r != '-' }) {
		return false
	}
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && a.Address == s
}

// domainForm is a DNS name of at least two labels, in lower case and ASCII.
var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// domainOf is the part of an address after the @, in lower case.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// Claims that serve the protocol or hold a token. They have no place among the facts about a person.
var notFacts = []string{
	"nonce", "at_hash", "c_hash", "s_hash", "jti", "uti", "rh", "aio", "_claim_names", "_claim_sources",
	"access_token", "refresh_token", "id_token", "token",
}
