package config

import "time"

// Default is the configuration without a file: development on this machine. The server listens on loopback, keeps everything in
// ./latchkey.db and its master key in latchkey.key beside it.
func Default() *Config {
	c := defaults()
	c.Environment = Development
	c.Issuer = developmentIssuer
	c.Log.Format = "text"
	return c
}

const developmentIssuer = "http://localhost:8080"

// defaults are what a file starts from. They are stated here and nowhere else.
func defaults() *Config {
	const day = 24 * time.Hour
	return &Config{
		Environment: Production,
		AppName:     "Latchkey",
		HTTP: HTTP{
			Listen:     "127.0.0.1:8080",
			Management: Management{Listen: "127.0.0.1:8082"},
		},
		Database: Database{URL: NewDSN("sqlite:./latchkey.db")},
		Keys:     Keys{Period: 90 * day, PublishAhead: 1 * day},
		Login: Login{Registration: "invite", Password: Password{
			Enabled:   true,
			MemoryKiB: 19456, Time: 2, Threads: 1, // OWASP's first choice
			MinLength: 12,
		}, Phone: defaultPhone()},
		MFA:      MFA{AllowApp: true},
		Passkeys: Passkeys{Enabled: true, Offer: true},
		Mail:     Mail{TLS: MailSTARTTLS, Timeout: 30 * time.Second},
		Invites:  Invites{Lifetime: 7 * day},
		Accounts: Accounts{Idle: IdleAccounts{WarnBefore: 30 * day}, OwnDeletion: true, DeletionGrace: 14 * day},
		Sessions: Sessions{Idle: 12 * time.Hour, Absolute: 7 * day, RememberIdle: 14 * day, RememberAbsolute: 30 * day},
		Tokens: Tokens{
			CodeTTL: time.Minute, AccessTTL: 10 * time.Minute, IDTTL: 10 * time.Minute,
			RefreshIdle: 30 * day, RefreshAbsolute: 180 * day, RefreshGrace: 30 * time.Second,
		},
		Limits: Limits{
			MaxBody: 64 << 10, MaxConnections: 10_000,
			Login: LoginLimits{DelayAfter: 5, LockAfter: 10, LockFor: 15 * time.Minute},
		},
		Audit:   Audit{EventRetention: 90 * day},
		Metrics: Metrics{Enabled: true},
		Log:     Log{Format: "json", Level: "info"},
	}
}

// clientDefaults are what an entry of clients starts from.
func clientDefaults() Client {
	return Client{
		GrantTypes:        []string{"authorization_code"},
		ResponseTypes:     []string{"code"},
		Scope:             "openid profile email",
		TokenEndpointAuth: "client_secret_basic",
		ApplicationType:   "web",
		IDTokenAlg:        "RS256",
		AccessTokenAlg:    "ES256",
		AccessTokenFormat: "jwt",
		RefreshRotation:   "auto",
		RefreshTokens:     "offline",
		RequirePKCE:       true,
		Introspect:        "own",
		PrivilegesClaim:   "privileges",
		PrivilegesFormat:  "array",
	}
}
