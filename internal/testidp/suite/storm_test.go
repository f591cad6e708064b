package suite

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// stormy is one answer of a storm.
type stormy struct {
	by     string
	at     time.Time // when it was asked for
	status int
	body   string // of what failed
	bears  bool   // the privilege stands in it
}

// TestSec_G4_DeleteDuringRefreshStorm: a privilege that is deleted while tokens are refreshed and read is in no answer that was asked for after
// the deletion: not with who was given it, nor with who had it through another one. Nothing breaks meanwhile. On PostgreSQL a second process
// serves too, and hears of it within a second.
func TestSec_G4_DeleteDuringRefreshStorm(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Engine: engine})
			for _, p := range []store.Privilege{{Name: "gold", Label: "Gold"}, {Name: "lounge", Label: "Lounge", Includes: store.Strings{"gold"}}} {
				if err := idp.Store.CreatePrivilege(context.Background(), "cli", &p); err != nil {
					t.Fatal(err)
				}
			}
			meta := store.ClientMetadata{Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"},
				FirstParty: true, RefreshRotation: "always", IDTokenAlg: "ES256", RedirectURIs: []string{"https://rp.example/callback"}}
			id, secret := idp.Client(meta)
			rp := idp.RPOf(id, secret, meta)
			servers := map[string]*testidp.RP{"first": rp}
			slack := map[string]time.Duration{}
			if engine == "postgres" {
				// The same issuer behind another address, as behind a proxy that shares out requests.
				second := testidp.Start(t, testidp.Options{URL: idp.URL, Config: func(c *config.Config) { c.Issuer = idp.Issuer }})
				to := second.Transport.(*http.Transport).Clone()
				to.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, second.Config.HTTP.Listen)
				}
				second.Transport = to
				servers["second"], slack["second"] = second.RPOf(id, secret, meta), 1500*time.Millisecond // a second, and the machine's
			}
			sign := func(privilege string) *testidp.Tokens {
				who := idp.User(testidp.Person{Privileges: []string{privilege}})
				b, a := idp.Browser(), rp.Start()
				return rp.Finish(a, b.SignIn(b.Get(a.URL), who).URL)
			}

			var mu sync.Mutex
			var list []stormy
			note := func(s stormy) {
				mu.Lock()
				defer mu.Unlock()
				list = append(list, s)
			}
			stop := make(chan struct{})
			var storm sync.WaitGroup
			blow := func(ask func() bool) {
				storm.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							if !ask() {
								return
							}
						}
					}
				})
			}
			for name, at := range servers {
				for _, privilege := range []string{"gold", "lounge"} {
					tok := sign(privilege)
					refresh, access := tok.RefreshToken, sign(privilege).AccessToken
					blow(func() bool {
						asked := time.Now()
						r := at.Token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
						bears := strings.Contains(opened(r.String("access_token"))+opened(r.String("id_token")), `"gold"`)
						note(stormy{name, asked, r.Status, r.Body, bears})
						refresh = r.String("refresh_token")
						return r.Status == 200
					})
					blow(func() bool {
						asked := time.Now()
						status, claims := at.UserInfo(access)
						text := fmt.Sprint(claims["privileges"])
						note(stormy{name, asked, status, text, strings.Contains(text, "gold")})
						return status == 200
					})
				}
			}
			// A storm is enough answers of each server, however long a busy machine takes for them.
			gather := func(asked func(s stormy) bool) {
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
					n := map[string]int{}
					mu.Lock()
					for _, s := range list {
						if asked(s) {
							n[s.by]++
						}
					}
					mu.Unlock()
					enough := true
					for name := range servers {
						enough = enough && n[name] > 30
					}
					if enough {
						return
					}
				}
			}
			gather(func(s stormy) bool { return s.bears })
			impact, err := idp.Store.DeletePrivilege(context.Background(), "cli", "gold")
			deleted := time.Now()
			if err != nil {
				t.Error(err)
			}
			time.Sleep(slack["second"])
			gather(func(s stormy) bool { return s.at.After(deleted.Add(slack[s.by])) || s.status != 200 })
			close(stop)
			storm.Wait()
			if want := 4 * len(servers); impact.People != want {
				t.Errorf("%d people lose it, want %d", impact.People, want)
			}

			counts := map[string][2]int{} // before, after
			for _, s := range list {
				n := counts[s.by]
				switch {
				case s.status != 200:
					t.Errorf("%s: %d %s", s.by, s.status, s.body)
				case s.at.Before(deleted):
					if s.bears {
						n[0]++
					}
				case s.at.After(deleted.Add(slack[s.by])):
					n[1]++
					if s.bears {
						t.Errorf("%s: asked for %v after the deletion, and it is still there", s.by, s.at.Sub(deleted))
					}
				}
				counts[s.by] = n
			}
			for name := range servers {
				if n := counts[name]; n[0] < 20 || n[1] < 20 {
					t.Errorf("%s: %d answers with it before and %d after: no storm", name, n[0], n[1])
				}
			}
		})
	}
}

// opened is what a JWT says, unchecked; "" for none.
func opened(jwt string) string {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	return string(b)
}
