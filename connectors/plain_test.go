package connectors_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

var (
	_ connectors.Connector    = (*connectors.Facebook)(nil)
	_ connectors.Tester       = (*connectors.Facebook)(nil)
	_ connectors.Revoker      = (*connectors.Facebook)(nil)
	_ connectors.Deauthorizer = (*connectors.Facebook)(nil)
	_ connectors.Connector    = (*connectors.Twitter)(nil)
	_ connectors.Tester       = (*connectors.Twitter)(nil)
	_ connectors.Revoker      = (*connectors.Twitter)(nil)
	_ connectors.Connector    = (*connectors.OAuth2)(nil)
	_ connectors.Tester       = (*connectors.OAuth2)(nil)
	_ connectors.Revoker      = (*connectors.OAuth2)(nil)
)

// plainFake is what the fakes of plain OAuth 2.0 can do.
type plainFake interface {
	Visit(address string, press connectortest.Button) (*url.URL, error)
	Fail(f connectortest.Fault, endpoints ...string)
	Answer(endpoint string, status int, body string)
	SetPeople(people ...connectortest.Person)
	Requests(endpoints ...string) []connectortest.Request
	Forget()
	Clock(now func() time.Time)
	Close()
}

type plainUpstream struct {
	plainFake
	make func(http *http.Client) connectors.Connector
	// endpoints are those that a sign-in calls, in order.
	endpoints []string
	person    connectortest.Person
	// fields are what the profile tells beside the key, by what the fake calls them.
	fields []string
}

var metaApp = connectortest.Client{ID: "112233445566778", Secret: "0123456789abcdef0123456789abcdef", RedirectURIs: []string{redirectURI}}

func startFacebook(t testing.TB) *connectortest.Facebook {
	f := must[*connectortest.Facebook](t)(connectortest.NewFacebook(metaApp))
	t.Cleanup(f.Close)
	return f
}

func facebookConfig(f *connectortest.Facebook) connectors.FacebookConfig {
	return connectors.FacebookConfig{Name: "it", ClientID: metaApp.ID, ClientSecret: metaApp.Secret, WebURL: f.WebURL, GraphURL: f.GraphURL}
}

func newFacebook(t testing.TB, cfg connectors.FacebookConfig) *connectors.Facebook {
	return must[*connectors.Facebook](t)(connectors.NewFacebook(cfg))
}

func startTwitter(t testing.TB) *connectortest.Twitter {
	f := must[*connectortest.Twitter](t)(connectortest.NewTwitter(application))
	t.Cleanup(f.Close)
	return f
}

func twitterConfig(f *connectortest.Twitter) connectors.TwitterConfig {
	return connectors.TwitterConfig{ClientID: application.ID, ClientSecret: application.Secret, AuthorizeURL: f.AuthorizeURL, APIURL: f.APIURL}
}

func newTwitter(t testing.TB, cfg connectors.TwitterConfig) *connectors.Twitter {
	return must[*connectors.Twitter](t)(connectors.NewTwitter(cfg))
}

func startOAuth2(t testing.TB, opt connectortest.OAuth2Options) *connectortest.OAuth2 {
	f := must[*connectortest.OAuth2](t)(connectortest.NewOAuth2(application, opt))
	t.Cleanup(f.Close)
	return f
}

// likeGitHub is the configuration for the fake as it is by default.
func likeGitHub(f *connectortest.OAuth2) connectors.OAuth2Config {
	return connectors.OAuth2Config{
		Name: "github", AuthorizeURL: f.AuthorizeURL, TokenURL: f.TokenURL, UserInfoURL: f.UserInfoURL, RevokeURL: f.RevokeURL,
		ClientID: application.ID, ClientSecret: application.Secret, ClientAuth: connectors.AuthPost, Scopes: []string{"read:user", "user:email"},
		SubjectField: "id", Fields: connectors.ClaimNames{Username: "login", Picture: "avatar_url"}, Emails: connectors.EmailList{URL: f.EmailsURL},
	}
}

func newOAuth2(t testing.TB, cfg connectors.OAuth2Config) *connectors.OAuth2 {
	return must[*connectors.OAuth2](t)(connectors.NewOAuth2(cfg))
}

