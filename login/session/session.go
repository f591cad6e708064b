// Package session keeps people signed in.
//
// It owns the cookies of the sign-in side and the rows behind them: a complete sign-in is a Session, a half-finished one is a Partial,
// and neither can be taken for the other. It refuses to keep anything in a cookie but an id and a secret: the row is the truth, so
// signing out, disabling an account and resetting a password work at once, in every process.
//
//	cookie ─securecookie─▶ id.secret ─▶ row by id ─▶ SHA-256(secret) equal? ─▶ user active? ─▶ Session
//
// Somebody who acts for another person (acting.go) is still themselves: UserID, sign-in and end of the session stay theirs. Whether they may is
// asked again on every request.
//
// Every change of what somebody may do makes a new id, and the old one dies in the same transaction. Trouble with the database is an
// error, never a signed-out person.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// Config of the session manager. Durations default to architecture.md's settled detail 15.
type Config struct {
	Store            *store.Store
	Keys             [][]byte         // cookie keys, newest first, 64 bytes each (32 to authenticate, 32 to encrypt)
	Insecure         bool             // http issuer (development only): names without __Host- and Secure
	Now              func() time.Time // nil = the store's clock, which all processes share (security.md J6)
	Idle             time.Duration    // default 12 h
	Absolute         time.Duration    // default 7 d
	RememberIdle     time.Duration    // with "keep me signed in"; default 14 d
	RememberAbsolute time.Duration    // default 30 d
	Spawn            func(func())     // runs last_seen writes off the request's path; nil = go
	Logger           *slog.Logger     // of what goes wrong there; nil = discarded
	// Enabled answers for the way a session began; of one that is gone no session is left (security.md E11). nil = all are there.
	Enabled func(connector string) bool
}

// Manager makes, reads and ends sessions. Make it with New.
type Manager struct {
	c        Config
	cookies  names
	sessions *Store // complete ones
	codecs   []securecookie.Codec
	touching sync.Map // session ids whose last_seen is being written
}

const (
	partialLife  = 5 * time.Minute
	partialTries = 5
	seenEvery    = 5 * time.Minute
	touchTime    = 5 * time.Second
)

