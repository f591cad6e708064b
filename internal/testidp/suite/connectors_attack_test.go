package suite

import (
	"bytes"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_E11_RemovedConnectorEndsWhatCameByIt: a start without a connector ends the sessions and tokens of who came by it, for good, and
// nobody else's.
func TestSec_E11_RemovedConnectorEndsWhatCameByIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "google", "oidc")})
		rp := idp.RP(wiki())
		ada := idp.User(testidp.Person{})
		type visitor struct {
			b      *testidp.Browser
			tokens *testidp.Tokens
			code   string // not redeemed yet
			verify string
		}
		in := func(way func(b *testidp.Browser, p *testidp.Page) *testidp.Page) *visitor {
			b := idp.Browser()
			login := rp.Start()
			v := &visitor{b: b, tokens: rp.Finish(login, way(b, b.Get(login.URL)).URL)}
			login = rp.Start()
			v.code, v.verify = rp.Code(login, b.Get(login.URL).URL), login.Verifier
			return v
		}
		google := in(func(b *testidp.Browser, p *testidp.Page) *testidp.Page { return b.Through(p, "google", "") })
		oidc := in(func(b *testidp.Browser, p *testidp.Page) *testidp.Page { return b.Through(p, "oidc", "ana") })
		password := in(func(b *testidp.Browser, p *testidp.Page) *testidp.Page { return b.SignIn(p, ada) })
		away := idp.Browser()
		late := away.Click(away.Get(rp.Start().URL), "login-with-google")

		check := func(name string, v *visitor, want bool) {
			t.Helper()
			status, _ := rp.UserInfo(v.tokens.AccessToken)
			introspected := rp.Introspect(v.tokens.AccessToken).JSON["active"]
			_, err := rp.Refresh(v.tokens)
			account := v.b.Get(idp.Issuer + "/account")
			if (status == http.StatusOK) != want || introspected != want || (err == nil) != want || account.Has("account-title") != want {
				t.Errorf("%s: userinfo %d, introspection %v, refresh %v, account page %s", name, status, introspected, err, account)
			}
			if v.code != "" {
				if r := rp.Redeem(v.code, v.verify); (r.Status == http.StatusOK) != want {
					t.Errorf("%s: a code of before: %d %s", name, r.Status, r.Body)
				}
			}
			v.code = ""
		}
		gone := idp.Restart(func(c *config.Config) { testidp.Without(c, "google") })
		check("google", google, false)
		for _, v := range []*visitor{oidc, password} {
			if s, _ := rp.UserInfo(v.tokens.AccessToken); s != http.StatusOK {
				t.Errorf("others: %d", s)
			}
		}
		idp.Fakes.Google.Forget()
		if p := away.Press(late, connectortest.Continue).Want(http.StatusNotFound, "error-page"); p.Attr("error-page", "data-error") != "unknown_connector" {
			t.Errorf("back from a connector that is gone: %s", p)
		}
		if n := len(idp.Fakes.Google.Requests("token")); n != 0 {
			t.Errorf("%d exchanges with it", n)
		}
		if p := idp.Browser().Get(rp.Start().URL); p.Has("login-with-google") {
			t.Error("its button is still there")
		}
		// Give the background the moment it needs, then bring the connector back: what ended has ended.
		testidp.Within(t, waitLong, "the grants of the connector end", func() bool {
			gs, err := gone.Store.GrantsOf(t.Context(), google.tokens.IDToken.Subject)
			return err == nil && len(gs) == 0
		})
		gone.Restart(nil)
		status, _ := rp.UserInfo(google.tokens.AccessToken)
		if p := google.b.Get(idp.Issuer + "/account"); status == http.StatusOK || p.Has("account-title") {
			t.Errorf("the connector is back, and so is what ended: userinfo %d, %s", status, p)
		}
		check("oidc", oidc, true)
		check("password", password, true)
		// The person is who they were.
		login := rp.Start()
		if again := rp.Finish(login, google.b.Through(google.b.Get(login.URL), "google", "").URL); again.IDToken.Subject != google.tokens.IDToken.Subject {
			t.Error("somebody else comes back")
		}
	})
}

