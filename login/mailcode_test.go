package login_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// requireEmail makes the application one that needs addresses.
func (s *site) requireEmail() { s.client(func(m *store.ClientMetadata) { m.RequireEmail = true }) }

// mails to an address, newest first.
func (s *site) mails(to string) (list []store.Message) {
	s.t.Helper()
	all, err := s.store.Messages(s.t.Context(), 1000)
	must(s.t, err)
	for _, m := range all {
		if m.Recipient == to {
			list = append(list, m)
		}
	}
	return list
}

var sixDigits = regexp.MustCompile(`\b\d{6}\b`)

// codeFor is the code in the newest mail to an address.
func (s *site) codeFor(to string) string {
	s.t.Helper()
	list := s.mails(to)
	if len(list) == 0 {
		s.t.Fatalf("no mail to %s", to)
	}
	// Rows of one instant have no order but the number of their mail.
	newest := slices.MaxFunc(list, func(a, b store.Message) int { return strings.Compare(a.DedupeKey, b.DedupeKey) })
	code := sixDigits.FindString(newest.Text)
	if code == "" || !strings.Contains(newest.HTML, code) {
		s.t.Fatalf("no code: %s\n%s", newest.Text, newest.HTML)
	}
	return code
}

// giveAddress fills in the page that asks for one.
func (p *page) giveAddress(email string) *page {
	p.b.t.Helper()
	return p.form("complete-form").set("complete-email", email).submit().expect("/login/complete/code", http.StatusOK)
}

func (p *page) enterCode(code string) *page {
	p.b.t.Helper()
	return p.form("code-form").set("code-input", code).submit()
}

// wrongFor is a code that is not code.
func wrongFor(code string) string {
	return code[:5] + string('0'+(code[5]-'0'+1)%10)
}

// TestComplete: an address is asked for when the application requires one and nobody has any, and is proven by a code (R32).
func TestComplete(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(x))
	if s.read(s.browser("192.0.2.1").through(x, person("x9", ""), "scope=openid+email").arrived()).Email != "" {
		t.Error("asked nobody, and has one")
	}
	s.requireEmail()
	nobody := person("x1", "")
	nobody.Name = "Ana"
	b := s.browser("192.0.2.2")
	p := b.through(x, nobody).expect("/login/complete", http.StatusOK)
	if s.users() != 1 || b.cookie(sessionCookie) != "" {
		t.Fatal("something was made before the person said anything")
	}
	for _, bad := range []string{"", "ana", "ana@", "a@b@example.com", "ana@exa mple.com", "a\u200bna@example.com"} {
		p = p.form("complete-form").set("complete-email", bad).submit().expect("/login/complete", http.StatusUnprocessableEntity)
	}
	p = p.form("complete-form").set("complete-email", "Ana@example.com").set("complete-given-name", "Ana").submit().expect("/login/complete/code", http.StatusOK)
	field := p.byID("code-input")
	if attr(field, "autocomplete") != "one-time-code" || attr(field, "inputmode") != "numeric" || !strings.Contains(p.text(), "Ana@example.com") {
		t.Errorf("%v %s", field.Attr, p.text())
	}
	if s.users() != 1 || b.cookie(sessionCookie) != "" {
		t.Fatal("something was made before the proof")
	}
	mail := s.mails("Ana@example.com")[0]
	code := s.codeFor("Ana@example.com")
	if mail.Kind != "mail" || mail.Subject != "Latchkey - Confirm your e-mail address" || !strings.HasSuffix(mail.Text, "\n-- Latchkey\n") || strings.Contains(mail.Subject, code) ||
		!strings.Contains(mail.Text, "within 5 minutes") || mail.ExpiresAt.Sub(s.now()) > 5*time.Minute {
		t.Errorf("%+v", mail)
	}
	p = p.enterCode(wrongFor(code)).expect("/login/complete/code", http.StatusUnprocessableEntity)
	p = p.enterCode("").expect("/login/complete/code", http.StatusUnprocessableEntity)
	// As people and mail programs write it.
	id := p.enterCode(" " + code[:3] + " " + code[3:] + "\u00a0").arrived()
	if u := s.read(id); u.Email != "Ana@example.com" || u.EmailVerifiedAt.IsZero() || u.GivenName != "Ana" {
		t.Errorf("%+v", u)
	}
	if l := s.links(id); len(l) != 1 || strings.Join(l[0].Evidence, " ") != "new_account mail_code" || l[0].Email != "" {
		t.Errorf("%+v", l)
	}
	// Nobody is asked twice, and a known person without an address is asked too.
	if s.browser("192.0.2.3").through(x, nobody).arrived() != id {
		t.Error("somebody else")
	}
	known := s.browser("192.0.2.4")
	p = known.through(x, person("x9", "")).expect("/login/complete", http.StatusOK)
	p = p.giveAddress("nine@example.com")
	nine := p.enterCode(s.codeFor("nine@example.com")).arrived()
	if u := s.read(nine); u.Email != "nine@example.com" || u.EmailVerifiedAt.IsZero() || s.users() != 2 {
		t.Errorf("%+v, %d users", u, s.users())
	}
	// The pages are good in one browser and once.
	for _, path := range []string{p.url.RequestURI(), strings.Replace(p.url.RequestURI(), "/code", "", 1)} {
		if q := s.browser("192.0.2.5").get(path); q.code() == "" {
			t.Errorf("another browser sees %s", path)
		}
	}
	if q := p.enterCode(s.codeFor("nine@example.com")); q.code() == "" {
		t.Errorf("used twice: %d at %s", q.status, q.url.Path)
	}
}

