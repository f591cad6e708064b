package suite

import (
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// at says whether a page is one of an upstream's.
func at(p *testidp.Page, origins []string) bool {
	return slices.ContainsFunc(origins, func(o string) bool { return strings.HasPrefix(p.URL.String(), o+"/") })
}

// TestOneWayIn (R53): where there is one way in, or the application or its client says which, nobody is asked. But after a sign-out and
// after an error people are asked, or they would go round in circles.
func TestOneWayIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		client func(*store.ClientMetadata)
		more   []string
	}{
		{"the only way", only("oidc"), nil},
		{"the client's default", func(m *store.ClientMetadata) { m.DefaultConnector = "oidc" }, nil},
		{"as the request says", func(*store.ClientMetadata) {}, []string{"connector", "oidc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "google", "oidc")})
			rp := idp.RP(wiki(c.client))
			b := idp.Browser()
			login := rp.Start(c.more...)
			page := b.Get(login.URL)
			if !at(page, idp.Fakes.Origins()) {
				t.Fatalf("not led to the upstream but to %s", page)
			}
			t.Log("an error at the upstream, and cancelled there")
			for _, press := range []connectortest.Button{connectortest.Failure, connectortest.Cancel} {
				wrong := b.Press(page, press)
				forPeople(t, string(press), b, wrong)
				again := b.Click(wrong, "error-restart").Want(200, "login-title")
				again.Element("login-with-oidc")
				page = b.Click(wrong, "error-retry")
			}
			tokens := rp.Finish(login, b.Press(page, connectortest.As("ana")).URL)

			t.Log("signed out by the application")
			page = b.Get(rp.LogoutURL("id_token_hint", tokens.RawID, "post_logout_redirect_uri", "https://rp.example/bye", "state", "s1"))
			if got := page.URL.String(); got != "https://rp.example/bye?state=s1" {
				t.Fatalf("the sign-out ends at %s", got)
			}
			login = rp.Start(c.more...)
			page = b.Get(login.URL).Want(200, "login-title")
			rp.Finish(login, b.Through(page, "oidc", "ana").URL)

			t.Log("signed out here")
			b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil).Element("logout-done")
			login = rp.Start(c.more...)
			page = b.Get(login.URL).Want(200, "login-title")
			rp.Finish(login, b.Through(page, "oidc", "ana").URL)

			t.Log("a new browser goes there by itself again")
			if page := idp.Browser().Get(rp.Start(c.more...).URL); !at(page, idp.Fakes.Origins()) {
				t.Errorf("not led to the upstream but to %s", page)
			}
		})
	}
}

// TestSilentRequestNeverGoesUpstream: prompt=none answers at once, whatever the client's ways in are.
func TestSilentRequestNeverGoesUpstream(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "google", "oidc")})
	for _, m := range []func(*store.ClientMetadata){only("oidc"), func(m *store.ClientMetadata) { m.DefaultConnector = "oidc" }, func(*store.ClientMetadata) {}} {
		rp := idp.RP(wiki(m))
		b := idp.Browser()
		login := rp.Start("prompt", "none", "connector", "oidc")
		if code := rp.Error(login, b.Get(login.URL).URL); code != "login_required" {
			t.Errorf("%s", code)
		}
		if n := len(idp.Fakes.OIDC.Requests()); n != 0 {
			t.Errorf("%d requests to the upstream", n)
		}
	}
	t.Log("with a session by a way that the client does not take")
	b := idp.Browser()
	b.Through(b.Get(idp.Issuer+"/login"), "google", "").Want(200, "account-title")
	rp := idp.RP(wiki(only("oidc")))
	login := rp.Start("prompt", "none")
	if code := rp.Error(login, b.Get(login.URL).URL); code != "login_required" {
		t.Errorf("%s", code)
	}
}

