package relying_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/latchkey-idp/latchkey/relying"
)

func quiet(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// browser keeps cookies and follows redirects.
type browser struct {
	t *testing.T
	*http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar}}
}

// step is one request without following its redirect.
func (b *browser) step(method, u string, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, u, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	one := *b.Client
	one.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := one.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(body)
}

// page is what the application's pages answer.
type page struct {
	Path       string
	In         bool
	Sub        string
	Privileges []string
	Name, ACR  string
}

// open follows redirects to a page.
func (b *browser) open(u string) (int, page) {
	b.t.Helper()
	res, err := b.Get(u)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	var p page
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &p); err != nil {
			b.t.Fatalf("%s: %v in %.300s", u, err, body)
		}
	}
	return res.StatusCode, p
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	b := newBrowser(t)

	if _, p := b.open(s.URL + "/"); p.In || len(p.Privileges) > 0 {
		t.Fatalf("somebody is there before the sign-in: %+v", p)
	}
	status, p := b.open(s.URL + "/private?x=1&y=%2F")
	if status != 200 || !p.In || p.Sub != "sub-1" || p.Path != "/private?x=1&y=%2F" || p.Name != "Ada Lovelace" || p.ACR != "1" {
		t.Fatalf("status %d, %+v", status, p)
	}
	if want := []string{"judge", "user"}; !slices.Equal(p.Privileges, want) {
		t.Errorf("privileges %v, want %v", p.Privileges, want)
	}
	if _, p := b.open(s.URL + "/"); !p.In {
		t.Error("the open page does not know who is there")
	}
	if _, p := newBrowser(t).open(s.URL + "/"); p.In {
		t.Error("another browser is signed in as well")
	}
}

// R116: the first that holds; a signed-in person with neither is told so and not sent to sign in again.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	for _, c := range []struct {
		privileges  []string
		court, boss int
	}{
		{[]string{"judge"}, 200, 403},
		{[]string{"user", "clerk"}, 200, 403},
		{[]string{"admin"}, 403, 200},
		{[]string{"user"}, 403, 403},
		{nil, 403, 403},
		{[]string{"judges", "Judge", "administrator"}, 403, 403},
	} {
		o.with(func() { o.person["privileges"] = c.privileges })
		b := newBrowser(t)
		if got, _ := b.open(s.URL + "/court"); got != c.court {
			t.Errorf("%v at /court: %d, want %d", c.privileges, got, c.court)
		}
		before := o.count("GET /authorize")
		if got, _ := b.open(s.URL + "/boss"); got != c.boss {
			t.Errorf("%v at /boss: %d, want %d", c.privileges, got, c.boss)
		}
		if got, _ := b.open(s.URL + "/nobody"); got != 403 {
			t.Errorf("%v at /nobody: %d, want 403", c.privileges, got)
		}
		if o.count("GET /authorize") != before {
			t.Errorf("%v: refused and sent to sign in again", c.privileges)
		}
	}
}

