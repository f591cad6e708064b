package suite

import (
	"context"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestAdminInChromium: every page of administration in a real browser, with and without scripts, held against WCAG 2.2 AA; a privilege from its
// creation to its end on the way.
func TestAdminInChromium(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Plain: true, Config: administered})
			boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Username: "bea", Privileges: []string{"admin"}})
			ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Privileges: []string{"helper"}})
			bob := idp.User(testidp.Person{GivenName: "Bob"})
			rp := idp.RP(store.ClientMetadata{Name: "Wiki", Scope: "openid profile email privileges", RequiredPrivileges: []any{"helper"}})
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			press := func(css, next string) {
				t.Helper()
				c.do(chromedp.Click(chromedp.CSS(css)))
				c.want(next)
				c.calm("after " + css)
			}
			c.open(idp.Issuer+"/admin", "login-title") // where the sign-in leads back to
			c.fill("login-identifier", boss.Username)
			c.fill("login-password", testidp.DefaultPassword)
			c.click("login-submit", "admin-title")
			look("admin")

			c.click("admin-privileges", "privileges-list")
			look("admin-privileges")
			c.click("privilege-new", "privilege-form")
			c.click("privilege-create", "error-summary")
			look("admin-new-privilege-wrong")
			c.keys("privilege-name", "editor")
			c.keys("privilege-label", "Editor")
			c.keys("privilege-includes", "customer")
			look("admin-new-privilege")
			c.click("privilege-create", "admin-done")
			look("admin-privilege")

			c.open(idp.Issuer+"/admin/users", "users-list")
			look("admin-users")
			c.open(idp.Issuer+"/admin/users?state=new&privilege=user&q=b", "users-chips")
			look("admin-users-narrowed")
			c.open(idp.Issuer+"/admin/new-user", "person-new-form")
			c.click("person-create", "error-summary")
			look("admin-person-new-wrong")
			c.do(chromedp.SendKeys(chromedp.ID("person-username"), "fresh"))
			c.click("person-create", "person-new-link")
			look("admin-person")
			c.click("person-disable", "person-enable")
			look("admin-person-closed")
			c.click("person-erase-go", "error-summary")
			look("admin-person-wrong")
			c.open(idp.Issuer+"/account/delete", "leave-form")
			look("leave")
			if err := idp.Store.AddFactor(context.Background(), &store.Credential{ID: "app", UserID: ada.ID, Kind: store.CredTOTP, Secret: "sealed"}, true); err != nil {
				t.Fatal(err)
			}
			c.open(idp.Issuer+"/admin/users/"+ada.ID, "user-factors") // with the form that resets them
			look("admin-user")
			c.keys("give-privilege", "editor")
			c.keys("give-reason", "For the fair")
			c.click("give", "review-form")
			look("admin-review")
			c.click("review-confirm", "admin-done")
			look("admin-user-given")
			c.open(idp.Issuer+"/admin/privileges/editor", "include-form")
			c.keys("privilege-include", "trainer")
			c.click("include-add", "review-form")
			look("admin-review-include")
			idp.Grant(bob, "editor") // meanwhile
			c.click("review-confirm", "review-moved")
			look("admin-review-moved")
			c.click("review-confirm", "admin-done")
			c.click("delete-review", "review-form")
			look("admin-review-delete")
			c.click("review-cancel", "privilege-people")
			look("admin-privilege-held")
			c.open(idp.Issuer+"/admin/users/"+ada.ID, "user-held")
			press(`form[action$="/take"] button`, "review-form")
			c.click("review-cancel", "type-form")
			c.do(chromedp.Click(chromedp.ID("type-500")))
			c.click("type-set", "review-form")
			c.click("review-confirm", "admin-done")
			if u, err := idp.Store.User(context.Background(), ada.ID); err != nil || u.UserType != "500" {
				t.Errorf("%+v %v", u, err)
			}
			c.open(idp.Issuer+"/admin/users/"+boss.ID, "user-self")
			look("admin-user-self")
			c.open(idp.Issuer+"/admin/rights", "rights-types")
			look("admin-rights")

			c.open(idp.Issuer+"/admin/explain", "explain-form")
			look("admin-explain")
			c.keys("explain-user", "ada@example.com")
			c.click("explain-go", "explain-answer")
			look("admin-explain-why")
			c.keys("explain-privilege", "staff")
			c.click("explain-go", "explain-not")
			look("admin-explain-not")
			c.keys("explain-token", "nothing")
			c.click("token-go", "error-summary")
			look("admin-explain-wrong")
			c.open(idp.Issuer+"/admin/preview?user="+ada.ID+"&client="+rp.ID, "main")
			look("admin-preview")
		})
	}
}
