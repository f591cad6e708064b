package sampleapp

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/relying"
)

// shelf keeps what people write down, in memory. Somebody who is signed in owns notes under their sub; a visitor owns them under the secret
// in a cookie, until they sign in.
type shelf struct {
	mu     sync.Mutex
	notes  map[string][]string
	owners []string // oldest first
	rings  map[string]int
	names  map[string]string // of people who were here as themselves
}

const (
	maxOwners = 1000
	maxNotes  = 20  // of one owner
	maxNote   = 500 // characters
)

func newShelf() *shelf {
	return &shelf{notes: map[string][]string{}, rings: map[string]int{}, names: map[string]string{}}
}

func (s *shelf) of(owner string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes[owner])
}

func (s *shelf) add(owner, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(owner, text)
}

func (s *shelf) put(owner string, texts ...string) {
	if _, known := s.notes[owner]; !known {
		if len(s.owners) >= maxOwners {
			delete(s.notes, s.owners[0])
			delete(s.rings, s.owners[0])
			delete(s.names, s.owners[0])
			s.owners = s.owners[1:]
		}
		s.owners = append(s.owners, owner)
	}
	all := append(s.notes[owner], texts...)
	s.notes[owner] = all[max(0, len(all)-maxNotes):]
}

// move gives the notes of one owner to another.
func (s *shelf) move(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts, ok := s.notes[from]
	if !ok {
		return
	}
	delete(s.notes, from)
	s.owners = slices.DeleteFunc(s.owners, func(o string) bool { return o == from })
	s.put(to, texts...)
}

// ring counts; by 0 it only looks.
func (s *shelf) ring(owner string, by int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by > 0 {
		s.put(owner)
		s.rings[owner] += by
	}
	return s.rings[owner]
}

// know keeps the name of somebody who is here.
func (s *shelf) know(owner, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[owner] != name {
		s.put(owner)
		s.names[owner] = name
	}
}

// name of somebody who was here; "" = nobody knows.
func (s *shelf) name(owner string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[owner]
}

func person(sub string) string { return "sub:" + sub }

// visitor is whoever has this browser and is not signed in; "" if they wrote nothing yet.
func (a *app) visitor(r *http.Request) string {
	k, err := r.Cookie(a.noteCookie("").Name)
	if err != nil || len(k.Value) < 26 {
		return ""
	}
	return "visitor:" + k.Value
}

// noteCookie ends with the browser. "" takes it away.
func (a *app) noteCookie(value string) *http.Cookie {
	k := &http.Cookie{Name: "sample-notes", Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(a.cfg.BaseURL, "https:") {
		k.Name, k.Secure = "__Host-sample-notes", true
	}
	if value == "" {
		k.MaxAge = -1
	}
	return k
}

// adopt hands what a visitor wrote in this browser to the person who signs in, once. The secret that the browser had before the sign-in is
// good for nothing afterwards: whoever planted it gets nothing.
func (a *app) adopt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who, ok := relying.UserInfo(r.Context()); ok {
			if !who.Acting() {
				a.shelf.know(person(who.Subject), who.DisplayName())
			}
			if v := a.visitor(r); v != "" {
				a.shelf.move(v, person(who.Subject))
				http.SetCookie(w, a.noteCookie(""))
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (a *app) notes(w http.ResponseWriter, r *http.Request) {
	owner := a.visitor(r)
	if who, ok := relying.UserInfo(r.Context()); ok {
		owner = person(who.Subject)
	}
	a.render(w, r, http.StatusOK, "notes", "Notes", a.shelf.of(owner))
}

// addNote is open to visitors, and to people who may change things.
func (a *app) addNote(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	text := strings.TrimSpace(r.PostFormValue("note"))
	if text == "" || utf8.RuneCountInString(text) > maxNote || !utf8.ValidString(text) {
		http.Redirect(w, r, "/notes", http.StatusSeeOther)
		return
	}
	owner := a.visitor(r)
	if who, ok := relying.UserInfo(r.Context()); ok {
		owner = person(who.Subject)
	} else if owner == "" {
		secret := rand.Text()
		http.SetCookie(w, a.noteCookie(secret))
		owner = "visitor:" + secret
	}
	a.shelf.add(owner, text)
	http.Redirect(w, r, "/notes", http.StatusSeeOther)
}
