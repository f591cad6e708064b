package templates

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// Cookies a person's choices are kept in. They hold no secret and prove nothing.
const (
	langCookie  = "latchkey-lang"
	themeCookie = "latchkey-theme"
)

var themes = []string{"light", "dark"}

// catalogue holds the texts of every language. It never changes after the start.
type catalogue struct {
	all      []*Localizer // English first
	fallback *Localizer   // English
	exact    map[language.Tag]*Localizer
	matcher  language.Matcher // over the real languages, which are the first of all
}

// Localizer picks the texts of one language.
type Localizer struct {
	lang, dir string
	name      string            // of the language, in itself
	plain     map[string]string // texts without placeholders: most of them, and a map look-up is all they cost
	full      *i18n.Localizer   // plurals, placeholders
}

// newCatalogue reads locales/*.json: flat keys, a string or the CLDR plural forms under each.
func newCatalogue(from fs.FS, pseudo bool) (*catalogue, error) {
	names, err := fs.Glob(from, "locales/*.json")
	if err != nil {
		return nil, err
	}
	bundle := i18n.NewBundle(language.English)
	bundle.RegisterUnmarshalFunc("json", json.Unmarshal)
	messages := map[language.Tag][]*i18n.Message{}
	tags := []language.Tag{language.English} // the first one is the matcher's default
	for _, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, err
		}
		file, err := bundle.ParseMessageFileBytes(data, path.Base(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		messages[file.Tag] = file.Messages
		if file.Tag != language.English {
			tags = append(tags, file.Tag)
		}
	}
	matcher := language.NewMatcher(tags)
	if pseudo {
		for _, tag := range []language.Tag{accentedTag, arabicTag} {
			change := accented
			if tag == arabicTag {
				change = arabic
			}
			made := make([]*i18n.Message, 0, len(messages[language.English]))
			for _, m := range messages[language.English] {
				made = append(made, disguise(m, change))
			}
			if err := bundle.AddMessages(tag, made...); err != nil {
				return nil, err
			}
			messages[tag] = made
			tags = append(tags, tag)
		}
	}
	c := &catalogue{matcher: matcher, exact: map[language.Tag]*Localizer{}}
	for _, tag := range tags {
		l := &Localizer{lang: tag.String(), dir: direction(tag), plain: map[string]string{}, full: i18n.NewLocalizer(bundle, tag.String())}
		for _, m := range messages[tag] {
			if plural := m.Zero + m.One + m.Two + m.Few + m.Many; plural == "" && !strings.Contains(m.Other, "{{") {
				l.plain[m.ID] = m.Other
			}
		}
		l.name = l.text("language.name", nil)
		c.all, c.exact[tag] = append(c.all, l), l
	}
	c.fallback = c.all[0]
	return c, nil
}

