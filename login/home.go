package login

import (
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/templates"
)

// home is GET /: the account of whoever is signed in, the way to sign in for everybody else.
func (l *Login) home(w http.ResponseWriter, r *http.Request) error {
	if _, ok := session.Current(r.Context()); ok {
		return web.SeeOther(w, r, accountPath)
	}
	return l.mux.Render(w, r, http.StatusOK, &templates.HomePage{Base: l.mux.Base(w, r), SignInURL: signInPath})
}