// Everything that may be wrong with an answer: nobody is signed in by it.
func TestCallbackRefuses(t *testing.T) {
	t.Parallel()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(k string, v any) func(*op) {
		return func(o *op) { o.idToken = func(c map[string]any) { c[k] = v } }
	}
	answer := func(k string, v ...string) func(*op) {
		return func(o *op) { o.answer = func(q url.Values) { q[k] = v } }
	}
	for name, c := range map[string]struct {
		twist func(*op)
		code  string
	}{
		"state missing":     {answer("state"), relying.CodeExpired},
		"state empty":       {answer("state", ""), relying.CodeExpired},
		"state of nobody":   {answer("state", "AAAAAAAAAAAAAAAAAAAAAAAAAA"), relying.CodeExpired},
		"iss wrong":         {answer("iss", "https://evil.example"), relying.CodeInvalid},
		"iss empty":         {answer("iss", ""), relying.CodeInvalid},
		"iss missing":       {answer("iss"), relying.CodeInvalid},
		"iss twice":         {func(o *op) { answer("iss", o.URL, o.URL)(o) }, relying.CodeInvalid},
		"code twice":        {answer("code", "a", "b"), relying.CodeInvalid},
		"code missing":      {answer("code"), relying.CodeInvalid},
		"code unknown":      {answer("code", "guess"), relying.CodeInvalid},
		"denied":            {answer("error", "access_denied"), relying.CodeDenied},
		"busy":              {answer("error", "temporarily_unavailable"), relying.CodeUnavailable},
		"error of another":  {func(o *op) { o.answer = func(q url.Values) { q.Set("error", "x"); q.Set("iss", "https://e.example") } }, relying.CodeInvalid},
		"nonce wrong":       {claim("nonce", "other"), relying.CodeInvalid},
		"nonce missing":     {func(o *op) { o.idToken = func(c map[string]any) { delete(c, "nonce") } }, relying.CodeInvalid},
		"issuer":            {claim("iss", "https://evil.example"), relying.CodeInvalid},
		"audience":          {claim("aud", "other"), relying.CodeInvalid},
		"two audiences":     {claim("aud", []string{clientID, "other"}), relying.CodeInvalid},
		"authorized party":  {claim("azp", "other"), relying.CodeInvalid},
		"expired":           {claim("exp", 1), relying.CodeInvalid},
		"no subject":        {claim("sub", ""), relying.CodeInvalid},
		"at_hash":           {claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), relying.CodeInvalid},
		"privileges shape":  {func(o *op) { o.person["privileges"] = "admin" }, relying.CodeInvalid},
		"no ID token":       {func(o *op) { o.tokens = func(m map[string]any) { delete(m, "id_token") } }, relying.CodeInvalid},
		"foreign key":       {func(o *op) { o.sign = func(c string) string { return oidctest.SignIDToken(other, "k", "ES256", c) } }, relying.CodeInvalid},
		"unsigned":          {func(o *op) { o.sign = unsigned }, relying.CodeInvalid},
		"userinfo of other": {func(o *op) { o.userinfo = func(m map[string]any) { m["sub"] = "sub-2" } }, relying.CodeInvalid},
		"userinfo refused":  {func(o *op) { o.userCode = 401 }, relying.CodeDenied},
		"userinfo down":     {func(o *op) { o.userCode = 500 }, relying.CodeUnavailable},
		"token down":        {func(o *op) { o.tokenCode = 500 }, relying.CodeUnavailable},
		"token busy":        {func(o *op) { o.tokenCode = 429 }, relying.CodeUnavailable},
		"token refused":     {func(o *op) { o.tokenCode = 400 }, relying.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			c.twist(o)
			s := newSite(t, o)
			b := newBrowser(t)
			status, _ := b.open(s.URL + "/private")
			select {
			case e := <-s.errors:
				if e.Code != c.code || e.Status != status || status < 400 {
					t.Errorf("status %d, error %v, want code %s", status, e, c.code)
				}
			default:
				t.Fatalf("status %d and no error", status)
			}
			if _, p := b.open(s.URL + "/"); p.In {
				t.Error("somebody is signed in all the same")
			}
		})
	}
}

func unsigned(claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
}

// An answer belongs to one request of one browser, for ten minutes and once.
func TestStateIsBoundAndSpent(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	start := func(b *browser) (callback string) {
		res, _ := b.step("GET", s.URL+"/login?return=/private")
		res, _ = b.step("GET", res.Header.Get("Location"))
		return res.Header.Get("Location")
	}
	attacker, victim := newBrowser(t), newBrowser(t)
	callback := start(attacker)
	if res, _ := victim.step("GET", callback); res.StatusCode != 400 {
		t.Errorf("a callback of another browser: %d", res.StatusCode)
	}
	if res, _ := attacker.step("GET", callback); res.StatusCode != 303 || res.Header.Get("Location") != "/private" {
		t.Errorf("the browser's own: %d", res.StatusCode)
	}
	if res, _ := attacker.step("GET", callback); res.StatusCode != 400 {
		t.Errorf("a second time: %d", res.StatusCode)
	}
	late := newBrowser(t)
	callback = start(late)
	o.clock.Advance(10 * time.Minute)
	if res, _ := late.step("GET", callback); res.StatusCode != 400 {
		t.Errorf("after ten minutes: %d", res.StatusCode)
	}
	// Two tabs at once: each comes back to its own page.
	b := newBrowser(t)
	first := start(b)
	second := start(b)
	for _, u := range []string{first, second} {
		if res, _ := b.step("GET", u); res.StatusCode != 303 {
			t.Errorf("one of two tabs: %d", res.StatusCode)
		}
	}
	// Abandoned sign-ins do not fill the cookie header.
	for range 12 {
		start(b)
	}
	u, _ := url.Parse(s.URL)
	if n := len(b.Jar.Cookies(u)); n > 6 {
		t.Errorf("%d cookies after twelve abandoned sign-ins", n)
	}
	if res, _ := b.step("GET", start(b)); res.StatusCode != 303 {
		t.Errorf("after abandoned ones: %d", res.StatusCode)
	}
}

