package relying_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/relying"
)

// R114: checked on every request; a sign-out in another tab counts at the next click.
func TestLogout(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")

	if res, _ := b.step("GET", s.URL+"/logout"); res.StatusCode != 405 {
		t.Errorf("GET /logout: %d", res.StatusCode)
	}
	if res, _ := b.step("POST", s.URL+"/logout", "Sec-Fetch-Site", "cross-site"); res.StatusCode != 403 {
		t.Errorf("another site's form: %d", res.StatusCode)
	}
	if _, p := b.open(s.URL + "/"); !p.In {
		t.Fatal("signed out by another site")
	}
	u, _ := url.Parse(s.URL)
	stolen := b.Jar.Cookies(u)
	res, _ := b.step("POST", s.URL+"/logout", "Sec-Fetch-Site", "same-origin")
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != 303 || to.Path != "/logout" || to.Host != strings.TrimPrefix(o.URL, "http://") {
		t.Fatalf("%d to %s", res.StatusCode, to)
	}
	q := to.Query()
	if q.Get("post_logout_redirect_uri") != s.URL+"/bye" || q.Get("client_id") != clientID || q.Get("from") != "rp" || strings.Count(q.Get("id_token_hint"), ".") != 2 {
		t.Errorf("sign-out request %v", q)
	}
	if len(o.refresh) != 0 {
		t.Error("the refresh token outlives the sign-out")
	}
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("still signed in")
	}
	thief := newBrowser(t)
	thief.Jar.SetCookies(u, stolen)
	if _, p := thief.open(s.URL + "/"); p.In {
		t.Error("the old cookie still works")
	}
	// Nobody signed in, or the provider down: out is out.
	if res, _ := b.step("POST", s.URL+"/logout"); res.Header.Get("Location") != s.URL+"/bye" {
		t.Errorf("nobody there: to %q", res.Header.Get("Location"))
	}
}

func TestStartsWhileProviderIsDown(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.down = true
	s := newSite(t, o)
	b := newBrowser(t)
	if status, p := b.open(s.URL + "/"); status != 200 || p.In {
		t.Fatalf("the open page: %d", status)
	}
	res, _ := b.step("GET", s.URL+"/private")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Fatalf("status %d, want 503 with Retry-After", res.StatusCode)
	}
	for range 5 {
		b.step("GET", s.URL+"/private")
	}
	if n := o.count("GET /.well-known"); n != 1 {
		t.Errorf("%d discoveries in an instant, want 1", n)
	}
	o.with(func() { o.down = false })
	o.clock.Advance(3 * time.Second)
	if status, p := b.open(s.URL + "/private"); status != 200 || !p.In {
		t.Errorf("the provider is up again: %d", status)
	}
}

func TestWithoutRefreshTokenTheSessionEndsWithTheToken(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")
	o.clock.Advance(10*time.Minute - 5*time.Second)
	if _, p := b.open(s.URL + "/"); !p.In {
		t.Fatal("over before its time")
	}
	o.clock.Advance(6 * time.Second)
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("it outlives the access token")
	}
	o.with(func() { o.person["privileges"] = []string{"admin"} })
	if status, p := b.open(s.URL + "/boss"); status != 200 || !p.In { // there and back, without a click
		t.Errorf("the provider's session does not bring it back: %d", status)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/court")
	o.with(func() { o.person["privileges"] = []string{"user"} })
	if status, _ := b.open(s.URL + "/court"); status != 200 {
		t.Fatalf("still fresh: %d", status)
	}
	o.clock.Advance(10*time.Minute + time.Second)
	var wg sync.WaitGroup
	for range 8 { // a page and its parts, all at once
		wg.Go(func() {
			if status, _ := b.open(s.URL + "/court"); status != 403 {
				t.Errorf("the privilege was taken away: %d", status)
			}
		})
	}
	wg.Wait()
	if n := o.count("POST /token refresh_token"); n != 1 {
		t.Errorf("%d refreshes by 8 requests, want 1", n)
	}

	// A refresh without ID token: what the old one said of the person is stale.
	o.with(func() {
		o.tokens = func(m map[string]any) { delete(m, "id_token") }
		delete(o.person, "privileges")
		delete(o.person, "name")
	})
	o.clock.Advance(11 * time.Minute)
	if _, p := b.open(s.URL + "/"); !p.In || len(p.Privileges) > 0 || p.Name != "Ada" || p.ACR != "1" {
		t.Errorf("after a refresh without ID token: %+v", p)
	}

	// The provider is out of reach: nobody is taken for signed in, and nothing is lost.
	o.with(func() { o.down = true })
	o.clock.Advance(11 * time.Minute)
	if res, _ := b.step("GET", s.URL+"/private"); res.StatusCode != 503 {
		t.Errorf("provider down: %d, want 503", res.StatusCode)
	}
	if status, p := b.open(s.URL + "/"); status != 200 || p.In {
		t.Errorf("provider down, open page: %d, in %t", status, p.In)
	}
	o.with(func() { o.down = false })
	o.clock.Advance(3 * time.Second)
	if status, p := b.open(s.URL + "/private"); status != 200 || !p.In {
		t.Errorf("provider up again: %d", status)
	}

	// The tokens came, the claims did not: the new refresh token is kept.
	o.with(func() { o.userCode = 500 })
	o.clock.Advance(11 * time.Minute)
	if res, _ := b.step("GET", s.URL+"/private"); res.StatusCode != 503 {
		t.Errorf("userinfo down: %d, want 503", res.StatusCode)
	}
	o.with(func() { o.userCode = 0 })
	o.clock.Advance(3 * time.Second)
	if status, _ := b.open(s.URL + "/private"); status != 200 {
		t.Errorf("userinfo up again: %d", status)
	}

	// Revoked: out, at once and for good.
	o.with(func() { clear(o.refresh) })
	o.clock.Advance(11 * time.Minute)
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("a revoked refresh token keeps the session alive")
	}
}

