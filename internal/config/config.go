// Package config reads Latchkey's one YAML file, strictly: an unknown key, a key given twice, a wrong type or a value that would
// make the server unsafe is an error, and every problem is reported at once with its line and its place in the file.
//
//	file ──parse──▶ YAML nodes ──decode──▶ Config ──check──▶ Config, warnings
//	                   ▲           │ ${ENV} and *_file are replaced here
//	             defaults()        ▼
//	                           Problems (all of them, with lines)
//
// It owns the names of the keys, their defaults, their meaning (the comments of the fields below are the reference) and the rules
// a value must obey. It refuses to guess: no value is corrected, none is ignored, and there is no key that does nothing. It
// makes nothing: no database is opened and no key is generated here. Secrets leave it only through Reveal.
//
// Of our own packages it imports internal/privilege, so that privilege graphs and requirements have one set of rules, and connectors for the
// same reason.
package config

import (
	"net/netip"
	"time"
)

// Values of environment.
const (
	// Production refuses what is only safe on one's own machine. It is the default of a file.
	Production = "production"
	// Development allows a plain http issuer on localhost and generates what is missing. It is what runs without a file.
	Development = "development"
)

// Config is everything an operator decides. A value made by Load or Default is checked; treat it as read-only.
//
// In a file, lengths of time are a number and a unit, or several: 30s, 10m, 12h, 90d, 1d12h (ms, s, m, h, and d for 24 hours).
// Sizes are bytes, or a number with KiB, MiB or GiB. In any text, ${NAME} stands for the environment variable NAME and $${ for
// a literal ${; a variable that is not set is an error.
type Config struct {
	// Issuer is the public address of this server, without a slash at its end: https://login.example.com. It is the iss of every
	// token, so changing it later means a new provider for every application. Required in production. A restart applies a change.
	Issuer string `yaml:"issuer"`
	// Environment is production or development.
	Environment string `yaml:"environment"`
	// AppName is what people read at the top of every page and in mail, 1 to 60 characters.
	AppName string `yaml:"app_name"`
	// Branding is how the pages look.
	Branding Branding `yaml:"branding"`
	// HTTP is where and how Latchkey listens.
	HTTP HTTP `yaml:"http"`
	// Database is where everything is kept.
	Database Database `yaml:"database"`
	// Secrets are the keys that protect the database's secrets.
	Secrets Secrets `yaml:"secrets"`
	// Keys is how signing keys rotate.
	Keys Keys `yaml:"keys"`
	// Login is how people sign in.
	Login Login `yaml:"login"`
	// MFA is about second factors, whatever way somebody signs in.
	MFA MFA `yaml:"mfa"`
	// Passkeys are a way to sign in and a second factor.
	Passkeys Passkeys `yaml:"passkeys"`
	// Connectors are the upstreams people may sign in through, in the order of their buttons.
	Connectors []Connector `yaml:"connectors"`
	// Twilio are the accounts that SMS are sent through.
	Twilio []Twilio `yaml:"twilio"`
	// Mail is how mail leaves; without it none is sent.
	Mail Mail `yaml:"mail"`
	// Privileges are defined here beside the seven built in, by name: ^[a-z][a-z0-9_-]{0,49}$, or client:role for a client's own.
	// Naming one of the seven adds includes to it, or gives it another label or description.
	Privileges map[string]Privilege `yaml:"privileges"`
	// UserTypes are added to the three defaults (000 anonymous, 100 user, 900 admin), or take the place of one with the same value. One that
	// people have cannot go.
	UserTypes []UserType `yaml:"user_types"`
	// Permissions say what privileges let people do within Latchkey: privilege → names of permissions. Those of admin, developer and user are fixed.
	Permissions map[string][]string `yaml:"permissions"`
	// Delegations narrow what holders of a privilege may pass on; without any that names something they hold, it is whatever they hold.
	Delegations []Delegation `yaml:"delegations"`
	// Actions require privileges for what people do on Latchkey's own pages, beside the permissions that it needs: by the name of a section or of an
	// action.
	Actions map[string]ActionRule `yaml:"actions"`
	// Clients are the applications that are registered by this file. What stands here cannot be changed elsewhere.
	Clients []Client `yaml:"clients"`
	// DebugPermissions are the questions of which each check is logged, for clients and actions that have the flag too: sign_in and refresh of clients, view
	// and run of actions. Development only.
	DebugPermissions []string `yaml:"debug_permissions"`
	// Invites is inviting people.
	Invites Invites `yaml:"invites"`
	// Accounts is what becomes of accounts by themselves.
	Accounts Accounts `yaml:"accounts"`
	// Sessions is how long a sign-in at Latchkey itself lasts.
	Sessions Sessions `yaml:"sessions"`
	// Logout is how applications hear that a sign-in ended.
	Logout Logout `yaml:"logout"`
	// Tokens is how long codes and tokens live.
	Tokens Tokens `yaml:"tokens"`
	// Limits bound what one peer can use up.
	Limits Limits `yaml:"limits"`
	// Audit is how long events are kept. The audit log itself is kept for good.
	Audit Audit `yaml:"audit"`
	// Metrics are Prometheus metrics on the management listener.
	Metrics Metrics `yaml:"metrics"`
	// Log is what is written to standard error.
	Log Log `yaml:"log"`

	file string // the path it was read from; "" = none
}

