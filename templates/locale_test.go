package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// entry is one text of a catalogue file: a string, or forms of a plural.
type entry map[string]string

func (e *entry) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*e = entry{"other": one}
		return nil
	}
	return json.Unmarshal(data, (*map[string]string)(e))
}

func readCatalogue(t testing.TB, lang string) map[string]entry {
	t.Helper()
	data, err := fs.ReadFile(embedded, "locales/"+lang+".json")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]entry{}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	// encoding/json keeps the last of two equal keys, and a translator's work would be lost silently.
	for key := range m {
		if n := strings.Count(string(data), "\n  \""+key+"\":"); n != 1 {
			t.Errorf("%s: %q stands there %d times", lang, key, n)
		}
	}
	return m
}

var (
	placeholder = regexp.MustCompile(`{{\.([A-Za-z]+)}}`)
	keyForm     = regexp.MustCompile(`^[a-z][a-z0-9_]*\.[a-z0-9_.]+$`)
)

func TestCataloguesAgree(t *testing.T) {
	t.Parallel()
	english := readCatalogue(t, "en")
	languages, err := fs.Glob(embedded, "locales/*.json")
	if err != nil {
		t.Fatal(err)
	}
	// The plural forms CLDR asks of each language. A new language is added here.
	forms := map[string][]string{"en": {"one", "other"}, "de": {"one", "other"}}
	for _, file := range languages {
		lang := strings.TrimSuffix(filepath.Base(file), ".json")
		if forms[lang] == nil {
			t.Errorf("%s: which plural forms does it have?", lang)
		}
		texts := readCatalogue(t, lang)
		for _, key := range slices.Sorted(maps.Keys(english)) {
			if _, ok := texts[key]; !ok {
				t.Errorf("%s lacks %s", lang, key)
			}
		}
		for key, e := range texts {
			if !keyForm.MatchString(key) {
				t.Errorf("%s: a key like no other: %q", lang, key)
			}
			original, ok := english[key]
			if !ok {
				t.Errorf("%s has %s, English has not", lang, key)
				continue
			}
			if (len(e) > 1) != (len(original) > 1) {
				t.Errorf("%s: %s is a plural in one language only", lang, key)
			}
			if len(e) > 1 && !slices.Equal(slices.Sorted(maps.Keys(e)), slices.Sorted(slices.Values(forms[lang]))) {
				t.Errorf("%s: %s has forms %v", lang, key, slices.Sorted(maps.Keys(e)))
			}
			for form, s := range e {
				if strings.TrimSpace(s) != s || s == "" {
					t.Errorf("%s: %s is empty or has spaces around it: %q", lang, key, s)
				}
				if strings.ContainsAny(s, "<>") || strings.Contains(s, "&#") {
					t.Errorf("%s: %s has markup: %q", lang, key, s)
				}
				if got, want := placeholders(s), placeholders(original["other"]); !slices.Equal(got, want) {
					t.Errorf("%s: %s (%s) has placeholders %v, English %v", lang, key, form, got, want)
				}
				if strings.Count(s, "{{") != len(placeholder.FindAllString(s, -1)) {
					t.Errorf("%s: %s has an action that is no placeholder: %q", lang, key, s)
				}
			}
		}
	}
}

