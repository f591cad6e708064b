package templates

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Mail is what a mail says; the types below. A mail is a subject and a few parts, which one file and one function print, so its HTML and its
// text cannot say different things. Only this package can declare one.
type Mail interface {
	write(*mailPage)
}

// MailText is a mail ready to send.
type MailText struct{ Subject, Text, HTML string }

// CodeMail brings the code that proves an address. The code is not in the subject, which is kept after the mail is sent.
type CodeMail struct {
	Code    string
	Minutes int  // it is good for
	SignIn  bool // it opens the account
}

func (m CodeMail) write(p *mailPage) {
	if m.SignIn {
		p.subject("mail.code_sign_in_subject")
		p.text("mail.code_sign_in_intro", "App", p.AppName)
	} else {
		p.subject("mail.code_subject")
		p.text("mail.code_intro", "App", p.AppName)
	}
	p.Parts = append(p.Parts, mailPart{Code: m.Code})
	p.text("mail.code_minutes", "Minutes", m.Minutes)
	p.text("mail.code_ignore", "App", p.AppName)
}

// TakenMail goes to the owner of an address that somebody else, or they themselves, wanted for another account. It holds nothing that could
// be used.
type TakenMail struct {
	AccountPath string // where ways to sign in are connected, a path of ours
}

func (m TakenMail) write(p *mailPage) {
	p.subject("mail.taken_subject")
	p.text("mail.taken_intro", "App", p.AppName)
	p.text("mail.taken_you")
	p.link(m.AccountPath)
	p.text("mail.taken_other")
}

// RequestMail tells somebody who could give a privilege that a person asks for one. It names no privilege (R189): that is on the page.
type RequestMail struct {
	Who    string // name and address
	Reason string // in their words, "" = none
	Until  time.Time
	Path   string // where it is decided, a path of ours
}

func (m RequestMail) write(p *mailPage) {
	p.subject("mail.request_subject")
	p.text("mail.request_intro", "Who", oneLine(m.Who), "App", p.AppName)
	if m.Reason != "" {
		p.text("mail.request_reason", "Reason", oneLine(m.Reason))
	}
	p.text("mail.request_link")
	p.link(m.Path)
	p.text("mail.request_until", "When", p.loc.when(m.Until))
}

// DecisionMail tells a person what became of their request.
type DecisionMail struct {
	Approved bool
	Asked    time.Time
	Until    time.Time // of an approval; zero = for good
	Note     string    // "" = none
	Path     string    // of their requests, a path of ours
}

func (m DecisionMail) write(p *mailPage) {
	subject, text := "mail.decision_refused_subject", "mail.decision_refused"
	if m.Approved {
		subject, text = "mail.decision_approved_subject", "mail.decision_approved"
	}
	p.subject(subject)
	p.text(text, "When", p.loc.when(m.Asked), "App", p.AppName)
	if !m.Until.IsZero() {
		p.text("mail.decision_until", "When", p.loc.when(m.Until))
	}
	if m.Note != "" {
		p.text("mail.decision_note", "Note", oneLine(m.Note))
	}
	p.text("mail.decision_link")
	p.link(m.Path)
}

// oneLine keeps what a person wrote from looking like more of the mail than their words.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// IdleMail warns somebody that their account goes if nobody uses it.
type IdleMail struct {
	Since      time.Time // nobody used it since
	Due        time.Time // it stays at least until then
	SignInPath string    // where using it begins, a path of ours
}

func (m IdleMail) write(p *mailPage) {
	p.subject("mail.idle_subject")
	p.text("mail.idle_intro", "App", p.AppName, "Since", p.loc.when(m.Since))
	p.text("mail.idle_due", "Due", p.loc.when(m.Due))
	p.text("mail.idle_keep")
	p.link(m.SignInPath)
	p.text("mail.idle_leave")
}

// AuthorityMail tells a person who accepted to act for them.
type AuthorityMail struct {
	Who   string
	Where string // the one application; "" = all that take people who act
	Until time.Time
	Path  string // where it is ended, a path of ours
}

func (m AuthorityMail) write(p *mailPage) {
	p.subject("mail.authority_subject")
	p.text("mail.authority_intro", "Who", oneLine(m.Who), "App", p.AppName)
	if m.Where != "" {
		p.text("mail.authority_where", "Where", oneLine(m.Where), "When", p.loc.when(m.Until))
	} else {
		p.text("mail.authority_everywhere", "When", p.loc.when(m.Until))
	}
	p.text("mail.authority_link")
	p.link(m.Path)
}

// ActedForMail tells a person that an administrator began to act for them.
type ActedForMail struct {
	Who    string
	At     time.Time
	Reason string
}

func (m ActedForMail) write(p *mailPage) {
	p.subject("mail.acted_for_subject")
	p.text("mail.acted_for_intro", "Who", oneLine(m.Who), "App", p.AppName, "When", p.loc.when(m.At))
	p.text("mail.acted_for_reason", "Reason", oneLine(m.Reason))
	p.text("mail.acted_for_means")
	p.text("mail.acted_for_ask", "App", p.AppName)
}

// mailPart is a paragraph, a code or a link.
type mailPart struct{ Text, Code, URL string }

// mailPage is what the files print.
type mailPage struct {
	Lang, Dir, AppName, Subject string
	Parts                       []mailPart

	loc    *Localizer
	issuer string
	err    error
}

// subject is "appname - what it is about" in one line (R187).
func (p *mailPage) subject(key string) {
	p.Subject = oneLine(p.AppName + " - " + p.loc.text(key, nil))
}

func (p *mailPage) text(key string, args ...any) {
	p.Parts = append(p.Parts, mailPart{Text: p.loc.text(key, pairs(args))})
}

// link leads to a path of the configured issuer, whatever host a request named (R189).
func (p *mailPage) link(path string) {
	if p.issuer == "" || !local(path) {
		p.err = errors.New("a link in a mail needs the issuer and a path of ours")
	}
	p.Parts = append(p.Parts, mailPart{URL: p.issuer + path})
}

// plain is the text of a mail: paragraphs, and at the end who sends it (R138).
func (p *mailPage) plain() string {
	var b strings.Builder
	for _, part := range p.Parts {
		switch {
		case part.Code != "":
			b.WriteString("    " + part.Code)
		case part.URL != "":
			b.WriteString(part.URL)
		default:
			b.WriteString(part.Text)
		}
		b.WriteString("\n\n")
	}
	return b.String() + "-- " + p.AppName + "\n"
}

// Mail writes m in the language nearest to lang.
func (s *Set) Mail(lang string, m Mail) (MailText, error) {
	loc, ok := s.texts.match(strings.Fields(lang)...)
	if !ok {
		loc = s.texts.fallback
	}
	p := &mailPage{Lang: loc.lang, Dir: loc.dir, AppName: s.options.AppName, loc: loc, issuer: s.options.Issuer}
	m.write(p)
	if p.err != nil {
		return MailText{}, fmt.Errorf("templates: %T: %w", m, p.err)
	}
	var html bytes.Buffer
	if err := s.mail.Execute(&html, p); err != nil {
		return MailText{}, fmt.Errorf("templates: %T: %w", m, err)
	}
	return MailText{Subject: p.Subject, Text: p.plain(), HTML: html.String()}, nil
}
