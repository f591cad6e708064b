package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/templates"
)

// logoutRequest is RP-Initiated Logout 1.0 §2 after checking.
type logoutRequest struct {
	client *Client // nil = nobody proven
	target string  // registered post_logout_redirect_uri, with state; "" = our own page
	raw    url.Values
	hinted *idHint
}

const maxHint = 1000 // bytes of logout_hint

// readLogout checks the parameters. Anything wrong is a page, never a redirect.
func (p *Provider) readLogout(r *http.Request, v url.Values) (*logoutRequest, error) {
	q := &logoutRequest{raw: url.Values{}}
	for _, k := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales", "logout_hint"} {
		if len(v[k]) > 1 {
			return nil, problem("invalid_request", "error.logout_request", errors.New(k+" given twice"))
		}
	}
	// §2: a hint whom it is about. The session, or the ID token, says it better, and any answer to it would say who is signed in.
	if len(v.Get("logout_hint")) > maxHint {
		return nil, problem("invalid_request", "error.logout_request", errors.New("logout_hint is too long"))
	}
	if tags := v.Get("ui_locales"); tags != "" {
		q.raw.Set("ui_locales", tags)
	}
	ctx := r.Context()
	id := v.Get("client_id")
	if hint := v.Get("id_token_hint"); hint != "" {
		h, err := p.hint(ctx, hint)
		if err != nil {
			return nil, problem("invalid_request", "error.logout_request", errors.New("id_token_hint is not ours"))
		}
		if id != "" && id != h.Audience { // §2: client_id must fit the hint
			return nil, problem("invalid_request", "error.logout_request", errors.New("client_id and id_token_hint disagree"))
		}
		id, q.hinted = h.Audience, h
	}
	if id != "" {
		c, err := p.client(ctx, id)
		if err != nil && !errors.Is(err, errNoClient) {
			return nil, err
		}
		if err != nil {
			return nil, problem("invalid_client", "error.app_unknown", err)
		}
		q.client = c
		q.raw.Set("client_id", id)
	}
	to := v.Get("post_logout_redirect_uri")
	if to == "" || q.client == nil {
		// Without a proven client a target cannot be registered: our own page follows, and nothing is redirected.
		return q, nil
	}
	if !slices.Contains(q.client.Metadata.PostLogoutRedirectURIs, to) {
		return nil, problem("invalid_request", "error.logout_request", errors.New("post_logout_redirect_uri not registered"))
	}
	u, err := url.Parse(to)
	if err != nil {
		return nil, fmt.Errorf("provider: registered post-logout URI: %w", err)
	}
	q.raw.Set("post_logout_redirect_uri", to)
	if s := v.Get("state"); s != "" {
		addQuery(u, url.Values{"state": {s}})
		q.raw.Set("state", s)
	}
	q.target = u.String()
	return q, nil
}

// logout serves GET /oauth2/logout. With an ID token of this very session as proof it ends the session at once; else it asks.
func (p *Provider) logout(w http.ResponseWriter, r *http.Request) error {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem("invalid_request", "error.logout_request", err)
	}
	q, err := p.readLogout(r, v)
	if err != nil {
		return err
	}
	sess, ok := session.Current(r.Context())
	if q.hinted != nil && (!ok || q.hinted.SID == session.SID(sess.SID)) {
		return p.endSession(w, r, q)
	}
	return p.logoutPage(w, r, q)
}

// logoutPost serves POST /oauth2/logout. Cross-site, the session's cookie is absent: as a GET of ours it is there (pages.md trap 2).
func (p *Provider) logoutPost(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return problem("invalid_request", "error.logout_request", err)
	}
	query := r.PostForm.Encode()
	if len(query) > maxURL {
		return problem("invalid_request", "error.logout_request", errors.New("too long"))
	}
	return web.SeeOther(w, r, "/oauth2/logout?"+query)
}

func (p *Provider) logoutPage(w http.ResponseWriter, r *http.Request, q *logoutRequest) error {
	page := &templates.LogoutPage{Base: p.c.Mux.Base(w, r), Action: "/oauth2/logout/confirm", App: q.app(), Hidden: map[string]string{}, StayURL: "/account"}
	for k := range q.raw {
		page.Hidden[k] = q.raw.Get(k)
	}
	if q.target != "" {
		web.FormAction(w, q.target)
	}
	return p.c.Mux.Render(w, r, http.StatusOK, page)
}

func (q *logoutRequest) app() *templates.App {
	if q.client == nil {
		return nil
	}
	m := q.client.Metadata
	return &templates.App{Name: q.client.name(), LogoURL: "", HomeURL: m.ClientURI, PolicyURL: m.PolicyURI, TOSURL: m.TOSURI}
}

// logoutConfirm serves the page's own form, with its token. What it carries is checked again: hidden fields are a stranger's words.
func (p *Provider) logoutConfirm(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return problem("invalid_request", "error.logout_request", err)
	}
	web.UILocales(w, r.PostForm.Get("ui_locales"))
	q, err := p.readLogout(r, r.PostForm)
	if err != nil {
		return err
	}
	return p.endSession(w, r, q)
}

func (p *Provider) endSession(w http.ResponseWriter, r *http.Request, q *logoutRequest) error {
	var upstream func(http.ResponseWriter, *http.Request, []string) error
	var frames []string
	if sess, ok := session.Current(r.Context()); ok {
		var err error
		if frames, err = p.FrontChannel(r.Context(), sess.SID); err != nil {
			return err
		}
		if p.c.UpstreamSignOut != nil {
			upstream = p.c.UpstreamSignOut(r.Context(), sess, q.target)
		}
	}
	if err := p.c.Sessions.End(w, r, "logout"); err != nil {
		return err
	}
	if upstream != nil {
		return upstream(w, r, frames)
	}
	if q.target != "" && len(frames) == 0 {
		return web.SeeOther(w, r, q.target)
	}
	base := p.c.Mux.Base(w, r)
	base.User = nil // they just left
	page := &templates.LoggedOutPage{Base: base, App: q.app(), Next: q.target, Frames: frames}
	web.LoadThenGo(w, frames, q.target)
	if q.client != nil {
		page.BackURL = q.client.Metadata.ClientURI
	}
	return p.c.Mux.Render(w, r, http.StatusOK, page)
}
