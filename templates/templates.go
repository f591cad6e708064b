// Package templates owns everything a person sees: pages, their texts in every language, the stylesheet, the small scripts.
//
// A page is a type. Every file of html/ belongs to one struct of pages.go, tied to it by an unexported method, so a wrong
// pair does not compile and New refuses a file without a struct. Handlers turn what they know into page structs; templates
// never see the database, a request or a service.
//
//	Set.Base(request) ──▶ fill a page struct ──▶ Set.Render: buffer ──▶ headers, status, body
//
// It refuses template.HTML, inline scripts, inline styles and texts outside the catalogue, and imports nothing of ours.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed html locales mail static
var embedded embed.FS

// Page is what Render takes. Only this package can declare one.
type Page interface {
	file() string
	base() *Base
}

// checker is implemented by pages that can be filled in a way nobody may be shown.
type checker interface{ check() error }

// failer is implemented by pages that embed FormErrors.
type failer interface{ Failed() bool }

// Options of a Set. The zero value is complete.
type Options struct {
	AppName string // the operator's name for this service; "" = Latchkey
	Accent  string // #rrggbb; "" = ours. Shades that keep texts readable in both themes are derived from it
	Demo    bool   // banner on every page, with a link to /dev/outbox
	Issuer  string // scheme://host[:port] that links in mails begin with
	// Preferences is the path SavePreferences is mounted at. "" hides the choice of language and of light or dark.
	Preferences string
	// Pseudo adds two made-up languages for tests: en-XA (accented, 40 % longer) and ar-XB (right to left).
	Pseudo bool
}

// Set holds the parsed pages, the texts and the static files. Safe for concurrent use.
type Set struct {
	options Options
	pages   map[string]*template.Template // by file name
	mail    *template.Template            // of every mail's HTML
	texts   *catalogue
	assets  *assets
	fatal   [2][]byte // the 500 page before and after its reference
	buffers sync.Pool
}

// New parses every file once. It fails when a file has no struct, a struct no file, a template an error, or the accent is
// no colour.
func New(o Options) (*Set, error) {
	made.Lock()
	defer made.Unlock()
	s, err := build(embedded, o, made.of[o.Pseudo])
	if err == nil {
		made.of[o.Pseudo] = s
	}
	return s, err
}

// made are Sets of the embedded files. What they parsed depends on no option but Pseudo and is never changed, so later ones share it: a reload keeps no
// second copy of all pages.
var made = struct {
	sync.Mutex
	of map[bool]*Set
}{of: map[bool]*Set{}}

// build makes a Set; like is one of the same files and the same Pseudo, whose parts it shares, nil = there is none.
func build(files fs.FS, o Options, like *Set) (*Set, error) {
	if o.AppName == "" {
		o.AppName = "Latchkey"
	}
	assets, err := newAssets(files, o.Accent)
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	s := &Set{options: o, pages: map[string]*template.Template{}, assets: assets}
	s.buffers.New = func() any { return new(bytes.Buffer) }
	if like != nil {
		s.pages, s.texts, s.mail = like.pages, like.texts, like.mail
	} else {
		if s.texts, err = newCatalogue(files, o.Pseudo); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		if s.mail, err = template.ParseFS(files, "mail/mail.html"); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		if err := s.parse(files); err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
	}
	if err := s.renderFatal(); err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	return s, nil
}

// shared are the files that are parts of pages, not pages.
var shared = []string{"html/layout.html", "html/logos.html", "html/parts.html"}

