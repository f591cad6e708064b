package server

import (
	"fmt"
	"net/url"
	"slices"
)

// customSchemes of redirect URIs: the ones an operating system hands to whatever application claimed them.
func customSchemes(uris []string) (out []string) {
	for _, raw := range uris {
		if u, err := url.Parse(raw); err == nil && u.Scheme != "http" && u.Scheme != "https" && !slices.Contains(out, u.Scheme) {
			out = append(out, u.Scheme)
		}
	}
	return out
}

// sharedScheme says whether another application has one of the schemes already: on one device the code of the one would end up with the
// other (RFC 8252 §8.4, security.md A4).
func sharedScheme(id string, uris []string, others map[string][]string) error {
	for _, s := range customSchemes(uris) {
		for other, theirs := range others {
			if other != id && slices.Contains(customSchemes(theirs), s) {
				return fmt.Errorf("redirect_uris: the scheme %q belongs to the client %q already", s, other)
			}
		}
	}
	return nil
}
