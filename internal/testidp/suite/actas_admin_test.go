package suite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// helping is a configuration with a help desk, people who may only look, and mail that goes nowhere.
func helping(c *config.Config) {
	c.AppName = "MyDocassemble"
	c.Privileges = map[string]config.Privilege{"helpdesk": {Label: "Help desk"}, "looker": {Label: "Looker"}, "blind": {Label: "Blind"}, "clerk": {Label: "Clerk"}}
	c.Permissions = map[string][]string{"helpdesk": {"access_user_info", "act_as", "edit_sessions"}, "looker": {"access_user_info"}, "blind": {"act_as", "edit_sessions"}}
	c.UserTypes = []config.UserType{
		{Value: "800", Names: []string{"auditor"}, Text: "Auditor", Privilege: "helpdesk", ReadOnly: true},
		{Value: "850", Names: []string{"quiet"}, Text: "Quiet", Privilege: "user", Mask: privilege.Notices},
	}
	c.Mail = config.Mail{Host: "127.0.0.1", Port: 1, TLS: config.MailNone, From: "login@idp.example", Timeout: time.Second}
}

func personPage(idp *testidp.IDP, p testidp.Person) string {
	return idp.Issuer + "/admin/users/" + p.ID
}

// forge sends a form that no page offered, with the token of the account page.
func forge(idp *testidp.IDP, b *testidp.Browser, action string, values url.Values) *testidp.Page {
	page := b.Get(idp.Issuer + "/account")
	f := page.Form("sign-out")
	f.Action = action
	for k, v := range values {
		f.Values[k] = v
	}
	return b.SendForm(page, f)
}

func inLanguage(t testing.TB, idp *testidp.IDP, p testidp.Person, lang string) {
	t.Helper()
	u, err := idp.Store.User(t.Context(), p.ID)
	if err == nil {
		u.Locale = lang
		err = idp.Store.UpdateUser(t.Context(), u)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestActAs_AdminPage: from the person's page, with a reason, and the person hears of it in their language. Taking it away ends it.
func TestActAs_AdminPage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: helping})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Privileges: []string{"trainer"}})
		grace := idp.User(testidp.Person{GivenName: "Grace", FamilyName: "Hopper", Privileges: []string{"helpdesk", "trainer"}})
		inLanguage(t, idp, ada, "de")
		rp := idp.RP(takesActing())
		b := desk(idp, grace)
		page := b.Get(personPage(idp, ada)).Want(200, "user-act")
		if page.Has("user-authorities") {
			t.Error("authorities of somebody who has none")
		}
		b.Submit(page, "act", map[string]string{"act-reason": "two\nlines"}).Want(422, "error-page")
		b.Submit(page, "act", map[string]string{"act-reason": "  "}).Want(422, "error-page")
		b.Submit(page, "act", map[string]string{"act-reason": strings.Repeat("x", 201)}).Want(422, "error-page")
		if got := mailsTo(idp); len(got) != 0 {
			t.Errorf("mail of what did not happen: %v", got)
		}
		acting := b.Submit(page, "act", map[string]string{"act-reason": "asked by telephone"}).Want(200, "acting-banner")
		if got := acting.Text("acting-banner"); !strings.Contains(got, "Ada Lovelace") {
			t.Errorf("the banner says %q", got)
		}
		tok := tokensFor(b, rp)
		speaks(t, rp, tok, ada.ID, grace.ID)
		mails := idp.Outbox()
		if len(mails) != 1 || mails[0].Recipient != ada.Email || mails[0].Subject != "MyDocassemble - Ein Administrator handelt für Sie" {
			t.Fatalf("mails %+v", mails)
		}
		for _, want := range []string{"Grace Hopper", "asked by telephone"} {
			if !strings.Contains(mails[0].Text, want) {
				t.Errorf("the mail does not say %q:\n%s", want, mails[0].Text)
			}
		}
		for _, never := range []string{"trainer", "helpdesk", "Help desk", "http"} { // R189
			if strings.Contains(mails[0].Text, never) {
				t.Errorf("the mail says %q", never)
			}
		}
		// The permission goes, and with it everything at once.
		idp.Revoke(grace, "helpdesk")
		if _, err := rp.Refresh(tok); err == nil {
			t.Error("refreshed")
		}
		if page := b.Get(idp.Issuer + "/account"); page.Has("acting-banner") {
			t.Error("still acting")
		}
	})
}

