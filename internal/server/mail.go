package server

import (
	"cmp"
	"context"
	"net/url"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/delivery"
	"github.com/latchkey-idp/latchkey/internal/notify"
)

// openOutbox makes the worker that sends what is in the outbox. It does not connect: a mail server that is down stops nothing but mail. In
// the demonstration mail and SMS are on and stay where /dev/outbox shows them.
func (s *Server) openOutbox(context.Context) error {
	if err := s.openSMS(); err != nil {
		return err
	}
	if s.opts.Demo || !s.cfg.Mail.On() && s.twilio == nil {
		return nil
	}
	d := delivery.Config{Store: s.store, Logger: s.log, Observe: func(result string) { s.metrics.messages.WithLabelValues(result).Inc() }}
	if s.cfg.Mail.On() {
		c, err := mailer(s.cfg)
		if err != nil {
			return err
		}
		mail, err := notify.New(c)
		if err != nil {
			return configError(s.cfg, "mail", err)
		}
		d.Send, d.Timeout = mail.Send, c.Timeout
	}
	if s.twilio != nil {
		d.Text = s.sendText
		s.metrics.watchSMS(s.store, s.log)
	}
	var err error
	s.delivery, err = delivery.New(d)
	return err
}

func mailer(c *config.Config) (notify.Config, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return notify.Config{}, configError(c, "issuer", err)
	}
	host, port := c.Mail.Address()
	return notify.Config{
		Host: host, Port: port, TLS: c.Mail.TLS, User: c.Mail.User, Password: c.Mail.Password.Reveal(),
		From: c.Mail.From, FromName: cmp.Or(c.Mail.FromName, c.AppName), Domain: u.Hostname(), Timeout: c.Mail.Timeout,
	}, nil
}

// codeKey hashes the codes in mails, nil where no mail is sent.
func (s *Server) codeKey() []byte {
	if !s.opts.Demo && !s.cfg.Mail.On() {
		return nil
	}
	return s.master.Derive("mail-code")
}
