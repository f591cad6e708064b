package relying_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"testing"
	"time"

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
