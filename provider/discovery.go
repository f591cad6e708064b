package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/login/session"
)

// metadata is one struct for both documents: OpenID Connect Discovery 1.0 §3 and RFC 8414 §2.
type metadata struct {
	Issuer            string   `json:"issuer"`
	Authorize         string   `json:"authorization_endpoint"`
	Token             string   `json:"token_endpoint"`
	Userinfo          string   `json:"userinfo_endpoint"`
	JWKS              string   `json:"jwks_uri"`
	Introspect        string   `json:"introspection_endpoint"`
	Revoke            string   `json:"revocation_endpoint"`
	Logout            string   `json:"end_session_endpoint"`
	Scopes            []string `json:"scopes_supported"`
	ResponseTypes     []string `json:"response_types_supported"`
	ResponseModes     []string `json:"response_modes_supported"`
	GrantTypes        []string `json:"grant_types_supported"`
	ACRValues         []string `json:"acr_values_supported"`
	SubjectTypes      []string `json:"subject_types_supported"`
	IDTokenAlgs       []string `json:"id_token_signing_alg_values_supported"`
	UserinfoAlgs      []string `json:"userinfo_signing_alg_values_supported"`
	RequestObjectAlgs []string `json:"request_object_signing_alg_values_supported"`
	TokenAuth         []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectAuth    []string `json:"introspection_endpoint_auth_methods_supported"`
	RevokeAuth        []string `json:"revocation_endpoint_auth_methods_supported"`
	TokenAuthAlgs     []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevokeAlgs        []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	DisplayValues     []string `json:"display_values_supported"`
	ClaimTypes        []string `json:"claim_types_supported"`
	Claims            []string `json:"claims_supported"`
	UILocales         []string `json:"ui_locales_supported"`
	PKCE              []string `json:"code_challenge_methods_supported"`
	Prompts           []string `json:"prompt_values_supported"`
	ClaimsParameter   bool     `json:"claims_parameter_supported"`
	RequestParameter  bool     `json:"request_parameter_supported"`
	RequestURI        bool     `json:"request_uri_parameter_supported"`
	RequireRequestURI bool     `json:"require_request_uri_registration"`
	IssuerInResponse  bool     `json:"authorization_response_iss_parameter_supported"`

	BackChannelLogout         bool `json:"backchannel_logout_supported"`         // Back-Channel Logout 1.0 §2.1
	BackChannelLogoutSession  bool `json:"backchannel_logout_session_supported"` // sid is in ID tokens and logout tokens
	FrontChannelLogout        bool `json:"frontchannel_logout_supported"`        // Front-Channel Logout 1.0 §3
	FrontChannelLogoutSession bool `json:"frontchannel_logout_session_supported"`
}

func (p *Provider) buildDiscovery() ([]byte, error) {
	at := func(path string) string { return p.c.Issuer + path }
	confidential := []string{authBasic, authPost, authSecretJWT, authPrivateKey}
	anybody := append(slices.Clone(confidential), authNone)
	authAlgs := append(slices.Clone(assertionAlgs), secretAlgs...)
	m := metadata{
		Issuer: p.c.Issuer, Authorize: at("/oauth2/authorize"), Token: at("/oauth2/token"), Userinfo: at("/oauth2/userinfo"),
		JWKS: at("/oauth2/jwks"), Introspect: at("/oauth2/introspect"), Revoke: at("/oauth2/revoke"), Logout: at("/oauth2/logout"),
		Scopes: Scopes, ResponseTypes: []string{"code"}, ResponseModes: []string{"query", "fragment", "form_post"}, GrantTypes: grantTypes,
		ACRValues: session.ACRValues, SubjectTypes: []string{"public"}, IDTokenAlgs: SigningAlgs,
		UserinfoAlgs:      SigningAlgs,
		RequestObjectAlgs: SigningAlgs, // of clients that registered one; never "none"
		TokenAuth:         anybody, IntrospectAuth: confidential, RevokeAuth: anybody,
		TokenAuthAlgs: authAlgs, IntrospectAlgs: authAlgs, RevokeAlgs: authAlgs,
		DisplayValues: []string{"page"}, ClaimTypes: []string{"normal"}, Claims: claimNames(), UILocales: []string{"en", "de"},
		PKCE: []string{"S256"}, Prompts: []string{"none", "login", "consent", "select_account"},
		// The defaults of the specification differ, so each is said.
		ClaimsParameter: true, IssuerInResponse: true, RequestParameter: true, RequestURI: true, RequireRequestURI: true,
		BackChannelLogout: true, BackChannelLogoutSession: true, FrontChannelLogout: true, FrontChannelLogoutSession: true,
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("provider: discovery: %w", err)
	}
	return b, nil
}

// serveDiscovery answers both well-known documents from prepared bytes. Nothing of the request gets into them (security.md I1).
func (p *Provider) serveDiscovery(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	_, err := w.Write(p.discovery)
	return err
}

// serveJWKS answers the public keys with an ETag. Clients may keep it for an hour; the next key is in it a day before it signs.
func (p *Provider) serveJWKS(w http.ResponseWriter, r *http.Request) error {
	body, etag := p.c.Keys.JWKS()
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, err := w.Write(body)
	return err
}
