// Package twilio sends text messages through Twilio, and checks the codes that Twilio itself sent.
//
//	SMS ─▶ account by country ─▶ twilio-go ─▶ the caller's guarded client ─▶ api.twilio.com ─┬─ 2xx ───────────▶ nil: Twilio has it
//	                                                                                         ├─ not sent ──────▶ *Error{NotSent}: try again
//	                                                                                         ├─ refused ───────▶ *Error{Refused}: and why
//	                                                                                         └─ nobody knows ──▶ *Error{Unclear}: never again
//
// It owns what is Twilio's: accounts with their hosts and keys, parameters, error numbers, the signature of notices. It refuses to send twice:
// what may have gone out is reported so. It keeps nothing, and no error's text holds a number or a code.
package twilio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"
	verify "github.com/twilio/twilio-go/rest/verify/v2"
)

// Account is one account at Twilio with how it sends.
type Account struct {
	Name      string
	SID       string // AC…
	AuthToken string // the primary one; it also signs notices
	KeySID    string // SK…, with KeySecret: requests are made with these
	KeySecret string

	From             string // E.164, or a name that carriers show
	MessagingService string // MG…, instead of From
	VerifyService    string // VA…: Twilio makes, sends and checks the codes

	Edge, Region string   // of api.EDGE.REGION.twilio.com; "" = Twilio's choice
	Countries    []string // whose numbers it serves; none = all that no other account names
	BaseURL      string   // replaces scheme and host, for tests; "" = Twilio
	StatusURL    string   // where notices about messages go; "" = nowhere
}

// Config of a Client.
type Config struct {
	Accounts []Account
	HTTP     *http.Client  // guarded; its Transport is used and its Timeout is the default of the next
	Timeout  time.Duration // of a call; default 8 s
}

// Client sends. It is safe for concurrent use. Make it with New.
type Client struct {
	accounts []Account
	next     http.RoundTripper
	timeout  time.Duration
}

// New checks the configuration; it does not connect.
func New(c Config) (*Client, error) {
	if len(c.Accounts) == 0 || c.HTTP == nil || c.HTTP.Transport == nil {
		return nil, errors.New("twilio: Accounts and HTTP with a Transport are required")
	}
	for _, a := range c.Accounts {
		switch {
		case !IsSID(a.SID, "AC"):
			return nil, fmt.Errorf("twilio: account %s: SID", a.Name)
		case (a.KeySID == "") != (a.KeySecret == ""), a.KeySID == "" && a.AuthToken == "":
			return nil, fmt.Errorf("twilio: account %s: an auth token, or a key with its secret", a.Name)
		case a.From == "" && a.MessagingService == "" && a.VerifyService == "":
			return nil, fmt.Errorf("twilio: account %s: nothing to send from", a.Name)
		case a.StatusURL != "" && a.AuthToken == "":
			return nil, fmt.Errorf("twilio: account %s: notices are signed with the auth token", a.Name)
		}
	}
	return &Client{slices.Clone(c.Accounts), c.HTTP.Transport, cmp.Or(c.Timeout, 8*time.Second)}, nil
}

// IsSID says whether s is one of Twilio's names with that beginning: two letters and 32 hexadecimal digits.
func IsSID(s, prefix string) bool {
	return len(s) == 34 && strings.HasPrefix(s, prefix) && strings.Trim(s[2:], "0123456789abcdefABCDEF") == ""
}

// Fate is what became of a message that was not taken over.
type Fate int

const (
	NotSent Fate = iota // and it may be tried again
	Refused             // it would be refused again
	Unclear             // it may have gone out: nobody saw the answer
)

// Error is a call that failed.
type Error struct {
	Fate   Fate
	Status int           // of the answer, 0 = there was none
	Code   int           // Twilio's number, 0 = none
	After  time.Duration // what Retry-After says
	Words  string        // Twilio's, or what went wrong here; may name the number: for the row, not for the log
}

