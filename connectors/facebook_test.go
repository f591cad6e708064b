package connectors_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_E7_FacebookForeignToken: a token that another app was given, or that is not what it should be, signs nobody in.
func TestSec_E7_FacebookForeignToken(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]connectortest.FacebookModes{
		"token of another app":    {ForeignToken: true},
		"debug_token's app_id":    {ForeignApp: true},
		"debug_token's user_id":   {OtherUser: true},
		"not valid":               {Invalid: true},
		"of a page":               {TokenType: "PAGE"},
		"of the app":              {TokenType: "APP"},
		"other app, other person": {ForeignApp: true, OtherUser: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFacebook(t)
			f.Modes(m)
			_, err := enter(t.Context(), newFacebook(t, facebookConfig(f)), f, connectortest.Continue)
			wantKind(t, err, connectors.Invalid)
			if n := len(f.Requests("userinfo")); n != 0 && !m.OtherUser {
				t.Errorf("the profile was asked for with %s", name)
			}
		})
	}
	f := startFacebook(t)
	c := newFacebook(t, facebookConfig(f))
	for _, body := range []string{
		`{}`, `{"data":null}`, `{"data":[]}`, `{"data":{}}`, `{"data":{"app_id":112233445566778.5,"is_valid":true,"user_id":"1"}}`,
		`{"data":{"app_id":"112233445566778","is_valid":"true","user_id":"1"}}`, `{"data":{"app_id":"112233445566778","is_valid":1,"user_id":"1"}}`,
		`{"data":{"app_id":"112233445566778","is_valid":true}}`, `{"data":{"app_id":["112233445566778"],"is_valid":true,"user_id":"1"}}`,
		`{"data":{"APP_ID":"112233445566778","IS_VALID":true,"USER_ID":"1"}}`,
	} {
		f.Answer("debug", http.StatusOK, body)
		if id, err := enter(t.Context(), c, f, connectortest.Continue); err == nil {
			t.Errorf("%s: %+v", body, id)
		}
	}
	if n := len(f.Requests("userinfo")); n != 0 {
		t.Errorf("%d profiles were asked for", n)
	}
}

// TestSec_E7_FacebookKey: the key is the app-scoped id, whatever else the profile says; an id that is none signs nobody in.
func TestSec_E7_FacebookKey(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	other := connectortest.Client{ID: "887766554433221", Secret: "fedcba9876543210fedcba9876543210", RedirectURIs: []string{redirectURI}}
	f.AddApp(other)
	cfg := facebookConfig(f)
	here := must[connectors.Identity](t)(enter(t.Context(), newFacebook(t, cfg), f, connectortest.Continue))
	cfg.ClientID, cfg.ClientSecret = other.ID, other.Secret
	there := must[connectors.Identity](t)(enter(t.Context(), newFacebook(t, cfg), f, connectortest.Continue))
	if here.Subject == there.Subject || here.Subject != f.IDOf(metaApp.ID, "ada") || there.Subject != f.IDOf(other.ID, "ada") {
		t.Errorf("%q here and %q there", here.Subject, there.Subject)
	}
	for _, id := range []any{connectortest.Absent, nil, "", "ada", "10000000000000001", 7.5, true, "1e3", " 1", "-1", strings.Repeat("1", 33)} {
		f.SetPeople(connectortest.Person{ID: "ada", Claims: map[string]any{"id": id}})
		if got, err := enter(t.Context(), newFacebook(t, facebookConfig(f)), f, connectortest.Continue); err == nil {
			t.Errorf("id %v: %+v", id, got)
		}
	}
}

