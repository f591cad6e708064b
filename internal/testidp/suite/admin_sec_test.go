package suite

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_G12_ReviewIsOfThisChange: what is agreed to is what would happen now. A made-up agreement, and one to what has changed since, shows it anew and
// writes nothing.
func TestSec_G12_ReviewIsOfThisChange(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
		ada, bob := idp.User(testidp.Person{GivenName: "Ada"}), idp.User(testidp.Person{GivenName: "Bob"})
		if err := idp.Store.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "editor"}); err != nil {
			t.Fatal(err)
		}
		idp.Grant(ada, "editor")
		b, other := desk(idp, boss), desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
		nothing := func(what string, f func()) {
			t.Helper()
			before := entries(t, idp)
			f()
			if n := entries(t, idp) - before; n != 0 {
				t.Errorf("%s: %d entries", what, n)
			}
		}
		for path, values := range map[string][]string{
			"/admin/privileges/editor/include": {"include", "staff"}, "/admin/privileges/editor/delete": nil, "/admin/users/" + bob.ID + "/give": {"privilege", "editor"},
			"/admin/users/" + bob.ID + "/type": {"type", "500"}, "/admin/users/" + ada.ID + "/take": {"privilege", "editor"},
		} {
			for _, agreed := range []string{"1", "true", strings.Repeat("0", 32), "\x00", strings.Repeat("a", 5000)} {
				nothing(path, func() {
					send(t, idp, b, path, append(slices.Clone(values), "agreed", agreed)...).Want(409, "review-moved")
				})
			}
		}

		// Two administrators: the second agrees to what is no longer so.
		include := send(t, idp, b, "/admin/privileges/editor/include", "include", "staff").Want(200, "review-form")
		give := send(t, idp, other, "/admin/users/"+bob.ID+"/give", "privilege", "editor").Want(200, "review-form")
		other.Submit(give, "review-confirm", nil).Want(200, "admin-done")
		var again *testidp.Page
		nothing("including", func() { again = b.Submit(include, "review-confirm", nil).Want(409, "review-moved") })
		if text := again.Text("review-effect"); !strings.Contains(text, "2 people gain") {
			t.Errorf("anew: %s", text)
		}
		b.Submit(again, "review-confirm", nil).Want(200, "admin-done")

		// The same of one person.
		take := send(t, idp, b, "/admin/users/"+bob.ID+"/take", "privilege", "editor").Want(200, "review-form")
		idp.Grant(bob, "helper")
		nothing("taking", func() { again = b.Submit(take, "review-confirm", nil).Want(409, "review-moved") })
		if text := again.Text("review-effect"); strings.Contains(text, "helper") {
			t.Errorf("anew: %s", text)
		}
		b.Submit(again, "review-confirm", nil).Want(200, "admin-done")

		// Twice is once.
		give = send(t, idp, b, "/admin/users/"+bob.ID+"/give", "privilege", "trainer").Want(200, "review-form")
		b.Submit(give, "review-confirm", nil).Want(200, "admin-done")
		nothing("given twice", func() { b.Submit(give, "review-confirm", nil).Want(409, "give-privilege-error") })
		take = send(t, idp, b, "/admin/users/"+bob.ID+"/take", "privilege", "trainer").Want(200, "review-form")
		b.Submit(take, "review-confirm", nil).Want(200, "admin-done")
		nothing("taken twice", func() { b.Submit(take, "review-confirm", nil).Want(409, "error-summary") })
		kind := send(t, idp, b, "/admin/users/"+bob.ID+"/type", "type", "500").Want(200, "review-form")
		b.Submit(kind, "review-confirm", nil).Want(200, "admin-done")
		nothing("the type twice", func() { b.Submit(kind, "review-confirm", nil).Want(200, "admin-done") })
		remove := send(t, idp, b, "/admin/privileges/editor/delete").Want(200, "review-form")
		b.Submit(remove, "review-confirm", nil).Want(200, "admin-done")
		nothing("deleted twice", func() {
			if p := b.Submit(remove, "review-confirm", nil); p.Status != http.StatusNotFound {
				t.Errorf("deleted twice: %s", p)
			}
		})
		nothing("included into what is gone", func() {
			if p := b.Submit(include, "review-confirm", nil); p.Status != http.StatusNotFound {
				t.Errorf("%s", p)
			}
		})
		nothing("given what is gone", func() {
			send(t, idp, b, "/admin/users/"+bob.ID+"/give", "privilege", "editor").Want(422, "give-privilege-error")
		})

		// At once.
		give = send(t, idp, b, "/admin/users/"+bob.ID+"/give", "privilege", "advocate").Want(200, "review-form")
		before := entries(t, idp)
		answers := atOnce(t, idp, b, give, 6)
		slices.Sort(answers)
		if n := entries(t, idp) - before; n != 1 || answers[0] != http.StatusSeeOther || slices.ContainsFunc(answers[1:], func(s int) bool { return s != http.StatusConflict }) {
			t.Errorf("%d entries of a form sent six times at once: %v", n, answers)
		}
	})
}

