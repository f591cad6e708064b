package session

import (
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
	now, secret := m.c.Now(), newSecret()
	row := &store.Partial{
		ID: newID(), SecretHash: hashHex(secret), UserID: p.UserID, Connector: p.Connector, AMR: slices.Clone(p.AMR), Owes: owes,
		FlowHash: flowHash, Remember: p.Remember, CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(partialLife)),
	}
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
	}
	return &Partial{*row}, user, nil
}

// Try counts one try at what p owes, before it is made. The sixth is refused, and the sign-in starts over.
func (m *Manager) Try(r *http.Request, p *Partial) error {
	err := m.c.Store.TryPartial(r.Context(), p.ID, partialTries)
	if errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrNotFound) {
		return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: "/login"}
	}
	if err != nil {
		return fmt.Errorf("session: partial: %w", err)
	}
	return nil
}

// Complete ends the partial (single use) and starts the session it became. amr is what was proved since.
func (m *Manager) Complete(w http.ResponseWriter, r *http.Request, p *Partial, amr []string) (*Session, error) {
	proof := Proof{UserID: p.UserID, Connector: p.Connector, AMR: slices.Clone([]string(p.AMR)), Remember: p.Remember}
	for _, a := range amr {
		if !slices.Contains(proof.AMR, a) {
			proof.AMR = append(proof.AMR, a)
		}
	}
	s, err := m.start(w, r, proof, p.ID)
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrNotFound) {
		return nil, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: "/login"}
	}
	if err != nil {
		return nil, fmt.Errorf("session: complete: %w", err)
	}
	m.dropCookie(w, m.cookies.partial)
	return s, nil
}
