package relying

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// asymmetric are the algorithms a signature of the provider may have. Those with a shared secret and none are not among them.
var asymmetric = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// keySet is the provider's published keys (RFC 7517). It reads them again after an hour, or sooner if the provider says so, and at a
// key it does not know; strangers who make up key ids cannot make it ask more often than keysPause.
type keySet struct {
	now    func() time.Time
	client *http.Client
	url    string

	reading chan struct{} // holds one token: who reads

	mu      sync.Mutex // guards what follows; never held while waiting
	keys    []jose.JSONWebKey
	read    time.Time // when keys were read
	fresh   time.Time // until when they are not asked for again
	tried   time.Time // the last attempt
	trouble error     // of the last attempt
}

const (
	keysFresh = time.Hour        // at most, docs of most providers say as much
	keysLeast = time.Minute      // whatever the provider says
	keysStale = 24 * time.Hour   // how long keys serve while the provider cannot be asked
	keysPause = 10 * time.Second // between two attempts
)

func newKeySet(now func() time.Time, client *http.Client, url string) *keySet {
	return &keySet{now: now, client: client, url: url, reading: make(chan struct{}, 1)}
}

// get returns the keys and when they were read.
func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, time.Time, error) {
	k.mu.Lock()
	now := k.now()
	keys, read := k.keys, k.read
	fresh, usable := now.Before(k.fresh), keys != nil && now.Sub(k.read) < keysStale
	k.mu.Unlock()
	if fresh {
		return keys, read, nil
	}
	if usable { // one request pays for the new ones; the others go on
		select {
		case k.reading <- struct{}{}:
			k.fetch(ctx, read)
			<-k.reading
		default:
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.keys, k.read, nil
	}
	return k.newer(ctx, read)
}

// newer returns keys that were read after then, if any can be had now.
func (k *keySet) newer(ctx context.Context, then time.Time) ([]jose.JSONWebKey, time.Time, error) {
	select {
	case k.reading <- struct{}{}:
		k.fetch(ctx, then)
		<-k.reading
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil || k.now().Sub(k.read) >= keysStale {
		return nil, time.Time{}, k.trouble
	}
	return k.keys, k.read, nil
}

// fetch reads the keys unless that was done after then or tried a moment ago. The caller holds the token.
func (k *keySet) fetch(ctx context.Context, then time.Time) {
	k.mu.Lock()
	now := k.now()
	skip := k.read.After(then) || !k.tried.IsZero() && now.Sub(k.tried) < keysPause
	k.mu.Unlock()
	if skip {
		return
	}
	// Whoever asked may be gone when the answer comes; the others are not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	keys, life, err := readKeys(ctx, k.client, k.url)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.trouble = now, err
	if err == nil {
		k.keys, k.read, k.fresh = keys, now, now.Add(life)
	}
}

func readKeys(ctx context.Context, client *http.Client, url string) ([]jose.JSONWebKey, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("keys: %w", err)
	}
	defer res.Body.Close()
	const limit = 1 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("keys: %w", err)
	}
	if res.StatusCode != http.StatusOK || len(body) > limit {
		return nil, 0, fmt.Errorf("keys: %s", res.Status)
	}
	keys, err := parseKeys(body)
	return keys, keysLife(res.Header), err
}

// parseKeys takes the public signing keys out of a key set and leaves out what it cannot use (RFC 7517 §5).
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if len(set.Keys) > 100 {
		return nil, fmt.Errorf("keys: %d of them", len(set.Keys))
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if r, ok := key.Key.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			continue // RFC 7518 §3.3
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("keys: none that can be used")
	}
	return keys, nil
}

// keysLife is how long the provider says its keys may be kept, within our limits.
func keysLife(h http.Header) time.Duration {
	for d := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		if v, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(d)), "max-age="); ok {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				return min(max(time.Duration(n)*time.Second, keysLeast), keysFresh)
			}
		}
	}
	return keysFresh
}

var errNoKey = errors.New("no published key made this signature")

// verify returns the payload of a signature that one of the keys made. Its error is an [Error] with CodeUnavailable when the keys
// cannot be had.
func (k *keySet) verify(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	if len(jws.Signatures) != 1 {
		return nil, errors.New("not exactly one signature")
	}
	keys, read, err := k.get(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	payload, known := try(keys, jws)
	if payload == nil && !known { // OpenID Connect Core §10.1.1: a key we do not know may be a new one
		if keys, _, err = k.newer(ctx, read); err != nil {
			return nil, unavailable(err)
		}
		payload, _ = try(keys, jws)
	}
	if payload == nil {
		return nil, errNoKey
	}
	return payload, nil
}

// try says whether a key fits the header, and returns the payload if one of them made the signature.
func try(keys []jose.JSONWebKey, jws *jose.JSONWebSignature) (payload []byte, known bool) {
	h := jws.Signatures[0].Protected
	for i := range keys {
		key := &keys[i]
		if key.Algorithm != "" && key.Algorithm != h.Algorithm || h.KeyID != "" && key.KeyID != h.KeyID {
			continue
		}
		known = known || h.KeyID != ""
		if b, err := jws.Verify(key.Key); err == nil {
			if b == nil {
				b = []byte{}
			}
			return b, true
		}
	}
	return nil, known
}

// signature lets go-oidc verify with a keySet, and keeps what kept the keys away: go-oidc flattens errors to text.
type signature struct {
	keys    *keySet
	header  jose.Header
	trouble error
}

// VerifySignature is oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, asymmetric)
	if err != nil {
		return nil, err
	}
	payload, err := s.keys.verify(ctx, jws)
	if e, ok := errors.AsType[*Error](err); ok {
		s.trouble = e
	}
	s.header = jws.Signatures[0].Protected
	return payload, err
}

// blame is err, or what kept the keys away.
func (s *signature) blame(err error) error {
	if s.trouble != nil {
		return s.trouble
	}
	return invalid(err)
}

// typ is the header typ as RFC 7515 §4.1.9 wants it compared.
func typ(h jose.Header) string {
	t, _ := h.ExtraHeaders[jose.HeaderType].(string)
	return strings.TrimPrefix(strings.ToLower(t), "application/")
}

// algorithms checks names against the asymmetric ones.
func algorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	var out []jose.SignatureAlgorithm
	for _, n := range names {
		if !slices.Contains(asymmetric, jose.SignatureAlgorithm(n)) {
			return nil, fmt.Errorf("the algorithm %q is not one that a published key can make", n)
		}
		out = append(out, jose.SignatureAlgorithm(n))
	}
	return out, nil
}
