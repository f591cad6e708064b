package templates

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
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
	acting := func() Base {
		b := signedIn()
		b.User.Represented = true
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

	login := LoginPage{Base: base(), Action: "/login?flow=f", App: &app, Methods: []Method{{ID: "google", Label: "Google", URL: "/login/start/google?flow=f", Icon: "google"}}}
	loginWrong := login
	loginWrong.Identifier, loginWrong.Remember = "ada@example.com", true
	loginWrong.FormErrors = FormErrors{Form: "login.error_locked", Args: map[string]any{"Minutes": 5}}
	loginMissing := LoginPage{Base: base(), Action: "/login", FormErrors: FormErrors{Fields: map[string]string{"identifier": "login.identifier_required", "password": "login.password_required"}}}
	loginMany := LoginPage{Base: base(), Action: "/login", Methods: []Method{
		{ID: "google", Label: "Google", URL: "/login/start/google", Icon: "google"},
		{ID: "facebook", Label: "Facebook", URL: "/login/start/facebook", Icon: "facebook", Down: true},
		{ID: "twitter", Label: "X", URL: "/login/start/twitter", Icon: "x"},
		{ID: "azure", Label: "Microsoft", URL: "/login/start/azure", Icon: "microsoft", Hint: "Work or school account"},
		{ID: "staff", Label: "Sunrise staff", URL: "/login/start/staff", Icon: "openid"},
		{ID: "club", Label: "The club", URL: "/login/start/club", Icon: "nobody-drew-it"},
	}}
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
	return append([]sample{
		{"home", &HomePage{Base: base(), SignInURL: "/login"}, contract("home-title", "home-sign-in")},
		{"home_signed_in", &HomePage{Base: signedIn(), SignInURL: "/login"}, contract("home-title", "home-account")},
		{"setup", &setup, contract("setup-title", "setup-form", "setup-submit", "setup-given-name", "setup-family-name", "setup-email", "setup-username", "setup-password")},
		{"setup_wrong", &setupWrong, contract("setup-form", "error-summary", "setup-email-error")},
		{"login", &login, append(contract("client-logo", "client-policy-uri", "client-tos-uri", "login-with-google", "login-remember"), loginIDs...)},
		{"login_wrong", &loginWrong, append(contract("login-error"), loginIDs...)},
		{"login_missing", &loginMissing, append(contract("login-error", "login-identifier-error", "login-password-error"), loginIDs...)},
		{"login_again", &loginAgain, loginIDs},
		{"login_many", &loginMany, append(contract("login-with-google", "login-with-facebook", "login-with-twitter", "login-with-azure", "login-with-staff", "login-with-club"), loginIDs...)},
		{"login_again_other", &LoginPage{Base: signedIn(), Action: "/login", Reauth: true, NoPassword: true, Methods: loginMany.Methods[:1]}, contract("login-title", "login-with-google")},
		{"login_closed", &LoginPage{Base: base(), Action: "/login?flow=f", App: &app, NoPassword: true}, contract("login-title", "login-closed")},
		{"new_password", &newPassword, contract("new-password-title", "new-password-form", "new-password-password", "new-password-submit")},
		{"new_password_wrong", &newPasswordWrong, contract("error-summary", "new-password-form")},
		{"consent", &consent, contract("consent-title", "consent-client-name", "scope-openid", "scope-email", "scope-calendar", "scope-offline_access", "consent-accept", "consent-deny", "client-logo", "consent-switch")},
		{"consent_plain", &ConsentPage{Base: base(), App: App{Name: "Files"}, Action: "/consent?flow=f", Scopes: []Scope{{Name: "openid"}}}, contract("consent-title", "consent-client-name", "scope-openid", "consent-accept", "consent-deny")},
		{"logout", &LogoutPage{Base: signedIn(), Action: "/logout", StayURL: "/account?tab=1", App: &app, Apps: []App{app, {Name: "Files"}}, Hidden: map[string]string{"state": "s", "hint": "h"}}, contract("logout-form", "logout-confirm", "logout-cancel")},
		{"logout_plain", &LogoutPage{Base: base(), Action: "/logout"}, contract("logout-form", "logout-confirm", "logout-cancel")},
		{"logged_out", &LoggedOutPage{Base: base(), App: &app, BackURL: "com.example.notes:/bye"}, contract("logout-done", "logout-back")},
		{"logged_out_frames", &LoggedOutPage{Base: base(), Next: "https://notes.example/bye", Frames: []string{"https://notes.example/out?iss=x&sid=y"}}, contract("logout-done", "logout-continue")},
		{"logged_out_plain", &LoggedOutPage{Base: base()}, contract("logout-done")},
		{"error", &ErrorPage{Base: base(), Status: 400, Code: "invalid_request", Key: "error.flow_expired", RestartURL: "/login", ReturnURL: app.HomeURL, ReturnName: app.Name}, contract("error-page", "error-code", "error-description", "error-restart", "error-return")},
		{"error_unknown_key", &ErrorPage{Base: base(), Status: 503, Code: "temporarily_unavailable", Key: "error.nobody_wrote_this"}, contract("error-page", "error-code", "error-description")},
		{"error_upstream", &ErrorPage{Base: base(), Status: 403, Code: "upstream_denied", Key: "error.upstream_denied", Args: map[string]any{"Provider": "Google"}, RetryURL: "/login/start/google?flow=f", RestartURL: "/login?choose=1&flow=f"}, contract("error-page", "error-code", "error-description", "error-retry", "error-restart")},
		{"account", &AccountPage{ExportURL: "/account/export", LeaveURL: "/account/delete",
			PhoneURL:       "/account/phone",
			ConnectionsURL: "/account/connections", PasswordURL: "/account/password", EmailURL: "/account/email", Done: "addr.done_password",
			AuthoritiesURL: "/account/authorities",
			Base:           signedIn(), Email: "ada@example.com", Username: "ada", Phone: "+442079460018", UserType: "member", LastLogin: when,
			Privileges: []PrivilegeLine{{"admin", "Administrator", "Given by the set-up."}, {"user", "", ""}},
			Sessions:   []SessionLine{{"this", "Firefox on Linux", "203.0.113.7", when, when, true}, {"other", "Safari on iPhone", "2001:db8::1", when, when, false}},
			Apps:       []AppLine{{"notes", "Sunrise Notes", when, []string{"openid", "calendar"}}},
		}, contract("account-title", "sign-out", "end-others", "account-privileges", "account-sessions", "account-apps", "account-connections", "account-authorities", "account-email-open", "account-password-open", "account-done", "account-phone")},
		{"account_empty", &AccountPage{Base: base(), EmailVerified: true, Email: "ada@example.com", Logouts: &Logouts{2, []string{"Notes"}, []string{"Maps"}}, Sessions: []SessionLine{{"this", "Firefox on Linux", "203.0.113.7", when, when, true}}}, contract("account-title", "sign-out")},
		{"form_post", &FormPostPage{Base: base(), Action: "https://notes.example.com/callback", Fields: []struct{ Name, Value string }{{"code", "c"}, {"state", "s"}}}, contract("form-post-response")},
		{"outbox", &OutboxPage{Base: base(), Messages: []OutboxMessage{{"mail", "ada@example.com", "Subject", "Line one\n\nLine two", when, "Waiting"}, {"sms", "+442079460018", "", "A text", when, ""}}}, contract("outbox-title")},
		{"outbox_empty", &OutboxPage{Base: base()}, contract("outbox-title")},
		{"link", &LinkPage{Base: base(), Action: "/login/link?join=j", Provider: "Google", Account: "ada@example.com", MayClaim: true, CancelURL: "/login?choose=1",
			Methods: []Method{{ID: "azure", Label: "Microsoft", URL: "/login/start/azure?join=j", Icon: "microsoft"}}}, contract("link-title", "link-form", "login-identifier", "login-password", "link-submit", "link-claim", "link-cancel", "link-with-azure")},
		{"link_wrong", &LinkPage{Base: base(), Action: "/login/link?join=j", Provider: "Google", Account: "ada@example.com", Identifier: "ada", CancelURL: "/login",
			FormErrors: FormErrors{Form: "login.error_wrong", Fields: map[string]string{"identifier": "login.identifier_required"}}}, contract("link-form", "error-summary", "login-identifier-error")},
		{"link_confirm", &LinkPage{Base: signedIn(), Action: "/login/link?join=j", Provider: "Google", Icon: "google", Account: "ada@example.net", Confirm: &Person{Name: "Ada Lovelace", Email: "ada@example.com"}, CancelURL: "/account/connections"}, contract("link-title", "link-there", "link-here", "link-form", "link-submit", "link-cancel")},
		{"link_other", &LinkPage{Base: base(), Action: "/login/link?join=j", App: &app, Provider: "Google", NoPassword: true, CancelURL: "/login"}, contract("link-title", "link-closed", "link-cancel")},
		{"complete", &CompletePage{Base: base(), Action: "/login/complete?join=j", Provider: "X", AskName: true, CancelURL: "/login?choose=1"}, contract("complete-cancel", "complete-title", "complete-form", "complete-email", "complete-given-name", "complete-family-name", "complete-submit")},
		{"complete_reported", &CompletePage{Base: base(), Action: "/login/complete?join=j", Provider: "Facebook", Reported: true, Email: "ada@example.com", CancelURL: "/login?choose=1"}, contract("complete-cancel", "complete-form", "complete-email", "complete-submit")},
		{"complete_name", &CompletePage{Base: base(), Action: "/login/complete?join=j", Provider: "X", AskName: true, NoEmail: true}, contract("complete-form", "complete-given-name", "complete-family-name", "complete-submit")},
		{"complete_wrong", &CompletePage{Base: base(), Action: "/login/complete?join=j", Provider: "X", Email: "ada@", FormErrors: FormErrors{Fields: map[string]string{"email": "profile.error_email"}}}, contract("complete-form", "error-summary", "complete-email-error")},
		{"complete_client", &CompletePage{Base: signedIn(), Action: "/login/complete?flow=f", App: &app}, contract("complete-title", "complete-form", "complete-email", "complete-submit")},
		{"code", &CodePage{Base: base(), Action: "/login/complete/code?join=j", ResendURL: "/login/complete/resend?join=j", Address: "ada@example.com", ChangeURL: "/login/complete?join=j", CancelURL: "/login?choose=1"}, contract("code-title", "code-form", "code-input", "code-submit", "code-resend", "code-change", "code-cancel")},
		{"code_wrong", &CodePage{Base: base(), Action: "/login/complete/code?join=j", ResendURL: "/login/complete/resend?join=j", Address: "ada@example.com", NoMore: true, ChangeURL: "/login/complete?join=j", FormErrors: FormErrors{Fields: map[string]string{"code": "code.error_wrong"}}}, contract("code-form", "error-summary", "code-input-error", "code-no-more")},
		{"code_soon_wrong", &CodePage{Base: base(), Action: "/login/complete/code?join=j", ResendURL: "/login/complete/resend?join=j", Address: "ada@example.com", ChangeURL: "/login/complete?join=j", FormErrors: FormErrors{Form: "code.error_wait", Args: map[string]any{"Seconds": 42}}}, contract("code-form", "error-summary", "code-resend")},
		{"connections", &ConnectionsPage{Base: signedIn(), Recent: true, Notice: "connections.error_last",
			Connections: []ConnectionLine{{ID: "one", Provider: "Google", Icon: "google", Account: "ada@example.com", Evidence: "Your account was made with it.", Since: when, LastUsed: when}, {ID: "two", Provider: "old", Since: when, Closed: true}, {ID: "three", Provider: "X", Icon: "x", Since: when, LastWay: true}},
			Available:   []Method{{ID: "azure", Label: "Microsoft", URL: "/account/connections/azure/link", Icon: "microsoft", Hint: "Work or school account", Down: true}},
		}, contract("connections-title", "connections-notice", "connections-back", "connections-linked", "connections-available", "connect-azure")},
		{"connections_old", &ConnectionsPage{Base: signedIn(), ReauthURL: "/login?reauth=1"}, contract("connections-title", "connections-old", "connections-reauth")},
		{"go", &GoPage{Base: signedIn(), Provider: "Google", URL: "https://accounts.google.com/o/oauth2/v2/auth?state=s"}, contract("go-title", "go-link")},
		{"go_sign_out", &GoPage{Base: base(), Provider: "Google", URL: "https://login.example.com/logout", SignOut: true}, contract("go-title", "go-link")},
		{"privileges", &AccountPrivilegesPage{Base: signedIn(), MaxReason: 500, Notice: "asking.error_held",
			Privileges: []PrivilegeLine{{"admin", "Administrator", "Given by the set-up."}, {"user", "", ""}},
			Available:  []AskLine{{"editor", "Editor", "Changes texts.", "/account/privileges?privilege=editor"}, {"crm:sales", "crm:sales", "", "/account/privileges?privilege=crm%3Asales"}},
			Open:       []RequestedLine{{ID: "one", Label: "Staff", Name: "staff", Reason: "For the fair", Asked: when, Ends: when}},
			Over: []RequestedLine{{ID: "two", Label: "Staff", Name: "staff", Note: "Until then.", Asked: when, Ends: when, Decided: when, State: "Approved", Good: true},
				{ID: "three", Label: "Staff", Name: "staff", Asked: when, Decided: when, State: "Refused"}},
		}, contract("privileges-title", "privileges-notice", "privileges-back", "privileges-held", "privileges-available", "privileges-open", "privileges-over")},
		{"privileges_chosen", &AccountPrivilegesPage{Base: signedIn(), MaxReason: 500, Reason: "<For> the fair",
			Chosen: &ChosenLine{AskLine{"editor", "Editor", "Changes texts.", ""}, []string{"Nobody gave it to you yet.", "It also comes with: Staff."}, "Bob Builder, Eve"},
		}, contract("privileges-chosen", "privileges-why-not", "request-form", "request-reason", "request-submit", "request-cancel")},
		{"privileges_wrong", &AccountPrivilegesPage{Base: signedIn(), MaxReason: 500, Chosen: &ChosenLine{AskLine: AskLine{Name: "editor", Label: "Editor"}},
			FormErrors: FormErrors{Fields: map[string]string{"reason": "asking.error_reason"}},
		}, contract("request-form", "error-summary", "request-reason-error")},
		{"privileges_read_only", &AccountPrivilegesPage{Base: signedIn(), ReadOnly: true, Open: []RequestedLine{{ID: "one", Label: "Staff", Name: "staff", Asked: when, Ends: when}}}, contract("privileges-title", "privileges-read-only")},
		{"deletion", &DeletionPage{Base: base(), Code: "the-code", Provider: "Facebook", At: when, Done: true}, contract("deletion-title", "deletion-state", "deletion-code")},
		{"deletion_received", &DeletionPage{Base: base(), Code: "the-code", Provider: "Facebook", At: when}, contract("deletion-title", "deletion-state")},
		{"authorities", &AuthoritiesPage{Base: signedIn(), Recent: true, Link: "https://id.example.com/authority/secret", Clients: []Choice{{Value: "notes", Label: "Sunrise Notes"}}, Lives: []Choice{{"7", "7 days", true}, {"1", "1 day", false}},
			Given: []AuthorityLine{{ID: "a", Person: "Grace Hopper", Reason: "Holidays", Until: when}, {ID: "b", App: "Sunrise Notes", Until: when, LinkUntil: when}},
			Taken: []AuthorityLine{{ID: "c", Person: "Alan Turing", App: "Sunrise Notes", Reason: "Holidays", Until: when}},
		}, contract("authorities-title", "authorities-back", "authority-new", "authority-link", "authorities-taken", "authorities-given", "act-c", "end-a", "end-b", "end-c", "authority-form", "authority-client", "authority-days", "authority-reason", "authority-submit")},
		{"authorities_wrong", &AuthoritiesPage{Base: signedIn(), Recent: true, Clients: []Choice{{Value: "notes", Label: "Sunrise Notes"}}, Reason: "x", FormErrors: FormErrors{Form: "acting.error_many", Fields: map[string]string{"client_id": "acting.error_client", "days": "acting.error_days", "reason": "acting.error_reason"}}}, contract("authority-form", "error-summary", "authority-client-error", "authority-days-error", "authority-reason-error")},
		{"authorities_old", &AuthoritiesPage{Base: signedIn(), Clients: []Choice{{Value: "notes", Label: "Sunrise Notes"}}, ReauthURL: "/login?reauth=1"}, contract("authorities-title", "authorities-old", "authorities-reauth")},
		{"authority", &AuthorityPage{Base: signedIn(), Action: "/authority/secret", Line: AuthorityLine{Person: "Alan Turing", App: "Sunrise Notes", Reason: "Holidays", Until: when}, CancelURL: "/account"}, contract("authority-title", "authority-take-form", "authority-take", "authority-cancel")},
		{"authority_own", &AuthorityPage{Base: signedIn(), Own: true, CancelURL: "/account"}, contract("authority-title", "authority-own", "authority-cancel")},
		{"acting", &ActingPage{Base: acting(), App: app, Key: "acting.only_client", Action: "/account/act/stop?flow=f", ReturnURL: "https://notes.example.com/callback?error=access_denied"}, contract("acting-page", "acting-banner", "acting-stop", "acting-oneself-form", "acting-oneself", "acting-return")},
		{"account_acting", &AccountPage{Base: acting(), Email: "ada@example.com", Apps: []AppLine{{"notes", "Sunrise Notes", when, []string{"openid"}}}}, contract("account-title", "acting-banner", "acting-stop", "account-apps")},
		{"login_no_password", &LoginPage{Base: base(), Action: "/login?flow=f", NoPassword: true, Methods: loginMany.Methods[:1]}, contract("login-title", "login-with-google")},
	}, slices.Concat(factorSamples(base, signedIn, app, when), addressSamples(base, signedIn, &app), adminSamples(signedIn, when), phoneSamples(base, signedIn, &app, when), passkeySamples(base, signedIn, app, when))...)
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
