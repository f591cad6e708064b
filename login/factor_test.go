package login_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/hotp"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// authenticator is an app on somebody's phone, whose clock is the site's.
type authenticator struct {
	s    *site
	seed string
}

// at is its code some steps from now.
func (a authenticator) at(steps int64) string {
	a.s.t.Helper()
	code, err := hotp.GenerateCode(a.seed, uint64(a.s.now().Unix()/30+steps))
	must(a.s.t, err)
	return code
}

func textOf(n *htmlNode) string {
	var b strings.Builder
	for d := range n.Descendants() {
		b.WriteString(strings.TrimSpace(map[bool]string{true: d.Data}[d.FirstChild == nil && d.Type == 1]))
	}
	return b.String()
}

// app reads the key on a page, as a person would type it.
func (p *page) app() authenticator {
	p.b.t.Helper()
	n := p.byID("mfa-key")
	if n == nil {
		p.b.t.Fatalf("no key at %s%s (%d): %s", p.url.Path, p.away, p.status, p.text())
	}
	return authenticator{p.b.site, strings.ReplaceAll(textOf(n), " ", "")}
}

// enterCode fills in the code of a factor.
func (p *page) enterFactor(code string) *page {
	p.b.t.Helper()
	return p.form("mfa-form").set("mfa-code", code).submit()
}

func (p *page) enterRecovery(code string) *page {
	p.b.t.Helper()
	return p.b.get(attr(p.byID("mfa-use-recovery"), "href")).form("mfa-recovery-form").set("mfa-recovery-code", code).submit()
}

// codes are the recovery codes of a page that shows them.
func (p *page) codes() (list []string) {
	p.b.t.Helper()
	n := p.byID("mfa-codes")
	if n == nil {
		p.b.t.Fatalf("no codes at %s%s (%d): %s", p.url.Path, p.away, p.status, p.text())
	}
	for d := range n.Descendants() {
		if d.Data == "code" {
			list = append(list, textOf(d))
		}
	}
	return list
}

// enrolled is somebody with an authenticator app, who added it a minute ago.
func (s *site) enrolled(email string) (u *store.User, a authenticator, codes []string) {
	s.t.Helper()
	u = s.user(email)
	b := s.browser("192.0.2.200")
	b.get("/login").signIn(email, goodPassword).expect("/account", http.StatusOK)
	p := b.get("/account/security/totp").expect("/account/security/totp", http.StatusOK)
	a = p.app()
	codes = p.enterFactor(a.at(0)).codes()
	s.sleep(time.Minute)
	return u, a, codes
}

// ask signs in with the password, to the page of the second factor.
func (s *site) ask(email, addr string) *page {
	s.t.Helper()
	return s.browser(addr).get("/login").signIn(email, goodPassword).expect("/mfa", http.StatusOK)
}

func (s *site) sessionsOf(u *store.User) []store.Session {
	s.t.Helper()
	list, err := s.store.SessionsOf(s.t.Context(), u.ID)
	must(s.t, err)
	return list
}

// TestFactor_SignIn: a person who added an app is asked for it, and the session says what was shown.
func TestFactor_SignIn(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u, app, _ := s.enrolled("ana@example.com")
		first := s.sessionsOf(u)
		if len(first) != 1 || first[0].ACR != "2" || strings.Join(first[0].AMR, " ") != "pwd otp mfa" { // raised where the app was added
			t.Errorf("%+v", first)
		}
		b := s.browser("192.0.2.1")
		p := b.get("/test/start").signIn("ana@example.com", goodPassword).expect("/mfa", http.StatusOK)
		if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.example") {
			t.Errorf("the form cannot end at the application: %s", csp)
		}
		if p.header.Get("Cache-Control") != "no-store" || b.cookie(sessionCookie) != "" || len(s.arrivals()) != 0 {
			t.Fatal("there is a session, or the flow went on")
		}
		for _, bad := range []string{"", "12345", "1234567", "abcdef"} { // no tries
			p = p.enterFactor(bad).expect("/mfa", http.StatusUnprocessableEntity)
		}
		wrong := map[bool]string{true: "000000", false: "111111"}[app.at(-1) != "000000" && app.at(0) != "000000" && app.at(1) != "000000"]
		p = p.enterFactor(wrong).expect("/mfa", http.StatusUnprocessableEntity)
		if !strings.Contains(p.text(), "4 tries left") {
			t.Errorf("%s", p.text())
		}
		if p.enterFactor(app.at(0)).arrived() != u.ID {
			t.Fatal("not ana")
		}
		list := s.sessionsOf(u)
		if last := list[len(list)-1]; last.ACR != "2" || strings.Join(last.AMR, " ") != "pwd otp mfa" || !last.AuthTime.Equal(store.At(s.now()).Time) {
			t.Errorf("%+v", last)
		}
		if b.cookie("latchkey-partial") != "" {
			t.Error("the half-finished sign-in was kept")
		}
	})
}

