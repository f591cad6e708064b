package suite

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// anaSays is what the fake OpenID provider says of ana, as somebody would paste it.
const anaSays = `{
  "sub": "ana",
  "email": "ana@example.com",
  "email_verified": true,
  "name": "Ana Flores",
  "given_name": "Ana",
  "family_name": "Flores",
  "team": "blue"
}`

// ana at the fake says the same.
func ana(f *testidp.Fakes) {
	f.OIDC.SetPeople(connectortest.Person{ID: "ana", Email: "ana@example.com", Verified: true, Name: "Ana Flores", GivenName: "Ana", FamilyName: "Flores",
		Claims: map[string]any{"team": "blue"}})
}

// trying is a provider whose connector gives a privilege by a claim, and an administrator signed in.
func trying(t *testing.T, engine string, change func(*config.Config, *config.Connector)) (*testidp.IDP, *testidp.Browser, *syncBuffer) {
	t.Helper()
	var log syncBuffer
	idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "oidc"),
		Server: server.Options{NoBackground: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))},
		Config: func(c *config.Config) {
			k := testidp.Connector(c, "oidc")
			k.Privileges = []config.ClaimRule{{Claim: "team", Match: "blue", Privilege: "trainer"}}
			if change != nil {
				change(c, k)
			}
		}})
	ana(idp.Fakes)
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), idp.User(testidp.Person{Username: "bea", Privileges: []string{"admin"}})).Want(200, "account-title")
	return idp, b, &log
}

// paste fills in the form about a connector and sends it. Whatever comes of it: no row of any table changes, and no word of it is logged.
func paste(t *testing.T, idp *testidp.IDP, b *testidp.Browser, log *syncBuffer, fields map[string]string) *testidp.Page {
	t.Helper()
	page := b.Get(idp.Issuer+"/admin/preview").Want(200, "claims-form")
	if fields["claims-connector"] == "" {
		fields["claims-connector"] = "oidc"
	}
	before, logged := storetest.ContentsOf(t, idp.URL), len(log.String())
	page = tried(b, page, "claims-go", fields)
	if after := storetest.ContentsOf(t, idp.URL); !maps.Equal(before, after) {
		t.Errorf("something was written:\nbefore %v\nafter  %v", before, after)
	}
	for _, word := range []string{"ana@example.com", "Flores", "blue", "<script", "hostile"} {
		if strings.Contains(log.String()[logged:], word) {
			t.Errorf("the log says %q:\n%s", word, log.String()[logged:])
		}
	}
	if page.URL.RawQuery != "" {
		t.Errorf("the address says %q", page.URL.RawQuery)
	}
	return page
}

// tried submits the form; on a busy machine the two seconds of a dry run may pass before it ends, and a person tries again.
func tried(b *testidp.Browser, form *testidp.Page, button string, fields map[string]string) (page *testidp.Page) {
	for range 5 {
		if page = b.Submit(form, button, fields); page.Status != http.StatusServiceUnavailable {
			break
		}
	}
	return page
}

// documents are the tokens and answers on the page.
func documents(t *testing.T, p *testidp.Page) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for place, id := range map[string]string{"ID token": "id_token", "access token": "access_token", "userinfo": "userinfo", "introspection": "introspection"} {
		if !p.Has("preview-" + id + "-text") {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(p.Text("preview-"+id+"-text")), &m); err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		out[place] = m
	}
	return out
}

// asIssued fails the test unless the page says what the real tokens say. Somebody new is an id that nobody has.
func asIssued(t *testing.T, p *testidp.Page, rp *testidp.RP, tok *testidp.Tokens, isNew bool) {
	t.Helper()
	said := documents(t, p)
	for place, real := range places(t, rp, tok) {
		got, want := bare(t, said[place]), bare(t, real)
		if isNew {
			delete(got, "sub")
			delete(want, "sub")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\npage %v\nreal %v", place, got, want)
		}
	}
}

// says fails the test unless the page's step says all of it.
func says(t *testing.T, p *testidp.Page, step string, want ...string) {
	t.Helper()
	got := p.Want(200, "preview-step-"+step).Text("preview-step-" + step)
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s says %q, not %q", step, got, w)
		}
	}
}

