package suite

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/twilio/twiliotest"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// address gives every route of the table an address to try it at. A route without one fails the test: whoever adds a route says here
// how it is reached, and the walk proves its guards.
var address = map[string]string{
	"/.well-known/oauth-authorization-server": "/.well-known/oauth-authorization-server",
	"/.well-known/openid-configuration":       "/.well-known/openid-configuration",
	"/account":                                "/account",
	"/account/delete":                         "/account/delete",
	"/account/export":                         "/account/export",
	"/account/apps/remove":                    "/account/apps/remove",
	"/account/connections":                    "/account/connections",
	"/account/connections/{connector}/link":   "/account/connections/oidc/link",
	"/account/connections/{id}/unlink":        "/account/connections/x/unlink",
	"/admin/invites":                          "/admin/invites",
	"/admin/new-invite":                       "/admin/new-invite",
	"/admin/invites/{id}/decide":              "/admin/invites/x/decide",
	"/admin/invites/{id}/send":                "/admin/invites/x/send",
	"/admin/invites/{id}/revoke":              "/admin/invites/x/revoke",
	"/invite/{token}":                         "/invite/abcdefghijklmnopqrstuvwxyz0123456789abcdefg",
	"/invite":                                 "/invite",
	"/invite/accepted":                        "/invite/accepted",
	"/admin/privilege-requests":               "/admin/privilege-requests",
	"/admin/privilege-requests/{id}":          "/admin/privilege-requests/x",
	"/account/phone":                          "/account/phone",
	"/account/phone/code":                     "/account/phone/code?join=x",
	"/account/phone/remove":                   "/account/phone/remove",
	"/account/phone/resend":                   "/account/phone/resend?join=x",
	"/account/passkeys":                       "/account/passkeys",
	"/account/passkeys/options":               "/account/passkeys/options",
	"/account/passkeys/{id}/remove":           "/account/passkeys/x/remove",
	"/account/passkeys/{id}/rename":           "/account/passkeys/x/rename",
	"/login/offer-passkey":                    "/login/offer-passkey",
	"/login/offer-passkey/later":              "/login/offer-passkey/later",
	"/login/passkey":                          "/login/passkey",
	"/login/passkey/options":                  "/login/passkey/options",
	"/mfa/enrol/passkey":                      "/mfa/enrol/passkey",
	"/mfa/enrol/passkey/options":              "/mfa/enrol/passkey/options",
	"/mfa/passkey":                            "/mfa/passkey",
	"/mfa/passkey/options":                    "/mfa/passkey/options",
	"/account/privileges":                     "/account/privileges",
	"/account/privileges/request":             "/account/privileges/request",
	"/account/privileges/withdraw":            "/account/privileges/withdraw",
	"/account/security":                       "/account/security",
	"/account/security/recovery-codes":        "/account/security/recovery-codes",
	"/account/security/totp":                  "/account/security/totp",
	"/account/security/{id}/remove":           "/account/security/x/remove",
	"/account/security/{id}/rename":           "/account/security/x/rename",
	"/account/security/sms":                   "/account/security/sms",
	"/account/security/sms/code":              "/account/security/sms/code",
	"/account/security/sms/resend":            "/account/security/sms/resend",
	"/login/phone/proof/code":                 "/login/phone/proof/code",
	"/login/phone/proof/mail":                 "/login/phone/proof/mail",
	"/login/phone/proof/resend":               "/login/phone/proof/resend",
	"/mfa/enrol/sms":                          "/mfa/enrol/sms",
	"/mfa/enrol/sms/code":                     "/mfa/enrol/sms/code",
	"/mfa/enrol/sms/resend":                   "/mfa/enrol/sms/resend",
	"/mfa/sms":                                "/mfa/sms",
	"/mfa/sms/code":                           "/mfa/sms/code",
	"/mfa/sms/resend":                         "/mfa/sms/resend",
	"/mfa/ways":                               "/mfa/ways",
	"/mfa":                                    "/mfa",
	"/mfa/enrol":                              "/mfa/enrol",
	"/mfa/recovery":                           "/mfa/recovery",
	"/admin/users/{id}/reset-factors":         "/admin/users/x/reset-factors",
	"/account/sessions/end":                   "/account/sessions/end",
	"/account/sessions/end-others":            "/account/sessions/end-others",
	"/admin":                                  "/admin",
	"/admin/explain":                          "/admin/explain?user=x&privilege=customer",
	"/admin/new-privilege":                    "/admin/new-privilege",
	"/admin/preview":                          "/admin/preview?user=x&client=x",
	"/admin/privileges":                       "/admin/privileges",
	"/admin/privileges/{name}":                "/admin/privileges/customer",
	"/admin/privileges/{name}/delete":         "/admin/privileges/customer/delete",
	"/admin/privileges/{name}/describe":       "/admin/privileges/customer/describe",
	"/admin/privileges/{name}/exclude":        "/admin/privileges/customer/exclude",
	"/admin/privileges/{name}/include":        "/admin/privileges/customer/include",
	"/admin/rights":                           "/admin/rights",
	"/admin/users":                            "/admin/users",
	"/admin/users/export":                     "/admin/users/export",
	"/admin/new-user":                         "/admin/new-user",
	"/admin/users/{id}/account":               "/admin/users/x/account",
	"/admin/users/{id}/edit":                  "/admin/users/x/edit",
	"/admin/users/{id}/disable":               "/admin/users/x/disable",
	"/admin/users/{id}/enable":                "/admin/users/x/enable",
	"/admin/users/{id}/link":                  "/admin/users/x/link",
	"/admin/users/{id}/erase":                 "/admin/users/x/erase",
	"/admin/users/{id}/end-session":           "/admin/users/x/end-session",
	"/admin/users/{id}/end-access":            "/admin/users/x/end-access",
	"/admin/users/{id}/revoke":                "/admin/users/x/revoke",
	"/admin/users/{id}":                       "/admin/users/x",
	"/admin/users/{id}/give":                  "/admin/users/x/give",
	"/admin/users/{id}/take":                  "/admin/users/x/take",
	"/admin/users/{id}/type":                  "/admin/users/x/type",
	"/admin/users/{id}/end-authority":         "/admin/users/x/end-authority",
	"/callback/{connector}":                   "/callback/oidc?state=x&code=x",
	"/callback/{connector}/backchannel":       "/callback/oidc/backchannel",
	"/callback/{connector}/data-deletion":     "/callback/facebook/data-deletion",
	"/callback/{connector}/deauthorize":       "/callback/facebook/deauthorize",
	"/.well-known/change-password":            "/.well-known/change-password",
	"/account/email":                          "/account/email",
	"/account/email/code":                     "/account/email/code?join=x",
	"/account/email/resend":                   "/account/email/resend?join=x",
	"/account/password":                       "/account/password",
	"/login/forgot":                           "/login/forgot",
	"/login/forgot/sent":                      "/login/forgot/sent",
	"/login/reset/{token}":                    "/login/reset/abcdefghijklmnopqrstuvwxyz0123456789abcdefg",
	"/login/undo/{token}":                     "/login/undo/abcdefghijklmnopqrstuvwxyz0123456789abcdefg",
	"/register":                               "/register",
	"/register/code":                          "/register/code?join=x",
	"/register/resend":                        "/register/resend?join=x",
	"/account/act":                            "/account/act",
	"/account/act/stop":                       "/account/act/stop",
	"/account/authorities":                    "/account/authorities",
	"/account/authorities/end":                "/account/authorities/end",
	"/authority/{token}":                      "/authority/abcdefghijklmnopqrstuvwxyz0123456789abcdefg",
	"/consent":                                "/consent?flow=x",
	"/dev/outbox":                             "/dev/outbox",
	"/logged-out":                             "/logged-out",
	"/login":                                  "/login",
	"/login/complete":                         "/login/complete?join=x",
	"/login/complete/code":                    "/login/complete/code?join=x",
	"/login/complete/resend":                  "/login/complete/resend?join=x",
	"/login/link":                             "/login/link?join=x",
	"/login/new-password":                     "/login/new-password",
	"/hooks/twilio/status":                    "/hooks/twilio/status?message=x",
	"/login/phone":                            "/login/phone",
	"/login/phone/code":                       "/login/phone/code?join=x",
	"/login/phone/new":                        "/login/phone/new",
	"/login/phone/proof":                      "/login/phone/proof",
	"/login/phone/resend":                     "/login/phone/resend?join=x",
	"/login/start/{connector}":                "/login/start/oidc",
	"/logout":                                 "/logout",
	"/oauth2/authorize":                       "/oauth2/authorize?client_id=x",
	"/oauth2/introspect":                      "/oauth2/introspect",
	"/oauth2/jwks":                            "/oauth2/jwks",
	"/oauth2/logout":                          "/oauth2/logout",
	"/oauth2/logout/confirm":                  "/oauth2/logout/confirm",
	"/oauth2/revoke":                          "/oauth2/revoke",
	"/oauth2/token":                           "/oauth2/token",
	"/oauth2/userinfo":                        "/oauth2/userinfo",
	"/preferences":                            "/preferences",
	"/privacy/deletion/{code}":                "/privacy/deletion/x",
	"/setup/{token}":                          "/setup/abcdefghijklmnopqrstuvwxyz0123456789abcdefg",
	"/static/{hash}/{file...}":                "/static/0000000000000000/none.css",
	"/{$}":                                    "/",
}

