package templates

import "slices"

// FormErrors says what is wrong with a form that came back: embed it beside Base. Both kinds are translation keys.
type FormErrors struct {
	Form   string            // about the whole form, "" = nothing
	Args   map[string]any    // of all the texts; an int chooses the plural: the one under "Count", or the only one
	Fields map[string]string // by the field's name
}

// Failed says whether anything is wrong.
func (e *FormErrors) Failed() bool { return e.Form != "" || len(e.Fields) > 0 }

// Input is one labelled field, ready to print.
type Input struct {
	ID, Name, Type, Value string
	Label, Hint, Error    string // texts; no hint and no error are ""
	Autocomplete          string
	Mode                  string // inputmode
	Keys                  string // enterkeyhint
	Plain                 bool   // an identifier or secret: left to right, no capitals, no spelling
	List                  string // id of a datalist to choose from
	Optional              bool
	Most                  int // characters of a long text (the part area)
	Focus                 bool
	OTP                   bool   // the script fills in the code of a text message
	Show, Hide            string // texts of the button that shows a password, which the script adds
	ShowLabel, HideLabel  string // the same for people who hear it away from its field
}

// Describes is aria-describedby: the hint and the error, "" for neither.
func (i Input) Describes() string {
	switch {
	case i.Hint != "" && i.Error != "":
		return i.ID + "-hint " + i.ID + "-error"
	case i.Hint != "":
		return i.ID + "-hint"
	case i.Error != "":
		return i.ID + "-error"
	}
	return ""
}

// Summary stands at the top of a form that failed, takes the focus and leads to the fields.
type Summary struct {
	ID, Title, Text string
	Fields          []Input // those in error
	Strangers       []string
}

// Failed says whether there is anything to show.
func (s Summary) Failed() bool { return s.Text != "" || len(s.Fields) > 0 || len(s.Strangers) > 0 }

// summary gathers a page's errors under id. Errors of fields the form does not have are shown rather than lost.
func (b *Base) summary(id string, e *FormErrors, inputs []Input) Summary {
	s := Summary{ID: id, Title: b.T("form.problem")}
	if e.Form != "" {
		s.Text = b.args(e.Form, e.Args)
	}
	for _, i := range inputs {
		if i.Error != "" {
			s.Fields = append(s.Fields, i)
		}
	}
	for name, key := range e.Fields {
		if !slices.ContainsFunc(inputs, func(i Input) bool { return i.Name == name }) {
			s.Strangers = append(s.Strangers, b.args(key, e.Args))
		}
	}
	slices.Sort(s.Strangers)
	return s
}

func (b *Base) args(key string, args map[string]any) string {
	if b.loc == nil {
		return key
	}
	return b.loc.text(key, args)
}

// input completes i: error, and what passwords need.
func (b *Base) input(i Input, e *FormErrors) Input {
	if key := e.Fields[i.Name]; key != "" {
		i.Error = b.args(key, e.Args)
	}
	if i.Type == "password" {
		i.Plain, i.Value = true, "" // a page never carries a password back
		i.Show, i.Hide = b.T("password.show"), b.T("password.hide")
		i.ShowLabel, i.HideLabel = b.T("password.show_label"), b.T("password.hide_label")
	}
	return i
}
