package provider_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// told is an application that hears of ended sessions.
type told struct {
	*httptest.Server
	mu      sync.Mutex
	tokens  []string
	answers []int // status of each request; then 200
	heard   chan string
}

func listen(t testing.TB, answers ...int) *told {
	a := &told{answers: answers, heard: make(chan string, 100)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		status := http.StatusOK
		if n := len(a.tokens); n < len(a.answers) {
			status = a.answers[n]
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil || len(r.PostForm) != 1 || r.URL.RawQuery != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.PostForm)
		}
		a.tokens = append(a.tokens, r.PostForm.Get("logout_token"))
		if status >= 300 && status < 400 {
			w.Header().Set("Location", a.URL+"/elsewhere?x")
		}
		w.WriteHeader(status)
		a.heard <- r.PostForm.Get("logout_token")
	}))
	t.Cleanup(a.Close)
	return a
}

// next is the token that comes next.
func (a *told) next(t testing.TB) string {
	t.Helper()
	select {
	case tok := <-a.heard:
		return tok
	case <-time.After(20 * time.Second):
		t.Fatal("not told")
		return ""
	}
}

// quiet fails when anything more comes.
func (a *told) quiet(t testing.TB) {
	t.Helper()
	select {
	case tok := <-a.heard:
		t.Errorf("told more than asked for: %v", part(t, tok, 1))
	case <-time.After(150 * time.Millisecond):
	}
}

// part of a JWT, 0 = header, 1 = claims.
func part(t testing.TB, tok string, n int) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(tok+"..", ".")[n])
	m := map[string]any{}
	if err != nil || json.Unmarshal(b, &m) != nil {
		t.Fatalf("%q is no token", tok)
	}
	return m
}

func backchannel(idp *testidp.IDP, a *told, m store.ClientMetadata) *testidp.RP {
	m.GrantTypes = []string{"authorization_code", "refresh_token"}
	m.Scope, m.PostLogoutRedirectURIs = "openid profile email phone address offline_access", []string{bye}
	m.FirstParty = true
	if a != nil {
		m.BackChannelLogoutURI = a.URL + "/out"
	}
	return idp.RP(m)
}

