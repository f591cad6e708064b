package suite

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

func refresh(tok string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok}}
}

// TestSec_J3_KillLosesNothing kills the process (SIGKILL) again and again while people sign in. Afterwards every acknowledged token is
// good, no code is good twice, no refresh generation twice, and the audit chain is whole.
func TestSec_J3_KillLosesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		p := testidp.StartProcess(t, testidp.Options{Engine: engine})
		const users = 8
		people := p.People(users)
		m := store.ClientMetadata{TokenEndpointAuth: "none", GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid email offline_access",
			RedirectURIs: []string{"https://rp.example/callback"}}
		id, _ := p.Client(m)
		type kept struct {
			code, verifier, access, refresh string
		}
		var mu sync.Mutex
		var acknowledged []kept
		spent := map[string]bool{} // refresh tokens whose successor was acknowledged
		signIns, kills := 0, 12
		want := 200
		if testing.Short() {
			kills, want = 3, 40
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for n := range users {
			wg.Go(func() {
				c := newCaller(t, p, people[n], id, m)
				for {
					select {
					case <-stop:
						return
					default:
					}
					code, verifier, ok := c.code()
					if !ok {
						continue
					}
					r, ok := c.token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {m.RedirectURIs[0]}, "code_verifier": {verifier}})
					if !ok || r.Status != http.StatusOK {
						continue // no answer, or 503: the client knows it has nothing
					}
					k := kept{code, verifier, r.String("access_token"), r.String("refresh_token")}
					if r, ok := c.token(refresh(k.refresh)); ok && r.Status == http.StatusOK {
						mu.Lock()
						spent[k.refresh] = true
						mu.Unlock()
						k.access, k.refresh = r.String("access_token"), r.String("refresh_token")
					}
					mu.Lock()
					acknowledged = append(acknowledged, k)
					signIns++
					mu.Unlock()
				}
			})
		}
		for range kills {
			time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
			p.Kill()
			began := time.Now()
			p.Start()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("ready again after %v", took)
			}
		}
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			mu.Lock()
			n := signIns
			mu.Unlock()
			if n >= want {
				break
			}
		}
		close(stop)
		wg.Wait()
		t.Logf("%d sign-ins acknowledged over %d kills", signIns, kills)
		if signIns < want {
			t.Errorf("only %d sign-ins", signIns)
		}
		rp := p.RPOf(id, "", m)
		for _, k := range acknowledged {
			if s, _ := rp.UserInfo(k.access); s != http.StatusOK {
				t.Fatalf("an acknowledged access token answers %d", s)
			}
			if r := rp.Token(refresh(k.refresh)); r.Status != http.StatusOK {
				t.Fatalf("an acknowledged refresh token: %d %s", r.Status, r.Body)
			}
		}
		for _, k := range acknowledged[:min(20, len(acknowledged))] {
			if r := rp.Redeem(k.code, k.verifier); r.Status != http.StatusBadRequest {
				t.Fatalf("a code was accepted twice: %d", r.Status)
			}
		}
		if n, broken, err := p.Store.VerifyAudit(context.Background()); err != nil || broken != 0 || n == 0 {
			t.Errorf("audit: %d entries, broken at %d, %v", n, broken, err)
		}
	})
}

// caller is a person's browser and the application in one that survives a server which dies at any moment.
type caller struct {
	p      *testidp.Process
	who    testidp.Person
	id     string
	m      store.ClientMetadata
	client *http.Client
	jar    map[string]string
}

func newCaller(_ *testing.T, p *testidp.Process, who testidp.Person, id string, m store.ClientMetadata) *caller {
	return &caller{p: p, who: who, id: id, m: m, client: p.HTTP(), jar: map[string]string{}}
}

// do sends a request with the cookies kept; false when there was no answer.
func (c *caller) do(req *http.Request) (int, string, string, bool) {
	for k, v := range c.jar {
		req.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, "", "", false
	}
	defer res.Body.Close()
	for _, k := range res.Cookies() {
		c.jar[k.Name] = k.Value
		if k.MaxAge < 0 {
			delete(c.jar, k.Name)
		}
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return res.StatusCode, res.Header.Get("Location"), b.String(), true
}

func (c *caller) get(u string) (int, string, string, bool) {
	req, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		return 0, "", "", false
	}
	return c.do(req)
}

