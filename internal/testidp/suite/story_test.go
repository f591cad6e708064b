package suite

import (
	"slices"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// A person signs in to an application, allows it what it asks for, and the application's tokens work until they sign out.
func TestStory(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Privileges: []string{"user", "trainer"}})
		rp := idp.RP(store.ClientMetadata{
			Name: "Wiki", Scope: "openid profile email privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"},
			PostLogoutRedirectURIs: []string{"https://rp.example/bye"}, RefreshRotation: "always",
		})
		b := idp.Browser()

		login := rp.Start()
		page := b.Get(login.URL).Want(200, "login-title")
		page = b.SignIn(page, ada).Want(200, "consent-title")
		if got := page.Text("consent-client-name"); got != "Wiki" {
			t.Errorf("the consent page names %q", got)
		}
		page = b.Consent(page)
		tokens := rp.Finish(login, page.URL)
		if tokens.IDToken == nil || tokens.IDToken.Subject != ada.ID {
			t.Fatalf("ID token %v, want subject %s", tokens.Claims, ada.ID)
		}
		if got := stringList(tokens.Claims["privileges"]); !slices.Equal(got, []string{"trainer", "user"}) {
			t.Errorf("privileges %v", got)
		}

		status, who := rp.UserInfo(tokens.AccessToken)
		if status != 200 || who["sub"] != ada.ID || who["email"] != "ada@example.com" || who["email_verified"] != true || who["name"] != "Ada Lovelace" {
			t.Errorf("userinfo: %d %v", status, who)
		}
		if r := rp.Introspect(tokens.AccessToken); r.JSON["active"] != true || r.JSON["sub"] != ada.ID {
			t.Errorf("introspection: %d %s", r.Status, r.Body)
		}

		// Known consent and a session: the second time is one redirect.
		before := len(b.Log)
		again := rp.Start()
		if tokens2 := rp.Finish(again, b.Get(again.URL).URL); tokens2.IDToken.Subject != ada.ID {
			t.Error("the second sign-in is somebody else's")
		}
		if n := len(b.Log) - before; n != 1 {
			t.Errorf("%d requests for a sign-in with session and consent, want 1", n)
		}

		// What an administrator changes is in the next tokens.
		idp.Revoke(ada, "trainer")
		next, err := rp.Refresh(tokens)
		if err != nil {
			t.Fatal(err)
		}
		if next.RefreshToken == "" || next.RefreshToken == tokens.RefreshToken {
			t.Error("the refresh token was not rotated")
		}
		status, who = rp.UserInfo(next.AccessToken)
		if got := stringList(who["privileges"]); status != 200 || !slices.Equal(got, []string{"user"}) {
			t.Errorf("after the revocation: %d %v", status, got)
		}

		page = b.Get(rp.LogoutURL("id_token_hint", next.RawID, "post_logout_redirect_uri", "https://rp.example/bye", "state", "s1", "client_id", rp.ID))
		if page.Has("logout-confirm") {
			page = b.Submit(page, "logout-confirm", nil)
		}
		if got := page.URL.String(); got != "https://rp.example/bye?state=s1" {
			t.Errorf("the sign-out ends at %s", got)
		}
		b.Get(rp.Start().URL).Want(200, "login-title")
		if r := rp.Revoke(next.RefreshToken); r.Status != 200 {
			t.Errorf("revocation: %d %s", r.Status, r.Body)
		}
		if _, err := rp.Refresh(next); err == nil {
			t.Error("a revoked refresh token works")
		}
		if r := rp.Introspect(next.AccessToken); r.JSON["active"] != false {
			t.Errorf("the access token of a revoked grant is active: %s", r.Body)
		}
	})
}

// stringList reads a JSON list of strings.
func stringList(v any) (list []string) {
	all, _ := v.([]any)
	for _, x := range all {
		s, _ := x.(string)
		list = append(list, s)
	}
	return list
}

// each runs a story on both databases.
func each(t *testing.T, story func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			story(t, engine)
		})
	}
}