// TestAdminPreview_EqualsTheSignIn: for every decision there is, the page says where the sign-in right after it leads, and what the tokens then say.
func TestAdminPreview_EqualsTheSignIn(t *testing.T) {
	t.Parallel()
	type run struct {
		idp  *testidp.IDP
		rp   *testidp.RP
		page *testidp.Page
		ana  testidp.Person // who has the address, if anybody
	}
	in := func(r *run) (*testidp.Tokens, *testidp.Page) { // through the upstream, to tokens or to the page where it stops
		b := r.idp.Browser()
		login := r.rp.Start()
		page := b.Through(b.Get(login.URL), "oidc", "ana")
		if page.Status != 0 {
			return nil, page
		}
		return r.rp.Finish(login, page.URL), page
	}
	holder := func(p testidp.Person) func(*run) {
		return func(r *run) {
			p.Email = "ana@example.com"
			r.ana = r.idp.User(p)
		}
	}
	tokens := func(isNew bool) func(*testing.T, *run) {
		return func(t *testing.T, r *run) {
			tok, page := in(r)
			if tok == nil {
				t.Fatalf("it leads to %s", page)
			}
			asIssued(t, r.page, r.rp, tok, isNew)
		}
	}
	stops := func(t *testing.T, r *run) {
		if n := len(documents(t, r.page)); n != 0 {
			t.Errorf("%d documents where nobody is signed in", n)
		}
	}
	cases := map[string]struct {
		up       func(*config.Config, *config.Connector)
		client   func(*store.ClientMetadata)
		prepare  func(*run)
		disowned string
		account  []string
		who      bool // the page leads to the account
		real     func(*testing.T, *run)
	}{
		"create": {account: []string{"A new account would be made and connected"}, real: tokens(true)},
		"enter":  {prepare: func(r *run) { in(r) }, account: []string{"is connected to", "Ana Flores", "ana@example.com"}, who: true, real: tokens(false)},
		"await": {up: func(_ *config.Config, k *config.Connector) { k.Registration = "approval" }, account: []string{"wait for approval", "an administrator approves each"},
			real: func(t *testing.T, r *run) {
				_, page := in(r)
				if page.Want(403, "error-page"); page.Attr("error-page", "data-error") != "awaiting_approval" {
					t.Errorf("it leads to %s", page)
				}
				u, err := r.idp.Store.UserByLogin(context.Background(), "ana@example.com")
				if err == nil {
					err = r.idp.Store.EnableUser(context.Background(), "cli", u.ID)
				}
				if err != nil {
					t.Fatal(err)
				}
				tokens(true)(t, r)
			}},
		"claim": {up: func(_ *config.Config, k *config.Connector) { k.Link = "never" }, prepare: holder(testidp.Person{GivenName: "Squatter", Unverified: true}),
			account: []string{"would lose it", "Squatter", "Administrators would be told."}, who: true, real: tokens(true)},
		"join": {up: func(_ *config.Config, k *config.Connector) { k.Link = "verified" }, prepare: holder(testidp.Person{GivenName: "Ana"}),
			account: []string{"connected at once", "Ana"}, who: true, real: tokens(false)},
		"prove": {prepare: holder(testidp.Person{GivenName: "Ana", FamilyName: "Alt"}), account: []string{"asked to prove that account", "Ana Alt", "after a proof by the account’s password"}, who: true,
			real: func(t *testing.T, r *run) {
				b := r.idp.Browser()
				login := r.rp.Start()
				page := b.Through(b.Get(login.URL), "oidc", "ana").Want(200, "link-title")
				page = b.Submit(page, "link-submit", map[string]string{"login-identifier": r.ana.Email, "login-password": r.ana.Password})
				asIssued(t, r.page, r.rp, r.rp.Finish(login, page.URL), false)
			}},
		"prove, and disowned":           {prepare: holder(testidp.Person{GivenName: "Squatter", Unverified: true}), disowned: "on", account: []string{"would lose it", "Squatter"}, who: true, real: nil},
		"prove, and it may be disowned": {prepare: holder(testidp.Person{GivenName: "Squatter", Unverified: true}), account: []string{"asked to prove that account", "tick that below"}, who: true, real: nil},
		"must change": {prepare: func(r *run) {
			in(r)
			u, err := r.idp.Store.UserByLogin(context.Background(), "ana@example.com")
			if err == nil {
				err = r.idp.Store.SetPassword(context.Background(), "cli", u.ID, "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g", true, "")
			}
			if err != nil {
				panic(err)
			}
		}, account: []string{"is connected to"}, who: true, real: func(t *testing.T, r *run) {
			says(t, r.page, "owes", "sets a new password first")
			if _, page := in(r); page.URL.Path != "/login/new-password" {
				t.Errorf("it leads to %s", page)
			}
		}},
		"address": {up: func(c *config.Config, _ *config.Connector) {
			c.Mail = config.Mail{Host: "127.0.0.1", Port: 1, TLS: config.MailNone, From: "login@idp.example", Timeout: time.Second}
		}, client: func(m *store.ClientMetadata) { m.RequireEmail = true }, prepare: func(r *run) {
			r.idp.Fakes.OIDC.SetPeople(connectortest.Person{ID: "ana", Name: "Ana Flores", GivenName: "Ana", FamilyName: "Flores"})
		}, account: []string{"requires an e-mail address", "it ends here"}, real: func(t *testing.T, r *run) {
			stops(t, r)
			if _, page := in(r); page.URL.Path != "/login/complete" {
				t.Errorf("it leads to %s", page)
			}
		}},
		"refuse": {up: func(_ *config.Config, k *config.Connector) { k.Registration = "closed" }, account: []string{"Nobody would be signed in.", "registration_closed", "none are made this way"},
			real: func(t *testing.T, r *run) {
				stops(t, r)
				_, page := in(r)
				code, text := page.Want(403, "error-page").Attr("error-page", "data-error"), page.Text("error-page")
				if code != "registration_closed" || !strings.Contains(text, between(r.page.Text("preview-step-account"), "“", "”")) {
					t.Errorf("it leads to %s: %s", code, text)
				}
			}},
		"requirement": {client: func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"developer"} }, account: []string{"A new account"}, real: func(t *testing.T, r *run) {
			stops(t, r)
			says(t, r.page, "requirement", "It requires: developer. The person lacks: developer.")
			says(t, r.page, "answer", "access_denied")
		}},
		"consent": {client: func(m *store.ClientMetadata) { m.FirstParty = false }, account: []string{"A new account"}, real: func(t *testing.T, r *run) {
			says(t, r.page, "consent", "The person is asked", "openid")
			b := r.idp.Browser()
			login := r.rp.Start()
			asIssued(t, r.page, r.rp, r.rp.Finish(login, b.Consent(b.Through(b.Get(login.URL), "oidc", "ana")).URL), true)
		}},
	}
	for i, name := range slices.Sorted(maps.Keys(cases)) {
		c, engine := cases[name], []string{"sqlite", "postgres"}[i%2]
		t.Run(name+" "+engine, func(t *testing.T) {
			t.Parallel()
			idp, b, log := trying(t, engine, c.up)
			change := func(*store.ClientMetadata) {}
			if c.client != nil {
				change = c.client
			}
			r := &run{idp: idp, rp: idp.RP(wiki(change))}
			if c.prepare != nil {
				c.prepare(r)
			}
			claims := anaSays
			if name == "address" {
				claims = `{"sub":"ana","name":"Ana Flores"}`
			}
			r.page = paste(t, idp, b, log, map[string]string{"claims-text": claims, "claims-client": r.rp.ID, "claims-disowned": c.disowned})
			says(t, r.page, "claims", "ana", "Ana Flores")
			says(t, r.page, "account", c.account...)
			if r.page.Has("preview-who") != c.who {
				t.Errorf("a link to the account: %v", !c.who)
			}
			if c.real != nil {
				c.real(t, r)
			}
		})
	}
}

