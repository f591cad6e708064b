package suite

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// administered is a configuration with people who administer in part: lead within a delegation, chief without one.
func administered(c *config.Config) {
	all := []string{"access_user_info", "edit_user_privileges", "access_privileges", "edit_privileges"}
	c.Privileges = map[string]config.Privilege{
		"helper": {Label: "Helper", Description: "Answers questions.", Texts: map[string]config.Text{"de": {Label: "Helfer"}}},
		"staff":  {Label: "Staff", Includes: []string{"helper"}},
		"lead":   {Label: "Lead", Includes: []string{"staff"}},
		"chief":  {Label: "Chief"},
	}
	c.Permissions = map[string][]string{"lead": all, "chief": all}
	c.Delegations = []config.Delegation{{Holder: "lead", Confer: []string{"staff"}, People: []any{}}}
	c.UserTypes = []config.UserType{
		{Value: "500", Names: []string{"desk"}, Text: "Help desk", Texts: map[string]string{"de": "Kundendienst"}, Privilege: "trainer"},
		{Value: "700", Names: []string{"bare"}, Text: "Bare"},
		{Value: "bare", Names: []string{"second"}, Text: "Second"}, // whose value is another's name
		{Value: "860", Names: []string{"auditor"}, Text: "Auditor", Privilege: "admin", ReadOnly: true},
	}
}

