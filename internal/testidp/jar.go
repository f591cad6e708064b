package testidp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// jar keeps cookies as browsers do (RFC 6265bis): host-only, with Path, Secure, the __Host- and __Secure- prefixes and SameSite.
type jar struct {
	now  func() time.Time
	kept []*kept
}

type kept struct {
	*http.Cookie
	host  string
	until time.Time // zero = until the browser ends
}

func (j *jar) alive(k *kept) bool { return k.until.IsZero() || j.now().Before(k.until) }

// set keeps a cookie or deletes one. What a browser would silently drop fails the test: the server meant it to arrive.
func (j *jar) set(t testing.TB, u *url.URL, c *http.Cookie) {
	t.Helper()
	secure := u.Scheme == "https"
	switch {
	case c.Secure && !secure:
		t.Errorf("%s: cookie %s is Secure on a plain connection", u, c.Name)
		return
	case strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || c.Domain != ""):
		t.Errorf("%s: cookie %s breaks the rules of its prefix", u, c.Name)
		return
	case strings.HasPrefix(c.Name, "__Secure-") && !c.Secure:
		t.Errorf("%s: cookie %s breaks the rules of its prefix", u, c.Name)
		return
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		t.Errorf("%s: cookie %s is SameSite=None and not Secure", u, c.Name)
		return
	case c.Domain != "":
		t.Errorf("%s: cookie %s is meant for all of %s", u, c.Name, c.Domain)
		return
	case len(c.Name)+len(c.Value) > 4096:
		t.Errorf("%s: cookie %s has %d bytes", u, c.Name, len(c.Value))
		return
	}
	k := &kept{Cookie: c, host: u.Hostname()}
	if c.Path == "" {
		c.Path = "/"
	}
	switch {
	case c.MaxAge > 0:
		k.until = j.now().Add(time.Duration(c.MaxAge) * time.Second)
	case !c.Expires.IsZero():
		k.until = c.Expires
	}
	j.kept = slices.DeleteFunc(j.kept, func(o *kept) bool { return o.Name == c.Name && o.host == k.host && o.Path == c.Path })
	if c.MaxAge >= 0 && j.alive(k) {
		j.kept = append(j.kept, k)
	}
}

// cookies returns what a navigation to u carries. A cross-site one brings Lax cookies (and those without the attribute) only with a
// safe method, and Strict ones never.
func (j *jar) cookies(u *url.URL, crossSite bool, method string) (list []*http.Cookie) {
	for _, k := range j.kept {
		inPath := k.Path == "/" || u.Path == k.Path || strings.HasPrefix(u.Path, strings.TrimSuffix(k.Path, "/")+"/")
		if k.host != u.Hostname() || !j.alive(k) || !inPath || k.Secure && u.Scheme != "https" {
			continue
		}
		if crossSite {
			switch k.SameSite {
			case http.SameSiteNoneMode:
			case http.SameSiteStrictMode:
				continue
			default:
				if method != http.MethodGet && method != http.MethodHead {
					continue
				}
			}
		}
		list = append(list, &http.Cookie{Name: k.Name, Value: k.Value})
	}
	return list
}
