package connectors

import (
	"cmp"
	"context"
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

// TwitterIssuer is what Identity.Issuer says of people from X, wherever the endpoints lie.
const TwitterIssuer = "https://x.com"

// maxTwitterState is how long a state X takes, in characters.
const maxTwitterState = 500

// TwitterConfig describes sign-in with X. The connector keeps the name that people and their links know it by.
type TwitterConfig struct {
	Name string // "" = twitter

	// ClientSecret is there for a confidential client (X calls it Web App or Automated App), which authenticates by HTTP Basic; a public one
	// (Native App, Single page App) has none.
	ClientID, ClientSecret string

	// Scopes are at least tweet.read and users.read, without which X does not say who somebody is; nil = these and users.email. For the address
	// the app needs the switch "Request email from users" too.
	Scopes []string

	AuthorizeURL string // "" = https://x.com/i/oauth2/authorize; https://api.x.com/2/oauth2/authorize is the other that X names
	APIURL       string // "" = https://api.x.com

	KeepAccessToken bool         // hand the access token out with the identity, for Revoke
	HTTP            *http.Client // nil = a safe default
}

// Twitter is the connector to X: OAuth 2.0 with PKCE, no ID Token, no sign-out. Its key is the numeric id: names change and are taken over by
// others.
type Twitter struct {
	cfg    TwitterConfig
	client registered
}

// NewTwitter checks the configuration. It does not reach the network.
func NewTwitter(cfg TwitterConfig) (*Twitter, error) {
	cfg.Name = cmp.Or(cfg.Name, "twitter")
	t, err := newTwitter(cfg)
	if err != nil {
		return nil, fmt.Errorf("connectors: %s: %w", cfg.Name, err)
	}
	return t, nil
}

func newTwitter(cfg TwitterConfig) (*Twitter, error) {
	cfg.AuthorizeURL = cmp.Or(cfg.AuthorizeURL, "https://x.com/i/oauth2/authorize")
	cfg.APIURL = strings.TrimSuffix(cmp.Or(cfg.APIURL, "https://api.x.com"), "/")
	if !nameForm.MatchString(cfg.Name) {
		return nil, fmt.Errorf("%q is no name for a connector", cfg.Name)
	}
	for _, address := range []string{cfg.AuthorizeURL, cfg.APIURL} {
		if err := checkURL(address); err != nil {
			return nil, err
		}
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"users.email"}
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	for _, s := range []string{"users.read", "tweet.read"} {
		if !slices.Contains(cfg.Scopes, s) {
			cfg.Scopes = append([]string{s}, cfg.Scopes...)
		}
	}
	if slices.Contains(cfg.Scopes, "offline.access") {
		return nil, errors.New("the scope offline.access serves nothing here: nobody would use the refresh token")
	}
	auth := AuthBasic
	if cfg.ClientSecret == "" {
		auth = AuthNone
	}
	t := &Twitter{cfg: cfg, client: registered{id: cfg.ClientID, secret: cfg.ClientSecret, auth: auth, http: newHTTP(cfg.HTTP)}}
	return t, t.client.check()
}

// Name is the connector's id.
func (t *Twitter) Name() string { return t.cfg.Name }

// AuthURL is where the browser goes. X knows no prompt and no hint.
func (t *Twitter) AuthURL(_ context.Context, a Attempt) (string, error) {
	if len(a.State) > maxTwitterState {
		return "", fail(Misconfigured, "a state of %d characters; X takes %d", len(a.State), maxTwitterState)
	}
	return plainAuthURL(t.cfg.AuthorizeURL, t.cfg.ClientID, true, a, url.Values{"scope": {strings.Join(t.cfg.Scopes, " ")}})
}

// Identify redeems a callback, at once: X's codes live for 30 seconds.
func (t *Twitter) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, t.client.http.Timeout)
	defer cancel()
	code, err := plainCallback(callback, TwitterIssuer, origin(t.cfg.AuthorizeURL), t.cfg.APIURL)
	if err != nil {
		return Identity{}, err
	}
	access, err := t.redeem(ctx, code, a)
	if err != nil {
		return Identity{}, err
	}
	me, err := t.me(ctx, access)
	if err != nil {
		return Identity{}, err
	}
	id, err := t.identity(me, access)
	if err == nil && t.cfg.KeepAccessToken {
		id.AccessToken = access
	}
	return id, err
}

// redeem exchanges the code. It sends it once.
func (t *Twitter) redeem(ctx context.Context, code string, a Attempt) (string, error) {
	secrets := t.client.secrets(code, a.Verifier)
	status, header, body, err := t.client.form(ctx, t.cfg.APIURL+"/2/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.RedirectURI}, "code_verifier": {a.Verifier},
	})
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", twitterError(status, header, body, secrets...)
	}
	c, err := readClaims(body)
	if err != nil {
		return "", fail(Upstream, "the token endpoint: %w", err)
	}
	access := c.exact("access_token")
	if kind := c.exact("token_type"); access == "" || kind != "" && !strings.EqualFold(kind, "bearer") {
		return "", fail(Upstream, "the token endpoint sent no bearer token")
	}
	return access, nil
}

