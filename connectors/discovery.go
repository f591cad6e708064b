package connectors

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// wellKnown is where an issuer's metadata lies (OpenID Connect Discovery §4).
func wellKnown(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

// Endpoints are addresses of an upstream. What is set here counts instead of what its discovery document says.
type Endpoints struct {
	Authorization, Token, UserInfo, JWKS, EndSession string
}

// metadata is what we use of a discovery document (OpenID Connect Discovery §3).
type metadata struct {
	issuer string
	Endpoints
	pkce, auth, algs, scopes []string
	sendsIss                 bool // RFC 9207 §3
}

// source is one issuer: its metadata and its keys, both lazy.
type source struct {
	doc  *cached[*metadata]
	keys *keySet
}

// newSource describes the issuer whose document lies at address. accept says which issuer the document may name. With all necessary
// addresses in over, there is nothing to discover, and issuer is what the document would name.
func newSource(c *registered, address, issuer string, over Endpoints, accept func(issuer string) error) *source {
	s := &source{doc: &cached[*metadata]{now: c.now}}
	s.doc.load = func(ctx context.Context) (*metadata, error) {
		if over.Authorization != "" && over.Token != "" && over.JWKS != "" {
			return &metadata{issuer: issuer, Endpoints: over}, nil
		}
		doc, err := getJSON(ctx, c.http, address, "")
		if err != nil {
			return nil, err
		}
		return readMetadata(doc, address, over, accept)
	}
	s.keys = newKeySet(c, func(ctx context.Context) (string, error) {
		m, err := s.doc.get(ctx)
		if err != nil {
			return "", err
		}
		return m.JWKS, nil
	})
	return s
}

// readMetadata reads the document that lay at address, which is the operator's. Its own addresses are the upstream's word: they lead into
// this machine or its network only if the operator's does (security.md D1).
func readMetadata(doc claims, address string, over Endpoints, accept func(issuer string) error) (*metadata, error) {
	m := &metadata{
		issuer: doc.exact("issuer"),
		pkce:   doc.list("code_challenge_methods_supported"),
		auth:   doc.list("token_endpoint_auth_methods_supported"),
		algs:   doc.list("id_token_signing_alg_values_supported"),
		scopes: doc.list("scopes_supported"), sendsIss: doc.yes("authorization_response_iss_parameter_supported", false),
	}
	if m.issuer == "" {
		return nil, fail(Upstream, "the discovery document names no issuer")
	}
	if err := accept(m.issuer); err != nil {
		return nil, &Error{Kind: Misconfigured, Err: err}
	}
	home, err := url.Parse(address)
	if err != nil {
		return nil, fail(Misconfigured, "%q is not an address", address)
	}
	for _, e := range []struct {
		to       *string
		override string
		name     string
		needed   bool
	}{
		{&m.Authorization, over.Authorization, "authorization_endpoint", true},
		{&m.Token, over.Token, "token_endpoint", true},
		{&m.JWKS, over.JWKS, "jwks_uri", true},
		{&m.UserInfo, over.UserInfo, "userinfo_endpoint", false},
		{&m.EndSession, over.EndSession, "end_session_endpoint", false},
	} {
		*e.to = e.override
		if *e.to == "" {
			*e.to = doc.exact(e.name)
		}
		if *e.to == "" && !e.needed {
			continue
		}
		if err := checkURL(*e.to); err != nil {
			return nil, fail(Upstream, "the discovery document's %s: %w", e.name, err)
		}
		if e.override == "" && inside(hostOf(*e.to)) && !inside(home.Hostname()) {
			return nil, fail(Upstream, "the discovery document's %s, %q, is inside the network", e.name, clean(*e.to))
		}
	}
	return m, nil
}

// exactly accepts one issuer, to the letter (OpenID Connect Discovery §4.3).
func exactly(want string) func(string) error {
	return func(got string) error {
		if got != want {
			return fmt.Errorf("the discovery document names the issuer %q, not %q", clean(got), want)
		}
		return nil
	}
}