// entries is how many changes are in the audit log.
func entries(t testing.TB, idp *testidp.IDP) (n int) {
	t.Helper()
	for after := int64(0); ; {
		list, err := idp.Store.AuditEntries(context.Background(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return n
		}
		n, after = n+len(list), list[len(list)-1].Seq
	}
}

// send posts a form that no page offers as it is: values in pairs.
func send(t testing.TB, idp *testidp.IDP, b *testidp.Browser, path string, values ...string) *testidp.Page {
	t.Helper()
	page := b.Get(idp.Issuer + "/account")
	form := url.Values{"form_token": {between(page.Body, `name="form_token" value="`, `"`)}}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	return b.SendForm(page, &testidp.Form{Method: http.MethodPost, Action: idp.Issuer + path, Values: form})
}

// refreshed is an application where somebody signed in, to see what the next token says.
type refreshed struct {
	t      *testing.T
	rp     *testidp.RP
	tokens *testidp.Tokens
}

func signedInAt(t *testing.T, idp *testidp.IDP, b *testidp.Browser, who testidp.Person) *refreshed {
	t.Helper()
	rp := idp.RP(store.ClientMetadata{Name: "Wiki", Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"}, FirstParty: true})
	a := rp.Start()
	return &refreshed{t, rp, rp.Finish(a, b.SignIn(b.Get(a.URL), who).URL)}
}

// says compares the next token and userinfo with what the person should hold.
func (r *refreshed) says(userType string, want ...any) {
	r.t.Helper()
	next, err := r.rp.Refresh(r.tokens)
	if err != nil {
		r.t.Fatal(err)
	}
	r.tokens = next
	want = append([]any{}, want...) // an empty list is a list
	_, info := r.rp.UserInfo(next.AccessToken)
	for place, m := range map[string]map[string]any{"token": payload(r.t, next.AccessToken), "userinfo": info} {
		if !reflect.DeepEqual(m["privileges"], want) || m["user_type"] != userType {
			r.t.Errorf("the next %s says %v of type %v, want %v of type %s", place, m["privileges"], m["user_type"], want, userType)
		}
	}
}

// TestStory_AdminPrivilege: from its creation to its end, a privilege is managed on pages; each change that moves rights is seen before it is made.
func TestStory_AdminPrivilege(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Email: "bea@example.com", Privileges: []string{"admin"}})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
		a, b := idp.Browser(), desk(idp, boss)
		token := signedInAt(t, idp, a, ada)
		token.says("user", "user")

		page := b.Get(idp.Issuer+"/admin").Want(200, "admin-title")
		page = b.Click(page, "admin-privileges").Want(200, "privileges-list")
		page = b.Click(page, "privilege-new").Want(200, "privilege-form")
		page = b.Submit(page, "privilege-create", map[string]string{"privilege-name": "editor", "privilege-label": "Editor <b>", "privilege-description": "Writes.",
			"privilege-includes": "helper, customer"}).Want(200, "admin-done")
		if page.URL.Path != "/admin/privileges/editor" || page.Text("privilege-title") != "Editor <b>" || !strings.Contains(page.Text("privilege-includes"), "Helper") {
			t.Errorf("%s: %s", page, page.Text("privilege-includes"))
		}
		page = b.Submit(page, "describe-save", map[string]string{"privilege-label": "Editor", "privilege-label-de": "Redaktion", "privilege-description-de": "Schreibt."}).Want(200, "admin-done")
		if page.Attr("privilege-label-de", "value") != "Redaktion" || page.Attr("privilege-label", "value") != "Editor" {
			t.Error("the texts are not what was saved")
		}

		// Giving it: seen first, then done.
		page = b.Get(idp.Issuer+"/admin/users?q=ada@").Want(200, "users-list")
		if !strings.Contains(page.Text("users-list"), "Ada Lovelace") || strings.Contains(page.Text("users-list"), "Bea") {
			t.Errorf("found: %s", page.Text("users-list"))
		}
		user := idp.Issuer + "/admin/users/" + ada.ID
		until := idp.Now().UTC().AddDate(0, 0, 3)
		before := entries(t, idp)
		page = b.Submit(b.Get(user).Want(200, "give-form"), "give", map[string]string{"give-privilege": "editor", "give-reason": "For the <fair>",
			"give-until": until.Format(time.DateOnly)}).Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "Ada Lovelace gains:") || !strings.Contains(text, "editor") || !strings.Contains(text, "customer") || !strings.Contains(text, token.rp.ID) {
			t.Errorf("the review: %s", text)
		}
		token.says("user", "user")
		if n := entries(t, idp) - before; n != 0 {
			t.Errorf("a review wrote %d entries", n)
		}
		page = b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		if text := page.Text("user-held"); !strings.Contains(text, "Editor") || !strings.Contains(text, "Given by Bea Boss") || !strings.Contains(text, "Reason: For the <fair>") {
			t.Errorf("held: %s", text)
		}
		token.says("user", "customer", "editor", "helper", "user")
		given, err := idp.Store.Assignments(context.Background(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Date(until.Year(), until.Month(), until.Day()+1, 0, 0, 0, 0, time.UTC)
		if last := given[len(given)-1]; last.Privilege != "editor" || last.GivenBy != boss.ID || last.Reason != "For the <fair>" || !last.Until.Equal(end) {
			t.Errorf("%+v, want until %v", last, end)
		}
		a.Headers.Set("Accept-Language", "de")
		if text := a.Get(idp.Issuer + "/account/privileges").Text("privileges-held"); !strings.Contains(text, "Redaktion") {
			t.Errorf("in German: %s", text)
		}

		// Who holds it, and what depends on it.
		page = b.Get(idp.Issuer+"/admin/privileges/editor").Want(200, "privilege-people")
		if text := page.Text("privilege-people"); !strings.Contains(text, "Ada Lovelace") || page.Text("privilege-assigned") != "1 person" {
			t.Errorf("held by: %s, %s", page.Text("privilege-assigned"), text)
		}
		if text := b.Get(idp.Issuer + "/admin/privileges/helper").Text("privilege-people"); !strings.Contains(text, "Ada Lovelace") || !strings.Contains(text, "editor") {
			t.Errorf("helper is held by: %s", text)
		}

		// Taking something in, with cancelling first; and out again.
		before = entries(t, idp)
		page = b.Submit(page, "include-add", map[string]string{"privilege-include": "developer"}).Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "1 person gains") || !strings.Contains(text, "developer") {
			t.Errorf("including: %s", text)
		}
		b.Click(page, "review-cancel").Want(200, "privilege-title")
		token.says("user", "customer", "editor", "helper", "user")
		if n := entries(t, idp) - before; n != 0 {
			t.Errorf("a review that was cancelled wrote %d entries", n)
		}
		page = b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		if !strings.Contains(page.Text("privilege-includes"), "developer") {
			t.Errorf("includes %s", page.Text("privilege-includes"))
		}
		token.says("user", "customer", "developer", "editor", "helper", "user")
		page = send(t, idp, b, "/admin/privileges/editor/exclude", "include", "developer").Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "1 person loses") || !strings.Contains(text, "developer") {
			t.Errorf("excluding: %s", text)
		}
		b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		token.says("user", "customer", "editor", "helper", "user")

		// The user type.
		page = b.Submit(b.Get(user), "type-set", map[string]string{"type-500": "on"}).Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "trainer") || !strings.Contains(page.Text("review-title"), "Help desk") {
			t.Errorf("the type: %s, %s", page.Text("review-title"), text)
		}
		token.says("user", "customer", "editor", "helper", "user")
		page = b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		if text := page.Text("user-held"); !strings.Contains(text, "Comes with the user type Help desk.") {
			t.Errorf("held: %s", text)
		}
		token.says("desk", "customer", "editor", "helper", "trainer")

		// The end: what is in use says so, and nobody is left with it.
		page = b.Get(idp.Issuer+"/admin/privileges/editor").Want(200, "delete-form")
		page = b.Submit(page, "delete-review", nil).Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "1 person loses") || !strings.Contains(text, "editor") {
			t.Errorf("deleting: %s", text)
		}
		token.says("desk", "customer", "editor", "helper", "trainer")
		b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		token.says("desk", "trainer")
		if p := b.Get(idp.Issuer + "/admin/privileges/editor"); p.Status != http.StatusNotFound {
			t.Errorf("what was deleted: %s", p)
		}
		page = b.Get(idp.Issuer + "/admin/new-privilege")
		b.Submit(page, "privilege-create", map[string]string{"privilege-name": "editor"}).Want(422, "privilege-name-error") // the name rests

		// What nobody holds is deleted no less carefully.
		page = b.Submit(page, "privilege-create", map[string]string{"privilege-name": "brief", "privilege-label": "Brief"}).Want(200, "delete-form")
		page = b.Submit(page, "delete-review", nil).Want(200, "review-form")
		b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
	})
}

