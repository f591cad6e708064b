package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"

	"github.com/latchkey-idp/latchkey/store"
)

// storage is fosite's view of the database: one row per grant, and for each step one statement that decides every race. It does not
// implement fosite's transactions: nothing on the token path spans two statements that must agree, and a rollback on error would undo
// the revocation that a replay causes.
type storage struct{ p *Provider }

var (
	_ oauth2.CoreStorage                 = (*storage)(nil)
	_ oauth2.TokenRevocationStorage      = (*storage)(nil)
	_ openid.OpenIDConnectRequestStorage = (*storage)(nil)
	_ pkce.PKCERequestStorage            = (*storage)(nil)
	_ fosite.Storage                     = (*storage)(nil)
)

// flow is what one token request knows so far; fosite asks for the same code up to five times.
type flow struct {
	codeText string
	code     *sealedCode
	req      *fosite.Request // of the code or the refresh token
	grant    *store.Grant
	live     *store.Live
	rights   rights
	token    string // refresh token presented
	gen      int64  // its generation
	next     int64  // generation of the token handed out
	replayed bool   // within grace: the successor exists already
	revoked  bool

	scope    []string // narrowed by this request; nil = all that was granted
	audience []string
	now      time.Time
}

type flowKey struct{}

func flowFrom(ctx context.Context) *flow { f, _ := ctx.Value(flowKey{}).(*flow); return f }

func (f *flow) refreshDue() bool {
	if f.grant != nil {
		return true // it was presented
	}
	return f.code != nil && f.code.Session.Refresh
}

// sealedCode is the content of an authorization code. Nothing of it lies in the database.
type sealedCode struct {
	GID       string   `json:"g"`
	Client    string   `json:"c"`
	Scope     []string `json:"s,omitempty"`
	Audience  []string `json:"a,omitempty"`
	Issued    int64    `json:"i"`
	Expires   int64    `json:"x"`
	Redirect  string   `json:"r,omitempty"`  // as sent; "" = not sent
	Challenge string   `json:"ch,omitempty"` // S256
	Session   *Session `json:"f"`
}

