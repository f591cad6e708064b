package login

import (
	"fmt"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/store"
)

// TestFillProfile: what each kind of upstream says, and what an account makes of it (R40).
func TestFillProfile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		said connectors.Identity
		want string // given, family, nickname, picture, locale
	}{
		"google":                  {connectors.Identity{Name: "Ada L", GivenName: "Ada", FamilyName: "L", Email: "ada@example.com", PictureURL: "https://p.example/a", Locale: "en"}, "Ada|L|ada|https://p.example/a|en"},
		"facebook without e-mail": {connectors.Identity{Name: "Ada L", GivenName: "Ada", FamilyName: "L"}, "Ada|L|||"},
		"x: a name of two words":  {connectors.Identity{Name: "Ada L", Username: "ada_l"}, "Ada|L|ada_l||"},
		"x: one word":             {connectors.Identity{Name: "Ada", Username: "ada_l"}, "||ada_l||"},
		"x: three words":          {connectors.Identity{Name: "Ada van L", Username: "ada_l"}, "||ada_l||"},
		"entra":                   {connectors.Identity{Name: "Ada", Username: "ada@work.example", Locale: "de_DE"}, "||ada@work.example||de-DE"},
		"a family name only":      {connectors.Identity{FamilyName: "L", Name: "Ada L"}, "|L|||"},
		"nothing":                 {connectors.Identity{}, "||||"},
		"hostile":                 {connectors.Identity{GivenName: "a\x00b", FamilyName: "\u202eL", Username: "x\n", PictureURL: "javascript:alert(1)", Locale: "no such language"}, "||x||"},
		"http picture":            {connectors.Identity{PictureURL: "http://p.example/a"}, "||||"},
	} {
		var u store.User
		fillProfile(&u, &c.said)
		if got := fmt.Sprintf("%s|%s|%s|%s|%s", u.GivenName, u.FamilyName, u.Profile.Nickname, u.Profile.Picture, u.Locale); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		// Nothing stored is blanked or overwritten, whatever is said.
		full := store.User{GivenName: "G", Locale: "fr", Profile: store.Profile{Nickname: "n", Picture: "https://mine.example/"}}
		before := full
		if fillProfile(&full, &c.said) || full != before {
			t.Errorf("%s: changed what was stored: %+v", name, full)
		}
	}
}

func TestPrivilegesFrom(t *testing.T) {
	t.Parallel()
	claims := map[string]any{
		"groups": []any{"staff", "editors", 7.0}, "realm_access": map[string]any{"roles": []any{"boss"}}, "hd": "example.com", "mfa": true,
		"https://example.com/roles": []any{"remote"}, "empty": "", "none": nil, "nothing": []any{}, "a.b": "literal", "a": map[string]any{"b": "nested", "c": []any{[]any{"deep"}}},
	}
	for _, c := range []struct {
		claim, match string
		want         bool
	}{
		{"groups", "staff", true}, {"groups", "Staff", false}, {"groups", "staf", false}, {"groups", "7", true}, {"groups", "*", true},
		{"realm_access.roles", "boss", true}, {"realm_access.roles", "boss ", false}, {"realm_access", "*", false}, {"realm_access.nothing", "*", false},
		{"hd", "example.com", true}, {"mfa", "true", true}, {"https://example.com/roles", "remote", true},
		{"empty", "*", false}, {"empty", "", false}, {"none", "*", false}, {"none", "<nil>", false}, {"nothing", "*", false}, {"absent", "*", false},
		{"a.b", "literal", true}, {"a.b", "nested", false}, {"a.c", "deep", false}, {"", "*", false},
	} {
		got := privilegesFrom([]ClaimRule{{c.claim, c.match, "p"}, {c.claim, c.match, "p"}}, claims)
		if (len(got) == 1) != c.want || len(got) > 1 {
			t.Errorf("%s matches %q: %v", c.claim, c.match, got)
		}
	}
	if got := privilegesFrom([]ClaimRule{{"groups", "staff", "p"}}, nil); got != nil {
		t.Errorf("no claims: %v", got)
	}
}
