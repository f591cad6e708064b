package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/privilege"
)

var (
	connectorTypes = []string{typeGoogle, typeAzure, typeFacebook, typeTwitter, typeOIDC, typeOAuth2}
	connectorID    = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	mailDomain     = regexp.MustCompile(`^([\pL\pN]([\pL\pN-]{0,61}[\pL\pN])?\.)+[\pL\pN-]{2,63}$`)
)

// connectorKeys are the keys that only some types have. A key that does nothing would be a wish unheard.
var connectorKeys = map[string][]string{
	"client_key_file": {typeAzure, typeOIDC}, "client_key_id": {typeAzure, typeOIDC},
	"token_endpoint_auth_method": {typeGoogle, typeAzure, typeOIDC, typeOAuth2},
	"pkce":                       {typeFacebook, typeOIDC, typeOAuth2}, "prompt": {typeGoogle, typeAzure, typeOIDC},
	"acr_values": {typeOIDC}, "params": {typeOIDC, typeOAuth2}, "trust_mfa": {typeOIDC},
	"logout": {typeAzure, typeOIDC}, "revoke_on_unlink": {typeFacebook, typeTwitter, typeOAuth2},
	"hosted_domains": {typeGoogle},
	"tenant":         {typeAzure}, "allowed_tenants": {typeAzure}, "trust_tenant_email": {typeAzure}, "authority": {typeAzure},
	"graph_version": {typeFacebook}, "profile_fields": {typeFacebook}, "web_url": {typeFacebook}, "api_url": {typeFacebook, typeTwitter},
	"issuer": {typeGoogle, typeAzure, typeOIDC, typeOAuth2}, "issuer_alias": {typeOIDC},
	"authorization_url": {typeTwitter, typeOIDC, typeOAuth2}, "token_url": {typeOIDC, typeOAuth2}, "userinfo_url": {typeOIDC, typeOAuth2},
	"jwks_url": {typeOIDC}, "end_session_url": {typeOIDC}, "revocation_url": {typeOAuth2}, "algorithms": {typeOIDC}, "userinfo": {typeOIDC},
	"subject_claim": {typeOIDC, typeOAuth2}, "claims": {typeOIDC, typeOAuth2}, "email_list": {typeOAuth2},
	"lenient_booleans": {typeOIDC, typeOAuth2}, "assume_email_verified": {typeOIDC, typeOAuth2},
}

// has says whether a key means anything for the connector's type.
func (c *Connector) has(key string) bool {
	types, some := connectorKeys[key]
	return !some || slices.Contains(types, c.Kind())
}

func (r *reader) checkConnectors(known map[string]bool) {
	first := map[string]int{}
	for i := range r.cfg.Connectors {
		c, path := &r.cfg.Connectors[i], item("connectors", i)
		before, id := len(r.problems), join(path, "id")
		switch j, twice := first[c.ID]; {
		case c.ID == "":
			r.problem(id, "is missing")
		case !connectorID.MatchString(c.ID) || reservedConnector(c.ID):
			r.problem(id, "%s must be a small letter and at most 31 of a-z 0-9 _ -, and none of password, email_code, phone and passkey", r.show(id, c.ID))
		case twice:
			r.problem(id, "%s is taken by connectors[%d]", r.show(id, c.ID), j)
		default:
			first[c.ID] = i
		}
		r.checkConnector(c, path, known)
		if len(r.problems) == before && !r.spoiltIn(path) {
			r.checkMade(c, path)
		}
	}
}