// TestSec_C11_ActAsAsksForASignIn: a session of this morning does not act for anybody; after the sign-in the person's page is there again.
func TestSec_C11_ActAsAsksForASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: helping})
		ada, grace := idp.User(testidp.Person{}), idp.User(testidp.Person{Privileges: []string{"helpdesk"}})
		bob := idp.User(testidp.Person{})
		id := authority(t, idp, ada, bob, time.Hour, "")
		b := desk(idp, grace)
		for what, send := range map[string]func(*testidp.Page) *testidp.Page{
			"act": func(p *testidp.Page) *testidp.Page {
				return b.Submit(p, "act", map[string]string{"act-reason": "help"})
			},
			"end": func(p *testidp.Page) *testidp.Page { return b.Submit(p, "end-"+id, nil) },
		} {
			page := b.Get(personPage(idp, ada)).Want(200, "user-act")
			time.Sleep(6 * time.Minute)
			before := idp.Store.Counts().Writes
			page = send(page).Want(200, "login-title")
			if n := idp.Store.Counts().Writes - before; n > 2 { // that the session is in use is noted, and the snapshot of definitions may be stored just then
				t.Errorf("%s: wrote %d times", what, n)
			}
			page = b.SignIn(page, grace).Want(200, "user-act")
			if got := page.URL.String(); got != personPage(idp, ada) {
				t.Errorf("%s: back at %s", what, got)
			}
		}
		b.Submit(b.Get(personPage(idp, ada)), "end-"+id, nil).Want(200, "admin-done")
		b.Submit(b.Get(personPage(idp, ada)), "act", map[string]string{"act-reason": "help"}).Want(200, "acting-banner")
	})
}

// TestSec_G1_ActAsForgedForm: who sees the section, and that the form does nothing for anybody else: no permission, somebody with more, oneself,
// read-only, disabled, already acting, without what the operator requires. Of all of them the answer is one.
func TestSec_G1_ActAsForgedForm(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: helping})
	plain, clerk := idp.User(testidp.Person{}), idp.User(testidp.Person{Privileges: []string{"clerk"}})
	root, helper := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Privileges: []string{"helpdesk"}})
	off, gone := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	if err := errors.Join(idp.Store.DisableUser(t.Context(), "cli", off.ID, "x"), idp.Store.EraseUser(t.Context(), "cli", gone.ID)); err != nil {
		t.Fatal(err)
	}
	auditor := idp.User(testidp.Person{UserType: "800"})
	said := ""
	for _, c := range []struct {
		name           string
		viewer, person testidp.Person
		status         int // of the page
		act            bool
	}{
		{"somebody", plain, clerk, 403, false},
		{"who may only look", idp.User(testidp.Person{Privileges: []string{"looker"}}), plain, 200, false},
		{"who may not see people", idp.User(testidp.Person{Privileges: []string{"blind"}}), plain, 403, false},
		{"whose type is read-only", auditor, plain, 200, false},
		{"for an administrator", helper, root, 200, false},
		{"for one who holds more", helper, clerk, 200, false},
		{"for oneself", helper, helper, 200, false},
		{"for somebody disabled", helper, off, 200, false},
		{"for somebody erased", helper, gone, 404, false},
		{"for anybody", helper, plain, 200, true},
		{"an administrator", root, clerk, 200, true},
	} {
		b := desk(idp, c.viewer)
		page := b.Get(personPage(idp, c.person))
		if page.Status != c.status || page.Has("user-act") != c.act || c.status == 200 != page.Has("user-title") {
			t.Errorf("%s: %d, the section: %v", c.name, page.Status, page.Has("user-act"))
		}
		before, mails := idp.Store.Counts().Writes, len(idp.Outbox())
		got := forge(idp, b, "/account/act", url.Values{"user": {c.person.ID}, "reason": {"forged"}})
		if c.act {
			got.Want(200, "acting-banner")
			continue
		}
		if got.Status != 403 || got.Attr("error-page", "data-error") != "access_denied" || idp.Store.Counts().Writes != before || len(idp.Outbox()) != mails {
			t.Errorf("%s: %d, %d writes", c.name, got.Status, idp.Store.Counts().Writes-before)
		}
		if text := got.Text("error-description"); said != "" && text != said {
			t.Errorf("%s: another answer: %s", c.name, text)
		} else {
			said = text
		}
	}
	// Who acts already does not go on from the one person to the next, nor see pages of administration.
	b := desk(idp, helper)
	page := b.Get(personPage(idp, plain))
	acting := b.Submit(page, "act", map[string]string{"act-reason": "first"}).Want(200, "acting-banner")
	if got := b.Get(personPage(idp, plain)); got.Status != 403 || got.Attr("error-page", "data-error") != "acting" {
		t.Errorf("the page while acting: %d", got.Status)
	}
	f := acting.Form("acting-stop")
	f.Action, f.Values = "/account/act", url.Values{"form_token": f.Values["form_token"], "user": {clerk.ID}, "reason": {"second"}}
	if got := b.SendForm(acting, f); got.Status != 403 || got.Attr("error-page", "data-error") != "acting" {
		t.Errorf("from one to the next: %d", got.Status)
	}
	// The form of before does not work either: it was drawn for oneself.
	b.Submit(page, "act", map[string]string{"act-reason": "again"}).Want(403, "error-page")
}

