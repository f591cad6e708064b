package relying_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/relying"
)

// logoutClaims are those of a good logout token.
func (o *op) logoutClaims(change map[string]any) map[string]any {
	now := o.clock.Now()
	return changed(map[string]any{
		"iss": o.URL, "aud": clientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}, change)
}

// tell sends logout tokens to the site and returns the answer.
func (s *site) tell(t *testing.T, tokens ...string) *http.Response {
	t.Helper()
	res, err := http.PostForm(s.URL+"/backchannel", url.Values{"logout_token": tokens})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// R109, R114: what the provider ended is ended here, at the next request.
func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newSite(t, o)
	var b [3]*browser // sid-1, sid-2, sid-3 of the same person
	for i := range b {
		b[i] = newBrowser(t)
		b[i].open(s.URL + "/private")
	}
	in := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			if _, p := b[i].open(s.URL + "/"); p.In != w {
				t.Errorf("browser %d: in %t, want %t", i+1, p.In, w)
			}
		}
	}
	in(true, true, true)
	res := s.tell(t, o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sid": "sid-2", "sub": "sub-1"}), nil))
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, %q", res.StatusCode, res.Header.Get("Cache-Control"))
	}
	in(true, false, true)
	// A refresh does not bring it back, and others are refreshed as ever.
	o.clock.Advance(11 * time.Minute)
	in(true, false, true)

	// By the person: all of theirs, and none of anybody else's.
	if res := s.tell(t, o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sub": "sub-2"}), nil)); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	in(true, false, true)
	if res := s.tell(t, o.jwt("", o.logoutClaims(map[string]any{"sub": "sub-1"}), map[string]any{"typ": nil})); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	in(false, false, false)
	// They may come again.
	o.clock.Advance(time.Second)
	b[0].open(s.URL + "/private")
	in(true, false, false)
	o.clock.Advance(11 * time.Minute)
	in(true, false, false)
}

// A session that was refreshed while word of its end was under way is meant as well.
func TestBackChannelLogoutAfterRefresh(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")
	o.clock.Advance(9*time.Minute + 50*time.Second)
	late := o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sub": "sub-1"}), nil)
	o.clock.Advance(time.Minute)
	if _, p := b.open(s.URL + "/"); !p.In || o.count("POST /token refresh_token") != 1 {
		t.Fatal("not refreshed")
	}
	if res := s.tell(t, late); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("a refresh made a new session of it")
	}
}

// A sign-in that was under way while the provider ended its session signs nobody in.
func TestBackChannelLogoutDuringSignIn(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	res, _ := b.step("GET", s.URL+"/login")
	res, _ = b.step("GET", res.Header.Get("Location"))
	o.clock.Advance(time.Second)
	if r := s.tell(t, o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sid": "sid-1"}), nil)); r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	o.clock.Advance(time.Second)
	if r, _ := b.step("GET", res.Header.Get("Location")); r.StatusCode != 400 {
		t.Errorf("the callback: %d, want 400", r.StatusCode)
	}
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("signed in to a session that is over")
	}
}