func TestRenewalEndsAtMaxAge(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]relying.Sessions{"memory": nil, "one that never forgets": &recorder{kept: map[string][]byte{}}} {
		o := newOP(t)
		o.offline = true
		s := newSite(t, o, func(c *relying.Config) { c.MaxAge, c.Sessions = 25*time.Minute, store })
		b := newBrowser(t)
		b.open(s.URL + "/private")
		for _, in := range []bool{true, true, false} {
			o.clock.Advance(9 * time.Minute)
			if _, p := b.open(s.URL + "/"); p.In != in {
				t.Errorf("%s: in %t, want %t", name, p.In, in)
			}
		}
	}
}

func TestRefreshedTokenOfAnother(t *testing.T) {
	t.Parallel()
	for name, twist := range map[string]func(c map[string]any){
		"subject":  func(c map[string]any) { c["sub"] = "sub-2" },
		"nonce":    func(c map[string]any) { c["nonce"] = "other" },
		"audience": func(c map[string]any) { c["aud"] = "other" },
	} {
		o := newOP(t)
		o.offline = true
		o.metadata = func(m map[string]any) { delete(m, "userinfo_endpoint") } // it would notice another subject too
		s := newSite(t, o)
		b := newBrowser(t)
		if _, p := b.open(s.URL + "/private"); !p.In {
			t.Fatal("not signed in by the ID token alone")
		}
		o.with(func() { o.idToken = twist })
		o.clock.Advance(11 * time.Minute)
		if _, p := b.open(s.URL + "/"); p.In {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A provider that does not say how long its access tokens live is asked again every ten minutes.
func TestWithoutExpiry(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.tokens = func(m map[string]any) { delete(m, "expires_in") }
	s := newSite(t, o)
	b := newBrowser(t)
	b.open(s.URL + "/private")
	o.with(func() { o.person["privileges"] = []string{"admin"} })
	o.clock.Advance(11 * time.Minute)
	if status, _ := b.open(s.URL + "/boss"); status != 200 || o.count("POST /token") != 1 {
		t.Errorf("status %d, %d token requests", status, o.count("POST /token"))
	}
	o.with(func() { clear(o.access) })
	o.clock.Advance(11 * time.Minute)
	if _, p := b.open(s.URL + "/"); p.In {
		t.Error("still in after userinfo said no")
	}
}

// Only a person who opens a page is sent away; programs get 401, and a form is never repeated.
func TestOnlyNavigationsAreSentToSignIn(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)
	for _, c := range []struct {
		method, mode string
		want         int
	}{{"GET", "", 303}, {"GET", "navigate", 303}, {"GET", "cors", 401}, {"POST", "navigate", 401}, {"HEAD", "", 401}} {
		res, _ := b.step(c.method, s.URL+"/private", "Sec-Fetch-Mode", c.mode)
		if res.StatusCode != c.want || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d %q, want %d", c.method, c.mode, res.StatusCode, res.Header.Get("Cache-Control"), c.want)
		}
	}
	custom := newSite(t, o, func(c *relying.Config) {
		c.SignedOut = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	if res, _ := b.step("GET", custom.URL+"/private"); res.StatusCode != http.StatusTeapot {
		t.Errorf("Config.SignedOut: %d", res.StatusCode)
	}
}

// recorder is a Sessions that remembers what it was given.
type recorder struct {
	relying.Sessions
	mu   sync.Mutex
	kept map[string][]byte
	err  error
}

func (r *recorder) Load(_ context.Context, key string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept[key], r.err
}

func (r *recorder) Save(_ context.Context, key string, data []byte, _ time.Time, replace bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.kept[key]; replace && !ok {
		return nil
	}
	r.kept[key] = data
	return r.err
}

func (r *recorder) Delete(_ context.Context, key string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, key)
	return r.err
}

func TestSessionStore(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.offline = true
	rec := &recorder{kept: map[string][]byte{}}
	s := newSite(t, o, func(c *relying.Config) { c.Sessions = rec; c.CookieName = "sid" })
	b := newBrowser(t)
	b.open(s.URL + "/private")
	u, _ := url.Parse(s.URL)
	cookie := func() string {
		for _, k := range b.Jar.Cookies(u) {
			if k.Name == "sid" {
				return k.Value
			}
		}
		return ""
	}
	first := cookie()
	if len(first) < 40 || len(rec.kept) != 1 {
		t.Fatalf("cookie %q, %d sessions", first, len(rec.kept))
	}
	for key, data := range rec.kept {
		if strings.Contains(key, first) || strings.Contains(string(data), "sub-1") || strings.Contains(string(data), "rt-") {
			t.Error("the store can read the session")
		}
		// A store that is rearranged opens nothing.
		rec.kept[strings.Repeat("0", 64)] = data
	}
	b.open(s.URL + "/login")
	if second := cookie(); second == first || second == "" {
		t.Error("a sign-in keeps the session id")
	}
	if n := len(rec.kept); n != 2 {
		t.Errorf("%d sessions kept, want the new one and the copy", n)
	}
	for _, k := range b.Jar.Cookies(u) {
		if strings.HasPrefix(k.Name, "sid-flow-") {
			t.Error("a flow cookie is left")
		}
	}
	rec.mu.Lock()
	rec.err = io.ErrUnexpectedEOF
	rec.mu.Unlock()
	if res, _ := b.step("GET", s.URL+"/private"); res.StatusCode != 503 {
		t.Errorf("store down: %d, want 503", res.StatusCode)
	}
}
