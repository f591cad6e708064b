package connectors_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

func encoded(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// TestSec_E7_FacebookSignedRequest: a notice counts when Facebook signed it for this app, lately, and for nothing else.
func TestSec_E7_FacebookSignedRequest(t *testing.T) {
	t.Parallel()
	c := newFacebook(t, connectors.FacebookConfig{ClientID: metaApp.ID, ClientSecret: metaApp.Secret})
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	payload := func(algorithm string, at time.Time, user string) string {
		return encoded(fmt.Sprintf(`{"algorithm":%q,"issued_at":%d,"user_id":%s}`, algorithm, at.Unix(), user))
	}
	sign := func(p string) string { return connectortest.SignRequest(metaApp.Secret, p) }
	good := payload("HMAC-SHA256", now, `"90210000000000007"`)
	goodSignature, _, _ := strings.Cut(sign(good), ".")
	victim := payload("HMAC-SHA256", now, `"1"`)

	for what, notice := range map[string]string{
		"now":                sign(good),
		"an hour ago":        sign(payload("HMAC-SHA256", now.Add(-time.Hour), `"90210000000000007"`)),
		"their clock is off": sign(payload("HMAC-SHA256", now.Add(time.Minute), `"90210000000000007"`)),
		"further members":    sign(encoded(fmt.Sprintf(`{"user_id":"90210000000000007","user":{"country":"us"},"expires":0,"algorithm":"HMAC-SHA256","issued_at":%d}`, now.Unix()))),
		"a number":           sign(payload("HMAC-SHA256", now, `90210000000000007`)),
	} {
		if got, err := c.Deauthorized(notice, now); err != nil || got != "90210000000000007" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for what, notice := range map[string]string{
		"nothing":                          "",
		"a dot":                            ".",
		"no payload":                       goodSignature + ".",
		"no signature":                     "." + good,
		"no dot":                           goodSignature + good,
		"three parts":                      sign(good) + ".x",
		"another secret":                   connectortest.SignRequest("another secret", good),
		"no secret":                        connectortest.SignRequest("", good),
		"the app's id as secret":           connectortest.SignRequest(metaApp.ID, good),
		"the payload was changed":          goodSignature + "." + victim,
		"the signature was cut":            goodSignature[:len(goodSignature)-2] + "." + good,
		"the signature was lengthened":     goodSignature + "AA." + good,
		"a signature with padding":         goodSignature + "=." + good,
		"a signature with a line break":    goodSignature[:20] + "\n" + goodSignature[20:] + "." + good,
		"over the decoded payload":         overDecoded(metaApp.Secret, good) + "." + good,
		"hexadecimal":                      strings.Repeat("ab", 32) + "." + good,
		"standard base64":                  "++//" + goodSignature[4:] + "." + good,
		"a payload with padding, unsigned": goodSignature + "." + good + "=",
		"algorithm none":                   sign(payload("none", now, `"1"`)),
		"algorithm HMAC-SHA1":              sign(payload("HMAC-SHA1", now, `"1"`)),
		"algorithm in small letters":       sign(payload("hmac-sha256", now, `"1"`)),
		"no algorithm":                     sign(encoded(fmt.Sprintf(`{"issued_at":%d,"user_id":"1"}`, now.Unix()))),
		"ALGORITHM":                        sign(encoded(fmt.Sprintf(`{"ALGORITHM":"HMAC-SHA256","issued_at":%d,"user_id":"1"}`, now.Unix()))),
		"too old":                          sign(payload("HMAC-SHA256", now.Add(-time.Hour-time.Second), `"1"`)),
		"of 1970":                          sign(payload("HMAC-SHA256", time.Unix(0, 0), `"1"`)),
		"from the future":                  sign(payload("HMAC-SHA256", now.Add(2*time.Minute), `"1"`)),
		"no time":                          sign(encoded(`{"algorithm":"HMAC-SHA256","user_id":"1"}`)),
		"a time in words":                  sign(encoded(fmt.Sprintf(`{"algorithm":"HMAC-SHA256","issued_at":"%d","user_id":"1"}`, now.Unix()))),
		"a time beyond reason":             sign(encoded(`{"algorithm":"HMAC-SHA256","issued_at":1e300,"user_id":"1"}`)),
		"nobody":                           sign(encoded(fmt.Sprintf(`{"algorithm":"HMAC-SHA256","issued_at":%d}`, now.Unix()))),
		"an empty person":                  sign(payload("HMAC-SHA256", now, `""`)),
		"a person of letters":              sign(payload("HMAC-SHA256", now, `"ada"`)),
		"a list of people":                 sign(payload("HMAC-SHA256", now, `["1"]`)),
		"a fraction of a person":           sign(payload("HMAC-SHA256", now, `1.5`)),
		"not JSON":                         sign(encoded("x")),
		"a list":                           sign(encoded("[]")),
		"null":                             sign(encoded("null")),
		"two objects":                      sign(encoded(fmt.Sprintf(`{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":"1"}{}`, now.Unix()))),
		"not base64":                       sign("{}"),
		"too long":                         sign(encoded(fmt.Sprintf(`{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":"1","x":%q}`, now.Unix(), strings.Repeat("x", 8<<10)))),
		"huge":                             strings.Repeat(".", 10<<20),
	} {
		got, err := c.Deauthorized(notice, now)
		if got != "" {
			t.Errorf("%s: names %q", what, got)
		}
		if err == nil || connectors.KindOf(err) != connectors.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}

	t.Log("an age of one's own")
	short := newFacebook(t, connectors.FacebookConfig{ClientID: metaApp.ID, ClientSecret: metaApp.Secret, NoticeMaxAge: time.Minute})
	if _, err := short.Deauthorized(sign(good), now.Add(2*time.Minute)); err == nil {
		t.Error("two minutes old")
	}
}

// overDecoded signs what the payload says instead of the payload.
func overDecoded(secret, payload string) string {
	plain, _ := base64.RawURLEncoding.DecodeString(payload)
	signature, _, _ := strings.Cut(connectortest.SignRequest(secret, string(plain)), ".")
	return signature
}

// TestFacebookNotices: the fake's page of connected apps tells an application what a person did there, and ends what they gave.
func TestFacebookNotices(t *testing.T) {
	t.Parallel()
	f := startFacebook(t)
	cfg := facebookConfig(f)
	cfg.KeepAccessToken = true
	c := newFacebook(t, cfg)
	got := map[string]string{}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject, err := c.Deauthorized(r.PostFormValue("signed_request"), time.Now())
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		got[r.URL.Path] = subject
		json.NewEncoder(w).Encode(map[string]string{"url": "https://login.example/privacy/deletion/abc", "confirmation_code": "abc"}) //nolint:errcheck // a test
	}))
	defer app.Close()
	f.Notices(metaApp.ID, app.URL+"/deauthorize", app.URL+"/deletion")
	ada := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("ada")))
	grace := must[connectors.Identity](t)(enter(t.Context(), c, f, connectortest.As("grace")))

	press := func(button string) string {
		t.Helper()
		page := body(t, must[*http.Response](t)(http.Get(f.WebURL+"/settings")))
		_, after, ok := strings.Cut(page, `name="visit" value="`)
		visit, _, _ := strings.Cut(after, `"`)
		if !ok || !strings.Contains(page, `value="`+button+`"`) {
			t.Fatalf("no button %s in %s", button, page)
		}
		return body(t, must[*http.Response](t)(http.PostForm(f.WebURL+"/pressed", url.Values{"visit": {visit}, "press": {button}})))
	}
	if page := press("remove:" + metaApp.ID + ":ada"); got["/deauthorize"] != ada.Subject || !strings.Contains(page, `id="done"`) {
		t.Errorf("%v; %s", got, page)
	}
	if page := press("delete:" + metaApp.ID + ":grace"); got["/deletion"] != grace.Subject || !strings.Contains(page, `href="https://login.example/privacy/deletion/abc"`) {
		t.Errorf("%v; %s", got, page)
	}
	if err := c.Revoke(t.Context(), ada.AccessToken); err != nil {
		t.Errorf("nothing is left to take back: %v", err)
	}
	if page := body(t, must[*http.Response](t)(http.Get(f.WebURL+"/settings"))); strings.Contains(page, "remove:") {
		t.Errorf("still connected: %s", page)
	}
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	return string(must[[]byte](t)(io.ReadAll(res.Body)))
}