// TestOIDCC_BackChannelRPInitiatedLogout: oidcc-backchannel-rp-initiated-logout, and -discovery-endpoint-verification.
func TestOIDCC_BackChannelRPInitiatedLogout(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, b := full(idp), idp.Browser()
	for _, alg := range []string{"RS256", "ES256"} {
		a := listen(t)
		rp := backchannel(idp, a, store.ClientMetadata{IDTokenAlg: alg, BackChannelLogoutSession: true})
		if m := rp.Metadata(); m["backchannel_logout_supported"] != true || m["backchannel_logout_session_supported"] != true {
			t.Errorf("discovery: %v", m)
		}
		set := tokens(t, b, rp, ada)
		if p := b.Get(rp.LogoutURL("id_token_hint", set.RawID, "post_logout_redirect_uri", bye, "state", "x")); p.URL.String() != bye+"?state=x" {
			t.Fatalf("ended at %s", p)
		}
		tok := a.next(t)
		head, c := part(t, tok, 0), part(t, tok, 1)
		if head["typ"] != "logout+jwt" || head["alg"] != alg || head["kid"] == "" {
			t.Errorf("header %v", head)
		}
		var names []string
		for n := range c {
			names = append(names, n)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "aud events exp iat iss jti sid sub" {
			t.Errorf("claims %s", got)
		}
		if c["sid"] != set.Claims["sid"] || c["sid"] == "" || c["sub"] != set.Claims["sub"] || c["iss"] != idp.Issuer || c["aud"] != rp.ID {
			t.Errorf("%v after %v", c, set.Claims)
		}
		if e, ok := c["events"].(map[string]any)["http://schemas.openid.net/event/backchannel-logout"].(map[string]any); !ok || len(e) != 0 {
			t.Errorf("events %v", c["events"])
		}
		if life := c["exp"].(float64) - c["iat"].(float64); life <= 0 || life > 120 {
			t.Errorf("lives %v s", life)
		}
		ctx := oidc.ClientContext(t.Context(), idp.HTTP())
		v := rp.Provider().VerifierContext(ctx, &oidc.Config{ClientID: rp.ID, SupportedSigningAlgs: []string{alg}})
		if _, err := v.VerifyLogout(ctx, tok); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		a.quiet(t)
		// TestSec: a logout token is no ID token, neither for us as a hint nor for us as an access token.
		if p := b.Get(rp.LogoutURL("id_token_hint", tok, "post_logout_redirect_uri", bye)); p.Status != http.StatusBadRequest {
			t.Errorf("a logout token as a hint: %s", p)
		}
		if s, _ := rp.UserInfo(tok); s != http.StatusUnauthorized {
			t.Errorf("a logout token at userinfo: %d", s)
		}
	}
}

// TestBackChannelLogout_EveryEnd: however a session ends, the application it was used for hears of it, once; and nobody else does.
func TestBackChannelLogout_EveryEnd(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	a, other := listen(t), listen(t)
	rp := backchannel(idp, a, store.ClientMetadata{})
	backchannel(idp, other, store.ClientMetadata{})
	silent := backchannel(idp, nil, store.ClientMetadata{})
	for name, end := range map[string]func(ctx context.Context, b *testidp.Browser, who string) error{
		"sign-out on our page": func(_ context.Context, b *testidp.Browser, _ string) error {
			b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
			return nil
		},
		"everywhere": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.EndSessionsOf(ctx, who, "", "ended by owner", true)
		},
		"administrator, only sessions": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.EndSessionsOf(ctx, who, "", "ended by an administrator", false)
		},
		"disabled": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.DisableUser(ctx, "system", who, "test")
		},
		"password set anew": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.SetPassword(ctx, "system", who, "x", false, "")
		},
		"erased": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.EraseUser(ctx, "system", who)
		},
		"access withdrawn": func(ctx context.Context, _ *testidp.Browser, who string) error {
			return idp.Store.RevokeConsent(ctx, who, who, rp.ID)
		},
		"session over, then everywhere": func(ctx context.Context, _ *testidp.Browser, who string) error {
			list, err := idp.Store.SessionsOf(ctx, who)
			if err != nil {
				return err
			}
			for _, s := range list { // as an upstream's word or the person's other device does
				if err := idp.Store.EndSession(ctx, s.ID, "x"); err != nil {
					return err
				}
			}
			a.next(t)
			return idp.Store.EndSessionsOf(ctx, who, "", "ended by owner", true)
		},
	} {
		who := idp.User(testidp.Person{})
		b := idp.Browser()
		set := tokens(t, b, rp, who)
		tokens(t, b, silent, who)
		if err := end(t.Context(), b, who.ID); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := part(t, a.next(t), 1)
		if c["sub"] != who.ID || name != "access withdrawn" && c["sid"] != set.Claims["sid"] || name == "access withdrawn" && c["sid"] != nil {
			t.Errorf("%s: %v after %v", name, c, set.Claims)
		}
		a.quiet(t)
	}
	other.quiet(t)
	// Signing in again in the same browser ends nothing.
	who, b := idp.User(testidp.Person{}), idp.Browser()
	tokens(t, b, rp, who)
	p := b.Get(rp.Start("prompt", "login").URL)
	b.SignIn(p, who)
	a.quiet(t)
}

// TestBackChannelLogout_Redelivery: an application that fails is told again by another token, over a restart too, and never after it took one.
// What it answers leads nowhere.
func TestBackChannelLogout_Redelivery(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := full(idp)
	for _, first := range []int{http.StatusServiceUnavailable, http.StatusFound} {
		a, b := listen(t, first), idp.Browser()
		rp := backchannel(idp, a, store.ClientMetadata{})
		set := tokens(t, b, rp, ada)
		b.Get(rp.LogoutURL("id_token_hint", set.RawID))
		one := part(t, a.next(t), 1)
		idp = idp.Restart(nil)
		two := part(t, a.next(t), 1)
		if one["jti"] == two["jti"] || one["sid"] != two["sid"] {
			t.Errorf("%v, then %v", one, two)
		}
		a.quiet(t)
		list, err := idp.Store.LogoutsOf(t.Context(), ada.ID, 1)
		if err != nil || len(list) != 1 || list[0].SentAt.IsZero() || list[0].Text != "" || list[0].Attempts != 2 {
			t.Errorf("%+v %v", list, err)
		}
		tokens(t, b, rp, ada)
		if p := b.Get(idp.Issuer + "/account"); !p.Has("account-logouts") || strings.Contains(p.Body, "not answered yet") {
			t.Errorf("the account page says nothing of it: %s", p.Body)
		}
	}
}
