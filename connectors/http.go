package connectors

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
		return 0, nil, nil, &Error{Kind: Upstream, Err: bare(err)}
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

// bare takes the address off an error of http.Client: its query may hold what does not belong in a log.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		at := "the upstream"
		if p, perr := url.Parse(u.URL); perr == nil {
			at = p.Host + p.Path
		}
		return fmt.Errorf("%s %s: %w", strings.ToLower(u.Op), at, u.Err)
	}
	return err
}

// checkURL says whether s may be an upstream's address: absolute, https (http on loopback only), no user, no fragment.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address", s)
	case u.Host == "" || u.Opaque != "":
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

// clean makes an upstream's words fit for one line of a log: no control characters (Entra separates lines by \r\n), at most 500 bytes, and
// without the secrets of this exchange.
func clean(s string, secrets ...string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for _, secret := range secrets {
		if len(secret) >= 8 {
			s = strings.ReplaceAll(s, secret, "[secret]")
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
