package session

import (
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

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
		if again.SID != made.SID || made.SID == planted.SID || again.SID == "" {
			t.Errorf("sids %q, %q after %q", made.SID, again.SID, planted.SID)
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