// atOnce sends a page's review n times at the same time and returns the statuses.
func atOnce(t *testing.T, idp *testidp.IDP, b *testidp.Browser, page *testidp.Page, n int) []int {
	t.Helper()
	form := page.FormOf("review-confirm")
	out := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		req, err := http.NewRequest(http.MethodPost, idp.Issuer+form.Action, strings.NewReader(form.Values.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, name := range []string{"__Host-latchkey", "__Host-latchkey-flow"} {
			if v := b.Cookie(name); v != "" {
				req.AddCookie(&http.Cookie{Name: name, Value: v})
			}
		}
		wg.Go(func() {
			r, _ := try(idp.HTTP(), req)
			out[i] = r.Status
		})
	}
	wg.Wait()
	return out
}

// TestSec_G5_LastAdministratorsOnPages: two administrators take from each other at the same moment; exactly one succeeds, again and again.
func TestSec_G5_LastAdministratorsOnPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		people := []testidp.Person{idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Privileges: []string{"admin"}})}
		desks := []*testidp.Browser{desk(idp, people[0]), desk(idp, people[1])}
		for round := range 8 {
			var pages [2]*testidp.Page
			for i := range pages {
				pages[i] = send(t, idp, desks[i], "/admin/users/"+people[1-i].ID+"/take", "privilege", "admin").Want(200, "review-form")
			}
			before := entries(t, idp)
			var got [2]int
			var wg sync.WaitGroup
			for i := range pages {
				wg.Go(func() { got[i] = atOnce(t, idp, desks[i], pages[i], 1)[0] })
			}
			wg.Wait()
			won := slices.Index(got[:], http.StatusSeeOther)
			if won < 0 || got[1-won] != http.StatusForbidden && got[1-won] != http.StatusConflict || entries(t, idp)-before != 1 {
				t.Fatalf("round %d: %v and %d entries", round, got, entries(t, idp)-before)
			}
			idp.Grant(people[1-won], "admin")
		}
	})
}

