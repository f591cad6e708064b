package connectors_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_E8_XKey: the key is the numeric id. A changed name keeps the account, a name taken over by another id makes a new one.
func TestSec_E8_XKey(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	c := newTwitter(t, twitterConfig(f))
	ada := connectortest.Person{ID: "9007199254740993", Name: "Ada L", Username: "ada_l"} // 2^53 + 1: no float holds it
	f.SetPeople(ada)
	first := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue))
	ada.Username = "countess"
	thief := connectortest.Person{ID: "9007199254740992", Name: "Ada L", Username: "ada_l"}
	f.SetPeople(ada, thief)
	renamed := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As(ada.ID)))
	taken := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As(thief.ID)))
	if first.Subject != "9007199254740993" || renamed.Subject != first.Subject || renamed.Username != "countess" || taken.Subject != "9007199254740992" || taken.Username != "ada_l" {
		t.Errorf("%+v\n%+v\n%+v", first, renamed, taken)
	}
	if first.Issuer != "https://x.com" || first.Connector != "twitter" {
		t.Errorf("%+v", first)
	}
	for _, id := range []any{connectortest.Absent, nil, "", 9007199254740993, 12.5, true, "ada", "1e3", "0", "007", "-1", " 12", "12\n", "12345678901234567890", []any{"12"}, map[string]any{"id": "12"}} {
		p := ada
		p.Claims = map[string]any{"id": id}
		f.SetPeople(p)
		got, err := enter(t.Context(), c, f, connectortest.Continue)
		if err == nil || connectors.KindOf(err) != connectors.Upstream {
			t.Errorf("id %v: %q, %v", id, got.Subject, err)
		}
	}
}

// TestSec_E8_XPKCE: there is always an S256 challenge, and the verifier goes with the code.
func TestSec_E8_XPKCE(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	c := newTwitter(t, twitterConfig(f))
	a := attempt()
	q := must[url.Values](t)(leave(t.Context(), c, f, a, connectortest.Continue))
	if _, err := c.Identify(t.Context(), a, q); err != nil {
		t.Fatal(err)
	}
	authorize, token := f.Requests("authorize")[0].Form, f.Requests("token")[0].Form
	if authorize.Get("code_challenge_method") != "S256" || len(authorize.Get("code_challenge")) != 43 || token.Get("code_verifier") != a.Verifier {
		t.Errorf("%v\n%v", authorize, token)
	}
	if authorize.Get("scope") != "tweet.read users.read users.email" || authorize.Has("nonce") {
		t.Errorf("%v", authorize)
	}
	for state, ok := range map[string]bool{strings.Repeat("s", 500): true, strings.Repeat("s", 501): false} {
		a := attempt()
		a.State = state
		if _, err := leave(t.Context(), c, f, a, connectortest.Continue); ok != (err == nil) {
			t.Errorf("a state of %d characters: %v", len(state), err)
		}
	}
}

// TestSec_E8_XEmail: a missing address is normal, also when X says that it may not be told; a confirmed one is verified, never more.
func TestSec_E8_XEmail(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	cfg := twitterConfig(f)
	c := newTwitter(t, cfg)
	sign := func(press connectortest.Button) connectors.Identity {
		t.Helper()
		return must[connectors.Identity](t)(enter(t.Context(), c, f, press))
	}
	if id := sign(connectortest.As("7700000000000000021")); id.Email != "ada@example.com" || id.EmailTrust != connectors.TrustVerified {
		t.Errorf("%+v", id)
	}
	if id := sign(connectortest.As("7700000000000000022")); id.Email != "" || id.EmailTrust != connectors.TrustNone || id.Claims["declined_scopes"] != nil {
		t.Errorf("%+v", id)
	}
	f.Modes(connectortest.TwitterModes{NoEmailSwitch: true})
	if id := sign(connectortest.Continue); id.Subject != "7700000000000000021" || id.Email != "" || id.EmailTrust != connectors.TrustNone || id.Claims["declined_scopes"] == nil {
		t.Errorf("%+v", id)
	}
	f.Modes(connectortest.TwitterModes{})
	cfg.Scopes = []string{"tweet.read"}
	c = newTwitter(t, cfg)
	if id := sign(connectortest.Continue); id.Email != "" || id.Subject == "" {
		t.Errorf("%+v", id)
	}
	if scope := f.Requests("authorize")[3].Form.Get("scope"); scope != "users.read tweet.read" {
		t.Errorf("scope %q", scope)
	}
	for _, body := range []string{
		`{"data":{"id":"12","name":"A","username":"a"},"errors":[{"type":"https://api.x.com/2/problems/field-unauthorized","title":"t","detail":"d","field":"confirmed_email"}]}`,
		`{"data":{"id":"12","name":"A","username":"a","confirmed_email":"a@evil@corp"},"errors":[null,7,"x",{}]}`,
		`{"data":{"id":"12"},"errors":"x","includes":null}`, `{"data":{"id":"12","email":"a@b.example","CONFIRMED_EMAIL":"a@b.example"}}`,
	} {
		f.Answer("userinfo", http.StatusOK, body)
		if id := sign(connectortest.Continue); id.Subject != "12" || id.Email != "" || id.EmailTrust != connectors.TrustNone {
			t.Errorf("%s: %+v", body, id)
		}
	}
}

