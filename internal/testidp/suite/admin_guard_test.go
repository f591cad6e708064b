package suite

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// adminRoutes are the lines of the route table that need an action.
func adminRoutes(idp *testidp.IDP) (list []web.Route) {
	for _, r := range idp.Server.Mux().Routes() {
		if strings.HasPrefix(r.Rule, "needs ") {
			list = append(list, r)
		}
	}
	return list
}

// actionOf is the action that a route needs.
func actionOf(t testing.TB, r web.Route) privilege.Action {
	t.Helper()
	list := privilege.Actions()
	i := slices.IndexFunc(list, func(a privilege.Action) bool { return "needs "+a.Name == r.Rule })
	if i < 0 {
		t.Fatalf("%s: no such action", r.Rule)
	}
	return list[i]
}

// open visits a route with a form that says nothing.
func open(t testing.TB, idp *testidp.IDP, b *testidp.Browser, r web.Route) *testidp.Page {
	t.Helper()
	method, path, _ := strings.Cut(r.Pattern, " ")
	if method == http.MethodPost {
		return send(t, idp, b, address[path])
	}
	return b.Get(idp.Issuer + address[path])
}

// refusedWith is the code of the page that says an action is not permitted, "" for any other page.
func refusedWith(p *testidp.Page) string {
	if p.Status != http.StatusForbidden || !p.Has("error-page") {
		return ""
	}
	return p.Attr("error-page", "data-error")
}

// TestSec_G6_AdminRoutesByPermission: each route of administration opens to whoever holds its permissions, one by one and together, and to nobody else.
func TestSec_G6_AdminRoutesByPermission(t *testing.T) {
	t.Parallel()
	directive := map[string][]string{}
	for _, p := range privilege.Permissions() {
		list := []string{string(p.Name)}
		for _, n := range p.Needs {
			list = append(list, string(n))
		}
		directive["only_"+string(p.Name)] = list
	}
	powers, _, err := privilege.NewPowers(directive, nil)
	if err != nil {
		t.Fatal(err)
	}
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		c.Permissions = directive
		c.Privileges = map[string]config.Privilege{}
		for name := range directive {
			c.Privileges[name] = config.Privilege{}
		}
	}})
	idp.User(testidp.Person{Privileges: []string{"admin"}}) // who stays one
	ada := idp.User(testidp.Person{})
	b := desk(idp, ada)
	var pairs [][]string
	for name := range directive {
		pairs = append(pairs, []string{name})
	}
	slices.SortFunc(pairs, slices.Compare)
	pairs = append(pairs, []string{"only_access_user_info", "only_edit_user_privileges"}, []string{"only_access_user_info", "only_access_privileges"}, []string{"admin"}, nil)
	opened := map[string]int{}
	for _, held := range pairs {
		idp.Grant(ada, held...)
		some := false
		for _, r := range adminRoutes(idp) {
			a := actionOf(t, r)
			want := true
			for _, n := range a.Needs {
				want = want && powers.May(held, n)
			}
			some = some || want && !a.Writes
			before := entries(t, idp)
			code := refusedWith(open(t, idp, b, r))
			if want != (code == "") || !want && code != "not_permitted" {
				t.Errorf("%s with %v: refused with %q, want it open: %v", r.Pattern, held, code, want)
			}
			// A form that says nothing takes a privilege's texts away, and the list of all people, and does nothing else.
			if n := entries(t, idp) - before; n != 0 && !(want && (strings.HasSuffix(r.Pattern, "/describe") || strings.HasSuffix(r.Pattern, "/export"))) {
				t.Errorf("%s with %v: a form that says nothing wrote %d entries", r.Pattern, held, n)
			}
			if want {
				opened[r.Pattern]++
			}
		}
		if code := refusedWith(b.Get(idp.Issuer + "/admin")); some != (code == "") {
			t.Errorf("/admin with %v: refused with %q, want it open: %v", held, code, some)
		}
		if link := b.Get(idp.Issuer + "/account").Has("account-admin"); link != some {
			t.Errorf("the account page leads to /admin with %v: %v", held, link)
		}
		for _, name := range held {
			idp.Revoke(ada, name)
		}
	}
	for _, r := range adminRoutes(idp) {
		if opened[r.Pattern] == 0 {
			t.Errorf("%s opened to nobody", r.Pattern)
		}
	}
}