// TestSec_G1_AdminPagesRefuse: whatever a form says, nobody does on a page what the gate does not let them do; each refusal has its words and
// its status, and nothing is written.
func TestSec_G1_AdminPagesRefuse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		for _, p := range []store.Privilege{{Name: "board", Includes: []string{"staff"}}, {Name: "deep", Includes: []string{"board"}}, {Name: "door"}, {Name: "gone"}, {Name: "free"}} {
			if err := idp.Store.CreatePrivilege(ctx, "cli", &p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := idp.Store.DeletePrivilege(ctx, "cli", "gone"); err != nil {
			t.Fatal(err)
		}
		wiki := idp.RP(store.ClientMetadata{RequiredPrivileges: []any{"door"}})
		if err := idp.Store.CreatePrivilege(ctx, "cli", &store.Privilege{Name: wiki.ID + ":editor", ClientID: wiki.ID}); err != nil {
			t.Fatal(err)
		}
		boss := idp.User(testidp.Person{Privileges: []string{"admin", "customer"}})
		lead, chief := idp.User(testidp.Person{Privileges: []string{"lead"}}), idp.User(testidp.Person{Privileges: []string{"chief", "board"}})
		ada := idp.User(testidp.Person{Privileges: []string{"helper"}})
		gone := idp.User(testidp.Person{})
		if err := idp.Store.EraseUser(ctx, "cli", gone.ID); err != nil {
			t.Fatal(err)
		}
		b, l, c := desk(idp, boss), desk(idp, lead), desk(idp, chief)
		user := func(p testidp.Person, what string) string { return "/admin/users/" + p.ID + "/" + what }
		long := strings.Repeat("ä", 501)
		tomorrow := store.At(idp.Now().Add(48 * time.Hour))
		brief := idp.User(testidp.Person{Privileges: []string{"chief"}})
		if err := idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: brief.ID, Privilege: "free", Until: tomorrow}); err != nil {
			t.Fatal(err)
		}
		br, eve, gus := desk(idp, brief), idp.User(testidp.Person{}), idp.User(testidp.Person{})
		if err := idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: eve.ID, Privilege: "developer", Source: store.SourceConnector, SourceRef: "oidc"}); err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			name   string
			b      *testidp.Browser
			path   string
			values []string
			status int
			id     string
			text   string
		}{
			{"to oneself", b, user(boss, "give"), []string{"privilege", "trainer"}, 403, "error-summary", "Nobody changes what they may do"},
			{"from oneself", b, user(boss, "take"), []string{"privilege", "admin"}, 403, "error-summary", "Nobody changes what they may do"},
			{"one's own type", b, user(boss, "type"), []string{"type", "700"}, 403, "error-summary", "Nobody changes what they may do"},
			{"what one lacks", c, user(ada, "give"), []string{"privilege", "customer"}, 403, "error-summary", "You can only give and take what you hold"},
			{"all there is", l, user(ada, "give"), []string{"privilege", "admin"}, 403, "error-summary", "You can only give and take what you hold"},
			{"outside of the delegation", l, user(ada, "give"), []string{"privilege", "lead"}, 403, "error-summary", "rules of delegation"},
			{"to who holds more", l, user(boss, "give"), []string{"privilege", "helper"}, 403, "error-summary", "holds more than you do"},
			{"from who holds more", l, user(chief, "take"), []string{"privilege", "board"}, 403, "error-summary", "holds more than you do"},
			{"a type that brings what one lacks", c, user(ada, "type"), []string{"type", "900"}, 403, "error-summary", "You can only give and take what you hold"},
			{"longer than one holds it", br, user(gus, "give"), []string{"privilege", "free"}, 422, "give-until-error", "You hold it yourself only until"},
			{"raising oneself", c, "/admin/privileges/board/include", []string{"include", "admin"}, 403, "error-summary", "You can only give and take what you hold"},
			{"raising what one holds", c, "/admin/privileges/board/include", []string{"include", "customer"}, 403, "error-summary", "You can only give and take what you hold"},
			{"changing one's own", c, "/admin/privileges/board/exclude", []string{"include", "staff"}, 403, "error-summary", "Nobody changes what they may do"},
			{"deleting what one lacks", c, "/admin/privileges/door/delete", nil, 409, "error-summary", "It is in use"},
			{"a new one that brings all", c, "/admin/privileges", []string{"name", "mine", "includes", "admin"}, 403, "error-summary", "You can only give and take what you hold"},
			{"cron to a person", b, user(ada, "give"), []string{"privilege", "cron"}, 403, "error-summary", "cron is for machines"},
			{"cron in another", b, "/admin/privileges/free/include", []string{"include", "cron"}, 422, "error-summary", "Nothing includes cron"},
			{"a client's role in admin", b, "/admin/privileges/admin/include", []string{"include", wiki.ID + ":editor"}, 422, "error-summary", "admin includes no application’s role"},
			{"cron in a new one", b, "/admin/privileges", []string{"name", "mine", "includes", "cron"}, 403, "error-summary", "cron is for machines"},
			{"what a provider's rules give", b, user(eve, "take"), []string{"privilege", "developer"}, 409, "error-summary", "comes from the user type or a provider"},
			{"what the type brings", b, user(ada, "take"), []string{"privilege", "user"}, 409, "error-summary", "Nobody gave this"},
			{"what is not held", b, user(ada, "take"), []string{"privilege", "trainer"}, 409, "error-summary", "Nobody gave this"},
			{"what there is not", b, user(ada, "take"), []string{"privilege", "nothing"}, 409, "error-summary", "Nobody gave this"},
			{"taking nothing", b, user(ada, "take"), nil, 409, "error-summary", "Nobody gave this"},
			{"held already", b, user(ada, "give"), []string{"privilege", "helper"}, 409, "give-privilege-error", "has this already"},
			{"no privilege", b, user(ada, "give"), []string{"privilege", "nothing"}, 422, "give-privilege-error", "no such privilege"},
			{"a type as a privilege", b, user(ada, "give"), []string{"privilege", "type/900"}, 422, "give-privilege-error", "no such privilege"},
			{"none", b, user(ada, "give"), nil, 422, "give-privilege-error", "Enter something"},
			{"a day that is over", b, user(ada, "give"), []string{"privilege", "trainer", "until", "2001-01-01"}, 422, "give-until-error", "Enter a day to come"},
			{"no day", b, user(ada, "give"), []string{"privilege", "trainer", "until", "soon"}, 422, "give-until-error", "Enter a day to come"},
			{"a long reason", b, user(ada, "give"), []string{"privilege", "trainer", "reason", long}, 422, "give-reason-error", "too long"},
			{"no type", b, user(ada, "type"), []string{"type", "nothing"}, 422, "error-summary", "no such user type"},
			{"the type of nobody", b, user(ada, "type"), []string{"type", "000"}, 422, "error-summary", "no such user type"},
			{"no type at all", b, user(ada, "type"), nil, 422, "error-summary", "no such user type"},
			{"include in the file", b, "/admin/privileges/helper/include", []string{"include", "customer"}, 409, "error-summary", "The configuration file declares"},
			{"describe in the file", b, "/admin/privileges/helper/describe", []string{"label", "x"}, 409, "error-summary", "The configuration file declares"},
			{"delete in the file", b, "/admin/privileges/helper/delete", nil, 409, "error-summary", "The configuration file declares"},
			{"built in", b, "/admin/privileges/advocate/delete", nil, 409, "error-summary", "built in and stays"},
			{"in use", b, "/admin/privileges/door/delete", nil, 409, "error-summary", wiki.ID},
			{"a cycle", b, "/admin/privileges/board/include", []string{"include", "deep"}, 422, "error-summary", "can’t include itself"},
			{"itself", b, "/admin/privileges/board/include", []string{"include", "board"}, 422, "error-summary", "can’t include itself"},
			{"include nothing", b, "/admin/privileges/board/include", nil, 422, "privilege-include-error", "Enter something"},
			{"include what there is not", b, "/admin/privileges/board/include", []string{"include", "nothing"}, 422, "privilege-include-error", "no such privilege"},
			{"include a type", b, "/admin/privileges/board/include", []string{"include", "type/900"}, 422, "privilege-include-error", "no such privilege"},
			{"a name that is taken", b, "/admin/privileges", []string{"name", "staff"}, 422, "privilege-name-error", "The name is taken"},
			{"a name that rests", b, "/admin/privileges", []string{"name", "gone"}, 422, "privilege-name-error", "The name is taken"},
			{"another's name in capitals", b, "/admin/privileges", []string{"name", "Admin"}, 422, "privilege-name-error", "can’t be a name"},
			{"a reserved name", b, "/admin/privileges", []string{"name", "anonymous"}, 422, "privilege-name-error", "can’t be a name"},
			{"a type's name", b, "/admin/privileges", []string{"name", "type/1"}, 422, "privilege-name-error", "can’t be a name"},
			{"a long name", b, "/admin/privileges", []string{"name", strings.Repeat("a", 51)}, 422, "privilege-name-error", "can’t be a name"},
			{"no name", b, "/admin/privileges", nil, 422, "privilege-name-error", "Enter something"},
			{"nobody's role", b, "/admin/privileges", []string{"name", "nobody:role"}, 422, "privilege-name-error", "no client of that name"},
			{"a long label", b, "/admin/privileges", []string{"name", "mine", "label", long[:202]}, 422, "privilege-label-error", "too long"},
			{"a long description", b, "/admin/privileges", []string{"name", "mine", "description", long}, 422, "privilege-description-error", "too long"},
			{"including what there is not", b, "/admin/privileges", []string{"name", "mine", "includes", "helper nothing"}, 422, "privilege-includes-error", "nothing"},
			{"a long translation", b, "/admin/privileges/free/describe", []string{"label_de", long[:202]}, 422, "privilege-label-de-error", "too long"},
			{"nobody", b, "/admin/users/nobody/give", []string{"privilege", "trainer"}, 404, "error-page", ""},
			{"nobody's type", b, "/admin/users/nobody/type", []string{"type", "100"}, 404, "error-page", ""},
			{"from nobody", b, "/admin/users/nobody/take", []string{"privilege", "trainer"}, 404, "error-page", ""},
			{"somebody erased", b, user(gone, "give"), []string{"privilege", "trainer"}, 404, "error-page", ""},
			{"from somebody erased", b, user(gone, "take"), []string{"privilege", "trainer"}, 404, "error-page", ""},
			{"no privilege to describe", b, "/admin/privileges/nothing/describe", []string{"label", "x"}, 404, "error-page", ""},
			{"no privilege to delete", b, "/admin/privileges/nothing/delete", nil, 404, "error-page", ""},
			{"a type to delete", b, "/admin/privileges/type%2F500/delete", nil, 404, "error-page", ""},
			{"a type to include in", b, "/admin/privileges/type%2F500/include", []string{"include", "admin"}, 404, "error-page", ""},
			{"a type to describe", b, "/admin/privileges/type%2F500/describe", []string{"label", "x"}, 404, "error-page", ""},
		} {
			before := entries(t, idp)
			p := send(t, idp, x.b, x.path, x.values...)
			if p.Status != x.status || !p.Has(x.id) || !strings.Contains(p.Text(x.id), x.text) {
				t.Errorf("%s: %s, want %d #%s %q: %s", x.name, p, x.status, x.id, x.text, between(p.Body, "<main", "</main>"))
			}
			if n := entries(t, idp) - before; n != 0 {
				t.Errorf("%s: wrote %d entries", x.name, n)
			}
			// What was agreed to beforehand is asked of the gate as well.
			if p := send(t, idp, x.b, x.path, append(slices.Clone(x.values), "agreed", "x")...); p.Status != x.status {
				t.Errorf("%s, agreed to: %s", x.name, p)
			}
		}
		for _, n := range []string{"a%00b", "%ff", "%2e%2e%2fx", "nobody", "%F0%9F%92%A9", strings.Repeat("a", 2000)} {
			for _, path := range []string{"/admin/users/" + n, "/admin/privileges/" + n} {
				if p := b.Get(idp.Issuer + path); p.Status != http.StatusNotFound && p.Status != http.StatusBadRequest {
					t.Errorf("%.40s: %s", path, p)
				}
			}
		}
	})
}

