package provider

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// authorize serves GET /oauth2/authorize (RFC 6749 §3.1). With a session and known consent it is one response, two reads and no write.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) error {
	raw, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem("invalid_request", "error.app_request", err)
	}
	raw.Del(hintParam)
	raw.Del(storedParam)
	raw.Del(markerParam)
	q, refused, page := p.resolve(r.Context(), raw)
	if page != nil {
		return page
	}
	web.LogAttrs(r.Context(), slog.String("client", q.client.ID))
	if refused != nil {
		return p.respondError(w, r, q, refused)
	}
	q.fresh = true
	return p.advance(w, r, q, nil, "")
}

// maxURL is what a POSTed request may become as a URL; browsers and proxies take that much.
const maxURL = 8000

// authorizePost serves POST /oauth2/authorize (OIDC Core §3.1.2.1). A cross-site POST brings no SameSite=Lax cookie, so it turns itself
// into a GET of ours, which does (pages.md trap 2).
func (p *Provider) authorizePost(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return problem("invalid_request", "error.app_request", err)
	}
	query := r.PostForm.Encode()
	if r.URL.RawQuery != "" || len(query) > maxURL {
		return problem("invalid_request", "error.app_request", errors.New("parameters in both URL and body, or too many"))
	}
	return web.SeeOther(w, r, "/oauth2/authorize?"+query)
}

// Continue goes on with a stored request after login or consent. login calls it in the process; nothing of the request is read again
// from the browser, and the client's settings are checked once more.
func (p *Provider) Continue(w http.ResponseWriter, r *http.Request, handle string) error {
	f, err := p.c.Sessions.Flow(r, handle)
	if err != nil {
		return err
	}
	q, err := p.restore(r.Context(), f)
	if err != nil {
		return err
	}
	return p.advance(w, r, q, f, handle)
}

func (p *Provider) restore(ctx context.Context, f *store.Flow) (*request, error) {
	form, err := url.ParseQuery(f.Form)
	if err != nil {
		return nil, fmt.Errorf("provider: stored request: %w", err)
	}
	form.Set(storedParam, "1")
	q, refused, page := p.resolve(ctx, form)
	if page != nil {
		return nil, page
	}
	if refused != nil { // the client's registration changed meanwhile
		return nil, problem(refused.code, "error.app_request", refused)
	}
	return q, nil
}

