package connectortest

import (
	"crypto/rand"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// op is the OpenID provider that the fakes of OpenID Connect share. Where the real ones differ, its fields and hooks say how.
type op struct {
	*base
	title        string
	colour       template.CSS
	clients      []Client
	people       []Person
	codeLife     time.Duration
	pkce         bool     // the provider demands it
	auth         []string // client authentication it takes: client_secret_basic, client_secret_post, none
	prompts      []string // values of prompt it knows
	cacheControl string   // of its JWKS
	sendIss      bool     // RFC 9207

	keys    []*signingKey // the first one signs, all are published
	secret  *signingKey   // is never published
	grants  map[string]*grant
	access  map[string]*grant // by access token
	forge   func(*Token)
	posed   func() // runs between authorize and token, nil = nothing
	badUser map[string]any
	issued  int // ID Tokens

	// issuerFor is what a grant's ID Token says; authorizeError and tokenError speak as the real provider does.
	issuerFor  func(g *grant) string
	tokenError func(w http.ResponseWriter, status int, code, text string)
	refuse     func(g *grant, p *Person) string  // why this person may not go on, "" = may
	finish     func(g *grant, c map[string]any)  // last touch on an ID Token's claims
	signer     func(g *grant) *signingKey        // nil = the first key
	pick       func(g *grant) []choice           // who is on the page, nil = everybody
	person     func(id string) *Person           // nil = by ID among people
	sub        func(clientID, sub string) string // pairwise subjects, nil = public ones
}

// grant is an authorization from request to token.
type grant struct {
	client              Client
	realm               string // of providers with tenants: the one in the address
	tenant, guestOf     string // the tenant the ID Token is of, and the person's own if that is another
	redirectURI, state  string
	nonce, scope        string
	challenge, method   string
	mode, prompt, hint  string
	maxAge              bool
	acr                 string
	person              Person
	made, authenticated time.Time
	used                bool
	accessToken         string
}

func (g *grant) scopes() map[string]bool {
	m := map[string]bool{}
	for _, s := range strings.Fields(g.scope) {
		m[s] = true
	}
	return m
}

func newOP(b *base) *op {
	return &op{base: b, grants: map[string]*grant{}, access: map[string]*grant{}, codeLife: 10 * time.Minute, cacheControl: "public, max-age=3600, must-revalidate, no-transform"}
}

// newKeys makes the signing key and one that is never published.
func (o *op) newKeys(alg string) error {
	k, err := newSigningKey(alg)
	if err != nil {
		return err
	}
	o.keys = append(o.keys, k)
	o.secret, err = newSigningKey(alg)
	return err
}

// AddClient registers an application.
func (o *op) AddClient(c Client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients = append(o.clients, c)
}

// SetPeople says who has an account. The first is who Continue alone continues as.
func (o *op) SetPeople(people ...Person) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.people = slices.Clone(people)
}

// Forge changes every ID Token from now on before it is signed; nil ends that.
func (o *op) Forge(change func(*Token)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forge = change
}

// RotateKeys replaces the signing key: the old one is published no longer.
func (o *op) RotateKeys() error {
	o.mu.Lock()
	old := o.keys[0]
	o.mu.Unlock()
	k, err := newSigningKey(old.alg)
	if err != nil {
		return err
	}
	k.extra = old.extra
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys = append([]*signingKey{k}, o.keys[1:]...)
	return nil
}

// UserInfo changes what userinfo says about everybody from now on; nil ends that.
func (o *op) UserInfo(c map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.badUser = c
}

// Issued counts the ID Tokens that were made.
func (o *op) Issued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.issued
}

func (o *op) client(id string) *Client {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.clients {
		if o.clients[i].ID == id {
			c := o.clients[i]
			return &c
		}
	}
	return nil
}

func (o *op) findPerson(id string) *Person {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.people {
		if o.people[i].ID == id || id == "" {
			p := o.people[i]
			return &p
		}
	}
	return nil
}

