// Package twiliotest is a stand-in of Twilio's Messages and Verify v2 on 127.0.0.1, as strict as the real ones: HTTP Basic, form bodies,
// required parameters, shapes of answers and errors, 429 with Retry-After. It keeps what it was given, and sends notices that are signed as
// Twilio's are.
package twiliotest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Credentials of the fake's one account.
const (
	AccountSID = "AC0123456789abcdef0123456789abcdef"
	AuthToken  = "0123456789abcdefghij0123456789ab"
	KeySID     = "SK0123456789abcdef0123456789abcdef"
	KeySecret  = "ABCDEFGHIJ0123456789abcdefghijkl"
	From       = "+15005550006"
	ServiceSID = "MG0123456789abcdef0123456789abcdef"
	VerifySID  = "VA0123456789abcdef0123456789abcdef"
)

// Message is one SMS that was taken over, also one of Verify.
type Message struct {
	SID, To, From, Service, Body string
	StatusCallback               string
	ValidityPeriod               int
	Host, User                   string // the Host header, and who was authenticated
	Code                         string // of Verify
	Locale                       string
	At                           time.Time
}

// Fault is an answer other than the good one: Twilio's error with a status, or a broken connection.
type Fault struct {
	Status, Code int
	RetryAfter   int  // seconds
	Hang         bool // the message is taken over and the connection breaks before the answer
}

// Server is the fake. Make it with New.
type Server struct {
	URL string

	http *http.Server

	mu       sync.Mutex
	messages []Message
	calls    int
	fault    func(to string, call int) *Fault
	verifies map[string]*verification // by number
	Client   *http.Client             // sends the notices; nil = http.DefaultClient
}

type verification struct {
	sid, code string
	sends     int
	checks    int
	ends      time.Time
}

// New serves until Close.
func New() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String(), verifies: map[string]*verification{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", s.authenticated(s.createMessage))
	mux.HandleFunc("POST /v2/Services/{service}/Verifications", s.authenticated(s.createVerification))
	mux.HandleFunc("POST /v2/Services/{service}/VerificationCheck", s.authenticated(s.createCheck))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, 20404, "The requested resource "+r.URL.Path+" was not found")
	})
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.http.Serve(l) }() // its end is Close
	return s, nil
}

// Close stops it and breaks what is open.
func (s *Server) Close() { _ = s.http.Close() }

// Messages are those taken over, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// To are the messages to one number, oldest first.
func (s *Server) To(number string) []Message {
	return slices.DeleteFunc(s.Messages(), func(m Message) bool { return m.To != number })
}

// Calls is how many requests came with good credentials.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Fail has f decide about each request to send, which it knows by its number and by its place in the order; nil = all are good.
func (s *Server) Fail(f func(to string, call int) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// ExpireVerifications ends what waits for a check, as ten minutes would.
func (s *Server) ExpireVerifications() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.verifies)
}

func (s *Server) authenticated(next func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || !(user == AccountSID && password == AuthToken || user == KeySID && password == KeySecret) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Twilio API"`)
			problem(w, http.StatusUnauthorized, 20003, "Authenticate")
			return
		}
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
			problem(w, http.StatusUnsupportedMediaType, 20006, "Unsupported media type")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
			problem(w, http.StatusBadRequest, 20001, "Bad request")
			return
		}
		s.mu.Lock()
		s.calls++
		s.mu.Unlock()
		next(w, r)
	}
}

// What this fake takes of the parameters that Twilio knows; more would be a mistake of ours.
var (
	messageParams = []string{"To", "From", "MessagingServiceSid", "Body", "StatusCallback", "ValidityPeriod", "RiskCheck", "SmartEncoded"}
	verifyParams  = []string{"To", "Channel", "Locale", "RiskCheck"}
	checkParams   = []string{"To", "Code"}
)

// known refuses what is not among params, and what is there twice.
func known(w http.ResponseWriter, f url.Values, params []string) bool {
	for k, v := range f {
		if !slices.Contains(params, k) || len(v) != 1 {
			problem(w, http.StatusBadRequest, 20001, "Unexpected parameter "+k)
			return false
		}
	}
	return true
}

func riskCheck(f url.Values) bool {
	return slices.Contains([]string{"", "enable", "disable"}, f.Get("RiskCheck"))
}