// TestXClients: a confidential client authenticates by Basic with nothing in the body, a public one names itself there; the other way round X
// answers unauthorized_client.
func TestXClients(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	public := connectortest.Client{ID: "native-app", RedirectURIs: []string{redirectURI}}
	f.AddApp(public)
	cfg := twitterConfig(f)
	must[connectors.Identity](t)(enter(t.Context(), newTwitter(t, cfg), f, connectortest.Continue))
	r := f.Requests("token")[0]
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") || r.Form.Has("client_id") || r.Form.Has("client_secret") {
		t.Errorf("confidential: %+v", r)
	}
	cfg.ClientID, cfg.ClientSecret, cfg.KeepAccessToken = public.ID, "", true
	c := newTwitter(t, cfg)
	id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue))
	r = f.Requests("token")[1]
	if r.Header.Get("Authorization") != "" || r.Form.Get("client_id") != public.ID {
		t.Errorf("public: %+v", r)
	}
	if err := c.Revoke(t.Context(), id.AccessToken); err != nil {
		t.Error(err)
	}
	for what, bend := range map[string]func(*connectors.TwitterConfig){
		"a confidential client without its secret": func(c *connectors.TwitterConfig) { c.ClientID = application.ID },
		"a public client with a secret":            func(c *connectors.TwitterConfig) { c.ClientSecret = "made up" },
		"a wrong secret":                           func(c *connectors.TwitterConfig) { c.ClientID, c.ClientSecret = application.ID, "another secret" },
	} {
		for _, status := range []int{0, 400} {
			f.Modes(connectortest.TwitterModes{TokenStatus: status})
			cfg := cfg
			bend(&cfg)
			c := newTwitter(t, cfg)
			_, err := enter(t.Context(), c, f, connectortest.Continue)
			wantKind(t, err, connectors.Misconfigured)
			if e := err.(*connectors.Error); e.Code != "unauthorized_client" {
				t.Errorf("%s: %v", what, err)
			}
			if list := c.Test(t.Context()); len(list) != 1 || list[0].OK {
				t.Errorf("%s: the test says %+v", what, list)
			}
		}
	}
}

// TestXCodes: a code lives 30 seconds, and X calls a late one an invalid request, with 400 or 401.
func TestXCodes(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	var cl clock
	f.Clock(cl.now)
	c := newTwitter(t, twitterConfig(f))
	for wait, ok := range map[time.Duration]bool{0: true, 29 * time.Second: true, 31 * time.Second: false} {
		a := attempt()
		q := must[url.Values](t)(leave(t.Context(), c, f, a, connectortest.Continue))
		cl.advance(wait)
		_, err := c.Identify(t.Context(), a, q)
		if ok != (err == nil) || !ok && connectors.KindOf(err) != connectors.Invalid {
			t.Errorf("%v: %v", wait, err)
		}
	}
	f.Modes(connectortest.TwitterModes{TokenStatus: 401})
	_, err := c.Identify(t.Context(), attempt(), url.Values{"code": {"made-up"}})
	wantKind(t, err, connectors.Invalid)
	f.Modes(connectortest.TwitterModes{})

	t.Log("the second authorize URL leads to the same place")
	cfg := twitterConfig(f)
	cfg.AuthorizeURL = f.OtherAuthorizeURL
	if _, err := enter(t.Context(), newTwitter(t, cfg), f, connectortest.Continue); err != nil {
		t.Error(err)
	}
	if d := must[string](t)(newTwitter(t, connectors.TwitterConfig{ClientID: "x"}).AuthURL(t.Context(), attempt())); !strings.HasPrefix(d, "https://x.com/i/oauth2/authorize?") {
		t.Error(d)
	}
}

