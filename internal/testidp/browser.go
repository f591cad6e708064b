package testidp

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Browser is a person's browser without script: it keeps cookies by the rules browsers have (SameSite, Secure, __Host-), sends the
// Sec-Fetch and Origin headers they send, follows redirects step by step, and obeys the form-action of a page's policy for a form's
// whole chain of redirects. It goes to the origins it knows; a redirect to any other ends the journey, and the page it returns has
// only the address (that is how an answer to a client is caught).
//
// It is not safe for concurrent use. Whatever a browser would refuse fails the test.
type Browser struct {
	t       testing.TB
	http    http.RoundTripper
	idp     *IDP
	origins []string
	others  []string // of them, those whose pages are not ours to judge
	jar     jar
	// Log holds every exchange, oldest first.
	Log []Exchange
	// Headers are sent with every request, such as Accept-Language.
	Headers http.Header
}

// Exchange is one request and its answer.
type Exchange struct {
	Method  string
	URL     *url.URL
	Form    url.Values // what was posted
	Status  int
	Header  http.Header // of the answer
	Cookies []*http.Cookie
}

// Page is where a journey ended.
type Page struct {
	t      testing.TB
	URL    *url.URL
	Status int // 0: the address is of an origin the browser does not visit
	Header http.Header
	Body   string
	doc    *html.Node
}

// evil is the site that attacks come from.
const evil = "https://evil.example"

// Browser returns a new browser without cookies that knows the provider, its fakes and the other origins given.
func (i *IDP) Browser(origins ...string) *Browser {
	b := &Browser{
		t: i.t, idp: i, http: i.Transport, origins: append(origins, i.Issuer), Headers: http.Header{},
		jar: jar{now: i.Now},
	}
	return b.Visits(i.Fakes.Origins()...)
}

// Visits lets the browser go to origins of others, whose pages need not keep our rules.
func (b *Browser) Visits(origins ...string) *Browser {
	b.origins, b.others = append(b.origins, origins...), append(b.others, origins...)
	return b
}

// Get opens an address as if typed into the address bar.
func (b *Browser) Get(address string) *Page {
	b.t.Helper()
	return b.navigate(journey{method: http.MethodGet, to: b.parse(address)})
}

// Click follows a link of the page by its id.
func (b *Browser) Click(p *Page, id string) *Page {
	b.t.Helper()
	n := p.Element(id)
	if n.Data != "a" || attr(n, "href") == "" {
		b.t.Fatalf("#%s is no link", id)
	}
	return b.navigate(journey{method: http.MethodGet, to: b.resolve(p, attr(n, "href")), from: p.URL})
}

// Submit presses the submit button with this id, after filling the fields of its form given by element id. It fails the test when
// the form lacks a field, or a person could not fill it.
func (b *Browser) Submit(p *Page, button string, fields map[string]string) *Page {
	b.t.Helper()
	f := p.FormOf(button)
	for id, value := range fields {
		f.fill(id, value)
	}
	return b.SendForm(p, f)
}

// SendForm sends a form whose values the test may have tampered with.
func (b *Browser) SendForm(p *Page, f *Form) *Page {
	b.t.Helper()
	j := journey{method: f.Method, to: b.resolve(p, f.Action), from: p.URL, form: f.Values, policy: formAction(p.Header), page: p.URL}
	if j.method == http.MethodGet {
		j.to.RawQuery, j.form = f.Values.Encode(), nil
	}
	return b.navigate(j)
}

// CrossSitePost sends a form that stands on another site.
func (b *Browser) CrossSitePost(address string, form url.Values) *Page {
	b.t.Helper()
	return b.navigate(journey{method: http.MethodPost, to: b.parse(address), from: b.parse(evil + "/"), form: form})
}

// CrossSiteGet follows a link that stands on another site.
func (b *Browser) CrossSiteGet(address string) *Page {
	b.t.Helper()
	return b.navigate(journey{method: http.MethodGet, to: b.parse(address), from: b.parse(evil + "/")})
}

// Cookie returns the cookie a request to the provider would carry, "" if there is none.
func (b *Browser) Cookie(name string) string {
	for _, c := range b.jar.kept {
		if c.Name == name && c.host == b.idp.url.Hostname() && b.jar.alive(c) {
			return c.Value
		}
	}
	return ""
}