// TestStory_AdminTakes: what somebody gave is taken away again, seen first; what is not in force is shown as such.
func TestStory_AdminTakes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
		ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com", Privileges: []string{"staff"}})
		a, b := idp.Browser(), desk(idp, boss)
		token := signedInAt(t, idp, a, ada)
		token.says("user", "helper", "staff", "user")
		if err := idp.Store.Assign(context.Background(), "cli", &store.Assignment{UserID: ada.ID, Privilege: "chief", From: store.At(idp.Now().Add(24 * time.Hour))}); err != nil {
			t.Fatal(err)
		}
		page := b.Get(idp.Issuer+"/admin/users/"+ada.ID).Want(200, "user-held")
		if text := page.Text("user-held"); !strings.Contains(text, "Not in force") || !strings.Contains(text, "It begins on") {
			t.Errorf("held: %s", text)
		}
		take := "/admin/users/" + ada.ID + "/take"
		page = send(t, idp, b, take, "privilege", "staff").Want(200, "review-form")
		if text := page.Text("review-effect"); !strings.Contains(text, "Ada loses:") || !strings.Contains(text, "staff") || !strings.Contains(text, "helper") {
			t.Errorf("the review: %s", text)
		}
		token.says("user", "helper", "staff", "user")
		page = b.Submit(page, "review-confirm", nil).Want(200, "admin-done")
		if strings.Contains(page.Text("user-held"), "Staff") {
			t.Errorf("held: %s", page.Text("user-held"))
		}
		token.says("user", "user")
		b.Submit(page, "type-set", map[string]string{"type-bare": "on"}).Want(200, "admin-done") // whoever has nothing left counts as user (R7)
		token.says("second", "user")
		// What has not begun moves nothing today, so nothing is to be seen.
		page = send(t, idp, b, take, "privilege", "chief").Want(200, "admin-done")
		if strings.Contains(page.Text("user-held"), "Chief") {
			t.Errorf("held: %s", page.Text("user-held"))
		}
	})
}

// TestStory_Overview is R91: what types bring, what privileges let people do, in the reader's language.
func TestStory_Overview(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: administered})
	b := desk(idp, idp.User(testidp.Person{Privileges: []string{"chief"}}))
	page := b.Click(b.Get(idp.Issuer+"/admin/privileges").Want(200, "privileges-rights"), "privileges-rights").Want(200, "rights-types")
	if text := page.Text("rights-types"); !strings.Contains(text, "500 Help desk") || !strings.Contains(text, "860 Auditor read-only") || !strings.Contains(text, "Brings no privilege") {
		t.Errorf("user types: %s", text)
	}
	if text := page.Text("rights-permissions"); !strings.Contains(text, "edit_privileges") || !strings.Contains(text, "chief") || !strings.Contains(text, "✓") {
		t.Errorf("permissions: %s", text)
	}
	if text := page.Text("rights-privileges"); !strings.Contains(text, "trainer") || !strings.Contains(text, "500 desk") {
		t.Errorf("privileges: %s", text)
	}
	b.Headers.Set("Accept-Language", "de")
	if text := b.Get(idp.Issuer + "/admin/rights").Text("rights-types"); !strings.Contains(text, "Kundendienst") {
		t.Errorf("in German: %s", text)
	}
}

