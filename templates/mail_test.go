package templates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// mailSet is a service with a name and an address of its own (R138).
func mailSet(t *testing.T, issuer string) *Set {
	t.Helper()
	s, err := New(Options{AppName: "MyDocassemble", Issuer: issuer, Pseudo: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var mails = map[string]Mail{
	"texts_alarm":      TextAlarmMail{What: TextsAlarm, PerDay: "20 EUR"},
	"texts_stopped":    TextAlarmMail{What: TextsStopped, PerDay: "20 EUR"},
	"texts_paused":     TextAlarmMail{What: TextsPaused, PerDay: "20 EUR"},
	"phone_set":        PhoneMail{Change: "set", AccountPath: "/account"},
	"phone_removed":    PhoneMail{Change: "removed", AccountPath: "/account"},
	"phone_lost":       PhoneMail{Change: "lost", AccountPath: "/account"},
	"code":             CodeMail{Code: "012345", Minutes: 10},
	"code_sign_in":     CodeMail{Code: "012345", Minutes: 10, SignIn: true},
	"forgot":           ForgotMail{Path: "/login/reset/token?flow=f", Minutes: 30},
	"no_password":      NoPasswordMail{SignInPath: "/login"},
	"password_changed": PasswordChangedMail{At: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC), ForgotPath: "/login/forgot"},
	"password_plain":   PasswordChangedMail{At: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC)},
	"email_changed":    EmailChangedMail{At: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC), UndoPath: "/login/undo/token", Days: 7},
	"email_plain":      EmailChangedMail{At: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC)},
	"taken":            TakenMail{AccountPath: "/account/connections"},
	"request": RequestMail{Who: "Ada Lovelace (ada@example.com)", Reason: "For the fair\n\n-- MyDocassemble\nhttps://evil.example <b>",
		Until: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC), Path: "/admin/privilege-requests"},
	"request_plain": RequestMail{Who: "ada", Until: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC), Path: "/admin/privilege-requests"},
	"decision_approved": DecisionMail{Approved: true, Asked: time.Date(2026, time.March, 1, 9, 30, 0, 0, time.UTC),
		Until: time.Date(2026, time.April, 5, 0, 0, 0, 0, time.UTC), Note: "Until the fair.", Path: "/account/privileges"},
	"decision_refused":       DecisionMail{Asked: time.Date(2026, time.March, 1, 9, 30, 0, 0, time.UTC), Path: "/account/privileges"},
	"authority":              AuthorityMail{Who: "Bob\nBabbage", Where: "Ledger <b>", Until: time.Date(2026, time.April, 5, 14, 2, 0, 0, time.UTC), Path: "/account/authorities"},
	"authority_everywhere":   AuthorityMail{Who: "Bob Babbage", Until: time.Date(2026, time.April, 5, 14, 2, 0, 0, time.UTC), Path: "/account/authorities"},
	"acted_for":              ActedForMail{Who: "Grace Hopper", At: time.Date(2026, time.March, 5, 14, 2, 0, 0, time.UTC), Reason: "Asked by telephone\n\nhttps://evil.example <b>"},
	"factor_added":           FactorMail{What: FactorAdded, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_removed":         FactorMail{What: FactorRemoved, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_codes":           FactorMail{What: FactorCodes, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_code_used":       FactorMail{What: FactorCodeUsed, Left: 1, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_passkey_added":   FactorMail{What: FactorPasskeyAdded, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_passkey_removed": FactorMail{What: FactorPasskeyRemoved, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_copied":          FactorMail{What: FactorCopied, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"factor_reset":           FactorMail{What: FactorReset, At: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), Path: "/account/security"},
	"idle":                   IdleMail{Since: time.Date(2025, 3, 4, 5, 6, 0, 0, time.UTC), Due: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), SignInPath: "/login"},
	"first_password":         FirstPasswordMail{Path: "/login/reset/token", Days: 7},
	"leaving":                LeavingMail{Due: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), SignInPath: "/login"},
	"invite":                 InviteMail{Who: "Ada\r\nBcc: eve@example.com", Message: "See you there\n\n-- MyDocassemble\nhttps://evil.example <b>", Path: "/invite/token", Days: 7},
	"invite_plain":           InviteMail{Path: "/invite/token", Days: 1},
	"invite_approved":        InviteDecidedMail{Approved: true, Email: "bob@example.com", Path: "/admin/invites"},
	"invite_approved_link":   InviteDecidedMail{Approved: true, Path: "/admin/invites"},
	"invite_declined":        InviteDecidedMail{Email: "bob@example.com", Note: "He left <b>", Path: "/admin/invites"},
	"invite_accepted":        InviteAcceptedMail{Who: "Bob Babbage", Withheld: true, Path: "/admin/invites"},
}

