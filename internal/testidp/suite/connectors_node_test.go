package suite

import (
	"bufio"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// startNode runs npm oidc-provider, a certified implementation that shares no line with ours, with some clients. Without it the test fails:
// .ci/prepare fetches it.
func startNode(t *testing.T, clients ...map[string]any) (issuer string) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(root, ".cache", "npm", "node_modules", "oidc-provider", "lib", "index.js")
	if _, err := os.Stat(main); err != nil {
		t.Fatalf("npm oidc-provider is missing; .ci/prepare fetches it: %v", err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("Node.js is missing; .ci/prepare installs it: %v", err)
	}
	list, err := json.Marshal(clients)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, filepath.Join(root, "connectors", "testdata", "oidc-provider.mjs"), main, string(list))
	var log strings.Builder
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
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
		_ = cmd.Process.Kill()          // it may have ended by itself
		_, _ = io.Copy(io.Discard, out) // what is left of its output
		_ = cmd.Wait()                  // it was killed
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

var (
	nodeAction = regexp.MustCompile(`(?s)<form[^>]*action="([^"]+)"`)
	nodeHidden = regexp.MustCompile(`name="(prompt|xsrf)" value="([^"]+)"`)
	nodeAbort  = regexp.MustCompile(`href="([^"]+/abort)"`)
)

// nodeForm sends the form of a page of oidc-provider, with further fields in pairs.
func nodeForm(t *testing.T, b *testidp.Browser, p *testidp.Page, fields ...string) *testidp.Page {
	t.Helper()
	action := nodeAction.FindStringSubmatch(p.Body)
	if action == nil {
		t.Fatalf("%s has no form:\n%.1000s", p, p.Body)
	}
	f := &testidp.Form{Method: http.MethodPost, Action: html.UnescapeString(action[1]), Values: url.Values{}}
	for _, m := range nodeHidden.FindAllStringSubmatch(p.Body, -1) {
		f.Values.Set(m[1], m[2])
	}
	for i := 0; i+1 < len(fields); i += 2 {
		f.Values.Set(fields[i], fields[i+1])
	}
	return b.SendForm(p, f)
}

// TestThirdPartyUpstream: the whole server with npm oidc-provider as upstream: in, again, cancelled, and out on either side.
func TestThirdPartyUpstream(t *testing.T) {
	t.Parallel()
	node := ""
	logouts := newRelay(t)
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		node = startNode(t, map[string]any{
			"client_id": "latchkey", "client_secret": "a-secret-of-thirty-two-characters", "redirect_uris": []string{c.Issuer + "/callback/node"},
			"post_logout_redirect_uris": []string{c.Issuer + "/logged-out"}, "backchannel_logout_uri": logouts.url, "backchannel_logout_session_required": true,
		})
		k := config.NewConnector("node")
		k.Type, k.Label, k.Issuer, k.ClientID, k.Registration, k.Logout = "oidc", "Node ID", node, "latchkey", "open", true
		k.ClientSecret = config.NewSecret("a-secret-of-thirty-two-characters")
		c.Connectors = append(c.Connectors, k)
	}})
	logouts.lead(idp.HTTP(), idp.Issuer+"/callback/node/backchannel")
	rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.Scope, m.RefreshTokens = "openid profile email", "session" }))
	in := func(b *testidp.Browser, more ...string) *testidp.Tokens {
		t.Helper()
		login := rp.Start(more...)
		page := b.Get(login.URL)
		if page.Has("login-with-node") {
			page = b.Click(page, "login-with-node")
		}
		for strings.HasPrefix(page.URL.String(), node) { // their sign-in, their consent
			page = nodeForm(t, b, page, "login", "ana", "password", "any")
		}
		return rp.Finish(login, page.URL)
	}
	b := idp.Browser().Visits(node)
	one := in(b)
	_, info := rp.UserInfo(one.AccessToken)
	if info["email"] != "ana@example.com" || info["email_verified"] != true || info["name"] != "Ana Flores" || info["given_name"] != "Ana" || info["locale"] != "es" {
		t.Errorf("userinfo %v", info)
	}
	if one.Claims["login_method"] != "node" || !strings.Contains(strings.Join(stringList(one.Claims["amr"]), " "), "fed") {
		t.Errorf("ID token %v", one.Claims)
	}

	t.Log("cancelled there")
	other := idp.Browser().Visits(node)
	login := rp.Start()
	page := other.Click(other.Get(login.URL), "login-with-node")
	abort := nodeAbort.FindStringSubmatch(page.Body)
	if abort == nil {
		t.Fatalf("no way to cancel: %.1000s", page.Body)
	}
	page = other.Get(html.UnescapeString(abort[1]))
	forPeople(t, "cancelled", other, page)
	if got := page.Attr("error-page", "data-error"); got != "upstream_denied" {
		t.Errorf("cancelled: %s", got)
	}

	t.Log("signed out of the application: signed out here and there")
	page = b.Get(rp.LogoutURL("id_token_hint", one.RawID, "post_logout_redirect_uri", "https://rp.example/bye", "state", "s1")).Want(200, "go-title")
	page = nodeForm(t, b, b.Click(page, "go-link"), "logout", "yes")
	if got := page.URL.String(); got != "https://rp.example/bye?state=s1" {
		t.Errorf("the sign-out ends at %s", got)
	}
	page = b.Click(b.Get(rp.Start().URL).Want(200, "login-title"), "login-with-node")
	if !strings.Contains(page.Body, `name="login"`) {
		t.Errorf("still signed in there: %.500s", page.Body)
	}

	t.Log("signed out there: signed out here")
	b = idp.Browser().Visits(node)
	two := in(b)
	if two.IDToken.Subject != one.IDToken.Subject {
		t.Error("the second time it is somebody else")
	}
	before := logouts.count()
	nodeForm(t, b, b.Get(node+"/session/end"), "logout", "yes")
	testidp.Within(t, waitLong, "the logout token arrives", func() bool { return logouts.count() > before })
	testidp.Within(t, waitLong, "the session ends", func() bool {
		status, _ := rp.UserInfo(two.AccessToken)
		return status == http.StatusUnauthorized && b.Get(idp.Issuer+"/account").Has("login-title")
	})
}