// me asks who the person is. Each call costs the operator money.
func (t *Twitter) me(ctx context.Context, access string) (claims, error) {
	status, header, body, err := bearerCall(ctx, t.client.http, http.MethodGet,
		t.cfg.APIURL+"/2/users/me?user.fields=confirmed_email,profile_image_url,verified", access)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, twitterError(status, header, body, access, t.cfg.ClientSecret)
	}
	c, err := readClaims(body)
	if err != nil {
		return nil, fail(Upstream, "users/me: %w", err)
	}
	return c, nil
}

// twitterError reads both shapes of X's errors: RFC 6749's at the token endpoint, a problem (RFC 9457) at the others. A token that was made a
// moment ago is not at fault when X answers 401: that is how an outage looks.
func twitterError(status int, header http.Header, body []byte, secrets ...string) *Error {
	e := apiError(Misconfigured, status, body, secrets...)
	e.Err = fmt.Errorf("X answers %d", status)
	c, _ := readClaims(body)
	oauth := c.exact("error")
	switch {
	case status >= http.StatusInternalServerError:
		e.Kind = Upstream
	case status == http.StatusTooManyRequests:
		e.Kind = Upstream
		if at, err := strconv.ParseInt(header.Get("X-Rate-Limit-Reset"), 10, 64); err == nil && at > 0 && at < 1<<40 {
			e.Detail += " (again at " + time.Unix(at, 0).UTC().Format(time.RFC3339) + ")"
		}
	case oauth == "invalid_request", oauth == "invalid_grant":
		// What we send is complete, so it is the code: used, or older than 30 s.
		e.Kind = Invalid
	case oauth == "server_error", oauth == "temporarily_unavailable":
		e.Kind = Upstream
	case oauth == "" && status != http.StatusBadRequest && status != http.StatusPaymentRequired && status != http.StatusForbidden:
		e.Kind = Upstream
	}
	return e
}

var twitterID = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)

// identity maps the answer of users/me, which may hold errors beside data.
func (t *Twitter) identity(me claims, access string) (Identity, error) {
	problems, _ := me["errors"].([]any)
	inner, ok := me["data"].(map[string]any)
	if !ok {
		return Identity{}, nobody(problems, access, t.cfg.ClientSecret)
	}
	data := claims(inner)
	// A string of 64 bits. As a number it would have lost its last digits somewhere on its way.
	subject := data.exact("id")
	if !twitterID.MatchString(subject) {
		return Identity{}, fail(Upstream, "users/me has no id")
	}
	id := Identity{
		Connector: t.cfg.Name, Issuer: TwitterIssuer, Subject: subject,
		Email: data.address("confirmed_email"), EmailTrust: TrustNone,
		Name: data.text("name"), Username: data.text("username"), PictureURL: data.picture("profile_image_url"),
		Claims: data.told(access, t.cfg.ClientSecret),
	}
	switch {
	case id.Email != "":
		id.EmailTrust = TrustVerified // confirmed by mail once; X runs no mailboxes
	case slices.ContainsFunc(problems, withheldEmail):
		id.Claims[declinedScopes] = []any{"users.email"}
	}
	return id, nil
}

// withheldEmail says whether a partial error is about the address: the app may not see it, or the person does not show it. That is no failure.
func withheldEmail(problem any) bool {
	p, _ := problem.(map[string]any)
	return claims(p).exact("field") == "confirmed_email"
}

// nobody is the error of an answer without data.
func nobody(problems []any, secrets ...string) *Error {
	e := fail(Upstream, "users/me names nobody")
	for _, problem := range problems {
		p, _ := problem.(map[string]any)
		c := claims(p)
		kind := c.exact("type")
		e.Code, e.Detail = clean(c.exact("title"), secrets...), clean(c.exact("detail"), secrets...)
		// An account that is suspended or gone.
		for _, gone := range []string{"resource-not-found", "resource-unavailable", "not-authorized-for-resource", "disallowed-resource"} {
			if strings.HasSuffix(kind, "/problems/"+gone) {
				e.Kind = Denied
			}
		}
	}
	return e
}

// Revoke takes an access token back.
func (t *Twitter) Revoke(ctx context.Context, accessToken string) error {
	ctx, cancel := context.WithTimeout(ctx, t.client.http.Timeout)
	defer cancel()
	status, header, body, err := t.client.form(ctx, t.cfg.APIURL+"/2/oauth2/revoke", url.Values{"token": {accessToken}, "token_type_hint": {"access_token"}})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return twitterError(status, header, body, t.client.secrets(accessToken)...)
	}
	return nil
}

// Test checks what can be checked without a person. It does not call users/me, which X charges for.
func (t *Twitter) Test(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, t.client.http.Timeout)
	defer cancel()
	_, err := t.redeem(ctx, trialCode, Attempt{RedirectURI: trialCallback(t.cfg.Name), Verifier: trialVerifier})
	return []Finding{credentials(err)}
}