// TestMail_Golden: every mail in each language, text and HTML (R187, R188).
func TestMail_Golden(t *testing.T) {
	t.Parallel()
	s := mailSet(t, "https://login.example.com")
	for name, m := range mails {
		for _, lang := range []string{"en", "de"} {
			out, err := s.Mail(lang, m)
			if err != nil {
				t.Fatal(err)
			}
			got := "Subject: " + out.Subject + "\n\n" + out.Text + "\n==== HTML ====\n" + out.HTML
			file := filepath.Join("testdata", "mail", name+"."+lang+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (go test ./templates -update writes it anew)%s", file, firstDifference([]byte(got), want))
			}
		}
	}
}

// TestMail_Shape: what every mail keeps, whatever it says.
func TestMail_Shape(t *testing.T) {
	t.Parallel()
	const issuer = "https://login.example.com"
	s := mailSet(t, issuer)
	for name, m := range mails {
		for _, lang := range s.Languages() {
			out, err := s.Mail(lang, m)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out.Subject, "MyDocassemble - ") || strings.ContainsAny(out.Subject, "\r\n") || strings.Contains(out.Subject, "012345") {
				t.Errorf("%s %s: subject %q", name, lang, out.Subject)
			}
			if !strings.HasSuffix(out.Text, "\n-- MyDocassemble\n") || strings.Contains(out.Text, "{{") || strings.Contains(out.Text, "&") || strings.Contains(out.Text, "mail.") && !strings.Contains(out.Text, "mail. ") {
				t.Errorf("%s %s: text %q", name, lang, out.Text)
			}
			doc, err := html.Parse(strings.NewReader(out.HTML))
			if err != nil {
				t.Fatal(err)
			}
			for n := range doc.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				switch {
				case n.Data == "html" && (attr(n, "lang") != lang || attr(n, "dir") == ""):
					t.Errorf("%s %s: %v", name, lang, n.Attr)
				case n.Data == "img", n.Data == "script", n.Data == "link", n.Data == "table", n.Data == "form":
					t.Errorf("%s %s: a %s", name, lang, n.Data) // nothing is loaded, so nobody sees who reads (R189)
				case n.Data == "a" && !strings.HasPrefix(attr(n, "href"), issuer+"/"):
					t.Errorf("%s %s: a link to %s", name, lang, attr(n, "href"))
				case strings.Contains(attr(n, "style"), "color"): // theirs, so that it can be read in the dark
					t.Errorf("%s %s: a colour: %s", name, lang, attr(n, "style"))
				}
			}
			// Both parts say the same.
			for _, line := range strings.Split(strings.TrimSpace(out.Text), "\n") {
				if line = strings.TrimSpace(line); line != "" && !strings.Contains(html.UnescapeString(out.HTML), line) {
					t.Errorf("%s %s: %q is not in the HTML", name, lang, line)
				}
			}
		}
	}
}

// TestMail_Links: from the issuer or not at all (R189).
func TestMail_Links(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "//evil.example", "https://evil.example/", "/\\evil.example", "account"} {
		if out, err := mailSet(t, "https://login.example.com").Mail("en", TakenMail{AccountPath: path}); err == nil {
			t.Errorf("%q: %q", path, out.Text)
		}
	}
	if _, err := mailSet(t, "").Mail("en", TakenMail{AccountPath: "/account"}); err == nil {
		t.Error("a link without an issuer")
	}
}
