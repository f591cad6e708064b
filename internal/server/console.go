package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Errors of Console's keys that the command line has words of its own for.
var (
	ErrNextKeyWaits = provider.ErrNextKeyWaits
	ErrNoSuchKey    = provider.ErrNoSuchKey
)

// Console is what the command line works with: the database and the keys of the server, without the server. It may be open while
// any number of servers run on the same database.
type Console struct {
	Store *store.Store
	*rights.Desk

	cfg    *config.Config
	master provider.MasterKeys
	now    func() time.Time
	log    *slog.Logger
}

// AwaitingApproval is store.User.DisabledReason of somebody new who waits for an administrator (latchkey user enable).
const AwaitingApproval = login.AwaitingApproval

// Connectors are the ids of those that are configured and switched on.
func (c *Console) Connectors() (ids []string) {
	for _, k := range c.cfg.Connectors {
		if k.Enabled {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// WaysIn are all ways to sign in that are switched on.
func (c *Console) WaysIn() (list []string) {
	if c.cfg.Login.Password.Enabled {
		list = append(list, store.CredPassword)
	}
	if c.cfg.Login.EmailCode.Enabled {
		list = append(list, store.WayEmailCode)
	}
	if c.cfg.Login.Phone.Enabled {
		list = append(list, store.WayPhone)
	}
	if c.cfg.PasskeysOn() {
		list = append(list, store.WayPasskey)
	}
	return append(list, c.Connectors()...)
}

// ErrOldSchema: the database has to be migrated first.
var ErrOldSchema = errors.New("the database is from an older version; run latchkey migrate")

// OpenConsole opens the database of cfg. An empty one is set up as the server would; one of an older version is refused, because the
// server that runs on it may be the older version too. Problems are logged to w.
func OpenConsole(ctx context.Context, cfg *config.Config, w io.Writer) (*Console, error) {
	c, err := openConsole(ctx, cfg, w)
	if err != nil {
		return nil, err
	}
	have, want, err := c.Store.SchemaVersion(ctx)
	switch {
	case err != nil:
	case have > want:
		err = newerSchema(have, want)
	case have == 0:
		err = c.Store.Migrate(ctx)
	case have < want:
		err = ErrOldSchema
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// OpenForMigration is OpenConsole for latchkey migrate: it takes any schema.
func OpenForMigration(ctx context.Context, cfg *config.Config, w io.Writer) (*Console, error) {
	return openConsole(ctx, cfg, w)
}

func openConsole(ctx context.Context, cfg *config.Config, w io.Writer) (*Console, error) {
	c := &Console{cfg: cfg, now: time.Now, log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	var err error
	if c.master, err = masterKeys(cfg); err != nil {
		return nil, err
	}
	if c.Store, err = openStore(ctx, cfg, c.log, c.now); err != nil {
		return nil, err
	}
	c.Desk = &rights.Desk{Store: c.Store, File: func() *config.Config { return cfg }}
	return c, nil
}

// Close closes the database.
func (c *Console) Close() error { return c.Store.Close() }

// Now is the clock.
func (c *Console) Now() time.Time { return c.now() }

// Issuer of the server whose data this is.
func (c *Console) Issuer() string { return c.cfg.Issuer }

// Keys are the server's signing keys, loaded.
func (c *Console) Keys(ctx context.Context) (*provider.KeySet, error) {
	k, err := newKeys(c.cfg, c.Store, c.master, c.log, c.now)
	if err != nil {
		return nil, err
	}
	return k, k.Ensure(ctx)
}

// KeyState of a key at now, in one word: planned, next, active, retired.
func KeyState(k store.SigningKey, now time.Time) string { return provider.State(k, now) }

// HashPassword checks a new password against the server's rules and hashes it; own are the person's names and addresses.
func (c *Console) HashPassword(ctx context.Context, pw string, own ...string) (phc string, err error) {
	h, err := newHasher(c.cfg, c.master, c.log)
	if err != nil {
		return "", err
	}
	if key, args := h.Check(ctx, pw, own...); key != "" {
		return "", errors.New(passwordProblem(key, args, c.cfg))
	}
	phc, err = h.Hash(ctx, pw)
	if errors.Is(err, password.ErrBusy) {
		return "", errors.New("this machine is too busy to hash a password; try again")
	}
	return phc, err
}

// passwordProblem says in a sentence what templates' catalogue says on a page.
func passwordProblem(key string, args map[string]any, cfg *config.Config) string {
	t, err := pages(cfg, false)
	if err != nil {
		return "the password is refused: " + key
	}
	return t.Text("en", key, args)
}

// CheckHash says in plain words why a hash that another program made cannot be taken, nil when it can.
func (c *Console) CheckHash(ctx context.Context, hash string) error {
	h, err := newHasher(c.cfg, c.master, c.log)
	if err != nil {
		return err
	}
	if err := h.Importable(ctx, hash); err != nil {
		return errors.New("this hash cannot be taken: it must be argon2id ($argon2id$v=19$…), bcrypt ($2b$…, cost 14 at most) or Django's pbkdf2_sha256 ($ between its parts, " +
			"1,000 to 2,500,000 iterations)")
	}
	return nil
}

// SetPassword gives an account a password on actor's word, and tells its owner by mail, as a change on a page does.
func (c *Console) SetPassword(ctx context.Context, actor string, u *store.User, phc string, mustChange bool) error {
	return c.Store.Tx(ctx, func(ctx context.Context) error {
		if err := c.Store.SetPassword(ctx, actor, u.ID, phc, mustChange, ""); err != nil {
			return err
		}
		if !c.cfg.Mail.On() || u.Email == "" || !u.Active(c.now()) {
			return nil
		}
		set, err := pages(c.cfg, false)
		if err != nil {
			return err
		}
		message, err := login.PasswordNotice(set, u, c.now(), c.cfg.Login.Password.Enabled)
		if err != nil {
			return err
		}
		return c.Store.Enqueue(ctx, message)
	})
}

// SetupLink makes a new one-time link through which an administrator is created; earlier unused ones die.
func (c *Console) SetupLink(ctx context.Context) (link string, expires time.Time, err error) {
	link, err = login.ReissueSetupLink(ctx, c.Store, c.cfg.Issuer, login.SetupTTL)
	return link, c.now().Add(login.SetupTTL), err
}

// NewClient registers an application and returns its secret, "" for one that has none. id "" makes one up. Only the secret's hash is kept, and for
// client_secret_jwt the secret sealed.
func (c *Console) NewClient(ctx context.Context, actor, id string, m store.ClientMetadata) (*store.Client, string, error) {
	if id == "" {
		id = newID()
	}
	known, err := c.Store.Definitions(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := CheckClient(id, m, known.Has); err != nil {
		return nil, "", err
	}
	all, err := allClients(ctx, c.Store)
	if err != nil {
		return nil, "", err
	}
	uris := map[string][]string{}
	for other, row := range all {
		uris[other] = row.Metadata.RedirectURIs
	}
	if err := sharedScheme(id, m.RedirectURIs, uris); err != nil {
		return nil, "", err
	}
	cl, secret := &store.Client{ID: id, Source: SourceAdmin, Metadata: m}, ""
	if provider.UsesSecret(m.TokenEndpointAuth) {
		secret = newSecret()
		kept := c.master.ClientSecret(id, m.TokenEndpointAuth, secret)
		cl.SecretHash, cl.SecretSealed = kept.Hash, kept.Sealed
	}
	err = c.Store.CreateClient(ctx, actor, cl)
	if errors.Is(err, store.ErrConflict) {
		return nil, "", fmt.Errorf("there is a client %q already", id)
	}
	return cl, secret, err
}

// RotateSecret gives a client a new secret; the one before works for keep.
func (c *Console) RotateSecret(ctx context.Context, actor string, cl *store.Client, keep time.Duration) (string, error) {
	secret := newSecret()
	return secret, c.Store.RotateClientSecret(ctx, actor, cl.ID, c.master.ClientSecret(cl.ID, cl.Metadata.TokenEndpointAuth, secret), keep)
}

// OldPeppers counts the passwords that need an older master key than the newest: until they are hashed anew, at their owners' next
// sign-in, that key must stay configured.
func (c *Console) OldPeppers(ctx context.Context) (n int, err error) {
	current := "keyid=" + pepperIDs(c.master)[0]
	for after := ""; ; {
		page, err := c.Store.Users(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return n, err
		}
		after = page[len(page)-1].ID
		for _, u := range page {
			cred, err := c.Store.Password(ctx, u.ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return n, err
			}
			if strings.Contains(cred.Secret, "keyid=") && !strings.Contains(cred.Secret, current) {
				n++
			}
		}
	}
}

// ClientKeyIDs are the ids of the public keys in a client's registration, "" for a key without one. The error is for people.
func ClientKeyIDs(c *store.Client) (ids []string, err error) {
	keys, err := provider.ClientKeys(c.Metadata.JWKS)
	for i := range keys {
		ids = append(ids, keys[i].KeyID)
	}
	return ids, err
}

// UsesSecret says whether a client authenticates with a secret.
func UsesSecret(c *store.Client) bool { return provider.UsesSecret(c.Metadata.TokenEndpointAuth) }