// TestComplete_NoMail: where no mail is sent nobody is asked, and there is no such page.
func TestComplete_NoMail(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite)
	s.keys[4] = nil
	s.restart(open(x))
	s.requireEmail()
	if s.read(s.browser("192.0.2.1").through(x, person("x1", "")).arrived()).Email != "" {
		t.Error("an address from nowhere")
	}
	if p := s.browser("192.0.2.1").get("/login/complete"); p.status != http.StatusNotFound {
		t.Errorf("%d", p.status)
	}
}

// TestSec_F8_CompleteTellsNothing: an address that is somebody's gets the same pages, and its owner a mail that opens nothing.
func TestSec_F8_CompleteTellsNothing(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(x))
	s.requireEmail()
	for i, change := range []func(*store.User){func(*store.User) {}, func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) },
		func(u *store.User) { u.DisabledAt = store.At(s.now()) }, func(u *store.User) { u.Locale = "de" }, func(*store.User) {}} {
		s.user(fmt.Sprintf("taken%d@example.com", i), change)
	}
	users := s.users()
	mask := regexp.MustCompile(`taken\d@example\.com|TAKEN4@example\.com|free0@example\.com|(join|flow)=[A-Za-z0-9_-]+|value="[A-Za-z0-9_.-]{20,}"`)
	shape := func(email string) []string {
		b := s.browser("192.0.2." + fmt.Sprint(10+len(email)))
		p := b.through(x, person("x-"+email, "")).expect("/login/complete", http.StatusOK)
		var pages []string
		keep := func(p *page) *page {
			header := p.header.Clone()
			for _, h := range []string{"X-Request-Id", "Content-Security-Policy", "Set-Cookie", "Content-Length", "Server-Timing"} {
				header.Del(h)
			}
			pages = append(pages, mask.ReplaceAllString(fmt.Sprint(p.status, p.url.Path, header, p.body), "*"))
			return p
		}
		p = keep(p.giveAddress(email))
		p = keep(p.form("code-resend-form").submit())
		for range 5 {
			p = keep(p.enterCode("000000")) // one in a million
		}
		keep(p.enterCode("000000"))
		keep(b.get(p.url.RequestURI()))
		if b.cookie(sessionCookie) != "" {
			t.Errorf("%s: signed in", email)
		}
		s.sleep(time.Hour)
		return pages
	}
	free := shape("free0@example.com")
	for _, email := range []string{"taken0@example.com", "taken1@example.com", "taken2@example.com", "taken3@example.com", "TAKEN4@example.com"} {
		for i, got := range shape(email) {
			if got != free[i] {
				t.Errorf("%s: step %d differs\n%s\nfrom\n%s", email, i, got, free[i])
			}
		}
	}
	if s.users() != users {
		t.Errorf("%d users, were %d", s.users(), users)
	}
	for i := range 5 {
		list := s.mails(fmt.Sprintf("taken%d@example.com", i)) // also to TAKEN4: as its owner writes it
		if len(list) != 1 {
			t.Errorf("taken%d: %d mails", i, len(list))
		}
		for _, m := range list {
			if sixDigits.MatchString(m.Text+m.HTML) || !strings.Contains(m.Text, issuer+"/account/connections") {
				t.Errorf("%s", m.Text)
			}
			if german := strings.Contains(m.Text, "Jemand"); german != (i == 3) { // in the owner's language, not the stranger's
				t.Errorf("taken%d: %s", i, m.Text)
			}
		}
	}
	if len(s.mails("TAKEN4@example.com")) != 0 {
		t.Error("a mail to an address as a stranger wrote it")
	}
}

