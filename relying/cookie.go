package relying

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// sealer encrypts and authenticates with AES-256-GCM under keys derived from one master.
type sealer struct{ master []byte }

func (s sealer) aead(salt, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.master, []byte(salt), "latchkey/relying/"+purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (s sealer) seal(salt, purpose string, plain []byte) ([]byte, error) {
	a, err := s.aead(salt, purpose)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, plain, nil), nil
}

func (s sealer) open(salt, purpose string, sealed []byte) ([]byte, error) {
	a, err := s.aead(salt, purpose)
	if err != nil {
		return nil, err
	}
	return a.Open(nil, nil, sealed, nil)
}

// flow is a sign-in under way, kept in a cookie of its own so that two tabs do not disturb each other.
type flow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Return   string `json:"r"`
	Until    int64  `json:"u"` // Unix seconds
}

const (
	flowLife = 10 * time.Minute
	maxFlows = 5    // cookies of started and abandoned sign-ins in one browser
	maxPath  = 2048 // characters of a return path
)

// prefixed is a cookie's name: __Host- ties it to this very host wherever that is possible (RFC 6265bis §4.1.3.2).
func (c *Client) prefixed(name string) string {
	if c.secure {
		return "__Host-" + name
	}
	return name
}

func (c *Client) flowPrefix() string { return c.prefixed(c.cfg.CookieName + "-flow-") }

// flowName ties the cookie to the state without showing it.
func (c *Client) flowName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return c.flowPrefix() + base64.RawURLEncoding.EncodeToString(sum[:9])
}

// cookie has the flags all of ours share. Lax and not Strict: the provider's redirect must bring it along.
func (c *Client) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

func (c *Client) saveFlow(w http.ResponseWriter, r *http.Request, f flow) error {
	var old []string
	for _, k := range r.Cookies() {
		if strings.HasPrefix(k.Name, c.flowPrefix()) {
			old = append(old, k.Name)
		}
	}
	if extra := len(old) - maxFlows + 1; extra > 0 { // browsers send the oldest first
		for _, name := range old[:extra] {
			http.SetCookie(w, c.cookie(name, "", -1))
		}
	}
	plain, err := json.Marshal(f)
	if err != nil {
		return err
	}
	name := c.flowName(f.State)
	sealed, err := c.keys.seal(name, "flow", plain)
	if err != nil {
		return err
	}
	http.SetCookie(w, c.cookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(flowLife/time.Second)))
	return nil
}

// takeFlow finds the sign-in that state belongs to in this browser, and ends it: a state is good for one answer.
func (c *Client) takeFlow(w http.ResponseWriter, r *http.Request, state string) (*flow, error) {
	name := c.flowName(state)
	k, err := r.Cookie(name)
	if err != nil {
		return nil, errors.New("no sign-in of this browser has this state")
	}
	http.SetCookie(w, c.cookie(name, "", -1))
	sealed, err := base64.RawURLEncoding.DecodeString(k.Value)
	if err != nil {
		return nil, fmt.Errorf("flow cookie: %w", err)
	}
	plain, err := c.keys.open(name, "flow", sealed)
	if err != nil {
		return nil, fmt.Errorf("flow cookie: %w", err)
	}
	var f flow
	if err := json.Unmarshal(plain, &f); err != nil {
		return nil, fmt.Errorf("flow cookie: %w", err)
	}
	if c.cfg.Now().Unix() >= f.Until {
		return nil, errors.New("the sign-in took too long")
	}
	return &f, nil
}

// session cookies

func (c *Client) sessionName() string { return c.prefixed(c.cfg.CookieName) }

func (c *Client) sessionID(r *http.Request) string {
	k, err := r.Cookie(c.sessionName())
	if err != nil {
		return ""
	}
	return k.Value
}

// newSessionID makes the cookie of a new session. It ends with the browser; the session behind it ends when it must.
func (c *Client) newSessionID(w http.ResponseWriter) string {
	id := rand.Text() + rand.Text()
	http.SetCookie(w, c.cookie(c.sessionName(), id, 0))
	return id
}

// localPath returns p if it is a path of this application that a browser cannot take for another place, else "/".
func (c *Client) localPath(p string) string {
	if p == "" || len(p) > maxPath || p[0] != '/' || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\") {
		return "/"
	}
	for _, b := range []byte(p) {
		if b < 0x21 || b == 0x7f { // browsers drop tabs and newlines inside URLs: "/\t/evil" is "//evil"
			return "/"
		}
	}
	u, err := url.Parse(p)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Path == c.callback {
		return "/"
	}
	return p
}
