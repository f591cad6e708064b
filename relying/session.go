package relying

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// Sessions keeps local sessions on the server's side. What it is given is encrypted under a key that only the browser's cookie
// completes, and the keys are hashes: a copy of the store opens nothing. It must be safe for concurrent use.
type Sessions interface {
	// Load returns what Save was given for key, or nil and no error when there is nothing or its time is over.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save keeps data until expires. With replace it writes only over what is still there and otherwise does nothing: a session
	// that was ended meanwhile must not come back.
	Save(ctx context.Context, key string, data []byte, expires time.Time, replace bool) error
	// Delete forgets key; one that is unknown is no error.
	Delete(ctx context.Context, key string) error
}

// memory is the Sessions of one process.
type memory struct {
	now func() time.Time

	mu    sync.Mutex
	kept  map[string]kept
	swept time.Time
}

type kept struct {
	data    []byte
	expires time.Time
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, kept: map[string]kept{}, swept: now()}
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.kept[key]
	if !ok || !m.now().Before(k.expires) {
		return nil, nil
	}
	return k.data, nil
}

func (m *memory) Save(_ context.Context, key string, data []byte, expires time.Time, replace bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.Sub(m.swept) > time.Minute {
		m.swept = now
		for k, v := range m.kept {
			if !now.Before(v.expires) {
				delete(m.kept, k)
			}
		}
	}
	if old, ok := m.kept[key]; replace && (!ok || !now.Before(old.expires)) {
		return nil
	}
	m.kept[key] = kept{data, expires}
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
	return nil
}

// session is what is kept of one signed-in browser.
type session struct {
	Subject  string          `json:"sub"`
	Nonce    string          `json:"nonce"`
	RawID    string          `json:"raw_id"`   // the newest ID token, the hint at sign-out
	IDToken  json.RawMessage `json:"id_token"` // its verified payload
	UserInfo json.RawMessage `json:"userinfo"`
	Claims   json.RawMessage `json:"claims"` // both together
	Access   string          `json:"access"`
	Refresh  string          `json:"refresh"`
	SID      string          `json:"sid"`     // the provider's session
	Began    time.Time       `json:"began"`   // when the provider made the first ID token, by its clock
	Endless  bool            `json:"endless"` // the provider did not say when the access token expires
	Checked  time.Time       `json:"checked"` // when the claims were read
	Fresh    time.Time       `json:"fresh"`   // until then the access token lives
	Ends     time.Time       `json:"ends"`    // no renewal after this
}

// assumedLife is how long claims stand when the provider did not say how long the access token lives.
const assumedLife = 10 * time.Minute

// renewable says whether the claims can be read again once they are no longer fresh.
func (s *session) renewable() bool { return s.Refresh != "" || s.Endless }

// due says whether the claims must be read again before anybody relies on them.
func (c *Client) due(s *session) bool {
	now := c.cfg.Now()
	return !now.Before(s.Fresh) || c.cfg.Recheck > 0 && now.Sub(s.Checked) >= c.cfg.Recheck
}

// expires is when the store may forget it.
func (s *session) expires() time.Time {
	if s.renewable() {
		return s.Ends
	}
	return s.Fresh
}

func storeKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

func (c *Client) save(ctx context.Context, id string, s *session, replace bool) error {
	plain, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sealed, err := c.keys.seal(id, "session", plain)
	if err != nil {
		return err
	}
	return c.cfg.Sessions.Save(ctx, storeKey(id), sealed, s.expires(), replace)
}

// load returns the session behind a cookie; nil and no error when there is none.
func (c *Client) load(ctx context.Context, id string) (*session, error) {
	if id == "" {
		return nil, nil
	}
	sealed, err := c.cfg.Sessions.Load(ctx, storeKey(id))
	if err != nil {
		return nil, &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Err: fmt.Errorf("session store: %w", err)}
	}
	if sealed == nil {
		return nil, nil
	}
	var s session
	plain, err := c.keys.open(id, "session", sealed)
	if err == nil {
		err = json.Unmarshal(plain, &s)
	}
	if err != nil { // another CookieKey or another version of this package: nobody we know
		c.cfg.Logger.WarnContext(ctx, "relying: unreadable session dropped", "err", err)
		return nil, nil
	}
	if over, err := c.ended(ctx, &s); err != nil {
		return nil, err
	} else if over {
		return nil, c.forget(ctx, id)
	}
	return &s, nil
}

