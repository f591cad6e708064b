package suite

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/relying"
	"github.com/latchkey-idp/latchkey/store"
)

// enter opens a page of the sample application and signs in on the way; the page that comes is whatever the screening says.
func (d *demo) enter(b *testidp.Browser, path string, who testidp.Person) *testidp.Page {
	p := b.Get(d.app+path).Want(403, "sorry")
	p = b.SignIn(b.Click(p, "sorry-sign-in").Want(200, "login-title"), who)
	if p.Has("consent-accept") {
		p = b.Consent(p)
	}
	return p
}

// The examples of the documentation, one after another, each with the people it lets in and those it does not.
func TestSampleScreening(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	trainer := d.User(testidp.Person{GivenName: "Tina", Privileges: []string{"trainer", "customer"}})
	customer := d.User(testidp.Person{GivenName: "<b>Cy</b>", FamilyName: "Two", Privileges: []string{"customer"}})
	neither := d.User(testidp.Person{Username: "nobody-in-particular"})

	// R116: the first that holds; somebody with neither is told so, without a loop.
	for _, c := range []struct {
		who    testidp.Person
		status int
		id     string
	}{{trainer, 200, "lessons-trainer"}, {customer, 200, "lessons-customer"}, {neither, 403, "no-access"}} {
		b := d.Browser(d.app)
		p := d.enter(b, "/lessons", c.who).Want(c.status, c.id)
		if p.URL.String() != d.app+"/lessons" {
			t.Errorf("%s: ended at %s", c.id, p.URL)
		}
		if c.status == 403 {
			before := len(b.Log)
			if p = b.Get(d.app+"/lessons").Want(403, "no-access"); len(b.Log) != before+1 {
				t.Errorf("sent away after being refused: %d requests", len(b.Log)-before)
			}
			if got := p.Text("no-access-needs"); got != "trainer or customer" {
				t.Errorf("the page needs %q", got)
			}
		}
	}

	// R117: shown as text, and empty names are greeted.
	b := d.Browser(d.app)
	if got := d.enter(b, "/greeting", customer).Want(200, "greeting-title").Text("greeting-title"); got != "Welcome, <b>Cy</b>" {
		t.Errorf("%q", got)
	}
	b = d.Browser(d.app)
	if got := d.enter(b, "/greeting", neither).Want(200, "greeting-title").Text("greeting-title"); got == "Welcome," || got == "Welcome, " {
		t.Errorf("a person without names is greeted %q", got)
	}

	// R118: by the verified address, however it is spelled; who has none is turned away.
	for _, c := range []struct {
		who    testidp.Person
		status int
		id     string
	}{
		{testidp.Person{Email: "x@dept.GOV"}, 403, "turned-away-domain"},
		{testidp.Person{Email: "x@notgov.example"}, 200, "interview-title"},
		{testidp.Person{Email: "y@fine.example", Unverified: true}, 403, "turned-away-unknown"},
		{testidp.Person{Username: "by-telephone", Phone: "+15555550100"}, 403, "turned-away-unknown"},
	} {
		d.enter(d.Browser(d.app), "/interview", d.User(c.who)).Want(c.status, c.id)
	}

	// R119: an action opened signed out runs after the screening, once; screened out, nothing ran; a form is not sent again.
	b = d.Browser(d.app)
	if got := d.enter(b, "/actions/ring", trainer).Want(200, "bell-title").Text("rings"); got != "1" {
		t.Errorf("rang %s times", got)
	}
	if got := b.Get(d.app + "/bell").Text("rings"); got != "1" {
		t.Errorf("after a reload: %s", got)
	}
	stale := b.Get(d.app + "/bell")
	if got := b.Submit(stale, "ring-form", nil).Want(200, "bell-title").Text("rings"); got != "2" {
		t.Errorf("by the form: %s", got)
	}
	b.CrossSitePost(d.app+"/bell", url.Values{}).Want(403, "failed")
	fresh := d.Browser(d.app)
	fresh.CrossSitePost(d.app+"/bell", url.Values{}).Want(403, "failed")
	p := fresh.Get(d.app+"/bell").Want(403, "sorry")
	fresh.Click(p, "sorry-sign-in")
	d.enter(fresh, "/bell", trainer).Want(200, "bell-title")
	if got := fresh.Get(d.app + "/bell").Text("rings"); got != "2" {
		t.Errorf("a form that was refused ran later: %s", got)
	}
	out := d.Browser(d.app)
	d.enter(out, "/actions/ring", neither).Want(403, "no-access")
	d.Grant(neither, "customer")
	if got := out.Get(d.app+"/bell").Want(200, "bell-title").Text("rings"); got != "0" {
		t.Errorf("screened out, and rang %s times", got)
	}
}

