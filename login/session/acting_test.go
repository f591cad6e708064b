package session

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// authority lets actor act for grantor for an hour.
func (w *world) authority(grantor, actor *store.User) string {
	w.t.Helper()
	ctx, in := w.t.Context(), store.At(w.now().Add(time.Hour))
	link := newSecret()
	if err := w.s.OfferAuthority(ctx, grantor.ID, &store.Authority{LinkHash: link, LinkUntil: in, Until: in}); err != nil {
		w.t.Fatal(err)
	}
	a, err := w.s.TakeAuthority(ctx, actor.ID, link)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.ID
}

// TestActing: the session stays that of who signed in, under a new id; it is asked at every reading, and costs others nothing.
func TestActing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		other := w.newUser("olga")
		id := w.authority(other, w.user)
		for _, remember := range []bool{false, true} {
			b := newBrowser()
			proof := w.password()
			proof.Remember = remember
			made := b.signIn(t, w, proof)
			before := w.s.Counts()
			cur, _ := Current(b.request(t, w).Context())
			if n := w.s.Counts().Reads - before.Reads; n != 1 || cur.Acting() || cur.Person() != cur.Live {
				t.Errorf("somebody who acts for nobody costs %d reads", n)
			}
			old := b.jar[w.cookies.session]
			res := httptest.NewRecorder()
			acts, err := w.Act(res, b.request(t, w), cur, store.Act{Authority: id}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if life := res.Result().Cookies()[0].MaxAge; (life > 0) != remember {
				t.Errorf("remembered %t, the cookie lives %d s", remember, life)
			}
			b.take(res)
			if _, err := w.Act(httptest.NewRecorder(), b.request(t, w), cur, store.Act{Authority: id}, nil); !errors.Is(err, store.ErrUsed) {
				t.Errorf("the old session acts again: %v", err)
			}
			stolen := newBrowser()
			stolen.jar[w.cookies.session] = old
			if signedIn(t, w, stolen) { // security.md C1
				t.Error("the old id lives")
			}
			r := b.request(t, w)
			cur, ok := Current(r.Context())
			if !ok || !cur.Acting() || cur.ID == made.ID || cur.ID != acts.ID || cur.UserID != w.user.ID || cur.Live.User.ID != w.user.ID || cur.Person().User.ID != other.ID ||
				cur.SID != made.SID || !cur.AuthTime.Equal(made.AuthTime.Time) || !cur.ExpiresAt.Equal(made.ExpiresAt.Time) {
				t.Fatalf("%+v", cur)
			}
			if w.Binding(r) == "session:"+cur.ID {
				t.Error("forms of both persons are alike")
			}
			res = httptest.NewRecorder()
			back, err := w.StopActing(res, r, cur)
			if err != nil || back.Acting() || back.ID == cur.ID || back.SID != made.SID {
				t.Fatalf("%+v %v", back, err)
			}
			if life := res.Result().Cookies()[0].MaxAge; (life > 0) != remember {
				t.Errorf("back, remembered %t, the cookie lives %d s", remember, life)
			}
			b.take(res)
			if cur, ok := Current(b.request(t, w).Context()); !ok || cur.Acting() || cur.ActingFor != "" {
				t.Fatalf("back as %+v", cur)
			}
		}
		// Over by the clock.
		b := newBrowser()
		cur := b.signIn(t, w, w.password())
		res := httptest.NewRecorder()
		if _, err := w.Act(res, b.request(t, w), cur, store.Act{Authority: id}, nil); err != nil {
			t.Fatal(err)
		}
		b.take(res)
		w.forward(time.Hour)
		for range 2 {
			if cur, ok := Current(b.request(t, w).Context()); !ok || cur.Acting() || cur.ActingFor != "" || cur.UserID != w.user.ID {
				t.Fatalf("after the end: %+v", cur)
			}
		}
	})
}
