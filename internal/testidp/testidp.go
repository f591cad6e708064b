// Package testidp is the harness of every test that wants a whole Latchkey: the real server on a real database behind real sockets,
// a browser that obeys the rules of browsers, a real relying party, and time that a test can move.
//
//	idp := testidp.Start(t, testidp.Options{})
//	ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
//	rp := idp.RP(store.ClientMetadata{Name: "Wiki"})
//	b := idp.Browser()
//	login := rp.Start()
//	page := b.SignIn(b.Get(login.URL), ada)
//	tokens := rp.Finish(login, b.Consent(page).URL)
//
// Tests that need a later hour run StartBubble inside testing/synctest: no sockets, SQLite, and time.Sleep moves the clock. Two
// processes, crashes and PostgreSQL need real time and use Start.
//
// It is imported by _test packages only.
package testidp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Options of a server under test; the zero value is SQLite behind TLS.
type Options struct {
	Engine string               // "sqlite" (default) or "postgres"
	URL    string               // an existing database instead, for a second server on it; the first one's IDP.URL
	Plain  bool                 // http instead of TLS, as in development
	Demo   bool                 // with /dev/outbox
	Fakes  *Fakes               // upstreams to sign in through
	Config func(*config.Config) // the last word on the configuration
	Server server.Options       // passed on; Demo and Logger are filled in

	port int // 0 = a free one
}

// IDP is a running Latchkey.
type IDP struct {
	t         testing.TB
	Issuer    string
	URL       string            // of the database
	Config    *config.Config    // what it runs with
	Server    *server.Server    // for what cannot be seen from outside
	Store     *store.Store      // the same database
	Transport http.RoundTripper // trusts the server's certificate
	Now       func() time.Time
	Fakes     *Fakes // nil = none

	url        *url.URL
	options    Options // as started
	stop       context.CancelFunc
	stopped    chan struct{}
	management string
}

// masterKey protects every test's database, so that signing keys can be made once and copied.
var masterKey = sync.OnceValue(func() string {
	return fmt.Sprintf("%x", MasterKey())
})

// MasterKey is that key as bytes.
func MasterKey() []byte {
	sum := sha256.Sum256([]byte("the master key of tests"))
	return sum[:]
}

