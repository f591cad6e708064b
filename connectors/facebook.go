package connectors

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// FacebookIssuer is what Identity.Issuer says of people from Facebook. Their ids hold for one Meta app alone: another app id means other ids,
// so that moving to a new app takes everybody's link away.
const FacebookIssuer = "https://www.facebook.com"

// noticeMaxAge is how old a signed notice may be unless configured.
const noticeMaxAge = time.Hour

// FacebookConfig describes sign-in with Facebook by the classic code flow.
type FacebookConfig struct {
	Name                   string // "" = facebook
	ClientID, ClientSecret string // the Meta app's id, decimal, and its secret

	// Version is that of the Graph API, such as v26.0; "" = the newest that this release knows. Each ends some two years after the next came:
	// see VersionWarning.
	Version string

	Scopes []string // nil = email public_profile
	Fields []string // further fields of the profile, for claim rules

	// EmailTrust is how far an address from Facebook is believed; "" = TrustReported, since Facebook has no mark for a checked address. The
	// operator may raise it to TrustVerified.
	EmailTrust Trust

	PKCE         bool          // send a challenge; the classic flow needs none
	NoticeMaxAge time.Duration // of deauthorize and data-deletion notices; 0 = an hour

	KeepAccessToken bool // hand the access token out with the identity, for Revoke

	WebURL, GraphURL string       // for tests; "" = https://www.facebook.com and https://graph.facebook.com
	HTTP             *http.Client // nil = a safe default
	Now              func() time.Time
}

// Facebook is the connector to Facebook. There is no ID Token: each sign-in asks Facebook whether the access token was made for our app, or
// one that was made for another could be passed in.
type Facebook struct {
	cfg    FacebookConfig
	client registered
}

var (
	decimal    = regexp.MustCompile(`^[0-9]{1,32}$`)
	graphField = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// NewFacebook checks the configuration. It does not reach the network.
func NewFacebook(cfg FacebookConfig) (*Facebook, error) {
	cfg.Name = cmp.Or(cfg.Name, "facebook")
	f, err := newFacebook(cfg)
	if err != nil {
		return nil, fmt.Errorf("connectors: %s: %w", cfg.Name, err)
	}
	return f, nil
}

func newFacebook(cfg FacebookConfig) (*Facebook, error) {
	cfg.Version = cmp.Or(cfg.Version, graphVersions()[0].version)
	cfg.EmailTrust = cmp.Or(cfg.EmailTrust, TrustReported)
	cfg.WebURL = strings.TrimSuffix(cmp.Or(cfg.WebURL, FacebookIssuer), "/")
	cfg.GraphURL = strings.TrimSuffix(cmp.Or(cfg.GraphURL, "https://graph.facebook.com"), "/")
	cfg.NoticeMaxAge = cmp.Or(cfg.NoticeMaxAge, noticeMaxAge)
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"email", "public_profile"}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	switch {
	case !nameForm.MatchString(cfg.Name):
		return nil, fmt.Errorf("%q is no name for a connector", cfg.Name)
	case !decimal.MatchString(cfg.ClientID):
		return nil, errors.New("the client id, Meta's app id, is a decimal number")
	case versionNumber(cfg.Version) == 0:
		return nil, fmt.Errorf("%q is no version of the Graph API, such as %s", cfg.Version, graphVersions()[0].version)
	case cfg.EmailTrust != TrustReported && cfg.EmailTrust != TrustVerified:
		return nil, fmt.Errorf("e-mail trust %q is neither reported nor verified", cfg.EmailTrust)
	case cfg.NoticeMaxAge < 0:
		return nil, errors.New("the age of notices is negative")
	}
	for _, base := range []string{cfg.WebURL, cfg.GraphURL} {
		if err := checkURL(base); err != nil {
			return nil, err
		}
	}
	for _, field := range cfg.Fields {
		if !graphField.MatchString(field) {
			return nil, fmt.Errorf("%q is no field of the profile", field)
		}
	}
	for _, s := range cfg.Scopes {
		if s == "" || strings.ContainsAny(s, ", ") {
			return nil, fmt.Errorf("%q is no scope", s)
		}
	}
	f := &Facebook{cfg: cfg, client: registered{id: cfg.ClientID, secret: cfg.ClientSecret, auth: AuthPost, http: newHTTP(cfg.HTTP)}}
	return f, f.client.check()
}

// Name is the connector's id.
func (f *Facebook) Name() string { return f.cfg.Name }

