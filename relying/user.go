package relying

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Info is what the provider says about the signed-in person. Which fields are filled depends on the scopes granted; all but
// Subject may be empty.
type Info struct {
	Subject       string  `json:"sub"` // permanent and never reused: the key to store things under
	Name          string  `json:"name"`
	GivenName     string  `json:"given_name"`
	FamilyName    string  `json:"family_name"`
	Username      string  `json:"preferred_username"` // may change
	Picture       string  `json:"picture"`
	Organization  string  `json:"organization"`
	Locale        string  `json:"locale"`   // BCP 47
	Zoneinfo      string  `json:"zoneinfo"` // IANA
	Email         string  `json:"email"`    // may change; believe it only if EmailVerified
	EmailVerified bool    `json:"-"`
	Phone         string  `json:"phone_number"` // E.164
	PhoneVerified bool    `json:"-"`
	Address       Address `json:"address"`

	Privileges []string `json:"privileges"` // sorted; what includes what is already worked out
	UserType   string   `json:"user_type"`
	ReadOnly   bool     `json:"readonly"` // may look at everything their privileges allow, and change nothing

	LoginMethod string    `json:"login_method"` // password, phone, google …
	AMR         []string  `json:"amr"`          // RFC 8176
	ACR         string    `json:"acr"`
	AuthTime    time.Time `json:"-"` // when they last proved who they are; zero if the provider did not say

	IDToken  json.RawMessage `json:"-"` // payload of the newest ID token, verified
	UserInfo json.RawMessage `json:"-"` // the newest answer of the userinfo endpoint; nil if the provider has none
}

// Address is the OpenID Connect address claim.
type Address struct {
	Formatted  string `json:"formatted"`
	Street     string `json:"street_address"`
	Locality   string `json:"locality"`
	Region     string `json:"region"`
	PostalCode string `json:"postal_code"`
	Country    string `json:"country"` // ISO 3166-1 alpha-2
}

// DisplayName is something to call the person, never empty: the name, else both names, else the last, else the first, else
// "Unnamed User". Like every claim it may hold any character: escape it.
func (i Info) DisplayName() string {
	switch {
	case i.Name != "":
		return i.Name
	case i.GivenName != "" && i.FamilyName != "":
		return i.GivenName + " " + i.FamilyName
	case i.FamilyName != "":
		return i.FamilyName
	case i.GivenName != "":
		return i.GivenName
	}
	return "Unnamed User"
}

// UserLoggedIn says whether somebody is signed in: there is a local session made from a verified ID token, and its time is not over.
func UserLoggedIn(ctx context.Context) bool { return person(ctx) != nil }

// UserInfo returns who is signed in, and false when nobody is. There are no placeholders for anonymous visitors.
func UserInfo(ctx context.Context) (Info, bool) {
	i := person(ctx)
	if i == nil {
		return Info{}, false
	}
	copied := *i
	copied.Privileges, copied.AMR = slices.Clone(i.Privileges), slices.Clone(i.AMR)
	return copied, true
}

// UserHasPrivilege says whether the person holds any of the named privileges. A signed-out person holds nothing (but see
// Config.AnonymousIsUser), and nobody holds one of no names. There is no wildcard: admin is admin and nothing else.
func UserHasPrivilege(ctx context.Context, anyOf ...string) bool {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil {
		return false
	}
	if v.info == nil {
		return v.err == nil && v.client.cfg.AnonymousIsUser && slices.Contains(anyOf, "user")
	}
	return slices.ContainsFunc(anyOf, func(name string) bool { return slices.Contains(v.info.Privileges, name) })
}

// UserPrivileges returns the sorted privileges of the person; none when nobody is signed in.
func UserPrivileges(ctx context.Context) []string {
	if i := person(ctx); i != nil {
		return slices.Clone(i.Privileges)
	}
	return nil
}

// EmailDomainIs says whether the person's verified e-mail address is at exactly this domain, without regard to case. It is false
// for people without an address and for addresses nobody verified, so it serves rules that let in. A rule that turns away must
// also turn away whoever has no verified address:
//
//	who, ok := relying.UserInfo(ctx)
//	if !ok || !who.EmailVerified || relying.EmailDomainUnder(ctx, "gov") { … }
func EmailDomainIs(ctx context.Context, domain string) bool {
	have, want := emailDomain(ctx), normalDomain(domain)
	return have != "" && want != "" && have == want
}

// EmailDomainUnder is EmailDomainIs for the domain itself and every domain below it: under "gov" are a.gov and b.a.gov, and not
// notgov. A leading dot changes nothing.
func EmailDomainUnder(ctx context.Context, domain string) bool {
	have, want := emailDomain(ctx), normalDomain(strings.TrimPrefix(domain, "."))
	return have != "" && want != "" && (have == want || strings.HasSuffix(have, "."+want))
}

func person(ctx context.Context) *Info {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v.info
	}
	return nil
}

func emailDomain(ctx context.Context) string {
	i := person(ctx)
	if i == nil || !i.EmailVerified {
		return ""
	}
	at := strings.LastIndexByte(i.Email, '@')
	if at < 1 {
		return ""
	}
	return normalDomain(i.Email[at+1:])
}

func normalDomain(d string) string { return strings.ToLower(strings.TrimSuffix(d, ".")) }

// readInfo makes the Info of a session. It fails on claims of the wrong shape rather than guess.
func readInfo(s *session) (*Info, error) {
	i := &Info{IDToken: s.IDToken, UserInfo: s.UserInfo}
	var more struct {
		EmailVerified flag    `json:"email_verified"`
		PhoneVerified flag    `json:"phone_number_verified"`
		AuthTime      float64 `json:"auth_time"`
	}
	for _, into := range []any{i, &more} {
		if err := json.Unmarshal(s.Claims, into); err != nil {
			return nil, fmt.Errorf("claims: %w", err)
		}
	}
	i.EmailVerified, i.PhoneVerified = bool(more.EmailVerified), bool(more.PhoneVerified)
	if more.AuthTime > 0 {
		i.AuthTime = time.Unix(int64(more.AuthTime), 0)
	}
	slices.Sort(i.Privileges)
	return i, nil
}

// flag reads true and "true": some providers put booleans in strings.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = string(b) == "true" || string(b) == `"true"`
	return nil
}

// merge lays over over base, claim by claim.
func merge(base, over json.RawMessage) (json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for _, doc := range []json.RawMessage{base, over} {
		if len(doc) == 0 {
			continue
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(doc, &m); err != nil {
			return nil, err
		}
		maps.Copy(all, m)
	}
	return json.Marshal(all)
}

// only returns doc with no claims but these.
func only(doc json.RawMessage, names ...string) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(doc, &m); err != nil {
		return nil, err
	}
	maps.DeleteFunc(m, func(k string, _ json.RawMessage) bool { return !slices.Contains(names, k) })
	return json.Marshal(m)
}
