package connectortest

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// OIDC is a fake of an ordinary OpenID provider, which can be told to be an odd one.
type OIDC struct {
	*op
	Issuer   string
	metadata map[string]any // changes to the discovery document
}

// OIDCOptions say what kind of provider it is.
type OIDCOptions struct {
	Alg     string   // of its signatures: RS256, PS256, ES256, EdDSA; "" = RS256
	Auth    []string // client authentication it takes; nil = client_secret_basic
	PKCE    bool     // it demands PKCE
	SendIss bool     // it sends and announces iss on the callback
}

// NewOIDC starts the fake, with one application registered.
func NewOIDC(c Client, opt OIDCOptions) (*OIDC, error) {
	b := newBase(c.Port)
	f := &OIDC{op: newOP(b)}
	f.title, f.colour = "Example ID", "#eef7ee"
	f.auth, f.pkce, f.sendIss = opt.Auth, opt.PKCE, opt.SendIss
	if f.auth == nil {
		f.auth = []string{"client_secret_basic"}
	}
	f.prompts = []string{"none", "login", "consent", "select_account"}
	f.tokenError = plainTokenError
	f.issuerFor = func(*grant) string { return f.Issuer }
	f.finish = func(g *grant, c map[string]any) {
		c["sid"] = "sid-" + g.person.ID
		if g.acr != "" {
			c["acr"] = g.acr
		}
	}
	f.clients = []Client{c}
	f.people = []Person{
		{ID: "ana", Email: "ana@example.com", Verified: true, Name: "Ana Flores", GivenName: "Ana", FamilyName: "Flores", Username: "ana", Picture: "https://id.example/ana.png", Locale: "es-MX"},
		{ID: "bo", Email: "bo@example.com", Verified: false, Name: "Bo"},
		{ID: "cy"},
	}
	alg := opt.Alg
	if alg == "" {
		alg = "RS256"
	}
	if err := f.newKeys(alg); err != nil {
		return nil, err
	}
	origin, err := b.host("id")
	if err != nil {
		return nil, err
	}
	f.Issuer = origin
	b.handle("id", "GET /.well-known/openid-configuration", "discovery", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{
			"issuer": f.Issuer, "authorization_endpoint": origin + "/authorize", "token_endpoint": origin + "/token",
			"userinfo_endpoint": origin + "/userinfo", "jwks_uri": origin + "/keys", "end_session_endpoint": origin + "/logout",
			"response_types_supported": []string{"code"}, "response_modes_supported": []string{"query", "form_post"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{alg},
			"scopes_supported": []string{"openid", "profile", "email"}, "token_endpoint_auth_methods_supported": f.auth,
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": f.sendIss,
			"backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
		}
		f.mu.Lock()
		maps.Copy(m, f.metadata)
		f.mu.Unlock()
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == Absent })
		answerJSON(w, http.StatusOK, m)
	})
	b.handle("id", "/authorize", "authorize", func(w http.ResponseWriter, r *http.Request) { f.authorize(w, r, "") })
	b.handle("id", "POST /token", "token", func(w http.ResponseWriter, r *http.Request) { f.token(w, r, "") })
	b.handle("id", "GET /userinfo", "userinfo", f.userInfo)
	b.handle("id", "GET /keys", "keys", f.jwks)
	b.handle("id", "GET /logout", "logout", f.logout)
	return f, nil
}

// Metadata changes the discovery document; Absent takes a member away.
func (f *OIDC) Metadata(changes map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.metadata = maps.Clone(changes)
}

// logout is the end session endpoint (OpenID Connect RP-Initiated Logout 1.0 §2).
func (f *OIDC) logout(w http.ResponseWriter, r *http.Request) {
	c := f.client(r.Form.Get("client_id"))
	to := r.Form.Get("post_logout_redirect_uri")
	switch {
	case c == nil:
		stop(w, http.StatusBadRequest, f.title, "Error 400: the application is not known")
	case to == "":
		stop(w, http.StatusOK, f.title, "You are signed out.")
	case !slices.Contains(c.PostLogoutRedirectURIs, to):
		stop(w, http.StatusBadRequest, f.title, "Error 400: post_logout_redirect_uri is not registered")
	default:
		send(w, r, to, url.Values{"state": {r.Form.Get("state")}})
	}
}

// LogoutToken makes a logout token for the first application (OpenID Connect Back-Channel Logout 1.0 §2.4), changed by change if that is not
// nil.
func (f *OIDC) LogoutToken(sub, sid string, change func(*Token)) (string, error) {
	now := f.time()
	c := map[string]any{
		"iss": f.Issuer, "aud": f.clients[0].ID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if sub != "" {
		c["sub"] = sub
	}
	if sid != "" {
		c["sid"] = sid
	}
	f.mu.Lock()
	key, other := f.keys[0], f.secret
	f.mu.Unlock()
	t := &Token{Header: map[string]any{"alg": key.alg, "kid": key.kid, "typ": "logout+jwt"}, Claims: c, Key: key.private, Other: other.private}
	if change != nil {
		change(t)
	}
	return t.Compact()
}
