package server

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/store"
)

// level of the log.
func level(c *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return slog.LevelInfo // config.Load let nothing else through
	}
	return l
}

// insecure says whether browsers reach this server over plain http: development on one machine (config.Load refuses it elsewhere).
func insecure(c *config.Config) bool {
	u, err := url.Parse(c.Issuer)
	return err == nil && u.Scheme == "http"
}

// fileClient is a client as the configuration file has it, in the store's words.
type fileClient struct {
	id, secretHash string
	secret         string // itself, where the method computes with it
	disabled       bool
	meta           store.ClientMetadata
}

// fileClients translates the file's clients. What stands at its default is left out, so that the row says what the operator chose
// and a client of the file looks like the same one registered by hand.
func fileClients(c *config.Config) []fileClient {
	out := make([]fileClient, 0, len(c.Clients))
	for _, k := range c.Clients {
		f := fileClient{id: k.ID, disabled: k.Disabled, secretHash: k.SecretHash, meta: store.ClientMetadata{
			Name: k.Name, RedirectURIs: k.RedirectURIs, PostLogoutRedirectURIs: k.PostLogoutRedirectURIs, GrantTypes: k.GrantTypes,
			ResponseTypes: k.ResponseTypes, Scope: k.Scope, TokenEndpointAuth: k.TokenEndpointAuth, TokenEndpointAuthAlg: k.TokenEndpointAuthAlg, JWKSURI: k.JWKSURI,
			RequestObjectAlg: k.RequestObjectAlg, RequestURIs: k.RequestURIs, RequireRequestObject: k.RequireRequestObject, ApplicationType: k.ApplicationType,
			ClientURI: k.ClientURI, LogoURI: k.LogoURI, PolicyURI: k.PolicyURI, TOSURI: k.TOSURI, Contacts: k.Contacts,
			DefaultMaxAge: k.DefaultMaxAge, IDTokenAlg: k.IDTokenAlg, UserinfoAlg: k.UserinfoAlg, AccessTokenAlg: k.AccessTokenAlg, AccessTokenFormat: k.AccessTokenFormat,
			AccessTokenTTL: int64(k.AccessTokenTTL / time.Second), RefreshRotation: k.RefreshRotation, RefreshTokens: k.RefreshTokens,
			FirstParty: k.FirstParty, Resources: k.Resources, Introspect: k.Introspect, RequiredPrivileges: k.RequiredPrivileges,
			VisiblePrivileges: k.VisiblePrivileges, PrivilegesClaim: k.PrivilegesClaim, AllowedCORSOrigins: k.AllowedCORSOrigins,
			DebugPermissions: k.DebugPermissions,
			PrivilegesFormat: k.PrivilegesFormat, PrivilegesStrip: k.PrivilegesStrip,
			Connectors: k.Connectors, DefaultConnector: k.DefaultConnector, Registration: k.Registration, RequireEmail: k.RequireEmail,
			AllowActAs: k.AllowActAs, RequireACR: k.RequireACR,
			BackChannelLogoutURI: k.BackChannelLogoutURI, BackChannelLogoutSession: k.BackChannelLogoutSession,
			FrontChannelLogoutURI: k.FrontChannelLogoutURI, FrontChannelLogoutSession: k.FrontChannelLogoutSession,
		}}
		if s := k.Secret.Reveal(); s != "" {
			f.secretHash, f.secret = hashSecret(s), s
		}
		if k.JWKS != "" {
			f.meta.JWKS = json.RawMessage(k.JWKS)
		}
		if !k.RequirePKCE {
			f.meta.RequirePKCE = new(bool)
		}
		if f.meta.Introspect == "own" {
			f.meta.Introspect = ""
		}
		if f.meta.PrivilegesFormat == "array" {
			f.meta.PrivilegesFormat = ""
		}
		if f.meta.PrivilegesClaim == "privileges" {
			f.meta.PrivilegesClaim = ""
		}
		out = append(out, f)
	}
	return out
}
