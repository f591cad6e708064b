package connectors_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestOAuth2GitHub: errors with status 200, a numeric key, addresses at an endpoint of their own.
func TestOAuth2GitHub(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{PKCE: true})
	cfg := likeGitHub(f)
	c := newOAuth2(t, cfg)
	address := func(list any) (string, connectors.Trust) {
		t.Helper()
		f.SetEmails("583231", list)
		id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue))
		return id.Email, id.EmailTrust
	}
	entry := func(email string, primary, verified any) any {
		return map[string]any{"email": email, "primary": primary, "verified": verified, "visibility": nil}
	}
	for _, tt := range []struct {
		list any
		want string
		how  connectors.Trust
	}{
		{[]any{entry("b@x.example", false, true), entry("a@x.example", true, true)}, "a@x.example", connectors.TrustVerified},
		{[]any{entry("a@x.example", true, false), entry("b@x.example", false, true)}, "a@x.example", connectors.TrustReported},
		{[]any{entry("b@x.example", false, true)}, "", connectors.TrustNone},
		{[]any{entry("a@x.example", "true", true)}, "", connectors.TrustNone},
		{[]any{entry("a@x.example", true, "true")}, "a@x.example", connectors.TrustReported},
		{[]any{entry("a@x.example", true, 1)}, "a@x.example", connectors.TrustReported},
		{[]any{entry("a@evil@corp", true, true), nil, 7, "x", []any{}, map[string]any{}}, "", connectors.TrustNone},
		{[]any{map[string]any{"email": nil, "primary": true, "verified": true}}, "", connectors.TrustNone},
		{[]any{}, "", connectors.TrustNone},
	} {
		if got, how := address(tt.list); got != tt.want || how != tt.how {
			t.Errorf("%v: %q, %s", tt.list, got, how)
		}
	}

	t.Log("the profile's own address does not count beside the list")
	f.SetPeople(connectortest.Person{ID: "583231", Claims: map[string]any{"email": "public@x.example", "email_verified": true}})
	if got, _ := address([]any{}); got != "" {
		t.Errorf("%q", got)
	}
	for _, list := range []any{nil, map[string]any{"message": "x"}, "x", 7} {
		f.SetEmails("583231", list)
		_, err := enter(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Upstream)
	}

	t.Log("without the scope GitHub knows no such page, and people come in all the same")
	cfg.Scopes = []string{"read:user"}
	id := must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), f, connectortest.Continue))
	if id.Subject != "583231" || id.Email != "" || id.EmailTrust != connectors.TrustNone {
		t.Errorf("%+v", id)
	}
}

// TestOAuth2NestedList: addresses in the form of Bitbucket.
func TestOAuth2NestedList(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{})
	f.SetEmails("583231", map[string]any{"values": []any{map[string]any{"email": "a@x.example", "is_primary": true, "is_confirmed": true, "type": "email"}}, "page": 1})
	cfg := likeGitHub(f)
	cfg.Emails.List, cfg.Emails.Primary, cfg.Emails.Verified = "values", "is_primary", "is_confirmed"
	id := must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), f, connectortest.Continue))
	if id.Email != "a@x.example" || id.EmailTrust != connectors.TrustVerified {
		t.Errorf("%+v", id)
	}
}

// TestOAuth2MiniOrange: a flat profile behind Basic, and one with everything in objects.
func TestOAuth2MiniOrange(t *testing.T) {
	t.Parallel()
	flat := startOAuth2(t, connectortest.OAuth2Options{ClientAuth: "basic", PlainErrors: true, Profile: func(p connectortest.Person) map[string]any {
		return map[string]any{"sub": "mo-" + p.ID, "username": p.Username, "email": p.Email, "email_verified": "true", "firstname": "Ada", "lastname": "L", "lang": "en-GB"}
	}})
	cfg := likeGitHub(flat)
	cfg.ClientAuth, cfg.SubjectField, cfg.Emails = connectors.AuthBasic, "", connectors.EmailList{}
	cfg.Fields = connectors.ClaimNames{GivenName: "firstname", FamilyName: "lastname", Username: "username", Locale: "lang"}
	id := must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), flat, connectortest.Continue))
	if id.Subject != "mo-583231" || id.Username != "ada" || id.GivenName != "Ada" || id.FamilyName != "L" || id.Locale != "en-GB" ||
		id.Email != "ada@example.com" || id.EmailTrust != connectors.TrustReported {
		t.Errorf("%+v", id)
	}
	cfg.LenientBooleans = true
	if id = must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), flat, connectortest.Continue)); id.EmailTrust != connectors.TrustVerified {
		t.Errorf("%+v", id)
	}
	cfg.LenientBooleans, cfg.AssumeEmailVerified = false, true
	c := newOAuth2(t, cfg)
	if id = must[connectors.Identity](t)(enter(t.Context(), c, flat, connectortest.Continue)); id.EmailTrust != connectors.TrustVerified || len(c.Warnings()) != 1 {
		t.Errorf("%+v, %q", id, c.Warnings())
	}

	deep := startOAuth2(t, connectortest.OAuth2Options{Profile: func(p connectortest.Person) map[string]any {
		return map[string]any{"data": map[string]any{"user": map[string]any{"id": json.Number("9007199254740993"), "mail": p.Email, "ok": true, "pic": p.Picture}}}
	}})
	cfg = likeGitHub(deep)
	cfg.SubjectField, cfg.Emails = "data.user.id", connectors.EmailList{}
	cfg.Fields = connectors.ClaimNames{Email: "data.user.mail", EmailVerified: "data.user.ok", Picture: "data.user.pic"}
	id = must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), deep, connectortest.Continue))
	if id.Subject != "9007199254740993" || id.Email != "ada@example.com" || id.EmailTrust != connectors.TrustVerified || id.PictureURL == "" {
		t.Errorf("%+v", id)
	}
}

