package templates

import "time"

// ForgotMail brings the link to a new password.
type ForgotMail struct {
	Path    string // of ours, with the token
	Minutes int    // it is good for
}

func (m ForgotMail) write(p *mailPage) {
	p.subject("mail.forgot_subject")
	p.text("mail.forgot_intro", "App", p.AppName)
	p.link(m.Path)
	p.text("mail.forgot_minutes", "Minutes", m.Minutes)
	p.text("mail.forgot_ignore")
}

// NoPasswordMail goes to somebody who asked for a new password and never had one. It opens nothing.
type NoPasswordMail struct {
	SignInPath string // a path of ours
}

func (m NoPasswordMail) write(p *mailPage) {
	p.subject("mail.forgot_subject")
	p.text("mail.no_password_intro", "App", p.AppName)
	p.text("mail.no_password_ways")
	p.link(m.SignInPath)
	p.text("mail.no_password_ignore")
}

// PasswordChangedMail tells a person that their password was changed.
type PasswordChangedMail struct {
	At         time.Time // in their time zone
	ForgotPath string    // where a new one is asked for, a path of ours; "" = nowhere
}

func (m PasswordChangedMail) write(p *mailPage) {
	p.subject("mail.password_changed_subject")
	p.text("mail.password_changed_intro", "App", p.AppName, "When", p.loc.when(m.At))
	p.text("mail.password_changed_you")
	if m.ForgotPath == "" {
		p.text("mail.password_changed_tell")
		return
	}
	p.text("mail.password_changed_other")
	p.link(m.ForgotPath)
}

// EmailChangedMail tells whoever has the address before that the account has another now, which it does not name.
type EmailChangedMail struct {
	At       time.Time // in the person's time zone
	UndoPath string    // a path of ours with a token, "" = it cannot be taken back
	Days     int       // for so long
}

func (m EmailChangedMail) write(p *mailPage) {
	p.subject("mail.email_changed_subject")
	p.text("mail.email_changed_intro", "App", p.AppName, "When", p.loc.when(m.At))
	p.text("mail.email_changed_you")
	if m.UndoPath == "" {
		p.text("mail.password_changed_tell")
		return
	}
	p.text("mail.email_changed_other", "Days", m.Days)
	p.link(m.UndoPath)
}
