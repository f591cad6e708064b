package login_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

const sessionCookie = "latchkey"

func TestSignIn_Local(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com", func(u *store.User) { u.Username, u.GivenName = "ana", "Ana" })
	for _, name := range []string{"ana@example.com", " ANA@Example.COM ", "Ana"} {
		b := s.browser("192.0.2.1")
		p := b.get("/account").expect("/login", http.StatusOK)
		if b.cookie(sessionCookie) != "" {
			t.Error("a session cookie before anybody signed in")
		}
		p.signIn(name, goodPassword).expect("/account", http.StatusOK)
		b.get("/login").expect("/account", http.StatusOK) // signed in already
		b.get("/").expect("/account", http.StatusOK)
	}
	after, err := s.store.User(t.Context(), u.ID)
	must(t, err)
	if after.LastLoginAt.IsZero() {
		t.Error("the sign-in left no last_login_at")
	}
}

func TestSignIn_ForAnApplication(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	p := b.get("/test/start?login_hint=ana%40example.com").expect("/login", http.StatusOK)
	for _, want := range []string{"Sample app"} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("the page lacks %q: %s", want, p.text())
		}
	}
	if v := attr(p.byID("login-identifier"), "value"); v != "ana@example.com" {
		t.Errorf("identifier = %q, want the login_hint of the request", v)
	}
	if p.byID("client-policy-uri") == nil || p.byID("client-logo") == nil {
		t.Error("the application's policy or logo is missing")
	}
	if p.byID("client-tos-uri") != nil || strings.Contains(p.body, "javascript:") {
		t.Error("an address that is none of the web got onto the page")
	}
	csp := p.header.Get("Content-Security-Policy")
	for _, want := range []string{"form-action 'self' https://app.example", "https://cdn.example"} {
		if !strings.Contains(csp, want) {
			t.Errorf("Content-Security-Policy lacks %q: %s", want, csp)
		}
	}
	wrong := p.signIn("ana@example.com", "not the password").expect("/login", http.StatusUnprocessableEntity)
	if got := wrong.header.Get("Content-Security-Policy"); got != csp {
		t.Errorf("the page after a failure has another policy: %s", got)
	}
	// Edited query and fields change nothing: only the stored request counts (security.md A6).
	f := wrong.form("login-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword)
	f.action += "&redirect_uri=https%3A%2F%2Fevil.example&client_id=evil"
	f.values.Set("redirect_uri", "https://evil.example")
	if p := f.submit(); p.away != "https://app.example/callback?code=for-"+u.ID {
		t.Errorf("ended at %s%s with %d, want the application", p.url, p.away, p.status)
	}
}

func TestSignIn_RepeatedForAnApplication(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	bob := s.user("bob@example.com")
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	old := b.cookie(sessionCookie)
	// The provider wants a sign-in, so one is asked for although there is a session.
	p := b.get("/test/start").expect("/login", http.StatusOK)
	if v := attr(p.byID("login-identifier"), "value"); v != "ana@example.com" {
		t.Errorf("identifier = %q, want that of who is signed in", v)
	}
	if p := p.signIn("bob@example.com", goodPassword); !strings.HasSuffix(p.away, "code=for-"+bob.ID) {
		t.Errorf("ended at %s%s", p.url, p.away)
	}
	thief := s.browser("192.0.2.1")
	thief.plant(sessionCookie, old)
	thief.get("/account").expect("/login", http.StatusOK)
}

func TestSignIn_MissingFields(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser("192.0.2.1")
	p := b.get("/login").signIn("  ", "").expect("/login", http.StatusUnprocessableEntity)
	for _, id := range []string{"login-identifier", "login-password"} {
		if attr(p.byID(id), "aria-invalid") != "true" {
			t.Errorf("#%s is not marked as wrong", id)
		}
	}
	if !strings.HasPrefix(p.title(), "Error: ") {
		t.Errorf("title = %q", p.title())
	}
}

