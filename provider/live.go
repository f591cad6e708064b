package provider

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// errDead: what the token stood on is gone: user, client, connector or grant. Clients hear "invalid_grant", "invalid_token" or
// {"active":false}; the log hears why.
var errDead = errors.New("provider: no longer live")

// errReplay: a code or refresh token was used again.
var errReplay = errors.New("provider: used before")

// alive is the ONE liveness check (security.md B3): every read of a token comes through here, with rows read at this moment. It is errDead, or
// trouble with the database.
func (p *Provider) alive(ctx context.Context, g *store.Grant, l *store.Live, now time.Time) error {
	if g != nil {
		if !g.RevokedAt.IsZero() || !now.Before(g.ExpiresAt.Time) {
			return errDead
		}
		if !p.c.ConnectorEnabled(g.Connector) {
			return errDead
		}
		if g.UserID == "" {
			return nil
		}
	}
	if l == nil || l.User.ID == "" || !l.User.Active(now) {
		return errDead
	}
	if g != nil && g.ActorID != "" {
		_, err := p.mayAct(ctx, g.ActorID, l, g.ActingBy, g.ClientID)
		return err
	}
	return nil
}

// mayAct is the part of alive for what somebody was given who acts for another: they still may, and the client still takes it (R103). It reads
// the actor and the authority; grants without an actor cost nothing. until is when the authority ends, not set = nobody knows.
func (p *Provider) mayAct(ctx context.Context, actorID string, person *store.Live, by, clientID string) (until store.Time, err error) {
	c, err := p.client(ctx, clientID)
	if errors.Is(err, errNoClient) || err == nil && !c.Metadata.AllowActAs {
		return until, errDead
	}
	if err != nil {
		return until, err
	}
	actor, err := p.c.Store.Live(ctx, actorID)
	if err == nil {
		until, err = p.c.Store.MayActNow(ctx, actor, person, by, clientID)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrForbidden) {
		return until, errDead
	}
	return until, err
}

// liveCode is the liveness of a grant that has no row yet: in the minute since the code was issued the person may have been disabled,
// signed out everywhere, reset the password or taken the consent back. One read says it all.
func (p *Provider) liveCode(ctx context.Context, f *flow, c *Client, s *Session) error {
	n, l, consented, err := p.c.Store.LiveSID(ctx, s.SID, s.UserID, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return errDead
	}
	if err != nil {
		return err
	}
	if !p.c.ConnectorEnabled(s.Connector) {
		return errDead
	}
	if s.Actor != "" {
		if l, err = p.liveActed(ctx, n, l, s, c.ID); err != nil {
			return err
		}
	}
	if l.User.ID != s.UserID {
		return errDead
	}
	if err := p.alive(ctx, nil, l, f.now); err != nil {
		return err
	}
	if !consented && !c.Metadata.FirstParty {
		return errDead
	}
	f.live = l
	f.rights, err = p.rights(ctx, l, f.now)
	return err
}

// liveActed is liveCode for a code of somebody who acted: their session still acts for the same person, on the same grounds. It returns the
// person, who the tokens are about.
func (p *Provider) liveActed(ctx context.Context, n *store.Session, actor *store.Live, s *Session, clientID string) (*store.Live, error) {
	if actor.User.ID != s.Actor || n.ActingFor != s.UserID || n.ActingBy != s.ActingBy {
		return nil, errDead
	}
	person, err := p.c.Store.Live(ctx, s.UserID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errDead
	}
	if err != nil {
		return nil, err
	}
	_, err = p.mayAct(ctx, s.Actor, person, s.ActingBy, clientID)
	return person, err
}

// rights is what a person may do now, and for how long that is sure.
type rights struct {
	effective []string // sorted closure
	userType  string   // the name of their type
	readOnly  bool
	defined   func(string) bool // says whether there is a privilege of a name
	until     time.Time         // the first end of something it rests on; zero = none is foreseen
}

// rights of a user, from rows read at this moment.
func (p *Provider) rights(ctx context.Context, l *store.Live, now time.Time) (rights, error) {
	m, err := p.c.Store.Model(ctx)
	if err != nil {
		return rights{}, err
	}
	hs := make([]privilegeHolding, len(l.Holdings))
	ends := false
	for i, h := range l.Holdings {
		hs[i] = privilegeHolding{Privilege: h.Privilege, From: h.From.Time, Until: h.Until.Time}
		ends = ends || !h.Until.IsZero()
	}
	r := rights{effective: m.Graph.Effective(hs, now), readOnly: m.ReadOnly(&l.User), defined: m.Graph.Has}
	if ends {
		r.until = m.Graph.NextEnd(hs, now)
	}
	if t := m.Type(l.User.UserType); t != nil {
		r.userType = t.Name()
	} else {
		r.effective = nil // an unknown type means no rights (R89)
	}
	r.effective = privilege.OfPerson(r.effective)
	return r, nil
}

// cap shortens the life of what says what the rights are: a token never outlives the first thing it rests on.
func (r *rights) cap(end time.Time) time.Time {
	if !r.until.IsZero() && r.until.Before(end) {
		return r.until
	}
	return end
}
