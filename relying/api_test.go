package relying_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/relying"
)

const orders = "https://orders.example/api"

// service is an API on relying.
type service struct {
	t   testing.TB
	api *relying.API
	mux *http.ServeMux
}

// newService has the routes /any, /read (scope), /clerk (a privilege), /both, /mixed, /edit and /open.
func newService(t testing.TB, o *op, tweak ...func(*relying.APIConfig)) *service {
	t.Helper()
	c := relying.APIConfig{Issuer: o.URL, Audience: orders, Now: o.clock.Now, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range tweak {
		f(&c)
	}
	api, err := relying.NewAPI(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t, api, http.NewServeMux()}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := relying.TokenOf(r.Context())
		who, person := relying.UserInfo(r.Context())
		raw, _ := relying.AccessToken(r.Context())
		sendJSON(w, http.StatusOK, map[string]any{
			"token": ok, "sub": token.Subject, "client": token.ClientID, "scopes": token.Scopes, "person": person, "in": relying.UserLoggedIn(r.Context()), "who": who.Subject,
			"privileges": relying.UserPrivileges(r.Context()), "raw": strings.HasSuffix(r.Header.Get("Authorization"), raw), "machine": token.Machine(),
		})
	})
	s.mux.Handle("/any", api.RequireToken(h))
	s.mux.Handle("/read", api.RequireScope("orders:read", "profile")(h))
	s.mux.Handle("/clerk", api.RequirePrivilege("clerk", "judge")(h))
	s.mux.Handle("/both", api.RequireAll("clerk", "judge")(h))
	s.mux.Handle("/mixed", api.Require(relying.MustRequirement("user", []string{"clerk", "judge"}))(h))
	s.mux.Handle("/open", api.Require(relying.MustRequirement())(h))
	s.mux.Handle("/edit", api.RequireWrite(api.RequireScope("orders:read")(h)))
	return s
}

