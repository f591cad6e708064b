package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
)

// demoFakesPort is that of the first fake. They stay where they are, because where a provider is belongs to who its people are.
const demoFakesPort = 8083

// fakes are stand-ins of Google, Microsoft, Facebook and X for the demonstration: pages with people to continue as, and no passwords.
type fakes struct {
	connectors []config.Connector
	settings   string // Facebook's page where people remove an app
	last       int    // the port after them
	stop       []func()
}

func (f *fakes) close() {
	for _, stop := range f.stop {
		stop()
	}
}

// startFakes starts them on ports from first on and returns how they are configured.
func startFakes(issuer string, first int) (_ *fakes, err error) {
	f := &fakes{last: first}
	defer func() {
		if err == nil {
			return
		}
		f.close()
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w; --fakes-port chooses others", err)
		}
	}()
	// The secrets protect nothing: whoever reaches the fakes can be anybody there.
	const secret = "of-a-fake-that-asks-for-no-password"
	app := func(id string, ports int) connectortest.Client {
		c := connectortest.Client{ID: "latchkey-demo", Secret: secret, RedirectURIs: []string{issuer + "/callback/" + id},
			PostLogoutRedirectURIs: []string{issuer + "/logged-out"}, Port: f.last}
		f.last += ports
		return c
	}
	add := func(id string, change func(*config.Connector)) {
		c := config.NewConnector(id)
		c.ClientID, c.ClientSecret, c.Registration = "latchkey-demo", config.NewSecret(secret), "open"
		change(&c)
		f.connectors = append(f.connectors, c)
	}

	google, err := connectortest.NewGoogle(app("google", 4))
	if err != nil {
		return nil, err
	}
	f.stop = append(f.stop, google.Close)
	add("google", func(c *config.Connector) {
		c.Issuer = google.Issuer
		c.Privileges = []config.ClaimRule{{Claim: "hd", Match: "example.com", Privilege: "developer"}} // Grace, as long as she works there
	})

	azure, err := connectortest.NewEntra(app("azure", 2), connectortest.AudienceAll)
	if err != nil {
		return nil, err
	}
	f.stop = append(f.stop, azure.Close)
	add("azure", func(c *config.Connector) {
		c.Authority, c.Tenant, c.Logout = azure.Authority, "common", true
		c.AllowedTenants = []string{connectortest.TenantA, "consumers"}
	})

	meta := app("facebook", 2)
	meta.ID = "1234567890" // Meta's are decimal
	facebook, err := connectortest.NewFacebook(meta)
	if err != nil {
		return nil, err
	}
	f.stop = append(f.stop, facebook.Close)
	facebook.Notices(meta.ID, issuer+"/callback/facebook/deauthorize", issuer+"/callback/facebook/data-deletion")
	f.settings = facebook.WebURL + "/settings"
	add("facebook", func(c *config.Connector) {
		c.ClientID, c.WebURL, c.APIURL, c.RevokeOnUnlink = meta.ID, facebook.WebURL, facebook.GraphURL, true
	})

	x, err := connectortest.NewTwitter(app("twitter", 2))
	if err != nil {
		return nil, err
	}
	f.stop = append(f.stop, x.Close)
	add("twitter", func(c *config.Connector) { c.AuthorizationURL, c.APIURL = x.AuthorizeURL, x.APIURL })
	return f, nil
}
