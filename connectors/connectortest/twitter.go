package connectortest

import (
	"crypto/hmac"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Twitter is a fake of X: x.com with the page, api.x.com with the token endpoint and users/me.
type Twitter struct {
	*scripted
	AuthorizeURL      string // what TwitterConfig takes
	OtherAuthorizeURL string // the second address under which X has the same page
	APIURL            string

	clients []Client
	people  []Person
	codes   map[string]*twitterCode
	tokens  map[string]*twitterToken
	windows map[string]*twitterWindow // of the rate limit, by person
	modes   TwitterModes
}

// TwitterModes are what an app's settings, a subscription or a bad day at X do.
type TwitterModes struct {
	NoEmailSwitch bool // "Request email from users" is off
	NotEnrolled   bool // the app belongs to no project: users/me answers 403
	NoCredits     bool // nothing is left to pay for reads
	Outage        bool // everything at the API answers 401
	Suspended     bool // users/me answers 200 with errors and without data
	TokenStatus   int  // of invalid_request and unauthorized_client; 0 = 400 and 401
}

type twitterCode struct {
	client, person, redirectURI, challenge, method string
	scopes                                         []string
	made                                           time.Time
	used                                           bool
}

type twitterToken struct {
	client, person string
	scopes         []string
	expires        time.Time
}

type twitterWindow struct {
	resets time.Time
	left   int
}

// X's limits.
const (
	twitterCodeLife  = 30 * time.Second
	twitterTokenLife = 2 * time.Hour
	twitterWindowOf  = 15 * time.Minute
	twitterReads     = 75
	twitterMaxState  = 500
)

// NewTwitter starts the fake, with one app registered: a confidential one if it has a secret, else a public one.
func NewTwitter(c Client) (*Twitter, error) {
	t := &Twitter{
		scripted: newScripted(c.Port), clients: []Client{c}, codes: map[string]*twitterCode{}, tokens: map[string]*twitterToken{}, windows: map[string]*twitterWindow{},
		people: []Person{
			{ID: "7700000000000000021", Name: "Ada L", Username: "ada_l", Email: "ada@example.com", Picture: "https://pbs.twimg.example/ada_normal.jpg"},
			{ID: "7700000000000000022", Name: "Grace", Username: "grace"}, // has confirmed no address
			{ID: "12", Name: "Alan van T", Username: "alan_t", Email: "alan@elsewhere.example"},
		},
	}
	o, err := t.hosts("x", "api")
	if err != nil {
		return nil, err
	}
	t.AuthorizeURL, t.OtherAuthorizeURL, t.APIURL = o["x"]+"/i/oauth2/authorize", o["api"]+"/2/oauth2/authorize", o["api"]
	t.serve("x", "GET /i/oauth2/authorize", "authorize", t.authorize)
	t.serve("api", "GET /2/oauth2/authorize", "authorize", t.authorize)
	t.api("POST /2/oauth2/token", "token", t.token)
	t.api("POST /2/oauth2/revoke", "revoke", t.revoke)
	t.api("GET /2/users/me", "userinfo", t.me)
	t.serve("api", "/", "unknown", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "Not Found", "about:blank", "No route for "+r.Method+" "+r.URL.Path, nil)
	})
	return t, nil
}

// api serves an endpoint that an outage takes along.
func (t *Twitter) api(pattern, endpoint string, h http.HandlerFunc) {
	t.serve("api", pattern, endpoint, func(w http.ResponseWriter, r *http.Request) {
		if t.mode().Outage {
			problem(w, http.StatusUnauthorized, "Unauthorized", "about:blank", "Unauthorized", nil)
			return
		}
		h(w, r)
	})
}

func (t *Twitter) mode() TwitterModes {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.modes
}

// Modes sets what follows from settings, subscription and bad days.
func (t *Twitter) Modes(m TwitterModes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.modes = m
}

// AddApp registers another app.
func (t *Twitter) AddApp(c Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clients = append(t.clients, c)
}

// SetPeople says who has an account. Person.ID is decimal, Person.Claims changes what users/me says.
func (t *Twitter) SetPeople(people ...Person) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.people = slices.Clone(people)
}