// TestSec_E7_FacebookEmail: an address is optional, and no more than reported unless the operator says so.
func TestSec_E7_FacebookEmail(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	cfg := facebookConfig(f)
	c := newFacebook(t, cfg)
	ada := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("ada")))
	grace := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("grace")))
	if ada.EmailTrust != connectors.TrustReported || grace.Email != "" || grace.EmailTrust != connectors.TrustNone || grace.GivenName != "Grace" || c.Declined(grace) {
		t.Errorf("ada %+v, grace %+v", ada, grace)
	}
	if grace.PictureURL != "" {
		t.Error("a silhouette is no picture")
	}
	cfg.EmailTrust = connectors.TrustVerified
	raised := newFacebook(t, cfg)
	ada = must[connectors.Identity](t)(enter(t.Context(), raised, f, connectortest.As("ada")))
	grace = must[connectors.Identity](t)(enter(t.Context(), raised, f, connectortest.As("grace")))
	if ada.EmailTrust != connectors.TrustVerified || grace.EmailTrust != connectors.TrustNone || len(raised.Warnings()) != 1 {
		t.Errorf("ada %q, grace %q, warnings %q", ada.EmailTrust, grace.EmailTrust, raised.Warnings())
	}
	for _, email := range []string{"a@evil@corp", "Ada <ada@example.com>", "ada", "@", "ada@example.com\r\nBcc: x@y", "ada@exam ple.com", strings.Repeat("a", 300) + "@example.com"} {
		f.SetPeople(connectortest.Person{ID: "ada", Claims: map[string]any{"email": email}})
		if got := must[connectors.Identity](t)(enter(t.Context(), raised, f, connectortest.Continue)); got.Email != "" || got.EmailTrust != connectors.TrustNone {
			t.Errorf("%q became %q", email, got.Email)
		}
	}
}

// TestFacebookRerequest: who unticks the address is not asked again by itself, can be asked once more, and may then give it.
func TestFacebookRerequest(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	c := newFacebook(t, facebookConfig(f))
	id := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.WithoutEmail("ada")))
	if id.Email != "" || !c.Declined(id) {
		t.Fatalf("%+v", id)
	}
	// Facebook does not ask again unless told to.
	id = must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("ada")))
	if id.Email != "" || !c.Declined(id) {
		t.Fatalf("%+v", id)
	}
	a := attempt()
	a.Prompt = "consent"
	q := must[url.Values](t)(leave(t.Context(), c, f, a, connectortest.As("ada")))
	id = must[connectors.Identity](t)(c.Identify(t.Context(), a, q))
	if id.Email != "ada@example.com" || c.Declined(id) {
		t.Fatalf("%+v", id)
	}
	if requests := f.Requests("authorize"); requests[2].Form.Get("auth_type") != "rerequest" || requests[1].Form.Has("auth_type") {
		t.Error("auth_type")
	}

	t.Log("who has no address has not declined; nor is anybody said to have when Facebook lists no scopes")
	id = must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("grace")))
	if c.Declined(id) {
		t.Error("grace declined")
	}
	f.Modes(connectortest.FacebookModes{NoScopes: true})
	if id = must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.WithoutEmail("alan"))); c.Declined(id) {
		t.Error("nobody knows")
	}
}

// TestFacebookRequests: what goes over the wire.
func TestFacebookRequests(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	f.Modes(connectortest.FacebookModes{RequireProof: true})
	cfg := facebookConfig(f)
	cfg.Version, cfg.PKCE, cfg.KeepAccessToken = "v24.0", true, true
	c := newFacebook(t, cfg)
	a := attempt()
	a.Prompt = "login"
	q := must[url.Values](t)(leave(t.Context(), c, f, a, connectortest.Continue))
	id := must[connectors.Identity](t)(c.Identify(t.Context(), a, q))

	dialog := f.Requests("authorize")[0]
	if dialog.Path != "/v24.0/dialog/oauth" || dialog.Form.Get("scope") != "email,public_profile" || dialog.Form.Get("auth_type") != "reauthenticate" ||
		dialog.Form.Get("code_challenge_method") != "S256" {
		t.Errorf("dialog: %+v", dialog)
	}
	token := f.Requests("token")[0]
	if token.Method != http.MethodPost || token.Header.Get("Authorization") != "" || token.Form.Get("client_secret") != metaApp.Secret || token.Form.Get("code_verifier") != a.Verifier {
		t.Errorf("token: %+v", token)
	}
	debug := f.Requests("debug")[0]
	if debug.Header.Get("Authorization") != "Bearer "+metaApp.ID+"|"+metaApp.Secret || debug.Form.Get("input_token") != id.AccessToken {
		t.Errorf("debug_token: %+v", debug)
	}
	me := f.Requests("userinfo")[0]
	m := hmac.New(sha256.New, []byte(metaApp.Secret))
	m.Write([]byte(id.AccessToken))
	if me.Form.Get("appsecret_proof") != hex.EncodeToString(m.Sum(nil)) || me.Form.Has("access_token") || me.Header.Get("Authorization") != "Bearer "+id.AccessToken ||
		me.Form.Get("fields") != "id,name,first_name,last_name,email,picture" {
		t.Errorf("me: %+v", me)
	}
	for _, r := range f.Requests("token", "debug", "userinfo") {
		if !strings.HasPrefix(r.Path, "/v24.0/") {
			t.Errorf("no version in %s", r.Path)
		}
	}

	t.Log("revoking needs the proof too, and one that is gone needs no taking")
	for range 2 {
		if err := c.Revoke(t.Context(), id.AccessToken); err != nil {
			t.Error(err)
		}
	}
	wantKind(t, c.Revoke(t.Context(), "made-up-token"), connectors.Invalid)
	f.Answer("revoke", http.StatusOK, `{"success":false}`)
	wantKind(t, c.Revoke(t.Context(), id.AccessToken), connectors.Upstream)
}

