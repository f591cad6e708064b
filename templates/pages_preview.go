package templates

// PreviewPage is /admin/preview: a sign-in on paper. Its forms: GET with user, client, scope; POST with connector, claims, disowned, client, scope.
type PreviewPage struct {
	Admin
	FormErrors                           // of the form that came back
	Subject, Client, Scope string        // as typed; Subject is a person
	Pasted                 *PastedClaims // as typed in the other form, nil = it was not sent
	Connectors             []Choice      // to choose from; none = there is no such form
	Result                 *PreviewResult
	Clients                []string // to choose from
}

func (*PreviewPage) file() string { return "admin_preview.html" }

// PastedClaims is what the form about a connector holds.
type PastedClaims struct {
	Claims, Client, Scope string
	Disowned              bool
}

// PreviewResult is what a sign-in would lead to.
type PreviewResult struct {
	Title     []Run
	Steps     []PreviewStep // in the order in which they come
	Documents []PreviewDocument
}

// PreviewStep is a step on the way. Name is what it is about: claims, account, privileges, profile, session, owes, way_in, requirement, consent or
// answer.
type PreviewStep struct {
	Name  string
	State string      // good, ask (the person is asked for something), bad (here it ends, or something is withheld) or note
	Text  []Run       // how it ends, in a sentence
	More  [][]Run     // further sentences
	Facts []Pair      // what there is to know, with its name
	Who   *PersonLine // whom it concerns; without an ID no link leads there
}

// PreviewDocument is a token or an answer as the application would get it. Name is a key: id_token, access_token, userinfo, introspection.
type PreviewDocument struct{ Name, JSON string }

// StepName is what a step is called.
func (p *PreviewPage) StepName(s PreviewStep) string { return p.T("preview.step_" + s.Name) }

// Title of a document.
func (p *PreviewPage) Title(d PreviewDocument) string { return p.T("admin.document_" + d.Name) }

// Inputs of the form about a person.
func (p *PreviewPage) Inputs() []Input {
	e := &p.FormErrors
	if p.Pasted != nil {
		e = &FormErrors{}
	}
	return []Input{
		p.input(Input{ID: "preview-user", Name: "user", Type: "text", Value: p.Subject, Label: p.T("admin.explain_user"), Plain: true, Focus: !p.Failed() && p.Result == nil}, e),
		p.input(Input{ID: "preview-client", List: "clients", Name: "client", Type: "text", Value: p.Client, Label: p.T("admin.preview_client"), Plain: true}, e),
		p.input(Input{ID: "preview-scope", Name: "scope", Type: "text", Value: p.Scope, Label: p.T("admin.preview_scope"), Hint: p.T("admin.preview_scope_hint"), Plain: true, Optional: true}, e),
	}
}

// pasted is the other form with its errors; empty when it was not sent.
func (p *PreviewPage) pasted() (PastedClaims, *FormErrors) {
	if p.Pasted == nil {
		return PastedClaims{}, &FormErrors{}
	}
	return *p.Pasted, &p.FormErrors
}

// ConnectorInput is the choice of a connector, of Connectors.
func (p *PreviewPage) ConnectorInput() Input {
	_, e := p.pasted()
	return p.input(Input{ID: "claims-connector", Name: "connector", Label: p.T("preview.connector")}, e)
}

// ClaimsInput is the text that was pasted.
func (p *PreviewPage) ClaimsInput() Input {
	v, e := p.pasted()
	return p.input(Input{ID: "claims-text", Name: "claims", Value: v.Claims, Label: p.T("preview.claims"), Hint: p.T("preview.claims_hint"), Plain: true}, e)
}

// Disowned says whether the person is taken to disown the account that has their address.
func (p *PreviewPage) Disowned() bool { return p.Pasted != nil && p.Pasted.Disowned }

// ClaimsInputs are the other fields of that form.
func (p *PreviewPage) ClaimsInputs() []Input {
	v, e := p.pasted()
	return []Input{
		p.input(Input{ID: "claims-client", List: "clients", Name: "client", Type: "text", Value: v.Client, Label: p.T("admin.preview_client"), Hint: p.T("preview.client_hint"), Plain: true, Optional: true}, e),
		p.input(Input{ID: "claims-scope", Name: "scope", Type: "text", Value: v.Scope, Label: p.T("admin.preview_scope"), Hint: p.T("admin.preview_scope_hint"), Plain: true, Optional: true}, e),
	}
}

// Summary of what is wrong.
func (p *PreviewPage) Summary() Summary {
	inputs := p.Inputs()
	if p.Pasted != nil {
		inputs = append([]Input{p.ConnectorInput(), p.ClaimsInput()}, p.ClaimsInputs()...)
	}
	return p.summary("error-summary", &p.FormErrors, inputs)
}
