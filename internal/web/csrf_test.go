package web

import (
	"net/http"
	"strings"
	"testing"
)

// C4: every form of ours needs our token and our origin.
func TestSec_C4_CrossSiteForms(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	reached := 0
	f.Page("GET /form", Public, f.show)
	f.Page("POST /form", Public, func(w http.ResponseWriter, r *http.Request) error { reached++; return okay(w, r) })
	f.Page("POST /oauth2/authorize", Public, func(w http.ResponseWriter, r *http.Request) error { reached++; return okay(w, r) }, CrossSitePOST)

	signedOut := f.tokenOf(t, "/form")
	ann := f.tokenOf(t, "/form", "Cookie", "who=ann")
	again := f.tokenOf(t, "/form", "Cookie", "who=ann")
	if ann == again {
		t.Error("two pages show the same token")
	}
	other := newFake(t, func(c *Config) { c.CSRFKey = make([]byte, 32) })
	other.Page("GET /form", Public, other.show)
	foreign := other.tokenOf(t, "/form", "Cookie", "who=ann")

	const cookieAnn, cookieB1 = "who=ann", "browser=b1"
	for name, tc := range map[string]struct {
		body   string
		head   []string
		status int
	}{
		"signed out":                  {form("form_token", signedOut), []string{"Cookie", cookieB1}, 200},
		"signed in":                   {form("form_token", ann), []string{"Cookie", cookieAnn}, 200},
		"the other page's token":      {form("form_token", again), []string{"Cookie", cookieAnn}, 200},
		"same origin":                 {form("form_token", ann), []string{"Cookie", cookieAnn, "Sec-Fetch-Site", "same-origin", "Origin", issuer}, 200},
		"no token":                    {"a=b", []string{"Cookie", cookieAnn}, 403},
		"empty token":                 {form("form_token", ""), []string{"Cookie", cookieAnn}, 403},
		"two tokens":                  {form("form_token", ann, "form_token", ann), []string{"Cookie", cookieAnn}, 403},
		"token from before sign-in":   {form("form_token", signedOut), []string{"Cookie", cookieAnn + "; " + cookieB1}, 403},
		"another person's token":      {form("form_token", ann), []string{"Cookie", "who=eve"}, 403},
		"another browser's token":     {form("form_token", signedOut), []string{"Cookie", "browser=b2"}, 403},
		"no cookie":                   {form("form_token", signedOut), nil, 403},
		"another key":                 {form("form_token", foreign), []string{"Cookie", cookieAnn}, 403},
		"cut token":                   {form("form_token", ann[:len(ann)-4]), []string{"Cookie", cookieAnn}, 403},
		"bent token":                  {form("form_token", bend(ann)), []string{"Cookie", cookieAnn}, 403},
		"line breaks":                 {form("form_token", strings.Repeat("\n", len(ann))), []string{"Cookie", cookieAnn}, 403},
		"not base64":                  {form("form_token", strings.Repeat("*", len(ann))), []string{"Cookie", cookieAnn}, 403},
		"cross-site":                  {form("form_token", ann), []string{"Cookie", cookieAnn, "Sec-Fetch-Site", "cross-site"}, 403},
		"same-site sibling":           {form("form_token", ann), []string{"Cookie", cookieAnn, "Sec-Fetch-Site", "same-site"}, 403},
		"foreign Origin, old browser": {form("form_token", ann), []string{"Cookie", cookieAnn, "Origin", "https://evil.example"}, 403},
		"Origin null":                 {form("form_token", ann), []string{"Cookie", cookieAnn, "Origin", "null"}, 403},
	} {
		before := reached
		w := f.do(t, "POST", "/form", tc.body, tc.head...)
		if w.Code != tc.status || (reached > before) != (tc.status == 200) {
			t.Errorf("%s: %d, handler reached %v", name, w.Code, reached > before)
		}
	}

	// A token in the query is none, and neither is one in another kind of body.
	if w := f.do(t, "POST", "/form?form_token="+ann, "a=b", "Cookie", cookieAnn); w.Code != 403 {
		t.Errorf("token in the query: %d", w.Code)
	}
	if w := f.do(t, "POST", "/form", "{}", "Cookie", cookieAnn, "Content-Type", "application/json"); w.Code != 403 {
		t.Errorf("JSON body: %d", w.Code)
	}
	multipart := "--x\r\nContent-Disposition: form-data; name=\"form_token\"\r\n\r\n" + ann + "\r\n--x--\r\n"
	if w := f.do(t, "POST", "/form", multipart, "Cookie", cookieAnn, "Content-Type", "multipart/form-data; boundary=x"); w.Code != 403 {
		t.Errorf("multipart body: %d", w.Code)
	}
	// The exemptions of settled detail 6.
	if w := f.do(t, "POST", "/oauth2/authorize", "a=b", "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"); w.Code != 200 {
		t.Errorf("authorization request by POST: %d", w.Code)
	}
}

// bend changes one bit of the token's end.
func bend(token string) string {
	last := "A"
	if token[len(token)-1] == 'A' {
		last = "Q"
	}
	return token[:len(token)-1] + last
}

// A browser without a cookie gets one with its first form, once.
func TestFirstFormBindsTheBrowser(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.Page("GET /form", Public, func(w http.ResponseWriter, r *http.Request) error {
		if a, b := FormToken(w, r), FormToken(w, r); a == "" || a != b {
			t.Errorf("tokens %q and %q on one page", a, b)
		}
		return f.show(w, r)
	})
	if n := len(f.do(t, "GET", "/form", "").Result().Cookies()); n != 1 {
		t.Errorf("%d cookies set", n)
	}
	if n := len(f.do(t, "GET", "/form", "", "Cookie", "browser=b7").Result().Cookies()); n != 0 {
		t.Errorf("%d cookies set for a browser that has one", n)
	}
}
