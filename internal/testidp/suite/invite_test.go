package suite

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// inviting is a configuration where an invitation is the only way in, by every way there is: front proposes, lead makes accounts and gives what they hold.
func inviting(c *config.Config) {
	requesting(c)
	c.Privileges["front"] = config.Privilege{Label: "Front"}
	c.Permissions["front"] = []string{"invite_user"}
	c.Permissions["lead"] = []string{"create_user", "edit_user_privileges", "access_user_info"}
	c.Login.Registration, c.Login.Phone.Registration = "invite", "invite"
	c.Login.Domains = []string{"example.org"} // of which none of the invited is
	if len(c.Connectors) > 0 {
		testidp.Connector(c, "google").Registration = "invite"
	}
}

// invitedBy makes an invitation as the page does, and returns its link.
func invitedBy(t *testing.T, idp *testidp.IDP, b *testidp.Browser, email string, fields map[string]string) string {
	t.Helper()
	all := map[string]string{"invite-emails": email}
	for k, v := range fields {
		all[k] = v
	}
	page := b.Submit(b.Get(idp.Issuer+"/admin/new-invite").Want(200, "invite-new-form"), "invite-send", all).Want(200, "invites-results")
	if email == "" {
		return page.Text("invite-link")
	}
	return mailedLink(t, idp, email)
}

// mailedLink is the link in the newest mail to an address.
func mailedLink(t *testing.T, idp *testidp.IDP, email string) string {
	t.Helper()
	for _, m := range idp.Outbox() {
		if m.Recipient == email && strings.Contains(m.Text, "/invite/") {
			return idp.Issuer + "/invite/" + between(m.Text, idp.Issuer+"/invite/", "\n")
		}
	}
	t.Fatalf("no mail to %s: %v", email, mailsTo(idp))
	return ""
}

// openInvite opens a link in a new browser.
func openInvite(idp *testidp.IDP, link string) (*testidp.Browser, *testidp.Page) {
	b := idp.Browser()
	return b, b.Submit(b.Get(link).Want(200, "invite-form"), "invite-go", nil).Want(200, "invited-title")
}

func userOf(t *testing.T, idp *testidp.IDP, login string) *store.User {
	t.Helper()
	u, err := idp.Store.UserByLogin(context.Background(), login)
	if err != nil {
		t.Fatalf("%s: %v", login, err)
	}
	return u
}

