package connectortest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Tenants of the Entra fake.
const (
	TenantA   = "aaaaaaaa-0000-4000-8000-000000000001" // work.example
	TenantB   = "bbbbbbbb-0000-4000-8000-000000000002" // other.example
	Consumers = "9188040d-6c67-4c5b-b112-36a304b66dad" // personal accounts
)

// Audiences of an application: whose accounts may use it at all.
const (
	AudienceSingle = "AzureADMyOrg"
	AudienceOrgs   = "AzureADMultipleOrgs"
	AudienceAll    = "AzureADandPersonalMicrosoftAccount"
)

// EntraPerson is somebody with a Microsoft account. ID is the oid, in a tenant of their own.
type EntraPerson struct {
	Person
	Tenant  string
	GuestIn map[string]string // tenant → oid there
	Groups  []string          // more than 200 make an overage
}

// Entra is a fake of the Microsoft identity platform: login.microsoftonline.com and graph.microsoft.com.
type Entra struct {
	*op
	Authority string // what AzureConfig.Authority takes
	graph     string
	audience  string
	everybody []EntraPerson
	consumers *signingKey
}

// NewEntra starts the fake, with one application registered in TenantA. audience "" = AudienceAll.
func NewEntra(c Client, audience string) (*Entra, error) {
	b := newBase(c.Port)
	e := &Entra{op: newOP(b), audience: audience}
	if e.audience == "" {
		e.audience = AudienceAll
	}
	e.title, e.colour = "Microsoft", "#f2f2f2"
	e.auth = []string{"client_secret_post", "client_secret_basic", "private_key_jwt"}
	e.prompts = []string{"none", "login", "consent", "select_account"}
	e.tokenError = e.aadsts
	e.issuerFor = func(g *grant) string { return e.issuer(g.tenant) }
	e.finish, e.pick, e.person, e.refuse, e.signer, e.sub = e.work, e.choices, e.find, e.turnAway, e.signerOf, pairwise
	e.clients = []Client{c}
	e.everybody = []EntraPerson{
		{Person: Person{ID: "a0000000-0000-4000-8000-00000000000a", Name: "Ada Work", Email: "ada@work.example", Username: "ada@work.example", Claims: map[string]any{"xms_edov": true}},
			Tenant: TenantA},
		{Person: Person{ID: "b0000000-0000-4000-8000-00000000000b", Name: "Bob Other", Email: "bob@other.example", Username: "bob@other.example", Claims: map[string]any{"xms_edov": true}},
			Tenant: TenantB, GuestIn: map[string]string{TenantA: "b0000000-0000-4000-8000-0000000000ff"}},
		{Person: Person{ID: "00000000-0000-0000-1111-22223333444c", Name: "Cy Home", Email: "cy@home.example", Username: "cy@home.example"}, Tenant: Consumers},
	}
	if err := e.newKeys("RS256"); err != nil {
		return nil, err
	}
	consumers, err := newSigningKey("RS256")
	if err != nil {
		return nil, err
	}
	if e.Authority, err = b.host("login"); err != nil {
		return nil, err
	}
	if e.graph, err = b.host("graph"); err != nil {
		b.Close()
		return nil, err
	}
	e.keys[0].extra = map[string]any{"issuer": e.issuer("{tenantid}")}
	consumers.extra = map[string]any{"issuer": e.issuer(Consumers)}
	e.consumers = consumers
	e.keys = append(e.keys, consumers)

	in := func(h func(w http.ResponseWriter, r *http.Request, tenant string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			tenant, ok := e.tenant(r.PathValue("tenant"))
			if !ok {
				e.aadsts(w, http.StatusBadRequest, "invalid_tenant", "Tenant '"+r.PathValue("tenant")+"' not found.")
				return
			}
			h(w, r, tenant)
		}
	}
	b.handle("login", "GET /{tenant}/v2.0/.well-known/openid-configuration", "discovery", in(e.discovery))
	b.handle("login", "GET /{tenant}/discovery/v2.0/keys", "keys", in(func(w http.ResponseWriter, r *http.Request, _ string) { e.jwks(w, r) }))
	b.handle("login", "/{tenant}/oauth2/v2.0/authorize", "authorize", in(e.enter))
	b.handle("login", "POST /{tenant}/oauth2/v2.0/token", "token", in(e.token))
	b.handle("login", "GET /{tenant}/oauth2/v2.0/logout", "logout", in(e.logout))
	b.handle("graph", "GET /oidc/userinfo", "userinfo", e.userInfo)
	return e, nil
}

