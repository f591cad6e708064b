package relying

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Login returns the handler that sends a person to the provider. Mount it for GET. The query parameter return names the path of
// this application to come back to; anything that is not one counts as "/".
func (c *Client) Login() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.start(w, r, r.URL.Query().Get("return"))
	})
}

// start begins a sign-in that shall end at the local path back.
func (c *Client) start(w http.ResponseWriter, r *http.Request, back string) {
	w.Header().Set("Cache-Control", "no-store")
	p, err := c.discover(r.Context())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	f := flow{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Return: c.localPath(back), Until: c.cfg.Now().Add(flowLife).Unix(),
	}
	if err := c.saveFlow(w, r, f); err != nil {
		c.fail(w, r, err)
		return
	}
	http.Redirect(w, r, p.oauth.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), http.StatusSeeOther)
}

// Callback returns the handler of Config.RedirectURL. Mount it for GET.
func (c *Client) Callback() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer") // the address holds a code
		back, err := c.finish(w, r)
		if err != nil {
			c.fail(w, r, err)
			return
		}
		http.Redirect(w, r, back, http.StatusSeeOther)
	})
}

func invalid(err error) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Err: err}
}

// finish checks the provider's answer, turns its code into a session and says where to go.
func (c *Client) finish(w http.ResponseWriter, r *http.Request) (back string, err error) {
	q := r.URL.Query()
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(q[name]) > 1 { // RFC 6749 §3.1
			return "", invalid(fmt.Errorf("parameter %s appears twice", name))
		}
	}
	f, err := c.takeFlow(w, r, q.Get("state"))
	if err != nil {
		return "", &Error{Status: http.StatusBadRequest, Code: CodeExpired, Err: err}
	}
	// RFC 6749 §10.12: the answer belongs to a request of this very browser.
	if subtle.ConstantTimeCompare([]byte(f.State), []byte(q.Get("state"))) != 1 {
		return "", invalid(errors.New("wrong state"))
	}
	p, err := c.discover(r.Context())
	if err != nil {
		return "", err
	}
	// RFC 9207 §2.4: an answer of another issuer is a mix-up; one that promises iss must bring it, on errors too.
	if iss := q.Get("iss"); (q.Has("iss") || p.meta.IssInAnswer) && iss != c.cfg.Issuer {
		return "", invalid(fmt.Errorf("the answer is from issuer %q", iss))
	}
	if code := q.Get("error"); code != "" {
		e := &Error{Status: http.StatusForbidden, Code: CodeDenied, OAuth: code, Err: errors.New("the provider refused")}
		if code == "temporarily_unavailable" || code == "server_error" {
			e.Status, e.Code = http.StatusServiceUnavailable, CodeUnavailable
		}
		return "", e
	}
	if q.Get("code") == "" {
		return "", invalid(errors.New("no code"))
	}
	ctx, cancel := context.WithTimeout(c.outbound(r.Context()), 15*time.Second)
	defer cancel()
	tok, err := p.oauth.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return "", tokenError(err)
	}
	s, err := c.accept(ctx, p, tok, &session{Nonce: f.Nonce})
	if err != nil {
		return "", err
	}
	s.Ends = c.cfg.Now().Add(c.cfg.MaxAge)
	if s.Fresh.After(s.Ends) {
		s.Fresh = s.Ends
	}
	if over, err := c.ended(ctx, s); err != nil {
		return "", err
	} else if over { // signed out at the provider while this was under way
		return "", &Error{Status: http.StatusBadRequest, Code: CodeExpired, Err: errors.New("the provider has ended this session already")}
	}
	// A new id at every sign-in (session fixation); the old session, whoever's it was, is over.
	if old := c.sessionID(r); old != "" {
		if err := c.forget(ctx, old); err != nil {
			return "", err
		}
	}
	if err := c.save(ctx, c.newSessionID(w), s, false); err != nil {
		return "", unavailable(fmt.Errorf("session store: %w", err))
	}
	return f.Return, nil
}

// accept checks the tokens of a sign-in (was has only a nonce) or of a refresh (was is the session so far) and reads the claims.
func (c *Client) accept(ctx context.Context, p *provider, tok *oauth2.Token, was *session) (*session, error) {
	s := *was
	s.Access, s.Refresh = tok.AccessToken, tok.RefreshToken
	raw, _ := tok.Extra("id_token").(string)
	switch {
	case raw != "":
		if err := c.acceptID(ctx, p, raw, &s); err != nil {
			return nil, err
		}
	case was.Subject == "":
		return nil, invalid(errors.New("no ID token"))
	default:
		// A refresh without ID token (OIDC Core §12.2 allows it): what the old one said of the person is stale now, what it said of
		// the sign-in still stands.
		var err error
		if s.IDToken, err = only(s.IDToken, aboutSignIn...); err != nil {
			return nil, invalid(err)
		}
		if p.oidc.UserInfoEndpoint() == "" {
			return nil, invalid(errors.New("a refresh brought neither an ID token nor userinfo"))
		}
	}
	if p.oidc.UserInfoEndpoint() != "" {
		var err error
		if s.UserInfo, err = c.userInfo(ctx, p, tok.AccessToken, s.Subject); err != nil {
			return nil, err
		}
	}
	s.Endless = tok.ExpiresIn <= 0
	s.Checked = c.cfg.Now()
	s.Fresh = s.Checked.Add(time.Duration(tok.ExpiresIn) * time.Second)
	if s.Endless {
		s.Fresh = s.Checked.Add(assumedLife)
	}
	var err error
	if s.Claims, err = merge(s.IDToken, s.UserInfo); err != nil {
		return nil, invalid(err)
	}
	if _, err := readInfo(&s); err != nil { // what cannot be read now could not be read later either
		return nil, invalid(err)
	}
	return &s, nil
}

