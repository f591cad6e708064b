package templates

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Base is what every page shares; pages embed it. Set.Base makes it, the caller adds FormToken, RequestID and User.
type Base struct {
	Lang, Dir       string   // for <html>
	Theme           string   // the person's choice: "" (as the system), light or dark
	AppName         string   // the operator's name for this service
	Accent          string   // the operator's accent, "" = ours; it reaches the page as brand.css
	Path            string   // of this request
	HiddenLanguages []string // of the reader's user type: left out of pickers, but for the one in use (R86)
	FormToken       string   // value of the hidden field form_token in every form that posts to us
	RequestID       string   // the reference on error pages
	User            *Person  // who is signed in, nil = nobody
	Error           bool     // prefixes the title with "Error: "; Render sets it where a form failed
	Demo            bool     // shows the demo's banner with a link to /dev/outbox

	back  string // path and query to come back to after a change of preferences
	fixed bool   // a switch of language would change nothing
	loc   *Localizer
	set   *Set
}

func (b *Base) base() *Base { return b }

// T is the text of key; args are pairs "Name", value. An int chooses the plural: the one under "Count", or the only one.
func (b *Base) T(key string, args ...any) string {
	if b.loc == nil {
		return key
	}
	return b.loc.text(key, pairs(args))
}

// Rich is T in pieces, string arguments apart, for {{template "rich" …}}.
func (b *Base) Rich(key string, args ...any) []Run {
	if b.loc == nil {
		return []Run{{Text: key}}
	}
	return b.loc.runs(key, pairs(args))
}

// Acting says whether the page is about somebody for whom another acts.
func (b *Base) Acting() bool { return b.User != nil && b.User.Represented }

// When prints an instant in t's time zone in this page's language, to the minute; "" for the zero time. For the times on account
// pages.
func (b *Base) When(t time.Time) string {
	if b.loc == nil {
		return ""
	}
	return b.loc.when(t)
}

// ScopeName is a scope in plain words, or the scope itself where the catalogue has none.
func (b *Base) ScopeName(scope string) string {
	if key := "scope." + scope; b.loc != nil && b.loc.has(key) {
		return b.T(key)
	}
	return scope
}

// Asset is the address of a static file, which changes with its content.
func (b *Base) Asset(name string) (string, error) {
	if b.set != nil {
		if f, ok := b.set.assets.byName[name]; ok {
			return f.url, nil
		}
	}
	return "", fmt.Errorf("no static file %q", name)
}

// Preferences is where the choices of language and appearance are posted, "" = not offered: there is no such route, or no
// form token to send along.
func (b *Base) Preferences() string {
	if b.set == nil || b.FormToken == "" {
		return ""
	}
	return b.set.options.Preferences
}

// Back is where a change of preferences returns to.
func (b *Base) Back() string {
	if b.back == "" {
		return "/"
	}
	return b.back
}

// Choice is one of a few settings.
type Choice struct {
	Value, Label string
	Current      bool
}

// Languages to choose from; none where a choice would change nothing.
func (b *Base) Languages() []Choice {
	if b.set == nil || b.fixed || len(b.set.texts.all) < 2 {
		return nil
	}
	var out []Choice
	for _, l := range b.set.texts.all {
		if l.lang != b.Lang && slices.Contains(b.HiddenLanguages, l.lang) {
			continue
		}
		out = append(out, Choice{Value: l.lang, Label: l.name, Current: l.lang == b.Lang})
	}
	return out
}

// AllLanguages are those that pages are written in.
func (b *Base) AllLanguages() (out []Choice) {
	if b.set == nil {
		return nil
	}
	for _, l := range b.set.texts.all {
		out = append(out, Choice{Value: l.lang, Label: l.name})
	}
	return out
}

// Permission is what a permission lets people do, in plain words, or its name where the catalogue has none.
func (b *Base) Permission(name string) string {
	if key := "permission." + name; b.loc != nil && b.loc.has(key) {
		return b.T(key)
	}
	return name
}

// Themes to choose from.
func (b *Base) Themes() []Choice {
	return []Choice{
		{"", b.T("theme.system"), b.Theme == ""},
		{"light", b.T("theme.light"), b.Theme == "light"},
		{"dark", b.T("theme.dark"), b.Theme == "dark"},
	}
}

// Person is who an account chip shows.
type Person struct {
	Name, Email string
	Represented bool // somebody else is signed in, and acts for them
}

// Display is the name, or the address where there is none.
func (p Person) Display() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Email
}

// Second is the line under Display: the address, unless Display is it.
func (p Person) Second() string {
	if p.Name != "" && p.Name != p.Email {
		return p.Email
	}
	return ""
}

// Initial is the letter in the chip's circle.
func (p Person) Initial() string {
	r, _ := utf8.DecodeRuneInString(strings.TrimSpace(p.Display()))
	if r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
		return "·"
	}
	return string(unicode.ToUpper(r))
}

// App names an application on sign-in, consent and sign-out pages. Its addresses come from registration.
type App struct {
	Name      string
	LogoURL   string
	HomeURL   string
	PolicyURL string
	TOSURL    string
	Host      string // where the person is sent, as people can check it: a host, or a scheme for a native application
}

// Logo is the address of the picture: https only, and http from this machine for development.
func (a App) Logo() string {
	u, err := url.Parse(a.LogoURL)
	if err != nil || u.Host == "" {
		return ""
	}
	local := slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && local {
		return a.LogoURL
	}
	return ""
}

// Home, Policy and Terms are the addresses that may be links, "" for the others.
func (a App) Home() string   { return webLink(a.HomeURL) }
func (a App) Policy() string { return webLink(a.PolicyURL) }
func (a App) Terms() string  { return webLink(a.TOSURL) }

// webLink passes absolute http and https addresses only; html/template would print its #ZgotmplZ for the others.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return s
}

// anyLink passes web addresses, paths of ours, and registered custom schemes of native applications (RFC 8252 §7.1), which
// html/template would refuse. It is the second look: registration refuses schemes a browser runs, and so does this.
func anyLink(s string) template.URL {
	u, err := url.Parse(s)
	switch {
	case err != nil || s == "":
		return ""
	case u.Scheme == "":
		if local(s) {
			return template.URL(s)
		}
	case webLink(s) != "":
		return template.URL(s)
	// RFC 8252 §7.1 asks for a reverse domain name; the dot also keeps out everything browsers know themselves.
	case strings.Contains(u.Scheme, "."):
		return template.URL(s)
	}
	return ""
}

// local says whether s is a path on this server and can be nothing else to any browser.
func local(s string) bool {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\\t\r\n") {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "" && u.Host == ""
}
