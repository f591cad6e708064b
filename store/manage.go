package store

import (
	"context"
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// What administrators do to other people's accounts goes through mayManage, in the transaction that does it: the permission, and holding what the
// person holds. Nothing here is for one's own account: its owner shows who they are on pages of their own.

// manage runs change if the actor may do this to the person, who is somebody else and not erased.
func (s *Store) manage(ctx context.Context, actor, userID string, want privilege.Permission, change func(context.Context) error) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if actor == userID {
			return forbidden(privilege.ErrSelf)
		}
		if _, err := s.livePerson(ctx, userID); err != nil {
			return err
		}
		if err := s.mayManage(ctx, actor, userID, want); err != nil {
			return err
		}
		return change(ctx)
	})
}

// CreatePerson is CreateUser by somebody who may: the account has no password and no proven address, and holds what newcomers hold. Audited.
func (s *Store) CreatePerson(ctx context.Context, actor string, u *User) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		a, err := s.actor(ctx, m, actor, privilege.CreateUser)
		switch {
		case err != nil:
			return err
		case !a.Operator && !a.MayPass:
			return forbidden(fmt.Errorf("%w: %s", privilege.ErrNoPower, privilege.CreateUser))
		}
		if err := s.CreateUser(ctx, u); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.create", "user:"+u.ID, nil) // who it is stands in the row, which erasure blanks
	})
}

// PersonEdit is what administrators change of an account. It is all there is to change: nothing else of a User is looked at.
type PersonEdit struct {
	GivenName, FamilyName, Email, Username, Locale, Zoneinfo, Organization, Country string
}

// PersonEditOf is what a person's account says now.
func PersonEditOf(u *User) PersonEdit {
	return PersonEdit{u.GivenName, u.FamilyName, u.Email, u.Username, u.Locale, u.Zoneinfo, u.Profile.Organization, u.Profile.Address.Country}
}

// EditPerson changes the profile of somebody else if their row still has this version, ErrConflict otherwise. Another address is not proven, whatever the
// one before was, and links to set a password that went to that are over. A FieldError says which field is taken or unfit. before is the row as it was.
// The audit log has which fields changed, and not what they say.
func (s *Store) EditPerson(ctx context.Context, actor, userID string, version int64, p PersonEdit) (before *User, err error) {
	err = s.manage(ctx, actor, userID, privilege.EditUserInfo, func(ctx context.Context) error {
		u, err := s.User(ctx, userID)
		if err != nil {
			return err
		}
		before = new(User)
		*before = *u
		if u.Version != version {
			return fmt.Errorf("store: user %s: changed since it was read: %w", userID, ErrConflict)
		}
		old := PersonEditOf(u)
		u.GivenName, u.FamilyName, u.Email, u.Username, u.Locale, u.Zoneinfo = p.GivenName, p.FamilyName, p.Email, p.Username, p.Locale, p.Zoneinfo
		u.Profile.Organization, u.Profile.Address.Country = p.Organization, p.Country
		key, err := emailKey(p.Email)
		if err != nil {
			return err
		}
		if key != u.EmailKey {
			u.EmailVerifiedAt = Time{}
			if err := s.UseOneTimesOf(ctx, PurposeReset, userID); err != nil {
				return err
			}
		}
		var fields []string
		for _, f := range []struct {
			name     string
			old, new string
		}{{"given_name", old.GivenName, p.GivenName}, {"family_name", old.FamilyName, p.FamilyName}, {"email", old.Email, p.Email}, {"username", old.Username, p.Username},
			{"locale", old.Locale, p.Locale}, {"zoneinfo", old.Zoneinfo, p.Zoneinfo}, {"organization", old.Organization, p.Organization}, {"country", old.Country, p.Country}} {
			if f.old != f.new {
				fields = append(fields, f.name)
			}
		}
		if len(fields) == 0 {
			return nil
		}
		update := func(ctx context.Context) error { return s.UpdateUser(ctx, u) }
		if key != before.EmailKey && !before.EmailVerifiedAt.IsZero() { // a proven address may be the last administrator's way in
			err = s.keepingAdmin(ctx, update)
		} else {
			err = update(ctx)
		}
		if err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.edit", "user:"+userID, map[string]any{"fields": fields})
	})
	return before, err
}

