package store

import (
	"context"
	"errors"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

const (
	invitesAll   = `SELECT ` + inviteColumns + ` FROM invites ORDER BY created_at DESC, id DESC LIMIT ?`
	invitesAll2  = `SELECT ` + inviteColumns + ` FROM invites WHERE (created_at, id) < (SELECT a.created_at, a.id FROM invites a WHERE a.id = ?) ORDER BY created_at DESC, id DESC LIMIT ?`
	invitesOwn   = `SELECT ` + inviteColumns + ` FROM invites WHERE created_by = ? ORDER BY created_at DESC, id DESC LIMIT ?`
	invitesOwn2  = `SELECT ` + inviteColumns + ` FROM invites WHERE created_by = ? AND (created_at, id) < (SELECT a.created_at, a.id FROM invites a WHERE a.id = ?) ORDER BY created_at DESC, id DESC LIMIT ?`
	invitesWait  = `SELECT ` + inviteColumns + ` FROM invites WHERE state = 'proposed' AND ended_at IS NULL AND expires_at > ? ORDER BY created_at, id LIMIT ?`
	mostProposed = 200
)

// Invites are up to n that an actor may see, newest first, after the one with the id after ("" = from the newest): all for whoever may create accounts, their
// own for whoever may invite. more says that there are others.
func (s *Store) Invites(ctx context.Context, actor, after string, n int) (list []Invite, more bool, err error) {
	if after != "" && !isID(after) {
		return nil, false, nil
	}
	m, err := s.Model(ctx)
	if err != nil {
		return nil, false, err
	}
	all, _, err := s.reader(ctx, m, actor, privilege.CreateUser)
	if errors.Is(err, ErrForbidden) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	switch wide := all.Operator || all.MayPass; {
	case wide && after == "":
		list, err = many[Invite](ctx, s, invitesAll, n+1)
	case wide:
		list, err = many[Invite](ctx, s, invitesAll2, after, n+1)
	case after == "":
		list, err = many[Invite](ctx, s, invitesOwn, actor, n+1)
	default:
		list, err = many[Invite](ctx, s, invitesOwn2, actor, after, n+1)
	}
	if len(list) > n {
		return list[:n], true, err
	}
	return list, false, err
}

// MayDecideInvite says whether an actor could approve this proposal, or could if they were not read-only.
func (s *Store) MayDecideInvite(ctx context.Context, actor string, i *Invite) (bool, error) {
	if i.StateAt(s.now(ctx)) != InviteProposed || i.CreatedBy == actor || i.Needs > 1 && i.ApprovedBy == actor {
		return false, nil
	}
	m, err := s.Model(ctx)
	if err != nil {
		return false, err
	}
	if err = s.mayBack(ctx, m, actor, i); gateSays(err) {
		return false, nil
	}
	return err == nil, err
}

// CountInvites counts the proposals that an actor may decide, up to most, among the oldest two hundred: the number stands on every page of administration.
func (s *Store) CountInvites(ctx context.Context, actor string, most int) (n int, err error) {
	m, err := s.Model(ctx)
	if err != nil {
		return 0, err
	}
	may, _, err := s.reader(ctx, m, actor, privilege.CreateUser)
	if errors.Is(err, ErrForbidden) || err == nil && !may.Operator && !may.MayPass {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	list, err := many[Invite](ctx, s, invitesWait, At(s.now(ctx)), mostProposed)
	for i := range list {
		if ok, err := s.MayDecideInvite(ctx, actor, &list[i]); err != nil {
			return 0, err
		} else if ok {
			n++
		}
		if n == most {
			break
		}
	}
	return n, err
}
