package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	pendingDeletion = "deletion"           // store.Pending.Kind of a request to delete what an upstream told us
	deletionLife    = 365 * 24 * time.Hour // how long its status can be read

	logoutTokenLife = time.Hour // more than any connector takes one for

	deletionDone = "done"     // store.Pending.State: everything is gone
	deletionOpen = "received" // the account has no way in left: an administrator must erase it

	deletionRequested = "deletion requested at the upstream" // store.User.DisabledReason
)

// deletion is store.Pending.Request.
type deletion struct {
	Connector string    `json:"connector"`
	At        time.Time `json:"at"`
}

// noticed reads an upstream's signed notice (Facebook's signed_request) and finds the links of its subject.
func (l *Login) noticed(r *http.Request) (*Upstream, []store.Identity, error) {
	up := l.upstream(r.PathValue("connector"))
	if up == nil {
		return nil, nil, &web.Error{Status: http.StatusNotFound}
	}
	reader, ok := up.Connector.(connectors.Deauthorizer)
	if !ok {
		return nil, nil, &web.Error{Status: http.StatusNotFound}
	}
	subject, err := reader.Deauthorized(r.PostFormValue("signed_request"), l.now())
	if err != nil || subject == "" {
		return nil, nil, &web.Error{Status: http.StatusBadRequest, Err: err}
	}
	links, err := l.store.IdentitiesBySubject(r.Context(), up.Name(), subject)
	return up, links, wrap("notice of an upstream", err)
}

// deauthorize is POST /callback/{connector}/deauthorize: the person removed this application at the upstream. What came through it ends;
// the link stays, as the person may come back and is the same then.
func (l *Login) deauthorize(w http.ResponseWriter, r *http.Request) error {
	up, links, err := l.noticed(r)
	if err != nil {
		return err
	}
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		// A notice that was seen before ends nothing again: the person may be back.
		first, err := l.store.Mark(ctx, "deauthorize:"+hashOf(r.PostFormValue("signed_request")), l.now().Add(deletionLife))
		if err != nil || !first {
			return err
		}
		for _, link := range links {
			if _, err := l.store.EndUpstreamSessions(ctx, up.Name(), link.Subject, "", "deauthorized at the upstream"); err != nil {
				return err
			}
			if err := l.record(ctx, "deauthorized", link.UserID, "", map[string]any{"connector": up.Name()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return wrap("notice of an upstream", err)
	}
	return writeJSON(w, http.StatusOK, struct{}{})
}

// dataDeletion is POST /callback/{connector}/data-deletion. What the upstream told us of the person is deleted with the link; an account
// that nobody can enter any more is shut, for an administrator to erase. The answer is the upstream's form: an address where the person
// can read the status, and its code.
func (l *Login) dataDeletion(w http.ResponseWriter, r *http.Request) error {
	up, links, err := l.noticed(r)
	if err != nil {
		return err
	}
	// The same notice again is the same request, with the same answer: it deletes nothing of who came back, and adds no row. The signature in it
	// makes the code one that nobody guesses.
	sum := sha256.Sum256([]byte("data deletion\x00" + r.PostFormValue("signed_request")))
	code := base64.RawURLEncoding.EncodeToString(sum[:])
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		if _, err := l.store.Pending(ctx, pendingDeletion, hashOf(code)); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		state, owner := deletionDone, ""
		for _, link := range links {
			owner = link.UserID
			if _, err := l.store.EndUpstreamSessions(ctx, up.Name(), link.Subject, "", "deletion requested at the upstream"); err != nil {
				return err
			}
			ways, err := l.store.ForgetIdentity(ctx, up.actor(), link.UserID, link.ID, l.WaysIn())
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err == nil && ways == 0 {
				state = deletionOpen
				if err := l.store.DisableUser(ctx, "system", link.UserID, deletionRequested); err != nil {
					return err
				}
			}
			if err := l.record(ctx, "deletion_requested", link.UserID, "", map[string]any{"connector": up.Name(), "state": state}); err != nil {
				return err
			}
		}
		request, err := json.Marshal(deletion{up.Name(), l.now()})
		if err != nil {
			return err
		}
		return l.store.CreatePending(ctx, &store.Pending{
			IDHash: hashOf(code), Kind: pendingDeletion, Request: string(request), UserID: owner, State: state, ExpiresAt: store.At(l.now().Add(deletionLife)),
		})
	})
	if err != nil && !errors.Is(err, store.ErrConflict) { // it came twice at once
		return wrap("notice of an upstream", err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"url": l.issuer + deletionPrefix + code, "confirmation_code": code})
}

