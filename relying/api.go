package relying

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// APIConfig says who issues the access tokens of an API and what they must say. Issuer and Audience are required.
type APIConfig struct {
	// Issuer is the provider's issuer, exactly as its discovery document spells it.
	Issuer string
	// Audience is the name of this API that a token's aud must have: the resource it is registered as. Never the issuer: every
	// application's tokens have that.
	Audience string
	// Algorithms that signatures may have. Default: ES256, RS256, PS256 and EdDSA. None with a shared secret is accepted.
	Algorithms []string

	// Introspect says which tokens the provider is asked about. Default: none; tokens are JWTs and verified here.
	Introspect Introspection
	// ClientID and ClientSecret are the API's own registration, needed to ask. The provider must let it see the tokens that have its
	// resource as audience (Latchkey: introspect: resources).
	ClientID, ClientSecret string
	// CacheFor keeps the answers to those questions, but never longer than a token lives. Until it is over a privilege that was taken
	// away still counts. Default: nothing is kept.
	CacheFor time.Duration

	// Realm is shown to those who come without a token. Default: Audience.
	Realm string
	// HTTPClient is used for every request to the provider. Default: one with a time-out of 10 seconds.
	HTTPClient *http.Client
	// Logger receives what callers are not told. Default: slog.Default().
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Introspection says when an API asks the provider about a token (RFC 7662).
type Introspection int

const (
	// IntrospectNever takes JWTs only and verifies them here. What one says holds until it expires, ten minutes at most.
	IntrospectNever Introspection = iota
	// IntrospectOpaque asks about tokens that are no JWTs. Those hold what the provider says at the moment of the request.
	IntrospectOpaque
	// IntrospectAlways asks about every token; JWTs must hold up here as well. A privilege or a session that ended counts at once.
	IntrospectAlways
)

// API lets requests through that bring an access token of the provider (RFC 6750, RFC 9068). It is safe for concurrent use. Wrap routes in
// its methods, each of which verifies the token, once a request, and asks something more:
//
//	mux.Handle("GET /orders", api.RequireScope("orders:read")(orders))
//	mux.Handle("POST /orders", api.RequireWrite(api.RequirePrivilege("clerk")(newOrder)))
//
// Inside, [UserInfo], [UserHasPrivilege] and the others speak of the person the token was issued for, and [TokenOf] of the token. It
// answers 401 without a valid token, 403 when something is missing, and 503 when it cannot be known now.
type API struct {
	cfg      APIConfig
	algs     []jose.SignatureAlgorithm
	provider finder[resource]

	mu    sync.Mutex // guards kept
	kept  map[[sha256.Size]byte]answer
	swept time.Time
}

// resource is what discovery found.
type resource struct {
	keys       *keySet
	introspect string
	style      oauth2.AuthStyle
}

// answer is what introspection said of a token.
type answer struct {
	token   *Token
	info    *Info
	expires time.Time
}

// Token is what the access token of a request says.
type Token struct {
	Subject  string // whose it is: a person's sub, or a machine's client id
	ClientID string // which application it was issued to
	Scopes   []string
	ID       string // jti
	Issued   time.Time
	Expires  time.Time
	Claims   json.RawMessage // the verified payload, or the answer of the introspection
}

// Machine says whether a client speaks for itself and not for a person.
func (t Token) Machine() bool { return t.Subject == t.ClientID }

// HasScopes says whether the token has all of the scopes.
func (t Token) HasScopes(all ...string) bool {
	return !slices.ContainsFunc(all, func(s string) bool { return !slices.Contains(t.Scopes, s) })
}

// TokenOf returns the access token of a request that an [API] let through.
func TokenOf(ctx context.Context) (Token, bool) {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil || v.token == nil {
		return Token{}, false
	}
	t := *v.token
	t.Scopes = slices.Clone(t.Scopes)
	return t, true
}

// NewAPI checks the configuration. It does not touch the network: the provider is looked up at the first token.
func NewAPI(c APIConfig) (*API, error) {
	if _, err := absolute(c.Issuer); err != nil {
		return nil, fmt.Errorf("relying: Issuer: %w", err)
	}
	if c.Audience == "" || c.Audience == c.Issuer {
		return nil, errors.New("relying: Audience is empty or the issuer; it must name this API alone")
	}
	if c.Introspect < IntrospectNever || c.Introspect > IntrospectAlways {
		return nil, errors.New("relying: Introspect has no such value")
	}
	if c.Introspect != IntrospectNever && (c.ClientID == "" || c.ClientSecret == "") {
		return nil, errors.New("relying: introspection needs ClientID and ClientSecret")
	}
	if c.CacheFor < 0 || c.CacheFor > 0 && c.Introspect == IntrospectNever {
		return nil, errors.New("relying: CacheFor is negative, or nothing is introspected")
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"ES256", "RS256", "PS256", "EdDSA"}
	}
	algs, err := algorithms(c.Algorithms)
	if err != nil {
		return nil, fmt.Errorf("relying: Algorithms: %w", err)
	}
	c.Realm = cmp.Or(c.Realm, c.Audience)
	if !quotable(c.Realm) {
		return nil, errors.New("relying: Realm has characters that a header cannot quote")
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &API{cfg: c, algs: algs, kept: map[[sha256.Size]byte]answer{}, swept: c.Now()}
	a.provider = newFinder(c.Now, a.lookUp)
	return a, nil
}

func (a *API) lookUp(ctx context.Context) (*resource, error) {
	_, meta, err := readMetadata(ctx, a.cfg.HTTPClient, a.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	r := &resource{keys: newKeySet(a.cfg.Now, a.cfg.HTTPClient, meta.JWKS), introspect: meta.Introspection}
	r.style = authStyle(a.cfg.ClientSecret, meta.IntrospectionMethods)
	if a.cfg.Introspect != IntrospectNever && r.introspect == "" {
		return nil, errors.New("the metadata names no introspection endpoint")
	}
	return r, nil
}

// RequireToken lets through who brings a valid access token, person or machine.
func (a *API) RequireToken(next http.Handler) http.Handler { return guard(a, next, ruleLogin()) }

// RequireScope lets through who brings a token with all of the scopes.
func (a *API) RequireScope(all ...string) func(http.Handler) http.Handler {
	all = slices.Clone(all)
	return func(next http.Handler) http.Handler {
		return a.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if t, _ := TokenOf(r.Context()); !t.HasScopes(all...) {
				a.deny(w, http.StatusForbidden, "insufficient_scope", "a scope is missing", strings.Join(all, " "))
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// RequirePrivilege lets people through who hold any of the privileges. Without a name nobody passes, and a machine never does.
func (a *API) RequirePrivilege(anyOf ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return guard(a, next, ruleAny(anyOf)) }
}

// RequireAll lets people through who hold every one of the privileges.
func (a *API) RequireAll(allOf ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return guard(a, next, ruleAll(allOf)) }
}

// Require lets people through who meet the requirement. An open one lets everybody through and looks at no token.
func (a *API) Require(r Requirement) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if r.Open() {
			return next
		}
		return guard(a, next, ruleMeets(r))
	}
}

// RequireWrite refuses people whose user type is read-only, and people of whom the token does not say, when a request changes
// something. Machines have no user type: what they may do is a matter of their scopes, and they come through.
func (a *API) RequireWrite(next http.Handler) http.Handler {
	q := ruleWrite()
	of := q.missing
	q.missing = func(r *http.Request) (string, bool) {
		if t, _ := TokenOf(r.Context()); t.Machine() {
			return "", false
		}
		return of(r)
	}
	return guard(a, next, q)
}

func (a *API) logger() *slog.Logger { return a.cfg.Logger }

func (a *API) refuse(w http.ResponseWriter, r *http.Request, why Refusal) {
	scope := ""
	if t, _ := TokenOf(r.Context()); !t.HasScopes("privileges") {
		scope = "privileges" // without it a token speaks of none
	}
	text := "a privilege is missing"
	if why.ReadOnly {
		text = "this account changes nothing"
	}
	// RFC 6750 §3.1: the request requires higher privileges than the token provides.
	a.deny(w, http.StatusForbidden, "insufficient_scope", text, scope)
}

// deny answers as RFC 6750 §3 says. code "" is for requests without a token: they are told nothing but what is asked for.
func (a *API) deny(w http.ResponseWriter, status int, code, text, scope string) {
	h := `Bearer realm="` + a.cfg.Realm + `"`
	if code != "" {
		h += `, error="` + code + `", error_description="` + text + `"`
	}
	if scope != "" && quotable(scope) {
		h += `, scope="` + scope + `"`
	}
	w.Header().Set("WWW-Authenticate", h)
	w.Header().Set("Cache-Control", "no-store")
	answerError(w, status, cmp.Or(code, "invalid_token"), text)
}

// quotable: RFC 9110 §5.6.4, without the characters that would need an escape.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c > 0x7e || c == '"' || c == '\\' })
}