// callback visits the upstream once more with the request that a browser is at, and returns the address the upstream would send it to.
func callback(t *testing.T, visit func(string, connectortest.Button) (string, error), p *testidp.Page, who string) string {
	t.Helper()
	to, err := visit(p.URL.String(), connectortest.As(who))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// visit makes Visit of any fake return a text.
func visit[U interface{ String() string }](f func(string, connectortest.Button) (U, error)) func(string, connectortest.Button) (string, error) {
	return func(address string, press connectortest.Button) (string, error) {
		u, err := f(address, press)
		if err != nil {
			return "", err
		}
		return u.String(), nil
	}
}

// TestRace_OneCallbackManyTimes: one callback eight times at once is one exchange, one account and one session.
func TestRace_OneCallbackManyTimes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "oidc")})
		rp := idp.RP(wiki())
		b := idp.Browser()
		login := rp.Start()
		to := callback(t, visit(idp.Fakes.OIDC.Visit), b.Click(b.Get(login.URL), "login-with-oidc"), "ana")
		before := b.Cookie("__Host-latchkey-flow")
		var mu sync.Mutex
		var codes []string
		cookies := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				req, err := http.NewRequest(http.MethodGet, to, nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.AddCookie(&http.Cookie{Name: "__Host-latchkey-flow", Value: before})
				res, ok := try(idp.HTTP(), req)
				if !ok || res.Status >= 500 {
					t.Errorf("%v %d", ok, res.Status)
				}
				mu.Lock()
				defer mu.Unlock()
				if loc := res.Header.Get("Location"); strings.HasPrefix(loc, "https://rp.example/") {
					codes = append(codes, loc)
				}
				for _, c := range res.Header.Values("Set-Cookie") {
					if strings.HasPrefix(c, "__Host-latchkey=") && !strings.Contains(c, "Max-Age=0") {
						cookies++
					}
				}
			})
		}
		wg.Wait()
		if len(codes) != 1 || cookies != 1 || len(idp.Fakes.OIDC.Requests("token")) != 1 {
			t.Fatalf("%d codes, %d session cookies, %d exchanges", len(codes), cookies, len(idp.Fakes.OIDC.Requests("token")))
		}
		tokens := rp.Finish(login, mustParse(t, codes[0]))
		if n := sessions(t, idp, tokens.IDToken.Subject); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if all, err := idp.Store.Users(t.Context(), "", 10); err != nil || len(all) != 1 {
			t.Errorf("%d users, %v", len(all), err)
		}
	})
}

// TestOnePersonInTwoTabsAndBrowsers: whoever comes first makes the account, and all of them are one person.
func TestOnePersonInTwoTabsAndBrowsers(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "oidc")})
	rp := idp.RP(wiki())
	tab, phone := idp.Browser(), idp.Browser()
	one, two, three := rp.Start(), rp.Start(), rp.Start()
	first := tab.Click(tab.Get(one.URL), "login-with-oidc")
	second := tab.Click(tab.Get(two.URL), "login-with-oidc") // in the same browser
	third := phone.Click(phone.Get(three.URL), "login-with-oidc")
	subject := map[string]bool{}
	for _, x := range []struct {
		b     *testidp.Browser
		p     *testidp.Page
		login testidp.Attempt
	}{{tab, second, two}, {phone, third, three}, {tab, first, one}} {
		subject[rp.Finish(x.login, x.b.Press(x.p, connectortest.As("ana")).URL).IDToken.Subject] = true
	}
	if all, err := idp.Store.Users(t.Context(), "", 10); err != nil || len(all) != 1 || len(subject) != 1 {
		t.Errorf("%d users, subjects %v, %v", len(all), subject, err)
	}
	// Two people in two tabs: each application gets the one who came for it, and the browser is the later one's.
	one, two = rp.Start("prompt", "login"), rp.Start("prompt", "login")
	first, second = tab.Click(tab.Get(one.URL), "login-with-oidc"), tab.Click(tab.Get(two.URL), "login-with-oidc")
	ana := rp.Finish(one, tab.Press(first, connectortest.As("ana")).URL)
	bo := rp.Finish(two, tab.Press(second, connectortest.As("bo")).URL)
	if ana.IDToken.Subject == bo.IDToken.Subject {
		t.Error("two people are one")
	}
	if p := tab.Get(idp.Issuer + "/account"); !strings.Contains(p.Body, "Bo") {
		t.Errorf("%s is not the later one's", p)
	}
}

