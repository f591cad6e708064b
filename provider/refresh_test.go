package provider_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_B1_RefreshReuseRevokesTheGrant: a chain of five, each older generation replayed.
func TestSec_B1_RefreshReuseRevokesTheGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		rp := idp.RP(public(refreshing(store.ClientMetadata{})))
		for old := range 4 {
			chain := []*testidp.Tokens{tokens(t, b, rp, ada)}
			for range 4 {
				time.Sleep(time.Minute)
				next, err := rp.Refresh(chain[len(chain)-1])
				if err != nil {
					t.Fatal(err)
				}
				if next.RefreshToken == chain[len(chain)-1].RefreshToken {
					t.Fatal("a public client's token did not rotate")
				}
				chain = append(chain, next)
			}
			time.Sleep(31 * time.Second)
			wantError(t, rp.Token(refreshForm(chain[old].RefreshToken)), 400, "invalid_grant")
			wantError(t, rp.Token(refreshForm(chain[4].RefreshToken)), 400, "invalid_grant")
			if s, _ := rp.UserInfo(chain[4].AccessToken); s != 401 {
				t.Errorf("generation %d reused, yet the access token lives: %d", old+1, s)
			}
			g, err := idp.Store.Grant(context.Background(), gid(t, chain[0].AccessToken))
			if err != nil || g.RevokeReason != "refresh_reuse" {
				t.Errorf("revoke reason %q, %v", g.RevokeReason, err)
			}
		}
	})
}

// TestSec_B2_ParallelRefreshIsIdempotent: nobody is signed out, and there is one successor; on PostgreSQL with two processes.
func TestSec_B2_ParallelRefreshIsIdempotent(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		m := public(refreshing(store.ClientMetadata{}))
		rp := idp.RP(m)
		m.RedirectURIs = []string{rp.RedirectURI}
		endpoints := []*testidp.RP{rp}
		if engine == "postgres" {
			endpoints = append(endpoints, testidp.StartProcess(t, testidp.Options{URL: idp.URL}).RPOf(rp.ID, "", m))
		}
		set := tokens(t, b, rp, ada)
		current := set.RefreshToken
		for range 10 {
			var mu sync.Mutex
			successors, answers := map[string]bool{}, map[string]int{}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					r := endpoints[i%len(endpoints)].Token(refreshForm(current))
					mu.Lock()
					answers[fmt.Sprint(r.Status, r.ErrorCode())]++
					successors[r.String("refresh_token")] = true
					mu.Unlock()
				})
			}
			wg.Wait()
			if answers["200"] != 8 || len(successors) != 1 {
				t.Fatalf("eight refreshes: %v, %d successors", answers, len(successors))
			}
			for s := range successors {
				if s == current {
					t.Fatal("not rotated")
				}
				current = s
			}
		}
	})
}

func TestSec_B2_GraceEndsAndOnlyTheParentHasIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		b := idp.Browser()
		rp, other := idp.RP(public(refreshing(store.ClientMetadata{}))), idp.RP(public(refreshing(store.ClientMetadata{})))
		first := tokens(t, b, rp, ada)
		second, err := rp.Refresh(first)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(29 * time.Second)
		again := rp.Token(refreshForm(first.RefreshToken))
		if again.Status != 200 || again.String("refresh_token") != second.RefreshToken {
			t.Errorf("a retry within grace: %d, same successor %v", again.Status, again.String("refresh_token") == second.RefreshToken)
		}
		// Another client that holds a copy gets nothing and breaks nothing.
		wantError(t, other.Token(refreshForm(first.RefreshToken)), 400, "invalid_grant")
		third, err := rp.Refresh(second)
		if err != nil {
			t.Fatal(err)
		}
		// The grandparent is reuse even within thirty seconds.
		wantError(t, rp.Token(refreshForm(first.RefreshToken)), 400, "invalid_grant")
		wantError(t, rp.Token(refreshForm(third.RefreshToken)), 400, "invalid_grant")
	})
}

func TestRefreshLifetimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		rp := idp.RP(refreshing(store.ClientMetadata{}))
		day := 24 * time.Hour

		// Idle: thirty days unused.
		set := tokens(t, idp.Browser(), rp, ada)
		time.Sleep(30*day + time.Second)
		wantError(t, rp.Token(refreshForm(set.RefreshToken)), 400, "invalid_grant")

		// Absolute: used every 25 days, over after 180. A confidential client keeps its token.
		set = tokens(t, idp.Browser(), rp, ada)
		for range 7 {
			for range 25 { // as the server's loop does, if more often
				time.Sleep(day)
				if err := idp.Server.Keys().Maintain(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			next, err := rp.Refresh(set)
			if err != nil {
				t.Fatal(err)
			}
			if next.RefreshToken != set.RefreshToken {
				t.Error("a confidential client's token rotated")
			}
			if next.Claims["auth_time"] != set.Claims["auth_time"] || next.IDToken.Subject != ada.ID || next.Claims["nonce"] != nil {
				t.Errorf("refreshed ID token %v", next.Claims)
			}
		}
		time.Sleep(5*day + time.Second)
		wantError(t, rp.Token(refreshForm(set.RefreshToken)), 400, "invalid_grant")
	})
}

func TestRefreshNarrowsScopeForOneTurn(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(refreshing(store.ClientMetadata{}))
	set := tokens(t, idp.Browser(), rp, ada)
	form := refreshForm(set.RefreshToken)
	form.Set("scope", "openid email")
	r := rp.Token(form)
	if r.Status != 200 || r.String("scope") != "openid email" {
		t.Fatalf("narrowed: %d %s", r.Status, r.Body)
	}
	if _, c := jwtClaims(t, r.String("access_token")); c["scope"] != "openid email" || c["privileges"] != nil {
		t.Errorf("narrowed access token: %v", c)
	}
	form.Set("scope", "openid phone")
	wantError(t, rp.Token(form), 400, "invalid_scope")
	// RFC 6749 §6: the refresh token kept the whole grant.
	if r := rp.Token(refreshForm(set.RefreshToken)); r.Status != 200 || r.String("scope") != set.Scope {
		t.Errorf("after narrowing: %d %q, want %q", r.Status, r.String("scope"), set.Scope)
	}
}

func TestRefreshTokensOfASessionEndWithIt(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	bound := idp.RP(refreshing(store.ClientMetadata{RefreshTokens: "session", Scope: "openid email"}))
	offline := idp.RP(refreshing(store.ClientMetadata{}))
	none := idp.RP(refreshing(store.ClientMetadata{Scope: "openid email"}))
	b := idp.Browser()
	x, y, z := tokens(t, b, bound, ada), tokens(t, b, offline, ada), tokens(t, b, none, ada)
	if z.RefreshToken != "" {
		t.Error("a refresh token without offline_access")
	}
	if x.RefreshToken == "" || y.RefreshToken == "" {
		t.Fatal("no refresh token")
	}
	if _, err := bound.Refresh(x); err != nil {
		t.Fatal(err)
	}
	b.Submit(b.Get(idp.Issuer+"/oauth2/logout"), "logout-confirm", nil).Want(200, "logout-done")
	wantError(t, bound.Token(refreshForm(x.RefreshToken)), 400, "invalid_grant")
	if _, err := offline.Refresh(y); err != nil {
		t.Errorf("sign-out ended a standalone grant: %v", err)
	}
	if s, _ := none.UserInfo(z.AccessToken); s != 401 {
		t.Errorf("an access token of the session outlived it: %d", s)
	}
}