func TestLogoutTokenRefused(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sub := map[string]any{"sub": "sub-1", "sid": "sid-1"}
	with := func(change map[string]any) string {
		return o.jwt("logout+jwt", changed(o.logoutClaims(sub), change), nil)
	}
	now := o.clock.Now()
	const event = "http://schemas.openid.net/event/backchannel-logout"
	for name, token := range map[string]string{
		"nothing":           "",
		"noise":             "a.b.c",
		"another key":       forge(other, "k", "logout+jwt", o.logoutClaims(sub), nil),
		"another kid":       forge(other, "z", "logout+jwt", o.logoutClaims(sub), nil),
		"unsigned":          unsigned(`{}`),
		"HS256":             o.jwt("logout+jwt", o.logoutClaims(sub), map[string]any{"alg": "HS256"}),
		"crit":              o.jwt("logout+jwt", o.logoutClaims(sub), map[string]any{"crit": []string{"x"}, "x": 1}),
		"an access token":   o.jwt("at+jwt", o.logoutClaims(sub), nil),
		"an ID token's typ": o.jwt("id+jwt", o.logoutClaims(sub), nil),
		"nonce":             with(map[string]any{"nonce": "x"}),
		"nonce of null":     o.jwt("logout+jwt", nullNonce(o.logoutClaims(sub)), nil),
		"issuer":            with(map[string]any{"iss": "https://evil.example"}),
		"no issuer":         with(map[string]any{"iss": nil}),
		"audience":          with(map[string]any{"aud": "other"}),
		"no audience":       with(map[string]any{"aud": nil}),
		"expired":           with(map[string]any{"exp": now.Unix()}),
		"no exp":            with(map[string]any{"exp": nil}),
		"exp as text":       with(map[string]any{"exp": "tomorrow"}),
		"no iat":            with(map[string]any{"iat": nil}),
		"iat ahead":         with(map[string]any{"iat": now.Add(2 * time.Minute).Unix()}),
		"iat long ago":      with(map[string]any{"iat": now.Add(-12 * time.Minute).Unix()}),
		"no jti":            with(map[string]any{"jti": nil}),
		"jti empty":         with(map[string]any{"jti": ""}),
		"jti a number":      with(map[string]any{"jti": 7}),
		"no event":          with(map[string]any{"events": nil}),
		"other event":       with(map[string]any{"events": map[string]any{"x": map[string]any{}}}),
		"event null":        with(map[string]any{"events": map[string]any{event: nil}}),
		"event a text":      with(map[string]any{"events": map[string]any{event: "yes"}}),
		"events a list":     with(map[string]any{"events": []string{event}}),
		"Events":            with(map[string]any{"events": nil, "Events": map[string]any{event: map[string]any{}}}),
		"nobody":            with(map[string]any{"sub": nil, "sid": nil}),
		"sub empty":         with(map[string]any{"sub": ""}),
		"sub a number":      with(map[string]any{"sub": 1}),
		"SID":               with(map[string]any{"sub": nil, "sid": nil, "SID": "sid-1"}),
	} {
		if res := s.tell(t, token); res.StatusCode != 400 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if res := s.tell(t, with(nil), with(nil)); res.StatusCode != 400 {
		t.Errorf("two tokens: %d", res.StatusCode)
	}
	if res := s.tell(t, strings.Repeat("a", 40<<10)); res.StatusCode != 400 {
		t.Errorf("too long: %d", res.StatusCode)
	}
	if res := s.tell(t, with(map[string]any{"pad": strings.Repeat("a", 40<<10)})); res.StatusCode != 400 {
		t.Errorf("good and too long: %d", res.StatusCode)
	}
	if res, _ := b.step("GET", s.URL+"/backchannel?logout_token="+with(nil)); res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d", res.StatusCode)
	}
	if res, _ := b.step("POST", s.URL+"/backchannel?logout_token="+with(nil)); res.StatusCode != 400 {
		t.Errorf("in the address: %d", res.StatusCode)
	}
	if _, p := b.open(s.URL + "/"); !p.In {
		t.Fatal("one of them signed the person out")
	}
	// Key ids of strangers are no lever: the provider was asked for its keys at the sign-in, and once more for all of these.
	if n := o.count("GET /jwks"); n > 2 {
		t.Errorf("%d key requests", n)
	}
	if res := s.tell(t, with(nil)); res.StatusCode != 200 {
		t.Fatalf("a good one: %d", res.StatusCode)
	}
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("a good one signs nobody out")
	}
}

// nullNonce has the claim nonce, and null in it.
func nullNonce(claims map[string]any) map[string]any {
	claims["nonce"] = nil
	return claims
}

// A logout token counts once, however many arrive together.
func TestLogoutTokenOnce(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")
	token := o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sid": "sid-1"}), nil)
	var wg sync.WaitGroup
	var done, refused atomic.Int32
	for range 20 {
		wg.Go(func() {
			switch res := s.tell(t, token); res.StatusCode {
			case 200:
				done.Add(1)
			case 400:
				refused.Add(1)
			}
		})
		wg.Go(func() { b.open(s.URL + "/") })
	}
	wg.Wait()
	if done.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d counted, %d refused", done.Load(), refused.Load())
	}
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("still signed in")
	}
}

// failing is a Revocations that can be taken away.
type failing struct {
	relying.Revocations
	err atomic.Bool
}

func (f *failing) Revoked(ctx context.Context, keys ...string) (time.Time, error) {
	if f.err.Load() {
		return time.Time{}, errors.New("down")
	}
	return f.Revocations.Revoked(ctx, keys...)
}

