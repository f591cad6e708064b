package suite

import (
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// Everything ends when it should: code, access token, refresh token, session. Time is moved, not waited for.
func TestTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		rp := idp.RP(store.ClientMetadata{
			GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid offline_access", RefreshRotation: "always",
		})
		b := idp.Browser()
		signIn := func() *testidp.Tokens {
			login := rp.Start()
			p := b.Get(login.URL)
			if p.Has("login-title") {
				p = b.SignIn(p, ada)
			}
			if p.Has("consent-title") {
				p = b.Consent(p)
			}
			return rp.Finish(login, p.URL)
		}
		tokens := signIn()

		// A code lives for a minute.
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{59 * time.Second, 200}, {61 * time.Second, 400}} {
			login := rp.Start()
			code := rp.Code(login, b.Get(login.URL).URL)
			idp.Sleep(c.after)
			r := rp.Redeem(code, login.Verifier)
			if r.Status != c.want || c.want == 400 && r.ErrorCode() != "invalid_grant" {
				t.Errorf("a code after %s: %d %s", c.after, r.Status, r.Body)
			}
		}

		// An access token for ten.
		tokens, err := rp.Refresh(tokens)
		if err != nil {
			t.Fatal(err)
		}
		idp.Sleep(10*time.Minute - 2*time.Second)
		if status, _ := rp.UserInfo(tokens.AccessToken); status != 200 {
			t.Errorf("just before its end: %d", status)
		}
		idp.Sleep(4 * time.Second)
		if status, _ := rp.UserInfo(tokens.AccessToken); status != 401 {
			t.Errorf("just after its end: %d", status)
		}
		if r := rp.Introspect(tokens.AccessToken); r.JSON["active"] != false {
			t.Errorf("introspection after its end: %s", r.Body)
		}

		// A session that is not used for twelve hours.
		idp.Sleep(13 * time.Hour)
		b.Get(rp.Start().URL).Want(200, "login-title")

		// A refresh token that is used, up to its absolute end; one that is not used for thirty days.
		for range 6 {
			idp.Sleep(29 * 24 * time.Hour)
			if tokens, err = rp.Refresh(tokens); err != nil {
				t.Fatal(err)
			}
		}
		idp.Sleep(7 * 24 * time.Hour) // 181 days
		refused(t, rp, tokens)
		tokens = signIn()
		idp.Sleep(31 * 24 * time.Hour)
		refused(t, rp, tokens)
	})
}

func refused(t *testing.T, rp *testidp.RP, tokens *testidp.Tokens) {
	t.Helper()
	r := rp.Token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}})
	if r.Status != 400 || r.ErrorCode() != "invalid_grant" {
		t.Errorf("a refresh token after its end: %d %s", r.Status, r.Body)
	}
}
