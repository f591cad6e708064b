package templates

// peopleSamples are the pages about accounts.
func peopleSamples(admin func(current string) Admin, when string) []sample {
	person := &PersonPage{
		Admin: admin("users"), ID: "ada", Name: "Ada Lovelace", Edit: true, Status: true, Link: true, Erase: true, EndSessions: true, SeeSessions: true, SeeHistory: true, Version: 3,
		GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", Username: "ada", Locale: "en", Zoneinfo: "Europe/London", Organization: "Engines", Country: "GB",
		EmailVerified: true, Phone: "+442079460018", Created: when, LastLogin: when, Active: true, Password: true, MailLink: true, ConfirmText: "ada@example.com", Factors: []string{"Google"},
		Identities: []IdentityLine{{Provider: "Google", Subject: "1", Issuer: "https://accounts.google.com", Email: "ada@example.com", Trust: "verified", Evidence: []string{"password"}, Since: when, LastUsed: when, Quarantined: true}},
		Sessions:   []SessionLine{{ID: "s1", Device: "Firefox on Linux", IP: "192.0.2.1", Since: when, LastSeen: when}},
		Apps:       []AppLine{{ClientID: "crm", Name: "Ledger", Since: when, Scopes: []string{"openid"}}},
		History:    []HistoryLine{{when, "Grace Hopper", "user.edit", "fields: email"}, {when, "cli", "user.create", ""}}, MoreHistory: "/admin/users/ada/account?before=3#person-history",
		NewLink: "https://login.example.com/login/reset/x", NewLinkUntil: when, Leaving: when,
	}
	wrong := *person
	wrong.Now, wrong.Reason, wrong.Confirm = map[string]string{"given_name": "Augusta", "username": ""}, "x", "y"
	wrong.FormErrors = FormErrors{Form: "people.error_moved", Args: map[string]any{"Who": "Grace Hopper"}, Fields: map[string]string{"email": "people.error_taken", "reason": "admin.error_long", "confirm": "people.error_confirm"}}
	waits := &PersonPage{Admin: admin("users"), ID: "bob", Name: "Bob", Status: true, SeeSessions: true, SeeHistory: true, Disabled: when, Waiting: true, Created: when}
	closed := &PersonPage{Admin: admin("users"), ID: "bob", Name: "Bob", Status: true, Disabled: when, DisabledReason: "left <b>", Created: when}
	fresh := &NewPersonPage{Admin: admin("users"), Types: []Choice{{"100", "Google", false}}, Names: []string{"staff"}, Give: true, MayMail: true, MayLink: true, Mail: true}
	freshWrong := *fresh
	freshWrong.FormErrors = FormErrors{Fields: map[string]string{"email": "people.error_name_needed", "privileges": "admin.error_privileges", "type": "admin.error_type"}, Args: map[string]any{"Name": "nothing"}}
	leave := &LeavePage{Base: admin("").Base, Action: "/account/delete", CancelURL: "/account", ExportURL: "/account/export", ConfirmText: "ada@example.com", Days: 14}
	leaveWrong, left := *leave, *leave
	leaveWrong.FormErrors = FormErrors{Form: "admin.error_last_admin", Fields: map[string]string{"confirm": "people.error_confirm"}}
	left.Due = when
	return []sample{
		{"leave", leave, []string{"leave-title", "leave-form", "leave-confirm", "leave-go", "leave-cancel", "leave-export"}},
		{"leave_wrong", &leaveWrong, []string{"error-summary", "leave-confirm-error"}},
		{"leave_done", &left, []string{"leave-done-title", "leave-done", "leave-home"}},
		{"admin_person", person, []string{"person-title", "person-rights", "person-new-link", "person-leaving", "person-about", "person-edit", "person-form", "person-given_name", "person-save", "person-status", "disable-form",
			"person-reason", "person-disable", "person-link", "link-mail-form", "person-link-mail", "link-show-form", "person-link-show", "person-ways", "person-sessions", "person-apps", "person-end-access", "person-history",
			"person-history-more", "erase-form", "person-confirm", "person-erase-go"}},
		{"admin_person_wrong", &wrong, []string{"error-summary", "person-given_name-hint", "person-email-error", "person-reason-error", "person-confirm-error"}},
		{"admin_person_waits", waits, []string{"enable-form", "person-enable"}},
		{"admin_person_closed", closed, []string{"enable-form", "person-enable"}},
		{"admin_person_new", fresh, []string{"person-new-title", "person-new-form", "person-email", "person-privileges", "person-type", "person-mail", "person-create"}},
		{"admin_person_new_wrong", &freshWrong, []string{"error-summary", "person-email-error", "person-privileges-error", "person-type-error"}},
	}
}

func attended(a Admin) *AdminPage {
	p := &AdminPage{Admin: a}
	p.Attend("waiting", "warn", "/admin/users?state=waiting", "Count", 3)
	p.Attend("failed", "bad", "", "Count", 1)
	p.Harden("https", true)
	p.Harden("mail", false)
	return p
}