// deletionStatus is GET /privacy/deletion/{code}.
func (l *Login) deletionStatus(w http.ResponseWriter, r *http.Request) error {
	code := r.PathValue("code")
	row, err := l.store.Pending(r.Context(), pendingDeletion, hashOf(code))
	if errors.Is(err, store.ErrNotFound) {
		return &web.Error{Status: http.StatusNotFound, Key: "error.deletion_unknown", Code: "deletion_unknown", Err: err}
	} else if err != nil {
		return wrap("status of a deletion", err)
	}
	var d deletion
	if err := json.Unmarshal([]byte(row.Request), &d); err != nil {
		return wrap("status of a deletion", err)
	}
	base := l.mux.Base(w, r)
	return l.mux.Render(w, r, http.StatusOK, &templates.DeletionPage{
		Base: base, Code: code, Provider: l.Label(d.Connector), At: base.When(d.At.UTC()), Done: row.State == deletionDone,
	})
}

// backchannel is POST /callback/{connector}/backchannel: the person signed out at the upstream (OpenID Connect Back-Channel Logout 1.0
// §2.5). Sessions that came through it end, with the grants that do not outlive one.
func (l *Login) backchannel(w http.ResponseWriter, r *http.Request) error {
	up := l.upstream(r.PathValue("connector"))
	if up == nil {
		return &web.Error{Status: http.StatusNotFound}
	}
	reader, ok := up.Connector.(connectors.BackchannelLogout)
	if !ok {
		return &web.Error{Status: http.StatusNotFound}
	}
	subject, sid, err := reader.LoggedOut(r.Context(), r.PostFormValue("logout_token"))
	if err != nil || subject == "" && sid == "" {
		if connectors.KindOf(err) == connectors.Upstream && err != nil {
			return &web.Error{Status: http.StatusServiceUnavailable, Err: err, Retry: 10 * time.Second}
		}
		return &web.Error{Status: http.StatusBadRequest, Err: err} // §2.8
	}
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		// §2.6: a token that was seen before ends nothing again. None is good for longer than that.
		// Without its signature: an ECDSA one has a twin that is as good.
		signed, _, _ := cutLast(r.PostFormValue("logout_token"), ".")
		first, err := l.store.Mark(ctx, "logout_token:"+hashOf(signed), l.now().Add(logoutTokenLife))
		if err != nil || !first {
			return err
		}
		_, err = l.store.EndUpstreamSessions(ctx, up.Name(), subject, sid, "signed out at the upstream")
		return err
	})
	if err != nil {
		return wrap("back-channel logout", err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// UpstreamSignOut is asked before session s ends here. What it returns answers the request after that: a page that leads on through the
// upstream's sign-out, and from there to then ("" = our own page). It is nil when the session came another way, the operator does not ask
// for it, or the upstream has no such address. then is an address that is registered for an application.
func (l *Login) UpstreamSignOut(ctx context.Context, s *session.Session, then string) func(http.ResponseWriter, *http.Request, []string) error {
	up := l.upstream(s.Connector)
	if up == nil || !up.Logout {
		return nil
	}
	ender, ok := up.Connector.(connectors.EndSession)
	if !ok {
		return nil
	}
	side, err := l.store.UpstreamSession(ctx, s.ID)
	var token []byte
	if err == nil && side.Sealed != "" {
		token, err = l.open(side.Sealed, sealedSession+s.ID)
	}
	if err != nil {
		l.log.WarnContext(ctx, "no sign-out at the upstream", "connector", up.Name(), "error", err)
		return nil
	}
	state := ""
	if then != "" {
		b, err := json.Marshal(afterSignOut{then, l.now().Add(attemptLife).Unix()})
		if err != nil {
			l.log.WarnContext(ctx, "no way back from the upstream's sign-out", "connector", up.Name(), "error", err)
		} else {
			state = l.seal(b, sealedSignOut)
		}
	}
	to, err := ender.EndSessionURL(ctx, string(token), l.issuer+signedOutPath, state)
	if err != nil {
		l.log.WarnContext(ctx, "no sign-out at the upstream", "connector", up.Name(), "error", err)
		return nil
	}
	if to == "" {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request, frames []string) error {
		// The form that was sent may not end at another site (pages.md trap 1), so a page leads there.
		web.LoadThenGo(w, frames, to)
		page := &templates.GoPage{Base: l.mux.Base(w, r), Provider: up.Label, URL: to, SignOut: true, Frames: frames}
		page.User = nil // they just left
		return l.mux.Render(w, r, http.StatusOK, page)
	}
}

// afterSignOut is the state of a sign-out at an upstream. It is sealed, so only addresses that we were about to follow come back in it.
type afterSignOut struct {
	Then  string `json:"then"`
	Until int64  `json:"until"` // Unix seconds
}

const sealedSignOut = "signed-out"

// afterUpstream is where the state that came back from an upstream's sign-out leads, "" = nowhere.
func (l *Login) afterUpstream(state string) string {
	if state == "" || len(state) > maxCallback || l.open == nil {
		return ""
	}
	b, err := l.open(state, sealedSignOut)
	if err != nil {
		return ""
	}
	var after afterSignOut
	if json.Unmarshal(b, &after) != nil || l.now().Unix() > after.Until {
		return ""
	}
	return after.Then
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the peer is gone: nobody to tell
	return nil
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