func (r *reader) checkConnector(c *Connector, path string, known map[string]bool) {
	at := func(key string) string { return join(path, key) }
	if c.Kind() == "" {
		r.problem(at("type"), "is missing; it can be %s", oneOf(connectorTypes))
		return
	}
	if !slices.Contains(connectorTypes, c.Kind()) {
		r.choice(at("type"), c.Type, connectorTypes...)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(connectorKeys)) {
		if _, given := r.places[at(key)]; given && !c.has(key) {
			r.problem(at(key), "is of no use with type %s; it belongs to %s", c.Kind(), oneOf(connectorKeys[key]))
		}
	}
	r.text(at("label"), c.Label, 0, 40)
	r.optional(at("icon"), c.Icon, "google", "microsoft", "facebook", "x", "openid", "key")
	r.optional(at("token_endpoint_auth_method"), c.ClientAuth, slices.Sorted(maps.Keys(authMethods))[1:]...)
	r.optional(at("prompt"), c.Prompt, "login", "select_account", "consent")
	r.choice(at("registration"), c.Registration, "open", "approval", "invite", "closed")
	r.choice(at("link"), c.Link, "prove", "verified", "authoritative", "never")
	if c.Kind() == typeAzure { // security.md E1: raising it here would be nOAuth for whoever owns a tenant
		r.optional(at("email_trust"), c.EmailTrust, "reported")
	} else {
		r.optional(at("email_trust"), c.EmailTrust, "reported", "verified", "authoritative")
	}
	if c.EmailTrust == "verified" || c.EmailTrust == "authoritative" {
		r.warn(at("email_trust"), "believes every address that comes this way, whatever the provider says of it: whoever can type one there can claim to own it here")
	}
	r.checkDomains(at("domains"), c.Domains)
	r.checkConnectorAddresses(c, path)
	r.checkConnectorSecret(c, path)
	r.checkClaimRules(c, path, known)
}

// checkMade leaves what is left to the connector itself, so that there is one set of rules.
func (r *reader) checkMade(c *Connector, path string) {
	made, err := c.New(nil, time.Now)
	if err != nil {
		r.problem(path, "%s", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "connectors: "), c.ID+": "))
		return
	}
	if w, ok := made.(interface{ Warnings() []string }); ok {
		for _, text := range w.Warnings() {
			r.warn(path, "%s", text)
		}
	}
	if !c.AllowAdmins && !c.TrustMFA {
		graph, err := privilege.NewGraph(r.definitions())
		powers, _, powersErr := privilege.NewPowers(r.cfg.Permissions, nil)
		for i, rule := range c.Privileges {
			if err == nil && powersErr == nil && powers.Administers(graph.Closure(rule.Privilege)) {
				r.warn(item(join(path, "privileges"), i), "gives nothing: %s brings power over other people, which comes this way only with trust_mfa or allow_admins", rule.Privilege)
			}
		}
	}
}

// checkConnectorAddresses demands https beyond this machine.
func (r *reader) checkConnectorAddresses(c *Connector, path string) {
	needed := map[string][]string{typeOIDC: {"issuer"}, typeOAuth2: {"authorization_url", "token_url", "userinfo_url"}}[c.Kind()]
	for _, a := range []struct{ key, value string }{
		{"issuer", c.Issuer}, {"authority", c.Authority}, {"authorization_url", c.AuthorizationURL}, {"token_url", c.TokenURL},
		{"userinfo_url", c.UserInfoURL}, {"jwks_url", c.JWKSURL}, {"end_session_url", c.EndSessionURL}, {"revocation_url", c.RevocationURL},
		{"web_url", c.WebURL}, {"api_url", c.APIURL}, {"email_list.url", c.EmailList.URL},
	} {
		p := join(path, a.key)
		if a.value == "" && slices.Contains(needed, a.key) {
			r.problem(p, "is missing; type %s needs it", c.Kind())
		}
		r.webAddress(p, a.value)
	}
}

// webAddress demands https beyond this machine; "" is none.
func (r *reader) webAddress(path, got string) {
	u, err := url.Parse(got)
	switch {
	case got == "":
	case err != nil || !ascii(got) || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		r.problem(path, "%s is not an https address", r.show(path, got))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.problem(path, "%s is http, which is for this machine only", r.show(path, got))
	}
}

