package connectors

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// OIDCConfig describes any OpenID Connect provider: Auth0, Keycloak, Authentik, ZITADEL, Okta, GitLab and their like.
type OIDCConfig struct {
	Name string // the connector's id

	// Issuer is the address under which /.well-known/openid-configuration lies. What the document names as issuer, and what ID Tokens must
	// say, is the same to the letter, or IssuerAlias where a provider's document names another.
	Issuer, IssuerAlias string
	Endpoints           Endpoints // overrides; with authorization, token and JWKS set nothing is discovered

	ClientID, ClientSecret string
	ClientAuth             string     // AuthBasic, AuthPost, AuthKey or AuthNone; "" = basic with a secret, key with a key, else none
	ClientKey              *ClientKey // for AuthKey
	Algorithms             []string   // signatures taken on ID Tokens, none of them symmetric; nil = all asymmetric ones of RFC 7518 and EdDSA

	Scopes     []string          // nil = openid profile email; openid is always asked for
	NoPKCE     bool              // for providers that refuse it; it is never dropped by itself
	Prompt     string            // sent when the attempt wishes none
	ACRValues  []string          // likewise
	AuthParams map[string]string // further parameters of the authorization request (Auth0: organization)

	NoUserInfo bool // take the claims of the ID Token alone

	SubjectClaim    string     // the claim that is the person's key; "" = sub
	Claims          ClaimNames // where other facts stand
	LenientBooleans bool       // take "true", "1" and 1 for true in email_verified, as Amazon Cognito sends it

	// AssumeEmailVerified takes every address for verified. Whoever can type an address at the provider can then claim to own it here.
	AssumeEmailVerified bool

	KeepIDToken bool         // hand the ID Token out with the identity, for signing out at the provider
	HTTP        *http.Client // nil = a safe default
	Now         func() time.Time
}

// ClaimNames are the claims in which a provider says what an Identity holds; dots lead into objects, "" = the standard name of OpenID
// Connect Core §5.1.
type ClaimNames struct {
	Email, EmailVerified, Name, GivenName, FamilyName, Username, Picture, Locale string
}

func (n ClaimNames) withDefaults() ClaimNames {
	return ClaimNames{
		Email: cmp.Or(n.Email, "email"), EmailVerified: cmp.Or(n.EmailVerified, "email_verified"),
		Name: cmp.Or(n.Name, "name"), GivenName: cmp.Or(n.GivenName, "given_name"), FamilyName: cmp.Or(n.FamilyName, "family_name"),
		Username: cmp.Or(n.Username, "preferred_username"), Picture: cmp.Or(n.Picture, "picture"), Locale: cmp.Or(n.Locale, "locale"),
	}
}

// OIDC is a connector to an OpenID Connect provider.
type OIDC struct {
	cfg      OIDCConfig
	issuer   string   // what tokens say
	accepted []string // its spellings
	client   registered
	source   *source
}

// NewOIDC checks the configuration. It does not reach the network.
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	o, err := newOIDC(cfg)
	if err != nil {
		return nil, fmt.Errorf("connectors: %s: %w", cmp.Or(cfg.Name, "oidc"), err)
	}
	return o, nil
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Parameters that are never the operator's to set: they tie the answer to the attempt.
var ownParams = []string{
	"client_id", "client_secret", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"request", "request_uri", "prompt", "acr_values", "login_hint", "max_age",
}

func checkParams(p map[string]string) error {
	for k, v := range p {
		if slices.Contains(ownParams, k) {
			return fmt.Errorf("parameter %s cannot be set", k)
		}
		if k == "response_mode" && v != "query" && v != "form_post" {
			return fmt.Errorf("response_mode %q does not work: a fragment does not reach us, and of answers as JWTs we read none", v)
		}
	}
	return nil
}

