package templates

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	kinds := map[string]string{ // conformance contract: the element behind an id
		"login-title": "h1", "login-form": "form", "login-identifier": "input", "login-password": "input", "login-submit": "button", "login-with-google": "a",
		"client-logo": "img", "client-policy-uri": "a", "client-tos-uri": "a", "scope-openid": "input", "scope-calendar": "input",
		"consent-accept": "button", "consent-deny": "button", "logout-form": "form", "logout-confirm": "button", "logout-cancel": "button",
		"form-post-response": "form", "setup-form": "form", "setup-submit": "button",
		"login-with-facebook": "a", "login-with-twitter": "a", "login-with-azure": "a", "login-with-staff": "a", "link-title": "h1", "link-form": "form", "link-submit": "button",
		"link-cancel": "a", "complete-title": "h1", "complete-form": "form", "complete-submit": "button", "code-form": "form", "code-input": "input", "code-submit": "button", "connect-azure": "button", "error-retry": "a", "error-restart": "a",
	}
	ids := map[string][]string{}
	for _, lang := range s.Languages() {
		for _, p := range samples(s, lang) {
			out := render(t, s, p.page)
			d := parse(t, out)
			var all []string
			for _, n := range d.elements {
				if has(n, "id") {
					all = append(all, attr(n, "id"))
				}
			}
			slices.Sort(all)
			if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
				t.Errorf("%s: an id occurs twice: %v", p.name, all)
			}
			if before, ok := ids[p.name]; ok && !slices.Equal(before, all) {
				t.Errorf("%s: ids in %s differ from those in English:\n%v\n%v", p.name, lang, all, before)
			}
			ids[p.name] = all
			for _, id := range p.want {
				n := d.id(id)
				if n == nil {
					t.Errorf("%s: #%s is missing", p.name, id)
					continue
				}
				if kind := kinds[id]; kind != "" && n.Data != kind {
					t.Errorf("%s: #%s is a %s", p.name, id, n.Data)
				}
			}
			// References lead somewhere.
			for _, n := range d.elements {
				for _, ref := range append(strings.Fields(attr(n, "aria-describedby")+" "+attr(n, "aria-labelledby")+" "+attr(n, "for")), strings.TrimPrefix(attr(n, "href"), "#")) {
					if strings.HasPrefix(attr(n, "href"), "#") || ref != attr(n, "href") {
						if ref != "" && d.id(ref) == nil {
							t.Errorf("%s: nothing has the id %s that a %s names", p.name, ref, n.Data)
						}
					}
				}
			}
		}
	}
	// Browsers that run scripts do not see the button in noscript; the parser keeps it as text.
	for _, p := range samples(s, "en") {
		if p.name == "form_post" && bytes.Count(render(t, s, p.page), []byte(`<button id="form-post-continue"`)) != 1 {
			t.Error("form_post: #form-post-continue is missing")
		}
	}
}

// One submit per form; every form that posts to us carries the token; the one that posts to a client must not.
func TestForms(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for _, p := range samples(s, "en") {
		d := parse(t, render(t, s, p.page))
		for _, form := range d.all("form") {
			name := p.name + " #" + attr(form, "id") + " " + attr(form, "action")
			tokens, submits := 0, 0
			for _, n := range inside(form, "input") {
				if attr(n, "name") == "form_token" {
					tokens++
					if attr(n, "type") != "hidden" || attr(n, "value") != "the-form-token" {
						t.Errorf("%s: form token %v", name, n.Attr)
					}
				}
				if attr(n, "type") == "password" && has(n, "value") {
					t.Errorf("%s: a password comes back", name)
				}
			}
			for _, n := range inside(form, "button") {
				if attr(n, "type") == "submit" {
					submits++
				}
			}
			toUs := attr(form, "method") == "post" && attr(form, "id") != "form-post-response"
			if toUs != (tokens == 1) || tokens > 1 {
				t.Errorf("%s: %d form tokens", name, tokens)
			}
			if submits != 1 && attr(form, "id") != "form-post-response" {
				t.Errorf("%s: %d submits", name, submits)
			}
		}
	}
}

