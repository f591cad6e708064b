package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Authority lets one person act for another (R103). The grantor makes it, as a link to hand over, so that nobody is ever looked up by an
// address; whoever opens the link first and says yes is the grantee. Either of them ends it. Ended and expired ones stay as history.
type Authority struct {
	ID        string `db:"id"`
	Grantor   string `db:"grantor"`
	Grantee   string `db:"grantee"`    // "" until somebody took the link
	ClientID  string `db:"client_id"`  // for this application alone; "" = for all that take people who act
	Reason    string `db:"reason"`     // the grantor's words, which the grantee reads
	LinkHash  string `db:"link_hash"`  // SHA-256 of what the link carries
	LinkUntil Time   `db:"link_until"` // it may be taken until then
	Until     Time   `db:"valid_until"`
	CreatedAt Time   `db:"created_at"`
	TakenAt   Time   `db:"taken_at"`
	EndedAt   Time   `db:"ended_at"`
	EndedBy   string `db:"ended_by"` // user id, or "cli"
}

const authorityColumns = "id, grantor, grantee, client_id, reason, link_hash, link_until, valid_until, created_at, taken_at, ended_at, ended_by"

// Bounds of an authority.
const (
	MaxAuthorityLife = 366 * 24 * time.Hour
	maxAuthorities   = 100 // that one person may have given at once
	maxReason        = 200 // characters
)

// over says why an authority is good for nothing now, nil when it is not.
func (a *Authority) over(now time.Time) error {
	switch {
	case !a.EndedAt.IsZero():
		return fmt.Errorf("store: authority: ended: %w", ErrExpired)
	case !now.Before(a.Until.Time):
		return fmt.Errorf("store: authority: %w", ErrExpired)
	}
	return nil
}

// validReason is something one line can say.
func validReason(reason string) bool {
	return utf8.ValidString(reason) && utf8.RuneCountInString(reason) <= maxReason && !strings.ContainsFunc(reason, unicode.IsControl)
}

var insertAuthority = insertInto("authorities", authorityColumns)

const authoritiesLive = `SELECT COUNT(*) FROM authorities WHERE grantor = ? AND ended_at IS NULL AND valid_until > ?`

// OfferAuthority makes an authority that nobody has taken yet. The actor is the grantor and nobody else: not an administrator, not the
// operator. It fills ID, Grantor and CreatedAt. ErrForbidden for somebody inactive or read-only (R85); ErrInvalid for a field; ErrConflict
// when they gave too many.
func (s *Store) OfferAuthority(ctx context.Context, actor string, a *Authority) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		next := *a
		next.ID, next.Grantor, next.Grantee, next.CreatedAt = newID(), actor, "", now
		next.TakenAt, next.EndedAt, next.EndedBy = Time{}, Time{}, ""
		switch {
		case !validReason(next.Reason):
			return invalid("reason", "too long, or no line of text")
		case next.LinkHash == "":
			return errors.New("store: authority: no link")
		case !next.Until.After(now.Time) || next.Until.Sub(now.Time) > MaxAuthorityLife:
			return invalid("until", "over, or too far away")
		case !next.LinkUntil.After(now.Time):
			return invalid("link_until", "over")
		}
		l, err := s.Live(ctx, actor)
		if errors.Is(err, ErrNotFound) {
			return forbidden(errors.New("nobody gives an authority in another's name"))
		}
		if err != nil {
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		if !l.User.Active(now.Time) || m.ReadOnly(&l.User) {
			return forbidden(errors.New("not active, or may change nothing"))
		}
		if next.ClientID != "" {
			c, err := s.Client(ctx, next.ClientID)
			if errors.Is(err, ErrNotFound) || err == nil && !c.Metadata.AllowActAs {
				return invalid("client_id", "no such client, or it takes nobody who acts for another")
			}
			if err != nil {
				return err
			}
		}
		n, _, err := value[int64](ctx, s, authoritiesLive, actor, now)
		if err != nil {
			return err
		}
		if n >= maxAuthorities {
			return &FieldError{Field: "authorities", Why: "too many", Err: ErrConflict}
		}
		if _, err := s.named(ctx, insertAuthority, &next); err != nil {
			return err
		}
		fill(ctx, s, a, next)
		return s.Audit(ctx, actor, "authority.offer", "authority:"+next.ID, map[string]any{"client_id": next.ClientID, "until": next.Until})
	})
}

