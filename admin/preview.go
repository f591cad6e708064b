package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Preview is what an application would get.
type Preview struct {
	WayIn    string     // by which the person is taken to come: password or a connector
	WaysIn   []string   // those that the application takes; none = all
	Step     string     // issue or consent; login = the application does not take WayIn; owes = something is asked for first
	Factor   bool       // a second factor is shown, or added, before the tokens
	Refused  string     // an OAuth error instead of tokens
	Required string     // the application's requirement in words
	Unmet    [][]string // groups of which the person holds no member
	Consent  string     // not_needed, remembered or asked

	NewScopes []string // with asked: those that the person has not agreed to before
	Scope     []string
	// The documents as the application would get them, nil = none.
	IDToken, AccessToken, UserInfo, Introspection map[string]any
}

// Claims are what somebody takes a connector to say of a person. Nobody vouches for them.
type Claims struct {
	Connector string
	Document  []byte
	Disowned  bool   // the person says that the account which has the address is not theirs
	ClientID  string // the application they come from, "" = none
	Scope     []string
}

// Arrival is what a sign-in through a connector would lead to.
type Arrival struct {
	Label string // of the connector
	// The person as the connector describes them; without a Subject the claims were not taken.
	Subject, Issuer, Name, Given, Family, Username string
	Email, EmailTrust                              string // none, reported, verified or authoritative

	Decision         string // enter, create, await, claim, join, prove, address or refuse
	Key              string // of the text that says it, with Args; of a refusal, the page's
	Args             map[string]any
	Code, Detail     string // of a refusal: as on the page, and as in the log
	Alert, MayDisown bool   // administrators would be told; the person may say that the account is not theirs
	UserID, Holder   string // who would be signed in, and whose account has the address
	New              bool   // there is no such account yet

	Registration, Link string // the policies as they apply
	Domains            []string
	DomainFits         bool

	Filled []Fact // what the profile would gain
	// Privileges that the connector's rules match, would give and end; that they do not give as they would make an administrator; that they may not.
	RulesMatch, RulesGive, RulesEnd, RulesAdmin, RulesRefused []string

	Owes    []string // what comes before the session, in this order: factor, new_password, enrolment (of a factor)
	Proof   string   // with prove: the method after which all that follows is; "" = nothing follows
	WayIn   string   // of the session
	AMR     []string // nil = there is none
	ACR     string
	Preview *Preview // nil = no application was named, or nobody would be signed in
}

// Fact is something an account says.
type Fact struct{ Field, Value string }

// FieldError is why there is no answer: Key is the text about Field.
type FieldError struct {
	Field, Key string
	Args       map[string]any
}

func (e *FieldError) Error() string { return "admin: " + e.Field + ": " + e.Key }

// preview is GET /admin/preview: a sign-in on paper. It writes nothing, so it needs no form of its own kind.
func (a *Admin) preview(w http.ResponseWriter, r *http.Request) (err error) {
	p := &templates.PreviewPage{Subject: query(r, "user"), Client: query(r, "client"), Scope: query(r, "scope")}
	status := http.StatusOK
	if p.Admin, err = a.base(w, r, "explain"); err != nil {
		return err
	}
	if p.Subject != "" && p.Client != "" {
		status, err = a.tryOut(r, p)
	} else if p.Client != "" || p.Scope != "" {
		p.Fields, status = map[string]string{"user": "admin.error_required"}, http.StatusUnprocessableEntity
	}
	if err != nil {
		return err
	}
	return a.renderPreview(w, r, status, p, "")
}

func (a *Admin) renderPreview(w http.ResponseWriter, r *http.Request, status int, p *templates.PreviewPage, connector string) error {
	clients, err := a.store.Clients(r.Context(), "", maxNames)
	if err != nil {
		return err
	}
	for _, c := range clients {
		if c.DisabledAt.IsZero() {
			p.Clients = append(p.Clients, c.ID)
		}
	}
	for _, id := range a.c.Connectors() {
		p.Connectors = append(p.Connectors, templates.Choice{Value: id, Label: a.c.Label(id), Current: id == connector})
	}
	return a.mux.Render(w, r, status, p)
}

