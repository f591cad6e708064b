package login

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
)

// FormBinding returns what web.Config.Binding and Bind should be. Forms belong to the session, except on the sign-in pages, where
// they belong to the browser: a browser with several tabs at the sign-in page (after a restart, say) gets a session in the first,
// and the others must still work. Whom such a form signs in is said by what is typed into it, not by the session.
func FormBinding(m *session.Manager) (binding func(r *http.Request) string, bind func(w http.ResponseWriter, r *http.Request) string) {
	binding = func(r *http.Request) string {
		if !beforeSession(r) {
			return m.Binding(r)
		}
		if v := m.FlowBinding(r); v != "" {
			return "browser:" + v
		}
		return ""
	}
	bind = func(w http.ResponseWriter, r *http.Request) string {
		m.FlowCookie(w, r)
		return binding(r)
	}
	return binding, bind
}

// beforeSession says whether a form of this request is one of the sign-in pages'.
func beforeSession(r *http.Request) bool {
	path := r.URL.Path
	if path == PreferencesPath && r.Method == http.MethodPost {
		// The choice of a language stands on every page and comes back with the page's token.
		if back, err := url.Parse(r.PostFormValue("back")); err == nil {
			path = back.Path
		}
	}
	for _, tree := range []string{setupPrefix, factorPath + "/", resetPrefix, undoPrefix, forgotPath, registerPath, emailCodeStartPath} {
		if strings.HasPrefix(path, tree) {
			return true
		}
	}
	return path == signInPath || path == newPasswordPath || path == linkPath || path == completePath || path == factorPath
}

// PreferencesPath is where the choices of language and appearance are posted: templates.Options.Preferences.
const PreferencesPath = "/preferences"

// preferences is POST /preferences.
func (l *Login) preferences(w http.ResponseWriter, r *http.Request) error {
	l.templates.SavePreferences(w, r, web.Secure(r.Context()))
	return nil
}
