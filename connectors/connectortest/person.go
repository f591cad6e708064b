package connectortest

// Person is somebody with an account at a fake.
type Person struct {
	ID       string // the sub, or what the fake makes it of
	Email    string
	Verified any // email_verified as it is sent: true, false, "true", 1; nil = not at all

	Name, GivenName, FamilyName, Username, Picture, Locale string // "" = not said

	// Claims are further ones, or others in place of those above. Absent takes one away, nil sends null.
	Claims map[string]any
}

type absent string

// Absent stands for a claim that is not sent at all.
const Absent absent = "absent"

// claims are those about the person for the granted scopes.
func (p *Person) claims(scopes map[string]bool) map[string]any {
	c := map[string]any{"sub": p.ID}
	text := func(name, v string) {
		if v != "" {
			c[name] = v
		}
	}
	if scopes["profile"] {
		text("name", p.Name)
		text("given_name", p.GivenName)
		text("family_name", p.FamilyName)
		text("preferred_username", p.Username)
		text("picture", p.Picture)
		text("locale", p.Locale)
	}
	if scopes["email"] && p.Email != "" {
		c["email"] = p.Email
		if p.Verified != nil {
			c["email_verified"] = p.Verified
		}
	}
	p.change(c)
	return c
}

// change applies the further claims, and takes away what is Absent.
func (p *Person) change(c map[string]any) {
	for k, v := range p.Claims {
		c[k] = v
	}
	for k, v := range c {
		if v == Absent {
			delete(c, k)
		}
	}
}

func (p *Person) label() string {
	switch {
	case p.Name != "" && p.Email != "":
		return p.Name + " (" + p.Email + ")"
	case p.Name != "":
		return p.Name
	case p.Email != "":
		return p.Email
	}
	return p.ID
}
