package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/phone"
)

// Phone is sign-in with a code sent to a telephone by SMS. It needs the block twilio. A restart applies a change.
type Phone struct {
	// Enabled offers it.
	Enabled bool `yaml:"enabled"`
	// Registration is what becomes of somebody whose number nobody has: open (an account at once), approval (one that waits for an administrator),
	// invite or closed. With the last two no message goes to such a number.
	Registration string `yaml:"registration"`
	// Country is whose national numbers are read without a country code, by its ISO 3166 code: DE.
	Country string `yaml:"country"`
	// AllowedCountries are those that messages go to; [] = country alone.
	AllowedCountries []string `yaml:"allowed_countries"`
	// CodeDigits is how many digits a code has, 6 to 8.
	CodeDigits int `yaml:"code_digits"`
	// CodeTTL is how long it is good, 30s to 5m.
	CodeTTL time.Duration `yaml:"code_ttl"`
	// ResendAfter is how long to wait before another message to the same number, 10s to 5m.
	ResendAfter time.Duration `yaml:"resend_after"`
	// ProveAgainAfter is how long a number opens its account after a code sent to it last came back, 1d to 3650d: numbers pass to other people.
	// Later another proof is asked for too.
	ProveAgainAfter time.Duration `yaml:"prove_again_after"`
	// ChangeCooldown is how long a number that somebody put on their account opens it only with another proof, and cannot be changed again;
	// at most 30d.
	ChangeCooldown time.Duration `yaml:"change_cooldown"`
	// Limits are how many messages go out.
	Limits PhoneLimits `yaml:"limits"`
	// Spend is how much they may cost.
	Spend PhoneSpend `yaml:"spend"`
}

// PhoneLimits bound messages, over all processes together. Beyond one, people are told to wait or to sign in another way; beyond those of numbers
// nobody has, nothing is sent and nobody is told.
type PhoneLimits struct {
	// NumberHour is for one number in an hour, 1 to 20.
	NumberHour int `yaml:"number_hour"`
	// NumberDay is for one number in a day, number_hour to 100.
	NumberDay int `yaml:"number_day"`
	// PrefixDay is for those of the ten thousand numbers that differ in the last four digits which nobody has, in a day, 1 to 100000.
	PrefixDay int `yaml:"prefix_day"`
	// PrefixUnanswered is after how many of these in a day they are paused unless one code in five came back, 1 to 1000.
	PrefixUnanswered int `yaml:"prefix_unanswered"`
	// AddressHour is for one network address (/24, /56) in an hour, 1 to 10000.
	AddressHour int `yaml:"address_hour"`
	// ClientHour is for people on their way to one application in an hour, 1 to 1000000.
	ClientHour int `yaml:"client_hour"`
	// CountryDay is for one country in a day, 1 to 1000000.
	CountryDay int `yaml:"country_day"`
}

// PhoneSpend is an estimate: what Twilio charges, its console says. Sums are texts, such as "0.0079".
type PhoneSpend struct {
	// Currency is what sums are in, for people to read.
	Currency string `yaml:"currency"`
	// Price is of a message to a country that prices does not name.
	Price string `yaml:"price"`
	// Prices are by country.
	Prices map[string]string `yaml:"prices"`
	// PerDay stops messages until the day that begins with the first is over.
	PerDay string `yaml:"per_day"`
	// AlarmPercent is the part of per_day at which an alarm is logged, 1 to 100.
	AlarmPercent int `yaml:"alarm_percent"`
	// NewcomersPercent is the part of it that may go to numbers nobody has, 0 to 100: the rest is for people who have an account.
	NewcomersPercent int `yaml:"newcomers_percent"`
}

