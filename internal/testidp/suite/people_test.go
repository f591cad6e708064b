package suite

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestStory_PeopleList: the list is narrowed by links and a form, the filter survives paging (R126), and it is taken away as a file.
func TestStory_PeopleList(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: administered})
	boss := idp.User(testidp.Person{GivenName: "Bea", Privileges: []string{"admin"}})
	b := desk(idp, boss)
	for n := range 60 {
		u := store.User{GivenName: "Person", FamilyName: fmt.Sprint("N", n), Email: fmt.Sprintf("p%d@example.com", n)}
		if err := idp.Store.CreateUser(ctx, &u); err != nil {
			t.Fatal(err)
		}
		if n < 55 {
			if err := idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: u.ID, Privilege: "staff"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := b.Get(idp.Issuer+"/admin/users?privilege=helper&state=new&factor=no&nothing=1").Want(200, "users-chips")
	if text := page.Text("users-chips"); !strings.Contains(text, "helper") || !strings.Contains(text, "Never signed in") || !strings.Contains(text, "No second step") {
		t.Errorf("narrowed by: %s", text)
	}
	page = b.Click(page, "users-more").Want(200, "users-chips")
	if n := strings.Count(page.Body, `href="/admin/users/`); n != 5 || page.Has("users-more") {
		t.Errorf("%d people on the second page: %s", n, page.Text("users-list"))
	}
	page = b.Get(idp.Issuer + "/admin/users?state=nonsense&factor=%00&type=%27&way=%ff&after=rubbish&q=" + url.QueryEscape("N7 pers"))
	if text := page.Want(200, "main").Text("main"); strings.Contains(text, "N7") {
		t.Errorf("a type that is not there: %s", text)
	}
	page = b.Get(idp.Issuer+"/admin/users?q="+url.QueryEscape("n7 pers")).Want(200, "users-list")
	if text := page.Text("users-list"); !strings.Contains(text, "Person N7") || strings.Contains(text, "N8") || !strings.Contains(text, "Never signed in") {
		t.Errorf("found: %s", text)
	}
	before := entries(t, idp)
	file := b.Submit(page, "users-export", nil)
	rows, err := csv.NewReader(strings.NewReader(file.Body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][0] != "id" || rows[1][3] != "p7@example.com" || rows[1][9] != "staff" {
		t.Errorf("the file: %v, %v", rows, err)
	}
	if n := entries(t, idp) - before; n != 1 {
		t.Errorf("an export wrote %d entries", n)
	}
	if rows, err := csv.NewReader(strings.NewReader(send(t, idp, b, "/admin/users/export").Body)).ReadAll(); err != nil || len(rows) != 62 {
		t.Errorf("everybody: %d rows, %v", len(rows), err)
	}
}

// hostile are names that mean something to a spreadsheet, a page or a database.
var hostile = []string{`=HYPERLINK("https://evil.example")`, `+1+1`, `-2+3`, `@SUM(A1)`, "=1", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.Name}}`, `';DROP TABLE users;--`, "＝1+1", `javascript:alert(1)`}

// TestSec_G_CSVInjection: no cell of the file begins like a formula, whoever named themselves what.
func TestSec_G_CSVInjection(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	b := desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
	for n, name := range hostile {
		if err := idp.Store.CreateUser(context.Background(), &store.User{GivenName: name, FamilyName: "\t=1", Phone: fmt.Sprintf("+4420794600%02d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	page := send(t, idp, b, "/admin/users/export")
	rows, err := csv.NewReader(strings.NewReader(page.Body)).ReadAll()
	if err != nil || len(rows) != len(hostile)+2 {
		t.Fatal(len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if rest := strings.TrimLeft(cell, " \t\r\n"); rest != "" && strings.ContainsRune("=+-@＝", []rune(rest)[0]) || strings.HasPrefix(cell, "\t") {
				t.Errorf("%q is a formula to a spreadsheet", cell)
			}
		}
	}
	if got := page.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") || page.Status != http.StatusOK {
		t.Errorf("%d, %q", page.Status, got)
	}
}

// TestSec_A17_NamesOfPeople: what people call themselves is text on every page about them.
func TestSec_A17_NamesOfPeople(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	b := desk(idp, idp.User(testidp.Person{Privileges: []string{"admin"}}))
	for _, name := range hostile {
		u := store.User{GivenName: name, FamilyName: name, Profile: store.Profile{Organization: name, Nickname: name}}
		if err := idp.Store.CreateUser(context.Background(), &u); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/admin/users?q=" + u.ID, "/admin/users/" + u.ID} {
			page := b.Get(idp.Issuer+path).Want(200, "main")
			if strings.Contains(page.Body, "<script>alert") || strings.Contains(page.Body, "<img src=x") {
				t.Errorf("%s: %q is markup", path, name)
			}
			if !strings.Contains(page.Text("main"), name) {
				t.Errorf("%s: %q is not shown", path, name)
			}
		}
	}
}

// TestStory_AdminHome: the first page of administration has what waits, to whom it matters, and the list turns green with what was done.
func TestStory_AdminHome(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: helped})
	boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
	b, d := desk(idp, boss), desk(idp, idp.User(testidp.Person{Privileges: []string{"maker"}}))
	page := b.Get(idp.Issuer+"/admin").Want(200, "admin-hardening")
	for id, want := range map[string]string{"harden-https": "good", "harden-mail": "warn", "harden-production": "warn", "harden-admins": "warn"} {
		if got := page.Attr(id, "data-state"); got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
	if page.Has("admin-attention") {
		t.Errorf("nothing waits, but: %s", page.Text("admin-attention"))
	}
	idp.User(testidp.Person{Privileges: []string{"admin"}})
	waits := store.User{GivenName: "Wanda", DisabledAt: store.At(idp.Now()), DisabledReason: store.DisabledWaiting}
	failed := store.Message{Kind: store.KindMail, Recipient: "x@example.com", FailedAt: store.At(idp.Now()), ExpiresAt: store.At(idp.Now())}
	nobody := store.Message{Kind: store.KindMail, FailedAt: store.At(idp.Now()), ExpiresAt: store.At(idp.Now())}
	for _, err := range []error{idp.Store.CreateUser(ctx, &waits), idp.Store.Enqueue(ctx, &failed), idp.Store.Enqueue(ctx, &nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	page = b.Get(idp.Issuer+"/admin").Want(200, "admin-attention")
	text := page.Text("admin-attention")
	if !strings.Contains(text, "1 account waits") || !strings.Contains(text, "1 message could not be sent") || page.Attr("harden-admins", "data-state") != "good" {
		t.Errorf("what waits: %s, %s", text, page.Attr("harden-admins", "data-state"))
	}
	if p := d.Get(idp.Issuer+"/admin").Want(200, "admin-title"); p.Has("admin-attention") || p.Has("admin-hardening") {
		t.Error("whoever may only make accounts hears of the service")
	}
	page = b.Get(idp.Issuer+"/admin/users/"+waits.ID+"/account").Want(200, "enable-form")
	b.Submit(page, "person-enable", nil).Want(200, "admin-done")
	if u, err := idp.Store.User(ctx, waits.ID); err != nil || !u.Active(idp.Now()) {
		t.Errorf("let in: %+v, %v", u, err)
	}
}