// TestFacebookErrors: Facebook's nested errors by kind, wherever they come.
func TestFacebookErrors(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	c := newFacebook(t, facebookConfig(f))
	for _, tt := range []struct {
		status int
		body   string
		want   connectors.Kind
		code   string
	}{
		{400, `{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":458,"fbtrace_id":"Ax1"}}`, connectors.Denied, "190/458"},
		{400, `{"error":{"code":190,"error_subcode":459}}`, connectors.Denied, "190/459"},
		{400, `{"error":{"code":190,"error_subcode":460}}`, connectors.Denied, "190/460"},
		{401, `{"error":{"code":190,"error_subcode":463}}`, connectors.Invalid, "190/463"},
		{400, `{"error":{"code":190,"error_subcode":464}}`, connectors.Denied, "190/464"},
		{400, `{"error":{"code":190,"error_subcode":467}}`, connectors.Invalid, "190/467"},
		{400, `{"error":{"code":190}}`, connectors.Invalid, "190"},
		{400, `{"error":{"code":"190","error_subcode":"458"}}`, connectors.Denied, "190/458"},
		{400, `{"error":{"code":102}}`, connectors.Invalid, "102"},
		{400, `{"error":{"code":1,"message":"An unknown error occurred"}}`, connectors.Upstream, "1"},
		{400, `{"error":{"code":1,"message":"Error validating client secret."}}`, connectors.Misconfigured, "1"},
		{500, `{"error":{"code":2}}`, connectors.Upstream, "2"},
		{503, `{"error":{"code":190,"error_subcode":458}}`, connectors.Upstream, "190/458"},
		{400, `{"error":{"code":4}}`, connectors.Upstream, "4"},
		{403, `{"error":{"code":17,"message":"User request limit reached"}}`, connectors.Upstream, "17"},
		{400, `{"error":{"code":341}}`, connectors.Upstream, "341"},
		{429, `{"error":{"code":10}}`, connectors.Upstream, "10"},
		{400, `{"error":{"code":10}}`, connectors.Misconfigured, "10"},
		{403, `{"error":{"code":200}}`, connectors.Misconfigured, "200"},
		{403, `{"error":{"code":299}}`, connectors.Misconfigured, "299"},
		{400, `{"error":{"code":101}}`, connectors.Misconfigured, "101"},
		{400, `{"error":{"code":368}}`, connectors.Denied, "368"},
		{400, `{"error":{"code":100,"error_subcode":36009}}`, connectors.Invalid, "100/36009"},
		{400, `{"error":{"code":100,"error_subcode":36007}}`, connectors.Invalid, "100/36007"},
		{400, `{"error":{"code":100,"error_subcode":36008,"message":"Error validating verification code."}}`, connectors.Misconfigured, "100/36008"},
		{400, `{"error":{"code":100,"message":"Invalid verification code format."}}`, connectors.Invalid, "100"},
		{400, `{"error":{"code":2500,"message":"Unknown path components"}}`, connectors.Misconfigured, "2500"},
		{400, `{"error":{"code":9999,"is_transient":true}}`, connectors.Upstream, "9999"},
		{400, `{"error":{"code":9999}}`, connectors.Misconfigured, "9999"},
		{200, `{"error":{"code":190}}`, connectors.Invalid, "190"},
		{400, `{"error":"invalid_request"}`, connectors.Upstream, "invalid_request"},
		{400, `{"error":{}}`, connectors.Upstream, "400"},
		{400, `{"error":{"code":{"a":1},"message":7}}`, connectors.Upstream, "400"},
		{400, `{"error":[1]}`, connectors.Upstream, "400"},
		{400, `{"message":"x"}`, connectors.Upstream, "400"},
		{400, `{}`, connectors.Upstream, "400"},
		{400, `null`, connectors.Upstream, ""},
		{200, `"text"`, connectors.Upstream, ""},
		{200, `{"access_token":"x"`, connectors.Upstream, ""},
	} {
		for _, endpoint := range []string{"token", "debug", "userinfo"} {
			f.Answer(endpoint, tt.status, tt.body)
			_, err := enter(t.Context(), c, f, connectortest.Continue)
			f.Answer(endpoint, 0, "")
			e, ok := err.(*connectors.Error)
			want := tt.want
			if endpoint == "debug" && want == connectors.Misconfigured && strings.HasPrefix(tt.code, "100") {
				want = connectors.Invalid // of another app
			}
			if !ok || e.Kind != want || e.Code != tt.code {
				t.Errorf("%s: %d %s: %v", endpoint, tt.status, tt.body, err)
			}
		}
	}
	f.Answer("token", 400, `{"error":{"message":"two\r\nlines","code":190,"fbtrace_id":"Ax1"}}`)
	_, err := enter(t.Context(), c, f, connectortest.Continue)
	if e := err.(*connectors.Error); e.Detail != "two; lines (fbtrace_id Ax1)" {
		t.Errorf("%q", e.Detail)
	}
	for _, body := range []string{`{}`, `{"access_token":7}`, `{"access_token":""}`, `{"access_token":"x","token_type":"mac"}`} {
		f.Answer("token", 200, body)
		_, err := enter(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Upstream)
	}
	f.Answer("token", 0, "")

	t.Log("and those that come back by the browser")
	for query, want := range map[string]connectors.Kind{
		"error=access_denied&error_code=200&error_reason=user_denied&error_description=Permissions+error": connectors.Denied,
		"error_code=1349048&error_message=Can't+load+URL":                                                 connectors.Misconfigured, "error_code=2&error_message=Service+temporarily+unavailable": connectors.Upstream,
		"error_code=x": connectors.Upstream, "error=server_error": connectors.Upstream, "error=invalid_scope": connectors.Misconfigured,
	} {
		q := must[url.Values](t)(url.ParseQuery(query))
		q.Set("code", "never")
		before := len(f.Requests("token"))
		_, err := c.Identify(t.Context(), attempt(), q)
		wantKind(t, err, want)
		if len(f.Requests("token")) != before {
			t.Errorf("%s: the code was redeemed in spite of the error", query)
		}
	}
}