func TestReturnPath(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o)
	for back, want := range map[string]string{
		"/":                       "/",
		"/private?a=b&c=%C3%A4":   "/private?a=b&c=%C3%A4",
		"":                        "/",
		"private":                 "/",
		"//evil.example/":         "/",
		"/\\evil.example":         "/",
		"/\t/evil.example":        "/",
		"\t//evil.example":        "/",
		"https://evil.example/":   "/",
		"https:/evil":             "/",
		"javascript:alert(1)":     "/",
		"/x\r\nSet-Cookie: a=b":   "/",
		"/callback?code=1":        "/",
		"/ " + "x":                "/",
		"/" + fmt.Sprint(1<<40):   "/" + fmt.Sprint(1<<40),
		"/" + string(make0(3000)): "/",
	} {
		b := newBrowser(t)
		res, _ := b.step("GET", s.URL+"/login?"+url.Values{"return": {back}}.Encode())
		res, _ = b.step("GET", res.Header.Get("Location"))
		res, _ = b.step("GET", res.Header.Get("Location"))
		if got := res.Header.Get("Location"); got != want || res.StatusCode != 303 {
			t.Errorf("return=%q goes to %q (%d), want %q", back, got, res.StatusCode, want)
		}
	}
}

func make0(n int) []byte { return []byte(strings.Repeat("a", n)) }

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
	o := newOP(t)
	o.offline = true
	s := newSite(t, o, func(c *relying.Config) { c.MaxAge = 25 * time.Minute })
	b := newBrowser(t)
	b.open(s.URL + "/private")
	for _, in := range []bool{true, true, false} {
		o.clock.Advance(9 * time.Minute)
		if _, p := b.open(s.URL + "/"); p.In != in {
			t.Errorf("in %t, want %t", p.In, in)
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
		s := newSite(t, o)
		b := newBrowser(t)
		b.open(s.URL + "/private")
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

// With TLS the cookies are tied to the host.
func TestCookieFlags(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	s := newSite(t, o, func(c *relying.Config) { c.RedirectURL = "https://wiki.example/callback" })
	res, _ := newBrowser(t).step("GET", s.URL+"/login")
	k := res.Cookies()[0]
	if !strings.HasPrefix(k.Name, "__Host-rp-") || !k.Secure || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.MaxAge != 600 {
		t.Errorf("%+v", k)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Error("the redirect may be cached")
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		secret  string
		methods []string
		form    []string // client_id and client_secret in the token request
	}{
		"basic":      {clientSecret, []string{"private_key_jwt", "client_secret_basic"}, []string{"", ""}},
		"unsaid":     {clientSecret, nil, []string{"", ""}},
		"post":       {clientSecret, []string{"client_secret_post"}, []string{clientID, clientSecret}},
		"public":     {"", []string{"client_secret_basic"}, []string{clientID, ""}},
		"wrong once": {"wrong", []string{"client_secret_basic"}, []string{"", ""}},
	} {
		o := newOP(t)
		o.metadata = func(m map[string]any) {
			if c.methods != nil {
				m["token_endpoint_auth_methods_supported"] = c.methods
			}
		}
		s := newSite(t, o, func(cfg *relying.Config) { cfg.ClientSecret = c.secret })
		newBrowser(t).open(s.URL + "/private")
		if len(o.forms) != 1 { // a code is not spent on guessing
			t.Fatalf("%s: %d token requests", name, len(o.forms))
		}
		if f := o.forms[0]; f.Get("client_id") != c.form[0] || f.Get("client_secret") != c.form[1] {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	good := relying.Config{Issuer: "https://id.example", ClientID: "x", RedirectURL: "https://app.example/callback"}
	if _, err := relying.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*relying.Config){
		"no issuer":    func(c *relying.Config) { c.Issuer = "" },
		"http issuer":  func(c *relying.Config) { c.Issuer = "http://id.example" },
		"no client":    func(c *relying.Config) { c.ClientID = "" },
		"relative":     func(c *relying.Config) { c.RedirectURL = "/callback" },
		"http app":     func(c *relying.Config) { c.RedirectURL = "http://app.example/callback" },
		"fragment":     func(c *relying.Config) { c.RedirectURL = "https://app.example/callback#x" },
		"short key":    func(c *relying.Config) { c.CookieKey = make([]byte, 31) },
		"bad post-out": func(c *relying.Config) { c.PostLogoutURL = "bye" },
	} {
		c := good
		spoil(&c)
		if _, err := relying.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
