package connectors_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// TestSec_D1_Pictures: an address of a picture that a page may show, or none; nothing of ours fetches it.
func TestSec_D1_Pictures(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		c := up.make(nil)
		for address, ok := range map[string]bool{
			"https://id.example/a.png": true, "javascript:alert(1)": false, "data:image/svg+xml,<svg onload=alert(1)>": false, "http://127.0.0.1:8080/x": false, "http://localhost/x": false,
			"http://id.example/a.png": false, "//id.example/a.png": false, "https://u:p@id.example/a.png": false, "https://:443/x": false, "https://": false, "x": false,
		} {
			up.Forge(func(tok *connectortest.Token) { tok.Claims["picture"] = address })
			id, err := signIn(t.Context(), c, up, connectortest.Continue)
			if err != nil || (id.PictureURL != "") != ok {
				t.Errorf("%s: %q became %q, %v", name, address, id.PictureURL, err)
			}
		}
	}
	for name, up := range plainUpstreams(t) {
		c := up.make(nil)
		for _, address := range []string{"javascript:alert(1)", "http://127.0.0.1:8080/x", "https://:443/x"} {
			p := up.person
			p.Claims = map[string]any{
				"picture": map[string]any{"data": map[string]any{"url": address}}, "profile_image_url": address, "avatar_url": address,
			}
			up.SetPeople(p)
			if id, err := enter(t.Context(), c, up, connectortest.Continue); err != nil || id.PictureURL != "" {
				t.Errorf("%s: %q became %q, %v", name, address, id.PictureURL, err)
			}
		}
	}
}

// TestSec_E10_Sessions: what a database cannot look up names neither a session nor a person.
func TestSec_E10_Sessions(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	for _, odd := range []any{"a\x00b", "a\nb", strings.Repeat("s", 1001), "a\ufffd", "", 7, []any{"s"}} {
		f.Forge(func(tok *connectortest.Token) { tok.Claims["sid"] = odd })
		if id, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil || id.SID != "" {
			t.Errorf("sid %.20q: %q %v", odd, id.SID, err)
		}
		for _, claim := range []string{"sub", "sid"} {
			raw := must[string](t)(f.LogoutToken("ana", "s1", func(tok *connectortest.Token) { tok.Claims[claim] = odd }))
			if sub, sid, err := c.LoggedOut(t.Context(), raw); err == nil || connectors.KindOf(err) != connectors.Invalid {
				t.Errorf("logout with %s %.20q: %q %q %v", claim, odd, sub, sid, err)
			}
		}
	}
	raw := must[string](t)(f.LogoutToken("ana", "", nil))
	for _, same := range []string{raw + "\n", strings.Replace(raw, ".", "\n.", 1), raw + "=", raw + " "} {
		if _, _, err := c.LoggedOut(t.Context(), same); connectors.KindOf(err) != connectors.Invalid || err == nil {
			t.Errorf("another spelling of a logout token was accepted: %v", err)
		}
	}
}

// TestSec_E10_DuplicateClaims: a provider that puts what people typed beside its own claims does not let them overrule those.
func TestSec_E10_DuplicateClaims(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		up.Forge(func(tok *connectortest.Token) {
			b := must[[]byte](t)(json.Marshal(tok.Claims))
			tok.Payload = append(b[:len(b)-1], `,"email":"victim@example.com","email_verified":true}`...)
			if name == "azure" {
				tok.Payload = append(b[:len(b)-1], `,"oid":"a0000000-0000-4000-8000-0000000000ee"}`...)
			}
		})
		_, err := signIn(t.Context(), up.make(nil), up, connectortest.Continue)
		wantKind(t, err, connectors.Invalid)
	}
	x := startTwitter(t)
	x.Answer("userinfo", http.StatusOK, `{"data":{"id":"12","username":"a","id":"7700000000000000021"}}`)
	_, err := enter(t.Context(), newTwitter(t, twitterConfig(x)), x, connectortest.Continue)
	wantKind(t, err, connectors.Upstream)
	f := startFacebook(t)
	signed := connectortest.SignRequest(metaApp.Secret, base64.RawURLEncoding.EncodeToString([]byte(
		`{"algorithm":"HMAC-SHA256","issued_at":`+fmt.Sprint(time.Now().Unix())+`,"user_id":"1","user_id":"2"}`)))
	_, err = newFacebook(t, facebookConfig(f)).Deauthorized(signed, time.Now())
	wantKind(t, err, connectors.Invalid)
}

