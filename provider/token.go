package provider

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// token serves POST /oauth2/token (RFC 6749 §3.2). Statements on the database: code exchange one read and one write, refresh one read
// and one write, client_credentials none.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) error {
	resp, err := p.exchange(r)
	if err != nil {
		return p.writeOAuthError(w, r, err)
	}
	p.c.Observe("issued", r.PostForm.Get("grant_type"))
	return writeJSON(w, http.StatusOK, resp)
}

// tokenResponse is RFC 6749 §5.1 with OIDC Core §3.1.3.3.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Scope        string `json:"scope,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

func (p *Provider) exchange(r *http.Request) (*tokenResponse, error) {
	if err := parseForm(r); err != nil {
		return nil, err
	}
	form := r.PostForm
	grant := form.Get("grant_type")
	if grant != "" && !slices.Contains(grantTypes, grant) {
		// RFC 6749 §5.2: known clients hear that the grant type is the problem, others that they are.
		if _, err := p.authenticateClient(r.Context(), r, form); err != nil {
			return nil, err
		}
		return nil, refuse("unsupported_grant_type", "This grant type is not supported.")
	}
	f := &flow{now: p.c.Now()}
	ctx := context.WithValue(r.Context(), flowKey{}, f)
	ar, err := p.fosite.NewAccessRequest(ctx, r, &Session{})
	if err == nil {
		err = p.narrow(f, ar, form)
	}
	if err != nil {
		if f.code != nil && ar != nil && ar.GetClient() != nil && ar.GetClient().GetID() == f.code.Client && grant == "authorization_code" &&
			toOAuth(err).status < 500 {
			if serr := p.spend(context.WithoutCancel(ctx), f); serr != nil {
				return nil, serr // fail closed: the code might still be alive
			}
		}
		return nil, err
	}
	resp, err := p.fosite.NewAccessResponse(ctx, ar)
	if err != nil {
		return nil, err
	}
	scopes := []string(ar.GetGrantedScopes())
	if f.scope != nil {
		scopes = f.scope
	}
	out := &tokenResponse{AccessToken: resp.GetAccessToken(), TokenType: "Bearer", Scope: strings.Join(scopes, " "),
		ExpiresIn: ar.GetSession().GetExpiresAt(fosite.AccessToken).Unix() - f.now.Unix()}
	out.RefreshToken, _ = resp.GetExtra("refresh_token").(string)
	out.IDToken, _ = resp.GetExtra("id_token").(string)
	return out, nil
}

// narrow applies `scope` (RFC 6749 §6: never beyond the grant; the refresh token keeps it all) and `resource` (RFC 8707 §2.2), and grants
// a machine what it asked for within what it was registered with.
func (p *Provider) narrow(f *flow, ar fosite.AccessRequester, form url.Values) error {
	c := ar.GetClient().(*Client)
	asked := strings.Fields(form.Get("scope"))
	resources := form["resource"]
	if ar.GetGrantTypes().ExactOne("client_credentials") {
		granted := asked
		if len(granted) == 0 {
			granted = c.scopes
		}
		for _, s := range granted {
			// Scopes that speak of a person make no sense for a machine; asked for by name they are an error, by default left out.
			if slices.Contains(Scopes, s) {
				if len(asked) > 0 {
					return refuse("invalid_scope", "The scope '"+clean(s)+"' is about a person and cannot be granted to a client alone.")
				}
				continue
			}
			ar.GrantScope(s)
		}
		for _, u := range resources {
			if !slices.Contains(c.Metadata.Resources, u) {
				return refuse("invalid_target", "The client is not registered for this resource.") // RFC 8707 §2
			}
			ar.GrantAudience(u)
		}
		return nil
	}
	granted := []string(nil)
	audience := []string(nil)
	if f.req != nil {
		granted, audience = f.req.GetGrantedScopes(), f.req.GetGrantedAudience()
	}
	if len(asked) > 0 && ar.GetGrantTypes().ExactOne("refresh_token") {
		for _, s := range asked {
			if !slices.Contains(granted, s) {
				return refuse("invalid_scope", "The scope '"+clean(s)+"' was not granted.")
			}
		}
		f.scope = asked
	}
	if len(resources) > 0 {
		if len(audience) == 0 {
			audience = c.audience(p.c.Issuer)
		}
		for _, u := range resources {
			if !slices.Contains(audience, u) {
				return refuse("invalid_target", "This resource was not granted.")
			}
		}
		f.audience = resources
	}
	return nil
}

// parseForm refuses what fosite would let pass: parameters in the URL (RFC 6749 §3.2: secrets do not belong there) and parameters given
// twice (§3.2), of which fosite takes the first.
func parseForm(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return refuse("invalid_request", "The request body could not be read as a form.")
	}
	if r.URL.RawQuery != "" {
		return refuse("invalid_request", "Parameters belong into the body, not into the URL.")
	}
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(strings.ToLower(ct), "application/x-www-form-urlencoded") {
		return refuse("invalid_request", "The body must be application/x-www-form-urlencoded.")
	}
	for k, v := range r.PostForm {
		if len(v) > 1 && k != "resource" { // RFC 8707 §2: resource may repeat
			return refuse("invalid_request", "The parameter '"+clean(k)+"' was given more than once.")
		}
	}
	return nil
}
