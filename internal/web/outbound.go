package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Outbound is the one HTTP client for URLs that are not written in this program (security.md D1, D2).
//
// Strangers' URLs: https on port 443 or 8443, public addresses only, no redirects (the 3xx is the answer), no proxy, 5 s, 256 KiB.
// Operators' URLs: any address, the proxy of the environment, at most 3 redirects and none from https to http, 10 s, 1 MiB.
// Both: no cookies, no compression, 4 calls at once per host; a host that failed 5 times in a row is left alone for 30 s.
// A body beyond the limit is ErrTooLarge where it is read. Error texts name addresses: log them, never show them.
func Outbound(stranger bool) *http.Client { return outbound(stranger, outboundSeams{}) }

// Errors of Outbound.
var (
	ErrNotPublic = errors.New("address is not public")
	ErrTooLarge  = errors.New("answer is too large")
	ErrRefused   = errors.New("URL refused")
	ErrBreaker   = errors.New("peer failed too often, left alone for now")
)

// outboundSeams are what tests replace.
type outboundSeams struct {
	resolver *net.Resolver
	ports    []string                   // besides 443 and 8443
	allowed  func(netip.AddrPort) error // asked after the guard let an address pass
	base     *http.Transport
	now      func() time.Time
}

func outbound(stranger bool, seams outboundSeams) *http.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second, Resolver: seams.resolver}
	// Control runs after DNS, on the address that is about to be connected, for each attempt: a name that changes its answer between
	// a check and the connection gains nothing.
	dialer.Control = func(network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("web: %w: %s", ErrRefused, address)
		}
		if stranger && !public(ap.Addr()) {
			return fmt.Errorf("web: %w", ErrNotPublic)
		}
		if seams.allowed != nil {
			return seams.allowed(ap)
		}
		return nil
	}
	transport := &http.Transport{}
	if seams.base != nil {
		transport = seams.base
	}
	transport.DialContext = dialer.DialContext
	transport.DisableCompression = true
	transport.TLSHandshakeTimeout = 3 * time.Second
	transport.ResponseHeaderTimeout = 5 * time.Second
	transport.MaxResponseHeaderBytes = 32 << 10
	transport.MaxIdleConnsPerHost = maxPerHost
	transport.IdleConnTimeout = 30 * time.Second

	guard := &guard{next: transport, stranger: stranger, ports: append([]string{"", "443", "8443"}, seams.ports...), maxBody: 1 << 20, now: seams.now}
	if guard.now == nil {
		guard.now = time.Now
	}
	client := &http.Client{Transport: guard, Timeout: 10 * time.Second}
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if len(via) > 3 || via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return fmt.Errorf("web: redirect: %w", ErrRefused)
		}
		return nil
	}
	if stranger {
		guard.maxBody = 256 << 10
		client.Timeout = 5 * time.Second
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	} else {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return client
}

// public says whether a is an address of the public internet: global unicast, and in no block that means something else (IANA's
// special-purpose registries, RFC 6890). What is not known to be public is not.
func public(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if a.Is6() && !globalIPv6.Contains(a) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var (
	globalIPv6 = netip.MustParsePrefix("2000::/3") // the only block IANA assigns global unicast from
	notPublic  = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network
		netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
		netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"), // documentation
		netip.MustParsePrefix("203.0.113.0/24"),  // documentation
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
		netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo, ORCHID
		netip.MustParsePrefix("2001:db8::/32"),   // documentation
		netip.MustParsePrefix("2002::/16"),       // 6to4: carries an IPv4 address
		netip.MustParsePrefix("3fff::/20"),       // documentation
	}
)

const (
	maxPerHost   = 4
	breakAfter   = 5 // failures in a row
	breakFor     = 30 * time.Second
	maxPeersKept = 1000
)

// guard is the RoundTripper that looks at the URL before and at the answer after.
type guard struct {
	next     http.RoundTripper
	stranger bool
	ports    []string
	maxBody  int64
	now      func() time.Time

	mu    sync.Mutex
	peers map[string]*peer // by host:port
}

type peer struct {
	slots     chan struct{}
	users     int // holding or waiting for a slot
	failures  int
	openUntil time.Time
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r); err != nil {
		return nil, err
	}
	p, err := g.enter(r.Context(), r.URL.Host)
	if err != nil {
		return nil, err
	}
	res, err := g.next.RoundTrip(r)
	if err != nil {
		g.leave(p, !errors.Is(err, context.Canceled))
		return nil, err
	}
	res.Body = &limitedBody{ReadCloser: res.Body, left: g.maxBody, done: sync.OnceFunc(func() {
		g.leave(p, res.StatusCode >= 500)
	})}
	if res.ContentLength > g.maxBody {
		_ = res.Body.Close() // the answer is thrown away
		return nil, fmt.Errorf("web: %w", ErrTooLarge)
	}
	return res, nil
}

func (g *guard) check(r *http.Request) error {
	switch {
	case r.URL.User != nil, r.URL.Scheme != "https" && r.URL.Scheme != "http":
		return fmt.Errorf("web: %w", ErrRefused)
	case !g.stranger:
		return nil
	case r.URL.Scheme != "https":
		return fmt.Errorf("web: %w: not https", ErrRefused)
	}
	for _, p := range g.ports {
		if r.URL.Port() == p {
			return nil
		}
	}
	return fmt.Errorf("web: %w: port", ErrRefused)
}

func (g *guard) enter(ctx context.Context, host string) (*peer, error) {
	host = strings.ToLower(host)
	g.mu.Lock()
	p := g.peers[host]
	if p == nil {
		if g.peers == nil || len(g.peers) >= maxPeersKept {
			g.forget()
		}
		p = &peer{slots: make(chan struct{}, maxPerHost)}
		g.peers[host] = p
	}
	if g.now().Before(p.openUntil) {
		g.mu.Unlock()
		return nil, fmt.Errorf("web: %w", ErrBreaker)
	}
	p.users++
	g.mu.Unlock()
	select {
	case p.slots <- struct{}{}:
		return p, nil
	case <-ctx.Done():
		g.mu.Lock()
		p.users--
		g.mu.Unlock()
		return nil, ctx.Err()
	}
}

// forget drops the peers that nothing is known against; strangers choose the names, so the map is bounded.
func (g *guard) forget() {
	kept := map[string]*peer{}
	for host, p := range g.peers {
		if p.users > 0 || p.failures > 0 && g.now().Before(p.openUntil) {
			kept[host] = p
		}
	}
	g.peers = kept
}

func (g *guard) leave(p *peer, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	<-p.slots
	p.users--
	if !failed {
		p.failures = 0
		return
	}
	if p.failures++; p.failures >= breakAfter {
		p.openUntil = g.now().Add(breakFor)
		p.failures = breakAfter - 1 // one more chance after the pause
	}
}

// limitedBody fails, rather than ends, at its limit: half a document must not pass for a whole one.
type limitedBody struct {
	io.ReadCloser
	left int64
	done func()
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("web: %w", ErrTooLarge)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n + int(b.left), fmt.Errorf("web: %w", ErrTooLarge)
	}
	return n, err
}

func (b *limitedBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}
