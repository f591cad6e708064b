package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/store"
)

// userinfo serves OIDC Core §5.3: GET and POST, token in the header or, by POST, in the body; never in the URL (security.md A18). One
// statement reads grant, user and assignments, so the answer is that of this moment.
func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) error {
	tok, oe := bearer(r)
	if oe != nil {
		challenge := ""
		if oe.code == "invalid_request" {
			challenge = `, error="invalid_request"`
		}
		return p.writeBearerError(w, r, oe, challenge)
	}
	ctx := r.Context()
	a, err := p.readAccess(ctx, tok)
	if err == nil && a.GrantID == "" {
		err = errBadToken // a machine's token speaks for nobody
	}
	if err == nil && !a.hasScope(scopeOpenID) {
		return p.writeBearerError(w, r, &oauthError{http.StatusForbidden, "insufficient_scope", "The token lacks the scope openid.", nil},
			`, error="insufficient_scope", scope="openid"`)
	}
	if err == nil && !slices.Contains(a.Audience, p.c.Issuer) {
		err = errBadToken // RFC 9068 §4: made for somebody else
	}
	if err != nil {
		return p.badBearer(w, r, err)
	}
	g, l, err := p.liveAccess(ctx, a)
	if err != nil {
		return p.badBearer(w, r, err)
	}
	c, err := p.client(ctx, g.ClientID)
	if err != nil {
		return p.badBearer(w, r, err)
	}
	now := p.c.Now()
	held, err := p.rights(ctx, l, now)
	if err != nil {
		return p.badBearer(w, r, err)
	}
	requested, err := requestedOf(g.Facts)
	if err != nil {
		return err
	}
	m := userinfoContents(c, l, held, strings.Fields(a.Scope), requested, g.ActorID)
	if alg := c.Metadata.UserinfoAlg; alg != "" {
		return p.writeSignedUserinfo(w, r, c, alg, m)
	}
	return writeJSON(w, http.StatusOK, m)
}

// writeSignedUserinfo answers with a JWT (OIDC Core §5.3.2): issuer and client are within, so that nobody passes it off as another's.
func (p *Provider) writeSignedUserinfo(w http.ResponseWriter, r *http.Request, c *Client, alg string, m map[string]any) error {
	m["iss"], m["aud"] = p.c.Issuer, c.ID
	s, err := p.c.Keys.signerFor(r.Context(), alg)
	if err != nil {
		return p.badBearer(w, r, err)
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("provider: userinfo: %w", err)
	}
	jwt, err := s.sign(typJWT, payload)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	_, err = w.Write([]byte(jwt))
	return err
}

// userinfoContents is what userinfo answers at this moment.
func userinfoContents(c *Client, l *store.Live, held rights, scopes []string, requested RequestedClaims, actor string) map[string]any {
	m := userClaims(claimsInput{target: toUserinfo, scopes: scopes, requested: requested, user: &l.User, rights: held, client: c, actor: actor})
	m["sub"] = l.User.ID // OIDC Core §5.3.2: always, and equal to the ID token's
	return m
}

// badBearer is 401 for a token that is not good, and 503 when we could not find out.
func (p *Provider) badBearer(w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, errBadToken) || errors.Is(err, errDead) || errors.Is(err, errNoClient) {
		return p.writeBearerError(w, r, &oauthError{http.StatusUnauthorized, "invalid_token", "The access token is invalid, expired or revoked.", err},
			`, error="invalid_token", error_description="The access token is invalid, expired or revoked."`)
	}
	e := toOAuth(err)
	return p.writeBearerError(w, r, e, "")
}

// bearer finds the token (RFC 6750 §2), in exactly one place.
func bearer(r *http.Request) (string, *oauthError) {
	if r.URL.Query().Has("access_token") {
		return "", refuse("invalid_request", "An access token does not belong into a URL.")
	}
	var found []string
	for _, h := range r.Header.Values("Authorization") {
		scheme, tok, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") {
			found = append(found, strings.TrimSpace(tok))
		}
	}
	if ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && ct == "application/x-www-form-urlencoded" {
		if err := r.ParseForm(); err != nil {
			return "", refuse("invalid_request", "The request body could not be read as a form.")
		}
		found = append(found, r.PostForm["access_token"]...)
	}
	switch {
	case len(found) == 0:
		return "", &oauthError{http.StatusUnauthorized, "invalid_token", "An access token is needed.", nil}
	case len(found) > 1:
		return "", refuse("invalid_request", "The access token was sent in more than one way.")
	}
	return found[0], nil
}