func (c *caller) post(u string, form url.Values) (int, string, string, bool) {
	req, err := http.NewRequest(http.MethodPost, u, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", "", false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return c.do(req)
}

// code walks to a code; false when the server died on the way.
func (c *caller) code() (code, verifier string, ok bool) {
	verifier = strings.Repeat("v", 40) + fmt.Sprintf("%06d", rand.IntN(1e6))
	q := url.Values{"client_id": {c.id}, "redirect_uri": {c.m.RedirectURIs[0]}, "response_type": {"code"}, "scope": {c.m.Scope}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"}}
	status, to, _, ok := c.get(c.p.Issuer + "/oauth2/authorize?" + q.Encode())
	for range 6 {
		switch {
		case !ok || status >= 400:
			return "", "", false
		case strings.HasPrefix(to, c.m.RedirectURIs[0]):
			u, err := url.Parse(to)
			if err != nil || u.Query().Get("code") == "" {
				return "", "", false
			}
			return u.Query().Get("code"), verifier, true
		case status == http.StatusSeeOther:
			here := c.p.Issuer + to
			shown, _, body, answered := c.get(here)
			if !answered || shown != http.StatusOK {
				return "", "", false
			}
			form := url.Values{"form_token": {between(body, `name="form_token" value="`, `"`)}}
			if strings.Contains(here, "/login") {
				form.Set("identifier", c.who.Email)
				form.Set("password", c.who.Password)
			} else {
				form.Set("decision", "accept")
			}
			status, to, _, ok = c.post(here, form)
		default:
			return "", "", false
		}
	}
	return "", "", false
}

func (c *caller) token(form url.Values) (testidp.Response, bool) {
	form.Set("client_id", c.id)
	req, err := http.NewRequest(http.MethodPost, c.p.Issuer+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return testidp.Response{}, false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return try(c.client, req)
}

// TestSec_J1_LockedDatabaseIs503: while an outsider holds SQLite's write lock, what needs a write answers 503 with Retry-After, what only
// reads goes on, and afterwards all is well by itself.
func TestSec_J1_LockedDatabaseIs503(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{TokenEndpointAuth: "none", GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid email offline_access"})
	b := idp.Browser()
	a := rp.Start()
	set := rp.Finish(a, b.Consent(b.SignIn(b.Get(a.URL), ada)).URL)
	a2 := rp.Start()
	p2 := b.Get(a2.URL)

	db, err := sql.Open("sqlite", strings.TrimPrefix(idp.URL, "sqlite:")+"?_pragma=busy_timeout(1000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { unavailable(t, "refresh", rp.Token(refresh(set.RefreshToken))) })
	wg.Go(func() { unavailable(t, "revocation", rp.Revoke(set.RefreshToken)) })
	wg.Go(func() {
		if s, _ := rp.UserInfo(set.AccessToken); s != http.StatusOK {
			t.Errorf("userinfo while locked: %d", s)
		}
	})
	page := b.SendForm(p2, p2.FormOf("consent-accept"))
	if page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" || !page.Has("error-page") {
		t.Errorf("consent while locked: %s", page)
	}
	wg.Wait()
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if r := rp.Token(refresh(set.RefreshToken)); r.Status != http.StatusOK {
		t.Errorf("after the lock: %d %s", r.Status, r.Body)
	}
}

func unavailable(t testing.TB, what string, r testidp.Response) {
	t.Helper()
	if r.Status != http.StatusServiceUnavailable || r.ErrorCode() != "temporarily_unavailable" || r.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s (Retry-After %q)", what, r.Status, r.Body, r.Header.Get("Retry-After"))
	}
}

// TestSec_J4_DatabaseGoneAndHung: PostgreSQL disappears and hangs in the middle of traffic. Only 503 comes of it, readiness says so, good
// tokens are never called bad, and service resumes by itself.
func TestSec_J4_DatabaseGoneAndHung(t *testing.T) {
	t.Parallel()
	gate := testidp.NewGate(t)
	idp := testidp.Start(t, testidp.Options{URL: gate.URL})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}, Scope: "openid email offline_access api"})
	b := idp.Browser()
	a := rp.Start("scope", "openid email offline_access")
	set := rp.Finish(a, b.Consent(b.SignIn(b.Get(a.URL), ada)).URL)
	ready := func() int { s, _ := idp.Management("/readyz"); return s }
	trouble := func(how string) {
		t.Helper()
		var wg sync.WaitGroup
		began := time.Now()
		wg.Go(func() { unavailable(t, how+": refresh", rp.Token(refresh(set.RefreshToken))) })
		wg.Go(func() { unavailable(t, how+": introspection", rp.Introspect(set.AccessToken)) })
		wg.Go(func() {
			if s, _ := rp.UserInfo(set.AccessToken); s != http.StatusServiceUnavailable {
				t.Errorf("%s: userinfo %d", how, s)
			}
		})
		wg.Go(func() {
			r := rp.Token(url.Values{"grant_type": {"client_credentials"}, "scope": {"api"}})
			// What is known of the client is good for a second; after that nobody can say whether it still holds.
			if late := time.Since(began) > time.Second; r.Status != http.StatusOK && !(late && r.Status == http.StatusServiceUnavailable) {
				t.Errorf("%s: client_credentials needs no database: %d", how, r.Status)
			}
		})
		wg.Wait()
		if p := b.Get(rp.Start().URL); p.Status != http.StatusServiceUnavailable || !p.Has("error-page") {
			t.Errorf("%s: a page: %s", how, p)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: the answers took %v", how, took)
		}
		testidp.Within(t, 5*time.Second, how+": readiness turns red", func() bool { return ready() != http.StatusOK })
	}
	gate.Shut()
	trouble("gone")
	gate.Open()
	healthy := func(how string) {
		t.Helper()
		testidp.Within(t, 10*time.Second, how+": readiness turns green", func() bool { return ready() == http.StatusOK })
		testidp.Within(t, 10*time.Second, how+": refresh", func() bool { return rp.Token(refresh(set.RefreshToken)).Status == http.StatusOK })
		if s, _ := rp.UserInfo(set.AccessToken); s != http.StatusOK {
			t.Errorf("%s: userinfo %d", how, s)
		}
		a := rp.Start("scope", "openid email offline_access")
		rp.Code(a, b.Get(a.URL).URL)
	}
	healthy("back")
	gate.Hang()
	trouble("hung")
	gate.Resume()
	healthy("awake")
}

