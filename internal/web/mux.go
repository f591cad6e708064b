package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/templates"
)

// Handler is what every route is; its error is translated once, by the mux.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Rule says who may use a page route. There is no default: a route names its rule.
type Rule string

// The rules, beside those of Needs.
const (
	Public   Rule = "public"    // anybody
	SignedIn Rule = "signed_in" // a complete session, else to the sign-in page
)

const needs = "needs "

// Needs is the rule of whoever is signed in and may do action (Config.Allow).
func Needs(action string) Rule { return Rule(needs + action) }

// action is what a rule needs beside a session, "" for nothing.
func (r Rule) action() string {
	a, ok := strings.CutPrefix(string(r), needs)
	if !ok {
		return ""
	}
	return a
}

// Option of a page route.
type Option int

// The options.
const (
	// CrossSitePOST exempts a route from CrossOriginProtection and the form token: POST /oauth2/authorize, POST /oauth2/logout, POST
	// /callback/{connector} and nothing else (architecture.md, settled detail 6). Such a handler changes nothing on the strength of the session alone.
	CrossSitePOST Option = iota
	// WhileActing lets somebody use a route who acts for another person. Every other route refuses them, so that nobody changes another's
	// account, and a new route is closed until somebody thinks about it (R103). Its handler knows which of the two it is about.
	WhileActing
	// LongForm lets a form be up to 256 KiB long where MaxBody is less: for a page whose rule admits few people, who paste something.
	LongForm
)

func (o Option) String() string {
	switch o {
	case CrossSitePOST:
		return "cross_site_post"
	case WhileActing:
		return "while_acting"
	case LongForm:
		return "long_form"
	}
	return "unknown"
}

// Config of a Mux.
type Config struct {
	Issuer         string   // scheme://host[:port] that Host must match, else 421
	AllowedHosts   []string // further hosts, host or host:port
	Templates      *templates.Set
	Logger         *slog.Logger // default: discarded
	TrustedProxies []netip.Prefix
	HSTS           bool
	CSRFKey        []byte // 32 bytes
	MaxBody        int64  // bytes; 0 = 64 KiB

	// Session is run on page routes: it may put a session in the context. It must not read the database when there is no cookie.
	Session func(ctx context.Context, r *http.Request) (context.Context, error)
	// SignedIn says whether that context holds a complete session (for Rule SignedIn); SignIn is where the others are sent.
	SignedIn func(ctx context.Context) bool
	SignIn   func(w http.ResponseWriter, r *http.Request) error
	// Allow says whether the person of that context may do an action (for Needs); nil = yes, else an error for them. It is asked before the
	// body is read and the handler runs, at every request.
	Allow func(ctx context.Context, action string) error
	// Acting says whether that session acts for another person; nil = none does.
	Acting func(ctx context.Context) bool
	// Binding is what the form token is bound to besides the key: the session's id, or what identifies the browser before there is
	// one; "" = nothing yet.
	Binding func(r *http.Request) string
	// Bind gives a browser without a binding one and returns what Binding will say of its next request. nil = such pages get no
	// form token.
	Bind func(w http.ResponseWriter, r *http.Request) string
	// Person is who is signed in, for the head of each page, and their language (BCP 47, "" = none). nil = nobody.
	Person func(ctx context.Context) (p *templates.Person, locale string, hidden []string)

	// Observe is told of every response; pattern is "" where no route matched.
	Observe func(pattern, method string, status int, took time.Duration)
	// Panicked is told of every handler that panicked.
	Panicked func()
}

// Mux: a route is a Page (session, CSP, CSRF, HTML errors) or an API (no cookies, CORS where allowed, JSON errors). No third kind.
// Routes are added before it serves.
type Mux struct {
	c           Config
	mux         *http.ServeMux
	hosts       map[string]bool
	cop         *http.CrossOriginProtection
	pageHeaders []header
	apiHeaders  []header
	routes      []Route
	preflights  map[string]*preflight // by path
}

// CORS of an API route.
type CORS struct {
	Any     bool                                          // answers * without credentials: discovery, JWKS
	Allowed func(ctx context.Context, origin string) bool // registered origins: token, userinfo, revocation
}

// Route is a line of the route table.
type Route struct {
	Pattern string
	Kind    string // page or api
	Rule    string // public, signed_in or needs ACTION; none for api
	Options []string
}

// Bytes (security.md I3).
const (
	defaultMaxBody = 64 << 10
	longForm       = 256 << 10
)

