package provider_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// The tests of this file are named after the modules of the OpenID Foundation's conformance suite (plans: config, basic, form post basic,
// RP-initiated logout) and assert what those modules assert. Modules that the suite skips for us have a test that asserts the reason.

// full is the certification user: every standard claim has a value.
func full(i *testidp.IDP) testidp.Person {
	return i.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Username: "ada", Phone: "+41441234567",
		Profile: store.Profile{MiddleName: "King", Nickname: "Countess", Website: "https://ada.example", ProfileURL: "https://ada.example/me",
			Picture: "https://ada.example/me.png", Gender: "female", Birthdate: "1815-12-10", Organization: "Analytical Engines",
			Address: store.Address{Formatted: "12 St James's Square\nLondon", Street: "12 St James's Square", Locality: "London", Country: "GB"}}})
}

// certified is a client as the suite registers it: no PKCE, all scopes.
func certified(i *testidp.IDP, auth string) *testidp.RP {
	off := false
	return i.RP(store.ClientMetadata{RequirePKCE: &off, TokenEndpointAuth: auth, GrantTypes: []string{"authorization_code", "refresh_token"},
		Scope: "openid profile email phone address offline_access", PostLogoutRedirectURIs: []string{"https://rp.example/bye"}})
}

var noPKCE = []string{"code_challenge", "", "code_challenge_method", ""}

// answers of both plans: response mode default and form_post.
func modes(t *testing.T, f func(t *testing.T, more []string)) {
	t.Run("basic", func(t *testing.T) { t.Parallel(); f(t, noPKCE) })
	t.Run("formpost", func(t *testing.T) { t.Parallel(); f(t, append([]string{"response_mode", "form_post"}, noPKCE...)) })
}

// answer takes the answer from the address or from the form_post page.
func answer(t testing.TB, p *testidp.Page) url.Values {
	t.Helper()
	if p.Status == 0 {
		return p.URL.Query()
	}
	f := p.Form("form-post-response")
	if p.URL.Query().Has("code") {
		t.Error("the code is in the URL as well")
	}
	return f.Values
}

// run goes through the pages to the answer; form_post ends on its page.
func run(t testing.TB, b *testidp.Browser, a testidp.Attempt, who testidp.Person) url.Values {
	t.Helper()
	p := b.Get(a.URL)
	for range 4 {
		switch {
		case p.Status == 0, p.Has("form-post-response"):
			q := answer(t, p)
			if q.Get("state") != a.State {
				t.Errorf("state %q", q.Get("state"))
			}
			return q
		case p.Has("login-form"):
			p = b.SignIn(p, who)
		default:
			p = b.Consent(p)
		}
	}
	t.Fatalf("stuck at %s", p)
	return nil
}

// redeem exchanges the code of an answer and verifies the ID token as the suite does.
func redeem(t testing.TB, rp *testidp.RP, a testidp.Attempt, q url.Values) (testidp.Response, map[string]any) {
	t.Helper()
	r := rp.Redeem(q.Get("code"), "")
	if r.Status != 200 {
		t.Fatalf("%v: %d %s", q, r.Status, r.Body)
	}
	if r.JSON["expires_in"] != 600.0 || r.String("token_type") != "Bearer" {
		t.Errorf("token response %v", r.JSON)
	}
	_, c := jwtClaims(t, r.String("id_token"))
	if c["nonce"] != a.Nonce && a.Nonce != "" {
		t.Errorf("nonce %v", c["nonce"])
	}
	return r, c
}

func TestOIDCC_Server(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		rp := certified(idp, auth)
		modes(t, func(t *testing.T, more []string) {
			a := rp.Start(append([]string{"scope", "openid"}, more...)...)
			r, c := redeem(t, rp, a, run(t, idp.Browser(), a, ada))
			if c["iss"] != idp.Issuer || c["aud"] != rp.ID || c["sub"] != ada.ID || c["at_hash"] == nil || c["auth_time"] == nil {
				t.Errorf("ID token %v", c)
			}
			for _, unrequested := range []string{"name", "email", "address", "phone_number", "given_name"} {
				if c[unrequested] != nil {
					t.Errorf("unrequested claim %s", unrequested)
				}
			}
			h, _ := jwtClaims(t, r.String("id_token"))
			keys := jwks(t, idp)
			if kid, _ := h["kid"].(string); h["alg"] != "RS256" || len(keys.Key(kid)) != 1 {
				t.Errorf("header %v", h)
			}
		})
	}
}

func TestOIDCC_IDTokenSignature(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	set := tokens(t, idp.Browser(), rp, full(idp)) // verified by go-oidc
	if h, _ := jwtClaims(t, set.RawID); h["alg"] != "RS256" || h["kid"] == "" {
		t.Errorf("header %v", h)
	}
}

func TestOIDCC_IDTokenUnsigned(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	for _, k := range []string{"id_token_signing_alg_values_supported", "request_object_signing_alg_values_supported"} {
		if list, _ := rp.Metadata()[k].([]any); len(list) == 0 || slices.Contains(list, any("none")) {
			t.Errorf("%s: %v (the module is skipped because none is not there)", k, list)
		}
	}
}