func (s *Server) createMessage(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("account") != AccountSID {
		problem(w, http.StatusNotFound, 20404, "The requested resource was not found")
		return
	}
	f := r.PostForm
	validity, verr := 14400, error(nil)
	if v := f.Get("ValidityPeriod"); v != "" {
		validity, verr = strconv.Atoi(v)
	}
	callback, cerr := url.Parse(f.Get("StatusCallback"))
	from, service := f.Get("From"), f.Get("MessagingServiceSid")
	if !known(w, f, messageParams) {
		return
	}
	switch {
	case f.Get("To") == "":
		problem(w, http.StatusBadRequest, 21604, "A 'To' phone number is required.")
	case !e164(f.Get("To")):
		problem(w, http.StatusBadRequest, 21211, "The 'To' number "+f.Get("To")+" is not a valid phone number.")
	case from == "" && service == "":
		problem(w, http.StatusBadRequest, 21603, "A 'From' phone number is required.")
	case from != "" && from != From:
		problem(w, http.StatusBadRequest, 21606, "The 'From' phone number "+from+" is not a valid, SMS-capable inbound phone number for your account.")
	case service != "" && service != ServiceSID:
		problem(w, http.StatusNotFound, 21701, "The Messaging Service does not exist.")
	case f.Get("Body") == "":
		problem(w, http.StatusBadRequest, 21602, "Message body is required.")
	case len([]rune(f.Get("Body"))) > 1600:
		problem(w, http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit.")
	case verr != nil || validity < 1 || validity > 36000:
		problem(w, http.StatusBadRequest, 21626, "The 'ValidityPeriod' is invalid.")
	case !riskCheck(f):
		problem(w, http.StatusBadRequest, 20001, "RiskCheck")
	case cerr != nil || f.Get("StatusCallback") != "" && callback.Host == "":
		problem(w, http.StatusBadRequest, 21609, "The 'StatusCallback' URL is not a valid URL.")
	default:
		user, _, _ := r.BasicAuth()
		m := Message{SID: sid("SM"), To: f.Get("To"), From: from, Service: service, Body: f.Get("Body"), StatusCallback: f.Get("StatusCallback"),
			ValidityPeriod: validity, Host: r.Host, User: user, At: time.Now()}
		if !s.take(w, m) {
			return
		}
		now := time.Now().UTC().Format(time.RFC1123Z)
		answer(w, http.StatusCreated, map[string]any{
			"sid": m.SID, "account_sid": AccountSID, "messaging_service_sid": orNull(service), "body": m.Body, "from": orNull(from), "to": m.To,
			"direction": "outbound-api", "status": "queued", "num_segments": "1", "num_media": "0", "price": nil, "price_unit": nil, "error_code": nil,
			"error_message": nil, "api_version": "2010-04-01", "uri": "/2010-04-01/Accounts/" + AccountSID + "/Messages/" + m.SID + ".json",
			"date_created": now, "date_updated": now, "date_sent": nil,
			"subresource_uris": map[string]string{"media": "/2010-04-01/Accounts/" + AccountSID + "/Messages/" + m.SID + "/Media.json"},
		})
	}
}

// take keeps a message unless a fault says otherwise; false = the answer is written, or never will be.
func (s *Server) take(w http.ResponseWriter, m Message) bool {
	s.mu.Lock()
	var fault *Fault
	if s.fault != nil {
		fault = s.fault(m.To, s.calls)
	}
	if fault == nil || fault.Hang {
		s.messages = append(s.messages, m)
	}
	s.mu.Unlock()
	switch {
	case fault == nil:
		return true
	case fault.Hang:
		panic(http.ErrAbortHandler)
	case fault.Status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(max(fault.RetryAfter, 1)))
		w.Header().Set("Twilio-Reached-Rate-Limit", "1")
	}
	if fault.Code == 0 {
		http.Error(w, "upstream trouble", fault.Status)
		return false
	}
	problem(w, fault.Status, fault.Code, "refused: "+m.To)
	return false
}

