package templates

// inviteSamples are the pages about invitations.
func inviteSamples(signedIn func() Base, admin func(current string) Admin, when string) []sample {
	base := signedIn()
	base.User = nil
	google := []Method{{ID: "google", Label: "Google", Icon: "google", URL: "/login/start/google"}}
	invited := &InvitedPage{Base: base, Action: "/invite", Email: "bob@example.com", MinLength: 12, Form: true, Methods: google}
	wrong := *invited
	wrong.FormErrors, wrong.GivenName = FormErrors{Form: "invite.error_taken", Fields: map[string]string{"password": "login.password_required"}}, "Bob"
	list := &InvitesPage{Admin: admin("invites"), New: true, More: "/admin/invites?after=six", List: []InviteLine{
		{ID: "one", Email: "bob@example.com", State: "proposed", By: "Ada Lovelace", Type: "Trainer", Brings: []string{"Staff", "helper"}, Message: "See <you>", When: when, Until: when, Decide: true, Revoke: true},
		{ID: "two", State: "approved", By: "Ada Lovelace", When: when, Until: when, Send: true, Revoke: true},
		{ID: "three", Email: "eve@example.com", State: "sent", By: "cli", When: when, Until: when, Mail: "failed", Send: true, Again: true, Revoke: true},
		{ID: "four", Email: "dan@example.com", State: "accepted", By: "cli", When: when, Withheld: []string{"Staff"}, Person: "dan"},
		{ID: "five", Email: "kim@example.com", State: "declined", By: "cli", When: when, Note: "No <b>"},
		{ID: "six", Email: "lea@example.com", State: "proposed", Half: true, By: "cli", When: when, Until: when, Mail: "waiting"}}}
	listWrong := *list
	listWrong.Wrong, listWrong.FormErrors = "one", FormErrors{Form: "invite.error_over", Fields: map[string]string{"note": "admin.error_long"}}
	listWrong.Results = []InviteResult{{"bob@example.com", "sent", ""}, {"", "link", "https://login.example.com/invite/x"}, {"x@example.com", "waiting", ""}, {"x@example.com", "known", ""}, {"x@example.com", "invited", ""},
		{"x@example.com", "limit", ""}, {"x", "address", ""}}
	var states []InviteLine
	for _, s := range []string{"opened", "expired", "revoked"} {
		states = append(states, InviteLine{ID: s, State: s, By: "cli", When: when})
	}
	fresh := &NewInvitePage{Admin: admin("invites"), MayMail: true, Days: "7", Type: "100", Types: []Choice{{"100", "Google", false}}, Clients: []Choice{{"crm", "Google", false}}, Names: []string{"staff"}}
	freshWrong := *fresh
	freshWrong.Emails, freshWrong.FormErrors = "x", FormErrors{Fields: map[string]string{"emails": "invite.error_addresses", "message": "invite.error_message", "client": "invite.error_client", "days": "invite.error_days",
		"type": "admin.error_type", "privileges": "admin.error_privileges"}, Args: map[string]any{"What": "x", "Name": "x"}}
	return []sample{
		{"invite", &InvitePage{Base: base, Action: "/invite/token", Who: "Ada <b>", Message: "See <you>", Email: "bob@example.com", Until: when, SignOutURL: "/logout"}, []string{"invite-title", "invite-message", "invite-for", "invite-form", "invite-go"}},
		{"invite_signed_in", &InvitePage{Base: base, Until: when, SignedIn: &Person{Name: "Ada"}, SignOutURL: "/logout"}, []string{"invite-signed-in", "invite-sign-out"}},
		{"invited", invited, []string{"invited-title", "invited-email", "invited-form", "invited-password", "invited-submit"}},
		{"invited_wrong", &wrong, []string{"error-summary", "invited-password-error"}},
		{"invited_link", &InvitedPage{Base: base, RegisterURL: "/register", Methods: google}, []string{"invited-register"}},
		{"invited_none", &InvitedPage{Base: base}, []string{"invited-none"}},
		{"invite_accepted", &InviteAcceptedPage{Base: base, App: "Ledger", AppURL: "https://crm.example.com/", AccountURL: "/account", Withheld: true, Who: "Ada"}, []string{"invite-accepted-title", "invite-withheld", "invite-app", "invite-account"}},
		{"invite_accepted_plain", &InviteAcceptedPage{Base: base, AccountURL: "/account", Withheld: true}, []string{"invite-withheld", "invite-account"}},
		{"admin_invites", list, []string{"invites-title", "invite-new", "invites-list", "invite-one", "state-one", "approve-form-one", "decline-form-one", "approve-one", "decline-one", "revoke-one", "send-two", "send-three", "withheld-four", "invites-more"}},
		{"admin_invites_wrong", &listWrong, []string{"error-summary", "note-one-error", "invites-results", "invite-link"}},
		{"admin_invites_over", &InvitesPage{Admin: admin("invites"), List: states}, []string{"state-opened", "state-expired", "state-revoked"}},
		{"admin_invites_none", &InvitesPage{Admin: admin("invites")}, []string{"invites-none"}},
		{"admin_invite_new", fresh, []string{"invite-new-title", "invite-new-form", "invite-emails", "invite-message", "invite-privileges", "invite-type", "invite-client", "invite-days", "invite-send"}},
		{"admin_invite_new_wrong", &freshWrong, []string{"error-summary", "invite-emails-error", "invite-message-error", "invite-client-error", "invite-days-error", "invite-type-error", "invite-privileges-error"}},
		{"admin_invite_new_link", &NewInvitePage{Admin: admin("invites"), Days: "7"}, []string{"invite-new-form", "invite-send"}},
	}
}
