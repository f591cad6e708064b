package store

import (
	"context"
	"fmt"
)

// Purposes of an Attempt. A row of one purpose is nothing for another.
const (
	AttemptLogin    = "login"    // to an upstream, to sign in
	AttemptLink     = "link"     // to an upstream, to connect it to UserID's account
	AttemptReauth   = "reauth"   // to an upstream, to confirm that it is UserID
	AttemptJoin     = "join"     // an identity waits until UserID's account is proven
	AttemptConfirm  = "confirm"  // an identity waits for UserID's word that it be connected
	AttemptComplete = "complete" // an identity waits for what its upstream did not say
	AttemptAddress  = "address"  // UserID, who is signed in, proves an address
	AttemptPhone    = "phone"    // a number that waits for its code, to sign in
	AttemptNumber   = "number"   // the same, to be UserID's
	AttemptFactor   = "factor"   // a code for UserID's second factor, which waits for it
	AttemptEnrol    = "enrol"    // a number that waits for its code, to become UserID's second factor
	AttemptProof    = "proof"    // a code by mail that UserID's number waits for
	AttemptEmail    = "email"    // UserID, who is signed in, proves the address to change to
	AttemptRegister = "register" // somebody new proves their address
	AttemptPasskey  = "passkey"  // the challenge of a passkey; what it is for is Connector
	AttemptCode     = "code"     // somebody signs in with a code that goes to the account's address
)

// Attempt is something begun in one browser that goes on once, in that browser and within its time. It goes by the hash of a random value:
// the state parameter on the way to an upstream and back, or the handle in a page's address.
type Attempt struct {
	StateHash   string `db:"state_hash"`
	Connector   string `db:"connector"`
	Purpose     string `db:"purpose"`
	FlowHash    string `db:"flow_hash"`    // "" = none
	UserID      string `db:"user_id"`      // whose account it is about; "" = not known
	BrowserHash string `db:"browser_hash"` // SHA-256 of the flow cookie
	Sealed      string `db:"sealed"`       // under the master key: nonce and verifier, or the identity that waits
	CreatedAt   Time   `db:"created_at"`
	ExpiresAt   Time   `db:"expires_at"`
	UsedAt      Time   `db:"used_at"`
}

const attemptColumns = "state_hash, connector, purpose, flow_hash, user_id, browser_hash, sealed, created_at, expires_at, used_at"

var createAttempt = insertInto("attempts", attemptColumns)

// CreateAttempt stores one. CreatedAt is filled when not set.
func (s *Store) CreateAttempt(ctx context.Context, a *Attempt) error {
	if a.CreatedAt.IsZero() {
		a.CreatedAt = At(s.now(ctx))
	}
	_, err := s.named(ctx, createAttempt, a)
	return err
}

const attemptByHash = `SELECT ` + attemptColumns + ` FROM attempts WHERE state_hash = ? AND browser_hash = ?`

// Attempt returns one that can go on; else ErrNotFound (another browser's is as good as none), or beside the row ErrUsed or ErrExpired.
func (s *Store) Attempt(ctx context.Context, stateHash, browserHash string) (*Attempt, error) {
	if browserHash == "" {
		return nil, errNotFound("attempt")
	}
	a, err := one[Attempt](ctx, s, "attempt", attemptByHash, stateHash, browserHash)
	switch {
	case err != nil:
		return nil, err
	case !a.UsedAt.IsZero():
		return a, fmt.Errorf("store: attempt: %w", ErrUsed)
	case !s.now(ctx).Before(a.ExpiresAt.Time):
		return a, fmt.Errorf("store: attempt: %w", ErrExpired)
	}
	return a, nil
}

const useAttempt = `UPDATE attempts SET used_at = ? WHERE state_hash = ? AND browser_hash = ? AND used_at IS NULL AND expires_at > ?`

// UseAttempt is Attempt for whoever goes on with it: of many calls one gets nil. ErrUsed for the others.
func (s *Store) UseAttempt(ctx context.Context, stateHash, browserHash string) (*Attempt, error) {
	if browserHash == "" {
		return nil, errNotFound("attempt")
	}
	now := At(s.now(ctx))
	n, err := s.exec(ctx, useAttempt, now, stateHash, browserHash, now)
	if err != nil {
		return nil, err
	}
	a, err := s.Attempt(ctx, stateHash, browserHash)
	switch {
	case n == 1 && (err == nil || a != nil):
		return a, nil
	case err != nil:
		return a, err
	}
	return nil, fmt.Errorf("store: attempt: %w", ErrUsed)
}
