package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
)

// request is an authorization request after resolve: a clean form and what was read from it. It is made from a URL once; after that
// only from the form we stored (security.md A6).
type request struct {
	form     url.Values // what fosite sees, and what a flow stores
	client   *Client
	redirect string // as sent and matched
	state    string
	mode     string // query (default), fragment, form_post

	prompt    []string
	maxAge    *time.Duration // nil = not asked
	scopes    []string
	resources []string
	claims    RequestedClaims
	rawClaims json.RawMessage
	hintSub   string // subject of a good id_token_hint, or of claims.id_token.sub
	hintBad   bool   // a hint was given that is not ours
	marker    string // of the jti of the request object it came in; "" = nothing to spend

	fresh bool // the sender's form is checked for the first time; false on the way back from login or consent
}

// acrValues are the values of acr_values that are on our ladder; a request for others is a wish (OIDC Core §3.1.2.1) that nobody here can grant.
func (q *request) acrValues() []string {
	return slices.DeleteFunc(strings.Fields(q.form.Get("acr_values")), func(v string) bool { return !slices.Contains(session.ACRValues, v) })
}

type requestKey struct{}

func requestFrom(ctx context.Context) *request { q, _ := ctx.Value(requestKey{}).(*request); return q }

// Parameters that a request may carry at most once; others are ignored (RFC 6749 §3.1: unrecognised parameters are).
var known = []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt", "max_age",
	"id_token_hint", "login_hint", "domain_hint", "connector", "acr_values", "ui_locales", "claims", "claims_locales", "display", "code_challenge",
	"code_challenge_method", "resource"}

// problem is an error before client and redirect URI are proven: it is shown as a page and never redirected (RFC 6749 §4.1.2.1).
func problem(code, key string, err error) error {
	return &web.Error{Status: http.StatusBadRequest, Code: code, Key: key, Err: err}
}

// resolve turns the raw parameters into a request. What is refused goes to the client, at its registered URI; the error is for a
// page. Both nil: go on.
func (p *Provider) resolve(ctx context.Context, raw url.Values) (*request, *oauthError, error) {
	for _, k := range []string{"client_id", "redirect_uri"} {
		if len(raw[k]) > 1 {
			return nil, nil, problem("invalid_request", "error.app_request", errors.New(k+" given twice"))
		}
	}
	c, err := p.client(ctx, raw.Get("client_id"))
	if errors.Is(err, errNoClient) {
		return nil, nil, problem("invalid_client", "error.app_unknown", err)
	}
	if err != nil {
		return nil, nil, err
	}
	marker, signed := "", raw.Has("request") || raw.Has("request_uri")
	switch {
	case signed:
		opened, mark, refused := p.openRequest(ctx, c, raw)
		if refused != nil {
			// Nothing within is proven. What stands beside it says who is told, as it does for any request.
			q, page := newRequest(c, raw)
			if page != nil {
				return nil, nil, problem(refused.code, "error.app_request", refused)
			}
			return q, refused, nil
		}
		raw, marker = opened, mark
	case raw.Has(storedParam):
		marker = raw.Get(markerParam)
	}
	q, page := newRequest(c, raw)
	if page != nil {
		return nil, nil, page
	}
	// From here on the client may hear what is wrong, in the way it asked for if that can be made out.
	bad := func(code, text string) (*request, *oauthError, error) { return q, refuse(code, text), nil }
	if m := raw.Get("response_mode"); m != "" && m != q.mode {
		return bad("invalid_request", "The response_mode is not supported: use query, fragment or form_post.")
	}
	if c.Metadata.RequireRequestObject && !signed && !raw.Has(storedParam) { // RFC 9101 §10.5
		return bad("invalid_request", "This client must sign its requests: request or request_uri is missing.")
	}
	if q.marker = marker; marker != "" {
		q.form.Set(markerParam, marker)
	}
	for _, k := range known {
		// RFC 6749 §3.1: parameters must not be included more than once; RFC 8707 §2 lets resource repeat.
		if len(raw[k]) > 1 && k != "resource" {
			return bad("invalid_request", "The parameter '"+k+"' was given more than once.")
		}
		if v := raw[k]; len(v) > 0 && v[0] != "" {
			q.form[k] = v
		}
	}
	if raw.Has("registration") {
		return bad("registration_not_supported", "Registration in the request is not supported.")
	}
	switch rt := q.form.Get("response_type"); rt {
	case "code":
	case "":
		return bad("invalid_request", "The parameter 'response_type' is missing.")
	default:
		return bad("unsupported_response_type", "Only the response type 'code' is available to this client.")
	}
	if e := q.readScope(); e != nil {
		return q, e, nil
	}
	if e := q.readPKCE(); e != nil {
		return q, e, nil
	}
	if e := q.readPrompt(); e != nil {
		return q, e, nil
	}
	if q.claims, q.rawClaims, err = parseClaims(q.form.Get("claims")); err != nil {
		return bad("invalid_request", "The parameter 'claims' is not a claims request.")
	}
	q.hintSub = q.claims.subWanted()
	if hint := q.form.Get("id_token_hint"); hint != "" {
		h, err := p.hint(ctx, hint)
		if err != nil {
			q.hintBad = true
		} else {
			q.hintSub = h.Subject
		}
		// Only the subject goes on: the flow's row should not keep a token, and fosite need not read it.
		q.form.Del("id_token_hint")
		if q.hintSub != "" && !q.hintBad {
			q.form.Set(hintParam, q.hintSub)
		}
	} else if s := raw.Get(hintParam); s != "" && raw.Has(storedParam) {
		q.hintSub = s
		q.form.Set(hintParam, s)
	}
	if q.hintBad {
		return bad("invalid_request", "The id_token_hint is not an ID token of this provider.")
	}
	return q, nil, nil
}

