package suite

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
)

func challenge(verifier string) string {
	h := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// between is the text of s from after a to before z, "" if they are not there.
func between(s, a, z string) string {
	_, rest, ok := strings.Cut(s, a)
	if !ok {
		return ""
	}
	out, _, _ := strings.Cut(rest, z)
	return out
}

// try sends a request; false when there was no whole answer.
func try(c *http.Client, req *http.Request) (testidp.Response, bool) {
	res, err := c.Do(req)
	if err != nil {
		return testidp.Response{}, false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return testidp.Response{}, false
	}
	out := testidp.Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	if json.Unmarshal(body, &out.JSON) != nil {
		out.JSON = nil
	}
	return out, true
}

// waitLong is for what happens in the background on a busy machine.
const waitLong = 20 * time.Second

// relay passes forms on to a server whose certificate only tests trust.
type relay struct {
	url string

	mu     sync.Mutex
	client *http.Client
	to     string
	passed int
}

func newRelay(t *testing.T) *relay {
	r := &relay{}
	srv := httptest.NewServer(http.HandlerFunc(r.pass))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *relay) lead(c *http.Client, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client, r.to = c, to
}

func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

func (r *relay) pass(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	c, to := r.client, r.to
	r.mu.Unlock()
	if err := req.ParseForm(); err != nil || c == nil {
		http.Error(w, "nobody is there", http.StatusBadGateway)
		return
	}
	res, err := c.PostForm(to, req.PostForm)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	res.Body.Close()
	r.mu.Lock()
	r.passed++
	r.mu.Unlock()
	w.WriteHeader(res.StatusCode)
}

// lockedBuffer takes a log that several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// payload is what a JWT says, whoever signed it.
func payload(t testing.TB, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %.40s", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// syncBuffer keeps a log that several write to.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
