package connectors

import (
	"context"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Ways in which we authenticate at a token endpoint. The way is always the operator's: trying one after the other sends the code twice, and
// codes are good for once.
const (
	AuthBasic = "basic" // client_secret_basic, RFC 6749 §2.3.1
	AuthPost  = "post"  // client_secret_post
	AuthNone  = "none"  // a public client: PKCE alone
)

// registered is what we are at an upstream.
type registered struct {
	id, secret string
	auth       string
	key        *ClientKey // for AuthKey
	http       *http.Client
	now        func() time.Time
}

func (r *registered) check() error {
	switch {
	case r.id == "":
		return fmt.Errorf("the client id is missing")
	case (r.auth == AuthNone || r.auth == AuthKey) && r.secret != "":
		return fmt.Errorf("there is a client secret, but client authentication is %s", r.auth)
	case (r.auth == AuthKey) != (r.key != nil):
		return fmt.Errorf("a client key goes with client authentication %s, and only with that", AuthKey)
	case r.auth == AuthKey:
		_, err := r.key.algorithm()
		return err
	case r.auth == AuthNone:
	case r.auth != AuthBasic && r.auth != AuthPost:
		return fmt.Errorf("client authentication %q is none of basic, post, key and none", r.auth)
	case r.secret == "":
		return fmt.Errorf("the client secret is missing")
	}
	return nil
}

// tokens are a token endpoint's good answer.
type tokens struct {
	access, id string
	all        claims
}

// callbackCode takes the code out of a callback: first the error, if that came instead (RFC 6749 §4.1.2.1).
func callbackCode(callback url.Values) (string, error) {
	for _, name := range []string{"code", "error", "iss", "state"} {
		if len(callback[name]) > 1 {
			return "", fail(Invalid, "%s comes twice", name)
		}
	}
	if code := callback.Get("error"); code != "" {
		return "", &Error{Kind: kindOfAuthorizeError(code), Code: clean(code), Detail: clean(callback.Get("error_description"))}
	}
	code := callback.Get("code")
	if code == "" || len(code) > 8<<10 {
		return "", fail(Invalid, "the callback has no code, or one too long")
	}
	return code, nil
}

func kindOfAuthorizeError(code string) Kind {
	switch code {
	case "server_error", "temporarily_unavailable":
		return Upstream
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_client", "invalid_request_object",
		"invalid_request_uri", "request_not_supported", "request_uri_not_supported", "registration_not_supported", "redirect_uri_mismatch":
		return Misconfigured
	}
	// access_denied and the *_required family; and what nobody knows: the upstream said no.
	return Denied
}

// kindOfTokenError classes an error of the token endpoint (RFC 6749 §5.2).
func kindOfTokenError(status int, code string) Kind {
	switch code {
	case "invalid_grant":
		return Invalid // the code was used, is too old, or is not ours
	case "interaction_required", "login_required", "consent_required", "access_denied":
		return Denied
	case "temporarily_unavailable", "server_error", "slow_down":
		return Upstream
	}
	if status >= 500 || status == http.StatusTooManyRequests || code == "" && status != http.StatusUnauthorized {
		return Upstream
	}
	return Misconfigured
}

// redeem exchanges a code for tokens. It sends the code once.
func (r *registered) redeem(ctx context.Context, endpoint, code, redirectURI, verifier string) (*tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}}
	if verifier != "" {
		form.Set("code_verifier", verifier) // RFC 7636 §4.5
	}
	return r.tokenCall(ctx, endpoint, form)
}

// secrets are those of more, and our own in each way in which we send it: none may come back in an upstream's words.
func (r *registered) secrets(more ...string) []string {
	return append(more, r.secret, base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(r.id)+":"+url.QueryEscape(r.secret))))
}

func (r *registered) tokenCall(ctx context.Context, endpoint string, form url.Values) (*tokens, error) {
	if r.auth != AuthBasic {
		form.Set("client_id", r.id)
	}
	switch r.auth {
	case AuthPost:
		form.Set("client_secret", r.secret)
	case AuthKey:
		if err := r.assert(form, endpoint); err != nil {
			return nil, fail(Misconfigured, "sign a client assertion: %w", err)
		}
	}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fail(Misconfigured, "the token endpoint %q is no address", endpoint)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if r.auth == AuthBasic {
		req.SetBasicAuth(url.QueryEscape(r.id), url.QueryEscape(r.secret)) // RFC 6749 §2.3.1: encoded first
	}
	status, header, body, err := fetch(ctx, r.http, req)
	if err != nil {
		return nil, err
	}
	secrets := r.secrets(form.Get("client_assertion"), form.Get("code"), form.Get("code_verifier"))
	c, jsonErr := readClaims(body)
	if status != http.StatusOK {
		e := &Error{Kind: kindOfTokenError(status, c.exact("error")), Code: clean(c.exact("error"), secrets...), Detail: clean(c.exact("error_description"), secrets...)}
		if e.Code == "" {
			e.Err = fmt.Errorf("the token endpoint answers %d", status)
		}
		return nil, e
	}
	if jsonErr != nil {
		return nil, fail(Upstream, "the token endpoint's answer, %q, is no JSON: %w", clean(header.Get("Content-Type")), jsonErr)
	}
	if c.exact("error") != "" { // some say 200 and mean 400
		return nil, &Error{Kind: kindOfTokenError(http.StatusBadRequest, c.exact("error")), Code: clean(c.exact("error"), secrets...), Detail: clean(c.exact("error_description"), secrets...)}
	}
	t := &tokens{access: c.exact("access_token"), id: c.exact("id_token"), all: c}
	if kind := c.exact("token_type"); t.access != "" && kind != "" && !strings.EqualFold(kind, "bearer") {
		return nil, fail(Upstream, "the access token's type is %q", clean(kind, secrets...))
	}
	return t, nil
}

// getJSON fetches a JSON object; bearer "" sends none.
func getJSON(ctx context.Context, c *http.Client, address, bearer string) (claims, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, fail(Misconfigured, "%q is no address", address)
	}
	req.Header.Set("Accept", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	status, header, body, err := fetch(ctx, c, req)
	if err != nil {
		return nil, err
	}
	at := req.URL.Host + req.URL.Path
	switch {
	case slices.Contains([]int{http.StatusNotFound, http.StatusGone, http.StatusUnauthorized, http.StatusForbidden}, status):
		return nil, fail(Misconfigured, "%s answers %d", at, status)
	case status != http.StatusOK:
		return nil, fail(Upstream, "%s answers %d", at, status)
	}
	// Key sets come as application/jwk-set+json, by the careless as text/plain: what counts is that the body is JSON.
	if media, _, _ := mime.ParseMediaType(header.Get("Content-Type")); media == "text/html" || media == "application/jwt" {
		return nil, fail(Upstream, "%s answers with %s instead of JSON", at, media)
	}
	out, err := readClaims(body)
	if err != nil {
		return nil, fail(Upstream, "%s: %w", at, err)
	}
	return out, nil
}
