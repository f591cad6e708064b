package login

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/store"
)

// fillProfile takes over what an upstream says and the account does not have yet. What is stored stays: a claim that is missing blanks
// nothing, and one that differs overwrites nothing the person may have corrected.
func fillProfile(u *store.User, id *connectors.Identity) (changed bool) {
	given, family := names(id)
	if u.GivenName != "" || u.FamilyName != "" {
		given, family = "", "" // halves of two names make a third
	}
	nickname := cleanName(id.Username)
	if nickname == "" {
		local, _, _ := strings.Cut(id.Email, "@")
		nickname = cleanName(local)
	}
	for _, f := range []struct {
		stored *string
		said   string
	}{
		{&u.GivenName, given}, {&u.FamilyName, family}, {&u.Profile.Nickname, nickname},
		{&u.Profile.Picture, picture(id.PictureURL)}, {&u.Locale, locale(id.Locale)},
	} {
		if *f.stored == "" && f.said != "" {
			*f.stored, changed = f.said, true
		}
	}
	return changed
}

// names are both names as the upstream has them, or the two words of a whole name. Of any other whole name nobody can tell which part is
// which (R40).
func names(id *connectors.Identity) (given, family string) {
	given, family = cleanName(id.GivenName), cleanName(id.FamilyName)
	if given != "" || family != "" {
		return given, family
	}
	if words := strings.Fields(cleanName(id.Name)); len(words) == 2 && !strings.Contains(id.Name, "@") {
		return words[0], words[1]
	}
	return "", ""
}

// cleanName refuses what is no name: a stranger chose it.
func cleanName(s string) string {
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 100 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return ""
	}
	return s
}

func picture(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(s) > 1000 {
		return ""
	}
	return s
}

// locale is a BCP 47 tag in its normal spelling; upstreams write de_DE too.
func locale(s string) string {
	tag, err := language.Parse(strings.ReplaceAll(s, "_", "-"))
	if err != nil || tag == language.Und || len(s) > 35 {
		return ""
	}
	return tag.String()
}

// privilegesFrom are what the operator's rules give for the upstream's claims.
func privilegesFrom(rules []ClaimRule, claims map[string]any) []string {
	var list []string
	for _, r := range rules {
		if claimMatches(claimAt(claims, r.Claim), r.Match) && !slices.Contains(list, r.Privilege) {
			list = append(list, r.Privilege)
		}
	}
	return list
}

// claimAt follows a path. A claim whose very name holds dots (https://example.com/roles) is found first.
func claimAt(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			if v := claimAt(inner, path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// claimMatches compares exactly; an empty value is no value, and an object is nothing that matches.
func claimMatches(v any, want string) bool {
	is := func(s string) bool { return s != "" && (want == "*" || s == want) }
	switch v := v.(type) {
	case string:
		return is(v)
	case bool, float64, int, int64, json.Number:
		return is(fmt.Sprint(v))
	case []string:
		return slices.ContainsFunc(v, is)
	case []any:
		return slices.ContainsFunc(v, func(e any) bool {
			if _, list := e.([]any); list {
				return false
			}
			return claimMatches(e, want)
		})
	}
	return false
}