// TestSec_F9_TOTP: a window of one step either way, each step once and never an older one, one success of eight at once, and no seed in the database.
func TestSec_F9_TOTP(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u, app, _ := s.enrolled("ana@example.com")
		if len(app.seed) != 32 { // 160 bits
			t.Errorf("a seed of %d characters", len(app.seed))
		}
		f, err := s.store.Factors(t.Context(), u.ID)
		must(t, err)
		if len(f.List) != 1 || strings.Contains(f.List[0].Secret, app.seed) || f.List[0].Secret == "" {
			t.Error("the seed lies open")
		}
		for _, off := range []int64{-3, 3} { // 90 s
			s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(off)).expect("/mfa", http.StatusUnprocessableEntity)
		}
		s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(1)).expect("/account", http.StatusOK)
		for _, off := range []int64{1, 0, -1} { // replayed, and older
			p := s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(off)).expect("/mfa", http.StatusUnprocessableEntity)
			if !strings.Contains(p.text(), "used already") {
				t.Errorf("%+d: %s", off, p.text())
			}
		}
		s.sleep(2 * time.Hour)
		pages := make([]*page, 8)
		for i := range pages {
			pages[i] = s.ask("ana@example.com", "192.0.2.2")
		}
		code := app.at(0)
		in := 0
		for _, p := range together(len(pages), func(i int) *page { return pages[i].enterFactor(code) }) {
			if p.url.Path == "/account" && p.status == http.StatusOK {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%d sign-ins by one code", in)
		}
	})
}

// TestSec_F10_FactorTries: five tries for one sign-in, ten an hour for all of them and all factors together; the right code gives them back.
func TestSec_F10_FactorTries(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u, app, codes := s.enrolled("ana@example.com")
		_, other, _ := s.enrolled("bea@example.com")
		p := s.ask("ana@example.com", "192.0.2.1")
		for range 4 {
			p = p.enterFactor(app.at(5)).expect("/mfa", http.StatusUnprocessableEntity)
		}
		p.enterFactor(app.at(5)).expect("/mfa", http.StatusUnprocessableEntity)
		p.enterFactor(app.at(0)).expect("/mfa", http.StatusBadRequest) // the sixth, though right
		s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(0)).expect("/account", http.StatusOK)
		s.sleep(time.Minute)

		asked := make([]*page, 10)
		for i := range asked {
			asked[i] = s.ask("ana@example.com", "192.0.2.1")
		}
		statuses := map[int]int{}
		for _, list := range together(len(asked), func(i int) (list []int) {
			for n := range 10 {
				q := asked[i].form("mfa-form")
				if n%2 == 1 {
					q.action = "/mfa/recovery"
				}
				q.values.Set("code", []string{app.at(7), "aaaa-bbbb-cccc-dddd"}[n%2])
				list = append(list, q.submit().status)
			}
			return list
		}) {
			for _, st := range list {
				statuses[st]++
			}
		}
		if statuses[http.StatusUnprocessableEntity] > 10 || statuses[http.StatusTooManyRequests] == 0 {
			t.Errorf("of 100 guesses were checked: %v", statuses)
		}
		p = s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(0)).expect("/mfa", http.StatusTooManyRequests)
		if p.header.Get("Retry-After") == "" || !strings.Contains(p.text(), "60 minutes") {
			t.Errorf("%s %s", p.header.Get("Retry-After"), p.text())
		}
		s.ask("ana@example.com", "192.0.2.9").enterRecovery(codes[0]).expect("/mfa/recovery", http.StatusTooManyRequests)
		s.ask("bea@example.com", "192.0.2.1").enterFactor(other.at(0)).expect("/account", http.StatusOK) // nobody else waits
		s.sleep(time.Hour)
		s.ask("ana@example.com", "192.0.2.1").enterFactor(app.at(0)).expect("/account", http.StatusOK)
		_ = u
	})
}

