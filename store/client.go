package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Client is an application registered with Latchkey. Field names of Metadata are those of RFC 7591 where it has one.
type Client struct {
	ID             string         `db:"id"`
	Source         string         `db:"source"` // "config" (the file is the truth) or "admin"
	SecretHash     string         `db:"secret_hash"`
	PrevSecretHash string         `db:"prev_secret_hash"` // still accepted until PrevUntil
	PrevUntil      Time           `db:"prev_until"`
	Metadata       ClientMetadata `db:"metadata"`
	Version        int64          `db:"version"`
	CreatedAt      Time           `db:"created_at"`
	UpdatedAt      Time           `db:"updated_at"`
	DisabledAt     Time           `db:"disabled_at"`
	// SecretSealed is the secret itself, for clients with client_secret_jwt only; sealed by the caller, bound to the row. "" = nobody needs it.
	SecretSealed     string `db:"secret_sealed"`
	PrevSecretSealed string `db:"prev_secret_sealed"`
}

// ClientMetadata is kept as TEXT JSON.
type ClientMetadata struct {
	Name                   string   `json:"client_name,omitempty" yaml:"client_name"`
	RedirectURIs           []string `json:"redirect_uris,omitempty" yaml:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty" yaml:"post_logout_redirect_uris"`
	GrantTypes             []string `json:"grant_types,omitempty" yaml:"grant_types"`                               // default [authorization_code]
	ResponseTypes          []string `json:"response_types,omitempty" yaml:"response_types"`                         // default [code]; only code exists today
	Scope                  string   `json:"scope,omitempty" yaml:"scope"`                                           // space separated; default: openid profile email
	TokenEndpointAuth      string   `json:"token_endpoint_auth_method,omitempty" yaml:"token_endpoint_auth_method"` // client_secret_basic (default), client_secret_post, client_secret_jwt, private_key_jwt, none
	ApplicationType        string   `json:"application_type,omitempty" yaml:"application_type"`                     // web (default) or native: loopback ports may float
	ClientURI              string   `json:"client_uri,omitempty" yaml:"client_uri"`
	LogoURI                string   `json:"logo_uri,omitempty" yaml:"logo_uri"`
	PolicyURI              string   `json:"policy_uri,omitempty" yaml:"policy_uri"`
	TOSURI                 string   `json:"tos_uri,omitempty" yaml:"tos_uri"`
	Contacts               []string `json:"contacts,omitempty" yaml:"contacts"`
	DefaultMaxAge          *int64   `json:"default_max_age,omitempty" yaml:"default_max_age"` // seconds
	IDTokenAlg             string   `json:"id_token_signed_response_alg,omitempty" yaml:"id_token_signed_response_alg"`
	AccessTokenAlg         string   `json:"access_token_signed_response_alg,omitempty" yaml:"access_token_signed_response_alg"`
	AccessTokenFormat      string   `json:"access_token_format,omitempty" yaml:"access_token_format"`         // jwt (default) or opaque
	AccessTokenTTL         int64    `json:"access_token_ttl,omitempty" yaml:"access_token_ttl"`               // seconds; 0 = the server's, never more than it
	RefreshRotation        string   `json:"refresh_rotation,omitempty" yaml:"refresh_rotation"`               // auto (default) always never
	RefreshTokens          string   `json:"refresh_tokens,omitempty" yaml:"refresh_tokens"`                   // offline (default: needs offline_access) or session
	RequirePKCE            *bool    `json:"require_pkce,omitempty" yaml:"require_pkce"`                       // nil = true
	FirstParty             bool     `json:"first_party,omitempty" yaml:"first_party"`                         // no consent page
	Resources              []string `json:"resources,omitempty" yaml:"resources"`                             // audiences it serves; the first is its default
	Introspect             string   `json:"introspect,omitempty" yaml:"introspect"`                           // "" = tokens issued to it or naming it, "resources" = and those for its resources, "any"
	RequiredPrivileges     []any    `json:"required_privileges,omitempty" yaml:"required_privileges"`         // [a, [b, c]] = a AND (b OR c)
	VisiblePrivileges      []string `json:"visible_privileges,omitempty" yaml:"visible_privileges"`           // empty = every general one and the client's own roles
	PrivilegesClaim        string   `json:"privileges_claim,omitempty" yaml:"privileges_claim"`               // another name, dots nest: realm_access.roles
	PrivilegesFormat       string   `json:"privileges_format,omitempty" yaml:"privileges_format"`             // array (default) or string: separated by spaces
	PrivilegesStrip        bool     `json:"privileges_strip_prefix,omitempty" yaml:"privileges_strip_prefix"` // its own roles without client_id:
	DebugPermissions       bool     `json:"debug_permissions,omitempty" yaml:"debug_permissions"`             // log each check of its requirement, for actions that are flagged too; never in production
	AllowedCORSOrigins     []string `json:"allowed_cors_origins,omitempty" yaml:"allowed_cors_origins"`
	Connectors             []string `json:"connectors,omitempty" yaml:"connectors"`               // ways to sign in it takes, "password" among them; empty = all
	DefaultConnector       string   `json:"default_connector,omitempty" yaml:"default_connector"` // people go there without being asked; "" = they choose, unless there is one way only
	Registration           string   `json:"registration,omitempty" yaml:"registration"`           // of new people who come for it: open approval invite closed; the stricter of it and the connector's counts
	RequireACR             string   `json:"require_acr,omitempty" yaml:"require_acr"`             // 2 phr phrh: how well people must show who they are; "" = as their account demands
	AllowActAs             bool     `json:"allow_act_as,omitempty" yaml:"allow_act_as"`           // takes people who act for others: its tokens may have the claim act
	RequireEmail           bool     `json:"require_email,omitempty" yaml:"require_email"`         // people without an address are asked for one, and prove it by mail

	BackChannelLogoutURI      string `json:"backchannel_logout_uri,omitempty" yaml:"backchannel_logout_uri"`                           // told of ended sessions
	BackChannelLogoutSession  bool   `json:"backchannel_logout_session_required,omitempty" yaml:"backchannel_logout_session_required"` // by their sid only
	FrontChannelLogoutURI     string `json:"frontchannel_logout_uri,omitempty" yaml:"frontchannel_logout_uri"`                         // loaded by the browser at a sign-out
	FrontChannelLogoutSession bool   `json:"frontchannel_logout_session_required,omitempty" yaml:"frontchannel_logout_session_required"`

	JWKS                 json.RawMessage `json:"jwks,omitempty" yaml:"jwks"`                                                       // its public keys (RFC 7517)
	JWKSURI              string          `json:"jwks_uri,omitempty" yaml:"jwks_uri"`                                               // where they are instead
	TokenEndpointAuthAlg string          `json:"token_endpoint_auth_signing_alg,omitempty" yaml:"token_endpoint_auth_signing_alg"` // of its assertions; "" = any that the method allows
	RequestObjectAlg     string          `json:"request_object_signing_alg,omitempty" yaml:"request_object_signing_alg"`           // of the requests it signs; "" = it signs none
	RequestURIs          []string        `json:"request_uris,omitempty" yaml:"request_uris"`                                       // where such requests may lie
	RequireRequestObject bool            `json:"require_signed_request_object,omitempty" yaml:"require_signed_request_object"`     // takes no request that it did not sign
	UserinfoAlg          string          `json:"userinfo_signed_response_alg,omitempty" yaml:"userinfo_signed_response_alg"`       // "" = plain JSON
}