// parse clones layout and parts for every page and compares the files with the structs.
func (s *Set) parse(files fs.FS) error {
	names, err := fs.Glob(files, "html/*.html")
	if err != nil {
		return err
	}
	common, err := template.New("").ParseFS(files, shared...)
	if err != nil {
		return err
	}
	unused := map[string]bool{}
	for _, name := range names {
		if !slices.Contains(shared, name) {
			unused[path.Base(name)] = true
		}
	}
	var problems []error
	for _, p := range pages() {
		if !unused[p.file()] {
			problems = append(problems, fmt.Errorf("%T: html/%s is missing or belongs to two pages", p, p.file()))
			continue
		}
		delete(unused, p.file())
		t := template.Must(common.Clone()) // fails only after an execution, and none has happened
		if _, err := t.ParseFS(files, "html/"+p.file()); err != nil {
			problems = append(problems, err)
			continue
		}
		s.pages[p.file()] = t
		// The first execution escapes the template for its context, and would report errors to the first visitor.
		*p.base() = s.baseIn(s.texts.fallback)
		if err := t.ExecuteTemplate(new(bytes.Buffer), "layout", p); err != nil {
			problems = append(problems, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		problems = append(problems, fmt.Errorf("html/%s belongs to no page", name))
	}
	return errors.Join(problems...)
}

// Base makes the part of a page every page shares, in this person's language. The language is the first of these we have:
// uiLocales (OpenID Connect Core §3.1.2.1: tags by space, best first), the user's own setting, the cookie, Accept-Language,
// English.
// FormToken, RequestID and User are left to the caller.
func (s *Set) Base(r *http.Request, uiLocales, userLocale string) Base {
	loc, fixed := s.texts.choose(r, uiLocales, userLocale)
	b := s.baseIn(loc)
	b.Path = r.URL.Path
	b.Theme = cookieOf(r, themeCookie, themes)
	b.back = backOf(r)
	b.fixed = fixed
	return b
}

// baseIn is a Base of nobody's request.
func (s *Set) baseIn(loc *Localizer) Base {
	return Base{Lang: loc.lang, Dir: loc.dir, AppName: s.options.AppName, Accent: s.options.Accent, Demo: s.options.Demo, loc: loc, set: s}
}

// Render executes the page into a buffer and sends it with status. If it returns an error nothing has been sent. It sets
// Content-Type and Content-Length; policies like CSP are the caller's.
func (s *Set) Render(w http.ResponseWriter, status int, p Page) error {
	buf := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(buf)
	buf.Reset()
	if err := s.execute(buf, p); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	// A browser that went away is no error of ours, and there is nobody left to tell.
	_, _ = w.Write(buf.Bytes())
	return nil
}

func (s *Set) execute(buf *bytes.Buffer, p Page) error {
	if c, ok := p.(checker); ok {
		if err := c.check(); err != nil {
			return fmt.Errorf("templates: %s: %w", p.file(), err)
		}
	}
	b := p.base()
	if b.set == nil {
		*b = s.completed(*b)
	}
	if f, ok := p.(failer); ok && f.Failed() {
		b.Error = true
	}
	if err := s.pages[p.file()].ExecuteTemplate(buf, "layout", p); err != nil {
		return fmt.Errorf("templates: %w", err) // names file and line
	}
	return nil
}

// completed gives a Base that was made by hand what it cannot do without: English and the assets.
func (s *Set) completed(b Base) Base {
	whole := s.baseIn(s.texts.fallback)
	whole.Path, whole.FormToken, whole.RequestID, whole.User, whole.Error = b.Path, b.FormToken, b.RequestID, b.User, b.Error
	return whole
}

// reference stands where the request's id goes on the page rendered at start.
const reference = "{{REF}}"

func (s *Set) renderFatal() error {
	p := &ErrorPage{Base: s.baseIn(s.texts.fallback), Status: http.StatusInternalServerError, Code: "server_error", Key: "error.internal"}
	p.RequestID = reference
	var buf bytes.Buffer
	if err := s.execute(&buf, p); err != nil {
		return err
	}
	before, after, ok := bytes.Cut(buf.Bytes(), []byte(reference))
	if !ok || bytes.Contains(after, []byte(reference)) {
		return errors.New("error.html must print the request id once")
	}
	s.fatal = [2][]byte{before, after}
	return nil
}

// Fatal is the 500 page for when rendering itself is what failed: made at start, in English, with ref as its reference.
func (s *Set) Fatal(ref string) []byte {
	safe := []byte(template.HTMLEscapeString(ref))
	return slices.Concat(s.fatal[0], safe, s.fatal[1])
}

// Languages lists the tags of the catalogue, English first.
func (s *Set) Languages() []string {
	var tags []string
	for _, l := range s.texts.all {
		tags = append(tags, l.lang)
	}
	return tags
}

// Text is the text of key in the language nearest to lang, for mails and SMS. An int
// among the arguments chooses the plural: the one under "Count", or the only one.
func (s *Set) Text(lang, key string, args map[string]any) string {
	loc, ok := s.texts.match(strings.Fields(lang)...)
	if !ok {
		loc = s.texts.fallback
	}
	return loc.text(key, args)
}