// TestActAs_WhatTheActionRequires: the operator's rule for users.act_as holds for the page, the form, and everybody who is acting.
func TestActAs_WhatTheActionRequires(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		helping(c)
		c.Actions = map[string]config.ActionRule{"users.act_as": {Requires: []any{"clerk"}}, "users.authorities": {Requires: []any{"clerk"}}}
	}})
	ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	root := idp.User(testidp.Person{Privileges: []string{"admin", "clerk"}})
	id := authority(t, idp, ada, bob, time.Hour, "")
	rp := idp.RP(takesActing())
	b := desk(idp, root)
	page := b.Get(personPage(idp, ada)).Want(200, "end-"+id)
	b.Submit(page, "act", map[string]string{"act-reason": "help"}).Want(200, "acting-banner")
	tok := tokensFor(b, rp)
	speaks(t, rp, tok, ada.ID, root.ID)
	idp.Revoke(root, "clerk")
	if status, _ := rp.UserInfo(tok.AccessToken); status != 401 {
		t.Errorf("userinfo %d", status)
	}
	if page = b.Get(idp.Issuer + "/account"); page.Has("acting-banner") {
		t.Error("still acting")
	}
	forge(idp, b, "/account/act", url.Values{"user": {ada.ID}, "reason": {"forged"}}).Want(403, "error-page")
	forge(idp, b, "/admin/users/"+ada.ID+"/end-authority", url.Values{"authority": {id}}).Want(403, "error-page")
	if page = b.Get(personPage(idp, ada)).Want(200, "user-authorities"); page.Has("user-act") || page.Has("end-"+id) {
		t.Error("the forms are still there")
	}
}

