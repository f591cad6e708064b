package connectortest

import (
	"fmt"
	"net/http"
	"strings"
)

// scripted is a base whose endpoints can be told what to say.
type scripted struct {
	*base
	said map[string]saying // by endpoint
}

type saying struct {
	status int
	body   string
}

func newScripted(port int) *scripted {
	return &scripted{base: newBase(port), said: map[string]saying{}}
}

// Answer makes an endpoint say body with status to everybody from now on, as JSON; status 0 ends that.
func (s *scripted) Answer(endpoint string, status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status == 0 {
		delete(s.said, endpoint)
		return
	}
	s.said[endpoint] = saying{status, body}
}

// serve is handle, unless the endpoint was told what to say.
func (s *scripted) serve(host, pattern, endpoint string, h http.HandlerFunc) {
	s.handle(host, pattern, endpoint, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		say, ok := s.said[endpoint]
		s.mu.Unlock()
		if !ok {
			h(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(say.status)
		fmt.Fprint(w, say.body)
	})
}

// hosts starts several hosts and returns their origins.
func (s *scripted) hosts(names ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		o, err := s.host(name)
		if err != nil {
			s.Close()
			return nil, err
		}
		out[name] = o
	}
	return out, nil
}

// bearer is a request's access token by its header (RFC 6750 §2.1).
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// isForm says whether a request's body is a form, as token endpoints demand.
func isForm(r *http.Request) bool {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded")
}

// findClient and pickPerson search copies, so that nobody holds the lock while they are used. An empty id picks the first person.
func findClient(list []Client, id string) (Client, bool) {
	for _, c := range list {
		if c.ID == id {
			return c, true
		}
	}
	return Client{}, false
}

func pickPerson(list []Person, id string) (Person, bool) {
	for i, p := range list {
		if p.ID == id || id == "" && i == 0 {
			return p, true
		}
	}
	return Person{}, false
}