// SetPeople says who has an account.
func (e *Entra) SetPeople(people ...EntraPerson) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.everybody = slices.Clone(people)
}

func (e *Entra) issuer(tenant string) string { return e.Authority + "/" + tenant + "/v2.0" }

// tenant reads the tenant of an address: a GUID, a domain or one of the three names. Domains and consumers become GUIDs.
func (e *Entra) tenant(s string) (string, bool) {
	switch strings.ToLower(s) {
	case "common", "organizations", TenantA, TenantB, Consumers:
		return strings.ToLower(s), true
	case "consumers":
		return Consumers, true
	case "work.example":
		return TenantA, true
	case "other.example":
		return TenantB, true
	}
	return "", false
}

// discovery: common and organizations name no tenant's issuer but the pattern of all.
func (e *Entra) discovery(w http.ResponseWriter, _ *http.Request, tenant string) {
	root, issuer := e.Authority+"/"+tenant, e.issuer(tenant)
	if tenant == "common" || tenant == "organizations" {
		issuer = e.issuer("{tenantid}")
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"token_endpoint":                        root + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"},
		"jwks_uri":                              root + "/discovery/v2.0/keys",
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"issuer":                                issuer,
		"request_uri_parameter_supported":       false,
		"userinfo_endpoint":                     e.graph + "/oidc/userinfo",
		"authorization_endpoint":                root + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         root + "/oauth2/v2.0/devicecode",
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"end_session_endpoint":                  root + "/oauth2/v2.0/logout",
		"claims_supported":                      []string{"sub", "iss", "cloud_instance_name", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"},
		"tenant_region_scope":                   nil,
		"cloud_instance_name":                   "microsoftonline.com",
	})
}

// enter is the authorization endpoint.
func (e *Entra) enter(w http.ResponseWriter, r *http.Request, tenant string) {
	switch {
	case e.audience == AudienceSingle && tenant != TenantA:
		stop(w, http.StatusBadRequest, e.title, "AADSTS50194: Application '"+r.Form.Get("client_id")+"' is not configured as a multi-tenant application.")
	case e.audience == AudienceOrgs && tenant == Consumers:
		stop(w, http.StatusBadRequest, e.title, "AADSTS9002346: the application is for organizational accounts only")
	case r.Form.Get("prompt") == "select_account" && r.Form.Get("login_hint") != "":
		stop(w, http.StatusBadRequest, e.title, "AADSTS90023: login_hint and prompt=select_account exclude each other")
	default:
		e.authorize(w, r, tenant)
	}
}

// choices are the people on the page: the one who is hinted at first.
func (e *Entra) choices(g *grant) []choice {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []choice
	for _, p := range e.everybody {
		c := choice{p.ID, p.label()}
		if g.hint != "" && g.hint == p.Username {
			list = append([]choice{c}, list...)
		} else {
			list = append(list, c)
		}
	}
	return list
}

func (e *Entra) one(id string) *EntraPerson {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.everybody {
		if e.everybody[i].ID == id || id == "" {
			p := e.everybody[i]
			return &p
		}
	}
	return nil
}

func (e *Entra) find(id string) *Person {
	if p := e.one(id); p != nil {
		return &p.Person
	}
	return nil
}

