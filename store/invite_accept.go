package store

import (
	"context"
	"errors"
	"slices"
)

const (
	inviteByID      = `SELECT ` + inviteColumns + ` FROM invites WHERE id = ?`
	inviteByToken   = `SELECT ` + inviteColumns + ` FROM invites WHERE token_hash = ? AND token_hash <> '' AND state IN ('sent', 'opened') AND expires_at > ?`
	inviteByBrowser = `SELECT ` + inviteColumns + ` FROM invites WHERE browser_hash = ? AND browser_hash <> '' AND ended_at IS NULL AND state = 'opened' AND opened_at > ? AND expires_at > ?
ORDER BY opened_at DESC, id LIMIT 1`
	inviteOf = `SELECT ` + inviteColumns + ` FROM invites WHERE user_id = ? AND user_id <> '' ORDER BY created_at DESC LIMIT 1`
)

// Invite reads one, whatever became of it. ErrNotFound.
func (s *Store) Invite(ctx context.Context, id string) (*Invite, error) {
	if !isID(id) {
		return nil, errNotFound("invitation")
	}
	return one[Invite](ctx, s, "invitation", inviteByID, id)
}

// InviteByToken finds the one whose link somebody has, and writes nothing: a mail scanner follows links too. ErrNotFound for what was never made, is over, or
// was made by somebody whose account is shut: nobody can tell which.
func (s *Store) InviteByToken(ctx context.Context, tokenHash string) (*Invite, error) {
	i, err := one[Invite](ctx, s, "invitation", inviteByToken, tokenHash, At(s.now(ctx)))
	if err != nil {
		return nil, err
	}
	return i, s.inviteStands(ctx, i)
}

// InviteIn finds the one that is open in a browser. ErrNotFound.
func (s *Store) InviteIn(ctx context.Context, browserHash string) (*Invite, error) {
	now := s.now(ctx)
	if browserHash == "" {
		return nil, errNotFound("invitation")
	}
	i, err := one[Invite](ctx, s, "invitation", inviteByBrowser, browserHash, At(now.Add(-inviteOpen)), At(now))
	if err != nil {
		return nil, err
	}
	return i, s.inviteStands(ctx, i)
}

// InviteOf finds the one that a person's account came of. ErrNotFound.
func (s *Store) InviteOf(ctx context.Context, userID string) (*Invite, error) {
	return one[Invite](ctx, s, "invitation", inviteOf, userID)
}

// inviteStands refuses one of somebody who is gone: their accounts were not shut for their invitations to live on (security.md G8).
func (s *Store) inviteStands(ctx context.Context, i *Invite) error {
	for _, id := range i.people() {
		u, err := s.User(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && !u.Active(s.now(ctx)) {
			return errNotFound("invitation")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// people are the ids of who stands behind it.
func (i *Invite) people() (ids []string) {
	for _, id := range []string{i.CreatedBy, i.ApprovedBy, i.SecondBy} {
		if id != "" && !operator(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// OpenInvite ties an invitation to the browser in which somebody goes on with it; another one in which it was open has it no more. ErrNotFound as for
// InviteByToken.
func (s *Store) OpenInvite(ctx context.Context, tokenHash, browserHash string) (*Invite, error) {
	if browserHash == "" {
		return nil, errNotFound("invitation")
	}
	var out *Invite
	err := s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		n, err := s.exec(ctx, openInvite, now, browserHash, tokenHash, now)
		if err := changed(n, err, errNotFound("invitation")); err != nil {
			return err
		}
		out, err = s.InviteByToken(ctx, tokenHash)
		return err
	})
	return out, err
}

// AcceptInvite makes the account of an invitation that is open in a browser, once, and gives it what it brings: as far as whoever approved it could still
// give that (security.md G8). What they could not is in Withheld. It fills u as CreateUser does. ErrNotFound for one that is over meanwhile. Audited.
func (s *Store) AcceptInvite(ctx context.Context, id, browserHash string, u *User) (*Invite, error) {
	var out *Invite
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		i, err := s.Invite(ctx, id)
		if err != nil {
			return err
		}
		if err := s.inviteStands(ctx, i); err != nil {
			return err
		}
		// What stands for the account comes last, as it is not known before; the row is taken first, so that of two one gets past it.
		now := At(s.now(ctx))
		n, err := s.exec(ctx, takeInvite, now, "", "", Strings{}, id, browserHash, At(now.Add(-inviteOpen)), now)
		if err := changed(n, err, errNotFound("invitation")); err != nil {
			return err
		}
		if err := s.CreateUser(ctx, u); err != nil {
			return err
		}
		withheld, err := s.giveInvited(ctx, i, u.ID)
		if err != nil {
			return err
		}
		if _, err := s.exec(ctx, invitedUser, u.ID, u.ID, withheld, id); err != nil {
			return err
		}
		if out, err = s.Invite(ctx, id); err != nil {
			return err
		}
		return s.Audit(ctx, "system", "invite.accept", "user:"+u.ID, map[string]any{"invite": id, "withheld": withheld})
	})
	return out, err
}

// giveInvited gives what an invitation brings, each through the gate, by the right of who approved it.
func (s *Store) giveInvited(ctx context.Context, i *Invite, userID string) (withheld Strings, err error) {
	m, err := s.model(ctx)
	if err != nil {
		return nil, err
	}
	// Whoever may make no account any more gives nothing with one, and what two agreed to is worth what both could still give.
	plain := *i
	plain.UserType, plain.Privileges = "", nil
	backed := s.mayBack(ctx, m, i.ApprovedBy, &plain)
	if backed == nil && i.SecondBy != "" {
		backed = s.mayBack(ctx, m, i.SecondBy, i)
	}
	give := func(what string, do func() error) error {
		err := backed
		if err == nil {
			err = do()
		}
		if gateSays(err) {
			withheld, err = append(withheld, what), nil
		}
		return err
	}
	if i.UserType != "" {
		if err := give("type:"+i.UserType, func() error { return s.SetUserType(ctx, i.ApprovedBy, userID, i.UserType) }); err != nil {
			return nil, err
		}
	}
	for _, name := range i.Privileges {
		err := give(name, func() error {
			return s.Assign(ctx, i.ApprovedBy, &Assignment{UserID: userID, Privilege: name, Source: SourceInvite, SourceRef: i.ID})
		})
		if err != nil {
			return nil, err
		}
	}
	return withheld, nil
}
