package connectors_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_E9_MixUp: a callback that another provider sent is refused before its code goes anywhere.
func TestSec_E9_MixUp(t *testing.T) {
	t.Parallel()
	honest := startOIDC(t, connectortest.OIDCOptions{SendIss: true})
	evil := startOIDC(t, connectortest.OIDCOptions{SendIss: true})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(honest)))
	other := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(evil)))
	a := attempt()
	callback, err := depart(t.Context(), c, honest, a, connectortest.Continue)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Identify(t.Context(), a, callback)
	wantKind(t, err, connectors.Invalid)
	for _, iss := range []any{nil, "", honest.Issuer + "/", strings.ToUpper(honest.Issuer), evil.Issuer, "null"} {
		q := maps.Clone(callback)
		delete(q, "iss")
		if s, ok := iss.(string); ok {
			q["iss"] = []string{s}
		}
		_, err = c.Identify(t.Context(), a, q)
		wantKind(t, err, connectors.Invalid)
	}
	if n := len(honest.Requests("token")) + len(evil.Requests("token")); n != 0 {
		t.Errorf("%d token requests", n)
	}
	if _, err := c.Identify(t.Context(), a, callback); err != nil {
		t.Error(err)
	}

	t.Log("a provider that does not announce iss, and sends a wrong one")
	for name, up := range upstreams(t) {
		c := up.make(nil)
		a := attempt()
		callback, err := depart(t.Context(), c, up, a, connectortest.Continue)
		if err != nil {
			t.Fatal(err)
		}
		right := callback.Get("iss")
		callback.Set("iss", honest.Issuer)
		_, err = c.Identify(t.Context(), a, callback)
		wantKind(t, err, connectors.Invalid)
		if n := len(up.Requests("token")); n != 0 {
			t.Errorf("%s: %d token requests", name, n)
		}
		if e, ok := up.fake.(*connectortest.Entra); ok {
			right = e.Authority + "/" + connectortest.TenantA + "/v2.0"
			callback.Set("iss", e.Authority+"/"+connectortest.TenantB+"/v2.0")
			_, err = c.Identify(t.Context(), a, callback)
			wantKind(t, err, connectors.Invalid)
			if callback, err = depart(t.Context(), c, up, a, connectortest.Continue); err != nil {
				t.Fatal(err)
			}
		}
		if callback.Set("iss", right); right == "" {
			callback.Del("iss")
		}
		if _, err = c.Identify(t.Context(), a, callback); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOIDCOptions: each option does what it says.
func TestOIDCOptions(t *testing.T) {
	t.Parallel()
	connect := func(t *testing.T, f *connectortest.OIDC, change func(*connectors.OIDCConfig)) *connectors.OIDC {
		cfg := oidcConfig(f)
		change(&cfg)
		return must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
	}
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{})
		f.Metadata(map[string]any{"authorization_endpoint": f.Issuer + "/authorize?p=b2c_policy&state=theirs"})
		c := connect(t, f, func(cfg *connectors.OIDCConfig) {
			cfg.Prompt, cfg.ACRValues, cfg.Scopes = "consent", []string{"gold", "silver"}, []string{"email", "groups"}
			cfg.AuthParams = map[string]string{"organization": "org 1"}
		})
		a := attempt()
		q := query(t, must[string](t)(c.AuthURL(t.Context(), a)))
		for k, want := range map[string]string{
			"p": "b2c_policy", "state": a.State, "prompt": "consent", "acr_values": "gold silver", "scope": "openid email groups", "organization": "org 1",
			"nonce": a.Nonce, "redirect_uri": redirectURI, "client_id": application.ID, "max_age": "", "login_hint": "",
		} {
			if q.Get(k) != want || len(q[k]) > 1 {
				t.Errorf("%s is %q, want %q", k, q[k], want)
			}
		}
		age := 90 * time.Second
		a.Prompt, a.ACRValues, a.MaxAge, a.LoginHint = "login", []string{"gold"}, &age, "ana&admin=1"
		q = query(t, must[string](t)(c.AuthURL(t.Context(), a)))
		if q.Get("prompt") != "login" || q.Get("acr_values") != "gold" || q.Get("max_age") != "90" || q.Get("login_hint") != "ana&admin=1" || q.Has("admin") {
			t.Errorf("%v", q)
		}
		for _, broken := range []func(*connectors.Attempt){
			func(a *connectors.Attempt) { a.State = "" }, func(a *connectors.Attempt) { a.Nonce = "" }, func(a *connectors.Attempt) { a.Verifier = "" },
			func(a *connectors.Attempt) { a.RedirectURI = "" },
		} {
			a := attempt()
			broken(&a)
			_, err := c.AuthURL(t.Context(), a)
			wantKind(t, err, connectors.Misconfigured)
		}
	})
	t.Run("auth time and acr", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{})
		c := connect(t, f, func(*connectors.OIDCConfig) {})
		a := attempt()
		age := time.Minute
		a.MaxAge, a.ACRValues = &age, []string{"gold"}
		f.Forge(func(tok *connectortest.Token) { tok.Claims["amr"] = []any{"pwd", "otp", 7} })
		id, err := signInAs(t.Context(), c, f, a, connectortest.Continue)
		if err != nil || time.Since(id.AuthTime) > time.Minute || id.ACR != "gold" || strings.Join(id.AMR, " ") != "pwd otp" {
			t.Errorf("%v %v %q %v", err, id.AuthTime, id.ACR, id.AMR)
		}
	})
	t.Run("PKCE", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{PKCE: true})
		if _, err := signIn(t.Context(), connect(t, f, func(*connectors.OIDCConfig) {}), f, connectortest.Continue); err != nil {
			t.Error(err)
		}
		c := connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.NoPKCE = true })
		_, err := signIn(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Misconfigured)
		lax := startOIDC(t, connectortest.OIDCOptions{})
		lax.Metadata(map[string]any{"code_challenge_methods_supported": connectortest.Absent}) // not announced: sent all the same
		if _, err := signIn(t.Context(), connect(t, lax, func(*connectors.OIDCConfig) {}), lax, connectortest.Continue); err != nil || lax.Requests("token")[0].Form.Get("code_verifier") == "" {
			t.Error(err)
		}
		c = connect(t, lax, func(cfg *connectors.OIDCConfig) { cfg.NoPKCE = true })
		if _, err := signIn(t.Context(), c, lax, connectortest.Continue); err != nil || lax.Requests("token")[1].Form.Has("code_verifier") {
			t.Error(err)
		}
	})
	t.Run("client authentication", func(t *testing.T) {
		t.Parallel()
		for way, registered := range map[string]string{connectors.AuthBasic: "client_secret_basic", connectors.AuthPost: "client_secret_post"} {
			f := startOIDC(t, connectortest.OIDCOptions{Auth: []string{registered}, Alg: "ES256"})
			if _, err := signIn(t.Context(), connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.ClientAuth = way }), f, connectortest.Continue); err != nil {
				t.Errorf("%s: %v", way, err)
			}
		}
		public := application
		public.Secret = ""
		f := must[*connectortest.OIDC](t)(connectortest.NewOIDC(public, connectortest.OIDCOptions{Auth: []string{"none"}, PKCE: true, Alg: "PS256"}))
		t.Cleanup(f.Close)
		if _, err := signIn(t.Context(), connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.ClientSecret = "" }), f, connectortest.Continue); err != nil {
			t.Error(err)
		}
	})
	t.Run("algorithms", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{Alg: "ES256"})
		_, err := signIn(t.Context(), connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.Algorithms = []string{"RS256", "EdDSA"} }), f, connectortest.Continue)
		wantKind(t, err, connectors.Invalid)
	})
	t.Run("issuer alias", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{})
		alias := "https://tenant.example/id"
		f.Metadata(map[string]any{"issuer": alias})
		f.Forge(func(tok *connectortest.Token) { tok.Claims["iss"] = alias })
		id, err := signIn(t.Context(), connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.IssuerAlias = alias }), f, connectortest.Continue)
		if err != nil || id.Issuer != alias {
			t.Errorf("%v, issuer %q", err, id.Issuer)
		}
		_, err = signIn(t.Context(), connect(t, f, func(*connectors.OIDCConfig) {}), f, connectortest.Continue)
		wantKind(t, err, connectors.Misconfigured)
	})
	t.Run("no discovery", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{})
		f.Fail(connectortest.Refuse, "discovery")
		c := connect(t, f, func(cfg *connectors.OIDCConfig) {
			cfg.Endpoints = connectors.Endpoints{Authorization: f.Issuer + "/authorize", Token: f.Issuer + "/token", JWKS: f.Issuer + "/keys"}
		})
		if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil || len(f.Requests("discovery", "userinfo")) != 0 {
			t.Error(err)
		}
		f.Fail("")
		c = connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.Endpoints.UserInfo = f.Issuer + "/missing" })
		_, err := signIn(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Misconfigured)
	})
	t.Run("claims", func(t *testing.T) {
		t.Parallel()
		f := startOIDC(t, connectortest.OIDCOptions{})
		f.SetPeople(connectortest.Person{ID: "ana", Claims: map[string]any{
			"uid": 123456789012345678, "profile": map[string]any{"mail": "ana@example.com", "ok": true, "names": map[string]any{"full": "Ana F"}},
			"https://example.com/nick": "anita", "big": 1.5,
		}})
		c := connect(t, f, func(cfg *connectors.OIDCConfig) {
			cfg.SubjectClaim = "uid"
			cfg.Claims = connectors.ClaimNames{Email: "profile.mail", EmailVerified: "profile.ok", Name: "profile.names.full", Username: "https://example.com/nick"}
			cfg.KeepIDToken = true
		})
		id, err := signIn(t.Context(), c, f, connectortest.Continue)
		if err != nil || id.Subject != "123456789012345678" || id.Email != "ana@example.com" || id.EmailTrust != connectors.TrustVerified || id.Name != "Ana F" || id.Username != "anita" || id.IDToken == "" {
			t.Errorf("%v %+v", err, id)
		}
		for _, claim := range []string{"missing", "big", "profile", ""} {
			c := connect(t, f, func(cfg *connectors.OIDCConfig) { cfg.SubjectClaim = claim })
			if _, err := signIn(t.Context(), c, f, connectortest.Continue); (err == nil) != (claim == "") {
				t.Errorf("subject claim %q: %v", claim, err)
			}
		}
		_, _, err = c.LoggedOut(t.Context(), must[string](t)(f.LogoutToken("ana", "", nil)))
		wantKind(t, err, connectors.Misconfigured)
		if sub, sid, err := c.LoggedOut(t.Context(), must[string](t)(f.LogoutToken("ana", "s1", nil))); err != nil || sub != "" || sid != "s1" {
			t.Errorf("%q %q %v", sub, sid, err)
		}
	})
}

