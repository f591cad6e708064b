package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// world is a manager on a fresh database with a clock that tests move, and one user.
type world struct {
	*Manager
	t     testing.TB
	s     *store.Store
	at    atomic.Int64
	user  *store.User
	spawn []func()
	mu    sync.Mutex
}

func (w *world) now() time.Time          { return time.UnixMilli(w.at.Load()).UTC() }
func (w *world) forward(d time.Duration) { w.at.Add(d.Milliseconds()) }

// settle runs what was spawned and says how much that was.
func (w *world) settle() int {
	w.mu.Lock()
	todo := w.spawn
	w.spawn = nil
	w.mu.Unlock()
	for _, f := range todo {
		f()
	}
	return len(todo)
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 64) }

func newWorld(t testing.TB, engine string, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t}
	w.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	w.s = storetest.OpenWith(t, engine, store.Config{Now: func() time.Time { return time.UnixMilli(w.at.Load()).UTC() }})
	c := Config{Store: w.s, Keys: [][]byte{key(1)}, Spawn: func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.spawn = append(w.spawn, f)
	}}
	if change != nil {
		change(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Manager = m
	w.user = w.newUser("ann")
	return w
}

func (w *world) newUser(name string) *store.User {
	w.t.Helper()
	u := &store.User{Username: name, Email: name + "@example.com"}
	if err := w.s.CreateUser(w.t.Context(), u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	for _, engine := range storetest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(t, newWorld(t, engine, nil))
		})
	}
}

// browser keeps cookies as one does.
type browser struct{ jar map[string]string }

func newBrowser() *browser { return &browser{jar: map[string]string{}} }

// request is what the browser sends, with the session middleware run.
func (b *browser) request(t testing.TB, w *world) *http.Request {
	t.Helper()
	r := b.bare()
	ctx, err := w.Load(r.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r.WithContext(ctx)
}

func (b *browser) bare() *http.Request {
	r := httptest.NewRequest("GET", "https://id.example.com/", nil)
	r.Header.Set("User-Agent", "Test/1.0")
	for name, value := range b.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func (b *browser) take(res *httptest.ResponseRecorder) {
	for _, c := range res.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
}

func (b *browser) signIn(t testing.TB, w *world, p Proof) *Session {
	t.Helper()
	res := httptest.NewRecorder()
	s, err := w.Start(res, b.request(t, w), p)
	if err != nil {
		t.Fatal(err)
	}
	b.take(res)
	return s
}

func (w *world) password() Proof {
	return Proof{UserID: w.user.ID, Connector: "password", AMR: []string{"pwd"}}
}

func signedIn(t testing.TB, w *world, b *browser) bool {
	t.Helper()
	_, ok := Current(b.request(t, w).Context())
	return ok
}

func mustError(t testing.TB, err error, key string) *web.Error {
	t.Helper()
	var e *web.Error
	if !errors.As(err, &e) || e.Key != key || e.Status != 400 {
		t.Fatalf("error %v, want %s", err, key)
	}
	return e
}

func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b := newBrowser()
		made := b.signIn(t, w, w.password())
		if made.Live == nil || made.Live.User.ID != w.user.ID || made.ACR != "1" || !made.AuthTime.Equal(w.now()) || made.UserAgent != "Test/1.0" {
			t.Errorf("session %+v", made)
		}
		cur, ok := Current(b.request(t, w).Context())
		if !ok || cur.ID != made.ID || cur.Live.User.Email != "ann@example.com" || !slices.Equal(cur.AMR, []string{"pwd"}) {
			t.Fatalf("current %+v %v", cur, ok)
		}
		res := httptest.NewRecorder()
		if err := w.End(res, b.request(t, w), "logout"); err != nil {
			t.Fatal(err)
		}
		stolen := newBrowser()
		stolen.jar[w.cookies.session] = b.jar[w.cookies.session]
		b.take(res)
		if _, ok := b.jar[w.cookies.session]; ok || signedIn(t, w, b) || signedIn(t, w, stolen) {
			t.Error("the session outlives its end")
		}
		if err := w.End(httptest.NewRecorder(), b.request(t, w), "logout"); err != nil {
			t.Errorf("second end: %v", err)
		}
	})
}