// newRequest finds out where the answer goes and how; the error is for a page.
func newRequest(c *Client, raw url.Values) (*request, error) {
	q := &request{form: url.Values{}, client: c, redirect: raw.Get("redirect_uri")}
	switch {
	case q.redirect == "" && len(c.redirects) == 1 && !slices.Contains(strings.Fields(raw.Get("scope")), scopeOpenID):
		q.redirect = c.redirects[0] // RFC 6749 §3.1.2.3; OIDC Core §3.1.2.1 wants it always
	case q.redirect == "":
		return nil, problem("invalid_request", "error.app_redirect", errors.New("no redirect_uri"))
	case !matchRedirect(q.redirect, c):
		return nil, problem("invalid_request", "error.app_redirect", errors.New("redirect_uri not registered"))
	}
	if !slices.Contains(c.redirects, q.redirect) { // a loopback variant: fosite's own match must agree, for this request
		own := *c
		own.redirects = append(slices.Clone(c.redirects), q.redirect)
		q.client = &own
	}
	if len(raw["state"]) == 1 {
		q.state = raw.Get("state")
	}
	q.mode = "query"
	if m := raw.Get("response_mode"); m == "fragment" || m == "form_post" {
		q.mode = m
	}
	return q, nil
}

// hintParam and markerParam keep the hint's subject and what a request object spends in the stored form; storedParam marks a form that came from our
// own row. A browser cannot set any: authorize removes them before resolve sees them.
const (
	hintParam   = "latchkey:hint_sub"
	markerParam = "latchkey:marker"
	storedParam = "latchkey:stored"
)