// call sends a request with header Authorization, none if it is "".
func (s *service) call(method, path string, authorization ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for _, a := range authorization {
		if a != "" {
			r.Header.Add("Authorization", a)
		}
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// accessClaims are those of a good access token.
func (o *op) accessClaims(change map[string]any) map[string]any {
	now := o.clock.Now()
	return changed(map[string]any{
		"iss": o.URL, "sub": "sub-1", "aud": []string{orders, o.URL}, "client_id": "shop", "scope": "openid profile privileges orders:read", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "privileges": []string{"clerk", "user"}, "user_type": "staff",
	}, change)
}

func (o *op) accessToken(change map[string]any) string {
	return o.jwt("at+jwt", o.accessClaims(change), nil)
}

func TestAPI(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newService(t, o)
	var got struct {
		Token, Person, In, Raw, Machine bool
		Sub, Client, Who                string
		Scopes, Privileges              []string
	}
	w := s.call("GET", "/any", "Bearer "+o.accessToken(nil))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !got.Token || !got.Person || !got.In || !got.Raw || got.Machine || got.Sub != "sub-1" || got.Who != "sub-1" || got.Client != "shop" ||
		!slices.Contains(got.Scopes, "orders:read") || !slices.Equal(got.Privileges, []string{"clerk", "user"}) {
		t.Errorf("%+v", got)
	}
	machine := o.jwt("application/at+jwt", o.accessClaims(map[string]any{"sub": "robot", "client_id": "robot", "scope": "orders:read profile", "privileges": nil}), nil)
	got.Privileges = nil
	if err := json.Unmarshal(s.call("GET", "/any", "bearer  "+machine).Body.Bytes(), &got); err != nil || got.Person || got.In || !got.Machine || got.Privileges != nil {
		t.Errorf("a machine: %+v %v", got, err)
	}
	for _, c := range []struct {
		name   string
		token  string
		method string
		path   string
		want   int
		hint   string // in WWW-Authenticate
	}{
		{"scopes", o.accessToken(nil), "GET", "/read", 200, ""},
		{"no scope", o.accessToken(map[string]any{"scope": "profile privileges"}), "GET", "/read", 403, `error="insufficient_scope"`},
		{"no scope", o.accessToken(map[string]any{"scope": "profile privileges"}), "GET", "/read", 403, `scope="orders:read profile"`},
		{"like a scope", o.accessToken(map[string]any{"scope": "orders:reads profile"}), "GET", "/read", 403, "insufficient_scope"},
		{"privilege", o.accessToken(nil), "GET", "/clerk", 200, ""},
		{"no privilege", o.accessToken(map[string]any{"privileges": []string{"user"}}), "GET", "/clerk", 403, `error="insufficient_scope", error_description="a privilege is missing"`},
		{"privileges not asked for", o.accessToken(map[string]any{"privileges": nil, "scope": "openid"}), "GET", "/clerk", 403, `scope="privileges"`},
		{"admin is no wildcard", o.accessToken(map[string]any{"privileges": []string{"admin"}}), "GET", "/clerk", 403, "insufficient_scope"},
		{"one of both", o.accessToken(nil), "GET", "/both", 403, "insufficient_scope"},
		{"both", o.accessToken(map[string]any{"privileges": []string{"clerk", "judge"}}), "GET", "/both", 200, ""},
		{"mixed", o.accessToken(nil), "GET", "/mixed", 200, ""},
		{"mixed", o.accessToken(map[string]any{"privileges": []string{"clerk"}}), "GET", "/mixed", 403, "insufficient_scope"},
		{"write", o.accessToken(nil), "POST", "/edit", 200, ""},
		{"read-only", o.accessToken(map[string]any{"readonly": true}), "POST", "/edit", 403, "this account changes nothing"},
		{"read-only reads", o.accessToken(map[string]any{"readonly": true}), "GET", "/edit", 200, ""},
		{"not known", o.accessToken(map[string]any{"privileges": nil}), "DELETE", "/edit", 403, "insufficient_scope"},
		{"a machine writes", machine, "POST", "/edit", 200, ""},
		{"a machine is no clerk", machine, "GET", "/clerk", 403, "insufficient_scope"},
		{"a machine with privileges is none", o.accessToken(map[string]any{"sub": "shop"}), "GET", "/clerk", 403, "insufficient_scope"},
		{"none needed", "", "GET", "/open", 200, ""},
		{"none", "", "GET", "/any", 401, `Bearer realm="https://orders.example/api"`},
	} {
		auth := ""
		if c.token != "" {
			auth = "Bearer " + c.token
		}
		w := s.call(c.method, c.path, auth)
		h := w.Header().Get("WWW-Authenticate")
		if w.Code != c.want || !strings.Contains(h, c.hint) || c.want == 200 != (h == "") {
			t.Errorf("%s, %s %s: %d %q, want %d %q", c.name, c.method, c.path, w.Code, h, c.want, c.hint)
		}
		if c.want != 200 && (w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json") {
			t.Errorf("%s: %v", c.name, w.Header())
		}
	}
	// Without a token nobody is told what an error is.
	if h := s.call("GET", "/any").Header().Get("WWW-Authenticate"); h != `Bearer realm="`+orders+`"` {
		t.Errorf("without a token: %q", h)
	}
	if n := o.count("GET /jwks"); n != 1 {
		t.Errorf("%d key requests", n)
	}
}

// Everything that may be wrong with a token or the way it is sent.
func TestAPIRefuses(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newService(t, o)
	good := o.accessToken(nil)
	if w := s.call("GET", "/any", "Bearer "+good); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := o.clock.Now()
	signed := func(header map[string]any) string { return o.jwt("at+jwt", o.accessClaims(nil), header) }
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"another key":       forge(other, "k", "at+jwt", o.accessClaims(nil), nil),
		"another kid":       forge(other, "made-up", "at+jwt", o.accessClaims(nil), nil),
		"no kid":            forge(other, "k", "at+jwt", o.accessClaims(nil), map[string]any{"kid": nil}),
		"embedded key":      forge(other, "k", "at+jwt", o.accessClaims(nil), map[string]any{"jwk": map[string]any{"kty": "EC"}}),
		"unsigned":          unsigned(`{}`),
		"none":              o.jwt("at+jwt", o.accessClaims(nil), map[string]any{"alg": "none"}),
		"HS256":             signed(map[string]any{"alg": "HS256"}),
		"ES384 header":      signed(map[string]any{"alg": "ES384"}),
		"RS256 header":      signed(map[string]any{"alg": "RS256"}),
		"crit":              signed(map[string]any{"crit": []string{"exp"}}),
		"no typ":            signed(map[string]any{"typ": nil}),
		"typ JWT":           o.jwt("JWT", o.accessClaims(nil), nil),
		"an ID token":       o.jwt("JWT", changed(o.accessClaims(nil), map[string]any{"aud": orders}), nil),
		"a logout token":    o.jwt("logout+jwt", o.accessClaims(nil), nil),
		"payload of other":  parts[0] + "." + strings.Split(o.accessToken(map[string]any{"privileges": []string{"admin"}}), ".")[1] + "." + parts[2],
		"signature cut":     good[:len(good)-4],
		"no signature":      parts[0] + "." + parts[1] + ".",
		"issuer":            o.accessToken(map[string]any{"iss": "https://evil.example"}),
		"issuer and slash":  o.accessToken(map[string]any{"iss": o.URL + "/"}),
		"no issuer":         o.accessToken(map[string]any{"iss": nil}),
		"audience":          o.accessToken(map[string]any{"aud": "https://other.example"}),
		"audience longer":   o.accessToken(map[string]any{"aud": orders + "/x"}),
		"no audience":       o.accessToken(map[string]any{"aud": nil}),
		"audience a map":    o.accessToken(map[string]any{"aud": map[string]any{orders: 1}}),
		"expired":           o.accessToken(map[string]any{"exp": now.Unix()}),
		"no exp":            o.accessToken(map[string]any{"exp": nil}),
		"exp a text":        o.accessToken(map[string]any{"exp": fmt.Sprint(now.Add(time.Hour).Unix())}),
		"exp beyond reason": o.accessToken(map[string]any{"exp": 1e18}),
		"not yet":           o.accessToken(map[string]any{"nbf": now.Add(5 * time.Minute).Unix()}),
		"no subject":        o.accessToken(map[string]any{"sub": nil}),
		"no client":         o.accessToken(map[string]any{"client_id": nil}),
		"bound to a key":    o.accessToken(map[string]any{"cnf": map[string]any{"jkt": "x"}}),
		"privileges a text": o.accessToken(map[string]any{"privileges": "admin"}),
		"opaque":            "at_0123456789",
		"four parts":        good + ".x",
	} {
		w := s.call("GET", "/any", "Bearer "+token)
		if h := w.Header().Get("WWW-Authenticate"); w.Code != 401 || !strings.HasPrefix(h, "Bearer realm=") || !strings.Contains(h, `error="invalid_token"`) {
			t.Errorf("%s: %d %q", name, w.Code, h)
		}
		if strings.Contains(w.Body.String(), "kid") || !strings.Contains(w.Body.String(), `"error":"invalid_token"`) {
			t.Errorf("%s: told %s", name, w.Body)
		}
	}
	for name, c := range map[string]struct {
		path string
		auth []string
		want int
	}{
		"twice":           {"/any", []string{"Bearer " + good, "Bearer " + good}, 400},
		"in the address":  {"/any?access_token=" + good, nil, 400},
		"in both":         {"/any?access_token=" + good, []string{"Bearer " + good}, 400},
		"empty":           {"/any", []string{"Bearer "}, 400},
		"two words":       {"/any", []string{"Bearer " + good + " x"}, 400},
		"a line":          {"/any", []string{"Bearer a\tb"}, 400},
		"too long":        {"/any", []string{"Bearer " + strings.Repeat("a", 17<<10)}, 400},
		"another scheme":  {"/any", []string{"Basic " + good}, 401},
		"DPoP":            {"/any", []string{"DPoP " + good}, 401},
		"a name like it":  {"/any?my_access_token=1", []string{"Bearer " + good}, 200},
		"case of scheme":  {"/any", []string{"BEARER " + good}, 200},
		"without a space": {"/any", []string{"Bearer" + good}, 401},
	} {
		w := s.call("GET", c.path, c.auth...)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
		if h := w.Header().Get("WWW-Authenticate"); c.want == 400 && !strings.Contains(h, `error="invalid_request"`) {
			t.Errorf("%s: %q", name, h)
		}
	}
	// A web session is none of an API's business.
	site := newSite(t, o)
	b := newBrowser(t)
	b.open(site.URL + "/private")
	r := httptest.NewRequest("GET", "/any", nil)
	for _, k := range b.Jar.Cookies(r.URL) {
		r.AddCookie(k)
	}
	w := httptest.NewRecorder()
	site.rp.Screen(s.mux).ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("with a cookie: %d", w.Code)
	}
	o.clock.Advance(10 * time.Minute)
	if w := s.call("GET", "/any", "Bearer "+good); w.Code != 401 {
		t.Errorf("ten minutes later: %d", w.Code)
	}
}