// TestFacebookVersions: the warning begins 90 days before the end, and each version is told what is known of it.
func TestFacebookVersions(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time { return must[time.Time](t)(time.Parse(time.DateOnly, s)) }
	for _, tt := range []struct {
		version, now, want string
	}{
		{"v26.0", "2026-08-01", ""}, {"v26.0", "2035-01-01", ""}, {"", "2026-08-01", ""}, {"v27.0", "2026-08-01", ""}, {"v26.1", "2026-08-01", ""},
		{"v25.0", "2028-04-29", ""}, {"v25.0", "2028-04-30", "ends on 2028-07-29"}, {"v25.0", "2028-07-28", "ends on 2028-07-29"}, {"v25.0", "2028-07-29", "ended on 2028-07-29"},
		{"v24.0", "2027-11-19", ""}, {"v24.0", "2027-11-20", "ends on 2028-02-18"}, {"v23.0", "2027-07-10", "ends on 2027-10-08"},
		{"v22.0", "2027-02-18", ""}, {"v22.0", "2027-02-19", "ends on 2027-05-20"}, {"v21.0", "2026-11-25", "ends on 2027-01-21"}, {"v21.0", "2026-10-22", ""},
		{"v21.0", "2030-01-01", "change to v26.0"}, {"v20.0", "2026-11-25", "ended on 2026-09-24"}, {"v19.0", "2026-11-25", "ended long ago"},
		{"v3.0", "2026-11-25", "ended long ago"}, {"v22.5", "2026-11-25", "not known to exist"},
	} {
		c := newFacebook(t, connectors.FacebookConfig{ClientID: "1", ClientSecret: "s", Version: tt.version, Now: func() time.Time { return day(tt.now) }})
		got := c.VersionWarning(day(tt.now))
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s on %s: %q, want %q", tt.version, tt.now, got, tt.want)
		}
		if w := c.Warnings(); got == "" && len(w) != 0 || got != "" && (len(w) != 1 || w[0] != got) {
			t.Errorf("%s on %s: warnings %q", tt.version, tt.now, w)
		}
	}

	t.Log("Facebook serves a version that has ended as another, which only the test of the connector notices")
	f := startFacebook(t)
	cfg := facebookConfig(f)
	cfg.Version = "v19.0"
	c := newFacebook(t, cfg)
	if _, err := enter(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Error(err)
	}
	found := false
	for _, finding := range c.Test(t.Context()) {
		found = found || !finding.OK && strings.Contains(finding.Text, "v21.0")
	}
	if !found {
		t.Errorf("%+v", c.Test(t.Context()))
	}
	cfg.Version = "v99.0"
	c = newFacebook(t, cfg)
	if _, err := c.Identify(t.Context(), attempt(), url.Values{"code": {"x"}}); connectors.KindOf(err) != connectors.Misconfigured {
		t.Error(err)
	}
}

