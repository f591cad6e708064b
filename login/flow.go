package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// pending is the authorization request a page of ours is open for. A nil *pending is a sign-in to Latchkey itself, and its
// methods say so.
type pending struct {
	handle string
	flow   *store.Flow
	form   url.Values    // what the provider resolved and stored, never what the browser sent (security.md A6)
	client *store.Client // read only
}

// pending returns the flow of this request's query, nil when it names none. The error is for people: see deadEnd.
func (l *Login) pending(r *http.Request) (*pending, error) {
	return l.pendingOf(r, r.URL.Query().Get("flow"))
}

// pendingOf is pending for a handle that came another way.
func (l *Login) pendingOf(r *http.Request, handle string) (*pending, error) {
	if handle == "" {
		return nil, nil
	}
	// Handle and browser-binding cookie are both needed at every step (security.md A7).
	flow, err := l.sessions.Flow(r, handle)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(flow.Form)
	if err != nil {
		return nil, wrap("stored request of a flow", err)
	}
	client, err := l.store.CachedClient(r.Context(), flow.ClientID)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && !client.DisabledAt.IsZero():
		return nil, &web.Error{Status: http.StatusBadRequest, Key: "error.client_unavailable", Code: "unauthorized_client", Err: err}
	case err != nil:
		return nil, wrap("client of a flow", err)
	}
	return &pending{handle: handle, flow: flow, form: form, client: client}, nil
}

// id is the flow's handle, "" for none.
func (p *pending) id() string {
	if p == nil {
		return ""
	}
	return p.handle
}

// hash is what the database calls the flow, "" for none.
func (p *pending) hash() string {
	if p == nil {
		return ""
	}
	return p.flow.IDHash
}

// clientID is for events, "" for none.
func (p *pending) clientID() string {
	if p == nil {
		return ""
	}
	return p.flow.ClientID
}

// param is a parameter of the stored request, "" for none.
func (p *pending) param(name string) string {
	if p == nil {
		return ""
	}
	return p.form.Get(name)
}

// dress prepares a page that may be the last one before the client: its forms may end at the redirect URI, its logo may load.
// Every page with such a form calls it before it is rendered, whatever its status (pages.md trap 1).
func (p *pending) dress(w http.ResponseWriter) *templates.App {
	if p == nil {
		return nil
	}
	redirect := p.param("redirect_uri")
	if redirect == "" && len(p.client.Metadata.RedirectURIs) == 1 {
		redirect = p.client.Metadata.RedirectURIs[0]
	}
	if redirect != "" {
		web.FormAction(w, redirect)
	}
	web.UILocales(w, p.param("ui_locales"))
	app := appOf(p.client)
	if u, err := url.Parse(redirect); err == nil {
		app.Host = u.Host
	}
	if app.LogoURL != "" {
		web.ImageOrigin(w, app.LogoURL)
	}
	return app
}

// appOf describes a client to a person. Its URLs come from registration, so only web addresses pass.
func appOf(c *store.Client) *templates.App {
	m := c.Metadata
	app := &templates.App{
		Name: m.Name, LogoURL: webURL(m.LogoURI), HomeURL: webURL(m.ClientURI),
		PolicyURL: webURL(m.PolicyURI), TOSURL: webURL(m.TOSURI),
	}
	if app.Name == "" {
		app.Name = c.ID
	}
	return app
}

// webURL passes absolute http and https addresses, and makes "" of everything else.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return s
}

// deadEnd adds a fresh start to an error that says a flow cannot go on, so that the page leads somewhere (pages.md 2.8). Every
// other error passes unchanged.
func (l *Login) deadEnd(r *http.Request, err error) error {
	return l.deadEndOf(r, r.URL.Query().Get("flow"), err)
}

func (l *Login) deadEndOf(r *http.Request, handle string, err error) error {
	var e *web.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return err
	}
	page := *e
	flow, client := l.lostFlow(r.Context(), handle)
	if client == nil {
		return &page
	}
	app := appOf(client)
	page.ReturnURL, page.ReturnName = app.HomeURL, app.Name
	// A flow of this browser that is over, and led to no code, begins again with the very same request.
	if flow.FinishedAt.IsZero() && flow.BrowserHash == l.sessions.FlowBinding(r) && len(flow.Form) < maxRestart {
		page.RestartURL = authorizePath + "?" + flow.Form
	}
	return &page
}

const (
	authorizePath = "/oauth2/authorize" // provider's, which checks the request as if it were new
	maxRestart    = 4000                // bytes of a link
)

// lostFlow finds a flow that is over or another browser's, and its application; nil when nothing is known. It tells no more than
// the public authorization endpoint tells anybody about a client. Trouble here leaves the error page without its way back.
func (l *Login) lostFlow(ctx context.Context, handle string) (*store.Flow, *store.Client) {
	flow, err := l.store.Flow(ctx, hashOf(handle))
	if flow == nil || err != nil && !errors.Is(err, store.ErrExpired) && !errors.Is(err, store.ErrUsed) {
		return nil, nil
	}
	client, err := l.store.CachedClient(ctx, flow.ClientID)
	if err != nil {
		return nil, nil
	}
	return flow, client
}

// hashOf is how handles and tokens are kept: lower-case hex SHA-256.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