// C1: an id from before is worth nothing after, and every change of privilege makes a new one.
func TestSec_C1_Fixation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		victim, attacker := newBrowser(), newBrowser()
		mallory := w.newUser("mallory")
		planted := attacker.signIn(t, w, Proof{UserID: mallory.ID, Connector: "password", AMR: []string{"pwd"}})
		victim.jar[w.cookies.session] = attacker.jar[w.cookies.session]
		made := victim.signIn(t, w, w.password())
		if made.ID == planted.ID || victim.jar[w.cookies.session] == attacker.jar[w.cookies.session] {
			t.Error("the planted id was kept")
		}
		if signedIn(t, w, attacker) {
			t.Error("the planted session lives on")
		}
		if s, _ := Current(victim.request(t, w).Context()); s.UserID != w.user.ID {
			t.Error("signed in as somebody else")
		}
		// Again, as the same person: re-authentication.
		old := newBrowser()
		old.jar[w.cookies.session] = victim.jar[w.cookies.session]
		again := victim.signIn(t, w, w.password())
		if again.ID == made.ID || signedIn(t, w, old) || !signedIn(t, w, victim) {
			t.Error("re-authentication kept the id")
		}
		// A made-up cookie never becomes a session.
		forged := newBrowser()
		for _, v := range []string{"x", made.ID + ".x", strings.Repeat("A", 300), victim.jar[w.cookies.session] + "A"} {
			forged.jar[w.cookies.session] = v
			if signedIn(t, w, forged) {
				t.Errorf("%q is a session", v)
			}
		}
	})
}

// C1 at the second step: the partial sign-in's cookie dies, and the session before it too.
func TestSec_C1_SecondStep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b := newBrowser()
		before := b.signIn(t, w, w.password())
		beforeCookie := b.jar[w.cookies.session]
		res := httptest.NewRecorder()
		if _, err := w.StartPartial(res, b.request(t, w), w.password(), "new_password", "flow"); err != nil {
			t.Fatal(err)
		}
		b.take(res)
		partialCookie := b.jar[w.cookies.partial]
		r := b.request(t, w)
		p, u, err := w.CurrentPartial(r)
		if err != nil || u.ID != w.user.ID || p.Owes != "new_password" || p.FlowHash != "flow" {
			t.Fatalf("%+v %v", p, err)
		}
		res = httptest.NewRecorder()
		s, err := w.Complete(res, r, p, []string{"pwd", "otp"})
		if err != nil {
			t.Fatal(err)
		}
		b.take(res)
		if s.ID == before.ID || s.ID == p.ID || !slices.Equal(s.AMR, []string{"pwd", "otp"}) || s.ACR != "2" || !signedIn(t, w, b) {
			t.Errorf("session %+v", s)
		}
		old := newBrowser()
		old.jar[w.cookies.session], old.jar[w.cookies.partial] = beforeCookie, partialCookie
		if signedIn(t, w, old) {
			t.Error("the session from before lives on")
		}
		_, _, err = w.CurrentPartial(old.bare())
		mustError(t, err, "error.sign_in_expired")
		if _, ok := b.jar[w.cookies.partial]; ok {
			t.Error("the partial cookie was kept")
		}
		// Single use.
		_, err = w.Complete(httptest.NewRecorder(), r, p, nil)
		mustError(t, err, "error.sign_in_expired")
	})
}

// C10: a half-finished sign-in is no session, however its cookie is turned.
func TestSec_C10_PartialIsNoSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b := newBrowser()
		res := httptest.NewRecorder()
		if _, err := w.StartPartial(res, b.request(t, w), w.password(), "second_factor", ""); err != nil {
			t.Fatal(err)
		}
		b.take(res)
		if signedIn(t, w, b) {
			t.Error("signed in")
		}
		b.jar[w.cookies.session] = b.jar[w.cookies.partial]
		if signedIn(t, w, b) {
			t.Error("the partial cookie is a session under another name")
		}
		full := newBrowser()
		full.signIn(t, w, w.password())
		full.jar[w.cookies.partial] = full.jar[w.cookies.session]
		_, _, err := w.CurrentPartial(full.bare())
		mustError(t, err, "error.sign_in_expired")
	})
}

