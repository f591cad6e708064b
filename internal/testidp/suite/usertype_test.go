package suite

import (
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestUserType_OnPages: a type names itself in the reader's language, its languages are left out of pickers (R86), and whoever may not use an
// application reads whom to ask (R120).
func TestUserType_OnPages(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		c.UserTypes = []config.UserType{{Value: "500", Names: []string{"desk"}, Text: "Help desk", Texts: map[string]string{"de": "Kundendienst"}, Privilege: "trainer",
			HiddenLanguages: []string{"de"}, ReadOnly: true}}
	}})
	ada, bob := idp.User(testidp.Person{UserType: "500"}), idp.User(testidp.Person{})
	b := idp.Browser()
	page := b.SignIn(b.Get(idp.Issuer+"/login"), ada)
	for _, want := range []string{"Help desk", "May see and change nothing."} {
		if !strings.Contains(page.Body, want) {
			t.Errorf("the account page lacks %q", want)
		}
	}
	if page := b.Get(idp.Issuer + "/account/privileges"); !strings.Contains(page.Body, "Comes with the user type Help desk.") {
		t.Error("the page of privileges does not say whence they come")
	}
	if strings.Contains(page.Body, "Deutsch") {
		t.Error("a hidden language is in the picker")
	}
	c := idp.Browser()
	if page := c.SignIn(c.Get(idp.Issuer+"/login"), bob); !strings.Contains(page.Body, "Deutsch") || strings.Contains(page.Body, "Help desk") {
		t.Error("everybody else sees all languages")
	}
	rp := idp.RP(store.ClientMetadata{RequiredPrivileges: []any{"trainer"}, Contacts: []string{"ops@example.com"}, FirstParty: true})
	if page := c.Get(rp.Start().URL); page.Status != 403 || !strings.Contains(page.Body, "ops@example.com") {
		t.Errorf("not entitled: %d %s", page.Status, page.Body)
	}
}

// TestUserType_Anonymous: whoever is not signed in has the type anonymous, and its languages are left out of pickers, but for the one in use (R88, R86).
func TestUserType_Anonymous(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		c.UserTypes = []config.UserType{{Value: "000", Names: []string{"anonymous"}, Text: "Anonymous", ReadOnly: true, HiddenLanguages: []string{"de"}}}
	}})
	b := idp.Browser()
	if page := b.Get(idp.Issuer + "/login"); strings.Contains(page.Body, "Deutsch") {
		t.Error("a hidden language is in the picker of whoever is not signed in")
	}
	if page := b.Get(idp.Issuer + "/login?ui_locales=de"); !strings.Contains(page.Body, "Deutsch") || !strings.Contains(page.Body, `lang="de"`) {
		t.Error("the language that somebody asked for is hidden from them")
	}
	if page := b.SignIn(b.Get(idp.Issuer+"/login"), idp.User(testidp.Person{})); !strings.Contains(page.Body, "Deutsch") {
		t.Error("it is hidden from whoever is signed in, too")
	}
}
