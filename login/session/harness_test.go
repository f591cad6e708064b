package session

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