// Value implements driver.Valuer.
func (m ClientMetadata) Value() (driver.Value, error) {
	b, err := json.Marshal(m)
	return string(b), err
}

// Scan implements sql.Scanner.
func (m *ClientMetadata) Scan(v any) error { return scanJSON(v, m) }

const clientColumns = "id, source, secret_hash, prev_secret_hash, prev_until, metadata, version, created_at, updated_at, disabled_at, secret_sealed, prev_secret_sealed"

var insertClient = insertInto("clients", clientColumns)

// CreateClient registers an application. It fills ID when empty, times and version; ErrConflict when the id is taken.
func (s *Store) CreateClient(ctx context.Context, actor string, c *Client) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		next := *c
		if next.ID == "" {
			next.ID = newID()
		}
		now := At(s.now(ctx))
		next.CreatedAt, next.UpdatedAt, next.Version = now, now, 1
		if _, err := s.named(ctx, insertClient, &next); err != nil {
			return err
		}
		fill(ctx, s, c, next)
		if err := s.Audit(ctx, actor, "client.create", "client:"+c.ID, c.Metadata); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const updateClient = `UPDATE clients SET source = :source, metadata = :metadata, updated_at = :updated_at, version = version + 1
WHERE id = :id AND version = :version`

// UpdateClient writes source and metadata if the row still has c.Version, else ErrConflict. Secrets and state have methods of their own.
func (s *Store) UpdateClient(ctx context.Context, actor string, c *Client) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		next := *c
		next.UpdatedAt = At(s.now(ctx))
		n, err := s.named(ctx, updateClient, &next)
		if err := changed(n, err, fmt.Errorf("store: client %s: changed since it was read: %w", c.ID, ErrConflict)); err != nil {
			return err
		}
		next.Version++
		fill(ctx, s, c, next)
		if err := s.Audit(ctx, actor, "client.update", "client:"+c.ID, c.Metadata); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const clientByID = `SELECT ` + clientColumns + ` FROM clients WHERE id = ?`