func TestNothingInline(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for _, p := range samples(s, "en") {
		for _, n := range parse(t, render(t, s, p.page)).elements {
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("%s: %s=%q on a %s", p.name, a.Key, a.Val, n.Data)
				}
			}
			switch n.Data {
			case "style", "base", "object", "embed":
				t.Errorf("%s: a %s", p.name, n.Data)
			case "iframe": // an application that hears of a sign-out, and can do nothing else
				if s := attr(n, "sandbox"); !strings.HasPrefix(p.name, "logged_out") || s != "allow-same-origin allow-scripts" {
					t.Errorf("%s: an iframe with sandbox %q", p.name, s)
				}
			case "script":
				if !strings.HasPrefix(attr(n, "src"), "/static/") || n.FirstChild != nil {
					t.Errorf("%s: a script that is not a file of ours", p.name)
				}
			}
		}
	}
	// The sources, whatever the samples reach; and no way around the escaping.
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		bans := map[string]*regexp.Regexp{
			".html": regexp.MustCompile(`(?i)\sstyle\s*=|\son[a-z]+\s*=|<style|javascript:|<script[^>]*>[^<]`),
			".go":   regexp.MustCompile(`template\.(HTML|JS|CSS|HTMLAttr|JSStr|Srcset)\b|"text/template"`),
		}
		ban := bans[filepath.Ext(path)]
		if filepath.Dir(path) == "mail" { // which has no stylesheet, and nothing may run in it at all
			ban = regexp.MustCompile(`(?i)\son[a-z]+\s*=|javascript:|<script|<style|<img|<link`)
		}
		if ban == nil {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(data), "\n") {
			if code, _, _ := strings.Cut(line, "// "); ban.MatchString(code) {
				t.Errorf("%s:%d: %s", path, i+1, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Titles tell pages apart, carry nobody's data, and announce errors.
func TestTitles(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for _, p := range samples(s, "en") {
		fill(p.page, "PERSONAL")
		p.page.base().AppName = "Latchkey"
		title := text(parse(t, render(t, s, p.page)).all("title")[0])
		if strings.Contains(title, "PERSONAL") || !strings.HasSuffix(title, " · Latchkey") {
			t.Errorf("%s: title %q", p.name, title)
		}
	}
	for _, p := range samples(s, "de") {
		title := text(parse(t, render(t, s, p.page)).all("title")[0])
		failed := strings.HasSuffix(p.name, "_wrong") || p.name == "login_missing"
		if strings.HasPrefix(title, "Fehler: ") != failed {
			t.Errorf("%s: title %q", p.name, title)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://example.com/a?b=c":           "https://example.com/a?b=c",
		"http://localhost:8081/":              "http://localhost:8081/",
		"/login?flow=x":                       "/login?flow=x",
		"com.example.app:/done":               "com.example.app:/done",
		"":                                    "",
		"javascript:alert(1)":                 "",
		"JAVASCRIPT:alert(1)":                 "",
		" javascript:alert(1)":                "",
		"data:text/html,x":                    "",
		"vbscript:x":                          "",
		"file:///etc/passwd":                  "",
		"blob:https://example.com/x":          "",
		"view-source:https://x":               "",
		"intent://x":                          "",
		"myapp:/x":                            "",
		"//evil.example":                      "",
		`/\evil.example`:                      "",
		"/\t/evil.example":                    "",
		"https:///x":                          "",
		"relative":                            "",
		"https://example.com\n.evil.example/": "",
		"https://example.com/#" + "é":         "https://example.com/#é",
	} {
		if got := string(anyLink(in)); got != want {
			t.Errorf("anyLink(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]bool{
		"https://example.com/l.png": true, "http://localhost:8081/l.png": true, "http://example.com/l.png": false, "data:image/png;base64,x": false, "": false, "/l.png": false,
	} {
		if got := (App{LogoURL: in}).Logo() != ""; got != want {
			t.Errorf("logo %q shown: %v", in, got)
		}
	}
}

func TestSec_A17_HostileValuesInEveryField(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	dangerous := []string{"script", "style", "iframe", "object", "embed", "base", "meta", "link", "svg", "title", "form", "textarea"}
	count := func(d dom) map[string]int {
		n := map[string]int{}
		for _, tag := range dangerous {
			n[tag] = len(d.all(tag))
		}
		return n
	}
	for _, lang := range []string{"en", "ar-XB"} {
		// Values with the same consequences for what a page shows, so that only escaping can make a difference.
		tame := samples(s, lang)
		want := make([]map[string]int, len(tame))
		for i := range tame {
			fill(tame[i].page, "tame")
			want[i] = count(parse(t, render(t, s, tame[i].page)))
		}
		for _, payload := range payloads {
			for i, wild := range samples(s, lang) {
				fill(wild.page, payload)
				d := parse(t, render(t, s, wild.page))
				if got := count(d); !reflect.DeepEqual(got, want[i]) {
					t.Errorf("%s with %q: elements %v, want %v", wild.name, payload, got, want[i])
				}
				for _, n := range d.elements {
					for _, a := range n.Attr {
						if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" {
							t.Errorf("%s with %q: attribute %s=%q", wild.name, payload, a.Key, a.Val)
						}
						if a.Key == "href" && attr(n, "download") != "" && textFile.MatchString(a.Val) {
							continue // kept, and never shown
						}
						if slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key) && !harmless.MatchString(a.Val) {
							t.Errorf("%s with %q: %s=%q", wild.name, payload, a.Key, a.Val)
						}
					}
				}
			}
		}
	}
}
