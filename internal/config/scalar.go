package config

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// scalar reads a single value.
func (r *reader) scalar(n ast.Node, v reflect.Value, path string, at place) {
	written, isText, isScalar := textOf(n)
	want := wanted(v)
	if !isScalar {
		r.spoil(path, at, "want %s, not %s", want, kindOf(n))
		return
	}
	if runsOn(n) {
		r.spoil(path, at, "goes on in the next line; is a space missing after a colon? Put a long text in quotes")
		return
	}
	text, ok := r.expand(written, path, at)
	if !ok {
		return
	}
	if text != written {
		r.written[path] = written
	}
	isVariable := isText && text != written // what a variable holds has no type
	fits := true
	switch p := v.Addr().Interface().(type) {
	case *string:
		if !isText {
			r.spoil(path, at, "want a text, not %s; put it in quotes", kindOf(n))
			return
		}
		*p = text
	case *Secret:
		if !isText {
			r.spoil(path, at, "want a text, not %s; put it in quotes", kindOf(n))
			return
		}
		*p = NewSecret(strings.TrimRight(text, "\r\n")) // a block ends in a line break, as a file does
		r.inline = r.inline || text == written && text != ""
	case *DSN:
		*p = NewDSN(text)
		r.inline = r.inline || text == written && p.String() != text
	case *bool:
		*p = strings.EqualFold(text, "true")
		fits = (!isText || isVariable) && (*p || strings.EqualFold(text, "false"))
	case *int:
		var whole int64
		whole, fits = parseWhole(text)
		fits = fits && (!isText || isVariable) && math.MinInt32 <= whole && whole <= math.MaxInt32
		*p = int(whole)
	case **int64:
		var whole int64
		whole, fits = parseWhole(text)
		fits = fits && (!isText || isVariable)
		*p = &whole
	case *Bytes:
		*p, fits = parseBytes(text)
	case *time.Duration:
		*p, fits = parseDuration(text)
	case *netip.Prefix:
		*p, fits = r.network(text, path, at)
		if r.spoilt[path] {
			return
		}
	}
	if !fits {
		r.spoil(path, at, "%s, not %s", wanting(v), r.show(path, written))
	}
}

// wanted says what v holds, wanting asks for it.
func wanted(v reflect.Value) string { return strings.TrimPrefix(wanting(v), "want ") }

func wanting(v reflect.Value) string {
	switch v.Interface().(type) {
	case bool:
		return "want true or false"
	case int, *int64:
		return "want a whole number"
	case Bytes:
		return wantBytes
	case time.Duration:
		return wantDuration
	case netip.Prefix:
		return "want an address or network such as 10.0.0.0/8"
	}
	return "want a text"
}

// network reads a CIDR or a single address. An address beyond the mask is refused: either half may be the one that was meant.
func (r *reader) network(text, path string, at place) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	if p.Masked() != p {
		r.spoil(path, at, "%s has an address within the network; did you mean %s, or %s alone?", r.show(path, text), p.Masked(), p.Addr())
	}
	return p, true
}