const sessionIsOf = `SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ? AND user_id = ?)`

// EndSessionOf ends one session of somebody else; ErrNotFound when it is not theirs. Audited.
func (s *Store) EndSessionOf(ctx context.Context, actor, userID, sessionID string) error {
	return s.manage(ctx, actor, userID, privilege.EditSessions, func(ctx context.Context) error {
		theirs, _, err := value[bool](ctx, s, sessionIsOf, sessionID, userID)
		if err != nil {
			return err
		}
		if !theirs {
			return errNotFound("session")
		}
		if err := s.EndSession(ctx, sessionID, "ended by an administrator"); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.end_session", "user:"+userID, nil)
	})
}

// EndAccessOf ends every session, half-finished sign-in and grant of somebody else, those that outlive a session among them. Audited.
func (s *Store) EndAccessOf(ctx context.Context, actor, userID string) error {
	return s.manage(ctx, actor, userID, privilege.EditSessions, func(ctx context.Context) error {
		if err := s.endAccess(ctx, userID, "", "ended by an administrator"); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "user.end_access", "user:"+userID, nil)
	})
}

// RevokeClientOf takes a client's access to somebody else's account away. Audited.
func (s *Store) RevokeClientOf(ctx context.Context, actor, userID, clientID string) error {
	return s.manage(ctx, actor, userID, privilege.EditSessions, func(ctx context.Context) error {
		return s.RevokeConsent(ctx, actor, userID, clientID)
	})
}

// MaySetPassword refuses an actor who may not give this person a link to set a password: whoever holds the link can sign in as them. Somebody who
// may create accounts may give one to an account that nobody used yet.
func (s *Store) MaySetPassword(ctx context.Context, actor, userID string) error {
	err := s.manage(ctx, actor, userID, privilege.EditUserPassword, func(context.Context) error { return nil })
	if err == nil {
		return nil
	}
	if fresh, ferr := s.unused(ctx, userID); ferr != nil || !fresh {
		return err
	}
	return s.manage(ctx, actor, userID, privilege.CreateUser, func(context.Context) error { return nil })
}

// LinkHolds refuses a link to set a password that an actor made and handed over, once they may not give this person one any more: a copy of it would make
// them somebody who was given more since, or let in on the word of somebody who left. An account that nobody used yet is opened by the link it was made
// with, whatever it was given then.
func (s *Store) LinkHolds(ctx context.Context, actor, userID string) error {
	if fresh, err := s.unused(ctx, userID); err != nil || fresh {
		return err
	}
	return s.MaySetPassword(ctx, actor, userID)
}

// unused says whether nobody ever signed in to an account, and nobody could.
func (s *Store) unused(ctx context.Context, userID string) (bool, error) {
	u, err := s.User(ctx, userID)
	if err != nil || !u.LastLoginAt.IsZero() || !u.EmailVerifiedAt.IsZero() || u.Phone != "" {
		return false, err
	}
	n, err := s.waysIn(ctx, userID, []string{CredPassword})
	if err != nil || n > 0 {
		return false, err
	}
	links, err := s.IdentitiesOf(ctx, userID)
	return len(links) == 0, err
}

const auditAbout = `SELECT ` + auditColumns + ` FROM audit WHERE target = ? AND seq < ? ORDER BY seq DESC LIMIT ?`

// AuditAbout returns the n newest entries about something ("user:ID") with numbers below before (0 = from the newest).
func (s *Store) AuditAbout(ctx context.Context, target string, before int64, n int) ([]AuditEntry, error) {
	if before <= 0 {
		before = 1 << 62
	}
	return many[AuditEntry](ctx, s, auditAbout, target, before, n)
}