// TestStory_Explain: why, why not and who could give it, as it was, and a token of the past, whole or by its id.
func TestStory_Explain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Privileges: []string{"admin"}})
		idp.User(testidp.Person{GivenName: "Lea", Privileges: []string{"lead"}})
		ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com", Privileges: []string{"staff"}})
		a, b := idp.Browser(), desk(idp, boss)
		token := signedInAt(t, idp, a, ada).tokens.AccessToken
		jti := payload(t, token)["jti"].(string)
		time.Sleep(5 * time.Millisecond)
		idp.Revoke(ada, "staff")

		ask := func(status int, id string, values ...string) *testidp.Page {
			t.Helper()
			q := url.Values{}
			for i := 0; i+1 < len(values); i += 2 {
				q.Set(values[i], values[i+1])
			}
			return b.Get(idp.Issuer+"/admin/explain?"+q.Encode()).Want(status, id)
		}
		page := b.Get(idp.Issuer+"/admin/explain").Want(200, "explain-form")
		page = b.Submit(page, "explain-go", map[string]string{"explain-user": "ada@example.com"}).Want(200, "explain-answer")
		if text := page.Text("explain-answer"); !strings.Contains(text, "Comes with the user type User.") || strings.Contains(text, "Staff") {
			t.Errorf("why: %s", text)
		}
		// By the identifier too, and why not: what could be given, and by whom.
		page = ask(200, "explain-not", "user", ada.ID, "privilege", "helper")
		if text := page.Text("explain-not"); !strings.Contains(text, "helper is not held.") || !strings.Contains(text, "staff") || !strings.Contains(text, "Bea Boss") || !strings.Contains(text, "Lea") {
			t.Errorf("why not: %s", text)
		}
		page = ask(200, "explain-not", "user", ada.ID, "privilege", "cron")
		if text := page.Text("explain-not"); !strings.Contains(text, "Only the operator could give it.") {
			t.Errorf("why not cron: %s", text)
		}
		for _, name := range []string{"nothing", "type/100", "a\x00b", "\xff"} {
			if text := ask(200, "explain-answer", "user", ada.ID, "privilege", name).Text("explain-answer"); name != "\xff" && !strings.Contains(text, "There is no privilege") {
				t.Errorf("%q: %s", name, text)
			}
		}
		// As it was, and before there was anything.
		page = ask(200, "explain-answer", "user", ada.ID, "at", "2001-02-03T04:05")
		if text := page.Text("explain-answer"); strings.Contains(text, "Staff") {
			t.Errorf("in 2001: %s", text)
		}
		for _, at := range []string{"yesterday", "2999-01-01T00:00", "2001-02-30T00:00", "\x00"} {
			ask(422, "explain-at-error", "user", ada.ID, "at", at)
		}
		ask(404, "explain-user-error", "user", "nobody@example.com")
		ask(404, "explain-user-error", "user", "nothing")
		ask(422, "explain-user-error", "privilege", "staff")

		// A token, however it is brought, and never shown again.
		for what, in := range map[string]string{"whole": token, "id": jti, "with blanks": " " + jti + "\n"} {
			page = b.Get(idp.Issuer+"/admin/explain").Want(200, "token-form")
			page = b.Submit(page, "token-go", map[string]string{"explain-token": in}).Want(200, "explain-answer")
			if text := page.Text("explain-answer"); !strings.Contains(text, "What Ada holds") || !strings.Contains(text, "Staff") || !strings.Contains(text, "Helper") {
				t.Errorf("%s: %s", what, text)
			}
			if strings.Contains(page.Body, token) {
				t.Errorf("%s: the token comes back", what)
			}
		}
		for _, in := range []string{"", "x", "a.b.c", strings.Repeat("x", 9000), "\x00", "\xff", jti[:len(jti)-1] + "\x00", token[:len(token)/2]} {
			page = send(t, idp, b, "/admin/explain", "token", in)
			page.Want(422, "explain-token-error")
		}
		// A client's own token stands for nobody.
		cc := idp.RP(store.ClientMetadata{Scope: "api", GrantTypes: []string{"client_credentials"}})
		r := cc.Token(url.Values{"grant_type": {"client_credentials"}, "scope": {"api"}})
		if r.Status != 200 {
			t.Fatal(r.Body)
		}
		page = send(t, idp, b, "/admin/explain", "token", r.String("access_token")).Want(200, "explain-token-line")
		if text := page.Text("explain-token-line"); !strings.Contains(text, "no person stands behind it") {
			t.Errorf("a client's token: %s", text)
		}
	})
}