func (f *failing) Revoke(ctx context.Context, key string, at, expires time.Time) error {
	if f.err.Load() {
		return errors.New("down")
	}
	return f.Revocations.Revoke(ctx, key, at, expires)
}

// Two processes with one record; and none of them says yes while it cannot be asked.
func TestRevocationsAreShared(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	shared := &failing{Revocations: relying.NewMemoryRevocations(o.clock.Now)}
	rec := &recorder{kept: map[string][]byte{}}
	key := make([]byte, 32)
	// Not the session id: what is shared is told apart by issuer, client and value.
	both := func(c *relying.Config) {
		c.Revocations, c.Sessions, c.CookieKey, c.CookieName = shared, rec, key, "sid"
	}
	one, two := newSite(t, o, both), newSite(t, o, both)
	b := newBrowser(t)
	b.open(one.URL + "/private")
	shared.err.Store(true)
	token := o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sid": "sid-1"}), nil)
	if res := two.tell(t, token); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the record is down: %d", res.StatusCode)
	}
	if res, _ := b.step("GET", one.URL+"/private"); res.StatusCode != 503 {
		t.Errorf("not known whether it ended: %d, want 503", res.StatusCode)
	}
	shared.err.Store(false)
	if res, _ := b.step("GET", one.URL+"/private"); res.StatusCode != 200 {
		t.Errorf("up again: %d", res.StatusCode)
	}
	if res := two.tell(t, token); res.StatusCode != 200 { // it was not used up
		t.Errorf("the same token again: %d", res.StatusCode)
	}
	if _, p := b.open(one.URL + "/"); p.In {
		t.Error("told the one, the other still has the session")
	}
	if len(rec.kept) != 0 {
		t.Error("an ended session stays in the store")
	}
}

// The provider's keys cannot be read: not now, and not never.
func TestLogoutTokenWithoutKeys(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	o.down = true
	token := o.jwt("logout+jwt", o.logoutClaims(map[string]any{"sid": "sid-1"}), nil)
	if res := s.tell(t, token); res.StatusCode != 503 {
		t.Errorf("provider down: %d, want 503", res.StatusCode)
	}
	o.with(func() { o.down = false })
	o.clock.Advance(3 * time.Second)
	if res := s.tell(t, token); res.StatusCode != 200 {
		t.Errorf("up again: %d", res.StatusCode)
	}
}

// A privilege that is taken away counts at the next look, and Recheck says when that is.
func TestRecheck(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newSite(t, o, func(c *relying.Config) { c.Recheck = 30 * time.Second })
	b := newBrowser(t)
	if status, _ := b.open(s.URL + "/court"); status != 200 {
		t.Fatal(status)
	}
	o.with(func() { o.person["privileges"] = []string{"user"}; o.person["readonly"] = true })
	o.clock.Advance(29 * time.Second)
	if status, _ := b.open(s.URL + "/court"); status != 200 {
		t.Errorf("before it is due: %d", status)
	}
	o.clock.Advance(time.Second)
	var wg sync.WaitGroup
	before := o.count("GET /userinfo")
	for range 8 {
		wg.Go(func() {
			if status, _ := b.open(s.URL + "/court"); status != 403 {
				t.Errorf("due: %d", status)
			}
		})
	}
	wg.Wait()
	if n := o.count("GET /userinfo") - before; n != 1 || o.count("POST /token refresh_token") != 0 {
		t.Errorf("%d userinfo requests, %d refreshes", n, o.count("POST /token refresh_token"))
	}
	if res, _ := b.step("POST", s.URL+"/edit"); res.StatusCode != 403 {
		t.Errorf("read-only since: %d", res.StatusCode)
	}
	// What the ID token said of the person is forgotten, what it said of the sign-in is not.
	o.with(func() { delete(o.person, "readonly"); delete(o.person, "privileges"); delete(o.person, "name") })
	o.clock.Advance(time.Minute)
	if _, p := b.open(s.URL + "/"); !p.In || len(p.Privileges) > 0 || p.Name != "Ada" || p.ACR != "1" {
		t.Errorf("%+v", p)
	}
	// Down: not now.
	o.with(func() { o.down = true })
	o.clock.Advance(time.Minute)
	if res, _ := b.step("GET", s.URL+"/private"); res.StatusCode != 503 {
		t.Errorf("down: %d", res.StatusCode)
	}
	o.with(func() { o.down = false })
	o.clock.Advance(3 * time.Second)
	// The access token ended early, the sign-in did not: the refresh token says so.
	o.with(func() { clear(o.access) })
	if _, p := b.open(s.URL + "/private"); !p.In || o.count("POST /token refresh_token") != 1 {
		t.Errorf("in %t after %d refreshes", p.In, o.count("POST /token refresh_token"))
	}
	// Both ended: out.
	o.with(func() { clear(o.access); clear(o.refresh) })
	o.clock.Advance(time.Minute)
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("in with nothing that works")
	}
}

