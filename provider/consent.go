package provider

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// consentPage serves GET /consent?flow=…: who asks for what, in plain words.
func (p *Provider) consentPage(w http.ResponseWriter, r *http.Request) error {
	handle := r.URL.Query().Get("flow")
	f, q, sess, err := p.consentFlow(w, r, handle)
	if err != nil || f == nil {
		return err
	}
	known, err := p.c.Store.Consent(r.Context(), sess.UserID, q.client.ID)
	if err != nil {
		if !isNotFound(err) {
			return err
		}
		known = &store.Consent{}
	}
	host := q.redirect
	if u, err := url.Parse(q.redirect); err == nil {
		if host = u.Host; host == "" {
			host = u.Scheme + ":"
		}
	}
	page := &templates.ConsentPage{Base: p.c.Mux.Base(w, r), Action: "/consent?flow=" + url.QueryEscape(handle),
		App:       templates.App{Name: q.client.name(), LogoURL: q.client.Metadata.LogoURI, HomeURL: q.client.Metadata.ClientURI, PolicyURL: q.client.Metadata.PolicyURI, TOSURL: q.client.Metadata.TOSURI, Host: host},
		SwitchURL: "/login?flow=" + url.QueryEscape(handle)}
	u := &sess.Live.User
	for _, s := range q.scopes {
		line := templates.Scope{Name: s, New: known.UserID != "" && !slices.Contains(known.Scope, s)}
		switch s {
		case scopeProfile:
			line.Detail = u.Name()
		case scopeEmail:
			line.Detail = u.Email
		case scopePhone:
			line.Detail = u.Phone
		case scopeAddress:
			line.Detail = strings.ReplaceAll(u.Profile.Address.Formatted, "\n", ", ")
		case scopePrivileges:
			held, err := p.rights(r.Context(), sess.Live, p.c.Now())
			if err != nil {
				return err
			}
			line.Detail = strings.Join(visiblePrivileges(held.effective, q.client), ", ")
		}
		page.Scopes = append(page.Scopes, line)
	}
	slices.SortStableFunc(page.Scopes, func(a, b templates.Scope) int { // what is new comes first
		switch {
		case a.New == b.New:
			return 0
		case a.New:
			return -1
		}
		return 1
	})
	web.FormAction(w, q.redirect)
	if page.App.LogoURL != "" {
		web.ImageOrigin(w, page.App.LogoURL)
	}
	return p.c.Mux.Render(w, r, http.StatusOK, page)
}

// consentDecision serves POST /consent?flow=…: yes is remembered and issues, no tells the client access_denied.
func (p *Provider) consentDecision(w http.ResponseWriter, r *http.Request) error {
	handle := r.URL.Query().Get("flow")
	f, q, sess, err := p.consentFlow(w, r, handle)
	if err != nil || f == nil {
		return err
	}
	ctx := r.Context()
	if r.PostFormValue("decision") != "accept" {
		if err := p.c.Store.FinishFlow(ctx, f.IDHash); err != nil {
			if isNotFound(err) {
				return &web.Error{Status: http.StatusBadRequest, Key: "error.flow_finished", Err: err}
			}
			return err
		}
		return p.respondError(w, r, q, &oauthError{status: http.StatusForbidden, code: "access_denied", text: "The person declined."})
	}
	now := p.c.Now()
	d := digests(q)
	scopes := slices.Clone(q.scopes)
	known, err := p.c.Store.Consent(ctx, sess.UserID, q.client.ID)
	switch {
	case err != nil && !isNotFound(err):
		return err
	case err == nil && now.Before(known.ExpiresAt.Time) && known.ClientDigest == d.client: // what was allowed before stays allowed
		for _, s := range known.Scope {
			if !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
	}
	if err := p.c.Store.SaveConsent(ctx, &store.Consent{UserID: sess.UserID, ClientID: q.client.ID, Scope: scopes, ClaimsDigest: d.claims,
		ClientDigest: d.client, GrantedAt: store.At(now), ExpiresAt: store.At(now.Add(p.c.ConsentLife))}); err != nil {
		return err
	}
	if err := p.c.Store.UpdateFlow(ctx, f.IDHash, sess.UserID, `{"scope":"`+strings.Join(q.scopes, " ")+`"}`); err != nil {
		if isNotFound(err) {
			return &web.Error{Status: http.StatusBadRequest, Key: "error.flow_finished", Err: err}
		}
		return err
	}
	return p.Continue(w, r, handle)
}

// consentFlow restores what both handlers need. A nil flow without error: the person was sent to sign in.
func (p *Provider) consentFlow(w http.ResponseWriter, r *http.Request, handle string) (*store.Flow, *request, *session.Session, error) {
	f, err := p.c.Sessions.Flow(r, handle)
	if err != nil {
		return nil, nil, nil, err
	}
	q, err := p.restore(r.Context(), f)
	if err != nil {
		return nil, nil, nil, err
	}
	sess, ok := session.Current(r.Context())
	if !ok {
		to, err := p.c.Login(r.Context(), handle, *f)
		if err != nil {
			return nil, nil, nil, err
		}
		return nil, nil, nil, web.SeeOther(w, r, to)
	}
	return f, q, sess, nil
}
