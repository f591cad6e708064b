package connectors

import (
	"context"
	"net/url"
)

// EndSessionURL is the provider's sign-out page (OpenID Connect RP-Initiated Logout 1.0 §2), "" when it has none.
func (o *OIDC) EndSessionURL(ctx context.Context, idToken, postLogoutRedirectURI, state string) (string, error) {
	m, err := o.metadata(ctx)
	if err != nil || m.EndSession == "" {
		return "", err
	}
	p := url.Values{"client_id": {o.client.id}}
	set(p, "id_token_hint", idToken)
	return endSessionURL(m.EndSession, postLogoutRedirectURI, state, p)
}

func (o *OIDC) metadata(ctx context.Context) (*metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	return o.source.doc.get(ctx)
}

func endSessionURL(endpoint, back, state string, p url.Values) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fail(Misconfigured, "the end session endpoint %q is no address", endpoint)
	}
	q := u.Query()
	for k, v := range p {
		q[k] = v
	}
	set(q, "post_logout_redirect_uri", back)
	set(q, "state", state)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// LoggedOut verifies a logout token. With SubjectClaim set, the provider's sub is not the person's key here, so that only its session
// counts.
func (o *OIDC) LoggedOut(ctx context.Context, logoutToken string) (subject, sid string, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.client.http.Timeout)
	defer cancel()
	subject, sid, err = checkLogoutToken(ctx, logoutToken, o.source.keys, o.expect("", ""))
	if err != nil {
		return "", "", err
	}
	if o.cfg.SubjectClaim != "sub" {
		if subject = ""; sid == "" {
			return "", "", fail(Misconfigured, "the logout token names only the provider's sub, and the key of people here is %s", o.cfg.SubjectClaim)
		}
	}
	return subject, sid, nil
}
