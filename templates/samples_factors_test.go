package templates

// factorSamples are the pages of second factors.
func factorSamples(base, signedIn func() Base, app App, when string) []sample {
	wrong := FormErrors{Fields: map[string]string{"code": "mfa.error_wrong"}, Args: map[string]any{"Count": 4}}
	const uri = "otpauth://totp/Latchkey:ada@example.com?issuer=Latchkey&secret=GEZDGNBVGY3TQOJQ"
	return []sample{
		{"factor", &FactorPage{Base: base(), Action: "/mfa?flow=f", App: &app, RecoveryURL: "/mfa/recovery?flow=f", CancelURL: "/login?choose=1&flow=f"}, []string{"mfa-title", "mfa-form", "mfa-code", "mfa-submit", "mfa-use-recovery", "mfa-cancel"}},
		{"factor_wrong", &FactorPage{Base: base(), Action: "/mfa", CancelURL: "/login?choose=1", FormErrors: wrong}, []string{"mfa-form", "error-summary", "mfa-code-error"}},
		{"factor_wait_wrong", &FactorPage{Base: base(), Action: "/mfa", CancelURL: "/login?choose=1", FormErrors: FormErrors{Form: "mfa.error_wait", Args: map[string]any{"Minutes": 60}}}, []string{"mfa-form", "error-summary"}},
		{"factor_recovery", &RecoveryPage{Base: base(), Action: "/mfa/recovery", BackURL: "/mfa"}, []string{"mfa-recovery-title", "mfa-recovery-form", "mfa-recovery-code", "mfa-recovery-submit", "mfa-back"}},
		{"factor_recovery_wrong", &RecoveryPage{Base: base(), Action: "/mfa/recovery", BackURL: "/mfa", FormErrors: wrong}, []string{"mfa-recovery-form", "error-summary", "mfa-recovery-code-error"}},
		{"factor_enrol", &EnrolPage{Base: base(), Action: "/mfa/enrol", App: &app, Required: true, URL: uri, QR: "M4 4h7v1h-7z", QRSide: 29, Key: "GEZD GNBV GY3T QOJQ", CancelURL: "/login?choose=1"}, []string{"mfa-enrol-title", "mfa-qr", "mfa-key", "mfa-open", "mfa-form", "mfa-code", "mfa-name", "mfa-submit", "mfa-cancel"}},
		{"factor_enrol_wrong", &EnrolPage{Base: signedIn(), Action: "/account/security/totp", URL: uri, QR: "M4 4h7v1h-7z", QRSide: 29, Key: "GEZD GNBV", Name: "Phone", CancelURL: "/account/security",
			FormErrors: FormErrors{Fields: map[string]string{"code": "mfa.error_enrol", "name": "mfa.error_name"}}}, []string{"mfa-form", "error-summary", "mfa-code-error", "mfa-name-error"}},
		{"factor_both", &FactorPage{Base: base(), Action: "/mfa", OtherURL: "/mfa/ways", CancelURL: "/login?choose=1"}, []string{"mfa-form", "mfa-other"}},
		{"factor_enrol_both", &EnrolPage{Base: base(), Action: "/mfa/enrol", Required: true, URL: uri, QR: "M4 4h7v1h-7z", QRSide: 29, Key: "GEZD GNBV", SMSURL: "/mfa/enrol/sms", NeedsCode: true, CancelURL: "/login?choose=1"}, []string{"mfa-form", "mfa-use-sms", "mfa-enrolment-code"}},
		{"factor_sms", &SMSFactorPage{Base: base(), Action: "/mfa/sms", App: &app, Numbers: []SMSFactor{{"one", "Work", "•••• 89"}, {"two", "", "•••• 12"}}, OtherURL: "/mfa/ways", CancelURL: "/login?choose=1"},
			[]string{"mfa-sms-title", "send-one", "send-two", "mfa-other", "mfa-cancel"}},
		{"factor_sms_wrong", &SMSFactorPage{Base: base(), Action: "/mfa/sms", Numbers: []SMSFactor{{"one", "", "•••• 89"}}, RecoveryURL: "/mfa/recovery", CancelURL: "/account",
			FormErrors: FormErrors{Form: "phone.error_wait", Args: map[string]any{"Seconds": 21}}}, []string{"send-one", "error-summary", "mfa-use-recovery"}},
		{"factor_sms_code", &PhoneCodePage{Base: base(), Action: "/mfa/sms/code?join=j", ResendURL: "/mfa/sms/resend?join=j", Number: "•••• 89", Digits: 6, Minutes: 3, Known: true, CancelURL: "/mfa/ways", CancelText: "mfa.other_way"},
			[]string{"phone-code-form", "phone-code-lead", "phone-code-cancel"}},
		{"factor_number", &FactorNumberPage{PhonePage: PhonePage{Base: base(), Action: "/mfa/enrol/sms", Countries: []Country{{Region: "DE", Code: "+49"}, {Region: "AT", Code: "+43"}}, Country: "DE", CancelURL: "/login?choose=1"}, Required: true, AppURL: "/mfa/enrol"},
			[]string{"mfa-number-title", "mfa-number-form", "phone-country", "phone-number", "mfa-name", "mfa-number-submit", "mfa-use-app", "mfa-cancel"}},
		{"factor_number_wrong", &FactorNumberPage{PhonePage: PhonePage{Base: signedIn(), Action: "/account/security/sms", Countries: []Country{{Region: "DE", Code: "+49"}}, Number: "0151", CancelURL: "/account/security",
			FormErrors: FormErrors{Fields: map[string]string{"number": "phone.error_number", "name": "mfa.error_name"}}}}, []string{"mfa-number-form", "error-summary", "phone-number-error", "mfa-name-error"}},
		{"factor_ways", &FactorWaysPage{Base: base(), App: &app, Ways: []FactorWay{{"totp", "/mfa"}, {"sms", "/mfa/sms"}, {"recovery", "/mfa/recovery"}}, CancelURL: "/login?choose=1"},
			[]string{"mfa-ways-title", "mfa-way-totp", "mfa-way-sms", "mfa-way-recovery", "mfa-cancel"}},
		{"factor_codes", &CodesPage{Base: signedIn(), Codes: []string{"aaaa-bbbb-cccc-dddd", "eeee-ffff-gggg-hhhh"}, Service: "Latchkey", NextURL: "/account/security"}, []string{"mfa-codes-title", "mfa-codes", "mfa-codes-download", "mfa-codes-next"}},
		{"security", &SecurityPage{Base: signedIn(), Recent: true, MayAddApp: true, MayAddSMS: true, CodesLeft: 9, Factors: []FactorLine{{ID: "one", Kind: "totp", Name: "Phone", Since: when, LastUsed: when}, {ID: "two", Kind: "sms", Number: "+49 1512 3456789", Since: when}}}, []string{"security-title", "security-back", "security-factors", "security-add-app", "security-add-sms", "security-codes", "security-codes-renew", "name-one", "name-two"}},
		{"security_kept_wrong", &SecurityPage{Base: signedIn(), Recent: true, Required: true, CodesLeft: 1, Factors: []FactorLine{{ID: "one", Kind: "totp", Since: when, Kept: true}}, FormErrors: FormErrors{Form: "security.error_last"}}, []string{"security-required", "error-summary"}},
		{"security_old", &SecurityPage{Base: signedIn(), MayAddApp: true, ReauthURL: "/login?reauth=1"}, []string{"security-title", "security-old", "security-reauth"}},
	}
}
