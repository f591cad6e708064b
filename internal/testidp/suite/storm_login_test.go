package suite

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_F3_TokensInALoginStorm prints how much slower tokens come while a crowd signs in with passwords, each of which costs a hash: the pool of hashes is
// bounded, so it should not be much. All are answered; how fast is the machine's affair, so nothing is asserted of that.
func TestSec_F3_TokensInALoginStorm(t *testing.T) {
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.Limits.Login.DelayAfter, c.Limits.Login.LockAfter = 99, 100 }})
	rp := idp.RP(store.ClientMetadata{Scope: "api", GrantTypes: []string{"client_credentials"}})
	tokens := func(n int) (took []time.Duration) {
		for range n {
			begin := time.Now()
			if r := rp.Token(url.Values{"grant_type": {"client_credentials"}, "scope": {"api"}}); r.Status != http.StatusOK {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		return took
	}
	tokens(20) // caches
	calm := tokens(200)

	b := idp.Browser()
	form := b.Get(idp.Issuer + "/login").FormOf("login-submit")
	stop := make(chan struct{})
	var storm sync.WaitGroup
	var hashed, busy, others, n atomic.Int64
	for range 16 {
		storm.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				body := url.Values{"identifier": {fmt.Sprintf("nobody%d@example.com", n.Add(1))}, "password": {"not the right one"}, "form_token": form.Values["form_token"]}
				req, err := http.NewRequest(http.MethodPost, idp.Issuer+"/login", strings.NewReader(body.Encode()))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
				for _, name := range b.Cookies() {
					req.AddCookie(&http.Cookie{Name: name, Value: b.Cookie(name)})
				}
				switch res, ok := try(idp.HTTP(), req); {
				case ok && res.Status == http.StatusUnprocessableEntity:
					hashed.Add(1)
				case ok && res.Status == http.StatusServiceUnavailable:
					busy.Add(1)
				default:
					others.Add(1)
				}
			}
		})
	}
	testidp.Within(t, waitLong, "the storm", func() bool { return hashed.Load() > 0 })
	stormy := tokens(200)
	close(stop)
	storm.Wait()
	at := func(took []time.Duration, part float64) time.Duration { return took[int(part*float64(len(took)-1))] }
	for _, part := range []float64{0.5, 0.99} {
		t.Logf("token at %.0f %%: %s calm, %s in the storm: %.1f times", part*100, at(calm, part), at(stormy, part), float64(at(stormy, part))/float64(at(calm, part)))
	}
	t.Logf("meanwhile %d passwords were refused, %d came while the pool was full, %d otherwise", hashed.Load(), busy.Load(), others.Load())
}
