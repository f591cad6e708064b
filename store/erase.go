package store

import (
	"context"
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

const (
	// What is left is the tombstone: the id, which is never given again, and the times (settled detail 13).
	eraseUser = `UPDATE users SET username = '', username_key = '', email = '', email_key = '', email_verified_at = NULL, phone = '',
  phone_verified_at = NULL, given_name = '', family_name = '', locale = '', zoneinfo = '', profile = '{}', disabled_at = COALESCE(disabled_at, ?),
  disabled_reason = 'erased', deleted_at = ?, updated_at = ?, version = version + 1 WHERE id = ? AND deleted_at IS NULL`
	deleteIdentitiesOf = `DELETE FROM identities WHERE user_id = ?`
	deleteConsentsOf   = `DELETE FROM consents WHERE user_id = ?`
	endAssignmentsHeld = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE user_id = ? AND ended_at IS NULL`
	deleteMessagesTo   = `DELETE FROM outbox WHERE recipient <> '' AND recipient IN (SELECT email FROM users WHERE id = ? UNION ALL SELECT phone FROM users WHERE id = ?)`
	// The words that people wrote about them are in these rows alone; the audit log names the rows.
	eraseAssignmentsOf = `UPDATE assignments SET reason = '' WHERE user_id = ?`
	eraseAuthoritiesBy = `UPDATE authorities SET reason = '' WHERE grantor = ?`
	eraseAuthoritiesTo = `UPDATE authorities SET reason = '' WHERE grantee = ? AND grantee <> ''`
	// That something happened stays for as long as events do; where from, and by which subject elsewhere, goes.
	eraseEventsOf  = `UPDATE events SET ip = '', data = '{}' WHERE user_id = ? AND user_id <> ''`
	closeDeletions = `UPDATE pending SET state = 'done', user_id = '' WHERE user_id = ? AND user_id <> '' AND kind = 'deletion'`
)

// EraseUser takes everything personal away for good: profile, address, number, credentials, links, messages, consents, privileges, authorities, the words
// of requests, sessions and grants, and what events say beside what happened. The row stays as a tombstone, so that the id is never anybody else's; address and username are free. A request to
// delete data that waited for it is done. ErrNotFound, ErrForbidden for oneself and for somebody who holds more, ErrLastAdmin. Audited, without what
// was erased.
func (s *Store) EraseUser(ctx context.Context, actor, id string) error {
	if actor == id {
		return fmt.Errorf("store: erase oneself: %w", forbidden(privilege.ErrSelf))
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			if err := s.mayManage(ctx, actor, id, privilege.DeleteUser); err != nil {
				return err
			}
			if _, err := s.exec(ctx, deleteMessagesTo, id, id); err != nil { // while the address is known
				return err
			}
			now := At(s.now(ctx))
			n, err := s.exec(ctx, eraseUser, now, now, now, id)
			if err := changed(n, err, errNotFound("user")); err != nil {
				return err
			}
			if _, err := s.exec(ctx, closeDeletions, id); err != nil {
				return err
			}
			for _, q := range []string{deleteCredentialsOf, deleteIdentitiesOf, deleteConsentsOf, deleteOneTimeOf, deletePendingOf, deleteAttemptsOf, eraseRequestsOf, deleteWarning, deletePhoneProof, deleteWordsOf, deleteDeletion,
				eraseInvitesOf, eraseInvitesBy, eraseAssignmentsOf, eraseAuthoritiesBy, eraseAuthoritiesTo, eraseEventsOf} {
				if _, err := s.exec(ctx, q, id); err != nil {
					return err
				}
			}
			for _, q := range []string{endAssignmentsHeld, closeRequestsOf} {
				if _, err := s.exec(ctx, q, now, actor, id); err != nil {
					return err
				}
			}
			if _, err := s.exec(ctx, revokeInvitesOf, now, actor, id, id, id); err != nil {
				return err
			}
			if err := s.endAuthoritiesOf(ctx, actor, id); err != nil {
				return err
			}
			if err := s.endAccess(ctx, id, "", "user erased"); err != nil {
				return err
			}
			return s.Audit(ctx, actor, "user.erase", "user:"+id, nil)
		})
	})
}
