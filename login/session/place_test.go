package session

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// keep has the browser remember a place, and says whether it does.
func (b *browser) keep(m *Manager, to string) bool {
	res := httptest.NewRecorder()
	m.KeepPlace(res, to)
	b.take(res)
	return len(res.Result().Cookies()) == 1
}

// place is where the browser is led back to.
func (b *browser) place(m *Manager) string {
	res := httptest.NewRecorder()
	to := m.TakePlace(res, b.bare())
	b.take(res)
	return to
}

// A place is a page of ours, for ten minutes, once.
func TestPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	for _, to := range []string{"/", "/admin/users?q=ada%40example.com&after=x", "/admin/privileges/crm:editor", "/" + strings.Repeat("a", maxPlace-1), "/a.b.c?d=e.f"} {
		b := newBrowser()
		if !b.keep(w.Manager, to) {
			t.Errorf("%.40s is not kept", to)
		}
		if got := b.place(w.Manager); got != to {
			t.Errorf("%.40s: led to %.40s", to, got)
		}
		if got := b.place(w.Manager); got != "" {
			t.Errorf("%.40s: served twice, then %.40s", to, got)
		}
	}
	b := newBrowser()
	b.keep(w.Manager, "/admin/users")
	b.keep(w.Manager, "/admin/rights")
	if got := b.place(w.Manager); got != "/admin/rights" {
		t.Errorf("the last one counts: %s", got)
	}
	b.keep(w.Manager, "/admin/users")
	w.forward(placeLife - time.Second)
	if got := b.place(w.Manager); got != "/admin/users" {
		t.Errorf("within its time: %q", got)
	}
	b.keep(w.Manager, "/admin/users")
	w.forward(placeLife)
	if got := b.place(w.Manager); got != "" || b.jar[w.cookies.place] != "" {
		t.Errorf("after its time: %q", got)
	}
}

// C8: no place outside of our pages is kept, and none is taken from a cookie that this server did not seal for this.
func TestSec_C8_Place(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	other, err := New(Config{Store: w.s, Keys: [][]byte{key(2)}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser()
	for _, to := range []string{"", "account", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/a\\b", "https://evil.example", "javascript:alert(1)", "data:text/html,x", " /account", "\t//evil.example",
		"/\t/evil.example", "/a\r\nLocation: https://evil.example", "/a\nb", "/" + strings.Repeat("a", maxPlace), "evil.example/", "@evil.example"} {
		if b.keep(w.Manager, to) || b.place(w.Manager) != "" {
			t.Errorf("%.40q is kept", to)
		}
	}
	b.signIn(t, w, w.password())
	session := b.jar[w.cookies.session]
	b.keep(w.Manager, "/admin")
	kept := b.jar[w.cookies.place]
	f := newBrowser()
	f.keep(other, "/admin")
	partial, err := w.seal(w.cookies.partial, "9999999999", "/admin")
	if err != nil {
		t.Fatal(err)
	}
	endless, err := w.seal(w.cookies.place, "never", "/admin")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"empty": "", "plain": "/admin", "an address": "9999999999./admin", "another server's": f.jar[w.cookies.place], "the session's": session, "another kind's": partial,
		"without an end": endless, "cut": kept[:len(kept)-2], "longer": kept + "AA", "changed": flip(kept), "huge": strings.Repeat("A", 8000)} {
		b := newBrowser()
		b.jar[w.cookies.place] = value
		res := httptest.NewRecorder()
		if to := w.TakePlace(res, b.bare()); to != "" {
			t.Errorf("%s: led to %q", name, to)
		}
		if set := res.Result().Cookies(); len(set) != 1 || set[0].MaxAge >= 0 {
			t.Errorf("%s: the cookie stays: %v", name, set)
		}
	}
	if b.place(w.Manager) != "/admin" {
		t.Error("the real one does not lead anywhere")
	}
	// A place is no session, and its cookie is as closed as that.
	thief := newBrowser()
	thief.jar[w.cookies.session] = kept
	if signedIn(t, w, thief) {
		t.Error("a place is a session")
	}
	res := httptest.NewRecorder()
	w.KeepPlace(res, "/admin")
	if c := res.Result().Cookies()[0]; !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(c.Name, "__Host-") || c.Path != "/" || c.Domain != "" {
		t.Errorf("%s", c.Raw)
	}
}

// flip changes a letter in the middle.
func flip(s string) string {
	i, c := len(s)/2, byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}
