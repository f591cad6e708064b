package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"golang.org/x/net/html"
)

// TestDemo is what a newcomer does, from the terminal's one-time link to the claims in the sample application, with a browser that
// has cookies and no script. The same data then serves latchkey serve.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	port, appPort := freePort(t), freePort(t)
	issuer, app := "http://localhost:"+port, "http://localhost:"+appPort
	flags := []string{"demo", "--dir", dir, "--listen", "127.0.0.1:" + port, "--app-listen", "127.0.0.1:" + appPort, "--management", ""}
	out, stop := inBackground(t, flags...)
	text := out.until(t, "Ctrl-C ends it")
	link := regexp.MustCompile(regexp.QuoteMeta(issuer) + `/setup/[A-Za-z0-9_-]{43}`).FindString(text)
	if link == "" || !strings.Contains(text, app) {
		t.Fatalf("the terminal says:\n%s", text)
	}

	b := newBrowser(t)
	// The sample application wants to know who this is; nobody has an account yet.
	at := b.click(b.get(app+"/you"), "sorry-sign-in")
	if at.url.Path != "/login" || at.url.Host != "localhost:"+port {
		t.Fatalf("a stranger at the application ended at %s (%d):\n%s", at.url, at.status, at.text)
	}
	const password = "a long walk along the harbour"
	at = b.get(link)
	at = b.submit(at, "setup-submit", map[string]string{"given_name": "Ada", "family_name": "Lovelace", "email": "ada@example.com",
		"password": password, "password_again": password, "password_confirm": password})
	if at.url.Path != "/account" || !strings.Contains(at.text, "Ada") {
		t.Fatalf("after set-up at %s (%d):\n%s", at.url, at.status, at.text)
	}
	// The link worked once.
	if again := newBrowser(t).get(link); again.status < 400 {
		t.Errorf("the set-up link a second time: %d", again.status)
	}

	// Signed in at the provider, so only consent is asked for.
	at = b.click(b.get(app+"/you"), "sorry-sign-in")
	if at.url.Path != "/consent" {
		t.Fatalf("at %s (%d), want consent:\n%s", at.url, at.status, at.text)
	}
	at = b.submit(at, "consent-accept", nil)
	if at.url.String() != app+"/you" || at.status != http.StatusOK {
		t.Fatalf("after consent at %s (%d):\n%s", at.url, at.status, at.text)
	}
	for _, claim := range []string{"ada@example.com", "Lovelace", "admin", issuer} {
		if !strings.Contains(at.text, claim) {
			t.Errorf("the application does not show %s", claim)
		}
	}
	if at = b.get(app + "/admin"); at.status != http.StatusOK || at.url.Path != "/admin" {
		t.Errorf("the administrator's page: %d %s", at.status, at.url)
	}

	// Another browser signs in from the beginning.
	c := newBrowser(t)
	at = c.click(c.get(app+"/members"), "sorry-sign-in")
	at = c.submit(at, "login-submit", map[string]string{"identifier": "Ada@Example.com", "password": "not my password at all"})
	if at.status != http.StatusUnprocessableEntity {
		t.Errorf("a wrong password: %d", at.status)
	}
	at = c.submit(at, "login-submit", map[string]string{"identifier": "Ada@Example.com", "password": password})
	if at.url.String() != app+"/members" || at.status != http.StatusOK {
		t.Fatalf("signed in, at %s (%d):\n%s", at.url, at.status, at.text)
	}
	if at = c.get(issuer + "/dev/outbox"); at.status != http.StatusOK {
		t.Errorf("the outbox: %d", at.status)
	}

	// Somebody new comes by phone: the outbox has the code.
	d := newBrowser(t)
	at = d.submit(d.click(d.get(issuer+"/login"), "login-with-phone"), "phone-submit", map[string]string{"country": "US", "number": "202-943-0949"})
	code := regexp.MustCompile(`@localhost #(\d{6})`).FindStringSubmatch(newBrowser(t).get(issuer + "/dev/outbox").text)
	if code == nil || at.url.Path != "/login/phone/code" {
		t.Fatalf("no code in the outbox; at %s (%d)", at.url, at.status)
	}
	if at = d.submit(at, "phone-code-submit", map[string]string{"code": code[1]}); at.url.Path != "/account" || at.status != http.StatusOK {
		t.Errorf("signed in by phone, at %s (%d)", at.url, at.status)
	}

	// The command line works beside it, on the same data, and changes are seen.
	if got := command(t, "user", "list", "--dir", dir); !strings.Contains(got, "ada@example.com") {
		t.Errorf("user list: %s", got)
	}
	if got := command(t, "client", "list", "--dir", dir); !strings.Contains(got, "sample-app") {
		t.Errorf("client list: %s", got)
	}
	stop()

	// The same data, served as usual: same people, same application, no outbox.
	served, stop := inBackground(t, "serve", "--dir", dir)
	served.until(t, "msg=serving")
	if at = c.get(issuer + "/account"); at.status != http.StatusOK || !strings.Contains(at.text, "Ada") {
		t.Errorf("the session does not outlive the demonstration: %d at %s", at.status, at.url)
	}
	if at = c.get(issuer + "/dev/outbox"); at.status != http.StatusNotFound {
		t.Errorf("the outbox of latchkey serve: %d", at.status)
	}
	stop()

	// Started again there is an administrator, so no link is offered.
	out, stop = inBackground(t, flags...)
	if text := out.until(t, "Ctrl-C ends it"); strings.Contains(text, "/setup/") {
		t.Errorf("a second set-up link:\n%s", text)
	}
	// The application forgot its own sessions; the provider's and the consent are remembered, so nothing is asked again.
	if at = c.click(c.get(app+"/members"), "sorry-sign-in"); at.status != http.StatusOK || at.url.String() != app+"/members" {
		t.Errorf("the application after a restart: %d %s", at.status, at.url)
	}
	stop()
}

