package testidp

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey-idp/latchkey/store"
)

// RP is a real relying party: go-oidc and x/oauth2, with state, PKCE, nonce and iss. It has no server; the browser brings it the
// answer.
type RP struct {
	t            testing.TB
	idp          *IDP
	ID, Secret   string
	AuthMethod   string // client_secret_basic, client_secret_post or none
	RedirectURI  string
	DefaultScope string
	Assert       func(form url.Values) // adds what proves the client instead; nil = by AuthMethod

	discover func() *oidc.Provider
}

// Attempt is a sign-in under way.
type Attempt struct {
	URL                    string // where to send the browser
	State, Nonce, Verifier string
}

// Tokens are a successful answer of the token endpoint, checked.
type Tokens struct {
	*oauth2.Token
	IDToken *oidc.IDToken  // nil when none came
	RawID   string         // the same as text
	Claims  map[string]any // of the ID token
	Scope   string
}

// RP registers a client and returns its relying party. Redirect URI and name are filled in where they are missing.
func (i *IDP) RP(m store.ClientMetadata) *RP {
	i.t.Helper()
	if m.Name == "" {
		m.Name = "Test application"
	}
	if len(m.RedirectURIs) == 0 {
		m.RedirectURIs = []string{"https://rp.example/callback"}
	}
	id, secret := i.Client(m)
	return i.RPOf(id, secret, m)
}

// RPOf is the relying party of a client that is registered already.
func (i *IDP) RPOf(id, secret string, m store.ClientMetadata) *RP {
	r := &RP{t: i.t, idp: i, ID: id, Secret: secret, AuthMethod: m.TokenEndpointAuth, DefaultScope: m.Scope, RedirectURI: m.RedirectURIs[0]}
	if r.AuthMethod == "" {
		r.AuthMethod = "client_secret_basic"
	}
	if r.DefaultScope == "" {
		r.DefaultScope = "openid profile email"
	}
	r.discover = sync.OnceValue(func() *oidc.Provider {
		p, err := oidc.NewProvider(r.ctx(), i.Issuer)
		if err != nil {
			i.t.Fatal(err)
		}
		return p
	})
	return r
}

func (r *RP) ctx() context.Context {
	return oidc.ClientContext(context.Background(), &http.Client{Transport: r.idp.Transport})
}

// Provider is what discovery found.
func (r *RP) Provider() *oidc.Provider { return r.discover() }

// OAuth is the x/oauth2 configuration of this client.
func (r *RP) OAuth() *oauth2.Config {
	e := r.discover().Endpoint()
	e.AuthStyle = oauth2.AuthStyleInHeader
	if r.AuthMethod != "client_secret_basic" {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: r.ID, ClientSecret: r.Secret, Endpoint: e, RedirectURL: r.RedirectURI, Scopes: strings.Fields(r.DefaultScope),
	}
}

// Start begins a sign-in. more are further parameters in pairs, which replace the usual ones; an empty value leaves one out.
func (r *RP) Start(more ...string) Attempt {
	r.t.Helper()
	a := Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	u, err := url.Parse(r.OAuth().AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)))
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	for n := 0; n+1 < len(more); n += 2 {
		if more[n+1] == "" {
			q.Del(more[n])
			continue
		}
		q.Set(more[n], more[n+1])
	}
	u.RawQuery = q.Encode()
	a.URL = u.String()
	return a
}

// Answer checks what came back to the redirect URI and returns its parameters.
func (r *RP) Answer(a Attempt, at *url.URL) (url.Values, error) {
	if !strings.HasPrefix(at.String(), r.RedirectURI) {
		return nil, fmt.Errorf("the journey ended at %s", at)
	}
	q := at.Query()
	if len(q) == 0 {
		q, _ = url.ParseQuery(at.Fragment) // what is no query has no state either
	}
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.State)) != 1 {
		return nil, errors.New("wrong state")
	}
	if q.Get("iss") != r.idp.Issuer { // RFC 9207
		return nil, fmt.Errorf("wrong iss %q", q.Get("iss"))
	}
	return q, nil
}

// Code returns the code that came back, failing the test unless there is one.
func (r *RP) Code(a Attempt, at *url.URL) string {
	r.t.Helper()
	q, err := r.Answer(a, at)
	if err != nil {
		r.t.Fatal(err)
	}
	if q.Get("code") == "" {
		r.t.Fatalf("no code but %s: %s", q.Get("error"), q.Get("error_description"))
	}
	return q.Get("code")
}

// Error returns the error that came back, failing the test unless there is one.
func (r *RP) Error(a Attempt, at *url.URL) string {
	r.t.Helper()
	q, err := r.Answer(a, at)
	if err != nil {
		r.t.Fatal(err)
	}
	if q.Get("error") == "" || q.Has("code") {
		r.t.Fatalf("want an error, got %v", q)
	}
	return q.Get("error")
}

