package templates

// addressSamples are the pages of passwords and addresses.
func addressSamples(base, signedIn func() Base, app *App) []sample {
	ids := func(ids ...string) []string { return ids }
	wrong := func(field, key string, args map[string]any) FormErrors {
		return FormErrors{Args: args, Fields: map[string]string{field: key}}
	}
	return []sample{
		{"login_all", &LoginPage{Base: base(), Action: "/login?flow=f", App: app, CodeURL: "/login/code?flow=f", ForgotURL: "/login/forgot?flow=f", RegisterURL: "/register?flow=f", Done: "addr.done_reset"},
			ids("login-form", "login-forgot", "login-code", "login-register", "login-done")},
		{"login_code_only", &LoginPage{Base: base(), Action: "/login", NoPassword: true, CodeURL: "/login/code"}, ids("login-title", "login-code")},
		{"code_sign_in", &CodePage{Base: base(), Action: "/login/code/enter?join=j", ResendURL: "/login/code/resend?join=j", Address: "ada@example.com", SignIn: true, ChangeURL: "/login/code", CancelURL: "/login?choose=1"},
			ids("code-title", "code-form", "code-input", "code-submit", "code-resend", "code-change", "code-cancel")},
		{"account_password", &PasswordPage{Base: signedIn(), Action: "/account/password", Identifier: "ada@example.com", MinLength: 12, CancelURL: "/account"},
			ids("password-title", "password-form", "password-new", "password-submit", "password-cancel")},
		{"account_password_wrong", &PasswordPage{Base: signedIn(), Action: "/account/password", MinLength: 12, First: true, CancelURL: "/account", FormErrors: wrong("password", "password.needs_digits", map[string]any{"Min": 2})},
			ids("password-form", "error-summary", "password-new-error")},
		{"account_email", &EmailPage{Base: signedIn(), Action: "/account/email", Current: "ada@example.com", Verified: true, CancelURL: "/account"},
			ids("email-title", "email-form", "email-current", "email-new", "email-submit", "email-cancel")},
		{"account_email_wrong", &EmailPage{Base: signedIn(), Action: "/account/email", Current: "ada@example.com", Email: "ada@", CancelURL: "/account", FormErrors: wrong("email", "profile.error_email", nil)},
			ids("email-form", "error-summary", "email-new-error")},
		{"account_email_none", &EmailPage{Base: signedIn(), Action: "/account/email", CancelURL: "/account"}, ids("email-form")},
		{"undo", &UndoPage{Base: base(), Action: "/login/undo/token", Email: "ada@example.com"}, ids("undo-title", "undo-form", "undo-submit")},
		{"forgot", &ForgotPage{Base: base(), Action: "/login/forgot?flow=f", CancelURL: "/login?choose=1"}, ids("forgot-title", "forgot-form", "forgot-identifier", "forgot-submit", "forgot-cancel")},
		{"forgot_wrong", &ForgotPage{Base: base(), Action: "/login/forgot", CancelURL: "/login", Identifier: "ada", FormErrors: wrong("identifier", "login.identifier_required", nil)}, ids("forgot-form", "error-summary", "forgot-identifier-error")},
		{"forgot_sent", &ForgotSentPage{Base: base(), Minutes: 30, AgainURL: "/login/forgot", SignInURL: "/login"}, ids("forgot-sent-title", "forgot-sent-sign-in", "forgot-sent-again")},
		{"reset", &ResetPage{Base: base(), Action: "/login/reset/token?flow=f", Identifier: "ada@example.com", MinLength: 12}, ids("reset-title", "reset-form", "reset-password", "reset-submit")},
		{"reset_wrong", &ResetPage{Base: base(), Action: "/login/reset/token", MinLength: 12, FormErrors: wrong("password", "password.breached", nil)}, ids("reset-form", "error-summary", "reset-password-error")},
		{"register", &RegisterPage{Base: base(), Action: "/register?flow=f", App: app, MinLength: 12, SignInURL: "/login?choose=1"},
			ids("client-logo", "register-title", "register-form", "register-given-name", "register-family-name", "register-email", "register-password", "register-submit", "register-cancel")},
		{"register_wrong", &RegisterPage{Base: base(), Action: "/register", NoPassword: true, SignInURL: "/login", Email: "ada@example.net", GivenName: "Ada", FormErrors: wrong("email", "register.error_domain", nil)},
			ids("register-form", "error-summary", "register-email-error")},
		{"email_code", &EmailCodePage{Base: base(), Action: "/login/code?flow=f", App: app, CancelURL: "/login?choose=1"}, ids("client-logo", "email-code-title", "email-code-form", "email-code-email", "email-code-submit", "email-code-cancel")},
		{"email_code_wrong", &EmailCodePage{Base: base(), Action: "/login/code", Email: "ada@", CancelURL: "/login", FormErrors: wrong("email", "profile.error_email", nil)}, ids("email-code-form", "error-summary", "email-code-email-error")},
	}
}