// Twilio is an account that SMS are sent through. Of several, the one that names a number's country sends to it; else the one called default, else
// the first that names no country.
type Twilio struct {
	// Name tells accounts apart.
	Name string `yaml:"name"`
	// AccountSID is AC and 32 hexadecimal digits.
	AccountSID string `yaml:"account_sid"`
	// AuthToken is the account's primary token. Without an API key it authenticates; it always checks the signature of notices.
	AuthToken Secret `yaml:"auth_token"`
	// AuthTokenFile is a file that holds it instead.
	AuthTokenFile string `yaml:"auth_token_file"`
	// APIKeySID is SK and 32 hexadecimal digits: an API key that authenticates instead of the token.
	APIKeySID string `yaml:"api_key_sid"`
	// APIKeySecret is its secret.
	APIKeySecret Secret `yaml:"api_key_secret"`
	// APIKeySecretFile is a file that holds it instead.
	APIKeySecretFile string `yaml:"api_key_secret_file"`
	// From is the number messages come from, in E.164, or a name of at most 11 letters and digits where carriers allow it.
	From string `yaml:"from"`
	// MessagingServiceSID is MG and 32 hexadecimal digits, instead of from.
	MessagingServiceSID string `yaml:"messaging_service_sid"`
	// VerifyServiceSID is VA and 32 hexadecimal digits: Twilio Verify makes, sends and checks the codes, with its protection against fraud. Their
	// length, their life of ten minutes and the text are set there.
	VerifyServiceSID string `yaml:"verify_service_sid"`
	// Edge is Twilio's point of entry, such as dublin.
	Edge string `yaml:"edge"`
	// Region is where Twilio processes, such as ie1.
	Region string `yaml:"region"`
	// Countries are those whose numbers this account serves; [] = all that no other account names.
	Countries []string `yaml:"countries"`
	// StatusNotices has Twilio report deliveries to issuer/hooks/twilio/status, which it must be able to reach.
	StatusNotices bool `yaml:"status_notices"`
	// BaseURL takes the place of Twilio's addresses, for tests.
	BaseURL string `yaml:"base_url"`
}

// Countries are those that messages go to.
func (p *Phone) Countries() []string {
	if len(p.AllowedCountries) > 0 {
		return p.AllowedCountries
	}
	return []string{p.Country}
}

// Micros reads a sum as millionths.
func Micros(s string) (n int64, ok bool) {
	if !sum.MatchString(s) {
		return 0, false
	}
	whole, part, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+(part + "000000")[:6], 10, 64)
	return n, err == nil
}

