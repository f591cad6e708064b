package provider

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"

	"github.com/latchkey-idp/latchkey/login/session"
)

// tokens implements fosite's CoreStrategy: what codes, access tokens and refresh tokens look like.
type tokens struct{ p *Provider }

var _ oauth2.CoreStrategy = (*tokens)(nil)

// GenerateAuthorizeCode seals the whole request into the code.
func (t *tokens) GenerateAuthorizeCode(ctx context.Context, r fosite.Requester) (string, string, error) {
	now := t.p.c.Now()
	form := r.GetRequestForm()
	code, err := t.p.c.Keys.seal(prefixCode, &sealedCode{GID: newGrantID(), Client: r.GetClient().GetID(), Scope: r.GetGrantedScopes(),
		Audience: r.GetGrantedAudience(), Issued: now.Unix(), Expires: now.Add(t.p.c.CodeLife).Unix(), Redirect: form.Get("redirect_uri"),
		Challenge: form.Get("code_challenge"), Session: r.GetSession().(*Session)})
	return code, code, err
}

// AuthorizeCodeSignature: a sealed code is its own key.
func (t *tokens) AuthorizeCodeSignature(_ context.Context, tok string) string { return tok }

// ValidateAuthorizeCode: opening it validated it.
func (t *tokens) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error { return nil }

// accessClaims are the registered claims of an access token (RFC 9068 §2.2) and the sealed form's content alike.
type accessClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience []string `json:"aud"`
	ClientID string   `json:"client_id"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	ID       string   `json:"jti"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	GrantID  string   `json:"gid,omitempty"` // "" for client_credentials
	SID      string   `json:"sid,omitempty"`
}

// GenerateAccessToken computes the claims of this moment and signs or seals them, as the client registered.
func (t *tokens) GenerateAccessToken(ctx context.Context, r fosite.Requester) (string, string, error) {
	f := flowFrom(ctx)
	c, ok := r.GetClient().(*Client)
	s, ok2 := r.GetSession().(*Session)
	if f == nil || !ok || !ok2 {
		return "", "", errors.New("provider: token request without flow, client or session")
	}
	scopes := []string(r.GetGrantedScopes())
	if f.scope != nil {
		scopes = f.scope
	}
	if s.UserID != "" && f.live == nil {
		if err := t.p.liveCode(ctx, f, c, s); err != nil {
			return "", "", err
		}
	}
	ac, extra := t.p.accessContents(f, c, s, r.GetID(), scopes, t.p.accessAudience(f, r, c, scopes))
	if c.Metadata.AccessTokenFormat == "opaque" {
		tok, err := t.p.c.Keys.seal(prefixAccess, ac)
		return tok, tok, err
	}
	payload, err := merge(ac, extra)
	if err != nil {
		return "", "", err
	}
	sg, err := t.p.c.Keys.signerFor(ctx, c.accessTokenAlg())
	if err != nil {
		return "", "", err
	}
	tok, err := sg.sign(typAccess, payload)
	if err == nil { // what we signed ourselves need not be verified when it comes back in a moment
		t.p.seen.put(sha256.Sum256([]byte(tok)), &accessToken{accessClaims: ac, kid: sg.kid, alg: sg.alg})
	}
	return tok, tok, err
}

// accessContents is what an access token says at this moment, and for how long. f.live and f.rights are there when it is about a person.
func (p *Provider) accessContents(f *flow, c *Client, s *Session, grant string, scopes, audience []string) (ac accessClaims, extra map[string]any) {
	// fosite counts from its own clock and rounds; the token's life is exact, from the second it is issued in.
	end := f.now.Truncate(time.Second).Add(c.GetEffectiveLifespan("", fosite.AccessToken, p.c.AccessLife))
	if slices.Contains(scopes, scopePrivileges) {
		end = f.rights.cap(end)
	}
	s.SetExpiresAt(fosite.AccessToken, end.Truncate(time.Second))
	ac = accessClaims{Issuer: p.c.Issuer, Subject: c.ID, ClientID: c.ID, Issued: f.now.Unix(), Expires: s.accessEnd.Unix(),
		Scope: strings.Join(scopes, " "), ID: newJTI("", f.now), Audience: audience}
	if s.UserID != "" {
		ac.Subject, ac.GrantID, ac.AuthTime, ac.ACR, ac.AMR = s.UserID, grant, s.AuthTime, s.ACR, s.AMR
		ac.SID = session.SID(s.SID)
		ac.ID = newJTI(grant, f.now)
		extra = userClaims(claimsInput{target: toAccessToken, scopes: scopes, user: &f.live.User, rights: f.rights, client: c, facts: s, actor: s.Actor})
	}
	return ac, extra
}

// merge appends claims behind the registered ones of base, a struct: their names never meet (claims.go, reserved).
func merge(base any, extra map[string]any) ([]byte, error) {
	out, err := json.Marshal(base)
	if err != nil || len(extra) == 0 {
		return out, err
	}
	more, err := json.Marshal(extra)
	if err != nil {
		return nil, err
	}
	return append(append(out[:len(out)-1], ','), more[1:]...), nil
}

