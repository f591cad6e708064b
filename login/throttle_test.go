package login_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

const wrongPassword = "wrong wrong wrong"

// Guesses under every name of an account at once: the number really checked is the limit, exactly.
func TestSec_F5_ParallelGuessesShareOneCounter(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		s.user("ana@example.com", func(u *store.User) { u.Username, u.Phone = "ana", "+4915112345678" })
		const n = 40
		names := []string{"ana@example.com", "ANA@example.COM", "ana", "Ana", " ana ", "+49 1511 2345678"}
		forms := make([]*form, n)
		for i := range forms {
			forms[i] = s.browser("192.0.2.66").get("/login").form("login-form").
				set("login-identifier", names[i%len(names)]).set("login-password", wrongPassword)
		}
		var mu sync.Mutex
		statuses := map[int]int{}
		var wg sync.WaitGroup
		for _, f := range forms {
			wg.Go(func() {
				p := f.p.b.send(http.MethodPost, f.action, f.values, nil) // not sent again when the hashing pool is full
				mu.Lock()
				defer mu.Unlock()
				statuses[p.status]++
			})
		}
		wg.Wait()
		if tried := statuses[http.StatusUnprocessableEntity] + statuses[http.StatusServiceUnavailable]; tried != 5 || statuses[http.StatusTooManyRequests] != n-5 {
			t.Errorf("answers %v, want 5 × 422 (503 on a machine too slow to hash) and %d × 429", statuses, n-5)
		}
		// Not even the right password is looked at now.
		p := s.browser("192.0.2.77").get("/login").signIn("ana@example.com", goodPassword).expect("/login", http.StatusTooManyRequests)
		if p.header.Get("Retry-After") == "" || !strings.Contains(p.text(), "Too many attempts") {
			t.Errorf("the page does not say how long to wait: %s", p.text())
		}
	})
}

// A flood from elsewhere locks nobody out who signs in from a device they used before, and never locks for good.
func TestSec_F6_OwnerIsNotLockedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	s.user("bob@example.com")
	owner := s.browser("192.0.2.1")
	owner.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
	owner.get("/logout").form("logout-form").submit().expect("/logged-out", http.StatusOK)

	// From many networks, one of them the owner's own.
	for i := range 10 {
		addr := fmt.Sprintf("198.51.%d.1", i)
		if i%6 == 0 {
			addr = "192.0.2.66"
		}
		s.browser(addr).get("/login").signIn("ana@example.com", wrongPassword).expect("/login", http.StatusUnprocessableEntity)
	}
	s.browser("203.0.113.9").get("/login").signIn("ana@example.com", wrongPassword).expect("/login", http.StatusTooManyRequests)
	s.browser("203.0.113.9").get("/login").signIn("bob@example.com", goodPassword).expect("/account", http.StatusOK) // another person
	owner.get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)

	s.sleep(16 * time.Minute)
	s.browser("203.0.113.9").get("/login").signIn("ana@example.com", goodPassword).expect("/account", http.StatusOK)
}

// Being locked tells no more about an account than being wrong does.
func TestSec_F8_SameLockForUnknownNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("known@example.com")
	var pages []string
	for i, name := range []string{"known@example.com", "nobody@example.com"} {
		b := s.browser(fmt.Sprintf("198.51.%d.1", i))
		for try := range 6 {
			p := b.get("/login").signIn(name, wrongPassword)
			if want := http.StatusUnprocessableEntity; try < 5 && p.status != want {
				t.Fatalf("%s: try %d answers %d, want %d", name, try, p.status, want)
			} else if try == 5 {
				p.expect("/login", http.StatusTooManyRequests)
				pages = append(pages, p.header.Get("Retry-After")+p.masked(name))
			}
		}
	}
	if pages[0] != pages[1] {
		t.Errorf("the locks differ:\n%s\n%s", pages[0], pages[1])
	}
}

// A counter that cannot be written makes no attempt free (security.md F7): a closed database answers 503, never a sign-in.
func TestSec_F7_NoCounterNoAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user("ana@example.com")
	b := s.browser("192.0.2.1")
	f := b.get("/login").form("login-form").set("login-identifier", "ana@example.com").set("login-password", goodPassword)
	must(t, s.store.Close())
	p := f.submit()
	if p.status != http.StatusServiceUnavailable || p.header.Get("Retry-After") == "" {
		t.Errorf("%d at %s without a database, want 503 with Retry-After: %s", p.status, p.url.Path, p.text())
	}
	if b.cookie(sessionCookie) != "" {
		t.Error("a session without a database")
	}
}