// TestAdminPreview_OfAPerson: of somebody who has an account, the page says what their tokens then say.
func TestAdminPreview_OfAPerson(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, b, _ := trying(t, engine, nil)
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Privileges: []string{"trainer"}})
		rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"trainer"} }))
		ask := func(client, scope string) *testidp.Page {
			t.Helper()
			page := b.Get(idp.Issuer+"/admin/preview?user="+ada.ID).Want(200, "preview-form")
			before := storetest.ContentsOf(t, idp.URL)
			page = tried(b, page, "preview-go", map[string]string{"preview-client": client, "preview-scope": scope})
			if after := storetest.ContentsOf(t, idp.URL); !maps.Equal(before, after) {
				t.Errorf("something was written:\nbefore %v\nafter  %v", before, after)
			}
			return page
		}
		page := ask(rp.ID, "")
		says(t, page, "account", "Ada Lovelace", "the password")
		says(t, page, "requirement", "The person holds what it requires: trainer.")
		says(t, page, "consent", "the application belongs to this service")
		s := idp.Browser()
		a := rp.Start()
		asIssued(t, page, rp, rp.Finish(a, s.SignIn(s.Get(a.URL), ada).URL), false)

		if page := ask(rp.ID, "openid"); len(documents(t, page)) != 4 || documents(t, page)["userinfo"]["email"] != nil {
			t.Errorf("openid alone: %v", documents(t, page))
		}
		if page := ask(rp.ID, "openid admin"); page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.Text("preview-scope-error"), "admin") {
			t.Errorf("a scope it may not ask for: %s", page)
		}
		says(t, ask(idp.RP(wiki(only("oidc"))).ID, ""), "account", "sign in with "+label(idp.Config, "oidc"))
		open := idp.RP(wiki())
		says(t, ask(open.ID, ""), "requirement", "Everybody may.")
		idp.Revoke(ada, "trainer")
		says(t, ask(rp.ID, ""), "requirement", "The person lacks: trainer.")
		if page := ask("nothing", ""); page.Status != http.StatusNotFound || !page.Has("preview-client-error") {
			t.Errorf("no such application: %s", page)
		}
	})
}