func TestOIDCC_ResponseTypeMissing(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	modes(t, func(t *testing.T, more []string) {
		a := rp.Start(append([]string{"response_type", ""}, more...)...)
		if q := answer(t, idp.Browser().Get(a.URL)); q.Get("error") != "invalid_request" || q.Get("state") != a.State {
			t.Errorf("%v", q)
		}
	})
}

func TestOIDCC_Scopes(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	rp := certified(idp, "")
	want := map[string][]string{
		"profile": {"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "updated_at"},
		"email":   {"email", "email_verified"},
		"phone":   {"phone_number", "phone_number_verified"},
		"address": {"address"},
	}
	for _, scope := range []string{"openid profile", "openid email", "openid address", "openid phone", "address email openid phone profile"} {
		a := rp.Start("scope", scope, "code_challenge", "", "code_challenge_method", "")
		r, _ := redeem(t, rp, a, run(t, idp.Browser(), a, ada))
		_, c := rp.UserInfo(r.String("access_token"))
		for s, names := range want {
			for _, n := range names {
				if has := c[n] != nil; has != strings.Contains(scope, s) {
					t.Errorf("scope %q, claim %s: %v", scope, n, c[n])
				}
			}
		}
		if strings.Contains(scope, "profile") {
			if _, ok := c["updated_at"].(float64); !ok {
				t.Errorf("updated_at is %T", c["updated_at"])
			}
		}
		if adr, ok := c["address"].(map[string]any); ok && adr["formatted"] == nil {
			t.Errorf("address %v", adr)
		}
	}
}

func TestOIDCC_IgnoredParameters(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	rp := certified(idp, "")
	b := idp.Browser()
	for _, more := range [][]string{{"display", "page"}, {"display", "popup"}, {"ui_locales", "se fr-CA"}, {"claims_locales", "se"}, {"extra", "foobar"}, {"nonce", ""}, {"login_hint", ada.Email},
		{"acr_values", "1 2"}} {
		a := rp.Start(append(slices.Clone(more), noPKCE...)...)
		if more[0] == "nonce" {
			a.Nonce = ""
		}
		_, c := redeem(t, rp, a, run(t, b, a, ada))
		if more[0] == "acr_values" && c["acr"] != "1" {
			t.Errorf("acr %v", c["acr"])
		}
		if more[0] == "nonce" && c["nonce"] != nil {
			t.Error("a nonce nobody sent")
		}
	}
	// login_hint: prefilled.
	p := idp.Browser().Get(rp.Start("login_hint", ada.Email).URL)
	if got := p.Attr("login-identifier", "value"); got != ada.Email {
		t.Errorf("login_hint: %q", got)
	}
}

func TestOIDCC_PromptLogin(t *testing.T) {
	t.Parallel()
	freshAfter(t, "prompt", "login")
}

func TestOIDCC_MaxAge1(t *testing.T) {
	t.Parallel()
	freshAfter(t, "max_age", "1")
}

// freshAfter: the second request shows the sign-in page, and auth_time moves.
func freshAfter(t *testing.T, param, value string) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := full(idp)
		rp := certified(idp, "")
		b := idp.Browser()
		first := tokens(t, b, rp, ada)
		time.Sleep(2 * time.Second)
		a := rp.Start(param, value)
		p := b.Get(a.URL).Want(200, "login-title")
		set := rp.Finish(a, b.SignIn(p, ada).URL)
		if set.Claims["auth_time"].(float64) <= first.Claims["auth_time"].(float64) || set.IDToken.Subject != first.IDToken.Subject {
			t.Errorf("auth_time %v after %v", set.Claims["auth_time"], first.Claims["auth_time"])
		}
	})
}

func TestOIDCC_PromptNoneNotLoggedIn(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	modes(t, func(t *testing.T, more []string) {
		a := rp.Start(append([]string{"prompt", "none"}, more...)...)
		if q := answer(t, idp.Browser().Get(a.URL)); q.Get("error") != "login_required" {
			t.Errorf("%v", q)
		}
	})
}

func TestOIDCC_SilentSuccess(t *testing.T) { // prompt-none-logged-in, max-age-10000, id-token-hint
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := full(idp)
		rp := certified(idp, "")
		b := idp.Browser()
		first := tokens(t, b, rp, ada)
		time.Sleep(time.Hour) // the hint has expired
		for _, more := range [][]string{{"prompt", "none"}, {"max_age", "10000"}, {"prompt", "none", "id_token_hint", first.RawID}} {
			a := rp.Start(more...)
			p := b.Get(a.URL)
			if p.Status != 0 {
				t.Fatalf("%v: a page: %s", more, p)
			}
			set := rp.Finish(a, p.URL)
			if set.IDToken.Subject != ada.ID || set.Claims["auth_time"] != first.Claims["auth_time"] {
				t.Errorf("%v: %v", more, set.Claims)
			}
		}
	})
}

