package suite

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// requesting is a configuration with privileges that may be asked for, and mail that goes nowhere.
func requesting(c *config.Config) {
	c.AppName = "MyDocassemble"
	c.Privileges = map[string]config.Privilege{
		"helper": {Label: "Helper", Description: "Answers questions.", Requestable: true, Texts: map[string]config.Text{"de": {Label: "Helfer"}}},
		"staff":  {Label: "Staff", Includes: []string{"helper"}, Requestable: true},
		"lead":   {Label: "Lead", Includes: []string{"staff"}},
		"secret": {Label: "Secret"},
	}
	c.Permissions = map[string][]string{"lead": {"edit_user_privileges", "access_user_info"}}
	c.UserTypes = []config.UserType{
		{Value: "800", Names: []string{"reader"}, Text: "Reader", ReadOnly: true},
		{Value: "850", Names: []string{"quiet"}, Text: "Quiet", Privilege: "admin", Mask: []string{"privilege_request", "privilege_decision"}},
	}
	c.Mail = config.Mail{Host: "127.0.0.1", Port: 1, TLS: config.MailNone, From: "login@idp.example", Timeout: time.Second}
}

// desk is a signed-in browser.
func desk(idp *testidp.IDP, who testidp.Person) *testidp.Browser {
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), who).Want(200, "account-title")
	return b
}

func askFor(idp *testidp.IDP, b *testidp.Browser, name, reason string) *testidp.Page {
	page := b.Get(idp.Issuer+"/account/privileges?privilege="+url.QueryEscape(name)).Want(200, "privileges-chosen")
	return b.Submit(page, "request-submit", map[string]string{"request-reason": reason})
}

// mailsTo are the subjects of the mails in the outbox by recipient.
func mailsTo(idp *testidp.IDP) map[string][]string {
	out := map[string][]string{}
	for _, m := range idp.Outbox() {
		out[m.Recipient] = append(out[m.Recipient], m.Subject)
	}
	return out
}

