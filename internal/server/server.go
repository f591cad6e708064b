// Package server builds Latchkey from its configuration and runs it. It is the only package that knows all the others: provider and
// login meet here and nowhere else, and each gets the one function it needs of the other.
//
//	config ─▶ logger ─▶ store (opened, checked, migrated) ─▶ master keys ─▶ templates ─▶ sessions ─▶ mux ─▶ provider, login
//	Run: public listener │ management listener │ loops: store.Watch, purge, keys, delivery │ drain
//
// It owns the listeners with their limits, the management pages, metrics, reload and shutdown, and the demonstration's outbox page.
// It refuses to start on a database it cannot vouch for (damaged, newer, unreadable keys) and holds no rule of the protocol or of
// signing in.
package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/admin"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/delivery"
	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/twilio"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/passkey"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Options are the seam between a server and whoever starts it; the zero value is production.
type Options struct {
	Now    func() time.Time // nil = time.Now
	Logger *slog.Logger     // nil = made from the configuration, writing to LogTo
	LogTo  io.Writer        // nil = standard error
	// Ready is called once, when both listeners accept.
	Ready func(Addresses)
	// NoBackground leaves the loops out of Run: for tests that count statements.
	NoBackground bool
	// DrainTime is how long requests under way may take after a stop; 0 = 20 s.
	DrainTime time.Duration
	// Demo adds /dev/outbox and the banner that says so. Never set by latchkey serve.
	Demo bool
	// Load reads the configuration again and Reload asks for it (SIGHUP); both nil = no reload.
	Load   func() (*config.Config, error)
	Reload <-chan os.Signal
	// Outbound reaches the addresses that applications name; nil = public addresses only.
	Outbound *http.Client
	// Spawn runs small writes off the request's path; nil = a goroutine.
	Spawn func(func())
}

// Server is a built Latchkey. Make it with New, then Run it, or use Handler without sockets and Close it.
type Server struct {
	opts   Options
	issuer string
	now    func() time.Time
	log    *slog.Logger
	level  *slog.LevelVar

	mu  sync.Mutex // one reload at a time; guards cfg
	cfg *config.Config

	firstStart bool // this process made the database

	store     *store.Store
	master    provider.MasterKeys
	keys      *provider.KeySet
	passwords *password.Hasher
	templates *templates.Set
	sessions  *session.Manager
	guard     *admin.Guard
	mux       *web.Mux
	provider  *provider.Provider
	login     *login.Login
	admin     *admin.Admin
	requests  *requests.Desk
	invites   *invites.Desk
	logouts   *delivery.Worker // tells applications of ended sessions
	delivery  *delivery.Worker // nil = nothing is sent: there is neither mail nor SMS, or they stay to be looked at
	twilio    *twilio.Client   // nil = no SMS is sent
	metrics   *metrics
	alarmed   sync.Map // what textAlarm told of last: the day, by the event
	ready     *readiness
	certs     *certificates // nil = plain HTTP

	closeOnce sync.Once
	closeErr  error
}

const (
	// startTimeout bounds what New does with the database.
	startTimeout = time.Minute
	// integrityTime bounds its check for damage: some 100 MB take a second, and a large database may not hold up a start for long.
	integrityTime = 2 * time.Second
)

