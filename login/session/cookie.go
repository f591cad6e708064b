package session

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// maxCookie bounds what is decoded, in bytes. Ours are about 270.
const maxCookie = 1024

// names of the cookies.
type names struct {
	session, partial, flow, out, place string
	secure                             bool
}

// cookieNames: the __Host- prefix ties a cookie to this very host, https and path /, so that no neighbour can set it (security.md C2).
func cookieNames(insecure bool) names {
	if insecure {
		return names{session: "latchkey", partial: "latchkey-partial", flow: "latchkey-flow", out: "latchkey-out", place: "latchkey-place"}
	}
	return names{session: "__Host-latchkey", partial: "__Host-latchkey-partial", flow: "__Host-latchkey-flow", out: "__Host-latchkey-out", place: "__Host-latchkey-place", secure: true}
}

// setCookie sets one of ours. life 0 = until the browser closes, below 0 = away with it.
func (m *Manager) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	maxAge := int(life.Seconds())
	if life < 0 {
		maxAge = -1
	}
	c := sessions.NewCookie(name, value, &sessions.Options{
		Path: "/", MaxAge: maxAge, Secure: m.cookies.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	// One line for each name (RFC 6265 §4.1.1): a transaction that ran twice set it twice.
	h := w.Header()
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, name+"=") })
	http.SetCookie(w, c)
}

func (m *Manager) dropCookie(w http.ResponseWriter, name string) { m.setCookie(w, name, "", -1) }

// decode returns the two halves of a cookie that one of our keys made for this name.
func (m *Manager) decode(r *http.Request, name string) (id, secret string, ok bool) {
	c, err := r.Cookie(name)
	if err != nil {
		return "", "", false
	}
	return m.open(name, c.Value)
}

func (m *Manager) open(name, value string) (id, secret string, ok bool) {
	if value == "" || len(value) > maxCookie {
		return "", "", false
	}
	for _, codec := range m.codecs {
		var b []byte
		if codec.Decode(name, value, &b) == nil {
			id, secret, ok = strings.Cut(string(b), ".")
			return id, secret, ok && id != "" && secret != ""
		}
	}
	return "", "", false
}

func (m *Manager) seal(name, id, secret string) (string, error) {
	return securecookie.EncodeMulti(name, []byte(id+"."+secret), m.codecs...)
}

// Store is the gorilla/sessions store of complete sign-ins. Its sessions hold a *Session, nothing else: what a page wants to remember
// has a row of its own.
type Store struct{ m *Manager }

var _ sessions.Store = (*Store)(nil)

// keys of sessions.Session.Values.
type (
	sessionKey struct{} // *Session
	proofKey   struct{} // Proof: what a new session rests on
	partialKey struct{} // string: the partial sign-in it completes, "" = none
)

// Sessions is the gorilla/sessions store behind m.
func (m *Manager) Sessions() *Store { return m.sessions }

// Get implements sessions.Store: one read per request and name.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New implements sessions.Store. Without a live session it returns a new, empty one and no error; a database that does not answer is
// an error, beside an empty session.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	g := sessions.NewSession(s, name)
	g.IsNew = true
	if name != s.m.cookies.session {
		return g, nil
	}
	live, err := s.m.read(r.Context(), r)
	if live != nil {
		g.ID, g.IsNew, g.Values[sessionKey{}] = live.ID, false, live
	}
	return g, err
}

// Save implements sessions.Store. A new session with a Proof gets its row, id and cookie, and the session this browser had ends in the
// same transaction; MaxAge < 0 ends the session. An existing session has nothing to save: it never changes.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	m := s.m
	if g.Options != nil && g.Options.MaxAge < 0 {
		return m.End(w, r, "logout")
	}
	proof, ok := g.Values[proofKey{}].(Proof)
	if !ok || !g.IsNew {
		return nil
	}
	partial, _ := g.Values[partialKey{}].(string)
	row, secret := m.row(r, proof)
	value, err := m.seal(m.cookies.session, row.ID, secret)
	if err != nil {
		return err
	}
	old := m.currentID(r)
	err = m.c.Store.Tx(r.Context(), func(ctx context.Context) error {
		if partial != "" {
			if err := m.c.Store.EndPartial(ctx, partial); err != nil {
				return err
			}
		}
		return m.c.Store.ReplaceSession(ctx, old, row)
	})
	if err != nil {
		return err
	}
	life := time.Duration(0)
	if proof.Remember {
		life = m.c.RememberAbsolute
	}
	m.setCookie(w, m.cookies.session, value, life)
	g.ID, g.IsNew = row.ID, false
	delete(g.Values, proofKey{})
	g.Values[sessionKey{}] = &Session{Session: *row}
	return nil
}
