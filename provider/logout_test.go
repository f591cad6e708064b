package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// rpLogout starts a provider with somebody signed in.
func rpLogout(t *testing.T) (*testidp.IDP, *testidp.RP, *testidp.Browser, *testidp.Tokens) {
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	rp := certified(idp, "")
	b := idp.Browser()
	return idp, rp, b, tokens(t, b, rp, ada)
}

const bye = "https://rp.example/bye"

// signedIn asks silently.
func signedIn(t testing.TB, rp *testidp.RP, b *testidp.Browser) bool {
	t.Helper()
	a := rp.Start("prompt", "none", "scope", "openid")
	q := b.Get(a.URL).URL.Query()
	if e := q.Get("error"); e != "" && e != "login_required" {
		t.Errorf("silent request: %v", q)
	}
	return q.Get("code") != ""
}

func TestOIDCC_RPInitiatedLogout(t *testing.T) {
	t.Parallel()
	_, rp, b, set := rpLogout(t)
	state := strings.Repeat("s", 128)
	p := b.Get(rp.LogoutURL("id_token_hint", set.RawID, "post_logout_redirect_uri", bye, "state", state))
	if p.URL.String() != bye+"?state="+state {
		t.Errorf("ended at %s", p)
	}
	if signedIn(t, rp, b) {
		t.Error("still signed in")
	}
	if s, _ := rp.UserInfo(set.AccessToken); s != 200 { // the set is standalone: offline_access
		t.Errorf("a standalone grant ended with the session: %d", s)
	}
}

func TestOIDCC_RPInitiatedLogoutNoState(t *testing.T) {
	t.Parallel()
	_, rp, b, set := rpLogout(t)
	if p := b.Get(rp.LogoutURL("id_token_hint", set.RawID, "post_logout_redirect_uri", bye)); p.URL.String() != bye {
		t.Errorf("ended at %s", p)
	}
}

func TestOIDCC_RPInitiatedLogoutBadRequests(t *testing.T) {
	t.Parallel()
	idp, rp, b, set := rpLogout(t)
	head, payload, _ := strings.Cut(set.RawID, ".")
	_ = head
	payload, sig, _ := strings.Cut(payload, ".")
	none := strings.TrimRight(encode(`{"alg":"none","typ":"JWT"}`), "=") + "." + payload + "."
	other := testidp.Start(t, testidp.Options{Config: nil})
	foreign := tokens(t, other.Browser(), certified(other, ""), full(other)).RawID
	for name, more := range map[string][]string{
		"bad-post-logout-redirect-uri":            {"id_token_hint", set.RawID, "post_logout_redirect_uri", "https://rp.example/else"},
		"query-added-to-post-logout-redirect-uri": {"id_token_hint", set.RawID, "post_logout_redirect_uri", bye + "?x=1"},
		"modified-id-token-hint":                  {"id_token_hint", none, "post_logout_redirect_uri", bye},
		"bad-id-token-hint":                       {"id_token_hint", foreign, "post_logout_redirect_uri", bye},
		"tampered":                                {"id_token_hint", set.RawID[:len(set.RawID)-len(sig)] + strings.Repeat("A", len(sig)), "post_logout_redirect_uri", bye},
		"client and hint disagree":                {"id_token_hint", set.RawID, "client_id", "x", "post_logout_redirect_uri", bye},
		"unknown client":                          {"client_id", "nobody", "post_logout_redirect_uri", bye},
		"script":                                  {"client_id", rp.ID, "post_logout_redirect_uri", "javascript:alert(1)"},
	} {
		if p := b.Get(rp.LogoutURL(more...)); p.Status != 400 || !p.Has("error-code") {
			t.Errorf("%s: %s", name, p)
		}
	}
	if p := b.Get(rp.LogoutURL("post_logout_redirect_uri", bye, "state", "x")); p.Status != 200 || !p.Has("logout-form") {
		t.Errorf("no-id-token-hint: %s", p)
	}
	if !signedIn(t, rp, b) {
		t.Error("a bad request signed somebody out")
	}
	for _, more := range [][]string{nil, {"id_token_hint", ""}, {"state", "x"}} {
		p := b.Get(rp.LogoutURL(more...)).Want(200, "logout-confirm")
		if p.Has("logout-done") {
			t.Error("done before asked")
		}
	}
	p := b.Submit(b.Get(rp.LogoutURL("state", "x")), "logout-confirm", nil).Want(200, "logout-done")
	if p.URL.Host != strings.TrimPrefix(idp.Issuer, "https://") || signedIn(t, rp, b) {
		t.Errorf("after the confirmation: %s", p)
	}
}

