package suite

import (
	"database/sql"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// signOut begins an RP-initiated sign-out of a session that came through azure and goes to Microsoft's page. It returns where that leads.
func signOut(t *testing.T, idp *testidp.IDP, b *testidp.Browser, rp *testidp.RP, hint, state string) string {
	t.Helper()
	idp.Fakes.Azure.Forget()
	page := b.Get(rp.LogoutURL("id_token_hint", hint, "post_logout_redirect_uri", "https://rp.example/bye", "state", state)).Want(200, "go-title")
	to := html.UnescapeString(page.Attr("go-link", "href"))
	if got := page.Header.Get("Refresh"); got != "0; url="+to || !strings.HasPrefix(to, idp.Fakes.Azure.Authority+"/") {
		t.Errorf("the page leads to %q and refreshes with %q", to, got)
	}
	if b.Cookie("__Host-latchkey") != "" {
		t.Error("signed in until Microsoft has answered")
	}
	there := b.Click(page, "go-link")
	if !strings.Contains(there.Body, "You are signed out") {
		t.Fatalf("Microsoft says %s", there.Body)
	}
	asked := idp.Fakes.Azure.Requests("logout")
	if len(asked) != 1 || asked[0].Form.Get("post_logout_redirect_uri") != idp.Issuer+"/logged-out" {
		t.Errorf("Microsoft was asked %v", asked)
	}
	back := html.UnescapeString(between(there.Body, `<a href="`, `"`))
	if !strings.HasPrefix(back, idp.Issuer+"/logged-out?state=") {
		t.Fatalf("Microsoft leads to %q", back)
	}
	return back
}

// TestSignOutThroughTheUpstream: who came through azure and signs out of an application is signed out here and at Microsoft, and ends at the
// application, with its state.
func TestSignOutThroughTheUpstream(t *testing.T) {
	t.Parallel()
	var c clock
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "azure"), Server: server.Options{Now: c.now}})
	rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.Scope, m.RefreshTokens = "openid profile email", "session" }))
	in := func(b *testidp.Browser) *testidp.Tokens {
		t.Helper()
		login := rp.Start()
		return rp.Finish(login, b.Through(b.Get(login.URL).Want(200, "login-title"), "azure", adaOfA.ID).URL)
	}
	b := idp.Browser()
	tokens := in(b)
	back := signOut(t, idp, b, rp, tokens.RawID, "s1 &=?#ü")
	page := b.CrossSiteGet(back)
	if got := page.URL.String(); got != "https://rp.example/bye?state="+url.QueryEscape("s1 &=?#ü") {
		t.Errorf("the sign-out ends at %s", got)
	}
	if status, _ := rp.UserInfo(tokens.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("the access token: %d", status)
	}
	b.Get(idp.Issuer+"/account").Want(200, "login-title")

	t.Log("a state that is not ours, changed, cut, or old leads nowhere")
	state := mustParse(t, back).Query().Get("state")
	for _, s := range []string{"x", "https://evil.example/", state[:len(state)-1], state + "A", strings.ToUpper(state), strings.Repeat("A", 100), strings.Repeat("A", 10000)} {
		if p := b.CrossSiteGet(idp.Issuer+"/logged-out?state="+url.QueryEscape(s)).Want(200, "logout-done"); strings.Contains(p.Body, "rp.example") {
			t.Errorf("state %.40q: %s", s, p.Body)
		}
	}
	c.move(11 * time.Minute)
	b.CrossSiteGet(back).Want(200, "logout-done")
	c.move(-11 * time.Minute)

	t.Log("signed out on our own page")
	b = idp.Browser()
	in(b)
	page = b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil).Want(200, "go-title")
	there := b.Click(page, "go-link")
	back = html.UnescapeString(between(there.Body, `<a href="`, `"`))
	b.CrossSiteGet(back).Want(200, "logout-done")
	if n := len(idp.Fakes.Azure.Requests("logout")); n != 2 {
		t.Errorf("Microsoft was asked %d times", n)
	}

	t.Log("Microsoft's discovery is down when somebody signs out: signed out here all the same")
	idp = idp.Restart(nil) // has discovered nothing yet
	b = idp.Browser()
	tokens = in(b)
	idp = idp.Restart(nil)
	idp.Fakes.Azure.Fail(connectortest.Refuse)
	page = b.Get(rp.LogoutURL("id_token_hint", tokens.RawID, "post_logout_redirect_uri", "https://rp.example/bye", "state", "s1"))
	if got := page.URL.String(); got != "https://rp.example/bye?state=s1" || b.Cookie("__Host-latchkey") != "" {
		t.Errorf("the sign-out ends at %s, session %q", got, b.Cookie("__Host-latchkey"))
	}
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestSignOutAfterANewMasterKey: a session that began under the old master key signs out through the upstream under the new one, and one
// whose sealed part cannot be opened at all just signs out here.
func TestSignOutAfterANewMasterKey(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "azure")})
	rp := idp.RP(wiki())
	var bs [3]*testidp.Browser
	var tokens [3]*testidp.Tokens
	for i := range bs {
		bs[i] = idp.Browser()
		login := rp.Start()
		tokens[i] = rp.Finish(login, bs[i].Through(bs[i].Get(login.URL), "azure", adaOfA.ID).URL)
	}
	old := signOut(t, idp, bs[0], rp, tokens[0].RawID, "s1")
	idp = idp.Restart(func(c *config.Config) {
		c.Secrets.MasterKeys = append([]config.Secret{config.NewSecret(strings.Repeat("5e", 32))}, c.Secrets.MasterKeys...)
	})
	if got := bs[0].CrossSiteGet(old).URL.String(); got != "https://rp.example/bye?state=s1" {
		t.Errorf("the state of before leads to %s", got)
	}
	back := signOut(t, idp, bs[1], rp, tokens[1].RawID, "s2")
	if got := bs[1].CrossSiteGet(back).URL.String(); got != "https://rp.example/bye?state=s2" {
		t.Errorf("a session of before ends at %s", got)
	}

	db, err := sql.Open("sqlite", strings.TrimPrefix(idp.URL, "sqlite:")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "UPDATE upstream_sessions SET sealed = 'v1.rubbish'"); err != nil {
		t.Fatal(err)
	}
	page := bs[2].Get(rp.LogoutURL("id_token_hint", tokens[2].RawID, "post_logout_redirect_uri", "https://rp.example/bye", "state", "s3"))
	if got := page.URL.String(); got != "https://rp.example/bye?state=s3" || bs[2].Cookie("__Host-latchkey") != "" {
		t.Errorf("the sign-out ends at %s", got)
	}
}