// TestSec_F10_CodeGuessing: five tries for a code, five mails for an attempt, and ten tries for an address however many attempts there are.
func TestSec_F10_CodeGuessing(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(x))
	s.requireEmail()
	p := s.browser("192.0.2.1").through(x, person("x1", "")).giveAddress("ana@example.com")
	code := s.codeFor("ana@example.com")
	for range 5 {
		p = p.enterCode(wrongFor(code)).expect("/login/complete/code", http.StatusUnprocessableEntity)
	}
	s.sleep(2 * time.Second) // the address must wait a little by now
	p = p.enterCode(code).expect("/login/complete/code", http.StatusUnprocessableEntity)
	if !strings.Contains(p.text(), "doesn’t work any more") {
		t.Errorf("a sixth try was looked at: %s", p.text())
	}
	if p = p.form("code-resend-form").submit(); p.status != http.StatusTooManyRequests || p.header.Get("Retry-After") == "" {
		t.Errorf("another mail at once: %d", p.status)
	}
	if len(s.mails("ana@example.com")) != 1 {
		t.Errorf("%d mails", len(s.mails("ana@example.com")))
	}
	s.sleep(time.Minute)
	p = p.form("code-resend-form").submit().expect("/login/complete/code", http.StatusOK)
	next := s.codeFor("ana@example.com")
	if next != code { // the code before is dead
		p = p.enterCode(code).expect("/login/complete/code", http.StatusUnprocessableEntity)
	}
	s.sleep(5 * time.Second)
	if s.read(p.enterCode(next).arrived()).Email != "ana@example.com" {
		t.Error("no address")
	}

	// Ten parallel attempts for one address.
	checked := 0
	for i := range 10 {
		b := s.browser("198.51.100." + fmt.Sprint(i))
		p := b.through(x, person(fmt.Sprint("y", i), "")).expect("/login/complete", http.StatusOK)
		p = p.form("complete-form").set("complete-email", "bob+"+fmt.Sprint(i)+"@example.com").submit()
		if p.status != http.StatusOK {
			continue
		}
		for range 5 {
			if p = p.enterCode("nocode"); p.status == http.StatusUnprocessableEntity {
				checked++
			}
		}
	}
	if checked == 0 || checked > 10 {
		t.Errorf("%d guesses were checked", checked)
	}
}

