//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// newTransport returns a transport that only ever connects to this machine.
// Origins named in via are sent to their loopback origin in plain HTTP with
// X-Forwarded headers, as a TLS-terminating proxy would send them.
func newTransport(t *Target, conns int) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &proxyTransport{t: t, base: &http.Transport{
		MaxIdleConns:        4 * conns,
		MaxIdleConnsPerHost: 2 * conns,
		DisableCompression:  true,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // loopback only, see below
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return nil, fmt.Errorf("refusing to connect to %s: not a loopback address", addr)
			}
			return dialer.DialContext(ctx, network, addr)
		},
	}}
}

type proxyTransport struct {
	t    *Target
	base *http.Transport
}

func (p *proxyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	to, ok := p.t.Via[r.URL.Scheme+"://"+r.URL.Host]
	if ok || len(p.t.Headers) > 0 {
		r = r.Clone(r.Context())
		for k, v := range p.t.Headers {
			r.Header.Set(k, v)
		}
	}
	if ok {
		u, err := url.Parse(to)
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-Forwarded-Proto", r.URL.Scheme)
		r.Header.Set("X-Forwarded-Host", r.URL.Host)
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		r.Host = r.URL.Host
		r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
	}
	return p.base.RoundTrip(r)
}

// Session is one virtual user: a browser with cookies, plus the client
// application it talks to. Sessions are not shared between goroutines.
type Session struct {
	t       *Target
	meta    *metadata
	keys    keySet
	http    *http.Client
	vars    map[string]string // "vu" is the number of the virtual user, from 0
	trace   bool
	ready   bool // Login has been played
	subject string
}

