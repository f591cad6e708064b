package provider_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// benchRows is how full the filled database is; `make bench` sets a million.
func benchRows(b testing.TB) int {
	v := os.Getenv("LATCHKEY_BENCH_ROWS")
	if v == "" {
		return 20_000
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("LATCHKEY_BENCH_ROWS is %q", v)
	}
	return n
}

// sink is the cheapest ResponseWriter.
type sink struct {
	head   http.Header
	status int
	body   bytes.Buffer
}

func (s *sink) Header() http.Header         { return s.head }
func (s *sink) WriteHeader(n int)           { s.status = n }
func (s *sink) Write(p []byte) (int, error) { return s.body.Write(p) }

// inProcess drives the server's handler without sockets.
type inProcess struct {
	idp     *testidp.IDP
	h       http.Handler
	host    string
	cookies string
	out     sink
}

func (p *inProcess) do(b testing.TB, method, target, auth, form string) *sink {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		b.Fatal(err)
	}
	r := &http.Request{Method: method, URL: u, Host: p.host, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1", Header: http.Header{}, Body: http.NoBody}
	if form != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
		r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	}
	if auth != "" {
		r.Header["Authorization"] = []string{auth}
	} else if p.cookies != "" {
		r.Header["Cookie"] = []string{p.cookies}
	}
	p.out.head, p.out.status = http.Header{}, http.StatusOK
	p.out.body.Reset()
	p.h.ServeHTTP(&p.out, r.WithContext(context.Background()))
	return &p.out
}

func (p *inProcess) json(b testing.TB, path, auth, form string) map[string]any {
	w := p.do(b, http.MethodPost, path, auth, form)
	var m map[string]any
	if err := json.Unmarshal(w.body.Bytes(), &m); err != nil || w.status != http.StatusOK {
		b.Fatalf("%s: %d %s", path, w.status, w.body.String())
	}
	return m
}

// benchSite is a server with somebody signed in and one client of each kind.
type benchSite struct {
	*inProcess
	authorize string // path and query
	auth      map[string]string
	verifier  string
	loginPath string
}

const benchRedirect = "https://rp.example/callback"

func newBenchSite(b *testing.B, engine, how string) *benchSite {
	opts := testidp.Options{Engine: engine, Plain: true}
	opts.Server.NoBackground = true
	opts.Server.Logger = slog.New(slog.DiscardHandler)
	kept := ""
	if how == "filled" && engine == "sqlite" {
		// A million rows take a while; the file is kept between runs, under a name that changes with the schema.
		dir := filepath.Join("..", ".cache", "bench")
		schema, err := os.ReadFile(filepath.Join("..", "store", "testdata", "migrations.golden"))
		if err != nil {
			b.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		kept = filepath.Join(dir, fmt.Sprintf("%.8x-%d.db", sha256.Sum256(schema), benchRows(b)))
		opts.URL = "sqlite:" + kept
	}
	idp := testidp.Start(b, opts)
	u, err := url.Parse(idp.Issuer)
	if err != nil {
		b.Fatal(err)
	}
	s := &benchSite{inProcess: &inProcess{idp: idp, h: idp.Server.Handler(), host: u.Host}, auth: map[string]string{}, verifier: strings.Repeat("v", 43)}
	ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Privileges: []string{"user", "trainer"}})
	add := func(name string, m store.ClientMetadata) *testidp.RP {
		m.RedirectURIs = []string{benchRedirect}
		rp := idp.RP(m)
		s.auth[name] = "Basic " + base64.StdEncoding.EncodeToString([]byte(rp.ID+":"+rp.Secret))
		return rp
	}
	rp := add("rotating", refreshing(store.ClientMetadata{RefreshRotation: "always"}))
	keeping := add("keeping", refreshing(store.ClientMetadata{}))
	plain := add("plain", refreshing(store.ClientMetadata{RefreshRotation: "always", Scope: "email privileges offline_access"}))
	opaque := add("opaque", refreshing(store.ClientMetadata{AccessTokenFormat: "opaque"}))
	for alg, m := range map[string]store.ClientMetadata{"cc ES256": {}, "cc RS256": {AccessTokenAlg: "RS256"}, "cc opaque": {AccessTokenFormat: "opaque"}} {
		m.GrantTypes, m.Scope = []string{"client_credentials"}, "api"
		add(alg, m)
	}
	br := idp.Browser()
	for _, c := range []*testidp.RP{rp, keeping, opaque} { // consents, and a grant to multiply
		tokens(b, br, c, ada)
	}
	a := plain.Start("scope", "email privileges offline_access", "nonce", "")
	plain.Code(a, through(b, br, a, ada).URL)
	if how == "filled" && (kept == "" || fresh(b, idp)) {
		fill(b, idp, ada, benchRows(b))
	}
	s.cookies = "latchkey=" + br.Cookie("latchkey") + "; latchkey-flow=" + br.Cookie("latchkey-flow")
	q := url.Values{"client_id": {rp.ID}, "redirect_uri": {benchRedirect}, "response_type": {"code"}, "scope": {rp.DefaultScope}, "nonce": {"n"}, "state": {"s"},
		"code_challenge": {s256(s.verifier)}, "code_challenge_method": {"S256"}}
	s.authorize = "/oauth2/authorize?" + q.Encode()
	s.loginPath = s.do(b, http.MethodGet, s.authorize+"&prompt=login", "", "").head.Get("Location")
	return s
}