// TestSec_C5_E9_ForeignCallbacks: another browser's state, a code that was used, and one connector's answer at another's address open nothing
// and reach no upstream.
func TestSec_C5_E9_ForeignCallbacks(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "google", "oidc", "facebook")})
	f := idp.Fakes
	rp := idp.RP(wiki())
	exchanges := func() int {
		return len(f.Google.Requests("token")) + len(f.OIDC.Requests("token")) + len(f.Facebook.Requests("token"))
	}
	nothing := func(what string, b *testidp.Browser, p *testidp.Page) {
		t.Helper()
		if p.Status != http.StatusBadRequest || p.Attr("error-page", "data-error") != "sign_in_expired" || b.Cookie("__Host-latchkey") != "" {
			t.Errorf("%s: %s, session %q", what, p, b.Cookie("__Host-latchkey"))
		}
		if n := exchanges(); n != 0 {
			t.Errorf("%s: %d exchanges", what, n)
		}
	}
	t.Log("another browser's")
	evil, victim := idp.Browser(), idp.Browser()
	theirs := callback(t, visit(f.OIDC.Visit), evil.Click(evil.Get(rp.Start().URL), "login-with-oidc"), "bo")
	nothing("no cookie at all", victim, victim.CrossSiteGet(theirs))
	victim.Click(victim.Get(rp.Start().URL), "login-with-oidc")
	nothing("with an attempt of its own", victim, victim.CrossSiteGet(theirs))

	t.Log("mix-up: one connector's answer at another's address")
	b := idp.Browser()
	ofGoogle := callback(t, visit(f.Google.Visit), b.Click(b.Get(rp.Start().URL), "login-with-google"), "")
	ofOIDC := callback(t, visit(f.OIDC.Visit), b.Click(b.Get(rp.Start().URL), "login-with-oidc"), "ana")
	ofFacebook := callback(t, visit(f.Facebook.Visit), b.Click(b.Get(rp.Start().URL), "login-with-facebook"), "ada")
	nothing("google's at oidc", b, b.CrossSiteGet(strings.Replace(ofGoogle, "/callback/google", "/callback/oidc", 1)))
	nothing("oidc's at facebook", b, b.CrossSiteGet(strings.Replace(ofOIDC, "/callback/oidc", "/callback/facebook", 1)))
	nothing("facebook's at google", b, b.CrossSiteGet(strings.Replace(ofFacebook, "/callback/facebook", "/callback/google", 1)))
	nothing("where it belongs, after that", b, b.CrossSiteGet(ofGoogle))

	t.Log("the right state with another issuer's name (RFC 9207)")
	ofOIDC = callback(t, visit(f.OIDC.Visit), b.Click(b.Get(rp.Start().URL), "login-with-oidc"), "ana")
	u := mustParse(t, ofOIDC)
	q := u.Query()
	q.Set("iss", f.Google.Issuer)
	u.RawQuery = q.Encode()
	if p := b.CrossSiteGet(u.String()); p.Attr("error-page", "data-error") != "upstream_invalid" || b.Cookie("__Host-latchkey") != "" || exchanges() != 0 {
		t.Errorf("another issuer's answer: %s, %d exchanges", p, exchanges())
	}

	t.Log("a code that was used: the state is fresh, the code is not")
	login := rp.Start()
	first := callback(t, visit(f.OIDC.Visit), b.Click(b.Get(login.URL), "login-with-oidc"), "ana")
	rp.Finish(login, b.CrossSiteGet(first).URL)
	session := b.Cookie("__Host-latchkey")
	if p := b.CrossSiteGet(first); p.Status != http.StatusBadRequest || b.Cookie("__Host-latchkey") != session {
		t.Errorf("the same callback again: %s", p)
	}
	other := idp.Browser()
	second := mustParse(t, callback(t, visit(f.OIDC.Visit), other.Click(other.Get(rp.Start().URL), "login-with-oidc"), "bo"))
	q = second.Query()
	q.Set("code", mustParse(t, first).Query().Get("code"))
	second.RawQuery = q.Encode()
	if p := other.CrossSiteGet(second.String()); p.Status != http.StatusBadRequest || p.Attr("error-page", "data-error") != "upstream_invalid" || other.Cookie("__Host-latchkey") != "" {
		t.Errorf("a used code with a fresh state: %s", p)
	}
	t.Log("somebody else's code with the victim's state (PKCE and nonce)")
	victim = idp.Browser()
	mine := mustParse(t, callback(t, visit(f.OIDC.Visit), victim.Click(victim.Get(rp.Start().URL), "login-with-oidc"), "ana"))
	evil = idp.Browser()
	stolen := mustParse(t, callback(t, visit(f.OIDC.Visit), evil.Click(evil.Get(rp.Start().URL), "login-with-oidc"), "bo"))
	q = mine.Query()
	q.Set("code", stolen.Query().Get("code"))
	mine.RawQuery = q.Encode()
	if p := victim.CrossSiteGet(mine.String()); p.Status != http.StatusBadRequest || victim.Cookie("__Host-latchkey") != "" {
		t.Errorf("a code of another attempt: %s", p)
	}
}

