package testidp

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// verdict is a testing.TB that remembers failures instead of failing, so that the harness's own refusals can be tested.
type verdict struct {
	testing.TB
	said []string
}

func (v *verdict) Helper()                   {}
func (v *verdict) Errorf(f string, a ...any) { v.said = append(v.said, fmt.Sprintf(f, a...)) }
func (v *verdict) Fatalf(f string, a ...any) { v.Errorf(f, a...); panic(v) }
func (v *verdict) Fatal(a ...any)            { v.Errorf("%s", fmt.Sprint(a...)); panic(v) }

// refused runs f and returns what it failed with.
func refused(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	v := &verdict{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(v) {
				panic(r)
			}
		}()
		f(v)
	}()
	return strings.Join(v.said, "\n")
}

// site is a provider that is only a handler.
func fake(t testing.TB, h http.HandlerFunc) *IDP {
	u, err := url.Parse("https://idp.test")
	if err != nil {
		t.Fatal(err)
	}
	return &IDP{t: t, Issuer: u.String(), url: u, Transport: inProcess{h}, Now: time.Now}
}

func cookies(w http.ResponseWriter, list ...string) {
	for _, c := range list {
		w.Header().Add("Set-Cookie", c)
	}
}

func TestSameSite(t *testing.T) {
	t.Parallel()
	i := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/set":
			cookies(w, "lax=1; Path=/; SameSite=Lax; Secure", "strict=1; Path=/; SameSite=Strict; Secure", "none=1; Path=/; SameSite=None; Secure", "plain=1; Path=/", "deep=1; Path=/deep")
		case "/again":
			http.Redirect(w, r, "/", http.StatusSeeOther)
		default:
			var names []string
			for _, c := range r.Cookies() {
				names = append(names, c.Name)
			}
			slices.Sort(names)
			fmt.Fprintf(w, "%s %s %s %s", r.Method, strings.Join(names, ","), r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin"))
		}
	})
	b := i.Browser()
	b.Get(i.Issuer + "/set")
	for name, c := range map[string]struct {
		do   func() *Page
		want string
	}{
		"typed":           {func() *Page { return b.Get(i.Issuer + "/") }, "GET lax,none,plain,strict none "},
		"deep":            {func() *Page { return b.Get(i.Issuer + "/deep/er") }, "GET deep,lax,none,plain,strict none "},
		"not deep":        {func() *Page { return b.Get(i.Issuer + "/deeper") }, "GET lax,none,plain,strict none "},
		"foreign link":    {func() *Page { return b.CrossSiteGet(i.Issuer + "/") }, "GET lax,none,plain cross-site "},
		"foreign form":    {func() *Page { return b.CrossSitePost(i.Issuer+"/", nil) }, "POST none cross-site https://evil.example"},
		"form, then GET":  {func() *Page { return b.CrossSitePost(i.Issuer+"/again", nil) }, "GET lax,none,plain cross-site "},
		"unknown origins": {func() *Page { return b.Get("https://rp.example/x?y=z") }, ""},
	} {
		if got := c.do(); got.Body != c.want {
			t.Errorf("%s: %q, want %q", name, got.Body, c.want)
		}
	}
	if !slices.Equal(b.Cookies(), []string{"deep", "lax", "none", "plain", "strict"}) || b.Cookie("lax") != "1" || b.Cookie("no") != "" {
		t.Errorf("cookies %v", b.Cookies())
	}
}

func TestCookiesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/out" {
				cookies(w, "b=; Path=/; Max-Age=0")
				return
			}
			cookies(w, "a=1; Path=/; Max-Age=60", "b=1; Path=/")
		})
		b := i.Browser()
		b.Get(i.Issuer + "/")
		time.Sleep(61 * time.Second)
		if !slices.Equal(b.Cookies(), []string{"b"}) {
			t.Errorf("after a minute: %v", b.Cookies())
		}
		b.Get(i.Issuer + "/out")
		if len(b.Cookies()) > 0 {
			t.Errorf("after the end: %v", b.Cookies())
		}
	})
}