// TestActAs_AdminEndsAuthorities: both sides are on both people's pages, and ending one ends what came of it.
func TestActAs_AdminEndsAuthorities(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: helping})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace"})
		bob := idp.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
		eve, root := idp.User(testidp.Person{}), idp.User(testidp.Person{GivenName: "Root", Privileges: []string{"admin"}})
		helper, looker := idp.User(testidp.Person{Privileges: []string{"helpdesk"}}), idp.User(testidp.Person{Privileges: []string{"looker"}})
		rp := idp.RP(takesActing())
		id := authority(t, idp, ada, bob, time.Hour, rp.ID)
		up := authority(t, idp, ada, root, time.Hour, "")
		a := desk(idp, ada)
		a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", map[string]string{"authority-reason": "<b>now</b>"}).Want(200, "authority-link")
		acting := actFor(t, idp, bob, id)
		tok := tokensFor(acting, rp)

		l := desk(idp, looker)
		page := l.Get(personPage(idp, ada)).Want(200, "user-authorities")
		for _, want := range []string{"Bob Babbage", "Only Ledger", "Root", "Nobody has taken the link yet", "<b>now</b>", "Since "} {
			if got := page.Text("user-authorities"); !strings.Contains(got, want) {
				t.Errorf("%q is not in %s", want, got)
			}
		}
		if page.Has("end-" + id) {
			t.Error("who may only look sees the form")
		}
		forge(idp, l, "/admin/users/"+ada.ID+"/end-authority", url.Values{"authority": {id}}).Want(403, "error-page")

		b := desk(idp, helper)
		page = b.Get(personPage(idp, bob)).Want(200, "end-"+id)
		if got := page.Text("user-authorities"); !strings.Contains(got, "Ada Lovelace") || page.Has("user-given-title") {
			t.Errorf("Bob's: %s", got)
		}
		// Whoever holds more is out of reach, and so is an authority on another's page.
		if got := b.Submit(b.Get(personPage(idp, ada)), "end-"+up, nil).Want(403, "error-summary").Text("error-summary"); !strings.Contains(got, "holds more than you do") {
			t.Errorf("protected: %s", got)
		}
		forge(idp, b, "/admin/users/"+eve.ID+"/end-authority", url.Values{"authority": {id}}).Want(409, "error-summary")
		forge(idp, b, "/admin/users/"+ada.ID+"/end-authority", nil).Want(409, "error-summary")
		forge(idp, b, "/admin/users/nobody/end-authority", url.Values{"authority": {id}}).Want(404, "error-page")
		if status, _ := rp.UserInfo(tok.AccessToken); status != 200 {
			t.Fatalf("too early: %d", status)
		}
		// No administrator ends it as if it were their own.
		forge(idp, b, "/account/authorities/end", url.Values{"id": {id}}).Want(200, "authorities-title")
		done := b.Submit(page, "end-"+id, nil).Want(200, "admin-done")
		if done.Has("user-authorities") {
			t.Error("it is still there")
		}
		if status, _ := rp.UserInfo(tok.AccessToken); status != 401 {
			t.Errorf("userinfo %d", status)
		}
		if acting.Get(idp.Issuer + "/account").Has("acting-banner") {
			t.Error("still acting")
		}
		b.Submit(page, "end-"+id, nil).Want(409, "error-summary")
		entries, err := idp.Store.AuditEntries(t.Context(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		var ends []store.AuditEntry
		for _, e := range entries {
			if e.Action == "authority.end" {
				ends = append(ends, e)
			}
		}
		if len(ends) != 1 || ends[0].Actor != helper.ID || !strings.Contains(ends[0].Diff, ada.ID) || !strings.Contains(ends[0].Diff, bob.ID) {
			t.Errorf("audit %+v", ends)
		}
	})
}

// TestActAs_GrantorIsTold: a mail to the grantor when somebody takes the link, once, and to nobody who has no proven address or wants none.
func TestActAs_GrantorIsTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: helping})
		bob := idp.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage\nhttps://evil.example"})
		helper := idp.User(testidp.Person{Privileges: []string{"helpdesk"}})
		rp := idp.RP(takesActing())
		b := desk(idp, bob)
		for _, c := range []struct {
			grantor testidp.Person
			told    bool
		}{
			{testidp.Person{Email: "ada@example.com"}, true},
			{testidp.Person{Email: "unproven@example.com", Unverified: true}, false},
			{testidp.Person{Username: "nomail"}, false},
			{testidp.Person{Email: "quiet@example.com", UserType: "850"}, true},
		} {
			before := len(idp.Outbox())
			ada := idp.User(c.grantor)
			a := desk(idp, ada)
			made := a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", map[string]string{"authority-client": rp.ID})
			link := made.Want(200, "authority-link").Text("authority-link")
			offer := b.Get(link).Want(200, "authority-take")
			if n := len(idp.Outbox()) - before; n != 0 {
				t.Errorf("%s: %d mails before anybody took it", ada.Email, n)
			}
			b.Submit(offer, "authority-take", nil).Want(200, "authorities-taken")
			b.Submit(offer, "authority-take", nil).Want(410, "error-page")
			// Who acts by it was let by the person: no mail of that. Who acts by the permission was not.
			list, err := idp.Store.AuthoritiesTaken(t.Context(), bob.ID)
			if err != nil {
				t.Fatal(err)
			}
			b.Submit(b.Get(idp.Issuer+"/account/authorities"), "act-"+list[len(list)-1].ID, nil).Want(200, "acting-banner")
			b.Submit(b.Get(idp.Issuer+"/account"), "acting-stop", nil).Want(200, "account-title")
			h := desk(idp, helper)
			h.Submit(h.Get(personPage(idp, ada)), "act", map[string]string{"act-reason": "help"}).Want(200, "acting-banner")
			mails := idp.Outbox()
			if n := len(mails) - before; c.told && n != 2 || !c.told && n != 0 {
				t.Fatalf("%s: %d mails: %v", c.grantor.Email, n, mailsTo(idp))
			}
			if !c.told {
				continue
			}
			i := slices.IndexFunc(mails, func(m store.Message) bool { return m.Subject == "MyDocassemble - Somebody may act for you now" })
			if i < 0 || mails[i].Recipient != "ada@example.com" && mails[i].Recipient != "quiet@example.com" { // which no type can be spared
				t.Fatalf("%v", mailsTo(idp))
			}
			for _, want := range []string{"\nBob Babbage https://evil.example accepted", "At Ledger, until ", idp.Issuer + "/account/authorities\n"} {
				if !strings.Contains("\n"+mails[i].Text, want) {
					t.Errorf("%q is not in:\n%s", want, mails[i].Text)
				}
			}
		}
	})
}

