package login_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
	"github.com/latchkey-idp/latchkey/templates"
)

const issuer = "http://localhost:8080"

// goodPassword passes every rule; its hash is made once for all tests, since a hash at the floor takes tens of milliseconds.
const goodPassword = "correct horse battery staple 7"

var goodHash = sync.OnceValue(func() string {
	h, err := password.New(password.Config{})
	if err != nil {
		panic(err)
	}
	phc, err := h.Hash(context.Background(), goodPassword)
	if err != nil {
		panic(err)
	}
	return phc
})

// site is a Latchkey without the protocol: real store, real mux, real pages. /test/start stands in for the authorization endpoint.
type site struct {
	t     *testing.T
	store *store.Store
	mux   *web.Mux
	login *login.Login
	keys  [5][]byte // of cookies, form tokens, counters, the master key, and codes in mails (nil = no mail)

	config  func(*login.Config) // the last word on it; nil = none
	factors login.FactorPolicy  // by default everybody may add an app, and nobody must; restart applies another

	mu    sync.Mutex
	clock time.Time // stands still but for sleep
	done  []arrival
}

// arrival is a flow that came to its end, with the user who is signed in there.
type arrival struct{ flow, user string }

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *site) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

func (s *site) arrivals() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrival(nil), s.done...)
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOn(t, store.SQLite)
}

// eachSite runs f on both databases: for everything that is decided by who writes first.
func eachSite(t *testing.T, f func(t *testing.T, s *site)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(t, newSiteOn(t, engine))
		})
	}
}

func newSiteOn(t *testing.T, engine string, upstreams ...login.Upstream) *site {
	t.Helper()
	s := &site{t: t, clock: time.Now(), factors: login.FactorPolicy{App: true, AppName: "Latchkey"}, keys: [5][]byte{random(64), random(32), random(32), random(32), random(32)}}
	s.store = storetest.OpenWith(t, engine, store.Config{Now: s.now, Logger: slog.New(slog.DiscardHandler)})
	must(t, s.store.CreateClient(t.Context(), "cli", &store.Client{ID: "app", Source: "admin", Metadata: store.ClientMetadata{
		Name: "Sample app", RedirectURIs: []string{"https://app.example/callback"}, ClientURI: "https://app.example/",
		LogoURI: "https://cdn.example/logo.png", PolicyURI: "https://app.example/privacy", TOSURI: "javascript:alert(1)",
	}}))
	s.restart(upstreams...)
	return s
}

