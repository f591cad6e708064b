package login_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// sealer is a master key for tests.
type sealer []byte

func (k sealer) aead() cipher.AEAD {
	block, err := aes.NewCipher(k)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

func (k sealer) seal(plain []byte, place string) string {
	return base64.RawURLEncoding.EncodeToString(k.aead().Seal(nil, nil, plain, []byte(place)))
}

func (k sealer) open(sealed, place string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, err
	}
	return k.aead().Open(nil, nil, raw, []byte(place))
}

// upstream is a provider and its connector in one, strict about everything that ties a callback to its beginning: a code is good once, for
// the verifier, nonce and redirect URI it was asked with.
type upstream struct {
	name string

	mu        sync.Mutex
	codes     map[string]issued
	exchanges int   // requests to the token endpoint
	broken    error // of the next AuthURL and Identify
	silent    bool  // it says nothing of when people signed in
	now       func() time.Time
}

type issued struct {
	challenge, nonce, redirect string
	who                        connectors.Identity
}

func newUpstream(name string) *upstream {
	return &upstream{name: name, codes: map[string]issued{}, now: time.Now}
}

func (u *upstream) setClock(now func() time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now = now
}

func (u *upstream) Name() string { return u.name }

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (u *upstream) AuthURL(_ context.Context, a connectors.Attempt) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.broken != nil {
		return "", u.broken
	}
	if len(a.State) < 22 || len(a.Nonce) < 22 || len(a.Verifier) < 43 || a.State == a.Nonce || a.State == a.Verifier {
		return "", errors.New("a weak attempt")
	}
	q := url.Values{
		"state": {a.State}, "nonce": {a.Nonce}, "code_challenge": {challenge(a.Verifier)}, "redirect_uri": {a.RedirectURI}, "login_hint": {a.LoginHint},
		"domain_hint": {a.DomainHint}, "prompt": {a.Prompt}, "acr_values": {strings.Join(a.ACRValues, " ")},
	}
	if a.MaxAge != nil {
		q.Set("max_age", strconv.Itoa(int(a.MaxAge.Seconds())))
	}
	return "https://" + u.name + ".example/authorize?" + q.Encode(), nil
}

func (u *upstream) Identify(_ context.Context, a connectors.Attempt, q url.Values) (connectors.Identity, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.broken != nil {
		return connectors.Identity{}, u.broken
	}
	if q.Get("error") != "" {
		return connectors.Identity{}, &connectors.Error{Kind: connectors.Denied, Code: q.Get("error"), Detail: "AADSTS-secret-words"}
	}
	u.exchanges++
	c, ok := u.codes[q.Get("code")]
	delete(u.codes, q.Get("code"))
	switch {
	case !ok, c.challenge != challenge(a.Verifier), c.nonce != a.Nonce, c.redirect != a.RedirectURI, q.Get("state") != a.State:
		return connectors.Identity{}, &connectors.Error{Kind: connectors.Invalid, Code: "invalid_grant"}
	}
	c.who.Connector = u.name
	if c.who.AuthTime.IsZero() && !u.silent {
		c.who.AuthTime = u.now()
	}
	return c.who, nil
}

// allow is what the person's consent at the upstream answers to the address it was opened with: the path of our callback.
func (u *upstream) allow(t *testing.T, away string, who connectors.Identity) string {
	t.Helper()
	to, err := url.Parse(away)
	must(t, err)
	if to.Host != u.name+".example" {
		t.Fatalf("not at %s but at %q", u.name, away)
	}
	q := to.Query()
	code := rand.Text()
	u.mu.Lock()
	u.codes[code] = issued{q.Get("code_challenge"), q.Get("nonce"), q.Get("redirect_uri"), who}
	u.mu.Unlock()
	back, err := url.Parse(q.Get("redirect_uri"))
	must(t, err)
	return back.Path + "?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.exchanges
}

func (u *upstream) breaks(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken = err
}

// open is an upstream whose people all get accounts.
func open(u *upstream, change ...func(*login.Upstream)) login.Upstream {
	up := login.Upstream{Connector: u, Label: strings.ToUpper(u.name[:1]) + u.name[1:], Registration: login.RegistrationOpen}
	for _, c := range change {
		c(&up)
	}
	return up
}

// person of an upstream with a proven address.
func person(subject, email string) connectors.Identity {
	return connectors.Identity{Issuer: "https://upstream.example", Subject: subject, Email: email, EmailTrust: connectors.TrustVerified, Name: "Ana Lee"}
}

func reported(subject, email string) connectors.Identity {
	id := person(subject, email)
	id.EmailTrust = connectors.TrustReported
	return id
}