// TestSec_E13_Tokens: no token among the claims of an OpenID provider, kept only where asked for, and no secret in what goes to the log or to
// the operator, however an upstream writes it back.
func TestSec_E13_Tokens(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	f.UserInfo(map[string]any{"deep": map[string]any{"access_token": "tok-1", "list": []any{map[string]any{"refresh_token": "tok-2"}, "fine"}}, "id_token": "tok-3"})
	id, err := signIn(t.Context(), c, f, connectortest.Continue)
	if err != nil {
		t.Fatal(err)
	}
	told := string(must[[]byte](t)(json.Marshal(id)))
	if strings.Contains(told, "tok-") || !strings.Contains(told, "fine") || id.IDToken != "" || id.AccessToken != "" {
		t.Errorf("%s", told)
	}

	// An upstream that writes back all it was sent, in every spelling, as every kind of error.
	fb, x, hub, g, e := startFacebook(t), startTwitter(t), startOAuth2(t, connectortest.OAuth2Options{}), startGoogle(t), startEntra(t, "")
	var seen []string // what is sent may not be said
	var mu sync.Mutex
	echo := func(status int, shape string) *http.Client {
		return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "well-known") || r.URL.Path == "/keys" {
				return http.DefaultTransport.RoundTrip(r)
			}
			if err := r.ParseForm(); err != nil {
				return nil, err
			}
			_, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			mu.Lock()
			own := application.Secret
			if strings.HasSuffix(fb.GraphURL, r.Host) {
				own = metaApp.Secret
			}
			seen = []string{credentials}
			if _, _, basic := r.BasicAuth(); basic || r.Form.Has("client_secret") {
				seen = append(seen, own, url.QueryEscape(own))
			}
			for _, k := range []string{"code", "code_verifier", "client_assertion", "input_token", "appsecret_proof", "access_token", "token"} {
				if v := r.Form.Get(k); v != "" && v != "latchkey-connector-test" {
					seen = append(seen, v)
				}
			}
			text := strings.Join(seen, " ") + " " + r.Form.Encode()
			mu.Unlock()
			body := fmt.Sprintf(shape, strings.ReplaceAll(text, `"`, ""))
			h := http.Header{"Content-Type": {"application/json"}}
			if status == http.StatusFound {
				h.Set("Location", "https://%zz/?"+text)
			}
			return &http.Response{StatusCode: status, Header: h, Body: readCloser{strings.NewReader(body)}, Request: r, ContentLength: -1}, nil
		})}
	}
	for _, status := range []int{200, 302, 400, 401, 403, 429, 500} {
		for _, shape := range []string{
			`{"error":"invalid_grant","error_description":"%s"}`, `{"error":"%[1]s","error_description":"%[1]s"}`, `{"error":{"message":"%s","code":190,"fbtrace_id":"%[1]s"}}`,
			`{"title":"x","detail":"%s"}`, `{"access_token":"t","token_type":"%s"}`, `%s`, `"%s"`,
		} {
			h := echo(status, shape)
			cfg, gcfg, zcfg := oidcConfig(f), googleConfig(g), azureConfig(e)
			fcfg, xcfg, hcfg := facebookConfig(fb), twitterConfig(x), likeGitHub(hub)
			cfg.HTTP, gcfg.HTTP, zcfg.HTTP, fcfg.HTTP, xcfg.HTTP, hcfg.HTTP = h, h, h, h, h, h
			for _, c := range []connectors.Connector{
				must[*connectors.OIDC](t)(connectors.NewOIDC(cfg)), must[*connectors.Google](t)(connectors.NewGoogle(gcfg)), must[*connectors.Azure](t)(connectors.NewAzure(zcfg)),
				newFacebook(t, fcfg), newTwitter(t, xcfg), newOAuth2(t, hcfg),
			} {
				var said []string
				callback := url.Values{"code": {"the-code-itself"}}
				if c.Name() == "it" {
					callback.Set("iss", g.Issuer) // Google's; the others refuse it, which is as good a test
				}
				_, err := c.Identify(t.Context(), attempt(), callback)
				if err == nil {
					t.Fatalf("%s, %d %s: accepted", c.Name(), status, shape)
				}
				said = append(said, err.Error())
				callback.Del("iss")
				if _, err = c.Identify(t.Context(), attempt(), callback); err != nil {
					said = append(said, err.Error())
				}
				for _, finding := range c.(connectors.Tester).Test(t.Context()) {
					said = append(said, finding.Text)
				}
				if r, ok := c.(connectors.Revoker); ok {
					if err := r.Revoke(t.Context(), "a-kept-access-token"); err != nil {
						said = append(said, err.Error())
					}
				}
				for _, s := range said {
					for _, secret := range append([]string{"the-code-itself", "a-kept-access-token"}, seen...) {
						if len(secret) >= 8 && strings.Contains(s, secret) {
							t.Errorf("%T, %d %s: %q is in %q", c, status, shape, secret, s)
						}
					}
					if len(s) > 2000 || strings.ContainsAny(s, "\r\n") {
						t.Errorf("%T, %d %s: %d bytes: %q", c, status, shape, len(s), s)
					}
				}
			}
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// TestSec_D2_ServersClient: with the one outbound client of the server each connector signs people in, and what that client refuses is the
// upstream's trouble: no redirect followed, no endless answer, a host that failed five times in a row left alone, and served again later.
func TestSec_D2_ServersClient(t *testing.T) {
	t.Parallel()
	shared := web.Outbound(false)
	for name, up := range upstreams(t) {
		c := up.make(shared)
		if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		faults := []connectortest.Fault{connectortest.RedirectLoop, connectortest.Endless}
		if name == "oidc" { // the fake needs seconds to pack it
			faults = append(faults, connectortest.Bomb)
		}
		for _, fault := range faults {
			up.Forget()
			up.Fail(fault, "token")
			_, err := signIn(t.Context(), c, up, connectortest.Continue)
			wantKind(t, err, connectors.Upstream)
			if n := len(up.Requests("token")); n != 1 {
				t.Errorf("%s: %s: %d token requests", name, fault, n)
			}
		}
		up.Fail("")
		if _, err := signIn(t.Context(), c, up, connectortest.Continue); err != nil {
			t.Errorf("%s, mended: %v", name, err)
		}
	}
	for name, up := range plainUpstreams(t) {
		if _, err := enter(t.Context(), up.make(shared), up, connectortest.Continue); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if shared.Timeout != 10*time.Second || shared.Jar != nil {
		t.Error("the server's client was changed")
	}

	t.Log("the breaker")
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(func() connectors.OIDCConfig { cfg := oidcConfig(f); cfg.HTTP = shared; return cfg }()))
	if _, err := signIn(t.Context(), c, f, connectortest.Continue); err != nil {
		t.Fatal(err)
	}
	f.Fail(connectortest.Error500, "token")
	for range 8 {
		_, err := signIn(t.Context(), c, f, connectortest.Continue)
		wantKind(t, err, connectors.Upstream)
	}
	if n := len(f.Requests("token")); n != 1+5 {
		t.Errorf("%d token requests to a host that fails", n-1)
	}
}

// TestSec_J8_Hammer: many people at once while the upstream rotates its keys, fails and mends: each comes in or is told why, nobody else's
// identity comes out, and no request waits longer than its limit.
func TestSec_J8_Hammer(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(quick())
			want, err := signIn(t.Context(), c, up, connectortest.Continue)
			if err != nil {
				t.Fatal(err)
			}
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					switch i % 4 {
					case 0:
						up.Fail([]connectortest.Fault{connectortest.Refuse, connectortest.HTML, connectortest.Error500}[i/4%3], []string{"keys", "token", "discovery"}[i/4%3])
					case 1:
						up.Fail("")
					case 2:
						if err := up.RotateKeys(); err != nil {
							t.Error(err)
						}
					}
				}
			}()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 10 {
						got, err := signIn(t.Context(), c, up, connectortest.Continue)
						if err != nil {
							// A key that came within a minute of the last look is not known yet.
							if k := connectors.KindOf(err); k != connectors.Upstream && k != connectors.Invalid {
								t.Errorf("%v", err)
							}
						} else if got.Issuer != want.Issuer || got.Subject != want.Subject {
							t.Errorf("%s/%s came out", got.Issuer, got.Subject)
						}
					}
				})
			}
			wg.Wait()
			close(stop)
			<-done
		})
	}
}

