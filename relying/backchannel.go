package relying

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	logoutEvent    = "http://schemas.openid.net/event/backchannel-logout"
	logoutTokenMax = 32 << 10         // bytes of the request
	logoutTokenAge = 10 * time.Minute // since it was made
	clockSkew      = time.Minute      // between the provider's clock and ours
)

// BackChannelLogout returns the handler that the provider tells of ended sessions (OpenID Connect Back-Channel Logout 1.0). Mount it for
// POST at the backchannel_logout_uri you register. A logout token with a sid ends the sessions of that sign-in, one with only a sub all
// sessions the person began before it. It needs no cookie, so it may stand inside or outside of Screen.
//
// It answers 200 when it is done, 400 to what is no logout token for this application, and 503 when the provider's keys or the
// Revocations cannot be asked now: a provider that means well tries that one again.
func (c *Client) BackChannelLogout() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // §2.8
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			answerError(w, http.StatusMethodNotAllowed, "invalid_request", "send the logout token as a form")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, logoutTokenMax)
		err := r.ParseForm()
		tokens := r.PostForm["logout_token"]
		if err != nil || len(tokens) != 1 {
			answerError(w, http.StatusBadRequest, "invalid_request", "want a form with one logout_token")
			return
		}
		err = c.endSessions(r.Context(), tokens[0])
		if err == nil {
			w.WriteHeader(http.StatusOK)
			return
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnavailable {
			c.cfg.Logger.ErrorContext(r.Context(), "relying: back-channel logout", "err", err)
			w.Header().Set("Retry-After", "5")
			answerError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "try again")
			return
		}
		c.cfg.Logger.WarnContext(r.Context(), "relying: logout token refused", "err", err)
		answerError(w, http.StatusBadRequest, "invalid_request", "not a logout token for this application, or one that was used")
	})
}

func answerError(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": text}) // an error here is a lost connection
}

// logoutToken is what one says. The names are exact: go-oidc's are not.
type logoutToken struct {
	subject, sid, id string
	issued, expires  time.Time
}

// endSessions does what a logout token asks for.
func (c *Client) endSessions(ctx context.Context, raw string) error {
	p, err := c.discover(ctx)
	if err != nil {
		return err
	}
	t, err := c.readLogoutToken(ctx, p, raw)
	if err != nil {
		return err
	}
	// All that is meant began before this token was made, by the same clock that dates the ID tokens; so a token that comes twice ends
	// nothing new. The session of a sid never comes back, but its code may still be under way.
	expires := c.cfg.Now().Add(c.cfg.MaxAge + flowLife)
	key, at := c.revocationKey("sub", t.subject), t.issued
	if t.sid != "" {
		key, at = c.revocationKey("sid", t.sid), t.issued.Add(flowLife)
	}
	if err := c.cfg.Revocations.Revoke(ctx, key, at, expires); err != nil {
		return unavailable(fmt.Errorf("revocations: %w", err))
	}
	// §2.6 step 8. After the act: should remembering it fail, the provider may come again.
	first, err := c.cfg.Revocations.Once(ctx, c.revocationKey("jti", t.id), t.expires)
	switch {
	case err != nil:
		return unavailable(fmt.Errorf("revocations: %w", err))
	case !first:
		return invalid(errors.New("a logout token that was used"))
	}
	c.cfg.Logger.InfoContext(ctx, "relying: signed out by the provider", "sub", t.subject, "session", t.sid != "")
	return nil
}

// readLogoutToken verifies one (OpenID Connect Back-Channel Logout 1.0 §2.6).
func (c *Client) readLogoutToken(ctx context.Context, p *provider, raw string) (*logoutToken, error) {
	sig := &signature{keys: p.keys}
	// Signature, iss, aud, exp not over, events, no nonce, jti, sub or sid.
	seen, err := oidc.NewVerifier(c.cfg.Issuer, sig, p.verify).VerifyLogout(ctx, raw)
	if err != nil {
		return nil, sig.blame(err)
	}
	// §2.4: explicit typing. Older providers leave it out; the event and the missing nonce then tell it from an ID token.
	if !slices.Contains([]string{"", "jwt", "logout+jwt"}, typ(sig.header)) {
		return nil, invalid(fmt.Errorf("typ is %q", typ(sig.header)))
	}
	var claims map[string]json.RawMessage
	if err := seen.Claims(&claims); err != nil {
		return nil, invalid(err)
	}
	t, err := parseLogoutClaims(claims)
	if err != nil {
		return nil, invalid(err)
	}
	now := c.cfg.Now()
	switch {
	case !now.Before(t.expires):
		return nil, invalid(errors.New("expired"))
	case now.Sub(t.issued) > logoutTokenAge+clockSkew:
		return nil, invalid(errors.New("made too long ago"))
	case t.issued.Sub(now) > clockSkew:
		return nil, invalid(errors.New("made in the future"))
	}
	t.expires = now.Add(logoutTokenAge + 2*clockSkew) // by then no check above lets it pass
	return t, nil
}

// parseLogoutClaims reads the claims by their exact names.
func parseLogoutClaims(claims map[string]json.RawMessage) (*logoutToken, error) {
	if _, ok := claims["nonce"]; ok {
		return nil, errors.New("has a nonce: an ID token")
	}
	var events map[string]json.RawMessage
	if err := json.Unmarshal(claims["events"], &events); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	var event map[string]json.RawMessage
	if err := json.Unmarshal(events[logoutEvent], &event); err != nil || event == nil {
		return nil, errors.New("events has no logout event")
	}
	var t logoutToken
	for name, into := range map[string]*string{"sub": &t.subject, "sid": &t.sid, "jti": &t.id} {
		v, ok := claims[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(v, into); err != nil || *into == "" || len(*into) > 1000 {
			return nil, fmt.Errorf("%s is no text, or too long", name)
		}
	}
	if t.id == "" || t.subject == "" && t.sid == "" {
		return nil, errors.New("without jti, or with neither sub nor sid")
	}
	for name, into := range map[string]*time.Time{"iat": &t.issued, "exp": &t.expires} {
		at, err := moment(claims[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*into = at
	}
	return &t, nil
}

// moment reads a NumericDate (RFC 7519 §2).
func moment(raw json.RawMessage) (time.Time, error) {
	var n *float64
	if len(raw) == 0 {
		return time.Time{}, errors.New("missing")
	}
	if err := json.Unmarshal(raw, &n); err != nil || n == nil || *n < 0 || *n > 1<<40 {
		return time.Time{}, errors.New("not a time")
	}
	return time.Unix(int64(*n), 0), nil
}
