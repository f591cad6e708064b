package connectortest

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// OAuth2 is a fake of a provider of plain OAuth 2.0: by default one like GitHub, with a numeric id, addresses at an endpoint of their own and
// errors of the token endpoint under status 200.
type OAuth2 struct {
	*scripted
	AuthorizeURL, TokenURL, UserInfoURL, EmailsURL, RevokeURL string // what OAuth2Config takes

	opt     OAuth2Options
	clients []Client
	people  []Person
	emails  map[string]any // by person
	codes   map[string]*oauth2Code
	tokens  map[string]*oauth2Code
}

// OAuth2Options are in what providers differ.
type OAuth2Options struct {
	ClientAuth  string // basic, post or none: any other way is refused; "" = post
	PKCE        bool   // a challenge is demanded
	PlainErrors bool   // errors as RFC 6749 §5.2 has them
	Iss         string // sent on the callback (RFC 9207), "" = not
	// Profile is what userinfo says; nil = like GitHub.
	Profile func(p Person) map[string]any
}

type oauth2Code struct {
	client, person, redirectURI, challenge, method, scope string
	made                                                  time.Time
	used                                                  bool
}

const oauth2CodeLife = 10 * time.Minute

// NewOAuth2 starts the fake, with one application registered.
func NewOAuth2(c Client, opt OAuth2Options) (*OAuth2, error) {
	if opt.ClientAuth == "" {
		opt.ClientAuth = "post"
	}
	if opt.Profile == nil {
		opt.Profile = likeGitHub
	}
	f := &OAuth2{
		scripted: newScripted(c.Port), opt: opt, clients: []Client{c}, codes: map[string]*oauth2Code{}, tokens: map[string]*oauth2Code{},
		people: []Person{
			{ID: "583231", Name: "Ada L", Username: "ada", Email: "ada@example.com", Picture: "https://avatars.example/u/583231"},
			{ID: "583232", Name: "Grace H", Username: "grace"},
		},
		emails: map[string]any{
			"583231": []any{
				map[string]any{"email": "583231+ada@users.noreply.example", "primary": false, "verified": true, "visibility": nil},
				map[string]any{"email": "ada@example.com", "primary": true, "verified": true, "visibility": "private"},
			},
			"583232": []any{},
		},
	}
	o, err := f.hosts("web", "api")
	if err != nil {
		return nil, err
	}
	f.AuthorizeURL, f.TokenURL, f.RevokeURL = o["web"]+"/login/oauth/authorize", o["web"]+"/login/oauth/access_token", o["web"]+"/login/oauth/revoke"
	f.UserInfoURL, f.EmailsURL = o["api"]+"/user", o["api"]+"/user/emails"
	f.serve("web", "GET /login/oauth/authorize", "authorize", f.authorize)
	f.serve("web", "POST /login/oauth/access_token", "token", f.token)
	f.serve("web", "POST /login/oauth/revoke", "revoke", f.revoke)
	f.serve("api", "GET /user", "userinfo", f.user)
	f.serve("api", "GET /user/emails", "emails", f.addresses)
	return f, nil
}

// likeGitHub leaves the address to the list, as people there mostly do, and sends null for what is not known.
func likeGitHub(p Person) map[string]any {
	m := map[string]any{"id": json.Number(p.ID), "login": p.Username, "name": p.Name, "avatar_url": p.Picture, "email": nil, "site_admin": false}
	for k, v := range m {
		if v == "" {
			m[k] = nil
		}
	}
	return m
}

// SetPeople says who has an account. Person.Claims changes what userinfo says.
func (f *OAuth2) SetPeople(people ...Person) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.people = slices.Clone(people)
}

// SetEmails says what the list of a person's addresses is, whatever JSON that may be.
func (f *OAuth2) SetEmails(person string, list any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.emails[person] = list
}

func (f *OAuth2) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f.mu.Lock()
	c, known := findClient(f.clients, q.Get("client_id"))
	var choices []choice
	for i := range f.people {
		choices = append(choices, choice{f.people[i].ID, f.people[i].label()})
	}
	f.mu.Unlock()
	why := ""
	switch {
	case single(q) != "":
		why = single(q) + " is given twice"
	case !known:
		why = "no such client_id"
	case !slices.Contains(c.RedirectURIs, q.Get("redirect_uri")):
		why = "redirect_uri is not registered"
	case q.Get("response_type") != "code":
		why = "response_type must be code"
	case f.opt.PKCE && (q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43):
		why = "code_challenge must be S256"
	}
	if why != "" {
		stop(w, http.StatusBadRequest, "Code Hub", why)
		return
	}
	id := f.open(&visit{press: func(w http.ResponseWriter, r *http.Request, button Button) {
		back := url.Values{"state": {q.Get("state")}, "iss": {f.opt.Iss}}
		who, agreed := chosen(button)
		now := f.time()
		f.mu.Lock()
		p, exists := pickPerson(f.people, who)
		switch {
		case agreed && exists:
			code := rand.Text()
			f.codes[code] = &oauth2Code{
				client: c.ID, person: p.ID, redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"),
				scope: q.Get("scope"), made: now,
			}
			back.Set("code", code)
		case button == Cancel:
			back.Set("error", "access_denied")
			back.Set("error_description", "The user has denied your application access.")
		default:
			back.Set("error", "server_error")
		}
		f.mu.Unlock()
		send(w, r, q.Get("redirect_uri"), back)
	}})
	showPage(w, pageData{Title: "Code Hub", Colour: "#eee", Client: c.ID, Scope: q.Get("scope"), Visit: id, People: choices})
}

