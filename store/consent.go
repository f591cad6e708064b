package store

import "context"

// Consent is what is remembered per user and client; no token hangs on it.
type Consent struct {
	UserID       string  `db:"user_id"`
	ClientID     string  `db:"client_id"`
	Scope        Strings `db:"scope"`
	ClaimsDigest string  `db:"claims_digest"` // of the claims parameter; another digest asks again
	ClientDigest string  `db:"client_digest"` // of the client's name and URIs; another digest asks again (security.md A16)
	GrantedAt    Time    `db:"granted_at"`
	ExpiresAt    Time    `db:"expires_at"`
}

const consentColumns = "user_id, client_id, scope, claims_digest, client_digest, granted_at, expires_at"

const consent = `SELECT ` + consentColumns + ` FROM consents WHERE user_id = ? AND client_id = ? AND (expires_at IS NULL OR expires_at > ?)`

// Consent returns what is remembered and not over; else ErrNotFound.
func (s *Store) Consent(ctx context.Context, userID, clientID string) (*Consent, error) {
	return one[Consent](ctx, s, "consent", consent, userID, clientID, At(s.now(ctx)))
}

var saveConsent = insertInto("consents", consentColumns) + ` ON CONFLICT (user_id, client_id) DO UPDATE SET scope = excluded.scope,
  claims_digest = excluded.claims_digest, client_digest = excluded.client_digest, granted_at = excluded.granted_at, expires_at = excluded.expires_at`

// SaveConsent remembers, in place of what was remembered before; audited. GrantedAt is filled when not set.
func (s *Store) SaveConsent(ctx context.Context, c *Consent) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if c.GrantedAt.IsZero() {
			c.GrantedAt = At(s.now(ctx))
		}
		if _, err := s.named(ctx, saveConsent, c); err != nil {
			return err
		}
		return s.Audit(ctx, c.UserID, "consent.save", "user:"+c.UserID, map[string]any{"client_id": c.ClientID, "scope": c.Scope})
	})
}

const (
	revokeConsent       = `DELETE FROM consents WHERE user_id = ? AND client_id = ?`
	revokeConsentGrants = `UPDATE grants SET revoked_at = ?, revoke_reason = 'consent revoked'
WHERE user_id = ? AND client_id = ? AND revoked_at IS NULL`
)

// RevokeConsent forgets it and revokes the grants that came from it. A client that needed none has grants all the same. Audited where there was anything.
func (s *Store) RevokeConsent(ctx context.Context, actor, userID, clientID string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		had, err := s.exec(ctx, revokeConsent, userID, clientID)
		if err != nil {
			return err
		}
		if err := s.tellRevoked(ctx, userID, clientID); err != nil {
			return err
		}
		n, err := s.exec(ctx, revokeConsentGrants, At(s.now(ctx)), userID, clientID)
		if err != nil || had+n == 0 {
			return err
		}
		return s.Audit(ctx, actor, "consent.revoke", "user:"+userID, map[string]any{"client_id": clientID, "grants": n})
	})
}

const consentsOf = `SELECT ` + consentColumns + ` FROM consents WHERE user_id = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY client_id`

// ConsentsOf returns everything a user's consents remember and that is not over.
func (s *Store) ConsentsOf(ctx context.Context, userID string) ([]Consent, error) {
	return many[Consent](ctx, s, consentsOf, userID, At(s.now(ctx)))
}
