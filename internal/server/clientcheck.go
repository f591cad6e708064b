package server

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

var (
	clientID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	// RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	claimPath  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_:/-]*(\.[A-Za-z_][A-Za-z0-9_:/-]*){0,4}$`)
)

// CheckClient says everything that is wrong with a registration, whoever makes it: the configuration file or the command line.
// known says which privileges exist.
func CheckClient(id string, m store.ClientMetadata, known func(string) bool) error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	oneOf := func(key, v string, allowed ...string) {
		if v != "" && !slices.Contains(allowed, v) {
			bad("%s is %q; it can be %s", key, v, strings.Join(allowed, ", "))
		}
	}
	if !clientID.MatchString(id) {
		bad("client_id %q must be 1 to 100 letters, digits and . _ - with a letter or digit first", id)
	}
	if len(m.Name) > 200 || strings.ContainsFunc(m.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		bad("client_name is longer than 200 bytes or holds control characters")
	}
	grants := m.GrantTypes
	if len(grants) == 0 {
		grants = []string{"authorization_code"}
	}
	for _, g := range grants {
		oneOf("grant_types", g, "authorization_code", "refresh_token", "client_credentials")
	}
	for _, rt := range m.ResponseTypes {
		oneOf("response_types", rt, "code")
	}
	oneOf("token_endpoint_auth_method", m.TokenEndpointAuth, "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
	for _, err := range checkClientKeys(m) {
		errs = append(errs, err)
	}
	oneOf("application_type", m.ApplicationType, "web", "native")
	oneOf("id_token_signed_response_alg", m.IDTokenAlg, provider.SigningAlgs...)
	oneOf("userinfo_signed_response_alg", m.UserinfoAlg, provider.SigningAlgs...)
	oneOf("access_token_signed_response_alg", m.AccessTokenAlg, provider.SigningAlgs...)
	oneOf("access_token_format", m.AccessTokenFormat, "jwt", "opaque")
	oneOf("refresh_rotation", m.RefreshRotation, "auto", "always", "never")
	oneOf("refresh_tokens", m.RefreshTokens, "offline", "session")
	oneOf("introspect", m.Introspect, "resources", "any")
	oneOf("require_acr", m.RequireACR, "2", "phr", "phrh")
	oneOf("registration", m.Registration, "open", "approval", "invite", "closed")
	oneOf("privileges_format", m.PrivilegesFormat, "array", "string")

	public := m.TokenEndpointAuth == "none"
	if public && slices.Contains(grants, "client_credentials") {
		bad("a public client cannot use client_credentials: it has nothing to prove itself with") // RFC 6749 §4.4
	}
	if public && m.RequirePKCE != nil && !*m.RequirePKCE {
		bad("a public client cannot go without PKCE") // RFC 9700 §2.1.1
	}
	if public && m.RefreshRotation == "never" {
		bad("the refresh tokens of a public client must rotate") // RFC 9700 §4.14.2
	}
	if slices.Contains(grants, "authorization_code") && len(m.RedirectURIs) == 0 {
		bad("redirect_uris is empty; authorization_code needs at least one")
	}
	if slices.Contains(grants, "refresh_token") && !slices.Contains(grants, "authorization_code") {
		bad("refresh_token is of no use without authorization_code")
	}
	native := m.ApplicationType == "native"
	for _, u := range m.RedirectURIs {
		if err := web.CheckRedirectForm(u, native); err != nil {
			bad("redirect_uris: %q: %w", u, err)
		}
	}
	for _, u := range m.PostLogoutRedirectURIs {
		if err := web.CheckRedirectForm(u, native); err != nil {
			bad("post_logout_redirect_uris: %q: %w", u, err)
		}
	}
	for key, u := range map[string]string{"backchannel_logout_uri": m.BackChannelLogoutURI, "frontchannel_logout_uri": m.FrontChannelLogoutURI} {
		if u != "" && (!webURL(u) || strings.Contains(u, "#")) { // Back-Channel Logout 1.0 §2.2
			bad("%s is %q; it must be an https address without a fragment", key, u)
		}
	}
	if u, err := url.Parse(m.FrontChannelLogoutURI); err == nil && u.Host != "" && !slices.ContainsFunc(m.RedirectURIs, func(to string) bool {
		v, err := url.Parse(to)
		return err == nil && v.Scheme == u.Scheme && v.Host == u.Host
	}) { // Front-Channel Logout 1.0 §2
		bad("frontchannel_logout_uri is %q; its scheme, host and port must be those of one of redirect_uris", m.FrontChannelLogoutURI)
	}
	if m.BackChannelLogoutSession && m.BackChannelLogoutURI == "" {
		bad("backchannel_logout_session_required needs backchannel_logout_uri")
	}
	if m.FrontChannelLogoutSession && m.FrontChannelLogoutURI == "" {
		bad("frontchannel_logout_session_required needs frontchannel_logout_uri")
	}
	for key, u := range map[string]string{"client_uri": m.ClientURI, "logo_uri": m.LogoURI, "policy_uri": m.PolicyURI, "tos_uri": m.TOSURI} {
		if u != "" && !webURL(u) {
			bad("%s is %q; it must be an http or https address", key, u)
		}
	}
	for _, o := range m.AllowedCORSOrigins {
		if u, err := url.Parse(o); err != nil || !webURL(o) || web.Origin(u) != o {
			bad("allowed_cors_origins: %q is not an origin such as https://app.example.com", o)
		}
	}
	for _, s := range strings.Fields(m.Scope) {
		if !scopeToken.MatchString(s) {
			bad("scope: %q holds a character that a scope cannot have", s)
		}
	}
	if m.AccessTokenTTL < 0 {
		bad("access_token_ttl is negative")
	}
	if m.DefaultMaxAge != nil && *m.DefaultMaxAge < 0 {
		bad("default_max_age is negative")
	}
	if m.PrivilegesClaim != "" && !claimPath.MatchString(m.PrivilegesClaim) {
		bad("privileges_claim is %q; it must be a name, or names joined by dots", m.PrivilegesClaim)
	}
	if _, err := privilege.ParseRequirement(m.RequiredPrivileges, known); err != nil {
		bad("required_privileges: %w", err)
	}
	for _, p := range m.VisiblePrivileges {
		if known != nil && !known(p) {
			bad("visible_privileges: there is no privilege %q", p)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// checkClientKeys judges a client's own keys and what it signs with them.
func checkClientKeys(m store.ClientMetadata) (errs []error) {
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if len(m.JWKS) > 0 {
		if _, err := provider.ClientKeys(m.JWKS); err != nil {
			bad("jwks: %w", err)
		}
		if m.JWKSURI != "" {
			bad("jwks and jwks_uri are both given; want one of them") // RFC 7591 §2
		}
	}
	if m.JWKSURI != "" && !strangersAddress(m.JWKSURI, false) {
		bad("jwks_uri is %q; it must be an https address on port 443 or 8443", m.JWKSURI)
	}
	keys := len(m.JWKS) > 0 || m.JWKSURI != ""
	if m.TokenEndpointAuth == "private_key_jwt" && !keys {
		bad("private_key_jwt needs jwks or jwks_uri: with which key?")
	}
	switch alg := m.RequestObjectAlg; {
	case alg == "" && len(m.RequestURIs) > 0:
		bad("request_uris is of no use without request_object_signing_alg")
	case alg == "" && m.RequireRequestObject:
		bad("require_signed_request_object needs request_object_signing_alg")
	case alg != "" && !slices.Contains(provider.SigningAlgs, alg):
		bad("request_object_signing_alg is %q; it can be %s", alg, strings.Join(provider.SigningAlgs, ", "))
	case alg != "" && !keys:
		bad("request_object_signing_alg needs jwks or jwks_uri: with which key?")
	}
	for _, u := range m.RequestURIs {
		if len(u) > 512 || !strangersAddress(u, true) { // OIDC Core §6.2
			bad("request_uris: %q is not an https address on port 443 or 8443, of at most 512 characters", u)
		}
	}
	if alg, may := m.TokenEndpointAuthAlg, provider.AssertionAlgs(m.TokenEndpointAuth); alg != "" && !slices.Contains(may, alg) {
		if len(may) == 0 {
			bad("token_endpoint_auth_signing_alg is of no use: the authentication method signs nothing")
		} else {
			bad("token_endpoint_auth_signing_alg is %q; it can be %s", alg, strings.Join(may, ", "))
		}
	}
	return errs
}

// strangersAddress says whether s can be fetched at all by the client for addresses that applications name (web.Outbound).
func strangersAddress(s string, fragment bool) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && (fragment || !strings.Contains(s, "#")) && slices.Contains([]string{"", "443", "8443"}, u.Port())
}

func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