func newOIDC(cfg OIDCConfig) (*OIDC, error) {
	if !nameForm.MatchString(cfg.Name) {
		return nil, fmt.Errorf("%q is no name for a connector", cfg.Name)
	}
	if err := checkURL(cfg.Issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	for what, address := range map[string]string{
		"authorization endpoint": cfg.Endpoints.Authorization, "token endpoint": cfg.Endpoints.Token, "userinfo endpoint": cfg.Endpoints.UserInfo,
		"JWKS": cfg.Endpoints.JWKS, "end session endpoint": cfg.Endpoints.EndSession,
	} {
		if address == "" {
			continue
		}
		if err := checkURL(address); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	if cfg.Algorithms == nil {
		cfg.Algorithms = signingAlgorithms
	}
	for _, a := range cfg.Algorithms {
		if !slices.Contains(signingAlgorithms, a) {
			return nil, fmt.Errorf("algorithm %q: none of %s", a, strings.Join(signingAlgorithms, ", "))
		}
	}
	if len(cfg.Algorithms) == 0 {
		return nil, errors.New("an empty list of algorithms")
	}
	if err := checkParams(cfg.AuthParams); err != nil {
		return nil, err
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(cfg.Scopes, "openid") {
		cfg.Scopes = append([]string{"openid"}, cfg.Scopes...)
	}
	switch {
	case cfg.ClientAuth != "":
	case cfg.ClientKey != nil:
		cfg.ClientAuth = AuthKey
	case cfg.ClientSecret != "":
		cfg.ClientAuth = AuthBasic
	default:
		cfg.ClientAuth = AuthNone
	}
	if cfg.ClientAuth == AuthNone && cfg.NoPKCE {
		return nil, errors.New("a client without a secret needs PKCE")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.SubjectClaim, cfg.Claims = cmp.Or(cfg.SubjectClaim, "sub"), cfg.Claims.withDefaults()
	o := &OIDC{
		cfg: cfg, issuer: cmp.Or(cfg.IssuerAlias, cfg.Issuer),
		client: registered{id: cfg.ClientID, secret: cfg.ClientSecret, auth: cfg.ClientAuth, key: cfg.ClientKey, http: newHTTP(cfg.HTTP), now: cfg.Now},
	}
	if err := o.client.check(); err != nil {
		return nil, err
	}
	o.accepted = []string{o.issuer}
	o.source = newSource(&o.client, wellKnown(cfg.Issuer), o.issuer, cfg.Endpoints, exactly(o.issuer))
	return o, nil
}

// Name is the connector's id.
func (o *OIDC) Name() string { return o.cfg.Name }

// Warnings are what an operator should be told about this configuration, loudly, at each start.
func (o *OIDC) Warnings() []string {
	var w []string
	if o.cfg.AssumeEmailVerified {
		w = append(w, "assume_email_verified is on: whoever can type an e-mail address at "+o.issuer+" can claim to own it here")
	}
	if o.cfg.NoPKCE {
		w = append(w, "PKCE is off: a code that is intercepted on its way here can be used by others")
	}
	if !strings.HasPrefix(o.cfg.Issuer, "https:") {
		w = append(w, "the issuer is not https")
	}
	return w
}

// AuthURL is where the browser goes.
func (o *OIDC) AuthURL(ctx context.Context, a Attempt) (string, error) {
	p := url.Values{}
	for k, v := range o.cfg.AuthParams {
		p.Set(k, v)
	}
	set(p, "prompt", cmp.Or(a.Prompt, o.cfg.Prompt))
	set(p, "login_hint", a.LoginHint)
	acr := a.ACRValues
	if len(acr) == 0 {
		acr = o.cfg.ACRValues
	}
	set(p, "acr_values", strings.Join(acr, " "))
	if a.MaxAge != nil {
		p.Set("max_age", strconv.FormatInt(int64(a.MaxAge.Seconds()), 10))
	}
	return o.authURL(ctx, a, p)
}

func set(p url.Values, name, value string) {
	if value != "" {
		p.Set(name, value)
	}
}

func (o *OIDC) authURL(ctx context.Context, a Attempt, p url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	m, err := o.source.doc.get(ctx)
	if err != nil {
		return "", err
	}
	return authURL(m.Authorization, &o.client, o.cfg.Scopes, !o.cfg.NoPKCE, a, p)
}

// authURL adds to p what every authorization request of ours has.
func authURL(endpoint string, c *registered, scopes []string, pkce bool, a Attempt, p url.Values) (string, error) {
	if a.State == "" || a.Nonce == "" || a.Verifier == "" || a.RedirectURI == "" {
		return "", fail(Misconfigured, "an attempt without state, nonce, verifier or redirect address")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fail(Misconfigured, "the authorization endpoint %q is no address", endpoint)
	}
	q := u.Query() // RFC 6749 §3.1: what it brings stays
	for k, v := range p {
		q[k] = v
	}
	q.Set("response_type", "code")
	q.Set("client_id", c.id)
	q.Set("redirect_uri", a.RedirectURI)
	q.Set("scope", strings.Join(scopes, " "))
	q.Set("state", a.State)
	q.Set("nonce", a.Nonce)
	if pkce {
		q.Set("code_challenge", challenge(a.Verifier))
		q.Set("code_challenge_method", "S256")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// challenge is RFC 7636 §4.2, S256.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return encode64(sum[:])
}

// Identify redeems a callback.
func (o *OIDC) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	t, c, err := o.identify(ctx, a, callback)
	if err != nil {
		return Identity{}, err
	}
	id, err := o.identity(c)
	if err == nil && o.cfg.KeepIDToken {
		id.IDToken = t.id
	}
	return id, err
}

// identity maps verified claims.
func (o *OIDC) identity(c claims) (Identity, error) {
	id, err := identityOf(c, o.cfg.Claims)
	if err != nil {
		return Identity{}, err
	}
	id.Connector, id.Issuer = o.cfg.Name, o.issuer
	if id.Subject, err = c.subject(o.cfg.SubjectClaim); err != nil {
		return Identity{}, fail(Invalid, "the person's key: %w", err)
	}
	if id.Email != "" {
		id.EmailTrust = TrustReported
		if o.cfg.AssumeEmailVerified || c.yes(o.cfg.Claims.EmailVerified, o.cfg.LenientBooleans) {
			id.EmailTrust = TrustVerified
		}
	}
	return id, nil
}

// identify is the part that providers share: from a callback to verified claims.
func (o *OIDC) identify(ctx context.Context, a Attempt, callback url.Values) (*tokens, claims, error) {
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	code, err := callbackCode(callback)
	if err != nil {
		return nil, nil, err
	}
	m, err := o.source.doc.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	// Before the code goes anywhere: it may be another provider's (RFC 9207 §2.4).
	if iss, sent := callback["iss"]; sent && iss[0] != o.issuer || !sent && m.sendsIss {
		return nil, nil, fail(Invalid, "the callback is not of %s", o.issuer)
	}
	t, err := o.redeem(ctx, m, code, a)
	if err != nil {
		return nil, nil, err
	}
	c, err := checkIDToken(ctx, t.id, o.source.keys, o.expect(a.Nonce, t.access))
	if err != nil {
		return nil, nil, err
	}
	if o.cfg.NoUserInfo || m.UserInfo == "" || t.access == "" {
		return t, c, nil
	}
	u, err := getJSON(ctx, o.client.http, m.UserInfo, t.access)
	if err != nil {
		return nil, nil, err
	}
	c, err = o.withUserInfo(c, u)
	return t, c, err
}

// withUserInfo puts to an ID Token's claims what userinfo adds.
func (o *OIDC) withUserInfo(token, info claims) (claims, error) {
	// OpenID Connect Core §5.3.2: or somebody else's claims could be substituted.
	if sub, ok := token["sub"].(string); !ok || info["sub"] != sub {
		return nil, fail(Invalid, "userinfo speaks of somebody else")
	}
	return merge(token, info, o.cfg.Claims), nil
}

func (o *OIDC) redeem(ctx context.Context, m *metadata, code string, a Attempt) (*tokens, error) {
	verifier := a.Verifier
	if o.cfg.NoPKCE {
		verifier = ""
	}
	t, err := o.client.redeem(ctx, m.Token, code, a.RedirectURI, verifier)
	if err == nil && t.id == "" {
		err = fail(Upstream, "the token endpoint sent no ID Token")
	}
	return t, err
}

func (o *OIDC) expect(nonce, access string) *expected {
	return &expected{
		issuers: o.accepted, clientID: o.client.id, nonce: nonce, access: access, algs: o.cfg.Algorithms, now: o.cfg.Now,
	}
}

// ofTokens are claims about the token and the sign-in: userinfo has no say in them.
var ofTokens = []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "acr", "amr", "auth_time", "sid"}

// merge adds to an ID Token's claims those that only userinfo has. An address and the word that it is verified stay together: the one
// source's word must not vouch for the other's address.
func merge(token, info claims, n ClaimNames) claims {
	out := claims{}
	for k, v := range info {
		if !slices.Contains(ofTokens, k) {
			out[k] = v
		}
	}
	for k, v := range token {
		out[k] = v
	}
	email, verified := n.Email, n.EmailVerified
	switch a, b := token.exact(email), info.exact(email); {
	case a == "" && b != "":
		out.take(info, email, verified)
	case a != "" && (b == "" || !strings.EqualFold(a, b)), a == "" && b == "":
		out.take(token, email, verified)
	}
	return out
}

// take makes the two claims those of from alone, however deep their paths lead.
func (c claims) take(from claims, names ...string) {
	for _, name := range names {
		top, _, _ := strings.Cut(name, ".")
		for _, k := range []string{name, top} {
			if v, ok := from[k]; ok {
				c[k] = v
			} else {
				delete(c, k)
			}
		}
	}
}

// identityOf takes over what every provider says in the same way. Trust in the address is the caller's to judge.
func identityOf(c claims, n ClaimNames) (Identity, error) {
	id := Identity{
		Email: c.address(n.Email), EmailTrust: TrustNone,
		Name: c.text(n.Name), GivenName: c.text(n.GivenName), FamilyName: c.text(n.FamilyName), Username: c.text(n.Username),
		PictureURL: c.picture(n.Picture), Locale: c.text(n.Locale),
		AMR: c.list("amr"), ACR: c.text("acr"), Claims: c.told(),
	}
	if sid := c.exact("sid"); isKey(sid, maxSID) {
		id.SID = sid
	}
	if t, ok := c.time("auth_time"); ok {
		id.AuthTime = t
	}
	if _, err := c.subject("sub"); err != nil {
		return Identity{}, fail(Invalid, "the ID Token: %w", err)
	}
	return id, nil
}