// TestSec_E9_ErrorAndCode: an error that comes with a code is an error, and the code goes nowhere; parameters that come twice are refused.
func TestSec_E9_ErrorAndCode(t *testing.T) {
	t.Parallel()
	try := func(name string, c connectors.Connector, requests func(...string) []connectortest.Request) {
		for _, q := range []url.Values{
			{"error": {"access_denied"}, "code": {"c"}}, {"error": {"access_denied"}, "code": {"c"}, "state": {"s"}, "error_description": {"a\r\nb"}},
			{"error": {"server_error"}, "code": {"c"}}, {"code": {"c", "c"}}, {"code": {"c"}, "state": {"s", "t"}}, {"code": {"c"}, "error": {"", ""}}, {"response": {"a.b.c"}}, {"Code": {"c"}},
		} {
			_, err := c.Identify(t.Context(), attempt(), q)
			if err == nil {
				t.Errorf("%s: %v was accepted", name, q)
			}
			if e, ok := err.(*connectors.Error); !ok || strings.ContainsAny(e.Error(), "\r\n") {
				t.Errorf("%s: %T %q", name, err, err)
			}
		}
		if n := len(requests("token")); n != 0 {
			t.Errorf("%s: a code went out %d times", name, n)
		}
	}
	for name, up := range upstreams(t) {
		try(name, up.make(nil), up.Requests)
	}
	for name, up := range plainUpstreams(t) {
		try(name, up.make(nil), up.Requests)
	}
}

