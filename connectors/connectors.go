// Package connectors describes the upstream identity providers that people may sign in with: Google, Facebook, X, Microsoft, and any
// OpenID Connect or OAuth 2.0 provider.
//
// A connector is a pure description of one upstream. It makes the address a browser is sent to and turns what comes back into an
// Identity. It keeps no state of a sign-in (login makes the Attempt and keeps it with the flow), sees no http.Request and no person, and
// never decides whose account an Identity is.
//
//	login: Attempt ──▶ AuthURL ──▶ browser ──▶ upstream ──▶ /callback/{connector} ──▶ Identify(Attempt, callback) ──▶ Identity
//
// What it refuses: to trust an e-mail address beyond what the upstream vouches for, to reach the network when it is made (discovery is
// lazy, cached and retried, so an upstream that is down costs one button), to build an address from an unverified claim, and to keep
// upstream tokens.
package connectors

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Connector is one configured upstream. It is safe for concurrent use.
type Connector interface {
	// Name is the id in the configuration and in /callback/{name}: ^[a-z][a-z0-9_-]{0,31}$.
	Name() string
	// AuthURL is where the browser goes. It may fetch the upstream's discovery document, within the connector's own time limit.
	AuthURL(ctx context.Context, a Attempt) (string, error)
	// Identify redeems the callback's parameters. It is called once per Attempt, by login, which has checked state, browser and expiry
	// before. Every error is an *Error.
	Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error)
}

// Attempt is one sign-in at an upstream. login makes it with fresh random values, stores it with the flow and uses it once, within ten
// minutes, in the browser that began it.
type Attempt struct {
	State, Nonce, Verifier string // 128 bits or more each; Verifier is PKCE's (RFC 7636 §4.1)
	RedirectURI            string // issuer + /callback/{name}, the same in both requests

	LoginHint  string // an address or username to suggest; never required
	DomainHint string
	Prompt     string         // login, select_account, consent, none; "" = the connector's default
	MaxAge     *time.Duration // re-authentication wish, where the upstream knows one
	ACRValues  []string
}

// Trust is how far the upstream vouches for an e-mail address.
type Trust string

// Levels of trust, weakest first.
const (
	TrustNone          Trust = "none"          // there is no address
	TrustReported      Trust = "reported"      // somebody typed it
	TrustVerified      Trust = "verified"      // the upstream checked it at some time
	TrustAuthoritative Trust = "authoritative" // the upstream runs the mailbox
)

// Identity is a person as an upstream describes them. Accounts hang on (Connector, Issuer, Subject) alone; an e-mail address never finds
// an account by itself.
type Identity struct {
	Connector string
	Issuer    string // issuer or tenant that makes Subject unique
	Subject   string

	Email      string // as the upstream says; "" is normal
	EmailTrust Trust

	Name, GivenName, FamilyName, Username, PictureURL, Locale string // "" = not said, which never blanks what is stored

	AMR      []string // the upstream's claims about how, and when; login believes them only with trust_mfa
	ACR      string
	AuthTime time.Time
	SID      string         // the upstream's session, for back-channel logout
	Claims   map[string]any // for the operator's claim rules; holds no token

	// IDToken and AccessToken are set only for connectors configured to keep them for sign-out or unlinking; callers seal them or drop them.
	IDToken, AccessToken string
}

// Kind classes what went wrong, for the page a person sees.
type Kind int

// Kinds of error.
const (
	Denied        Kind = iota + 1 // the person cancelled or the upstream said no: not an error of anybody
	Upstream                      // it does not answer, or not sense; trying again may help
	Invalid                       // what came back does not verify: forged, replayed, of another tenant
	Misconfigured                 // the operator's settings at the upstream or here are wrong
	NotAllowed                    // a good identity that the operator's rules (domain, tenant) do not admit
)

func (k Kind) String() string {
	return map[Kind]string{Denied: "denied", Upstream: "upstream", Invalid: "invalid", Misconfigured: "misconfigured", NotAllowed: "not allowed"}[k]
}

// Error is what AuthURL and Identify return. Code and Detail are for the log: the upstream's own words, without tokens; people see a text
// by Kind.
type Error struct {
	Kind   Kind
	Code   string // the upstream's error code, "" if none
	Detail string
	Err    error
}

func (e *Error) Error() string {
	s := "connectors: " + e.Kind.String()
	for _, part := range []string{e.Code, e.Detail} {
		if part != "" {
			s += ": " + part
		}
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of an error, Upstream for one that is not ours.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Upstream
}

func fail(k Kind, format string, a ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, a...)}
}

// Revoker can take back the access we were given, when a person unlinks.
type Revoker interface {
	Revoke(ctx context.Context, accessToken string) error
}

// EndSession knows the upstream's sign-out address ("" = none), to which a browser is sent when the operator asks for it.
type EndSession interface {
	EndSessionURL(ctx context.Context, idToken, postLogoutRedirectURI, state string) (string, error)
}

// FragmentLeaver sends people back with a fragment of its own in the address (Facebook's #_=_).
type FragmentLeaver interface {
	LeavesFragment() bool
}

// Deauthorizer reads the upstream's signed notice that a person removed the application, or asks for their data to be deleted.
type Deauthorizer interface {
	// Deauthorized returns the subject of a signed notice (Facebook's signed_request).
	Deauthorized(signedRequest string, now time.Time) (subject string, err error)
}

// BackchannelLogout verifies an upstream's logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
type BackchannelLogout interface {
	LoggedOut(ctx context.Context, logoutToken string) (subject, sid string, err error)
}

// Tester checks what can be checked without a person: reachability, discovery, keys, client credentials as far as possible. Each finding
// is one line for an operator.
type Tester interface {
	Test(ctx context.Context) []Finding
}

// Finding is one line of a connector's test.
type Finding struct {
	What string
	OK   bool
	Text string
}