// A privilege is given and withdrawn while its holder stays signed in: pages and the asking API follow at the next click.
func TestSampleWithdrawal(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	ada := d.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com", Privileges: []string{"trainer"}})
	b := d.Browser(d.app)
	d.enter(b, "/lessons", ada).Want(200, "lessons-trainer")
	statuses := func(want ...string) {
		t.Helper()
		p := b.Get(d.app+"/api").Want(200, "api-title")
		got := []string{p.Text("status-0"), p.Text("status-1"), p.Text("status-2")}
		if !slices.Equal(got, want) {
			t.Errorf("the API answers %v, want %v:\n%s\n%s\n%s", got, want, p.Text("says-0"), p.Text("says-1"), p.Text("says-2"))
		}
	}
	statuses("200", "200", "200")
	d.Revoke(ada, "trainer")
	p := b.Get(d.app+"/lessons").Want(403, "no-access")
	if p.Text("who") != "Ada" {
		t.Errorf("signed out by it: %q", p.Text("who"))
	}
	statuses("200", "200", "403") // a token that nobody asks about says what it said
	if p = b.Get(d.app + "/me"); !strings.Contains(p.Body, `"privileges":["user"]`) {
		t.Errorf("/me says %s", p.Body)
	}
	d.Grant(ada, "trainer")
	b.Get(d.app+"/lessons").Want(200, "lessons-trainer")
	// The account is disabled: out, wherever they are.
	if err := d.Store.DisableUser(context.Background(), "cli", ada.ID, "left"); err != nil {
		t.Fatal(err)
	}
	b.Get(d.app+"/lessons").Want(403, "sorry")
	if p = b.Get(d.app + "/me"); strings.TrimSpace(p.Body) != `{"logged_in":false}` {
		t.Errorf("/me says %s", p.Body)
	}
}

// R2: what a visitor wrote is there after they sign in, in this browser and in the next.
func TestSampleNotes(t *testing.T) {
	t.Parallel()
	d := newDemoWith(t, auditors)
	ada := d.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
	b := d.Browser(d.app)
	p := b.Get(d.app+"/notes").Want(200, "no-notes")
	p = b.Submit(p, "add-note", map[string]string{"note": "buy <milk>"})
	if got := p.Text("notes"); got != "buy <milk>" {
		t.Fatalf("%q", got)
	}
	b.CrossSitePost(d.app+"/notes", url.Values{"note": {"stolen"}}).Want(403, "failed")
	p = b.Consent(b.SignIn(b.Click(p, "notes-sign-in").Want(200, "login-title"), ada)).Want(200, "notes-title")
	if got := p.Text("notes"); got != "buy <milk>" || p.Has("notes-sign-in") {
		t.Errorf("signed in: %q", got)
	}
	// What the browser had for a secret is good for nothing any more (fixation).
	gone := false
	for _, e := range b.Log {
		for _, k := range e.Cookies {
			gone = gone || k.Name == "sample-notes" && k.MaxAge < 0
		}
	}
	if !gone {
		t.Error("the visitor's cookie outlives the sign-in")
	}
	// Signed out, the browser has none of it any more, and writes new ones of nobody's.
	p = b.Submit(p, "sign-out", nil)
	if p.Has("logout-confirm") {
		p = b.Submit(p, "logout-confirm", nil)
	}
	b.Get(d.app+"/notes").Want(200, "no-notes")
	// The browser was closed; another day, another one.
	next := d.Browser(d.app)
	next.Get(d.app+"/notes").Want(200, "no-notes")
	d.enter(next, "/you", ada).Want(200, "you-title")
	if got := next.Get(d.app + "/notes").Text("notes"); got != "buy <milk>" {
		t.Errorf("the next day: %q", got)
	}

	// R85: an auditor reads and does not write, by form or by link.
	eve := d.User(testidp.Person{GivenName: "Eve", UserType: "500", Privileges: []string{"trainer"}})
	look := d.Browser(d.app)
	p = d.enter(look, "/you", eve).Want(200, "you-title")
	if got := p.Text("user-type"); !strings.Contains(got, "auditor") || !strings.Contains(got, "change nothing") {
		t.Errorf("%q", got)
	}
	if p = look.Get(d.app+"/notes").Want(200, "notes-read-only"); p.Has("add-note") {
		t.Error("the form is offered")
	}
	bell := look.Get(d.app+"/bell").Want(200, "bell-title")
	look.Submit(bell, "ring-form", nil).Want(403, "no-access-read-only")
	look.Click(bell, "ring-link").Want(403, "no-access-read-only")
	if got := look.Get(d.app + "/bell").Text("rings"); got != "0" {
		t.Errorf("an auditor rang %s times", got)
	}
}