// acceptID verifies an ID token (OIDC Core §3.1.3.7) and puts it into s.
func (c *Client) acceptID(ctx context.Context, p *provider, raw string, s *session) error {
	sig := &signature{keys: p.keys}
	id, err := oidc.NewVerifier(c.cfg.Issuer, sig, p.verify).Verify(ctx, raw) // signature, iss, aud, exp
	if err != nil {
		return sig.blame(err)
	}
	refresh := s.Subject != ""
	// At a sign-in the nonce must be ours; a refreshed token has none, or the same (§12.2).
	if (!refresh || id.Nonce != "") && subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(s.Nonce)) != 1 {
		return invalid(errors.New("wrong nonce"))
	}
	if id.Subject == "" || refresh && id.Subject != s.Subject {
		return invalid(errors.New("wrong subject"))
	}
	var more struct {
		AZP string `json:"azp"`
		SID string `json:"sid"`
	}
	if err := id.Claims(&more); err != nil {
		return invalid(err)
	}
	if more.AZP != "" && more.AZP != c.cfg.ClientID || more.AZP == "" && len(id.Audience) > 1 {
		return invalid(errors.New("the ID token was issued to another party"))
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(s.Access); err != nil {
			return invalid(err)
		}
	}
	s.Subject, s.RawID = id.Subject, raw
	if !refresh {
		s.SID, s.Began = more.SID, id.IssuedAt
	}
	return id.Claims(&s.IDToken)
}

// userInfo reads the claims of an access token (OIDC Core §5.3) and holds them against the subject.
func (c *Client) userInfo(ctx context.Context, p *provider, access, subject string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.oidc.UserInfoEndpoint(), nil)
	if err != nil {
		return nil, invalid(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Accept", "application/json")
	res, err := c.cfg.HTTPClient.Do(req)
	if err != nil {
		return nil, unavailable(fmt.Errorf("userinfo: %w", err))
	}
	defer res.Body.Close()
	const limit = 1 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, unavailable(fmt.Errorf("userinfo: %w", err))
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, &Error{Status: http.StatusForbidden, Code: CodeDenied, Err: fmt.Errorf("userinfo: %s", res.Status)}
	case res.StatusCode != http.StatusOK || len(body) > limit:
		return nil, unavailable(fmt.Errorf("userinfo: %s", res.Status))
	}
	var who struct {
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(body, &who); err != nil {
		return nil, invalid(fmt.Errorf("userinfo: %w", err))
	}
	if who.Sub != subject { // OIDC Core §5.3.2: else its claims must not be used
		return nil, invalid(errors.New("userinfo is about somebody else"))
	}
	return body, nil
}

// Logout returns the handler that ends the local session and then, at the provider, the person's session there (OpenID Connect
// RP-Initiated Logout), from where the person comes back to Config.PostLogoutURL. Mount it for POST: a sign-out is a change, and
// forms of other sites are refused. A page with a Content-Security-Policy must list the provider's origin in form-action, because
// browsers apply it to where a form is redirected.
func (c *Client) Logout() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "A sign-out must be sent as a form.", http.StatusMethodNotAllowed)
			return
		}
		if err := c.cross.Check(r); err != nil {
			c.fail(w, r, &Error{Status: http.StatusForbidden, Code: CodeInvalid, Err: err})
			return
		}
		to, err := c.end(w, r)
		if err != nil {
			c.fail(w, r, err)
			return
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
}

// end forgets the local session and says where the browser goes next.
func (c *Client) end(w http.ResponseWriter, r *http.Request) (string, error) {
	http.SetCookie(w, c.cookie(c.sessionName(), "", -1))
	id := c.sessionID(r)
	if id == "" {
		return c.cfg.PostLogoutURL, nil
	}
	unlock, err := c.lock(r.Context(), id)
	if err != nil {
		return "", unavailable(err)
	}
	defer unlock()
	s, err := c.load(r.Context(), id)
	if err != nil {
		return "", err
	}
	if err := c.forget(r.Context(), id); err != nil {
		return "", err
	}
	p, err := c.discover(r.Context())
	if err != nil || s == nil { // here the person is out; there, nobody can be reached, or it is not known who it was
		return c.cfg.PostLogoutURL, nil
	}
	if s.Refresh != "" && p.meta.Revocation != "" {
		if err := c.revoke(r.Context(), p, s.Refresh); err != nil {
			c.cfg.Logger.WarnContext(r.Context(), "relying: refresh token not revoked", "err", err)
		}
	}
	u, err := url.Parse(p.meta.EndSession)
	if err != nil || p.meta.EndSession == "" {
		return c.cfg.PostLogoutURL, nil
	}
	q := u.Query()
	q.Set("id_token_hint", s.RawID)
	q.Set("client_id", c.cfg.ClientID)
	q.Set("post_logout_redirect_uri", c.cfg.PostLogoutURL)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// revoke gives a refresh token back (RFC 7009): one with offline_access would outlive the sign-out.
func (c *Client) revoke(ctx context.Context, p *provider, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}
	res, err := postForm(ctx, c.cfg.HTTPClient, p.meta.Revocation, p.oauth.Endpoint.AuthStyle, c.cfg.ClientID, c.cfg.ClientSecret, form)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("revocation: %s", res.Status)
	}
	return nil
}

// fail logs err and lets the application answer.
func (c *Client) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Status: http.StatusInternalServerError, Code: CodeInvalid, Err: err}
	}
	c.cfg.Logger.WarnContext(r.Context(), "relying: not signed in", "code", e.Code, "oauth", e.OAuth, "err", e.Err)
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	c.cfg.Failed(w, r, e)
}
