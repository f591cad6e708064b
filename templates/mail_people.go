package templates

// FirstPasswordMail brings the link with which somebody sets the password of an account that an administrator looks after.
type FirstPasswordMail struct {
	Path string // a path of ours with a token
	Days int    // it is good for
}

func (m FirstPasswordMail) write(p *mailPage) {
	p.subject("mail.first_password_subject")
	p.text("mail.first_password_intro", "App", p.AppName)
	p.link(m.Path)
	p.text("mail.first_password_days", "Days", m.Days)
	p.text("mail.first_password_ignore")
}