func plainUpstreams(t testing.TB) map[string]plainUpstream {
	fb, x, o := startFacebook(t), startTwitter(t), startOAuth2(t, connectortest.OAuth2Options{PKCE: true})
	return map[string]plainUpstream{
		"facebook": {fb, func(h *http.Client) connectors.Connector {
			cfg := facebookConfig(fb)
			cfg.HTTP, cfg.KeepAccessToken = h, true
			return newFacebook(t, cfg)
		}, []string{"token", "debug", "userinfo"},
			connectortest.Person{ID: "ada", Name: "Ada L", GivenName: "Ada", FamilyName: "L", Email: "ada@example.com", Picture: "https://scontent.example/ada.jpg"},
			[]string{"name", "first_name", "last_name", "email", "picture"}},
		"twitter": {x, func(h *http.Client) connectors.Connector {
			cfg := twitterConfig(x)
			cfg.HTTP, cfg.KeepAccessToken = h, true
			return newTwitter(t, cfg)
		}, []string{"token", "userinfo"},
			connectortest.Person{ID: "7700000000000000021", Name: "Ada L", Username: "ada_l", Email: "ada@example.com", Picture: "https://pbs.twimg.example/ada.jpg"},
			[]string{"name", "username", "confirmed_email", "profile_image_url", "verified"}},
		"oauth2": {o, func(h *http.Client) connectors.Connector {
			cfg := likeGitHub(o)
			cfg.HTTP, cfg.KeepAccessToken = h, true
			return newOAuth2(t, cfg)
		}, []string{"token", "userinfo", "emails"},
			connectortest.Person{ID: "583231", Name: "Ada L", Username: "ada", Email: "ada@example.com", Picture: "https://avatars.example/u/583231"},
			[]string{"name", "login", "avatar_url", "email"}},
	}
}

// enter goes the whole way: to the fake, a button there, and back.
func enter(ctx context.Context, c connectors.Connector, f plainFake, press connectortest.Button) (connectors.Identity, error) {
	a := attempt()
	callback, err := leave(ctx, c, f, a, press)
	if err != nil {
		return connectors.Identity{}, err
	}
	return c.Identify(ctx, a, callback)
}

// leave goes as far as the callback.
func leave(ctx context.Context, c connectors.Connector, f plainFake, a connectors.Attempt, press connectortest.Button) (url.Values, error) {
	to, err := c.AuthURL(ctx, a)
	if err != nil {
		return nil, err
	}
	back, err := f.Visit(to, press)
	if err != nil {
		return nil, err
	}
	if q := back.Query(); q.Get("state") == a.State {
		return q, nil
	}
	return nil, fmt.Errorf("the state is another in %s", back)
}

// TestPlainSignIn: the good path of each connector, and what is known afterwards.
func TestPlainSignIn(t *testing.T) {
	t.Parallel()
	want := map[string]connectors.Identity{
		"facebook": {Connector: "it", Issuer: "https://www.facebook.com", Email: "ada@example.com", EmailTrust: connectors.TrustReported, Name: "Ada L",
			GivenName: "Ada", FamilyName: "L", PictureURL: "https://scontent.example/ada.jpg"},
		"twitter": {Connector: "twitter", Issuer: "https://x.com", Subject: "7700000000000000021", Email: "ada@example.com", EmailTrust: connectors.TrustVerified,
			Name: "Ada L", Username: "ada_l", PictureURL: "https://pbs.twimg.example/ada_normal.jpg"},
		"oauth2": {Connector: "github", Subject: "583231", Email: "ada@example.com", EmailTrust: connectors.TrustVerified, Name: "Ada L", Username: "ada",
			PictureURL: "https://avatars.example/u/583231"},
	}
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := enter(t.Context(), up.make(nil), up, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			w := want[name]
			switch f := up.plainFake.(type) {
			case *connectortest.Facebook:
				w.Subject = f.IDOf(metaApp.ID, "ada")
			case *connectortest.OAuth2:
				w.Issuer = strings.TrimSuffix(f.AuthorizeURL, "/login/oauth/authorize")
			}
			if got.AccessToken == "" {
				t.Error("KeepAccessToken keeps none")
			}
			got.AccessToken, got.Claims = "", nil
			if fmt.Sprint(got) != fmt.Sprint(w) {
				t.Errorf("got  %+v\nwant %+v", got, w)
			}
			for _, endpoint := range up.endpoints {
				if n := len(up.Requests(endpoint)); n != 1 {
					t.Errorf("%d requests to %s", n, endpoint)
				}
			}
			_, err = enter(t.Context(), up.make(nil), up, connectortest.Cancel)
			wantKind(t, err, connectors.Denied)
			_, err = enter(t.Context(), up.make(nil), up, connectortest.Failure)
			wantKind(t, err, connectors.Upstream)
		})
	}
}