// TestDemo_Fakes: each of the four buttons leads from the application through a stand-in and back, without script; after a restart the
// same people come back to the same accounts.
func TestDemo_Fakes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	port, appPort := freePort(t), freePort(t)
	app := "http://localhost:" + appPort
	flags := []string{"demo", "--fakes", "--fakes-port", portsInARow(t, 10), "--dir", dir, "--listen", "127.0.0.1:" + port,
		"--app-listen", "127.0.0.1:" + appPort, "--management", ""}
	subject := regexp.MustCompile(`[a-z0-9]{26}`)
	subs := map[string]string{}
	for run := range 2 {
		out, stop := inBackground(t, flags...)
		if text := out.until(t, "Ctrl-C ends it"); !strings.Contains(text, "/settings") {
			t.Errorf("the terminal says:\n%s", text)
		}
		for _, c := range []struct{ connector, name string }{{"google", "Ada"}, {"azure", "Ada Work"}, {"twitter", "Ada"}, {"facebook", "Ada"}} {
			b := newBrowser(t)
			at := b.click(b.get(app+"/you"), "sorry-sign-in")
			at = b.click(at, "login-with-"+c.connector)
			if !strings.Contains(at.text, "It asks for no password") {
				t.Fatalf("%s: at %s (%d):\n%s", c.connector, at.url, at.status, at.text)
			}
			at = b.submit(at, "continue", nil)
			if at.url.Path == "/login/complete" {
				at = b.submit(at, "complete-submit", map[string]string{"email": "ada@facebook.example"})
			}
			if at.url.Path == "/consent" {
				at = b.submit(at, "consent-accept", nil)
			}
			if at.url.String() != app+"/you" || at.status != http.StatusOK || !strings.Contains(at.text, c.name) {
				t.Fatalf("%s: at %s (%d):\n%s", c.connector, at.url, at.status, at.text)
			}
			_, rest, _ := strings.Cut(at.text, "sub")
			sub := subject.FindString(rest)
			switch {
			case sub == "":
				t.Errorf("%s: no sub:\n%s", c.connector, at.text)
			case run == 0:
				subs[c.connector] = sub
			case subs[c.connector] != sub:
				t.Errorf("%s: %s, and after a restart %s", c.connector, subs[c.connector], sub)
			}
		}
		stop()
	}
	for a, x := range subs {
		for b, y := range subs {
			if a != b && x == y {
				t.Errorf("%s and %s are one account without anybody's proof", a, b)
			}
		}
	}
	if got := command(t, "user", "list", "--dir", dir); strings.Count(got, "Ada") != 4 {
		t.Errorf("user list: %s", got)
	}
	// What each link rests on is there for the administrator.
	got := command(t, "user", "show", subs["google"], "--dir", dir)
	link := regexp.MustCompile(`google +104729000000000000017 as ada@gmail.com \(authoritative\), since .*, because of new_account, off; link ([a-z0-9]{26})`).FindStringSubmatch(got)
	if link == nil {
		t.Fatalf("user show: %s", got)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"user", "unlink", subs["google"], link[1], "--dir", dir}, strings.NewReader(""), &out, &out); err == nil || !strings.Contains(err.Error(), "last way in") {
		t.Errorf("unlink the last: %v %s", err, out.String())
	}
}

