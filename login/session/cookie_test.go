package session

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/latchkey-idp/latchkey/store"
)

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