func (a *Admin) tryOut(r *http.Request, p *templates.PreviewPage) (int, error) {
	wrong := func(status int, field, key string) (int, error) {
		p.Fields = map[string]string{field: "admin.error_" + key}
		return status, nil
	}
	u, err := a.find(r.Context(), p.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return wrong(http.StatusNotFound, "user", "person")
	}
	if err != nil {
		return 0, err
	}
	scope := scopes(p.Scope)
	v, err := a.c.Preview(r.Context(), u.ID, p.Client, scope)
	switch {
	case errors.Is(err, ErrNoUser):
		return wrong(http.StatusConflict, "user", "inactive")
	case errors.Is(err, ErrNoClient):
		return wrong(http.StatusNotFound, "client", "client")
	case err != nil:
		return 0, err
	}
	if missing := minus(scope, v.Scope); missing != nil {
		p.Fields, p.Args = map[string]string{"scope": "preview.error_scope"}, map[string]any{"Scope": strings.Join(missing, " ")}
		return http.StatusUnprocessableEntity, nil
	}
	j, err := a.journey(r, p, p.T("preview.way_password"))
	if err != nil {
		return 0, err
	}
	j.out.Title = p.Rich("admin.preview_answer", "Person", nameOf(u), "App", p.Client)
	account := j.step("account", "good", "preview.account", "Way", j.way(v.WayIn))
	account.Who = j.who(u)
	if u.MustChange {
		j.step("owes", "ask", "preview.owes_new_password")
	}
	p.Result = j.out
	return http.StatusOK, j.application(v)
}

// scopes are those of a field, nil for an empty one.
func scopes(field string) (list []string) {
	for _, s := range strings.Fields(field) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// minus are those of list that are not in other.
func minus(list, other []string) (rest []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// previewClaims is POST /admin/preview: the same from what a provider says of somebody. Claims are personal data, so they travel in a body: addresses
// stay in histories and logs.
func (a *Admin) previewClaims(w http.ResponseWriter, r *http.Request) (err error) {
	typed := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	// Browsers send the ends of lines as CR LF. What is said of a place in the text must be true of what the person sees.
	document := strings.ReplaceAll(r.PostFormValue("claims"), "\r\n", "\n")
	p := &templates.PreviewPage{Pasted: &templates.PastedClaims{Claims: document, Client: typed("client"), Scope: typed("scope"), Disowned: typed("disowned") != ""}}
	if p.Admin, err = a.base(w, r, "explain"); err != nil {
		return err
	}
	status, err := a.arrive(r, p, typed("connector"))
	if err != nil {
		return err
	}
	return a.renderPreview(w, r, status, p, typed("connector"))
}

func (a *Admin) arrive(r *http.Request, p *templates.PreviewPage, connector string) (int, error) {
	wrong := func(field, key string, args map[string]any) (int, error) {
		p.Fields, p.Args = map[string]string{field: key}, args
		return http.StatusUnprocessableEntity, nil
	}
	scope := scopes(p.Pasted.Scope)
	switch {
	case connector == "":
		return wrong("connector", "preview.error_connector", nil)
	case p.Pasted.Client == "" && scope != nil:
		return wrong("client", "admin.error_required", nil)
	}
	v, err := a.c.PreviewClaims(r.Context(), Claims{Connector: connector, Document: []byte(p.Pasted.Claims), Disowned: p.Pasted.Disowned, ClientID: p.Pasted.Client, Scope: scope})
	if bad, ok := errors.AsType[*FieldError](err); ok {
		return wrong(bad.Field, bad.Key, bad.Args)
	}
	if err != nil {
		return 0, err
	}
	if v.Preview != nil {
		if missing := minus(scope, v.Preview.Scope); missing != nil {
			return wrong("scope", "preview.error_scope", map[string]any{"Scope": strings.Join(missing, " ")})
		}
	}
	j, err := a.journey(r, p, v.Label)
	if err != nil {
		return 0, err
	}
	p.Result = j.out
	return http.StatusOK, j.arrival(v)
}

// journey puts the steps of a sign-in into words.
type journey struct {
	a     *Admin
	r     *http.Request
	p     *templates.PreviewPage
	words *words
	links bool // the reader may see people's pages
	out   *templates.PreviewResult
}

func (a *Admin) journey(r *http.Request, p *templates.PreviewPage, label string) (*journey, error) {
	words, err := a.words(r.Context(), &p.Base)
	if err != nil {
		return nil, err
	}
	j := &journey{a: a, r: r, p: p, words: words, out: &templates.PreviewResult{Title: p.Rich("preview.answer", "Provider", label)}}
	j.links, err = a.guard.Can(r.Context(), "users.view")
	return j, err
}

// step adds one; it is the caller's until the next.
func (j *journey) step(name, state, key string, args ...any) *templates.PreviewStep {
	j.out.Steps = append(j.out.Steps, templates.PreviewStep{Name: name, State: state, Text: j.p.Rich(key, args...)})
	return &j.out.Steps[len(j.out.Steps)-1]
}

func (j *journey) more(s *templates.PreviewStep, key string, args ...any) {
	s.More = append(s.More, j.p.Rich(key, args...))
}

func (j *journey) who(u *store.User) *templates.PersonLine {
	line := &templates.PersonLine{Name: nameOf(u), Second: u.Email}
	if line.Second == line.Name {
		line.Second = ""
	}
	if j.links {
		line.ID = u.ID
	}
	return line
}

// way is what people call a way in.
func (j *journey) way(id string) string {
	if id == "password" {
		return j.p.T("preview.way_password")
	}
	return j.a.c.Label(id)
}

// names are privileges as people and programs call them.
func (j *journey) names(list []string) string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n
		if l := j.words.Label(n); l != n {
			out[i] = l + " (" + n + ")"
		}
	}
	return strings.Join(out, ", ")
}

