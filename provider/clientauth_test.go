package provider

import (
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestClientCredentialsAreReadOneWay(t *testing.T) {
	t.Parallel()
	enc := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		auth             []string
		form             url.Values
		id, secret, meth string
		bad              bool
	}{
		"basic":                  {[]string{enc("app:s3cret")}, nil, "app", "s3cret", authBasic, false},
		"basic, lower case":      {[]string{"basic " + enc("app:s3cret")[6:]}, nil, "app", "s3cret", authBasic, false},
		"basic, form-encoded":    {[]string{enc("a%3Ab:s%2B%25")}, nil, "a:b", "s+%", authBasic, false},
		"basic, raw percent":     {[]string{enc("app:100%")}, nil, "app", "100%", authBasic, false},
		"basic, colon in secret": {[]string{enc("app:a:b")}, nil, "app", "a:b", authBasic, false},
		"post":                   {nil, url.Values{"client_id": {"app"}, "client_secret": {"s"}}, "app", "s", authPost, false},
		"post, empty secret":     {nil, url.Values{"client_id": {"app"}, "client_secret": {""}}, "app", "", authPost, false},
		"none":                   {nil, url.Values{"client_id": {"app"}}, "app", "", authNone, false},
		"basic with its own id":  {[]string{enc("app:s")}, url.Values{"client_id": {"app"}}, "app", "s", authBasic, false},
		"basic with another id":  {[]string{enc("app:s")}, url.Values{"client_id": {"b"}}, "", "", "", true},
		"both":                   {[]string{enc("app:s")}, url.Values{"client_secret": {"s"}}, "", "", "", true},
		"two headers":            {[]string{enc("app:s"), enc("app:s")}, nil, "", "", "", true},
		"nothing":                {nil, nil, "", "", "", true},
		"bearer":                 {[]string{"Bearer x"}, url.Values{"client_id": {"app"}}, "", "", "", true},
		"not base64":             {[]string{"Basic ???"}, nil, "", "", "", true},
		"no colon":               {[]string{enc("app")}, nil, "", "", "", true},
		"no id":                  {[]string{enc(":s")}, nil, "", "", "", true},
		"assertion":              {nil, url.Values{"client_id": {"app"}, "client_assertion": {"x"}}, "", "", "", true},
	} {
		r := httptest.NewRequest("POST", "/oauth2/token", nil)
		r.Header["Authorization"] = c.auth
		if c.form == nil {
			c.form = url.Values{}
		}
		id, secret, _, meth, err := credentials(r, c.form)
		if (err != nil) != c.bad || id != c.id || secret != c.secret || meth != c.meth {
			t.Errorf("%s: %q %q %q %v", name, id, secret, meth, err)
		}
	}
}

// Half of all base64 secrets hold a "+", and curl and many libraries do not form-encode inside Basic: both spellings are met.
func TestSecretsAreTakenInEitherSpelling(t *testing.T) {
	t.Parallel()
	hash := HashSecret("a+b/c=")
	for sent, ok := range map[string]bool{"a+b/c=": true, "a%2Bb%2Fc%3D": true, "a b/c=": false, "a+b/c": false, "": false} {
		r := httptest.NewRequest("POST", "/oauth2/token", nil)
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("app:"+sent)))
		_, secret, raw, _, err := credentials(r, url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		if got := secretMatches(hash, secret, raw); got != ok {
			t.Errorf("%q: %v", sent, got)
		}
	}
	if secretMatches("", "", "") {
		t.Error("no secret matched no secret")
	}
}