// portsInARow is the first of n free ports in a row.
func portsInARow(t *testing.T, n int) string {
	t.Helper()
	for range 50 {
		first, err := strconv.Atoi(freePort(t))
		if err != nil {
			t.Fatal(err)
		}
		free := first+n < 65536
		for i := 0; i < n && free; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return strconv.Itoa(first)
		}
	}
	t.Fatal("no free ports")
	return ""
}

// TestDemoTakenPort: the application's port is in use; nothing is left running.
func TestDemoTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t.Context(), []string{"demo", "--dir", t.TempDir(), "--listen", "127.0.0.1:" + freePort(t), "--app-listen", l.Addr().String(), "--management", ""},
		strings.NewReader(""), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--app-listen") || exitCode(err) != 1 {
		t.Errorf("%v", err)
	}
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, strings.NewReader(""), &out, &out); err != nil {
		t.Fatalf("latchkey %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// output is what a command in the background prints.
type output struct{ lines chan string }

// until returns everything up to the line that holds want.
func (o *output) until(t *testing.T, want string) string {
	t.Helper()
	var b strings.Builder
	for late := time.After(15 * time.Second); ; {
		select {
		case l := <-o.lines:
			b.WriteString(l + "\n")
			if strings.Contains(l, want) {
				return b.String()
			}
		case <-late:
			t.Fatalf("%q does not appear; there is:\n%s", want, b.String())
		}
	}
}

// inBackground runs the command in this process; stop ends it as a signal does, and wants it to end well.
func inBackground(t *testing.T, args ...string) (*output, func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o := &output{make(chan string, 1000)}
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			o.lines <- s.Text()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, strings.NewReader(""), w, w) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("latchkey %s: %v", args[0], err)
		}
		_ = w.Close()
	}
	t.Cleanup(stop)
	return o, stop
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := testidp.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// browser keeps cookies, follows redirects and submits forms: as much as the pages ask of one. It sends what browsers send with a form.
type browser struct {
	t *testing.T
	c *http.Client
}

type page struct {
	url    *url.URL
	status int
	text   string
	doc    *html.Node
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (b *browser) get(u string) *page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

// click follows the link with that id.
func (b *browser) click(p *page, id string) *page {
	b.t.Helper()
	n := find(p.doc, func(n *html.Node) bool { return n.Data == "a" && attr(n, "id") == id })
	if n == nil {
		b.t.Fatalf("no link #%s at %s (%d):\n%s", id, p.url, p.status, p.text)
	}
	to, err := p.url.Parse(attr(n, "href"))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.get(to.String())
}

func (b *browser) do(req *http.Request) *page {
	b.t.Helper()
	resp, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	return &page{resp.Request.URL, resp.StatusCode, string(body), doc}
}

// submit presses the button with that id, after typing fields into the form it belongs to. Fields the form lacks are left out.
func (b *browser) submit(p *page, button string, fields map[string]string) *page {
	b.t.Helper()
	form := formOf(find(p.doc, func(n *html.Node) bool { return attr(n, "id") == button }))
	if form == nil {
		b.t.Fatalf("no form with #%s at %s (%d):\n%s", button, p.url, p.status, p.text)
	}
	values := url.Values{}
	find(form, func(n *html.Node) bool {
		name := attr(n, "name")
		if n.Data != "input" && n.Data != "button" || name == "" {
			return false
		}
		kind := attr(n, "type")
		if n.Data == "button" {
			kind = "submit"
		}
		switch kind {
		case "checkbox", "radio":
			if has(n, "checked") {
				values.Add(name, attr(n, "value"))
			}
		case "submit":
			if attr(n, "id") == button {
				values.Add(name, attr(n, "value"))
			}
		default:
			v, typed := fields[name]
			if !typed {
				v = attr(n, "value")
			}
			values.Add(name, v)
		}
		return false
	})
	to, err := p.url.Parse(attr(form, "action"))
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", fmt.Sprintf("%s://%s", p.url.Scheme, p.url.Host))
	return b.do(req)
}

func find(n *html.Node, ok func(*html.Node) bool) *html.Node {
	if n == nil || n.Type == html.ElementNode && ok(n) {
		return n
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if f := find(c, ok); f != nil {
			return f
		}
	}
	return nil
}

func formOf(n *html.Node) *html.Node {
	for ; n != nil; n = n.Parent {
		if n.Data == "form" {
			return n
		}
	}
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
