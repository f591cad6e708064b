package relying

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
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

	// ActorSubject is who is really at the keyboard when somebody acts for this person (RFC 8693 §4.1); "" = they themselves. Everything else
	// but the sign-in (LoginMethod, AMR, ACR, AuthTime) is about the person represented. Show it, and write it down with what is done.
	ActorSubject string `json:"-"`

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

// Acting says whether somebody else acts for the person: see ActorSubject. Only a client with allow_act_as ever sees that.
func (i Info) Acting() bool { return i.ActorSubject != "" }

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

// UserLoggedIn says whether somebody is signed in: there is a local session made from a verified ID token, its time is not over, and the
// provider has not said that it is. In an [API] it says whether the access token is a person's.
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
	held := holds(ctx)
	return slices.ContainsFunc(anyOf, func(name string) bool { return slices.Contains(held, name) })
}

// UserHasAll says whether the person holds every one of the named privileges. Nobody holds all of no names.
func UserHasAll(ctx context.Context, allOf ...string) bool {
	held := holds(ctx)
	return len(allOf) > 0 && !slices.ContainsFunc(allOf, func(name string) bool { return !slices.Contains(held, name) })
}

// UserMeets says whether the person meets the requirement. Everybody meets an empty one, signed in or not.
func UserMeets(ctx context.Context, r Requirement) bool { return r.Met(holds(ctx)) }

// UserMayWrite says whether the person is signed in and may change things. It is false for people whose user type is read-only, and also
// where the provider said nothing of privileges at all: without the scope privileges nobody knows. [Client.RequireWrite] asks it for
// you; ask it yourself where a GET changes something.
func UserMayWrite(ctx context.Context) bool {
	i := person(ctx)
	return i != nil && !i.ReadOnly && i.Privileges != nil
}

// holds returns what the person of a request holds.
func holds(ctx context.Context) []string {
	v, _ := ctx.Value(visitKey{}).(*visit)
	switch {
	case v == nil:
		return nil
	case v.info != nil:
		return v.info.Privileges
	case v.err == nil && v.anonymousIsUser:
		return []string{privilege.User}
	}
	return nil
}

// UserPrivileges returns the sorted privileges of the person; none when nobody is signed in.
func UserPrivileges(ctx context.Context) []string {
	if i := person(ctx); i != nil {
		return slices.Clone(i.Privileges)
	}
	return nil
}

// AccessToken returns the access token of the person's session, to call APIs in their name, and false when nobody is signed in. In an
// [API] it is the token of the request.
func AccessToken(ctx context.Context) (string, bool) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil || v.err != nil || v.access == "" {
		return "", false
	}
	return v.access, true
}

// EmailDomain returns the domain of the person's verified e-mail address in lower case. It is false for people without an address, for
// addresses nobody verified, and for nobody.
func EmailDomain(ctx context.Context) (string, bool) {
	d := emailDomain(ctx)
	return d, d != ""
}

// EmailUnder says whether the person's verified e-mail address is at the domain or at one below it, without regard to case: under "gov"
// are a.gov and b.a.gov, and not notgov. A leading dot changes nothing. It is false for people without a verified address, so it serves
// rules that let in. For a rule that turns away use [EmailOutside]: "not EmailUnder" would let in whoever has no address.
func EmailUnder(ctx context.Context, domain string) bool {
	have, want := emailDomain(ctx), normalDomain(strings.TrimPrefix(domain, "."))
	return have != "" && want != "" && under(have, want)
}

// EmailOutside says whether the person has a verified e-mail address and it is under none of the domains. It is what a rule that turns
// people away by their address needs: whoever has no verified address is turned away too, because nobody knows where they belong.
func EmailOutside(ctx context.Context, domains ...string) bool {
	have := emailDomain(ctx)
	return have != "" && !slices.ContainsFunc(domains, func(d string) bool {
		want := normalDomain(strings.TrimPrefix(d, "."))
		return want == "" || under(have, want) // an empty domain is a slip, and everything is under it
	})
}

func under(have, want string) bool { return have == want || strings.HasSuffix(have, "."+want) }

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
	i, err := parseInfo(s.Claims)
	if err != nil {
		return nil, err
	}
	i.IDToken, i.UserInfo = s.IDToken, s.UserInfo
	return i, nil
}

func parseInfo(claims json.RawMessage) (*Info, error) {
	var all struct {
		Info
		EmailVerified flag    `json:"email_verified"`
		PhoneVerified flag    `json:"phone_number_verified"`
		AuthTime      float64 `json:"auth_time"`
		Act           *struct {
			Subject string `json:"sub"`
		} `json:"act"`
	}
	if err := json.Unmarshal(claims, &all); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	i := all.Info
	if all.Act != nil {
		// An act that names nobody must not pass for the person themselves.
		if all.Act.Subject == "" {
			return nil, errors.New("claims: act without sub")
		}
		i.ActorSubject = all.Act.Subject
	}
	i.EmailVerified, i.PhoneVerified = bool(all.EmailVerified), bool(all.PhoneVerified)
	if all.AuthTime > 0 {
		i.AuthTime = time.Unix(int64(all.AuthTime), 0)
	}
	slices.Sort(i.Privileges)
	return &i, nil
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
