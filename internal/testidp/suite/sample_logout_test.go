package suite

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/sampleapp"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
)

// TestBackChannelLogoutOfTheSampleApplication: who signs out at Latchkey is signed out of an application that asks nobody for an hour. TestSec: a
// logout token works once, and neither kind of token passes for the other.
func TestBackChannelLogoutOfTheSampleApplication(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true, Demo: true})
	var handler atomic.Pointer[http.Handler]
	var mu sync.Mutex
	var heard []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/backchannel-logout" && r.ParseForm() == nil {
			mu.Lock()
			heard = append(heard, r.PostForm.Get("logout_token"))
			mu.Unlock()
		}
		(*handler.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	base := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	app := server.DemoClient{Name: "Sample application", BaseURL: base, RedirectURI: sampleapp.RedirectURL(base), PostLogoutRedirectURI: sampleapp.PostLogoutURL(base),
		BackChannelLogoutURI: sampleapp.BackChannelLogoutURL(base)}
	if err := idp.Server.EnsureDemoClient(t.Context(), t.TempDir(), &app); err != nil {
		t.Fatal(err)
	}
	h, err := sampleapp.New(sampleapp.Config{Issuer: idp.Issuer, ClientID: app.ID, ClientSecret: app.Secret, BaseURL: base, Recheck: time.Hour,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(&h)
	d := &demo{IDP: idp, app: base}
	who, other := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	b, c := idp.Browser(base), idp.Browser(base)
	d.enter(b, "/members", who).Want(200, "members-title")
	d.enter(c, "/members", other).Want(200, "members-title")

	b.Submit(b.Get(idp.Issuer+"/logout"), "logout-confirm", nil)
	deadline := time.Now().Add(10 * time.Second)
	for b.Get(base+"/members").Status == 200 {
		if time.Now().After(deadline) {
			t.Fatal("still signed in at the application")
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.Get(base+"/members").Want(200, "members-title") // nobody else is

	mu.Lock()
	token := heard[0]
	n := len(heard)
	mu.Unlock()
	if n != 1 {
		t.Errorf("told %d times", n)
	}
	send := func(token string) int {
		t.Helper()
		res, err := http.PostForm(base+"/backchannel-logout", url.Values{"logout_token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if s := send(token); s != 400 {
		t.Errorf("a token that was used: %d", s)
	}
	row, err := idp.Store.Client(t.Context(), app.ID)
	if err != nil {
		t.Fatal(err)
	}
	rp := idp.RPOf(app.ID, app.Secret, row.Metadata)
	a := rp.Start("scope", "openid profile email privileges")
	id := rp.Finish(a, c.Get(a.URL).URL).RawID
	if s := send(id); s != 400 {
		t.Errorf("an ID token as a logout token: %d", s)
	}
	c.Get(base+"/members").Want(200, "members-title")
}
