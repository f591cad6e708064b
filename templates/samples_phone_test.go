package templates

import (
	"strings"
	"testing"
)

// phoneSamples are the pages of sign-in by phone.
func phoneSamples(base, signedIn func() Base, app *App, when string) []sample {
	countries := []Country{{Region: "DE", Code: "+49"}, {Region: "AT", Code: "+43"}, {Region: "US", Code: "+1"}}
	ask := PhonePage{Base: base(), Action: "/login/phone?flow=f", App: app, Countries: countries, Country: "DE", CancelURL: "/login?choose=1&flow=f"}
	wrong := ask
	wrong.Number, wrong.Remember = "0151", true
	wrong.FormErrors = FormErrors{Fields: map[string]string{"number": "phone.error_number"}}
	late := ask
	late.Countries = countries[:1]
	late.FormErrors = FormErrors{Form: "phone.error_wait", Args: map[string]any{"Seconds": 21}}
	code := PhoneCodePage{Base: base(), Action: "/login/phone/code?join=j", ResendURL: "/login/phone/resend?join=j", Number: "+49 1512 3456789", Digits: 6, Minutes: 3,
		ChangeURL: "/login/phone", CancelURL: "/login?choose=1", CancelText: "phone.other"}
	codeWrong := code
	codeWrong.Notice = "phone.failed_opted_out"
	codeWrong.FormErrors = FormErrors{Fields: map[string]string{"code": "phone.error_wrong"}, Args: map[string]any{"Count": 1}}
	codeAccount := code
	codeAccount.Base, codeAccount.Known, codeAccount.CancelText = signedIn(), true, "phone.back"
	return []sample{
		{"phone", &ask, []string{"phone-title", "phone-form", "phone-country", "phone-number", "phone-remember", "phone-submit", "phone-cancel"}},
		{"phone_wrong", &wrong, []string{"phone-form", "error-summary", "phone-number-error"}},
		{"phone_soon_wrong", &late, []string{"phone-form", "error-summary"}},
		{"phone_account", &PhonePage{Base: signedIn(), Account: true, Action: "/account/phone", Countries: countries, Country: "DE", Current: "+49 1512 3456789", Proven: when,
			RemoveURL: "/account/phone/remove", Notice: "phone.saved", AdminNote: true, CancelURL: "/account"}, []string{"phone-notice", "phone-current", "phone-form", "phone-remove"}},
		{"phone_account_last", &PhonePage{Base: signedIn(), Account: true, Action: "/account/phone", Countries: countries[:1], Current: "+49 1512 3456789", LastWay: true, CancelURL: "/account"}, []string{"phone-last", "phone-form"}},
		{"phone_account_old", &PhonePage{Base: signedIn(), Account: true, Action: "/account/phone", ReauthURL: "/login?reauth=1", CancelURL: "/account"}, []string{"phone-old", "phone-reauth", "phone-cancel"}},
		{"phone_code", &code, []string{"phone-code-title", "phone-code-lead", "phone-code-form", "phone-code", "phone-code-submit", "phone-resend", "phone-change", "phone-code-cancel"}},
		{"phone_code_wrong", &codeWrong, []string{"phone-code-form", "phone-code-notice", "error-summary", "phone-code-error"}},
		{"phone_code_account", &codeAccount, []string{"phone-code-form", "phone-code-lead"}},
		{"phone_proof", &PhoneProofPage{Base: base(), Action: "/login/phone/proof", Number: "+49 1512 3456789", Why: "phone.why_old", NewURL: "/login/phone/new", OtherURL: "/login?choose=1",
			FactorURL: "/mfa", RecoveryURL: "/mfa/recovery", MailURL: "/login/phone/proof/mail"},
			[]string{"phone-proof-title", "phone-proof-lead", "phone-proof-form", "phone-password", "phone-proof-submit", "phone-proof-factor", "phone-proof-recovery", "phone-proof-mail", "phone-proof-other", "phone-new"}},
		{"phone_proof_code", &CodePage{Base: base(), Action: "/login/phone/proof/code", ResendURL: "/login/phone/proof/resend", SignIn: true, CancelURL: "/login/phone/proof"}, []string{"code-lead", "code-form", "code-resend", "code-cancel"}},
		{"phone_proof_wrong", &PhoneProofPage{Base: base(), Action: "/login/phone/proof", Number: "+49 1512 3456789", Why: "phone.why_admin", OtherURL: "/login?choose=1",
			FormErrors: FormErrors{Form: "login.error_wrong"}}, []string{"phone-proof-form", "error-summary"}},
	}
}

// TestSMS_OneSegment: in every language, however long the names are, with the code, the minutes and, where the host has room, the line for browsers (R190).
func TestSMS_OneSegment(t *testing.T) {
	t.Parallel()
	for _, app := range []string{"Latchkey", strings.Repeat("Wide Name ", 6), "Schöne Grüße GmbH", "Café Ñandú š", "日本語のサービス", "🔑🔑🔑", "Latch’key “App”", "{[~]}€"} {
		s, err := New(Options{AppName: app, Pseudo: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, lang := range s.Languages() {
			for _, host := range []string{"a.io", "login.example.com", strings.Repeat("long-label.", 20) + "example.com"} {
				for _, code := range []string{"012345", "01234567"} {
					text := s.SMS(lang, CodeSMS{Code: code, Minutes: 3, Host: host})
					pseudo := lang == "ar-XB" || lang == "en-XA" // longer than any language and outside GSM-7: for the pages
					if n := Segments(text); n != 1 && !pseudo {
						t.Errorf("%s, %s, %s: %d segments: %q", app, lang, host, n, text)
					}
					if !strings.Contains(text, code) || !pseudo && !strings.Contains(text, "3") || strings.Contains(text, "{{") || strings.Contains(text, "http") {
						t.Errorf("%s, %s: %q", app, lang, text)
					}
					if !pseudo && len(host) < 30 && !strings.HasSuffix(text, "\n\n@"+host+" #"+code) {
						t.Errorf("%s, %s: no line for browsers: %q", app, lang, text)
					}
				}
			}
			if text := s.NumberRemoved(lang); !strings.HasSuffix(lang, "-XA") && !strings.HasSuffix(lang, "-XB") && Segments(text) != 1 {
				t.Errorf("%s, %s: %q", app, lang, text)
			}
		}
	}
	s := newSet(t)
	if got, want := s.SMS("en", CodeSMS{Code: "123456", Minutes: 3, Host: "login.example.com"}),
		"123456 is your Latchkey code, good for 3 minutes. Don't share it with anyone.\n\n@login.example.com #123456"; got != want {
		t.Errorf("%q", got)
	}
	if got := s.SMS("de", CodeSMS{Code: "123456", Minutes: 1, Host: "a.de"}); got != "123456 ist Ihr Code für Latchkey und gilt 1 Minute. Geben Sie ihn niemandem.\n\n@a.de #123456" {
		t.Errorf("%q", got)
	}
}

func TestSegments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 1, strings.Repeat("a", 160): 1, strings.Repeat("a", 161): 2, strings.Repeat("a", 306): 2, strings.Repeat("a", 307): 3,
		strings.Repeat("€", 80): 1, strings.Repeat("€", 81): 2, strings.Repeat("ü@\n", 53): 1, "’" + strings.Repeat("a", 69): 1, "’" + strings.Repeat("a", 70): 2,
		strings.Repeat("🔑", 35): 1, strings.Repeat("🔑", 36): 2,
	} {
		if got := Segments(text); got != want {
			t.Errorf("%d segments, want %d: %.20s", got, want, text)
		}
	}
}
