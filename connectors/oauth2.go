package connectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// OAuth2Config describes any provider of plain OAuth 2.0 (RFC 6749) that tells who somebody is at an address of its own: GitHub, miniOrange
// and their like. There is no ID Token; what vouches for the person is TLS and the code that only we can redeem.
type OAuth2Config struct {
	Name string // the connector's id

	AuthorizeURL, TokenURL, UserInfoURL string
	RevokeURL                           string // RFC 7009, "" = none
	// Issuer makes the provider's subjects unique and is compared with iss on the callback, if that comes; "" = the origin of AuthorizeURL.
	// Changing it later takes everybody's link away.
	Issuer string

	ClientID, ClientSecret string
	ClientAuth             string // AuthBasic, AuthPost or AuthNone; to be named whenever there is a secret

	Scopes     []string
	NoPKCE     bool              // for providers that refuse it; it is never dropped by itself
	AuthParams map[string]string // further parameters of the authorization request

	// SubjectField is the member of the profile that is the person's key; "" = sub. It must be one that never changes and is never given
	// away: not a user name, not an address.
	SubjectField    string
	Fields          ClaimNames // where other facts stand, as in OIDCConfig
	LenientBooleans bool       // take "true", "1" and 1 for true
	Emails          EmailList  // when the provider tells addresses elsewhere; then the profile's address does not count

	// AssumeEmailVerified takes every address for verified. Whoever can type an address at the provider can then claim to own it here.
	AssumeEmailVerified bool

	KeepAccessToken bool         // hand the access token out with the identity, for RevokeURL
	HTTP            *http.Client // nil = a safe default
}

// EmailList is an address where a provider lists a person's e-mail addresses, such as https://api.github.com/user/emails: an array of
// objects.
type EmailList struct {
	URL                        string // "" = there is none
	List                       string // the array's path; "" = the whole answer is the array
	Address, Primary, Verified string // members of an entry; "" = email, primary, verified
}

// OAuth2 is a connector to a provider of plain OAuth 2.0.
type OAuth2 struct {
	cfg    OAuth2Config
	issuer string
	client registered
}

// NewOAuth2 checks the configuration. It does not reach the network.
func NewOAuth2(cfg OAuth2Config) (*OAuth2, error) {
	o, err := newOAuth2(cfg)
	if err != nil {
		return nil, fmt.Errorf("connectors: %s: %w", cmp.Or(cfg.Name, "oauth2"), err)
	}
	return o, nil
}

func newOAuth2(cfg OAuth2Config) (*OAuth2, error) {
	if !nameForm.MatchString(cfg.Name) {
		return nil, fmt.Errorf("%q is no name for a connector", cfg.Name)
	}
	for _, a := range []struct{ what, address string }{
		{"authorize URL", cfg.AuthorizeURL}, {"token URL", cfg.TokenURL}, {"userinfo URL", cfg.UserInfoURL},
	} {
		if err := checkURL(a.address); err != nil {
			return nil, fmt.Errorf("%s: %w", a.what, err)
		}
	}
	for _, a := range []struct{ what, address string }{{"e-mail URL", cfg.Emails.URL}, {"revoke URL", cfg.RevokeURL}} {
		if a.address == "" {
			continue
		}
		if err := checkURL(a.address); err != nil {
			return nil, fmt.Errorf("%s: %w", a.what, err)
		}
	}
	if err := checkParams(cfg.AuthParams); err != nil {
		return nil, err
	}
	cfg.SubjectField, cfg.Fields = cmp.Or(cfg.SubjectField, "sub"), cfg.Fields.withDefaults()
	cfg.Emails.Address, cfg.Emails.Primary = cmp.Or(cfg.Emails.Address, "email"), cmp.Or(cfg.Emails.Primary, "primary")
	cfg.Emails.Verified = cmp.Or(cfg.Emails.Verified, "verified")
	switch {
	case cfg.SubjectField == cfg.Fields.Email || cfg.SubjectField == cfg.Fields.Username:
		return nil, fmt.Errorf("the key of people cannot be %s, which may pass to somebody else", cfg.SubjectField)
	case cfg.KeepAccessToken && cfg.RevokeURL == "":
		return nil, errors.New("keeping access tokens serves nothing without a revoke URL")
	case cfg.ClientAuth == "" && cfg.ClientSecret == "":
		cfg.ClientAuth = AuthNone
	case cfg.ClientAuth == "":
		return nil, errors.New("client authentication must be named: basic or post")
	}
	if cfg.ClientAuth == AuthNone && cfg.NoPKCE {
		return nil, errors.New("a client without a secret needs PKCE")
	}
	o := &OAuth2{cfg: cfg, issuer: cmp.Or(cfg.Issuer, origin(cfg.AuthorizeURL)), client: registered{
		id: cfg.ClientID, secret: cfg.ClientSecret, auth: cfg.ClientAuth, http: newHTTP(cfg.HTTP),
	}}
	return o, o.client.check()
}