func (t *Twitter) client(id string) (Client, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return findClient(t.clients, id)
}

// twitterScopes are those that a login may ask for, and some that it should not.
var twitterScopes = []string{"tweet.read", "users.read", "users.email", "offline.access", "follows.read", "tweet.write"}

// authorize is the page where a person lets an app know who they are. X tells the person about every mistake, and nobody comes back.
func (t *Twitter) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c, known := t.client(q.Get("client_id"))
	scopes := strings.Fields(q.Get("scope"))
	unknown := slices.IndexFunc(scopes, func(s string) bool { return !slices.Contains(twitterScopes, s) })
	method := q.Get("code_challenge_method")
	why := ""
	switch {
	case single(q) != "":
		why = single(q) + " is given twice"
	case q.Get("response_type") != "code":
		why = "response_type must be code"
	case !known:
		why = "no such client_id"
	case !slices.Contains(c.RedirectURIs, q.Get("redirect_uri")):
		why = "redirect_uri is not registered"
	case q.Get("state") == "" || len(q.Get("state")) > twitterMaxState:
		why = "state must have 1 to 500 characters"
	case len(scopes) == 0 || unknown >= 0:
		why = "scope is missing or unknown"
	case method != "S256" && method != "plain":
		why = "code_challenge_method must be S256 or plain"
	case len(q.Get("code_challenge")) < 43 || len(q.Get("code_challenge")) > 128: // RFC 7636 §4.2
		why = "code_challenge must have 43 to 128 characters"
	}
	if why != "" {
		stop(w, http.StatusBadRequest, "X", "Something went wrong. You weren't able to give access to the App. Go back and try logging in again. ("+why+")")
		return
	}
	t.mu.Lock()
	var choices []choice
	for _, p := range t.people {
		choices = append(choices, choice{p.ID, p.Name + " @" + p.Username})
	}
	t.mu.Unlock()
	id := t.open(&visit{press: func(w http.ResponseWriter, r *http.Request, button Button) {
		back := url.Values{"state": {q.Get("state")}}
		who, agreed := chosen(button)
		now := t.time()
		t.mu.Lock()
		p, exists := pickPerson(t.people, who)
		switch {
		case agreed && exists:
			code := rand.Text() + rand.Text()
			t.codes[code] = &twitterCode{
				client: c.ID, person: p.ID, redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), method: method, scopes: scopes, made: now,
			}
			back.Set("code", code)
		case button == Cancel:
			back.Set("error", "access_denied")
		default:
			back.Set("error", "server_error")
		}
		t.mu.Unlock()
		send(w, r, q.Get("redirect_uri"), back)
	}})
	showPage(w, pageData{Title: "X", Colour: "#eee", Client: c.ID, Scope: strings.Join(scopes, ", "), Visit: id, People: choices})
}

// authenticate is RFC 6749 §2.3 as X has it: a confidential client by Basic and nothing in the body, a public one by its id in the body.
func (t *Twitter) authenticate(w http.ResponseWriter, r *http.Request) (Client, bool) {
	unauthorized := func(text string) (Client, bool) {
		status := t.mode().TokenStatus
		if status == 0 {
			status = http.StatusUnauthorized
		}
		answerJSON(w, status, map[string]any{"error": "unauthorized_client", "error_description": text})
		return Client{}, false
	}
	if !isForm(r) {
		t.invalid(w, "Content-Type must be application/x-www-form-urlencoded")
		return Client{}, false
	}
	if twice := single(r.PostForm); twice != "" || len(r.URL.Query()) > 0 {
		t.invalid(w, "parameters twice, or in the query: "+twice)
		return Client{}, false
	}
	user, password, basic := r.BasicAuth()
	id := r.PostForm.Get("client_id")
	if r.PostForm.Has("client_secret") {
		return unauthorized("Missing valid authorization header")
	}
	if !basic {
		c, known := t.client(id)
		switch {
		case id == "":
			return unauthorized("Missing valid authorization header")
		case !known:
			t.invalid(w, "Value passed for the client id was invalid.")
			return Client{}, false
		case c.Secret != "":
			return unauthorized("Missing valid authorization header")
		}
		return c, true
	}
	user, err1 := url.QueryUnescape(user)
	password, err2 := url.QueryUnescape(password)
	c, known := t.client(user)
	if err1 != nil || err2 != nil || !known || c.Secret == "" || id != "" || !hmac.Equal([]byte(password), []byte(c.Secret)) {
		return unauthorized("Missing valid authorization header")
	}
	return c, true
}

