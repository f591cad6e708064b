package config

import (
	"encoding/json"
	"errors"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// checkPrivileges builds the graph of the seven and the file's, and returns the names that exist. What a file refers to must stand
// in a file: a start cannot depend on what somebody may delete on a page.
func (r *reader) checkPrivileges() (known map[string]bool) {
	known = map[string]bool{}
	for _, b := range privilege.BuiltIns() {
		known[b.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Privileges)) {
		p, path := r.cfg.Privileges[name], join("privileges", keyText(name))
		known[name] = true
		r.text(join(path, "label"), p.Label, 0, 100)
		r.text(join(path, "description"), p.Description, 0, 500)
		if owner, _, ok := privilege.ClientRole(name); ok && !slices.ContainsFunc(r.cfg.Clients, func(c Client) bool { return c.ID == owner }) {
			r.warn(path, "belongs to the client %s, which is not in this file", show(owner))
		}
	}
	graph, err := privilege.NewGraph(r.definitions())
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Privileges)) {
		if err == nil && r.cfg.Privileges[name].Requestable && !graph.CanAsk(name) {
			r.problem(join(join("privileges", keyText(name)), "requestable"), "nobody asks for %s: cron is for machines, and who administers is chosen", name)
		}
	}
	for _, err := range unjoin(err) {
		var d *privilege.DefError
		if !errors.As(err, &d) {
			r.problem("privileges", "%v", err)
			continue
		}
		path, text := join("privileges", keyText(d.Name)), d.Text
		if i := slices.Index(r.cfg.Privileges[d.Name].Includes, d.Include); d.Include != "" && i >= 0 {
			path = item(join(path, "includes"), i)
			if near, ok := nearest(d.Include, slices.Sorted(maps.Keys(known))); ok && !known[d.Include] {
				text += "; did you mean " + near + "?"
			}
		}
		r.problem(path, "%s", text)
	}
	return known
}

// definitions are those of the file and the built-in ones it says nothing about.
func (r *reader) definitions() []privilege.Def {
	var defs []privilege.Def
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Privileges)) {
		defs = append(defs, privilege.Def{Name: name, Includes: r.cfg.Privileges[name].Includes})
	}
	for _, b := range privilege.BuiltIns() {
		if _, own := r.cfg.Privileges[b.Name]; !own {
			defs = append(defs, privilege.Def{Name: b.Name})
		}
	}
	return defs
}

func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

