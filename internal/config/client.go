package config

import "time"

// Client is an application registered by the file. Names are those of RFC 7591 where it has one.
type Client struct {
	// ID is the client_id: 1 to 100 of letters, digits and . _ - with a letter or digit first.
	ID string `yaml:"client_id"`
	// Secret authenticates a confidential client: at least 32 characters, better made with openssl rand -base64 32. Only its
	// SHA-256 is ever stored.
	Secret Secret `yaml:"client_secret"`
	// SecretFile is a file that holds the secret instead.
	SecretFile string `yaml:"client_secret_file"`
	// SecretHash is the SHA-256 of the secret in lower-case hex instead, so that the secret itself need not be here.
	SecretHash string `yaml:"client_secret_hash"`
	// Disabled refuses the client everything; its tokens stop working at once.
	Disabled bool `yaml:"disabled"`

	// Name is what people read on the sign-in and consent pages, at most 100 characters; empty = the client_id.
	Name string `yaml:"client_name"`
	// RedirectURIs are where people may be sent back to, compared character by character. https, or http on localhost; a native
	// client may use a scheme of its own that contains a dot, and any port on 127.0.0.1 or [::1].
	RedirectURIs []string `yaml:"redirect_uris"`
	// PostLogoutRedirectURIs are where people may be sent after signing out, compared in the same way.
	PostLogoutRedirectURIs []string `yaml:"post_logout_redirect_uris"`
	// GrantTypes are what it may do at the token endpoint: authorization_code, refresh_token, client_credentials.
	GrantTypes []string `yaml:"grant_types"`
	// ResponseTypes can be code.
	ResponseTypes []string `yaml:"response_types"`
	// Scope is what it may ask for, separated by spaces: openid profile email phone address privileges offline_access, and scopes
	// of its own resources.
	Scope string `yaml:"scope"`
	// TokenEndpointAuth is how it proves itself: client_secret_basic, client_secret_post, client_secret_jwt (signed with the secret, which is then
	// kept sealed instead of as a hash only), private_key_jwt (signed with a key of its own), or none for a public client (an application in a
	// browser or on a phone, which can keep no secret).
	TokenEndpointAuth string `yaml:"token_endpoint_auth_method"`
	// TokenEndpointAuthAlg is the one algorithm it may sign that with: RS256, ES256, PS256 or EdDSA for private_key_jwt, HS256 for client_secret_jwt;
	// empty = any of them.
	TokenEndpointAuthAlg string `yaml:"token_endpoint_auth_signing_alg"`
	// JWKS are its public keys, a JWKS as text.
	JWKS string `yaml:"jwks"`
	// JWKSURI is where its public keys are instead: https, at a public address.
	JWKSURI string `yaml:"jwks_uri"`
	// RequestObjectAlg lets it sign its authorization requests, with this algorithm: RS256, ES256, PS256 or EdDSA; empty = it sends plain ones only.
	RequestObjectAlg string `yaml:"request_object_signing_alg"`
	// RequestURIs are where such requests may lie, compared character by character: https, at public addresses.
	RequestURIs []string `yaml:"request_uris"`
	// RequireRequestObject refuses its plain requests.
	RequireRequestObject bool `yaml:"require_signed_request_object"`
	// ApplicationType is web or native.
	ApplicationType string `yaml:"application_type"`
	// ClientURI is its home page, LogoURI its picture, PolicyURI and TOSURI its privacy policy and terms; https addresses.
	ClientURI string `yaml:"client_uri"`
	LogoURI   string `yaml:"logo_uri"`
	PolicyURI string `yaml:"policy_uri"`
	TOSURI    string `yaml:"tos_uri"`
	// Contacts are mail addresses of the people who look after it.
	Contacts []string `yaml:"contacts"`
	// DefaultMaxAge makes people sign in again whose sign-in is older than so many seconds; leave it out for no limit.
	DefaultMaxAge *int64 `yaml:"default_max_age"`
	// IDTokenAlg signs its ID tokens: RS256, ES256, PS256 or EdDSA.
	IDTokenAlg string `yaml:"id_token_signed_response_alg"`
	// UserinfoAlg signs what userinfo answers it, with the same choice; empty = plain JSON.
	UserinfoAlg string `yaml:"userinfo_signed_response_alg"`
	// AccessTokenAlg signs its access tokens, with the same choice.
	AccessTokenAlg string `yaml:"access_token_signed_response_alg"`
	// AccessTokenFormat is jwt, which an API can check by itself, or opaque, which it must ask Latchkey about.
	AccessTokenFormat string `yaml:"access_token_format"`
	// AccessTokenTTL shortens the life of its access tokens in full seconds; 0s = tokens.access_ttl.
	AccessTokenTTL time.Duration `yaml:"access_token_ttl"`
	// RefreshRotation is auto (a public client gets a new refresh token at each use), always or never.
	RefreshRotation string `yaml:"refresh_rotation"`
	// RefreshTokens is offline (issued with the scope offline_access, outliving the sign-in) or session (issued without it, ended
	// with the sign-in).
	RefreshTokens string `yaml:"refresh_tokens"`
	// RequirePKCE may be false for a confidential client with old software only.
	RequirePKCE bool `yaml:"require_pkce"`
	// FirstParty asks nobody for consent.
	FirstParty bool `yaml:"first_party"`
	// Resources are the audiences (URIs) it serves; the first is the one its tokens have when none is asked for.
	Resources []string `yaml:"resources"`
	// Introspect is own (tokens issued to it or naming its id), resources (and those meant for one of its resources) or any.
	Introspect string `yaml:"introspect"`
	// RequiredPrivileges is who may use it: [a, [b, c]] means a and (b or c); [] = everybody.
	RequiredPrivileges []any `yaml:"required_privileges"`
	// VisiblePrivileges are the privileges it is told about; [] = every general one and its own roles.
	VisiblePrivileges []string `yaml:"visible_privileges"`
	// PrivilegesClaim is another name for the claim privileges; dots nest: realm_access.roles.
	PrivilegesClaim string `yaml:"privileges_claim"`
	// PrivilegesFormat of that claim is array, or string: the names separated by spaces.
	PrivilegesFormat string `yaml:"privileges_format"`
	// PrivilegesStrip tells the client its own roles without its id: editor for crm:editor. A general privilege of the same name is then left out.
	PrivilegesStrip bool `yaml:"privileges_strip_prefix"`
	// DebugPermissions logs every check of required_privileges, for the actions of debug_permissions; in development only.
	DebugPermissions bool `yaml:"debug_permissions"`
	// Connectors are the ways to sign in that it takes, password among them; [] = all.
	Connectors []string `yaml:"connectors"`
	// DefaultConnector is where people are sent at once to sign in; empty = they choose, unless there is one way only.
	DefaultConnector string `yaml:"default_connector"`
	// Registration is what becomes of somebody new who comes for it: open, approval, invite or closed; the stricter of this and the connector's
	// counts, empty = the connector's.
	Registration string `yaml:"registration"`
	// RequireEmail asks people who have no address for one before they go on, and proves it by a code in a mail. It needs mail.
	RequireEmail bool `yaml:"require_email"`
	// RequireACR is how well people must show who they are: 2 (two factors), phr (a passkey) or phrh (one in hardware); empty = as their account demands.
	// Whoever can is asked for it, the others are refused.
	RequireACR string `yaml:"require_acr"`
	// AllowActAs takes people who act for others: tokens then speak of the person represented, and say in act who it really is.
	AllowActAs bool `yaml:"allow_act_as"`
	// AllowedCORSOrigins are the origins whose scripts may call the token and userinfo endpoints.
	AllowedCORSOrigins []string `yaml:"allowed_cors_origins"`

	// BackChannelLogoutURI is told of every session that ends in which people used it. https; http in development and with logout.inner_addresses.
	BackChannelLogoutURI string `yaml:"backchannel_logout_uri"`
	// BackChannelLogoutSession says that it knows sessions by their sid only.
	BackChannelLogoutSession bool `yaml:"backchannel_logout_session_required"`
	// FrontChannelLogoutURI is loaded by the browser of a person who signs out, in a frame. Its origin is one of redirect_uris.
	FrontChannelLogoutURI string `yaml:"frontchannel_logout_uri"`
	// FrontChannelLogoutSession says that it needs iss and sid there. They are sent anyway.
	FrontChannelLogoutSession bool `yaml:"frontchannel_logout_session_required"`
}