// crossSite are the only page routes that take a form from another site (security.md C4). The list is here a second time on purpose.
var crossSite = []string{"POST /callback/{connector}", "POST /oauth2/authorize", "POST /oauth2/logout"}

// notices are the API routes for which a body's signature is all the proof there is: no client authenticates there, and no browser does.
var notices = []string{"POST /callback/{connector}/backchannel", "POST /callback/{connector}/data-deletion", "POST /callback/{connector}/deauthorize", "POST /hooks/twilio/status"}

type ask struct {
	name    string
	header  http.Header
	body    url.Values
	cookies []*http.Cookie
}

func hit(t testing.TB, idp *testidp.IDP, r web.Route, a ask) testidp.Response {
	t.Helper()
	method, path, _ := strings.Cut(r.Pattern, " ")
	to, ok := address[path]
	if !ok {
		t.Fatalf("the route %q has no address in this test: add it, so that its guards are proven", r.Pattern)
	}
	var body *strings.Reader = strings.NewReader(a.body.Encode())
	req, err := http.NewRequest(method, idp.Issuer+to, body)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range a.header {
		req.Header[k] = v
	}
	for _, c := range a.cookies {
		req.AddCookie(c)
	}
	res, ok := try(idp.HTTP(), req)
	if !ok {
		t.Fatalf("%s: no answer", r.Pattern)
	}
	return res
}