// An API on relying with tokens of the real server: both formats, each way of looking at them.
func TestRelyingAPI(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: auditors})
		const resource = "https://orders.example/api"
		apiID, apiSecret := idp.Client(store.ClientMetadata{Name: "Orders", Resources: []string{resource}, Introspect: "resources", GrantTypes: []string{"client_credentials"}})
		serve := func(mode relying.Introspection, keep time.Duration) func(path, method, token string) (int, string) {
			c := relying.APIConfig{Issuer: idp.Issuer, Audience: resource, Introspect: mode, CacheFor: keep, HTTPClient: idp.HTTP(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			if mode != relying.IntrospectNever {
				c.ClientID, c.ClientSecret = apiID, apiSecret
			}
			api, err := relying.NewAPI(c)
			if err != nil {
				t.Fatal(err)
			}
			ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				who, _ := relying.UserInfo(r.Context())
				json.NewEncoder(w).Encode(map[string]any{"sub": who.Subject, "privileges": who.Privileges})
			})
			mux := http.NewServeMux()
			mux.Handle("/any", api.RequireToken(ok))
			mux.Handle("/train", api.RequireScope("privileges")(api.RequirePrivilege("trainer")(ok)))
			mux.Handle("/edit", api.RequireWrite(ok))
			return func(path, method, token string) (int, string) {
				r := httptest.NewRequest(method, path, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, r)
				return w.Code, w.Body.String() + w.Header().Get("WWW-Authenticate")
			}
		}
		never, opaque, always := serve(relying.IntrospectNever, 0), serve(relying.IntrospectOpaque, 0), serve(relying.IntrospectAlways, 0)
		check := func(what string, want int, got int, said string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d, want %d: %s", what, got, want, said)
			}
		}
		for _, format := range []string{"jwt", "opaque"} {
			ada := idp.User(testidp.Person{Privileges: []string{"trainer"}})
			meta := store.ClientMetadata{Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}, Resources: []string{resource},
				AccessTokenFormat: format, FirstParty: true}
			rp := idp.RP(meta)
			b := idp.Browser()
			a := rp.Start()
			tok := rp.Finish(a, b.SignIn(b.Get(a.URL), ada).URL)
			local := 200
			if format == "opaque" {
				local = 401
			}
			for _, api := range []struct {
				name string
				ask  func(path, method, token string) (int, string)
				want int
			}{{"never", never, local}, {"opaque", opaque, 200}, {"always", always, 200}} {
				code, said := api.ask("/train", "GET", tok.AccessToken)
				check(format+", introspection "+api.name, api.want, code, said)
				if code == 200 && !strings.Contains(said, ada.ID) {
					t.Errorf("%s", said)
				}
				code, said = api.ask("/any", "GET", tok.RawID)
				check("an ID token, introspection "+api.name, 401, code, said)
				code, said = api.ask("/any", "GET", tok.RefreshToken)
				check("a refresh token, introspection "+api.name, 401, code, said)
			}
			// A machine: the audience is right, and it is nobody.
			res := rp.Token(url.Values{"grant_type": {"client_credentials"}})
			code, said := opaque("/any", "POST", res.String("access_token"))
			check("a machine", 200, code, said)
			code, said = opaque("/train", "GET", res.String("access_token"))
			check("a machine is no trainer", 403, code, said)
			// Another application's token, for another API.
			meta.Resources = []string{"https://other.example/api"}
			elsewhere := idp.RP(meta)
			a = elsewhere.Start()
			code, said = opaque("/any", "GET", elsewhere.Finish(a, b.Get(a.URL).URL).AccessToken)
			check("a token for another API", 401, code, said)
			// Withdrawn.
			idp.Revoke(ada, "trainer")
			code, said = always("/train", "GET", tok.AccessToken)
			check("withdrawn, asked", 403, code, said)
			code, said = never("/train", "GET", tok.AccessToken)
			check("withdrawn, not asked", local, code, said)
			// Ended.
			rp.Revoke(tok.RefreshToken)
			code, said = always("/any", "GET", tok.AccessToken)
			check("revoked, asked", 401, code, said)
			code, said = never("/any", "GET", tok.AccessToken)
			check("revoked, not asked", local, code, said)

			// R85.
			eve := idp.User(testidp.Person{UserType: "500"})
			bb := idp.Browser()
			a = rp.Start()
			tok = rp.Finish(a, bb.SignIn(bb.Get(a.URL), eve).URL)
			code, said = opaque("/edit", "GET", tok.AccessToken)
			check("an auditor reads", 200, code, said)
			code, said = opaque("/edit", "PUT", tok.AccessToken)
			check("an auditor writes", 403, code, said)
		}
	})
}

// The pages of the sample application, held against what every page promises, and each of its buttons once by a real browser.
func TestSampleInChromium(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	d.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Password: password, Privileges: []string{"trainer"}})
	c := newChrome(t, true)
	c.open(d.app+"/notes", "notes-title")
	c.look("sample-notes-empty")
	c.fill("note", "Remember the milk")
	c.click("add-note", "notes")
	c.open(d.app+"/lessons", "sorry")
	c.click("sorry-exit", "about-title") // R115
	c.look("sample-about")
	c.open(d.app+"/lessons", "sorry")
	c.click("sorry-sign-in", "login-title")
	c.fill("login-identifier", "ada@example.com")
	c.fill("login-password", password)
	c.click("login-submit", "consent-title")
	c.click("consent-accept", "lessons-trainer")
	c.look("sample-lessons")
	for path, id := range map[string]string{"/greeting": "greeting-title", "/interview": "interview-title", "/bell": "bell-title", "/notes": "notes", "/api": "api-title", "/admin": "no-access", "/": "home-title"} {
		c.open(d.app+path, id)
		c.look("sample-" + id)
	}
	c.open(d.app+"/bell", "bell-title")
	c.click("ring-link", "rang-1") // the id has the number: the same page comes again
	c.click("ring-form", "rang-2")
}
