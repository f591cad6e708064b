// Package login takes a person from nobody to a complete session, and shows them their own account.
//
// It owns the pages a person meets before and beside the protocol: sign-in, the new password a sign-in may owe, the one-time
// set-up link, sign-out, the account home. Each method proves something and returns; none calls another:
//
//	GET /login ──POST──▶ proof ──┬─ complete: session.Start ──▶ Config.Done(flow), or 303 /account
//	                             └─ owes something (owing): session.Partial ──▶ /mfa, /login/new-password or /mfa/enrol ──POST──▶ the same two ways
//	/login/start/{c} ─▶ upstream ─▶ /callback/{c} ─▶ identity ─▶ whose account (decideLink)? ─┬─ one: as above
//	                                             ├─ one that must be proven: /login/link ─────┤
//	                                             └─ something is missing: /login/complete ────┤
//	signed in, and the application asks for more: /mfa ──POST──▶ the session is raised
//	/login/passkey ─▶ whose passkey, and is the answer right? ─────────────────────────────────┤
//	/login/phone ─▶ a code by SMS ─▶ whose number (phoneIn)? ──────────────────────────────────┤
//	signed in, and the application requires an address: /login/complete ─▶ a code by mail ─────┤
//	/register ─▶ a code by mail ─▶ a new account ──────────────────────────────────────────────┤
//	/login/code ─▶ a code by mail ─────────────────────────────────────────────────────────────┘
//	/invite/{token} ─POST─▶ open in this browser: /invite ─▶ any of the ways above makes the account ──┘
//	/login/forgot ─▶ a link by mail ─▶ /login/reset/… ─POST─▶ another password, and back to /login
//
// It refuses to decide anything about OAuth: whether a flow may go on, and where to, is Config.Done's question. It refuses return
// addresses from the browser: a sign-in ends at a flow kept by the server, or at /account. It never says why a sign-in failed.
package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Config of the sign-in pages. Every field without a default named here is required.
type Config struct {
	Store     *store.Store
	Mux       *web.Mux
	Sessions  *session.Manager
	Passwords *password.Hasher
	Limiter   *throttle.Limiter
	Requests  *requests.Desk // where privileges are asked for
	Invites   *invites.Desk  // where people are invited; nil = nobody comes with an invitation
	// Done continues a flow after a complete sign-in (provider.Continue). It is called in the process, and the request's context
	// carries the new session. It writes the response: a redirect to the client, to the consent page, or a page of its own.
	Done func(w http.ResponseWriter, r *http.Request, flow string) error
	// FrontChannel is what a browser loads when the session of this sid ends (provider.FrontChannel); nil = nothing.
	FrontChannel func(ctx context.Context, sid string) ([]string, error)
	// Issuer is the base of callback addresses and links: scheme://host[:port].
	Issuer string
	// Connectors are the upstreams people may sign in through, in the order of their buttons. Without any, there are no such routes.
	Connectors []Upstream
	// Seal and Open are the master key's (provider.MasterKeys). Required with Connectors and with CodeKey.
	Seal func(plain []byte, place string) string
	Open func(sealed, place string) ([]byte, error)
	// Observe hears how each answer of an upstream was: ok, or a connectors.Kind in words; nil = nobody listens.
	Observe func(connector, result string)
	// CodeKey hashes the codes that prove an address by mail: 32 bytes. Mail leaves through the store's outbox, in the words of Templates. nil =
	// no mail is sent here, and nobody is asked for an address.
	CodeKey []byte
	// Phone is sign-in with a code by SMS; nil = there is none. It needs Seal, Open and Templates.
	Phone *Phone
	// NoPassword refuses sign-in with a password, and everything that sets one.
	NoPassword bool
	// EmailCode lets people sign in with a code that goes to their proven address. It needs CodeKey.
	EmailCode bool
	// Registration is what becomes of somebody new who signs in with a password or a code by mail: one of the policies, "" = invite. Anything but invite and
	// closed needs CodeKey.
	Registration string
	// Domains are those of which somebody new must have an address; empty = any.
	Domains []string
	// Administers says whether there is any page of administration for the person of a request; nil = for nobody.
	Administers func(ctx context.Context) (bool, error)
	// MayActAs refuses the person of a request who may not act for others by the permission; nil = the store alone decides, which it always does too.
	MayActAs func(ctx context.Context) error
	// Templates take the choices of language and appearance that PreferencesPath is for; nil = there is no such route.
	Templates *templates.Set
	// Passkeys are a way in and a second factor; nil = there are none, as with an issuer that has no host name. They need Seal and Open.
	Passkeys *Passkeys
	// Leaving is whether people may end their own accounts.
	Leaving Leaving
	// Factors is the policy of second factors. It needs Seal and Open where it lets people add one.
	Factors FactorPolicy
	Logger  *slog.Logger     // default: slog.Default
	Now     func() time.Time // default: time.Now
}