// TestEveryRouteIsGuarded walks the route table: anonymous, cross-site, without and with a foreign form token; the headers of every answer.
func TestEveryRouteIsGuarded(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Fakes: testidp.NewFakes(t, "oidc", "facebook"), Config: withPhone})
	ada, eve := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{})
	in, other := idp.Browser(), idp.Browser()
	in.SignIn(in.Get(idp.Issuer+"/login"), ada)
	page := other.SignIn(other.Get(idp.Issuer+"/login"), eve)
	foreign := between(page.Body, `name="form_token" value="`, `"`)
	if foreign == "" {
		t.Fatal("no form token on the account page")
	}
	session := []*http.Cookie{{Name: "__Host-latchkey", Value: in.Cookie("__Host-latchkey")}, {Name: "__Host-latchkey-flow", Value: in.Cookie("__Host-latchkey-flow")}}
	self, evil := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}, http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}
	old, null := http.Header{"Origin": {"https://evil.example"}}, http.Header{"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}}
	seen := map[string]bool{}
	for _, r := range idp.Server.Mux().Routes() {
		method, _, _ := strings.Cut(r.Pattern, " ")
		anonymous := hit(t, idp, r, ask{header: self})
		headers(t, r, anonymous)
		if anonymous.Status >= 500 {
			t.Errorf("%s: anonymous %d", r.Pattern, anonymous.Status)
		}
		if r.Rule != "public" && r.Kind == "page" && method == http.MethodGet && (anonymous.Status != http.StatusSeeOther || !strings.HasPrefix(anonymous.Header.Get("Location"), "/login")) {
			t.Errorf("%s: anonymous %d to %q", r.Pattern, anonymous.Status, anonymous.Header.Get("Location"))
		}
		if r.Kind == "api" {
			if c := hit(t, idp, r, ask{header: evil, cookies: session}); c.Header.Get("Set-Cookie") != "" || c.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: an API route deals in cookies", r.Pattern)
			}
			if slices.Contains(notices, r.Pattern) {
				before := idp.Store.Counts().Writes
				for _, body := range []url.Values{nil, {"signed_request": {"a.b"}, "logout_token": {"a.b.c"}}} {
					if c := hit(t, idp, r, ask{header: evil, cookies: session, body: body}); c.Status != http.StatusBadRequest {
						t.Errorf("%s: an unsigned notice: %d %s", r.Pattern, c.Status, c.Body)
					}
				}
				if n := idp.Store.Counts().Writes - before; n != 0 {
					t.Errorf("%s: unsigned notices wrote %d times", r.Pattern, n)
				}
				seen[r.Pattern] = true
			}
			continue
		}
		if method != http.MethodPost {
			continue
		}
		exempt := slices.Contains(r.Options, "cross_site_post")
		if exempt != slices.Contains(crossSite, r.Pattern) {
			t.Errorf("%s: takes cross-site posts: %v", r.Pattern, exempt)
		}
		for _, a := range []ask{
			{"cross-site", evil, url.Values{"form_token": {foreign}}, session},
			{"cross-site, old browser", old, nil, session},
			{"Origin null", null, nil, session},
			{"no token", self, nil, session},
			{"foreign token", self, url.Values{"form_token": {foreign}}, session},
			{"token of rubbish", self, url.Values{"form_token": {strings.Repeat("A", len(foreign))}}, session},
			{"token in the query only", self, nil, session},
		} {
			before := idp.Store.Counts().Writes
			got := hit(t, idp, r, a)
			if exempt {
				seen[r.Pattern] = true
				if n := idp.Store.Counts().Writes - before; n != 0 && r.Pattern != "POST /oauth2/authorize" {
					t.Errorf("%s, %s: wrote %d times", r.Pattern, a.name, n)
				}
				if got.Status != http.StatusSeeOther && got.Status != http.StatusBadRequest {
					t.Errorf("%s, %s: %d", r.Pattern, a.name, got.Status)
				}
				continue
			}
			if got.Status != http.StatusForbidden {
				t.Errorf("%s, %s: %d", r.Pattern, a.name, got.Status)
			}
			if n := idp.Store.Counts().Writes - before; n != 0 {
				t.Errorf("%s, %s: wrote %d times", r.Pattern, a.name, n)
			}
		}
	}
	for _, pattern := range slices.Concat(crossSite, notices) {
		if !seen[pattern] {
			t.Errorf("there is no route %s any more", pattern)
		}
	}
	// Other methods are refused as such, and unknown paths are pages of ours.
	for _, path := range []string{"/oauth2/token", "/login", "/account"} {
		req, err := http.NewRequest(http.MethodDelete, idp.Issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, ok := try(idp.HTTP(), req); !ok || res.Status != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
			t.Errorf("DELETE %s: %d, Allow %q", path, res.Status, res.Header.Get("Allow"))
		}
	}
	for _, path := range []string{"/nothing", "/oauth2/nothing", "//account", "/%61ccount", "/x/../account", "/account/", "/account;x", "/account%2f", "/ACCOUNT"} {
		if s, _ := idp.Get(path); s == http.StatusOK || s >= 500 { // security.md I5
			t.Errorf("%s: %d", path, s)
		}
	}
}