func TestPartialLimits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		start := func() (*browser, *Partial) {
			b, res := newBrowser(), httptest.NewRecorder()
			p, err := w.StartPartial(res, b.request(t, w), w.password(), "new_password", "")
			if err != nil {
				t.Fatal(err)
			}
			b.take(res)
			return b, p
		}
		b, p := start()
		for i := range partialTries {
			if err := w.Try(b.bare(), p); err != nil {
				t.Fatalf("try %d: %v", i+1, err)
			}
		}
		mustError(t, w.Try(b.bare(), p), "error.sign_in_expired")
		_, _, err := w.CurrentPartial(b.bare())
		mustError(t, err, "error.sign_in_expired")

		b, p = start()
		w.forward(partialLife - time.Second)
		if _, _, err := w.CurrentPartial(b.bare()); err != nil {
			t.Fatal(err)
		}
		w.forward(time.Second)
		_, _, err = w.CurrentPartial(b.bare())
		mustError(t, err, "error.sign_in_expired")
		_, err = w.Complete(httptest.NewRecorder(), b.bare(), p, nil)
		mustError(t, err, "error.sign_in_expired")

		// Eight completions at once: one session.
		b, p = start()
		var ok atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := w.Complete(httptest.NewRecorder(), b.bare(), p, nil); err == nil {
					ok.Add(1)
				}
			})
		}
		all.Wait()
		if list, err := w.s.SessionsOf(t.Context(), w.user.ID); err != nil || ok.Load() != 1 || len(list) != 1 {
			t.Errorf("%d completions, %d sessions, %v", ok.Load(), len(list), err)
		}

		// A user who was switched off meanwhile.
		b, p = start()
		if err := w.s.DisableUser(t.Context(), "cli", w.user.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err = w.CurrentPartial(b.bare()); err == nil {
			t.Error("a switched-off user's partial sign-in")
		}
		if _, err = w.Complete(httptest.NewRecorder(), b.bare(), p, nil); err == nil {
			t.Error("a switched-off user was signed in")
		}
		if _, err = w.Start(httptest.NewRecorder(), b.bare(), w.password()); err == nil {
			t.Error("a switched-off user was signed in")
		}
	})
}

// C2: what the cookies look like, and that they hold nothing but a pointer.
func TestSec_C2_Cookies(t *testing.T) {
	t.Parallel()
	for _, insecure := range []bool{false, true} {
		w := newWorld(t, store.SQLite, func(c *Config) { c.Insecure = insecure })
		b, res := newBrowser(), httptest.NewRecorder()
		r := b.request(t, w)
		flow := w.FlowCookie(res, r)
		p := w.password()
		if _, err := w.Start(res, r, p); err != nil {
			t.Fatal(err)
		}
		if c := (&http.Response{Header: res.Header()}).Cookies(); len(c) != 2 || c[0].Name != w.cookies.session || c[0].MaxAge != 0 {
			t.Errorf("cookies of a session that ends with the browser: %v", c)
		}
		p.Remember = true
		if _, err := w.Start(res, r, p); err != nil {
			t.Fatal(err)
		}
		if _, err := w.StartPartial(res, r, p, "new_password", ""); err != nil {
			t.Fatal(err)
		}
		prefix := "__Host-"
		if insecure {
			prefix = ""
		}
		var seen []string
		for _, c := range (&http.Response{Header: res.Header()}).Cookies() {
			seen = append(seen, fmt.Sprint(c.Name, " ", c.MaxAge))
			if !c.HttpOnly || c.Secure == insecure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, prefix+"latchkey") || len(c.Value) > 400 {
				t.Errorf("cookie %s", c)
			}
			if strings.Contains(c.Value, w.user.ID) {
				t.Error("a cookie names its user")
			}
		}
		want := []string{prefix + "latchkey 2592000", prefix + "latchkey-flow 15552000", prefix + "latchkey-partial 300"}
		if !slices.Equal(seen, want) {
			t.Errorf("cookies\n got %q\nwant %q", seen, want)
		}
		if !isSecret(flow) {
			t.Errorf("flow cookie %q", flow)
		}
		res = httptest.NewRecorder()
		if err := w.End(res, r, "logout"); err != nil {
			t.Fatal(err)
		}
		if c := res.Result().Cookies(); len(c) != 1 || c[0].MaxAge != -1 || c[0].Secure == insecure || !c[0].HttpOnly || c[0].Path != "/" {
			t.Errorf("end sets %v", c)
		}
	}
}

