package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fakeDNS answers A and AAAA questions with what answer says, over UDP on loopback.
func fakeDNS(t testing.TB, answer func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			question := q.Questions[0]
			for _, ip := range answer(strings.TrimSuffix(strings.ToLower(question.Name.String()), ".")) {
				head := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: dnsmessage.ClassINET, TTL: 0}
				switch {
				case question.Type == dnsmessage.TypeA && ip.Is4():
					a.Answers = append(a.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: ip.As4()}})
				case question.Type == dnsmessage.TypeAAAA && ip.Is6():
					a.Answers = append(a.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
				}
			}
			if b, err := a.Pack(); err == nil {
				_, _ = conn.WriteTo(b, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// trap is a listener nobody may reach: on IPv4 and IPv6 loopback, counting connections.
func trap(t testing.TB) (port string, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	accept := func(l net.Listener) {
		t.Cleanup(func() { _ = l.Close() })
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = c.Close()
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	go accept(l)
	if l6, err := net.Listen("tcp6", "[::1]:"+port); err == nil { // where the machine has IPv6
		go accept(l6)
	}
	return port, hits
}

var errStop = errors.New("test: the guard let this address pass")

// D1: addresses of this machine and its neighbours, however they are spelt.
func TestSec_D1_StrangersURLs(t *testing.T) {
	t.Parallel()
	port, hits := trap(t)
	names := map[string]string{
		"localtest.example": "127.0.0.1", "127.0.0.1.nip.example": "127.0.0.1", "six.example": "::1", "mapped.example": "::ffff:127.0.0.1", "meta.example": "169.254.169.254",
		"private.example": "10.1.2.3", "ula.example": "fd00::1", "cgnat.example": "100.64.0.1", "zero.example": "0.0.0.0",
		// Spellings that a system's own resolver turns into loopback: here DNS plays that part.
		"2130706433": "127.0.0.1", "0x7f000001": "127.0.0.1", "017700000001": "127.0.0.1", "0177.0.0.1": "127.0.0.1", "0x7f.0.0.1": "127.0.0.1", "127.1": "127.0.0.1", "127.0.1": "127.0.0.1", "0": "0.0.0.0",
	}
	resolver := fakeDNS(t, func(name string) []netip.Addr {
		if a, ok := names[name]; ok {
			return []netip.Addr{netip.MustParseAddr(a)}
		}
		return nil
	})
	client := outbound(true, outboundSeams{resolver: resolver, ports: []string{port}, allowed: func(netip.AddrPort) error { return errStop }})
	hosts := []string{
		"127.0.0.1", "127.0.0.2", "127.255.255.254", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:0.0.0.0]", "0.0.0.0", "0.1.2.3", "localhost", "LOCALHOST",
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254", "169.254.169.254", "169.254.0.1", "[::ffff:169.254.169.254]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[fc00::1]", "[fd00::1]",
		"[fd00:ec2::254]", "100.64.0.1", "100.127.255.254", "192.0.0.1", "192.0.0.170", "192.0.2.1", "198.18.0.1", "198.19.255.254", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "[ff02::1]", "[ff0e::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[::7f00:1]", "[100::1]", "[2001::1]", "[2001:10::1]", "[2001:db8::1]", "[2002:7f00:1::]", "[2002:a00:1::]", "[3fff::1]", "[5f00::1]", "[4000::1]",
	}
	for name := range names {
		hosts = append(hosts, name)
	}
	if len(hosts) < 60 {
		t.Fatalf("only %d spellings", len(hosts))
	}
	for _, host := range hosts {
		_, err := client.Get("https://" + host + ":" + port + "/")
		if err == nil || errors.Is(err, errStop) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections reached the listener", n)
	}
	for _, host := range []string{"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[2a00:1450::1]"} {
		if _, err := client.Get("https://" + host + ":" + port + "/"); !errors.Is(err, errStop) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestSec_D1_SchemesAndPorts(t *testing.T) {
	t.Parallel()
	client := outbound(true, outboundSeams{allowed: func(netip.AddrPort) error { return errStop }})
	for _, u := range []string{
		"http://8.8.8.8/", "http://8.8.8.8:443/", "https://8.8.8.8:80/", "https://8.8.8.8:22/", "https://8.8.8.8:6379/", "https://8.8.8.8:44300/", "https://user:pw@8.8.8.8/", "ftp://8.8.8.8/",
		"file:///etc/passwd", "gopher://8.8.8.8:443/", "unix:///run/docker.sock", "HTTP://8.8.8.8/",
	} {
		if _, err := client.Get(u); err == nil || errors.Is(err, errStop) {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{"https://8.8.8.8/", "https://8.8.8.8:443/", "https://8.8.8.8:8443/x", "HTTPS://8.8.8.8/"} {
		if _, err := client.Get(u); !errors.Is(err, errStop) {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// D1: a name that answers public to a check and private to the connection, or both at once.
func TestSec_D1_Rebinding(t *testing.T) {
	t.Parallel()
	port, hits := trap(t)
	var questions atomic.Int64
	resolver := fakeDNS(t, func(name string) []netip.Addr {
		public, private := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("127.0.0.1")
		switch {
		case name == "both.example":
			return []netip.Addr{private, public}
		case questions.Add(1) <= 2: // A and AAAA of the first look
			return []netip.Addr{public}
		}
		return []netip.Addr{private}
	})
	var mu sync.Mutex
	var passed []string
	client := outbound(true, outboundSeams{resolver: resolver, ports: []string{port}, allowed: func(a netip.AddrPort) error {
		mu.Lock()
		defer mu.Unlock()
		passed = append(passed, a.Addr().String())
		return errStop
	}})
	_, err := client.Get("https://flip.example:" + port + "/")
	if !errors.Is(err, errStop) {
		t.Errorf("first answer: %v", err)
	}
	for range 3 {
		if _, err := client.Get("https://flip.example:" + port + "/"); !errors.Is(err, ErrNotPublic) {
			t.Errorf("after the change: %v", err)
		}
	}
	_, _ = client.Get("https://both.example:" + port + "/")
	for _, a := range passed {
		if a != "8.8.8.8" {
			t.Errorf("connected to %s", a)
		}
	}
	if hits.Load() != 0 {
		t.Error("the listener was reached")
	}
}

// served is a TLS server a client made with its seams can reach although it is on loopback.
func served(t testing.TB, stranger bool, h http.HandlerFunc) (*http.Client, string, *httptest.Server) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	client := outbound(stranger, outboundSeams{ports: []string{port}, base: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}) // the test's own server
	if stranger {
		// Everything but the address check, which would rightly refuse the server.
		dial := (&net.Dialer{}).DialContext
		client.Transport.(*guard).next.(*http.Transport).DialContext = dial
	}
	return client, srv.URL, srv
}

// D1: a redirect is the answer, not an instruction.
func TestSec_D1_Redirects(t *testing.T) {
	t.Parallel()
	port, hits := trap(t)
	client, base, _ := served(t, true, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://127.0.0.1:"+port+"/", http.StatusFound)
	})
	res, err := client.Get(base)
	if err != nil || res.StatusCode != http.StatusFound {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
	if hits.Load() != 0 {
		t.Error("the redirect was followed")
	}

	// An operator's URL may move, three times, and not to http.
	client, base, _ = served(t, false, func(w http.ResponseWriter, r *http.Request) {
		if rest := strings.TrimPrefix(r.URL.Path, "/x"); rest != r.URL.Path {
			http.Redirect(w, r, "/"+rest, http.StatusFound)
		}
	})
	for hops := range 6 {
		res, err := client.Get(base + "/" + strings.Repeat("x", hops))
		if (err == nil) != (hops <= 3) {
			t.Errorf("%d redirects: %v", hops, err)
		}
		if err == nil {
			_ = res.Body.Close()
		}
	}
	client, base, _ = served(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+port+"/", http.StatusFound)
	})
	if _, err := client.Get(base); !errors.Is(err, ErrRefused) || hits.Load() != 0 {
		t.Errorf("redirect to http: %v", err)
	}
}

// D2: peers that send too much.
func TestSec_D2_Sizes(t *testing.T) {
	t.Parallel()
	serve := func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		if r.URL.Query().Get("stream") == "false" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		for n := 0; n < size; n += 1 << 10 {
			if _, err := w.Write(make([]byte, min(1<<10, size-n))); err != nil {
				return
			}
		}
	}
	for _, stranger := range []bool{true, false} {
		limit := map[bool]int{true: 256 << 10, false: 1 << 20}[stranger]
		client, base, _ := served(t, stranger, serve)
		for _, stream := range []bool{false, true} {
			for _, tc := range []struct {
				size int
				ok   bool
			}{{0, true}, {10, true}, {limit, true}, {limit + 1, false}, {4 << 20, false}} {
				res, err := client.Get(fmt.Sprintf("%s?size=%d&stream=%v", base, tc.size, stream))
				var b []byte
				if err == nil {
					b, err = io.ReadAll(res.Body)
					_ = res.Body.Close()
				}
				if tc.ok && (err != nil || len(b) != tc.size) || !tc.ok && (!errors.Is(err, ErrTooLarge) || len(b) > limit) {
					t.Errorf("stranger %v, streamed %v, %d bytes: read %d, %v", stranger, stream, tc.size, len(b), err)
				}
			}
		}
	}
}

// D2: a compressed bomb is not unpacked.
func TestSec_D2_Compression(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	client, base, _ := served(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("asked for compression")
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	res, err := client.Get(base)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > bomb.Len() {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// D2: four calls at once per host, and a pause for a host that fails.
func TestSec_D2_PerHost(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	release := make(chan struct{})
	client, base, _ := served(t, true, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
	})
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if res, err := client.Get(base); err == nil {
				_ = res.Body.Close()
			}
		})
	}
	for range 1000 { // the calls that may come do, and none comes after them
		if most.Load() >= maxPerHost {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	all.Wait()
	if m := most.Load(); m != maxPerHost {
		t.Errorf("%d calls at once", m)
	}

	at := time.Now()
	calls := 0
	g := &guard{ports: []string{""}, maxBody: 10, now: func() time.Time { return at }, next: tripper(func(*http.Request) (*http.Response, error) {
		calls++
		return nil, errors.New("down")
	})}
	get := func() error {
		_, err := g.RoundTrip(&http.Request{URL: &url.URL{Scheme: "https", Host: "peer.example"}})
		return err
	}
	for range 8 {
		_ = get()
	}
	if calls != breakAfter || !errors.Is(get(), ErrBreaker) {
		t.Errorf("%d calls to a peer that is down", calls)
	}
	at = at.Add(breakFor)
	_, _ = get(), get()
	if calls != breakAfter+1 {
		t.Errorf("%d calls after the pause", calls)
	}
	for i := range 3 * maxPeersKept {
		_, _ = g.RoundTrip(&http.Request{URL: &url.URL{Scheme: "https", Host: fmt.Sprintf("p%d.example", i)}})
	}
	if len(g.peers) > maxPeersKept {
		t.Errorf("%d peers kept", len(g.peers))
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOutboundLimits(t *testing.T) {
	t.Parallel()
	s, o := Outbound(true), Outbound(false)
	if s.Timeout != 5*time.Second || o.Timeout != 10*time.Second || s.Jar != nil || o.Jar != nil {
		t.Errorf("timeouts %v, %v", s.Timeout, o.Timeout)
	}
	if s.Transport.(*guard).next.(*http.Transport).Proxy != nil {
		t.Error("a stranger's URL may go through a proxy, which resolves the name again")
	}
}

// Every IPv4 address that is not unicast, or private, or in a block of its own, is refused: a sample of each /16.
func TestPublicAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for i := range 1 << 16 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i)<<16|1)
		a := netip.AddrFrom4(b)
		if public(a) && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()) {
			t.Fatalf("%s is public", a)
		}
		if public(a) != public(netip.AddrFrom16(a.As16())) {
			t.Fatalf("%s differs in IPv6", a)
		}
	}
}