// What a browser would drop or block is an error of the server, and fails the test.
func TestBrowserRefuses(t *testing.T) {
	t.Parallel()
	form := `<form id="f" method="post" action="/next"><input type="hidden" name="h" value="1"><input id="name" name="n"><button id="go">Go</button></form>`
	serve := func(header http.Header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for k, v := range header {
				w.Header()[k] = v
			}
			switch r.URL.Path {
			case "/next":
				http.Redirect(w, r, "https://rp.example/cb?code=x&iss=https%3A%2F%2Fidp.test", http.StatusSeeOther)
			case "/mixed":
				http.Redirect(w, r, "https://rp.example/cb?code=x", http.StatusSeeOther)
			case "/loop":
				http.Redirect(w, r, "/loop", http.StatusSeeOther)
			default:
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, body)
			}
		}
	}
	policy := func(p string) http.Header { return http.Header{"Content-Security-Policy": {p}} }
	submit := func(fields map[string]string) func(*IDP) {
		return func(i *IDP) { b := i.Browser(); b.Submit(b.Get(i.Issuer+"/"), "go", fields) }
	}
	get := func(path string) func(*IDP) { return func(i *IDP) { i.Browser().Get(i.Issuer + path) } }
	for name, c := range map[string]struct {
		header http.Header
		body   string
		do     func(*IDP)
		want   string // "" = nothing to complain about
	}{
		"good":           {policy("default-src 'none'; form-action 'self' https://rp.example"), form, submit(map[string]string{"name": "x"}), ""},
		"no policy":      {nil, form, submit(nil), ""},
		"form-action":    {policy("form-action 'self'"), form, submit(nil), "form-action"},
		"no such field":  {nil, form, submit(map[string]string{"nme": "x"}), "no field #nme"},
		"hidden field":   {nil, strings.Replace(form, `name="h"`, `name="h" id="h"`, 1), submit(map[string]string{"h": "2"}), "a person cannot fill #h"},
		"no such button": {nil, "<p>", submit(nil), "no #go"},
		"id twice":       {nil, "<p id=a><p id=a>", get("/"), "occurs twice"},
		"inline script":  {nil, "<script>alert(1)</script>", get("/"), "inline <script>"},
		"inline style":   {nil, `<p style="color:red">`, get("/"), "style="},
		"handler":        {nil, `<p onclick="x()">`, get("/"), "onclick="},
		"raw key":        {nil, "<p> scope.email ", get("/"), "people read"},
		"no iss":         {nil, "", get("/mixed"), "RFC 9207"},
		"loop":           {nil, "", get("/loop"), "redirected 20 times"},
		"prefix":         {http.Header{"Set-Cookie": {"__Host-a=1; Path=/x; Secure"}}, "", get("/"), "prefix"},
		"domain":         {http.Header{"Set-Cookie": {"a=1; Domain=test; Secure"}}, "", get("/"), "all of test"},
		"none insecure":  {http.Header{"Set-Cookie": {"a=1; SameSite=None"}}, "", get("/"), "SameSite=None"},
	} {
		got := refused(t, func(tb testing.TB) { c.do(fake(tb, serve(c.header, c.body))) })
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestFormValues(t *testing.T) {
	t.Parallel()
	i := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.Method == http.MethodPost || r.URL.RawQuery != "" {
			r.ParseForm()
			fmt.Fprintf(w, "<p id=got>%s</p>", r.Form.Encode())
			return
		}
		fmt.Fprint(w, `<form method=post action="?"><input name=a id=a value=1><input type=checkbox name=c id=c value=yes checked><input type=checkbox name=d id=d>
			<select name=s id=s><option value=x>X</option><option value=y selected>Y</option></select><textarea name=t id=t>text</textarea>
			<input name=gone disabled value=1><button id=one name=b value=1>1</button><button id=two name=b value=2>2</button></form>
			<form method=get action="/"><input name=q id=q><button id=find>Find</button></form>`)
	})
	b := i.Browser()
	page := b.Get(i.Issuer + "/")
	for _, c := range []struct {
		button string
		fields map[string]string
		want   string
	}{
		{"one", nil, "a=1&b=1&c=yes&s=y&t=text"},
		{"two", map[string]string{"a": "2", "c": "", "d": "on", "s": "x", "t": ""}, "a=2&b=2&d=on&s=x&t="},
		{"find", map[string]string{"q": "ä b"}, "q=%C3%A4+b"},
	} {
		if got := b.Submit(page, c.button, c.fields).Text("got"); got != c.want {
			t.Errorf("%s: %s, want %s", c.button, got, c.want)
		}
	}
}