// New builds a server. Everything it opens is closed again when it fails.
func New(cfg *config.Config, opts Options) (_ *Server, err error) {
	s := &Server{opts: opts, issuer: cfg.Issuer, now: opts.Now, level: new(slog.LevelVar), cfg: cfg, metrics: newMetrics(Version())}
	if s.now == nil {
		s.now = time.Now
	}
	s.level.Set(level(cfg))
	if s.log = opts.Logger; s.log == nil {
		s.log = newLogger(opts.LogTo, cfg.Log.Format, s.level)
	}
	defer func() {
		if err != nil && s.store != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{s.openStore, s.openKeys, s.openPages, s.openOutbox, s.openLogouts, s.build, s.openAdmin, s.fill, s.mount} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) openStore(ctx context.Context) (err error) {
	// Before the database is opened, because opening makes the file beside which a development key is looked for.
	if s.master, err = masterKeys(s.cfg); err != nil {
		return err
	}
	if s.store, err = openStore(ctx, s.cfg, s.log, s.now); err != nil {
		return err
	}
	s.now = s.store.Clock // one clock for all processes of a database
	// Nothing is served from a damaged file (security.md J12).
	if err := s.store.CheckIntegrity(ctx, integrityTime); err != nil {
		return fmt.Errorf("%w; restore a backup, or ask the database's own tools", err)
	}
	if s.firstStart, err = migrate(ctx, s.store); err != nil {
		return err
	}
	if err := s.warnOfNoAdmin(ctx); err != nil {
		return err
	}
	s.ready = &readiness{ping: s.store.Ping, now: time.Now}
	s.metrics.watchStore(s.store)
	return nil
}

func (s *Server) openKeys(ctx context.Context) (err error) {
	if s.keys, err = newKeys(s.cfg, s.store, s.master, s.log, s.now); err != nil {
		return err
	}
	return s.keys.Ensure(ctx)
}

func (s *Server) openPages(context.Context) (err error) {
	if s.templates, err = pages(s.cfg, s.opts.Demo); err != nil {
		return err
	}
	if s.passwords, err = newHasher(s.cfg, s.master, s.log); err != nil {
		return err
	}
	s.metrics.watchPasswords(s.passwords)
	s.sessions, err = session.New(session.Config{
		Store: s.store, Keys: s.master.DeriveAll("session-cookie", 64), Insecure: insecure(s.cfg), Now: s.now, Spawn: s.opts.Spawn,
		Idle: s.cfg.Sessions.Idle, Absolute: s.cfg.Sessions.Absolute,
		RememberIdle: s.cfg.Sessions.RememberIdle, RememberAbsolute: s.cfg.Sessions.RememberAbsolute,
		Enabled: func(id string) bool { return s.login.ConnectorEnabled(id) },
	})
	if err != nil {
		return err
	}
	if t := s.cfg.HTTP.TLS; t.CertFile != "" {
		s.certs = &certificates{certFile: t.CertFile, keyFile: t.KeyFile}
		if err := s.certs.Load(); err != nil {
			return configError(s.cfg, "http.tls", err)
		}
	}
	s.guard = admin.NewGuard(s.store, s.log)
	binding, bind := login.FormBinding(s.sessions)
	s.mux, err = web.NewMux(web.Config{
		Issuer: s.issuer, AllowedHosts: s.cfg.HTTP.AllowedHosts, Templates: s.templates, Logger: s.log, MaxBody: int64(s.cfg.Limits.MaxBody),
		TrustedProxies: s.cfg.HTTP.TrustedProxies, HSTS: !insecure(s.cfg), CSRFKey: s.master.Derive("csrf"),
		Session: s.sessions.Load, SignedIn: signedIn, SignIn: s.signIn, Allow: s.allow, Acting: acting, Person: s.person, Binding: binding, Bind: bind,
		Observe: s.metrics.observe, Panicked: s.metrics.panics.Inc,
	})
	return err
}

func (s *Server) build(context.Context) (err error) {
	// Each of the two gets the other's one function; provider is made second and is there before the first request.
	limiter, err := throttle.New(throttle.Config{Store: s.store, Key: s.master.Derive("throttle"), Now: s.now,
		DelayAfter: s.cfg.Limits.Login.DelayAfter, LockAfter: s.cfg.Limits.Login.LockAfter, LockFor: s.cfg.Limits.Login.LockFor})
	if err != nil {
		return err
	}
	ups, err := upstreams(s.cfg, web.Outbound(false), s.now)
	if err != nil {
		return err
	}
	party, err := passkeys(s.cfg)
	if err != nil {
		return err
	}
	s.requests = &requests.Desk{Store: s.store, Templates: s.templates, Mail: s.codeKey() != nil}
	s.invites = &invites.Desk{Store: s.store, Templates: s.templates, Issuer: s.issuer, Mail: s.codeKey() != nil,
		Life: s.cfg.Invites.Lifetime, TwoFor: s.cfg.Invites.TwoApprovals}
	s.login, err = login.New(login.Config{
		Requests: s.requests, Invites: s.invites,
		Issuer: s.issuer, Connectors: ups, Seal: s.master.Seal, Open: s.master.Open, CodeKey: s.codeKey(),
		Observe: func(connector, result string) { s.metrics.answers.WithLabelValues(connector, result).Inc() },
		Store:   s.store, Mux: s.mux, Sessions: s.sessions, Passwords: s.passwords, Limiter: limiter, Templates: s.templates, Logger: s.log, Now: s.now,
		Phone:       s.phoneLogin(),
		Passkeys:    party,
		Administers: s.guard.Any, Factors: factorPolicy(s.cfg),
		MayActAs:   func(ctx context.Context) error { return s.guard.Authorize(ctx, "users.act_as") },
		Leaving:    login.Leaving{Allowed: s.cfg.Accounts.OwnDeletion, Grace: s.cfg.Accounts.DeletionGrace},
		NoPassword: !s.cfg.Login.Password.Enabled, EmailCode: s.cfg.Login.EmailCode.Enabled, Registration: s.cfg.Login.Registration, Domains: s.cfg.Login.Domains,
		Done: func(w http.ResponseWriter, r *http.Request, flow string) error {
			return s.provider.Continue(w, r, flow)
		},
		FrontChannel: func(ctx context.Context, sid string) ([]string, error) { return s.provider.FrontChannel(ctx, sid) },
	})
	if err != nil {
		return err
	}
	t, grace := s.cfg.Tokens, s.cfg.Tokens.RefreshGrace
	if grace == 0 {
		grace = -1 // the operator's "never"; provider's zero value is its default
	}
	s.provider, err = provider.New(provider.Config{
		Issuer: s.issuer, Store: s.store, Mux: s.mux, Sessions: s.sessions, Keys: s.keys, Logger: s.log, Now: s.now,
		Login: func(_ context.Context, handle string, _ store.Flow) (string, error) {
			return login.SignInURL(handle), nil
		},
		// Every grant of a way in that is gone ends with it.
		ConnectorEnabled: s.login.ConnectorEnabled,
		Owes:             s.login.Owes,
		LeastACR:         s.login.LeastACR, MostACR: s.login.MostACR, FirstOwed: s.login.FirstOwed,
		UpstreamSignOut: s.login.UpstreamSignOut,
		Outbound:        s.opts.Outbound,
		Debug:           debugged(s.cfg),
		Observe:         s.metrics.engine,
		CodeLife:        t.CodeTTL, AccessLife: t.AccessTTL, IDTokenLife: t.IDTTL,
		RefreshIdle: t.RefreshIdle, RefreshAbsolute: t.RefreshAbsolute, RefreshGrace: grace,
	})
	return err
}

// fill brings the database in line with the file.
func (s *Server) fill(ctx context.Context) error {
	if err := apply(ctx, s.store, s.master, s.cfg); err != nil {
		return err
	}
	rules, err := guardRules(s.cfg)
	if err != nil {
		return err
	}
	s.setRules(rules)
	return nil
}

// setRules puts them in force: for the pages, and for whoever acts for another, wherever they are.
func (s *Server) setRules(rules admin.Rules) {
	s.guard.Set(rules)
	s.store.SetActionRules(rules.Requires)
}

// guardRules are what the pages of administration require beside permissions. The configuration was checked when it was read.
func guardRules(c *config.Config) (admin.Rules, error) {
	by := map[string]privilege.Requirement{}
	for name, rule := range c.Actions {
		r, err := privilege.ParseRequirement(rule.Requires, nil)
		if err != nil {
			return admin.Rules{}, configError(c, "actions", err)
		}
		by[name] = r
	}
	requires, err := privilege.NewRules(by)
	if err != nil {
		return admin.Rules{}, configError(c, "actions", err)
	}
	rules := admin.Rules{Requires: requires}
	if asked := debugged(c); asked != nil {
		rules.Debug = func(action, question string) bool {
			section, _, _ := strings.Cut(action, ".")
			return asked(question) && (c.Actions[action].DebugPermissions || c.Actions[section].DebugPermissions)
		}
	}
	return rules, nil
}

func (s *Server) mount(context.Context) error {
	s.login.Mount(s.mux)
	s.provider.Mount(s.mux)
	s.admin.Mount()
	s.mountStatic()
	if s.opts.Demo {
		s.mountOutbox()
	}
	return nil
}

// Handler serves the public listener's requests; tests call it without sockets.
func (s *Server) Handler() http.Handler { return s.mux }

// Management serves the management listener's requests.
func (s *Server) Management() http.Handler {
	if !s.cfg.Metrics.Enabled {
		return management(s.ready, nil)
	}
	return management(s.ready, s.metrics)
}

// Store is the database.
func (s *Server) Store() *store.Store { return s.store }

// Provider is the protocol engine.
func (s *Server) Provider() *provider.Provider { return s.provider }

// Requests is where privileges are asked for, and given or not.
func (s *Server) Requests() *requests.Desk { return s.requests }

// Mux holds the routes.
func (s *Server) Mux() *web.Mux { return s.mux }

// Keys are the signing keys.
func (s *Server) Keys() *provider.KeySet { return s.keys }

// Passwords hashes passwords, as sign-in does.
func (s *Server) Passwords() *password.Hasher { return s.passwords }

// Templates are the pages and texts.
func (s *Server) Templates() *templates.Set { return s.templates }

// Close closes the database. Run does it by itself.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.store.Close() })
	return s.closeErr
}