// TestSec_J6_ClocksThatDiffer: one of two processes on a PostgreSQL runs ten minutes ahead, and ten behind. Codes, sessions and tokens of
// either are good at the other, and live as long as they should.
func TestSec_J6_ClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			one := testidp.Start(t, testidp.Options{Engine: "postgres"})
			o := testidp.Options{URL: one.URL}
			o.Server.Now = func() time.Time { return time.Now().Add(off) }
			two := testidp.Start(t, o)
			ada := one.User(testidp.Person{})
			m := store.ClientMetadata{GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid email offline_access", RedirectURIs: []string{"https://rp.example/callback"}}
			id, secret := one.Client(m)
			for _, way := range [][2]*testidp.IDP{{one, two}, {two, one}} {
				from, to := way[0].RPOf(id, secret, m), way[1].RPOf(id, secret, m)
				b := way[0].Browser()
				a := from.Start("prompt", "login")
				p := b.SignIn(b.Get(a.URL), ada)
				if p.Status != 0 {
					p = b.Consent(p)
				}
				r := to.Redeem(from.Code(a, p.URL), a.Verifier)
				if r.Status != http.StatusOK {
					t.Fatalf("the code of one at the other: %d %s", r.Status, r.Body)
				}
				for _, rp := range []*testidp.RP{from, to} {
					if got := rp.Token(refresh(r.String("refresh_token"))); got.Status != http.StatusOK {
						t.Errorf("refresh: %d %s", got.Status, got.Body)
					}
				}
				got := to.Introspect(r.String("access_token"))
				if iat, _ := got.JSON["iat"].(float64); time.Since(time.Unix(int64(iat), 0)).Abs() > 20*time.Second {
					t.Errorf("issued at %v: %s", time.Unix(int64(iat), 0), got.Body)
				}
				silent := from.Start("prompt", "none")
				from.Code(silent, b.Get(silent.URL).URL)
				silent = from.Start("prompt", "none", "max_age", "300")
				from.Code(silent, b.Get(silent.URL).URL)
			}
		})
	}
}
