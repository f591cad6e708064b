// Package sampleapp is a small web application that leaves its sign-in to Latchkey: what `latchkey demo` shows a newcomer, and a
// pattern to copy from. Of this module it uses nothing but the public package relying.
//
// Each of its pages shows one way of screening people; docs/applications.md explains them. What people write into it is kept in memory and
// gone with the process. Every page works without script.
package sampleapp

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/relying"
)

// Config of the application. Issuer, ClientID, ClientSecret and BaseURL are required.
type Config struct {
	Issuer                 string
	ClientID, ClientSecret string
	BaseURL                string        // this application's own address, scheme://host[:port]
	ExitURL                string        // where people go who do not want to log in; default: BaseURL
	Recheck                time.Duration // how old what is known of a person may be; default: 5 seconds
	HTTPClient             *http.Client
	Logger                 *slog.Logger
	Now                    func() time.Time
}

// RedirectURL is the redirect URI to register for an application at baseURL.
func RedirectURL(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + "/callback" }

// PostLogoutURL is the post-logout redirect URI to register for an application at baseURL.
func PostLogoutURL(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + "/signed-out" }

// BackChannelLogoutURL is where an application at baseURL is told of ended sessions (backchannel_logout_uri).
func BackChannelLogoutURL(baseURL string) string {
	return strings.TrimSuffix(baseURL, "/") + "/backchannel-logout"
}