// admit verifies the token of a request, once.
func (a *API) admit(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	if _, ok := visitOf(r.Context(), a); ok {
		return r, true
	}
	raw, err := bearer(r)
	if err != nil {
		a.deny(w, http.StatusBadRequest, "invalid_request", err.Error(), "")
		return r, false
	}
	if raw == "" {
		a.deny(w, http.StatusUnauthorized, "", "send an access token", "")
		return r, false
	}
	token, info, err := a.read(r.Context(), raw)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnavailable {
			a.cfg.Logger.WarnContext(r.Context(), "relying: token not verified", "err", err)
			w.Header().Set("Retry-After", "5")
			w.Header().Set("Cache-Control", "no-store")
			answerError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "try again")
			return r, false
		}
		a.cfg.Logger.InfoContext(r.Context(), "relying: token refused", "err", err)
		a.deny(w, http.StatusUnauthorized, "invalid_token", "the access token is not valid here, or over", "")
		return r, false
	}
	v := &visit{by: a, token: token, info: info, access: raw}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v)), true
}

const maxToken = 16 << 10 // bytes; 200 privileges of 50 characters fit

// bearer takes the token out of the header Authorization, the only place it may be in (RFC 6750 §2.1). "" means there is none.
func bearer(r *http.Request) (string, error) {
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return "", errors.New("send the token in the header Authorization and nowhere else") // RFC 9700 §4.3.2
	}
	all := r.Header.Values("Authorization")
	if len(all) == 0 {
		return "", nil
	}
	if len(all) > 1 {
		return "", errors.New("the header Authorization was sent twice")
	}
	scheme, token, _ := strings.Cut(all[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil // another scheme: as good as no token
	}
	token = strings.TrimLeft(token, " ")
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, func(c rune) bool { return !b64token(c) }) {
		return "", errors.New("the header Authorization holds no token")
	}
	return token, nil
}