// readScope checks scopes and resources against the registration; exact, case-sensitive (RFC 6749 §3.3).
func (q *request) readScope() *oauthError {
	q.scopes = strings.Fields(q.form.Get("scope"))
	seen := map[string]bool{}
	for _, s := range q.scopes {
		if !q.client.hasScope(s) {
			return refuse("invalid_scope", "The client is not registered for the scope '"+clean(s)+"'.")
		}
		seen[s] = true
	}
	q.scopes = slices.DeleteFunc(q.scopes, func(s string) bool { first := seen[s]; seen[s] = false; return !first })
	if len(q.scopes) > 0 {
		q.form.Set("scope", strings.Join(q.scopes, " "))
	}
	q.resources = q.form["resource"]
	for _, u := range q.resources {
		if !slices.Contains(q.client.Metadata.Resources, u) {
			return refuse("invalid_target", "The client is not registered for this resource.") // RFC 8707 §2
		}
	}
	return nil
}

// readPKCE decides the policy before anybody signs in (RFC 7636 §4.4.1): S256 for all, unless an operator waived it.
func (q *request) readPKCE() *oauthError {
	challenge, method := q.form.Get("code_challenge"), q.form.Get("code_challenge_method")
	switch {
	case challenge == "" && method != "":
		return refuse("invalid_request", "code_challenge_method came without code_challenge.")
	case challenge == "" && q.client.requiresPKCE():
		return refuse("invalid_request", "This client must use PKCE: code_challenge is missing.")
	case challenge == "":
		return nil
	case method != "S256": // absent means plain (RFC 7636 §4.3), which is off
		return refuse("invalid_request", "code_challenge_method must be S256.")
	}
	if raw, err := strictB64(challenge); err != nil || len(raw) != 32 { // RFC 7636 §4.2: BASE64URL of a SHA-256
		return refuse("invalid_request", "The code_challenge is not a base64url-encoded SHA-256 value.")
	}
	return nil
}

// readPrompt reads prompt and max_age; what cannot be read is an error, never "not asked" (security.md A15).
func (q *request) readPrompt() *oauthError {
	q.prompt = strings.Fields(q.form.Get("prompt"))
	for _, v := range q.prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, v) {
			return refuse("invalid_request", "The prompt '"+clean(v)+"' is not supported.")
		}
	}
	if len(q.prompt) > 1 && slices.Contains(q.prompt, "none") { // OIDC Core §3.1.2.1
		return refuse("invalid_request", "The prompt 'none' cannot be combined with another.")
	}
	var age int64
	switch v := q.form.Get("max_age"); {
	case v != "":
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || n > 1<<31 || strings.HasPrefix(v, "+") {
			return refuse("invalid_request", "max_age must be a number of seconds, zero or more.")
		}
		age = n
	case q.client.Metadata.DefaultMaxAge != nil: // OIDC Registration §2
		age = *q.client.Metadata.DefaultMaxAge
	default:
		return nil
	}
	d := time.Duration(age) * time.Second
	q.maxAge = &d
	return nil
}

// matchRedirect compares byte for byte. The one exception is a native client's loopback port (RFC 8252 §7.3), for localhost too, since
// real desktop clients need it; scheme, host, path, query and the absence of userinfo still must be equal.
func matchRedirect(sent string, c *Client) bool {
	if slices.Contains(c.Metadata.RedirectURIs, sent) {
		return true
	}
	if !c.native() {
		return false
	}
	s, ok := loopback(sent)
	if !ok {
		return false
	}
	for _, r := range c.Metadata.RedirectURIs {
		if reg, ok := loopback(r); ok && reg == s {
			return true
		}
	}
	return false
}

// loopback returns u with its port removed, if u is a plain http URL to a loopback host in its normal spelling.
func loopback(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || strings.Contains(raw, "#") || u.Opaque != "" {
		return "", false
	}
	host := u.Hostname()
	if host != "127.0.0.1" && host != "::1" && host != "localhost" {
		return "", false
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return "", false
		}
	}
	// The spelling must be the one the parser writes, so that two spellings of one URL never match each other by accident.
	want := "http://" + host
	if host == "::1" {
		want = "http://[::1]"
	}
	bare := want
	if port != "" {
		want = "http://" + net.JoinHostPort(host, port)
	}
	rest, ok := strings.CutPrefix(raw, want)
	if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' {
		return "", false
	}
	return bare + rest, true
}