const (
	authorityByID   = `SELECT ` + authorityColumns + ` FROM authorities WHERE id = ?`
	authorityByLink = `SELECT ` + authorityColumns + ` FROM authorities WHERE link_hash = ?`
)

// OfferedAuthority returns what a link offers; ErrNotFound, ErrUsed when somebody took it, ErrExpired when it is over or was taken back.
func (s *Store) OfferedAuthority(ctx context.Context, linkHash string) (*Authority, error) {
	a, err := one[Authority](ctx, s, "authority", authorityByLink, linkHash)
	if err != nil {
		return nil, err
	}
	now := s.now(ctx)
	switch {
	case a.Grantee != "":
		return nil, fmt.Errorf("store: authority: %w", ErrUsed)
	case a.over(now) != nil || !now.Before(a.LinkUntil.Time):
		return nil, fmt.Errorf("store: authority: %w", ErrExpired)
	}
	return a, nil
}

const takeAuthority = `UPDATE authorities SET grantee = ?, taken_at = ?
WHERE link_hash = ? AND grantee = '' AND grantor <> ? AND ended_at IS NULL AND link_until > ? AND valid_until > ?`

// TakeAuthority makes actor the grantee of what a link offers: once, whoever comes first. The errors are OfferedAuthority's, and ErrForbidden
// for the grantor's own and for somebody inactive. That they may do less than the grantor is asked when they act, not here.
func (s *Store) TakeAuthority(ctx context.Context, actor, linkHash string) (*Authority, error) {
	var taken *Authority
	err := s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		l, err := s.Live(ctx, actor)
		if err != nil {
			return err
		}
		if !l.User.Active(now.Time) {
			return forbidden(errors.New("not active"))
		}
		// The conditional update decides between two who open the link at once.
		n, err := s.exec(ctx, takeAuthority, actor, now, linkHash, actor, now, now)
		if err != nil {
			return err
		}
		if n == 0 {
			if _, err := s.OfferedAuthority(ctx, linkHash); err != nil {
				return err
			}
			return forbidden(errors.New("nobody acts for themselves"))
		}
		if taken, err = one[Authority](ctx, s, "authority", authorityByLink, linkHash); err != nil {
			return err
		}
		return s.Audit(ctx, actor, "authority.take", "user:"+taken.Grantor, map[string]any{"authority": taken.ID, "client_id": taken.ClientID, "until": taken.Until})
	})
	return taken, err
}

const endAuthority = `UPDATE authorities SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL`

// EndAuthority ends one, and every grant that came of it: the grantor may, the grantee and the operator. For everybody else it is ErrNotFound
// (security.md G6). Sessions that act by it fall back at their next request.
func (s *Store) EndAuthority(ctx context.Context, actor, id string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		a, err := one[Authority](ctx, s, "authority", authorityByID, id)
		if err != nil {
			return err
		}
		if !a.between(actor) && !operator(actor) {
			return errNotFound("authority")
		}
		return s.endAuthority(ctx, actor, a)
	})
}

// EndAuthorityOf is EndAuthority for an administrator who looks at one person: it ends what that person gave or took, else it is ErrNotFound. It
// concerns both people, so it is ErrForbidden when either holds what the administrator lacks (R96). One's own needs no permission.
func (s *Store) EndAuthorityOf(ctx context.Context, actor, userID, id string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		a, err := one[Authority](ctx, s, "authority", authorityByID, id)
		if err != nil {
			return err
		}
		if !a.between(userID) {
			return errNotFound("authority")
		}
		for _, who := range []string{a.Grantor, a.Grantee} {
			if who == "" || a.between(actor) {
				continue
			}
			if err := s.mayManage(ctx, actor, who, privilege.EditSessions); err != nil {
				return err
			}
		}
		return s.endAuthority(ctx, actor, a)
	})
}