// advance decides and does: issue, refuse, or send the browser to the page that is due.
func (p *Provider) advance(w http.ResponseWriter, r *http.Request, q *request, f *store.Flow, handle string) error {
	ctx := r.Context()
	now := p.c.Now()
	sess, signedIn := session.Current(ctx)
	if m := q.client.Metadata.Connectors; signedIn && len(m) > 0 && !slices.Contains(m, sess.Connector) {
		signedIn = false // a sign-in by a way this client does not take is none for it (R53)
	}
	fa := facts{prompt: q.prompt, maxAge: q.maxAge, started: now, signedIn: signedIn, hinted: q.hintSub != "", acrEssential: q.claims.acrWanted(), acrValues: q.acrValues(),
		acting: sess != nil && sess.Acting()}
	var ends store.Time // of acting
	if fa.acting {
		// What outlives the session would outlive the acting.
		q.scopes = slices.DeleteFunc(q.scopes, func(s string) bool { return s == scopeOffline })
		var err error
		if fa.actingHere, ends, err = p.actingHere(ctx, q.client, sess); err != nil {
			return err
		}
	}
	if f != nil {
		fa.started = f.StartedAt.Time
	}
	var digest consentDigests
	owed := ""
	if signedIn {
		fa.authTime, fa.acr = sess.AuthTime.Time, sess.ACR
		if err := p.assurance(ctx, &fa, q.client, sess.Live); err != nil {
			return err
		}
		person := sess.Person()
		fa.hintMatches = q.hintSub == person.User.ID
		ok, err := p.entitled(ctx, q.client, person, now)
		if err != nil {
			return err
		}
		fa.entitled = ok
		owed = p.c.Owes(q.client.Client, &person.User)
		fa.owes = owed != ""
		if f != nil {
			fa.consentGiven = f.Consent != "" && f.UserID == person.User.ID // another user in this tab voids it (security.md A23)
		}
		digest = digests(q)
		if fa.consentNeeded, err = p.consentNeeded(ctx, q, person.User.ID, digest, now); err != nil {
			return err
		}
	}
	next, refused := decide(fa, now)
	switch {
	case refused != nil && refused.code == "access_denied" && !slices.Contains(q.prompt, "none"):
		return p.notEntitled(w, r, q)
	case refused != nil:
		return p.respondError(w, r, q, refused)
	case next == stepIssue:
		if f != nil {
			// One code per flow: the conditional update decides between two clicks.
			if err := p.c.Store.FinishFlow(ctx, f.IDHash); err != nil {
				if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExpired) {
					return &web.Error{Status: http.StatusBadRequest, Key: "error.flow_finished", Err: err}
				}
				return err
			}
		}
		return p.issue(w, r, q, sess, ends, fa.started, now)
	}
	if f == nil {
		var err error
		if f, handle, err = p.newFlow(w, r, q, now); err != nil {
			return err
		}
	}
	switch next {
	case stepConsent:
		return web.SeeOther(w, r, "/consent?flow="+url.QueryEscape(handle))
	case stepUp:
		page := "/mfa"
		if !fa.assured("2") {
			page = "/mfa/passkey" // two factors are not enough
		}
		return web.SeeOther(w, r, page+"?flow="+url.QueryEscape(handle))
	case stepOwes:
		return web.SeeOther(w, r, owed+"?flow="+url.QueryEscape(handle))
	case stepOneself:
		return p.onlyOneself(w, r, q, fa, handle)
	}
	to, err := p.c.Login(ctx, handle, *f)
	if err != nil {
		return fmt.Errorf("provider: where to sign in: %w", err)
	}
	return web.SeeOther(w, r, to)
}

// assurance fills in what the client and the person's own account demand. What the person could reach is asked only where that, or the request, is not
// met: a request that is answered at once costs nothing here.
func (p *Provider) assurance(ctx context.Context, fa *facts, c *Client, u *store.Live) (err error) {
	if fa.acrLeast, err = p.c.LeastACR(ctx, u); err != nil {
		return err
	}
	if want := c.Metadata.RequireACR; want != "" && !session.Reaches(fa.acrLeast, want) {
		fa.acrLeast = want
	}
	if !fa.assured(fa.acr) {
		fa.acrMost, err = p.c.MostACR(ctx, u)
	}
	return err
}

// newFlow keeps the resolved request under a random handle of 128 bits or more, bound to this browser (security.md A7).
func (p *Provider) newFlow(w http.ResponseWriter, r *http.Request, q *request, now time.Time) (*store.Flow, string, error) {
	handle := strings.ToLower(rand.Text())
	f := &store.Flow{IDHash: HashSecret(handle), ClientID: q.client.ID, Form: q.form.Encode(),
		BrowserHash: HashSecret(p.c.Sessions.FlowCookie(w, r)), StartedAt: store.At(now), ExpiresAt: store.At(now.Add(p.c.FlowLife))}
	if err := p.c.Store.CreateFlow(r.Context(), f); err != nil {
		return nil, "", err
	}
	return f, handle, nil
}

// entitled evaluates the client's requirement over what the user holds now (R120).
func (p *Provider) entitled(ctx context.Context, c *Client, l *store.Live, now time.Time) (bool, error) {
	if len(c.Metadata.RequiredPrivileges) == 0 && !c.Metadata.DebugPermissions {
		return true, nil
	}
	r, err := p.rights(ctx, l, now)
	if err != nil {
		return false, err
	}
	return p.check(ctx, "sign_in", c, l, r)
}