// TestSec_F14_RecoveryCodes: each works once, for its person alone; a new set kills the old; every use is told.
func TestSec_F14_RecoveryCodes(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		u, _, codes := s.enrolled("ana@example.com")
		_, _, theirs := s.enrolled("bea@example.com")
		if len(codes) != 10 {
			t.Fatalf("%d codes", len(codes))
		}
		s.ask("ana@example.com", "192.0.2.1").enterRecovery(theirs[0]).expect("/mfa/recovery", http.StatusUnprocessableEntity)
		b := s.ask("ana@example.com", "192.0.2.1")
		b.enterRecovery(strings.ToUpper(strings.ReplaceAll(codes[0], "-", " "))).expect("/account", http.StatusOK)
		s.ask("ana@example.com", "192.0.2.1").enterRecovery(codes[0]).expect("/mfa/recovery", http.StatusUnprocessableEntity)
		if m := s.mails("ana@example.com"); !strings.Contains(m[0].Subject+m[1].Subject, "recovery code was used") || !strings.Contains(m[0].Text+m[1].Text, "9 codes are left") {
			t.Errorf("%+v", m)
		}
		asked := make([]*page, 5)
		for i := range asked {
			asked[i] = s.ask("ana@example.com", "192.0.2.1")
		}
		in := 0
		for _, p := range together(len(asked), func(i int) *page { return asked[i].enterRecovery(codes[1]) }) {
			if p.url.Path == "/account" && p.status == http.StatusOK {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%d sign-ins by one code", in)
		}
		fresh := b.b.get("/account/security").form("security-codes-form").submit().codes()
		s.ask("ana@example.com", "192.0.2.1").enterRecovery(codes[2]).expect("/mfa/recovery", http.StatusUnprocessableEntity)
		s.ask("ana@example.com", "192.0.2.1").enterRecovery(fresh[0]).expect("/account", http.StatusOK)
		f, err := s.store.Factors(t.Context(), u.ID)
		must(t, err)
		for _, c := range f.Codes {
			for _, shown := range append(fresh, codes...) {
				if strings.Contains(c.Secret, shown) || strings.Contains(c.Secret, strings.ReplaceAll(shown, "-", "")) {
					t.Error("a code lies open")
				}
			}
		}
		if f.CodesLeft() != 9 {
			t.Errorf("%d left", f.CodesLeft())
		}
	})
}

// TestFactor_RequiredEnrols: whoever holds what requires a factor adds one before any code is issued, by whatever way they came (R64).
func TestFactor_RequiredEnrols(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.factors.RequiredFor = []string{"developer"}
		s.restart()
		u := s.user("ana@example.com")
		must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "developer", GivenBy: "cli"}))
		b := s.browser("192.0.2.1")
		p := b.get("/test/start").signIn("ana@example.com", goodPassword).expect("/mfa/enrol", http.StatusOK)
		if b.cookie(sessionCookie) != "" || len(s.arrivals()) != 0 {
			t.Fatal("a session before the factor")
		}
		app := p.app()
		if again := b.get(p.url.RequestURI()).app(); again.seed != app.seed {
			t.Error("another key after a reload")
		}
		b.get("/account").expect("/login", http.StatusOK)
		p = p.enterFactor(app.at(4)).expect("/mfa/enrol", http.StatusUnprocessableEntity)
		shown := p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-name", "Phone").submit()
		if codes := shown.codes(); len(codes) != 10 || len(s.arrivals()) != 0 || b.cookie(sessionCookie) == "" {
			t.Fatalf("%d codes, %d arrivals", len(codes), len(s.arrivals()))
		}
		if b.get(attr(shown.byID("mfa-codes-next"), "href")).arrived() != u.ID {
			t.Error("not at the application")
		}
		// The code that confirmed the app opens nothing afterwards.
		s.ask("ana@example.com", "192.0.2.2").enterFactor(app.at(0)).expect("/mfa", http.StatusUnprocessableEntity)
		// And the last factor stays.
		s.sleep(time.Minute)
		in := s.ask("ana@example.com", "192.0.2.2").enterFactor(app.at(0)).b
		f, err := s.store.Factors(t.Context(), u.ID)
		must(t, err)
		page := in.get("/account/security")
		if page.byID("security-required") == nil || !strings.Contains(page.text(), "Phone") {
			t.Errorf("%s", page.text())
		}
		token := page.form("security-codes-form").values
		in.send(http.MethodPost, "/account/security/"+f.List[0].ID+"/remove", token, nil).expect("/account/security/"+f.List[0].ID+"/remove", http.StatusConflict)
		if has, err := s.store.HasFactor(t.Context(), u.ID); err != nil || !has {
			t.Error("removed")
		}
	})
}