// TestXErrors: limits, an outage, an app that is not enrolled: by kind, wherever they come.
func TestXErrors(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	c := newTwitter(t, twitterConfig(f))
	for range 75 {
		if _, err := enter(t.Context(), c, f, connectortest.Continue); err != nil {
			t.Fatal(err)
		}
	}
	_, err := enter(t.Context(), c, f, connectortest.Continue)
	wantKind(t, err, connectors.Upstream)
	if e := err.(*connectors.Error); e.Code != "Too Many Requests" || !strings.Contains(e.Detail, "again at 20") {
		t.Errorf("%v", err)
	}
	if _, err := enter(t.Context(), c, f, connectortest.As("12")); err != nil {
		t.Errorf("another person: %v", err)
	}

	for what, tt := range map[string]struct {
		modes connectortest.TwitterModes
		want  connectors.Kind
	}{
		"outage":       {connectortest.TwitterModes{Outage: true}, connectors.Upstream},
		"not enrolled": {connectortest.TwitterModes{NotEnrolled: true}, connectors.Misconfigured},
		"no credits":   {connectortest.TwitterModes{NoCredits: true}, connectors.Misconfigured},
		"suspended":    {connectortest.TwitterModes{Suspended: true}, connectors.Denied},
	} {
		f.Modes(tt.modes)
		_, err := enter(t.Context(), c, f, connectortest.As("12"))
		wantKind(t, err, tt.want)
		if e := err.(*connectors.Error); e.Detail == "" || e.Code == "" {
			t.Errorf("%s: nothing for the log: %v", what, err)
		}
	}
	f.Modes(connectortest.TwitterModes{})

	for _, tt := range []struct {
		endpoint string
		status   int
		body     string
		want     connectors.Kind
	}{
		{"token", 401, `{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}`, connectors.Upstream},
		{"token", 401, ``, connectors.Upstream},
		{"token", 401, `{"error":"invalid_client"}`, connectors.Misconfigured},
		{"token", 400, `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`, connectors.Misconfigured},
		{"token", 400, `{"error":"invalid_request","error_description":"Value passed for the authorization code was invalid."}`, connectors.Invalid},
		{"token", 400, `{"error":"invalid_grant"}`, connectors.Invalid},
		{"token", 400, `{"error":"unsupported_grant_type"}`, connectors.Misconfigured},
		{"token", 400, `{"error":"temporarily_unavailable"}`, connectors.Upstream},
		{"token", 429, `{"error":"invalid_request"}`, connectors.Upstream},
		{"token", 503, `{"error":"invalid_request"}`, connectors.Upstream},
		{"token", 200, `{}`, connectors.Upstream},
		{"token", 200, `{"access_token":null}`, connectors.Upstream},
		{"token", 200, `{"access_token":"x","token_type":"mac"}`, connectors.Upstream},
		{"userinfo", 401, `{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}`, connectors.Upstream},
		{"userinfo", 403, `{"title":"Forbidden","type":"about:blank","status":403,"detail":"Forbidden"}`, connectors.Misconfigured},
		{"userinfo", 403, `<html>`, connectors.Misconfigured},
		{"userinfo", 400, `{"title":"Invalid Request","type":"https://api.x.com/2/problems/invalid-request"}`, connectors.Misconfigured},
		{"userinfo", 404, `{}`, connectors.Upstream},
		{"userinfo", 500, `{"title":"Internal Server Error"}`, connectors.Upstream},
		{"userinfo", 503, ``, connectors.Upstream},
		{"userinfo", 200, `{"data":null}`, connectors.Upstream},
		{"userinfo", 200, `{"data":[]}`, connectors.Upstream},
		{"userinfo", 200, `{"errors":[{"type":"https://api.x.com/2/problems/resource-not-found","title":"Not Found Error"}]}`, connectors.Denied},
		{"userinfo", 200, `{"errors":[{"type":"https://api.x.com/2/problems/internal-error"}]}`, connectors.Upstream},
		{"userinfo", 200, `{"errors":[7]}`, connectors.Upstream},
	} {
		f.Answer(tt.endpoint, tt.status, tt.body)
		_, err := enter(t.Context(), c, f, connectortest.As("12"))
		f.Answer(tt.endpoint, 0, "")
		if err == nil || connectors.KindOf(err) != tt.want {
			t.Errorf("%s: %d %s: %v, want %v", tt.endpoint, tt.status, tt.body, err, tt.want)
		}
	}
}

// TestXRevoke: the token we hold dies, and with it its view of the person.
func TestXRevoke(t *testing.T) {
	t.Parallel()
	f := startTwitter(t)
	cfg := twitterConfig(f)
	cfg.KeepAccessToken = true
	c := newTwitter(t, cfg)
	id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue))
	if err := c.Revoke(t.Context(), id.AccessToken); err != nil {
		t.Fatal(err)
	}
	req := must[*http.Request](t)(http.NewRequest(http.MethodGet, f.APIURL+"/2/users/me", nil))
	req.Header.Set("Authorization", "Bearer "+id.AccessToken)
	if res := must[*http.Response](t)(http.DefaultClient.Do(req)); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the token still opens users/me: %d", res.StatusCode)
	} else {
		res.Body.Close()
	}
	if r := f.Requests("revoke")[0]; r.Form.Get("token_type_hint") != "access_token" || !strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") {
		t.Errorf("%+v", r)
	}
	f.Fail(connectortest.Error500, "revoke")
	wantKind(t, c.Revoke(t.Context(), id.AccessToken), connectors.Upstream)
}

// TestXConfig: what the constructor refuses.
func TestXConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []connectors.TwitterConfig{
		{}, {ClientSecret: "s"}, {ClientID: "x", Name: "X"}, {ClientID: "x", AuthorizeURL: "http://x.example/a"}, {ClientID: "x", APIURL: "x.example"},
		{ClientID: "x", Scopes: []string{"offline.access"}},
	} {
		if _, err := connectors.NewTwitter(cfg); err == nil || !strings.HasPrefix(err.Error(), "connectors: ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	scopes := []string{"users.email"}
	newTwitter(t, connectors.TwitterConfig{ClientID: "x", Scopes: scopes})
	if len(scopes) != 1 || scopes[0] != "users.email" {
		t.Error("the caller's scopes were changed")
	}
}
