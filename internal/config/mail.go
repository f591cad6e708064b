package config

import (
	"net/mail"
	"strings"
	"time"
)

// Mail is the server that takes mail from Latchkey. Without host no mail is sent, and what needs mail is off: nobody can be asked to prove an
// address. A restart applies a change.
type Mail struct {
	// Host is the SMTP server's name, or its IP address. Its certificate must be for this name.
	Host string `yaml:"host"`
	// Port is its port; 0 = 587 with starttls, 465 with implicit, 25 with none.
	Port int `yaml:"port"`
	// TLS is starttls (must be offered), implicit (from the first byte) or none, which is for a server on this machine and for development.
	TLS string `yaml:"tls"`
	// User authenticates to the server; empty = no authentication.
	User string `yaml:"user"`
	// Password goes with user.
	Password Secret `yaml:"password"`
	// PasswordFile is a file that holds the password instead.
	PasswordFile string `yaml:"password_file"`
	// From is the address mail comes from. Required with host.
	From string `yaml:"from"`
	// FromName is what people see beside it, at most 60 characters; empty = app_name.
	FromName string `yaml:"from_name"`
	// Timeout is how long one delivery may take, 5s to 2m. Then it counts as failed and is tried again.
	Timeout time.Duration `yaml:"timeout"`
}

// Values of mail.tls.
const (
	MailSTARTTLS = "starttls"
	MailImplicit = "implicit"
	MailNone     = "none"
)

// On says whether mail is sent.
func (m *Mail) On() bool { return m.Host != "" }

// Address is host and port with the default of the port.
func (m *Mail) Address() (host string, port int) {
	port = m.Port
	if port == 0 {
		port = map[string]int{MailSTARTTLS: 587, MailImplicit: 465, MailNone: 25}[m.TLS]
	}
	return m.Host, port
}

func (r *reader) checkMail() {
	m := &r.cfg.Mail
	at := func(key string) string { return join("mail", key) }
	if !m.On() {
		if *m != defaults().Mail {
			r.problem(at("host"), "is missing; without it no mail is sent")
		}
		return
	}
	if !validHost(m.Host) && !validIP(m.Host) {
		r.problem(at("host"), "%s is not a host name in lower case or an IP address; the port has a key of its own", r.show(at("host"), m.Host))
	}
	r.number(at("port"), m.Port, 0, 65535)
	r.choice(at("tls"), m.TLS, MailSTARTTLS, MailImplicit, MailNone)
	if m.TLS == MailNone && !loopback(m.Host) {
		const text = "is none: everybody on the way can read codes, and the password; want starttls or implicit"
		if r.production() {
			r.problem(at("tls"), text)
		} else {
			r.warn(at("tls"), text)
		}
	}
	r.checkMailPassword(m)
	switch a, err := mail.ParseAddress(m.From); {
	case m.From == "":
		r.problem(at("from"), "is missing: the address mail comes from, such as login@example.com")
	case err != nil || a.Address != m.From || !ascii(m.From):
		r.problem(at("from"), "%s is not one mail address in ASCII; what people see beside it is from_name", r.show(at("from"), m.From))
	}
	r.text(at("from_name"), m.FromName, 0, 60)
	r.duration(at("timeout"), m.Timeout, 5*time.Second, 2*time.Minute)
}

func (r *reader) checkMailPassword(m *Mail) {
	const user, password, file = "mail.user", "mail.password", "mail.password_file"
	at := password
	switch {
	case !m.Password.IsZero() && m.PasswordFile != "":
		r.problem(file, "is given beside password; want one of them")
		return
	case m.PasswordFile != "":
		at = file
	}
	none := m.Password.IsZero() && m.PasswordFile == ""
	switch {
	case m.User == "" && none:
		return
	case m.User == "":
		r.problem(at, "is of no use without mail.user")
		return
	case none:
		r.problem(user, "has no password; give password or password_file")
		return
	case at == file:
		text, ok := r.secretFile(file, m.PasswordFile)
		if !ok {
			return
		}
		m.Password = NewSecret(text)
	}
	for p, s := range map[string]string{user: m.User, at: m.Password.Reveal()} {
		if len(s) > 512 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			r.problem(p, "is longer than 512 bytes, or has a line break or another control character")
		}
	}
}