// TestSec_R64_AdministratorsEnrolWithACode: whoever has an administrator's password alone cannot choose their second factor, neither at a sign-in nor on the
// account's page; a code of theirs lets one in, once, and is nobody else's. Others need none.
func TestSec_R64_AdministratorsEnrolWithACode(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.factors.Administrators, s.factors.AdministratorCode = true, true
		s.restart()
		boss, other := s.user("boss@example.com"), s.user("other@example.com")
		for _, u := range []*store.User{boss, other} {
			must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "admin", GivenBy: "cli"}))
		}
		code := func(u *store.User) string {
			c, err := login.NewEnrolmentCode(t.Context(), s.store, "cli", u.ID)
			must(t, err)
			return c
		}
		old, theirs := code(boss), code(other)
		right := code(boss)
		p := s.browser("192.0.2.1").get("/login").signIn("boss@example.com", goodPassword).expect("/mfa/enrol", http.StatusOK)
		app := p.app()
		for _, wrong := range []string{"", "aaaa-bbbb-cccc-dddd", old, theirs} {
			p = p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-enrolment-code", wrong).submit().expect("/mfa/enrol", http.StatusUnprocessableEntity)
		}
		if p.byID("mfa-enrolment-code-error") == nil {
			t.Errorf("%s", p.text())
		}
		if has, err := s.store.HasFactor(t.Context(), boss.ID); err != nil || has {
			t.Fatal("added without")
		}
		f := p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-enrolment-code", strings.ToUpper(right))
		if won := race([]*form{f, f, f, f}, func(p *page) bool { return p.byID("mfa-codes") != nil }); won != 1 {
			t.Errorf("%d of four", won)
		}
		_, err := s.store.ResetFactors(t.Context(), "cli", boss.ID, "lost")
		must(t, err)
		p = s.browser("192.0.2.3").get("/login").signIn("boss@example.com", goodPassword).expect("/mfa/enrol", http.StatusOK)
		app = p.app()
		p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-enrolment-code", right).submit().expect("/mfa/enrol", http.StatusUnprocessableEntity) // it is spent
		late := code(boss)
		s.sleep(login.EnrolmentTTL)
		p = s.browser("192.0.2.3").get("/login").signIn("boss@example.com", goodPassword).expect("/mfa/enrol", http.StatusOK)
		app = p.app()
		p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-enrolment-code", late).submit().expect("/mfa/enrol", http.StatusUnprocessableEntity)

		// On the account's page, where nobody must have one.
		s.factors.Administrators = false
		s.restart()
		in := s.browser("192.0.2.4")
		in.get("/login").signIn("other@example.com", goodPassword).expect("/account", http.StatusOK)
		p = in.get("/account/security/totp").expect("/account/security/totp", http.StatusOK)
		app = p.app()
		p = p.enterFactor(app.at(0)).expect("/account/security/totp", http.StatusUnprocessableEntity)
		p.form("mfa-form").set("mfa-code", app.at(0)).set("mfa-enrolment-code", code(other)).submit().codes()
		s.user("ana@example.com")
		plain := s.browser("192.0.2.5")
		plain.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
		p = plain.get("/account/security/totp")
		p.enterFactor(p.app().at(0)).codes()
	})
}

// TestFactor_Policy is R62's truth table: who may add a factor, and who must have one.
func TestFactor_Policy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	people := map[string]*store.User{}
	for who, privilege := range map[string]string{"plain": "", "developer": "developer", "admin": "admin"} {
		u := s.user(who + "@example.com")
		if people[who] = u; privilege != "" {
			must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: privilege, GivenBy: "cli"}))
		}
	}
	for name, c := range map[string]struct {
		policy    login.FactorPolicy
		may, must string
	}{
		"nobody":               {login.FactorPolicy{}, "", ""},
		"everybody":            {login.FactorPolicy{App: true}, "plain developer admin", ""},
		"some":                 {login.FactorPolicy{App: true, AllowedFor: []string{"developer"}}, "developer", ""},
		"required are allowed": {login.FactorPolicy{App: true, AllowedFor: []string{"trainer"}, RequiredFor: []string{"developer"}}, "developer", "developer"},
		"administrators":       {login.FactorPolicy{App: true, AllowedFor: []string{"developer"}, Administrators: true}, "developer admin", "admin"},
		"both":                 {login.FactorPolicy{App: true, RequiredFor: []string{"developer"}, Administrators: true}, "plain developer admin", "developer admin"},
	} {
		s.factors = c.policy
		s.restart()
		for who, u := range people {
			live, err := s.store.Live(t.Context(), u.ID)
			must(t, err)
			most, err := s.login.MostACR(t.Context(), live)
			must(t, err)
			least, err := s.login.LeastACR(t.Context(), live)
			must(t, err)
			if (most == "2") != strings.Contains(c.may, who) || (least == "2") != strings.Contains(c.must, who) {
				t.Errorf("%s: %s may reach %s and must reach %s", name, who, most, least)
			}
		}
	}
}