// Name is the connector's id.
func (o *OAuth2) Name() string { return o.cfg.Name }

// Warnings are what an operator should be told about this configuration, loudly, at each start.
func (o *OAuth2) Warnings() []string {
	var w []string
	if o.cfg.AssumeEmailVerified {
		w = append(w, "assume_email_verified is on: whoever can type an e-mail address at "+o.issuer+" can claim to own it here")
	}
	if o.cfg.NoPKCE {
		w = append(w, "PKCE is off: a code that is intercepted on its way here can be used by others")
	}
	return w
}

// AuthURL is where the browser goes. It does not reach the network.
func (o *OAuth2) AuthURL(_ context.Context, a Attempt) (string, error) {
	p := url.Values{}
	for k, v := range o.cfg.AuthParams {
		p.Set(k, v)
	}
	set(p, "prompt", a.Prompt)
	set(p, "login_hint", a.LoginHint)
	set(p, "scope", strings.Join(o.cfg.Scopes, " "))
	return plainAuthURL(o.cfg.AuthorizeURL, o.client.id, !o.cfg.NoPKCE, a, p)
}

// Identify redeems a callback.
func (o *OAuth2) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	code, err := plainCallback(callback, o.issuer)
	if err != nil {
		return Identity{}, err
	}
	verifier := a.Verifier
	if o.cfg.NoPKCE {
		verifier = ""
	}
	t, err := o.client.redeem(ctx, o.cfg.TokenURL, code, a.RedirectURI, verifier)
	if err != nil {
		return Identity{}, dialect(err)
	}
	if t.access == "" {
		return Identity{}, fail(Upstream, "the token endpoint sent no access token")
	}
	c, err := o.profile(ctx, t.access)
	if err != nil {
		return Identity{}, err
	}
	id, err := o.identity(c, t.access)
	if err != nil {
		return Identity{}, err
	}
	if o.cfg.Emails.URL != "" {
		if id.Email, id.EmailTrust, err = o.emails(ctx, t.access); err != nil {
			return Identity{}, err
		}
	}
	if o.cfg.KeepAccessToken {
		id.AccessToken = t.access
	}
	return o.assumed(id), nil
}

// assumed takes an address for verified where the operator says so.
func (o *OAuth2) assumed(id Identity) Identity {
	if id.Email != "" && o.cfg.AssumeEmailVerified {
		id.EmailTrust = TrustVerified
	}
	return id
}

// dialect classes the error codes that GitHub's token endpoint has instead of RFC 6749's. It sends them with status 200.
func dialect(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		switch e.Code {
		case "bad_verification_code":
			e.Kind = Invalid
		case "unverified_user_email":
			e.Kind = Denied
		}
	}
	return err
}

func (o *OAuth2) profile(ctx context.Context, access string) (claims, error) {
	body, err := o.api(ctx, o.cfg.UserInfoURL, access)
	if err != nil {
		return nil, err
	}
	c, err := readClaims(body)
	if err != nil {
		return nil, fail(Upstream, "userinfo: %w", err)
	}
	return c, nil
}

// identity maps a profile. secrets have no place in what an Identity tells.
func (o *OAuth2) identity(c claims, secrets ...string) (Identity, error) {
	n := o.cfg.Fields
	id := Identity{
		Connector: o.cfg.Name, Issuer: o.issuer, Email: c.address(n.Email), EmailTrust: TrustNone,
		Name: c.text(n.Name), GivenName: c.text(n.GivenName), FamilyName: c.text(n.FamilyName), Username: c.text(n.Username),
		PictureURL: c.picture(n.Picture), Locale: c.text(n.Locale), Claims: c.told(secrets...),
	}
	var err error
	if id.Subject, err = c.subject(o.cfg.SubjectField); err != nil {
		return Identity{}, fail(Misconfigured, "the person's key in the profile: %w", err)
	}
	if id.Email != "" {
		id.EmailTrust = TrustReported
		if c.yes(n.EmailVerified, o.cfg.LenientBooleans) {
			id.EmailTrust = TrustVerified
		}
	}
	return id, nil
}

