package templates

import (
	"net/http"
	"net/url"
	"slices"
)

// SavePreferences handles the POST of the footer's and the account page's choices: field lang (a tag of the catalogue) or theme
// ("", light, dark), and back, a path of ours. It keeps the choice in a cookie for a year and answers 303. Anything else is
// ignored, since nobody but a broken or hostile form sends it.
// secure says whether the browser's side of the connection is https.
func (s *Set) SavePreferences(w http.ResponseWriter, r *http.Request, secure bool) {
	keep := func(name, value string) {
		c := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600, Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
		if value == "" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
	}
	if lang := r.PostFormValue("lang"); slices.Contains(s.Languages(), lang) {
		keep(langCookie, lang)
	}
	if theme := r.PostFormValue("theme"); r.PostForm.Has("theme") && (theme == "" || slices.Contains(themes, theme)) {
		keep(themeCookie, theme)
	}
	back := r.PostFormValue("back")
	if !local(back) {
		back = "/"
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", back)
	w.WriteHeader(http.StatusSeeOther)
}

// backOf is the address of this page without ui_locales: a person who chooses a language is not to be overruled by the application
// that sent them.
func backOf(r *http.Request) string {
	u := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if q := u.Query(); q.Has("ui_locales") {
		q.Del("ui_locales")
		u.RawQuery = q.Encode()
	}
	if s := u.RequestURI(); local(s) {
		return s
	}
	return "/"
}