// accessAudience: what was granted, narrowed by this request; the client's default without `resource` (RFC 9068 §3). With openid the
// issuer is an audience too, since userinfo is a resource of ours.
func (p *Provider) accessAudience(f *flow, r fosite.Requester, c *Client, scopes []string) []string {
	aud := []string(r.GetGrantedAudience())
	if f.audience != nil {
		aud = f.audience
	}
	if len(aud) == 0 {
		aud = c.audience(p.c.Issuer)
	}
	if slices.Contains(scopes, scopeOpenID) && !slices.Contains(aud, p.c.Issuer) {
		aud = append(slices.Clone(aud), p.c.Issuer)
	}
	return aud
}

// newJTI is base64url(grant id 16, zero without grant | milliseconds 6 | random 8): a token names its grant and its moment, so a past
// token can be explained without a row per token.
func newJTI(gid string, now time.Time) string {
	var b [30]byte
	if g, ok := gidBytes(gid); ok {
		copy(b[:16], g[:])
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[16:22], ms[2:])
	rand.Read(b[22:])
	return b64.EncodeToString(b[:])
}

// AccessTokenSignature: an access token is its own key.
func (t *tokens) AccessTokenSignature(_ context.Context, tok string) string { return tok }

// ValidateAccessToken is not used: access.go reads tokens.
func (t *tokens) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrInvalidTokenFormat
}

// GenerateRefreshToken derives the token of the generation due.
func (t *tokens) GenerateRefreshToken(ctx context.Context, r fosite.Requester) (string, string, error) {
	f := flowFrom(ctx)
	if f == nil {
		return "", "", errors.New("provider: token request without flow")
	}
	gen := int64(1)
	if f.grant != nil {
		if f.next == f.gen { // a client that does not rotate keeps what it has, also when our key has rotated
			return f.token, f.token, nil
		}
		gen = f.next
	}
	tok, err := t.p.c.Keys.refreshToken(r.GetID(), gen)
	return tok, tok, err
}

// RefreshTokenSignature: a refresh token is its own key.
func (t *tokens) RefreshTokenSignature(_ context.Context, tok string) string { return tok }

// ValidateRefreshToken: reading it validated it.
func (t *tokens) ValidateRefreshToken(context.Context, fosite.Requester, string) error { return nil }

// idTokens implements openid.OpenIDConnectTokenStrategy.
type idTokens struct{ p *Provider }

// GenerateIDToken makes the ID token (OIDC Core §2) with the algorithm the client registered.
func (t *idTokens) GenerateIDToken(ctx context.Context, life time.Duration, r fosite.Requester) (string, error) {
	f := flowFrom(ctx)
	c, ok := r.GetClient().(*Client)
	s, ok2 := r.GetSession().(*Session)
	if f == nil || f.live == nil || !ok || !ok2 {
		return "", errors.New("provider: ID token without flow, user, client or session")
	}
	requested, _, err := parseClaims(string(s.Claims))
	if err != nil {
		return "", fmt.Errorf("provider: stored claims request: %w", err)
	}
	scopes := []string(r.GetGrantedScopes())
	if f.scope != nil {
		scopes = f.scope
	}
	m := t.p.idContents(f, c, s, life, scopes, requested)
	payload, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("provider: ID token: %w", err)
	}
	sg, err := t.p.c.Keys.signerFor(ctx, c.idTokenAlg())
	if err != nil {
		return "", err
	}
	return sg.sign(typJWT, payload)
}

// idContents is what an ID token says at this moment (OIDC Core §2).
func (p *Provider) idContents(f *flow, c *Client, s *Session, life time.Duration, scopes []string, requested RequestedClaims) map[string]any {
	m := map[string]any{}
	maps.Copy(m, userClaims(claimsInput{target: toIDToken, scopes: scopes, requested: requested, user: &f.live.User, rights: f.rights, client: c, facts: s,
		actor: s.Actor}))
	m["iss"], m["sub"], m["aud"] = p.c.Issuer, s.UserID, c.ID
	end := f.now.Add(life)
	if slices.Contains(scopes, scopePrivileges) {
		end = f.rights.cap(end)
	}
	m["iat"], m["exp"] = f.now.Unix(), end.Unix()
	m["auth_time"], m["acr"] = s.AuthTime, s.ACR
	m["login_method"] = s.Connector
	if len(s.AMR) > 0 {
		m["amr"] = s.AMR
	}
	if s.SID != "" {
		m["sid"] = session.SID(s.SID)
	}
	if h := s.IDTokenClaims().AccessTokenHash; h != "" {
		m["at_hash"] = h
	}
	// OIDC Core §12.2: a refreshed ID token keeps iss, sub, aud and auth_time, and has no nonce.
	if s.Nonce != "" && f.grant == nil {
		m["nonce"] = s.Nonce
	}
	return m
}
