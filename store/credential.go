package store

import (
	"context"
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Credential kinds.
const (
	CredPassword = "password" // Secret is a PHC string
	CredTOTP     = "totp"     // Secret is the sealed seed of an authenticator app, Counter the last step that was accepted
	CredSMS      = "sms"      // Secret is the sealed E.164 number that codes are sent to
	CredPasskey  = "passkey"  // ID is the hash of the credential's id, Secret the sealed public key and what goes with it, Counter its signatures
	CredRecovery = "recovery" // Secret is the hash of one recovery code; used when LastUsedAt is set
)

// Credential is something a user proves. Secret is a hash or sealed, by kind.
type Credential struct {
	ID         string `db:"id"`
	UserID     string `db:"user_id"`
	Kind       string `db:"kind"`
	Label      string `db:"label"`
	Secret     string `db:"secret"`
	Data       string `db:"data"`    // JSON, by kind: PasskeyData
	Counter    int64  `db:"counter"` // last TOTP step, passkey sign count
	CreatedAt  Time   `db:"created_at"`
	UpdatedAt  Time   `db:"updated_at"`
	LastUsedAt Time   `db:"last_used_at"`
}

const credentialColumns = "id, user_id, kind, label, secret, data, counter, created_at, updated_at, last_used_at"

const password = `SELECT ` + credentialColumns + ` FROM credentials WHERE user_id = ? AND kind = 'password'`

// Password returns a user's password; ErrNotFound when there is none.
func (s *Store) Password(ctx context.Context, userID string) (*Credential, error) {
	return one[Credential](ctx, s, "password", password, userID)
}

var setPassword = insertInto("credentials", credentialColumns) + ` ON CONFLICT (user_id) WHERE kind = 'password'
DO UPDATE SET secret = excluded.secret, data = excluded.data, updated_at = excluded.updated_at`

const setMustChange = `UPDATE users SET must_change_password = ?, updated_at = ?, version = version + 1 WHERE id = ? AND deleted_at IS NULL`

// SetPassword replaces the password, ends the user's other sessions and half-finished sign-ins (all but the one with the id keepSession)
// and revokes their grants, and every link that would set another, in one audited transaction. An actor who is neither the user nor the operator must hold what the user
// holds: whoever sets a password can sign in with it (security.md G2).
func (s *Store) SetPassword(ctx context.Context, actor, userID, phc string, mustChange bool, keepSession string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if actor != userID {
			if err := s.mayManage(ctx, actor, userID, privilege.EditUserPassword); err != nil {
				return err
			}
		}
		now := At(s.now(ctx))
		n, err := s.exec(ctx, setMustChange, mustChange, now, userID)
		if err := changed(n, err, fmt.Errorf("store: user: %w", ErrNotFound)); err != nil {
			return err
		}
		c := Credential{ID: newID(), UserID: userID, Kind: CredPassword, Secret: phc, CreatedAt: now, UpdatedAt: now}
		if _, err := s.named(ctx, setPassword, &c); err != nil {
			return err
		}
		if err := s.UseOneTimesOf(ctx, PurposeReset, userID); err != nil { // security.md F15
			return err
		}
		if err := s.endAccess(ctx, userID, keepSession, "password changed"); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.set_password", "user:"+userID, map[string]bool{"must_change": mustChange})
	})
}

const rehashPassword = `UPDATE credentials SET secret = ? WHERE id = ? AND kind = 'password' AND secret = ?`

// RehashPassword swaps the hash after a successful login if it is still old; no side effects, and no error when it is not.
func (s *Store) RehashPassword(ctx context.Context, credID, old, phc string) error {
	_, err := s.exec(ctx, rehashPassword, phc, credID, old)
	return err
}
