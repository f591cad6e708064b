// Package connectortest holds fakes of the identity providers that Latchkey's connectors talk to. They run on loopback, in tests and in
// the demo, and stand in for Google, Microsoft, Facebook, X and any OpenID Connect provider.
//
// A fake is strict: it refuses whatever the real one refuses (an unknown client, another redirect address, a code used twice, the wrong
// way to authenticate), because a lenient fake hides bugs. It shows a page with people to continue as, so that a browser can use it; tests
// press its buttons with Visit. On demand it fails in the ways real ones do (Fail) or signs what no real one would (Forge). Each has its hosts
// as the real one, on ports of their own, and remembers every request.
//
// Nothing here belongs into a server that people rely on: no fake asks for a password.
package connectortest

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Client is an application registered at a fake.
type Client struct {
	ID, Secret   string
	RedirectURIs []string         // compared exactly
	Key          crypto.PublicKey // of its client assertions, nil = none

	PostLogoutRedirectURIs []string
	BackchannelLogoutURI   string
	FrontchannelLogoutURI  string

	// Port is that of the fake's first host, which its others follow: for a demo whose people keep their accounts. 0 = any free ones.
	Port int
}

// Fault is a way to fail that has nothing to do with identity.
type Fault string

// Faults.
const (
	Refuse       Fault = "refuse"        // the connection breaks off without an answer
	Stall        Fault = "stall"         // no answer, ever
	Error500     Fault = "500"           // an error page
	HTML         Fault = "html"          // status 200 and a page where JSON belongs
	Truncated    Fault = "truncated"     // the right answer, cut in half
	Endless      Fault = "endless"       // a body without an end
	Drip         Fault = "drip"          // the right answer, a byte every 200 ms
	Bomb         Fault = "bomb"          // 64 MiB of JSON in a few KiB of gzip
	RedirectLoop Fault = "redirect loop" // a redirect to itself
	WrongType    Fault = "wrong type"    // valid JSON of another shape
	Empty        Fault = "empty"         // status 200 without a body
)

// Request is what a fake was asked.
type Request struct {
	Host     string // the fake's name for it: accounts, oauth2, graph
	Endpoint string // what it is for: discovery, keys, authorize, token, userinfo
	Method   string
	Path     string
	Header   http.Header
	Form     url.Values // query and form together
}

// base is what all fakes share.
type base struct {
	mu       sync.Mutex
	servers  []*http.Server
	origins  map[string]string // by host name
	muxes    map[string]*http.ServeMux
	faults   map[string]Fault // by endpoint, "" = every one
	delay    time.Duration
	skew     time.Duration
	requests []Request
	waiting  map[string]*visit // pages that are open, by id
	once     []string          // what may come once

	port int // of the next host, 0 = any
	now  func() time.Time
	done chan struct{} // closed by Close, so that what stalls ends
}

func newBase(port int) *base {
	return &base{
		port:    port,
		origins: map[string]string{}, muxes: map[string]*http.ServeMux{}, faults: map[string]Fault{}, waiting: map[string]*visit{},
		now: time.Now, done: make(chan struct{}),
	}
}

// host starts a server of the fake and returns its origin. Every host has the page's own endpoint.
func (b *base) host(name string) (origin string, err error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		return "", fmt.Errorf("connectortest: %w", err)
	}
	if b.port != 0 {
		b.port++
	}
	mux := http.NewServeMux()
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = append(b.servers, s)
	b.origins[name], b.muxes[name] = "http://"+l.Addr().String(), mux
	mux.HandleFunc("POST /pressed", b.pressed)
	go s.Serve(l) //nolint:errcheck // ends with Close
	return b.origins[name], nil
}

// Close ends the fake's servers and whatever waits in them.
func (b *base) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.done:
		return
	default:
		close(b.done)
	}
	for _, s := range b.servers {
		s.Close()
	}
}

// handle serves pattern on a host: it remembers the request, then fails or answers.
func (b *base) handle(host, pattern, endpoint string, h http.HandlerFunc) {
	b.muxes[host].HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		bad := r.ParseForm()
		b.mu.Lock()
		b.requests = append(b.requests, Request{
			Host: host, Endpoint: endpoint, Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Form: maps.Clone(r.Form),
		})
		fault, delay := b.faults[endpoint], b.delay
		if fault == "" {
			fault = b.faults[""]
		}
		b.mu.Unlock()
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-b.done:
			case <-r.Context().Done():
			}
		}
		if bad != nil {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		if fault != "" {
			b.fail(w, r, fault, h)
			return
		}
		h(w, r)
	})
}