// TestActAs_NoMailServer: where no mail is sent none is written, and everything else goes on.
func TestActAs_NoMailServer(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob, root := idp.User(testidp.Person{}), idp.User(testidp.Person{}), idp.User(testidp.Person{Privileges: []string{"admin"}})
	a, b, r := desk(idp, ada), desk(idp, bob), desk(idp, root)
	idp.RP(takesActing())
	link := a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", nil).Want(200, "authority-link").Text("authority-link")
	b.Submit(b.Get(link), "authority-take", nil).Want(200, "authorities-taken")
	r.Submit(r.Get(personPage(idp, ada)), "act", map[string]string{"act-reason": "help"}).Want(200, "acting-banner")
	if got := mailsTo(idp); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestRace_ActAsMails: of many who open one link at once one gets it, and one mail says who; of many starts of one session one happens, with one mail.
func TestRace_ActAsMails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: helping})
		ada, root := idp.User(testidp.Person{Email: "ada@example.com"}), idp.User(testidp.Person{Privileges: []string{"admin"}})
		token := rand.Text()
		sum := sha256.Sum256([]byte(token))
		soon := store.At(idp.Now().Add(time.Hour))
		if err := idp.Store.OfferAuthority(context.Background(), ada.ID, &store.Authority{LinkHash: hex.EncodeToString(sum[:]), LinkUntil: soon, Until: soon}); err != nil {
			t.Fatal(err)
		}
		together := func(n int, do func(i int) bool) (ok int) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for i := range n {
				wg.Go(func() {
					if do(i) {
						mu.Lock()
						ok++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return ok
		}
		takers, offers := make([]*testidp.Browser, 4), make([]*testidp.Page, 4)
		for i := range takers {
			takers[i] = desk(idp, idp.User(testidp.Person{}))
			offers[i] = takers[i].Get(idp.Issuer + "/authority/" + token)
		}
		if n := together(4, func(i int) bool { return takers[i].Submit(offers[i], "authority-take", nil).Status == 200 }); n != 1 || len(idp.Outbox()) != 1 {
			t.Errorf("%d took it, with %d mails", n, len(idp.Outbox()))
		}
		b := desk(idp, root)
		page := b.Get(personPage(idp, ada))
		tabs := make([]*testidp.Browser, 4)
		for i := range tabs { // the same session
			tabs[i] = idp.Browser()
			for _, name := range b.Cookies() {
				tabs[i].SetCookie(&http.Cookie{Name: name, Value: b.Cookie(name), Path: "/", Secure: true})
			}
		}
		n := together(4, func(i int) bool {
			return tabs[i].Submit(page, "act", map[string]string{"act-reason": "help"}).Has("acting-banner")
		})
		if n != 1 || len(idp.Outbox()) != 2 {
			t.Errorf("%d began to act, with %d mails", n, len(idp.Outbox())-1)
		}
	})
}

