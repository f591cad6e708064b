package config

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
)

// Connector is an upstream that people may sign in through. Its callback address is the issuer with /callback/ID. Which keys belong to
// which type, connectorKeys says; any other is an error.
type Connector struct {
	// ID is in the callback's path and in every link made through it, so choose it once: a small letter and at most 31 of a-z 0-9 _ -.
	ID string `yaml:"id"`
	// Type is google, azure, facebook, twitter, oidc (any OpenID Connect provider) or oauth2; it may be left out where the id is one of these.
	Type string `yaml:"type"`
	// Enabled false takes the way in away; the next start ends the sessions and tokens of who came by it.
	Enabled bool `yaml:"enabled"`
	// Label names it on its button, at most 40 characters; empty = the brand's name, or the id.
	Label string `yaml:"label"`
	// Icon of its button: google, microsoft, facebook, x, openid or key; empty = by type.
	Icon string `yaml:"icon"`

	// ClientID is what the upstream knows Latchkey by.
	ClientID string `yaml:"client_id"`
	// ClientSecret authenticates Latchkey there.
	ClientSecret Secret `yaml:"client_secret"`
	// ClientSecretFile is a file that holds it instead.
	ClientSecretFile string `yaml:"client_secret_file"`
	// ClientKeyFile is a PEM file with a private key instead of a secret, for private_key_jwt (RFC 7523): RSA of 2048 bits or more, or P-256. For
	// Entra the certificate stands in it too.
	ClientKeyFile string `yaml:"client_key_file"`
	// ClientKeyID is the key's id as registered there.
	ClientKeyID string `yaml:"client_key_id"`
	// ClientAuth is client_secret_basic, client_secret_post, private_key_jwt or none; empty = what the type does by itself.
	ClientAuth string `yaml:"token_endpoint_auth_method"`
	// Scopes replace those that are asked for by themselves.
	Scopes []string `yaml:"scopes"`
	// PKCE false is for an upstream that refuses it. It is never dropped by itself.
	PKCE bool `yaml:"pkce"`
	// Prompt is sent with every sign-in: login, select_account or consent.
	Prompt string `yaml:"prompt"`
	// ACRValues are sent with a sign-in for which the application asked for none.
	ACRValues []string `yaml:"acr_values"`
	// Params are further parameters of the authorization request.
	Params map[string]string `yaml:"params"`

	// Registration is what becomes of somebody new: open (an account at once), approval (one that waits for an administrator), invite (only with
	// an invitation) or closed.
	Registration string `yaml:"registration"`
	// Domains are those of which somebody new must have a proven address; [] = any.
	Domains []string `yaml:"domains"`
	// Link is what happens when somebody new has the proven address of an account: prove (they may prove that the account is theirs), verified
	// (joined at once where both sides proved it), authoritative (the same, but only where the upstream runs the mailbox) or never.
	Link string `yaml:"link"`
	// EmailTrust is how far addresses are believed, whatever the upstream says: reported, verified or authoritative; empty = as it says.
	EmailTrust string `yaml:"email_trust"`
	// TrustMFA takes the upstream's word (amr, acr) for a second factor. Only oidc: of the others none says anything.
	TrustMFA bool `yaml:"trust_mfa"`
	// AllowAdmins lets administrators in without such a word, and lets privileges below make some.
	AllowAdmins bool `yaml:"allow_admins"`
	// Privileges are given for as long as the upstream's claims say so, looked at anew at each sign-in.
	Privileges []ClaimRule `yaml:"privileges"`
	// Logout leads people who sign out here through the upstream's sign-out.
	Logout bool `yaml:"logout"`
	// RevokeOnUnlink keeps the upstream's access token, sealed, and gives it back when a person removes the connection.
	RevokeOnUnlink bool `yaml:"revoke_on_unlink"`

	// HostedDomains are the Google Workspace domains that may come in; [] = everybody.
	HostedDomains []string `yaml:"hosted_domains"`

	// Tenant is the Entra tenant's GUID or domain; or organizations, common (with allowed_tenants) or consumers.
	Tenant string `yaml:"tenant"`
	// AllowedTenants are the GUIDs that organizations and common let in; "*" is any organisation's, consumers are personal accounts.
	AllowedTenants []string `yaml:"allowed_tenants"`
	// TrustTenantEmail takes the addresses of a single tenant's members for verified.
	TrustTenantEmail bool `yaml:"trust_tenant_email"`
	// Authority is that of a national cloud; empty = https://login.microsoftonline.com.
	Authority string `yaml:"authority"`

	// GraphVersion is that of Facebook's Graph API; empty = the newest this release knows.
	GraphVersion string `yaml:"graph_version"`
	// ProfileFields are further fields of the Facebook profile, for the rules in privileges.
	ProfileFields []string `yaml:"profile_fields"`

	// Issuer is where /.well-known/openid-configuration lies, and the iss of ID Tokens.
	Issuer string `yaml:"issuer"`
	// IssuerAlias is the iss where a provider's tokens name another.
	IssuerAlias string `yaml:"issuer_alias"`
	// AuthorizationURL and the addresses below it replace what discovery says. oauth2 has no discovery and needs the first three.
	AuthorizationURL string `yaml:"authorization_url"`
	// TokenURL is the token endpoint.
	TokenURL string `yaml:"token_url"`
	// UserInfoURL is where the profile is.
	UserInfoURL string `yaml:"userinfo_url"`
	// JWKSURL is where the keys are.
	JWKSURL string `yaml:"jwks_url"`
	// EndSessionURL is the sign-out page.
	EndSessionURL string `yaml:"end_session_url"`
	// RevocationURL takes tokens back (RFC 7009).
	RevocationURL string `yaml:"revocation_url"`
	// WebURL is https://www.facebook.com, for tests.
	WebURL string `yaml:"web_url"`
	// APIURL is https://graph.facebook.com or https://api.x.com, for tests.
	APIURL string `yaml:"api_url"`
	// Algorithms are the signatures taken on ID Tokens; [] = every asymmetric one.
	Algorithms []string `yaml:"algorithms"`
	// UserInfo false takes the claims of the ID Token alone.
	UserInfo bool `yaml:"userinfo"`
	// SubjectClaim is what people are known by for good; empty = sub. It must never change and never pass to somebody else.
	SubjectClaim string `yaml:"subject_claim"`
	// Claims say where else the facts of a profile stand.
	Claims ClaimMap `yaml:"claims"`
	// EmailList is where the provider lists a person's addresses, if not in the profile.
	EmailList EmailList `yaml:"email_list"`
	// LenientBooleans takes "true", "1" and 1 for true.
	LenientBooleans bool `yaml:"lenient_booleans"`
	// AssumeEmailVerified takes every address for verified.
	AssumeEmailVerified bool `yaml:"assume_email_verified"`

	key *connectors.ClientKey // of ClientKeyFile
}