// masterKeys are what the server has.
func masterKeys() provider.MasterKeys {
	m, err := provider.NewMasterKeys(MasterKey())
	if err != nil {
		panic(err) // never: it is 32 bytes
	}
	return m
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *IDP {
	t.Helper()
	if o.URL == "" {
		o.URL = freshDatabase(t, o.Engine)
	}
	var err error
	for range 5 { // somebody else may take the port between the look and the listening
		var i *IDP
		if i, err = start(t, o); err == nil {
			return i
		}
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	t.Fatal(err)
	return nil
}

func start(t testing.TB, o Options) (*IDP, error) {
	port, err := o.port, error(nil)
	if port == 0 {
		if port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	cfg := baseConfig(o.URL)
	cfg.HTTP.Listen = fmt.Sprintf("127.0.0.1:%d", port)
	cfg.HTTP.Management.Listen = "127.0.0.1:0"
	cfg.Issuer = fmt.Sprintf("https://localhost:%d", port)
	if o.Plain {
		cfg.Issuer = fmt.Sprintf("http://localhost:%d", port)
	} else {
		cfg.HTTP.TLS.CertFile, cfg.HTTP.TLS.KeyFile, err = testCA().files(t)
		if err != nil {
			return nil, err
		}
	}
	if o.Fakes != nil {
		if err := o.Fakes.serve(cfg); err != nil {
			return nil, err
		}
	}
	if o.Config != nil {
		o.Config(cfg)
	}
	ready := make(chan server.Addresses, 1)
	o.Server.Demo = o.Demo
	o.Server.Ready = func(a server.Addresses) { ready <- a }
	if o.Server.Logger == nil {
		o.Server.Logger = logger(t)
	}
	srv, err := server.New(cfg, o.Server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	i := newIDP(t, cfg, srv, o.URL)
	i.Transport, i.Fakes, i.options = transport(), o.Fakes, o
	i.options.port = port
	i.stop, i.stopped = cancel, make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(i.stopped)
		failed <- srv.Run(ctx)
	}()
	select {
	case a := <-ready:
		i.management = "http://" + a.Management
	case err := <-failed:
		cancel()
		return nil, err
	}
	t.Cleanup(func() {
		i.Transport.(*http.Transport).CloseIdleConnections()
		i.Stop()
		if err := <-failed; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	return i, nil
}

// Stop drains the server and waits for its end. The test's end does it too.
func (i *IDP) Stop() {
	i.stop()
	<-i.stopped
}

// Restart stops the server and starts another in its place: same address, database and fakes, so browsers and relying parties go on with
// what they have. change has the last word on the configuration, for this start only.
func (i *IDP) Restart(change func(*config.Config)) *IDP {
	i.t.Helper()
	i.Stop()
	o := i.options
	o.Config = func(c *config.Config) {
		if i.options.Config != nil {
			i.options.Config(c)
		}
		if change != nil {
			change(c)
		}
	}
	next := Start(i.t, o)
	next.options.Config = i.options.Config
	return next
}

// Management returns an answer of the management listener.
func (i *IDP) Management(path string) (status int, body string) {
	i.t.Helper()
	return fetch(i.t, i.Transport, i.management+path)
}

// Get returns the answer to a plain request without cookies, as a program sends it.
func (i *IDP) Get(path string) (status int, body string) {
	i.t.Helper()
	return fetch(i.t, i.Transport, i.Issuer+path)
}

// HTTP is a client of the server for programs: it trusts the certificate and follows no redirects.
func (i *IDP) HTTP() *http.Client {
	return &http.Client{Transport: i.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// StartBubble builds a server inside a testing/synctest bubble: on SQLite, without sockets and background loops. Requests are served
// in the calling process; time.Sleep moves the time of server, tokens, cookies and database at once.
func StartBubble(t testing.TB, o Options) *IDP {
	t.Helper()
	if o.Engine != "" && o.Engine != "sqlite" || o.Plain || o.Fakes != nil {
		t.Fatal("a bubble has SQLite and https only: sockets do not work in it")
	}
	if o.URL == "" {
		o.URL = freshDatabase(t, "sqlite")
	}
	// A bubble begins in the year 2000; the keys were made today. A minute more, because databases keep milliseconds.
	time.Sleep(time.Until(template().made.Add(time.Minute)))
	cfg := baseConfig(o.URL)
	cfg.Issuer = "https://idp.test"
	cfg.Environment = config.Production
	cfg.HTTP.Management.Listen = ""
	cfg.MFA.Administrators = config.MFAOffered // tests of second factors ask for them; to all others administrators are as in development
	cfg.MFA.AdministratorCode = config.MFANone
	if o.Config != nil {
		o.Config(cfg)
	}
	o.Server.Demo = o.Demo
	if o.Server.Logger == nil {
		o.Server.Logger = logger(t)
	}
	srv, err := server.New(cfg, o.Server)
	if err != nil {
		t.Fatal(err)
	}
	i := newIDP(t, cfg, srv, o.URL)
	i.Transport = inProcess{srv.Handler()}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// Sleep lets time pass in a bubble, with the work that a running server does in the background done on the way: key rotation and
// purge, every six hours.
func (i *IDP) Sleep(d time.Duration) {
	i.t.Helper()
	const step = 6 * time.Hour
	for ; d > 0; d -= step {
		time.Sleep(min(d, step))
		ctx := context.Background()
		i.must(i.Server.Keys().Maintain(ctx))
		_, err := i.Store.Purge(ctx)
		i.must(err)
	}
}

// inProcess serves requests by a handler instead of the network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:40000"
	in.Host = r.URL.Host
	in.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if r.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
	}
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, in)
	res := rec.Result()
	res.Request = r
	return res, nil
}

func newIDP(t testing.TB, cfg *config.Config, srv *server.Server, database string) *IDP {
	u, err := url.Parse(cfg.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	i := &IDP{t: t, Issuer: cfg.Issuer, URL: database, Config: cfg, Server: srv, Now: time.Now, url: u}
	if srv != nil { // else it is a process of its own
		i.Store = srv.Store()
	}
	return i
}

// baseConfig is a configuration for tests on database.
func baseConfig(database string) *config.Config {
	cfg := config.Default()
	cfg.Database.URL = config.NewDSN(database)
	cfg.Secrets.MasterKeys = []config.Secret{config.NewSecret(masterKey())}
	cfg.Log.Level = "debug"
	cfg.Passkeys.Offer = false // tests of passkeys ask for it: to all others a sign-in leads where it always did
	return cfg
}

// logger writes to the test's own output, which is shown when it fails.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// FreePort is one of 127.0.0.1 for a listener that is opened later. It lies below those that systems hand out for outgoing connections and for port 0,
// so that nothing else of a busy test run takes it meanwhile.
func FreePort() (int, error) {
	const first, count = 20000, 12000
	for range 1000 {
		port := first + rand.IntN(count)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("testidp: no free port")
}
