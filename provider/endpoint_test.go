package provider_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_B11_Revocation: own tokens only, unknown ones are fine, a refresh token takes its access tokens along.
func TestSec_B11_Revocation(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	rp, other := idp.RP(refreshing(store.ClientMetadata{})), idp.RP(refreshing(store.ClientMetadata{}))
	pub := idp.RP(public(refreshing(store.ClientMetadata{})))
	machine := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api"})

	set := tokens(t, b, rp, ada)
	for _, tok := range []string{set.RefreshToken, set.AccessToken, "rt_nonsense", "x"} {
		if r := other.Revoke(tok); r.Status != 200 {
			t.Errorf("revoking what is not one's own: %d %s", r.Status, r.Body)
		}
	}
	if s, _ := rp.UserInfo(set.AccessToken); s != 200 {
		t.Fatal("another client revoked it")
	}
	if r := rp.Revoke(set.RefreshToken); r.Status != 200 || r.Body != "" {
		t.Errorf("revocation: %d %q", r.Status, r.Body)
	}
	if r := rp.Revoke(set.RefreshToken); r.Status != 200 {
		t.Errorf("again: %d", r.Status)
	}
	if s, _ := rp.UserInfo(set.AccessToken); s != 401 {
		t.Errorf("access token after its refresh token was revoked: %d", s)
	}
	wantError(t, rp.Token(refreshForm(set.RefreshToken)), 400, "invalid_grant")

	set = tokens(t, b, pub, ada)
	if r := pub.Revoke(set.AccessToken); r.Status != 200 {
		t.Errorf("a public client's revocation: %d %s", r.Status, r.Body)
	}
	if s, _ := pub.UserInfo(set.AccessToken); s != 401 {
		t.Errorf("after revoking the access token: %d", s)
	}
	m := machine.Token(url.Values{"grant_type": {"client_credentials"}}).String("access_token")
	if r := machine.Introspect(m); r.JSON["active"] != true || r.JSON["sub"] != machine.ID {
		t.Errorf("a machine's token: %s", r.Body)
	}
	machine.Revoke(m)
	if r := machine.Introspect(m); r.JSON["active"] != false {
		t.Errorf("a machine's token after revocation: %s", r.Body)
	}
	wantError(t, rp.Post(idp.Issuer+"/oauth2/revoke", url.Values{}), 400, "invalid_request")
	bad := *rp
	bad.Secret = "wrong"
	wantError(t, bad.Revoke("x"), 401, "invalid_client")
}

// TestSec_B12_Introspection: kinds of token × callers.
func TestSec_B12_Introspection(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{Username: "ada"})
	api := "https://api.example"
	rp := idp.RP(refreshing(store.ClientMetadata{Resources: []string{api}}))
	set := tokens(t, idp.Browser(), rp, ada)
	machine := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api", Resources: []string{api}})
	mt := machine.Token(url.Values{"grant_type": {"client_credentials"}}).String("access_token")
	callers := map[string]*testidp.RP{
		"own":       rp,
		"stranger":  idp.RP(store.ClientMetadata{}),
		"resources": idp.RP(store.ClientMetadata{Introspect: "resources", Resources: []string{api}}),
		"elsewhere": idp.RP(store.ClientMetadata{Introspect: "resources", Resources: []string{"https://other.example"}}),
		"same list": idp.RP(store.ClientMetadata{Resources: []string{api}}), // may ask for tokens to it, not about them
		"any":       idp.RP(store.ClientMetadata{Introspect: "any"}),
	}
	toks := map[string]string{"access": set.AccessToken, "refresh": set.RefreshToken, "id": set.RawID, "machine": mt}
	active := map[string]map[string]bool{
		"own": {"access": true, "refresh": true}, "resources": {"access": true, "machine": true}, "any": {"access": true, "machine": true},
	}
	for who, caller := range callers {
		for kind, tok := range toks {
			r := caller.Introspect(tok)
			if r.Status != 200 || r.JSON["active"] != active[who][kind] {
				t.Errorf("%s asks about %s token: %d %s", who, kind, r.Status, r.Body)
			}
			if r.JSON["active"] == false && len(r.JSON) != 1 {
				t.Errorf("an inactive answer says more: %s", r.Body)
			}
		}
	}
	if r := callers["any"].Introspect(set.AccessToken); r.JSON["username"] != "ada" || r.JSON["client_id"] != rp.ID || r.JSON["token_type"] != "Bearer" {
		t.Errorf("introspection: %s", r.Body)
	}
	// Neither a person's bearer token nor a public client may ask.
	pub := idp.RP(public(store.ClientMetadata{}))
	wantError(t, pub.Introspect(set.AccessToken), 401, "invalid_client")
	req, err := http.NewRequest("POST", idp.Issuer+"/oauth2/introspect", strings.NewReader("token="+set.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+set.AccessToken)
	if got := send(t, idp, req); got.Status != 401 {
		t.Errorf("introspection with a bearer token: %d", got.Status)
	}
}