// lock lets one request at a time renew or end a session, so that a refresh token is used once and an ended session stays ended.
func (c *Client) lock(ctx context.Context, id string) (unlock func(), err error) {
	for {
		c.mu.Lock()
		wait, taken := c.busy[id]
		if !taken {
			done := make(chan struct{})
			c.busy[id] = done
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, id)
				c.mu.Unlock()
				close(done)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// current returns the session of a cookie with claims that are fresh, renewing them where that is due. nil: nobody is signed in.
// An error: it cannot be known now.
func (c *Client) current(ctx context.Context, id string) (*session, error) {
	s, err := c.load(ctx, id)
	if err != nil || s == nil || !c.due(s) {
		return s, err
	}
	unlock, err := c.lock(ctx, id)
	if err != nil {
		return nil, unavailable(err)
	}
	defer unlock()
	seen := s.Checked
	if s, err = c.load(ctx, id); err != nil || s == nil || !c.due(s) || s.Checked.After(seen) && c.cfg.Now().Before(s.Fresh) {
		return s, err // another request was quicker
	}
	if !c.cfg.Now().Before(s.Fresh) && (!s.renewable() || !c.cfg.Now().Before(s.Ends)) {
		return nil, c.forget(ctx, id)
	}
	// The answer to a refresh must be kept even if the person has moved on: it may be the only one there will be.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.outbound(ctx)), 15*time.Second)
	defer cancel()
	next, err := c.renew(ctx, id, s)
	if err == nil {
		return next, nil
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnavailable {
		return nil, err
	}
	c.cfg.Logger.InfoContext(ctx, "relying: session not renewed", "err", err)
	return nil, c.forget(ctx, id)
}

func (c *Client) forget(ctx context.Context, id string) error {
	if err := c.cfg.Sessions.Delete(ctx, storeKey(id)); err != nil {
		return unavailable(fmt.Errorf("session store: %w", err))
	}
	return nil
}

func unavailable(err error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Err: err}
}

// renew reads the claims again and keeps them, unless the provider was out of reach a moment ago.
func (c *Client) renew(ctx context.Context, id string, s *session) (*session, error) {
	if _, outage := c.provider.known(); outage != nil {
		return nil, outage
	}
	next, err := c.reread(ctx, id, s)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnavailable {
		c.provider.down(e)
	}
	if err != nil {
		return nil, err
	}
	if next.Fresh.After(s.Ends) {
		next.Fresh = s.Ends
	}
	if err := c.save(ctx, id, next, true); err != nil {
		return nil, unavailable(fmt.Errorf("session store: %w", err))
	}
	return next, nil
}

// reread asks at userinfo while the access token works, and else with the refresh token.
func (c *Client) reread(ctx context.Context, id string, s *session) (*session, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	if s.Refresh == "" || c.cfg.Now().Before(s.Fresh) && p.oidc.UserInfoEndpoint() != "" {
		next, err := c.askAgain(ctx, p, s)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeDenied || s.Refresh == "" {
			return next, err
		}
		// The access token ended early. What the refresh token is answered says whether the sign-in did.
	}
	tok, err := p.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: s.Refresh}).Token()
	if err != nil {
		return nil, tokenError(err)
	}
	if tok.RefreshToken != s.Refresh { // keep it at once, whatever becomes of the claims: the old one is used up
		turned := *s
		turned.Refresh = tok.RefreshToken
		if err := c.save(ctx, id, &turned, true); err != nil {
			return nil, unavailable(fmt.Errorf("session store: %w", err))
		}
	}
	return c.accept(ctx, p, tok, s)
}

// askAgain reads the claims with the access token there is.
func (c *Client) askAgain(ctx context.Context, p *provider, s *session) (next *session, err error) {
	if p.oidc.UserInfoEndpoint() == "" {
		return nil, invalid(errors.New("the provider has no userinfo to ask again"))
	}
	n := *s
	if n.UserInfo, err = c.userInfo(ctx, p, s.Access, s.Subject); err != nil {
		return nil, err
	}
	n.Checked = c.cfg.Now()
	if s.Endless {
		n.Fresh = n.Checked.Add(assumedLife)
	}
	// What the ID token said of the person is older than this answer; what it said of the sign-in still stands.
	about, err := only(s.IDToken, aboutSignIn...)
	if err != nil {
		return nil, invalid(err)
	}
	if n.Claims, err = merge(about, n.UserInfo); err != nil {
		return nil, invalid(err)
	}
	if _, err := readInfo(&n); err != nil {
		return nil, invalid(err)
	}
	return &n, nil
}

// aboutSignIn are the claims of an ID token that do not go stale.
var aboutSignIn = []string{"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "amr", "acr", "sid", "nonce", "login_method", "act"}

// tokenError says whether the token endpoint refused or could not answer.
func tokenError(err error) *Error {
	if re, ok := errors.AsType[*oauth2.RetrieveError](err); ok && re.Response != nil {
		if s := re.Response.StatusCode; s >= 400 && s < 500 && s != http.StatusTooManyRequests {
			return &Error{Status: http.StatusBadGateway, Code: CodeInvalid, OAuth: re.ErrorCode, Err: err}
		}
	}
	return unavailable(err)
}