// FuzzSignedRequest: only what the secret signed names anybody, however it is bent.
func FuzzSignedRequest(f *testing.F) {
	c := newFacebook(f, connectors.FacebookConfig{ClientID: metaApp.ID, ClientSecret: metaApp.Secret})
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Add(connectortest.SignRequest(metaApp.Secret, encoded(`{"algorithm":"HMAC-SHA256","issued_at":1795608000,"user_id":"1"}`)), `{"algorithm":"HMAC-SHA256","issued_at":1795608000,"user_id":"1"}`)
	f.Add("a.b", `{"algorithm":"HMAC-SHA256","issued_at":1e999,"user_id":-1}`)
	f.Add(".", `{"user_id":{"user_id":"1"}}`)
	f.Add("....", "\x00")
	f.Fuzz(func(t *testing.T, forged, payload string) {
		signed := connectortest.SignRequest(metaApp.Secret, encoded(payload))
		if _, p, ok := strings.Cut(forged, "."); !ok || connectortest.SignRequest(metaApp.Secret, p) != forged {
			if who, err := c.Deauthorized(forged, now); who != "" || err == nil {
				t.Fatalf("%q names %q", forged, who)
			}
		}
		who, err := c.Deauthorized(signed, now)
		if (who == "") != (err != nil) || err != nil && connectors.KindOf(err) != connectors.Invalid {
			t.Fatalf("%q: %q, %v", payload, who, err)
		}
		if strings.Trim(who, "0123456789") != "" || len(who) > 32 {
			t.Fatalf("%q is no id", who)
		}
	})
}
