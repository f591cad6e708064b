package provider

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

func ada() *store.User {
	return &store.User{ID: "sub-ada", Username: "ada", Email: "ada@example.org", EmailVerifiedAt: store.At(time.Unix(1, 0)), Phone: "+41441234567",
		GivenName: "Ada", FamilyName: "Lovelace", Locale: "en-GB", Zoneinfo: "Europe/London", UserType: "staff", UpdatedAt: store.At(time.Unix(1_700_000_000, 0)),
		Profile: store.Profile{Nickname: "A", Organization: "Analytical Engines", Address: store.Address{Country: "GB", Locality: "London"}}}
}

func TestClaimsByScopeAndTarget(t *testing.T) {
	t.Parallel()
	all := "openid profile email phone address privileges offline_access"
	eff := []string{"admin", "app:editor", "other:boss", "user"}
	for name, c := range map[string]struct {
		target target
		scopes string
		meta   store.ClientMetadata
		asked  RequestedClaims
		want   string // JSON
	}{
		"openid alone says nothing": {toUserinfo, "openid", store.ClientMetadata{}, RequestedClaims{}, `{}`},
		"email":                     {toUserinfo, "openid email", store.ClientMetadata{}, RequestedClaims{}, `{"email":"ada@example.org","email_verified":true}`},
		"phone, not verified":       {toUserinfo, "openid phone", store.ClientMetadata{}, RequestedClaims{}, `{"phone_number":"+41441234567","phone_number_verified":false}`},
		"address":                   {toUserinfo, "openid address", store.ClientMetadata{}, RequestedClaims{}, `{"address":{"locality":"London","country":"GB"}}`},
		"profile": {toUserinfo, "openid profile", store.ClientMetadata{}, RequestedClaims{}, `{"name":"Ada Lovelace","given_name":"Ada","family_name":"Lovelace",
			"nickname":"A","preferred_username":"ada","zoneinfo":"Europe/London","locale":"en-GB","organization":"Analytical Engines","updated_at":1700000000}`},
		"privileges: its own roles, nobody else's": {toUserinfo, "openid privileges", store.ClientMetadata{}, RequestedClaims{}, `{"privileges":["admin","app:editor","user"],"user_type":"staff"}`},
		"privileges in the access token":           {toAccessToken, "openid email privileges", store.ClientMetadata{}, RequestedClaims{}, `{"privileges":["admin","app:editor","user"],"user_type":"staff"}`},
		"privileges at introspection":              {toIntrospection, "privileges", store.ClientMetadata{}, RequestedClaims{}, `{"privileges":["admin","app:editor","user"],"user_type":"staff"}`},
		"the ID token keeps the profile out":       {toIDToken, "openid profile email", store.ClientMetadata{}, RequestedClaims{}, `{}`},
		"a list of visible privileges":             {toIDToken, "privileges", store.ClientMetadata{VisiblePrivileges: []string{"user"}}, RequestedClaims{}, `{"privileges":["app:editor","user"],"user_type":"staff"}`},
		"renamed and nested":                       {toIDToken, "privileges", store.ClientMetadata{PrivilegesClaim: "realm_access.roles"}, RequestedClaims{}, `{"realm_access":{"roles":["admin","app:editor","user"]},"user_type":"staff"}`},
		"claims parameter into the ID token":       {toIDToken, "openid", store.ClientMetadata{Scope: all}, RequestedClaims{IDToken: ClaimRequest{"email": nil, "nonsense": nil}}, `{"email":"ada@example.org"}`},
		"claims parameter at userinfo":             {toUserinfo, "openid", store.ClientMetadata{Scope: all}, RequestedClaims{Userinfo: ClaimRequest{"name": {Essential: true}}}, `{"name":"Ada Lovelace"}`},
		"the parameter does not widen":             {toUserinfo, "openid", store.ClientMetadata{Scope: "openid"}, RequestedClaims{Userinfo: ClaimRequest{"email": nil, "privileges": nil}}, `{}`},
	} {
		cl := newClient(&store.Client{ID: "app", Metadata: c.meta})
		got := userClaims(claimsInput{target: c.target, scopes: strings.Fields(c.scopes), requested: c.asked, user: ada(), rights: rights{effective: eff, userType: "staff"}, client: cl})
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var g, w any
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.want), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s:\n got %s\nwant %s", name, b, c.want)
		}
	}
}

func TestClaimsOfSomebodyWithoutAnything(t *testing.T) {
	t.Parallel()
	cl := newClient(&store.Client{ID: "app"})
	got := userClaims(claimsInput{target: toUserinfo, scopes: Scopes, user: &store.User{ID: "x", UpdatedAt: store.At(time.Unix(5, 0))}, rights: rights{effective: []string{"user"}}, client: cl})
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	// No empty claims, no placeholders (R113).
	if string(b) != `{"privileges":["user"],"updated_at":5}` {
		t.Errorf("got %s", b)
	}
}

// TestSec_A19_NoSettingReachesARegisteredClaim: whatever name an operator gives the privilege claim, the registered ones stay ours.
func TestSec_A19_NoSettingReachesARegisteredClaim(t *testing.T) {
	t.Parallel()
	for _, name := range reserved {
		for _, path := range []string{name, name + ".x"} {
			cl := newClient(&store.Client{ID: "app", Metadata: store.ClientMetadata{PrivilegesClaim: path}})
			u := ada()
			u.UserType = ""
			got := userClaims(claimsInput{target: toAccessToken, scopes: []string{"privileges"}, user: u, rights: rights{effective: []string{"user"}}, client: cl})
			if _, bad := got[name]; bad || got["privileges"] == nil {
				t.Errorf("%s: %v", path, got)
			}
		}
	}
}

func TestSec_G11_TheClaimIsCapped(t *testing.T) {
	t.Parallel()
	var eff []string
	for i := range 1000 {
		eff = append(eff, "p"+strings.Repeat("x", i%7)+string(rune('a'+i%26)))
	}
	slices.Sort(eff)
	cl := newClient(&store.Client{ID: "app"})
	in := claimsInput{target: toAccessToken, scopes: []string{"privileges"}, user: ada(), rights: rights{effective: eff}, client: cl}
	if got := userClaims(in); len(got["privileges"].([]string)) != maxPrivileges || got["privileges_truncated"] != true {
		t.Errorf("not capped: %d", len(got["privileges"].([]string)))
	}
	in.target = toUserinfo
	if got := userClaims(in); len(got["privileges"].([]string)) != len(eff) || got["privileges_truncated"] != nil {
		t.Error("userinfo must answer in full")
	}
}

func FuzzClaimsParameter(f *testing.F) {
	f.Add(`{"userinfo":{"email":null},"id_token":{"acr":{"essential":true,"values":["1","2"]},"sub":{"value":"x"}}}`)
	f.Add(`{"id_token":{"acr":{"value":1}}}`)
	f.Add(`[]`)
	f.Add(`{"userinfo":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		rc, raw, err := parseClaims(s)
		if err != nil || raw == nil {
			return
		}
		rc.acrWanted()
		rc.subWanted()
		again, raw2, err := parseClaims(string(raw)) // what is stored reads back as the same
		if err != nil || string(raw) != string(raw2) || !reflect.DeepEqual(again.acrWanted(), rc.acrWanted()) {
			t.Fatalf("%q -> %q -> %q (%v)", s, raw, raw2, err)
		}
	})
}