// FirstStart says whether New made the database.
func (s *Server) FirstStart() bool { return s.firstStart }

// Logger of this server.
func (s *Server) Logger() *slog.Logger { return s.log }

// SetupLink makes the one-time link for the first administrator; ErrSetupDone once there was one, or where nobody could sign in with the password that
// is chosen there.
func (s *Server) SetupLink(ctx context.Context) (string, error) {
	if !s.cfg.Login.Password.Enabled {
		return "", ErrSetupDone
	}
	link, err := login.NewSetupLink(ctx, s.store, s.issuer, login.SetupTTL)
	if errors.Is(err, login.ErrSetupDone) {
		return "", ErrSetupDone
	}
	return link, err
}

// ErrSetupDone says that somebody was administrator once: the web set-up stays shut (security.md G5).
var ErrSetupDone = errors.New("set up already")

// debugged says of an action whether its permission checks are logged. The configuration allows it in development only; this asks again, for clients
// that were flagged in a database.
func debugged(c *config.Config) func(action string) bool {
	if c.Environment != config.Development {
		return nil
	}
	return func(action string) bool { return slices.Contains(c.DebugPermissions, action) }
}

// allow is the rule of pages of administration: what the person may do, and that they showed as much as their account demands.
func (s *Server) allow(ctx context.Context, action string) error {
	if err := s.guard.Authorize(ctx, action); err != nil {
		return err
	}
	return s.login.Assured(ctx)
}

