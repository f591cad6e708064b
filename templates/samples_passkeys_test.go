package templates

// passkeySamples are the pages of passkeys.
func passkeySamples(base, signedIn func() Base, app App, when string) []sample {
	const options = "/login/passkey/options?flow=f"
	login := &LoginPage{Base: base(), Action: "/login?flow=f", App: &app, PasskeyURL: "/login/passkey?flow=f", PasskeyOptions: options}
	only := &LoginPage{Base: base(), NoPassword: true, PasskeyURL: "/login/passkey", PasskeyOptions: options}
	lines := []PasskeyLine{
		{ID: "one", Name: "Phone", Since: when, LastUsed: when, Place: "synced"},
		{ID: "two", Since: when, Place: "syncs"},
		{ID: "three", Name: "Key on the ring", Since: when, Place: "device", Second: true, Kept: "security.kept"},
	}
	add := func(p PasskeysPage) *PasskeysPage {
		p.Base, p.Action, p.Options = signedIn(), "/account/passkeys", "/account/passkeys/options"
		return &p
	}
	return []sample{
		{"login_passkey", login, []string{"login-title", "login-form", "login-with-passkey", "login-with-passkey-form"}},
		{"login_passkey_only", only, []string{"login-title", "login-with-passkey", "login-passkey-missing"}},
		{"passkey", &PasskeyPage{Base: base(), Action: "/login/passkey?flow=f", Options: options, App: &app, BackURL: "/login?flow=f"}, []string{"passkey-title", "passkey-missing", "passkey-use", "passkey-use-said", "passkey-other"}},
		{"passkey_wrong", &PasskeyPage{Base: base(), Action: "/login/passkey", Options: options, BackURL: "/login", Gone: "AQID", RPID: "login.example.com", FormErrors: FormErrors{Form: "passkeys.error_gone"}}, []string{"passkey-use", "error-summary"}},
		{"passkey_second", &PasskeyPage{Base: base(), Action: "/mfa/passkey?flow=f", Options: "/mfa/passkey/options?flow=f", App: &app, Second: true, BackURL: "/mfa/recovery?flow=f", CancelURL: "/login?choose=1&flow=f"}, []string{"passkey-title", "passkey-use", "passkey-other", "passkey-cancel"}},
		{"passkeys", add(PasskeysPage{Recent: true, MayAdd: true, Passkeys: lines}), []string{"passkeys-title", "passkeys-back", "passkeys", "name-one", "passkeys-new", "passkeys-add", "passkey-name"}},
		{"passkeys_wrong", add(PasskeysPage{Recent: true, MayAdd: true, Name: "Phone", Passkeys: []PasskeyLine{{ID: "one", Since: when, Place: "device", Kept: "passkeys.kept_way"}},
			FormErrors: FormErrors{Form: "passkeys.error_last_way", Fields: map[string]string{"name": "mfa.error_name"}}}), []string{"passkeys", "error-summary", "passkey-name-error"}},
		{"passkeys_old", add(PasskeysPage{ReauthURL: "/login?reauth=1"}), []string{"passkeys-title", "passkeys-old", "passkeys-reauth", "passkeys-none"}},
		{"passkey_offer", &PasskeyOfferPage{Base: signedIn(), Action: "/login/offer-passkey?flow=f", Options: "/account/passkeys/options", LaterURL: "/login/offer-passkey/later?flow=f", App: &app}, []string{"offer-title", "passkey-create", "passkey-name", "offer-later"}},
		{"passkey_enrol", &PasskeyOfferPage{Base: base(), Required: true, NeedsCode: true, Action: "/mfa/enrol/passkey", Options: "/mfa/enrol/passkey/options", OtherURL: "/mfa/enrol", CancelURL: "/login?choose=1"}, []string{"offer-title", "mfa-enrolment-code", "passkey-create", "offer-other", "offer-cancel"}},
		{"passkey_offer_wrong", &PasskeyOfferPage{Base: signedIn(), Action: "/login/offer-passkey", Options: "/account/passkeys/options", LaterURL: "/login/offer-passkey/later", FormErrors: FormErrors{Form: "passkeys.error_old"}}, []string{"offer-title", "error-summary"}},
	}
}
