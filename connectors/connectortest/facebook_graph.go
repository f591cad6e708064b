package connectortest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// token exchanges a code. It takes the secret as a parameter only, by GET or POST.
func (f *Facebook) token(w http.ResponseWriter, r *http.Request) {
	bad := func(code, subcode int, text string) {
		graphError(w, http.StatusBadRequest, "OAuthException", code, subcode, text)
	}
	if r.Method == http.MethodPost && !isForm(r) {
		bad(100, 0, "Unsupported content type.")
		return
	}
	q := r.Form
	app, known := f.app(q.Get("client_id"))
	now := f.time()
	f.mu.Lock()
	defer f.mu.Unlock()
	code := f.codes[q.Get("code")]
	switch {
	case single(q) != "":
		bad(100, 0, "The parameter "+single(q)+" is given twice.")
	case r.Header.Get("Authorization") != "":
		bad(101, 0, "Missing client_id parameter.")
	case q.Get("client_id") == "":
		bad(101, 0, "Missing client_id parameter.")
	case !known:
		bad(101, 0, "Error validating application. Cannot get application info due to a system error.")
	case q.Get("client_secret") == "":
		bad(1, 0, "Missing client_secret parameter.")
	case !hmac.Equal([]byte(q.Get("client_secret")), []byte(app.Secret)):
		bad(1, 0, "Error validating client secret.")
	case q.Get("redirect_uri") == "":
		bad(191, 0, "Missing redirect_uri parameter.")
	case q.Get("grant_type") != "" && q.Get("grant_type") != "authorization_code":
		bad(100, 0, "Unsupported grant_type.")
	case code == nil:
		bad(100, 0, "Invalid verification code format.")
	case code.app != app.ID:
		bad(100, 0, "Error validating verification code. The code was issued to another app.")
	case code.redirectURI != q.Get("redirect_uri"):
		code.used = true
		bad(100, 36008, "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	case code.used:
		bad(100, 36009, "This authorization code has been used.")
	case now.Sub(code.made) > facebookCodeLife:
		bad(100, 36007, "This authorization code has expired.")
	case code.challenge != "" && !proves(code.challenge, code.method, q.Get("code_verifier")):
		code.used = true
		bad(100, 0, "Invalid verification code: code_verifier does not match.")
	default:
		code.used = true
		owner := app.ID
		if f.modes.ForeignToken {
			owner = "999000999000999"
		}
		token := "EAA" + rand.Text() + rand.Text()
		f.tokens[token] = &facebookToken{app: owner, person: code.person, made: now}
		answerJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": int(facebookTokenLife.Seconds())})
	}
}

// debugToken tells whose a token is: to the app that it belongs to, by the app's own token.
func (f *Facebook) debugToken(w http.ResponseWriter, r *http.Request) {
	caller := bearer(r)
	if caller == "" {
		caller = r.Form.Get("access_token")
	}
	id, secret, isApp := strings.Cut(caller, "|")
	app, known := f.app(id)
	now := f.time()
	f.mu.Lock()
	defer f.mu.Unlock()
	input := r.Form.Get("input_token")
	t := f.tokens[input]
	switch {
	case caller == "":
		graphError(w, http.StatusBadRequest, "OAuthException", 100, 0, "(#100) You must provide an app access token, or a user access token that is an owner or developer of the app")
	case !isApp || !known || !hmac.Equal([]byte(secret), []byte(app.Secret)):
		graphError(w, http.StatusBadRequest, "OAuthException", 190, 0, "Invalid OAuth access token signature.")
	case input == "":
		graphError(w, http.StatusBadRequest, "OAuthException", 100, 0, "(#100) The parameter input_token is required")
	case input == app.ID+"|"+app.Secret:
		answerJSON(w, http.StatusOK, map[string]any{"data": map[string]any{"app_id": app.ID, "type": "APP", "application": "app", "is_valid": true, "scopes": []string{}}})
	case t == nil:
		answerJSON(w, http.StatusOK, map[string]any{"data": map[string]any{
			"error": map[string]any{"code": 190, "message": "Invalid OAuth access token."}, "is_valid": false, "scopes": []string{},
		}})
	case t.app != app.ID:
		graphError(w, http.StatusBadRequest, "OAuthException", 100, 0, "(#100) The App_id in the input_token did not match the Viewing App")
	default:
		answerJSON(w, http.StatusOK, map[string]any{"data": f.tokenData(t, now)})
	}
}

// tokenData is debug_token's answer, as bent as the modes want it.
func (f *Facebook) tokenData(t *facebookToken, now time.Time) map[string]any {
	scopes := []string{}
	for s, given := range f.given[[2]string{t.app, t.person}] {
		if given {
			scopes = append(scopes, s)
		}
	}
	slices.Sort(scopes)
	expires := t.made.Add(facebookTokenLife)
	valid := t.ended == 0 && now.Before(expires) && !f.modes.Invalid
	d := map[string]any{
		"app_id": t.app, "type": "USER", "application": "app", "data_access_expires_at": t.made.Add(90 * 24 * time.Hour).Unix(), "expires_at": expires.Unix(),
		"issued_at": t.made.Unix(), "is_valid": valid, "scopes": scopes, "user_id": f.IDOf(t.app, t.person),
	}
	if !valid {
		d["error"] = map[string]any{"code": 190, "subcode": 467, "message": "Error validating access token"}
	}
	if f.modes.ForeignApp {
		d["app_id"] = "999000999000999"
	}
	if f.modes.OtherUser {
		d["user_id"] = "10000000000000001"
	}
	if f.modes.TokenType != "" {
		d["type"] = f.modes.TokenType
	}
	if f.modes.NoScopes {
		delete(d, "scopes")
	}
	return d
}

// user is the token of a call for a person, checked with its appsecret_proof. It answers itself when something is wrong.
func (f *Facebook) user(w http.ResponseWriter, r *http.Request) *facebookToken {
	token := bearer(r)
	if token == "" {
		token = r.Form.Get("access_token")
	}
	t := f.tokens[token]
	bad := func(kind string, code, subcode int, text string) *facebookToken {
		graphError(w, http.StatusBadRequest, kind, code, subcode, text)
		return nil
	}
	switch {
	case token == "":
		return bad("OAuthException", 2500, 0, "An active access token must be used to query information about the current user.")
	case t == nil:
		return bad("OAuthException", 190, 0, "Invalid OAuth access token - Cannot parse access token")
	case t.ended != 0:
		return bad("OAuthException", 190, t.ended, "Error validating access token: The user has not authorized application "+t.app+".")
	}
	app, _ := findClient(f.apps, t.app)
	proof := r.Form.Get("appsecret_proof")
	m := hmac.New(sha256.New, []byte(app.Secret))
	m.Write([]byte(token))
	switch {
	case proof == "" && f.modes.RequireProof:
		return bad("GraphMethodException", 100, 0, "API calls from the server require an appsecret_proof argument")
	case proof != "" && proof != hex.EncodeToString(m.Sum(nil)):
		return bad("GraphMethodException", 100, 0, "Invalid appsecret_proof provided in the API argument")
	}
	return t
}

// me is the profile: the fields that are asked for, as far as they were given.
func (f *Facebook) me(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.user(w, r)
	if t == nil {
		return
	}
	p, _ := pickPerson(f.people, t.person)
	all := map[string]any{
		"name": p.Name, "first_name": p.GivenName, "last_name": p.FamilyName,
		"picture": map[string]any{"data": map[string]any{"height": 50, "width": 50, "is_silhouette": p.Picture == "", "url": p.Picture}},
	}
	if p.Picture == "" {
		all["picture"].(map[string]any)["data"].(map[string]any)["url"] = "https://scontent.example/silhouette.png"
	}
	if p.Email != "" && f.given[[2]string{t.app, t.person}]["email"] {
		all["email"] = p.Email
	}
	for k, v := range all {
		if v == "" {
			delete(all, k)
		}
	}
	out := map[string]any{}
	fields := r.Form.Get("fields")
	if fields == "" {
		fields = "id,name"
	}
	for field := range strings.SplitSeq(fields, ",") {
		if !slices.Contains([]string{"id", "name", "first_name", "middle_name", "last_name", "name_format", "short_name", "email", "picture"}, field) {
			graphError(w, http.StatusBadRequest, "OAuthException", 100, 0, "(#100) Tried accessing nonexisting field ("+field+") on node type (User)")
			return
		}
		if v, ok := all[field]; ok {
			out[field] = v
		}
	}
	out["id"] = f.IDOf(t.app, t.person) // whatever is asked for
	p.change(out)
	answerJSON(w, http.StatusOK, out)
}

// permissions takes everything back that the person gave the app.
func (f *Facebook) permissions(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.user(w, r)
	if t == nil {
		return
	}
	if id := r.PathValue("user"); id != "me" && id != f.IDOf(t.app, t.person) {
		graphError(w, http.StatusForbidden, "OAuthException", 200, 0, "(#200) Permissions error")
		return
	}
	f.remove(t.app, t.person)
	answerJSON(w, http.StatusOK, map[string]any{"success": true})
}

// remove ends what the person gave the app. f.mu is held.
func (f *Facebook) remove(app, person string) {
	delete(f.given, [2]string{app, person})
	for _, t := range f.tokens {
		if t.app == app && t.person == person {
			t.ended = 458
		}
	}
}

// Expire ends every token with a subcode of error 190, such as 460 after a change of password.
func (f *Facebook) Expire(subcode int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tokens {
		t.ended = subcode
	}
}

// graphError is Facebook's shape of an error.
func graphError(w http.ResponseWriter, status int, kind string, code, subcode int, text string) {
	e := map[string]any{"message": text, "type": kind, "code": code, "fbtrace_id": "A" + rand.Text()[:10]}
	if subcode != 0 {
		e["error_subcode"] = subcode
	}
	w.Header().Set("WWW-Authenticate", `OAuth "Facebook Platform" "invalid_request" "`+strings.ReplaceAll(text, `"`, "")+`"`)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": e}) //nolint:errcheck // the caller went away
}
