package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// header is one response header, its value ready to be shared between responses: a slice without room to grow.
type header struct {
	name  string
	value []string
}

func setHeaders(h http.Header, headers []header) {
	for i := range headers {
		h[headers[i].name] = headers[i].value
	}
}

var noStore = []string{"no-store"}

// pageHeaders are what pages.md 9 asks for, besides the policy.
func pageHeaders(hsts bool) []header {
	return append(apiHeaders(hsts),
		// Not no-referrer: that would make the Origin of our own forms null (pages.md trap 3).
		header{"Referrer-Policy", []string{"same-origin"}},
		header{"Cross-Origin-Opener-Policy", []string{"same-origin"}},
		header{"Permissions-Policy", []string{"publickey-credentials-get=(self), publickey-credentials-create=(self), " +
			"otp-credentials=(self), camera=(), microphone=(), geolocation=()"}},
	)
}

// apiHeaders are on every response. Handlers of documents that may be kept replace Cache-Control.
func apiHeaders(hsts bool) []header {
	headers := []header{
		{"X-Content-Type-Options", []string{"nosniff"}},
		{"X-Frame-Options", []string{"DENY"}}, // for what does not know frame-ancestors (security.md C6)
		{"Cache-Control", noStore},
	}
	if hsts {
		headers = append(headers, header{"Strict-Transport-Security", []string{"max-age=31536000"}})
	}
	return headers
}

// The policy of pages, in the three parts between which a page's own sources go (security.md C7).
const (
	policyStart  = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"
	policyMiddle = "; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; form-action 'self'"
)

var (
	pagePolicy = []string{policyStart + policyMiddle}
	apiPolicy  = []string{"default-src 'none'; frame-ancestors 'none'"}
)

func (res *response) setPolicy() {
	h := res.Header()
	switch {
	case res.kind == kindAPI:
		if len(h["Content-Security-Policy"]) == 0 {
			h["Content-Security-Policy"] = apiPolicy
		}
	case res.formTargets == "" && res.imageOrigins == "" && res.frameOrigins == "":
		h["Content-Security-Policy"] = pagePolicy
	default:
		h["Content-Security-Policy"] = []string{policyStart + res.imageOrigins + res.frames() + policyMiddle + res.formTargets}
	}
}

// FormAction allows this page's forms to end at u: its origin, or its scheme for a custom one. Browsers apply form-action to where
// a form's POST is redirected to as well (pages.md trap 1), so it belongs on the page that contains the form, before Render. u is
// a registered redirect URI; anything that could not be one is left out of the policy.
func FormAction(w http.ResponseWriter, u string) {
	if res := writerOf(w); res != nil {
		if s := formSource(u); s != "" {
			res.formTargets += " " + s
		}
	}
}

// ImageOrigin allows images of u's origin on this page (a client's logo). https only.
func ImageOrigin(w http.ResponseWriter, u string) {
	if res := writerOf(w); res != nil {
		if p, err := url.Parse(u); err == nil && p.Scheme == "https" {
			if s := Origin(p); s != "" && !strings.Contains(s, "[") { // see formSource
				res.imageOrigins += " " + s
			}
		}
	}
}

// FrameOrigin allows frames of u's origin on this page: an application that hears of a sign-out in one.
func FrameOrigin(w http.ResponseWriter, u string) {
	if res := writerOf(w); res != nil {
		if s := formSource(u); strings.HasPrefix(s, "http") {
			res.frameOrigins += " " + s
		}
	}
}

// FramesFor is how long a browser that is to go on waits for frames once the page is there.
const FramesFor = 2 * time.Second

// LoadThenGo allows a page its frames and then leads to next without script, "" = it stays (Front-Channel Logout 1.0 §2).
func LoadThenGo(w http.ResponseWriter, frames []string, next string) {
	for _, u := range frames {
		FrameOrigin(w, u)
	}
	if next != "" {
		wait := time.Duration(0)
		if len(frames) > 0 {
			wait = FramesFor
		}
		w.Header().Set("Refresh", strconv.Itoa(int(wait/time.Second))+"; url="+next)
	}
}

func (res *response) frames() string {
	if res.frameOrigins == "" {
		return ""
	}
	return "; frame-src" + res.frameOrigins
}

func formSource(u string) string {
	p, err := url.Parse(u)
	if err != nil || p.User != nil {
		return ""
	}
	switch p.Scheme {
	case "https", "http":
		if strings.HasPrefix(p.Host, "[") && Origin(p) != "" {
			return p.Scheme + ":" // a policy cannot name an IPv6 address (CSP Level 3 §6.7.2.9)
		}
		return Origin(p)
	}
	// url.Parse has checked the scheme's letters and lowered them (RFC 3986 §3.1); none of them ends a source or a directive.
	if p.Scheme == "" || forbiddenScheme(p.Scheme) {
		return ""
	}
	return p.Scheme + ":"
}

// Origin of u as browsers write it (RFC 6454 §6.2), which is also a CSP source; "" when u has none or holds a character that would
// be something else in a header.
func Origin(u *url.URL) string {
	if u == nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if host == "" || !plainHost(host) || !plainPort(port) {
		return ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// plainHost admits lower-case DNS names and addresses, and nothing that means something elsewhere.
func plainHost(host string) bool {
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		return err == nil && a.Is6() && a.Zone() == ""
	}
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func plainPort(port string) bool {
	if len(port) > 5 {
		return false
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return true
}