// TestSec_J8_PlainUpstreamFaults: whatever an upstream does instead of answering is its trouble, told as such and in time; mended, it serves
// the same connector again.
func TestSec_J8_PlainUpstreamFaults(t *testing.T) {
	t.Parallel()
	faults := []connectortest.Fault{
		connectortest.Refuse, connectortest.Stall, connectortest.Error500, connectortest.HTML, connectortest.Truncated, connectortest.Endless,
		connectortest.Drip, connectortest.Bomb, connectortest.RedirectLoop, connectortest.WrongType, connectortest.Empty,
	}
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(quick())
			for _, endpoint := range up.endpoints {
				for _, fault := range faults {
					up.Fail("")
					up.Fail(fault, endpoint)
					up.Forget()
					began := time.Now()
					id, err := enter(t.Context(), c, up, connectortest.Continue)
					if fault == connectortest.WrongType && endpoint == "emails" { // a list, if an odd one: nobody's address is in it
						if err != nil || id.Email != "" {
							t.Errorf("%s at %s: %q, %v", fault, endpoint, id.Email, err)
						}
					} else if err == nil || connectors.KindOf(err) != connectors.Upstream {
						t.Errorf("%s at %s: %v", fault, endpoint, err)
					}
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("%s at %s took %v", fault, endpoint, took)
					}
					// Trap 2: whatever happened, a code goes out once.
					if n := len(up.Requests("token")); n != 1 {
						t.Errorf("%s at %s: the code was sent %d times", fault, endpoint, n)
					}
				}
			}
			up.Fail("")
			if _, err := enter(t.Context(), up.make(nil), up, connectortest.Continue); err != nil {
				t.Errorf("mended: %v", err)
			}
		})
	}
}

// TestPlainTimeLimit: the limit is for the whole of a sign-in, not for each of its requests.
func TestPlainTimeLimit(t *testing.T) {
	t.Parallel()
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(&http.Client{Timeout: 600 * time.Millisecond, Transport: &http.Transport{}})
			a := attempt()
			callback, err := leave(t.Context(), c, up, a, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			up.plainFake.(interface{ Delay(time.Duration) }).Delay(400 * time.Millisecond)
			began := time.Now()
			_, err = c.Identify(t.Context(), a, callback)
			wantKind(t, err, connectors.Upstream)
			if took := time.Since(began); took > 900*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestPlainCodes: a code is good once, for the attempt it was made for, and is sent once whatever the answer is (trap 2).
func TestPlainCodes(t *testing.T) {
	t.Parallel()
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			a := attempt()
			callback, err := leave(t.Context(), c, up, a, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Identify(t.Context(), a, callback); err != nil {
				t.Fatal(err)
			}
			_, err = c.Identify(t.Context(), a, callback)
			wantKind(t, err, connectors.Invalid)
			if n := len(up.Requests("token")); n != 2 {
				t.Errorf("%d token requests for 2 calls", n)
			}

			if name != "facebook" { // its flow has no PKCE by default
				other := attempt()
				if callback, err = leave(t.Context(), c, up, a, connectortest.Continue); err != nil {
					t.Fatal(err)
				}
				_, err = c.Identify(t.Context(), other, callback) // somebody else's verifier
				wantKind(t, err, connectors.Invalid)
			}
			for _, bad := range []url.Values{{}, {"code": {""}}, {"code": {"a", "b"}}, {"code": {strings.Repeat("c", 9<<10)}}, {"error": {"access_denied", "x"}},
				{"code": {"c"}, "iss": {"https://evil.example"}}, {"code": {"c"}, "iss": {""}}} {
				before := len(up.Requests("token"))
				_, err := c.Identify(t.Context(), a, bad)
				wantKind(t, err, connectors.Invalid)
				if n := len(up.Requests("token")); n != before {
					t.Errorf("%v: a code went out", bad)
				}
			}
			_, err = c.Identify(t.Context(), a, url.Values{"code": {"made-up"}})
			wantKind(t, err, connectors.Invalid)
		})
	}
}