// TestSec_E3_SameAddressElsewhere: the address of an account proves nothing by itself; who can sign in to it may connect the two, and from then
// on either way leads to the same person.
func TestSec_E3_SameAddressElsewhere(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "google", "twitter", "oidc")})
		rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.FirstParty = false }))
		ana := idp.User(testidp.Person{Email: "ana@example.com", GivenName: "Ana"})
		b := idp.Browser()
		login := rp.Start()
		page := b.Through(b.Get(login.URL), "oidc", "ana").Want(200, "link-title")
		if b.Cookie("__Host-latchkey") != "" {
			t.Error("signed in by an address alone")
		}
		if strings.Contains(page.Text("main"), "ana@example.com") {
			t.Errorf("the page says whose the address is: %s", page.Text("main"))
		}
		wrong := b.Submit(page, "link-submit", map[string]string{"login-identifier": ana.Email, "login-password": "not it at all"}).Want(http.StatusUnprocessableEntity, "error-summary")
		page = b.Submit(wrong, "link-submit", map[string]string{"login-identifier": ana.Email, "login-password": ana.Password}).Want(200, "consent-title")
		tokens := rp.Finish(login, b.Consent(page).URL)
		if tokens.IDToken.Subject != ana.ID {
			t.Fatalf("connected to %s", tokens.IDToken.Subject)
		}
		// Whose account it is proven to be is said at the sign-in, next time without a question.
		again := idp.Browser()
		login = rp.Start()
		if next := rp.Finish(login, again.Through(again.Get(login.URL), "oidc", "ana").URL); next.IDToken.Subject != ana.ID {
			t.Errorf("the second time it is %s", next.IDToken.Subject)
		}
		// Somebody who cannot prove it gets nowhere, by the other upstream's button either.
		idp.Fakes.Google.SetPeople(connectortest.Person{ID: "666", Email: "ana@example.com", Verified: true, Name: "Eve"})
		eve := idp.Browser()
		page = eve.Through(eve.Get(rp.Start().URL), "google", "666").Want(200, "link-title")
		back := eve.Press(eve.Click(page, "link-with-twitter"), connectortest.As("7700000000000000022"))
		if back.Status < 400 || eve.Cookie("__Host-latchkey") != "" {
			t.Errorf("proved by an account of nobody here: %s", back)
		}
	})
}