// TestAdminPreview_WithoutAnApplication: it ends before the tokens. What the rules give is said with what they may not.
func TestAdminPreview_WithoutAnApplication(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, b, log := trying(t, engine, func(_ *config.Config, k *config.Connector) {
			k.Privileges = append(k.Privileges, config.ClaimRule{Claim: "team", Match: "blue", Privilege: "admin"})
		})
		page := paste(t, idp, b, log, map[string]string{"claims-text": anaSays})
		says(t, page, "privileges", "Given: Trainer (trainer).", "Withheld: Administrator (admin).", "it would make an administrator")
		says(t, page, "profile", "Given name Ana", "Family name Flores", "Address ana@example.com", "Address verified yes")
		says(t, page, "session", "(acr) 1", "(amr) fed")
		says(t, page, "answer", "No application was named")
		if page.Has("preview-step-requirement") || len(documents(t, page)) != 0 {
			t.Error("an application out of nowhere")
		}
		if got := page.Attr("preview-step-privileges", "data-state"); got != "bad" {
			t.Errorf("what is withheld is marked %s", got)
		}
		for trust, claims := range map[string]string{"only reported": `{"sub":"ana","email":"ana@example.com"}`, "gives no address": `{"sub":"ana"}`, "is verified": anaSays} {
			says(t, paste(t, idp, b, log, map[string]string{"claims-text": claims}), "claims", trust)
		}
		says(t, paste(t, idp, b, log, map[string]string{"claims-text": `{"sub":"ana","iss":"https://hostile.example"}`}), "claims", "would not be believed")
	})
}