// TestPlainAttempts: an attempt that would not be safe makes no address.
func TestPlainAttempts(t *testing.T) {
	t.Parallel()
	for name, up := range plainUpstreams(t) {
		c := up.make(nil)
		for what, bend := range map[string]func(*connectors.Attempt){
			"state": func(a *connectors.Attempt) { a.State = "" }, "redirect": func(a *connectors.Attempt) { a.RedirectURI = "" },
			"verifier": func(a *connectors.Attempt) { a.Verifier = "" }, "short": func(a *connectors.Attempt) { a.Verifier = strings.Repeat("v", 42) },
			"long": func(a *connectors.Attempt) { a.Verifier = strings.Repeat("v", 129) },
		} {
			a := attempt()
			bend(&a)
			to, err := c.AuthURL(t.Context(), a)
			if name == "facebook" && what != "state" && what != "redirect" {
				if err != nil || strings.Contains(to, "code_challenge") {
					t.Errorf("%s, %s: %v %s", name, what, err, to)
				}
				continue
			}
			wantKind(t, err, connectors.Misconfigured)
		}
		u := must[*url.URL](t)(url.Parse(must[string](t)(c.AuthURL(t.Context(), attempt()))))
		if q := u.Query(); q.Has("nonce") || q.Get("response_type") != "code" || q.Get("redirect_uri") != redirectURI {
			t.Errorf("%s: %v", name, q)
		}
	}
}

// TestPlainOptionalFields: every field of a profile may be absent, null or of another type, and the person still comes in, with the others.
func TestPlainOptionalFields(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"absent": connectortest.Absent, "null": nil, "number": 7, "bool": true, "list": []any{"a", 1}, "object": map[string]any{"data": "x"}, "empty": "",
		"long": strings.Repeat("x", 5000), "control": "a\x00b", "nested null": map[string]any{"data": map[string]any{"url": nil, "is_silhouette": "no"}},
	}
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			want := must[connectors.Identity](t)(enter(t.Context(), c, up, connectortest.Continue))
			for _, field := range up.fields {
				for what, v := range values {
					p := up.person
					p.Claims = map[string]any{field: v}
					up.SetPeople(p)
					got, err := enter(t.Context(), c, up, connectortest.Continue)
					if err != nil {
						t.Errorf("%s %s: %v", field, what, err)
						continue
					}
					if got.Subject != want.Subject {
						t.Errorf("%s %s: subject %q", field, what, got.Subject)
					}
					if trust := got.EmailTrust; (got.Email == "") != (trust == connectors.TrustNone) {
						t.Errorf("%s %s: %q is trusted as %s", field, what, got.Email, trust)
					}
					for _, s := range []string{got.Name, got.GivenName, got.FamilyName, got.Username, got.PictureURL, got.Locale, got.Email} {
						if len(s) > 1000 || strings.ContainsRune(s, 0) {
							t.Errorf("%s %s: %.50q went through", field, what, s)
						}
					}
				}
			}
			// Nothing but the key at all.
			p := up.person
			p.Claims = map[string]any{}
			for _, field := range up.fields {
				p.Claims[field] = connectortest.Absent
			}
			up.SetPeople(p)
			got := must[connectors.Identity](t)(enter(t.Context(), c, up, connectortest.Continue))
			if got.Subject != want.Subject || got.Name+got.GivenName+got.FamilyName+got.Username+got.PictureURL != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestSec_E13_PlainTokens: an identity holds the access token only when the operator keeps it, its claims never do, and no error names a