// TestSec_G6_ReadOnlyChangesNothing is R85: an auditor sees every page, is offered no form, and is refused each that is sent all the same.
func TestSec_G6_ReadOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: administered})
	idp.User(testidp.Person{Privileges: []string{"admin"}})
	ada := idp.User(testidp.Person{})
	b := desk(idp, idp.User(testidp.Person{UserType: "860"}))
	before := entries(t, idp)
	for _, r := range adminRoutes(idp) {
		code, want := refusedWith(open(t, idp, b, r)), ""
		if actionOf(t, r).Writes {
			want = "read_only"
		}
		if code != want {
			t.Errorf("%s: refused with %q, want %q", r.Pattern, code, want)
		}
	}
	if n := entries(t, idp) - before; n != 0 {
		t.Errorf("wrote %d entries", n)
	}
	for path, forms := range map[string][]string{"/admin/users/" + ada.ID: {"give-form", "type-form"}, "/admin/privileges/customer": {"include-form", "describe-form", "delete-form"},
		"/admin/privileges": {"privilege-new"}} {
		page := b.Get(idp.Issuer+path).Want(200, "main")
		for _, id := range forms {
			if page.Has(id) {
				t.Errorf("%s offers #%s", path, id)
			}
		}
		if strings.Contains(page.Body, `/take"`) || strings.Contains(page.Body, `/exclude"`) {
			t.Errorf("%s offers to take away", path)
		}
	}
}

// TestSec_G6_RequirementsOfActions is R100 and R101: what a section requires hides it and refuses its forms; what an action requires, that action; and
// permissions alone, even all of them, do not replace it.
func TestSec_G6_RequirementsOfActions(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		administered(c)
		c.Actions = map[string]config.ActionRule{"privileges": {Requires: []any{"staff"}}, "users.privileges": {Requires: []any{[]any{"chief", "helper"}, "customer"}}}
	}})
	boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
	ada := idp.User(testidp.Person{})
	b := desk(idp, boss)
	for _, c := range []struct {
		give              string
		privileges, give2 bool
	}{{"", false, false}, {"customer", false, false}, {"helper", false, true}, {"staff", true, true}} {
		if c.give != "" {
			idp.Grant(boss, c.give)
		}
		for _, r := range adminRoutes(idp) {
			a, want := actionOf(t, r), true
			if a.Section == "privileges" {
				want = c.privileges
			} else if a.Name == "users.privileges" {
				want = c.give2
			}
			if code := refusedWith(open(t, idp, b, r)); want != (code == "") {
				t.Errorf("%q more: %s refused with %q", c.give, r.Pattern, code)
			}
		}
		for path, id := range map[string]string{"/admin": "admin-privileges", "/admin/users": "menu-privileges"} {
			if got := b.Get(idp.Issuer+path).Want(200, "menu-users").Has(id); got != c.privileges {
				t.Errorf("%q more: %s shows the section: %v", c.give, path, got)
			}
		}
		if got := b.Get(idp.Issuer + "/admin/users/" + ada.ID).Has("give-form"); got != c.give2 {
			t.Errorf("%q more: the form to give is there: %v", c.give, got)
		}
	}
}

