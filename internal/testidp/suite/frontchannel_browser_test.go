package suite

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestFrontChannelInChromium: frames are loaded and the browser goes on, with script and without; an application that never answers keeps nobody who
// has scripts, and a link is there for the others: Chromium itself waits for every frame.
func TestFrontChannelInChromium(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true})
	var mu sync.Mutex
	loaded := map[string]int{}
	done := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/out", "/dead":
			mu.Lock()
			if r.URL.Query().Get("sid") != "" && r.URL.Query().Get("iss") == idp.Issuer {
				loaded[r.URL.Path]++
			}
			mu.Unlock()
			if r.URL.Path == "/dead" {
				select {
				case <-done:
				case <-r.Context().Done():
				}
			}
		default:
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>%s</title><link rel="icon" href="data:,"><h1 id="at%s">here</h1>`, r.URL.Path, strings.ReplaceAll(r.URL.Path, "/", "-"))
		}
	}))
	t.Cleanup(app.Close)
	t.Cleanup(func() { close(done) })
	base := strings.Replace(app.URL, "127.0.0.1", "localhost", 1)
	for _, way := range []struct {
		path    string
		scripts bool
	}{{"/out", false}, {"/dead", true}, {"/dead", false}} {
		rp := idp.RP(store.ClientMetadata{RedirectURIs: []string{base + "/callback"}, PostLogoutRedirectURIs: []string{base + "/bye"}, FirstParty: true, FrontChannelLogoutURI: base + way.path})
		who := idp.User(testidp.Person{})
		c := newChrome(t, way.scripts)
		a := rp.Start()
		c.open(a.URL, "login-title")
		c.fill("login-identifier", who.Email)
		c.fill("login-password", who.Password)
		c.click("login-submit", "at-callback")
		at, err := chromedp.Run(c.ctx, chromedp.Location())
		if err != nil {
			t.Fatal(err)
		}
		back, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		rp.Finish(a, back) // only what was given something is told
		c.open(rp.LogoutURL("client_id", rp.ID, "post_logout_redirect_uri", base+"/bye"), "logout-title")
		began := time.Now()
		if way.path == "/dead" && !way.scripts {
			c.click("logout-confirm", "logout-continue")
			c.picture("logout-frames.png")
			c.click("logout-continue", "at-bye")
		} else {
			c.click("logout-confirm", "at-bye")
		}
		mu.Lock()
		n := loaded[way.path]
		mu.Unlock()
		if n == 0 || time.Since(began) > 15*time.Second {
			t.Errorf("%+v: loaded %d times, on after %v", way, n, time.Since(began))
		}
	}
}