// C2: the row is the truth: whatever deletes or disables works at the next request, through any manager.
func TestSec_C2_RowIsTheTruth(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		other, err := New(Config{Store: w.s, Keys: [][]byte{key(1)}})
		if err != nil {
			t.Fatal(err)
		}
		for name, end := range map[string]func(*Session) error{
			"ended":       func(s *Session) error { return w.s.EndSession(t.Context(), s.ID, "test") },
			"all ended":   func(s *Session) error { return w.s.EndSessionsOf(t.Context(), s.UserID, "", "test", true) },
			"another pwd": func(s *Session) error { return w.s.SetPassword(t.Context(), "cli", s.UserID, "$x", false, "") },
			"disabled":    func(s *Session) error { return w.s.DisableUser(t.Context(), "cli", s.UserID, "test") },
		} {
			u := w.newUser("u" + strings.ReplaceAll(name, " ", ""))
			b := newBrowser()
			s := b.signIn(t, w, Proof{UserID: u.ID, Connector: "password", AMR: []string{"pwd"}})
			if !signedIn(t, w, b) {
				t.Fatalf("%s: not signed in", name)
			}
			if err := end(s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ctx, err := other.Load(t.Context(), b.bare())
			if _, ok := Current(ctx); ok || err != nil || signedIn(t, w, b) {
				t.Errorf("%s: still signed in, %v", name, err)
			}
		}
		// Not yet valid, no longer valid.
		u := w.newUser("temp")
		u.ValidUntil = store.At(w.now().Add(time.Hour))
		if err := w.s.UpdateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		b := newBrowser()
		b.signIn(t, w, Proof{UserID: u.ID, Connector: "password", AMR: []string{"pwd"}})
		w.forward(time.Hour)
		if signedIn(t, w, b) {
			t.Error("signed in after the account's end")
		}
	})
}

// C2: the secret half is compared with the row's, not just the id looked up.
func TestSec_C2_Secret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	b := newBrowser()
	s := b.signIn(t, w, w.password())
	for secret, want := range map[string]bool{newSecret(): false, s.SecretHash: false, "": false} {
		value, err := w.seal(w.cookies.session, s.ID, secret)
		if err != nil {
			t.Fatal(err)
		}
		b.jar[w.cookies.session] = value
		if signedIn(t, w, b) != want {
			t.Errorf("secret %q", secret)
		}
	}
	if secretMatches("", "") || secretMatches("x", "") {
		t.Error("an empty hash matches")
	}
}

// C2: cookie keys rotate: the first seals, all open.
func TestSec_C2_KeyRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	b := newBrowser()
	b.signIn(t, w, w.password())
	manager := func(keys ...[]byte) *Manager {
		m, err := New(Config{Store: w.s, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	loads := func(m *Manager) bool {
		ctx, err := m.Load(t.Context(), b.bare())
		if err != nil {
			t.Fatal(err)
		}
		_, ok := Current(ctx)
		return ok
	}
	if !loads(manager(key(2), key(1))) || loads(manager(key(2))) {
		t.Error("the old key")
	}
	res := httptest.NewRecorder()
	if _, err := manager(key(2), key(1)).Start(res, newBrowser().bare(), w.password()); err != nil {
		t.Fatal(err)
	}
	b.take(res)
	if !loads(manager(key(2))) || loads(manager(key(1))) {
		t.Error("the new key does not seal")
	}
	for _, keys := range [][][]byte{nil, {make([]byte, 32)}, {key(1), make([]byte, 63)}} {
		if _, err := New(Config{Store: w.s, Keys: keys}); err == nil {
			t.Errorf("%d keys accepted", len(keys))
		}
	}
}

// C12: idle and absolute ends, with and without "keep me signed in".
func TestSec_C12_Lifetimes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		for _, remember := range []bool{false, true} {
			idle, absolute := 12*time.Hour, 7*24*time.Hour
			if remember {
				idle, absolute = 14*24*time.Hour, 30*24*time.Hour
			}
			p := w.password()
			p.Remember = remember
			b := newBrowser()
			b.signIn(t, w, p)
			w.forward(idle - time.Second)
			if !signedIn(t, w, b) {
				t.Fatal("ended early")
			}
			w.settle() // last_seen
			w.forward(idle - time.Second)
			if !signedIn(t, w, b) {
				t.Fatal("use did not prolong it")
			}
			w.settle()
			w.forward(idle)
			if signedIn(t, w, b) {
				t.Error("idle for too long")
			}
			b = newBrowser()
			b.signIn(t, w, p)
			begin := w.now()
			for w.now().Sub(begin) < absolute-time.Hour {
				if !signedIn(t, w, b) {
					t.Fatalf("ended after %v", w.now().Sub(begin))
				}
				w.settle()
				w.forward(min(idle/2, absolute-time.Second-w.now().Sub(begin)))
			}
			w.forward(begin.Add(absolute).Sub(w.now()))
			if signedIn(t, w, b) {
				t.Error("lives for ever")
			}
		}
	})
}

