package store

import (
	"context"
	"fmt"
	"time"
)

// SigningKey is a key with its times; states follow from them alone (provider.md 7.5).
type SigningKey struct {
	KID           string `db:"kid"`
	Alg           string `db:"alg"`            // RS256 ES256 EdDSA PS256; A256GCM seals codes and opaque tokens; HS256 authenticates refresh tokens
	PrivateSealed string `db:"private_sealed"` // sealed under the master key, AAD = kid
	MasterKID     string `db:"master_kid"`     // which master key sealed it
	PublishAt     Time   `db:"publish_at"`
	ActiveAt      Time   `db:"active_at"`
	RetireAt      Time   `db:"retire_at"`
	DeleteAt      Time   `db:"delete_at"`
}

const keyColumns = "kid, alg, private_sealed, master_kid, publish_at, active_at, retire_at, delete_at"

const keyDue = `SELECT COUNT(*) FROM signing_keys WHERE alg = ? AND (retire_at IS NULL OR retire_at > ?)`

var insertKey = insertInto("signing_keys", keyColumns)

// CreateKey inserts unless a key of that alg is active at k.ActiveAt or due later; created = this call did it. However many processes
// start on an empty database, one key per algorithm comes of it (security.md B10).
func (s *Store) CreateKey(ctx context.Context, k *SigningKey) (created bool, err error) {
	err = s.Tx(ctx, func(ctx context.Context) error {
		created = false
		if err := s.lock(ctx, keys); err != nil {
			return err
		}
		n, _, err := value[int64](ctx, s, keyDue, k.Alg, k.ActiveAt)
		if err != nil || n > 0 {
			return err
		}
		if _, err := s.named(ctx, insertKey, k); err != nil {
			return err
		}
		created = true
		if err := s.Audit(ctx, "system", "key.create", "key:"+k.KID, map[string]string{"alg": k.Alg}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
	return created && err == nil, err
}

const (
	keyAhead   = `SELECT COUNT(*) FROM signing_keys WHERE alg = ? AND active_at > ? AND (retire_at IS NULL OR retire_at > active_at)`
	followKeys = `UPDATE signing_keys SET retire_at = ?, delete_at = ? WHERE alg = ? AND (retire_at IS NULL OR retire_at > ?)`
)

// ReplaceKeys inserts next and sets retire_at and delete_at of the ones it follows, in one audited Tx. ErrConflict when next is not active
// yet and another successor waits already: somebody else has rotated.
func (s *Store) ReplaceKeys(ctx context.Context, actor string, next *SigningKey, retireAt, deleteAt time.Time) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, keys); err != nil {
			return err
		}
		now := At(s.now(ctx))
		if next.ActiveAt.After(now.Time) {
			n, _, err := value[int64](ctx, s, keyAhead, next.Alg, now)
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("store: a next %s key waits already: %w", next.Alg, ErrConflict)
			}
		}
		retire := At(retireAt)
		if _, err := s.exec(ctx, followKeys, retire, At(deleteAt), next.Alg, retire); err != nil {
			return err
		}
		if _, err := s.named(ctx, insertKey, next); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "key.rotate", "key:"+next.KID, map[string]any{"alg": next.Alg, "active_at": next.ActiveAt}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const signingKeys = `SELECT ` + keyColumns + ` FROM signing_keys WHERE delete_at IS NULL OR delete_at > ? ORDER BY active_at, kid`

// SigningKeys returns all not yet deleted by time.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return many[SigningKey](ctx, s, signingKeys, At(s.now(ctx)))
}

const retireKey = `UPDATE signing_keys SET retire_at = ?, delete_at = ? WHERE kid = ?`

// RetireKey ends a key's signing at one instant and its verifying at another. Audited.
func (s *Store) RetireKey(ctx context.Context, actor, kid string, at, deleteAt time.Time) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, keys); err != nil {
			return err
		}
		n, err := s.exec(ctx, retireKey, At(at), At(deleteAt), kid)
		if err := changed(n, err, fmt.Errorf("store: key: %w", ErrNotFound)); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "key.retire", "key:"+kid, map[string]any{"retire_at": At(at), "delete_at": At(deleteAt)}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const resealKey = `UPDATE signing_keys SET private_sealed = ?, master_kid = ? WHERE kid = ? AND private_sealed = ?`

// ResealKeys seals every key anew, under a new master key; n is how many. Audited, and all or none.
func (s *Store) ResealKeys(ctx context.Context, actor string, reseal func(SigningKey) (sealed, masterKID string, err error)) (n int, err error) {
	err = s.Tx(ctx, func(ctx context.Context) error {
		n = 0
		if err := s.lock(ctx, keys); err != nil {
			return err
		}
		list, err := many[SigningKey](ctx, s, `SELECT `+keyColumns+` FROM signing_keys ORDER BY kid`)
		if err != nil {
			return err
		}
		for _, k := range list {
			sealed, master, err := reseal(k)
			if err != nil {
				return err
			}
			if sealed == k.PrivateSealed && master == k.MasterKID {
				continue
			}
			if _, err := s.exec(ctx, resealKey, sealed, master, k.KID, k.PrivateSealed); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		if err := s.Audit(ctx, actor, "key.reseal", "keys", map[string]int{"keys": n}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