// b64token: RFC 6750 §2.1.
func b64token(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~+/=", c)
}

// read verifies a token and says whose it is; info is nil for a machine.
func (a *API) read(ctx context.Context, raw string) (*Token, *Info, error) {
	p, err := a.provider.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	jwt := strings.Count(raw, ".") == 2
	var token *Token
	var info *Info
	if jwt {
		if token, info, err = a.readJWT(ctx, p, raw); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case a.cfg.Introspect == IntrospectAlways:
		asked, who, err := a.ask(ctx, p, raw)
		if err == nil && token != nil && (asked.Subject != token.Subject || asked.ClientID != token.ClientID) {
			err = invalid(errors.New("token and introspection speak of different parties"))
		}
		return asked, who, err
	case jwt:
		return token, info, nil
	case a.cfg.Introspect == IntrospectOpaque:
		return a.ask(ctx, p, raw)
	}
	return nil, nil, invalid(errors.New("not a JWT, and introspection is off"))
}

// readJWT verifies an access token as RFC 9068 §4 says.
func (a *API) readJWT(ctx context.Context, p *resource, raw string) (*Token, *Info, error) {
	jws, err := jose.ParseSignedCompact(raw, a.algs) // the algorithm is one of ours
	if err != nil {
		return nil, nil, invalid(err)
	}
	if len(jws.Signatures) != 1 || typ(jws.Signatures[0].Protected) != "at+jwt" {
		return nil, nil, invalid(errors.New("typ is not at+jwt")) // an ID token is not an access token
	}
	payload, err := p.keys.verify(ctx, jws)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			err = invalid(err)
		}
		return nil, nil, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, nil, invalid(err)
	}
	if c.Issuer != a.cfg.Issuer {
		return nil, nil, invalid(errors.New("another issuer"))
	}
	return a.accept(payload, &c, true)
}

// claims are those of access tokens and of introspection answers that decide whether one is good here.
type claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience audience        `json:"aud"`
	ClientID string          `json:"client_id"`
	Scope    string          `json:"scope"`
	ID       string          `json:"jti"`
	Expires  json.RawMessage `json:"exp"`
	Issued   json.RawMessage `json:"iat"`
	Starts   json.RawMessage `json:"nbf"`
	Bound    json.RawMessage `json:"cnf"`
}