// No cookie, no statement; a cookie of ours, one; anything else, none. last_seen is not on the request's path.
func TestStatements(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b := newBrowser()
		b.signIn(t, w, w.password())
		w.settle()
		cost := func(b *browser) (reads, writes int64) {
			before := w.s.Counts()
			b.request(t, w)
			after := w.s.Counts()
			return after.Reads - before.Reads, after.Writes - before.Writes
		}
		forged := newBrowser()
		forged.jar[w.cookies.session] = "MTc3MjM2NjQwMHxhYmN8ZGVm"
		flowOnly := newBrowser()
		flowOnly.jar[w.cookies.flow] = newSecret()
		for name, tc := range map[string]struct {
			b     *browser
			reads int64
		}{"no cookie": {newBrowser(), 0}, "flow cookie": {flowOnly, 0}, "forged": {forged, 0}, "session": {b, 1}} {
			if r, wr := cost(tc.b); r != tc.reads || wr != 0 {
				t.Errorf("%s: %d reads, %d writes", name, r, wr)
			}
		}
		if n := w.settle(); n != 0 {
			t.Errorf("last_seen written %d times within five minutes", n)
		}
		w.forward(seenEvery)
		for range 3 {
			if r, wr := cost(b); r != 1 || wr != 0 {
				t.Errorf("after five minutes: %d reads, %d writes on the path", r, wr)
			}
		}
		if n := w.settle(); n != 1 {
			t.Errorf("last_seen written %d times", n)
		}
		cost(b)
		if n := w.settle(); n != 0 {
			t.Errorf("last_seen written again, %d times", n)
		}
		s, _ := Current(b.request(t, w).Context())
		if !s.LastSeenAt.Equal(w.now()) {
			t.Errorf("last_seen %v", s.LastSeenAt)
		}
	})
}

// J1: a database that does not answer is an error, never a signed-out person.
func TestSec_J1_Unavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Store: s, Keys: [][]byte{key(1)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := newBrowser()
	b.signIn(t, w, w.password())
	b.jar[w.cookies.partial], _ = w.seal(w.cookies.partial, "x", newSecret())
	b.jar[w.cookies.flow] = newSecret()
	_, loadErr := m.Load(t.Context(), b.bare())
	_, _, partialErr := m.CurrentPartial(b.bare())
	_, flowErr := m.Flow(b.bare(), "handle")
	_, startErr := m.Start(httptest.NewRecorder(), b.bare(), w.password())
	_, gorillaErr := m.Sessions().New(b.bare(), w.cookies.session)
	for name, err := range map[string]error{"Load": loadErr, "CurrentPartial": partialErr, "Flow": flowErr, "Start": startErr, "New": gorillaErr} {
		var e *web.Error
		if !errors.Is(err, store.ErrUnavailable) || errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ctx, err := m.Load(t.Context(), newBrowser().bare()); err != nil || ctx != t.Context() {
		t.Errorf("without a cookie: %v", err)
	}
	// A session that could not be made sets no cookie.
	res := httptest.NewRecorder()
	_, _ = m.Start(res, newBrowser().bare(), w.password())
	if len(res.Result().Cookies()) != 0 {
		t.Error("a cookie without a row")
	}
}

// A rollback takes the session with it.
func TestStartJoinsTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b := newBrowser()
		b.signIn(t, w, w.password())
		r, res := b.request(t, w), httptest.NewRecorder()
		err := w.s.Tx(r.Context(), func(ctx context.Context) error {
			if _, err := w.Start(res, r.WithContext(ctx), w.password()); err != nil {
				return err
			}
			return errors.New("something else failed")
		})
		if err == nil {
			t.Fatal("no error")
		}
		if !signedIn(t, w, b) {
			t.Error("the old session ended")
		}
		b.take(res)
		if signedIn(t, w, b) {
			t.Error("the new session exists")
		}
	})
}