// refuse is an error of the token endpoint.
func (f *OAuth2) refuse(w http.ResponseWriter, code, text string) {
	status := http.StatusOK
	if f.opt.PlainErrors {
		status = http.StatusBadRequest
		switch code {
		case "incorrect_client_credentials":
			code, status = "invalid_client", http.StatusUnauthorized
		case "bad_verification_code", "redirect_uri_mismatch":
			code = "invalid_grant"
		}
	}
	answerJSON(w, status, map[string]any{"error": code, "error_description": text})
}

// authenticate takes the one way in which the client authenticates.
func (f *OAuth2) authenticate(w http.ResponseWriter, r *http.Request) (Client, bool) {
	if !isForm(r) {
		http.Error(w, "a form is wanted", http.StatusUnsupportedMediaType)
		return Client{}, false
	}
	user, password, basic := r.BasicAuth()
	if basic {
		user, _ = url.QueryUnescape(user)
		password, _ = url.QueryUnescape(password)
	} else {
		user, password = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	f.mu.Lock()
	c, known := findClient(f.clients, user)
	f.mu.Unlock()
	inBody := r.PostForm.Has("client_secret") || r.PostForm.Has("client_id")
	wrongWay := basic != (f.opt.ClientAuth == "basic") || basic && inBody || f.opt.ClientAuth == "none" && r.PostForm.Has("client_secret")
	if !known || wrongWay || !hmac.Equal([]byte(password), []byte(c.Secret)) || single(r.PostForm) != "" {
		f.refuse(w, "incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
		return Client{}, false
	}
	return c, true
}

func (f *OAuth2) token(w http.ResponseWriter, r *http.Request) {
	c, ok := f.authenticate(w, r)
	if !ok {
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		w.Write([]byte("access_token=who+does+not+ask+for+json&token_type=bearer")) //nolint:errcheck // the caller went away
		return
	}
	q, now := r.PostForm, f.time()
	f.mu.Lock()
	defer f.mu.Unlock()
	code := f.codes[q.Get("code")]
	switch {
	case q.Get("grant_type") != "authorization_code":
		f.refuse(w, "unsupported_grant_type", "The grant type is not supported.")
	case code == nil || code.client != c.ID || code.used || now.Sub(code.made) > oauth2CodeLife:
		f.refuse(w, "bad_verification_code", "The code passed is incorrect or expired.")
	case code.redirectURI != q.Get("redirect_uri"):
		code.used = true
		f.refuse(w, "redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.")
	case code.challenge != "" && !proves(code.challenge, code.method, q.Get("code_verifier")):
		code.used = true
		f.refuse(w, "bad_verification_code", "The code verifier is incorrect.")
	default:
		code.used = true
		token := "gho_" + rand.Text() + rand.Text()
		f.tokens[token] = code
		answerJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "bearer", "scope": strings.ReplaceAll(code.scope, " ", ",")})
	}
}

// revoke is RFC 7009: 200 also for what is unknown, with an empty body.
func (f *OAuth2) revoke(w http.ResponseWriter, r *http.Request) {
	c, ok := f.authenticate(w, r)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tokens[r.PostForm.Get("token")]; t != nil && t.client == c.ID {
		delete(f.tokens, r.PostForm.Get("token"))
	}
}

// whose is the person of a request's token.
func (f *OAuth2) whose(w http.ResponseWriter, r *http.Request) (*oauth2Code, Person, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tokens[bearer(r)]
	if t == nil {
		answerJSON(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials", "documentation_url": "https://docs.example/rest", "status": "401"})
		return nil, Person{}, false
	}
	p, ok := pickPerson(f.people, t.person)
	return t, p, ok
}

func (f *OAuth2) user(w http.ResponseWriter, r *http.Request) {
	_, p, ok := f.whose(w, r)
	if !ok {
		return
	}
	m := f.opt.Profile(p)
	p.change(m)
	answerJSON(w, http.StatusOK, m)
}

// addresses needs a scope; without it GitHub knows no such page.
func (f *OAuth2) addresses(w http.ResponseWriter, r *http.Request) {
	t, p, ok := f.whose(w, r)
	if !ok {
		return
	}
	if !slices.ContainsFunc(strings.Fields(t.scope), func(s string) bool { return s == "user" || s == "user:email" }) {
		answerJSON(w, http.StatusNotFound, map[string]any{"message": "Not Found", "documentation_url": "https://docs.example/rest", "status": "404"})
		return
	}
	f.mu.Lock()
	list := f.emails[p.ID]
	f.mu.Unlock()
	answerJSON(w, http.StatusOK, list)
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(b)
}
