package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

const (
	startPrefix    = "/login/start/" // and the connector
	callbackPrefix = "/callback/"    // and the connector (R29)

	maxCallback = 8000             // bytes of a callback's query
	cleanMark   = "&fragment=none" // at its end: the address has none
	freshSkew   = 60 * time.Second // of the upstream's clock
)

// start is GET /login/start/{connector}: off to the upstream. It changes nothing but a row of its own, and what comes of it is good in this
// browser only, so a link from anywhere may lead here.
func (l *Login) start(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return &web.Error{Status: http.StatusMethodNotAllowed} // HEAD: somebody looks at a link
	}
	p, err := l.pending(r)
	if err != nil {
		return l.deadEnd(r, err)
	}
	up, err := l.wanted(r, p)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	a := store.Attempt{Purpose: store.AttemptLogin}
	j := journey{Join: q.Get("join")}
	if j.Join != "" {
		if _, _, err := l.waits(r, p, j.Join, store.AttemptJoin); err != nil {
			return err
		}
	}
	if q.Get("reauth") != "" {
		current, ok := session.Current(r.Context())
		if !ok {
			return web.SeeOther(w, r, signInPath)
		}
		a.Purpose, a.UserID = store.AttemptReauth, current.UserID
	}
	to, err := l.depart(w, r, up, p, a, j)
	if err != nil {
		return err
	}
	return web.SeeOther(w, r, to)
}

// wanted is the upstream of a request's path, if this flow's client takes it.
func (l *Login) wanted(r *http.Request, p *pending) (*Upstream, error) {
	up := l.upstream(r.PathValue("connector"))
	if up == nil || !p.admits(up.Name()) {
		return nil, &web.Error{Status: http.StatusNotFound, Key: "error.connector_unknown", Code: "unknown_connector", RestartURL: chooseURL(p)}
	}
	return up, nil
}

// depart stores an attempt with fresh random values and returns where the browser goes.
func (l *Login) depart(w http.ResponseWriter, r *http.Request, up *Upstream, p *pending, row store.Attempt, j journey) (string, error) {
	j.Nonce, j.Verifier, j.Flow = newSecret(), newSecret(), p.id()
	a := connectors.Attempt{State: newSecret(), Nonce: j.Nonce, Verifier: j.Verifier, RedirectURI: l.callbackURL(up)}
	a.LoginHint, a.DomainHint = cut(p.param("login_hint"), maxIdentifier), cut(p.param("domain_hint"), maxIdentifier)
	a.Prompt, a.MaxAge = wish(p, row.Purpose == store.AttemptReauth || j.Join != "")
	j.Anew = a.Prompt == "login"
	if a.MaxAge != nil {
		j.Since = l.now().Add(-*a.MaxAge - freshSkew).Unix()
	}
	if up.TrustMFA { // otherwise its answer would not count
		a.ACRValues = strings.Fields(p.param("acr_values"))
	}
	to, err := up.AuthURL(r.Context(), a)
	if err != nil {
		if r.Context().Err() == nil {
			l.saw(up, err)
		}
		return "", l.upstreamError(up, p, err)
	}
	l.sessions.FlowCookie(w, r)
	row.Connector, row.FlowHash = up.Name(), p.hash()
	if err := l.begun(r.Context(), a.State, l.sessions.FlowBinding(r), row, j); err != nil {
		return "", wrap("start of an attempt", err)
	}
	return to, nil
}

func (l *Login) callbackURL(up *Upstream) string { return l.issuer + callbackPrefix + up.Name() }

// wish is what the upstream is asked about signing in anew: what the application asked of us (R57), or all of it when this is to confirm
// who somebody is. Our own prompts (consent, none) are not the upstream's.
func wish(p *pending, anew bool) (prompt string, maxAge *time.Duration) {
	zero := time.Duration(0)
	prompts := strings.Fields(p.param("prompt"))
	switch {
	case anew, slices.Contains(prompts, "login"):
		return "login", &zero
	case slices.Contains(prompts, "select_account"):
		prompt = "select_account"
	}
	if s, err := strconv.ParseInt(p.param("max_age"), 10, 32); err == nil && s >= 0 {
		if s == 0 {
			return "login", &zero
		}
		age := time.Duration(s) * time.Second
		return prompt, &age
	}
	return prompt, nil
}

