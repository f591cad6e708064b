package templates

// adminSamples are the pages of administration.
func adminSamples(signedIn func() Base, when string) []sample {
	admin := func(current string) Admin {
		return Admin{Base: signedIn(), Sections: []AdminSection{
			{Key: "users", URL: "/admin/users", Current: current == "users"}, {Key: "invites", URL: "/admin/invites", Current: current == "invites", Waiting: 1}, {Key: "requests", URL: "/admin/privilege-requests", Current: current == "requests", Waiting: 2},
			{Key: "privileges", URL: "/admin/privileges", Current: current == "privileges"}, {Key: "explain", URL: "/admin/explain", Current: current == "explain"},
		}}
	}
	done := admin("privileges")
	done.Done = "admin.done_changed"
	menu := []string{"main", "admin-account", "menu-users", "menu-privileges", "menu-explain"}
	ids := func(more ...string) []string { return append(more, menu...) }
	staff, user := PrivilegeName{"staff", "Staff"}, PrivilegeName{"user", "user"}
	editable := &PrivilegePage{
		Admin: done, PrivilegeName: staff, Description: "Works here.", Source: "admin", Includes: []PrivilegeName{user}, Closure: []PrivilegeName{user, {"helper", ""}},
		IncludedBy: []PrivilegeName{{"chief", "Chief"}}, Permissions: []string{"invite_user"}, Assigned: 1, InEffect: 12,
		People: []PersonLine{{ID: "ada", Name: "Ada Lovelace", Detail: "chief"}}, MorePeople: "/admin/privileges/staff?after=ada#privilege-people", Requestable: true, Edit: true, Delete: true,
		Translations: []Translation{{"de", "Deutsch", "Personal", ""}}, Names: []string{"staff", "user"},
	}
	wrong := *editable
	wrong.Include, wrong.FormErrors = "nothing", FormErrors{Form: "admin.error_cycle", Fields: map[string]string{"include": "admin.error_privilege"}}
	person := &UserPage{
		Admin: admin("users"), ID: "ada", Name: "Ada Lovelace", Email: "ada@example.com", Username: "ada", Phone: "+442079460018", Type: "100",
		Types: []Choice{{"100", "User", true}, {"900", "Administrator", false}}, TypeText: "User", Permissions: []string{"Invite people"}, Edit: true, Explain: true,
		Held:   []HeldLine{{staff, []string{"Given by Grace Hopper on 5 March 2026."}, true}, {user, []string{"Comes with the user type User."}, false}},
		Coming: []HeldLine{{PrivilegeName{"chief", "Chief"}, []string{"It begins on 6 March 2026."}, true}}, Names: []string{"staff"},
	}
	personWrong := *person
	personWrong.Privilege, personWrong.FormErrors = "chef", FormErrors{Form: "admin.error_protected", Fields: map[string]string{"privilege": "admin.error_privilege", "until": "admin.error_date"}}
	self := *person
	self.Self, self.Inactive, self.ReadOnly = true, true, true
	acting := *person
	acting.Done = "admin.done_authority"
	acting.ActAs = UserActing{May: true, End: true,
		Given: []UserAuthority{{AuthorityLine{ID: "a1", Person: "Bob <b>Babbage", App: "Ledger", Reason: "Holidays", Until: when}, "bob", when, false}, {AuthorityLine{ID: "a2", Until: when, LinkUntil: when}, "", when, false}},
		Taken: []UserAuthority{{AuthorityLine{ID: "a3", Person: "Grace Hopper", Until: when}, "grace", when, true}}}
	seen := *person
	seen.Edit, seen.ActAs = false, UserActing{Taken: acting.ActAs.Taken}
	explain := &ExplainPage{
		Admin: admin("explain"), Subject: "ada", Privilege: "chief", Who: "Ada Lovelace", WhoID: "ada", When: when, Names: []string{"chief"},
		Not: &NotHeld{PrivilegeName: PrivilegeName{"chief", "Chief"}, Lapsed: []string{"Given by Grace Hopper. That is over."}, Through: []string{"boss"},
			Grantors: []PersonLine{{ID: "grace", Name: "Grace Hopper"}}},
	}
	b := signedIn()
	preview := &PreviewPage{Admin: admin("explain"), Subject: "ada", Client: "crm", Clients: []string{"crm"}, Connectors: []Choice{{"google", "Google", true}},
		Pasted: &PastedClaims{Claims: "{\n  \"sub\": \"1\"\n}", Client: "crm", Scope: "openid", Disowned: true},
		Result: &PreviewResult{Title: b.Rich("preview.answer", "Provider", "Google"),
			Steps: []PreviewStep{
				{Name: "claims", State: "good", Text: b.Rich("preview.trust_verified", "Provider", "Google"), Facts: []Pair{{b.T("preview.fact_subject"), "1"}, {b.T("preview.fact_email"), "ada@example.com"}}},
				{Name: "account", State: "ask", Text: b.Rich("preview.decision_prove"), Who: &PersonLine{ID: "ada", Name: "Ada Lovelace", Second: "ada@example.com"}, More: [][]Run{b.Rich("preview.after_proof"), b.Rich("preview.may_disown")}},
				{Name: "privileges", State: "bad", Text: b.Rich("preview.rules_admin", "Names", "admin")},
				{Name: "profile", State: "note", Text: b.Rich("preview.profile_same"), Who: &PersonLine{Name: "Grace"}},
			},
			Documents: []PreviewDocument{{"id_token", "{\n  \"sub\": \"ada\"\n}"}, {"access_token", "{}"}, {"userinfo", "{}"}, {"introspection", "{}"}}}}
	return append(append(peopleSamples(admin, when), inviteSamples(signedIn, admin, when)...), []sample{
		{"admin_quiet", &AdminPage{Admin: admin("")}, ids("admin-title")},
		{"admin", attended(admin("")), ids("admin-attention", "attend-0-waiting", "admin-hardening", "harden-https", "harden-mail", "admin-title", "admin-users", "admin-requests", "admin-privileges", "admin-explain")},
		{"admin_privileges", &PrivilegesPage{Admin: admin("privileges"), Query: "s", Edit: true, Total: 70, More: "/admin/privileges?after=staff&q=s",
			List: []PrivilegeRow{{staff, "Works here.", "admin", []string{"user"}, 1}, {user, "", "built-in", nil, 0}}},
			ids("privileges-title", "privileges-search", "privileges-q", "privileges-list", "privileges-more", "privilege-new", "privileges-rights")},
		{"admin_privileges_none", &PrivilegesPage{Admin: admin("privileges"), Query: "zz"}, ids("privileges-title", "privileges-search")},
		{"admin_privilege_new_wrong", &NewPrivilegePage{Admin: admin("privileges"), Name: "Staff", FormErrors: FormErrors{Fields: map[string]string{"name": "admin.error_name", "includes": "admin.error_privileges"}, Args: map[string]any{"Name": "nothing"}}},
			ids("privilege-new-title", "privilege-form", "privilege-name", "privilege-label", "privilege-description", "privilege-includes", "privilege-create", "error-summary", "privilege-name-error")},
		{"admin_privilege", editable, ids("privilege-title", "admin-done", "privilege-facts", "privilege-includes", "include-form", "privilege-include", "include-add", "describe-form", "privilege-label-de", "describe-save", "delete-form", "delete-review", "privilege-people")},
		{"admin_privilege_wrong", &wrong, ids("privilege-title", "error-summary", "privilege-include-error")},
		{"admin_privilege_declared", &PrivilegePage{Admin: admin("privileges"), PrivilegeName: PrivilegeName{"crm:editor", ""}, Source: "config", Client: "crm", Declared: true,
			UserTypes: []string{"100"}, Required: []string{"crm"}, Visible: []string{"crm"}, Delegations: 2}, ids("privilege-title", "privilege-declared", "privilege-facts")},
		{"admin_privilege_in_use", &PrivilegePage{Admin: admin("privileges"), PrivilegeName: staff, Source: "admin", Edit: true, Delete: true, Blocking: "clients that require it: crm"}, ids("privilege-title", "privilege-blocking")},
		{"admin_review", &ReviewPage{Admin: admin("privileges"), What: "include", Privilege: "chief", Other: "staff", Gain: 37, Gained: []string{"staff"}, Lose: 1, Lost: []string{"helper"}, Clients: []string{"crm", "notes"},
			Action: "/admin/privileges/chief/include", Hidden: []Pair{{"include", "staff"}, {"agreed", "f"}}, CancelURL: "/admin/privileges/chief"},
			ids("review-title", "review-effect", "review-form", "review-confirm", "review-cancel")},
		{"admin_review_person", &ReviewPage{Admin: admin("users"), What: "take", Privilege: "staff", Person: "Ada Lovelace", Lose: 1, Lost: []string{"staff"}, Moved: true, Danger: true, Action: "/admin/users/ada/take",
			CancelURL: "/admin/users/ada"}, ids("review-title", "review-moved", "review-confirm")},
		{"admin_review_nobody", &ReviewPage{Admin: admin("privileges"), What: "delete", Privilege: "staff", Action: "/admin/privileges/staff/delete", Danger: true, CancelURL: "/admin/privileges/staff"}, ids("review-title", "review-effect")},
		{"admin_requests_wrong", &RequestsPage{Admin: admin("requests"), Decide: true, Users: true, After: "zero", More: "/admin/privilege-requests?after=two", Wrong: "one",
			List: []RequestLine{
				{PrivilegeName: staff, ID: "one", Person: PersonLine{ID: "ada", Name: "Ada Lovelace", Second: "ada@example.com", Detail: "User"}, Gains: []string{"Helper", "user"}, Reason: "For the fair", Asked: when, Ends: when, Note: "<no>", Until: "2026-03-04"},
				{PrivilegeName: user, ID: "two", Person: PersonLine{ID: "bob", Name: "Bob"}, Asked: when, Ends: when}},
			FormErrors: FormErrors{Fields: map[string]string{"until": "admin.error_date", "decision": "asking.queue_choose"}}},
			ids("requests-title", "requests-list", "request-one", "approve-one", "refuse-one", "send-one", "decision-one-error", "note-one", "until-one", "until-one-error", "error-summary", "approve-two", "requests-more")},
		{"admin_requests", &RequestsPage{Admin: admin("requests"), Decide: true, List: []RequestLine{{PrivilegeName: staff, ID: "one", Person: PersonLine{ID: "ada", Name: "Ada Lovelace"}, Asked: when, Ends: when}}}, ids("requests-title", "form-one", "send-one")},
		{"admin_requests_see", &RequestsPage{Admin: admin("requests"), List: []RequestLine{{PrivilegeName: staff, ID: "one", Person: PersonLine{ID: "ada", Name: "Ada Lovelace"}, Asked: when, Ends: when}}}, ids("requests-title", "request-one")},
		{"admin_requests_none", &RequestsPage{Admin: admin("requests")}, ids("requests-title", "requests-none")},
		{"admin_rights", &RightsPage{Admin: admin("privileges"),
			UserTypes: []TypeRow{{Value: "000", Name: "anonymous", Text: "Anonymous", Source: "default", ReadOnly: true}, {Value: "100", Name: "user", Text: "User", Source: "config", Privilege: "user", Hidden: []string{"de"}, People: 3}},
			Types:     Matrix{[]string{"000 anonymous", "100 user"}, []MatrixRow{{"user", "", []string{"", "itself"}}, {"staff", "", []string{"", "through"}}}}, Permissions: Matrix{[]string{"staff"}, []MatrixRow{{"invite_user", "Invite people", []string{"itself"}}}}},
			ids("rights-title", "rights-types", "rights-privileges", "rights-permissions")},
		{"admin_users", &UsersPage{Admin: admin("users"), PeopleFilter: PeopleFilter{Query: "a", State: "active", Privilege: "staff"}, Create: true, Export: true, Types: []Choice{{"100", "Google", false}}, Ways: []Choice{{"google", "Google", false}}, Names: []string{"staff"},
			Chips: []Chip{{"Active", "/admin/users?q=a"}}, People: []PersonLine{{"ada", "Ada Lovelace", "ada@example.com", "User · not active", []PrivilegeName{staff}}, {"x", "x", "", "", nil}}, More: "/admin/users?after=x&q=a"}, ids("users-title", "users-search", "users-q", "users-list", "users-more", "users-filters", "users-state", "users-type", "users-way", "users-factor", "users-privilege", "users-chips", "users-export-form", "users-export", "user-new")},
		{"admin_users_none", &UsersPage{Admin: admin("users"), PeopleFilter: PeopleFilter{Query: "zz"}}, ids("users-title")},
		{"admin_user", person, ids("user-title", "user-about", "user-held", "user-give", "give-form", "give-privilege", "give-reason", "give-until", "give", "type-form", "type-100", "type-900", "type-set", "user-explain", "user-preview")},
		{"admin_user_wrong", &personWrong, ids("user-title", "error-summary", "give-privilege-error", "give-until-error")},
		{"admin_user_acting", &acting, ids("admin-done", "user-authorities", "user-given-title", "user-taken-title", "end-a1", "end-a2", "end-a3", "user-act", "act-form", "act-reason", "act")},
		{"admin_user_seen", &seen, ids("user-authorities", "user-taken-title")},
		{"admin_user_self", &self, ids("user-title", "user-self")},
		{"admin_explain", &ExplainPage{Admin: admin("explain")}, ids("explain-title", "explain-form", "explain-user", "explain-privilege", "explain-at", "explain-go", "token-form", "explain-token", "token-go", "explain-preview")},
		{"admin_explain_not", explain, ids("explain-title", "explain-answer", "explain-not")},
		{"admin_explain_token", &ExplainPage{Admin: admin("explain"), Token: true, Who: "Ada Lovelace", WhoID: "ada", When: when, TokenLine: "Made for crm.", Held: person.Held}, ids("explain-answer", "explain-token-line")},
		{"admin_explain_wrong", &ExplainPage{Admin: admin("explain"), Subject: "nobody", FormErrors: FormErrors{Fields: map[string]string{"user": "admin.error_person"}}}, ids("error-summary", "explain-user-error")},
		{"admin_explain_undefined", &ExplainPage{Admin: admin("explain"), Subject: "ada", Privilege: "chef", Who: "Ada Lovelace", WhoID: "ada", When: when, Not: &NotHeld{PrivilegeName: PrivilegeName{"chef", ""}, Unknown: true}}, ids("explain-not")},
		{"admin_preview", preview, ids("preview-title", "preview-answer", "preview-steps", "preview-step-claims", "preview-step-account", "preview-who", "preview-id_token", "preview-access_token", "preview-userinfo",
			"preview-introspection", "preview-id_token-text", "preview-form", "preview-user", "preview-client", "preview-scope", "preview-go", "claims-form", "claims-connector", "claims-text", "claims-disowned", "claims-client", "claims-scope", "claims-go")},
		{"admin_preview_wrong", &PreviewPage{Admin: admin("explain"), Client: "nothing", FormErrors: FormErrors{Fields: map[string]string{"client": "admin.error_client"}}}, ids("preview-title", "error-summary", "preview-client-error")},
		{"admin_preview_claims_wrong", &PreviewPage{Admin: admin("explain"), Pasted: &PastedClaims{Claims: "{\"sub\":\n</textarea>", Client: "crm"}, Connectors: []Choice{{"google", "Google", true}},
			FormErrors: FormErrors{Fields: map[string]string{"claims": "preview.document_no_json"}, Args: map[string]any{"Line": "2", "Character": "1"}}}, ids("error-summary", "claims-text-error")},
	}...)
}