// TestTrap1_ResponseMode: the answer comes by GET, since a POST across sites brings no cookie of the sign-in; the operator may ask for a POST
// where the provider knows nothing else, and for nothing that would not reach us.
func TestTrap1_ResponseMode(t *testing.T) {
	t.Parallel()
	for name, up := range upstreams(t) {
		q := query(t, must[string](t)(up.make(nil).AuthURL(t.Context(), attempt())))
		if mode := q.Get("response_mode"); mode != "" && mode != "query" || name == "azure" && mode == "" {
			t.Errorf("%s: response_mode %q", name, mode)
		}
	}
	for name, up := range plainUpstreams(t) {
		if q := query(t, must[string](t)(up.make(nil).AuthURL(t.Context(), attempt()))); q.Has("response_mode") {
			t.Errorf("%s: %v", name, q)
		}
	}
	for mode, ok := range map[string]bool{"query": true, "form_post": true, "fragment": false, "query.jwt": false, "": false} {
		_, err := connectors.NewOIDC(connectors.OIDCConfig{
			Name: "it", Issuer: "https://id.example", ClientID: "c", ClientSecret: "s", AuthParams: map[string]string{"response_mode": mode},
		})
		_, err2 := connectors.NewOAuth2(connectors.OAuth2Config{
			Name: "it", AuthorizeURL: "https://id.example/a", TokenURL: "https://id.example/t", UserInfoURL: "https://id.example/u", ClientID: "c", ClientSecret: "s",
			ClientAuth: connectors.AuthPost, SubjectField: "id", AuthParams: map[string]string{"response_mode": mode},
		})
		if (err == nil) != ok || (err2 == nil) != ok {
			t.Errorf("response_mode %q: %v, %v", mode, err, err2)
		}
	}
}