// The provider's keys: asked for once however many want them, again when one is new, and never at the pace of strangers.
func TestAPIKeys(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newService(t, o)
	token := o.accessToken(nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := s.call("GET", "/any", "Bearer "+token); w.Code != 200 {
				t.Errorf("%d", w.Code)
			}
		})
	}
	wg.Wait()
	if n, m := o.count("GET /jwks"), o.count("GET /.well-known"); n != 1 || m != 1 {
		t.Fatalf("%d key requests and %d discoveries by 20 callers", n, m)
	}
	rotate := func(kid string) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		old := o.key
		o.with(func() { o.key, o.kid = key, kid })
		return old
	}
	// Strangers make up key ids.
	o.clock.Advance(time.Minute)
	for i := range 50 {
		if w := s.call("GET", "/any", "Bearer "+forge(o.key, fmt.Sprint("x", i), "at+jwt", o.accessClaims(nil), nil)); w.Code != 401 {
			t.Errorf("%d", w.Code)
		}
	}
	if n := o.count("GET /jwks"); n != 2 {
		t.Errorf("%d key requests after 50 made-up key ids in a moment", n)
	}
	// A wrong signature under a key we know is no reason to ask.
	o.clock.Advance(time.Minute)
	s.call("GET", "/any", "Bearer "+token[:len(token)-6]+"AAAAAA")
	if n := o.count("GET /jwks"); n != 2 {
		t.Errorf("%d key requests after a wrong signature", n)
	}
	// A new key is found at its first token, and the old one's tokens end with it.
	rotate("k2")
	if w := s.call("GET", "/any", "Bearer "+o.accessToken(nil)); w.Code != 200 {
		t.Errorf("signed with a new key: %d", w.Code)
	}
	if w := s.call("GET", "/any", "Bearer "+token); w.Code != 401 {
		t.Errorf("signed with a key that is published no more: %d", w.Code)
	}
	// Keys are read again after an hour, or sooner if the provider says so.
	n := o.count("GET /jwks")
	o.with(func() { o.keysLife = "public, max-age=300" })
	for _, c := range []struct {
		after time.Duration
		more  int
	}{{59 * time.Minute, 0}, {2 * time.Minute, 1}, {4 * time.Minute, 0}, {time.Minute, 1}} {
		o.clock.Advance(c.after)
		if w := s.call("GET", "/any", "Bearer "+o.accessToken(nil)); w.Code != 200 {
			t.Errorf("%d", w.Code)
		}
		if n += c.more; o.count("GET /jwks") != n {
			t.Errorf("after %s: %d key requests, want %d", c.after, o.count("GET /jwks"), n)
		}
	}
	// The provider is away: what we know serves for a day.
	o.with(func() { o.down = true })
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{time.Hour, 200}, {22 * time.Hour, 200}, {2 * time.Hour, 503}} {
		o.clock.Advance(c.after)
		if w := s.call("GET", "/any", "Bearer "+o.accessToken(nil)); w.Code != c.want {
			t.Errorf("away, after another %s: %d, want %d", c.after, w.Code, c.want)
		}
	}
	o.with(func() { o.down = false })
	o.clock.Advance(time.Minute)
	if w := s.call("GET", "/any", "Bearer "+o.accessToken(nil)); w.Code != 200 {
		t.Errorf("back: %d", w.Code)
	}
}