// arrival are the steps from what the provider says to the session, and on to the application.
func (j *journey) arrival(v *Arrival) error {
	j.claims(v)
	ends, err := j.account(v)
	if err != nil || ends {
		return err
	}
	j.profile(v)
	j.privileges(v)
	for _, owed := range v.Owes {
		name := "factor"
		if owed == "new_password" {
			name = "owes"
		}
		j.step(name, "ask", "preview.owes_"+owed)
	}
	s := j.step("session", "good", "preview.session", "Way", j.way(v.WayIn))
	s.Facts = []templates.Pair{{Name: j.p.T("preview.fact_acr"), Value: v.ACR}, {Name: j.p.T("preview.fact_amr"), Value: strings.Join(v.AMR, " ")}}
	if v.Preview == nil {
		j.step("answer", "note", "preview.no_application")
		return nil
	}
	return j.application(v.Preview)
}

func (j *journey) claims(v *Arrival) {
	if v.Subject == "" {
		if v.Detail != "" { // else it was refused before they were read
			j.step("claims", "bad", "preview.claims_refused", "Provider", v.Label)
		}
		return
	}
	state := "note"
	switch v.EmailTrust {
	case "verified", "authoritative":
		state = "good"
	}
	s := j.step("claims", state, "preview.trust_"+v.EmailTrust, "Provider", v.Label, "Email", v.Email)
	name := v.Name
	if name == "" {
		name = strings.TrimSpace(v.Given + " " + v.Family)
	}
	for _, f := range []struct{ key, value string }{
		{"preview.fact_subject", v.Subject}, {"preview.fact_issuer", v.Issuer}, {"preview.fact_name", name}, {"preview.fact_username", v.Username}, {"preview.fact_email", v.Email},
	} {
		if f.value != "" {
			s.Facts = append(s.Facts, templates.Pair{Name: j.p.T(f.key), Value: f.value})
		}
	}
}

// account is the decision, with whom it is about. ends says that nobody is signed in, so that nothing follows.
func (j *journey) account(v *Arrival) (ends bool, err error) {
	state := map[string]string{"enter": "good", "create": "good", "join": "good", "refuse": "bad"}[v.Decision]
	if state == "" {
		state = "ask"
	}
	var args []any
	for k, value := range v.Args {
		args = append(args, k, value)
	}
	s := j.step("account", state, v.Key, args...)
	if v.Decision == "refuse" {
		s.More, s.Text = [][]templates.Run{j.p.Rich("preview.refused_reads", "Text", j.p.T(v.Key, args...), "Code", v.Code)}, j.p.Rich("preview.refused")
		if v.Detail != "" {
			j.more(s, "preview.refused_log", "Text", v.Detail)
		}
	}
	who := v.UserID
	if v.New || who == "" {
		who = v.Holder
	}
	if who != "" {
		u, err := j.a.store.User(j.r.Context(), who)
		switch {
		case err == nil:
			s.Who = j.who(u)
		case !errors.Is(err, store.ErrNotFound): // gone since
			return true, err
		}
	}
	if v.Alert {
		j.more(s, "preview.alert")
	}
	if v.MayDisown {
		j.more(s, "preview.may_disown")
	}
	if v.Registration != "" && v.Decision != "enter" && v.Decision != "join" {
		j.more(s, "preview.registration_"+v.Registration)
	}
	if v.Link != "" && v.Holder != "" {
		j.more(s, "preview.link_"+v.Link)
	}
	if len(v.Domains) > 0 && v.Decision != "enter" {
		key := "preview.domains_miss"
		if v.DomainFits {
			key = "preview.domains_fit"
		}
		j.more(s, key, "Domains", strings.Join(v.Domains, ", "))
	}
	switch {
	case v.Decision == "prove" && v.Proof != "":
		j.more(s, "preview.after_proof")
	case v.Decision == "prove", v.Decision == "address":
		j.more(s, "preview.ends_here")
	}
	return v.AMR == nil, nil
}