// TestFacebookConfig: what the constructor refuses.
func TestFacebookConfig(t *testing.T) {
	t.Parallel()
	for what, bend := range map[string]func(*connectors.FacebookConfig){
		"no id": func(c *connectors.FacebookConfig) { c.ClientID = "" }, "an id with letters": func(c *connectors.FacebookConfig) { c.ClientID = "abc" },
		"an id with a bar": func(c *connectors.FacebookConfig) { c.ClientID = "1|2" },
		"no secret":        func(c *connectors.FacebookConfig) { c.ClientSecret = "" }, "a bad name": func(c *connectors.FacebookConfig) { c.Name = "Face Book" },
		"version 26": func(c *connectors.FacebookConfig) { c.Version = "26.0" }, "a path as version": func(c *connectors.FacebookConfig) { c.Version = "v26.0/../v1.0" },
		"version v0.1":    func(c *connectors.FacebookConfig) { c.Version = "v0.1" },
		"too much trust":  func(c *connectors.FacebookConfig) { c.EmailTrust = connectors.TrustAuthoritative },
		"unknown trust":   func(c *connectors.FacebookConfig) { c.EmailTrust = "yes" },
		"http":            func(c *connectors.FacebookConfig) { c.GraphURL = "http://graph.example" },
		"a bad field":     func(c *connectors.FacebookConfig) { c.Fields = []string{"a,b"} },
		"a bad scope":     func(c *connectors.FacebookConfig) { c.Scopes = []string{"email public_profile"} },
		"an age below 0":  func(c *connectors.FacebookConfig) { c.NoticeMaxAge = -1 },
		"a dialog of ftp": func(c *connectors.FacebookConfig) { c.WebURL = "ftp://x.example" },
	} {
		cfg := connectors.FacebookConfig{ClientID: "1", ClientSecret: "s"}
		if _, err := connectors.NewFacebook(cfg); err != nil {
			t.Fatal(err)
		}
		bend(&cfg)
		if _, err := connectors.NewFacebook(cfg); err == nil || !strings.HasPrefix(err.Error(), "connectors: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