// The answer to a failed sign-in must not tell accounts apart: same status, same headers, same page once the token and what was
// typed are masked.
func TestSec_F8_SameAnswerForEveryFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("known@example.com")
	s.user("gone@example.com")
	s.user("later@example.com", func(u *store.User) { u.ValidFrom = store.At(s.now().Add(time.Hour)) })
	s.user("over@example.com", func(u *store.User) { u.ValidUntil = store.At(s.now().Add(-time.Hour)) })
	disabled := s.user("disabled@example.com")
	must(t, s.store.DisableUser(t.Context(), "cli", disabled.ID, "left"))
	must(t, s.store.CreateUser(t.Context(), &store.User{Email: "upstream@example.com"})) // has no password

	var first *page
	for _, c := range []struct{ name, email, password string }{
		{"wrong password", "known@example.com", "wrong wrong wrong"},
		{"unknown", "nobody@example.com", goodPassword},
		{"no password", "upstream@example.com", goodPassword},
		{"disabled", "disabled@example.com", goodPassword},
		{"not yet valid", "later@example.com", goodPassword},
		{"no longer valid", "over@example.com", goodPassword},
		{"like pattern", "%@example.com", goodPassword},
		{"endless name", strings.Repeat("a", 5000) + "@example.com", goodPassword},
	} {
		b := s.browser("192.0.2.1")
		before := s.store.Counts()
		p := b.get("/login").signIn(c.email, c.password).expect("/login", http.StatusUnprocessableEntity)
		after := s.store.Counts()
		p.body = p.masked(c.email)
		if first == nil {
			first = p
			if p.byID("login-error") == nil {
				t.Error("no #login-error")
			}
			t.Logf("a failure costs %d reads, %d writes", after.Reads-before.Reads, after.Writes-before.Writes)
			continue
		}
		if p.body != first.body {
			t.Errorf("%s: another page\n%s\nwant\n%s", c.name, p.body, first.body)
		}
		for name := range p.header {
			if a, b := p.header.Get(name), first.header.Get(name); a != b && name != "Set-Cookie" && name != "X-Request-Id" && name != "Content-Length" {
				t.Errorf("%s: header %s = %q, want %q", c.name, name, a, b)
			}
		}
		if b.cookie(sessionCookie) != "" {
			t.Errorf("%s: a session", c.name)
		}
	}
}

// masked is the page without what differs by request: tokens, references, what was typed.
func (p *page) masked(typed string) string {
	for n := range p.doc.Descendants() {
		for i, a := range n.Attr {
			if a.Key == "value" && attr(n, "type") == "hidden" || a.Key == "value" && attr(n, "id") == "login-identifier" {
				n.Attr[i].Val = "masked"
			}
		}
	}
	var b strings.Builder
	if err := html.Render(&b, p.doc); err != nil {
		p.b.t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), p.header.Get("X-Request-Id"), "reference")
}

func TestSec_C1_NewSessionIDAtSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ana := s.user("ana@example.com")

	// An attacker's own valid session is planted before the victim signs in.
	attacker := s.browser("192.0.2.66")
	s.user("mallory@example.com")
	attacker.get("/login").signIn("mallory@example.com", goodPassword).expect("/account", http.StatusOK)
	planted := attacker.cookie(sessionCookie)
	victim := s.browser("192.0.2.1")
	victim.plant(sessionCookie, planted)
	p := victim.get("/test/start").expect("/login", http.StatusOK).signIn("ana@example.com", goodPassword)
	if !strings.HasSuffix(p.away, ana.ID) {
		t.Fatalf("ended at %s%s", p.url, p.away)
	}
	if victim.cookie(sessionCookie) == planted {
		t.Error("the planted session id survived the sign-in")
	}
	attacker.get("/account").expect("/login", http.StatusOK)

	// The same user again: a new id, and the old one is dead.
	old := victim.cookie(sessionCookie)
	victim.get("/test/start").signIn("ana@example.com", goodPassword)
	if victim.cookie(sessionCookie) == old {
		t.Error("the same id after a second sign-in")
	}
	thief := s.browser("192.0.2.66")
	thief.plant(sessionCookie, old)
	thief.get("/account").expect("/login", http.StatusOK)
	sessions, err := s.store.SessionsOf(t.Context(), ana.ID)
	must(t, err)
	if len(sessions) != 1 {
		t.Errorf("%d sessions, want 1", len(sessions))
	}
}