// check is the client's requirement at an action; one line of the log for each where client and action are flagged (R104). It says who, by id, and what
// they hold: no name, no address, no token.
func (p *Provider) check(ctx context.Context, action string, c *Client, l *store.Live, r rights) (bool, error) {
	req, err := c.requirement()
	if err != nil {
		return false, err
	}
	unmet := req.Unmet(r.effective)
	if c.Metadata.DebugPermissions && p.c.Debug != nil && p.c.Debug(action) {
		missing := ""
		if len(unmet) > 0 {
			missing = strings.Join(unmet[0], " or ")
		}
		p.c.Logger.InfoContext(ctx, "permission check", "action", action, "client", c.ID, "user", l.User.ID, "user_type", r.userType,
			"privileges", r.effective, "requires", req.String(), "unmet", missing, "granted", len(unmet) == 0)
	}
	return len(unmet) == 0, nil
}

// requirement is who may use the client.
func (c *Client) requirement() (privilege.Requirement, error) {
	req, err := privilege.ParseRequirement(c.Metadata.RequiredPrivileges, nil)
	if err != nil {
		return req, fmt.Errorf("provider: requirement of client %s: %w", c.ID, err)
	}
	return req, nil
}

// notEntitled tells the person, and lets them go back to the application with access_denied.
func (p *Provider) notEntitled(w http.ResponseWriter, r *http.Request, q *request) error {
	back, err := p.deniedURL(q, "The person may not use this application.")
	if err != nil {
		return err
	}
	page := &templates.ErrorPage{Base: p.c.Mux.Base(w, r), Status: http.StatusForbidden, Code: "access_denied", Key: "error.not_entitled",
		ReturnURL: back, ReturnName: q.client.name()}
	if contacts := q.client.Metadata.Contacts; len(contacts) > 0 {
		page.Key, page.Args = "error.not_entitled_ask", map[string]any{"Contacts": strings.Join(contacts, ", ")}
	}
	return p.c.Mux.Render(w, r, http.StatusForbidden, page)
}

// deniedURL is a way back to the application with access_denied, for a link; "" where its answers do not come by a link.
func (p *Provider) deniedURL(q *request, text string) (string, error) {
	if q.mode != "query" {
		return "", nil
	}
	back, err := url.Parse(q.redirect)
	if err != nil {
		return "", fmt.Errorf("provider: registered redirect URI: %w", err)
	}
	addQuery(back, p.params(q, url.Values{"error": {"access_denied"}, "error_description": {text}}))
	return back.String(), nil
}

// issue runs fosite's handlers and answers with the code.
// ends is when a person who acts may do so no more.
func (p *Provider) issue(w http.ResponseWriter, r *http.Request, q *request, sess *session.Session, ends store.Time, started, now time.Time) error {
	if err := p.spendRequest(r.Context(), q); err != nil {
		if oe := (*oauthError)(nil); errors.As(err, &oe) {
			return p.respondError(w, r, q, oe)
		}
		return err
	}
	ctx := context.WithValue(r.Context(), requestKey{}, q)
	fr := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/oauth2/authorize"}, Header: http.Header{}, Form: q.fositeForm(), PostForm: url.Values{}}
	ar, err := p.fosite.NewAuthorizeRequest(ctx, fr.WithContext(ctx))
	if err != nil {
		return p.respondError(w, r, q, toOAuth(err))
	}
	for _, s := range q.scopes {
		ar.GrantScope(s)
	}
	for _, u := range q.resources {
		ar.GrantAudience(u)
	}
	resp, err := p.fosite.NewAuthorizeResponse(ctx, ar, p.grantFacts(q, sess, ends, started, now))
	if err != nil {
		return p.respondError(w, r, q, toOAuth(err))
	}
	if sess.Acting() {
		if err := p.recordActing(ctx, q, sess); err != nil {
			return err
		}
	}
	p.c.Observe("issued", "code")
	return p.respond(w, r, q, url.Values{"code": {resp.GetCode()}})
}

