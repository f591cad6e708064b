package connectors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// This file holds what the connectors to upstreams of plain OAuth 2.0 (no ID Token) share.

// form posts a form with our credentials, as configured.
func (r *registered) form(ctx context.Context, endpoint string, form url.Values) (status int, header http.Header, body []byte, err error) {
	if r.auth != AuthBasic {
		form.Set("client_id", r.id)
	}
	if r.auth == AuthPost {
		form.Set("client_secret", r.secret)
	}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, nil, fail(Misconfigured, "%q is no address", endpoint)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if r.auth == AuthBasic {
		req.SetBasicAuth(url.QueryEscape(r.id), url.QueryEscape(r.secret)) // RFC 6749 §2.3.1: encoded first
	}
	return fetch(ctx, r.http, req)
}

// What a test sends where only a person could get the real thing.
const (
	trialToken    = "latchkey-connector-test"
	trialCode     = "latchkey-connector-test"
	trialVerifier = "latchkey-connector-test-latchkey-connector-test"
)

func settings(warnings []string) []Finding {
	var list []Finding
	for _, w := range warnings {
		list = append(list, Finding{What: "settings", OK: true, Text: "warning: " + w})
	}
	return list
}

// credentials reads what a token endpoint says to a code that nobody made: one that minds the code has taken our credentials. refusals are
// the codes with which it refuses them, beside RFC 6749's.
func credentials(err error, refusals ...string) Finding {
	f := Finding{What: "client credentials"}
	e, _ := errors.AsType[*Error](err)
	switch {
	case err == nil:
		f.Text = "the provider redeemed a code that nobody made"
		return f
	case e == nil || e.Code == "":
		f.Text = plain(err)
		return f
	case e.Kind == Invalid:
		f.OK, f.Text = true, "accepted: "+plain(err)
		return f
	}
	for _, code := range append(refusals, "invalid_client", "unauthorized_client") {
		if e.Code == code {
			f.Text = "refused: " + plain(err)
			return f
		}
	}
	f.OK, f.Text = e.Kind == Misconfigured, "not refused, but nothing more can be said: "+plain(err)
	return f
}

// origin is scheme and host of an address that checkURL admitted.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// plainAuthURL adds to p what every authorization request of plain OAuth 2.0 has. Without ID Tokens there is no nonce.
func plainAuthURL(endpoint, clientID string, pkce bool, a Attempt, p url.Values) (string, error) {
	if a.State == "" || a.RedirectURI == "" {
		return "", fail(Misconfigured, "an attempt without state or redirect address")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fail(Misconfigured, "the authorize URL %q is no address", endpoint)
	}
	q := u.Query() // RFC 6749 §3.1: what it brings stays
	for k, v := range p {
		q[k] = v
	}
	q.Set("response_type", "code")
	q.Set("client_id", clientID)
	q.Set("redirect_uri", a.RedirectURI)
	q.Set("state", a.State)
	if pkce {
		if len(a.Verifier) < 43 || len(a.Verifier) > 128 { // RFC 7636 §4.1
			return "", fail(Misconfigured, "a PKCE verifier of %d characters", len(a.Verifier))
		}
		q.Set("code_challenge", challenge(a.Verifier))
		q.Set("code_challenge_method", "S256")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// plainCallback is the code of a callback that names no other issuer than ours (RFC 9207 §2.4).
func plainCallback(callback url.Values, issuers ...string) (string, error) {
	code, err := callbackCode(callback)
	if err != nil {
		return "", err
	}
	if iss, sent := callback["iss"]; sent && !slices.Contains(issuers, iss[0]) {
		return "", fail(Invalid, "the callback is of %q and not of %s", clean(iss[0]), issuers[0])
	}
	return code, nil
}

// bearerCall sends a request without a body that an access token authorizes (RFC 6750 §2.1).
func bearerCall(ctx context.Context, c *http.Client, method, address, access string) (status int, header http.Header, body []byte, err error) {
	req, err := http.NewRequest(method, address, nil)
	if err != nil {
		return 0, nil, nil, fail(Misconfigured, "%q is no address", address)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+access)
	return fetch(ctx, c, req)
}

// apiError takes what an error body of one of the usual shapes says: RFC 6749's error, RFC 9457's problem, GitHub's message.
func apiError(kind Kind, status int, body []byte, secrets ...string) *Error {
	e := &Error{Kind: kind}
	c, err := readClaims(body)
	if err != nil {
		e.Code = fmt.Sprint(status)
		return e
	}
	e.Code = clean(cmp.Or(c.exact("error"), c.exact("title"), fmt.Sprint(status)), secrets...)
	e.Detail = clean(cmp.Or(c.exact("error_description"), c.exact("detail"), c.exact("message")), secrets...)
	return e
}

// picture is a claim with the address of an image, "" unless it is one that a page may show.
func (c claims) picture(path string) string {
	s := c.text(path)
	if checkURL(s) != nil || !strings.HasPrefix(s, "https:") {
		return ""
	}
	return s
}

// told are the facts of a profile at every depth, without members and values that are a secret.
func (c claims) told(secrets ...string) map[string]any {
	out, _ := withoutSecrets(map[string]any(c), secrets, 0).(map[string]any)
	return out
}

func withoutSecrets(v any, secrets []string, depth int) any {
	if depth > 16 {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, member := range v {
			if member = withoutSecrets(member, secrets, depth+1); member != nil && !slices.Contains(notFacts, k) {
				out[k] = member
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, member := range v {
			if member = withoutSecrets(member, secrets, depth+1); member != nil {
				out = append(out, member)
			}
		}
		return out
	case string:
		if slices.ContainsFunc(secrets, func(s string) bool { return s != "" && strings.Contains(v, s) }) {
			return nil
		}
		return v
	case json.Number, bool:
		return v
	}
	return nil
}