// TestStory_AskForMore is R108: somebody asks, those who could give it hear of it, one decides, and the next token says so; refused it does not.
func TestStory_AskForMore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: requesting})
		boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Email: "bea@example.com", Privileges: []string{"admin"}})
		idp.User(testidp.Person{GivenName: "Lea", Email: "lea@example.com", Privileges: []string{"lead"}})
		idp.User(testidp.Person{Email: "quiet@example.com", UserType: "850"})                                    // wants none of these mails
		idp.User(testidp.Person{Email: "unproven@example.com", Unverified: true, Privileges: []string{"admin"}}) // whose address may be anybody's
		idp.User(testidp.Person{Email: "staff@example.com", Privileges: []string{"staff"}})                      // could give nothing
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
		rp := idp.RP(store.ClientMetadata{Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"}, FirstParty: true})
		b := idp.Browser()
		at := rp.Start()
		tokens := rp.Finish(at, b.SignIn(b.Get(at.URL), ada).URL)
		holds := func(want ...any) {
			t.Helper()
			next, err := rp.Refresh(tokens)
			if err != nil {
				t.Fatal(err)
			}
			tokens = next
			if got := payload(t, tokens.AccessToken)["privileges"]; !reflect.DeepEqual(got, want) {
				t.Errorf("the next token says %v, want %v", got, want)
			}
		}

		// The page says what there is to ask for, why not yet, and whom it concerns.
		page := b.Get(idp.Issuer+"/account").Want(200, "account-privileges-open")
		page = b.Click(page, "account-privileges-open").Want(200, "privileges-available")
		if text := page.Text("privileges-available"); !strings.Contains(text, "Helper") || !strings.Contains(text, "Answers questions.") || !strings.Contains(text, "Staff") ||
			strings.Contains(text, "Secret") || strings.Contains(text, "Lead") {
			t.Errorf("to ask for: %s", text)
		}
		if text := page.Text("privileges-held"); !strings.Contains(text, "Comes with the user type User.") {
			t.Errorf("held: %s", text)
		}
		page = b.Get(idp.Issuer+"/account/privileges?privilege=helper").Want(200, "request-form")
		if text := page.Text("privileges-why-not"); !strings.Contains(text, "Nobody gave it to you yet.") || !strings.Contains(text, "It also comes with: Staff.") ||
			!strings.Contains(text, "Bea Boss") || !strings.Contains(text, "Lea") || strings.Contains(text, "@") {
			t.Errorf("why not: %s", text)
		}
		page = b.Submit(page, "request-submit", map[string]string{"request-reason": "For the <fair>\nplease"}).Want(200, "privileges-open")
		if page.URL.Path != "/account/privileges" || page.URL.RawQuery != "" || !strings.Contains(page.Text("privileges-open"), "Your reason: For the <fair>") {
			t.Errorf("%s: %s", page, page.Text("privileges-open"))
		}
		const subject = "MyDocassemble - Somebody asks for a privilege"
		want := map[string][]string{"bea@example.com": {subject}, "lea@example.com": {subject}}
		if got := mailsTo(idp); !reflect.DeepEqual(got, want) {
			t.Errorf("mails: %v", got)
		}
		for _, m := range idp.Outbox() {
			if !strings.Contains(m.Text, "Ada Lovelace (ada@example.com)") || !strings.Contains(m.Text, "“For the <fair> please”") ||
				!strings.Contains(m.Text, idp.Issuer+"/admin/privilege-requests\n") || strings.Contains(strings.ToLower(m.Text+m.Subject+m.HTML), "helper") || strings.Contains(m.HTML, "<fair>") {
				t.Errorf("%s", m.Text)
			}
		}
		if text := page.Text("privileges-available"); strings.Contains(text, "Helper") {
			t.Error("what was asked for is still offered")
		}
		holds("user") // asking gives nothing

		list, err := idp.Store.RequestsOf(ctx, ada.ID, 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		decide(t, idp, boss, list[0].ID, store.Decision{Approve: true, Note: "Until the fair."})
		holds("helper", "user")
		page = b.Get(idp.Issuer+"/account/privileges").Want(200, "privileges-over")
		if text := page.Text("privileges-over"); !strings.Contains(text, "Approved") || !strings.Contains(text, "Note: Until the fair.") {
			t.Errorf("decided: %s", text)
		}
		if text := page.Text("privileges-held"); !strings.Contains(text, "Given by Bea Boss on") || !strings.Contains(text, "Reason: Until the fair.") {
			t.Errorf("held: %s", text)
		}
		if got := mailsTo(idp)["ada@example.com"]; !slices.Equal(got, []string{"MyDocassemble - Your request was approved"}) {
			t.Errorf("mails to who asked: %v", got)
		}

		// Refused, it leaves everything as it was; the person hears of it.
		askFor(idp, b, "staff", "").Want(200, "privileges-open")
		list, err = idp.Store.RequestsOf(ctx, ada.ID, 1)
		if err != nil {
			t.Fatal(err)
		}
		decide(t, idp, boss, list[0].ID, store.Decision{Note: "Not now"})
		holds("helper", "user")
		if got := mailsTo(idp)["ada@example.com"]; !slices.Equal(got, []string{"MyDocassemble - Your request was refused", "MyDocassemble - Your request was approved"}) {
			t.Errorf("mails to who asked: %v", got)
		}

		// Taken back, nobody can decide it any more; and it may be asked for again.
		page = askFor(idp, b, "staff", "").Want(200, "privileges-open")
		page = b.Submit(page, "withdraw-"+requestsOf(t, idp, ada)[0].ID, nil).Want(200, "privileges-over")
		if page.Has("privileges-open") || !strings.Contains(page.Text("privileges-over"), "Taken back") || !strings.Contains(page.Text("privileges-available"), "Staff") {
			t.Errorf("taken back: %s", page.Body)
		}
		holds("helper", "user")
	})
}

// decide is what the queue does, by the server's own mails.
func decide(t *testing.T, idp *testidp.IDP, who testidp.Person, id string, d store.Decision) {
	t.Helper()
	if _, err := idp.Server.Requests().Decide(context.Background(), who.ID, id, d); err != nil {
		t.Fatal(err)
	}
}

