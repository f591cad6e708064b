package provider

import (
	"encoding/base64"
	"maps"
	"net/http/httptest"
	"net/url"
	"testing"
)

// asserted is a form with an assertion of the client app; more replaces.
func asserted(more url.Values) url.Values {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	form := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {part(`{"alg":"RS256"}`) + "." + part(`{"sub":"app"}`) + ".AAAA"}}
	maps.Copy(form, more)
	return form
}

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
		"assertion":              {nil, asserted(nil), "app", "", anAssertion, false},
		"assertion with its id":  {nil, asserted(url.Values{"client_id": {"app"}}), "app", "", anAssertion, false},
		"assertion, another id":  {nil, asserted(url.Values{"client_id": {"b"}}), "", "", "", true},
		"assertion and secret":   {nil, asserted(url.Values{"client_secret": {"s"}}), "", "", "", true},
		"assertion and basic":    {[]string{enc("app:s")}, asserted(nil), "", "", "", true},
		"assertion, no type":     {nil, asserted(url.Values{"client_assertion_type": {}}), "", "", "", true},
		"assertion, SAML":        {nil, asserted(url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}}), "", "", "", true},
		"assertion, rubbish":     {nil, asserted(url.Values{"client_id": {"app"}, "client_assertion": {"x"}}), "", "", "", true},
		"type alone":             {nil, url.Values{"client_id": {"app"}, "client_assertion_type": {assertionType}}, "", "", "", true},
	} {
		r := httptest.NewRequest("POST", "/oauth2/token", nil)
		r.Header["Authorization"] = c.auth
		if c.form == nil {
			c.form = url.Values{}
		}
		got, err := readCredentials(r, c.form)
		if (err != nil) != c.bad || got.id != c.id || got.secret != c.secret || got.method != c.meth {
			t.Errorf("%s: %+v %v", name, got, err)
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
		c, err := readCredentials(r, url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		if got := secretMatches(hash, c.secret, c.raw); got != ok {
			t.Errorf("%q: %v", sent, got)
		}
	}
	if secretMatches("", "", "") {
		t.Error("no secret matched no secret")
	}
}