// secret, whatever an upstream echoes.
func TestSec_E13_PlainTokens(t *testing.T) {
	t.Parallel()
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keeps := up.make(nil)
			var c connectors.Connector
			switch f := up.plainFake.(type) {
			case *connectortest.Facebook:
				c = newFacebook(t, facebookConfig(f))
			case *connectortest.Twitter:
				c = newTwitter(t, twitterConfig(f))
			case *connectortest.OAuth2:
				c = newOAuth2(t, likeGitHub(f))
			}
			id := must[connectors.Identity](t)(enter(t.Context(), c, up, connectortest.Continue))
			if id.AccessToken != "" || id.IDToken != "" {
				t.Error("a token is kept without being asked for")
			}
			kept := must[connectors.Identity](t)(enter(t.Context(), keeps, up, connectortest.Continue)).AccessToken

			t.Log("a profile that echoes the token")
			p := up.person
			p.Claims = map[string]any{"echo": kept, "deep": map[string]any{"access_token": "tok-1", "list": []any{"tok " + kept, "fine"}}, "id_token": "tok-2", "refresh_token": "tok-3"}
			up.SetPeople(p)
			up.Answer("token", http.StatusOK, `{"access_token":"`+kept+`","token_type":"bearer"}`)
			id, err := enter(t.Context(), c, up, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			told := string(must[[]byte](t)(json.Marshal(id)))
			if strings.Contains(told, kept) || strings.Contains(told, "tok-") {
				t.Errorf("a token is among the claims: %s", told)
			}
			if !strings.Contains(told, "fine") {
				t.Errorf("other facts are gone: %s", told)
			}

			t.Log("errors that echo what we sent")
			a := attempt()
			// What goes to each endpoint, and could come back from it.
			sent := map[string][]string{"token": {application.Secret, a.Verifier, "the-code-itself"}, "userinfo": {kept}, "emails": {kept}}
			if name == "facebook" {
				sent = map[string][]string{"token": {metaApp.Secret, "the-code-itself"}, "debug": {metaApp.Secret, kept}, "userinfo": {kept}}
			}
			for _, endpoint := range up.endpoints {
				for _, body := range []string{
					`{"error":"bad %s","error_description":"you sent %s"}`, `{"error":{"message":"you sent %s","code":190,"type":"%s"}}`,
					`{"title":"%s","detail":"you sent %s","status":401}`, `{"message":"%s %s"}`, `you sent %s and %s`,
				} {
					up.Answer(endpoint, http.StatusInternalServerError, strings.ReplaceAll(body, "%s", strings.Join(sent[endpoint], " ")))
					_, err := c.Identify(t.Context(), a, url.Values{"code": {"the-code-itself"}})
					if err == nil {
						t.Fatalf("%s: accepted", endpoint)
					}
					for _, s := range sent[endpoint] {
						if strings.Contains(err.Error(), s) {
							t.Errorf("%s names %q: %v", endpoint, s, err)
						}
					}
				}
				up.Answer(endpoint, 0, "")
				up.Answer("token", http.StatusOK, `{"access_token":"`+kept+`","token_type":"bearer"}`)
			}
		})
	}
}

// TestPlainTest: what a connector's test tells an operator.
func TestPlainTest(t *testing.T) {
	t.Parallel()
	for name, up := range plainUpstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(quick()).(connectors.Tester)
			for _, f := range c.Test(t.Context()) {
				if !f.OK {
					t.Errorf("%+v", f)
				}
			}
			if n := len(up.Requests("authorize")); n != 0 {
				t.Errorf("%d requests that only browsers make", n)
			}
			for _, fault := range []connectortest.Fault{connectortest.Refuse, connectortest.Stall, connectortest.HTML} {
				up.Fail(fault)
				bad := 0
				for _, f := range c.Test(t.Context()) {
					if !f.OK && f.Text != "" {
						bad++
					}
				}
				if bad == 0 {
					t.Errorf("%s: everything is fine", fault)
				}
			}
		})
	}
}
