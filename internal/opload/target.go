//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Target describes one OpenID provider under test. Every string of a login
// step or page may contain {name} placeholders; see Session.
type Target struct {
	Name      string            `json:"name"`
	Issuer    string            `json:"issuer"`
	Discovery string            `json:"discovery"` // default: issuer + /.well-known/openid-configuration
	Endpoints map[string]string `json:"endpoints"` // overrides of discovery fields, such as introspection_endpoint
	Via       map[string]string `json:"via"`       // public origin -> loopback origin, as a TLS proxy in front would do
	Headers   map[string]string `json:"headers"`   // sent with every request

	Client       Client  `json:"client"`        // authorization code, refresh, userinfo
	Machine      *Client `json:"machine"`       // client credentials; default: Client
	Introspector *Client `json:"introspector"`  // default: Client
	Introspect   string  `json:"introspect"`    // token to introspect: "user" (default) or "machine"
	Revoke       string  `json:"revoke"`        // token to revoke: "machine" (default) or "refresh"
	OfflineScope string  `json:"offline_scope"` // scope of the flow that obtains a refresh token; default: scope + offline_access

	Login []Step            `json:"login"` // played once per virtual user before its first flow
	Pages []Page            `json:"pages"` // what to do when a flow reaches a login or consent page
	Skip  map[string]string `json:"skip"`  // workload -> why the provider cannot run it

	patterns map[string]*regexp.Regexp // the compiled Extract rules
}

// Client is one registered OAuth 2.0 client.
type Client struct {
	ID          string            `json:"id"`
	Secret      string            `json:"secret"`
	Auth        string            `json:"auth"` // client_secret_basic (default), client_secret_post, bearer or none
	RedirectURI string            `json:"redirect_uri"`
	Scope       string            `json:"scope"`
	Params      map[string]string `json:"params"`       // extra authorization request parameters
	TokenParams map[string]string `json:"token_params"` // extra token request parameters, such as audience
}

// Page is an interactive stop in a flow. When the next URL of a flow matches,
// the steps are played instead of fetching it; the flow goes on at the
// variable "next" if a step extracted it, else at the last Location header.
type Page struct {
	Match string `json:"match"` // regular expression; named groups become variables
	Steps []Step `json:"steps"`

	re *regexp.Regexp
}

// Step is one HTTP request. It passes when the status is Expect (default: any
// below 400).
type Step struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"` // {url} is the URL that matched the page
	Form    map[string]string `json:"form"`
	JSON    json.RawMessage   `json:"json"`
	Headers map[string]string `json:"headers"`
	Expect  int               `json:"expect"`
	Extract map[string]string `json:"extract"` // variable -> "$.json.path", or a regexp with one group over Location and body
}

// metadata is the part of the discovery document that the workloads use.
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	JWKS          string `json:"jwks_uri"`
	Userinfo      string `json:"userinfo_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
}

func loadTarget(path string) (*Target, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := new(Target)
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, t.init()
}

func (t *Target) init() error {
	if t.Discovery == "" {
		t.Discovery = strings.TrimSuffix(t.Issuer, "/") + "/.well-known/openid-configuration"
	}
	if t.Machine == nil {
		t.Machine = &t.Client
	}
	if t.Introspector == nil {
		t.Introspector = &t.Client
	}
	if t.OfflineScope == "" {
		t.OfflineScope = t.Client.Scope + " offline_access"
	}
	steps := t.Login
	for i := range t.Pages {
		re, err := regexp.Compile(t.Pages[i].Match)
		if err != nil {
			return err
		}
		t.Pages[i].re = re
		steps = slices.Concat(steps, t.Pages[i].Steps)
	}
	t.patterns = map[string]*regexp.Regexp{}
	for _, st := range steps {
		for _, rule := range st.Extract {
			if strings.HasPrefix(rule, "$.") {
				continue
			}
			re, err := regexp.Compile(rule)
			if err != nil || re.NumSubexp() < 1 {
				return fmt.Errorf("extract rule %q: want a regular expression with one group: %v", rule, err)
			}
			t.patterns[rule] = re
		}
	}
	return nil
}

// parseMetadata reads a discovery document and applies the overrides.
func (t *Target) parseMetadata(doc []byte) (*metadata, error) {
	var m metadata
	if err := json.Unmarshal(doc, &m); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if m.Issuer != t.Issuer {
		return nil, fmt.Errorf("discovery: issuer is %q, not %q", m.Issuer, t.Issuer)
	}
	if t.Endpoints != nil {
		over, _ := json.Marshal(t.Endpoints)
		if err := json.Unmarshal(over, &m); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// page returns the page that u stops at and the variables its pattern captured.
func (t *Target) page(u string) (*Page, map[string]string) {
	for i := range t.Pages {
		p := &t.Pages[i]
		m := p.re.FindStringSubmatch(u)
		if m == nil {
			continue
		}
		vars := map[string]string{"url": u}
		for j, name := range p.re.SubexpNames() {
			if name != "" {
				if v, err := url.QueryUnescape(m[j]); err == nil {
					vars[name] = v
				}
			}
		}
		return p, vars
	}
	return nil, nil
}