// TestSec_AdminPreview_Hostile: what is no document gives a reason at its field, with the text still there; what is one is only ever text.
func TestSec_AdminPreview_Hostile(t *testing.T) {
	t.Parallel()
	idp, b, log := trying(t, "sqlite", nil)
	rp := idp.RP(wiki())
	for name, c := range map[string]struct {
		fields map[string]string
		field  string
		says   string
	}{
		"nothing":        {map[string]string{"claims-text": "  "}, "claims-text", "There are no claims."},
		"no JSON":        {map[string]string{"claims-text": "{\n  \"sub\": ana@example.com\n}"}, "claims-text", "see line 2, character 10"},
		"HTML":           {map[string]string{"claims-text": "</textarea><script>hostile()</script>"}, "claims-text", "see line 1, character 1"},
		"a list":         {map[string]string{"claims-text": `["hostile"]`}, "claims-text", "must be a JSON object"},
		"too long":       {map[string]string{"claims-text": `{"sub":"` + strings.Repeat(`"`, server.MaxPreviewClaims) + `"}`}, "claims-text", "longer than 64 KiB"},
		"too deep":       {map[string]string{"claims-text": strings.Repeat(`{"hostile":`, 40)}, "claims-text", "nested too deeply"},
		"names twice":    {map[string]string{"claims-text": `{"sub":"ana","<script>":1,"<script>":2}`}, "claims-text", "“<script>” comes twice"},
		"a token inside": {map[string]string{"claims-text": `{"id_token":"ey.hostile"}`}, "claims-text", "is a token"},
		"no connector":   {map[string]string{"claims-text": anaSays, "claims-connector": "hostile"}, "claims-connector", "There is no connector"},
		"no client":      {map[string]string{"claims-text": anaSays, "claims-client": "<script>"}, "claims-client", "There is no application “<script>”"},
		"no such scope":  {map[string]string{"claims-text": anaSays, "claims-client": rp.ID, "claims-scope": "openid <script>"}, "claims-scope", "may not ask for this: <script>"},
		"a scope alone":  {map[string]string{"claims-text": anaSays, "claims-scope": "openid"}, "claims-client", "Enter something here."},
	} {
		page := paste(t, idp, b, log, c.fields)
		if page.Status != http.StatusUnprocessableEntity || !page.Has("error-summary") || page.Has("preview-answer") {
			t.Errorf("%s: %s", name, page)
			continue
		}
		if got := page.Text(c.field + "-error"); !strings.Contains(got, c.says) {
			t.Errorf("%s: the field says %q", name, got)
		}
		kept := page.FormOf("claims-go").Values
		if got := kept.Get("claims"); name != "nothing" && got != strings.Join(strings.Fields(c.fields["claims-text"]), " ") || kept.Get("client") != c.fields["claims-client"] || kept.Get("scope") != c.fields["claims-scope"] {
			t.Errorf("%s: the form says %.200v", name, kept)
		}
		if strings.Contains(page.Body, "<script>") {
			t.Errorf("%s: a script", name)
		}
	}
	page := paste(t, idp, b, log, map[string]string{"claims-client": rp.ID, "claims-text": `{"sub":"<script>hostile()</script>","name":"<img src=x onerror=hostile()>","given_name":"<b>Ana</b>","email":"\"><script>@example.com","email_verified":true}`})
	if page.Status != http.StatusOK || strings.Contains(page.Body, "<script>") || strings.Contains(page.Body, "<img src=x") || strings.Contains(page.Body, "<b>") {
		t.Errorf("%s:\n%s", page, page.Body)
	}
	f := *b.Get(idp.Issuer + "/admin/preview").FormOf("claims-go")
	f.Values.Set("claims", strings.Repeat("x", 300<<10))
	if page := b.SendForm(page, &f); page.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("over what a form may be: %s", page)
	}
	f.Values.Set("claims", anaSays)
	f.Values.Del("connector")
	if page := b.SendForm(page, &f); page.Status != http.StatusUnprocessableEntity || page.Text("claims-connector-error") == "" {
		t.Errorf("no connector: %s", page)
	}
}