// TestRequests_Refusals: whatever a form says that the page does not offer has a clear answer, and writes nothing.
func TestRequests_Refusals(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: requesting})
	ada, eve := idp.User(testidp.Person{Privileges: []string{"helper"}}), idp.User(testidp.Person{})
	reader := idp.User(testidp.Person{UserType: "800"})
	b := desk(idp, ada)
	page := b.Get(idp.Issuer+"/account/privileges?privilege=staff").Want(200, "request-form")
	post := func(b *testidp.Browser, form *testidp.Form, values map[string]string) *testidp.Page {
		t.Helper()
		next := *form
		next.Values = url.Values{}
		for k, v := range form.Values {
			next.Values[k] = v
		}
		for k, v := range values {
			next.Values.Set(k, v)
		}
		return b.SendForm(page, &next)
	}
	form := page.Form("request-form")
	// What may not be asked for is what does not exist, to the byte but for the reference.
	unknown, secret := post(b, form, map[string]string{"privilege": "nothing"}), post(b, form, map[string]string{"privilege": "secret"})
	for name, p := range map[string]*testidp.Page{"unknown": unknown, "not to be asked for": secret, "admin": post(b, form, map[string]string{"privilege": "admin"}),
		"a type": post(b, form, map[string]string{"privilege": "type/900"}), "none": post(b, form, map[string]string{"privilege": ""}), "odd": post(b, form, map[string]string{"privilege": "a\x00b"})} {
		if p.Status != http.StatusNotFound || p.Text("error-description") != unknown.Text("error-description") {
			t.Errorf("%s: %s %s", name, p, p.Text("error-description"))
		}
	}
	for query, want := range map[string]bool{"staff": true, "secret": false, "nothing": false, "helper": false, "type%2F900": false, "%00": false} {
		if p := b.Get(idp.Issuer + "/account/privileges?privilege=" + query); p.Status != 200 || p.Has("privileges-chosen") != want {
			t.Errorf("?privilege=%s: %s", query, p)
		}
	}
	post(b, form, map[string]string{"privilege": "helper"}).Want(409, "privileges-notice")
	p := post(b, form, map[string]string{"reason": strings.Repeat("ä", 501)}).Want(422, "request-reason-error")
	if !strings.Contains(p.Body, strings.Repeat("ä", 501)) {
		t.Error("what was typed is gone")
	}
	if n := len(requestsOf(t, idp, ada)); n != 0 {
		t.Fatalf("%d requests came of refusals", n)
	}
	// Five hundred characters are five hundred, however a browser writes line breaks.
	post(b, form, map[string]string{"reason": strings.Repeat("ä\r\n", 250)}).Want(200, "privileges-open")
	page = post(b, form, nil).Want(409, "privileges-notice")

	// Somebody else's request is not there.
	id := requestsOf(t, idp, ada)[0].ID
	e := desk(idp, eve)
	epage := e.Get(idp.Issuer+"/account/privileges?privilege=staff").Want(200, "request-form")
	steal := *epage.Form("request-form")
	steal.Action, steal.Values = idp.Issuer+"/account/privileges/withdraw", url.Values{"form_token": steal.Values["form_token"], "id": {id}}
	if p := e.SendForm(epage, &steal); p.Status != http.StatusNotFound {
		t.Errorf("took back somebody else's: %s", p)
	}
	// One's own, twice: the second is told.
	b.Submit(page, "withdraw-"+id, nil).Want(200, "privileges-over")
	b.Submit(page, "withdraw-"+id, nil).Want(409, "privileges-notice")

	// Whoever may change nothing sees no form, and is refused without one.
	r := desk(idp, reader)
	rpage := r.Get(idp.Issuer+"/account/privileges?privilege=staff").Want(200, "privileges-read-only")
	if rpage.Has("request-form") {
		t.Error("a read-only person is offered a form")
	}
	account := r.Get(idp.Issuer + "/account")
	for _, to := range []string{"request", "withdraw"} {
		f := *account.Form("sign-out-form")
		f.Action, f.Values = idp.Issuer+"/account/privileges/"+to, url.Values{"form_token": f.Values["form_token"], "privilege": {"staff"}, "id": {id}}
		if p := r.SendForm(account, &f); p.Status != http.StatusForbidden || p.Text("error-description") != "Your account may see and change nothing, so it can’t ask for more." {
			t.Errorf("read-only, %s: %s %s", to, p, p.Text("error-description"))
		}
	}
	if n := len(requestsOf(t, idp, reader)); n != 0 {
		t.Error("a read-only person asked")
	}
}