// headers every answer carries (pages.md 9, security.md A18, C6, C7, C12).
func headers(t testing.TB, r web.Route, res testidp.Response) {
	t.Helper()
	h := res.Header
	want := map[string]string{"X-Content-Type-Options": "nosniff"}
	if r.Kind == "page" {
		want["X-Frame-Options"], want["Referrer-Policy"], want["Cache-Control"] = "DENY", "same-origin", "no-store"
		csp := h.Get("Content-Security-Policy")
		for _, d := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "script-src 'self'", "form-action 'self'"} {
			if !strings.Contains(csp, d) {
				t.Errorf("%s: the policy lacks %s: %q", r.Pattern, d, csp)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", r.Pattern, csp)
		}
	}
	for k, v := range want {
		if h.Get(k) != v {
			t.Errorf("%s: %s %q, want %q", r.Pattern, k, h.Get(k), v)
		}
	}
	if h.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s: no HSTS over https", r.Pattern)
	}
}

// TestSec_C2_CookieAttributes: every cookie of every route is __Host-, Secure, HttpOnly, Lax, on /, without a domain.
func TestSec_C2_CookieAttributes(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Fakes: testidp.NewFakes(t, "oidc", "facebook")})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	a := rp.Start()
	b.Consent(b.SignIn(b.Get(a.URL), ada))
	b.Get(idp.Issuer + "/account")
	b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
	b.Through(b.Get(idp.Issuer+"/login"), "oidc", "ana").Want(200, "account-title")
	b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
	b.Through(b.Get(rp.Start().URL), "facebook", "alan").Want(200, "consent-title")
	seen := map[string]bool{}
	for _, x := range b.Log {
		if !strings.HasPrefix(x.URL.String(), idp.Issuer+"/") {
			continue
		}
		for _, c := range x.Cookies {
			seen[c.Name] = true
			if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
				t.Errorf("%s sets %s", x.URL.Path, c.Raw)
			}
		}
	}
	if !seen["__Host-latchkey"] || !seen["__Host-latchkey-flow"] {
		t.Errorf("cookies seen: %v", seen)
	}
}

