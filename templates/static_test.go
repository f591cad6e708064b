package templates

import (
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	const immutable = "public, max-age=31536000, immutable"
	get := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.Static().ServeHTTP(w, r)
		return w
	}
	for name, kind := range map[string]string{
		"style.css": "text/css; charset=utf-8", "brand.css": "text/css; charset=utf-8", "ui.js": "text/javascript; charset=utf-8",
		"autopost.js": "text/javascript; charset=utf-8", "onward.js": "text/javascript; charset=utf-8", "logo.svg": "image/svg+xml",
	} {
		b := s.Base(request("/", "en"), "", "")
		url, err := b.Asset(name)
		if err != nil {
			t.Fatal(err)
		}
		plain := get(http.MethodGet, url)
		h := plain.Header()
		if plain.Code != 200 || h.Get("Content-Type") != kind || h.Get("Cache-Control") != immutable || h.Get("Content-Encoding") != "" ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Length") != strconv.Itoa(plain.Body.Len()) {
			t.Errorf("%s: %d %v", name, plain.Code, h)
		}
		packed := get(http.MethodGet, url, "Accept-Encoding", "br, gzip;q=0.5")
		if packed.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(packed.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(z); err != nil || string(body) != plain.Body.String() {
				t.Errorf("%s: gzip holds something else (%v)", name, err)
			}
			if packed.Header().Get("Vary") != "Accept-Encoding" || packed.Header().Get("ETag") == h.Get("ETag") {
				t.Errorf("%s: %v", name, packed.Header())
			}
		} else if name == "style.css" || name == "ui.js" {
			t.Errorf("%s comes without gzip", name)
		}
		if w := get(http.MethodHead, url); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != h.Get("Content-Length") {
			t.Errorf("HEAD %s: %d %v %d bytes", name, w.Code, w.Header(), w.Body.Len())
		}
		if w := get(http.MethodGet, url, "If-None-Match", h.Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s again: %d", name, w.Code)
		}
		// During an upgrade a page of one version asks the server of another: the file, but not for ever.
		if w := get(http.MethodGet, "/static/0000000000000000/"+name); w.Code != 200 || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s of another version: %d %v", name, w.Code, w.Header())
		}
		if w := get(http.MethodPost, url); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("POST %s: %d", name, w.Code)
		}
	}
	for _, path := range []string{"/static/", "/static/x", "/static/x/", "/static/x/no.css", "/static/x/../templates.go", "/static/x/html/login.html", "/static/x/../../locales/en.json"} {
		if w := get(http.MethodGet, path); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestTakesGzip(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "br, gzip": true, "gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.1": true, "xgzip": false, "identity": false, "gzip;q=x": false,
	} {
		if got := takesGzip(header); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// An address changes with the content and with nothing else.
func TestAddressesFollowContent(t *testing.T) {
	t.Parallel()
	urls := func(accent string) map[string]string {
		s, err := New(Options{Accent: accent})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for name, f := range s.assets.byName {
			m[name] = f.url
		}
		return m
	}
	a, b, c := urls("#336699"), urls("#336699"), urls("#993366")
	if !maps.Equal(a, b) {
		t.Errorf("%v, then %v", a, b)
	}
	if a["brand.css"] == c["brand.css"] || a["style.css"] != c["style.css"] {
		t.Errorf("%v and %v", a, c)
	}
	if _, ok := urls("")["brand.css"]; ok {
		t.Error("brand.css without an accent")
	}
}

// Any accent an operator picks is readable: as text and as a button, in both themes.
func TestAccents(t *testing.T) {
	t.Parallel()
	token := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)
	for _, accent := range []string{"#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff", "#ffff00", "#808080", "#336699", "#1F4D45", "#c0923b", "#777777", "#fedcba"} {
		css, err := brandCSS(accent)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(strings.TrimSpace(string(css)), "\n")
		if len(blocks) != 3 {
			t.Fatalf("%s", css)
		}
		for i, ground := range []colour{lightGround, darkGround, darkGround} {
			c := map[string]colour{}
			for _, m := range token.FindAllStringSubmatch(blocks[i], -1) {
				c[m[1]] = mustColour(t, m[2])
			}
			for what, ratio := range map[string]float64{
				"text on the ground": contrast(c["accent"], ground), "text on the button": contrast(c["on-accent"], c["accent"]),
				"text on the button, hovered": contrast(c["on-accent"], c["accent-strong"]), "focus": contrast(c["focus"], ground),
			} {
				if ratio < 4.5 {
					t.Errorf("%s, block %d: %s %.2f:1", accent, i, what, ratio)
				}
			}
		}
	}
	for _, bad := range []string{"red", "#12345", "#1234567", "#12345g", "336699", "#+12345", "#-12345", "#123456;}*{color:red}", "#12345\n", " #123456"} {
		if _, err := New(Options{Accent: bad}); err == nil {
			t.Errorf("accent %q passes", bad)
		}
	}
}

func mustColour(t testing.TB, s string) colour {
	t.Helper()
	c, err := parseColour(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readStyle(t testing.TB) string {
	t.Helper()
	css, err := fs.ReadFile(embedded, "static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(css), "")
}

// tokens reads the custom properties of the block that starts with selector.
func tokens(t testing.TB, css, selector string) map[string]string {
	t.Helper()
	_, after, ok := strings.Cut(css, selector+" {")
	if !ok {
		t.Fatalf("no block %s", selector)
	}
	block, _, _ := strings.Cut(after, "}")
	m := map[string]string{}
	for _, d := range regexp.MustCompile(`--([a-z-]+): ([^;]+);`).FindAllStringSubmatch(block, -1) {
		m[d[1]] = d[2]
	}
	return m
}

// WCAG 2.2: 1.4.3 for text, 1.4.11 for the edges of controls and the focus.
func TestContrastOfOurColours(t *testing.T) {
	t.Parallel()
	css := readStyle(t)
	light, dark := tokens(t, css, ":root"), tokens(t, css, `:root[data-theme="dark"]`)
	if system := tokens(t, css, `:root:not([data-theme="light"])`); !maps.Equal(system, dark) {
		t.Errorf("dark by system and dark by choice differ:\n%v\n%v", system, dark)
	}
	for name := range dark {
		if _, ok := light[name]; !ok {
			t.Errorf("--%s is dark only", name)
		}
	}
	for name, v := range light {
		if _, ok := dark[name]; !ok && strings.HasPrefix(v, "#") {
			t.Errorf("--%s has no dark colour", name)
		}
	}
	grounds := []string{"ground", "glow", "surface", "sunken"}
	pairs := map[string][]string{ // what stands on what
		"text": grounds, "muted": grounds, "accent": grounds,
		"on-accent": {"accent", "accent-strong"}, "on-ink": {"ink", "ink-strong"},
		"on-google": {"google"}, "on-microsoft": {"microsoft"}, "on-x": {"x"},
		"bad": {"surface", "bad-ground"}, "warn": {"surface", "warn-ground"}, "good": {"surface", "good-ground"},
	}
	edges := map[string][]string{"google-line": {"surface"}, "microsoft-line": {"surface"}, "border": {"surface", "sunken"}, "focus": append([]string{"bad-ground"}, grounds...), "bad": {"surface"}}
	for theme, c := range map[string]map[string]string{"light": light, "dark": dark} {
		check := func(pairs map[string][]string, least float64) {
			for front, backs := range pairs {
				for _, back := range backs {
					if r := contrast(mustColour(t, c[front]), mustColour(t, c[back])); r < least {
						t.Errorf("%s: --%s on --%s is %.2f:1, want %.1f:1", theme, front, back, r, least)
					}
				}
			}
		}
		check(pairs, 4.5)
		check(edges, 3)
	}

	// brandCSS works with the worst ground of each theme.
	worst := func(c map[string]string, darkest bool) string {
		return slices.MinFunc(grounds, func(a, b string) int {
			x, y := mustColour(t, c[a]).luminance(), mustColour(t, c[b]).luminance()
			if darkest == (x < y) {
				return -1
			}
			return 1
		})
	}
	if got := light[worst(light, true)]; got != lightGround.String() {
		t.Errorf("lightGround should be %s", got)
	}
	if got := dark[worst(dark, false)]; got != darkGround.String() {
		t.Errorf("darkGround should be %s", got)
	}
}

func TestContrastFormula(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want float64
	}{{"#000000", "#ffffff", 21}, {"#777777", "#ffffff", 4.48}, {"#ff0000", "#ffffff", 4.00}, {"#123456", "#123456", 1}} {
		if got := contrast(mustColour(t, test.a), mustColour(t, test.b)); math.Abs(got-test.want) > 0.01 {
			t.Errorf("%s on %s: %.3f, want %.2f", test.a, test.b, got, test.want)
		}
	}
}

// The stylesheet serves both directions of writing, loads nothing from elsewhere, and uses no colour but its own.
func TestStylesheet(t *testing.T) {
	t.Parallel()
	css := readStyle(t)
	for i, line := range strings.Split(css, "\n") {
		if regexp.MustCompile(`\b(margin|padding|border)-(left|right|top|bottom)\b|\b(left|right|top|bottom)\s*:|text-align\s*:\s*(left|right)|(^|[\s;{])(width|height|min-width|min-height|max-width|max-height)\s*:|float\s*:`).MatchString(line) &&
			!strings.Contains(line, "@media") {
			t.Errorf("line %d is not logical: %s", i+1, line)
		}
		if regexp.MustCompile(`@import|url\(|https?:`).MatchString(line) {
			t.Errorf("line %d loads something: %s", i+1, line)
		}
		if regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b`).MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "--") {
			t.Errorf("line %d has a colour that is no token: %s", i+1, line)
		}
	}
	for _, query := range []string{"prefers-color-scheme: dark", "prefers-reduced-motion: reduce", "prefers-contrast: more", "forced-colors: active"} {
		if !strings.Contains(css, query) {
			t.Errorf("nothing for %s", query)
		}
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`var\(--([a-z-]+)`).FindAllStringSubmatch(css, -1) {
		used[m[1]] = true
	}
	defined := tokens(t, css, ":root")
	for name := range used {
		if _, ok := defined[name]; !ok {
			t.Errorf("--%s is not defined", name)
		}
	}
	for name := range defined {
		if !used[name] {
			t.Errorf("--%s is not used", name)
		}
	}
}

// Every class of a page has a rule, and every rule a page: the stylesheet holds nothing dead.
func TestClasses(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	onPages := map[string]bool{"reveal": true} // made by ui.js
	for _, p := range samples(s, "en") {
		for _, n := range parse(t, render(t, s, p.page)).elements {
			for _, c := range strings.Fields(attr(n, "class")) {
				onPages[c] = true
			}
		}
	}
	css := regexp.MustCompile(`\d*\.\d+|"[^"]*"`).ReplaceAllString(readStyle(t), "")
	inStyle := map[string]bool{}
	for _, m := range regexp.MustCompile(`\.([a-z][a-z-]*)`).FindAllStringSubmatch(css, -1) {
		inStyle[m[1]] = true
	}
	for _, c := range slices.Sorted(maps.Keys(inStyle)) {
		if !onPages[c] {
			t.Errorf("no page has the class %s", c)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(onPages)) {
		if !inStyle[c] {
			t.Errorf("the class %s has no rule", c)
		}
	}
}
