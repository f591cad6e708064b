package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// represented fills in whom a session acts for, after asking anew whether it may (R103). One that may not any more is the person's own from
// this request on, and the end is written down. A session that acts for nobody costs nothing here.
func (m *Manager) represented(ctx context.Context, s *Session) error {
	if s.ActingFor == "" {
		return nil
	}
	person, err := m.c.Store.Live(ctx, s.ActingFor)
	if err == nil {
		_, err = m.c.Store.MayActNow(ctx, s.Live, person, s.ActingBy, "")
	}
	switch {
	case err == nil:
		s.For = person
		return nil
	case !errors.Is(err, store.ErrForbidden) && !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("session: acting: %w", err)
	}
	if err := m.c.Store.LapseActing(ctx, &s.Session, clientIP(ctx)); err != nil {
		return fmt.Errorf("session: acting ended: %w", err)
	}
	s.ActingFor, s.ActingBy = "", ""
	return nil
}

// Act makes current one that acts for another person, under a new id. then, if there is one, runs in the same transaction and hears of the new session.
// The errors are store.StartActing's and then's.
func (m *Manager) Act(w http.ResponseWriter, r *http.Request, current *Session, act store.Act, then func(context.Context, *Session) error) (*Session, error) {
	next, cookie, err := m.next(r)
	if err != nil {
		return nil, err
	}
	var made *Session
	err = m.c.Store.Tx(r.Context(), func(ctx context.Context) error {
		row, person, err := m.c.Store.StartActing(ctx, &current.Session, next, act)
		if err != nil {
			return fmt.Errorf("session: act: %w", err)
		}
		made = &Session{Session: *row, Live: current.Live, For: person}
		if then == nil {
			return nil
		}
		return then(ctx, made)
	})
	if err != nil {
		return nil, err
	}
	m.setCookie(w, m.cookies.session, cookie, m.left(&made.Session))
	return made, nil
}

// StopActing makes current the person's own again, under a new id. ErrUsed when it was so already.
func (m *Manager) StopActing(w http.ResponseWriter, r *http.Request, current *Session) (*Session, error) {
	next, cookie, err := m.next(r)
	if err != nil {
		return nil, err
	}
	row, err := m.c.Store.StopActing(r.Context(), &current.Session, next)
	if err != nil {
		return nil, fmt.Errorf("session: stop acting: %w", err)
	}
	m.setCookie(w, m.cookies.session, cookie, m.left(row))
	return &Session{Session: *row, Live: current.Live}, nil
}

// next makes another id and secret, and the cookie that carries them.
func (m *Manager) next(r *http.Request) (store.NextSession, string, error) {
	secret := newSecret()
	n := store.NextSession{ID: newID(), SecretHash: hashHex(secret), IP: clientIP(r.Context())}
	cookie, err := m.seal(m.cookies.session, n.ID, secret)
	return n, cookie, err
}

// left is how long the cookie of a session that goes on lives: with "keep me signed in", which its idle time shows, to its end, else until the
// browser closes.
func (m *Manager) left(row *store.Session) time.Duration {
	if row.IdleMS <= m.c.Idle.Milliseconds() {
		return 0
	}
	return row.ExpiresAt.Sub(m.c.Now())
}

func clientIP(ctx context.Context) string {
	if a := web.ClientIP(ctx); a.IsValid() {
		return a.String()
	}
	return ""
}