// TestTrap9_NobodyComesBack: what an upstream tells the person on its own page sends nobody back to us, and costs no request of ours.
func TestTrap9_NobodyComesBack(t *testing.T) {
	t.Parallel()
	g := startGoogle(t)
	cfg := googleConfig(g)
	cfg.ClientID = "unknown"
	c := must[*connectors.Google](t)(connectors.NewGoogle(cfg))
	if back, err := g.Visit(must[string](t)(c.AuthURL(t.Context(), attempt())), connectortest.Continue); err == nil {
		t.Errorf("Google sends back to %s", back)
	}
	a := attempt()
	a.RedirectURI = "https://login.example/callback/other"
	c = must[*connectors.Google](t)(connectors.NewGoogle(googleConfig(g)))
	if back, err := g.Visit(must[string](t)(c.AuthURL(t.Context(), a)), connectortest.Continue); err == nil {
		t.Errorf("Google sends back to %s", back)
	}
	e := startEntra(t, "")
	zcfg := azureConfig(e)
	zcfg.Tenant, zcfg.AllowedTenants = connectortest.TenantA, nil
	z := must[*connectors.Azure](t)(connectors.NewAzure(zcfg))
	if back, err := e.Visit(must[string](t)(z.AuthURL(t.Context(), attempt())), connectortest.As("00000000-0000-0000-1111-22223333444c")); err == nil {
		t.Errorf("Microsoft sends back to %s", back)
	}
	if n := len(slices.Concat(g.Requests("token"), e.Requests("token"))); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// TestSec_J8_Certificates: an upstream whose certificate is expired, of another name, of nobody's or spoken in an old TLS is down, and hears
// neither a secret nor a code.
func TestSec_J8_Certificates(t *testing.T) {
	t.Parallel()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	serve := func(name string, from, until time.Time, tls12 bool) (*httptest.Server, *http.Client, *atomic.Int32) {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
		roots := x509.NewCertPool()
		roots.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
		var heard atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			heard.Add(1)
			w.Write([]byte(`{"access_token":"t","token_type":"bearer"}`)) //nolint:errcheck // the caller went away
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		if !tls12 {
			s.TLS.MaxVersion = tls.VersionTLS11
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}, &heard
	}
	now := time.Now()
	for what, row := range map[string]struct {
		name        string
		from, until time.Time
		tls12, own  bool // own: the connector's client, which knows no such root
		ok          bool
	}{
		"good": {"localhost", now.Add(-time.Hour), now.Add(time.Hour), true, false, true}, "expired": {"localhost", now.Add(-2 * time.Hour), now.Add(-time.Hour), true, false, false},
		"early": {"localhost", now.Add(time.Hour), now.Add(2 * time.Hour), true, false, false}, "other name": {"id.example", now.Add(-time.Hour), now.Add(time.Hour), true, false, false},
		"nobody's": {"localhost", now.Add(-time.Hour), now.Add(time.Hour), true, true, false}, "TLS 1.1": {"localhost", now.Add(-time.Hour), now.Add(time.Hour), false, false, false},
	} {
		s, client, heard := serve(row.name, row.from, row.until, row.tls12)
		at := "https://localhost:" + must[*url.URL](t)(url.Parse(s.URL)).Port()
		if row.own {
			client = nil
		}
		c := newOAuth2(t, connectors.OAuth2Config{
			Name: "it", AuthorizeURL: at + "/a", TokenURL: at + "/t", UserInfoURL: at + "/u", ClientID: "c", ClientSecret: "s", ClientAuth: connectors.AuthPost, SubjectField: "id", HTTP: client,
		})
		_, err := c.Identify(t.Context(), attempt(), url.Values{"code": {"c"}})
		if row.ok {
			wantKind(t, err, connectors.Misconfigured) // it comes as far as the profile, which has no id
		} else {
			wantKind(t, err, connectors.Upstream)
		}
		if (heard.Load() > 0) != row.ok {
			t.Errorf("%s: %d requests", what, heard.Load())
		}
	}
}