// TestSec_J5_BrokenDatabaseOnEveryRoute: with the database gone every route answers something, never a 500 and never "not signed in".
func TestSec_J5_BrokenDatabaseOnEveryRoute(t *testing.T) {
	t.Parallel()
	gate := testidp.NewGate(t)
	idp := testidp.Start(t, testidp.Options{URL: gate.URL, Demo: true, Fakes: testidp.NewFakes(t, "oidc", "facebook"), Config: withPhone})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	b.Through(b.Get(idp.Issuer+"/login"), "oidc", "ana").Want(200, "account-title") // with keys and addresses of the upstream known
	b = idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), ada)
	signed, err := idp.Fakes.Facebook.SignedRequest(testidp.FacebookApp, "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := idp.Fakes.OIDC.LogoutToken("ana", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	session := []*http.Cookie{{Name: "__Host-latchkey", Value: b.Cookie("__Host-latchkey")}, {Name: "__Host-latchkey-flow", Value: b.Cookie("__Host-latchkey-flow")}}
	self := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
	gate.Shut()
	for _, r := range idp.Server.Mux().Routes() {
		a := ask{header: self, cookies: session}
		if slices.Contains(notices, r.Pattern) {
			// Good ones: told that it cannot be done now, the upstream comes again.
			a.body = url.Values{"signed_request": {signed}, "logout_token": {token}, "AccountSid": {twiliotest.AccountSID}, "MessageStatus": {"delivered"}}
			a.header = self.Clone()
			a.header.Set("X-Twilio-Signature", twiliotest.Sign(idp.Issuer+"/hooks/twilio/status?message=x", a.body, twiliotest.AuthToken))
		}
		got := hit(t, idp, r, a)
		if slices.Contains(notices, r.Pattern) && got.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", r.Pattern, got.Status, got.Body)
		}
		if got.Status >= 500 && got.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %.200s", r.Pattern, got.Status, got.Body)
		}
		if got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", r.Pattern)
		}
		if r.Rule != "public" && r.Kind == "page" && got.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d to %q for somebody whose session could not be read", r.Pattern, got.Status, got.Header.Get("Location"))
		}
		for _, leak := range []string{"store:", "pgconn", "SQLSTATE", "sql:", "dial tcp", "goroutine", "127.0.0.1:"} {
			if strings.Contains(got.Body, leak) {
				t.Errorf("%s: the answer says %q", r.Pattern, leak)
			}
		}
	}
}