// TestDebugPermissions_Actions: each check of a flagged action is one line with the first thing that is missing, and without either flag there is none
// (R104); in production neither is taken (R105).
func TestDebugPermissions_Actions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environment string
		questions   []string
		flag        string
		want        int
	}{
		"run":             {config.Development, []string{"run"}, "privileges.edit", 1},
		"of the section":  {config.Development, []string{"run"}, "privileges", 1},
		"another action":  {config.Development, []string{"run"}, "users.view", 0},
		"no question":     {config.Development, nil, "privileges.edit", 0},
		"another one":     {config.Development, []string{"sign_in"}, "privileges.edit", 0},
		"not in the file": {config.Production, []string{"run"}, "privileges.edit", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out syncBuffer
			idp := testidp.Start(t, testidp.Options{Server: server.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))}, Config: func(cfg *config.Config) {
				administered(cfg)
				cfg.Environment, cfg.DebugPermissions = c.environment, c.questions
				cfg.MFA.Administrators = config.MFAOffered // one who signs in with a password alone, in production too
				cfg.Actions = map[string]config.ActionRule{"privileges.edit": {Requires: []any{"staff", []any{"developer", "advocate"}}}}
				rule := cfg.Actions[c.flag]
				rule.DebugPermissions = true
				cfg.Actions[c.flag] = rule
			}})
			boss := idp.User(testidp.Person{Email: "bea@example.com", Privileges: []string{"admin", "staff"}})
			b := desk(idp, boss)
			if p := send(t, idp, b, "/admin/privileges", "name", "canary-value"); refusedWith(p) != "not_permitted" {
				t.Errorf("%s", p)
			}
			var lines []string
			for l := range strings.Lines(out.String()) {
				if strings.Contains(l, `msg="permission check"`) {
					lines = append(lines, l)
				}
			}
			if len(lines) != c.want {
				t.Fatalf("%d lines, want %d: %s", len(lines), c.want, lines)
			}
			for _, l := range lines {
				for _, want := range []string{"question=run", "action=privileges.edit", "user=" + boss.ID, "user_type=", `requires="staff and (developer or advocate)"`,
					`unmet="developer or advocate"`, "granted=false", "ref="} {
					if !strings.Contains(l, want) {
						t.Errorf("lacks %s: %s", want, l)
					}
				}
				if strings.Contains(l, "bea@") || strings.Contains(out.String(), "canary-value") {
					t.Errorf("what a person typed or is called: %s", l)
				}
			}
		})
	}
}

// TestSec_C11_AdminWantsARecentSignIn: a change after five minutes leads through the password and back to the page its form is on, once.
func TestSec_C11_AdminWantsARecentSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: administered})
		boss, ada := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{})
		b := desk(idp, boss)
		for _, r := range adminRoutes(idp) {
			method, path, _ := strings.Cut(r.Pattern, " ")
			if method != http.MethodPost || !actionOf(t, r).Writes {
				continue
			}
			path = strings.NewReplacer("{id}", ada.ID, "{name}", "customer").Replace(path)
			time.Sleep(5*time.Minute + time.Second)
			before := entries(t, idp)
			page := send(t, idp, b, path, "privilege", "trainer", "include", "trainer", "type", "500", "name", "mine", "label", "x", "decision", "approve")
			if page.Status != 200 || page.URL.Path != "/login" || !page.Has("login-password") {
				t.Errorf("%s: %s", r.Pattern, page)
				continue
			}
			if n := entries(t, idp) - before; n != 0 {
				t.Errorf("%s: wrote %d entries", r.Pattern, n)
			}
			page = b.SignIn(page, boss)
			want := path[:strings.LastIndexByte(path, '/')]
			switch r.Rule {
			case "needs users.create":
				want = "/admin/new-user"
			case "needs users.edit", "needs users.status", "needs users.password", "needs users.delete", "needs users.end_sessions":
				want += "/account"
			case "needs requests.decide":
				want = "/admin/privilege-requests"
			case "needs invites.create", "needs invites.decide":
				if want = "/admin/invites"; path == want {
					want = "/admin/new-invite"
				}
			case "needs privileges.edit":
				if path == "/admin/privileges" {
					want = "/admin/new-privilege"
				}
			}
			if page.URL.Path != want {
				t.Errorf("%s: came back to %s, want %s", r.Pattern, page, want)
			}
			if b.Cookie("__Host-latchkey-place") != "" {
				t.Errorf("%s: the place is still kept", r.Pattern)
			}
		}
		// Recent as of the moment it is asked, to the second.
		time.Sleep(5*time.Minute - time.Second)
		send(t, idp, b, "/admin/users/"+ada.ID+"/give", "privilege", "trainer").Want(200, "review-form")
		// Whoever is refused anyhow is not sent through the password first.
		eve := desk(idp, ada)
		time.Sleep(6 * time.Minute)
		if p := send(t, idp, eve, "/admin/users/"+boss.ID+"/give", "privilege", "trainer"); refusedWith(p) != "not_permitted" {
			t.Errorf("%s", p)
		}
	})
}