// TestSec_F18_EnrolAndRemove: a stale session, one that did not show the factor, and a half-finished sign-in cannot change what guards the account.
func TestSec_F18_EnrolAndRemove(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.factors.RequiredFor = []string{"developer"}
	s.restart()
	u := s.user("ana@example.com")
	b, weak := s.browser("192.0.2.1"), s.browser("192.0.2.2")
	for _, x := range []*browser{b, weak} {
		x.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	}
	// Somebody with the password alone begins to add one; the owner is quicker.
	must(t, s.store.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: "developer", GivenBy: "cli"}))
	thief := s.browser("192.0.2.3").get("/login").signIn("ana@example.com", goodPassword).expect("/mfa/enrol", http.StatusOK)
	b.get("/account/security/totp").expect("/login", http.StatusOK) // the policy asks more of this session now
	must(t, s.store.Unassign(t.Context(), "cli", u.ID, "developer"))
	p := b.get("/account/security/totp").expect("/account/security/totp", http.StatusOK)
	app := p.app()
	p.enterFactor(app.at(0)).codes()
	thief.enterFactor(thief.app().at(0)).expect("/mfa/enrol", http.StatusBadRequest)
	f, err := s.store.Factors(t.Context(), u.ID)
	must(t, err)
	if len(f.List) != 1 || len(s.sessionsOf(u)) != 2 {
		t.Fatalf("%d factors, %d sessions", len(f.List), len(s.sessionsOf(u)))
	}
	id := f.List[0].ID
	posts := []string{"/account/security/totp", "/account/security/recovery-codes", "/account/security/" + id + "/rename", "/account/security/" + id + "/remove"}
	refused := func(name string, x *browser) {
		t.Helper()
		token := x.get("/logout").form("logout-form").values
		x.get("/account/security/totp").expect("/login", http.StatusOK)
		for _, path := range posts {
			x.send(http.MethodPost, path, token, nil).expect("/login", http.StatusOK)
		}
		page := x.get("/account/security").expect("/account/security", http.StatusOK)
		if page.byID("security-reauth") == nil || page.byID("security-add-app") != nil || page.byID("security-codes-form") != nil {
			t.Errorf("%s: %s", name, page.text())
		}
	}
	refused("a session of one factor", weak)
	s.sleep(6 * time.Minute)
	refused("a stale session", b)
	// After a new sign-in, with the factor, it goes.
	b.get(attr(b.get("/account/security").byID("security-reauth"), "href")).signIn("ana@example.com", goodPassword).expect("/mfa", http.StatusOK).
		enterFactor(app.at(0)).expect("/account/security", http.StatusOK)
	b.get("/account/security").formTo("/account/security/"+id+"/rename", "").set("name-"+id, "Old phone").submit().expect("/account/security", http.StatusOK)
	if p := b.get("/account/security"); !strings.Contains(p.text(), "Old phone") || !strings.Contains(p.text(), "10 codes left") {
		t.Errorf("%s", p.text())
	}
	// Nobody else's.
	other, _, _ := s.enrolled("bea@example.com")
	theirs, err := s.store.Factors(t.Context(), other.ID)
	must(t, err)
	token := b.get("/logout").form("logout-form").values
	for _, what := range []string{"/rename", "/remove"} {
		b.send(http.MethodPost, "/account/security/"+theirs.List[0].ID+what, token, nil).expect("/account/security", http.StatusOK)
	}
	b.get("/account/security").formTo("/account/security/"+id+"/remove", "").submit().expect("/account/security", http.StatusOK)
	for who, want := range map[string]int{u.ID: 0, other.ID: 1} {
		if f, err := s.store.Factors(t.Context(), who); err != nil || len(f.List) != want || want == 0 && len(f.Codes) != 0 {
			t.Errorf("%d factors, %d codes, %v", len(f.List), len(f.Codes), err)
		}
	}
	var subjects []string
	for _, m := range s.mails("ana@example.com") {
		subjects = append(subjects, m.Subject)
	}
	if all := strings.Join(subjects, "; "); !strings.Contains(all, "was added") || !strings.Contains(all, "was removed") {
		t.Errorf("mails: %s", all)
	}
}