// Branding is how the pages look.
type Branding struct {
	// Accent is the colour of buttons and links as #rrggbb; empty = Latchkey's own. Where it would be hard to read, in the light or in
	// the dark theme, the pages use a darker or lighter shade of it that has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3).
	Accent string `yaml:"accent"`
}

// HTTP is where and how Latchkey listens.
type HTTP struct {
	// Listen is host:port of the public listener. A host other than loopback needs tls, or a proxy named in trusted_proxies.
	Listen string `yaml:"listen"`
	// TLS is the certificate, where Latchkey itself ends TLS.
	TLS TLS `yaml:"tls"`
	// TrustedProxies are the addresses or networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// Management is the listener for operators.
	Management Management `yaml:"management"`
	// AllowedHosts are further values of the Host header that are answered, as host or host:port. The issuer's is always allowed,
	// any other gets 421.
	AllowedHosts []string `yaml:"allowed_hosts"`
}

// TLS names two PEM files, both or neither. They are read again at a reload.
type TLS struct {
	// CertFile is the certificate with its chain.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the private key.
	KeyFile string `yaml:"key_file"`
}

// Management is the listener for operators: health, readiness, metrics and profiles, without TLS and without sign-in.
type Management struct {
	// Listen is host:port; "" turns it off. Keep it on loopback or in a private network.
	Listen string `yaml:"listen"`
}

// Database is where everything is kept.
type Database struct {
	// URL is sqlite:PATH or postgres://user:password@host/name?options. A relative path is relative to the working directory.
	URL DSN `yaml:"url"`
	// URLFile is a file that holds the URL instead.
	URLFile string `yaml:"url_file"`
	// Readers is how many connections read at once; 0 = chosen by Latchkey.
	Readers int `yaml:"readers"`
}

// Secrets are the keys that protect what is secret in the database. They are never kept in it: back them up apart.
type Secrets struct {
	// MasterKeys are 32 random bytes each in base64 or hex (openssl rand -base64 32), newest first: the first seals, all open.
	// Required in production. In development with SQLite one is generated beside the database.
	MasterKeys []Secret `yaml:"master_keys"`
	// MasterKeysFile is a file that holds them instead, one a line.
	MasterKeysFile string `yaml:"master_keys_file"`
}

// Keys is how signing keys rotate.
type Keys struct {
	// Period is how long a key signs, 1d to 3650d.
	Period time.Duration `yaml:"period"`
	// PublishAhead is how long the next key is in the JWKS before it signs, at least 1h and less than half the period: applications
	// cache the JWKS for as long as a day.
	PublishAhead time.Duration `yaml:"publish_ahead"`
}

