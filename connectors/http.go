package connectors

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What one request to an upstream may cost us.
const (
	requestTimeout = 10 * time.Second // in all: connecting, waiting, reading
	maxBody        = 1 << 20          // bytes of an answer, after decompression
	maxHeader      = 64 << 10
)

// newHTTP returns the client that a connector uses: c, or a safe one of our own. Whatever c says, it follows no redirects (a token request or
// a bearer token must not travel on to an address we did not choose) and ends every request in time.
func newHTTP(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           16,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxHeader,
		}}
	}
	own := *c
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if own.Timeout <= 0 || own.Timeout > requestTimeout {
		own.Timeout = requestTimeout
	}
	return &own
}

// fetch sends req with c (which newHTTP made) and reads the whole answer, whatever its status. Trouble on the way and an answer longer than
// 1 MiB are an *Error of kind Upstream; so is a redirect, which no endpoint we call has reason to send.
func fetch(ctx context.Context, c *http.Client, req *http.Request) (status int, header http.Header, body []byte, err error) {
	res, err := c.Do(req.WithContext(ctx))
	if err != nil {
		return 0, nil, nil, &Error{Kind: Upstream, Err: bare(err, req)}
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return 0, nil, nil, &Error{Kind: Upstream, Err: fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)}
	}
	if len(body) > maxBody {
		return 0, nil, nil, fail(Upstream, "the answer of %s is longer than %d bytes", req.URL.Host, maxBody)
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return 0, nil, nil, fail(Upstream, "%s answers with a redirect (%d), which is not followed", req.URL.Host, res.StatusCode)
	}
	return res.StatusCode, res.Header, body, nil
}

// quoted is an error whose words are fit for a log.
type quoted struct {
	text string
	err  error
}

func (q *quoted) Error() string { return q.text }

func (q *quoted) Unwrap() error { return q.err }

// bare takes out of an error of http.Client what does not belong in a log: the query of the address, and what it quotes of an answer (a
// Location, a line of the header) that gives back what was sent.
func bare(err error, req *http.Request) error {
	u, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	return &quoted{strings.ToLower(u.Op) + " " + req.URL.Host + req.URL.Path + ": " + clean(u.Err.Error(), sent(req)...), u.Err}
}

// sent are the values that a request carries: credentials, codes, tokens.
func sent(req *http.Request) []string {
	_, credentials, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	list := []string{credentials}
	if _, secret, ok := req.BasicAuth(); ok {
		plain, _ := url.QueryUnescape(secret) // RFC 6749 §2.3.1
		list = append(list, plain)
	}
	raw := req.URL.RawQuery
	if req.GetBody != nil {
		if b, err := req.GetBody(); err == nil {
			form, _ := io.ReadAll(b) // it lies in memory
			raw += "&" + string(form)
		}
	}
	values, _ := url.ParseQuery(raw) // as far as it can be read
	for _, v := range values {
		list = append(list, v...)
	}
	return list
}

// checkURL says whether s may be an upstream's address: absolute, https (http on loopback only), no user, no fragment.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address", s)
	case u.Hostname() == "" || u.Opaque != "": // ":443" would be this machine
		return fmt.Errorf("%q is not an absolute address", s)
	case u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q has a user or a fragment", s)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not https", s)
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// inside says whether host is this machine or a private network, as far as its spelling tells; what a name resolves to is for the HTTP
// client to watch.
func inside(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return !ip.IsGlobalUnicast() || ip.IsPrivate()
	}
	// 127.1, 0x7f000001: resolvers take them for addresses. No top-level domain is a number.
	last := host[strings.LastIndexByte(host, '.')+1:]
	return loopback(host) || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// clean makes an upstream's words fit for one line of a log: no control characters (Entra separates lines by \r\n), at most 500 bytes, and
// without the secrets of this exchange, as they are or as a form or query spells them.
func clean(s string, secrets ...string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for _, secret := range secrets {
		if len(secret) >= 8 {
			s = strings.NewReplacer(secret, "[secret]", url.QueryEscape(secret), "[secret]").Replace(s)
		}
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\r' || r == '\n' }), "; ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 500 {
		s = s[:500]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