func TestSec_C8_NoReturnURLFromTheBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	for _, name := range []string{"next", "return", "return_to", "rd", "redirect", "redirect_uri", "url", "continue", "to"} {
		for _, evil := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/%09/evil.example", "javascript:alert(1)",
			"data:text/html,x", "https://localhost:8080@evil.example", "/\t/evil.example"} {
			q := "?" + url.Values{name: {evil}}.Encode()
			for _, path := range []string{"/login", "/logout", "/logged-out", "/", "/account", "/login/new-password"} {
				p := b.get(path + q)
				link := p.find(func(n *html.Node) bool {
					return strings.Contains(attr(n, "href")+attr(n, "action")+attr(n, "src")+attr(n, "content"), "evil.example")
				})
				if p.away != "" || link != nil {
					t.Fatalf("GET %s%s leads to %q, or a link of the page does", path, q, p.away)
				}
			}
		}
	}
	for _, evil := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "/\n/evil.example"} {
		pref := b.get("/").formTo("/preferences", "")
		pref.values.Set("back", evil)
		if p := pref.submit(); p.away != "" {
			t.Errorf("the choice of a language leads to %s", p.away)
		}
		f := b.get("/login").expect("/login", http.StatusOK).form("login-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword)
		f.action += "?" + url.Values{"next": {evil}, "return_to": {evil}}.Encode()
		f.values.Set("next", evil)
		f.submit().expect("/account", http.StatusOK)
		f = b.get("/logout").form("logout-form")
		f.action += "?" + url.Values{"next": {evil}, "post_logout_redirect_uri": {evil}}.Encode()
		f.submit().expect("/logged-out", http.StatusOK)
	}
}

// A flow belongs to the browser it began in: its address is worth nothing elsewhere (Dex CVE-2022-39222).
func TestSec_A7_FlowIsBoundToItsBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("victim@example.com")
	attacker, victim := s.browser("192.0.2.66"), s.browser("192.0.2.1")
	started := attacker.get("/test/start").expect("/login", http.StatusOK)
	carried := started.url.RequestURI()

	p := victim.get(carried).expect("/login", http.StatusBadRequest)
	if p.byID("error-page") == nil || !strings.Contains(p.body, "https://app.example/") {
		t.Errorf("no error page with a way to the application: %s", p.text())
	}
	if p.byID("error-restart") != nil || strings.Contains(p.body, "redirect_uri") {
		t.Error("another browser's request is offered or shown")
	}
	// The same with a flow cookie of their own, and by POST with a token of their own.
	f := victim.get("/test/start").form("login-form").set("login-identifier", "victim@example.com").set("login-password", goodPassword)
	victim.get(carried).expect("/login", http.StatusBadRequest)
	f.action = carried
	f.submit().expect("/login", http.StatusBadRequest)
	if got := s.arrivals(); len(got) != 0 {
		t.Errorf("a carried flow came to an end: %v", got)
	}
	if victim.cookie(sessionCookie) != "" {
		t.Error("the refused sign-in left a session")
	}
	for _, handle := range []string{"x", strings.Repeat("a", 26), "%00", strings.Repeat("z", 4000)} {
		if p := victim.get("/login?flow="+handle).expect("/login", http.StatusBadRequest); p.byID("error-page") == nil {
			t.Errorf("flow=%.20s: no error page", handle)
		}
	}
}

func TestFlow_ExpiredAndFinished(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	p := b.get("/test/start").expect("/login", http.StatusOK)
	if end := p.signIn("ana@example.com", goodPassword); end.away == "" {
		t.Fatalf("not at the application: %s", end.text())
	}
	// The back button, and the form sent again.
	back := b.get(p.url.RequestURI()).expect("/login", http.StatusBadRequest)
	if back.byID("error-page") == nil || !strings.Contains(back.body, "https://app.example/") {
		t.Errorf("no way back to the application: %s", back.text())
	}
	if n := back.byID("error-restart"); n != nil {
		t.Errorf("a finished flow offers its request again: %s", attr(n, "href"))
	}
	late := b.get("/test/start").expect("/login", http.StatusOK)
	f := late.form("login-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword)
	s.sleep(11 * time.Minute)
	gone := f.submit().expect("/login", http.StatusBadRequest)
	if gone.byID("error-page") == nil || !strings.Contains(gone.body, "https://app.example/") {
		t.Errorf("no way back to the application: %s", gone.text())
	}
	// "Start again" repeats the stored request, nothing the browser sent.
	if n := gone.byID("error-restart"); n == nil || !strings.HasPrefix(attr(n, "href"), "/oauth2/authorize?client_id=app&") {
		t.Errorf("no fresh start: %s", gone.body)
	}
	if n := len(s.arrivals()); n != 1 {
		t.Errorf("%d flows came to an end, want 1", n)
	}
}

// Interleaved tabs of one browser, with different people: each flow ends with who signed in in its own tab.
func TestSec_A23_TabsDoNotMix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	people := []*store.User{s.user("a@example.com"), s.user("b@example.com"), s.user("c@example.com")}
	b := s.browser("192.0.2.1")
	want := map[string]string{}
	var tabs []*page
	for range 9 {
		tabs = append(tabs, b.get("/test/start").expect("/login", http.StatusOK))
	}
	for i, tab := range tabs {
		u := people[i%len(people)]
		want[tab.url.Query().Get("flow")] = u.ID
		if p := tab.signIn(u.Email, goodPassword); !strings.HasSuffix(p.away, "code=for-"+u.ID) {
			t.Errorf("tab %d ended at %s%s: %s", i, p.url, p.away, p.text())
		}
	}
	for _, a := range s.arrivals() {
		if want[a.flow] != a.user {
			t.Errorf("flow %s ended with %s, want %s", a.flow, a.user, want[a.flow])
		}
	}
	if n := len(s.arrivals()); n != len(tabs) {
		t.Errorf("%d flows came to an end, want %d", n, len(tabs))
	}
}