// request checks an authorization request. What is wrong with the application's registration is told to the person and goes no further.
func (o *op) request(w http.ResponseWriter, r *http.Request, realm string) *grant {
	stopped := func(status int, format string, a ...any) *grant {
		stop(w, status, o.title, fmt.Sprintf(format, a...))
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return stopped(http.StatusMethodNotAllowed, "Error 405: method_not_allowed")
	}
	q := r.Form
	if twice := single(q); twice != "" {
		return stopped(http.StatusBadRequest, "Error 400: invalid_request: %s comes twice", twice)
	}
	c := o.client(q.Get("client_id"))
	if c == nil {
		return stopped(http.StatusUnauthorized, "Error 401: invalid_client: the application is not known")
	}
	if !slices.Contains(c.RedirectURIs, q.Get("redirect_uri")) {
		return stopped(http.StatusBadRequest, "Error 400: redirect_uri_mismatch")
	}
	g := &grant{
		client: *c, realm: realm, redirectURI: q.Get("redirect_uri"), state: q.Get("state"), nonce: q.Get("nonce"), scope: q.Get("scope"),
		challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"), mode: q.Get("response_mode"), prompt: q.Get("prompt"),
		hint: q.Get("login_hint"), maxAge: q.Has("max_age"), acr: q.Get("acr_values"),
	}
	switch {
	case q.Get("response_type") != "code":
		return stopped(http.StatusBadRequest, "Error 400: unsupported_response_type")
	case !g.scopes()["openid"]:
		return stopped(http.StatusBadRequest, "Error 400: invalid_scope: openid is missing")
	case q.Has("request") || q.Has("request_uri"):
		return stopped(http.StatusBadRequest, "Error 400: request_not_supported")
	case g.mode != "" && g.mode != "query" && g.mode != "form_post":
		return stopped(http.StatusBadRequest, "Error 400: invalid_request: response_mode")
	case g.method != "" && g.method != "S256" && g.method != "plain", g.challenge != "" && (len(g.challenge) < 43 || len(g.challenge) > 128),
		g.challenge == "" && g.method != "":
		return stopped(http.StatusBadRequest, "Error 400: invalid_request: code_challenge")
	case o.pkce && g.challenge == "":
		o.reply(w, r, g, url.Values{"error": {"invalid_request"}, "error_description": {"code_challenge is required"}})
		return nil
	}
	for _, p := range strings.Fields(g.prompt) {
		if !slices.Contains(o.prompts, p) {
			return stopped(http.StatusBadRequest, "Error 400: invalid_request: invalid prompt %s", p)
		}
	}
	if g.prompt == "none" {
		// Nobody has a session at a fake.
		o.reply(w, r, g, url.Values{"error": {"login_required"}})
		return nil
	}
	return g
}

// reply sends the browser back to the application.
func (o *op) reply(w http.ResponseWriter, r *http.Request, g *grant, p url.Values) {
	p.Set("state", g.state)
	if o.sendIss {
		p.Set("iss", o.issuerFor(g))
	}
	if g.mode == "form_post" {
		sendPost(w, g.redirectURI, p)
		return
	}
	send(w, r, g.redirectURI, p)
}

// authorize shows the page.
func (o *op) authorize(w http.ResponseWriter, r *http.Request, realm string) {
	g := o.request(w, r, realm)
	if g == nil {
		return
	}
	var choices []choice
	if o.pick != nil {
		choices = o.pick(g)
	} else {
		o.mu.Lock()
		for i := range o.people {
			choices = append(choices, choice{o.people[i].ID, o.people[i].label()})
		}
		o.mu.Unlock()
	}
	id := o.open(&visit{press: func(w http.ResponseWriter, r *http.Request, b Button) { o.decided(w, r, g, b) }})
	showPage(w, pageData{Title: o.title, Colour: o.colour, Client: g.client.ID, Scope: g.scope, Visit: id, People: choices})
}

// decided is a pressed button.
func (o *op) decided(w http.ResponseWriter, r *http.Request, g *grant, b Button) {
	id, ok := chosen(b)
	switch {
	case b == Cancel:
		o.reply(w, r, g, url.Values{"error": {"access_denied"}, "error_description": {"The person cancelled."}})
		return
	case b == Failure:
		o.reply(w, r, g, url.Values{"error": {"server_error"}, "error_description": {"Something\r\nwent wrong."}})
		return
	case !ok:
		stop(w, http.StatusBadRequest, o.title, "Error 400: no such button")
		return
	}
	find := o.findPerson
	if o.person != nil {
		find = o.person
	}
	p := find(id)
	if p == nil {
		stop(w, http.StatusBadRequest, o.title, "Error 400: nobody has this account")
		return
	}
	if o.refuse != nil {
		if why := o.refuse(g, p); why != "" {
			stop(w, http.StatusBadRequest, o.title, why)
			return
		}
	}
	g.person, g.made, g.authenticated = *p, o.time(), o.time()
	code := rand.Text() + rand.Text()
	o.mu.Lock()
	o.grants[code] = g
	posed := o.posed
	o.mu.Unlock()
	if posed != nil {
		posed()
	}
	o.reply(w, r, g, url.Values{"code": {code}})
}

// AfterConsent runs f between a person's consent and the application's token request: to rotate keys, to go down.
func (o *op) AfterConsent(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.posed = f
}