// TestSec_MailFlood: mails of an attempt, to an address and from a network are bounded; another address at once is a mail of the same attempt.
func TestSec_MailFlood(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(x))
	s.requireEmail()
	b := s.browser("192.0.2.1")
	p := b.through(x, person("x1", "")).giveAddress("a1@example.com")
	change := func(email string) *page {
		return b.get(attr(p.byID("code-change"), "href")).form("complete-form").set("complete-email", email).submit()
	}
	change("a1@EXAMPLE.com").expect("/login/complete/code", http.StatusOK) // typed again: the mail is on its way
	if len(s.mails("a1@example.com"))+len(s.mails("a1@EXAMPLE.com")) != 1 {
		t.Error("two mails for two clicks")
	}
	for i := 2; i <= 5; i++ { // a slip of the finger is put right at once
		change(fmt.Sprintf("a%d@example.com", i)).expect("/login/complete/code", http.StatusOK)
	}
	first := s.codeFor("a1@example.com")
	if q := b.get(p.url.RequestURI()); q.byID("code-no-more") == nil || q.byID("code-resend") != nil {
		t.Error("the page offers a sixth mail")
	}
	if q := change("a6@example.com"); q.status != http.StatusTooManyRequests || len(s.mails("a6@example.com")) != 0 {
		t.Errorf("a sixth mail: %d", q.status)
	}
	s.sleep(2 * time.Minute)
	if q := p.form("code-resend-form").submit(); q.status != http.StatusTooManyRequests {
		t.Errorf("a sixth mail: %d", q.status)
	}
	if q := p.enterCode(first); q.status != http.StatusUnprocessableEntity && first != s.codeFor("a5@example.com") {
		t.Errorf("the code of another address: %d", q.status)
	}
	if s.read(p.enterCode(s.codeFor("a5@example.com")).arrived()).Email != "a5@example.com" {
		t.Error("another address")
	}

	// One address, from many networks and attempts.
	sent := 0
	for i := range 20 {
		q := s.browser(fmt.Sprintf("10.0.%d.1", i)).through(x, person(fmt.Sprint("v", i), "")).form("complete-form").set("complete-email", "victim@example.com").submit()
		if q.url.Path == "/login/complete/code" {
			sent++
		} else if q.status != http.StatusTooManyRequests || q.header.Get("Retry-After") == "" {
			t.Errorf("%d", q.status)
		}
	}
	if sent != 5 || len(s.mails("victim@example.com")) != 5 {
		t.Errorf("%d pages, %d mails", sent, len(s.mails("victim@example.com")))
	}

	// Many addresses, from one network.
	sent = 0
	for i := range 70 {
		q := s.browser("203.0.113.7").through(x, person(fmt.Sprint("w", i), "")).form("complete-form").set("complete-email", fmt.Sprintf("w%d@example.com", i)).submit()
		if q.url.Path == "/login/complete/code" {
			sent++
		}
	}
	if sent != 50 {
		t.Errorf("%d mails from one network", sent)
	}
}

// TestRace_OneCode: the right code in many tabs at once makes one account and one session.
func TestRace_OneCode(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			x := newUpstream("twitter")
			s := newSiteOn(t, engine, open(x))
			s.requireEmail()
			p := s.browser("192.0.2.1").through(x, person("x1", "")).giveAddress("ana@example.com")
			code := s.codeFor("ana@example.com")
			won := 0
			for _, q := range together(4, func(int) *page { return p.enterCode(code) }) {
				switch {
				case q.away != "":
					won++
				case q.status >= 500:
					t.Errorf("%d: %s", q.status, q.text())
				}
			}
			list, err := s.store.Users(t.Context(), "", 10)
			must(t, err)
			if won != 1 || len(list) != 1 {
				t.Fatalf("%d arrived, %d users", won, len(list))
			}
			sessions, err := s.store.SessionsOf(t.Context(), list[0].ID)
			must(t, err)
			if len(sessions) != 1 {
				t.Errorf("%d sessions", len(sessions))
			}
		})
	}
}

// TestRace_SameAddress: two people who prove one address at once; one of them gets it.
func TestRace_SameAddress(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			x := newUpstream("twitter")
			s := newSiteOn(t, engine, open(x))
			s.requireEmail()
			pages, codes := make([]*page, 2), make([]string, 2)
			for i := range pages {
				pages[i] = s.browser(fmt.Sprintf("192.0.%d.1", i)).through(x, person(fmt.Sprint("x", i), "")).giveAddress("shared@example.com")
				before := map[string]bool{}
				for _, c := range codes {
					before[c] = true
				}
				for _, m := range s.mails("shared@example.com") {
					if c := sixDigits.FindString(m.Text); !before[c] {
						codes[i] = c
					}
				}
			}
			won := 0
			for _, q := range together(2, func(i int) *page { return pages[i].enterCode(codes[i]) }) {
				switch {
				case q.away != "":
					won++
				case q.status != http.StatusUnprocessableEntity || q.url.Path != "/login/complete/code" || q.byID("complete-form") == nil:
					t.Errorf("%d at %s: %s", q.status, q.url.Path, q.text())
				}
			}
			if won != 1 || s.users() != 1 {
				t.Errorf("%d arrived, %d users", won, s.users())
			}
		})
	}
}

