// Package notify hands one mail to an SMTP server.
//
//	Mail ─▶ address and headers checked ─▶ TCP ─▶ TLS (STARTTLS or at once) ─▶ AUTH ─▶ MAIL, RCPT, DATA ─▶ nil, or *Error
//
// It owns the shape of a mail on the wire: text with HTML beside it, our own Message-ID, the headers that keep other machines from answering.
// It says of each failure whether trying again makes sense, and keeps no queue: that is internal/delivery's. It refuses to speak without
// encryption unless told to, to send a password where anybody could read it, a header with a line break, and an address that is more than one.
package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"
	"golang.org/x/net/idna"
)

// TLS modes.
const (
	STARTTLS = "starttls" // begins in the clear and must turn to TLS (RFC 3207)
	Implicit = "implicit" // TLS from the first byte (RFC 8314 §3.3)
	None     = "none"     // for a server on this machine, and for development
)

// Config of a Mailer.
type Config struct {
	Host     string
	Port     int
	TLS      string
	User     string // "" = no authentication
	Password string
	From     string // a bare address
	FromName string
	// Domain ends our Message-IDs and is what we call ourselves: the issuer's host.
	Domain  string
	Timeout time.Duration  // of a whole delivery; default 30 s
	RootCAs *x509.CertPool // nil = the system's
}

// Mailer sends mails one at a time, each over a connection of its own. It is safe for concurrent use. Make it with New.
type Mailer struct{ c Config }

// New checks the configuration; it does not connect.
func New(c Config) (*Mailer, error) {
	switch {
	case c.Host == "" || c.Port < 1 || c.Port > 65535:
		return nil, errors.New("notify: Host and Port are required")
	case c.TLS != STARTTLS && c.TLS != Implicit && c.TLS != None:
		return nil, fmt.Errorf("notify: %q is no TLS mode", c.TLS)
	case c.Domain == "":
		return nil, errors.New("notify: Domain is required")
	case (c.User == "") != (c.Password == ""):
		return nil, errors.New("notify: User and Password go together")
	}
	if _, err := bare(c.From); err != nil {
		return nil, fmt.Errorf("notify: From: %w", err)
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	return &Mailer{c}, nil
}

// Mail is one mail to one person.
type Mail struct {
	ID            string // of the Message-ID, before the @: the same mail tried again has the same
	To            string
	Subject       string
	Text          string
	HTML          string // "" = text only
	AutoSubmitted string // RFC 3834 §5; "" = auto-generated
}

// Error is a message that was not sent. Its text holds no address of a person and nothing of the message, so it may be logged.
type Error struct {
	Stage     string        // connect, MAIL, RCPT, DATA or address; twilio
	Code      int           // of the server's answer, 0 = there was none
	Enhanced  string        // RFC 3463, "" = none
	Permanent bool          // the same message would be refused again, or must not be sent again
	After     time.Duration // what the other side asks to wait; 0 = nothing
	Words     string        // the server's, or what went wrong here; may name the recipient
	err       error
}

// Error says what happened, without the words of a server that was told an address.
func (e *Error) Error() string {
	if e.Stage == stageConnect || e.Code == 0 {
		return e.Stage + ": " + withoutAddresses(e.Words)
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %d %s", e.Stage, e.Code, e.Enhanced))
}

// Unwrap returns what caused it.
func (e *Error) Unwrap() error { return e.err }

const (
	stageConnect = "connect"
	stageAddress = "address"
)

// Send delivers m to the server. nil means that the server has taken it over; any other answer is an *Error.
func (m *Mailer) Send(ctx context.Context, mail Mail) error {
	msg, err := m.message(mail)
	if err != nil {
		return &Error{Stage: stageAddress, Permanent: true, Words: err.Error(), err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.Timeout)
	defer cancel()
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close() // also after a failure, where the library leaves it open
		}
	}()
	client, err := m.client(func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		conn, err = m.dial(ctx, network, addr)
		return conn, err
	})
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	smtp, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return connectError(err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = client.SendWithSMTPClient(smtp, msg)
	if err != nil && !msg.IsDelivered() { // what fails after that is not the mail
		return sendError(err)
	}
	_ = client.CloseWithSMTPClient(smtp) // QUIT; the mail is gone already
	return nil
}

func (m *Mailer) client(dial gomail.DialContextFunc) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(m.c.Port), gomail.WithTimeout(m.c.Timeout), gomail.WithHELO(m.c.Domain), gomail.WithDialContextFunc(dial),
		gomail.WithTLSConfig(m.tls()), gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	policy := gomail.NoTLS // implicit: dial has done it
	if m.c.TLS == STARTTLS {
		policy = gomail.TLSMandatory
	}
	options = append(options, gomail.WithTLSPolicy(policy))
	if m.c.User != "" {
		methods := []gomail.SMTPAuthType{gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin}
		if m.c.TLS == None {
			methods = []gomail.SMTPAuthType{gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc}
		}
		options = append(options, gomail.WithOpportunisticSMTPAuth(methods...), gomail.WithUsername(m.c.User), gomail.WithPassword(m.c.Password))
	}
	return gomail.NewClient(m.c.Host, options...)
}

