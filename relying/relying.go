// Package relying lets a Go application leave its sign-in to Latchkey, and know and screen the people who use it.
//
// The application registers as a client, mounts a few handlers, wraps itself in [Client.Screen] and asks questions of the
// request's context. An API that is called with access tokens uses [API] instead, and asks the same questions.
//
//	rp, err := relying.New(relying.Config{
//		Issuer:       "https://id.example.com",
//		ClientID:     "wiki",
//		ClientSecret: os.Getenv("WIKI_CLIENT_SECRET"),
//		RedirectURL:  "https://wiki.example.com/callback",
//	})
//	mux.Handle("GET /login", rp.Login())
//	mux.Handle("GET /callback", rp.Callback())
//	mux.Handle("POST /logout", rp.Logout())
//	mux.Handle("POST /backchannel-logout", rp.BackChannelLogout())
//	mux.Handle("/edit/", rp.RequireWrite(edit))
//	mux.Handle("/settings/", rp.RequirePrivilege("admin", "developer")(settings))
//	http.ListenAndServe(addr, rp.Screen(mux))
//
// Inside a handler:
//
//	if relying.UserHasPrivilege(r.Context(), "trainer") { … }
//	if who, ok := relying.UserInfo(r.Context()); ok { fmt.Fprintf(w, "Welcome, %s", html.EscapeString(who.DisplayName())) }
//
// # What happens
//
//	browser            application (this package)               Latchkey
//	GET /edit/7   ───▶ nobody is signed in
//	              ◀─── 303, sealed cookie: state, nonce,
//	                   PKCE verifier, "/edit/7"         ───────▶ sign-in, consent
//	GET /callback ◀──────────────────────────────────────────── 303 code, state, iss
//	                   checks all of it; code ───────▶ tokens ◀─ verified by go-oidc
//	              ◀─── 303 /edit/7, session cookie
//
// Everybody is screened anew on every request: a page asks what the person may do now, not what was so when the visit began.
// What is known about a person is never older than the access token (ten minutes unless the provider says otherwise). After
// that it is read again with the refresh token (ask for the scope offline_access), and without one the local session is over;
// the next page that needs it goes to Latchkey and, while its own session lasts, comes straight back. Config.Recheck reads it again
// sooner, and [Client.BackChannelLogout] ends a session the moment the provider says so.
//
// # What it refuses
//
// A signed-out person holds no privilege. Addresses to return to are paths of this application. What an address does is done after the
// sign-in and its screening or not at all, and a POST is never repeated. When Latchkey cannot be asked, the answer is "not now" (503), never "yes". The application starts while Latchkey is
// down and finds it when it is up.
package relying

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// Config says who the application is and where its provider is. Issuer, ClientID and RedirectURL are required.
type Config struct {
	// Issuer is the provider's issuer, exactly as its discovery document spells it.
	Issuer string
	// ClientID and ClientSecret are what the provider gave at registration. Without a secret the client is a public one: PKCE
	// alone protects the code.
	ClientID, ClientSecret string
	// RedirectURL is the absolute URL at which [Client.Callback] is mounted, as registered. An http URL (development) makes
	// cookies without the Secure flag and the __Host- prefix.
	RedirectURL string
	// PostLogoutURL is the absolute URL to land on after a sign-out, as registered (post_logout_redirect_uris).
	// Default: the root of RedirectURL's origin.
	PostLogoutURL string
	// Scopes to ask for besides openid. Default: profile, email and privileges. With offline_access a session outlives the
	// access token, see MaxAge.
	Scopes []string

	// CookieKey, at least 32 bytes, seals the cookie of a sign-in under way and what Sessions keeps. Processes that serve one
	// application share it. Default: random, so that a restart signs everybody out of this application.
	CookieKey []byte
	// CookieName is the session cookie's name. Default: made from issuer and client id, so that applications on one host (say,
	// on several ports of localhost) do not share it.
	CookieName string
	// Sessions keeps the local sessions. Default: the memory of this process.
	Sessions Sessions
	// Revocations remembers what [Client.BackChannelLogout] was told. Default: the memory of this process. Processes that share
	// Sessions share this too.
	Revocations Revocations
	// MaxAge is how long a local session may be renewed without a new sign-in. Default: 12 hours.
	MaxAge time.Duration
	// Recheck is how old the claims of a person may be before they are read again at the provider's userinfo endpoint, so that a
	// privilege taken away counts as soon as that. Default: as old as the access token, which costs nothing; time.Nanosecond asks on
	// every request. While the provider cannot be asked, people wait (503).
	Recheck time.Duration

	// SignedOut answers a request for a page that needs a sign-in; it may show a page that links to Login with the query
	// parameter return (a path of this application). Default: a page navigation goes straight to the provider and comes back,
	// anything else gets 401.
	SignedOut http.Handler
	// NoAccess answers a signed-in person who lacks the privilege; [RefusalOf] says what is missing. Default: a short page, 403.
	NoAccess http.Handler
	// Failed answers when a sign-in could not be finished or the provider could not be asked. Default: a short page.
	Failed func(w http.ResponseWriter, r *http.Request, e *Error)
	// AnonymousIsUser makes UserHasPrivilege true for a signed-out person when "user" is among the names asked for. It exists
	// for applications moved from docassemble, where it was the rule; new ones leave it off.
	AnonymousIsUser bool

	// HTTPClient is used for every request to the provider. Default: one with a time-out of 10 seconds.
	HTTPClient *http.Client
	// Logger receives what people are not shown. Default: slog.Default().
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Error is why a sign-in could not be finished, or why it is not known who is there. Err is for the log, not for people.
type Error struct {
	Status int    // HTTP status to answer with
	Code   string // one of the Code constants
	OAuth  string // the provider's error code, such as access_denied; "" when it sent none
	Err    error
}

// Codes of an [Error].
const (
	CodeDenied      = "denied"      // the provider said no: refused consent, missing privilege
	CodeExpired     = "expired"     // too late, another browser, or the page was loaded twice: start again
	CodeInvalid     = "invalid"     // the provider's answer did not hold: forged, mixed up or misconfigured
	CodeUnavailable = "unavailable" // the provider, or the session store, cannot be reached now
)

func (e *Error) Error() string {
	if e.OAuth != "" {
		return fmt.Sprintf("relying: %s (%s): %v", e.Code, e.OAuth, e.Err)
	}
	return fmt.Sprintf("relying: %s: %v", e.Code, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Client is the application as the provider knows it. It is safe for concurrent use.
type Client struct {
	cfg      Config
	secure   bool // the application is on https
	callback string
	keys     sealer
	cross    *http.CrossOriginProtection

	provider finder[provider]

	mu   sync.Mutex               // guards what follows; never held while waiting
	busy map[string]chan struct{} // sessions being renewed or ended in this process
}

// provider is what discovery found.
type provider struct {
	oidc   *oidc.Provider
	keys   *keySet
	verify *oidc.Config
	oauth  oauth2.Config
	meta   metadata
}

type metadata struct {
	EndSession  string   `json:"end_session_endpoint"`
	Revocation  string   `json:"revocation_endpoint"`
	IssInAnswer bool     `json:"authorization_response_iss_parameter_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	JWKS        string   `json:"jwks_uri"`
	Algorithms  []string `json:"id_token_signing_alg_values_supported"`

	Introspection        string   `json:"introspection_endpoint"`
	IntrospectionMethods []string `json:"introspection_endpoint_auth_methods_supported"`
}

// New checks the configuration. It does not touch the network: the provider is looked up at the first sign-in, and again until
// it is found.
func New(c Config) (*Client, error) {
	redirect, err := absolute(c.RedirectURL)
	if err != nil {
		return nil, fmt.Errorf("relying: RedirectURL: %w", err)
	}
	if _, err := absolute(c.Issuer); err != nil {
		return nil, fmt.Errorf("relying: Issuer: %w", err)
	}
	if c.ClientID == "" {
		return nil, errors.New("relying: ClientID is empty")
	}
	if c.PostLogoutURL == "" {
		c.PostLogoutURL = redirect.Scheme + "://" + redirect.Host + "/"
	} else if _, err := absolute(c.PostLogoutURL); err != nil {
		return nil, fmt.Errorf("relying: PostLogoutURL: %w", err)
	}
	if c.CookieKey == nil {
		c.CookieKey = make([]byte, 32)
		rand.Read(c.CookieKey) // never fails
	}
	if len(c.CookieKey) < 32 {
		return nil, errors.New("relying: CookieKey is shorter than 32 bytes")
	}
	if c.CookieName == "" {
		sum := sha256.Sum256([]byte(c.Issuer + "\n" + c.ClientID))
		c.CookieName = "rp-" + hex.EncodeToString(sum[:4])
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"profile", "email", "privileges"}
	}
	if !slices.Contains(c.Scopes, oidc.ScopeOpenID) {
		c.Scopes = slices.Concat([]string{oidc.ScopeOpenID}, c.Scopes)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Sessions == nil {
		c.Sessions = newMemory(c.Now)
	}
	if c.Revocations == nil {
		c.Revocations = newMemoryRevocations(c.Now)
	}
	c.MaxAge = cmp.Or(c.MaxAge, 12*time.Hour)
	if c.Failed == nil {
		c.Failed = failedPage
	}
	if c.NoAccess == nil {
		c.NoAccess = http.HandlerFunc(noAccessPage)
	}
	rp := &Client{
		cfg:      c,
		secure:   redirect.Scheme == "https",
		callback: redirect.Path,
		keys:     sealer{master: c.CookieKey},
		cross:    http.NewCrossOriginProtection(),
		busy:     map[string]chan struct{}{},
	}
	rp.provider = newFinder(c.Now, rp.lookUp)
	return rp, nil
}

// absolute accepts https URLs, and http ones on this machine, where a network cannot listen in.
func absolute(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, err
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%q is not an absolute URL without user and fragment", raw)
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%q: https is needed (http only for localhost)", raw)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// lookUp reads the provider's metadata (OpenID Connect Discovery §4).
func (c *Client) lookUp(ctx context.Context) (*provider, error) {
	op, meta, err := readMetadata(ctx, c.cfg.HTTPClient, c.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	endpoint := op.Endpoint()
	if endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, errors.New("the metadata names no authorization or token endpoint")
	}
	endpoint.AuthStyle = authStyle(c.cfg.ClientSecret, meta.AuthMethods)
	p := &provider{oidc: op, meta: *meta, keys: newKeySet(c.cfg.Now, c.cfg.HTTPClient, meta.JWKS)}
	p.verify = &oidc.Config{ClientID: c.cfg.ClientID, Now: c.cfg.Now}
	for _, alg := range meta.Algorithms { // never one with a shared secret, and never none
		if slices.Contains(asymmetric, jose.SignatureAlgorithm(alg)) {
			p.verify.SupportedSigningAlgs = append(p.verify.SupportedSigningAlgs, alg)
		}
	}
	p.oauth = oauth2.Config{
		ClientID: c.cfg.ClientID, ClientSecret: c.cfg.ClientSecret,
		Endpoint: endpoint, RedirectURL: c.cfg.RedirectURL, Scopes: c.cfg.Scopes,
	}
	return p, nil
}

// outbound makes ctx carry our HTTP client, which is where both libraries look for it.
func (c *Client) outbound(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, c.cfg.HTTPClient)
}