// turnAway holds the rules about which account may enter where, and settles the tenant of the ID Token.
func (e *Entra) turnAway(g *grant, who *Person) string {
	p := e.one(who.ID)
	personal := p.Tenant == Consumers
	switch g.realm {
	case "common", "organizations":
		if personal && (g.realm == "organizations" || e.audience == AudienceOrgs) {
			return "AADSTS50020: a personal account cannot be used here. Use a work or school account."
		}
		g.tenant = p.Tenant
	case p.Tenant:
		g.tenant = p.Tenant
	default:
		guest, ok := p.GuestIn[g.realm]
		if !ok {
			return fmt.Sprintf("AADSTS50020: User account '%s' from identity provider '%s' does not exist in tenant '%s'", p.Username, e.issuer(p.Tenant), g.realm)
		}
		g.tenant, g.guestOf = g.realm, p.Tenant
		who.ID = guest
	}
	return ""
}

// work makes an ID Token Microsoft's.
func (e *Entra) work(g *grant, c map[string]any) {
	p := e.one(g.person.ID)
	if p == nil { // a guest, by the oid of the tenant
		e.mu.Lock()
		for i := range e.everybody {
			if e.everybody[i].GuestIn[g.tenant] == g.person.ID {
				p = &e.everybody[i]
			}
		}
		e.mu.Unlock()
	}
	now := e.time().Unix()
	c["nbf"], c["iat"] = now, now
	c["tid"], c["ver"] = g.tenant, "2.0"
	c["aio"], c["rh"], c["uti"] = "Ab"+rand.Text(), "1."+rand.Text(), rand.Text()
	if g.scopes()["profile"] {
		c["oid"] = g.person.ID
	}
	if g.guestOf != "" {
		c["idp"] = "https://sts.windows.net/" + g.guestOf + "/"
		c["preferred_username"] = strings.ReplaceAll(g.person.Username, "@", "_") + "#EXT#@work.onmicrosoft.com"
	}
	if p != nil && len(p.Groups) > 200 {
		c["_claim_names"] = map[string]any{"groups": "src1"}
		c["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": e.graph + "/v1.0/users/" + g.person.ID + "/getMemberObjects"}}
	} else if p != nil && len(p.Groups) > 0 {
		c["groups"] = p.Groups
	}
	// Optional claims and what a test puts in place of others.
	for k, v := range g.person.Claims {
		c[k] = v
		if v == Absent {
			delete(c, k)
		}
	}
}

// signerOf: personal accounts have keys of their own.
func (e *Entra) signerOf(g *grant) *signingKey {
	e.mu.Lock()
	defer e.mu.Unlock()
	if g.tenant == Consumers {
		return e.consumers
	}
	return e.keys[0]
}

// pairwise subjects differ from application to application.
func pairwise(clientID, sub string) string {
	sum := sha256.Sum256([]byte(clientID + "\x00" + sub))
	return encode64(sum[:])
}

// Numbers of AADSTS errors, by what went wrong.
var aadstsNumbers = map[string]int{
	"The OAuth client was not found.":           700016,
	"Unauthorized":                              7000215,
	"The code was already redeemed.":            54005,
	"The code has expired.":                     70008,
	"Missing code verifier.":                    501481,
	"Invalid code verifier.":                    501481,
	"Malformed auth code.":                      9002313,
	"Bad Request":                               500112,
	"client authentication none is not allowed": 7000218,
}

// aadsts is an error as Microsoft writes it, its lines separated by \r\n.
func (e *Entra) aadsts(w http.ResponseWriter, status int, code, text string) {
	number := aadstsNumbers[text]
	switch number {
	case 0:
		number = 900144
	case 700016:
		status, code = http.StatusBadRequest, "unauthorized_client"
	case 500112:
		code = "invalid_grant"
	case 7000218:
		code = "invalid_client"
	}
	trace, correlation, now := guid(), guid(), e.time().UTC().Format("2006-01-02 15:04:05Z")
	answerJSON(w, status, map[string]any{
		"error": code,
		"error_description": fmt.Sprintf("AADSTS%d: %s\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s", number, text, trace,
			correlation, now),
		"error_codes": []int{number}, "timestamp": now, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", number),
	})
}

