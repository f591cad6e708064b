package web

import (
	"net/http"

	"github.com/latchkey-idp/latchkey/templates"
)

// Base makes the part every page shares: texts in the person's language, form token, request id, who is signed in. It may set the
// cookie that form tokens of signed-out people are bound to, so it comes before the response is written.
func (m *Mux) Base(w http.ResponseWriter, r *http.Request) templates.Base { return m.base(w, r, true) }

// base is Base; without bind it sets no cookie, and a browser that has none gets no form token.
func (m *Mux) base(w http.ResponseWriter, r *http.Request, bind bool) templates.Base {
	var person *templates.Person
	var locale, uiLocales string
	var hidden []string
	if m.c.Person != nil {
		person, locale, hidden = m.c.Person(r.Context())
	}
	res := writerOf(w)
	if res != nil {
		uiLocales = res.uiLocales
	}
	if uiLocales == "" {
		uiLocales = r.URL.Query().Get("ui_locales") // OpenID Connect Core §3.1.2.1
	}
	b := m.c.Templates.Base(r, uiLocales, locale)
	b.User, b.HiddenLanguages, b.Path = person, hidden, r.URL.Path
	b.RequestID = RequestID(r.Context())
	if res != nil {
		b.FormToken = m.formToken(res, r, bind)
	}
	return b
}

// UILocales says which languages an application asked for on behalf of the person (ui_locales), best first, separated by spaces.
// Before Base.
func UILocales(w http.ResponseWriter, tags string) {
	if res := writerOf(w); res != nil {
		res.uiLocales = tags
	}
}

// Render renders p with status; nothing reaches the wire if rendering fails.
func (m *Mux) Render(w http.ResponseWriter, _ *http.Request, status int, p templates.Page) error {
	return m.c.Templates.Render(w, status, p)
}

// SeeOther is the 303 every POST ends with. to is an address the program made, never one from the request.
func SeeOther(w http.ResponseWriter, _ *http.Request, to string) error {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
