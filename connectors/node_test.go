package connectors_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
)

// startNode runs npm oidc-provider, a certified implementation that shares no line with ours. Without it the test fails: .ci/prepare fetches
// it.
func startNode(t *testing.T, clients []map[string]any) (issuer string) {
	t.Helper()
	main := must[string](t)(filepath.Abs("../.cache/npm/node_modules/oidc-provider/lib/index.js"))
	if _, err := os.Stat(main); err != nil {
		t.Fatalf("npm oidc-provider is missing; .ci/prepare fetches it: %v", err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("Node.js is missing; .ci/prepare installs it: %v", err)
	}
	list := must[[]byte](t)(json.Marshal(clients))
	cmd := exec.Command(node, "testdata/oidc-provider.mjs", main, string(list))
	var log strings.Builder
	cmd.Stderr = &log
	in := must[io.WriteCloser](t)(cmd.StdinPipe())
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			if strings.HasPrefix(s.Text(), "http://127.0.0.1:") {
				lines <- s.Text()
			}
		}
		close(lines)
	}()
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
		cmd.Wait()         //nolint:errcheck // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	select {
	case issuer, ok := <-lines:
		if !ok {
			t.Fatal("oidc-provider ended")
		}
		return issuer
	case <-time.After(time.Minute):
		t.Fatal("oidc-provider does not start")
	}
	return ""
}

// person at a browser: keeps cookies, follows redirects up to the application's address.
type person struct {
	*http.Client
}