// passkeys are those of the configuration, nil = none.
func passkeys(c *config.Config) (*login.Passkeys, error) {
	if !c.PasskeysOn() {
		return nil, nil
	}
	party, err := passkey.New(c.Issuer, c.AppName)
	if err != nil {
		return nil, err
	}
	return &login.Passkeys{Party: party, Offer: c.Passkeys.Offer}, nil
}

// factorPolicy is the configuration's block mfa in login's words.
func factorPolicy(c *config.Config) login.FactorPolicy {
	return login.FactorPolicy{Passkey: c.PasskeysOn(), App: c.MFA.AllowApp, SMS: c.MFA.AllowSMS, AllowedFor: c.MFA.AllowedFor, RequiredFor: c.MFA.RequiredFor,
		Administrators: c.AdministratorsNeedMFA(), AdministratorCode: c.AdministratorsNeedCode(), AppName: c.AppName}
}

func signedIn(ctx context.Context) bool {
	_, ok := session.Current(ctx)
	return ok
}

func acting(ctx context.Context) bool {
	s, ok := session.Current(ctx)
	return ok && s.Acting()
}

// signIn sends a person without a session to the sign-in page, and back to the page they asked for. It is kept in a cookie of ours, sealed, and
// only where a route of ours matched: no address from a browser is ever followed (security.md C8).
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		s.sessions.KeepPlace(w, r.URL.RequestURI())
	}
	return web.SeeOther(w, r, login.SignInURL(""))
}

// person is who the head of each page names; the language, and those left out of pickers, are of whoever reads it (R86). Whoever is not signed in is
// of the type anonymous (R88).
func (s *Server) person(ctx context.Context) (p *templates.Person, locale string, hidden []string) {
	// Without definitions a page is still a page: what it shows needs none.
	m, err := s.store.Model(ctx)
	cur, ok := session.Current(ctx)
	if !ok {
		if err == nil {
			if t := m.TypeNamed(privilege.TypeAnonymous); t != nil {
				hidden = t.HiddenLanguages
			}
		}
		return nil, "", hidden
	}
	u, shown := &cur.Live.User, &cur.Person().User
	if err == nil {
		if t := m.Type(u.UserType); t != nil {
			hidden = t.HiddenLanguages
		}
	}
	return &templates.Person{Name: shown.Name(), Email: shown.Email, Represented: cur.Acting()}, u.Locale, hidden
}

// pages parses the templates.
func pages(c *config.Config, demo bool) (*templates.Set, error) {
	return templates.New(templates.Options{AppName: c.AppName, Accent: c.Branding.Accent, Issuer: c.Issuer, Demo: demo, Preferences: login.PreferencesPath})
}