// TestSec_H6_AdminOddInput: whatever is sent to a page of administration, its answer is one of ours, tells nothing of the inside, and changes nothing.
func TestSec_H6_AdminOddInput(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: administered})
		b := desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
		ada := idp.User(testidp.Person{})
		fill := func(path string) string {
			return strings.NewReplacer("{id}", ada.ID, "{name}", "customer").Replace(path)
		}
		fields := []string{"q", "after", "user", "privilege", "at", "client", "scope", "done", "lang", "name", "label", "label_de", "description", "include", "includes", "reason", "until", "type", "token", "agreed",
			"decision", "note"}
		before := entries(t, idp)
		for m, odd := range []string{"\x00", "a\x00b", "\xff\xfe", "' OR 1=1 --", "%", "%00", "{{.}}", "type/100", "../x", "\u202e\U0001d4d0", "-1", "9999-99-99T99:99", "0000-00-00", "9999-12-31",
			strings.Repeat("ä", 600), "a\r\nSet-Cookie: x=y"} {
			form := url.Values{}
			for _, f := range fields {
				form.Set(f, odd)
			}
			for n, r := range append(adminRoutes(idp), web.Route{Pattern: "GET /admin"}) {
				method, path, _ := strings.Cut(r.Pattern, " ")
				var asks []*testidp.Page
				if method == http.MethodGet {
					if len(odd) < 100 { // a line of a request has an end
						asks = append(asks, b.Get(idp.Issuer+fill(path)+"?"+form.Encode()))
					}
					f := fields[(m+n)%len(fields)] // and each alone, somewhere
					asks = append(asks, b.Get(idp.Issuer+fill(path)+"?"+url.Values{f: {odd}, "user": {ada.ID}}.Encode()))
				} else {
					var values []string
					for _, f := range fields {
						values = append(values, f, odd)
					}
					some := [][]string{{"name", "fine", "label", odd, "agreed", odd, "include", odd}, {"privilege", "trainer", "reason", odd, "type", odd}, {"name", "fine", "includes", odd},
						{"privilege", "trainer", "until", odd}}
					asks = append(asks, send(t, idp, b, fill(path), values...), send(t, idp, b, fill(path), some[(m+n)%len(some)]...))
				}
				for _, p := range asks {
					if p.Status >= 500 {
						t.Errorf("%s with %.20q at %.80s: %d", r.Pattern, odd, p.URL.RawQuery, p.Status)
					}
					for _, leak := range []string{"store:", "privilege:", "SQLSTATE", "sql:", "goroutine", "%!", "<nil>", "invalid byte"} {
						if strings.Contains(p.Body, leak) {
							t.Errorf("%s with %.20q: the page says %q", r.Pattern, odd, leak)
						}
					}
				}
			}
		}
		whole := []string{"user.password_link", "user.export", "user.disable", "user.enable", "user.end_access"} // need nothing typed
		for _, e := range auditAfter(t, idp, before) {
			if !slices.Contains(whole, e.Action) && e.Action != "privilege.describe" && e.Target != "privilege:fine" { // whose label may well be odd
				t.Errorf("%s %s %s", e.Action, e.Target, e.Diff)
			}
		}
	})
}

func auditAfter(t testing.TB, idp *testidp.IDP, n int) []store.AuditEntry {
	t.Helper()
	list, err := idp.Store.AuditEntries(context.Background(), 0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	return list[n:]
}