// Login is how people sign in.
type Login struct {
	// Password is sign-in with a password.
	Password Password `yaml:"password"`
	// Phone is sign-in with a code by SMS.
	Phone Phone `yaml:"phone"`
	// EmailCode is sign-in with a code that goes to the account's address.
	EmailCode EmailCode `yaml:"email_code"`
	// Registration is what becomes of somebody new who comes through neither a connector nor an invitation: open (an account as soon as they proved
	// their address), approval (one that waits for an administrator), invite or closed. Open and approval need the block mail.
	Registration string `yaml:"registration"`
	// Domains are those of which somebody new must have an address; [] = any.
	Domains []string `yaml:"domains"`
}

// EmailCode is sign-in with a code that goes to the account's address, which must have been proven before. It needs the block mail.
type EmailCode struct {
	// Enabled true takes such codes.
	Enabled bool `yaml:"enabled"`
}

// Password is how passwords are hashed (argon2id) and what a new one must look like. Hashes made with other values go on
// working and are made anew at the next sign-in.
type Password struct {
	// Enabled false refuses passwords and every page that sets one; the next start ends the sessions and tokens of who came by one.
	Enabled bool `yaml:"enabled"`
	// MemoryKiB is the memory of one hash in KiB, at most 1048576. As many hashes as there are CPUs run at once.
	MemoryKiB int `yaml:"memory_kib"`
	// Time is the number of passes over it, 1 to 20.
	Time int `yaml:"time"`
	// Threads is the number of threads of one hash, 1 to 16.
	Threads int `yaml:"threads"`
	// MinLength is the least number of characters of a new password, 8 to 64 (NIST SP 800-63B-4 asks for 15 where a password is
	// all that is asked for).
	MinLength int `yaml:"min_length"`
	// Lowercase, and the three below it, are how many characters of a kind a new password needs, 0 to 8. They make passwords no better (NIST SP 800-63B-4
	// §3.1.1.2 forbids them); they are for those who are told to ask for them.
	Lowercase int `yaml:"lowercase"`
	// Uppercase are capital letters.
	Uppercase int `yaml:"uppercase"`
	// Digits are digits of any script.
	Digits int `yaml:"digits"`
	// Punctuation is whatever is none of these.
	Punctuation int `yaml:"punctuation"`
	// BreachURL is asked whether a new password is known from a breach, with the first five digits of its SHA-1 after it (k-anonymity; the API of Have I
	// Been Pwned: https://api.pwnedpasswords.com/range/). It learns no password, and when it does not answer, nobody is kept from one. Empty = not asked.
	BreachURL string `yaml:"breach_url"`
}

// Privilege is a named role in tokens, defined by the file.
type Privilege struct {
	// Label is what people read, at most 100 characters; empty = the name.
	Label string `yaml:"label"`
	// Description says what it is for, at most 500 characters.
	Description string `yaml:"description"`
	// Includes are the privileges that come with it.
	Includes []string `yaml:"includes"`
	// Requestable lets people ask for it on their account page; whoever could give it decides. Not for cron, nor for what brings admin.
	Requestable bool `yaml:"requestable"`
	// Texts are label and description in other languages.
	Texts map[string]Text `yaml:"texts"`
}

// Text is what a privilege is called in a language.
type Text struct {
	// Label is what people read; empty = the one above.
	Label string `yaml:"label"`
	// Description says what it is for; empty = the one above.
	Description string `yaml:"description"`
}

// Invites is inviting people to make an account. What one brings, and who may send it, is a question of privileges.
type Invites struct {
	// Lifetime is how long a link is good unless who invites says otherwise, at most 30d.
	Lifetime time.Duration `yaml:"lifetime"`
	// TwoApprovals are privileges: what brings one of them is sent when two people who could give it, and did not propose it, have approved.
	TwoApprovals []string `yaml:"two_approvals"`
}

// Accounts is what becomes of accounts by themselves.
type Accounts struct {
	// Idle is the removal of accounts that nobody uses.
	Idle IdleAccounts `yaml:"idle"`
	// OwnDeletion lets people delete their own accounts.
	OwnDeletion bool `yaml:"own_deletion"`
	// DeletionGrace is how long they may take it back by signing in, up to 90d; nothing of the account can be used meanwhile. 0s = it goes at once.
	DeletionGrace time.Duration `yaml:"deletion_grace"`
}

