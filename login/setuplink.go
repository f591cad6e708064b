package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

const (
	purposeSetup = "setup" // store.OneTime.Purpose

	// SetupTTL is how long a set-up link lives unless the caller says otherwise.
	SetupTTL = 24 * time.Hour
)

// ErrSetupDone: somebody was administrator once, so the web set-up stays shut, even when the last administrator is gone
// (security.md G5). Only ReissueSetupLink, which needs the host, opens it again.
var ErrSetupDone = errors.New("login: set up already")

// setupLink is store.OneTime.Data of a set-up link.
type setupLink struct {
	Reissued bool `json:"reissued,omitempty"` // by the operator on the host: good although there was an administrator
}

// NewSetupLink makes the link through which the first administrator is created; ttl 0 means SetupTTL. It answers ErrSetupDone
// once there was an administrator. An earlier link that was not used dies. Only the hash of its 256 bits is kept.
func NewSetupLink(ctx context.Context, s *store.Store, issuer string, ttl time.Duration) (url string, err error) {
	done, err := s.SetupDone(ctx)
	if err != nil {
		return "", fmt.Errorf("login: set-up link: %w", err)
	}
	if done {
		return "", ErrSetupDone
	}
	return newSetupLink(ctx, s, issuer, ttl, setupLink{})
}

// ReissueSetupLink is NewSetupLink for `latchkey user setup-link`: whoever can run it has the host, and may add an administrator
// at any time. It is audited.
func ReissueSetupLink(ctx context.Context, s *store.Store, issuer string, ttl time.Duration) (url string, err error) {
	err = s.Tx(ctx, func(ctx context.Context) (err error) {
		if url, err = newSetupLink(ctx, s, issuer, ttl, setupLink{Reissued: true}); err != nil {
			return err
		}
		return s.Audit(ctx, "cli", "setup.link", "setup:", nil)
	})
	return url, err
}

func newSetupLink(ctx context.Context, s *store.Store, issuer string, ttl time.Duration, data setupLink) (string, error) {
	if ttl <= 0 {
		ttl = SetupTTL
	}
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	token := base64.RawURLEncoding.EncodeToString(secret[:])
	b, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	now := s.Now()
	err = s.CreateOneTime(ctx, &store.OneTime{
		Hash: hashOf(token), Purpose: purposeSetup, Data: string(b), CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(ttl)),
	})
	if err != nil {
		return "", fmt.Errorf("login: set-up link: %w", err)
	}
	// The issuer is configuration: a Host header never gets into a link (security.md F15).
	return strings.TrimSuffix(issuer, "/") + setupPrefix + token, nil
}
