package config

import "github.com/latchkey-idp/latchkey/internal/privilege"

// MFA is about second factors. Whoever has one is asked for it at every sign-in, by whatever way.
type MFA struct {
	// AllowApp lets people add an authenticator app (TOTP). Where it is off, those who have one keep it.
	AllowApp bool `yaml:"allow_app"`
	// AllowSMS lets people add a telephone number that codes are sent to. It needs the block twilio; countries, limits and the codes' life are those of
	// login.phone, which may be off itself. Where it is turned off, those who have one keep it while messages can be sent.
	AllowSMS bool `yaml:"allow_sms"`
	// AllowedFor are the privileges of which somebody must hold one to add a factor; empty = everybody. Whoever must have one may.
	AllowedFor []string `yaml:"allowed_for"`
	// RequiredFor are privileges: whoever holds one has a second factor, or adds it before the next sign-in is complete.
	RequiredFor []string `yaml:"required_for"`
	// Administrators is required or offered, for people with power over others' accounts; empty = required in production.
	Administrators string `yaml:"administrators"`
	// AdministratorCode is required or none: whether such people add their first factor with a code from latchkey user enrolment-code, as whoever has the
	// password alone must not choose it; the set-up link leads there without. Empty = required in production.
	AdministratorCode string `yaml:"administrator_code"`
}

// Values of mfa.administrators.
const (
	MFARequired = "required"
	MFAOffered  = "offered"
	MFANone     = "none" // of administrator_code
)

// AdministratorsNeedMFA says whether people with power over others' accounts must have a second factor.
func (c *Config) AdministratorsNeedMFA() bool {
	if c.MFA.Administrators == "" {
		return c.Environment == Production
	}
	return c.MFA.Administrators == MFARequired
}

// AdministratorsNeedCode says whether people with power over others' accounts add their first second factor with a code.
func (c *Config) AdministratorsNeedCode() bool {
	if c.MFA.AdministratorCode == "" {
		return c.Environment == Production
	}
	return c.MFA.AdministratorCode == MFARequired
}

// SendsSMS says whether text messages are sent for anything: to sign in, or as a second factor.
func (c *Config) SendsSMS() bool { return c.Login.Phone.Enabled || c.MFA.AllowSMS }

func (r *reader) checkMFA(exists func(path, name string) bool) {
	m := &r.cfg.MFA
	at := func(key string) string { return join("mfa", key) }
	r.list(at("allowed_for"), m.AllowedFor, func(p, n string) { exists(p, n) })
	r.list(at("required_for"), m.RequiredFor, func(p, n string) {
		if exists(p, n) && n == privilege.Cron {
			r.problem(p, "is for programs, which show no second factor")
		}
	})
	if m.Administrators != "" {
		r.choice(at("administrators"), m.Administrators, MFARequired, MFAOffered)
	}
	if m.AdministratorCode != "" {
		r.choice(at("administrator_code"), m.AdministratorCode, MFARequired, MFANone)
	}
	if m.AllowSMS && len(r.cfg.Twilio) == 0 {
		r.problem(at("allow_sms"), "is true, and there is no block twilio to send messages with")
	}
	if !m.AllowApp && !m.AllowSMS && !r.cfg.PasskeysOn() && (len(m.RequiredFor) > 0 || r.cfg.AdministratorsNeedMFA()) {
		r.problem(at("allow_app"), "is false, and so is allow_sms, and there are no passkeys: nobody can add a second factor; but one is required (required_for, administrators)")
	}
	if r.cfg.AdministratorsNeedMFA() && !r.cfg.AdministratorsNeedCode() && r.production() {
		r.warn(at("administrator_code"), "lets whoever has the password of an administrator without a second factor choose one")
	}
	if !r.cfg.AdministratorsNeedMFA() && r.production() {
		r.warn(at("administrators"), "lets people with power over others' accounts sign in without a second factor")
	}
}