var (
	sum        = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,6})?$`)
	senderName = regexp.MustCompile(`^[A-Za-z0-9 ]{1,11}$`)
	alnum      = regexp.MustCompile(`^[A-Za-z0-9]{16,128}$`)
	hostPart   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	twilioName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
)

func defaultPhone() Phone {
	const day = 24 * time.Hour
	return Phone{
		Registration: "invite", CodeDigits: 6, CodeTTL: 3 * time.Minute, ResendAfter: 30 * time.Second, ProveAgainAfter: 180 * day, ChangeCooldown: day,
		Limits: PhoneLimits{NumberHour: 3, NumberDay: 10, PrefixDay: 50, PrefixUnanswered: 10, AddressHour: 30, ClientHour: 500, CountryDay: 1000},
		Spend:  PhoneSpend{Currency: "USD", Price: "0.10", PerDay: "20", AlarmPercent: 80, NewcomersPercent: 50},
	}
}

func (r *reader) checkPhone() {
	const path = "login.phone"
	p := &r.cfg.Login.Phone
	at := func(key string) string { return join(path, key) }
	r.choice(at("registration"), p.Registration, "open", "approval", "invite", "closed")
	country := func(p, c string) {
		if !phone.Known(c) {
			r.problem(p, "%s is no country with telephone numbers; want its ISO 3166 code in capitals, such as DE", r.show(p, c))
		}
	}
	if p.Country != "" {
		country(at("country"), p.Country)
	}
	r.list(at("allowed_countries"), p.AllowedCountries, country)
	if r.cfg.SendsSMS() && p.Country == "" && len(p.AllowedCountries) == 0 {
		r.problem(at("country"), "is missing, and so is allowed_countries: messages would go to no country")
	}
	r.number(at("code_digits"), p.CodeDigits, 6, 8)
	r.duration(at("code_ttl"), p.CodeTTL, 30*time.Second, 5*time.Minute)
	r.duration(at("resend_after"), p.ResendAfter, 10*time.Second, 5*time.Minute)
	r.duration(at("prove_again_after"), p.ProveAgainAfter, 24*time.Hour, 3650*24*time.Hour)
	r.duration(at("change_cooldown"), p.ChangeCooldown, 0, 30*24*time.Hour)
	l := p.Limits
	r.number(at("limits.number_hour"), l.NumberHour, 1, 20)
	r.number(at("limits.number_day"), l.NumberDay, max(l.NumberHour, 1), 100)
	r.number(at("limits.prefix_day"), l.PrefixDay, 1, 100_000)
	r.number(at("limits.prefix_unanswered"), l.PrefixUnanswered, 1, 1000)
	r.number(at("limits.address_hour"), l.AddressHour, 1, 10_000)
	r.number(at("limits.client_hour"), l.ClientHour, 1, 1_000_000)
	r.number(at("limits.country_day"), l.CountryDay, 1, 1_000_000)
	r.checkSpend(&p.Spend, at("spend"))
	if p.Enabled && len(r.cfg.Twilio) == 0 {
		r.problem(at("enabled"), "is true, and there is no block twilio to send messages with")
	}
	r.checkTwilio(p)
}

func (r *reader) checkSpend(s *PhoneSpend, path string) {
	at := func(key string) string { return join(path, key) }
	r.text(at("currency"), s.Currency, 1, 10)
	money := func(p, value string) (n int64) {
		n, ok := Micros(value)
		if !ok || n == 0 {
			r.problem(p, "%s is not a sum; want one such as \"0.0079\"", r.show(p, value))
		}
		return n
	}
	most := money(at("price"), s.Price)
	for c, price := range s.Prices {
		p := at("prices." + keyText(c))
		if !phone.Known(c) {
			r.problem(p, "is no country with telephone numbers; want its ISO 3166 code in capitals, such as DE")
		}
		most = max(most, money(p, price))
	}
	if day := money(at("per_day"), s.PerDay); day > 0 && day < most {
		r.problem(at("per_day"), "is less than one message costs")
	}
	r.number(at("alarm_percent"), s.AlarmPercent, 1, 100)
	r.number(at("newcomers_percent"), s.NewcomersPercent, 0, 100)
}

func (r *reader) checkTwilio(p *Phone) {
	names, taken := map[string]bool{}, map[string]string{}
	rest := false
	for i := range r.cfg.Twilio {
		t, path := &r.cfg.Twilio[i], item("twilio", i)
		if r.spoiltIn(path) {
			continue
		}
		at := func(key string) string { return join(path, key) }
		switch {
		case t.Name == "":
			r.problem(at("name"), "is missing: what tells it from other accounts, such as default")
		case !twilioName.MatchString(t.Name):
			r.problem(at("name"), "%s is no name: a small letter and at most 31 of a-z 0-9 _ -", r.show(at("name"), t.Name))
		case names[t.Name]:
			r.problem(at("name"), "%s is the name of another account", r.show(at("name"), t.Name))
		}
		names[t.Name] = true
		r.sid(at("account_sid"), t.AccountSID, "AC", true)
		r.sid(at("api_key_sid"), t.APIKeySID, "SK", false)
		r.sid(at("messaging_service_sid"), t.MessagingServiceSID, "MG", false)
		r.sid(at("verify_service_sid"), t.VerifyServiceSID, "VA", false)
		r.twilioSecret(&t.AuthToken, t.AuthTokenFile, path, "auth_token")
		r.twilioSecret(&t.APIKeySecret, t.APIKeySecretFile, path, "api_key_secret")
		key, secret := t.APIKeySID != "", !t.APIKeySecret.IsZero() || t.APIKeySecretFile != ""
		token := !t.AuthToken.IsZero() || t.AuthTokenFile != ""
		switch {
		case key && !secret:
			r.problem(at("api_key_secret"), "is missing; it goes with api_key_sid")
		case secret && !key:
			r.problem(at("api_key_sid"), "is missing; it goes with api_key_secret")
		case !key && !token:
			r.problem(at("auth_token"), "is missing, and there is no api_key_sid")
		}
		if t.StatusNotices && !token {
			r.problem(at("status_notices"), "needs auth_token: Twilio signs its notices with the primary token, never with a key")
		}
		if key && token && !t.StatusNotices {
			r.warn(at("auth_token"), "is of no use beside an API key while status_notices is false")
		}
		n, err := phone.Parse(t.From, "")
		switch {
		case t.From != "" && t.MessagingServiceSID != "":
			r.problem(at("from"), "is given beside messaging_service_sid; want one of them")
		case t.From == "" && t.MessagingServiceSID == "" && t.VerifyServiceSID == "":
			r.problem(at("from"), "is missing: the number messages come from, or messaging_service_sid, or verify_service_sid")
		case t.From == "", err == nil && n.E164 == t.From:
		case strings.HasPrefix(t.From, "+"), !senderName.MatchString(t.From), strings.Trim(t.From, "0123456789 ") == "":
			r.problem(at("from"), "%s is no number such as +15005550006, and no name of at most 11 letters, digits and spaces", r.show(at("from"), t.From))
		}
		for _, h := range []struct{ key, value string }{{"edge", t.Edge}, {"region", t.Region}} {
			if h.value != "" && !hostPart.MatchString(h.value) {
				r.problem(at(h.key), "%s cannot be part of a host name", r.show(at(h.key), h.value))
			}
		}
		r.list(at("countries"), t.Countries, func(p, c string) {
			switch {
			case !phone.Known(c):
				r.problem(p, "%s is no country with telephone numbers; want its ISO 3166 code in capitals, such as DE", r.show(p, c))
			case taken[c] != "":
				r.problem(p, "%s is served by the account %s already", r.show(p, c), taken[c])
			}
			taken[c] = t.Name
		})
		rest = rest || len(t.Countries) == 0
		r.webAddress(at("base_url"), t.BaseURL)
	}
	switch {
	case len(r.cfg.Twilio) == 0:
		return
	case !r.cfg.SendsSMS():
		r.warn("twilio", "is of no use while login.phone.enabled and mfa.allow_sms are false")
		return
	}
	for _, c := range p.Countries() {
		if !rest && c != "" && taken[c] == "" {
			r.problem("twilio", "no account serves %s, which login.phone allows", c)
		}
	}
}

// sid demands one of Twilio's names.
func (r *reader) sid(path, got, prefix string, needed bool) {
	if got == "" && !needed {
		return
	}
	if len(got) != 34 || !strings.HasPrefix(got, prefix) || strings.Trim(got[2:], "0123456789abcdefABCDEF") != "" {
		r.problem(path, "%s is not %s and 32 hexadecimal digits", r.show(path, got), prefix)
	}
}

// twilioSecret reads a secret from its file, and demands what twilio-go takes: it refuses everything but letters and digits by itself.
func (r *reader) twilioSecret(s *Secret, file, path, key string) {
	at := join(path, key)
	switch {
	case file != "" && !s.IsZero():
		r.problem(at+"_file", "is given beside %s; want one of them", key)
		return
	case file != "":
		at += "_file"
		text, ok := r.secretFile(at, file)
		if !ok {
			return
		}
		*s = NewSecret(text)
	case s.IsZero():
		return
	}
	if !alnum.MatchString(s.Reveal()) {
		r.problem(at, "is no token of Twilio's: letters and digits, 32 as a rule")
	}
}

// reservedConnector says whether an id is that of a way to sign in of our own.
func reservedConnector(id string) bool {
	return slices.Contains([]string{"password", "email_code", "phone", "passkey"}, id)
}