// restart serves with this configuration from now on, on the same database and with the same keys.
func (s *site) restart(upstreams ...login.Upstream) {
	s.t.Helper()
	t, db := s.t, s.store
	for _, up := range upstreams {
		if c, ok := up.Connector.(interface{ setClock(func() time.Time) }); ok {
			c.setClock(s.now)
		}
	}
	sessions, err := session.New(session.Config{
		Store: db, Keys: [][]byte{s.keys[0]}, Insecure: true, Now: s.now, Spawn: func(f func()) { f() },
		Enabled: func(id string) bool { return s.login.ConnectorEnabled(id) },
	})
	must(t, err)
	set, err := templates.New(templates.Options{AppName: "Latchkey", Issuer: issuer, Preferences: login.PreferencesPath})
	must(t, err)
	binding, bind := login.FormBinding(sessions)
	s.mux, err = web.NewMux(web.Config{
		Issuer: issuer, Templates: set, Logger: slog.New(slog.DiscardHandler), CSRFKey: s.keys[1],
		Session:  sessions.Load,
		SignedIn: func(ctx context.Context) bool { _, ok := session.Current(ctx); return ok },
		SignIn:   func(w http.ResponseWriter, r *http.Request) error { return web.SeeOther(w, r, login.SignInURL("")) },
		Acting:   func(ctx context.Context) bool { s, ok := session.Current(ctx); return ok && s.Acting() },
		Binding:  binding,
		Bind:     bind,
		Person: func(ctx context.Context) (*templates.Person, string, []string) {
			current, ok := session.Current(ctx)
			if !ok {
				return nil, "", nil
			}
			return &templates.Person{Name: current.Live.User.Name(), Email: current.Live.User.Email}, current.Live.User.Locale, nil
		},
	})
	must(t, err)
	limiter, err := throttle.New(throttle.Config{Store: db, Key: s.keys[2], Now: s.now})
	must(t, err)
	hasher, err := password.New(password.Config{})
	must(t, err)
	master := sealer(s.keys[3])
	c := login.Config{
		Issuer: issuer, Connectors: upstreams, Seal: master.seal, Open: master.open, CodeKey: s.keys[4], Factors: s.factors,
		Store: db, Mux: s.mux, Sessions: sessions, Passwords: hasher, Limiter: limiter, Templates: set, Requests: &requests.Desk{Store: db, Templates: set, Mail: true},
		Logger: slog.New(slog.DiscardHandler), Now: s.now,
		Done: func(w http.ResponseWriter, r *http.Request, flow string) error {
			current, ok := session.Current(r.Context())
			if !ok {
				return fmt.Errorf("Done without a session in the context")
			}
			client, err := db.CachedClient(r.Context(), "app")
			if err != nil {
				return err
			}
			if to := s.login.Owes(client, &current.Live.User); to != "" {
				return web.SeeOther(w, r, to+"?flow="+flow)
			}
			if err := db.FinishFlow(r.Context(), hash(flow)); err != nil {
				return err
			}
			s.mu.Lock()
			s.done = append(s.done, arrival{flow, current.UserID})
			s.mu.Unlock()
			return web.SeeOther(w, r, "https://app.example/callback?code=for-"+current.UserID)
		},
	}
	if s.config != nil {
		s.config(&c)
	}
	s.login, err = login.New(c)
	must(t, err)
	s.login.Mount(s.mux)
	s.mux.Page("GET /test/start", web.Public, func(w http.ResponseWriter, r *http.Request) error {
		sum := sha256.Sum256([]byte(sessions.FlowCookie(w, r)))
		handle := strings.ToLower(rand.Text())
		form := r.URL.Query() // what the application asks for
		form.Set("client_id", "app")
		form.Set("redirect_uri", "https://app.example/callback")
		err := db.CreateFlow(r.Context(), &store.Flow{
			IDHash: hash(handle), ClientID: "app", Form: form.Encode(), BrowserHash: hex.EncodeToString(sum[:]),
			StartedAt: store.At(s.now()), ExpiresAt: store.At(s.now().Add(10 * time.Minute)),
		})
		if err != nil {
			return err
		}
		return web.SeeOther(w, r, login.SignInURL(handle))
	})
}

// with serves with another configuration.
func (s *site) with(change func(*login.Config)) {
	s.t.Helper()
	s.config = change
	s.restart()
}

// client changes what the application is registered with.
func (s *site) client(change func(*store.ClientMetadata)) {
	s.t.Helper()
	c, err := s.store.Client(s.t.Context(), "app")
	must(s.t, err)
	change(&c.Metadata)
	must(s.t, s.store.UpdateClient(s.t.Context(), "cli", c))
}

// user makes an account with goodPassword.
func (s *site) user(email string, change ...func(*store.User)) *store.User {
	s.t.Helper()
	u := &store.User{Email: email}
	for _, c := range change {
		c(u)
	}
	must(s.t, s.store.CreateUser(s.t.Context(), u))
	must(s.t, s.store.SetPassword(s.t.Context(), "cli", u.ID, goodHash(), u.MustChange, ""))
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func randomText() string { return rand.Text() }

type htmlNode = html.Node

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// browser keeps cookies, follows redirects on the site, and fills in forms by the stable ids of their fields.
type browser struct {
	t     *testing.T
	site  *site
	jar   *cookiejar.Jar
	addr  string
	agent string
}

func (s *site) browser(addr string) *browser {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &browser{t: s.t, site: s, jar: jar, addr: addr, agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
}

func (b *browser) cookie(name string) string {
	u, _ := url.Parse(issuer)
	for _, c := range b.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// page is an answer. away is the target of a redirect that left the site.
type page struct {
	b      *browser
	url    *url.URL
	status int
	header http.Header
	body   string
	away   string
	doc    *html.Node
}

func (b *browser) get(path string) *page { return b.send(http.MethodGet, path, nil, nil) }

func (b *browser) send(method, path string, form url.Values, change func(*http.Request)) *page {
	b.t.Helper()
	base, _ := url.Parse(issuer)
	for range 10 {
		target, err := base.Parse(path)
		must(b.t, err)
		var body io.Reader
		if form != nil {
			body = strings.NewReader(form.Encode())
		}
		r := httptest.NewRequest(method, target.String(), body)
		r.RemoteAddr = b.addr + ":40000"
		r.Header.Set("User-Agent", b.agent)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", issuer)
		}
		for _, c := range b.jar.Cookies(target) {
			r.AddCookie(c)
		}
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		b.site.mux.ServeHTTP(w, r)
		b.jar.SetCookies(target, w.Result().Cookies())
		p := &page{b: b, url: target, status: w.Code, header: w.Header(), body: w.Body.String()}
		if w.Code == http.StatusSeeOther {
			to, err := target.Parse(w.Header().Get("Location"))
			must(b.t, err)
			if to.Host != target.Host || to.Scheme != target.Scheme {
				p.away = to.String()
				return p
			}
			method, path, form = http.MethodGet, to.RequestURI(), nil
			continue
		}
		p.doc, err = html.Parse(bytes.NewReader(w.Body.Bytes()))
		must(b.t, err)
		return p
	}
	b.t.Fatalf("redirects without end at %s", path)
	return nil
}

// expect fails unless the page has this path and status.
func (p *page) expect(path string, status int) *page {
	p.b.t.Helper()
	if p.away != "" || p.url.Path != path || p.status != status {
		p.b.t.Fatalf("at %s%s with %d, want %s with %d\n%s", p.url.Path, p.away, p.status, path, status, p.text())
	}
	return p
}

func (p *page) find(match func(*html.Node) bool) *html.Node {
	if p.doc == nil {
		return nil
	}
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && match(n) {
			return n
		}
	}
	return nil
}

func (p *page) byID(id string) *html.Node {
	return p.find(func(n *html.Node) bool { return attr(n, "id") == id })
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what a person reads in main, with spaces folded.
func (p *page) text() string {
	if p.doc == nil {
		return p.body
	}
	var out []string
	for n := range p.doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" && n.Parent.Data != "title" {
			out = append(out, n.Data)
		}
	}
	return strings.Join(strings.Fields(strings.Join(out, " ")), " ")
}