// TestSec_AdminPreview_Permission: who may not ask why somebody may do something cannot try a sign-in, either way; who may not see people's pages is
// told a name and led nowhere. Somebody read-only may: nothing is changed.
func TestSec_AdminPreview_Permission(t *testing.T) {
	t.Parallel()
	idp, boss, _ := trying(t, "sqlite", func(c *config.Config, _ *config.Connector) {
		requesting(c)
		c.Privileges["reviewer"] = config.Privilege{}
		c.Permissions["reviewer"] = []string{"access_user_info", "access_privileges"}
		c.UserTypes = append(c.UserTypes, config.UserType{Value: "810", Names: []string{"looker"}, Text: "Looker", Privilege: "reviewer", ReadOnly: true})
		c.Actions = map[string]config.ActionRule{"users": {Requires: []any{"staff"}}}
	})
	b := idp.Browser()
	b.Through(b.Get(idp.Issuer+"/login"), "oidc", "ana").Want(200, "account-title")
	post := boss.Get(idp.Issuer + "/admin/preview").FormOf("claims-go").Values
	post.Set("connector", "oidc")
	post.Set("claims", anaSays)
	for name, who := range map[string]testidp.Person{
		"nothing": {}, "people only": {Privileges: []string{"lead"}}, "both": {Privileges: []string{"reviewer"}}, "both, read-only": {UserType: "810"},
	} {
		b := desk(idp, idp.User(who))
		f := *b.Get(idp.Issuer + "/account").Form("sign-out-form")
		f.Action = idp.Issuer + "/admin/preview"
		for k, v := range post {
			if k != "form_token" {
				f.Values[k] = v
			}
		}
		may := strings.HasPrefix(name, "both")
		want := map[bool]int{true: 200, false: 403}[may]
		if page := b.Get(idp.Issuer + "/admin/preview"); page.Status != want {
			t.Errorf("%s: GET %s", name, page)
		}
		page := b.SendForm(b.Get(idp.Issuer+"/account"), &f)
		if page.Status != want || page.Has("preview-answer") != may {
			t.Errorf("%s: POST %s", name, page)
			continue
		}
		if may && (page.Has("preview-who") || !strings.Contains(page.Text("preview-step-account"), "Ana Flores")) {
			t.Errorf("%s: %s", name, page.Text("preview-step-account"))
		}
	}
}

// TestAdminPreviewInChromium: the page filled in, in both languages and both appearances, on a telephone and on a desk, held against WCAG 2.2 AA.
func TestAdminPreviewInChromium(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "de"} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Plain: true, Fakes: testidp.NewFakes(t, "oidc"), Config: func(c *config.Config) {
				testidp.Connector(c, "oidc").Privileges = []config.ClaimRule{{Claim: "team", Match: "blue", Privilege: "trainer"}, {Claim: "team", Match: "blue", Privilege: "admin"}}
			}})
			idp.User(testidp.Person{GivenName: "Ana", FamilyName: "Alt", Email: "ana@example.com"})
			boss := idp.User(testidp.Person{Username: "bea", Privileges: []string{"admin"}})
			rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.FirstParty = false }))
			c := newChrome(t, true)
			c.open(idp.Issuer+"/login", "login-title")
			if lang == "de" {
				c.do(chromedp.Click(chromedp.CSS(`button[lang="de"]`)))
				c.want("login-title")
			}
			c.fill("login-identifier", boss.Username)
			c.fill("login-password", testidp.DefaultPassword)
			c.click("login-submit", "account-title")
			c.open(idp.Issuer+"/admin/preview", "claims-form")
			c.look(lang + "-preview")
			c.do(chromedp.SetValue(chromedp.ID("claims-text"), "{\n  \"sub\": ana\n}"), chromedp.SetValue(chromedp.ID("claims-connector"), "oidc"))
			c.click("claims-go", "error-summary")
			c.look(lang + "-preview-wrong")
			c.fill("claims-client", rp.ID)
			c.do(chromedp.SetValue(chromedp.ID("claims-text"), anaSays))
			c.click("claims-go", "preview-answer")
			c.look(lang + "-preview-claims")
			c.fill("preview-user", "ana@example.com")
			c.fill("preview-client", rp.ID)
			c.click("preview-go", "preview-answer")
			c.look(lang + "-preview-person")
		})
	}
}
