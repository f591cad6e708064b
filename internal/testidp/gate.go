package testidp

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store/storetest"
)

// Gate stands between a server and its PostgreSQL and can shut, or let nothing through: the database that is gone, and the one that hangs.
type Gate struct {
	URL  string // of the database behind the gate
	to   string // unix socket
	l    net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
	shut bool
	hang chan struct{} // not nil: bytes wait until it closes
}

// NewGate makes a database and a gate before it.
func NewGate(t testing.TB) *Gate {
	t.Helper()
	u, err := url.Parse(storetest.URL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	socks, err := filepath.Glob(filepath.Join(u.Query().Get("host"), ".s.PGSQL.*"))
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{open: map[net.Conn]bool{}}
	for _, s := range socks {
		if !strings.HasSuffix(s, ".lock") {
			g.to = s
		}
	}
	if _, err := os.Stat(g.to); err != nil {
		t.Fatalf("no socket of PostgreSQL: %v", err)
	}
	if g.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.URL = "postgres://postgres@" + g.l.Addr().String() + u.Path + "?sslmode=disable"
	go g.serve()
	t.Cleanup(func() { g.l.Close(); g.Resume(); g.Shut() })
	return g
}

func (g *Gate) serve() {
	for {
		c, err := g.l.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut {
			c.Close()
			continue
		}
		d, err := net.Dial("unix", g.to)
		if err != nil {
			c.Close()
			continue
		}
		g.mu.Lock()
		g.open[c], g.open[d] = true, true
		g.mu.Unlock()
		go g.pipe(c, d)
		go g.pipe(d, c)
	}
}

func (g *Gate) pipe(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		g.mu.Lock()
		delete(g.open, from)
		delete(g.open, to)
		g.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		hang := g.hang
		g.mu.Unlock()
		if hang != nil {
			<-hang
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil { // any end is the end
			return
		}
	}
}

// Shut ends every connection and refuses new ones.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.open {
		c.Close()
	}
}

// Open lets connections through again.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// Hang keeps connections open and lets nothing through.
func (g *Gate) Hang() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hang == nil {
		g.hang = make(chan struct{})
	}
}

// Resume lets through what waited.
func (g *Gate) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hang != nil {
		close(g.hang)
		g.hang = nil
	}
}

// Within repeats f until it holds, for at most d.
func Within(t testing.TB, d time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", d, what)
			return
		}
	}
}
