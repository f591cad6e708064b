package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestStory_Leave is R11: somebody takes their data and leaves; what applications have ends at once; a sign-in takes it back; after the grace all that is
// left is the id.
func TestStory_Leave(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		grace := 700 * time.Millisecond
		idp := testidp.Start(t, testidp.Options{Engine: engine, Demo: true, Config: func(c *config.Config) { c.Accounts.DeletionGrace = grace }})
		ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
		a := idp.Browser()
		token := signedInAt(t, idp, a, ada)

		file := a.Submit(a.Get(idp.Issuer+"/account").Want(200, "account-export"), "account-export", nil)
		var said struct {
			Issuer string
			Data   map[string][]map[string]any
		}
		if err := json.Unmarshal([]byte(file.Body), &said); err != nil || said.Issuer != idp.Issuer || said.Data["users"][0]["email"] != "ada@example.com" || len(said.Data["grants"]) != 1 || len(said.Data["sessions"]) != 1 {
			t.Errorf("the file: %v, %s", err, file.Body)
		}
		if strings.Contains(file.Body, "argon2") || !strings.HasPrefix(file.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("the file: %s", file.Body)
		}

		page := a.Click(a.Get(idp.Issuer+"/account"), "account-leave").Want(200, "leave-form")
		page = a.Submit(page, "leave-go", map[string]string{"leave-confirm": "yes"}).Want(422, "leave-confirm-error")
		a.Submit(page, "leave-go", map[string]string{"leave-confirm": "ADA@example.com"}).Want(200, "leave-done")
		if _, err := token.rp.Refresh(token.tokens); err == nil {
			t.Error("a refresh token outlived its account")
		}
		if p := a.Get(idp.Issuer + "/account"); p.Has("account-title") {
			t.Error("a session outlived its account")
		}
		if got := mailsTo(idp)["ada@example.com"]; len(got) != 1 {
			t.Errorf("mails: %q", got)
		}
		// Taken back.
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		time.Sleep(grace + 50*time.Millisecond)
		if gone, err := idp.Store.EraseDue(ctx, 10); err != nil || len(gone) != 0 {
			t.Fatalf("erased %v, %v", gone, err)
		}
		b.Get(idp.Issuer+"/account").Want(200, "account-title")

		// And meant.
		page = b.Get(idp.Issuer+"/account/delete").Want(200, "leave-form")
		b.Submit(page, "leave-go", map[string]string{"leave-confirm": "ada@example.com"}).Want(200, "leave-done")
		if gone, err := idp.Store.EraseDue(ctx, 10); err != nil || len(gone) != 0 {
			t.Fatalf("too early: %v, %v", gone, err)
		}
		time.Sleep(grace + 50*time.Millisecond)
		if gone, err := idp.Store.EraseDue(ctx, 10); err != nil || len(gone) != 1 {
			t.Fatalf("erased %v, %v", gone, err)
		}
		u, err := idp.Store.User(ctx, ada.ID)
		if err != nil || u.DeletedAt.IsZero() || u.Email != "" || u.GivenName != "" {
			t.Errorf("what is left: %+v, %v", u, err)
		}
		// The log knows the id and no name (security.md H7), and is whole.
		list, err := idp.Store.AuditEntries(ctx, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if strings.Contains(e.Diff+e.Target, "ada@") || strings.Contains(e.Diff, "Ada") {
				t.Errorf("the audit log says %s %s", e.Action, e.Diff)
			}
		}
		if _, broken, err := idp.Store.VerifyAudit(ctx); err != nil || broken != 0 {
			t.Errorf("the chain breaks at %d, %v", broken, err)
		}
		if found, _, err := idp.Store.People(ctx, store.PeopleQuery{Text: "ada"}, "", 10); err != nil || len(found) != 0 {
			t.Errorf("found: %v, %v", found, err)
		}
	})
}

// TestSec_G5_LastAdministratorLeaves: nobody who is the only administrator ends their own account, and where people may not, there is no such page (R157).
func TestSec_G5_LastAdministratorLeaves(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	boss := idp.User(testidp.Person{Email: "boss@example.com", Privileges: []string{"admin"}})
	b := desk(idp, boss)
	page := b.Get(idp.Issuer+"/account/delete").Want(200, "leave-form")
	b.Submit(page, "leave-go", map[string]string{"leave-confirm": "boss@example.com"}).Want(409, "error-summary")
	b.Get(idp.Issuer+"/account").Want(200, "account-title")
	next := idp.Restart(func(c *config.Config) { c.Accounts.OwnDeletion = false })
	c := desk(next, boss)
	if p := c.Get(next.Issuer + "/account"); p.Has("account-leave") || !p.Has("account-export") {
		t.Error("the account page offers what is switched off")
	}
	if p := c.Get(next.Issuer + "/account/delete"); p.Status != http.StatusNotFound {
		t.Errorf("what is switched off: %s", p)
	}
}