func requestsOf(t *testing.T, idp *testidp.IDP, who testidp.Person) []store.PrivilegeRequest {
	t.Helper()
	list, err := idp.Store.RequestsOf(context.Background(), who.ID, 100)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRequests_TenADay: the eleventh is refused, and a day later there may be more; a request that nobody decided ends by itself.
func TestRequests_TenADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: func(c *config.Config) {
			requesting(c)
			c.Mail = config.Mail{Timeout: c.Mail.Timeout}
			for i := range 12 {
				c.Privileges[fmt.Sprintf("p%d", i)] = config.Privilege{Requestable: true}
			}
			c.Sessions.Absolute, c.Sessions.Idle = 365*24*time.Hour, 365*24*time.Hour
		}})
		ada := idp.User(testidp.Person{})
		b := desk(idp, ada)
		for i := range 10 {
			askFor(idp, b, fmt.Sprintf("p%d", i), "").Want(200, "privileges-open")
		}
		p := askFor(idp, b, "p10", "")
		if p.Status != http.StatusTooManyRequests || !strings.Contains(p.Text("error-description"), "within a day") || b.Last().Header.Get("Retry-After") == "" {
			t.Errorf("the eleventh: %s", p)
		}
		if got := len(requestsOf(t, idp, ada)); got != 10 {
			t.Errorf("%d requests", got)
		}
		if len(idp.Outbox()) != 0 {
			t.Error("mail where none is set up")
		}
		time.Sleep(24*time.Hour + time.Second)
		askFor(idp, b, "p10", "").Want(200, "privileges-open")

		time.Sleep(29*24*time.Hour - time.Second)
		page := b.Get(idp.Issuer+"/account/privileges").Want(200, "privileges-over")
		if text := page.Text("privileges-over"); strings.Count(text, "Nobody decided") != 10 {
			t.Errorf("run out: %s", text)
		}
		old := requestsOf(t, idp, ada)[10]
		if _, err := idp.Server.Requests().Decide(context.Background(), "cli", old.ID, store.Decision{Approve: true}); err == nil {
			t.Error("approved after it ran out")
		}
		askFor(idp, b, old.Privilege, "").Want(200, "privileges-open")
	})
}

// TestRequests_MaskedMail is R87: a type is spared the mails it masks, both ways, and no other; what the safety of an account rests on
// always comes.
func TestRequests_MaskedMail(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: requesting})
	idp.User(testidp.Person{Email: "quiet@example.com", UserType: "850"})
	off := idp.User(testidp.Person{Email: "off@example.com", Privileges: []string{"admin"}})
	if err := idp.Store.DisableUser(context.Background(), "cli", off.ID, ""); err != nil {
		t.Fatal(err)
	}
	ada := idp.User(testidp.Person{Email: "ada@example.com"})
	b := desk(idp, ada)
	askFor(idp, b, "helper", "").Want(200, "privileges-open")
	if got := idp.Outbox(); len(got) != 0 {
		t.Errorf("mail to who wants none: %v", mailsTo(idp))
	}
	if err := idp.Store.SetUserType(context.Background(), "cli", ada.ID, "850"); err != nil {
		t.Fatal(err)
	}
	if _, err := idp.Server.Requests().Decide(context.Background(), "cli", requestsOf(t, idp, ada)[0].ID, store.Decision{}); err != nil {
		t.Fatal(err)
	}
	if got := idp.Outbox(); len(got) != 0 {
		t.Errorf("mail of a decision to who wants none: %v", mailsTo(idp))
	}
	// Somebody types the address of a person whose type masks all there is: they hear of it.
	wiki := idp.RP(store.ClientMetadata{RequireEmail: true, FirstParty: true})
	e := idp.Browser()
	page := e.SignIn(e.Get(wiki.Start().URL), idp.User(testidp.Person{Username: "eve"})).Want(200, "complete-title")
	e.Submit(page, "complete-submit", map[string]string{"complete-email": "quiet@example.com"}).Want(200, "code-title")
	if got := mailsTo(idp)["quiet@example.com"]; len(got) != 1 || !strings.Contains(got[0], "Somebody entered your e-mail address") {
		t.Errorf("a notice about the address: %v", got)
	}
}