// The manager is a gorilla/sessions store.
func TestGorillaStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	var gs sessions.Store = w.Sessions()
	b := newBrowser()
	g, err := gs.Get(b.bare(), w.cookies.session)
	if err != nil || !g.IsNew {
		t.Fatalf("%+v %v", g, err)
	}
	res := httptest.NewRecorder()
	if err := g.Save(b.bare(), res); err != nil || len(res.Result().Cookies()) != 0 {
		t.Errorf("an anonymous visitor got %v, %v", res.Result().Cookies(), err)
	}
	made := b.signIn(t, w, w.password())
	r := b.request(t, w)
	g, err = gs.Get(r, w.cookies.session)
	if err != nil || g.IsNew || g.ID != made.ID || g.Values[sessionKey{}].(*Session).UserID != w.user.ID {
		t.Fatalf("%+v %v", g, err)
	}
	before := w.s.Counts().Reads
	if _, err := gs.Get(r, w.cookies.session); err != nil || w.s.Counts().Reads != before {
		t.Error("Get reads twice in one request")
	}
	g.Options.MaxAge = -1
	if err := g.Save(r, httptest.NewRecorder()); err != nil || signedIn(t, w, b) {
		t.Errorf("MaxAge -1 does not end it: %v", err)
	}
	if g, err := gs.New(r, "another"); err != nil || !g.IsNew {
		t.Errorf("another name: %+v %v", g, err)
	}
}

func TestSpawnedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	b := newBrowser()
	b.signIn(t, w, w.password())
	w.forward(seenEvery)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { b.request(t, w) })
	}
	all.Wait()
	if n := w.settle(); n != 1 {
		t.Errorf("%d writes of one last_seen", n)
	}
}

func TestACR(t *testing.T) {
	t.Parallel()
	for amr, want := range map[string]string{
		"": "1", "pwd": "1", "fed": "1", "email": "1", "sms": "1", "pwd email": "1", "pwd otp": "2", "pwd sms": "2", "fed otp": "2", "email sms": "2", "otp sms": "1", "mfa": "2", "fed mfa": "2",
		"swk": "1", "hwk": "1", "swk user": "phr", "swk pin": "phr", "pwd swk": "phr", "hwk user": "phrh", "hwk pin user": "phrh", "pwd hwk": "phrh", "user": "1", "unknown": "1",
	} {
		if got := ACR(strings.Fields(amr)); got != want {
			t.Errorf("%q: %q, want %q", amr, got, want)
		}
	}
}

func TestSID(t *testing.T) {
	t.Parallel()
	if a, b := SID("a"), SID("b"); a == b || a != SID("a") || len(a) != 22 || strings.Contains(a, "a.") {
		t.Errorf("%s %s", a, b)
	}
}

func FuzzCookie(f *testing.F) {
	m, err := New(Config{Store: new(store.Store), Keys: [][]byte{key(1), key(2)}})
	if err != nil {
		f.Fatal(err)
	}
	good, err := m.seal(m.cookies.session, "id", "secret")
	if err != nil {
		f.Fatal(err)
	}
	noDot, err := securecookie.EncodeMulti(m.cookies.session, []byte("nodot"), m.codecs...)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, noDot, "", "x", strings.Repeat("A", 5000), good[:len(good)-2], "MTIzfHx8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		id, secret, ok := m.open(m.cookies.session, v)
		if ok && (id != "id" || secret != "secret") {
			t.Fatalf("%q opened as %q.%q", v, id, secret)
		}
		if _, _, ok := m.open(m.cookies.partial, v); ok {
			t.Fatalf("%q opened under another name", v)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{m.cookies.flow + "=" + v}
		if got := m.flowValue(r); got != "" && !isSecret(got) {
			t.Fatalf("flow cookie %q", got)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	w := newWorld(b, store.SQLite, nil)
	br := newBrowser()
	br.signIn(b, w, w.password())
	r := br.bare()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Load(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenCookie(b *testing.B) {
	m, err := New(Config{Store: new(store.Store), Keys: [][]byte{key(1)}})
	if err != nil {
		b.Fatal(err)
	}
	v, err := m.seal(m.cookies.session, newID(), rand.Text())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.open(m.cookies.session, v)
	}
}
