// Package notifytest is a mail server for tests: real SMTP over real sockets on 127.0.0.1, with TLS, authentication, refusals and outages.
// It keeps what it was given and delivers nothing.
package notifytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Options of a Server. The zero value speaks plainly, offers STARTTLS and asks for no password.
type Options struct {
	Implicit       bool // TLS from the first byte
	NoTLS          bool
	User, Password string // asked for
}

// Server is a mail server. Make it with Start.
type Server struct {
	Host  string
	Port  int
	Roots *x509.CertPool // of its certificate

	t       testing.TB
	options Options
	tls     *tls.Config

	mu     sync.Mutex
	smtp   *smtp.Server // nil = down
	listen net.Listener
	reject func(command, argument string) error
	stall  time.Duration
	mails  []Mail
	tries  int
}

// Mail is one that was taken over.
type Mail struct {
	From, To   string // of the envelope
	TLS        bool
	User       string // who was authenticated
	Raw        string
	Header     mail.Header
	Subject    string // decoded
	Text, HTML string // decoded
}

// Start serves until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, options: o, Host: "127.0.0.1"}
	s.tls, s.Roots = certificate(t)
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// Up begins to listen, on the same port as before.
func (s *Server) Up() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.Port})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{s: s, conn: c}, nil }))
	srv.Domain, srv.ErrorLog = "mail.test", log.New(io.Discard, "", 0)
	srv.AllowInsecureAuth = s.options.NoTLS
	srv.EnableSMTPUTF8 = true
	var listener net.Listener = l
	switch {
	case s.options.Implicit:
		listener = tls.NewListener(l, s.tls)
	case !s.options.NoTLS:
		srv.TLSConfig = s.tls
	}
	s.smtp, s.listen = srv, listener
	go func() { _ = srv.Serve(listener) }()
}

// Down stops listening and breaks what is open.
func (s *Server) Down() {
	s.mu.Lock()
	srv, l := s.smtp, s.listen
	s.smtp = nil
	s.mu.Unlock()
	if srv != nil {
		_ = l.Close() // it may not have begun to serve
		_ = srv.Close()
	}
}

// Reject answers MAIL, RCPT and DATA with what f returns: nil, or for example Refusal(550, …). nil = everything is taken.
func (s *Server) Reject(f func(command, argument string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reject = f
}

// Stall makes the answer to DATA take so long.
func (s *Server) Stall(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = d
}

// Refusal is an answer with a code and its words.
func Refusal(code int, enhanced [3]int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: words}
}

// Mails are those taken over so far.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mails...)
}

// Tries counts MAIL commands.
func (s *Server) Tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func (s *Server) judge(command, argument string) error {
	s.mu.Lock()
	f := s.reject
	if command == "MAIL" {
		s.tries++
	}
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(command, argument)
}

type session struct {
	s    *Server
	conn *smtp.Conn
	mail Mail
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.s.options.User || password != s.s.options.Password {
			return smtp.ErrAuthFailed
		}
		s.mail.User = user
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.s.options.User != "" && s.mail.User == "" {
		return Refusal(530, [3]int{5, 7, 0}, "Authentication required")
	}
	_, s.mail.TLS = s.conn.TLSConnectionState()
	s.mail.From = from
	return s.s.judge("MAIL", from)
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = to
	return s.s.judge("RCPT", to)
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.s.mu.Lock()
	stall := s.s.stall
	s.s.mu.Unlock()
	time.Sleep(stall)
	if err := s.s.judge("DATA", string(raw)); err != nil {
		return err
	}
	m := s.mail
	m.Raw = string(raw)
	if err := m.read(); err != nil {
		s.s.t.Errorf("a mail nobody can read: %v\n%s", err, raw)
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	s.s.mails = append(s.s.mails, m)
	return nil
}

// Reset implements smtp.Session.
func (s *session) Reset() {}

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// read takes the mail apart as a reader of mail does.
func (m *Mail) read() error {
	msg, err := mail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		return err
	}
	m.Header = msg.Header
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		return err
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if kind == "text/plain" {
		m.Text, err = body(msg.Header.Get("Content-Transfer-Encoding"), msg.Body)
		return err
	}
	if kind != "multipart/alternative" {
		return errors.New("the content is " + kind)
	}
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		text, err := body(part.Header.Get("Content-Transfer-Encoding"), part)
		if err != nil {
			return err
		}
		switch kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); {
		case kind == "text/plain" && m.HTML == "": // RFC 2046 §5.1.4: the plainest first
			m.Text = text
		case kind == "text/html":
			m.HTML = text
		default:
			return errors.New("an alternative is " + kind)
		}
	}
}

func body(encoding string, r io.Reader) (string, error) {
	if strings.EqualFold(encoding, "quoted-printable") {
		r = quotedprintable.NewReader(r)
	}
	b, err := io.ReadAll(r)
	return string(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))), err
}

func certificate(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}
