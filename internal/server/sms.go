package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/twilio"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
)

// openSMS makes what sends text messages. It does not connect. The demonstration has no account: there they stay where /dev/outbox shows them.
func (s *Server) openSMS() (err error) {
	if !s.cfg.SendsSMS() || len(s.cfg.Twilio) == 0 && s.opts.Demo {
		return nil
	}
	c := twilio.Config{HTTP: web.Outbound(false)}
	for i := range s.cfg.Twilio {
		t := &s.cfg.Twilio[i]
		a := twilio.Account{
			Name: t.Name, SID: t.AccountSID, AuthToken: t.AuthToken.Reveal(), KeySID: t.APIKeySID, KeySecret: t.APIKeySecret.Reveal(), From: t.From,
			MessagingService: t.MessagingServiceSID, VerifyService: t.VerifyServiceSID, Edge: t.Edge, Region: t.Region, Countries: t.Countries, BaseURL: t.BaseURL,
		}
		if t.StatusNotices {
			a.StatusURL = s.issuer + "/hooks/twilio/status"
		}
		c.Accounts = append(c.Accounts, a)
	}
	s.twilio, err = twilio.New(c)
	return configError(s.cfg, "twilio", err)
}

// sendText is delivery.Config.Text. What an operator stopped meanwhile stays unsent.
func (s *Server) sendText(ctx context.Context, m store.Message) error {
	failed := func(words string) error { return &notify.Error{Stage: "twilio", Permanent: true, Words: words} }
	switch sw, err := s.store.Switch(ctx, store.SwitchSMS); {
	case err != nil:
		return err // the database; Twilio was not asked
	case !sw.OffAt.IsZero():
		return failed("text messages are stopped")
	}
	country := phone.Region(m.Recipient)
	var err error
	if m.Kind == store.KindVerify {
		err = s.twilio.StartVerify(ctx, m.Recipient, country, m.Text)
	} else {
		err = s.twilio.Send(ctx, twilio.SMS{ID: m.ID, To: m.Recipient, Country: country, Body: m.Text, ValidFor: m.ExpiresAt.Sub(s.store.Now())})
	}
	if err == nil {
		s.metrics.texts.WithLabelValues("accepted").Inc()
		return nil
	}
	e, ok := errors.AsType[*twilio.Error](err)
	if !ok {
		return failed(err.Error())
	}
	if e.Operator() {
		s.log.ErrorContext(ctx, "Twilio refuses text messages for a reason that only the operator can repair", "code", e.Code, "status", e.Status)
	}
	s.metrics.texts.WithLabelValues(map[twilio.Fate]string{twilio.NotSent: "not_sent", twilio.Refused: "refused", twilio.Unclear: "unclear"}[e.Fate]).Inc()
	words := e.Words
	if e.Code == 0 {
		words = strings.TrimPrefix(e.Error(), "twilio: ") // goes to the log too
	}
	return &notify.Error{Stage: "twilio", Code: e.Code, Permanent: e.Fate != twilio.NotSent, After: e.After, Words: words}
}

// phoneLogin is sign-in by phone, and what second factors take of it, as the configuration has it; nil = no messages.
func (s *Server) phoneLogin() *login.Phone {
	p := &s.cfg.Login.Phone
	if !s.cfg.SendsSMS() {
		return nil
	}
	out := &login.Phone{
		NoSignIn:     !p.Enabled,
		Registration: p.Registration, Country: p.Country, Countries: p.Countries(), Digits: p.CodeDigits, Life: p.CodeTTL, ProveAgain: p.ProveAgainAfter,
		Cooldown: p.ChangeCooldown, Limits: textLimits(p), Key: s.master.Derive("sms-code"), Alarm: s.textAlarm,
		Delivered: func(status string) { s.metrics.texts.WithLabelValues(status).Inc() },
	}
	if s.twilio != nil {
		out.Twilio = s.twilio
	}
	return out
}

func textLimits(p *config.Phone) throttle.Texts {
	l, prices := p.Limits, map[string]int64{}
	for c, sum := range p.Spend.Prices {
		prices[c], _ = config.Micros(sum) // checked when the file was read, like the others
	}
	otherwise, _ := config.Micros(p.Spend.Price)
	day, _ := config.Micros(p.Spend.PerDay)
	return throttle.Texts{
		Gap: p.ResendAfter, NumberHour: int64(l.NumberHour), NumberDay: int64(l.NumberDay), PrefixDay: int64(l.PrefixDay), Unanswered: int64(l.PrefixUnanswered),
		AddressHour: int64(l.AddressHour), ClientHour: int64(l.ClientHour), CountryDay: int64(l.CountryDay),
		Price: func(country string) int64 {
			if n, ok := prices[country]; ok {
				return n
			}
			return otherwise
		},
		PerDay: day, Alarm: day * int64(p.Spend.AlarmPercent) / 100, Newcomers: day * int64(p.Spend.NewcomersPercent) / 100,
	}
}

// Sum is a number of millionths as people write it.
func Sum(micros int64) string {
	whole := fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000)
	return strings.TrimSuffix(strings.TrimRight(whole, "0"), ".")
}

// watchSMS adds what the day's messages cost; it is read when somebody looks.
func (m *metrics) watchSMS(st *store.Store, log *slog.Logger) {
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "latchkey_sms_spent", Help: "Estimated cost of the day's text messages, in the currency of login.phone.spend.",
	}, func() float64 {
		list, err := st.Budgets(context.Background(), throttle.KeyDay)
		if err != nil {
			log.Warn("spent money not read", "err", err)
			return -1
		}
		if len(list) == 0 {
			return 0
		}
		return float64(list[0].Spent) / 1e6
	}))
}

// SMSStatus is what the command line shows of text messages.
type SMSStatus struct {
	Enabled bool // in the configuration
	Switch  store.Switch
	Spent   int64
	PerDay  int64
	Price   string // currency
	Until   store.Time
	// Countries and Prefixes are the counters of the day; Paused are the prefixes of which too few codes came back, or that are full.
	Countries, Prefixes []store.Budget
	Paused              []string
}

// SMSStatus reads how many messages went where, and what is stopped.
func (c *Console) SMSStatus(ctx context.Context) (*SMSStatus, error) {
	p := &c.cfg.Login.Phone
	limits := textLimits(p)
	out := &SMSStatus{Enabled: c.cfg.SendsSMS(), PerDay: limits.PerDay, Price: p.Spend.Currency}
	sw, err := c.Store.Switch(ctx, store.SwitchSMS)
	if err != nil {
		return nil, err
	}
	out.Switch = *sw
	day, err := c.Store.Budgets(ctx, throttle.KeyDay)
	if err != nil {
		return nil, err
	}
	if len(day) == 1 {
		out.Spent, out.Until = day[0].Spent, day[0].ExpiresAt
	}
	if out.Countries, err = c.Store.BudgetsUnder(ctx, throttle.KeyCountry); err != nil {
		return nil, err
	}
	if out.Prefixes, err = c.Store.BudgetsUnder(ctx, throttle.KeyPrefix); err != nil {
		return nil, err
	}
	for _, b := range out.Prefixes {
		if b.N >= limits.PrefixDay || b.N >= limits.Unanswered && b.Good*throttle.Answered < b.N {
			out.Paused = append(out.Paused, strings.TrimPrefix(b.Key, throttle.KeyPrefix))
		}
	}
	return out, nil
}