func (m *Mailer) tls() *tls.Config {
	return &tls.Config{ServerName: m.c.Host, MinVersion: tls.VersionTLS12, RootCAs: m.c.RootCAs}
}

func (m *Mailer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if m.c.TLS == Implicit {
		return (&tls.Dialer{Config: m.tls()}).DialContext(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func (m *Mailer) message(in Mail) (*gomail.Msg, error) {
	to, err := bare(in.To)
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.FromFormat(oneLine(m.c.FromName), m.c.From); err != nil {
		return nil, err
	}
	if err := msg.To(to); err != nil {
		return nil, err
	}
	msg.SetMessageIDWithValue(oneLine(in.ID) + "@" + m.c.Domain)
	msg.Subject(oneLine(in.Subject))
	auto := in.AutoSubmitted
	if auto == "" {
		auto = "auto-generated"
	}
	msg.SetGenHeader("Auto-Submitted", oneLine(auto))           // RFC 3834 §5: nobody's vacation answers
	msg.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All") // the same for Exchange
	msg.SetBodyString(gomail.TypeTextPlain, in.Text)
	if in.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, in.HTML)
	}
	return msg, nil
}

// bare takes one address and nothing around it, and writes its domain in ASCII: few servers know another.
func bare(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || strings.ContainsFunc(s, unicode.IsControl) {
		return "", errors.New("not one bare address")
	}
	at := strings.LastIndexByte(s, '@')
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil {
		return "", errors.New("its domain cannot be written in ASCII")
	}
	return s[:at+1] + domain, nil
}

// oneLine makes a header value of s: a line break in it would begin another header (CWE-93).
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }), " ")
}

// connectError is everything before MAIL: the fault of the network, the server or the settings, and none of the mail's.
func connectError(err error) *Error {
	e := &Error{Stage: stageConnect, Words: words(err.Error()), err: err}
	var refused *textproto.Error
	if errors.As(err, &refused) {
		e.Code, e.Words = refused.Code, words(refused.Error())
	}
	return e
}

// sendError reads the library's error. 5xx ends a mail, except what RFC 4954 §6 says about the authentication: that is for the operator to
// repair, and the mail can wait as long as it is good for anything.
func sendError(err error) *Error {
	e := &Error{Stage: "send", Words: words(err.Error()), err: err}
	var se *gomail.SendError
	if !errors.As(err, &se) {
		return e
	}
	switch se.Reason {
	case gomail.ErrSMTPMailFrom:
		e.Stage = "MAIL"
	case gomail.ErrSMTPRcptTo:
		e.Stage = "RCPT"
	case gomail.ErrSMTPData, gomail.ErrSMTPDataClose, gomail.ErrWriteContent:
		e.Stage = "DATA"
	}
	e.Words = strings.TrimPrefix(e.Words, se.Reason.String()+": ")
	e.Code, e.Enhanced = se.ErrorCode(), se.EnhancedStatusCode()
	authentication := e.Code == 530 || e.Code == 534 || e.Code == 535 || e.Code == 538
	e.Permanent = e.Code >= 500 && !authentication
	return e
}

// words is a server's text as it may be kept: one line, not too long, without the library's list of recipients.
func words(s string) string {
	s, _, _ = strings.Cut(s, ", affected ")
	s = oneLine(s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// withoutAddresses leaves out every word that may be one.
func withoutAddresses(s string) string {
	list := strings.Fields(s)
	for i, w := range list {
		if strings.Contains(w, "@") {
			list[i] = "…"
		}
	}
	return strings.Join(list, " ")
}
