package sampleapp

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/relying"
)

// lessons are two pages behind one address: the first privilege that somebody holds decides which.
func (a *app) lessons(w http.ResponseWriter, r *http.Request) {
	if relying.UserHasPrivilege(r.Context(), "trainer") {
		a.render(w, r, http.StatusOK, "lessons", "Lessons", "trainer")
		return
	}
	a.render(w, r, http.StatusOK, "lessons", "Lessons", "customer")
}

// interview turns people away by their e-mail address, and those of whom nobody knows it.
func (a *app) interview(w http.ResponseWriter, r *http.Request) {
	if !relying.EmailOutside(r.Context(), "gov") {
		_, known := relying.EmailDomain(r.Context())
		a.render(w, r, http.StatusForbidden, "turnedaway", "Not for you", known)
		return
	}
	a.render(w, r, http.StatusOK, "interview", "Interview", nil)
}

// bell shows how often somebody rang.
func (a *app) bell(w http.ResponseWriter, r *http.Request) {
	who, _ := relying.UserInfo(r.Context())
	a.render(w, r, http.StatusOK, "bell", "Bell", a.shelf.ring(person(who.Subject), 0))
}

// ring is the action: behind a link as a GET, behind the form as a POST. It runs after the screening and in no other order, for it is what
// the screening lets through. A GET passes RequireWrite, so it asks for itself.
func (a *app) ring(w http.ResponseWriter, r *http.Request) {
	if !relying.UserMayWrite(r.Context()) {
		a.render(w, r, http.StatusForbidden, "noaccess", "No access", relying.Refusal{ReadOnly: true})
		return
	}
	who, _ := relying.UserInfo(r.Context())
	a.shelf.ring(person(who.Subject), 1)
	http.Redirect(w, r, "/bell", http.StatusSeeOther) // so that reloading rings no second time
}

// call is a request to the application's own API and what became of it.
type call struct {
	Path, Asks  string
	Status      int
	Says, Error string
}

// callAPI asks the API with the access token of the session, as any service of the same company would.
func (a *app) callAPI(w http.ResponseWriter, r *http.Request) {
	calls := []call{
		{Path: "/api/me", Asks: "any valid token"},
		{Path: "/api/lessons", Asks: "the privilege trainer, as the token says it"},
		{Path: "/api/now/lessons", Asks: "the privilege trainer, as Latchkey says it now"},
	}
	token, _ := relying.AccessToken(r.Context())
	for i := range calls {
		a.ask(r.Context(), &calls[i], token)
	}
	a.render(w, r, http.StatusOK, "api", "API", calls)
}

func (a *app) ask(ctx context.Context, c *call, token string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(a.cfg.BaseURL, "/")+c.Path, nil)
	if err != nil {
		c.Error = "the request could not be made"
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := a.cfg.HTTPClient.Do(req)
	if err != nil {
		a.cfg.Logger.WarnContext(ctx, "sampleapp: own API", "err", err)
		c.Error = "no answer"
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		c.Error = "the answer broke off"
		return
	}
	c.Status, c.Says = res.StatusCode, strings.TrimSpace(string(body))
	if h := res.Header.Get("WWW-Authenticate"); h != "" {
		c.Says = h
	}
}

// apiMe answers with what the token says.
func apiMe(w http.ResponseWriter, r *http.Request) {
	token, _ := relying.TokenOf(r.Context())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{ // an error here is a lost connection
		"sub": token.Subject, "client_id": token.ClientID, "scopes": token.Scopes, "person": relying.UserLoggedIn(r.Context()),
		"privileges": relying.UserPrivileges(r.Context()),
	})
}

func apiLessons(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"lessons":["Scales","Chords"]}`+"\n") // an error here is a lost connection
}
