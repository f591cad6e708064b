package connectors

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// graph calls the Graph API. A bearer "" sends the parameters as a form, which is how the code is exchanged. Parameters, bearer and further
// secrets appear in no error.
func (f *Facebook) graph(ctx context.Context, method, path string, p url.Values, bearer string, secrets ...string) (claims, http.Header, error) {
	address := f.cfg.GraphURL + "/" + f.cfg.Version + path
	secrets = append(secrets, f.cfg.ClientSecret, bearer, p.Get("code"), p.Get("code_verifier"), p.Get("appsecret_proof"))
	var status int
	var header http.Header
	var body []byte
	var err error
	if bearer == "" {
		status, header, body, err = f.client.form(ctx, address, p)
	} else {
		status, header, body, err = bearerCall(ctx, f.client.http, method, address+"?"+p.Encode(), bearer)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := readClaims(body)
	if err != nil {
		return nil, nil, &Error{Kind: Upstream, Err: fmt.Errorf("Facebook answers %d without JSON: %w", status, err)}
	}
	if _, failed := c["error"]; failed || status != http.StatusOK {
		return nil, nil, graphError(status, c, secrets...)
	}
	return c, header, nil
}

// graphError reads {"error":{"message","type","code","error_subcode","fbtrace_id"}}, the shape of Facebook's own that takes the place of
// RFC 6749 §5.2. Its Code is "190/458": code and subcode.
func graphError(status int, c claims, secrets ...string) *Error {
	e := &Error{Kind: Upstream, Code: strconv.Itoa(status), Err: fmt.Errorf("Facebook answers %d", status)}
	inner, ok := c["error"].(map[string]any)
	if !ok {
		if s := c.exact("error"); s != "" {
			e.Code = clean(s, secrets...)
		}
		return e
	}
	g := claims(inner)
	code, subcode := g.number("code"), g.number("error_subcode")
	if code != 0 {
		e.Code = strconv.Itoa(code)
	}
	if subcode != 0 {
		e.Code += "/" + strconv.Itoa(subcode)
	}
	e.Detail = clean(g.exact("message"), secrets...)
	if trace := g.exact("fbtrace_id"); trace != "" {
		e.Detail += " (fbtrace_id " + clean(trace, secrets...) + ")" // Meta asks for it when one asks them
	}
	e.Kind = graphKind(status, code, subcode, g.exact("message"))
	if g.yes("is_transient", false) {
		e.Kind = Upstream
	}
	return e
}

// number is a whole number, or one in a string; 0 when it is neither.
func (c claims) number(path string) int {
	var s string
	switch v := c.at(path).(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// graphKind classes Facebook's error codes.
func graphKind(status, code, subcode int, message string) Kind {
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
		return Upstream
	}
	switch code {
	case 1: // "unknown, try again"; a wrong secret comes with the same number
		if strings.Contains(message, "client secret") {
			return Misconfigured
		}
		return Upstream
	case 2, 4, 17, 32, 341, 613: // temporary; too many calls
		return Upstream
	case 102, 190: // the token, or the session behind it
		switch subcode {
		case 458, 459, 460, 464: // app removed, checkpoint, password changed, unconfirmed: the person has to do something at Facebook
			return Denied
		}
		return Invalid
	case 368: // blocked
		return Denied
	case 100:
		switch subcode {
		case 36007, 36009: // code expired, code used
			return Invalid
		}
		if strings.Contains(message, "verification code") && subcode != 36008 { // 36008: the redirect address is another
			return Invalid
		}
	case 0:
		return Upstream
	}
	return Misconfigured // 3, 10, 101, 104, 200-299, 2500 and what nobody knows: app, rights or version
}

// dialogError is what the dialog sends when it fails on its own account: error_code without error.
func dialogError(callback url.Values) *Error {
	if callback.Get("error") != "" || callback.Get("error_code") == "" {
		return nil
	}
	code, _ := strconv.Atoi(callback.Get("error_code"))
	return &Error{
		Kind: graphKind(http.StatusBadRequest, code, 0, ""), Code: clean(callback.Get("error_code")),
		Detail: clean(cmp.Or(callback.Get("error_message"), callback.Get("error_description"))),
	}
}

// graphVersion is a version of the Graph API and the day on which it ends, the zero time while none is announced.
type graphVersion struct {
	version string
	ends    time.Time
}

// graphVersions is Meta's list as of its changelog of 2026-07-29, newest first.
func graphVersions() []graphVersion {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	return []graphVersion{
		{"v26.0", time.Time{}}, {"v25.0", day(2028, 7, 29)}, {"v24.0", day(2028, 2, 18)}, {"v23.0", day(2027, 10, 8)},
		{"v22.0", day(2027, 5, 20)}, {"v21.0", day(2027, 1, 21)}, {"v20.0", day(2026, 9, 24)},
	}
}

var versionForm = regexp.MustCompile(`^v([1-9][0-9]{0,2})\.([0-9])$`)

// versionNumber orders versions; 0 is none.
func versionNumber(v string) int {
	m := versionForm.FindStringSubmatch(v)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major*10 + minor
}

// versionNotice is how long before its end a version is warned about.
const versionNotice = 90 * 24 * time.Hour

// VersionWarning is what an operator must know about the configured version at this time, "" for nothing. It begins 90 days before the end.
func (f *Facebook) VersionWarning(now time.Time) string {
	list := graphVersions()
	newest, oldest := list[0].version, list[len(list)-1].version
	for _, v := range list {
		if v.version != f.cfg.Version {
			continue
		}
		switch {
		case v.ends.IsZero() || now.Before(v.ends.Add(-versionNotice)):
			return ""
		case now.Before(v.ends):
			return fmt.Sprintf("Graph API %s ends on %s: change to %s", v.version, v.ends.Format(time.DateOnly), newest)
		}
		return fmt.Sprintf("Graph API %s ended on %s, and Facebook answers as a newer one does: change to %s", v.version, v.ends.Format(time.DateOnly), newest)
	}
	switch n := versionNumber(f.cfg.Version); {
	case n < versionNumber(oldest):
		return fmt.Sprintf("Graph API %s ended long ago: change to %s", f.cfg.Version, newest)
	case n < versionNumber(newest):
		return fmt.Sprintf("Graph API %s is not known to exist: change to %s", f.cfg.Version, newest)
	}
	return "" // newer than this release
}
