package session

import (
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