// R72, R79, R85: every kind of requirement.
func TestRequirements(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o, func(c *relying.Config) {
		c.NoAccess = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			why, ok := relying.RefusalOf(r.Context())
			w.Header().Set("X-Needs", why.Needs)
			if !ok || why.ReadOnly {
				w.Header().Set("X-Read-Only", "yes")
			}
			w.WriteHeader(http.StatusForbidden)
		})
	})
	for _, c := range []struct {
		privileges any
		readonly   any
		want       map[string]int // "METHOD path"
	}{
		{[]string{"clerk", "judge", "user"}, nil, map[string]int{"GET /both": 200, "GET /mixed": 200, "GET /open": 200, "GET /zero": 403, "POST /edit": 200, "DELETE /edit": 200}},
		{[]string{"judge", "user"}, false, map[string]int{"GET /both": 403, "GET /mixed": 200, "GET /edit": 200, "POST /edit": 200}},
		{[]string{"judge"}, true, map[string]int{"GET /both": 403, "GET /mixed": 403, "GET /edit": 200, "HEAD /edit": 200, "OPTIONS /edit": 200, "POST /edit": 403,
			"PUT /edit": 403, "PATCH /edit": 403, "DELETE /edit": 403, "BREW /edit": 403, "GET /court": 200, "POST /court": 200}},
		{[]string{"user"}, nil, map[string]int{"GET /mixed": 403, "GET /open": 200}},
		{[]string{}, nil, map[string]int{"POST /edit": 200}},
		{nil, nil, map[string]int{"POST /edit": 403, "GET /edit": 200}}, // nothing is known of their rights
		{[]string{"admin"}, nil, map[string]int{"GET /both": 403, "GET /mixed": 403}},
	} {
		o.with(func() {
			o.person = changed(o.person, map[string]any{"privileges": c.privileges, "readonly": c.readonly})
		})
		b := newBrowser(t)
		b.open(s.URL + "/private")
		for what, want := range c.want {
			method, path, _ := strings.Cut(what, " ")
			res, _ := b.step(method, s.URL+path)
			if res.StatusCode != want {
				t.Errorf("%v, readonly %v, %s: %d, want %d", c.privileges, c.readonly, what, res.StatusCode, want)
			}
			if want == 403 && (res.Header.Get("X-Needs") == "" || (res.Header.Get("X-Read-Only") != "") != (path == "/edit")) {
				t.Errorf("%s: told %v", what, res.Header)
			}
			if want == 403 && path == "/mixed" && res.Header.Get("X-Needs") != "user and (judge or clerk)" {
				t.Errorf("%s: needs %q", what, res.Header.Get("X-Needs"))
			}
		}
	}
	b := newBrowser(t)
	for path, want := range map[string]int{"/both": 303, "/mixed": 303, "/open": 200, "/zero": 303, "/edit": 303} {
		if res, _ := b.step("GET", s.URL+path); res.StatusCode != want {
			t.Errorf("signed out, %s: %d, want %d", path, res.StatusCode, want)
		}
	}
	if res, _ := b.step("POST", s.URL+"/edit"); res.StatusCode != 401 {
		t.Errorf("signed out, POST: %d", res.StatusCode)
	}
}