// emails asks for the list of addresses and takes the primary one.
func (o *OAuth2) emails(ctx context.Context, access string) (string, Trust, error) {
	body, err := o.api(ctx, o.cfg.Emails.URL, access)
	if KindOf(err) == Misconfigured && err != nil {
		// Withheld, by the person or the organization. Nobody needs an address to sign in.
		return "", TrustNone, nil
	}
	if err != nil {
		return "", TrustNone, err
	}
	c, err := readClaims([]byte(`{"list":` + string(body) + `}`))
	if err != nil {
		return "", TrustNone, fail(Upstream, "the list of e-mail addresses: %w", err)
	}
	return o.listed(c["list"])
}

// listed reads the answer of the list.
func (o *OAuth2) listed(answer any) (string, Trust, error) {
	path := "list"
	if o.cfg.Emails.List != "" {
		path += "." + o.cfg.Emails.List
	}
	entries, ok := claims{"list": answer}.at(path).([]any)
	if !ok {
		return "", TrustNone, fail(Upstream, "the list of e-mail addresses is none")
	}
	email, trust := o.primary(entries)
	return email, trust, nil
}

// primary is the address that the person calls theirs. Of another one nobody knows whether they read it.
func (o *OAuth2) primary(entries []any) (string, Trust) {
	for _, entry := range entries {
		m, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		c := claims(m)
		address := c.address(o.cfg.Emails.Address)
		if address == "" || !c.yes(o.cfg.Emails.Primary, o.cfg.LenientBooleans) {
			continue
		}
		if c.yes(o.cfg.Emails.Verified, o.cfg.LenientBooleans) {
			return address, TrustVerified
		}
		return address, TrustReported
	}
	return "", TrustNone
}

// api fetches what an access token opens. A token that was good a moment ago and is refused lacks a scope, or the application a right.
func (o *OAuth2) api(ctx context.Context, address, access string) ([]byte, error) {
	status, _, body, err := bearerCall(ctx, o.client.http, http.MethodGet, address, access)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		kind := Upstream
		if status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			kind = Misconfigured
		}
		e := apiError(kind, status, body, access, o.client.secret)
		e.Err = fmt.Errorf("%s answers %d", o.at(address), status)
		return nil, e
	}
	return body, nil
}

func (o *OAuth2) at(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the provider"
	}
	return u.Host + u.Path
}

// Revoke takes an access token back at RevokeURL (RFC 7009).
func (o *OAuth2) Revoke(ctx context.Context, accessToken string) error {
	if o.cfg.RevokeURL == "" {
		return fail(Misconfigured, "%s has no revoke URL", o.cfg.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	status, _, body, err := o.client.form(ctx, o.cfg.RevokeURL, url.Values{"token": {accessToken}, "token_type_hint": {"access_token"}})
	if err != nil {
		return err
	}
	if status != http.StatusOK { // RFC 7009 §2.2: also for a token that is unknown there
		e := apiError(Upstream, status, body, o.client.secrets(accessToken)...)
		e.Kind = kindOfTokenError(status, e.Code)
		return e
	}
	return nil
}

// Test checks what can be checked without a person.
func (o *OAuth2) Test(ctx context.Context) []Finding {
	list := settings(o.Warnings())
	status, _, _, err := bearerCall(ctx, o.client.http, http.MethodGet, o.cfg.UserInfoURL, trialToken)
	switch {
	case err != nil:
		list = append(list, Finding{What: "userinfo", Text: plain(err)})
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest:
		list = append(list, Finding{What: "userinfo", OK: true, Text: "it answers, and refuses a made-up token"})
	case status == http.StatusOK:
		list = append(list, Finding{What: "userinfo", Text: "it answers 200 to a made-up token: this is not an address that tells who somebody is"})
	default:
		list = append(list, Finding{What: "userinfo", Text: "it answers " + http.StatusText(status)})
	}
	_, err = o.client.redeem(ctx, o.cfg.TokenURL, trialCode, trialCallback(o.cfg.Name), trialVerifier)
	return append(list, credentials(dialect(err), "incorrect_client_credentials"))
}
