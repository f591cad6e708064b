package templates

import "strings"

// Admin is what the pages of administration share; they embed it.
type Admin struct {
	Base
	Sections []AdminSection // those the person may see, in the order of the menu
	Done     string         // key of what was done a moment ago, "" = nothing
}

// AdminSection is an entry of their menu. Key is the name of the section.
type AdminSection struct {
	Key, URL string
	Current  bool
	Waiting  int // things that wait for a decision
}

// SectionLabel is its name.
func (p *Admin) SectionLabel(s AdminSection) string { return p.T("admin.section_" + s.Key) }

// SectionLead says what is done there.
func (p *Admin) SectionLead(s AdminSection) string { return p.T("admin.lead_" + s.Key) }

// DoneText is Done in the page's language.
func (p *Admin) DoneText() string { return p.T(p.Done) }

// PrivilegeName is a privilege as pages show it.
type PrivilegeName struct{ Name, Label string }

// Plain says whether the label says no more than the name.
func (p PrivilegeName) Plain() bool { return p.Label == "" || p.Label == p.Name }

// PrivilegeRow is one of a list. Source is built-in, config or admin.
type PrivilegeRow struct {
	PrivilegeName
	Description, Source string
	Includes            []string
	Holders             int64
}

// PrivilegesPage is /admin/privileges. Its form: GET with q, the beginning of a name.
type PrivilegesPage struct {
	Admin
	Query string
	List  []PrivilegeRow
	Total int    // of those that match
	More  string // the next page, "" = none
	Edit  bool   // the person may define some
}

func (*PrivilegesPage) file() string { return "admin_privileges.html" }

// SourceText says where a privilege is declared.
func (p *Admin) SourceText(source string) string {
	return p.T("admin.source_" + strings.ReplaceAll(source, "-", "_"))
}

// Search is the field of the list's form.
func (p *PrivilegesPage) Search() Input {
	return Input{ID: "privileges-q", Name: "q", Type: "search", Value: p.Query, Label: p.T("admin.privilege_search"), Plain: true, Optional: true}
}

// NewPrivilegePage is /admin/new-privilege. Its form: POST /admin/privileges with name, label, description, includes.
type NewPrivilegePage struct {
	Admin
	FormErrors
	Name, Text, Description, Includes string
	Names                             []string // to choose from, where there are not too many
}

func (*NewPrivilegePage) file() string { return "admin_privilege_new.html" }

// Inputs are the form's fields in order.
func (p *NewPrivilegePage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "privilege-name", Name: "name", Type: "text", Value: p.Name, Label: p.T("admin.privilege_name"), Hint: p.T("admin.privilege_name_hint"), Plain: true, Focus: !p.Failed()}, &p.FormErrors),
		p.input(Input{ID: "privilege-label", Name: "label", Type: "text", Value: p.Text, Label: p.T("admin.privilege_label"), Hint: p.T("admin.privilege_label_hint"), Optional: true}, &p.FormErrors),
		p.input(Input{ID: "privilege-description", Name: "description", Type: "text", Value: p.Description, Label: p.T("admin.privilege_description"), Optional: true}, &p.FormErrors),
		p.input(Input{ID: "privilege-includes", Name: "includes", Type: "text", Value: p.Includes, Label: p.T("admin.privilege_includes"), Hint: p.T("admin.privilege_includes_hint"), Plain: true, Optional: true}, &p.FormErrors),
	}
}

// Summary of what is wrong.
func (p *NewPrivilegePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, p.Inputs())
}

// PersonLine is somebody in a list.
type PersonLine struct {
	ID, Name, Second string
	Detail           string          // of this list: by what they hold something, what state they are in
	Marks            []PrivilegeName // what they were given
}

// Translation is a privilege's texts in a language.
type Translation struct{ Lang, Language, Label, Description string }

// PrivilegePage is /admin/privileges/{name}. Its forms: POST .../describe (label, description, and the same with _LANG), .../include (include), .../exclude
// (include), .../delete.
type PrivilegePage struct {
	Admin
	FormErrors
	PrivilegeName
	Description, Source string
	Client              string // whose role it is, "" = a general one
	Includes, Closure   []PrivilegeName
	IncludedBy          []PrivilegeName
	Permissions         []string
	UserTypes           []string
	Required, Visible   []string // clients
	Delegations         int
	Assigned, InEffect  int64
	People              []PersonLine
	MorePeople          string // the address of the next page of them, "" = these are the last
	Further             bool   // it is not the first page of them
	Requestable         bool   // people may ask for it
	Edit                bool   // may be changed here and now, by this person
	Declared            bool   // the configuration declares it
	Delete              bool   // and deleted
	Blocking            string
	Translations        []Translation
	Include             string // as it was typed
	Names               []string
}