func newPerson(t *testing.T) person {
	jar := must[*cookiejar.Jar](t)(cookiejar.New(nil))
	return person{&http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host == "login.example" || len(via) > 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

var (
	formAction = regexp.MustCompile(`(?s)<form[^>]*action="([^"]+)"`)
	promptName = regexp.MustCompile(`name="prompt" value="([a-z]+)"`)
	abortLink  = regexp.MustCompile(`href="([^"]+/abort)"`)
	xsrfValue  = regexp.MustCompile(`name="xsrf" value="([^"]+)"`)
)

// read returns a page, or where it leads at the application.
func read(res *http.Response, err error) (page string, to *url.URL, bad error) {
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	if to, err := res.Location(); err == nil {
		return "", to, nil
	}
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d: %s", res.StatusCode, b)
	}
	return string(b), nil, err
}

// walk signs in as somebody and agrees to everything, or cancels when login is "".
func (p person) walk(address, login string) (url.Values, error) {
	page, to, err := read(p.Get(address))
	for range 5 {
		if err != nil {
			return nil, err
		}
		if to != nil {
			return to.Query(), nil
		}
		if login == "" {
			m := abortLink.FindStringSubmatch(page)
			if m == nil {
				return nil, errors.New("no way to cancel")
			}
			page, to, err = read(p.Get(m[1]))
			continue
		}
		action, prompt := formAction.FindStringSubmatch(page), promptName.FindStringSubmatch(page)
		if action == nil || prompt == nil {
			return nil, fmt.Errorf("not a page of interaction: %.500s", page)
		}
		page, to, err = read(p.PostForm(action[1], url.Values{"prompt": {prompt[1]}, "login": {login}, "password": {"any"}}))
	}
	return nil, errors.New("no end of pages")
}

// TestThirdParty: the generic connector against npm oidc-provider.
func TestThirdParty(t *testing.T) {
	t.Parallel()
	logouts := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { logouts <- r.PostFormValue("logout_token") }))
	t.Cleanup(receiver.Close)

	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	point := must[[]byte](t)(key.PublicKey.Bytes())
	b64 := base64.RawURLEncoding.EncodeToString
	client := func(id, way, alg string, more map[string]any) map[string]any {
		c := map[string]any{
			"client_id": id, "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": way, "id_token_signed_response_alg": alg,
			"post_logout_redirect_uris": []string{"https://login.example/bye"}, "backchannel_logout_uri": receiver.URL, "backchannel_logout_session_required": true,
		}
		if strings.HasPrefix(way, "client_secret") {
			c["client_secret"] = application.Secret
		}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	issuer := startNode(t, []map[string]any{
		client("basic", "client_secret_basic", "RS256", nil),
		client("post", "client_secret_post", "PS256", nil),
		client("public", "none", "ES256", nil),
		client("key", "private_key_jwt", "EdDSA", map[string]any{"jwks": map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]), "kid": "k1", "use": "sig",
		}}}}),
	})
	config := func(id string) connectors.OIDCConfig {
		return connectors.OIDCConfig{Name: "node", Issuer: issuer, ClientID: id, ClientSecret: application.Secret, KeepIDToken: true}
	}
	configs := map[string]connectors.OIDCConfig{"basic": config("basic"), "post": config("post"), "public": config("public"), "key": config("key")}
	for id, change := range map[string]func(*connectors.OIDCConfig){
		"post": func(c *connectors.OIDCConfig) { c.ClientAuth = connectors.AuthPost }, "public": func(c *connectors.OIDCConfig) { c.ClientSecret = "" },
		"key": func(c *connectors.OIDCConfig) {
			c.ClientSecret, c.ClientKey = "", &connectors.ClientKey{Private: key, ID: "k1"}
		},
	} {
		c := configs[id]
		change(&c)
		configs[id] = c
	}
	in := func(t *testing.T, c *connectors.OIDC, p person, a connectors.Attempt, login string) (connectors.Identity, error) {
		t.Helper()
		to := must[string](t)(c.AuthURL(t.Context(), a))
		callback, err := p.walk(to, login)
		if err != nil {
			t.Fatal(err)
		}
		if callback.Get("state") != a.State {
			t.Fatalf("the callback is %v", callback)
		}
		return c.Identify(t.Context(), a, callback)
	}

	for id, cfg := range configs {
		c := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
		a := attempt()
		age := time.Hour
		a.MaxAge, a.LoginHint = &age, "ana"
		got, err := in(t, c, newPerson(t), a, "ana")
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if got.Issuer != issuer || got.Subject != "ana" || got.Email != "ana@example.com" || got.EmailTrust != connectors.TrustVerified || got.Name != "Ana Flores" ||
			got.Locale != "es" || got.SID == "" || time.Since(got.AuthTime) > time.Minute || got.IDToken == "" {
			t.Errorf("%s: %+v", id, got)
		}
		for _, f := range c.Test(t.Context()) {
			if !f.OK {
				t.Errorf("%s: %+v", id, f)
			}
		}
	}

	c := must[*connectors.OIDC](t)(connectors.NewOIDC(configs["basic"]))
	if got, err := in(t, c, newPerson(t), attempt(), "bo"); err != nil || got.EmailTrust != connectors.TrustReported {
		t.Errorf("%v %+v", err, got)
	}
	if got, err := in(t, c, newPerson(t), attempt(), "cy"); err != nil || got.EmailTrust != connectors.TrustNone || got.Subject != "cy" {
		t.Errorf("%v %+v", err, got)
	}
	_, err := in(t, c, newPerson(t), attempt(), "")
	wantKind(t, err, connectors.Denied)
	silent := attempt()
	silent.Prompt = "none"
	_, err = in(t, c, newPerson(t), silent, "ana")
	wantKind(t, err, connectors.Denied)

	t.Log("wrong secret, wrong verifier, a code used twice, another provider's iss")
	wrong := configs["basic"]
	wrong.ClientSecret = "not-the-secret-at-all"
	_, err = in(t, must[*connectors.OIDC](t)(connectors.NewOIDC(wrong)), newPerson(t), attempt(), "ana")
	wantKind(t, err, connectors.Misconfigured)
	for _, f := range must[*connectors.OIDC](t)(connectors.NewOIDC(wrong)).Test(t.Context()) {
		if f.What == "client credentials" && f.OK {
			t.Errorf("%+v", f)
		}
	}
	a := attempt()
	p := newPerson(t)
	callback := must[url.Values](t)(p.walk(must[string](t)(c.AuthURL(t.Context(), a)), "ana"))
	if callback.Get("iss") != issuer {
		t.Errorf("iss is %q", callback.Get("iss"))
	}
	mixed := url.Values{"code": callback["code"], "state": callback["state"], "iss": {"https://evil.example"}}
	_, err = c.Identify(t.Context(), a, mixed)
	wantKind(t, err, connectors.Invalid)
	mixed.Del("iss") // the document announces it
	_, err = c.Identify(t.Context(), a, mixed)
	wantKind(t, err, connectors.Invalid)
	stranger := attempt()
	_, err = c.Identify(t.Context(), stranger, callback)
	wantKind(t, err, connectors.Invalid)
	if _, err = c.Identify(t.Context(), a, callback); err != nil { // a wrong verifier does not spend this one's codes
		t.Error(err)
	}
	_, err = c.Identify(t.Context(), a, callback)
	wantKind(t, err, connectors.Invalid)

	t.Log("sign-out there, which tells us through the back channel")
	got, err := in(t, c, p, attempt(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	to := must[string](t)(c.EndSessionURL(t.Context(), got.IDToken, "https://login.example/bye", "s1"))
	page, _, err := read(p.Get(to))
	action, xsrf := formAction.FindStringSubmatch(page), xsrfValue.FindStringSubmatch(page)
	if err != nil || action == nil || xsrf == nil {
		t.Fatalf("%v: %s", err, page)
	}
	_, back, err := read(p.PostForm(action[1], url.Values{"xsrf": {xsrf[1]}, "logout": {"yes"}}))
	if err != nil || back == nil || back.String() != "https://login.example/bye?state=s1" {
		t.Fatalf("%v: %v", err, back)
	}
	select {
	case raw := <-logouts:
		sub, sid, err := c.LoggedOut(t.Context(), raw)
		if err != nil || sub != "ana" || sid != got.SID {
			t.Errorf("%q %q %v, want sid %q", sub, sid, err, got.SID)
		}
		_, _, err = must[*connectors.OIDC](t)(connectors.NewOIDC(configs["post"])).LoggedOut(t.Context(), raw)
		wantKind(t, err, connectors.Invalid) // made for another client
	case <-time.After(20 * time.Second):
		t.Error("no logout token came")
	}
}