// Client reads straight from the database.
func (s *Store) Client(ctx context.Context, id string) (*Client, error) {
	return one[Client](ctx, s, "client", clientByID, id)
}

const clients = `SELECT ` + clientColumns + ` FROM clients WHERE id > ? ORDER BY id LIMIT ?`

// Clients returns up to n with ids above after, in the order of ids.
func (s *Store) Clients(ctx context.Context, after string, n int) ([]Client, error) {
	return many[Client](ctx, s, clients, after, n)
}

const (
	deleteClient         = `DELETE FROM clients WHERE id = ?`
	deleteClientConsents = `DELETE FROM consents WHERE client_id = ?`
	deleteClientFlows    = `DELETE FROM flows WHERE client_id = ?`
	deleteClientPending  = `DELETE FROM pending WHERE client_id = ?`
	revokeClientGrants   = `UPDATE grants SET revoked_at = ?, revoke_reason = 'client removed' WHERE client_id = ? AND revoked_at IS NULL`
	endClientRoles       = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE ended_at IS NULL
  AND privilege IN (SELECT name FROM privileges WHERE client_id = ?)`
	endClientIncludes = `UPDATE privilege_includes SET ended_at = ?, ended_by = ? WHERE ended_at IS NULL
  AND (parent IN (SELECT name FROM privileges WHERE client_id = ?) OR child IN (SELECT name FROM privileges WHERE client_id = ?))`
	deleteClientRoles = `UPDATE privileges SET deleted_at = ?, updated_at = ? WHERE client_id = ? AND deleted_at IS NULL`
)

// RemoveClient deletes an application: its grants are revoked, its consents, flows and waiting requests gone, authorities for it alone ended, its own roles deleted and
// no longer held.
func (s *Store) RemoveClient(ctx context.Context, actor, id string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			now := At(s.now(ctx))
			for _, st := range []struct {
				query string
				args  []any
			}{
				{revokeClientGrants, []any{now, id}},
				{deleteClientConsents, []any{id}},
				{deleteClientFlows, []any{id}},
				{deleteClientPending, []any{id}},
				{endAuthoritiesClient, []any{now, actor, id}},
				{endClientRoles, []any{now, actor, id}},
				{endClientIncludes, []any{now, actor, id, id}},
				{deleteClientRoles, []any{now, now, id}},
			} {
				if _, err := s.exec(ctx, st.query, st.args...); err != nil {
					return err
				}
			}
			n, err := s.exec(ctx, deleteClient, id)
			if err := changed(n, err, fmt.Errorf("store: client: %w", ErrNotFound)); err != nil {
				return err
			}
			if err := s.Audit(ctx, actor, "client.remove", "client:"+id, nil); err != nil {
				return err
			}
			return s.changed(ctx)
		})
	})
}

const (
	rotateSecret = `UPDATE clients SET prev_secret_hash = secret_hash, prev_secret_sealed = secret_sealed, prev_until = ?, secret_hash = ?, secret_sealed = ?,
  updated_at = ?, version = version + 1 WHERE id = ?`
	newSecret = `UPDATE clients SET prev_secret_hash = '', prev_secret_sealed = '', prev_until = NULL, secret_hash = ?, secret_sealed = ?,
  updated_at = ?, version = version + 1 WHERE id = ?`
)

// ClientSecret is what is kept of a secret: its hash, and the sealed secret where the client's authentication method computes with it.
type ClientSecret struct{ Hash, Sealed string }

// RotateClientSecret sets a new secret; the old one goes on for keepOld, 0 = ends at once.
func (s *Store) RotateClientSecret(ctx context.Context, actor, id string, next ClientSecret, keepOld time.Duration) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := s.now(ctx)
		var n int64
		var err error
		if keepOld > 0 {
			n, err = s.exec(ctx, rotateSecret, At(now.Add(keepOld)), next.Hash, next.Sealed, At(now), id)
		} else {
			n, err = s.exec(ctx, newSecret, next.Hash, next.Sealed, At(now), id)
		}
		if err := changed(n, err, fmt.Errorf("store: client: %w", ErrNotFound)); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "client.rotate_secret", "client:"+id, map[string]string{"old_secret_kept": keepOld.String()}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}

const (
	sealedClients      = `SELECT ` + clientColumns + ` FROM clients WHERE secret_sealed <> '' OR prev_secret_sealed <> '' ORDER BY id`
	resealClientSecret = `UPDATE clients SET secret_sealed = ?, prev_secret_sealed = ?, version = version + 1
WHERE id = ? AND secret_sealed = ? AND prev_secret_sealed = ?`
)

// ResealClientSecrets seals every kept secret anew, under a new master key; n is how many clients that changed. Audited, and all or none. A secret that
// was rotated meanwhile is under the new key already.
func (s *Store) ResealClientSecrets(ctx context.Context, actor string, reseal func(id, sealed string) (string, error)) (n int, err error) {
	err = s.Tx(ctx, func(ctx context.Context) error {
		n = 0
		list, err := many[Client](ctx, s, sealedClients)
		if err != nil {
			return err
		}
		for _, c := range list {
			var next [2]string
			for i, sealed := range []string{c.SecretSealed, c.PrevSecretSealed} {
				if sealed == "" {
					continue
				}
				if next[i], err = reseal(c.ID, sealed); err != nil {
					return err
				}
			}
			if next == [2]string{c.SecretSealed, c.PrevSecretSealed} {
				continue
			}
			changed, err := s.exec(ctx, resealClientSecret, next[0], next[1], c.ID, c.SecretSealed, c.PrevSecretSealed)
			if err != nil {
				return err
			}
			n += int(changed)
		}
		if n == 0 {
			return nil
		}
		if err := s.Audit(ctx, actor, "client.reseal_secrets", "clients", map[string]int{"sealed": n}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
	return n, err
}

const setClientDisabled = `UPDATE clients SET disabled_at = ?, updated_at = ?, version = version + 1 WHERE id = ?`

// SetClientDisabled refuses an application everything, or admits it again; its grants are not touched.
func (s *Store) SetClientDisabled(ctx context.Context, actor, id string, disabled bool) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		at, action := Time{}, "client.enable"
		if disabled {
			at, action = now, "client.disable"
		}
		n, err := s.exec(ctx, setClientDisabled, at, now, id)
		if err := changed(n, err, fmt.Errorf("store: client: %w", ErrNotFound)); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, action, "client:"+id, nil); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}