// audience reads one name, or a list of them.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte(`"`)) {
		var one string
		err := json.Unmarshal(b, &one)
		*a = audience{one}
		return err
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// accept holds verified claims against what this API wants.
func (a *API) accept(payload json.RawMessage, c *claims, mustExpire bool) (*Token, *Info, error) {
	if !slices.Contains(c.Audience, a.cfg.Audience) {
		return nil, nil, invalid(errors.New("made for another audience"))
	}
	if c.Subject == "" || c.ClientID == "" {
		return nil, nil, invalid(errors.New("without sub or client_id"))
	}
	// RFC 9449 §7.2, RFC 8705 §3: bound to a key of the client's, which a bare token does not prove.
	if c.Bound != nil && string(c.Bound) != "null" {
		return nil, nil, invalid(errors.New("bound to a key, and sent as a bearer token"))
	}
	t := &Token{Subject: c.Subject, ClientID: c.ClientID, Scopes: strings.Fields(c.Scope), ID: c.ID, Claims: payload}
	now := a.cfg.Now()
	var err error
	if c.Expires != nil || mustExpire {
		if t.Expires, err = moment(c.Expires); err != nil || !now.Before(t.Expires) {
			return nil, nil, invalid(errors.New("expired, or without exp"))
		}
	}
	if c.Issued != nil {
		if t.Issued, err = moment(c.Issued); err != nil {
			return nil, nil, invalid(errors.New("iat is not a time"))
		}
	}
	if c.Starts != nil {
		if at, err := moment(c.Starts); err != nil || at.Sub(now) > clockSkew {
			return nil, nil, invalid(errors.New("not valid yet"))
		}
	}
	if t.Machine() {
		return t, nil, nil
	}
	info, err := parseInfo(payload)
	if err != nil {
		return nil, nil, invalid(err)
	}
	return t, info, nil
}

// ask introspects a token (RFC 7662).
func (a *API) ask(ctx context.Context, p *resource, raw string) (*Token, *Info, error) {
	key := sha256.Sum256([]byte(raw))
	if k, ok := a.cached(key); ok {
		return k.token, k.info, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	res, err := postForm(ctx, a.cfg.HTTPClient, p.introspect, p.style, a.cfg.ClientID, a.cfg.ClientSecret, form)
	if err != nil {
		return nil, nil, unavailable(fmt.Errorf("introspection: %w", err))
	}
	defer res.Body.Close()
	const limit = 1 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil || res.StatusCode != http.StatusOK || len(body) > limit { // even 401: it is we who were refused, not the token
		return nil, nil, unavailable(fmt.Errorf("introspection: %s %v", res.Status, err))
	}
	token, info, err := a.readAnswer(body)
	if err == nil {
		a.keep(key, token, info)
	}
	return token, info, err
}

// readAnswer reads RFC 7662 §2.2.
func (a *API) readAnswer(body []byte) (*Token, *Info, error) {
	var state struct {
		Active bool   `json:"active"`
		Type   string `json:"token_type"`
	}
	var c claims
	for _, into := range []any{&state, &c} {
		if err := json.Unmarshal(body, into); err != nil {
			return nil, nil, unavailable(fmt.Errorf("introspection: %w", err))
		}
	}
	switch {
	case !state.Active:
		return nil, nil, invalid(errors.New("not active"))
	case c.Issuer != "" && c.Issuer != a.cfg.Issuer:
		return nil, nil, invalid(errors.New("another issuer"))
	case state.Type != "" && !strings.EqualFold(state.Type, "Bearer"):
		return nil, nil, invalid(errors.New("not a bearer token"))
	}
	return a.accept(body, &c, false) // a refresh token has no audience, and fails there
}

const maxKept = 10_000 // answers

func (a *API) cached(key [sha256.Size]byte) (answer, bool) {
	if a.cfg.CacheFor == 0 {
		return answer{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.kept[key]
	return k, ok && a.cfg.Now().Before(k.expires)
}

func (a *API) keep(key [sha256.Size]byte, t *Token, i *Info) {
	if a.cfg.CacheFor == 0 {
		return
	}
	now := a.cfg.Now()
	expires := now.Add(a.cfg.CacheFor)
	if !t.Expires.IsZero() {
		expires = earlier(expires, t.Expires)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) >= a.cfg.CacheFor || len(a.kept) >= maxKept {
		a.swept = now
		for k, v := range a.kept {
			if !now.Before(v.expires) {
				delete(a.kept, k)
			}
		}
		if len(a.kept) >= maxKept {
			clear(a.kept)
		}
	}
	a.kept[key] = answer{t, i, expires}
}