func (t *Twitter) invalid(w http.ResponseWriter, text string) {
	status := t.mode().TokenStatus
	if status == 0 {
		status = http.StatusBadRequest
	}
	answerJSON(w, status, map[string]any{"error": "invalid_request", "error_description": text})
}

// token exchanges a code, which is good once and for 30 seconds.
func (t *Twitter) token(w http.ResponseWriter, r *http.Request) {
	c, ok := t.authenticate(w, r)
	if !ok {
		return
	}
	q := r.PostForm
	switch {
	case q.Get("grant_type") != "authorization_code":
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type", "error_description": "Value passed for the grant type was invalid."})
		return
	case q.Get("code") == "":
		t.invalid(w, "Missing required parameter [code].")
		return
	case q.Get("code_verifier") == "":
		t.invalid(w, "Missing required parameter [code_verifier].")
		return
	}
	now := t.time()
	t.mu.Lock()
	code := t.codes[q.Get("code")]
	why := ""
	switch verifier := q.Get("code_verifier"); {
	case code == nil || code.client != c.ID || code.used || now.Sub(code.made) > twitterCodeLife:
		why = "Value passed for the authorization code was invalid."
	case code.redirectURI != q.Get("redirect_uri"):
		why = "Value passed for the redirect uri did not match the uri of the authorization code."
	case len(verifier) < 43 || len(verifier) > 128 || !proves(code.challenge, code.method, verifier):
		why = "Value passed for the code verifier did not match the code challenge."
	}
	if code != nil && code.client == c.ID {
		code.used = true
	}
	var answer map[string]any
	if why == "" {
		token := rand.Text() + rand.Text()
		t.tokens[token] = &twitterToken{client: c.ID, person: code.person, scopes: code.scopes, expires: now.Add(twitterTokenLife)}
		answer = map[string]any{"token_type": "bearer", "expires_in": int(twitterTokenLife.Seconds()), "access_token": token, "scope": strings.Join(code.scopes, " ")}
		if slices.Contains(code.scopes, "offline.access") {
			answer["refresh_token"] = rand.Text() + rand.Text()
		}
	}
	t.mu.Unlock()
	if why != "" {
		t.invalid(w, why)
		return
	}
	answerJSON(w, http.StatusOK, answer)
}

// revoke ends a token (RFC 7009).
func (t *Twitter) revoke(w http.ResponseWriter, r *http.Request) {
	c, ok := t.authenticate(w, r)
	if !ok {
		return
	}
	if r.PostForm.Get("token") == "" {
		t.invalid(w, "Missing required parameter [token].")
		return
	}
	t.mu.Lock()
	if token := t.tokens[r.PostForm.Get("token")]; token != nil && token.client == c.ID {
		delete(t.tokens, r.PostForm.Get("token"))
	}
	t.mu.Unlock()
	answerJSON(w, http.StatusOK, map[string]any{"revoked": true})
}

var twitterFields = []string{
	"confirmed_email", "connection_status", "created_at", "description", "entities", "id", "is_identity_verified", "location", "name", "parody",
	"profile_banner_url", "profile_image_url", "protected", "public_metrics", "receives_your_dm", "subscribes_to_you", "subscription", "subscription_type",
	"url", "username", "verified", "verified_followers_count", "verified_type", "withheld",
}

const problems = "https://api.x.com/2/problems/"