// callbackPost is POST /callback/{connector}. A cross-site POST brings no cookie of ours; as a GET of ours it does (security.md C3).
func (l *Login) callbackPost(w http.ResponseWriter, r *http.Request) error {
	up := l.upstream(r.PathValue("connector"))
	if up == nil {
		return &web.Error{Status: http.StatusBadRequest, Key: "error.connector_unknown", Code: "unknown_connector", RestartURL: signInPath}
	}
	q := r.PostForm.Encode()
	if r.URL.RawQuery != "" || q == "" || len(q) > maxCallback {
		return &web.Error{Status: http.StatusBadRequest, Err: errors.New("login: a callback with parameters in both places, too many or none")}
	}
	return web.SeeOther(w, r, callbackPrefix+up.Name()+"?"+q)
}

// callback is GET /callback/{connector}: back from the upstream. The order matters: nothing is sent anywhere before state, browser, time
// and connector are right (security.md C5, E9), and nothing of ours is written before the upstream said who it is.
func (l *Login) callback(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return &web.Error{Status: http.StatusMethodNotAllowed}
	}
	up := l.upstream(r.PathValue("connector")) // read now, not when the person left (security.md E11)
	if up == nil {
		return &web.Error{Status: http.StatusNotFound, Key: "error.connector_unknown", Code: "unknown_connector", RestartURL: signInPath}
	}
	if leaves, ok := up.Connector.(connectors.FragmentLeaver); ok && leaves.LeavesFragment() && !strings.HasSuffix(r.URL.RawQuery, cleanMark) &&
		len(r.URL.RawQuery) < maxCallback-len(cleanMark) {
		// A browser takes a fragment along on every redirect, to the application in the end, unless one names its own (RFC 9110 §10.2.2).
		return web.SeeOther(w, r, callbackPrefix+up.Name()+"?"+r.URL.RawQuery+cleanMark+"#")
	}
	q, err := url.ParseQuery(strings.TrimSuffix(r.URL.RawQuery, cleanMark))
	if err != nil || len(r.URL.RawQuery) > maxCallback || len(q["state"]) != 1 {
		return l.attemptOver(nil, nil)
	}
	row, j, p, err := l.returned(r, q.Get("state"))
	if err != nil {
		return err
	}
	if row.Connector != up.Name() {
		// Another connector's state: its code must not reach this one's token endpoint.
		if err := l.record(r.Context(), "sign_in_failed", "", p.clientID(), map[string]any{"method": up.Name(), "why": "mix-up", "state_of": row.Connector}); err != nil {
			return wrap("callback", err)
		}
		return l.attemptOver(p, nil)
	}
	if !p.admits(up.Name()) {
		return &web.Error{Status: http.StatusNotFound, Key: "error.connector_unknown", Code: "unknown_connector", RestartURL: chooseURL(p)}
	}
	id, err := up.Identify(r.Context(), connectors.Attempt{
		State: q.Get("state"), Nonce: j.Nonce, Verifier: j.Verifier, RedirectURI: l.callbackURL(up),
	}, q)
	if r.Context().Err() == nil {
		l.saw(up, err)
	}
	if err != nil {
		return l.identifyFailed(r.Context(), up, p, err)
	}
	a, err := newArrival(up, id, p)
	if err != nil {
		return l.identifyFailed(r.Context(), up, p, err)
	}
	if j.Since != 0 && !id.AuthTime.IsZero() && id.AuthTime.Unix() < j.Since {
		return l.notFresh(up, p)
	}
	a.anew = j.Anew
	if !id.AuthTime.IsZero() { // what the upstream says of it counts for more than what it was asked
		a.anew = l.now().Sub(id.AuthTime) <= recent
	}
	if a.invite, err = l.invite(r); err != nil {
		return err
	}
	switch row.Purpose {
	case store.AttemptLink:
		return l.arriveToLink(w, r, row, a)
	case store.AttemptReauth:
		return l.arriveToConfirm(w, r, row, a)
	case store.AttemptLogin:
		if j.Join != "" {
			return l.arriveWithProof(w, r, j.Join, a)
		}
		return l.arrive(w, r, a)
	}
	return l.attemptOver(p, nil)
}