// TestRequests_FewAreTold: at most five people, in their own language.
func TestRequests_FewAreTold(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: requesting})
	ctx := context.Background()
	for range 9 {
		p := idp.User(testidp.Person{Privileges: []string{"admin"}})
		u, err := idp.Store.User(ctx, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		u.Locale = "de-AT"
		if err := idp.Store.UpdateUser(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	b := desk(idp, idp.User(testidp.Person{}))
	askFor(idp, b, "helper", "").Want(200, "privileges-open")
	got := idp.Outbox()
	for _, m := range got {
		if m.Subject != "MyDocassemble - Jemand fragt nach einem Recht" {
			t.Errorf("%q", m.Subject)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d mails", len(got))
	}
}

// TestRequestsInChromium: the page of privileges in a real browser, with and without scripts, held against WCAG 2.2 AA.
func TestRequestsInChromium(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Plain: true, Config: requesting})
			boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Privileges: []string{"admin"}})
			ada := idp.User(testidp.Person{Username: "ada"})
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			c.open(idp.Issuer+"/login", "login-title")
			c.fill("login-identifier", ada.Username)
			c.fill("login-password", testidp.DefaultPassword)
			c.click("login-submit", "account-title")
			look("account-tags")
			c.click("account-privileges-open", "privileges-available")
			look("privileges")
			c.click("ask-helper", "request-form")
			look("privileges-chosen")
			c.keys("request-reason", "For the fair") // fill clears first, which this driver cannot do to an empty area
			c.click("request-submit", "privileges-open")
			look("privileges-open")
			decide(t, idp, boss, requestsOf(t, idp, ada)[0].ID, store.Decision{Approve: true, Note: "Until the fair.", Until: store.At(idp.Now().Add(time.Hour))})
			c.open(idp.Issuer+"/account/privileges?privilege=staff", "request-form")
			c.click("request-submit", "privileges-open") // which the page before does not have
			look("privileges-over")
			c.click("withdraw-"+requestsOf(t, idp, ada)[0].ID, "privileges-title")
			c.want("ask-staff")
		})
	}
}

// queue is the administrators' page of requests.
func queue(idp *testidp.IDP, b *testidp.Browser) *testidp.Page {
	return b.Get(idp.Issuer + "/admin/privilege-requests")
}