// direction of the script the language is usually written in.
func direction(tag language.Tag) string {
	script, _ := tag.Script()
	if slices.Contains([]string{"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}, script.String()) {
		return "rtl"
	}
	return "ltr"
}

// choose finds the language of a request. fixed says that a switch on the page would change nothing: the person's own setting
// has decided, or what an application asked for earlier in the flow.
func (c *catalogue) choose(r *http.Request, uiLocales, userLocale string) (loc *Localizer, fixed bool) {
	if l, ok := c.match(strings.Fields(limit(uiLocales))...); ok {
		return l, uiLocales != r.URL.Query().Get("ui_locales")
	}
	if l, ok := c.match(userLocale); ok {
		return l, true
	}
	if cookie, err := r.Cookie(langCookie); err == nil {
		if l, ok := c.match(cookie.Value); ok {
			return l, false
		}
	}
	if wanted, _, err := language.ParseAcceptLanguage(limit(r.Header.Get("Accept-Language"))); err == nil {
		if l, ok := c.matchTags(wanted...); ok {
			return l, false
		}
	}
	return c.fallback, false
}

// match finds the first language of tags we have. Tags that are none are passed over: OpenID Connect Core §3.1.2.1 has
// ui_locales fail nobody.
func (c *catalogue) match(tags ...string) (*Localizer, bool) {
	parsed := make([]language.Tag, 0, len(tags))
	for _, t := range tags {
		if tag, err := language.Parse(limit(t)); err == nil {
			parsed = append(parsed, tag)
		}
	}
	return c.matchTags(parsed...)
}

func (c *catalogue) matchTags(tags ...language.Tag) (*Localizer, bool) {
	for _, tag := range tags {
		if l, ok := c.exact[tag]; ok {
			return l, true
		}
		// The matcher knows which variant is nearest. It also offers other languages (English for Icelandic), and would so hide
		// one that comes later in the list.
		nearest, i, _ := c.matcher.Match(tag)
		wanted, _ := tag.Base()
		if got, _ := nearest.Base(); got == wanted {
			return c.all[i], true
		}
	}
	return nil, false
}

// limit cuts what a browser or client says about languages: nobody reads more than a few, and parsing is not free.
func limit(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	s = s[:most]
	if i := strings.LastIndexAny(s, ", "); i > 0 { // no half tag
		return s[:i]
	}
	return ""
}

// text never fails: a text missing in this language comes in English, one missing everywhere is its key. A test keeps
// both from happening.
func (l *Localizer) text(key string, args map[string]any) string {
	if s, ok := l.plain[key]; ok {
		return s
	}
	config := &i18n.LocalizeConfig{MessageID: key, TemplateData: args}
	if n, ok := counted(args); ok {
		config.PluralCount = n
	}
	s, _ := l.full.Localize(config) // an error comes with the English text, if there is one
	if s == "" {
		return key
	}
	return s
}

// counted is the number that chooses the plural: what is under Count, else the only int there is.
func counted(args map[string]any) (n int, ok bool) {
	switch n := args["Count"].(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	}
	for _, v := range args {
		if i, isInt := v.(int); isInt {
			if ok {
				return 0, false
			}
			n, ok = i, true
		}
	}
	return n, ok
}

// has says whether the language itself, or English for it, knows key.
func (l *Localizer) has(key string) bool { return l.text(key, nil) != key }

// pairs makes arguments of "Name", value, "Name", value.
func pairs(args []any) map[string]any {
	if len(args) == 0 {
		return nil
	}
	m := make(map[string]any, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		m[fmt.Sprint(args[i])] = args[i+1]
	}
	return m
}

// Run is a piece of a text: the catalogue's words, or a value put among them.
type Run struct {
	Text  string
	Value bool
}

// Marks that stand for value i while the catalogue's text is made: private-use characters, so no text and no language has them.
const firstMark, lastMark = '\uE000', '\uE0FF'

// runs is text, with its string arguments kept apart, so that a page can wrap them: <bdi> for what a person typed, a
// class for the client's name. The sentence stays one message for translators.
func (l *Localizer) runs(key string, args map[string]any) []Run {
	marked := make(map[string]any, len(args))
	var values []string
	for name, v := range args {
		if s, ok := v.(string); ok && len(values) < int(lastMark-firstMark) {
			marked[name] = string(firstMark + rune(len(values)))
			values = append(values, s)
			continue
		}
		marked[name] = v
	}
	var out []Run
	var words strings.Builder
	flush := func() {
		if words.Len() > 0 {
			out = append(out, Run{Text: words.String()})
			words.Reset()
		}
	}
	for _, c := range l.text(key, marked) {
		if c < firstMark || int(c-firstMark) >= len(values) {
			words.WriteRune(c)
			continue
		}
		flush()
		out = append(out, Run{Text: values[c-firstMark], Value: true})
	}
	flush()
	return out
}

// when prints an instant in t's own time zone, to the minute.
func (l *Localizer) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return l.text("date.minute", map[string]any{
		"Day": strconv.Itoa(t.Day()), "Month": l.text("month."+strconv.Itoa(int(t.Month())), nil), "Year": strconv.Itoa(t.Year()),
		"Time": t.Format("15:04"), "Zone": t.Format("MST"),
	})
}

// cookieOf is a cookie's value if it is one of the allowed, else "".
func cookieOf(r *http.Request, name string, allowed []string) string {
	if c, err := r.Cookie(name); err == nil && slices.Contains(allowed, c.Value) {
		return c.Value
	}
	return ""
}
