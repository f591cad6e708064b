package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// able is an upstream with everything a connector may be able to do. Its signatures are the word "signed".
type able struct{ *upstream }

func (able) Deauthorized(signedRequest string, _ time.Time) (string, error) {
	subject, ok := strings.CutPrefix(signedRequest, "signed:")
	if !ok {
		return "", errors.New("bad signature")
	}
	subject, _, _ = strings.Cut(subject, ";") // and when it was made
	return subject, nil
}

func (able) LoggedOut(_ context.Context, token string) (subject, sid string, err error) {
	rest, ok := strings.CutPrefix(token, "signed:")
	if !ok {
		return "", "", &connectors.Error{Kind: connectors.Invalid}
	}
	subject, sid, _ = strings.Cut(rest, "/")
	return subject, sid, nil
}

func (able) EndSessionURL(_ context.Context, idToken, back, state string) (string, error) {
	return "https://facebook.example/logout?" + url.Values{"id_token_hint": {idToken}, "post_logout_redirect_uri": {back}, "state": {state}}.Encode(), nil
}

// revoking remembers which tokens it took back, and then fails: the link is gone whatever it says.
type revoking struct {
	*upstream
	took *[]string
}

func (r revoking) Revoke(_ context.Context, token string) error {
	*r.took = append(*r.took, token)
	return errors.New("down")
}

// TestSec_E13_TokenGivenBack: an access token is kept where the operator wants it given back, sealed, and goes with the link.
func TestSec_E13_TokenGivenBack(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		var took []string
		f := newUpstream("facebook")
		up := open(f, func(u *login.Upstream) { u.Revoke = keep })
		up.Connector = revoking{f, &took}
		s := newSiteOn(t, store.SQLite, up)
		b := s.browser("192.0.2.1")
		who := person("f1", "ana@example.com")
		who.AccessToken = "the-access-token"
		id := b.through(f, who).arrived()
		link := s.links(id)[0]
		if (link.TokenSealed != "") != keep || strings.Contains(link.TokenSealed, "access") {
			t.Errorf("keep %v: %q", keep, link.TokenSealed)
		}
		must(t, s.store.SetPassword(t.Context(), "cli", id, goodHash(), false, ""))
		b.through(f, who).arrived() // a password ends the sessions there were
		link = s.links(id)[0]
		token := b.get("/account/connections").formTo("/account/connections/facebook/link", "").values
		b.send(http.MethodPost, "/account/connections/"+link.ID+"/unlink", token, nil).expect("/account/connections", http.StatusOK)
		if len(s.links(id)) != 0 {
			t.Fatal("still linked")
		}
		if want := map[bool][]string{true: {"the-access-token"}}[keep]; !slices.Equal(took, want) {
			t.Errorf("keep %v: gave back %v", keep, took)
		}
	}
}

// post is an upstream's server: no cookies, no browser.
func (s *site) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

func TestDeauthorize(t *testing.T) {
	t.Parallel()
	f, g := newUpstream("facebook"), newUpstream("google")
	up := open(f)
	up.Connector = able{f}
	s := newSiteOn(t, store.SQLite, up, open(g))
	b, other := s.browser("192.0.2.1"), s.browser("192.0.2.2")
	ana := b.through(f, person("f1", "ana@example.com")).arrived()
	other.through(f, person("f2", "bea@example.com")).arrived()
	for path, want := range map[string]int{"facebook": http.StatusBadRequest, "google": http.StatusNotFound, "nobody": http.StatusNotFound} {
		if w := s.post("/callback/"+path+"/deauthorize", url.Values{"signed_request": {"forged:f1"}}); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	b.get("/account").expect("/account", http.StatusOK)
	if w := s.post("/callback/facebook/deauthorize", url.Values{"signed_request": {"signed:f1"}}); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	b.get("/account").expect("/login", http.StatusOK)
	other.get("/account").expect("/account", http.StatusOK)
	if b.through(f, person("f1", "ana@example.com")).arrived() != ana {
		t.Error("who comes back is somebody else")
	}
	if w := s.post("/callback/facebook/deauthorize", url.Values{"signed_request": {"signed:stranger"}}); w.Code != http.StatusOK {
		t.Errorf("a stranger: %d", w.Code)
	}
}

func TestDataDeletion(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{store.SQLite, store.Postgres} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f := newUpstream("facebook")
			up := open(f)
			up.Connector = able{f}
			s := newSiteOn(t, engine, up)
			only := s.browser("192.0.2.1").through(f, person("f1", "ana@example.com")).arrived()
			both := s.browser("192.0.2.2").through(f, person("f2", "bea@example.com")).arrived()
			must(t, s.store.SetPassword(t.Context(), "cli", both, goodHash(), false, ""))
			ask := func(subject string) *page {
				t.Helper()
				w := s.post("/callback/facebook/data-deletion", url.Values{"signed_request": {"signed:" + subject}})
				var answer struct {
					URL  string `json:"url"`
					Code string `json:"confirmation_code"`
				}
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.URL != issuer+"/privacy/deletion/"+answer.Code {
					t.Fatalf("%d %s %v", w.Code, w.Body, err)
				}
				p := s.browser("203.0.113.1").get(strings.TrimPrefix(answer.URL, issuer)).expect("/privacy/deletion/"+answer.Code, http.StatusOK)
				if p.byID("deletion-state") == nil || !strings.Contains(p.text(), answer.Code) {
					t.Error(p.text())
				}
				return p
			}
			if p := ask("f2"); strings.Contains(p.text(), "is shut") || len(s.links(both)) != 0 || !s.read(both).DisabledAt.IsZero() {
				t.Errorf("with a password: %s", p.text())
			}
			p1 := ask("f1")
			first := p1.url.Path
			if p := p1; !strings.Contains(p.text(), "is shut") || len(s.links(only)) != 0 || s.read(only).DisabledAt.IsZero() {
				t.Errorf("the only way in: %s", p.text())
			}
			ask("stranger")
			p := ask("f1;later") // again: the link is gone, so there is nothing left to ask for
			if strings.Contains(p.text(), "is shut") {
				t.Error(p.text())
			}
			must(t, s.store.EraseUser(t.Context(), "cli", only))
			if p := s.browser("203.0.113.1").get(first); strings.Contains(p.text(), "is shut") || attr(p.byID("deletion-state"), "data-state") != "done" {
				t.Errorf("after the account was erased: %s", p.text())
			}
			if p := s.browser("203.0.113.1").get("/privacy/deletion/guess"); p.status != http.StatusNotFound || p.code() != "deletion_unknown" {
				t.Errorf("%d %s", p.status, p.code())
			}
			if w := s.post("/callback/facebook/data-deletion", url.Values{"signed_request": {"f1"}}); w.Code != http.StatusBadRequest {
				t.Errorf("forged: %d", w.Code)
			}
		})
	}
}