// notice posts a form from server to server.
func notice(t *testing.T, idp *testidp.IDP, path string, form url.Values) testidp.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, idp.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, ok := try(idp.HTTP(), req)
	if !ok {
		t.Fatal("no answer")
	}
	return res
}

// TestBackChannelLogoutFromTheUpstream: who signs out there is signed out here, with the tokens that do not outlive the session; forged and
// old tokens end nothing.
func TestBackChannelLogoutFromTheUpstream(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		var c clock
		idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "oidc", "google"), Server: server.Options{Now: c.now}})
		fake := idp.Fakes.OIDC
		rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.Scope = "openid profile email"; m.RefreshTokens = "session" }))
		offline := idp.RP(wiki())
		through := func(b *testidp.Browser, rp *testidp.RP, id, who string) *testidp.Tokens {
			t.Helper()
			login := rp.Start()
			p := b.Get(login.URL)
			if p.Has("login-title") {
				p = b.Through(p, id, who)
			}
			return rp.Finish(login, p.URL)
		}
		const address = "/callback/oidc/backchannel"
		ana, other, phone := idp.Browser(), idp.Browser(), idp.Browser()
		tokens, kept := through(ana, rp, "oidc", "ana"), through(ana, offline, "oidc", "ana")
		of2 := through(phone, rp, "oidc", "ana")
		bo := through(other, rp, "oidc", "bo")
		alive := func(what string, tok *testidp.Tokens, b *testidp.Browser, want bool) {
			t.Helper()
			status, _ := rp.UserInfo(tok.AccessToken)
			p := b.Get(idp.Issuer + "/account")
			if (status == http.StatusOK) != want || p.Has("account-title") != want {
				t.Errorf("%s: access token %d, account page %s", what, status, p)
			}
			if !want {
				if r := rp.Token(refresh(tok.RefreshToken)); r.Status != http.StatusBadRequest {
					t.Errorf("%s: refresh token %d %s", what, r.Status, r.Body)
				}
			}
		}
		claim := func(name string, v any) func(*connectortest.Token) {
			return func(t *connectortest.Token) {
				if t.Claims[name] = v; v == nil {
					delete(t.Claims, name)
				}
			}
		}
		good, err := fake.LogoutToken("ana", "sid-ana", nil)
		if err != nil {
			t.Fatal(err)
		}
		login := rp.Start()
		page := phone.Get(login.URL) // a session, so the ID token of it
		idToken := rp.Finish(login, page.URL).RawID
		for name, token := range map[string]any{
			"nothing":               "",
			"rubbish":               "a.b.c",
			"an ID token of ours":   idToken,
			"no events":             claim("events", nil),
			"another event":         claim("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}),
			"with a nonce":          claim("nonce", "n"),
			"no jti":                claim("jti", nil),
			"no iat":                claim("iat", nil),
			"expired":               claim("exp", time.Now().Add(-time.Hour).Unix()),
			"of another issuer":     claim("iss", "https://evil.example"),
			"for another client":    claim("aud", "somebody-else"),
			"neither sub nor sid":   func(t *connectortest.Token) { delete(t.Claims, "sub"); delete(t.Claims, "sid") },
			"signed by another key": func(t *connectortest.Token) { t.Key = t.Other },
			"not signed":            func(t *connectortest.Token) { t.Header["alg"], t.Key = "none", nil },
		} {
			raw, ok := token.(string)
			if change, is := token.(func(*connectortest.Token)); is {
				if raw, err = fake.LogoutToken("ana", "sid-ana", change); err != nil {
					t.Fatal(err)
				}
			} else if !ok {
				t.Fatal(name)
			}
			if r := notice(t, idp, address, url.Values{"logout_token": {raw}}); r.Status != http.StatusBadRequest || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d, Cache-Control %q", name, r.Status, r.Header.Get("Cache-Control"))
			}
		}
		if r := notice(t, idp, "/callback/google/backchannel", url.Values{"logout_token": {good}}); r.Status != http.StatusBadRequest && r.Status != http.StatusNotFound {
			t.Errorf("at another connector: %d", r.Status)
		}
		alive("after forgeries", tokens, ana, true)

		if r := notice(t, idp, address, url.Values{"logout_token": {good}}); r.Status != http.StatusOK {
			t.Fatalf("a good one: %d %s", r.Status, r.Body)
		}
		alive("the one who signed out", tokens, ana, false)
		alive("the same on their telephone", of2, phone, false)
		alive("somebody else", bo, other, true)
		if status, _ := offline.UserInfo(kept.AccessToken); status != http.StatusOK {
			t.Errorf("what is to work offline too: %d", status) // Back-Channel Logout 1.0 §2.7
		}

		tokens = through(ana, rp, "oidc", "ana")
		notice(t, idp, address, url.Values{"logout_token": {good}})
		alive("after a replay", tokens, ana, true)
		c.move(20 * time.Minute)
		if r := notice(t, idp, address, url.Values{"logout_token": {good}}); r.Status != http.StatusBadRequest {
			t.Errorf("an old one: %d", r.Status)
		}
	})
}

