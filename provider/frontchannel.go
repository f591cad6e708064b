package provider

import (
	"context"
	"errors"
	"net/url"

	"github.com/latchkey-idp/latchkey/login/session"
)

// FrontChannel is what the browser loads when the session of this sid ends, one address for each application it was used for that registered one
// (Front-Channel Logout 1.0 §2). iss and sid are always in it: they say which session is meant, and forging them signs nobody out but this browser.
// Ask before the session ends.
func (p *Provider) FrontChannel(ctx context.Context, sid string) ([]string, error) {
	ids, err := p.c.Store.SessionClients(ctx, sid)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, id := range ids {
		c, err := p.client(ctx, id)
		if errors.Is(err, errNoClient) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(c.Metadata.FrontChannelLogoutURI)
		if err != nil || u.Host == "" {
			continue
		}
		addQuery(u, url.Values{"iss": {p.c.Issuer}, "sid": {session.SID(sid)}})
		list = append(list, u.String())
	}
	return list, nil
}
