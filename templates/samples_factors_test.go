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
		{"factor_codes", &CodesPage{Base: signedIn(), Codes: []string{"aaaa-bbbb-cccc-dddd", "eeee-ffff-gggg-hhhh"}, Service: "Latchkey", NextURL: "/account/security"}, []string{"mfa-codes-title", "mfa-codes", "mfa-codes-download", "mfa-codes-next"}},
		{"security", &SecurityPage{Base: signedIn(), Recent: true, MayAdd: true, CodesLeft: 9, Factors: []FactorLine{{ID: "one", Kind: "totp", Name: "Phone", Since: when, LastUsed: when}, {ID: "two", Kind: "totp", Since: when}}}, []string{"security-title", "security-back", "security-factors", "security-add-app", "security-codes", "security-codes-renew", "name-one", "name-two"}},
		{"security_kept_wrong", &SecurityPage{Base: signedIn(), Recent: true, Required: true, CodesLeft: 1, Factors: []FactorLine{{ID: "one", Kind: "totp", Since: when, Kept: true}}, FormErrors: FormErrors{Form: "security.error_last"}}, []string{"security-required", "error-summary"}},
		{"security_old", &SecurityPage{Base: signedIn(), MayAdd: true, ReauthURL: "/login?reauth=1"}, []string{"security-title", "security-old", "security-reauth"}},
	}
}
