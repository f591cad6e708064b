package connectortest

import (
	"html"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// choice is a person on a page.
type choice struct {
	ID, Label string
}

// The page of a fake: people to continue as, and the ways in which a sign-in ends otherwise. The ids are for browser tests.
var signInPage = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}} (a fake)</title>
<style>body{font:1rem/1.5 sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;background:{{.Colour}}}main{background:#fff;padding:1.5rem;border-radius:.5rem}
button{display:block;width:100%;margin:.5rem 0;padding:.75rem;font:inherit;text-align:left}small{color:#555}</style></head>
<body><main><h1>{{.Title}}</h1><p><small>This is a fake for trying things out. It asks for no password.</small></p>
<p>Sign in to continue to <b id="client">{{.Client}}</b>{{with .Scope}}, which asks for {{.}}{{end}}.</p>
<form method="post" action="/pressed"><input type="hidden" name="visit" value="{{.Visit}}">
{{range $i, $p := .People}}<button name="press" value="continue:{{.ID}}"{{if eq $i 0}} id="continue"{{end}}>Continue as {{.Label}}</button>
{{end}}<button name="press" value="cancel" id="cancel">Cancel</button><button name="press" value="fail" id="fail">Something goes wrong</button></form>
</main></body></html>
`))

type pageData struct {
	Title, Client, Scope, Visit string
	Colour                      template.CSS
	People                      []choice
}

func showPage(w http.ResponseWriter, p pageData) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// As the real ones, it is in no frame, and its forms end where the application is.
	w.Header().Set("X-Frame-Options", "DENY")
	signInPage.Execute(w, p) //nolint:errcheck // the browser went away
}

var stopPage = template.Must(template.New("stop").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}} (a fake)</title></head><body><main><h1>{{.Title}}</h1><p id="error">{{.Text}}</p></main></body></html>
`))

// stop shows an error to a person, who goes no further: nobody comes back to the application.
func stop(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	stopPage.Execute(w, map[string]string{"Title": title, "Text": text}) //nolint:errcheck // the browser went away
}

var postPage = template.Must(template.New("post").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>One moment</title></head><body>
<form method="post" action="{{.To}}">{{range .Fields}}<input type="hidden" name="{{index . 0}}" value="{{index . 1}}">{{end}}<noscript><button>Continue</button></noscript></form>
<script>document.forms[0].submit()</script></body></html>
`))

// sendPost is response_mode=form_post: a form that submits itself, across sites.
func sendPost(w http.ResponseWriter, to string, p url.Values) {
	var fields [][2]string
	for k, v := range p {
		if len(v) > 0 && v[0] != "" {
			fields = append(fields, [2]string{k, v[0]})
		}
	}
	slices.SortFunc(fields, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	postPage.Execute(w, map[string]any{"To": to, "Fields": fields}) //nolint:errcheck // the browser went away
}

// formPost reads such a form: what it posts, as the query of where it posts to.
func formPost(body string) (*url.URL, bool) {
	_, rest, ok := strings.Cut(body, `<form method="post" action="`)
	if !ok {
		return nil, false
	}
	action, rest, _ := strings.Cut(rest, `"`)
	u, err := url.Parse(html.UnescapeString(action))
	if err != nil {
		return nil, false
	}
	q := u.Query()
	for {
		_, after, more := strings.Cut(rest, `<input type="hidden" name="`)
		if !more {
			break
		}
		name, after, _ := strings.Cut(after, `" value="`)
		value, after, _ := strings.Cut(after, `"`)
		q.Set(html.UnescapeString(name), html.UnescapeString(value))
		rest = after
	}
	u.RawQuery = q.Encode()
	return u, true
}