// TestSec_B13_NoOtherGrantTypes and what a client is not registered for.
func TestSec_B13_NoOtherGrantTypes(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(store.ClientMetadata{})
	for _, g := range []string{"password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange",
		"urn:ietf:params:oauth:grant-type:device_code", "urn:openid:params:grant-type:ciba", "authorization_code refresh_token", "AUTHORIZATION_CODE", "x"} {
		wantError(t, rp.Token(url.Values{"grant_type": {g}, "username": {"a"}, "password": {"b"}}), 400, "unsupported_grant_type")
	}
	wantError(t, rp.Token(url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
	wantError(t, rp.Token(refreshForm("rt_x")), 400, "unauthorized_client")
	wantError(t, rp.Token(url.Values{"x": {"y"}}), 400, "invalid_request")
	pub := idp.RP(public(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api"}))
	if r := pub.Token(url.Values{"grant_type": {"client_credentials"}}); r.Status != 400 {
		t.Errorf("client_credentials without a credential: %d %s", r.Status, r.Body)
	}
	machine := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api openid"})
	wantError(t, machine.Token(url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}), 400, "invalid_scope")
	wantError(t, machine.Token(url.Values{"grant_type": {"client_credentials"}, "scope": {"other"}}), 400, "invalid_scope")
	wantError(t, machine.Token(url.Values{"grant_type": {"client_credentials"}, "resource": {"https://x.example"}}), 400, "invalid_target")
}

// TestSec_B14_CORS: documents for all, token endpoints for registered origins, pages for nobody.
func TestSec_B14_CORS(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(public(store.ClientMetadata{AllowedCORSOrigins: []string{"https://spa.example"}}))
	_ = rp
	for _, c := range []struct{ path, origin, allow string }{
		{"/.well-known/openid-configuration", "https://evil.example", "*"},
		{"/oauth2/jwks", "https://evil.example", "*"},
		{"/oauth2/token", "https://spa.example", "https://spa.example"},
		{"/oauth2/userinfo", "https://spa.example", "https://spa.example"},
		{"/oauth2/revoke", "https://spa.example", "https://spa.example"},
		{"/oauth2/token", "https://evil.example", ""},
		{"/oauth2/userinfo", "https://evil.example", ""},
		{"/oauth2/introspect", "https://spa.example", ""},
		{"/oauth2/authorize", "https://spa.example", ""},
		{"/login", "https://spa.example", ""},
		{"/consent", "https://spa.example", ""},
		{"/account", "https://spa.example", ""},
	} {
		req, err := http.NewRequest(http.MethodOptions, idp.Issuer+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", c.origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "authorization")
		r := send(t, idp, req)
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != c.allow {
			t.Errorf("%s from %s: Allow-Origin %q, want %q (status %d)", c.path, c.origin, got, c.allow, r.Status)
		}
		if r.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s allows credentials", c.path)
		}
	}
}

// TestSec_B15_ClientSecrets: two live secrets while rotating; one answer for a wrong secret and an unknown client.
func TestSec_B15_ClientSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ctx := context.Background()
		rp := idp.RP(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api"})
		cc := url.Values{"grant_type": {"client_credentials"}}
		if r := rp.Token(cc); r.Status != 200 {
			t.Fatal(r.Body)
		}
		if err := idp.Store.RotateClientSecret(ctx, "cli", rp.ID, store.ClientSecret{Hash: provider.HashSecret("new-secret")}, time.Hour); err != nil {
			t.Fatal(err)
		}
		next := *rp
		next.Secret = "new-secret"
		for name, c := range map[string]*testidp.RP{"old": rp, "new": &next} {
			if r := c.Token(cc); r.Status != 200 {
				t.Errorf("%s secret while rotating: %s", name, r.Body)
			}
		}
		time.Sleep(time.Hour + time.Second)
		wantError(t, rp.Token(cc), 401, "invalid_client")
		if r := next.Token(cc); r.Status != 200 {
			t.Errorf("new secret: %s", r.Body)
		}
		wrong, unknown, empty, post := next, next, next, next
		wrong.Secret, unknown.ID, empty.Secret, post.AuthMethod = "wrong", "nobody", "", "client_secret_post"
		var bodies []string
		for _, c := range []*testidp.RP{&wrong, &unknown, &empty, &post} {
			r := c.Token(cc)
			wantError(t, r, 401, "invalid_client")
			bodies = append(bodies, r.Body)
		}
		for _, body := range bodies[1:] {
			if body != bodies[0] {
				t.Errorf("the answers differ: %s / %s", bodies[0], body)
			}
		}
		// A client without a secret does not come in with an empty one.
		none := idp.RP(public(store.ClientMetadata{GrantTypes: []string{"client_credentials"}, Scope: "api"}))
		none.AuthMethod = "client_secret_basic"
		wantError(t, none.Token(cc), 401, "invalid_client")
	})
}

// TestBadTokenRequests: RFC 6749 §5.2, never a 5xx.
func TestBadTokenRequests(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(refreshing(store.ClientMetadata{}))
	post := func(path, ct, body string) testidp.Response {
		req, err := http.NewRequest("POST", idp.Issuer+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", ct)
		req.SetBasicAuth(rp.ID, rp.Secret)
		return send(t, idp, req)
	}
	form := "application/x-www-form-urlencoded"
	for name, r := range map[string]testidp.Response{
		"duplicate":       post("/oauth2/token", form, "grant_type=refresh_token&grant_type=refresh_token&refresh_token=x"),
		"duplicate code":  post("/oauth2/token", form, "grant_type=authorization_code&code=a&code=b"),
		"in the URL":      post("/oauth2/token?grant_type=refresh_token", form, "grant_type=refresh_token&refresh_token=x"),
		"JSON":            post("/oauth2/token", "application/json", `{"grant_type":"refresh_token"}`),
		"no content type": post("/oauth2/token", "", "grant_type=refresh_token"),
		"broken escape":   post("/oauth2/token", form, "grant_type=%zz"),
		"empty":           post("/oauth2/token", form, ""),
		"no grant type":   post("/oauth2/token", form, "code=x"),
	} {
		if r.Status != 400 || r.ErrorCode() != "invalid_request" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	for _, body := range []string{"grant_type=authorization_code", "grant_type=authorization_code&code=", "grant_type=authorization_code&code=ac_x", "grant_type=refresh_token",
		"grant_type=refresh_token&refresh_token=%00", "grant_type=refresh_token&refresh_token=" + strings.Repeat("A", 50000)} {
		if r := post("/oauth2/token", form, body); r.Status != 400 || r.ErrorCode() != "invalid_grant" && r.ErrorCode() != "invalid_request" {
			t.Errorf("%.60s: %d %s", body, r.Status, r.Body)
		}
	}
	if r := post("/oauth2/token", form, "grant_type=x&y="+strings.Repeat("z", 10<<20)); r.Status != http.StatusRequestEntityTooLarge && r.Status != 400 {
		t.Errorf("ten megabytes: %d", r.Status)
	}
	if s, _ := idp.Get("/oauth2/token"); s != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", s)
	}
	// error_description stays within RFC 6749's characters.
	r := post("/oauth2/token", form, "grant_type=refresh_token&refresh_token=x&scope=%22%5C%0a%c3%a9")
	for _, c := range r.String("error_description") {
		if c == '"' || c == '\\' || c < 0x20 || c > 0x7e {
			t.Errorf("error_description %q", r.String("error_description"))
		}
	}
}

func TestUserinfoFindsTheTokenInOnePlace(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{Scope: "openid email api", GrantTypes: []string{"authorization_code", "client_credentials"}})
	set := tokens(t, idp.Browser(), rp, ada)
	do := func(method, query, header, body string) testidp.Response {
		req, err := http.NewRequest(method, idp.Issuer+"/oauth2/userinfo"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return send(t, idp, req)
	}
	tok := set.AccessToken
	for name, c := range map[string]struct {
		r      testidp.Response
		status int
	}{
		"GET":              {do("GET", "", "Bearer "+tok, ""), 200},
		"lower case":       {do("GET", "", "bearer "+tok, ""), 200},
		"POST header":      {do("POST", "", "Bearer "+tok, ""), 200},
		"POST body":        {do("POST", "", "", "access_token="+tok), 200},
		"both":             {do("POST", "", "Bearer "+tok, "access_token="+tok), 400},
		"query":            {do("GET", "?access_token="+tok, "", ""), 400},
		"query and header": {do("GET", "?access_token="+tok, "Bearer "+tok, ""), 400},
		"none":             {do("GET", "", "", ""), 401},
		"basic":            {do("GET", "", "Basic eDp5", ""), 401},
		"rubbish":          {do("GET", "", "Bearer x", ""), 401},
		"no openid":        {do("GET", "", "Bearer "+tokens(t, idp.Browser(), rp, ada, "scope", "email", "nonce", "").AccessToken, ""), 403},
		"machine":          {do("GET", "", "Bearer "+rp.Token(url.Values{"grant_type": {"client_credentials"}}).String("access_token"), ""), 401},
	} {
		if c.r.Status != c.status {
			t.Errorf("%s: %d %s, want %d", name, c.r.Status, c.r.Body, c.status)
		}
		if c.status == 401 && !strings.HasPrefix(c.r.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: WWW-Authenticate %q", name, c.r.Header.Get("WWW-Authenticate"))
		}
		if c.status == 200 && (c.r.JSON["sub"] != ada.ID || c.r.JSON["email"] != ada.Email) {
			t.Errorf("%s: %s", name, c.r.Body)
		}
	}
}

func TestJWKSAndDiscoveryAreCacheable(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	req, err := http.NewRequest("GET", idp.Issuer+"/oauth2/jwks", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := send(t, idp, req)
	if first.Header.Get("ETag") == "" || !strings.Contains(first.Header.Get("Cache-Control"), "max-age=") {
		t.Fatalf("headers %v", first.Header)
	}
	req.Header.Set("If-None-Match", first.Header.Get("ETag"))
	if r := send(t, idp, req); r.Status != http.StatusNotModified || r.Body != "" {
		t.Errorf("with its ETag: %d", r.Status)
	}
	_, a := idp.Get("/.well-known/openid-configuration")
	_, b := idp.Get("/.well-known/oauth-authorization-server")
	if a != b {
		t.Error("the two documents differ")
	}
	// security.md I1: nothing a client sends gets into the document.
	req, err = http.NewRequest("GET", idp.Issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL", "X-Host"} {
		req.Header.Set(h, "host=evil.example")
	}
	if r := send(t, idp, req); strings.Contains(r.Body, "evil") {
		t.Error("a header reached the discovery document")
	}
}

// send does a prepared request.
func send(t testing.TB, idp *testidp.IDP, req *http.Request) testidp.Response {
	t.Helper()
	res, err := idp.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := testidp.Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	if json.Unmarshal(body, &out.JSON) != nil {
		out.JSON = nil
	}
	return out
}