var (
	clientID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	sha256Of = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	claimName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_:/-]*(\.[A-Za-z_][A-Za-z0-9_:/-]*){0,4}$`)

	scopes = []string{"openid", "profile", "email", "phone", "address", "privileges", "offline_access"}
	algs   = []string{"RS256", "ES256", "PS256", "EdDSA"}
	// takenClaims mean something else in a token; a client that could overwrite them could forge them.
	takenClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "azp", "sid", "acr", "amr", "auth_time", "at_hash", "c_hash", "s_hash",
		"client_id", "scope", "cnf", "act", "may_act", "active", "events", "email", "email_verified", "phone_number", "phone_number_verified", "address", "name",
		"given_name", "family_name", "preferred_username", "user_type", "readonly"}
)

func (r *reader) checkClients(known map[string]bool) {
	first := map[string]int{}
	for i := range r.cfg.Clients {
		c, path := &r.cfg.Clients[i], item("clients", i)
		id := join(path, "client_id")
		switch j, twice := first[c.ID]; {
		case c.ID == "":
			r.problem(id, "is missing")
		case !clientID.MatchString(c.ID):
			r.problem(id, "%s must be 1 to 100 of letters, digits and . _ - with a letter or digit first", r.show(id, c.ID))
		case twice:
			r.problem(id, "%s is taken by clients[%d]", r.show(id, c.ID), j)
		default:
			first[c.ID] = i
		}
		r.checkClientSecret(c, path)
		r.checkClientKeys(c, path)
		r.checkClientUse(c, path)
		r.checkClientAddresses(c, path)
		r.checkClientPrivileges(c, path, known)
		r.checkClientConnectors(c, path)
	}
}

func (r *reader) checkClientSecret(c *Client, path string) {
	auth := join(path, "token_endpoint_auth_method")
	r.choice(auth, c.TokenEndpointAuth, "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
	var given []string
	for _, k := range []string{"client_secret", "client_secret_file", "client_secret_hash"} {
		if _, ok := r.places[join(path, k)]; ok {
			given = append(given, k)
		}
	}
	switch method := c.TokenEndpointAuth; {
	case len(given) > 1:
		r.problem(join(path, given[1]), "is given beside %s; want one of them", given[0])
		return
	case (method == "none" || method == "private_key_jwt") && len(given) > 0:
		r.problem(join(path, given[0]), "is of no use: with token_endpoint_auth_method %s it is never asked for", method)
		return
	case method == "none" || method == "private_key_jwt":
		return
	case method == "client_secret_jwt" && len(given) == 1 && given[0] == "client_secret_hash":
		r.problem(join(path, given[0]), "is not enough for client_secret_jwt, which is computed with the secret itself; give client_secret or client_secret_file")
		return
	case len(given) == 0:
		r.problem(join(path, "client_secret"), "is missing; %s. A client that can keep no secret has token_endpoint_auth_method: none", makeKey)
		return
	}
	at := join(path, given[0])
	switch given[0] {
	case "client_secret_hash":
		if !sha256Of.MatchString(c.SecretHash) {
			r.problem(at, "is not a SHA-256 in 64 lower-case hex digits")
		}
		return
	case "client_secret_file":
		text, ok := r.secretFile(at, c.SecretFile)
		if !ok {
			return
		}
		c.Secret = NewSecret(text)
	}
	switch s := c.Secret.Reveal(); {
	case !ascii(s): // RFC 6749 appendix A.2: VSCHAR; a space at its end is a mistake
		r.problem(at, "has a character that is not visible ASCII")
	case len(s) < 32:
		r.problem(at, "is shorter than 32 characters; %s", makeKey)
	case len(s) > 512:
		r.problem(at, "is longer than 512 characters")
	}
}

// checkClientKeys judges where a client's keys come from; what is in them is judged with the whole registration.
func (r *reader) checkClientKeys(c *Client, path string) {
	at := func(key string) string { return join(path, key) }
	if c.JWKS != "" && c.JWKSURI != "" {
		r.problem(at("jwks_uri"), "is given beside jwks; want one of them") // RFC 7591 §2
	}
	if c.JWKS != "" && !json.Valid([]byte(c.JWKS)) {
		r.problem(at("jwks"), "is not JSON")
	}
	if c.JWKSURI != "" && !strangersAddress(c.JWKSURI, false) {
		r.problem(at("jwks_uri"), "%s is not an https address on port 443 or 8443", r.show(at("jwks_uri"), c.JWKSURI))
	}
	keys := c.JWKS != "" || c.JWKSURI != ""
	switch alg := c.RequestObjectAlg; {
	case alg == "" && len(c.RequestURIs) > 0:
		r.problem(at("request_uris"), "is of no use without request_object_signing_alg")
	case alg == "" && c.RequireRequestObject:
		r.problem(at("require_signed_request_object"), "needs request_object_signing_alg")
	case alg != "" && !keys:
		r.problem(at("request_object_signing_alg"), "is %s, but neither jwks nor jwks_uri says with which key", alg)
	case alg != "":
		r.choice(at("request_object_signing_alg"), alg, algs...)
	}
	r.list(at("request_uris"), c.RequestURIs, func(p, s string) {
		if len(s) > 512 || !strangersAddress(s, true) { // OIDC Core §6.2
			r.problem(p, "%s is not an https address on port 443 or 8443, of at most 512 characters", r.show(p, s))
		}
	})
	switch method := c.TokenEndpointAuth; {
	case method == "private_key_jwt" && !keys:
		r.problem(at("token_endpoint_auth_method"), "is private_key_jwt, but neither jwks nor jwks_uri says with which key")
	case method == "private_key_jwt" && c.TokenEndpointAuthAlg != "":
		r.choice(at("token_endpoint_auth_signing_alg"), c.TokenEndpointAuthAlg, algs...)
	case method == "client_secret_jwt" && c.TokenEndpointAuthAlg != "":
		r.choice(at("token_endpoint_auth_signing_alg"), c.TokenEndpointAuthAlg, "HS256")
	case c.TokenEndpointAuthAlg != "":
		r.problem(at("token_endpoint_auth_signing_alg"), "is of no use: with token_endpoint_auth_method %s nothing is signed", method)
	}
}

// strangersAddress says whether s can be fetched at all by the client for addresses that applications name.
func strangersAddress(s string, fragment bool) bool {
	u, err := url.Parse(s)
	return err == nil && ascii(s) && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && (fragment || !strings.Contains(s, "#")) && slices.Contains([]string{"", "443", "8443"}, u.Port())
}

func (r *reader) checkClientUse(c *Client, path string) {
	public := c.TokenEndpointAuth == "none"
	at := func(key string) string { return join(path, key) }
	r.text(at("client_name"), c.Name, 0, 100)
	r.choice(at("application_type"), c.ApplicationType, "web", "native")
	r.choice(at("id_token_signed_response_alg"), c.IDTokenAlg, algs...)
	if c.UserinfoAlg != "" {
		r.choice(at("userinfo_signed_response_alg"), c.UserinfoAlg, algs...)
	}
	r.choice(at("access_token_signed_response_alg"), c.AccessTokenAlg, algs...)
	r.choice(at("access_token_format"), c.AccessTokenFormat, "jwt", "opaque")
	r.choice(at("refresh_rotation"), c.RefreshRotation, "auto", "always", "never")
	r.choice(at("refresh_tokens"), c.RefreshTokens, "offline", "session")
	r.choice(at("privileges_format"), c.PrivilegesFormat, "array", "string")
	r.choice(at("introspect"), c.Introspect, "own", "resources", "any")
	r.list(at("grant_types"), c.GrantTypes, func(p, g string) { r.choice(p, g, "authorization_code", "refresh_token", "client_credentials") })
	r.list(at("response_types"), c.ResponseTypes, func(p, t string) { r.choice(p, t, "code") })

	code, refresh := slices.Contains(c.GrantTypes, "authorization_code"), slices.Contains(c.GrantTypes, "refresh_token")
	switch {
	case len(c.GrantTypes) == 0:
		r.problem(at("grant_types"), "is empty; a client that may do nothing is disabled: true")
	case refresh && !code:
		r.problem(at("grant_types"), "has refresh_token without authorization_code, which alone brings one")
	case public && slices.Contains(c.GrantTypes, "client_credentials"):
		r.problem(at("grant_types"), "has client_credentials, but the client has nothing to prove itself with") // RFC 6749 §4.4
	}
	if code && len(c.RedirectURIs) == 0 {
		r.problem(at("redirect_uris"), "is missing; authorization_code needs at least one")
	}
	if code && !slices.Contains(c.ResponseTypes, "code") {
		r.problem(at("response_types"), "needs code for authorization_code")
	}
	if c.RequireEmail && !r.cfg.Mail.On() {
		r.problem(at("require_email"), "needs the block mail: an address is proven by a code in a mail")
	}
	if !c.RequirePKCE {
		if public {
			r.problem(at("require_pkce"), "cannot be false: without a secret, PKCE is all that protects a code") // RFC 9700 §2.1.1
		} else {
			r.warn(at("require_pkce"), "is false; only old software needs that")
		}
	}
	if public && c.RefreshRotation == "never" {
		r.problem(at("refresh_rotation"), "cannot be never: a stolen refresh token of a public client would go unnoticed") // RFC 9700 §4.14.2
	}

	words := strings.Fields(c.Scope)
	for _, s := range words {
		near, close := nearest(s, scopes)
		switch {
		case slices.Contains(scopes, s):
		case !scopeToken.MatchString(s):
			r.problem(at("scope"), "%s has a character that a scope cannot have", r.show(at("scope"), s))
		case !strings.ContainsAny(s, ".:/") && close:
			r.problem(at("scope"), "%s is not a scope; did you mean %s?", r.show(at("scope"), s), near)
		}
	}
	offline := slices.Contains(words, "offline_access")
	if offline && !refresh {
		r.warn(at("scope"), "has offline_access, but grant_types has no refresh_token: it will get none")
	}
	if refresh && !offline && c.RefreshTokens == "offline" {
		r.warn(at("grant_types"), "has refresh_token, but scope has no offline_access: it will get none. Add it, or refresh_tokens: session")
	}

	if c.DefaultMaxAge != nil && *c.DefaultMaxAge < 0 {
		r.problem(at("default_max_age"), "is negative")
	}
	if ttl := c.AccessTokenTTL; ttl%time.Second != 0 || ttl > r.cfg.Tokens.AccessTTL {
		r.problem(at("access_token_ttl"), "is %s; it can be full seconds, at most tokens.access_ttl, %s", formatDuration(ttl), formatDuration(r.cfg.Tokens.AccessTTL))
	}
}

// list judges every item, and refuses one that is there twice.
func (r *reader) list(path string, items []string, judge func(path, item string)) {
	for i, s := range items {
		if slices.Index(items, s) < i {
			r.problem(item(path, i), "%s is listed twice", r.show(item(path, i), s))
			continue
		}
		judge(item(path, i), s)
	}
}

func (r *reader) checkClientAddresses(c *Client, path string) {
	native := c.ApplicationType == "native"
	redirect := func(p, u string) {
		if why := redirectProblem(u, native); why != "" {
			r.problem(p, "%s %s", r.show(p, u), why)
		}
	}
	r.list(join(path, "redirect_uris"), c.RedirectURIs, redirect)
	r.list(join(path, "post_logout_redirect_uris"), c.PostLogoutRedirectURIs, redirect)
	if u := c.BackChannelLogoutURI; u != "" {
		p := join(path, "backchannel_logout_uri")
		if why := logoutProblem(u, !r.production() || r.cfg.Logout.InnerAddresses); why != "" {
			r.problem(p, "%s %s", r.show(p, u), why)
		}
	}
	if u := c.FrontChannelLogoutURI; u != "" {
		p := join(path, "frontchannel_logout_uri")
		if why := logoutProblem(u, true); why != "" {
			r.problem(p, "%s %s", r.show(p, u), why)
		} else if !slices.ContainsFunc(c.RedirectURIs, func(to string) bool { return sameOrigin(u, to) }) { // Front-Channel Logout 1.0 §2
			r.problem(p, "%s has not the scheme, host and port of one of redirect_uris", r.show(p, u))
		}
	}
	if c.BackChannelLogoutSession && c.BackChannelLogoutURI == "" {
		r.problem(join(path, "backchannel_logout_session_required"), "needs backchannel_logout_uri")
	}
	if c.FrontChannelLogoutSession && c.FrontChannelLogoutURI == "" {
		r.problem(join(path, "frontchannel_logout_session_required"), "needs frontchannel_logout_uri")
	}
	for _, a := range []struct{ key, value string }{{"client_uri", c.ClientURI}, {"logo_uri", c.LogoURI}, {"policy_uri", c.PolicyURI}, {"tos_uri", c.TOSURI}} {
		p := join(path, a.key)
		u, err := url.Parse(a.value)
		switch {
		case a.value == "":
		case err != nil || !ascii(a.value) || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
			r.problem(p, "%s is not an https address", r.show(p, a.value))
		case u.Scheme == "http" && r.production():
			r.problem(p, "%s is http; production needs https", r.show(p, a.value))
		}
	}
	r.list(join(path, "contacts"), c.Contacts, func(p, m string) {
		if a, err := mail.ParseAddress(m); err != nil || a.Address != m {
			r.problem(p, "%s is not a mail address", r.show(p, m))
		}
	})
	r.list(join(path, "resources"), c.Resources, func(p, s string) {
		if u, err := url.Parse(s); err != nil || !ascii(s) || !u.IsAbs() || strings.Contains(s, "#") { // RFC 8707 §2
			r.problem(p, "%s is not an absolute URI without a fragment, such as https://api.example.com", r.show(p, s))
		}
	})
	r.list(join(path, "allowed_cors_origins"), c.AllowedCORSOrigins, func(p, s string) {
		u, err := url.Parse(s)
		if err != nil || !ascii(s) || u.Host == "" || s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			r.problem(p, "%s is not an origin such as https://app.example.com", r.show(p, s))
		}
	})
}

// logoutProblem says what is wrong with an address that hears of sign-outs, "" = nothing.
func logoutProblem(s string, plain bool) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || !ascii(s) || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return "is not an https address"
	case strings.Contains(s, "#"): // Back-Channel Logout 1.0 §2.2
		return "has a fragment"
	case u.Scheme == "http" && !plain:
		return "is http; production needs https, or logout.inner_addresses"
	}
	return ""
}

func sameOrigin(a, b string) bool {
	x, err := url.Parse(a)
	y, err2 := url.Parse(b)
	return err == nil && err2 == nil && x.Scheme == y.Scheme && x.Host == y.Host
}

// redirectProblem says what is wrong with a redirect URI (security.md A3, A4; RFC 9700 §4.1.3, RFC 8252 §7), "" = nothing.
func redirectProblem(s string, native bool) string {
	if s == "" || !ascii(s) || strings.ContainsAny(s, "\\\"<>^`{|}") {
		return "has a character that an address cannot have"
	}
	if strings.Contains(s, "*") {
		return "has a *; addresses are compared character by character"
	}
	if strings.Contains(s, "#") { // RFC 6749 §3.1.2
		return "has a fragment"
	}
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() {
		return "is not an absolute address"
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == ".." || segment == "." {
			return "has . or .. in its path, which browsers would take out"
		}
	}
	switch scheme := u.Scheme; {
	case !strings.HasPrefix(s, scheme):
		return "must have its scheme in lower case"
	case u.User != nil:
		return "must not contain a user or password"
	case scheme == "https" || scheme == "http":
		switch {
		case u.Hostname() == "" || u.Opaque != "":
			return "has no host"
		case u.Host != strings.ToLower(u.Host):
			return "must have its host in lower case"
		case scheme == "http" && u.Hostname() != "localhost" && !(loopback(u.Hostname()) && validIP(u.Hostname())):
			return "is http, which is for localhost, 127.0.0.1 and [::1] only"
		}
	case !native:
		return "has a scheme of its own; that is for application_type: native"
	case !strings.Contains(scheme, "."): // RFC 8252 §7.1; it also keeps javascript, data, file and intent out
		return "needs a scheme with a dot, such as com.example.app"
	}
	return ""
}