// Resource is the name of the API of an application at baseURL, to register as its resource: its access tokens have it as audience.
func Resource(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + "/api" }

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._+@-]+$`)

//go:embed html/*.html
var html embed.FS

//go:embed app.css
var css []byte

type app struct {
	cfg     Config
	rp      *relying.Client
	shelf   *shelf
	pages   map[string]*template.Template
	cssPath string
	csp     string
}

// page is what every page gets.
type page struct {
	CSS     string
	Title   string
	Issuer  string
	Path    string
	Who     *relying.Info // nil: signed out
	Really  string        // who it really is, when somebody acts for Who; "" = they themselves
	LoginTo string        // the sign-in link, coming back to this page
	Exit    string
	Account string // what the command line calls the person
	Body    any
}

// New builds the application. It does not ask the provider anything yet.
func New(c Config) (http.Handler, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("sampleapp: the issuer %q is not a URL", c.Issuer)
	}
	if c.BaseURL == "" {
		return nil, errors.New("sampleapp: BaseURL is empty")
	}
	if c.ExitURL == "" {
		c.ExitURL = strings.TrimSuffix(c.BaseURL, "/") + "/"
	} else if u, err := url.Parse(c.ExitURL); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("sampleapp: ExitURL %q is not an address of the web", c.ExitURL)
	}
	c.Recheck = cmp.Or(c.Recheck, 5*time.Second)
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	sum := sha256.Sum256(css)
	a := &app{
		cfg:     c,
		shelf:   newShelf(),
		pages:   map[string]*template.Template{},
		cssPath: "/static/" + hex.EncodeToString(sum[:6]) + "/app.css",
		// form-action names the provider because signing out is a form that ends there.
		csp: "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' " + issuer.Scheme + "://" + issuer.Host +
			"; base-uri 'none'; frame-ancestors 'none'",
	}
	layout, err := template.ParseFS(html, "html/layout.html")
	if err != nil {
		return nil, fmt.Errorf("sampleapp: %w", err)
	}
	for _, name := range []string{"home", "about", "you", "members", "admin", "noaccess", "sorry", "signedout", "failed", "notfound",
		"greeting", "lessons", "interview", "turnedaway", "bell", "notes", "api"} {
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(html, "html/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("sampleapp: %w", err)
		}
		a.pages[name] = t
	}
	a.rp, err = relying.New(relying.Config{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		RedirectURL: RedirectURL(c.BaseURL), PostLogoutURL: PostLogoutURL(c.BaseURL),
		Scopes:     []string{"profile", "email", "privileges"},
		SignedOut:  http.HandlerFunc(a.sorry),
		NoAccess:   http.HandlerFunc(a.noAccess),
		Failed:     a.failed,
		Recheck:    c.Recheck,
		HTTPClient: c.HTTPClient, Logger: c.Logger, Now: c.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("sampleapp: %w", err)
	}
	api := relying.APIConfig{Issuer: c.Issuer, Audience: Resource(c.BaseURL), HTTPClient: c.HTTPClient, Logger: c.Logger, Now: c.Now}
	byToken, err := relying.NewAPI(api)
	if err != nil {
		return nil, fmt.Errorf("sampleapp: %w", err)
	}
	api.Introspect, api.ClientID, api.ClientSecret = relying.IntrospectAlways, c.ClientID, c.ClientSecret
	byLatchkey, err := relying.NewAPI(api)
	if err != nil {
		return nil, fmt.Errorf("sampleapp: %w", err)
	}
	rp, page := a.rp, func(h http.HandlerFunc) http.Handler { return h }

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", a.show("home", "Home"))
	mux.Handle("GET /about", a.show("about", "About"))
	mux.Handle("GET /signed-out", a.show("signedout", "Signed out"))
	mux.HandleFunc("GET /me", me)

	mux.Handle("GET /you", rp.RequireLogin(page(a.you)))
	mux.Handle("GET /members", rp.RequireLogin(a.show("members", "Members")))
	mux.Handle("GET /lessons", rp.RequirePrivilege("trainer", "customer")(page(a.lessons)))
	mux.Handle("GET /greeting", rp.RequireLogin(a.show("greeting", "Greeting")))
	mux.Handle("GET /interview", rp.RequireLogin(page(a.interview)))
	mux.Handle("GET /admin", rp.RequirePrivilege("admin")(a.show("admin", "Control room")))

	mux.Handle("GET /bell", rp.RequirePrivilege("trainer", "customer")(page(a.bell)))
	mux.Handle("GET /actions/ring", rp.RequirePrivilege("trainer", "customer")(page(a.ring)))
	mux.Handle("POST /bell", a.own(rp.RequirePrivilege("trainer", "customer")(rp.RequireWrite(page(a.ring)))))

	add := page(a.addNote)
	ifTheyMay := rp.RequireWrite(add)
	mux.HandleFunc("GET /notes", a.notes)
	mux.Handle("POST /notes", a.own(page(func(w http.ResponseWriter, r *http.Request) {
		if relying.UserLoggedIn(r.Context()) {
			ifTheyMay.ServeHTTP(w, r)
			return
		}
		add.ServeHTTP(w, r)
	})))

	mux.Handle("GET /api", rp.RequireLogin(page(a.callAPI)))
	mux.Handle("GET /api/me", byToken.RequireToken(page(apiMe)))
	mux.Handle("GET /api/lessons", byToken.RequirePrivilege("trainer")(page(apiLessons)))
	mux.Handle("GET /api/now/lessons", byLatchkey.RequirePrivilege("trainer")(page(apiLessons)))

	mux.Handle("GET /login", rp.Login())
	mux.Handle("GET /callback", rp.Callback())
	mux.Handle("POST /logout", rp.Logout())
	mux.Handle("POST /backchannel-logout", rp.BackChannelLogout())
	mux.HandleFunc("GET "+a.cssPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Write(css) // an error here is a lost connection
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.render(w, r, http.StatusNotFound, "notfound", "Page not found", nil)
	})
	return a.headers(a.rp.Screen(a.adopt(mux))), nil
}

// own refuses forms of other sites.
func (a *app) own(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.failed(w, r, &relying.Error{Status: http.StatusForbidden, Code: relying.CodeInvalid, Err: errors.New("a form of another site")})
	}))
	return p.Handler(next)
}

func (a *app) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", a.csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func (a *app) render(w http.ResponseWriter, r *http.Request, status int, name, title string, body any) {
	p := page{
		CSS: a.cssPath, Title: title, Issuer: a.cfg.Issuer, Path: r.URL.Path, Body: body,
		LoginTo: "/login?" + url.Values{"return": {returnPath(r)}}.Encode(),
		Exit:    a.cfg.ExitURL,
	}
	if who, ok := relying.UserInfo(r.Context()); ok {
		p.Who, p.Account = &who, cmp.Or(who.Email, who.Username)
		if !plainWord.MatchString(p.Account) { // it goes into a command line
			p.Account = who.Subject
		}
		// Latchkey says who it really is by the sub alone: an application knows its own people.
		p.Really = cmp.Or(a.shelf.name(person(who.ActorSubject)), who.ActorSubject)
	}
	var b bytes.Buffer
	if err := a.pages[name].Execute(&b, p); err != nil {
		http.Error(w, "This page could not be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store") // every page shows who is signed in
	}
	w.WriteHeader(status)
	w.Write(b.Bytes()) // an error here is a lost connection
}

// returnPath is where a sign-in that starts on this page should come back to.
func returnPath(r *http.Request) string {
	switch r.URL.Path {
	case "/", "/callback", "/signed-out", "/logout", "/login":
		return "/you"
	}
	return relying.ReturnTo(r)
}

func (a *app) show(name, title string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { a.render(w, r, http.StatusOK, name, title, nil) }
}

func (a *app) sorry(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusForbidden, "sorry", "Please log in", nil)
}

func (a *app) noAccess(w http.ResponseWriter, r *http.Request) {
	why, _ := relying.RefusalOf(r.Context())
	a.render(w, r, http.StatusForbidden, "noaccess", "No access", why)
}

func (a *app) failed(w http.ResponseWriter, r *http.Request, e *relying.Error) {
	a.render(w, r, e.Status, "failed", "Not signed in", e)
}

// claim is a line of the claims tables.
type claim struct{ Name, Value, Remark string }

// table is one source of claims.
type table struct {
	ID, Title, Text string
	Claims          []claim
}

func (a *app) you(w http.ResponseWriter, r *http.Request) {
	who, _ := relying.UserInfo(r.Context())
	tables := []table{{"id-token", "ID token", "Signed by Latchkey and checked by this application.", claims(who.IDToken)}}
	if who.UserInfo != nil {
		tables = append(tables, table{"userinfo", "Userinfo", "Read from Latchkey with the access token.", claims(who.UserInfo)})
	}
	a.render(w, r, http.StatusOK, "you", "You", tables)
}

// claims lists a JSON object by name; times get a remark that people can read.
func claims(doc json.RawMessage) []claim {
	var all map[string]json.RawMessage
	if json.Unmarshal(doc, &all) != nil { // relying has read it before: it cannot happen, and an empty table would tell
		return nil
	}
	var list []claim
	for name, raw := range all {
		c := claim{Name: name, Value: string(raw)}
		var text string
		var seconds int64
		switch {
		case json.Unmarshal(raw, &text) == nil:
			c.Value = text
		case slices.Contains([]string{"exp", "iat", "auth_time", "updated_at", "nbf"}, name) && json.Unmarshal(raw, &seconds) == nil:
			c.Remark = time.Unix(seconds, 0).UTC().Format("2 January 2006, 15:04:05 UTC")
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b claim) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// me is for programs: who is signed in, as JSON.
func me(w http.ResponseWriter, r *http.Request) {
	answer := map[string]any{"logged_in": false}
	if who, ok := relying.UserInfo(r.Context()); ok {
		answer = map[string]any{
			"logged_in": true, "sub": who.Subject, "name": who.DisplayName(), "email": who.Email,
			"privileges": relying.UserPrivileges(r.Context()),
		}
		if who.Acting() {
			answer["act"] = map[string]string{"sub": who.ActorSubject}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(answer) // an error here is a lost connection
}