func (*PrivilegePage) file() string { return "admin_privilege.html" }

// URL of the page.
func (p *PrivilegePage) URL() string { return "/admin/privileges/" + p.Name }

// SourceLine says where it is declared.
func (p *PrivilegePage) SourceLine() string { return p.SourceText(p.Source) }

// DescribeInputs are the fields of the form for texts.
func (p *PrivilegePage) DescribeInputs() []Input {
	in := []Input{
		p.input(Input{ID: "privilege-label", Name: "label", Type: "text", Value: p.PrivilegeName.Label, Label: p.T("admin.privilege_label"), Optional: true}, &p.FormErrors),
		p.input(Input{ID: "privilege-description", Name: "description", Type: "text", Value: p.Description, Label: p.T("admin.privilege_description"), Optional: true}, &p.FormErrors),
	}
	for _, t := range p.Translations {
		in = append(in,
			p.input(Input{ID: "privilege-label-" + t.Lang, Name: "label_" + t.Lang, Type: "text", Value: t.Label, Label: p.T("admin.privilege_label_in", "Language", t.Language), Optional: true}, &p.FormErrors),
			p.input(Input{ID: "privilege-description-" + t.Lang, Name: "description_" + t.Lang, Type: "text", Value: t.Description, Label: p.T("admin.privilege_description_in", "Language", t.Language), Optional: true}, &p.FormErrors))
	}
	return in
}

// IncludeInput is the field of the form that adds one.
func (p *PrivilegePage) IncludeInput() Input {
	return p.input(Input{ID: "privilege-include", List: "names", Name: "include", Type: "text", Value: p.Include, Label: p.T("admin.privilege_include"), Plain: true}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *PrivilegePage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, append(p.DescribeInputs(), p.IncludeInput()))
}

// ReviewPage answers a form whose change touches people: what it would do, before it is done. Its form posts Hidden to Action.
type ReviewPage struct {
	Admin
	What         string // include, exclude, delete, give, take or type
	Privilege    string
	Other        string // what is included, or the user type
	Person       string // the one person it touches; "" = Gain and Lose count people
	Gain, Lose   int
	Gained, Lost []string
	Clients      []string
	Moved        bool // it is another change than was seen before
	Danger       bool
	Action       string
	Hidden       []Pair
	CancelURL    string
}

func (*ReviewPage) file() string { return "admin_review.html" }

// Heading says what is to be done.
func (p *ReviewPage) Heading() []Run {
	return p.Rich("admin.review_"+p.What, "Privilege", p.Privilege, "Other", p.Other, "Person", p.Person)
}

// Confirm is the text of the button.
func (p *ReviewPage) Confirm() string {
	switch p.What {
	case "delete", "give", "take":
		return p.T("admin.confirm_" + p.What)
	}
	return p.T("admin.confirm_change")
}

// Nobody says whether no one gains or loses anything.
func (p *ReviewPage) Nobody() bool { return p.Gain+p.Lose == 0 }

// GainText and LoseText are the sentences before the lists.
func (p *ReviewPage) GainText() []Run { return p.effect("gain", p.Gain) }

// LoseText is the sentence before what is lost.
func (p *ReviewPage) LoseText() []Run { return p.effect("lose", p.Lose) }

func (p *ReviewPage) effect(what string, n int) []Run {
	if p.Person != "" {
		return p.Rich("admin.review_"+what+"_one", "Person", p.Person)
	}
	return p.Rich("admin.review_"+what, "Count", n)
}

// Matrix is a table of ticks. Mark is "", itself or through.
type Matrix struct {
	Columns []string
	Rows    []MatrixRow
}

// MatrixRow is one of its rows.
type MatrixRow struct {
	Name, Text string
	Marks      []string
}

// TypeRow is a user type.
type TypeRow struct {
	Value, Name, Text, Source string
	Privilege                 string
	ReadOnly                  bool
	Hidden                    []string
	People                    int64
}

// RightsPage is /admin/rights: user types, what they bring, and what privileges let people do.
type RightsPage struct {
	Admin
	UserTypes   []TypeRow
	Types       Matrix // privileges by user type
	Permissions Matrix // permissions by privilege
}

func (*RightsPage) file() string { return "admin_rights.html" }

// Table is a Matrix with what is said around it.
type Table struct {
	Matrix
	Label, Head string
}

// TypesTable and PermissionsTable are the two overviews.
func (p *RightsPage) TypesTable() Table {
	return Table{p.Types, p.T("admin.rights_types"), p.T("admin.privilege")}
}

// PermissionsTable is what privileges let people do.
func (p *RightsPage) PermissionsTable() Table {
	return Table{p.Permissions, p.T("admin.rights_permissions"), p.T("admin.permission")}
}