// TestOAuth2Subjects: a profile without a usable key signs nobody in.
func TestOAuth2Subjects(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{})
	c := newOAuth2(t, likeGitHub(f))
	for _, id := range []any{connectortest.Absent, nil, "", true, 1.5, []any{"1"}, map[string]any{"id": 1}, strings.Repeat("1", 256), "a\x00b", json.Number("1e3"), json.Number("-1")} {
		f.SetPeople(connectortest.Person{ID: "1", Claims: map[string]any{"id": id}})
		if got, err := enter(t.Context(), c, f, connectortest.Continue); err == nil || got.Subject != "" {
			t.Errorf("id %v: %q", id, got.Subject)
		}
	}
}

// TestOAuth2ClientAuth: the way to authenticate is the operator's; the wrong one is told as such and the code goes out once.
func TestOAuth2ClientAuth(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		for _, takes := range []string{"basic", "post"} {
			f := startOAuth2(t, connectortest.OAuth2Options{ClientAuth: takes, PlainErrors: plain})
			for _, sends := range []string{"basic", "post"} {
				cfg := likeGitHub(f)
				cfg.ClientAuth = sends
				c := newOAuth2(t, cfg)
				f.Forget()
				_, err := enter(t.Context(), c, f, connectortest.Continue)
				if takes == sends && err != nil || takes != sends && connectors.KindOf(err) != connectors.Misconfigured {
					t.Errorf("takes %s, sent %s: %v", takes, sends, err)
				}
				if n := len(f.Requests("token")); n != 1 {
					t.Errorf("takes %s, sent %s: the code was sent %d times", takes, sends, n)
				}
				for _, finding := range c.Test(t.Context()) {
					if finding.What == "client credentials" && finding.OK != (takes == sends) {
						t.Errorf("takes %s, sent %s: %+v", takes, sends, finding)
					}
				}
			}
		}
	}
	f := must[*connectortest.OAuth2](t)(connectortest.NewOAuth2(connectortest.Client{ID: "public", RedirectURIs: []string{redirectURI}}, connectortest.OAuth2Options{ClientAuth: "none", PKCE: true}))
	defer f.Close()
	cfg := likeGitHub(f)
	cfg.ClientID, cfg.ClientSecret, cfg.ClientAuth = "public", "", ""
	if _, err := enter(t.Context(), newOAuth2(t, cfg), f, connectortest.Continue); err != nil {
		t.Errorf("public: %v", err)
	}
}

