package provider

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

type privilegeHolding = privilege.Holding

// Scopes a client may be given.
const (
	scopeOpenID     = "openid"
	scopeProfile    = "profile"
	scopeEmail      = "email"
	scopePhone      = "phone"
	scopeAddress    = "address"
	scopePrivileges = "privileges"
	scopeOffline    = "offline_access"
)

// Scopes lists the standard ones, as discovery announces them.
var Scopes = []string{scopeOpenID, scopeProfile, scopeEmail, scopePhone, scopeAddress, scopePrivileges, scopeOffline}

// target is where claims go.
type target int

const (
	toUserinfo target = iota
	toIDToken
	toAccessToken
	toIntrospection
)

// ClaimRequest is one side of the claims parameter: name -> what was asked of it (OIDC Core §5.5.1).
type ClaimRequest map[string]*ClaimSpec

// ClaimSpec is the object behind a requested claim; null is "voluntary, any value".
type ClaimSpec struct {
	Essential bool  `json:"essential,omitempty"`
	Value     any   `json:"value,omitempty"`
	Values    []any `json:"values,omitempty"`
}

// RequestedClaims is the claims parameter.
type RequestedClaims struct {
	Userinfo ClaimRequest `json:"userinfo,omitempty"`
	IDToken  ClaimRequest `json:"id_token,omitempty"`
}

// claimsInput is everything the claims of a person depend on.
type claimsInput struct {
	target    target
	scopes    []string
	requested RequestedClaims
	user      *store.User
	rights    rights
	client    *Client
	facts     *Session
	actor     string // who really signed in, when it is not the user
}

// userClaims is the only place that says what a token tells about a person. It feeds ID token, access token, userinfo and
// introspection, so they cannot disagree. Registered JWT claims are not made here and cannot be overwritten from here (security.md A19).
func userClaims(in claimsInput) map[string]any {
	out := map[string]any{}
	has := func(s string) bool { return slices.Contains(in.scopes, s) }

	if in.actor != "" { // RFC 8693 §4.1: sub is who is represented, act who it really is; of every scope, nobody may overlook it
		out["act"] = map[string]any{"sub": in.actor}
	}
	if has(scopePrivileges) {
		putPrivileges(out, in)
	}
	switch in.target {
	case toAccessToken, toIntrospection: // what a resource server needs to decide, and no more
		return out
	case toUserinfo:
		// OIDC Core §5.4: with an access token issued, scope claims are returned from userinfo.
		for _, s := range []string{scopeProfile, scopeEmail, scopePhone, scopeAddress} {
			if has(s) {
				for _, name := range scopeClaims[s] {
					put(out, in.user, name)
				}
			}
		}
		for name := range in.requested.Userinfo {
			putRequested(out, in, name)
		}
	case toIDToken:
		for name := range in.requested.IDToken {
			putRequested(out, in, name)
		}
	}
	return out
}

// scopeClaims: OIDC Core §5.4.
var scopeClaims = map[string][]string{
	scopeProfile: {"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
		"website", "gender", "birthdate", "zoneinfo", "locale", "updated_at", "organization"},
	scopeEmail:   {"email", "email_verified"},
	scopePhone:   {"phone_number", "phone_number_verified"},
	scopeAddress: {"address"},
}

// ClaimNames lists every claim a person's tokens may carry, for discovery.
func claimNames() []string {
	out := []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid", "act", "login_method", "privileges", "user_type", "readonly"}
	for _, s := range []string{scopeProfile, scopeEmail, scopePhone, scopeAddress} {
		out = append(out, scopeClaims[s]...)
	}
	return out
}

// putRequested serves one name of the claims parameter. A client gets a claim so asked for only if one of its own scopes could have
// brought it: the parameter picks, it does not widen.
func putRequested(out map[string]any, in claimsInput, name string) {
	for scope, names := range scopeClaims {
		if slices.Contains(names, name) && in.client.hasScope(scope) {
			put(out, in.user, name)
			return
		}
	}
	if (name == "privileges" || name == "user_type" || name == "readonly") && in.client.hasScope(scopePrivileges) {
		putPrivileges(out, in)
	}
}