// Warnings are what an operator should be told about this configuration, loudly, at each start.
func (f *Facebook) Warnings() []string {
	var w []string
	if v := f.VersionWarning(f.cfg.Now()); v != "" {
		w = append(w, v)
	}
	if f.cfg.EmailTrust == TrustVerified {
		w = append(w, "email_trust is verified: Facebook has no mark for an address that was checked")
	}
	return w
}

// LeavesFragment: Facebook appends #_=_ to the callback.
func (f *Facebook) LeavesFragment() bool { return true }

// AuthURL is where the browser goes. Prompt login makes Facebook ask for the password again, consent for scopes that were declined before
// (rerequest); it knows no other, and no max_age.
func (f *Facebook) AuthURL(_ context.Context, a Attempt) (string, error) {
	p := url.Values{"scope": {strings.Join(f.cfg.Scopes, ",")}}
	switch a.Prompt {
	case "login":
		p.Set("auth_type", "reauthenticate")
	case "consent":
		p.Set("auth_type", "rerequest")
	}
	return plainAuthURL(f.cfg.WebURL+"/"+f.cfg.Version+"/dialog/oauth", f.cfg.ClientID, f.cfg.PKCE, a, p)
}

// Declined says whether the person chose not to tell their address. Asking once more, with Prompt consent, makes sense then and only then:
// other people have none to tell.
func (f *Facebook) Declined(id Identity) bool {
	declined, _ := id.Claims[declinedScopes].([]any)
	return id.Email == "" && slices.Contains(declined, any("email"))
}

// declinedScopes is the member of Identity.Claims with the scopes that were asked for and not given.
const declinedScopes = "declined_scopes"

// Identify redeems a callback.
func (f *Facebook) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, f.client.http.Timeout)
	defer cancel()
	if e := dialogError(callback); e != nil {
		return Identity{}, e
	}
	code, err := plainCallback(callback, FacebookIssuer)
	if err != nil {
		return Identity{}, err
	}
	access, err := f.redeem(ctx, code, a)
	if err != nil {
		return Identity{}, err
	}
	checked, err := f.checkToken(ctx, access)
	if err != nil {
		return Identity{}, err
	}
	me, _, err := f.graph(ctx, http.MethodGet, "/me", url.Values{
		"fields": {strings.Join(append([]string{"id,name,first_name,last_name,email,picture"}, f.cfg.Fields...), ",")}, "appsecret_proof": {f.proof(access)},
	}, access)
	if err != nil {
		return Identity{}, err
	}
	id, err := f.identity(me, access)
	if err != nil {
		return Identity{}, err
	}
	if id.Subject != checked.user {
		return Identity{}, fail(Invalid, "the profile is that of somebody else")
	}
	if declined := checked.declined(f.cfg.Scopes); len(declined) > 0 {
		id.Claims[declinedScopes] = declined
	}
	if f.cfg.KeepAccessToken {
		id.AccessToken = access
	}
	return id, nil
}

// redeem exchanges the code. It sends it once.
func (f *Facebook) redeem(ctx context.Context, code string, a Attempt) (string, error) {
	form := url.Values{
		"client_id": {f.cfg.ClientID}, "client_secret": {f.cfg.ClientSecret}, "redirect_uri": {a.RedirectURI}, "code": {code},
	}
	if f.cfg.PKCE {
		form.Set("code_verifier", a.Verifier)
	}
	c, _, err := f.graph(ctx, http.MethodPost, "/oauth/access_token", form, "")
	if err != nil {
		return "", err
	}
	access := c.exact("access_token")
	if kind := c.exact("token_type"); access == "" || kind != "" && !strings.EqualFold(kind, "bearer") {
		return "", fail(Upstream, "the token endpoint sent no bearer token")
	}
	return access, nil
}

// checkedToken is what debug_token says of a token of ours.
type checkedToken struct {
	user    string
	granted []string
	listed  bool // whether it says what was granted
}

func (t checkedToken) declined(asked []string) []any {
	var out []any
	for _, s := range asked {
		if t.listed && !slices.Contains(t.granted, s) {
			out = append(out, s)
		}
	}
	return out
}