// TestOAuth2Errors: error bodies of the shapes that providers have.
func TestOAuth2Errors(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{})
	c := newOAuth2(t, likeGitHub(f))
	for _, tt := range []struct {
		endpoint string
		status   int
		body     string
		want     connectors.Kind
	}{
		{"token", 200, `{"error":"bad_verification_code","error_description":"d"}`, connectors.Invalid},
		{"token", 200, `{"error":"incorrect_client_credentials"}`, connectors.Misconfigured},
		{"token", 200, `{"error":"redirect_uri_mismatch"}`, connectors.Misconfigured},
		{"token", 200, `{"error":"unverified_user_email"}`, connectors.Denied},
		{"token", 400, `{"error":"invalid_grant"}`, connectors.Invalid},
		{"token", 401, `{"error":"invalid_client"}`, connectors.Misconfigured},
		{"token", 200, `{}`, connectors.Upstream},
		{"token", 200, `{"access_token":7}`, connectors.Upstream},
		{"token", 200, `access_token=x&token_type=bearer`, connectors.Upstream},
		{"token", 429, `{}`, connectors.Upstream},
		{"userinfo", 401, `{"message":"Bad credentials"}`, connectors.Misconfigured},
		{"userinfo", 403, `{"error":"insufficient_scope","error_description":"d"}`, connectors.Misconfigured},
		{"userinfo", 404, ``, connectors.Misconfigured},
		{"userinfo", 429, `{"message":"API rate limit exceeded"}`, connectors.Upstream},
		{"userinfo", 408, ``, connectors.Upstream},
		{"userinfo", 502, `{"message":"x"}`, connectors.Upstream},
		{"userinfo", 204, ``, connectors.Upstream},
		{"userinfo", 200, `{"id":1}{"id":2}`, connectors.Upstream},
		{"emails", 500, ``, connectors.Upstream},
		{"emails", 429, ``, connectors.Upstream},
		{"emails", 200, `[]}{"list":[]`, connectors.Upstream},
	} {
		f.Answer(tt.endpoint, tt.status, tt.body)
		_, err := enter(t.Context(), c, f, connectortest.Continue)
		f.Answer(tt.endpoint, 0, "")
		if err == nil || connectors.KindOf(err) != tt.want {
			t.Errorf("%s: %d %s: %v, want %v", tt.endpoint, tt.status, tt.body, err, tt.want)
		}
	}
	for _, status := range []int{401, 403, 404} {
		f.Answer("emails", status, `{"message":"Not Found"}`)
		if id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue)); id.Email != "" || id.EmailTrust != connectors.TrustNone {
			t.Errorf("%d: %+v", status, id)
		}
	}
}

// TestSec_E9_OAuth2Iss: a callback that names an issuer must name ours, before its code goes anywhere.
func TestSec_E9_OAuth2Iss(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{Iss: "https://hub.example"})
	cfg := likeGitHub(f)
	cfg.Issuer = "https://hub.example"
	if id := must[connectors.Identity](t)(enter(t.Context(), newOAuth2(t, cfg), f, connectortest.Continue)); id.Issuer != cfg.Issuer {
		t.Errorf("%+v", id)
	}
	f.Forget()
	for _, issuer := range []string{"", "https://hub.example/", "https://HUB.example"} {
		cfg.Issuer = issuer
		_, err := enter(t.Context(), newOAuth2(t, cfg), f, connectortest.Continue)
		wantKind(t, err, connectors.Invalid)
	}
	if n := len(f.Requests("token")); n != 0 {
		t.Errorf("%d codes went out", n)
	}
}

// TestOAuth2Revoke: RFC 7009, where the provider has it.
func TestOAuth2Revoke(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{})
	cfg := likeGitHub(f)
	cfg.KeepAccessToken = true
	c := newOAuth2(t, cfg)
	id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.Continue))
	for range 2 {
		if err := c.Revoke(t.Context(), id.AccessToken); err != nil {
			t.Error(err)
		}
	}
	f.Answer("revoke", 503, `{}`)
	wantKind(t, c.Revoke(t.Context(), id.AccessToken), connectors.Upstream)
	f.Answer("revoke", 400, `{"error":"unsupported_token_type"}`)
	wantKind(t, c.Revoke(t.Context(), id.AccessToken), connectors.Misconfigured)
	cfg.RevokeURL, cfg.KeepAccessToken = "", false
	wantKind(t, newOAuth2(t, cfg).Revoke(t.Context(), "x"), connectors.Misconfigured)
}

