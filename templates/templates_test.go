package templates

import (
	"bytes"
	"flag"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jba/templatecheck"
)

var update = flag.Bool("update", false, "write the golden files anew")

var hashes = regexp.MustCompile(`/static/[0-9a-f]{16}/`)

func TestGolden(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	known := map[string]bool{}
	for _, p := range samples(s, "en") {
		got := hashes.ReplaceAll(render(t, s, p.page), []byte("/static/HASH/"))
		name := filepath.Join("testdata", p.name+".golden")
		known[name] = true
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (go test ./templates -update writes it anew)%s", name, firstDifference(got, want))
		}
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s belongs to no sample", f)
		}
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("\nline %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("\n got %d lines\nwant %d", len(g), len(w))
}

// Every page type has a sample, or the tests below prove less than they say.
func TestSamplesCoverEveryPage(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range samples(newSet(t), "en") {
		seen[p.page.file()] = true
	}
	for _, p := range pages() {
		if !seen[p.file()] {
			t.Errorf("no sample of %s", p.file())
		}
	}
}

func TestTemplatesFitTheirTypes(t *testing.T) {
	t.Parallel()
	for _, p := range pages() {
		// Parsed anew: the first execution rewrites a template, and New executes them all.
		parsed, err := template.New("").ParseFS(embedded, append(slices.Clone(shared), "html/"+p.file())...)
		if err != nil {
			t.Fatal(err)
		}
		if err := templatecheck.CheckHTML(parsed.Lookup("layout"), p); err != nil {
			t.Errorf("%s: %v", p.file(), err)
		}
	}
}

