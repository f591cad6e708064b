package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login"
)

// upstreams makes the connectors of the configuration that are not switched off. None of them reaches the network yet: what is down
// costs one button and nothing else.
func upstreams(c *config.Config, client *http.Client, now func() time.Time) ([]login.Upstream, error) {
	var list []login.Upstream
	for i := range c.Connectors {
		k := &c.Connectors[i]
		if !k.Enabled {
			continue
		}
		made, err := k.New(client, now)
		if err != nil {
			return nil, configError(c, fmt.Sprintf("connectors[%d]", i), err)
		}
		up := login.Upstream{Connector: made, Registration: k.Registration, Link: k.Link, Domains: k.Domains,
			EmailTrust: connectors.Trust(k.EmailTrust), TrustMFA: k.TrustMFA, AllowAdmins: k.AllowAdmins, KeepIDToken: k.Logout, Logout: k.Logout,
			Revoke: k.RevokeOnUnlink}
		up.Label, up.Icon = k.Display()
		for _, r := range k.Privileges {
			up.Rules = append(up.Rules, login.ClaimRule(r))
		}
		list = append(list, up)
	}
	return list, nil
}

// ErrNoConnector says that the configuration has no connector of that id.
var ErrNoConnector = fmt.Errorf("no such connector")

// TestConnector tries what can be tried of one connector without a person, also of one that is switched off.
func TestConnector(ctx context.Context, c *config.Config, id string) ([]connectors.Finding, error) {
	for i := range c.Connectors {
		k := &c.Connectors[i]
		if k.ID != id {
			continue
		}
		made, err := k.New(web.Outbound(false), time.Now)
		if err != nil {
			return nil, configError(c, fmt.Sprintf("connectors[%d]", i), err)
		}
		t, ok := made.(connectors.Tester)
		if !ok {
			return nil, fmt.Errorf("server: connector %s cannot be tested", id)
		}
		return t.Test(ctx), nil
	}
	return nil, ErrNoConnector
}
