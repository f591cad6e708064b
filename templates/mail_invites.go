package templates

// InviteMail brings the link that makes somebody an account (R138).
type InviteMail struct {
	Who     string // who invites, "" = the service
	Message string // in their words, "" = none
	Path    string // a path of ours with a token
	Days    int    // it is good for
}

func (m InviteMail) write(p *mailPage) {
	p.subject("mail.invite_subject")
	if m.Who == "" {
		p.text("mail.invite_intro", "App", p.AppName)
	} else {
		p.text("mail.invite_intro_by", "Who", oneLine(m.Who), "App", p.AppName)
	}
	if m.Message != "" {
		p.text("mail.invite_message", "Message", oneLine(m.Message))
	}
	p.text("mail.invite_link", "App", p.AppName)
	p.link(m.Path)
	p.text("mail.invite_days", "Days", m.Days)
	p.text("mail.invite_ignore")
}

// InviteDecidedMail tells who proposed an invitation what became of it.
type InviteDecidedMail struct {
	Approved bool
	Email    string // whom it is for, "" = a link to hand over
	Note     string // "" = none
	Path     string // where invitations are, a path of ours
}

func (m InviteDecidedMail) write(p *mailPage) {
	switch {
	case !m.Approved:
		p.subject("mail.invite_declined_subject")
		p.text("mail.invite_declined", "App", p.AppName)
	case m.Email == "":
		p.subject("mail.invite_approved_subject")
		p.text("mail.invite_approved_link", "App", p.AppName)
	default:
		p.subject("mail.invite_approved_subject")
		p.text("mail.invite_approved", "App", p.AppName)
	}
	if m.Email != "" {
		p.text("mail.invite_for", "Email", oneLine(m.Email))
	}
	if m.Note != "" {
		p.text("mail.decision_note", "Note", oneLine(m.Note))
	}
	p.text("mail.invite_list")
	p.link(m.Path)
}

// InviteAcceptedMail tells who invited somebody that they came.
type InviteAcceptedMail struct {
	Who      string
	Withheld bool // not all that the invitation was to bring was given
	Path     string
}

func (m InviteAcceptedMail) write(p *mailPage) {
	p.subject("mail.invite_accepted_subject")
	p.text("mail.invite_accepted", "Who", oneLine(m.Who), "App", p.AppName)
	if m.Withheld {
		p.text("mail.invite_withheld")
	}
	p.text("mail.invite_list")
	p.link(m.Path)
}