// ClaimRule gives a privilege to whom the upstream's claim names for it.
type ClaimRule struct {
	// Claim is its name; dots lead into objects: realm_access.roles.
	Claim string `yaml:"claim"`
	// Match is its exact value, or one of a list; "*" = any that is there.
	Match string `yaml:"match"`
	// Privilege is what follows.
	Privilege string `yaml:"privilege"`
}

// ClaimMap are the names of claims, dots lead into objects; empty = the standard name (OpenID Connect Core §5.1).
type ClaimMap struct {
	// Email holds the address.
	Email string `yaml:"email"`
	// EmailVerified says whether the provider checked it.
	EmailVerified string `yaml:"email_verified"`
	// Name is the full name.
	Name string `yaml:"name"`
	// GivenName is the first name.
	GivenName string `yaml:"given_name"`
	// FamilyName is the last name.
	FamilyName string `yaml:"family_name"`
	// Username is the user name.
	Username string `yaml:"username"`
	// Picture is the picture's address.
	Picture string `yaml:"picture"`
	// Locale is the language.
	Locale string `yaml:"locale"`
}

// EmailList is an array of a person's addresses at an address of its own, as GitHub has it.
type EmailList struct {
	// URL is where it is.
	URL string `yaml:"url"`
	// List is the array's place in the answer; empty = the answer is the array.
	List string `yaml:"list"`
	// Address is the member that holds the address; empty = email.
	Address string `yaml:"address"`
	// Primary marks the one to take; empty = primary.
	Primary string `yaml:"primary"`
	// Verified says that the provider checked it; empty = verified.
	Verified string `yaml:"verified"`
}

// connectorDefaults are what an entry of connectors starts from.
func connectorDefaults() Connector {
	return Connector{Enabled: true, PKCE: true, UserInfo: true, Registration: "invite", Link: "prove"}
}

// NewConnector is an entry with nothing but an id, as in a file.
func NewConnector(id string) Connector {
	c := connectorDefaults()
	c.ID = id
	return c
}

// Types of connectors.
const (
	typeGoogle   = "google"
	typeAzure    = "azure"
	typeFacebook = "facebook"
	typeTwitter  = "twitter"
	typeOIDC     = "oidc"
	typeOAuth2   = "oauth2"
)

// brands are how each type shows itself where nothing else is said.
var brands = map[string]struct{ label, icon string }{
	typeGoogle: {"Google", "google"}, typeAzure: {"Microsoft", "microsoft"}, typeFacebook: {"Facebook", "facebook"}, typeTwitter: {"X", "x"},
	typeOIDC: {"", "openid"}, typeOAuth2: {"", "key"},
}

// Kind is Type, or the type that the id names.
func (c *Connector) Kind() string {
	if _, ok := brands[c.ID]; ok && c.Type == "" {
		return c.ID
	}
	return c.Type
}

// Display is the label and the icon of its button.
func (c *Connector) Display() (label, icon string) {
	b := brands[c.Kind()]
	return cmp.Or(c.Label, b.label, c.ID), cmp.Or(c.Icon, b.icon)
}