// through signs in through u: from the application (or from /login), to the upstream, and back.
func (b *browser) through(u *upstream, who connectors.Identity, query ...string) *page {
	b.t.Helper()
	return b.get(u.allow(b.t, b.depart(u, query...), who))
}

// depart goes to the upstream and returns the address there.
func (b *browser) depart(u *upstream, query ...string) string {
	b.t.Helper()
	p := b.get("/test/start?" + strings.Join(query, "&"))
	link := p.byID("login-with-" + u.name)
	if link == nil {
		b.t.Fatalf("no button for %s at %s (%d): %s", u.name, p.url.Path, p.status, p.text())
	}
	return b.get(attr(link, "href")).away
}

// link begins to connect an upstream from the account page, and returns the address there.
func (b *browser) link(name string) string {
	b.t.Helper()
	p := b.get("/account/connections").formTo("/account/connections/"+name+"/link", "").submit()
	link := p.byID("go-link")
	if link == nil {
		b.t.Fatalf("at %s with %d: %s", p.url.Path, p.status, p.text())
	}
	return attr(link, "href")
}

func (p *page) code() string {
	if n := p.byID("error-code"); n != nil && n.FirstChild != nil {
		return n.FirstChild.Data
	}
	return ""
}

// refused fails unless the page is a dead end with this code, and nobody is signed in.
func (p *page) refused(code string) *page {
	p.b.t.Helper()
	if p.code() != code {
		p.b.t.Fatalf("at %s%s with %d and %q, want %q: %s", p.url.Path, p.away, p.status, p.code(), code, p.text())
	}
	if p.b.cookie(sessionCookie) != "" {
		p.b.t.Fatalf("%s, and there is a session", code)
	}
	return p
}

// arrived fails unless the page is the application's, and returns who is signed in there.
func (p *page) arrived() string {
	p.b.t.Helper()
	_, id, ok := strings.Cut(p.away, "https://app.example/callback?code=for-")
	if !ok {
		p.b.t.Fatalf("at %s%s with %d %q, not at the application: %s", p.url.Path, p.away, p.status, p.code(), p.text())
	}
	return id
}

func (s *site) users() int {
	s.t.Helper()
	list, err := s.store.Users(s.t.Context(), "", 100)
	must(s.t, err)
	return len(list)
}

func (s *site) read(id string) *store.User {
	s.t.Helper()
	u, err := s.store.User(s.t.Context(), id)
	must(s.t, err)
	return u
}

func (s *site) links(id string) []store.Identity {
	s.t.Helper()
	list, err := s.store.IdentitiesOf(s.t.Context(), id)
	must(s.t, err)
	return list
}

func TestConnect_NewAndKnown(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	id := b.through(g, person("g1", "ana@example.com")).arrived()
	u := s.read(id)
	if u.Email != "ana@example.com" || u.EmailVerifiedAt.IsZero() || u.GivenName != "Ana" || u.FamilyName != "Lee" || u.Profile.Nickname != "ana" {
		t.Errorf("%+v", u)
	}
	links := s.links(id)
	if len(links) != 1 || links[0].Connector != "google" || links[0].Subject != "g1" || links[0].EmailTrust != "verified" || len(links[0].Evidence) != 1 || links[0].LastUsedAt.IsZero() {
		t.Errorf("%+v", links)
	}
	sessions, err := s.store.SessionsOf(t.Context(), id)
	must(t, err)
	if len(sessions) != 1 || sessions[0].Connector != "google" || sessions[0].AMR[0] != "fed" || sessions[0].ACR != "1" {
		t.Errorf("%+v", sessions)
	}
	// The same person comes again in another browser, with another address and fewer claims: nothing of that blanks or moves anything.
	again := connectors.Identity{Issuer: "https://upstream.example", Subject: "g1"}
	if got := s.browser("192.0.2.2").through(g, again).arrived(); got != id {
		t.Errorf("came back as %s", got)
	}
	if after := s.read(id); after.GivenName != "Ana" || after.Email != "ana@example.com" || after.EmailVerifiedAt.IsZero() || s.links(id)[0].Email != "ana@example.com" {
		t.Errorf("a missing claim blanked something: %+v", after)
	}
	if s.users() != 1 || g.count() != 2 {
		t.Errorf("%d users, %d exchanges", s.users(), g.count())
	}
	if audit, err := s.store.AuditEntries(t.Context(), 0, 10); err != nil || len(audit) < 2 || audit[1].Actor != "connector:google" {
		t.Errorf("audit: %v %+v", err, audit)
	}
}

// Without an application a sign-in ends at the account.
func TestConnect_WithoutAFlow(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	b := s.browser("192.0.2.1")
	away := b.get(attr(b.get("/login").byID("login-with-google"), "href")).away
	b.get(g.allow(t, away, person("g1", "ana@example.com"))).expect("/account", http.StatusOK)
}