// TestCode_Expires with its five minutes (security.md F10), and with its attempt and flow.
func TestCode_Expires(t *testing.T) {
	t.Parallel()
	x := newUpstream("twitter")
	s := newSiteOn(t, store.SQLite, open(x))
	s.requireEmail()
	b := s.browser("192.0.2.1")
	away := b.depart(x)
	s.sleep(7 * time.Minute) // at the upstream; the flow has three left
	p := b.get(x.allow(t, away, person("x1", ""))).giveAddress("ana@example.com")
	if m := s.mails("ana@example.com")[0]; !strings.Contains(m.Text, "within 3 minutes") || m.ExpiresAt.Sub(s.now()) > 3*time.Minute {
		t.Errorf("%s until %s", m.Text, m.ExpiresAt)
	}
	s.sleep(3 * time.Minute)
	if q := p.enterCode(s.codeFor("ana@example.com")); q.away != "" || s.users() != 0 {
		t.Errorf("%d at %s", q.status, q.url.Path)
	}
	b = s.browser("192.0.2.2")
	p = b.get(x.allow(t, b.depart(x), person("x2", ""))).giveAddress("bob@example.com")
	s.sleep(5 * time.Minute)
	if q := p.enterCode(s.codeFor("bob@example.com")); q.away != "" || s.users() != 0 || q.byID("code-form") == nil {
		t.Errorf("%d at %s", q.status, q.url.Path)
	}
}

// signedIn is somebody without an address, with a session that has just begun.
func (s *site) signedIn(name, addr string) (*browser, *store.User) {
	s.t.Helper()
	u := s.user("", func(u *store.User) { u.Username = name })
	b := s.browser(addr)
	b.get("/login").signIn(name, goodPassword).expect("/account", http.StatusOK)
	return b, u
}

// TestOwes: somebody who is signed in gives their account an address before an application that requires one gets its answer.
func TestOwes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b, u := s.signedIn("ana", "192.0.2.1")
	s.requireEmail()
	client, err := s.store.Client(t.Context(), "app")
	must(t, err)
	if s.login.Owes(client, u) == "" || s.login.Owes(client, &store.User{Email: "a@example.com"}) != "" || s.login.Owes(&store.Client{}, u) != "" {
		t.Error("Owes")
	}
	p := b.get("/test/start").signIn("ana", goodPassword).expect("/login/complete", http.StatusOK)
	if p.byID("complete-given-name") != nil || !strings.Contains(p.text(), "Sample app") {
		t.Error(p.text())
	}
	p = p.giveAddress("ana@example.com")
	other := p.url.Query().Get("join")
	p = p.enterCode(wrongFor(s.codeFor("ana@example.com"))).expect("/login/complete/code", http.StatusUnprocessableEntity)
	if id := p.enterCode(s.codeFor("ana@example.com")).arrived(); id != u.ID {
		t.Error("somebody else")
	}
	if now := s.read(u.ID); now.Email != "ana@example.com" || now.EmailVerifiedAt.IsZero() {
		t.Errorf("%+v", now)
	}
	audit, err := s.store.AuditEntries(t.Context(), 0, 100)
	must(t, err)
	if !slices.ContainsFunc(audit, func(a store.AuditEntry) bool {
		return a.Action == "user.add_email" && a.Actor == u.ID && !strings.Contains(a.Diff, "@")
	}) {
		t.Errorf("audit: %+v", audit)
	}
	// Who has an address goes on, whatever is left of the pages.
	if id := b.get("/test/start").signIn("ana", goodPassword).arrived(); id != u.ID {
		t.Error("asked again")
	}
	if q := b.get("/login/complete?join=" + other); q.code() != "sign_in_expired" {
		t.Errorf("%d %s", q.status, q.code())
	}
	// Without an application there is nothing to prove an address for.
	if q := b.get("/login/complete"); q.code() != "sign_in_expired" {
		t.Errorf("%d %s", q.status, q.code())
	}
}