// TestAdminLists_Paged: 250 people page by page while one is added; nobody is lost or there twice, whatever the database sorts by, and each page costs
// the same however much there is.
func TestAdminLists_Paged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
		b := desk(idp, boss)
		cost := func(path string) int64 {
			t.Helper()
			b.Get(idp.Issuer+path).Want(200, "main")
			least := int64(math.MaxInt64)
			for range 3 { // what looks after the server in the background reads, too
				before := idp.Store.Counts()
				b.Get(idp.Issuer + path)
				after := idp.Store.Counts()
				if after.Writes != before.Writes || after.Transactions != before.Transactions {
					t.Errorf("looking at %s writes", path)
				}
				least = min(least, after.Reads-before.Reads)
			}
			return least
		}
		want := []string{boss.ID}
		person := func(n int) {
			t.Helper()
			u := store.User{Username: fmt.Sprintf("person-%d", n)}
			if err := idp.Store.CreateUser(ctx, &u); err != nil {
				t.Fatal(err)
			}
			want = append(want, u.ID)
		}
		privilege := func(name string) {
			t.Helper()
			if err := idp.Store.CreatePrivilege(ctx, "cli", &store.Privilege{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		one := idp.User(testidp.Person{Privileges: []string{"staff"}})
		want = append(want, one.ID)
		few := map[string]int64{}
		paths := []string{"/admin/users", "/admin/users/" + one.ID, "/admin/privileges", "/admin/privileges/staff", "/admin/rights"}
		for _, path := range paths {
			few[path] = cost(path)
		}

		for n := range 248 {
			person(n)
		}
		odd := func(n int) string { // names that languages sort differently from bytes
			return fmt.Sprintf("%s%d", []string{"p-", "p_", "p", "q:p", "p_a"}[n%5], n)
		}
		for n := range 70 {
			privilege(odd(n))
		}
		for n := range 20 { // each of somebody else
			giver := want[n+50]
			for _, a := range []struct{ by, who, name string }{{"cli", giver, "admin"}, {giver, one.ID, odd(n)}} {
				if err := idp.Store.Assign(ctx, a.by, &store.Assignment{UserID: a.who, Privilege: a.name}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range 40 {
			if err := idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: want[n+2], Privilege: "staff"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range paths {
			if n := cost(path); n > few[path]+2 || n > 25 {
				t.Errorf("%s costs %d reads, %d with little there", path, n, few[path])
			}
		}

		ids := func(path, link, list string) (seen []string) {
			t.Helper()
			page := b.Get(idp.Issuer+path).Want(200, list)
			for n := 0; ; n++ {
				for _, part := range strings.Split(page.Body, `href="`+path+"/")[1:] {
					id, _, _ := strings.Cut(part, `"`)
					seen = append(seen, id)
				}
				if !page.Has(link) || n > 20 {
					return seen
				}
				if path == "/admin/users" && n == 1 {
					person(1000)
					want = want[:len(want)-1] // which may be there or not
				}
				page = b.Click(page, link).Want(200, list)
			}
		}
		seen := ids("/admin/users", "users-more", "users-list")
		if len(seen) < 250 {
			t.Errorf("%d people", len(seen))
		}
		slices.Sort(seen)
		if unique := slices.Compact(slices.Clone(seen)); len(unique) != len(seen) {
			t.Errorf("%d lines of %d people", len(seen), len(unique))
		}
		for _, id := range want {
			if !slices.Contains(seen, id) {
				t.Errorf("%s is in no page", id)
			}
		}
		names := ids("/admin/privileges", "privileges-more", "privileges-list")
		rows, err := idp.Store.Privileges(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != len(rows) {
			t.Errorf("%d lines of %d privileges", len(names), len(rows))
		}
	})
}
