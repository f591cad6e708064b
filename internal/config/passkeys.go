package config

import (
	"net/netip"
	"net/url"
)

// Passkeys are credentials in people's own devices (WebAuthn): a way to sign in, and a second factor. Browsers make none for an issuer whose host is an
// IP address, so there are none there.
type Passkeys struct {
	// Enabled lets people add passkeys and sign in with them. Where it is off, those who have one are still asked for a second factor, and have their
	// recovery codes for it.
	Enabled bool `yaml:"enabled"`
	// Offer shows a page after a sign-in with a password that suggests a passkey, to who has none and whose browser can make one. "Not now" holds 30 days.
	Offer bool `yaml:"offer"`
}

// PasskeysOn says whether there are passkeys: switched on, and possible for the issuer.
func (c *Config) PasskeysOn() bool { return c.Passkeys.Enabled && !c.issuerIsAddress() }

func (c *Config) issuerIsAddress() bool {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return false // which is complained about elsewhere
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil
}
