package relying_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/relying"
)

// clock is a time that tests move, shared by provider and application.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// op is a strict little provider. It signs everybody in at once as person; what a test wants it to get wrong it says in the
// functions, which change an answer before it is sent.
type op struct {
	*httptest.Server
	clock *clock

	mu        sync.Mutex
	key       *ecdsa.PrivateKey
	kid       string
	keysLife  string                    // Cache-Control of the keys
	lives     map[string]map[string]any // what introspection says of a token
	signIns   int
	person    map[string]any // claims besides those of the protocol
	codes     map[string]url.Values
	access    map[string]bool
	refresh   map[string]bool
	requests  []string     // "METHOD path grant" of each request
	forms     []url.Values // of token and revocation requests
	offline   bool         // issues refresh tokens
	down      bool         // answers 503 to everything
	metadata  func(map[string]any)
	answer    func(url.Values)
	idToken   func(map[string]any)
	sign      func(claims string) string
	tokens    func(map[string]any)
	userinfo  func(map[string]any)
	userCode  int // status of userinfo, 0 = by the token
	tokenCode int // status of the token endpoint, 0 = by the request
}

const (
	clientID     = "wiki"
	clientSecret = "s3cret/+ &"
)

func newOP(t testing.TB) *op {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &op{
		clock: &clock{}, key: key, kid: "k", lives: map[string]map[string]any{},
		person: map[string]any{
			"name": "Ada Lovelace", "given_name": "Ada", "email": "ada@dept.example.GOV", "email_verified": true,
			"privileges": []string{"user", "judge"}, "user_type": "staff",
		},
		codes: map[string]url.Values{}, access: map[string]bool{}, refresh: map[string]bool{},
	}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// with runs f while no request is served.
func (o *op) with(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *op) count(request string) (n int) {
	o.with(func() {
		for _, r := range o.requests {
			if strings.HasPrefix(r, request) {
				n++
			}
		}
	})
	return n
}

func (o *op) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.ParseForm()
	o.requests = append(o.requests, r.Method+" "+r.URL.Path+" "+r.PostFormValue("grant_type"))
	if o.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc := map[string]any{
			"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token",
			"jwks_uri": o.URL + "/jwks", "userinfo_endpoint": o.URL + "/userinfo", "end_session_endpoint": o.URL + "/logout?from=rp",
			"revocation_endpoint": o.URL + "/revoke", "introspection_endpoint": o.URL + "/introspect", "id_token_signing_alg_values_supported": []string{"ES256", "none"},
			"authorization_response_iss_parameter_supported": true,
		}
		if o.metadata != nil {
			o.metadata(doc)
		}
		sendJSON(w, http.StatusOK, doc)
	case "/jwks":
		if o.keysLife != "" {
			w.Header().Set("Cache-Control", o.keysLife)
		}
		sendJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: o.key.Public(), KeyID: o.kid, Algorithm: "ES256", Use: "sig"}}})
	case "/introspect":
		o.forms = append(o.forms, r.PostForm)
		if id, secret, ok := r.BasicAuth(); r.Method != http.MethodPost || !ok || id != clientID || secret != url.QueryEscape(clientSecret) {
			sendJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			return
		}
		doc := o.lives[r.PostForm.Get("token")]
		if exp, ok := doc["exp"].(int64); doc == nil || ok && o.clock.Now().Unix() >= exp {
			doc = map[string]any{"active": false}
		}
		sendJSON(w, http.StatusOK, doc)
	case "/authorize":
		o.authorize(w, r)
	case "/token":
		o.token(w, r)
	case "/userinfo":
		o.userInfo(w, r)
	case "/revoke":
		o.forms = append(o.forms, r.PostForm)
		if id, secret, ok := r.BasicAuth(); !ok || id != clientID || secret != url.QueryEscape(clientSecret) {
			sendJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			return
		}
		delete(o.refresh, r.PostForm.Get("token"))
	default:
		http.NotFound(w, r)
	}
}

func (o *op) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 20 {
			http.Error(w, "weak "+name, http.StatusBadRequest)
			return
		}
	}
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		!slices.Contains(strings.Fields(q.Get("scope")), "openid") {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	o.signIns++
	q.Set("sid", fmt.Sprint("sid-", o.signIns))
	o.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {o.URL}}
	if o.answer != nil {
		o.answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

func (o *op) token(w http.ResponseWriter, r *http.Request) {
	o.forms = append(o.forms, r.PostForm)
	if o.tokenCode != 0 {
		sendJSON(w, o.tokenCode, map[string]any{"error": "server_error"})
		return
	}
	id, secret, basic := r.BasicAuth()
	if id != clientID || secret != url.QueryEscape(clientSecret) {
		if basic || r.PostForm.Get("client_id") != clientID {
			sendJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			return
		}
	}
	refuse := func(code string) { sendJSON(w, http.StatusBadRequest, map[string]any{"error": code}) }
	nonce, sid := "", r.PostForm.Get("refresh_token")
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		q, ok := o.codes[r.PostForm.Get("code")]
		delete(o.codes, r.PostForm.Get("code"))
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if !ok || q.Get("redirect_uri") != r.PostForm.Get("redirect_uri") || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			refuse("invalid_grant")
			return
		}
		nonce, sid = q.Get("nonce"), q.Get("sid")
	case "refresh_token":
		if !o.refresh[r.PostForm.Get("refresh_token")] {
			refuse("invalid_grant")
			return
		}
		sid, _, _ = strings.Cut(strings.TrimPrefix(sid, "rt-"), ".")
		delete(o.refresh, r.PostForm.Get("refresh_token"))
	default:
		refuse("unsupported_grant_type")
		return
	}
	access := "at-" + rand.Text()
	o.access[access] = true
	now := o.clock.Now()
	sum := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"iss": o.URL, "sub": "sub-1", "aud": clientID, "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"auth_time": now.Unix(), "amr": []string{"pwd"}, "acr": "1", "sid": sid, "at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]),
	}
	maps.Copy(claims, o.person)
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if o.idToken != nil {
		o.idToken(claims)
	}
	raw, _ := json.Marshal(claims)
	sign := o.sign
	if sign == nil {
		sign = func(c string) string { return oidctest.SignIDToken(o.key, o.kid, "ES256", c) }
	}
	res := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 600, "id_token": sign(string(raw))}
	if o.offline {
		res["refresh_token"] = "rt-" + sid + "." + rand.Text()
		o.refresh[res["refresh_token"].(string)] = true
	}
	if o.tokens != nil {
		o.tokens(res)
	}
	sendJSON(w, http.StatusOK, res)
}