// NewMux checks the configuration.
func NewMux(c Config) (*Mux, error) {
	issuer, err := url.Parse(c.Issuer)
	switch {
	case err != nil || issuer.Host == "" || issuer.Scheme != "https" && issuer.Scheme != "http":
		return nil, fmt.Errorf("web: issuer %q is no http or https URL", c.Issuer)
	case c.Templates == nil:
		return nil, errors.New("web: Templates is required")
	case len(c.CSRFKey) < 32:
		return nil, errors.New("web: CSRFKey needs 32 bytes")
	case (c.SignedIn == nil) != (c.SignIn == nil):
		return nil, errors.New("web: SignedIn and SignIn belong together")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxBody <= 0 {
		c.MaxBody = defaultMaxBody
	}
	m := &Mux{
		c: c, mux: http.NewServeMux(), cop: http.NewCrossOriginProtection(), preflights: map[string]*preflight{},
		hosts: allowedHosts(issuer, c.AllowedHosts), pageHeaders: pageHeaders(c.HSTS), apiHeaders: apiHeaders(c.HSTS),
	}
	return m, nil
}

// allowedHosts are the values of Host that belong to this server, lower case, with and without the scheme's own port.
func allowedHosts(issuer *url.URL, more []string) map[string]bool {
	port := ":443"
	if issuer.Scheme == "http" {
		port = ":80"
	}
	hosts := map[string]bool{}
	for _, h := range append([]string{issuer.Host}, more...) {
		h = strings.TrimSuffix(strings.ToLower(h), port)
		if h == "" {
			continue
		}
		hosts[h] = true
		if !hasPort(h) {
			hosts[h+port] = true
		}
	}
	return hosts
}

func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') && !(strings.Count(host, ":") > 1 && host[0] != '[')
}

// Page adds a page: pattern is "METHOD /path" as ServeMux has it. A GET page answers HEAD too. It panics, at start-up, on a pattern
// that conflicts or names no method.
func (m *Mux) Page(pattern string, rule Rule, h Handler, opts ...Option) {
	mustNameMethod(pattern)
	switch action := rule.action(); {
	case rule != Public && rule != SignedIn && action == "":
		panic("web: " + pattern + " has no rule that there is")
	case rule != Public && m.c.SignIn == nil:
		panic("web: " + pattern + " needs Config.SignedIn and Config.SignIn")
	case action != "" && m.c.Allow == nil:
		panic("web: " + pattern + " needs Config.Allow")
	}
	p := page{m: m, rule: rule, handler: h, crossSite: slices.Contains(opts, CrossSitePOST), acting: slices.Contains(opts, WhileActing), maxBody: m.c.MaxBody}
	if slices.Contains(opts, LongForm) {
		p.maxBody = max(p.maxBody, longForm)
	}
	m.mux.Handle(pattern, p)
	route := Route{Pattern: pattern, Kind: "page", Rule: string(rule)}
	for _, o := range opts {
		route.Options = append(route.Options, o.String())
	}
	m.routes = append(m.routes, route)
}

// API adds a route for programs: requests reach it without cookies, errors leave it as JSON. At most one cors; without it no
// other origin may read the answers.
func (m *Mux) API(pattern string, h Handler, cors ...CORS) {
	method, path := mustNameMethod(pattern)
	a := api{m: m, handler: h}
	route := Route{Pattern: pattern, Kind: "api", Rule: "none"}
	if len(cors) > 0 {
		a.cors = &cors[0]
		route.Options = []string{"cors"}
		m.preflight(method, path, a.cors)
	}
	m.mux.Handle(pattern, a)
	m.routes = append(m.routes, route)
}

// mustNameMethod splits "METHOD /path": a route for every method would also be one for the methods nobody thought of.
func mustNameMethod(pattern string) (method, path string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok || method == "" || method == http.MethodOptions || !strings.HasPrefix(path, "/") {
		panic("web: the pattern " + pattern + " must be METHOD /path")
	}
	return method, path
}

// Routes is the table of routes, sorted by path and then method.
func (m *Mux) Routes() []Route {
	routes := slices.Clone(m.routes)
	slices.SortFunc(routes, func(a, b Route) int {
		methodA, pathA, _ := strings.Cut(a.Pattern, " ")
		methodB, pathB, _ := strings.Cut(b.Pattern, " ")
		if c := strings.Compare(pathA, pathB); c != 0 {
			return c
		}
		return strings.Compare(methodA, methodB)
	})
	return routes
}

// page is one page route.
type page struct {
	m         *Mux
	rule      Rule
	handler   Handler
	crossSite bool
	acting    bool
	maxBody   int64
}

// ServeHTTP implements http.Handler. The order matters: what costs nothing refuses first, and nothing of the body is read for
// somebody who is only going to be sent to the sign-in page.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res := w.(*response) // the mux calls its routes with nothing else
	res.take(kindPage, p.m.pageHeaders)
	if !p.crossSite {
		if err := p.m.cop.Check(r); err != nil { // Sec-Fetch-Site and Origin (security.md C4)
			p.m.fail(res, r, &Error{Status: http.StatusForbidden, Key: "error.cross_site", Code: "cross_site", Err: err})
			return
		}
	}
	if p.m.c.Session != nil {
		ctx, err := p.m.c.Session(r.Context(), r)
		if err != nil { // never anonymous: a database that does not answer must not sign anybody out
			p.m.fail(res, r, err)
			return
		}
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
	}
	if err := p.serve(res, r); err != nil {
		p.m.fail(res, r, err)
	}
}

func (p page) serve(res *response, r *http.Request) error {
	if p.rule != Public && !p.m.c.SignedIn(r.Context()) {
		return p.m.c.SignIn(res, r)
	}
	if !p.acting && p.m.c.Acting != nil && p.m.c.Acting(r.Context()) {
		return &Error{Status: http.StatusForbidden, Key: "error.acting", Code: "acting"}
	}
	if action := p.rule.action(); action != "" {
		if err := p.m.c.Allow(r.Context(), action); err != nil {
			return err
		}
	}
	if !safe(r.Method) {
		if err := p.m.readForm(res, r, p.maxBody); err != nil {
			return err
		}
		if !p.crossSite && !p.m.formTokenOK(r) {
			return &Error{Status: http.StatusForbidden, Key: "error.form_expired", Code: "form_expired"}
		}
	}
	return p.handler(res, r)
}

// api is one API route.
type api struct {
	m       *Mux
	handler Handler
	cors    *CORS
}

// ServeHTTP implements http.Handler.
func (a api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res := w.(*response)
	res.take(kindAPI, a.m.apiHeaders)
	delete(r.Header, "Cookie") // what a browser sends along by itself must not authenticate anything here
	if a.cors != nil {
		a.cors.apply(res.Header(), r)
	}
	err := error(nil)
	if !safe(r.Method) {
		err = a.m.readForm(res, r, a.m.c.MaxBody)
	}
	if err == nil {
		err = a.handler(res, r)
	}
	if err != nil {
		a.m.fail(res, r, err)
	}
}

// safe methods change nothing (RFC 9110 §9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