// settings presses a button on the fake Facebook's page of connected apps.
func settings(t *testing.T, idp *testidp.IDP, b *testidp.Browser, what, person string) *testidp.Page {
	t.Helper()
	page := b.Get(idp.Fakes.Facebook.WebURL + "/settings")
	press := what + ":" + testidp.FacebookApp + ":" + person
	if !strings.Contains(page.Body, `value="`+press+`"`) {
		t.Fatalf("no button %s: %s", press, page.Body)
	}
	return b.SendForm(page, &testidp.Form{Method: http.MethodPost, Action: "/pressed", Values: url.Values{
		"visit": {between(page.Body, `name="visit" value="`, `"`)}, "press": {press},
	}})
}

// TestFacebookNotices: somebody removes the application at Facebook, and somebody wants their data deleted there.
func TestFacebookNotices(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "facebook")})
	fake := idp.Fakes.Facebook
	rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.Scope = "openid profile"; m.RefreshTokens = "session" }))
	in := func(b *testidp.Browser, who string) *testidp.Tokens {
		t.Helper()
		login := rp.Start()
		return rp.Finish(login, b.Through(b.Get(login.URL).Want(200, "login-title"), "facebook", who).URL)
	}
	dead := func(what string, b *testidp.Browser, tok *testidp.Tokens) {
		t.Helper()
		if status, _ := rp.UserInfo(tok.AccessToken); status != http.StatusUnauthorized {
			t.Errorf("%s: access token %d", what, status)
		}
		if r := rp.Token(refresh(tok.RefreshToken)); r.ErrorCode() != "invalid_grant" {
			t.Errorf("%s: refresh token %d %s", what, r.Status, r.Body)
		}
		if p := b.Get(idp.Issuer + "/account"); !p.Has("login-title") {
			t.Errorf("%s: the session lives: %s", what, p)
		}
	}
	ada, alan := idp.Browser(), idp.Browser()
	adas, alans := in(ada, "ada"), in(alan, "alan")

	t.Log("forged, changed and old notices end nothing")
	payload := func(change func(map[string]any)) string {
		s, err := fake.SignedRequest(testidp.FacebookApp, "ada", change)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := payload(nil)
	_, body, _ := strings.Cut(good, ".")
	for name, s := range map[string]string{
		"empty": "", "rubbish": "a.b", "of another secret": connectortest.SignRequest("another", body), "cut": good[:len(good)-2], "without a signature": "." + body,
		"another algorithm": payload(func(m map[string]any) { m["algorithm"] = "none" }),
		"old":               payload(func(m map[string]any) { m["issued_at"] = time.Now().Add(-48 * time.Hour).Unix() }),
		"of tomorrow":       payload(func(m map[string]any) { m["issued_at"] = time.Now().Add(24 * time.Hour).Unix() }),
		"of nobody":         payload(func(m map[string]any) { delete(m, "user_id") }),
	} {
		for _, what := range []string{"deauthorize", "data-deletion"} {
			if r := notice(t, idp, "/callback/facebook/"+what, url.Values{"signed_request": {s}}); r.Status != http.StatusBadRequest {
				t.Errorf("%s, %s: %d %s", what, name, r.Status, r.Body)
			}
		}
	}
	if status, _ := rp.UserInfo(adas.AccessToken); status != http.StatusOK {
		t.Fatalf("after forgeries: %d", status)
	}

	t.Log("the app is removed: what came through it ends, and who comes back is who they were")
	if p := settings(t, idp, ada, "remove", "ada"); !p.Has("done") {
		t.Fatalf("%s", p.Body)
	}
	dead("removed", ada, adas)
	if again := in(ada, "ada"); again.IDToken.Subject != adas.IDToken.Subject {
		t.Error("somebody else comes back")
	}
	if status, _ := rp.UserInfo(alans.AccessToken); status != http.StatusOK {
		t.Errorf("somebody else's token: %d", status)
	}

	t.Log("data deletion, for somebody with no other way in: people see to the rest, and the status page says so")
	p := settings(t, idp, ada, "delete", "ada")
	status := ada.Click(p, "status").Want(200, "deletion-title")
	if got := status.Attr("deletion-state", "data-state"); got != "pending" {
		t.Errorf("the status is %q: %s", got, status.Text("deletion-state"))
	}
	if !strings.Contains(p.Body, status.Text("deletion-code")) || !strings.Contains(status.Text("deletion-state"), "Facebook") {
		t.Errorf("the status page: %s", status.Text("main"))
	}
	if strings.Contains(status.Body, "Ada") || strings.Contains(status.Body, "example.com") {
		t.Error("the status page, which anybody may read, names the person")
	}
	if again := in(idp.Browser(), "ada"); again.IDToken.Subject == adas.IDToken.Subject {
		t.Error("what was to be deleted is entered again")
	}

	t.Log("for somebody with a password it is done")
	eve := idp.User(testidp.Person{Email: "eve@example.com"})
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), eve)
	go1 := b.Submit(b.Get(idp.Issuer+"/account/connections"), "connect-facebook", nil).Want(200, "go-title")
	b.Submit(b.Press(b.Click(go1, "go-link"), connectortest.As("grace")).Want(200, "link-title"), "link-submit", nil).Want(200, "connections-linked")
	status = b.Click(settings(t, idp, b, "delete", "grace"), "status").Want(200, "deletion-title")
	if got := status.Attr("deletion-state", "data-state"); got != "done" {
		t.Errorf("the status is %q", got)
	}
	if text := b.Get(idp.Issuer+"/account/connections").Want(200, "connections-title").Text("connections-linked"); strings.Contains(text, "Facebook") {
		t.Errorf("still connected: %s", text)
	}
	b.Get(idp.Issuer+"/privacy/deletion/unknown").Want(http.StatusNotFound, "error-page")
}
