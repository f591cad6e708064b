package provider_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestOIDCC_FrontChannelRPInitiatedLogout: oidcc-frontchannel-rp-initiated-logout, and -discovery-endpoint-verification. The page loads each
// application's address with iss and sid in a frame and goes on to the post-logout redirect with its state, without script.
func TestOIDCC_FrontChannelRPInitiatedLogout(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, b := full(idp), idp.Browser()
	front := func(redirect, uri string) *testidp.RP {
		return idp.RP(store.ClientMetadata{RedirectURIs: []string{redirect}, PostLogoutRedirectURIs: []string{bye}, FirstParty: true,
			FrontChannelLogoutURI: uri, FrontChannelLogoutSession: uri != ""})
	}
	rp := front("https://rp.example/callback", "https://rp.example/out?from=idp")
	other := front("https://other.example:8443/callback", "https://other.example:8443/out")
	plain := front("https://plain.example/callback", "")
	front("https://unused.example/callback", "https://unused.example/out")
	if m := rp.Metadata(); m["frontchannel_logout_supported"] != true || m["frontchannel_logout_session_supported"] != true {
		t.Errorf("discovery: %v", m)
	}
	signIn := func() *testidp.Tokens {
		t.Helper()
		set := tokens(t, b, rp, ada)
		tokens(t, b, other, ada)
		tokens(t, b, plain, ada)
		return set
	}
	frames := func(p *testidp.Page, sid any, next string) {
		t.Helper()
		q := url.Values{"iss": {idp.Issuer}, "sid": {sid.(string)}}.Encode()
		want := []string{"https://rp.example/out?from=idp&" + q, "https://other.example:8443/out?" + q}
		if !p.Has("logout-done") || strings.Count(p.Body, "<iframe") != 2 {
			t.Fatalf("%s\n%s", p, p.Body)
		}
		for _, u := range want {
			if !strings.Contains(p.Body, `src="`+strings.ReplaceAll(u, "&", "&amp;")+`"`) {
				t.Errorf("no frame of %s in\n%s", u, p.Body)
			}
		}
		csp := p.Header.Get("Content-Security-Policy")
		_, src, _ := strings.Cut(csp, "; frame-src ")
		src, _, _ = strings.Cut(src, ";")
		if len(strings.Fields(src)) != 2 || !strings.Contains(src, "https://rp.example") || !strings.Contains(src, "https://other.example:8443") {
			t.Errorf("policy %q", csp)
		}
		if r := p.Header.Get("Refresh"); r != next {
			t.Errorf("goes on %q, want %q", r, next)
		}
		if strings.Contains(p.Body, "unused.example") || signedIn(t, rp, b) {
			t.Error("a stranger is told, or the session lives")
		}
	}
	set := signIn()
	state := strings.Repeat("s", 128)
	frames(b.Get(rp.LogoutURL("id_token_hint", set.RawID, "post_logout_redirect_uri", bye, "state", state)), set.Claims["sid"], "2; url="+bye+"?state="+state)

	set = signIn() // on our page nothing follows
	frames(b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil), set.Claims["sid"], "")

	set = signIn() // asked first, because nothing proves the request
	p := b.Get(rp.LogoutURL("client_id", rp.ID, "post_logout_redirect_uri", bye))
	if strings.Contains(p.Body, "<iframe") {
		t.Fatal("frames before the answer")
	}
	frames(b.Submit(p, "logout-confirm", nil), set.Claims["sid"], "2; url="+bye)

	// Without a session nobody is told, and the answer is the redirect.
	if p := b.Get(rp.LogoutURL("id_token_hint", set.RawID, "post_logout_redirect_uri", bye)); p.URL.String() != bye {
		t.Errorf("ended at %s", p)
	}
}
