package templates

// UserActing is what UserPage shows of acting for others. Its forms: POST /account/act (user, reason), POST .../end-authority (authority).
type UserActing struct {
	May          bool // the reader may act for the person
	End          bool // and may try to end authorities
	Given, Taken []UserAuthority
}

// UserAuthority is an authority of somebody as administrators see it. Person is the other one.
type UserAuthority struct {
	AuthorityLine
	PersonID string // "" = nobody took the link yet
	Since    string // it was taken; offered, of one that nobody took
	Taken    bool   // by the person of the page; else they gave it
}

// UserAuthorities is one of the two lists.
type UserAuthorities struct {
	ID, Title string // Title is a key
	Lines     []UserAuthority
}

// HasAuthorities says whether there is a list.
func (p *UserPage) HasAuthorities() bool { return len(p.ActAs.Given)+len(p.ActAs.Taken) > 0 }

// Authorities are the lists that are not empty.
func (p *UserPage) Authorities() (all []UserAuthorities) {
	for _, l := range []UserAuthorities{{"user-given-title", "acting.of_given", p.ActAs.Given}, {"user-taken-title", "acting.of_taken", p.ActAs.Taken}} {
		if len(l.Lines) > 0 {
			all = append(all, l)
		}
	}
	return all
}

// EndLabel is what a button that ends an authority says to those who hear it away from its line.
func (p *UserPage) EndLabel(a UserAuthority) string {
	switch {
	case a.PersonID == "":
		return p.T("acting.end_offer", "When", a.LinkUntil)
	case a.Taken:
		return p.T("acting.of_end_taken", "Name", a.Person)
	}
	return p.T("acting.of_end_given", "Name", a.Person)
}

// ActInput is the field of the form that begins to act.
func (p *UserPage) ActInput() Input {
	return Input{ID: "act-reason", Name: "reason", Type: "text", Label: p.T("acting.for_reason"), Hint: p.T("acting.for_reason_hint"), Autocomplete: "off"}
}
