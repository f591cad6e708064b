package connectortest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authenticate checks the client of a token request: exactly one way, one that is registered (RFC 6749 §2.3).
func (o *op) authenticate(w http.ResponseWriter, r *http.Request) *Client {
	refused := func(text string) *Client {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+o.title+`"`)
		o.tokenError(w, http.StatusUnauthorized, "invalid_client", text)
		return nil
	}
	form := r.PostForm
	id, secret, method := form.Get("client_id"), form.Get("client_secret"), "none"
	if u, p, ok := r.BasicAuth(); ok {
		if form.Has("client_secret") {
			o.tokenError(w, http.StatusBadRequest, "invalid_request", "two ways of client authentication")
			return nil
		}
		u, uerr := url.QueryUnescape(u)
		p, perr := url.QueryUnescape(p)
		if uerr != nil || perr != nil || id != "" && id != u {
			return refused("bad Basic credentials")
		}
		id, secret, method = u, p, "client_secret_basic"
	} else if form.Has("client_assertion") {
		method = "private_key_jwt"
	} else if form.Has("client_secret") {
		method = "client_secret_post"
	}
	c := o.client(id)
	switch {
	case c == nil:
		return refused("The OAuth client was not found.")
	case !slices.Contains(o.auth, method):
		return refused("client authentication " + method + " is not allowed")
	case method == "private_key_jwt":
		if err := o.checkAssertion(r, c); err != nil {
			return refused(err.Error())
		}
	case method != "none" && subtle.ConstantTimeCompare([]byte(secret), []byte(c.Secret)) != 1, method == "none" && c.Secret != "":
		return refused("Unauthorized")
	}
	return c
}

// token is the token endpoint.
func (o *op) token(w http.ResponseWriter, r *http.Request, realm string) {
	bad := func(code, text string) { o.tokenError(w, http.StatusBadRequest, code, text) }
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != "application/x-www-form-urlencoded" {
		bad("invalid_request", "the content type is not application/x-www-form-urlencoded")
		return
	}
	if r.URL.RawQuery != "" {
		bad("invalid_request", "parameters in the address")
		return
	}
	if twice := single(r.PostForm); twice != "" {
		bad("invalid_request", twice+" comes twice")
		return
	}
	c := o.authenticate(w, r)
	if c == nil {
		return
	}
	form := r.PostForm
	if form.Get("grant_type") != "authorization_code" {
		bad("unsupported_grant_type", "Invalid grant_type: "+form.Get("grant_type"))
		return
	}
	now := o.time()
	o.mu.Lock()
	g := o.grants[form.Get("code")]
	fresh := g != nil && !g.used
	if g != nil && g.client.ID == c.ID {
		if g.used { // RFC 6749 §4.1.2: what it gave dies too
			delete(o.access, g.accessToken)
		}
		g.used = true
	}
	o.mu.Unlock()
	switch {
	case g == nil, g.client.ID != c.ID, g.realm != realm:
		bad("invalid_grant", "Malformed auth code.")
	case !fresh:
		bad("invalid_grant", "The code was already redeemed.")
	case now.Sub(g.made) > o.codeLife:
		bad("invalid_grant", "The code has expired.")
	case form.Get("redirect_uri") != g.redirectURI:
		bad("redirect_uri_mismatch", "Bad Request")
	case g.challenge == "" && form.Has("code_verifier"):
		bad("invalid_grant", "code_verifier without a code_challenge")
	case g.challenge != "" && form.Get("code_verifier") == "":
		bad("invalid_grant", "Missing code verifier.")
	case g.challenge != "" && !proves(g.challenge, g.method, form.Get("code_verifier")):
		bad("invalid_grant", "Invalid code verifier.")
	default:
		o.issue(w, g)
	}
}

func proves(challenge, method, verifier string) bool {
	if method == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		verifier = encode64(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(challenge), []byte(verifier)) == 1
}

// issue answers with tokens.
func (o *op) issue(w http.ResponseWriter, g *grant) {
	g.accessToken = "at-" + rand.Text()
	raw, err := o.idToken(g)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	o.mu.Lock()
	o.access[g.accessToken] = g
	o.mu.Unlock()
	answerJSON(w, http.StatusOK, map[string]any{"access_token": g.accessToken, "token_type": "Bearer", "expires_in": 3599, "scope": g.scope, "id_token": raw})
}

func (o *op) idToken(g *grant) (string, error) {
	now := o.time()
	c := g.person.claims(g.scopes())
	if o.sub != nil {
		if s, ok := c["sub"].(string); ok {
			c["sub"] = o.sub(g.client.ID, s)
		}
	}
	c["iss"], c["aud"], c["iat"], c["exp"] = o.issuerFor(g), g.client.ID, now.Unix(), now.Add(time.Hour).Unix()
	if g.nonce != "" {
		c["nonce"] = g.nonce
	}
	if g.maxAge {
		c["auth_time"] = g.authenticated.Unix()
	}
	o.mu.Lock()
	key, other, forge := o.keys[0], o.secret, o.forge
	o.issued++
	o.mu.Unlock()
	if o.signer != nil {
		key = o.signer(g)
	}
	c["at_hash"] = halfHash(key.alg, g.accessToken)
	if o.finish != nil {
		o.finish(g, c)
	}
	t := &Token{Header: map[string]any{"alg": key.alg, "kid": key.kid, "typ": "JWT"}, Claims: c, Key: key.private, Other: other.private}
	if forge != nil {
		forge(t)
	}
	return t.Compact()
}

// userInfo is the userinfo endpoint (OpenID Connect Core §5.3).
func (o *op) userInfo(w http.ResponseWriter, r *http.Request) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	o.mu.Lock()
	g, bad := o.access[bearer], maps.Clone(o.badUser)
	o.mu.Unlock()
	if !ok || g == nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		answerJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token", "error_description": "Invalid Credentials"})
		return
	}
	c := g.person.claims(g.scopes())
	if o.sub != nil {
		c["sub"] = o.sub(g.client.ID, g.person.ID)
	}
	for k, v := range bad {
		c[k] = v
		if v == Absent {
			delete(c, k)
		}
	}
	answerJSON(w, http.StatusOK, c)
}

// jwks is the key set.
func (o *op) jwks(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	list := make([]any, len(o.keys))
	for i, k := range o.keys {
		list[i] = k.jwk()
	}
	o.mu.Unlock()
	w.Header().Set("Cache-Control", o.cacheControl)
	answerJSON(w, http.StatusOK, map[string]any{"keys": list})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller went away
}

// plainTokenError is RFC 6749 §5.2.
func plainTokenError(w http.ResponseWriter, status int, code, text string) {
	answerJSON(w, status, map[string]any{"error": code, "error_description": text})
}