func TestNewComparesFilesWithTypes(t *testing.T) {
	t.Parallel()
	copyFiles := func() fstest.MapFS {
		m := fstest.MapFS{}
		err := fs.WalkDir(embedded, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := fs.ReadFile(embedded, path)
			m[path] = &fstest.MapFile{Data: data}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, test := range map[string]struct {
		change func(fstest.MapFS)
		want   string
	}{
		"as it is":            {func(fstest.MapFS) {}, ""},
		"a file without page": {func(m fstest.MapFS) { m["html/stray.html"] = &fstest.MapFile{Data: []byte("x")} }, "html/stray.html belongs to no page"},
		"a page without file": {func(m fstest.MapFS) { delete(m, "html/login.html") }, "html/login.html is missing"},
		"a broken template":   {func(m fstest.MapFS) { m["html/login.html"].Data = []byte("{{if}}") }, "login.html"},
		"an unknown field": {func(m fstest.MapFS) {
			m["html/home.html"].Data = []byte(`{{define "title"}}{{.Nope}}{{end}}{{define "main"}}{{end}}`)
		}, "Nope"},
		"an unknown asset": {func(m fstest.MapFS) {
			m["html/home.html"].Data = []byte(`{{define "title"}}{{.Asset "no.css"}}{{end}}{{define "main"}}{{end}}`)
		}, "no.css"},
		"an unknown file kind": {func(m fstest.MapFS) { m["static/a.exe"] = &fstest.MapFile{} }, "a.exe"},
		"broken texts":         {func(m fstest.MapFS) { m["locales/de.json"].Data = []byte("{") }, "de.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := copyFiles()
			test.change(m)
			_, err := build(m, Options{}, nil)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestRenderSendsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	w := httptest.NewRecorder()
	page := &LoginPage{Base: s.Base(request("/login", "en"), "", ""), Action: "/login"}
	if err := s.Render(w, http.StatusTeapot, page); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusTeapot || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("status %d, headers %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}

	for _, action := range []string{"javascript:alert(1)", "data:text/html,x", "/callback", "myapp:/callback", "//host/callback"} {
		w = httptest.NewRecorder()
		if err := s.Render(w, http.StatusOK, &FormPostPage{Base: s.Base(request("/", "en"), "", ""), Action: action}); err == nil {
			t.Errorf("a form_post page was rendered for %s", action)
		}
		if w.Body.Len() > 0 || len(w.Header()) > 0 {
			t.Errorf("something was sent for %s: %v %q", action, w.Header(), w.Body)
		}
	}
}

// A Base made by hand still gives a whole page, in English.
func TestRenderWithoutRequest(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	out := render(t, s, &ErrorPage{Base: Base{RequestID: "the-id"}, Status: 404, Code: "not_found"})
	for _, want := range []string{`lang="en"`, "the-id", "There is nothing here", "/style.css"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

func TestRenderInParallel(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	want := map[string][]byte{}
	for _, lang := range s.Languages() {
		for _, p := range samples(s, lang) {
			want[lang+p.name] = bytes.Clone(render(t, s, p.page))
		}
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for _, lang := range s.Languages() {
				for _, p := range samples(s, lang) {
					w := httptest.NewRecorder()
					if err := s.Render(w, http.StatusOK, p.page); err != nil {
						t.Error(err)
					} else if !bytes.Equal(w.Body.Bytes(), want[lang+p.name]) {
						t.Errorf("%s %s differs from one time to the next", lang, p.name)
					}
				}
			}
		})
	}
	group.Wait()
}

func TestFatal(t *testing.T) {
	t.Parallel()
	out := newSet(t).Fatal(`ref-7"><script>`)
	d := parse(t, out)
	if got := text(d.id("error-reference")); got != `ref-7"><script>` {
		t.Errorf("reference %q", got)
	}
	if code := attr(d.id("error-page"), "data-error"); code != "server_error" {
		t.Errorf("code %q", code)
	}
	if n := len(d.all("script")); n != 1 {
		t.Errorf("%d scripts", n)
	}
}

// A form that failed says so at the top, where the focus goes, and at the field.
func TestFormErrors(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	page := &SetupPage{Base: s.Base(request("/setup/x", "en"), "", ""), Email: "typed", FormErrors: FormErrors{
		Form: "setup.error_taken", Fields: map[string]string{"email": "profile.error_email", "nowhere": "profile.error_name"},
	}}
	d := parse(t, render(t, s, page))
	summary := d.id("error-summary")
	if attr(summary, "role") != "alert" || attr(summary, "tabindex") != "-1" || !has(summary, "autofocus") {
		t.Errorf("summary %v", summary.Attr)
	}
	for _, key := range []string{"setup.error_taken", "profile.error_email", "profile.error_name"} {
		if !strings.Contains(text(summary), page.T(key)) {
			t.Errorf("the summary lacks %s: %s", key, text(summary))
		}
	}
	input := d.id("setup-email")
	if attr(input, "aria-invalid") != "true" || attr(input, "aria-describedby") != "setup-email-hint setup-email-error" || attr(input, "value") != "typed" {
		t.Errorf("field %v", input.Attr)
	}
	if n := d.id("setup-username"); has(n, "aria-invalid") {
		t.Errorf("a field without error: %v", n.Attr)
	}
	focused := 0
	for _, n := range d.elements {
		if has(n, "autofocus") {
			focused++
		}
	}
	if focused != 1 {
		t.Errorf("%d elements ask for the focus", focused)
	}
}

// payloads a person, an application or a browser may send.
var payloads = []string{
	`<script>alert(1)</script>`,
	`"><script src=//evil.example></script>`,
	`'><img src=x onerror=alert(1)>`,
	`" onmouseover="alert(1)" x="`,
	`javascript:alert(1)`,
	"java\tscript:alert(1)",
	`JaVaScRiPt://example.com/%0aalert(1)`,
	`data:text/html,<script>alert(1)</script>`,
	`vbscript:msgbox(1)`,
	`</title><script>alert(1)</script>`,
	`</textarea></noscript><svg onload=alert(1)>`,
	`<!--<script>`,
	`--><script>alert(1)</script>`,
	`{{.FormToken}}{{template "layout" .}}`,
	"\u2028<script>\u0000alert(1)</script>",
	`<meta http-equiv=refresh content="0;url=//evil.example">`,
	`<base href=//evil.example>`,
	`https://example.com/"onload="alert(1)`,
	`//evil.example/\"><script>`,
	"\xff\xfe<script>alert(1)</script>",
	"\u202e<b>\ue000\ue001</b>",
}

// fill puts value into every string a page holds, however deep; kept are those that are this package's own choice.
func fill(p Page, value string) {
	b := *p.base()
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				visit(v.Elem())
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[Set]() || v.Type() == reflect.TypeFor[Localizer]() {
				return
			}
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					visit(v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		case reflect.Map:
			if v.Type().Elem().Kind() == reflect.String && !v.IsNil() {
				filled := reflect.MakeMap(v.Type())
				filled.SetMapIndex(reflect.ValueOf(value), reflect.ValueOf(value))
				v.Set(filled)
			}
		case reflect.String:
			v.SetString(value)
		}
	}
	visit(reflect.ValueOf(p))
	c := p.base()
	c.Lang, c.Dir, c.Theme, c.Accent, c.Path = b.Lang, b.Dir, b.Theme, b.Accent, value
	c.back = value
	if f, ok := p.(*FormPostPage); ok {
		f.Action = "https://example.com/?" + value // others are refused
		if f.check() != nil {
			f.Action = "https://example.com/"
		}
	}
}

// What a browser takes as the same origin, a fragment, or the web; a relative reference cannot have a colon in its first segment.
var harmless = regexp.MustCompile(`^(https?://|/|#|[^:]*$|[^:]*[/?#])`)

// textFile is plain text within a link that says download.
var textFile = regexp.MustCompile(`^data:text/plain;charset=utf-8;base64,[A-Za-z0-9+/=]+$`)

// No error of the catalogue or of a caller may leave a person without an explanation.
func TestErrorPageAlwaysExplains(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for status := 400; status < 600; status++ {
		p := &ErrorPage{Base: s.Base(request("/", "de"), "", ""), Status: status, Code: "x", Key: "pq: relation does not exist"}
		for _, got := range []string{p.Explanation(), p.Heading()} {
			if got == "" || strings.Contains(got, "pq:") || strings.HasPrefix(got, "error.") {
				t.Errorf("%d: %q", status, got)
			}
		}
	}
}

func BenchmarkLoginPage(b *testing.B) {
	s := newSet(b)
	r := request("/login?flow=f", "de-AT,de;q=0.9,en;q=0.8")
	app := App{Name: "Sunrise Notes", HomeURL: "https://notes.example.com/"}
	b.ReportAllocs()
	for b.Loop() {
		p := &LoginPage{Base: s.Base(r, "", ""), Action: "/login?flow=f", App: &app}
		p.FormToken = "token"
		if err := s.Render(discard{}, http.StatusOK, p); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
