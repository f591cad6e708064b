package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Identity links a user to an upstream's subject: key (connector, issuer or tenant, subject). Neither key nor user ever changes: a link is
// taken away and made anew (security.md E4).
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
	QuarantinedAt Time    `db:"quarantined_at"` // opens no account: see QuarantineHolder
	TokenSealed   string  `db:"token_sealed"`   // the upstream's access token under the master key, to be given back with the link; "" = none
}

const identityColumns = "id, user_id, connector, issuer, subject, email, email_trust, evidence, created_at, last_used_at, quarantined_at, token_sealed"

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

const identitiesBySubject = `SELECT ` + identityColumns + ` FROM identities WHERE connector = ? AND subject = ? ORDER BY issuer`

// IdentitiesBySubject returns the links of a subject whatever its issuer: an upstream's signed notice names only the subject.
func (s *Store) IdentitiesBySubject(ctx context.Context, connector, subject string) ([]Identity, error) {
	return many[Identity](ctx, s, identitiesBySubject, connector, subject)
}

const identitiesByEmail = `SELECT ` + identityColumns + ` FROM identities
WHERE connector = ? AND issuer = ? AND LOWER(email) = LOWER(?) AND email <> '' AND quarantined_at IS NULL AND email_trust IN ('verified', 'authoritative')
ORDER BY created_at, id LIMIT 20`

// IdentitiesByEmail returns the links for which an upstream vouched for this address. They warn of an address that changed hands
// (security.md E6); nobody is ever signed in by them.
func (s *Store) IdentitiesByEmail(ctx context.Context, connector, issuer, email string) ([]Identity, error) {
	return many[Identity](ctx, s, identitiesByEmail, connector, issuer, email)
}

const touchIdentity = `UPDATE identities SET last_used_at = ?, email = CASE WHEN ? = '' THEN email ELSE ? END,
  email_trust = CASE WHEN ? = '' THEN email_trust ELSE ? END WHERE id = ? AND quarantined_at IS NULL`

// TouchIdentity notes a sign-in and what the upstream says of the address now; "" leaves what is stored. ErrNotFound when the link is gone
// or quarantined.
func (s *Store) TouchIdentity(ctx context.Context, id, email, trust string) error {
	if email == "" {
		trust = ""
	}
	n, err := s.exec(ctx, touchIdentity, At(s.now(ctx)), email, email, email, trust, id)
	return changed(n, err, errNotFound("identity"))
}

const keepIdentityToken = `UPDATE identities SET token_sealed = ? WHERE id = ? AND quarantined_at IS NULL`

// KeepIdentityToken replaces the upstream's sealed access token; "" forgets it. ErrNotFound when the link is gone or quarantined.
func (s *Store) KeepIdentityToken(ctx context.Context, id, sealed string) error {
	n, err := s.exec(ctx, keepIdentityToken, sealed, id)
	return changed(n, err, errNotFound("identity"))
}

// WayEmailCode and WayPhone are ways in that a proven address and a number are, where such codes are taken. WayPasskey are passkeys that may stand alone.
const (
	WayEmailCode = "email_code"
	WayPhone     = "phone"
	WayPasskey   = CredPasskey
)

// waysIn counts how a person could sign in by one of ways: with a password, a code by mail, links through connectors, passkeys, and a number. That is none to
// people with power over others, who need a password beside it.
func (s *Store) waysIn(ctx context.Context, userID string, ways []string) (int, error) {
	n := 0
	if slices.Contains(ways, CredPassword) {
		switch _, err := s.Password(ctx, userID); {
		case err == nil:
			n++
		case !errors.Is(err, ErrNotFound):
			return 0, err
		}
	}
	if slices.Contains(ways, WayEmailCode) {
		u, err := s.User(ctx, userID)
		if err != nil {
			return 0, err
		}
		if u.Email != "" && !u.EmailVerifiedAt.IsZero() {
			n++
		}
	}
	if slices.Contains(ways, WayPasskey) {
		keys, err := s.passkeysAlone(ctx, userID)
		if err != nil {
			return 0, err
		}
		n += keys
	}
	links, err := s.IdentitiesOf(ctx, userID)
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.QuarantinedAt.IsZero() && slices.Contains(ways, l.Connector) {
			n++
		}
	}
	if !slices.Contains(ways, WayPhone) {
		return n, nil
	}
	l, err := s.Live(ctx, userID)
	if err != nil {
		return 0, err
	}
	m, err := s.model(ctx)
	if err != nil {
		return 0, err
	}
	if l.User.Phone != "" && !m.Administers(l, At(s.now(ctx))) {
		n++
	}
	return n, nil
}

// WaysIn counts how a person can sign in by one of ways: CredPassword, WayEmailCode, each passkey (WayPasskey), WayPhone, and each link whose connector is among them.
func (s *Store) WaysIn(ctx context.Context, userID string, ways []string) (int, error) {
	return s.waysIn(ctx, userID, ways)
}

const (
	// Its one row is the lock: of two changes to one person's ways in the second sees what the first left.
	lockUser       = `UPDATE users SET updated_at = ? WHERE id = ? AND deleted_at IS NULL`
	deleteIdentity = `DELETE FROM identities WHERE id = ? AND user_id = ?`
)

// UnlinkIdentity takes a link away from a person's account. ErrNotFound when it is not theirs, ErrLastWayIn when it was the last way in by one of
// ways. A quarantined one, which opens nothing for good, always goes. What came through the link ends, but for the session keepSession:
// sessions, their grants, and the privileges it gave. Audited.
func (s *Store) UnlinkIdentity(ctx context.Context, actor, userID, id, keepSession string, ways []string) (*Identity, error) {
	return s.removeIdentity(ctx, actor, userID, id, keepSession, func(ctx context.Context, gone *Identity) error {
		n, err := s.waysIn(ctx, userID, ways)
		if err == nil && n == 0 && gone.QuarantinedAt.IsZero() {
			err = fmt.Errorf("store: identity: %w", ErrLastWayIn)
		}
		return err
	})
}