func newSession(t *Target, m *metadata, keys keySet, rt http.RoundTripper, vu int) *Session {
	jar, _ := cookiejar.New(nil)
	return &Session{
		t: t, meta: m, keys: keys,
		vars: map[string]string{"vu": strconv.Itoa(vu)},
		http: &http.Client{
			Transport:     rt,
			Jar:           jar,
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

type response struct {
	status   int
	location string
	body     []byte
}

func (s *Session) do(req *http.Request) (*response, error) {
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	r := &response{status: res.StatusCode, body: body}
	if loc := res.Header.Get("Location"); loc != "" {
		u, err := req.URL.Parse(loc)
		if err != nil {
			return nil, err
		}
		r.location = u.String()
	}
	if s.trace {
		fmt.Fprintf(os.Stderr, "%s %s -> %d %s\n", req.Method, req.URL, r.status, r.location)
		if len(body) > 0 && len(body) < 3000 {
			fmt.Fprintf(os.Stderr, "    %s\n", body)
		}
	}
	return r, nil
}

func (s *Session) get(u string, header ...string) (*response, error) {
	req, err := http.NewRequest("GET", u, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return s.do(req)
}

// post sends a form to an OAuth endpoint, authenticated as c.
func (s *Session) post(endpoint string, c *Client, form url.Values) (*response, error) {
	if endpoint == "" {
		return nil, errors.New("the provider does not publish this endpoint")
	}
	switch c.Auth {
	case "client_secret_post":
		form.Set("client_secret", c.Secret)
		fallthrough
	case "none":
		form.Set("client_id", c.ID)
	}
	req, err := http.NewRequest("POST", endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	switch c.Auth {
	case "", "client_secret_basic":
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	case "bearer":
		req.Header.Set("Authorization", "Bearer "+c.Secret)
	}
	return s.do(req)
}

// play runs steps in order with vars added to the session's, and returns the
// last response.
func (s *Session) play(steps []Step, vars map[string]string) (*response, error) {
	maps.Copy(vars, s.vars)
	var last *response
	for i, st := range steps {
		fill := filler(vars)
		var body io.Reader
		kind := ""
		if st.Form != nil {
			form := url.Values{}
			for k, v := range st.Form {
				form.Set(k, fill(v))
			}
			body, kind = strings.NewReader(form.Encode()), "application/x-www-form-urlencoded"
		} else if st.JSON != nil {
			body, kind = bytes.NewReader([]byte(fill(string(st.JSON)))), "application/json"
		}
		method := st.Method
		if method == "" {
			method = "GET"
		}
		req, err := http.NewRequest(method, fill(st.URL), body)
		if err != nil {
			return nil, err
		}
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		for k, v := range st.Headers {
			req.Header.Set(k, fill(v))
		}
		if last, err = s.do(req); err != nil {
			return nil, err
		}
		if (st.Expect == 0 && last.status >= 400) || (st.Expect != 0 && last.status != st.Expect) {
			return nil, fmt.Errorf("step %d: %s %s: status %d: %.200s", i, method, req.URL, last.status, last.body)
		}
		for name, rule := range st.Extract {
			v, ok := s.extract(last, rule)
			if !ok {
				return nil, fmt.Errorf("step %d: %s %s: nothing matches %s", i, method, req.URL, rule)
			}
			vars[name] = v
		}
	}
	if next := vars["next"]; next != "" && last != nil {
		last.location = next
	}
	return last, nil
}

// filler replaces {name} by a variable and {name|q} by its query-escaped form.
func filler(vars map[string]string) func(string) string {
	var pairs []string
	for k, v := range vars {
		pairs = append(pairs, "{"+k+"}", v, "{"+k+"|q}", url.QueryEscape(v))
	}
	return strings.NewReplacer(pairs...).Replace
}

func (s *Session) extract(r *response, rule string) (string, bool) {
	if path, ok := strings.CutPrefix(rule, "$."); ok {
		var v any
		if json.Unmarshal(r.body, &v) != nil {
			return "", false
		}
		for key := range strings.SplitSeq(path, ".") {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		str, ok := v.(string)
		return str, ok
	}
	m := s.t.patterns[rule].FindStringSubmatch(r.location + "\n" + string(r.body))
	if m == nil {
		return "", false
	}
	return html.UnescapeString(m[1]), true
}

type tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

// authorize runs a complete code flow with PKCE for the session's user and
// checks every token it gets.
func (s *Session) authorize(scope string) (*tokens, error) {
	c := &s.t.Client
	if !s.ready {
		if len(s.t.Login) > 0 {
			if _, err := s.play(s.t.Login, map[string]string{}); err != nil {
				return nil, fmt.Errorf("login: %w", err)
			}
		}
		s.ready = true
	}
	state, nonce, verifier := random(), random(), random()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {c.RedirectURI}, "scope": {scope},
		"state": {state}, "nonce": {nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for k, v := range c.Params {
		q.Set(k, v)
	}
	back, err := s.follow(s.meta.Authorization + "?" + q.Encode())
	if err != nil {
		return nil, fmt.Errorf("authorize: %w", err)
	}
	got := back.Query()
	if e := got.Get("error"); e != "" {
		return nil, fmt.Errorf("authorize: %s: %s", e, got.Get("error_description"))
	}
	if got.Get("state") != state || got.Get("code") == "" {
		return nil, fmt.Errorf("authorize: wrong state or no code in %s", back)
	}
	tok, err := s.token(c, url.Values{
		"grant_type": {"authorization_code"}, "code": {got.Get("code")},
		"redirect_uri": {c.RedirectURI}, "code_verifier": {verifier},
	})
	if err != nil {
		return nil, err
	}
	claims, err := s.keys.verify(tok.ID)
	if err != nil {
		return nil, fmt.Errorf("id_token: %w", err)
	}
	if err := claims.check(s.meta.Issuer, c.ID, nonce); err != nil {
		return nil, fmt.Errorf("id_token: %w", err)
	}
	s.subject = claims.Subject
	return tok, nil
}

// follow fetches u and its redirects until one leads to the client's redirect
// URI, playing the pages it meets on the way.
func (s *Session) follow(u string) (*url.URL, error) {
	for range 20 {
		if strings.HasPrefix(u, s.t.Client.RedirectURI) {
			return url.Parse(u)
		}
		var res *response
		var err error
		if p, vars := s.t.page(u); p != nil {
			res, err = s.play(p.Steps, vars)
		} else {
			res, err = s.get(u)
		}
		if err != nil {
			return nil, err
		}
		if res.location == "" {
			return nil, fmt.Errorf("stopped at %s: status %d: %.200s", u, res.status, res.body)
		}
		u = res.location
	}
	return nil, errors.New("too many redirects")
}

// token sends a token request and checks the form of the answer.
func (s *Session) token(c *Client, form url.Values) (*tokens, error) {
	for k, v := range c.TokenParams {
		form.Set(k, v)
	}
	res, err := s.post(s.meta.Token, c, form)
	if err != nil {
		return nil, err
	}
	var tok tokens
	if res.status != 200 {
		return nil, fmt.Errorf("token: status %d: %.200s", res.status, res.body)
	}
	if err := json.Unmarshal(res.body, &tok); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if tok.Access == "" || !strings.EqualFold(tok.Type, "bearer") {
		return nil, fmt.Errorf("token: no bearer token in %.200s", res.body)
	}
	return &tok, nil
}

func random() string { return rand.Text() + rand.Text() }