// TestStory_Queue: whoever could give it finds the request in their queue, with what it brings, and decides there; nobody else sees or counts it.
func TestStory_Queue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: requesting})
		boss := idp.User(testidp.Person{GivenName: "Bea", FamilyName: "Boss", Privileges: []string{"admin"}})
		lead := idp.User(testidp.Person{GivenName: "Lea", Privileges: []string{"lead"}})
		worker := idp.User(testidp.Person{Privileges: []string{"staff"}})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
		bob := idp.User(testidp.Person{GivenName: "Bob", Privileges: []string{"trainer"}}) // who holds more than the lead
		a, l := desk(idp, ada), desk(idp, lead)
		askFor(idp, a, "staff", "For the <fair>").Want(200, "privileges-open")
		askFor(idp, desk(idp, bob), "helper", "").Want(200, "privileges-open")
		first, second := requestsOf(t, idp, ada)[0].ID, requestsOf(t, idp, bob)[0].ID

		page := queue(idp, l).Want(200, "requests-list")
		if text := page.Text("request-" + first); !strings.Contains(text, "Ada Lovelace") || !strings.Contains(text, "Reason: For the <fair>") || !strings.Contains(text, "It brings besides: Helper") {
			t.Errorf("the request: %s", text)
		}
		if page.Has("request-"+second) || !strings.Contains(page.Text("menu-requests"), "1") {
			t.Errorf("the lead sees %s, and of the menu %s", page.Text("requests-list"), page.Text("menu-requests"))
		}
		if page := queue(idp, desk(idp, boss)).Want(200, "requests-list"); !page.Has("request-"+second) || !strings.Contains(page.Text("menu-requests"), "2") {
			t.Errorf("an administrator sees %s", page.Text("requests-list"))
		}
		for _, who := range []testidp.Person{worker, ada} {
			if p := queue(idp, desk(idp, who)); p.Status != http.StatusForbidden || strings.Contains(p.Body, "Lovelace (") {
				t.Errorf("somebody else: %s", p)
			}
		}

		// What is not filled in well comes back, with the rest.
		page = l.Submit(page, "send-"+first, map[string]string{"approve-" + first: "on", "note-" + first: "For now", "until-" + first: "2001-01-01"}).Want(422, "until-"+first+"-error")
		if page.Attr("note-"+first, "value") != "For now" {
			t.Error("the note is gone")
		}
		page = l.Submit(page, "send-"+first, map[string]string{"refuse-" + first: "on", "note-" + first: strings.Repeat("ä", 501)}).Want(422, "note-"+first+"-error")
		until := idp.Now().UTC().AddDate(0, 0, 3)
		done := l.Submit(page, "send-"+first, map[string]string{"approve-" + first: "on", "note-" + first: "For the fair", "until-" + first: until.Format(time.DateOnly)}).Want(200, "admin-done")
		if !done.Has("requests-none") {
			t.Error("what is decided is still there")
		}
		got := requestsOf(t, idp, ada)[0]
		end := time.Date(until.Year(), until.Month(), until.Day()+1, 0, 0, 0, 0, time.UTC)
		if got.Decision != store.RequestApproved || got.DecidedBy != lead.ID || got.Note != "For the fair" || !got.Until.Equal(end) {
			t.Errorf("%+v, want until %v", got, end)
		}
		if text := a.Get(idp.Issuer + "/account/privileges").Text("privileges-held"); !strings.Contains(text, "Helper") || !strings.Contains(text, "Given by Lea") {
			t.Errorf("the person holds %s", text)
		}
		// A page that was open elsewhere decides nothing any more.
		l.Submit(page, "send-"+first, map[string]string{"refuse-" + first: "on", "note-" + first: ""}).Want(409, "error-summary")
		if got := requestsOf(t, idp, ada)[0]; got.Decision != store.RequestApproved {
			t.Error("refused after it was approved")
		}
		b := desk(idp, boss)
		page = queue(idp, b).Want(200, "requests-list")
		b.Submit(page, "send-"+second, map[string]string{"refuse-" + second: "on", "note-" + second: "no"}).Want(200, "admin-done")
		if got := requestsOf(t, idp, bob)[0]; got.Decision != store.RequestRefused || got.Note != "no" {
			t.Errorf("%+v", got)
		}
	})
}