// ForgetIdentity is UnlinkIdentity because the upstream asks for it on the person's behalf, which is obeyed whatever remains. waysIn is
// what does, of ways.
func (s *Store) ForgetIdentity(ctx context.Context, actor, userID, id string, ways []string) (waysIn int, err error) {
	_, err = s.removeIdentity(ctx, actor, userID, id, "", func(ctx context.Context, _ *Identity) (err error) {
		waysIn, err = s.waysIn(ctx, userID, ways)
		return err
	})
	return waysIn, err
}

func (s *Store) removeIdentity(ctx context.Context, actor, userID, id, keepSession string, check func(ctx context.Context, gone *Identity) error) (*Identity, error) {
	var gone *Identity
	err := s.Tx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, lockUser, At(s.now(ctx)), userID)
		if err := changed(n, err, errNotFound("user")); err != nil {
			return err
		}
		links, err := s.IdentitiesOf(ctx, userID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(links, func(l Identity) bool { return l.ID == id })
		if i < 0 {
			return errNotFound("identity")
		}
		n, err = s.exec(ctx, deleteIdentity, id, userID)
		if err := changed(n, err, errNotFound("identity")); err != nil {
			return err
		}
		link := links[i]
		if err := check(ctx, &link); err != nil {
			return err
		}
		gone = &link
		again := func(l Identity) bool { return l.ID != id && l.Connector == link.Connector && l.QuarantinedAt.IsZero() }
		if err := s.endLink(ctx, &link, slices.ContainsFunc(links, again), keepSession, "unlinked"); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "identity.delete", "user:"+userID,
			map[string]any{"connector": link.Connector, "issuer": link.Issuer, "subject": link.Subject})
	})
	return gone, err
}

const endPartialsBy = `DELETE FROM partials WHERE user_id = ? AND connector = ?`

// endLink ends what a person has through a link: sessions but keepSession, their grants, half-finished sign-ins, and what the connector's
// rules gave. With others, more links through the connector stay: so do sessions of theirs, and their claims give anew at the next sign-in.
func (s *Store) endLink(ctx context.Context, link *Identity, others bool, keepSession, reason string) error {
	if _, err := s.exec(ctx, endPartialsBy, link.UserID, link.Connector); err != nil {
		return err
	}
	sessions, err := s.SessionsOf(ctx, link.UserID)
	if err != nil {
		return err
	}
	for _, n := range sessions {
		if n.Connector != link.Connector || n.ID == keepSession {
			continue
		}
		side, err := s.UpstreamSession(ctx, n.ID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if others && err == nil && (side.Issuer != link.Issuer || side.Subject != link.Subject) {
			continue
		}
		if err := s.EndSession(ctx, n.ID, reason); err != nil {
			return err
		}
	}
	_, err = s.SyncUpstreamPrivileges(ctx, link.UserID, link.Connector, nil)
	return err
}

const (
	dropEmail = `UPDATE users SET email = '', email_key = '', updated_at = ?, version = version + 1
WHERE id = ? AND email_key = ? AND email_key <> '' AND email_verified_at IS NULL AND deleted_at IS NULL`
	deleteCredentialsOf  = `DELETE FROM credentials WHERE user_id = ?`
	quarantineIdentities = `UPDATE identities SET quarantined_at = ? WHERE user_id = ? AND quarantined_at IS NULL`
	deleteOneTimeOf      = `DELETE FROM one_time WHERE user_id = ? AND user_id <> ''`
	deletePendingOf      = `DELETE FROM pending WHERE user_id = ? AND user_id <> ''`
	deleteAttemptsOf     = `DELETE FROM attempts WHERE user_id = ? AND user_id <> ''`
)

// QuarantineHolder takes an address from an account that never proved it, for somebody who did (security.md E5): address, password and
// other credentials, links, one-time links, authorities, pending requests, sessions, half-finished sign-ins and grants of the holder are over. The
// account stays, for an administrator to look at. ErrConflict when the holder has proven the address meanwhile or gave it up, ErrForbidden
// when somebody gave the holder a privilege: then it is no stranger's account, and people must talk. Audited.
func (s *Store) QuarantineHolder(ctx context.Context, actor, holder, email string) error {
	key, err := emailKey(email)
	if err != nil {
		return err
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			l, err := s.Live(ctx, holder)
			if err != nil {
				return err
			}
			m, err := s.model(ctx)
			if err != nil {
				return err
			}
			if m.Privileged(l) {
				return fmt.Errorf("store: quarantine: %w", ErrForbidden)
			}
			now := At(s.now(ctx))
			n, err := s.exec(ctx, dropEmail, now, holder, key)
			if err := changed(n, err, fmt.Errorf("store: quarantine: %w", ErrConflict)); err != nil {
				return err
			}
			for _, q := range []string{deleteCredentialsOf, deleteOneTimeOf, deletePendingOf, deleteAttemptsOf} {
				if _, err := s.exec(ctx, q, holder); err != nil {
					return err
				}
			}
			if _, err := s.exec(ctx, quarantineIdentities, now, holder); err != nil {
				return err
			}
			if err := s.endAuthoritiesOf(ctx, actor, holder); err != nil {
				return err
			}
			if err := s.endAccess(ctx, holder, "", "address claimed"); err != nil {
				return err
			}
			return s.Audit(ctx, actor, "user.quarantine", "user:"+holder, nil) // addresses stay out of the log, which is never erased
		})
	})
}
