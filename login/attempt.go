package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// attemptLife is how long a person may take at the upstream, or on a page where an identity waits.
const attemptLife = 10 * time.Minute

// journey is the sealed part of an attempt on its way to an upstream and back.
type journey struct {
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Flow     string `json:"f,omitempty"` // the flow's handle
	Join     string `json:"j,omitempty"` // handle of the identity that waits for this proof
	Since    int64  `json:"s,omitempty"` // Unix seconds: an older sign-in at the upstream does not do; 0 = any
	Anew     bool   `json:"a,omitempty"` // the upstream was asked to ask
}

// waiting is the sealed part of an attempt in which an identity waits.
type waiting struct {
	Identity connectors.Identity `json:"i"`
}

// newSecret is 256 bits as base64url: 43 characters, which is also PKCE's least (RFC 7636 §4.1).
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// begun stores an attempt under the hash of secret, for this browser.
func (l *Login) begun(ctx context.Context, secret, browser string, a store.Attempt, sealed any) error {
	plain, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	now := l.now()
	a.StateHash, a.BrowserHash = hashOf(secret), browser
	a.CreatedAt, a.ExpiresAt = store.At(now), store.At(now.Add(attemptLife))
	a.Sealed = l.seal(plain, sealedAttempt+a.StateHash)
	return l.store.CreateAttempt(ctx, &a)
}

const (
	sealedAttempt = "attempts.sealed."          // and the hash
	sealedSession = "upstream_sessions.sealed." // and the session's id
)

func (l *Login) unseal(a *store.Attempt, into any) error {
	plain, err := l.open(a.Sealed, sealedAttempt+a.StateHash)
	if err != nil {
		return fmt.Errorf("login: attempt: %w", err)
	}
	return json.Unmarshal(plain, into)
}

// wait keeps an identity until its person has said or proven something, and returns the handle for the page's address.
func (l *Login) wait(w http.ResponseWriter, r *http.Request, purpose, userID string, a *arrival) (string, error) {
	handle := newSecret()
	l.sessions.FlowCookie(w, r)
	err := l.begun(r.Context(), handle, l.sessions.FlowBinding(r),
		store.Attempt{Connector: a.up.Name(), Purpose: purpose, FlowHash: a.p.hash(), UserID: userID}, waiting{a.id})
	return handle, err
}

// waits returns the identity that waits under this request's handle for one of purposes, in this browser and flow. The error is for
// people.
func (l *Login) waits(r *http.Request, p *pending, handle string, purposes ...string) (*store.Attempt, *arrival, error) {
	row, err := l.attempt(r, p, handle, purposes...)
	if err != nil {
		return nil, nil, err
	}
	a, err := l.waiting(row, p)
	if err != nil {
		return row, nil, err
	}
	a.invite, err = l.invite(r)
	return row, a, err
}

// attempt returns what waits under this request's handle for one of purposes, in this browser and flow.
func (l *Login) attempt(r *http.Request, p *pending, handle string, purposes ...string) (*store.Attempt, error) {
	row, err := l.store.Attempt(r.Context(), hashOf(handle), l.sessions.FlowBinding(r))
	if err != nil {
		return nil, l.attemptOver(p, err)
	}
	if !slices.Contains(purposes, row.Purpose) || row.FlowHash != p.hash() { // a handle of another page or tab
		return nil, l.attemptOver(p, nil)
	}
	return row, nil
}

// waiting reads the identity that waits in row.
func (l *Login) waiting(row *store.Attempt, p *pending) (*arrival, error) {
	up := l.upstream(row.Connector)
	if up == nil { // removed (security.md E11)
		return nil, l.attemptOver(p, nil)
	}
	var v waiting
	if err := l.unseal(row, &v); err != nil {
		return nil, err
	}
	return &arrival{up: up, id: v.Identity, p: p}, nil
}

// attemptOver says on a page that an attempt is over, was another browser's or never was, and leads back to the choice of methods.
func (l *Login) attemptOver(p *pending, err error) error {
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrExpired) {
		return wrap("attempt", err)
	}
	return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: chooseURL(p)}
}

// chooseURL is the sign-in page that asks, and sends nobody on by itself.
func chooseURL(p *pending) string { return pathWith(signInPath, p, query{"choose": "1"}) }
