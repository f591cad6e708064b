package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the public listener (security.md I3): a peer that sends slowly, reads slowly or says nothing is cut off.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10

	// maxConnections, where nothing is configured, bounds memory. It lies well above the 5,000 slow connections that one attacker
	// opens with ease: those end after readHeaderTimeout only.
	maxConnections = 10_000
)

// httpServer is a net/http server with the limits of the public listener.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		// net/http adds 4 KiB of its own to what is set here; a header of more than 32 KiB gets 431.
		MaxHeaderBytes: maxHeaderBytes - 4096,
		// Handshake failures and the like are the peer's doing: noise at a level that is off by default.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// listen opens a TCP listener; an address in use or one that needs more rights is said in plain words.
func listen(ctx context.Context, what, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s for %s: %w", addr, what, err)
	}
	return l, nil
}

// places bounds the connections of a server. When all are taken, the connection that has waited longest for its next request gives
// way; those with a request under way never do. So connections that somebody opens and leaves idle keep nobody out.
type places struct {
	net.Listener
	free chan struct{} // a token per place

	mu      sync.Mutex
	idle    list.List                  // of net.Conn, longest idle first
	at      map[net.Conn]*list.Element // in idle
	waiting bool                       // Accept has a connection and no place for it
}

// limited bounds the connections of l to n.
func limited(l net.Listener, n int) *places {
	if n <= 0 {
		n = maxConnections
	}
	p := &places{Listener: l, free: make(chan struct{}, n), at: map[net.Conn]*list.Element{}}
	for range n {
		p.free <- struct{}{}
	}
	return p
}

// Accept implements net.Listener.
func (p *places) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case <-p.free:
	default:
		p.wait(true)
		<-p.free // where none is idle: the first that becomes so, or ends; every state has its timeout
		p.wait(false)
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { p.free <- struct{}{} })}, nil
}

// state is http.Server.ConnState.
func (p *places) state(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.at[c]; ok {
		p.idle.Remove(e)
		delete(p.at, c)
	}
	if s == http.StateIdle {
		p.at[c] = p.idle.PushBack(c)
		if p.waiting {
			p.evict()
		}
	}
}

func (p *places) wait(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting = on; on {
		p.evict()
	}
}

// evict closes the connection that is idle for longest, if there is one. The caller holds mu.
func (p *places) evict() {
	e := p.idle.Front()
	if e == nil {
		return
	}
	c := p.idle.Remove(e).(net.Conn)
	delete(p.at, c)
	go func() { _ = c.Close() }() // saying goodbye in TLS can take seconds
}

// placed gives its place back when it closes.
type placed struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// certificates serves the TLS key pair in two files; Load reads them again, so that a renewed certificate needs no restart.
type certificates struct {
	certFile, keyFile string
	pair              atomic.Pointer[tls.Certificate]
}

// Load reads the files. On error the pair in use stays.
func (c *certificates) Load() error {
	p, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("the TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&p)
	return nil
}

// config is what the live listener speaks: TLS 1.3, and 1.2 with forward secrecy and AEAD only. These are the TLS 1.2
// cipher suites of FAPI 2.0 §5.2.2 that Go has.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		},
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if p := c.pair.Load(); p != nil {
				return p, nil
			}
			return nil, errors.New("server: no certificate loaded")
		},
	}
}