// Fail makes endpoints fail from now on, all of them when none is named. "" mends them.
func (b *base) Fail(f Fault, endpoints ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(endpoints) == 0 {
		clear(b.faults)
		endpoints = []string{""}
	}
	for _, e := range endpoints {
		b.faults[e] = f
	}
}

// Delay makes every answer wait.
func (b *base) Delay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

// Skew sets the fake's clock wrong.
func (b *base) Skew(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.skew = d
}

// Clock replaces the fake's clock.
func (b *base) Clock(now func() time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = now
}

func (b *base) time() time.Time {
	b.mu.Lock()
	now, skew := b.now, b.skew
	b.mu.Unlock()
	return now().Add(skew)
}

// Requests are those that reached the named endpoints, all when none is named, in order.
func (b *base) Requests(endpoints ...string) []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Request
	for _, r := range b.requests {
		if len(endpoints) == 0 || slices.Contains(endpoints, r.Endpoint) {
			list = append(list, r)
		}
	}
	return list
}

// Forget empties the memory of requests.
func (b *base) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = nil
}

// Button is what somebody presses on a fake's page.
type Button string

// Buttons. Continue is followed by the id of the person, or stands alone for the first on the page.
const (
	Continue Button = "continue"
	Cancel   Button = "cancel"
	Failure  Button = "fail" // the provider's own trouble
)

// As continues as the person with an id.
func As(id string) Button { return Continue + ":" + Button(id) }

// Visit is a browser without cookies at a fake: it opens address, presses a button on the page it finds and returns where the fake sends the
// browser then (to the application, with its answer). An error page of the fake is an error.
func (b *base) Visit(address string, press Button) (*url.URL, error) {
	c := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Get(address)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusFound {
		return res.Location()
	}
	_, after, ok := strings.Cut(string(body), `name="visit" value="`)
	id, _, _ := strings.Cut(after, `"`)
	if res.StatusCode != http.StatusOK || !ok {
		return nil, fmt.Errorf("connectortest: the fake says %d: %s", res.StatusCode, strings.TrimSpace(string(body)))
	}
	at, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	res, err = c.PostForm("http://"+at.Host+"/pressed", url.Values{"visit": {id}, "press": {string(press)}})
	if err != nil {
		return nil, err
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	if to, err := res.Location(); err == nil {
		return to, nil
	}
	if to, ok := formPost(string(body)); ok {
		return to, nil
	}
	return nil, fmt.Errorf("connectortest: the fake says %d: %s", res.StatusCode, strings.TrimSpace(string(body)))
}

// visit is an open page: what its buttons do.
type visit struct {
	press func(w http.ResponseWriter, r *http.Request, button Button)
}

// open remembers a page and returns its id.
func (b *base) open(v *visit) string {
	id := rand.Text()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[id] = v
	return id
}

// pressed is POST /pressed: somebody pressed a button. A page is good once.
func (b *base) pressed(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("visit")
	b.mu.Lock()
	v := b.waiting[id]
	delete(b.waiting, id)
	b.mu.Unlock()
	if v == nil {
		http.Error(w, "this page is gone; go back to the application and begin again", http.StatusBadRequest)
		return
	}
	v.press(w, r, Button(r.PostFormValue("press")))
}

// chosen is the id in a Continue button, "" for the first person.
func chosen(button Button) (id string, ok bool) {
	if button == Continue {
		return "", true
	}
	s, ok := strings.CutPrefix(string(button), string(Continue)+":")
	return s, ok
}

// send redirects a browser to an application with parameters.
func send(w http.ResponseWriter, r *http.Request, to string, p url.Values) {
	u, err := url.Parse(to)
	if err != nil {
		http.Error(w, "no address", http.StatusInternalServerError)
		return
	}
	q := u.Query()
	for k, v := range p {
		if len(v) > 0 && v[0] != "" {
			q[k] = v
		}
	}
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// single says which parameter comes twice, "" for none (RFC 6749 §3.1).
func single(v url.Values) string {
	for k, list := range v {
		if len(list) > 1 {
			return k
		}
	}
	return ""
}

var errNoServer = errors.New("connectortest: no such host")

// Origin is where a host of the fake is.
func (b *base) Origin(host string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.origins[host]; o != "" {
		return o, nil
	}
	return "", errNoServer
}