// TestSec_C5_AddressNeedsARecentSignIn: a session that was left open chooses no address, and another person's page is nothing.
func TestSec_C5_AddressNeedsARecentSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b, _ := s.signedIn("ana", "192.0.2.1")
	s.requireEmail()
	p := b.get("/test/start").signIn("ana", goodPassword).expect("/login/complete", http.StatusOK)
	s.sleep(6 * time.Minute)
	if q := p.form("complete-form").set("complete-email", "evil@example.com").submit(); q.url.Path != "/login" || len(s.mails("evil@example.com")) != 0 {
		t.Fatalf("%d at %s", q.status, q.url.Path)
	}
	p = b.get("/login?"+p.url.RawQuery).signIn("ana", goodPassword).giveAddress("ana@example.com")
	code := s.codeFor("ana@example.com")
	// Eve signs in in the same browser: the page is Ana's.
	eve := s.user("", func(u *store.User) { u.Username = "eve" })
	b.get("/logout").form("logout-form").submit()
	b.get("/login").signIn("eve", goodPassword).expect("/account", http.StatusOK)
	if q := b.send(http.MethodGet, p.url.RequestURI(), nil, nil); q.code() != "sign_in_expired" {
		t.Errorf("%d %s", q.status, q.text())
	}
	if q := p.enterCode(code); q.away != "" || s.read(eve.ID).Email != "" {
		t.Errorf("%d at %s%s", q.status, q.url.Path, q.away)
	}
}

// TestSec_E3_CodeOpensNoAccount: neither a code nor an address typed leads into an account that exists, whatever the connector may link.
func TestSec_E3_CodeOpensNoAccount(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{login.LinkNever, login.LinkProve, login.LinkVerified, login.LinkAuthoritative} {
		x := newUpstream("twitter")
		s := newSiteOn(t, store.SQLite, open(x, func(u *login.Upstream) { u.Link = policy }))
		s.requireEmail()
		victim := s.user("ana@example.com", func(u *store.User) { u.EmailVerifiedAt = store.At(s.now()) })
		p := s.browser("198.51.100.1").through(x, reported("x1", "")).giveAddress("ana@example.com")
		for _, code := range []string{"000000", "", "123456"} {
			if q := p.enterCode(code); q.away != "" || q.b.cookie(sessionCookie) != "" {
				t.Fatalf("%s: in with %q", policy, code)
			}
		}
		// Proven, but somebody was quicker: the owner of the mailbox learns it, and is let in nowhere.
		p = s.browser("192.0.2.1").through(x, reported("x2", "")).giveAddress("bob@example.com")
		bob := s.user("bob@example.com")
		q := p.enterCode(s.codeFor("bob@example.com")).expect("/login/complete/code", http.StatusUnprocessableEntity)
		if q.b.cookie(sessionCookie) != "" || len(s.links(victim.ID))+len(s.links(bob.ID)) != 0 || s.users() != 2 {
			t.Errorf("%s: linked or signed in", policy)
		}
		// And the person can give another.
		q = q.giveAddress("bob2@example.com")
		if s.read(q.enterCode(s.codeFor("bob2@example.com")).arrived()).Email != "bob2@example.com" {
			t.Error("no way on")
		}
	}
}

// TestComplete_OldProof: an address that the upstream vouches for needs no code, and one that it only reports is a guess.
func TestComplete_OldProof(t *testing.T) {
	t.Parallel()
	g := newUpstream("google")
	s := newSiteOn(t, store.SQLite, open(g))
	s.requireEmail()
	s.browser("192.0.2.1").through(g, person("g1", "ana@example.com")).arrived()
	p := s.browser("192.0.2.2").through(g, reported("g2", "bob@example.com")).expect("/login/complete", http.StatusOK)
	if attr(p.byID("complete-email"), "value") != "bob@example.com" {
		t.Error("not offered")
	}
	who := connectors.Identity{Issuer: "https://upstream.example", Subject: "g2", Name: "Bob Lee"}
	if u := s.read(p.giveAddress("bob@example.com").enterCode(s.codeFor("bob@example.com")).arrived()); u.EmailVerifiedAt.IsZero() {
		t.Errorf("%+v", u)
	}
	s.browser("192.0.2.3").through(g, who).arrived()
}