// Error holds no number of a person and no code.
func (e *Error) Error() string {
	switch {
	case e.Code != 0:
		return fmt.Sprintf("twilio: error %d (HTTP %d)", e.Code, e.Status)
	case e.Status != 0:
		return fmt.Sprintf("twilio: HTTP %d", e.Status)
	case e.Fate == Unclear:
		return "twilio: no answer; the message may have gone out"
	}
	return "twilio: not reached"
}

// Operator says whether only whoever runs this server can repair it: keys, senders, an account that may not do it.
func (e *Error) Operator() bool {
	return e.Status == http.StatusUnauthorized || slices.Contains([]int{20003, 20404, 21212, 21222, 21224, 21606, 21608, 21612, 21703, 575001}, e.Code)
}

// SMS is one text message.
type SMS struct {
	ID       string // ours, for the notices
	To       string // E.164
	Country  string // of To
	Body     string
	ValidFor time.Duration // the carrier drops it later
}

// account finds the one that serves a country: one that names it, else the one called default, else the first that names none.
func (c *Client) account(country string) *Account {
	var rest *Account
	for i := range c.accounts {
		a := &c.accounts[i]
		if slices.Contains(a.Countries, country) {
			return a
		}
		if len(a.Countries) == 0 && (rest == nil || a.Name == "default") {
			rest = a
		}
	}
	return rest
}

// Serves says whether there is an account for a country's numbers, and whether Twilio makes the codes there.
func (c *Client) Serves(country string) (ok, verify bool) {
	a := c.account(country)
	return a != nil, a != nil && a.VerifyService != ""
}

var errNoAccount = &Error{Fate: Refused, Words: "no account sends there"}

// Send hands a message over. Any error is an *Error.
func (c *Client) Send(ctx context.Context, m SMS) error {
	a := c.account(m.Country)
	if a == nil || a.From == "" && a.MessagingService == "" { // Verify sends its codes and nothing else
		return errNoAccount
	}
	k := c.begin(ctx, a)
	defer k.cancel()
	p := new(api.CreateMessageParams).SetTo(m.To).SetBody(m.Body).SetRiskCheck("enable")
	p.SetValidityPeriod(min(max(int(m.ValidFor/time.Second), 1), 36000))
	if a.MessagingService != "" {
		p.SetMessagingServiceSid(a.MessagingService)
	} else {
		p.SetFrom(a.From)
	}
	if a.StatusURL != "" {
		p.SetStatusCallback(a.StatusURL + "?" + url.Values{"message": {m.ID}}.Encode())
	}
	_, err := api.NewApiService(k.handler).CreateMessage(p)
	return k.failed(err)
}

// StartVerify has Twilio make a code and send it. Any error is an *Error.
func (c *Client) StartVerify(ctx context.Context, to, country, locale string) error {
	a := c.account(country)
	if a == nil || a.VerifyService == "" {
		return errNoAccount
	}
	k := c.begin(ctx, a)
	defer k.cancel()
	p := new(verify.CreateVerificationParams).SetTo(to).SetChannel("sms").SetRiskCheck("enable")
	if locale != "" {
		p.SetLocale(locale)
	}
	_, err := verify.NewApiService(k.handler).CreateVerification(a.VerifyService, p)
	return k.failed(err)
}

// Errors of CheckVerify that say something about the code; any other is an *Error.
var (
	ErrGone  = errors.New("twilio: the code has run out, was used or was never sent")
	ErrTries = errors.New("twilio: too many checks of this code")
)

