package session

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// flowLife: the cookie tells a browser somebody signed in with before from one nobody did, so it outlives browser sessions. It is
// renewed by every sign-in and names nobody.
const flowLife = 180 * 24 * time.Hour

// FlowCookie returns this browser's binding value for flows, making it when missing.
func (m *Manager) FlowCookie(w http.ResponseWriter, r *http.Request) string {
	if v := m.flowValue(r); v != "" {
		return v
	}
	v := newSecret()
	m.setCookie(w, m.cookies.flow, v, flowLife)
	r.AddCookie(&http.Cookie{Name: m.cookies.flow, Value: v}) // the rest of this request asks again
	return v
}

// FlowBinding is the SHA-256 (hex) of the flow cookie, "" when there is none.
func (m *Manager) FlowBinding(r *http.Request) string {
	if v := m.flowValue(r); v != "" {
		return hashHex(v)
	}
	return ""
}

// keepFlowCookie prolongs the cookie at a sign-in.
func (m *Manager) keepFlowCookie(w http.ResponseWriter, r *http.Request) {
	if v := m.flowValue(r); v != "" {
		m.setCookie(w, m.cookies.flow, v, flowLife)
	}
}

// flowValue returns the cookie if it has the form of one we made.
func (m *Manager) flowValue(r *http.Request) string {
	if len(r.Header["Cookie"]) == 0 {
		return ""
	}
	for _, c := range r.CookiesNamed(m.cookies.flow) {
		if isSecret(c.Value) {
			return c.Value
		}
	}
	return ""
}

func isSecret(s string) bool {
	if len(s) != 43 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Binding is web.Config.Binding: form tokens belong to the session, and before there is one to the browser.
func (m *Manager) Binding(r *http.Request) string {
	if s, ok := Current(r.Context()); ok {
		if s.Acting() { // a form from before is about somebody else
			return "session:" + s.ID + ":" + s.ActingFor
		}
		return "session:" + s.ID
	}
	if v := m.FlowBinding(r); v != "" {
		return "browser:" + v
	}
	return ""
}

// Bind is web.Config.Bind: Binding for a browser that has none yet.
func (m *Manager) Bind(w http.ResponseWriter, r *http.Request) string {
	m.FlowCookie(w, r)
	return m.Binding(r)
}

// Flow returns the flow of a URL's handle if it is this browser's, unfinished and in time. Handle and cookie are both needed at every
// step (security.md A7). The error is for people; beside "expired" and "finished" stands the flow, for a link back.
func (m *Manager) Flow(r *http.Request, handle string) (*store.Flow, error) {
	refuse := func(key, code string, err error) error {
		return &web.Error{Status: http.StatusBadRequest, Key: key, Code: code, Err: err}
	}
	if handle == "" || len(handle) > 128 {
		return nil, refuse("error.flow_expired", "flow_expired", nil)
	}
	f, err := m.c.Store.Flow(r.Context(), hashHex(handle))
	over := errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrUsed)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse("error.flow_expired", "flow_expired", err)
	case err != nil && !over:
		return nil, fmt.Errorf("session: flow: %w", err)
	}
	mine := m.FlowBinding(r)
	switch {
	case f == nil || mine == "" || subtle.ConstantTimeCompare([]byte(mine), []byte(f.BrowserHash)) != 1:
		return nil, refuse("error.flow_other_browser", "flow_other_browser", err)
	case errors.Is(err, store.ErrUsed):
		return f, refuse("error.flow_finished", "flow_finished", err)
	case over:
		return f, refuse("error.flow_expired", "flow_expired", err)
	}
	return f, nil
}
