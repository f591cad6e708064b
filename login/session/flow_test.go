package session

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

func (w *world) newFlow(browserHash string) (handle string, f *store.Flow) {
	w.t.Helper()
	handle = newSecret()
	f = &store.Flow{IDHash: hashHex(handle), ClientID: "app", Form: "client_id=app", BrowserHash: browserHash, ExpiresAt: store.At(w.now().Add(10 * time.Minute))}
	if _, err := w.s.Client(w.t.Context(), "app"); errors.Is(err, store.ErrNotFound) {
		if err := w.s.CreateClient(w.t.Context(), "cli", &store.Client{ID: "app", Source: "admin"}); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.s.CreateFlow(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
	return handle, f
}

// A7: a flow needs both its handle and the browser it began in.
func TestSec_A7_FlowIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		b, res := newBrowser(), httptest.NewRecorder()
		r := b.bare()
		if w.FlowBinding(r) != "" {
			t.Error("a browser without a cookie has a binding")
		}
		v := w.FlowCookie(res, r)
		if w.FlowCookie(res, r) != v || w.FlowBinding(r) != hashHex(v) || len(res.Result().Cookies()) != 1 {
			t.Error("one request got two bindings")
		}
		b.take(res)
		if w.FlowCookie(httptest.NewRecorder(), b.bare()) != v {
			t.Error("the next request got another binding")
		}
		handle, made := w.newFlow(w.FlowBinding(r))
		if f, err := w.Flow(b.bare(), handle); err != nil || f.IDHash != made.IDHash {
			t.Fatalf("%+v %v", f, err)
		}
		other := newBrowser()
		other.take(func() *httptest.ResponseRecorder {
			res := httptest.NewRecorder()
			w.FlowCookie(res, other.bare())
			return res
		}())
		for name, who := range map[string]*browser{"another": other, "none": newBrowser()} {
			f, err := w.Flow(who.bare(), handle)
			mustError(t, err, "error.flow_other_browser")
			if f != nil {
				t.Errorf("%s: the flow is shown", name)
			}
		}
		// A flow that was stored without a browser is nobody's.
		unbound, _ := w.newFlow("")
		_, err := w.Flow(newBrowser().bare(), unbound)
		mustError(t, err, "error.flow_other_browser")

		for _, h := range []string{"", "x", newSecret(), made.IDHash, handle + "x"} {
			_, err := w.Flow(b.bare(), h)
			mustError(t, err, "error.flow_expired")
		}

		finished, _ := w.newFlow(w.FlowBinding(r))
		if err := w.s.FinishFlow(t.Context(), hashHex(finished)); err != nil {
			t.Fatal(err)
		}
		f, err := w.Flow(b.bare(), finished)
		mustError(t, err, "error.flow_finished")
		if f == nil || f.ClientID != "app" {
			t.Error("no way back from a finished flow")
		}
		_, err = w.Flow(other.bare(), finished)
		mustError(t, err, "error.flow_other_browser")

		w.forward(10 * time.Minute)
		f, err = w.Flow(b.bare(), handle)
		mustError(t, err, "error.flow_expired")
		if f == nil {
			t.Error("no way back from an expired flow")
		}
	})
}

// A flow cookie that is not of our making counts for nothing.
func TestFlowCookieForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	good := newSecret()
	for value, want := range map[string]bool{good: true, "": false, "x": false, good + "x": false, good[1:] + "=": false, good[1:] + ".": false} {
		b := newBrowser()
		b.jar[w.cookies.flow] = value
		if got := w.FlowBinding(b.bare()) != ""; got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	// Rubbish beside the good one does not hide it, and is replaced where there is none.
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: w.cookies.flow, Value: "rubbish"})
	res := httptest.NewRecorder()
	if v := w.FlowCookie(res, r); v == "" || w.FlowCookie(res, r) != v || len(res.Result().Cookies()) != 1 {
		t.Error("rubbish hides the new cookie")
	}
}

// Form tokens are bound to the session, and before there is one to the browser.
func TestBinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.SQLite, nil)
	b, res := newBrowser(), httptest.NewRecorder()
	r := b.bare()
	if w.Binding(r) != "" {
		t.Error("a binding from nothing")
	}
	first := w.Bind(res, r)
	b.take(res)
	if first == "" || w.Binding(r) != first || w.Binding(b.bare()) != first {
		t.Error("the binding does not last")
	}
	b.signIn(t, w, w.password())
	second := w.Binding(b.request(t, w))
	if second == first || second != w.Bind(httptest.NewRecorder(), b.request(t, w)) {
		t.Error("the sign-in did not change the binding")
	}
}