// fositeForm is the form in fosite's dialect.
func (q *request) fositeForm() url.Values {
	form := make(url.Values, len(q.form))
	for k, v := range q.form {
		switch k {
		case hintParam, markerParam, "claims", "id_token_hint", "resource", "state", "nonce": // ours; fosite would only look at them wrongly
		default:
			form[k] = v
		}
	}
	form["audience"] = q.resources
	// State is optional and the client's own (OIDC Core §3.1.2.1); fosite insists on eight characters. We answer with the real one.
	form["state"] = []string{"not-looked-at"}
	return form
}

// grantFacts are what the grant will remember.
func (p *Provider) grantFacts(q *request, sess *session.Session, ends store.Time, started, now time.Time) *Session {
	s := &Session{UserID: sess.Person().User.ID, AuthTime: sess.AuthTime.Unix(), ACR: saidACR(sess.ACR, q.claims.acrWanted(), q.acrValues()), AMR: sess.AMR, SID: sess.SID, Connector: sess.Connector,
		Nonce: q.form.Get("nonce"), Claims: q.rawClaims, requestedAt: started.Truncate(time.Second).UTC(), skew: time.Since(now).Truncate(time.Second)}
	mayRefresh := slices.Contains(q.client.grants, "refresh_token")
	switch {
	case mayRefresh && slices.Contains(q.scopes, scopeOffline):
		s.Refresh, s.Offline = true, true
		s.GrantEnd = now.Add(p.c.RefreshAbsolute).Unix()
	case mayRefresh && q.client.Metadata.RefreshTokens == "session":
		s.Refresh = true
		s.GrantEnd = min(now.Add(p.c.RefreshAbsolute).Unix(), sess.ExpiresAt.Unix())
	}
	if sess.Acting() { // the sign-in stays that of who really signed in; nothing outlives what they act by, nor the session as it is now
		s.Actor, s.ActingBy = sess.UserID, sess.ActingBy
		end := min(sess.LastSeenAt.UnixMilli()+sess.IdleMS, sess.ExpiresAt.UnixMilli()) / 1000
		if !ends.IsZero() {
			end = min(end, ends.Unix())
		}
		if s.GrantEnd == 0 || end < s.GrantEnd {
			s.GrantEnd = end
		}
	}
	return s
}

// consentDigests tell whether what is remembered still is what was agreed to.
type consentDigests struct{ claims, client string }

func digests(q *request) consentDigests {
	d := consentDigests{}
	if len(q.rawClaims) > 0 {
		d.claims = HashSecret(string(q.rawClaims))
	}
	m := q.client.Metadata
	b, _ := json.Marshal([]any{m.Name, m.ClientURI, m.PolicyURI, m.TOSURI, m.RedirectURIs, q.resources}) // strings always marshal
	d.client = HashSecret(string(b))
	return d
}

// consentNeeded: a new scope, other claims, a changed name or URI ask again; so do native clients, whose identity nothing proves (RFC 8252
// §8.6), and public ones that want to stay (security.md A16). First-party clients were agreed to by the operator.
func (p *Provider) consentNeeded(ctx context.Context, q *request, userID string, d consentDigests, now time.Time) (bool, error) {
	c := q.client
	if c.Metadata.FirstParty {
		return false, nil
	}
	if c.IsPublic() && (c.native() || slices.Contains(q.scopes, scopeOffline)) {
		return true, nil
	}
	known, err := p.c.Store.Consent(ctx, userID, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !now.Before(known.ExpiresAt.Time) || known.ClaimsDigest != d.claims || known.ClientDigest != d.client {
		return true, nil
	}
	for _, s := range q.scopes {
		if !slices.Contains(known.Scope, s) {
			return true, nil
		}
	}
	return false, nil
}
