package testidp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
)

// Fakes are upstreams to sign in through: strict stand-ins of Google, Microsoft, Facebook, X, an OpenID provider and one of plain OAuth 2.0,
// each on ports of its own. They run from the server's start on, which they are registered for, until the test ends.
type Fakes struct {
	t      testing.TB
	ids    []string
	issuer string // they know the application by its addresses there
	list   []config.Connector
	stop   []func()

	Google   *connectortest.Google
	Azure    *connectortest.Entra
	Facebook *connectortest.Facebook
	Twitter  *connectortest.Twitter
	OIDC     *connectortest.OIDC
	OAuth2   *connectortest.OAuth2
}

// Upstreams are the ids of all fakes, which are the ids of their connectors and their types.
var Upstreams = []string{"google", "azure", "facebook", "twitter", "oidc", "oauth2"}

// FacebookApp is the application's id at the fake of Facebook.
const FacebookApp = "1234567890"

// NewFakes names the fakes that Options.Fakes starts, in the order of their buttons.
func NewFakes(t testing.TB, ids ...string) *Fakes {
	t.Helper()
	f := &Fakes{t: t, ids: ids}
	for _, id := range ids {
		if !slices.Contains(Upstreams, id) {
			t.Fatalf("there is no fake %s", id)
		}
	}
	t.Cleanup(f.close)
	return f
}

// Connector is the entry of a configuration with an id, for Options.Config to change.
func Connector(c *config.Config, id string) *config.Connector {
	for i := range c.Connectors {
		if c.Connectors[i].ID == id {
			return &c.Connectors[i]
		}
	}
	panic("testidp: no connector " + id)
}

// Without takes a connector out of a configuration.
func Without(c *config.Config, id string) {
	c.Connectors = slices.DeleteFunc(c.Connectors, func(k config.Connector) bool { return k.ID == id })
}

// Origins are where the pages of the fakes are.
func (f *Fakes) Origins() (list []string) {
	if f == nil {
		return nil
	}
	add := func(b interface{ Origin(string) (string, error) }, host string) {
		if o, err := b.Origin(host); err == nil {
			list = append(list, o)
		}
	}
	if f.Google != nil {
		add(f.Google, "accounts")
	}
	if f.Azure != nil {
		add(f.Azure, "login")
	}
	if f.Facebook != nil {
		add(f.Facebook, "www")
	}
	if f.Twitter != nil {
		add(f.Twitter, "x")
	}
	if f.OIDC != nil {
		add(f.OIDC, "id")
	}
	if f.OAuth2 != nil {
		add(f.OAuth2, "web")
	}
	return list
}

func (f *Fakes) close() {
	for _, stop := range f.stop {
		stop()
	}
	f.stop, f.list = nil, nil
}

// serve starts the fakes for an issuer, unless they know it, and puts their connectors into its configuration: everybody may come in.
func (f *Fakes) serve(cfg *config.Config) error {
	if f.issuer != cfg.Issuer {
		f.close() // a start that failed
		f.issuer = cfg.Issuer
		for _, id := range f.ids {
			if err := f.start(id); err != nil {
				return fmt.Errorf("testidp: fake %s: %w", id, err)
			}
		}
	}
	cfg.Connectors = append(cfg.Connectors, slices.Clone(f.list)...)
	return nil
}

func (f *Fakes) start(id string) error {
	const secret = "s3cret:/with+odd%signs&more"
	c := config.NewConnector(id)
	c.ClientID, c.ClientSecret, c.Registration = "latchkey", config.NewSecret(secret), "open"
	if id == "facebook" {
		c.ClientID = FacebookApp // Meta's are decimal
	}
	callback := f.issuer + "/callback/" + id
	app := connectortest.Client{ID: c.ClientID, Secret: secret, RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{f.issuer + "/logged-out"},
		BackchannelLogoutURI: callback + "/backchannel"}
	var err error
	var stop func()
	switch id {
	case "google":
		if f.Google, err = connectortest.NewGoogle(app); err == nil {
			stop, c.Issuer = f.Google.Close, f.Google.Issuer
		}
	case "azure":
		if f.Azure, err = connectortest.NewEntra(app, connectortest.AudienceAll); err == nil {
			stop, c.Authority = f.Azure.Close, f.Azure.Authority
			c.Tenant, c.AllowedTenants, c.Logout = "common", []string{connectortest.TenantA, "consumers"}, true
		}
	case "facebook":
		if f.Facebook, err = connectortest.NewFacebook(app); err == nil {
			stop, c.WebURL, c.APIURL, c.RevokeOnUnlink = f.Facebook.Close, f.Facebook.WebURL, f.Facebook.GraphURL, true
			f.Facebook.Notices(app.ID, callback+"/deauthorize", callback+"/data-deletion")
			f.Facebook.Notifier = plainClient()
		}
	case "twitter":
		if f.Twitter, err = connectortest.NewTwitter(app); err == nil {
			stop, c.AuthorizationURL, c.APIURL = f.Twitter.Close, f.Twitter.AuthorizeURL, f.Twitter.APIURL
		}
	case "oidc":
		if f.OIDC, err = connectortest.NewOIDC(app, connectortest.OIDCOptions{Alg: "ES256", PKCE: true, SendIss: true}); err == nil {
			stop, c.Issuer, c.Label = f.OIDC.Close, f.OIDC.Issuer, "Example ID"
		}
	case "oauth2":
		if f.OAuth2, err = connectortest.NewOAuth2(app, connectortest.OAuth2Options{ClientAuth: "basic", PKCE: true}); err == nil {
			stop, c.Label, c.SubjectClaim = f.OAuth2.Close, "Code Hub", "id"
			c.AuthorizationURL, c.TokenURL, c.UserInfoURL = f.OAuth2.AuthorizeURL, f.OAuth2.TokenURL, f.OAuth2.UserInfoURL
			c.RevocationURL, c.EmailList.URL, c.Scopes = f.OAuth2.RevokeURL, f.OAuth2.EmailsURL, []string{"read:user", "user:email"}
			c.Claims = config.ClaimMap{Username: "login", Picture: "avatar_url"}
		}
	}
	if err != nil {
		return err
	}
	f.stop, f.list = append(f.stop, stop), append(f.list, c)
	return nil
}

// Through signs in with the button of a connector on a sign-in page: as the person with an id at the fake, "" for the first. It returns
// what comes of it: the application's address, or a page that asks.
func (b *Browser) Through(p *Page, id, person string) *Page {
	b.t.Helper()
	return b.Press(b.Click(p, "login-with-"+id), connectortest.As(person))
}

// Press presses a button of a fake's page.
func (b *Browser) Press(p *Page, button connectortest.Button) *Page {
	b.t.Helper()
	f := p.FormOf("cancel")
	if button == connectortest.As("") {
		button = connectortest.Continue
	}
	f.Values.Set("press", string(button))
	return b.SendForm(p, f)
}