// form is a form of a page with what is filled in.
type form struct {
	p      *page
	action string
	names  map[string]string // name by element id
	values url.Values
}

// form finds a form by its id and fills in what the page brought.
func (p *page) form(id string) *form {
	p.b.t.Helper()
	n := p.byID(id)
	if n == nil || n.Data != "form" {
		p.b.t.Fatalf("no form #%s at %s (%d): %s", id, p.url.Path, p.status, p.text())
	}
	return p.formOf(n)
}

// formTo finds the form that posts to action and carries a field with this value ("" = any).
func (p *page) formTo(action, value string) *form {
	p.b.t.Helper()
	n := p.find(func(n *html.Node) bool {
		if n.Data != "form" || attr(n, "action") != action {
			return false
		}
		for d := range n.Descendants() {
			if value == "" || d.Type == html.ElementNode && attr(d, "value") == value {
				return true
			}
		}
		return false
	})
	if n == nil {
		p.b.t.Fatalf("no form to %s with %q at %s: %s", action, value, p.url.Path, p.text())
	}
	return p.formOf(n)
}

func (p *page) formOf(n *html.Node) *form {
	f := &form{p: p, action: attr(n, "action"), names: map[string]string{}, values: url.Values{}}
	if f.action == "" {
		f.action = p.url.RequestURI()
	}
	for d := range n.Descendants() {
		if d.Type != html.ElementNode || attr(d, "name") == "" || d.Data != "input" && d.Data != "select" && d.Data != "textarea" {
			continue
		}
		f.names[attr(d, "id")] = attr(d, "name")
		if t := attr(d, "type"); t != "checkbox" && t != "radio" && t != "submit" {
			f.values.Set(attr(d, "name"), attr(d, "value"))
		}
	}
	return f
}

// set fills in the field with this id.
func (f *form) set(id, value string) *form {
	f.p.b.t.Helper()
	name, ok := f.names[id]
	if !ok {
		f.p.b.t.Fatalf("no field #%s in the form to %s: %v", id, f.action, f.names)
	}
	f.values.Set(name, value)
	return f
}

// submit sends the form, and does as told while the hashing pool is full: tests in parallel under the race detector fill it.
func (f *form) submit() *page {
	f.p.b.t.Helper()
	p := f.p.b.send(http.MethodPost, f.action, f.values, nil)
	for try := 0; try < 30 && p.status == http.StatusServiceUnavailable && strings.Contains(p.body, `data-error="too_busy"`); try++ {
		p = f.p.b.send(http.MethodPost, f.action, f.values, nil)
	}
	return p
}

// signIn fills in the sign-in form of p.
func (p *page) signIn(identifier, pw string) *page {
	p.b.t.Helper()
	return p.form("login-form").set("login-identifier", identifier).set("login-password", pw).submit()
}