func TestOIDCC_CodeReuse(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	ada := full(idp)
	a := rp.Start(noPKCE...)
	q := run(t, idp.Browser(), a, ada)
	redeem(t, rp, a, q)
	wantError(t, rp.Redeem(q.Get("code"), ""), 400, "invalid_grant")
}

func TestOIDCC_CodeReuse30Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		rp := certified(idp, "")
		ada := full(idp)
		a := rp.Start(noPKCE...)
		q := run(t, idp.Browser(), a, ada)
		r, _ := redeem(t, rp, a, q)
		time.Sleep(30 * time.Second)
		wantError(t, rp.Redeem(q.Get("code"), ""), 400, "invalid_grant")
		if s, _ := rp.UserInfo(r.String("access_token")); s != 401 {
			t.Errorf("the first access token lives: %d", s)
		}
	})
}

func TestOIDCC_EnsureRegisteredRedirectURI(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	p := idp.Browser().Get(rp.Start("redirect_uri", "https://rp.example/other").URL)
	if !p.Has("error-page") || p.Text("error-code") != "invalid_request" {
		t.Errorf("%s", p)
	}
}

func TestOIDCC_EnsurePostRequestSucceeds(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	ada := full(idp)
	b := idp.Browser()
	a := rp.Start(noPKCE...)
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	u.RawQuery = ""
	p := b.CrossSitePost(u.String(), q).Want(200, "login-title")
	p = b.Consent(b.SignIn(p, ada))
	redeem(t, rp, a, p.URL.Query())
}

func TestOIDCC_ClaimsEssential(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	rp := certified(idp, "")
	a := rp.Start(append([]string{"scope", "openid", "claims", `{"userinfo":{"name":{"essential":true}},"id_token":{"email":null}}`}, noPKCE...)...)
	r, c := redeem(t, rp, a, run(t, idp.Browser(), a, ada))
	if c["email"] != ada.Email {
		t.Errorf("ID token %v", c)
	}
	if _, info := rp.UserInfo(r.String("access_token")); info["name"] != "Ada Lovelace" || info["email"] != nil {
		t.Errorf("userinfo %v", info)
	}
}

func TestOIDCC_RefreshToken(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	one, two := certified(idp, ""), certified(idp, "")
	b := idp.Browser()
	more := append([]string{"scope", "openid offline_access", "prompt", "consent"}, noPKCE...)
	a1, a2 := one.Start(more...), two.Start(more...)
	r1, c1 := redeem(t, one, a1, run(t, b, a1, ada))
	r2, _ := redeem(t, two, a2, run(t, b, a2, ada))
	again := one.Token(refreshForm(r1.String("refresh_token")))
	if again.Status != 200 {
		t.Fatal(again.Body)
	}
	_, c := jwtClaims(t, again.String("id_token"))
	for _, k := range []string{"iss", "sub", "aud", "auth_time"} {
		if c[k] != c1[k] {
			t.Errorf("%s: %v, was %v", k, c[k], c1[k])
		}
	}
	wantError(t, one.Token(refreshForm(r2.String("refresh_token"))), 400, "invalid_grant")
	if r := two.Token(refreshForm(r2.String("refresh_token"))); r.Status != 200 {
		t.Errorf("client two was harmed: %s", r.Body)
	}
}

func TestOIDCC_EnsureRequestWithValidPKCESucceeds(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := certified(idp, "")
	tokens(t, idp.Browser(), rp, full(idp))
}

// TestOIDCC_DiscoveryEndpointVerification is the Config OP plan.
func TestOIDCC_DiscoveryEndpointVerification(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	_, body := idp.Get("/.well-known/openid-configuration")
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	if m["issuer"] != idp.Issuer {
		t.Errorf("issuer %v", m["issuer"])
	}
	for k, v := range m {
		s, isText := v.(string)
		if (strings.HasSuffix(k, "_endpoint") || k == "jwks_uri") && (!isText || !strings.HasPrefix(s, idp.Issuer+"/")) {
			t.Errorf("%s: %v", k, v)
		}
	}
	for k, must := range map[string]string{"response_types_supported": "code", "grant_types_supported": "authorization_code", "id_token_signing_alg_values_supported": "RS256",
		"request_object_signing_alg_values_supported": "RS256", "subject_types_supported": "public", "claims_supported": "sub", "scopes_supported": "openid", "acr_values_supported": "1",
		"token_endpoint_auth_methods_supported": "client_secret_basic", "code_challenge_methods_supported": "S256"} {
		if list, _ := m[k].([]any); !slices.Contains(list, any(must)) {
			t.Errorf("%s: %v", k, m[k])
		}
	}
	kids := map[string]bool{}
	for _, k := range jwks(t, idp).Keys {
		if kids[k.KeyID] {
			t.Errorf("kid %s twice", k.KeyID)
		}
		kids[k.KeyID] = true
	}
}