// TestUserInfo: it must speak of the same person, and what it vouches for is its own address.
func TestUserInfo(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	const none, reported, verified = connectors.TrustNone, connectors.TrustReported, connectors.TrustVerified
	absent := connectortest.Absent
	type m = map[string]any
	for _, row := range []struct {
		what        string
		token, info m
		email       string
		trust       connectors.Trust
	}{
		{"only userinfo has it", m{}, m{"email": "a@x.example", "email_verified": true}, "a@x.example", verified},
		{"only the token has it", m{"email": "a@x.example", "email_verified": true}, m{"email": absent, "email_verified": absent}, "a@x.example", verified},
		{"the same, word from userinfo", m{"email": "a@x.example"}, m{"email": "A@x.example", "email_verified": true}, "a@x.example", verified},
		{"another address, word from userinfo", m{"email": "a@x.example"}, m{"email": "b@x.example", "email_verified": true}, "a@x.example", reported},
		{"another address, word from the token", m{"email_verified": true}, m{"email": "b@x.example", "email_verified": absent}, "b@x.example", reported},
		{"the token says no", m{"email": "a@x.example", "email_verified": false}, m{"email": "a@x.example", "email_verified": true}, "a@x.example", reported},
		{"only the word", m{"email": "a@x.example"}, m{"email": absent, "email_verified": true}, "a@x.example", reported},
		{"nowhere", m{"email_verified": true}, m{"email": absent, "email_verified": true}, "", none},
		{"numbers", m{"email": 7}, m{"email": 8, "email_verified": true}, "", none},
	} {
		f.SetPeople(connectortest.Person{ID: "ana"})
		f.Forge(func(tok *connectortest.Token) { maps.Copy(tok.Claims, row.token) })
		f.UserInfo(row.info)
		id, err := signIn(t.Context(), c, f, connectortest.Continue)
		if err != nil || id.Email != row.email || id.EmailTrust != row.trust {
			t.Errorf("%s: %v, %q is %s", row.what, err, id.Email, id.EmailTrust)
		}
	}
	f.Forge(nil)
	for _, sub := range []any{"bo", absent, nil, 7, "", m{"a": 1}, []any{"ana"}, "Ana"} {
		f.UserInfo(m{"sub": sub})
		_, err := signIn(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Invalid)
	}
	f.UserInfo(m{"acr": "gold", "amr": []string{"otp"}, "iss": "https://evil.example", "auth_time": 5, "sid": "other", "nickname": "nn", "access_token": "secret"})
	id, err := signIn(t.Context(), c, f, connectortest.Continue)
	if err != nil || id.ACR != "" || id.AMR != nil || id.SID != "sid-ana" || !id.AuthTime.IsZero() || id.Claims["nickname"] != "nn" || id.Claims["iss"] != f.Issuer || id.Claims["access_token"] != nil {
		t.Errorf("%v %+v", err, id)
	}
	cfg := oidcConfig(f)
	cfg.NoUserInfo = true
	f.Forget()
	if _, err := signIn(t.Context(), must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), f, connectortest.Continue); err != nil || len(f.Requests("userinfo")) != 0 {
		t.Error(err)
	}
}

