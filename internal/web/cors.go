package web

import (
	"net/http"
	"slices"
	"strings"
)

// apply sets the CORS headers of an answer. Credentials are never allowed: API routes see no cookies.
func (c *CORS) apply(h http.Header, r *http.Request) bool {
	if c.Any {
		h["Access-Control-Allow-Origin"] = anyOrigin
		return true
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "null" || c.Allowed == nil || !c.Allowed(r.Context(), origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	// A browser application must be able to read why its token was refused, and when to come back.
	h["Access-Control-Expose-Headers"] = exposedHeaders
	return true
}

var (
	anyOrigin      = []string{"*"}
	exposedHeaders = []string{"WWW-Authenticate, Retry-After"}
)

// preflight answers OPTIONS for one path.
type preflight struct {
	cors    *CORS
	methods []string
}

func (m *Mux) preflight(method, path string, c *CORS) {
	if p := m.preflights[path]; p != nil {
		p.methods = append(p.methods, method)
		slices.Sort(p.methods)
		return
	}
	p := &preflight{cors: c, methods: []string{method}}
	m.preflights[path] = p
	m.mux.Handle("OPTIONS "+path, api{m: m, handler: p.answer})
}

func (p *preflight) answer(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	if p.cors.apply(h, r) {
		h.Set("Access-Control-Allow-Methods", strings.Join(p.methods, ", "))
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
