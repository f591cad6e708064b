package provider

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/templates"
)

// params completes an authorization response: iss in every one, success or error, in every mode (RFC 9207 §2), and state as it came, if
// it came.
func (p *Provider) params(q *request, v url.Values) url.Values {
	v.Set("iss", p.c.Issuer)
	if q.state != "" {
		v.Set("state", q.state)
	}
	return v
}

// respondError tells the client, at its registered URI (RFC 6749 §4.1.2.1).
func (p *Provider) respondError(w http.ResponseWriter, r *http.Request, q *request, e *oauthError) error {
	p.logRefusal(r.Context(), e)
	return p.respond(w, r, q, url.Values{"error": {e.code}, "error_description": {e.text}})
}

// respond sends the browser back in the mode asked for.
func (p *Provider) respond(w http.ResponseWriter, r *http.Request, q *request, v url.Values) error {
	v = p.params(q, v)
	to, err := url.Parse(q.redirect)
	if err != nil {
		return fmt.Errorf("provider: registered redirect URI: %w", err)
	}
	switch q.mode {
	case "form_post": // OAuth 2.0 Form Post Response Mode
		web.FormAction(w, q.redirect)
		page := &templates.FormPostPage{Base: p.c.Mux.Base(w, r), Action: q.redirect}
		for _, k := range []string{"code", "error", "error_description", "state", "iss"} {
			if v.Has(k) {
				page.Fields = append(page.Fields, struct{ Name, Value string }{k, v.Get(k)})
			}
		}
		return p.c.Mux.Render(w, r, http.StatusOK, page)
	case "fragment":
		return web.SeeOther(w, r, strings.TrimSuffix(to.String(), "#")+"#"+v.Encode())
	}
	addQuery(to, v)
	return web.SeeOther(w, r, to.String())
}

// addQuery appends to the query a registered URI may have (RFC 6749 §3.1.2: it is retained as it stands).
func addQuery(u *url.URL, v url.Values) {
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += v.Encode()
}