// checkToken asks Facebook whose token it is. One that was made for another app must not sign anybody in here.
func (f *Facebook) checkToken(ctx context.Context, access string) (checkedToken, error) {
	c, _, err := f.graph(ctx, http.MethodGet, "/debug_token", url.Values{"input_token": {access}}, f.appToken(), access)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Kind == Misconfigured && (e.Code == "100" || strings.HasPrefix(e.Code, "100/")) {
			e.Kind = Invalid // "the app of the token is not yours"
		}
		return checkedToken{}, err
	}
	inner, ok := c["data"].(map[string]any)
	if !ok {
		return checkedToken{}, fail(Upstream, "debug_token says nothing about the token")
	}
	data := claims(inner)
	if app, err := data.subject("app_id"); err != nil || app != f.cfg.ClientID {
		return checkedToken{}, fail(Invalid, "the access token was made for app %q", clean(app))
	}
	if !data.yes("is_valid", false) {
		return checkedToken{}, &Error{Kind: Invalid, Code: "debug_token", Detail: clean(data.exact("error.message"), access), Err: errors.New("the access token is not valid")}
	}
	if kind := data.exact("type"); kind != "" && !strings.EqualFold(kind, "USER") {
		return checkedToken{}, fail(Invalid, "the access token is that of a %q and not of a person", clean(kind))
	}
	t := checkedToken{granted: data.list("scopes")}
	if t.user, err = data.subject("user_id"); err != nil {
		return checkedToken{}, fail(Invalid, "debug_token: %w", err)
	}
	_, t.listed = data["scopes"].([]any)
	return t, nil
}

func (f *Facebook) appToken() string { return f.cfg.ClientID + "|" + f.cfg.ClientSecret }

// proof is appsecret_proof: who holds only a stolen token cannot make it.
func (f *Facebook) proof(access string) string {
	m := hmac.New(sha256.New, []byte(f.cfg.ClientSecret))
	m.Write([]byte(access))
	return hex.EncodeToString(m.Sum(nil))
}

// identity maps /me.
func (f *Facebook) identity(me claims, access string) (Identity, error) {
	subject, err := me.subject("id")
	if err != nil || !decimal.MatchString(subject) {
		return Identity{}, fail(Upstream, "the profile has no id")
	}
	id := Identity{
		Connector: f.cfg.Name, Issuer: FacebookIssuer, Subject: subject,
		Email: me.address("email"), EmailTrust: TrustNone,
		Name: me.text("name"), GivenName: me.text("first_name"), FamilyName: me.text("last_name"), Locale: me.text("locale"),
		Claims: me.told(access, f.cfg.ClientSecret),
	}
	if !me.yes("picture.data.is_silhouette", false) { // a grey head is no picture
		id.PictureURL = me.picture("picture.data.url")
	}
	if id.Email != "" {
		id.EmailTrust = f.cfg.EmailTrust
	}
	return id, nil
}

// Revoke takes all permissions back that the person gave the app. One that is gone already needs no taking.
func (f *Facebook) Revoke(ctx context.Context, accessToken string) error {
	ctx, cancel := context.WithTimeout(ctx, f.client.http.Timeout)
	defer cancel()
	c, _, err := f.graph(ctx, http.MethodDelete, "/me/permissions", url.Values{"appsecret_proof": {f.proof(accessToken)}}, accessToken)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == "190/458" {
		return nil
	}
	if err == nil && !c.yes("success", false) {
		return fail(Upstream, "Facebook does not say that the permissions are gone")
	}
	return err
}

// Test checks what can be checked without a person: it asks about the app's own token, which needs the right secret.
func (f *Facebook) Test(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, f.client.http.Timeout)
	defer cancel()
	list := settings(f.Warnings())
	c, header, err := f.graph(ctx, http.MethodGet, "/debug_token", url.Values{"input_token": {f.appToken()}}, f.appToken())
	if err != nil {
		return append(list, Finding{What: "client credentials", OK: false, Text: plain(err)})
	}
	data, _ := c["data"].(map[string]any)
	if app, err := claims(data).subject("app_id"); err != nil || app != f.cfg.ClientID {
		return append(list, Finding{What: "client credentials", Text: "Facebook does not know the app by its token"})
	}
	list = append(list, Finding{What: "client credentials", OK: true, Text: "accepted for app " + f.cfg.ClientID})
	// Facebook serves a version that has ended with a newer one, and says so only here.
	if served := header.Get("Facebook-Api-Version"); served != "" {
		list = append(list, Finding{What: "Graph version", OK: served == f.cfg.Version, Text: "asked for " + f.cfg.Version + ", served by " + clean(served)})
	}
	return list
}