// between says whether somebody is one of the two.
func (a *Authority) between(userID string) bool {
	return userID != "" && (userID == a.Grantor || userID == a.Grantee)
}

// endAuthority runs in a Tx. The conditional update decides between two at once.
func (s *Store) endAuthority(ctx context.Context, actor string, a *Authority) error {
	now := At(s.now(ctx))
	n, err := s.exec(ctx, endAuthority, now, actor, a.ID)
	if err := changed(n, err, errNotFound("authority")); err != nil {
		return err
	}
	if _, err := s.exec(ctx, revokeGrantsBy, now, "authority ended", a.ID); err != nil {
		return err
	}
	return s.Audit(ctx, actor, "authority.end", "authority:"+a.ID, map[string]any{"grantor": a.Grantor, "grantee": a.Grantee})
}

const (
	authoritiesGiven = `SELECT ` + authorityColumns + ` FROM authorities
WHERE grantor = ? AND ended_at IS NULL AND valid_until > ? AND (grantee <> '' OR link_until > ?) ORDER BY created_at, id`
	authoritiesTaken = `SELECT ` + authorityColumns + ` FROM authorities
WHERE grantee = ? AND grantee <> '' AND ended_at IS NULL AND valid_until > ? ORDER BY created_at, id`
)

// AuthoritiesGiven are those a person gave and that are not over, links that wait to be taken among them; oldest first.
func (s *Store) AuthoritiesGiven(ctx context.Context, userID string) ([]Authority, error) {
	now := At(s.now(ctx))
	return many[Authority](ctx, s, authoritiesGiven, userID, now, now)
}

// AuthoritiesTaken are those a person has from others and that are not over; oldest first.
func (s *Store) AuthoritiesTaken(ctx context.Context, userID string) ([]Authority, error) {
	return many[Authority](ctx, s, authoritiesTaken, userID, At(s.now(ctx)))
}

const (
	endAuthoritiesGiven  = `UPDATE authorities SET ended_at = ?, ended_by = ? WHERE grantor = ? AND ended_at IS NULL`
	endAuthoritiesTaken  = `UPDATE authorities SET ended_at = ?, ended_by = ? WHERE grantee = ? AND grantee <> '' AND ended_at IS NULL`
	endAuthoritiesClient = `UPDATE authorities SET ended_at = ?, ended_by = ? WHERE client_id = ? AND client_id <> '' AND ended_at IS NULL`
)

// endAuthoritiesOf ends what a person gave and took: they are erased, or the account begins anew.
func (s *Store) endAuthoritiesOf(ctx context.Context, actor, userID string) error {
	for _, q := range []string{endAuthoritiesGiven, endAuthoritiesTaken} {
		if _, err := s.exec(ctx, q, At(s.now(ctx)), actor, userID); err != nil {
			return err
		}
	}
	return nil
}

// actsAs finds the setting in the JSON of a client's metadata: no other text in it can hold a quotation mark without a backslash before.
const actsAs = `metadata LIKE '%"allow_act_as":true%'`

const (
	actingClients = `SELECT ` + clientColumns + ` FROM clients WHERE ` + actsAs + ` AND disabled_at IS NULL ORDER BY id LIMIT 200`
	actingMatters = `SELECT EXISTS (SELECT 1 FROM clients WHERE ` + actsAs + `)
  OR EXISTS (SELECT 1 FROM authorities WHERE grantor = ? AND ended_at IS NULL)
  OR EXISTS (SELECT 1 FROM authorities WHERE grantee = ? AND grantee <> '' AND ended_at IS NULL)`
)

// ActingClients are the applications that take people who act for others: the first 200.
func (s *Store) ActingClients(ctx context.Context) ([]Client, error) {
	return many[Client](ctx, s, actingClients)
}

// ActingMatters says whether a person has anything to do with acting for others: some application takes it, or they gave or took an authority.
func (s *Store) ActingMatters(ctx context.Context, userID string) (bool, error) {
	b, _, err := value[bool](ctx, s, actingMatters, userID, userID)
	return b, err
}
