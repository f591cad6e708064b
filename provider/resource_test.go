package provider_test

import (
	"net/url"
	"slices"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestRFC8707_Resources: a client names the resources it wants tokens for, at the request and again, narrower, at the token endpoint.
func TestRFC8707_Resources(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	one, two, three := "https://one.example", "https://two.example", "https://three.example"
	rp := idp.RP(refreshing(store.ClientMetadata{Resources: []string{one, two}, FirstParty: true}))
	b := idp.Browser()
	aud := func(tok string) (out []string) {
		_, c := jwtClaims(t, tok)
		for _, v := range c["aud"].([]any) {
			out = append(out, v.(string))
		}
		return out
	}
	want := func(what, tok string, list ...string) {
		t.Helper()
		if got := aud(tok); !slices.Equal(got, append(list, idp.Issuer)) {
			t.Errorf("%s: %v, want %v and the issuer", what, got, list)
		}
	}
	want("none asked: the first", tokens(t, b, rp, ada).AccessToken, one)
	a := rp.Start("resource", two)
	set := rp.Finish(a, through(t, b, a, ada).URL)
	want("one asked", set.AccessToken, two)
	a = rp.Start("resource", one)
	a.URL += "&resource=" + url.QueryEscape(two)
	set = rp.Finish(a, through(t, b, a, ada).URL)
	want("both asked", set.AccessToken, one, two)
	form := refreshForm(set.RefreshToken)
	form.Set("resource", two)
	r := rp.Token(form)
	if r.Status != 200 {
		t.Fatal(r.Body)
	}
	want("narrowed at the refresh", r.String("access_token"), two)
	form.Set("resource", three)
	wantError(t, rp.Token(form), 400, "invalid_target")
	a = rp.Start("resource", two)
	c := rp.Code(a, through(t, b, a, ada).URL)
	wantError(t, rp.Token(url.Values{"grant_type": {"authorization_code"}, "code": {c}, "redirect_uri": {rp.RedirectURI}, "code_verifier": {a.Verifier}, "resource": {one}}), 400, "invalid_target")
}

// TestRFC6749_OneRegisteredRedirectURI: without openid, a client with a single registered URI may leave it out (§3.1.2.3), and then must
// leave it out at the token endpoint or name the very same.
func TestRFC6749_OneRegisteredRedirectURI(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	rp := idp.RP(store.ClientMetadata{FirstParty: true})
	a := rp.Start("redirect_uri", "", "scope", "email", "nonce", "")
	code := rp.Code(a, through(t, b, a, ada).URL)
	r := rp.Token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {a.Verifier}})
	if r.Status != 200 || r.String("id_token") != "" || r.String("scope") != "email" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	two := idp.RP(store.ClientMetadata{FirstParty: true, RedirectURIs: []string{"https://rp.example/callback", "https://rp.example/other"}})
	if p := b.Get(two.Start("redirect_uri", "", "scope", "email").URL); p.Status != 400 || !p.Has("error-page") {
		t.Errorf("two registered, none named: %s", p)
	}
}