func (s *Server) createVerification(w http.ResponseWriter, r *http.Request) {
	f := r.PostForm
	to := f.Get("To")
	if !known(w, f, verifyParams) {
		return
	}
	switch {
	case r.PathValue("service") != VerifySID:
		problem(w, http.StatusNotFound, 20404, "The requested resource was not found")
		return
	case !e164(to) || f.Get("Channel") != "sms" || len(f.Get("Locale")) > 10 || !riskCheck(f):
		problem(w, http.StatusBadRequest, 60200, "Invalid parameter")
		return
	}
	s.mu.Lock()
	v := s.verifies[to]
	if v == nil || time.Now().After(v.ends) {
		v = &verification{sid: sid("VE"), code: digits(6), ends: time.Now().Add(10 * time.Minute)}
	}
	over := v.sends >= 5
	s.mu.Unlock()
	if over {
		w.Header().Set("Retry-After", "600")
		problem(w, http.StatusTooManyRequests, 60203, "Max send attempts reached")
		return
	}
	user, _, _ := r.BasicAuth()
	if !s.take(w, Message{SID: v.sid, To: to, Body: "Your code is: " + v.code, Code: v.code, Locale: f.Get("Locale"), Host: r.Host, User: user, At: time.Now()}) {
		return
	}
	s.mu.Lock()
	v.sends++
	s.verifies[to] = v
	s.mu.Unlock()
	now := time.Now().UTC().Format(time.RFC3339)
	answer(w, http.StatusCreated, map[string]any{"sid": v.sid, "service_sid": VerifySID, "account_sid": AccountSID, "to": to, "channel": "sms",
		"status": "pending", "valid": false, "date_created": now, "date_updated": now, "lookup": map[string]any{}, "amount": nil, "payee": nil, "sna": nil,
		"send_code_attempts": []map[string]any{{"time": now, "channel": "SMS", "attempt_sid": sid("VL")}},
		"url":                "https://verify.twilio.com/v2/Services/" + VerifySID + "/Verifications/" + v.sid})
}

func (s *Server) createCheck(w http.ResponseWriter, r *http.Request) {
	f := r.PostForm
	to, code := f.Get("To"), f.Get("Code")
	if !known(w, f, checkParams) {
		return
	}
	if r.PathValue("service") != VerifySID || !e164(to) || len(code) < 4 || len(code) > 10 {
		problem(w, http.StatusBadRequest, 60200, "Invalid parameter")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.verifies[to]
	if v == nil || time.Now().After(v.ends) {
		problem(w, http.StatusNotFound, 20404, "The requested resource /Services/"+VerifySID+"/VerificationCheck was not found")
		return
	}
	if v.checks >= 5 {
		problem(w, http.StatusTooManyRequests, 60202, "Max check attempts reached")
		return
	}
	v.checks++
	right := hmac.Equal([]byte(v.code), []byte(code))
	status := "pending"
	if right {
		status = "approved"
		delete(s.verifies, to)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	answer(w, http.StatusOK, map[string]any{"sid": v.sid, "service_sid": VerifySID, "account_sid": AccountSID, "to": to, "channel": "sms", "status": status,
		"valid": right, "amount": nil, "payee": nil, "sna_attempts_error_codes": []any{}, "date_created": now, "date_updated": now})
}

// Notify sends the notice about a message to where its sender wanted it, signed with token, and returns the answer's status.
func (s *Server) Notify(m Message, status string, errorCode int, token string) (int, error) {
	form := url.Values{"MessageSid": {m.SID}, "SmsSid": {m.SID}, "MessageStatus": {status}, "SmsStatus": {status}, "To": {m.To}, "From": {m.From},
		"AccountSid": {AccountSID}, "ApiVersion": {"2010-04-01"}}
	if errorCode != 0 {
		form.Set("ErrorCode", strconv.Itoa(errorCode))
	}
	r, err := http.NewRequest(http.MethodPost, m.StatusCallback, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Twilio-Signature", Sign(m.StatusCallback, form, token))
	c := s.Client
	if c == nil {
		c = http.DefaultClient
	}
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// Sign is Twilio's signature: HMAC-SHA1 over the address and the parameters in the order of their names.
func Sign(address string, form url.Values, token string) string {
	names := make([]string, 0, len(form))
	for k := range form {
		names = append(names, k)
	}
	slices.Sort(names)
	h := hmac.New(sha1.New, []byte(token))
	h.Write([]byte(address))
	for _, k := range names {
		h.Write([]byte(k + form.Get(k)))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}

func problem(w http.ResponseWriter, status, code int, message string) {
	answer(w, status, map[string]any{"code": code, "message": message, "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), "status": status})
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func sid(prefix string) string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

func digits(n int) string {
	out := ""
	for range n {
		d, err := rand.Int(rand.Reader, big.NewInt(10))
		if err != nil {
			panic(err) // never: crypto/rand ends the program instead
		}
		out += d.String()
	}
	return out
}

func e164(s string) bool {
	return len(s) >= 8 && len(s) <= 16 && s[0] == '+' && s[1] != '0' && strings.Trim(s[1:], "0123456789") == ""
}