// New checks the configuration.
func New(c Config) (*Manager, error) {
	if c.Store == nil {
		return nil, errors.New("session: Store is required")
	}
	pairs := make([][]byte, 0, 2*len(c.Keys))
	for _, k := range c.Keys {
		if len(k) != 64 {
			return nil, fmt.Errorf("session: a cookie key has %d bytes, not 64", len(k))
		}
		pairs = append(pairs, k[:32], k[32:])
	}
	if len(pairs) == 0 {
		return nil, errors.New("session: Keys is required")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Idle, 12 * time.Hour}, {&c.Absolute, 7 * 24 * time.Hour}, {&c.RememberIdle, 14 * 24 * time.Hour}, {&c.RememberAbsolute, 30 * 24 * time.Hour}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Now == nil {
		c.Now = c.Store.Clock
	}
	if c.Spawn == nil {
		c.Spawn = func(f func()) { go f() }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{c: c, cookies: cookieNames(c.Insecure), codecs: securecookie.CodecsFromPairs(pairs...)}
	for _, codec := range m.codecs {
		// The row says how long a session lives; the value is two short strings of ours and needs no gob.
		codec.(*securecookie.SecureCookie).MaxAge(0).MaxLength(maxCookie).SetSerializer(securecookie.NopEncoder{})
	}
	m.sessions = &Store{m: m}
	return m, nil
}

// Session is a COMPLETE sign-in of a user who was active when it was read. UserID and Live are always whoever really signed in.
type Session struct {
	store.Session
	Live *store.Live // read in the same statement
	// For is the person they act for, who was found to be represented rightfully when the session was read; nil = they are themselves. Only a
	// route that says web.WhileActing sees a session with it.
	For *store.Live
}

// Acting says whether the person acts for another.
func (s *Session) Acting() bool { return s.For != nil }

// Person is whom pages and tokens speak of: the person represented, or whoever signed in.
func (s *Session) Person() *store.Live {
	if s.For != nil {
		return s.For
	}
	return s.Live
}

type contextKey struct{}

// Current returns the complete session of this request.
func Current(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(contextKey{}).(*Session)
	return s, ok && s != nil
}

// Without returns a context in which nobody is signed in: for what is done on behalf of somebody else than who sent the request.
func Without(ctx context.Context) context.Context { return With(ctx, nil) }

// With returns a context that holds s, for what still happens in the request that began it.
func With(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// Load is web.Config.Session: no cookie, no statement. A cookie that is ours costs one statement. A session that is over, or whose
// user may not be used now, is no session. Database trouble is an error (503), never anonymous.
func (m *Manager) Load(ctx context.Context, r *http.Request) (context.Context, error) {
	if len(r.Header["Cookie"]) == 0 {
		return ctx, nil
	}
	s, err := m.read(ctx, r)
	if err != nil || s == nil {
		return ctx, err
	}
	web.LogAttrs(ctx, slog.String("user", s.UserID))
	if s.Acting() {
		web.LogAttrs(ctx, slog.String("acting_for", s.ActingFor))
	}
	m.seen(ctx, s)
	return With(ctx, s), nil
}

// read returns the session of the request's cookie, nil when there is none.
func (m *Manager) read(ctx context.Context, r *http.Request) (*Session, error) {
	id, secret, ok := m.decode(r, m.cookies.session)
	if !ok {
		return nil, nil
	}
	row, live, err := m.c.Store.LiveSession(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("session: read: %w", err)
	case !secretMatches(secret, row.SecretHash) || !live.User.Active(m.c.Now()):
		return nil, nil
	case m.c.Enabled != nil && !m.c.Enabled(row.Connector):
		return nil, nil
	}
	s := &Session{Session: *row, Live: live}
	if err := m.represented(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// seen writes last_seen at most every five minutes, off the request's path. A write that fails is tried at the next request.
func (m *Manager) seen(ctx context.Context, s *Session) {
	now := m.c.Now()
	if now.Sub(s.LastSeenAt.Time) < seenEvery {
		return
	}
	if _, busy := m.touching.LoadOrStore(s.ID, struct{}{}); busy {
		return
	}
	id, ctx := s.ID, context.WithoutCancel(ctx)
	m.c.Spawn(func() {
		defer m.touching.Delete(id)
		ctx, cancel := context.WithTimeout(ctx, touchTime)
		defer cancel()
		if err := m.c.Store.TouchSession(ctx, id, now); err != nil && !errors.Is(err, store.ErrNotFound) {
			m.c.Logger.WarnContext(ctx, "last_seen not written", "error", err)
		}
	})
}

// Proof is what a finished sign-in showed.
type Proof struct {
	UserID    string
	Connector string   // "password"
	AMR       []string // RFC 8176
	Remember  bool
	Data      string // sealed; of a half-finished sign-in: what it needs to go on
}

// Start makes a session after a complete sign-in: always a new id; the old one (if any) ends. It joins the transaction of r's
// context. Somebody whose account may not be used gets none, whoever called.
func (m *Manager) Start(w http.ResponseWriter, r *http.Request, p Proof) (*Session, error) {
	s, err := m.start(w, r, p, "")
	if err != nil {
		return nil, fmt.Errorf("session: start: %w", err)
	}
	return s, nil
}

// start also ends a partial sign-in, which may be done once: ErrUsed.
func (m *Manager) start(w http.ResponseWriter, r *http.Request, p Proof, partial string) (*Session, error) {
	live, err := m.c.Store.Live(r.Context(), p.UserID)
	if err != nil {
		return nil, err
	}
	if !live.User.Active(m.c.Now()) {
		return nil, &web.Error{Status: http.StatusForbidden, Err: errors.New("session: the account may not be used now")}
	}
	g := sessions.NewSession(m.sessions, m.cookies.session)
	g.IsNew, g.Values[proofKey{}], g.Values[partialKey{}] = true, p, partial
	if err := g.Save(r, w); err != nil {
		return nil, err
	}
	m.keepFlowCookie(w, r)
	if m.SignedOut(r) {
		m.dropCookie(w, m.cookies.out)
	}
	s := g.Values[sessionKey{}].(*Session)
	s.Live = live
	return s, nil
}

// row makes the row of a new session and the secret its cookie will carry.
func (m *Manager) row(r *http.Request, p Proof) (*store.Session, string) {
	now := m.c.Now()
	idle, absolute := m.c.Idle, m.c.Absolute
	if p.Remember {
		idle, absolute = m.c.RememberIdle, m.c.RememberAbsolute
	}
	secret := newSecret()
	return &store.Session{
		ID: newID(), SecretHash: hashHex(secret), UserID: p.UserID, Connector: p.Connector,
		AMR: slices.Clone(p.AMR), ACR: ACR(p.AMR), AuthTime: store.At(now), CreatedAt: store.At(now), LastSeenAt: store.At(now),
		IdleMS: idle.Milliseconds(), ExpiresAt: store.At(now.Add(absolute)),
		IP: clientIP(r.Context()), UserAgent: userAgent(r),
	}, secret
}

// End ends the current session, its cookie and its grants that are not offline. Somebody without a session loses the cookie only.
func (m *Manager) End(w http.ResponseWriter, r *http.Request, reason string) error {
	if id := m.currentID(r); id != "" {
		if err := m.c.Store.EndSession(r.Context(), id, reason); err != nil {
			return fmt.Errorf("session: end: %w", err)
		}
		m.setCookie(w, m.cookies.out, "1", outLife)
	}
	m.dropCookie(w, m.cookies.session)
	return nil
}

// outLife is how long a sign-out keeps a sign-in from starting by itself.
const outLife = 10 * time.Minute

// SignedOut says whether somebody signed out in this browser a moment ago and nobody signed in since. It stands between a sign-out and an
// upstream that would answer without asking anybody. It protects nobody, so anybody may set it.
func (m *Manager) SignedOut(r *http.Request) bool {
	c, err := r.Cookie(m.cookies.out)
	return err == nil && c.Value != ""
}

// currentID is the session this browser proved to hold in this request, "" for none. A cookie alone does not prove it: its row may
// have another secret.
func (m *Manager) currentID(r *http.Request) string {
	if s, ok := Current(r.Context()); ok {
		return s.ID
	}
	return ""
}

// SID is the sid claim for the sid of a session's row: derived, so that neither cookie nor row can be guessed from it. It stays when the
// same person signs in again in the same browser, and the session's id does not.
func SID(sessionID string) string {
	h := sha256.Sum256([]byte("latchkey/sid\x00" + sessionID))
	return base64.RawURLEncoding.EncodeToString(h[:16])
}

// ACR from what was proved (architecture.md, settled detail 14): "1" one factor, "2" two factors, "phr" a passkey that verified its
// user or came with a second factor, "phrh" the same with the key in hardware. A passkey that only saw a touch is one factor.
func ACR(amr []string) string {
	has := func(m string) bool { return slices.Contains(amr, m) }
	key := has("hwk") || has("swk") // RFC 8176 §2
	verified := has("user") || has("pin") || has("mfa") || has("pwd") || has("otp") || has("sms")
	switch {
	case has("hwk") && verified:
		return "phrh"
	case key && verified:
		return "phr"
	case has("mfa"):
		return "2"
	}
	kinds := 0 // of factors: something known, something held; a connector's word and a mailed code are each one of the first kind
	if has("pwd") || has("fed") || has("email") {
		kinds++
	}
	if has("otp") || has("sms") {
		kinds++
	}
	if kinds == 2 {
		return "2"
	}
	return "1"
}

// ACRValues is the ladder, lowest first: who reached one reached those before it.
var ACRValues = []string{"1", "2", "phr", "phrh"}

// Reaches says whether a sign-in with the acr have is as good as one with want. An acr that is not on the ladder reaches nothing and is not reached.
func Reaches(have, want string) bool {
	h, w := slices.Index(ACRValues, have), slices.Index(ACRValues, want)
	return w >= 0 && h >= w
}

func newID() string { return strings.ToLower(rand.Text()) }

// newSecret is 256 bits as base64url.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashHex(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func secretMatches(secret, hash string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(hashHex(secret)), []byte(hash)) == 1
}

// userAgent is cut: it is shown on the account page and nothing else.
func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	if len(ua) > 256 {
		ua = ua[:256]
	}
	return strings.ToValidUTF8(ua, "")
}
