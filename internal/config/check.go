package config

import (
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// check applies every rule. The order does not matter: problems are sorted by line, and no rule relies on another.
func (r *reader) check() {
	c := r.cfg
	r.choice("environment", c.Environment, Production, Development)
	r.text("app_name", c.AppName, 1, 60)
	r.checkIssuer()
	r.checkAccent()
	r.checkHTTP()
	r.checkTLS()
	r.checkDatabase()
	r.checkSecrets()
	r.checkPassword()
	r.checkRegistration()
	r.checkMail()
	r.checkPhone()
	r.checkLifetimes()
	r.checkLimits()
	r.choice("log.format", c.Log.Format, "json", "text")
	r.choice("log.level", c.Log.Level, "debug", "info", "warn", "error")
	known := r.checkPrivileges()
	r.checkRights(known)
	r.checkDebug()
	r.checkConnectors(known)
	r.checkClients(known)
}

func (r *reader) production() bool { return r.cfg.Environment != Development }

// choice demands one of a few words.
func (r *reader) choice(path, got string, allowed ...string) {
	if slices.Contains(allowed, got) {
		return
	}
	if near, ok := nearest(got, allowed); ok {
		r.problem(path, "%s is not known; did you mean %s? It can be %s", r.show(path, got), near, oneOf(allowed))
		return
	}
	r.problem(path, "%s is not known; it can be %s", r.show(path, got), oneOf(allowed))
}

// text demands least to most printable characters.
func (r *reader) text(path, got string, least, most int) {
	n := utf8.RuneCountInString(got)
	switch {
	case n < least:
		r.problem(path, "is empty")
	case n > most:
		r.problem(path, "has %d characters, at most %d are shown", n, most)
	case strings.ContainsFunc(got, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.problem(path, "has a line break or another character that cannot be shown")
	}
}

func (r *reader) number(path string, got, least, most int) {
	if got < least || got > most {
		r.problem(path, "is %d; it can be %d to %d", got, least, most)
	}
}

func (r *reader) duration(path string, got, least, most time.Duration) {
	if got < least || got > most {
		r.problem(path, "is %s; it can be %s to %s", formatDuration(got), formatDuration(least), formatDuration(most))
	}
}

func (r *reader) checkIssuer() {
	const path, example = "issuer", "https://login.example.com"
	issuer := r.cfg.Issuer
	if issuer == "" {
		r.problem(path, "is missing: the public address of this server, such as %s", example)
		return
	}
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Opaque != "" || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		r.problem(path, "%s is not an address such as %s", r.show(path, issuer), example)
		return
	case u.User != nil:
		r.problem(path, "must not contain a user or password")
	case strings.ContainsAny(issuer, "?#"): // OIDC Discovery §3
		r.problem(path, "%s has a query or fragment, which an issuer cannot have", r.show(path, issuer))
	case strings.HasSuffix(issuer, "/"):
		r.problem(path, "%s ends in a slash; applications compare it character by character, so write %q", r.show(path, issuer), strings.TrimRight(issuer, "/"))
	case u.Path != "":
		r.problem(path, "%s has a path; Latchkey needs a host name of its own", r.show(path, issuer))
	case !ascii(u.Host) || u.Host != strings.ToLower(u.Host):
		r.problem(path, "%s must have its host in lower-case ASCII (xn--… for others)", r.show(path, issuer))
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" || strings.HasSuffix(u.Host, ":") || !validPort(u.Port(), true):
		r.problem(path, "%s has the default port, or one that does not exist; leave it out", r.show(path, issuer))
	}
	switch {
	case u.Scheme == "https":
	case r.production():
		r.problem(path, "is http; production needs https (environment: development allows http on one's own machine)")
	case !loopback(u.Hostname()):
		r.warn(path, "is http and not this machine: everybody in the network can read passwords and tokens")
	}
}

func (r *reader) checkAccent() {
	const path = "branding.accent"
	accent := r.cfg.Branding.Accent
	if accent == "" {
		return
	}
	// Its contrast needs no rule: the pages derive a shade that can be read in each theme, and one of black and white text always
	// has 4.5:1 on it.
	if _, err := hex.DecodeString(strings.TrimPrefix(accent, "#")); err != nil || len(accent) != 7 || accent[0] != '#' {
		r.problem(path, "%s is not a colour; want #rrggbb, such as \"#1f4d45\" (in quotes: a bare # starts a comment)", r.show(path, accent))
	}
}

func (r *reader) checkHTTP() {
	h := r.cfg.HTTP
	local, ok := r.listen("http.listen", h.Listen)
	if ok && !local && h.TLS == (TLS{}) && len(h.TrustedProxies) == 0 {
		const text = "listens beyond this machine without TLS; configure http.tls, or name the proxy in front in http.trusted_proxies"
		if r.production() {
			r.problem("http.listen", "%s "+text, r.show("http.listen", h.Listen))
		} else {
			r.warn("http.listen", "%s "+text, r.show("http.listen", h.Listen))
		}
	}
	if h.Management.Listen != "" {
		local, ok := r.listen("http.management.listen", h.Management.Listen)
		switch {
		case ok && h.Management.Listen == h.Listen && !strings.HasSuffix(h.Listen, ":0"):
			r.problem("http.management.listen", "is the address of http.listen; health, metrics and profiles belong on one of their own")
		case ok && !local:
			r.warn("http.management.listen", "%s is reached from beyond this machine, without sign-in; keep it within a private network", r.show("http.management.listen", h.Management.Listen))
		}
	}
	for i, p := range h.TrustedProxies {
		if p.IsValid() && p.Bits() == 0 {
			r.problem(item("http.trusted_proxies", i), "trusts everybody, who could then choose their own address and pass every limit")
		}
	}
	for i, host := range h.AllowedHosts {
		name, port, found := strings.Cut(host, ":")
		if a, err := netip.ParseAddrPort(host); err == nil {
			name, port, found = a.Addr().String(), strconv.Itoa(int(a.Port())), true
		}
		if !validHost(name) && !validIP(name) || found && !validPort(port, false) {
			r.problem(item("http.allowed_hosts", i), "%s is not a host or host:port in lower case", r.show(item("http.allowed_hosts", i), host))
		}
	}
	if r.production() && strings.HasPrefix(r.cfg.Issuer, "https:") && h.TLS == (TLS{}) && len(h.TrustedProxies) == 0 && local {
		r.warn("http.trusted_proxies", "is empty and http.tls is too: behind a proxy everybody would have the proxy's address, and the limits would meet all at once; name the proxy")
	}
}

// listen checks host:port; local says whether only this machine reaches it.
func (r *reader) listen(path, got string) (local, ok bool) {
	host, port, err := net.SplitHostPort(got)
	if err != nil || !validPort(port, false) || host != "" && !validHost(host) && !validIP(host) {
		r.problem(path, "%s is not host:port, such as 127.0.0.1:8080, [::1]:8080 or :8443", r.show(path, got))
		return false, false
	}
	return loopback(host), true
}

func (r *reader) checkTLS() {
	t := r.cfg.HTTP.TLS
	switch {
	case t == (TLS{}):
		return
	case t.CertFile == "":
		r.problem("http.tls.cert_file", "is missing; it goes with http.tls.key_file")
		return
	case t.KeyFile == "":
		r.problem("http.tls.key_file", "is missing; it goes with http.tls.cert_file")
		return
	case strings.HasPrefix(r.cfg.Issuer, "http:"):
		r.problem("http.tls", "is set, but the issuer is http")
	}
	cert, certErr := readFile(t.CertFile, 1<<20)
	if certErr != nil {
		r.problem("http.tls.cert_file", "%s cannot be read: %v", r.show("http.tls.cert_file", t.CertFile), certErr)
	}
	key, keyErr := readFile(t.KeyFile, 1<<20)
	if keyErr != nil {
		r.problem("http.tls.key_file", "%s cannot be read: %v", r.show("http.tls.key_file", t.KeyFile), keyErr)
	}
	if certErr != nil || keyErr != nil {
		return
	}
	r.warnReadable("http.tls.key_file", t.KeyFile, r.show("http.tls.key_file", t.KeyFile))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		r.problem("http.tls", "the certificate and its key do not work together: %s", strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	if u, err := url.Parse(r.cfg.Issuer); err == nil && u.Hostname() != "" && pair.Leaf.VerifyHostname(u.Hostname()) != nil {
		r.warn("http.tls.cert_file", "%s is not for the issuer's host %s", r.show("http.tls.cert_file", t.CertFile), u.Hostname())
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		r.warn("http.tls.cert_file", "%s is not valid any more, since %s", r.show("http.tls.cert_file", t.CertFile), pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

// loopback says whether only this machine reaches host.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 §6.3
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func validIP(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

// validHost is a name of letters, digits and hyphens in lower case (RFC 1123 §2.1), or an IPv4 address.
func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// validPort is 0 to 65535; "" where optional.
func validPort(s string, optional bool) bool {
	n, ok := parseWhole(s)
	return optional && s == "" || ok && n >= 0 && n <= 65535
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}