// Every form of these pages is refused without its token, and from elsewhere, and nothing changes.
func TestSec_C4_FormsNeedTheirTokenAndOrigin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode, c.Registration = true, login.RegistrationOpen })
	u := s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	other := s.browser("192.0.2.2")
	other.get("/login").signIn("ana@example.com", goodPassword)
	b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	sessions, err := s.store.SessionsOf(t.Context(), u.ID)
	must(t, err)
	token := b.get("/logout").form("logout-form").values
	posts := map[string]url.Values{
		"/login":                           {"identifier": {"ana@example.com"}, "password": {goodPassword}},
		"/login/new-password":              {"password": {"another good one 12345"}},
		"/setup/x":                         {"email": {"x@example.com"}, "password": {goodPassword}},
		"/login/complete":                  {"email": {"x@example.com"}},
		"/login/complete/code":             {"code": {"123456"}},
		"/login/complete/resend":           {},
		"/logout":                          {},
		"/account/sessions/end":            {"id": {sessions[0].ID}},
		"/account/sessions/end-others":     {},
		"/account/apps/remove":             {"client_id": {"app"}},
		"/account/export":                  {},
		"/account/privileges/request":      {"privilege": {"developer"}},
		"/account/privileges/withdraw":     {"id": {"x"}},
		"/account/act":                     {"authority": {"x"}},
		"/account/act/stop":                {},
		"/account/authorities":             {"days": {"7"}},
		"/account/authorities/end":         {"id": {"x"}},
		"/authority/x":                     {},
		"/preferences":                     {"lang": {"de"}, "back": {"/"}},
		"/account/password":                {"password": {"another good one 12345"}},
		"/account/email":                   {"email": {"x@example.com"}},
		"/account/email/code":              {"code": {"123456"}},
		"/account/email/resend":            {},
		"/login/forgot":                    {"identifier": {"ana@example.com"}},
		"/login/reset/x":                   {"password": {"another good one 12345"}},
		"/login/undo/x":                    {},
		"/login/code":                      {"email": {"ana@example.com"}},
		"/login/code/enter":                {"code": {"123456"}},
		"/login/code/resend":               {},
		"/register":                        {"email": {"x@example.com"}, "password": {"another good one 12345"}},
		"/register/code":                   {"code": {"123456"}},
		"/register/resend":                 {},
		"/mfa":                             {"code": {"123456"}},
		"/mfa/recovery":                    {"code": {"aaaa-aaaa-aaaa-aaaa"}},
		"/mfa/enrol":                       {"code": {"123456"}},
		"/account/security/totp":           {"code": {"123456"}},
		"/account/security/recovery-codes": {},
		"/account/security/{id}/rename":    {"name": {"x"}},
		"/account/security/{id}/remove":    {},
	}
	seen := 0
	for _, route := range s.mux.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		if method != http.MethodPost {
			continue
		}
		path = strings.ReplaceAll(path, "{token}", "x")
		form, ok := posts[path]
		if !ok {
			t.Errorf("POST %s has no line in this test", path)
			continue
		}
		seen++
		with := url.Values{}
		for k, v := range form {
			with[k] = v
		}
		for k, v := range token {
			with[k] = v
		}
		for name, try := range map[string]struct {
			form   url.Values
			change func(*http.Request)
		}{
			"without a token": {form, nil},
			"from another site": {with, func(r *http.Request) {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				r.Header.Set("Origin", "https://evil.example")
			}},
			"from a sibling": {with, func(r *http.Request) {
				r.Header.Set("Sec-Fetch-Site", "same-site")
				r.Header.Set("Origin", "http://evil.localhost:8080")
			}},
			"from an old browser":    {with, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") }},
			"with the origin null":   {with, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }},
			"from a foreign session": {with, func(r *http.Request) { r.Header.Del("Cookie") }},
		} {
			if p := b.send(http.MethodPost, path, try.form, try.change); p.status != http.StatusForbidden {
				// Without cookies a signed-in route may send to the sign-in page instead; that changes nothing either.
				if name != "from a foreign session" || p.url.Path != "/login" || p.status != http.StatusOK {
					t.Errorf("POST %s %s: %d at %s, want 403", path, name, p.status, p.url.Path)
				}
			}
		}
	}
	if seen != len(posts) {
		t.Errorf("%d POST routes walked, want %d", seen, len(posts))
	}
	after, err := s.store.SessionsOf(t.Context(), u.ID)
	must(t, err)
	if len(after) != 2 {
		t.Errorf("%d sessions afterwards, want both", len(after))
	}
}