// TestSec_C9_ForeignLinkSignsNobodyOut: a stranger's link or form only ever leads to a question.
func TestSec_C9_ForeignLinkSignsNobodyOut(t *testing.T) {
	t.Parallel()
	idp, rp, b, set := rpLogout(t)
	if p := b.CrossSiteGet(idp.Issuer + "/oauth2/logout"); !p.Has("logout-confirm") {
		t.Errorf("GET: %s", p)
	}
	if p := b.CrossSitePost(idp.Issuer+"/oauth2/logout", url.Values{"client_id": {rp.ID}, "post_logout_redirect_uri": {bye}}); !p.Has("logout-confirm") {
		t.Errorf("POST: %s", p)
	}
	if p := b.CrossSitePost(idp.Issuer+"/oauth2/logout/confirm", url.Values{}); p.Status != 403 {
		t.Errorf("the confirmation itself: %s", p)
	}
	if !signedIn(t, rp, b) {
		t.Fatal("signed out by a stranger")
	}
	// The hint of another session (an older sign-in, say) is no proof either: it asks.
	other := idp.Browser()
	elsewhere := tokens(t, other, rp, testidp.Person{Email: "ada@example.com", Password: testidp.DefaultPassword, ID: set.IDToken.Subject})
	if p := b.Get(rp.LogoutURL("id_token_hint", elsewhere.RawID, "post_logout_redirect_uri", bye)); !p.Has("logout-confirm") {
		t.Errorf("another session's hint: %s", p)
	}
	// By the confirmation of a proven client the way leads back to it.
	p := b.Submit(b.Get(rp.LogoutURL("client_id", rp.ID, "post_logout_redirect_uri", bye, "state", "q")), "logout-confirm", nil)
	if p.URL.String() != bye+"?state=q" || signedIn(t, rp, b) {
		t.Errorf("after the confirmation: %s", p)
	}
	if !signedIn(t, rp, other) {
		t.Error("the other browser was signed out too")
	}
}

// TestSec_C8_LogoutRedirectsOnlyToRegistered.
func TestSec_C8_LogoutRedirectsOnlyToRegistered(t *testing.T) {
	t.Parallel()
	idp, rp, b, set := rpLogout(t)
	for _, to := range []string{"//evil.example", `/\evil.example`, "/%09/evil.example", "javascript:alert(1)", "data:text/html,x", "https://rp.example@evil.example/bye", "https://evil.example/bye", "https://rp.example/bye/",
		"https://rp.example/bye#x", "https://RP.example/bye", " https://rp.example/bye", "https://rp.example/bye%0d%0a", "https:/rp.example/bye", "http://rp.example/bye", "/account", "https://rp.example/bye/..//"} {
		for _, who := range [][]string{{"id_token_hint", set.RawID}, {"client_id", rp.ID}} {
			p := b.Get(rp.LogoutURL(append(who, "post_logout_redirect_uri", to)...))
			if p.Status != 400 || p.URL.Scheme+"://"+p.URL.Host != idp.Issuer {
				t.Errorf("%q: %s", to, p)
			}
		}
	}
	if p := b.Get(rp.LogoutURL("post_logout_redirect_uri", bye) + "&post_logout_redirect_uri=" + url.QueryEscape(bye)); p.Status != 400 {
		t.Errorf("given twice: %s", p)
	}
}

// TestOIDCC_RPInitiatedLogoutHintAndLocales: logout_hint changes nothing and tells nothing; ui_locales holds on every page, after a form too.
func TestOIDCC_RPInitiatedLogoutHintAndLocales(t *testing.T) {
	t.Parallel()
	_, rp, b, set := rpLogout(t)
	for _, hint := range []string{"ada@example.com", "nobody@example.com", "<script>", set.Claims["sid"].(string)} {
		p := b.Get(rp.LogoutURL("logout_hint", hint, "client_id", rp.ID, "ui_locales", "de"))
		if p.Status != 200 || !p.Has("logout-form") || strings.Contains(p.Body, "nobody@") || !strings.Contains(p.Body, `<html lang="de"`) {
			t.Errorf("%s: %s", hint, p)
		}
	}
	for _, bad := range [][]string{{"logout_hint", strings.Repeat("x", 1001)}, {"ui_locales", strings.Repeat("de ", 5000)}} {
		if p := b.Get(rp.LogoutURL(bad...)); p.Status >= 500 {
			t.Errorf("%s: %s", bad[0], p)
		}
	}
	p := b.Submit(b.Get(rp.LogoutURL("client_id", rp.ID, "ui_locales", "de")), "logout-confirm", nil)
	if !p.Has("logout-done") || !strings.Contains(p.Body, `<html lang="de"`) {
		t.Errorf("after the form: %s", p)
	}
}

// FuzzLogoutRequest: whatever comes, no fault, no session ended without proof, and no address that nobody registered.
func FuzzLogoutRequest(f *testing.F) {
	idp := testidp.Start(f, testidp.Options{})
	ada, rp := full(idp), certified(idp, "")
	set := tokens(f, idp.Browser(), rp, ada)
	h := idp.Server.Handler()
	for _, s := range []string{
		"", "state=x", "id_token_hint=" + set.RawID, "id_token_hint=" + set.RawID + "&post_logout_redirect_uri=" + url.QueryEscape(bye) + "&state=s",
		"id_token_hint=" + set.RawID + "&post_logout_redirect_uri=https://evil.example/", "client_id=" + rp.ID + "&post_logout_redirect_uri=//evil.example",
		"id_token_hint=a.b.c", "id_token_hint=eyJhbGciOiJub25lIn0.e30.", "id_token_hint=..", "client_id=%00&client_id=x", "logout_hint=%ff&ui_locales=%0d%0a", "%zz", "state=%0d%0aLocation:x",
		"id_token_hint=" + set.RawID + "&post_logout_redirect_uri=" + url.QueryEscape(bye) + "&state=%0d%0aX:%20y",
	} {
		f.Add(s)
	}
	issuer, err := url.Parse(idp.Issuer)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/oauth2/logout", nil)
		r.Host, r.URL.RawQuery = issuer.Host, query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%q: %d", query, w.Code)
		}
		for _, to := range []string{w.Header().Get("Location"), w.Header().Get("Refresh")} {
			if to != "" && to != bye && !strings.HasPrefix(to, bye+"?state=") {
				t.Fatalf("%q leads to %q", query, to)
			}
		}
	})
}
