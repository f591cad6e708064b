package login_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

func (s *site) setupLink(make func(context.Context, *store.Store, string, time.Duration) (string, error)) string {
	s.t.Helper()
	link, err := make(s.t.Context(), s.store, issuer, time.Hour)
	must(s.t, err)
	return link
}

func fillSetup(p *page, email string) *form {
	p.b.t.Helper()
	return p.form("setup-form").set("setup-email", email).set("setup-password", goodPassword)
}

// TestSetup_FirstAdministrator is the story of R8: the link, the form, the account.
func TestSetup_FirstAdministrator(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser("192.0.2.1")
	// Nothing is shipped.
	b.get("/login").signIn("admin@example.com", "password").expect("/login", http.StatusUnprocessableEntity)

	link := s.setupLink(login.NewSetupLink)
	if !strings.HasPrefix(link, issuer+"/setup/") || len(strings.TrimPrefix(link, issuer+"/setup/")) != 43 {
		t.Errorf("link %q does not carry 256 bits under the issuer", link)
	}
	for range 3 { // a GET consumes nothing
		s.browser("192.0.2.9").get(link).expect(strings.TrimPrefix(link, issuer), http.StatusOK)
	}
	p := fillSetup(b.get(link), "root@example.com").set("setup-given-name", "Ada").set("setup-family-name", "Lovelace").submit()
	p.expect("/account", http.StatusOK)
	if !strings.Contains(p.text(), "Ada Lovelace") {
		t.Errorf("the account does not greet: %s", p.text())
	}

	u, err := s.store.UserByLogin(t.Context(), "root@example.com")
	must(t, err)
	if !u.EmailVerifiedAt.IsZero() {
		t.Error("the address counts as verified although nobody proved it")
	}
	held, err := s.store.Assignments(t.Context(), u.ID)
	must(t, err)
	if !slices.ContainsFunc(held, func(a store.Assignment) bool { return a.Privilege == "admin" && a.GivenBy == "setup" }) {
		t.Errorf("assignments %+v lack admin by setup", held)
	}
	entries, err := s.store.AuditEntries(t.Context(), 0, 100)
	must(t, err)
	if !slices.ContainsFunc(entries, func(e store.AuditEntry) bool { return e.Actor == "setup" && e.Target == "user:"+u.ID }) {
		t.Error("the audit log does not know of it")
	}
	s.browser("192.0.2.1").get("/login").signIn("root@example.com", goodPassword).expect("/account", http.StatusOK)
	if p := b.get(link); p.status != http.StatusGone || p.byID("error-page") == nil {
		t.Errorf("the used link answers %d: %s", p.status, p.text())
	}
}

func TestSetup_BadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("taken@example.com")
	link := s.setupLink(login.NewSetupLink)
	b := s.browser("192.0.2.1")
	path := strings.TrimPrefix(link, issuer)
	for name, c := range map[string]struct {
		id, value string
		whole     bool // an error of the form, not of the field
	}{
		"no address":        {id: "setup-email", value: ""},
		"no domain":         {id: "setup-email", value: "root"},
		"with a name":       {id: "setup-email", value: "Root <root@example.com>"},
		"two addresses":     {id: "setup-email", value: "a@example.com, b@example.com"},
		"short":             {id: "setup-password", value: "short"},
		"common":            {id: "setup-password", value: "passwordpassword"},
		"own address":       {id: "setup-password", value: "root@example.com"},
		"username like @":   {id: "setup-username", value: "bob@example.com"},
		"username like tel": {id: "setup-username", value: "+4915112345678"},
		"username digits":   {id: "setup-username", value: "4915112345678"},
		"control character": {id: "setup-given-name", value: "A\x07da"},
		"endless name":      {id: "setup-family-name", value: strings.Repeat("ä", 101)},
		"address taken":     {id: "setup-email", value: "TAKEN@example.com", whole: true},
	} {
		p := fillSetup(b.get(link), "root@example.com").set(c.id, c.value).submit().expect(path, http.StatusUnprocessableEntity)
		if n := p.byID(c.id); !c.whole && (n == nil || attr(n, "aria-invalid") != "true") {
			t.Errorf("%s: #%s is not marked: %s", name, c.id, p.text())
		}
		if c.id != "setup-password" && attr(p.byID("setup-email"), "value") == "" && c.value != "" {
			t.Errorf("%s: what was typed is lost", name)
		}
		if strings.Contains(p.body, goodPassword) {
			t.Errorf("%s: the page repeats the password", name)
		}
		if strings.Contains(p.text(), "setup.") || strings.Contains(p.text(), "profile.") || strings.Contains(p.text(), "password.") {
			t.Errorf("%s: a text is missing: %s", name, p.text())
		}
	}
	if done, err := s.store.SetupDone(t.Context()); err != nil || done {
		t.Errorf("SetupDone = %v, %v after nothing but errors", done, err)
	}
	fillSetup(b.get(link), "root@example.com").submit().expect("/account", http.StatusOK)
}