// authMethods translates RFC 7591's names of client authentication.
var authMethods = map[string]string{
	"": "", "client_secret_basic": connectors.AuthBasic, "client_secret_post": connectors.AuthPost, "private_key_jwt": connectors.AuthKey,
	"none": connectors.AuthNone,
}

// New makes the connector. It reaches no network, and fails only for what Load would have refused.
func (c *Connector) New(client *http.Client, now func() time.Time) (connectors.Connector, error) {
	secret, auth := c.ClientSecret.Reveal(), authMethods[c.ClientAuth]
	switch c.Kind() {
	case typeGoogle:
		return connectors.NewGoogle(connectors.GoogleConfig{Name: c.ID, ClientID: c.ClientID, ClientSecret: secret, ClientAuth: auth,
			HostedDomains: c.HostedDomains, Scopes: c.Scopes, Prompt: c.Prompt, Issuer: c.Issuer, HTTP: client, Now: now})
	case typeAzure:
		return connectors.NewAzure(connectors.AzureConfig{Name: c.ID, ClientID: c.ClientID, ClientSecret: secret, ClientAuth: auth, ClientKey: c.key,
			Tenant: c.Tenant, AllowedTenants: c.AllowedTenants, TrustTenantEmail: c.TrustTenantEmail,
			MapGroups: slices.ContainsFunc(c.Privileges, func(r ClaimRule) bool { return r.Claim == "groups" }),
			Scopes:    c.Scopes, Prompt: c.Prompt, Authority: c.Authority, Issuer: c.Issuer, KeepIDToken: c.Logout, HTTP: client, Now: now})
	case typeFacebook:
		return connectors.NewFacebook(connectors.FacebookConfig{Name: c.ID, ClientID: c.ClientID, ClientSecret: secret, Version: c.GraphVersion,
			Scopes: c.Scopes, Fields: c.ProfileFields, PKCE: c.PKCE, KeepAccessToken: c.RevokeOnUnlink, WebURL: c.WebURL, GraphURL: c.APIURL,
			HTTP: client, Now: now})
	case typeTwitter:
		return connectors.NewTwitter(connectors.TwitterConfig{Name: c.ID, ClientID: c.ClientID, ClientSecret: secret, Scopes: c.Scopes,
			AuthorizeURL: c.AuthorizationURL, APIURL: c.APIURL, KeepAccessToken: c.RevokeOnUnlink, HTTP: client})
	case typeOAuth2:
		return connectors.NewOAuth2(connectors.OAuth2Config{Name: c.ID, AuthorizeURL: c.AuthorizationURL, TokenURL: c.TokenURL,
			UserInfoURL: c.UserInfoURL, RevokeURL: c.RevocationURL, Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: secret,
			ClientAuth: c.oauth2Auth(auth), Scopes: c.Scopes, NoPKCE: !c.PKCE, AuthParams: c.Params, SubjectField: c.SubjectClaim,
			Fields: c.Claims.names(), LenientBooleans: c.LenientBooleans, Emails: connectors.EmailList(c.EmailList),
			AssumeEmailVerified: c.AssumeEmailVerified, KeepAccessToken: c.RevokeOnUnlink, HTTP: client})
	default:
		return connectors.NewOIDC(connectors.OIDCConfig{Name: c.ID, Issuer: c.Issuer, IssuerAlias: c.IssuerAlias,
			Endpoints: connectors.Endpoints{Authorization: c.AuthorizationURL, Token: c.TokenURL, UserInfo: c.UserInfoURL, JWKS: c.JWKSURL,
				EndSession: c.EndSessionURL},
			ClientID: c.ClientID, ClientSecret: secret, ClientAuth: auth, ClientKey: c.key, Algorithms: c.Algorithms, Scopes: c.Scopes,
			NoPKCE: !c.PKCE, Prompt: c.Prompt, ACRValues: c.ACRValues, AuthParams: c.Params, NoUserInfo: !c.UserInfo, SubjectClaim: c.SubjectClaim,
			Claims: c.Claims.names(), LenientBooleans: c.LenientBooleans, AssumeEmailVerified: c.AssumeEmailVerified, KeepIDToken: c.Logout,
			HTTP: client, Now: now})
	}
}

// oauth2Auth is Basic where nothing is said and there is a secret: RFC 6749 §2.3.1 asks every server for it.
func (c *Connector) oauth2Auth(auth string) string {
	if auth == "" && !c.ClientSecret.IsZero() {
		return connectors.AuthBasic
	}
	return auth
}

func (m ClaimMap) names() connectors.ClaimNames {
	return connectors.ClaimNames{Email: m.Email, EmailVerified: m.EmailVerified, Name: m.Name, GivenName: m.GivenName, FamilyName: m.FamilyName,
		Username: m.Username, Picture: m.Picture, Locale: m.Locale}
}