func (o *op) userInfo(w http.ResponseWriter, r *http.Request) {
	if o.userCode != 0 {
		http.Error(w, "no", o.userCode)
		return
	}
	if !o.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	doc := map[string]any{"sub": "sub-1"}
	maps.Copy(doc, o.person)
	if o.userinfo != nil {
		o.userinfo(doc)
	}
	sendJSON(w, http.StatusOK, doc)
}

// jwt signs claims with the provider's key; header is added to or taken from (nil) the usual one.
func (o *op) jwt(typ string, claims map[string]any, header map[string]any) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return forge(o.key, o.kid, typ, claims, header)
}

func forge(key *ecdsa.PrivateKey, kid, typ string, claims, header map[string]any) string {
	h := map[string]any{"alg": "ES256", "kid": kid, "typ": typ}
	for k, v := range header {
		if h[k] = v; v == nil {
			delete(h, k)
		}
	}
	head, _ := json.Marshal(h)
	body, _ := json.Marshal(claims)
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64(head) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// changed returns claims changed: nil takes one away.
func changed(claims map[string]any, change map[string]any) map[string]any {
	out := maps.Clone(claims)
	for k, v := range change {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

func sendJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// site is an application on relying.
type site struct {
	*httptest.Server
	rp     *relying.Client
	errors chan *relying.Error // what Failed was given
	acted  atomic.Int32        // how often /act ran
}

// newSite starts an application of these pages: / open, /private signed in, /court judge or clerk, /boss admin, and one for
// each other requirement.
func newSite(t *testing.T, o *op, tweak ...func(*relying.Config)) *site {
	t.Helper()
	s := &site{errors: make(chan *relying.Error, 100)}
	mux := http.NewServeMux()
	var screened atomic.Pointer[http.Handler]
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*screened.Load()).ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	c := relying.Config{
		Issuer: o.URL, ClientID: clientID, ClientSecret: clientSecret, RedirectURL: s.URL + "/callback", PostLogoutURL: s.URL + "/bye",
		Now: o.clock.Now, Logger: quiet(t),
		Failed: func(w http.ResponseWriter, r *http.Request, e *relying.Error) {
			s.errors <- e
			http.Error(w, "failed: "+e.Code, e.Status)
		},
	}
	for _, f := range tweak {
		f(&c)
	}
	rp, err := relying.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.rp = rp
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := relying.UserInfo(r.Context())
		if ok != relying.UserLoggedIn(r.Context()) {
			t.Error("UserInfo and UserLoggedIn disagree")
		}
		sendJSON(w, http.StatusOK, map[string]any{
			"path": r.URL.RequestURI(), "in": ok, "sub": who.Subject, "privileges": relying.UserPrivileges(r.Context()), "name": who.DisplayName(), "acr": who.ACR,
		})
	})
	mux.Handle("/", page)
	mux.Handle("/private", rp.RequireLogin(page))
	mux.Handle("/court", rp.RequirePrivilege("judge", "clerk")(page))
	mux.Handle("/boss", rp.RequirePrivilege("admin")(page))
	mux.Handle("/nobody", rp.RequirePrivilege()(page))
	mux.Handle("GET /login", rp.Login())
	mux.Handle("GET /callback", rp.Callback())
	mux.Handle("/logout", rp.Logout())
	mux.Handle("/backchannel", rp.BackChannelLogout())
	mux.Handle("/both", rp.RequireAll("judge", "clerk")(page))
	mux.Handle("/mixed", rp.Require(relying.MustRequirement("user", []string{"judge", "clerk"}))(page))
	mux.Handle("/open", rp.Require(relying.MustRequirement())(page))
	mux.Handle("/zero", rp.Require(relying.Requirement{})(page))
	mux.Handle("/edit", rp.RequireWrite(page))
	mux.Handle("/act", rp.RequirePrivilege("judge")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.acted.Add(1)
		page(w, r)
	})))
	h := rp.Screen(mux)
	screened.Store(&h)
	return s
}
