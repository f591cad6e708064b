package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/store"
)

// How long the keys behind a jwks_uri are kept (security.md B8).
const (
	clientKeysFresh  = time.Hour        // then they are fetched again
	clientKeysStale  = 24 * time.Hour   // and serve this long while the client's server is down
	clientKeysRenew  = time.Minute      // how often an unknown kid may make us fetch again
	clientKeysPause  = 15 * time.Second // after a failure nobody asks
	clientKeysFetch  = 5 * time.Second  // one fetch, whoever waits for it
	clientKeysLoaded = 1000             // sources in memory
	clientKeysMost   = 100              // keys of one client
)

// ClientKeys reads a client's key set (RFC 7517 §5): its public keys that can sign what clients sign. What cannot be used is left out.
func ClientKeys(raw []byte) ([]jose.JSONWebKey, error) {
	doc, err := readObject(raw)
	if err != nil {
		return nil, fmt.Errorf("the key set is %w", err)
	}
	list, ok := doc["keys"].([]any)
	switch {
	case !ok:
		return nil, errors.New("the key set has no list named keys")
	case len(list) > clientKeysMost:
		return nil, fmt.Errorf("the key set has more than %d keys", clientKeysMost)
	}
	var out []jose.JSONWebKey
	for _, entry := range list {
		member, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		if _, private := member["d"]; private || member["kty"] == "oct" {
			return nil, errors.New("the key set holds a private or secret key; publish the public half only")
		}
		if ops, there := member["key_ops"].([]any); there && !slices.Contains(ops, any("verify")) {
			continue // RFC 7517 §4.3
		}
		b, err := json.Marshal(member)
		if err != nil {
			continue
		}
		var k jose.JSONWebKey
		if k.UnmarshalJSON(b) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if !slices.ContainsFunc(SigningAlgs, func(alg string) bool { return keyFits(alg, k.Key) && (k.Algorithm == "" || k.Algorithm == alg) }) {
			continue
		}
		out = append(out, k)
	}
	if len(out) == 0 {
		return nil, errors.New("the key set has no key for RS256, PS256, ES256 or EdDSA")
	}
	return out, nil
}

// errNoClientKeys: the client has none, or they could not be had.
var errNoClientKeys = errors.New("no key of the client")

// verifyByClient checks a JWT's signature with the keys the client registered. Keys behind a jwks_uri are fetched again for an unknown kid, at
// most once a minute.
func (p *Provider) verifyByClient(ctx context.Context, c *Client, t *clientJWT) error {
	if c.keys != nil {
		if _, ok := signedWith(c.keys, t); ok {
			return nil
		}
		return errors.New("no registered key made this signature")
	}
	if c.Metadata.JWKSURI == "" {
		return errNoClientKeys
	}
	src := p.keySources.at(c.Metadata.JWKSURI)
	for _, read := range []func(context.Context) ([]jose.JSONWebKey, error){src.get, src.renew} {
		keys, err := read(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoClientKeys, err)
		}
		known, ok := signedWith(keys, t)
		if ok {
			return nil
		}
		if known {
			break // the key is there and did not make this
		}
	}
	return errors.New("no published key made this signature")
}

// signedWith tries the keys that the header allows; known says that its kid names one.
func signedWith(keys []jose.JSONWebKey, t *clientJWT) (known, ok bool) {
	for _, k := range keys {
		if t.kid != "" && k.KeyID != t.kid || k.Algorithm != "" && k.Algorithm != t.alg {
			continue
		}
		known = known || t.kid != ""
		if t.verify(k.Key) {
			return known, true
		}
	}
	return known, false
}

// keySources are the jwks_uris in use, each fetched by one caller for all who wait.
type keySources struct {
	http *http.Client
	now  func() time.Time

	mu      sync.Mutex
	sources map[string]*keySource
}

// at returns the source of an address. Only registered addresses come here; still the map is bounded.
func (k *keySources) at(uri string) *keySource {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.sources[uri]; s != nil {
		return s
	}
	if k.sources == nil || len(k.sources) >= clientKeysLoaded {
		k.sources = map[string]*keySource{}
	}
	s := &keySource{uri: uri, http: k.http, now: k.now}
	k.sources[uri] = s
	return s
}

// keySource is the key set behind one address.
type keySource struct {
	uri  string
	http *http.Client
	now  func() time.Time

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	at      time.Time // when keys were fetched, zero = never
	err     error     // of the last fetch
	tried   time.Time // when that ended
	renewed time.Time // when renew last asked
	running chan struct{}
}

func within(now, since time.Time, d time.Duration) bool {
	age := now.Sub(since)
	return !since.IsZero() && age >= 0 && age < d // a clock that was set back makes nothing last longer
}

// get returns the keys, at most an hour old unless the client's server is down.
func (s *keySource) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !within(now, s.at, clientKeysFresh) && !(s.err != nil && within(now, s.tried, clientKeysPause)) {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	return s.result()
}

// renew fetches again unless that was done within the last minute.
func (s *keySource) renew(ctx context.Context) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); s.running != nil || !within(now, s.renewed, clientKeysRenew) {
		if s.running == nil {
			s.renewed = now
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	return s.result()
}

// result is what there is. s.mu is held.
func (s *keySource) result() ([]jose.JSONWebKey, error) {
	if within(s.now(), s.at, clientKeysStale) {
		return s.keys, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, errors.New("nothing could be fetched")
}

// wait waits for the fetch that runs, which it begins if none does. s.mu is held, and released meanwhile.
func (s *keySource) wait(ctx context.Context) error {
	if s.running == nil {
		s.running = make(chan struct{})
		go s.fetch(context.WithoutCancel(ctx), s.running) // not bound to the request that happens to be first
	}
	running := s.running
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-running:
		return nil
	}
}

func (s *keySource) fetch(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, clientKeysFetch)
	defer cancel()
	var keys []jose.JSONWebKey
	err := errors.New("the answer could not be read")
	defer func() {
		// A parser that panics on a hostile answer must not take the process with it: this goroutine has no other guard.
		if r := recover(); r != nil {
			err = fmt.Errorf("the answer could not be read: %v", r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err, s.tried, s.running = err, s.now(), nil
		if err == nil {
			s.keys, s.at = keys, s.tried
		}
		close(done)
	}()
	var body []byte
	if body, err = fetchFrom(ctx, s.http, s.uri); err == nil {
		keys, err = ClientKeys(body)
	}
}

// fetchFrom reads what is at an address that a client names, through the guarded client (security.md D1). The error is for the log.
func fetchFrom(ctx context.Context, c *http.Client, uri string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK { // a redirect too
		return nil, fmt.Errorf("%s answers %d", req.URL.Host, res.StatusCode)
	}
	return io.ReadAll(res.Body)
}

// inlineKeys are those of the registration itself; nil = it has none. A registration was checked when it was made.
func inlineKeys(c *store.Client) []jose.JSONWebKey {
	if len(c.Metadata.JWKS) == 0 {
		return nil
	}
	keys, err := ClientKeys(c.Metadata.JWKS)
	if err != nil {
		return []jose.JSONWebKey{} // none that works, and nowhere else to look
	}
	return keys
}
