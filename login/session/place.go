package session

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	placeLife = 10 * time.Minute
	maxPlace  = 512 // bytes of a path with its query; a longer one is not kept
)

// KeepPlace remembers a page of ours to come back to after a sign-in. to comes from a route or a handler and never from what a browser sent as
// an address: the cookie is sealed, so nobody else can name a place (security.md C8).
func (m *Manager) KeepPlace(w http.ResponseWriter, to string) {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || len(to) > maxPlace {
		return
	}
	if v, err := m.seal(m.cookies.place, strconv.FormatInt(m.c.Now().Add(placeLife).Unix(), 10), to); err == nil {
		m.setCookie(w, m.cookies.place, v, placeLife)
	}
}

// TakePlace returns the place that was kept in this browser, once; "" = none.
func (m *Manager) TakePlace(w http.ResponseWriter, r *http.Request) string {
	if _, err := r.Cookie(m.cookies.place); err != nil {
		return ""
	}
	m.dropCookie(w, m.cookies.place)
	until, to, ok := m.decode(r, m.cookies.place)
	if end, err := strconv.ParseInt(until, 10, 64); !ok || err != nil || m.c.Now().Unix() >= end {
		return ""
	}
	return to
}