// TestSec_E13_H2_NoSecretOfAnUpstreamIsKept: neither the database nor the log holds what an upstream or the browser's way back carried: codes,
// verifiers, states, access tokens, ID Tokens, client secrets, signed notices.
func TestSec_E13_H2_NoSecretOfAnUpstreamIsKept(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, testidp.Upstreams...), Server: server.Options{
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}})
	f := idp.Fakes
	rp := idp.RP(wiki())
	secrets := map[string]string{}
	keep := func(what, s string) {
		if len(s) >= 8 { // anything shorter is found by chance
			secrets[s] = what
		}
	}
	// Everybody has an address of their own here: this is not about linking.
	f.OAuth2.SetEmails("583231", []any{map[string]any{"email": "ada@hub.example", "primary": true, "verified": true}})
	for id, requests := range map[string]func(...string) []connectortest.Request{
		"google": f.Google.Requests, "azure": f.Azure.Requests, "facebook": f.Facebook.Requests, "twitter": f.Twitter.Requests, "oidc": f.OIDC.Requests, "oauth2": f.OAuth2.Requests,
	} {
		b := idp.Browser()
		login := rp.Start()
		tokens := rp.Finish(login, b.Through(b.Get(login.URL), id, "").URL)
		// A failure too: what it says must not say too much.
		other := idp.Browser()
		p := other.Click(other.Get(idp.Issuer+"/login"), "login-with-"+id)
		other.Press(p, connectortest.Failure)
		if out := b.Get(rp.LogoutURL("id_token_hint", tokens.RawID)); out.Has("go-link") {
			for k, v := range mustParse(t, html.UnescapeString(out.Attr("go-link", "href"))).Query() {
				if k == "id_token_hint" || k == "logout_hint" || k == "state" {
					keep(id+" sign-out "+k, v[0])
				}
			}
		}
		for _, r := range requests() {
			for _, k := range []string{"code", "code_verifier", "state", "nonce", "client_secret", "id_token_hint", "access_token", "input_token", "appsecret_proof"} {
				keep(id+" "+k, r.Form.Get(k))
			}
			_, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			keep(id+" Authorization", bearer)
		}
	}
	signed, err := f.Facebook.SignedRequest(testidp.FacebookApp, "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	notice(t, idp, "/callback/facebook/deauthorize", url.Values{"signed_request": {signed}})
	keep("signed_request", signed)
	token, err := f.OIDC.LogoutToken("ana", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	notice(t, idp, "/callback/oidc/backchannel", url.Values{"logout_token": {token}})
	keep("logout_token", token)
	if len(secrets) < 30 {
		t.Fatalf("only %d secrets seen", len(secrets))
	}
	idp.Stop() // the write-ahead log goes into the file
	path := strings.TrimPrefix(idp.URL, "sqlite:")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wal, _ := os.ReadFile(path + "-wal") // gone, usually
	text := log.String()
	for s, what := range secrets {
		if bytes.Contains(file, []byte(s)) || bytes.Contains(wal, []byte(s)) {
			t.Errorf("the database holds %s", what)
		}
		if strings.Contains(text, s) || strings.Contains(text, url.QueryEscape(s)) {
			t.Errorf("the log holds %s", what)
		}
	}
	if !strings.Contains(text, "connector") {
		t.Error("the log was not read")
	}
}