func (j *journey) profile(v *Arrival) {
	if len(v.Filled) == 0 {
		j.step("profile", "note", "preview.profile_same")
		return
	}
	s := j.step("profile", "good", "preview.profile", "Provider", v.Label)
	for _, f := range v.Filled {
		value := f.Value
		if f.Field == "email_verified" {
			value = j.p.T("preview.yes")
		}
		s.Facts = append(s.Facts, templates.Pair{Name: j.p.T("preview.field_" + f.Field), Value: value})
	}
}

func (j *journey) privileges(v *Arrival) {
	lists := []struct {
		key   string
		names []string
	}{
		{"preview.rules_admin", v.RulesAdmin}, {"preview.rules_refused", v.RulesRefused}, {"preview.rules_give", v.RulesGive},
		{"preview.rules_keep", minus(minus(minus(v.RulesMatch, v.RulesGive), v.RulesAdmin), v.RulesRefused)},
		{"preview.rules_end", v.RulesEnd},
	}
	state := "note"
	switch {
	case v.RulesAdmin != nil || v.RulesRefused != nil:
		state = "bad"
	case len(v.RulesMatch) > 0:
		state = "good"
	}
	s := (*templates.PreviewStep)(nil)
	for _, l := range lists {
		switch {
		case len(l.names) == 0:
		case s == nil:
			s = j.step("privileges", state, l.key, "Names", j.names(l.names))
		default:
			j.more(s, l.key, "Names", j.names(l.names))
		}
	}
	if s == nil {
		j.step("privileges", state, "preview.rules_none")
	}
}

// application are the steps on its side.
func (j *journey) application(v *Preview) error {
	if v.Step == "login" {
		var ways []string
		for _, id := range v.WaysIn {
			ways = append(ways, j.way(id))
		}
		j.step("way_in", "bad", "preview.way_in", "Way", j.way(v.WayIn), "Ways", strings.Join(ways, ", "))
		return nil
	}
	required := v.Required
	switch {
	case required == (privilege.Requirement{}).String():
		j.step("requirement", "good", "preview.requirement_none")
	case len(v.Unmet) == 0:
		j.step("requirement", "good", "preview.requirement_met", "Required", required)
	default:
		var missing []string
		for _, group := range v.Unmet {
			missing = append(missing, strings.Join(group, " / "))
		}
		j.step("requirement", "bad", "preview.requirement_unmet", "Required", required, "Missing", strings.Join(missing, ", "))
	}
	if v.Refused != "" {
		j.step("answer", "bad", "preview.answer_refused", "Error", v.Refused)
		return nil
	}
	if v.Factor {
		j.step("factor", "ask", "preview.owes_factor")
	}
	if v.Step == "owes" {
		j.step("owes", "ask", "preview.owes_email")
		return nil
	}
	state := "good"
	if v.Step == "consent" {
		state = "ask"
	}
	s := j.step("consent", state, "preview.consent_"+v.Consent)
	if v.Consent == "asked" {
		for _, scope := range v.NewScopes {
			s.Facts = append(s.Facts, templates.Pair{Name: scope, Value: j.p.ScopeName(scope)})
		}
	}
	j.step("answer", "good", "preview.answer_tokens", "Scope", strings.Join(v.Scope, " "))
	for _, d := range []struct {
		name   string
		claims map[string]any
	}{{"id_token", v.IDToken}, {"access_token", v.AccessToken}, {"userinfo", v.UserInfo}, {"introspection", v.Introspection}} {
		if d.claims == nil {
			continue
		}
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // the page does that
		e.SetIndent("", "  ")
		if err := e.Encode(d.claims); err != nil {
			return err
		}
		j.out.Documents = append(j.out.Documents, templates.PreviewDocument{Name: d.name, JSON: strings.TrimSpace(b.String())})
	}
	return nil
}