// Many posts of one link at once: one administrator, whether or not there was one before.
func TestSec_G5_SetupLinkWorksOnce(t *testing.T) {
	t.Parallel()
	for name, reissued := range map[string]bool{"first": false, "reissued": true} {
		t.Run(name, func(t *testing.T) {
			eachSite(t, func(t *testing.T, s *site) {
				before, newLink := 0, login.NewSetupLink
				if reissued {
					u := s.user("root@example.com")
					must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "admin", GivenBy: "cli"}))
					before, newLink = 1, login.ReissueSetupLink
				}
				link := s.setupLink(newLink)
				const n = 8
				forms := make([]*form, n)
				for i := range forms {
					forms[i] = fillSetup(s.browser("192.0.2.1").get(link), "root"+string(rune('a'+i))+"@example.com")
				}
				pages := make([]*page, n)
				var wg sync.WaitGroup
				for i, f := range forms {
					wg.Go(func() { pages[i] = f.submit() })
				}
				wg.Wait()
				won := 0
				for _, p := range pages {
					switch {
					case p.url.Path == "/account" && p.status == http.StatusOK:
						won++
					case p.status != http.StatusGone:
						t.Errorf("a late post got %d at %s: %s", p.status, p.url.Path, p.text())
					}
				}
				users, err := s.store.Users(t.Context(), "", 100)
				must(t, err)
				if won != 1 || len(users) != before+1 {
					t.Errorf("%d posts succeeded and %d users exist, want 1 and %d", won, len(users), before+1)
				}
				if p := s.browser("192.0.2.1").get(link); p.status != http.StatusGone {
					t.Errorf("the used link answers %d", p.status)
				}
			})
		})
	}
}

func TestSec_G5_SetupStaysShut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.setupLink(login.NewSetupLink)
	waiting := fillSetup(s.browser("192.0.2.2").get(first), "late@example.com")

	// An administrator comes by another way: the link of the first start is worth nothing any more.
	u := s.user("root@example.com")
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "admin", GivenBy: "cli"}))
	if p := waiting.submit(); p.status != http.StatusGone {
		t.Errorf("the old link answers %d", p.status)
	}
	// And when the administrators are gone, nothing on the web opens it again (authentik CVE-2023-46249).
	if _, err := login.NewSetupLink(t.Context(), s.store, issuer, 0); !errors.Is(err, login.ErrSetupDone) {
		t.Errorf("NewSetupLink = %v, want ErrSetupDone", err)
	}
	// The operator on the host can.
	link := s.setupLink(login.ReissueSetupLink)
	fillSetup(s.browser("192.0.2.1").get(link), "second@example.com").submit().expect("/account", http.StatusOK)
	entries, err := s.store.AuditEntries(t.Context(), 0, 100)
	must(t, err)
	if !slices.ContainsFunc(entries, func(e store.AuditEntry) bool { return e.Action == "setup.link" }) {
		t.Error("the reissued link is not in the audit log")
	}
}

func TestSetup_DeadLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser("192.0.2.1")
	earlier := s.setupLink(login.NewSetupLink)
	link := s.setupLink(login.NewSetupLink) // the earlier one dies
	f := fillSetup(b.get(link), "root@example.com")
	if p := b.get(earlier); p.status != http.StatusNotFound && p.status != http.StatusGone {
		t.Errorf("the earlier link answers %d", p.status)
	}
	if p := b.get("/setup/" + strings.Repeat("A", 43)); p.status != http.StatusNotFound || p.byID("error-page") == nil {
		t.Errorf("an unknown link answers %d", p.status)
	}
	s.sleep(61 * time.Minute)
	if p := b.get(link); p.status != http.StatusGone || p.byID("error-page") == nil {
		t.Errorf("an expired link answers %d", p.status)
	}
	if p := f.submit(); p.status != http.StatusGone {
		t.Errorf("a post to an expired link answers %d", p.status)
	}
	if users, err := s.store.Users(t.Context(), "", 10); err != nil || len(users) != 0 {
		t.Errorf("%d users, %v; want none", len(users), err)
	}
}