// Finish turns the answer at the redirect URI into tokens and checks them as a relying party must.
func (r *RP) Finish(a Attempt, at *url.URL) *Tokens {
	r.t.Helper()
	tok, err := r.OAuth().Exchange(r.ctx(), r.Code(a, at), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := r.check(tok, a.Nonce)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// Refresh uses the refresh token once.
func (r *RP) Refresh(old *Tokens) (*Tokens, error) {
	tok, err := r.OAuth().TokenSource(r.ctx(), &oauth2.Token{RefreshToken: old.RefreshToken}).Token()
	if err != nil {
		return nil, err
	}
	return r.check(tok, "")
}

// Verifier checks ID tokens of this client.
func (r *RP) Verifier() *oidc.IDTokenVerifier {
	return r.discover().VerifierContext(r.ctx(), &oidc.Config{ClientID: r.ID, Now: r.idp.Now})
}

func (r *RP) check(tok *oauth2.Token, nonce string) (*Tokens, error) {
	out := &Tokens{Token: tok}
	out.Scope, _ = tok.Extra("scope").(string)
	out.RawID, _ = tok.Extra("id_token").(string)
	if out.RawID == "" {
		return out, nil
	}
	id, err := r.Verifier().Verify(r.ctx(), out.RawID)
	if err != nil {
		return nil, err
	}
	if nonce != "" && id.Nonce != nonce {
		return nil, fmt.Errorf("wrong nonce %q", id.Nonce)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tok.AccessToken); err != nil {
			return nil, err
		}
	}
	out.IDToken = id
	return out, id.Claims(&out.Claims)
}

// UserInfo asks with the access token; status 200 has claims.
func (r *RP) UserInfo(accessToken string) (status int, claims map[string]any) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.discover().UserInfoEndpoint(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	res := r.do(req)
	return res.Status, res.JSON
}

// Response is a raw answer of an endpoint.
type Response struct {
	Status int
	Header http.Header
	Body   string
	JSON   map[string]any // nil unless it is a JSON object
}

// ErrorCode is the OAuth error of the answer, "" if none.
func (r Response) ErrorCode() string {
	s, _ := r.JSON["error"].(string)
	return s
}

// String returns a member that is a string.
func (r Response) String(name string) string {
	s, _ := r.JSON[name].(string)
	return s
}

// Token sends a token request authenticated as this client, for tests of what must not work.
func (r *RP) Token(form url.Values) Response {
	r.t.Helper()
	return r.Post(r.discover().Endpoint().TokenURL, form)
}

// Redeem sends the code of an answer with its verifier.
func (r *RP) Redeem(code, verifier string) Response {
	r.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {r.RedirectURI}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	return r.Token(form)
}

// Introspect asks about a token.
func (r *RP) Introspect(token string) Response {
	r.t.Helper()
	return r.Post(r.endpoint("introspection_endpoint"), url.Values{"token": {token}})
}

// Revoke gives a token back.
func (r *RP) Revoke(token string) Response {
	r.t.Helper()
	return r.Post(r.endpoint("revocation_endpoint"), url.Values{"token": {token}})
}

// LogoutURL is an RP-initiated sign-out; more are parameters in pairs.
func (r *RP) LogoutURL(more ...string) string {
	r.t.Helper()
	q := url.Values{}
	for n := 0; n+1 < len(more); n += 2 {
		q.Set(more[n], more[n+1])
	}
	return r.endpoint("end_session_endpoint") + "?" + q.Encode()
}

// PostAs sends a form to the token endpoint as it is: it proves its client, or does not.
func (r *RP) PostAs(form url.Values) Response {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.discover().Endpoint().TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.do(req)
}

// Post sends a form authenticated by the client's method.
func (r *RP) Post(endpoint string, form url.Values) Response {
	r.t.Helper()
	sent := url.Values{}
	for k, v := range form {
		sent[k] = v
	}
	if r.Assert != nil {
		r.Assert(sent)
	}
	switch r.AuthMethod {
	case "client_secret_post":
		sent.Set("client_secret", r.Secret)
		fallthrough
	case "none":
		sent.Set("client_id", r.ID)
	}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(sent.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.AuthMethod == "client_secret_basic" {
		req.SetBasicAuth(url.QueryEscape(r.ID), url.QueryEscape(r.Secret)) // RFC 6749 §2.3.1
	}
	return r.do(req)
}

// Metadata is the discovery document.
func (r *RP) Metadata() map[string]any {
	r.t.Helper()
	var doc map[string]any
	if err := r.discover().Claims(&doc); err != nil {
		r.t.Fatal(err)
	}
	return doc
}

func (r *RP) endpoint(name string) string {
	r.t.Helper()
	u, _ := r.Metadata()[name].(string)
	if u == "" {
		r.t.Fatalf("discovery names no %s", name)
	}
	return u
}

func (r *RP) do(req *http.Request) Response {
	r.t.Helper()
	res, err := r.idp.Transport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	out := Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	if json.Unmarshal(body, &out.JSON) != nil {
		out.JSON = nil
	}
	return out
}