func s256(v string) string {
	h := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// fresh says whether a kept database still has to be filled.
func fresh(b testing.TB, idp *testidp.IDP) bool {
	list, err := idp.Store.Users(context.Background(), "fill", 1)
	if err != nil {
		b.Fatal(err)
	}
	return len(list) == 0 || !strings.HasPrefix(list[0].ID, "fill")
}

// code gets one in one redirect, for a client of the site.
func (s *benchSite) code(b testing.TB, client string) string {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.auth[client], "Basic "))
	if err != nil {
		b.Fatal(err)
	}
	id, _, _ := strings.Cut(string(raw), ":")
	q, err := url.ParseQuery(strings.TrimPrefix(s.authorize, "/oauth2/authorize?"))
	if err != nil {
		b.Fatal(err)
	}
	q.Set("client_id", id)
	if client == "plain" {
		q.Set("scope", "email privileges offline_access")
	}
	w := s.do(b, http.MethodGet, "/oauth2/authorize?"+q.Encode(), "", "")
	to, err := url.Parse(w.head.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		b.Fatalf("no code: %d %s", w.status, w.head.Get("Location"))
	}
	return to.Query().Get("code")
}

func (s *benchSite) redeemForm(code string) string {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {benchRedirect}, "code_verifier": {s.verifier}}.Encode()
}

// BenchmarkProvider measures what a request costs inside the process: time, allocations and statements, on both databases, empty and filled.
func BenchmarkProvider(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, how := range []string{"empty", "filled"} {
			b.Run(engine+"/"+how, func(b *testing.B) {
				s := newBenchSite(b, engine, how)
				run := func(name string, prepare func(n int) func(i int)) {
					b.Run(name, func(b *testing.B) {
						op := prepare(b.N)
						b.ReportAllocs()
						before := s.idp.Store.Counts()
						b.ResetTimer()
						for i := range b.N {
							op(i)
						}
						b.StopTimer()
						after := s.idp.Store.Counts()
						b.ReportMetric(float64(after.Reads-before.Reads)/float64(b.N), "reads/op")
						b.ReportMetric(float64(after.Writes-before.Writes)/float64(b.N), "writes/op")
					})
				}
				post := func(path, auth, form string) {
					if w := s.do(b, http.MethodPost, path, auth, form); w.status != http.StatusOK {
						b.Fatalf("%s: %d %s", path, w.status, w.body.String())
					}
				}
				get := func(target, auth string, status int) {
					if w := s.do(b, http.MethodGet, target, auth, ""); w.status != status {
						b.Fatalf("%s: %d %s", target, w.status, w.body.String())
					}
				}
				same := func(f func()) func(int) func(int) { return func(int) func(int) { return func(int) { f() } } }
				run("authorize", same(func() { get(s.authorize, "", http.StatusSeeOther) }))
				run("exchange", func(n int) func(int) {
					forms := make([]string, n)
					for i := range forms {
						forms[i] = s.redeemForm(s.code(b, "rotating"))
					}
					return func(i int) { post("/oauth2/token", s.auth["rotating"], forms[i]) }
				})
				for _, client := range []string{"rotating", "keeping", "plain"} {
					name := map[string]string{"rotating": "refresh, rotating, RS256 ID token", "keeping": "refresh, same token, RS256 ID token", "plain": "refresh, rotating, no ID token"}[client]
					run(name, func(int) func(int) {
						tok := s.json(b, "/oauth2/token", s.auth[client], s.redeemForm(s.code(b, client)))["refresh_token"].(string)
						return func(int) {
							tok = s.json(b, "/oauth2/token", s.auth[client], "grant_type=refresh_token&refresh_token="+tok)["refresh_token"].(string)
						}
					})
				}
				for _, cc := range []string{"cc ES256", "cc RS256", "cc opaque"} {
					run(strings.Replace(cc, "cc", "client_credentials", 1), same(func() { post("/oauth2/token", s.auth[cc], "grant_type=client_credentials") }))
				}
				for _, client := range []string{"rotating", "opaque"} {
					format := map[string]string{"rotating": "JWT", "opaque": "opaque"}[client]
					tok := s.json(b, "/oauth2/token", s.auth[client], s.redeemForm(s.code(b, client)))["access_token"].(string)
					run("introspect, "+format, same(func() { post("/oauth2/introspect", s.auth[client], "token="+tok) }))
					run("userinfo, "+format, same(func() { get("/oauth2/userinfo", "Bearer "+tok, http.StatusOK) }))
				}
				run("revoke", func(n int) func(int) {
					forms := make([]string, n)
					for i := range forms {
						forms[i] = "token=" + s.json(b, "/oauth2/token", s.auth["plain"], s.redeemForm(s.code(b, "plain")))["access_token"].(string)
					}
					return func(i int) { post("/oauth2/revoke", s.auth["plain"], forms[i]) }
				})
				run("jwks", same(func() { get("/oauth2/jwks", "", http.StatusOK) }))
				run("discovery", same(func() { get("/.well-known/openid-configuration", "", http.StatusOK) }))
				run("sign-in page", same(func() { get(s.loginPath, "", http.StatusOK) }))
			})
		}
	}
}