// me is users/me: at most 75 times in 15 minutes for a person, with the fields that are asked for.
func (t *Twitter) me(w http.ResponseWriter, r *http.Request) {
	now, m := t.time(), t.mode()
	t.mu.Lock()
	defer t.mu.Unlock()
	token := t.tokens[bearer(r)]
	if token == nil || now.After(token.expires) {
		problem(w, http.StatusUnauthorized, "Unauthorized", "about:blank", "Unauthorized", nil)
		return
	}
	if !t.count(w, token.person, now) {
		problem(w, http.StatusTooManyRequests, "Too Many Requests", "about:blank", "Too Many Requests", nil)
		return
	}
	switch {
	case m.NotEnrolled:
		problem(w, http.StatusForbidden, "Client Forbidden", problems+"client-forbidden",
			"When authenticating requests to the X API v2 endpoints, you must use keys and tokens from an App that is attached to a Project.",
			map[string]any{"reason": "client-not-enrolled", "registration_url": "https://developer.x.com/"})
		return
	case m.NoCredits:
		problem(w, http.StatusPaymentRequired, "CreditsDepleted", problems+"credits", "The account does not have any credits.", nil)
		return
	case !slices.Contains(token.scopes, "tweet.read") || !slices.Contains(token.scopes, "users.read"):
		problem(w, http.StatusForbidden, "Forbidden", "about:blank", "Your client app does not have the scopes this endpoint needs: tweet.read, users.read", nil)
		return
	}
	fields := []string{"id", "name", "username"} // always there
	if asked := r.URL.Query().Get("user.fields"); asked != "" {
		for field := range strings.SplitSeq(asked, ",") {
			if !slices.Contains(twitterFields, field) {
				problem(w, http.StatusBadRequest, "Invalid Request", problems+"invalid-request", "One or more parameters to your request was invalid.",
					map[string]any{"errors": []any{map[string]any{"parameters": map[string]any{"user.fields": []string{asked}}, "message": "The `user.fields` query parameter value [" + field + "] is not one of the allowed values"}}})
				return
			}
			fields = append(fields, field)
		}
	}
	if m.Suspended {
		answerJSON(w, http.StatusOK, map[string]any{"errors": []any{map[string]any{
			"title": "Forbidden", "type": problems + "resource-unavailable", "resource_type": "user", "detail": "User has been suspended: [" + token.person + "].",
		}}})
		return
	}
	answerJSON(w, http.StatusOK, t.profile(token, fields, m))
}

// profile is data, with errors beside it for a field that is not to be had.
func (t *Twitter) profile(token *twitterToken, fields []string, m TwitterModes) map[string]any {
	p, _ := pickPerson(t.people, token.person)
	all := map[string]any{"id": p.ID, "name": p.Name, "username": p.Username, "profile_image_url": p.Picture, "verified": false}
	out := map[string]any{}
	data := map[string]any{}
	for _, field := range fields {
		if v, ok := all[field]; ok && v != "" {
			data[field] = v
		}
		if field != "confirmed_email" {
			continue
		}
		if m.NoEmailSwitch || !slices.Contains(token.scopes, "users.email") {
			out["errors"] = []any{map[string]any{
				"title": "Not Authorized", "type": problems + "not-authorized-for-field", "detail": "Sorry, you are not authorized to access the field confirmed_email.",
				"resource_type": "user", "section": "data", "field": "confirmed_email", "parameter": "user.fields", "value": "confirmed_email",
			}}
		} else if p.Email != "" {
			data["confirmed_email"] = p.Email
		}
	}
	p.change(data)
	out["data"] = data
	return out
}

// count takes one read from a person's window and tells how it stands. t.mu is held.
func (t *Twitter) count(w http.ResponseWriter, person string, now time.Time) bool {
	win := t.windows[person]
	if win == nil || !now.Before(win.resets) {
		win = &twitterWindow{resets: now.Add(twitterWindowOf), left: twitterReads}
		t.windows[person] = win
	}
	ok := win.left > 0
	if ok {
		win.left--
	}
	w.Header().Set("X-Rate-Limit-Limit", strconv.Itoa(twitterReads))
	w.Header().Set("X-Rate-Limit-Remaining", strconv.Itoa(win.left))
	w.Header().Set("X-Rate-Limit-Reset", strconv.FormatInt(win.resets.Unix(), 10))
	return ok
}

// problem is RFC 9457's shape of an error.
func problem(w http.ResponseWriter, status int, title, kind, detail string, more map[string]any) {
	p := map[string]any{"title": title, "type": kind, "status": status, "detail": detail}
	for k, v := range more {
		p[k] = v
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, marshal(p))
}