// TestLogout: logout tokens, and the way to the provider's sign-out.
func TestLogout(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	for _, row := range [][2]string{{"ana", "s1"}, {"ana", ""}, {"", "s1"}} {
		if sub, sid, err := c.LoggedOut(t.Context(), must[string](t)(f.LogoutToken(row[0], row[1], nil))); err != nil || sub != row[0] || sid != row[1] {
			t.Errorf("%v: %q %q %v", row, sub, sid, err)
		}
	}
	claim := func(name string, v any) func(*connectortest.Token) {
		return func(tok *connectortest.Token) {
			tok.Claims[name] = v
			if v == connectortest.Absent {
				delete(tok.Claims, name)
			}
		}
	}
	now := time.Now()
	bad := map[string]func(*connectortest.Token){
		"nonce": claim("nonce", "x"), "null nonce": claim("nonce", nil), "no jti": claim("jti", connectortest.Absent), "no events": claim("events", connectortest.Absent),
		"other event": claim("events", map[string]any{"x": map[string]any{}}), "event null": claim("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": nil}),
		"event list":     claim("events", []string{"http://schemas.openid.net/event/backchannel-logout"}),
		"no sub, no sid": claim("sub", connectortest.Absent), "aud": claim("aud", "other"), "no aud": claim("aud", connectortest.Absent), "iss": claim("iss", "https://evil.example"),
		"expired": claim("exp", now.Add(-time.Second).Unix()), "no exp": claim("exp", connectortest.Absent), "no iat": claim("iat", connectortest.Absent),
		"old": claim("iat", now.Add(-11*time.Minute).Unix()), "future": claim("iat", now.Add(5*time.Minute).Unix()), "sub number": claim("sub", 7),
		"alg none": func(tok *connectortest.Token) { tok.Header["alg"] = "none" }, "key": func(tok *connectortest.Token) { tok.Key = tok.Other },
		"typ": func(tok *connectortest.Token) { tok.Header["typ"] = "at+jwt" }, "crit": func(tok *connectortest.Token) { tok.Header["crit"] = []string{"x"} },
		"own key": func(tok *connectortest.Token) { tok.Key = tok.Other; tok.Header["jku"] = f.Issuer + "/keys" },
		"long":    claim("sub", strings.Repeat("x", 300)), "rubbish": func(tok *connectortest.Token) { tok.Finish = func(string) string { return "x" } },
	}
	for what, change := range bad {
		if sub, sid, err := c.LoggedOut(t.Context(), must[string](t)(f.LogoutToken("ana", "", change))); err == nil || connectors.KindOf(err) != connectors.Invalid {
			t.Errorf("%s: %q %q %v", what, sub, sid, err)
		}
	}
	if _, _, err := c.LoggedOut(t.Context(), ""); connectors.KindOf(err) != connectors.Invalid {
		t.Error(err)
	}
	t.Log("an ID Token is no logout token, nor the other way round")
	cfg := oidcConfig(f)
	cfg.KeepIDToken = true
	id, err := signIn(t.Context(), must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), f, connectortest.Continue)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.LoggedOut(t.Context(), id.IDToken)
	wantKind(t, err, connectors.Invalid)
	logout := must[string](t)(f.LogoutToken("ana", "", nil))
	f.Forge(func(tok *connectortest.Token) { tok.Finish = func(string) string { return logout } })
	_, err = signIn(t.Context(), c, f, connectortest.Continue)
	wantKind(t, err, connectors.Invalid)

	t.Log("sign-out at the provider")
	to := must[string](t)(c.EndSessionURL(t.Context(), id.IDToken, "https://login.example/bye", "s&1"))
	back := must[*url.URL](t)(f.Visit(to, connectortest.Continue))
	if back.String() != "https://login.example/bye?state=s%261" || query(t, to).Get("id_token_hint") != id.IDToken {
		t.Errorf("%s leads to %s", to, back)
	}
	g := startOIDC(t, connectortest.OIDCOptions{})
	g.Metadata(map[string]any{"end_session_endpoint": connectortest.Absent})
	if to, err := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(g))).EndSessionURL(t.Context(), "", "", ""); err != nil || to != "" {
		t.Errorf("%q %v", to, err)
	}
}