// HeldLine is a privilege that somebody holds, with why.
type HeldLine struct {
	PrivilegeName
	Why  []string
	Take bool // somebody gave it, and this reader may try to take it away
}

// HeldList is a list of what somebody holds, under a title, "" = that of the section.
type HeldList struct {
	Title string
	Lines []HeldLine
}

// HeldLists are what the person holds and, where there is any, what they were given and is not in force.
func (p *UserPage) HeldLists() []HeldList {
	lists := []HeldList{{Lines: p.Held}}
	if len(p.Coming) > 0 {
		lists = append(lists, HeldList{p.T("admin.coming"), p.Coming})
	}
	return lists
}

// UserPage is /admin/users/{id}. Its forms: POST .../give (privilege, reason, until), .../take (privilege), .../type (type), those of
// UserActing, GET /admin/explain.
type UserPage struct {
	Admin
	FormErrors
	ID, Name, Email, Username, Phone string
	Self                             bool
	Inactive                         bool
	Type                             string // value
	Types                            []Choice
	TypeText                         string
	ReadOnly                         bool
	Held                             []HeldLine
	Coming                           []HeldLine // not in force: not begun, or over
	Permissions                      []string
	Edit                             bool
	Explain                          bool
	ActAs                            UserActing
	ResetFactors, HasFactor          bool   // the reader may take the person's second factors; there are some
	ResetReason                      string // as typed
	Privilege, Reason, Until         string // as typed
	Names                            []string
}

func (*UserPage) file() string { return "admin_user.html" }

// URL of the page.
func (p *UserPage) URL() string { return "/admin/users/" + p.ID }

// Inputs of the form that gives.
func (p *UserPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "give-privilege", List: "names", Name: "privilege", Type: "text", Value: p.Privilege, Label: p.T("admin.give_privilege"), Plain: true}, &p.FormErrors),
		p.input(Input{ID: "give-reason", Name: "reason", Type: "text", Value: p.Reason, Label: p.T("admin.give_reason"), Hint: p.T("admin.give_reason_hint"), Optional: true}, &p.FormErrors),
		p.input(Input{ID: "give-until", Name: "until", Type: "date", Value: p.Until, Label: p.T("admin.give_until"), Hint: p.T("admin.give_until_hint"), Optional: true}, &p.FormErrors),
	}
}

// ResetInput is the field of the form that takes second factors.
func (p *UserPage) ResetInput() Input {
	return p.input(Input{ID: "reset-reason", Name: "reset_reason", Type: "text", Value: p.ResetReason, Label: p.T("admin.give_reason")}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *UserPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, append(p.Inputs(), p.ResetInput()))
}

// ExplainPage is /admin/explain. Its forms: GET with user, privilege, at; POST with token.
type ExplainPage struct {
	Admin
	FormErrors
	Subject, Privilege, At string // as typed; Subject is a person
	Token                  bool   // the answer is about a token
	Who                    string // whose rights these are, "" = nothing was asked
	WhoID                  string
	When                   string
	TokenLine              string // what is known of the token
	Held                   []HeldLine
	Not                    *NotHeld
	Names                  []string
	Preview                bool // the reader may preview tokens too
}

func (*ExplainPage) file() string { return "admin_explain.html" }

// NotHeld says why somebody does not hold a privilege, and who could change it.
type NotHeld struct {
	PrivilegeName
	Unknown  bool
	Lapsed   []string // why not any more, or not yet
	Through  []string // what could be given instead
	Grantors []PersonLine
}

// Inputs of the question about a person.
func (p *ExplainPage) Inputs() []Input {
	return []Input{
		p.input(Input{ID: "explain-user", Name: "user", Type: "text", Value: p.Subject, Label: p.T("admin.explain_user"), Plain: true, Focus: !p.Failed() && p.Who == ""}, &p.FormErrors),
		p.input(Input{ID: "explain-privilege", List: "names", Name: "privilege", Type: "text", Value: p.Privilege, Label: p.T("admin.explain_privilege"), Hint: p.T("admin.explain_privilege_hint"), Plain: true, Optional: true}, &p.FormErrors),
		p.input(Input{ID: "explain-at", Name: "at", Type: "datetime-local", Value: p.At, Label: p.T("admin.explain_at"), Hint: p.T("admin.explain_at_hint"), Optional: true}, &p.FormErrors),
	}
}

// TokenInput of the question about a token. It never comes back.
func (p *ExplainPage) TokenInput() Input {
	return p.input(Input{ID: "explain-token", Name: "token", Type: "text", Label: p.T("admin.explain_token"), Hint: p.T("admin.explain_token_hint"), Plain: true, Autocomplete: "off"}, &p.FormErrors)
}

// Summary of what is wrong.
func (p *ExplainPage) Summary() Summary {
	return p.summary("error-summary", &p.FormErrors, append(p.Inputs(), p.TokenInput()))
}