// GetClient implements fosite.ClientManager. An authorization request brings its client, with the loopback port it matched.
func (s *storage) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	if req := requestFrom(ctx); req != nil && req.client.ID == id {
		return req.client, nil
	}
	c, err := s.p.client(ctx, id)
	if errors.Is(err, errNoClient) {
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ClientAssertionJWTValid implements fosite.ClientManager; our client authentication never comes here.
func (s *storage) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT implements fosite.ClientManager; our client authentication never comes here.
func (s *storage) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// ---- authorization codes ----

// CreateAuthorizeCodeSession: everything is in the code.
func (s *storage) CreateAuthorizeCodeSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetAuthorizeCodeSession opens the code, once per request. It does not look for spent codes: the INSERT decides, alone.
func (s *storage) GetAuthorizeCodeSession(ctx context.Context, code string, _ fosite.Session) (fosite.Requester, error) {
	f := flowFrom(ctx)
	if f == nil {
		return nil, errors.New("provider: token request without flow")
	}
	if f.req != nil && f.codeText == code {
		return f.req, nil
	}
	sc := new(sealedCode)
	if !s.p.c.Keys.open(prefixCode, code, sc) || sc.Session == nil {
		return nil, fosite.ErrNotFound
	}
	if f.now.Unix() >= sc.Expires { // RFC 6749 §4.1.2; as invalid_grant, §5.2
		return nil, fosite.ErrNotFound.WithDebug("the code has expired")
	}
	c, err := s.p.client(ctx, sc.Client)
	if errors.Is(err, errNoClient) {
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	f.codeText, f.code = code, sc
	sc.Session.idAlg = c.idTokenAlg()
	form := url.Values{}
	if sc.Redirect != "" {
		form.Set("redirect_uri", sc.Redirect)
	}
	if sc.Challenge != "" {
		form.Set("code_challenge", sc.Challenge)
		form.Set("code_challenge_method", "S256")
	}
	f.req = &fosite.Request{ID: sc.GID, Client: c, RequestedAt: time.Unix(sc.Issued, 0).UTC(), RequestedScope: sc.Scope, GrantedScope: sc.Scope,
		RequestedAudience: sc.Audience, GrantedAudience: sc.Audience, Form: form, Session: sc.Session}
	return f.req, nil
}

// InvalidateAuthorizeCodeSession is the single write of the exchange: the grant's row comes to be under the id sealed in the code, or a
// conflict says the code was spent (RFC 6749 §4.1.2: then everything that came of it is revoked).
func (s *storage) InvalidateAuthorizeCodeSession(ctx context.Context, code string) error {
	f := flowFrom(ctx)
	if f == nil || f.code == nil || f.codeText != code {
		return errors.New("provider: a code is redeemed that was not opened")
	}
	g, err := s.p.grantOf(f.code, f.now)
	if err != nil {
		return err
	}
	created, err := s.p.c.Store.CreateGrant(ctx, g)
	if err != nil {
		return err
	}
	if !created {
		s.p.replay(ctx, f.code.GID, "code_replay", f.code.Client, f.code.Session.UserID)
		return errReplay
	}
	return nil
}

// grantOf makes the row of a code being redeemed.
func (p *Provider) grantOf(c *sealedCode, now time.Time) (*store.Grant, error) {
	facts, err := json.Marshal(c.Session)
	if err != nil {
		return nil, fmt.Errorf("provider: facts: %w", err)
	}
	g := &store.Grant{ID: c.GID, ClientID: c.Client, UserID: c.Session.UserID, SID: c.Session.SID, Connector: c.Session.Connector,
		Scope: c.Scope, Audience: c.Audience, Facts: string(facts), Offline: c.Session.Offline, ActorID: c.Session.Actor, ActingBy: c.Session.ActingBy, RTGen: 1, CreatedAt: store.At(now),
		ExpiresAt: store.At(c.Session.accessEnd)}
	if c.Session.Refresh {
		g.RTExpiresAt = store.At(p.refreshEnd(c.Session, now))
		g.ExpiresAt = store.At(time.Unix(c.Session.GrantEnd, 0))
	}
	// The row outlives the code, so that a replay is seen for as long as the code could be opened.
	if end := time.Unix(c.Expires, 0).Add(time.Minute); g.ExpiresAt.Before(end) {
		g.ExpiresAt = store.At(end)
	}
	return g, nil
}

// refreshEnd is the idle end of a refresh token handed out now, by our clock.
func (p *Provider) refreshEnd(s *Session, now time.Time) time.Time {
	s.SetExpiresAt(fosite.RefreshToken, now.Add(p.c.RefreshIdle))
	return s.refreshEnd
}

// replay revokes a grant whose code or refresh token came a second time; the event is written by whoever revoked it.
func (p *Provider) replay(ctx context.Context, gid, reason, clientID, userID string) {
	ctx = context.WithoutCancel(ctx) // the caller hanging up must not save the grant
	revoked, err := p.c.Store.RevokeGrant(ctx, gid, reason)
	if err != nil {
		p.c.Logger.ErrorContext(ctx, "grant not revoked after a replay", "grant", gid, "err", err)
		return
	}
	if !revoked {
		return
	}
	p.c.Observe("replay", reason)
	data, _ := json.Marshal(map[string]string{"grant": gid}) // strings always marshal
	if err := p.c.Store.Record(ctx, &store.Event{Kind: "grant." + reason, UserID: userID, ClientID: clientID, Data: string(data)}); err != nil {
		p.c.Logger.ErrorContext(ctx, "event not recorded", "kind", reason, "err", err)
	}
}

// spend closes a genuine code whose redemption by its own client failed: a second guess at the verifier is not given (security.md A2).
func (p *Provider) spend(ctx context.Context, f *flow) error {
	f.code.Session.accessEnd = f.now
	g, err := p.grantOf(f.code, f.now)
	if err != nil {
		return err
	}
	g.RevokedAt, g.RevokeReason = store.At(f.now), "redemption_failed"
	created, err := p.c.Store.CreateGrant(ctx, g)
	if err != nil {
		return err
	}
	if !created {
		p.replay(ctx, f.code.GID, "code_replay", f.code.Client, f.code.Session.UserID)
	}
	return nil
}

// ---- PKCE and OpenID Connect: the code carries both ----

// CreatePKCERequestSession: the challenge is sealed in the code.
func (s *storage) CreatePKCERequestSession(context.Context, string, fosite.Requester) error {
	return nil
}

// DeletePKCERequestSession: there is nothing to delete, so nothing can be deleted too early.
func (s *storage) DeletePKCERequestSession(context.Context, string) error { return nil }

// GetPKCERequestSession returns the request with its challenge, every time.
func (s *storage) GetPKCERequestSession(ctx context.Context, code string, sess fosite.Session) (fosite.Requester, error) {
	r, err := s.GetAuthorizeCodeSession(ctx, code, sess)
	if err != nil {
		return nil, err
	}
	if r.GetRequestForm().Get("code_challenge") == "" {
		return nil, fosite.ErrNotFound
	}
	return r, nil
}

// CreateOpenIDConnectSession: everything is in the code.
func (s *storage) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error {
	return nil
}

// DeleteOpenIDConnectSession: there is none.
func (s *storage) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

// GetOpenIDConnectSession returns the request if openid was granted.
func (s *storage) GetOpenIDConnectSession(ctx context.Context, code string, _ fosite.Requester) (fosite.Requester, error) {
	r, err := s.GetAuthorizeCodeSession(ctx, code, nil)
	if err != nil {
		return nil, err
	}
	if !r.GetGrantedScopes().HasOneOf(scopeOpenID) {
		return nil, openid.ErrNoSessionFound
	}
	return r, nil
}

// ---- access tokens: no rows ----

// CreateAccessTokenSession: access tokens carry themselves.
func (s *storage) CreateAccessTokenSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetAccessTokenSession is not used: introspect.go and userinfo.go read tokens through access.go.
func (s *storage) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession: there is none.
func (s *storage) DeleteAccessTokenSession(context.Context, string) error { return nil }

// ---- refresh tokens: a generation on the grant ----

// GetRefreshTokenSession checks the MAC, reads grant and user in one statement, and asks: alive, and the current generation or its
// immediate parent within grace? fosite revokes the grant on ErrInactiveToken, so that answer is kept for genuine reuse by the token's own
// client; everything else is ErrNotFound, which means invalid_grant and nothing more.
func (s *storage) GetRefreshTokenSession(ctx context.Context, token string, _ fosite.Session) (fosite.Requester, error) {
	f := flowFrom(ctx)
	gid, gen, ok := s.p.c.Keys.parseRefresh(token)
	if !ok || f == nil {
		return nil, fosite.ErrNotFound
	}
	g, l, err := s.p.c.Store.LiveGrant(ctx, gid)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	// security.md A11: another client's token is nothing to this one, and does it no harm.
	ar, _ := ctx.Value(fosite.AccessRequestContextKey).(fosite.AccessRequester)
	if ar == nil || ar.GetClient() == nil || ar.GetClient().GetID() != g.ClientID {
		return nil, fosite.ErrNotFound.WithDebug("the token belongs to another client")
	}
	if err := s.p.alive(ctx, g, l, f.now); err != nil {
		if !errors.Is(err, errDead) {
			return nil, err
		}
		return nil, fosite.ErrNotFound.WithWrap(err).WithDebug("the grant is no longer live")
	}
	if g.RTExpiresAt.IsZero() || !f.now.Before(g.RTExpiresAt.Time) {
		return nil, fosite.ErrNotFound.WithDebug("the refresh token has expired")
	}
	c := ar.GetClient().(*Client)
	sess := &Session{idAlg: c.idTokenAlg()}
	if err := json.Unmarshal([]byte(g.Facts), sess); err != nil {
		return nil, fmt.Errorf("provider: facts of grant %s: %w", gid, err)
	}
	if f.rights, err = s.p.rights(ctx, l, f.now); err != nil {
		return nil, err
	}
	// Who may not sign in to the application any more gets no new tokens for it either (R120, R122).
	if ok, err := s.p.check(ctx, "refresh", c, l, f.rights); err != nil {
		return nil, err
	} else if !ok {
		return nil, fosite.ErrNotFound.WithDebug("the person no longer meets the client's requirement")
	}
	sess.SetExpiresAt(fosite.RefreshToken, g.RTExpiresAt.Time)
	f.grant, f.live, f.token, f.gen = g, l, token, gen
	f.req = &fosite.Request{ID: gid, Client: c, RequestedAt: g.CreatedAt.Time, RequestedScope: fosite.Arguments(g.Scope),
		GrantedScope: fosite.Arguments(g.Scope), RequestedAudience: fosite.Arguments(g.Audience), GrantedAudience: fosite.Arguments(g.Audience),
		Form: url.Values{}, Session: sess}
	switch {
	case gen == g.RTGen:
		f.next = gen
		if c.rotates() {
			f.next = gen + 1
		}
		return f.req, nil
	case gen+1 == g.RTGen && s.withinGrace(g.RTRotatedAt.Time, f.now):
		f.next, f.replayed = g.RTGen, true
		return f.req, nil
	}
	return f.req, fosite.ErrInactiveToken // reuse: RFC 9700 §4.14.2
}

func (s *storage) withinGrace(rotated, now time.Time) bool {
	return !rotated.IsZero() && now.Sub(rotated) < s.p.c.RefreshGrace
}

// RotateRefreshToken: CreateRefreshTokenSession does it all.
func (s *storage) RotateRefreshToken(context.Context, string, string) error { return nil }

// CreateRefreshTokenSession is the single write of a refresh. On an exchange generation 1 came with the INSERT.
func (s *storage) CreateRefreshTokenSession(ctx context.Context, _, _ string, r fosite.Requester) error {
	f := flowFrom(ctx)
	if f == nil {
		return errors.New("provider: token request without flow")
	}
	if f.grant == nil || f.replayed {
		return nil
	}
	end := s.p.refreshEnd(r.GetSession().(*Session), f.now)
	var ok bool
	var err error
	if f.next == f.gen {
		ok, err = s.p.c.Store.ExtendGrant(ctx, f.grant.ID, f.gen, end)
	} else {
		ok, err = s.p.c.Store.RotateGrant(ctx, f.grant.ID, f.gen, f.now, end)
	}
	if err != nil || ok {
		return err
	}
	// Somebody was faster. The same client's twin request made the same successor: fine within grace. A revocation came in between: not.
	g, err := s.p.c.Store.Grant(ctx, f.grant.ID)
	if errors.Is(err, store.ErrNotFound) {
		return errDead
	}
	if err != nil {
		return err
	}
	switch {
	case !g.RevokedAt.IsZero(), g.RTGen == f.gen: // revoked, or over by the clock between the two statements
		return errDead
	case g.RTGen == f.next && s.withinGrace(g.RTRotatedAt.Time, s.p.c.Now()):
		return nil
	}
	s.p.replay(ctx, g.ID, "refresh_reuse", g.ClientID, g.UserID)
	return errReplay
}

// DeleteRefreshTokenSession: there is no row per token.
func (s *storage) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RevokeRefreshToken is what fosite calls on reuse.
func (s *storage) RevokeRefreshToken(ctx context.Context, gid string) error {
	f := flowFrom(ctx)
	if f != nil && f.grant != nil && f.grant.ID == gid && !f.revoked {
		f.revoked = true
		s.p.replay(ctx, gid, "refresh_reuse", f.grant.ClientID, f.grant.UserID)
	}
	return nil
}

// RevokeAccessToken: revoking the grant revoked them.
func (s *storage) RevokeAccessToken(context.Context, string) error { return nil }
