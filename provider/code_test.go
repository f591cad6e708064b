package provider_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

func TestSec_A1_PKCEMatrix(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	off := false
	clients := map[string]*testidp.RP{
		"public":       idp.RP(public(store.ClientMetadata{})),
		"confidential": idp.RP(store.ClientMetadata{}),
		"waived":       idp.RP(store.ClientMetadata{RequirePKCE: &off}),
	}
	wrong := strings.Repeat("w", 43)
	for name, rp := range clients {
		for challenge, more := range map[string][]string{
			"S256":  nil,
			"plain": {"code_challenge_method", "plain"},
			"bare":  {"code_challenge_method", ""},
			"none":  {"code_challenge", "", "code_challenge_method", ""},
		} {
			for _, verifier := range []string{"right", "wrong", "none"} {
				where := fmt.Sprintf("%s client, challenge %s, verifier %s", name, challenge, verifier)
				a := rp.Start(more...)
				end := through(t, b, a, ada).URL
				if challenge != "S256" && !(challenge == "none" && name == "waived") {
					if got := rp.Error(a, end); got != "invalid_request" {
						t.Errorf("%s: %s", where, got)
					}
					continue
				}
				v := map[string]string{"right": a.Verifier, "wrong": wrong, "none": ""}[verifier]
				r := rp.Redeem(rp.Code(a, end), v)
				good := challenge == "S256" && verifier == "right" || challenge == "none" && verifier == "none"
				if good != (r.Status == 200) {
					t.Errorf("%s: %d %s", where, r.Status, r.Body)
				}
				if !good {
					wantError(t, r, 400, "invalid_grant")
				}
			}
		}
	}
}

// TestPKCE_ChallengeSurvivesFailedRedemption: a wrong verifier must not make the next attempt easier (security.md A2). It holds with
// enforcement off, so that storage alone must hold it.
func TestPKCE_ChallengeSurvivesFailedRedemption(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		off := false
		for name, rp := range map[string]*testidp.RP{"public": idp.RP(public(store.ClientMetadata{})), "waived": idp.RP(store.ClientMetadata{RequirePKCE: &off})} {
			c, a := code(t, b, rp, ada)
			for _, v := range []string{strings.Repeat("w", 43), a.Verifier, ""} {
				wantError(t, rp.Redeem(c, v), 400, "invalid_grant")
			}
			grants, err := idp.Store.GrantsOf(context.Background(), ada.ID)
			if err != nil || len(grants) != 0 {
				t.Errorf("%s: live grants after a failed redemption: %v %v", name, grants, err)
			}
		}
	})
}

func TestSec_A9_CodeReplayRevokesTheGrant(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		rp := idp.RP(refreshing(store.ClientMetadata{}))
		a := rp.Start()
		c := rp.Code(a, through(t, b, a, ada).URL)
		first := rp.Redeem(c, a.Verifier)
		if first.Status != 200 {
			t.Fatal(first.Body)
		}
		if s, _ := rp.UserInfo(first.String("access_token")); s != 200 {
			t.Fatalf("userinfo before the replay: %d", s)
		}
		wantError(t, rp.Redeem(c, a.Verifier), 400, "invalid_grant")
		if s, _ := rp.UserInfo(first.String("access_token")); s != 401 {
			t.Errorf("the access token outlived the replay: %d", s)
		}
		wantError(t, rp.Token(refreshForm(first.String("refresh_token"))), 400, "invalid_grant")
		if r := rp.Introspect(first.String("access_token")); r.JSON["active"] != false {
			t.Errorf("introspection after the replay: %s", r.Body)
		}
	})
}

// TestSec_A10_ParallelRedemption: of eight redemptions at once exactly one succeeds, the others are invalid_grant, nobody sees a 5xx; on
// PostgreSQL with two processes.
func TestSec_A10_ParallelRedemption(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		m := store.ClientMetadata{}
		rp := idp.RP(m)
		m.RedirectURIs = []string{rp.RedirectURI}
		endpoints := []*testidp.RP{rp}
		if engine == "postgres" {
			endpoints = append(endpoints, testidp.StartProcess(t, testidp.Options{URL: idp.URL}).RPOf(rp.ID, rp.Secret, m))
		}
		rounds := 40
		if testing.Short() {
			rounds = 5
		}
		for range rounds {
			c, a := code(t, b, rp, ada)
			var mu sync.Mutex
			got := map[string]int{}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					r := endpoints[i%len(endpoints)].Redeem(c, a.Verifier)
					mu.Lock()
					got[fmt.Sprint(r.Status, r.ErrorCode())]++
					mu.Unlock()
				})
			}
			wg.Wait()
			if got["200"] != 1 || got["400invalid_grant"] != 7 {
				t.Fatalf("eight redemptions: %v", got)
			}
		}
	})
}

// TestSec_A11_EveryBindingOnItsOwn: client, redirect URI, verifier, expiry and code are each enough to refuse.
func TestSec_A11_EveryBindingOnItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		m := store.ClientMetadata{RedirectURIs: []string{"https://rp.example/callback", "https://rp.example/other"}}
		rp, stranger := idp.RP(m), idp.RP(m)
		for mask := range 32 {
			c, a := code(t, b, rp, ada)
			who, form := rp, url.Values{"grant_type": {"authorization_code"}, "code": {c}, "redirect_uri": {rp.RedirectURI}, "code_verifier": {a.Verifier}}
			if mask&1 != 0 {
				who = stranger
			}
			if mask&2 != 0 {
				form.Set("redirect_uri", "https://rp.example/other")
			}
			if mask&4 != 0 {
				form.Set("code_verifier", strings.Repeat("x", 43))
			}
			if mask&8 != 0 {
				time.Sleep(61 * time.Second)
			}
			if mask&16 != 0 {
				form.Set("code", c[:len(c)-4]+"AAAA")
			}
			r := who.Token(form)
			if mask == 0 {
				if r.Status != 200 {
					t.Fatalf("all right, yet %d %s", r.Status, r.Body)
				}
				continue
			}
			wantError(t, r, 400, "invalid_grant")
			// A stranger's attempt does the owner no harm; the owner's own failure spends the code.
			if mask == 1 {
				if r := rp.Redeem(c, a.Verifier); r.Status != 200 {
					t.Errorf("a stranger's attempt spent the code: %s", r.Body)
				}
			}
			if mask == 2 || mask == 4 {
				wantError(t, rp.Redeem(c, a.Verifier), 400, "invalid_grant")
			}
		}
	})
}

func TestSec_A12_CodesLiveAMinuteAndAreNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		rp := idp.RP(refreshing(store.ClientMetadata{}))
		c, a := code(t, b, rp, ada)
		time.Sleep(59 * time.Second)
		r := rp.Redeem(c, a.Verifier)
		if r.Status != 200 {
			t.Fatalf("after 59 s: %s", r.Body)
		}
		c2, a2 := code(t, b, rp, ada)
		time.Sleep(61 * time.Second)
		wantError(t, rp.Redeem(c2, a2.Verifier), 400, "invalid_grant")

		path := strings.TrimPrefix(idp.URL, "sqlite:")
		for _, f := range []string{path, path + "-wal"} {
			raw, err := os.ReadFile(f)
			if err != nil {
				continue // a checkpointed log may be gone
			}
			for what, secret := range map[string]string{"code": c, "pending code": c2, "refresh token": r.String("refresh_token"),
				"access token": r.String("access_token"), "client secret": rp.Secret, "password": ada.Password} {
				if strings.Contains(string(raw), secret) {
					t.Errorf("%s lies in the database in the clear", what)
				}
			}
		}
	})
}