// plant puts a cookie into the browser as an attacker on a neighbouring origin would.
func (b *browser) plant(name, value string) {
	u, _ := url.Parse(issuer)
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

func (p *page) title() string {
	n := p.find(func(n *html.Node) bool { return n.Data == "title" })
	if n == nil || n.FirstChild == nil {
		return ""
	}
	return strings.TrimSpace(n.FirstChild.Data)
}

// Choosing a language works on every page, also where the sign-in page is shown to somebody signed in.
func TestPreferences(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	choose := func(p *page, lang string) *page {
		t.Helper()
		return p.formTo("/preferences", lang).submit()
	}
	p := choose(b.get("/login"), "de").expect("/login", http.StatusOK)
	if !strings.Contains(p.text(), "Anmelden") {
		t.Errorf("not German: %s", p.text())
	}
	p.signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	choose(b.get("/account"), "en").expect("/account", http.StatusOK)
	again := b.get("/test/start").expect("/login", http.StatusOK)
	p = choose(again, "de").expect("/login", http.StatusOK)
	if p.url.RequestURI() != again.url.RequestURI() {
		t.Errorf("came back to %s, want %s", p.url, again.url)
	}
}

// The languages an application asks for are those of the stored request.
func TestSignIn_LanguagesOfTheApplication(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.browser("192.0.2.1").get("/test/start?ui_locales=fr+de").expect("/login", http.StatusOK)
	if html := p.find(func(n *htmlNode) bool { return n.Data == "html" }); attr(html, "lang") != "de" {
		t.Errorf("lang = %q, want de", attr(html, "lang"))
	}
}

// What sign-in costs the database: the page one read, and nothing without a flow.
func TestSignIn_Statements(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	b.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	b.get("/logout").form("logout-form").submit()
	started := b.get("/test/start")
	for _, c := range []struct {
		name                        string
		do                          func() *page
		reads, writes, transactions int64
	}{
		{"home", func() *page { return b.get("/") }, 0, 0, 0},
		{"sign-in page", func() *page { return b.get("/login") }, 0, 0, 0},
		{"sign-in page of a flow", func() *page { return b.get(started.url.RequestURI()) }, 1, 0, 0},
		// flow, user, known device, its counter, password, whether there is a second factor; count the try; one transaction; the new session's user. The last write
		// is the test's own, which finishes the flow.
		{"sign-in", func() *page { return started.signIn("ana@example.com", goodPassword) }, 7, 7, 1},
		{"sign-out page", func() *page { return b.get("/logout") }, 2, 0, 0},
	} {
		before := s.store.Counts()
		c.do()
		after := s.store.Counts()
		got := store.Counts{Reads: after.Reads - before.Reads, Writes: after.Writes - before.Writes, Transactions: after.Transactions - before.Transactions}
		if want := (store.Counts{Reads: c.reads, Writes: c.writes, Transactions: c.transactions}); got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}