func (r *reader) checkClientPrivileges(c *Client, path string, known map[string]bool) {
	names := slices.Sorted(maps.Keys(known))
	at := join(path, "required_privileges")
	_, err := privilege.ParseRequirement(c.RequiredPrivileges, func(n string) bool { return known[n] })
	for _, err := range unjoin(err) {
		where, text, found := strings.Cut(err.Error(), ": ")
		if !found {
			where, text = "", err.Error()
		}
		r.problem(at+where, "%s", text)
	}
	r.list(join(path, "visible_privileges"), c.VisiblePrivileges, func(p, n string) {
		near, close := nearest(n, names)
		switch {
		case known[n]:
		case close:
			r.problem(p, "unknown privilege %s; did you mean %s?", r.show(p, n), near)
		default:
			r.problem(p, "unknown privilege %s", r.show(p, n))
		}
	})
	claim := join(path, "privileges_claim")
	if first, _, _ := strings.Cut(c.PrivilegesClaim, "."); !claimName.MatchString(c.PrivilegesClaim) || len(c.PrivilegesClaim) > 200 {
		r.problem(claim, "%s is not a name of a claim, or up to five joined by dots", r.show(claim, c.PrivilegesClaim))
	} else if slices.Contains(takenClaims, first) {
		r.problem(claim, "%s has a meaning of its own in a token", r.show(claim, first))
	}
}