// TestSec_C8_PlaceIsNobodyElses: after a sign-in a browser lands on a page of ours that it asked for, or on the account; no cookie, address or header
// leads it anywhere else, and a place serves once.
func TestSec_C8_PlaceIsNobodyElses(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: administered})
	boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
	const cookie = "__Host-latchkey-place"
	land := func(b *testidp.Browser) *testidp.Page { return b.SignIn(b.Get(idp.Issuer+"/login"), boss) }

	b := idp.Browser()
	page := b.Get(idp.Issuer+"/admin/users?q=ada").Want(200, "login-title")
	kept := b.Cookie(cookie)
	if page = b.SignIn(page, boss); page.URL.Path != "/admin/users" || page.URL.RawQuery != "q=ada" || kept == "" || b.Cookie(cookie) != "" {
		t.Errorf("came back to %s, kept %q, then %q", page, kept, b.Cookie(cookie))
	}
	b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
	if page = land(b); page.URL.Path != "/account" {
		t.Errorf("a place served twice: %s", page)
	}

	in := desk(idp, boss)
	for name, value := range map[string]string{"plain": "https://evil.example/", "path": "//evil.example", "rubbish": strings.Repeat("A", 200),
		"a session": in.Cookie("__Host-latchkey"), "cut": kept[:len(kept)-1], "longer": kept + "A", "empty": "", "huge": strings.Repeat("A", 3000)} {
		b := idp.Browser()
		b.SetCookie(&http.Cookie{Name: cookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		if page := land(b); page.URL.String() != idp.Issuer+"/account" {
			t.Errorf("%s: led to %s", name, page)
		}
	}
	host := strings.TrimPrefix(idp.Issuer, "https://")
	for _, path := range []string{"//evil.example", "//evil.example/admin", "/%2Fevil.example", "/\\evil.example", "/%5Cevil.example", "/%09/evil.example", "/admin/users/%2F%2Fevil.example", "/admin/users/%5C%5Cevil.example",
		"/admin/users/%0d%0aLocation:%20https:%2f%2fevil.example", "/admin/users?q=https://evil.example", "/admin/users?next=//evil.example&return_to=https://evil.example", "/admin/..//evil.example", "/admin//evil.example",
		"/account?" + strings.Repeat("a", 600), "/admin/users/.%2e%2f%2fevil.example", "/admin;//evil.example", "/admin/explain?user=javascript:alert(1)", "/login?next=https://evil.example", "/login?return_to=//evil.example"} {
		b := idp.Browser()
		u, err := url.Parse(idp.Issuer + "/")
		if err != nil {
			t.Fatal(err)
		}
		page := &testidp.Page{URL: u}
		if p, err := url.Parse(idp.Issuer + path); err == nil {
			page = b.Get(p.String())
		}
		if !page.Has("login-submit") {
			page = b.Get(idp.Issuer + "/login")
		}
		if page = b.SignIn(page, boss); page.URL.Host != host || page.Status == 0 || page.Status >= 500 {
			t.Errorf("%s led to %s", path, page)
		}
	}
	// What asks is a page, not a form: a POST of somebody signed out names no place.
	b = idp.Browser()
	p := b.Get(idp.Issuer + "/login")
	b.SendForm(p, &testidp.Form{Method: http.MethodPost, Action: idp.Issuer + "/admin/users/x/give", Values: url.Values{"form_token": p.FormOf("login-submit").Values["form_token"]}})
	if page := land(b); page.URL.Path != "/account" {
		t.Errorf("after a POST: %s", page)
	}
}