// Cookies returns the names of all cookies kept, sorted.
func (b *Browser) Cookies() (names []string) {
	for _, c := range b.jar.kept {
		if b.jar.alive(c) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

// SetCookie plants a cookie for the provider's host, as an attacker or a test would.
func (b *Browser) SetCookie(c *http.Cookie) {
	b.t.Helper()
	b.jar.set(b.t, b.idp.url, c)
}

// Last is the newest exchange.
func (b *Browser) Last() Exchange {
	b.t.Helper()
	if len(b.Log) == 0 {
		b.t.Fatal("nothing was requested")
	}
	return b.Log[len(b.Log)-1]
}

func (b *Browser) parse(address string) *url.URL {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func (b *Browser) resolve(p *Page, ref string) *url.URL {
	b.t.Helper()
	u, err := p.URL.Parse(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// journey is a navigation with all its redirects.
type journey struct {
	method string
	to     *url.URL
	from   *url.URL // the page it starts on; nil = the address bar
	form   url.Values
	policy string   // form-action of that page; "" = none
	page   *url.URL // 'self' of the policy
	cross  bool     // a hop was cross-site already
}

func (b *Browser) navigate(j journey) *Page {
	b.t.Helper()
	for range 20 {
		if j.policy != "" && !allowed(j.policy, j.page, j.to) {
			b.t.Fatalf("form-action %q blocks the way to %s", j.policy, j.to)
		}
		if !slices.Contains(b.origins, origin(j.to)) {
			return &Page{t: b.t, URL: j.to}
		}
		p, next := b.step(&j)
		if next == nil {
			return p
		}
		if p.Status != http.StatusTemporaryRedirect && p.Status != http.StatusPermanentRedirect && j.method == http.MethodPost {
			j.method, j.form = http.MethodGet, nil
		}
		b.checkAnswer(p.URL, next)
		j.to = next
	}
	b.t.Fatalf("redirected 20 times, last to %s", j.to)
	return nil
}

// checkAnswer holds every authorization response of the whole test run against RFC 9207: it names the issuer (security.md A8).
func (b *Browser) checkAnswer(from, to *url.URL) {
	b.t.Helper()
	if origin(from) != b.idp.Issuer || origin(to) == b.idp.Issuer {
		return
	}
	q := to.Query()
	if !q.Has("code") && !q.Has("error") {
		q, _ = url.ParseQuery(to.Fragment) // no answer at all when it is no query
	}
	if (q.Has("code") || q.Has("error")) && q.Get("iss") != b.idp.Issuer {
		b.t.Errorf("the answer %s does not name its issuer (RFC 9207 §2)", to.Redacted())
	}
}

// step sends one request and returns its answer and where that redirects to, nil for nowhere.
func (b *Browser) step(j *journey) (*Page, *url.URL) {
	b.t.Helper()
	var body io.Reader
	if j.method == http.MethodPost {
		body = strings.NewReader(j.form.Encode())
	}
	to := *j.to
	to.Fragment = ""
	req, err := http.NewRequest(j.method, to.String(), body)
	if err != nil {
		b.t.Fatal(err)
	}
	maps.Copy(req.Header, b.Headers)
	site := "none"
	if j.from != nil {
		switch {
		case j.cross || !sameSite(j.from, j.to):
			site, j.cross = "cross-site", true
		case origin(j.from) == origin(j.to):
			site = "same-origin"
		default:
			site = "same-site"
		}
	}
	req.Header.Set("Sec-Fetch-Site", site)
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if j.from != nil {
			req.Header.Set("Origin", origin(j.from))
		}
	}
	crossed := j.from != nil && !sameSite(j.from, j.to)
	for _, c := range b.jar.cookies(j.to, crossed, j.method) {
		req.AddCookie(c)
	}
	res, err := b.http.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		b.jar.set(b.t, j.to, c)
	}
	b.Log = append(b.Log, Exchange{Method: j.method, URL: j.to, Form: j.form, Status: res.StatusCode, Header: res.Header, Cookies: res.Cookies()})
	p := &Page{t: b.t, URL: j.to, Status: res.StatusCode, Header: res.Header, Body: string(raw)}
	if loc := res.Header.Get("Location"); loc != "" && res.StatusCode >= 300 && res.StatusCode < 400 {
		next, err := j.to.Parse(loc)
		if err != nil {
			b.t.Fatalf("%s redirects to %q: %v", j.to, loc, err)
		}
		if !strings.Contains(loc, "#") { // a fragment goes along, unless there is a new one (RFC 9110 §10.2.2)
			next.Fragment, next.RawFragment = j.to.Fragment, j.to.RawFragment
		}
		return p, next
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		if p.doc, err = html.Parse(bytes.NewReader(raw)); err != nil {
			b.t.Fatal(err)
		}
		if !slices.Contains(b.others, origin(j.to)) {
			p.check()
		}
	}
	return p, nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// sameSite is the schemeful comparison; names without a dot and addresses are sites of their own, whatever the port.
func sameSite(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && site(a.Hostname()) == site(b.Hostname())
}

func site(host string) string {
	labels := strings.Split(host, ".")
	if last := labels[len(labels)-1]; len(labels) < 3 || last != "" && last[0] >= '0' && last[0] <= '9' {
		return host
	}
	return strings.Join(labels[len(labels)-2:], ".")
}

// formAction is the form-action directive of a page's policy.
func formAction(h http.Header) string {
	for d := range strings.SplitSeq(h.Get("Content-Security-Policy"), ";") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(d), "form-action "); ok {
			return rest
		}
	}
	return ""
}

func allowed(policy string, self, to *url.URL) bool {
	for src := range strings.FieldsSeq(policy) {
		switch {
		case src == "'self'" && origin(to) == origin(self), src == to.Scheme+":", strings.TrimSuffix(src, "/") == origin(to):
			return true
		}
	}
	return false
}

func (p *Page) String() string { return fmt.Sprintf("%s (status %d)", p.URL, p.Status) }