// TestHintsReachTheUpstream: login_hint, domain_hint, prompt and max_age of the application's request.
func TestHintsReachTheUpstream(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "google", "azure", "oidc")})
	rp := idp.RP(wiki())
	ask := map[string]func(...string) []connectortest.Request{"google": idp.Fakes.Google.Requests, "azure": idp.Fakes.Azure.Requests, "oidc": idp.Fakes.OIDC.Requests}
	for _, c := range []struct {
		id   string
		send []string
		want map[string]string
	}{
		{"google", []string{"login_hint", "grace@example.com", "domain_hint", "example.com"}, map[string]string{"login_hint": "grace@example.com", "hd": "example.com"}},
		{"azure", []string{"login_hint", "ada@work.example"}, map[string]string{"login_hint": "ada@work.example", "prompt": ""}}, // Microsoft takes no other prompt with a hint
		{"azure", []string{"domain_hint", "work.example"}, map[string]string{"domain_hint": "work.example", "prompt": "select_account"}},
		{"oidc", []string{"login_hint", "ana", "prompt", "login"}, map[string]string{"login_hint": "ana", "prompt": "login", "max_age": "0"}},
		{"oidc", []string{"max_age", "600", "prompt", "consent"}, map[string]string{"max_age": "600", "prompt": ""}}, // our consent is not the upstream's
	} {
		b := idp.Browser()
		b.Get(rp.Start(append(c.send, "connector", c.id)...).URL).Element("continue")
		seen := ask[c.id]("authorize")
		form := seen[len(seen)-1].Form
		for k, v := range c.want {
			if form.Get(k) != v {
				t.Errorf("%s of %v: %s is %q, want %q", c.id, c.send, k, form.Get(k), v)
			}
		}
	}
}

// TestClientTakesSomeConnectors: a client's list of ways in holds at the start, at the callback, and for sessions that exist.
func TestClientTakesSomeConnectors(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "google", "oidc", "oauth2")})
	rp := idp.RP(wiki(only("oidc", "oauth2")))
	b := idp.Browser()
	login := rp.Start()
	page := b.Get(login.URL).Want(200, "login-with-oidc")
	if page.Has("login-with-google") || page.Has("login-password") {
		t.Error("the page offers a way that the client does not take")
	}
	start, err := url.Parse(idp.Issuer + html.UnescapeString(page.Attr("login-with-oidc", "href")))
	if err != nil {
		t.Fatal(err)
	}
	t.Log("the start's address typed by hand")
	typed := *start
	typed.Path = "/login/start/google"
	if p := b.Get(typed.String()).Want(http.StatusNotFound, "error-page"); p.Attr("error-page", "data-error") != "unknown_connector" {
		t.Errorf("%s", p.Attr("error-page", "data-error"))
	}
	if n := len(idp.Fakes.Google.Requests()); n != 0 {
		t.Errorf("%d requests to google", n)
	}
	t.Log("the password's form sent by hand")
	ada := idp.User(testidp.Person{})
	f := b.Get(idp.Issuer + "/login").FormOf("login-submit")
	f.Action = page.URL.String()
	f.Values.Set("identifier", ada.Email)
	f.Values.Set("password", ada.Password)
	if p := b.SendForm(page, f); p.Status != http.StatusUnprocessableEntity {
		t.Errorf("a password where none is taken: %s", p)
	}
	t.Log("the list changes while somebody is at the upstream")
	away := b.Click(page, "login-with-oidc")
	c, err := idp.Store.Client(t.Context(), rp.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.Connectors = []string{"oauth2", "google"}
	if err := idp.Store.UpdateClient(t.Context(), "cli", c); err != nil {
		t.Fatal(err)
	}
	if p := b.Press(away, connectortest.As("ana")).Want(http.StatusNotFound, "error-page"); p.Attr("error-page", "data-error") != "unknown_connector" {
		t.Errorf("%s", p.Attr("error-page", "data-error"))
	}
	if n := len(idp.Fakes.OIDC.Requests("token")); n != 0 || b.Cookie("__Host-latchkey") != "" {
		t.Errorf("%d exchanges, session %q", n, b.Cookie("__Host-latchkey"))
	}
	t.Log("a session by another way is none for this client")
	b.Through(b.Get(idp.Issuer+"/login"), "oidc", "ana").Want(200, "account-title")
	login = rp.Start()
	page = b.Get(login.URL).Want(200, "login-with-google")
	tokens := rp.Finish(login, b.Through(page, "google", "").URL)
	if tokens.Claims["login_method"] != "google" {
		t.Errorf("login_method %v", tokens.Claims["login_method"])
	}
}