func placeholders(s string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(s, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The folders whose code speaks to people.
var speakers = []string{"admin", "internal/explain", "internal/server", "internal/web", "login", "provider", "templates"}

// Literals that look like a key of a group of texts, and are none.
var noKeys = map[string]bool{"setup.link": true}

// Every text is used, and every key used in the program has a text. A literal that is the beginning of keys uses them all.
func TestKeysAreUsedAndKnown(t *testing.T) {
	t.Parallel()
	english := readCatalogue(t, "en")
	groups := map[string]bool{}
	for key := range english {
		group, _, _ := strings.Cut(key, ".")
		groups[group] = true
	}
	literal := regexp.MustCompile(`"([a-z][a-z0-9_]*)\.([a-z0-9_.]*)"`)
	begins := func(literal, key string) bool {
		return strings.HasPrefix(key, literal) && (strings.HasSuffix(literal, "_") || strings.HasSuffix(literal, "."))
	}
	where := map[string]string{}
	for _, dir := range speakers {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // a folder that is still to come
			case err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".html":
				return err
			}
			data, err := os.ReadFile(path)
			for _, m := range literal.FindAllStringSubmatch(string(data), -1) {
				if key := m[1] + "." + m[2]; groups[m[1]] && m[2] != "html" && !noKeys[key] {
					where[key] = path
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key := range english {
		used := false
		for literal := range where {
			used = used || literal == key || begins(literal, key)
		}
		if !used {
			t.Errorf("nobody uses %s", key)
		}
	}
	for key, path := range where {
		_, known := english[key]
		for other := range english {
			known = known || begins(key, other)
		}
		if !known {
			t.Errorf("%s uses %s, which has no text", path, key)
		}
	}
}

func TestChoiceOfLanguage(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for name, test := range map[string]struct {
		ui, user, cookie, accept string
		want, dir                string
	}{
		"nothing":                       {"", "", "", "", "en", "ltr"},
		"browser":                       {"", "", "", "de-AT, en;q=0.5", "de", "ltr"},
		"browser by weight":             {"", "", "", "en;q=0.2, de;q=0.9", "de", "ltr"},
		"browser, unknown first":        {"", "", "", "fo, de;q=0.1", "de", "ltr"},
		"browser, all unknown":          {"", "", "", "fo, is", "en", "ltr"},
		"browser, rubbish":              {"", "", "", "\x00,;;=q", "en", "ltr"},
		"cookie before browser":         {"", "", "de", "en", "de", "ltr"},
		"broken cookie":                 {"", "", "de;\"", "de", "de", "ltr"},
		"user before cookie":            {"", "de", "en", "en", "de", "ltr"},
		"unknown user setting":          {"", "tlh", "de", "en", "de", "ltr"},
		"ui_locales before all":         {"de", "en", "en", "en", "de", "ltr"},
		"ui_locales in order":           {"fr-CA de en", "", "", "en", "de", "ltr"},
		"ui_locales, rubbish among":     {"x!!y de", "", "", "en", "de", "ltr"},
		"ui_locales, nothing we have":   {"fo is", "de", "", "en", "de", "ltr"},
		"ui_locales, case and region":   {"DE-ch", "", "", "en", "de", "ltr"},
		"ui_locales, far too long":      {strings.Repeat("fo ", 5000) + "de", "", "", "en", "en", "ltr"},
		"Accept-Language, far too long": {"", "", "", "de" + strings.Repeat(",fo", 5000), "de", "ltr"},
		"right to left":                 {"ar-XB", "", "", "", "ar-XB", "rtl"},
		"accented":                      {"en-XA", "", "", "", "en-XA", "ltr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("/", test.accept)
			if test.cookie != "" {
				r.Header.Set("Cookie", langCookie+"="+test.cookie)
			}
			b := s.Base(r, test.ui, test.user)
			if b.Lang != test.want || b.Dir != test.dir {
				t.Errorf("%s %s, want %s %s", b.Lang, b.Dir, test.want, test.dir)
			}
			root := parse(t, render(t, s, &HomePage{Base: b})).all("html")[0]
			if attr(root, "lang") != test.want || attr(root, "dir") != test.dir {
				t.Errorf("html %v", root.Attr)
			}
		})
	}
}

// Without the option, no one can ask for the languages of tests.
func TestPseudoIsForTestsOnly(t *testing.T) {
	t.Parallel()
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Languages(); !slices.Equal(got, []string{"en", "de"}) {
		t.Errorf("languages %v", got)
	}
	for _, tag := range []string{"ar-XB", "en-XA"} {
		if b := s.Base(request("/", ""), tag, ""); b.Lang != "en" || b.Dir != "ltr" {
			t.Errorf("%s: %s %s", tag, b.Lang, b.Dir)
		}
	}
}

// In the accented language every text is in brackets: what is not has gone past the catalogue.
func TestEveryTextIsInTheCatalogue(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	visible := regexp.MustCompile(`[\pL]{3,}`)
	for _, p := range samples(s, "en-XA") {
		for _, n := range parse(t, render(t, s, p.page)).elements {
			if slices.Contains([]string{"bdi", "code", "pre", "script", "noscript", "textarea"}, n.Data) {
				continue // a person's or an application's words, and machines'
			}
			for c := range n.ChildNodes() {
				if got := strings.TrimSpace(c.Data); c.Type == html.TextNode && visible.MatchString(got) && !strings.Contains(got, "[") && !slices.Contains(fromSamples, got) {
					t.Errorf("%s: %q in a %s", p.name, got, n.Data)
				}
			}
			for _, name := range []string{"aria-label", "title", "placeholder", "data-show", "data-hide-label"} {
				if got := attr(n, name); got != "" && !strings.Contains(got, "[") {
					t.Errorf("%s: %s=%q", p.name, name, got)
				}
			}
		}
	}
}

// What the samples bring along in one language, the name of the service, and the names of languages in themselves.
var fromSamples = []string{"Latchkey", "English", "Deutsch", "عنغليسه", "Google", "A label", "calendar", "Waiting", "Approved", "Refused", "Sunrise Notes", "7 days", "1 day",
	"Austria (\u2066+43\u2069)", "Germany (\u2066+49\u2069)", "United States (\u2066+1\u2069)"}

func TestTexts(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	en, de := s.Base(request("/", "en"), "", ""), s.Base(request("/", "de"), "", "")
	for _, test := range []struct{ got, want string }{
		{en.T("login.error_locked", "Minutes", 1), "Too many attempts. Try again in 1 minute."},
		{en.T("login.error_locked", "Minutes", 5), "Too many attempts. Try again in 5 minutes."},
		{de.T("login.error_locked", "Minutes", 1), "Zu viele Versuche. Versuchen Sie es in 1 Minute noch einmal."},
		{de.T("login.error_locked", "Minutes", 0), "Zu viele Versuche. Versuchen Sie es in 0 Minuten noch einmal."},
		{en.T("no.such_key"), "no.such_key"},
		{en.T("login.to_app", "App", "<b>{{.}}"), "to continue to <b>{{.}}"},
		{(&Base{}).T("login.title"), "login.title"},
		{s.Text("de-DE", "login.to_app", map[string]any{"App": "X"}), "weiter zu X"},
		{s.Text("", "login.title", nil), "Sign in"},
		{s.Text("tlh", "login.title", nil), "Sign in"},
		{en.When(time.Date(2026, 3, 5, 9, 7, 0, 0, time.UTC)), "5 March 2026, 09:07 UTC"},
		{de.When(time.Date(2026, 3, 5, 9, 7, 0, 0, time.UTC)), "5. März 2026, 09:07 UTC"},
		{en.When(time.Time{}), ""},
		{en.ScopeName("email"), "See your e-mail address"},
		{en.ScopeName("calendar"), "calendar"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
	runs := fmt.Sprint(de.Rich("logout.from_app", "App", "\ue000{{", "Name", "L\ue001"))
	if want := fmt.Sprint([]Run{{"\ue000{{", true}, {" möchte Sie auf diesem Gerät bei ", false}, {"L\ue001", true}, {" abmelden.", false}}); runs != want {
		t.Errorf("%s, want %s", runs, want)
	}
}

func TestSavePreferences(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for name, test := range map[string]struct {
		form    url.Values
		to      string
		cookies []string
	}{
		"language":            {url.Values{"lang": {"de"}, "back": {"/login?flow=x"}}, "/login?flow=x", []string{"latchkey-lang=de; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax"}},
		"theme":               {url.Values{"theme": {"dark"}, "back": {"/account"}}, "/account", []string{"latchkey-theme=dark; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax"}},
		"theme of the system": {url.Values{"theme": {""}}, "/", []string{"latchkey-theme=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}},
		"unknown values":      {url.Values{"lang": {"tlh"}, "theme": {"pink\r\n"}}, "/", nil},
		"other host":          {url.Values{"back": {"//evil.example/"}}, "/", nil},
		"other host, slashes": {url.Values{"back": {`/\evil.example/`}}, "/", nil},
		"other host, tab":     {url.Values{"back": {"/\t/evil.example/"}}, "/", nil},
		"absolute":            {url.Values{"back": {"https://evil.example/"}}, "/", nil},
		"script":              {url.Values{"back": {"javascript:alert(1)"}}, "/", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/preferences", strings.NewReader(test.form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			s.SavePreferences(w, r, true)
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != test.to {
				t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
			}
			if got := w.Header()["Set-Cookie"]; !slices.Equal(got, test.cookies) {
				t.Errorf("cookies %q, want %q", got, test.cookies)
			}
		})
	}
}

// The choice is offered where it would have an effect, and comes back to the page without what would undo it.
func TestChoicesOnThePage(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	r := request("/login?ui_locales=en&flow=x", "de")
	r.AddCookie(&http.Cookie{Name: themeCookie, Value: "dark"})
	b := s.Base(r, "en", "")
	b.FormToken = "t"
	d := parse(t, render(t, s, &LoginPage{Base: b}))
	if theme := attr(d.all("html")[0], "data-theme"); theme != "dark" {
		t.Errorf("theme %q", theme)
	}
	backs := 0
	for _, n := range d.all("input") {
		if attr(n, "name") == "back" {
			backs++
			if attr(n, "value") != "/login?flow=x" {
				t.Errorf("back to %q", attr(n, "value"))
			}
		}
	}
	if backs != len(s.Languages())-1 {
		t.Errorf("%d languages to choose from", backs)
	}

	fixed := s.Base(request("/account", "en"), "", "de")
	fixed.FormToken = "t"
	without := s.Base(request("/account", "en"), "", "")
	flow := s.Base(request("/login?flow=x", "en"), "de", "")
	flow.FormToken = "t"
	for name, b := range map[string]Base{"the profile has decided": fixed, "the application has asked for one": flow, "there is no form token": without} {
		for _, n := range parse(t, render(t, s, &LoginPage{Base: b})).all("input") {
			if attr(n, "name") == "lang" {
				t.Errorf("a choice of language although %s", name)
			}
		}
	}
}

func FuzzLanguage(f *testing.F) {
	for _, seed := range []string{"", "de", "de-AT,de;q=0.9,en;q=0.8", "*", "en-XA", "fr de", "x-y-z", "de;q=nan", strings.Repeat("a-", 300), "\xff", "i-klingon", "de-DE-u-co-phonebk"} {
		f.Add(seed, seed, seed, seed)
	}
	s := newSet(f)
	languages := s.Languages()
	f.Fuzz(func(t *testing.T, ui, user, cookie, accept string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Accept-Language"] = []string{accept}
		r.Header["Cookie"] = []string{langCookie + "=" + cookie}
		b := s.Base(r, ui, user)
		if !slices.Contains(languages, b.Lang) || b.Dir != "ltr" && b.Dir != "rtl" {
			t.Errorf("%q %q", b.Lang, b.Dir)
		}
		if again := s.Base(r, ui, user); again.Lang != b.Lang {
			t.Errorf("%q, then %q", b.Lang, again.Lang)
		}
	})
}