// TestOAuth2Config: what the constructor refuses.
func TestOAuth2Config(t *testing.T) {
	t.Parallel()
	good := connectors.OAuth2Config{
		Name: "hub", AuthorizeURL: "https://hub.example/a?tenant=x", TokenURL: "https://hub.example/t", UserInfoURL: "https://hub.example/u",
		ClientID: "c", ClientSecret: "s", ClientAuth: connectors.AuthPost, AuthParams: map[string]string{"allow_signup": "false"},
	}
	to := must[*url.URL](t)(url.Parse(must[string](t)(newOAuth2(t, good).AuthURL(t.Context(), attempt()))))
	if q := to.Query(); q.Get("tenant") != "x" || q.Get("allow_signup") != "false" || q.Has("scope") || q.Get("code_challenge_method") != "S256" {
		t.Errorf("%s", to)
	}
	for what, bend := range map[string]func(*connectors.OAuth2Config){
		"a bad name": func(c *connectors.OAuth2Config) { c.Name = "" }, "no authorize URL": func(c *connectors.OAuth2Config) { c.AuthorizeURL = "" },
		"no token URL": func(c *connectors.OAuth2Config) { c.TokenURL = "" }, "no userinfo URL": func(c *connectors.OAuth2Config) { c.UserInfoURL = "" },
		"http": func(c *connectors.OAuth2Config) { c.TokenURL = "http://hub.example/t" }, "an e-mail URL that is none": func(c *connectors.OAuth2Config) { c.Emails.URL = "emails" },
		"a revoke URL that is none": func(c *connectors.OAuth2Config) { c.RevokeURL = "/revoke" }, "unnamed authentication": func(c *connectors.OAuth2Config) { c.ClientAuth = "" },
		"unknown authentication": func(c *connectors.OAuth2Config) { c.ClientAuth = "auto" }, "no id": func(c *connectors.OAuth2Config) { c.ClientID = "" },
		"basic without a secret": func(c *connectors.OAuth2Config) { c.ClientSecret = "" }, "none with a secret": func(c *connectors.OAuth2Config) { c.ClientAuth = connectors.AuthNone },
		"public without PKCE": func(c *connectors.OAuth2Config) {
			c.ClientAuth, c.ClientSecret, c.NoPKCE = connectors.AuthNone, "", true
		},
		"the address as key": func(c *connectors.OAuth2Config) { c.SubjectField = "email" }, "the user name as key": func(c *connectors.OAuth2Config) { c.SubjectField = "preferred_username" },
		"our parameter": func(c *connectors.OAuth2Config) { c.AuthParams = map[string]string{"state": "x"} }, "a kept token for nothing": func(c *connectors.OAuth2Config) { c.KeepAccessToken = true },
	} {
		cfg := good
		bend(&cfg)
		if _, err := connectors.NewOAuth2(cfg); err == nil || !strings.HasPrefix(err.Error(), "connectors: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	cfg := good
	cfg.NoPKCE = true
	c := newOAuth2(t, cfg)
	if to := must[string](t)(c.AuthURL(t.Context(), attempt())); strings.Contains(to, "code_challenge") || len(c.Warnings()) != 1 {
		t.Errorf("%s, %q", to, c.Warnings())
	}
}

// TestOAuth2TestFindsMistakes: what an operator hears of a userinfo address that is none.
func TestOAuth2TestFindsMistakes(t *testing.T) {
	t.Parallel()
	f := startOAuth2(t, connectortest.OAuth2Options{})
	c := newOAuth2(t, likeGitHub(f))
	for status, ok := range map[int]bool{http.StatusOK: false, http.StatusNotFound: false, http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusBadGateway: false} {
		f.Answer("userinfo", status, `{}`)
		for _, finding := range c.Test(t.Context()) {
			if finding.What == "userinfo" && finding.OK != ok {
				t.Errorf("%d: %+v", status, finding)
			}
		}
	}
}

// FuzzProfiles: no profile, however odd, makes a connector panic, an identity without a key, or a trusted address that is none.
func FuzzProfiles(f *testing.F) {
	fb, x, o := startFacebook(f), startTwitter(f), startOAuth2(f, connectortest.OAuth2Options{})
	cfg := likeGitHub(o)
	cfg.Emails, cfg.AssumeEmailVerified, cfg.SubjectField = connectors.EmailList{}, true, "data.id"
	cfg.Fields.Email, cfg.Fields.Picture = "data.confirmed_email", "picture.data.url"
	all := map[connectors.Connector]plainFake{newFacebook(f, facebookConfig(fb)): fb, newTwitter(f, twitterConfig(x)): x, newOAuth2(f, cfg): o}
	for _, fake := range all {
		fake.Answer("token", http.StatusOK, `{"access_token":"the-access-token","token_type":"bearer"}`)
		fake.Answer("debug", http.StatusOK, `{"data":{"app_id":"`+metaApp.ID+`","is_valid":true,"type":"USER","user_id":"12","scopes":[]}}`)
	}
	f.Add(`{"id":"12","data":{"id":"12","name":"Ada","confirmed_email":"a@b.example"},"email":"a@b.example","picture":{"data":{"url":"https://p.example/a"}}}`)
	f.Add(`{"id":12,"data":{"id":12},"errors":[{"field":"confirmed_email"}]}`)
	f.Add(`{"id":"12","data":{"data":{"data":[[[[{"the-access-token":"the-access-token"}]]]]}}}`)
	f.Add(`{"id":null,"data":null,"errors":null}`)
	f.Add(`[1]`)
	f.Fuzz(func(t *testing.T, profile string) {
		for c, fake := range all {
			fake.Forget()
			fake.Answer("userinfo", http.StatusOK, profile)
			id, err := c.Identify(t.Context(), attempt(), url.Values{"code": {"c"}})
			if err != nil {
				if _, ok := err.(*connectors.Error); !ok || id.Subject != "" {
					t.Fatalf("%T: %T %v, %+v", c, err, err, id)
				}
				continue
			}
			if id.Subject == "" || id.Issuer == "" || (id.Email == "") != (id.EmailTrust == connectors.TrustNone) || strings.Count(id.Email, "@") > 1 {
				t.Fatalf("%T: %+v", c, id)
			}
			if b, err := json.Marshal(id); err != nil || strings.Contains(string(b), `:"the-access-token"`) {
				t.Fatalf("%T: %s, %v", c, b, err)
			}
		}
	})
}
