package store

import "context"

// Identity links a user to an upstream's subject: key (connector, issuer or tenant, subject).
type Identity struct {
	ID            string  `db:"id"`
	UserID        string  `db:"user_id"`
	Connector     string  `db:"connector"`
	Issuer        string  `db:"issuer"`
	Subject       string  `db:"subject"`
	Email         string  `db:"email"`       // as the upstream said; never a key
	EmailTrust    string  `db:"email_trust"` // none reported verified authoritative
	Evidence      Strings `db:"evidence"`    // how the link was proven
	CreatedAt     Time    `db:"created_at"`
	LastUsedAt    Time    `db:"last_used_at"`
	QuarantinedAt Time    `db:"quarantined_at"`
}

const identityColumns = "id, user_id, connector, issuer, subject, email, email_trust, evidence, created_at, last_used_at, quarantined_at"

var createIdentity = insertInto("identities", identityColumns)

// CreateIdentity links; ErrConflict when the upstream's subject is linked already. ID and CreatedAt are filled. Audited.
func (s *Store) CreateIdentity(ctx context.Context, actor string, i *Identity) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		next := *i
		next.ID, next.CreatedAt = newID(), At(s.now(ctx))
		if _, err := s.named(ctx, createIdentity, &next); err != nil {
			return err
		}
		fill(ctx, s, i, next)
		return s.Audit(ctx, actor, "identity.create", "user:"+i.UserID,
			map[string]any{"connector": i.Connector, "issuer": i.Issuer, "subject": i.Subject, "evidence": i.Evidence})
	})
}

const identity = `SELECT ` + identityColumns + ` FROM identities WHERE connector = ? AND issuer = ? AND subject = ?`

// Identity finds the link of an upstream's subject, by its whole key (R4).
func (s *Store) Identity(ctx context.Context, connector, issuer, subject string) (*Identity, error) {
	return one[Identity](ctx, s, "identity", identity, connector, issuer, subject)
}

const identitiesOf = `SELECT ` + identityColumns + ` FROM identities WHERE user_id = ? ORDER BY created_at, id`

// IdentitiesOf returns a user's links, oldest first.
func (s *Store) IdentitiesOf(ctx context.Context, userID string) ([]Identity, error) {
	return many[Identity](ctx, s, identitiesOf, userID)
}