// IdleAccounts is the removal of accounts that nobody uses: after a warning by mail, and not of anybody with power over others, who is
// disabled, or who has no proven address to warn. Needs the block mail.
type IdleAccounts struct {
	// RemoveAfter is how long an account is not used before it is removed, at least 30d; 0s = never. A sign-in, a session in use and a token an
	// application got are use.
	RemoveAfter time.Duration `yaml:"remove_after"`
	// WarnBefore is how long before that the person is warned, 7d to half of remove_after. It begins when the mail was sent.
	WarnBefore time.Duration `yaml:"warn_before"`
	// Privileges are what people may hold, beside user, and still be removed. Whoever holds anything else is not.
	Privileges []string `yaml:"privileges"`
}

// Sessions is how long a sign-in at Latchkey itself lasts. Those that begin after a change have the new lengths.
type Sessions struct {
	// Idle ends a session that is not used for so long.
	Idle time.Duration `yaml:"idle"`
	// Absolute ends a session however much it is used.
	Absolute time.Duration `yaml:"absolute"`
	// RememberIdle is idle for people who chose “keep me signed in”.
	RememberIdle time.Duration `yaml:"remember_idle"`
	// RememberAbsolute is absolute for them.
	RememberAbsolute time.Duration `yaml:"remember_absolute"`
}

// Logout is how applications hear that a sign-in ended.
type Logout struct {
	// InnerAddresses lets backchannel_logout_uri name addresses that are not public, any port, and plain http. In development they may anyway.
	InnerAddresses bool `yaml:"inner_addresses"`
}

// Tokens is how long codes and tokens live.
type Tokens struct {
	// CodeTTL is the life of an authorization code, at most 60s.
	CodeTTL time.Duration `yaml:"code_ttl"`
	// AccessTTL is the life of an access token, at most 10m: what an application is not told earlier, it learns then.
	AccessTTL time.Duration `yaml:"access_ttl"`
	// IDTTL is the life of an ID token, at most 1h.
	IDTTL time.Duration `yaml:"id_ttl"`
	// RefreshIdle ends a refresh token that is not used for so long.
	RefreshIdle time.Duration `yaml:"refresh_idle"`
	// RefreshAbsolute ends it however much it is used.
	RefreshAbsolute time.Duration `yaml:"refresh_absolute"`
	// RefreshGrace is how long the refresh token before the current one still yields the same successor, for applications that
	// lost an answer; at most 5m, 0s = never.
	RefreshGrace time.Duration `yaml:"refresh_grace"`
}

// Limits bound what one peer can use up.
type Limits struct {
	// MaxBody is the largest request body, 4KiB to 1MiB. A larger one gets 413. The page that takes pasted claims of administrators takes 256KiB.
	MaxBody Bytes `yaml:"max_body"`
	// MaxConnections is how many connections the public listener holds open at once, at least 100.
	MaxConnections int `yaml:"max_connections"`
	// Login slows down whoever guesses passwords.
	Login LoginLimits `yaml:"login"`
}

// LoginLimits slow down whoever guesses passwords, per account and network address.
type LoginLimits struct {
	// DelayAfter is the failure from which on each further try must wait longer, 1 to 100.
	DelayAfter int `yaml:"delay_after"`
	// LockAfter is the failure from which on tries are refused for lock_for, more than delay_after, at most 100.
	LockAfter int `yaml:"lock_after"`
	// LockFor is how long, 1m to 1d. No lock is permanent, or anybody could lock out anybody.
	LockFor time.Duration `yaml:"lock_for"`
}

// Audit is how long events are kept.
type Audit struct {
	// EventRetention is how long sign-ins, failures and sign-outs are kept, at least 1d.
	EventRetention time.Duration `yaml:"event_retention"`
}

// Metrics are Prometheus metrics.
type Metrics struct {
	// Enabled serves them at /metrics of the management listener.
	Enabled bool `yaml:"enabled"`
}

// Log is what is written to standard error.
type Log struct {
	// Format is json or text.
	Format string `yaml:"format"`
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
}
