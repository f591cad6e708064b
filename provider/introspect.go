package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// introspect serves RFC 7662, for authenticated confidential clients. What a caller may not see, and what is no longer live, is
// {"active":false}, without a hint which.
func (p *Provider) introspect(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return p.writeOAuthError(w, r, err)
	}
	ctx := r.Context()
	caller, err := p.authenticateClient(ctx, r, r.PostForm)
	if err == nil && caller.IsPublic() {
		err = errBadClient // RFC 7662 §2.1: the caller is authenticated
	}
	if err != nil {
		return p.writeOAuthError(w, r, err)
	}
	tok := r.PostForm.Get("token")
	if tok == "" {
		return p.writeOAuthError(w, r, refuse("invalid_request", "The parameter 'token' is missing."))
	}
	body, err := p.introspection(ctx, caller, tok)
	if err != nil {
		if !errors.Is(err, errBadToken) && !errors.Is(err, errDead) {
			return p.writeOAuthError(w, r, err)
		}
		body = []byte(`{"active":false}`)
	}
	return writeBody(w, http.StatusOK, body)
}

// introspected is RFC 7662 §2.2; what the person may do is appended from the claims function.
type introspected struct {
	Active   bool     `json:"active"`
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience []string `json:"aud,omitempty"`
	ClientID string   `json:"client_id"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	ID       string   `json:"jti,omitempty"`
	Scope    string   `json:"scope"`
	Type     string   `json:"token_type,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	SID      string   `json:"sid,omitempty"`
	Username string   `json:"username,omitempty"`
}

func (p *Provider) introspection(ctx context.Context, caller *Client, tok string) ([]byte, error) {
	if strings.HasPrefix(tok, prefixRefresh) {
		return p.introspectRefresh(ctx, caller, tok)
	}
	a, err := p.readAccess(ctx, tok)
	if err != nil {
		return nil, err
	}
	if !maySee(caller, a) {
		return nil, errDead
	}
	g, l, err := p.liveAccess(ctx, a)
	if err != nil {
		return nil, err
	}
	out := introspected{Active: true, Issuer: a.Issuer, Subject: a.Subject, Audience: a.Audience, ClientID: a.ClientID, Expires: a.Expires,
		Issued: a.Issued, ID: a.ID, Scope: a.Scope, Type: "Bearer"}
	var extra map[string]any
	if g != nil {
		c, err := p.client(ctx, g.ClientID)
		if err != nil {
			return nil, errDead
		}
		held, err := p.rights(ctx, l, p.c.Now())
		if err != nil {
			return nil, err
		}
		extra = userClaims(claimsInput{target: toIntrospection, scopes: strings.Fields(a.Scope), user: &l.User, rights: held, client: c, actor: g.ActorID})
		out.AuthTime, out.ACR, out.AMR, out.SID, out.Username = a.AuthTime, a.ACR, a.AMR, a.SID, l.User.Username
	}
	return merge(out, extra)
}

// maySee: a client sees tokens issued to it and tokens addressed to it, by its id; with introspect "resources" those addressed to its
// resources; with "any" every one.
func maySee(caller *Client, a *accessToken) bool {
	if a.ClientID == caller.ID || slices.Contains(a.Audience, caller.ID) || caller.Metadata.Introspect == "any" {
		return true
	}
	if caller.Metadata.Introspect != "resources" {
		return false
	}
	return slices.ContainsFunc(caller.Metadata.Resources, func(u string) bool { return slices.Contains(a.Audience, u) })
}

// introspectRefresh: a refresh token is its own client's business alone; to a resource server it is nothing (security.md B12).
func (p *Provider) introspectRefresh(ctx context.Context, caller *Client, tok string) ([]byte, error) {
	gid, gen, ok := p.c.Keys.parseRefresh(tok)
	if !ok {
		return nil, errBadToken
	}
	g, l, err := p.c.Store.LiveGrant(ctx, gid)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errBadToken
	}
	if err != nil {
		return nil, err
	}
	now := p.c.Now()
	if g.ClientID != caller.ID || gen != g.RTGen || g.RTExpiresAt.IsZero() || !now.Before(g.RTExpiresAt.Time) {
		return nil, errDead
	}
	if err := p.alive(ctx, g, l, now); err != nil {
		return nil, err
	}
	out := introspected{Active: true, Issuer: p.c.Issuer, Subject: g.UserID, ClientID: g.ClientID, Scope: strings.Join(g.Scope, " "),
		Expires: g.RTExpiresAt.Unix(), Issued: g.CreatedAt.Unix()}
	if g.SID != "" {
		out.SID = session.SID(g.SID)
	}
	return merge(out, userClaims(claimsInput{target: toIntrospection, actor: g.ActorID}))
}

// requestedOf reads the claims request out of a grant's facts.
func requestedOf(facts string) (RequestedClaims, error) {
	if !strings.Contains(facts, `"cl":`) { // most grants came without
		return RequestedClaims{}, nil
	}
	var s Session
	if err := json.Unmarshal([]byte(facts), &s); err != nil {
		return RequestedClaims{}, fmt.Errorf("provider: facts: %w", err)
	}
	rc, _, err := parseClaims(string(s.Claims))
	return rc, err
}

func isNotFound(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrUsed)
}
