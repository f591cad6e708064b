package connectortest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Notices says where an app wants to hear that somebody removed it, and that somebody wants their data deleted.
func (f *Facebook) Notices(app, deauthorizeURL, deletionURL string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notices[app] = facebookNotices{deauthorizeURL, deletionURL}
}

// SignedRequest is a notice about a person as Facebook signs it for an app. change, unless nil, may bend what it says first.
func (f *Facebook) SignedRequest(app, person string, change func(payload map[string]any)) (string, error) {
	c, ok := f.app(app)
	if !ok {
		return "", fmt.Errorf("connectortest: no app %s", app)
	}
	p := map[string]any{"algorithm": "HMAC-SHA256", "issued_at": f.time().Unix(), "user_id": f.IDOf(app, person)}
	if change != nil {
		change(p)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return SignRequest(c.Secret, encode64(b)), nil
}

// SignRequest signs a payload, which is base64url already, with an app's secret.
func SignRequest(secret, payload string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(payload))
	return encode64(m.Sum(nil)) + "." + payload
}

// Deauthorize removes an app as a person does it in their settings: what they gave ends, and the app is told.
func (f *Facebook) Deauthorize(app, person string) error {
	f.mu.Lock()
	f.remove(app, person)
	to := f.notices[app].deauthorize
	f.mu.Unlock()
	_, err := f.notify(app, person, to)
	return err
}

// RequestDeletion tells an app that a person wants their data deleted. The app answers where they can read how that goes, and a code.
func (f *Facebook) RequestDeletion(app, person string) (statusURL, code string, err error) {
	f.mu.Lock()
	f.remove(app, person)
	to := f.notices[app].deletion
	f.mu.Unlock()
	body, err := f.notify(app, person, to)
	if err != nil {
		return "", "", err
	}
	var answer struct {
		URL  string `json:"url"`
		Code string `json:"confirmation_code"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", "", fmt.Errorf("connectortest: the app's answer is no JSON: %w", err)
	}
	if u, err := url.Parse(answer.URL); err != nil || u.Host == "" || answer.Code == "" {
		return "", "", fmt.Errorf("connectortest: the app answers without url or confirmation_code: %.200s", body)
	}
	return answer.URL, answer.Code, nil
}

func (f *Facebook) notify(app, person, to string) ([]byte, error) {
	if to == "" {
		return nil, errors.New("connectortest: the app has no such address")
	}
	signed, err := f.SignedRequest(app, person, nil)
	if err != nil {
		return nil, err
	}
	c := f.Notifier
	if c == nil {
		c = &http.Client{Timeout: 20 * time.Second}
	}
	res, err := c.PostForm(to, url.Values{"signed_request": {signed}})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("connectortest: the app answers %d: %.200s", res.StatusCode, body)
	}
	return body, err
}

var settingsPage = template.Must(template.New("settings").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Apps and websites (a fake of Facebook)</title></head><body><main><h1>Apps and websites</h1>
{{with .Done}}<p id="done">{{.}}</p>{{end}}{{with .StatusURL}}<p><a id="status" href="{{.}}">What became of it</a></p>{{end}}
{{if .Visit}}<form method="post" action="/pressed"><input type="hidden" name="visit" value="{{.Visit}}">
{{range .Rows}}<p>{{.Person}} uses {{.App}} <button name="press" value="remove:{{.Key}}">Remove</button>
<button name="press" value="delete:{{.Key}}">Remove, and ask for my data to be deleted</button></p>{{else}}<p>Nobody uses an app.</p>{{end}}</form>
{{else}}<p><a href="/settings">Back</a></p>{{end}}</main></body></html>
`))

type settingsRow struct{ App, Person, Key string }

// settings is the page of the apps that people use. Its buttons send the signed notices.
func (f *Facebook) settings(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	var rows []settingsRow
	for _, app := range f.apps {
		for _, p := range f.people {
			if f.given[[2]string{app.ID, p.ID}] != nil {
				rows = append(rows, settingsRow{app.ID, p.Name, app.ID + ":" + p.ID})
			}
		}
	}
	f.mu.Unlock()
	id := f.open(&visit{press: func(w http.ResponseWriter, _ *http.Request, button Button) {
		what, key, _ := strings.Cut(string(button), ":")
		app, person, _ := strings.Cut(key, ":")
		data := map[string]any{}
		var err error
		switch what {
		case "remove":
			err = f.Deauthorize(app, person)
			data["Done"] = "The app is removed and has been told."
		case "delete":
			var code string
			data["StatusURL"], code, err = f.RequestDeletion(app, person)
			data["Done"] = "The app has been asked to delete the data. Confirmation code: " + code
		default:
			err = errors.New("no such button")
		}
		if err != nil {
			stop(w, http.StatusBadGateway, "Facebook", "The app could not be told: "+err.Error())
			return
		}
		showSettings(w, data)
	}})
	showSettings(w, map[string]any{"Visit": id, "Rows": rows})
}

func showSettings(w http.ResponseWriter, data map[string]any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	settingsPage.Execute(w, data) //nolint:errcheck // the browser went away
}