func TestAPIWhileProviderIsDown(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.down = true
	s := newService(t, o)
	token := o.accessToken(nil)
	for range 3 {
		w := s.call("GET", "/any", "Bearer "+token)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	if n := o.count("GET /.well-known"); n != 1 {
		t.Errorf("%d discoveries in a moment", n)
	}
	if w := s.call("GET", "/any"); w.Code != 401 { // this much is known
		t.Errorf("without a token: %d", w.Code)
	}
	o.with(func() { o.down = false })
	o.clock.Advance(3 * time.Second)
	if w := s.call("GET", "/any", "Bearer "+token); w.Code != 200 {
		t.Errorf("up again: %d", w.Code)
	}
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	ask := func(mode relying.Introspection, keep time.Duration) func(*relying.APIConfig) {
		return func(c *relying.APIConfig) {
			c.Introspect, c.CacheFor, c.ClientID, c.ClientSecret = mode, keep, clientID, clientSecret
		}
	}
	s := newService(t, o, ask(relying.IntrospectOpaque, 0))
	live := func(token string, change map[string]any) string {
		o.with(func() {
			o.lives[token] = changed(o.accessClaims(nil), map[string]any{"active": true, "token_type": "Bearer"})
			o.lives[token] = changed(o.lives[token], change)
		})
		return token
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		path   string
		want   int
	}{
		{"good", nil, "/any", 200},
		{"privilege", nil, "/clerk", 200},
		{"no privilege", map[string]any{"privileges": []string{"user"}}, "/clerk", 403},
		{"not active", map[string]any{"active": false}, "/any", 401},
		{"active a text", map[string]any{"active": "true"}, "/any", 503},
		{"active missing", map[string]any{"active": nil}, "/any", 401},
		{"issuer", map[string]any{"iss": "https://evil.example"}, "/any", 401},
		{"issuer unsaid", map[string]any{"iss": nil}, "/any", 200},
		{"audience", map[string]any{"aud": "https://other.example"}, "/any", 401},
		{"a refresh token", map[string]any{"aud": nil, "token_type": nil}, "/any", 401},
		{"another type", map[string]any{"token_type": "DPoP"}, "/any", 401},
		{"type unsaid", map[string]any{"token_type": nil}, "/any", 200},
		{"bound", map[string]any{"cnf": map[string]any{"jkt": "x"}}, "/any", 401},
		{"no client", map[string]any{"client_id": nil}, "/any", 401},
		{"exp unsaid", map[string]any{"exp": nil}, "/any", 200},
		{"not yet", map[string]any{"nbf": o.clock.Now().Add(time.Hour).Unix()}, "/any", 401},
	} {
		if w := s.call("GET", c.path, "Bearer "+live("at_"+rand.Text(), c.change)); w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
	}
	if w := s.call("GET", "/any", "Bearer at_unknown"); w.Code != 401 {
		t.Errorf("unknown: %d", w.Code)
	}
	// Nothing is kept, so a change counts at once; JWTs are not asked about.
	n := o.count("POST /introspect")
	tok := live("at_one", nil)
	for range 3 {
		s.call("GET", "/clerk", "Bearer "+tok)
	}
	if got := o.count("POST /introspect") - n; got != 3 {
		t.Errorf("%d questions for 3 requests", got)
	}
	live("at_one", map[string]any{"privileges": []string{"user"}})
	if w := s.call("GET", "/clerk", "Bearer "+tok); w.Code != 403 {
		t.Errorf("taken away: %d", w.Code)
	}
	if s.call("GET", "/any", "Bearer "+o.accessToken(nil)); o.count("POST /introspect") != n+4 {
		t.Error("asked about a JWT")
	}
	for _, f := range o.forms {
		if f.Get("token_type_hint") != "access_token" || f.Has("client_secret") {
			t.Errorf("asked by %v", f)
		}
	}

	// Kept for a while, if one wants that; never longer than the token lives, and never a no.
	kept := newService(t, o, ask(relying.IntrospectOpaque, 30*time.Second))
	brief := live("at_brief", map[string]any{"exp": o.clock.Now().Add(10 * time.Second).Unix()})
	live("at_one", nil)
	steps := func(token string, after time.Duration, path string, want, asked int) {
		t.Helper()
		n := o.count("POST /introspect")
		o.clock.Advance(after)
		if w := kept.call("GET", path, "Bearer "+token); w.Code != want || o.count("POST /introspect")-n != asked {
			t.Errorf("%s after %s: %d with %d questions, want %d with %d", token, after, w.Code, o.count("POST /introspect")-n, want, asked)
		}
	}
	steps("at_one", 0, "/clerk", 200, 1)
	steps(brief, 0, "/any", 200, 1)
	live("at_one", map[string]any{"privileges": []string{"user"}})
	steps(brief, 9*time.Second, "/any", 200, 0)
	steps(brief, time.Second, "/any", 401, 1)
	steps("at_one", 19*time.Second, "/clerk", 200, 0)
	steps("at_one", time.Second, "/clerk", 403, 1)
	steps("at_none", 0, "/any", 401, 1)
	steps("at_none", 0, "/any", 401, 1)

	// About every token: both must hold.
	always := newService(t, o, ask(relying.IntrospectAlways, 0))
	jwt := o.accessToken(nil)
	if w := always.call("GET", "/any", "Bearer "+jwt); w.Code != 401 {
		t.Errorf("verified here, ended there: %d", w.Code)
	}
	live(jwt, map[string]any{"privileges": []string{"user"}})
	if w := always.call("GET", "/any", "Bearer "+jwt); w.Code != 200 {
		t.Errorf("both: %d", w.Code)
	}
	if w := always.call("GET", "/clerk", "Bearer "+jwt); w.Code != 403 {
		t.Errorf("a privilege that only the token still has: %d", w.Code)
	}
	live(jwt, map[string]any{"sub": "sub-2"})
	if w := always.call("GET", "/any", "Bearer "+jwt); w.Code != 401 {
		t.Errorf("about two people: %d", w.Code)
	}
	n = o.count("POST /introspect")
	if w := always.call("GET", "/any", "Bearer "+jwt[:len(jwt)-6]+"AAAAAA"); w.Code != 401 || o.count("POST /introspect") != n {
		t.Errorf("a forged JWT: %d, asked %d times", w.Code, o.count("POST /introspect")-n)
	}

	// It is we who are refused, or nobody answers: not now.
	wrong := newService(t, o, ask(relying.IntrospectOpaque, 0), func(c *relying.APIConfig) { c.ClientSecret = "wrong" })
	if w := wrong.call("GET", "/any", "Bearer at_one"); w.Code != 503 {
		t.Errorf("our secret is wrong: %d", w.Code)
	}
	o.with(func() { o.down = true })
	if w := s.call("GET", "/any", "Bearer at_one"); w.Code != 503 {
		t.Errorf("down: %d", w.Code)
	}
}

// A provider without the endpoint cannot be asked.
func TestIntrospectionNeedsAnEndpoint(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.metadata = func(m map[string]any) { delete(m, "introspection_endpoint") }
	s := newService(t, o, func(c *relying.APIConfig) {
		c.Introspect, c.ClientID, c.ClientSecret = relying.IntrospectOpaque, clientID, clientSecret
	})
	if w := s.call("GET", "/any", "Bearer at_one"); w.Code != 503 {
		t.Errorf("%d", w.Code)
	}
}

func TestNewAPI(t *testing.T) {
	t.Parallel()
	good := relying.APIConfig{Issuer: "https://id.example", Audience: orders}
	if _, err := relying.NewAPI(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*relying.APIConfig){
		"no issuer":              func(c *relying.APIConfig) { c.Issuer = "" },
		"http issuer":            func(c *relying.APIConfig) { c.Issuer = "http://id.example" },
		"no audience":            func(c *relying.APIConfig) { c.Audience = "" },
		"the issuer as audience": func(c *relying.APIConfig) { c.Audience = c.Issuer },
		"HS256":                  func(c *relying.APIConfig) { c.Algorithms = []string{"HS256"} },
		"none":                   func(c *relying.APIConfig) { c.Algorithms = []string{"none"} },
		"introspection, nobody":  func(c *relying.APIConfig) { c.Introspect = relying.IntrospectAlways },
		"unknown mode":           func(c *relying.APIConfig) { c.Introspect = 7 },
		"a cache of nothing":     func(c *relying.APIConfig) { c.CacheFor = time.Second },
		"realm":                  func(c *relying.APIConfig) { c.Realm = `a"b` },
	} {
		c := good
		spoil(&c)
		if _, err := relying.NewAPI(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Fewer algorithms than a key could make.
	o := newOP(t)
	s := newService(t, o, func(c *relying.APIConfig) { c.Algorithms = []string{"RS256"} })
	if w := s.call("GET", "/any", "Bearer "+o.accessToken(nil)); w.Code != 401 {
		t.Errorf("ES256 where RS256 alone is allowed: %d", w.Code)
	}
}

func BenchmarkAPI(b *testing.B) {
	o := newOP(b)
	for name, c := range map[string]struct {
		tweak func(*relying.APIConfig)
		token string
	}{
		"jwt":     {func(*relying.APIConfig) {}, o.accessToken(nil)},
		"refused": {func(*relying.APIConfig) {}, o.accessToken(map[string]any{"aud": "other"})},
		"introspected": {func(c *relying.APIConfig) {
			c.Introspect, c.ClientID, c.ClientSecret = relying.IntrospectOpaque, clientID, clientSecret
		}, "at_one"},
		"kept": {func(c *relying.APIConfig) {
			c.Introspect, c.ClientID, c.ClientSecret, c.CacheFor = relying.IntrospectOpaque, clientID, clientSecret, time.Minute
		}, "at_one"},
	} {
		b.Run(name, func(b *testing.B) {
			o.with(func() { o.lives["at_one"] = changed(o.accessClaims(nil), map[string]any{"active": true}) })
			s := newService(b, o, c.tweak)
			r := httptest.NewRequest("GET", "/clerk", nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			h := s.api.RequirePrivilege("clerk")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
			want := 200
			if name == "refused" {
				want = 401
			}
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != want {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