// newArrival is an identity as the rest of this package takes it.
func newArrival(up *Upstream, id connectors.Identity, p *pending) (*arrival, error) {
	if id.Subject == "" || id.Connector != "" && id.Connector != up.Name() {
		return nil, &connectors.Error{Kind: connectors.Invalid, Err: errors.New("an identity without a subject, or of another connector")}
	}
	id.Connector, id.Email = up.Name(), strings.TrimSpace(id.Email)
	if _, err := store.EmailKey(id.Email); err != nil || mailDomain(id.Email) == "" { // no address that could be anybody's here
		id.Email = ""
	}
	if !up.KeepIDToken && !up.Logout {
		id.IDToken = ""
	}
	if !up.Revoke {
		id.AccessToken = "" // nothing here needs it (security.md E13)
	}
	return &arrival{up: up, id: id, p: p}, nil
}

// returned uses up the attempt of a state: once, in the browser that began it, within its time.
func (l *Login) returned(r *http.Request, state string) (*store.Attempt, *journey, *pending, error) {
	row, err := l.store.UseAttempt(r.Context(), hashOf(state), l.sessions.FlowBinding(r))
	if row == nil || err != nil && !errors.Is(err, store.ErrUsed) && !errors.Is(err, store.ErrExpired) {
		return nil, nil, nil, l.attemptOver(nil, err)
	}
	if !slices.Contains([]string{store.AttemptLogin, store.AttemptLink, store.AttemptReauth}, row.Purpose) {
		return nil, nil, nil, l.attemptOver(nil, nil) // a handle of a page of ours is no state
	}
	var j journey
	if jerr := l.unseal(row, &j); jerr != nil {
		return nil, nil, nil, jerr
	}
	p, perr := l.pendingOf(r, j.Flow)
	if perr != nil {
		return nil, nil, nil, l.deadEndOf(r, j.Flow, perr)
	}
	if err != nil {
		return nil, nil, nil, l.attemptOver(p, err)
	}
	return row, &j, p, nil
}

func (l *Login) notFresh(up *Upstream, p *pending) error {
	e := up.refusal(http.StatusForbidden, "error.upstream_not_fresh", "upstream_not_fresh", nil)
	e.RestartURL = chooseURL(p)
	return e
}

// identifyFailed notes a failure and explains it.
func (l *Login) identifyFailed(ctx context.Context, up *Upstream, p *pending, err error) error {
	if ctx.Err() == nil {
		why := connectors.KindOf(err).String()
		if rerr := l.record(ctx, "sign_in_failed", "", p.clientID(), map[string]any{"method": up.Name(), "why": why}); rerr != nil {
			return wrap("callback", rerr)
		}
	}
	return l.upstreamError(up, p, err)
}

// upstreamError is the page for what went wrong at or with an upstream: a text by kind. The upstream's own words are in the log, under the
// reference that the page shows.
func (l *Login) upstreamError(up *Upstream, p *pending, err error) error {
	cause := fmt.Errorf("login: connector %s: %w", up.Name(), err)
	var e *web.Error
	switch connectors.KindOf(err) {
	case connectors.Denied:
		e = up.refusal(http.StatusForbidden, "error.upstream_denied", "upstream_denied", cause)
	case connectors.Invalid:
		e = up.refusal(http.StatusBadRequest, "error.upstream_invalid", "upstream_invalid", cause)
	case connectors.Misconfigured:
		e = up.refusal(http.StatusBadGateway, "error.upstream_misconfigured", "upstream_misconfigured", cause)
	case connectors.NotAllowed:
		e = up.refusal(http.StatusForbidden, "error.upstream_not_allowed", "upstream_not_allowed", cause)
	default:
		e = up.refusal(http.StatusServiceUnavailable, "error.upstream_unavailable", "upstream_unavailable", cause)
		e.Retry = 10 * time.Second
	}
	if p != nil && e.Status != http.StatusBadGateway { // trying again mends no configuration
		e.RetryURL = startURL(up, p, nil)
	}
	e.RestartURL = chooseURL(p)
	return e
}