func guid() string {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // never fails
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

var leavePage = template.Must(template.New("leave").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Signed out (a fake)</title>{{with .To}}<meta http-equiv="refresh" content="1;url={{.}}">{{end}}</head>
<body><main><h1>You are signed out</h1>{{range .Frames}}<iframe src="{{.}}" hidden></iframe>{{end}}{{with .To}}<a href="{{.}}">Back to the application</a>{{end}}</main></body></html>
`))

// logout signs out, tells the applications through the browser (front-channel) and leads back to a registered address.
func (e *Entra) logout(w http.ResponseWriter, r *http.Request, tenant string) {
	e.mu.Lock()
	clients := slices.Clone(e.clients)
	e.mu.Unlock()
	var frames []string
	to := r.Form.Get("post_logout_redirect_uri")
	registered := false
	for _, c := range clients {
		if c.FrontchannelLogoutURI != "" {
			frames = append(frames, c.FrontchannelLogoutURI+"?sid="+guid()+"&iss="+e.issuer(tenant))
		}
		registered = registered || slices.Contains(c.PostLogoutRedirectURIs, to)
	}
	if !registered {
		to = "" // Microsoft then stays on its own page
	}
	if s := r.Form.Get("state"); s != "" && to != "" {
		to += "?state=" + template.URLQueryEscaper(s)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	leavePage.Execute(w, map[string]any{"To": to, "Frames": frames}) //nolint:errcheck // the browser went away
}

// Forgeries are ID Tokens that only a provider with tenants can get wrong (security.md E2), for a person of TenantA.
func (e *Entra) Forgeries() []Forgery {
	iss := func(s string) func(*Token) { return claim("iss", s) }
	return []Forgery{
		{"iss of tenant B with tid of A", iss(e.issuer(TenantB))},
		{"tid missing", claim("tid", Absent)},
		{"tid null", claim("tid", nil)},
		{"tid number", claim("tid", 1)},
		{"tid that is no GUID", claim("tid", "work.example")},
		{"tid that leads elsewhere", claim("tid", "../evil.example/"+TenantA)},
		{"tid in capitals", claim("tid", strings.ToUpper(TenantA))},
		{"tid with a line break", claim("tid", TenantA+"\n")},
		{"v1 issuer", iss("https://sts.windows.net/" + TenantA + "/")},
		{"issuer of a sovereign cloud", iss("https://login.microsoftonline.us/" + TenantA + "/v2.0")},
		{"the pattern as issuer", iss(e.issuer("{tenantid}"))},
		{"issuer of common", iss(e.issuer("common"))},
		{"issuer without version", iss(e.Authority + "/" + TenantA)},
		{"version 1.0", claim("ver", "1.0")},
		{"oid missing", claim("oid", Absent)},
		{"oid that is no GUID", claim("oid", "ada")},
		{"oid null", claim("oid", nil)},
		{"signed with the key of personal accounts", func(t *Token) {
			t.Header["kid"], t.Key = e.consumers.kid, e.consumers.private
		}},
		{"signed with the key of personal accounts, no kid", func(t *Token) {
			delete(t.Header, "kid")
			t.Key = e.consumers.private
		}},
		{"expired yesterday", func(t *Token) {
			t.Claims["exp"] = e.time().Add(-24 * time.Hour).Unix()
		}},
	}
}

// AddKey publishes one more key, good for the tokens of one issuer only ("" = of every one), and returns a change that signs with it.
func (e *Entra) AddKey(issuer string) (func(*Token), error) {
	k, err := newSigningKey("RS256")
	if err != nil {
		return nil, err
	}
	if issuer != "" {
		k.extra = map[string]any{"issuer": issuer}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys = append(e.keys, k)
	return func(t *Token) { t.Header["kid"], t.Key = k.kid, k.private }, nil
}