// CheckVerify asks Twilio whether a code is the one it sent.
func (c *Client) CheckVerify(ctx context.Context, to, country, code string) (right bool, err error) {
	a := c.account(country)
	if a == nil || a.VerifyService == "" {
		return false, errNoAccount
	}
	k := c.begin(ctx, a)
	defer k.cancel()
	out, err := verify.NewApiService(k.handler).CreateVerificationCheck(a.VerifyService, new(verify.CreateVerificationCheckParams).SetTo(to).SetCode(code))
	if err != nil {
		if failed := k.failed(err); failed != nil {
			var e *Error
			if errors.As(failed, &e) {
				switch {
				case e.Status == http.StatusNotFound:
					return false, ErrGone
				case e.Code == 60202:
					return false, ErrTries
				}
			}
			return false, failed
		}
		return false, &Error{Status: k.status, Words: "unreadable answer"} // 2xx, and nobody knows which
	}
	// A wrong code is 200 with the status pending.
	return out.Status != nil && *out.Status == "approved" && out.To != nil && *out.To == to, nil
}

// Notice says whether a notice about a message is Twilio's: X-Twilio-Signature is over address, which is what Twilio was given, and form.
func (c *Client) Notice(address string, form url.Values, signature string) bool {
	if signature == "" {
		return false
	}
	params := make(map[string]string, len(form))
	for k, v := range form {
		if len(v) != 1 { // the signature would cover one of them only
			return false
		}
		params[k] = v[0]
	}
	for i := range c.accounts {
		a := &c.accounts[i]
		if a.StatusURL == "" || a.SID != params["AccountSid"] {
			continue
		}
		v := client.NewRequestValidator(a.AuthToken)
		if v.Validate(address, params, signature) {
			return true
		}
	}
	return false
}

// call is one request. twilio-go knows no context, so its transport brings the caller's.
type call struct {
	handler *client.RequestHandler
	cancel  context.CancelFunc
	ctx     context.Context
	next    http.RoundTripper
	base    *url.URL // nil = Twilio itself

	connected atomic.Bool
	status    int
	after     time.Duration
}

func (c *Client) begin(ctx context.Context, a *Account) *call {
	k := &call{next: c.next}
	ctx, k.cancel = context.WithTimeout(ctx, c.timeout)
	k.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { k.connected.Store(true) }})
	if a.BaseURL != "" {
		k.base, _ = url.Parse(a.BaseURL) // checked with the configuration
	}
	user, password := a.SID, a.AuthToken
	if a.KeySID != "" {
		user, password = a.KeySID, a.KeySecret
	}
	t := &client.Client{Credentials: client.NewCredentials(user, password), HTTPClient: &http.Client{
		Transport: k, Timeout: c.timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.SetAccountSid(a.SID)
	k.handler = client.NewRequestHandler(t)
	k.handler.Edge, k.handler.Region = a.Edge, a.Region // also when empty: twilio-go would look into the environment
	return k
}

// RoundTrip implements http.RoundTripper.
func (k *call) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(k.ctx)
	if k.base != nil {
		r.Host, r.URL.Scheme, r.URL.Host = r.URL.Host, k.base.Scheme, k.base.Host
	}
	res, err := k.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	k.status = res.StatusCode
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		k.after = min(time.Duration(s)*time.Second, time.Hour)
	}
	return res, nil
}

// failed reads what twilio-go makes of an answer.
func (k *call) failed(err error) error {
	if err == nil && k.status < 300 || k.status >= 200 && k.status < 300 {
		return nil // taken over, even if its answer cannot be read
	}
	e := &Error{Status: k.status, After: k.after}
	var rest *client.TwilioRestError
	if errors.As(err, &rest) {
		e.Code, e.Words = rest.Code, rest.Message
		e.Status = cmp.Or(e.Status, rest.Status) // refused by twilio-go itself
	} else if err != nil {
		e.Words = err.Error()
	}
	switch {
	case k.status == http.StatusTooManyRequests && (e.Code == 0 || e.Code == 20429), k.status == http.StatusServiceUnavailable:
	case k.status >= 500:
		e.Fate = Unclear
	case e.Status != 0:
		e.Fate = Refused
	case k.connected.Load():
		e.Fate = Unclear
	}
	return e
}