// holdsNow are the privileges that somebody was given.
func holdsNow(t *testing.T, idp *testidp.IDP, u *store.User) string {
	t.Helper()
	m, err := idp.Store.Model(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l, err := idp.Store.Live(context.Background(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(m.Effective(l, store.At(idp.Now())), " ")
}

// TestStory_Invite: somebody proposes, somebody else approves, and the person gets in: by password, by a provider, by telephone, and by a link that was handed over.
// Without an invitation none of these makes an account (R137).
func TestStory_Invite(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, fake := withSMS(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, "google"), Config: inviting})
		lea := idp.User(testidp.Person{GivenName: "Lea", FamilyName: "Lead", Email: "lea@example.com", Privileges: []string{"lead"}})
		fay := idp.User(testidp.Person{GivenName: "Fay", Email: "fay@example.com", Privileges: []string{"front"}})
		crm := idp.RP(store.ClientMetadata{Name: "Ledger", ClientURI: "https://crm.example.com/", FirstParty: true})
		lead, front := desk(idp, lea), desk(idp, fay)

		// Nobody comes without one.
		b := idp.Browser()
		if p := b.Get(idp.Issuer + "/register"); p.Status != http.StatusForbidden {
			t.Errorf("registration without: %s", p)
		}
		google := func(b *testidp.Browser, page *testidp.Page, button, person string) *testidp.Page {
			return b.Press(b.Click(page, button), connectortest.As(person))
		}
		b = idp.Browser(idp.Fakes.Origins()...)
		google(b, b.Get(idp.Issuer+"/login"), "login-with-google", "104729000000000000018").Want(403, "error-page")
		b = idp.Browser()
		enter(b, dial(b, b.Get(idp.Issuer+"/login"), adaNumber).Want(200, "phone-code-title"), "12345678")
		if len(fake.To(adaNumber)) != 0 {
			t.Error("a message to a number that makes nothing")
		}

		// Proposed by one, approved by another; the mails, the page, the password.
		page := front.Submit(front.Get(idp.Issuer+"/admin/new-invite").Want(200, "invite-new-form"), "invite-send", map[string]string{"invite-emails": "bob@example.com\nno address"}).Want(422, "invite-emails-error")
		page = front.Submit(page, "invite-send", map[string]string{"invite-emails": "bob@example.com, fay@example.com", "invite-privileges": "staff", "invite-message": "See you <b>",
			"invite-client": crm.ID}).Want(200, "invites-results")
		if text := page.Text("invites-results"); !strings.Contains(text, "It waits until") || !strings.Contains(text, "There is an account") || page.Has("approve-form") {
			t.Errorf("results: %s", text)
		}
		if got := mailsTo(idp)["bob@example.com"]; len(got) != 0 {
			t.Errorf("mails before the approval: %v", got)
		}
		page = lead.Get(idp.Issuer+"/admin").Want(200, "menu-invites")
		if text := page.Text("menu-invites"); !strings.Contains(text, "1") {
			t.Errorf("the menu counts: %s", text)
		}
		page = lead.Click(page, "menu-invites").Want(200, "invites-list")
		id := between(page.Body, `id="approve-form-`, `"`)
		if text := page.Text("invite-" + id); !strings.Contains(text, "It brings: Helper, Staff") || !strings.Contains(text, "Fay") {
			t.Errorf("what is approved: %s", text)
		}
		page = lead.Submit(page, "approve-"+id, nil).Want(200, "admin-done")
		if text := page.Text("state-"+id) + page.Text("invite-"+id); !strings.Contains(text, "Sent") || !strings.Contains(text, "waits to be sent") {
			t.Errorf("after the approval: %s", text)
		}
		if got := mailsTo(idp)["fay@example.com"]; len(got) != 1 || got[0] != "MyDocassemble - Your invitation was approved" {
			t.Errorf("mails to who proposed: %v", got)
		}
		b, page = openInvite(idp, mailedLink(t, idp, "bob@example.com"))
		page = b.Submit(page, "invited-submit", map[string]string{"invited-given_name": "Bob", "invited-password": "short"}).Want(422, "invited-password-error")
		page = b.Submit(page, "invited-submit", map[string]string{"invited-password": newPassword}).Want(200, "invite-accepted-title")
		if page.Attr("invite-app", "href") != "https://crm.example.com/" {
			t.Errorf("on to %q", page.Attr("invite-app", "href"))
		}
		bob := userOf(t, idp, "bob@example.com")
		if got := holdsNow(t, idp, bob); got != "helper staff user" || bob.EmailVerifiedAt.IsZero() || bob.GivenName != "Bob" {
			t.Errorf("bob: %s %+v", got, bob)
		}
		if got := mailsTo(idp)["fay@example.com"]; len(got) != 2 || got[0] != "MyDocassemble - Your invitation was accepted" {
			t.Errorf("mails to who proposed: %v", got)
		}
		at := crm.Start() // R142: the application has them signed in
		crm.Finish(at, b.Get(at.URL).URL)

		// Through a provider, whose address is the one that was invited; another one is refused, and nothing is used up.
		link := invitedBy(t, idp, lead, "ada@gmail.com", map[string]string{"invite-privileges": "staff"})
		b = idp.Browser(idp.Fakes.Origins()...)
		page = b.Submit(b.Get(link), "invite-go", nil).Want(200, "invited-title")
		wrong := google(b, page, "invited-with-google", "104729000000000000018").Want(403, "error-page")
		if !strings.Contains(wrong.Text("main"), "another address") {
			t.Errorf("another address: %s", wrong.Text("main"))
		}
		google(b, b.Get(idp.Issuer+"/invite"), "invited-with-google", "").Want(200, "invite-accepted-title")
		if got := holdsNow(t, idp, userOf(t, idp, "ada@gmail.com")); got != "helper staff user" {
			t.Errorf("through google: %s", got)
		}

		// By telephone: the number is the account's, and the address is that of the link.
		b, page = openInvite(idp, invitedBy(t, idp, lead, "tel@example.com", nil))
		page = b.Submit(b.Click(page, "invited-with-phone").Want(200, "phone-title"), "phone-submit", map[string]string{"phone-number": bobNumber}).Want(200, "phone-code-title")
		enter(b, page, codeIn(t, received(t, fake, bobNumber, 1).Body)).Want(200, "invite-accepted-title")
		if u := userOf(t, idp, "tel@example.com"); u.Phone != bobNumber || u.EmailVerifiedAt.IsZero() {
			t.Errorf("by telephone: %+v", u)
		}

		// A link that was handed over proves no address: the person does, and the operator's rule about domains holds.
		link = invitedBy(t, idp, lead, "", nil)
		b, page = openInvite(idp, link)
		page = b.Click(page, "invited-register").Want(200, "register-title")
		page = b.Submit(page, "register-submit", map[string]string{"register-email": "kim@example.com", "register-password": newPassword}).Want(422, "register-email-error")
		page = b.Submit(page, "register-submit", map[string]string{"register-email": "kim@example.org", "register-password": newPassword}).Want(200, "code-title")
		code := ""
		for _, m := range idp.Outbox() {
			if m.Recipient == "kim@example.org" {
				code = sixDigits.FindString(m.Text)
			}
		}
		b.Submit(page, "code-submit", map[string]string{"code-input": code}).Want(200, "invite-accepted-title")
		userOf(t, idp, "kim@example.org")

		// Signed in, one is told, and nothing is used (G8).
		link = invitedBy(t, idp, lead, "new@example.com", nil)
		if p := b.Get(link).Want(200, "invite-signed-in"); p.Has("invite-form") {
			t.Error("accepted while signed in")
		}
		send(t, idp, b, strings.TrimPrefix(link, idp.Issuer)).Want(409, "invite-signed-in")
		// Sent anew, the link before is dead; taken back, so is the new one. All of it looks the same.
		page = lead.Get(idp.Issuer+"/admin/invites").Want(200, "invites-list")
		id = between(page.Body, `id="send-form-`, `"`)
		page = lead.Submit(page, "send-"+id, nil).Want(200, "admin-done")
		over := idp.Browser().Get(link).Want(410, "error-page")
		second := mailedLink(t, idp, "new@example.com")
		lead.Submit(page, "revoke-"+id, nil).Want(200, "admin-done")
		for what, l := range map[string]string{"revoked": second, "never made": idp.Issuer + "/invite/" + newToken(), "used": mailedLink(t, idp, "bob@example.com")} {
			if p := idp.Browser().Get(l).Want(410, "error-page"); strings.ReplaceAll(p.Text("error-page"), p.Text("error-reference"), "") != strings.ReplaceAll(over.Text("error-page"), over.Text("error-reference"), "") {
				t.Errorf("%s: %s", what, p.Text("error-page"))
			}
		}

		// Closed stays closed, with an invitation too.
		link = invitedBy(t, idp, lead, "late@example.com", nil)
		idp = idp.Restart(func(c *config.Config) {
			c.Login.Registration, c.Login.Phone.Registration = "closed", "closed"
			testidp.Connector(c, "google").Registration = "closed"
		})
		b, page = openInvite(idp, strings.Replace(link, between(link, "https://", "/"), strings.TrimPrefix(idp.Issuer, "https://"), 1))
		if !page.Has("invited-none") {
			t.Errorf("closed: %s", page.Text("main"))
		}
		send(t, idp, b, "/invite", "password", newPassword)
		b.Get(idp.Issuer + "/register")
		if _, err := idp.Store.UserByLogin(context.Background(), "late@example.com"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an account where it is closed: %v", err)
		}
	})
}

func newToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// TestSec_G8_Invite plays what is tried against invitations: replay, guessing, scanners, tampered and foreign forms, somebody who lost the right, words that would
// be headers, and a token for something else (R140).
func TestSec_G8_Invite(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: inviting})
	lea := idp.User(testidp.Person{GivenName: "Lea\r\nBcc: eve@example.com", Email: "lea@example.com", Privileges: []string{"lead"}})
	idp.RP(store.ClientMetadata{Name: "Ledger", ClientURI: "https://crm.example.com/"})
	lead := desk(idp, lea)
	fay := desk(idp, idp.User(testidp.Person{Email: "fay@example.com", Privileges: []string{"front"}}))
	joe := desk(idp, idp.User(testidp.Person{Email: "joe@example.com", Privileges: []string{"front"}}))

	t.Run("ScannerGet", func(t *testing.T) {
		link := invitedBy(t, idp, lead, "scan@example.com", nil)
		for range 3 {
			idp.Browser().Get(link).Want(200, "invite-form")
			res, err := idp.HTTP().Head(link)
			if err != nil || res.Body.Close() != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
		}
		if i, _, err := idp.Store.Invites(ctx, "cli", "", 1); err != nil || i[0].State != store.InviteSent {
			t.Errorf("after somebody looked: %v %v", i, err)
		}
	})
	t.Run("Replay", func(t *testing.T) {
		link := invitedBy(t, idp, lead, "replay@example.com", nil)
		b, page := openInvite(idp, link)
		b2, page2 := openInvite(idp, link) // the link went to somebody else too: it is open in one browser
		b.Submit(page, "invited-submit", map[string]string{"invited-password": newPassword}).Want(410, "error-page")
		b2.Submit(page2, "invited-submit", map[string]string{"invited-password": newPassword}).Want(200, "invite-accepted-title")
		for _, b := range []*testidp.Browser{b, idp.Browser()} {
			b.Get(link).Want(410, "error-page")
			b.Get(idp.Issuer+"/invite").Want(410, "error-page")
		}
		send(t, idp, b2, "/invite", "password", newPassword) // who is signed in makes no other
		idp.Browser().Get(strings.Replace(link, "/invite/", "/login/reset/", 1)).Want(404, "error-page")
		idp.Browser().Get(strings.Replace(link, "/invite/", "/setup/", 1)).Want(404, "error-page")
	})
	t.Run("Guessing", func(t *testing.T) {
		b := idp.Browser()
		link := invitedBy(t, idp, lead, "guess@example.com", nil)
		token := strings.TrimPrefix(link, idp.Issuer+"/invite/")
		if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != 32 {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		for _, guess := range []string{"x", token[:42], token + "A", strings.ToLower(token) + "_", strings.ToUpper(token), newToken(), strings.Repeat("a", 3000)} {
			if p := b.Get(idp.Issuer + "/invite/" + guess); p.Status != http.StatusGone && p.Status != http.StatusBadRequest {
				t.Errorf("%.20s: %s", guess, p)
			}
		}
	})
	t.Run("Foreign", func(t *testing.T) { // G6, G7
		i := store.Invite{Email: "own@example.com", Privileges: []string{"staff"}}
		if err := idp.Store.ProposeInvite(ctx, "cli", &i, false); err != nil {
			t.Fatal(err)
		}
		if err := idp.Store.ProposeInvite(ctx, userOf(t, idp, "fay@example.com").ID, &store.Invite{Email: "fays@example.com", Privileges: []string{"secret"}}, false); err != nil {
			t.Fatal(err)
		}
		list, _, err := idp.Store.Invites(ctx, "cli", "", 1)
		if err != nil {
			t.Fatal(err)
		}
		of := "/admin/invites/" + list[0].ID
		for _, what := range []string{"/send", "/revoke"} {
			send(t, idp, joe, of+what).Want(404, "error-page")
		}
		send(t, idp, joe, of+"/decide", "decision", "approve").Want(403, "error-page")
		send(t, idp, fay, of+"/decide", "decision", "approve").Want(403, "error-page")
		send(t, idp, lead, of+"/decide", "decision", "approve").Want(403, "error-summary") // who lacks what it brings
		send(t, idp, lead, of+"/decide", "decision", "both").Want(422, "error-summary")
		send(t, idp, lead, "/admin/invites/%00/decide", "decision", "approve").Want(404, "error-page")
		if p := joe.Get(idp.Issuer + "/admin/invites?after=%00%ff"); p.Status != 200 || strings.Contains(p.Body, "fays@") {
			t.Errorf("what others propose is shown: %s", p)
		}
		got, err := idp.Store.Invite(ctx, list[0].ID)
		if err != nil || got.State != store.InviteProposed || got.ApprovedBy != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("TamperedPrivilege", func(t *testing.T) {
		for _, names := range []string{"admin", "secret", "cron"} {
			page := send(t, idp, fay, "/admin/invites", "emails", names+"@example.com", "privileges", names, "state", "approved", "approved_by", "cli", "needs", "0", "days", "7")
			if names == "cron" {
				page.Want(403, "error-summary")
				continue
			}
			if text := page.Want(200, "invites-results").Text("invites-results"); !strings.Contains(text, "It waits") {
				t.Errorf("%s: %s", names, text)
			}
			if got := mailsTo(idp)[names+"@example.com"]; len(got) > 0 {
				t.Errorf("%s was sent", names)
			}
		}
		for field, bad := range map[string]string{"privileges": "nothing", "type": "\xff", "client": "a\x00b", "message": strings.Repeat("x", 501), "days": "400"} {
			values := []string{"emails", "x@example.com", "days", "7", field, bad}
			send(t, idp, lead, "/admin/invites", values...).Want(422, "invite-"+field+"-error")
		}
		// What the acceptance's form says beside its fields is nothing.
		link := invitedBy(t, idp, lead, "mass@example.com", nil)
		b, page := openInvite(idp, link)
		f := page.FormOf("invited-submit")
		f.Values = url.Values{"form_token": f.Values["form_token"], "password": {newPassword}, "email": {"boss@example.com"}, "privileges": {"admin"}, "user_type": {"900"}, "id": {"x"}}
		b.SendForm(page, f).Want(200, "invite-accepted-title")
		if got := holdsNow(t, idp, userOf(t, idp, "mass@example.com")); got != "user" {
			t.Errorf("holds %s", got)
		}
	})
	t.Run("HeaderInjection", func(t *testing.T) {
		send(t, idp, lead, "/admin/invites", "emails", "head@example.com%0d%0aBcc:eve@example.com", "days", "7").Want(422, "invite-emails-error")
		send(t, idp, lead, "/admin/invites", "emails", "head@example.com", "days", "7", "message", "Hi\r\nBcc: eve@example.com\r\n\r\n<script>").Want(200, "invites-results")
		for _, m := range idp.Outbox() {
			if m.Recipient == "head@example.com" && (strings.ContainsAny(m.Subject, "\r\n") || strings.Contains(m.Text, "\nBcc") || strings.Contains(m.HTML, "<script>")) {
				t.Errorf("%q\n%s", m.Subject, m.Text)
			}
			if m.Recipient == "eve@example.com" {
				t.Error("a mail to somebody else")
			}
		}
		if p := idp.Browser().Get(mailedLink(t, idp, "head@example.com")); strings.Contains(p.Body, "<script>") {
			t.Error("on the page")
		}
	})
	t.Run("ForgedHost", func(t *testing.T) { // F15, R189
		if link := invitedBy(t, idp, lead, "host@example.com", nil); !strings.HasPrefix(link, idp.Issuer) {
			t.Error(link)
		}
	})
	t.Run("CrossSite", func(t *testing.T) {
		link := invitedBy(t, idp, lead, "cross@example.com", nil)
		if p := idp.Browser().CrossSitePost(link, url.Values{}); p.Status != http.StatusForbidden {
			t.Errorf("opened from elsewhere: %s", p)
		}
	})
	t.Run("LostRight", func(t *testing.T) {
		b, page := openInvite(idp, invitedBy(t, idp, lead, "lost@example.com", map[string]string{"invite-privileges": "staff"}))
		idp.Revoke(lea, "lead")
		b.Submit(page, "invited-submit", map[string]string{"invited-password": newPassword}).Want(200, "invite-withheld")
		if got := holdsNow(t, idp, userOf(t, idp, "lost@example.com")); got != "user" {
			t.Errorf("holds %s", got)
		}
		told := ""
		for _, m := range idp.Outbox() {
			if m.Recipient == "lea@example.com" {
				told += m.Text
			}
		}
		if !strings.Contains(told, "Not all that the invitation was to bring was given") {
			t.Errorf("told: %s", told)
		}
		boss := desk(idp, idp.User(testidp.Person{Email: "boss@example.com", Privileges: []string{"admin"}}))
		if text := boss.Get(idp.Issuer + "/admin/invites").Text("invites-list"); !strings.Contains(text, "Not given when it was accepted: Staff") {
			t.Errorf("the list: %s", text)
		}
		b, page = openInvite(idp, invitedBy(t, idp, boss, "void@example.com", nil))
		if err := idp.Store.DisableUser(ctx, "cli", userOf(t, idp, "boss@example.com").ID, ""); err != nil && !errors.Is(err, store.ErrLastAdmin) {
			t.Fatal(err)
		} else if err == nil {
			b.Submit(page, "invited-submit", map[string]string{"invited-password": newPassword}).Want(410, "error-page")
		}
	})
}

// TestInvite_NotSent: a mail that cannot be sent shows on the list, and is sent anew from there (R135).
func TestInvite_NotSent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	idp := testidp.Start(t, testidp.Options{Config: inviting})
	lead := desk(idp, idp.User(testidp.Person{Email: "lea@example.com", Privileges: []string{"lead"}}))
	link := invitedBy(t, idp, lead, "bob@example.com", nil)
	list, _, err := idp.Store.Invites(ctx, "cli", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	testidp.Within(t, waitLong, "the message given up", func() bool {
		return idp.Store.MessageRefused(ctx, list[0].MessageID, "550 no such user", 550) == nil
	})
	page := lead.Get(idp.Issuer+"/admin/invites").Want(200, "invites-list")
	if text := page.Text("invite-" + list[0].ID); !strings.Contains(text, "Not sent") {
		t.Errorf("%s", text)
	}
	lead.Submit(page, "send-"+list[0].ID, nil).Want(200, "admin-done")
	if again := mailedLink(t, idp, "bob@example.com"); again == link {
		t.Error("the same link")
	}
	for range store.MaxInviteMails - 2 {
		send(t, idp, lead, "/admin/invites/"+list[0].ID+"/send").Want(200, "admin-done")
	}
	send(t, idp, lead, "/admin/invites/"+list[0].ID+"/send").Want(429, "error-summary")
}
