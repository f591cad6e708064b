package web

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

const maxRedirectURI = 2048 // bytes

// CheckRedirectForm is shared by all paths of registration: it refuses fragments, userinfo, wildcards, dot segments, backslashes,
// control characters and everything not ASCII, http other than to this machine, and, for clients that are not native, every scheme
// but https and http (security.md A3, A4). Custom schemes are reverse domain names. The error says what is wrong, for an operator.
// At run time redirect URIs are compared byte for byte, so one spelling is enough: the normal one.
func CheckRedirectForm(uri string, native bool) error {
	switch {
	case uri == "":
		return errors.New("is empty")
	case len(uri) > maxRedirectURI:
		return errors.New("is longer than 2048 bytes")
	}
	for i := range len(uri) {
		switch c := uri[i]; {
		case c <= ' ' || c == 0x7f:
			return errors.New("contains a space or control character")
		case c > 0x7f:
			return errors.New("contains a character that is not ASCII (write the host in its xn-- form, the path with %)")
		case c == '\\':
			return errors.New("contains a backslash")
		case c == '*':
			return errors.New("contains a wildcard; redirect URIs are compared byte for byte")
		case c == '#':
			return errors.New("has a fragment") // RFC 6749 §3.1.2
		case c == '"' || c == '<' || c == '>' || c == '`' || c == '{' || c == '}' || c == '|' || c == '^':
			return errors.New("contains a character that URLs must escape")
		}
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Scheme == "":
		return errors.New("has no scheme")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return errors.New("contains a user name")
	case u.Opaque != "":
		return errors.New("has no / after its scheme")
	case u.String() != uri:
		return errors.New("is not in its normal form, which is " + u.String())
	case forbiddenScheme(u.Scheme):
		return errors.New("has a scheme that browsers execute or open themselves")
	}
	if err := checkPath(u); err != nil {
		return err
	}
	switch u.Scheme {
	case "https":
		return checkHost(u)
	case "http":
		if err := checkHost(u); err != nil {
			return err
		}
		if !loopbackHost(u.Hostname()) { // RFC 8252 §7.3
			return errors.New("uses http, which is for 127.0.0.1, [::1] and localhost only")
		}
		return nil
	}
	switch {
	case !native:
		return errors.New("has a custom scheme, which is for native applications only")
	case !strings.Contains(strings.Trim(u.Scheme, "."), "."): // RFC 8252 §7.1
		return errors.New("has a custom scheme without a dot; use a domain name of yours in reverse order")
	case u.Host != "":
		return checkHost(u)
	case u.Path == "":
		return errors.New("has no path")
	}
	return nil
}

// forbiddenScheme: what runs as script, shows what the URL itself holds, or hands over to the operating system.
func forbiddenScheme(scheme string) bool {
	switch scheme {
	case "javascript", "data", "file", "intent", "vbscript", "blob", "about", "filesystem", "view-source", "ws", "wss", "ftp":
		return true
	}
	return false
}

func checkHost(u *url.URL) error {
	host, port := u.Hostname(), u.Port()
	switch {
	case host == "":
		return errors.New("has no host")
	case host != strings.ToLower(host):
		return errors.New("has upper-case letters in its host")
	case !plainHost(host):
		return errors.New("has a host that is neither a name nor an address")
	case strings.HasSuffix(u.Host, ":") || !plainPort(port) || port == "0" || len(port) > 1 && port[0] == '0':
		return errors.New("has a port that is not a number")
	}
	// A name whose last label is a number is an address to browsers, however it is spelt (WHATWG URL §3.5): 127.1, 0x7f.1, 017700000001.
	last := host[strings.LastIndexByte(host, '.')+1:]
	if !strings.Contains(host, ":") && numeric(last) {
		if a, err := netip.ParseAddr(host); err != nil || a.String() != host {
			return errors.New("has an address that is not in its normal form")
		}
	}
	if a, err := netip.ParseAddr(host); err == nil && (a.String() != host || a.Is4In6()) {
		return errors.New("has an address that is not in its normal form")
	}
	return nil
}

func numeric(label string) bool {
	if len(label) > 2 && label[0] == '0' && label[1] == 'x' {
		return true
	}
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return true
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// checkPath looks at the path as it is written and as it is read.
func checkPath(u *url.URL) error {
	escaped := strings.ToLower(u.EscapedPath())
	if strings.Contains(escaped, "%2f") || strings.Contains(escaped, "%5c") {
		return errors.New("hides a slash in its path")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("has a dot segment in its path")
		}
	}
	for i := range len(u.Path) {
		if c := u.Path[i]; c < ' ' || c == 0x7f {
			return errors.New("hides a control character in its path")
		}
	}
	if query, err := url.QueryUnescape(u.RawQuery); err != nil || strings.ContainsAny(query, "\r\n\x00") {
		return errors.New("has a query that is not well formed")
	}
	return nil
}