// put adds a claim if there is a value: an absent claim is left out, never empty (OIDC Core §5.3.2).
func put(out map[string]any, u *store.User, name string) {
	set := func(v string) {
		if v != "" {
			out[name] = v
		}
	}
	switch name {
	case "name":
		if u.GivenName != "" || u.FamilyName != "" {
			set(u.Name())
		}
	case "given_name":
		set(u.GivenName)
	case "family_name":
		set(u.FamilyName)
	case "middle_name":
		set(u.Profile.MiddleName)
	case "nickname":
		set(u.Profile.Nickname)
	case "preferred_username":
		set(u.Username)
	case "profile":
		set(u.Profile.ProfileURL)
	case "picture":
		set(u.Profile.Picture)
	case "website":
		set(u.Profile.Website)
	case "gender":
		set(u.Profile.Gender)
	case "birthdate":
		set(u.Profile.Birthdate)
	case "zoneinfo":
		set(u.Zoneinfo)
	case "locale":
		set(u.Locale)
	case "organization":
		set(u.Profile.Organization)
	case "updated_at": // a number (OIDC Core §5.1)
		out[name] = u.UpdatedAt.Unix()
	case "email":
		set(u.Email)
	case "email_verified":
		if u.Email != "" {
			out[name] = !u.EmailVerifiedAt.IsZero()
		}
	case "phone_number":
		set(u.Phone)
	case "phone_number_verified":
		if u.Phone != "" {
			out[name] = !u.PhoneVerifiedAt.IsZero()
		}
	case "address":
		if u.Profile.Address != (store.Address{}) {
			out[name] = u.Profile.Address
		}
	}
}

// maxPrivileges caps the claim in tokens; userinfo and introspection always answer in full (security.md G11).
const maxPrivileges = 200

func putPrivileges(out map[string]any, in claimsInput) {
	list := visiblePrivileges(in.rights.effective, in.client)
	if in.client.Metadata.PrivilegesStrip {
		list = stripped(list, in.client.ID, in.rights.defined)
	}
	if (in.target == toAccessToken || in.target == toIDToken) && len(list) > maxPrivileges {
		list = list[:maxPrivileges]
		out["privileges_truncated"] = true
	}
	var value any = list
	if in.client.Metadata.PrivilegesFormat == "string" { // as a scope is written; no name holds a space
		value = strings.Join(list, " ")
	}
	putPath(out, orDefault(in.client.Metadata.PrivilegesClaim, "privileges"), value)
	if in.rights.userType != "" {
		out["user_type"] = in.rights.userType
	}
	if in.rights.readOnly {
		out["readonly"] = true
	}
}

// visiblePrivileges filters the closure to what the client may see: general privileges (all, or the ones listed) and its own roles.
// A role of another client is never among them (R121).
func visiblePrivileges(effective []string, c *Client) []string {
	out := make([]string, 0, len(effective))
	for _, p := range effective {
		owner, _, owned := strings.Cut(p, ":")
		switch {
		case owned && owner == c.ID:
		case !owned && (len(c.Metadata.VisiblePrivileges) == 0 || slices.Contains(c.Metadata.VisiblePrivileges, p)):
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// stripped takes the client's own prefix off its roles: crm:editor is editor. A general privilege of a name that is also a role of the client
// is left out: an application could not tell the two apart, and would take the one for the other.
func stripped(list []string, client string, defined func(string) bool) []string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		if role, own := strings.CutPrefix(p, client+":"); own {
			out = append(out, role)
		} else if defined == nil || !defined(client+":"+p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// reserved names no operator setting may occupy (security.md A19).
var reserved = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash",
	"s_hash", "sid", "cnf", "act", "may_act", "client_id", "scope", "active", "gid", "token_type", "email", "email_verified", "phone_number",
	"phone_number_verified", "name", "user_type", "readonly", "login_method", "username"}

// putPath sets a possibly nested name (realm_access.roles). A reserved name is ignored in favour of "privileges".
func putPath(out map[string]any, path string, v any) {
	parts := strings.Split(path, ".")
	if slices.Contains(reserved, parts[0]) {
		parts = []string{"privileges"}
	}
	m := out
	for _, k := range parts[:len(parts)-1] {
		next, ok := m[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[k] = next
		}
		m = next
	}
	m[parts[len(parts)-1]] = v
}

// parseClaims reads the claims parameter (OIDC Core §5.5). Unknown members and claims are ignored, as §5.5 asks; what is not JSON of
// this shape is refused.
func parseClaims(raw string) (RequestedClaims, json.RawMessage, error) {
	var rc RequestedClaims
	if raw == "" {
		return rc, nil, nil
	}
	if err := json.Unmarshal([]byte(raw), &rc); err != nil {
		return rc, nil, err
	}
	compact, err := json.Marshal(rc)
	return rc, compact, err
}

// acrWanted returns the values an essential acr request insists on; nil = none (OIDC Core §5.5.1.1).
func (rc RequestedClaims) acrWanted() []string {
	spec := rc.IDToken["acr"]
	if spec == nil || !spec.Essential {
		return nil
	}
	var out []string
	for _, v := range append(slices.Clone(spec.Values), spec.Value) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// subWanted returns the subject the request insists on ("" = anybody): a sub with a value must be the signed-in user (OIDC Core §5.5.1).
func (rc RequestedClaims) subWanted() string {
	if spec := rc.IDToken["sub"]; spec != nil {
		s, _ := spec.Value.(string)
		return s
	}
	return ""
}