// Login serves the pages. Make it with New.
type Login struct {
	store        *store.Store
	mux          *web.Mux
	sessions     *session.Manager
	passwords    *password.Hasher
	limiter      *throttle.Limiter
	done         func(w http.ResponseWriter, r *http.Request, flow string) error
	frontChannel func(ctx context.Context, sid string) ([]string, error)
	templates    *templates.Set
	admin        func(ctx context.Context) (bool, error)
	mayActAs     func(ctx context.Context) error
	requests     *requests.Desk
	invites      *invites.Desk
	log          *slog.Logger
	now          func() time.Time

	noPassword, emailCode bool
	registration          string
	domains               []string

	factors   FactorPolicy
	leaving   Leaving
	passkeys  *Passkeys // nil = none
	codeKey   []byte    // nil = no mail
	phone     *Phone    // nil = no SMS
	issuer    string
	upstreams []*Upstream
	seal      func(plain []byte, place string) string
	open      func(sealed, place string) ([]byte, error)
	observe   func(connector, result string)
	health    health
}

// New checks the configuration.
func New(c Config) (*Login, error) {
	switch {
	case c.Store == nil, c.Mux == nil, c.Sessions == nil, c.Passwords == nil, c.Limiter == nil, c.Requests == nil:
		return nil, errors.New("login: Store, Mux, Sessions, Passwords, Limiter and Requests are required")
	case c.Done == nil, c.Issuer == "":
		return nil, errors.New("login: Done and Issuer are required")
	}
	if c.FrontChannel == nil {
		c.FrontChannel = func(context.Context, string) ([]string, error) { return nil, nil }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	upstreams, err := newUpstreams(c.Connectors)
	if err != nil {
		return nil, err
	}
	if len(upstreams) > 0 && (c.Seal == nil || c.Open == nil) {
		return nil, errors.New("login: Seal and Open are required with Connectors")
	}
	if (c.Factors.App || c.Factors.SMS) && (c.Seal == nil || c.Open == nil) {
		return nil, errors.New("login: Seal and Open are required with Factors")
	}
	if c.Factors.Passkey && c.Passkeys == nil {
		return nil, errors.New("login: Passkeys are required with Factors.Passkey")
	}
	if c.Passkeys != nil && (c.Passkeys.Party == nil || c.Seal == nil || c.Open == nil) {
		return nil, errors.New("login: Passkeys need Party, Seal and Open")
	}
	if c.CodeKey != nil && (len(c.CodeKey) < 32 || c.Seal == nil || c.Open == nil || c.Templates == nil) {
		return nil, errors.New("login: CodeKey needs 32 bytes, Seal, Open and Templates")
	}
	if c.Factors.SMS && c.Phone == nil {
		return nil, errors.New("login: Phone is required with Factors.SMS")
	}
	if c.Phone != nil {
		if err := c.Phone.check(); err != nil {
			return nil, err
		}
		if c.Seal == nil || c.Open == nil || c.Templates == nil {
			return nil, errors.New("login: Seal, Open and Templates are required with Phone")
		}
	}
	c.Registration = cmp.Or(c.Registration, RegistrationInvite)
	switch newcomers := c.Registration == RegistrationOpen || c.Registration == RegistrationApproval; {
	case !slices.Contains(strictness, c.Registration):
		return nil, fmt.Errorf("login: registration %q", c.Registration)
	case c.CodeKey == nil && (c.EmailCode || newcomers):
		return nil, errors.New("login: codes by mail and registration need CodeKey")
	}
	for _, d := range c.Domains {
		if mailDomain("x@"+d) == "" {
			return nil, fmt.Errorf("login: %q is no domain", d)
		}
	}
	return &Login{
		noPassword: c.NoPassword, emailCode: c.EmailCode, registration: c.Registration, domains: c.Domains,
		store: c.Store, mux: c.Mux, sessions: c.Sessions, passwords: c.Passwords, limiter: c.Limiter, requests: c.Requests, invites: c.Invites,
		done: c.Done, frontChannel: c.FrontChannel, factors: c.Factors, leaving: c.Leaving, passkeys: c.Passkeys, codeKey: c.CodeKey, phone: c.Phone, templates: c.Templates, log: c.Logger, now: c.Now,
		issuer: strings.TrimSuffix(c.Issuer, "/"), upstreams: upstreams, seal: c.Seal, open: c.Open, observe: c.Observe, admin: c.Administers, mayActAs: c.MayActAs,
	}, nil
}

// Mount is the table of contents: every page of this package with the rule that guards it.
func (l *Login) Mount(mux *web.Mux) {
	mux.Page("GET /{$}", web.Public, l.home, web.WhileActing)

	mux.Page("GET /login", web.Public, l.showSignIn)
	mux.Page("POST /login", web.Public, l.signIn)
	mux.Page("GET /login/new-password", web.Public, l.showNewPassword) // guarded by the partial sign-in
	mux.Page("POST /login/new-password", web.Public, l.setNewPassword)
	l.mountFactors(mux)

	mux.Page("GET "+setupPrefix+"{token}", web.Public, l.showSetup) // guarded by the one-time link
	mux.Page("POST "+setupPrefix+"{token}", web.Public, l.setup)

	mux.Page("GET /logout", web.Public, l.showSignOut, web.WhileActing)
	mux.Page("POST /logout", web.Public, l.signOut, web.WhileActing)
	mux.Page("GET /logged-out", web.Public, l.signedOut, web.WhileActing)

	mux.Page("GET /account", web.SignedIn, l.account, web.WhileActing)
	mux.Page("POST /account/sessions/end", web.SignedIn, l.endSession)
	mux.Page("POST /account/sessions/end-others", web.SignedIn, l.endOtherSessions)
	mux.Page("POST /account/apps/remove", web.SignedIn, l.removeApp)
	mux.Page("GET "+privilegesPath, web.SignedIn, l.privileges)
	mux.Page("POST "+requestPath, web.SignedIn, l.request)
	mux.Page("POST "+withdrawPath, web.SignedIn, l.withdraw)
	if l.invites != nil {
		l.mountInvites(mux)
	}
	l.mountActing(mux)
	l.mountLeaving(mux)
	l.mountAddresses(mux)

	if l.templates != nil {
		mux.Page("POST "+PreferencesPath, web.Public, l.preferences, web.WhileActing)
	}
	if l.passkeys != nil {
		l.mountPasskeys(mux)
	}
	if len(l.upstreams) > 0 {
		l.mountConnectors(mux)
	}
	if l.phone != nil {
		l.mountPhone(mux)
	}
	if l.codeKey != nil { // guarded by what waits in this browser, or by the session
		mux.Page("GET "+completePath, web.Public, l.lacking(l.showComplete))
		mux.Page("POST "+completePath, web.Public, l.lacking(l.complete))
		mux.Page("GET "+codePath, web.Public, l.coding(l.showCode))
		mux.Page("POST "+codePath, web.Public, l.coding(l.enterCode))
		mux.Page("POST "+resendPath, web.Public, l.coding(l.resendCode))
	}
}

// mountAddresses are the pages about passwords and addresses: only those that this configuration has a use for.
func (l *Login) mountAddresses(mux *web.Mux) {
	if !l.noPassword {
		mux.Page("GET "+passwordPath, web.SignedIn, l.showPassword)
		mux.Page("POST "+passwordPath, web.SignedIn, l.setPassword)
		mux.Page("GET /.well-known/change-password", web.Public, l.changePassword)
		mux.Page("GET "+resetPrefix+"{token}", web.Public, l.showReset) // guarded by the one-time link, which an administrator may hand over without any mail
		mux.Page("POST "+resetPrefix+"{token}", web.Public, l.reset)
	}
	if l.codeKey == nil {
		return
	}
	mux.Page("GET "+emailPath, web.SignedIn, l.showEmail)
	mux.Page("POST "+emailPath, web.SignedIn, l.changeEmail)
	mux.Page("GET "+emailCodePath, web.SignedIn, l.changing(l.showCode))
	mux.Page("POST "+emailCodePath, web.SignedIn, l.changing(l.enterCode))
	mux.Page("POST "+emailResendPath, web.SignedIn, l.changing(l.resendCode))
	mux.Page("GET "+undoPrefix+"{token}", web.Public, l.showUndo) // guarded by the one-time link, like the reset
	mux.Page("POST "+undoPrefix+"{token}", web.Public, l.undo)
	if !l.noPassword {
		mux.Page("GET "+forgotPath, web.Public, l.showForgot)
		mux.Page("POST "+forgotPath, web.Public, l.forgot)
		mux.Page("GET "+forgotSentPath, web.Public, l.forgotSent)
	}
	if l.emailCode { // guarded by what waits in this browser
		mux.Page("GET "+emailCodeStartPath, web.Public, l.showEmailCode)
		mux.Page("POST "+emailCodeStartPath, web.Public, l.askEmailCode)
		mux.Page("GET "+emailCodeEnterPath, web.Public, l.mailing(store.AttemptCode, methodEmailCode, l.signInCoded, l.showCode))
		mux.Page("POST "+emailCodeEnterPath, web.Public, l.mailing(store.AttemptCode, methodEmailCode, l.signInCoded, l.enterCode))
		mux.Page("POST "+emailCodeResendPath, web.Public, l.mailing(store.AttemptCode, methodEmailCode, l.signInCoded, l.resendCode))
	}
	if !l.noPassword || l.emailCode {
		mux.Page("GET "+registerPath, web.Public, l.showRegister)
		mux.Page("POST "+registerPath, web.Public, l.signUp)
		mux.Page("GET "+registerCodePath, web.Public, l.mailing(store.AttemptRegister, "", l.registerCoded, l.showCode))
		mux.Page("POST "+registerCodePath, web.Public, l.mailing(store.AttemptRegister, "", l.registerCoded, l.enterCode))
		mux.Page("POST "+registerResendPath, web.Public, l.mailing(store.AttemptRegister, "", l.registerCoded, l.resendCode))
	}
}

func (l *Login) mountConnectors(mux *web.Mux) {
	mux.Page("GET "+startPrefix+"{connector}", web.Public, l.start)
	mux.Page("GET "+callbackPrefix+"{connector}", web.Public, l.callback) // guarded by state and browser
	mux.Page("POST "+callbackPrefix+"{connector}", web.Public, l.callbackPost, web.CrossSitePOST)
	mux.Page("GET "+linkPath, web.Public, l.showLink) // guarded by the identity that waits in this browser, like the next
	mux.Page("POST "+linkPath, web.Public, l.link)

	mux.Page("GET "+connectionsPath, web.SignedIn, l.connections)
	mux.Page("POST "+connectionsPath+"/{connector}/link", web.SignedIn, l.linkConnection)
	mux.Page("POST "+connectionsPath+"/{id}/unlink", web.SignedIn, l.unlinkConnection)

	// From an upstream's servers: the signature in the body is all there is.
	mux.API("POST "+callbackPrefix+"{connector}/deauthorize", l.deauthorize)
	mux.API("POST "+callbackPrefix+"{connector}/data-deletion", l.dataDeletion)
	mux.API("POST "+callbackPrefix+"{connector}/backchannel", l.backchannel)
	mux.Page("GET "+deletionPrefix+"{code}", web.Public, l.deletionStatus)
}

// SignInURL is the sign-in page of a flow, or of nothing in particular when handle is "".
func SignInURL(handle string) string { return withFlow(signInPath, handle) }

const (
	signInPath      = "/login"
	newPasswordPath = "/login/new-password"
	accountPath     = "/account"
	signedOutPath   = "/logged-out"
	setupPrefix     = "/setup/" // and a token
	linkPath        = "/login/link"
	completePath    = "/login/complete"
	codePath        = completePath + "/code"
	resendPath      = completePath + "/resend"
	connectionsPath = "/account/connections"
	deletionPrefix  = "/privacy/deletion/" // and a code

	passwordPath    = "/account/password"
	emailPath       = "/account/email"
	emailCodePath   = emailPath + "/code"
	emailResendPath = emailPath + "/resend"
	undoPrefix      = "/login/undo/" // and a token

	forgotPath     = "/login/forgot"
	forgotSentPath = forgotPath + "/sent"
	resetPrefix    = "/login/reset/" // and a token

	registerPath       = "/register"
	registerCodePath   = registerPath + "/code"
	registerResendPath = registerPath + "/resend"

	emailCodeStartPath  = "/login/code"
	emailCodeEnterPath  = emailCodeStartPath + "/enter"
	emailCodeResendPath = emailCodeStartPath + "/resend"
)

func withFlow(path, handle string) string {
	if handle == "" {
		return path
	}
	return path + "?" + url.Values{"flow": {handle}}.Encode()
}

// wrap names this package once on errors that nobody further in has explained; errors made for people pass unchanged.
func wrap(what string, err error) error {
	var forPeople *web.Error
	if err == nil || errors.As(err, &forPeople) {
		return err
	}
	return fmt.Errorf("login: %s: %w", what, err)
}
