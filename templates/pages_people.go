package templates

// Select is a field to choose one of several from.
type Select struct {
	Input
	Choices []Choice
}

// choose is a Select whose choices are marked by the field's value; words are translation keys, and values that have none stand for themselves.
func (b *Base) choose(i Input, e *FormErrors, choices []Choice) Select {
	s := Select{Input: b.input(i, e)}
	for _, c := range choices {
		c.Current = c.Value == i.Value
		s.Choices = append(s.Choices, c)
	}
	return s
}

// PeopleFilter is what the list of people is narrowed by; its fields are those of the form.
type PeopleFilter struct {
	Query, State, Type, Way, Factor, Privilege string
}

// UsersPage is /admin/users. Its forms: GET with q, state, type, way, factor, privilege; POST /admin/users/export with the same.
type UsersPage struct {
	Admin
	PeopleFilter
	Types, Ways []Choice // to choose from; the empty one is added
	Names       []string // privileges
	Chips       []Chip   // what the list is narrowed by
	People      []PersonLine
	More        string
	Short       bool // there may be others that fit further on
	Create      bool // the reader may add somebody
	Export      bool // and take the list away
}

func (*UsersPage) file() string { return "admin_users.html" }

// Chip is something a list is narrowed by, and the address without it.
type Chip struct{ Text, URL string }

// Search is the field of the list's form.
func (p *UsersPage) Search() Input {
	return Input{ID: "users-q", Name: "q", Type: "search", Value: p.Query, Label: p.T("people.search"), Optional: true}
}

// Held is the field for a privilege.
func (p *UsersPage) Held() Input {
	return Input{ID: "users-privilege", Name: "privilege", Type: "text", Value: p.Privilege, Label: p.T("admin.privilege"), Plain: true, Optional: true, List: "names"}
}

// Filters are the others.
func (p *UsersPage) Filters() []Select {
	any := func(key string, list []Choice) []Choice { return append([]Choice{{Label: p.T(key)}}, list...) }
	states := make([]Choice, 0, 4)
	for _, s := range []string{"active", "disabled", "waiting", "new"} {
		states = append(states, Choice{Value: s, Label: p.T("people.state_" + s)})
	}
	factors := []Choice{{Value: "yes", Label: p.T("people.factor_yes")}, {Value: "no", Label: p.T("people.factor_no")}}
	return []Select{
		p.choose(Input{ID: "users-state", Name: "state", Value: p.State, Label: p.T("people.state")}, &FormErrors{}, any("people.any", states)),
		p.choose(Input{ID: "users-type", Name: "type", Value: p.Type, Label: p.T("field.user_type")}, &FormErrors{}, any("people.any", p.Types)),
		p.choose(Input{ID: "users-way", Name: "way", Value: p.Way, Label: p.T("people.way")}, &FormErrors{}, any("people.any", p.Ways)),
		p.choose(Input{ID: "users-factor", Name: "factor", Value: p.Factor, Label: p.T("people.factor")}, &FormErrors{}, any("people.any", factors)),
	}
}

// Narrowed says whether any filter beside the search is set.
func (p *UsersPage) Narrowed() bool { return len(p.Chips) > 0 }

// Fields are the filter as hidden fields.
func (p *PeopleFilter) Fields() (out []Pair) {
	for _, f := range []Pair{{"q", p.Query}, {"state", p.State}, {"type", p.Type}, {"way", p.Way}, {"factor", p.Factor}, {"privilege", p.Privilege}} {
		if f.Value != "" {
			out = append(out, f)
		}
	}
	return out
}

// AdminPage is /admin: what there is to do, what waits, and whether the service is set up well.
type AdminPage struct {
	Admin
	Attention []Fact // what there is to look after
	Hardening []Fact
}

func (*AdminPage) file() string { return "admin.html" }

// Fact is something that was measured. State is good, note, warn or bad.
type Fact struct {
	Key, State, Text, URL string
}

// Attend adds something to look after; url is where, "" = nowhere here.
func (p *AdminPage) Attend(key, state, url string, args ...any) {
	p.Attention = append(p.Attention, Fact{key, state, p.T("attend."+key, args...), url})
}

// Harden adds a line of the list that turns green.
func (p *AdminPage) Harden(key string, done bool) {
	f := Fact{Key: key, State: "good", Text: p.T("harden." + key)}
	if !done {
		f.State, f.Text = "warn", p.T("harden."+key+"_not")
	}
	p.Hardening = append(p.Hardening, f)
}

// Done says whether a line of the list is green.
func (f Fact) Done() bool { return f.State == "good" }
