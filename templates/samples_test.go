package templates

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// sample is a page filled for tests. want are the ids it must have, once each: those of the contract first.
type sample struct {
	name string
	page Page
	want []string
}

// newSet is a Set with everything on.
func newSet(t testing.TB) *Set {
	t.Helper()
	s, err := New(Options{AppName: "Latchkey", Accent: "#336699", Demo: true, Preferences: "/preferences", Pseudo: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request for path in a language.
func request(path, lang string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Language", lang)
	return r
}

// samples are all pages, most of them in more than one state.
func samples(s *Set, lang string) []sample {
	base := func() Base {
		b := s.Base(request("/some/path?flow=f", lang), "", "")
		b.FormToken, b.RequestID = "the-form-token", "the-request-id"
		return b
	}
	signedIn := func() Base {
		b := base()
		b.User = &Person{Name: "Ada Lovelace", Email: "ada@example.com"}
		return b
	}
	app := App{
		Name: "Sunrise Notes", LogoURL: "https://notes.example.com/logo.png", HomeURL: "https://notes.example.com/", PolicyURL: "https://notes.example.com/privacy",
		TOSURL: "https://notes.example.com/terms", Host: "notes.example.com",
	}
	at := time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC)
	b := base()
	when := b.When(at)

	setup := SetupPage{Base: base(), Action: "/setup/token", MinLength: 12}
	setupWrong := setup
	setupWrong.GivenName, setupWrong.Email = "Ada", "ada@"
	setupWrong.FormErrors = FormErrors{Form: "setup.error_taken", Fields: map[string]string{"email": "profile.error_email", "unknown": "profile.error_name"}}

	login := LoginPage{Base: base(), Action: "/login?flow=f", App: &app, Methods: []Method{{ID: "google", Label: "Google", URL: "/login/start/google?flow=f", Icon: "logo.svg"}}}
	loginWrong := login
	loginWrong.Identifier, loginWrong.Remember = "ada@example.com", true
	loginWrong.FormErrors = FormErrors{Form: "login.error_locked", Args: map[string]any{"Minutes": 5}}
	loginMissing := LoginPage{Base: base(), Action: "/login", FormErrors: FormErrors{Fields: map[string]string{"identifier": "login.identifier_required", "password": "login.password_required"}}}
	loginAgain := LoginPage{Base: signedIn(), Action: "/login?flow=f", App: &App{Name: "Files"}, Identifier: "ada@example.com", Reauth: true}

	newPassword := NewPasswordPage{Base: base(), Action: "/login/new-password", Identifier: "ada@example.com", MinLength: 1}
	newPasswordWrong := newPassword
	newPasswordWrong.FormErrors = FormErrors{Fields: map[string]string{"password": "login.password_required"}}

	consent := ConsentPage{
		Base: signedIn(), App: app, Action: "/consent?flow=f", Unverified: true, SwitchURL: "/login?flow=f",
		Scopes: []Scope{{Name: "openid"}, {Name: "email", Detail: "ada@example.com"}, {Name: "calendar", New: true, Optional: true}, {Name: "offline_access", Label: "A label", Detail: "detail", Optional: true}},
	}
	contract := func(ids ...string) []string { return ids }
	loginIDs := contract("login-title", "login-form", "login-identifier", "login-password", "login-submit")
	return []sample{
		{"home", &HomePage{Base: base(), SignInURL: "/login"}, contract("home-title", "home-sign-in")},
		{"home_signed_in", &HomePage{Base: signedIn(), SignInURL: "/login"}, contract("home-title", "home-account")},
		{"setup", &setup, contract("setup-title", "setup-form", "setup-submit", "setup-given-name", "setup-family-name", "setup-email", "setup-username", "setup-password")},
		{"setup_wrong", &setupWrong, contract("setup-form", "error-summary", "setup-email-error")},
		{"login", &login, append(contract("client-logo", "client-policy-uri", "client-tos-uri", "login-with-google", "login-remember"), loginIDs...)},
		{"login_wrong", &loginWrong, append(contract("login-error"), loginIDs...)},
		{"login_missing", &loginMissing, append(contract("login-error", "login-identifier-error", "login-password-error"), loginIDs...)},
		{"login_again", &loginAgain, loginIDs},
		{"new_password", &newPassword, contract("new-password-title", "new-password-form", "new-password-password", "new-password-submit")},
		{"new_password_wrong", &newPasswordWrong, contract("error-summary", "new-password-form")},
		{"consent", &consent, contract("consent-title", "consent-client-name", "scope-openid", "scope-email", "scope-calendar", "scope-offline_access", "consent-accept", "consent-deny", "client-logo", "consent-switch")},
		{"consent_plain", &ConsentPage{Base: base(), App: App{Name: "Files"}, Action: "/consent?flow=f", Scopes: []Scope{{Name: "openid"}}}, contract("consent-title", "consent-client-name", "scope-openid", "consent-accept", "consent-deny")},
		{"logout", &LogoutPage{Base: signedIn(), Action: "/logout", StayURL: "/account?tab=1", App: &app, Apps: []App{app, {Name: "Files"}}, Hidden: map[string]string{"state": "s", "hint": "h"}}, contract("logout-form", "logout-confirm", "logout-cancel")},
		{"logout_plain", &LogoutPage{Base: base(), Action: "/logout"}, contract("logout-form", "logout-confirm", "logout-cancel")},
		{"logged_out", &LoggedOutPage{Base: base(), App: &app, BackURL: "com.example.notes:/bye"}, contract("logout-done", "logout-back")},
		{"logged_out_plain", &LoggedOutPage{Base: base()}, contract("logout-done")},
		{"error", &ErrorPage{Base: base(), Status: 400, Code: "invalid_request", Key: "error.flow_expired", RestartURL: "/login", ReturnURL: app.HomeURL, ReturnName: app.Name}, contract("error-page", "error-code", "error-description", "error-restart", "error-return")},
		{"error_unknown_key", &ErrorPage{Base: base(), Status: 503, Code: "temporarily_unavailable", Key: "error.nobody_wrote_this"}, contract("error-page", "error-code", "error-description")},
		{"account", &AccountPage{
			Base: signedIn(), Email: "ada@example.com", Username: "ada", Phone: "+442079460018", UserType: "member", LastLogin: when,
			Privileges: []PrivilegeLine{{"admin", "Administrator", "Given by the set-up."}, {"user", "", ""}},
			Sessions:   []SessionLine{{"this", "Firefox on Linux", "203.0.113.7", when, when, true}, {"other", "Safari on iPhone", "2001:db8::1", when, when, false}},
			Apps:       []AppLine{{"notes", "Sunrise Notes", when, []string{"openid", "calendar"}}},
		}, contract("account-title", "sign-out", "end-others", "account-privileges", "account-sessions", "account-apps")},
		{"account_empty", &AccountPage{Base: base(), EmailVerified: true, Email: "ada@example.com", Sessions: []SessionLine{{"this", "Firefox on Linux", "203.0.113.7", when, when, true}}}, contract("account-title", "sign-out")},
		{"form_post", &FormPostPage{Base: base(), Action: "https://notes.example.com/callback", Fields: []struct{ Name, Value string }{{"code", "c"}, {"state", "s"}}}, contract("form-post-response")},
		{"outbox", &OutboxPage{Base: base(), Messages: []OutboxMessage{{"mail", "ada@example.com", "Subject", "Line one\n\nLine two", when, "Waiting"}, {"sms", "+442079460018", "", "A text", when, ""}}}, contract("outbox-title")},
		{"outbox_empty", &OutboxPage{Base: base()}, contract("outbox-title")},
	}
}

// render executes a page.
func render(t testing.TB, s *Set, p Page) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.execute(&buf, p); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