// TestSampleActing: the application of the demo shows for whom somebody acts, and who it really is: by name once it has seen them.
func TestSampleActing(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	ada := d.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Privileges: []string{"trainer"}})
	bob := d.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
	eve := d.User(testidp.Person{GivenName: "Eve"})
	d.enter(d.Browser(d.app), "/you", ada).Want(200, "you-title") // the consent is hers to give
	for _, c := range []struct {
		who    testidp.Person
		really string
	}{{bob, "Bob Babbage"}, {eve, eve.ID}} {
		who, really, b := c.who, c.really, d.Browser(d.app)
		if who.ID == bob.ID {
			own := d.enter(b, "/you", bob).Want(200, "you-title")
			if own.Has("really") || own.Text("who") != "Bob Babbage" {
				t.Errorf("as himself: %q", own.Text("who"))
			}
			b.Submit(own, "sign-out", nil)
			b = d.Browser(d.app)
		}
		id := authority(t, d.IDP, ada, who, time.Hour, "")
		b.SignIn(b.Get(d.Issuer+"/login"), who)
		b.Submit(b.Get(d.Issuer+"/account/authorities"), "act-"+id, nil).Want(200, "acting-banner")
		page := b.Click(b.Get(d.app+"/lessons").Want(403, "sorry"), "sorry-sign-in").Want(200, "lessons-trainer")
		if got := page.Text("who"); got != "Ada Lovelace (really: "+really+")" {
			t.Errorf("the page says %q", got)
		}
		if got := b.Get(d.app+"/you").Want(200, "really").Text("really"); !strings.Contains(got, "Ada Lovelace") || !strings.Contains(got, really) {
			t.Errorf("%q", got)
		}
		if got := b.Get(d.app + "/me"); !strings.Contains(got.Body, `"act":{"sub":"`+who.ID+`"}`) || !strings.Contains(got.Body, `"sub":"`+ada.ID+`"`) {
			t.Errorf("%s", got.Body)
		}
		// Ended here, it is over there.
		if err := d.Store.EndAuthority(t.Context(), ada.ID, id); err != nil {
			t.Fatal(err)
		}
		b.Get(d.app+"/lessons").Want(403, "sorry")
	}
}

// TestSampleActingBrowser: the same in a real browser, on a narrow screen too.
func TestSampleActingBrowser(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	ada := d.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Privileges: []string{"trainer"}})
	bob := d.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
	d.enter(d.Browser(d.app), "/you", ada).Want(200, "you-title")
	d.enter(d.Browser(d.app), "/you", bob).Want(200, "you-title")
	id := authority(t, d.IDP, ada, bob, time.Hour, "")
	c := newChrome(t, true)
	c.open(d.Issuer+"/login", "login-title")
	c.fill("login-identifier", bob.Email)
	c.fill("login-password", bob.Password)
	c.click("login-submit", "account-title")
	c.open(d.Issuer+"/account/authorities", "authorities-taken")
	c.click("act-"+id, "acting-banner")
	c.open(d.app+"/you", "sorry")
	c.click("sorry-sign-in", "really")
	if got := c.text("who"); got != "Ada Lovelace (really: Bob Babbage)" {
		t.Errorf("the page says %q", got)
	}
	c.look("sample-acting")
}

// TestActAs_AdminBrowser: the sections in a real browser, with and without script, in both languages.
func TestActAs_AdminBrowser(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true, Config: helping})
	ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
	bob := idp.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
	root := idp.User(testidp.Person{GivenName: "Grace", FamilyName: "Hopper", Privileges: []string{"admin"}})
	rp := idp.RP(takesActing())
	for _, lang := range []string{"en", "de"} {
		for _, scripts := range []bool{true, false} {
			given, taken := authority(t, idp, ada, bob, time.Hour, rp.ID), authority(t, idp, bob, ada, 24*time.Hour, "")
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(lang + "-" + name)
				}
			}
			c.open(idp.Issuer+"/login", "login-title")
			if lang == "de" {
				c.do(chromedp.Click(chromedp.CSS(`button[lang="de"]`)), chromedp.WaitVisible(chromedp.CSS(`button[lang="en"]`)))
			}
			c.fill("login-identifier", root.Email)
			c.fill("login-password", root.Password)
			c.click("login-submit", "account-title")
			c.open(personPage(idp, ada), "user-act")
			look("admin-user-acting")
			c.click("end-"+given, "admin-done")
			c.open(personPage(idp, ada), "user-act") // without what was done, so that the next click is waited for
			c.click("end-"+taken, "admin-done")
			look("admin-user-ended")
			c.fill("act-reason", "Asked by telephone")
			c.click("act", "acting-banner")
			if got := c.text("acting-banner"); !strings.Contains(got, "Ada Lovelace") {
				t.Errorf("%s: the banner says %s", lang, got)
			}
			c.click("acting-stop", "account-title")
		}
	}
}
