// Package sampleapp is a small web application that leaves its sign-in to Latchkey: what `latchkey demo` shows a newcomer, and a
// pattern to copy from. Of this module it uses nothing but the public package relying.
//
// It keeps no data. Every page works without script.
package sampleapp

import (
	"bytes"
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
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/relying"
)

// Config of the application. All but the last three are required.
type Config struct {
	Issuer                 string
	ClientID, ClientSecret string
	BaseURL                string // this application's own address, scheme://host[:port]
	HTTPClient             *http.Client
	Logger                 *slog.Logger
	Now                    func() time.Time
}

// RedirectURL is the redirect URI to register for an application at baseURL.
func RedirectURL(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + "/callback" }

// PostLogoutURL is the post-logout redirect URI to register for an application at baseURL.
func PostLogoutURL(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + "/signed-out" }

//go:embed html/*.html
var html embed.FS

//go:embed app.css
var css []byte

type app struct {
	cfg     Config
	rp      *relying.Client
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
	IsAdmin bool
	LoginTo string // the sign-in link, coming back to this page
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
	sum := sha256.Sum256(css)
	a := &app{
		cfg:     c,
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
	for _, name := range []string{"home", "about", "you", "members", "admin", "noaccess", "sorry", "signedout", "failed", "notfound"} {
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
		HTTPClient: c.HTTPClient, Logger: c.Logger, Now: c.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("sampleapp: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.show("home", "Home"))
	mux.HandleFunc("GET /about", a.show("about", "About"))
	mux.HandleFunc("GET /signed-out", a.show("signedout", "Signed out"))
	mux.Handle("GET /you", a.rp.RequireLogin(http.HandlerFunc(a.you)))
	mux.Handle("GET /members", a.rp.RequireLogin(a.show("members", "Members")))
	mux.Handle("GET /admin", a.rp.RequirePrivilege("admin")(a.show("admin", "Control room")))
	mux.HandleFunc("GET /me", me)
	mux.Handle("GET /login", a.rp.Login())
	mux.Handle("GET /callback", a.rp.Callback())
	mux.Handle("POST /logout", a.rp.Logout())
	mux.HandleFunc("GET "+a.cssPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Write(css) // an error here is a lost connection
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.render(w, r, http.StatusNotFound, "notfound", "Page not found", nil)
	})
	return a.headers(a.rp.Screen(mux)), nil
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
		IsAdmin: relying.UserHasPrivilege(r.Context(), "admin"),
	}
	if who, ok := relying.UserInfo(r.Context()); ok {
		p.Who = &who
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
	return r.URL.RequestURI()
}

func (a *app) show(name, title string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { a.render(w, r, http.StatusOK, name, title, nil) }
}

func (a *app) sorry(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusForbidden, "sorry", "Please log in", nil)
}

func (a *app) noAccess(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusForbidden, "noaccess", "No access", nil)
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
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(answer) // an error here is a lost connection
}