// TestSec_G1_QueueDecidesWithinPower: whatever address a form is sent to, nobody decides what they could not give, nor their own; nothing is written.
func TestSec_G1_QueueDecidesWithinPower(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		requesting(c)
		c.Privileges["other"] = config.Privilege{Label: "Other", Requestable: true}
		c.UserTypes = append(c.UserTypes, config.UserType{Value: "860", Names: []string{"auditor"}, Text: "Auditor", Privilege: "admin", ReadOnly: true})
	}})
	boss, lead := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Privileges: []string{"lead"}})
	auditor, ada, bob := idp.User(testidp.Person{UserType: "860"}), idp.User(testidp.Person{}), idp.User(testidp.Person{Privileges: []string{"trainer"}})
	a := desk(idp, ada)
	askFor(idp, a, "other", "").Want(200, "privileges-open")
	askFor(idp, a, "staff", "").Want(200, "privileges-open")
	askFor(idp, desk(idp, bob), "helper", "").Want(200, "privileges-open")
	askFor(idp, desk(idp, lead), "other", "").Want(200, "privileges-open")
	l := desk(idp, lead)
	page := queue(idp, l).Want(200, "requests-list")
	before, err := idp.Store.AuditEntries(context.Background(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	form := page.FormOf("send-" + requestsOf(t, idp, ada)[0].ID)
	for name, id := range map[string]string{"what they lack": requestsOf(t, idp, ada)[1].ID, "of who holds more": requestsOf(t, idp, bob)[0].ID, "their own": requestsOf(t, idp, lead)[0].ID} {
		for _, decision := range []string{"approve", "refuse"} {
			f := *form
			f.Action = idp.Issuer + "/admin/privilege-requests/" + id
			f.Values.Set("decision", decision)
			if p := l.SendForm(page, &f); p.Status != http.StatusForbidden {
				t.Errorf("%s, %s: %s", name, decision, p)
			}
		}
	}
	for name, change := range map[string]func(f *testidp.Form){
		"no decision": func(f *testidp.Form) { f.Values.Del("decision") },
		"odd":         func(f *testidp.Form) { f.Values.Set("decision", "both") },
	} {
		f := *form
		change(&f)
		if p := l.SendForm(page, &f); p.Status != http.StatusUnprocessableEntity || !p.Has("error-summary") {
			t.Errorf("%s: %s", name, p)
		}
	}
	for _, id := range []string{"nothing", "a%00b", "%ff"} {
		f := *form
		f.Values.Set("decision", "approve")
		f.Action = idp.Issuer + "/admin/privilege-requests/" + id
		if p := l.SendForm(page, &f); p.Status != http.StatusNotFound && p.Status != http.StatusBadRequest {
			t.Errorf("%s: %s", id, p)
		}
	}
	// Somebody read-only sees the queue and no form in it, and is refused without one.
	r := desk(idp, auditor)
	seen := queue(idp, r).Want(200, "requests-list")
	id := requestsOf(t, idp, ada)[0].ID
	if seen.Has("send-" + id) {
		t.Error("a read-only person is offered a decision")
	}
	f := *r.Get(idp.Issuer + "/account").Form("sign-out-form")
	f.Action = idp.Issuer + "/admin/privilege-requests/" + id
	f.Values.Set("decision", "approve")
	if p := r.SendForm(seen, &f); p.Status != http.StatusForbidden {
		t.Errorf("a read-only person approved: %s", p)
	}
	after, err := idp.Store.AuditEntries(context.Background(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("%d entries of what was refused", len(after)-len(before))
	}
	for _, who := range []testidp.Person{ada, bob, lead} {
		for _, q := range requestsOf(t, idp, who) {
			if q.Decision != "" {
				t.Errorf("decided: %+v", q)
			}
		}
	}
	// The administrator may, of each but their own.
	b := desk(idp, boss)
	page = queue(idp, b)
	b.Submit(page, "send-"+requestsOf(t, idp, lead)[0].ID, map[string]string{"approve-" + requestsOf(t, idp, lead)[0].ID: "on"}).Want(200, "admin-done")
}

// TestQueueInChromium: the queue in a real browser, with and without scripts, held against WCAG 2.2 AA.
func TestQueueInChromium(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"scripts": true, "no scripts": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Plain: true, Config: requesting})
			boss := idp.User(testidp.Person{Username: "bea", Privileges: []string{"admin"}})
			ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com"})
			for _, p := range []string{"helper", "staff"} {
				if _, err := idp.Store.AskPrivilege(context.Background(), ada.ID, p, "For the fair"); err != nil {
					t.Fatal(err)
				}
			}
			id := requestsOf(t, idp, ada)[0].ID
			c := newChrome(t, scripts)
			look := func(name string) {
				if scripts {
					c.look(name)
				}
			}
			c.open(idp.Issuer+"/login", "login-title")
			c.fill("login-identifier", boss.Username)
			c.fill("login-password", testidp.DefaultPassword)
			c.click("login-submit", "account-title")
			c.open(idp.Issuer+"/admin/privilege-requests", "requests-list")
			look("queue")
			c.click("decide-"+id, "send-"+id)
			c.click("send-"+id, "error-summary")
			look("queue-wrong")
			c.do(chromedp.Click(chromedp.ID("approve-" + id)))
			c.fill("note-"+id, "Until the fair.")
			c.click("send-"+id, "admin-done")
			look("queue-done")
			if got := requestsOf(t, idp, ada)[0]; got.Decision != store.RequestApproved || got.Note != "Until the fair." {
				t.Errorf("%+v", got)
			}
		})
	}
}
