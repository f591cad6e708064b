package connectortest

import (
	"net/http"
	"strings"
)

// Google is a fake of Google's OpenID provider: accounts.google.com, oauth2.googleapis.com, openidconnect.googleapis.com and
// www.googleapis.com, each a host of its own.
type Google struct {
	*op
	Issuer    string // what GoogleConfig.Issuer takes
	oldIssuer bool
}

// NewGoogle starts the fake, with one application registered.
func NewGoogle(c Client) (*Google, error) {
	b := newBase(c.Port)
	g := &Google{op: newOP(b)}
	g.title, g.colour = "Google", "#e8f0fe"
	g.auth, g.prompts = []string{"client_secret_post", "client_secret_basic"}, []string{"none", "consent", "select_account"}
	g.sendIss = true
	g.tokenError = plainTokenError
	g.issuerFor = func(*grant) string { return g.Issuer }
	g.finish = func(gr *grant, c map[string]any) {
		c["azp"] = gr.client.ID
		delete(c, "auth_time") // Google has no max_age
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.oldIssuer {
			c["iss"] = "accounts.google.com"
		}
	}
	g.clients = []Client{c}
	g.people = []Person{
		{ID: "104729000000000000017", Email: "ada@gmail.com", Verified: true, Name: "Ada L", GivenName: "Ada", FamilyName: "L", Picture: "https://lh3.googleusercontent.com/a/ada", Locale: "en"},
		{ID: "104729000000000000018", Email: "grace@example.com", Verified: true, Name: "Grace H", GivenName: "Grace", FamilyName: "H", Claims: map[string]any{"hd": "example.com"}},
		{ID: "104729000000000000019", Email: "alan@elsewhere.example", Verified: true, Name: "Alan T", GivenName: "Alan", FamilyName: "T"},
		{ID: "104729000000000000020", Email: "eve@example.com", Verified: false, Name: "Eve"},
	}
	if err := g.newKeys("RS256"); err != nil {
		return nil, err
	}
	var origins [4]string
	for i, name := range []string{"accounts", "oauth2", "openidconnect", "www"} {
		o, err := b.host(name)
		if err != nil {
			b.Close()
			return nil, err
		}
		origins[i] = o
	}
	accounts, oauth2, userinfo, www := origins[0], origins[1], origins[2], origins[3]
	g.Issuer = accounts

	b.handle("accounts", "GET /.well-known/openid-configuration", "discovery", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		answerJSON(w, http.StatusOK, map[string]any{
			"issuer": g.Issuer, "authorization_endpoint": accounts + "/o/oauth2/v2/auth", "device_authorization_endpoint": oauth2 + "/device/code",
			"token_endpoint": oauth2 + "/token", "userinfo_endpoint": userinfo + "/v1/userinfo", "revocation_endpoint": oauth2 + "/revoke",
			"jwks_uri":                                       www + "/oauth2/v3/certs",
			"response_types_supported":                       []string{"code", "token", "id_token", "code token", "code id_token", "token id_token", "code token id_token", "none"},
			"response_modes_supported":                       []string{"query", "fragment", "form_post"},
			"subject_types_supported":                        []string{"public"},
			"id_token_signing_alg_values_supported":          []string{"RS256"},
			"scopes_supported":                               []string{"openid", "email", "profile"},
			"token_endpoint_auth_methods_supported":          []string{"client_secret_post", "client_secret_basic"},
			"claims_supported":                               []string{"aud", "email", "email_verified", "exp", "family_name", "given_name", "iat", "iss", "name", "picture", "sub"},
			"code_challenge_methods_supported":               []string{"plain", "S256"},
			"grant_types_supported":                          []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"authorization_response_iss_parameter_supported": true,
		})
	})
	b.handle("accounts", "/o/oauth2/v2/auth", "authorize", func(w http.ResponseWriter, r *http.Request) { g.authorize(w, r, "") })
	b.handle("oauth2", "POST /token", "token", func(w http.ResponseWriter, r *http.Request) { g.token(w, r, "") })
	b.handle("oauth2", "POST /revoke", "revoke", g.revoke)
	b.handle("openidconnect", "GET /v1/userinfo", "userinfo", g.userInfo)
	b.handle("openidconnect", "POST /v1/userinfo", "userinfo", g.userInfo)
	b.handle("www", "GET /oauth2/v3/certs", "keys", g.jwks)
	return g, nil
}

// OldIssuer makes ID Tokens say accounts.google.com, as old ones do.
func (g *Google) OldIssuer(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.oldIssuer = on
}

// revoke takes a token in the form or the query.
func (g *Google) revoke(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimSpace(r.Form.Get("token"))
	g.mu.Lock()
	_, ok := g.access[token]
	delete(g.access, token)
	g.mu.Unlock()
	if !ok {
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_token", "error_description": "Token expired or revoked"})
		return
	}
	w.WriteHeader(http.StatusOK)
}