func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	f := newUpstream("facebook")
	up := open(f)
	up.Connector = able{f}
	s := newSiteOn(t, store.SQLite, up)
	a, b := s.browser("192.0.2.1"), s.browser("192.0.2.2")
	who := person("f1", "ana@example.com")
	who.SID = "one"
	a.through(f, who).arrived()
	who.SID = "two"
	b.through(f, who).arrived()
	out := func(token string, want int) {
		t.Helper()
		if w := s.post("/callback/facebook/backchannel", url.Values{"logout_token": {token}}); w.Code != want || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", token, w.Code, w.Header())
		}
	}
	out("forged", http.StatusBadRequest)
	out("signed:/", http.StatusBadRequest)
	out("signed:f1/one", http.StatusOK)
	a.get("/account").expect("/login", http.StatusOK)
	b.get("/account").expect("/account", http.StatusOK)
	out("signed:f1/", http.StatusOK)
	b.get("/account").expect("/login", http.StatusOK)
	// A token seen before ends nothing again.
	b.through(f, who).arrived()
	out("signed:f1/", http.StatusOK)
	b.get("/account").expect("/account", http.StatusOK)
}

// TestSec_E13_UpstreamTokens: an upstream's token lies nowhere in the clear, and nowhere at all unless signing out there needs it.
func TestSec_E13_UpstreamTokens(t *testing.T) {
	t.Parallel()
	for _, logout := range []bool{false, true} {
		f := newUpstream("facebook")
		up := open(f, func(u *login.Upstream) { u.Logout = logout })
		up.Connector = able{f}
		s := newSiteOn(t, store.SQLite, up)
		b := s.browser("192.0.2.1")
		who := person("f1", "ana@example.com")
		who.IDToken, who.AccessToken = "the.id.token", "the-access-token"
		id := b.through(f, who).arrived()
		sessions, err := s.store.SessionsOf(t.Context(), id)
		must(t, err)
		side, err := s.store.UpstreamSession(t.Context(), sessions[0].ID)
		must(t, err)
		if (side.Sealed != "") != logout || strings.Contains(side.Sealed, "token") {
			t.Errorf("logout %v: %+v", logout, side)
		}
		p := b.get("/logout").form("logout-form").submit()
		if b.cookie(sessionCookie) != "" {
			t.Fatal("not signed out here")
		}
		if !logout {
			p.expect("/logged-out", http.StatusOK)
			continue
		}
		link := attr(p.expect("/logout", http.StatusOK).byID("go-link"), "href")
		if q := mustURL(t, link).Query(); q.Get("id_token_hint") != "the.id.token" || q.Get("post_logout_redirect_uri") != issuer+"/logged-out" {
			t.Errorf("leads to %s", link)
		}
		if !strings.HasSuffix(p.header.Get("Refresh"), link) {
			t.Errorf("Refresh: %q", p.header.Get("Refresh"))
		}
	}
	// An identity that waits is sealed too.
	f := newUpstream("facebook")
	s := newSiteOn(t, store.SQLite, open(f))
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	p := b.through(f, person("f1-subject", "ana@example.com")).expect("/login/link", http.StatusOK)
	row, err := s.store.Attempt(t.Context(), hash(p.url.Query().Get("join")), hash(b.cookie("latchkey-flow")))
	must(t, err)
	if row.Purpose != store.AttemptJoin || row.Sealed == "" || strings.Contains(row.Sealed, "ana@example.com") || strings.Contains(row.Sealed, "f1-subject") {
		t.Errorf("%+v", row)
	}
}