// R119: an action in an address runs after the sign-in and its screening, once, or not at all; a form is never sent again.
func TestPendingAction(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	res, _ := b.step("GET", s.URL+"/act?do=it")
	if res.StatusCode != 303 || s.acted.Load() != 0 {
		t.Fatalf("signed out: %d, ran %d times", res.StatusCode, s.acted.Load())
	}
	if to := res.Header.Get("Location"); strings.Contains(to, "act") {
		t.Errorf("the provider is told of the action: %s", to)
	}
	for _, k := range res.Cookies() {
		if strings.Contains(k.Value, "act") {
			t.Errorf("the action can be read in the cookie %s", k.Value)
		}
	}
	res, _ = b.step("GET", res.Header.Get("Location"))
	res, _ = b.step("GET", res.Header.Get("Location"))
	if s.acted.Load() != 0 || res.Header.Get("Location") != "/act?do=it" {
		t.Fatalf("ran %d times before the screening, goes to %s", s.acted.Load(), res.Header.Get("Location"))
	}
	if status, p := b.open(s.URL + res.Header.Get("Location")); status != 200 || p.Path != "/act?do=it" || s.acted.Load() != 1 {
		t.Errorf("after sign-in and screening: %d, ran %d times", status, s.acted.Load())
	}
	// Screened out: nothing ran, and nothing is left that would.
	o.with(func() { o.person["privileges"] = []string{"user"} })
	out := newBrowser(t)
	if status, _ := out.open(s.URL + "/act?do=it"); status != 403 || s.acted.Load() != 1 {
		t.Errorf("screened out: %d, ran %d times", status, s.acted.Load())
	}
	out.open(s.URL + "/")
	if s.acted.Load() != 1 {
		t.Error("it ran later")
	}
	// Forms: not run, not kept.
	o.with(func() { o.person["privileges"] = []string{"judge"} })
	form := newBrowser(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD"} {
		if res, _ := form.step(method, s.URL+"/act?do=it"); res.StatusCode != 401 || len(res.Cookies()) > 0 {
			t.Errorf("%s: %d, cookies %v", method, res.StatusCode, res.Cookies())
		}
	}
	form.open(s.URL + "/private")
	if s.acted.Load() != 1 {
		t.Error("a form was sent again")
	}
}

func TestRequirementForms(t *testing.T) {
	t.Parallel()
	// R79's vectors, with what each holds in effect.
	for _, c := range []struct {
		holds []string
		rule  relying.Requirement
		want  bool
	}{
		{[]string{"site"}, relying.MustRequirement(), true},
		{nil, relying.MustRequirement(), true},
		{[]string{"plain"}, relying.MustRequirement("site"), false},
		{[]string{"site"}, relying.MustRequirement("site", "office"), false},
		{[]string{"site", "office", "both"}, relying.MustRequirement("site", "office"), true}, // not sorted
		{[]string{"office"}, relying.MustRequirement([]string{"site", "office"}), true},
		{[]string{"admin"}, relying.MustRequirement("user"), false},
		{[]string{"site"}, relying.Requirement{}, false},
	} {
		if got := c.rule.Met(c.holds); got != c.want {
			t.Errorf("%v and %s: %t", c.holds, c.rule, got)
		}
	}
	for _, bad := range [][]any{{""}, {[]string{}}, {1}, {nil}, {[]any{[]any{"a"}}}, {"Big"}, {"anonymous"}} {
		if r, err := relying.NewRequirement(bad...); err == nil || r.Met([]string{"a"}) || r.Open() {
			t.Errorf("%v: accepted", bad)
		}
	}
	var r relying.Requirement
	if r.String() != "nobody" {
		t.Errorf("the zero one is for %s", r)
	}
	if err := r.UnmarshalJSON([]byte(`["a", ["b", "c:d"]]`)); err != nil || r.String() != "a and (b or c:d)" {
		t.Errorf("%s %v", r, err)
	}
	if err := r.UnmarshalJSON([]byte(`null`)); err == nil {
		t.Error("null is a requirement")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustRequirement takes anything")
		}
	}()
	relying.MustRequirement(1)
}

func TestReturnTo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, mode, want string }{{"GET", "", "/a?b=c"}, {"GET", "navigate", "/a?b=c"}, {"GET", "cors", "/"}, {"POST", "navigate", "/"}, {"HEAD", "", "/"}} {
		r, _ := http.NewRequest(c.method, "https://app.example/a?b=c", nil)
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		if got := relying.ReturnTo(r); got != c.want {
			t.Errorf("%s %s: %q", c.method, c.mode, got)
		}
	}
}