func newKeys(c *config.Config, st *store.Store, master provider.MasterKeys, log *slog.Logger, now func() time.Time) (*provider.KeySet, error) {
	return provider.NewKeySet(provider.KeyConfig{Store: st, Master: master, Now: now, Logger: log, Period: c.Keys.Period,
		PublishAhead: c.Keys.PublishAhead, TokenLife: max(c.Tokens.AccessTTL, c.Tokens.IDTTL), RefreshLife: c.Tokens.RefreshAbsolute})
}

// newHasher hashes under a pepper from the newest master key (security.md F1). Hashes made under an older one are verified as long as
// that key is configured, and made anew at the next sign-in.
func newHasher(c *config.Config, master provider.MasterKeys, log *slog.Logger) (*password.Hasher, error) {
	peppers, ids := master.DeriveAll("password-pepper", 32), pepperIDs(master)
	old := map[string][]byte{}
	for i := range peppers[1:] {
		old[ids[i+1]] = peppers[i+1]
	}
	p := c.Login.Password
	var breached func(context.Context, string) (bool, error)
	if p.BreachURL != "" {
		breached = password.Range{URL: p.BreachURL, Client: web.Outbound(false)}.Known
	}
	return password.New(password.Config{
		Lowercase: p.Lowercase, Uppercase: p.Uppercase, Digits: p.Digits, Punctuation: p.Punctuation, Breached: breached,
		Trouble: func(ctx context.Context, err error) {
			log.WarnContext(ctx, "a password was not looked up among stolen ones", "error", err)
		},
		MemoryKiB: uint32(p.MemoryKiB), Time: uint32(p.Time), Threads: uint32(p.Threads),
		MinLength: p.MinLength, Context: []string{c.AppName, "latchkey"}, Pepper: peppers[0], PepperID: ids[0], OldPeppers: old})
}

// pepperIDs name the peppers in the hashes made with them, newest first. They say nothing about the keys.
func pepperIDs(master provider.MasterKeys) (ids []string) {
	for _, b := range master.DeriveAll("password-pepper-id", 8) {
		ids = append(ids, hex.EncodeToString(b))
	}
	return ids
}

// openStore connects; it neither reads nor changes the schema.
func openStore(ctx context.Context, c *config.Config, log *slog.Logger, now func() time.Time) (*store.Store, error) {
	return store.Open(ctx, store.Config{URL: c.Database.URL.Reveal(), Logger: log, Now: now, Readers: c.Database.Readers,
		KeepEvents: c.Audit.EventRetention, AdminWays: adminWays(c)})
}

// warnOfNoAdmin tells the operator when there were administrators, and none can sign in by this configuration: one that switched passwords off, say.
func (s *Server) warnOfNoAdmin(ctx context.Context) error {
	done, err := s.store.SetupDone(ctx)
	if err != nil || !done {
		return err
	}
	has, err := s.store.HasAdmin(ctx)
	if err == nil && !has {
		s.log.WarnContext(ctx, "no administrator can sign in by the ways that are switched on; connect one for them, or give somebody who has one admin with latchkey user grant")
	}
	return err
}

// adminWays are the ways to sign in that open the account of somebody with power over others.
func adminWays(c *config.Config) (list []string) {
	if c.Login.Password.Enabled {
		list = append(list, store.CredPassword)
	}
	if c.Login.EmailCode.Enabled {
		list = append(list, store.WayEmailCode)
	}
	if c.Login.Phone.Enabled {
		list = append(list, store.WayPhone)
	}
	if c.PasskeysOn() {
		list = append(list, store.WayPasskey)
	}
	for _, k := range c.Connectors {
		if k.Enabled && (k.AllowAdmins || k.TrustMFA) { // R41
			list = append(list, k.ID)
		}
	}
	return list
}

// migrate brings the schema up to date, or says why not. first: the database was empty.
func migrate(ctx context.Context, st *store.Store) (first bool, err error) {
	have, want, err := st.SchemaVersion(ctx)
	if err != nil {
		return false, err
	}
	if have > want {
		return false, newerSchema(have, want)
	}
	return have == 0, st.Migrate(ctx) // also when nothing is missing: it seeds what every database has
}

func newerSchema(have, want int64) error {
	return fmt.Errorf("%w: it has version %d and this program knows %d; use the newer program, or restore a backup from before the upgrade",
		store.ErrSchemaNewer, have, want)
}
