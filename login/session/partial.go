package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// Partial is a sign-in that still owes something; handlers of complete sessions cannot accept it.
type Partial struct{ store.Partial }

// StartPartial notes what was proved and what is owed, for five minutes. flowHash is the flow's IDHash, "" for none. A session this
// browser holds lives on: it belongs to whoever holds it, and Complete ends it.
func (m *Manager) StartPartial(w http.ResponseWriter, r *http.Request, p Proof, owes, flowHash string) (*Partial, error) {
	return m.startPartial(w, r, &store.Partial{
		UserID: p.UserID, Connector: p.Connector, AMR: slices.Clone(p.AMR), Owes: owes, FlowHash: flowHash, Remember: p.Remember, Data: p.Data,
	})
}

// StartStepUp notes that current, a complete session, is to show more. Nothing of it changes before Complete, which raises it; it is still the
// session of its own browser until then, and of nobody else.
func (m *Manager) StartStepUp(w http.ResponseWriter, r *http.Request, current *Session, owes, flowHash string) (*Partial, error) {
	return m.startPartial(w, r, &store.Partial{
		UserID: current.UserID, Connector: current.Connector, AMR: slices.Clone(current.AMR), Owes: owes, FlowHash: flowHash, SessionID: current.ID,
	})
}

// startPartial fills in id, secret and times.
func (m *Manager) startPartial(w http.ResponseWriter, r *http.Request, row *store.Partial) (*Partial, error) {
	now, secret := m.c.Now(), newSecret()
	row.ID, row.SecretHash = newID(), hashHex(secret)
	row.CreatedAt, row.ExpiresAt = store.At(now), store.At(now.Add(partialLife))
	value, err := m.seal(m.cookies.partial, row.ID, secret)
	if err != nil {
		return nil, fmt.Errorf("session: partial: %w", err)
	}
	if err := m.c.Store.CreatePartial(r.Context(), row); err != nil {
		return nil, fmt.Errorf("session: partial: %w", err)
	}
	m.setCookie(w, m.cookies.partial, value, partialLife)
	return &Partial{*row}, nil
}

// Advance ends the partial (single use) and begins the next, which has proven amr too and owes something else: a new id (security.md C1), another
// five minutes. It joins the transaction of r's context, and needs one.
func (m *Manager) Advance(w http.ResponseWriter, r *http.Request, p *Partial, amr []string, owes string) (*Partial, error) {
	if err := m.c.Store.EndPartial(r.Context(), p.ID); err != nil {
		return nil, usedUp(err)
	}
	row := p.Partial
	row.AMR, row.Owes, row.Tries = Methods(p.AMR, amr...), owes, 0
	return m.startPartial(w, r, &row)
}

// CurrentPartial returns the half-finished sign-in of this browser and its user, who is active. The error is for people: over, or
// never begun.
func (m *Manager) CurrentPartial(r *http.Request) (*Partial, *store.User, error) {
	over := func(err error) error {
		return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: "/login"}
	}
	id, secret, ok := m.decode(r, m.cookies.partial)
	if !ok {
		return nil, nil, over(nil)
	}
	row, user, err := m.c.Store.Partial(r.Context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExpired):
		return nil, nil, over(err)
	case err != nil:
		return nil, nil, fmt.Errorf("session: partial: %w", err)
	case !secretMatches(secret, row.SecretHash) || !user.Active(m.c.Now()) || row.Tries >= partialTries:
		return nil, nil, over(nil)
	case row.SessionID != "" && row.SessionID != m.currentID(r): // its session ended, or is somebody else's by now
		return nil, nil, over(nil)
	}
	return &Partial{*row}, user, nil
}

// TriesLeft is how many tries p has after the one that is being made.
func (p *Partial) TriesLeft() int { return max(0, partialTries-int(p.Tries)-1) }

// usedUp is for people: the partial is over, or was completed by another request.
func usedUp(err error) error {
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrNotFound) {
		return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: "/login"}
	}
	return fmt.Errorf("session: partial: %w", err)
}

// Try counts one try at what p owes, before it is made. The sixth is refused, and the sign-in starts over.
func (m *Manager) Try(r *http.Request, p *Partial) error {
	if err := m.c.Store.TryPartial(r.Context(), p.ID, partialTries); err != nil {
		return usedUp(err)
	}
	return nil
}

// Complete ends the partial (single use) and starts the session it became, or raises the one it was begun for. amr is what was proved since.
func (m *Manager) Complete(w http.ResponseWriter, r *http.Request, p *Partial, amr []string) (*Session, error) {
	all := Methods(p.AMR, amr...)
	var s *Session
	var err error
	if p.SessionID != "" {
		s, err = m.raise(w, r, p, all)
	} else {
		s, err = m.start(w, r, Proof{UserID: p.UserID, Connector: p.Connector, AMR: all, Remember: p.Remember}, p.ID)
	}
	if err != nil {
		return nil, usedUp(err)
	}
	m.dropCookie(w, m.cookies.partial)
	return s, nil
}

// raise puts in the place of the current session one in which all was proven. The moment of the sign-in stays (OIDC Core §2, auth_time): whoever shows a
// second factor has not signed in anew.
func (m *Manager) raise(w http.ResponseWriter, r *http.Request, p *Partial, all []string) (*Session, error) {
	current, ok := Current(r.Context())
	if !ok || current.ID != p.SessionID {
		return nil, store.ErrUsed
	}
	next, cookie, err := m.next(r)
	if err != nil {
		return nil, err
	}
	var row *store.Session
	err = m.c.Store.Tx(r.Context(), func(ctx context.Context) error {
		if err := m.c.Store.EndPartial(ctx, p.ID); err != nil {
			return err
		}
		row, err = m.c.Store.RaiseSession(ctx, &current.Session, next, all, ACR(all))
		return err
	})
	if err != nil {
		return nil, err
	}
	m.setCookie(w, m.cookies.session, cookie, m.left(row))
	return &Session{Session: *row, Live: current.Live}, nil
}

// Methods is what was proven before and what was proven since, each once.
func Methods(before []string, since ...string) []string {
	all := slices.Clone(before)
	for _, a := range since {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}