// spoiltIn says whether something at or below path could not be read.
func (r *reader) spoiltIn(path string) bool {
	for p := range r.spoilt {
		if p == path || strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

// checkDomains demands domains of mail addresses, each once.
func (r *reader) checkDomains(path string, list []string) {
	r.list(path, list, func(p, d string) {
		if !mailDomain.MatchString(d) {
			r.problem(p, "%s is not a domain such as example.com", r.show(p, d))
		}
	})
}

// optional is choice for a key that may be left out.
func (r *reader) optional(path, got string, allowed ...string) {
	if got != "" {
		r.choice(path, got, allowed...)
	}
}

func (r *reader) checkConnectorSecret(c *Connector, path string) {
	at := func(key string) string { return join(path, key) }
	if c.ClientID == "" {
		r.problem(at("client_id"), "is missing: what the provider calls the application you registered there")
	}
	var given []string
	for _, k := range []string{"client_secret", "client_secret_file", "client_key_file"} {
		if _, ok := r.places[at(k)]; ok {
			given = append(given, k)
		}
	}
	if len(given) > 1 {
		r.problem(at(given[1]), "is given beside %s; want one of them", given[0])
		return
	}
	if c.ClientSecretFile != "" {
		if text, ok := r.secretFile(at("client_secret_file"), c.ClientSecretFile); ok {
			c.ClientSecret = NewSecret(text)
		}
	}
	if c.ClientKeyFile != "" {
		if text, ok := r.secretFile(at("client_key_file"), c.ClientKeyFile); ok {
			key, err := clientKey([]byte(text), c.ClientKeyID)
			if err != nil {
				r.problem(at("client_key_file"), "%s %v", r.show(at("client_key_file"), c.ClientKeyFile), err)
			}
			c.key = key
		}
	}
	if c.ClientKeyID != "" && c.ClientKeyFile == "" {
		r.problem(at("client_key_id"), "is of no use without client_key_file")
	}
	if s := c.ClientSecret.Reveal(); !ascii(s) {
		r.problem(at("client_secret"), "has a character that is not visible ASCII") // RFC 6749 appendix A.2
	}
}

// clientKey reads a PEM file with a private key and perhaps its certificate. Its errors go on after the file's name.
func clientKey(text []byte, id string) (*connectors.ClientKey, error) {
	k := &connectors.ClientKey{ID: id}
	for block, rest := pem.Decode(bytes.TrimSpace(text)); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "CERTIFICATE":
			if k.Certificate == nil { // the first is the key's own
				k.Certificate, err = x509.ParseCertificate(block.Bytes)
			}
		case "PRIVATE KEY":
			k.Private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			k.Private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			k.Private, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("is encrypted; store it without a password, readable by the server alone")
		}
		if err != nil {
			return nil, errors.New("has a " + block.Type + " that cannot be read")
		}
	}
	if k.Private == nil {
		return nil, errors.New("holds no private key in PEM")
	}
	return k, nil
}

func (r *reader) checkClaimRules(c *Connector, path string, known map[string]bool) {
	names := slices.Sorted(maps.Keys(known))
	for i, rule := range c.Privileges {
		p := item(join(path, "privileges"), i)
		if rule.Claim == "" {
			r.problem(join(p, "claim"), "is missing")
		}
		if rule.Match == "" {
			r.problem(join(p, "match"), `is missing; "*" is any value`)
		}
		at := join(p, "privilege")
		near, close := nearest(rule.Privilege, names)
		switch {
		case rule.Privilege == "":
			r.problem(at, "is missing")
		case known[rule.Privilege]:
		case close:
			r.problem(at, "unknown privilege %s; did you mean %s?", r.show(at, rule.Privilege), near)
		default:
			r.problem(at, "unknown privilege %s", r.show(at, rule.Privilege))
		}
	}
}

// checkClientConnectors judges what a client says about ways to sign in.
func (r *reader) checkClientConnectors(c *Client, path string) {
	ids := []string{"password", "email_code"}
	if r.cfg.Login.Phone.Enabled {
		ids = append(ids, "phone")
	}
	if r.cfg.PasskeysOn() {
		ids = append(ids, "passkey")
	}
	for _, k := range r.cfg.Connectors {
		ids = append(ids, k.ID)
	}
	exists := func(p, id string) {
		near, close := nearest(id, ids)
		switch {
		case slices.Contains(ids, id):
		case close:
			r.problem(p, "%s is no connector; did you mean %s?", r.show(p, id), near)
		default:
			r.problem(p, "%s is no connector of this file, and none of password, email_code, phone (if login.phone is on) and passkey (if passkeys are)", r.show(p, id))
		}
	}
	r.list(join(path, "connectors"), c.Connectors, exists)
	r.optional(join(path, "registration"), c.Registration, "open", "approval", "invite", "closed")
	r.optional(join(path, "require_acr"), c.RequireACR, "2", "phr", "phrh")
	at := join(path, "default_connector")
	switch {
	case c.DefaultConnector == "":
	case reservedConnector(c.DefaultConnector):
		r.problem(at, "is %s, which has no page to go on to; leave it out", c.DefaultConnector)
	case len(c.Connectors) > 0 && !slices.Contains(c.Connectors, c.DefaultConnector):
		r.problem(at, "%s is not among the client's connectors", r.show(at, c.DefaultConnector))
	default:
		exists(at, c.DefaultConnector)
	}
}
